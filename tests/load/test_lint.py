"""Advice on a study that has no mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairmark import load
from fairmark.rubric import Criterion, Level, Rubric
from tests.load.files import RUBRIC, STUDY, write

HTTP = "{http: {url: 'http://127.0.0.1/x', body: {q: QUESTION}}, version: a}"


def system(entry: str) -> dict[str, str | bytes]:
    return {"study.yaml": STUDY.replace("  bare: {model: local/smollm2}\n", f"  bare: {entry}\n")}


@pytest.mark.parametrize(
    ("changes", "where", "found"),
    [
        ({"rubric.yaml": RUBRIC.replace("request is settled", "good, proper answer")}, "rubric, resolves", "open: `good`, `proper`"),
        ({"rubric.yaml": RUBRIC.replace("Is the answer short?", "Is it short and clear?")}, "rubric, brief", "two things at once"),
        ({"rubric.yaml": RUBRIC.replace("It has 60 words or fewer.", "It has more than 60 words.")}, "rubric, brief", "the same anchor"),
        (system("{command: [echo, '{{input}}']}"), "systems, bare", "declares no `version`"),
        (system("{command: [echo, hello], version: a}"), "systems, bare", "every case asks the same"),
        (system(HTTP.replace("QUESTION", "hello")), "systems, bare", "every case asks the same"),
        ({"prompts/guided.md": "Hello.\n"}, "systems, guided", "says next to nothing"),
        (system("{recorded: a.csv}") | {"a.csv": "case,output\nc1,x\nc3,y\n"}, "systems, bare", "holds no answer to 1 of 3 cases: `c2`"),
        ({"study.yaml": STUDY.replace(", primary: true", "")}, "hypotheses", "none is primary"),
        ({"study.yaml": STUDY + "population: {topic: [access, child]}\n"}, "population, topic", "no case stands for `child`"),
    ],
)  # fmt: skip
def test_advice(changes: dict[str, str | bytes], where: str, found: str, tmp_path: Path) -> None:
    (problem,) = load.lint(load.study(write(tmp_path, changes)))
    assert problem.file == where
    assert found in problem.found
    assert problem.remedy


def test_a_study_that_needs_none(tmp_path: Path) -> None:
    assert load.lint(load.study(write(tmp_path))) == ()
    assert load.lint(load.study(write(tmp_path, system(HTTP.replace("QUESTION", "'{{input}}'"))))) == ()


def test_a_rubric_made_in_python_without_anchors(tmp_path: Path) -> None:
    rubric = Rubric((Criterion("resolves", levels=(Level("no"), Level("yes"))),))
    study = replace(load.study(write(tmp_path)), rubric=rubric)
    assert [problem.found for problem in load.lint(study)] == ["the level `no` has no anchor", "the level `yes` has no anchor"]
