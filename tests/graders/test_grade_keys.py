"""A grade is named by all that its grader was shown and is, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairmark import graders
from fairmark.records import Case, Grader, Item, Message, grade_key
from fairmark.rubric import Criterion, Example, Level, Rubric
from fairmark.study import GraderSpec, Mark, ModelSpec, Study, SystemSpec

CRITERION = Criterion("good", "How good is it?", (Level("poor", "It is bad."), Level("fine", "It is good.")))
MARKS = (Mark("c1", "a", 1, "good", "ana", "fine"),)
SPECS = {
    "words": GraderSpec("words", "check", ("good",), check="max_words", value=5),
    "same": GraderSpec("same", "check", ("good",), check="exact"),
    "fixed": GraderSpec("fixed", "check", ("good",), check="exact", value="x"),
    "code": GraderSpec("code", "check", ("good",), check="python", target="checks.py:f"),
    "judge": GraderSpec("judge", "llm", ("good",), model=ModelSpec("openai", "gpt-x", {"temperature": 0})),
    "people": GraderSpec("people", "recorded", ("good",), marks=MARKS, guideline="v1"),
}
ITEM = Item("c1", (Message("user", "Is it?"),), "out", "ref", {"tier": 1}, "a", 1)
EVERYONE = set(SPECS)


@pytest.fixture
def keys(tmp_path: Any) -> Callable[..., dict[str, str]]:
    def of(
        *,
        item: Item = ITEM,
        criterion: Criterion = CRITERION,
        code: str = "def f(output): return True",
        repeat: int = 0,
        **changed: GraderSpec,
    ) -> dict[str, str]:
        (tmp_path / "checks.py").write_text(code)
        systems = {name: SystemSpec(name, "recorded", recorded={}) for name in ("a", "b")}
        study = Study("s", "", tmp_path, (Case("c1", (), "ref"),), systems, Rubric((criterion,)), SPECS | changed)
        return {grader.name: grade_key(grader, item, repeat=repeat) for grader in graders.build(study)}

    return of


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"item": replace(ITEM, output="other")}, EVERYONE),
    ({"item": replace(ITEM, case_id="c2")}, EVERYONE),
    ({"repeat": 1}, EVERYONE),
    ({"item": replace(ITEM, reference="other")}, {"same", "code", "judge", "people"}),
    ({"item": replace(ITEM, reference=None)}, {"same", "code", "judge", "people"}),
    ({"item": replace(ITEM, input=(Message("user", "Was it?"),))}, {"code", "judge", "people"}),
    ({"item": replace(ITEM, fields={"tier": 2})}, {"code"}),
    ({"criterion": replace(CRITERION, weight=3.0)}, set()),
    ({"criterion": replace(CRITERION, gate=True)}, set()),
    ({"criterion": replace(CRITERION, pass_at="poor")}, set()),
    ({"criterion": replace(CRITERION, levels=(Level("poor", "It is bad.", 0.3), Level("fine", "It is good.", 0.9)))}, set()),
    ({"criterion": replace(CRITERION, levels=(Level("poor", "It is awful."), Level("fine", "It is good.")))}, {"judge", "people"}),
    ({"criterion": replace(CRITERION, question="Is it good?")}, {"judge", "people"}),
    ({"criterion": replace(CRITERION, guidance="Be fair.")}, {"judge", "people"}),
    ({"criterion": replace(CRITERION, examples=(Example("x", "fine"),))}, {"judge", "people"}),
    ({"criterion": replace(CRITERION, levels=(Level("bad", "It is bad."), Level("fine", "It is good.")))}, EVERYONE),
    ({"criterion": replace(CRITERION, not_applicable=True)}, EVERYONE),
    ({"code": "def f(output): return False"}, {"code"}),
    ({"words": replace(SPECS["words"], value=6)}, {"words"}),
    ({"fixed": replace(SPECS["fixed"], options={"ignore_case": True})}, {"fixed"}),
    ({"fixed": replace(SPECS["fixed"], options={"ignore_case": False})}, set()),
    ({"judge": replace(SPECS["judge"], model=ModelSpec("openai", "gpt-y", {"temperature": 0}))}, {"judge"}),
    ({"judge": replace(SPECS["judge"], model=ModelSpec("openai", "gpt-x", {"temperature": 1}))}, {"judge"}),
    ({"judge": replace(SPECS["judge"], model=ModelSpec("openai", "gpt-x", {"temperature": 0}, api_key="env:OTHER"))}, set()),
    ({"judge": replace(SPECS["judge"], prompt="Be strict.")}, {"judge"}),
    ({"judge": replace(SPECS["judge"], options={"evidence": False})}, {"judge"}),
    ({"judge": replace(SPECS["judge"], options={"evidence": True})}, set()),
    ({"judge": replace(SPECS["judge"], repeats=3)}, set()),
    ({"people": replace(SPECS["people"], guideline="v2")}, {"people"}),
    ({"people": replace(SPECS["people"], marks=(replace(MARKS[0], rater="ben"),))}, {"people"}),
    ({"people": replace(SPECS["people"], marks=(replace(MARKS[0], label="poor"),))}, {"people"}),
    ({"people": replace(SPECS["people"], marks=(replace(MARKS[0], where="marks.csv:9"),))}, set()),
    ({"people": replace(SPECS["people"], chosen="random")}, set()),
    ({"item": replace(ITEM, system="b")}, {"people"}),  # the mark on another system's equal answer is another mark
]


@pytest.mark.parametrize(("change", "voided"), CHANGES)
def test_a_change_voids_exactly_what_it_touches(keys: Callable[..., dict[str, str]], change: dict[str, Any], voided: set[str]) -> None:
    before, after = keys(), keys(**change)
    assert {name for name in EVERYONE if before[name] != after[name]} == voided


def test_a_renamed_grader_keeps_its_grades(keys: Callable[..., dict[str, str]]) -> None:
    renamed = keys(arbiter=replace(SPECS["judge"], name="arbiter"))
    assert renamed["arbiter"] == renamed["judge"]


def test_the_order_of_levels_follows_the_key_and_the_question_is_always_the_same(make_llm: Callable[..., Grader]) -> None:
    one, two = make_llm(), make_llm()
    assert grade_key(one, ITEM) == grade_key(two, ITEM)
    assert one.ask(ITEM) == two.ask(ITEM)
