"""The scaffolded study runs anywhere, and the schemas it carries are those of the models."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest
from ruamel.yaml import YAML

from fairmark import graders, load, providers
from fairmark.errors import Mistake
from fairmark.load import marking, systems
from fairmark.load.schemas import FOLDER, documents
from fairmark.providers import weights
from tests.load.files import RUBRIC, STUDY, write

SCHEMAS = {name: json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")) for name in ("study", "rubric")}


def parsed(path: Path) -> object:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_scaffold_reads_without_mistake_or_advice(tmp_path: Path) -> None:
    written = load.scaffold(tmp_path / "library desk")
    study = load.study(tmp_path / "library desk")
    assert study.name == "library-desk"
    assert len(study.cases) == 12
    assert len(study.systems) >= 2
    assert any(criterion.gate for criterion in study.rubric)
    assert any(len(criterion.levels) == 4 for criterion in study.rubric)
    assert [hypothesis.primary for hypothesis in study.hypotheses] == [True, False]
    assert load.lint(study) == ()
    assert graders.problems(study) == ()
    assert {path.name for path in load.study_files(tmp_path / "library desk")} <= {path.name for path in written}


def test_what_is_commented_out_in_the_scaffold_reads_too(tmp_path: Path) -> None:
    load.scaffold(tmp_path)
    path = tmp_path / "study.yaml"
    text = path.read_text(encoding="utf-8")
    for name in ("guided", "hosted", "judge", "experts"):
        assert f"  # {name}:" in text
        text = text.replace(f"  # {name}:", f"  {name}:")
    path.write_text(text, encoding="utf-8")
    (tmp_path / "marks.csv").write_text("case,system,criterion,rater,label\nhours-1,short,helpful,ana,bare\n", encoding="utf-8")
    assert set(load.study(tmp_path).graders) == {"fact", "counter", "tone", "judge", "experts"}


def test_the_answers_of_the_scaffold_reach_every_level_they_are_meant_to(tmp_path: Path) -> None:
    load.scaffold(tmp_path)
    study = load.study(tmp_path)
    app, checks = module(tmp_path / "app.py"), module(tmp_path / "checks.py")
    labels = {system: [checks.tone(getattr(app, system)(case.text)) for case in study.cases] for system in ("short", "careful")}
    assert set(labels["short"] + labels["careful"]) >= {"bare", "helpful", "caring"}
    assert set(labels["short"] + labels["careful"]) <= set(study.rubric["helpful"].level_names())


def test_the_scaffold_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "rubric.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(Mistake, match=r"already holds `rubric\.yaml`"):
        load.scaffold(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rubric.yaml"]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(Mistake, match="is a file"):
        load.scaffold(tmp_path / "file")


def test_the_shipped_schemas_are_those_of_the_models() -> None:
    for name, content in documents().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content, "run python -m fairmark.load.schemas"


@pytest.mark.parametrize("name", ["study", "rubric"])
def test_the_schemas_are_schemas_and_fit_the_scaffold(name: str, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    load.scaffold(tmp_path)
    jsonschema.validate(parsed(tmp_path / f"{name}.yaml"), SCHEMAS[name])
    assert (
        (tmp_path / f"{name}.yaml").read_text(encoding="utf-8").startswith(f"# yaml-language-server: $schema=schemas/{name}.schema.json\n")
    )
    assert (tmp_path / "schemas" / f"{name}.schema.json").is_file()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("study", "trials", "trails"),
        ("study", "temperature: 0", "temperature: cold"),
        ("study", "than: bare, ", "at_least: 1, "),
        ("study", "{model: local/smollm2}", "{}"),
        ("rubric", "question: Is the answer short?", "weight: heavy"),
        ("rubric", "      - no: It has more than 60 words.\n", ""),
    ],
)
def test_the_schemas_refuse_what_the_loader_refuses(name: str, old: str, new: str, tmp_path: Path) -> None:
    texts = {"study": STUDY + "trials: 2\n", "rubric": RUBRIC}
    write(tmp_path, {f"{name}.yaml": texts[name]})
    jsonschema.validate(parsed(tmp_path / f"{name}.yaml"), SCHEMAS[name])
    load.study(tmp_path)
    write(tmp_path, {f"{name}.yaml": texts[name].replace(old, new)})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parsed(tmp_path / f"{name}.yaml"), SCHEMAS[name])
    with pytest.raises(Mistake):
        load.study(tmp_path)


def test_the_checks_known_here_are_those_of_the_graders() -> None:
    assert set(marking.CHECKS) == set(graders.CHECKS)
    for name, check in graders.CHECKS.items():
        known = marking.CHECKS[name]
        assert known.value == (check.value.kind if check.value else ""), name
        assert known.required == bool(check.value and check.value.required), name
        assert dict(known.options) == {option: setting.choices or setting.kind for option, setting in check.options.items()}, name
        assert set(known.needs) == {option for option, setting in check.options.items() if setting.required}, name


def test_the_options_of_an_llm_grader_known_here_are_those_of_the_graders() -> None:
    assert dict(marking.LLM_OPTIONS) == {name: setting.kind for name, setting in graders.llm.OPTIONS.items()}


def test_the_providers_known_here_are_those_there_are() -> None:
    assert set(systems.PROVIDERS) == set(providers.PROVIDERS)
    assert systems.LOCAL_MODELS == (weights.SMOLLM2,)
