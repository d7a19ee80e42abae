"""How far a study's marking is, for those who run it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from fairmark.people.adjudicate import Proposal
from fairmark.people.desk import Desk
from fairmark.people.marks import State, said_of
from fairmark.records import Act, Assignment, Slot
from fairmark.rubric import Rubric
from fairmark.study import Study
from fairmark.table import Table

SHORTEST_NAME = 3  # letters of a name that is looked for in responses


@dataclass(frozen=True, slots=True)
class Marker:
    """How far one person is."""

    person: str
    assigned: int
    done: int
    waiting: int  # held back until the next stage is opened
    minutes: float  # spent on what is marked
    median_seconds: float | None  # a response; None before the first
    last: int | None  # UTC, nanoseconds, of what they did last; None: they have not come yet


@dataclass(frozen=True, slots=True)
class Overview:
    """How far the marking is."""

    markers: tuple[Marker, ...]
    responses: int  # answered, of cases that are complete
    given: int  # of them given out
    voided: Mapping[str, int]  # marks that do not count any more, by what has changed
    gives_away: Mapping[str, int]  # responses that name a system, by the name


def overview(
    study: Study, desk: Desk, slots: Sequence[Slot], assignments: Sequence[Assignment], acts: Sequence[Act], table: Table
) -> Overview:
    """What an owner sees. Nothing in it says what anybody has marked."""
    last: dict[str, int] = {}
    for act in acts:
        last[act.person] = max(act.at, last.get(act.person, 0))
    said = said_of(acts)
    answered = [slot for slot in slots if slot.response is not None and slot.response.answer is not None]
    given = {one.response for one in assignments if one.kind in ("work", "together")}
    return Overview(
        tuple(_marker(desk, person, assignments, said, last.get(person)) for person in desk.people.roster),
        len(answered),
        sum(slot.key in given for slot in answered),
        voided(table),
        gives_away(study, slots),
    )


def _marker(desk: Desk, person: str, assignments: Sequence[Assignment], said: Mapping[str, State], last: int | None) -> Marker:
    progress = desk.progress(person)
    spent = []
    for one in assignments:
        if one.person == person and one.id in said:
            seconds = [mark.seconds for mark in said[one.id].said.values() if mark.seconds is not None]
            spent += [max(seconds)] if seconds else []
    return Marker(person, progress.assigned, progress.done, progress.waiting, sum(spent) / 60, median(spent) if spent else None, last)


def voided(table: Table) -> dict[str, int]:
    """How many of people's marks a change has voided, by what has changed."""
    found: Counter[str] = Counter()
    for row in table.rows:
        for cell in row.cells:
            failure = cell.grade.failure if cell.grade is not None else None
            if cell.kind == "human" and failure is not None and failure.kind == "stale_mark":
                found[failure.why.partition(" has changed")[0]] += 1
    return dict(sorted(found.items()))


def touched(table: Table, rubric: Rubric) -> dict[str, int]:
    """How many of people's marks at the page another rubric would void, by criterion: only these would be asked for again."""
    study = table.study
    if study.people is None:
        return {}
    present = study.rubric
    changed = {name for name in study.people.criteria if name not in rubric or rubric[name].wording() != present[name].wording()}
    found: dict[str, set[str]] = {name: set() for name in study.people.criteria if name in changed}
    for row in table.rows:
        for cell in row.cells:
            grade = cell.grade
            if cell.grader != study.people.name or cell.criterion not in changed or grade is None:
                continue
            if grade.failure is None or grade.failure.kind == "not_covered":
                found[cell.criterion].add(grade.key)  # two systems that answer alike share a mark
    return {name: len(keys) for name, keys in found.items()}


def with_anchor(rubric: Rubric, proposed: Proposal) -> Rubric:
    """The rubric as it would be with a proposed anchor."""
    on = rubric[proposed.criterion]
    levels = tuple(replace(one, anchor=proposed.proposed) if one.name == proposed.level else one for one in on.levels)
    return replace(rubric, criteria=tuple(replace(one, levels=levels) if one.id == on.id else one for one in rubric))


def gives_away(study: Study, slots: Sequence[Slot]) -> dict[str, int]:
    """How many responses name a system, its model or its provider, by the name: whoever marks them may know whose they are."""
    names: dict[str, None] = {}
    for name, spec in study.systems.items():
        names[name] = None
        if spec.model is not None:
            names[spec.model.model] = None
            if spec.model.provider != "local":
                names[spec.model.provider] = None
    found: Counter[str] = Counter()
    for name in names:
        if len(name) < SHORTEST_NAME:
            continue
        pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        for slot in slots:
            if slot.response is not None and slot.response.answer is not None and pattern.search(slot.response.answer.text):
                found[name] += 1
    return dict(found)
