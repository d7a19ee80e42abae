"""Coming in by a link, leaving, and links for others."""

from __future__ import annotations

import time

from aiohttp import web

from fairmark.errors import Mistake
from fairmark.web.access import COOKIE, SESSION_LASTS, TOKEN, hashed, make_link, new_token, role_of, scheme
from fairmark.web.visit import ANYBODY, OWNERS, SIGNED_IN, Route, Visit


async def enter_page(visit: Visit) -> web.StreamResponse:
    """The page that reads the token behind the `#`, which no server and no log ever sees, and sends it."""
    return visit.page("enter.html")


async def enter(visit: Visit) -> web.StreamResponse:
    """Uses a link up and begins a session."""
    said = await visit.said()
    token = said.get("token")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise Mistake.in_call("this is no link of ours", remedy="open the whole link you were given")
    rows, study, now = visit.office.bench.store.people, visit.office.desk.name, time.time_ns()
    found = await visit.apart(lambda: rows.use_link(study, hashed(token), at=now))
    if found is None:
        raise Mistake.in_call("this link has been used or is too old", remedy="ask for a new one")
    role = role_of(visit.office, found.person)
    fresh = new_token()
    await visit.apart(lambda: rows.let_in(study, hashed(fresh), found.person, role, "session", at=now, until=now + SESSION_LASTS))
    response = visit.answer({"go": "/"})
    secure = scheme(visit.request) == "https"
    response.set_cookie(COOKIE, fresh, max_age=SESSION_LASTS // 10**9, path="/", httponly=True, samesite="Strict", secure=secure)
    return response


async def leave(visit: Visit) -> web.StreamResponse:
    """Ends the session, here and in the store."""
    token = visit.request.cookies.get(COOKIE, "")
    await visit.apart(lambda: visit.office.bench.store.people.end_session(hashed(token), at=time.time_ns()))
    response = visit.answer({"go": "/enter"})
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
    return response


async def new_link(visit: Visit) -> web.StreamResponse:
    """A new link for a person; what let them in before ends."""
    person = _person(await visit.said())
    token = await visit.apart(lambda: make_link(visit.office, person))
    return visit.answer({"link": f"{scheme(visit.request)}://{visit.request.host}/enter#{token}"})


async def revoke(visit: Visit) -> web.StreamResponse:
    """Ends all sessions and links of a person."""
    person = _person(await visit.said())
    role_of(visit.office, person)
    rows, study = visit.office.bench.store.people, visit.office.desk.name
    ended = await visit.apart(lambda: rows.end_sessions(study, person, at=time.time_ns()))
    return visit.answer({"ended": ended})


def _person(said: object) -> str:
    person = said.get("person") if isinstance(said, dict) else None
    if not isinstance(person, str):
        raise Mistake.in_call("nobody is named", allowed='{"person": a pseudonym}')
    return person


ROUTES = (
    Route("GET", "/enter", enter_page, ANYBODY),
    Route("POST", "/enter", enter, ANYBODY),
    Route("POST", "/leave", leave, SIGNED_IN),
    Route("POST", "/links", new_link, OWNERS),
    Route("POST", "/revoke", revoke, OWNERS),
)
