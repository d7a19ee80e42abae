"""Disagreements are settled in the browser, by keyboard alone, and nobody is named."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairmark.workbench import Workbench
from tests.web.conftest import PEOPLE, Served, marked_bench
from tests.web.everybody import in_every_way, is_seen_with_focus, is_usable, sized
from tests.web.test_marking_page import loses_the_first

pytestmark = pytest.mark.browser
Start = Callable[..., Served]


def differing() -> Workbench:
    made = marked_bench(replace(PEOPLE, twice=1.0), n=2)
    desk = made.desk()
    for person, label, reason in (("ana", "kind", "It thanks the person."), ("ben", "cold", "It thanks nobody.")):
        while (one := desk.next_open(person)) is not None:
            output = desk.view(person, one).panes[0].output
            quote = {"quote": output[:4], "start": 0, "end": 4}
            desk.mark(person, one, str(uuid.uuid4()), criterion="tone", label=label, reason=reason, evidence=[quote])
            desk.mark(person, one, str(uuid.uuid4()), criterion="safe", label="yes")
    return made


def opened(browser: Any, server: Served, person: str, path: str, **options: Any) -> Any:
    context = browser.new_context(**options)
    name, _, token = server.cookie(person).partition("=")
    context.add_cookies([{"name": name, "value": token, "url": server.url}])
    page = context.new_page()
    page.goto(server.url + path)
    page.wait_for_selector("[data-ready]")
    return page


def test_all_disagreements_are_settled_by_keyboard(served: Start, browser: Any) -> None:
    made = differing()
    server = served(made)
    page = opened(browser, server, "cleo", "/settle")
    for number in range(4):
        page.wait_for_selector(f"progress[value='{number}']")
        page.wait_for_selector("[data-ready]")
        assert not re.search(r"\b(ana|ben|bare|guided|c[12])\b", page.content())
        page.keyboard.press("2")
        assert page.inner_text("#word") == "neutral: correct"
        page.keyboard.press("r" if number == 0 else "m")
        if number == 0:
            page.keyboard.press("a")
            page.keyboard.type("Says what happens 1 2 3 next.")
            page.keyboard.press("Escape")
            page.keyboard.press("w")
            page.keyboard.type("The words allow both.")
            page.keyboard.press("Escape")
        before = page.url
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url, before=before: url != before)
    page.wait_for_selector("text=All disagreements are settled")
    settling = made.adjudication()
    assert {one.settled.label for one in settling.all() if one.settled} == {"neutral"} and len(settling.all()) == 4
    assert [one.proposed for one in settling.proposals()] == ["Says what happens 1 2 3 next."]
    page.click("text=Look again >> nth=0")
    page.wait_for_selector("[data-ready]")
    page.keyboard.press("u")
    page.wait_for_selector("progress[value='3']")
    assert len(made.adjudication().open()) == 1


def test_nothing_is_stored_before_both_are_chosen_and_a_lost_server_is_said(served: Start, browser: Any) -> None:
    made = differing()
    server = served(made)
    page = opened(browser, server, "cleo", "/settle")
    page.keyboard.press("Enter")
    assert "Choose the mark" in page.inner_text("#word")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    assert "at fault" in page.inner_text("#word")
    page.context.set_offline(True)
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=did not answer")
    assert len(made.adjudication().open()) == 4


@in_every_way
def test_everybody_can_use_it(served: Start, browser: Any, colours: str, width: int, zoom: int) -> None:
    made = differing()
    server = served(made)
    page = opened(browser, server, "cleo", "/settle", **sized(colours, width, zoom))
    is_usable(page, "to be settled")
    is_seen_with_focus(page)
    page.keyboard.press("2")
    page.keyboard.press("r")
    page.keyboard.press("a")
    is_usable(page, "a better anchor is asked for")
    page.keyboard.press("Escape")
    page.context.set_offline(True)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=did not answer")
    is_usable(page, "the server did not answer")
    page.context.set_offline(False)
    settling = made.adjudication()
    for one in settling.open():
        settling.settle("cleo", one.id, str(uuid.uuid4()), label="neutral", reason="Both are too strong.", fault="mark")
    page.goto(server.url + "/settle")
    is_usable(page, "all is settled")
    page.click("text=Look again >> nth=0")
    page.wait_for_selector("[data-ready]")
    is_usable(page, "settled before")
    page.goto(server.url + "/")
    is_usable(page, "the start")


def test_a_settlement_whose_answer_is_lost_is_stored_once_and_a_held_key_settles_one(served: Start, browser: Any) -> None:
    made = differing()
    page = opened(browser, served(made), "cleo", "/settle")
    loses_the_first(page, "**/decide")
    page.keyboard.press("2")
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=did not answer")
    before = page.url
    page.keyboard.down("Enter")
    page.keyboard.down("Enter")  # a held key repeats
    page.wait_for_url(lambda url: url != before)
    page.wait_for_selector("[data-ready]")
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    assert len(made.adjudication().open()) == 3
    assert len(made.store.people.acts("small@1", kinds=["adjudicate"])) == 1
