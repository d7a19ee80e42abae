"""A disk that fails at the n-th operation, a process that is killed, a disk that is full: what was acknowledged stands."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError

from fairmark.errors import CannotDo
from fairmark.store import Store
from fairmark.store.opening import upgrade
from tests.store.older import of_shape_0002
from tests.store.rows import grade, response

# ------------------------------------------------------------ the n-th operation of the driver fails


class Disk:
    """Counts what is asked of the driver, and fails one of it. It stands where the driver stands."""

    def __init__(self, fails: int, message: str) -> None:
        self.fails, self.message, self.asked = fails, message, 0

    def asks(self) -> None:
        self.asked += 1
        if self.asked == self.fails:
            raise sqlite3.OperationalError(self.message)


def _engine(path: Path, disk: Disk) -> Engine:
    class Cursor(sqlite3.Cursor):
        def execute(self, *given: Any) -> sqlite3.Cursor:
            disk.asks()
            return super().execute(*given)

        def executemany(self, *given: Any) -> sqlite3.Cursor:
            disk.asks()
            return super().executemany(*given)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def commit(self) -> None:
            disk.asks()
            super().commit()

    def connect() -> sqlite3.Connection:
        disk.asks()
        return sqlite3.connect(path, factory=Connection, check_same_thread=False)

    return create_engine("sqlite://", creator=connect)


async def _run(store: Store, kept: list[str]) -> None:
    """Twelve cases as a run writes them: what is kept is noted before the next is asked."""
    journal = store.journal()
    for number in range(12):
        journal.intent(f"r{number}", "response", "bare", number)
        await journal.kept()
        journal.response(response(f"r{number}", case_id=f"c{number}", at=number))
        journal.grade(grade(f"g{number}", case_id=f"c{number}"))
        await journal.kept()
        kept.append(f"{number}")


def _failing_run(path: Path, disk: Disk) -> tuple[list[str], str]:
    """The cases that were acknowledged, and how the run ended."""
    kept: list[str] = []
    store = Store(_engine(path, disk), path, read_only=False)
    try:
        asyncio.run(_run(store, kept))
    except CannotDo as stopped:
        with pytest.raises(CannotDo):  # and it stays so: nothing is written after what is not known to be there
            store.add_response(response("afterwards")).result()
        return kept, stopped.code
    finally:
        store.close()
    return kept, "finished"


MESSAGES = {"database or disk is full": "DISK", "disk I/O error": "DISK", "attempt to write a readonly database": "READ_ONLY"}


def _points(path: Path) -> int:
    disk = Disk(-1, "")
    assert _failing_run(path, disk)[1] == "finished"
    return disk.asked


def _fails_at(folder: Path, points: Iterable[int], message: str) -> None:
    for fails in points:
        path = folder / f"{fails}.db"
        shutil.copy(folder / "empty.db", path)
        kept, ended = _failing_run(path, Disk(fails, message))
        assert ended == MESSAGES[message], fails
        with Store.open(path) as store:
            assert store.integrity() == "ok", fails
            assert len(store.responses(f"r{number}" for number in kept)) == len(kept), fails
            assert len(store.grades(f"g{number}" for number in kept)) == len(kept), fails
            assert store.responses(["afterwards"]) == {}, fails
            asyncio.run(_run(store, []))
            assert len(store.responses(f"r{number}" for number in range(12))) == 12, fails
            assert store.verify().proven, fails
        for file in folder.glob(f"{fails}.db*"):
            file.unlink()


def _points(folder: Path) -> int:
    """How many operations a run that nothing fails consists of."""
    Store.open(folder / "empty.db").close()
    shutil.copy(folder / "empty.db", folder / "counted.db")
    disk = Disk(-1, "")
    assert _failing_run(folder / "counted.db", disk)[1] == "finished"
    return disk.asked


@pytest.mark.parametrize("message", MESSAGES)
def test_whichever_operation_fails_nothing_acknowledged_is_lost_and_the_rest_follows(tmp_path: Path, message: str) -> None:
    points = _points(tmp_path)
    assert points > 100
    turn = list(MESSAGES).index(message)
    # the operations of the first case, shared out over the messages, then a sample: each case consists of the same ones
    _fails_at(tmp_path, [*range(1 + turn, 40, 3), *range(40 + turn, points + 1, 41)], message)


@pytest.mark.long
@pytest.mark.parametrize("message", MESSAGES)
def test_every_operation_may_fail(tmp_path: Path, message: str) -> None:
    _fails_at(tmp_path, range(1, _points(tmp_path) + 1), message)


def test_a_migration_that_fails_at_any_step_leaves_the_older_store_as_it_was(tmp_path: Path) -> None:
    older, disk = tmp_path / "older.db", Disk(-1, "")
    of_shape_0002(older)
    whole = older.read_bytes()
    for fails in itertools.count(1):
        path = tmp_path / f"{fails}.db"
        path.write_bytes(whole)
        path.chmod(0o600)
        disk = Disk(fails, "disk I/O error")
        engine = _engine(path, disk)
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                upgrade(connection)
        except OperationalError:
            assert fails < 100
        else:
            break
        finally:
            engine.dispose()
        with Store.open(path) as store:
            assert store.verify().proven and store.counts()["responses"] == 6, fails
    assert fails > 30


# ------------------------------------------------------------ kill -9

WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from fairmark.records import Answer, Grade, Response
    from fairmark.store import Store

    async def worker(journal, name):
        number = 0
        while True:
            key = f"{sys.argv[2]}-{name}-{number}"
            journal.intent(key, "response", "s", number)
            await journal.kept()
            journal.response(Response(key, key, "s", 1, "1", Answer("x" * 2000)))
            journal.grade(Grade(key, key, "tone", "judge", label="kind"))
            await journal.kept()
            print(key, flush=True)
            number += 1

    async def main(store):
        journal = store.journal()
        await asyncio.gather(*(worker(journal, name) for name in range(20)))

    with Store.open(sys.argv[1]) as store, store.hold("run"):
        asyncio.run(main(store))
    """
)


def _kills(path: Path, pauses: Iterator[int]) -> None:
    said: list[str] = []
    for turn, pause in enumerate(pauses):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(turn)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        said += [child.stdout.readline().strip() for _ in range(pause)]
        os.kill(child.pid, signal.SIGKILL)
        said += [line.strip() for line in child.stdout if line.endswith("\n")]
        child.wait()
        child.stdout.close()
    with Store.open(path) as store:
        assert store.integrity() == "ok"
        assert len(store.responses(said)) == len(store.grades(said)) == len(said)


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_a_killed_process_loses_nothing_that_was_kept_and_leaves_a_whole_chain(tmp_path: Path) -> None:
    _kills(tmp_path / "s.db", iter((1, 7, 60, 200)))


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    _kills(tmp_path / "s.db", iter([(37 * turn) % 150 + 1 for turn in range(200)]))


# ------------------------------------------------------------ a full disk, a disk for reading

FILLER = textwrap.dedent(
    """
    import asyncio, resource, signal, sys
    from fairmark.errors import CannotDo
    from fairmark.records import Answer, Response
    from fairmark.store import Store

    async def fill(store):
        journal, kept = store.journal(), 0
        try:
            while True:
                for number in range(kept, kept + 10):
                    journal.response(Response(f"k{number}", f"c{number}", "s", 1, "1", Answer("x" * 5000)))
                await journal.kept()
                kept += 10
        except CannotDo as stopped:
            print(kept, stopped.code)

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = Store.open(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
    asyncio.run(fill(store))
    store.close()
    """
)


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_stops_the_journal_and_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    done = subprocess.run([sys.executable, "-c", FILLER, str(path)], capture_output=True, text=True, timeout=60, check=True)
    kept, code = done.stdout.split()
    assert code == "DISK" and int(kept) > 20
    with Store.open(path) as store:
        assert store.integrity() == "ok"
        assert len(store.responses(f"k{number}" for number in range(int(kept)))) == int(kept)
        store.add_response(response("there is room again")).result()
        assert store.verify().proven


def test_a_store_that_became_read_only_refuses_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.add_response(response()).result()
    with closing(sqlite3.connect(path)) as other:  # leaves no file beside it
        other.execute("PRAGMA journal_mode=DELETE")
    path.chmod(0o400)
    if os.access(path, os.W_OK):
        pytest.skip("root may write everywhere")
    with Store.open(path) as store:
        with pytest.raises(CannotDo, match="may not be written") as refused, store.hold("run"):
            pass
        assert refused.value.code == "READ_ONLY"
        assert store.verify().proven
