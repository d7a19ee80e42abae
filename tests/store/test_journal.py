"""The journal of an event loop: one wait covers all that was put, and what was put is written whatever becomes of the loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fairmark.errors import CannotDo
from fairmark.store import Store
from tests.store.rows import grade, response


def test_what_was_kept_is_there_and_the_rest_follows_at_closing(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        journal = store.journal()
        await journal.kept()  # nothing was put: there is nothing to wait for
        journal.intent("k", "response", "bare", 1)
        journal.response(response("k", at=2))
        journal.grade(grade("g"))
        await journal.kept()
        assert store.responses(["k"]) == {"k": response("k", at=2)}
        assert store.grades(["g"]) == {"g": grade("g")}
        assert store.orphans() == ()
        journal.response(response("later"))

    with Store.open(tmp_path / "s.db") as store:
        asyncio.run(work(store))
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        assert store.counts()["responses"] == 2


def test_many_who_wait_share_commits_and_the_loop_is_woken_once_for_each(tmp_path: Path) -> None:
    woken: list[int] = []

    async def worker(journal: Any, store: Store, name: int) -> None:
        for number in range(5):
            key = f"{name}-{number}"
            journal.response(response(key))
            await journal.kept()
            assert key in store.responses([key])

    async def work(store: Store) -> None:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(*given: Any, **named: Any) -> asyncio.Handle:
            woken.append(1)
            return wake(*given, **named)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        journal = store.journal()
        await asyncio.gather(*(worker(journal, store, name) for name in range(100)))

    with Store.open(tmp_path / "s.db") as store:
        asyncio.run(work(store))
        assert store.counts()["responses"] == 500
    assert 5 <= len(woken) <= 50  # one for each commit, of 500 rows


def test_a_waiter_that_is_cancelled_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        journal = store.journal()
        journal.response(response("a"))
        gone = asyncio.create_task(journal.kept())
        stays = asyncio.create_task(journal.kept())
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert gone.cancelled()
        assert "a" in store.responses(["a"])

    with Store.open(tmp_path / "s.db") as store:
        asyncio.run(work(store))


def test_rows_of_a_loop_that_is_gone_are_written(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        loop = asyncio.new_event_loop()

        async def put() -> None:
            journal = store.journal()
            for number in range(3):
                journal.response(response(f"first {number}"))
                await asyncio.sleep(0)
            journal.response(response("last"))  # the loop ends before its turn does

        loop.run_until_complete(put())
        loop.close()
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        assert store.counts()["responses"] == 4


def test_those_who_wait_while_the_store_closes_are_told(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        journal = store.journal()
        journal.response(response("a"))
        waiting = asyncio.create_task(journal.kept())
        await asyncio.sleep(0)
        journal.response(response("b"))
        other = asyncio.create_task(journal.kept())
        await asyncio.sleep(0)
        store.close()
        await asyncio.wait_for(asyncio.gather(waiting, other), 10)
        with pytest.raises(RuntimeError, match="closed"):
            journal.response(response("c"))

    asyncio.run(work(Store.open(tmp_path / "s.db")))
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        assert store.counts()["responses"] == 2


def test_a_bad_record_is_refused_at_once_and_spoils_no_other() -> None:
    async def work(store: Store) -> None:
        journal = store.journal()
        journal.response(response("good"))
        with pytest.raises(ValueError, match="JSON"):
            journal.grade(grade(confidence=float("inf")))
        with pytest.raises(ValueError, match="too large"):
            journal.intent("k", "response", "bare", 2**63)
        await journal.kept()
        assert store.counts()["responses"] == 1

    with Store.open(None) as store:
        asyncio.run(work(store))


def test_a_store_for_reading_refuses_the_first_wait(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        journal = store.journal()
        journal.intent("k", "response", "bare", 1)
        for _ in range(2):
            with pytest.raises(CannotDo, match="reading only"):
                await journal.kept()

    Store.open(tmp_path / "s.db").close()
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        asyncio.run(work(store))
