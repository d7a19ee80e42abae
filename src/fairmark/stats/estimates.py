"""Estimates with all they rest on: which interval for which design, and when there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairmark.results import Estimate, Refusal, Scorer
from fairmark.stats.clusters import BETTING_BELOW, FEWEST_CLUSTERS, betting, clustered_mean, hurdle, korn_graubard, numbered
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson

INDEPENDENT = "cases are independent of one another"
CLUSTERS = "clusters are independent of one another; cases within one need not be"


Computed = tuple[float, Interval, str, float | None, float | None]  # value, interval, method, effective n, design effect


def estimate_rate(
    passes: FloatArray,
    cluster: IntArray | None,
    *,
    estimand: str,
    confidence_level: float = 0.95,
    scorer: Scorer = "none",
    n_cases: int | None = None,
) -> Estimate:
    """The share of passes: Clopper and Pearson for independent 0/1 cases, else Korn and Graubard with the few-events rule.

    `passes` lie in [0, 1] (a share where several people marked); `cluster` names each response's cluster, or its case
    where cases were tried several times, and `n_cases` then says how many cases they are (default: one a response).
    Refused without data, with values off the scale, and with fewer than 6 clusters.
    """

    def compute() -> Computed:
        if cluster is not None or not np.all((passes == 0) | (passes == 1)):
            return _korn_graubard(passes, cluster, confidence_level)
        x, n = float(np.sum(passes)), len(passes)
        return x / n, clopper_pearson(x, n, confidence_level=confidence_level), "Clopper-Pearson", float(n), None

    return _estimate(passes, cluster, estimand, confidence_level, scorer, n_cases, compute)


def estimate_mean(
    values: FloatArray,
    cluster: IntArray | None,
    *,
    estimand: str,
    confidence_level: float = 0.95,
    scorer: Scorer = "none",
    n_cases: int | None = None,
) -> Estimate:
    """The mean of scores in [0, 1]: Korn and Graubard, or the betting interval below 20 clusters (or cases).

    Arguments and refusals as for `estimate_rate`.
    """

    def compute() -> Computed:
        if numbered(cluster, len(values))[1] >= BETTING_BELOW:
            return _korn_graubard(values, cluster, confidence_level)
        interval = betting(values, cluster, confidence_level=confidence_level)
        return float(np.mean(values)), interval, "betting (Waudby-Smith and Ramdas)", None, None

    return _estimate(values, cluster, estimand, confidence_level, scorer, n_cases, compute)


def gated_mean(
    scores: FloatArray,
    cluster: IntArray | None,
    *,
    estimand: str,
    confidence_level: float = 0.95,
    scorer: Scorer = "none",
    n_cases: int | None = None,
) -> Estimate:
    """The mean of scores that are 0 where a must-pass rule failed: the hurdle interval (share above 0 times mean of those).

    Arguments and refusals as for `estimate_rate`.
    """

    def compute() -> Computed:
        value, interval = hurdle(scores, cluster, confidence_level=confidence_level)
        return value, interval, "hurdle: share above 0 times their mean", None, None

    return _estimate(scores, cluster, estimand, confidence_level, scorer, n_cases, compute)


def refused_input(y: FloatArray) -> Refusal | None:
    """Why scores that should lie in [0, 1] have no mean: there are none, or some are off the scale, NaN among them."""
    if len(y) == 0:
        return Refusal("NO_DATA", "there is nothing to count", "run the study, or check that this criterion applies")
    if not np.all((y >= 0) & (y <= 1)):
        return Refusal("OFF_SCALE", "a score lies outside 0 to 1", "bring the scores to the scale 0 to 1")
    return None


def _korn_graubard(y: FloatArray, cluster: IntArray | None, confidence_level: float) -> Computed:
    units = cluster if cluster is not None else np.arange(len(y))
    mean = clustered_mean(y, units, confidence_level=confidence_level)
    return mean.value, korn_graubard(y, units, confidence_level=confidence_level), "Korn-Graubard", mean.n_effective, mean.design_effect


def _estimate(
    y: FloatArray,
    cluster: IntArray | None,
    estimand: str,
    confidence_level: float,
    scorer: Scorer,
    n_cases: int | None,
    compute: Callable[[], Computed],
) -> Estimate:
    n = len(y)
    cases = n if n_cases is None else n_cases
    clusters = None if cluster is None else numbered(cluster, n)[1]
    units = "cases" if clusters == cases else "clusters"
    refused = refused_input(y)
    if refused is None and clusters is not None and clusters < FEWEST_CLUSTERS:
        refused = Refusal(
            "TOO_FEW_CLUSTERS",
            f"{clusters} {units} cannot tell us how other {units} behave; in these alone the mean is {float(np.mean(y)):.3f}",
            f"collect at least {FEWEST_CLUSTERS} {units}",
        )
    if refused is not None:
        return Estimate(estimand, None, None, None, confidence_level, "none", cases, clusters, n, scorer=scorer, refused=refused)
    value, interval, method, n_effective, design_effect = compute()
    return Estimate(
        estimand=estimand,
        value=min(max(value, interval.low), interval.high),
        low=interval.low,
        high=interval.high,
        confidence_level=confidence_level,
        method=method,
        n_cases=cases,
        n_clusters=clusters,
        n_responses=n,
        n_effective=n_effective,
        design_effect=design_effect if clusters is not None else None,
        scorer=scorer,
        assumptions=(INDEPENDENT if cluster is None or units == "cases" else CLUSTERS,),
    )
