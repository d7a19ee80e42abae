"""The words of a run that goes on: the same on a terminal, in a pipe and on its page."""

from __future__ import annotations

from collections.abc import Mapping

from fairmark.records import Progress


def finished(progress: Progress) -> int:
    """Answers and marks that are there or have failed."""
    return progress.stored + progress.done + progress.failed


def percent(progress: Progress) -> str:
    """Whole percent of what is planned, and 100 only once all is finished."""
    return f"{100 * finished(progress) // progress.planned if progress.planned else 100}%"


def rate(a_second: float) -> str:
    """A rate with two or three digits that mean something."""
    return f"{a_second:.0f}" if a_second >= 100 else f"{a_second:.1f}" if a_second >= 1 else f"{a_second:.2f}"


def spend(progress: Progress) -> list[str]:
    """What was spent, and what all will have cost: a range, because prices vary."""
    if progress.usd is None:
        return ["spend unknown"]
    spent = f"spent {progress.usd:.4f} USD"
    if not progress.pending:
        return [spent]
    span = progress.usd_projected
    return [spent, f"in the end {'not known yet' if span is None else _usd(*span)}"]


def _usd(low: float, high: float) -> str:
    digits = 2 if high >= 1 else 4
    first, last = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"{first} USD" if first == last else f"{first} to {last} USD"


def counted(kinds: Mapping[str, int]) -> str:
    """`3 timeout, 1 bad request`, the most frequent first."""
    return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(kinds.items(), key=lambda one: -one[1]))


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
