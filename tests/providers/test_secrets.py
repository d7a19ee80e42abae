"""No key in anything that comes back, however the other side writes it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark.errors import CannotDo
from fairmark.providers.secrets import Secrets
from fairmark.study import SystemSpec
from tests.fake_endpoint import FakeEndpoint, Received, Reply, chat
from tests.providers.asking import CANARY, HELLO, ask, model, system

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "in a URL": lambda key: f"https://x/?key={quote(key, safe='')}&y",
    "in a URL, small letters": lambda key: re.sub("%..", lambda code: code[0].lower(), quote(key, safe="")),
    "in a form": quote_plus,
    "in JSON": lambda key: json.dumps({"k": key}),
    "in PHP's JSON": lambda key: json.dumps(key).replace("/", "\\/"),
    "in HTML": html.escape,
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 after a user name": lambda key: base64.b64encode(f"me:{key}".encode()).decode(),
    "base64 with more behind": lambda key: base64.urlsafe_b64encode(f"u:{key}:and more".encode()).decode(),
}


def leaks(key: str, text: str) -> bool:
    """Whether the key, or its middle in base64, can be read off."""
    core = base64.b64encode(key.encode()).decode()
    return key in text or quote(key, safe="") in text or core[4:-6] in text


def echoing(form: Callable[[str], str], status: int) -> Callable[[Received], Reply]:
    def decide(received: Received) -> Reply:
        key = (received.headers.get("authorization") or received.headers["x-api-key"]).removeprefix("Bearer ")
        if status == 200:
            return Reply(chat(f"You sent {form(key)}."))
        return Reply(
            {"error": {"message": f"Incorrect key {form(key)} given"}} if status != 500 else f"trace: {form(key)} {'x' * 500}", status
        )

    return decide


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_endpoint_that_echoes_the_key(form: Callable[[str], str], status: int) -> None:
    with FakeEndpoint(echoing(form, status)) as endpoint:
        provider = model(endpoint.url, api_key="env:MY_KEY", env={"MY_KEY": CANARY})
        outcome = ask(provider, HELLO)[0]
        assert endpoint.ledger[0].headers["authorization"] == f"Bearer {CANARY}"
    shown = f"{outcome!r} {provider!r}"
    assert not leaks(CANARY, shown), shown
    assert "MY_KEY" in shown


def test_an_application_that_echoes_the_key() -> None:
    spec = SystemSpec(
        "app",
        "http",
        url="",
        headers={"Authorization": "Bearer env:MY_KEY"},
        body={"q": "{{input}}", "token": "env:OTHER"},
        answer="$.no",
    )
    env = {"MY_KEY": CANARY, "OTHER": "other-canary-0123456789"}

    def decide(received: Received) -> Reply:
        return Reply({received.headers["authorization"]: received.json["token"]})

    with FakeEndpoint(decide) as endpoint:
        keys = replace(spec, url=f"{endpoint.root}/ask")
        whole = replace(keys, answer=None)
        shown = repr([ask(system(each, env=env), HELLO) for each in (keys, whole)])
        assert endpoint.ledger[0].json["token"] == env["OTHER"]
    assert CANARY not in shown and env["OTHER"] not in shown
    assert "the value of MY_KEY" in shown and "the value of OTHER" in shown


@given(
    key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=60),
    form=st.sampled_from(list(FORMS.values())),
    around=st.text(max_size=20),
)
def test_any_key_in_any_form_is_taken_out(key: str, form: Callable[[str], str], around: str) -> None:
    secrets = Secrets({"MY_KEY": key})
    secrets.value("MY_KEY")
    for shown in (secrets.redact(around + form(key) + around), secrets.redact_answer(around + form(key) + around)):
        assert key not in shown.replace(around, "")
    assert key not in repr(secrets)


def test_short_values_do_not_spoil_what_is_said() -> None:
    secrets = Secrets({"MY_KEY": "EMPTY"})
    secrets.value("MY_KEY")
    assert secrets.redact("the list is EMPTY") == "the list is EMPTY"
    longer = Secrets({"MY_KEY": "password"})
    longer.value("MY_KEY")
    assert longer.redact_answer("Reset your password.") == "Reset your password.", "answers are data"


def test_variables_named_like_a_secret_are_covered_without_being_used() -> None:
    assert Secrets({"DB_PASSWORD": "hunter2hunter2", "HOME": "/home/me/somewhere"}).redact("hunter2hunter2 in /home/me/somewhere") == (
        "(the value of DB_PASSWORD) in /home/me/somewhere"
    )


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(CannotDo, match="NOBODY is not set"):
        Secrets({"NOBODY": " "}).value("NOBODY")
