"""Nothing that a model, a person or a file says becomes markup, a link or an invisible trick."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report import fixture

from fairmark import report
from fairmark.report.text import json_text, markdown, visible
from fairmark.results import Estimate
from fairmark.rubric import Criterion

PAYLOADS = (
    "<script>alert('xss')</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><svg onload=alert(1)>",
    "</style></title></textarea><iframe src=javascript:alert(1)>",
    "<!--<a href='https://evil.example'>click</a>-->",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1) https://evil.example/?x=1&y=2",
    "&lt;b&gt; &#x3c;script&#x3e;",
    "\u202ereversed\u202c \u200bzero\ufeff width \x00 \x1b[31m \ud800 \u2028",
)
STRUCTURAL = {  # names that the program itself gives; their values come from closed sets
    "kind",
    "verdict",
    "scorer",
    "calibration",
    "scale",
    "finish",
    "on",
}


def poisoned(value: Any, payload: str) -> Any:
    """The same records with the payload in every text that comes from outside."""
    if isinstance(value, Estimate):
        changed = {"estimand": payload, "method": payload, "assumptions": (payload,), "warnings": (payload,)}
        return replace(value, **changed, refused=poisoned(value.refused, payload))
    if isinstance(value, Criterion):
        levels = tuple(replace(level, anchor=payload) for level in value.levels)
        return replace(value, question=payload, guidance=payload, levels=levels)
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.init and f.name not in STRUCTURAL]
        return replace(value, **{name: poisoned(getattr(value, name), payload) for name in names})
    if isinstance(value, str):
        return payload
    if isinstance(value, dict):
        return {f"{payload}{number}": poisoned(item, payload) for number, item in enumerate(value.values())}
    if isinstance(value, tuple):
        return tuple(poisoned(item, payload) for item in value)
    return value


class Page(HTMLParser):
    """All elements and attributes of a page, and the text of its data block."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.targets: set[str] = set()
        self.policy = ""
        self.data = ""
        self._in_data = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = self.elements.get(tag, 0) + 1
        found = dict(attrs)
        self.attributes |= set(found)
        self.targets |= {str(found[name]) for name in ("href", "src", "action", "data", "srcset", "xlink:href") if name in found}
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(found["content"])
        self._in_data = tag == "script"
        if tag == "script":
            assert found.get("type") == "application/json"

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_element_and_no_attribute_comes_from_foreign_text(payload: str) -> None:
    """The page made of payloads has the elements and attributes of a page made of a plain word, no more."""
    wanted = read(report.render(poisoned(fixture.analysis(), "word"), poisoned(fixture.exhibits(6), "word"), format="html"))
    html = report.render(poisoned(fixture.analysis(), payload), poisoned(fixture.exhibits(6), payload), format="html")
    page = read(html)
    assert page.elements.get("script") == 1
    assert set(page.elements) - {"span", "mark", "sup"} == set(wanted.elements) - {"span", "mark", "sup"}
    for tag in ("a", "li", "td", "th", "p", "details", "svg", "style", "meta", "title", "bdi"):
        assert page.elements[tag] == wanted.elements[tag], tag
    assert page.attributes == wanted.attributes
    assert all(target.startswith("#") for target in page.targets)
    html.encode("utf-8")
    assert json.loads(page.data)["analysis" if "analysis" in page.data[:12] else "study"] == payload


def test_the_page_may_load_and_run_nothing() -> None:
    page = read(report.render(fixture.analysis(), fixture.exhibits(6), format="html"))
    assert page.policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert not {name for name in page.attributes if name.startswith("on")}
    assert not set(page.elements) & {"img", "iframe", "object", "embed", "link", "form", "base", "video", "audio"}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_notebook_fragment_is_escaped_too(payload: str) -> None:
    fragment = read(report.html_fragment(poisoned(fixture.analysis(), payload)))
    wanted = read(report.html_fragment(poisoned(fixture.analysis(), "word")))
    assert fragment.elements == wanted.elements
    assert fragment.attributes == wanted.attributes


def test_fragment_styles_touch_only_the_fragment() -> None:
    html = report.html_fragment(fixture.analysis())
    css = html[html.index("<style>") + 7 : html.index("</style>")].replace("@media (prefers-color-scheme:dark){", "")
    selectors = [part for rule in css.split("}") if "{" in rule for part in rule.split("{")[0].strip().split(",")]
    assert selectors
    assert [s for s in selectors if not s.strip().startswith(".fm")] == []


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_holds_no_html_link_or_mention_outside_code(payload: str) -> None:
    text = report.render(poisoned(fixture.analysis(), payload), poisoned(fixture.exhibits(4), payload), format="md")
    text.encode("utf-8")
    open_text, fenced = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            open_text.append(line)
    assert not fenced
    for line in open_text:
        outside = "".join(part for place, part in enumerate(line.split("`")) if place % 2 == 0)
        assert "<" not in outside.replace("\\<", "")
        assert "://" not in outside


def test_a_mention_and_an_address_become_code_in_markdown() -> None:
    assert markdown("ask @everyone about https://evil.example") == "`ask @everyone about https://evil.example`"
    assert markdown("a ` b @c") == "``a ` b @c``"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\u202eb", "a[U+202E]b"),
        ("pay\u200bpal", "pay[U+200B]pal"),
        ("hidden\U000e0041tag", "hidden[U+E0041]tag"),
        ("a\u200db", "a[U+200D]b"),
        ("x\ufe0f", "x[U+FE0F]"),
        ("lone \ud800", "lone [U+D800]"),
        ("bell\x07", "bell[U+0007]"),
        ("line\r\nbreak", "line\nbreak"),
    ],
)
def test_what_a_reader_would_not_see_is_spelled_out(raw: str, shown: str) -> None:
    assert visible(raw) == shown


@pytest.mark.parametrize("text", ["👩\u200d🚀", "❤\ufe0f", "می\u200cخواهم", "क्\u200dष", "naïve ñ 漢字 עברית", "3\ufe0f\u20e3"])
def test_writing_that_needs_joiners_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(st.text(st.characters(), max_size=60))
def test_json_in_a_page_reads_back_and_cannot_close_its_element(text: str) -> None:
    embedded = json_text({"k": text}, in_html=True)
    assert json.loads(embedded) == {"k": text}
    assert not set(embedded) & set("<>&\u2028\u2029\u202e\u200b")
    embedded.encode("utf-8")


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_everything_visible_can_be_written_as_utf8(text: str) -> None:
    visible(text).encode("utf-8")
    assert visible(visible(text)) == visible(text)


def test_json_refuses_what_json_does_not_know() -> None:
    with pytest.raises(ValueError):
        json_text({"k": float("nan")})
