"""Resampling whole items, or whole clusters of them, for statistics that see the items through sums alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from fairmark.stats.intervals import FloatArray, IntArray, Interval

RESAMPLES = 1_999  # with these the end at .025 is the 50th of the ordered draws
BLOCK = 4_000_000  # weights that are held at once
FEW_ROWS = 20  # units for each different row


class Parts(NamedTuple):
    """A statistic of sums over items. Most coefficients of agreement are one: counts of cells, of levels, of disagreements."""

    of: FloatArray  # items x parts: what each item adds to the sums
    statistic: Callable[[FloatArray], FloatArray]  # from sums, draws x parts, to values; NaN where they leave it undefined

    def value(self) -> float | None:
        """The statistic of all items; None where it is undefined."""
        value = float(self.statistic(self.of.sum(axis=0)[None, :])[0]) if len(self.of) else math.nan
        return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The draws of a statistic, and the interval they give at any level: bias-corrected and accelerated (Efron 1987).

    The end at alpha is the draw at Phi(z0 + (z0 + z) / (1 - a (z0 + z))), z the normal quantile of alpha, z0 that of the
    share of draws below the value (ties count half), a = sum d^3 / (6 (sum d^2)^1.5) with d how far leaving out one unit
    lowers the value. The ends are nested in the level and hold the value; at levels that the number of draws cannot tell
    apart they are `lowest` and `highest`.
    """

    value: float
    draws: FloatArray  # ascending, the undefined ones left out
    undefined: float  # share of draws in which the statistic is undefined
    z0: float
    acceleration: float
    units: int  # items, or clusters of them
    lowest: float
    highest: float

    def at(self, confidence_level: float) -> Interval:
        alpha = (1 - confidence_level) / 2
        if alpha * (len(self.draws) + 1) < 1:
            return Interval(self.lowest, self.highest)
        return Interval(min(self.value, self._end(alpha)), max(self.value, self._end(1 - alpha)))

    def _end(self, alpha: float) -> float:
        shifted = self.z0 + float(ndtri(alpha))
        slope = 1 - self.acceleration * shifted
        # past the pole of the formula the end lies beyond every draw
        share = float(ndtr(self.z0 + shifted / slope)) if slope > 0 else float(shifted > 0)
        place = min(max(share * (len(self.draws) + 1), 1.0), float(len(self.draws)))
        below = int(place)
        above = min(below + 1, len(self.draws))
        return float(self.draws[below - 1] + (place - below) * (self.draws[above - 1] - self.draws[below - 1]))


def bootstrap(
    parts: Parts,
    cluster: IntArray | None = None,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> Bootstrap:
    """Draws of the statistic with items, or whole clusters, drawn with replacement. The order of items does not matter.

    `ValueError` where the statistic is undefined on all items, where there is no draw in which it is defined, and for a
    cluster of another length.
    """
    value = parts.value()
    if value is None:
        raise ValueError("the statistic is undefined on these items, so there is nothing to resample")
    every = in_order(parts.of if cluster is None else by_cluster(parts.of, cluster))
    of, counts = _different(every)
    units = len(every)
    if FEW_ROWS * len(of) < units:  # then drawing how often each different row comes beats drawing unit by unit
        sums = (weights @ of for weights in _drawn(counts, resamples, rng))
    else:
        sums = (weights @ every for weights in resampled(units, resamples, rng))
    drawn = np.concatenate([parts.statistic(one) for one in sums])
    draws = np.sort(drawn[np.isfinite(drawn)])
    if not len(draws):
        raise ValueError("the statistic is undefined in every draw")
    share = (np.searchsorted(draws, value - 1e-12) + np.searchsorted(draws, value + 1e-12)) / (2 * len(draws))
    z0 = float(ndtri(min(max(share, 0.5 / len(draws)), 1 - 0.5 / len(draws))))
    without = parts.statistic(counts @ of - of)
    times, without = counts[np.isfinite(without)], without[np.isfinite(without)]
    lowers = without @ times / times.sum() - without if len(without) else without
    spread = float(lowers**2 @ times) ** 1.5
    acceleration = float(lowers**3 @ times) / (6 * spread) if spread > 1e-30 else 0.0
    return Bootstrap(value, draws, 1 - len(draws) / resamples, z0, acceleration, units, lowest, highest)


def by_cluster(of: FloatArray, cluster: IntArray) -> FloatArray:
    """The sums of each cluster, clusters x parts."""
    if len(cluster) != len(of):
        raise ValueError(f"{len(of)} items and {len(cluster)} clusters do not belong together")
    labels, index = np.unique(cluster, return_inverse=True)
    sums = np.zeros((len(labels), of.shape[1]))
    np.add.at(sums, index, of)
    return sums


def in_order(of: FloatArray) -> FloatArray:
    """The rows sorted by what they hold, so that the same seed draws the same whatever order the items came in."""
    return of[np.lexsort(of.T)] if of.shape[1] else of


def resampled(units: int, resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each unit is drawn, draws x units, in blocks."""
    block = max(1, BLOCK // max(units, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        picks = rng.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        yield np.bincount(picks.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def _different(of: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The different rows of sorted ones, and how often each occurs."""
    starts = np.nonzero(np.concatenate([[True], np.any(of[1:] != of[:-1], axis=1)]))[0]
    return of[starts], np.diff(starts, append=len(of)).astype(np.float64)


def _drawn(counts: FloatArray, resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each different row is drawn, draws x rows, in blocks."""
    units, block = int(counts.sum()), max(1, BLOCK // len(counts))
    for start in range(0, resamples, block):
        yield rng.multinomial(units, counts / units, size=min(block, resamples - start)).astype(np.float64)
