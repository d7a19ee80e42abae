"""`fairmark verify`: exit 0 where a store and a report are proven, 1 where not, and words that say what is wrong."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairmark import report
from fairmark.cli import verifying
from fairmark.errors import CannotDo, Mistake
from fairmark.store import Store
from tests.report.fixture import analysis
from tests.store.rows import grade, response


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study's folder with a store, a report in each format, and a row that came after it."""
    with Store.open(tmp_path / ".fairmark" / "store.db") as store:
        store.add_response(response()).result()
        made = replace(analysis(), head=store.head())
        for ending in ("json", "html"):
            report.write(tmp_path / f"report.{ending}", made, ())
        store.add_grade(grade()).result()
    return tmp_path


def _verify(capsys: pytest.CaptureFixture[str], what: Path | None, config: Path) -> tuple[int, str, Any]:
    """Exit code, words and JSON."""
    codes = []
    for as_json in (False, True):
        try:
            verifying.verify(what, config, as_json=as_json)
            codes.append(0)
        except SystemExit as ended:
            codes.append(ended.code)
        if not as_json:
            words = capsys.readouterr().out
    assert codes[0] == codes[1]
    return codes[0], words, json.loads(capsys.readouterr().out)


def test_a_store_that_nobody_touched_is_proven(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in (None, folder / ".fairmark" / "store.db"):
        code, words, found = _verify(capsys, what, folder)
        assert code == 0 and "Every row and every text is as it was written" in words and words.endswith("\nProven.\n")
        assert found["proven"] and (found["rows"], found["links"]) == (2, 2)
        assert found["head"] in words


@pytest.mark.parametrize("ending", ["json", "html"])
def test_a_report_is_proven_by_the_head_it_names(folder: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    code, words, found = _verify(capsys, folder / f"report.{ending}", folder)
    assert code == 0 and "1 rows were added after it" in words
    assert found["report"]["place"]["after"] == 1


def test_a_changed_row_and_a_report_of_another_store_are_not_proven(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.write(folder / "other.json", replace(analysis(), head="0" * 64), ())
    code, words, found = _verify(capsys, folder / "other.json", folder)
    assert code == 1 and "no link of this store has" in words and words.endswith("\nNot proven.\n")
    assert found["report"]["place"] is None and found["wrong"] == []
    with closing(sqlite3.connect(folder / ".fairmark" / "store.db")) as other:
        other.executescript("UPDATE grade SET usd = 1")
    code, words, found = _verify(capsys, folder / "report.json", folder)
    assert code == 1 and "row 1 of `grade`: changed since link 2" in words
    assert not found["proven"] and found["report"]["place"]["link"] == 1


def test_what_is_no_report_is_refused(folder: Path) -> None:
    (folder / "torn.json").write_text("{", encoding="utf-8")
    (folder / "page.html").write_text("<p>hello", encoding="utf-8")
    report.write(folder / "bare.json", analysis(), ())
    for name, kind in {"torn.json": Mistake, "page.html": Mistake, "bare.json": CannotDo, "nowhere.json": CannotDo}.items():
        with pytest.raises(kind):
            verifying.verify(folder / name, folder, as_json=False)
