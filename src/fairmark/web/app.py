"""The server: all pages behind one guard, on this machine unless somebody asks for more."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
import signal
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fairmark.errors import CannotDo
from fairmark.people import Desk
from fairmark.web import adjudication, entry, marking, notes, overview, progress
from fairmark.web.access import OWNER, Door, dress, guard, is_loopback, known_hosts, make_link, open_to, spelt
from fairmark.web.visit import ANYBODY, Office, Route, Visit
from fairmark.workbench import Workbench

ROUTES: tuple[Route, ...] = (*entry.ROUTES, *marking.ROUTES, *adjudication.ROUTES, *notes.ROUTES, *overview.ROUTES, *progress.ROUTES)
LARGEST_BODY = 1_000_000  # bytes of one act
THREADS = 64  # visits that may wait for the store at once
KEPT_ALIVE = 30.0  # seconds an idle connection is kept
HEADER_SECONDS = 15.0  # within which a new connection must have sent a request
MOST_SILENT = 500  # connections that may be without a request yet; each beyond costs the oldest its place
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
log = logging.getLogger("fairmark.web")


def make_office(bench: Workbench) -> Office:
    """What all pages of a bench share. `CannotDo` where the study does not say who marks."""
    templates = Environment(
        loader=PackageLoader("fairmark.web"), autoescape=select_autoescape(default=True, default_for_string=True), undefined=StrictUndefined
    )
    files = _static()
    templates.globals["static"] = lambda name: f"/static/{name}?v={files[name][1]}"
    return Office(bench, bench.desk(), templates, {"static": files})


def make_app(office: Office, door: Door, *, routes: Sequence[Route] = ROUTES) -> web.Application:
    """The pages as an aiohttp application. Whatever it answers has passed the guard."""
    app = web.Application(middlewares=[guard(door)], client_max_size=LARGEST_BODY)
    for route in (*routes, *_static_routes(office)):
        app.router.add_route(route.method, route.path, open_to(route, office))
    return app


def _static() -> dict[str, tuple[bytes, str]]:
    """Every file of our own that pages may load, with a digest of its content. No path that a visitor sends is ever opened."""
    folder = resources.files("fairmark.web") / "static"
    return {file.name: (body := file.read_bytes(), hashlib.sha256(body).hexdigest()[:12]) for file in folder.iterdir() if file.is_file()}


def _static_routes(office: Office) -> list[Route]:
    def route(name: str, body: bytes) -> Route:
        suffix = "." + name.rpartition(".")[2]
        kind = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"

        async def give(visit: Visit) -> web.StreamResponse:
            forever = {"Cache-Control": "public, max-age=31536000, immutable"} if visit.request.query_string else {}
            charset = "utf-8" if kind.startswith("text/") else None
            return web.Response(body=body, content_type=kind, charset=charset, headers=forever)

        return Route("GET", f"/static/{name}", give, ANYBODY)

    return [route(name, body) for name, (body, _) in office.shared["static"].items()]


def check_binding(host: str, *, allow_remote: bool, people: Collection[str]) -> None:
    """Nothing, or `CannotDo` where others would get in who should not."""
    if is_loopback(host):
        return
    if not allow_remote:
        raise CannotDo(
            "NOT_LOOPBACK",
            f"{host} can be reached from other machines",
            "leave --host out to stay on this machine, or add --allow-remote to let the people named in the study in",
        )
    if not people:
        raise CannotDo("NO_PEOPLE", "nobody is named who may come in", "name them: `people: {roster: [...]}` in study.yaml")


def serve(
    bench: Workbench,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    allow_remote: bool = False,
    hosts: Sequence[str] = (),
    say: Callable[[str], None],
    ready: Callable[[dict[str, str]], None] | None = None,
) -> None:
    """Serves until it is stopped. `ready` is given everybody's link, the owner's first; `say` what a person should read."""
    office = make_office(bench)
    people = list(dict.fromkeys((*office.desk.people.roster, *office.desk.people.adjudicators)))
    check_binding(host, allow_remote=allow_remote, people=people)
    asyncio.run(_serve(office, host, port, hosts, people, say, ready))


async def _serve(
    office: Office,
    host: str,
    port: int,
    hosts: Sequence[str],
    people: Sequence[str],
    say: Callable[[str], None],
    ready: Callable[[dict[str, str]], None] | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError):  # Windows, or not the main thread
            loop.add_signal_handler(number, stop.set)
    running = await start(office, host, port, hosts)
    try:
        here = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{hosts[0] if hosts else here}:{running.port}"
        links = {who: f"{address}/enter#{make_link(office, who, anew=False)}" for who in (OWNER, *people)}
        if not is_loopback(host):
            say("Warning: this is plain HTTP. Whoever can listen on the network can read the marks and take over a session.")
            if host in ("0.0.0.0", "::") and not hosts:
                say("Nobody on another machine can come in yet: add --name with the name or address by which they ask for this one.")
        say("Each link lets one person in, once, within a day. The page for owners gives out new ones.")
        for who, link in links.items():
            say(f"{who}: {link}")
        say("Press Ctrl-C to stop; what was marked is stored.")
        if ready is not None:
            ready(links)
        await stop.wait()
    finally:
        await running.stop()


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    port: int
    _server: asyncio.Server
    _runner: web.AppRunner
    _looked_up: asyncio.Future[None]

    async def stop(self) -> None:
        """Ends it, once what is under way has been answered."""
        self._server.close()
        await self._runner.cleanup()
        await asyncio.wait([self._looked_up])


class Connection(RequestHandler):
    """One connection. What is no request at all is refused in our own words, with the headers that every answer has."""

    __slots__ = ()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        refused = web.Response(text="this is no request that can be read", status=status)
        refused.force_close()
        return refused

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        dress(resp)
        return await super().finish_response(request, resp, start_time)


async def start(office: Office, host: str, port: int, hosts: Sequence[str] = (), *, header_seconds: float = HEADER_SECONDS) -> Running:
    """A server that listens. A connection that sends no whole request within `header_seconds` is closed.

    `CannotDo` where the port is taken or the address is not this machine's.
    """
    from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

    listening = socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM)
    listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CannotDo(
            "NO_PORT", f"{host}:{port} cannot be listened on: {error.strerror}", "name another --port, or 0 for a free one"
        ) from None
    bound = int(listening.getsockname()[1])
    door = Door(known_hosts(host, hosts), bound, spelt(hosts))
    app = make_app(office, door)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    loop = asyncio.get_running_loop()
    # most of the time a thread waits for the disk, and what waits together is written together
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="fairmark-page"))
    assert runner.server is not None

    def connected() -> asyncio.Protocol:
        assert runner.server is not None
        connection = Connection(runner.server, loop=loop, keepalive_timeout=KEPT_ALIVE, access_log=None)  # type: ignore[arg-type]  # no log
        if len(door.silent) >= MOST_SILENT:
            drop_if_silent(next(iter(door.silent)))
        door.silent[connection] = None
        loop.call_later(header_seconds, drop_if_silent, connection)
        return connection

    def drop_if_silent(connection: Connection) -> None:
        if connection in door.silent:
            del door.silent[connection]
            if connection.transport is not None:
                connection.transport.close()

    server = await loop.create_server(connected, sock=listening, backlog=1024)
    return Running(bound, server, runner, loop.run_in_executor(None, _look_up, office.desk))


def _look_up(desk: Desk) -> None:
    try:
        desk.look_up()
    except Exception:  # whoever comes learns what is wrong, on a page
        log.exception("what is marked could not be looked up")
