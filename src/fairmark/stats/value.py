"""What a system is worth a case, which assumption matters most, and which systems no other one beats on quality and price."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import korn_graubard, numbered
from fairmark.stats.costs import break_even, net_of_cost, refused_costs
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.paired import PairedIntervals

DRAWS = 2_000  # bootstrap samples
BLOCK_NUMBERS = 2_000_000  # so many counts of clusters in samples are made at once


class Alternative(NamedTuple):
    """What is done without the system, such as a person who handles the case."""

    cost: float  # a case
    success: float  # share of cases, 0 to 1


@dataclass(frozen=True, slots=True)
class NetValue(Result):
    """What a system gains or loses a case: value x pass - harm x fail - cost."""

    value: float | None  # per case
    low: float | None
    high: float | None
    per_1000: tuple[float, float, float] | None  # value, low and high of 1,000 cases
    probability_positive: float | None  # share of bootstrap samples in which it gains
    success: float | None  # pass rate
    break_even: float  # pass rate from which it gains, at the mean cost that was seen; above 1 it never does
    over_alternative: tuple[float, float, float] | None  # value, low and high of what a case gains over the alternative
    break_even_alternative: float | None  # pass rate from which it beats the alternative
    confidence_level: float
    method: str
    n_cases: int
    n_clusters: int | None  # None: no cluster was declared
    assumptions: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None or self.value is None or self.low is None or self.high is None:
            return f"net value: no figure ({self.refused})"
        return (
            f"net value {self.value:+.4g} a case [{self.low:+.4g}, {self.high:+.4g}] ({self.confidence_level:.4g}); "
            f"it pays from {self.break_even:.1%} passes on, and {self.success:.1%} were seen"
        )


def net_value(
    passed: FloatArray,
    cost: FloatArray,
    cluster: IntArray | None = None,
    *,
    value: float,
    harm: float,
    alternative: Alternative | None = None,
    rng: np.random.Generator,
    confidence_level: float = 0.95,
    draws: int = DRAWS,
) -> NetValue:
    """The mean of value x pass - harm x fail - cost, per case and per 1,000 cases, with its interval.

    `passed` in [0, 1] and `cost` at least 0 have one entry an attempt, failed ones included; `value` is what a pass gains,
    `harm` what a failure loses. With p the pass rate it is (value + harm) p - harm - mean cost. A t interval has no width
    while no failure was seen, however dear one would be; so Korn and Graubard's interval of p and the cluster t interval of
    the cost are joined (`net_of_cost`). `over_alternative` takes cost and success of the alternative as known.
    `probability_positive` resamples whole clusters `draws` times; it is descriptive, and 1 where
    every resample gains.

    Refused without data (`NO_DATA`), off the scale (`OFF_SCALE`), and with fewer than 6 cases or clusters
    (`TOO_FEW_CASES`, `TOO_FEW_CLUSTERS`). `ValueError` where a pass is worth no more than a failure.
    """
    n = len(cost)
    index, groups = numbered(cluster, n)
    clusters = None if cluster is None else groups
    refused = refused_costs(cost, passed, cluster)
    if refused is not None:
        needed = break_even(value, harm, 0.0)
        return NetValue(None, None, None, None, None, None, needed, None, None, confidence_level, "none", n, clusters, refused=refused)
    mean_cost, gain = float(np.mean(cost)), value + harm
    needed = break_even(value, harm, mean_cost)
    net, (low, high) = net_of_cost(passed, cost, index, gain=gain, confidence_level=confidence_level)
    net, low, high = net - harm, low - harm, high - harm
    over: tuple[float, float, float] | None = None
    needed_over: float | None = None
    if alternative is not None:
        instead = gain * alternative.success - harm - alternative.cost
        over = (net - instead, low - instead, high - instead)
        needed_over = alternative.success + (mean_cost - alternative.cost) / gain
    totals = np.bincount(index, weights=gain * passed - harm - cost, minlength=groups)
    sums = np.concatenate([times @ totals for times in _resamples(groups, draws, rng)])
    return NetValue(
        value=net,
        low=low,
        high=high,
        per_1000=(1000 * net, 1000 * low, 1000 * high),
        probability_positive=float(np.mean(sums > 0)),
        success=float(np.mean(passed)),
        break_even=needed,
        over_alternative=over,
        break_even_alternative=needed_over,
        confidence_level=confidence_level,
        method="Korn-Graubard pass rate and t on costs, joined by MOVER",
        n_cases=n,
        n_clusters=clusters,
        assumptions=(
            "cases are independent of one another" if cluster is None else "clusters are independent of one another",
            f"a pass gains {value:g} and a failure loses {harm:g}",
        ),
    )


def _resamples(groups: int, draws: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each cluster enters each bootstrap sample, some samples (rows) at a time."""
    block = max(1, min(draws, BLOCK_NUMBERS // groups))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = rng.integers(0, groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


class Swing(NamedTuple):
    """What the net value is at both ends of one assumption's range, all others at their middle."""

    name: str
    lowest: float  # the assumption
    highest: float
    value_at_lowest: float  # net value a case
    value_at_highest: float
    changes_sign: bool  # whether the system gains at one end and loses at the other


@dataclass(frozen=True, slots=True)
class Tornado(Result):
    """How much the net value hangs on each assumption, the largest swing first."""

    value: float | None  # net value a case with all assumptions at their middle
    swings: tuple[Swing, ...]
    confidence_level: float  # of the ranges of pass rate and cost, which the data give
    n_cases: int
    n_clusters: int | None  # None: no cluster was declared
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"net value by assumption: no figure ({self.refused})"
        first = self.swings[0]
        ends = sorted((first.value_at_lowest, first.value_at_highest))
        return (
            f"net value {self.value:+.4g} a case; it hangs most on {first.name}, which moves it between {ends[0]:+.4g} and {ends[1]:+.4g}"
        )


def tornado(
    passed: FloatArray,
    cost: FloatArray,
    cluster: IntArray | None = None,
    *,
    value: tuple[float, float, float],
    harm: tuple[float, float, float],
    confidence_level: float = 0.95,
) -> Tornado:
    """The net value at both ends of each assumption's range, one moved at a time, the largest swing first.

    `value` and `harm` are given as (lowest, middle, highest). Pass rate and cost move over their own intervals, Korn and
    Graubard's and the cluster t interval (from 0 on). Refused as `net_value`. `ValueError` where a range is out of order.
    """
    for name, (lowest, middle, highest) in (("value", value), ("harm", harm)):
        if not lowest <= middle <= highest:
            raise ValueError(f"{name} must be given as lowest, middle, highest, not {lowest:g}, {middle:g}, {highest:g}")
    n = len(cost)
    index, groups = numbered(cluster, n)
    clusters = None if cluster is None else groups
    refused = refused_costs(cost, passed, cluster)
    if refused is not None:
        return Tornado(None, (), confidence_level, n, clusters, refused)
    p, c = float(np.mean(passed)), float(np.mean(cost))
    rate = korn_graubard(passed, index, confidence_level=confidence_level)
    spent = _cost_interval(cost, index, groups, confidence_level)
    middle_of = {"value of a pass": value[1], "harm of a failure": harm[1], "pass rate": p, "cost of a case": c}
    ranges = {
        "value of a pass": (value[0], value[2]),
        "harm of a failure": (harm[0], harm[2]),
        "pass rate": tuple(rate),
        "cost of a case": (max(0.0, spent.low), spent.high),
    }

    def net(**moved: float) -> float:
        at = middle_of | moved
        return at["value of a pass"] * at["pass rate"] - at["harm of a failure"] * (1 - at["pass rate"]) - at["cost of a case"]

    swings = []
    for name, (lowest, highest) in ranges.items():
        ends = net(**{name: lowest}), net(**{name: highest})
        swings.append(Swing(name, float(lowest), float(highest), *ends, min(ends) < 0 < max(ends)))
    swings.sort(key=lambda swing: -abs(swing.value_at_highest - swing.value_at_lowest))
    return Tornado(net(), tuple(swings), confidence_level, n, clusters)


def _cost_interval(cost: FloatArray, index: IntArray, groups: int, confidence_level: float) -> Interval:
    """The cluster t interval of a mean that has no upper limit."""
    n, mean = len(cost), float(np.mean(cost))
    off = np.bincount(index, weights=cost - mean, minlength=groups)
    half = float(stdtrit(groups - 1, 0.5 + confidence_level / 2)) * math.sqrt(groups / (groups - 1) * float(off @ off)) / n
    return Interval(mean - half, mean + half)


class Offer(NamedTuple):
    """One system on the way from price to quality."""

    name: str
    quality: float  # mean score
    cost: float  # mean cost a case
    probability_best_somewhere: float  # share of bootstrap samples in which no other system is both better and cheaper
    dominated_by: tuple[str, ...]  # systems that are better and cheaper beyond doubt
    tied_with: tuple[str, ...]  # systems that neither quality nor cost tells apart from it


@dataclass(frozen=True, slots=True)
class ParetoFrontier(Result):
    """Which systems no other one beats on both quality and cost."""

    offers: tuple[Offer, ...]  # cheapest first
    frontier: tuple[tuple[str, ...], ...]  # systems that none is shown to dominate, those tied with one another joined
    confidence_level: float  # that all comparisons hold at once
    method: str
    n_cases: int
    n_clusters: int | None  # None: no cluster was declared
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"frontier of quality and cost: no figure ({self.refused})"
        return f"on the frontier of quality and cost: {', '.join(' = '.join(joined) for joined in self.frontier)}"


def pareto_frontier(
    quality: FloatArray,
    cost: FloatArray,
    cluster: IntArray | None = None,
    *,
    names: Sequence[str],
    rng: np.random.Generator,
    confidence_level: float = 0.95,
    draws: int = DRAWS,
) -> ParetoFrontier:
    """Which of several systems are undominated, from their scores in [0, 1] and costs on the same cases (cases x systems).

    A system is dominated where bounds that hold all at once put another one above it in quality and below it in cost.
    Differences of quality have the intervals of `PairedIntervals`, those of cost cluster t intervals, each of the
    S(S - 1) for S systems at 1 - (1 - level)/(S(S - 1)) (Bonferroni). `probability_best_somewhere` counts the bootstrap
    samples of whole clusters, joint over systems, in which no system is at least as good on both axes and better on one;
    it is descriptive. Systems whose intervals hold 0 on both axes are tied, and joined where both are undominated.

    Refused without data (`NO_DATA`), with a score or cost off its scale, a missing one among them (`OFF_SCALE`), and with
    fewer than 6 cases or clusters (`TOO_FEW_CASES`, `TOO_FEW_CLUSTERS`). `ValueError` for arrays of other shapes, or names
    that are not one for each system.
    """
    if quality.ndim != 2 or quality.shape != cost.shape or len(names) != quality.shape[1] or len(set(names)) != len(names):
        raise ValueError(f"quality {quality.shape} and cost {cost.shape} must be cases x systems, with a name for each system")
    n, systems = quality.shape
    index, groups = numbered(cluster, n)
    clusters = None if cluster is None else groups
    reasons = (refused_costs(cost[:, s], quality[:, s], cluster) for s in range(systems))
    refused = next((reason for reason in reasons if reason is not None), None)
    if systems == 0:
        refused = Refusal("NO_DATA", "there is no system", "run the study")
    if refused is not None:
        return ParetoFrontier((), (), confidence_level, "none", n, clusters, refused)
    level = 1 - (1 - confidence_level) / max(1, systems * (systems - 1))
    better = np.zeros((systems, systems), dtype=bool)
    cheaper = np.zeros((systems, systems), dtype=bool)
    # the same draws for each pair, so that the order of systems does not change which of them differ
    flips = int(rng.integers(2**63))
    for a, b in combinations(range(systems), 2):
        gap = PairedIntervals(quality[:, a] - quality[:, b], cluster, single=True, rng=np.random.default_rng(flips)).at(level)
        dearer = _cost_interval(cost[:, a] - cost[:, b], index, groups, level)
        better[a, b], better[b, a] = gap.low > 0, gap.high < 0
        cheaper[b, a], cheaper[a, b] = dearer.low > 0, dearer.high < 0
    dominates = better & cheaper
    tied = ~(better | better.T | cheaper | cheaper.T) & ~np.eye(systems, dtype=bool)
    share = _undominated(quality, cost, index, groups, draws, rng)
    mean_quality, mean_cost = quality.mean(axis=0), cost.mean(axis=0)
    order = sorted(range(systems), key=lambda s: (mean_cost[s], -mean_quality[s], names[s]))
    offers = tuple(
        Offer(
            names[s],
            float(mean_quality[s]),
            float(mean_cost[s]),
            float(share[s]),
            tuple(names[other] for other in order if dominates[other, s]),
            tuple(names[other] for other in order if tied[other, s]),
        )
        for s in order
    )
    free = [s for s in order if not dominates[:, s].any()]
    frontier = tuple(tuple(names[s] for s in joined) for joined in _joined(free, tied))
    method = f"paired intervals of quality and t on costs at {level:.4g}, all at once by Bonferroni"
    return ParetoFrontier(offers, frontier, confidence_level, method, n, clusters)


def _undominated(quality: FloatArray, cost: FloatArray, index: IntArray, groups: int, draws: int, rng: np.random.Generator) -> FloatArray:
    """For each system the share of bootstrap samples in which none is as good and as cheap, and better on one of the two."""
    systems = quality.shape[1]
    columns = [*quality.T, *cost.T]
    totals = np.column_stack([np.bincount(index, weights=column, minlength=groups) for column in columns])
    count = np.zeros(systems)
    for times in _resamples(groups, draws, rng):
        sums = (times @ totals).round(9)  # equal systems must stay equal whatever the order of adding
        good, dear = sums[:, :systems], sums[:, systems:]
        for s in range(systems):
            as_good = (good >= good[:, [s]]) & (dear <= dear[:, [s]])
            strictly = (good > good[:, [s]]) | (dear < dear[:, [s]])
            count[s] += np.count_nonzero(~(as_good & strictly).any(axis=1))
    return count / draws


def _joined(systems: list[int], tied: NDArray[np.bool_]) -> list[list[int]]:
    """The systems in their order, those tied directly or through others in one list."""
    lists: list[list[int]] = []
    for s in systems:
        touching = [one for one in lists if any(tied[s, other] for other in one)]
        merged = sorted([s, *(other for one in touching for other in one)], key=systems.index)
        lists = sorted([*(one for one in lists if one not in touching), merged], key=lambda one: systems.index(one[0]))
    return lists
