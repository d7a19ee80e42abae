"""Audits of a grader for biases: each an experiment with a paired test and an effect in rubric points.

An audit shows a bias, shows that it is within a margin that was declared, leaves it undecided, or could not have seen it:
then it says `NOT_TESTED`, which is not the same as finding nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS, korn_graubard, numbered
from fairmark.stats.intervals import FloatArray, IntArray, Interval, holm_levels, one_sided_p
from fairmark.stats.paired import PairedIntervals, mcnemar
from fairmark.stats.proportions import clopper_pearson
from fairmark.stats.sequential import EProcess, bets

AuditVerdict = Literal["biased", "within the margin", "undecided", "NOT_TESTED"]
Scale = tuple[float, float]

MARGIN = 0.05  # of the scale: a smaller bias does not matter
WORTH_FINDING = 0.25  # of the scale: an audit that would miss this has not tested anything
POWER_FACTOR = 1.43  # (z.975 + z.8) / z.975: the effect found in 80% of studies, in half widths of the interval
UNIT_SCALE = (0.0, 1.0)
FEWEST_UNITS = 10  # cases or clusters of an audit whose spread comes from leaving each out
FEWEST_ANCHORS = 20
ALARM = 20.0  # e-value: a grader that did not drift ever reaches it in at most one of 20 studies
LATER_STARTS = 10  # a drift may have begun at each of the first 20 runs, later at every tenth part more
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Audit(Result):
    """One audit of a grader. `value` and the interval are None exactly where it is refused."""

    bias: str  # such as position
    verdict: AuditVerdict
    value: float | None  # in rubric points; its meaning is in `effect`
    low: float | None
    high: float | None
    confidence_level: float
    margin: float  # in rubric points
    effect: str  # what the value is, in a phrase
    p: float | None  # two-sided, of no effect; before Holm
    n_cases: int
    n_clusters: int | None  # None: no cluster was declared, each case is one
    method: str
    smallest_visible: float | None = None  # effect that so many cases would show with 80% power, in rubric points
    figures: Mapping[str, float] = field(default_factory=dict)  # what else was counted
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"{self.bias}: {self.verdict} ({self.refused})"
        return f"{self.bias}: {self.verdict}, {self.effect} {self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


class _Spread(NamedTuple):
    """The interval of an effect at every level, and how it was found."""

    at: Callable[[float], Interval]
    method: str
    assumptions: tuple[str, ...]
    refused: Refusal | None


# ---------------------------------------------------------------- pairs


def position_bias(
    shown_first: FloatArray,
    shown_second: FloatArray,
    cluster: IntArray | None = None,
    *,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
    rng: np.random.Generator | None = None,
) -> Audit:
    """How much more often the grader prefers an answer because it stands first, from each pair judged in both orders.

    `shown_first` is the preference for the same answer of each pair when it stands first, 1, 0, or .5 for a tie, and
    `shown_second` when it stands second. The value is the mean of their difference: picks of the first place less picks of
    the second, over all picks. Tango's interval for plain preferences (McNemar's p is among the figures), else the
    inverted sign-flip test. `consistent` is the share of pairs judged alike in both orders, with Clopper and Pearson's
    interval.
    """
    pairs, trouble = _complete({"shown_first": shown_first, "shown_second": shown_second}, cluster, UNIT_SCALE)
    first, second = pairs.values["shown_first"], pairs.values["shown_second"]
    difference = first - second
    figures: dict[str, float] = {}
    if len(difference) and trouble is None:
        b, c = int(np.sum(difference > TINY)), int(np.sum(difference < -TINY))
        figures = _share("consistent", len(difference) - b - c, len(difference), pairs, confidence_level)
        if pairs.cluster is None:
            figures["mcnemar_midp"] = mcnemar(b, c).midp
    return _of_mean(
        "position", "preference for the first place", difference, 1.0, pairs, trouble, UNIT_SCALE,
        margin=margin, confidence_level=confidence_level, worth_finding=worth_finding, rng=rng, figures=figures,
    )  # fmt: skip


def edit_bias(
    plain: FloatArray,
    edited: FloatArray,
    cluster: IntArray | None = None,
    *,
    bias: str,
    again: FloatArray | None = None,
    scale: Scale = UNIT_SCALE,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
    rng: np.random.Generator | None = None,
) -> Audit:
    """How many rubric points an edit that should not matter is worth: padding, trimming, format, a claim of authority, a language.

    `plain` and `edited` are the grades of the same answer before and after, `bias` names the edit. The value is the mean
    difference, edited minus plain. `flips` is the share of answers whose grade changed, either way: with many flips and no
    net difference the edit still matters. `again` holds grades of the unchanged answers asked once more; `flips_again` is
    then what changes without any edit, and `flips_beyond` the rest.
    """
    given = {"plain": plain, "edited": edited} | ({} if again is None else {"again": again})
    pairs, trouble = _complete(given, cluster, scale)
    before, after = pairs.values["plain"], pairs.values["edited"]
    figures: dict[str, float] = {}
    if len(before) and trouble is None:
        figures = _share("flips", int(np.sum(before != after)), len(before), pairs, confidence_level)
        if again is not None:
            unchanged = int(np.sum(before != pairs.values["again"]))
            figures |= _share("flips_again", unchanged, len(before), pairs, confidence_level)
            figures["flips_beyond"] = figures["flips"] - figures["flips_again"]
    return _of_mean(
        bias, "change by the edit", after - before, scale[1] - scale[0], pairs, trouble, scale,
        margin=margin, confidence_level=confidence_level, worth_finding=worth_finding, rng=rng, figures=figures,
    )  # fmt: skip


def self_preference(
    own_grader: FloatArray,
    own_human: FloatArray,
    other_grader: FloatArray,
    other_human: FloatArray,
    cluster: IntArray | None = None,
    *,
    scale: Scale = UNIT_SCALE,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
    rng: np.random.Generator | None = None,
) -> Audit:
    """How many rubric points more than people the grader gives answers of its own family than others' on the same cases.

    The value is the mean of (own_grader - own_human) - (other_grader - other_human): what people see as better answers
    cancels, and so does a grader that is lenient to all.
    """
    names = ("own_grader", "own_human", "other_grader", "other_human")
    given = dict(zip(names, (own_grader, own_human, other_grader, other_human), strict=True))
    pairs, trouble = _complete(given, cluster, scale)
    difference = pairs.values["own_grader"] - pairs.values["own_human"] - pairs.values["other_grader"] + pairs.values["other_human"]
    return _of_mean(
        "self-preference", "more for its own family", difference, 2 * (scale[1] - scale[0]), pairs, trouble, scale,
        margin=margin, confidence_level=confidence_level, worth_finding=worth_finding, rng=rng,
        assumptions=("people's marks are as right for its own family's answers as for others'",),
    )  # fmt: skip


def leniency(
    grader: FloatArray,
    human: FloatArray,
    cluster: IntArray | None = None,
    *,
    scale: Scale = UNIT_SCALE,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
    rng: np.random.Generator | None = None,
) -> Audit:
    """How many rubric points the grader gives more than people on the same answers; below 0 it is severe."""
    pairs, trouble = _complete({"grader": grader, "human": human}, cluster, scale)
    return _of_mean(
        "leniency", "grader minus people", pairs.values["grader"] - pairs.values["human"], scale[1] - scale[0], pairs, trouble, scale,
        margin=margin, confidence_level=confidence_level, worth_finding=worth_finding, rng=rng,
        assumptions=("people's marks are right on average: where nearly all answers are good, slips make them too low",),
    )  # fmt: skip


# ---------------------------------------------------------------- residuals


def length_bias(
    grader: FloatArray,
    human: FloatArray,
    length: FloatArray,
    cluster: IntArray | None = None,
    *,
    scale: Scale = UNIT_SCALE,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
) -> Audit:
    """How many rubric points more than people the grader gives an answer that is twice as long.

    The slope of grader - human on log2(length), any unit above 0, by least squares; its standard error from leaving out
    each case, or whole cluster, sqrt(sum (b_(g) - b)^2) (HC3; CR3 with clusters), with Student's t and G - 1 degrees of
    freedom. Where people themselves favour long answers, that is not in it. `NO_VARIATION` where lengths do not vary.
    """
    pairs, trouble = _complete({"grader": grader, "human": human}, cluster, scale, more={"length": length})
    x_given = pairs.values["length"]
    if trouble is None and bool(np.any(x_given <= 0)):
        trouble = Refusal("OFF_SCALE", "a length is not above 0", "count the words or characters of each answer")
    x = np.log2(np.where(x_given > 0, x_given, 1.0))
    y = pairs.values["grader"] - pairs.values["human"]
    # from the mean, so that sums of squares lose no digits
    x = x - float(np.mean(x)) if len(x) else x
    of = np.column_stack([np.ones(len(x)), x, y, x * x, x * y])

    def slope(sums: FloatArray) -> FloatArray:
        n, sx, sy, sxx, sxy = np.moveaxis(sums, -1, 0)
        spread = sxx - sx * sx / np.maximum(n, 1)
        found: FloatArray = np.where(spread > 1e-9, (sxy - sx * sy / np.maximum(n, 1)) / np.maximum(spread, 1e-9), np.nan)
        return found

    return _of_sums(
        "length", "for twice the length", of, slope, pairs, trouble, scale, refit=True, what="the lengths of all answers but one unit's",
        margin=margin, confidence_level=confidence_level, worth_finding=worth_finding,
    )  # fmt: skip


def halo(
    grader: FloatArray,
    human: FloatArray,
    cluster: IntArray | None = None,
    *,
    separate: FloatArray | None = None,
    scale: Scale = UNIT_SCALE,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
) -> Audit:
    """How many rubric points a criterion's residual rises where another criterion's is one standard deviation higher.

    `grader` and `human` are answers x criteria. With the residuals grader - human, the value is the mean covariance of two
    criteria over the root of the mean variance; `correlation` is the mean covariance over the mean variance. `separate`
    holds grades of the same answers where each criterion was asked by itself: then the value is how much more the joint
    prompt ties the criteria together, which people's own halo does not enter. Spread by the jackknife over cases or
    clusters, Student's t with G - 1 degrees of freedom.
    """
    grader, human = np.asarray(grader, dtype=np.float64), np.asarray(human, dtype=np.float64)
    if (
        grader.ndim != 2
        or grader.shape != human.shape
        or grader.shape[1] < 2
        or (separate is not None and np.shape(separate) != grader.shape)
    ):
        raise ValueError("grader, human and separate must be answers x criteria of one shape, with at least 2 criteria")
    k = grader.shape[1]
    given = {f"grader {i}": grader[:, i] for i in range(k)} | {f"human {i}": human[:, i] for i in range(k)}
    if separate is not None:
        given |= {f"separate {i}": np.asarray(separate, dtype=np.float64)[:, i] for i in range(k)}
    pairs, trouble = _complete(given, cluster, scale)
    people = np.column_stack([pairs.values[f"human {i}"] for i in range(k)])
    width = 1 + k + k * k

    def moments(of: str) -> FloatArray:
        r = np.column_stack([pairs.values[f"{of} {i}"] for i in range(k)]) - people
        return np.column_stack([np.ones(len(r)), r, (r[:, :, None] * r[:, None, :]).reshape(len(r), k * k)])

    def covariances(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean covariance of two criteria, and mean variance."""
        n = np.maximum(sums[..., 0], 2)
        mean = sums[..., 1 : 1 + k] / n[..., None]
        second = sums[..., 1 + k : width].reshape(*sums.shape[:-1], k, k) / n[..., None, None]
        centred = (second - mean[..., :, None] * mean[..., None, :]) * (n / (n - 1))[..., None, None]
        own = np.trace(centred, axis1=-2, axis2=-1)
        return (centred.sum(axis=(-2, -1)) - own) / (k * (k - 1)), own / k

    def tie(sums: FloatArray) -> FloatArray:
        between, within = covariances(sums)
        found: FloatArray = np.where(within > TINY, between / np.sqrt(np.maximum(within, TINY)), np.nan)
        return found

    of = moments("grader") if separate is None else np.column_stack([moments("grader"), moments("separate")])
    statistic = tie if separate is None else (lambda sums: tie(sums[..., :width]) - tie(sums[..., width:]))
    figures: dict[str, float] = {}
    if len(of) > 1 and trouble is None:
        for name, part in (("correlation", slice(0, width)), ("correlation_separate", slice(width, 2 * width))):
            if part.start < of.shape[1]:
                between, within = covariances(of[:, part].sum(axis=0))
                figures |= {name: float(between / within)} if within > TINY else {}
    confounded = () if separate is not None else ("the same person's marks of several criteria have no halo of their own",)
    return _of_sums(
        "halo", "per standard deviation of another criterion", of, statistic, pairs, trouble, scale, refit=False,
        what="the residuals", margin=margin, confidence_level=confidence_level, worth_finding=worth_finding,
        figures=figures, assumptions=confounded,
    )  # fmt: skip


def central_tendency(
    grader: FloatArray,
    human: FloatArray,
    cluster: IntArray | None = None,
    *,
    scale: Scale = UNIT_SCALE,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
) -> Audit:
    """How many rubric points the grader's grades spread more than people's marks on the same answers; below 0 it shuns the ends.

    The value is the difference of the standard deviations, its spread by the jackknife over cases or clusters with
    Student's t. Among the figures are `sd_ratio` and how often each uses the two ends of the scale. `NO_VARIATION` where
    neither varies.
    """
    pairs, trouble = _complete({"grader": grader, "human": human}, cluster, scale)
    g, h = pairs.values["grader"], pairs.values["human"]
    middle = (scale[0] + scale[1]) / 2
    of = np.column_stack([np.ones(len(g)), g - middle, (g - middle) ** 2, h - middle, (h - middle) ** 2])

    def deviations(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        n = np.maximum(sums[..., 0], 2)
        first, second = (
            np.sqrt(np.maximum(sums[..., i + 1] - sums[..., i] ** 2 / n, 0) / (n - 1)) for i in (1, 3)
        )  # fmt: skip
        return first, second

    def wider(sums: FloatArray) -> FloatArray:
        first, second = deviations(sums)
        found: FloatArray = np.where((first > TINY) | (second > TINY), first - second, np.nan)
        return found

    figures: dict[str, float] = {}
    if len(g) > 1 and trouble is None:
        of_grader, of_people = (float(one) for one in deviations(of.sum(axis=0)))
        figures = {"sd_grader": of_grader, "sd_people": of_people}
        figures |= {"sd_ratio": of_grader / of_people} if of_people > TINY else {}
        figures["ends_grader"], figures["ends_people"] = (float(np.mean((one == scale[0]) | (one == scale[1]))) for one in (g, h))
    return _of_sums(
        "central tendency", "spread of the grader minus people's", of, wider, pairs, trouble, scale, refit=False,
        what="grades and marks", margin=margin, confidence_level=confidence_level, worth_finding=worth_finding, figures=figures,
        assumptions=("one mark of one person is compared with one grade: a mean of several spreads less",),
    )  # fmt: skip


# ---------------------------------------------------------------- the same again


def repeatability(
    grades: FloatArray,
    cluster: IntArray | None = None,
    *,
    scale: Scale = UNIT_SCALE,
    margin: float = MARGIN,
    confidence_level: float = 0.95,
    worth_finding: float = WORTH_FINDING,
) -> Audit:
    """How many rubric points two grades of the same input differ, on average.

    `grades` is answers x repeats, NaN where one failed; answers with fewer than two are left out. The value is the mean
    distance of two repeats of an answer, `flips` the share of pairs of repeats that differ at all; Clopper and Pearson's
    intervals for two levels, Korn and Graubard's otherwise. As a distance is never below 0, `biased` here means that its
    lower bound is above the margin.
    """
    grades = np.asarray(grades, dtype=np.float64)
    if grades.ndim != 2 or (cluster is not None and len(cluster) != len(grades)):
        raise ValueError("grades must be answers x repeats, and cluster must have one value an answer")
    span = _span(scale)
    enough = np.isfinite(grades).sum(axis=1) >= 2
    pairs = _Cases({}, None if cluster is None else np.asarray(cluster)[enough], int(np.sum(~enough)))
    kept = grades[enough]
    trouble = _off_scale(kept, scale)
    n = len(kept)
    distance, differ, counted = np.zeros(n), np.zeros(n), np.zeros(n)
    for i, j in itertools.combinations(range(kept.shape[1]), 2):
        apart = np.abs(kept[:, i] - kept[:, j])
        both = np.isfinite(apart)
        distance[both] += apart[both] / span
        differ[both] += apart[both] > TINY
        counted[both] += 1
    distance, differ = distance / np.maximum(counted, 1), differ / np.maximum(counted, 1)
    index, groups = numbered(pairs.cluster, n)
    trouble = trouble or _too_few(n, groups, pairs.cluster, least=FEWEST_CLUSTERS if cluster is not None else 1)
    if trouble is not None:
        return _refused("repeatability", "between two grades of one input", trouble, pairs, n, margin * span, confidence_level)

    def at(level: float) -> Interval:
        low, high = _rate(np.minimum(distance, 1), index, groups, level)
        return Interval(low * span, high * span)

    flips = _rate(differ, index, groups, confidence_level)
    figures = {"flips": float(np.mean(differ)), "flips_low": flips.low, "flips_high": flips.high}
    method = "Clopper-Pearson" if groups == n and bool(np.all((distance == 0) | (distance == 1))) else "Korn-Graubard"
    spread = _Spread(at, method, (), None)
    return _judged(
        "repeatability", "between two grades of one input", float(np.mean(distance)) * span, spread, pairs, n, span, magnitude=True,
        margin=margin, confidence_level=confidence_level, worth_finding=worth_finding, figures=figures,
    )  # fmt: skip


def _rate(shares: FloatArray, index: IntArray, groups: int, level: float) -> Interval:
    """Clopper and Pearson's interval for 0/1 values that stand alone, else Korn and Graubard's."""
    if groups == len(shares) and bool(np.all((shares == 0) | (shares == 1))):
        return clopper_pearson(float(np.sum(shares)), groups, confidence_level=level)
    return korn_graubard(shares, index, confidence_level=level)


@dataclass(frozen=True, slots=True)
class Drift(Result):
    """Whether a grader still answers frozen anchors as it did."""

    verdict: AuditVerdict
    value: float | None  # change of the agreement against the baseline in the last run
    baseline: float  # agreement when the anchors were frozen
    at_least: float  # agreement below which the grader has drifted: the baseline less the margin
    e: float | None  # largest evidence for a drift after any run: an alarm from 20
    e_within: float | None  # largest evidence that agreement is above `at_least`
    alarm_at: int | None  # number of the run that raised the alarm, from 1; None: no alarm
    agreement: tuple[float | None, ...]  # of each run; None where nothing was answered
    n_anchors: int
    n_missing: int  # anchors that were not answered, over all runs
    alarm_from: float = ALARM
    method: str = "e-process on agreement with frozen anchors, looked at after each run"
    assumptions: tuple[str, ...] = ("runs are independent given the grader", "anchors and their answers were frozen before")
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"drift: {self.verdict} ({self.refused})"
        when = f"alarm at run {self.alarm_at}" if self.alarm_at is not None else f"no alarm in {len(self.agreement)} runs"
        return f"drift: {self.verdict}, {when} (evidence {self.e:.3g}, alarm from {self.alarm_from:g})"


def drift(agreement: FloatArray, *, baseline: float, margin: float = MARGIN, worth_finding: float = 0.1, alarm: float = ALARM) -> Drift:
    """Whether the grader's agreement with frozen anchors has fallen more than the margin below the baseline.

    `agreement` is runs x anchors in the order of time, 1 where the answer is the frozen one, NaN where there is none. The
    hypothesis is a mean agreement of at least baseline - margin in every run. Its e-process bets on more disagreement
    (best at `worth_finding` below the baseline) and restarts with a part of its capital at later runs, so that a grader
    that was stable for long is still caught soon; it is looked at after each run, which is valid with anchors of any
    difficulty, as a product of bets is largest where all anchors are alike. A grader that has not drifted ever raises the
    alarm with a chance of at most 1/alarm. `within the margin` by the mirrored process. `TOO_FEW_ANCHORS` below 20.
    """
    agreement = np.asarray(agreement, dtype=np.float64)
    if agreement.ndim != 2 or not 0 <= margin < 1 or alarm <= 1:
        raise ValueError("agreement must be runs x anchors, margin from 0 to below 1, and alarm above 1")
    runs, anchors = agreement.shape
    missing = int(np.sum(np.isnan(agreement)))
    shares = tuple(float(np.nanmean(run)) if np.isfinite(run).any() else None for run in agreement)
    at_least = baseline - margin

    def refused(code: str, why: str, next_step: str) -> Drift:
        shown = tuple(None if share is None or not math.isfinite(share) else share for share in shares)
        base, least = (value if math.isfinite(value) else 0.0 for value in (baseline, at_least))
        return Drift(
            "NOT_TESTED", None, base, least, None, None, None, shown, anchors, missing, alarm, refused=Refusal(code, why, next_step)
        )

    if runs == 0 or anchors < FEWEST_ANCHORS:
        return refused("TOO_FEW_ANCHORS", f"there are {anchors} anchors in {runs} runs", f"freeze at least {FEWEST_ANCHORS} anchors")
    if not bool(np.all(np.isin(agreement, (0.0, 1.0)) | np.isnan(agreement))) or not 0 <= baseline <= 1:
        return refused("OFF_SCALE", "agreement is 0 or 1, and the baseline a share", "compare each answer with the frozen one")
    if not TINY < at_least < 1 - TINY:
        return refused("NO_POWER", f"agreement of {at_least:.3g} cannot be told from less", "declare a margin between 0 and the baseline")
    if missing == agreement.size:
        return refused("NO_DATA", "no anchor was answered in any run", "run the anchors again")
    wanted = max(at_least - worth_finding, 0.0)
    e = _evidence(1 - agreement, 1 - at_least, (1 - wanted - (1 - at_least)) / at_least)
    within = _evidence(agreement, at_least, margin / (1 - at_least) if margin else worth_finding)
    over = np.flatnonzero(e >= math.log(alarm) - TINY)
    verdict: AuditVerdict = "undecided"
    if len(over):
        verdict = "biased"
    elif within.max() >= math.log(alarm) - TINY:
        verdict = "within the margin"
    last = next(share for share in reversed(shares) if share is not None)
    warnings = (f"{missing} answers to anchors are missing, and stand for nothing",) if missing else ()
    return Drift(
        verdict=verdict,
        value=last - baseline,
        baseline=baseline,
        at_least=at_least,
        e=math.exp(float(e.max())),
        e_within=math.exp(float(within.max())),
        alarm_at=int(over[0]) + 1 if len(over) else None,
        agreement=shares,
        n_anchors=anchors,
        n_missing=missing,
        alarm_from=alarm,
        warnings=warnings,
    )


def _evidence(x: FloatArray, null: float, design: float) -> FloatArray:
    """The log of the evidence after each run that the mean of x, runs x anchors, is above `null`.

    A mixture over the run in which it began to be: all of the first 20, then ever sparser ones, the i-th with weight
    1/(i (i + 1)). What the mixture has not started yet counts as 1.
    """
    runs, anchors = x.shape
    starts: list[int] = []
    start = 0
    while start < runs:
        starts.append(start)
        start += max(1, start // LATER_STARTS)
    values = np.where(np.isnan(x), null, x).ravel()  # what equals the null wins and loses nothing
    fractions, weights = bets(design)
    paths = np.empty((len(starts), runs))
    for row, start in enumerate(starts):
        process = EProcess(null, low=0.0, fractions=fractions, weights=weights)
        path = process.update(values[start * anchors :])
        paths[row] = np.concatenate([np.zeros(start), path[anchors - 1 :: anchors]])
    place = np.arange(1, len(starts) + 1)
    weighted = paths + np.log(1 / (place * (place + 1.0)))[:, None]
    rest = np.full((1, runs), math.log(1 / (len(starts) + 1)))
    found: FloatArray = np.logaddexp.reduce(np.concatenate([weighted, rest]), axis=0)
    return found


# ---------------------------------------------------------------- all audits together


def holm_audits(audits: Sequence[Callable[..., Audit]], *, confidence_level: float = 0.95) -> tuple[Audit, ...]:
    """The audits again, each with the interval and the verdict at its level by Holm, in the order given.

    Each of `audits` makes one when called with `confidence_level`, such as `functools.partial(leniency, grader, human)`.
    Refused ones are no part of the family.
    """
    first = [audit(confidence_level=confidence_level) for audit in audits]
    tested = [
        place for place, audit in enumerate(first) if audit.p is not None and (audit.refused is None or audit.refused.code == "NO_POWER")
    ]
    p = [first[place].p or 0.0 for place in tested]
    levels = dict(zip(tested, holm_levels(p, 1 - confidence_level), strict=True))
    return tuple(
        audits[place](confidence_level=1 - levels[place]) if place in levels and levels[place] < 1 - confidence_level else found
        for place, found in enumerate(first)
    )


# ---------------------------------------------------------------- what audits share


class _Cases(NamedTuple):
    values: dict[str, FloatArray]  # the cases of which everything is known
    cluster: IntArray | None
    dropped: int


def _span(scale: Scale) -> float:
    if not scale[1] > scale[0]:
        raise ValueError(f"a scale goes from its lowest to its highest value, not {scale}")
    return scale[1] - scale[0]


def _complete(
    given: Mapping[str, FloatArray], cluster: IntArray | None, scale: Scale, *, more: Mapping[str, FloatArray] | None = None
) -> tuple[_Cases, Refusal | None]:
    """The cases without NaN, and why they cannot be audited. `more` is not on the scale."""
    _span(scale)
    every = {name: np.asarray(values, dtype=np.float64) for name, values in (dict(given) | dict(more or {})).items()}
    lengths = {len(values) for values in every.values() if values.ndim == 1} | ({len(cluster)} if cluster is not None else set())
    if len(lengths) != 1 or any(values.ndim != 1 for values in every.values()):
        raise ValueError(f"{', '.join(every)} and cluster must have one value a case")
    known: NDArray[np.bool_] = np.all([~np.isnan(values) for values in every.values()], axis=0)
    kept = {name: values[known] for name, values in every.items()}
    trouble = next((why for name in given if (why := _off_scale(kept[name], scale)) is not None), None)
    for name in more or {}:
        if not bool(np.all(np.isfinite(kept[name]))):
            trouble = trouble or Refusal("OFF_SCALE", f"a {name} is no finite number", f"give the {name} of each answer")
    return _Cases(kept, None if cluster is None else np.asarray(cluster)[known], int(np.sum(~known))), trouble


def _off_scale(values: FloatArray, scale: Scale) -> Refusal | None:
    if bool(np.all(np.isnan(values) | ((values >= scale[0]) & (values <= scale[1])))):
        return None
    return Refusal("OFF_SCALE", f"a value lies outside {scale[0]:g} to {scale[1]:g}", "declare the scale of the criterion")


def _too_few(n: int, groups: int, cluster: IntArray | None, *, least: int) -> Refusal | None:
    if n == 0:
        return Refusal("NO_DATA", "there is no complete case", "grade and mark the same answers")
    if groups >= least:
        return None
    what = "cases" if cluster is None else "clusters"
    code = "TOO_FEW_CASES" if cluster is None else "TOO_FEW_CLUSTERS"
    return Refusal(code, f"{groups} {what} cannot tell how other {what} behave", f"collect at least {least} {what}")


def _share(name: str, x: int, n: int, pairs: _Cases, confidence_level: float) -> dict[str, float]:
    """A share with its interval, which is left out with clusters: cases of one are no independent counts."""
    figures = {name: x / n}
    if pairs.cluster is None:
        within = clopper_pearson(x, n, confidence_level=confidence_level)
        figures |= {f"{name}_low": within.low, f"{name}_high": within.high}
    return figures


def _of_mean(
    bias: str,
    effect: str,
    difference: FloatArray,
    reach: float,
    pairs: _Cases,
    trouble: Refusal | None,
    scale: Scale,
    *,
    margin: float,
    confidence_level: float,
    worth_finding: float,
    rng: np.random.Generator | None,
    figures: Mapping[str, float] | None = None,
    assumptions: tuple[str, ...] = (),
) -> Audit:
    """An audit by the mean of paired differences that lie within -reach to reach."""
    n, span = len(difference), _span(scale)
    if trouble is None:
        trouble = _too_few(n, n, None, least=1)
    if trouble is not None:
        return _refused(bias, effect, trouble, pairs, n, margin * span, confidence_level, figures)
    # sums of decimals must not leave the scale by their rounding error
    scaled = np.clip(difference / reach, -1, 1)
    found = PairedIntervals(scaled, pairs.cluster, single=True, rng=np.random.default_rng(0) if rng is None else rng)
    if found.refused is not None:
        return _refused(bias, effect, found.refused, pairs, n, margin * span, confidence_level, figures)

    def at(level: float) -> Interval:
        low, high = found.at(level)
        return Interval(low * reach, high * reach)

    return _judged(
        bias, effect, float(np.mean(difference)), _Spread(at, found.method, found.assumptions, None), pairs, n, span, magnitude=False,
        margin=margin, confidence_level=confidence_level, worth_finding=worth_finding, figures=figures, assumptions=assumptions,
    )  # fmt: skip


def _of_sums(
    bias: str,
    effect: str,
    of: FloatArray,
    statistic: Callable[[FloatArray], FloatArray],
    pairs: _Cases,
    trouble: Refusal | None,
    scale: Scale,
    *,
    refit: bool,
    what: str,
    margin: float,
    confidence_level: float,
    worth_finding: float,
    figures: Mapping[str, float] | None = None,
    assumptions: tuple[str, ...] = (),
) -> Audit:
    """An audit by a statistic of sums over cases, its spread from leaving out each case or cluster.

    The variance is sum (b_(g) - b)^2 for a regression (`refit`: HC3, CR3), else the jackknife's (G-1)/G sum (b_(g) - mean)^2.
    """
    n, span = len(of), _span(scale)
    index, groups = numbered(pairs.cluster, n)
    trouble = trouble or _too_few(n, groups, pairs.cluster, least=FEWEST_UNITS)
    if trouble is None:
        sums = np.zeros((groups, of.shape[1]))
        np.add.at(sums, index, of)
        total = sums.sum(axis=0)
        value, without = float(statistic(total)), statistic(total - sums)
        if not math.isfinite(value) or not bool(np.all(np.isfinite(without))):
            trouble = Refusal("NO_VARIATION", f"{what} do not vary", "audit answers that differ more")
    if trouble is not None:
        return _refused(bias, effect, trouble, pairs, n, margin * span, confidence_level, figures)
    off = without - (value if refit else without.mean())
    se = math.sqrt(float(np.sum(off**2)) * (1.0 if refit else (groups - 1) / groups))
    # without any spread the units are all alike, which is no proof that others would be
    if se <= TINY:
        silent = Refusal("NO_VARIATION", "leaving out any unit changes nothing", "audit answers that differ more")
        return _refused(bias, effect, silent, pairs, n, margin * span, confidence_level, figures)

    def at(level: float) -> Interval:
        half = float(stdtrit(groups - 1, 0.5 + level / 2)) * se
        return Interval(value - half, value + half)

    units = "cases" if pairs.cluster is None else "clusters"
    method = f"leaving out each of {groups} {units}, Student's t"
    spread = _Spread(at, method, (f"{units} are independent of one another",), None)
    p = 2 * float(stdtr(groups - 1, -abs(value) / se))
    return _judged(
        bias, effect, value, spread, pairs, n, span, magnitude=False, margin=margin, confidence_level=confidence_level,
        worth_finding=worth_finding, figures=figures, assumptions=assumptions, p=p,
    )  # fmt: skip


def _judged(
    bias: str,
    effect: str,
    value: float,
    spread: _Spread,
    pairs: _Cases,
    n: int,
    span: float,
    *,
    magnitude: bool,
    margin: float,
    confidence_level: float,
    worth_finding: float,
    figures: Mapping[str, float] | None = None,
    assumptions: tuple[str, ...] = (),
    p: float | None = None,
) -> Audit:
    """The verdict by the interval: within the margin, else biased where it excludes 0 (a magnitude: lies above the margin)."""
    low, high = spread.at(confidence_level)
    least = margin * span if magnitude else 0.0
    if p is None:
        sides = [one_sided_p(spread.at, least, "low")] + ([] if magnitude else [one_sided_p(spread.at, 0.0, "high")])
        p = min(1.0, 2 * min(sides))
    visible = POWER_FACTOR * (high - low) / 2
    verdict: AuditVerdict = "undecided"
    if -margin * span <= low and high <= margin * span:
        verdict = "within the margin"
    elif low > least or high < 0:
        verdict = "biased"
    elif visible > worth_finding * span:
        blind = Refusal(
            "NO_POWER",
            f"{n} cases would not show a bias of {worth_finding * span:.3g} points in 80% of studies, only one of {visible:.3g}",
            "audit more cases",
        )
        return _refused(bias, effect, blind, pairs, n, margin * span, confidence_level, figures, p=p, visible=visible, method=spread.method)
    return Audit(
        bias=bias,
        verdict=verdict,
        value=value,
        low=low,
        high=high,
        confidence_level=confidence_level,
        margin=margin * span,
        effect=effect,
        p=p,
        n_cases=n,
        n_clusters=_n_clusters(pairs, n),
        method=spread.method,
        smallest_visible=visible,
        figures=dict(figures or {}),
        assumptions=(*spread.assumptions, *assumptions),
        warnings=_dropped(pairs),
    )


def _n_clusters(pairs: _Cases, n: int) -> int | None:
    return None if pairs.cluster is None else numbered(pairs.cluster, n)[1]


def _dropped(pairs: _Cases) -> tuple[str, ...]:
    return (f"{pairs.dropped} cases are incomplete and left out",) if pairs.dropped else ()


def _refused(
    bias: str,
    effect: str,
    why: Refusal,
    pairs: _Cases,
    n: int,
    margin: float,
    confidence_level: float,
    figures: Mapping[str, float] | None = None,
    *,
    p: float | None = None,
    visible: float | None = None,
    method: str = "none",
) -> Audit:
    return Audit(
        bias, "NOT_TESTED", None, None, None, confidence_level, margin, effect, p, n, _n_clusters(pairs, n), method, visible,
        dict(figures or {}), (), _dropped(pairs), why,
    )  # fmt: skip
