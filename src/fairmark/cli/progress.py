"""How a run looks while it goes on: one screen on a terminal, plain lines in a pipe, JSON lines with `--events`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairmark.cli import screen
from fairmark.records import Headway, Places, Progress
from fairmark.report import underway

PLAIN_EVERY = 5.0  # seconds between lines where nobody watches a terminal
FRAMES = 4  # a second: more are not told apart, and each takes time from the run
SILENT = 5.0  # seconds without an answer that are worth saying
WIDE = 64  # columns from which there is room for bars
BAR = 20
WHAT = {"response": "answers", "grade": "marks"}
LONGEST_NAME = 24
OTHER_LINES = 10  # of the screen, which systems and graders leave free
STATES = {"supported": "supported", "refuted": "refuted", "ruled-out": "ruled out", "capped": "used up", "refused": "not followed"}


class Watcher:
    """Shows what a run tells. Nothing that is shown, and nobody who stops listening, can hold the run up."""

    def __init__(
        self,
        *,
        quiet: bool,
        events: bool,
        study: str = "",
        hypotheses: Sequence[str] = (),
        console: Console | None = None,
        plain_every: float = PLAIN_EVERY,
    ) -> None:
        self.quiet = quiet and not events
        self.events = events
        self._study = study
        self._known = dict.fromkeys(hypotheses, "open")
        self._console = console or screen.err
        self._plain_every = plain_every
        self._live: Live | None = None
        self._latest: Progress | None = None
        self._heard = time.monotonic()  # when the latest came
        self._grew = self._heard  # when the latest answer or failure came
        self._said = True  # the latest has been shown
        self._word = ""  # the latest line that has to be read

    # ------------------------------------------------------------ what a run tells

    def progress(self, progress: Progress) -> None:
        """Takes in how far the run is. It is drawn when its time has come."""
        before, now = self._latest, time.monotonic()
        if before is None or (before.done, before.failed) != (progress.done, progress.failed):
            self._grew = now
        self._latest, self._heard, self._said = progress, now, False
        if self.events:
            screen.event("progress", **self._with_hypotheses(progress).figures())

    def notify(self, line: str) -> None:
        """A line that has to be read: on a terminal it stays below all else until there is another."""
        self._word = line
        if self.events:
            screen.event("note", note=line)
        elif not self.quiet and self._live is None:
            self._print(line)

    def decided(self, verdicts: Mapping[str, str]) -> None:
        """Hypotheses that nothing which is still to come can change."""
        self._known.update({name: verdict for name, verdict in verdicts.items() if name in self._known})

    def end(self, tally: Mapping[str, Any]) -> None:
        """What it came to: the last event."""
        if self.events:
            screen.event("end", **tally)

    # ------------------------------------------------------------ showing it

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Shown as long as this goes on; what it came to last is said in the end."""
        if self.quiet or self.events:
            yield
        elif self._console.is_terminal and not self._console.is_dumb_terminal:
            with self._drawn():
                yield
        else:
            over = threading.Event()
            ticking = threading.Thread(target=self._tick, args=(over,), name="fairmark-progress", daemon=True)
            ticking.start()
            try:
                yield
            finally:
                over.set()
                ticking.join()
                if not self._said:
                    self._line()

    @contextmanager
    def _drawn(self) -> Iterator[None]:
        with Live(console=self._console, get_renderable=self._frame, refresh_per_second=FRAMES, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Something is printed above what goes on."""
        if self._live is None:
            yield
            return
        live = self._live
        live.stop()
        try:
            yield
        finally:
            live.start()

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(self._plain_every):
            self._line()

    def _line(self) -> None:
        progress = self._now()
        if progress is not None and progress.planned:
            self._said = True
            self._print(describe(progress, silent=time.monotonic() - self._grew))

    def _frame(self) -> RenderableType:
        progress, console = self._now(), self._console
        lines: list[RenderableType] = []
        if progress is not None and progress.planned:
            silent, blocks = time.monotonic() - self._grew, console.encoding.lower().startswith("utf")
            lines.append(drawn(progress, study=self._study, width=console.width, height=console.height - 1, silent=silent, blocks=blocks))
        if self._word:
            lines.append(Text(plain(self._word), style="bold"))
        return Group(*lines)

    def _now(self) -> Progress | None:
        """The latest, with the time that has passed since."""
        if self._latest is None:
            return None
        return replace(self._with_hypotheses(self._latest), seconds=self._latest.seconds + time.monotonic() - self._heard)

    def _with_hypotheses(self, progress: Progress) -> Progress:
        """What the run follows case by case, and what was decided without."""
        followed = {name: state for name, state in progress.hypotheses.items() if state != "open" or name not in self._known}
        return replace(progress, hypotheses={**self._known, **followed})

    def _print(self, line: str) -> None:
        with suppress(OSError):  # whoever has gone does not end the run, as rich's own printing would
            self._console.file.write(plain(line) + "\n")
            self._console.file.flush()


# ------------------------------------------------------------ in words


def describe(progress: Progress, *, silent: float = 0.0) -> str:
    """One line: how far, how fast, what it cost and will cost, how long it will take."""
    parts = [f"answers and marks {underway.finished(progress)}/{progress.planned} ({underway.percent(progress)})"]
    if progress.stored:
        parts.append(f"{progress.stored} from the store")
    if progress.failed:
        parts.append(
            f"{progress.failed} failed ({underway.counted(progress.failures)})" if progress.failures else f"{progress.failed} failed"
        )
    parts += [*_pace(progress), ", ".join(underway.spend(progress)), *_left(progress), *_silence(progress, silent)]
    if progress.resting:
        parts.append(_resting(progress))
    parts += [f"{one.host}: {_places(one)}" for one in progress.places if one.lowered]
    parts += [f"{name} {STATES[state]}" for name, state in progress.hypotheses.items() if state in STATES]
    if progress.note:
        parts.append(progress.note)
    return plain("  ".join(parts))


def drawn(
    progress: Progress, *, study: str = "", width: int = 80, height: int = 25, silent: float = 0.0, blocks: bool = True
) -> RenderableType:
    """One screen: a headline, a line for each system and grader, then spend, hosts, errors, hypotheses and the last note."""
    far = f"{underway.finished(progress)} of {progress.planned}, {underway.percent(progress)}"
    pace = ", ".join([*_pace(progress), *_left(progress)])
    head = [Text(plain(study), style="bold"), Text(far), Text(pace)]
    lines: list[RenderableType] = [_joined(head, width)] if width >= WIDE else [part for part in head if part.plain]
    room = max(1, height - OTHER_LINES)
    lines.append(_table(progress.headway, width, room, blocks=blocks))
    facts = underway.spend(progress)
    if progress.tokens:
        facts.append(f"{progress.tokens:,} tokens")
    if progress.stored:
        facts.append(f"{progress.stored} from the store")
    lines += _facts(facts, width)
    lines += [Text(plain(f"{one.host}: {one.taken} under way, {_places(one)}")) for one in progress.places]
    waits = [*_silence(progress, silent), *([_resting(progress)] if progress.resting else [])]
    if progress.retried:
        waits.append(f"tried again: {underway.counted(progress.retried)}")
    if progress.failures:
        waits.append(f"failed: {underway.counted(progress.failures)}")
    lines += _facts(waits, width)
    if progress.hypotheses:
        marks = {"supported": screen.SHAPES["supported"], "refuted": screen.SHAPES["refuted"]} if blocks else {}
        states = [
            f"{name} {f'{marks[state]} ' if state in marks else ''}{STATES.get(state, state)}"
            for name, state in progress.hypotheses.items()
        ]
        lines += _facts(states, width)
    if progress.note:
        lines.append(Text(plain(progress.note), style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def _table(headway: Sequence[Headway], width: int, room: int, *, blocks: bool) -> Table:
    """Systems and graders, as many as there is room for: what is finished gives way first."""
    shown = list(headway)
    if len(shown) > room:
        open_ones = [one for one in shown if one.pending]
        shown = (open_ones + [one for one in shown if not one.pending])[: room - 1]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=LONGEST_NAME)
    wide = width >= WIDE
    if wide:
        table.add_column(no_wrap=True, min_width=BAR)
    table.add_column(no_wrap=True, justify="right")
    if wide:
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for one in shown:
        finished = one.stored + one.done + one.failed
        bar = [_bar(finished, one.planned, blocks=blocks)] if wide else []
        failed = Text(f"{one.failed} failed", style="bold") if one.failed else Text("")
        table.add_row(Text(plain(one.name)), *bar, Text(f"{finished} of {one.planned}"), *([Text(WHAT[one.what])] if wide else []), failed)
    if len(shown) < len(headway):
        table.add_row(Text(f"and {len(headway) - len(shown)} more", style="dim"))
    return table


def _bar(finished: int, planned: int, *, blocks: bool) -> Text:
    full, empty = ("█", "░") if blocks else ("#", ".")
    filled = min(BAR, BAR * finished // planned) if planned else 0
    return Text.assemble((full * filled, screen.ACCENT), (empty * (BAR - filled), "dim"))


def _joined(parts: Sequence[Text], width: int) -> Text:
    """Parts on one line, the last one at its end."""
    first = Text("  ").join(part for part in parts[:-1] if part.plain)
    gap = width - first.cell_len - parts[-1].cell_len
    return Text.assemble(first, " " * max(2, gap), parts[-1])


def _facts(facts: Sequence[str], width: int) -> list[RenderableType]:
    """Short facts on as few lines as hold them whole."""
    lines: list[str] = []
    for fact in map(plain, facts):
        if lines and len(lines[-1]) + 3 + len(fact) <= width:
            lines[-1] += f" · {fact}"
        else:
            lines.append(fact)
    return [Text(line) for line in lines]


def _pace(progress: Progress) -> list[str]:
    made = progress.done + progress.failed
    if not made or progress.seconds <= 0:
        return []
    average = f"{underway.rate(made / progress.seconds)}/s"
    return [f"{underway.rate(progress.a_second)}/s now, {average} on average" if progress.a_second is not None else average]


def _left(progress: Progress) -> list[str]:
    seconds = progress.seconds_left
    return [f"{underway.duration(seconds)} left"] if seconds is not None and progress.pending else []


def _places(places: Places) -> str:
    if places.lowered:
        return f"{places.now} of {places.most} places ({places.lowered})"
    return f"{places.now} {'place' if places.now == 1 else 'places'}"


def _resting(progress: Progress) -> str:
    return f"{progress.resting} {'waits' if progress.resting == 1 else 'wait'} to be tried again"


def _silence(progress: Progress, silent: float) -> list[str]:
    return [f"no answer for {underway.duration(silent)}"] if silent >= SILENT and progress.pending else []


def plain(text: str) -> str:
    """A text as one line without anything that moves a cursor or rings a bell."""
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)
