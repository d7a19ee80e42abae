"""Who may come in: the guard in front of every page, sessions, and one-time links."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fairmark.errors import CannotDo, Mistake
from fairmark.store import Session
from fairmark.web.visit import Office, Role, Route, Visit

COOKIE = "fairmark"
HEADER = "X-Fairmark"
LINK_LASTS = 24 * 3600 * 10**9  # nanoseconds
SESSION_LASTS = 30 * 24 * 3600 * 10**9
OWNER = "owner"
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # 256 bits
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
log = logging.getLogger("fairmark.web")


@dataclass(frozen=True, slots=True)
class Door:
    """Under which names this server may be asked."""

    hosts: frozenset[str]  # names and addresses, in small letters, without the port
    port: int
    named: frozenset[str] = frozenset()  # names of a proxy in front, on the ports of the web
    silent: dict[Any, None] = field(default_factory=dict)  # connections on which no request has come in yet, the oldest first

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server, with its port, or a proxy in front of it."""
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([1-9][0-9]{0,4}))?", host)
        if match is None:
            return False
        name, port = match[1].lower(), match[2] or "80"
        return (name in self.hosts and port == str(self.port)) or (name in self.named and port in ("80", "443"))


def new_token() -> str:
    """256 random bits, as 43 characters."""
    return secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    """What the store keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def role_of(office: Office, person: str) -> Role:
    """What a named person may do; `CannotDo` for a stranger."""
    people = office.desk.people
    if person == OWNER:
        return "owner"
    if person in people.adjudicators:
        return "adjudicator"
    if person in people.roster:
        return "grader"
    raise CannotDo("NO_SUCH_PERSON", f"`{person[:80]}` is not among those who mark", "add the name to `people` in study.yaml")


def make_link(office: Office, person: str, *, anew: bool = True) -> str:
    """The token of a new link for a person. With `anew`, earlier links and sessions of this person end, except an owner's."""
    role, now, token = role_of(office, person), time.time_ns(), new_token()
    rows, study = office.bench.store.people, office.desk.name
    if anew and person != OWNER:
        rows.end_sessions(study, person, at=now)
    rows.let_in(study, hashed(token), person, role, "link", at=now, until=now + LINK_LASTS)
    return token


def guard(door: Door) -> Middleware:
    """The middleware in front of everything: names, methods and origins first, pages after."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        door.silent.pop(request.protocol, None)
        try:
            refused = _refusal(request, door)
            response = refused if refused is not None else await handler(request)
        except web.HTTPException as error:
            response = _error(request, error.status, error.reason, "", "")
            for name in ("Allow", "Location"):
                if name in error.headers:
                    response.headers[name] = error.headers[name]
        except Exception:
            log.exception("a page failed: %s", _plain(request.path))
            response = _error(request, 500, "Something went wrong here. What was stored before is safe.", "", "load the page again")
        dress(response)
        log.info("%s %s %s", request.method, _plain(request.path), response.status)
        return response

    return guarded


def dress(response: web.StreamResponse) -> None:
    """Gives an answer the headers that every answer has."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "private, no-store")
    response.headers["Server"] = "fairmark"


def _refusal(request: web.Request, door: Door) -> web.Response | None:
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not door.knows(hosts[0]):
        return web.Response(text="this server does not answer under that name", status=421)
    if not request.raw_path.startswith("/") or request.raw_path.startswith("//"):
        return web.Response(text="an address begins with one /", status=400)
    if request.method not in ("GET", "HEAD", "POST"):
        return web.Response(text="only GET and POST", status=405, headers={"Allow": "GET, POST"})
    if request.method != "POST":
        return None
    origins, same = request.headers.getall("Origin", []), request.headers.get("Sec-Fetch-Site")
    told = len(origins) <= 1 and all(origin in _origins(hosts[0]) for origin in origins) and same in (None, "same-origin")
    # every browser says where a request comes from in one of the two
    if not told or (same is None and not origins) or request.headers.get(HEADER) != "1":
        return _error(request, 403, "This did not come from one of our own pages.", "", "load the page again")
    if request.content_type != "application/json":
        return _error(request, 415, "This is not JSON.", "JSON", "")
    return None


def scheme(request: web.Request) -> str:
    """How the browser asked, as its Origin says: a proxy in front may speak HTTPS where we speak HTTP."""
    return "https" if request.headers.get("Origin", "").startswith("https://") else request.scheme


def _origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"


def open_to(route: Route, office: Office) -> Handler:
    """The handler of a route, for those who may use it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        session = await signed_in(request, office)
        person, role = ("", "anybody") if session is None else (session.person, session.role)
        if role not in route.roles:
            return _turned_away(request, session)
        visit = Visit(request, office, person, role)
        try:
            return await route.handler(visit)
        except Mistake as error:
            problem = error.problems[0]
            return _error(request, 400, problem.found, problem.allowed, problem.remedy)
        except CannotDo as error:
            return _error(request, 404 if error.code == "NOT_YOURS" else 409, error.why, "", error.next_step)

    return handle


async def signed_in(request: web.Request, office: Office) -> Session | None:
    """The session that a request's cookie opens; None for anybody else, and where the person may no longer do so."""
    token = request.cookies.get(COOKIE, "")
    if not TOKEN.fullmatch(token):
        return None
    bench, study = office.bench, office.desk.name
    session = bench.store.people.session(study, hashed(token), at=time.time_ns())
    if session is None:
        return None
    try:
        return session if role_of(office, session.person) == session.role else None
    except CannotDo:
        return None  # taken off the roster since


def _turned_away(request: web.Request, session: Session | None) -> web.StreamResponse:
    if session is not None:
        return _error(request, 403, "This page is not for you.", "", "go back to your own")
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=303, headers={"Location": "/enter"})
    return _error(request, 401, "You are not signed in.", "", "open the link you were given, or ask for a new one")


def _error(request: web.Request, status: int, found: str, allowed: str, remedy: str) -> web.Response:
    if request.method == "POST" or "text/html" not in request.headers.get("Accept", ""):
        return web.json_response({"error": {"found": found, "allowed": allowed, "remedy": remedy}}, status=status)
    text = ". ".join(
        part for part in (found.rstrip("."), f"Allowed: {allowed}" if allowed else "", remedy[:1].upper() + remedy[1:]) if part
    )
    return web.Response(text=text + ".", status=status)


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(path: str) -> str:
    """A path fit for a log: no control characters, no line ends, not endless."""
    return re.sub(r"[^\x20-\x7e]", lambda match: f"\\x{ord(match[0]):02x}", path)[:200]


def known_hosts(host: str, named: Collection[str]) -> frozenset[str]:
    """The names under which a server at this address may be asked."""
    everywhere = host in ("0.0.0.0", "::")
    own = {"127.0.0.1", "localhost", "::1"} if is_loopback(host) or everywhere else set()
    return spelt({*own, *named, *(() if everywhere else (host,))})


def spelt(names: Collection[str]) -> frozenset[str]:
    """Names as a Host header spells them: small letters, IPv6 addresses in brackets."""
    return frozenset(f"[{name.lower()}]" if ":" in name and not name.startswith("[") else name.lower() for name in names)
