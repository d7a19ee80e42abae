"""Everything that happened, append-only, in one SQLite file that its owner alone can read.

What was asked is noted before it is sent, what came back after; one thread writes, many at a time, and a record is
acknowledged once it would survive a power cut. SQL lives in this room alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, Table, create_engine, event, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.pool import NullPool, StaticPool

from fairmark.errors import CannotDo
from fairmark.records import Grade, Response, canonical
from fairmark.store import documents
from fairmark.store.tables import content, forgotten, grade, intent, metadata, plan, response

__all__ = ["FrozenPlan", "Store"]

SCHEMA = "0001"  # the newest migration
APPLICATION = 0x66616972  # "fair" in SQLite's application_id
GROUP_ROWS = 2000
CHUNK = 500  # keys in one query
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FrozenPlan:
    """A plan as it stood before something was asked."""

    study: str
    fingerprint: str
    document: Mapping[str, Any]
    frozen_at: int  # UTC, nanoseconds
    code: str  # version of fairmark
    responses_before: int  # responses that the store held already


@dataclass(frozen=True, slots=True)
class _Rows:
    """One row to add, with the text it points at."""

    table: Table
    row: Mapping[str, Any]
    body: str | None = None


Write = Callable[[Connection], None] | _Rows


class Store:
    """One store, open. Reads are answered at once; each write gives a future that is done when it is durable."""

    def __init__(self, engine: Engine, path: Path | None, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._engine = engine
        self._lock = threading.RLock()
        self._queue: queue.SimpleQueue[tuple[Write, Future[None]] | None] = queue.SimpleQueue()
        self._broken: CannotDo | None = None
        self._writer: threading.Thread | None = None
        if not read_only:
            self._writer = threading.Thread(target=self._write_all, name="fairmark-store", daemon=True)
            self._writer.start()

    # ------------------------------------------------------------ opening and closing

    @classmethod
    def open(cls, path: Path | str | None, *, read_only: bool = False) -> Store:
        """The store in a file, made if it is not there; in memory for None.

        `CannotDo` if others could write to it, if it is no store of ours, or if a newer fairmark made it.
        """
        if path is None:
            engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
            with engine.begin() as connection:
                metadata.create_all(connection)
            return cls(engine, None, read_only=False)
        file = Path(path)
        if read_only:
            if not file.exists():
                raise CannotDo("NO_STORE", f"there is no store {file}", "run the study first: fairmark run")
        else:
            _make_private(file)
        engine = _engine(file, read_only=read_only)
        try:
            _ready(engine, file, read_only=read_only)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, file, read_only=read_only)

    def close(self) -> None:
        """Writes what is waiting and closes the file."""
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._writer = None
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------ writing

    def add_intent(self, key: str, what: str, name: str, at: int) -> Future[None]:
        """Notes that something is about to be asked."""
        row = {"key": key, "what": what, "name": name, "at": at}
        return self._put(_Rows(intent, row))

    def add_response(self, record: Response) -> Future[None]:
        """Adds a response; it takes the place of an earlier one of the same key."""
        body = documents.write(record)
        row = {
            "key": record.key,
            "case_id": record.case_id,
            "system": record.system,
            "trial": record.trial,
            "wave": record.wave,
            "failure": record.failure.kind if record.failure else None,
            "usd": record.answer.cost_usd if record.answer else None,
            "at": record.at,
        }
        return self._put(_Rows(response, row, body))

    def add_grade(self, record: Grade) -> Future[None]:
        """Adds a grade; it takes the place of an earlier one of the same key."""
        body = documents.write(record)
        row = {
            "key": record.key,
            "case_id": record.case_id,
            "criterion": record.criterion,
            "grader": record.grader,
            "rater": record.rater,
            "repeat": record.repeat,
            "failure": record.failure.kind if record.failure else None,
            "source": record.source,
            "usd": record.answer.cost_usd if record.answer else None,
            "at": record.at,
        }
        return self._put(_Rows(grade, row, body))

    def freeze(self, study: str, fingerprint: str, document: Mapping[str, Any], at: int, code: str) -> None:
        """Records a plan, unless it is the one that was recorded last for this study."""
        body = canonical(document)

        def write(connection: Connection) -> None:
            last = connection.execute(select(plan.c.fingerprint).where(plan.c.study == study).order_by(plan.c.seq.desc()).limit(1)).scalar()
            if last != fingerprint:
                before = connection.execute(select(func.count()).select_from(response)).scalar_one()
                row = {
                    "study": study,
                    "fingerprint": fingerprint,
                    "document": body,
                    "frozen_at": at,
                    "code": code,
                    "responses_before": before,
                }
                _run(connection, insert(plan).values(**row))

        self._put(write).result()

    def forget(self, case_id: str) -> int:
        """Removes a case's texts and id for good. Returns how many responses and grades were emptied.

        Keys and counts stay, so that nothing else changes its meaning; the bytes are gone from the file.
        """
        emptied: list[int] = []

        def write(connection: Connection) -> None:
            counts = []
            for table in (response, grade):
                hashes = select(table.c.record).where(table.c.case_id == case_id)
                _run(connection, update(content).where(content.c.hash.in_(hashes)).values(text=None))
                done = connection.execute(update(table).where(table.c.case_id == case_id).values(case_id=None))
                counts.append(done.rowcount)
            if sum(counts):
                _run(connection, insert(forgotten).values(at=time.time_ns(), responses=counts[0], grades=counts[1]))
            emptied.append(sum(counts))

        self._put(write).result()
        if self.path is not None and emptied[0]:
            with self._reading() as connection:
                connection.commit()
                connection.execution_options(isolation_level="AUTOCOMMIT")
                _run(connection, text("VACUUM"))
                _run(connection, text("PRAGMA wal_checkpoint(TRUNCATE)"))
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
                rows = connection.execute(select(grade.c.source, grade.c.key).where(grade.c.source.in_(chunk)).order_by(grade.c.seq))
                for source, key in rows:
                    found.setdefault(source, key)
        return found

    def plans(self, study: str) -> tuple[FrozenPlan, ...]:
        """The plans that were recorded for a study, the first one first."""
        with self._reading() as connection:
            rows = connection.execute(select(plan).where(plan.c.study == study).order_by(plan.c.seq)).all()
        return tuple(
            FrozenPlan(row.study, row.fingerprint, json.loads(row.document), row.frozen_at, row.code, row.responses_before) for row in rows
        )

    def orphans(self) -> tuple[tuple[str, str, str], ...]:
        """What was sent and never came back: (key, response or grade, name). It may have been paid for."""
        done = select(response.c.key).union(select(grade.c.key))
        with self._reading() as connection:
            rows = connection.execute(select(intent.c.key, intent.c.what, intent.c.name).where(intent.c.key.not_in(done)).distinct())
            return tuple((key, what, name) for key, what, name in rows)

    def counts(self) -> dict[str, int]:
        """How many rows of each kind there are."""
        with self._reading() as connection:
            return {
                name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in (
                    ("plans", plan),
                    ("intents", intent),
                    ("responses", response),
                    ("grades", grade),
                    ("forgotten", forgotten),
                )
            }

    def integrity(self) -> str:
        """What SQLite says of the file: `ok`, or what is wrong with it."""
        with self._reading() as connection:
            return str(connection.execute(text("PRAGMA integrity_check")).scalar_one())

    def _current(self, table: Any, keys: Iterable[str], read: Callable[[str], T]) -> dict[str, T]:
        found: dict[str, T] = {}
        with self._reading() as connection:
            for chunk in _chunks(keys):
                newest = select(func.max(table.c.seq)).where(table.c.key.in_(chunk)).group_by(table.c.key)
                rows = connection.execute(
                    select(table.c.key, content.c.text).join(content, content.c.hash == table.c.record).where(table.c.seq.in_(newest))
                )
                found.update((key, read(body)) for key, body in rows if body is not None)
        return found

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection for reading. In memory there is one connection for all, so readers and the writer take turns."""
        try:
            if self.path is None:
                with self._lock, self._engine.connect() as connection:
                    yield connection
            else:
                with self._engine.connect() as connection:
                    yield connection
        except DatabaseError as error:
            raise _trouble(error, self.path) from error

    # ------------------------------------------------------------ the writer

    def _put(self, write: Write) -> Future[None]:
        if self._writer is None:
            raise CannotDo("READ_ONLY", "the store was opened for reading only", "open it for writing")
        if self._broken is not None:
            raise self._broken
        future: Future[None] = Future()
        self._queue.put((write, future))
        return future

    def _write_all(self) -> None:
        """Takes what is waiting, writes it in one transaction, and acknowledges it after the commit."""
        closing = False
        while not closing:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            # what arrives during a commit makes up the next group, so nobody waits for company
            while len(group) < GROUP_ROWS:
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    closing = True
                    break
                group.append(entry)
            self._commit(group)

    def _commit(self, group: list[tuple[Write, Future[None]]]) -> None:
        try:
            if self._broken is not None:
                raise self._broken
            with self._lock, self._engine.begin() as connection:
                waiting: list[_Rows] = []
                for write, _ in group:
                    if isinstance(write, _Rows):
                        waiting.append(write)
                        continue
                    _add(connection, waiting)
                    waiting = []
                    write(connection)
                _add(connection, waiting)
        except DatabaseError as error:
            # a failed commit is never tried again: what the disk holds is no longer known
            self._broken = _trouble(error, self.path)
            for _, future in group:
                future.set_exception(self._broken)
        except BaseException as error:
            for _, future in group:
                future.set_exception(error)
        else:
            for _, future in group:
                future.set_result(None)


def _run(connection: Connection, statement: Executable) -> None:
    connection.execute(statement)


def _add(connection: Connection, waiting: list[_Rows]) -> None:
    """Adds rows table by table, in their order, many at a time."""
    bodies: dict[str, str] = {}
    by_table: dict[str, tuple[Table, list[dict[str, Any]]]] = {}
    for rows in waiting:
        row = dict(rows.row)
        if rows.body is not None:
            row["record"] = hashlib.sha256(rows.body.encode("ascii")).hexdigest()
            bodies[row["record"]] = rows.body
        by_table.setdefault(rows.table.name, (rows.table, []))[1].append(row)
    if bodies:
        # a text that was forgotten and is said again is there again
        adding = upsert(content)
        adding = adding.on_conflict_do_update(index_elements=["hash"], set_={"text": adding.excluded.text})
        connection.execute(adding, [{"hash": name, "text": body} for name, body in bodies.items()])
    for table, rows_of in by_table.values():
        connection.execute(insert(table), rows_of)


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _make_private(file: Path) -> None:
    """The folder for its owner alone and the file likewise, from the first byte."""
    if not file.parent.exists():
        file.parent.mkdir(parents=True)
        file.parent.chmod(0o700)
    for place in (file.parent, file):
        if place.exists() and os.name == "posix" and place.stat().st_mode & stat.S_IWOTH and not place.stat().st_mode & stat.S_ISVTX:
            raise CannotDo("NOT_PRIVATE", f"everybody on this machine may write to {place}", f"chmod o-w {place}")
    if not file.exists():
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise CannotDo("DISK", f"the store {file} cannot be made: {error.strerror}", "choose a folder that you may write to") from None


def _engine(file: Path, *, read_only: bool) -> Engine:
    mode = "ro" if read_only or not os.access(file, os.W_OK) else "rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{file.resolve().as_uri()}?mode={mode}", uri=True, timeout=10.0, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.close()

    return engine


def _ready(engine: Engine, file: Path, *, read_only: bool) -> None:
    """Brings a new or older file to the present shape; refuses what is not ours."""
    try:
        with engine.connect() as connection:
            tables = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type='table'")).scalars())
            application = connection.execute(text("PRAGMA application_id")).scalar_one()
            version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if "alembic_version" in tables else None
    except DatabaseError as error:
        raise _trouble(error, file) from error
    if tables and application != APPLICATION:
        raise CannotDo("NOT_A_STORE", f"{file} is a database of another program", "name another file for the store")
    if version == SCHEMA:
        return
    if version is not None and version > SCHEMA:
        raise CannotDo("NEWER_STORE", f"{file} was written by a newer fairmark (shape {version})", "upgrade fairmark")
    if read_only:
        raise CannotDo("OLDER_STORE", f"{file} has an older shape", "open it once for writing: fairmark run")
    try:
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            _run(connection, text("PRAGMA journal_mode=WAL"))
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            held = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type='table'")).scalars())
            if not held:
                metadata.create_all(connection)
                _run(connection, text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
                _run(connection, text(f"INSERT INTO alembic_version VALUES ('{SCHEMA}')"))
                _run(connection, text(f"PRAGMA application_id={APPLICATION}"))
            elif "alembic_version" not in held or version is not None:
                upgrade(connection)
    except IntegrityError:
        return  # another process has just made it
    except DatabaseError as error:
        raise _trouble(error, file) from error


def upgrade(connection: Connection) -> None:
    """Runs the migrations that are missing."""
    from alembic import command
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _trouble(error: DatabaseError, path: Path | None) -> CannotDo:
    reason = str(error.orig) if error.orig is not None else str(error)
    where = str(path) if path is not None else "the store in memory"
    if "not a database" in reason or "malformed" in reason:
        return CannotDo("BROKEN_STORE", f"{where} is not a readable store: {reason}", "restore a copy, or move the file away and run again")
    if "full" in reason:
        return CannotDo(
            "DISK", f"the disk is full; everything acknowledged in {where} is safe", "free some space and run the same command again"
        )
    if "readonly" in reason:
        return CannotDo("READ_ONLY", f"{where} may not be written to", "make the file and its folder writable for you")
    if "locked" in reason:
        return CannotDo("BUSY", f"another process holds {where}", "wait until it has finished, and run the same command again")
    return CannotDo("DISK", f"{where}: {reason}", "everything acknowledged is safe; mend the disk and run the same command again")
