"""A grader's pass rates, corrected by the marks that people gave to some of the responses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from fairmark.results import Estimate, Refusal, Scorer
from fairmark.stats.clusters import FEW_EVENTS, FEWEST_CLUSTERS, NARROWEST, clustered_mean, clusters_with, numbered
from fairmark.stats.estimates import CLUSTERS, INDEPENDENT
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson, jeffreys

BoolArray = NDArray[np.bool_]

UNMARKED = -1
FEWEST_MARKS = 4  # of a verdict, or all of it where it has fewer responses
FEWEST_MARKS_OF_A_PAIR = 5  # of a pair of verdicts
RARE = 0.01  # a verdict given to at most this share of the responses needs no mark
ASSUMED_ICC = 0.2  # marks of one cluster are taken to be at least so alike: chosen by simulation
ALIKE = 0.25  # from an intraclass correlation of .3 on, simulated intervals may cover a little less than they say
RANDOM_MARKS = "marked responses were drawn at random within each verdict of the grader, or as whole clusters"
PEOPLE_ARE_RIGHT = "people's marks are right"


# ---------------------------------------------------------------- strata, whatever is averaged


class Strata(NamedTuple):
    """Means of people's marks within the grader's verdicts, and how much each cluster moves them. Per verdict: arrays of K."""

    codes: IntArray  # the verdicts that occur
    size: FloatArray  # N_v, responses
    marks: FloatArray  # n_v, marked ones
    weight: FloatArray  # w_v = N_v / N
    theta: FloatArray  # mean mark; the mean of all marks where there is none
    value: float  # sum of w_v theta_v
    of: IntArray  # the verdict of each response, as a place in `codes`
    cluster: IntArray  # the cluster of each response, from 0
    verdict_part: FloatArray  # a_g: sum over the cluster's responses of theta_v - value
    mark_part: FloatArray  # b_gv: N_v / n_v times the sum over its marked responses of mark - theta_v; (G, K)
    variance: FloatArray  # V_v of the marks, linearised over the clusters that hold one
    floor: FloatArray  # K_v, the design effect if marks of one cluster were alike by ASSUMED_ICC
    spread: FloatArray  # sum of (mark - theta_v)^2
    n_clusters: int
    clusters_marked: int  # G_L

    @property
    def moves(self) -> FloatArray:
        """u_g, the share of each cluster in the error of `value`, times N."""
        moves: FloatArray = self.verdict_part + self.mark_part.sum(axis=1)
        return moves

    @property
    def unmarked(self) -> FloatArray:
        """The weights of the verdicts without any mark."""
        weights: FloatArray = self.weight[self.marks == 0]
        return weights


def stratified(verdict: IntArray, mark: FloatArray, marked: BoolArray, cluster: IntArray) -> Strata:
    """The strata of the grader's verdicts, from each response's verdict, mark (where `marked`) and cluster; at least one mark.

    V_v = G_v/(G_v - 1) sum_g b_gv^2 / N^2 over the G_v clusters that hold a mark of the verdict (factor 2 for a single
    one); K_v = 1 + .2 (sum_g c_gv^2 / n_v - 1) with c_gv marks in cluster g.
    """
    n = len(verdict)
    codes, of = np.unique(verdict, return_inverse=True)
    index, groups = numbered(cluster, n)
    kinds = len(codes)
    y, inner, outer = mark[marked].astype(np.float64), of[marked], index[marked]
    size = np.bincount(of, minlength=kinds).astype(np.float64)
    marks = np.bincount(inner, minlength=kinds).astype(np.float64)
    some = np.maximum(marks, 1)
    theta = np.where(marks > 0, np.bincount(inner, weights=y, minlength=kinds) / some, float(np.mean(y)))
    weight = size / n
    value = float(weight @ theta)
    residual = y - theta[inner]
    cell = outer * kinds + inner
    counts = np.bincount(cell, minlength=groups * kinds).reshape(groups, kinds)
    moved = np.bincount(cell, weights=residual, minlength=groups * kinds).reshape(groups, kinds) * (size / some)
    held = np.count_nonzero(counts, axis=0)
    factor = np.where(held > 1, held / np.maximum(held - 1, 1), 2.0)
    return Strata(
        codes=codes,
        size=size,
        marks=marks,
        weight=weight,
        theta=theta,
        value=value,
        of=of,
        cluster=index,
        verdict_part=np.bincount(index, weights=theta[of] - value, minlength=groups).astype(np.float64),
        mark_part=moved,
        variance=factor * np.sum(moved**2, axis=0) / n**2,
        floor=1 + ASSUMED_ICC * np.maximum(np.sum(counts.astype(np.float64) ** 2, axis=0) / some - 1, 0),
        spread=np.bincount(inner, weights=residual**2, minlength=kinds).astype(np.float64),
        n_clusters=groups,
        clusters_marked=int(np.count_nonzero(counts.any(axis=1))),
    )


def linearised(moves: FloatArray, held: int, n: int) -> float:
    """G_L/(G_L - 1) sum_g u_g^2 / N^2, with the factor 2 for a single cluster."""
    return (held / (held - 1) if held > 1 else 2.0) * float(np.sum(moves**2)) / n**2


def likeness(mark: FloatArray, cluster: IntArray) -> float | None:
    """The intraclass correlation of the marks within clusters, by analysis of variance; None where it cannot be seen."""
    n = len(mark)
    index, groups = numbered(cluster, n)
    sizes = np.bincount(index, minlength=groups).astype(np.float64)
    if groups < 2 or n - groups < FEWEST_MARKS:
        return None
    means = np.bincount(index, weights=mark, minlength=groups) / sizes
    between = float(sizes @ (means - np.mean(mark)) ** 2) / (groups - 1)
    within = float(np.sum((mark - means[index]) ** 2)) / (n - groups)
    typical = (n - float(np.sum(sizes**2)) / n) / (groups - 1)
    total = between + (typical - 1) * within
    return (between - within) / total if total > 0 else None


# ---------------------------------------------------------------- intervals at every level


class Corrected:
    """The intervals of a corrected figure at every confidence level, and what they rest on.

    `refused` says why there is none; `value` is still there where it could be computed.
    """

    def __init__(self, n_responses: int, n_cases: int | None, n_clusters: int | None) -> None:
        self.value: float | None = None
        self.se: float | None = None  # linearised over clusters
        self.df: int | None = None
        self.n_effective: float | None = None  # independent human marks of the same precision
        self.n_marks = 0
        self.n_responses = n_responses
        self.n_cases = n_responses if n_cases is None else n_cases
        self.n_clusters = n_clusters
        self.method = "none"
        self.scorer: Scorer = "judge-corrected"
        self.assumptions: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.refused: Refusal | None = None

    def at(self, confidence_level: float) -> Interval:
        """The interval at a confidence level, each end a one-sided bound at (1 - level) / 2.

        Nested in the level. `ValueError` where there is no interval (see `refused`).
        """
        if self.refused is not None:
            raise ValueError(f"{self.refused.code}: {self.refused.why}")
        return self._at(max(confidence_level, NARROWEST))

    def _at(self, confidence_level: float) -> Interval:
        raise NotImplementedError

    def estimate(self, *, estimand: str, confidence_level: float = 0.95) -> Estimate:
        """The figure with its interval at one level, or why there is none."""
        value, low, high, method = self.value, None, None, self.method
        if self.refused is None:
            low, high = self.at(confidence_level)
        else:
            value, method = None, "none"
        return Estimate(
            estimand=estimand,
            value=value,
            low=low,
            high=high,
            confidence_level=confidence_level,
            method=method,
            n_cases=self.n_cases,
            n_clusters=self.n_clusters,
            n_responses=self.n_responses,
            n_effective=self.n_effective if self.refused is None else None,
            scorer=self.scorer,
            assumptions=self.assumptions,
            warnings=self.warnings,
            refused=self.refused,
        )


class _Scores:
    """Korn and Graubard's interval of a mean in [0, 1] with the few-events rule, at every level from one look at the data."""

    def __init__(self, y: FloatArray, cluster: IntArray) -> None:
        mean = clustered_mean(y, cluster)
        groups = mean.n_clusters
        events = min(clusters_with(cluster, y > 0, groups), clusters_with(cluster, y < 1, groups))
        self.value, self.se, self.n_effective = mean.value, mean.se, mean.n_effective
        self._n, self._groups, self._few = mean.n, groups, events <= FEW_EVENTS

    def at(self, confidence_level: float) -> Interval:
        quantile = 0.5 + confidence_level / 2
        n_star = self.n_effective * (float(stdtrit(self._n - 1, quantile)) / float(stdtrit(self._groups - 1, quantile))) ** 2
        if self._few:
            n_star = min(n_star, float(self._groups))
        return clopper_pearson(self.value * n_star, n_star, confidence_level=confidence_level)


class CorrectedRate(Corrected):
    """The intervals of a pass rate by people's marks, corrected within the grader's verdicts, at every confidence level.

    `verdict` holds the grader's verdict of each response as a code from 0 (fails 0, passes 1; unreadable verdicts may have a
    code of their own, as may each level of an ordered scale, or each pair of two criteria's verdicts); `label` people's
    mark, 0 or 1, or -1 where there is none; `cluster` what each response belongs to (none: each case is one).

    p = sum_v w_v theta_v over verdicts with their shares w_v and people's pass shares theta_v. Each theta_v has Jeffreys'
    limits l_v, u_v at n*_v = n_v / (D_v k) marks: k = (t / z)^2 with t of G_L - 1 degrees of freedom, G_L the clusters that
    hold a mark, and D_v = max(1, V_v n_v / (w_v^2 theta_v (1 - theta_v)), K_v) the design effect with the floor of
    `stratified`. The shares w_v enter by the interval of the mean of theta_v over all N responses, e_lo and e_hi: that of
    Korn and Graubard on (theta_v - least theta) / range, which are the verdicts themselves where there are two. Then
    low = p - sqrt(sum_v (w_v (theta_v - l_v))^2 + e_lo^2 + t^2 C), high likewise (MOVER, Zou and Donner 2008), with C the
    covariance of these parts within clusters where it is positive. With one verdict only, the marks alone by Korn and
    Graubard.

    Refused: a code or mark off its scale (`OFF_SCALE`), no mark (`NO_DATA`), marks in fewer than 6 clusters
    (`TOO_FEW_CLUSTERS`), a verdict given to more than 1% of the responses with fewer than 4 of them marked
    (`LABEL_VERDICT`). A verdict without any mark that is rarer than that counts as anything from 0 to 1.
    """

    def __init__(
        self,
        verdict: IntArray,
        label: IntArray,
        cluster: IntArray | None = None,
        *,
        names: Mapping[int, str] | None = None,
        n_cases: int | None = None,
    ) -> None:
        super().__init__(len(verdict), n_cases, None if cluster is None else len(np.unique(cluster)))
        units = units_of(verdict, cluster, label)
        self.refused = off_scale(verdict, label, top=1)
        if self.refused is not None:
            return
        marked = label >= 0
        self.n_marks = int(np.count_nonzero(marked))
        self.assumptions = (*assumed(cluster), RANDOM_MARKS, PEOPLE_ARE_RIGHT)
        strata = stratified(verdict, label.astype(np.float64), marked, units)
        self.value, self.df = strata.value, strata.clusters_marked - 1
        self.refused = too_few(strata, declared=cluster is not None, names=names)
        self._alone: _Scores | None = None
        if len(strata.codes) == 1:
            self.method = "Korn-Graubard on people's marks, as the grader gave one verdict only"
            if self.refused is None:
                self._alone = _Scores(label[marked].astype(np.float64), numbered(units[marked], self.n_marks)[0])
                self.se, self.n_effective = self._alone.se, self._alone.n_effective
            return
        self.method = "verdict-stratified, Jeffreys limits with a design effect"
        self.warnings = notes(strata, label.astype(np.float64), marked, declared=cluster is not None, names=names)
        self._prepare(strata)

    def _prepare(self, strata: Strata) -> None:
        """All that does not depend on the level."""
        held, n = max(strata.clusters_marked, 2), self.n_responses
        theta, weight, marks = strata.theta, strata.weight, strata.marks
        bernoulli = weight**2 * theta * (1 - theta)
        effect = np.where(bernoulli > 0, strata.variance * marks / np.where(bernoulli > 0, bernoulli, 1), 1.0)
        self._parts = list(
            zip(weight.tolist(), theta.tolist(), (marks / np.maximum(np.maximum(effect, strata.floor), 1)).tolist(), strict=True)
        )
        own = strata.mark_part
        crossed = strata.verdict_part * own.sum(axis=1) + (own.sum(axis=1) ** 2 - np.sum(own**2, axis=1)) / 2
        self._covariance = max(0.0, 2 * held / (held - 1) * float(crossed.sum()) / n**2)
        lowest = float(theta.min())
        self._range = float(theta.max()) - lowest
        self._verdicts = None if self._range <= 0 else _Scores(((theta - lowest) / self._range)[strata.of], strata.cluster)
        variance = linearised(strata.moves, held, n)
        self.se = math.sqrt(variance)
        self.n_effective = strata.value * (1 - strata.value) / variance if variance > 0 else None

    def _at(self, confidence_level: float) -> Interval:
        if self._alone is not None:
            return self._alone.at(confidence_level)
        assert self.value is not None and self.df is not None
        quantile = 0.5 + confidence_level / 2
        t = float(stdtrit(self.df, quantile))
        k = (t / float(ndtri(quantile))) ** 2
        below = above = t * t * self._covariance
        for weight, theta, marks in self._parts:
            within = jeffreys(theta * marks / k, marks / k, confidence_level=confidence_level) if marks > 0 else Interval(0.0, 1.0)
            # at low levels Jeffreys' limits may lie on one side of theta
            below += (weight * max(0.0, theta - within.low)) ** 2
            above += (weight * max(0.0, within.high - theta)) ** 2
        if self._verdicts is not None:
            share = self._verdicts.at(confidence_level)
            below += (self._range * max(0.0, self._verdicts.value - share.low)) ** 2
            above += (self._range * max(0.0, share.high - self._verdicts.value)) ** 2
        return Interval(max(0.0, self.value - math.sqrt(below)), min(1.0, self.value + math.sqrt(above)))


class CorrectedDifference(Corrected):
    """The intervals of the pass rate of system B minus that of A on the same cases, at every confidence level.

    Row i holds the two systems' answers to one case: verdicts and labels as for `CorrectedRate`. Marks may be drawn for each
    system by itself, or on the same cases. D = p_B - p_A, each corrected within its own verdicts; u_g is what cluster g adds
    to the error of each. V = G_L/(G_L - 1) sum_g (u_gB - u_gA)^2 / N^2 + sum over systems and verdicts of
    max(0, K_v w_v^2 q_v (1 - q_v) / n_v - V_v), q_v = (x_v + 1/2) / (n_v + 1): marks that happen to be all alike still leave
    doubt. V is at least K / (n + 1)^2 for n marks of a system and its largest K_v: two systems with the same marks on the same
    cases may still differ. The interval is D +- t sqrt(V) with G_L - 1 degrees of freedom, G_L the smaller number of clusters with a mark.

    With `paired_strata` the marks were drawn within pairs of verdicts and only cases where both answers are marked count:
    D = sum_s w_s mean(d), d = y_B - y_A, and q (1 - q) / n becomes (b + c - (b - c)^2) / (n_s + 1) with the smoothed shares
    b of d = 1 and c of d = -1. Better where both pass nearly always.

    Refused as `CorrectedRate` is, for each system; pairs of verdicts need 5 marks (or all).
    """

    def __init__(
        self,
        verdict_a: IntArray,
        label_a: IntArray,
        verdict_b: IntArray,
        label_b: IntArray,
        cluster: IntArray | None = None,
        *,
        paired_strata: bool = False,
        names: Mapping[int, str] | None = None,
        n_cases: int | None = None,
    ) -> None:
        super().__init__(len(verdict_a), n_cases, None if cluster is None else len(np.unique(cluster)))
        units = units_of(verdict_a, cluster, label_a, verdict_b, label_b)
        self.refused = off_scale(verdict_a, label_a, top=1, whose="of the first system") or off_scale(
            verdict_b, label_b, top=1, whose="of the second system"
        )
        if self.refused is not None:
            return
        declared = cluster is not None
        self.assumptions = (*assumed(cluster), RANDOM_MARKS, PEOPLE_ARE_RIGHT)
        if paired_strata:
            self._pairs(verdict_a, label_a, verdict_b, label_b, units, declared, names)
            return
        self.method = "difference of verdict-stratified rates, t with smoothed variance of the marks"
        both: list[Strata] = []
        for whose, verdict, label in (("of the first system", verdict_a, label_a), ("of the second system", verdict_b, label_b)):
            strata = stratified(verdict, label.astype(np.float64), label >= 0, units)
            self.refused = self.refused or too_few(strata, declared=declared, names=names, whose=whose)
            self.warnings += notes(strata, label.astype(np.float64), label >= 0, declared=declared, names=names, whose=whose)
            both.append(strata)
        a, b = both
        self.n_marks = int(a.marks.sum() + b.marks.sum())
        doubt = sum(float(np.sum(still_possible(one, _binomial(one)))) for one in both)
        unseen = sum(float(np.sum((one.unmarked * max(_pooled(one), 1 - _pooled(one))) ** 2)) for one in both)
        least = max(float(one.floor.max()) for one in both) / (min(float(one.marks.sum()) for one in both) + 1) ** 2
        self._prepare(b.value - a.value, b.moves - a.moves, min(a.clusters_marked, b.clusters_marked), doubt, least, unseen)

    def _pairs(
        self,
        verdict_a: IntArray,
        label_a: IntArray,
        verdict_b: IntArray,
        label_b: IntArray,
        units: IntArray,
        declared: bool,
        names: Mapping[int, str] | None,
    ) -> None:
        self.method = "difference within pairs of verdicts, t with smoothed variance of the marks"
        marked = (label_a >= 0) & (label_b >= 0)
        self.n_marks = 2 * int(np.count_nonzero(marked))
        if not marked.any():
            self.refused = nothing_marked("of both systems on one case")
            return
        span = int(verdict_b.max()) + 1
        pair = verdict_a * span + verdict_b
        named = names or {}
        words = {int(code): " and ".join(named.get(int(one), str(int(one))) for one in divmod(int(code), span)) for code in np.unique(pair)}
        d = np.where(marked, label_b - label_a, 0).astype(np.float64)
        strata = stratified(pair, d, marked, units)
        self.refused = too_few(strata, declared=declared, names=words, fewest=FEWEST_MARKS_OF_A_PAIR)
        self.warnings = notes(strata, d, marked, declared=declared, names=words)
        ups, downs = (
            (np.bincount(strata.of[marked & (d == side)], minlength=len(strata.codes)) + 0.5) / (strata.marks + 1) for side in (1, -1)
        )
        doubt = float(np.sum(still_possible(strata, (ups + downs - (ups - downs) ** 2) / (strata.marks + 1))))
        unseen = float(np.sum((strata.unmarked * (1 + abs(float(np.mean(d[marked]))))) ** 2))
        least = float(strata.floor.max()) / (float(strata.marks.sum()) + 1) ** 2
        self._prepare(strata.value, strata.moves, strata.clusters_marked, doubt, least, unseen)

    def _prepare(self, value: float, moves: FloatArray, held: int, doubt: float, least: float, unseen: float) -> None:
        self.value, self.df = value, held - 1
        self.se, self._unseen = math.sqrt(max(linearised(moves, held, self.n_responses) + doubt, least)), unseen

    def _at(self, confidence_level: float) -> Interval:
        assert self.value is not None and self.df is not None and self.se is not None
        return t_interval(self.value, self.se, self.df, self._unseen, confidence_level)


def t_interval(value: float, se: float, df: int, unseen: float, confidence_level: float) -> Interval:
    """value +- sqrt((t se)^2 + unseen) within [-1, 1]; `unseen` is what verdicts without any mark may still add, squared."""
    half = math.sqrt((float(stdtrit(df, 0.5 + confidence_level / 2)) * se) ** 2 + unseen)
    return Interval(max(-1.0, value - half), min(1.0, value + half))


def _binomial(strata: Strata) -> FloatArray:
    """Variance of each theta_v at its smoothed share q_v; 0 where there is no mark, as `unseen` takes care of it."""
    q = (strata.theta * strata.marks + 0.5) / (strata.marks + 1)
    return np.where(strata.marks > 0, q * (1 - q) / np.maximum(strata.marks, 1), 0.0)


def still_possible(strata: Strata, variance: FloatArray) -> FloatArray:
    """What a verdict's share of the variance lacks against that of its smoothed mean with the floor of the design effect."""
    return np.where(strata.marks > 0, np.maximum(0.0, strata.floor * strata.weight**2 * variance - strata.variance), 0.0)


def _pooled(strata: Strata) -> float:
    """The mean of all marks."""
    return float(strata.theta @ strata.marks / strata.marks.sum())


# ---------------------------------------------------------------- estimates at one level


def corrected_rate(
    verdict: IntArray,
    label: IntArray,
    cluster: IntArray | None = None,
    *,
    estimand: str = "share that people would pass",
    confidence_level: float = 0.95,
    names: Mapping[int, str] | None = None,
    n_cases: int | None = None,
) -> Estimate:
    """The share of responses that people would pass, from the grader's verdicts on all and people's marks on some.

    Formula, arguments and refusals are those of `CorrectedRate`, which gives the interval at every level.
    """
    found = CorrectedRate(verdict, label, cluster, names=names, n_cases=n_cases)
    return found.estimate(estimand=estimand, confidence_level=confidence_level)


def corrected_difference(
    verdict_a: IntArray,
    label_a: IntArray,
    verdict_b: IntArray,
    label_b: IntArray,
    cluster: IntArray | None = None,
    *,
    paired_strata: bool = False,
    estimand: str = "share that people would pass, second system minus first",
    confidence_level: float = 0.95,
    names: Mapping[int, str] | None = None,
    n_cases: int | None = None,
) -> Estimate:
    """By how much more often people would pass the second system than the first, on the same cases.

    Formula, arguments and refusals are those of `CorrectedDifference`, which gives the interval at every level.
    """
    found = CorrectedDifference(verdict_a, label_a, verdict_b, label_b, cluster, paired_strata=paired_strata, names=names, n_cases=n_cases)
    return found.estimate(estimand=estimand, confidence_level=confidence_level)


def verdict_stratified(
    N1: float,
    N: float,
    x1: float,
    n1: float,
    x0: float,
    n0: float,
    *,
    bank: bool = False,
    estimand: str = "share that people would pass",
    confidence_level: float = 0.95,
) -> Estimate:
    """The same from counts, for independent cases: MOVER on Jeffreys' limits of the two pass shares.

    The grader passed N1 of N responses; people passed x1 of the n1 marked ones among these and x0 of n0 among the others.
    p = sum_v w_v theta_v, low = p - sqrt(sum_v (w_v (theta_v - l_v))^2 + z^2 sum_v w_v (theta_v - p)^2 / N), high likewise.
    `bank`: about exactly these N responses and not about cases like them: no last term, the others times
    (N_v - n_v) / (N_v - 1). Refused without data or marks (`NO_DATA`), and with no mark on a verdict given to more than 1% of
    the responses (`LABEL_VERDICT`). `ValueError` for counts that cannot be.
    """
    size, marks, passes = (N - N1, N1), (n0, n1), (x0, x1)
    for of, n, x in zip(size, marks, passes, strict=True):
        if not 0 <= x <= n <= of < math.inf:
            raise ValueError(f"{x} passes of {n} marks of {of} responses cannot be")

    def result(value: float | None, interval: Interval | None, warnings: tuple[str, ...], refused: Refusal | None) -> Estimate:
        return Estimate(
            estimand=estimand,
            value=value,
            low=None if interval is None else interval.low,
            high=None if interval is None else interval.high,
            confidence_level=confidence_level,
            method="none" if interval is None else "verdict-stratified, Jeffreys limits" + (" (this bank)" if bank else ""),
            n_cases=int(N),
            n_responses=int(N),
            scorer="judge-corrected",
            assumptions=(INDEPENDENT, RANDOM_MARKS, PEOPLE_ARE_RIGHT),
            warnings=warnings,
            refused=refused,
        )

    if n0 + n1 == 0:
        return result(None, None, (), nothing_marked())
    weight = [of / N for of in size]
    lacking = [v for v in (0, 1) if marks[v] == 0 and weight[v] > RARE]
    if lacking:
        return result(None, None, (), label_verdict(f"verdict {lacking[0]}", 0, int(size[lacking[0]])))
    pooled = (x0 + x1) / (n0 + n1)
    theta = [x / n if n > 0 else pooled for x, n in zip(passes, marks, strict=True)]
    value = weight[0] * theta[0] + weight[1] * theta[1]
    below = above = 0.0
    if not bank:
        z = float(ndtri(0.5 + confidence_level / 2))
        below = above = z * z * sum(w * (share - value) ** 2 for w, share in zip(weight, theta, strict=True)) / N
    for w, share, n, of in zip(weight, theta, marks, size, strict=True):
        unseen = ((of - n) / (of - 1) if of > 1 else float(n == 0)) if bank else 1.0
        within = jeffreys(share * n, n, confidence_level=confidence_level) if n > 0 else Interval(0.0, 1.0)
        below += unseen * (w * max(0.0, share - within.low)) ** 2
        above += unseen * (w * max(0.0, within.high - share)) ** 2
    few = tuple(
        f"verdict {v} has {marks[v]:g} marks for {size[v]:g} responses" for v in (0, 1) if 0 < marks[v] < min(FEWEST_MARKS, size[v])
    )
    return result(value, Interval(max(0.0, value - math.sqrt(below)), min(1.0, value + math.sqrt(above))), few, None)


# ---------------------------------------------------------------- what is asked of the data


def units_of(verdict: IntArray | FloatArray, cluster: IntArray | None, *others: IntArray | FloatArray) -> IntArray:
    """The cluster of each response, or each response by itself."""
    n = len(verdict)
    if any(len(one) != n for one in (*others, *(() if cluster is None else (cluster,)))):
        raise ValueError("verdicts, labels and clusters must be equally many")
    return np.arange(n) if cluster is None else np.asarray(cluster)


def assumed(cluster: IntArray | None) -> tuple[str, ...]:
    return (INDEPENDENT if cluster is None else CLUSTERS,)


def off_scale(verdict: IntArray, label: IntArray, *, top: int, whose: str = "") -> Refusal | None:
    """Why these verdicts and labels are none: codes below 0, marks other than -1 to `top`; or there is nothing, or no mark."""
    if len(verdict) == 0:
        return Refusal("NO_DATA", "there is no response", "run the study, or check that this criterion applies")
    if not np.all(verdict >= 0):
        return Refusal("OFF_SCALE", "a response has no verdict of the grader", "give unreadable verdicts a code of their own, such as 2")
    if not np.all((label >= UNMARKED) & (label <= top)):
        return Refusal("OFF_SCALE", f"a mark is neither 0 to {top} nor {UNMARKED} for none", "bring the marks to this scale")
    return None if np.any(label >= 0) else nothing_marked(whose)


def nothing_marked(whose: str = "") -> Refusal:
    what = f"no response {whose} was marked by people" if whose else "no response was marked by people"
    return Refusal("NO_DATA", what, f"let people mark at least {FEWEST_MARKS} responses of each verdict")


def too_few(
    strata: Strata,
    *,
    declared: bool,
    names: Mapping[int, str] | None,
    whose: str = "",
    noun: str = "verdict",
    fewest: int = FEWEST_MARKS,
) -> Refusal | None:
    """Why the marks do not carry an interval: a verdict with too few of them, or too few clusters that hold one."""
    of = f" {whose}" if whose else ""
    for code, size, marks, weight in zip(strata.codes, strata.size, strata.marks, strata.weight, strict=True):
        if len(strata.codes) > 1 and weight > RARE and marks < min(fewest, size):
            return label_verdict(f"{noun} {_name(code, names)}{of}", int(marks), int(size), fewest)
    if strata.clusters_marked < FEWEST_CLUSTERS:
        what = "clusters" if declared else "cases"
        return Refusal(
            "TOO_FEW_CLUSTERS",
            f"people marked responses{of} in {strata.clusters_marked} {what} only, which cannot tell how other {what} behave",
            f"let people mark responses in at least {FEWEST_CLUSTERS} {what}",
        )
    return None


def label_verdict(name: str, marks: int, size: int, fewest: int = FEWEST_MARKS) -> Refusal:
    """That people must mark more responses of one verdict before there is a figure."""
    need = min(fewest, size)
    return Refusal(
        "LABEL_VERDICT",
        f"people marked {marks} of the {size} responses with {name}, and {need} are needed",
        f"let people mark at least {need - marks} more responses with {name}, drawn at random",
    )


def _name(code: int, names: Mapping[int, str] | None) -> str:
    return (names or {}).get(int(code), str(int(code)))


def notes(
    strata: Strata,
    mark: FloatArray,
    marked: BoolArray,
    *,
    declared: bool,
    names: Mapping[int, str] | None,
    whose: str = "",
    noun: str = "verdict",
) -> tuple[str, ...]:
    """What weakens the interval: clusters alike beyond what was tried, rare verdicts without a mark."""
    of = f" {whose}" if whose else ""
    found = [
        f"{noun} {_name(code, names)}{of} has no mark: it counts as anything its scale allows"
        for code, marks in zip(strata.codes, strata.marks, strict=True)
        if marks == 0
    ]
    if declared:
        alike = likeness(mark[marked], strata.cluster[marked])
        if alike is not None and alike > ALIKE:
            found.append(
                f"marks{of} within a cluster are much alike (intraclass correlation {alike:.2f}): the interval may cover a little "
                "less than it says"
            )
    return tuple(found)
