"""Finding, making and migrating the file: private from its first byte, of our shape, and clear where it cannot be."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Executable, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool, StaticPool

from fairmark.errors import CannotDo
from fairmark.store.tables import metadata

SCHEMA = "0003"  # the newest migration
APPLICATION = 0x66616972  # "fair" in SQLite's application_id
PAGE = 8192  # bytes of a new file's pages: several records stand in one
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps next to the file
# no shared memory there, so two processes would not see each other's locks
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs"})


def in_memory() -> Engine:
    """A new store that is gone when it is closed. It has one connection, so its users take turns."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        metadata.create_all(connection)
    return engine


def in_file(file: Path, *, read_only: bool, patience: float) -> Engine:
    """The store in a file, brought to the present shape.

    `patience` is how many seconds another process is waited for. `CannotDo` if others could write to the file, if it
    is no store of ours, or if a newer fairmark made it.
    """
    if read_only and _mode(file) is None:
        raise CannotDo("NO_STORE", f"there is no store {file}", "run the study first: fairmark run")
    if (mode := _mode(file)) and not stat.S_ISREG(mode):
        raise CannotDo("NO_ACCESS", f"{file} is no file", "name a file for the store")
    if not read_only:
        _make_folder(file.parent)
    for place in (file.parent, file, *(file.with_name(file.name + end) for end in BESIDE)):
        if os.name == "posix" and (_mode(place) or 0) & stat.S_IWOTH:
            raise CannotDo("NOT_PRIVATE", f"everybody on this machine may write to {place}", f"chmod o-w {place}, or name another place")
    if not read_only:
        kind = file_system(file.parent.resolve(), _mounts())
        if kind in NETWORK:
            raise CannotDo(
                "NETWORK_DISK",
                f"{file} would stand on a network file system ({kind}), where rows can be lost",
                "name a place on a local disk",
            )
        _make_file(file)
    engine = _engine(file, read_only=read_only, patience=patience)
    try:
        _ready(engine, file, read_only=read_only, patience=patience)
        engine.dispose()  # what SQLite keeps beside the file is made anew, with the mode that the file has from now on
    except DatabaseError as error:
        engine.dispose()
        raise trouble(error, file) from error
    except BaseException:
        engine.dispose()
        raise
    if not read_only and os.name == "posix" and file.stat().st_uid == os.geteuid() and file.stat().st_mode & 0o077:
        file.chmod(0o600)  # a copy that others may read becomes private again
    return engine


def upgrade(connection: Connection) -> None:
    """Runs the migrations that are missing."""
    from alembic import command
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def trouble(error: DatabaseError, path: Path | None) -> CannotDo:
    """What SQLite says, in words a person can act on."""
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
    if "locked" in reason or "busy" in reason:
        return CannotDo("BUSY", f"another process holds {where}", "wait until it has finished, and run the same command again")
    if "unable to open" in reason:
        return CannotDo("NO_ACCESS", f"{where} cannot be opened", "check that it is a file, and that it and its folder are yours to use")
    return CannotDo("DISK", f"{where}: {reason}", "everything acknowledged is safe; mend the disk and run the same command again")


def file_system(folder: Path, mounts: Iterable[str]) -> str:
    """The kind of file system that a folder stands on, from lines as in /proc/mounts; empty where that is not known."""
    found, depth = "", -1
    for line in mounts:
        parts = line.split(" ")
        if len(parts) > 2:
            point = Path(parts[1].replace("\\040", " "))
            # of two mounts in one place the later one covers the earlier
            if folder.is_relative_to(point) and len(point.parts) >= depth:
                found, depth = parts[2], len(point.parts)
    return found


def _mounts() -> list[str]:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _mode(place: Path) -> int | None:
    """The mode of a file or folder; None where there is none, 0 where it cannot be told. SQLite removes files while we look."""
    try:
        return place.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError:
        return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotDo("DISK", f"the folder {folder} cannot be made: {error.strerror}", "choose a place that you may write to") from None


def _make_file(file: Path) -> None:
    """The file for its owner alone from the first byte, unless it is there."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise CannotDo("DISK", f"the store {file} cannot be made: {error.strerror}", "choose a folder that you may write to") from None


def _engine(file: Path, *, read_only: bool, patience: float) -> Engine:
    options = "mode=rw"
    if read_only or not os.access(file, os.W_OK):
        options = "mode=ro"
        if not os.access(file.parent, os.W_OK) and not file.with_name(file.name + "-wal").exists():
            options = "mode=ro&immutable=1"  # nobody can be writing, and the files SQLite reads beside it cannot be made

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{file.resolve().as_uri()}?{options}", uri=True, timeout=patience, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=16, max_overflow=64)

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.close()

    return engine


def _ready(engine: Engine, file: Path, *, read_only: bool, patience: float) -> None:
    """Brings a new or older file to the present shape; refuses what is not ours."""
    with engine.connect() as connection:
        tables, version = _seen(connection, file)
    if version == SCHEMA:
        return
    if read_only:
        if not tables:
            raise CannotDo("NO_STORE", f"nothing was ever stored in {file}", "run the study first: fairmark run")
        raise CannotDo("OLDER_STORE", f"{file} has an older shape", "open it once for writing: fairmark run")
    _use_wal(engine, patience)
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        # another process may have made or migrated it while this one waited
        tables, version = _seen(connection, file)
        if not tables:
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            connection.execute(text(f"INSERT INTO alembic_version VALUES ('{SCHEMA}')"))
            connection.execute(text(f"PRAGMA application_id={APPLICATION}"))
        elif version != SCHEMA:
            upgrade(connection)


def _seen(connection: Connection, file: Path) -> tuple[set[str], str | None]:
    """The tables of a file and the migration it is at. `CannotDo` where it is not ours or too new."""
    tables = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type='table'")).scalars())
    application = connection.execute(text("PRAGMA application_id")).scalar_one()
    if application not in (0, APPLICATION) or (tables and application != APPLICATION):
        raise CannotDo("NOT_A_STORE", f"{file} is a database of another program", "name another file for the store")
    version = None
    if "alembic_version" in tables:
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if version is not None and version > SCHEMA:
        raise CannotDo("NEWER_STORE", f"{file} was written by a newer fairmark (shape {version})", "upgrade fairmark")
    return tables, version


def _use_wal(engine: Engine, patience: float) -> None:
    """Readers and the writer do not wait for each other. SQLite itself does not wait for this lock, so it is asked again."""
    until = time.monotonic() + patience
    while True:
        try:
            with engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                run(connection, text(f"PRAGMA page_size={PAGE}"))
                run(connection, text("PRAGMA journal_mode=WAL"))
            return
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def run(connection: Connection, statement: Executable) -> None:
    """Executes a statement that gives nothing back."""
    connection.execute(statement).close()
