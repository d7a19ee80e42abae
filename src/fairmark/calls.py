"""The pool: asks providers many things at once, and knows nothing of steps or of the store.

Every wait has a deadline, every retry a count and a reason. A slot is given back while a retry waits. Jobs are pulled
from an iterator, so memory is what is in flight.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from fairmark.records import Answer, Failure, FailureKind, Grade, Progress, Provider, Question, Response
from fairmark.study import Budget

RETRIED: frozenset[FailureKind] = frozenset({"rate_limited", "server_error", "connection", "timeout", "broken_reply", "empty_reply"})
SAME_REPLY_STOPS = 3  # the same useless reply to the same question so often is its answer
WAITING_PER_SLOT = 8  # jobs that may wait for a retry, for each slot, before no more are pulled
PROGRESS_EVERY = 0.1  # seconds
STOPPED = "stopped by you"
EVERYBODY = 2**60  # more slots than anyone can hold


@dataclass(frozen=True, slots=True)
class Job:
    """One question to put to one provider."""

    key: str
    what: Literal["response", "grade"]
    name: str  # of the system or grader in the study
    question: Question
    provider: Provider
    payload: Any = None  # the caller's own


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
    usd: float | None = 0.0  # None once a call of unknown price was made
    seconds: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    stopped: str = ""  # why it ended before the last job; empty where it did not


class Clock(Protocol):
    """Time as a seam, so that tests do not wait."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class WallClock:
    """The machine's own time."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def add(first: Tally, second: Tally) -> Tally:
    """Two rounds as one."""
    return Tally(
        answered=first.answered + second.answered,
        failed=first.failed + second.failed,
        unasked=first.unasked + second.unasked,
        calls=first.calls + second.calls,
        usd=None if first.usd is None or second.usd is None else first.usd + second.usd,
        seconds=first.seconds + second.seconds,
        failures=Counter(first.failures) + Counter(second.failures),
        stopped=first.stopped or second.stopped,
    )


def left(budget: Budget, used: Tally) -> Budget:
    """What remains of a budget after a round. Where the spend is unknown, a money cap has nothing left."""
    return Budget(
        usd=None if budget.usd is None else 0.0 if used.usd is None else max(0.0, budget.usd - used.usd),
        calls=None if budget.calls is None else max(0, budget.calls - used.calls),
        minutes=None if budget.minutes is None else max(0.0, budget.minutes - used.seconds / 60),
    )


Record = Callable[[Job, "Answer | Failure"], Awaitable["Grade | Response | None"]]
Intent = Callable[[Job], Awaitable[None]]


async def perform(
    jobs: Iterable[Job],
    *,
    record: Record,
    intent: Intent,
    concurrency: int = 8,
    policy: Policy | None = None,
    budget: Budget | None = None,
    progress: Callable[[Progress], None] | None = None,
    step: str = "run",
    planned: int = 0,
    stored: int = 0,
    stop: asyncio.Event | None = None,
    rng: random.Random | None = None,
    clock: Clock | None = None,
) -> Tally:
    """Asks every job's provider and hands each outcome to `record`, which is awaited before the next job takes its place.

    `intent` is awaited before a job's first request leaves. `concurrency` is the most requests in flight to one host;
    it halves when a host says that it is asked too often, and grows back. When `stop` is set nothing more is asked,
    and what is under way is waited for. Cancelling stops at once. An exception in a provider is our bug and rises.
    """
    pool = _Pool(
        record=record,
        intent=intent,
        concurrency=concurrency,
        policy=policy or Policy(),
        budget=budget or Budget(),
        progress=progress,
        step=step,
        planned=planned,
        stored=stored,
        stop=stop or asyncio.Event(),
        rng=rng or random.Random(),
        clock=clock or WallClock(),
    )
    return await pool.perform(iter(jobs))


class _Gate:
    """Slots of one host: how many requests may be in flight there now. Whoever has waited longest enters first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.most = limit
        self.held = 0
        self.lowered = 0  # how often the limit was lowered
        self._smooth = 0  # answers since the limit last changed
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_enter(self) -> bool:
        """Takes a slot if one is free and nobody waits for it."""
        free = self.held < self.limit and not self._waiting
        self.held += free
        return free

    async def enter(self) -> None:
        if self.try_enter():
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # the slot had been handed over already
                self.leave()
            raise

    def leave(self) -> None:
        self.held -= 1
        self._admit()

    def answered(self) -> None:
        """After as many answers as there are slots, one more request may be in flight, up to what was allowed at first."""
        self._smooth += 1
        if self._smooth >= self.limit and self.limit < self.most:
            self.limit, self._smooth = self.limit + 1, 0
            self._admit()

    def asked_too_often(self, lowered: int) -> None:
        """Halves the limit, once for all requests that were sent before it was last lowered."""
        if lowered == self.lowered:
            self.limit, self._smooth, self.lowered = max(1, self.limit // 2), 0, self.lowered + 1

    def open(self) -> None:
        """Lets all who wait enter at once. Nothing is sent any more, so that they only write down how they end."""
        self.limit = self.most = EVERYBODY
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.held < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self.held += 1
                place.set_result(None)


class _Pool:
    def __init__(
        self,
        *,
        record: Record,
        intent: Intent,
        concurrency: int,
        policy: Policy,
        budget: Budget,
        progress: Callable[[Progress], None] | None,
        step: str,
        planned: int,
        stored: int,
        stop: asyncio.Event,
        rng: random.Random,
        clock: Clock,
    ) -> None:
        self.record, self.intent = record, intent
        self.concurrency, self.policy, self.budget = max(1, concurrency), policy, budget
        self.watch, self.step, self.planned, self.stored = progress, step, planned, stored
        self.stop, self.rng, self.clock = stop, rng, clock
        self.gates: dict[tuple[str, int | None], _Gate] = {}
        self.refused: list[tuple[Provider, Failure]] = []  # providers whose key is refused: nothing more is sent there
        self.by_name: dict[str, int] = {}
        self.failures: Counter[str] = Counter()
        self.answered = self.calls = self.in_flight = self.unasked = 0
        self.asking = 0  # requests that are out
        self.aside = 0  # requests that will be sent: first ones whose intent is being noted, and retries that wait
        self.priced = 0  # answers whose price is in `usd`
        self.usd: float | None = 0.0
        self.why = ""
        self.start = clock.now()
        self.last_shown = -PROGRESS_EVERY
        self.running: set[asyncio.Task[None]] = set()
        self.recording: set[asyncio.Future[Any]] = set()
        self.resting: set[asyncio.Future[None]] = set()
        self.bug: BaseException | None = None
        self.news = asyncio.Event()  # something ended, or a slot is free

    async def perform(self, jobs: Iterator[Job]) -> Tally:
        stopping = asyncio.ensure_future(self.stop.wait())
        stopping.add_done_callback(self._stopped)
        entering: asyncio.Future[None] | None = None
        try:
            for job in jobs:
                gate = self._gate(job.provider)
                if not gate.try_enter():
                    entering = asyncio.ensure_future(gate.enter())
                    entering.add_done_callback(lambda _: self.news.set())
                    while not (entering.done() or self.stop.is_set()):
                        await self._hear()
                while len(self.running) >= WAITING_PER_SLOT * self.concurrency and not self.stop.is_set():
                    await self._hear()
                if self._spent() and not self.stop.is_set():
                    # what is out may cost less than it seems, so that is waited for before the rest is given up
                    gate.leave()
                    await self._finish()
                    await gate.enter()
                if reason := self._spent():
                    self.why = reason
                    self.unasked += 1
                    break
                entering = None
                self._start(job, gate)
                # what has just finished counts before the next job is looked at
                await asyncio.sleep(0)
                self._rise()
            await self._finish()
            if self.stop.is_set() and (self.running or self.unasked):
                self.why = self.why or STOPPED
            await self._end()
            self._rise()
            self._show(force=True)
            return self._tally()
        finally:
            for waiting in (stopping, entering):
                if waiting is not None:
                    waiting.cancel()
            await self._end()

    def _gate(self, provider: Provider) -> _Gate:
        """The gate of a provider's host. A provider that says how many questions it takes at once gets one more than that.

        The one more is read while an answer is being stored; all others wait here, where no deadline runs.
        """
        slots = getattr(provider, "slots", None)
        limit = self.concurrency if slots is None else min(self.concurrency, slots + 1)
        return self.gates.setdefault((provider.host, slots), _Gate(limit))

    def _start(self, job: Job, gate: _Gate) -> None:
        task = asyncio.ensure_future(self._one(job, gate))
        self.running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if not task.cancelled() and self.bug is None:
            self.bug = task.exception()
        self.news.set()

    def _rise(self) -> None:
        """Lets a bug that showed in one of the jobs rise."""
        if self.bug is not None:
            raise self.bug

    async def _hear(self) -> None:
        await self.news.wait()
        self.news.clear()
        self._rise()

    def _stopped(self, stopping: asyncio.Future[Any]) -> None:
        """Nothing more is sent: retries that wait end with what they have."""
        self.news.set()
        if not stopping.cancelled():
            for resting in self.resting:
                resting.cancel()
            for gate in self.gates.values():
                gate.open()

    async def _finish(self) -> None:
        """Waits for what is under way; after a stop no longer than `drain` seconds."""
        until: float | None = None
        while self.running:
            if self.stop.is_set() and until is None:
                until = asyncio.get_running_loop().time() + self.policy.drain
            try:
                async with asyncio.timeout_at(until):
                    await self._hear()
            except TimeoutError:
                return

    async def _end(self) -> None:
        """Cancels what still runs, and lets what has been answered be recorded."""
        for task in self.running:
            task.cancel()
        while self.running or self.recording:
            await asyncio.wait({*self.running, *self.recording})
            await asyncio.sleep(0)

    def _spent(self) -> str:
        """Why no further request may be sent, all that is out or set aside counted in; empty where one may."""
        budget = self.budget
        if self.stop.is_set():
            return STOPPED
        if budget.calls is not None and self.calls + self.aside >= budget.calls:
            return f"the budget of {budget.calls} calls is used up"
        if budget.minutes is not None and self.clock.now() - self.start >= budget.minutes * 60:
            return f"the budget of {budget.minutes:g} minutes is used up"
        if budget.usd is not None and self.usd is None:
            return "a call of unknown price was made, so the money budget cannot be kept"
        if budget.usd is not None and self.usd is not None and self.usd + self._reserved() > budget.usd + 1e-9:
            return f"the budget of {budget.usd:g} USD is used up"
        return ""

    def _reserved(self) -> float:
        """What is out, what is set aside and the next request will cost, if they cost what an answer has cost so far."""
        return (self.asking + self.aside + 1) * (self.usd or 0.0) / self.priced if self.priced else 0.0

    async def _one(self, job: Job, gate: _Gate) -> None:
        """One job to its end. The slot is held on entry and given back before every wait and at the end."""
        self.in_flight += 1
        self.aside += 1
        await self.intent(job)
        begun, seen = self.clock.now(), Counter[str]()
        attempts = 0
        outcome: Answer | Failure | None = None
        while True:
            self.aside -= 1
            refusal = next((failure for provider, failure in self.refused if provider is job.provider), None)
            if outcome is not None and self.stop.is_set():
                break
            if refusal is not None:
                outcome = refusal
                break
            attempts += 1
            lowered = gate.lowered
            outcome = await self._try(job)
            if isinstance(outcome, Answer):
                outcome = replace(outcome, attempts=attempts)
                break
            if outcome.kind == "auth":
                self.refused.append((job.provider, outcome))
            wait = self._wait(outcome, attempts, begun, seen)
            if outcome.kind == "rate_limited":
                gate.asked_too_often(lowered)
            if wait is None:
                break
            self.aside += 1
            gate.leave()
            self.in_flight -= 1
            self._show(note=f"{job.name}: {outcome.kind}, trying again in {wait:.1f} s")
            await self._rest(wait)
            await gate.enter()
            self.in_flight += 1
        await self._store(job, outcome)
        self.in_flight -= 1
        if isinstance(outcome, Answer):
            gate.answered()
        gate.leave()

    async def _store(self, job: Job, outcome: Answer | Failure) -> None:
        """Has the outcome recorded, which goes on even where the job is cancelled meanwhile."""
        if isinstance(outcome, Answer):
            self.answered += 1
        else:
            self.failures[outcome.kind] += 1
        self.by_name[job.name] = self.by_name.get(job.name, 0) + 1
        recording = asyncio.ensure_future(self.record(job, outcome))
        self.recording.add(recording)
        recording.add_done_callback(self._recorded)
        self._show(latest=await asyncio.shield(recording))

    def _recorded(self, recording: asyncio.Future[Any]) -> None:
        self.recording.discard(recording)
        if not recording.cancelled() and self.bug is None:
            self.bug = recording.exception()

    async def _rest(self, seconds: float) -> None:
        """Waits before a retry; a stop ends it."""
        resting = asyncio.ensure_future(self.clock.sleep(seconds))
        self.resting.add(resting)
        try:
            await asyncio.wait({resting})
        finally:
            self.resting.discard(resting)
            resting.cancel()

    async def _try(self, job: Job) -> Answer | Failure:
        """Asks once. A provider that does not end when its time is up is left behind."""
        self.calls += 1
        self.asking += 1
        sent = self.clock.now()
        asking = asyncio.ensure_future(job.provider.ask(job.question))
        try:
            await asyncio.wait({asking}, timeout=self.policy.deadline)
        finally:
            self.asking -= 1
            if not asking.done():
                asking.cancel()
                await asyncio.wait({asking}, timeout=self.policy.grace)
        if not asking.done() or asking.cancelled() or isinstance(asking.exception(), TimeoutError):
            return Failure("timeout", job.provider.host, f"no complete answer within {self.policy.deadline:g} seconds")
        outcome = asking.result()
        if isinstance(outcome, Answer) and job.question.recorded is None:
            self.usd = None if self.usd is None or outcome.cost_usd is None else self.usd + outcome.cost_usd
            self.priced += 1
            if outcome.seconds is None:
                outcome = replace(outcome, seconds=self.clock.now() - sent)
        return outcome

    def _wait(self, outcome: Failure, attempts: int, begun: float, seen: Counter[str]) -> float | None:
        """Seconds until the next try, or None where there is none."""
        if outcome.kind not in RETRIED or attempts >= self.policy.tries:
            return None
        if outcome.kind in ("broken_reply", "empty_reply"):
            mark = hashlib.sha256(f"{outcome.kind}/{outcome.why}".encode("utf-8", "backslashreplace")).hexdigest()
            seen[mark] += 1
            if seen[mark] >= SAME_REPLY_STOPS:
                return None
        wait: float = min(self.policy.cap, self.policy.base * 2.0 ** (attempts - 1)) * (0.5 + self.rng.random())
        if outcome.retry_after is not None:
            if outcome.retry_after > self.policy.longest_retry_after:
                return None
            wait = max(outcome.retry_after, 0.0) + self.rng.random() * self.policy.base
        if self.clock.now() - begun + wait > self.policy.total:
            return None
        if reason := self._spent():
            self.why = self.why or reason
            return None
        return wait

    def _show(self, *, note: str = "", latest: Grade | Response | None = None, force: bool = False) -> None:
        now = self.clock.now()
        if self.watch is None or (now - self.last_shown < PROGRESS_EVERY and not force):
            return
        self.last_shown = now
        self.watch(
            Progress(
                step=self.step,
                planned=self.planned,
                stored=self.stored,
                done=self.answered,
                failed=sum(self.failures.values()),
                in_flight=self.in_flight,
                calls=self.calls,
                usd=self.usd,
                seconds=now - self.start,
                by_name=dict(self.by_name),
                note=note,
                latest=latest,
            )
        )

    def _tally(self) -> Tally:
        failed = sum(self.failures.values())
        unasked = max(self.unasked, self.planned - self.stored - self.answered - failed) if self.planned else self.unasked
        return Tally(
            answered=self.answered,
            failed=failed,
            unasked=unasked,
            calls=self.calls,
            usd=self.usd,
            seconds=self.clock.now() - self.start,
            failures=dict(self.failures),
            stopped=self.why,
        )
