"""Who may come in: links, sessions, roles."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fairmark.errors import CannotDo
from fairmark.web import access, app
from tests.web.conftest import Served, marked_bench

Start = Callable[..., Served]


def test_a_link_lets_in_once_and_the_session_is_a_strict_cookie(served: Start) -> None:
    server = served(marked_bench())
    token = access.make_link(server.office, "ana")
    status, body, headers = server.post("/enter", {"token": token})
    assert (status, json.loads(body)) == (200, {"go": "/"})
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie and token not in cookie
    assert server.post("/enter", {"token": token})[0] == 400
    assert server.post("/enter", {"token": token[:-1]})[0] == 400
    assert server.post("/enter", {"token": "x" * 43})[0] == 400


def test_leaving_ends_the_session_in_the_store(served: Start) -> None:
    server = served(marked_bench())
    cookie = server.cookie("ana")
    assert server.post("/leave", {}, Cookie=cookie)[0] == 200
    assert server.post("/leave", {}, Cookie=cookie)[0] == 401


def test_a_new_link_or_a_revocation_ends_what_let_the_person_in_before(served: Start) -> None:
    server = served(marked_bench())
    first = server.cookie("ana")
    status, body, _ = server.post("/links", {"person": "ana"}, "owner")
    assert status == 200 and json.loads(body)["link"].startswith(server.url + "/enter#")
    assert server.post("/leave", {}, Cookie=first)[0] == 401
    second = server.cookie("ben")
    assert json.loads(server.post("/revoke", {"person": "ben"}, "owner")[1]) == {"ended": 1}
    assert server.post("/leave", {}, Cookie=second)[0] == 401
    assert server.post("/links", {"person": "nobody"}, "owner")[0] == 409


@pytest.mark.parametrize("person", ["ana", "cleo"])
def test_only_owners_give_out_links(served: Start, person: str) -> None:
    server = served(marked_bench())
    assert server.post("/links", {"person": "ana"}, person)[0] == 403
    assert server.post("/revoke", {"person": "ana"}, person)[0] == 403


def test_a_person_who_is_taken_off_the_roster_is_out() -> None:
    office = app.make_office(marked_bench())
    with pytest.raises(CannotDo, match="not among those who mark"):
        access.make_link(office, "eve")


def test_other_machines_need_a_flag_and_names() -> None:
    app.check_binding("127.0.0.1", allow_remote=False, people=())
    app.check_binding("::1", allow_remote=False, people=())
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(CannotDo, match="other machines"):
            app.check_binding(host, allow_remote=False, people=("ana",))
        with pytest.raises(CannotDo, match="nobody is named"):
            app.check_binding(host, allow_remote=True, people=())
        app.check_binding(host, allow_remote=True, people=("ana",))


def test_a_named_proxy_is_known_on_the_ports_of_the_web_and_nobody_else() -> None:
    door = access.Door(access.known_hosts("0.0.0.0", ["Marking.example.org"]), 8765, access.spelt(["Marking.example.org"]))
    for host in ("marking.example.org", "marking.example.org:443", "MARKING.example.org:8765", "127.0.0.1:8765", "[::1]:8765"):
        assert door.knows(host), host
    for host in ("127.0.0.1", "localhost:443", "marking.example.org:8766", "evil.example.org", "0.0.0.0:8765", "[::1]"):
        assert not door.knows(host), host
