"""Rows about people: acts that stand once, versions, sessions, and forgetting."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fairmark.records import Act, Assignment, Grade
from fairmark.store import Store


def act(number: int, **changes: object) -> Act:
    fields = {"id": f"a{number}", "study": "s@1", "person": "ana", "kind": "mark", "assignment": "x", "case_id": "c1", "at": number}
    return Act(**{**fields, **changes}, content={"said": number})  # type: ignore[arg-type]


def test_an_act_is_stored_once_with_its_grades_and_others_are_counted() -> None:
    with Store.open(None) as store:
        rows, grade = store.people, Grade("k" * 64, "c1", "tone", "people", "ana", label="kind")
        assert rows.post(act(1), [grade], base=0).result()[:3] == (1, True, True)
        assert rows.post(act(1), [grade], base=0).result()[:3] == (1, True, False)
        assert rows.post(act(2), base=0).result()[:3] == (1, False, False)  # somebody was quicker
        assert rows.post(act(3), base=1).result()[:3] == (2, True, True)
        assert [one.content for one in rows.acts("s@1")] == [{"said": 1}, {"said": 3}]
        assert rows.post(act(3), base=1).result().acts == rows.acts("s@1") == rows.acts_on("s@1", "x")
        assert rows.post(act(4)).result().acts == rows.acts("s@1")  # as they are read, so they are told
        assert rows.post(act(5, assignment="")).result().acts == ()
        assert rows.acts_on("s@1", "y") == () == rows.acts_on("other@1", "x")
        assert [one.id for one in rows.acts("s@1", newest=2)] == ["a5", "a4"]
        assert rows.acts("s@1", person="ben") == () and rows.acts("other@1") == ()
        assert store.counts()["grades"] == 1


def test_many_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store, ThreadPoolExecutor(20) as pool:
        posted = list(pool.map(lambda n: store.people.post(act(n, assignment=f"x{n % 7}")).result(), [*range(300), *range(300)]))
        assert sum(one.fresh for one in posted) == 300 and all(one.stored for one in posted)
        assert {one.id for one in store.people.acts("s@1")} == {f"a{n}" for n in range(300)}


def test_forgetting_takes_acts_and_assignments_of_the_case_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        rows = store.people
        rows.assign(
            [
                Assignment("x", "s@1", "ana", "work", "r1", "c1", "bare", 1, 1.5),
                Assignment("y", "s@1", "ana", "work", "r2", "c2", "bare", 1, 1.2),
            ]
        )
        same = {"reason": "unmistakable words"}
        rows.post(Act("a1", "s@1", "ana", "mark", same, "x", "c1", 1)).result()
        rows.post(Act("a2", "s@1", "ana", "mark", same, "y", "c2", 1)).result()
        store.forget("c1")
        assert [one.case_id for one in rows.assignments("s@1")] == [None, "c2"]
        assert [one.content for one in rows.acts("s@1")] == [{}, same]
        store.forget("c2")
    assert b"unmistakable" not in path.read_bytes()


def test_a_link_lets_in_once_and_a_session_until_it_ends() -> None:
    with Store.open(None) as store:
        rows = store.people
        rows.let_in("s@1", "h1", "ana", "grader", "link", at=1, until=100)
        assert rows.session("s@1", "h1", at=2) is None  # a link is no session
        assert rows.use_link("other@1", "h1", at=2) is None
        used = rows.use_link("s@1", "h1", at=2)
        assert used is not None and (used.person, used.role) == ("ana", "grader")
        assert rows.use_link("s@1", "h1", at=3) is None
        rows.let_in("s@1", "h2", "ana", "grader", "link", at=1, until=100)
        assert rows.use_link("s@1", "h2", at=101) is None
        for token in ("t1", "t2"):
            rows.let_in("s@1", token, "ana", "grader", "session", at=1, until=50)
        assert rows.session("s@1", "t1", at=2) is not None and rows.session("s@1", "t1", at=50) is None
        rows.end_session("t1", at=3)
        assert rows.session("s@1", "t1", at=4) is None and len(rows.sessions("s@1", at=4)) == 1
        assert rows.end_sessions("s@1", "ana", at=5) == 2  # the other session and the unused link
        assert rows.sessions("s@1", at=6) == ()


def test_a_session_that_another_process_ends_is_believed_for_a_second_at_most(tmp_path: Path) -> None:
    path, second = tmp_path / "s.db", 10**9
    with Store.open(path) as here, Store.open(path) as elsewhere:
        here.people.let_in("s@1", "t", "ana", "grader", "session", at=1, until=100 * second)
        assert here.people.session("s@1", "t", at=second) is not None
        elsewhere.people.end_session("t", at=second)
        assert elsewhere.people.session("s@1", "t", at=second) is None
        assert here.people.session("other@1", "t", at=second) is None
        assert here.people.session("s@1", "t", at=2 * second) is None
        assert here.people.session("s@1", "t", at=second) is None  # and it is not believed again


def test_a_session_that_was_read_ends_at_its_time() -> None:
    with Store.open(None) as store:
        store.people.let_in("s@1", "t", "ana", "grader", "session", at=1, until=50)
        assert store.people.session("s@1", "t", at=49) is not None
        assert store.people.session("s@1", "t", at=50) is None


def test_what_another_process_gives_out_is_seen_within_a_second_and_what_this_one_does_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as here, Store.open(path) as elsewhere:
        assert here.people.newest() == elsewhere.people.newest() == 0
        here.people.assign([Assignment("x", "s@1", "ana", "work", "r1", "c1", "bare", 1, 1.5)])
        assert here.people.newest() == 1
        until = time.monotonic() + 5
        while elsewhere.people.newest() == 0 and time.monotonic() < until:
            time.sleep(0.05)
        assert elsewhere.people.newest() == 1
