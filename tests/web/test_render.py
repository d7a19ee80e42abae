"""Foreign text on the page: nothing runs, nothing is loaded, and no character of it is lost."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairmark.records import Message
from fairmark.web import render

VOID = {"hr"}
ALLOWED = {
    *("p", "div", "span", "strong", "em", "s", "b", "code", "pre", "hr", "ul", "ol", "li", "blockquote", "del", "ins"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "label", "select", "option"),
}


class Page(HTMLParser):
    """What stands in a piece of HTML: its elements, its attributes, and the words that are not our own."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._open: list[tuple[str, bool]] = []
        self.feed(markup)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self._open.append((tag, "extra" in (dict(attrs).get("class") or "").split()))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data: str) -> None:
        if not any(extra for _, extra in self._open):
            self.words.append(data)


def words(markup: str) -> str:
    return "".join(Page(markup).words)


PIECES = [
    *("# head", "**bold**", "*it*", "_x_", "~~no~~", "`a b`", "``a`b``", "- item", "1. one", "7) seven", "> said", ">> twice"),
    *("```json", "```", "~~~", "    code", "| a | b |", "|---|:-:|", "| 1 | \\| |", "---", "***", "===", "\n", "\n\n", "\r\n", "\r"),
    *("\t", " ", "  \n", "\\", "\\*", "&amp;", "&#x202e;", "<script>alert(1)</script>", "<img src=http://x.example/a.png onerror=f()>"),
    *("![i](http://x.example/y.png)", "[x](javascript:alert(1))", "<javascript:f()>", "http://x.example", "[a]: http://x.example"),
    *('{"a": [1, {"b": null}], "c": "x\\"y"}', "[1,2]", "<tool_call>", '{"name": "f\u202e"", "arguments": {"a": 1}}', "</tool_call>"),
    *("\u202e", "\u200b", "é", "e\u0301", "𝔘", "👩\u200d👩", "שלום", "\x00", "\ud800", "*", "_", "a"),
]
MARKDOWN = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@settings(max_examples=600, deadline=None)
@given(st.one_of(MARKDOWN, st.text(max_size=80)))
@example("1. a\n   - b\n\n     > c\n2. d")
@example("| a |\n|---|\n| **b** |\nafter")
@example("- - - a\n\n\n- b")
def test_every_character_stands_in_the_page_once_and_in_its_order(raw: str) -> None:
    shown = re.sub("[\x00\ud800-\udfff]", "\ufffd", raw)
    assert words(render.text(raw)) == shown
    assert words(render.plain(raw)) == shown


@settings(max_examples=400, deadline=None)
@given(MARKDOWN)
def test_nothing_in_it_runs_loads_or_leads_away(raw: str) -> None:
    for markup in (render.text(raw), render.field(raw), render.field([{"role": "tool", "content": raw}, {"title": raw, "text": raw}])):
        page = Page(markup)
        assert page.tags <= ALLOWED
        assert not page.attributes & {"src", "href", "style", "srcset", "id", "name"}
        assert not any(name.startswith("on") for name in page.attributes)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("**a**", "<strong>"),
        ("## a", 'class="head head-2"'),
        ("- a", "<li>"),
        ("3. a", '<span class="number">3.</span>'),
        ("`a`", "<code>a</code>"),
        ("| a |\n|---|\n| b |", "<td>"),
        ("> a", "<blockquote>"),
        ("~~a~~", "<s>"),
        ("```py\nx = 1\n```", 'aria-label="Code py"'),
        ('{"tool": "look", "args": {"a": 1}}', "Tool call: look"),
        ('Seen:\n\n<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>', "Tool call: look"),
        ("a\u202eb", 'data-name="U+202E"'),
    ],
)
def test_what_is_written_as_markdown_json_or_a_call_is_laid_out(raw: str, expected: str) -> None:
    assert expected in render.text(raw)


def test_signs_are_hidden_only_where_they_say_nothing() -> None:
    assert '<span class="syn">**</span>' in render.text("**a**")
    assert "syn" not in render.text("a < b & 2 * 3")
    assert "&amp;lt;b&amp;gt;" in render.text("&lt;b&gt;")


def test_a_long_response_comes_in_parts_that_join_without_a_gap() -> None:
    raw = "line of words\r\n" * 20_000
    first = render.response(raw)
    assert first.total == len(raw) and first.end <= render.LONG and raw[first.end - 1] == "\n"
    at, seen = 0, []
    while at < len(raw):
        part = render.response(raw, at)
        assert part.start == at
        seen.append(words(part.html))
        at = part.end
    assert "".join(seen) == raw


def test_nested_json_beyond_all_measure_stays_text() -> None:
    deep = "[" * 3000 + "]" * 3000
    assert words(render.text(deep)) == deep
    wide = "[" * 200 + "1" + "]" * 200
    assert words(render.text(wide)) == wide


def test_fields_of_a_case_are_turns_documents_calls_or_data() -> None:
    talk = render.field([Message("user", "Hi"), Message("assistant", "Yes?"), Message("tool", '{"a": 1}')])
    assert talk.count("<li") == 3 and "Result of a tool" in talk
    assert "turn-list" in render.field([Message("user", str(n)) for n in range(9)])
    documents = render.field([{"title": "Rent act", "text": "Within 30 days.", "page": 3}])
    assert "Rent act" in documents and "Within 30 days." in documents and "page" in documents
    called = render.field([{"function": {"name": "look", "arguments": '{"unit": "14B"}'}, "result": "found"}])
    assert "Tool call: <b>look</b>" in called and "Result" in called and "As it was written" in called
    assert words(render.field("x <b>")) == "x <b>"
    assert "<pre" in render.field({"a": 1})


def test_differences_carry_their_signs() -> None:
    shown = render.differences("within 30 days", "within 14 days")
    assert shown is not None
    assert '<del><span class="sign">−</span>30</del>' in shown and '<ins><span class="sign">+</span>14</ins>' in shown
    assert render.differences("a " * 10_000, "b") is None
