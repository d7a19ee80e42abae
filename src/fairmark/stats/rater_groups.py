"""Groups of raters: do they agree within themselves more than with the others? And a grader beside people, the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairmark.results import Estimate, Refusal, Result
from fairmark.stats.agreement import TINY, coded
from fairmark.stats.alpha import mid_ranks, scaled
from fairmark.stats.estimates import estimate_rate
from fairmark.stats.intervals import FloatArray, IntArray, Interval, benjamini_hochberg
from fairmark.stats.reliability import ITEMS_FOR_AN_INTERVAL, NO_SPREAD, Flags, off_scale, one_rater, too_few_items, unmarked
from fairmark.stats.resampling import RESAMPLES, Parts, bootstrap

GroupMetric = Literal["nominal", "ordinal", "interval"]
FEWEST_RATERS = 5  # in the group, and outside it
FEWEST_SHARED = 20  # items marked by the group and by others
LOWEST_CROSS = 0.1  # a ratio to less explodes
FEWEST_DRAWS = 999
BLOCK = 200_000  # items x draws that are held at once
MOST_LOST = 0.05  # share of draws that may leave a figure undefined


class Association(NamedTuple):
    """How one group of raters agrees within itself and with others, as plain arithmetic; None where it is undefined."""

    irr: float | None  # alpha within the group
    d_o: float | None  # mean difference of a mark of the group and one of the others on the same item
    d_e: float | None  # the same whatever the items
    xrr: float | None  # 1 - d_o / d_e, agreement across
    gai: float | None  # irr / xrr; 1 where the group agrees with others as within itself


def group_association(inside: FloatArray, outside: FloatArray, *, metric: GroupMetric = "nominal") -> Association:
    """In-group alpha, cross-group agreement 1 - d_o / d_e and their ratio, from items x raters of the group and of the others.

    d_o and d_e are means over all pairs of a mark of the group and a mark of the others, on items that both marked (Wong,
    Paritosh and Aroyo 2021); irr is Krippendorff's alpha; gai = irr / xrr (Prabhakaran et al. 2024). Ordinal distances are
    those of mid-ranks among all marks, so that both share a yardstick. NaN is missing.
    """
    marks = np.column_stack([inside, outside])
    return _point(_Grid(marks, metric), np.arange(marks.shape[1]) < np.shape(inside)[1])


class _Grid:
    """Marks as points whose squared distances are the metric: one-hot levels (times a half), or scores, or mid-ranks."""

    def __init__(self, marks: FloatArray, metric: GroupMetric) -> None:
        marks = np.asarray(marks, dtype=np.float64)
        self.present = (~np.isnan(marks)).astype(np.float64)
        self.levels, codes = coded(marks[self.present > 0])
        self.half = 0.5 if metric == "nominal" else 1.0
        self.unit = 1.0  # what a squared distance of 1 between points is in the metric
        if metric == "nominal":
            self.points = [np.equal(marks, level).astype(np.float64) for level in self.levels]
            self.squares = self.present
            return
        counts = np.bincount(codes, minlength=len(self.levels)).astype(np.float64)
        at = mid_ranks(counts) if metric == "ordinal" else self.levels
        x = np.zeros(marks.shape)
        if len(self.levels):
            x[self.present > 0] = scaled(at)[codes]
            width = float(at[-1] / 2 - at[0] / 2)
            self.unit = width * width
        self.points, self.squares = [x], x * x


class _Sides(NamedTuple):
    """One side of a comparison: for each item and draw the marks, those squared by weight, and sums of points."""

    m: FloatArray
    m2: FloatArray
    points: list[FloatArray]
    squares: FloatArray


def _side(grid: _Grid, weight: FloatArray) -> _Sides:
    return _Sides(grid.present @ weight, grid.present @ weight**2, [p @ weight for p in grid.points], grid.squares @ weight)


def _others(sides: Sequence[_Sides], group: int) -> _Sides:
    """All sides but one, as one side."""
    rest = [side for place, side in enumerate(sides) if place != group]
    if len(rest) == 1:
        return rest[0]
    m, m2, squares = (np.sum(np.stack(part), axis=0) for part in zip(*((one.m, one.m2, one.squares) for one in rest), strict=True))
    return _Sides(m, m2, [np.sum(np.stack(part), axis=0) for part in zip(*(one.points for one in rest), strict=True)], squares)


def _associate(half: float, a: _Sides, b: _Sides, items: FloatArray | None) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """irr of a, d_o, d_e and xrr of a and b for each draw; NaN where undefined. `items` are weights, items x draws (None: each once).

    A rater drawn twice is no pair of raters: pairs are m^2 - sum of squared weights, m (m - 1) where each counts once.
    """
    v = np.ones_like(a.m) if items is None else items
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = a.m**2 - a.m2
        use = np.where(pairs > 1e-9, v, 0.0)
        differ = 2 * half * np.maximum(0, a.m * a.squares - sum(p * p for p in a.points))
        observed = np.sum(use * np.where(pairs > 1e-9, differ * a.m / pairs, 0), axis=0) / np.sum(use * a.m, axis=0)
        n, squares = np.sum(use * a.m, axis=0), np.sum(use * a.squares, axis=0)
        expected = 2 * half * (n * squares - sum(np.sum(use * p, axis=0) ** 2 for p in a.points))
        expected = expected / (n * n - np.sum(use * a.m2, axis=0))
        irr = _one_minus(observed, expected)
        use = np.where((a.m > 0) & (b.m > 0), v, 0.0)
        across = b.m * a.squares + a.m * b.squares - 2 * sum(p * q for p, q in zip(a.points, b.points, strict=True))
        d_o = half * np.sum(use * np.maximum(0, across), axis=0) / np.sum(use * a.m * b.m, axis=0)
        n, other = np.sum(use * a.m, axis=0), np.sum(use * b.m, axis=0)
        total = other * np.sum(use * a.squares, axis=0) + n * np.sum(use * b.squares, axis=0)
        total -= 2 * sum(np.sum(use * p, axis=0) * np.sum(use * q, axis=0) for p, q in zip(a.points, b.points, strict=True))
        d_e = half * total / (n * other)
        return irr, d_o, d_e, _one_minus(d_o, d_e)


def _one_minus(observed: FloatArray, expected: FloatArray) -> FloatArray:
    return np.where(expected > 1e-12 * (1 + observed), 1 - observed / expected, np.nan)


@dataclass(frozen=True, slots=True)
class RaterGroup(Result):
    """One group of raters beside all the others. Its figures are None where it is refused."""

    group: str
    n_raters: int
    n_others: int
    n_shared: int  # items marked by the group and by others
    n_marks: int
    irr: float | None  # agreement within the group, Krippendorff's alpha
    irr_interval: tuple[float, float] | None
    xrr: float | None  # agreement with the others, on the same footing
    xrr_interval: tuple[float, float] | None
    gai: float | None  # irr / xrr: above 1 the group sees these items in a way of its own
    gai_interval: tuple[float, float | None] | None  # None for the upper end: not bounded
    p: float | None  # that chance groups the raters so that their own agreement stands out as much; one-sided
    p_adjusted: float | None  # over the groups, Benjamini and Hochberg
    pass_rate: Estimate | None = None  # None: nobody said what passes
    withheld: Refusal | None = None  # why there is no ratio
    refused: Refusal | None = None

    def headline(self) -> str:
        passes = ""
        if self.pass_rate is not None and self.pass_rate.value is not None:
            passes = f"; passes {100 * self.pass_rate.value:.1f}%"
        if self.refused is not None or self.irr is None or self.xrr is None:
            return f"{self.group}: no figure ({self.refused}){passes}"
        parts = f"{self.group} ({self.n_raters} raters): agreement {self.irr:.3f} within, {self.xrr:.3f} with others"
        if self.gai is None:
            return f"{parts}; no ratio ({self.withheld}){passes}"
        span = ""
        if self.gai_interval is not None:
            low, high = self.gai_interval
            span = f" [{low:.3f}, {'no upper end' if high is None else f'{high:.3f}'}]"
        return f"{parts}, ratio {self.gai:.3f}{span}, adjusted p {self.p_adjusted:.3g}{passes}"


@dataclass(frozen=True, slots=True)
class RaterGroups(Result):
    """All groups side by side. There is no overall figure: how groups weigh in one is a policy to be declared."""

    metric: str
    confidence_level: float
    method: str
    n_items: int
    n_raters: int  # with a group
    n_ungrouped: int  # raters without a group, left out
    groups: tuple[RaterGroup, ...]
    majorities_differ: Estimate  # share of items on which the groups' majorities are not the same level
    n_without_majority: int  # items on which some group has no single commonest level, left out of that share
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"rater groups: no figure ({self.refused})"
        return f"{len(self.groups)} groups of raters: " + "; ".join(group.headline() for group in self.groups)


def rater_groups(
    marks: FloatArray,
    group: Sequence[str],
    cluster: IntArray | None = None,
    *,
    metric: GroupMetric = "nominal",
    passes_from: float | None = None,
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = FEWEST_DRAWS,
) -> RaterGroups:
    """Each group of raters beside the others: agreement within (irr), across (xrr), their ratio (gai), pass rates, majorities.

    `marks` are items x raters (NaN: not marked), `group` names each rater's group ("": unknown, left out), `cluster` each
    item's cluster. With more than two groups the others of a group are all raters outside it. p is one-sided: among random
    regroupings of the raters, who keep their marks, the share with a ratio as large (the angle of irr and xrr, which orders
    ratios also past xrr = 0). Intervals are percentiles over draws of raters within groups, then of items or clusters;
    they are generous, as both are drawn. `passes_from`: the lowest passing mark. Refused for a group with fewer than 5
    raters, or 5 others (`TOO_FEW_RATERS`), or 20 shared items (`TOO_FEW_ITEMS`); the ratio is withheld where xrr is below
    .1 or irr not above 0 (`RATIO_WITHHELD`). At least 999 resamples.
    """
    marks = np.asarray(marks, dtype=np.float64)
    if marks.ndim != 2 or len(group) != marks.shape[1] or (cluster is not None and len(cluster) != len(marks)):
        raise ValueError("marks are items x raters, group names one for each rater and cluster one for each item")
    if resamples < FEWEST_DRAWS:
        raise ValueError(f"a p value needs at least {FEWEST_DRAWS} resamples, not {resamples}")
    of = np.array([str(name) for name in group], dtype=object)
    known = of != ""
    ungrouped = int(np.count_nonzero(~known))
    marks, of = marks[:, known], of[known]
    some = ~np.isnan(marks).all(axis=1) if marks.shape[1] else np.zeros(len(marks), dtype=bool)
    marks, units = marks[some], np.nonzero(some)[0] if cluster is None else np.asarray(cluster)[some]
    names = sorted(set(of))
    amiss = off_scale(marks)
    refused = None
    if not marks.size:
        refused = Refusal("NO_DATA", "no rater with a group marked anything", "name each rater's group")
    elif len(names) < 2:
        refused = Refusal("TOO_FEW_GROUPS", f"all raters are of the group {names[0]}", "let raters of another group mark the same items")
    elif amiss:
        refused = Refusal("OFF_SCALE", amiss, "correct the mark")
    majorities, undecided = _majorities(marks, of, names, None if cluster is None else units, confidence_level)
    if refused is not None:
        return RaterGroups(metric, confidence_level, "none", len(marks), len(of), ungrouped, (), majorities, undecided, refused=refused)
    grid, codes = _Grid(marks, metric), np.array([names.index(name) for name in of])
    sides = [_point(grid, codes == index) for index in range(len(names))]
    stops = [_too_small(grid, codes == index, name) for index, name in enumerate(names)]
    ps, draws = _resample(grid, codes, sides, units, rng, resamples)
    groups, tested = [], [index for index, stop in enumerate(stops) if stop is None and _withheld(sides[index]) is None]
    adjusted = dict(zip(tested, benjamini_hochberg([ps[index] for index in tested]), strict=True))
    for index, name in enumerate(names):
        mine = codes == index
        side, stop = sides[index], stops[index]
        withheld = None if stop is not None else _withheld(side)
        irr, xrr, gai = (_percentiles(values, confidence_level) if stop is None else None for values in draws[index])
        groups.append(
            RaterGroup(
                group=name,
                n_raters=int(mine.sum()),
                n_others=int((~mine).sum()),
                n_shared=_shared(grid, mine),
                n_marks=int(grid.present[:, mine].sum()),
                irr=side.irr if stop is None else None,
                irr_interval=_closed(irr),
                xrr=side.xrr if stop is None else None,
                xrr_interval=_closed(xrr),
                gai=side.gai if stop is None and withheld is None else None,
                gai_interval=None if gai is None or withheld is not None else (gai[0], gai[1] if math.isfinite(gai[1]) else None),
                p=ps[index] if index in adjusted else None,
                p_adjusted=adjusted.get(index),
                pass_rate=None if passes_from is None else _pass_rate(marks[:, mine], passes_from, name, units, confidence_level),
                withheld=withheld,
                refused=stop,
            )
        )
    return RaterGroups(
        metric=metric,
        confidence_level=confidence_level,
        method=f"{resamples} regroupings; percentiles of {resamples} draws of raters, then {'items' if cluster is None else 'clusters'}",
        n_items=len(marks),
        n_raters=len(of),
        n_ungrouped=ungrouped,
        groups=tuple(groups),
        majorities_differ=majorities,
        n_without_majority=undecided,
        warnings=(f"{ungrouped} raters without a group are left out",) if ungrouped else (),
    )


def _point(grid: _Grid, mine: Flags) -> Association:
    inside = mine.astype(np.float64)[:, None]
    irr, d_o, d_e, xrr = (float(part[0]) for part in _associate(grid.half, _side(grid, inside), _side(grid, 1 - inside), None))
    gai = irr / xrr if math.isfinite(irr) and abs(xrr) > TINY else math.nan
    known = (one if math.isfinite(one) else None for one in (irr, d_o * grid.unit, d_e * grid.unit, xrr, gai))
    return Association._make(known)


def _shared(grid: _Grid, mine: Flags) -> int:
    return int(np.count_nonzero((grid.present[:, mine].sum(axis=1) > 0) & (grid.present[:, ~mine].sum(axis=1) > 0)))


def _too_small(grid: _Grid, mine: Flags, name: str) -> Refusal | None:
    inside, outside, shared = int(mine.sum()), int((~mine).sum()), _shared(grid, mine)
    if min(inside, outside) < FEWEST_RATERS:
        few = f"{inside} raters of {name}" if inside < FEWEST_RATERS else f"{outside} raters outside {name}"
        return Refusal("TOO_FEW_RATERS", f"{few} cannot speak for others like them", f"let at least {FEWEST_RATERS} mark these items")
    if shared < FEWEST_SHARED:
        why = f"{name} and the others share {shared} items"
        return Refusal("TOO_FEW_ITEMS", why, f"let both mark at least {FEWEST_SHARED} of the same items")
    side = _point(grid, mine)
    if side.irr is None and side.xrr is not None:
        return Refusal("NO_VARIATION", f"{name} uses one level only, or marks no item twice", "let them mark items that differ in quality")
    return Refusal("NO_VARIATION", "all marks are equal", "mark items that differ in quality") if side.xrr is None else None


def _withheld(side: Association) -> Refusal | None:
    if side.irr is None or side.xrr is None or side.irr <= 0 or side.xrr < LOWEST_CROSS:
        why = "agreement within or across is near chance, where their ratio means nothing"
        return Refusal("RATIO_WITHHELD", why, "read the two agreements side by side")
    return None


def _resample(
    grid: _Grid, codes: IntArray, sides: list[Association], units: IntArray, rng: np.random.Generator, resamples: int
) -> tuple[list[float], list[tuple[FloatArray, FloatArray, FloatArray]]]:
    """For each group the p of its ratio among random regroupings, and draws of irr, xrr and their ratio."""
    groups = len(sides)
    block = max(1, BLOCK // max(len(grid.present), 1))
    beyond = np.zeros(groups)
    observed = np.array([_angle(side.irr, side.xrr) for side in sides])
    irrs: list[list[FloatArray]] = [[] for _ in sides]
    xrrs: list[list[FloatArray]] = [[] for _ in sides]
    names, index = np.unique(units, return_inverse=True)
    for start in range(0, resamples, block):
        width = min(block, resamples - start)
        regrouped = rng.permuted(np.tile(codes, (width, 1)), axis=1).T
        raters = np.zeros((len(codes), width))
        for group in range(groups):
            mine = np.nonzero(codes == group)[0]
            raters[mine] = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=width).T
        items = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=width).T.astype(np.float64)[index]
        by_chance = [_side(grid, np.equal(regrouped, group).astype(np.float64)) for group in range(groups)]
        redrawn = [_side(grid, raters * np.equal(codes, group)[:, None]) for group in range(groups)]
        for group in range(groups):
            irr, _, _, xrr = _associate(grid.half, by_chance[group], _others(by_chance, group), None)
            angle = np.arctan2(irr, xrr)
            # a regrouping without a figure counts against the group
            beyond[group] += np.count_nonzero(~(angle < observed[group] - 1e-12))
            irr, _, _, xrr = _associate(grid.half, redrawn[group], _others(redrawn, group), items)
            irrs[group].append(irr)
            xrrs[group].append(xrr)
    draws = []
    for one, other in zip(irrs, xrrs, strict=True):
        irr, xrr = np.concatenate(one), np.concatenate(other)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(xrr > 0, irr / xrr, np.where(irr > 0, math.inf, np.nan))
        draws.append((irr, xrr, ratio))
    return [float((1 + count) / (1 + resamples)) for count in beyond], draws


def _angle(irr: float | None, xrr: float | None) -> float:
    return math.inf if irr is None or xrr is None else math.atan2(irr, xrr)


def _percentiles(values: FloatArray, confidence_level: float) -> Interval | None:
    """The draws at both tails; None where more than 5% of the draws are undefined. Infinite draws stay above all others."""
    defined = np.sort(values[~np.isnan(values)])
    if len(defined) < (1 - MOST_LOST) * len(values):
        return None
    rank = (1 - confidence_level) / 2 * (len(defined) + 1)
    low = int(min(max(math.floor(rank), 1), len(defined)))
    return Interval(float(defined[low - 1]), float(defined[len(defined) - low]))


def _closed(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _pass_rate(marks: FloatArray, passes_from: float, name: str, units: IntArray, confidence_level: float) -> Estimate:
    """The share of a group's marks that pass. Its marks of one item belong together."""
    present = ~np.isnan(marks)
    return estimate_rate(
        (marks[present] >= passes_from).astype(np.float64),
        units[np.nonzero(present)[0]],
        estimand=f"share of marks by {name} that pass, on items like these",
        confidence_level=confidence_level,
        scorer="human",
        n_cases=int(np.count_nonzero(present.any(axis=1))),
    )


def _majorities(
    marks: FloatArray, of: NDArray[np.object_], names: Sequence[str], units: IntArray | None, confidence_level: float
) -> tuple[Estimate, int]:
    """The share of items on which the groups' commonest levels differ, and the items on which some group has no single one."""
    levels = np.unique(marks[~np.isnan(marks)])
    winners, single = [], np.ones(len(marks), dtype=bool)
    for name in names:
        counts = np.stack([np.sum(marks[:, of == name] == level, axis=1) for level in levels], axis=1) if len(levels) else np.zeros((0, 1))
        most = counts.max(axis=1, initial=0)
        single &= (most > 0) & (np.sum(counts == most[:, None], axis=1) == 1)
        winners.append(counts.argmax(axis=1))
    chosen = np.array(winners).reshape(len(names), len(marks))
    differ = np.any(chosen != chosen[:1], axis=0) if len(names) else np.zeros(len(marks), dtype=bool)
    share = estimate_rate(
        differ[single].astype(np.float64),
        None if units is None else units[single],
        estimand="share of items on which the groups' majorities give different levels",
        confidence_level=confidence_level,
        scorer="human",
    )
    return share, int(np.count_nonzero(~single))


# ---------------------------------------------------------------- how well people agree, and how well a grader does


@dataclass(frozen=True, slots=True)
class Ceiling(Result):
    """How well people agree with one another, and a grader with people, on the same items."""

    metric: str
    confidence_level: float
    method: str
    n_items: int  # marked by two people or more and by the grader
    n_people: int
    n_clusters: int | None
    people_equal: float | None  # chance that two people give the same mark
    grader_equal: float | None  # chance that the grader and a person do
    equal_difference: float | None  # the grader's minus the people's
    equal_interval: tuple[float, float] | None
    people_alpha: float | None  # corrected for chance: Krippendorff's alpha among people
    grader_alpha: float | None  # and 1 - d_o / d_e between the grader and people
    alpha_difference: float | None
    alpha_interval: tuple[float, float] | None
    no_interval: Refusal | None = None
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"people beside the grader: no figure ({self.refused})"
        first = f"two people give the same mark in {100 * self.people_equal:.1f}% of pairs, the grader and a person in "  # type: ignore[operator]
        span = ""
        if self.equal_interval is not None:
            span = f" [{100 * self.equal_interval[0]:+.1f}, {100 * self.equal_interval[1]:+.1f}]"
        points = f"{100 * self.equal_difference:+.1f}{span} points"  # type: ignore[operator]
        return f"{first}{100 * self.grader_equal:.1f}%: {points} on {self.n_items} items of {self.n_people} people"  # type: ignore[operator]


def ceiling(
    people: FloatArray,
    grader: FloatArray,
    cluster: IntArray | None = None,
    *,
    metric: GroupMetric = "nominal",
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Ceiling:
    """Agreement of people with one another beside the grader's with them, raw and corrected for chance, and the differences.

    `people` are items x people, `grader` one mark an item, NaN for missing; only items of two people's marks and the
    grader's count. The share of equal marks is a mean over items of the share of equal pairs; alpha among people and
    1 - d_o / d_e across are those of `group_association`. Intervals of the differences are BCa over items or clusters. A grader
    that is steadier than a person may agree with people better than they do. Refused: `ONE_RATER` (fewer than two people),
    `NOT_DOUBLY_MARKED`, `TOO_FEW_ITEMS` (below 10), `OFF_SCALE`. No interval below 30 items or clusters.
    """
    people, grader = np.asarray(people, dtype=np.float64), np.asarray(grader, dtype=np.float64)
    if people.ndim != 2 or grader.shape != people.shape[:1] or (cluster is not None and len(cluster) != len(people)):
        raise ValueError("people are items x people, grader holds one mark for each item and cluster names one")
    use = (np.sum(~np.isnan(people), axis=1) >= 2) & ~np.isnan(grader)
    amiss = off_scale(people) or off_scale(grader)
    refused = (
        one_rater(~np.isnan(people)) or unmarked(int(use.sum()), "marked by two people and the grader") or too_few_items(int(use.sum()))
    )
    if refused is None and amiss:
        refused = Refusal("OFF_SCALE", amiss, "correct the mark")
    units = None if cluster is None else np.asarray(cluster)[use]
    n, groups = int(use.sum()), None if units is None else len(np.unique(units))
    raters = int(np.count_nonzero(~np.isnan(people[use]).all(axis=0))) if n else 0
    if refused is not None:
        nothing = (None,) * 8
        return Ceiling(metric, confidence_level, "none", n, raters, groups, *nothing, refused=refused)
    grid = _Grid(np.column_stack([people[use], grader[use]]), metric)
    equal, alpha, columns = _ceiling_parts(grid, _Grid(np.column_stack([people[use], grader[use]]), "nominal"))
    shares = columns[:, :2].mean(axis=0)
    irr, _, _, xrr = (
        float(one[0]) for one in _associate(grid.half, _side(grid, _all_but_last(grid)), _side(grid, 1 - _all_but_last(grid)), None)
    )
    intervals: list[tuple[float, float] | None] = [None, None]
    no_interval = None
    if (n if groups is None else groups) < ITEMS_FOR_AN_INTERVAL:
        kind, count = ("items", n) if groups is None else ("clusters", groups)
        why = f"{count} {kind} are too few for an interval"
        no_interval = Refusal(f"TOO_FEW_{kind.upper()}", why, f"mark at least {ITEMS_FOR_AN_INTERVAL} {kind}")
    else:
        for place, parts in enumerate((equal, alpha)):
            if parts.value() is None:
                continue
            draws = bootstrap(parts, units, rng=rng, resamples=resamples, lowest=-2.0, highest=2.0)
            if draws.undefined <= MOST_LOST and draws.draws[-1] - draws.draws[0] > NO_SPREAD:
                intervals[place] = _closed(draws.at(confidence_level))
        if None in intervals:
            no_interval = Refusal("NO_VARIATION", "draws of the items show no spread", "mark items that differ in quality")
    both = math.isfinite(irr) and math.isfinite(xrr)
    return Ceiling(
        metric=metric,
        confidence_level=confidence_level,
        method=f"BCa over {'items' if groups is None else 'clusters'}, {resamples} draws" if any(intervals) else "none",
        n_items=n,
        n_people=raters,
        n_clusters=groups,
        people_equal=float(shares[0]),
        grader_equal=float(shares[1]),
        equal_difference=float(shares[1] - shares[0]),
        equal_interval=intervals[0],
        people_alpha=irr if math.isfinite(irr) else None,
        grader_alpha=xrr if math.isfinite(xrr) else None,
        alpha_difference=xrr - irr if both else None,
        alpha_interval=intervals[1] if both else None,
        no_interval=no_interval,
    )


def _all_but_last(grid: _Grid) -> FloatArray:
    inside = np.ones((grid.present.shape[1], 1))
    inside[-1] = 0
    return inside


def _ceiling_parts(grid: _Grid, plain: _Grid) -> tuple[Parts, Parts, FloatArray]:
    """The difference of equal shares and that of alphas as statistics of sums over items; the last rater is the grader."""
    inside = _all_but_last(grid)

    def pairs(of: _Grid) -> tuple[FloatArray, FloatArray, _Sides, _Sides]:
        a, b = _side(of, inside), _side(of, 1 - inside)
        within = 2 * of.half * np.maximum(0, a.m * a.squares - sum(p * p for p in a.points))
        across = of.half * np.maximum(0, a.squares + a.m * b.squares - 2 * sum(p * q for p, q in zip(a.points, b.points, strict=True)))
        return within[:, 0], across[:, 0], a, b

    within, across, a, _ = pairs(plain)
    m = a.m[:, 0]
    equal = np.column_stack([1 - within / (m * (m - 1)), 1 - across / m, np.ones(len(m))])
    within, across, a, b = pairs(grid)
    q = len(a.points)
    columns = [within / (m - 1), across, m, np.ones(len(m)), a.squares[:, 0], b.squares[:, 0]]
    columns += [p[:, 0] for p in a.points] + [p[:, 0] for p in b.points]

    def difference(sums: FloatArray) -> FloatArray:
        within, across, n, others, squares, of_grader = sums[:, :6].T
        p, g = sums[:, 6 : 6 + q], sums[:, 6 + q :]
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = 2 * grid.half * (n * squares - np.sum(p * p, axis=1)) / (n * (n - 1))
            meeting = grid.half * (others * squares + n * of_grader - 2 * np.sum(p * g, axis=1)) / (n * others)
            return _one_minus(across / n, meeting) - _one_minus(within / n, chance)

    return Parts(equal, lambda sums: (sums[:, 1] - sums[:, 0]) / sums[:, 2]), Parts(np.column_stack(columns), difference), equal
