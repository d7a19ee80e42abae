"""An LLM grader's answer is read exactly or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairmark.graders.labels import offered
from fairmark.graders.reading import Unreadable, confidence_of, read_answer
from fairmark.records import Answer, Failure, Item, Verdict
from fairmark.rubric import Criterion, Level

CRITERION = Criterion("good", levels=(Level("poor"), Level("fair"), Level("fine")), not_applicable=True)
DIGITS = Criterion("stars", levels=(Level("1"), Level("2"), Level("3")))
POINTS = Criterion("points", scale="interval", range=(0, 10))

READABLE = [
    ('{"reason": "r", "level": "fair"}', "fair"),
    (' \n{"level":"fair"}\n ', "fair"),
    ('{"level": "cannot tell"}', "cannot tell"),
    ('{"level": "not applicable"}', "not applicable"),
    ('{"level": "fair", "level": "fair"}', "fair"),
    ('{"level": "fair", "score": 0, "pass": false}', "fair"),
    ('{"level": "\\u0066air"}', "fair"),
    ('```json\n{"level": "fine"}\n```', "fine"),
    ('Here you are: {"evidence": ["a", "b"], "level": "poor"} Good luck.', "poor"),
    ('fine\n{"level": "fine"}', "fine"),
    ('{"reason": "it says {\\"level\\": \\"fine\\"}", "level": "poor"}', "poor"),
    ('{"reason": {"level": "fine"}, "level": "poor"}', "poor"),
    ("fair", "fair"),
    ("  fair\r\n\n", "fair"),
    ("It will do, so I say\nfair", "fair"),
    ("fair\nbecause\nfair", "fair"),
]
UNREADABLE = [
    "",
    " \n",
    "Fair",
    "fair.",
    "**fair**",
    "Level: fair",
    "fa\u200bir",
    "fair\u200b",
    "\ufefffair",
    "fаir",  # a Cyrillic letter
    "poor\nfair",
    "fair\nI am not sure",
    "fine\n\nfa\u200bir",  # the last word is hidden, so an earlier level must not count
    "the grade: f",
    '"fair"',
    '["fair"]',
    "3",
    "null",
    '{"level": "excellent"}',
    '{"level": "Fair"}',
    '{"level": " fair"}',
    '{"level": "fa\u200bir"}',
    '{"level": ["fair"]}',
    '{"level": true}',
    '{"level": null}',
    '{"level": {"level": "fair"}}',
    '{"score": 1}',
    '{"pass": true}',
    "{}",
    '{"Level": "fair"}',
    '{"level": "fair", "Level": "poor"}',
    '{"level": "fair", "ｌｅｖｅｌ": "poor"}',
    '{"level": "fair", "level": "poor"}',
    '{"level": "fair", "lev\\u0065l": "poor"}',
    '{"level": "fair"}{"level": "fair"}',
    '{"level": "fair"}\n{"level": "poor"}',
    '{"x": {"level": "fair"}',
    '{"level": "fair"',
    '{"level": "fair",',
    '{"level": NaN}',
    'poor\n{"level": "fair"}',
    '{"level": "fair"}\npoor',
    '{"reason": "the response says {"level": "fine"}", "level": "poor"}',
    '{"reason": "the response says\nfine',
    "{fair}",
    "}\nfair",
    '{"level": "fair"} }',
    "{" * 10_000,
    '{"a":' * 10_000,
    "fair" + " " * 60_000,
]


@pytest.mark.parametrize(("text", "label"), READABLE)
def test_read(text: str, label: str) -> None:
    assert read_answer(Answer(text), CRITERION).label == label


@pytest.mark.parametrize("text", UNREADABLE)
def test_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_answer(Answer(text), CRITERION)


@pytest.mark.parametrize("text", ['{"reason": "it', "It is\nfair", '{"level": "fair"'])
def test_an_answer_that_was_cut_off_says_so(text: str) -> None:
    with pytest.raises(Unreadable, match="cut off"):
        read_answer(Answer(text, finish="length"), CRITERION)


def test_a_whole_object_before_the_cut_counts() -> None:
    assert read_answer(Answer('{"level": "fair"} and', finish="length"), CRITERION).label == "fair"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"level": 2}', "2"),
        ('{"level": "2"}', "2"),
        ("2", "2"),
        ('{"level": 2.0}', None),
        ('{"level": 4}', None),
        ('{"level": true}', None),
    ],
)
def test_levels_named_by_digits(text: str, label: str | None) -> None:
    assert _label(text, DIGITS) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"level": 7.5}', "7.5"),
        ('{"level": 7.0}', "7"),
        ('{"level": "7"}', "7"),
        ("7", "7"),
        ('{"level": "cannot tell"}', "cannot tell"),
        ('{"level": 11}', None),
        ('{"level": -0.1}', None),
        ('{"level": 1e999}', None),
        ('{"level": ' + "9" * 5000 + "}", None),
        ('{"level": "1_0"}', None),
        ('{"level": "nan"}', None),
        ('{"level": true}', None),
        ("7/10", None),
    ],
)
def test_numbers(text: str, label: str | None) -> None:
    assert _label(text, POINTS) == label


def _label(text: str, criterion: Criterion) -> str | None:
    try:
        return read_answer(Answer(text), criterion).label
    except Unreadable:
        return None


WORDS = [
    "poor",
    "fair",
    "fine",
    "Fair",
    "cannot tell",
    "not applicable",
    "excellent",
    "level",
    "reason",
    "score",
    "pass",
    "true",
    "1",
    "null",
]
MARKS = ["{", "}", "[", "]", '"', ":", ",", "\\", "\n", " ", "\u200b", "\u202e", "`", "```json", "\ud800"]
FORGED = ['{"level": "fair"}', '"level": "poor"', '{"level": "fine"', '\\"level\\": \\"fine\\"']
SCRAPS = st.sampled_from([*WORDS, *MARKS, *FORGED])
TEXTS = st.lists(SCRAPS, max_size=14).map("".join)


@settings(max_examples=3000, deadline=None)
@given(TEXTS, st.sampled_from(["stop", "length", "unknown"]))
@example('{"level": "fair", "reason": "{"}', "stop")
def test_never_a_level_that_was_not_offered_nor_one_of_two(text: str, finish: Any) -> None:
    try:
        reading = read_answer(Answer(text, finish=finish), CRITERION)
    except Unreadable:
        return
    assert reading.label in offered(CRITERION)
    try:
        whole = json.loads(text, object_pairs_hook=list)
    except ValueError:
        whole = None
    if isinstance(whole, list) and whole and text.lstrip()[0] == "{":
        assert {value for key, value in whole if key == "level"} == {reading.label}
    elif "{" in text:
        begin, end = text.index("{"), text.rindex("}") + 1
        assert json.loads(text[begin:end])["level"] == reading.label
    else:
        assert text.strip(" \t\r\n").split("\n")[-1].strip(" \t\r") == reading.label
    shown = text[reading.start : reading.end]
    assert json.loads(f'"{shown}"') == reading.label


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from([*offered(CRITERION), "FAIR", "excellent", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["level", "reason", "x"]), inner, max_size=2),
    max_leaves=4,
)
MEMBERS = st.lists(st.tuples(st.sampled_from(["level", "Level", "level ", "reason", "evidence", "score", "x"]), VALUES), max_size=5)


@settings(max_examples=1500, deadline=None)
@given(MEMBERS, st.sampled_from(["", "ok ", "```json\n", "fair\n", "poor\n"]), st.sampled_from(["", " done", "\n```", "\nfair", "{}"]))
def test_objects_with_every_subset_of_members(members: list[tuple[str, Any]], before: str, after: str) -> None:
    text = before + "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in members) + "}" + after
    levels = [value for key, value in members if key == "level"]
    valid = (
        len(levels) > 0
        and all(isinstance(level, str) and level == levels[0] for level in levels)
        and levels[0] in offered(CRITERION)
        and not any(key in ("Level", "level ") for key, _ in members)
        and not any(isinstance(value, float) and not math.isfinite(value) for value in _leaves([value for _, value in members]))
        and "{" not in after
        and all(
            line.strip() in ("", levels[0]) or line.strip() not in offered(CRITERION) for line in (*before.split("\n"), *after.split("\n"))
        )
    )
    assert (_label(text, CRITERION) is not None) == valid
    if valid:
        assert _label(text, CRITERION) == levels[0]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


def tokens(*pairs: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple((text, math.log(p)) for text, p in pairs)


def test_confidence_is_the_product_over_the_tokens_of_the_label() -> None:
    text = '{"reason": "x", "level": "not applicable"}'
    parts = tokens(
        ('{"reason": ', 0.5),
        ('"x",', 0.5),
        (' "level": ', 0.9),
        ('"not', 0.8),
        (" applic", 0.5),
        ('able"', 1.0),
        ("}", 0.3),
        ("<|end|>", 0.9),
    )
    reading = read_answer(Answer(text), CRITERION)
    assert confidence_of(Answer(text, logprobs=parts), reading.start, reading.end) == pytest.approx(0.4)
    line = read_answer(Answer("because\nfair"), CRITERION)
    assert confidence_of(
        Answer("because\nfair", logprobs=tokens(("because", 0.1), ("\n", 0.1), ("fair", 0.7))), line.start, line.end
    ) == pytest.approx(0.7)


@pytest.mark.parametrize("logprobs", [None, (), (("other", -1.0),), (("fair", float("nan")),), (("fa", -1.0), ("ir", float("nan")))])
def test_no_confidence_without_tokens_that_make_up_the_answer(logprobs: Any) -> None:
    assert confidence_of(Answer("fair", logprobs=logprobs), 0, 4) is None


def test_confidence_stays_between_0_and_1() -> None:
    assert confidence_of(Answer("fair", logprobs=(("fair", float("-inf")),)), 0, 4) == 0.0
    assert confidence_of(Answer("fair", logprobs=(("fair", 0.001),)), 0, 4) == 1.0


def test_the_grader_turns_a_reading_into_a_verdict(make_llm: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    grader = make_llm()
    item = make_item("It works\n  on Mondays <|im_end|> only.")
    said = {"evidence": ["works on Mondays", "< |im_end| > only", "never said", "\ud800"], "reason": "be\ud800cause", "level": "fair"}
    verdict = grader.read(item, Answer(json.dumps(said)))
    assert isinstance(verdict, Verdict)
    assert verdict.label == "fair"
    assert verdict.reason == "be?cause"
    assert verdict.level_order == grader.level_order(item)
    assert [item.output[s.start : s.end] if s.found else None for s in verdict.evidence] == [
        "works\n  on Mondays",
        "<|im_end|> only",
        None,
        None,
    ]


def test_an_unreadable_answer_is_a_failure_that_shows_its_beginning(make_llm: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    failure = make_llm().read(make_item("x"), Answer("I would rather\nnot say" + "." * 500))
    assert isinstance(failure, Failure)
    assert failure.kind == "unreadable_grade"
    assert not failure.transient
    assert failure.why.startswith("the answer does not end in an offered level. It begins: I would rather not say..")
    assert len(failure.why) < 250
