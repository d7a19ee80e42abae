"""People's recorded marks: found, missing, stale, off the scale, given twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairmark import graders
from fairmark.errors import Mistake
from fairmark.records import Failure, Item, Verdict
from fairmark.study import GraderSpec, Mark, Study

MARK = Mark("c1", "sys0", 1, "good", "ana", "fair", "It will do.", where="marks.csv:2")


@pytest.fixture
def people(make_study: Callable[..., Study]) -> Callable[..., tuple[Any, ...]]:
    def build(*marks: Mark, criteria: tuple[str, ...] = ("good",), systems: int = 2) -> tuple[Any, ...]:
        spec = GraderSpec("experts", "recorded", criteria, marks=marks, marks_from="marks.csv")
        return graders.build(make_study(spec, systems=systems))

    return build


def test_a_mark_is_read_with_its_reason_and_bound_by_a_digest(people: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    (grader,) = people(MARK)
    item = make_item("out")
    assert (grader.kind, grader.rater, grader.criterion, grader.name) == ("human", "ana", "good", "experts")
    assert grader.ask(item) is None
    verdict = grader.read(item, None)
    assert isinstance(verdict, Verdict)
    assert (verdict.label, verdict.reason) == ("fair", "It will do.")
    others = [replace(MARK, label="fine"), replace(MARK, reason=""), replace(MARK, system="sys1"), replace(MARK, trial=2)]
    sources = {verdict.source}
    for mark in others:
        read = people(mark)[0].read(make_item("out", system=mark.system, trial=mark.trial), None)
        sources.add(read.source)
    assert len(sources) == 5
    assert people(replace(MARK, where="marks.csv:9"))[0].read(item, None).source == verdict.source


@pytest.mark.parametrize("change", [{"case_id": "c2"}, {"system": "sys1"}, {"trial": 2}])
def test_a_mark_that_is_not_there(people: Callable[..., Any], make_item: Callable[..., Item], change: dict[str, Any]) -> None:
    failure = people(MARK)[0].read(make_item("out", **change), None)
    assert isinstance(failure, Failure)
    assert failure.kind == "not_recorded"


def test_one_grader_for_each_rater_and_one_for_an_empty_criterion(people: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    made = people(MARK, replace(MARK, rater="ben", label="fine"), criteria=("good", "ok"))
    assert [(grader.criterion, grader.rater) for grader in made] == [("good", "ana"), ("good", "ben"), ("ok", "")]
    assert [grader.read(make_item("out"), None).label for grader in made[:2]] == ["fair", "fine"]
    assert made[2].read(make_item("out"), None).kind == "not_recorded"


def test_a_mark_given_to_another_answer_is_stale(people: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    grader = people(replace(MARK, output="first\r\nanswer "))[0]
    assert isinstance(grader.read(make_item("first\nanswer"), None), Verdict)
    stale = grader.read(make_item("second answer"), None)
    assert stale.kind == "stale_mark"
    assert stale.where == "marks.csv:2"


def test_a_label_off_the_scale_names_its_line(people: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    failure = people(replace(MARK, label="great"))[0].read(make_item("out"), None)
    assert failure == Failure("bad_label", "marks.csv:2", "`great` is not on the scale: `poor`, `fair`, `fine`, `cannot tell`")
    points = people(replace(MARK, criterion="points", label="7.0"), criteria=("points",))[0]
    assert points.read(make_item("out"), None).label == "7"


def test_marks_of_a_lone_system_need_no_name(people: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    (grader,) = people(replace(MARK, system=""), systems=1)
    assert grader.read(make_item("out"), None).label == "fair"
    with pytest.raises(Mistake, match=r"marks\.csv:2: grader `experts`: a mark names no system"):
        people(replace(MARK, system=""), systems=2)


def test_two_different_marks_by_one_person_are_a_mistake(people: Callable[..., Any]) -> None:
    assert len(people(MARK, MARK)) == 1
    with pytest.raises(Mistake) as caught:
        people(MARK, replace(MARK, label="fine", where="marks.csv:7"))
    assert str(caught.value) == (
        "marks.csv:7: grader `experts`: ana marks case c1, sys0, trial 1 on `good` twice, as `fair` (marks.csv:2) and as `fine`\n"
        "    allowed: one mark"
    )
