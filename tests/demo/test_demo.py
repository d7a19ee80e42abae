"""The shipped demo from the first answer to the report, on the shipped recording."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def demo(folder: Path, *options: str) -> Any:
    command = [sys.executable, "-m", "fairmark.cli", "demo", str(folder), "--recorded", "--json", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, demo(folder)


def test_every_answer_and_mark_is_in_the_recording(recorded: tuple[Path, Any]) -> None:
    tally = recorded[1]["tally"]
    assert tally["pending"] == 0
    assert tally["planned"] == tally["answered"] + tally["failed"]
    # an answer that the recording lacks would be a failed response
    assert all(system["failed"] == 0 for system in recorded[1]["analysis"]["systems"])


def test_the_evidence_supports_one_expectation_and_refutes_another_by_checks(recorded: tuple[Path, Any]) -> None:
    results = recorded[1]["analysis"]["hypotheses"]
    assert len(results) >= 4
    for verdict in ("supported", "refuted"):
        assert any(r["verdict"] == verdict and r["estimate"]["scorer"] == "code" for r in results)


def test_the_poor_grader_is_noticed_and_decides_nothing(recorded: tuple[Path, Any]) -> None:
    analysis = recorded[1]["analysis"]
    receipt = analysis["trust"][0]
    assert (receipt["calibration"], receipt["marked_by"]) == ("borrowed", "development marks")
    assert receipt["agreement"]["low"] <= receipt["commonest_share"]
    assert "decide nothing" in receipt["say"]
    on_tone = next(r for r in analysis["hypotheses"] if r["on"].startswith("tone"))
    assert on_tone["verdict"] == "undecided"
    assert on_tone["estimate"]["refused"]["code"] == "BORROWED_CALIBRATION"


def test_a_second_demo_asks_nothing_and_says_the_same(recorded: tuple[Path, Any]) -> None:
    folder, first = recorded
    again = demo(folder)
    assert again["tally"]["calls"] == 0
    assert again["analysis"]["hypotheses"] == first["analysis"]["hypotheses"]


def test_the_report_is_one_small_file(recorded: tuple[Path, Any]) -> None:
    report = recorded[0] / "report.html"
    assert 50_000 < report.stat().st_size < 2_000_000
    text = report.read_text(encoding="utf-8")
    assert "Can a short guided prompt" in text
    assert "http-equiv" in text


def test_the_demo_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    command = [sys.executable, "-m", "fairmark.cli", "demo", str(tmp_path), "--recorded"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "holds other files" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_the_readme_shows_what_the_recording_says(recorded: tuple[Path, Any]) -> None:
    shown = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    analysis = recorded[1]["analysis"]
    shapes = {"supported": "■", "refuted": "☒", "undecided": "◧"}
    for result in analysis["hypotheses"]:
        start = f"{result['id']}  {shapes[result['verdict']]} {result['verdict']}"
        assert start in shown
        found = result["estimate"]
        ends = re.search(r"between (?:just over )?(\d+) and (?:just under )?(\d+)", shown.partition(start)[2].partition("\n")[0])
        assert (ends is None) == (found["refused"] is not None)
        if ends is not None:
            assert sorted(map(int, ends.groups())) == sorted(round(abs(end) * 100) for end in (found["low"], found["high"]))
    assert analysis["trust"][0]["say"] in shown
