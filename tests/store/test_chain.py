"""The chain: whatever is changed, taken out or put in by another hand is found, and forgetting breaks nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark.records import Act, Answer, Assignment
from fairmark.store import Store
from fairmark.store import chain as chain_of_store
from tests.store.rows import grade, response


def _filled(path: Path) -> str:
    """A store with rows in every table of the journal. Returns its head."""
    with Store.open(path) as store:
        store.freeze("study", "f" * 64, {"cases": {"c1": "1"}}, 1, "0.1.0")
        for number in range(4):
            store.add_intent(f"k{number}", "response", "bare", number).result()
            store.add_response(response(f"k{number}", case_id=f"c{number}", at=number)).result()
        for number in range(3):
            store.add_grade(grade(f"g{number}", case_id=f"c{number}"))
        store.people.assign([Assignment("a", "study", "ana", "work", "k0", "c0", "bare", 1, 0.25, second=True, probability=0.5)])
        store.people.post(Act("act", "study", "ana", "mark", {"label": "kind"}, "a", "c0", 5), [grade("mark", rater="ana")]).result()
        store.forget("c3")
        assert store.verify().proven
        return store.head()


def test_every_table_of_the_journal_is_covered(tmp_path: Path) -> None:
    head = _filled(tmp_path / "s.db")
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        found = store.verify()
        assert found.proven and found.head == head and len(head) == 64
        assert found.rows == sum(store.counts().values())
        assert found.forgotten == 1
        place = store.place(head)
        assert place is not None and (place.link, place.after) == (found.links, 0)
        assert store.place("0" * 64) is None


SWAP = "UPDATE response SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3); UPDATE response SET seq = -seq WHERE seq < 0"
EMPTY = "UPDATE content SET text = NULL WHERE id = 2; UPDATE response SET case_id = NULL WHERE body = 2"
TAMPERED = {
    "UPDATE response SET usd = 0.5 WHERE seq = 2": "row 2 of `response`: changed since link",
    "UPDATE response SET failure = 'timeout' WHERE seq = 1": "row 1 of `response`: changed",
    "UPDATE grade SET grader = 'other' WHERE seq = 1": "of `grade`: changed",
    "UPDATE intent SET at = 99 WHERE seq = 3": "row 3 of `intent`: changed",
    "UPDATE plan SET fingerprint = 'x'": "row 1 of `plan`: changed",
    "UPDATE assignment SET probability = 0.9": "row 1 of `assignment`: changed",
    "UPDATE act SET person = 'ben'": "row 1 of `act`: changed",
    "UPDATE forgotten SET responses = 0": "row 1 of `forgotten`: changed",
    "DELETE FROM response WHERE seq = 2": "row 2 of `response`: taken out (1 of what link",
    "DELETE FROM grade": "rows 1 to 3 of `grade`: taken out",
    SWAP: "of `response`: changed",
    "INSERT INTO intent (key, what, name, at) VALUES ('k', 'response', 'bare', 1)": "row 5 of `intent`: no link covers this",
    "UPDATE content SET text = replace(text, 'Certainly', 'Never') WHERE id = 1": "1 texts of `response` were changed",
    "UPDATE content SET text = NULL WHERE id = 2": "1 texts of `response` are lost",
    EMPTY: "2 rows have no case, where 1 were forgotten",
    "DELETE FROM link WHERE seq = 3": "link 4 of",
    "UPDATE link SET at = at + 1 WHERE seq = 2": "link 2 of",
    "UPDATE link SET head = 'x' WHERE seq = 2": "link 2 of",
    "DELETE FROM link WHERE seq = (SELECT max(seq) FROM link)": "no link covers this",
    "DELETE FROM link": "no link covers this",
}


@pytest.mark.parametrize("how", TAMPERED)
def test_what_another_hand_did_is_found(tmp_path: Path, how: str) -> None:
    _filled(tmp_path / "s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as other:
        other.executescript(how)
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        found = store.verify()
        assert not found.proven
        assert TAMPERED[how] in "\n".join(found.wrong)
        assert len(found.wrong) <= 2  # the first link that breaks is named, not all that rest on it


def test_rows_of_another_hand_are_not_covered_up_by_what_is_written_later(tmp_path: Path) -> None:
    _filled(tmp_path / "s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as other:
        other.executescript("INSERT INTO intent (key, what, name, at) VALUES ('k', 'response', 'bare', 1)")
    with Store.open(tmp_path / "s.db") as store:
        store.add_intent("own", "response", "bare", 2).result()
        found = store.verify()
        assert not found.proven
        assert found.wrong[0].startswith("row 5 of `intent`: put in by another hand, before link")


def test_forgetting_and_writing_the_file_anew_break_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    before = _filled(path)
    with Store.open(path) as store:
        for number in range(3):
            store.forget(f"c{number}")
        with closing(sqlite3.connect(path)) as other:
            other.execute("VACUUM")
        found = store.verify()
        assert found.proven
        assert found.forgotten == 9  # four responses, four grades and an act
        place = store.place(before)
        assert place is not None and place.after == 3


def test_a_chain_can_be_checked_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.add_intent("k", "response", "bare", 7).result()
        head = store.head()
    with closing(sqlite3.connect(path)) as other:
        ((at, covers),) = other.execute("SELECT at, covers FROM link").fetchall()
    rows = hashlib.sha256(b'[[1,"k","response","bare",7]]').hexdigest()
    assert json.loads(covers)["rows"] == {"intent": rows}
    assert head == hashlib.sha256(f"\n{at}\n{covers}".encode()).hexdigest()


def test_an_empty_store_has_no_head_and_is_proven() -> None:
    with Store.open(None) as store:
        assert store.head() == ""
        assert store.verify().proven


def test_what_is_read_in_pieces_gives_the_same_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _filled(tmp_path / "s.db")
    monkeypatch.setattr(chain_of_store, "CHUNK", 1)
    with Store.open(tmp_path / "s.db") as store:
        assert store.verify().proven
        store.add_grade(grade("new")).result()
        monkeypatch.undo()
        assert store.verify().proven


def test_a_store_is_verified_in_little_memory(tmp_path: Path) -> None:
    texts = 24_000_000
    with Store.open(tmp_path / "s.db") as store:
        for number in range(6000):
            store.add_response(response(f"k{number}", answer=Answer("x" * (texts // 6000))))
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        tracemalloc.start()
        found = store.verify()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found.proven and found.rows == 6000
    assert peak < texts / 2


steps = st.lists(
    st.tuples(st.sampled_from(["intent", "response", "grade", "group", "forget", "plan"]), st.sampled_from("abc"), st.floats(0, 1)),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.data())
def test_any_history_is_proven_and_any_changed_row_is_found(history: list[tuple[str, str, float]], data: st.DataObject) -> None:
    with Store.open(None) as store:
        for number, (step, case, usd) in enumerate(history):
            key = f"{case}{number}"
            if step == "forget":
                store.forget(case)
            elif step == "plan":
                store.freeze(case, key, {"cases": {case: 1}}, number, "0")
            else:
                waiting = [store.add_intent(key, "response", case, number)]
                if step in ("response", "group"):
                    waiting.append(store.add_response(response(key, case_id=case, answer=None, at=number)))
                if step in ("grade", "group"):
                    waiting.append(store.add_grade(grade(key, case_id=case, reason="é\0\ud800", confidence=usd)))
                for future in waiting:
                    future.result()
        found = store.verify()
        assert found.proven, found.wrong
        assert found.rows == sum(store.counts().values())
        tables = {"intent": "name", "response": "system", "grade": "rater", "plan": "code", "forgotten": "at"}
        filled = [table for table in tables if store.counts()[f"{table}s" if table != "forgotten" else table]]
        if filled:
            table = data.draw(st.sampled_from(filled))
            with store._engine.begin() as connection:
                last = connection.exec_driver_sql(f"SELECT max(seq) FROM {table}").scalar_one()
                row = data.draw(st.integers(1, last))
                connection.exec_driver_sql(f"UPDATE {table} SET {tables[table]} = {tables[table]} || '1' WHERE seq = {row}")
            assert not store.verify().proven
