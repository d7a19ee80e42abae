"""What so many cases can show, before and after they are collected."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import bdtrc, betaincinv, gammaln, ndtri, xlog1py, xlogy

from fairmark.results import Refusal
from fairmark.stats.clusters import FEWEST_CLUSTERS
from fairmark.stats.paired import FLIPS, tango
from fairmark.stats.proportions import clopper_pearson

EXACT_BELOW = 100  # pairs; from here on the normal approximation of the power is close enough


def paired_sample_size(
    delta: float,
    *,
    omega2: float,
    sigma2: float | tuple[float, float],
    repeats: int | tuple[int, int] | None,
    alpha: float = 0.05,
    power: float = 0.8,
    two_sided: bool = True,
    design_effect: float = 1.0,
) -> float:
    """Cases to see a mean paired difference delta: (z_a + z_b)^2 (omega^2 + s_A^2/K_A + s_B^2/K_B) / delta^2 x design effect.

    (Miller 2024.) omega2 is the variance of the paired case-mean difference, of 0/1 answers the share that differs less
    delta^2; sigma2 that of re-running either system and K the repeats (None: infinitely many), a pair where the systems
    are not alike.
    """
    z = float(ndtri(1 - alpha / (2 if two_sided else 1))) + float(ndtri(power))
    first, second = sigma2 if isinstance(sigma2, tuple) else (sigma2, sigma2)
    tries = repeats if isinstance(repeats, tuple) else (repeats, repeats)
    noise = sum(0.0 if k is None else one / k for one, k in zip((first, second), tries, strict=True))
    return z**2 * (omega2 + noise) / delta**2 * design_effect


def smallest_visible_difference(n: int, *, discordance: float, alpha: float, power: float) -> float | None:
    """The smallest difference of pass rates that n pairs show when the systems differ on a share of the cases.

    Below 100 pairs the difference at which the exact power of Tango's bound reaches `power` (see `paired_power`). From 100
    on it solves n d^2 = (z_a + z_b)^2 (discordance - d^2). One-sided alpha; None where it is more than the discordance.
    """
    if n < EXACT_BELOW:
        return _exactly_visible(n, discordance, alpha, power)
    z = float(ndtri(1 - alpha)) + float(ndtri(power))
    d = math.sqrt(z**2 * discordance / (n + z**2))
    return d if d <= discordance else None


def _exactly_visible(n: int, discordance: float, alpha: float, power: float) -> float | None:
    def reached(d: float) -> bool:
        return paired_power(n, win=(discordance + d) / 2, loss=(discordance - d) / 2, alpha=alpha) >= power

    if n < 1 or not reached(discordance):
        return None
    least, most = 0.0, discordance
    while most - least > 1e-6:
        middle = (least + most) / 2
        least, most = (least, middle) if reached(middle) else (middle, most)
    return most


def paired_power(n: int, *, win: float, loss: float, margin: float = 0.0, alpha: float = 0.025) -> float:
    """The exact chance that n pairs of 0/1 answers show a difference above `margin` by Tango's lower bound at one-sided alpha.

    `win` is the chance that only the first system passes a case, `loss` that only the second does. Adds the trinomial
    chances of all (wins, losses) that decide. `ValueError` where the chances are none.
    """
    if n < 1 or min(win, loss) < 0 or win + loss > 1 + 1e-12:
        raise ValueError(f"{n} pairs with wins at {win:g} and losses at {loss:g} cannot be")
    fewest = np.array(_fewest_wins(n, margin, alpha))
    losses = np.arange(n + 1)
    logs = gammaln(n + 1) - gammaln(losses + 1) - gammaln(n - losses + 1) + xlogy(losses, loss) + xlog1py(n - losses, -loss)
    within = fewest <= n - losses
    needed, left = np.where(within, fewest, 1), np.maximum(n - losses, 1)
    enough = np.where(needed > 0, bdtrc(needed - 1.0, left, min(1.0, win / (1 - loss)) if loss < 1 else 0.0), 1.0)
    return float(np.sum(np.exp(logs) * np.where(within, enough, 0.0)))


@lru_cache(maxsize=64)
def _fewest_wins(n: int, margin: float, alpha: float) -> tuple[int, ...]:
    """For each number of losses the fewest wins with a lower bound above the margin, more than are left where none has; it grows."""
    found, least = [], 0
    for losses in range(n + 1):
        low, high = least, n - losses + 1
        while low < high:
            middle = (low + high) // 2
            if tango(middle, losses, n, confidence_level=1 - 2 * alpha).low > margin:
                high = middle
            else:
                low = middle + 1
        least = low
        found.append(low)
    return tuple(found)


def too_few_to_decide(clusters: int, alpha: float, *, hypotheses: int = 1) -> Refusal | None:
    """Why the sign-flip test of so many clusters (or cases) can decide nothing, whatever they show; None where it can.

    No p is smaller than 2^-clusters up to 12, and than 1/10,000 beyond. `alpha` is one-sided, and shared by a family of so
    many hypotheses, as Holm's first step is.
    """
    smallest, level = max(0.5**clusters, 1 / (FLIPS + 1)), alpha / hypotheses
    if clusters >= FEWEST_CLUSTERS and smallest <= level:
        return None
    if level < 1 / (FLIPS + 1):
        return Refusal("UNDECIDABLE", f"no p is below 1/{FLIPS + 1:,}, and {level:.3g} is asked for", "test fewer hypotheses")
    enough = max(FEWEST_CLUSTERS, math.ceil(-math.log2(level)))
    why = (
        f"{clusters} clusters give no p below {smallest:.3g}, and {level:.3g} is asked for"
        if clusters >= FEWEST_CLUSTERS
        else (f"{clusters} clusters cannot tell how other clusters behave")
    )
    return Refusal("UNDECIDABLE", why, f"collect at least {enough} clusters")


def smallest_visible_rate(n: int, bound: float, *, alpha: float, power: float, above: bool) -> float | None:
    """How far beyond `bound` a pass rate must lie for n cases to show it with Clopper and Pearson's one-sided bound.

    Exact: the distance from the bound at which the chance of a deciding count reaches the power; None where even a
    rate of 1 (or 0) cannot be shown. A rate below a bound is a fail rate above 1 - bound.
    """
    if not above:
        return smallest_visible_rate(n, 1 - bound, alpha=alpha, power=power, above=True)
    if n < 1 or not 0 <= bound < 1 or not clopper_pearson(n, n, confidence_level=1 - 2 * alpha).low > bound:
        return None
    too_few, fewest = -1, n  # the smallest count whose lower bound is beyond: it grows with the count
    while fewest - too_few > 1:
        middle = (too_few + fewest) // 2
        if clopper_pearson(middle, n, confidence_level=1 - 2 * alpha).low > bound:
            fewest = middle
        else:
            too_few = middle
    # P(X >= fewest) is the Beta(fewest, n - fewest + 1) distribution function at p
    return max(0.0, float(betaincinv(fewest, n - fewest + 1, power)) - bound)


def smallest_visible_from_width(width: float, *, alpha: float, power: float) -> float:
    """The effect that would have been seen with the given power, from the width of the two-sided interval at 1 - 2 alpha.

    The width stands for 2 z_a standard errors, so the effect is width (z_a + z_b) / (2 z_a).
    """
    z = float(ndtri(1 - alpha))
    return width * (z + float(ndtri(power))) / (2 * z)
