"""What is worth improving in a study that has no mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fairmark.errors import Problem
from fairmark.load.sources import clip, listed
from fairmark.rubric import Criterion
from fairmark.study import Study

# Words that sound like a standard and leave it to each grader.
VAGUE = (
    "good", "bad", "great", "nice", "poor", "appropriate", "appropriately", "adequate", "adequately", "reasonable", "proper", "properly",
    "suitable", "sufficient", "sufficiently", "acceptable", "satisfactory", "high-quality", "well-written", "somewhat", "fairly", "okay",
)  # fmt: skip
_VAGUE = re.compile(r"\b(" + "|".join(map(re.escape, VAGUE)) + r")\b", re.IGNORECASE)
_TWO_THINGS = re.compile(r"\b(?:and|as well as|and/or)\b", re.IGNORECASE)
_SLOT = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")


def lint(study: Study) -> tuple[Problem, ...]:
    """What could be clearer in the rubric, and what makes results harder to trust or repeat. Nothing here stops a run."""
    return (*_rubric(study), *_systems(study), *_plan(study))


def _rubric(study: Study) -> Iterator[Problem]:
    for criterion in study.rubric:
        where = f"rubric, {criterion.id}"
        if _TWO_THINGS.search(criterion.question):
            yield Problem(
                where,
                None,
                None,
                f"the question may ask two things at once: {clip(criterion.question)}",
                "",
                "make it two criteria if an answer can do one without the other",
            )
        yield from _levels(where, criterion)


def _levels(where: str, criterion: Criterion) -> Iterator[Problem]:
    for level in criterion.levels:
        vague = list(dict.fromkeys(match[1].lower() for match in _VAGUE.finditer(level.anchor)))
        if vague:
            yield Problem(
                where,
                None,
                None,
                f"the anchor of `{level.name}` leaves the standard open: {listed(vague)}",
                "",
                "say what can be seen in an answer at this level",
            )
        if not level.anchor:
            yield Problem(
                where,
                None,
                None,
                f"the level `{level.name}` has no anchor",
                "",
                "add a sentence that says what an answer at this level looks like",
            )
    anchors = [level.anchor.strip().lower() for level in criterion.levels if level.anchor]
    if len(set(anchors)) < len(anchors):
        yield Problem(where, None, None, "two levels have the same anchor", "", "say what tells them apart")


def _systems(study: Study) -> Iterator[Problem]:
    for system in study.systems.values():
        where = f"systems, {system.name}"
        if system.kind in ("http", "command") and not system.version:
            yield Problem(
                where,
                None,
                None,
                "its code cannot be seen, and it declares no `version`",
                "",
                "add `version:` and change it with every release; else old answers stand for the new application",
            )
        if system.kind == "http" and not any(
            {"input", "messages"} & set(_SLOT.findall(str(text))) for text in (system.url, system.body, *system.headers.values())
        ):
            yield Problem(
                where,
                None,
                None,
                "the request holds no {{input}}, so every case asks the same",
                "",
                "put {{input}} where the request of the case belongs",
            )
        if system.kind == "command" and not any({"input", "messages"} & set(_SLOT.findall(part)) for part in system.command):
            yield Problem(
                where, None, None, "the command holds no {{input}}, so every case asks the same", "", "put {{input}} among the arguments"
            )
        if system.prompt is not None and len(system.prompt.split()) < 3 and not _SLOT.search(system.prompt):
            yield Problem(where, None, None, f"the prompt says next to nothing: {clip(system.prompt)}", "", "say what the system is to do")
        missing = [
            case.id
            for case in study.cases
            if system.recorded is not None and not any((case.id, n + 1) in system.recorded for n in range(study.trials))
        ]
        if missing:
            yield Problem(
                where,
                None,
                None,
                f"the recording holds no answer to {len(missing)} of {len(study.cases)} cases: {listed(missing, 5)}",
                "",
                "they count as failures; add them if they exist",
            )


def _plan(study: Study) -> Iterator[Problem]:
    if study.hypotheses and not any(hypothesis.primary for hypothesis in study.hypotheses):
        yield Problem("hypotheses", None, None, "none is primary", "", "mark the one the decision rests on with `primary: true`")
    for column, wanted in study.population.items():
        there = {str(case.fields.get(column)) for case in study.cases}
        absent = [value for value in wanted if value not in there]
        if absent:
            yield Problem(
                f"population, {column}",
                None,
                None,
                f"no case stands for {listed(absent)}",
                "",
                "add cases, or the report will say that this was not tested",
            )
    for grader in study.graders.values():
        if grader.kind == "recorded" and grader.marks and grader.chosen == "unknown":
            yield Problem(
                f"graders, {grader.name}",
                None,
                None,
                "it is not said how the marked answers were chosen",
                "",
                "add `chosen: all`, `random`, `stratified` or `self-selected`",
            )
