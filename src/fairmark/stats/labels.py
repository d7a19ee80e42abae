"""Which answers people should mark, how the marks were chosen, and what marks with unequal chances say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import gammaln, ndtri, stdtrit

from fairmark.results import Estimate, Refusal, Result
from fairmark.stats.clusters import FEW_EVENTS, FEWEST_CLUSTERS, NARROWEST
from fairmark.stats.correction import UNMARKED, corrected_rate
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson, jeffreys

Chosen = Literal["all", "random", "stratified", "self-selected", "unknown"]

EDGES = (0.2, 0.5, 0.8)  # of the grader's confidence
FLOOR = 4  # marks a stratum, so that no stratum is taken on trust
LEAST_SPREAD = 0.2  # the allocation never believes that a stratum varies less
ASSUMED_RIGHT = 0.8  # share of right verdicts where the grader gives no confidence
CLAIM_WEIGHT = 4  # marks that the grader's own confidence counts for once people have marked
WORTH_FROM = 0.15  # a smaller saving of people's marks is not worth a grader
SMALL_SHARE = 0.01  # a stratum up to this share of all answers may go without marks
CLUMPED_BELOW = 0.001  # p of the runs test from which rows that were called random are not believed
SMALLEST_VARIANCE = 1e-15
TOLERATED = 0.1  # how far inverse probabilities may add up to something else than all rows, besides chance


# ---------------------------------------------------------------- strata and their estimate


class LabelStrata(NamedTuple):
    """Answers by what the grader said of them."""

    number: IntArray  # stratum of each answer, from 0
    names: tuple[str, ...]


def label_strata(verdict: IntArray, confidence: FloatArray | None = None, *, edges: tuple[float, ...] = EDGES) -> LabelStrata:
    """Strata of answers: the grader's verdict, by the bin of its confidence in that verdict where it gives one.

    `verdict` is a level, `confidence` the probability that the grader itself gives it, 0 to 1, NaN where there is none. A
    bin holds its lower edge. Only strata with answers are named.
    """
    verdict = np.asarray(verdict, dtype=np.int64)
    levels, level = np.unique(verdict, return_inverse=True)
    bins = np.zeros(len(verdict), dtype=np.int64)
    if confidence is not None:
        if np.shape(confidence) != verdict.shape:
            raise ValueError(f"confidence must have one value a verdict, not {np.shape(confidence)} for {verdict.shape}")
        bins = np.where(np.isfinite(confidence), np.digitize(confidence, edges), len(edges) + 1)
    found, index = np.unique(level * (len(edges) + 2) + bins, return_inverse=True)
    ends = [0.0, *edges, 1.0]
    names = []
    for one in found:
        name, place = f"verdict {levels[one // (len(edges) + 2)]}", int(one % (len(edges) + 2))
        if confidence is not None:
            known = place <= len(edges)
            name += f", confidence {ends[place]:g} to {ends[place + 1]:g}" if known else ", confidence unknown"
        names.append(name)
    return LabelStrata(np.asarray(index, dtype=np.int64), tuple(names))


def stratified_interval(
    sizes: IntArray, marked: IntArray, passes: IntArray | FloatArray, *, confidence_level: float = 0.95, bank: bool = False
) -> tuple[float, Interval]:
    """The pass rate over strata and its interval: MOVER with Jeffreys limits, for independent answers.

    p = sum w_h theta_h with w_h = N_h / N and theta_h = passes / marked; low = p - sqrt(sum (w_h (theta_h - l_h))^2 + z^2
    sum w_h (theta_h - p)^2 / N), high likewise. `bank`: for exactly these answers the last term is 0 and each other one is
    multiplied by (N_h - n_h) / (N_h - 1). A stratum without marks has the share of all marks, and the limits 0 and 1.
    """
    sizes, marked = np.asarray(sizes, dtype=np.float64), np.asarray(marked, dtype=np.float64)
    passes = np.asarray(passes, dtype=np.float64)
    n = float(sizes.sum())
    w = sizes / n
    pooled = float(passes.sum() / marked.sum())
    theta = np.where(marked > 0, passes / np.maximum(marked, 1), pooled)
    ends = np.array(
        [jeffreys(x, m, confidence_level=confidence_level) if m > 0 else (0.0, 1.0) for x, m in zip(passes, marked, strict=True)]
    )
    p = float(w @ theta)
    correction, spread = np.ones(len(sizes)), float(w @ (theta - p) ** 2) / n
    if bank:
        correction, spread = np.maximum(sizes - marked, 0) / np.maximum(sizes - 1, 1), 0.0
    z2 = float(ndtri(0.5 + confidence_level / 2)) ** 2
    low, high = (math.sqrt(float(correction @ (w * (theta - end)) ** 2) + z2 * spread) for end in ends.T)
    return p, Interval(max(0.0, p - low), min(1.0, p + high))


def stratified_rate(
    stratum: IntArray,
    marks: FloatArray,
    cluster: IntArray | None = None,
    *,
    names: tuple[str, ...] = (),
    chosen: Chosen = "stratified",
    bank: bool = False,
    confidence_level: float = 0.95,
    estimand: str = "share of passes as people mark",
) -> Estimate:
    """The share of answers that people would pass, from marks drawn at random within strata (see `label_strata`).

    `stratum` (from 0) and `marks` have one entry an answer; a mark is 1, 0 or NaN where nobody marked. MOVER with Jeffreys
    limits over strata, `bank` for exactly these answers (see `stratified_interval`). With a cluster `corrected_rate` over the
    same strata, whose variance takes whole clusters.

    Refused: `NO_DATA`; `OFF_SCALE` (marks other than 0 and 1); `MARKS_NOT_RANDOM` (self-selected or unknown); `LABEL_VERDICT`
    (a stratum of more than 1% of the answers with fewer than 4 marks, or not all of it); `CLUSTERED_CORRECTION` (a cluster
    and `bank`, for which there is no measured method); with a cluster also what `corrected_rate` refuses.
    """
    stratum, marks = np.asarray(stratum, dtype=np.int64), np.asarray(marks, dtype=np.float64)
    if stratum.shape != marks.shape or (cluster is not None and np.shape(cluster) != marks.shape):
        raise ValueError("stratum, marks and cluster must have one entry an answer")
    if np.any(stratum < 0):
        raise ValueError("strata are numbered from 0")
    known = ~np.isnan(marks)
    levels = int(stratum.max()) + 1 if len(stratum) else 0
    sizes = np.bincount(stratum, minlength=levels)
    marked = np.bincount(stratum[known], minlength=levels)
    refused = _marks_refused(marks[known], chosen)
    if refused is None and not np.all(np.isin(marks[known], (0.0, 1.0))):
        refused = Refusal("OFF_SCALE", "a mark is neither pass nor fail", "declare from which level on a mark is a pass")
    if refused is None and cluster is not None and bank:
        refused = Refusal(
            "CLUSTERED_CORRECTION",
            "no measured method holds for exactly these answers while they come in clusters",
            "ask about answers like these, without `bank`",
        )
    if refused is None:
        thin = (marked < np.minimum(FLOOR, sizes)) & (sizes > SMALL_SHARE * len(stratum))
        for h in np.flatnonzero(thin):
            name = names[h] if len(names) > h else f"stratum {h}"
            lacking = int(min(FLOOR, sizes[h]) - marked[h])
            refused = refused or Refusal(
                "LABEL_VERDICT", f"of {sizes[h]} answers with {name} people marked {marked[h]}", f"let people mark {lacking} more of them"
            )
    if refused is not None:
        return _none(estimand, confidence_level, len(stratum), cluster, int(known.sum()), refused)
    if cluster is not None:
        said = np.where(known, marks, UNMARKED).astype(np.int64)
        called = dict(enumerate(names))
        return corrected_rate(stratum, said, cluster, estimand=estimand, confidence_level=confidence_level, names=called)
    passes = np.bincount(stratum[known], weights=marks[known], minlength=levels)
    value, interval = stratified_interval(sizes, marked, passes, confidence_level=confidence_level, bank=bank)
    filled = sizes > 0
    return Estimate(
        estimand=estimand,
        value=min(max(value, interval.low), interval.high),
        low=interval.low,
        high=interval.high,
        confidence_level=confidence_level,
        method=f"post-stratified over {int(filled.sum())} strata, MOVER with Jeffreys limits",
        n_cases=len(stratum),
        n_responses=int(known.sum()),
        scorer="judge-corrected",
        assumptions=("answers are independent of one another", "within a stratum the marked answers were drawn at random"),
    )


def _marks_refused(marks: FloatArray, chosen: Chosen) -> Refusal | None:
    if chosen not in ("all", "random", "stratified", "self-selected", "unknown"):
        raise ValueError(f"chosen must be all, random, stratified, self-selected or unknown, not {chosen!r}")
    if len(marks) == 0:
        return Refusal("NO_DATA", "nobody marked an answer", "let `plan_labels` draw answers and have people mark them")
    if chosen in ("self-selected", "unknown"):
        how = "by those who marked them" if chosen == "self-selected" else "in a way nobody recorded"
        return Refusal("MARKS_NOT_RANDOM", f"the marked answers were chosen {how}", "have people mark answers that `plan_labels` draws")
    return None


def _none(estimand: str, level: float, n: int, cluster: IntArray | None, marks: int, refused: Refusal) -> Estimate:
    clusters = None if cluster is None else len(np.unique(cluster))
    return Estimate(estimand, None, None, None, level, "none", n, clusters, marks, refused=refused)


# ---------------------------------------------------------------- marks with unequal chances


class Effective(NamedTuple):
    """How many independent marks would tell as much."""

    n: float
    interval: Interval


def interval_from_influence(
    value: float,
    influence: FloatArray,
    unit: IntArray,
    *,
    confidence_level: float = 0.95,
    capped: bool = False,
    at_most: float | None = None,
) -> Effective:
    """The interval of a share whose error is the sum of `influence`, units (clusters, or cases) being independent.

    V = G/(G-1) sum of squared unit totals, n_eff = p(1-p)/V, `capped` at the number of marks, and G where V is 0; n* = n_eff
    (t_{n-1} / t_{G-1})^2, no more than `at_most`; Clopper and Pearson at p n* in n* (Korn and Graubard 1998).
    """
    totals = np.bincount(np.unique(unit, return_inverse=True)[1], weights=influence)
    groups, n = len(totals), len(influence)
    variance = groups / (groups - 1) * float(np.sum(totals**2)) if groups > 1 else 0.0
    effective = value * (1 - value) / variance if variance > SMALLEST_VARIANCE else float(groups)
    if capped:
        effective = min(effective, float(n))
    n_star = effective
    if groups > 1:
        quantile = 0.5 + max(confidence_level, NARROWEST) / 2
        n_star *= (float(stdtrit(n - 1, quantile)) / float(stdtrit(groups - 1, quantile))) ** 2
    n_star = max(n_star if at_most is None else min(n_star, at_most), 1e-9)
    return Effective(effective, clopper_pearson(value * n_star, n_star, confidence_level=confidence_level))


def weighted_mean(
    marks: FloatArray,
    probability: FloatArray,
    cluster: IntArray | None = None,
    *,
    n_rows: int | None = None,
    chosen: Chosen = "stratified",
    confidence_level: float = 0.95,
    estimand: str = "mean mark of all answers",
) -> Estimate:
    """The mean of all answers from marks with unequal, recorded chances of having been asked for: sum(y/pi) / sum(1/pi).

    Hajek's estimator (1971) with its cluster-linearised variance and Korn and Graubard's interval, in which the effective
    number of 0/1 marks is at most their number, and at most Kish's (sum W)^2 / sum W^2 of the clusters' weights where at most 3 clusters
    hold a pass, or a fail. Marks lie in [0, 1]; `n_rows` is the number of answers they were drawn from.

    Refused: `NO_DATA`, `OFF_SCALE`, `MARKS_NOT_RANDOM`, `BAD_PROBABILITY` (not above 0 and up to 1), `TOO_FEW_CLUSTERS`,
    `WEIGHTS_DO_NOT_ADD_UP` (the inverse chances do not sum to about `n_rows`).
    """
    marks, probability = np.asarray(marks, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if marks.shape != probability.shape or (cluster is not None and np.shape(cluster) != marks.shape):
        raise ValueError("marks, probability and cluster must have one entry a mark")
    n = len(marks)
    unit = np.arange(n) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    groups = len(np.unique(unit))
    refused = _marks_refused(marks, chosen)
    if refused is None and not np.all((marks >= 0) & (marks <= 1)):
        refused = Refusal("OFF_SCALE", "a mark lies outside 0 to 1", "bring the marks to the scale 0 to 1")
    if refused is None:
        refused = _probability_refused(probability, n_rows)
    if refused is None and groups < FEWEST_CLUSTERS:
        what = "marks" if cluster is None else "clusters"
        refused = Refusal("TOO_FEW_CLUSTERS", f"{groups} {what} cannot tell how others behave", f"mark at least {FEWEST_CLUSTERS} {what}")
    if refused is not None:
        return _none(estimand, confidence_level, n if n_rows is None else n_rows, cluster, n, refused)
    weight = 1 / probability
    total = float(weight.sum())
    value = min(max(float(marks @ weight) / total, 0.0), 1.0)
    at_most = None
    if min(len(np.unique(unit[marks > 0])), len(np.unique(unit[marks < 1]))) <= FEW_EVENTS:
        own = np.bincount(unit, weights=weight)
        at_most = total**2 / float(np.sum(own**2))
    effective, (low, high) = interval_from_influence(
        value,
        (marks - value) * weight / total,
        unit,
        confidence_level=confidence_level,
        capped=bool(np.all((marks == 0) | (marks == 1))),
        at_most=at_most,
    )
    return Estimate(
        estimand=estimand,
        value=min(max(value, low), high),
        low=low,
        high=high,
        confidence_level=confidence_level,
        method="weighted by inverse chances (Hajek), Korn-Graubard",
        n_cases=n if n_rows is None else n_rows,
        n_clusters=None if cluster is None else groups,
        n_responses=n,
        n_effective=effective if at_most is None else min(effective, at_most),
        scorer="human",
        assumptions=(f"{'marks' if cluster is None else 'clusters'} are independent of one another", "the recorded chances are right"),
    )


def _probability_refused(probability: FloatArray, n_rows: int | None) -> Refusal | None:
    if not np.all((probability > 0) & (probability <= 1)):
        why = "a recorded chance of being asked for is not above 0 and up to 1"
        return Refusal("BAD_PROBABILITY", why, "record for each mark the chance with which its answer was drawn")
    if n_rows is None:
        return None
    total, chance = float(np.sum(1 / probability)), 3 * math.sqrt(float(np.sum((1 - probability) / probability**2)))
    if abs(total - n_rows) <= max(TOLERATED * n_rows, chance):
        return None
    return Refusal(
        "WEIGHTS_DO_NOT_ADD_UP",
        f"the inverse chances sum to {total:.0f}, and there are {n_rows} answers",
        "look up the chances with which the answers were drawn; they belong to the assignment, not to the mark",
    )


# ---------------------------------------------------------------- how marks were chosen


@dataclass(frozen=True, slots=True)
class MarkSelection(Result):
    """How the marked answers were chosen, and whether that lets them correct a claim."""

    chosen: Chosen  # as declared
    usable: bool  # may these marks correct a claim? All may show agreement
    say: str  # one sentence
    n_marked: int
    n_rows: int
    blocks: int  # runs of adjacent marked rows (clusters, where whole ones were marked)
    expected_blocks: float  # of a random choice
    p: float | None  # chance of so few blocks, by Bonferroni over strata; None where nothing could clump
    inverse_sum: float | None  # sum of 1 / chance, about n_rows; None without recorded chances
    refused: Refusal | None = None

    def headline(self) -> str:
        return self.say if self.refused is None else f"{self.say}: {self.refused}"


def mark_selection(
    positions: IntArray,
    n_rows: int,
    *,
    chosen: Chosen,
    probability: FloatArray | None = None,
    stratum: IntArray | None = None,
    cluster: IntArray | None = None,
) -> MarkSelection:
    """Whether marks of the answers at `positions` (from 0) of `n_rows` were chosen as declared.

    Positions are tested for clumping: the number of blocks of adjacent marked rows against a random choice, exactly
    (Wald and Wolfowitz 1940: P(B = b) = C(m-1, b-1) C(N-m+1, b) / C(N, m)), within each stratum where `stratum` names one
    for each row, and over clusters in their order of appearance where `cluster` does and whole clusters were marked.
    Recorded chances, one a mark, must have inverses that sum to about `n_rows`.

    Refused, though shown: `NO_DATA`, `MARKS_NOT_RANDOM` (self-selected, unknown, or p below .001), `BAD_PROBABILITY`,
    `WEIGHTS_DO_NOT_ADD_UP`. `ValueError` for positions outside the rows or named twice.
    """
    positions = np.sort(np.asarray(positions, dtype=np.int64))
    m = len(positions)
    if m and (positions[0] < 0 or positions[-1] >= n_rows or np.any(np.diff(positions) == 0)):
        raise ValueError(f"positions must be different rows from 0 to {n_rows - 1}")
    for name, given, length in (("probability", probability, m), ("stratum", stratum, n_rows), ("cluster", cluster, n_rows)):
        if given is not None and np.shape(given) != (length,):
            raise ValueError(f"{name} must have {length} entries, not {np.shape(given)}")
    marked = np.zeros(n_rows, dtype=bool)
    marked[positions] = True
    groups = [marked]
    if cluster is not None:
        _, first, index = np.unique(cluster, return_index=True, return_inverse=True)
        held = np.bincount(index, weights=marked)
        if np.all((held == 0) | (held == np.bincount(index))):
            groups = [(held > 0)[np.argsort(first)]]
    if stratum is not None and groups[0] is marked:
        groups = [marked[stratum == one] for one in np.unique(stratum)]
    tests = [_blocks(one) for one in groups]
    smallest = [p for _, _, p in tests if p is not None]
    p = min(1.0, len(smallest) * min(smallest)) if smallest else None
    refused = _marks_refused(positions.astype(np.float64), chosen)
    solid = m > 1 and positions[-1] - positions[0] == m - 1 and m < n_rows
    where = f"rows {positions[0] + 1}-{positions[-1] + 1} of {n_rows}" if solid else f"{m} of {n_rows} rows"
    say = f"these are {where}, chosen: {chosen}"
    clumped = p is not None and p < CLUMPED_BELOW
    if clumped:
        say += "" if solid else f", in {sum(b for b, _, _ in tests)} blocks where {sum(e for _, e, _ in tests):.0f} are expected"
    if refused is None and clumped:
        why = f"a random choice clumps like this with a chance of {p:.1g}"
        refused = Refusal("MARKS_NOT_RANDOM", why, "have people mark answers that `plan_labels` draws, or call these marks self-selected")
    if refused is None and chosen == "all" and m < n_rows:
        refused = Refusal("MARKS_NOT_RANDOM", f"{n_rows - m} rows are not marked", "declare how the marked ones were chosen")
    if refused is None and probability is not None:
        refused = _probability_refused(np.asarray(probability, dtype=np.float64), n_rows)
    sound = probability is not None and m > 0 and bool(np.all((probability > 0) & (probability <= 1)))
    return MarkSelection(
        chosen,
        refused is None,
        say,
        m,
        n_rows,
        sum(b for b, _, _ in tests),
        float(sum(e for _, e, _ in tests)),
        p,
        float(np.sum(1 / np.asarray(probability))) if sound else None,
        refused,
    )


def _blocks(marked: np.ndarray) -> tuple[int, float, float | None]:
    """Blocks of adjacent marked rows, how many a random choice has, and the chance of so few."""
    n, m = len(marked), int(np.count_nonzero(marked))
    blocks = int(np.count_nonzero(np.diff(marked.astype(np.int8), prepend=0) == 1))
    if m in (0, n):
        return blocks, float(blocks), None
    b = np.arange(1, blocks + 1)

    def log_choose(top: int, bottom: IntArray | int) -> FloatArray:
        return np.asarray(gammaln(top + 1) - gammaln(np.asarray(bottom) + 1) - gammaln(top - np.asarray(bottom) + 1), dtype=np.float64)

    logs = log_choose(m - 1, b - 1) + log_choose(n - m + 1, b) - log_choose(n, m)
    return blocks, m * (n - m + 1) / n, min(1.0, float(np.sum(np.exp(logs))))


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True)
class PlannedStratum(Result):
    """One stratum of a plan."""

    name: str
    size: int  # answers
    marked: int  # already, in earlier rounds
    more: int  # to mark now
    probability: float  # chance of an answer to be marked, earlier rounds included
    expected_pass: float  # share of passes that the plan reckons with

    def headline(self) -> str:
        return f"{self.name}: {self.more} more of {self.size} (chance {self.probability:.3f})"


@dataclass(frozen=True, slots=True)
class LabelPlan(Result):
    """Which answers people should mark next, and what that would buy."""

    rows: tuple[int, ...]  # positions of the answers to mark, in random order
    probability: tuple[float, ...]  # recorded chance of each of them, earlier rounds included
    strata: tuple[PlannedStratum, ...]
    n_rows: int
    n_marked: int  # before this round
    worth_it: bool | None  # None: cannot be said
    advice: str
    predicted_saving: float | None  # of people's marks, at equal width; may be negative
    predicted_width: float | None  # of the interval once these are marked
    human_only_width: float | None  # with as many marks and without the grader
    human_only_marks: int | None  # that would give the same width without the grader
    width_with_20_more: float | None  # beyond this round
    confidence_level: float = 0.95
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"label plan: none ({self.refused})"
        words = f"mark {len(self.rows)} of {self.n_rows} answers: {self.advice}"
        if self.predicted_width is None or self.human_only_marks is None:
            return words
        return f"{words} (interval about {self.predicted_width:.3f} wide, as {self.human_only_marks} marks without the grader)"


def expected_passes(
    strata: LabelStrata,
    verdict: IntArray,
    confidence: FloatArray | None = None,
    marks: FloatArray | None = None,
    *,
    passes_from: int = 1,
) -> FloatArray:
    """The share of passes each stratum is reckoned to have: the grader's own claim, and people's marks as they come in.

    The claim is the mean confidence where the verdict passes, one less it where it fails (.8 where there is no
    confidence); it counts as 4 marks beside those of people.
    """
    claim = np.full(len(verdict), ASSUMED_RIGHT) if confidence is None else np.asarray(confidence, dtype=np.float64)
    claim = np.where(np.isfinite(claim), claim, ASSUMED_RIGHT)
    says = np.where(np.asarray(verdict) >= passes_from, claim, 1 - claim)
    levels = len(strata.names)
    sizes = np.bincount(strata.number, minlength=levels)
    share: FloatArray = np.bincount(strata.number, weights=says, minlength=levels) / np.maximum(sizes, 1)
    if marks is not None:
        known = ~np.isnan(marks)
        n = np.bincount(strata.number[known], minlength=levels)
        x = np.bincount(strata.number[known], weights=marks[known], minlength=levels)
        share = np.where(n > 0, (x + CLAIM_WEIGHT * share) / (n + CLAIM_WEIGHT), share)
    return share


def allocate_labels(sizes: IntArray, expected: FloatArray, marked: IntArray, labels: int) -> IntArray | None:
    """How many more answers of each stratum to mark, `labels` in all; None where these do not reach the floor.

    Marks in all are proportional to N_h max(.2, sqrt(f_h (1 - f_h))), with at least 4 (or all) and at least those already
    made in each stratum, at most all of it.
    """
    sizes, marked = np.asarray(sizes, dtype=np.int64), np.asarray(marked, dtype=np.int64)
    least = np.maximum(marked, np.minimum(FLOOR, sizes))
    total = min(int(marked.sum()) + labels, int(sizes.sum()))
    if total < int(least.sum()):
        return None
    score = sizes * np.maximum(LEAST_SPREAD, np.sqrt(np.clip(expected * (1 - expected), 0, None)))

    def wanted(factor: float) -> FloatArray:
        return np.clip(factor * score, least, sizes)

    low, high = 0.0, 1.0 / LEAST_SPREAD  # at the upper end every stratum is full
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(wanted(middle).sum()) < total else (low, middle)
    exact = wanted(high)
    whole = np.maximum(np.floor(exact + 1e-9), least).astype(np.int64)
    for h in np.argsort(-(exact - whole), kind="stable")[: total - int(whole.sum())]:
        whole[h] += 1
    more: IntArray = whole - marked
    return more


def plan_labels(
    verdict: IntArray,
    confidence: FloatArray | None = None,
    marks: FloatArray | None = None,
    *,
    labels: int,
    rng: np.random.Generator,
    passes_from: int = 1,
    edges: tuple[float, ...] = EDGES,
    confidence_level: float = 0.95,
) -> LabelPlan:
    """The next `labels` answers for people to mark, drawn at random within strata, and what they are predicted to save.

    `verdict` is the grader's level of each answer (a pass from `passes_from` on), `confidence` its probability of that
    level, `marks` what people gave so far (1, 0, or NaN): they stay in their strata, and the draw is from the rest. The
    strata do not depend on marks, and the allocation only on those of earlier rounds, so that within a stratum all marks
    are a random draw. The saving is 1 - n / m, m the marks without a grader whose variance p(1-p)/m equals that of
    `stratified_interval`; in large banks with proportional allocation 1 - sum w_h f_h (1 - f_h) / (p (1 - p)). It rests on
    the grader's confidence until people have marked. Under 15% the advice is to do without the grader (`NOT_WORTH_IT`).

    Refused: `NO_DATA`, `OFF_SCALE` (confidence or marks outside 0 to 1), `TOO_FEW_LABELS` (fewer than 4 a stratum).
    """
    verdict = np.asarray(verdict, dtype=np.int64)
    n = len(verdict)
    given = np.full(n, np.nan) if marks is None else np.asarray(marks, dtype=np.float64)
    sure = None if confidence is None else np.asarray(confidence, dtype=np.float64)
    if given.shape != verdict.shape or (sure is not None and sure.shape != verdict.shape):
        raise ValueError("verdict, confidence and marks must have one entry an answer")
    if labels < 0:
        raise ValueError(f"labels must be at least 0, not {labels}")
    known = ~np.isnan(given)
    n_marked = int(known.sum())

    def refuse(code: str, why: str, next_step: str) -> LabelPlan:
        none = (None, None, None, None, None)
        return LabelPlan((), (), (), n, n_marked, None, "", *none, confidence_level, refused=Refusal(code, why, next_step))

    if n == 0:
        return refuse("NO_DATA", "there is no answer to mark", "run the systems and the grader first")
    if np.any((given[known] < 0) | (given[known] > 1)) or (sure is not None and bool(np.any((sure < 0) | (sure > 1)))):
        return refuse("OFF_SCALE", "a confidence or a mark lies outside 0 to 1", "give probabilities from 0 to 1 and marks of 0 and 1")
    strata = label_strata(verdict, sure, edges=edges)
    levels = len(strata.names)
    sizes = np.bincount(strata.number, minlength=levels)
    marked = np.bincount(strata.number[known], minlength=levels)
    expected = expected_passes(strata, verdict, sure, given, passes_from=passes_from)
    more = allocate_labels(sizes, expected, marked, labels)
    if more is None:
        least = int(np.maximum(marked, np.minimum(FLOOR, sizes)).sum()) - n_marked
        why = f"{labels} marks do not give each of {levels} strata {FLOOR}"
        return refuse("TOO_FEW_LABELS", why, f"plan at least {least}, or use fewer bins of confidence")
    chance = (marked + more) / sizes
    drawn = [rng.choice(np.flatnonzero((strata.number == h) & ~known), size=more[h], replace=False) for h in range(levels)]
    rows = rng.permutation(np.concatenate(drawn).astype(np.int64))
    counts = marked + more
    saving = predicted_saving(sizes, expected, counts)
    width, as_many = _width(sizes, counts, expected, confidence_level), None
    then = allocate_labels(sizes, expected, counts, 20)
    p, n_marks = float(sizes @ expected) / n, int(counts.sum())
    advice = "the grader's predicted saving of people's marks cannot be said"
    if saving is not None:
        as_many = round(n_marks / (1 - saving))
        advice = f"predicted to save {100 * saving:.0f}% of people's marks"
        if saving < WORTH_FROM:
            advice = f"NOT_WORTH_IT: {advice}; let people mark, drop this grader"
    human = clopper_pearson(p * n_marks, n_marks, confidence_level=confidence_level) if n_marks else None
    return LabelPlan(
        rows=tuple(rows.tolist()),
        probability=tuple(chance[strata.number[rows]].tolist()),
        strata=tuple(
            PlannedStratum(strata.names[h], int(sizes[h]), int(marked[h]), int(more[h]), float(chance[h]), float(expected[h]))
            for h in range(levels)
        ),
        n_rows=n,
        n_marked=n_marked,
        worth_it=None if saving is None else saving >= WORTH_FROM,
        advice=advice,
        predicted_saving=saving,
        predicted_width=width,
        human_only_width=None if human is None else human.high - human.low,
        human_only_marks=as_many,
        width_with_20_more=None if then is None else _width(sizes, counts + then, expected, confidence_level),
        confidence_level=confidence_level,
        warnings=_claims(n_marked, sure),
    )


def predicted_saving(sizes: IntArray, expected: FloatArray, counts: IntArray) -> float | None:
    """The share of people's marks that strata save at equal variance: 1 - n V / (p (1 - p)); None where p is 0 or 1.

    V = sum w_h^2 f_h (1 - f_h) / n_h + sum w_h (f_h - p)^2 / N, n = sum n_h. In a large bank with marks proportional to the
    strata it is 1 - sum w_h f_h (1 - f_h) / (p (1 - p)).
    """
    sizes, counts = np.asarray(sizes, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    n = float(sizes.sum())
    w = sizes / n
    p = float(w @ expected)
    if p * (1 - p) < 1e-12 or np.any(counts == 0):
        return None
    variance = float(np.sum(w**2 * expected * (1 - expected) / counts)) + float(w @ (expected - p) ** 2) / n
    return 1 - float(counts.sum()) * variance / (p * (1 - p))


def _width(sizes: IntArray, counts: IntArray, expected: FloatArray, confidence_level: float) -> float | None:
    if int(counts.sum()) == 0:
        return None
    _, interval = stratified_interval(sizes, counts, counts * expected, confidence_level=confidence_level)
    return interval.high - interval.low


def labels_needed(sizes: IntArray, expected: FloatArray, marked: IntArray, *, width: float, confidence_level: float = 0.95) -> int | None:
    """How many more marks, allocated as a plan would, make the predicted interval at most `width` wide; None where all do not.

    `sizes`, `expected` passes (see `expected_passes`) and `marked` have one entry a stratum. At least what gives each
    stratum 4.
    """
    sizes, marked = np.asarray(sizes, dtype=np.int64), np.asarray(marked, dtype=np.int64)

    def too_wide(labels: int) -> bool:
        more = allocate_labels(sizes, expected, marked, labels)
        found = None if more is None else _width(sizes, marked + more, expected, confidence_level)
        return found is None or found > width

    few, enough = -1, int(sizes.sum() - marked.sum())
    if enough < 0 or too_wide(enough):
        return None
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if too_wide(middle) else (few, middle)
    return enough


def _claims(n_marked: int, confidence: FloatArray | None) -> tuple[str, ...]:
    if n_marked:
        return ()
    what = f"that {ASSUMED_RIGHT:.0%} of its verdicts are right" if confidence is None else "on the grader's own confidence"
    return (f"the prediction rests {what}: plan again after the first marks",)


@dataclass(frozen=True, slots=True)
class LabelGain(Result):
    """What more marks would do to the interval."""

    more: int
    width: float | None  # of the interval now
    width_then: float | None  # predicted
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"what {self.more} more marks buy: not known ({self.refused})"
        return f"{self.more} more marks would narrow the interval from {self.width:.3f} to about {self.width_then:.3f}"


def label_gain(
    sizes: IntArray, marked: IntArray, passes: IntArray, *, more: int = 20, confidence_level: float = 0.95, bank: bool = False
) -> LabelGain:
    """The width of the interval over strata now, and after `more` marks that are allocated as a plan would.

    Predicted as the present width times the ratio of the widths at expected counts, with shares (x + 1/2) / (n + 1).
    Refused, `LABEL_VERDICT`, where marks cannot be allocated or nobody marked.
    """
    sizes, marked, passes = (np.asarray(one, dtype=np.int64) for one in (sizes, marked, passes))
    if not sizes.shape == marked.shape == passes.shape:
        raise ValueError("sizes, marked and passes must have one entry a stratum")
    if np.any(passes > marked) or np.any(marked > sizes) or np.any(passes < 0):
        raise ValueError("passes can be no more than marked, and marked no more than sizes")
    expected = (passes + 0.5) / (marked + 1)
    extra = allocate_labels(sizes, expected, marked, more)
    if extra is None or int(marked.sum()) == 0:
        why = "too few answers are marked to predict from" if extra is not None else f"{more} marks do not give each stratum {FLOOR}"
        return LabelGain(more, None, None, Refusal("LABEL_VERDICT", why, f"let people mark {FLOOR} answers of each stratum first"))
    widths = []
    for counts, of in ((marked, passes), (marked, marked * expected), (marked + extra, (marked + extra) * expected)):
        _, interval = stratified_interval(sizes, counts, of, confidence_level=confidence_level, bank=bank)
        widths.append(interval.high - interval.low)
    return LabelGain(more, widths[0], widths[0] * widths[2] / widths[1] if widths[1] > 0 else widths[0])
