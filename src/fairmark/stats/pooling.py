"""Groups that lend one another strength: estimates for showing and ranking them, and for no claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaincinv, betaln, xlog1py, xlogy

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import clustered_mean
from fairmark.stats.estimates import refused_input
from fairmark.stats.groups import FEWEST_FOR_A_FIGURE, FEWEST_TO_SAY
from fairmark.stats.intervals import FloatArray, IntArray

LEAST_CONCENTRATION, MOST_CONCENTRATION = 1.0, 400.0
CONCENTRATIONS = 16
COARSE, FINE = 200, 24  # places of the mean: to find where it may lie, and there
NEGLIGIBLE = 1e-4  # of the largest weight
STEPS, CLOSE_ENOUGH = 60, 1e-9  # towards a quantile


@dataclass(frozen=True, slots=True)
class PooledGroup(Result):
    """One group as seen by itself, and drawn towards all groups as far as these are alike."""

    group: str
    n_cases: int
    seen: float | None  # its own mean; None where refused and for fewer than 10 cases
    value: float | None  # the pooled mean
    low: float | None
    high: float | None
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.value is None:
            return f"{self.group}: no figure ({self.refused})"
        seen = "" if self.seen is None else f", seen {self.seen:.3f}"
        return f"{self.group}: {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] pooled{seen} of {self.n_cases} cases"


@dataclass(frozen=True, slots=True)
class PooledGroups(Result):
    """Groups partially pooled. For display and ranking; a claim rests on the unpooled means."""

    groups: tuple[PooledGroup, ...]
    order: tuple[str, ...]  # best first by the pooled mean; groups without one are left out
    mean: float | None  # of the distribution the groups are taken to come from
    concentration: float | None  # 1 to 400, its posterior geometric mean: how many cases a group is drawn by
    confidence_level: float
    method: str
    n_cases: int
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"groups pooled: no figure ({self.refused})"
        return f"{len(self.order)} groups pooled around {self.mean:.3f}, each drawn there by about {self.concentration:.0f} cases"


def pooled_groups(
    passes: FloatArray,
    cases: FloatArray,
    *,
    names: Sequence[str] | None = None,
    confidence_level: float = 0.95,
    n_cases: Sequence[int] | None = None,
) -> PooledGroups:
    """Partially pooled pass rates of groups, for display and ranking.

    x_g passes in n_g cases are beta-binomial with mean m and concentration k, m uniform on 0 to 1 and k log-uniform on 1 to
    400, integrated on a grid (not plugged in, which forgets that both are estimated). Given m and k the rate of a group is
    Beta(x_g + m k, n_g - x_g + (1 - m) k); value and interval are mean and quantiles of these over the posterior of m and k.
    Counts may be effective ones (with `n_cases` the true numbers). Over groups, intervals cover on average what they say;
    an exceptional group is drawn too near to the others, which is why a claim rests on its unpooled mean.

    Refused: `NO_DATA` without a case, `ONE_GROUP`, `OFF_SCALE` for counts below 0 or more passes than cases; a group of
    fewer than 5 cases takes part and is not shown, `TOO_FEW_TO_SAY`.
    """
    x, n = np.asarray(passes, dtype=np.float64), np.asarray(cases, dtype=np.float64)
    if x.ndim != 1 or x.shape != n.shape or any(one is not None and len(one) != len(x) for one in (names, n_cases)):
        raise ValueError("passes, cases and names must be of one length, a group each")
    called = [str(i) for i in range(len(x))] if names is None else list(names)
    refused = None
    if not np.all((x >= 0) & (x <= n) & np.isfinite(n)):
        refused = Refusal("OFF_SCALE", "a group has more passes than cases, or less than none", "count passes and cases of each group")
    elif not np.any(n > 0):
        refused = Refusal("NO_DATA", "there is nothing to count", "run the study, or check that this criterion applies")
    elif np.count_nonzero(n > 0) < 2:
        refused = Refusal("ONE_GROUP", "one group has nothing to be pooled with", "use its own interval")
    if refused is not None:
        total = int(np.nansum(np.where(np.isfinite(n), n, 0))) if n_cases is None else sum(n_cases)
        return PooledGroups((), (), None, None, float(confidence_level), "none", max(total, 0), refused=refused)
    counted = [int(one) for one in n] if n_cases is None else [int(one) for one in n_cases]
    weight, mean, concentration = _posterior(x, n)
    first = x + (mean * concentration)[:, None]
    second = n - x + ((1 - mean) * concentration)[:, None]
    values = weight @ (first / (first + second))
    ends = _quantiles(weight, first, second, confidence_level)
    rows = []
    for i, name in enumerate(called):
        if counted[i] < FEWEST_TO_SAY:
            why = Refusal(
                "TOO_FEW_TO_SAY", f"{name} has fewer than {FEWEST_TO_SAY} cases", f"collect at least {FEWEST_TO_SAY} cases of {name}"
            )
            rows.append(PooledGroup(name, counted[i], None, None, None, None, why))
            continue
        seen = float(x[i] / n[i]) if counted[i] >= FEWEST_FOR_A_FIGURE and n[i] > 0 else None
        low, high = float(min(ends[i, 0], values[i])), float(max(ends[i, 1], values[i]))
        rows.append(PooledGroup(name, counted[i], seen, float(values[i]), low, high))
    shown = [i for i, row in enumerate(rows) if row.value is not None]
    return PooledGroups(
        groups=tuple(rows),
        order=tuple(called[i] for i in sorted(shown, key=lambda i: (-round(float(values[i]), 12), called[i]))),
        mean=float(weight @ mean),
        concentration=float(np.exp(weight @ np.log(concentration))),
        confidence_level=float(confidence_level),
        method="beta-binomial, integrated over mean and concentration",
        n_cases=sum(counted),
        assumptions=(
            "groups are alike but for what chance makes of them: none is known to be special",
            "cases are independent of one another",
        ),
        warnings=("for display and ranking only: a claim about a group rests on its unpooled mean",),
    )


def pooled_means(
    y: FloatArray, group: IntArray, cluster: IntArray | None = None, *, names: Sequence[str] | None = None, confidence_level: float = 0.95
) -> PooledGroups:
    """The same from arrays: 0/1 or scores in [0, 1], the group of each from 0, and its cluster.

    With clusters or scores a group counts as its effective n (see `clustered_mean`), p n_eff of them passes. Refused as
    `pooled_groups`, and `OFF_SCALE` for a score off 0 to 1.
    """
    y, group = np.asarray(y, dtype=np.float64), np.asarray(group)
    if y.ndim != 1 or any(one is not None and np.shape(one) != y.shape for one in (group, cluster)):
        raise ValueError("responses, groups and clusters must be arrays of one length")
    off = refused_input(y)
    if off is not None:
        return PooledGroups((), (), None, None, float(confidence_level), "none", len(y), refused=off)
    codes = np.unique(group)
    if names is not None and not (codes[0] >= 0 and codes[-1] < len(names)):
        raise ValueError(f"a group has no name: there are {len(names)}")
    called = [names[int(code)] if names is not None else str(int(code)) for code in codes]
    plain = cluster is None and bool(np.all((y == 0) | (y == 1)))
    passes, effective, counted = [], [], []
    for code in codes:
        rows = group == code
        own, n = y[rows], int(np.count_nonzero(rows))
        size = float(n)
        if not plain:
            size = min(clustered_mean(own, np.arange(n) if cluster is None else np.asarray(cluster)[rows]).n_effective, 1e12)
        passes.append(min(float(own.mean()), 1.0) * size)
        effective.append(size)
        counted.append(n)
    return pooled_groups(np.array(passes), np.array(effective), names=called, confidence_level=confidence_level, n_cases=counted)


def _posterior(x: FloatArray, n: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights that add up to 1 with the mean and the concentration they belong to, negligible ones left out.

    The mean is placed evenly in the angle asin(sqrt(m)), so that rates near 0 and 1 are resolved; the weight of a place is the
    width it stands for.
    """
    angle = (np.arange(COARSE) + 0.5) * np.pi / (2 * COARSE)
    logs = _log_weight(x, n, angle).max(axis=1)
    likely = np.flatnonzero(logs > logs.max() + np.log(NEGLIGIBLE))
    step = np.pi / (2 * COARSE)
    low, high = angle[likely[0]] - step, angle[likely[-1]] + step
    low, high = max(low, 1e-9), min(high, np.pi / 2 - 1e-9)
    angle = low + (np.arange(FINE) + 0.5) * (high - low) / FINE
    logs = _log_weight(x, n, angle)
    kept = np.argwhere(logs > logs.max() + np.log(NEGLIGIBLE))
    weight = np.exp(logs[kept[:, 0], kept[:, 1]] - logs.max())
    return weight / weight.sum(), np.sin(angle[kept[:, 0]]) ** 2, _concentrations()[kept[:, 1]]


def _concentrations() -> FloatArray:
    edges = np.linspace(np.log(LEAST_CONCENTRATION), np.log(MOST_CONCENTRATION), CONCENTRATIONS + 1)
    concentrations: FloatArray = np.exp((edges[1:] + edges[:-1]) / 2)
    return concentrations


def _log_weight(x: FloatArray, n: FloatArray, angle: FloatArray) -> FloatArray:
    k = _concentrations()
    first, second = np.outer(np.sin(angle) ** 2, k), np.outer(np.cos(angle) ** 2, k)
    logs = np.log(np.sin(2 * angle))[:, None] - len(x) * betaln(first, second)
    for passed, of in zip(x, n, strict=True):
        logs += betaln(first + passed, second + of - passed)
    return np.asarray(logs)


def _quantiles(weight: FloatArray, first: FloatArray, second: FloatArray, confidence_level: float) -> FloatArray:
    """Both ends of each group, groups x 2: where the mixture of its Beta distributions reaches them.

    Newton's steps from the quantiles of the Beta distribution with the mixture's mean and variance, and a halving of what is
    left wherever a step would leave it.
    """
    target = np.array([(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    total = first + second
    mean = weight @ (first / total)
    spread = weight @ (first * second / (total**2 * (total + 1)) + (first / total - mean) ** 2)
    size = np.maximum(mean * (1 - mean) / spread - 1, 1e-3)
    a, b, scale = first[:, :, None], second[:, :, None], betaln(first, second)[:, :, None]
    at = betaincinv((mean * size)[:, None], ((1 - mean) * size)[:, None], target)
    low, high = np.zeros(at.shape), np.ones(at.shape)
    for _ in range(STEPS):
        at = np.where((at > low) & (at < high), at, (low + high) / 2)
        beyond = np.einsum("w,wge->ge", weight, betainc(a, b, at)) - target
        low, high = np.where(beyond < 0, at, low), np.where(beyond < 0, high, at)
        density = np.einsum("w,wge->ge", weight, np.exp(xlogy(a - 1, at) + xlog1py(b - 1, -at) - scale))
        step = beyond / np.maximum(density, 1e-12)
        at = at - step
        if np.all((np.abs(step) < CLOSE_ENOUGH) | (high - low < CLOSE_ENOUGH)):
            break
    return np.asarray(at.clip(low, high))
