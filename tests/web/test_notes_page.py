"""Notes are sorted in the browser by keyboard, and a marker's board holds only what they wrote."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from fairmark.people.codes import Coding
from fairmark.workbench import Workbench
from tests.web.conftest import Served, marked_bench

Start = Callable[..., Served]


def noted() -> Workbench:
    made = marked_bench(n=3)
    desk = made.desk()
    for person in ("ana", "ben"):
        while (one := desk.next_open(person)) is not None:
            words = desk.view(person, one).panes[0].output[:4]
            span = {"quote": words, "start": 0, "end": 4}
            desk.note(person, one, str(uuid.uuid4()), note=str(uuid.uuid4()), text=f"words of {person[0].upper()}", span=span)
            for criterion, label in (("tone", "cold"), ("safe", "yes")):
                desk.mark(person, one, str(uuid.uuid4()), criterion=criterion, label=label)
    return made


def coding(made: Workbench) -> Coding:
    return Coding(made.study, made.store, "small@1", made.slots)


def test_a_marker_gets_only_their_own_notes_and_may_not_sort(served: Start) -> None:
    server = served(noted())
    status, body, _ = server.get("/notes", "ana")
    assert status == 200 and b"words of A" in body and b"words of B" not in body
    assert not re.search(rb"\b(bare|guided|c[123])\b", body)
    said = {"act": str(uuid.uuid4()), "do": "create", "code": str(uuid.uuid4()), "called": "unkind"}
    assert server.post("/notes/do", said, "ana")[0] == 403
    assert server.post("/notes/do", said, "cleo")[0] == 200
    assert b"unkind" in server.get("/notes", "owner")[1]


def test_nobody_is_named_on_the_board_of_those_who_sort(served: Start) -> None:
    body = served(noted()).get("/notes", "cleo")[1]
    assert b"words of A" in body and b"words of B" in body
    assert not re.search(rb"\b(ana|ben|bare|guided|c[123])\b", body)


def test_what_is_no_step_is_refused_in_words(served: Start) -> None:
    server = served(noted())
    for said in ({"act": "x", "do": "put"}, {"act": str(uuid.uuid4()), "do": "put", "notes": 3}, {"act": str(uuid.uuid4()), "do": 1}):
        status, body, _ = server.post("/notes/do", said, "cleo")
        assert status == 400 and b"found" in body
    assert server.post("/notes/undo", {"act": str(uuid.uuid4())}, "cleo")[0] == 409


def opened(browser: Any, server: Served, person: str, **options: Any) -> Any:
    context = browser.new_context(**options)
    name, _, token = server.cookie(person).partition("=")
    context.add_cookies([{"name": name, "value": token, "url": server.url}])
    page = context.new_page()
    page.goto(server.url + "/notes")
    page.wait_for_selector("[data-ready]")
    return page


def named(made: Workbench) -> dict[str, int]:
    return {code.name: code.responses for code in coding(made).board("cleo").codes}


@pytest.mark.browser
def test_all_notes_are_sorted_by_keyboard_and_undone(served: Start, browser: Any) -> None:
    made = noted()
    page = opened(browser, served(made), "cleo")

    def put(typed: str, until: str) -> None:
        page.keyboard.press("m")
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        page.wait_for_selector(until)
        page.wait_for_selector("[data-ready]")

    page.keyboard.press("j")
    put("Unkind", "[data-name=Unkind]")
    page.keyboard.press("j")  # on from where the reader was
    put("unk", "h2:has-text('without a code') >> nth=0")
    page.wait_for_function("() => document.querySelectorAll('[data-take]').length === 2")
    total = len(coding(made).board("cleo").cards)
    assert coding(made).board("cleo").unsorted == total - 2
    page.wait_for_selector("[data-ready]")
    page.keyboard.press("u")
    page.wait_for_function("() => document.querySelectorAll('[data-take]').length === 1")
    assert coding(made).board("cleo").unsorted == total - 1
    page.wait_for_selector("[data-ready]")
    page.drag_and_drop("[data-note].loose >> nth=0", "[data-name=Unkind]")
    page.wait_for_function("() => document.querySelectorAll('[data-take]').length === 2")
    page.wait_for_selector("[data-ready]")
    page.click("[data-do=rename]")
    page.fill("#name", "Curt")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-name=Curt]")
    assert list(named(made)) == ["Curt"]


@pytest.mark.browser
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390, 320])
def test_everybody_can_use_it(served: Start, browser: Any, colours: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    made = noted()
    sorting = coding(made)
    for number, card in enumerate(sorting.board("cleo").cards[:3]):
        sorting.do("cleo", str(uuid.uuid4()), "create", code=str(uuid.uuid4()), called=f"Kind {number}", notes=[card.id])
    page = opened(browser, served(made), "cleo", viewport={"width": width, "height": 800}, color_scheme=colours)
    wanted = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    found = Axe().run(page, options=wanted)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("j")
    page.keyboard.press("m")
    found = Axe().run(page, options=wanted)
    assert found.violations_count == 0, found.generate_report()
