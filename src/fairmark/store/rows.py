"""Rows on their way into the store: made where a record is handed in, added many at a time, table by table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from sqlalchemy import ClauseElement, Connection, Dialect, Table, insert
from sqlalchemy.exc import DBAPIError

from fairmark.records import Grade, Response
from fairmark.store import documents
from fairmark.store.tables import content, grade, intent, response

LARGEST = 2**63 - 1  # integer of a column
AT_ONCE = 64  # rows in one statement: SQLite takes 999 values and more

Row = tuple[Any, ...]

_INTENT = ("key", "what", "name", "at")
_RESPONSE = ("key", "case_id", "system", "trial", "wave", "failure", "usd", "at", "record", "body")
_GRADE = ("key", "case_id", "criterion", "grader", "rater", "repeat", "failure", "source", "usd", "at", "record", "body")


class Rows:
    """Rows that go in together, in the order in which they were put."""

    __slots__ = ("grades", "intents", "responses")

    def __init__(self) -> None:
        self.intents: list[Row] = []
        self.responses: list[tuple[Row, str]] = []  # with their texts
        self.grades: list[tuple[Row, str]] = []

    def intent(self, key: str, what: str, name: str, at: int) -> None:
        """Puts the note that something is about to be asked."""
        _fits(at=at)
        self.intents.append((column(key), column(what), column(name), at))

    def response(self, record: Response) -> None:
        """Puts a response. `ValueError` for NaN, infinity and numbers without room."""
        _fits(trial=record.trial, at=record.at)
        answer, failure = record.answer, record.failure
        body = documents.write(record)
        row = (
            column(record.key),
            column(record.case_id),
            column(record.system),
            record.trial,
            column(record.wave),
            None if failure is None else failure.kind,
            None if answer is None else _amount(answer.cost_usd),
            record.at,
            hashlib.sha256(body).hexdigest(),
        )
        self.responses.append((row, body.decode("utf-8")))

    def grade(self, record: Grade) -> None:
        """Puts a grade. `ValueError` for NaN, infinity and numbers without room."""
        _fits(repeat=record.repeat, at=record.at)
        answer, failure = record.answer, record.failure
        body = documents.write(record)
        row = (
            column(record.key),
            column(record.case_id),
            column(record.criterion),
            column(record.grader),
            column(record.rater),
            record.repeat,
            None if failure is None else failure.kind,
            column(record.source),
            None if answer is None else _amount(answer.cost_usd),
            record.at,
            hashlib.sha256(body).hexdigest(),
        )
        self.grades.append((row, body.decode("utf-8")))

    def extend(self, others: Rows) -> None:
        """Puts others behind these."""
        self.intents += others.intents
        self.responses += others.responses
        self.grades += others.grades

    def lasting(self) -> Mapping[str, Sequence[Row]]:
        """For each table the columns that are never changed afterwards, without `seq`, in their order."""
        return {
            "intent": self.intents,
            "response": [(key, *rest) for (key, _, *rest), _ in self.responses],
            "grade": [(key, *rest) for (key, _, *rest), _ in self.grades],
        }

    def __len__(self) -> int:
        return len(self.intents) + len(self.responses) + len(self.grades)


class Adding:
    """How rows are added. The words of a statement are made once: making them costs as much as running it."""

    def __init__(self, dialect: Dialect) -> None:
        self._body = _Insert(content, ("text",), dialect)
        self._into = {
            "intent": _Insert(intent, _INTENT, dialect),
            "response": _Insert(response, _RESPONSE, dialect),
            "grade": _Insert(grade, _GRADE, dialect),
        }

    def add(self, connection: Connection, rows: Rows) -> Mapping[str, int]:
        """Adds rows and the texts they point at. For each table that got some, the `seq` of its newest row."""
        last = {}
        with driver(connection) as cursor:
            if rows.intents:
                last["intent"] = self._into["intent"].run(cursor, rows.intents)
            for name, of_table in (("response", rows.responses), ("grade", rows.grades)):
                if of_table:
                    first = self._bodies(cursor, [text for _, text in of_table])
                    last[name] = self._into[name].run(cursor, [(*row, number) for number, (row, _) in enumerate(of_table, first)])
        return last

    def bodies(self, connection: Connection, texts: Sequence[str]) -> int:
        """Adds texts. Returns the number of the first one; the others follow."""
        with driver(connection) as cursor:
            return self._bodies(cursor, texts)

    def _bodies(self, cursor: Any, texts: Sequence[str]) -> int:
        return self._body.run(cursor, [(text,) for text in texts]) - len(texts) + 1

    def grades(self, connection: Connection, records: Sequence[Grade]) -> None:
        """Adds grades and their texts."""
        rows = Rows()
        for record in records:
            rows.grade(record)
        self.add(connection, rows)


class Ready:
    """A statement for the driver itself. Its words are made once, when it first runs: making them costs as much as running it."""

    __slots__ = ("_dialect", "_known", "_names", "_statement", "_words")

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        self._statement, self._dialect = statement, dialect
        self._words = ""

    def run(self, cursor: Any, **given: Any) -> Any:
        """The cursor, on which it has run."""
        if not self._words:
            made = self._statement.compile(dialect=self._dialect)
            self._names = tuple(getattr(made, "positiontup", None) or ())
            self._known = made.params
            self._words = str(made)  # last: another thread may be looking
        known = self._known | given
        return cursor.execute(self._words, [known[name] for name in self._names])


class _Insert:
    """Adds rows, as many as it can with each statement.

    For each statement the driver lets go of the interpreter and has to get it back, which takes as long as the event loop
    computes: with one statement a row that is seconds.
    """

    __slots__ = ("_one", "_start", "_words")

    def __init__(self, table: Table, columns: Sequence[str], dialect: Dialect) -> None:
        self._start, self._one = str(insert(table).compile(dialect=dialect, column_keys=list(columns))).split(" VALUES ")
        self._words: dict[int, str] = {}  # by number of rows

    def run(self, cursor: Any, rows: Sequence[Row]) -> int:
        """Adds the rows, at least one. Returns the number under which the last of them stands."""
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            words = self._words.get(len(some))
            if words is None:
                words = self._words[len(some)] = f"{self._start} VALUES {', '.join([self._one] * len(some))}"
            cursor.execute(words, list(chain.from_iterable(some)))
        return int(cursor.lastrowid)


@contextmanager
def driver(connection: Connection) -> Iterator[Any]:
    """The driver's own cursor, within the connection's transaction: the way to it costs more than a short statement itself.

    What goes wrong is raised as everywhere else in the store.
    """
    dbapi = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except dbapi.Error as error:
        raise DBAPIError.instance(None, None, error, dbapi.Error, dialect=connection.dialect) from error
    finally:
        cursor.close()


def column(words: str) -> str:
    """A text for a column that is searched. Half characters, which no file holds, and NUL, which ends a text, are spelt out."""
    if words.isascii() and "\0" not in words:
        return words
    return words.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def hashed(body: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(body.encode("utf-8")).hexdigest()


def _amount(usd: float | None) -> float | None:
    """The amount as the column gives it back: a float, and no negative zero."""
    return None if usd is None else float(usd) + 0.0


def _fits(**numbers: int) -> None:
    for name, number in numbers.items():
        if not -LARGEST <= number <= LARGEST:
            raise ValueError(f"{name} is too large for the store: {number}")
