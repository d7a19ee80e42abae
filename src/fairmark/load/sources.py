"""Files as text with positions, and the list of everything found wrong in them."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from fairmark.errors import Mistake, Problem, nearest

MEGABYTE = 1_000_000
TEXT_CAP = MEGABYTE  # bytes of a prompt or a Python file
ROWS_CAP = 256 * MEGABYTE  # bytes of a file of rows
ENOUGH_PER_FILE = 1000  # mistakes after which a file is not read on
SHOWN_PER_FILE = 100  # a file of 100,000 wrong rows must not fill the screen

ENV_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# Shapes of keys and tokens that must never stand in a file that goes into version control.
SECRET = re.compile(
    r"\b(?:sk|pk|rk)[-_](?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bAKIA[0-9A-Z]{16}\b|\bxox[abprs]-[\w-]{10,}"
    r"|\bAIza[\w-]{30,}|\bhf_[A-Za-z0-9]{20,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.|-----BEGIN [A-Z ]*PRIVATE KEY-----",
    re.ASCII,
)


class Place(NamedTuple):
    """A position in a file. Line and column count from 1; None where the whole file is meant."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in self if part is not None)


@dataclass
class Text:
    """The content of a file and where its lines begin."""

    file: str  # as the person wrote it
    content: str
    path: Path
    sha256: str  # of the bytes of the file

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.content))]

    def place(self, offset: int) -> Place:
        """The position of a character. Only the line feed ends a line, as every editor's `go to line` counts."""
        line = bisect_right(self._starts, offset)
        return Place(self.file, line, offset - self._starts[line - 1] + 1)


@dataclass
class Reader:
    """The folder that is read, the files that were read, and what was found wrong."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def note(self, place: Place, found: str, allowed: str = "", remedy: str = "") -> None:
        """Takes down one mistake. Text from the files is made fit for a terminal and cleared of secrets."""
        self._counts[place.file] += 1
        if self._counts[place.file] <= SHOWN_PER_FILE:
            self.problems.append(
                Problem(printable(place.file), place.line, place.column, printable(found), printable(allowed), printable(remedy))
            )

    def enough(self, file: str) -> bool:
        """Whether so much is wrong with a file that reading on would only take time."""
        return self._counts[file] >= ENOUGH_PER_FILE

    def finish(self) -> None:
        """Raises everything noted so far as one `Mistake`."""
        more = [
            Problem(
                printable(file),
                None,
                None,
                f"{SHOWN_PER_FILE} mistakes of this file are listed, at least {count - SHOWN_PER_FILE:,} more are not",
                "",
                "mend the listed ones first; often one cause is behind them all",
            )
            for file, count in self._counts.items()
            if count > SHOWN_PER_FILE
        ]
        if self.problems:
            raise Mistake([*self.problems, *more])

    def text(self, name: str, place: Place, *, cap: int = TEXT_CAP, what: str = "file") -> Text | None:
        """The file's text, or None after its problem was noted. `place` is where the file is named."""
        path = self._path(name, place, what)
        if path is None:
            return None
        try:
            with path.open("rb") as stream:
                data = stream.read(cap + 1)
        except OSError as error:
            self.note(place, f"`{name}` cannot be read: {error.strerror or error}", "", "make the file readable")
            return None
        self.files[name] = path
        if len(data) > cap:
            self.note(
                Place(name),
                f"the {what} is larger than {_size(cap)}",
                f"at most {_size(cap)}",
                "split it, or move its bulk into other files",
            )
            return None
        return self.decode(data, name, path)

    def start(self, name: str, place: Place, *, what: str) -> bytes | None:
        """The first four bytes of a file too large to be read, or None after its problem was noted."""
        path = self._path(name, place, what)
        if path is None:
            return None
        try:
            with path.open("rb") as stream:
                return stream.read(4)
        except OSError as error:
            self.note(place, f"`{name}` cannot be read: {error.strerror or error}", "", "make the file readable")
            return None

    def decode(self, data: bytes, name: str, path: Path) -> Text | None:
        """Bytes as text: UTF-8, with or without a byte order mark."""
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self.note(Place(name, 1, 1), "the file is UTF-16", "UTF-8", "save it as UTF-8")
            return None
        body = data.removeprefix(b"\xef\xbb\xbf")
        try:
            content = body.decode("utf-8")
        except UnicodeDecodeError as error:
            start = body.rfind(b"\n", 0, error.start) + 1
            place = Place(name, body.count(b"\n", 0, error.start) + 1, len(body[start : error.start].decode("utf-8")) + 1)
            offset = error.start + len(data) - len(body)
            self.note(place, f"the byte 0x{body[error.start]:02x} at offset {offset} is not UTF-8", "UTF-8", "save the file as UTF-8")
            return None
        text = Text(name, content, path, hashlib.sha256(data).hexdigest())
        if (zero := content.find("\0")) >= 0:
            self.note(text.place(zero), "the file holds a NUL character", "text", "remove it, or save the file as plain UTF-8 text")
            return None
        return text

    def _path(self, name: str, place: Place, what: str) -> Path | None:
        path = self.folder / name
        try:
            if path.is_file():
                return path
            exists, is_folder = path.exists(), path.is_dir()
        except (OSError, ValueError):  # too long, or a name that no file can have
            exists = is_folder = False
        if exists:
            self.note(
                place, f"`{name}` is {'a folder' if is_folder else 'not a plain file'}", f"the path of a {what}", "name the file itself"
            )
        else:
            self.note(
                place,
                f"there is no file `{name}`",
                f"the path of a {what}, from {self.folder}",
                self._similar(name) or "write the file, or correct the path",
            )
        return None

    def _similar(self, name: str) -> str:
        try:
            folder = (self.folder / name).parent
            names = {str(Path(name).parent / other.name): other.name for other in sorted(folder.iterdir())[:2000] if other.is_file()}
        except (OSError, ValueError):
            return ""
        return nearest(str(Path(name)), names)


def printable(text: str) -> str:
    """The text without secrets, and with control characters and lone surrogates escaped, so that any terminal can show it."""
    text = SECRET.sub("(a secret)", text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape", "backslashreplace").decode("ascii") for char in text
    )


def shown(value: object) -> str:
    """A found value as a message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return clip(repr(value))
    if isinstance(value, str):
        return f"the text `{clip(value)}`" if value else "an empty text"
    return "a list" if isinstance(value, (list, tuple)) else "a mapping"


def clip(text: str, length: int = 60) -> str:
    """The beginning of a text on one line."""
    line = " ".join(SECRET.sub("(a secret)", text[: 8 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def listed(names: object, most: int = 12) -> str:
    """Names in backticks, the first dozen of them."""
    all_names = [f"`{clip(str(name))}`" for name in names]  # type: ignore[attr-defined]
    return ", ".join(all_names[:most]) + (f" and {len(all_names) - most} more" if len(all_names) > most else "")


def _size(number: int) -> str:
    return f"{number // MEGABYTE} MB" if number >= MEGABYTE else f"{number // 1000} kB"
