"""The store: what was acknowledged stands, whatever happens, and what was forgotten is gone."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect

from fairmark.errors import CannotDo
from fairmark.records import Answer, Failure, Grade, Response, Span, Usage
from fairmark.store import Store, upgrade
from fairmark.store.tables import metadata

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


def response(key: str = "k" * 64, **changes: Any) -> Response:
    return replace(Response(key, "c1", "bare", 1, "1", Answer("Certainly, Ms Example."), None, 7), **changes)


def grade(key: str = "g" * 64, **changes: Any) -> Grade:
    return replace(Grade(key, "c1", "tone", "judge", label="kind", reason="It is warm.", at=8), **changes)


@settings(max_examples=60, deadline=None)
@given(answers, failures, st.booleans(), anything)
def test_every_field_comes_back(answer: Answer, failure: Failure, failed: bool, words: str) -> None:
    with Store.open(None) as store:
        one = response(answer=None if failed else answer, failure=failure if failed else None)
        two = grade(answer=answer, reason=words, evidence=(Span(words, 0, 3), Span("not there")), level_order=("a", "b"), confidence=0.5)
        store.add_response(one).result()
        store.add_grade(two).result()
        assert store.responses([one.key]) == {one.key: one}
        assert store.grades([two.key]) == {two.key: two}


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
        for key in ("a", "b"):
            store.add_intent(key, "response", "bare", 1).result()
        store.add_response(response("a")).result()
        assert store.orphans() == (("b", "response", "bare"),)


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
        assert store.counts() == {"plans": 0, "intents": 0, "responses": 2, "grades": 1, "forgotten": 1}
        assert b"Ms Example" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert store.integrity() == "ok"


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.db"
    with Store.open(path) as store:
        store.add_response(response()).result()
        assert {oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {"0o600"}
        assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


def test_a_store_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Store.open(path).close()
    path.chmod(0o666)
    with pytest.raises(CannotDo, match="everybody") as refused:
        Store.open(path)
    assert refused.value.code == "NOT_PRIVATE"


def test_reading_only_reads(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(CannotDo, match="no store"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:
        store.add_response(response()).result()
    with Store.open(path, read_only=True) as store:
        assert store.responses(["k" * 64])
        with pytest.raises(CannotDo, match="reading only"):
            store.add_response(response())


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be taken for one", b"SQLite format 3\0" + b"\xff" * 200])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(CannotDo):
        Store.open(path)
    assert path.read_bytes() == content


def test_another_programs_database_and_a_newer_store_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (x)")
    with pytest.raises(CannotDo, match="another program"):
        Store.open(other)
    newer = tmp_path / "newer.db"
    Store.open(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CannotDo, match="newer fairmark"):
        Store.open(newer)


def test_migrations_and_tables_give_the_same_shape() -> None:
    shapes = []
    for migrate in (True, False):
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            upgrade(connection) if migrate else metadata.create_all(connection)
            seen = inspect(connection)
            shapes.append(
                {
                    table: (
                        [(c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in seen.get_columns(table)],
                        sorted((i["name"] or "", tuple(i["column_names"])) for i in seen.get_indexes(table)),
                    )
                    for table in seen.get_table_names()
                    if table != "alembic_version"
                }
            )
    assert shapes[0] == shapes[1]


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
