"""Proportions of independent cases: x of n."""

from __future__ import annotations

import math

from scipy.special import betaincinv, ndtri

from fairmark.stats.intervals import Interval


def clopper_pearson(x: float, n: float, *, confidence_level: float = 0.95) -> Interval:
    """The exact interval of x in n (Clopper and Pearson 1934): Beta quantiles, also for the effective counts of 1.2."""
    alpha = (1 - confidence_level) / 2
    low = 0.0 if x <= 0 else float(betaincinv(x, n - x + 1, alpha))
    high = 1.0 if x >= n else float(betaincinv(x + 1, n - x, 1 - alpha))
    return Interval(low, high)


def wilson(x: float, n: float, *, confidence_level: float = 0.95) -> Interval:
    """The score interval (Wilson 1927). It covers 95% on average over p, and down to 90% at some p."""
    z = float(ndtri(0.5 + confidence_level / 2))
    p, factor = x / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / factor
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / factor
    return Interval(0.0 if x <= 0 else max(0.0, middle - half), 1.0 if x >= n else min(1.0, middle + half))


def jeffreys(x: float, n: float, *, confidence_level: float = 0.95) -> Interval:
    """Quantiles of Beta(x + 1/2, n - x + 1/2), the ends forced to 0 at x = 0 and 1 at x = n (Brown, Cai and DasGupta 2001)."""
    alpha = (1 - confidence_level) / 2
    low = 0.0 if x <= 0 else float(betaincinv(x + 0.5, n - x + 0.5, alpha))
    high = 1.0 if x >= n else float(betaincinv(x + 0.5, n - x + 0.5, 1 - alpha))
    return Interval(low, high)


def most_failures_unseen(n: int, *, alpha: float = 0.05) -> float:
    """After n passes and no failure: the largest failure rate that is not excluded at one-sided alpha, 1 - alpha^(1/n)."""
    return 1 - math.pow(alpha, 1 / n)


def mover_difference(first: float, first_within: Interval, second: float, second_within: Interval) -> Interval:
    """The interval of first - second from two independent estimates and their own intervals at the same level.

    low = d - hypot(first - l1, u2 - second), high = d + hypot(u1 - first, second - l2), kept within [-1, 1] (method of
    variance estimates recovery, Zou and Donner 2008).
    """
    difference = first - second
    return Interval(
        max(-1.0, difference - math.hypot(first - first_within.low, second_within.high - second)),
        min(1.0, difference + math.hypot(first_within.high - first, second - second_within.low)),
    )


def newcombe_difference(x1: float, n1: float, x2: float, n2: float, *, confidence_level: float = 0.95) -> Interval:
    """The interval of x1/n1 - x2/n2 for independent samples: hybrid score, method 10 of Newcombe (1998)."""
    first, second = wilson(x1, n1, confidence_level=confidence_level), wilson(x2, n2, confidence_level=confidence_level)
    return mover_difference(x1 / n1, first, x2 / n2, second)
