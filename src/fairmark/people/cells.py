"""People's marks as cells of the table: those that stand, those still to come, and those that a change has voided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fairmark.people.assign import Where, where
from fairmark.people.desk import person_grader
from fairmark.people.marks import Said, State, settles, standing
from fairmark.records import ADJUDICATED, Assignment, Failure, Grade, Slot, digest, grade_key, item_of
from fairmark.store import Store
from fairmark.study import Study
from fairmark.table import Cell


def cells(
    study: Study, slots: Sequence[Slot], assignments: Sequence[Assignment], said: Mapping[str, State], store: Store
) -> dict[Where, list[Cell]]:
    """Of each response the cells of the people who were asked to mark it, training left out.

    A cell without a grade is still to come. A mark that was given to another response, wording or guideline is a
    `stale_mark`: it counts as little as none, and says what has changed. A settlement counts while the marks stand that it
    settles. `said` are the marks by assignment.
    """
    people = study.people
    if people is None:
        return {}
    by_key: dict[str, list[Slot]] = {}  # two systems that give the same answer to a case share its name, and its marks
    for slot in slots:
        if slot.response is not None and slot.response.answer is not None:
            by_key.setdefault(slot.key, []).append(slot)
    now = {where(slot): slot.key for slot in slots}
    wanted: dict[tuple[str, str], tuple[Assignment, str]] = {}  # (assignment, criterion) -> key of its grade
    settled: dict[tuple[str, str], str] = {}  # (response, criterion) -> key of the grade that settles it
    sides: dict[tuple[str, str], list[tuple[str, Said]]] = {}  # (response, criterion) -> the marks that stand, by assignment
    for one in assignments:
        if one.kind == "training" or one.response not in by_key:
            continue
        slot = by_key[one.response][0]
        assert slot.response is not None
        item = item_of(slot.case, slot.response)
        for criterion in people.criteria:
            key = grade_key(person_grader(study, criterion, one.person), item, repeat=one.repeat)
            wanted[one.id, criterion] = one, key
            if one.repeat == 0 and (mark := standing(said, one.id, criterion, key)) is not None:
                sides.setdefault((one.response, criterion), []).append((one.id, mark))
            if (one.response, criterion) not in settled:
                settled[one.response, criterion] = grade_key(person_grader(study, criterion, ADJUDICATED), item)
    stored = store.grades([key for _, key in wanted.values()] + list(settled.values()))
    found: dict[Where, list[Cell]] = {}
    marked: set[tuple[Where, str, str, int]] = set()

    def put(response: str, criterion: str, rater: str, repeat: int, grade: Grade | None) -> None:
        for slot in by_key[response]:
            found.setdefault(where(slot), []).append(Cell(people.name, "human", criterion, rater, repeat, grade))
            if grade is not None and grade.failure is None:
                marked.add((where(slot), criterion, rater, repeat))

    for (_, criterion), (one, key) in wanted.items():
        grade = stored.get(key)
        if grade is not None and grade.failure is not None and grade.failure.kind == "withdrawn":
            grade = None
        if grade is None and (old := _said(said, one.id, criterion)) is not None:
            grade = _stale(study, one, criterion, old, key)
        put(one.response, criterion, one.person, one.repeat, grade)
    for (response, criterion), key in settled.items():
        grade = stored.get(key)
        if grade is not None and grade.label is not None and grade.source == settles(sides.get((response, criterion), ())):
            put(response, criterion, ADJUDICATED, 0, grade)
    for one in assignments:
        place = (one.case_id or "", one.system, one.trial)
        if one.kind == "training" or now.get(place, one.response) == one.response:
            continue
        for criterion in people.criteria:
            old = _said(said, one.id, criterion)
            if old is not None and (place, criterion, one.person, one.repeat) not in marked:
                cell = Cell(people.name, "human", criterion, one.person, one.repeat, _stale(study, one, criterion, old, ""))
                found.setdefault(place, []).append(cell)
    return found


def _said(said: Mapping[str, State], assignment: str, criterion: str) -> Said | None:
    state = said.get(assignment)
    one = state.said.get(criterion) if state is not None else None
    return one if one is not None and one.label is not None else None


def _stale(study: Study, one: Assignment, criterion: str, said: Said, key: str) -> Grade:
    assert study.people is not None
    if key == "":
        changed = "the response"
    elif said.wording != digest(study.rubric[criterion].wording())[:16]:
        changed = f"the wording of {criterion}"
    elif said.guideline != study.people.version:
        changed = "the guideline"
    else:
        changed = "what people are shown of the case"
    why = f"{changed} has changed since {one.person} marked it; the mark does not count for the present one"
    grade = Grade(said.key, one.case_id or "", criterion, study.people.name, one.person, one.repeat, at=one.at)
    return replace(grade, failure=Failure("stale_mark", study.people.name, why), seconds=said.seconds)
