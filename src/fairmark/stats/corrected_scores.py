"""A grader's levels and scores, corrected by the marks that people gave to some of the responses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from fairmark.results import Estimate, Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS
from fairmark.stats.correction import (
    PEOPLE_ARE_RIGHT,
    RANDOM_MARKS,
    RARE,
    BoolArray,
    Corrected,
    CorrectedRate,
    Strata,
    assumed,
    label_verdict,
    linearised,
    notes,
    nothing_marked,
    off_scale,
    still_possible,
    stratified,
    t_interval,
    too_few,
    units_of,
)
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson

AT_THE_END = 0.7  # share of responses at the best (or worst) level from which a mean rests on too few others
CLUSTERS_AT_THE_END, MARKS_AT_THE_END = 20, 60  # with fewer of either the mean of an ordered scale is then refused
FEWEST_SCORE_MARKS = 40
STEP_OF_A_SCORE = 0.1  # of the range: the smallest difference that marks which are all alike leave possible
BINS = 4


# ---------------------------------------------------------------- precision of a stratified mean


class _Precision:
    """The variance of a mean over strata, with smoothed variances within them, and its degrees of freedom.

    s_h^2 = (SS_h + s_0^2) / n_h with s_0^2 = (sum SS_h + step^2) / (n - K + 1): marks that happen to be all alike still leave
    doubt. K strata hold a mark. Degrees of freedom are the least of G_L - 1, n - K and N^2 / sum N_g^2 - 1, rounded down: a few
    large clusters tell less than their number (with G_L - 1 alone, 12 of lognormal size covered as little as .92).
    """

    def __init__(self, strata: Strata, step: float) -> None:
        kinds, n = int(np.count_nonzero(strata.marks)), float(strata.marks.sum())
        some = np.maximum(strata.marks, 1)
        pooled = _pooled_spread(strata.spread, n, kinds, step)
        self.doubt = float(np.sum(still_possible(strata, (strata.spread + pooled) / some**2)))
        sizes = np.bincount(strata.cluster)
        alike = float(len(strata.of)) ** 2 / float(np.sum(sizes.astype(np.float64) ** 2))
        self.df = max(1, min(strata.clusters_marked - 1, int(n) - kinds, math.floor(alike) - 1))

        # what clusters add to an error may cancel by chance, as where two systems have the same marks on the same cases
        self.least = float(strata.floor.max()) * (step / (n + 1)) ** 2


def _pooled_spread(spread: FloatArray, marks: float, kinds: int, step: float) -> float:
    """s_0^2, the variance of a mark within a stratum that one step is added to."""
    return (float(spread.sum()) + step**2) / max(marks - kinds + 1, 1)


def _exact(value: float, variance: float, df: int, unseen: tuple[float, float], confidence_level: float) -> Interval:
    """Clopper and Pearson's interval of `value` at n* = value (1 - value) / variance (z / t)^2 responses.

    `unseen` is how far strata without any mark may still move it down, and up.
    """
    quantile = 0.5 + confidence_level / 2
    n_star = value * (1 - value) / variance * (float(ndtri(quantile)) / float(stdtrit(df, quantile))) ** 2
    within = clopper_pearson(value * n_star, n_star, confidence_level=confidence_level)
    below, above = unseen
    return Interval(max(0.0, value - math.hypot(value - within.low, below)), min(1.0, value + math.hypot(within.high - value, above)))


class CorrectedMean(Corrected):
    """The intervals of a mean of people's marks in [0, 1], corrected within strata of the grader's, at every confidence level.

    Korn and Graubard's exact interval at n* = m (1 - m) / V (z / t)^2 responses for the mean m, V the variance of
    `_Precision` over clusters and t with its degrees of freedom: symmetric t intervals fail near the ends of a scale.
    """

    def __init__(
        self,
        stratum: IntArray,
        mark: FloatArray,
        cluster: IntArray | None,
        *,
        step: float,
        names: Mapping[int, str] | None = None,
        noun: str = "level",
        n_cases: int | None = None,
        refused: Refusal | None = None,
        fewest_marks: int = 0,
        always: bool = False,
    ) -> None:
        """`mark` is NaN where there is none; `always`: refuse at the ends of the scale whatever the clusters."""
        super().__init__(len(stratum), n_cases, None if cluster is None else len(np.unique(cluster)))
        units = units_of(stratum, cluster, mark)
        self.strata: Strata | None = None
        self.refused = refused
        if refused is not None:
            return
        marked = ~np.isnan(mark)
        self.n_marks = int(np.count_nonzero(marked))
        self.assumptions = (*assumed(cluster), RANDOM_MARKS, PEOPLE_ARE_RIGHT)
        self.method = f"stratified by the grader's {noun}, Korn-Graubard"
        self.strata = strata = stratified(stratum, mark, marked, units)
        self.value = min(max(strata.value, 0.0), 1.0)
        precision = _Precision(strata, step)
        self.df, self.precision = precision.df, precision
        moved = linearised(strata.moves, strata.clusters_marked, self.n_responses)
        self._variance = max(moved + precision.doubt, precision.least)
        self.se = math.sqrt(self._variance)
        self.n_effective = self.value * (1 - self.value) / self._variance
        pooled = float(np.mean(mark[marked]))
        self._unseen = (float(strata.unmarked.sum()) * pooled, float(strata.unmarked.sum()) * (1 - pooled))
        declared = cluster is not None
        self.refused = (
            _few_marks(self.n_marks, fewest_marks)
            or too_few(strata, declared=declared, names=names, noun=noun)
            or _at_the_end(strata, mark, marked, always=always)
        )
        self.warnings = notes(strata, mark, marked, declared=declared, names=names, noun=noun)

    def _at(self, confidence_level: float) -> Interval:
        assert self.value is not None and self.df is not None
        return _exact(self.value, self._variance, self.df, self._unseen, confidence_level)


class CorrectedMeanDifference(Corrected):
    """The intervals of one such mean minus another on the same cases, second minus first, at every confidence level.

    As for `CorrectedDifference` with the smoothed variances of `_Precision`; degrees of freedom are the smaller of the two.
    """

    def __init__(self, first: CorrectedMean, second: CorrectedMean) -> None:
        super().__init__(first.n_responses, first.n_cases, first.n_clusters)
        if first.n_responses != second.n_responses or first.n_clusters != second.n_clusters:
            raise ValueError("both means must rest on the same cases and clusters")
        self.n_marks = first.n_marks + second.n_marks
        self.assumptions = first.assumptions
        for whose, one in (("first", first), ("second", second)):
            self.warnings += tuple(f"{whose} system: {warning}" for warning in one.warnings)
            if one.refused is not None and self.refused is None:
                self.refused = Refusal(one.refused.code, f"{whose} system: {one.refused.why}", one.refused.next)
        a, b = first.strata, second.strata
        if a is None or b is None:
            return
        self.method = "difference of stratified means, t with smoothed variance of the marks"
        held, df = min(a.clusters_marked, b.clusters_marked), min(first.df or 1, second.df or 1)
        variance = linearised(b.moves - a.moves, held, self.n_responses) + first.precision.doubt + second.precision.doubt
        self.value, self.df = b.value - a.value, df
        self.se = math.sqrt(max(variance, first.precision.least, second.precision.least))
        self._open = float(np.sum(a.unmarked) ** 2 + np.sum(b.unmarked) ** 2)

    def _at(self, confidence_level: float) -> Interval:
        assert self.value is not None and self.se is not None and self.df is not None
        return t_interval(self.value, self.se, self.df, self._open, confidence_level)


def _few_marks(marks: int, fewest: int) -> Refusal | None:
    if marks >= fewest:
        return None
    return Refusal(
        "TOO_FEW_MARKS", f"{marks} marked responses, and a mean of scores needs {fewest}", f"let people mark {fewest - marks} more"
    )


def _at_the_end(strata: Strata, mark: FloatArray, marked: BoolArray, *, always: bool) -> Refusal | None:
    top, bottom = (stratified(strata.of, (mark == end).astype(np.float64), marked, strata.cluster).value for end in (1.0, 0.0))
    few = always or strata.clusters_marked < CLUSTERS_AT_THE_END or strata.marks.sum() < MARKS_AT_THE_END
    return _too_near(top, bottom, few=bool(few))


def _too_near(top: float, bottom: float, *, few: bool) -> Refusal | None:
    """Why a mean rests on too few responses away from one end of its scale: simulated intervals then cover too little."""
    for code, which, share in (("CEILING", "best", top), ("FLOOR", "worst", bottom)):
        if share >= 1 - 1e-9 or (few and share >= AT_THE_END):
            return Refusal(
                code,
                f"people gave about {100 * share:.0f} in 100 responses the {which} mark, and a mean rests on the few others",
                "take the share of responses at each level or better instead",
            )
    return None


# ---------------------------------------------------------------- ordered levels


@dataclass(frozen=True, slots=True)
class CorrectedLevels(Result):
    """How people would mark all responses on an ordered scale, from the grader's levels and people's marks on some."""

    mean: Estimate  # of the level values, 0 to 1
    distribution: tuple[float, ...] | None  # share of each level, worst first; None without any mark
    at_least: tuple[Estimate, ...]  # share at level k or better, k = 1 ... top
    naive: float | None  # the mean by the grader's own levels; None where a verdict is none of the levels
    n_marks: int
    refused: Refusal | None = None  # why there is neither a distribution nor a mean

    def headline(self) -> str:
        shares = "" if self.distribution is None else "; shares " + ", ".join(f"{share:.2f}" for share in self.distribution)
        return self.mean.headline() + shares


def mean_of_levels(
    grade: IntArray,
    label: IntArray,
    cluster: IntArray | None = None,
    *,
    values: Sequence[float],
    names: Mapping[int, str] | None = None,
    n_cases: int | None = None,
) -> CorrectedMean:
    """The intervals of the corrected mean of an ordered scale, at every confidence level.

    `grade` is the grader's level of each response, from 0 (other codes, such as for unreadable, are strata too), `label`
    people's or -1; `values` are the levels' values in [0, 1], worst first. Refused as `CorrectedRate` is, and where 70 in 100
    responses or more are at one end with fewer than 60 marks or marks in fewer than 20 clusters, or all are (`CEILING`, `FLOOR`).
    """
    worth = np.asarray(values, dtype=np.float64)
    if len(worth) < 2 or not np.all((worth >= 0) & (worth <= 1)) or not np.all(np.diff(worth) > 0):
        raise ValueError("values must rise within 0 to 1, one a level")
    units_of(grade, cluster, label)
    refused = off_scale(grade, label, top=len(worth) - 1)
    mark = np.full(len(grade), np.nan)
    if refused is None:
        mark[label >= 0] = worth[label[label >= 0]]
    step = float(worth[-1] - worth[0]) / (len(worth) - 1)
    return CorrectedMean(grade, mark, cluster, step=step, names=names, n_cases=n_cases, refused=refused)


def corrected_levels(
    grade: IntArray,
    label: IntArray,
    cluster: IntArray | None = None,
    *,
    levels: int | None = None,
    values: Sequence[float] | None = None,
    estimand: str = "mean level that people would give",
    confidence_level: float = 0.95,
    names: Mapping[int, str] | None = None,
    n_cases: int | None = None,
) -> CorrectedLevels:
    """The level distribution, the share at each level or better, and the mean that people would give.

    Arguments and refusals of the mean as for `mean_of_levels`; `values` default to equal steps from 0 to 1 over `levels`
    (default: as many as the grader or people used). The shares are `CorrectedRate`s within the grader's levels.
    """
    if values is None:
        most = int(max(np.max(grade, initial=1), np.max(label, initial=1))) + 1 if levels is None else levels
        values = [level / (most - 1) for level in range(most)]
    top = len(values) - 1
    found = mean_of_levels(grade, label, cluster, values=values, names=names, n_cases=n_cases)
    mean = found.estimate(estimand=estimand, confidence_level=confidence_level)
    if found.strata is None:
        return CorrectedLevels(mean, None, (), None, 0, found.refused)
    marked = label >= 0
    at_least = tuple(
        CorrectedRate(grade, np.where(marked, label >= level, -1), cluster, names=names, n_cases=n_cases).estimate(
            estimand=f"share at level {level} or better", confidence_level=confidence_level
        )
        for level in range(1, top + 1)
    )
    strata = found.strata
    shares = [stratified(strata.of, (label == level).astype(np.float64), marked, strata.cluster).value for level in range(top + 1)]
    naive = float(np.mean(np.asarray(values)[grade])) if int(grade.max()) <= top else None
    return CorrectedLevels(mean, tuple(shares), at_least, naive, found.n_marks)


def corrected_levels_difference(
    grade_a: IntArray,
    label_a: IntArray,
    grade_b: IntArray,
    label_b: IntArray,
    cluster: IntArray | None = None,
    *,
    values: Sequence[float],
    estimand: str = "mean level that people would give, second system minus first",
    confidence_level: float = 0.95,
    names: Mapping[int, str] | None = None,
    n_cases: int | None = None,
) -> Estimate:
    """By how much people's mean level of the second system is above that of the first, on the same cases.

    Arguments and refusals as for `mean_of_levels`; `CorrectedMeanDifference` gives the interval at every level.
    """
    first, second = (
        mean_of_levels(grade, label, cluster, values=values, names=names, n_cases=n_cases)
        for grade, label in ((grade_a, label_a), (grade_b, label_b))
    )
    return CorrectedMeanDifference(first, second).estimate(estimand=estimand, confidence_level=confidence_level)


# ---------------------------------------------------------------- composite scores


def mean_of_scores(score: FloatArray, mark: FloatArray, cluster: IntArray | None = None, *, n_cases: int | None = None) -> CorrectedMean:
    """The intervals of the corrected mean of composite scores in [0, 1], at every confidence level.

    `score` is the grader's for each response, `mark` people's or NaN. Strata are the quartiles of the grader's scores; tied
    scores stay together. Refused: scores off 0 to 1 (`OFF_SCALE`), fewer than 40 marks (`TOO_FEW_MARKS`), a quartile with
    fewer than 4 (`LABEL_VERDICT`), more than 70 in 100 responses at one end (`CEILING`, `FLOOR`), marks in fewer than 6
    clusters (`TOO_FEW_CLUSTERS`).
    """
    units_of(score, cluster, mark)
    refused: Refusal | None = None
    if len(score) == 0:
        refused = Refusal("NO_DATA", "there is no response", "run the study, or check that this criterion applies")
    elif not np.all((score >= 0) & (score <= 1)) or not np.all(np.isnan(mark) | ((mark >= 0) & (mark <= 1))):
        refused = Refusal("OFF_SCALE", "a score lies outside 0 to 1", "bring the scores to the scale 0 to 1")
    elif np.all(np.isnan(mark)):
        refused = nothing_marked()
    if refused is not None:
        return CorrectedMean(np.zeros(len(score), dtype=np.int64), mark, cluster, step=STEP_OF_A_SCORE, n_cases=n_cases, refused=refused)
    edges = np.unique(np.quantile(score, np.arange(1, BINS) / BINS))
    stratum = np.searchsorted(edges, score)
    names = {int(code): f"from {np.min(score[stratum == code]):.3g} to {np.max(score[stratum == code]):.3g}" for code in np.unique(stratum)}
    return CorrectedMean(
        stratum,
        mark,
        cluster,
        step=STEP_OF_A_SCORE,
        names=names,
        noun="score",
        n_cases=n_cases,
        fewest_marks=FEWEST_SCORE_MARKS,
        always=True,
    )


def corrected_score(
    score: FloatArray,
    mark: FloatArray,
    cluster: IntArray | None = None,
    *,
    estimand: str = "mean score that people would give",
    confidence_level: float = 0.95,
    n_cases: int | None = None,
) -> Estimate:
    """The mean composite score that people would give, from the grader's scores of all and people's marks of some.

    Arguments and refusals are those of `mean_of_scores`, which gives the interval at every level.
    """
    return mean_of_scores(score, mark, cluster, n_cases=n_cases).estimate(estimand=estimand, confidence_level=confidence_level)


def corrected_score_difference(
    score_a: FloatArray,
    mark_a: FloatArray,
    score_b: FloatArray,
    mark_b: FloatArray,
    cluster: IntArray | None = None,
    *,
    estimand: str = "mean score that people would give, second system minus first",
    confidence_level: float = 0.95,
    n_cases: int | None = None,
) -> Estimate:
    """By how much people's mean score of the second system is above that of the first, on the same cases.

    Arguments and refusals as for `mean_of_scores`; `CorrectedMeanDifference` gives the interval at every level.
    """
    first, second = (mean_of_scores(score, mark, cluster, n_cases=n_cases) for score, mark in ((score_a, mark_a), (score_b, mark_b)))
    return CorrectedMeanDifference(first, second).estimate(estimand=estimand, confidence_level=confidence_level)


# ---------------------------------------------------------------- levels from counts


@dataclass(frozen=True, slots=True)
class OrdinalCorrection(Result):
    """Level distribution and mean level by people's marks, from counts of independent cases."""

    distribution: tuple[float, ...] | None  # share of each of people's levels
    mean: float | None  # in levels, from 0
    low: float | None
    high: float | None
    confidence_level: float
    naive: float | None  # mean of the grader's levels; None where it has another number of them than people
    n_cases: int
    n_marks: int
    method: str = "stratified by the grader's level, Korn-Graubard"
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None or self.low is None:
            return f"mean level by people's marks: no figure ({self.refused})"
        of = f"{self.n_marks} marks on {self.n_cases} cases"
        return f"mean level by people's marks: {self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.confidence_level:.4g}, {of})"


def ordinal_correction(C: IntArray, N: FloatArray, *, confidence_level: float = 0.95) -> OrdinalCorrection:
    """The corrected level distribution and mean from a table of counts, for independent cases.

    `C[h, k]` counts marked responses that the grader put at level h and people at level k; N[h] counts all responses at the
    grader's level h. Shares are sum_h w_h C[h, k] / n_h; the interval is that of `mean_of_levels` where each case is its own
    cluster. Refused: no response or mark (`NO_DATA`), no mark at a level that holds more than 1% of the responses
    (`LABEL_VERDICT`), fewer than 6 marks (`TOO_FEW_CLUSTERS`), nearly all at one end (`CEILING`, `FLOOR`). `ValueError` for
    shapes or counts that cannot be.
    """
    counts, size = np.asarray(C, dtype=np.float64), np.asarray(N, dtype=np.float64)
    if counts.ndim != 2 or size.shape != counts.shape[:1] or counts.shape[1] < 2:
        raise ValueError("C must have a row for each entry of N, and two levels or more")
    marks = counts.sum(axis=1)
    if not np.all(np.isfinite(size)) or not np.all((counts >= 0) & (counts == np.floor(counts))) or np.any(marks > size):
        raise ValueError("C and N must be counts, no more marks than responses")
    n, total, top = float(marks.sum()), float(size.sum()), counts.shape[1] - 1
    naive = float(size @ np.arange(len(size))) / total if total > 0 and len(size) == top + 1 else None

    def result(
        distribution: FloatArray | None, mean: float | None, interval: tuple[float | None, float | None], refused: Refusal | None
    ) -> OrdinalCorrection:
        shares = None if distribution is None else tuple(distribution.tolist())
        return OrdinalCorrection(shares, mean, *interval, confidence_level, naive, int(total), int(n), refused=refused)

    if n == 0:
        return result(None, None, (None, None), nothing_marked())
    weight = size / total
    lacking = [level for level in range(len(size)) if marks[level] == 0 and weight[level] > RARE]
    if lacking:
        return result(None, None, (None, None), label_verdict(f"level {lacking[0]}", 0, int(size[lacking[0]])))
    some, scale = np.maximum(marks, 1), np.arange(top + 1) / top
    inner = np.where(marks[:, None] > 0, counts / some[:, None], counts.sum(axis=0) / n)
    distribution = weight @ inner
    theta = inner @ scale
    mean = float(weight @ theta)
    refused = _too_near(float(distribution[-1]), float(distribution[0]), few=n < MARKS_AT_THE_END)
    if n < FEWEST_CLUSTERS:
        refused = Refusal("TOO_FEW_CLUSTERS", f"{n:.0f} marked cases cannot tell how other cases behave", f"mark {FEWEST_CLUSTERS} cases")
    if refused is not None:
        return result(distribution, mean * top, (None, None), refused)
    spread = np.sum(counts * (scale - theta[:, None]) ** 2, axis=1)
    kinds = int(np.count_nonzero(marks))
    seen = marks / np.maximum(marks - 1, 0.5) * (weight / some) ** 2 * spread  # V_h where each case is a cluster
    possible = np.where(marks > 0, (weight / some) ** 2 * (spread + _pooled_spread(spread, n, kinds, 1 / top)), 0.0)
    moved = n / (n - 1) * (float(weight @ (theta - mean) ** 2) / total + float(np.sum((weight / some) ** 2 * spread)))
    variance = moved + float(np.sum(np.maximum(0.0, possible - seen)))
    unmarked, pooled = float(weight[marks == 0].sum()), float(counts.sum(axis=0) @ scale) / n
    df = max(1, int(n) - max(kinds, 1))
    low, high = _exact(mean, variance, df, (unmarked * pooled, unmarked * (1 - pooled)), confidence_level)
    return result(distribution, mean * top, (low * top, high * top), None)
