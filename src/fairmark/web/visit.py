"""What a page is made of: a route with the roles that may use it, and one visit to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from aiohttp import web
from jinja2 import Environment

from fairmark.errors import Mistake
from fairmark.people import Desk
from fairmark.workbench import Workbench

Role = Literal["anybody", "grader", "adjudicator", "owner"]
T = TypeVar("T")
BODY_SECONDS = 20.0  # for what is sent to arrive

MARKERS: frozenset[Role] = frozenset({"grader", "adjudicator"})  # an owner who wants to mark is on the roster under a name
SETTLERS: frozenset[Role] = frozenset({"adjudicator"})
OWNERS: frozenset[Role] = frozenset({"owner"})
SIGNED_IN: frozenset[Role] = frozenset({"grader", "adjudicator", "owner"})
ANYBODY: frozenset[Role] = frozenset({"anybody", "grader", "adjudicator", "owner"})


@dataclass(slots=True)
class Office:
    """What all pages of one server share."""

    bench: Workbench
    desk: Desk
    templates: Environment  # autoescaping; every template extends base.html
    shared: dict[str, Any] = field(default_factory=dict)  # what a group of pages keeps between visits


@dataclass(slots=True)
class Visit:
    """One request by somebody who may make it."""

    request: web.Request
    office: Office
    person: str  # pseudonym; empty for anybody
    role: Role

    async def said(self) -> Mapping[str, Any]:
        """The JSON object that was sent. `Mistake` where it is none."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                text = await self.request.text()
            found = json.loads(text, parse_constant=_no_constant)
        except TimeoutError:
            raise Mistake.in_call("what was sent did not arrive in time", remedy="send it again") from None
        except (ValueError, RecursionError):
            raise Mistake.in_call("what was sent is no JSON", allowed="a JSON object") from None
        if not isinstance(found, dict):
            raise Mistake.in_call("what was sent is no JSON object", allowed="a JSON object")
        return found

    async def apart(self, work: Callable[[], T]) -> T:
        """The result of something that reads or waits for the store, done beside the loop."""
        return await asyncio.to_thread(work)

    def page(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """A page from a template, which also knows `person`, `role` and `study`."""
        text = self.office.templates.get_template(template).render(
            person=self.person, role=self.role, study=self.office.bench.study, **context
        )
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")

    def answer(self, data: Any, *, status: int = 200) -> web.Response:
        """JSON for the page's own script."""
        return web.json_response(data, status=status)


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One address, and who may use it. A route without roles cannot be made."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    roles: frozenset[Role]


def _no_constant(name: str) -> None:
    raise ValueError(name)
