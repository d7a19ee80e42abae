"""What was acknowledged stands: after kill -9, on a full disk, and with two processes writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fairmark.store import Store

WRITER = textwrap.dedent(
    """
    import sys
    from fairmark.records import Answer, Response
    from fairmark.store import Store
    store = Store.open(sys.argv[1])
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        store.add_response(Response(f"{number:064}", f"c{number}", "s", 1, "1", Answer("x" * 500))).result()
        print(number, flush=True)
    store.close()
    """
)


def _writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first), str(last)], stdout=subprocess.PIPE, text=True)


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    first = 0
    for pause in (5, 17, 40):
        child = _writer(path, first, first + 10_000)
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(pause)]
        os.kill(child.pid, signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]
        child.wait()
        child.stdout.close()
        with Store.open(path) as store:
            assert store.integrity() == "ok"
            assert len(store.responses(f"{number:064}" for number in said)) == len(said)
        first += 10_000


def test_two_processes_write_into_one_store(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    children = [_writer(path, 1000 * place, 1000 * place + 60) for place in range(2)]
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    with Store.open(path) as store:
        assert store.counts()["responses"] == 120
        assert store.integrity() == "ok"


def test_processes_that_make_one_store_at_the_same_time_share_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.db"
    children = [_writer(path, 1000 * place, 1000 * place + 1) for place in range(4)]
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    with Store.open(path) as store:
        assert store.counts()["responses"] == 4


FILLER = textwrap.dedent(
    """
    import resource, signal, sys
    from fairmark.errors import CannotDo
    from fairmark.records import Answer, Response
    from fairmark.store import Store
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = Store.open(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    said = 0
    try:
        while True:
            store.add_response(Response(f"{said:064}", f"c{said}", "s", 1, "1", Answer("x" * 5000))).result()
            said += 1
    except CannotDo as stopped:
        first = stopped.code
    try:
        store.add_response(Response("later", "c", "s", 1, "1", Answer("x")))
        print("went on")
    except CannotDo as again:
        print(said, first, again.code)
    store.close()
    """
)


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_stops_the_store_and_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    done = subprocess.run([sys.executable, "-c", FILLER, str(path)], capture_output=True, text=True, timeout=60, check=True)
    said, first, again = done.stdout.split()
    assert (first, again) == ("DISK", "DISK")
    assert int(said) > 10
    with Store.open(path) as store:
        assert store.integrity() == "ok"
        assert len(store.responses(f"{number:064}" for number in range(int(said)))) == int(said)
