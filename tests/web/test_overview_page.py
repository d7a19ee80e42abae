"""The owner's page in a real browser: progress, links, stages, more to mark, receipts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairmark.study import Tuning
from fairmark.workbench import Workbench
from tests.web.conftest import PEOPLE, Served, marked_bench
from tests.web.everybody import in_every_way, is_usable, sized

pytestmark = pytest.mark.browser
Start = Callable[..., Served]


def opened(browser: Any, server: Served, path: str, **options: Any) -> Any:
    context = browser.new_context(**options)
    name, _, token = server.cookie("owner").partition("=")
    context.add_cookies([{"name": name, "value": token, "url": server.url}])
    page = context.new_page()
    page.goto(server.url + path)
    return page


def mark_all(made: Workbench) -> None:
    """ana finds everything kind, ben finds everything cold."""
    desk = made.desk()
    for person, label in (("ana", "kind"), ("ben", "cold")):
        while (one := desk.next_open(person)) is not None:
            desk.mark(person, one, str(uuid.uuid4()), criterion="tone", label=label)
            desk.mark(person, one, str(uuid.uuid4()), criterion="safe", label="yes")


def propose(made: Workbench) -> None:
    """cleo settles the first disagreement and proposes another anchor."""
    settling = made.adjudication()
    anchor = {"level": "kind", "text": "warm: says <b>when</b>"}
    settling.settle("cleo", settling.open()[0].id, str(uuid.uuid4()), label="neutral", reason="", fault="rubric", anchor=anchor)


def test_an_owner_gives_out_links_that_work_and_signs_people_out(served: Start, browser: Any) -> None:
    server = served(marked_bench())
    page = opened(browser, server, "/")
    assert page.url.endswith("/overview")
    page.click("[data-do=link][data-person=ana]")
    page.wait_for_selector("#link:not([hidden])")
    link = page.input_value("#address")
    marker = browser.new_context().new_page()
    marker.goto(link)
    marker.wait_for_url(server.url + "/")
    assert "for your marks" in marker.inner_text("h1")
    page.click("[data-do=revoke][data-person=ana]")
    page.wait_for_selector("text=ana is signed out")
    marker.goto(server.url + "/")
    assert marker.url.endswith("/enter")


def test_the_next_stage_is_opened_and_more_is_given_out(served: Start, browser: Any) -> None:
    made = marked_bench(replace(PEOPLE, share=0.5, together=1))
    server = served(made)
    page = opened(browser, server, "/overview")
    assert "marks the first case and then waits" in page.inner_text("main")
    page.click("[data-do=open]")
    page.wait_for_selector("[data-do=open]", state="detached")
    assert server.office.desk.work_is_open
    before = len(made.store.people.assignments("small@1"))
    page.fill("#share", "100")
    page.click("#draw button")
    page.wait_for_selector("text=newly given out")
    assert len(made.store.people.assignments("small@1")) > before
    page.click("#draw button")
    page.wait_for_selector("text=given out already")
    page.goto(server.url + "/receipts")
    assert "judge on Tone" in page.inner_text("main")


@in_every_way
def test_everybody_can_use_it(served: Start, browser: Any, colours: str, width: int, zoom: int) -> None:
    made = marked_bench(replace(PEOPLE, together=1))
    server = served(made)
    page = opened(browser, server, "/overview", **sized(colours, width, zoom))
    is_usable(page, "at the beginning")
    page.click("[data-do=link][data-person=ana]")
    page.wait_for_selector("#link:not([hidden])")
    is_usable(page, "a link is given out")
    page.goto(server.url + "/receipts")
    is_usable(page, "receipts without marks")
    made.desk().open_work("owner")
    mark_all(made)
    propose(made)
    page.goto(server.url + "/overview")
    assert page.locator("h3:has-text('proposes')").count() == 1
    is_usable(page, "all is marked, and an anchor is proposed")
    if width >= 640:  # what an owner presses is in view without scrolling the table
        assert page.evaluate("(table => table.scrollWidth <= table.clientWidth)(document.querySelector('.scroll'))")
    page.goto(server.url + "/receipts")
    is_usable(page, "receipts of marks")


@in_every_way
def test_everybody_can_come_in(served: Start, browser: Any, colours: str, width: int, zoom: int) -> None:
    server = served(marked_bench())
    page = browser.new_context(**sized(colours, width, zoom)).new_page()
    page.goto(server.url + "/enter")
    page.wait_for_selector("text=Open the link you were given")
    is_usable(page, "without a link")
    page.goto("about:blank")
    page.goto(f"{server.url}/enter#{'A' * 43}")
    page.wait_for_selector("text=too old")
    is_usable(page, "with a link that was used")


def test_opening_the_receipts_is_no_look_at_test_labels(served: Start) -> None:
    made = marked_bench(n=12, tuning=Tuning(train=0.2, dev=0.3))
    desk = made.desk()
    for person in ("ana", "ben"):
        while (one := desk.next_open(person)) is not None:
            for criterion, label in (("tone", "kind"), ("safe", "yes")):
                desk.mark(person, one, str(uuid.uuid4()), criterion=criterion, label=label)
    status, body, _ = served(made).get("/receipts", "owner")
    assert status == 200 and b"this page takes none" in body
    assert made.store.people.acts("small@1", kinds=["look"]) == ()
    made.calibrate()
    assert len(made.store.people.acts("small@1", kinds=["look"])) == 1  # here there is something to look at


def test_a_proposal_says_how_many_marks_it_touches(served: Start) -> None:
    made = marked_bench(replace(PEOPLE, twice=1.0), n=1)
    mark_all(made)
    propose(made)
    body = served(made).get("/overview", "owner")[1]
    assert b"voids 5 marks on tone" in body and b"<b>when" not in body


def test_several_first_cases_are_counted(served: Start) -> None:
    assert b"marks the first 2 cases and then waits" in served(marked_bench(replace(PEOPLE, together=2))).get("/overview", "owner")[1]
