"""Agreement as an answer: a coefficient with its interval and raw counts, or why there is none.

Intervals are BCa over items, or over whole clusters where they are declared. None below 30 of them, no figure below 10 items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairmark.results import Estimate, Refusal, Result
from fairmark.stats.agreement import (
    Coefficient,
    GwetWeights,
    Weights,
    cohen_kappa,
    confusion_matrix,
    fleiss_kappa,
    fleiss_parts,
    gwet_of_counts,
    gwet_parts,
    kappa_parts,
    tally,
)
from fairmark.stats.alpha import Metric, alpha_parts, chance_unequal, krippendorff_alpha, unequal_pairs
from fairmark.stats.clusters import FEW_EVENTS
from fairmark.stats.estimates import estimate_rate
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson
from fairmark.stats.resampling import RESAMPLES, Parts, bootstrap

Flags = NDArray[np.bool_]

FEWEST_ITEMS = 10
ITEMS_FOR_AN_INTERVAL = 30  # or clusters of them
MOST_UNDEFINED = 0.05  # share of draws that may leave a coefficient undefined
NO_SPREAD = 1e-12  # of draws that differ by rounding alone
RARE_LEVELS = 20  # with more levels none is rare among them
LARGEST_TABLE = 20_000_000  # items x parts that are resampled
FEWEST_REGRADES = 3
FEW_ALIKE = 7  # at most so many items on which all agree on a rare level: the upper end allows for more
VARIED = "mark answers that differ in quality"


@dataclass(frozen=True, slots=True)
class Agreement(Result):
    """A coefficient of agreement with all it rests on. `value` is None exactly where it is refused."""

    coefficient: str  # by its full name, with its weights or metric
    value: float | None
    low: float | None  # None where there is no interval
    high: float | None
    confidence_level: float
    method: str
    observed: float | None  # share of pairs of marks that are equal, whatever chance would do
    n_items: int  # items of two marks or more
    n_raters: int
    n_marks: int  # marks on those items
    n_clusters: int | None  # None: no cluster was declared, each item is one
    no_interval: Refusal | None = None  # why the value stands alone
    refused: Refusal | None = None

    def headline(self) -> str:
        equal = "" if self.observed is None else f"; {100 * self.observed:.1f}% of pairs of marks are equal"
        if self.refused is not None:
            return f"{self.coefficient}: no figure ({self.refused}){equal}"
        span = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        of = f"{self.n_items} items" + ("" if self.n_clusters is None else f" in {self.n_clusters} clusters")
        return f"{self.coefficient} = {self.value:.3f}{span} ({self.confidence_level:.4g}, {self.n_raters} raters, {of}){equal}"


class _Measured(NamedTuple):
    """A coefficient of some marks, and what its interval needs."""

    found: Coefficient
    parts: Parts | None  # None: too large to resample
    rows: IntArray  # which items the parts are of
    strangers: float  # the chance that two marks differ at all, as the coefficient reckons chance
    alike: FloatArray | None = None  # what items would add on which all give one level, for each but the commonest


def alpha_agreement(
    marks: FloatArray,
    cluster: IntArray | None = None,
    *,
    metric: Metric = "nominal",
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Krippendorff's alpha of items x raters (NaN: not marked) with its BCa interval over items, as an `Agreement`.

    `cluster` names each item's. Refused: `ONE_RATER`, `NOT_DOUBLY_MARKED`, `TOO_FEW_ITEMS` (below 10), `NO_VARIATION` (the
    observed agreement is still shown) and `OFF_SCALE` (infinite marks; negative ones on a ratio scale). No interval below 30
    items or clusters, and where more than 5% of the draws leave it undefined.
    """

    def measure(marks: FloatArray) -> _Measured:
        rows = np.nonzero(np.sum(~np.isnan(marks), axis=1) >= 2)[0]
        found, strangers = krippendorff_alpha(marks, metric=metric), chance_unequal(marks)
        if metric in ("nominal", "ratio") and len(rows) * len(np.unique(marks[~np.isnan(marks)])) > LARGEST_TABLE:
            return _Measured(found, None, rows, strangers)
        parts = alpha_parts(np.vstack([marks, _unanimous(marks)]), metric=metric)
        return _Measured(found, Parts(parts.of[: len(rows)], parts.statistic), rows, strangers, parts.of[len(rows) :])

    amiss = off_scale(marks) or ("a ratio scale has no negative marks" if metric == "ratio" and np.any(np.asarray(marks) < 0) else "")
    return _agreement(f"Krippendorff's alpha ({metric})", marks, cluster, amiss, measure, confidence_level, rng, resamples)


def gwet_agreement(
    marks: FloatArray,
    cluster: IntArray | None = None,
    *,
    weights: GwetWeights = "unweighted",
    levels: Sequence[float] | None = None,
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Gwet's AC1, or AC2 with the named weights, of items x raters with its interval over items; else as `alpha_agreement`.

    `levels` are all levels of the scale; without them, those used. A mark that is none of them is refused as `OFF_SCALE`.
    """

    def measure(marks: FloatArray) -> _Measured:
        values, counts = tally(marks, levels)
        shares = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
        strangers = 1 - float(np.sum(shares * (1 - shares))) / max(len(values) - 1, 1)
        parts = gwet_parts(counts, values, weights=weights)
        return _Measured(gwet_of_counts(counts, values, weights=weights), parts, np.arange(len(marks)), strangers)

    name = "Gwet's AC1" if weights == "unweighted" else f"Gwet's AC2 ({weights} weights)"
    return _agreement(name, marks, cluster, off_scale(marks, levels), measure, confidence_level, rng, resamples)


def fleiss_agreement(
    marks: FloatArray,
    cluster: IntArray | None = None,
    *,
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Fleiss' kappa of items x raters with its interval over items; else as `alpha_agreement`."""

    def measure(marks: FloatArray) -> _Measured:
        n = len(marks)
        _, counts = tally(np.vstack([marks, _unanimous(marks)]))
        shares = (counts[:n] / counts[:n].sum(axis=1, keepdims=True)).mean(axis=0)
        parts = fleiss_parts(counts)
        own = Parts(parts.of[:n], parts.statistic)
        return _Measured(fleiss_kappa(counts[:n]), own, np.arange(n), 1 - float(shares @ shares), parts.of[n:])

    return _agreement("Fleiss' kappa", marks, cluster, off_scale(marks), measure, confidence_level, rng, resamples)


def kappa_agreement(
    reference: FloatArray,
    said: FloatArray,
    levels: int,
    cluster: IntArray | None = None,
    *,
    weights: Weights = "unweighted",
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Cohen's kappa of two graders with its interval over items; else as `alpha_agreement`.

    Marks are numbers of levels from 0, NaN where missing; another mark is refused as `OFF_SCALE`.
    """

    def measure(marks: FloatArray) -> _Measured:
        rows = np.nonzero(~np.isnan(marks).any(axis=1))[0]
        first, second = marks[rows].astype(np.int64).T
        matrix = confusion_matrix(first, second, levels)
        p = matrix / matrix.sum()
        strangers = 1 - float(p.sum(axis=0) @ p.sum(axis=1))
        parts = kappa_parts(first, second, levels, weights=weights)
        rare = _unanimous(marks[rows]).astype(np.int64)[:, 0]
        alike = kappa_parts(rare, rare, levels).of
        return _Measured(cohen_kappa(matrix, weights=weights), parts, rows, strangers, alike)

    marks = side_by_side(reference, said)
    name = "Cohen's kappa" if weights == "unweighted" else f"Cohen's kappa ({weights} weights)"
    return _agreement(name, marks, cluster, off_scale(marks, range(levels)), measure, confidence_level, rng, resamples)


def _agreement(
    name: str,
    marks: FloatArray,
    cluster: IntArray | None,
    amiss: str,
    measure: Callable[[FloatArray], _Measured],
    confidence_level: float,
    rng: np.random.Generator,
    resamples: int,
) -> Agreement:
    marks = np.asarray(marks, dtype=np.float64)
    if marks.ndim != 2 or (cluster is not None and len(cluster) != len(marks)):
        raise ValueError("marks are a table of items x raters, and cluster names one for each item")
    some = ~np.isnan(marks).all(axis=1)
    marks, units = marks[some], None if cluster is None else np.asarray(cluster)[some]
    marked = ~np.isnan(marks)
    m = marked.sum(axis=1)
    doubly = m >= 2
    n = int(np.count_nonzero(doubly))
    groups = None if units is None else len(np.unique(units[doubly]))
    unequal = unequal_pairs(marks[doubly])
    refused = one_rater(marked) or unmarked(n, "marked by two raters") or too_few_items(n)
    if amiss and refused is None:
        refused = Refusal("OFF_SCALE", amiss, "correct the marks or the scale")
    value, interval, no_interval = None, None, None
    if refused is None:
        measured = measure(marks)
        value = measured.found.value
        if value is None or np.ptp(marks[doubly][marked[doubly]]) == 0:
            value, refused = None, Refusal("NO_VARIATION", measured.found.why or "only one level was used on items with two marks", VARIED)
        else:
            own = None if units is None else units[doubly]
            seen = _Seen(n if groups is None else groups, _units_with(unequal > 0, own), _units_with(_rarely_alike(marks[doubly]), own))
            interval, no_interval = _interval(measured, units, seen, confidence_level, rng, resamples)
    return Agreement(
        coefficient=name,
        value=value,
        low=None if interval is None or value is None else min(interval.low, value),
        high=None if interval is None or value is None else max(interval.high, value),
        confidence_level=confidence_level,
        method="none" if interval is None else f"BCa over {'items' if groups is None else 'clusters'}, {resamples} draws",
        observed=1 - float(unequal.sum() / np.sum(m[doubly] * (m[doubly] - 1))) if n else None,
        n_items=n,
        n_raters=int(np.count_nonzero(marked.any(axis=0))) if len(marks) else 0,
        n_marks=int(m[doubly].sum()),
        n_clusters=groups,
        no_interval=no_interval,
        refused=refused,
    )


class _Seen(NamedTuple):
    """What the interval cannot know more of than was seen: counts of items, or clusters."""

    n: int
    unequal: int  # with a disagreement
    alike: int  # on which all agree on another level than the commonest, where that holds most marks; else all


def _interval(
    measured: _Measured, units: IntArray | None, seen: _Seen, confidence_level: float, rng: np.random.Generator, resamples: int
) -> tuple[Interval | None, Refusal | None]:
    """The BCa interval, as wide as what was hardly met demands; or why there is none."""
    n, kind = seen.n, "items" if units is None else "clusters"
    if n < ITEMS_FOR_AN_INTERVAL:
        why = f"{n} {kind} are too few for an interval"
        return None, Refusal(f"TOO_FEW_{kind.upper()}", why, f"mark at least {ITEMS_FOR_AN_INTERVAL} {kind}")
    if measured.parts is None:
        return None, Refusal("TOO_MANY_LEVELS", "items times levels are too many to resample", "give an interval metric, or fewer levels")
    draws = bootstrap(
        measured.parts, None if units is None else units[measured.rows], rng=rng, resamples=resamples, lowest=-1.0, highest=1.0
    )
    if draws.undefined > MOST_UNDEFINED:
        why = f"in {100 * draws.undefined:.0f} of 100 draws only one level was used"
        return None, Refusal("NO_VARIATION", why, VARIED)
    if seen.unequal > FEW_EVENTS and draws.draws[-1] - draws.draws[0] < NO_SPREAD:
        return None, Refusal("NO_VARIATION", "all items show the same marks, so resampling them shows no spread", VARIED)
    low, high = draws.at(confidence_level)
    if seen.unequal <= FEW_EVENTS:
        low = min(low, _if_more_unequal(draws.value, seen, measured.strangers, confidence_level))
    if seen.alike <= FEW_ALIKE and measured.alike is not None:
        high = max(high, _if_more_alike(measured.parts, measured.alike, seen, confidence_level))
    return Interval(max(-1.0, low), min(1.0, high)), None


def _if_more_unequal(value: float, seen: _Seen, strangers: float, confidence_level: float) -> float:
    """The coefficient if disagreement, met in x of n units, occurred in as many as Clopper and Pearson allow, a share u.

    The loss 1 - value grows by u / (x / n); without any disagreement it is u times the loss of a pair of strangers that
    differ, 1 / P(strangers differ).
    """
    u = clopper_pearson(seen.unequal, seen.n, confidence_level=confidence_level).high
    return 1 - ((1 - value) * u * seen.n / seen.unequal if seen.unequal else u / max(strangers, u))


def _if_more_alike(parts: Parts, alike: FloatArray, seen: _Seen, confidence_level: float) -> float:
    """The coefficient if as many units agreed on a rare level as Clopper and Pearson allow; the best over these levels.

    Where one level holds most marks, chance-corrected agreement hangs on the few items on which all see another.
    """
    u = clopper_pearson(seen.alike, seen.n, confidence_level=confidence_level).high
    more = (u * seen.n - seen.alike) / max(1 - u, 1e-12)  # units to add, so that they are a share u of all
    scale = len(parts.of) / seen.n  # items in a unit
    values = parts.statistic(parts.of.sum(axis=0) + more * scale * alike)
    return float(np.nanmax(values, initial=-1.0))


def _unanimous(marks: FloatArray) -> FloatArray:
    """An item for each level but the commonest, on which as many raters as on others give this level."""
    values, counts = np.unique(marks[~np.isnan(marks)], return_counts=True)
    rare = np.delete(values, np.argmax(counts)) if len(values) <= RARE_LEVELS else values[:0]
    raters = max(2, round(float(np.mean(np.sum(~np.isnan(marks), axis=1)))))
    items = np.full((len(rare), marks.shape[1]), np.nan)
    items[:, :raters] = rare[:, None]
    return items


def _rarely_alike(marks: FloatArray) -> Flags:
    """The items on which all agree on another level than the commonest. All items where no level holds most marks."""
    values, counts = np.unique(marks[~np.isnan(marks)], return_counts=True)
    if len(values) > RARE_LEVELS or counts.max() <= counts.sum() / 2:
        return np.ones(len(marks), dtype=bool)
    commonest = values[np.argmax(counts)]
    alike: Flags = np.logical_and(unequal_pairs(marks) == 0, np.nanmax(marks, axis=1) != commonest)
    return alike


def _units_with(event: Flags, units: IntArray | None) -> int:
    return int(np.count_nonzero(event)) if units is None else len(np.unique(units[event]))


# ---------------------------------------------------------------- what stands in the way


def side_by_side(reference: FloatArray, said: FloatArray) -> FloatArray:
    """Two graders as items x 2. `ValueError` where they have not the same items."""
    one, other = np.asarray(reference, dtype=np.float64), np.asarray(said, dtype=np.float64)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError("both graders need one mark for each item, NaN where there is none")
    return np.column_stack([one, other])


def off_scale(marks: FloatArray, levels: Sequence[float] | None = None) -> str:
    """What is wrong with a mark; empty where nothing is."""
    values = np.asarray(marks, dtype=np.float64)
    values = values[~np.isnan(values)]
    if np.isinf(values).any():
        return "a mark is infinite"
    return "" if levels is None or np.isin(values, np.asarray(list(levels))).all() else "a mark is none of the levels of the scale"


def one_rater(marked: Flags) -> Refusal | None:
    """Refused where fewer than two raters marked anything. `marked` is items x raters."""
    raters = int(np.count_nonzero(np.any(marked, axis=0))) if marked.size else 0
    if raters >= 2:
        return None
    return Refusal("ONE_RATER", f"{raters} raters marked these items, and agreement takes two", "let a second rater mark the same items")


def unmarked(n: int, how: str) -> Refusal | None:
    """Refused where no item can be compared."""
    return None if n else Refusal("NOT_DOUBLY_MARKED", f"no item was {how}", "give some items to a second rater")


def too_few_items(n: int) -> Refusal | None:
    """Refused below 10 items."""
    if n >= FEWEST_ITEMS:
        return None
    return Refusal("TOO_FEW_ITEMS", f"{n} items say too little about agreement", f"let two raters mark at least {FEWEST_ITEMS} items")


# ---------------------------------------------------------------- two graders


@dataclass(frozen=True, slots=True)
class LevelMarks(Result):
    """How two graders use one level."""

    level: str
    reference: int  # marks of the reference at this level
    said: int  # marks of the grader
    both: int
    found: Estimate  # share of the reference's marks at this level that the grader gave too
    right: Estimate  # share of the grader's marks at this level that the reference gave too


@dataclass(frozen=True, slots=True)
class GraderAgreement(Result):
    """All there is to see of a grader beside a reference, on one criterion."""

    levels: tuple[str, ...]  # worst first
    confusion: tuple[tuple[int, ...], ...]  # rows: the reference's level, columns: the grader's
    n_cases: int  # marked by both
    n_missing: int  # one of the two marks is missing
    agreement: Estimate  # share of equal marks
    commonest: str  # the reference's commonest level
    commonest_share: float | None  # agreement of always saying that
    by_level: tuple[LevelMarks, ...]
    coefficients: tuple[Agreement, ...]  # kappa beside AC1; on ordered levels quadratic kappa, quadratic AC2, ordinal alpha
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"agreement on {self.n_cases} cases: no figure ({self.refused})"
        of = ", ".join(one.coefficient + (" undefined" if one.value is None else f" {one.value:.3f}") for one in self.coefficients)
        always = "" if self.commonest_share is None else f"; always “{self.commonest}” would agree on {100 * self.commonest_share:.1f}%"
        share = self.agreement
        interval = "" if share.value is None else f"{100 * share.value:.1f}% [{100 * share.low:.1f}, {100 * share.high:.1f}]"  # type: ignore[operator]
        return f"the same mark on {interval or 'an unknown share'} of {self.n_cases} cases{always}; {of}"


@dataclass(frozen=True, slots=True)
class BinaryAgreement(GraderAgreement):
    """The same where the levels are fail and pass, by the names that two levels have."""

    sensitivity: Estimate | None = None  # of what the reference passes, the share that the grader passes
    specificity: Estimate | None = None  # of what the reference fails, the share that the grader fails
    positive_predictive_value: Estimate | None = None  # of what the grader passes, the share that the reference passes
    negative_predictive_value: Estimate | None = None  # of what the grader fails, the share that the reference fails


def binary_agreement(
    reference: FloatArray,
    said: FloatArray,
    cluster: IntArray | None = None,
    *,
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> BinaryAgreement:
    """A grader's 0/1 marks beside the reference's: agreement, sensitivity, specificity, both predictive values, kappa and AC1.

    NaN is a missing mark. Shares have Clopper and Pearson's interval, Korn and Graubard's with clusters, and their own n; each
    is refused for itself where it has none. Refused as a whole: `OFF_SCALE`, `NOT_DOUBLY_MARKED`.
    """
    both = level_agreement(
        reference, said, ("fail", "pass"), cluster, ordered=False, confidence_level=confidence_level, rng=rng, resamples=resamples
    )
    shares = [estimate for level in both.by_level for estimate in (level.found, level.right)]
    specificity, negative, sensitivity, positive = shares or (None, None, None, None)
    return BinaryAgreement(
        levels=both.levels,
        confusion=both.confusion,
        n_cases=both.n_cases,
        n_missing=both.n_missing,
        agreement=both.agreement,
        commonest=both.commonest,
        commonest_share=both.commonest_share,
        by_level=both.by_level,
        coefficients=both.coefficients,
        refused=both.refused,
        sensitivity=sensitivity,
        specificity=specificity,
        positive_predictive_value=positive,
        negative_predictive_value=negative,
    )


def level_agreement(
    reference: FloatArray,
    said: FloatArray,
    levels: Sequence[str],
    cluster: IntArray | None = None,
    *,
    ordered: bool = True,
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> GraderAgreement:
    """A grader's levels beside the reference's: the confusion matrix, raw agreement, each level, chance-corrected agreement.

    Marks are numbers of `levels` from 0, NaN where missing. On ordered levels the coefficients are quadratic kappa, AC2 with
    quadratic weights and Krippendorff's ordinal alpha; else kappa, AC1 and nominal alpha; for two levels kappa and AC1.
    """
    marks = side_by_side(reference, said)
    k = len(levels)
    whole = ~np.isnan(marks).any(axis=1)
    amiss = off_scale(marks, range(k))
    first, second = (np.zeros((2, 0), dtype=np.int64) if amiss else marks[whole].astype(np.int64).T)[:2]
    units = None if cluster is None else np.asarray(cluster)
    if units is not None and len(units) != len(marks):
        raise ValueError(f"{len(marks)} cases and {len(units)} clusters do not belong together")
    of = units[whole] if units is not None and not amiss else None
    matrix = confusion_matrix(first, second, k)
    refused = Refusal("OFF_SCALE", amiss, "correct the marks or the scale") if amiss else unmarked(len(first), "marked by both")

    def share(event: Flags, among: Flags, estimand: str) -> Estimate:
        own = None if of is None else of[among]
        return estimate_rate(event[among].astype(np.float64), own, estimand=estimand, confidence_level=confidence_level, scorer="judge-raw")

    def level(index: int, name: str) -> LevelMarks:
        by_reference, by_grader = first == index, second == index
        return LevelMarks(
            level=name,
            reference=int(by_reference.sum()),
            said=int(by_grader.sum()),
            both=int(np.sum(by_reference & by_grader)),
            found=share(by_grader, by_reference, f"of the cases that the reference marks “{name}”, the share that the grader does too"),
            right=share(by_reference, by_grader, f"of the cases that the grader marks “{name}”, the share that the reference does too"),
        )

    coefficients: tuple[Agreement, ...] = ()
    if refused is None:
        interval = _Asked(confidence_level, rng, resamples)
        coefficients = _coefficients(marks, k, units, ordered, interval)
    totals = matrix.sum(axis=1)
    most = int(np.argmax(totals))
    return GraderAgreement(
        levels=tuple(levels),
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        n_cases=len(first),
        n_missing=int(np.count_nonzero(~whole)),
        agreement=share(first == second, np.ones(len(first), dtype=bool), "share of cases on which both give the same mark"),
        commonest=levels[most] if len(first) else "",
        commonest_share=float(totals[most] / len(first)) if len(first) else None,
        by_level=tuple(level(index, name) for index, name in enumerate(levels)) if refused is None else (),
        coefficients=coefficients,
        refused=refused,
    )


class _Asked(NamedTuple):
    """What is asked of every interval."""

    confidence_level: float
    rng: np.random.Generator
    resamples: int


def _coefficients(marks: FloatArray, k: int, cluster: IntArray | None, ordered: bool, asked: _Asked) -> tuple[Agreement, ...]:
    level, rng, draws = asked
    weighted = ordered and k > 2  # on two levels all weights are the same
    kappa = kappa_agreement(
        marks[:, 0],
        marks[:, 1],
        k,
        cluster,
        weights="quadratic" if weighted else "unweighted",
        confidence_level=level,
        rng=rng,
        resamples=draws,
    )
    both = np.where(np.isnan(marks).any(axis=1, keepdims=True), np.nan, marks)
    ac = gwet_agreement(
        both,
        cluster,
        weights="quadratic" if weighted else "unweighted",
        levels=range(k),
        confidence_level=level,
        rng=rng,
        resamples=draws,
    )
    if k <= 2:
        return kappa, ac
    metric: Metric = "ordinal" if weighted else "nominal"
    return kappa, ac, alpha_agreement(both, cluster, metric=metric, confidence_level=level, rng=rng, resamples=draws)


# ---------------------------------------------------------------- one grader, again


@dataclass(frozen=True, slots=True)
class SelfConsistency(Result):
    """How often a grader that marks the same answer again says something else."""

    flip_rate: Estimate  # chance that two of its marks of one item differ
    n_items: int  # marked twice or more
    n_marks: int
    ever_flipped: int  # items whose marks are not all equal
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"flip rate on {self.n_items} items: no figure ({self.refused})"
        rate = self.flip_rate
        return (
            f"marking again changes the mark in {100 * rate.value:.1f}% [{100 * rate.low:.1f}, {100 * rate.high:.1f}] "  # type: ignore[operator]
            f"of pairs of marks ({self.ever_flipped} of {self.n_items} items ever changed)"
        )


def self_consistency(marks: FloatArray, cluster: IntArray | None = None, *, confidence_level: float = 0.95) -> SelfConsistency:
    """The flip rate of one grader from items x repeated marks (NaN: missing), with its interval over items.

    Each item counts with the share of pairs of its marks that differ: Clopper and Pearson's interval for two marks an item,
    Korn and Graubard's beyond and with clusters. The order of the repeats does not matter. Refused with no item marked twice
    (`NOT_DOUBLY_MARKED`) and below 10 items (`TOO_FEW_ITEMS`); warns below 30 items or 3 marks.
    """
    marks = np.asarray(marks, dtype=np.float64)
    if marks.ndim != 2 or (cluster is not None and len(cluster) != len(marks)):
        raise ValueError("marks are a table of items x repeats, and cluster names one for each item")
    m = np.sum(~np.isnan(marks), axis=1)
    again = m >= 2
    n, pairs = int(np.count_nonzero(again)), (m * (m - 1.0))[again]
    differ = np.clip(unequal_pairs(marks[again]) / pairs, 0, 1)
    rate = estimate_rate(
        differ,
        None if cluster is None else np.asarray(cluster)[again],
        estimand="chance that two marks of the same item by this grader differ",
        confidence_level=confidence_level,
        scorer="judge-raw",
    )
    refused = unmarked(n, "marked again") or too_few_items(n) or rate.refused
    warnings = []
    if refused is None and n < ITEMS_FOR_AN_INTERVAL:
        warnings.append(f"{n} items say little: mark {ITEMS_FOR_AN_INTERVAL} again")
    if refused is None and int(m[again].min()) < FEWEST_REGRADES:
        warnings.append(f"some items have two marks only: mark each {FEWEST_REGRADES} times")
    return SelfConsistency(rate, n, int(m[again].sum()), int(np.count_nonzero(differ)), tuple(warnings), refused)
