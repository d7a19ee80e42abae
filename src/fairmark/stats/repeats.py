"""Several tries at the same case: how much of the noise is re-running, and how reliable a system is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from fairmark.results import Estimate, Refusal, Result, Scorer
from fairmark.stats.clusters import numbered
from fairmark.stats.estimates import estimate_mean, estimate_rate, refused_input
from fairmark.stats.intervals import FloatArray, IntArray

EXACT_UP_TO = 2_000  # tries; beyond, whole-number binomials are slow and logarithms exact enough


class Repeats(NamedTuple):
    """A one-way analysis of variance of cases and their repeats."""

    mean: float
    ms_between: float  # mean square between cases
    ms_within: float  # mean square within cases
    var_case: float  # variance between cases, at least 0
    var_repeat: float  # variance of re-running
    se: float  # standard error of the mean


def repeats(y: FloatArray) -> Repeats:
    """The decomposition of n cases (rows) x K repeats (columns); var_case = max(0, (MSB - MSW)/K), se^2 = MSB/(nK).

    `ValueError` for fewer than 2 rows or columns.
    """
    n, k = y.shape
    if n < 2 or k < 2:
        raise ValueError(f"{n} cases x {k} repeats: both must be at least 2")
    cases = y.mean(axis=1)
    between = k * float(np.sum((cases - y.mean()) ** 2)) / (n - 1)
    within = float(np.sum((y - cases[:, None]) ** 2)) / (n * (k - 1))
    return Repeats(float(y.mean()), between, within, max(0.0, (between - within) / k), within, math.sqrt(between / (n * k)))


def within_cases(y: FloatArray, case: IntArray, cases: int) -> float:
    """The mean square within cases, sum (y - mean of its case)^2 / (responses - cases), of cases numbered from 0."""
    mean = np.bincount(case, weights=y, minlength=cases) / np.bincount(case, minlength=cases)
    return float(np.sum((y - mean[case]) ** 2)) / (len(y) - cases)


def best_repeats(var_case: float, var_repeat: float, *, cost_case: float, cost_repeat: float) -> int | None:
    """How many times to try each case so that the mean is most precise for the money; None where ever more is better.

    The whole number that makes (var_case + var_repeat/K)(cost_case + K cost_repeat) least, which is one of the two around
    sqrt(var_repeat/var_case cost_case/cost_repeat), at least 1. `cost_case` is what a case costs before it is tried.
    `ValueError` for negative variances or costs, or a repeat that costs nothing.
    """
    if min(var_case, var_repeat, cost_case) < 0 or cost_repeat <= 0:
        raise ValueError("variances and costs must not be negative, and a repeat must cost something")
    if var_repeat == 0 or cost_case == 0:
        return 1
    if var_case == 0:
        return None
    best = max(1, math.floor(math.sqrt(var_repeat / var_case * cost_case / cost_repeat)))
    return min((best, best + 1), key=lambda k: (var_case + var_repeat / k) * (cost_case + k * cost_repeat))


@dataclass(frozen=True, slots=True)
class RepeatNoise(Result):
    """How much of the uncertainty of a mean comes from re-running the same cases."""

    mean: Estimate  # over all responses; the units are the clusters, else the cases
    var_case: float | None  # variance between cases, at least 0; None: not measured
    var_repeat: float | None  # variance of re-running a case; None: not measured, as no case was tried twice
    share_of_noise: float | None  # of the variance of the mean, what re-running contributes
    best_repeats: int | None  # per case for the money; None without costs, or where ever more repeats are better
    fewest_tries: int  # of a case
    most_tries: int
    n_cases: int
    n_responses: int
    confidence_level: float
    method: str
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"repeats: no figure ({self.refused})"
        if self.share_of_noise is None:
            return f"{self.mean.headline()}; noise of re-running not measured"
        return f"{self.mean.headline()}; {self.share_of_noise:.0%} of the noise comes from re-running"


def repeat_noise(
    y: FloatArray,
    case: IntArray,
    cluster: IntArray | None = None,
    *,
    estimand: str = "mean",
    temperature: float | None = None,
    cost_case: float | None = None,
    cost_repeat: float | None = None,
    confidence_level: float = 0.95,
    scorer: Scorer = "none",
) -> RepeatNoise:
    """How much of the noise is re-running, of cases tried equally often or not.

    y in [0, 1] holds one score a response and `case` names its case. With n responses, n_i of case i and m cases:
    MSW = SS within / (n - m), MSB = SS between / (m - 1), var_repeat = MSW, var_case = max(0, (MSB - MSW)/n0) with
    n0 = (n - sum n_i^2/n)/(m - 1), which is K where all were tried K times (Searle 1971). The mean weighs every response
    alike; re-running gives it the variance MSW/n and cases var_case sum n_i^2/n^2. Its interval is that of `estimate_rate`
    for 0/1 scores and `estimate_mean` for others, with the clusters, else the cases, as units.

    Refused as those, and with a single case (`TOO_FEW_CASES`). Warns of caching where repeats of a `temperature` above 0 (or
    an unknown one) never differ.
    """
    n = len(y)
    index, cases = numbered(case, n)
    refused = refused_input(y)
    if refused is None and cases < 2:
        why = f"one case cannot tell how cases differ; its mean is {float(np.mean(y)):.3f}"
        refused = Refusal("TOO_FEW_CASES", why, "try at least 2 cases")
    tries = np.bincount(index, minlength=1) if n else np.zeros(1, dtype=np.int64)
    fewest, most = int(tries.min()), int(tries.max())
    units = cluster if cluster is not None else (None if most <= 1 else case)
    estimate = estimate_rate if bool(np.all((y == 0) | (y == 1))) else estimate_mean
    mean = estimate(y, units, estimand=estimand, confidence_level=confidence_level, scorer=scorer, n_cases=cases)
    var_case = var_repeat = share = None
    best: int | None = None
    warnings: tuple[str, ...] = ()
    if refused is None and n > cases:
        var_repeat = within_cases(y, index, cases)
        means = np.bincount(index, weights=y) / tries
        between = float(np.sum(tries * (means - float(np.mean(y))) ** 2)) / (cases - 1)
        squares = float(np.sum(tries.astype(np.float64) ** 2))
        var_case = max(0.0, (between - var_repeat) / ((n - squares / n) / (cases - 1)))
        rerun, sampled = var_repeat / n, var_case * squares / n**2
        share = rerun / (rerun + sampled) if rerun + sampled > 0 else None
        if cost_case is not None and cost_repeat is not None:
            best = best_repeats(var_case, var_repeat, cost_case=cost_case, cost_repeat=cost_repeat)
        if var_repeat == 0 and temperature != 0:
            warnings = ("repeats of a case never differ: answers may come from a cache",)
    return RepeatNoise(
        mean=mean,
        var_case=var_case,
        var_repeat=var_repeat,
        share_of_noise=share,
        best_repeats=best,
        fewest_tries=fewest,
        most_tries=most,
        n_cases=cases,
        n_responses=n,
        confidence_level=confidence_level,
        method="analysis of variance of cases and their repeats",
        warnings=warnings,
        refused=refused,
    )


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of k tries passes, unbiased from c passes in n tries: 1 - C(n-c, k)/C(n, k) (Chen et al. 2021).

    `ValueError` unless 1 <= k <= n and 0 <= c <= n.
    """
    return 1 - pass_all_k(n, n - c, k)


def pass_all_k(n: int, c: int, k: int) -> float:
    """The chance that all of k tries pass (pass^k), unbiased from c passes in n tries: C(c, k)/C(n, k).

    `ValueError` unless 1 <= k <= n and 0 <= c <= n.
    """
    if not 1 <= k <= n or not 0 <= c <= n:
        raise ValueError(f"{k} tries in a row cannot be estimated from {c} passes in {n} tries")
    if k > c:
        return 0.0
    if n <= EXACT_UP_TO:
        return comb(c, k) / comb(n, k)
    return math.exp(float(gammaln(c + 1) - gammaln(c - k + 1) + gammaln(n - k + 1) - gammaln(n + 1)))


def estimate_pass_at_k(
    passes: IntArray,
    tries: IntArray,
    k: int,
    cluster: IntArray | None = None,
    *,
    estimand: str | None = None,
    confidence_level: float = 0.95,
    scorer: Scorer = "none",
) -> Estimate:
    """The mean over cases of the chance that at least one of k tries passes (pass@k), from each case's passes in its tries.

    Each case is one unit, or the cluster it belongs to: the interval is that of `estimate_rate` on the cases' unbiased
    values. Refused as that one, and where a case was tried fewer than k times (`TOO_FEW_TRIES`).
    """
    return _over_cases(pass_at_k, passes, tries, k, cluster, estimand or f"pass@{k}", confidence_level, scorer)


def estimate_pass_all_k(
    passes: IntArray,
    tries: IntArray,
    k: int,
    cluster: IntArray | None = None,
    *,
    estimand: str | None = None,
    confidence_level: float = 0.95,
    scorer: Scorer = "none",
) -> Estimate:
    """The mean over cases of the chance that all of k tries pass (pass^k): the headline for agents.

    Arguments, interval and refusals as for `estimate_pass_at_k`.
    """
    return _over_cases(pass_all_k, passes, tries, k, cluster, estimand or f"pass^{k}", confidence_level, scorer)


def _over_cases(
    chance: Callable[[int, int, int], float],
    passes: IntArray,
    tries: IntArray,
    k: int,
    cluster: IntArray | None,
    estimand: str,
    confidence_level: float,
    scorer: Scorer,
) -> Estimate:
    passes, tries = np.asarray(passes), np.asarray(tries)
    if passes.shape != tries.shape or k < 1:
        raise ValueError(f"{len(passes)} counts of passes, {len(tries)} of tries, and k = {k}: every case needs both, and k is at least 1")
    n, responses = len(passes), int(np.sum(tries))
    clusters = None if cluster is None else numbered(cluster, n)[1]
    refused: Refusal | None = None
    if not bool(np.all((passes >= 0) & (passes <= tries))):
        refused = Refusal("OFF_SCALE", "a case has fewer than 0 passes, or more than tries", "count passes among the tries of a case")
    elif n and int(np.min(tries)) < k:
        short = int(np.count_nonzero(tries < k))
        why = f"{short} of {n} cases were tried fewer than {k} times, and one as rarely as {int(np.min(tries))}"
        refused = Refusal("TOO_FEW_TRIES", why, f"try every case at least {k} times, or ask for a smaller k")
    if refused is not None:
        return Estimate(estimand, None, None, None, confidence_level, "none", n, clusters, responses, scorer=scorer, refused=refused)
    # few different pairs of counts, and exact arithmetic for each of them
    pairs, which = np.unique(np.column_stack([tries, passes]), axis=0, return_inverse=True)
    values = np.array([chance(int(t), int(c), k) for t, c in pairs], dtype=np.float64)[which.reshape(-1)]
    found = estimate_rate(values, cluster, estimand=estimand, confidence_level=confidence_level, scorer=scorer)
    return replace(found, n_responses=responses)
