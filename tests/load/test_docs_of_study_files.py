"""The reference of study files says what the loader does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairmark import graders, load
from fairmark.errors import Mistake
from fairmark.load import models
from fairmark.load.bare import ROLES

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "study-files.md").read_text(encoding="utf-8")
PARTS = [
    models.StudyFile,
    models.System,
    models.Http,
    models.Grader,
    models.MarkColumns,
    models.Tuning,
    models.Limit,
    models.Calibration,
    models.Expectation,
    models.Plan,
    models.Budget,
    models.RubricFile,
    models.CriterionEntry,
    models.LevelEntry,
    models.ExampleEntry,
]


def files() -> dict[str, str]:
    """The files of the page: blocks of the same title are one file."""
    found: dict[str, str] = {}
    for title, block in re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', TEXT, re.MULTILINE | re.DOTALL):
        found[title] = found.get(title, "") + block
    return found


def test_the_examples_together_are_a_study(tmp_path: Path) -> None:
    for name, content in files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    study = load.study(tmp_path)
    assert set(study.systems) == {"bare", "guided", "hosted", "live", "ours", "script", "old"}
    assert set(study.graders) == {"judge", "short", "deadline", "polite", "experts", "people"}
    assert [hypothesis.kind for hypothesis in study.hypotheses] == ["better", "at_least", "at_most", "no_worse_than"]
    assert load.lint(study) == ()
    assert graders.problems(study) == ()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_key_stands_in_the_reference_with_its_phrase(part: type[models.Part]) -> None:
    for name, field in part.model_fields.items():
        key = field.alias or name
        needed = " (needed)" if key in part.needed else ""
        if part is models.Grader and key in models.Model.model_fields:
            assert f"`{key}`" in TEXT
        else:
            assert f"| `{key}`{needed} | {models.description(part, name)} |" in TEXT


def test_every_example_key_is_shown() -> None:
    shown = "\n".join(files().values())
    for part in (models.StudyFile, models.System, models.Expectation, models.CriterionEntry, models.Plan, models.Budget, models.Http):
        for name, field in part.model_fields.items():
            key = field.alias or name
            if key not in ("local", "range", "method", "concurrency"):
                assert re.search(rf"\b{key}:", shown), key


def test_the_message_in_the_reference_is_the_one_that_is_given(tmp_path: Path) -> None:
    lines = ["study: x", "cases: c.jsonl", "rubric: r.yaml", "graders: {}", "systems:", "  a: {model: local/smollm2}"]
    (tmp_path / "study.yaml").write_text("\n".join([*lines, "  guided: {model: local/smollm2, temprature: 0}"]), encoding="utf-8")
    with pytest.raises(Mistake) as raised:
        load.study(tmp_path)
    problem = next(problem for problem in raised.value.problems if "temprature" in problem.found)
    found, _, remedy = (line.strip() for line in re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)[0].strip().splitlines())
    assert f"{problem.position}: {problem.found}" == found.replace("7:30", problem.position.removeprefix("study.yaml:"))
    assert problem.remedy == remedy


def test_the_roles_of_a_bare_table() -> None:
    for role, names in ROLES.items():
        assert f"| {role} | " + ", ".join(f"`{name}`" for name in names) + " |" in TEXT
