"""The store: what was acknowledged stands, whatever happens, and what was forgotten is gone."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from fairmark.errors import CannotDo
from fairmark.records import Act, Answer, Failure, Grade, Response, Span, Usage
from fairmark.store import Orphan, Store
from tests.store.rows import grade, response

anything = st.text(st.characters(codec=None), max_size=30)  # lone surrogates and NUL included
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
counts = st.none() | st.integers(0, 2**70)
answers = st.builds(
    Answer,
    text=anything,
    finish=st.sampled_from(["stop", "length", "refused"]),
    model=anything,
    usage=st.none() | st.builds(Usage, counts, counts, counts),
    cost_usd=numbers,
    seconds=numbers,
    logprobs=st.none() | st.lists(st.tuples(anything, st.floats(-50, 0)), max_size=3).map(tuple),
    attempts=st.integers(1, 6),
)
failures = st.builds(Failure, kind=st.sampled_from(["timeout", "bad_request"]), where=anything, why=anything, retry_after=numbers)


responses = st.builds(
    Response,
    anything,
    anything,
    anything,
    st.integers(1, 2**63 - 1),
    anything,
    st.none() | answers,
    st.none() | failures,
    st.integers(0, 2**62),
)
spans = st.builds(Span, anything, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9))
grades = st.builds(
    Grade,
    key=anything,
    case_id=anything,
    criterion=anything,
    grader=anything,
    rater=anything,
    repeat=st.integers(0, 9),
    label=st.none() | anything,
    failure=st.none() | failures,
    reason=anything,
    evidence=st.lists(spans, max_size=3).map(tuple),
    confidence=numbers,
    level_order=st.lists(anything, max_size=3).map(tuple),
    answer=st.none() | answers,
    source=anything,
    at=st.integers(0, 2**62),
)


@settings(max_examples=80, deadline=None)
@given(responses, grades)
def test_every_field_comes_back(one: Response, two: Grade) -> None:
    with Store.open(None) as store:
        store.add_response(one).result()
        store.add_grade(two).result()
        assert store.responses([one.key]) == {one.key: one}
        assert store.grades([two.key]) == {two.key: two}
        assert store.verify().proven


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "forget"]), st.sampled_from("abc"), st.integers(0, 2)), max_size=25))
def test_it_holds_what_a_dictionary_would_hold(steps: list[tuple[str, str, int]]) -> None:
    model: dict[str, Response] = {}
    with Store.open(None) as store:
        for place, (step, case, number) in enumerate(steps):
            if step == "add":
                record = response(f"{case}{number}", case_id=case, answer=Answer(f"answer {place}"))
                store.add_response(record).result()
                model[record.key] = record
            else:
                store.forget(case)
                model = {key: record for key, record in model.items() if record.case_id != case}
        assert store.responses(f"{case}{number}" for case in "abc" for number in range(3)) == model
        assert store.counts()["responses"] == sum(step == "add" for step, _, _ in steps)


def test_the_newest_row_of_a_key_holds_and_the_older_one_stays(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        failed = response(answer=None, failure=Failure("timeout", "x", "late"))
        store.add_response(failed).result()
        store.add_response(response()).result()
        assert store.responses(["k" * 64])["k" * 64].output == "Certainly, Ms Example."
        assert store.counts()["responses"] == 2


def test_nan_is_refused() -> None:
    with Store.open(None) as store, pytest.raises(ValueError, match="JSON"):
        store.add_response(response(answer=Answer("x", cost_usd=float("nan"))))


def test_a_number_without_room_is_refused_and_spoils_no_other_row() -> None:
    with Store.open(None) as store:
        good = store.add_response(response())
        with pytest.raises(ValueError, match="too large"):
            store.add_response(response("l" * 64, at=2**63))
        assert good.result() is None
        assert store.counts()["responses"] == 1


def test_any_number_of_keys_is_read_at_once() -> None:
    records = [response(f"{number:064}", trial=number + 1) for number in range(21_000)]
    with Store.open(None) as store:
        for record in records:
            written = store.add_response(record)
        written.result()
        assert store.responses(record.key for record in records) == {record.key: record for record in records}
        assert store.responses([]) == {}


def test_many_threads_write_and_read(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store, ThreadPoolExecutor(8) as threads:

        def work(number: int) -> bool:
            record = response(f"{number:064}", trial=number + 1)
            store.add_response(record).result()
            return store.responses([record.key]) == {record.key: record}

        assert all(threads.map(work, range(200)))
        assert store.counts()["responses"] == 200


def test_a_waiter_that_gives_up_loses_nothing_and_stops_nobody(tmp_path: Path) -> None:
    async def impatient(store: Store) -> None:
        waiting = asyncio.ensure_future(asyncio.wrap_future(store.add_response(response())))  # type: ignore[arg-type]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    with Store.open(tmp_path / "s.db") as store:
        asyncio.run(impatient(store))
        store.add_response(response("l" * 64)).result(10)
        assert len(store.responses(["k" * 64, "l" * 64])) == 2


def test_closing_writes_what_is_waiting_and_ends_writing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        futures = [store.add_response(response(str(number))) for number in range(5000)]
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        store.add_response(response())
    store.close()
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        assert store.counts()["responses"] == 5000


def test_a_mark_stays_bound_to_the_grade_it_became_first() -> None:
    with Store.open(None) as store:
        store.add_grade(grade("a" * 64, source="mark")).result()
        store.add_grade(grade("b" * 64, source="mark")).result()
        assert store.bound(["mark", "other"]) == {"mark": "a" * 64}


def test_plans_are_recorded_once_each_and_in_order() -> None:
    with Store.open(None) as store:
        for number, fingerprint in enumerate(("one", "one", "two", "one")):
            store.freeze("study", fingerprint, {"n": number}, number, "0.1.0")
            store.add_response(response(str(number))).result()
        found = store.plans("study")
        assert [(plan.fingerprint, plan.responses_before) for plan in found] == [("one", 0), ("two", 2), ("one", 3)]
        assert store.plans("another") == ()


def test_what_was_sent_and_never_came_back_is_an_orphan() -> None:
    with Store.open(None) as store:
        for at, key in enumerate(["came", "lost", "lost", "lost again"]):
            store.add_intent(key, "response", "bare", at).result()
        store.add_response(response("came", at=10)).result()
        store.add_response(response("lost again", at=11)).result()
        store.add_intent("lost again", "response", "bare", 12).result()
        assert store.orphans() == (Orphan("lost", "response", "bare", 2), Orphan("lost again", "response", "bare", 1))


def test_forgetting_takes_the_bytes_out_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.add_response(response()).result()
        store.add_grade(grade(reason="Ms Example is greeted.")).result()
        store.add_response(response("z" * 64, case_id="c2", answer=Answer("Another one."))).result()
        assert b"Ms Example" in b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert store.forget("c1") == 2
        assert store.forget("c1") == 0
        assert store.responses(["k" * 64, "z" * 64]).keys() == {"z" * 64}
        assert store.counts() == {
            "plans": 0,
            "intents": 0,
            "responses": 2,
            "grades": 1,
            "assignments": 0,
            "acts": 0,
            "forgotten": 1,
        }
        assert b"Ms Example" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert store.integrity() == "ok"


def test_forgetting_takes_an_id_that_names_a_person_out_of_the_plans(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.freeze("study", "f" * 64, {"cases": {"ana@example.org": "1", "c2": "2"}}, 1, "0.1.0")
        store.add_response(response(case_id="ana@example.org")).result()
        store.add_response(response("l" * 64, case_id="c2")).result()
        store.forget("ana@example.org")
        store.forget("c2")
        (plan,) = store.plans("study")
        assert plan.document() == {"cases": {"forgotten 1": "1", "forgotten 2": "2"}}
        assert plan.fingerprint == "f" * 64
        assert store.counts()["forgotten"] == 2
        assert b"ana@example" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_forgetting_is_finished_once_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path, patience=0.1) as store:
        store.add_response(response()).result()
        reader = sqlite3.connect(path)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM response").fetchone() == (1,)
        with pytest.raises(CannotDo, match="bytes are still in the file") as held:
            store.forget("c1")
        assert held.value.code == "BUSY"
        assert store.responses(["k" * 64]) == {}
        reader.close()
        assert store.forget("c1") == 0
        assert b"Ms Example" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_integrity_notices_a_text_that_was_changed_or_lost(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.add_response(response()).result()
        store.add_response(response("l" * 64)).result()
        assert store.integrity() == "ok"
        with sqlite3.connect(path) as other:
            other.execute("UPDATE content SET text = replace(text, 'Certainly', 'Never') WHERE id = 1")
            other.execute("DELETE FROM content WHERE id = 2")
        assert store.integrity().splitlines() == [
            "1 texts of `response` were changed after they were stored",
            "1 texts of `response` are lost",
        ]
        other.close()


def test_what_a_writer_may_not_say_is_our_bug_and_leaves_the_store_usable() -> None:
    with Store.open(None) as store:
        with pytest.raises(TypeError, match="not part of a record"):
            store.add_response(response(answer=Answer("x", usage=object())))  # type: ignore[arg-type]
        store.add_response(response()).result()
        assert store.counts()["responses"] == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("ab"), max_size=6), st.randoms(use_true_random=False))
def test_a_mark_belongs_to_the_first_grade_of_it(order: list[str], rng: random.Random) -> None:
    with Store.open(None) as store:
        first: dict[str, str] = {}
        for number, source in enumerate(order):
            key = f"{number}-{rng.random()}"
            first.setdefault(source, key)
            store.add_grade(grade(key, source=source)).result()
        assert store.bound(["a", "b", "a"]) == first


def test_a_write_that_fails_takes_no_other_of_its_commit_with_it() -> None:
    with Store.open(None) as store:
        started, go = threading.Event(), threading.Event()

        def slow(_: Any) -> None:
            started.set()
            go.wait(10)

        first = store._put(slow)  # what comes meanwhile makes one group
        started.wait(10)
        good = store.add_response(response())
        twice = [store.people.post(Act("same", "study", "ana", "note")) for _ in range(2)]
        bad = store._put(lambda connection: connection.exec_driver_sql("INSERT INTO act (id) VALUES (NULL)").close())
        later = store.add_response(response("l" * 64))
        go.set()
        for future in (first, good, later):
            assert future.result(10) is None
        assert [answer.result(10).fresh for answer in twice] == [True, False]
        with pytest.raises(IntegrityError):
            bad.result(10)
        assert store.counts()["responses"] == 2
        assert store.verify().proven
