"""The board on which field notes are sorted into codes. A marker sees only their own notes, and nobody sees a system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from fairmark.errors import Mistake
from fairmark.people.codes import Coding
from fairmark.web.visit import OWNERS, SETTLERS, SIGNED_IN, Route, Visit

SORTERS = SETTLERS | OWNERS


async def page(visit: Visit) -> web.StreamResponse:
    """The notes and codes as this person has sorted them."""
    coding, own = _coding(visit), visit.role == "grader"
    board = await visit.apart(lambda: coding.board(visit.person, own=own))
    readers = () if own else await visit.apart(coding.readers)
    book = None
    if len(readers) > 1:
        book = await visit.apart(lambda: coding.agreement(readers[0], readers[1]))
    return visit.page("notes.html", board=board, own=own, book=book, names={code.id: code.name for code in board.codes})


async def do(visit: Visit) -> web.StreamResponse:
    """Stores one step of the sorting."""
    said = await visit.said()
    act, step, code, into, called = (_text(said, name) for name in ("act", "do", "code", "into", "called"))
    notes = said.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise Mistake.in_call("`notes` is no list of notes", allowed="a list of ids")
    coding = _coding(visit)
    await visit.apart(lambda: coding.do(visit.person, act, step, code=code, into=into, called=called, notes=notes))
    return visit.answer({"go": "/notes"})


async def undo(visit: Visit) -> web.StreamResponse:
    """Takes this person's last step back."""
    act = _text(await visit.said(), "act")
    await visit.apart(lambda: _coding(visit).undo(visit.person, act))
    return visit.answer({"go": "/notes"})


ROUTES: tuple[Route, ...] = (
    Route("GET", "/notes", page, SIGNED_IN),
    Route("POST", "/notes/do", do, SORTERS),
    Route("POST", "/notes/undo", undo, SORTERS),
)


def _coding(visit: Visit) -> Coding:
    return visit.office.bench.notes()


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise Mistake.in_call(f"`{name}` is no text", allowed="a text")
    return value
