"""Correcting a rate or a mean by marks from elsewhere, and prediction-powered means of scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from fairmark.results import Estimate, Refusal
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import jeffreys, mover_difference, wilson

FEWEST_LABELS = 100  # below, the prediction-powered interval covers far less than it says
FEWEST_DISAGREEMENTS = 15
LEAST_INFORMATION = 0.1  # lower bound of sensitivity + specificity - 1 from which a grader says something
TINY = 1e-12


# ---------------------------------------------------------------- prediction-powered means


class PpiMean(NamedTuple):
    """A prediction-powered mean and its normal interval."""

    value: float
    low: float
    high: float
    tuning: float  # lambda: 0 leaves the grader out, 1 is plain prediction-powered inference


def ppi_figures(
    marks: FloatArray, said: FloatArray, said_of_rest: FloatArray, *, tuning: float | None = None, confidence_level: float = 0.95
) -> PpiMean:
    """The mean of `marks` aided by the grader, with its normal interval, unguarded; `ppi_mean` is the one to decide by.

    value = l mean(F) + mean(Y - l f) with Y the marks, f what the grader said of the marked answers and F of the others;
    variance l^2 var(F)/N + var(Y - l f)/n (Angelopoulos et al. 2023). `tuning` None takes PPI++'s l = cov(Y, f) /
    ((1 + n/N) var(f and F)), within 0 and 1 (Angelopoulos, Duchi and Zrnic 2023). `ValueError` without marks or others.
    """
    marks, said, rest = (np.asarray(one, dtype=np.float64) for one in (marks, said, said_of_rest))
    n, others = len(marks), len(rest)
    if n == 0 or others == 0 or said.shape != marks.shape:
        raise ValueError(f"{n} marks, {len(said)} grades of the same answers and {others} of others do not suit")
    if tuning is None:
        spread = float(np.var(np.concatenate([said, rest]), ddof=1))
        shared = float(np.mean((marks - marks.mean()) * (said - said.mean())))
        tuning = min(1.0, max(0.0, shared / ((1 + n / others) * spread))) if spread > TINY else 0.0
    residual = marks - tuning * said
    value = tuning * float(rest.mean()) + float(residual.mean())
    half = float(ndtri(0.5 + confidence_level / 2)) * math.sqrt(tuning**2 * float(rest.var()) / others + float(residual.var()) / n)
    return PpiMean(value, value - half, value + half, tuning)


def ppi_mean(
    marks: FloatArray,
    said: FloatArray,
    said_of_rest: FloatArray,
    cluster: IntArray | None = None,
    *,
    confidence_level: float = 0.95,
    estimand: str = "mean score as people mark",
) -> Estimate:
    """The mean of scores in [0, 1] by PPI++ (see `ppi_figures`), where there are marks enough for its normal interval.

    Marks are drawn at random; `said` is the grader's score of the marked answers, `said_of_rest` of all others. The
    interval is kept within 0 and 1.

    Refused: `NO_DATA`; `OFF_SCALE`; `USE_VERDICT_STRATIFIED` (marks of pass and fail, where it covers far less than it says),
    `TOO_FEW_LABELS` (under 100), `TOO_FEW_DISAGREEMENTS` (the grader differs on under 15: the few errors decide the
    variance); `CLUSTERED_CORRECTION` with a cluster.
    """
    marks, said, rest = (np.asarray(one, dtype=np.float64) for one in (marks, said, said_of_rest))
    if said.shape != marks.shape:
        raise ValueError(f"{len(marks)} marks and {len(said)} grades do not belong together")
    n, differ = len(marks), int(np.count_nonzero(np.abs(marks - said) > 1e-9))
    stratify = "use the estimator stratified by the grader's verdict (`corrected_rate`)"
    refused: Refusal | None = None
    if n == 0 or len(rest) == 0:
        refused = Refusal("NO_DATA", "there are no marks, or no other answers", "let people mark some of the answers, drawn at random")
    elif not all(bool(np.all((one >= 0) & (one <= 1))) for one in (marks, said, rest)):
        refused = Refusal("OFF_SCALE", "a score lies outside 0 to 1", "bring the scores to the scale 0 to 1")
    elif cluster is not None:
        why = "prediction-powered inference takes answers to be independent, and these come in clusters"
        refused = Refusal("CLUSTERED_CORRECTION", why, "use the estimator for scores that takes whole clusters (`corrected_score`)")
    elif np.all(np.isin(marks, (0.0, 1.0))):
        refused = Refusal("USE_VERDICT_STRATIFIED", "marks of pass and fail are no scores", stratify)
    elif n < FEWEST_LABELS:
        why = f"{n} marks are too few for a prediction-powered interval"
        refused = Refusal("TOO_FEW_LABELS", why, f"let people mark {FEWEST_LABELS - n} more, or {stratify}")
    elif differ < FEWEST_DISAGREEMENTS:
        why = f"the grader differs from people on {differ} answers only, and its errors decide the variance"
        refused = Refusal("TOO_FEW_DISAGREEMENTS", why, f"let people mark more, until {FEWEST_DISAGREEMENTS} differ, or {stratify}")
    total = n + len(rest)
    if refused is not None:
        clusters = None if cluster is None else len(np.unique(cluster))
        return Estimate(estimand, None, None, None, confidence_level, "none", total, clusters, n, refused=refused)
    found = ppi_figures(marks, said, rest, confidence_level=confidence_level)
    low, high = max(0.0, found.low), min(1.0, found.high)
    return Estimate(
        estimand=estimand,
        value=min(max(found.value, low), high),
        low=low,
        high=high,
        confidence_level=confidence_level,
        method=f"PPI++ (lambda {found.tuning:.2f})",
        n_cases=total,
        n_responses=n,
        scorer="judge-corrected",
        assumptions=("answers are independent of one another", "the marked answers were drawn at random"),
    )


# ---------------------------------------------------------------- error rates from another population


def rogan_gladen(share: float, sensitivity: float, specificity: float) -> float | None:
    """The true share of passes behind an apparent one, (share + sp - 1) / (se + sp - 1), within 0 and 1 (Rogan and Gladen 1978).

    None where se + sp is at most 1: the grader then says nothing, or the opposite.
    """
    information = sensitivity + specificity - 1
    if information <= TINY:
        return None
    return min(1.0, max(0.0, (share + specificity - 1) / information))


def lee_plug_in(
    share: float, specificity: float, sensitivity: float, n: float, m0: float, m1: float, *, confidence_level: float = 0.95
) -> tuple[float, float, float] | None:
    """Rogan and Gladen's value and the adjusted plug-in interval of Lang and Reiczigel (2014), as Lee et al. (2025) use it.

    `share` of n answers pass by the grader; specificity from m0 answers that people fail, sensitivity from m1 that they
    pass. With z^2/2 passes and fails added to the share and one to each error rate, value' = (p' + sp' - 1)/J', J' = se' +
    sp' - 1, shifted by 2 z^2 (value' se'(1-se')/(m1+2) - (1-value') sp'(1-sp')/(m0+2)); standard error from the three
    binomials over J'. All within 0 and 1. None where J' or J is at most 0, in which case the published code returns an
    interval from 1 to 0. Its value may lie outside its interval; `transferred_rate` is the one to decide by.
    """
    value = rogan_gladen(share, sensitivity, specificity)
    z = float(ndtri(0.5 + confidence_level / 2))
    p, fail, ok = (n * share + z * z / 2) / (n + z * z), (m0 * specificity + 1) / (m0 + 2), (m1 * sensitivity + 1) / (m1 + 2)
    information = fail + ok - 1
    if value is None or information <= TINY:
        return None
    middle = (p + fail - 1) / information
    of_fail, of_pass = fail * (1 - fail) / (m0 + 2), ok * (1 - ok) / (m1 + 2)
    shift = 2 * z * z * (middle * of_pass - (1 - middle) * of_fail)
    half = z * math.sqrt(p * (1 - p) / (n + z * z) + (1 - middle) ** 2 * of_fail + middle**2 * of_pass) / information
    return value, min(1.0, max(0.0, middle + shift - half)), min(1.0, max(0.0, middle + shift + half))


def information_of_grader(right_passes: int, m1: int, right_fails: int, m0: int, *, confidence_level: float = 0.95) -> Interval:
    """The interval of sensitivity + specificity - 1, from right verdicts among m1 passes and m0 fails of people: MOVER on Wilson's."""
    ok, wrong = (wilson(x, m, confidence_level=confidence_level) for x, m in ((right_passes, m1), (m0 - right_fails, m0)))
    return mover_difference(right_passes / m1, ok, (m0 - right_fails) / m0, wrong)


def transferred_rate(
    passes: int,
    n: int,
    *,
    right_passes: int,
    people_pass: int,
    right_fails: int,
    people_fail: int,
    clustered: bool = False,
    confidence_level: float = 0.95,
    estimand: str = "share of passes as people mark",
) -> Estimate:
    """The share of passes among n answers of which the grader passes `passes`, by its error rates in *another* population.

    There people passed `people_pass` answers, of which the grader passed `right_passes`, and failed `people_fail`, of which
    it failed `right_fails`. Only where sensitivity and specificity are believed to be the same here; with marks of these
    answers use `corrected_rate`. The value is Rogan and Gladen's. The interval holds every share s that is compatible with
    share = s se + (1 - s)(1 - sp): MOVER with Jeffreys limits for the difference of both sides holds 0 (Fieller's way, so
    that intervals are nested).

    Refused: `NO_DATA` (a count of 0), `JUDGE_UNINFORMATIVE` (the lower bound of se + sp - 1 is at most .1),
    `RATES_DO_NOT_FIT` (no share is compatible), `CLUSTERED_CORRECTION` with clusters.
    """
    for x, of, what in (
        (passes, n, "passes"),
        (right_passes, people_pass, "right_passes"),
        (right_fails, people_fail, "right_fails"),
    ):
        if not 0 <= x <= of:
            raise ValueError(f"{what} must lie from 0 to {of}, not {x}")

    def none(refused: Refusal) -> Estimate:
        return Estimate(estimand, None, None, None, confidence_level, "none", n, n_responses=n, refused=refused)

    refused: Refusal | None = None
    if min(n, people_pass, people_fail) == 0:
        why = "there are no answers, or the grader was not tried on answers that people pass and on answers they fail"
        refused = Refusal("NO_DATA", why, "let people mark answers of both kinds")
    elif clustered:
        why = "error rates from elsewhere are taken to be of independent answers, and these come in clusters"
        refused = Refusal("CLUSTERED_CORRECTION", why, "let people mark some of these answers, and correct within the grader's verdicts")
    else:
        known = information_of_grader(right_passes, people_pass, right_fails, people_fail, confidence_level=confidence_level)
        if known.low <= LEAST_INFORMATION:
            why = f"sensitivity + specificity - 1 may be as low as {known.low:.2f}: its verdicts say too little"
            refused = Refusal("JUDGE_UNINFORMATIVE", why, "let people mark more answers to try it on, or let them mark without it")
    if refused is not None:
        return none(refused)
    share, se, sp = passes / n, right_passes / people_pass, right_fails / people_fail
    value = rogan_gladen(share, se, sp)
    assert value is not None  # its lower bound is above 0
    rates = [(share, jeffreys(passes, n, confidence_level=confidence_level))]
    rates += [
        (x / m, jeffreys(x, m, confidence_level=confidence_level)) for x, m in ((right_passes, people_pass), (right_fails, people_fail))
    ]

    def distance(s: float, side: int) -> float:
        """Bound of share - s se - (1 - s)(1 - sp), the lower one for side 0, the upper one for side 1."""
        weights = (1.0, -s, 1 - s)
        middle = sum(w * rate for w, (rate, _) in zip(weights, rates, strict=True)) - (1 - s)
        arms = [w * (within[side if w > 0 else 1 - side] - rate) for w, (rate, within) in zip(weights, rates, strict=True)]
        # at low levels Jeffreys' limits may lie on one side of the rate
        kept = [min(0.0, arm) if side == 0 else max(0.0, arm) for arm in arms]
        return middle - math.hypot(*kept) if side == 0 else middle + math.hypot(*kept)

    if not distance(value, 0) <= 0 <= distance(value, 1):
        why = f"with error rates like those the grader could not pass {passes} of {n} answers, whatever their quality"
        return none(Refusal("RATES_DO_NOT_FIT", why, "let people mark some of these answers: its error rates are others here"))
    low = _furthest(lambda s: distance(s, 0) <= 0, value, 0.0)
    high = _furthest(lambda s: distance(s, 1) >= 0, value, 1.0)
    return Estimate(
        estimand=estimand,
        value=value,
        low=low,
        high=high,
        confidence_level=confidence_level,
        method="Rogan-Gladen, MOVER with Jeffreys limits inverted",
        n_cases=n,
        n_responses=n,
        scorer="judge-corrected",
        assumptions=("sensitivity and specificity are the same here as where they were measured", "answers are independent of one another"),
    )


def _furthest(holds: Callable[[float], bool], inside: float, end: float) -> float:
    """The last share on the way from `inside`, which is held, to `end` that is still held."""
    if holds(end):
        return end
    for _ in range(60):
        middle = (inside + end) / 2
        inside, end = (middle, end) if holds(middle) else (inside, middle)
    return inside
