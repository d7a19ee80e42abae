"""The marking page in a real browser: by keyboard, without a connection, in two windows, in the dark, on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.bench import RUBRIC, Fake, bench, helpful
from tests.web.conftest import Served, marked_bench, marked_study

from fairmark.people import said_of
from fairmark.people.marks import Said
from fairmark.records import Act, Answer, Failure, Message, Question, Usage
from fairmark.rubric import CANNOT_TELL, NOT_COVERED, Rubric
from fairmark.study import CalibrationItem, CalibrationSet, People
from fairmark.records import Item
from fairmark.workbench import Workbench

pytestmark = pytest.mark.browser

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
ANA = People(("ana",), criteria=("tone", "safe"))
ASTRAL = "Dear 𝔘ser, we delete it. e\u0301te\u0301 is summer in French. **Done** within 30 days."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("FAIRMARK_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: name one in FAIRMARK_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield started
        started.close()


@pytest.fixture
def window(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens windows of one person; each is of the same browser profile unless it says otherwise."""
    contexts: dict[str, Any] = {}

    def open_(served: Served, person: str = "ana", path: str = "/mark", **options: Any) -> Any:
        if person not in contexts:
            contexts[person] = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options)
            name, _, value = served.cookie(person).partition("=")
            contexts[person].add_cookies([{"name": name, "value": value, "url": served.url, "httpOnly": True, "sameSite": "Strict"}])
        page = contexts[person].new_page()
        page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
        page.goto(served.url + path)
        if "/mark/" in page.url:
            page.wait_for_selector("#status[data-word=saved]")
        return page

    yield open_
    for context in contexts.values():
        context.close()


def saying(text: str) -> Callable[[Question], Answer | Failure]:
    """A provider that answers every request with this text and grades as ever."""

    def reply(question: Question) -> Answer | Failure:
        return helpful(question) if question.schema is not None else Answer(text, "stop", "fake", Usage(10, 0, 5), 0.0)

    return reply


def answered(text: str, people: People = ANA, *, n: int = 2, **changes: Any) -> Workbench:
    made = bench(marked_study(people, n=n, **changes), Fake(saying(text)))
    made.run()
    made.assign()
    return made


def saved(page: Any) -> None:
    page.wait_for_function("document.querySelector('#status').textContent === 'Saved' && !localStorage.length || "
                           "document.querySelector('#status').textContent === 'Saved' && ![...Object.keys(localStorage)].some(k => k.includes(':act:'))")


def acts(made: Workbench, person: str = "ana") -> tuple[Act, ...]:
    return made.store.people.acts(made.desk().name, person=person)


def stands(made: Workbench, assignment: str, criterion: str) -> Said:
    return said_of(acts(made))[assignment].said[criterion]


def here(page: Any) -> str:
    return str(page.url).rpartition("/")[2]


def current(page: Any) -> str:
    return str(page.locator(".criterion.current").get_attribute("data-criterion"))


def test_a_response_is_marked_by_number_keys_and_the_next_one_comes(served: Any, window: Any) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    first = here(page)
    assert current(page) == "tone"
    page.keyboard.press("3")
    assert current(page) == "safe"
    assert page.locator('[data-criterion=tone] [data-label=kind]').get_attribute("aria-pressed") == "true"
    assert "warm and plain" in page.locator("#live").text_content()
    page.keyboard.press("2")
    page.wait_for_function(f"!location.pathname.endsWith('{first}')")
    saved(page)
    assert (stands(made, first, "tone").label, stands(made, first, "safe").label) == ("kind", "yes")
    assert page.locator("#count").text_content() == "1 of 12 · 1 this session"
