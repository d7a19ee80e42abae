"""YAML 1.2 as a tree of values that know where they stand.

ruamel.yaml gives the events; the values are made here by the YAML 1.2 core schema, so that `no`, `yes`, `on` and dates stay
text. Aliases are shared, never copied, and what they would expand to is counted before anything walks the tree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from fairmark.load.sources import Place, Reader, Text, clip
from fairmark.records import Json

YAML_CAP = 128_000  # bytes; ruamel reads about 0.3 MB a second
EVENTS_CAP = 10_000  # entries of one file
EXPANDED_CAP = 10_000  # values that all aliases together may stand for
DEPTH_CAP = 40
DIGITS_CAP = 300  # of one number

_NULL = re.compile(r"(?:null|Null|NULL|~)?")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping with its value."""

    key: Place
    node: Node


@dataclass(slots=True)
class Node:
    """A value and where it stands."""

    place: Place
    value: str | int | float | bool | list[Node] | dict[str, Entry] | None
    raw: str = ""  # a scalar as it was written, without its quotes
    size: int = 1  # values in it, aliases expanded

    def get(self, key: str) -> Node | None:
        """The value under a key of a mapping."""
        entry = self.value.get(key) if isinstance(self.value, dict) else None
        return entry.node if entry else None

    def entries(self) -> Iterator[tuple[str, Place, Node]]:
        """Key, place of the key, and value of each entry of a mapping; nothing for anything else."""
        if isinstance(self.value, dict):
            for key, entry in self.value.items():
                yield key, entry.key, entry.node

    def where(self, *path: str | int, key: bool = False) -> Place:
        """The place of the value at the path, or of its key; of the nearest thing around it where it is absent."""
        node, place = self, self.place
        for step in path:
            if isinstance(step, str) and isinstance(node.value, dict) and step in node.value:
                place, node = node.value[step].key, node.value[step].node
            elif isinstance(step, int) and isinstance(node.value, list) and 0 <= step < len(node.value):
                node = node.value[step]
                place = node.place
            else:
                return place
        return place if key else node.place

    def plain(self) -> Json:
        """The value without its places."""
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        return self.value

    def leaves(self) -> Iterator[Node]:
        """Every scalar in it."""
        if isinstance(self.value, list):
            for node in self.value:
                yield from node.leaves()
        elif isinstance(self.value, dict):
            for entry in self.value.values():
                yield from entry.node.leaves()
        else:
            yield self


class _Stop(Exception):
    """The file cannot be read on; its problem has been noted."""


def compose(text: Text, reader: Reader) -> Node | None:
    """The tree of a YAML file, or None after its problems were noted."""
    try:
        root = _Composer(text, reader).compose()
    except _Stop:
        return None
    except ReaderError as error:
        character = error.character if isinstance(error.character, str) else chr(error.character)
        reader.note(
            text.place(int(error.position)),
            f"the character U+{ord(character[:1] or ' '):04X} cannot stand in YAML",
            "printable characters",
            "remove it",
        )
        return None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = text.place(min(mark.index, len(text.content))) if mark else Place(text.file)
        why = " ".join(part for part in (error.context, error.problem) if part)
        reader.note(place, f"this cannot be read as YAML: {clip(why, 160)}", "YAML 1.2", _yaml_remedy(text, place))
        return None
    except (ValueError, OverflowError, IndexError, AttributeError, TypeError, KeyError, AssertionError) as error:
        # the YAML library trips over some texts, such as the escape "\UFFFFFFFF", without saying where
        reader.note(
            Place(text.file), f"this cannot be read as YAML: {clip(str(error), 160)}", "YAML 1.2", "simplify the file until it is read"
        )
        return None
    if root is None:
        reader.note(Place(text.file, 1, 1), "the file is empty", "", "write it, or start from `fairmark init`")
    return root


def _yaml_remedy(text: Text, place: Place) -> str:
    lines = text.content.split("\n")
    line = lines[place.line - 1] if place.line is not None and place.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces; a tab cannot indent YAML"
    if re.search(r":\s+[^\"'\s#][^#]*:\s", line):
        return "put a text that holds `: ` in quotes"
    if re.search(r":\s+[\"'{\[@`%&*!|>]", line):
        return "put the text in quotes, and close every quote and bracket"
    return "check indentation, quotes and brackets on this line and the one before"


class _Composer:
    """Builds the tree from events on a stack of its own, so that depth is a number and never a crash."""

    def __init__(self, text: Text, reader: Reader) -> None:
        self.text = text
        self.reader = reader
        self.anchors: dict[str, Node | None] = {}  # None while the anchored value is still open
        self.expanded = 0

    def compose(self) -> Node | None:
        stack: list[_Open] = []
        root: Node | None = None
        documents = 0
        for count, event in enumerate(YAML(typ="safe", pure=True).parse(self.text.content)):
            kind = type(event).__name__
            if kind in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent", "CommentEvent"):
                continue
            place = self.text.place(event.start_mark.index)
            if count > EVENTS_CAP:
                self._stop(place, f"the file holds more than {EVENTS_CAP:,} entries", "", "move rows into a .jsonl or .csv file")
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    self._stop(place, "a second document begins here", "one document a file", "move it into a file of its own")
                if event.version is not None and tuple(event.version) != (1, 2):
                    self._stop(place, "the file asks for another version of YAML", "YAML 1.2", "remove the line that begins with %YAML")
                continue
            if kind in ("SequenceEndEvent", "MappingEndEvent"):
                node = stack.pop().close()
                place = node.place
            elif kind in ("SequenceStartEvent", "MappingStartEvent"):
                if len(stack) >= DEPTH_CAP:
                    self._stop(place, f"values are nested more than {DEPTH_CAP} deep", "", "write it flatter")
                self._tag(event, place)
                stack.append(_Open(Node(place, [] if kind == "SequenceStartEvent" else {}), event.anchor, self))
                if event.anchor:
                    self.anchors[event.anchor] = None
                continue
            elif kind == "AliasEvent":
                node = self._alias(event.anchor, place)
            else:
                node = self._scalar(event, place)
                if event.anchor:
                    self.anchors[event.anchor] = node
            if stack:
                stack[-1].add(node, place)
            else:
                root = node
        return root

    def _stop(self, place: Place, found: str, allowed: str, remedy: str) -> None:
        self.reader.note(place, found, allowed, remedy)
        raise _Stop

    def _tag(self, event: Any, place: Place) -> None:
        tag = str(event.tag) if event.tag is not None else ""
        if tag and tag not in ("!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
            self.reader.note(place, f"the tag `{clip(tag)}`", "no tags", "remove the tag and write the value plainly")

    def _alias(self, name: str, place: Place) -> Node:
        node = self.anchors.get(name)
        if node is None:
            if name in self.anchors:
                self._stop(place, f"`*{clip(name)}` stands inside the value it repeats", "", "write the value out")
            self._stop(place, f"`*{clip(name)}` repeats nothing: there is no `&{clip(name)}` above", "", "write the value out")
        assert node is not None
        self.expanded += node.size
        if self.expanded > EXPANDED_CAP:
            self._stop(
                place,
                f"the aliases of this file stand for more than {EXPANDED_CAP:,} values",
                f"at most {EXPANDED_CAP:,}",
                "write the values out, or use fewer aliases",
            )
        return node

    def _scalar(self, event: Any, place: Place) -> Node:
        raw = str(event.value)
        self._tag(event, place)
        if _SURROGATE.search(raw):
            self.reader.note(
                place,
                "the text holds half of a surrogate pair, which is no character",
                "Unicode text",
                "write the character itself instead of \\u escapes",
            )
            raw = _SURROGATE.sub("?", raw)
        if "\0" in raw:
            self.reader.note(place, "the text holds a NUL character", "text", "remove the escape")
            raw = raw.replace("\0", "?")
        plain = event.style in (None, "") and not (event.tag is not None and str(event.tag))
        return Node(place, self._value(raw, place) if plain else raw, raw)

    def _value(self, raw: str, place: Place) -> str | int | float | bool | None:
        if _NULL.fullmatch(raw):
            return None
        if _BOOL.fullmatch(raw):
            return raw.lower() == "true"
        if raw[0] not in "+-.0123456789":
            return raw
        if _NOT_FINITE.fullmatch(raw):
            self.reader.note(place, f"`{raw}` is not a finite number", "a finite number", "write a number, or put the text in quotes")
            return raw
        number: float | None = None
        if _INT.fullmatch(raw) or _FLOAT.fullmatch(raw):
            if len(raw) <= DIGITS_CAP:
                number = int(raw, 0) if raw[:2] in ("0o", "0x") else int(raw) if _INT.fullmatch(raw) else float(raw)
            if number is None or not _finite(number):
                self.reader.note(
                    place,
                    f"the number `{clip(raw, 30)}` is too large",
                    "a number of everyday size",
                    "write it smaller, or put the text in quotes",
                )
                return raw
            return number
        return raw


class _Open:
    """A list or mapping whose end has not been reached."""

    def __init__(self, node: Node, anchor: str | None, composer: _Composer) -> None:
        self.node = node
        self.anchor = anchor
        self.composer = composer
        self.key: tuple[str, Place] | None = None
        self.skip = False  # the key could not be used, its value is passed over

    def add(self, node: Node, place: Place) -> None:
        self.node.size += node.size
        if isinstance(self.node.value, list):
            self.node.value.append(node)
            return
        assert isinstance(self.node.value, dict)
        reader = self.composer.reader
        if self.key is None and not self.skip:
            if isinstance(node.value, (list, dict)) or not node.raw:
                reader.note(place, "a key must be a word", "a short text", "write `key: value`; put odd keys in quotes")
                self.skip = True
            elif node.raw in self.node.value:
                first = self.node.value[node.raw].key
                reader.note(
                    place,
                    f"the key `{clip(node.raw)}` stands here a second time; the first is at {first}",
                    "each key once",
                    "remove or rename one of them",
                )
                self.skip = True
            else:
                self.key = (node.raw, place)
            return
        if self.key is not None:
            self.node.value[self.key[0]] = Entry(self.key[1], Node(place, node.value, node.raw, node.size))
        self.key, self.skip = None, False

    def close(self) -> Node:
        if self.anchor:
            self.composer.anchors[self.anchor] = self.node
        return self.node


def _finite(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False
