"""The two kinds of trouble that rise; the third, the world's, is stored as a `records.Failure`.

A person's mistake is a `Mistake`: every problem in every file at once, each with its position, what was found, what is
allowed and what to do. `CannotDo` says that a well-formed request cannot be carried out here and now. Anything else that
rises is our bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in one place."""

    file: str  # as the person wrote it, or "command line"
    line: int | None  # counted from 1; None where the whole file is meant
    column: int | None  # counted from 1
    found: str  # what stands there
    allowed: str = ""  # what may stand there
    remedy: str = ""  # what to do about it

    @property
    def position(self) -> str:
        """The place as `file:line:column`, as far as it is known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def __str__(self) -> str:
        parts = [f"{self.position}: {self.found}"]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.remedy:
            parts.append(self.remedy)
        return "\n    ".join(parts)


class FairmarkError(Exception):
    """What fairmark raises on purpose."""

    exit_code = 1


class Mistake(FairmarkError):
    """A person's mistake in the files or the call, with all the problems found (exit code 2)."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line or 0, p.column or 0, p.found)))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def in_call(cls, found: str, *, allowed: str = "", remedy: str = "") -> Mistake:
        """A mistake in a command or a Python call rather than in a file."""
        return cls([Problem("command line", None, None, found, allowed, remedy)])


class CannotDo(FairmarkError):
    """A well-formed request that cannot be carried out here and now (exit code 1)."""

    def __init__(self, code: str, why: str, next_step: str = "") -> None:
        self.code = code  # a short stable name in capitals, such as OFFLINE
        self.why = why
        self.next_step = next_step
        super().__init__(f"{why}\n    {next_step}" if next_step else why)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the nearest of the known words, or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""
