"""Numbers as text, out of 100, so that what is printed never contradicts what was decided.

A bound of 0.7496 beside an expectation of 0.75 would round to the very 75 that it does not reach. Where rounding would
carry a number onto or across something it is compared with, sentences say "just under 75" and tables print as many
digits as it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from fairmark.results import Estimate

MOST_DIGITS = 3  # decimals of a figure out of 100; beyond, words say more
BOUND_DIGITS = 4  # decimals of a figure that something is compared with


Against = Sequence[tuple[Decimal, Decimal]]  # what numbers are held against: exactly, and as it is printed


@dataclass(frozen=True, slots=True)
class Figures:
    """An estimate and its range as text, out of 100."""

    value: str
    low: str
    high: str


def hundredths(number: float) -> Decimal:
    """A share of 1 as a number out of 100, exactly as it is written."""
    return Decimal(repr(float(number))).scaleb(2)


def bound_text(bound: float) -> str:
    """A number that others are held against, such as `70` or `7.5`."""
    return plain(_rounded(hundredths(bound), BOUND_DIGITS))


def figures(value: float, low: float, high: float, *, bounds: Iterable[float] = (), words: bool = False) -> Figures:
    """The three numbers out of 100, each on its own side of every bound. All are shares of 1.

    Whole numbers where the ends stay apart; then as many digits as keep them apart. A number that rounding would carry
    onto or across a bound is given with more digits, or, with `words` and where three decimals do not suffice, as "just
    over" or "just under" that bound.
    """
    exact = [hundredths(number) for number in (value, low, high)]
    against = [(hundredths(bound), _rounded(hundredths(bound), BOUND_DIGITS)) for bound in bounds]
    apart = (d for d in range(MOST_DIGITS) if exact[1] == exact[2] or _rounded(exact[1], d) != _rounded(exact[2], d))
    digits = next(apart, MOST_DIGITS)
    most = digits if words else MOST_DIGITS
    return Figures(*(_fitting(number, digits, most, against) for number in exact))


def figures_of(estimate: Estimate, *, bounds: Iterable[float] = (), words: bool = False) -> Figures | None:
    """The estimate out of 100, or None where it is refused."""
    if estimate.refused is not None or estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return figures(estimate.value, estimate.low, estimate.high, bounds=bounds, words=words)


def plain(number: Decimal) -> str:
    """A decimal without exponent and without trailing zeros; minus as the typographic sign."""
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text in ("-0", ""):
        text = "0"
    return text.replace("-", "−")


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def usd(amount: float) -> str:
    """An amount in US dollars with the digits that matter: `0.0042 USD`, `1.20 USD`."""
    if amount == 0:
        return "0 USD"
    if amount < 0.01:
        return f"{plain(Decimal(f'{amount:.2g}'))} USD"
    return f"{amount:,.2f} USD" if amount >= 1 else f"{amount:.3f} USD"


def seconds(number: float) -> str:
    """`0.42 s`, `3.1 s`, `85 s`."""
    return f"{number:.2f}\u00a0s" if number < 1 else f"{number:.1f}\u00a0s" if number < 10 else f"{number:.0f}\u00a0s"


def ratio(number: float) -> str:
    """A coefficient such as kappa, two decimals."""
    return plain(Decimal(f"{number:.2f}"))


def chance(number: float, alpha: float) -> str:
    """A p-value such as `0.012`, or `below 0.001`, with the digits that keep it on its side of the level alpha."""
    if number < 0.001 <= alpha:
        return "below 0.001"
    exact, held = Decimal(repr(number)), Decimal(repr(alpha))
    for digits in range(3, 9):
        if _side(_rounded(exact, digits), held) == _side(exact, held):
            return plain(_rounded(exact, digits))
    return f"just {'over' if exact > held else 'under'} {level(alpha)}"


def level(alpha: float) -> str:
    """A level of significance with four digits, such as `0.0125`."""
    return plain(Decimal(f"{alpha:.4g}"))


def per_cent(number: float) -> str:
    """A confidence level such as `97.5 %`."""
    return f"{plain(_rounded(hundredths(number), 2))}\u00a0%"


def _rounded(number: Decimal, digits: int) -> Decimal:
    with localcontext() as context:
        context.prec = 400  # a float as small as 5e-324 is a decimal of 324 places
        return number.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)


def _side(number: Decimal, bound: Decimal) -> int:
    return (number > bound) - (number < bound)


def _stays(number: Decimal, digits: int, against: Against) -> bool:
    printed = _rounded(number, digits)
    return all(_side(number, bound) == _side(printed, shown) for bound, shown in against)


def _fitting(number: Decimal, digits: int, most: int, against: Against) -> str:
    for more in range(digits, most + 1):
        if _stays(number, more, against):
            return _padded(number, more)
    # the nearest bound is the one that rounding cannot keep away from
    bound, shown = min(against, key=lambda pair: abs(pair[0] - number))
    if number == bound:
        return plain(shown)
    return f"just {'over' if number > bound else 'under'} {plain(shown)}"


def _padded(number: Decimal, digits: int) -> str:
    """Whole numbers stay whole; others keep their digits, so that columns read evenly."""
    rounded = _rounded(number, digits)
    if number == number.to_integral_value():
        return plain(rounded)
    return plain(rounded) if digits == 0 else f"{rounded:f}".replace("-", "−")
