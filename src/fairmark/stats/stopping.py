"""When a run may stop: rules settled before the first case, fed in the recorded order, that keep their error rates at every look.

A runner makes a plan with `stopping_plan`, hands outcomes to `Stopping.update` in the recorded order (`in_order`), and
reads from the result whether to go on. `stopping_forecast` says beforehand what a plan costs at a supposed truth.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from scipy.special import ndtr, ndtri

from fairmark.results import Refusal, Result, Scorer, VerdictWord
from fairmark.stats.clusters import BETTING_BELOW, FEWEST_CLUSTERS, betting, korn_graubard
from fairmark.stats.intervals import SMALLEST_ALPHA, FloatArray, IntArray, Interval, holm_levels, one_sided_p
from fairmark.stats.paired import PairedIntervals
from fairmark.stats.power import paired_sample_size, smallest_visible_rate
from fairmark.stats.proportions import clopper_pearson
from fairmark.stats.sequential import CERTAIN, TINY, EProcess, bets, confidence_sequence, growth_optimal_bet

T = TypeVar("T")
Kind = Literal["rate", "paired", "mean"]
Mode = Literal["hybrid", "open-ended", "planned-looks", "finite-bank"]
State = Literal["open", "supported", "refuted", "ruled-out", "capped", "refused"]
Unit = float | None | Sequence[float | None]  # a case, or the cases of a cluster; None: no mark (a failure that is not the system's)
IntervalAt = Callable[[float], Interval]
FixedTest = Callable[[FloatArray, IntArray | None], IntervalAt | Refusal]  # values and clusters to the interval at each level

MOST_LOOKS = 5
OPEN_ENDED_CAP = 3  # times the fixed size
USUAL_DISCORDANCE = 0.3
USUAL_SPREAD = 0.25  # of the scale
EXACT_UP_TO = 5_000  # cases; beyond, the normal size of a rate is close enough
BLOCK = 400_000  # values simulated at once; each has a wealth for every bet
PATH_POINTS = 200
NODES = 96  # of the quadrature for planned looks
WORTH_A_WARNING = 0.05  # share of missing marks
KEPT_FACTORS = 1_000  # kinds of units whose factors are kept


@dataclass(frozen=True, slots=True)
class StoppingPlan(Result):
    """What is settled before the first case is run, so that looking at the results cannot change it."""

    kind: str
    mode: str
    null: float  # the margin of the claim
    alternative: float  # the smallest effect worth finding, on the claim's side of the margin
    alpha: float  # one-sided chance of supporting a false claim, and of refuting a true one
    beta: float  # chance of ruling the effect worth finding out where it is there
    low: float  # the scale of one case
    high: float
    n_fixed: int  # units that a test without looks needs for the same power
    n_max: int  # units (cases, or clusters where declared) that are never exceeded
    largest_cluster: int | None  # cases; None: each case is a unit
    bank: int | None  # cases of the finite bank the claim is about
    looks: tuple[int, ...]  # units after which a planned look is taken
    look_levels: tuple[float, ...]  # one-sided level of each look's bound against the margin
    rule_out_levels: tuple[float, ...]  # likewise against the effect worth finding
    bet_support: float  # design bets, as shares of the largest bet that cannot be ruined
    bet_refute: float
    bet_rule_out: float
    spread: float | None  # supposed standard deviation of a case; None: from the rate or the discordance
    discordance: float | None  # supposed share of cases where the two systems differ
    scorer: Scorer
    seed: str  # of the recorded random order
    order_digest: str = ""  # of the order itself
    fingerprint: str = ""  # of what is measured: system, prompt, graders, rubric
    assumptions: tuple[str, ...] = ()
    refused: Refusal | None = None

    @property
    def above(self) -> bool:
        """Whether the claim is that the mean lies above the margin."""
        return self.alternative > self.null

    @property
    def alpha_e(self) -> float:
        """The share of alpha that the e-process spends; a hybrid keeps the other half for its one fixed test."""
        return self.alpha / 2 if self.mode == "hybrid" else self.alpha

    @property
    def beta_e(self) -> float:
        return self.beta / 2 if self.mode == "hybrid" else self.beta

    def headline(self) -> str:
        if self.refused is not None:
            return f"stopping plan: none ({self.refused})"
        unit = "clusters" if self.largest_cluster is not None else "cases"
        side = "above" if self.above else "below"
        return f"{self.mode}: {self.kind} {side} {self.null:g}, {self.alternative:g} worth finding, at most {self.n_max} {unit}"


@dataclass(frozen=True, slots=True)
class StoppingResult(Result):
    """Where a claim stands after the units consumed so far."""

    state: State  # ruled-out: the effect worth finding is; refused: nothing can be said
    verdict: VerdictWord
    stop: bool  # whether this claim needs no further case
    say: str
    value: float | None  # mean of the marked cases; after an early stop it leans away from the margin
    low: float | None  # the interval that decides: the confidence sequence, with a hybrid's fixed test at the cap
    high: float | None
    confidence_level: float
    sequence_low: float | None  # the confidence sequence alone; None with planned looks
    sequence_high: float | None
    p_support: float  # valid at whatever moment it is read
    p_refute: float
    p_rule_out: float  # of the effect worth finding
    p_fixed: float | None  # of the fixed test at the cap, against the margin; None before the cap
    e_value: float | None  # against the margin, now
    e_max: float | None  # the largest so far
    e_rule_out: float | None  # the largest so far against the effect worth finding
    n_units: int
    n_cases: int
    n_missing: int
    n_max: int
    decided_at: int | None  # unit with which it was decided; later ones were in flight
    method: str
    order_digest: str
    path: tuple[tuple[int, float, float, float], ...] = ()  # units, log10 of the e that supports, that refutes, that rules the effect out
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return self.say
        return f"{self.say}; mean {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.confidence_level:.4g}, {self.method})"


@dataclass(frozen=True, slots=True)
class StoppingForecast(Result):
    """What a plan does at a supposed truth, simulated."""

    truth: float
    mean_units: float  # used, as a mean over the runs
    saved: float  # share of the fixed size that is saved; negative where more is used
    most_units: int  # used by any run
    supported: float  # shares of the runs
    refuted: float
    ruled_out: float  # the effect worth finding, without a refutation
    capped: float
    runs: int
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"stopping forecast: none ({self.refused})"
        return (
            f"at {self.truth:g}: {self.mean_units:.1f} units on average, saves {self.saved:.0%}; supported {self.supported:.1%},"
            f" refuted {self.refuted:.1%}, effect ruled out {self.ruled_out:.1%}, open at the cap {self.capped:.1%}"
        )


# ---------------------------------------------------------------- the plan


def stopping_plan(
    kind: Kind,
    *,
    null: float,
    alternative: float,
    scorer: Scorer,
    seed: str | int | None,
    alpha: float = 0.025,
    power: float = 0.9,
    mode: Mode = "hybrid",
    n_max: int | None = None,
    discordance: float | None = None,
    spread: float | None = None,
    low: float | None = None,
    high: float | None = None,
    bank: int | None = None,
    largest_cluster: int | None = None,
    icc: float = 0.2,
    looks: int | Sequence[int] = MOST_LOOKS,
    order: Sequence[str] = (),
    fingerprint: str = "",
) -> StoppingPlan:
    """The plan of one claim, or one that is `refused`: when a run may stop, and what it costs at most.

    The claim is that the mean lies beyond `null` on the side of `alternative`, the smallest effect worth finding.
    `kind` is `rate` (0/1 cases), `paired` (differences of two systems, -1 to 1, with the supposed `discordance` of 0/1
    answers or the `spread` of scores) or `mean` (scores from `low` to `high` with the supposed `spread`). What is
    supposed sets the bets and the size, and never the error rates.

    Modes: `hybrid` spends half of alpha on an e-process that may be looked at after every unit, and half on one fixed test
    at the cap, which is the size of a test without looks; `open-ended` spends all on the e-process, with 3 times that size
    as its cap; `planned-looks` uses O'Brien and Fleming's spending (Lan and DeMets 1983) at up to 5 `looks`;
    `finite-bank` decides what all cases of a bank of `bank` would say.

    Refusals: `ORDER_NOT_RANDOM` without the `seed` of a random order, `STOP_NEEDS_CHECK` where neither a check nor a person
    marks, and `CAN_NEVER_DECIDE` where the best possible results would leave the claim open.
    """
    scale = (-1.0, 1.0) if kind == "paired" else (0.0, 1.0)
    low, high = scale[0] if low is None else low, scale[1] if high is None else high
    if kind not in ("rate", "paired", "mean") or mode not in ("hybrid", "open-ended", "planned-looks", "finite-bank"):
        raise ValueError(f"there is no plan of kind {kind!r} in mode {mode!r}")
    if not 0 < alpha < 0.5 or not 0.5 <= power < 1:
        raise ValueError("alpha must lie between 0 and 0.5, and the power between 0.5 and 1")
    if not low < high or (kind != "mean" and (low, high) != scale):
        raise ValueError(f"the scale of a {kind} cannot be {low:g} to {high:g}")
    if (mode == "finite-bank") != (bank is not None) or (bank is not None and (bank < 1 or largest_cluster is not None)):
        raise ValueError("a finite bank, and no other mode, needs `bank`, its number of cases, and is drawn case by case")
    if (n_max is not None and n_max < 1) or (largest_cluster is not None and largest_cluster < 1) or not 0 <= icc <= 1:
        raise ValueError("n_max and largest_cluster are numbers from 1, and icc lies between 0 and 1")
    planned = [looks] if isinstance(looks, int) else list(looks)
    if mode == "planned-looks" and not (1 <= (looks if isinstance(looks, int) else len(planned)) <= MOST_LOOKS):
        raise ValueError(f"there can be 1 to {MOST_LOOKS} planned looks")
    if kind == "paired" and discordance is None and spread is None:
        discordance = max(USUAL_DISCORDANCE, abs(alternative), abs(null))
    if kind == "mean" and spread is None:
        spread = USUAL_SPREAD * (high - low)
    plan = StoppingPlan(
        kind=kind,
        mode=mode,
        null=float(null),
        alternative=float(alternative),
        alpha=alpha,
        beta=1 - power,
        low=float(low),
        high=float(high),
        n_fixed=0,
        n_max=n_max or 0,
        largest_cluster=largest_cluster,
        bank=bank,
        looks=(),
        look_levels=(),
        rule_out_levels=(),
        bet_support=0.0,
        bet_refute=0.0,
        bet_rule_out=0.0,
        spread=spread,
        discordance=discordance,
        scorer=scorer,
        seed="" if seed is None else str(seed),
        order_digest=order_digest(order) if order else "",
        fingerprint=fingerprint,
    )
    why = _never(plan) or _guarded(plan, seed)
    if why is not None:
        return replace(plan, refused=why)
    n_fixed = fixed_size(
        kind,
        null=null,
        alternative=alternative,
        alpha=alpha,
        power=power,
        discordance=discordance,
        spread=spread,
        largest_cluster=largest_cluster,
        icc=icc,
    )
    support, refute, rule_out = _design_bets(plan, icc)
    cap = bank or n_max or n_fixed * (OPEN_ENDED_CAP if mode == "open-ended" else 1)
    plan = replace(
        plan, n_fixed=n_fixed, n_max=cap, bet_support=support, bet_refute=refute, bet_rule_out=rule_out, assumptions=_assumed(plan)
    )
    if mode == "planned-looks":
        after = tuple(sorted({math.ceil(cap * k / looks) for k in range(1, looks + 1)})) if isinstance(looks, int) else tuple(planned)
        if list(after) != sorted(set(after)) or after[0] < 1 or after[-1] != cap:
            raise ValueError(f"the looks must rise to the cap of {cap}")
        shares = [look / cap for look in after]
        plan = replace(
            plan, looks=after, look_levels=obrien_fleming_levels(shares, alpha), rule_out_levels=obrien_fleming_levels(shares, plan.beta)
        )
    return replace(plan, refused=_out_of_reach(plan))


def fixed_size(
    kind: Kind,
    *,
    null: float,
    alternative: float,
    alpha: float = 0.025,
    power: float = 0.9,
    discordance: float | None = None,
    spread: float | None = None,
    largest_cluster: int | None = None,
    icc: float = 0.2,
) -> int:
    """Units that one test without looks needs: for a rate by Clopper and Pearson's exact bound, else (z_a + z_b)^2 var/d^2.

    With clusters the number of clusters, all supposed as large as the largest, from the design effect 1 + (size - 1) icc.
    """
    distance = alternative - null
    if kind == "rate":
        p0, p1 = (null, alternative) if distance > 0 else (1 - null, 1 - alternative)
        z_a, z_b = float(ndtri(1 - alpha)), float(ndtri(power))
        normal = ((z_a * math.sqrt(p0 * (1 - p0)) + z_b * math.sqrt(p1 * (1 - p1))) / (p1 - p0)) ** 2
        n = max(1, math.ceil(normal))
        if n <= EXACT_UP_TO:
            n = max(1, math.floor(0.7 * normal))
            while (seen := smallest_visible_rate(n, p0, alpha=alpha, power=power, above=True)) is None or seen > p1 - p0 + 1e-12:
                n += 1
    else:
        variance = spread**2 if spread is not None else max((discordance or 0.0) - alternative**2, 1e-4)
        n = math.ceil(paired_sample_size(distance, omega2=variance, sigma2=0.0, repeats=None, alpha=alpha, power=power, two_sided=False))
    if largest_cluster is None:
        return max(n, 1)
    return max(math.ceil(n * (1 + (largest_cluster - 1) * icc) / largest_cluster), 1)


def _guarded(plan: StoppingPlan, seed: str | int | None) -> Refusal | None:
    if seed is None:
        return Refusal(
            "ORDER_NOT_RANDOM",
            "the cases come in an order that was not drawn at random, so that early ones do not stand for later ones",
            "record the seed of a random order and run the cases in it",
        )
    if plan.scorer not in ("code", "human"):
        return Refusal(
            "STOP_NEEDS_CHECK",
            f"a stop on marks of the kind {plan.scorer} would decide what an LLM thinks of the answers, not how good they are",
            "stop on a criterion that a check or a person marks, or run all cases and have marks corrected",
        )
    return None


def _never(plan: StoppingPlan) -> Refusal | None:
    """Why no result whatever could decide."""

    def refused(why: str, step: str) -> Refusal:
        return Refusal("CAN_NEVER_DECIDE", why, step)

    m0, m1 = _oriented(plan, plan.null), _oriented(plan, plan.alternative)
    if not (math.isfinite(m0) and math.isfinite(m1)) or m0 == m1:
        return refused("the effect worth finding is the margin itself", "say how far beyond the margin a mean must lie to matter")
    if m0 <= plan.low or m1 > plan.high:
        return refused(
            f"the margin {plan.null:g} and the effect {plan.alternative:g} must lie within the scale {plan.low:g} to {plan.high:g}",
            "choose a margin inside the scale",
        )
    if plan.discordance is not None and not max(abs(plan.alternative), abs(plan.null)) <= plan.discordance <= 1:
        return refused(
            f"systems that differ on {plan.discordance:.0%} of the cases cannot differ by {plan.alternative:g}",
            "suppose a larger discordance or look for a smaller effect",
        )
    if plan.spread is not None and not (math.isfinite(plan.spread) and plan.spread > 0):
        return refused("a spread must be above 0", "suppose the standard deviation of one case")
    return None


def _out_of_reach(plan: StoppingPlan) -> Refusal | None:
    """Whether even the best possible results would leave the claim undecided at the cap."""
    if plan.mode == "finite-bank":
        return None
    margin, size = _oriented(plan, plan.null), plan.largest_cluster or 1
    fractions, weights = bets(plan.bet_support)
    growth = np.log1p(fractions * ((plan.high - plan.low) / (margin - plan.low) - 1))
    test = fixed_interval(plan)

    def within(units: int) -> bool:
        if plan.mode != "planned-looks" and float(np.logaddexp.reduce(np.log(weights) + units * growth)) >= -math.log(plan.alpha_e):
            return True
        if plan.mode == "open-ended":
            return False
        cluster = np.repeat(np.arange(units), size) if plan.largest_cluster is not None else None
        at = test(np.full(units * size, plan.high if plan.above else plan.low), cluster)
        level = plan.look_levels[-1] if plan.mode == "planned-looks" else plan.alpha / 2
        return not isinstance(at, Refusal) and _oriented_interval(plan, at(1 - 2 * level)).low > margin

    if within(plan.n_max):
        return None
    too_few, enough = plan.n_max, 2 * plan.n_max
    while not within(enough) and enough < EXACT_UP_TO:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if within(middle) else (middle, enough)
    what = "clusters" if plan.largest_cluster is not None else "cases"
    return Refusal(
        "CAN_NEVER_DECIDE",
        f"even if all of {plan.n_max} {what} went as well as they can, the claim would stay undecided",
        f"allow more {what}, at the very least {enough}",
    )


def _assumed(plan: StoppingPlan) -> tuple[str, ...]:
    unit = "clusters" if plan.largest_cluster is not None else "cases"
    whose = (
        "the order is a random one of the whole bank" if plan.bank else f"{unit} come in a random order and are independent of one another"
    )
    if plan.kind == "rate":
        return (whose,)
    supposed = f"a standard deviation of {plan.spread:g}" if plan.spread is not None else f"a discordance of {plan.discordance:g}"
    return (whose, f"size and bets suppose {supposed}; the error rates do not")


def _design_bets(plan: StoppingPlan, icc: float) -> tuple[float, float, float]:
    """The growth-optimal shares for support, refutation and ruling out."""
    m0, m1 = _oriented(plan, plan.null), _oriented(plan, plan.alternative)
    total = plan.low + plan.high
    # a cluster's mean varies less than a case: the bet per cluster may be larger by what is gained over one case
    larger = 1.0 if plan.largest_cluster is None else plan.largest_cluster / (1 + (plan.largest_cluster - 1) * icc)

    def share(truth: float, null: float, mirrored: bool) -> float:
        values, shares = _supposed(plan, truth)
        if mirrored:
            values, null = total - values, total - null
        return min(1.0, growth_optimal_bet(values, shares, null=null, low=plan.low) * larger * (null - plan.low))

    worse = max(2 * m0 - m1, plan.low + 0.05 * (m0 - plan.low))
    return share(m1, m0, False), share(worse, m0, True), share(m0, m1, True)


def _supposed(plan: StoppingPlan, truth: float) -> tuple[FloatArray, FloatArray]:
    """Values of a case and their shares at a supposed truth, both seen from the claim's side."""
    if plan.kind == "rate":
        return np.array([0.0, 1.0]), np.array([1 - truth, truth])
    if plan.spread is None:
        differ = max(plan.discordance or 0.0, abs(truth))
        return np.array([-1.0, 0.0, 1.0]), np.array([(differ - truth) / 2, 1 - differ, (differ + truth) / 2])
    # two points with this mean, a standard deviation to each side where the scale allows it, and something to lose
    m0, m1 = _oriented(plan, plan.null), _oriented(plan, plan.alternative)
    a, b = max(plan.low, truth - plan.spread), min(plan.high, truth + plan.spread)
    a, b = plan.low if a >= min(m0, truth) else a, plan.high if b <= max(m1, truth) else b
    return np.array([a, b]), np.array([(b - truth) / (b - a), (truth - a) / (b - a)])


def _oriented(plan: StoppingPlan, x: float) -> float:
    """A value as seen from the claim's side: larger is better for the claim."""
    return x if plan.above else plan.low + plan.high - x


def _oriented_interval(plan: StoppingPlan, interval: Interval) -> Interval:
    return interval if plan.above else Interval(_oriented(plan, interval.high), _oriented(plan, interval.low))


def fixed_interval(plan: StoppingPlan) -> FixedTest:
    """The test without looks that a plan falls back on: values and clusters to the interval at each confidence level.

    Clopper and Pearson's for 0/1 rates, Tango's or the inverted sign-flip test for pairs (`PairedIntervals`), else Korn and
    Graubard's, or the betting interval below 20 units; a refusal where there is none.
    """

    def paired(values: FloatArray, cluster: IntArray | None) -> IntervalAt | Refusal:
        seed = int.from_bytes(hashlib.sha256(plan.seed.encode()).digest()[:8], "big")
        found = PairedIntervals(values, cluster, single=cluster is None, rng=np.random.default_rng(seed))
        return found.at if found.refused is None else found.refused

    def one(values: FloatArray, cluster: IntArray | None) -> IntervalAt | Refusal:
        y, width = (values - plan.low) / (plan.high - plan.low), plan.high - plan.low
        if len(y) == 0:
            return Refusal("NO_DATA", "no case was marked", "mark some")
        if cluster is None and plan.kind == "rate" and bool(np.all((y == 0) | (y == 1))):
            return lambda level: clopper_pearson(float(y.sum()), len(y), confidence_level=level)
        units = np.arange(len(y)) if cluster is None else cluster
        groups = len(np.unique(units))
        if groups < FEWEST_CLUSTERS:
            code, what = ("TOO_FEW_CASES", "cases") if cluster is None else ("TOO_FEW_CLUSTERS", "clusters")
            return Refusal(code, f"{groups} {what} cannot tell how other {what} behave", f"collect at least {FEWEST_CLUSTERS} {what}")
        method = betting if plan.kind == "mean" and groups < BETTING_BELOW else korn_graubard

        def at(level: float) -> Interval:
            found = method(y, units, confidence_level=level)
            return Interval(plan.low + width * found.low, plan.low + width * found.high)

        return at

    return paired if plan.kind == "paired" else one


# ---------------------------------------------------------------- planned looks


def obrien_fleming_levels(shares: Sequence[float], alpha: float) -> tuple[float, ...]:
    """The one-sided level of each look at these shares of the cap, together alpha, spent as 2 - 2 Phi(z_{alpha/2} / sqrt(share)).

    This is Lan and DeMets's (1983) spending like O'Brien and Fleming's: next to nothing early, nearly alpha at the end.
    The bounds come from the density of a Brownian motion that has not crossed yet, carried from look to look by Gauss
    quadrature (Armitage, McPherson and Rowe 1969).
    """
    times = [float(share) for share in shares]
    if not times or times[0] <= 0 or times[-1] > 1 + 1e-12 or any(b <= a for a, b in itertools.pairwise(times)):
        raise ValueError("the shares of the looks must rise from above 0 to at most 1")
    return _levels(tuple(times), alpha)


@lru_cache(maxsize=4_096)  # a repeated p asks for the same levels again and again
def _levels(times: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    nodes, node_weights = _quadrature()
    z = float(-ndtri(alpha / 2))
    levels, spent, before = [], 0.0, 0.0
    place, mass = np.zeros(1), np.ones(1)  # the motion starts at 0
    for time in times:
        now, step = 2 * float(ndtr(-z / math.sqrt(time))), math.sqrt(time - before)
        low, high = -10.0, 40.0
        for _ in range(50):
            middle = (low + high) / 2
            if float(mass @ ndtr((place - middle * math.sqrt(time)) / step)) > now - spent:
                low = middle
            else:
                high = middle
        levels.append(float(ndtr(-high)))
        start, end = -9 * math.sqrt(time), min(high, 9.0) * math.sqrt(time)
        after = start + (nodes + 1) / 2 * (end - start)
        density = np.exp(-0.5 * ((after[:, None] - place) / step) ** 2) @ mass / (step * math.sqrt(2 * math.pi))
        place, mass = after, density * node_weights * (end - start) / 2
        spent, before = now, time
    return tuple(levels)


@cache
def _quadrature() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights


def _repeated_p(shares: Sequence[float], p: Sequence[float], planned: float) -> float:
    """The smallest alpha whose planned looks would have decided, from the p of each look so far; at most `planned` where that does."""

    def decides(alpha: float) -> bool:
        return any(one <= level for one, level in zip(p, obrien_fleming_levels(shares, alpha), strict=False))

    least, most = SMALLEST_ALPHA, 0.5
    if not decides(most):
        return 1.0
    if decides(least):
        return least
    middle = planned  # first, so that p and the decision at this level cannot disagree
    while most > 1.0001 * least:
        least, most = (least, middle) if decides(middle) else (middle, most)
        middle = math.sqrt(least * most)
    return most


# ---------------------------------------------------------------- the run


class _Processes:
    """The e-processes of a plan, over one run or an array of them, fed with values from the claim's side.

    A missing mark is the worst for the one that supports, and the best for the two that speak against the claim.
    """

    def __init__(self, plan: StoppingPlan, shape: tuple[int, ...] = ()) -> None:
        m0, m1, total = _oriented(plan, plan.null), _oriented(plan, plan.alternative), plan.low + plan.high
        size = plan.largest_cluster or 1
        self.total = total
        # seen from the other side of the scale, the mirrored processes test "at most" as well
        self.each = [
            EProcess(np.full(shape, null), low=plan.low, fractions=fractions, weights=weights, largest=size, bank=plan.bank)
            for null, (fractions, weights) in (
                (m0, bets(plan.bet_support)),
                (total - m0, bets(plan.bet_refute)),
                (total - m1, bets(plan.bet_rule_out)),
            )
        ]

    def update(self, worst: FloatArray, best: FloatArray, sizes: IntArray | None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Paths of log E that support, refute, and rule the effect worth finding out."""
        mirrored = self.total * (1 if sizes is None else sizes) - best
        support, refute, rule_out = self.each
        return support.update(worst, sizes), refute.update(mirrored, sizes), rule_out.update(mirrored, sizes)


class _Wealth:
    """The three e-processes of one run, fed a unit at a time, so that nothing depends on how many units come at once.

    The same as `_Processes` does over arrays; the logs of the factors are kept, because answers are mostly alike.
    """

    def __init__(self, plan: StoppingPlan) -> None:
        m0, m1, total = _oriented(plan, plan.null), _oriented(plan, plan.alternative), plan.low + plan.high
        self.plan, self.total, self.largest = plan, total, plan.largest_cluster or 1
        self.room: FloatArray = np.array([m0, total - m0, total - m1]) - plan.low
        designs = [bets(design) for design in (plan.bet_support, plan.bet_refute, plan.bet_rule_out)]
        self.fractions: FloatArray = np.stack([fractions for fractions, _ in designs])
        self.logs: FloatArray = np.log(np.stack([weights for _, weights in designs]))
        self.now, self.most = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
        self.count, self.gained = 0, np.zeros(3)
        self.factors: dict[tuple[float, float, int], FloatArray] = {}

    def take(self, worst: float, best: float, size: int) -> None:
        """One more unit: its total seen from the claim's side at worst and at best, and its number of cases, which may be none."""
        proven: list[bool] | None = None
        if self.plan.bank is None:
            key = worst, best, size
            factors = self.factors.get(key)
            if factors is None:
                factors = self._factors(self._gain(worst, best, size), self.room, size)
                if len(self.factors) < KEPT_FACTORS:
                    self.factors[key] = factors
        else:
            left, whole, gain = self.plan.bank - self.count, self.plan.bank * self.room, self._gain(worst, best, size)
            if left < 1:
                raise ValueError(f"a bank of {self.plan.bank} cases has no case number {self.count + 1}")
            factors = self._factors(gain, np.maximum((whole - self.gained) / left, TINY), size)
            self.gained = self.gained + gain
            proven = (self.gained > whole + TINY * self.plan.bank).tolist()
        self.count += 1
        self.logs += factors
        peak = self.logs.max(axis=1)
        added = np.exp(self.logs - peak[:, None]).sum(axis=1)
        logs = [min(top + math.log(sum_), CERTAIN) for top, sum_ in zip(peak.tolist(), added.tolist(), strict=True)]
        if proven is not None:
            logs = [CERTAIN if known else log for log, known in zip(logs, proven, strict=True)]
        self.now = (logs[0], logs[1], logs[2])
        self.most = (max(self.most[0], logs[0]), max(self.most[1], logs[1]), max(self.most[2], logs[2]))

    def _gain(self, worst: float, best: float, size: int) -> FloatArray:
        least, mirrored = self.plan.low * size, self.total * size - best
        return np.array([worst - least, mirrored - least, mirrored - least])

    def _factors(self, gain: FloatArray, room: FloatArray, size: int) -> FloatArray:
        step = gain / self.largest / room - size / self.largest
        return np.log(1 + self.fractions * step[:, None])


class Stopping:
    """One claim while its cases come in: `update` takes units in the recorded order and says whether to go on.

    What is decided depends on the units and their order only, not on how they are handed over. Units that were in flight
    when it was decided still count as used, and enter. `fixed` replaces the plan's fixed test. With another `fingerprint`
    something else is measured, and the process starts anew. `result` is the whole account, with its interval.
    """

    def __init__(self, plan: StoppingPlan, *, fixed: FixedTest | None = None) -> None:
        if plan.refused is not None:
            raise ValueError(f"{plan.refused.code}: {plan.refused.why}")
        self.plan = plan
        self._fixed = fixed or fixed_interval(plan)
        self._fingerprint = plan.fingerprint
        self._given_up = 0
        self._margin, self._effect = _oriented(plan, plan.null), _oriented(plan, plan.alternative)
        self._start()

    def _start(self) -> None:
        self._wealth = _Wealth(self.plan)
        self._worst: list[float] = []  # the cases of all units, seen from the claim's side
        self._best: list[float] = []
        self._sizes: list[int] = []  # cases of each unit
        self._totals: list[tuple[float, float]] = []  # of each unit, at worst and at best
        self._marked_total, self._missing, self._beyond = 0.0, 0, 0
        self._decided_at: int | None = None
        self._path: list[tuple[float, float, float]] = []  # log E that supports, that refutes, and that rules the effect out
        self._looks: list[tuple[float, float, float]] = []  # p that supports, refutes and rules out, at each planned look
        self._looked = Interval(self.plan.low, self.plan.high)  # what all of them left
        self._fixed_at_cap: tuple[IntervalAt, IntervalAt] | None = None  # the one fixed test, at worst and at best
        self._at_cap: tuple[float, float, float] | None = None  # the same p of it
        self._p = (1.0, 1.0, 1.0)
        self._refused: Refusal | None = None

    def update(self, units: Iterable[Unit], *, fingerprint: str | None = None) -> State:
        """Where the claim stands after these further units, each a value, None for a missing mark, or a cluster's values.

        Repeats of a case are averaged first. A unit to which what is measured does not apply is `()`: it takes its place and
        says nothing. Refused with values off the scale (`OFF_SCALE`, NaN among them) and with a
        cluster larger than declared (`CLUSTER_TOO_LARGE`).
        """
        if fingerprint is not None and fingerprint != self._fingerprint:
            self._given_up += len(self._sizes)
            self._fingerprint = fingerprint
            self._start()
        plan = self.plan
        for unit in units:
            if self._refused is not None:
                break
            if len(self._sizes) == plan.n_max:
                self._beyond += 1
            elif self._take(unit):
                self._judge()
        return self.state

    def _judge(self) -> None:
        """What the unit that was taken in last changes."""
        plan, n = self.plan, len(self._sizes)
        if plan.mode == "planned-looks":
            self._look(n)
        else:
            self._bet(n)
        if self._p[0] <= plan.alpha and self._p[1] <= plan.alpha:
            self._refused = Refusal(
                "CONTRADICTION",
                "early units say one thing and later ones the opposite, as an order that is not random would make them",
                "see whether cases are sorted or what is measured has changed, and start anew in a random order",
            )
        elif self._decided_at is None and self.state != "open":
            self._decided_at = n

    @property
    def state(self) -> State:
        plan = self.plan
        if self._refused is not None:
            return "refused"
        if self._p[0] <= plan.alpha:
            return "supported"
        if self._p[1] <= plan.alpha:
            return "refuted"
        if self._may_rule_out and self._p[2] <= plan.beta:
            return "ruled-out"
        return "capped" if len(self._sizes) == plan.n_max else "open"

    @property
    def _may_rule_out(self) -> bool:
        return self.plan.mode != "finite-bank"

    def _take(self, unit: Unit) -> bool:
        """Whether the unit is taken in; where not, the whole claim is refused."""
        plan = self.plan
        cases: Sequence[float | None]
        if unit is None or isinstance(unit, float) or not isinstance(unit, (Sequence, np.ndarray)):
            cases = (unit,)
        else:
            cases = list(unit)
            if plan.largest_cluster is None and (cases or plan.bank is not None):
                raise ValueError("a unit is one case here: declare largest_cluster to hand over clusters")
            if plan.largest_cluster is not None and len(cases) > plan.largest_cluster:
                self._refused = Refusal(
                    "CLUSTER_TOO_LARGE",
                    f"a cluster holds {len(cases)} cases, and the plan says at most {plan.largest_cluster}",
                    "declare the size of the largest cluster before the run",
                )
                return False
        low, high, worst, best, missing = plan.low, plan.high, 0.0, 0.0, 0
        for case in cases:
            if case is None:
                missing += 1
            elif not low <= case <= high:
                scale = f"{low:g} to {high:g}"
                self._refused = Refusal("OFF_SCALE", f"a value lies outside {scale}", f"bring the values to the scale {scale}")
                return False
        for case in sorted(float(case) for case in cases if case is not None):
            seen = case if plan.above else low + high - case
            worst += seen
            best += seen
            self._worst.append(seen)
            self._best.append(seen)
            self._marked_total += case
        for _ in range(missing):
            worst += low
            best += high
            self._worst.append(low)
            self._best.append(high)
        self._missing += missing
        self._sizes.append(len(cases))
        self._totals.append((worst, best))
        return True

    def _bet(self, n: int) -> None:
        """The e-processes take the last unit."""
        plan = self.plan
        self._wealth.take(*self._totals[-1], self._sizes[-1])
        self._path.append(self._wealth.now)
        p = [math.exp(-log) for log in self._wealth.most]
        if plan.mode == "hybrid":
            if n == plan.n_max:
                self._fixed_at_cap = self._fixed_at(n)
                self._at_cap = self._fixed_p(self._fixed_at_cap)
            p = [min(1.0, 2 * min(e, 1.0 if self._at_cap is None else self._at_cap[i])) for i, e in enumerate(p)]
        self._p = (p[0], p[1], p[2])

    def _look(self, n: int) -> None:
        """The planned look that falls on the last unit, if one does."""
        plan = self.plan
        if n not in plan.looks:
            return
        place = plan.looks.index(n)
        level, rule_out = plan.look_levels[place], plan.rule_out_levels[place]
        shares = [look / plan.n_max for look in plan.looks]
        at = self._fixed_at(n)
        p = self._fixed_p(at)
        self._looks.append(p)
        self._looked = _both(self._looked, at, level)
        support, refute, against = zip(*self._looks, strict=True)
        self._p = (
            _repeated_p(shares, support, plan.alpha),
            _repeated_p(shares, refute, plan.alpha),
            _repeated_p(shares, against, plan.beta),
        )
        if self._decided_at is None and (min(p[:2]) <= level or p[2] <= rule_out):
            self._decided_at = n

    def _fixed_at(self, units: int) -> tuple[IntervalAt, IntervalAt]:
        """The interval of the fixed test on the first units, missing marks at their worst and at their best."""
        plan = self.plan

        def one(values: list[float]) -> IntervalAt:
            y = np.array(values[: sum(self._sizes[:units])])
            cluster = np.repeat(np.arange(units), self._sizes[:units]) if plan.largest_cluster is not None else None
            at = self._fixed(y if plan.above else plan.low + plan.high - y, cluster)
            if isinstance(at, Refusal):
                return lambda level: Interval(plan.low, plan.high)
            return lambda level: _oriented_interval(plan, at(level))

        worst = one(self._worst)
        return worst, worst if self._missing == 0 else one(self._best)

    def _fixed_p(self, at: tuple[IntervalAt, IntervalAt]) -> tuple[float, float, float]:
        """The p of the fixed test that supports, that refutes, and that rules the effect out."""
        worst, best = at
        return (
            one_sided_p(worst, self._margin, "low"),
            one_sided_p(best, self._margin, "high"),
            one_sided_p(best, self._effect, "high"),
        )

    # ------------------------------------------------------------ where it stands, at little cost

    @property
    def n_units(self) -> int:
        return len(self._sizes)

    @property
    def n_max(self) -> int:
        return self.plan.n_max

    @property
    def refused(self) -> Refusal | None:
        return self._refused

    @property
    def p_support(self) -> float:
        """Valid at whatever moment it is read."""
        return max(self._p[0], SMALLEST_ALPHA)

    @property
    def p_refute(self) -> float:
        return max(self._p[1], SMALLEST_ALPHA)

    def marked(self) -> tuple[float, ...]:
        """The values of all marked cases that were taken in."""
        return tuple(_oriented(self.plan, worst) for worst, best in zip(self._worst, self._best, strict=True) if worst == best)

    # ------------------------------------------------------------ the whole account

    def interval(self, alpha: float) -> Interval:
        """The interval whose ends are each valid at the one-sided level alpha, at whatever moment it is read.

        It lies beyond the margin exactly where `p_support`, or `p_refute`, is at most alpha. Planned looks know the alpha of
        their plan only (`ValueError` for another).
        """
        plan, interval = self.plan, self._looked
        if plan.mode != "planned-looks":
            interval = self._sequence([self.n_units], alpha / 2 if plan.mode == "hybrid" else alpha)[0]
        elif alpha != plan.alpha:
            raise ValueError("planned looks are taken at the alpha of their plan")
        if self._fixed_at_cap is not None:
            interval = _both(interval, self._fixed_at_cap, alpha / 2)
        # what decides is what bounds, but the bisection ends a hair before the border
        past, short = math.nextafter(self._margin, math.inf), math.nextafter(self._margin, -math.inf)
        low = max(interval.low, past) if self._p[0] <= alpha else min(interval.low, self._margin)
        high = min(interval.high, short) if self._p[1] <= alpha else max(interval.high, self._margin)
        return _oriented_interval(plan, Interval(low, high))

    def result(self) -> StoppingResult:
        """The whole account of where the claim stands now."""
        plan, n, state = self.plan, self.n_units, self.state
        cases = len(self._worst)
        marked = cases - self._missing
        wealth = None if plan.mode == "planned-looks" else self._wealth
        shown = self.interval(plan.alpha) if state != "refused" else None
        alone = _oriented_interval(plan, self._sequence([n], plan.alpha_e)[0]) if state != "refused" and wealth else None
        return StoppingResult(
            state=state,
            verdict="supported" if state == "supported" else "refuted" if state == "refuted" else "undecided",
            stop=state != "open",
            say=self._say(state, n),
            value=self._marked_total / marked if marked and shown else None,
            low=shown.low if shown else None,
            high=shown.high if shown else None,
            confidence_level=1 - 2 * plan.alpha,
            sequence_low=alone.low if alone else None,
            sequence_high=alone.high if alone else None,
            p_support=self.p_support,
            p_refute=self.p_refute,
            p_rule_out=max(self._p[2], SMALLEST_ALPHA),
            p_fixed=self._at_cap[0] if self._at_cap else None,
            e_value=math.exp(wealth.now[0]) if wealth else None,
            e_max=math.exp(wealth.most[0]) if wealth else None,
            e_rule_out=math.exp(wealth.most[2]) if wealth else None,
            n_units=n,
            n_cases=cases,
            n_missing=self._missing,
            n_max=plan.n_max,
            decided_at=self._decided_at if state not in ("open", "refused") else None,
            method=f"{plan.mode}, e-process" if wealth else "planned looks, O'Brien-Fleming spending",
            order_digest=plan.order_digest,
            path=self.thinned(),
            warnings=self._warnings(state, n, cases),
            refused=self._refused,
        )

    def thinned(self) -> tuple[tuple[int, float, float, float], ...]:
        """The path as in `StoppingResult.path`: points at equal distances, the last and that of the decision always among them."""
        n = len(self._path)
        step = math.ceil(n / (PATH_POINTS - 1))
        kept = set(range(n - 1, -1, -step)) if n else set()
        if self._decided_at is not None and n:
            kept.add(min(self._decided_at, n) - 1)
        floor = -CERTAIN / math.log(10)  # of a bet that lost everything

        def point(place: int) -> tuple[int, float, float, float]:
            support, refute, rule_out = (max(log / math.log(10), floor) for log in self._path[place])
            return place + 1, support, refute, rule_out

        return tuple(point(place) for place in sorted(kept))

    def _sequence(self, at: Sequence[int], alpha: float) -> tuple[Interval, ...]:
        """The confidence sequence from the claim's side after each number of units, with missing marks at their worst and best."""
        plan = self.plan
        sizes = np.array(self._sizes, dtype=np.int64) if plan.largest_cluster or 0 in self._sizes else None
        totals = np.array(self._totals, dtype=np.float64).reshape(-1, 2)

        def ends(totals: FloatArray) -> tuple[Interval, ...]:
            return confidence_sequence(
                totals,
                sizes,
                low=plan.low,
                high=plan.high,
                alpha=alpha,
                fractions=bets(plan.bet_support)[0],
                fractions_above=bets(plan.bet_refute)[0],
                largest=plan.largest_cluster or 1,
                bank=plan.bank,
                at=at,
            )

        worst = ends(totals[:, 0])
        best = worst if self._missing == 0 else ends(totals[:, 1])
        return tuple(Interval(a.low, b.high) for a, b in zip(worst, best, strict=True))

    def sequence(self, at: Sequence[int]) -> tuple[Interval, ...]:
        """The confidence sequence after each number of units consumed, for a chart."""
        return tuple(_oriented_interval(self.plan, one) for one in self._sequence(at, self.plan.alpha_e))

    def _say(self, state: State, n: int) -> str:
        plan = self.plan
        after = f"after {n} of at most {plan.n_max} {'clusters' if plan.largest_cluster is not None else 'cases'}"
        if self._refused is not None:
            return f"no decision {after} ({self._refused})"
        return {
            "open": f"open {after}",
            "supported": f"supported {after}",
            "refuted": f"refuted {after}",
            "ruled-out": f"{'stopped early: ' if n < plan.n_max else ''}undecided, an effect of {plan.alternative:g} is ruled out, {after}",
            "capped": f"undecided {after}",
        }[state]

    def _warnings(self, state: State, n: int, cases: int) -> tuple[str, ...]:
        found = []
        if state in ("supported", "refuted", "ruled-out") and n < self.plan.n_max:
            found.append("the mean after an early stop leans away from the margin; the interval allows for the stop")
        if self._missing > WORTH_A_WARNING * cases:
            found.append(f"{self._missing} of {cases} marks are missing and were taken at their worst and at their best")
        if self._beyond:
            found.append(f"{self._beyond} units beyond the cap were not used")
        if self._given_up:
            found.append(f"started anew when what is measured changed; {self._given_up} earlier units do not count")
        return tuple(found)


def _both(interval: Interval, at: tuple[IntervalAt, IntervalAt], alpha: float) -> Interval:
    """What an interval and one at worst and at best leave together, the latter's ends at the one-sided level alpha."""
    worst, best = at
    return Interval(max(interval.low, worst(1 - 2 * alpha).low), min(interval.high, best(1 - 2 * alpha).high))


# ---------------------------------------------------------------- many runs, for forecasts and grids


class StoppingRuns(NamedTuple):
    """What a plan did in each of many runs."""

    used: IntArray  # units
    supported: np.ndarray
    refuted: np.ndarray
    ruled_out: np.ndarray  # the effect worth finding, without a refutation


def stopping_runs(plan: StoppingPlan, values: FloatArray, *, sizes: IntArray | None = None, look_every: int = 1) -> StoppingRuns:
    """What `Stopping` decides on each row of `values` (runs x n_max units, complete), looking after every so many units.

    With clusters `values` are their totals and `sizes` their sizes; then only `open-ended` plans can be run.
    """
    if plan.refused is not None:
        raise ValueError(f"{plan.refused.code}: {plan.refused.why}")
    if values.ndim != 2 or values.shape[1] != plan.n_max:
        raise ValueError(f"each run has {plan.n_max} units")
    if (sizes is None) != (plan.largest_cluster is None) or (sizes is not None and plan.mode != "open-ended"):
        raise ValueError("runs with clusters need their sizes and an open-ended plan")
    x = values if plan.above else (plan.low + plan.high) * (1 if sizes is None else sizes) - values
    runs, cap = x.shape
    if plan.mode == "planned-looks":
        return _looked_at(plan, x)
    paths = _Processes(plan, (runs,)).update(x, x, sizes)
    bars = (-math.log(plan.alpha_e), -math.log(plan.alpha_e), -math.log(plan.beta_e) if plan.mode != "finite-bank" else math.inf)
    first = np.stack([_first(path >= bar) for path, bar in zip(paths, bars, strict=True)])
    used = np.minimum(-(-(first.min(axis=0) + 1) // look_every) * look_every, cap)
    done = first < used
    if plan.mode == "hybrid":
        full = np.flatnonzero(used == cap)
        done[:, full] |= _fixed_says(plan, x[full], plan.alpha / 2, plan.beta / 2)
    supported, refuted = done[0], done[1] & ~done[0]
    return StoppingRuns(used, supported, refuted, done[2] & ~supported & ~refuted)


def _first(reached: np.ndarray) -> IntArray:
    """Place of the first step at which each run reached its bar; beyond the last one where it never did."""
    first: IntArray = np.where(reached.any(axis=1), reached.argmax(axis=1), reached.shape[1])
    return first


def _fixed_says(plan: StoppingPlan, x: FloatArray, alpha: float, beta: float) -> np.ndarray:
    """Whether the fixed test supports, refutes, and rules out on each row; rows of the same counts are computed once."""
    said = np.zeros((3, len(x)), dtype=bool)
    if len(x) == 0:
        return said
    test, m0, m1 = fixed_interval(plan), _oriented(plan, plan.null), _oriented(plan, plan.alternative)
    if plan.kind != "mean" and bool(np.all(np.isin(x, (-1.0, 0.0, 1.0)))):
        counts = np.stack([(x > 0).sum(axis=1), (x < 0).sum(axis=1)], axis=1)
        _, example, same = np.unique(counts, axis=0, return_index=True, return_inverse=True)
    else:
        example = same = np.arange(len(x))
    answers = np.zeros((3, len(example)), dtype=bool)
    for i, row in enumerate(example):
        at = test(x[row] if plan.above else plan.low + plan.high - x[row], None)
        if isinstance(at, Refusal):
            continue
        low, high = _oriented_interval(plan, at(1 - 2 * alpha))
        answers[:, i] = low > m0, high < m0, _oriented_interval(plan, at(1 - 2 * beta)).high < m1
    return answers[:, np.ravel(same)]


def _looked_at(plan: StoppingPlan, x: FloatArray) -> StoppingRuns:
    used = np.full(len(x), plan.n_max)
    done, open_ = np.zeros((3, len(x)), dtype=bool), np.arange(len(x))
    for look, level, rule_out in zip(plan.looks, plan.look_levels, plan.rule_out_levels, strict=True):
        said = _fixed_says(plan, x[open_, :look], level, rule_out)
        done[:, open_] = said
        used[open_] = look
        open_ = open_[~said.any(axis=0)]
    return StoppingRuns(used, done[0], done[1] & ~done[0], done[2] & ~done[0] & ~done[1])


def stopping_forecast(
    plan: StoppingPlan, truth: float, *, rng: np.random.Generator, runs: int = 2_000, look_every: int = 1
) -> StoppingForecast:
    """How much a plan uses and how often it decides if the mean is `truth`, from that many simulated runs.

    Cases are drawn as the plan supposes them: 0/1 with that rate, wins, ties and losses with its discordance, or two values
    with its spread; from a finite bank without replacement. Refused for a refused plan; single cases only.
    """
    if plan.largest_cluster is not None:
        raise ValueError("a forecast is for single cases")
    if not plan.low <= truth <= plan.high:
        raise ValueError(f"the truth must lie on the scale {plan.low:g} to {plan.high:g}")
    if plan.refused is not None:
        return StoppingForecast(truth, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0, plan.refused)
    values, shares = _supposed(plan, _oriented(plan, truth))
    seen = values if plan.above else plan.low + plan.high - values
    parts, block = [], max(1, BLOCK // plan.n_max)
    for start in range(0, runs, block):
        rows = min(block, runs - start)
        if plan.bank is None:
            x = seen[np.searchsorted(np.cumsum(shares)[:-1], rng.uniform(size=(rows, plan.n_max)), side="right")]
        else:
            # whole numbers of each value, the shares rounded down and the rest given to the largest remainders
            counts = np.floor(shares * plan.bank + 1e-9).astype(np.int64)
            for most in np.argsort(-(shares * plan.bank - counts))[: plan.bank - int(counts.sum())]:
                counts[most] += 1
            x = rng.permuted(np.tile(np.repeat(seen, counts), (rows, 1)), axis=1)
        parts.append(stopping_runs(plan, x, look_every=look_every))
    used, supported, refuted, ruled_out = (np.concatenate(part) for part in zip(*parts, strict=True))
    mean = float(used.mean())
    return StoppingForecast(
        truth=float(truth),
        mean_units=mean,
        saved=1 - mean / (plan.bank or plan.n_fixed),
        most_units=int(used.max()),
        supported=float(supported.mean()),
        refuted=float(refuted.mean()),
        ruled_out=float(ruled_out.mean()),
        capped=float(np.mean(~(supported | refuted | ruled_out))),
        runs=runs,
    )


# ---------------------------------------------------------------- order, several claims, releases


def in_order(order: Sequence[str], outcomes: Mapping[str, T]) -> list[T]:
    """The outcomes that may be consumed: those of `order` up to the first that is still pending (not in `outcomes`).

    What has finished behind a pending one waits: quick answers are often the good ones, and taken as they come they would
    support any claim. A failure is an outcome, in its place. `order` names whole clusters where clusters are the units.
    """
    ready = []
    for name in order:
        if name not in outcomes:
            break
        ready.append(outcomes[name])
    return ready


def order_digest(order: Sequence[str]) -> str:
    """A short fingerprint of an order, to record with the seed: the start of the SHA-256 of its JSON list."""
    return hashlib.sha256(json.dumps(list(order), ensure_ascii=False).encode()).hexdigest()[:16]


class Together(NamedTuple):
    """Several primary claims on one run, each judged at its level after Holm."""

    stop: bool  # every claim is decided, ruled out, refused or capped
    supported: tuple[bool, ...]
    refuted: tuple[bool, ...]
    levels_support: tuple[float, ...]  # one-sided
    levels_refute: tuple[float, ...]
    open: tuple[int, ...]  # places of the claims that still need cases


class Judged(Protocol):
    """What `stop_together` reads of a claim: a `StoppingResult` has it, and a `Stopping` at less cost."""

    @property
    def state(self) -> State: ...
    @property
    def n_units(self) -> int: ...
    @property
    def n_max(self) -> int: ...
    @property
    def p_support(self) -> float: ...
    @property
    def p_refute(self) -> float: ...
    @property
    def refused(self) -> Refusal | None: ...


def stop_together(results: Sequence[Judged], *, alpha: float = 0.025) -> Together:
    """Whether a run with several primary claims may stop: only when each is decided at its Holm level, or capped.

    Each p is valid at whatever moment it is read, so Holm's step-down on them is as well; supports and refutations are two
    families. Plan each claim at alpha divided by their number: a claim that its own plan decides is then decided here.
    """
    support, refute = [one.p_support for one in results], [one.p_refute for one in results]
    levels_support, levels_refute = holm_levels(support, alpha), holm_levels(refute, alpha)
    sound = [one.refused is None for one in results]
    supported = tuple(ok and p <= level for ok, p, level in zip(sound, support, levels_support, strict=True))
    refuted = tuple(ok and p <= level for ok, p, level in zip(sound, refute, levels_refute, strict=True))
    still = tuple(
        place
        for place, one in enumerate(results)
        if not (supported[place] or refuted[place] or one.state in ("ruled-out", "capped", "refused") or one.n_units >= one.n_max)
    )
    return Together(not still, supported, refuted, levels_support, levels_refute, still)


@dataclass(frozen=True, slots=True)
class Ledger(Result):
    """The releases at which one hypothesis was looked at on new answers, and the alpha each may spend.

    The k-th release spends alpha / (k (k + 1)), which adds up to alpha over any number of releases; with a declared number
    of `planned` releases each spends alpha / planned. A second look at the same release spends nothing new.
    """

    hypothesis: str
    alpha: float = 0.025
    planned: int | None = None  # releases; None: open-ended
    releases: tuple[str, ...] = ()  # in the order in which they were first looked at

    def look(self, release: str) -> Ledger:
        """The ledger with this release in it. `ValueError` where all planned ones are spent."""
        if release in self.releases:
            return self
        if self.planned is not None and len(self.releases) >= self.planned:
            raise ValueError(f"all {self.planned} planned releases of {self.hypothesis} have been looked at")
        return replace(self, releases=(*self.releases, release))

    def level(self, release: str) -> float:
        """The one-sided level at which the hypothesis is judged on this release. `KeyError` where it is not in the ledger."""
        if release not in self.releases:
            raise KeyError(release)
        k = self.releases.index(release) + 1
        return self.alpha / (k * (k + 1)) if self.planned is None else self.alpha / self.planned

    def headline(self) -> str:
        spent = sum(self.level(release) for release in self.releases)
        return f"{self.hypothesis}: {len(self.releases)} releases looked at, {spent:.4g} of alpha {self.alpha:g} spent"
