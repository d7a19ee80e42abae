"""People's marks as rows of recorded marks, to keep beside the study and read back."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from fairmark.records import as_cell
from fairmark.table import Table


@dataclass(frozen=True, slots=True)
class MarkRow:
    """One mark by a person, as `recorded: marks.csv` reads it."""

    case: str
    system: str
    trial: int
    criterion: str
    rater: str  # pseudonym; `adjudicated` for what settles a disagreement
    label: str
    reason: str
    output: str  # the answer that was marked: the mark stays bound to it
    probability: float | None  # with which the answer was chosen for marking; None: nobody says
    chosen: str  # how: all, random, stratified, self-selected or unknown


COLUMNS = tuple(one.name for one in fields(MarkRow))


def export_marks(table: Table) -> tuple[MarkRow, ...]:
    """The marks that stand of those given at the page, row by row of the table.

    Hidden repeats are left out, as are marks that a change has voided and ways out that no level names: a recorded mark
    of them would count as an answer.
    """
    people = table.study.people
    if people is None:
        return ()
    chosen = table.study.graders[people.name].chosen
    made = []
    for row in table.rows:
        drawn = table.drawn.get((row.case.id, row.system, row.trial))
        for cell in row.cells:
            grade = cell.grade
            if cell.grader != people.name or cell.repeat or grade is None or grade.label is None:
                continue
            assert row.response is not None and row.response.answer is not None
            made.append(
                MarkRow(
                    row.case.id,
                    row.system,
                    row.trial,
                    cell.criterion,
                    cell.rater,
                    grade.label,
                    grade.reason,
                    row.response.answer.text,
                    None if drawn is None else drawn.probability,
                    chosen,
                )
            )
    return tuple(made)


def write_marks(rows: Iterable[MarkRow], path: Path) -> int:
    """Writes marks as CSV and returns how many. A cell that a spreadsheet would run gets an apostrophe in front."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow(["" if (value := getattr(row, name)) is None else as_cell(str(value)) for name in COLUMNS])
            count += 1
    return count
