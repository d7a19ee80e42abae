"""Means of cases that belong together in clusters, or that were tried several times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson, jeffreys, mover_difference

FEW_EVENTS = 3  # at most so many clusters with a pass, or with a fail: no more information than one response a cluster
FEWEST_CLUSTERS = 6
BETTING_BELOW = 20  # clusters; under this a mean of scores gets the betting interval
TINY = 1e-12
NARROWEST = 1e-6  # confidence level below which a ratio of t quantiles would be 0/0
BETTING_TUNED_TO = 0.05  # two-sided alpha for which the stakes are best; at other levels they stay valid
BETTING_ORDERS = 16  # orders of the units over which the capital is averaged


class ClusteredMean(NamedTuple):
    """A mean with the precision its clusters leave it."""

    value: float
    se: float
    n_effective: float  # independent responses of the same precision
    n_star: float  # the same after the t correction and the few-events rule: what the interval uses
    design_effect: float | None  # variance against that of independent responses; None where that is 0
    n_clusters: int
    n: int


def numbered(cluster: IntArray | None, n: int) -> tuple[IntArray, int]:
    """The clusters of n responses numbered from 0 in the order of their codes, and how many there are; each its own without any.

    Codes that are small whole numbers are counted instead of sorted, as sorting a million of them takes longest of all.
    """
    if cluster is None:
        return np.arange(n), n
    codes = np.asarray(cluster)
    if len(codes) and codes.dtype.kind in "iu" and codes.min() >= 0 and codes.max() < 4 * len(codes):
        there = np.bincount(codes) > 0
        return (codes if there.all() else (np.cumsum(there) - 1)[codes]), int(np.count_nonzero(there))
    labels, index = np.unique(codes, return_inverse=True)
    return index, len(labels)


def clusters_with(index: IntArray, which: NDArray[np.bool_], groups: int) -> int:
    """In how many of the clusters, numbered as by `numbered`, some response is one of `which`."""
    return int(np.count_nonzero(np.bincount(index[which], minlength=groups)))


def clustered_mean(y: FloatArray, cluster: IntArray, *, confidence_level: float = 0.95, capped: bool | None = None) -> ClusteredMean:
    """The mean of y in [0, 1] with its cluster-linearised variance and Korn and Graubard's effective n (1998).

    V = G/(G-1) sum e_g^2 / n^2 with e_g the sum of y - p in cluster g; n_eff = p(1-p)/V, G where V is 0, and at most n
    for 0/1 scores (`capped`; default: whether all are 0 or 1); n* = n_eff (t_{n-1} / t_{G-1})^2 with the quantiles of
    this level, as a smaller alpha asks more of few clusters. Where at most 3 clusters hold a pass, or a fail, n* is at
    most G.
    """
    n = len(y)
    index, groups = numbered(cluster, n)
    p = float(np.mean(y))
    totals = np.bincount(index, weights=y - p, minlength=groups)
    variance = groups / (groups - 1) * float(np.sum(totals**2)) / n**2 if groups > 1 else 0.0
    if capped is None:
        capped = bool(np.all((y == 0) | (y == 1)))
    spread = p * (1 - p)
    n_effective = spread / variance if variance > TINY else float(groups)
    if capped:
        n_effective = min(n_effective, float(n))
    n_star = n_effective
    if groups > 1:
        quantile = 0.5 + max(confidence_level, NARROWEST) / 2
        n_star *= (float(stdtrit(n - 1, quantile)) / float(stdtrit(groups - 1, quantile))) ** 2
    if min(clusters_with(index, y > 0, groups), clusters_with(index, y < 1, groups)) <= FEW_EVENTS:
        n_star = min(n_star, float(groups))
    naive = float(np.var(y)) / n
    return ClusteredMean(p, math.sqrt(variance), n_effective, n_star, variance / naive if naive > TINY else None, groups, n)


def korn_graubard(y: FloatArray, cluster: IntArray, *, confidence_level: float = 0.95, capped: bool | None = None) -> Interval:
    """The exact interval at the effective counts p n* in n* of `clustered_mean`."""
    mean = clustered_mean(y, cluster, confidence_level=confidence_level, capped=capped)
    return clopper_pearson(mean.value * mean.n_star, mean.n_star, confidence_level=confidence_level)


def unpaired_difference(
    first: FloatArray,
    first_cluster: IntArray | None,
    second: FloatArray,
    second_cluster: IntArray | None,
    *,
    confidence_level: float = 0.95,
) -> Interval:
    """The interval of the mean of `first` minus that of `second` where the two share no case: MOVER on their own intervals.

    These are Clopper and Pearson's for 0/1 cases without clusters, else Korn and Graubard's. Conservative where clusters
    are shared, as what they share cancels in the difference and not in the two intervals.
    """

    def one(y: FloatArray, cluster: IntArray | None) -> Interval:
        if cluster is None and bool(np.all((y == 0) | (y == 1))):
            return clopper_pearson(float(np.sum(y)), len(y), confidence_level=confidence_level)
        return korn_graubard(y, np.arange(len(y)) if cluster is None else cluster, confidence_level=confidence_level)

    return mover_difference(float(np.mean(first)), one(first, first_cluster), float(np.mean(second)), one(second, second_cluster))


def cluster_t(y: FloatArray, cluster: IntArray, *, confidence_level: float = 0.95) -> Interval:
    """The t interval on the linearised variance with G - 1 degrees of freedom; it undercovers near 0 and 1."""
    mean = clustered_mean(y, cluster)
    half = float(stdtrit(mean.n_clusters - 1, 0.5 + confidence_level / 2)) * mean.se
    return Interval(mean.value - half, mean.value + half)


def betting(y: FloatArray, cluster: IntArray | None = None, *, confidence_level: float = 0.95) -> Interval:
    """The hedged-capital interval for a mean of scores in [0, 1] (Waudby-Smith and Ramdas 2024, theorem 3, c = 1/2).

    Valid for few independent units, 1.5 to 3 times wider than a normal interval. A unit is a case, or a cluster g that
    enters with its total S_g and size n_g as (S_g - m n_g) / largest size, which has mean 0 where the mean of all
    responses is m, whatever the sizes. The capital K+-(m) = prod(1 +- lambda_t (S_t - m n_t)/largest) with
    lambda_t = min(sqrt(2 log(2/a) / (G s^2_{t-1})), c/m or c/(1-m)); m is excluded where either capital reaches
    2/alpha. The stakes are those of a = .05 at every level, so that intervals are nested. The capital is averaged over
    fixed random orders of the units, as the order of a file (easy cases first) is not a random one.
    """
    index, groups = numbered(cluster, len(y))
    sizes = np.bincount(index, minlength=groups).astype(np.float64)
    totals = np.bincount(index, weights=y, minlength=groups)
    rng = np.random.default_rng(groups)
    order = rng.permuted(np.tile(np.arange(groups), (BETTING_ORDERS, 1)), axis=1)
    total, size = totals[order] / sizes.max(), sizes[order] / sizes.max()
    steps = np.arange(1, groups + 1)
    running = (0.5 + np.cumsum(total, axis=1)) / (1 + np.cumsum(size, axis=1))
    spread = (0.25 + np.cumsum((total - running * size) ** 2, axis=1)) / (steps + 1)
    before = np.concatenate([np.full((BETTING_ORDERS, 1), 0.25), spread[:, :-1]], axis=1)
    stake = np.sqrt(2 * math.log(2 / BETTING_TUNED_TO) / (groups * before))
    threshold = math.log(2 / (1 - confidence_level))

    def too_low(m: float) -> bool:
        bets = np.minimum(stake, 0.5 / max(m, TINY)) * (total - m * size)
        return _log_mean(np.log1p(bets).sum(axis=1)) >= threshold

    def too_high(m: float) -> bool:
        bets = np.minimum(stake, 0.5 / max(1 - m, TINY)) * (total - m * size)
        return _log_mean(np.log1p(-bets).sum(axis=1)) >= threshold

    centre = min(max(float(np.mean(y)), 0.0), 1.0)
    return Interval(_edge(too_low, centre, 0.0), _edge(too_high, centre, 1.0))


def _log_mean(logs: FloatArray) -> float:
    """The logarithm of the mean, from logarithms, without overflow."""
    most = float(logs.max())
    return most + math.log(float(np.mean(np.exp(logs - most))))


def _edge(excluded: Callable[[float], bool], inside: float, end: float) -> float:
    """The border between what is kept and what is excluded on the way from `inside`, which is always kept, to `end`."""
    if not excluded(end):
        return end
    kept, out = inside, end
    while abs(out - kept) > 1e-12:
        middle = (kept + out) / 2
        if excluded(middle):
            out = middle
        else:
            kept = middle
    return out


def hurdle(y: FloatArray, cluster: IntArray | None, *, confidence_level: float = 0.95) -> tuple[float, Interval]:
    """The mean of scores that are 0 where a must-pass rule failed, with its interval.

    mean = pi mu, pi the share above 0 (Jeffreys, or Korn and Graubard with clusters) and mu the mean of the rest (Korn
    and Graubard, uncapped); MOVER on logs: low = mean exp(-hypot(log(pi/l_pi), log(mu/l_mu))), high likewise.
    """
    n = len(y)
    passed = y > 0
    x = int(np.count_nonzero(passed))
    if x == 0:
        bound = (
            jeffreys(0, n, confidence_level=confidence_level)
            if cluster is None
            else korn_graubard(y, cluster, confidence_level=confidence_level)
        )
        return 0.0, Interval(0.0, bound.high)
    pi = x / n
    if cluster is None:
        share = jeffreys(x, n, confidence_level=confidence_level)
        units = np.arange(x)
    else:
        share = korn_graubard(passed.astype(np.float64), cluster, confidence_level=confidence_level)
        units = cluster[passed]
    mu = float(np.mean(y[passed]))
    rest = korn_graubard(y[passed], units, confidence_level=confidence_level, capped=False)
    low = pi * mu * math.exp(-math.hypot(_log_ratio(pi, share.low), _log_ratio(mu, rest.low)))
    high = pi * mu * math.exp(math.hypot(_log_ratio(share.high, pi), _log_ratio(rest.high, mu)))
    return pi * mu, Interval(max(0.0, low), min(1.0, high))


def _log_ratio(larger: float, smaller: float) -> float:
    if smaller <= 0:
        return math.inf if larger > 0 else 0.0
    return max(0.0, math.log(larger / smaller))
