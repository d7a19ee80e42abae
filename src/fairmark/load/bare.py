"""A bare table of marks, for `fairmark analyse results.csv`: no study, no rubric, only rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairmark.errors import Problem, nearest
from fairmark.load import rows as row_files
from fairmark.load.rows import Row, Rows
from fairmark.load.sources import Place, Reader, clip, listed
from fairmark.load.systems import word
from fairmark.records import Case, Json, Message
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion, Level, Rubric
from fairmark.study import GraderSpec, Hypothesis, Mark, Study, SystemSpec

# Common names of the columns, in lower case, the likeliest first.
ROLES: Mapping[str, tuple[str, ...]] = {
    "case": ("case", "case_id", "id", "item", "item_id", "doc_id", "question_id", "sample_id", "example_id", "prompt_id"),
    "system": ("system", "model", "system_id", "model_name", "model_id", "arm", "variant"),
    "trial": ("trial", "repeat", "epoch", "run"),
    "criterion": ("criterion", "metric", "dimension", "aspect", "attribute"),
    "rater": ("rater", "annotator", "rater_id", "annotator_id", "grader", "judge", "worker"),
    "label": ("label", "score", "mark", "grade", "rating", "value", "verdict", "passed", "pass", "correct", "level", "result"),
    "output": ("output", "answer", "response"),
}
GIVEN_ROLES = (*ROLES, "cluster", "criteria")
SYSTEM = "system"  # the name of a lone system that the table does not name
RATER = "rater"
# Pairs of words for no and yes, the worse first, in lower case.
PAIRS = (
    ("false", "true"),
    ("no", "yes"),
    ("fail", "pass"),
    ("failed", "passed"),
    ("0", "1"),
    ("incorrect", "correct"),
    ("wrong", "right"),
    ("bad", "good"),
)
MOST_LEVELS = 10
NOT_IN_TABLE = "(the answer is not in the table)"
_BLANK = ("", "na", "n/a", "nan", "none", "null")


@dataclass(frozen=True, slots=True)
class BareTable:
    """Marks read from a table without a study."""

    name: str  # of the file, without its ending
    rows: tuple[Mark, ...]
    rubric: Rubric  # the scale of each criterion, as far as the labels show it
    columns: Mapping[str, str]  # role -> column
    fields: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)  # case -> further columns that are the same in all its rows
    cluster: Mapping[str, str] = field(default_factory=dict)  # case -> the cluster it belongs to, where a column was named
    cluster_suspects: tuple[str, ...] = ()  # columns whose values several cases share, as cases of one customer would
    problems: tuple[Problem, ...] = ()  # what was guessed, and what a rubric would say better


def bare_table(path: Path, columns: Mapping[str, str] | None = None, *, scale: tuple[float, float] | None = None) -> BareTable:
    """The marks of a CSV or JSONL file. `Mistake` for every row that cannot be read.

    `columns` says which column is case, system, trial, criterion, rater, label, output or cluster; common names are
    recognised. A wide table, with one column for each criterion, names them as `criteria: "tone,clarity"`. `scale` is the
    lowest and highest number that could have been given; without it, it is taken from the labels that occur.
    """
    path = Path(path)
    given = dict(columns or {})
    reader = Reader(path.parent)
    for role in given:
        if role not in GIVEN_ROLES:
            reader.note(
                Place("command line"),
                f"`{clip(role)}` is no role of a column",
                listed(GIVEN_ROLES),
                nearest(role, GIVEN_ROLES) or "use one of these",
            )
    table = row_files.read(path.name, reader, Place("command line"), what="table of marks")
    wide = [name.strip() for name in given.pop("criteria", "").split(",") if name.strip()]
    cluster_column = given.pop("cluster", None)
    if table is None:
        reader.finish()
        raise AssertionError("a table that cannot be read was noted")
    found = row_files.roles(
        table, given, {role: names for role, names in ROLES.items() if not (wide and role in ("criterion", "label"))}, reader
    )
    for name in (*wide, *([cluster_column] if cluster_column else [])):
        if name not in table.columns:
            reader.note(
                Place(table.file, 1, 1),
                f"there is no column `{clip(name)}`",
                listed(table.columns),
                nearest(name, table.columns) or "name a column of the table",
            )
    for role in ("case", "label"):
        if role not in found and role not in given and not (role == "label" and wide):
            remedy = f"say which column it is: {role}=NAME" + (
                "; for one column per criterion say criteria=NAME,NAME" if role == "label" else ""
            )
            reader.note(
                Place(table.file, 1, 1), f"no column holds the {role}; the columns are {listed(table.columns)}", listed(ROLES[role]), remedy
            )
    reader.finish()
    marks = _marks(table, found, wide, reader)
    reader.finish()
    notes: list[Problem] = []
    rubric = Rubric(tuple(_criterion(name, labels, table.file, scale, notes) for name, labels in _labels(marks).items()), name=path.stem)
    marks = tuple(replace(mark, label=_spelling(mark.label, rubric[mark.criterion])) for mark in marks)
    used = {*found.values(), *wide}
    fields = _fields(table, found["case"], [name for name in table.columns if name not in used], {mark.case_id for mark in marks})
    cluster = _cluster(table, found["case"], cluster_column, reader)
    reader.finish()
    roles = {**found, **({"cluster": cluster_column} if cluster_column else {}), **({"criteria": ",".join(wide)} if wide else {})}
    suspects = () if cluster_column else _suspects(fields)
    return BareTable(path.stem, marks, rubric, roles, fields, cluster, suspects, tuple(notes))


def study_from_table(table: BareTable, *, hypotheses: Iterable[Hypothesis] = (), question: str = "", folder: Path = Path()) -> Study:
    """The study that a bare table stands for: recorded systems, one recorded grader that marked all there is.

    An answer counts as given wherever the table marks it. Its text is the table's where it has one.
    """
    trials = max(mark.trial for mark in table.rows)
    ids = dict.fromkeys(mark.case_id for mark in table.rows)
    names = dict.fromkeys(mark.system for mark in table.rows)
    answers: dict[str, dict[tuple[str, int], str]] = {name: {} for name in names}
    for mark in table.rows:
        answers[mark.system].setdefault((mark.case_id, mark.trial), mark.output or NOT_IN_TABLE)
    cluster = table.columns.get("cluster")
    cases = tuple(
        Case(
            case_id,
            (Message("user", case_id),),
            fields={**table.fields.get(case_id, {}), **({cluster: table.cluster[case_id]} if cluster else {})},
        )
        for case_id in ids
    )
    marks = tuple(replace(mark, output=None) for mark in table.rows)
    criteria = tuple(criterion.id for criterion in table.rubric)
    return Study(
        name=table.name,
        question=question,
        folder=folder,
        cases=cases,
        systems={name: SystemSpec(name, "recorded", recorded=answers[name], recorded_from=table.name) for name in names},
        rubric=table.rubric,
        graders={"marks": GraderSpec("marks", "recorded", criteria, marks=marks, marks_from=table.name, chosen="all")},
        hypotheses=tuple(hypotheses),
        cluster=cluster,
        trials=trials,
    )


# ------------------------------------------------------------------ rows


def _marks(table: Rows, columns: Mapping[str, str], wide: Sequence[str], reader: Reader) -> tuple[Mark, ...]:
    marks: list[Mark] = []
    first: dict[tuple[str, str, int, str, str], Row] = {}
    lone = columns.get("label", "")
    for row in table.rows:
        if reader.enough(table.file):
            break
        case = word(row.fields.get(columns["case"]))
        if not case:
            reader.note(row.place(columns["case"]), "the row names no case", f"a short text in `{columns['case']}`", "fill it in")
            continue
        trial = _trial(row, columns.get("trial"), reader)
        system = _cell(row, columns.get("system")) if "system" in columns else SYSTEM
        if not system:
            reader.note(row.place(columns["system"]), "the row names no system", f"a name in `{columns['system']}`", "fill it in")
        pairs = [(name, name) for name in wide] or [(_cell(row, columns.get("criterion")) if "criterion" in columns else lone, lone)]
        for criterion, column in pairs:
            value = row.fields.get(column)
            label = word(value)
            if label is None and value is not None:
                reader.note(
                    row.place(column), f"the label in `{clip(column)}` is a list or a mapping", "a word or a number", "write one value"
                )
                continue
            if label is None or label.lower() in _BLANK:
                continue  # not marked: counted as missing, never as the worst
            if not criterion:
                reader.note(
                    row.place(columns["criterion"]), "the row names no criterion", f"a name in `{columns['criterion']}`", "fill it in"
                )
                continue
            if not system or trial is None:
                continue
            rater = _cell(row, columns.get("rater")) or RATER
            key = (case, system, trial, criterion, rater)
            if key in first:
                reader.note(
                    row.place(column),
                    f"case `{clip(case)}`, {clip(system)} is marked on `{clip(criterion)}` twice; the first is in line {first[key].line}",
                    "one row for each case, system, trial, criterion and rater",
                    "say which column tells them apart: trial=NAME, rater=NAME, system=NAME or criterion=NAME",
                )
                continue
            first[key] = row
            output = row.fields.get(columns["output"]) if "output" in columns else None
            marks.append(
                Mark(case, system, trial, criterion, rater, label, output=output if isinstance(output, str) else None, where=row.where)
            )
    if not marks and not reader.problems:
        reader.note(Place(table.file, 1, 1), "no row holds a label", "at least one mark", f"the columns are {listed(table.columns)}")
    return tuple(marks)


def _cell(row: Row, column: str | None) -> str:
    return (word(row.fields.get(column)) or "") if column is not None else ""


def _trial(row: Row, column: str | None, reader: Reader) -> int | None:
    written = "1" if column is None else word(row.fields.get(column))
    if written and written.isascii() and written.isdecimal() and len(written) < 5 and int(written) >= 1:
        return int(written)
    reader.note(
        row.place(column), f"the trial is `{clip(written or '')}`", "a whole number from 1 on", "count the trials of each case from 1"
    )
    return None


def _fields(table: Rows, case_column: str, names: Sequence[str], cases: set[str]) -> dict[str, dict[str, Json]]:
    """The columns that say the same thing in every row of a case: they belong to the case, not to an answer or a mark."""
    seen: dict[str, dict[str, Json]] = {case: {} for case in cases}
    varying: set[str] = set()
    for row in table.rows:
        case = word(row.fields.get(case_column))
        if case not in seen:
            continue
        for name in names:
            if name in varying or name not in row.fields:
                continue
            value = row.fields[name]
            if seen[case].setdefault(name, value) != value:
                varying.add(name)
    return {case: {name: value for name, value in values.items() if name not in varying} for case, values in seen.items()}


def _cluster(table: Rows, case_column: str, column: str | None, reader: Reader) -> dict[str, str]:
    if column is None:
        return {}
    found: dict[str, str] = {}
    for row in table.rows:
        case, value = word(row.fields.get(case_column)), word(row.fields.get(column))
        if not case:
            continue
        if not value:
            reader.note(row.place(column), f"case `{clip(case)}` belongs to no cluster", f"a value in `{clip(column)}`", "fill it in")
        elif found.setdefault(case, value) != value:
            reader.note(
                row.place(column),
                f"case `{clip(case)}` belongs to `{clip(value)}` here and to `{clip(found[case])}` before",
                "one cluster for each case",
                "correct one of them",
            )
    return found


SOURCES = frozenset(
    {"doc", "document", "article", "page", "talk", "conversation", "dialogue", "thread", "session"}
    | {"customer", "user", "client", "patient", "author", "site"}
)  # names of columns that say where several cases come from


def _suspects(fields: Mapping[str, Mapping[str, Json]]) -> tuple[str, ...]:
    """Columns with at least three values, fewer values than cases, at least one value shared and on average at most twenty cases each.

    A handful of values over many cases is rather a group, such as a language, unless the column is called what cases come
    from, such as `doc`; a measured number is neither.
    """
    names = dict.fromkeys(name for values in fields.values() for name in values)
    suspects: list[str] = []
    for name in names:
        values = [word(case[name]) for case in fields.values() if name in case]
        kinds = set(values) - {None}
        measured = any(isinstance(case.get(name), float) for case in fields.values()) or any(
            "." in value and _number(value) is not None for value in kinds if value is not None
        )
        source = name.lower().removesuffix("_id").removesuffix("id").strip("_") in SOURCES
        if len(values) == len(fields) and 3 <= len(kinds) < len(values) and (source or len(values) <= 20 * len(kinds)) and not measured:
            suspects.append(name)
    return tuple(suspects)


# ------------------------------------------------------------------ scales read off the labels


def _labels(marks: Sequence[Mark]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for mark in marks:
        found.setdefault(mark.criterion, {})[mark.label] = None
    return {criterion: list(labels) for criterion, labels in found.items()}


def _criterion(name: str, said: Sequence[str], file: str, scale: tuple[float, float] | None, notes: list[Problem]) -> Criterion:
    labels = [label for label in said if label.lower() not in (NOT_APPLICABLE, CANNOT_TELL)]
    allow = any(label.lower() == NOT_APPLICABLE for label in said)
    lower = {label.lower() for label in labels}
    numbers = [number for label in labels if (number := _number(label)) is not None]

    def tell(found: str, remedy: str) -> None:
        notes.append(Problem(file, None, None, f"`{clip(name)}`: {found}", "", remedy))

    pair = next((pair for pair in PAIRS if lower and lower <= set(pair)), None)
    if pair is not None and scale is None:
        return Criterion(name, levels=(Level(pair[0]), Level(pair[1])), not_applicable=allow)
    if labels and len(numbers) == len(labels):
        return _of_numbers(name, numbers, scale, allow, tell)
    names = sorted(labels) or ["no", "yes"]
    if len(names) == 1:
        names = [f"not {names[0]}", names[0]]
        tell(
            f"only the label `{clip(names[1])}` occurs, so the other level is unknown",
            "a study with a rubric says what could have been given",
        )
    elif len(names) > 2:
        tell(
            f"the labels {listed(names)} have no order here",
            "a study with a rubric says which is better; until then only the share of each label means something",
        )
        return Criterion(name, levels=tuple(Level(one) for one in names), scale="nominal", not_applicable=allow)
    else:
        tell(f"`{clip(names[1])}` is taken to be better than `{clip(names[0])}`", "a study with a rubric says which is better")
    return Criterion(name, levels=tuple(Level(one) for one in names), not_applicable=allow)


def _of_numbers(
    name: str, numbers: Sequence[float], scale: tuple[float, float] | None, allow: bool, tell: Callable[[str, str], None]
) -> Criterion:
    low, high = scale if scale is not None else (min(numbers), max(numbers))
    whole = all(number == int(number) for number in (*numbers, low, high))
    if whole and 1 <= high - low <= MOST_LEVELS:
        steps = range(int(low), int(high) + 1)
        if scale is None:
            tell(
                f"the scale is taken to be {int(low)} to {int(high)}, the numbers that occur",
                "say so if other numbers could have been given",
            )
        return Criterion(name, levels=tuple(Level(str(step), value=(step - low) / (high - low)) for step in steps), not_applicable=allow)
    if scale is None:
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)
        tell(
            f"the scale is taken to be {low:g} to {high:g}" + ("" if (low, high) == (0.0, 1.0) else ", the numbers that occur"),
            "say so if other numbers could have been given",
        )
    return Criterion(name, scale="interval", range=(float(low), float(high)), not_applicable=allow)


def _number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) < 1e12 and "_" not in label else None


def _spelling(label: str, criterion: Criterion) -> str:
    """The label as the scale spells it: True as true, 3.0 as 3."""
    names = criterion.level_names()
    if label in names:
        return label
    if label.lower() in (*names, NOT_APPLICABLE, CANNOT_TELL):
        return label.lower()
    number = _number(label)
    return word(number) or label if number is not None else label
