"""Bars on what corrects a grader's marks by people's: coverage and width on simulated studies with known truth."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import betaincinv, ndtri

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.results import Estimate
from fairmark.stats.corrected_scores import CorrectedMeanDifference, corrected_levels, mean_of_levels, mean_of_scores
from fairmark.stats.correction import BoolArray, Corrected, CorrectedDifference, CorrectedRate, verdict_stratified
from fairmark.stats.estimates import estimate_rate
from fairmark.stats.intervals import FloatArray, IntArray
from fairmark.stats.proportions import clopper_pearson

Cell = TypeVar("Cell", bound=tuple[object, ...])

GRADERS = {"good": (0.98, 0.95), "fair": (0.9, 0.85), "poor": (0.8, 0.7)}


# ---------------------------------------------------------------- simulated studies


def clusters(rng: np.random.Generator, n: int, groups: int, lognormal: bool) -> IntArray:
    """The cluster of each of n responses, none empty."""
    share = rng.lognormal(0, 0.8, groups) if lognormal else np.ones(groups)
    size = 1 + np.floor(share / share.sum() * (n - groups)).astype(int)
    size[: n - size.sum()] += 1
    return np.repeat(np.arange(groups), size)


def chance(rng: np.random.Generator, p: float, icc: float, cluster: IntArray) -> FloatArray:
    """A probability for each response, alike within clusters: Beta with mean p and this intraclass correlation."""
    if icc == 0:
        return np.full(len(cluster), p)
    weight = 1 / icc - 1
    found: FloatArray = rng.beta(p * weight, (1 - p) * weight, int(cluster.max()) + 1)[cluster]
    return found


def graded(rng: np.random.Generator, truth: IntArray, grader: tuple[float, float], error_icc: float, cluster: IntArray) -> IntArray:
    """The grader's verdicts at its sensitivity and specificity."""
    right = np.where(truth == 1, chance(rng, grader[0], error_icc, cluster), chance(rng, grader[1], error_icc, cluster))
    return np.where(rng.random(len(truth)) < right, truth, 1 - truth)


def drawn(rng: np.random.Generator, stratum: IntArray, marks: int, *, equal: bool = False, fewest: int = 4) -> BoolArray:
    """Which responses people mark: at random within strata, in proportion or equally many, and `fewest` of each (or all)."""
    chosen = np.zeros(len(stratum), dtype=bool)
    codes, counts = np.unique(stratum, return_counts=True)
    for code, count in zip(codes, counts, strict=True):
        wanted = marks / len(codes) if equal else marks * count / len(stratum)
        chosen[rng.permutation(np.flatnonzero(stratum == code))[: max(round(wanted), min(fewest, count))]] = True
    return chosen


# ---------------------------------------------------------------- counting


class Score(NamedTuple):
    """How a method did in one cell."""

    cover: float  # of the studies that were answered
    width: float
    refused: float  # share of studies
    narrowest: float

    @property
    def right(self) -> float:
        """Share of the studies that are not shown a wrong interval: it covers, or there is a refusal."""
        return 1 - (1 - self.refused) * (1 - self.cover)


Study = Callable[[np.random.Generator], tuple[float, float] | None]  # an interval, or None where it is refused


def score(rng: np.random.Generator, study: Study, truth: float, times: int) -> Score:
    found = [study(rng) for _ in range(times)]
    answered = [interval for interval in found if interval is not None]
    if not answered:
        return Score(1.0, 0.0, 1.0, 1.0)
    low, high = np.array(answered).T
    held = (low <= truth + 1e-12) & (truth <= high + 1e-12)
    return Score(float(held.mean()), float((high - low).mean()), 1 - len(answered) / times, float((high - low).min()))


def at_95(found: Corrected) -> tuple[float, float] | None:
    return None if found.refused is not None else found.at(0.95)


def shown(found: Estimate) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


class Grid(NamedTuple):
    """The cells of a grid with their scores, and the lowest ones measured again on fresh seeds."""

    scores: list[tuple[tuple[object, ...], Score]]
    again: list[tuple[tuple[object, ...], Score]]
    times: int
    times_again: int

    @property
    def right(self) -> FloatArray:
        return np.array([one.right for _, one in self.scores])

    @property
    def worst(self) -> tuple[tuple[object, ...], Score]:
        return min(self.again, key=lambda pair: pair[1].right)

    @property
    def width(self) -> float:
        return float(np.mean([one.width for _, one in self.scores if one.refused < 1]))

    def holds(self, bar: float) -> bool:
        """Whether no cell is below the bar beyond chance: 4 standard errors in the first look at all, 2 on fresh seeds."""
        first = bool(np.all(self.right >= bar - noise(bar, self.times) * 4 / 3))
        return first and self.worst[1].right >= bar - noise(bar, self.times_again) * 2 / 3

    def figure(self) -> str:
        cell, low = self.worst
        refused = f" ({low.refused:.0%} refused, {low.cover:.3f} of the others)" if low.refused > 0.005 else ""
        return (
            f"mean {self.right.mean():.3f} over {len(self.scores)} cells, mean width {self.width:.3f}; the {len(self.again)} lowest "
            f"again on fresh seeds ({self.times_again} runs, MC error {noise(0.95, self.times_again) / 3:.3f}): min {low.right:.3f}"
            f"{refused} at {cell}"
        )


def measured(
    run: Run, name: str, cells: Sequence[Cell], study: Callable[[Cell], tuple[Study, float]], *, times: int, again: int, times_again: int
) -> Grid:
    """All cells, then the lowest `again` of them on fresh seeds: the minimum of many noisy figures is too low by itself."""
    scores = [(tuple(cell), score(run.rng(name, cell), *study(cell), times)) for cell in cells]
    order = sorted(range(len(cells)), key=lambda place: scores[place][1].right)[:again]
    fresh = [(tuple(cells[place]), score(run.rng(name, cells[place], "again"), *study(cells[place]), times_again)) for place in order]
    return Grid(scores, fresh, times, times_again)


# ---------------------------------------------------------------- B8: counts, independent cases


def independent(p: float, marks: int, grader: tuple[float, float], n: int) -> Study:
    def study(rng: np.random.Generator) -> tuple[float, float] | None:
        truth = (rng.random(n) < p).astype(np.int64)
        verdict = graded(rng, truth, grader, 0, np.arange(n))
        return at_95(CorrectedRate(verdict, np.where(drawn(rng, verdict, marks), truth, -1)))

    return study


def counts(run: Run) -> Outcome:
    cells = list(itertools.product((0.5, 0.7, 0.9, 0.97), (30, 60, 100, 200), ((0.98, 0.95), (0.9, 0.85), (0.8, 0.8), (0.7, 0.7))))
    times, n = run.times(whole=2000, sample=500), 1000
    covers: list[float] = []
    arrays: list[float] = []
    bank: list[float] = []
    width = human = 0.0
    for p, marks, grader in run.cells(cells, sample=16):
        rng = run.rng("B8", p, marks, grader)
        truth = rng.binomial(n, p, times)
        true_pass, false_pass = rng.binomial(truth, grader[0]), rng.binomial(n - truth, 1 - grader[1])
        held = held_bank = 0
        for tp, fp, good in zip(true_pass.tolist(), false_pass.tolist(), truth.tolist(), strict=True):
            passed = tp + fp
            n0 = min(max(round(marks * (n - passed) / n), 4), n - passed)
            n1 = min(max(marks - n0, 4), passed)
            x1 = int(rng.hypergeometric(tp, fp, n1))
            x0 = int(rng.hypergeometric(good - tp, n - passed - good + tp, n0)) if n0 else 0
            found = verdict_stratified(passed, n, x1, n1, x0, n0)
            low, high = found.low or 0.0, found.high or 1.0
            held += low <= p <= high
            width += high - low
            exact = verdict_stratified(passed, n, x1, n1, x0, n0, bank=True)
            held_bank += (exact.low or 0.0) <= good / n <= (exact.high or 1.0)
            alone = clopper_pearson(rng.binomial(n0 + n1, p), n0 + n1)
            human += alone.high - alone.low
        covers.append(held / times)
        bank.append(held_bank / times)

        arrays.append(score(rng, independent(p, marks, grader, n), p, times // 2).cover)
    least, mean, ratio = min(covers), float(np.mean(covers)), width / human
    chance_only = 0.0 if run.whole else noise(0.95, times)
    return Outcome(
        least >= 0.925 - chance_only and mean >= 0.95 - chance_only / 4 and ratio <= 0.75,
        f"min {least:.3f}, mean {mean:.3f} over {len(covers)} cells of {times} runs (MC error {noise(0.95, times) / 3:.3f}); "
        f"mean width {ratio:.3f} of that of people's marks alone",
        (
            f"about exactly this bank: min {min(bank):.3f}, mean {np.mean(bank):.3f}",
            f"from arrays, with a design effect: min {min(arrays):.3f}, mean {np.mean(arrays):.3f} ({times // 2} runs)",
        ),
    )


# ---------------------------------------------------------------- B8c: levels with clusters


class RateCell(NamedTuple):
    groups: int
    lognormal: bool
    icc: float
    error_icc: float
    marks: int
    p: float
    grader: str
    equal: bool


RATE_CELLS = [
    RateCell(*cell)
    for cell in itertools.product(
        (12, 25, 50), (False, True), (0, 0.1, 0.2), (0, 0.1), (50, 150), (0.5, 0.7, 0.9, 0.97), GRADERS, (False, True)
    )
    if not (cell[7] and cell[3])  # equal split with whole graders only: half the cells
]


def clustered_rate(cell: RateCell, responses: int = 600, *, people_alone: bool = False) -> tuple[Study, float]:
    def study(rng: np.random.Generator) -> tuple[float, float] | None:
        cluster = clusters(rng, responses, cell.groups, cell.lognormal)
        truth = (rng.random(responses) < chance(rng, cell.p, cell.icc, cluster)).astype(np.int64)
        verdict = graded(rng, truth, GRADERS[cell.grader], cell.error_icc, cluster)
        if people_alone:
            marked = drawn(rng, np.zeros(responses, dtype=np.int64), cell.marks)
            return shown(estimate_rate(truth[marked].astype(np.float64), cluster[marked], estimand="pass rate"))
        marked = drawn(rng, verdict, cell.marks, equal=cell.equal)
        return at_95(CorrectedRate(verdict, np.where(marked, truth, -1), cluster))

    return study, cell.p


def levels(run: Run) -> Outcome:
    grid = measured(
        run,
        "B8c",
        run.cells(RATE_CELLS, sample=72),
        clustered_rate,
        times=run.times(whole=100, sample=100),
        again=run.times(whole=16, sample=4),
        times_again=run.times(whole=2000, sample=600),
    )
    cells = run.cells([cell for cell in RATE_CELLS if cell.icc == 0.2 and not cell.equal], sample=12)
    human = [score(run.rng("people", cell), *clustered_rate(cell, people_alone=True), run.times(whole=60, sample=40)) for cell in cells]
    same = [score(run.rng("people", cell), *clustered_rate(cell), run.times(whole=60, sample=40)) for cell in cells]
    alike = [cell._replace(icc=icc) for cell in cells[::2] for icc in (0.3, 0.4)]
    stress = measured(
        run,
        "B8c alike",
        alike,
        clustered_rate,
        times=run.times(whole=120, sample=60),
        again=run.times(whole=4, sample=2),
        times_again=run.times(whole=1500, sample=300),
    )
    few = [cell._replace(groups=groups, icc=0.1, marks=30) for cell in cells[::3] for groups in (6, 8)]
    small = measured(
        run, "B8c few", few, clustered_rate, times=run.times(whole=120, sample=60), again=2, times_again=run.times(whole=1500, sample=300)
    )
    ratio = np.mean([a.width for a in same]) / np.mean([b.width for b in human])
    return Outcome(
        grid.holds(0.93),
        grid.figure(),
        (
            f"width {ratio:.2f} of people's marks alone at ICC .2, which cover {min(one.cover for one in human):.3f} at least",
            f"ICC .3 and .4, where the product warns: {stress.figure()}",
            f"6 and 8 clusters, 30 marks: {small.figure()}",
        ),
    )


# ---------------------------------------------------------------- B8b: more verdicts than two


def three_verdicts(cell: RateCell) -> tuple[Study, float]:
    """As B8c, and the grader cannot read 8 in 100 answers, one and a half times as many of the bad ones."""

    def study(rng: np.random.Generator) -> tuple[float, float] | None:
        cluster = clusters(rng, 600, cell.groups, cell.lognormal)
        truth = (rng.random(600) < chance(rng, cell.p, cell.icc, cluster)).astype(np.int64)
        verdict = graded(rng, truth, GRADERS[cell.grader], cell.error_icc, cluster)
        verdict = np.where(rng.random(600) < np.where(truth == 1, 0.08, 0.12), 2, verdict)
        marked = drawn(rng, verdict, cell.marks, equal=cell.equal)
        return at_95(CorrectedRate(verdict, np.where(marked, truth, -1), cluster))

    return study, cell.p


def strata(run: Run) -> Outcome:
    grid = measured(
        run,
        "B8b",
        run.cells(RATE_CELLS[::5], sample=48),
        three_verdicts,
        times=run.times(whole=120, sample=100),
        again=run.times(whole=8, sample=4),
        times_again=run.times(whole=2000, sample=600),
    )
    return Outcome(grid.holds(0.93), grid.figure())


# ---------------------------------------------------------------- B8d: differences


class DifferenceCell(NamedTuple):
    groups: int  # 0: no clusters
    lognormal: bool
    icc: float
    error_icc: float
    marks: int  # of each system
    p: tuple[float, float]
    graders: tuple[tuple[float, float], tuple[float, float]]
    draw: str = "own"  # marks of each system within its verdicts, of the same cases at random, or within pairs of verdicts


RATES = ((0.5, 0.6), (0.7, 0.7), (0.9, 0.95), (0.97, 0.97))
PAIRS_OF_GRADERS = (
    ((1.0, 1.0), (1.0, 1.0)),  # never a disagreement
    ((0.98, 0.95), (0.98, 0.95)),
    ((0.95, 0.9), (0.85, 0.8)),
    ((0.9, 0.7), (0.7, 0.9)),
)
UNCLUSTERED = [DifferenceCell(0, False, 0, 0, *cell) for cell in itertools.product((30, 60, 100, 200), RATES, PAIRS_OF_GRADERS)]
CLUSTERED = [
    DifferenceCell(*cell)
    for cell in itertools.product((12, 25, 50), (False, True), (0, 0.1, 0.2), (0, 0.1), (30, 60, 100), RATES, PAIRS_OF_GRADERS)
    if not (cell[3] and cell[6][0][0] == 1)  # a perfect grader has no errors to be alike
]


def two_systems(rng: np.random.Generator, cell: DifferenceCell, responses: int) -> tuple[IntArray, list[IntArray], list[IntArray]]:
    """Clusters, then truth and verdict of each of two systems on the same cases: half the cases are as hard for both, in
    clusters that are as hard for both."""
    cluster = clusters(rng, responses, cell.groups, cell.lognormal) if cell.groups else np.arange(responses)
    hard = rng.random(responses)
    own = np.where(rng.random(responses) < 0.5, hard, rng.random(responses))
    shared = rng.random(cell.groups)
    truths, verdicts = [], []
    for p, grader, luck in zip(cell.p, cell.graders, (hard, own), strict=True):
        weight = 1 / cell.icc - 1 if cell.icc else 0
        share = betaincinv(p * weight, (1 - p) * weight, shared)[cluster] if cell.icc else p
        truth = (luck < share).astype(np.int64)
        truths.append(truth)
        verdicts.append(graded(rng, truth, grader, cell.error_icc, cluster))
    return cluster, truths, verdicts


def difference(cell: DifferenceCell, responses: int = 600) -> tuple[Study, float]:
    """The corrected difference of two systems on the same cases."""

    def study(rng: np.random.Generator) -> tuple[float, float] | None:
        cluster, truths, verdicts = two_systems(rng, cell, responses)
        if cell.draw == "own":
            marked = [drawn(rng, verdict, cell.marks) for verdict in verdicts]
        else:
            pair = verdicts[0] * 2 + verdicts[1] if cell.draw == "pairs" else np.zeros(responses, dtype=np.int64)
            marked = [drawn(rng, pair, cell.marks, fewest=5)] * 2
        labels = [np.where(chosen, truth, -1) for chosen, truth in zip(marked, truths, strict=True)]
        declared = cluster if cell.groups else None
        return at_95(CorrectedDifference(verdicts[0], labels[0], verdicts[1], labels[1], declared, paired_strata=cell.draw == "pairs"))

    return study, cell.p[1] - cell.p[0]


def differences(run: Run) -> Outcome:
    clustered = CLUSTERED[::7]
    grids = {
        name: measured(
            run,
            f"B8d {name}",
            run.cells(cells, sample=sample),
            difference,
            times=run.times(whole=times, sample=80),
            again=run.times(whole=6, sample=2),
            times_again=run.times(whole=1500, sample=400),
        )
        for name, cells, sample, times in (
            ("independent cases", UNCLUSTERED, 16, 200),
            ("clusters", clustered, 24, 80),
            ("the same cases marked", [cell._replace(draw="same") for cell in (*UNCLUSTERED[::2], *clustered[::8])], 8, 100),
            ("pairs of verdicts, independent cases", [cell._replace(draw="pairs") for cell in UNCLUSTERED], 8, 150),
            ("pairs of verdicts, clusters", [cell._replace(draw="pairs") for cell in clustered[::3]], 8, 80),
        )
    }
    narrowest = min(one.narrowest for grid in grids.values() for _, one in grid.scores)
    return Outcome(
        all(grid.holds(0.93) for grid in grids.values()) and narrowest > 0,
        f"min {min(grid.worst[1].right for grid in grids.values()):.3f} on fresh seeds; the narrowest interval is {narrowest:.3f} wide",
        tuple(f"{name}: {grid.figure()}" for name, grid in grids.items()),
    )


# ---------------------------------------------------------------- B8e: ordered levels and composite scores


class ScaleCell(NamedTuple):
    composite: bool
    difference: bool
    groups: int
    icc: float
    marks: int
    shares: tuple[float, ...]  # of people's levels, worst first
    error: float  # standard deviation of the grader's error against people's 1
    lognormal: bool = True


SHARES = ((0.25, 0.25, 0.25, 0.25), (0.1, 0.2, 0.4, 0.3), (0.05, 0.1, 0.25, 0.6), (0.03, 0.05, 0.12, 0.8))
SCALES = [
    ScaleCell(*cell)
    for cell in itertools.product((False, True), (False, True), (0, 12, 25, 50), (0, 0.1, 0.2), (40, 60, 100), SHARES, (0.3, 0.8))
    if cell[2] or not cell[3]  # without clusters nothing is alike
]
CRITERIA = 4


def scale(cell: ScaleCell, responses: int = 400) -> tuple[Study, float]:
    """Levels 0-3, or scores that are the mean of four such criteria, of one system or of two that are equally good."""
    edges = ndtri(np.cumsum(cell.shares)[:-1])
    mean = float(np.arange(4) @ np.array(cell.shares)) / 3

    def one(rng: np.random.Generator, cluster: IntArray, common: FloatArray) -> tuple[IntArray, IntArray]:
        """People's and the grader's levels of each criterion."""
        criteria = CRITERIA if cell.composite else 1
        alike = np.sqrt(cell.icc) * rng.standard_normal(int(cluster.max()) + 1)[cluster]
        case = np.sqrt(0.5) * common + np.sqrt(0.5) * rng.standard_normal(responses)
        own = np.sqrt(0.5) * case[:, None] + np.sqrt(0.5) * rng.standard_normal((responses, criteria)) if criteria > 1 else case[:, None]
        latent = alike[:, None] + np.sqrt(1 - cell.icc) * own
        seen = (latent + cell.error * rng.standard_normal(latent.shape)) / np.sqrt(1 + cell.error**2)
        return np.searchsorted(edges, latent), np.searchsorted(edges, seen)

    def study(rng: np.random.Generator) -> tuple[float, float] | None:
        cluster = clusters(rng, responses, cell.groups, cell.lognormal) if cell.groups else np.arange(responses)
        declared, common, means = cluster if cell.groups else None, rng.standard_normal(responses), []
        for _ in range(2 if cell.difference else 1):
            people, grader = one(rng, cluster, common)
            if cell.composite:
                marked = drawn(rng, np.zeros(responses, dtype=np.int64), cell.marks)
                means.append(mean_of_scores(grader.mean(axis=1) / 3, np.where(marked, people.mean(axis=1) / 3, np.nan), declared))
            else:
                grade, label = grader[:, 0], np.where(drawn(rng, grader[:, 0], cell.marks), people[:, 0], -1)
                means.append(mean_of_levels(grade, label, declared, values=(0, 1 / 3, 2 / 3, 1)))
        return at_95(CorrectedMeanDifference(*means) if cell.difference else means[0])

    return study, 0.0 if cell.difference else mean


def ordered(cell: ScaleCell, responses: int = 400) -> tuple[Study, float]:
    """The share at the best level, where the mean may be refused."""
    edges = ndtri(np.cumsum(cell.shares)[:-1])

    def study(rng: np.random.Generator) -> tuple[float, float] | None:
        cluster = clusters(rng, responses, max(cell.groups, 1), cell.lognormal)
        alike = np.sqrt(cell.icc) * rng.standard_normal(max(cell.groups, 1))[cluster]
        latent = alike + np.sqrt(1 - cell.icc) * rng.standard_normal(responses)
        seen = (latent + cell.error * rng.standard_normal(responses)) / np.sqrt(1 + cell.error**2)
        people, grader = np.searchsorted(edges, latent), np.searchsorted(edges, seen)
        label = np.where(drawn(rng, grader, cell.marks), people, -1)
        return shown(corrected_levels(grader, label, cluster if cell.groups else None, levels=4).at_least[-1])

    return study, cell.shares[-1]


def scales(run: Run) -> Outcome:
    grids = {
        name: measured(
            run,
            f"B8e {name}",
            run.cells([cell for cell in SCALES if (cell.composite, cell.difference) == kind], sample=20),
            scale,
            times=run.times(whole=80, sample=60),
            again=run.times(whole=6, sample=2),
            times_again=run.times(whole=1000, sample=400),
        )
        for name, kind in (
            ("mean level", (False, False)),
            ("difference of mean levels", (False, True)),
            ("composite score", (True, False)),
            ("difference of composite scores", (True, True)),
        )
    }
    share = measured(
        run,
        "B8e share",
        run.cells([cell for cell in SCALES if not cell.composite and not cell.difference], sample=10),
        ordered,
        times=run.times(whole=40, sample=60),
        again=run.times(whole=3, sample=2),
        times_again=run.times(whole=1000, sample=400),
    )
    return Outcome(
        all(grid.holds(0.93) for grid in (*grids.values(), share)),
        f"min {min(grid.worst[1].right for grid in grids.values()):.3f} on fresh seeds",
        (*(f"{name}: {grid.figure()}" for name, grid in grids.items()), f"share at the best level: {share.figure()}"),
    )


BARS = [
    Bar("B8", "corrected rate of independent cases covers >= .925 in each cell, >= .95 on average, at <= .75 of people's width", counts),
    Bar("B8b", "corrected rate with unreadable verdicts as a third stratum and clusters covers >= .93 or refuses", strata),
    Bar("B8c", "corrected rate with clusters covers >= .93 or refuses", levels),
    Bar("B8d", "corrected difference covers >= .93 or refuses, never with a standard error of 0", differences),
    Bar("B8e", "corrected mean of levels or composite scores, and differences, cover >= .93 or refuse", scales),
]
