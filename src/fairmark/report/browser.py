"""The responses as a reader leafs through them: case by case, the systems side by side, quotes marked where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fairmark.report.text import one_line
from fairmark.results import Exhibit, ExhibitGrade

PER_PAGE = 200  # responses
INLINE = 400  # up to so many responses stand in one list
ONE_FILE = 5_000  # beyond so many, pages become files of their own


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of an answer, and the quotes that cover it."""

    text: str
    marked: bool
    ends: tuple[int, ...]  # numbers of the grades whose quote ends here


@dataclass(frozen=True, slots=True)
class ShownGrade:
    """A grade, numbered where it quotes the answer."""

    grade: ExhibitGrade
    number: int | None  # beside its quotes in the answer; None: it quotes nothing that is there
    missing: tuple[str, ...]  # quotes that are not in the answer


@dataclass(frozen=True, slots=True)
class Shown:
    """One response with its answer cut where quotes begin and end."""

    exhibit: Exhibit
    segments: tuple[Segment, ...]
    grades: tuple[ShownGrade, ...]


@dataclass(frozen=True, slots=True)
class CaseShown:
    """One case with all its responses."""

    case_id: str
    number: int  # place among all cases, from 1; names its anchor
    page: int  # from 1
    first: Exhibit  # its input, reference and fields are the same in all of them
    opening: str  # the beginning of what was asked
    responses: tuple[Shown, ...]


def cases(exhibits: Sequence[Exhibit]) -> tuple[CaseShown, ...]:
    """The responses by case, in the order given."""
    by_case: dict[str, list[Exhibit]] = {}
    for exhibit in exhibits:
        by_case.setdefault(exhibit.case_id, []).append(exhibit)
    made = []
    before = 0
    for number, (case_id, group) in enumerate(by_case.items(), 1):
        page = before // PER_PAGE + 1
        before += len(group)
        said = next((content for role, content in reversed(group[0].input) if role == "user"), "")
        made.append(CaseShown(case_id, number, page, group[0], one_line(said, 110), tuple(shown(exhibit) for exhibit in group)))
    return tuple(made)


def pages(all_cases: Sequence[CaseShown]) -> tuple[tuple[CaseShown, ...], ...]:
    """The cases page by page; the responses of a case stay together."""
    by_page: dict[int, list[CaseShown]] = {}
    for case in all_cases:
        by_page.setdefault(case.page, []).append(case)
    return tuple(tuple(group) for group in by_page.values())


def shown(exhibit: Exhibit) -> Shown:
    """The response with its quotes. Offsets count characters of the raw answer; those outside it mark nothing."""
    length = len(exhibit.output or "")
    spans: list[tuple[int, int, int]] = []  # start, end, number
    grades = []
    number = 0
    for grade in exhibit.grades:
        found = [
            (start, end)
            for start, end, _, there in grade.evidence
            if there and start is not None and end is not None and 0 <= start < end <= length
        ]
        missing = tuple(
            quote
            for start, end, quote, there in grade.evidence
            if not there or start is None or end is None or not 0 <= start < end <= length
        )
        if found:
            number += 1
            spans += [(start, end, number) for start, end in found]
        grades.append(ShownGrade(grade, number if found else None, missing))
    return Shown(exhibit, _segments(exhibit.output or "", spans), tuple(grades))


def _segments(text: str, spans: Sequence[tuple[int, int, int]]) -> tuple[Segment, ...]:
    cuts = sorted({0, len(text), *(place for start, end, _ in spans for place in (start, end))})
    made = []
    for start, end in pairwise(cuts):
        covered = any(first <= start and end <= last for first, last, _ in spans)
        made.append(Segment(text[start:end], covered, tuple(sorted({number for _, last, number in spans if last == end}))))
    return tuple(made)
