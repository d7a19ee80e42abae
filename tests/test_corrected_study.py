"""From study files to a corrected verdict: recorded answers, an LLM grader on all, a person's marks of some with their chances."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fairmark import Workbench, load, stats
from fairmark.errors import Mistake
from fairmark.records import Answer, Question
from tests.bench import Fake

N = 80
STUDY = """
study: kindness
question: Is it kind?
cases: cases.jsonl
systems:
  old: {recorded: answers.csv}
rubric: rubric.yaml
graders:
  judge: {llm: openai/judge, criteria: [kind]}
  ana: {recorded: marks.csv, criteria: [kind], chosen: stratified}
hypotheses:
  H1: {text: It is kind in 4 of 10 answers, system: old, on: kind>=yes, at_least: 0.4, primary: true}
"""
RUBRIC = """
criteria:
  kind:
    question: Is it kind?
    levels:
      - {level: "no", anchor: It is curt.}
      - {level: "yes", anchor: It is warm.}
"""


def truly_kind(number: int) -> bool:
    return number % 10 < 7


def said_kind(number: int) -> bool:
    """The grader lets every fourth unkind answer pass, and is right about the others."""
    return truly_kind(number) or number % 4 == 0


def reply(question: Question) -> Answer:
    shown = "\n".join(message.content for message in question.messages)
    number = next(i for i in range(N) if f"answer number {i}." in shown)
    return Answer(json.dumps({"evidence": "", "reason": "as it seems", "level": "yes" if said_kind(number) else "no"}), "stop", "fake")


def write(folder: Path, *, probability: float | str | None = None) -> None:
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    (folder / "rubric.yaml").write_text(RUBRIC, encoding="utf-8")
    (folder / "cases.jsonl").write_text(
        "".join(json.dumps({"id": f"c{i}", "input": f"request {i}"}) + "\n" for i in range(N)), encoding="utf-8"
    )
    with (folder / "answers.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "output"], *([f"c{i}", f"This is answer number {i}."] for i in range(N))])
    passed = [i for i in range(N) if said_kind(i)]
    failed = [i for i in range(N) if not said_kind(i)]
    asked = dict.fromkeys(passed[::2], 0.5) | dict.fromkeys(failed, 1.0)
    with (folder / "marks.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[f"c{i}", "yes" if truly_kind(i) else "no", chance if probability is None else probability] for i, chance in asked.items()]
        csv.writer(file).writerows([["id", "label", "probability"], *rows])


def test_the_verdict_rests_on_the_graders_marks_as_a_person_corrects_them(tmp_path: Path) -> None:
    write(tmp_path)
    with Workbench(tmp_path, connect=lambda _: Fake(reply), env={}, memory=True) as bench:
        # the recorded system is read from its file, not from the fake
        bench.run()
        (receipt,) = bench.calibrate()
        analysis = bench.analyse()
        page = bench.report(tmp_path / "report.html").read_text(encoding="utf-8")
    result = analysis.hypotheses[0]
    verdict = [int(said_kind(i)) for i in range(N)]
    passed = [i for i in range(N) if said_kind(i)][::2]
    asked = {*passed, *(i for i in range(N) if not said_kind(i))}
    label = [int(truly_kind(i)) if i in asked else -1 for i in range(N)]
    expected = stats.corrected_rate(np.array(verdict), np.array(label))
    assert result.estimate.value == expected.value
    assert (result.estimate.scorer, result.verdict) == ("judge-corrected", "supported")
    assert receipt.by_system == {"old": "own"}
    assert receipt.usable
    assert "Its marks decide only as far as people's marks correct them" in receipt.say
    assert "corrected to people’s marks" in page


@pytest.mark.parametrize("probability", ["0", "1.2", "half", "-0.1"])
def test_a_probability_that_is_none_is_a_mistake_with_its_place(tmp_path: Path, probability: str) -> None:
    write(tmp_path, probability=probability)
    with pytest.raises(Mistake) as raised:
        load.study(tmp_path)
    problem = raised.value.problems[0]
    assert problem.position.startswith("marks.csv:2")
    assert f"the probability `{probability}` is none" in problem.found
    assert problem.allowed == "a number above 0 and at most 1"
