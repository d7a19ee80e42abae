"""What a success costs, and how good a system must be to be worth its price."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from fairmark.results import Refusal
from fairmark.stats.clusters import clustered_mean
from fairmark.stats.intervals import FloatArray, IntArray, Interval
from fairmark.stats.proportions import clopper_pearson


class CostPerSuccess(NamedTuple):
    """Mean cost over mean success, with Fieller's interval."""

    ratio: float | None  # None without any success
    interval: Interval | None  # None where it is refused
    at_least: float  # the one-sided lower bound, which always exists
    g: float | None  # t^2 var(s) / s^2: from 1 on, the data do not bound the ratio from above
    refused: Refusal | None


def cost_per_success(
    cost: FloatArray, success: FloatArray, cluster: IntArray | None = None, *, confidence_level: float = 0.95
) -> CostPerSuccess:
    """The cost of one success: Fieller's interval (1954) on the totals of cases or clusters, with G - 1 degrees of freedom.

    It holds every r for which a t test does not reject that cost - r success has mean 0. Costs are at least 0, successes
    in [0, 1]. Refused with fewer than 2 units, and where successes vary so much that no upper end exists. Without any
    success the lower bound is the mean cost over the upper bound of the success rate.
    """
    n = len(cost)
    labels, index = np.unique(np.arange(n) if cluster is None else cluster, return_inverse=True)
    groups = len(labels)
    more = "collect more cases, until successes are common enough to bound the ratio"
    if groups < 2:
        return CostPerSuccess(None, None, 0.0, None, Refusal("NO_DATA", f"{groups} units have no spread", more))
    c = np.bincount(index, weights=cost, minlength=groups)
    s = np.bincount(index, weights=success, minlength=groups)
    c_mean, s_mean = float(np.mean(c)), float(np.mean(s))
    if s_mean == 0:
        n_star = clustered_mean(success, index).n_star
        lower = float(np.mean(cost)) / clopper_pearson(0, n_star, confidence_level=confidence_level).high
        return CostPerSuccess(None, None, lower, None, Refusal("NO_SUCCESS", f"none of {n} attempts succeeded", more))
    t2 = float(stdtrit(groups - 1, 0.5 + confidence_level / 2)) ** 2
    spread = np.cov(c, s) / groups
    g = t2 * float(spread[1, 1]) / s_mean**2
    ratio = c_mean / s_mean
    # the ends solve a r^2 - 2 b r + d = 0, the border of (c - r s)^2 <= t^2 var(c - r s)
    a = s_mean**2 - t2 * float(spread[1, 1])
    b = c_mean * s_mean - t2 * float(spread[0, 1])
    d = c_mean**2 - t2 * float(spread[0, 0])
    root = math.sqrt(max(0.0, b * b - a * d))
    if g < 1:
        low, high = max(0.0, (b - root) / a), (b + root) / a
        return CostPerSuccess(ratio, Interval(min(low, ratio), max(high, ratio)), min(low, ratio), g, None)
    # d / (b + root) is the smaller end without dividing by a, which may be 0
    at_least = min(ratio, d / (b + root)) if d > 0 and b + root > 0 else 0.0
    why = "successes vary so much that the cost of one has no upper bound"
    return CostPerSuccess(ratio, None, at_least, g, Refusal("UNBOUNDED", why, more))


def break_even(value: float, harm: float, cost: float) -> float:
    """The share of successes from which a call is worth its cost: (harm + cost) / (value + harm).

    `value` is gained by a success, `harm` lost by a failure, `cost` paid for every call. Above 1 it is never worth it.
    `ValueError` where a success is worth no more than a failure.
    """
    if value + harm <= 0:
        raise ValueError("a success must be worth more than a failure")
    return (harm + cost) / (value + harm)
