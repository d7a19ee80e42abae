"""The owner's page of a run: what the store says while another bench, as in another process, asks and writes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fairmark.records import Answer, Failure, Question
from fairmark.workbench import following
from tests.bench import Fake, bench, helpful
from tests.web.conftest import Served, marked_study
from tests.web.everybody import in_every_way, is_usable, sized
from tests.web.test_overview_page import opened

Start = Callable[..., Served]


@dataclass
class Gated(Fake):
    """Answers so many questions, each for 0.001 USD, and then waits until it is let go on. What it is told to fail, fails."""

    allowed: int = 0
    fails: str = "no such case"
    open: threading.Event = field(default_factory=threading.Event)

    async def ask(self, question: Question) -> Answer | Failure:
        self.asked.append(question)
        while len(self.asked) > self.allowed and not self.open.is_set():
            await asyncio.sleep(0.01)
        if self.fails in question.messages[-1].content:
            return Failure("bad_request", self.host, "no")
        return replace(helpful(question), cost_usd=0.001)


@contextmanager
def running(path: Path, fake: Gated) -> Iterator[threading.Thread]:
    """A run with a store of its own on the same file, let go and waited for in the end."""

    def run() -> None:
        with bench(marked_study(), fake, store=path) as made:
            made.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        fake.open.set()
        thread.join(60)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are fresh, and an ended run is counted anew at once."""
    monkeypatch.setattr(following, "FRESH", 0.0)
    monkeypatch.setattr(following, "QUIET", 0.0)


def looked(server: Served) -> Any:
    status, body, _ = server.get("/progress/now", "owner")
    assert status == 200, body
    return json.loads(body)


def until(server: Served, fits: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + 30
    while not fits(seen := looked(server)):
        assert time.monotonic() < end, seen
        time.sleep(0.05)
    return seen


def counts(seen: Any) -> dict[str, tuple[int, int, int]]:
    return {one["name"]: (one["done"], one["failed"], one["planned"]) for one in (*seen["systems"], *seen["graders"])}


def test_it_follows_a_run_of_another_process(served: Start, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    server = served(bench(marked_study(), store=path))
    seen = looked(server)
    assert counts(seen) == {"bare": (0, 0, 6), "guided": (0, 0, 6), "judge": (0, 0, 12)}
    assert not seen["running"] and seen["usd_projected"] is None and "asked for by fairmark run" in seen["view"]["words"]["state"]
    fake = Gated(allowed=9, fails="request 2")
    with running(path, fake) as run:
        seen = until(server, lambda seen: seen["done"] + seen["failed"] == 9)
        assert seen["running"] and "has been going on since" in seen["view"]["words"]["state"]
        assert seen["planned"] == seen["done"] + seen["failed"] + seen["pending"] == 24
        assert seen["usd"] == pytest.approx(0.001 * seen["done"])
        assert seen["a_second"] > 0 and seen["seconds_left"] > 0
        fake.open.set()
        run.join(60)
    seen = until(server, lambda seen: not seen["running"])
    assert counts(seen) == {"bare": (5, 1, 6), "guided": (5, 1, 6), "judge": (10, 0, 12)}
    assert seen["failures"] == {"bad_request": 2} and seen["usd"] == pytest.approx(0.020)
    assert seen["view"]["words"]["failures"] == "2 bad request"


def test_what_was_counted_by_rows_is_what_a_new_count_gives(served: Start, tmp_path: Path) -> None:
    """Answers that failed and were asked again count once, also where the first look fell between."""
    path = tmp_path / "s.db"
    server = served(bench(marked_study(), store=path))
    looked(server)
    with running(path, Gated(fails="request 2")):
        pass
    before = looked(server)
    made = bench(marked_study(), Fake(helpful), store=path)
    with made:
        made.run(retry_failed=True)
    after = looked(server)
    assert counts(before)["bare"] == (5, 1, 6) and counts(after)["bare"] == (6, 0, 6)
    seen = server.office.bench.following().look().progress
    assert {one.name: (one.done, one.failed, one.planned) for one in seen.headway} == counts(after)
    assert dict(seen.failures) == after["failures"] == {}


def test_a_count_is_of_one_moment_though_more_comes_in(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    fake = Gated(allowed=5)
    with bench(marked_study(), store=path) as made, running(path, fake):
        followed = made.following()
        store = made.store
        kept = store.arrived

        def arrived(*args: Any, **options: Any) -> Any:
            # what comes in while it counts is no part of the count
            fake.allowed += 2
            time.sleep(0.3)
            return kept(*args, **options)

        while store.mark().response < 5:
            time.sleep(0.01)
        store.arrived = arrived  # type: ignore[method-assign]
        first = followed.look().progress
        store.arrived = kept  # type: ignore[method-assign]
        fake.open.set()
        while store.holder() is not None:
            time.sleep(0.02)
        last = followed.look().progress
    assert first.done <= 5
    assert {one.name: one.done for one in last.headway} == {"bare": 6, "guided": 6, "judge": 12}


def test_a_count_that_takes_long_holds_nobody_up(served: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE", 0.0)
    with bench(marked_study(), store=tmp_path / "s.db") as made:
        made.run()
        server = served(made)
        counted, held = made.store.mark, threading.Event()

        def mark() -> Any:
            held.wait(30)
            return counted()

        made.store.mark = mark  # type: ignore[method-assign]
        first = looked(server)
        assert first["counting"] and first["view"]["words"]["state"] == "What the store holds is being counted."
        assert b"Not known yet" in server.get("/progress", "owner")[1]
        held.set()
        seen = until(server, lambda seen: not seen["counting"])
        assert counts(seen) == {"bare": (6, 0, 6), "guided": (6, 0, 6), "judge": (12, 0, 12)}


def test_only_owners_see_it(served: Start) -> None:
    server = served(bench(marked_study()))
    for path in ("/progress", "/progress/now"):
        assert [server.get(path, person)[0] for person in ("owner", "ana", "cleo", None)] == [200, 403, 403, 401]


@pytest.mark.browser
def test_the_page_keeps_itself_fresh_and_works_without_a_script(served: Start, browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    server = served(bench(marked_study(), store=path))
    fake = Gated(allowed=4)
    with running(path, fake):
        until(server, lambda seen: seen["done"] == 4)
        plain = opened(browser, server, "/progress", java_script_enabled=False)
        assert "4 of 24 answers and marks, 16%" in plain.inner_text("main") and "Load the page again" in plain.inner_text("main")
        page = opened(browser, server, "/overview")
        page.click("text=How far the run is")
        page.wait_for_selector("text=This page keeps itself fresh")
        page.evaluate("window.still = true")
        fake.open.set()
        page.wait_for_selector("#far:has-text('24 of 24')")
        page.wait_for_selector("#state:has-text('nothing is missing')")
        assert page.evaluate("window.still") is True  # it was not loaded again
        assert page.locator("#bar-0").evaluate("bar => [bar.value, bar.max]") == [6, 6]
        assert page.title().startswith("100%, not running")


@pytest.mark.browser
@in_every_way
def test_everybody_can_use_it(served: Start, browser: Any, tmp_path: Path, colours: str, width: int, zoom: int) -> None:
    path = tmp_path / "s.db"
    server = served(bench(marked_study(), store=path))
    fake = Gated(allowed=9, fails="request 2")
    with running(path, fake):
        until(server, lambda seen: seen["done"] + seen["failed"] == 9)
        page = opened(browser, server, "/progress", **sized(colours, width, zoom))
        page.wait_for_selector("text=This page keeps itself fresh")
        is_usable(page, "a run goes on")
    until(server, lambda seen: not seen["running"])
    page.wait_for_selector("#state:has-text('No run goes on')")
    is_usable(page, "no run goes on")
