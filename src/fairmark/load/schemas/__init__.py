"""JSON Schemas of study.yaml and rubric.yaml for editors, made from the models. `python -m fairmark.load.schemas` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairmark.load.marking import CHECKS, LLM_OPTIONS, Kind
from fairmark.load.models import Part, RubricFile, StudyFile, description
from fairmark.load.shape import keys_of, part_in

FOLDER = Path(__file__).parent
_KINDS: Mapping[str, Any] = {
    "text": {"type": "string", "minLength": 1},
    "list of texts": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "text or list of texts": {"type": ["string", "array"]},
    "yes or no": {"type": "boolean"},
    "number": {"type": "number"},
    "whole number": {"type": "integer", "minimum": 0},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "range": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2},
    "text or mapping": {"type": ["string", "object"]},
    "JSON": {},
    "list of numbers": {"type": "array", "items": {"type": "number"}},
}
# What a person may write as a number, true or false although it is text.
_LOOSE_TEXT = ("version", "pass", "level", "guideline", "study", "rubric")
_ONE_OR_MANY = ("cases", "stop", "criteria", "groups")
_ONE_OF = {
    "System": ("model", "local", "http", "python", "command", "recorded"),
    "Grader": ("llm", "check", "recorded"),
    "Expectation": ("better", "at_least", "at_most", "no_worse_than"),
}


def documents() -> dict[str, str]:
    """The text of each schema file, by its name."""
    study, rubric = _schema(StudyFile, "study.yaml of fairmark"), _schema(RubricFile, "rubric.yaml of fairmark")
    inline = {key: value for key, value in rubric.items() if key not in ("$schema", "$defs", "title")}
    study["$defs"] |= rubric["$defs"]
    study["properties"]["rubric"] = {
        "description": study["properties"]["rubric"]["description"],
        "anyOf": [{"type": "string", "minLength": 1}, inline],
    }
    return {
        "study.schema.json": json.dumps(study, indent=2, ensure_ascii=False) + "\n",
        "rubric.schema.json": json.dumps(rubric, indent=2, ensure_ascii=False) + "\n",
    }


def _schema(model: type[Part], title: str) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    parts = {part.__name__: part for part in _parts(model)}
    definitions = schema.pop("$defs", {})
    for name, definition in definitions.items():
        _finish(definition, parts[name])
    _finish(schema, model)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema, "$defs": definitions}


def _parts(model: type[Part]) -> list[type[Part]]:
    found = [model]
    for field in model.model_fields.values():
        inner = part_in(field.annotation)
        if inner is not None:
            found += _parts(inner)
    return found


def _finish(schema: dict[str, Any], part: type[Part]) -> None:
    """Takes pydantic's clutter out and puts in what only `sugar` and the checks of meaning know."""
    schema.pop("title", None)
    for field, name in zip(part.model_fields, keys_of(part), strict=True):
        plain = _plain(schema["properties"][name]) | {"description": description(part, field)}
        if name in _ONE_OR_MANY and plain.get("type") == "array":
            plain = {"description": plain.pop("description", ""), "anyOf": [plain["items"], plain]}
        elif name in _LOOSE_TEXT and plain.get("type") == "string":
            plain["type"] = ["string", "number", "boolean"]
        schema["properties"][name] = plain
    if part.needed:
        schema["required"] = list(part.needed)
    if part.__name__ in _ONE_OF:
        schema["oneOf"] = [{"required": [key]} for key in _ONE_OF[part.__name__]]
    if part.__name__ == "Http":
        schema["properties"]["headers"]["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    if part.__name__ == "System":
        schema["properties"]["command"]["items"] = {"type": ["string", "number", "boolean"]}
    if part.__name__ == "StudyFile":
        text = {"type": ["string", "number", "boolean"]}
        schema["properties"]["population"]["additionalProperties"] = {"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]}
        schema["properties"]["interests"]["additionalProperties"] = text
    if part.__name__ == "Grader":
        _options(schema)
    if part.__name__ == "CriterionEntry":
        _levels(schema)


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A property without its null branch: an absent key is left out, not written as null."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "default", "anyOf")}
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    return {**(branches[0] if len(branches) == 1 else {"anyOf": branches} if branches else {}), **kept}


def _options(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = True  # checks of installed packages have options of their own
    schema["properties"]["check"] = {**schema["properties"]["check"], "examples": list(CHECKS)}
    options: dict[str, list[Any]] = {}
    for known in (LLM_OPTIONS, *(check.options for check in CHECKS.values()), {"cuts": "list of numbers"}):
        for name, kind in known.items():
            form = _kind(kind)
            if form not in options.setdefault(name, []):
                options[name].append(form)
    for name, forms in options.items():
        schema["properties"][name] = forms[0] if len(forms) == 1 else {"anyOf": forms}


def _kind(kind: Kind) -> Any:
    return {"enum": list(kind)} if isinstance(kind, tuple) else _KINDS[kind]


def _levels(schema: dict[str, Any]) -> None:
    levels = schema["properties"]["levels"]
    short = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "string", "minLength": 1}}
    levels["items"] = {"anyOf": [{"$ref": "#/$defs/LevelEntry"}, short]}
    described = levels.pop("description", "")
    as_mapping = {"type": "object", "minProperties": 2, "additionalProperties": {"type": "string", "minLength": 1}}
    schema["properties"]["levels"] = {"description": described, "anyOf": [levels, as_mapping]}
