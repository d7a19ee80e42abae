"""What so many cases can show, before and after they are collected."""

from __future__ import annotations

import math

from scipy.special import betaincinv, ndtri

from fairmark.stats.proportions import clopper_pearson


def paired_sample_size(
    delta: float, *, omega2: float, sigma2: float, repeats: int | None, alpha: float = 0.05, power: float = 0.8, two_sided: bool = True
) -> float:
    """Cases needed to see a mean paired difference delta: (z_a + z_b)^2 (omega^2 + 2 sigma^2 / K) / delta^2 (Miller 2024).

    omega2 is the variance of the paired case-mean difference, sigma2 that of re-running either system, K the repeats
    (None: infinitely many).
    """
    z = float(ndtri(1 - alpha / (2 if two_sided else 1))) + float(ndtri(power))
    noise = 0.0 if repeats is None else 2 * sigma2 / repeats
    return z**2 * (omega2 + noise) / delta**2


def smallest_visible_difference(n: int, *, discordance: float, alpha: float, power: float) -> float | None:
    """The smallest difference of pass rates that n pairs show when the systems differ on a share of the cases.

    Solves n d^2 = (z_a + z_b)^2 (discordance - d^2), with one-sided alpha; None where it is more than the discordance.
    """
    z = float(ndtri(1 - alpha)) + float(ndtri(power))
    d = math.sqrt(z**2 * discordance / (n + z**2))
    return d if d <= discordance else None


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
