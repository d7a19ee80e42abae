"""May a grader stand in for one of several people? The alternative annotator test, with guards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtr

from fairmark.results import Refusal, Result
from fairmark.stats.agreement import cohen_kappa, gwet_ac1
from fairmark.stats.clusters import FEWEST_CLUSTERS, korn_graubard
from fairmark.stats.intervals import FloatArray, IntArray, benjamini_hochberg, one_sided_p
from fairmark.stats.labels import interval_from_influence
from fairmark.stats.paired import PairedIntervals
from fairmark.stats.proportions import clopper_pearson

Scoring = Literal["accuracy", "neg_squared_error", "neg_absolute_error"]
Verdict = Literal["yes", "no", "undecided"]

EPSILON = {"expert": 0.2, "skilled": 0.15, "crowd": 0.1}  # what a person costs more than the grader, in winning points (Calderon 2025)
FEWEST_PEOPLE = 3
T_TEST_FROM = 30  # items (or clusters) of a person; below, the score test or the sign-flip test
FEWEST_ITEMS = 10  # of a person, below which nothing is said of them
FEWEST_OF_A_LEVEL = 5  # items that a level needs before the balanced test counts it
AGREEMENT_SLACK = 0.1  # how far the grader may agree less with people than the worst pair of people do
TINY = 1e-12


class Wins(NamedTuple):
    """One person against the grader, on the items that this person, another one and the grader marked."""

    items: IntArray  # positions of the items
    grader: FloatArray  # 1 where the grader scores at least as well as the person against the other people
    person: FloatArray  # 1 where the person scores at least as well as the grader


class AltTestFigures(NamedTuple):
    """The alternative annotator test as published, without guards."""

    winning_rate: float | None  # share of people for whom the grader is shown to be no worse than eps; None without people
    advantage: float | None  # mean share of items where the grader scores at least as well as a person
    p: tuple[float | None, ...]  # one a person; None where the differences do not vary around eps


def leave_one_out(humans: FloatArray, grader: FloatArray, *, scoring: Scoring = "accuracy") -> list[Wins]:
    """For each person the items where the grader, and where the person, is at least as close to the other people.

    `humans` is people x items and `grader` items long, NaN where a mark is missing. `accuracy` is the share of the other
    people who gave the same level; `neg_squared_error` and `neg_absolute_error` compare numbers. Only items that at least
    two people and the grader marked count (Calderon, Reichart and Dror 2025).
    """
    given = np.isfinite(humans)
    usable = np.isfinite(grader) & (given.sum(axis=0) >= 2)
    found = []
    for person, marks in enumerate(humans):
        items = np.flatnonzero(usable & given[person])
        others, mark, said = humans[:, items], marks[items], grader[items]
        others[person] = np.nan
        mine, theirs = _score(mark, others, scoring), _score(said, others, scoring)
        found.append(Wins(items, (theirs >= mine).astype(np.float64), (mine >= theirs).astype(np.float64)))
    return found


def _score(mark: FloatArray, others: FloatArray, scoring: Scoring) -> FloatArray:
    """Total closeness of each mark to the others' marks; their number is the same for the two that are compared."""
    away: FloatArray = np.abs(others - mark)
    score: FloatArray = np.sum(away == 0, axis=0).astype(np.float64)
    if scoring != "accuracy":
        # sums of decimals must not win by their rounding error
        score = -np.nansum(away**2 if scoring == "neg_squared_error" else away, axis=0).round(9)
    return score


def alt_test_figures(
    humans: FloatArray, grader: FloatArray, *, eps: float = 0.2, scoring: Scoring = "accuracy", q: float = 0.05, fewest: int = T_TEST_FROM
) -> AltTestFigures:
    """Winning rate, advantage probability and p values of the alternative annotator test (Calderon et al. 2025), unguarded.

    For each person with at least `fewest` items: d = (person at least as good) - (grader at least as good), a one-sided t
    test of "mean d >= eps"; Benjamini and Yekutieli at q over people. Whoever always gives the commonest level passes it;
    `alt_test` is the one to decide by.
    """
    wins = [one for one in leave_one_out(humans, grader, scoring=scoring) if len(one.items) >= fewest]
    p = tuple(_t_test(one.person - one.grader, eps) for one in wins)
    if not wins:
        return AltTestFigures(None, None, ())
    return AltTestFigures(_winning_rate(p, q), float(np.mean([np.mean(one.grader) for one in wins])), p)


def _t_test(d: FloatArray, eps: float) -> float | None:
    """One-sided p of "mean d >= eps"; 0 or 1 where all d are the same, None where that is eps or there is one item."""
    n, mean = len(d), float(np.mean(d))
    if n < 2:
        return None
    spread = float(np.std(d, ddof=1))
    if spread < TINY:
        return None if abs(mean - eps) < TINY else float(mean > eps)
    return float(stdtr(n - 1, (mean - eps) / (spread / math.sqrt(n))))


def _winning_rate(p: tuple[float | None, ...], q: float) -> float:
    """Share of people whose p is below q after Benjamini and Yekutieli; an undefined p wins nothing."""
    adjusted = benjamini_hochberg([1.0 if one is None else one for one in p], dependent=True)
    return sum(one <= q for one in adjusted) / len(p)


@dataclass(frozen=True, slots=True)
class LevelRecall(Result):
    """How often the grader gives a level where people agree on it."""

    level: str
    hits: int
    n: int  # items where all people (most, where these are few) gave this level
    low: float  # one-sided bounds of hits / n at the test's q
    high: float
    all_agree: bool  # else most people, which says too little to turn a grader down by

    def headline(self) -> str:
        return f"{self.level}: {self.hits} of {self.n} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class AltTest(Result):
    """Whether the grader may stand in for one person, on one criterion and population. Never that it is valid."""

    verdict: Verdict
    say: str  # one sentence
    winning_rate: float | None  # share of people against whom it is shown to cost less than eps
    balanced_winning_rate: float | None  # the same with every level weighing alike
    advantage: float | None  # chance that it scores at least as well as a person picked at random
    low: float | None  # of the advantage
    high: float | None
    confidence_level: float
    p: tuple[float | None, ...] = ()  # one a person; None where the differences do not vary
    balanced_p: tuple[float | None, ...] = ()
    recalls: tuple[LevelRecall, ...] = ()
    ac1: float | None = None  # mean agreement of the grader with people
    worst_pair_ac1: float | None = None  # of the two people who agree least
    kappa: float | None = None
    worst_pair_kappa: float | None = None
    eps: float = 0.2
    scoring: str = "accuracy"
    method: str = "none"
    n_people: int = 0  # who marked enough items
    n_cases: int = 0  # marked by two people and the grader
    n_clusters: int | None = None
    stands_in_the_way: tuple[str, ...] = ()  # why it is not yes
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"alt-test: undecided ({self.refused})"
        return (
            f"alt-test: {self.verdict}. {self.say} It scores at least as well as a person on {self.advantage:.3f} of the items "
            f"[{self.low:.3f}, {self.high:.3f}] ({self.confidence_level:.4g}, {self.n_people} people, {self.n_cases} items)"
        )


def alt_test(
    humans: FloatArray,
    grader: FloatArray,
    cluster: IntArray | None = None,
    *,
    eps: float = 0.2,
    scoring: Scoring = "accuracy",
    q: float = 0.05,
    confidence_level: float = 0.95,
    criterion: str = "this criterion",
    population: str = "cases like these",
) -> AltTest:
    """Whether the grader may replace one of at least three people: yes, no or undecided, with everything it rests on.

    The test of Calderon, Reichart and Dror (2025) leaves one person out at a time (see `alt_test_figures`; `EPSILON` holds
    the usual eps), with guards, as by itself it passes a grader that always says the commonest level. *Yes* needs all of:

    - a winning rate of at least 1/2, also when every level that the other people give weighs alike;
    - for each level, a lower bound of its recall where people agree above chance (1 / levels);
    - AC1 and kappa with people not more than .1 below those of the two people who agree least.

    *No* is the opposite bound: most people are shown to beat the grader by more than eps, plain or balanced, or a recall
    is shown to be below chance. A person with fewer than 30 items (or clusters) is compared by Tango's score test of the
    mean (clusters: the inverted sign-flip test), since Wilcoxon's is no test of a mean: with differences that are mostly
    ties it lets in far too many (docs/methods/replacement.md shows how many). Numbers (`neg_...` scoring) count for the
    guards as two levels, up to the median mark and above.

    Refused: `NO_DATA`, `OFF_SCALE` (infinite), `TOO_FEW_PEOPLE`, `TOO_FEW_CLUSTERS`, `CONSTANT_VERDICT` (the grader never
    varies), `NO_VARIATION` (people never vary, or the differences do not), `TOO_FEW_OF_A_LEVEL`.
    """
    humans, grader = np.asarray(humans, dtype=np.float64), np.asarray(grader, dtype=np.float64)
    if humans.ndim != 2 or grader.shape != humans.shape[1:]:
        raise ValueError(f"humans must be people x items and grader as long as the items, not {humans.shape} and {grader.shape}")
    if cluster is not None and np.shape(cluster) != grader.shape:
        raise ValueError(f"cluster must name one cluster an item, not {np.shape(cluster)} for {len(grader)} items")
    if scoring not in ("accuracy", "neg_squared_error", "neg_absolute_error"):
        raise ValueError(f"scoring must be accuracy, neg_squared_error or neg_absolute_error, not {scoring!r}")
    if not 0 <= eps < 1:
        raise ValueError(f"eps must lie from 0 to below 1, not {eps!r}")
    units = np.arange(len(grader)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    all_wins = leave_one_out(humans, grader, scoring=scoring)
    people = [person for person, one in enumerate(all_wins) if len(one.items) >= FEWEST_ITEMS]
    wins = [all_wins[person] for person in people]
    items = np.unique(np.concatenate([one.items for one in all_wins])) if len(all_wins) else np.empty(0, dtype=np.int64)
    n_clusters = None if cluster is None else len(np.unique(units[items]))

    def refuse(code: str, why: str, next_step: str) -> AltTest:
        return AltTest(
            "undecided",
            "",
            None,
            None,
            None,
            None,
            None,
            confidence_level,
            eps=eps,
            scoring=scoring,
            n_people=len(people),
            n_cases=len(items),
            n_clusters=n_clusters,
            refused=Refusal(code, why, next_step),
        )

    if np.any(np.isinf(humans)) or np.any(np.isinf(grader)):
        return refuse("OFF_SCALE", "a mark is infinite", "give numbers on the criterion's scale, and leave missing marks out")
    if len(items) == 0:
        return refuse("NO_DATA", "no item was marked by two people and the grader", "let three people and the grader mark the same items")
    if len(people) < FEWEST_PEOPLE:
        why = f"{len(people)} people marked at least {FEWEST_ITEMS} items that another person and the grader marked too"
        return refuse("TOO_FEW_PEOPLE", why, f"let at least {FEWEST_PEOPLE} people mark the same {T_TEST_FROM} items or more")
    if n_clusters is not None and n_clusters < FEWEST_CLUSTERS:
        why = f"{n_clusters} clusters cannot tell how others behave"
        return refuse("TOO_FEW_CLUSTERS", why, f"mark items from at least {FEWEST_CLUSTERS} clusters")
    if np.ptp(grader[items]) == 0:
        why = f"the grader says the same of all {len(items)} items"
        return refuse("CONSTANT_VERDICT", why, "let people mark this criterion; a grader that never varies replaces nobody")
    names, marks, said = _levels(humans[:, items], grader[items], scoring)
    level_counts = np.array([np.bincount(column[column >= 0], minlength=len(names)) for column in marks.T])
    tested = np.flatnonzero((level_counts / level_counts.sum(axis=1, keepdims=True)).sum(axis=0) >= FEWEST_OF_A_LEVEL)
    if np.count_nonzero(level_counts.sum(axis=0)) < 2:
        return refuse("NO_VARIATION", "people gave one level only", "add items of which people say different things")
    if len(tested) < 2:
        why = f"people gave fewer than two levels to {FEWEST_OF_A_LEVEL} items each"
        return refuse("TOO_FEW_OF_A_LEVEL", why, "mark more items of the rarer level")

    place = {int(item): at for at, item in enumerate(items)}
    plain, balanced = [], []  # p of "the person is better by at least eps", and of "by at most eps"
    for person, one in zip(people, wins, strict=True):
        at = np.array([place[int(item)] for item in one.items])
        d, unit = one.person - one.grader, units[one.items]
        own = (marks[person, at][:, None] == np.arange(len(names))).astype(np.int64)
        others = level_counts[at] - own
        plain.append(_mean_test(d, unit, eps, clustered=cluster is not None))
        balanced.append(_balanced_test(d, unit, others[:, tested] / others.sum(axis=1, keepdims=True), eps))
    p, balanced_p = tuple(low for low, _ in plain), tuple(low for low, _ in balanced)
    rate, balanced_rate = _winning_rate(p, q), _winning_rate(balanced_p, q)
    if rate < 0.5 <= (rate * len(p) + sum(one is None for one in p)) / len(p):
        why = "the grader and the person differ alike on every item, so that there is no variation to test by"
        return refuse("NO_VARIATION", why, "add harder items, of which people say different things")

    recalls = _recalls(level_counts, said, tested, names, units[items] if cluster is not None else None, q)
    chance = 1 / len(tested)
    (ac1, worst_ac1), (kappa, worst_kappa) = _against_people(marks, said, people, len(names))
    obstacles = []
    if rate < 0.5:
        obstacles.append(f"only {round(rate * len(p))} of {len(p)} people are shown to be replaceable at eps {eps:g}")
    if balanced_rate < 0.5:
        obstacles.append(f"with every level weighing alike, only {round(balanced_rate * len(p))} of {len(p)} people are")
    obstacles += [
        f"of {one.n} items that people call {one.level} it finds {one.hits}, which may be chance (from {one.low:.3f})"
        for one in recalls
        if one.low <= chance
    ]
    for name, mean, worst in (("AC1", ac1, worst_ac1), ("kappa", kappa, worst_kappa)):
        if mean is not None and worst is not None and mean < worst - AGREEMENT_SLACK:
            obstacles.append(f"its {name} with people is {mean:.3f}, that of the two people who agree least {worst:.3f}")
    beaten = max(_winning_rate(tuple(high for _, high in tests), q) for tests in (plain, balanced))
    shown_bad = beaten > 0.5 or any(one.all_agree and one.high < chance for one in recalls)
    verdict: Verdict = "yes" if not obstacles else "no" if shown_bad else "undecided"
    say = {
        "yes": f"The grader may replace one person on {criterion}, for {population}.",
        "no": f"The grader may not replace a person on {criterion}, for {population}.",
        "undecided": f"Nothing says yet whether the grader may replace a person on {criterion}, for {population}.",
    }[verdict]
    value = float(np.mean([np.mean(one.grader) for one in wins]))
    influence = np.zeros(len(grader))
    for one in wins:
        influence[one.items] += (one.grader - float(np.mean(one.grader))) / (len(one.items) * len(wins))
    _, (low, high) = interval_from_influence(value, influence[items], units[items], confidence_level=confidence_level)
    warnings = [f"person {person + 1} marked too few items to be compared" for person in range(len(humans)) if person not in people]
    few = [person + 1 for person, one in zip(people, wins, strict=True) if len(np.unique(units[one.items])) < T_TEST_FROM]
    if few:
        warnings.append(f"fewer than {T_TEST_FROM} independent items for person {', '.join(map(str, few))}: a score or sign-flip test")
    rare = [names[level] for level in range(len(names)) if level not in tested and level_counts[:, level].any()]
    if rare:
        warnings.append(f"too rare to be tested by themselves: {', '.join(rare)}")
    return AltTest(
        verdict,
        say,
        rate,
        balanced_rate,
        value,
        low,
        high,
        confidence_level,
        p,
        balanced_p,
        recalls,
        ac1,
        worst_ac1,
        kappa,
        worst_kappa,
        eps,
        scoring,
        "alternative annotator test with guards",
        len(people),
        len(items),
        n_clusters,
        tuple(obstacles),
        ("the people are those whom the grader would stand in for", f"{'cases' if cluster is None else 'clusters'} are independent"),
        tuple(warnings),
    )


def _levels(humans: FloatArray, grader: FloatArray, scoring: Scoring) -> tuple[list[str], IntArray, IntArray]:
    """Names of the levels, people's levels (-1: missing) and the grader's; numbers fall below or above people's median mark."""
    given = np.isfinite(humans)
    if scoring == "accuracy":
        values = np.unique(np.concatenate([humans[given], grader]))
        return [f"{value:g}" for value in values], np.where(given, np.searchsorted(values, humans), -1), np.searchsorted(values, grader)
    cut = float(np.median(humans[given]))
    above = bool(np.any(humans[given] > cut))  # a median that is the highest mark belongs to the upper half

    def upper(marks: FloatArray) -> IntArray:
        return (marks > cut if above else marks >= cut).astype(np.int64)

    return ["the lower half", "the upper half"], np.where(given, upper(humans), -1), upper(grader)


Tests = tuple[float | None, float | None]  # p of "the person is better by at least eps", and of "by at most eps"


def _mean_test(d: FloatArray, unit: IntArray, eps: float, *, clustered: bool) -> Tests:
    """One-sided tests of the mean of d against eps, by t from 30 units on, else by the score or sign-flip test."""
    groups = len(np.unique(unit))
    if groups < T_TEST_FROM:
        # the flips are fixed, so that the same marks always get the same answer
        within = PairedIntervals(d, unit if clustered else None, single=True, rng=np.random.default_rng(groups))
        return (None, None) if within.refused is not None else (one_sided_p(within.at, eps, "high"), one_sided_p(within.at, eps, "low"))
    mean = float(np.mean(d))
    return _t_from(mean - eps, (d - mean) / len(d), unit, None)


def _balanced_test(d: FloatArray, unit: IntArray, weight: FloatArray, eps: float) -> Tests:
    """The same for the mean over levels of the mean of d within a level, items weighing as the other people gave the level.

    Linearised variance; degrees of freedom by Satterthwaite over the levels' effective numbers of items, at most the units
    less one.
    """
    present = weight.sum(axis=0) > 0
    weight = weight[:, present]
    total, levels = weight.sum(axis=0), int(np.count_nonzero(present))
    means = d @ weight / total
    parts = weight * (d[:, None] - means) / total / levels
    variances, effective = np.sum(parts**2, axis=0), total**2 / np.sum(weight**2, axis=0)
    spread = float(np.sum(variances**2 / np.maximum(effective - 1, 1)))
    df = float(np.sum(variances)) ** 2 / spread if spread > 0 else None
    return _t_from(float(np.mean(means)) - eps, parts.sum(axis=1), unit, df)


def _t_from(distance: float, influence: FloatArray, unit: IntArray, df: float | None) -> Tests:
    totals = np.bincount(np.unique(unit, return_inverse=True)[1], weights=influence)
    groups = len(totals)
    variance = groups / (groups - 1) * float(np.sum(totals**2)) if groups > 1 else 0.0
    if variance < TINY**2:
        return None, None
    t = distance / math.sqrt(variance)
    freedom = max(1.0, min(groups - 1.0, df if df is not None else math.inf))
    return float(stdtr(freedom, t)), float(stdtr(freedom, -t))


def _recalls(
    counts: IntArray, said: IntArray, tested: IntArray, names: list[str], unit: IntArray | None, q: float
) -> tuple[LevelRecall, ...]:
    """For each tested level, how often the grader gives it where all people who marked the item do.

    Where most people are enough, a grader is charged with the slips of two people in three, which in a rare level are many.
    Where these are fewer than 5, items count that more people gave this level than any other.
    """
    top, total = counts.max(axis=1), counts.sum(axis=1)
    clear = np.count_nonzero(counts == top[:, None], axis=1) == 1
    found = []
    for level in tested:
        of = counts[:, level] == total
        agreed = int(np.count_nonzero(of)) >= FEWEST_OF_A_LEVEL
        if not agreed:
            of = clear & (counts[:, level] == top)
        n, right = int(np.count_nonzero(of)), (said[of] == level).astype(np.float64)
        hits = int(np.sum(right))
        if n == 0 or (unit is not None and len(np.unique(unit[of])) < FEWEST_CLUSTERS):
            low, high = 0.0, 1.0  # too little to say anything of this level
        elif unit is None:
            low, high = clopper_pearson(hits, n, confidence_level=1 - 2 * q)
        else:
            low, high = korn_graubard(right, unit[of], confidence_level=1 - 2 * q)
        found.append(LevelRecall(names[level], hits, n, low, high, agreed))
    return tuple(found)


def _against_people(
    marks: IntArray, said: IntArray, people: list[int], levels: int
) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
    """Mean AC1 of the grader with people and that of the worst pair of people; the same for kappa. None where undefined."""

    def both(one: IntArray, other: IntArray) -> tuple[float | None, float | None]:
        shared = (one >= 0) & (other >= 0)
        table = np.bincount(one[shared] * levels + other[shared], minlength=levels**2).reshape(levels, levels)
        return (None, None) if table.sum() < FEWEST_ITEMS else (gwet_ac1(table).value, cohen_kappa(table).value)

    grader = [both(said, marks[person]) for person in people]
    pairs = [both(marks[one], marks[other]) for at, one in enumerate(people) for other in people[at + 1 :]]

    def summed(which: int) -> tuple[float | None, float | None]:
        own = [one[which] for one in grader if one[which] is not None]
        worst = [one[which] for one in pairs if one[which] is not None]
        return (float(np.mean(np.array(own))) if own else None), (min(w for w in worst if w is not None) if worst else None)

    return summed(0), summed(1)
