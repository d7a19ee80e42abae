"""The owner's page in a real browser: progress, links, stages, more to mark, receipts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairmark.study import Tuning
from tests.web.conftest import PEOPLE, Served, marked_bench

pytestmark = pytest.mark.browser
Start = Callable[..., Served]


def opened(browser: Any, server: Served, path: str, **options: Any) -> Any:
    context = browser.new_context(**options)
    name, _, token = server.cookie("owner").partition("=")
    context.add_cookies([{"name": name, "value": token, "url": server.url}])
    page = context.new_page()
    page.goto(server.url + path)
    return page


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
    page.click("[data-do=open]")
    page.wait_for_selector("[data-do=open]", state="detached")
    assert server.office.desk.work_is_open
    before = made.store.people.count("small@1")
    page.fill("#share", "100")
    page.click("#draw button")
    page.wait_for_selector("text=newly given out")
    assert made.store.people.count("small@1") > before
    page.click("#draw button")
    page.wait_for_selector("text=given out already")
    page.goto(server.url + "/receipts")
    assert "judge on Tone" in page.inner_text("main")


@pytest.mark.parametrize("path", ["/overview", "/receipts", "/enter"])
@pytest.mark.parametrize(("colours", "width"), [("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390), ("light", 320)])
def test_everybody_can_use_it(served: Start, browser: Any, path: str, colours: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    server = served(marked_bench(replace(PEOPLE, together=1)))
    page = opened(browser, server, path, viewport={"width": width, "height": 800}, color_scheme=colours)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


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
    desk = made.desk()
    for person, label in (("ana", "kind"), ("ben", "cold")):
        while (one := desk.next_open(person)) is not None:
            desk.mark(person, one, str(uuid.uuid4()), criterion="tone", label=label)
            desk.mark(person, one, str(uuid.uuid4()), criterion="safe", label="yes")
    settling = made.adjudication()
    anchor = {"level": "kind", "text": "warm: says <b>when</b>"}
    settling.settle("cleo", settling.open()[0].id, str(uuid.uuid4()), label="neutral", reason="", fault="rubric", anchor=anchor)
    body = served(made).get("/overview", "owner")[1]
    assert b"voids 5 marks on tone" in body and b"<b>when" not in body
