"""The pages on which disagreements are settled, as blind as the marking itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from markupsafe import Markup

from fairmark.errors import CannotDo, Mistake
from fairmark.people import Adjudication, Disagreement, Said
from fairmark.rubric import NOT_COVERED
from fairmark.web import render
from fairmark.web.marking import spoken
from fairmark.web.visit import SETTLERS, Route, Visit

FAULTS = (
    ("mark", "M", "A mark", "Somebody slipped."),
    ("item", "I", "The case", "It is unclear, broken or two cases in one."),
    ("rubric", "R", "The rubric", "Its words allow both marks."),
)


async def go_on(visit: Visit) -> web.StreamResponse:
    """The first disagreement that is open, or where there is none, those that are settled."""
    every = await visit.apart(lambda: _settling(visit).all(visit.person))
    ahead = next((one for one in every if one.settled is None), None)
    if ahead is not None:
        raise web.HTTPFound(f"/settle/{ahead.id}")
    return visit.page("settled.html", every=every, spoken=spoken)


async def page(visit: Visit) -> web.StreamResponse:
    """One disagreement: the response, both marks with their reasons and quotes, and what may be decided."""
    settling, which = _settling(visit), visit.request.match_info["id"]
    every = await visit.apart(lambda: settling.all(visit.person))
    one = next((one for one in every if one.id == which), None)
    if one is None:
        raise CannotDo("NOT_YOURS", "there is no such disagreement for you to settle", "go on with the next one")
    on = visit.office.bench.study.rubric[one.criterion]
    labels = [level.name for level in on.levels] or sorted({side.label for side in one.sides if side.label and on.allows(side.label)})
    anchors = {level.name: level.anchor for level in on.levels}
    order = [other.id for other in every]
    spot = order.index(one.id)
    open_now = sum(other.settled is None for other in every)
    return visit.page(
        "settle.html",
        one=one,
        on=on,
        levels=[(name, anchors.get(name, "")) for name in labels],
        fields=[(name, Markup(render.field(value, name))) for name, value in one.fields.items()],
        shown=Markup(render.response(one.output).html),
        sides=[(f"Mark {place}", side, _said(side)) for place, side in enumerate(one.sides, 1)],
        differs=Markup(_reasons(one)),
        faults=FAULTS,
        done=len(every) - open_now,
        of=len(every),
        before=order[spot - 1] if spot else None,
        after=order[spot + 1] if spot + 1 < len(order) else None,
        spoken=spoken,
        names={"input": "Question", "expected": "What is known to be right"},
    )


async def decide(visit: Visit) -> web.StreamResponse:
    """Stores the mark that counts, and says where to go on."""
    said, settling, which = await visit.said(), _settling(visit), visit.request.match_info["id"]
    anchor = said.get("anchor")
    if anchor is not None and not isinstance(anchor, dict):
        raise Mistake.in_call("`anchor` is no proposal", allowed="{level, text}, or null")
    act, label, reason, fault = (_text(said, name) for name in ("act", "label", "reason", "fault"))

    def work() -> str | None:
        settling.settle(visit.person, which, act, label=label, reason=reason, fault=fault, anchor=anchor)
        return next((one.id for one in settling.open(visit.person)), None)

    ahead = await visit.apart(work)
    return visit.answer({"go": f"/settle/{ahead}" if ahead else "/settle"})


async def reopen(visit: Visit) -> web.StreamResponse:
    """Opens a settled disagreement again."""
    act, which = _text(await visit.said(), "act"), visit.request.match_info["id"]
    await visit.apart(lambda: _settling(visit).take_back(visit.person, which, act))
    return visit.answer({"go": f"/settle/{which}"})


ROUTES: tuple[Route, ...] = (
    Route("GET", "/settle", go_on, SETTLERS),
    Route("GET", "/settle/{id}", page, SETTLERS),
    Route("POST", "/settle/{id}/decide", decide, SETTLERS),
    Route("POST", "/settle/{id}/reopen", reopen, SETTLERS),
)


def _settling(visit: Visit) -> Adjudication:
    return visit.office.bench.adjudication()


def _said(side: Said) -> str:
    return "the rubric does not cover this" if side.label == NOT_COVERED else side.label or ""


def _reasons(one: Disagreement) -> str:
    """The first two reasons in one, word by word; nothing where there are not two."""
    reasons = [side.reason for side in one.sides if side.reason.strip()]
    return (render.differences(reasons[0], reasons[1]) or "") if len(reasons) == 2 else ""


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise Mistake.in_call(f"`{name}` is missing or no text", allowed="a text")
    return value
