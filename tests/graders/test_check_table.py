"""Every check by hand: what passes, what fails, why, and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairmark.graders import CHECKS
from fairmark.records import Failure, Grader, Item, Verdict

Label = Callable[..., str]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "id": {"type": "string", "pattern": "^[a-z]+$"}}, "required": ["n"]}

TABLE: list[tuple[str, Any, dict[str, Any], str, bool]] = [
    # kind, value, options, response, passes
    ("exact", "Yes", {}, " Yes\n", True),
    ("exact", "Yes", {}, "yes", False),
    ("exact", "Yes", {"ignore_case": True}, "YES", True),
    ("exact", "STRASSE", {"ignore_case": True}, "straße", True),
    ("exact", "Yes", {"strip": False}, "Yes ", False),
    ("exact", "a b", {"ignore_space": True}, "a \n  b", True),
    ("exact", "a b", {}, "a  b", False),
    ("one_of", ["yes", "no"], {}, "no", True),
    ("one_of", ["yes", "no"], {}, "No", False),
    ("one_of", ["yes", "no"], {"ignore_case": True}, "No\n", True),
    ("contains", "30 days", {}, "within 30 days.", True),
    ("contains", "30 Days", {}, "within 30 days.", False),
    ("contains", "30 Days", {"ignore_case": True}, "within 30 days.", True),
    ("contains", ["a", "b"], {}, "only a", False),
    ("contains", ["a", "b"], {"match": "any"}, "only a", True),
    ("contains", ["cat"], {"whole_words": True}, "concatenate", False),
    ("contains", ["cat"], {"whole_words": True}, "a cat.", True),
    ("contains", ["c++"], {"whole_words": True}, "I like c++ a lot", True),
    ("contains", ["password", "token"], {"absent": True}, "your token", False),
    ("contains", ["password", "token"], {"absent": True}, "all fine", True),
    ("contains", "a.c", {}, "abc", False),
    ("starts_with", "Dear", {}, "\n Dear Ana", True),
    ("starts_with", "Dear", {"strip": False}, " Dear Ana", False),
    ("starts_with", ["Dear", "Hello"], {"ignore_case": True}, "hello", True),
    ("starts_with", ["Dear", "Hello"], {}, "Oh, Hello", False),
    ("ends_with", "regards", {}, "Best regards ", True),
    ("ends_with", "Regards", {"ignore_case": True}, "best regards", True),
    ("ends_with", "regards", {}, "regards, Ana", False),
    ("regex", r"\d{2} days", {}, "in 30 days", True),
    ("regex", r"\d{2} days", {"full": True}, "in 30 days", False),
    ("regex", r"in \d{2} days", {"full": True}, "in 30 days", True),
    ("regex", "DAYS", {"ignore_case": True}, "30 days", True),
    ("regex", "^b$", {}, "a\nb", False),
    ("regex", "^b$", {"multiline": True}, "a\nb", True),
    ("regex", "a.b", {}, "a\nb", False),
    ("regex", "a.b", {"dotall": True}, "a\nb", True),
    ("regex", "sorry", {"absent": True}, "so sorry", False),
    ("regex", "sorry", {"absent": True}, "no regrets", True),
    ("json_valid", None, {}, ' {"a": [1, 2.5e3, null]} ', True),
    ("json_valid", None, {}, "{'a': 1}", False),
    ("json_valid", None, {}, '{"a": NaN}', False),
    ("json_valid", None, {}, '{"a": 1} and more', False),
    ("json_valid", None, {}, "", False),
    ("json_valid", None, {}, "[" * 100_000, False),
    ("json_valid", None, {}, '```json\n{"a": 1}\n```', False),
    ("json_valid", None, {"fenced": True}, '```json\n{"a": 1}\n```', True),
    ("json_valid", None, {"fenced": True}, '{"a": 1}', True),
    ("json_schema", SCHEMA, {}, '{"n": 3}', True),
    ("json_schema", SCHEMA, {}, '{"n": "3"}', False),
    ("json_schema", SCHEMA, {}, "{}", False),
    ("json_schema", SCHEMA, {}, "three", False),
    ("json_schema", SCHEMA, {}, '{"n": 3, "id": "abc"}', True),
    ("json_schema", SCHEMA, {}, '{"n": 3, "id": "ABC"}', False),
    ("json_schema", SCHEMA, {"fenced": True}, '```\n{"n": 3}\n```', True),
    ("json_path", None, {"path": "$.a[0].b"}, '{"a": [{"b": null}]}', True),
    ("json_path", None, {"path": "$.a[1].b"}, '{"a": [{"b": 1}]}', False),
    ("json_path", None, {"path": "$.a[-1]"}, '{"a": [1, 2]}', True),
    ("json_path", None, {"path": "$.a.b"}, '{"a": [1]}', False),
    ("json_path", None, {"path": '$["odd name"]'}, '{"odd name": 1}', True),
    ("json_path", None, {"path": "$"}, "3", True),
    ("json_path", None, {"path": "$.a", "absent": True}, '{"b": 1}', True),
    ("json_path", None, {"path": "$.a", "absent": True}, '{"a": 1}', False),
    ("json_path", None, {"path": "$.a", "absent": True}, "no JSON", False),
    ("json_path", 1, {"path": "$.a"}, '{"a": 1.0}', True),
    ("json_path", 1, {"path": "$.a"}, '{"a": true}', False),
    ("json_path", "1", {"path": "$.a"}, '{"a": 1}', False),
    ("json_path", {"x": [1, True]}, {"path": "$.a"}, '{"a": {"x": [1, true]}}', True),
    ("json_path", "b", {"path": "$.a", "absent": True}, '{"a": "c"}', True),
    ("numeric", 42, {}, "first 7, then 42.", True),
    ("numeric", 7, {}, "first 7, then 42.", False),
    ("numeric", 7, {"which": "first"}, "first 7, then 42.", True),
    ("numeric", 7, {"which": "only"}, "first 7, then 42.", False),
    ("numeric", 7, {"which": "only"}, "seven is 7", True),
    ("numeric", 1234.5, {}, "It costs $1,234.50", True),
    ("numeric", 1234.5, {"decimal": ","}, "Es kostet 1.234,50 €", True),
    ("numeric", 1234, {}, "about 1 234 km", False),
    ("numeric", 1234, {}, "about 1\u202f234 km", True),
    ("numeric", -5, {}, "it is -5 degrees", True),
    ("numeric", -5, {}, "it is −5 degrees", True),
    ("numeric", 5, {}, "range a-5", True),
    ("numeric", 0.3, {"tolerance": 0.1}, "0.4", True),
    ("numeric", 0.3, {"tolerance": 0.1}, "0.41", False),
    ("numeric", 200, {"relative": 0.05}, "210", True),
    ("numeric", 200, {"relative": 0.05}, "211", False),
    ("numeric", 1500, {}, "1.5e3", True),
    ("numeric", 2, {}, "version 1.2.3 of v2", False),
    ("numeric", 1, {}, "no number here", False),
    ("numeric", 1, {}, "1e9999", False),
    ("max_words", 3, {}, "one two three", True),
    ("max_words", 3, {}, "one two three four", False),
    ("min_words", 2, {}, "one", False),
    ("min_words", 2, {}, " one\ntwo ", True),
    ("max_chars", 3, {}, " abc ", True),
    ("max_chars", 3, {}, "abcd", False),
    ("min_chars", 1, {}, "  ", False),
    ("min_chars", 1, {}, "a", True),
    ("length", None, {"words": [2, 3]}, "a b", True),
    ("length", None, {"words": [2, 3]}, "a b c d", False),
    ("length", None, {"words": [1, 9], "lines": [2, 2]}, "a\n\nb", True),
    ("length", None, {"words": [1, 9], "chars": [1, 2]}, "abc", False),
    ("similarity", "the cat sat", {"threshold": 1}, "The cat, sat!", True),
    ("similarity", "the cat sat", {"threshold": 1}, "sat cat the", True),
    ("similarity", "the cat sat", {"threshold": 1, "method": "sequence"}, "sat cat the", False),
    ("similarity", "the cat sat", {"threshold": 0.67}, "the cat", True),  # 2 * 2 / (2 + 3) = 0.8
    ("similarity", "the cat sat", {"threshold": 0.81}, "the cat", False),
    ("similarity", "the cat sat", {"threshold": 0.1}, "", False),
]


@pytest.mark.parametrize(("kind", "value", "options", "response", "passes"), TABLE)
def test_by_hand(label: Label, kind: str, value: Any, options: dict[str, Any], response: str, passes: bool) -> None:
    assert label(response, kind, value, **options) == ("pass" if passes else "fail")


def test_the_table_shows_every_check_both_ways() -> None:
    for kind in CHECKS.keys() - {"python"}:
        assert {row[4] for row in TABLE if row[0] == kind} == {True, False}, kind


@pytest.mark.parametrize("kind", ["exact", "contains", "similarity"])
def test_without_a_value_the_reference_is_compared(label: Label, kind: str) -> None:
    options = {"threshold": 0.9} if kind == "similarity" else {}
    assert label("yes", kind, item={"reference": "yes"}, **options) == "pass"
    assert label("yes", kind, item={"reference": "never"}, **options) == "fail"
    assert label("yes", kind, item={"reference": None}, **options) == "cannot tell"


def test_the_number_of_the_reference_is_compared_where_it_has_one(label: Label) -> None:
    assert label("It is 12.", "numeric", item={"reference": "12 eggs"}) == "pass"
    assert label("It is 12.", "numeric", item={"reference": "13 eggs"}) == "fail"
    assert label("It is 12.", "numeric", item={"reference": "some eggs"}) == "cannot tell"


def test_evidence_stands_where_it_says(make_check: Callable[..., Grader], make_item: Callable[..., Item]) -> None:
    text = "Straße: 30 DAYS, then 30 days"
    for kind, value, options in (
        ("contains", "30 days", {"ignore_case": True}),
        ("regex", r"\d+ DAYS", {}),
        ("numeric", 30, {"which": "first"}),
    ):
        verdict = make_check(kind, value, **options).read(make_item(text), None)
        assert isinstance(verdict, Verdict)
        assert verdict.label == "pass"
        assert verdict.evidence
        for span in verdict.evidence:
            assert span.found
            assert text[span.start : span.end] == span.quote


def test_reasons_name_what_is_there_and_what_is_missing(make_check: Callable[..., Grader], make_item: Callable[..., Item]) -> None:
    def reason(kind: str, value: Any, output: str, **options: Any) -> str:
        verdict = make_check(kind, value, **options).read(make_item(output), None)
        assert isinstance(verdict, Verdict)
        return verdict.reason

    assert reason("contains", ["a", "zebra"], "a") == "The response lacks `zebra`."
    assert reason("max_words", 1, "a b") == "The response has 2 words, at most 1 asked for."
    assert reason("min_words", 1, "a") == "The response has 1 word, at least 1 asked for."
    assert reason("numeric", 4, "It is 5") == "The response says 5, which is not 4 within the tolerance."
    assert reason("json_path", 2, '{"a": 1}', path="$.a") == "At `$.a` the response has `1`, not `2`."
    assert "`$.n`" in reason("json_schema", SCHEMA, '{"n": "x"}')


def test_similarity_gives_its_number_on_a_scale_of_shares_and_cuts_choose_levels(label: Label) -> None:
    assert label("the cat", "similarity", "the cat sat", criterion="near") == "0.8"
    assert label("the cat", "similarity", "the cat sat", criterion="good", cuts=[0.5, 0.8]) == "fine"
    assert label("the cat", "similarity", "the cat sat", criterion="good", cuts=[0.5, 0.81]) == "fair"
    assert label("dog", "similarity", "the cat sat", criterion="good", cuts=[0.5, 0.81]) == "poor"


def test_a_comparison_that_would_never_end_is_a_failure(label: Label) -> None:
    assert label("a b " * 2000, "similarity", "b a " * 2000, threshold=0.5, method="sequence").startswith("code_error: ")
    assert label("a b " * 2000, "similarity", "b a " * 2000, threshold=0.5) == "pass"


def test_schema_from_a_file_is_named_by_its_content(tmp_path: Path, make_check: Callable[..., Grader], label: Label) -> None:
    (tmp_path / "reply.json").write_text(json.dumps(SCHEMA))
    assert label('{"n": 3}', "json_schema", "reply.json", folder=tmp_path) == "pass"
    before = make_check("json_schema", "reply.json", folder=tmp_path).identity()
    assert before == make_check("json_schema", SCHEMA).identity()
    (tmp_path / "reply.json").write_text('{"type": "array"}')
    assert make_check("json_schema", "reply.json", folder=tmp_path).identity() != before


def test_a_schema_fetches_nothing(make_check: Callable[..., Grader], make_item: Callable[..., Item]) -> None:
    said = make_check("json_schema", {"$ref": "http://127.0.0.1:9/other.json"}).read(make_item("{}"), None)
    assert isinstance(said, Failure)
    assert said.kind == "code_error"
    assert "outside itself" in said.why


def test_a_check_is_handed_only_what_it_declares(make_check: Callable[..., Grader]) -> None:
    from fairmark.graders import Check, CheckGrader, Finding
    from fairmark.records import Message

    seen: list[Item] = []

    def spy(item: Item, value: object, options: object) -> Finding:
        seen.append(item)
        return Finding(True)

    plain = make_check("json_valid")
    assert isinstance(plain, CheckGrader)
    full = Item("c1", (Message("user", "secret request"),), "out", "secret reference", {"col": "secret"}, "secret system", 7)
    CheckGrader("g", plain.on, "spy", Check(spy, "Spies."), None, None, {}).read(full, None)
    assert seen == [Item("c1", (), "out")]
