"""What marks already there say about a grader: people's beside its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairmark.records import ADJUDICATED
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion
from fairmark.study import ModelSpec, Study
from fairmark.table import Cell, Row, Table

FAMILIES: Mapping[str, str] = {
    r"gpt|chatgpt|davinci|^o\d": "gpt",
    r"claude": "claude",
    r"gemini|gemma|palm": "gemini",
    r"llama": "llama",
    r"mistral|mixtral|ministral|codestral|magistral": "mistral",
    r"qwen|qwq": "qwen",
    r"deepseek": "deepseek",
    r"smollm": "smollm",
    r"\bphi\b|phi-?\d": "phi",
    r"command": "command",
    r"grok": "grok",
}  # of a model's name; the first that fits
BY_PROVIDER: Mapping[str, str] = {"openai": "gpt", "anthropic": "claude"}


@dataclass(frozen=True, slots=True)
class Marked:
    """One answer that the grader and people marked, both 0 to 1."""

    row: Row
    grader: float
    people: float  # the adjudicated mark, else the mean of all people's
    one: float  # of one person: a mean of several spreads less


def family(model: ModelSpec | None) -> str | None:
    """The family of a model by its name, else by its provider; None where neither says it."""
    if model is None:
        return None
    name = model.model.lower().rsplit("/", 1)[-1]
    for pattern, known in FAMILIES.items():
        if re.search(pattern, name):
            return known
    # an address of its own may serve anybody's model under OpenAI's protocol
    return BY_PROVIDER.get(model.provider) if model.base_url is None else None


def families_of(study: Study, grader: str, said: Mapping[str, str]) -> tuple[str | None, dict[str, str | None]]:
    """The family of the grader, and of each system."""
    own = said.get(grader) or family(study.graders[grader].model)
    return own, {name: said.get(name) or family(spec.model) for name, spec in study.systems.items()}


def marked(table: Table, grader: str, criterion: Criterion) -> tuple[Marked, ...]:
    """All answers on which the grader's first mark and people's stand side by side."""
    found = []
    for row in table.rows:
        its = next(
            (
                value
                for cell in table.cells(row, grader, criterion.id)
                if cell.repeat == 0 and (value := _value(cell, criterion)) is not None
            ),
            None,
        )
        people = [
            (cell.rater, value)
            for cell in row.cells
            if cell.kind == "human"
            and cell.criterion == criterion.id
            and cell.repeat == 0
            and (value := _value(cell, criterion)) is not None
        ]
        if its is None or not people:
            continue
        settled = [value for rater, value in people if rater == ADJUDICATED]
        single = [value for rater, value in sorted(people) if rater != ADJUDICATED]
        mean = settled[0] if settled else sum(single) / len(single)
        found.append(Marked(row, its, mean, single[0] if single else mean))
    return tuple(found)


def known_bad(table: Table, row: Row, criterion: Criterion) -> bool:
    """Whether people, or where none marked it checks, all put this answer at the lowest value of the scale."""
    for kind in ("human", "check"):
        cells = [cell for cell in row.cells if cell.kind == kind and cell.criterion == criterion.id]
        settled = [cell for cell in cells if cell.rater == ADJUDICATED and cell.grade is not None]
        values = [value for cell in settled or cells if (value := _value(cell, criterion)) is not None]
        if values:
            return max(values) <= lowest(criterion)
    return False


def lowest(criterion: Criterion) -> float:
    """The lowest value on the criterion's scale."""
    return min((criterion.value_of(name) for name in criterion.level_names()), default=0.0)


def units(table: Table, rows: Sequence[Row]) -> list[str]:
    """The cluster of each row; its case where none is declared."""
    cluster = table.study.cluster
    return [str(row.case.fields.get(cluster)) if cluster is not None else row.case.id for row in rows]


def _value(cell: Cell, criterion: Criterion) -> float | None:
    label = cell.grade.label if cell.grade is not None else None
    return None if label is None or label in (CANNOT_TELL, NOT_APPLICABLE) else criterion.value_of(label)
