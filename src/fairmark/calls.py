"""The pool: asks providers many things at once, and knows nothing of steps or of the store.

Every wait has a deadline, every retry a count and a reason. A slot is given back while a retry waits. Jobs are pulled
from an iterator, so memory is what is in flight.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from fairmark.records import Answer, Failure, FailureKind, Grade, Progress, Provider, Question, Response
from fairmark.study import Budget

RETRIED: frozenset[FailureKind] = frozenset({"rate_limited", "server_error", "connection", "timeout", "broken_reply", "empty_reply"})
CONGESTED: frozenset[FailureKind] = frozenset({"rate_limited"})
SAME_REPLY_STOPS = 3  # the same useless reply to the same question so often is its answer
WAITING_PER_SLOT = 8  # jobs that may wait for a retry, for each slot, before no more are pulled
PROGRESS_EVERY = 0.1  # seconds


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
    """Slots of one host: how many requests may be in flight there now."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.most = limit
        self.held = 0
        self.smooth = 0  # answers since the limit last changed
        self.free = asyncio.Condition()
        self.refused: Failure | None = None  # the host refuses our key: nothing more is sent there

    async def enter(self) -> None:
        async with self.free:
            await self.free.wait_for(lambda: self.held < self.limit)
            self.held += 1

    async def leave(self, *, congested: bool, answered: bool) -> None:
        async with self.free:
            self.held -= 1
            if congested and self.smooth > 0:
                self.limit, self.smooth = max(1, self.limit // 2), 0
            elif answered:
                self.smooth += 1
                if self.smooth >= self.limit and self.limit < self.most:
                    self.limit, self.smooth = self.limit + 1, 1
            self.free.notify_all()


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
        self.by_name: dict[str, int] = {}
        self.failures: Counter[str] = Counter()
        self.answered = self.calls = self.in_flight = self.unasked = 0
        self.unsent = 0  # jobs that hold a slot and have not sent anything yet
        self.usd: float | None = 0.0
        self.why = ""
        self.start = clock.now()
        self.last_shown = -PROGRESS_EVERY

    async def perform(self, jobs: Iterator[Job]) -> Tally:
        running: set[asyncio.Task[None]] = set()
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            for job in jobs:
                gate = self._gate(job.provider)
                entering = asyncio.ensure_future(gate.enter())
                while not entering.done() or len(running) > WAITING_PER_SLOT * self.concurrency:
                    await asyncio.wait({entering, stopping, *running}, return_when=asyncio.FIRST_COMPLETED)
                    running = self._reap(running)
                    if stopping.done():
                        break
                if not entering.done() or self._over():
                    self.why = self.why or ("stopped by you" if stopping.done() else "")
                    await self._withdraw(entering, gate)
                    self.unasked += 1
                    break
                running.add(asyncio.ensure_future(self._one(job, gate)))
                # let what has finished be noticed, and a budget that is used up stop the rest
                await asyncio.sleep(0)
                running = self._reap(running)
            while running:
                timeout = self.policy.drain if stopping.done() else None
                done, _ = await asyncio.wait(
                    {*running, stopping} if timeout is None else running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                if timeout is not None and not done:
                    break
                running = self._reap(running)
            if stopping.done() and (running or self.unasked):
                self.why = self.why or "stopped by you"
            self._show(force=True)
            return self._tally()
        finally:
            stopping.cancel()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _gate(self, provider: Provider) -> _Gate:
        """The gate of a provider's host. A provider that says how many questions it takes at once gets one more than that.

        The one more is read while an answer is being stored; all others wait here, where no deadline runs.
        """
        slots = getattr(provider, "slots", None)
        limit = self.concurrency if slots is None else min(self.concurrency, slots + 1)
        return self.gates.setdefault((provider.host, slots), _Gate(limit))

    async def _withdraw(self, entering: asyncio.Future[None], gate: _Gate) -> None:
        if entering.done():
            await gate.leave(congested=False, answered=False)
            return
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)

    def _reap(self, running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """The tasks that still run; a bug in one of the others rises here."""
        for task in running:
            if task.done():
                task.result()
        return {task for task in running if not task.done()}

    def _over(self) -> bool:
        """Whether the budget allows no further request, what is in flight counted in."""
        budget = self.budget
        if self.stop.is_set():
            self.why = self.why or "stopped by you"
        elif budget.calls is not None and self.calls + self.unsent >= budget.calls:
            self.why = f"the budget of {budget.calls} calls is used up"
        elif budget.minutes is not None and self.clock.now() - self.start >= budget.minutes * 60:
            self.why = f"the budget of {budget.minutes:g} minutes is used up"
        elif budget.usd is not None and self.usd is None:
            self.why = "a call of unknown price was made, so the money budget cannot be kept"
        elif budget.usd is not None and self.usd is not None and self.usd + self._reserved() > budget.usd:
            self.why = f"the budget of {budget.usd:g} USD is used up"
        return bool(self.why)

    def _reserved(self) -> float:
        """What is in flight and the next request will cost, if they cost what an answer has cost so far."""
        finished = self.answered + sum(self.failures.values())
        return (self.in_flight + 1) * (self.usd or 0.0) / finished if finished else 0.0

    async def _one(self, job: Job, gate: _Gate) -> None:
        """One job to its end. The slot is held on entry and given back before every wait and at the end."""
        self.in_flight += 1
        self.unsent += 1
        await self.intent(job)
        self.unsent -= 1
        begun, seen = self.clock.now(), Counter[str]()
        attempts = 0
        while True:
            outcome: Answer | Failure
            if gate.refused is not None:
                outcome = gate.refused
            else:
                attempts += 1
                outcome = await self._try(job)
            if isinstance(outcome, Failure) and outcome.kind == "auth":
                gate.refused = outcome
            wait = self._wait(outcome, attempts, begun, seen)
            if wait is None:
                break
            await gate.leave(congested=isinstance(outcome, Failure) and outcome.kind in CONGESTED, answered=False)
            self.in_flight -= 1
            self._show(note=f"{job.name}: {outcome.kind if isinstance(outcome, Failure) else ''}, trying again in {wait:.1f} s")
            await self.clock.sleep(wait)
            await gate.enter()
            self.in_flight += 1
        if isinstance(outcome, Answer):
            outcome = replace(outcome, attempts=attempts)
            self.answered += 1
        else:
            self.failures[outcome.kind] += 1
        record = await self.record(job, outcome)
        self.by_name[job.name] = self.by_name.get(job.name, 0) + 1
        self.in_flight -= 1
        await gate.leave(congested=False, answered=isinstance(outcome, Answer))
        self._show(latest=record)

    async def _try(self, job: Job) -> Answer | Failure:
        self.calls += 1
        sent = self.clock.now()
        # a system that was given more time by its study keeps its own deadline
        deadline = max(self.policy.deadline, getattr(job.provider, "seconds", None) or 0.0)
        try:
            outcome = await asyncio.wait_for(job.provider.ask(job.question), deadline)
        except TimeoutError:
            return Failure("timeout", job.provider.host, f"no complete answer within {deadline:g} seconds")
        if isinstance(outcome, Answer) and job.question.recorded is None:
            self.usd = None if self.usd is None or outcome.cost_usd is None else self.usd + outcome.cost_usd
            if outcome.seconds is None:
                outcome = replace(outcome, seconds=self.clock.now() - sent)
        return outcome

    def _wait(self, outcome: Answer | Failure, attempts: int, begun: float, seen: Counter[str]) -> float | None:
        """Seconds until the next try, or None where there is none."""
        if isinstance(outcome, Answer) or outcome.kind not in RETRIED or attempts >= self.policy.tries or self.stop.is_set():
            return None
        if outcome.kind in ("broken_reply", "empty_reply"):
            mark = hashlib.sha256(f"{outcome.kind}/{outcome.why}".encode("utf-8", "backslashreplace")).hexdigest()
            seen[mark] += 1
            if seen[mark] >= SAME_REPLY_STOPS:
                return None
        if self.budget.calls is not None and self.calls + self.unsent >= self.budget.calls:
            return None
        wait: float = min(self.policy.cap, self.policy.base * 2.0 ** (attempts - 1)) * (0.5 + self.rng.random())
        if outcome.retry_after is not None:
            if outcome.retry_after > self.policy.longest_retry_after:
                return None
            wait = max(outcome.retry_after, 0.0) + self.rng.random() * self.policy.base
        if self.clock.now() - begun + wait > self.policy.total:
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
