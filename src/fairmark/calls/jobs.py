"""What is asked, who writes it down, how long and how often it is tried, and what it came to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from fairmark.records import Answer, Failure, Provider, Question


@dataclass(frozen=True, slots=True)
class Job:
    """One question to put to one provider."""

    key: str
    what: Literal["response", "grade"]
    name: str  # of the system or grader in the study
    question: Question
    provider: Provider
    payload: Any = None  # the caller's own
    prefix: str = ""  # a long beginning that it shares with others: the first to be answered warms the endpoint's cache


class Ledger(Protocol):
    """Whoever writes down what is asked and what came back."""

    def asking(self, job: Job) -> None:
        """Notes that a job is about to be sent."""

    async def came(self, job: Job, outcome: Answer | Failure) -> Iterable[Job]:
        """Notes a job's outcome, before its first wait, and gives the jobs that follow from it."""
        ...

    async def kept(self) -> None:
        """Returns once all that was noted so far would survive a power cut."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long to wait and how often to try."""

    deadline: float = 120.0  # seconds for one try, to the last byte
    tries: int = 6
    total: float = 600.0  # seconds for all tries of one job, waits included
    base: float = 0.5  # first wait; doubles each time
    cap: float = 30.0  # longest wait of our own choosing
    longest_retry_after: float = 120.0  # a longer Retry-After ends the job
    drain: float = 10.0  # seconds that answers under way are waited for after a stop
    grace: float = 5.0  # seconds that a provider may take to end when its time is up


@dataclass(frozen=True, slots=True)
class Tally:
    """What a round of asking came to."""

    answered: int = 0
    failed: int = 0
    unasked: int = 0  # jobs that were pulled or left over and never finished
    calls: int = 0  # requests sent, retries included
    tokens: int = 0  # read and written, as far as the endpoints said
    usd: float | None = 0.0  # None once a call of unknown price was made
    seconds: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    stopped: str = ""  # why it ended before the last job; empty where it did not


class Clock(Protocol):
    """Time as a seam, so that tests do not wait."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class WallClock:
    """The machine's own time, which no change of the date moves."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
