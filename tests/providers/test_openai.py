"""The chat completions adapter against an endpoint that behaves and one that does not."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from fairmark.errors import CannotDo, Mistake
from fairmark.records import Answer, Failure, Message, Question, Usage
from tests.fake_endpoint import FakeEndpoint, Received, Reply, chat, garbage
from tests.providers.asking import HELLO, answer, ask, failure, model

SCHEMA = {"type": "object", "properties": {"level": {"type": "string", "maxLength": 9}}, "required": ["level"]}


def test_sends_the_question_and_reads_the_answer() -> None:
    question = Question(
        (Message("system", "Be brief."), Message("user", "Hë{{x}} \ud83d\x00")), {"temperature": 0, "max_tokens": 5, "stop": ["\n"]}
    )
    with FakeEndpoint(lambda _: Reply(chat("Good day."))) as endpoint:
        found = answer(model(endpoint.url), question)
        assert endpoint.ledger[0].path == "/v1/chat/completions"
        assert endpoint.ledger[0].json == {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hë{{x}} \ud83d\x00"}],
            "temperature": 0,
            "max_tokens": 5,
            "stop": ["\n"],
        }
        assert "authorization" not in endpoint.ledger[0].headers
    assert (found.text, found.finish, found.model, found.usage) == ("Good day.", "stop", "fake-1", Usage(20, None, 7))
    assert found.seconds is not None and found.seconds > 0
    assert found.cost_usd is None, "nobody knows what an endpoint on this machine costs"


def test_repeats_are_sent_again_and_have_seeds_of_their_own() -> None:
    with FakeEndpoint() as endpoint:
        ask(model(endpoint.url), *(Question(HELLO.messages, {"seed": 7}, trial=trial) for trial in (1, 2, 3)), HELLO, HELLO)
        assert [received.json.get("seed") for received in endpoint.ledger] == [7, 8, 9, None, None]


def test_a_schema_and_log_probabilities() -> None:
    said = [{"token": "{", "logprob": -0.5, "top_logprobs": []}, {"token": "}", "logprob": 0}]
    with FakeEndpoint(lambda _: Reply(chat("{}", choice={"logprobs": {"content": said}}))) as endpoint:
        found = answer(model(endpoint.url), Question(HELLO.messages, schema=SCHEMA, logprobs=True))
        sent = endpoint.ledger[0].json
    assert sent["response_format"] == {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}}
    assert sent["logprobs"] is True
    assert found.logprobs == (("{", -0.5), ("}", 0.0))


def test_cached_tokens_are_counted_once() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 64}}
    with FakeEndpoint(lambda _: Reply(chat("ok", usage=usage))) as endpoint:
        assert answer(model(endpoint.url)).usage == Usage(36, 64, 9)


@pytest.mark.parametrize(
    "usage", [None, 5, {}, {"prompt_tokens": -1, "completion_tokens": 2**70}, {"prompt_tokens": "9"}, {"prompt_tokens": True}]
)
def test_odd_usage_is_unknown_and_never_zero(usage: Any) -> None:
    with FakeEndpoint(lambda _: Reply(chat("ok", usage=usage))) as endpoint:
        found = answer(model(endpoint.url))
    assert found.usage in (None, Usage(None, None, None))
    assert found.cost_usd is None


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "refused"),
        ("tool_calls", "tool"),
        ("new", "unknown"),
        (None, "unknown"),
        (3, "unknown"),
    ],
)
def test_why_it_ended(reason: Any, finish: str) -> None:
    with FakeEndpoint(lambda _: Reply(chat("text", choice={"finish_reason": reason}))) as endpoint:
        assert answer(model(endpoint.url)).finish == finish


def test_a_refusal_is_an_answer() -> None:
    with FakeEndpoint(lambda _: Reply(chat(None, message={"refusal": "I cannot help with that."}))) as endpoint:
        found = answer(model(endpoint.url))
    assert (found.text, found.finish) == ("I cannot help with that.", "refused")


def test_content_in_parts() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    with FakeEndpoint(lambda _: Reply(chat(None, message={"content": parts}))) as endpoint:
        assert answer(model(endpoint.url)).text == "one two"


def error(status: int, message: str = "no", **headers: str) -> Reply:
    return Reply({"error": {"message": message, "type": "t"}}, status, headers)


TROUBLES: list[tuple[str, Reply, str, str, float | None]] = [
    ("429", error(429, **{"Retry-After": "3"}), "rate_limited", "status 429", 3.0),
    ("429, milliseconds", error(429, **{"retry-after-ms": "250"}), "rate_limited", "", 0.25),
    ("429, absurd", error(429, **{"Retry-After": "1000000000"}), "rate_limited", "", 300.0),
    ("429, negative", error(429, **{"Retry-After": "-5"}), "rate_limited", "", 0.0),
    ("429, long ago", error(429, **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), "rate_limited", "", 0.0),
    ("429, far off", error(429, **{"Retry-After": "Fri, 21 Oct 2150 07:28:00 GMT"}), "rate_limited", "", 300.0),
    ("429, nonsense", error(429, **{"Retry-After": "soon"}), "rate_limited", "", None),
    ("429, nan", error(429, **{"Retry-After": "nan"}), "rate_limited", "", None),
    ("429, nothing said", error(429), "rate_limited", "", None),
    ("429, no credit", error(429, "You exceeded your quota: insufficient_quota"), "auth", "quota", None),
    ("500", error(500), "server_error", "status 500: no", None),
    ("503 with a wait", error(503, **{"Retry-After": "9"}), "server_error", "", 9.0),
    ("529", error(529), "server_error", "status 529", None),
    ("502 as a web page", Reply("<html><b>Bad gateway</b></html>", 502), "server_error", "web page", None),
    ("400", error(400, "no such parameter"), "bad_request", "no such parameter", None),
    ("404", error(404), "bad_request", "status 404", None),
    ("422", Reply({"detail": [{"msg": "field required"}]}, 422), "bad_request", "field required", None),
    ("413 without a body", Reply("", 413), "bad_request", "status 413", None),
    ("401", error(401), "auth", "", None),
    ("403", error(403), "auth", "", None),
    ("408", error(408), "timeout", "", None),
    ("redirect", Reply("", 302, {"Location": "/elsewhere"}), "bad_request", "redirect", None),
    ("truncated", garbage("truncated"), "broken_reply", "cut off", None),
    ("cut mid-body", Reply(chat("a long answer"), cut_after=40), "broken_reply", "broke off", None),
    ("web page", Reply("<!doctype html><p>hi", 200, {"Content-Type": "text/html"}), "broken_reply", "web page", None),
    ("plain text", Reply("hello"), "broken_reply", "not JSON", None),
    ("no body", Reply(""), "broken_reply", "empty", None),
    ("not UTF-8", Reply(b'{"choices": "\xff"}'), "broken_reply", "UTF-8", None),
    ("NaN", Reply('{"choices": NaN}'), "broken_reply", "NaN", None),
    ("too deep", Reply("[" * 100_000), "broken_reply", "deep", None),
    ("a list", Reply("[]"), "broken_reply", "choices", None),
    ("choices is null", Reply({"choices": None}), "broken_reply", "choices", None),
    ("no message", Reply({"choices": [{}]}), "broken_reply", "message", None),
    ("a choice of text", Reply({"choices": ["hi"]}), "broken_reply", "message", None),
    ("content is a number", Reply(chat(None, message={"content": 5})), "broken_reply", "not text", None),
    ("not gzip", Reply("hello", 200, {"Content-Encoding": "gzip"}), "broken_reply", "", None),
    ("gzip bomb", Reply(gzip.compress(bytes(30 * 2**20)), 200, {"Content-Encoding": "gzip"}), "broken_reply", "larger", None),
    ("empty choices", garbage("empty_choices"), "empty_reply", "no choices", None),
    ("null content", Reply(chat(None)), "empty_reply", "no text", None),
    ("empty text", Reply(chat("")), "empty_reply", "no text", None),
    ("blank text", Reply(chat(" \n")), "empty_reply", "no text", None),
    ("only reasoning", Reply(chat("", choice={"finish_reason": "length"})), "empty_reply", "max_tokens", None),
    ("a tool call", Reply(chat(None, choice={"finish_reason": "tool_calls"})), "empty_reply", "tool", None),
]


@pytest.mark.parametrize(("reply", "kind", "why", "wait"), [row[1:] for row in TROUBLES], ids=[row[0] for row in TROUBLES])
def test_what_went_wrong_is_named(reply: Reply, kind: str, why: str, wait: float | None) -> None:
    with FakeEndpoint(lambda _: reply) as endpoint:
        found = failure(model(endpoint.url))
        assert len(endpoint.ledger) == 1, "nothing is tried again here, and no redirect is followed"
    assert (found.kind, found.retry_after) == (kind, wait)
    assert why in found.why
    assert len(found.why) <= 300 and found.why.isprintable()
    assert found.where == endpoint.root.removeprefix("http://")


def test_lone_surrogates_and_nuls_become_visible() -> None:
    with FakeEndpoint(
        lambda _: Reply(b'{"model": "m\\udc00", "choices": [{"message": {"content": "a\\ud83d b\\u0000 \\ud83d\\ude00"}}]}')
    ) as endpoint:
        found = answer(model(endpoint.url))
    assert found.text == "a\\ud83d b\\u0000 \U0001f600"
    assert found.model == "m\\udc00"
    found.text.encode("utf-8")


def test_nobody_there() -> None:
    with FakeEndpoint() as endpoint:
        gone = endpoint.url
    found = failure(model(gone))
    assert found.kind == "connection"
    assert "connection" in found.why


def test_a_host_that_does_not_exist() -> None:
    assert failure(model("http://no-such-host.invalid/v1")).kind == "connection"


def test_a_hang_is_left_to_the_deadline_and_frees_the_connection() -> None:
    async def run() -> None:
        async with FakeEndpoint(lambda received: Reply(hang=True) if received.nth == 1 else Reply(chat("now"))) as endpoint:
            provider = model(endpoint.url)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(provider.ask(HELLO), 0.2)
            again = await provider.ask(HELLO)
            assert isinstance(again, Answer) and again.text == "now"
            await provider.close()

    asyncio.run(run())


def test_a_provider_outlives_its_loop() -> None:
    with FakeEndpoint(lambda _: Reply(chat("hi"))) as endpoint:
        provider = model(endpoint.url)

        async def without_closing() -> Answer | Failure:
            return await provider.ask(HELLO)

        assert asyncio.run(without_closing()) != asyncio.run(without_closing())
        assert len(endpoint.ledger) == 2


def test_cookies_do_not_travel_from_case_to_case() -> None:
    with FakeEndpoint(lambda _: Reply(chat("hi"), headers={"Set-Cookie": "session=1; Path=/"})) as endpoint:
        ask(model(endpoint.url), HELLO, HELLO)
        assert all("cookie" not in received.headers for received in endpoint.ledger)


def refusing(test: Callable[[Any], bool], message: str) -> Callable[[Received], Reply]:
    return lambda received: error(400, message) if test(received.json) else Reply(chat("ok"))


@pytest.mark.parametrize(
    ("decide", "left"),
    [
        (refusing(lambda b: "logprobs" in b, "logprobs are not supported"), {"max_tokens", "response_format"}),
        (
            refusing(lambda b: "max_tokens" in b, "Use 'max_completion_tokens' instead."),
            {"max_completion_tokens", "response_format", "logprobs"},
        ),
        (refusing(lambda b: "response_format" in b, "This response_format type is unavailable"), {"max_tokens", "logprobs"}),
        (refusing(lambda b: "maxLength" in json.dumps(b), "'maxLength' is not permitted"), {"max_tokens", "response_format", "logprobs"}),
    ],
)
def test_a_parameter_that_is_refused_is_left_out_from_then_on(decide: Callable[[Received], Reply], left: set[str]) -> None:
    question = Question(HELLO.messages, {"max_tokens": 9}, SCHEMA, logprobs=True)
    with FakeEndpoint(decide) as endpoint:
        outcomes = ask(model(endpoint.url), question, question)
        assert all(isinstance(outcome, Answer) for outcome in outcomes)
        assert len(endpoint.ledger) == 3, "it is refused once and remembered"
        assert set(endpoint.ledger[-1].json) == {"model", "messages"} | left
        assert endpoint.ledger[-1].json.get("max_tokens", endpoint.ledger[-1].json.get("max_completion_tokens")) == 9


def test_what_is_refused_for_good_is_asked_once_per_adaptation() -> None:
    with FakeEndpoint(lambda _: error(400, "logprobs and max_completion_tokens and maxLength and response_format")) as endpoint:
        assert failure(model(endpoint.url), Question(HELLO.messages, {"max_tokens": 9}, SCHEMA, logprobs=True)).kind == "bad_request"
        assert len(endpoint.ledger) == 2


def test_without_a_key_for_a_service_that_needs_one() -> None:
    with pytest.raises(CannotDo) as caught:
        model()
    assert caught.value.code == "NO_KEY"
    assert "OPENAI_API_KEY" in caught.value.next_step
    with pytest.raises(CannotDo, match="MY_KEY is not set"):
        model(api_key="env:MY_KEY")
    with pytest.raises(CannotDo, match="line break"):
        model(api_key="env:MY_KEY", env={"MY_KEY": "one\ntwo"})


def test_the_environment_names_endpoint_and_key() -> None:
    with FakeEndpoint() as endpoint:
        env = {"OPENAI_BASE_URL": f"{endpoint.url}/", "OPENAI_API_KEY": " the-key\n"}
        answer(model(env=env))
        answer(model(env={**env, "OTHER": "another"}, api_key="env:OTHER"))
        assert [received.headers["authorization"] for received in endpoint.ledger] == ["Bearer the-key", "Bearer another"]
        assert {received.path for received in endpoint.ledger} == {"/v1/chat/completions"}


def test_a_study_cannot_send_the_users_key_to_an_address_of_its_choice() -> None:
    with FakeEndpoint() as endpoint:
        answer(model(endpoint.url, env={"OPENAI_API_KEY": "the-key"}))
        assert "authorization" not in endpoint.ledger[0].headers


@pytest.mark.parametrize("address", ["ftp://x/v1", "api.example.com/v1", "http://", "http://a b/", "http://x:99999/", "http://user:pw@x/"])
def test_an_address_that_cannot_be_asked(address: str) -> None:
    with pytest.raises(Mistake) as caught:
        model(address)
    assert "pw" not in str(caught.value)


def test_a_key_that_is_no_reference_is_not_repeated() -> None:
    with pytest.raises(Mistake) as caught:
        model(api_key="sk-written-in-the-file")
    assert "sk-written" not in str(caught.value)


def test_the_price_is_that_of_the_endpoint() -> None:
    with FakeEndpoint(lambda _: Reply(chat("ok"))) as endpoint:
        assert answer(model(env={"OPENAI_BASE_URL": endpoint.url}, name="gpt-4o-mini")).cost_usd is None
