"""Where things stand in the drawings: intervals on a shared scale, and bars of levels. Only numbers; templates draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fairmark.report.figures import bound_text
from fairmark.results import Estimate, LevelCount, Stopped

STEPS = (1, 2, 5, 10, 25, 50)
LEAST_EVIDENCE, MOST_EVIDENCE = -0.5, 1.2  # shares of what decides, on a scale of logarithms; beyond, a line runs along the edge
MARGIN = 2.5  # per cent of the width kept free on either side, so that a point at the edge is whole


@dataclass(frozen=True, slots=True)
class Tick:
    """One labelled place on a scale."""

    x: float  # per cent of the width
    text: str
    minor: bool  # left out where there is little room


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale shared by all rows of a table. Ends are out of 100."""

    first: float
    last: float
    ticks: tuple[Tick, ...]

    def x(self, share: float) -> float:
        """The place of a share of 1, per cent of the width, never outside the drawing."""
        span = self.last - self.first
        place = MARGIN + (100 - 2 * MARGIN) * (share * 100 - self.first) / span
        return round(min(100.0, max(0.0, place)), 2)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One interval in its row, per cent of the width."""

    low: float
    high: float
    at: float


def scale(shares: Iterable[float], *, signed: bool) -> Scale:
    """A scale that holds all the shares, with three to eight ticks. A difference's scale holds zero."""
    values = [share * 100 for share in shares]
    floor, ceiling = (-100.0, 100.0) if signed else (0.0, 100.0)
    if signed:
        values.append(0.0)
    if not values:
        values = [floor, ceiling]
    least, most = min(values), max(values)
    if most - least < 10:
        least, most = (least + most) / 2 - 5, (least + most) / 2 + 5
    step = next((s for s in STEPS if (most - least) / s <= 6), 50)
    first = max(floor, math.floor(least / step) * step)
    last = min(ceiling, math.ceil(most / step) * step)
    made = Scale(first, last, ())
    count = round((last - first) / step)
    places = [first + step * number for number in range(count + 1)]
    minor = [round(place / step) % 2 == 1 for place in places]
    return Scale(first, last, tuple(Tick(made.x(p / 100), _tick(p, signed), less) for p, less in zip(places, minor, strict=True)))


def _tick(place: float, signed: bool) -> str:
    text = bound_text(place / 100)
    return f"+{text}" if signed and place > 0 else text


def drawn(estimate: Estimate, on: Scale) -> Drawn | None:
    """The interval's place, or None where it is refused: what is not known is never a dot."""
    if estimate.refused is not None or estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return Drawn(on.x(estimate.low), on.x(estimate.high), on.x(estimate.value))


def ends(estimates: Iterable[Estimate]) -> list[float]:
    """Every number that has to find room on a shared scale."""
    return [n for e in estimates if e.refused is None for n in (e.low, e.value, e.high) if n is not None]


@dataclass(frozen=True, slots=True)
class Path:
    """How evidence grew while cases came in, per cent of the width and of the height."""

    lines: tuple[tuple[str, str], ...]  # for, against or beyond (the effect worth finding is ruled out), and its points
    enough: float  # height of the line at which it decides
    none: float  # height of no evidence either way
    decided: float | None  # place of the deciding case
    ticks: tuple[Tick, ...]


def path(stopped: Stopped) -> Path:
    """The evidence as a share of what decides, over all cases that might have been asked."""

    def x(units: int) -> float:
        return round(MARGIN + (100 - 2 * MARGIN) * units / stopped.most, 2)

    def y(share: float) -> float:
        within = min(MOST_EVIDENCE, max(LEAST_EVIDENCE, share))
        return round(100 * (MOST_EVIDENCE - within) / (MOST_EVIDENCE - LEAST_EVIDENCE), 2)

    lines = []
    for place, (name, bar) in enumerate(
        (("for", stopped.bar_support), ("against", stopped.bar_refute), ("beyond", stopped.bar_rule_out)), start=1
    ):
        if bar is None:
            continue
        points = [(0, 0.0), *((point[0], float(point[place]) / bar) for point in stopped.path)]
        lines.append((name, " ".join(f"{x(units)},{y(share)}" for units, share in points)))
    decided = None if stopped.decided_at is None else x(stopped.decided_at)
    ticks = [Tick(x(0), "0", False), Tick(x(stopped.most), f"{stopped.most:,}", False)]
    if decided is not None and stopped.decided_at is not None and 10 < decided < 90:
        ticks.insert(1, Tick(decided, f"{stopped.decided_at:,}", False))
    return Path(tuple(lines), y(1.0), y(0.0), decided, tuple(ticks))


@dataclass(frozen=True, slots=True)
class Piece:
    """One level in a bar of levels."""

    name: str
    count: int
    x: float  # per cent
    width: float  # per cent
    shade: int  # 0 the worst to 4 the best


def pieces(levels: Sequence[LevelCount]) -> tuple[Piece, ...]:
    """The levels side by side, worst first; none where nothing is marked."""
    total = sum(level.count for level in levels)
    if total == 0:
        return ()
    made, start = [], 0
    for place, level in enumerate(levels):
        shade = 4 if len(levels) == 1 else round(4 * place / (len(levels) - 1))
        made.append(Piece(level.level, level.count, round(100 * start / total, 2), round(100 * level.count / total, 2), shade))
        start += level.count
    return tuple(made)
