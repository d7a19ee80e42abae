"""A running server for tests of pages: on this machine, on a free port, stopped by the test that started it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fairmark.study import GraderSpec, People, Study
from fairmark.web import access, app
from fairmark.web.visit import Office
from fairmark.workbench import Workbench
from tests.bench import bench, study

PEOPLE = People(("ana", "ben"), adjudicators=("cleo",), criteria=("tone", "safe"), twice=0.5)


@dataclass
class Served:
    """One running server."""

    office: Office
    port: int
    url: str
    _loop: asyncio.AbstractEventLoop = field(repr=False)
    _running: app.Running = field(repr=False)
    _thread: threading.Thread = field(repr=False)

    def link(self, person: str) -> str:
        """A new one-time link for a person."""
        return f"{self.url}/enter#{access.make_link(self.office, person)}"

    def cookie(self, person: str) -> str:
        """The cookie of a new session of a person, as it is sent."""
        rows, token, now = self.office.bench.store.people, access.new_token(), time.time_ns()
        role = access.role_of(self.office, person)
        rows.let_in(self.office.desk.name, access.hashed(token), person, role, "session", at=now, until=now + access.SESSION_LASTS)
        return f"{access.COOKIE}={token}"

    def get(self, path: str, person: str | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of a GET, redirects not followed."""
        return self._ask("GET", path, None, person, headers)

    def post(self, path: str, said: object, person: str | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of a POST as our own pages send it."""
        own = {"Content-Type": "application/json", "X-Fairmark": "1", "Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        return self._ask("POST", path, json.dumps(said).encode(), person, own | headers)

    def _ask(
        self, method: str, path: str, body: bytes | None, person: str | None, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        if person is not None:
            headers = {**headers, "Cookie": self.cookie(person)}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        try:
            with _opener.open(request, timeout=20) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._running.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


def serving(made: Workbench, **options: Any) -> Served:
    """A server on a bench, in a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    office = app.make_office(made)
    running = asyncio.run_coroutine_threadsafe(app.start(office, "127.0.0.1", 0, **options), loop).result(10)
    return Served(office, running.port, f"http://127.0.0.1:{running.port}", loop, running, thread)


def marked_study(people: People = PEOPLE, *, n: int = 6, **changes: object) -> Study:
    """The small study with people beside its checks and its LLM grader."""
    base = study(n=n)
    chosen = "all" if people.share == 1 else "random"
    graders = {**base.graders, "people": GraderSpec("people", "people", people.criteria, chosen=chosen)}  # type: ignore[arg-type]
    return replace(base, **{"people": people, "graders": graders, "groups": ("variety",), **changes})


def marked_bench(people: People = PEOPLE, *, n: int = 6, **changes: object) -> Workbench:
    """A bench on which all is answered and people's responses are given out, in memory."""
    made = bench(marked_study(people, n=n, **changes))
    made.run()
    made.assign()
    return made


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """Starts servers, and stops them when the test is over."""
    started: list[Served] = []

    def start(made: Workbench, **options: Any) -> Served:
        started.append(serving(made, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()
