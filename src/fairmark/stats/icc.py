"""Intraclass correlations of scores: how far one rater's score, or the mean of several, is that of another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import fdtri

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import cluster_t
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.reliability import FEWEST_ITEMS, ITEMS_FOR_AN_INTERVAL, one_rater, too_few_items, unmarked
from fairmark.stats.resampling import RESAMPLES, Parts, bootstrap

TINY = 1e-12
LARGEST = 1e150  # its square is a floating-point number
NAMES = ("ICC(1)", "ICC(2)", "ICC(3)", "ICC(1k)", "ICC(2k)", "ICC(3k)")


class Icc(NamedTuple):
    """One intraclass correlation with its F interval; None where the scores leave it undefined."""

    value: float | None
    interval: Interval | None


class Squares(NamedTuple):
    """Mean squares of a complete table of items x raters."""

    n: int  # items
    k: int  # raters
    items: float  # between items
    raters: float  # between raters
    residual: float
    within: float  # within items: raters and residual together


def mean_squares(scores: FloatArray) -> Squares:
    """The mean squares of a complete table. `ValueError` with fewer than 2 items or 2 raters."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise ValueError("an intraclass correlation needs at least 2 items and 2 raters")
    n, k = scores.shape
    away = scores - scores.mean()
    rows, columns = away.mean(axis=1), away.mean(axis=0)
    residual = float(np.sum((away - rows[:, None] - columns[None, :]) ** 2))
    raters = n * float(columns @ columns)
    return Squares(
        n, k, k * float(rows @ rows) / (n - 1), raters / (k - 1), residual / ((n - 1) * (k - 1)), (residual + raters) / (n * (k - 1))
    )


def intraclass(scores: FloatArray, *, confidence_level: float = 0.95) -> tuple[Icc, ...]:
    """ICC(1), (2), (3), (1k), (2k), (3k) of items x raters without gaps (Shrout and Fleiss 1979), with F intervals.

    (1): each item has raters of its own. (2): these raters are a sample, and their differences in level count (absolute
    agreement). (3): only these raters, whose levels do not count (consistency). k: of the mean of all k raters. The interval
    of (2) uses Satterthwaite's degrees of freedom (McGraw and Wong 1996). It assumes normal scores.
    """
    n, k, between, raters, residual, within = mean_squares(scores)
    tail = (1 - confidence_level) / 2
    scale = max(between, raters, within)
    if scale <= 0 or not math.isfinite(scale):
        return (Icc(None, None),) * 6

    def of_ratio(error: float, df: float) -> tuple[Icc, Icc]:
        """One rater and the mean of k where F = between / error says it all."""
        if between + error <= TINY * scale:
            return Icc(None, None), Icc(None, None)
        single = Icc((between - error) / (between + (k - 1) * error), None)
        if between <= TINY * scale:
            return single, Icc(None, None)
        mean = Icc((between - error) / between, None)
        if error <= TINY * scale:
            return single, mean
        low = between / error / float(fdtri(n - 1, df, 1 - tail))
        high = between / error * float(fdtri(df, n - 1, 1 - tail))
        return (
            Icc(single.value, Interval((low - 1) / (low + k - 1), (high - 1) / (high + k - 1))),
            Icc(mean.value, Interval(1 - 1 / low, 1 - 1 / high)),
        )

    one, one_k = of_ratio(within, n * (k - 1))
    three, three_k = of_ratio(residual, (n - 1) * (k - 1))
    room = between + (k - 1) * residual + k * (raters - residual) / n
    two = Icc(None, None)
    if room > TINY * scale:
        value = (between - residual) / room
        two = Icc(value, _absolute(value, n, k, between, raters, residual, tail) if residual > TINY * scale else None)
    of_mean = between + (raters - residual) / n
    two_k = Icc(None, None)
    if of_mean > TINY * scale:
        interval = two.interval
        ends = None if interval is None else tuple(_stepped_up(end, k) for end in interval)
        two_k = Icc((between - residual) / of_mean, None if ends is None or None in ends else Interval(*ends))  # type: ignore[arg-type]
    return one, two, three, one_k, two_k, three_k


def _absolute(value: float, n: int, k: int, between: float, raters: float, residual: float, tail: float) -> Interval | None:
    """The interval of ICC(2): the raters' mean square and the residual make one F denominator with df by Satterthwaite."""
    ratio = raters / residual
    level = n * (1 + (k - 1) * value) - k * value
    below = (n - 1) * (k * value * ratio) ** 2 + level**2
    if below <= 0:
        return None
    df = (k - 1) * (n - 1) * (k * value * ratio + level) ** 2 / below
    if not df > 0:
        return None
    upper, lower = float(fdtri(n - 1, df, 1 - tail)), float(fdtri(df, n - 1, 1 - tail))
    rest = k * raters + (k * n - k - n) * residual
    low = n * (between - upper * residual) / (upper * rest + n * between)
    high = n * (lower * between - residual) / (rest + n * lower * between)
    return Interval(min(low, value), max(high, value)) if math.isfinite(low) and math.isfinite(high) else None


def _stepped_up(single: float, k: int) -> float | None:
    """Spearman and Brown: the correlation of the mean of k raters from that of one."""
    room = 1 + (k - 1) * single
    return k * single / room if room > TINY else None


def icc_parts(scores: FloatArray) -> Parts:
    """ICC(2) of one rater as a statistic of sums over items, for resampling."""
    scores = np.asarray(scores, dtype=np.float64)
    scores = scores - scores.mean()
    k = scores.shape[1]

    def icc(sums: FloatArray) -> FloatArray:
        n, squares, of_means, columns = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3:]
        grand = columns.sum(axis=1) ** 2 / (n * k)
        items, raters = k * of_means - grand, np.sum(columns**2, axis=1) / n - grand
        between, between_raters = items / (n - 1), raters / (k - 1)
        residual = np.maximum(0, squares - grand - items - raters) / ((n - 1) * (k - 1))
        room = between + (k - 1) * residual + k * (between_raters - residual) / n
        some = room > 1e-9 * np.maximum(squares / n, 1e-300)
        return np.where(some, (between - residual) / np.where(some, room, 1.0), np.nan)

    return Parts(np.column_stack([np.ones(len(scores)), np.sum(scores**2, axis=1), scores.mean(axis=1) ** 2, scores]), icc)


@dataclass(frozen=True, slots=True)
class ScoreAgreement(Result):
    """How far scores of several raters, or of a grader and a person, are the same number."""

    value: float | None  # ICC(2): the score of one rater against that of another, absolute agreement
    low: float | None  # None where there are too few items for an interval
    high: float | None
    confidence_level: float
    method: str
    n_items: int  # scored by all
    n_raters: int
    n_clusters: int | None  # None: no cluster was declared, each item is one
    dropped: int  # items that some rater did not score
    all_six: tuple[tuple[str, float | None], ...]  # each ICC by its name
    mean_scores: tuple[float, ...]  # of each rater
    bias: float | None  # two raters: mean of the second minus the first; None for more
    bias_low: float | None
    bias_high: float | None
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"ICC(2,1) of {self.n_items} items: no figure ({self.refused})"
        span = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        bias = "" if self.bias is None else f"; the second scores {abs(self.bias):.3f} {'higher' if self.bias >= 0 else 'lower'} on average"
        return f"ICC(2,1) = {self.value:.3f}{span} for {self.n_raters} raters on {self.n_items} items{bias}"


def score_agreement(
    scores: FloatArray,
    cluster: IntArray | None = None,
    *,
    confidence_level: float = 0.95,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> ScoreAgreement:
    """ICC(2,1) of items x raters with its interval, the other five, and the bias of the second rater against the first.

    Only items that all raters scored count (NaN is missing). The interval is the F interval of absolute agreement, for raters
    like these; with a declared cluster BCa over whole clusters, for these raters. The bias has a t interval over items or
    clusters. Refused with one rater (`ONE_RATER`), no item scored by all (`NOT_DOUBLY_MARKED`), fewer than 10 items
    (`TOO_FEW_ITEMS`), an infinite score (`OFF_SCALE`), and where all scores are equal (`NO_VARIATION`). No interval of the
    correlation below 30 items or clusters.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or (cluster is not None and len(cluster) != len(scores)):
        raise ValueError("scores are a table of items x raters, and cluster names one for each item")
    marked = ~np.isnan(scores)
    whole = marked.all(axis=1) if scores.shape[1] else np.zeros(len(scores), dtype=bool)
    used, units = scores[whole], None if cluster is None else np.asarray(cluster)[whole]
    n, k = used.shape
    groups = None if units is None else len(np.unique(units))
    refused = one_rater(marked) or unmarked(n, "scored by all raters") or too_few_items(n)
    if refused is None and not np.all(np.abs(used) < LARGEST):
        refused = Refusal("OFF_SCALE", "a score is infinite or too large to be squared", "correct the score")
    if refused is None and float(np.ptp(used)) <= 1 / LARGEST:
        refused = Refusal("NO_VARIATION", "all scores are equal, so nothing tells the items apart", "score answers that differ in quality")
    if refused is not None:
        means = tuple(float(one) for one in used.mean(axis=0)) if n and np.all(np.abs(used) < LARGEST) else ()
        return ScoreAgreement(
            None, None, None, confidence_level, "none", n, k, groups, len(scores) - n, (), means, None, None, None, refused=refused
        )
    # the middle of the scale as its zero, and its width as its unit: neither changes a correlation, and no square overflows
    centre, width = float(used.min() / 2 + used.max() / 2), float(used.max() / 2 - used.min() / 2)
    z = (used - centre) / width
    six = intraclass(z, confidence_level=confidence_level)
    value, interval = six[1]
    warnings = [f"{len(scores) - n} of {len(scores)} items were not scored by all and are left out"] if n < len(scores) else []
    method = "ICC(2,1), F interval"
    if value is not None and units is not None:
        method, interval = "ICC(2,1), BCa over clusters", None
        if groups is not None and groups >= ITEMS_FOR_AN_INTERVAL:
            draws = bootstrap(icc_parts(z), units, rng=rng, resamples=resamples, lowest=-1.0, highest=1.0)
            interval = draws.at(confidence_level)
            interval = interval if interval.low < interval.high else None
    few = min(n, groups if groups is not None else n)
    if few < ITEMS_FOR_AN_INTERVAL:
        interval = None
        warnings.append(f"{few} {'items' if groups is None else 'clusters'} are too few for an interval: {ITEMS_FOR_AN_INTERVAL} give one")
    elif interval is None:
        warnings.append("no two scores of an item differ, so the spread of the correlation is unknown")
    bias, span = None, None
    if k == 2:
        difference = z[:, 1] - z[:, 0]
        bias = float(difference.mean()) * width
        if few >= FEWEST_ITEMS and float(np.ptp(difference)) > TINY:
            span = cluster_t(difference, np.arange(n) if units is None else units, confidence_level=confidence_level)
    if value is None:
        refused = Refusal("NO_VARIATION", "the scores leave the correlation undefined", "score answers that differ in quality")
    return ScoreAgreement(
        value=value,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        confidence_level=confidence_level,
        method=method,
        n_items=n,
        n_raters=k,
        n_clusters=groups,
        dropped=len(scores) - n,
        all_six=tuple((name, one.value) for name, one in zip(NAMES, six, strict=True)),
        mean_scores=tuple(float(one) * width + centre for one in z.mean(axis=0)),
        bias=bias,
        bias_low=None if span is None else span.low * width,
        bias_high=None if span is None else span.high * width,
        warnings=tuple(warnings),
        refused=refused,
    )
