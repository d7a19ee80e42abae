"""The whole way in a browser, by keyboard alone: two people mark 30 responses on four criteria, a third settles, the receipt is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairmark.people import said_of
from fairmark.records import ADJUDICATED, Answer, Failure, Question
from fairmark.rubric import Criterion, Level, Rubric
from fairmark.study import GraderSpec, ModelSpec, People, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import Fake, bench, study
from tests.web.conftest import Served
from tests.web.test_marking_page import Window, at, here, until
from tests.web.test_marking_page import window as window

pytestmark = pytest.mark.browser

PRESSED = "document.querySelectorAll('.criterion .level[aria-pressed=true]').length"
RUBRIC = Rubric(
    (
        Criterion.yes_no("deadline", yes="names the time limit", no="names no time limit"),
        Criterion("tone", "How kind is it?", (Level("cold", "curt or rude"), Level("neutral", "correct"), Level("kind", "warm and plain"))),
        Criterion("complete", "Are all steps named?", (Level("none", "no step"), Level("some", "some steps"), Level("all", "all steps"))),
        Criterion.yes_no("safe", yes="asks for no papers", no="asks for papers", gate=True),
    )
)
PEOPLE = People(("ana", "ben"), ("cleo",), criteria=("deadline", "tone", "complete", "safe"), twice=0.4)


def judge(question: Question) -> Answer | Failure:
    """An LLM grader that finds everything kind."""
    return Answer(json.dumps({"evidence": "", "reason": "as ever", "level": "kind"}), "stop", "fake", None, 0.0)


def toured() -> Workbench:
    base = study(n=15)
    systems = {
        name: SystemSpec(
            name,
            "recorded",
            recorded={(case.id, 1): f"We delete it{within}. Next you get a letter ({case.id})." for case in base.cases},
        )
        for name, within in (("alpha", ""), ("beta", " within 30 days"))
    }
    graders = {
        "judge": GraderSpec("judge", "llm", ("tone",), model=ModelSpec("openai", "judge-model", {"temperature": 0})),
        "people": GraderSpec("people", "people", PEOPLE.criteria, chosen="all"),
    }
    made = bench(replace(base, rubric=RUBRIC, systems=systems, graders=graders, people=PEOPLE, hypotheses=()), Fake(judge))
    made.run()
    made.assign()
    return made


def test_the_whole_way(served: Callable[..., Served], window: Window) -> None:
    made = toured()
    server = served(made)
    responses = {one.response for one in made.store.people.assignments("small@1") if one.kind == "work"}
    assert len(responses) == 30

    tone = {"ana": "3", "ben": "2"}
    for person in ("ana", "ben"):
        page, number = window(server, person), 0
        while made.desk().next_open(person) is not None:
            number += 1
            one = here(page)
            lost = person == "ana" and number == 3
            page.context.set_offline(lost)
            output = page.inner_text(".output")
            for key in ("2" if "30 days" in output else "1", tone[person], "2", "2"):
                page.keyboard.press(key)
            if lost:
                page.wait_for_selector("#status[data-word=retrying]", state="attached")
                page.context.set_offline(False)
            until(lambda one=one, person=person: done(made, person, one))
            if made.desk().next_open(person) is None:
                break
            if lost:
                go_on(page, one)  # the next response could not be fetched, so the page stays where it was
            goes_on(page, one)  # after its last criterion by itself
            if person == "ana" and number == 5:
                page.keyboard.press("u")  # undo goes back over the page turned
                at(page, one)
                page.wait_for_function(f"() => {PRESSED} === 3")
                page.keyboard.press("Shift+U")
                page.wait_for_function(f"() => {PRESSED} === 4")
                until(lambda one=one: done(made, "ana", one))
                page.keyboard.press("Enter")
                goes_on(page, one)
            if person == "ana" and number == 7:
                there = here(page)
                page.close()
                page = window(server, person)
                assert here(page) == there
    assert len(made.store.people.assignments("small@1")) == sum(made.desk().progress(person).done for person in ("ana", "ben"))

    found = made.adjudication().open()
    assert found and {one.criterion for one in found} == {"tone"}
    page = window(server, "cleo", "/settle")
    for _ in found:
        page.wait_for_selector("[data-ready]")
        before = page.url
        for key in ("3", "m", "Enter"):
            page.keyboard.press(key)
        page.wait_for_url(lambda url, before=before: url != before)
    page.wait_for_selector("text=All disagreements are settled")
    assert made.adjudication().open() == ()

    page = window(server, "owner", "/receipts")
    assert "judge on Tone" in page.inner_text("main") and "30 answers" in page.inner_text("main")
    table = made.table()
    labels = [cell.grade.label for row in table.rows for cell in row.cells if cell.rater == ADJUDICATED and cell.grade]
    assert labels == ["kind"] * len(found)
    assert table.metric("beta", "deadline").low.tolist() == [1.0] * 15 and table.metric("alpha", "deadline").low.tolist() == [0.0] * 15


def done(made: Workbench, person: str, assignment: str) -> bool:
    """Whether the store holds all four marks."""
    state = said_of(made.store.people.acts("small@1", person=person)).get(assignment)
    return state is not None and len([said for said in state.said.values() if said.label is not None]) == 4


def goes_on(page: Any, one: str) -> None:
    page.wait_for_function("than => !location.pathname.endsWith(than)", arg=one)


def go_on(page: Any, one: str) -> None:
    """Presses Enter unless the page has gone on by itself once the connection was back."""
    if here(page) == one:
        page.keyboard.press("Enter")
