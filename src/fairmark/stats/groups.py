"""Groups side by side: is any of them far behind another?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, ndtri

from fairmark.results import Refusal, Result, VerdictWord
from fairmark.stats.clusters import BETTING_BELOW, FEWEST_CLUSTERS, betting, korn_graubard, numbered
from fairmark.stats.estimates import CLUSTERS, INDEPENDENT, refused_input
from fairmark.stats.intervals import FloatArray, IntArray, Interval, one_sided_p
from fairmark.stats.paired import PairedIntervals
from fairmark.stats.proportions import mover_difference, newcombe_difference, wilson

FEWEST_TO_SAY = 5  # cases of a group; of fewer nothing is shown, as single people could be made out
FEWEST_FOR_A_FIGURE = 10  # of fewer only the interval is shown, as the figure alone would be believed
SIMULTANEOUS_FROM = 6  # groups; from here on the joint distribution of all differences asks less than dividing alpha by their number
DRAWS = 9_999
POWER = 0.8  # chance of a decision that the number of further cases is worked out for
MOST_CASES = 1_000_000  # a gap that needs more cases than this lies at the margin
EXACT_UP_TO = 20_000  # cases; up to here the gap of equal groups is added up over the binomial distributions

BoolArray = NDArray[np.bool_]
At = Callable[[float], Interval]  # the interval at a confidence level, nested in it


class GroupGap(NamedTuple):
    """Whether no group is more than a margin behind another."""

    upper: Mapping[tuple[int, int], float]  # (i, j): upper one-sided bound of the pass rate of group i minus that of j
    verdict: VerdictWord
    furthest: tuple[int, int] | None  # the pair with the largest such bound; None for fewer than two groups


def group_gap(counts: Sequence[tuple[float, float]], *, within: float, alpha: float = 0.025) -> GroupGap:
    """The intersection-union test that every pass rate is less than `within` ahead of every other (Berger 1982).

    `counts` holds (passes, cases) of independent groups. Supported where all one-sided upper Newcombe bounds at alpha
    are below the margin, which needs no correction for their number; refuted where some lower bound at
    alpha / (G (G - 1)) is above it; else undecided, `furthest` then names the pair that stands in the way.
    """
    pairs = [(i, j) for i in range(len(counts)) for j in range(len(counts)) if i != j]
    if not pairs:
        return GroupGap({}, "undecided", None)
    upper = {(i, j): newcombe_difference(*counts[i], *counts[j], confidence_level=1 - 2 * alpha).high for i, j in pairs}
    strict = 1 - 2 * alpha / len(pairs)
    verdict: VerdictWord = "undecided"
    if all(bound < within for bound in upper.values()):
        verdict = "supported"
    elif any(newcombe_difference(*counts[i], *counts[j], confidence_level=strict).low > within for i, j in pairs):
        verdict = "refuted"
    return GroupGap(upper, verdict, max(pairs, key=lambda pair: upper[pair]))


@dataclass(frozen=True, slots=True)
class GroupMean(Result):
    """One group by itself."""

    group: str
    n_cases: int
    n_clusters: int | None  # None: no cluster was declared
    value: float | None  # None where refused, and for fewer than 10 cases
    low: float | None
    high: float | None
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.group}: no figure ({self.refused})"
        figure = "" if self.value is None else f"{self.value:.3f} "
        return f"{self.group}: {figure}[{self.low:.3f}, {self.high:.3f}] of {self.n_cases} cases"


@dataclass(frozen=True, slots=True)
class PairDifference(Result):
    """One group minus another."""

    ahead: str
    behind: str
    difference: float | None  # mean of the first minus that of the second; None where either has fewer than 10 cases
    low: float  # one-sided bounds at the alpha of the gap
    high: float
    method: str
    n_shared: int  # cases that both groups hold and that are compared within themselves; 0 for separate groups

    def headline(self) -> str:
        figure = "" if self.difference is None else f"{self.difference:+.3f} "
        return f"{self.ahead} minus {self.behind}: {figure}[{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True, slots=True)
class GroupsGap(Result):
    """Whether no group is more than a margin behind another, and what that rests on."""

    verdict: VerdictWord  # of the claim that every group is less than `within` behind every other
    within: float  # the margin
    alpha: float  # one-sided level
    furthest: tuple[str, str] | None  # the pair whose bound is largest: ahead, behind
    upper: float | None  # that bound: the gap is less than this
    lower: float | None  # the largest lower bound of all pairs at `refute_level`: the gap is more than this
    refute_level: float | None  # one-sided level of each pair at which all hold together
    observed: float | None  # largest difference of two means, not below 0; None where that would show a small group
    expected_if_equal: float | None  # mean of the observed gap if all groups were equally good
    p_support: float | None  # one-sided, by inversion; None where a group is left out
    p_refute: float | None  # one-sided, of all pairs together
    cases_needed: tuple[int, int] | None  # of each of the furthest pair, to decide in 8 of 10 studies if they differ as seen
    cases_if_equal: int | None  # in each group, to support the claim in 8 of 10 studies if all are equally good
    groups: tuple[GroupMean, ...]
    pairs: tuple[PairDifference, ...]  # each pair once, the group with the higher mean first
    method: str
    n_cases: int
    n_clusters: int | None
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    why: str = ""  # what stands in the way, where it is undecided
    next: str = ""  # what would decide it
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"no group more than {self.within:g} behind another: no decision ({self.refused})"
        said = f"no group more than {self.within:g} behind another: {self.verdict}"
        if self.furthest is not None and self.upper is not None:
            said += f"; {self.furthest[1]} is less than {max(self.upper, 0):.3f} behind {self.furthest[0]}"
        if self.observed is not None and self.expected_if_equal is not None:
            said += f" (seen {self.observed:.3f}, {self.expected_if_equal:.3f} is usual among equals; one-sided {self.alpha:g})"
        return said


def gap_between_groups(
    y: FloatArray,
    group: IntArray,
    cluster: IntArray | None = None,
    *,
    within: float,
    case: IntArray | None = None,
    names: Sequence[str] | None = None,
    alpha: float = 0.025,
    rng: np.random.Generator,
) -> GroupsGap:
    """Whether no group's mean is `within` or more behind another's, by the intersection-union test (Berger 1982).

    `y` holds 0/1 or scores in [0, 1], one a response; `group` its group from 0 (below 0: not known, left out) with
    `names`; `cluster` its cluster; `case` its case where a case was answered several times, in one group or in several.
    Every ordered pair gets a one-sided upper bound at alpha: within the cases where both groups hold the same ones
    (`PairedIntervals`), else by MOVER on Wilson's intervals (Newcombe), or with clusters or repeated cases on Korn and
    Graubard's, or on the betting intervals of fewer than 20 units with scores. Clusters that two groups share widen the
    difference where the two move against each other there, and never narrow it.

    Supported where all these bounds are below `within`; refuted where a lower bound is above it at alpha / (G (G - 1)),
    or from 6 groups on at the level at which the bounds hold together by the joint normal distribution of the means
    (max-t; never stricter than the former); else undecided. `observed` stands beside `expected_if_equal`, because groups
    that are equally good show a gap as well.

    Refused: `NO_DATA`, `OFF_SCALE`, `ONE_GROUP`; `TOO_FEW_TO_SAY` where a group has fewer than 5 cases and
    `TOO_FEW_CLUSTERS` where one has fewer than 6 clusters, unless the others refute the claim already.
    """
    y, group = np.asarray(y, dtype=np.float64), np.asarray(group)
    _same_length(y, group, cluster, case)
    _is_margin(within)
    warnings = []
    if not np.all(group >= 0):
        known = group >= 0
        warnings.append(f"{int(np.count_nonzero(~known))} responses belong to no known group and are left out")
        y, group = y[known], group[known]
        cluster, case = (None if one is None else np.asarray(one)[known] for one in (cluster, case))
    codes, place = np.unique(group, return_inverse=True)
    if names is not None and len(codes) and codes[-1] >= len(names):
        raise ValueError(f"group {int(codes[-1])} has no name: there are {len(names)}")
    called = [names[int(code)] if names is not None else str(int(code)) for code in codes]
    clusters = None if cluster is None else numbered(cluster, len(y))[1]
    n_cases = len(y) if case is None else numbered(case, len(y))[1]
    refused = refused_input(y)
    if refused is None and len(codes) < 2:
        refused = Refusal("ONE_GROUP", "a gap needs at least two groups", "give the responses' groups, or test one more group")
    if refused is not None:
        return _refused(refused, within, alpha, n_cases, clusters, tuple(warnings))
    sides = _Sides(y, place, len(codes), cluster, case)
    rows = tuple(sides.row(i, called[i], alpha) for i in range(len(codes)))
    kept = [i for i, row in enumerate(rows) if row.refused is None]
    pairs = sides.pairs(kept, rng)
    if sides.half_shared:
        warnings.append("some cases are in both of two groups and some in one: these groups are compared as separate ones")
    method = f"intersection-union test: {'; '.join(sorted({pair.method for pair in pairs}))}" if pairs else "none"
    assumptions = (CLUSTERS if cluster is not None else INDEPENDENT,)
    return _decided(
        pairs, rows, kept, sides.covariance[np.ix_(kept, kept)], sides.equal_gap(kept, rng),
        within=within, alpha=alpha, rng=rng, method=method, n_cases=n_cases, n_clusters=clusters,
        assumptions=assumptions, warnings=tuple(warnings),
    )  # fmt: skip


def gap_of(
    estimates: Sequence[At | None],
    values: Sequence[float | None],
    *,
    within: float,
    names: Sequence[str] | None = None,
    n_cases: Sequence[int] | None = None,
    alpha: float = 0.025,
    rng: np.random.Generator | None = None,
) -> GroupsGap:
    """The same test on estimates that are ready: each group's value and the function that gives its interval at a level.

    So a sentence about groups can rest on rates that were corrected within each group. The pairs are joined by MOVER, as
    for groups that were estimated independently. None stands for a group without an estimate, and the claim is then
    refused `GROUP_WITHOUT_ESTIMATE` unless the others refute it; `TOO_FEW_TO_SAY` and `ONE_GROUP` as in
    `gap_between_groups`, the former only where `n_cases` are given. The refutation of 6 groups or more uses max-t where
    `rng` is given. Values lie in [0, 1], or the claim is refused `OFF_SCALE`.
    """
    if len(estimates) != len(values) or (names is not None and len(names) != len(values)):
        raise ValueError(f"{len(estimates)} estimates, {len(values)} values and their names do not belong together")
    if n_cases is not None and len(n_cases) != len(values):
        raise ValueError(f"{len(values)} groups and {len(n_cases)} numbers of cases do not belong together")
    _is_margin(within)
    called = [str(i) for i in range(len(values))] if names is None else list(names)
    total = sum(n_cases) if n_cases is not None else 0
    refused = None
    if len(values) < 2:
        refused = Refusal("ONE_GROUP", "a gap needs at least two groups", "give the estimates of one more group")
    elif not all(value is None or 0 <= value <= 1 for value in values):
        refused = Refusal("OFF_SCALE", "a group's estimate lies outside 0 to 1", "bring the scores to the scale 0 to 1")
    if refused is not None:
        return _refused(refused, within, alpha, total, None, ())
    rows, ready = [], {}
    for i, (estimate, value) in enumerate(zip(estimates, values, strict=True)):
        cases = FEWEST_FOR_A_FIGURE if n_cases is None else n_cases[i]
        why = _too_few(called[i], cases, None)
        if why is None and (estimate is None or value is None):
            why = Refusal("GROUP_WITHOUT_ESTIMATE", f"there is no estimate for {called[i]}", f"see what the estimate of {called[i]} needs")
        if why is None and estimate is not None and value is not None:
            ready[i] = (float(value), _remembered(estimate))
        rows.append(_row(called[i], 0 if n_cases is None else cases, cases, None, ready.get(i), alpha, why))
    kept = sorted(ready)
    pairs = []
    for first, second in ((i, j) for i in kept for j in kept if i < j):
        if ready[first][0] < ready[second][0]:
            first, second = second, first
        pairs.append(_Pair(first, second, ready[first][0] - ready[second][0], _mover(ready[first], ready[second], 0.0), "MOVER", 0))
    z = float(ndtri(0.975))
    widths = np.array([(ready[i][1](0.95).high - ready[i][1](0.95).low) / (2 * z) for i in kept])
    return _decided(
        pairs, tuple(rows), kept, np.diag(widths**2), _normal_gap(widths) if len(kept) > 1 else None,
        within=within, alpha=alpha, rng=rng, method="intersection-union test: MOVER", n_cases=total, n_clusters=None,
        assumptions=("the groups' estimates are independent of one another",), warnings=(),
    )  # fmt: skip


def cases_for_a_gap(
    groups: int, *, rate: float, within: float, alpha: float = 0.025, power: float = POWER, design_effect: float = 1.0
) -> int:
    """Cases in each of so many equally good groups for the claim "no group more than `within` behind" to be supported.

    n = rate (1 - rate) design_effect ((sqrt(2) z_a + q) / within)^2, q the quantile at `power` of the range of so many
    standard normal variables: all pairs have to pass, so the furthest one decides. Normal approximation.
    """
    if groups < 2 or not 0 < within < 1 or not 0 < rate < 1:
        raise ValueError(f"{groups} groups at {rate:g} within {within:g} make no plan")
    t = np.linspace(-9, 9, 3601)
    density = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    low, high = 0.0, 20.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        chance = groups * float(np.trapezoid(density * (ndtr(t + middle) - ndtr(t)) ** (groups - 1), t))
        low, high = (middle, high) if chance < power else (low, middle)
    spread = math.sqrt(2) * float(-ndtri(alpha)) + high
    return math.ceil(rate * (1 - rate) * design_effect * (spread / within) ** 2)


def interval_of(y: FloatArray, cluster: IntArray | None) -> tuple[At, str]:
    """The interval of a group's mean as a function of the level, and its name: what MOVER joins.

    Wilson's for 0/1 cases, Korn and Graubard's for clusters and scores, the betting interval for scores of fewer than 20
    units.
    """
    binary = bool(np.all((y == 0) | (y == 1)))
    if cluster is None and binary:
        x, n = float(np.sum(y)), len(y)
        return _remembered(lambda level: wilson(x, n, confidence_level=level)), "Newcombe"
    units, count = numbered(cluster, len(y))
    if binary or count >= BETTING_BELOW:
        return _remembered(lambda level: korn_graubard(y, units, confidence_level=level)), "MOVER on Korn-Graubard"
    return _remembered(lambda level: betting(y, units, confidence_level=level)), "MOVER on betting intervals"


def unordered(differences: FloatArray, cluster: IntArray | None) -> tuple[FloatArray, IntArray | None]:
    """The differences in an order that depends on what they are and not on where they stood, clusters kept together.

    Random sign flips are drawn by place, so that otherwise the order of a file would show in the last digits.
    """
    if cluster is None:
        return np.sort(differences), None
    index, groups = numbered(cluster, len(differences))
    totals, sizes = np.bincount(index, weights=differences, minlength=groups), np.bincount(index, minlength=groups)
    rank = np.empty(groups, dtype=np.int64)
    rank[np.lexsort((sizes, totals.round(12)))] = np.arange(groups)
    order = np.lexsort((differences, rank[index]))
    return differences[order], rank[index][order]


# ---------------------------------------------------------------- pairs


class _Pair(NamedTuple):
    ahead: int
    behind: int
    value: float
    at: At
    method: str
    shared: int


class _Sides:
    """The groups of one set of responses: their means, what these rest on, and the differences of pairs."""

    def __init__(self, y: FloatArray, place: IntArray, groups: int, cluster: IntArray | None, case: IntArray | None) -> None:
        self.y, self.place, self.groups, self.cluster = y, place, groups, cluster
        self.binary = bool(np.all((y == 0) | (y == 1)))
        self.n = np.bincount(place, minlength=groups)
        self.mean = np.bincount(place, weights=y, minlength=groups) / self.n
        self.members = [np.flatnonzero(place == i) for i in range(groups)]
        self.half_shared = False
        self.held = self.case = None  # responses of each case in each group, where a case is in several
        self.cases = self.n
        unit_of = cluster
        if case is not None:
            self.case, cases = numbered(case, len(y))
            pair = np.unique(self.case * groups + place)
            self.cases = np.bincount(pair % groups, minlength=groups)
            if len(pair) > cases:
                self.held = np.bincount(self.case * groups + place, minlength=cases * groups).reshape(cases, groups)
            if cluster is None and (len(pair) > cases or len(pair) < len(y)):
                unit_of = case
            if cluster is not None:
                self.cluster_of_case = np.zeros(cases, dtype=np.int64)
                index = numbered(cluster, len(y))[0]
                self.cluster_of_case[self.case] = index
                if not np.array_equal(self.cluster_of_case[self.case], index):
                    raise ValueError("a case lies in two clusters")
        self.unit, units = numbered(unit_of, len(y))
        self.units = self.n
        if unit_of is not None:
            self.units = np.bincount(np.unique(self.unit * groups + place) % groups, minlength=groups)
        # units that repeat within a group hold dependent responses; else each response of a group is its own unit
        self.alone = cluster is None and bool(np.all(self.units == self.n))
        self.intervals = [interval_of(y[rows], None if self.alone else self.unit[rows]) for rows in self.members]
        self.covariance, self.correlation = self._covariance(units)

    def _covariance(self, units: int) -> tuple[FloatArray, FloatArray | None]:
        """The covariance of the means, linearised over the units, and their correlation where groups share units."""
        moves = (self.y - self.mean[self.place]) / self.n[self.place]
        home = np.zeros(units, dtype=np.int64)
        home[self.unit] = self.place
        factor = np.sqrt(self.units / np.maximum(self.units - 1, 1))
        smoothed = (self.mean * self.units + 0.5) / (self.units + 1)
        floor = smoothed * (1 - smoothed) / self.units
        if np.array_equal(home[self.unit], self.place):
            totals = np.bincount(self.unit, weights=moves, minlength=units)
            variance = np.bincount(home, weights=totals**2, minlength=self.groups) * factor**2
            return np.diag(np.where(variance > 1e-12, variance, floor)), None
        totals = np.bincount(self.unit * self.groups + self.place, weights=moves, minlength=units * self.groups)
        totals = totals.reshape(units, self.groups) * factor
        covariance = totals.T @ totals
        variance = np.diag(covariance)
        covariance = covariance + np.diag(np.where(variance > 1e-12, 0.0, floor))
        scale = np.sqrt(np.diag(covariance))
        return covariance, covariance / np.outer(scale, scale)

    def row(self, i: int, name: str, alpha: float) -> GroupMean:
        clusters = None if self.cluster is None else int(self.units[i])
        cases = int(self.cases[i])
        # Wilson's interval is right for any number of cases; what is learned from a spread needs some units to spread
        units = None if self.binary and self.alone else int(self.units[i])
        why = _too_few(name, cases, units, "cases" if self.cluster is None else "clusters")
        return _row(name, cases, cases, clusters, (float(self.mean[i]), self.intervals[i][0]), alpha, why)

    def pairs(self, kept: Sequence[int], rng: np.random.Generator) -> list[_Pair]:
        seed = int(rng.integers(2**63))
        return [self._pair(i, j, seed) for place, i in enumerate(kept) for j in kept[place + 1 :]]

    def _pair(self, i: int, j: int, seed: int) -> _Pair:
        if self.held is not None:
            there = self.held[:, [i, j]] > 0
            if np.array_equal(there[:, 0], there[:, 1]):
                return self._within_cases(i, j, there[:, 0], seed)
            self.half_shared |= bool(np.any(there.all(axis=1)))
        if self.mean[i] < self.mean[j]:
            i, j = j, i
        against = 0.0 if self.correlation is None else min(0.0, float(self.correlation[i, j]))
        sides = [(float(self.mean[one]), self.intervals[one][0]) for one in (i, j)]
        names = sorted({self.intervals[one][1] for one in (i, j)})
        return _Pair(i, j, sides[0][0] - sides[1][0], _mover(sides[0], sides[1], against), " and ".join(names), 0)

    def _within_cases(self, i: int, j: int, there: BoolArray, seed: int) -> _Pair:
        assert self.held is not None and self.case is not None
        rows = np.flatnonzero((self.place == i) | (self.place == j))
        signed = np.where(self.place[rows] == i, 1.0, -1.0) / self.held[self.case[rows], self.place[rows]]
        cases = np.flatnonzero(there)
        differences = np.bincount(self.case[rows], weights=self.y[rows] * signed, minlength=len(there))[cases].clip(-1, 1)
        if differences.mean() < 0:
            i, j, differences = j, i, -differences
        cluster = None if self.cluster is None else self.cluster_of_case[cases]
        single = self.binary and int(self.held[cases][:, [i, j]].max()) == 1
        values, units = unordered(differences, cluster)
        paired = PairedIntervals(values, units, single=single, rng=np.random.default_rng(seed))
        value = float(differences.mean())
        if paired.refused is not None:  # too few units within the cases: nothing is excluded
            return _Pair(i, j, value, lambda _: Interval(-1.0, 1.0), paired.refused.code, len(cases))
        return _Pair(i, j, value, paired.at, paired.method, len(cases))

    def equal_gap(self, kept: Sequence[int], rng: np.random.Generator) -> float | None:
        """The mean largest difference of these groups if they were equally good and spread as they are."""
        if len(kept) < 2:
            return None
        if self.correlation is not None:
            draws = _normal(self.covariance[np.ix_(kept, kept)], rng)
            return float(np.mean(draws.max(axis=1) - draws.min(axis=1)))
        sizes = self.n[list(kept)]
        if self.binary and self.alone and sizes.sum() <= EXACT_UP_TO:
            return expected_gap(sizes, rate=float(np.sum(self.mean[list(kept)] * sizes) / sizes.sum()))
        return _normal_gap(np.sqrt(np.diag(self.covariance)[list(kept)]))


def expected_gap(sizes: IntArray, *, rate: float) -> float:
    """The mean difference between the best and the worst of groups of such sizes that all pass at this rate. Exact.

    E max - E min, each the sum over the attainable shares of 1 - prod F_i or of prod (1 - F_i), F_i binomial.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    if not len(sizes) or sizes.min() < 1 or not 0 <= rate <= 1:
        raise ValueError("sizes must be from 1 and the rate from 0 to 1")
    shares = np.unique(np.concatenate([np.arange(n + 1) / n for n in sizes]))
    highest, lowest = np.ones(len(shares) - 1), np.ones(len(shares) - 1)
    for n in sizes:
        below = bdtr(np.floor(shares[:-1] * n + 1e-9), int(n), rate)  # chance of a share up to this one
        highest *= below
        lowest *= 1 - below
    return float(np.sum((1 - highest - lowest) * np.diff(shares)))


def _normal_gap(spreads: FloatArray) -> float:
    """The mean range of independent normal variables of mean 0 with these standard deviations."""
    reach = 9 * float(np.max(spreads, initial=0.0))
    if reach == 0:
        return 0.0
    t = np.linspace(-reach, reach, 4001)
    below = ndtr(t[:, None] / np.maximum(spreads, 1e-12))
    return float(np.trapezoid(1 - np.prod(below, axis=1) - np.prod(1 - below, axis=1), t))


def _normal(covariance: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draws of jointly normal means, the same whatever order the groups come in."""
    order = np.lexsort((covariance.sum(axis=0).round(12), np.diag(covariance).round(12)))
    values, vectors = np.linalg.eigh(covariance[np.ix_(order, order)])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    draws = np.empty((DRAWS, len(order)))
    draws[:, order] = rng.standard_normal((DRAWS, len(order))) @ root
    return draws


def _mover(first: tuple[float, At], second: tuple[float, At], against: float) -> At:
    """The interval of first - second; `against`, from -1 to 0, is the correlation of two estimates that move oppositely."""
    value = first[0] - second[0]

    def at(level: float) -> Interval:
        one, two = first[1](level), second[1](level)
        if against == 0:
            return mover_difference(first[0], one, second[0], two)
        a, b = max(0.0, first[0] - one.low), max(0.0, two.high - second[0])
        c, d = max(0.0, one.high - first[0]), max(0.0, second[0] - two.low)
        return Interval(
            max(-1.0, value - math.sqrt(a * a + b * b - 2 * against * a * b)),
            min(1.0, value + math.sqrt(c * c + d * d - 2 * against * c * d)),
        )

    return at


def _remembered(at: At) -> At:
    """The same function, which works out each level once: every group is in many pairs."""
    known: dict[float, Interval] = {}

    def look_up(level: float) -> Interval:
        if level not in known:
            known[level] = at(level)
        return known[level]

    return look_up


# ---------------------------------------------------------------- verdicts


class _Together:
    """At which level each pair's bound holds together with all others: alpha by the number of ordered pairs, or max-t."""

    def __init__(self, covariance: FloatArray, rng: np.random.Generator | None) -> None:
        groups = len(covariance)
        self.count = groups * (groups - 1)
        self.largest: FloatArray | None = None
        if groups >= SIMULTANEOUS_FROM and rng is not None:
            draws, first, second = _normal(covariance, rng), *np.triu_indices(groups, 1)
            variance = np.diag(covariance)
            spread = np.sqrt((variance[first] + variance[second] - 2 * covariance[first, second]).clip(1e-24))
            largest = np.zeros(DRAWS)
            for i, j, one in zip(first, second, spread, strict=True):
                np.maximum(largest, np.abs(draws[:, i] - draws[:, j]) / one, out=largest)
            self.largest = np.sort(largest)

    def level(self, alpha: float) -> float:
        each = alpha / self.count
        place = math.floor(alpha * (DRAWS + 1) + 1e-9)
        if self.largest is None or place < 1:
            return each
        return max(each, float(ndtr(-self.largest[-place])))

    def p(self, smallest: float) -> float:
        """The p of all pairs together, of the smallest one of a single pair."""
        p = min(1.0, self.count * smallest)
        if self.largest is None or smallest >= 0.5:
            return p
        reached = DRAWS - int(np.searchsorted(self.largest, -float(ndtri(smallest))))
        return min(p, (1 + reached) / (DRAWS + 1))


def _decided(
    pairs: Sequence[_Pair],
    rows: tuple[GroupMean, ...],
    kept: Sequence[int],
    covariance: FloatArray,
    expected: float | None,
    *,
    within: float,
    alpha: float,
    rng: np.random.Generator | None,
    method: str,
    n_cases: int,
    n_clusters: int | None,
    assumptions: tuple[str, ...],
    warnings: tuple[str, ...],
) -> GroupsGap:
    left_out = [row for row in rows if row.refused is not None]
    if not pairs:
        missing = left_out[0].refused
        assert missing is not None
        return _refused(missing, within, alpha, n_cases, n_clusters, warnings, rows)
    bounds = [pair.at(1 - 2 * alpha) for pair in pairs]
    together = _Together(covariance, rng)
    strict = together.level(alpha)
    lower = max(max(low, -high) for low, high in (pair.at(1 - 2 * strict) for pair in pairs))
    # the bound of ahead minus behind, and that of behind minus ahead
    uppers = [(bound.high, pair.ahead, pair.behind, pair) for bound, pair in zip(bounds, pairs, strict=True)]
    uppers += [(-bound.low, pair.behind, pair.ahead, pair) for bound, pair in zip(bounds, pairs, strict=True)]
    upper, ahead, behind, furthest = max(uppers, key=lambda one: one[0])
    verdict: VerdictWord = "refuted" if lower > within else "supported" if upper < within and not left_out else "undecided"
    refused = left_out[0].refused if left_out and verdict == "undecided" else None
    if left_out:
        warnings += (f"left out: {', '.join(row.group for row in left_out)}",)
    small = [rows[i].value is None for i in kept]
    needed, equally, why, then = None, None, "", ""
    if verdict == "undecided" and refused is None:
        needed = _needed(furthest, within, alpha, strict, rows)
        why = f"{rows[behind].group} could be up to {upper:.3f} behind {rows[ahead].group}"
        equally = _needed_if_equal(covariance, [rows[i].n_cases for i in kept], within, alpha)
        then = (
            f"collect about {needed[0]} cases of {rows[furthest.ahead].group} and {needed[1]} of {rows[furthest.behind].group}"
            if needed is not None
            else "the gap lies about at the margin: no number of cases that can be collected decides it"
        )
        if needed is not None and furthest.ahead != ahead:
            needed = (needed[1], needed[0])
        if equally is not None:
            then += f"; if all groups are equally good, about {equally} cases in each support it"
    elif refused is not None:
        why, then = refused.why, refused.next
    return GroupsGap(
        verdict=verdict,
        within=float(within),
        alpha=float(alpha),
        furthest=(rows[ahead].group, rows[behind].group),
        upper=upper,
        lower=lower,
        refute_level=strict,
        observed=None if any(small) else max(pair.value for pair in pairs),
        expected_if_equal=expected,
        p_support=None if left_out else _largest_p(pairs, within),
        p_refute=together.p(_smallest_p(pairs, within)),
        cases_needed=needed,
        cases_if_equal=equally,
        groups=rows,
        pairs=tuple(_shown(pair, bound, rows) for pair, bound in zip(pairs, bounds, strict=True)),
        method=method,
        n_cases=n_cases,
        n_clusters=n_clusters,
        assumptions=assumptions,
        warnings=warnings,
        why=why,
        next=then,
        refused=refused,
    )


def _needed_if_equal(covariance: FloatArray, cases: Sequence[int], within: float, alpha: float) -> int | None:
    """Cases in each group by `cases_for_a_gap`, with the mean variance that the differences of these groups show."""
    if not min(cases) or within >= 1:
        return None
    size = np.sqrt(cases)
    each = covariance * np.outer(size, size)  # of one case
    first, second = np.triu_indices(len(cases), 1)
    variance = float(np.mean(each[first, first] + each[second, second] - 2 * each[first, second])) / 2
    found = cases_for_a_gap(len(cases), rate=0.5, within=within, alpha=alpha, design_effect=4 * max(variance, 0.0))
    return max(found, FEWEST_FOR_A_FIGURE) if found <= MOST_CASES else None


def _shown(pair: _Pair, bound: Interval, rows: Sequence[GroupMean]) -> PairDifference:
    ahead, behind = rows[pair.ahead], rows[pair.behind]
    value = None if ahead.value is None or behind.value is None else pair.value
    return PairDifference(ahead.group, behind.group, value, bound.low, bound.high, pair.method, pair.shared)


def _largest_p(pairs: Sequence[_Pair], within: float) -> float:
    """The p of the intersection-union test: the largest of all ordered pairs."""
    largest = 0.0
    for pair in pairs:
        for at, side, bound in ((pair.at, "high", within), (pair.at, "low", -within)):
            low, high = at(1 - 2 * largest) if 0 < largest < 0.5 else (-math.inf, math.inf)
            if largest < 1 and not (high < bound if side == "high" else low > bound):
                largest = max(largest, one_sided_p(at, bound, "high" if side == "high" else "low"))
    return largest


def _smallest_p(pairs: Sequence[_Pair], within: float) -> float:
    """The smallest p against "the first is at most `within` ahead" of all ordered pairs; 1 where none is below one half."""
    smallest = 1.0
    for pair in pairs:
        if pair.at(1 - 2 * min(smallest, 0.499)).low > within:
            smallest = min(smallest, one_sided_p(pair.at, within, "low"))
    return smallest


def _needed(pair: _Pair, within: float, alpha: float, strict: float, rows: Sequence[GroupMean]) -> tuple[int, int] | None:
    """Cases in each group of a pair at which its bound decides in `POWER` of studies, if the difference is the one seen.

    The distance of the bound is (z_a + z_b) / z_a times shorter than the one from the margin has to be, and shrinks with
    the square root of the cases.
    """
    toward = abs(pair.value) < within
    level = alpha if toward else strict
    low, high = pair.at(1 - 2 * level)
    distance = (high - pair.value) if toward else (pair.value - low)
    room, z = abs(within - pair.value), float(-ndtri(level))
    if room <= 1e-9 or z <= 0:
        return None
    factor = ((z + float(ndtri(POWER))) / z * distance / room) ** 2
    cases = [max(FEWEST_FOR_A_FIGURE, math.ceil(min(rows[one].n_cases * factor, 2 * MOST_CASES))) for one in (pair.ahead, pair.behind)]
    return (cases[0], cases[1]) if min(cases) > 0 and max(cases) <= MOST_CASES and rows[pair.ahead].n_cases else None


def _row(
    name: str, n_cases: int, counted: int, clusters: int | None, estimate: tuple[float, At] | None, alpha: float, why: Refusal | None
) -> GroupMean:
    if why is not None or estimate is None:
        return GroupMean(name, n_cases, clusters, None, None, None, why)
    low, high = estimate[1](1 - 2 * alpha)
    return GroupMean(name, n_cases, clusters, estimate[0] if counted >= FEWEST_FOR_A_FIGURE else None, low, high)


def _too_few(name: str, cases: int, units: int | None, what: str = "clusters") -> Refusal | None:
    if cases < FEWEST_TO_SAY:
        why = f"{name} has fewer than {FEWEST_TO_SAY} cases"
        return Refusal("TOO_FEW_TO_SAY", why, f"collect at least {FEWEST_FOR_A_FIGURE} cases of {name}, or declare the claim without it")
    if units is not None and units < FEWEST_CLUSTERS:
        why = f"{units} {what} of {name} cannot tell how other {what} behave"
        return Refusal("TOO_FEW_CLUSTERS", why, f"collect at least {FEWEST_CLUSTERS} {what} of {name}")
    return None


def _refused(
    refused: Refusal,
    within: float,
    alpha: float,
    n_cases: int,
    n_clusters: int | None,
    warnings: tuple[str, ...],
    rows: tuple[GroupMean, ...] = (),
) -> GroupsGap:
    return GroupsGap(
        "undecided", float(within), float(alpha), None, None, None, None, None, None, None, None, None, None, rows, (), "none", n_cases,
        n_clusters, warnings=warnings, why=refused.why, next=refused.next, refused=refused,
    )  # fmt: skip


def _is_margin(within: float) -> None:
    if not 0 < within <= 1:
        raise ValueError(f"the margin must be above 0 and at most 1, not {within:g}")


def _same_length(y: FloatArray, *others: IntArray | None) -> None:
    if any(one is not None and np.shape(one) != np.shape(y) for one in others) or np.ndim(y) != 1:
        raise ValueError("responses, groups, clusters and cases must be arrays of one length")
