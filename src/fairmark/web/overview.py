"""The owner's pages: how far the marking is, links, more to mark, and the graders' receipts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fairmark.errors import Mistake
from fairmark.people.overview import touched, with_anchor
from fairmark.web.marking import spoken
from fairmark.web.visit import OWNERS, Route, Visit


async def page(visit: Visit) -> web.StreamResponse:
    """Everything an owner needs at a glance. It names systems, so an owner who marks does so under a name on the roster."""
    bench, desk = visit.office.bench, visit.office.desk

    def work() -> dict[str, Any]:
        settling = bench.adjudication()
        every, proposals = settling.all(), settling.proposals()
        table = bench.table() if proposals else None
        return {
            "seen": bench.overview(),
            "differ": len(every),
            "open": sum(one.settled is None for one in every),
            "proposals": [
                (one, touched(table, with_anchor(bench.study.rubric, one)).get(one.criterion, 0)) for one in proposals if table is not None
            ],
            "stage": desk.people.together > 0 and not desk.work_is_open,
        }

    return visit.page("overview.html", people=desk.people, spoken=spoken, when=_when, **await visit.apart(work))


async def draw(visit: Visit) -> web.StreamResponse:
    """Gives out what is missing of a share of the responses."""
    share = (await visit.said()).get("share")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise Mistake.in_call("the share is none", allowed="a number above 0 and at most 1")
    drawn = await visit.apart(lambda: visit.office.bench.assign(share=float(share)))
    return visit.answer({"given_out": len(drawn.assignments), "advice": {name: plan.advice for name, plan in drawn.plans.items()}})


async def open_stage(visit: Visit) -> web.StreamResponse:
    """Lets everybody go on from the responses that all mark."""
    await visit.said()
    await visit.apart(lambda: visit.office.desk.open_work(visit.person))
    return visit.answer({"go": "/overview"})


async def receipts(visit: Visit) -> web.StreamResponse:
    """How far each grader can be trusted, in a sentence each. Where looks at test labels are counted, opening a page is none."""
    bench = visit.office.bench
    counted = bench.study.tuning is not None
    found = () if counted else await visit.apart(bench.calibrate)
    return visit.page("receipts.html", receipts=found, counted=counted, spoken=spoken)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/overview", page, OWNERS),
    Route("POST", "/overview/draw", draw, OWNERS),
    Route("POST", "/overview/open", open_stage, OWNERS),
    Route("GET", "/receipts", receipts, OWNERS),
)


def _when(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%-d %B, %H:%M UTC")
