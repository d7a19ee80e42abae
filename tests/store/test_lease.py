"""One process at a time asks: a live one is respected, a dead or silent one is taken over, and whoever was taken over stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fairmark.errors import CannotDo
from fairmark.records import Act
from fairmark.store import Store
from fairmark.store.lease import BEAT, STALE, since_boot
from tests.store.rows import response

HOLDER = textwrap.dedent(
    """
    import sys, time
    from fairmark.store import Store
    with Store.open(sys.argv[1]) as store, store.hold("run"):
        print("held", flush=True)
        sys.stdin.readline()
    """
)


@contextmanager
def _holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the store."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdin is not None
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_a_live_process_is_respected_and_a_killed_one_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with _holder(path) as child, Store.open(path) as store:
        with pytest.raises(CannotDo, match=rf"another process \({child.pid}\), busy with `run` since") as refused, store.hold("run"):
            pass
        assert refused.value.code == "RUNNING"
        store.add_response(response()).result()  # people's marks and imports need no lease
        os.kill(child.pid, signal.SIGKILL)
        assert child.stdout is not None and child.stdout.read() == ""  # it is dead, and nobody has buried it yet
        with store.hold("run"):
            store.add_response(response("l" * 64)).result()
        assert store.verify().proven


def test_a_process_that_has_finished_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with _holder(path) as child:
        child.communicate("\n", timeout=60)
        assert child.returncode == 0
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT count(*) FROM lease").fetchone() == (0,)


def test_two_stores_of_one_process_do_not_ask_beside_each_other(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as one, Store.open(tmp_path / "s.db") as other:
        with one.hold("run"), pytest.raises(CannotDo, match="this process, busy with `run`"), other.hold("audit"):
            pass
        with other.hold("audit"):
            pass


def test_whoever_was_silent_and_is_taken_over_stops_at_its_next_commit(tmp_path: Path) -> None:
    now, passed = since_boot(), 0

    async def ask(store: Store) -> None:
        journal = store.journal()
        journal.response(response())
        with pytest.raises(CannotDo, match="taken over") as lost:
            await journal.kept()
        assert lost.value.code == "LEASE_LOST"

    with Store.open(tmp_path / "s.db") as slept, Store.open(tmp_path / "s.db") as other:
        with slept.hold("run", clock=lambda: now + passed):
            with pytest.raises(CannotDo, match="is asking"), other.hold("run", clock=lambda: now + int(STALE * 1e9)):
                pass
            with other.hold("run", clock=lambda: now + int(STALE * 1e9) + 1):
                passed = int(STALE * 1e9) + 1
                asyncio.run(ask(slept))
                with pytest.raises(CannotDo, match="taken over"):
                    slept.add_response(response())
                other.add_response(response("l" * 64)).result()
        assert other.responses(["k" * 64, "l" * 64]).keys() == {"l" * 64}


def test_a_sign_of_life_is_given_without_any_row(tmp_path: Path) -> None:
    shift = 0
    with Store.open(tmp_path / "s.db") as store, store.hold("run", clock=lambda: since_boot() + shift):
        store.people.post(Act("a", "study", "ana", "note")).result()
        with closing(sqlite3.connect(tmp_path / "s.db")) as other:
            first = other.execute("SELECT beat FROM lease").fetchone()
            shift = int(STALE * 1e9)
            until = time.monotonic() + 4 * BEAT
            while other.execute("SELECT beat FROM lease").fetchone() == first:
                assert time.monotonic() < until, "no sign of life"
                time.sleep(0.1)


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ("machine = 'another-boot pid:[1]'", True),
        ("beat = beat + 1000000000000", True),  # of a boot whose clock had run for longer
        ("token = 'gone'", True),  # of this process, which no longer knows of it
        ("pid = 1, token = 'another'", False),
        ("machine = machine || '0', token = 'another', pid = 4194304", False),  # in another container
    ],
)
def test_a_lease_of_another_boot_or_container_is_judged_by_what_can_be_known(tmp_path: Path, change: str, free: bool) -> None:
    if "machine" in change and not Path("/proc/self/ns/pid").exists():
        pytest.skip("this system does not tell a process's namespace")
    with Store.open(tmp_path / "s.db") as one, Store.open(tmp_path / "s.db") as other, one.hold("run"):
        with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as hand:
            hand.execute(f"UPDATE lease SET {change}")
        if free:
            with other.hold("run"):
                pass
        else:
            with pytest.raises(CannotDo, match="is asking"), other.hold("run"):
                pass


def test_in_memory_there_is_nobody_else() -> None:
    with Store.open(None) as store, store.hold("run"):
        store.add_response(response()).result()


def test_what_is_read_only_is_held_by_nobody(tmp_path: Path) -> None:
    Store.open(tmp_path / "s.db").close()
    with (
        Store.open(tmp_path / "s.db", read_only=True) as store,
        pytest.raises(CannotDo, match="reading only"),
        store.hold("run"),
    ):
        pass
