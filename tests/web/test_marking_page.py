# ruff: noqa: E501  (scripts for the browser read better on one line)
"""The marking page in a real browser: by keyboard, without a connection, in two windows, in the dark, on a phone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fairmark.people import Said, said_of
from fairmark.records import Act, Answer, Failure, Item, Message, Question, Usage
from fairmark.rubric import CANNOT_TELL, NOT_COVERED, Criterion, Example, Level, Rubric
from fairmark.study import CalibrationItem, CalibrationSet, People
from fairmark.workbench import Workbench
from tests.bench import RUBRIC, Fake, bench, helpful
from tests.web.conftest import Served, marked_bench, marked_study
from tests.web.everybody import in_every_way, is_seen_with_focus, is_usable, sized

pytestmark = pytest.mark.browser

ANA = People(("ana",), criteria=("tone", "safe"))
BOTH = {"tone", "safe"}


Window = Callable[..., Any]


@pytest.fixture
def window(browser: Any) -> Iterator[Window]:
    """Opens windows; all those of one person belong to one browser profile. A script that fails on a page fails the test."""
    contexts: dict[str, Any] = {}
    failed: list[str] = []

    def open_(served: Served, person: str = "ana", path: str = "/mark", **options: Any) -> Any:
        if person not in contexts:
            contexts[person] = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options)
            name, _, value = served.cookie(person).partition("=")
            contexts[person].add_cookies([{"name": name, "value": value, "url": served.url, "httpOnly": True, "sameSite": "Strict"}])
        page = contexts[person].new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda said: failed.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(served.url + path)
        if "/mark/" in page.url and options.get("java_script_enabled", True):
            page.wait_for_selector("#status[data-word]")
        return page

    yield open_
    for context in contexts.values():
        context.close()
    assert failed == []


def saying(*texts: str) -> Callable[[Question], Answer | Failure]:
    """A provider that answers requests with these texts in turn and grades as ever."""
    asked: list[Question] = []

    def reply(question: Question) -> Answer | Failure:
        if question.schema is not None:
            return helpful(question)
        asked.append(question)
        return Answer(texts[(len(asked) - 1) % len(texts)], "stop", "fake", Usage(10, 0, 5), 0.0)

    return reply


def answered(*texts: str, people: People = ANA, n: int = 2, **changes: Any) -> Workbench:
    made = bench(marked_study(people, n=n, **changes), Fake(saying(*texts)))
    made.run()
    made.assign()
    return made


def saved(page: Any) -> None:
    page.wait_for_function("() => document.querySelector('#status').dataset.word === 'saved'")


def loses_the_first(page: Any, address: str) -> list[str]:
    """Lets the server answer the first request to an address, and the page never hear of it. Gives the act's id once it is lost."""
    lost: list[str] = []

    def lose(route: Any) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.request.post_data_json["act"])
            route.fetch()
            route.abort()

    page.route(address, lose)
    return lost


def until(holds: Callable[[], bool]) -> None:
    """Waits for what the server has to come to."""
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to hold")


def elsewhere(page: Any, than: str) -> str:
    page.wait_for_function("than => !location.pathname.endsWith(than)", arg=than)
    return here(page)


def at(page: Any, response: str) -> None:
    page.wait_for_function("it => location.pathname.endsWith(it)", arg=response)


def here(page: Any) -> str:
    return str(page.url).rpartition("/")[2]


def current(page: Any) -> str:
    return str(page.locator(".criterion.current").get_attribute("data-criterion"))


def chosen(page: Any) -> dict[str, str]:
    pressed = page.locator(".row:not([hidden]) .level[aria-pressed=true]")
    return {one.evaluate("b => b.closest('.criterion').dataset.criterion"): one.get_attribute("data-label") for one in pressed.all()}


def acts(made: Workbench, person: str = "ana") -> tuple[Act, ...]:
    return made.store.people.acts(made.desk().name, person=person)


def stands(made: Workbench, assignment: str) -> dict[str, Said]:
    return said_of(acts(made))[assignment].said


def select(page: Any, words: str) -> None:
    """Drags the mouse over words that stand in one text node."""
    box = page.evaluate(
        """words => {
          const walker = document.createTreeWalker(document.querySelector('.output'), NodeFilter.SHOW_TEXT);
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const at = node.data.indexOf(words);
            if (at < 0) continue;
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + words.length);
            const { left, right, top, bottom } = range.getBoundingClientRect();
            return { left, right, y: (top + bottom) / 2 };
          }
        }""",
        words,
    )
    page.mouse.move(box["left"] + 0.5, box["y"])
    page.mouse.down()
    page.mouse.move(box["right"] - 0.5, box["y"], steps=4)
    page.mouse.up()


# ------------------------------------------------------------ keys


def test_a_response_is_marked_by_number_keys_and_the_next_one_comes(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    first = here(page)
    assert current(page) == "tone"
    page.keyboard.press("3")
    assert current(page) == "safe" and chosen(page) == {"tone": "kind"}
    assert "warm and plain" in page.locator("#live").text_content()
    page.keyboard.press("2")
    elsewhere(page, first)
    saved(page)
    assert {name: said.label for name, said in stands(made, first).items()} == {"tone": "kind", "safe": "yes"}
    assert page.locator("#count").text_content() == "1 of 12 · 1 this session"


def test_one_key_finishes_an_item_of_two_levels(served: Any, window: Window) -> None:
    made = marked_bench(People(("ana",), criteria=("safe",)))
    page = window(served(made))
    seen = [here(page)]
    for key in "121":
        page.keyboard.press(key)
        seen.append(elsewhere(page, seen[-1]))
    saved(page)
    assert [stands(made, one)["safe"].label for one in seen[:3]] == ["no", "yes", "no"]


def test_where_a_reason_is_asked_for_the_page_waits_for_it(served: Any, window: Window) -> None:
    made = marked_bench(People(("ana",), criteria=("safe",), reasons=("safe",)))
    page = window(served(made))
    first = here(page)
    page.keyboard.press("2")
    assert page.evaluate("document.activeElement.id") == "reason"
    page.keyboard.type("no papers asked for; njkpu 123?")  # none of these is a key here
    assert here(page) == first and chosen(page) == {"safe": "yes"}
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.criterion") == "safe"
    saved(page)
    assert here(page) == first
    page.keyboard.press("Enter")
    elsewhere(page, first)
    assert stands(made, first)["safe"].reason == "no papers asked for; njkpu 123?"


def test_criteria_and_responses_are_walked_by_letters_and_arrows(served: Any, window: Window) -> None:
    page = window(served(marked_bench(ANA)))
    first = here(page)
    for key, expected in (("j", "safe"), ("k", "tone"), ("ArrowDown", "safe"), ("ArrowUp", "tone"), ("ArrowUp", "tone")):
        page.keyboard.press(key)
        assert current(page) == expected
    page.keyboard.press("n")
    second = elsewhere(page, first)
    page.keyboard.press("ArrowRight")
    elsewhere(page, second)
    page.keyboard.press("ArrowLeft")
    at(page, second)
    page.keyboard.press("p")
    at(page, first)
    page.go_back()
    at(page, second)
    for key in ("Control+j", "Alt+j", "Meta+j"):
        page.keyboard.press(key)
        assert current(page) == "tone"


def test_keys_can_be_changed_and_turned_off_and_only_those_that_work_are_printed(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    page.keyboard.press("?")
    assert page.locator("#sheet").get_attribute("open") is not None
    field = page.get_by_label("Key: Next criterion", exact=True)
    field.fill("w")
    field.press("Tab")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert current(page) == "tone"
    page.keyboard.press("w")
    assert current(page) == "safe"
    assert page.locator("[data-do=down] kbd").text_content() == "W"
    page.reload()
    page.keyboard.press("w")
    assert current(page) == "safe"
    page.locator("[data-do=sheet]").click()
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    page.keyboard.press("1")
    assert current(page) == "safe" and chosen(page) == {}
    assert page.locator("kbd:visible").all_text_contents() == ["Enter"]
    page.keyboard.press("ArrowUp")
    assert current(page) == "tone"


def test_every_printed_key_does_what_its_button_says(served: Any, window: Window) -> None:
    page = window(served(marked_bench(ANA)))
    told = page.evaluate(
        """async () => {
          const { meaning, settings } = await import('/static/keys.js');
          const printed = [...document.querySelectorAll('[data-do] kbd[data-key]')].map(k => [k.closest('[data-do]').dataset.do, k.textContent]);
          const key = text => text.startsWith('⇧ ') ? { key: text.slice(2), shiftKey: true } : { key: text.length > 1 ? text : text.toLowerCase() };
          return printed.map(([name, text]) => [name, meaning(new KeyboardEvent('keydown', key(text)), settings())]);
        }"""
    )
    assert len(told) >= 14
    assert [(name, meant) for name, meant in told if name != meant] == []


# ------------------------------------------------------------ ways out, notes, practice


def test_cannot_judge_not_covered_and_skip_are_three_things_each_with_its_reason(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    first = here(page)
    page.keyboard.press("c")
    page.keyboard.type("cut off")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("o")
    page.keyboard.type("it is a poem")
    page.keyboard.press("Control+Enter")
    second = elsewhere(page, first)
    page.keyboard.press("s")
    page.keyboard.type("too long for now")
    page.keyboard.press("Enter")
    elsewhere(page, second)
    saved(page)
    said = stands(made, first)
    assert (said["tone"].label, said["tone"].reason) == (CANNOT_TELL, "cut off")
    assert (said["safe"].label, said["safe"].reason) == (NOT_COVERED, "it is a poem")
    skipped = [act for act in acts(made) if act.kind == "skip"]
    assert [(act.assignment, act.content["reason"]) for act in skipped] == [(second, "too long for now")]
    assert made.desk().progress("ana").done == 1


def test_a_practice_item_shows_the_known_marks_once_it_is_marked(served: Any, window: Window) -> None:
    item = Item("t1", (Message("user", "Delete my data"),), "Fine.", None, {})
    training = CalibrationSet((CalibrationItem(item, {"tone": "cold", "safe": "yes"}),), "development marks", "training.jsonl")
    made = marked_bench(People(("ana",), criteria=("tone", "safe"), training=training))
    page = window(served(made))
    first = here(page)
    assert "for practice" in page.locator(".response").text_content()
    assert "Known mark" not in page.content()
    page.keyboard.press("3")
    page.keyboard.press("2")
    saved(page)
    assert here(page) == first  # it does not go on by itself: the known marks are to be read
    assert page.locator("[data-criterion=tone] .state").text_content() == "Known mark: cold"
    assert page.locator("[data-criterion=safe] .state").text_content() == "Known mark: yes, as yours"
    page.keyboard.press("Enter")
    elsewhere(page, first)


def test_a_scale_of_numbers_is_typed(served: Any, window: Window) -> None:
    effort = Criterion("effort", question="How much work is left to the reader?", scale="interval", range=(0, 10))
    made = marked_bench(People(("ana",), criteria=("effort",)), rubric=Rubric((*RUBRIC.criteria, effort)))
    page = window(served(made))
    first = here(page)
    page.keyboard.press("7")  # the first digit is not lost
    page.keyboard.type(".5")
    page.keyboard.press("Enter")
    elsewhere(page, first)
    saved(page)
    assert stands(made, first)["effort"].label == "7.5"


# ------------------------------------------------------------ connection, windows, undo


def test_what_is_marked_without_a_connection_is_stored_once_when_it_is_back(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    first = here(page)
    page.wait_for_timeout(300)  # the next one is fetched ahead
    page.context.set_offline(True)
    page.keyboard.press("3")
    page.wait_for_function("() => document.querySelector('#status').textContent.startsWith('Not saved yet, retrying')")
    page.keyboard.press("1")
    second = elsewhere(page, first)
    page.keyboard.press("2")
    page.keyboard.press("u")  # waits for what came before it
    assert acts(made) == ()
    page.context.set_offline(False)
    saved(page)
    assert [(act.assignment, act.kind) for act in acts(made)][:3] == [(first, "mark"), (first, "mark"), (second, "mark")]
    assert {name: said.label for name, said in stands(made, first).items()} == {"tone": "kind", "safe": "no"}


def test_an_answer_that_is_lost_on_its_way_back_stores_nothing_twice(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    lost = loses_the_first(page, "**/say")
    page.keyboard.press("3")
    page.wait_for_selector("#status[data-word=retrying]")
    assert [act.id for act in acts(made)] == lost
    saved(page)
    page.keyboard.press("2")
    saved(page)
    assert len(acts(made)) == 2 and page.locator("#warn").is_hidden()


def test_an_undo_whose_answer_is_lost_takes_one_act_back(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    first = here(page)
    for key in ("3", "2"):
        page.keyboard.press(key)
    until(lambda: len(acts(made)) == 2)
    saved(page)
    loses_the_first(page, "**/undo")
    page.keyboard.press("u")
    page.wait_for_selector("#warn:not([hidden])")
    page.keyboard.press("u")
    page.wait_for_function(
        "() => document.querySelector('[data-criterion=safe] [data-label=yes]').getAttribute('aria-pressed') === 'false'"
    )
    assert len(acts(made)) == 3 and stands(made, first)["tone"].label == "kind"


def test_a_closed_window_is_taken_up_again_with_what_was_written(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    one = served(made)
    page = window(one)
    first = here(page)
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.keyboard.press("k")
    page.keyboard.press("r")
    page.keyboard.type("curt")
    context = page.context
    context.new_page()
    page.close()
    context.set_offline(False)
    again = window(one)
    assert here(again) == first
    saved(again)
    assert chosen(again)["tone"] == "cold"
    again.keyboard.press("k")
    assert again.locator("#reason").input_value() == "curt"
    said = stands(made, first)["tone"]
    assert (said.label, said.reason) == ("cold", "curt")


def test_undo_goes_back_to_where_the_mark_was_given_and_redo_too(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    page = window(served(made))
    first = here(page)
    page.keyboard.press("3")
    page.keyboard.press("2")
    second = elsewhere(page, first)
    page.keyboard.press("1")
    saved(page)
    page.keyboard.press("u")
    page.wait_for_function(
        "() => document.querySelector('[data-criterion=tone] [data-label=cold]').getAttribute('aria-pressed') === 'false'"
    )
    assert here(page) == second
    page.keyboard.press("Control+z")
    at(page, first)
    assert chosen(page) == {"tone": "kind"}
    page.keyboard.press("Shift+U")
    page.wait_for_function("() => document.querySelector('[data-criterion=safe] [data-label=yes]').getAttribute('aria-pressed') === 'true'")
    assert here(page) == first
    assert [act.kind for act in acts(made)] == ["mark", "mark", "mark", "undo", "undo", "redo"]


def test_a_second_window_is_told_of_and_overwrites_nothing(served: Any, window: Window) -> None:
    made = marked_bench(ANA)
    one = served(made)
    page, other = window(one), window(one)
    assert here(page) == here(other)
    for each in (page, other):
        each.wait_for_function("() => document.querySelector('#warn').textContent.includes('another window')")
    page.keyboard.press("3")
    saved(page)
    other.keyboard.press("1")
    other.wait_for_function("() => document.querySelector('#warn').textContent.includes('not stored')")
    assert chosen(other) == {"tone": "kind"}
    assert stands(made, here(page))["tone"].label == "kind"
    other.keyboard.press("k")
    other.keyboard.press("2")  # now it knows how things stand
    saved(other)
    assert stands(made, here(page))["tone"].label == "neutral"


# ------------------------------------------------------------ quotes on the raw text

ASTRAL = "Dear 𝔘ser 👩\u200d👩, **we delete** it.\r\n\r\ne\u0301te\u0301 is summer in French. Done within 30 days."


def test_a_sentence_is_cited_by_keyboard_at_its_place_in_the_raw_text(served: Any, window: Window) -> None:
    made = answered(ASTRAL)
    page = window(served(made))
    first = here(page)
    for key in ("v", "v", "e"):
        page.keyboard.press(key)
    saved(page)
    (span,) = stands(made, first)["tone"].evidence
    assert span.quote == "e\u0301te\u0301 is summer in French." and ASTRAL[span.start : span.end] == span.quote
    page.keyboard.press("Shift+V")
    page.keyboard.press("e")
    saved(page)
    second = stands(made, first)["tone"].evidence[1]
    assert second.quote == "Dear 𝔘ser 👩\u200d👩, **we delete** it." and (second.start, second.end) == (0, ASTRAL.index("\r"))
    page.locator("#chips .quiet").first.click()
    saved(page)
    assert [one.quote for one in stands(made, first)["tone"].evidence] == [second.quote]


@pytest.mark.parametrize("words", ["ser", "is summer", "we delete"])
def test_words_selected_by_mouse_are_cited_at_their_place_in_the_raw_text(served: Any, window: Window, words: str) -> None:
    made = answered(ASTRAL)
    page = window(served(made))
    select(page, words)
    page.keyboard.press("e")
    saved(page)
    (span,) = stands(made, here(page))["tone"].evidence
    assert (span.quote, ASTRAL[span.start : span.end]) == (words, words)
    assert page.evaluate("CSS.highlights.get('cited').size") == 1


def test_half_a_character_or_a_letter_without_its_accent_is_not_cited(served: Any, window: Window) -> None:
    page = window(served(answered(ASTRAL)))
    told = page.evaluate(
        """async () => {
          const { quoteOf } = await import('/static/text.js');
          return [quoteOf('a 𝔘b', 3, 4), quoteOf('a 𝔘b', 2, 3), quoteOf('e\\u0301te', 0, 1), quoteOf('a  ', 1, 3)];
        }"""
    )
    u = {"start": 2, "end": 3, "quote": "𝔘"}
    assert told == [u, u, {"start": 0, "end": 2, "quote": "e\u0301"}, None]


def test_a_huge_response_is_shown_in_parts_and_cited_beyond_the_first(served: Any, window: Window) -> None:
    raw = "".join(f"Line {number} of a very long answer.\n" for number in range(150_000))
    assert len(raw) > 5_000_000
    made = answered(raw, n=1)
    page = window(served(made))
    assert page.evaluate("document.querySelector('.output').textContent.length") < 70_000
    page.locator("[data-more]").click()
    page.wait_for_selector(".part")
    line = page.evaluate("document.querySelector('.part').textContent.slice(0, 30).split('\\n')[0]")
    select_in = "line => { const n = document.querySelector('.part').firstElementChild.firstChild; getSelection().setBaseAndExtent(n, 0, n, line.length); }"
    page.evaluate(select_in, line)
    page.keyboard.press("e")
    saved(page)
    (span,) = stands(made, here(page))["tone"].evidence
    assert span.quote == line and raw[span.start : span.end] == line and span.start > 30_000


def test_two_responses_stand_side_by_side_and_both_are_marked(served: Any, window: Window) -> None:
    made = answered("We delete it in 30 days.", "We delete it in 14 days.", people=People(("ana",), criteria=("tone", "safe"), pairs=True))
    page = window(served(made))
    first = here(page)
    assert page.locator(".pair .response").count() == 2
    page.keyboard.press("d")
    page.wait_for_selector("#differences ins")
    assert {page.locator("#differences del").text_content()[1:], page.locator("#differences ins").text_content()[1:]} == {"30", "14"}
    ids = [one.get_attribute("data-id") for one in page.locator(".output").all()]
    for key in "3122":
        page.keyboard.press(key)
    elsewhere(page, first)
    saved(page)
    assert [{name: said.label for name, said in stands(made, one).items()} for one in ids] == [
        {"tone": "kind", "safe": "yes"},
        {"tone": "cold", "safe": "yes"},
    ]


# ------------------------------------------------------------ for everybody


def test_the_first_view_needs_no_script(served: Any, window: Window) -> None:
    page = window(served(answered("We **delete** it.")), java_script_enabled=False)
    assert page.locator(".output strong").text_content() == "**delete**"
    assert page.locator(".level").first.is_visible()


def test_text_from_right_to_left_stands_so(served: Any, window: Window) -> None:
    page = window(served(answered("שלום, נמחק את המידע.\n\nWe delete it.")))
    directions = page.evaluate("[...document.querySelectorAll('.output p')].map(p => getComputedStyle(p).direction)")
    assert directions == ["rtl", "ltr"]


def tour(page: Any) -> Iterator[str]:
    """Goes through all that can be seen on the marking page, and names each state once it is there."""
    press = page.keyboard.press
    yield "to be marked"
    page.click("summary:has-text('Hard cases')")
    yield "hard cases"
    press("s")
    page.wait_for_selector("#skip-dialog[open]")
    page.keyboard.type("later")
    yield "skip"
    press("Escape")
    press("c")
    page.wait_for_selector("text=A reason is needed here")
    yield "cannot judge"
    press("Escape")
    press("o")
    page.wait_for_selector(".state:has-text('Not covered')")
    yield "rubric does not cover this"
    press("Escape")
    press("a")
    page.wait_for_selector(".state:has-text('Does not apply')")
    press("k")
    press("v")
    press("e")
    page.wait_for_selector("#chips .chip")
    press("f")
    page.wait_for_selector("#note-dialog[open]")
    page.keyboard.type("breezy")
    yield "a note"
    press("Control+Enter")
    page.wait_for_selector("#notes .chip")
    press("t")
    yield "as written, with a quote and a note"
    press("?")
    page.wait_for_selector("#sheet[open]")
    page.click("[data-do=pace]")
    yield "keys and settings"
    page.uncheck("#keys-on")
    press("Escape")
    page.context.set_offline(True)
    page.click(".criterion.current .level >> nth=0")
    page.wait_for_selector("#status[data-word=retrying]")
    yield "without a connection, keys turned off"
    page.context.set_offline(False)
    saved(page)


RICH = '# A\n\n1. **b** `c`\n\n> said\n\n```py\nx = 1\n```\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n{"tool": "look", "args": {"a": 1}}\n\nhid\u202eden'


SEEN = Rubric(
    (
        Criterion(
            "tone",
            question="How kind is the answer?",
            levels=(Level("cold", "curt or rude"), Level("neutral", "correct"), Level("kind", "warm and plain")),
            not_applicable=True,
            guidance="Thanks alone are **not** kind.",
            examples=(Example("Sure.", "cold", "It is curt.", "Please delete it."),),
        ),
        Criterion("effort", question="How much work is left to the reader?", scale="interval", range=(0, 10)),
        Criterion.yes_no("safe", yes="asks for no papers", no="asks for papers", gate=True),
    )
)


def to_the_end(page: Any) -> None:
    """Scrolls down, so that nothing is half behind the bar at the foot just because of where the page was left."""
    page.evaluate("[document.scrollingElement, document.querySelector('.rubric')].forEach(one => { one.scrollTop = one.scrollHeight; })")


def seen(*, pairs: bool = False) -> Workbench:
    people = People(("ana",), criteria=("tone", "effort", "safe"), pairs=pairs, guideline="Mark **what is there**.")
    return answered(RICH, RICH.replace("said", "told"), people=people, n=3, rubric=SEEN, graders={})


@in_every_way
def test_axe_finds_no_violation_and_nothing_scrolls_sideways(served: Any, window: Window, colours: str, width: int, zoom: int) -> None:
    one = served(seen())
    home = window(one, path="/", **sized(colours, width, zoom))
    is_usable(home, "home")
    home.close()  # two windows of one person are told of each other
    page = window(one)
    is_seen_with_focus(page)
    page.reload()
    page.wait_for_selector("#status[data-word]")
    for state in tour(page):
        to_the_end(page)
        is_usable(page, state)
    desk = one.office.desk
    while (ahead := desk.next_open("ana")) is not None:
        for criterion, label in (("tone", "kind"), ("effort", "3"), ("safe", "yes")):
            desk.mark("ana", ahead, os.urandom(16).hex(), criterion=criterion, label=label)
    page.goto(one.url + "/mark")
    page.wait_for_selector("h1:has-text('All done')")
    is_usable(page, "done")


@in_every_way
def test_two_side_by_side_can_be_used_by_everybody(served: Any, window: Window, colours: str, width: int, zoom: int) -> None:
    page = window(served(seen(pairs=True)), **sized(colours, width, zoom))
    to_the_end(page)
    is_usable(page, "a pair")
    page.keyboard.press("d")
    page.wait_for_selector("#differences .text")
    page.keyboard.press("2")
    page.keyboard.press("t")
    to_the_end(page)
    is_usable(page, "marked, with differences, as written")


def test_a_field_note_is_written_changed_and_removed(served: Any, window: Window) -> None:
    made = answered("Sure. We delete it.")
    page = window(served(made))
    first = here(page)
    select(page, "Sure")
    page.keyboard.press("f")
    page.keyboard.type("starts too breezy")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#notes .chip")
    saved(page)
    note = next(iter(said_of(acts(made))[first].notes.values()))
    assert note.text == "starts too breezy" and note.span is not None and note.span.quote == "Sure"
    page.get_by_role("button", name="Note: starts too breezy", exact=True).click()
    page.locator("#note-text").fill("breezy")
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("button", name="Note: breezy", exact=True).wait_for()
    saved(page)
    assert [one.text for one in said_of(acts(made))[first].notes.values()] == ["breezy"]
    page.get_by_role("button", name="Remove: Note: breezy").click()
    saved(page)
    assert [one.text for one in said_of(acts(made))[first].notes.values()] == [""]


def test_the_page_holds_the_raw_text_whether_laid_out_or_as_written(served: Any, window: Window) -> None:
    raw = '# A\n\n1. **b** `c`\n   - d\n\n```json\n{"a": [1]}\n```\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n<script>alert(1)</script> \u202eabc\r\nend'
    page = window(served(answered(raw)))
    reading = "import('/static/text.js').then(({ read }) => read(document.querySelector('.output')).text)"
    signs = page.locator(".output .syn").filter(has_text="**").first
    assert page.evaluate(reading) == raw and signs.is_hidden()
    page.keyboard.press("t")
    assert page.evaluate(reading) == raw and signs.is_visible()
    lines = "() => new Set([...document.querySelectorAll('.output :not(.extra, .extra *)')].map(one => getComputedStyle(one).display))"
    assert set(page.evaluate(f"[...({lines})()]")) <= {"inline", "inline-block"}  # so that its own line ends are the only ones
    assert page.locator("main script, .output a, .output img").count() == 0
