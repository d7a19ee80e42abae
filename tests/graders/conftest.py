"""Factories for a study with one grader, and the answers it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairmark import graders
from fairmark.records import Case, Grader, Item, Json, Message, Verdict
from fairmark.rubric import Criterion, Level, Rubric
from fairmark.study import GraderSpec, ModelSpec, Study, SystemSpec

TWO = Criterion("ok", "Is it right?", (Level("fail", "It is wrong."), Level("pass", "It is right.")))
THREE = Criterion("good", "How good is it?", (Level("poor", "It is bad."), Level("fair", "It will do."), Level("fine", "It is good.")))
SHARE = Criterion("near", "How near is it?", scale="interval", range=(0, 1))
POINTS = Criterion("points", "How many points?", scale="interval", range=(0, 10), not_applicable=True)
KINDS = Criterion("kind", "Which kind?", (Level("letter", "a"), Level("mail", "b"), Level("call", "c")), scale="nominal")
RUBRIC = Rubric((TWO, THREE, SHARE, POINTS, KINDS))


def study_of(spec: GraderSpec, *, folder: Path = Path(), expected: str | None = "yes", rubric: Rubric = RUBRIC, systems: int = 1) -> Study:
    cases = (Case("c1", (Message("user", "Is it?"),), expected),)
    return Study(
        "s",
        "",
        folder,
        cases,
        {f"sys{n}": SystemSpec(f"sys{n}", "recorded", recorded={}) for n in range(systems)},
        rubric,
        {spec.name: spec},
    )


def item_of(output: str, **parts: Any) -> Item:
    return replace(Item("c1", (Message("user", "Is it?"),), output, system="sys0"), **parts)


@pytest.fixture
def make_study() -> Callable[..., Study]:
    return study_of


@pytest.fixture
def make_item() -> Callable[..., Item]:
    return item_of


@pytest.fixture
def make_check() -> Callable[..., Grader]:
    def make(
        kind: str, value: Json = None, *, criterion: str = "ok", folder: Path = Path(), target: str | None = None, **options: Json
    ) -> Grader:
        spec = GraderSpec("g", "check", (criterion,), check=kind, value=value, options=options, target=target)
        (grader,) = graders.build(study_of(spec, folder=folder))
        return grader

    return make


@pytest.fixture
def make_llm() -> Callable[..., graders.LlmGrader]:
    def make(
        criterion: Criterion = THREE, *, prompt: str | None = None, model: Mapping[str, Json] | None = None, **options: Json
    ) -> graders.LlmGrader:
        spec = GraderSpec("judge", "llm", (criterion.id,), model=ModelSpec("openai", "gpt-x", model or {}), prompt=prompt, options=options)
        (grader,) = graders.build(study_of(spec, rubric=Rubric((criterion,))))
        assert isinstance(grader, graders.LlmGrader)
        return grader

    return make


@pytest.fixture
def label(make_check: Callable[..., Grader]) -> Callable[..., str]:
    """The label a check gives an output, or `kind: why` of its failure."""

    def give(output: str, kind: str, value: Json = None, *, item: Mapping[str, Any] | None = None, **how: Any) -> str:
        said = make_check(kind, value, **how).read(item_of(output, **(item or {})), None)
        return said.label if isinstance(said, Verdict) else f"{said.kind}: {said.why}"

    return give
