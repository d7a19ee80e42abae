"""What a system is asked about a case, slots, and paths."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import providers
from fairmark.errors import Mistake
from fairmark.providers.templates import fill_json, fill_text, slots
from fairmark.records import Case, Json, Message, Question
from fairmark.study import ModelSpec, SystemSpec
from tests.providers.asking import case

USER = (Message("user", "hello"),)
TEXT = st.text(st.characters(exclude_categories=()))
TEMPLATES = st.lists(
    st.one_of(TEXT, st.sampled_from(["{{input}}", "{{ name }}", "{{", "}}", "{", "{{{input}}}", "{{a b}}", "\\1", "env:HOME"]))
).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def model(prompt: str | None) -> SystemSpec:
    return SystemSpec("s", "model", model=ModelSpec("openai", "m", {"temperature": 0}), prompt=prompt)


def asked(prompt: str | None, of: Case | None = None) -> tuple[Message, ...]:
    return providers.question(model(prompt), of or case(city="Rome", age=7), trial=1).messages


def test_without_a_prompt_the_turns_are_sent_as_they_are() -> None:
    turns = (Message("user", "hi"), Message("assistant", "yes?"), Message("user", "{{input}}"))
    question = providers.question(model(None), Case("c", turns), trial=2)
    assert question == Question(turns, {"temperature": 0}, trial=2)


def test_a_prompt_without_the_input_is_the_system_message() -> None:
    assert asked("Be kind.\n") == (Message("system", "Be kind."), *USER)
    assert asked("You are in {{city}}.") == (Message("system", "You are in Rome."), *USER)


def test_a_prompt_with_the_input_is_the_one_user_message() -> None:
    assert asked("Q ({{ city }}, {{age}}, {{id}}): {{input}}\n") == (Message("user", "Q (Rome, 7, c1): hello"),)
    turns = Case("c", (Message("user", "a"), Message("assistant", "b")))
    assert asked("{{input}}", turns) == (Message("user", "user: a\n\nassistant: b"),)
    assert asked("{{messages}}", turns)[0].content == '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'


def test_what_the_case_says_is_never_read_as_a_template() -> None:
    tricky = case("{{city}} {{expected}} {{ input }}", city="{{input}}")
    assert asked("{{city}}|{{input}}|{{city}}", tricky)[0].content == "{{input}}|{{city}} {{expected}} {{ input }}|{{input}}"


@pytest.mark.parametrize("slot", ["expected", "cty", "Input"])
def test_a_slot_that_is_no_column_is_a_mistake(slot: str) -> None:
    with pytest.raises(Mistake) as caught:
        asked(f"{{{{{slot}}}}}")
    assert "city" in caught.value.problems[0].allowed
    assert "secret reference" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        model("{{input}}"),
        SystemSpec("s", "http", url="http://127.0.0.1/{{id}}", body={"q": "{{input}}", "m": "{{messages}}"}),
        SystemSpec("s", "python", target="a.py:f"),
        SystemSpec("s", "command", command=("prog", "{{city}}")),
        SystemSpec("s", "recorded", recorded={("c1", 1): "said"}),
    ],
    ids=lambda spec: spec.kind,
)
def test_no_system_is_given_the_reference_answer(spec: SystemSpec) -> None:
    assert "secret reference" not in repr(providers.question(spec, case(city="Rome"), trial=1))


def test_an_application_is_asked_with_the_columns_it_uses() -> None:
    spec = SystemSpec(
        "s", "http", url="http://127.0.0.1/{{id}}?c={{city}}", headers={"X-Age": "{{age}}"}, body=[{"q": {"deep": "{{input}}"}}]
    )
    first = providers.question(spec, case(city="Rome", age=7, other="unseen"), trial=1)
    assert (first.messages, first.fields) == (USER, {"id": "c1", "city": "Rome", "age": 7})
    blind = SystemSpec("s", "http", url="http://127.0.0.1/{{city}}")
    assert providers.question(blind, case("one", city="Rome"), trial=1) == providers.question(blind, case("two", city="Rome"), trial=1)


def test_functions_programs_and_recordings() -> None:
    function = providers.question(SystemSpec("s", "python", target="a.py:f"), case(city="Rome"), trial=1)
    assert (function.messages, function.fields) == (USER, {"city": "Rome", "id": "c1"})
    program = providers.question(SystemSpec("s", "command", command=("p", "-c", "{{city}}")), case(city="Rome", age=7), trial=1)
    assert (program.messages, program.fields) == (USER, {"city": "Rome"})
    recording = SystemSpec("s", "recorded", recorded={("c1", 2): "said"})
    assert providers.question(recording, case(), trial=2).recorded == "said"
    assert providers.question(recording, case(), trial=1).recorded is None


@given(template=TEMPLATES, data=TEXT, name=TEXT)
def test_bytes_in_are_bytes_out(template: str, data: str, name: str) -> None:
    filled = fill_text(template, {"input": data, "name": name, **{slot: "" for slot in slots(template) if slot not in ("input", "name")}})
    literal, at = [], 0
    for match in re.finditer(r"\{\{\s*([^{}\s]+)\s*\}\}", template):
        literal += [template[at : match.start()], {"input": data, "name": name}.get(match[1], "")]
        at = match.end()
    assert filled == "".join([*literal, template[at:]])


@given(value=JSON, data=TEXT)
def test_a_text_that_is_one_slot_takes_the_value_with_its_type(value: Json, data: str) -> None:
    template = {"whole": "{{value}}", "spaced": " {{value}}", "list": ["{{ data }}", 5, None, True], "{{key}}": "plain"}
    filled = fill_json(template, {"value": value, "data": data}, written=str.upper)
    inside = value if isinstance(value, str) else "" if value is None else filled["spaced"][1:]
    assert filled == {"whole": value, "spaced": f" {inside}", "list": [data, 5, None, True], "{{key}}": "PLAIN"}
    if not isinstance(value, str) and value is not None:
        assert json.loads(inside) == json.loads(json.dumps(value, ensure_ascii=False)) or "\\u" in inside


PATHS: list[tuple[str, tuple[str | int, ...]]] = [
    ("$", ()),
    ("$.a", ("a",)),
    ("$.a.b[0]", ("a", "b", 0)),
    ("$[-1]", (-1,)),
    ("$.choices[0].message.content", ("choices", 0, "message", "content")),
    ('$["a b"].c', ("a b", "c")),
    ("$['x.y'][2]", ("x.y", 2)),
    ('$[""]', ("",)),
    ("$.ü-1", ("ü-1",)),
]


@pytest.mark.parametrize(("written", "steps"), PATHS)
def test_paths(written: str, steps: tuple[str | int, ...]) -> None:
    assert providers.parse_path(written).steps == steps


@pytest.mark.parametrize("written", ["", "a", "reply", ".a", "$a", "$.", "$..a", "$[a]", "$[0", "$.a[*]", "$.a b", "$.a[?(@.b)]", "$[0]]"])
def test_paths_that_cannot_be_read(written: str) -> None:
    with pytest.raises(ValueError, match="path"):
        providers.parse_path(written)


@given(steps=st.lists(TEXT.filter(lambda name: '"' not in name) | st.integers(-999, 999), max_size=5), leaf=TEXT)
def test_a_path_leads_to_what_stands_there(steps: list[str | int], leaf: str) -> None:
    value: Json = leaf
    for step in reversed(steps):
        value = {step: value} if isinstance(step, str) else [value] * (abs(step) + 1)
    written = "$" + "".join(f'["{step}"]' if isinstance(step, str) else f"[{step}]" for step in steps)
    assert providers.parse_path(written).read(value) == leaf


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("$.x", "no `x` in `$`, which holds a, l"),
        ("$.a.x.y", "no `y` in `$.a.x`, which is null"),
        ("$.l[3]", "`$.l`, which has 2 elements"),
        ("$.a[0]", "which is an object"),
        ("$.l.b", "which is a list"),
        ("$.l[0].b", "which is a number"),
        ("$.l[1].b", "which is true or false"),
    ],
)
def test_where_a_path_ends(written: str, said: str) -> None:
    with pytest.raises(LookupError, match="there is no") as caught:
        providers.parse_path(written).read({"a": {"x": None}, "l": [1, True]})
    assert said in str(caught.value)
