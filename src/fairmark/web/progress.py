"""The owner's page of a run that goes on, here or in another process: what the store says of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fairmark.records import Progress
from fairmark.report import underway
from fairmark.web.visit import OWNERS, Office, Route, Visit
from fairmark.workbench.following import Following, Seen

NOT_YET = "Not known yet"


async def page(visit: Visit) -> web.StreamResponse:
    """How far the run is. It names systems, as the overview does."""
    return visit.page("progress.html", view=view(await _seen(visit)))


async def now(visit: Visit) -> web.StreamResponse:
    """The same as JSON: the figures, and the words that the page shows for them."""
    seen = await _seen(visit)
    figures = seen.progress.figures() | {"seconds_left": seen.seconds_left}
    told = ("planned", "done", "failed", "pending", "failures", "usd", "usd_projected", "a_second", "seconds_left", "systems", "graders")
    return visit.answer({"running": seen.running, "counting": seen.counting, **{name: figures[name] for name in told}, "view": view(seen)})


async def _seen(visit: Visit) -> Seen:
    return await visit.apart(lambda: _following(visit.office).look())


def _following(office: Office) -> Following:
    """One for all who look, since it counts."""
    following: Following = office.shared.setdefault("following", office.bench.following())
    return following


def view(seen: Seen) -> dict[str, Any]:
    """The words of the page. `words` stand in elements of these ids, `bars` in bars; `rows` name the lines of the table."""
    progress, known = seen.progress, bool(seen.progress.planned)
    words = {
        "state": _state(seen),
        "far": NOT_YET
        if not known
        else f"{underway.finished(progress)} of {progress.planned} answers and marks, {underway.percent(progress)}",
        "pace": _pace(seen),
        "spend": _sentence(underway.spend(progress) if known else [NOT_YET]),
        "failures": underway.counted(progress.failures) or ("None" if known else NOT_YET),
    }
    bars = {"all": [underway.finished(progress), progress.planned]}
    for place, one in enumerate(progress.headway):
        done = one.stored + one.done + one.failed
        words[f"done-{place}"] = f"{done} of {one.planned}"
        words[f"failed-{place}"] = str(one.failed)
        words[f"usd-{place}"] = "unknown" if one.unpriced else f"{one.usd:.4f}"
        bars[f"bar-{place}"] = [done, one.planned]
    rows = [[one.name, "answers" if one.what == "response" else "marks"] for one in progress.headway]
    return {"words": words, "bars": bars, "rows": rows, "title": _title(progress, running=seen.running)}


def _title(progress: Progress, *, running: bool) -> str:
    return NOT_YET if not progress.planned else f"{underway.percent(progress)}, {'running' if running else 'not running'}"


def _state(seen: Seen) -> str:
    if seen.counting:
        return "What the store holds is being counted."
    if seen.since is not None:
        begun = datetime.fromtimestamp(seen.since / 1e9, UTC)
        return f"A run has been going on since {begun:%H:%M} UTC."
    if seen.busy:
        return f"No run goes on. The store is held by the {seen.busy}."
    if seen.progress.pending:
        return "No run goes on. What is missing is asked for by fairmark run."
    return "No run goes on, and nothing is missing."


def _pace(seen: Seen) -> str:
    rate = seen.progress.a_second
    if rate is None:
        return ""
    left = f"; about {underway.duration(seen.seconds_left)} left at this pace" if seen.seconds_left else ""
    return f"{underway.rate(rate)} a second over the last minute{left}."


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


ROUTES: tuple[Route, ...] = (
    Route("GET", "/progress", page, OWNERS),
    Route("GET", "/progress/now", now, OWNERS),
)
