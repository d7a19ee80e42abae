"""Whatever fails once - a commit, a request, a reply - and at whatever point of a run of twelve cases: nothing is lost, and it goes on."""

from __future__ import annotations

import ast
import asyncio
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from benchmarks.hatchery import Child, Hatchery
from benchmarks.killing import IN_FLIGHT as KILLED_IN_FLIGHT
from benchmarks.killing import STORE, Stored, endpoint, needed, write_study
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

import fairmark
from fairmark import calls
from fairmark.errors import CannotDo
from fairmark.records import Answer, Failure, Question
from fairmark.store import Store
from fairmark.study import Budget, ModelSpec, Study, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import Fake, bench, helpful, study
from tests.fake_endpoint import FakeEndpoint, Received, Reply, chat, garbage

SOURCE = Path(fairmark.__file__).parent
CASES = 12
IN_FLIGHT = 4

# ---------------------------------------------------------------- the n-th commit


@dataclass
class Disk:
    """Takes commits, but for one."""

    fails: int
    message: str
    commits: int = 0


@contextmanager
def _failing(fails: int, message: str) -> Iterator[Disk]:
    """The n-th commit of any store is refused, as SQLite says it."""
    disk = Disk(fails, message)

    def commit(_: Connection) -> None:
        disk.commits += 1
        if disk.commits == fails:
            raise OperationalError("COMMIT", None, sqlite3.OperationalError(message))

    event.listen(Engine, "commit", commit)
    try:
        yield disk
    finally:
        event.remove(Engine, "commit", commit)


def _serial(fake: Fake, question: Question) -> Answer:
    """An answer that can be told from every other one."""
    answer = helpful(question)
    return replace(answer, text=f"{answer.text} <{len(fake.asked)}>") if question.schema is None else answer


def _counting() -> Fake:
    fake = Fake()
    fake.reply = lambda question: _serial(fake, question)
    return fake


def _small() -> Study:
    return study(n=CASES, concurrency=IN_FLIGHT)


def _stored(path: Path) -> str:
    with sqlite3.connect(path) as store:
        return "\n".join(text for (text,) in store.execute("SELECT text FROM response JOIN content ON content.id = response.body"))


@pytest.mark.parametrize("message", ["disk I/O error", "database or disk is full"])
def test_whichever_commit_fails_the_run_stops_and_the_same_command_completes_it(tmp_path: Path, message: str) -> None:
    planned = CASES * 2 * 2
    for fails in itertools.count(1):
        path, fake = tmp_path / f"{fails}.db", _counting()
        stopped: CannotDo | None = None
        with _failing(fails, message) as disk, bench(_small(), fake, store=path) as made:
            try:
                tally = made.run()
            except CannotDo as error:
                stopped = error
        if disk.commits < fails:
            break  # this time nothing failed
        if stopped is None:
            # all that it was asked to do was durable; only the lease was not given back, and is taken over
            assert (tally.answered, tally.pending) == (planned, 0), fails
        else:
            assert stopped.code == "DISK", fails
            assert "safe" in stopped.why + stopped.next_step
            assert "same command" in stopped.next_step
        assert disk.commits == fails, "nothing is written after a commit that failed"
        if fails > 1:  # the first one makes the tables
            stored = _stored(path)
            shown = [re.findall(r"<\d+>", question.messages[-1].content) for question in fake.asked if question.schema is not None]
            assert all(serial in stored for serials in shown for serial in serials), "what was marked is stored"
        with bench(_small(), fake, store=path) as made:
            tally = made.run()
            assert (tally.planned, tally.answered, tally.failed, tally.pending) == (planned, planned, 0, 0), fails
            assert made.store.verify().proven
            assert made.store.orphans() == ()
        assert len(fake.asked) <= planned + IN_FLIGHT, fails
    assert stopped is None
    assert fails > 10


def test_what_fails_while_it_is_analysed_is_made_when_it_is_analysed_again(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    small = _small()
    with bench(small, store=path) as made:
        made.run()
        whole = made.analyse()
    marked_later = replace(
        small, graders={**small.graders, "brief": replace(small.graders["limit"], name="brief", value="nothing says this")}
    )
    with _failing(1, "disk I/O error"), bench(marked_later, store=path) as made, pytest.raises(CannotDo, match="disk I/O error"):
        made.analyse()
    with bench(small, store=path) as made:
        assert made.analyse().hypotheses == whole.hypotheses
    with bench(marked_later, store=path) as made:
        assert len(made.table().rows[0].cells) == 4


# ---------------------------------------------------------------- the n-th request, the n-th reply

QUICK = calls.Policy(deadline=20.0, tries=4, base=0.001, cap=0.01, longest_retry_after=2.0, grace=1.0)
HANGS = ("hang", "hang_in_body")
ONCE = (
    *("reset_before_headers", "reset_after_headers", "reset_in_body", "cut_in_body", "hang", "hang_in_body", "truncated", "html"),
    *("empty_choices", "server_error", "status_429", "large_body"),
)


@dataclass
class OneFault:
    """An endpoint's answers, of which the n-th is a fault."""

    kind: str
    fails: int
    received: int = 0

    def __call__(self, received: Received) -> Reply:
        self.received += 1
        return garbage(self.kind) if self.received == self.fails else _good(received)


def _good(received: Received) -> Reply:
    graded = b"json_schema" in received.body
    return Reply(chat('{"evidence": "", "reason": "as asked", "level": "neutral"}' if graded else "We delete it within 30 days."))


def _asking(url: str) -> Study:
    model = ModelSpec("openai", "m", {"temperature": 0}, base_url=url)
    small = study(n=CASES, concurrency=IN_FLIGHT)
    return replace(
        small,
        systems={"bare": SystemSpec("bare", "model", model=model)},
        graders={**small.graders, "judge": replace(small.graders["judge"], model=model)},
        hypotheses=(),
    )


@pytest.mark.parametrize("kind", ONCE)
def test_whichever_request_fails_it_is_sent_again_and_once_only(kind: str) -> None:
    policy = replace(QUICK, deadline=0.7) if kind in HANGS else QUICK

    def once(fails: int) -> None:
        fault = OneFault(kind, fails)
        with FakeEndpoint(fault) as endpoint, Workbench(_asking(endpoint.url), memory=True, env={}, policy=policy) as made:
            tally = made.run()
        assert (tally.planned, tally.answered, tally.failed, tally.pending) == (2 * CASES, 2 * CASES, 0, 0), fails
        assert tally.calls == fault.received, fails
        more = tally.calls - 2 * CASES - (fails <= 2 * CASES)
        assert more == 0 or (more > 0 and kind in HANGS), fails  # a busy machine may miss so short a deadline more often

    with ThreadPoolExecutor(6) as beside:  # most of the time is spent waiting for deadlines
        list(beside.map(once, range(1, 2 * CASES + 2)))


@pytest.mark.parametrize(("kind", "calls_then"), [("server_error", 2), ("redirect", 0)])
def test_whichever_answer_never_comes_it_fails_alone_and_may_be_asked_for_again(tmp_path: Path, kind: str, calls_then: int) -> None:
    """What may pass is asked for by the next run; what the endpoint refuses, where one says so."""
    unlucky = ""

    def decide(received: Received) -> Reply:
        return garbage(kind) if unlucky and f"request {unlucky}." in received.said else _good(received)

    with FakeEndpoint(decide) as endpoint:
        small = _asking(endpoint.url)
        for number in range(1, CASES + 1):
            unlucky = str(number)
            with Workbench(small, store=tmp_path / f"{number}.db", env={}, policy=QUICK) as made:
                tally = made.run()
                assert (tally.planned, tally.answered, tally.failed, tally.pending) == (2 * CASES, 2 * CASES - 2, 1, 1)
                assert tally.calls == 2 * CASES - 2 + (QUICK.tries if calls_then else 1)
                unlucky = ""
                assert made.run().calls == calls_then
                tally = made.run(retry_failed=True)
                assert (tally.answered, tally.failed, tally.pending, tally.calls) == (2 * CASES, 0, 0, 2 - calls_then)


# ---------------------------------------------------------------- Ctrl-C


def _started(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fairmark.cli", "run", "-c", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _until(holds: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert child.poll() is None and time.monotonic() < until, child.communicate()
        time.sleep(0.01)


def _goes_on(folder: Path) -> None:
    child = _started(folder)
    said, wrong = child.communicate(timeout=120)
    assert child.returncode == 0, wrong
    assert "0 pending" in said
    with Store.open(folder / STORE) as store:
        assert store.verify().proven
        assert store.orphans() == ()


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_once_waits_for_what_is_under_way_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with endpoint(quickest=0.3, slowest=0.6) as served:
        folder = write_study(tmp_path / "study", served.url, cases=12)
        child = _started(folder)
        _until(lambda: len(served.ledger) > 12, child)
        child.send_signal(signal.SIGINT)
        begun = time.monotonic()
        said, wrong = child.communicate(timeout=60)
        assert time.monotonic() - begun < 10
        assert child.returncode == 0, wrong
        assert "Stopping: waiting for answers that are under way. Press Ctrl-C again to stop at once." in wrong
        assert "Stopped early: stopped by you. The same command goes on from here." in said
        asked = len(served.ledger)
        assert asked < needed(12)
        assert Stored.of(folder).replies == set(range(asked)), "all that came back is stored"
        _goes_on(folder)
        assert len(served.ledger) == needed(12), "nothing was asked twice"


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_twice_stops_at_once_and_the_same_command_goes_on(tmp_path: Path) -> None:
    slow = threading.Event()
    with endpoint(quickest=0.3, slowest=0.6) as served:
        usual = served.decide
        served.decide = lambda received: replace(usual(received), delay=30.0 if slow.is_set() else 0.05)
        folder = write_study(tmp_path / "study", served.url, cases=12)
        child = _started(folder)
        _until(lambda: len(served.ledger) > 12, child)
        slow.set()
        _until(lambda: served.now == KILLED_IN_FLIGHT, child)
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        while "Press Ctrl-C again" not in child.stderr.readline():
            pass
        child.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, wrong = child.communicate(timeout=60)
        assert time.monotonic() - begun < 5  # the answers would take thirty seconds more
        assert child.returncode == 130
        assert "Stopped. What was answered is stored; the same command goes on from here." in wrong
        asked, stored = len(served.ledger), Stored.of(folder)
        assert asked - len(stored.replies) == KILLED_IN_FLIGHT
        slow.clear()
        _goes_on(folder)
        assert len(served.ledger) == needed(12) + KILLED_IN_FLIGHT


# ---------------------------------------------------------------- a full disk, a store that may not be written to


@contextmanager
def _small_disk(place: Path, size: str) -> Iterator[None]:
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _refused(child: Child) -> tuple[str, str]:
    error = child.document()["error"]
    return error["code"], f"{error['why']} {error['next']}"


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
@pytest.mark.parametrize("room", [60_000, 150_000, 300_000])
def test_where_files_may_not_grow_the_run_stops_and_goes_on_once_they_may(tmp_path: Path, room: int) -> None:
    with endpoint(quickest=0.0, slowest=0.01) as served, Hatchery(tmp_path) as hatchery:
        folder = write_study(tmp_path / "study", served.url)
        command = ["run", "-c", str(folder), "--json", "--quiet"]
        child = hatchery.run(command, limits={"RLIMIT_FSIZE": room})
        assert child.code == 1, child.wrong.read_text()
        code, words = _refused(child)
        assert code == "DISK"
        assert "safe" in words and "same command" in words
        asked, stored = len(served.ledger), Stored.of(folder)
        lost = asked - len(stored.replies)
        assert lost <= 2 * KILLED_IN_FLIGHT  # those in flight, and those whose commit failed
        assert hatchery.run(command).code == 0
        assert len(served.ledger) == needed() + lost
        with Store.open(folder / STORE) as store:
            assert store.verify().proven


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_stops_the_run_with_what_to_do_and_room_lets_it_go_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with _small_disk(disk, "16m"), endpoint(quickest=0.0, slowest=0.01) as served, Hatchery(tmp_path) as hatchery:
        folder = write_study(disk / "study", served.url)
        (disk / "filler").write_bytes(b"x" * (shutil.disk_usage(disk).free - 300_000))
        command = ["run", "-c", str(folder), "--json", "--quiet"]
        child = hatchery.run(command)
        assert child.code == 1, child.wrong.read_text()
        code, words = _refused(child)
        assert code == "DISK"
        assert "the disk is full" in words and "free some space and run the same command again" in words
        asked, stood = len(served.ledger), Stored.of(folder)
        lost = asked - len(stood.replies)
        assert lost <= 2 * KILLED_IN_FLIGHT
        (disk / "filler").unlink()
        child = hatchery.run(command)
        assert child.code == 0, child.said.read_text()
        assert stood.records <= Stored.of(folder).records
        assert len(served.ledger) == needed() + lost


@pytest.mark.skipif(os.name != "posix", reason="takes rights away")
def test_a_store_that_may_not_be_written_to_is_analysed_and_refuses_to_run_before_anything_is_sent(tmp_path: Path) -> None:
    humbly: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and setpriv is not there to take that away")
        humbly = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    with endpoint(quickest=0.0, slowest=0.01) as served, Hatchery(tmp_path, humbly) as hatchery:
        folder = write_study(tmp_path / "study", served.url, cases=4)
        run, analyse = ["run", "-c", str(folder), "--json", "--quiet"], ["analyse", "-c", str(folder), "--json"]
        assert hatchery.run(run).code == 0
        whole = hatchery.run(analyse).document()
        asked = len(served.ledger)
        for name, row in (("cases.jsonl", '{"id": "c4", "input": "Please delete my data, request 4."}'), ("answers.csv", "c4,Certainly.")):
            with (folder / name).open("a") as file:
                file.write(row + "\n")
        kept = folder / STORE
        kept.chmod(0o400)
        kept.parent.chmod(0o500)
        try:
            refused, analysed = hatchery.run(run), hatchery.run(analyse)
        finally:
            kept.parent.chmod(0o700)
        assert refused.code == 1, refused.wrong.read_text()
        assert _refused(refused)[0] == "READ_ONLY"
        assert len(served.ledger) == asked, "nothing was spent"
        assert analysed.code == 0, analysed.said.read_text() + analysed.wrong.read_text()
        assert [system["answered"] for system in analysed.document()["systems"]] == [system["answered"] for system in whole["systems"]]


# ---------------------------------------------------------------- a clock that jumps


class Jumping:
    """Seconds that pass only when somebody sleeps, and that jump each time somebody looks."""

    def __init__(self, jump: float) -> None:
        self.seconds, self.jump = 1e6, jump

    def now(self) -> float:
        self.seconds += self.jump
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass
class Once:
    """A provider that is too busy at first. As a ledger it keeps nothing."""

    name: str = "busy"
    host: str = "here"
    seen: Counter[str] = field(default_factory=Counter)

    async def ask(self, question: Question) -> Answer | Failure:
        await asyncio.sleep(0)
        self.seen[f"{question.trial}"] += 1
        return Failure("rate_limited", self.host, "slow down", 1.0) if self.seen[f"{question.trial}"] == 1 else Answer("yes", "stop")

    async def close(self) -> None:
        pass

    def asking(self, job: calls.Job) -> None:
        pass

    async def came(self, job: calls.Job, outcome: Answer | Failure) -> tuple[()]:
        return ()

    async def kept(self) -> None:
        pass


@pytest.mark.parametrize("jump", [0.0, -1.0, -86_400.0])
def test_a_clock_that_stands_still_or_runs_backwards_holds_nothing_up(jump: float) -> None:
    busy = Once()
    jobs = [calls.Job(f"k{number}", "response", "s", Question(trial=number), busy) for number in range(1, 21)]
    work = calls.perform(jobs, busy, clock=Jumping(jump), budget=Budget(minutes=60.0))
    tally = asyncio.run(asyncio.wait_for(work, 20))
    assert (tally.answered, tally.failed, tally.calls) == (20, 0, 40)


def test_a_clock_that_jumps_a_day_ahead_ends_what_has_a_deadline_and_loses_nothing() -> None:
    busy = Once()
    jobs = [calls.Job(f"k{number}", "response", "s", Question(trial=number), busy) for number in range(1, 21)]
    tally = asyncio.run(asyncio.wait_for(calls.perform(jobs, busy, clock=Jumping(86_400.0)), 20))
    assert tally.answered + tally.failed == 20
    assert tally.unasked == 0


def test_only_what_reads_dates_asks_for_the_time_of_day() -> None:
    """Deadlines, waits, budgets and leases count seconds that no change of the date moves."""
    found = {}
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "time" and isinstance(node.value, ast.Name) and node.value.id == "time":
                found.setdefault(str(file.relative_to(SOURCE)), 0)
                found[str(file.relative_to(SOURCE))] += 1
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time" and any(one.name == "time" for one in node.names)), file
    # a Retry-After may be a date, and a list of prices has an age
    assert found == {"providers/prices.py": 1, "providers/transport.py": 1}
