"""Graders: checks, LLM graders and people's recorded marks, all answering to `records.Grader`.

`build` makes one object per grader, criterion and rater of a study. A stranger's check is a `Check` behind an entry point
in the group `fairmark.graders`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import CodeType
from typing import Literal

from fairmark.errors import Mistake, Problem, nearest
from fairmark.graders.by_rule import CheckGrader, wrong_cuts
from fairmark.graders.checks import CHECKS, Check, Finding, Settled, check_names, find_check, python_function
from fairmark.graders.labels import of_numbers
from fairmark.graders.llm import OPTIONS, LlmGrader
from fairmark.graders.person import PersonGrader, fields_shown
from fairmark.graders.recorded import RecordedGrader
from fairmark.graders.settings import Setting, with_defaults, wrong_settings
from fairmark.records import Grader, digest
from fairmark.rubric import Criterion
from fairmark.study import GraderSpec, Mark, Study

__all__ = [
    "CHECKS",
    "Check",
    "CheckGrader",
    "Finding",
    "LlmGrader",
    "PersonGrader",
    "RecordedGrader",
    "Setting",
    "Settled",
    "build",
    "fields_shown",
    "from_function",
    "problems",
]

FILE = "study.yaml"
_RECORDED: Mapping[str, Literal["human", "llm"]] = {"people": "human", "model": "llm"}


def build(study: Study) -> tuple[Grader, ...]:
    """One grader per (name, criterion, rater), in the order of the study. `Mistake` with every problem in them."""
    graders, wrong = _build(study)
    if wrong:
        raise Mistake(wrong)
    return graders


def from_function(name: str, criterion: Criterion, function: Callable[..., object], *, cuts: Sequence[float] | None = None) -> CheckGrader:
    """A check made of a Python function of the answer, or of the answer and its case; see the check `python`.

    It is named in keys by the source of the function, or by its bytecode where there is no source.
    """
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        source = code.co_code.hex() + repr([c for c in code.co_consts if not isinstance(c, CodeType)]) if code else repr(type(function))
    return CheckGrader(
        name=name,
        on=criterion,
        check_kind="python",
        check=python_function(function),
        value=None,
        value_named=getattr(function, "__qualname__", type(function).__name__),
        options={},
        cuts=tuple(cuts) if cuts is not None else None,
        code=digest(source),
    )


def problems(study: Study) -> tuple[Problem, ...]:
    """Everything that is wrong with the graders of a study."""
    return tuple(_build(study)[1])


def _build(study: Study) -> tuple[tuple[Grader, ...], list[Problem]]:
    graders: list[Grader] = []
    wrong: list[Problem] = []
    for name, spec in study.graders.items():
        criteria = [study.rubric[criterion] for criterion in spec.criteria if criterion in study.rubric]
        for criterion in spec.criteria:
            if criterion not in study.rubric:
                ids = [known.id for known in study.rubric]
                wrong.append(_problem(name, f"criterion `{criterion}` is not in the rubric", ", ".join(ids), nearest(criterion, ids)))
        if spec.kind == "check":
            graders += _checks(name, spec, criteria, study, wrong)
        elif spec.kind == "llm":
            graders += _llms(name, spec, criteria, wrong)
        elif spec.kind == "recorded":
            graders += _people(name, spec, criteria, study, wrong)
        # people at the marking page mark what they are assigned, not every response
    return tuple(graders), wrong


def _checks(name: str, spec: GraderSpec, criteria: list[Criterion], study: Study, wrong: list[Problem]) -> list[CheckGrader]:
    known = find_check(spec.check)
    if known is None:
        names = check_names()
        wrong.append(_problem(name, f"unknown check `{spec.check}`", ", ".join(names), nearest(spec.check, names)))
        return []
    check, package = known
    value = spec.target if spec.check == "python" else spec.value
    options = {key: option for key, option in spec.options.items() if key != "cuts"}
    cuts = spec.options.get("cuts")
    found = wrong_settings(options, check.options)
    if value is not None and check.value is None:
        found.append((f"the check `{spec.check}` takes no `value`", ", ".join(check.options) or "no options", ""))
    elif value is not None and check.value is not None and not check.value.fits(value):
        found.append((f"`value` is {value!r}", check.value.allowed(), ""))
    elif value is None and check.value is not None and check.value.required:
        found.append((f"`{'function' if spec.check == 'python' else 'value'}` is missing", check.value.says, ""))
    if check.or_reference and value is None and study.cases and all(case.expected is None for case in study.cases):
        found.append((f"the check `{spec.check}` has no `value`, and no case has a reference", "a `value`, or `expected` in the cases", ""))
    answer = with_defaults(options, check.options)
    settled = Settled(value, value)
    if not found and check.settle is not None:
        try:
            settled = check.settle(value, answer, study.folder)
        except ValueError as error:
            found.append((str(error), "", ""))
    gives_numbers = not found and check.numbers(answer)
    any_result = spec.check == "python" or package != ""
    if cuts is not None and not gives_numbers and not any_result and not found:
        found.append((f"`cuts` has no place beside `{spec.check}` as it is set here", "checks that answer with a number", ""))
    for criterion in criteria:
        if cuts is not None and (bad := wrong_cuts(cuts, criterion)) is not None:
            found.append((*bad, ""))
        elif gives_numbers and cuts is None and not _is_share(criterion):
            remedy = "give `threshold` to pass or fail, or `cuts` to choose a level"
            found.append(
                (
                    f"the check `{spec.check}` answers with a number from 0 to 1, which is no label of `{criterion.id}`",
                    "a scale with range [0, 1]",
                    remedy,
                )
            )
        elif not gives_numbers and not any_result and criterion.scale == "nominal" and len(criterion.levels) > 2:
            says = f"the check `{spec.check}` says yes or no, and `{criterion.id}` has {len(criterion.levels)} unordered levels"
            found.append((says, "a criterion with two levels, or ordered ones", ""))
    wrong += [_problem(name, *entry) for entry in found]
    if found:
        return []
    return [
        CheckGrader(
            name=name,
            on=criterion,
            check_kind=spec.check,
            check=check,
            value=settled.value,
            value_named=settled.named,
            options=answer,
            cuts=tuple(cuts) if cuts is not None else None,
            code=settled.code,
            package=package,
        )
        for criterion in criteria
    ]


def _llms(name: str, spec: GraderSpec, criteria: list[Criterion], wrong: list[Problem]) -> list[LlmGrader]:
    found = wrong_settings(spec.options, OPTIONS)
    if spec.model is None:
        found.append(("an LLM grader needs a model", "llm: provider/model", ""))
    if spec.prompt is not None and "{{" in spec.prompt:
        found.append(
            (
                "the grader's prompt holds a {{slot}}",
                "plain instructions",
                "take it out: question, levels, request and response are added by themselves, fenced",
            )
        )
    if spec.prompt is not None and not spec.prompt.strip():
        found.append(("the grader's prompt is empty", "instructions for the grader", "leave `prompt` out to use the shipped one"))
    wrong += [_problem(name, *entry) for entry in found]
    if found or spec.model is None:
        return []
    options = with_defaults(spec.options, OPTIONS)
    return [LlmGrader(name=name, on=criterion, model=spec.model, prompt=spec.prompt, options=options) for criterion in criteria]


def _people(name: str, spec: GraderSpec, criteria: list[Criterion], study: Study, wrong: list[Problem]) -> list[RecordedGrader]:
    """One grader per rater; where a criterion has no marks yet, one without a name, so that what is missing is counted."""
    lone = next(iter(study.systems)) if len(study.systems) == 1 else ""
    graders: list[RecordedGrader] = []
    for criterion in criteria:
        by_rater: dict[str, dict[tuple[str, str, int], Mark]] = {}
        for mark in spec.marks:
            if mark.criterion != criterion.id:
                continue
            if not mark.system and not lone:
                allowed = "the name of a system: " + ", ".join(study.systems)
                wrong.append(_at(mark, spec, f"grader `{name}`: a mark names no system, and the study has several", allowed))
                continue
            row = mark if mark.system else replace(mark, system=lone)
            rows = by_rater.setdefault(mark.rater, {})
            before = rows.setdefault((row.case_id, row.system, row.trial), row)
            if (before.label, before.output) != (row.label, row.output):
                which = f"case {row.case_id}, {row.system}, trial {row.trial} on `{criterion.id}`"
                labels = f"as `{before.label}` ({before.where or 'before'}) and as `{row.label}`"
                wrong.append(_at(mark, spec, f"grader `{name}`: {row.rater or 'the rater'} marks {which} twice, {labels}", "one mark"))
        for rater in sorted(by_rater) or [""]:
            marks, kind = by_rater.get(rater, {}), _RECORDED[spec.by]
            graders.append(RecordedGrader(name=name, on=criterion, rater=rater, marks=marks, guideline=spec.guideline, kind=kind))
    return graders


def _is_share(criterion: Criterion) -> bool:
    return of_numbers(criterion) and criterion.range == (0, 1)


def _problem(grader: str, found: str, allowed: str = "", remedy: str = "") -> Problem:
    return Problem(FILE, None, None, f"grader `{grader}`: {found}", allowed, remedy)


def _at(mark: Mark, spec: GraderSpec, found: str, allowed: str) -> Problem:
    file, _, line = mark.where.rpartition(":")
    return (
        Problem(file, int(line), None, found, allowed)
        if file and line.isdecimal()
        else Problem(spec.marks_from or FILE, None, None, found, allowed)
    )
