"""The chain of hashes: one link for each commit, which binds what it added to all that was there before.

Every column that is never changed afterwards is in it. A case's id and the texts are not, so that a person can be forgotten;
of a text its hash is, and of a plan its fingerprint. Whoever wrote down a head can tell later that nothing before it was
changed, taken out or put in.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Select, bindparam, func, insert, select

from fairmark.records import canonical
from fairmark.store.rows import LARGEST, Ready, Row, Rows, driver, hashed
from fairmark.store.tables import act, assignment, content, forgotten, grade, intent, link, plan, response

CHUNK = 1000  # rows in memory
_LEFT_OUT = {"case_id", "body", "document"}  # which forgetting changes, or which only says where a text stands
JOURNAL = {
    table.name: (table, tuple(column for column in table.columns if column.name not in _LEFT_OUT))
    for table in (plan, intent, response, grade, assignment, act, forgotten)
}
_WITH_TEXT = ("response", "grade", "act")
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of checking the whole store."""

    head: str  # of the newest link; empty where nothing was stored
    links: int  # links that were checked
    rows: int  # rows that they cover
    forgotten: int  # texts that were removed on request
    wrong: tuple[str, ...] = ()  # what was changed, in words

    @property
    def proven(self) -> bool:
        return not self.wrong


class Place(NamedTuple):
    """Where a head stands in the chain."""

    link: int
    at: int  # UTC, nanoseconds
    after: int  # rows that were added later


def head(connection: Connection) -> str:
    """The hash of all that was stored; empty where nothing was."""
    newest = connection.execute(_NEWEST).first()
    return "" if newest is None else str(newest.head)


class Seal(NamedTuple):
    """How the store stood before a transaction wrote anything."""

    head: str
    last: Mapping[str, int]  # of each table the number of its newest row


class Extending:
    """How links are added. The statements are made once: making one costs as much as running it."""

    def __init__(self, dialect: Dialect) -> None:
        last = [select(func.max(table.c.seq)).scalar_subquery() for table, _ in JOURNAL.values()]
        newest = [_NEWEST.with_only_columns(column).scalar_subquery() for column in (link.c.head, link.c.covers)]
        self._stand = Ready(select(*newest, *last), dialect)
        self._added = {
            name: Ready(select(*columns).where(table.c.seq > bindparam("after")).order_by(table.c.seq), dialect)
            for name, (table, columns) in JOURNAL.items()
        }
        self._add = Ready(insert(link).values({name: bindparam(name) for name in ("at", "covers", "head")}), dialect)

    def seal(self, connection: Connection, at: int) -> Seal:
        """Before anything is written: rows without a link were put in by another hand, and get a link that says so."""
        with driver(connection) as cursor:
            head, covers, *last = self._stand.run(cursor).fetchone()
            found = dict(zip(JOURNAL, (number or 0 for number in last), strict=True))
            covered = dict.fromkeys(JOURNAL, 0) if covers is None else json.loads(covers)["last"]
            seal = Seal(head or "", covered)
            if found == covered:
                return seal
            head = self._link(cursor, at, seal, found, foreign=True)
            return Seal(head, {name: max(number, covered[name]) for name, number in found.items()})

    def extend(self, connection: Connection, at: int, seal: Seal, rows: Rows | None = None, added: Mapping[str, int] | None = None) -> None:
        """Adds the link of the rows that are new since the seal, if there are any.

        `rows`: they are these and no others; `added`: the numbers of the newest of them.
        """
        if rows is not None and not rows:
            return
        with driver(connection) as cursor:
            if rows is not None and added is not None:
                found = {**seal.last, **added}
                known = rows.lasting()
            else:
                _, _, *last = self._stand.run(cursor).fetchone()
                found, known = dict(zip(JOURNAL, (number or 0 for number in last), strict=True)), {}
            self._link(cursor, at, seal, found, known)

    def _link(
        self,
        cursor: Any,
        at: int,
        seal: Seal,
        found: Mapping[str, int],
        known: Mapping[str, Sequence[Row]] | None = None,
        *,
        foreign: bool = False,
    ) -> str:
        """Adds the link from one state to another, if they differ. Returns the head of the chain."""
        hashes = {}
        for name, number in found.items():
            after = seal.last.get(name, 0)
            if number > after and known and number - after == len(known.get(name, ())):
                hashes[name] = _digest((seq, *row) for seq, row in enumerate(known[name], after + 1))
            elif number > after:
                hashes[name] = _digest(self._added[name].run(cursor, after=after))
        if not hashes:
            return seal.head
        covers = canonical({"last": dict(found), "rows": hashes} | ({"foreign": True} if foreign else {}))
        head = _bind(seal.head, at, covers)
        self._add.run(cursor, at=at, covers=covers, head=head)
        return head


def verify(connection: Connection) -> Verified:
    """Goes through all rows, texts and links once, in their order, as they stand at this moment."""
    connection.exec_driver_sql("BEGIN")
    return _Check(connection).run()


def place(connection: Connection, head: str) -> Place | None:
    """Where a head stands in the chain; None where it is the head of no link."""
    found = connection.execute(select(link).where(link.c.head == head)).first()
    newest = connection.execute(_NEWEST).first()
    if found is None or newest is None:
        return None
    then, now = json.loads(found.covers)["last"], json.loads(newest.covers)["last"]
    return Place(found.seq, found.at, sum(now.values()) - sum(then.values()))


_NEWEST = select(link.c.head, link.c.covers).order_by(link.c.seq.desc()).limit(1)
_LINKS = select(link.c.seq, link.c.at, link.c.covers, link.c.head).order_by(link.c.seq)
_FORGOTTEN = select(func.sum(forgotten.c.responses), func.sum(forgotten.c.grades))


class _Check:
    """One passage over the store: the rows of each table beside the links that cover them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rows = {name: _Ahead(_stream(connection, _whole(name))) for name in JOURNAL}
        self.last = dict.fromkeys(JOURNAL, 0)
        self.head = ""
        self.links = self.covered = 0
        self.changed, self.lost, self.removed, self.gone = Counter[str](), Counter[str](), Counter[str](), Counter[str]()

    def run(self) -> Verified:
        broken: list[str] = []
        for seq, at, covers, said in _stream(self.connection, _LINKS):
            if not broken:
                broken += self._link(seq, at, covers, said)
            self.links, self.head = self.links + 1, said
        for name, ahead in self.rows.items():
            beyond = [row[0] for row in self._looked_at(name, ahead.until(LARGEST))]
            if beyond and not broken:
                broken.append(f"{_named(name, beyond[0], beyond[-1])}: no link covers this, so fairmark did not write it")
        return Verified(self.head, self.links, self.covered, sum(self.removed.values()), (*broken, *self._texts()))

    def _link(self, seq: int, at: int, covers: str, said: str) -> Iterator[str]:
        name = f"link {seq} of {datetime.fromtimestamp(at / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if seq != self.links + 1 or said != _bind(self.head, at, covers):
            yield f"{name} does not follow from the one before it: it was changed, or another one was taken out"
            return
        claimed = json.loads(covers)
        for table, end in claimed["last"].items():
            start, self.last[table] = self.last[table], end
            numbers: list[int] = []
            digest = _digest(_noted(self._looked_at(table, self.rows[table].until(end)), numbers))
            self.covered += len(numbers)
            if digest == claimed["rows"].get(table, _NOTHING):
                if claimed.get("foreign") and end > start:
                    yield f"{_named(table, start + 1, end)}: put in by another hand, before {name}"
                continue
            missing = sorted(set(range(start + 1, end + 1)) - set(numbers))
            if missing:
                yield f"{_named(table, missing[0], missing[-1])}: taken out ({len(missing)} of what {name} covers)"
            else:
                yield f"{_named(table, start + 1, end)}: changed since {name} was written"

    def _looked_at(self, table: str, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows as they are hashed, after a look at the texts they point at."""
        if table not in _WITH_TEXT:
            yield from rows
            return
        for row in rows:
            *_, record, case_id, there, text = row
            self.gone[table] += case_id is None
            if text is not None:
                self.changed[table] += hashed(text) != record
            elif there is None or (case_id is not None and table != "act"):
                self.lost[table] += 1
            else:
                self.removed[table] += 1
            yield row[:-3]

    def _texts(self) -> Iterator[str]:
        for table in _WITH_TEXT:
            if self.changed[table]:
                yield f"{self.changed[table]} texts of `{table}` were changed after they were stored"
            if self.lost[table]:
                yield f"{self.lost[table]} texts of `{table}` are lost"
        said = self.connection.execute(_FORGOTTEN).one()
        for table, number in zip(("response", "grade"), said, strict=True):
            if self.gone[table] != (number or 0):
                yield f"`{table}`: {self.gone[table]} rows have no case, where {number or 0} were forgotten"


class _Ahead:
    """Rows in their order, taken as far as a number goes."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def until(self, number: int) -> Iterator[Row]:
        while self._next is not None and self._next[0] <= number:
            yield self._next
            self._next = next(self._rows, None)


def _whole(name: str) -> Select[Any]:
    """All rows of a table, with their texts where they have some."""
    table, columns = JOURNAL[name]
    if name not in _WITH_TEXT:
        return select(*columns).order_by(table.c.seq)
    texts = table.outerjoin(content, content.c.id == table.c.body)
    return select(*columns, table.c.case_id, content.c.id.label("there"), content.c.text).select_from(texts).order_by(table.c.seq)


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Row]:
    for row in connection.execute(query, execution_options={"yield_per": CHUNK}):
        yield tuple(row)


def _noted(rows: Iterable[Row], numbers: list[int]) -> Iterator[Row]:
    for row in rows:
        numbers.append(row[0])
        yield row


def _digest(rows: Iterable[Row]) -> str:
    """The hash of rows as one JSON text, of which only a piece is in memory."""
    found, before = hashlib.sha256(b"["), ""
    rest = iter(rows)
    while chunk := list(islice(rest, CHUNK)):
        found.update((before + _encode(chunk)[1:-1]).encode("ascii"))
        before = ","
    found.update(b"]")
    return found.hexdigest()


_NOTHING = _digest(())


def _bind(before: str, at: int, covers: str) -> str:
    return hashlib.sha256(f"{before}\n{at}\n{covers}".encode()).hexdigest()


def _named(table: str, first: int, last: int) -> str:
    return f"row {first} of `{table}`" if first == last else f"rows {first} to {last} of `{table}`"
