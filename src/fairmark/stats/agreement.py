"""Two graders or many on the same answers: how often they agree, and how much of that is chance.

Marks are items x raters, NaN where a rater did not mark an item. What has sums over items (cells, levels) is built from
`Parts`, so that one arithmetic serves the value and its resampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from fairmark.stats.intervals import FloatArray, IntArray
from fairmark.stats.resampling import Parts

Weights = Literal["unweighted", "linear", "quadratic"]
GwetWeights = Literal["unweighted", "linear", "quadratic", "ordinal"]
TINY = 1e-12
ONE_LEVEL = "only one level was used, so chance would agree as well"
NO_PAIR = "no answer was marked by both"


class Coefficient(NamedTuple):
    """A chance-corrected agreement; None where the labels leave it undefined, with the reason."""

    value: float | None
    se: float | None = None
    why: str = ""


def confusion_matrix(reference: Sequence[int], said: Sequence[int], levels: int) -> IntArray:
    """Counts with the reference's level as row and the grader's as column, levels x levels."""
    matrix = np.zeros((levels, levels), dtype=np.int64)
    np.add.at(matrix, (np.asarray(reference, dtype=np.int64), np.asarray(said, dtype=np.int64)), 1)
    return matrix


def cohen_kappa(matrix: IntArray, *, weights: Weights = "unweighted") -> Coefficient:
    """Cohen's kappa with its large-sample standard error (Fleiss, Cohen and Everitt 1969).

    kappa = (p_o - p_e) / (1 - p_e), p_o the weighted agreement and p_e its expectation from the margins.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    n, k = float(counts.sum()), len(counts)
    if n == 0:
        return Coefficient(None, None, NO_PAIR)
    p = counts / n
    w = _weights(k, weights)
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    expected = float(rows @ w @ columns)
    if 1 - expected < TINY:
        return Coefficient(None, None, ONE_LEVEL)
    observed = float(np.sum(w * p))
    kappa = (observed - expected) / (1 - expected)
    row_mean, column_mean = w @ columns, rows @ w
    inner = w - (row_mean[:, None] + column_mean[None, :]) * (1 - kappa)
    variance = (float(np.sum(p * inner**2)) - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    return Coefficient(kappa, math.sqrt(max(0.0, variance)))


def kappa_parts(reference: IntArray, said: IntArray, levels: int, *, weights: Weights = "unweighted") -> Parts:
    """Cohen's kappa as a statistic of the counts of cells, for resampling."""
    cells = np.zeros((len(reference), levels * levels))
    cells[np.arange(len(reference)), reference * levels + said] = 1
    w = _weights(levels, weights)

    def kappa(sums: FloatArray) -> FloatArray:
        p = (sums / sums.sum(axis=1, keepdims=True)).reshape(-1, levels, levels)
        expected = np.einsum("bk,kl,bl->b", p.sum(axis=2), w, p.sum(axis=1))
        return _corrected(np.einsum("bkl,kl->b", p, w), expected)

    return Parts(cells, kappa)


def gwet_ac1(matrix: IntArray) -> Coefficient:
    """Gwet's AC1 for two graders (2008): chance agreement sum q (1 - q) / (k - 1), q the mean share of a level."""
    counts = np.asarray(matrix, dtype=np.float64)
    n, k = float(counts.sum()), len(counts)
    if n == 0:
        return Coefficient(None, None, NO_PAIR)
    if k < 2:
        return Coefficient(None, None, "a scale of one level leaves nothing to agree on")
    q = (counts.sum(axis=0) + counts.sum(axis=1)) / (2 * n)
    chance = float(np.sum(q * (1 - q))) / (k - 1)
    return Coefficient((float(np.trace(counts)) / n - chance) / (1 - chance))


def tally(marks: FloatArray, levels: Sequence[float] | None = None) -> tuple[FloatArray, FloatArray]:
    """The levels, ascending, and how many raters gave each item each of them (items x levels).

    `levels` are all levels of the scale; without them, those that were used. `ValueError` for a mark that is none of them.
    """
    marks = np.asarray(marks, dtype=np.float64)
    present = ~np.isnan(marks)
    used, codes = coded(marks[present])
    scale = used if levels is None else np.unique(np.asarray(levels, dtype=np.float64))
    if not np.all(np.isin(used, scale)):
        raise ValueError("a mark is none of the levels of the scale")
    items, k = len(marks), len(scale)
    place = np.searchsorted(scale, used)[codes] if len(used) else codes
    flat = np.nonzero(present)[0] * k + place
    return scale, np.bincount(flat, minlength=items * k).reshape(items, k).astype(np.float64)


def coded(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """The different values, ascending, and the place of each value among them."""
    if len(values) and np.all(np.abs(values) < 2**40):
        low = float(values.min())
        steps = (values - low).astype(np.int64)
        width = int(steps.max()) + 1
        if width <= 4_096 and np.array_equal(steps + low, values):  # whole numbers apart: counting beats sorting
            used = np.nonzero(np.bincount(steps, minlength=width))[0]
            place = np.zeros(width, dtype=np.int64)
            place[used] = np.arange(len(used))
            return np.add(used, low), place[steps]
    found, codes = np.unique(values, return_inverse=True)
    return found, codes.astype(np.int64)


def gwet(marks: FloatArray, *, weights: GwetWeights = "unweighted", levels: Sequence[float] | None = None) -> Coefficient:
    """Gwet's AC1 (unweighted) or AC2 for any number of raters and missing marks, with his standard error (2008, 2014).

    `marks` are items x raters. p_a = mean over items of two marks or more of sum_k r_k (sum_l w_kl r_l - 1) / (r (r - 1)),
    p_e = sum(w) / (q (q - 1)) sum_k pi_k (1 - pi_k) with pi_k the mean share of level k. Weights are linear or quadratic in
    the levels' values, or Gwet's "ordinal" ones of their ranks, which are not Krippendorff's ordinal metric. The standard
    error is that of drawing items, for these raters.
    """
    values, counts = tally(marks, levels)
    return gwet_of_counts(counts, values, weights=weights)


def gwet_of_counts(counts: FloatArray, values: FloatArray, *, weights: GwetWeights = "unweighted") -> Coefficient:
    """Gwet's AC1 or AC2 from items x levels counts, as `gwet`."""
    w = gwet_weights(values, weights)
    return _many(counts, w, _hard_to_score(w))


def gwet_parts(counts: FloatArray, values: FloatArray, *, weights: GwetWeights = "unweighted") -> Parts:
    """AC1 or AC2 as a statistic of sums over items, for resampling."""
    w = gwet_weights(values, weights)
    return _many_parts(counts, w, _hard_to_score(w))


def fleiss_kappa(counts: FloatArray | IntArray) -> Coefficient:
    """Fleiss' kappa (1971) from items x levels counts of raters, with the standard error of drawing items (Gwet 2014).

    p_e = sum pi_k^2. Where items were marked by different numbers of raters, pi_k is the mean over items of the share of
    level k, and p_a the mean over items of two marks or more.
    """
    return _many(np.asarray(counts, dtype=np.float64), np.eye(np.shape(counts)[1]), _same)


def fleiss_parts(counts: FloatArray) -> Parts:
    """Fleiss' kappa as a statistic of sums over items, for resampling."""
    return _many_parts(counts, np.eye(np.shape(counts)[1]), _same)


Chance = Callable[[FloatArray], FloatArray]  # from the shares of levels to the chance that a mark of each level meets its like


def _hard_to_score(w: FloatArray) -> Chance:
    """Gwet's chance agreement: p_e = sum pi_k scale (1 - pi_k), scale = sum(w) / (q (q - 1))."""
    scale = float(w.sum()) / max(len(w) * (len(w) - 1), 1)
    return lambda pi: np.multiply(scale, 1 - pi)


def _same(pi: FloatArray) -> FloatArray:
    """Fleiss' chance agreement: p_e = sum pi_k pi_k."""
    return pi


def _many(counts: FloatArray, w: FloatArray, chance: Chance) -> Coefficient:
    """(p_a - p_e) / (1 - p_e) over items, with Gwet's standard error (2008): what each item adds to both."""
    counts = np.asarray(counts, dtype=np.float64)
    r = counts.sum(axis=1)
    if not np.all(r > 0):  # an unmarked item is none
        counts, r = counts[r > 0], r[r > 0]
    doubly = r >= 2
    if not np.any(doubly):
        return Coefficient(None, None, "no answer has two marks")
    agreeing = _agreeing(counts, r, w)
    # the mean share of each level, without a table of all shares
    n, pi = len(r), (1 / r) @ counts / len(r)
    if np.count_nonzero(pi) < 2:
        return Coefficient(None, None, ONE_LEVEL)
    meeting = chance(pi)
    expected, observed = float(pi @ meeting), float(agreeing[doubly].mean())
    value = (observed - expected) / (1 - expected)
    each = n / doubly.sum() * np.where(doubly, agreeing - expected, 0) / (1 - expected)
    each -= 2 * (1 - value) * (counts @ meeting / r - expected) / (1 - expected)
    return Coefficient(value, math.sqrt(float(np.sum((each - value) ** 2)) / (n * (n - 1))) if n > 1 else None)


def _many_parts(counts: FloatArray, w: FloatArray, chance: Chance) -> Parts:
    r, agreeing, shares = _items(counts, w)

    def coefficient(sums: FloatArray) -> FloatArray:
        pi = sums[:, 2:] / sums[:, 2:].sum(axis=1, keepdims=True)
        observed = np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)
        return _corrected(observed, np.sum(pi * chance(pi), axis=1))

    return Parts(np.column_stack([agreeing, r >= 2, shares]), coefficient)


def gwet_weights(values: FloatArray, weights: GwetWeights) -> FloatArray:
    """Agreement weights, levels x levels: 1 on the diagonal, 0 between the ends (but unweighted: 0 off the diagonal).

    Linear: 1 - |v - w| / range. Quadratic: 1 - (v - w)^2 / range^2. Ordinal: 1 - C(d + 1, 2) / C(q, 2), d the ranks between.
    """
    q = len(values)
    if weights == "unweighted" or q < 2:
        return np.eye(q)
    rank = np.arange(q, dtype=np.float64)
    at = rank if weights == "ordinal" else values
    apart: FloatArray = np.abs(np.subtract.outer(at, at)).astype(np.float64)
    if weights == "ordinal":
        return np.subtract(1.0, apart * (apart + 1) / (q * (q - 1)))
    apart /= float(values[-1] - values[0])
    return np.subtract(1.0, apart if weights == "linear" else apart**2)


def _items(counts: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For each item: its marks, their weighted agreement (0 for one mark or none), and the shares of its levels."""
    counts = np.asarray(counts, dtype=np.float64)
    r = counts.sum(axis=1)
    return r, _agreeing(counts, r, w), counts / np.where(r > 0, r, 1.0)[:, None]


def _agreeing(counts: FloatArray, r: FloatArray, w: FloatArray) -> FloatArray:
    """The weighted agreement of the marks of each item; 0 for one mark or none."""
    like = counts if np.array_equal(w, np.eye(len(w))) else counts @ w
    agreeing = (np.einsum("ik,ik->i", counts, like) - r) / np.maximum(r * (r - 1), 1)
    return np.where(r >= 2, agreeing, 0.0)


def _corrected(observed: FloatArray, expected: FloatArray) -> FloatArray:
    """(observed - expected) / (1 - expected), NaN where chance agrees always."""
    room = 1 - expected
    return np.where(room > TINY, (observed - expected) / np.where(room > TINY, room, 1.0), np.nan)


def _weights(k: int, weights: Weights) -> FloatArray:
    distance: FloatArray = np.asarray(np.abs(np.subtract.outer(np.arange(k), np.arange(k))), dtype=np.float64)
    if weights == "unweighted":
        return np.equal(distance, 0).astype(np.float64)
    scaled: FloatArray = distance / max(k - 1, 1)
    return np.subtract(1.0, scaled if weights == "linear" else scaled**2)
