"""The graders of study.yaml as `GraderSpec`s, with the marks of people and the calibration set."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points

from fairmark.errors import nearest
from fairmark.load import rows as row_files
from fairmark.load.caserows import reference, turns
from fairmark.load.models import Calibration, Grader
from fairmark.load.nodes import Node
from fairmark.load.rows import Row
from fairmark.load.rubrics import ReadRubric, on_scale, scale_in_words
from fairmark.load.sources import Place, Reader, clip, listed, shown
from fairmark.load.systems import SAMPLING, case_id, model_spec, one_kind, prompt, python_target, sampling, trial_of, word
from fairmark.records import Case, Item, Json, from_cell
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion
from fairmark.study import CalibrationItem, CalibrationSet, GraderSpec, Mark, ModelSpec

Kind = str | tuple[str, ...]  # the name of a kind of value, or the words to choose among

KINDS = ("llm", "check", "recorded")
CHECK_GROUP = "fairmark.graders"
LLM_OPTIONS: Mapping[str, Kind] = {"evidence": "yes or no", "evidence_chars": "whole number", "reason_chars": "whole number"}
KEYS: Mapping[str, tuple[str, ...]] = {
    "llm": (*SAMPLING, "prompt", "base_url", "api_key", "repeats", "examples"),
    "check": ("value", "function"),
    "recorded": ("columns", "chosen", "guideline", "by"),
}
MARK_ROLES = {
    "case": ("case", "case_id", "id"),
    "system": ("system",),
    "trial": ("trial",),
    "criterion": ("criterion",),
    "rater": ("rater", "annotator"),
    "label": ("label", "mark", "level"),
    "reason": ("reason",),
    "output": ("output", "answer", "response"),
    "probability": ("probability", "inclusion_probability"),
    "confidence": ("confidence",),
}

_NUMBER_WRITTEN = re.compile(r"[-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?", re.ASCII)
_TEXT, _TEXTS, _BOOL, _NUMBER, _WHOLE, _SHARE, _RANGE, _ANY, _MAP, _LIST = (
    "text",
    "text or list of texts",
    "yes or no",
    "number",
    "whole number",
    "share",
    "range",
    "JSON",
    "text or mapping",
    "list of texts",
)


@dataclass(frozen=True, slots=True)
class CheckKeys:
    """What may be written beside a check. `graders` says what it means; a test holds the two together."""

    value: str = ""  # kind of value; empty: it takes none
    required: bool = False  # whether the value must be written
    options: Mapping[str, Kind] = field(default_factory=dict)
    needs: tuple[str, ...] = ()  # options that must be written


CHECKS: Mapping[str, CheckKeys] = {
    "exact": CheckKeys(_TEXT, options={"ignore_case": _BOOL, "ignore_space": _BOOL, "strip": _BOOL}),
    "one_of": CheckKeys(_LIST, True, {"ignore_case": _BOOL, "ignore_space": _BOOL, "strip": _BOOL}),
    "contains": CheckKeys(_TEXTS, options={"match": ("all", "any"), "absent": _BOOL, "ignore_case": _BOOL, "whole_words": _BOOL}),
    "starts_with": CheckKeys(_TEXTS, True, {"ignore_case": _BOOL, "strip": _BOOL}),
    "ends_with": CheckKeys(_TEXTS, True, {"ignore_case": _BOOL, "strip": _BOOL}),
    "regex": CheckKeys(_TEXT, True, {"full": _BOOL, "absent": _BOOL, "ignore_case": _BOOL, "multiline": _BOOL, "dotall": _BOOL}),
    "json_valid": CheckKeys(options={"fenced": _BOOL}),
    "json_schema": CheckKeys(_MAP, True, {"fenced": _BOOL}),
    "json_path": CheckKeys(_ANY, options={"path": _TEXT, "absent": _BOOL, "fenced": _BOOL}, needs=("path",)),
    "numeric": CheckKeys(
        _NUMBER, options={"which": ("last", "first", "only"), "tolerance": _NUMBER, "relative": _SHARE, "decimal": (".", ",")}
    ),
    "max_words": CheckKeys(_WHOLE, True),
    "min_words": CheckKeys(_WHOLE, True),
    "max_chars": CheckKeys(_WHOLE, True),
    "min_chars": CheckKeys(_WHOLE, True),
    "length": CheckKeys(options={"words": _RANGE, "chars": _RANGE, "lines": _RANGE}),
    "similarity": CheckKeys(_TEXT, options={"method": ("f1", "sequence"), "threshold": _SHARE}),
    "python": CheckKeys(_TEXT, True),
}


# ------------------------------------------------------------------ graders


def read(
    name: str,
    entry: Grader,
    node: Node,
    *,
    cases: Sequence[Case],
    known_ids: bool,
    systems: Sequence[str],
    trials: int,
    rubric: ReadRubric | None,
    reader: Reader,
) -> GraderSpec | None:
    """One grader, or None where its kind cannot be told."""
    kind = one_kind(name, node, KINDS, "grader", reader)
    if kind is None:
        return None
    _check_keys(kind, entry, node, reader)
    criteria = _criteria(name, kind, entry, node, rubric, reader)
    if kind == "llm":
        text = prompt(entry.prompt, node.where("prompt"), reader)
        if text is not None and (slot := text.content.find("{{")) >= 0:
            reader.note(
                text.place(slot),
                "a grader's prompt has no {{slots}}",
                "plain instructions",
                "take it out: question, levels, request and response are added by themselves",
            )
        return GraderSpec(
            name,
            "llm",
            criteria,
            model=_grading_model(entry, node, reader),
            prompt=text.content if text is not None else None,
            repeats=entry.repeats or 1,
            examples=entry.examples or 0,
            options={key: value for key, value in _extra(entry).items() if key in LLM_OPTIONS},
        )
    if kind == "check":
        target, code = python_target(entry.function, node.where("function"), reader) if entry.check == "python" else (None, "")
        known = KEYS["llm"] + KEYS["recorded"]
        options = {key: value for key, value in _extra(entry).items() if key not in known}
        return GraderSpec(name, "check", criteria, check=entry.check or "", value=entry.value, options=options, target=target, code=code)
    marks = _marks(name, entry, node, criteria, cases, known_ids, systems, trials, rubric, reader)
    return GraderSpec(
        name,
        "recorded",
        criteria or tuple(dict.fromkeys(mark.criterion for mark in marks)),
        marks=marks,
        marks_from=entry.recorded or "",
        chosen=entry.chosen or "unknown",
        guideline=entry.guideline or "",
        by=entry.by or "people",
    )


def _extra(entry: Grader) -> Mapping[str, Json]:
    return entry.model_extra or {}


def _check_keys(kind: str, entry: Grader, node: Node, reader: Reader) -> None:
    common = (kind, "criteria", "criterion", *KEYS[kind])
    options: Mapping[str, Kind] | None = LLM_OPTIONS if kind == "llm" else {}
    if kind == "check" and entry.check is not None:
        options = _check_options(entry, node, reader)
    for key, place, child in node.entries():
        if key in common or (key in KINDS and key != kind):
            continue
        if options is None:
            continue  # the options of a check from an installed package, or of an unknown one, cannot be known here
        if key not in options:
            allowed = (*common, *options)
            what = f"the check `{entry.check}`" if kind == "check" else f"a grader of kind {kind}"
            reader.note(
                place, f"unknown key `{clip(key)}` beside {what}", listed(allowed, 30), nearest(key, allowed) or f"take `{clip(key)}` out"
            )
        elif not _fits(options[key], child.plain()):
            reader.note(child.place, f"`{key}` is {shown(child.plain())}", _allowed(options[key]), "correct the value")


def _check_options(entry: Grader, node: Node, reader: Reader) -> Mapping[str, Kind] | None:
    assert entry.check is not None
    known = CHECKS.get(entry.check)
    if known is None:
        names = (*CHECKS, *sorted(entry_points(group=CHECK_GROUP).names - CHECKS.keys()))
        if entry.check not in names:
            reader.note(
                node.where("check"),
                f"unknown check `{clip(entry.check)}`",
                listed(names, 40),
                nearest(entry.check, names) or "for your own rule write `check: python` with `function: file.py:name`",
            )
        return None
    value = node.get("value")
    if entry.check == "python":
        if node.get("function") is None:
            reader.note(node.where(), "`function` is missing beside `check: python`", "file.py:function", "add `function: checks.py:name`")
        if value is not None:
            reader.note(
                node.where("value", key=True), "`value` has no place beside `check: python`", "`function: file.py:name`", "take `value` out"
            )
    else:
        if node.get("function") is not None:
            reader.note(
                node.where("function", key=True),
                f"`function` has no place beside `check: {entry.check}`",
                "`check: python`",
                "take `function` out",
            )
        if value is not None and value.value is not None and not known.value:
            reader.note(
                node.where("value", key=True),
                f"the check `{entry.check}` takes no value",
                listed(known.options) or "no options",
                "take `value` out",
            )
        elif value is not None and value.value is not None and not _fits(known.value, value.plain()):
            reader.note(value.place, f"`value` is {shown(value.plain())}", _allowed(known.value), "correct the value")
        elif known.required and (value is None or value.value is None):
            reader.note(node.where(), f"`value` is missing beside `check: {entry.check}`", _allowed(known.value), "add `value:`")
    for option in known.needs:
        if node.get(option) is None:
            reader.note(
                node.where(), f"`{option}` is missing beside `check: {entry.check}`", _allowed(known.options[option]), f"add `{option}:`"
            )
    return {**known.options, "cuts": "list of numbers"}


_ALLOWED: Mapping[str, str] = {
    _TEXT: "text (numbers in quotes)",
    _TEXTS: "text or a list of texts (numbers in quotes)",
    _BOOL: "true or false",
    _NUMBER: "a number",
    _WHOLE: "a whole number, 0 or more",
    _SHARE: "a number from 0 to 1",
    _RANGE: "the least and the most, such as [20, 80]",
    _ANY: "anything",
    _MAP: "the name of a file, or a mapping",
    _LIST: "a list of texts (numbers in quotes)",
    "list of numbers": "a list of rising numbers, one fewer than levels",
}


def _allowed(kind: Kind) -> str:
    return listed(kind) if isinstance(kind, tuple) else _ALLOWED[kind]


def _fits(kind: Kind, value: Json) -> bool:
    if isinstance(kind, tuple):
        return isinstance(value, str) and value in kind
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    match kind:
        case "text":
            return isinstance(value, str) and value != ""
        case "text or list of texts":
            return _fits(_LIST, value) or _fits(_TEXT, value)
        case "list of texts":
            return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)
        case "yes or no":
            return isinstance(value, bool)
        case "number":
            return number
        case "whole number":
            return whole
        case "share":
            return number and 0 <= value <= 1
        case "range":
            return (
                isinstance(value, list)
                and len(value) == 2
                and all(isinstance(end, int) and not isinstance(end, bool) and end >= 0 for end in value)
                and value[0] <= value[1]
            )
        case "text or mapping":
            return (isinstance(value, str) and value != "") or isinstance(value, dict)
        case "list of numbers":
            return (
                isinstance(value, list)
                and bool(value)
                and all(isinstance(cut, (int, float)) and not isinstance(cut, bool) for cut in value)
            )
        case _:
            return True


def _criteria(name: str, kind: str, entry: Grader, node: Node, rubric: ReadRubric | None, reader: Reader) -> tuple[str, ...]:
    if node.get("criteria") is not None and node.get("criterion") is not None:
        reader.note(node.where("criterion", key=True), f"the grader `{name}` has `criteria` and `criterion`", "one of them", "take one out")
    named = [(criterion, node.where("criteria", place)) for place, criterion in enumerate(entry.criteria or ())]
    if not named and entry.criterion is not None:
        named = [(entry.criterion, node.where("criterion"))]
    if not named and kind != "recorded" and node.get("criteria") is None and node.get("criterion") is None:
        known = listed(rubric.names) if rubric is not None else "criteria of the rubric"
        reader.note(node.where(), f"the grader `{name}` does not say what it marks", known, "add `criteria: [...]`")
    found: list[str] = []
    for criterion, place in named:
        if rubric is not None and criterion not in rubric.names:
            reader.note(
                place,
                f"the rubric has no criterion `{clip(criterion)}`",
                listed(rubric.names),
                nearest(criterion, rubric.names) or "name a criterion of the rubric",
            )
        elif criterion in found:
            reader.note(place, f"`{clip(criterion)}` is named twice", "each criterion once", "remove one of them")
        else:
            found.append(criterion)
    return tuple(found)


def _grading_model(entry: Grader, node: Node, reader: Reader) -> ModelSpec | None:
    """The model, asked for its likeliest answer unless another temperature, or `temperature: null`, is written."""
    model = model_spec(entry.llm, entry, node.where("llm"), node, reader)
    if model is None or node.get("temperature") is not None:
        return model
    return replace(model, options={"temperature": 0, **sampling(entry)})


# ------------------------------------------------------------------ recorded marks


def _marks(
    name: str,
    entry: Grader,
    node: Node,
    criteria: tuple[str, ...],
    cases: Sequence[Case],
    known_ids: bool,
    systems: Sequence[str],
    trials: int,
    rubric: ReadRubric | None,
    reader: Reader,
) -> tuple[Mark, ...]:
    if entry.recorded is None:
        return ()
    table = row_files.read(entry.recorded, reader, node.where("recorded"), what="file of marks")
    if table is None:
        return ()
    given = {role: column for role, column in (entry.columns.model_dump() if entry.columns else {}).items() if column is not None}
    columns = row_files.roles(table, given, MARK_ROLES, reader, {role: node.where("columns", role) for role in given})
    needed = ["case", "label"]
    if len(criteria) != 1:
        needed.append("criterion")
    if len(systems) > 1:
        needed.append("system")
    lacking = [role for role in needed if role not in columns]
    for role in lacking:
        if role not in given:
            reader.note(
                Place(table.file, 1, 1),
                f"no column holds the {role}",
                f"a column called {listed(MARK_ROLES[role])}, or `columns: {{{role}: NAME}}`",
                f"the columns are {listed(table.columns)}",
            )
    if lacking:
        return ()
    marks: list[Mark] = []
    first: dict[tuple[str, str, int, str, str], int] = {}
    ids = {case.id for case in cases}
    for row in table.rows:
        if reader.enough(table.file):
            break
        mark = _mark(row, columns, name, criteria, ids, known_ids, systems, trials, rubric, reader)
        if mark is None:
            continue
        key = (mark.case_id, mark.system, mark.trial, mark.criterion, mark.rater)
        if key in first:
            reader.note(
                row.place(),
                f"{mark.rater} marks case `{clip(mark.case_id)}` on `{mark.criterion}` a second time; the first is in line {first[key]}",
                "one mark of each person for each answer and criterion",
                "remove one of them, or name the column that tells them apart (`columns: {trial: ..., system: ..., rater: ...}`)",
            )
            continue
        first[key] = row.line
        if not criteria or mark.criterion in criteria:
            marks.append(mark)
    if criteria and table.rows and not marks and first:
        reader.note(
            node.where("recorded"),
            f"`{table.file}` holds no mark on {listed(criteria)}",
            listed(sorted({key[3] for key in first})),
            "name the criteria that were marked",
        )
    return tuple(marks)


def _mark(
    row: Row,
    columns: Mapping[str, str],
    grader: str,
    criteria: tuple[str, ...],
    ids: set[str],
    known_ids: bool,
    systems: Sequence[str],
    trials: int,
    rubric: ReadRubric | None,
    reader: Reader,
) -> Mark | None:
    def held(role: str) -> Json:
        """What stands in a column; in a CSV without the apostrophe that keeps a spreadsheet from running it."""
        written = row.fields.get(columns[role]) if role in columns else None
        return from_cell(written) if isinstance(written, str) and row.delimiter else written

    def cell(role: str) -> str | None:
        return word(held(role)) if role in columns else None

    case = case_id(row, columns["case"], ids, known_ids, reader)
    trial = trial_of(row, columns.get("trial"), trials, reader)
    system = cell("system") or ""
    if "system" in columns and systems and system not in systems:
        reader.note(
            row.place(columns["system"]),
            f"the study has no system `{clip(system)}`",
            listed(systems),
            nearest(system, systems) or "correct the name, add the system, or take the row out",
        )
        system = ""
        case = None
    criterion = cell("criterion") if "criterion" in columns else criteria[0]
    if rubric is not None and criterion not in rubric.names:
        reader.note(
            row.place(columns.get("criterion")),
            f"the rubric has no criterion `{clip(criterion or '')}`",
            listed(rubric.names),
            nearest(criterion or "", rubric.names) or "correct the name, or take the row out",
        )
        criterion = None
    scale = rubric.checked(criterion) if rubric is not None and criterion else None
    label = label_of(held("label"), scale)
    if label is None:
        reader.note(
            row.place(columns["label"]),
            "the row holds no label",
            scale_in_words(scale) if scale else "a level",
            f"fill it in with a level or `{CANNOT_TELL}`, or take the row out",
        )
    elif scale is not None and not _may_say(label, scale, row.place(columns["label"]), reader):
        label = None
    probability, confidence = (_probability(row, role, columns, reader) for role in ("probability", "confidence"))
    if not case or not criterion or label is None or trial is None:
        return None
    output = held("output")
    return Mark(
        case,
        system or (systems[0] if len(systems) == 1 else ""),
        trial,
        criterion,
        cell("rater") or grader,
        label,
        cell("reason") or "",
        output if isinstance(output, str) else None,
        row.where,
        probability,
        confidence,
    )


_MEANS = {
    "probability": (
        "a number above 0 and at most 1",
        "write the share of such answers that were chosen for marking, or leave the cell empty",
    ),
    "confidence": ("a number from 0 to 1", "write the probability that was given to this label, or leave the cell empty"),
}


def _probability(row: Row, role: str, columns: Mapping[str, str], reader: Reader) -> float | None:
    """A probability that stands in a column; None where the cell is empty or there is no such column."""
    written = word(row.fields.get(columns[role])) if role in columns else None
    if not written:
        return None
    number = float(written) if _NUMBER_WRITTEN.fullmatch(written) else math.nan
    if not 0 <= number <= 1 or (role == "probability" and number == 0):
        reader.note(row.place(columns[role]), f"the {role} `{clip(written)}` is none", *_MEANS[role])
        return None
    return number


def label_of(value: Json, scale: Criterion | None) -> str | None:
    """A cell as a label: numbers on a scale of numbers in their one spelling, true and 1.0 as the scale spells them."""
    label = word(value)
    if not label:
        return None
    if scale is not None and scale.range is not None and not scale.levels:
        return word(float(label)) if _NUMBER_WRITTEN.fullmatch(label) else label
    if scale is not None and isinstance(value, float) and str(value) in scale.level_names():
        return str(value)
    return label


def _may_say(label: str, scale: Criterion, place: Place, reader: Reader) -> bool:
    if on_scale(scale, label) or label == CANNOT_TELL or (label == NOT_APPLICABLE and scale.not_applicable):
        return True
    allowed = scale_in_words(scale)
    if label == NOT_APPLICABLE:
        reader.note(
            place,
            f"`{scale.id}` does not allow `{NOT_APPLICABLE}`",
            allowed,
            "write `not_applicable: true` in the rubric, or another label",
        )
    else:
        ways_out = f", `{CANNOT_TELL}`" + (f", `{NOT_APPLICABLE}`" if scale.not_applicable else "")
        reader.note(
            place,
            f"the label `{clip(label)}` is not on the scale of `{scale.id}`",
            allowed + ways_out,
            nearest(label, scale.level_names()) or "write one of these",
        )
    return False


# ------------------------------------------------------------------ calibration


def calibration(entry: Calibration, node: Node, rubric: ReadRubric | None, reader: Reader) -> CalibrationSet | None:
    """The recorded answers with known marks."""
    if entry.items is None:
        return None
    return known_marks(entry.items, node.where("items"), entry.marked_by or "", rubric, reader, what="file of calibration items")


def known_marks(file: str, place: Place, marked_by: str, rubric: ReadRubric | None, reader: Reader, *, what: str) -> CalibrationSet | None:
    """A file of answers with their marks."""
    table = row_files.read(file, reader, place, what=what, csv_too=False)
    if table is None:
        return None
    items: list[CalibrationItem] = []
    lines: dict[str, int] = {}
    for row in table.rows:
        if reader.enough(table.file):
            break
        item = _calibration_item(row, rubric, reader)
        if item is None:
            continue
        if item.item.case_id in lines:
            reader.note(
                row.place("id"),
                f"the id `{clip(item.item.case_id)}` stands here a second time; the first is in line {lines[item.item.case_id]}",
                "each id once",
                "rename or remove one of them",
            )
            continue
        lines[item.item.case_id] = row.line
        items.append(item)
    return CalibrationSet(tuple(items), marked_by, file)


def _calibration_item(row: Row, rubric: ReadRubric | None, reader: Reader) -> CalibrationItem | None:
    before = len(reader.problems)
    item_id = word(row.fields.get("id"))
    if not item_id:
        reader.note(row.place("id"), "the row has no `id`", "a short text", "add one")
    messages = turns(row, reader)
    output = row.fields.get("output")
    if not isinstance(output, str):
        reader.note(
            row.place("output"),
            "the row has no `output`" if output is None else f"`output` is {shown(output)}",
            "the answer that was marked, as text",
            "add it",
        )
    marks = row.fields.get("marks")
    if not isinstance(marks, dict) or not marks:
        reader.note(
            row.place("marks"),
            "the row has no `marks`" if not marks else f"`marks` is {shown(marks)}",
            'a mapping of criterion to label: {"marks": {"tone": "met"}}',
            "add the marks of this answer",
        )
        return None
    labels: dict[str, str] = {}
    for criterion, value in marks.items():
        place = row.place("marks")
        if rubric is not None and criterion not in rubric.names:
            reader.note(
                place,
                f"the rubric has no criterion `{clip(criterion)}`",
                listed(rubric.names),
                nearest(criterion, rubric.names) or "name a criterion of the rubric",
            )
            continue
        scale = rubric.checked(criterion) if rubric is not None else None
        label = label_of(value, scale)
        if label is None:
            reader.note(
                place, f"`{clip(criterion)}` is marked with {shown(value)}", scale_in_words(scale) if scale else "a level", "write a level"
            )
        elif scale is None or _may_say(label, scale, place, reader):
            labels[criterion] = label
    if len(reader.problems) > before or not item_id or not isinstance(output, str) or messages is None:
        return None
    fields = {name: value for name, value in row.fields.items() if name not in ("id", "input", "output", "expected", "marks")}
    return CalibrationItem(Item(item_id, messages, output, reference(row), fields), labels)
