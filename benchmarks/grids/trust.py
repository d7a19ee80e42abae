"""Graders: how many of people's marks a plan saves, and which graders may stand in for a person."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.labels import label_strata, plan_labels, stratified_rate
from fairmark.stats.proportions import clopper_pearson, jeffreys
from fairmark.stats.replacement import alt_test, alt_test_figures

BANK = 1_000

# ---------------------------------------------------------------- B9: marks saved by the plan


class Grader(NamedTuple):
    """A grader of a bank of answers: how often it is right, how much it overstates that, and how often it passes."""

    right: float
    overstates: float  # the odds it states are its true odds to this power
    passes: float
    marks: int


def graded(rng: np.random.Generator, grader: Grader) -> tuple[IntArray, FloatArray, FloatArray]:
    """Verdicts, stated confidence and what people would mark. Confidence is 1/2 + 1/2 Beta(2m, 2(1 - m)), m = 2 right - 1."""
    verdict = (rng.random(BANK) < grader.passes).astype(np.int64)
    m = 2 * grader.right - 1
    sure = 0.5 + 0.5 * rng.beta(2 * m, 2 * (1 - m), BANK)
    truth = np.where(rng.random(BANK) < sure, verdict, 1 - verdict).astype(np.float64)
    odds = (sure / np.maximum(1 - sure, 1e-12)) ** grader.overstates
    return verdict, odds / (1 + odds), truth


def mean_width(n: int, p: float, interval: Callable[[float, float], Interval]) -> float:
    """The mean width of a binomial interval, exactly."""
    x = np.arange(n + 1)
    chance = np.exp(gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1) + xlogy(x, p) + xlog1py(n - x, -p))
    likely = np.flatnonzero(chance > 1e-6)
    ends = np.array([interval(int(one), n) for one in likely])
    return float(chance[likely] @ (ends[:, 1] - ends[:, 0]) / chance[likely].sum())


def marks_for(width: float, p: float, interval: Callable[[float, float], Interval]) -> int:
    """How many marks people need without a grader for this mean width."""
    few, enough = 1, 100
    while mean_width(enough, p, interval) > width:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if mean_width(middle, p, interval) > width else (few, middle)
    return enough


class Saved(NamedTuple):
    """What one grader's plans gave."""

    grader: Grader
    coverage: float
    against_exact: float  # share of marks saved at equal mean width, against Clopper-Pearson
    against_jeffreys: float  # like for like
    predicted: float  # before any mark
    afterwards: float  # predicted once people have marked
    dropped: float  # share of plans that advise to do without the grader


def saved(run: Run, grader: Grader, times: int) -> Saved:
    rng = run.rng("B9", grader)
    truth = grader.passes * grader.right + (1 - grader.passes) * (1 - grader.right)
    widths, covered, predicted, afterwards, dropped = [], 0, [], [], 0
    for _ in range(times):
        verdict, confidence, people = graded(rng, grader)
        plan = plan_labels(verdict, confidence, labels=grader.marks, rng=rng)
        marks = np.full(BANK, np.nan)
        rows = np.array(plan.rows)
        marks[rows] = people[rows]
        found = stratified_rate(label_strata(verdict, confidence).number, marks)
        again = plan_labels(verdict, confidence, marks, labels=20, rng=rng)
        assert found.low is not None and found.high is not None
        assert plan.predicted_saving is not None and again.predicted_saving is not None
        widths.append(found.high - found.low)
        covered += found.low <= truth <= found.high
        predicted.append(plan.predicted_saving)
        afterwards.append(again.predicted_saving)
        dropped += plan.worth_it is False
    width = float(np.mean(widths))
    exact, like = (1 - grader.marks / marks_for(width, truth, interval) for interval in (clopper_pearson, jeffreys))
    return Saved(grader, covered / times, exact, like, float(np.mean(predicted)), float(np.mean(afterwards)), dropped / times)


def plan_saves(run: Run) -> Outcome:
    times = run.times(whole=1_000, sample=150)
    designs = run.cells(list(itertools.product((50, 100, 200), (0.5, 0.7))), sample=2)
    rights, rows, coverage = (0.92, 0.88, 0.82, 0.77, 0.68, 0.60), [], []
    mean, held = {}, True
    for right, overstates in (*((right, 1.0) for right in rights), (0.88, 3.0), (0.77, 3.0)):
        if not run.whole and right in (0.82, 0.77) and overstates == 1:
            continue
        cells = [saved(run, Grader(right, overstates, passes, marks), times) for marks, passes in designs]
        coverage += [cell.coverage for cell in cells]
        exact, like = ([getattr(cell, which) for cell in cells] for which in ("against_exact", "against_jeffreys"))
        said, then = np.mean([cell.predicted for cell in cells]), np.mean([cell.afterwards for cell in cells])
        dropped = np.mean([cell.dropped for cell in cells])
        if overstates == 1:
            mean[right] = float(np.mean(exact))
            # honest: the plan promises about what it keeps, like for like
            held = held and bool(abs(said - np.mean(like)) <= 0.1)
            if right == 0.60:
                held = held and bool(dropped >= 0.9)
        rows.append(
            f"right {right:.2f}{', overstates it' if overstates > 1 else '':15} saves {np.mean(exact):.3f} (cells {min(exact):.3f} to "
            f"{max(exact):.3f}), against Jeffreys {np.mean(like):.3f}; predicted {said:.3f}, after marks {then:.3f}; advises to "
            f"drop it in {dropped:.2f}; covers {min(cell.coverage for cell in cells):.3f} at least"
        )
    slack = 0.0 if run.whole else noise(0.95, times)
    held = held and mean[0.88] >= 0.5 and mean[0.92] >= 0.6 and min(coverage) >= 0.93 - slack
    figure = (
        f"saves {mean[0.88]:.3f} at .88 and {mean[0.92]:.3f} at .92 (means of {len(designs)} cells), covers {min(coverage):.3f} at least, "
        f"{np.mean(coverage):.3f} on average of {len(coverage)} cells, {times} banks each"
        + (f" (Monte-Carlo noise up to {slack:.3f} allowed)" if slack else "")
    )
    return Outcome(held, figure, tuple(rows))


# ---------------------------------------------------------------- B12 and B15: who may stand in for a person


class Study(NamedTuple):
    """People and items of a study with two levels."""

    good: float  # share of good answers
    right: float  # how often a person is right
    eps: float
    items: int
    people: int


def marked(rng: np.random.Generator, study: Study) -> tuple[FloatArray, FloatArray]:
    """The truth of each item and what people say of it."""
    truth = (rng.random(study.items) < study.good).astype(np.float64)
    slips = rng.random((study.people, study.items)) >= study.right
    return truth, np.where(slips, 1 - truth, truth)


def said(rng: np.random.Generator, kind: str, truth: FloatArray, good: float) -> FloatArray:
    """What a grader of this kind says."""
    n = len(truth)
    if kind == "always pass":
        return np.ones(n)
    if kind == "pass but for three":
        marks = np.ones(n)
        marks[rng.choice(n, 3, replace=False)] = 0
        return marks
    if kind == "coin":
        return rng.integers(0, 2, n).astype(np.float64)
    if kind == "coin of the right bias":
        return (rng.random(n) < good).astype(np.float64)
    right = float(kind.split("/")[0])  # such as .95/.95
    return np.where(rng.random(n) < right, truth, 1 - truth)


def shares(run: Run, name: str, kind: str, study: Study, times: int) -> dict[str, float]:
    """Share of studies by verdict, and `unguarded`: how often the published test alone passes the grader."""
    rng = run.rng(name, kind, study)
    counts = dict.fromkeys(("yes", "no", "undecided", "unguarded"), 0.0)
    for _ in range(times):
        truth, people = marked(rng, study)
        grader = said(rng, kind, truth, study.good)
        counts[alt_test(people, grader, eps=study.eps).verdict] += 1 / times
        rate = alt_test_figures(people, grader, eps=study.eps).winning_rate
        counts["unguarded"] += (rate is not None and rate >= 0.5) / times
    return counts


def constant_approved(run: Run) -> Outcome:
    times = run.times(whole=150, sample=60)
    grid = [Study(*one, 3) for one in itertools.product((0.5, 0.7, 0.9, 0.97), (0.8, 0.9, 0.95), (0.1, 0.2), (40, 100, 300))]
    grid += [Study(0.9, 0.9, 0.2, 100, 5), Study(0.9, 0.9, 0.2, 20, 3)]
    studies = run.cells(grid, sample=8)
    rows, most, overall = [], 0.0, []
    for kind in ("always pass", "pass but for three", "coin of the right bias"):
        found = [shares(run, "B12", kind, study, times) for study in studies]
        yes, alone = ([one[which] for one in found] for which in ("yes", "unguarded"))
        most, overall = max(most, max(yes)), [*overall, *yes]
        rows.append(f"{kind}: approved {np.mean(yes):.4f} (worst cell {max(yes):.4f}); by the published test alone {np.mean(alone):.3f}")
    held = float(np.mean(overall)) <= 0.01 and most <= 0.01 + noise(0.01, times)
    figure = f"approved in {np.mean(overall):.4f} of studies, {most:.4f} in the worst of {len(overall)} cells of {times} studies"
    return Outcome(held, f"{figure} (a cell may exceed .01 by noise)", tuple(rows))


def good_recommended(run: Run) -> Outcome:
    times = run.times(whole=600, sample=60)
    grid = [Study(good, right, eps, 100, 3) for eps in (0.1, 0.15, 0.2) for good in (0.5, 0.6, 0.7, 0.8, 0.9) for right in (0.9, 0.95)]
    studies = run.cells(grid, sample=9)
    good = {study: shares(run, "B15", "0.95/0.95", study, times) for study in studies}
    yes = [one["yes"] for one in good.values()]
    rows = []
    for eps in sorted({study.eps for study in studies}):
        own = {study: one for study, one in good.items() if study.eps == eps}
        worst = min(own, key=lambda study: own[study]["yes"])
        told = np.mean([one["no"] for one in own.values()])
        mean, least = np.mean([one["yes"] for one in own.values()]), own[worst]["yes"]
        rows.append(
            f"eps {eps:g}: {mean:.3f}, least {least:.3f} with {worst.good:g} good answers and people right in {worst.right:g}; "
            f"turned down in {told:.4f}"
        )
    bad = 0.0
    for kind in ("always pass", "coin", "coin of the right bias"):
        found = [shares(run, "B15", kind, study, max(30, times // 6))["yes"] for study in studies]
        bad = max(bad, float(np.mean(found)))
        rows.append(f"{kind}: recommended in {np.mean(found):.4f}")
    noisy = shares(run, "B15", "0.95/0.95", Study(0.9, 0.8, 0.2, 100, 3), times)
    rows.append(f"with 0.9 good answers and people right in 0.8 only: {noisy['yes']:.3f}, undecided {noisy['undecided']:.3f}")
    below = sum(one < 0.7 for one in yes)
    figure = (
        f"recommended in {np.mean(yes):.3f} of studies, {min(yes):.3f} in the worst of {len(yes)} cells, {below} below .70; bad {bad:.4f}"
    )
    return Outcome(bool(np.mean(yes) >= 0.7) and bad <= 0.01, figure, tuple(rows))


BARS = [
    Bar(
        "B9",
        "a label plan saves half of people's marks at a grader right in .88, .6 at .92, covers .93, and says what it saves",
        plan_saves,
    ),
    Bar("B12", "a grader that hardly varies is approved in at most 1% of studies", constant_approved),
    Bar("B15", "a good grader is recommended in at least 70% of studies, a constant or guessing one in at most 1%", good_recommended),
]
