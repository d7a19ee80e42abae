"""Everything that happened, append-only, in one SQLite file that its owner alone can read.

What was asked is noted before it is sent, what came back after; one thread writes, many at a time, and a record is
acknowledged once it would survive a power cut. SQL lives in this room alone.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, func, insert, literal_column, or_, select, text, update
from sqlalchemy.exc import DatabaseError, IntegrityError, ProgrammingError

from fairmark.errors import CannotDo
from fairmark.records import Grade, Response, canonical
from fairmark.store import arrivals, chain, documents
from fairmark.store.arrivals import Arrived, Kind, Mark
from fairmark.store.chain import Place, Verified
from fairmark.store.journal import Journal
from fairmark.store.lease import BEAT, Clock, Holder, Lease, holder, since_boot
from fairmark.store.opening import in_file, in_memory, run, trouble
from fairmark.store.people import PeopleRows, Posted, Session
from fairmark.store.rows import Adding, Rows, column, hashed
from fairmark.store.tables import act, assignment, content, forgotten, grade, intent, plan, response

__all__ = ["Arrived", "FrozenPlan", "Holder", "Journal", "Mark", "Orphan", "PeopleRows", "Place", "Posted", "Session", "Store", "Verified"]

GROUP = 2000  # writes in one commit
CHUNK = 10_000  # keys in one query
PATIENCE = 10.0  # seconds that another process is waited for
T = TypeVar("T", Response, Grade)


@dataclass(frozen=True, slots=True)
class FrozenPlan:
    """A plan as it stood before something was asked."""

    study: str
    fingerprint: str
    text: str  # JSON of the document
    frozen_at: int  # UTC, nanoseconds
    code: str  # version of fairmark
    responses_before: int  # responses that the store held already

    def document(self) -> Mapping[str, Any]:
        """What was planned, part by part. It names every case, so it is read where somebody asks."""
        found: Mapping[str, Any] = json.loads(self.text)
        return found


class Orphan(NamedTuple):
    """Something that was about to be sent and never came back. It may have been paid for."""

    key: str
    what: str  # response or grade
    name: str  # of the system or grader
    times: int  # how often, since anything last came back


Write = Callable[[Connection], None] | Rows


class Store:
    """One store, open. Reads are answered at once; each write gives a future that is done when it is durable.

    It may be used from any thread.
    """

    def __init__(self, engine: Engine, path: Path | None, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._engine = engine
        self._turn = threading.RLock()  # in memory there is one connection for all
        self._moment = threading.local()  # the connection of a thread for which the store stands still
        self._queue: queue.SimpleQueue[tuple[Write, Future[None]] | None] = queue.SimpleQueue()
        self._broken: CannotDo | None = None
        self._door = threading.Lock()  # nothing is queued behind the word that ends the queue
        self._closed = False
        self._writer: threading.Thread | None = None
        self._lease: Lease | None = None  # the writer's
        self._adding = Adding(engine.dialect)
        self._chain = chain.Extending(engine.dialect)
        self._journals: list[Journal] = []
        self.people = PeopleRows(self._put, self._reading, self._adding.bodies, self._adding.grades, hashed, column, engine.dialect)
        if not read_only:
            self._writer = threading.Thread(target=self._write_all, name="fairmark-store", daemon=True)
            self._writer.start()

    # ------------------------------------------------------------ opening and closing

    @classmethod
    def open(cls, path: Path | str | None, *, read_only: bool = False, patience: float = PATIENCE) -> Store:
        """The store in a file, made if it is not there; in memory for None.

        `patience` is how many seconds another process is waited for. `CannotDo` if others could write to the file, if
        it is no store of ours, or if a newer fairmark made it.
        """
        if path is None:
            return cls(in_memory(), None, read_only=False)
        file = Path(path)
        return cls(in_file(file, read_only=read_only, patience=patience), file, read_only=read_only)

    def close(self) -> None:
        """Writes what is waiting and closes the file."""
        for journal in self._journals:
            journal.close()
        with self._door:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if self._writer is not None:
            self._writer.join()
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------ writing

    def add_intent(self, key: str, what: str, name: str, at: int) -> Future[None]:
        """Notes that something is about to be asked."""
        rows = Rows()
        rows.intent(key, what, name, at)
        return self._put(rows)

    def add_response(self, record: Response) -> Future[None]:
        """Adds a response; it takes the place of an earlier one of the same key. `ValueError` for NaN and infinity."""
        rows = Rows()
        rows.response(record)
        return self._put(rows)

    def add_grade(self, record: Grade) -> Future[None]:
        """Adds a grade; it takes the place of an earlier one of the same key. `ValueError` for NaN and infinity."""
        rows = Rows()
        rows.grade(record)
        return self._put(rows)

    def journal(self) -> Journal:
        """What one event loop writes through: rows are put at no cost, and one wait covers all that were put."""
        journal = Journal(self._put)
        self._journals.append(journal)
        return journal

    @contextmanager
    def hold(self, what: str, *, clock: Clock = since_boot) -> Iterator[None]:
        """Held while this process asks, so that no other one asks from the same store. In memory there is no other one.

        `CannotDo` while another process holds it; one that is dead, or silent for 30 seconds, is taken over. Whoever was
        silent and is taken over learns it at the next commit, which fails. Reading and people's marks need no hold.
        """
        if self.path is None:
            yield
            return
        mine = Lease(what, clock)
        self._put(mine.take).result()
        self._lease = mine
        self._put(mine.keep)  # so that the writer knows of it, and gives its signs of life
        try:
            yield
        finally:
            self._lease = None
            mine.forget()
            with suppress(CannotDo, RuntimeError):  # the file is broken or closed: the lease ends with the signs of life
                self._put(mine.release).result()

    def freeze(self, study: str, fingerprint: str, document: Mapping[str, Any], at: int, code: str) -> None:
        """Records a plan, unless it is the one that was recorded last for this study."""
        row = {
            "study": column(study),
            "fingerprint": fingerprint,
            "document": canonical(document),
            "frozen_at": at,
            "code": column(code),
        }

        def write(connection: Connection) -> None:
            newest = select(plan.c.fingerprint).where(plan.c.study == row["study"]).order_by(plan.c.seq.desc()).limit(1)
            if connection.execute(newest).scalar() != fingerprint:
                before = connection.execute(select(func.count()).select_from(response)).scalar_one()
                run(connection, insert(plan).values(**row, responses_before=before))

        self._put(write).result()

    def forget(self, case_id: str) -> int:
        """Removes a case's texts and id for good. Returns how many responses and grades were emptied.

        Keys and counts stay, so that nothing else changes its meaning; in frozen plans the id becomes `forgotten` with
        a number. The bytes are gone from the file: `CannotDo` if another process keeps it from being rewritten, and
        then the same call finishes the work.
        """
        name = column(case_id)
        emptied: list[int] = []

        def write(connection: Connection) -> None:
            counts = []
            for table in (response, grade, act):
                bodies = select(table.c.body).where(table.c.case_id == name)
                run(connection, update(content).where(content.c.id.in_(bodies)).values(text=None))
                done = connection.execute(update(table).where(table.c.case_id == name).values(case_id=None))
                counts.append(done.rowcount)
            run(connection, update(assignment).where(assignment.c.case_id == name).values(case_id=None))
            renamed = _forget_in_plans(connection, case_id)
            if sum(counts) or renamed:
                run(connection, insert(forgotten).values(at=time.time_ns(), responses=counts[0], grades=counts[1]))
            emptied.append(sum(counts[:2]))

        self._put(write).result()
        if self.path is not None:
            self._rewrite(self.path)
        return emptied[0]

    # ------------------------------------------------------------ reading

    def responses(self, keys: Iterable[str]) -> dict[str, Response]:
        """The responses that hold now, by key."""
        return self._current(response, keys, documents.read_response)

    def grades(self, keys: Iterable[str]) -> dict[str, Grade]:
        """The grades that hold now, by key."""
        return self._current(grade, keys, documents.read_grade)

    def bound(self, sources: Iterable[str]) -> dict[str, str]:
        """For each recorded mark that was read before: the name of the grade it became first."""
        found: dict[str, str] = {}
        with self._reading() as connection:
            for chunk in _chunks(sources):
                of_mark = (grade.c.source == chunk.c.value, grade.c.source != "")  # the index holds no empty ones
                first = select(func.min(grade.c.seq)).where(*of_mark).correlate(chunk).scalar_subquery()
                rows = connection.execute(select(grade.c.source, grade.c.key).select_from(chunk).join(grade, grade.c.seq == first))
                found.update((source, key) for source, key in rows)
        return found

    def grade_names(self) -> frozenset[bytes]:
        """The first halves of all grades' keys, which take little room and tell them apart."""
        with self._reading() as connection:
            return frozenset(bytes.fromhex(key[:32]) for key in connection.execute(select(grade.c.key)).scalars())

    def plans(self, study: str) -> tuple[FrozenPlan, ...]:
        """The plans that were recorded for a study, the first one first."""
        with self._reading() as connection:
            rows = connection.execute(select(plan).where(plan.c.study == column(study)).order_by(plan.c.seq)).all()
        return tuple(FrozenPlan(study, row.fingerprint, row.document, row.frozen_at, row.code, row.responses_before) for row in rows)

    def orphans(self) -> tuple[Orphan, ...]:
        """What was sent and never came back, the oldest first."""
        came = [
            select(table.c.key).where(*_same(table.c.key, intent.c.key), table.c.at >= intent.c.at).correlate(intent).exists()
            for table in (response, grade)
        ]
        query = (
            select(intent.c.key, intent.c.what, intent.c.name, func.count())
            .where(~or_(*came))
            .group_by(intent.c.key, intent.c.what, intent.c.name)
            .order_by(func.min(intent.c.seq))
        )
        with self._reading() as connection:
            return tuple(Orphan(key, what, name, times) for key, what, name, times in connection.execute(query))

    def counts(self) -> dict[str, int]:
        """How many rows of each kind there are."""
        tables = {
            "plans": plan,
            "intents": intent,
            "responses": response,
            "grades": grade,
            "assignments": assignment,
            "acts": act,
            "forgotten": forgotten,
        }
        with self._reading() as connection:
            return {name: connection.execute(select(func.count()).select_from(table)).scalar_one() for name, table in tables.items()}

    def holder(self) -> Holder | None:
        """Who asks from this store now."""
        with self._reading() as connection:
            return holder(connection)

    def mark(self) -> Mark:
        """Where the store ends now."""
        with self._reading() as connection:
            return arrivals.mark(connection)

    def arrived(self, after: Mark, to: Mark, *, wave: str) -> tuple[Arrived, ...]:
        """What came in after one place and up to another, counted: responses of a wave, and all grades."""
        with self._reading() as connection:
            return arrivals.arrived(connection, after, to, wave=wave)

    def lately(self, at: int, *, wave: str) -> dict[tuple[Kind, str], int]:
        """How many responses of a wave each system gave since a moment, and each grader grades."""
        with self._reading() as connection:
            return arrivals.lately(connection, at, wave=wave)

    def integrity(self) -> str:
        """`ok`, or what is wrong: what SQLite says of the file, and texts that are not the ones that were stored."""
        with self._reading() as connection:
            wrong = [line for line in connection.execute(text("PRAGMA integrity_check")).scalars() if line != "ok"]
            if not wrong:
                wrong += chain.verify(connection).wrong
        return "\n".join(wrong) or "ok"

    def head(self) -> str:
        """The hash of all that was stored; empty where nothing was. Whoever wrote it down can tell later what was changed."""
        with self._reading() as connection:
            return chain.head(connection)

    def verify(self) -> Verified:
        """Goes through all links, rows and texts: nothing was changed, taken out or put in."""
        with self._reading() as connection:
            return chain.verify(connection)

    def place(self, head: str) -> Place | None:
        """Where a head stands in the chain; None where it is the head of no link."""
        with self._reading() as connection:
            return chain.place(connection, head)

    def _current(self, table: Any, keys: Iterable[str], read: Callable[[str], T]) -> dict[str, T]:
        found: dict[str, T] = {}
        with self._reading() as connection:
            for chunk in _chunks(keys):
                newest = select(func.max(table.c.seq)).where(*_same(table.c.key, chunk.c.value)).correlate(chunk).scalar_subquery()
                rows = connection.execute(
                    select(content.c.text)
                    .select_from(chunk)
                    .join(table, table.c.seq == newest)
                    .join(content, content.c.id == table.c.body)
                    .where(content.c.text.is_not(None))
                )
                found.update((record.key, record) for record in map(read, rows.scalars()))
        return found

    @contextmanager
    def still(self) -> Iterator[None]:
        """Whatever this thread reads within is of one moment, though more is written meanwhile."""
        with self._reading() as connection:
            connection.exec_driver_sql("BEGIN")
            self._moment.connection = connection
            try:
                yield
            finally:
                self._moment.connection = None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection for reading. In memory readers and the writer take turns."""
        if (kept := getattr(self._moment, "connection", None)) is not None:
            yield kept
            return
        try:
            if self.path is None:
                with self._turn, self._engine.connect() as connection:
                    yield connection
            else:
                with self._engine.connect() as connection:
                    yield connection
        except DatabaseError as error:
            raise trouble(error, self.path) from error

    def _rewrite(self, path: Path) -> None:
        """Writes the file anew, so that no removed byte is left in it or beside it."""
        with self._reading() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            run(connection, text("VACUUM"))
            held = connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one()[0]
        if held:
            raise CannotDo(
                "BUSY",
                f"another process is reading {path}: the texts are forgotten, but their bytes are still in the file",
                "wait until it has finished, and run the same command again",
            )

    # ------------------------------------------------------------ the writer

    def _put(self, write: Write) -> Future[None]:
        if self.read_only:
            raise CannotDo("READ_ONLY", "the store was opened for reading only", "open it for writing")
        future: Future[None] = Future()
        # what was handed in is written, whatever becomes of the one who waits for it
        future.set_running_or_notify_cancel()
        with self._door:
            if self._closed:
                raise RuntimeError("the store is closed")
            if self._broken is not None:
                raise self._broken
            self._queue.put((write, future))
        return future

    def _write_all(self) -> None:
        """Takes what is waiting, writes it in one transaction, and acknowledges it after the commit."""
        connection: Connection | None = None
        closing = False
        try:
            while not closing:
                try:
                    first = self._queue.get(timeout=None if self._lease is None else BEAT)
                except queue.Empty:
                    connection = self._commit(connection, [])  # a sign of life
                    continue
                if first is None:
                    return
                group = [first]
                # what arrives during a commit makes up the next group, so nobody waits for company
                while len(group) < GROUP:
                    try:
                        entry = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if entry is None:
                        closing = True
                        break
                    group.append(entry)
                connection = self._commit(connection, group)
        finally:
            if connection is not None:
                connection.close()

    def _commit(self, connection: Connection | None, group: list[tuple[Write, Future[None]]]) -> Connection | None:
        """Writes a group and settles its futures. Gives back the one connection that the writer keeps open."""
        lease = self._lease
        try:
            if self._broken is not None:
                raise self._broken
            with self._turn:
                connection = connection or self._engine.connect()
                with connection.begin():
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    if lease is not None:
                        lease.keep(connection)
                    seal = self._chain.seal(connection, time.time_ns())
                    rows, added = self._write(connection, [write for write, _ in group])
                    self._chain.extend(connection, time.time_ns(), seal, rows, added)
        except (IntegrityError, ProgrammingError) as error:
            connection = self._each(connection, group, error)  # our bug
        except DatabaseError as error:
            # a failed commit is never tried again: what the disk holds is no longer known
            self._break(trouble(error, self.path))
            _settle(group, self._broken)
        except CannotDo as error:
            if error.code == "LEASE_LOST":
                self._break(error)
                _settle(group, error)
            else:
                connection = self._each(connection, group, error)
        except BaseException as error:
            connection = self._each(connection, group, error)
        else:
            _settle(group, None)
        return connection

    def _write(self, connection: Connection, writes: Iterable[Write]) -> tuple[Rows | None, Mapping[str, int]]:
        """Writes in the order of asking. Returns the rows where nothing else was written, and the newest number in each table."""
        waiting, alone = Rows(), True
        for write in writes:
            if isinstance(write, Rows):
                waiting.extend(write)
                continue
            self._adding.add(connection, waiting)
            waiting, alone = Rows(), False
            write(connection)
        added = self._adding.add(connection, waiting)
        return waiting if alone else None, added

    def _each(self, connection: Connection | None, group: list[tuple[Write, Future[None]]], error: BaseException) -> Connection | None:
        """Writes each alone where the group could not be written, so that nobody pays for another's mistake."""
        if len(group) == 1 or self._broken is not None:
            _settle(group, error)
        else:
            for one in group:
                connection = self._commit(connection, [one])
        return connection

    def _break(self, why: CannotDo) -> None:
        with self._door:
            self._broken = why


def _settle(group: list[tuple[Write, Future[None]]], error: BaseException | None) -> None:
    for _, future in group:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _forget_in_plans(connection: Connection, case_id: str) -> int:
    """Takes a case's id out of the frozen plans. Returns how many of them named it."""
    renamed = 0
    for seq, body in connection.execute(select(plan.c.seq, plan.c.document)).all():
        document = json.loads(body)
        cases = document.get("cases")
        if isinstance(cases, dict) and case_id in cases:
            number = 1
            while f"forgotten {number}" in cases:
                number += 1
            cases[f"forgotten {number}"] = cases.pop(case_id)
            run(connection, update(plan).where(plan.c.seq == seq).values(document=canonical(document)))
            renamed += 1
    return renamed


def _same(key: Any, other: Any) -> tuple[Any, ...]:
    """That two keys are the same, in words that let SQLite use the index over their endings."""
    return key == other, func.substr(key, literal_column("-10")) == func.substr(other, literal_column("-10"))


def _chunks(keys: Iterable[str]) -> Iterator[Any]:
    """The keys as small tables with the column `value`. One JSON text each, so that their number is no matter."""
    rest = iter(keys)
    while chunk := [column(key) for key in islice(rest, CHUNK)]:
        yield func.json_each(json.dumps(chunk)).table_valued("value")
