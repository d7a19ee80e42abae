"""`fairmark audit`: how many calls before anything is asked, the table with its sentences, one document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairmark.cli import screen
from fairmark.cli.app import app
from tests.audit.test_planted import PLANTED, audit, fair, fake
from tests.test_corrected_study import write

RUN = CliRunner()


def test_the_plan_counts_calls_and_says_what_cannot_be_tried(tmp_path: Path) -> None:
    write(tmp_path)
    said = RUN.invoke(app, ["audit", "-c", str(tmp_path), "--plan", "--json"])
    assert said.exit_code == 0, said.output
    (plan,) = json.loads(said.stdout)["plans"]
    assert plan["grader"] == "judge"
    assert plan["calls"] == 0
    said = RUN.invoke(app, ["audit", "-c", str(tmp_path), "--plan"])
    assert "judge: 0 calls" in said.stdout
    assert "Not tested, kind: no system has answered yet. Next: run the study first" in said.stdout
    assert "Next: fairmark audit" in said.stdout


def test_an_unknown_experiment_is_refused_with_those_there_are(tmp_path: Path) -> None:
    from fairmark.errors import Mistake

    write(tmp_path)
    said = RUN.invoke(app, ["audit", "-c", str(tmp_path), "--only", "lenght"])
    assert isinstance(said.exception, Mistake)
    assert "`length`" in str(said.exception)
    assert "injection" in str(said.exception)


def test_the_table_and_its_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    screen.audit(audit(fake(PLANTED["Markdown"][2]), "format", "family"))
    said = " ".join(capsys.readouterr().out.split())
    assert "judge on good" in said
    assert "Markdown biased +" in said
    assert "Markdown: It gives a higher mark to the same answer with headings, bold type or lists" in said
    assert "Not tested, self-preference on good:" in said
    screen.audit(audit(fake(fair), "repeat"))
    assert "0 of 100 repeated marks differ" in capsys.readouterr().out
