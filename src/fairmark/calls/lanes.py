"""One lane a host: how many requests may be in flight there now, how many a minute, and what waits for a place."""

from __future__ import annotations

import asyncio
from collections import Counter, deque

from fairmark.calls.jobs import Job
from fairmark.records import Failure
from fairmark.study import Limit

SLOW = 4.0  # times the quickest usual time of an answer from which on a host counts as crowded
SLOW_SECONDS = 1.0  # answers quicker than this never count as slow
LEAST_SHARE = 4  # slowness alone leaves at least one place in so many
MEMORY = 0.1  # weight of the latest answer in the usual time
TOO_OFTEN, SLOWED = "asked too often", "slow"  # why a host has fewer places
BURST = 1.0  # seconds' worth of a rate that may be sent at once


class Pace:
    """At most so much a minute, spread evenly (the generic cell rate algorithm, ITU-T I.371)."""

    def __init__(self, a_minute: float) -> None:
        self._seconds = 60.0 / a_minute  # for one unit
        self._due = 0.0  # when all that was let through so far has been paid for

    def wait(self, units: float, now: float) -> float:
        """Takes a place for so many units; seconds until they may be sent."""
        start = max(self._due, now - BURST)
        self._due = start + units * self._seconds
        return max(0.0, start - now)

    def correct(self, units: float) -> None:
        """Takes back what was counted too much, or adds what was counted too little."""
        self._due -= units * self._seconds


class Lane:
    """The way to one host. It has as many places as requests may be in flight.

    The number halves when the host says that it is asked too often, shrinks a little when answers become slow, and grows
    back one by one while answers come (additive increase, multiplicative decrease).
    """

    def __init__(self, most: int, limit: Limit | None = None, *, alike: bool = False) -> None:
        self.alike = alike  # what is like the last goes first: a model on this machine has read its beginning already
        self.last = ""  # system or grader whose job went last
        self.most = most if limit is None or limit.concurrency is None else min(most, limit.concurrency)
        self.places = self.most
        self.held = 0
        self.lowered = 0  # how often they were halved
        self.why = ""  # why they are fewer than at most
        self.ready: deque[Flight] = deque()  # what goes before the next job of the source
        self.warming: dict[str, list[Flight]] = {}  # prefixes under way for the first time, and what waits for each
        self.warm: set[str] = set()
        self.requests = Pace(limit.requests_per_minute) if limit is not None and limit.requests_per_minute else None
        self.tokens = Pace(limit.tokens_per_minute) if limit is not None and limit.tokens_per_minute else None
        self._smooth = 0  # answers since the places last changed
        self._slow = 0  # of them, how many were slow
        self._usual: dict[str, tuple[float, float]] = {}  # by system or grader: usual seconds now, and at best

    def next(self) -> int | None:
        """The place in line of what goes next; None where nothing waits, or nothing like the last while that is what goes first."""
        if not self.alike:
            return 0 if self.ready else None
        return next((place for place, flight in enumerate(self.ready) if flight.job.name == self.last), None)

    def change(self) -> None:
        """Turns to the system or grader that most waits for."""
        self.last = Counter(flight.job.name for flight in self.ready).most_common(1)[0][0]

    @property
    def free(self) -> bool:
        return self.held < self.places

    def answered(self, name: str, seconds: float) -> None:
        """After as many answers as there are places, one more request may be in flight, up to what was allowed at first."""
        usual, best = self._usual.get(name, (seconds, seconds))
        usual += MEMORY * (seconds - usual)
        self._usual[name] = usual, min(best, usual)
        self._slow += usual > SLOW_SECONDS and usual > SLOW * best
        self._smooth += 1
        if self._smooth < self.places:
            return
        crowded, self._slow, self._smooth = 2 * self._slow > self._smooth, 0, 0
        if crowded and self.places > self.most // LEAST_SHARE:
            self.places, self.why = max(1, self.places - max(1, self.places // 8)), SLOWED
        elif not crowded and self.places < self.most:
            self.places += 1
            self.why = self.why if self.places < self.most else ""

    def asked_too_often(self, lowered: int) -> None:
        """Halves the places, once for all requests that were sent before they were last halved."""
        if lowered == self.lowered:
            self.places, self._smooth, self._slow, self.lowered = max(1, self.places // 2), 0, 0, self.lowered + 1
            self.why = TOO_OFTEN if self.places < self.most else ""

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until one more request of so many tokens keeps to the rates."""
        first = self.requests.wait(1, now) if self.requests is not None else 0.0
        return max(first, self.tokens.wait(tokens, now)) if self.tokens is not None else first


class Flight:
    """One job on its way, from the moment it is pulled to its outcome."""

    __slots__ = (
        "abandoned",
        "aside",
        "attempts",
        "begun",
        "job",
        "lane",
        "last",
        "late",
        "lowered",
        "rest",
        "seen",
        "task",
        "timer",
        "tokens",
    )

    def __init__(self, job: Job, lane: Lane) -> None:
        self.job, self.lane = job, lane
        self.attempts = 0
        self.begun = 0.0
        self.lowered = 0  # how often the lane had been narrowed when it was sent
        self.tokens = 0.0  # how many it was expected to take
        self.aside = False  # its share of the budget is set aside
        self.seen: Counter[str] | None = None  # useless replies, by digest
        self.last: Failure | None = None  # what the last try came to, while the next one waits
        self.rest: asyncio.Task[None] | None = None
        self.task: asyncio.Task[None] | None = None  # the worker that sent it
        self.timer: asyncio.TimerHandle | None = None
        self.late = False  # its deadline passed
        self.abandoned = False  # its provider did not end when it should have
