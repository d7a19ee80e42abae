"""Two systems on the same cases: differences within a case."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, chdtrc, ndtri

from fairmark.results import Refusal
from fairmark.stats.clusters import FEW_EVENTS, FEWEST_CLUSTERS
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import wilson

ENUMERATE_UP_TO = 12  # clusters; 2^12 = 4,096 sign patterns are all taken
FLIPS = 9_999
BLOCK = 512  # sign patterns made at once, so that memory stays small


def tango(b: int, c: int, n: int, *, confidence_level: float = 0.95) -> Interval:
    """The score interval of (b - c)/n for paired 0/1 outcomes (Tango 1998); b and c are the discordant counts.

    Each end solves (b - c - n d) / sqrt(n (2 q + d (1 - d))) = +-z, q the larger root of
    2 n q^2 + (-b - c + (2 n - b + c) d) q - c d (1 - d) = 0. With b = c = 0 it is +-Wilson's upper end of 0 in n.
    """
    z = float(ndtri(0.5 + confidence_level / 2))

    def score(d: float) -> float:
        linear = -b - c + (2 * n - b + c) * d
        root = (-linear + math.sqrt(max(0.0, linear * linear + 8 * n * c * d * (1 - d)))) / (4 * n)
        variance = n * (2 * root + d * (1 - d))
        distance = b - c - n * d
        if variance <= 0:
            return 0.0 if abs(distance) < 1e-12 else math.copysign(math.inf, distance)
        return distance / math.sqrt(variance)

    if b == 0 and c == 0:
        end = wilson(0, n, confidence_level=confidence_level).high
        return Interval(-end, end)
    middle = (b - c) / n
    return Interval(_solve(score, z, -1.0, middle), _solve(score, -z, middle, 1.0))


def _solve(score: object, target: float, low: float, high: float) -> float:
    """Where the falling function `score` takes the value `target`."""
    assert callable(score)
    if score(low) <= target:
        return low
    if score(high) >= target:
        return high
    for _ in range(200):
        middle = (low + high) / 2
        if score(middle) > target:
            low = middle
        else:
            high = middle
        if high - low < 1e-14:
            break
    return (low + high) / 2


class McNemar(NamedTuple):
    """Two-sided p of the hypothesis that both systems pass equally often."""

    exact: float
    midp: float


def mcnemar(b: int, c: int) -> McNemar:
    """McNemar's test from the discordant counts: exact binomial, and mid-p (Fagerland, Lydersen and Laake 2013)."""
    n, k = b + c, min(b, c)
    if n == 0:
        return McNemar(1.0, 1.0)
    exact = min(1.0, 2 * float(bdtr(k, n, 0.5)))
    point = math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
    midp = 1 - point if b == c else 2 * float(bdtr(k, n, 0.5)) - point
    return McNemar(exact, min(1.0, midp))


def mcnemar_chi2(b: int, c: int) -> tuple[float, float, float, float]:
    """The chi-squared statistics without and with continuity correction, and their p values."""
    n = b + c
    plain = (b - c) ** 2 / n if n else 0.0
    corrected = max(0.0, abs(b - c) - 1) ** 2 / n if n else 0.0
    return plain, corrected, float(chdtrc(1, plain)), float(chdtrc(1, corrected))


class PairedIntervals:
    """The intervals of a mean difference at every confidence level, and what they rest on.

    Differences that are all -1, 0 or 1, one a case and without clusters, get Tango's score interval. All others get the
    inverted cluster sign-flip test: under a mean of m, each cluster's total of (difference - m) may change its sign. As
    the sum of squares does not change with the signs, the studentised statistic orders sign patterns as their sums do,
    and a pattern that flips the set F of clusters reaches the observed sum exactly where m is at least
    (total difference of F) / (cases in F). The test of "at most m" therefore counts the subsets whose mean is at most
    m, the empty one always: p(m) = (1 + #{mean of F <= m}) / (B + 1), and the lower bound at alpha is an order
    statistic of those subset means (Hartigan 1969 on typical values). All 2^G - 1 subsets up to 12 clusters, else
    9,999 drawn by `rng`, the same for both ends. Where at most 3 clusters show any difference, signs carry too little:
    the interval is widened to Tango's for clusters that favour one side, as no cluster can differ by more than 1.
    """

    def __init__(self, differences: FloatArray, cluster: IntArray | None, *, single: bool, rng: np.random.Generator) -> None:
        self.refused: Refusal | None = None
        self.assumptions: tuple[str, ...]
        n = len(differences)
        ternary = bool(np.all(np.isin(differences, (-1.0, 0.0, 1.0))))
        self._counts: tuple[int, int, int] | None = None
        self._few: tuple[int, int, int] | None = None
        self._means: FloatArray = np.empty(0)
        if n == 0:
            self.method = "none"
            self.assumptions = ()
            self.refused = Refusal("NO_DATA", "there is no pair to compare", "run both systems on the same cases")
            return
        if ternary and single and cluster is None:
            self.method = "Tango score interval"
            self.assumptions = ("cases are independent of one another",)
            self._counts = (int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0)), n)
            return
        units = cluster if cluster is not None else np.arange(n)
        labels, index = np.unique(units, return_inverse=True)
        groups = len(labels)
        what = "clusters" if cluster is not None else "cases"
        self.method = f"sign-flip of {groups} {what}, inverted"
        self.assumptions = (f"{what} are independent of one another", "under equality a difference is as likely to have either sign")
        if groups < FEWEST_CLUSTERS:
            self.refused = Refusal(
                "TOO_FEW_CLUSTERS" if cluster is not None else "TOO_FEW_CASES",
                f"{groups} {what} cannot tell how other {what} behave",
                f"collect at least {FEWEST_CLUSTERS} {what}",
            )
            return
        totals = np.bincount(index, weights=differences, minlength=groups)
        sizes = np.bincount(index, minlength=groups).astype(np.float64)
        leaning = (int(np.count_nonzero(totals > 0)), int(np.count_nonzero(totals < 0)), groups)
        differing = len(np.unique(index[differences != 0]))
        if differing <= FEW_EVENTS:
            self._few = leaning if differing == sum(leaning[:2]) else (differing, differing, max(groups, 2 * differing))
            self.method += f", widened because only {differing} {what} differ"
        elif not np.any(differences != differences[0]):
            self.refused = Refusal(
                "NO_VARIATION",
                f"all {n} differences are the same, so their spread is unknown",
                f"add {what}, or compare on a level of the criterion, whose interval needs no spread",
            )
            return
        self._means = np.sort(_subset_means(totals, sizes, rng))

    def at(self, confidence_level: float) -> Interval:
        """The interval at a confidence level, each end a one-sided bound at (1 - level) / 2, within [-1, 1]."""
        if self._counts is not None:
            return tango(*self._counts, confidence_level=confidence_level)
        # p(m) <= alpha for every m below the k-th smallest subset mean, k = floor(alpha (B + 1))
        place = math.floor((1 - confidence_level) / 2 * (len(self._means) + 1) + 1e-9) - 1
        if place < 0:
            return Interval(-1.0, 1.0)
        low, high = max(-1.0, float(self._means[place])), min(1.0, float(self._means[-1 - place]))
        if self._few is not None:
            wide = tango(*self._few, confidence_level=confidence_level)
            low, high = min(low, wide.low), max(high, wide.high)
        return Interval(low, high)


def _subset_means(totals: FloatArray, sizes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Mean difference of subsets of clusters: all that are not empty, or as many as there are random flips."""
    groups = len(totals)
    if groups <= ENUMERATE_UP_TO:
        patterns = ((np.arange(1, 2**groups)[:, None] >> np.arange(groups)) & 1).astype(np.float64)
        means: FloatArray = (patterns @ totals) / (patterns @ sizes)
        return means
    parts = []
    for start in range(0, FLIPS, BLOCK):
        flipped = rng.integers(0, 2, size=(min(BLOCK, FLIPS - start), groups)).astype(np.float64)
        empty = ~flipped.any(axis=1)
        flipped[empty, 0] = 1.0  # the empty subset has no mean; it is counted once by itself
        parts.append((flipped @ totals) / (flipped @ sizes))
    return np.concatenate(parts)
