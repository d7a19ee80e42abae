"""Estimates of one metric, with the worst and the best completion of what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fairmark import stats
from fairmark.results import Estimate, Refusal, Scorer
from fairmark.table import FloatArray, IntArray, Metric


def rate(metric: Metric, estimand: str, level: float) -> Estimate:
    return _one_sample(metric, estimand, level, kind="rate")


def mean(metric: Metric, estimand: str, level: float, *, gated: bool = False) -> Estimate:
    return _one_sample(metric, estimand, level, kind="gated" if gated else "mean")


def _one_sample(metric: Metric, estimand: str, level: float, *, kind: str) -> Estimate:
    """The estimate on what is marked; with anything missing, the interval runs from the worst to the best completion."""
    n = len(metric.low)
    if n == 0:
        nothing = Refusal("NO_DATA", "there is nothing to count", "run the study, or check that this criterion applies")
        return refused_estimate(estimand, nothing, level, metric.scorer)
    if not metric.marked.any():
        unmarked = Refusal("NOTHING_MARKED", f"none of {n} answers is marked yet", fill_in(metric.scorer))
        return refused_estimate(estimand, unmarked, level, metric.scorer, n)
    marked = metric.marked
    within = estimator(kind, metric)
    worst = within(metric.low, metric.cluster, estimand, level, metric.scorer)
    if metric.missing == 0:
        return worst
    best = within(metric.high, metric.cluster, estimand, level, metric.scorer)
    if worst.refused is not None or best.refused is not None:
        return replace(worst, value=None, low=None, high=None, refused=worst.refused or best.refused, n_missing=metric.missing)
    assert worst.value is not None
    assert best.value is not None
    return replace(
        worst,
        # an answer that is marked in part bounds the mean beyond what the fully marked ones say
        value=min(max(float(np.mean(metric.low[marked])), worst.value), best.value),
        low=worst.low,
        high=best.high,
        n_missing=metric.missing,
        low_if_worst=worst.value,
        high_if_best=best.value,
        warnings=(*worst.warnings, f"{metric.missing} of {n} are missing: the interval spans their worst to best completion"),
    )


def fill_in(scorer: Scorer) -> str:
    """What to do about missing marks."""
    return "let people mark what is missing" if scorer == "human" else "run again to fill in what is missing"


Within = Callable[[FloatArray, "IntArray | None", str, float, Scorer], Estimate]


def estimator(kind: str, metric: Metric) -> Within:
    cases = len(np.unique(metric.case))

    def within(values: FloatArray, cluster: IntArray | None, estimand: str, level: float, scorer: Scorer) -> Estimate:
        if kind == "gated":
            return stats.gated_mean(values, cluster, estimand=estimand, confidence_level=level, scorer=scorer, n_cases=cases)
        if kind == "rate" or metric.binary:
            return stats.estimate_rate(values, cluster, estimand=estimand, confidence_level=level, scorer=scorer, n_cases=cases)
        return stats.estimate_mean(values, cluster, estimand=estimand, confidence_level=level, scorer=scorer, n_cases=cases)

    return within


def refused_estimate(estimand: str, refused: Refusal, level: float, scorer: Scorer, n: int = 0, clusters: int | None = None) -> Estimate:
    """An estimate without a figure."""
    return Estimate(
        estimand=estimand,
        value=None,
        low=None,
        high=None,
        confidence_level=level,
        method="none",
        n_cases=n,
        n_clusters=clusters,
        scorer=scorer,
        refused=refused,
    )
