"""How far a run is: what is counted, what is projected, and how it looks on a terminal, in a pipe and as events."""

from __future__ import annotations

import io
import json
import math
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats as scipy_stats

from fairmark.cli.progress import Watcher, describe, drawn
from fairmark.records import Answer, Failure, Headway, Places, Progress, Question, _t_975
from fairmark.study import Budget
from fairmark.workbench import Tally
from fairmark.workbench.telling import Watch
from tests.bench import Fake, bench, helpful, study
from tests.test_cli import fairmark

FOUR = (0.01, 0.02, 0.03, 0.02)  # mean 0.02, squared deviations 0.0002


def priced(prices: tuple[float, ...], *, name: str = "a", planned: int = 100, **changes: int) -> Headway:
    squared = math.fsum(price * price for price in prices)
    return Headway(name, "response", planned, done=len(prices), priced=len(prices), usd=math.fsum(prices), usd_squared=squared, **changes)


def progress(*headway: Headway, usd: float | None) -> Progress:
    return Progress(100, 0, 4, 0, 0, 4, usd, 2.0, headway=headway)


def test_projected_spend_is_a_range_that_a_hand_can_follow() -> None:
    # 96 to come at 0.02 each; their sum varies by 0.0002 / 3 x 96 x (1 + 96 / 4); t of 3 degrees of freedom is 3.182
    half = 3.182 * math.sqrt(0.0002 / 3 * 96 * 25)
    low, high = priced(FOUR).usd_to_come or (0, 0)
    assert (low, high) == pytest.approx((1.92 - half, 1.92 + half), rel=0.01)
    assert progress(priced(FOUR), usd=0.08).usd_projected == pytest.approx((0.08 + low, 0.08 + high))
    both = progress(priced(FOUR), priced(FOUR, name="b"), usd=0.16).usd_projected
    assert both == pytest.approx((0.16 + 2 * low, 0.16 + 2 * high))


def test_what_has_no_price_is_unknown_and_never_nothing() -> None:
    assert priced(FOUR[:1]).usd_to_come is None  # one price says nothing of how prices vary
    assert priced((), planned=5).usd_to_come is None
    assert priced(FOUR, unpriced=1).usd_to_come is None
    assert progress(priced(FOUR), Headway("judge", "grade", 10), usd=0.08).usd_projected is None
    assert progress(priced(FOUR), usd=None).usd_projected is None
    assert progress(usd=0.08).usd_projected is None
    done = progress(priced(FOUR, planned=4), Headway("judge", "grade", 3, stored=3), usd=0.08)
    assert done.usd_projected == pytest.approx((0.08, 0.08))  # nothing is left to pay for


def test_a_projection_holds_what_a_run_costs_in_the_end_19_times_in_20() -> None:
    import numpy as np

    generator, held = np.random.default_rng(7), 0
    for _ in range(400):
        prices = generator.gamma(4.0, 0.005, 200)
        low, high = priced(tuple(float(price) for price in prices[:20]), planned=200).usd_to_come or (0, 0)
        held += low <= prices[20:].sum() <= high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 20, 500])
def test_the_quantiles_of_t_are_those_of_scipy(freedom: int) -> None:
    assert _t_975(freedom) == pytest.approx(scipy_stats.t.ppf(0.975, freedom), rel=0.002)


# ------------------------------------------------------------------ on a terminal

RUNNING = Progress(
    planned=400,
    stored=10,
    done=130,
    failed=4,
    in_flight=8,
    calls=150,
    usd=0.16,
    seconds=12.7,
    a_second=14.2,
    resting=2,
    tokens=123456,
    headway=(
        Headway("bare", "response", 100, 5, 60, 1, priced=60, usd=0.06, usd_squared=0.00006),
        Headway("guided", "response", 100, 5, 60, 3, priced=60, usd=0.06, usd_squared=0.00006),
        Headway("judge", "grade", 200, 0, 10, 0, priced=10, usd=0.04, usd_squared=0.00016),
    ),
    failures={"timeout": 3, "bad_request": 1},
    retried={"rate_limited": 5, "server_error": 1},
    places=(Places("api.example.org", 4, 8, 4, "asked too often"), Places("127.0.0.1:8000", 16, 16, 16)),
    hypotheses={"H1": "supported", "H2": "open"},
    note="guided: rate_limited, trying again in 2.3 s",
)


def shown(progress: Progress, width: int, **options: Any) -> list[str]:
    """The lines of one screen."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, record=True)
    console.print(drawn(progress, width=width, **options))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_one_screen_of_80_columns() -> None:
    assert shown(RUNNING, 80, study="helpdesk", silent=7.0) == [
        "helpdesk  144 of 400, 36%               14.2/s now, 10.6/s on average, 24 s left",
        "bare    █████████████░░░░░░░  66 of 100  answers  1 failed",
        "guided  █████████████░░░░░░░  68 of 100  answers  3 failed",
        "judge   █░░░░░░░░░░░░░░░░░░░  10 of 200  marks",
        "spent 0.1600 USD · in the end 0.9860 USD · 123,456 tokens · 10 from the store",
        "api.example.org: 4 under way, 4 of 8 places (asked too often)",
        "127.0.0.1:8000: 16 under way, 16 places",
        "no answer for 7 s · 2 wait to be tried again",
        "tried again: 5 rate limited, 1 server error · failed: 3 timeout, 1 bad request",
        "H1 ■ supported · H2 open",
        "guided: rate_limited, trying again in 2.3 s",
    ]


def test_one_screen_of_40_columns_without_such_letters() -> None:
    found = shown(replace(RUNNING, usd=None), 40, study="helpdesk", blocks=False)
    assert found[:6] == [
        "helpdesk",
        "144 of 400, 36%",
        "14.2/s now, 10.6/s on average, 24 s left",
        "bare    66 of 100  1 failed",
        "guided  68 of 100  3 failed",
        "judge   10 of 200",
    ]
    assert "spend unknown" in found[6] and "H1 supported · H2 open" in found
    assert max(map(len, found)) <= 40


def test_many_systems_leave_room_for_the_rest() -> None:
    many = tuple(Headway(f"s{number}", "response", 10, done=10 if number < 20 else 3) for number in range(40))
    found = shown(replace(RUNNING, headway=many), 80, height=24)
    assert len(found) <= 24
    assert sum(line.startswith("s") and "of 10" in line for line in found) == 13
    assert "s20" in found[1] and any(line.startswith("and 27 more") for line in found)  # those that go on are shown first


def test_a_name_cannot_move_the_cursor() -> None:
    evil = replace(RUNNING, note="\x1b[2Jgone\r\n", headway=(Headway("\x1b]0;title\x07", "response", 3),))
    assert all(line.isprintable() for line in shown(evil, 80, study="a\x1b[2Jb"))
    assert describe(evil).isprintable()


class Terminal(io.StringIO):
    """A terminal that somebody looks at."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_what_was_said_stays_and_nothing_is_left_in_the_end() -> None:
    terminal = Terminal()
    watcher = Watcher(quiet=False, events=False, study="helpdesk", console=Console(file=terminal, width=80, height=25, force_terminal=True))
    with watcher.watching():
        watcher.progress(RUNNING)
        watcher.notify("Stopping: waiting for answers that are under way.")
        watcher.progress(replace(RUNNING, done=131))
        time.sleep(0.6)
        with watcher.paused():
            terminal.write("a verdict\n")
    drawn_text = terminal.getvalue()
    last = drawn_text[: drawn_text.index("a verdict")]
    assert last.rindex("Stopping: waiting") > last.rindex("145 of 400")  # still there below the frame that came later
    assert drawn_text.count("\x1b[?25l") == drawn_text.count("\x1b[?25h") > 0  # the cursor is shown again
    assert drawn_text.rstrip("\r\n").endswith("\x1b[2K")  # the last thing that is done is to wipe


# ------------------------------------------------------------------ in a pipe


def piped(**options: Any) -> tuple[Watcher, io.StringIO]:
    out = io.StringIO()
    return Watcher(quiet=False, events=False, console=Console(file=out, soft_wrap=True), **options), out


def test_a_pipe_gets_a_line_now_and_then_and_the_last_one() -> None:
    watcher, out = piped(plain_every=0.1, hypotheses=["H1", "H2"])
    with watcher.watching():
        watcher.progress(replace(RUNNING, hypotheses={"H2": "refuted"}))
        watcher.decided({"H1": "supported", "H9": "refuted"})
        time.sleep(0.35)
        watcher.notify("Stopping:\nwaiting")
        watcher.progress(replace(RUNNING, done=386))
    lines = out.getvalue().splitlines()
    assert 3 <= len(lines) <= 6
    assert lines[0].startswith("answers and marks 144/400 (36%)  10 from the store  4 failed (3 timeout, 1 bad request)  14.2/s now, ")
    assert "  spent 0.1600 USD, in the end 0.9860 USD  " in lines[0]
    assert "api.example.org: 4 of 8 places (asked too often)  H1 supported  H2 refuted  guided: rate_limited" in lines[0]
    assert "Stopping: waiting" in lines
    assert lines[-1].startswith("answers and marks 400/400 (100%)") and "left" not in lines[-1] and "H9" not in lines[-1]
    assert all(line.isprintable() for line in lines)


def test_whoever_stops_reading_does_not_end_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    watcher = Watcher(quiet=False, events=False, console=Console(file=Gone()), plain_every=0.05)
    with watcher.watching():
        watcher.progress(RUNNING)
        watcher.notify("a note")
        time.sleep(0.2)
        watcher.progress(RUNNING)


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    watcher = Watcher(quiet=True, events=False, console=Console(file=out), plain_every=0.01)
    with watcher.watching():
        watcher.progress(RUNNING)
        watcher.notify("a note")
        time.sleep(0.05)
    assert out.getvalue() == ""


# ------------------------------------------------------------------ as events, from a whole run


def test_what_a_run_tells_adds_up_by_system_and_grader() -> None:
    told: list[Progress] = []
    calls = Counter[str]()

    def reply(question: Question) -> Answer | Failure:
        said = "\n".join(message.content for message in question.messages)
        if question.schema is not None:
            calls["grade"] += 1
            # the first grade cannot be read, nor can it when it is asked for again
            return Answer("no level", "stop", cost_usd=0.004) if calls["grade"] <= 2 else replace(helpful(question), cost_usd=0.004)
        if "request 3" in said:
            return Failure("bad_request", "this machine", "no")
        return replace(helpful(question), cost_usd=0.001)

    with bench(replace(study(n=8), concurrency=1), Fake(reply)) as made:
        first = made.run(Watch(progress=told.append))
        for one in told:
            assert one.planned == one.stored + one.done + one.failed + one.pending == sum(part.planned for part in one.headway)
            for count in ("stored", "done", "failed", "pending"):
                assert getattr(one, count) == sum(getattr(part, count) for part in one.headway)
        last = told[-1]
        assert [(part.name, part.what) for part in last.headway] == [("bare", "response"), ("guided", "response"), ("judge", "grade")]
        assert {part.name: (part.done, part.failed) for part in last.headway} == {"bare": (7, 1), "guided": (7, 1), "judge": (13, 1)}
        assert dict(last.failures) == {"bad_request": 2, "unreadable_grade": 1}
        assert (last.planned, last.done, last.failed) == (first.planned, first.answered, first.failed)
        assert {part.name: part.priced for part in last.headway} == {"bare": 7, "guided": 7, "judge": 15}
        assert last.usd == pytest.approx(14 * 0.001 + 15 * 0.004)
        made.run(Watch(progress=told.append))
        assert (told[-1].stored, told[-1].done, told[-1].failed) == (16 + 14, 0, 0)


def test_what_was_not_reached_is_counted_where_it_is_stored() -> None:
    both = study(n=8)
    with bench(both) as made:
        made.run()
        kept = made.store
        # a third system, whose answers are missing between those of the others
        more = replace(both, systems={**both.systems, "other": replace(both.systems["bare"], name="other", prompt="Be short.")})
        third = bench(more)
        third._store = kept
        tally = third.run(budget=Budget(calls=1))
        third._store = None
    assert tally.answered == 16 + 16 + 1 and tally.calls == 1


def test_events_add_up_and_the_last_one_is_the_tally(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    assert fairmark("init", folder).returncode == 0
    done = fairmark("run", "-c", folder, "--events")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {event["event"] for event in events} == {"progress", "end"}
    for event in events[:-1]:
        assert event["planned"] == event["stored"] + event["done"] + event["failed"] + event["pending"]
        assert event["planned"] == sum(one["planned"] for one in event["systems"] + event["graders"])
    end = events[-1]
    assert end["event"] == "end" and end["planned"] == end["answered"] + end["failed"] + end["pending"] == events[-2]["planned"]
    assert "Next: fairmark report" in done.stdout


def test_an_error_is_the_last_event(tmp_path: Path) -> None:
    done = fairmark("run", "-c", tmp_path, "--events")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 2
    assert events[-1]["event"] == "error" and events[-1]["code"] == "MISTAKE" and events[-1]["problems"]


def test_the_page_on_running_names_every_figure_of_an_event() -> None:
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "watch-a-run.md").read_text()
    figures = RUNNING.figures()
    parts = {**figures["systems"][0], **figures["hosts"][0]}
    assert [name for name in (*figures, *parts, *(one.name for one in fields(Tally))) if f"`{name}`" not in page] == []
    json.dumps(figures, allow_nan=False)
