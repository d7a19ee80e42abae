"""The messages adapter."""

from __future__ import annotations

import json

import pytest

from fairmark.errors import CannotDo
from fairmark.records import Message, Question, Usage
from tests.fake_endpoint import FakeEndpoint, Reply, messages
from tests.providers.asking import CANARY, HELLO, answer, failure, model


def test_sends_the_question_and_reads_the_answer() -> None:
    turns = (
        Message("system", "One."),
        Message("user", "hi"),
        Message("assistant", "yes?"),
        Message("system", "Two."),
        Message("user", "go"),
    )
    question = Question(turns, {"temperature": 0, "seed": 3, "stop": "END", "top_p": 0.5}, logprobs=True)
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 80, "output_tokens": 3}
    with FakeEndpoint(lambda _: Reply(messages("Done.", usage=usage))) as endpoint:
        found = answer(model(endpoint.root, provider="anthropic", api_key="env:MY_KEY", env={"MY_KEY": CANARY}), question)
        received = endpoint.ledger[0]
    assert received.path == "/v1/messages"
    assert (received.headers["x-api-key"], received.headers["anthropic-version"]) == (CANARY, "2023-06-01")
    assert received.json == {
        "model": "m",
        "max_tokens": 1024,
        "temperature": 0,
        "top_p": 0.5,
        "stop_sequences": ["END"],
        "system": "One.\n\nTwo.",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "go"}],
    }
    assert (found.text, found.finish, found.usage) == ("Done.", "stop", Usage(15, 80, 3))


def test_a_schema_is_asked_for_through_a_tool() -> None:
    content = [{"type": "text", "text": "Let me see."}, {"type": "tool_use", "id": "t", "name": "reply", "input": {"level": "mét\ud83d"}}]
    schema = {"type": "object", "properties": {"level": {"type": "string"}}}
    with FakeEndpoint(lambda _: Reply(messages("", content=content, stop_reason="tool_use"))) as endpoint:
        found = answer(model(endpoint.url, provider="anthropic"), Question(HELLO.messages, {"max_tokens": 50}, schema))
        sent = endpoint.ledger[0].json
    assert sent["tools"] == [{"name": "reply", "description": "Give the reply.", "input_schema": schema}]
    assert sent["tool_choice"] == {"type": "tool", "name": "reply"}
    assert sent["max_tokens"] == 50
    assert found.finish == "stop"
    assert json.loads(found.text) == {"level": "mét\ud83d"}
    found.text.encode("utf-8")


@pytest.mark.parametrize(
    ("reply", "kind", "why"),
    [
        (Reply({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529), "server_error", "Overloaded"),
        (Reply({"error": {"type": "rate_limit_error", "message": "slow"}}, 429, {"retry-after": "12"}), "rate_limited", "slow"),
        (Reply({"error": {"message": "Your credit balance is too low to access the API"}}, 400), "auth", "credit"),
        (Reply({"error": {"message": "max_tokens: required"}}, 400), "bad_request", "max_tokens"),
        (Reply(messages("", content=[])), "empty_reply", "no text"),
        (Reply(messages("", stop_reason="refusal", content=[])), "empty_reply", "refused"),
        (Reply(messages("", content=None)), "broken_reply", "content"),
        (Reply(messages("", content=["text"])), "broken_reply", "content"),
        (Reply(messages("", content=[{"type": "text", "text": 4}])), "broken_reply", "content"),
        (Reply(messages("hello"), cut_after=30), "broken_reply", "broke off"),
    ],
)
def test_what_went_wrong_is_named(reply: Reply, kind: str, why: str) -> None:
    with FakeEndpoint(lambda _: reply) as endpoint:
        found = failure(model(endpoint.url, provider="anthropic"))
    assert found.kind == kind
    assert why in found.why


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "refused"), ("tool_use", "tool"), ("pause_turn", "unknown")],
)
def test_why_it_ended(reason: str, finish: str) -> None:
    with FakeEndpoint(lambda _: Reply(messages("text", stop_reason=reason))) as endpoint:
        assert answer(model(endpoint.url, provider="anthropic")).finish == finish


def test_needs_a_key_at_its_own_address_only() -> None:
    with pytest.raises(CannotDo, match="ANTHROPIC_API_KEY"):
        model(provider="anthropic")
    with FakeEndpoint() as endpoint:
        answer(model(provider="anthropic", env={"ANTHROPIC_BASE_URL": endpoint.root, "ANTHROPIC_API_KEY": CANARY}))
        answer(model(endpoint.root, provider="anthropic", env={"ANTHROPIC_API_KEY": CANARY}))
        assert [received.headers.get("x-api-key") for received in endpoint.ledger] == [CANARY, None]
