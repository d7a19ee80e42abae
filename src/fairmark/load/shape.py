"""From a tree of values to a model: what is typed wrong is noted in plain words, the rest is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import ValidationError

from fairmark.errors import nearest
from fairmark.load.models import Part, description
from fairmark.load.nodes import Node
from fairmark.load.sources import Reader, clip, listed, shown
from fairmark.records import Json

Shape = TypeVar("Shape", bound=Part)
Path = tuple[str | int, ...]

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of `key: value`",
    "model_type": "a mapping of `key: value`",
    "finite_number": "a finite number",
}


@dataclass(frozen=True, slots=True)
class Shaped(Generic[Shape]):
    """A model of what was typed right, and the paths of what was not."""

    model: Shape
    wrong: frozenset[Path]

    def sound(self, *path: str | int) -> bool:
        """Whether nothing at this path, in it or around it was typed wrong, so that more may be said about it."""
        return not any(bad[: len(path)] == path or path[: len(bad)] == bad for bad in self.wrong)


def shape(model: type[Shape], node: Node, reader: Reader) -> Shaped[Shape]:
    """The model of a tree. Every value of a wrong type, unknown key and missing key is noted."""
    wrong: set[Path] = set()
    if not isinstance(node.value, dict):
        reader.note(node.place, f"{shown(node.plain())} stands here", "a mapping of `key: value`", f"begin with {listed(model.needed)}")
        return Shaped(model(), frozenset({()}))
    data = node.plain()
    for path, names in _missing(model, node):
        wrong.add(path)
        for name in names:
            reader.note(
                node.where(*path, key=True), f"`{name}` is missing{_within(path)}", _meaning(_part_at(model, path), name), f"add `{name}:`"
            )
    while True:
        try:
            return Shaped(model.model_validate(data), frozenset(wrong))
        except ValidationError as error:
            pruned: set[Path] = set()
            for entry in error.errors(include_url=False, include_input=False):
                path = tuple(entry["loc"])
                _note(model, node, path, str(entry["type"]), entry.get("ctx", {}), reader)
                wrong.add(path)
                pruned.add(_prunable(path, node))
            for path in pruned:
                _prune(data, path)


def _note(model: type[Part], node: Node, path: Path, kind: str, context: dict[str, Any], reader: Reader) -> None:
    value_place, key_place = node.where(*path), node.where(*path, key=True)
    name = str(path[-1]) if path and isinstance(path[-1], str) else ""
    found = _value_at(node, path)
    if kind == "extra_forbidden":
        part = _part_at(model, path[:-1])
        if name in part.later:
            reader.note(
                key_place, f"`{name}` is here: this version does not do {part.later[name]} yet", listed(keys_of(part)), f"take `{name}` out"
            )
            return
        remedy = nearest(name, keys_of(part)) or (
            "YAML 1.2 has no merge keys; write the keys out" if name == "<<" else f"take `{clip(name)}` out, or correct its spelling"
        )
        reader.note(key_place, f"unknown key `{clip(name)}`{_within(path[:-1])}", listed(keys_of(part), 40), remedy)
        return
    what = f"`{clip(name)}`" if name else "this entry"
    value = "something that must not be shown" if name in ("api_key", "headers") or "headers" in path else shown(found)
    if kind in _TYPES:
        allowed = _TYPES[kind]
        reader.note(value_place, f"{what} is {value}", allowed, _retype(allowed, found))
    elif kind == "literal_error":
        options = _words(str(context.get("expected", "")))
        reader.note(value_place, f"{what} is {value}", listed(options), nearest(str(found), options) or "choose one of these")
    elif kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        reader.note(
            value_place,
            f"{what} is {value}",
            _bounds(model, path),
            "shares are written as 0.05, not as 5 or 5%" if _is_share(model, path) else "correct the number",
        )
    elif kind in ("string_too_short", "too_short", "too_long"):
        least, most = context.get("min_length"), context.get("max_length")
        size = (
            "at least one character"
            if kind == "string_too_short"
            else f"at least {least} entries"
            if kind == "too_short" and least != 1
            else "at least one entry"
        )
        reader.note(
            value_place,
            f"{what} is {'empty' if found in ('', [], {}) else 'too short' if kind != 'too_long' else 'too long'}",
            size if kind != "too_long" else f"at most {most} entries",
            "fill it in, or take the key out" if kind != "too_long" else "shorten it",
        )
    else:
        reader.note(value_place, f"{what} is {value}, which cannot be used here", "", "see docs/reference/study-files.md")


def keys_of(model: type[Part]) -> tuple[str, ...]:
    """The keys a person may write, in the order of the reference."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _within(path: Path) -> str:
    names = [str(step) for step in path if isinstance(step, str)]
    return f" in `{'.'.join(clip(name) for name in names)}`" if names else ""


def _meaning(part: type[Part], key: str) -> str:
    return next((description(part, name) for name, field in part.model_fields.items() if (field.alias or name) == key), "")


def _retype(allowed: str, found: Json) -> str:
    if allowed in ("a number", "a whole number") and isinstance(found, str):
        if found.rstrip().endswith("%"):
            return "write a share such as 0.05 instead of a percentage"
        return "write the number without quotes or units"
    if allowed == "text" and not isinstance(found, (list, dict)):
        return "put it in quotes"
    if allowed == "a list":
        return "put it in brackets: [...]"
    if allowed == "true or false":
        return "write true or false, without quotes"
    if allowed.startswith("a mapping"):
        return "indent the keys that belong here below it"
    return "correct the value"


def _words(expected: str) -> list[str]:
    """The words of pydantic's \"'a', 'b' or 'c'\"."""
    return [part for place, part in enumerate(expected.split("'")) if place % 2]


def _value_at(node: Node, path: Path) -> Json:
    for step in path:
        child = (
            node.get(step)
            if isinstance(step, str)
            else node.value[step]
            if isinstance(node.value, list) and step < len(node.value)
            else None
        )
        if child is None:
            return None
        node = child
    return node.plain()


def _prunable(path: Path, node: Node) -> Path:
    """The shortest part of the path that ends in a key and holds the wrong value: dropping an entry of a list would shift the others."""
    for length in range(len(path), 0, -1):
        if isinstance(path[length - 1], str) and not any(isinstance(step, int) for step in path[:length]):
            return path[:length]
    return path[:1]


def _prune(data: Json, path: Path) -> None:
    for step in path[:-1]:
        data = data.get(step) if isinstance(data, dict) else None
    if isinstance(data, dict):
        data.pop(path[-1], None)


def _missing(model: type[Part], node: Node, path: Path = ()) -> Iterator[tuple[Path, list[str]]]:
    """For every mapping in the tree, the needed keys it lacks. A key without a value counts as lacking."""
    if not isinstance(node.value, dict):
        return
    absent = [name for name in model.needed if (child := node.get(name)) is None or child.value is None]
    if absent:
        yield path, absent
    for name, field in model.model_fields.items():
        key = field.alias or name
        child, part = node.get(key), part_in(field.annotation)
        if child is None or part is None:
            continue
        if not _holds_many(field.annotation):
            yield from _missing(part, child, (*path, key))
        elif isinstance(child.value, list):
            for place, item in enumerate(child.value):
                yield from _missing(part, item, (*path, key, place))
        else:
            for inner, _, item in child.entries():
                yield from _missing(part, item, (*path, key, inner))


def part_in(annotation: Any) -> type[Part] | None:
    """The model inside an annotation such as `dict[str, System] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((part for inner in get_args(annotation) if (part := part_in(inner)) is not None), None)


def _holds_many(annotation: Any) -> bool:
    return get_origin(annotation) in (list, dict) or any(_holds_many(inner) for inner in get_args(annotation))


def _part_at(model: type[Part], path: Path) -> type[Part]:
    """The model of the mapping at a path."""
    steps = iter(path)
    for step in steps:
        field = next((field for name, field in model.model_fields.items() if (field.alias or name) == step), None)
        part = part_in(field.annotation) if field is not None else None
        if field is None or part is None:
            return model
        model = part
        if _holds_many(field.annotation):
            next(steps, None)
    return model


def _bounds(model: type[Part], path: Path) -> str:
    """The allowed range of a number in words."""
    part = _part_at(model, path[:-1])
    field = next((field for name, field in part.model_fields.items() if (field.alias or name) == path[-1]), None)
    parts: list[str] = []
    for limit in _limits(field.annotation if field else None, list(field.metadata) if field else []):
        for word, says in (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most")):
            bound = getattr(limit, word, None)
            if bound is not None:
                parts.append(f"{says} {bound:g}")
    return "a number of " + " and ".join(parts) if parts else "a number in range"


def _limits(annotation: Any, found: list[Any]) -> list[Any]:
    for inner in get_args(annotation):
        if hasattr(inner, "metadata"):
            found += inner.metadata
        elif not isinstance(inner, type):
            found.append(inner)
        _limits(inner, found)
    return found


def _is_share(model: type[Part], path: Path) -> bool:
    return bool(path) and path[-1] in ("by", "margin", "at_least", "at_most", "worth_finding", "alpha", "power", "value", "top_p")
