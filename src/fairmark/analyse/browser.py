"""What the response browser shows."""

from __future__ import annotations

from collections.abc import Mapping

from fairmark.results import Exhibit, ExhibitGrade
from fairmark.table import Cell, Row, Table


def exhibits(table: Table) -> tuple[Exhibit, ...]:
    """Every planned response with its marks, in the order of the cases and systems; without those that may never be asked for."""
    study = table.study
    shown = [*study.groups, *([study.cluster] if study.cluster else [])]
    by_case: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.response is None and study.plan.stop == "when-decided":
            continue
        by_case.setdefault(row.case.id, []).append(row)
    order = {name: place for place, name in enumerate(study.systems)}
    return tuple(
        _exhibit(table, row, {name: str(row.case.fields.get(name, "")) for name in shown})
        for case in study.cases
        for row in sorted(by_case.get(case.id, []), key=lambda row: (order[row.system], row.trial))
    )


def _exhibit(table: Table, row: Row, fields: Mapping[str, str]) -> Exhibit:
    answer = row.response.answer if row.response is not None else None
    failure = row.response.failure if row.response is not None else None
    score = table.score(row)
    return Exhibit(
        case_id=row.case.id,
        system=row.system,
        trial=row.trial,
        fields=fields,
        input=tuple((message.role, message.content) for message in row.case.input),
        reference=row.case.expected,
        output=answer.text if answer is not None else None,
        failure=f"{failure.kind}: {failure.why}" if failure is not None else "" if answer is not None else "not asked yet",
        finish=answer.finish if answer is not None else "",
        seconds=answer.seconds if answer is not None else None,
        score=score.value if answer is not None else None,
        failed_gates=score.failed_gates,
        grades=tuple(_exhibit_grade(cell) for cell in row.cells if cell.grade is not None and not _absent(cell)),
    )


def _absent(cell: Cell) -> bool:
    return cell.grade is not None and cell.grade.failure is not None and cell.grade.failure.kind == "not_recorded"


def _exhibit_grade(cell: Cell) -> ExhibitGrade:
    grade = cell.grade
    assert grade is not None
    return ExhibitGrade(
        criterion=cell.criterion,
        grader=cell.grader,
        kind=cell.kind,
        rater=cell.rater,
        label=grade.label,
        failure=f"{grade.failure.kind}: {grade.failure.why}" if grade.failure is not None else "",
        reason=grade.reason,
        evidence=tuple((span.start, span.end, span.quote, span.found) for span in grade.evidence),
        confidence=grade.confidence,
    )
