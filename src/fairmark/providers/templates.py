"""Templates: `{{slots}}` filled in one pass, so that data is never read as a template; and the question of a case.

A slot names a column of the case. `{{input}}` is the input as text, `{{messages}}` its turns, `{{id}}` the case's id. The
reference answer is never shown to a system.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fairmark.errors import Mistake, nearest
from fairmark.providers.ingress import json_text
from fairmark.records import Case, Json, Message, Question, plain_text
from fairmark.study import SystemSpec

SLOT = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")
_STEP = re.compile(r"""\.([^.\[\]"'\s]+)|\[(-?[0-9]{1,9})\]|\["([^"]*)"\]|\['([^']*)'\]""")


# ------------------------------------------------------------------ slots


def slots(template: Json) -> tuple[str, ...]:
    """The names of all slots in a text, or in the texts within a JSON value, in order and each once. Keys hold none."""
    found: dict[str, None] = {}

    def look(value: Json) -> None:
        if isinstance(value, str):
            found.update(dict.fromkeys(SLOT.findall(value)))
        elif isinstance(value, Mapping):
            for part in value.values():
                look(part)
        elif isinstance(value, (list, tuple)):
            for part in value:
                look(part)

    look(template)
    return tuple(found)


def as_text(value: Json) -> str:
    """A value as it stands inside a longer text: text as it is, nothing for None, else its JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


def fill_text(template: str, values: Mapping[str, Json]) -> str:
    """The template with every slot filled, in one pass. `KeyError` for a slot without a value."""
    return SLOT.sub(lambda match: as_text(values[match[1]]), template)


def fill_json(template: Json, values: Mapping[str, Json], *, written: Callable[[str], str] | None = None) -> Json:
    """The JSON value with every slot filled. A text that is one slot and nothing else takes the value with its type.

    `written` is applied to texts without slots, which are the author's own and never data.
    """
    if isinstance(template, str):
        whole = SLOT.fullmatch(template)
        if whole:
            return values[whole[1]]
        if SLOT.search(template):
            return fill_text(template, values)
        return written(template) if written else template
    if isinstance(template, Mapping):
        return {key: fill_json(part, values, written=written) for key, part in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill_json(part, values, written=written) for part in template]
    return template


def values_of(question: Question) -> dict[str, Json]:
    """What the slots of an application's template stand for in a question."""
    turns = [{"role": message.role, "content": message.content} for message in question.messages]
    return {"messages": turns, **question.fields, "input": plain_text(question.messages)}


# ------------------------------------------------------------------ questions


def question(spec: SystemSpec, case: Case, *, trial: int) -> Question:
    """What a system is asked about a case. Pure; `Mistake` for a slot that is no column of the case.

    A prompt with `{{input}}` or `{{messages}}` is the one user message. Any other prompt is the system message before the
    case's own turns. An application is given the columns its template uses, a Python function all of them.
    """
    match spec.kind:
        case "model":
            options = dict(spec.model.options) if spec.model is not None else {}
            return Question(_messages(spec, case), options, trial=trial)
        case "http":
            used = slots([spec.url or "", list(spec.headers.values()), spec.body])
            asked = case.input if {"input", "messages"} & set(used) else ()
            return Question(asked, fields=_columns(spec, case, used), trial=trial)
        case "command":
            return Question(case.input, fields=_columns(spec, case, slots(list(spec.command))), trial=trial)
        case "python":
            return Question(case.input, fields={**case.fields, "id": case.id}, trial=trial)
        case "recorded":
            return Question(case.input, recorded=(spec.recorded or {}).get((case.id, trial)), trial=trial)


def _messages(spec: SystemSpec, case: Case) -> tuple[Message, ...]:
    if spec.prompt is None:
        return case.input
    prompt = spec.prompt.rstrip("\r\n")  # editors end files with a line break, which is no part of what was meant
    used = slots(prompt)
    text = fill_text(prompt, {name: _value(spec, case, name) for name in used})
    return (Message("user", text),) if {"input", "messages"} & set(used) else (Message("system", text), *case.input)


def _columns(spec: SystemSpec, case: Case, used: Sequence[str]) -> dict[str, Json]:
    """The columns behind the used slots; input and turns are in the question's messages."""
    own = {name for name in ("input", "messages") if name not in case.fields}
    return {name: _value(spec, case, name) for name in used if name not in own}


def _value(spec: SystemSpec, case: Case, name: str) -> Json:
    if name == "input":
        return case.text
    if name in case.fields:
        return case.fields[name]
    if name == "messages":
        return [{"role": message.role, "content": message.content} for message in case.input]
    if name == "id":
        return case.id
    columns = ("input", "messages", "id", *case.fields)
    if name == "expected":
        raise Mistake.in_call(
            f"the system `{spec.name}` has the slot `{{{{expected}}}}`, and the reference answer is never shown to a system",
            allowed=", ".join(columns),
            remedy="take the slot out",
        )
    raise Mistake.in_call(
        f"the system `{spec.name}` has the slot `{{{{{name}}}}}`, and case `{case.id}` has no such column",
        allowed=", ".join(columns),
        remedy=nearest(name, columns) or "add the column to the cases, or take the slot out",
    )


# ------------------------------------------------------------------ paths


@dataclass(frozen=True, slots=True)
class Path:
    """A place in a JSON value: names of members and numbers of elements, from the outside in."""

    steps: tuple[str | int, ...]
    written: str = field(compare=False)

    def read(self, value: Json) -> Json:
        """What stands there. `LookupError` says where the way ends."""
        here = "$"
        for step in self.steps:
            if isinstance(step, str):
                if not isinstance(value, Mapping):
                    raise LookupError(f"there is no `{step}` in `{here}`, which is {_kind(value)}")
                if step not in value:
                    known = ", ".join(map(str, list(value)[:8])) or "nothing"
                    raise LookupError(f"there is no `{step}` in `{here}`, which holds {known}")
                value, here = value[step], f"{here}.{step}"
            else:
                if not isinstance(value, list):
                    raise LookupError(f"there is no [{step}] in `{here}`, which is {_kind(value)}")
                if not -len(value) <= step < len(value):
                    raise LookupError(f"there is no [{step}] in `{here}`, which has {len(value)} elements")
                value, here = value[step], f"{here}[{step}]"
        return value


def parse_path(written: str) -> Path:
    """The path in a text such as `$.choices[0].text`. `ValueError` says what is wrong and where.

    Read are `$`, then any of `.name`, `["any name"]` and `[number]`; a negative number counts from the end.
    """
    if not written.startswith("$"):
        raise ValueError(f"the path `{written}` does not begin with `$`; write it like $.reply or $.choices[0].text")
    steps: list[str | int] = []
    at = 1
    while at < len(written):
        match = _STEP.match(written, at)
        if match is None:
            raise ValueError(
                f"the path `{written}` cannot be read from character {at + 1} on (`{written[at : at + 10]}`); "
                'it may hold .name, ["any name"] and [number]'
            )
        steps.append(int(match[2]) if match[2] is not None else next(part for part in match.groups() if part is not None))
        at = match.end()
    return Path(tuple(steps), written)


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    return {bool: "true or false", str: "text", list: "a list", dict: "an object"}.get(type(value), "a number")
