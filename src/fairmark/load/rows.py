"""Rows of JSONL and CSV files, each knowing its line and the columns of its cells."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from fairmark.errors import nearest
from fairmark.load.sources import ROWS_CAP, Place, Reader, Text, clip, listed, shown
from fairmark.records import Json

JSONL = (".jsonl", ".ndjson")
CSV = (".csv", ".tsv")
COLUMNS_CAP = 1000
ROW_CAP = 16_000_000  # characters of one row
DEPTH_CAP = 40

_SPACE = re.compile(r"[ \t\r\n]*")
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file. Empty cells and nulls are not in `fields`: an absent value is absent however it is written."""

    fields: Mapping[str, Json]
    file: str
    line: int
    source: str  # the line or lines it was read from
    cells: Sequence[str] = ()  # CSV: the names of the cells in order
    delimiter: str = ""  # CSV only

    def place(self, column: str | None = None) -> Place:
        """Where the row begins, or where the value of one of its columns stands."""
        start = 1
        if column is not None and not self.delimiter:
            start = _json_places(self.source).get(column, 0) + 1
        elif column is not None and column in self.cells and "\n" not in self.source:
            start = _cell_start(self.source, self.cells.index(column), self.delimiter) + 1
        return Place(self.file, self.line, start)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one file."""

    file: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]  # every column that occurs, in the order of first occurrence
    whole: bool = True  # False: some rows could not be read, so what is missing may be among them


def read(name: str, reader: Reader, place: Place, *, what: str, csv_too: bool = True) -> Rows | None:
    """The rows of a JSONL or CSV file, or None after the problem of the whole file was noted."""
    suffix = "." + name.rsplit(".", 1)[-1].lower() if "." in name else ""
    endings = JSONL + (CSV if csv_too else ())
    if suffix not in endings:
        reader.note(
            place,
            f"`{clip(name)}` is not a file of rows that can be read",
            "a name that ends in " + ", ".join(endings),
            _format_remedy(suffix),
        )
        return None
    text = reader.text(name, place, cap=ROWS_CAP, what=what)
    if text is None:
        return None
    if not text.content.strip():
        reader.note(Place(name, 1, 1), "the file is empty", "at least one row", "write the rows, one a line")
        return None
    rows = _read_jsonl(text, reader) if suffix in JSONL else _read_csv(text, reader)
    if rows is not None and not rows.rows and rows.whole:
        reader.note(Place(name, 1, 1), "the file holds no rows", "at least one row", "write the rows, one a line")
        return None
    return rows


def _format_remedy(suffix: str) -> str:
    if suffix == ".parquet":
        return "this version does not read Parquet yet; write it as JSONL or CSV"
    if suffix == ".json":
        return "write one JSON object a line and name the file .jsonl"
    if suffix in (".xlsx", ".xls", ".ods"):
        return "save the sheet as CSV (UTF-8)"
    return "write the rows as JSONL or CSV"


# ------------------------------------------------------------------ JSONL


class _Refused(ValueError):
    """A JSON text that is valid enough to parse and still must not be used."""


def _read_jsonl(text: Text, reader: Reader) -> Rows:
    rows: list[Row] = []
    columns: dict[str, None] = {}
    whole = True
    # Only the line feed ends a row: U+2028, U+0085 and the like are text inside a JSON string.
    for number, line in enumerate(text.content.split("\n"), start=1):
        if not line.strip():
            continue
        if reader.enough(text.file):
            return Rows(text.file, tuple(rows), tuple(columns), False)
        fields = _json_object(line, Place(text.file, number, 1), reader)
        if fields is None:
            whole = False
            continue
        columns.update(dict.fromkeys(fields))
        rows.append(Row({key: value for key, value in fields.items() if value is not None}, text.file, number, line.rstrip("\r")))
    return Rows(text.file, tuple(rows), tuple(columns), whole)


def _json_object(line: str, place: Place, reader: Reader) -> dict[str, Json] | None:
    def at(offset: int) -> Place:
        return Place(place.file, place.line, offset + 1)

    if len(line) > ROW_CAP:
        reader.note(place, f"the row is longer than {ROW_CAP:,} characters", f"at most {ROW_CAP:,}", "shorten its texts")
        return None
    try:
        value = _DECODER.decode(line)
        if line.count("[") + line.count("{") > DEPTH_CAP and _depth(value) > DEPTH_CAP:
            raise RecursionError
        if _HALF_PAIR.search(line):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        if "\\u0000" in line and "\0" in json.dumps(value, ensure_ascii=False).replace("\\u0000", "\0"):
            raise _Refused("a text holds a NUL character", "text", "remove it")
    except _Refused as error:
        found, allowed, remedy, *key = error.args
        reader.note(at(_last_key(line, key[0]) if key else _offset_of(line, found)), found, allowed, remedy)
        return None
    except json.JSONDecodeError as error:
        remedy = "write one JSON object a line, texts in double quotes"
        if line.lstrip().startswith("[") or line.strip() in ("{", "}", "]", "},"):
            remedy = "this looks like JSON spread over several lines; write one object a line"
        reader.note(at(error.pos), f"this is not JSON: {error.msg[:1].lower()}{error.msg[1:]}", "one JSON object a line", remedy)
        return None
    except RecursionError:
        reader.note(place, f"values are nested more than {DEPTH_CAP} deep", f"at most {DEPTH_CAP}", "write it flatter")
        return None
    except UnicodeEncodeError:
        half = _HALF_PAIR.search(line)
        reader.note(
            at(half.start() if half else 0),
            "a text holds half of a surrogate pair, which is no character",
            "Unicode text",
            "write the character itself, or both halves",
        )
        return None
    if not isinstance(value, dict):
        reader.note(place, f"{shown(value)} stands here", 'a JSON object such as {"id": "1", "input": "..."}', "write one object a line")
        return None
    return value


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"the key `{clip(twice)}` stands twice in one object", "each key once", "remove or rename one of them", twice)
    return found


def _constant(word: str) -> NoReturn:
    raise _Refused(f"`{word}` is not a finite number", "a finite number, or null", "write a number, null, or the word in quotes")


def _float(raw: str) -> float:
    number = float(raw)
    if not math.isfinite(number):
        raise _Refused(f"`{clip(raw, 30)}` is not a finite number", "a finite number", "write it smaller, or put it in quotes")
    return number


def _int(raw: str) -> int:
    if len(raw) > 300:
        raise _Refused(
            f"`{clip(raw, 30)}` is too large a number", "a number of at most 300 digits", "write it smaller, or put it in quotes"
        )
    return int(raw)


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float, parse_int=_int)


def _offset_of(line: str, found: str) -> int:
    """Where the refused word of a message stands outside of strings; 0 where that cannot be told."""
    quoted = re.search(r"`(.*?)…?`", found)
    if not quoted:
        return 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|' + re.escape(quoted[1]), line):
        if match[0] == quoted[1]:
            return match.start()
    return 0


def _last_key(line: str, key: str) -> int:
    """Where a repeated key stands for the second time, as far as a search can tell."""
    places = [match.start() for match in re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", line)]
    return places[1] if len(places) > 1 else 0


def _depth(value: Json) -> int:
    """How deep lists and objects are nested, found without recursion."""
    depth, level = 0, [value]
    while level and depth <= DEPTH_CAP:
        level = [
            child
            for item in level
            if isinstance(item, (list, dict))
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (list, dict))
        ]
        depth += 1
    return depth


def _json_places(line: str) -> dict[str, int]:
    """Where the value of each key of the outermost object begins, in characters from 0. The line is valid JSON."""
    places: dict[str, int] = {}

    def past_space(offset: int) -> int:
        space = _SPACE.match(line, offset)
        return space.end() if space else offset

    place = past_space(line.index("{") + 1)
    while line[place] != "}":
        key, place = _DECODER.raw_decode(line, place)
        place = past_space(past_space(place) + 1)  # over the colon
        places[key] = place
        _, place = _DECODER.raw_decode(line, place)
        place = past_space(place)
        if line[place] == ",":
            place = past_space(place + 1)
    return places


# ------------------------------------------------------------------ CSV


def _read_csv(text: Text, reader: Reader) -> Rows | None:
    header_line = text.content.split("\n", 1)[0]
    delimiter = "\t" if text.file.lower().endswith(".tsv") else sniff(header_line)
    table = _records(text, delimiter, reader)
    _, header, _ = next(table)
    if header is None:
        return None
    names = [name.strip() for name in header]
    if not _good_header(names, header_line, text, delimiter, reader):
        return None
    rows: list[Row] = []
    lines = text.content.split("\n")
    whole = True
    for number, cells, last in table:
        if cells is None or reader.enough(text.file):
            whole = False
            break
        if not any(cells):
            continue
        place = Place(text.file, number, 1)
        if len(cells) != len(names):
            whole = False
            reader.note(
                place,
                f"the row has {len(cells)} cells",
                f"{len(names)}, as many as the header names",
                "put a text that holds the separator in double quotes" if len(cells) > len(names) else "add the missing separators",
            )
            continue
        fields = {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
        rows.append(Row(fields, text.file, number, "\n".join(lines[number - 1 : last]).rstrip("\r"), names, delimiter))
    return Rows(text.file, tuple(rows), tuple(names), whole)


def sniff(header: str) -> str:
    """The separator of a table, read off its header alone: the commonest of comma, semicolon and tab."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=bare.count)


def _records(text: Text, delimiter: str, reader: Reader) -> Iterator[tuple[int, list[str] | None, int]]:
    """First line, cells and last line of each record; ends with None for cells where the rest cannot be read."""
    csv.field_size_limit(ROW_CAP)  # the module's own limit of 131,072 characters is one long answer
    table = csv.reader(io.StringIO(text.content, newline=""), delimiter=delimiter, strict=True)
    first = 1
    while True:
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            reader.note(
                Place(text.file, first, 1),
                f"this row of the table cannot be read: {error}",
                'cells in double quotes, a quote inside them doubled: "he said ""yes"""',
                "close the quotes of this row",
            )
            yield first, None, first
            return
        yield first, cells, table.line_num
        first = table.line_num + 1


def _good_header(names: list[str], line: str, text: Text, delimiter: str, reader: Reader) -> bool:
    if len(names) > COLUMNS_CAP:
        reader.note(
            Place(text.file, 1, 1), f"the table has {len(names):,} columns", f"at most {COLUMNS_CAP:,}", "keep the columns that are used"
        )
        return False
    good = True
    for place, name in enumerate(names):
        where = Place(text.file, 1, _cell_start(line, place, delimiter) + 1)
        if not name:
            reader.note(where, "a column has no name", "a name for every column", "name it in the first line")
            good = False
        elif name in names[:place]:
            reader.note(where, f"the column `{clip(name)}` stands here a second time", "each name once", "rename or remove one of them")
            good = False
    return good


def _cell_start(line: str, index: int, delimiter: str) -> int:
    """The character, from 0, at which a cell of a one-line record begins."""
    start = cell = 0
    quoted = False
    for place, char in enumerate(line):
        if cell == index:
            break
        if char == '"':
            quoted = not quoted
        elif char == delimiter and not quoted:
            cell, start = cell + 1, place + 1
    return start


# ------------------------------------------------------------------ which column plays which role


def roles(
    rows: Rows, given: Mapping[str, str], known: Mapping[str, Sequence[str]], reader: Reader, place_of: Mapping[str, Place] | None = None
) -> dict[str, str]:
    """The column for each role: the given one, else the first column with one of the role's common names.

    A given column that is not in the file is noted at its place in the study, or in the file's first line.
    """
    found: dict[str, str] = {}
    for role, names in known.items():
        if role in given:
            if given[role] in rows.columns:
                found[role] = given[role]
                continue
            place = (place_of or {}).get(role, Place(rows.file, 1, 1))
            reader.note(
                place,
                f"`{rows.file}` has no column `{clip(given[role])}`",
                listed(rows.columns),
                nearest(given[role], rows.columns) or "name a column of the file",
            )
        else:
            taken = {column for other, column in given.items() if other in known} | set(found.values())
            match = next((column for name in names for column in rows.columns if column.lower() == name and column not in taken), None)
            if match is not None:
                found[role] = match
    return found
