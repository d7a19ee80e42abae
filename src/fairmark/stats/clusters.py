"""Means of cases that belong together in clusters, or that were tried several times."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson, jeffreys

FEW_EVENTS = 3  # at most so many clusters with a pass, or with a fail: no more information than one response a cluster
FEWEST_CLUSTERS = 6
BETTING_BELOW = 20  # clusters; under this a mean of scores gets the betting interval
TINY = 1e-12


class ClusteredMean(NamedTuple):
    """A mean with the precision its clusters leave it."""

    value: float
    se: float
    n_effective: float  # independent responses of the same precision
    n_star: float  # the same after the t correction and the few-events rule: what the interval uses
    design_effect: float | None  # variance against that of independent responses; None where that is 0
    n_clusters: int
    n: int


def clustered_mean(y: FloatArray, cluster: IntArray, *, capped: bool | None = None) -> ClusteredMean:
    """The mean of y in [0, 1] with its cluster-linearised variance and Korn and Graubard's effective n (1998).

    V = G/(G-1) sum e_g^2 / n^2 with e_g the sum of y - p in cluster g; n_eff = p(1-p)/V, G where V is 0, and at most n
    for 0/1 scores (`capped`; default: whether all are 0 or 1); n* = n_eff (t_{n-1} / t_{G-1})^2 at 95%. Where at most
    3 clusters hold a pass, or a fail, n* is at most G.
    """
    n = len(y)
    labels, index = np.unique(cluster, return_inverse=True)
    groups = len(labels)
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
        n_star *= (float(stdtrit(n - 1, 0.975)) / float(stdtrit(groups - 1, 0.975))) ** 2
    with_pass = len(np.unique(index[y > 0]))
    with_fail = len(np.unique(index[y < 1]))
    if min(with_pass, with_fail) <= FEW_EVENTS:
        n_star = min(n_star, float(groups))
    naive = float(np.var(y)) / n
    return ClusteredMean(p, math.sqrt(variance), n_effective, n_star, variance / naive if naive > TINY else None, groups, n)


def korn_graubard(y: FloatArray, cluster: IntArray, *, confidence_level: float = 0.95, capped: bool | None = None) -> Interval:
    """The exact interval at the effective counts p n* in n* of `clustered_mean`."""
    mean = clustered_mean(y, cluster, capped=capped)
    return clopper_pearson(mean.value * mean.n_star, mean.n_star, confidence_level=confidence_level)


def cluster_t(y: FloatArray, cluster: IntArray, *, confidence_level: float = 0.95) -> Interval:
    """The t interval on the linearised variance with G - 1 degrees of freedom; it undercovers near 0 and 1."""
    mean = clustered_mean(y, cluster)
    half = float(stdtrit(mean.n_clusters - 1, 0.5 + confidence_level / 2)) * mean.se
    return Interval(mean.value - half, mean.value + half)


def betting(x: FloatArray, *, confidence_level: float = 0.95, cuts: int = 200) -> Interval:
    """The hedged-capital interval for the mean of independent x in [0, 1] (Waudby-Smith and Ramdas 2024, theorem 3, c = 1/2).

    Valid at every n, 1.5 to 3 times wider than a normal one. The capital K+- (m) = prod(1 +- lambda_t (x_t - m)) with
    lambda_t = min(sqrt(2 log(2/alpha) / (n s^2_{t-1})), c/m or c/(1-m)); m is excluded where either half exceeds
    2/alpha. The order of x matters a little, so that callers fix it.
    """
    alpha = 1 - confidence_level
    n = len(x)
    steps = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(x)) / (steps + 1)
    spread = (0.25 + np.cumsum((x - mean) ** 2)) / (steps + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    stake = np.sqrt(2 * math.log(2 / alpha) / (n * before))

    def excluded(m: float) -> bool:
        up = np.sum(np.log1p(np.minimum(stake, 0.5 / max(m, TINY)) * (x - m)))
        down = np.sum(np.log1p(-np.minimum(stake, 0.5 / max(1 - m, TINY)) * (x - m)))
        return bool(max(up, down) >= math.log(2 / alpha))

    centre = min(max(float(np.mean(x)), 0.0), 1.0)
    if excluded(centre):  # the capital at the mean itself never grows; guard against rounding at the ends
        return Interval(0.0, 1.0)
    return Interval(_edge(excluded, centre, 0.0, cuts), _edge(excluded, centre, 1.0, cuts))


def _edge(excluded: object, inside: float, end: float, cuts: int) -> float:
    """The border between what is kept and what is excluded, on the way from `inside` to `end`."""
    assert callable(excluded)
    if not excluded(end):
        return end
    kept, out = inside, end
    for _ in range(cuts):
        middle = (kept + out) / 2
        if excluded(middle):
            out = middle
        else:
            kept = middle
        if abs(out - kept) < 1e-9:
            break
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
