"""JSON as models write it: strict values, objects with the places of their members, and paths into a value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from fairmark.records import Json

_SPACE = re.compile(r"[ \t\n\r]*")
_FENCED = re.compile(r"\s*```(?:json|JSON)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)
_STEP = re.compile(r"""\.(?P<name>[^.\[\]"'\s]+)|\[(?P<index>-?[0-9]{1,9})\]|\["(?P<double>[^"]*)"\]|\['(?P<single>[^']*)'\]""")


class NotJson(ValueError):
    """A text that is not one JSON value."""


def _refuse(constant: str) -> Json:
    raise NotJson(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def value_at(text: str, start: int) -> tuple[Json, int]:
    """The JSON value that begins at `start` and where it ends. `NotJson` where there is none, or it nests too deep."""
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        raise NotJson("nested too deep") from None
    except NotJson:
        raise
    except ValueError as error:  # also a number of too many digits
        place = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise NotJson(f"{getattr(error, 'msg', 'not a JSON value')}{place}") from None


def whole(text: str, *, fenced: bool = False) -> Json:
    """The JSON value that the whole text is; with `fenced` a lone Markdown code fence around it is taken off.

    `NotJson` for anything else, NaN and infinity included.
    """
    if fenced and (inside := _FENCED.fullmatch(text)):
        text = inside[1]
    value, end = value_at(text, _skip(text, 0))
    if _skip(text, end) != len(text):
        raise NotJson(f"more text follows the value at character {end + 1}")
    return value


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object, and where its value stands in the text."""

    key: str
    value: Json
    start: int
    end: int


def members_at(text: str, start: int) -> tuple[tuple[Member, ...], int]:
    """The members of the JSON object that begins at `start`, repeated keys included, and where it ends. `NotJson` if there is none."""
    if text[start : start + 1] != "{":
        raise NotJson("no object begins here")
    found: list[Member] = []
    place = _skip(text, start + 1)
    if text[place : place + 1] == "}":
        return (), place + 1
    while True:
        if text[place : place + 1] != '"':
            raise NotJson(f"a name in quotes is missing at character {place + 1}")
        key, place = value_at(text, place)
        place = _skip(text, place)
        if text[place : place + 1] != ":":
            raise NotJson(f"a colon is missing at character {place + 1}")
        begin = _skip(text, place + 1)
        value, place = value_at(text, begin)
        found.append(Member(key, value, begin, place))
        place = _skip(text, place)
        closing = text[place : place + 1]
        if closing == "}":
            return tuple(found), place + 1
        if closing != ",":
            raise NotJson(f"a comma or a closing brace is missing at character {place + 1}")
        place = _skip(text, place + 1)


def steps(path: str) -> tuple[str | int, ...]:
    """The steps of a path such as `$.items[0].price` or `$["odd name"]`. `ValueError` for anything else."""
    if not path.startswith("$"):
        raise ValueError(f"the path `{path}` does not start with `$`; an example is `$.items[0].price`")
    found: list[str | int] = []
    place = 1
    while place < len(path):
        step = _STEP.match(path, place)
        if step is None:
            raise ValueError(f"the path `{path}` cannot be read from `{path[place:]}` on; an example is `$.items[0].price`")
        if step["index"] is not None:
            found.append(int(step["index"]))
        else:
            found.append(next(text for text in (step["name"], step["double"], step["single"]) if text is not None))
        place = step.end()
    return tuple(found)


def at_path(value: Json, path: str) -> Json:
    """The part of a JSON value at a path. `LookupError` where there is none."""
    for step in steps(path):
        if (isinstance(step, int) and isinstance(value, list)) or (isinstance(step, str) and isinstance(value, dict)):
            holder: Json = value
            value = holder[step]
        else:
            raise LookupError(path)
    return value


def same(one: Json, other: Json) -> bool:
    """Whether two JSON values are equal: 1 equals 1.0, but true does not equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _skip(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return space.end() if space else place
