"""How a run stands that goes on in another process, as the store says: counted once, and then by what comes in."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fairmark.records import Headway, Progress
from fairmark.store import Arrived, Mark, Store
from fairmark.workbench.asking import Asking, Count, What

if TYPE_CHECKING:
    from fairmark.store import Holder

FRESH = 1.0  # seconds for which what was seen serves all who look
LATELY = 60.0  # seconds over which the present rate is taken
QUIET = 10.0  # seconds without a row after which an ended run is counted anew
PATIENCE = 2.0  # seconds that whoever looks waits for the count; a large store takes longer, and is counted meanwhile


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store says of a run. In it nothing counts as stored: what is there, whoever asked for it, is done or failed."""

    progress: Progress
    counting: bool  # what the store holds is being counted: figures are missing, or those of a while ago
    running: bool  # a run of this study and wave goes on
    busy: str  # what else holds the store, such as the marking of an audit; empty where nothing does
    since: int | None  # when the run that goes on began: UTC, nanoseconds
    seconds_left: float | None  # of it, at its present pace


@dataclass(slots=True)
class _Part:
    """What one system or grader has come to."""

    planned: int
    done: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    priced: int = 0
    unpriced: int = 0
    usd: float = 0.0
    usd_squared: float = 0.0

    def add(self, rows: Arrived, *, asked: bool) -> None:
        if rows.instead:
            self.kinds[rows.instead] -= rows.rows
        elif rows.instead is not None:
            self.done -= rows.rows
        if rows.failure is not None:
            self.kinds[rows.failure] += rows.rows
        else:
            self.done += rows.rows
        if asked:
            self.price(rows)

    def price(self, rows: Arrived) -> None:
        self.priced += rows.priced
        self.unpriced += rows.rows - rows.priced if rows.failure is None else 0
        self.usd += rows.usd
        self.usd_squared += rows.usd_squared


class Following:
    """Looks at a run from beside it. `count` gives the ledger of a run that asks nothing; `asked` says who is asked at all."""

    def __init__(self, store: Store, run: str, wave: str, *, count: Callable[[], Asking], asked: Callable[[What, str], bool]) -> None:
        self._store, self._run, self._wave = store, run, wave
        self._count, self._asked = count, asked
        self._turn = threading.Lock()
        self._parts: dict[tuple[What, str], _Part] = {}
        self._mark: Mark | None = None  # up to which rows are counted
        self._counter: threading.Thread | None = None  # counts, while looks go on
        self._error: Exception | None = None  # what ended a count
        self._grew: float | None = None  # when rows came in that were added to the count
        self._looked = 0.0
        self._seen: Seen | None = None

    def look(self) -> Seen:
        """How it stands now. The first look has all that the store holds of the study counted; later ones count what has come in."""
        with self._turn:
            if self._seen is None or time.monotonic() - self._looked >= FRESH:
                self._seen = self._look()
                self._looked = time.monotonic()
            return self._seen

    def _look(self) -> Seen:
        holder = self._store.holder()
        running = holder is not None and holder.what == self._run
        if self._counter is None:
            if self._mark is not None and (running or holder is None):
                self._count_on()
            # answers that turned out the same are marked once, which rows alone do not tell
            if self._mark is None or (self._grew is not None and not running and time.monotonic() - self._grew >= QUIET):
                self._counter = threading.Thread(target=self._count_anew, name="fairmark-following", daemon=True)
                self._counter.start()
        if self._counter is not None:
            self._counter.join(PATIENCE)
            if not self._counter.is_alive():
                self._counter = None
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
        return self._told(holder, running=running)

    def _count_anew(self) -> None:
        try:
            with self._store.still():
                mark, asking = self._store.mark(), self._count()
                asking.count_the_rest()
                everything = self._store.arrived(Mark(), mark, wave=self._wave)
        except Exception as error:  # it is raised where somebody looks
            self._error = error
            return
        parts: dict[tuple[What, str], _Part] = {
            **{("response", name): _part(planned, asking.by_system[name]) for name, planned in asking.planned.items()},
            **{("grade", name): _part(asking.grades_planned(name), count) for name, count in asking.by_grader.items()},
        }
        for rows in everything:
            if self._asked(rows.what, rows.name) and (part := parts.get((rows.what, rows.name))) is not None:
                part.price(rows)
        self._parts, self._mark, self._grew = parts, mark, None

    def _count_on(self) -> None:
        assert self._mark is not None
        now = self._store.mark()
        if now == self._mark:
            return
        for rows in self._store.arrived(self._mark, now, wave=self._wave):
            if (part := self._parts.get((rows.what, rows.name))) is not None:
                part.add(rows, asked=self._asked(rows.what, rows.name))
                self._grew = time.monotonic()
        self._mark = now

    def _told(self, holder: Holder | None, *, running: bool) -> Seen:
        headway = tuple(
            Headway(
                name,
                what,
                planned=max(part.planned, part.done + part.kinds.total()),
                done=part.done,
                failed=part.kinds.total(),
                priced=part.priced,
                unpriced=part.unpriced,
                usd=part.usd,
                usd_squared=part.usd_squared,
            )
            for (what, name), part in self._parts.items()
            if part.planned or part.done
        )
        failures: Counter[str] = Counter()
        for part in self._parts.values():
            failures += part.kinds
        since = holder.since if holder is not None and running else None
        rate = self._rate(since) if since is not None else None
        progress = Progress(
            planned=sum(one.planned for one in headway),
            stored=0,
            done=sum(one.done for one in headway),
            failed=sum(one.failed for one in headway),
            in_flight=0,
            calls=0,
            usd=None if any(one.unpriced for one in headway) else sum(one.usd for one in headway),
            seconds=0.0 if since is None else (time.time_ns() - since) / 1e9,
            a_second=rate,
            headway=headway,
            failures=dict(failures),
        )
        left = progress.pending / rate if rate else None
        return Seen(progress, self._counter is not None, running, "" if holder is None or running else holder.what, since, left)

    def _rate(self, since: int) -> float:
        """Answers and failures a second, over the last minute or since the run began."""
        now = time.time_ns()
        start = max(since, now - int(LATELY * 1e9))
        came = self._store.lately(start, wave=self._wave)
        return sum(rows for name, rows in came.items() if name in self._parts) / max(1.0, (now - start) / 1e9)


def _part(planned: int, count: Count) -> _Part:
    return _Part(planned, count.answered, Counter(count.kinds))
