"""Intervals as plain pairs, and tests by inverting them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Side = Literal["low", "high"]

SMALLEST_ALPHA = 1e-9  # a smaller one-sided p is reported as this
BISECTIONS = 60
CLOSE_ENOUGH = 1e-7  # of p


class Interval(NamedTuple):
    """A lower and an upper end. Each end is the one-sided bound at (1 - confidence level) / 2."""

    low: float
    high: float


def one_sided_p(interval_at: Callable[[float], tuple[float, float]], bound: float, side: Side) -> float:
    """The one-sided p of `bound` by inversion: the smallest alpha at which the end on `side` is beyond it.

    `interval_at` gives the two-sided interval at a confidence level; its ends at level 1 - 2 alpha are the one-sided
    bounds at alpha, so that they must be nested. For `low` the hypothesis tested is that the truth is at most the bound,
    for `high` that it is at least the bound. Between 1e-9 and 1; 1 where not even the narrowest interval is beyond the
    bound. The interval at the p that is returned is always beyond it.
    """

    def beyond(alpha: float) -> bool:
        low, high = interval_at(1 - 2 * alpha)
        return low > bound if side == "low" else high < bound

    least, most = SMALLEST_ALPHA, 0.5
    if not beyond(most - SMALLEST_ALPHA):
        return 1.0
    if beyond(least):
        return least
    for _ in range(BISECTIONS):
        middle = (least * most) ** 0.5 if most > 4 * least else (least + most) / 2
        if beyond(middle):
            most = middle
        else:
            least = middle
        if most - least < CLOSE_ENOUGH * most:
            break
    # the p of a permutation test is a round number, such as 0.025: rounding error must not put it beyond that level
    rounded = float(f"{most:.5g}")
    return rounded if least <= rounded < most and beyond(rounded) else most


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p values, in the order given (Holm 1979)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order]), 1.0)
    return tuple(adjusted.tolist())


def benjamini_hochberg(p: Sequence[float], *, dependent: bool = False) -> tuple[float, ...]:
    """Adjusted p values of Benjamini and Hochberg (1995), or of Benjamini and Yekutieli (2001) under any dependence."""
    values = np.asarray(p, dtype=np.float64)
    count = len(values)
    order = np.argsort(values, kind="stable")[::-1]
    factor = float(np.sum(1 / np.arange(1, count + 1))) if dependent else 1.0
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.minimum.accumulate(values[order] * (count * factor) / np.arange(count, 0, -1)), 1.0)
    return tuple(adjusted.tolist())


def holm_levels(p: Sequence[float], alpha: float) -> tuple[float, ...]:
    """The one-sided level at which each hypothesis is judged by Holm's step-down.

    A rejected hypothesis is judged at alpha / (m - k + 1) at its step k, all others at the level at which the step-down
    stopped. An interval at these levels excludes the tested value exactly for the rejected ones.
    """
    order = np.argsort(p, kind="stable")
    count = len(p)
    levels = np.empty(count)
    for rank, index in enumerate(order):
        level = alpha / (count - rank)
        if p[index] > level:
            levels[order[rank:]] = level
            break
        levels[index] = level
    return tuple(float(level) for level in levels)


def bh_levels(p: Sequence[float], alpha: float) -> tuple[float, ...]:
    """The one-sided level at which each hypothesis is judged by Benjamini and Hochberg: alpha R / m for R rejections.

    Intervals at this level are those of Benjamini and Yekutieli (2005), whose false coverage rate is alpha; they exclude
    the tested value exactly for the rejected ones.
    """
    count = len(p)
    ranked = np.sort(np.asarray(p, dtype=float))
    rejected = max((rank for rank in range(1, count + 1) if ranked[rank - 1] <= alpha * rank / count), default=0)
    return (alpha * (max(rejected, 1) / count),) * count if count else ()
