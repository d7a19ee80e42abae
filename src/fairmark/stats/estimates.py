"""Estimates with all they rest on: which interval for which design, and when there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairmark.results import Estimate, Refusal, Scorer
from fairmark.stats.clusters import BETTING_BELOW, FEWEST_CLUSTERS, betting, clustered_mean, hurdle, korn_graubard
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson

INDEPENDENT = "cases are independent of one another"
CLUSTERS = "clusters are independent of one another; cases within one need not be"


def estimate_rate(
    passes: FloatArray, cluster: IntArray | None, *, estimand: str, confidence_level: float = 0.95, scorer: Scorer = "none"
) -> Estimate:
    """The share of passes: Clopper and Pearson for independent 0/1 cases, else Korn and Graubard with the few-events rule.

    `passes` lie in [0, 1] (a share where several people marked); `cluster` names each response's cluster, or its case
    where cases were tried several times. Refused without data and with fewer than 6 clusters.
    """
    binary = bool(np.all((passes == 0) | (passes == 1)))
    if cluster is None and binary:
        x = float(np.sum(passes))

        def exact() -> tuple[float, Interval, str, float | None]:
            interval = clopper_pearson(x, len(passes), confidence_level=confidence_level)
            return x / len(passes), interval, "Clopper-Pearson", float(len(passes))

        return _estimate(passes, cluster, estimand, confidence_level, scorer, exact)
    return _estimate(passes, cluster, estimand, confidence_level, scorer, lambda: _korn_graubard(passes, cluster, confidence_level))


def estimate_mean(
    values: FloatArray, cluster: IntArray | None, *, estimand: str, confidence_level: float = 0.95, scorer: Scorer = "none"
) -> Estimate:
    """The mean of scores in [0, 1]: Korn and Graubard, or the betting interval below 20 clusters (or cases).

    The betting interval is for independent units, so that clusters enter it by their means; it is used for clusters
    of equal size, and unequal ones keep Korn and Graubard.
    """
    units = len(values) if cluster is None else len(np.unique(cluster))
    equal = cluster is None or len(np.unique(np.unique(cluster, return_counts=True)[1])) == 1
    if units >= BETTING_BELOW or not equal:
        return _estimate(values, cluster, estimand, confidence_level, scorer, lambda: _korn_graubard(values, cluster, confidence_level))

    def small() -> tuple[float, Interval, str, float | None]:
        means = values if cluster is None else np.bincount(np.unique(cluster, return_inverse=True)[1], weights=values) * units / len(values)
        return (
            float(np.mean(values)),
            betting(np.clip(means, 0.0, 1.0), confidence_level=confidence_level),
            "betting (Waudby-Smith and Ramdas)",
            None,
        )

    return _estimate(values, cluster, estimand, confidence_level, scorer, small)


def gated_mean(
    scores: FloatArray, cluster: IntArray | None, *, estimand: str, confidence_level: float = 0.95, scorer: Scorer = "none"
) -> Estimate:
    """The mean of scores that are 0 where a must-pass rule failed: the hurdle interval (share above 0 times mean of those)."""

    def gated() -> tuple[float, Interval, str, float | None]:
        value, interval = hurdle(scores, cluster, confidence_level=confidence_level)
        return value, interval, "hurdle: share above 0 times their mean", None

    return _estimate(scores, cluster, estimand, confidence_level, scorer, gated)


def _korn_graubard(y: FloatArray, cluster: IntArray | None, confidence_level: float) -> tuple[float, Interval, str, float | None]:
    units = cluster if cluster is not None else np.arange(len(y))
    mean = clustered_mean(y, units)
    return mean.value, korn_graubard(y, units, confidence_level=confidence_level), "Korn-Graubard", mean.n_effective


Compute = Callable[[], "tuple[float, Interval, str, float | None]"]


def _estimate(
    y: FloatArray, cluster: IntArray | None, estimand: str, confidence_level: float, scorer: Scorer, compute: Compute
) -> Estimate:
    n = len(y)
    clusters = None if cluster is None else len(np.unique(cluster))
    refused: Refusal | None = None
    if n == 0:
        refused = Refusal("NO_DATA", "there is nothing to count", "run the study, or check that this criterion applies")
    elif clusters is not None and clusters < FEWEST_CLUSTERS:
        refused = Refusal(
            "TOO_FEW_CLUSTERS",
            f"{clusters} clusters cannot tell us how other clusters behave",
            f"collect at least {FEWEST_CLUSTERS} clusters",
        )
    if refused is not None:
        return Estimate(estimand, None, None, None, confidence_level, "none", n, clusters, n, scorer=scorer, refused=refused)
    value, interval, method, n_effective = compute()
    return Estimate(
        estimand=estimand,
        value=min(max(value, interval.low), interval.high),
        low=interval.low,
        high=interval.high,
        confidence_level=confidence_level,
        method=method,
        n_cases=n,
        n_clusters=clusters,
        n_responses=n,
        n_effective=n_effective,
        scorer=scorer,
        assumptions=(INDEPENDENT if cluster is None else CLUSTERS,),
    )
