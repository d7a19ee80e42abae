"""The pages where one person marks: what is shown of a response, and what is said about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from markupsafe import Markup

from fairmark.errors import CannotDo, Mistake
from fairmark.people import Desk, Done, Pane, Progress, View
from fairmark.records import Json, Span, digest
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, NOT_COVERED, Criterion
from fairmark.web import render
from fairmark.web.visit import MARKERS, SIGNED_IN, Route, Visit

SIDES = ("Left", "Right")


async def home(visit: Visit) -> web.StreamResponse:
    """What there is to do; an owner's is elsewhere."""
    if visit.role == "owner":
        raise web.HTTPFound("/overview")
    progress, ahead = await visit.apart(lambda: (visit.office.desk.progress(visit.person), visit.office.desk.next_open(visit.person)))
    return _home(visit, progress, ahead)


async def go_on(visit: Visit) -> web.StreamResponse:
    """The first response that is not marked yet, or where there is none, word of that."""
    progress, ahead = await visit.apart(lambda: (visit.office.desk.progress(visit.person), visit.office.desk.next_open(visit.person)))
    if ahead is not None:
        raise web.HTTPFound(f"/mark/{ahead}")
    return _home(visit, progress, ahead)


async def page(visit: Visit) -> web.StreamResponse:
    """The marking page of one response, complete before any script runs."""
    desk, which = visit.office.desk, _which(visit)
    view, progress = await visit.apart(lambda: (desk.view(visit.person, which), desk.progress(visit.person)))
    criteria = [visit.office.bench.study.rubric[name] for name in desk.people.criteria]
    known = {
        "person": visit.person,
        "id": digest(desk.name)[:12],  # tells studies at one address apart, without the name that could give a system away
        "criteria": [_known(one, desk) for one in criteria],
        "ways_out": {"cannot": CANNOT_TELL, "uncovered": NOT_COVERED, "inapplicable": NOT_APPLICABLE},
        "pairs": desk.people.pairs,
    }
    return visit.page(
        "mark.html",
        item=_item(visit, view),
        view=json.dumps(_view(view, progress)),
        known=json.dumps(known),
        criteria=criteria,
        first=view.panes,
        sides=SIDES if desk.people.pairs else ("",),
        progress=progress,
        spoken=spoken,
        guidance=lambda words: Markup(render.text(words)),
        reasons=desk.people.reasons,
        allow_inapplicable=any(one.not_applicable for one in criteria),
    )


async def view(visit: Visit) -> web.StreamResponse:
    """The same for a page that stands already."""
    desk, which = visit.office.desk, _which(visit)
    seen, progress = await visit.apart(lambda: (desk.view(visit.person, which), desk.progress(visit.person)))
    return visit.answer({**_view(seen, progress), "html": _item(visit, seen)})


async def part(visit: Visit) -> web.StreamResponse:
    """More of a long response, from a character on."""
    pane = await _pane(visit)
    start = visit.request.query.get("from", "")
    if not (re.fullmatch(r"[0-9]{1,12}", start) and int(start) <= len(pane.output)):
        raise Mistake.in_call("`from` is no place in the response", allowed=f"a whole number up to {len(pane.output)}")
    piece = await visit.apart(lambda: render.response(pane.output, int(start)))
    return visit.answer({"html": piece.html, "start": piece.start, "end": piece.end, "total": piece.total})


async def differences(visit: Visit) -> web.StreamResponse:
    """Two responses that stand side by side, in one."""
    seen = await visit.apart(lambda: visit.office.desk.view(visit.person, _which(visit)))
    if len(seen.panes) != 2:
        raise CannotDo("NO_PAIR", "there are no two responses to compare here", "read the one that is shown")
    shown = await visit.apart(lambda: render.differences(seen.panes[0].output, seen.panes[1].output))
    return visit.answer({"html": shown})


async def say(visit: Visit) -> web.StreamResponse:
    """Stores a level with its reason and its quotes. 409 with the present state where another window was quicker."""
    said, desk, which = await visit.said(), visit.office.desk, _which(visit)
    label = said.get("label")
    if label is not None and not isinstance(label, str):
        raise Mistake.in_call("`label` is no text", allowed="the name of a level, or null to take it back")
    evidence = said.get("evidence", [])
    if not isinstance(evidence, list) or not all(isinstance(quote, dict) for quote in evidence):
        raise Mistake.in_call("`evidence` is no list of quotes", allowed="[{quote, start, end}]")
    seconds = said.get("seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise Mistake.in_call("`seconds` is no number", allowed="a number, 0 or more")
    act, criterion, reason, base = _text(said, "act"), _text(said, "criterion"), _text(said, "reason", ""), _base(said)

    def work() -> Done:
        quotes = [_as_stored(desk, visit.person, which, quote) for quote in evidence]
        return desk.mark(
            visit.person, which, act, criterion=criterion, label=label, reason=reason, evidence=quotes, seconds=seconds, base=base
        )

    return await _done(visit, work)


async def skip(visit: Visit) -> web.StreamResponse:
    """Puts a response to the end."""
    said, which = await visit.said(), _which(visit)
    act, reason, base = _text(said, "act"), _text(said, "reason", ""), _base(said)
    return await _done(visit, lambda: visit.office.desk.skip(visit.person, which, act, reason=reason, base=base))


async def note(visit: Visit) -> web.StreamResponse:
    """Stores a field note, or takes it back where its text is empty."""
    said, desk, which = await visit.said(), visit.office.desk, _which(visit)
    act, name, words, base, span = _text(said, "act"), _text(said, "note"), _text(said, "text", ""), _base(said), said.get("span")
    if span is not None and not isinstance(span, dict):
        raise Mistake.in_call("`span` is no quote", allowed="{quote, start, end}, or null")

    def work() -> Done:
        about = None if span is None else _as_stored(desk, visit.person, which, span)
        return desk.note(visit.person, which, act, note=name, text=words, span=about, base=base)

    return await _done(visit, work)


async def undo(visit: Visit) -> web.StreamResponse:
    """Takes the last act back and says on which response that was."""
    act = _text(await visit.said(), "act")
    return await _done(visit, lambda: visit.office.desk.undo(visit.person, act))


async def redo(visit: Visit) -> web.StreamResponse:
    """Does again what was taken back last and says on which response that was."""
    act = _text(await visit.said(), "act")
    return await _done(visit, lambda: visit.office.desk.redo(visit.person, act))


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", home, SIGNED_IN),
    Route("GET", "/mark", go_on, MARKERS),
    Route("GET", "/mark/{id}", page, MARKERS),
    Route("GET", "/mark/{id}/view", view, MARKERS),
    Route("GET", "/mark/{id}/part", part, MARKERS),
    Route("GET", "/mark/{id}/differences", differences, MARKERS),
    Route("POST", "/mark/{id}/say", say, MARKERS),
    Route("POST", "/mark/{id}/skip", skip, MARKERS),
    Route("POST", "/mark/{id}/note", note, MARKERS),
    Route("POST", "/undo", undo, MARKERS),
    Route("POST", "/redo", redo, MARKERS),
)

# ------------------------------------------------------------ inside


def _home(visit: Visit, progress: Progress, ahead: str | None) -> web.StreamResponse:
    people = visit.office.desk.people
    criteria = [visit.office.bench.study.rubric[name] for name in people.criteria]
    guideline = Markup(render.text(people.guideline)) if people.guideline else None
    return visit.page("home.html", progress=progress, ahead=ahead, guideline=guideline, criteria=criteria, spoken=spoken)


def _which(visit: Visit) -> str:
    return visit.request.match_info["id"]


async def _pane(visit: Visit) -> Pane:
    which = _which(visit)
    seen = await visit.apart(lambda: visit.office.desk.view(visit.person, which))
    return next(pane for pane in seen.panes if pane.id == which)


async def _done(visit: Visit, work: Callable[[], Done | None]) -> web.StreamResponse:
    desk, person = visit.office.desk, visit.person

    def both() -> tuple[Done | None, str | None, View | None]:
        done = work()
        refused = done is not None and not done.posted.stored
        return done, desk.next_open(person), desk.view(person, done.assignment) if done is not None and refused else None

    done, ahead, present = await visit.apart(both)
    if done is None:
        return visit.answer({"nothing": True})
    if present is not None:
        return visit.answer({"present": _view(present, done.progress)}, status=409)
    said = {"assignment": done.assignment, "pane": _pane_document(done.pane), "progress": _progress(done.progress), "next": ahead}
    return visit.answer(said)


def _view(seen: View, progress: Progress) -> dict[str, Json]:
    return {
        "id": seen.panes[0].id,
        "panes": [_pane_document(pane) for pane in seen.panes],
        "training": seen.training,
        "place": seen.place,
        "before": seen.before,
        "after": seen.after,
        "can_undo": seen.can_undo,
        "can_redo": seen.can_redo,
        "progress": _progress(progress),
    }


def _pane_document(pane: Pane) -> dict[str, Json]:
    return {
        "id": pane.id,
        "version": pane.version,
        "status": pane.status,
        "known": dict(pane.known),
        "said": {
            name: {
                "label": one.label,
                "reason": one.reason,
                "evidence": [_quote(span) for span in one.evidence],
                "seconds": one.seconds,
            }
            for name, one in pane.said.items()
        },
        "notes": [{"id": one.id, "text": one.text, "span": None if one.span is None else _quote(one.span)} for one in pane.notes],
    }


def _quote(span: Span) -> dict[str, Json]:
    return {"quote": span.quote, "start": span.start, "end": span.end}


def _progress(progress: Progress) -> dict[str, Json]:
    return {"assigned": progress.assigned, "done": progress.done, "waiting": progress.waiting, "stage": progress.stage}


def _item(visit: Visit, seen: View) -> str:
    """What is shown of the case and the response, as HTML."""
    fields = [(name, Markup(render.field(value, name))) for name, value in seen.panes[0].fields.items()]
    parts = [(pane, render.response(pane.output)) for pane in seen.panes]
    return visit.office.templates.get_template("item.html").render(
        fields=fields,
        parts=[(pane, piece, Markup(piece.html)) for pane, piece in parts],
        names={"input": "Question", "expected": "What is known to be right"},
        spoken=spoken,
        sides=SIDES if len(seen.panes) == 2 else ("",),
        training=seen.training,
    )


def _known(one: Criterion, desk: Desk) -> dict[str, Json]:
    return {
        "id": one.id,
        "name": spoken(one.id),
        "levels": [{"name": level.name, "anchor": level.anchor} for level in one.levels],
        "range": list(one.range) if one.range and not one.levels else None,
        "inapplicable": one.not_applicable,
        "reason": one.id in desk.people.reasons,
    }


def spoken(name: str) -> str:
    """A name as people read it: `names_the_limit` becomes `Names the limit`."""
    words = re.sub(r"[_-]+", " ", name).strip() or name
    return words[:1].upper() + words[1:]


def _text(said: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = said.get(name, default)
    if not isinstance(value, str):
        raise Mistake.in_call(f"`{name}` is missing or no text", allowed="a text")
    return value


def _base(said: Mapping[str, Any]) -> int | None:
    value = said.get("base")
    if value is not None and type(value) is not int:
        raise Mistake.in_call("`base` is no whole number", allowed="the version that the page knew, or null")
    return value


def _as_stored(desk: Desk, person: str, which: str, quote: Mapping[str, Json]) -> Mapping[str, Json]:
    """The quote in the response's own characters: a page cannot hold all of them, and shows U+FFFD instead."""
    words, start, end = quote.get("quote"), quote.get("start"), quote.get("end")
    if not (isinstance(words, str) and "\ufffd" in words and type(start) is int and type(end) is int):
        return quote
    pane = next(pane for pane in desk.view(person, which).panes if pane.id == which)
    own = pane.output[start:end]
    return {**quote, "quote": own} if start >= 0 and re.sub("[\x00\ud800-\udfff]", "\ufffd", own) == words else quote
