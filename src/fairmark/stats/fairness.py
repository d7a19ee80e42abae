"""Does a grader treat one group's answers worse than another's? Two readings of doubly marked cases decide together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri, stdtr, stdtrit

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS, numbered
from fairmark.stats.intervals import FloatArray, IntArray, Interval, holm_levels
from fairmark.stats.resampling import in_order, resampled

BoolArray = NDArray[np.bool_]
FairnessVerdict = Literal["DIFFERENT", "ALIKE", "CANNOT_TELL_BORDERLINE", "UNDECIDED", "NOT_TESTED"]

MARGIN = 0.05  # of the scale: a smaller difference does not matter
FEWEST_OF_A_CLASS = 10  # expected good, and bad, cases a group
SLIPS_DIFFER_FROM = 4.605  # chi-squared with 2 degrees of freedom at .90: from here on each group has slips of its own
MOST_SLIPS = 0.5  # of good and of bad cases together: beyond, people no longer name the two classes
LEAST_INFORMATION = 1.1  # sensitivity + specificity of the grader up to here is a coin's
MARK_AGREEMENT = (0.05, 0.99)  # correlation of two people's marks that the quality reading accepts
GRADER_AGREEMENT = (0.05, 0.995)  # of a person's mark and the grader's; the end as a share of its largest possible value
RESAMPLES = 400
MOST_CASES = 1e12  # of a kind: with more, a rare slip is lost in rounding
STEP = 0.5  # of a case, by which the quality reading is moved to see how it reacts

# a case by its good marks, its marks, and whether the grader said good: both marked, then one
DOUBLE = ((0, 2, 0), (0, 2, 1), (1, 2, 0), (1, 2, 1), (2, 2, 0), (2, 2, 1))
SINGLE = ((0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1))
CELLS = np.array(DOUBLE + SINGLE, dtype=np.float64)
GOOD, MARKS, SAID_GOOD = CELLS.T
WAYS = np.array([1.0, 1, 2, 2, 1, 1, 1, 1, 1, 1])  # in how many orders the marks of a cell can be given
DOUBLES, N_CELLS = len(DOUBLE), len(CELLS)

# ---------------------------------------------------------------- two correlated normal variables

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
STEEPEST = math.asin(0.9995)  # a correlation is sought up to here


def bivariate_normal(h: FloatArray, k: FloatArray, r: FloatArray) -> FloatArray:
    """P(X <= h, Y <= k) for standard normal X and Y of correlation r.

    Phi(h) Phi(k) + 1/(2 pi) times the integral of exp(-(h^2 + k^2 - 2 h k sin t) / (2 cos^2 t)) for t from 0 to asin r, by
    Gauss and Legendre (Drezner and Wesolowsky 1990, Genz 2004). Within 1e-9 up to |r| = .9995.
    """
    return _to_angle(h, k, np.arcsin(r))


def _slope(h: FloatArray, k: FloatArray, angle: FloatArray) -> FloatArray:
    """How fast the probability rises with the angle asin r."""
    sine = np.sin(angle)
    rise: FloatArray = np.exp(-(h * h + k * k - 2 * h * k * sine) / (2 * (1 - sine * sine))) / (2 * math.pi)
    return rise


def _to_angle(h: FloatArray, k: FloatArray, angle: FloatArray) -> FloatArray:
    half = np.asarray(angle)[..., None] / 2
    inside = _slope(np.asarray(h)[..., None], np.asarray(k)[..., None], half * (1 + NODES))
    found: FloatArray = ndtr(h) * ndtr(k) + (inside @ WEIGHTS) * half[..., 0]
    return found


def tetrachoric(both: FloatArray, first: FloatArray, second: FloatArray, *, near: FloatArray | None = None) -> FloatArray:
    """The correlation of two normal variables that are below their thresholds in shares `first` and `second`, and `both`.

    Solves `bivariate_normal(z(first), z(second), r) = both` for r by Newton's method on asin r, kept within a bracket
    (Pearson 1900), from the correlations `near` where they are known. At the end of the range, +-.9995, where no
    correlation makes `both` so large or so small. Shares lie strictly between 0 and 1.
    """
    start = np.zeros(()) if near is None else np.arcsin(near)
    given = np.broadcast_arrays(ndtri(first), ndtri(second), both, start)
    h, k, wanted, angle = (np.array(one, dtype=np.float64).ravel() for one in given)
    low, high = np.full(len(wanted), -STEEPEST), np.full(len(wanted), STEEPEST)
    busy = np.arange(len(wanted))
    for _ in range(60):
        now = angle[busy]
        miss = _to_angle(h[busy], k[busy], now) - wanted[busy]
        low[busy], high[busy] = np.where(miss < 0, now, low[busy]), np.where(miss >= 0, now, high[busy])
        nearer = now - miss / np.maximum(_slope(h[busy], k[busy], now), 1e-300)
        middle = (low[busy] + high[busy]) / 2
        nearer = np.where((nearer > low[busy]) & (nearer < high[busy]), nearer, middle)
        angle[busy] = nearer
        busy = busy[np.abs(nearer - now) >= 1e-10]
        if not len(busy):
            break
    found: FloatArray = np.sin(angle).reshape(given[0].shape)
    return found


# ---------------------------------------------------------------- the class reading


class ClassReading(NamedTuple):
    """The latent class fit of pairs of groups, arrays of any leading shape; the last axis holds the two groups."""

    difference: FloatArray  # share of answers passed at the same mix of good and bad ones, the first group's minus the second's
    se: FloatArray
    good: FloatArray  # share of good answers
    sensitivity: FloatArray  # of the grader
    specificity: FloatArray
    slip_good: FloatArray  # how often a person marks a good answer as bad
    slip_bad: FloatArray
    lr: FloatArray  # twice the gain in the penalised likelihood by slips of their own for each group
    own_slips: BoolArray  # whether each group has its own


class _Fit(NamedTuple):
    values: FloatArray  # ... x groups x (good, sensitivity, specificity, slip_good, slip_bad)
    objective: FloatArray


# the logit that a case is good is linear in the logarithms of (p, 1 - p) of the five parameters
_LOGIT = np.array(
    [np.ones(N_CELLS), SAID_GOOD, -(1 - SAID_GOOD), MARKS - GOOD, -GOOD],  # of ln p
)
_LOGIT_OF_REST = np.array([-np.ones(N_CELLS), 1 - SAID_GOOD, -SAID_GOOD, GOOD, -(MARKS - GOOD)])  # of ln (1 - p)
# what the M-step counts of each cell: cases, said good, marked bad, marks
_COUNTED = np.array([np.ones(N_CELLS), SAID_GOOD, MARKS - GOOD, MARKS]).T


def class_reading(tables: FloatArray, own_slips: BoolArray | None = None) -> ClassReading:
    """Two classes of answers, good and bad, seen through people's slips and the grader's errors, in each pair of groups.

    `tables` is ... x 2 x 6 counts of doubly marked cases by good marks and grader (`DOUBLE`), or ... x 2 x 10 with singly
    marked ones behind (`SINGLE`). P(k of m marks good, grader l) = pi C(m,k) (1-a)^k a^(m-k) se^l (1-se)^(1-l) +
    (1-pi) C(m,k) b^k (1-b)^(m-k) (1-sp)^l sp^(1-l). EM on the likelihood with penalty .5 ln x(1-x) for each parameter of
    each group; slips a, b are shared by the groups unless their own raise twice the objective by more than 4.605 (or as
    `own_slips` says). The difference is w (se_1 - se_2) + (1-w) (sp_2 - sp_1) with w the mean share of good answers; its
    standard error is by the delta method on the expected information of the logits, w fixed.
    """
    counts = _all_cells(tables)
    shared = _maximise(counts, own=False)
    free = _maximise(counts, own=True)
    lr = 2 * (free.objective - shared.objective)
    own = np.asarray(lr > SLIPS_DIFFER_FROM) if own_slips is None else np.broadcast_to(own_slips, lr.shape)
    values = np.where(own[..., None, None], free.values, shared.values)
    good, sensitivity, specificity, slip_good, slip_bad = np.moveaxis(values, -1, 0)
    w = good.mean(axis=-1)
    difference = w * (sensitivity[..., 0] - sensitivity[..., 1]) + (1 - w) * (specificity[..., 1] - specificity[..., 0])
    se = _class_error(counts, values, own, w)
    return ClassReading(difference, se, good, sensitivity, specificity, slip_good, slip_bad, lr, own)


def _all_cells(tables: FloatArray) -> FloatArray:
    counts = np.asarray(tables, dtype=np.float64)
    if counts.ndim < 2 or counts.shape[-2] != 2 or counts.shape[-1] not in (DOUBLES, N_CELLS):
        raise ValueError(f"tables must end in 2 groups x {DOUBLES} or {N_CELLS} cells, not {counts.shape}")
    if counts.shape[-1] == DOUBLES:
        counts = np.concatenate([counts, np.zeros((*counts.shape[:-1], N_CELLS - DOUBLES))], axis=-1)
    return counts


def _maximise(counts: FloatArray, *, own: bool) -> _Fit:
    """EM from people who slip in 5% and a grader right in 85%, to a change below 1e-9. Tables that are done drop out."""
    shape = counts.shape[:-2]
    n = counts.reshape(-1, 2, N_CELLS)
    total = n @ _COUNTED
    cases, said, bad_marks, marks = np.moveaxis(total, -1, 0)
    values = np.empty((len(n), 2, 5))
    values[..., 0] = np.clip(1 - bad_marks / np.maximum(marks, 1), 0.05, 0.95)
    values[..., 1:] = (0.85, 0.85, 0.05, 0.05)
    busy = np.arange(len(n))
    for _ in range(5000):
        if not len(busy):
            break
        now = values[busy]
        part = (n[busy] * expit(np.log(now) @ _LOGIT + np.log1p(-now) @ _LOGIT_OF_REST)) @ _COUNTED
        w, w_said, w_bad, w_marks = np.moveaxis(part, -1, 0)
        v, v_marks = cases[busy] - w, marks[busy] - w_marks
        slips = np.stack([w_bad, v_marks - (bad_marks[busy] - w_bad)], axis=-1)
        tried = np.stack([w_marks, v_marks], axis=-1)
        if own:
            slips, tried = slips + 0.5, tried + 1
        else:
            slips, tried = slips.sum(axis=1, keepdims=True) + 1, tried.sum(axis=1, keepdims=True) + 2
        new = np.empty_like(now)
        new[..., 0] = (w + 0.5) / (cases[busy] + 1)
        new[..., 1] = (w_said + 0.5) / (w + 1)
        new[..., 2] = (v - (said[busy] - w_said) + 0.5) / (v + 1)
        new[..., 3:] = slips / tried
        values[busy] = new
        busy = busy[np.abs(new - now).max(axis=(1, 2)) >= 1e-9]
    good, bad = _classes(values)
    likelihood = np.sum(np.where(n > 0, n * np.log(good + bad), 0.0), axis=(1, 2))
    penalty = 0.5 * np.sum(np.log(values * (1 - values)), axis=(1, 2))
    return _Fit(values.reshape(*shape, 2, 5), (likelihood + penalty).reshape(shape))


def _classes(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The probability of each cell among cases with its number of marks, as a good and as a bad answer."""
    pi, se, sp, a, b = (values[..., i, None] for i in range(5))
    good = pi * WAYS * (1 - a) ** GOOD * a ** (MARKS - GOOD) * np.where(SAID_GOOD > 0, se, 1 - se)
    bad = (1 - pi) * WAYS * b**GOOD * (1 - b) ** (MARKS - GOOD) * np.where(SAID_GOOD > 0, 1 - sp, sp)
    return good, bad


def _class_error(counts: FloatArray, values: FloatArray, own: BoolArray, w: FloatArray) -> FloatArray:
    """The standard error of the difference, by the delta method on the expected information with the penalty in it."""
    good, bad = _classes(values)
    pi, se, sp, a, b = (values[..., i, None] for i in range(5))
    by_logit = np.stack(
        [
            good * (1 - pi) - bad * pi,
            good * (SAID_GOOD - se),
            bad * (1 - SAID_GOOD - sp),
            good * (MARKS - GOOD - MARKS * a),
            bad * (GOOD - MARKS * b),
        ],
        axis=-1,
    )  # ... x groups x cells x parameters
    n_of_kind = np.concatenate(
        [
            np.repeat(counts[..., :DOUBLES].sum(axis=-1, keepdims=True), DOUBLES, axis=-1),
            np.repeat(counts[..., DOUBLES:].sum(axis=-1, keepdims=True), N_CELLS - DOUBLES, axis=-1),
        ],
        axis=-1,
    )
    each = np.einsum("...gcp,...gcq->...gpq", by_logit * (n_of_kind / (good + bad))[..., None], by_logit)
    information = np.zeros((*w.shape, 10, 10))
    information[..., :5, :5], information[..., 5:, 5:] = each[..., 0, :, :], each[..., 1, :, :]
    spread = values * (1 - values)
    diagonal = np.arange(10)
    information[..., diagonal, diagonal] += spread.reshape(*w.shape, 10)
    # shared slips: the second group's parameters are the first's, so their rows and columns are added up
    for slip in (3, 4):
        same = ~own
        information[same, slip, :] += information[same, slip + 5, :]
        information[same, :, slip] += information[same, :, slip + 5]
        information[same, slip + 5, :] = 0.0
        information[same, :, slip + 5] = 0.0
        information[same, slip + 5, slip + 5] = 1.0
    gradient = np.zeros((*w.shape, 10))
    gradient[..., 1], gradient[..., 6] = w * spread[..., 0, 1], -w * spread[..., 1, 1]
    gradient[..., 2], gradient[..., 7] = -(1 - w) * spread[..., 0, 2], (1 - w) * spread[..., 1, 2]
    solved = np.linalg.solve(information, gradient[..., None])[..., 0]
    error: FloatArray = np.sqrt(np.sum(gradient * solved, axis=-1))
    return error


# ---------------------------------------------------------------- the quality reading


class QualityReading(NamedTuple):
    """The fit of one continuous quality to pairs of groups, arrays of any leading shape."""

    difference: FloatArray  # share of answers passed at the same quality, the first group's minus the second's
    se: FloatArray


def quality_reading(tables: FloatArray) -> QualityReading:
    """Answers that differ by degrees: people and the grader each draw a line on a noisy view of the same normal quality.

    `tables` is ... x 2 x 6 counts of doubly marked cases (a further four of singly marked ones are not used). The
    correlations of two people's marks, r_hh, and of a person's and the grader's, r_hl, are tetrachoric, pooled over the
    groups by atanh. With s = sqrt(r_hh)/r_hl, mu = z(H)/sqrt(r_hh) and c = mu - s z(L), H and L the shares that people and
    the grader call good, the difference is the mean over the groups' qualities of Phi((mu - c_1)/s) - Phi((mu - c_2)/s).
    Its standard error follows from how half a case more in each cell moves it.
    """
    counts = _all_cells(tables)[..., :DOUBLES]
    n = counts.sum(axis=-1)
    plain = _correlations(counts)
    # each group once more for each cell: it shrinks by half a case, which the cell gets
    shrunk = counts * (1 - STEP / np.maximum(n[..., None], STEP))
    moved = _correlations(shrunk[..., None, :] + STEP * np.eye(DOUBLES), near=plain)
    difference = _quality_difference(plain, n)
    slopes = []
    for group in range(2):
        both = np.repeat(plain[..., None, :, :], DOUBLES, axis=-3)
        both[..., group, :] = moved[..., group, :, :]
        slopes.append((_quality_difference(both, n[..., None, :]) - difference[..., None]) / STEP)
    slope = np.stack(slopes, axis=-2)  # ... x group x cell
    p = counts / np.maximum(n[..., None], 1)
    mean = np.sum(p * slope, axis=-1, keepdims=True)
    se = np.sqrt(np.sum(n * np.sum(p * (slope - mean) ** 2, axis=-1), axis=-1))
    return QualityReading(difference, se)


def _correlations(counts: FloatArray, near: FloatArray | None = None) -> FloatArray:
    """Of each table ... x 6: shares good by people and by the grader, and the correlations r_hh and r_hl of the marks.

    `near` holds the same of tables that differ little, the ones that the second last axis of `counts` starts from.
    """
    p = (counts + 0.25) / (counts.sum(axis=-1, keepdims=True) + 0.25 * DOUBLES)
    people = p[..., 4] + p[..., 5] + (p[..., 2] + p[..., 3]) / 2
    grader = p[..., 1] + p[..., 3] + p[..., 5]
    hh, hl = (None, None) if near is None else (near[..., None, 2], near[..., None, 3])
    r_hh = tetrachoric(p[..., 4] + p[..., 5], people, people, near=hh)
    r_hl = tetrachoric(p[..., 5] + p[..., 3] / 2, people, grader, near=hl)
    return np.stack([people, grader, r_hh, r_hl], axis=-1)


def _quality_difference(groups: FloatArray, n: FloatArray) -> FloatArray:
    """The difference from ... x 2 groups x (shares, correlations), with the groups' cases as weights of the correlations."""
    people, grader = groups[..., 0], groups[..., 1]
    weight = n / np.maximum(n.sum(axis=-1, keepdims=True), 1)
    hh, hl = np.moveaxis(np.tanh(np.sum(weight[..., None] * np.arctanh(groups[..., 2:]), axis=-2)), -1, 0)
    root = np.sqrt(np.clip(hh, *MARK_AGREEMENT))
    s = root / np.clip(hl, GRADER_AGREEMENT[0], GRADER_AGREEMENT[1] * root)
    mu = ndtri(people) / root[..., None]
    line = mu - s[..., None] * ndtri(grader)
    passed = ndtr((mu[..., :, None] - line[..., None, :]) / s[..., None, None])  # quality of one group, line of another
    found: FloatArray = np.mean(passed[..., 0] - passed[..., 1], axis=-1)
    return found


# ---------------------------------------------------------------- the rule


def untested(tables: FloatArray, reading: ClassReading) -> BoolArray:
    """Whether pairs of groups carry too little to be judged: see `why_untested` for the reasons."""
    doubles, thinnest = _sizes(tables, reading)
    slips = (reading.slip_good + reading.slip_bad).max(axis=-1)
    informed = (reading.sensitivity + reading.specificity).min(axis=-1)
    none = doubles.min(axis=-1) == 0
    return np.asarray(none | (thinnest < FEWEST_OF_A_CLASS) | (slips >= MOST_SLIPS) | (informed <= LEAST_INFORMATION))


def _sizes(tables: FloatArray, reading: ClassReading) -> tuple[FloatArray, FloatArray]:
    """Doubly marked cases a group, and the smallest expected number of good or bad cases of either group."""
    counts = _all_cells(tables)
    cases, doubles = counts.sum(axis=-1), counts[..., :DOUBLES].sum(axis=-1)
    return doubles, (cases * np.minimum(reading.good, 1 - reading.good)).min(axis=-1)


def why_untested(tables: FloatArray, reading: ClassReading, names: tuple[str, str]) -> Refusal | None:
    """Why one pair of groups is `NOT_TESTED`; None where it can be judged.

    No doubly marked case in a group, fewer than 10 expected good or bad cases in one, people who slip so much that their
    marks no longer say which class is the good one (a + b >= .5), or a grader that hardly knows good from bad
    (se + sp <= 1.1).
    """
    if not bool(untested(tables, reading)):
        return None
    doubles, thinnest = _sizes(tables, reading)
    for name, n in zip(names, doubles, strict=True):
        if n == 0:
            return _not_tested(f"no case of {name} was marked by two people", f"let two people mark random cases of {name}")
    if thinnest < FEWEST_OF_A_CLASS:
        expected = f"about {float(thinnest):.1f} good or bad cases are expected in one of {names[0]} and {names[1]}"
        return _not_tested(expected, f"mark more cases, until {FEWEST_OF_A_CLASS} of each kind can be expected in each group")
    for name, a, b in zip(names, reading.slip_good, reading.slip_bad, strict=True):
        if a + b >= MOST_SLIPS:
            return _not_tested(
                f"people's marks of {name} hardly tell good from bad", "make the criterion clearer and let people mark again"
            )
    return _not_tested("the grader hardly tells good answers from bad ones", "improve the grader first: fairness is not its first trouble")


def _not_tested(why: str, next_step: str) -> Refusal:
    return Refusal("NOT_TESTED", why, next_step)


def hull_verdict(
    class_interval: tuple[FloatArray, FloatArray], quality_interval: tuple[FloatArray, FloatArray], *, margin: float = MARGIN
) -> NDArray[np.str_]:
    """The verdicts that pairs of intervals lead to, `NOT_TESTED` aside; arrays of one shape.

    The hull of the two without 0 is `DIFFERENT`, the hull within the margin `ALIKE`, only the class interval without 0
    `CANNOT_TELL_BORDERLINE`: the grader is harsher on one group, or that group's good answers lie nearer the line.
    """
    (c_low, c_high), (q_low, q_high) = class_interval, quality_interval
    low, high = np.minimum(c_low, q_low), np.maximum(c_high, q_high)
    by_class, by_quality = (c_low > 0) | (c_high < 0), (q_low > 0) | (q_high < 0)
    conditions = [(low > 0) | (high < 0), (low >= -margin) & (high <= margin), by_class & ~by_quality]
    return np.select(conditions, ["DIFFERENT", "ALIKE", "CANNOT_TELL_BORDERLINE"], "UNDECIDED")


# ---------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class FairnessReading(Result):
    """One reading of the difference between two groups."""

    model: str  # two classes of answers, or one continuous quality
    value: float  # the first group's minus the second's
    low: float
    high: float
    standard_error: float

    def headline(self) -> str:
        return f"{self.model} {self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True, slots=True)
class GradedGroup(Result):
    """What is known of one group. Descriptive: neither line of shares says that a grader is fair or unfair."""

    name: str
    n_double: int  # cases that two people marked
    n_single: int  # cases that one person marked
    raw_sensitivity: float | None  # share of people's good marks that the grader calls good; slips are in it
    raw_specificity: float | None
    good: float | None = None  # share of good answers, slips taken out
    sensitivity: float | None = None
    specificity: float | None = None
    slip_good: float | None = None  # how often a person marks a good answer as bad
    slip_bad: float | None = None

    def headline(self) -> str:
        return f"{self.name}: {self.n_double} doubly and {self.n_single} singly marked cases"


@dataclass(frozen=True, slots=True)
class GroupPair(Result):
    """Whether a grader treats the answers of two groups alike."""

    first: str
    second: str
    verdict: FairnessVerdict
    value: float | None  # how much more the grader gives like answers of the first group: between the two readings
    low: float | None  # hull of the two readings: what decides
    high: float | None
    confidence_level: float  # after Holm over the pairs
    unit: str  # share of answers passed, or levels
    margin: float  # in that unit
    class_reading: FairnessReading | None
    quality_reading: FairnessReading | None
    p: float | None  # two-sided, of no difference by the hull; before Holm
    slips: str = ""  # whether the two groups share people's slip rates
    likelihood_ratio: float | None = None  # twice the gain by slips of their own
    fewest: float | None = None  # smallest expected number of good or bad cases of either group
    slips_that_explain: float | None = None  # people's slips from which one mark a case would show no difference; None: no slips do
    says: str = ""
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"{self.first} and {self.second}: {self.verdict} ({self.refused})"
        assert self.value is not None and self.low is not None and self.high is not None
        factor, unit = (100, "points") if self.unit != "levels" else (1, "levels")
        figure = f"{factor * self.value:+.3g} {unit} [{factor * self.low:+.3g}, {factor * self.high:+.3g}]"
        return f"{self.first} against {self.second}: {self.verdict}, {figure}. {self.says}"


@dataclass(frozen=True, slots=True)
class GraderByGroup(Result):
    """Whether a grader treats groups of answers alike, for each pair of groups."""

    pairs: tuple[GroupPair, ...]
    groups: tuple[GradedGroup, ...]
    confidence_level: float  # of all pairs together
    method: str
    n_cases: int  # marked ones
    n_clusters: int | None = None  # None: no cluster was declared, each case is one
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None  # nothing could be looked at

    def headline(self) -> str:
        if self.refused is not None:
            return f"does the grader treat groups alike: no figure ({self.refused})"
        return " ".join(pair.headline() for pair in self.pairs)


ASSUMES = (
    "the marked cases are a random draw of each group's",
    "two people marked without seeing each other's or the grader's mark, and slip independently",
    "what people and the grader get wrong together is not seen",
)


# ---------------------------------------------------------------- cases


def grader_by_group(
    marks: FloatArray,
    grader: FloatArray,
    group: IntArray,
    cluster: IntArray | None = None,
    *,
    names: Sequence[str] | None = None,
    levels: int = 2,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    at_random: bool = True,
    blind: bool = True,
    rng: np.random.Generator | None = None,
) -> GraderByGroup:
    """Whether the grader gives like answers of different groups the same marks, from cases that two people marked.

    `marks` is cases x 2, levels 0 to `levels` - 1, NaN where there is no second mark (or none); `grader` and `group` hold
    one level and one code from 0 a case. Each pair of groups gets two readings (`class_reading`, `quality_reading`) of how
    much more often the grader passes the first group's answers at the same mix of answers, and the hull of their
    intervals decides (`hull_verdict`), at levels by Holm over the pairs. More than two levels: the sum over the cuts,
    which is in levels, its spread from 400 resamples of cases. With clusters the spread is that of 400 resamples of whole
    clusters, never smaller than without, with Student's t. `margin` is a share of the scale. `NOT_TESTED` as in
    `why_untested`, and where marks were not drawn at random or not blind; `TOO_FEW_CLUSTERS` below 6 in a group.
    """
    marks, grader, group = np.asarray(marks, dtype=np.float64), np.asarray(grader, dtype=np.float64), np.asarray(group)
    n = len(marks)
    if marks.shape != (n, 2) or grader.shape != (n,) or group.shape != (n,) or (cluster is not None and np.shape(cluster) != (n,)):
        raise ValueError("marks must be cases x 2; grader, group and cluster must have one value a case")
    if levels < 2 or (n and (group.min() < 0 or not np.all(group == np.round(group)))):
        raise ValueError("there must be at least 2 levels, and group must hold codes from 0")
    n_groups = max(len(names) if names is not None else 0, int(group.max()) + 1 if n else 0)
    labels = tuple(names) if names is not None else tuple(f"group {code}" for code in range(n_groups))
    if len(labels) < n_groups:
        raise ValueError(f"{n_groups} groups and {len(labels)} names do not belong together")
    off = ~(np.isin(marks, np.arange(levels)) | np.isnan(marks)).all(axis=1) | ~(np.isin(grader, np.arange(levels)) | np.isnan(grader))
    if off.any():
        why = f"{int(off.sum())} marks or grades are not one of the levels 0 to {levels - 1}"
        return _refused_whole(Refusal("OFF_SCALE", why, "bring marks and grades to the levels of the criterion"), n, confidence_level)
    given = np.isfinite(marks).sum(axis=1)
    used = (given > 0) & np.isfinite(grader)
    warnings = [f"{int(np.sum(given[~used] > 0))} marked cases have no grade and are left out"] if (given[~used] > 0).any() else []
    marks, grader, group, given = marks[used], grader[used], group[used].astype(np.int64), given[used]
    index, n_clusters = numbered(None if cluster is None else np.asarray(cluster)[used], len(marks))
    cuts = np.arange(1, levels)
    good = np.sum(marks[:, None, :] >= cuts[:, None], axis=-1)  # cases x cuts; NaN is at no level
    cell = np.where(given[:, None] == 2, 2 * good, DOUBLES + 2 * good) + (grader[:, None] >= cuts)
    tables = np.zeros((n_groups, levels - 1, N_CELLS))
    for cut in range(levels - 1):
        np.add.at(tables[:, cut, :], (group, cell[:, cut]), 1)
    design = _design_refusal(at_random=at_random, blind=blind)
    if cluster is None and levels == 2:
        found = [_Pair(i, j, *_read(tables[[i, j], 0]), None) for i, j in itertools.combinations(range(n_groups), 2)]
    else:
        rng = np.random.default_rng(0) if rng is None else rng
        found = []
        for i, j in itertools.combinations(range(n_groups), 2):
            mine = (group == i) | (group == j)
            found.append(_resampled_pair(i, j, tables, group[mine], cell[mine], None if cluster is None else index[mine], rng))
    method = "hull of a latent class and a tetrachoric reading"
    if cluster is not None or levels > 2:
        method += f", {RESAMPLES} resamples of {'cases' if cluster is None else 'whole clusters'}"
    return _assemble(
        found,
        tables,
        labels,
        margin=margin * (levels - 1),
        confidence_level=confidence_level,
        unit="share of answers passed" if levels == 2 else "levels",
        method=method,
        n_clusters=None if cluster is None else n_clusters,
        warnings=tuple(warnings),
        design=design,
    )


def grader_by_counts(
    counts: FloatArray,
    *,
    names: Sequence[str] | None = None,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    at_random: bool = True,
    blind: bool = True,
) -> GraderByGroup:
    """The same as `grader_by_group` from counts, groups x 6: of cases with 0, 1 and 2 good marks, those the grader fails and passes.

    A further four columns hold the singly marked cases with 0 and 1 good marks, which only the class reading uses.
    `OFF_SCALE` for counts that are negative, not finite or above 10^12.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] not in (DOUBLES, N_CELLS):
        raise ValueError(f"counts must be groups x {DOUBLES} or {N_CELLS}, not {counts.shape}")
    labels = tuple(names) if names is not None else tuple(f"group {code}" for code in range(len(counts)))
    if len(labels) != len(counts):
        raise ValueError(f"{len(counts)} groups and {len(labels)} names do not belong together")
    if not bool(np.all(np.isfinite(counts) & (counts >= 0) & (counts <= MOST_CASES))):
        return _refused_whole(
            Refusal("OFF_SCALE", "a count is negative, no number or beyond counting", "count the cases again"), 0, confidence_level
        )
    tables = np.zeros((len(counts), 1, N_CELLS))
    tables[:, 0, : counts.shape[1]] = counts
    found = [_Pair(i, j, *_read(tables[[i, j], 0]), None) for i, j in itertools.combinations(range(len(counts)), 2)]
    return _assemble(
        found,
        tables,
        labels,
        margin=margin,
        confidence_level=confidence_level,
        unit="share of answers passed",
        method="hull of a latent class and a tetrachoric reading",
        n_clusters=None,
        warnings=(),
        design=_design_refusal(at_random=at_random, blind=blind),
    )


class _Pair(NamedTuple):
    first: int
    second: int
    by_class: ClassReading  # each cut's
    value: tuple[float, float]  # of the class reading and the quality reading
    se: tuple[float, float]
    freedom: int | None  # of Student's t; None: the normal distribution
    skipped: tuple[int, ...] = ()  # cuts that nobody and no grade is beyond
    refused: Refusal | None = None


def _read(tables: FloatArray) -> tuple[ClassReading, tuple[float, float], tuple[float, float]]:
    by_class, by_quality = class_reading(tables), quality_reading(tables)
    return by_class, (float(by_class.difference), float(by_quality.difference)), (float(by_class.se), float(by_quality.se))


def _resampled_pair(
    i: int, j: int, tables: FloatArray, group: IntArray, cell: IntArray, cluster: IntArray | None, rng: np.random.Generator
) -> _Pair:
    """The two readings of a pair, summed over the cuts, with the spread that resampled cases or clusters give them."""
    pair = np.moveaxis(tables[[i, j]], 0, 1)  # cuts x 2 x cells
    passed = (pair * SAID_GOOD).sum(axis=-1) + (pair * GOOD).sum(axis=-1)
    most = pair.sum(axis=-1) + (pair * MARKS).sum(axis=-1)
    skipped = tuple(int(cut) for cut in np.flatnonzero((passed.sum(axis=-1) == 0) | (passed.sum(axis=-1) == most.sum(axis=-1))))
    kept = [cut for cut in range(len(pair)) if cut not in skipped] or [0]
    by_class, by_quality = class_reading(pair[kept]), quality_reading(pair[kept])
    value = (float(by_class.difference.sum()), float(by_quality.difference.sum()))
    model = (float(by_class.se.sum()), float(by_quality.se.sum()))
    if cluster is not None and min(len(np.unique(cluster[group == one])) for one in (i, j)) < FEWEST_CLUSTERS:
        few = Refusal(
            "TOO_FEW_CLUSTERS",
            f"a group has fewer than {FEWEST_CLUSTERS} clusters, which cannot tell how other clusters behave",
            f"mark cases of at least {FEWEST_CLUSTERS} clusters in each group",
        )
        return _Pair(i, j, by_class, value, model, None, skipped, few)
    if bool(np.any(untested(pair[kept], by_class))) or not len(group):
        return _Pair(i, j, by_class, value, model, None, skipped)
    # the place of each case in the cells of its group, cut by cut
    width = 2 * N_CELLS
    place = (group == j)[:, None] * N_CELLS + cell[:, kept] + width * np.arange(len(kept))
    if cluster is None:
        # cases in the same cells are drawn together
        like, many = np.unique(place, axis=0, return_counts=True)
        sums = np.zeros((len(like), len(kept) * width))
        sums[np.arange(len(like))[:, None], like] = 1
        drawn = rng.multinomial(len(group), many / len(group), size=RESAMPLES) @ sums
    else:
        index, clusters = numbered(cluster, len(group))
        flat = (index[:, None] * (len(kept) * width) + place).ravel()
        sums = np.bincount(flat, minlength=clusters * len(kept) * width).reshape(clusters, -1).astype(np.float64)
        drawn = np.concatenate([weights @ in_order(sums) for weights in resampled(clusters, RESAMPLES, rng)])
    drawn = drawn.reshape(RESAMPLES, len(kept), 2, N_CELLS)
    classes = class_reading(drawn, own_slips=by_class.own_slips).difference.sum(axis=1)
    qualities = _quality_values(drawn).sum(axis=1)
    se = (float(classes.std(ddof=1)), float(qualities.std(ddof=1)))
    if cluster is None:
        return _Pair(i, j, by_class, value, se, None, skipped)
    freedom = min(len(np.unique(cluster[group == one])) for one in (i, j)) - 1
    if len(kept) == 1:
        se = (max(se[0], model[0]), max(se[1], model[1]))
    return _Pair(i, j, by_class, value, se, freedom, skipped)


def _quality_values(tables: FloatArray) -> FloatArray:
    counts = tables[..., :DOUBLES]
    return _quality_difference(_correlations(counts), counts.sum(axis=-1))


def _design_refusal(*, at_random: bool, blind: bool) -> Refusal | None:
    if not at_random:
        return _not_tested("the marked cases were not drawn at random", "let people mark a random draw of each group's cases")
    if not blind:
        return _not_tested("the second mark depends on the first or on the grader's", "let people mark without seeing another mark")
    return None


def _refused_whole(refused: Refusal, n: int, confidence_level: float) -> GraderByGroup:
    return GraderByGroup((), (), confidence_level, "none", n, refused=refused)


def _assemble(
    found: Sequence[_Pair],
    tables: FloatArray,
    names: tuple[str, ...],
    *,
    margin: float,
    confidence_level: float,
    unit: str,
    method: str,
    n_clusters: int | None,
    warnings: tuple[str, ...],
    design: Refusal | None,
) -> GraderByGroup:
    n = int(tables[:, 0, :].sum()) if len(tables) else 0
    if not found:
        few = _not_tested(f"there are {len(tables)} groups, and it takes two to compare", "name the group of each case")
        return _refused_whole(few, n, confidence_level)
    refusals = [design or pair.refused or _why_pair(pair, tables, names) for pair in found]
    p = [_two_sided_p(pair) for pair in found]
    tested = [place for place, refused in enumerate(refusals) if refused is None]
    alphas = dict(zip(tested, holm_levels([p[place] for place in tested], 1 - confidence_level), strict=True))
    pairs = [
        _pair_result(
            pair,
            tables,
            names,
            margin=margin,
            confidence_level=1 - alphas.get(place, 1 - confidence_level),
            unit=unit,
            p=p[place],
            refused=refusals[place],
        )
        for place, pair in enumerate(found)
    ]
    for pair in found:
        for cut in pair.skipped if tables.shape[1] > 1 else ():
            line = f"{names[pair.first]} and {names[pair.second]}: no mark and grade, or all of them, reach level {cut + 1}"
            warnings = (*warnings, f"{line}; that cut adds nothing")
    groups = tuple(_group_result(name, table, code, found) for code, (name, table) in enumerate(zip(names, tables, strict=False)))
    return GraderByGroup(tuple(pairs), groups, confidence_level, method, n, n_clusters, ASSUMES, warnings)


def _why_pair(pair: _Pair, tables: FloatArray, names: tuple[str, ...]) -> Refusal | None:
    two = tables[[pair.first, pair.second]]
    both = (names[pair.first], names[pair.second])
    if tables.shape[1] == 1:
        return why_untested(two[:, 0], pair.by_class, both)
    kept = [cut for cut in range(tables.shape[1]) if cut not in pair.skipped]
    if not kept:
        return _not_tested("all marks and grades are at one level", "mark cases of more than one level")
    for place, cut in enumerate(kept):
        refused = why_untested(two[:, cut], _one(pair.by_class, place), both)
        if refused is not None:
            return _not_tested(f"at the cut below level {cut + 1}, {refused.why}", refused.next)
    return None


def _one(reading: ClassReading, place: int) -> ClassReading:
    """The reading of one cut."""
    difference, se, good, sensitivity, specificity, slip_good, slip_bad, lr, own = reading
    figures = (difference[place], se[place], good[place], sensitivity[place], specificity[place])
    return ClassReading(*figures, slip_good[place], slip_bad[place], lr[place], own[place])


def _two_sided_p(pair: _Pair) -> float:
    """Of no difference, by the hull: the larger of both readings' p, 1 where they point to different groups."""
    z = [value / se if se > 0 else 0.0 for value, se in zip(pair.value, pair.se, strict=True)]
    if z[0] * z[1] <= 0:
        return 1.0
    nearest = min(abs(z[0]), abs(z[1]))
    beyond = ndtr(-nearest) if pair.freedom is None else stdtr(pair.freedom, -nearest)
    return min(1.0, 2 * float(beyond))


def _pair_result(
    pair: _Pair,
    tables: FloatArray,
    names: tuple[str, ...],
    *,
    margin: float,
    confidence_level: float,
    unit: str,
    p: float,
    refused: Refusal | None,
) -> GroupPair:
    first, second = names[pair.first], names[pair.second]
    two = tables[[pair.first, pair.second]]
    good = pair.by_class.good.reshape(-1, 2)
    cases = two[:, 0, :].sum(axis=-1)
    fewest = float((cases * np.minimum(good, 1 - good)).min())
    lr = float(np.max(pair.by_class.lr))
    if refused is not None:
        return GroupPair(
            first, second, "NOT_TESTED", None, None, None, confidence_level, unit, margin, None, None, None,
            likelihood_ratio=lr, fewest=fewest, refused=refused,
        )  # fmt: skip
    quantile = 0.5 + confidence_level / 2
    z = float(ndtri(quantile) if pair.freedom is None else stdtrit(pair.freedom, quantile))
    most = float(tables.shape[1])
    readings = [
        FairnessReading(model, value, max(-most, value - z * se), min(most, value + z * se), se)
        for model, value, se in zip(("two classes", "one quality"), pair.value, pair.se, strict=True)
    ]
    ends = [(np.array(one.low), np.array(one.high)) for one in readings]
    verdict: FairnessVerdict = str(hull_verdict(ends[0], ends[1], margin=margin))  # type: ignore[assignment]
    low, high = min(one.low for one in readings), max(one.high for one in readings)
    explain = slips_that_explain(_single_view(two[:, 0]), confidence_level=confidence_level) if tables.shape[1] == 1 else None
    return GroupPair(
        first=first,
        second=second,
        verdict=verdict,
        value=sum(pair.value) / 2,
        low=low,
        high=high,
        confidence_level=confidence_level,
        unit=unit,
        margin=margin,
        class_reading=readings[0],
        quality_reading=readings[1],
        p=p,
        slips="each group has its own" if bool(np.any(pair.by_class.own_slips)) else "shared",
        likelihood_ratio=lr,
        fewest=fewest,
        slips_that_explain=explain,
        says=_sentence(verdict, first, second, sum(pair.value)),
    )


def _sentence(verdict: FairnessVerdict, first: str, second: str, direction: float) -> str:
    more, less = (first, second) if direction > 0 else (second, first)
    return {
        "DIFFERENT": f"The grader is harsher on {less} than on like answers of {more}.",
        "ALIKE": f"The grader treats like answers of {first} and {second} alike, within the margin.",
        "CANNOT_TELL_BORDERLINE": f"The grader is harsher on {less}, or {less}'s good answers are nearer the line.",
        "UNDECIDED": "These marks do not decide it.",
        "NOT_TESTED": "",
    }[verdict]


def _single_view(two: FloatArray) -> FloatArray:
    """Counts 2 x 4 of a case by one of its marks and the grader: a doubly marked case counts half for each mark."""
    d, s = two[:, :DOUBLES], two[:, DOUBLES:]
    found: FloatArray = s + np.stack([d[:, 0] + d[:, 2] / 2, d[:, 1] + d[:, 3] / 2, d[:, 4] + d[:, 2] / 2, d[:, 5] + d[:, 3] / 2], axis=1)
    return found


def _group_result(name: str, table: FloatArray, code: int, found: Sequence[_Pair]) -> GradedGroup:
    """One group, at the only cut; with more levels just its numbers of cases."""
    n_double, n_single = int(table[0, :DOUBLES].sum()), int(table[0, DOUBLES:].sum())
    if len(table) > 1:
        return GradedGroup(name, n_double, n_single, None, None)
    cell = _single_view(table[:1])[0]
    raw = [float(right / of) if of > 0 else None for right, of in ((cell[3], cell[2] + cell[3]), (cell[0], cell[0] + cell[1]))]
    if n_double == 0:
        return GradedGroup(name, n_double, n_single, *raw)
    pair = next(pair for pair in found if code in (pair.first, pair.second))
    place = 0 if code == pair.first else 1
    by = pair.by_class
    latent = (part.reshape(-1, 2)[0, place] for part in (by.good, by.sensitivity, by.specificity, by.slip_good, by.slip_bad))
    return GradedGroup(name, n_double, n_single, *raw, *(float(part) for part in latent))


# ---------------------------------------------------------------- one mark a case


@dataclass(frozen=True, slots=True)
class SinglyMarked(Result):
    """What single marks say of two groups if people slip at most so often. Never that a grader is unfair."""

    first: str
    second: str
    verdict: FairnessVerdict  # CANNOT_TELL_BORDERLINE, UNDECIDED or NOT_TESTED
    value: float | None  # the difference if people never slipped
    low: float | None  # of all differences that slips up to `slip_at_most` allow, with their intervals
    high: float | None
    confidence_level: float
    slip_at_most: float  # declared
    tipping_point: float | None  # smallest such rate with which 0 is not excluded; None: no slips explain it
    n_cases: int
    method: str = "envelope over people's slips in each group"
    assumptions: tuple[str, ...] = ("a person slips equally often on good and on bad answers of a group",)
    says: str = ""
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"{self.first} and {self.second}: {self.verdict} ({self.refused})"
        return self.says


def single_marks_by_group(
    counts: FloatArray, *, slip_at_most: float, names: tuple[str, str] = ("group 0", "group 1"), confidence_level: float = 0.95
) -> SinglyMarked:
    """What one mark a case can say of a difference between two groups, if people slip in at most `slip_at_most` of cases.

    `counts` is 2 x 4: of cases marked bad and good, those the grader fails and passes. For each group's slip rate s from 0
    to the declared one, G_l = ((1-s) P(1,l) - s P(0,l))/(1-2s) and B_l = ((1-s) P(0,l) - s P(1,l))/(1-2s) undo the slips
    (a negative one shows that s is impossible), se = G_1/sum G and sp = B_0/sum B; the envelope of the intervals is
    shown. It ignores that one group's good answers may lie nearer the line, so it never says `DIFFERENT`. `NOT_TESTED`
    with fewer than 10 good or bad marks in a group.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.shape != (2, 4) or not 0 <= slip_at_most < 0.5:
        raise ValueError("counts must be 2 x 4, and slip_at_most from 0 to below .5")
    first, second = names
    if not bool(np.all(np.isfinite(counts) & (counts >= 0) & (counts <= MOST_CASES))):
        off = Refusal("OFF_SCALE", "a count is negative, no number or beyond counting", "count the cases again")
        return SinglyMarked(first, second, "NOT_TESTED", None, None, None, confidence_level, slip_at_most, None, 0, refused=off)
    n = int(counts.sum())
    fewest = min(float(row[:2].sum()) for row in counts), min(float(row[2:].sum()) for row in counts)
    if min(fewest) < FEWEST_OF_A_CLASS:
        thin = _not_tested(
            f"a group has {min(fewest):g} cases that people marked {'bad' if fewest[0] <= fewest[1] else 'good'}",
            f"mark more cases, until each group has {FEWEST_OF_A_CLASS} of each kind",
        )
        return SinglyMarked(first, second, "NOT_TESTED", None, None, None, confidence_level, slip_at_most, None, n, refused=thin)
    slips, low, high, value = _envelope(counts, confidence_level, slip_at_most)
    place = int(np.searchsorted(slips, slip_at_most + 1e-12)) - 1
    ends = Interval(max(-1.0, float(low[place])), min(1.0, float(high[place])))
    apart = ends.low > 0 or ends.high < 0
    verdict: FairnessVerdict = "CANNOT_TELL_BORDERLINE" if apart else "UNDECIDED"
    if_so = f"If people slip in at most {100 * slip_at_most:g} of 100 marks"
    figure = f"between {100 * ends.low:+.3g} and {100 * ends.high:+.3g} points"
    says = f"{if_so}, the grader passes answers of {first} {figure} more often than answers of {second} with the same mark"
    if apart:
        less = second if ends.low > 0 else first
        says += f"; it is harsher on {less}, or {less}'s good answers are nearer the line"
    return SinglyMarked(
        first, second, verdict, value, ends.low, ends.high, confidence_level, slip_at_most,
        slips_that_explain(counts, confidence_level=confidence_level), n, says=says + ".",
    )  # fmt: skip


def slips_that_explain(counts: FloatArray, *, confidence_level: float = 0.95) -> float | None:
    """The smallest slip rate of people (to .0025) with which single marks of two groups no longer exclude equal treatment.

    0 where they do not exclude it even without slips; None where no possible rate below .5 explains the difference.
    """
    slips, low, high, _ = _envelope(np.asarray(counts, dtype=np.float64), confidence_level, 0.0)
    holds = np.flatnonzero((low <= 0) & (high >= 0))
    return float(round(slips[holds[0]], 4)) if len(holds) else None


def _envelope(counts: FloatArray, confidence_level: float, also: float) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Slip rates, and for each the lowest and highest end of the intervals with slips up to it in either group; the value without."""
    slips = np.union1d(np.arange(0, 0.5, 0.0025), [also])
    n = counts.sum(axis=1)
    p = (counts + 0.5) / (n + 2)[:, None]
    rest = 1 - 2 * slips
    # what each cell k, l adds to G_0, G_1, B_0, B_1, slips x cells x 4
    adds = np.zeros((len(slips), 4, 4))
    for said in range(2):
        adds[:, 2 + said, said], adds[:, said, said] = (1 - slips) / rest, -slips / rest
        adds[:, said, 2 + said], adds[:, 2 + said, 2 + said] = (1 - slips) / rest, -slips / rest
    parts = np.einsum("gc,scq->gsq", p, adds)
    possible = (parts >= 0).all(axis=-1) & (parts[..., :2].sum(axis=-1) > 1e-9) & (parts[..., 2:].sum(axis=-1) > 1e-9)
    good, bad = (np.maximum(part.sum(axis=-1), 1e-9) for part in (parts[..., :2], parts[..., 2:]))
    se, sp = parts[..., 1] / good, parts[..., 2] / bad
    d_se = (adds[None, :, :, 1] - se[..., None] * adds[None, :, :, :2].sum(axis=-1)) / good[..., None]
    d_sp = (adds[None, :, :, 2] - sp[..., None] * adds[None, :, :, 2:].sum(axis=-1)) / bad[..., None]

    def covariance(x: FloatArray, y: FloatArray) -> FloatArray:
        weights = p[:, None, :]
        product = np.sum(weights * x * y, axis=-1) - np.sum(weights * x, axis=-1) * np.sum(weights * y, axis=-1)
        found: FloatArray = product / n[:, None]
        return found

    v_se, v_sp, v_both = covariance(d_se, d_se), covariance(d_sp, d_sp), covariance(d_se, d_sp)
    w = (good[0][:, None] + good[1][None, :]) / 2
    difference = w * (se[0][:, None] - se[1][None, :]) + (1 - w) * (sp[1][None, :] - sp[0][:, None])
    variance = sum(
        w**2 * a + (1 - w) ** 2 * b - 2 * w * (1 - w) * c
        for a, b, c in (
            (v_se[0][:, None], v_sp[0][:, None], v_both[0][:, None]),
            (v_se[1][None, :], v_sp[1][None, :], v_both[1][None, :]),
        )
    )
    half = float(ndtri(0.5 + confidence_level / 2)) * np.sqrt(np.maximum(variance, 0))
    allowed = possible[0][:, None] & possible[1][None, :]
    larger = np.maximum(np.arange(len(slips))[:, None], np.arange(len(slips))[None, :])[allowed]
    low, high = np.full(len(slips), np.inf), np.full(len(slips), -np.inf)
    np.minimum.at(low, larger, (difference - half)[allowed])
    np.maximum.at(high, larger, (difference + half)[allowed])
    return slips, np.minimum.accumulate(low), np.maximum.accumulate(high), float(difference[0, 0])


def gap_without_slips(gap: float, slip: float) -> float:
    """The gap between two groups' pass rates that people's marks would show if nobody slipped: gap / (1 - 2 slip).

    People who slip in a share `slip` of cases, alike in both groups and on good and bad answers, shrink a gap by 1 - 2 slip.
    """
    if not 0 <= slip < 0.5:
        raise ValueError(f"slip must be from 0 to below .5, not {slip}")
    return min(1.0, max(-1.0, gap / (1 - 2 * slip)))
