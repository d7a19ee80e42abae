"""Two systems on the same cases: differences within a case."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, chdtrc, ndtri

from fairmark.results import Refusal
from fairmark.stats.clusters import FEW_EVENTS, FEWEST_CLUSTERS, clusters_with, numbered
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson, wilson

ENUMERATE_UP_TO = 12  # clusters; 2^12 = 4,096 sign patterns are all taken
FLIPS = 9_999
BLOCK_BYTES = 32_000_000  # sign patterns made at once take about so much memory
MOST_BUNDLES = 16_384  # clusters; more are joined at random into so many bundles that flip together


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


def _solve(score: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where the falling function `score` takes the value `target`."""
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
    """McNemar's test from the discordant counts: exact binomial, and mid-p (Fagerland, Lydersen and Laake 2013).

    Mid-p counts half the chance of the outcomes as extreme as this one: of two of them, or of the one where b = c.
    """
    n, k = b + c, min(b, c)
    if n == 0:
        return McNemar(1.0, 1.0)
    exact = min(1.0, 2 * float(bdtr(k, n, 0.5)))
    point = math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
    midp = 1 - point / 2 if b == c else 2 * float(bdtr(k, n, 0.5)) - point
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
    9,999 drawn by `rng`, the same for both ends. More than 16,384 clusters are joined at random into so many bundles that
    flip together, which is as valid a test, as bundles of independent clusters are independent.

    Where all clusters but 3 at most show one and the same difference c, such as 0, signs say too little about what was
    not met: the interval is widened to [c - (1 + c) u, c + (1 - c) v]. No difference lies below -1, so a case falls short
    of c by a share (c - d)/(1 + c) of the most it could; u is Clopper and Pearson's upper bound for the mean of these
    shares over G clusters, at the count G times their mean, and v likewise of the shares above c; clusters of unequal size
    count as n^2 / sum n_g^2 (Kish). Their error is at most the nominal one for every distribution that was enumerated (bar
    B3b of the benchmarks).

    `refused` says why there is no interval: no pair, values off the scale, or fewer than 6 clusters.
    """

    def __init__(self, differences: FloatArray, cluster: IntArray | None, *, single: bool, rng: np.random.Generator) -> None:
        self.method = "none"
        self.assumptions: tuple[str, ...] = ()
        self.refused: Refusal | None = None
        self._counts: tuple[int, int, int] | None = None
        self._few: list[tuple[float, float, float]] = []  # commonest difference, mean share fallen short of it, and risen above it
        self._groups = 0.0  # clusters of equal size that would weigh as much
        self._means: FloatArray = np.empty(0)
        self._empty = 0  # drawn patterns that flip no cluster: they reach the observed sum under every mean
        n = len(differences)
        if n == 0:
            self.refused = Refusal("NO_DATA", "there is no pair to compare", "run both systems on the same cases")
            return
        if not bool(np.all(np.abs(differences) <= 1)):  # also NaN
            self.refused = Refusal("OFF_SCALE", "a difference of scores lies outside -1 to 1", "bring the scores to the scale 0 to 1")
            return
        if single and cluster is None and bool(np.all(np.isin(differences, (-1.0, 0.0, 1.0)))):
            self.method = "Tango score interval"
            self.assumptions = ("cases are independent of one another",)
            self._counts = (int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0)), n)
            return
        index, groups = numbered(cluster, n)
        what = "clusters" if cluster is not None else "cases"
        if groups < FEWEST_CLUSTERS:
            self.refused = Refusal(
                "TOO_FEW_CLUSTERS" if cluster is not None else "TOO_FEW_CASES",
                f"{groups} {what} cannot tell how other {what} behave",
                f"collect at least {FEWEST_CLUSTERS} {what}",
            )
            return
        self.method = f"sign-flip of {groups} {what}, inverted"
        self.assumptions = (f"{what} are independent of one another", "under equality a difference is as likely to have either sign")
        for common in _commonest(differences, least=groups - FEW_EVENTS):
            if clusters_with(index, differences != common, groups) <= FEW_EVENTS:
                below = float(np.mean((common - differences).clip(0))) / (1 + common) if common > -1 else 0.0
                above = float(np.mean((differences - common).clip(0))) / (1 - common) if common < 1 else 0.0
                self._few.append((common, below, above))
        if self._few:
            self._groups = n**2 / float(np.sum(np.bincount(index, minlength=groups).astype(np.float64) ** 2))
            self.method += f", widened because at most {FEW_EVENTS} {what} show another difference than the rest"
        totals: FloatArray = np.bincount(index, weights=differences, minlength=groups).astype(np.float64)
        sizes = np.bincount(index, minlength=groups).astype(np.float64)
        means, self._empty = _subset_means(totals, sizes, rng)
        # sums of decimals such as 0.1 must not fall on the wrong side of a margin by their rounding error
        self._means = np.sort(means.round(12))

    @property
    def smallest_p(self) -> float:
        """No one-sided p can be smaller, 2^-G up to 12 clusters: at a smaller alpha nothing can be decided. 0 for Tango's interval."""
        return 0.0 if len(self._means) == 0 else (1 + self._empty) / (len(self._means) + self._empty + 1)

    def at(self, confidence_level: float) -> Interval:
        """The interval at a confidence level, each end a one-sided bound at (1 - level) / 2, within [-1, 1].

        [-1, 1] where (1 - level) / 2 is below `smallest_p`. `ValueError` where there is no interval (see `refused`).
        """
        if self.refused is not None:
            raise ValueError(f"{self.refused.code}: {self.refused.why}")
        if self._counts is not None:
            return tango(*self._counts, confidence_level=confidence_level)
        # p(m) <= alpha for every m below the k-th smallest subset mean, k = floor(alpha (B + 1)) less the empty subsets
        patterns = len(self._means) + self._empty
        place = math.floor((1 - confidence_level) / 2 * (patterns + 1) + 1e-9) - 1 - self._empty
        if place < 0:
            return Interval(-1.0, 1.0)
        low, high = max(-1.0, float(self._means[place])), min(1.0, float(self._means[-1 - place]))
        for common, below, above in self._few:
            u, v = (clopper_pearson(share * self._groups, self._groups, confidence_level=confidence_level).high for share in (below, above))
            low, high = min(low, common - (1 + common) * u), max(high, common + (1 - common) * v)
        return Interval(low, high)


def _commonest(differences: FloatArray, *, least: int) -> list[float]:
    """The commonest difference, if at least so many cases show it; all of them where several are equally common.

    So neither system is favoured.
    """
    values, counts = np.unique(differences, return_counts=True)
    most = counts.max()
    return [float(value) for value in values[counts == most]] if most >= least else []


def _subset_means(totals: FloatArray, sizes: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, int]:
    """Mean difference of subsets of clusters, all of them or as many as there are random flips, and how many drawn ones were empty."""
    groups = len(totals)
    both = np.column_stack([totals, sizes])
    if groups <= ENUMERATE_UP_TO:
        patterns = ((np.arange(1, 2**groups)[:, None] >> np.arange(groups)) & 1).astype(np.float64)
        sums = patterns @ both
        return sums[:, 0] / sums[:, 1], 0
    if groups > MOST_BUNDLES:
        bundle = rng.permutation(groups) % MOST_BUNDLES
        both = np.column_stack([np.bincount(bundle, weights=column, minlength=MOST_BUNDLES) for column in both.T])
        groups = MOST_BUNDLES
    octets = (groups + 7) // 8
    of_eight = np.zeros((octets * 8, 2))
    of_eight[:groups] = both
    # the sums that each of the 256 patterns of eight neighbours makes: a pattern of all is then a sum of one entry each
    eight_bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float64)
    tables = np.einsum("pb,obk->kop", eight_bits, of_eight.reshape(octets, 8, 2), optimize=True)
    last = np.uint8(256 - (1 << (octets * 8 - groups)))  # the bits beyond the last cluster flip nothing
    block = max(1, min(FLIPS, BLOCK_BYTES // (9 * groups)))
    sums = np.zeros((2, FLIPS))
    for start in range(0, FLIPS, block):
        rows = min(block, FLIPS - start)
        coins = rng.integers(0, 256, size=(rows, octets), dtype=np.uint8)
        coins[:, -1] &= last
        for octet, flipped in enumerate(np.ascontiguousarray(coins.T)):
            sums[0, start : start + rows] += tables[0, octet].take(flipped)
            sums[1, start : start + rows] += tables[1, octet].take(flipped)
    full = sums[1] > 0
    return sums[0, full] / sums[1, full], int(np.count_nonzero(~full))
