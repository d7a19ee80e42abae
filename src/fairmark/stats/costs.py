"""What a success costs, and how good a system must be to be worth its price."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from fairmark.results import Refusal, Result, VerdictWord
from fairmark.stats.clusters import FEW_EVENTS, FEWEST_CLUSTERS, clustered_mean, clusters_with, korn_graubard, numbered
from fairmark.stats.intervals import FloatArray, IntArray, Interval, one_sided_p
from fairmark.stats.paired import PairedIntervals
from fairmark.stats.proportions import clopper_pearson

SKEWED = 0.2  # |skewness| / sqrt(units) from which a t interval covers clearly less than it says
TOO_SKEWED = "costs are so unequal for so few of them that the interval may cover less than it says: collect more cases"


class CostPerSuccess(NamedTuple):
    """Mean cost over mean success, with Fieller's interval."""

    ratio: float | None  # None without any success
    interval: Interval | None  # None where it is refused
    at_least: float  # the one-sided lower bound, which always exists
    g: float | None  # t^2 var(s) / s^2: from 1 on, the data do not bound the ratio from above
    refused: Refusal | None
    warnings: tuple[str, ...] = ()


def cost_per_success(
    cost: FloatArray, success: FloatArray, cluster: IntArray | None = None, *, confidence_level: float = 0.95
) -> CostPerSuccess:
    """The cost of one success: Fieller's interval (1954) on the totals of cases or clusters, with G - 1 degrees of freedom.

    It holds every r for which a t test does not reject that cost - r success has mean 0. Costs are at least 0, and those
    of every attempt: failed calls, retries and people's time belong to the cost of a success. Successes lie in [0, 1].
    Refused with fewer than 2 units, and where successes vary so much that no upper end exists. Without any success the
    lower bound is the mean cost over the upper bound of the success rate. Warns where cost - ratio success is skewed.
    """
    n = len(cost)
    index, groups = numbered(cluster, n)
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
    warnings = (TOO_SKEWED,) if abs(_skewness(c - ratio * s)) / math.sqrt(groups) > SKEWED else ()
    if g < 1:
        low, high = max(0.0, (b - root) / a), (b + root) / a
        return CostPerSuccess(ratio, Interval(min(low, ratio), max(high, ratio)), min(low, ratio), g, None, warnings)
    # d / (b + root) is the smaller end without dividing by a, which may be 0
    at_least = min(ratio, d / (b + root)) if d > 0 and b + root > 0 else 0.0
    why = "successes vary so much that the cost of one has no upper bound"
    return CostPerSuccess(ratio, None, at_least, g, Refusal("UNBOUNDED", why, more), warnings)


def _skewness(values: FloatArray) -> float:
    """The third moment about the mean over the standard deviation cubed; 0 without any spread."""
    off = values - float(np.mean(values))
    spread = math.sqrt(float(np.mean(off**2)))
    return float(np.mean((off / spread) ** 3)) if spread > 1e-9 * max(1e-300, float(np.max(np.abs(values)))) else 0.0


def net_of_cost(
    passed: FloatArray, cost: FloatArray, cluster: IntArray, *, gain: float, confidence_level: float = 0.95
) -> tuple[float, Interval]:
    """gain x pass rate - mean cost with its interval, which keeps its width where every case passes.

    MOVER on Korn and Graubard's interval of the rate and the cluster t interval of the cost:
    low = net - sqrt((gain (p - l))^2 + t^2 var(c) + t^2 max(0, -2 gain cov(p, c))), high likewise with u - p. Where dear
    cases fail more often the covariance widens it; where they fail less often it is left out, which is cautious.
    """
    n = len(cost)
    index, groups = numbered(cluster, n)
    p, c = float(np.mean(passed)), float(np.mean(cost))
    within = korn_graubard(passed, index, confidence_level=confidence_level)
    of_pass = np.bincount(index, weights=passed - p, minlength=groups)
    of_cost = np.bincount(index, weights=cost - c, minlength=groups)
    scale = float(stdtrit(groups - 1, 0.5 + confidence_level / 2)) ** 2 * groups / (groups - 1) / n**2
    common = scale * (float(of_cost @ of_cost) + max(0.0, -2 * gain * float(of_pass @ of_cost)))
    net = gain * p - c
    low = net - math.sqrt((gain * max(0.0, p - within.low)) ** 2 + common)
    return net, Interval(low, net + math.sqrt((gain * max(0.0, within.high - p)) ** 2 + common))


@dataclass(frozen=True, slots=True)
class CostClaim(Result):
    """Whether a success costs less than a bound."""

    bound: float  # per success
    verdict: VerdictWord
    cost_per_success: float | None  # None without any success
    surplus: float | None  # mean of cost - bound x success per attempt: negative is cheaper than the bound
    p_support: float | None  # one-sided, that a success costs less
    p_refute: float | None  # one-sided, that it costs more
    alpha: float
    method: str
    n_cases: int
    n_clusters: int | None  # None: no cluster was declared
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"a success costs less than {self.bound:g}: no answer ({self.refused})"
        seen = "no success yet" if self.cost_per_success is None else f"seen {self.cost_per_success:.4g}"
        return f"a success costs less than {self.bound:g}: {self.verdict} ({seen}, one-sided p {self.p_support:.3g})"


def cost_below(
    cost: FloatArray,
    success: FloatArray,
    bound: float,
    cluster: IntArray | None = None,
    *,
    alpha: float = 0.025,
    by: Literal["t", "sign-flip"] = "t",
    rng: np.random.Generator | None = None,
) -> CostClaim:
    """Whether the cost of a success is below `bound`: the one-sided test that the mean of cost - bound success is below 0.

    By Student's t on the totals of cases or clusters with G - 1 degrees of freedom, as Fieller's bound is, and by the same
    with Hall's correction for skewness (1992), t + g t^2/3 + g^2 t^3/27 + g/6 with g = skewness / sqrt(G); where at most 3
    units failed, or succeeded, also by `net_of_cost`. The largest p counts: most costs are small, and t alone finds a
    success cheap too often while no dear one was met. Or by the cluster sign-flip test (needs `rng`), which assumes that
    this surplus lies as often as far above its mean as below: dear failures break that. Arguments as for
    `cost_per_success`. Refused without data (`NO_DATA`), with a cost below 0 or a success outside 0 to 1 (`OFF_SCALE`), and
    with fewer than 6 units (`TOO_FEW_CLUSTERS`, `TOO_FEW_CASES`). `ValueError` for a bound that is not above 0.
    """
    if bound <= 0:
        raise ValueError("a success cannot cost less than nothing: the bound must be above 0")
    n = len(cost)
    index, groups = numbered(cluster, n)
    clusters = None if cluster is None else groups
    refused = refused_costs(cost, success, cluster)
    if refused is not None:
        return CostClaim(bound, "undecided", None, None, None, None, alpha, "none", n, clusters, refused)
    surplus = cost - bound * success
    total = np.bincount(index, weights=surplus, minlength=groups).astype(np.float64)
    mean, successes = float(np.mean(surplus)), float(np.sum(success))
    if by == "sign-flip":
        if rng is None:
            raise ValueError("the sign-flip test draws at random: it needs rng")
        most = float(np.max(np.abs(surplus)))
        # signs do not change when all differences are divided by the same number
        paired = PairedIntervals(surplus / most if most > 0 else surplus, cluster, single=False, rng=rng)
        support, refute, method = one_sided_p(paired.at, 0.0, "high"), one_sided_p(paired.at, 0.0, "low"), paired.method
    else:
        se = float(np.std(total, ddof=1)) / math.sqrt(groups)
        middle = float(np.mean(total))
        t = middle / se if se > 0 else (math.copysign(math.inf, middle) if middle else 0.0)
        g = _skewness(total) / math.sqrt(groups)
        corrected = t + g * t * t / 3 + g * g * t**3 / 27 + g / 6 if math.isfinite(t) else t
        support = float(stdtr(groups - 1, max(t, corrected)))
        refute = float(stdtr(groups - 1, -min(t, corrected)))
        method = f"t of {groups} {_units(cluster)}, corrected for skewness"
        if min(clusters_with(index, success > 0, groups), clusters_with(index, success < 1, groups)) <= FEW_EVENTS:
            # so few failures (or successes) say little about how many there will be, and t takes silence for certainty

            def at(level: float) -> Interval:
                return net_of_cost(success, cost, index, gain=bound, confidence_level=level)[1]

            support, refute = max(support, one_sided_p(at, 0.0, "low")), max(refute, one_sided_p(at, 0.0, "high"))
            method += ", and the rare outcome's exact bound"
    verdict: VerdictWord = "supported" if support <= alpha else "refuted" if refute <= alpha else "undecided"
    ratio = float(np.sum(cost)) / successes if successes > 0 else None
    return CostClaim(bound, verdict, ratio, mean, support, refute, alpha, method, n, clusters)


def _units(cluster: IntArray | None) -> str:
    return "cases" if cluster is None else "clusters"


def refused_costs(cost: FloatArray, success: FloatArray, cluster: IntArray | None) -> Refusal | None:
    """Why costs and successes of the same attempts decide nothing; None where they may. `ValueError` where they are not of the same."""
    if len(cost) != len(success):
        raise ValueError(f"{len(cost)} costs and {len(success)} successes are not of the same attempts")
    if len(cost) == 0:
        return Refusal("NO_DATA", "there is no attempt", "run the study")
    if not (bool(np.all((cost >= 0) & np.isfinite(cost))) and bool(np.all((success >= 0) & (success <= 1)))):
        return Refusal("OFF_SCALE", "a cost is below 0, or a success outside 0 to 1", "mend the table")
    groups, units = numbered(cluster, len(cost))[1], _units(cluster)
    if groups < FEWEST_CLUSTERS:
        code = "TOO_FEW_CASES" if cluster is None else "TOO_FEW_CLUSTERS"
        return Refusal(code, f"{groups} {units} cannot tell how other {units} behave", f"collect at least {FEWEST_CLUSTERS} {units}")
    return None


def break_even(value: float, harm: float, cost: float) -> float:
    """The share of successes from which a call is worth its cost: (harm + cost) / (value + harm).

    `value` is gained by a success, `harm` lost by a failure, `cost` paid for every call. Above 1 it is never worth it.
    `ValueError` where a success is worth no more than a failure.
    """
    if value + harm <= 0:
        raise ValueError("a success must be worth more than a failure")
    return (harm + cost) / (value + harm)
