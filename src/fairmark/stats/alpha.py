"""Krippendorff's alpha: how far many raters can stand in for one another, whatever they left unmarked.

Nominal, ordinal and interval differences are squared distances, so that what a million pairs disagree is a sum of squares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from fairmark.stats.agreement import ONE_LEVEL, Coefficient, coded
from fairmark.stats.intervals import FloatArray, IntArray
from fairmark.stats.resampling import Parts

Metric = Literal["nominal", "ordinal", "interval", "ratio"]
MOST_LEVELS = 20_000  # a table of all pairs of levels, which the ratio metric needs, is no larger
FEW_LEVELS = 20  # up to which items x levels is the quickest table for the ratio metric
RANKED_ANEW = 20  # levels up to which each draw gets its own ordinal distances; beyond it keeps those of the sample
ROWS_OF_PAIRS = 500  # of the table that are held at once


def krippendorff_alpha(marks: FloatArray, *, metric: Metric = "nominal") -> Coefficient:
    """Alpha = 1 - D_o / D_e over items x raters with NaN for missing (Krippendorff 2018).

    D_o is the mean difference of two marks of an item, each item weighing as its marks; D_e that of any two marks of items
    that were marked twice. The difference of c and k is 1 (nominal), (c - k)^2 (interval), ((c - k) / (c + k))^2 (ratio, 0
    for 0 and 0), or the square of the marks between their mid-ranks (ordinal). No value where no item has two marks, where
    all marks are equal, and for a negative mark on a ratio scale.
    """
    rows, levels, codes, m = _pairable(marks)
    if not len(levels):
        return Coefficient(None, None, "no answer has two marks")
    if len(levels) < 2:
        return Coefficient(None, None, ONE_LEVEL)
    if np.isinf(levels[0]) or np.isinf(levels[-1]):
        return Coefficient(None, None, "a mark is infinite")
    n = float(len(codes))
    counts = np.bincount(codes, minlength=len(levels)).astype(np.float64)
    if metric == "ratio" and (why := _no_ratio(levels)):
        return Coefficient(None, None, why)
    if metric == "nominal":
        within = _unequal_pairs(rows, codes, m, len(levels))
        total = n * n - float(counts @ counts)
    elif metric == "ratio":
        within, total = _ratio_within(rows, levels, codes, m), _ratio_total(levels, counts)
    else:
        x = scaled(levels) if metric == "interval" else mid_ranks(counts)
        within = _squares(rows, x[codes], m)
        total = 2 * n * float(counts @ (x - counts @ x / n) ** 2)
    return Coefficient(1 - (n - 1) * float(np.sum(within / (m - 1))) / total)


def alpha_parts(marks: FloatArray, *, metric: Metric = "nominal") -> Parts:
    """Alpha as a statistic of sums over the items of two marks or more, for resampling; one row for each of them.

    Ordinal distances change with the draw up to 20 levels, and are those of all marks beyond.
    """
    rows, levels, codes, m = _pairable(marks)
    items, k = len(m), len(levels)
    counts = np.bincount(codes, minlength=k).astype(np.float64)
    if metric == "interval" or (metric == "ordinal" and k > RANKED_ANEW):
        x = (scaled(levels) if metric == "interval" else mid_ranks(counts) / max(len(codes), 1))[codes]
        x = x - x.sum() / max(len(x), 1)  # sums of squares lose no digits to a mean far from 0
        sums = np.bincount(rows, x, minlength=items)
        return Parts(np.column_stack([_squares(rows, x, m) / (m - 1), m, sums, np.bincount(rows, x * x, minlength=items)]), _of_squares)
    table = np.bincount(rows * k + codes, minlength=items * k).reshape(items, k).astype(np.float64)
    if metric == "ordinal":
        low, high = np.triu_indices(k, 1)
        return Parts(np.column_stack([table[:, low] * table[:, high] / (m - 1)[:, None], table]), _of_ranks)
    if metric == "nominal":
        return Parts(np.column_stack([_unequal_pairs(rows, codes, m, k) / (m - 1), table]), _of_levels(1 - np.eye(k)))
    return Parts(np.column_stack([_ratio_within(rows, levels, codes, m) / (m - 1), table]), _of_levels(_ratio(levels, levels)))


def chance_unequal(marks: FloatArray) -> float:
    """The chance that two marks of items that were marked twice differ at all, on any scale."""
    _, levels, codes, _ = _pairable(marks)
    n, counts = len(codes), np.bincount(codes, minlength=len(levels)).astype(np.float64)
    return (n * n - float(counts @ counts)) / (n * (n - 1)) if n > 1 else 0.0


def unequal_pairs(marks: FloatArray) -> FloatArray:
    """Ordered pairs of unequal marks of each item; of items x raters where each item has two marks or more."""
    rows, levels, codes, m = _pairable(marks)
    return _unequal_pairs(rows, codes, m, len(levels))


def mid_ranks(counts: FloatArray) -> FloatArray:
    """The mid-rank of each level, the last axis of `counts`: the marks below it and half of its own.

    Their distance is the marks between two levels with half of each: Krippendorff's ordinal difference before it is squared.
    """
    return np.cumsum(counts, axis=-1) - counts / 2


def scaled(levels: FloatArray) -> FloatArray:
    """Levels moved and stretched to -1 to 1, which changes no ratio of squared differences and overflows nothing."""
    half = levels / 2
    span = float(np.ptp(half)) if len(half) else 0.0
    return np.subtract((half - half.min()) / span * 2, 1) if span > 0 else np.zeros(len(levels))


def _no_ratio(levels: FloatArray) -> str:
    if levels[0] < 0:
        return "a ratio scale has no negative marks"
    return f"more than {MOST_LEVELS:,} different marks" if len(levels) > MOST_LEVELS else ""


def _pairable(marks: FloatArray) -> tuple[IntArray, FloatArray, IntArray, FloatArray]:
    """Of items with two marks or more: each mark's item, the levels, each mark's level, and each item's marks."""
    marks = np.asarray(marks, dtype=np.float64)
    present = ~np.isnan(marks)
    m = present.sum(axis=1)
    present &= (m >= 2)[:, None]
    m = m[m >= 2]
    levels, codes = coded(marks[present])
    return np.repeat(np.arange(len(m)), m), levels, codes, m.astype(np.float64)


def _unequal_pairs(rows: IntArray, codes: IntArray, m: FloatArray, k: int) -> FloatArray:
    """Ordered pairs of unequal marks of each item: m^2 - sum_c n_c^2."""
    items = len(m)
    if items * k <= 8 * len(codes):
        table = np.bincount(rows * k + codes, minlength=items * k).reshape(items, k).astype(np.float64)
        equal: FloatArray = np.sum(table * table, axis=1)
    else:
        cells, counts = np.unique(rows * k + codes, return_counts=True)
        equal = np.bincount(cells // k, counts.astype(np.float64) ** 2, minlength=items).astype(np.float64)
    return m * m - equal


def _squares(rows: IntArray, x: FloatArray, m: FloatArray) -> FloatArray:
    """The squared differences of all ordered pairs of marks of each item: 2 m sum (x - mean)^2."""
    away = x - (np.bincount(rows, x, minlength=len(m)) / m)[rows]
    return 2 * m * np.bincount(rows, away * away, minlength=len(m))


def _ratio(c: FloatArray, k: FloatArray) -> FloatArray:
    total = c[:, None] + k[None, :]
    apart = np.abs(c[:, None] - k[None, :])
    return np.divide(apart, total, out=np.zeros_like(total), where=total > 0) ** 2


def _ratio_within(rows: IntArray, levels: FloatArray, codes: IntArray, m: FloatArray) -> FloatArray:
    """The ratio differences of all ordered pairs of marks of each item, by a table of its levels where these are few."""
    items, k = len(m), len(levels)
    if k > FEW_LEVELS:
        return _ratio_pairs(rows, levels[codes], m)
    table = np.bincount(rows * k + codes, minlength=items * k).reshape(items, k).astype(np.float64)
    within: FloatArray = np.einsum("ik,kl,il->i", table, _ratio(levels, levels), table)
    return within


def _ratio_pairs(rows: IntArray, values: FloatArray, m: FloatArray) -> FloatArray:
    """The ratio differences of all ordered pairs of marks of each item, one pair of places after the other."""
    first = (np.cumsum(m) - m).astype(np.int64)
    place = np.arange(len(rows)) - first[rows]
    grid = np.full((len(m), int(m.max(initial=0))), np.nan)
    grid[rows, place] = values
    within = np.zeros(len(m))
    for one in range(1, grid.shape[1]):
        apart, total = grid[:, :one] - grid[:, one : one + 1], grid[:, :one] + grid[:, one : one + 1]
        differs = np.divide(apart, total, out=np.zeros_like(total), where=total > 0)
        within += 2 * np.einsum("up,up->u", differs, differs)
    return within


def _ratio_total(levels: FloatArray, counts: FloatArray) -> float:
    blocks = range(0, len(levels), ROWS_OF_PAIRS)
    return sum(float(counts[b : b + ROWS_OF_PAIRS] @ _ratio(levels[b : b + ROWS_OF_PAIRS], levels) @ counts) for b in blocks)


def _of_squares(sums: FloatArray) -> FloatArray:
    within, n, total, squares = sums.T
    return _alpha(within, n, 2 * (n * squares - total**2))


def _of_ranks(sums: FloatArray) -> FloatArray:
    pairs = sums.shape[1]
    k = round((np.sqrt(8 * pairs + 1) - 1) / 2)  # k (k - 1) / 2 pairs of levels and k levels
    low, high = np.triu_indices(k, 1)
    counts = sums[:, -k:]
    ranks, n = mid_ranks(counts), counts.sum(axis=1)
    away = ranks - (np.sum(counts * ranks, axis=1) / n)[:, None]
    within = 2 * np.sum(sums[:, :-k] * (ranks[:, low] - ranks[:, high]) ** 2, axis=1)
    return _alpha(within, n, 2 * n * np.sum(counts * away**2, axis=1))


def _of_levels(table: FloatArray) -> Callable[[FloatArray], FloatArray]:
    def alpha(sums: FloatArray) -> FloatArray:
        counts = sums[:, 1:]
        return _alpha(sums[:, 0], counts.sum(axis=1), np.einsum("bk,kl,bl->b", counts, table, counts, optimize=True))

    return alpha


def _alpha(within: FloatArray, n: FloatArray, total: FloatArray) -> FloatArray:
    """1 - D_o / D_e, NaN where no two marks differ."""
    some = total > 1e-9 * np.maximum(n, 1)
    return np.where(some, 1 - (n - 1) * within / np.where(some, total, 1.0), np.nan)
