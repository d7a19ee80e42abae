"""The mean over exactly one bank of cases, of which some or all were drawn: a finite population."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln, stdtrit

from fairmark.results import Estimate, Refusal, Scorer
from fairmark.stats.clusters import BETTING_BELOW, FEW_EVENTS, FEWEST_CLUSTERS, TINY, betting, clustered_mean, clusters_with, numbered
from fairmark.stats.estimates import CLUSTERS, INDEPENDENT, refused_input
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson
from fairmark.stats.repeats import within_cases

DRAWN = "the drawn {units} are a random sample of the bank"


def bank_share(x: int, n: int, bank: int, *, confidence_level: float = 0.95) -> Interval:
    """The exact interval of the share of passes in a bank of `bank` cases of which n were drawn and x of them pass.

    Clopper and Pearson's with hypergeometric tails (Konijn 1973): K/bank from the smallest K with P(X >= x) > alpha to the
    largest with P(X <= x) > alpha. The point x/n once all were drawn. `ValueError` unless 0 <= x <= n <= bank, 0 < n.
    """
    if not 0 <= x <= n <= bank or n < 1:
        raise ValueError(f"{x} passes in {n} cases of a bank of {bank} cannot be")
    alpha = (1 - confidence_level) / 2
    fewest, most = x, bank - (n - x)

    def at_least(k: int) -> float:
        return _tail(x, min(n, k), k, n, bank)

    def at_most(k: int) -> float:
        return _tail(max(0, n - (bank - k)), x, k, n, bank)

    # rounding must not take away an end at which the tail is alpha but for its last digits, and the two ends never cross
    low = _first(lambda k: at_least(k) > alpha, fewest, most)
    high = most + fewest - _first(lambda k: at_most(most + fewest - k) > alpha, fewest, most)
    middle = x / n
    return Interval(min(low / bank, middle), max(high / bank, middle))


def _tail(first: int, last: int, k: int, n: int, bank: int) -> float:
    """P(first <= X <= last) of the passes among n cases drawn from a bank in which k pass."""
    if first > last:
        return 0.0
    j = np.arange(first, last + 1)
    logs = _log_choose(k, j) + _log_choose(bank - k, n - j) - _log_choose(bank, np.array([n]))
    return min(1.0, float(np.exp(logs).sum()))


def _log_choose(n: int, k: IntArray) -> FloatArray:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=np.float64)


def _first(holds: Callable[[int], bool], least: int, most: int) -> int:
    """The smallest number from `least` to `most` for which `holds`, which stays true once it is; `most` where none does."""
    while least < most:
        middle = (least + most) // 2
        if holds(middle):
            most = middle
        else:
            least = middle + 1
    return least


def estimate_bank(
    y: FloatArray,
    case: IntArray | None = None,
    cluster: IntArray | None = None,
    *,
    bank: int,
    estimand: str,
    confidence_level: float = 0.95,
    scorer: Scorer = "none",
) -> Estimate:
    """The mean over exactly this bank: what the system would score on all its cases, not on cases like these.

    `bank` counts the units there are to draw, clusters where they are declared and cases otherwise; `case` names each
    response's case where cases were tried several times. The variance of 1.2 between units is multiplied by
    (N - n)/(N - 1), and the noise of re-running, measured within cases, stays: V = (N - n)/(N - 1) (V - r) + r with
    r = MSW / responses. One 0/1 response a case has the exact hypergeometric interval. With every unit drawn and no case
    tried twice it is the point that was seen.

    Refused: `NO_DATA`, `OFF_SCALE`, `BANK_TOO_SMALL` where more units were drawn than the bank has, `TOO_FEW_CLUSTERS` with
    fewer than 6 of a larger bank.
    """
    n = len(y)
    index, groups = numbered(case if cluster is None else cluster, n)
    tries, cases = numbered(case, n)
    units = "cases" if cluster is None else "clusters"
    clusters = None if cluster is None and case is None else groups
    refused = refused_input(y)
    if refused is None and groups > bank:
        refused = Refusal("BANK_TOO_SMALL", f"{groups} {units} cannot be drawn from a bank of {bank}", f"count the {units} of the bank")
    if refused is None and groups < min(FEWEST_CLUSTERS, bank):
        why = f"{groups} {units} of {bank} cannot tell us how the others behave; in these alone the mean is {float(np.mean(y)):.3f}"
        refused = Refusal("TOO_FEW_CLUSTERS", why, f"draw at least {min(FEWEST_CLUSTERS, bank)} {units}")
    if refused is not None:
        return Estimate(estimand, None, None, None, confidence_level, "none", cases, clusters, n, scorer=scorer, refused=refused)
    value, binary = float(np.mean(y)), bool(np.all((y == 0) | (y == 1)))
    n_effective: float | None = None
    if groups == bank and cases == n:
        interval, method = Interval(value, value), "every case of the bank"
    elif groups == n and binary:
        x = int(np.sum(y))
        interval, method = bank_share(x, n, bank, confidence_level=confidence_level), "hypergeometric"
    elif groups < BETTING_BELOW and groups < bank and not binary:
        interval, method = betting(y, index, confidence_level=confidence_level), "betting, as for cases like these"
    else:
        n_effective, n_star = _effective(y, index, groups, tries, cases, bank, binary, confidence_level)
        interval = clopper_pearson(value * n_star, n_star, confidence_level=confidence_level)
        method = f"Korn-Graubard, {groups} of {bank} {units}"
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
        scorer=scorer,
        assumptions=(DRAWN.format(units=units), INDEPENDENT if cluster is None else CLUSTERS),
    )


def _effective(
    y: FloatArray, index: IntArray, groups: int, tries: IntArray, cases: int, bank: int, binary: bool, confidence_level: float
) -> tuple[float, float]:
    """The effective number of responses, and the same after the t correction and the few-events rule."""
    n = len(y)
    mean = clustered_mean(y, index, confidence_level=confidence_level)
    re_running = within_cases(y, tries, cases) / n if n > cases else 0.0
    left = (bank - groups) / (bank - 1) if bank > 1 else 0.0
    variance = left * max(0.0, mean.se**2 - re_running) + re_running
    spread = mean.value * (1 - mean.value)
    # without any spread no more is known than one response a unit tells
    effective = spread / variance if variance > TINY else float(groups)
    degrees = groups - 1 if groups < bank else n - cases
    quantile = 0.5 + max(confidence_level, 1e-6) / 2
    n_star = effective * (float(stdtrit(max(n - 1, 1), quantile)) / float(stdtrit(max(degrees, 1), quantile))) ** 2
    few = min(clusters_with(index, y > 0, groups), clusters_with(index, y < 1, groups)) <= FEW_EVENTS
    if few and binary and math.isfinite(n_star):
        n_star = min(n_star, float(groups))
    return effective, n_star
