"""Rows on their way into the store: made where a record is handed in, added many at a time, table by table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.dialects.sqlite import insert as upsert

from fairmark.records import Grade, Response
from fairmark.store import documents
from fairmark.store.tables import content, grade, intent, response

LARGEST = 2**63 - 1  # integer of a column

Row = tuple[Any, ...]

_BODY = upsert(content)
# a text that was forgotten and is said again is there again
_ADD_BODY = _BODY.on_conflict_do_update(index_elements=["hash"], set_={"text": _BODY.excluded.text})
_INTENT = ("key", "what", "name", "at")
_RESPONSE = ("key", "case_id", "system", "trial", "wave", "failure", "usd", "at", "record")
_GRADE = ("key", "case_id", "criterion", "grader", "rater", "repeat", "failure", "source", "usd", "at", "record")


class Rows:
    """Rows that go in together, in the order in which they were put."""

    __slots__ = ("bodies", "grades", "intents", "responses")

    def __init__(self) -> None:
        self.bodies: list[tuple[str, str]] = []  # hash and text
        self.intents: list[Row] = []
        self.responses: list[Row] = []
        self.grades: list[Row] = []

    def intent(self, key: str, what: str, name: str, at: int) -> None:
        """Puts the note that something is about to be asked."""
        _fits(at=at)
        self.intents.append((column(key), column(what), column(name), at))

    def response(self, record: Response) -> None:
        """Puts a response. `ValueError` for NaN, infinity and numbers without room."""
        _fits(trial=record.trial, at=record.at)
        answer, failure = record.answer, record.failure
        self.responses.append(
            (
                column(record.key),
                column(record.case_id),
                column(record.system),
                record.trial,
                column(record.wave),
                None if failure is None else failure.kind,
                None if answer is None else answer.cost_usd,
                record.at,
                self._body(record),
            )
        )

    def grade(self, record: Grade) -> None:
        """Puts a grade. `ValueError` for NaN, infinity and numbers without room."""
        _fits(repeat=record.repeat, at=record.at)
        answer, failure = record.answer, record.failure
        self.grades.append(
            (
                column(record.key),
                column(record.case_id),
                column(record.criterion),
                column(record.grader),
                column(record.rater),
                record.repeat,
                None if failure is None else failure.kind,
                column(record.source),
                None if answer is None else answer.cost_usd,
                record.at,
                self._body(record),
            )
        )

    def extend(self, others: Rows) -> None:
        """Puts others behind these."""
        self.bodies += others.bodies
        self.intents += others.intents
        self.responses += others.responses
        self.grades += others.grades

    def __len__(self) -> int:
        return len(self.intents) + len(self.responses) + len(self.grades)

    def _body(self, record: Response | Grade) -> str:
        body = documents.write(record)
        name = hashlib.sha256(body).hexdigest()
        self.bodies.append((name, body.decode("utf-8")))
        return name


class Adding:
    """How rows are added. The statements are made once: making one costs as much as running it."""

    def __init__(self, dialect: Dialect) -> None:
        self._body = str(_ADD_BODY.compile(dialect=dialect, column_keys=["hash", "text"]))
        self._intent = _statement(intent, _INTENT, dialect)
        self._response = _statement(response, _RESPONSE, dialect)
        self._grade = _statement(grade, _GRADE, dialect)

    def add(self, connection: Connection, rows: Rows) -> None:
        """Adds the texts first, then the rows that point at them."""
        self.bodies(connection, rows.bodies)
        for statement, of_table in ((self._intent, rows.intents), (self._response, rows.responses), (self._grade, rows.grades)):
            if of_table:
                connection.exec_driver_sql(statement, of_table)

    def bodies(self, connection: Connection, bodies: Sequence[tuple[str, str]]) -> None:
        """Adds texts under their hashes."""
        if bodies:
            connection.exec_driver_sql(self._body, list(bodies))

    def grades(self, connection: Connection, records: Sequence[Grade]) -> None:
        """Adds grades and their texts."""
        rows = Rows()
        for record in records:
            rows.grade(record)
        self.add(connection, rows)


def column(words: str) -> str:
    """A text for a column that is searched. Half characters, which no file holds, and NUL, which ends a text, are spelt out."""
    if words.isascii() and "\0" not in words:
        return words
    return words.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def hashed(body: str) -> str:
    """The name of a text: its SHA-256."""
    return hashlib.sha256(body.encode("utf-8")).hexdigest()


def _statement(table: Table, columns: Sequence[str], dialect: Dialect) -> str:
    return str(insert(table).compile(dialect=dialect, column_keys=list(columns)))


def _fits(**numbers: int) -> None:
    for name, number in numbers.items():
        if not -LARGEST <= number <= LARGEST:
            raise ValueError(f"{name} is too large for the store: {number}")
