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
from tests.web.everybody import in_every_way, is_usable, sized

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


def tab_to(page: Any, selector: str) -> None:
    """Goes on by Tab until the one that is meant has the focus."""
    for _ in range(60):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by Tab")


def press_and_wait(page: Any, key: str) -> None:
    """Presses a key whose step the server stores, after which the page is loaded anew."""
    with page.expect_navigation():
        page.keyboard.press(key)
    page.wait_for_selector("[data-ready]")


def sorted_notes(made: Workbench) -> list[str]:
    """The name of each card's code, in the order of the board; empty where there is none."""
    board = coding(made).board("cleo")
    names = {code.id: code.name for code in board.codes}
    return [" ".join(sorted(names[code] for code in card.codes)) for card in board.cards]


@pytest.mark.browser
def test_codes_are_merged_and_split_by_keyboard(served: Start, browser: Any) -> None:
    made = noted()
    page = opened(browser, served(made), "cleo")
    for name in ("Curt", "Rude", "Rude"):
        page.keyboard.press("j")
        page.keyboard.press("m")
        page.keyboard.type(name)
        press_and_wait(page, "Enter")
    assert sorted_notes(made)[:3] == ["Curt", "Rude", "Rude"]

    tab_to(page, "[data-name=Rude] [data-do=merge]")
    page.keyboard.press("Enter")
    page.keyboard.type("ru")  # itself
    page.keyboard.press("Enter")
    page.wait_for_selector("text=There is no other code of that name")
    assert page.evaluate("document.activeElement.matches('[data-name=Rude] [data-do=merge]')")  # one goes on from here
    page.keyboard.press("Enter")
    page.keyboard.type("cu")
    press_and_wait(page, "Enter")
    assert sorted_notes(made)[:3] == ["Curt", "Curt", "Curt"] and list(named(made)) == ["Curt"]
    press_and_wait(page, "u")
    assert sorted_notes(made)[:3] == ["Curt", "Rude", "Rude"]
    tab_to(page, "[data-name=Curt] [data-do=merge]")
    page.keyboard.press("Space")
    page.keyboard.type("rude")
    press_and_wait(page, "Enter")
    assert list(named(made)) == ["Rude"]

    tab_to(page, "[data-name=Rude] [data-do=split]")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Choose notes of “Rude” first")
    first, second, *_ = coding(made).board("cleo").cards
    page.reload()
    page.wait_for_selector("[data-ready]")
    for card in (first, second):
        tab_to(page, f"[data-note='{card.id}'] input")
        page.keyboard.press("x")
    tab_to(page, "[data-name=Rude] [data-do=split]")
    page.keyboard.press("Enter")
    page.keyboard.type("rude")  # a name that is taken
    page.keyboard.press("Enter")
    page.wait_for_selector("text=already")
    assert page.locator("input:checked").count() == 2  # what was chosen still is
    page.keyboard.press("Enter")
    page.keyboard.type("Says too little")
    press_and_wait(page, "Enter")
    assert sorted_notes(made)[:3] == ["Says too little", "Says too little", "Rude"]
    press_and_wait(page, "u")
    assert sorted_notes(made)[:3] == ["Rude", "Rude", "Rude"]


@pytest.mark.browser
@in_every_way
def test_everybody_can_use_it(served: Start, browser: Any, colours: str, width: int, zoom: int) -> None:
    made = noted()
    server = served(made)
    page = opened(browser, server, "cleo", **sized(colours, width, zoom))
    is_usable(page, "without a code")
    sorting = coding(made)
    codes = {str(uuid.uuid4()): card.id for card in sorting.board("cleo").cards[:3]}
    for number, (code, note) in enumerate(codes.items()):
        sorting.do("cleo", str(uuid.uuid4()), "create", code=code, called=f"Kind {number}", notes=[note])
        sorting.do("owner", str(uuid.uuid4()), "put", code=code, notes=[note])
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.locator("h3:has-text('A second person')").count() == 1
    is_usable(page, "two have sorted")
    page.keyboard.press("j")
    page.keyboard.press("x")
    for name, opens in (
        ("put", lambda: page.keyboard.press("m")),
        ("split", lambda: page.click("[data-name='Kind 0'] [data-do=split]")),
    ):
        opens()
        page.wait_for_selector("dialog[open]")
        page.keyboard.type("Kind 1")
        is_usable(page, f"the dialog to {name}")
        page.keyboard.press("Escape")
    for person, state in (("ana", "own notes"), ("owner", "as the owner")):
        page = browser.new_context(**sized(colours, width, zoom)).new_page()
        name, _, token = server.cookie(person).partition("=")
        page.context.add_cookies([{"name": name, "value": token, "url": server.url}])
        page.goto(server.url + "/notes")
        is_usable(page, state)
