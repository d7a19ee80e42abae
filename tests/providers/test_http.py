"""An application behind an address."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark import providers
from fairmark.errors import CannotDo, Mistake
from fairmark.records import Answer, Case, Json, Message
from fairmark.study import SystemSpec
from tests.fake_endpoint import FakeEndpoint, Reply
from tests.providers.asking import CANARY, answer, ask, case, failure, system

BODY = {
    "q": "{{input}}",
    "meta": {"age": "{{age}}", "note": "from {{city}}", "turns": "{{messages}}"},
    "fixed": [1, None, "env:NOT_A_REFERENCE?"],
}


def app(endpoint: FakeEndpoint, path: str = "/ask", **changes: Any) -> SystemSpec:
    return replace(SystemSpec("app", "http", url=endpoint.root + path, body={"q": "{{input}}"}), **changes)


def test_the_request_has_the_shape_of_the_template() -> None:
    asked = case("hello", city="Rome", age=7)
    with FakeEndpoint(lambda _: Reply({"reply": {"text": ["no", "Good day."]}})) as endpoint:
        spec = app(endpoint, "/ask/{{city}}?v=1", body=BODY, answer="$.reply.text[-1]", headers={"X-City": "in {{city}}"})
        found = answer(system(spec), providers.question(spec, asked, trial=1))
        received = endpoint.ledger[0]
    assert (received.method, received.path) == ("POST", "/ask/Rome?v=1")
    assert received.headers["x-city"] == "in Rome"
    assert received.headers["content-type"] == "application/json"
    assert received.json == {
        "q": "hello",
        "meta": {"age": 7, "note": "from Rome", "turns": [{"role": "user", "content": "hello"}]},
        "fixed": [1, None, "env:NOT_A_REFERENCE?"],
    }
    assert (found.text, found.cost_usd, found.usage) == ("Good day.", None, None)


def test_secrets_are_filled_in_when_sent_and_never_from_a_case() -> None:
    asked = case("env:MY_KEY", city="env:MY_KEY")
    with FakeEndpoint(lambda _: Reply("fine")) as endpoint:
        spec = app(
            endpoint,
            "/ask?key=env:MY_KEY&c={{city}}",
            headers={"Authorization": "Bearer env:MY_KEY", "X-Key": "env:MY_KEY", "X-City": "{{city}}"},
            body={"q": "{{input}}", "key": "env:MY_KEY"},
        )
        provider = system(spec, env={"MY_KEY": CANARY})
        question = providers.question(spec, asked, trial=1)
        answer(provider, question)
        received = endpoint.ledger[0]
    assert CANARY not in f"{provider!r} {question!r} {spec!r}"
    query = parse_qs(urlsplit(received.path).query)
    assert (query["key"], query["c"]) == ([CANARY], ["env:MY_KEY"])
    assert (received.headers["authorization"], received.headers["x-key"]) == (f"Bearer {CANARY}", CANARY)
    assert received.headers["x-city"] == "env:MY_KEY"
    assert received.json == {"q": "env:MY_KEY", "key": CANARY}


def test_a_secret_that_is_not_set() -> None:
    for changes in (
        {"headers": {"X": "Bearer env:NO_SUCH"}},
        {"url": "http://127.0.0.1/?k=env:NO_SUCH"},
        {"body": ["{{input}}", "env:NO_SUCH"]},
    ):
        spec = replace(SystemSpec("app", "http", url="http://127.0.0.1/", body="{{input}}"), **changes)
        with pytest.raises(CannotDo, match="NO_SUCH"):
            system(spec)


@pytest.mark.parametrize(
    ("reply", "path", "text"),
    [
        (Reply("plain text\n"), None, "plain text\n"),
        (Reply(b"\xef\xbb\xbfa\xffb\x00"), None, "a\\xffb\\u0000"),
        (Reply({"a": 5}), "$.a", "5"),
        (Reply({"a": True}), "$.a", "true"),
        (Reply({"a": {"b": ["ü"]}}), "$.a", '{"b": ["ü"]}'),
        (Reply('["x"]'), "$[0]", "x"),
        (Reply('"\\ud83d"'), "$", "\\ud83d"),
    ],
)
def test_the_answer_is_what_the_path_leads_to(reply: Reply, path: str | None, text: str) -> None:
    with FakeEndpoint(lambda _: reply) as endpoint:
        spec = app(endpoint, answer=path)
        assert answer(system(spec), providers.question(spec, case(), trial=1)).text == text


@pytest.mark.parametrize(
    ("reply", "kind", "why"),
    [
        (Reply({"b": 1}), "broken_reply", "no `a` in `$`, which holds b"),
        (Reply([]), "broken_reply", "which is a list"),
        (Reply("<html>"), "broken_reply", "web page"),
        (Reply({"a": None}), "empty_reply", "no text"),
        (Reply({"a": ""}), "empty_reply", "no text"),
        (Reply('{"a":' + "[" * 900 + "]" * 900 + "}"), None, ""),
        (Reply("gone", 404), "bad_request", "status 404: gone"),
        (Reply("oops \x1b[31m", 500), "server_error", "status 500: oops [31m"),
    ],
)
def test_what_went_wrong_is_named(reply: Reply, kind: str | None, why: str) -> None:
    with FakeEndpoint(lambda _: reply) as endpoint:
        spec = app(endpoint, answer="$.a")
        outcome = ask(system(spec), providers.question(spec, case(), trial=1))[0]
    if kind is None:
        assert isinstance(outcome, Answer) or outcome.kind == "broken_reply"
    else:
        assert not isinstance(outcome, Answer)
        assert (outcome.kind, why in outcome.why) == (kind, True), outcome


def test_a_get_without_a_body() -> None:
    with FakeEndpoint(lambda _: Reply("ok")) as endpoint:
        spec = app(endpoint, "/a%20b/ü?q={{input}}#part", method="GET", body=None)
        answer(system(spec), providers.question(spec, case("x&y=1 /+%ü"), trial=1))
        received = endpoint.ledger[0]
    assert (received.method, received.body) == ("GET", b"")
    assert received.path == "/a%20b/%C3%BC?q=x%26y%3D1%20%2F%2B%25%C3%BC"
    assert "content-type" not in received.headers


def test_a_case_cannot_climb_out_of_its_place_in_the_path() -> None:
    with FakeEndpoint(lambda _: Reply("ok")) as endpoint:
        for text in ("..", ".", "../../admin", "a?b#c"):
            spec = app(endpoint, "/files/{{input}}/read", body=None)
            answer(system(spec), providers.question(spec, case(text), trial=1))
        paths = [received.path for received in endpoint.ledger]
    assert paths == ["/files/%2E%2E/read", "/files/%2E/read", "/files/..%2F..%2Fadmin/read", "/files/a%3Fb%23c/read"]


def test_a_case_cannot_add_a_header() -> None:
    with FakeEndpoint() as endpoint:
        spec = app(endpoint, headers={"X-Note": "{{note}}"})
        found = failure(system(spec), providers.question(spec, case(note="a\r\nX-Admin: 1"), trial=1))
        assert found.kind == "bad_request" and "X-Note" in found.why
        assert endpoint.ledger == []


@pytest.mark.parametrize("url", ["http://{{input}}/x", "http://a.{{city}}.example/", "https://example.com:{{port}}/"])
def test_a_case_cannot_say_where_requests_go(url: str) -> None:
    with pytest.raises(Mistake, match="slot in its host"):
        system(SystemSpec("app", "http", url=url))


def test_a_request_that_is_the_same_for_every_case_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="no slot"):
        system(SystemSpec("app", "http", url="http://127.0.0.1/", body={"q": "hello"}))


def test_a_path_that_cannot_be_read_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="does not begin"):
        system(SystemSpec("app", "http", url="http://127.0.0.1/{{input}}", answer="reply"))


TEXT = st.text(st.characters(exclude_categories=("Cs",))) | st.sampled_from(
    ["{{input}}", "{{city}}", "{{ expected }}", "env:MY_KEY", "\\u0000", "%2F%%", "\u2028"]
)


def test_whatever_a_case_says_arrives_unchanged() -> None:
    """Bytes in are bytes out, through body, query and path, without a second reading as a template."""
    with FakeEndpoint(lambda received: Reply(received.body)) as endpoint:
        spec = app(
            endpoint,
            "/a/{{city}}/b?q={{input}}&n={{city}}",
            body={"q": "{{input}}", "in": "<{{city}}>{{input}}", "raw": "{{extra}}"},
            answer="$.q",
        )

        @settings(max_examples=60, deadline=None)
        @given(text=TEXT.filter(str.strip), city=TEXT, extra=st.lists(TEXT | st.integers() | st.none(), max_size=3))
        def arrives(text: str, city: str, extra: list[Json]) -> None:
            question = providers.question(spec, Case("c", (Message("user", text),), None, {"city": city, "extra": extra}), trial=1)
            found = ask(system(spec), question)[0]
            received = endpoint.ledger[-1]
            assert isinstance(found, Answer)
            assert found.text.replace("\\u0000", "\0") == text.replace("\\u0000", "\0")
            assert received.json == {"q": text, "in": f"<{city}>{text}", "raw": extra}
            path, query = received.path.split("?", 1)
            assert unquote(path) == f"/a/{city}/b".replace("\0", "\\u0000")
            assert [unquote(part.split("=", 1)[1]) for part in query.split("&")] == [part.replace("\0", "\\u0000") for part in (text, city)]

        arrives()


def test_big_answers_arrive_whole() -> None:
    text = base64.b64encode(bytes(range(256)) * 8000).decode()
    with FakeEndpoint(lambda _: Reply(text)) as endpoint:
        spec = app(endpoint)
        assert answer(system(spec), providers.question(spec, case(), trial=1)).text == text
