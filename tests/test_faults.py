"""Whatever fails once - a commit, a request, a reply - and at whatever point of a run of twelve cases: nothing is lost, and it goes on."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from fairmark import calls
from fairmark.errors import CannotDo
from fairmark.records import Answer, Question
from fairmark.study import ModelSpec, Study, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import Fake, bench, helpful, study
from tests.fake_endpoint import FakeEndpoint, Received, Reply, chat, garbage

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
    needed = CASES * 2 * 2
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
            assert (tally.answered, tally.pending) == (needed, 0), fails
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
            assert (tally.planned, tally.answered, tally.failed, tally.pending) == (needed, needed, 0, 0), fails
            assert made.store.verify().proven
            assert made.store.orphans() == ()
        assert len(fake.asked) <= needed + IN_FLIGHT, fails
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

QUICK = calls.Policy(deadline=0.5, tries=4, base=0.001, cap=0.01, longest_retry_after=2.0, grace=1.0)
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
    def once(fails: int) -> None:
        fault = OneFault(kind, fails)
        with FakeEndpoint(fault) as endpoint, Workbench(_asking(endpoint.url), memory=True, env={}, policy=QUICK) as made:
            tally = made.run()
        assert (tally.planned, tally.answered, tally.failed, tally.pending) == (2 * CASES, 2 * CASES, 0, 0), fails
        assert tally.calls == fault.received == 2 * CASES + (fails <= 2 * CASES), fails

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
