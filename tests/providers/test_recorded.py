"""Recorded outputs and recordings of whole runs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import providers
from fairmark.errors import Mistake
from fairmark.records import Answer, Failure, Message, Usage
from fairmark.study import SystemSpec
from tests.fake_endpoint import FakeEndpoint, Reply, garbage
from tests.providers.asking import HELLO, answer, ask, case, failure, model, system

SPEC = SystemSpec("old", "recorded", recorded={("c1", 1): "said", ("c1", 2): ""}, recorded_from="answers.csv")
FULL = Answer("text \u2028 end", "length", "m", Usage(1, None, 2), 0.5, 1.25, (("a", -0.5),))


def test_answers_with_what_was_recorded() -> None:
    found = answer(system(SPEC), providers.question(SPEC, case(), trial=1))
    assert (found.text, found.seconds, found.cost_usd) == ("said", None, None)
    assert answer(system(SPEC), providers.question(SPEC, case(), trial=2)).text == "", "that is what it said"


def test_what_was_not_recorded_is_a_failure() -> None:
    found = failure(system(SPEC), providers.question(SPEC, case(), trial=3))
    assert (found.kind, found.where) == ("not_recorded", "answers.csv")


def test_a_run_is_recorded_and_replayed() -> None:
    again = replace(HELLO, trial=2)
    with FakeEndpoint(text=lambda received: f"number {received.nth}") as endpoint:
        recorder = providers.Recorder(model(endpoint.url))
        live = ask(recorder, HELLO, again)
    assert [outcome.text for outcome in live if isinstance(outcome, Answer)] == ["number 1", "number 2"]
    replay = providers.Replay(providers.read_recording(providers.write_recording([recorder])))
    assert ask(replay, HELLO, again) == live
    unknown = ask(replay, replace(HELLO, options={"seed": 1}), replace(HELLO, trial=3), replace(HELLO, schema={}))
    assert [outcome.kind for outcome in unknown if isinstance(outcome, Failure)] == ["not_recorded"] * 3


def test_failures_are_not_recorded() -> None:
    with FakeEndpoint(lambda received: garbage("server_error") if received.nth == 1 else Reply({})) as endpoint:
        recorder = providers.Recorder(model(endpoint.url))
        ask(recorder, HELLO)
    assert recorder.answers == {}
    assert (recorder.name, recorder.host) == ("openai/m", endpoint.root.removeprefix("http://"))


def test_the_digest_knows_all_of_a_question_that_shapes_its_answer() -> None:
    changed = [
        replace(HELLO, messages=(Message("system", "hello"),)),
        replace(HELLO, options={"seed": 1}),
        replace(HELLO, schema={}),
        replace(HELLO, fields={"a": 1}),
        replace(HELLO, trial=2),
    ]
    assert len({providers.question_digest(question) for question in [HELLO, *changed]}) == 6


@given(
    st.dictionaries(
        st.integers(0, 2**255).map(lambda n: f"{n:064x}"),
        st.builds(
            Answer,
            text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
            finish=st.sampled_from(["stop", "length", "unknown"]),
            model=st.text(st.characters(exclude_categories=("Cs",))),
            usage=st.none() | st.builds(Usage, *[st.none() | st.integers(0, 2**40)] * 3),
            cost_usd=st.none() | st.floats(0, 1e9),
            seconds=st.none() | st.floats(0, 1e9),
            logprobs=st.none() | st.lists(st.tuples(st.text(max_size=3), st.floats(-100, 0)), max_size=3).map(tuple),
        ),
        max_size=4,
    )
)
def test_a_recording_is_read_as_it_was_written(answers: dict[str, Answer]) -> None:
    data = providers.write_recording([answers])
    assert providers.read_recording(data) == answers
    assert providers.write_recording([dict(reversed(answers.items()))]) == data


def test_every_row_that_cannot_be_read_is_named() -> None:
    good = providers.write_recording([{"0" * 64: FULL}]).decode()
    row = json.loads(good)
    rows = [
        good.strip(),
        "{",
        "[]",
        "",
        json.dumps({**row, "question": "short"}),
        json.dumps({**row, "extra": 1, "question": "1" * 64}),
        json.dumps({**row, "finish": "done", "question": "2" * 64}),
        json.dumps({**row, "usage": [1, 2], "question": "3" * 64}),
        json.dumps({**row, "seconds": -1, "question": "4" * 64}),
        json.dumps({**row, "logprobs": [["a"]], "question": "5" * 64}),
        json.dumps({**row, "text": None, "question": "6" * 64}),
        good.strip(),
    ]
    with pytest.raises(Mistake) as caught:
        providers.read_recording("\n".join(rows).encode(), file="r.jsonl")
    assert [problem.line for problem in caught.value.problems] == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    assert {problem.file for problem in caught.value.problems} == {"r.jsonl"}


def test_two_models_cannot_share_a_recording() -> None:
    key = "0" * 64
    with pytest.raises(ValueError, match="one model"):
        providers.write_recording([{key: FULL}, {key: replace(FULL, text="else")}])
    assert providers.read_recording(providers.write_recording([{key: FULL}, {key: FULL}])) == {key: FULL}


def test_text_that_cannot_be_stored_is_made_visible() -> None:
    spec = replace(SPEC, recorded={("c1", 1): "a\ud83d\0"})
    assert answer(system(spec), providers.question(spec, case(), trial=1)).text == "a\\ud83d\\u0000"
