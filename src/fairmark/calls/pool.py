"""The workers: each asks one thing at a time, writes down what came of it, and takes the next.

A worker's outcome, what follows from it and the note that the next job is about to be sent become durable together: one
wait for the disk a request. Nothing of the loop's time goes into a job that a timer or a list can do for all.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from fairmark.calls.jobs import Clock, Job, Ledger, Policy, Tally, WallClock
from fairmark.calls.lanes import Flight, Lane
from fairmark.records import Answer, Failure, FailureKind, Headway, Places, Progress, Provider
from fairmark.study import Budget, Limit

RETRIED: frozenset[FailureKind] = frozenset({"rate_limited", "server_error", "connection", "timeout", "broken_reply", "empty_reply"})
SAME_REPLY_STOPS = 3  # the same useless reply to the same question so often is its answer
WAITING_PER_PLACE = 2  # jobs that may wait for a place, for each place, before no more are pulled
RESTING_PER_PLACE = 8  # jobs that may wait for a place or a retry, likewise
PROGRESS_EVERY = 0.1  # seconds
LATELY = 10.0  # seconds over which the present rate is taken
STOPPED = "stopped by you"
CHARACTERS_A_TOKEN = 4  # where an endpoint does not count


async def perform(
    jobs: Iterable[Job],
    ledger: Ledger,
    *,
    concurrency: int = 8,
    limits: Mapping[str, Limit] | None = None,
    policy: Policy | None = None,
    budget: Budget | None = None,
    progress: Callable[[Progress], None] | None = None,
    planned: int = 0,
    stored: int = 0,
    stop: asyncio.Event | None = None,
    needed: Callable[[Job], bool] = lambda job: True,
    rng: random.Random | None = None,
    clock: Clock | None = None,
) -> Tally:
    """Asks every job's provider, has each outcome written down, and asks what follows from it before anything new.

    `concurrency` is the most requests in flight to one host; `limits` may set less for a host, and rates. The number
    falls when a host says that it is asked too often or becomes slow, and grows back. When `stop` is set nothing more is
    asked, and what is under way is waited for; a job that is no longer `needed` when its turn comes is left unasked.
    Cancelling stops at once. An exception in a provider or in the ledger is our bug and rises.
    """
    pool = _Pool(
        iter(jobs),
        ledger,
        concurrency=concurrency,
        limits=limits or {},
        policy=policy or Policy(),
        budget=budget or Budget(),
        progress=progress,
        planned=planned,
        stored=stored,
        stop=stop or asyncio.Event(),
        needed=needed,
        rng=rng or random.Random(),
        clock=clock or WallClock(),
    )
    return await pool.perform()


class _Pool:
    def __init__(
        self,
        jobs: Iterator[Job],
        ledger: Ledger,
        *,
        concurrency: int,
        limits: Mapping[str, Limit],
        policy: Policy,
        budget: Budget,
        progress: Callable[[Progress], None] | None,
        planned: int,
        stored: int,
        stop: asyncio.Event,
        needed: Callable[[Job], bool],
        rng: random.Random,
        clock: Clock,
    ) -> None:
        self.source: Iterator[Job] | None = jobs
        self.ledger = ledger
        self.concurrency, self.limits = max(1, concurrency), limits
        self.policy, self.budget = policy, budget
        self.watch, self.planned, self.stored = progress, planned, stored
        self.stop, self.needed, self.rng, self.clock = stop, needed, rng, clock
        self.lanes: dict[tuple[str, int | None], Lane] = {}
        self.refused: list[tuple[Provider, Failure]] = []  # providers whose key is refused: nothing more is sent there
        self.tabs: dict[tuple[Literal["response", "grade"], str], _Tab] = {}  # by what is asked for, and the name of the system or grader
        self.failures: Counter[str] = Counter()
        self.retried: Counter[str] = Counter()
        self.answered = self.calls = self.tokens = 0
        self.asking = 0  # requests that are out
        self.aside = 0  # requests that will be sent: first ones whose intent is being noted, and retries that wait
        self.unneeded = 0  # jobs that were pulled and left unasked
        self.waiting = 0  # jobs that were pulled and are not under way
        self.priced = 0  # answers whose price is in `usd`
        self.usd: float | None = 0.0
        self.why = ""
        self.start = clock.now()
        self.last_shown = -PROGRESS_EVERY
        self.lately: deque[tuple[float, int]] = deque([(self.start, 0)])  # when it was shown, and how many were finished
        self.note = ""  # to be shown next
        self.workers: set[asyncio.Task[None]] = set()
        self.resting: set[Flight] = set()
        self.closing = False  # nothing more is sent
        self.feeding = False
        self.bug: BaseException | None = None

    # ------------------------------------------------------------ from the first job to the last

    async def perform(self) -> Tally:
        self.loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self.loop.create_future()
        stopping = asyncio.ensure_future(self.stop.wait())
        stopping.add_done_callback(lambda done: None if done.cancelled() else self._close())
        try:
            self._feed()
            await self.over
        finally:
            stopping.cancel()
            await self._end()
        if self.bug is not None:
            raise self.bug
        tally = self._tally()
        self._show(force=True)
        return tally

    async def _end(self) -> None:
        """Ends what still runs. A provider that does not end is left behind; what came back is kept."""
        self.closing = True
        self._finish()
        for flight in self.resting:
            if flight.rest is not None:
                flight.rest.cancel()
        left = set(self.workers)
        for worker in left:
            worker.cancel()
        if left:
            await asyncio.wait(left, timeout=self.policy.grace)
        if self.bug is None:
            await self.ledger.kept()

    def _feed(self) -> None:
        """Starts workers for all that can be sent now; notices when nothing is left."""
        if self.feeding:
            return
        self.feeding = True
        try:
            for lane in list(self.lanes.values()):
                while lane.ready and lane.free and (flight := self._take(lane)) is not None:
                    self._begin(flight)
            while self.source is not None and (not self.lanes or any(lane.free for lane in self.lanes.values())):
                # the lane of the next job is known only once it is pulled
                if self._spent() or not self._pull():
                    break
                for lane in list(self.lanes.values()):
                    while lane.ready and lane.free and (flight := self._take(lane)) is not None:
                        self._begin(flight)
        except BaseException as error:
            self._break(error)
        finally:
            self.feeding = False
        if not self.workers and not self.resting:
            reason = self._spent()
            if reason or (self.source is None and self.waiting == 0):
                if self.source is not None or self.waiting:
                    self.why = self.why or reason
                self._finish()

    def _finish(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _break(self, error: BaseException) -> None:
        """A bug ends the whole round."""
        if self.bug is None:
            self.bug = error
        self._finish()

    def _pull(self, *, far: bool = False) -> bool:
        """Pulls one job into the lane it belongs to; whether there was one, and room for it. `far` looks for more of a kind."""
        waiting = (RESTING_PER_PLACE if far else WAITING_PER_PLACE) * self.concurrency
        if self.source is None or self.waiting >= waiting or self.waiting + len(self.resting) >= RESTING_PER_PLACE * self.concurrency:
            return False
        job = next(self.source, None)
        if job is None:
            self.source = None
            return False
        self._queue(job)
        return True

    def _queue(self, job: Job) -> None:
        slots = getattr(job.provider, "slots", None)
        name = (job.provider.host, slots)
        lane = self.lanes.get(name)
        if lane is None:
            # a provider that says how many questions it takes at once gets one more, which is read while an answer is
            # being stored; all others wait here, where no deadline runs
            most = self.concurrency if slots is None else min(self.concurrency, slots + 1)
            lane = self.lanes[name] = Lane(most, self.limits.get(job.provider.host), alike=slots is not None)
        lane.ready.append(Flight(job, lane))
        self.waiting += 1

    def _take(self, lane: Lane) -> Flight | None:
        """The next flight of a lane, its intent noted; None where nothing may or can be sent now."""
        while not self.closing:
            place = lane.next()
            # a retry has its share of the budget set aside already
            again = place is not None and lane.ready[place].attempts > 0
            if not again and self._spent():
                return None
            if place is None:
                if self._pull(far=lane.alike):
                    continue
                if not lane.ready:
                    return None
                lane.change()
                continue
            flight = lane.ready[place]
            del lane.ready[place]
            if not again and not self.needed(flight.job):
                self.waiting -= 1
                self.unneeded += 1
                continue
            prefix = flight.job.prefix
            if prefix and not again and prefix not in lane.warm:
                if prefix in lane.warming:
                    lane.warming[prefix].append(flight)
                    continue
                lane.warming[prefix] = []
            self.waiting -= 1
            if not again and self._refusal(flight) is None:
                self.ledger.asking(flight.job)
                self._set_aside(flight)
            return flight
        return None

    def _set_aside(self, flight: Flight) -> None:
        if not flight.aside:
            flight.aside = True
            self.aside += 1

    def _no_longer_aside(self, flight: Flight) -> None:
        if flight.aside:
            flight.aside = False
            self.aside -= 1

    def _begin(self, flight: Flight, said: Failure | None = None) -> None:
        flight.lane.held += 1
        self._start(flight, said)

    def _start(self, flight: Flight, said: Failure | None) -> None:
        worker = asyncio.ensure_future(self._work(flight, said))
        self.workers.add(worker)
        worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self.workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._break(error)
        if not self.over.done():
            self._feed()

    def _close(self) -> None:
        """Nothing more is sent: retries that wait end with what they have, and what is under way is waited for."""
        self.closing = True
        for flight in self.resting:
            if flight.rest is not None:
                flight.rest.cancel()
        for lane in self.lanes.values():
            for flight in [one for one in lane.ready if one.attempts > 0]:
                lane.ready.remove(flight)
                self.waiting -= 1
                self._begin(flight, flight.last)
        # what is under way is cancelled in the end
        self.loop.call_later(self.policy.drain, self._finish)
        self._feed()

    # ------------------------------------------------------------ one worker

    async def _work(self, flight: Flight, said: Answer | Failure | None) -> None:
        """Asks, writes down and takes the next, until its lane has nothing more. `said` is the outcome where it is known."""
        lane, following = flight.lane, True
        try:
            next_one: Flight | None = flight
            while next_one is not None:
                flight = next_one
                outcome = said if said is not None else await self._ask(flight)
                said = None
                if outcome is None:
                    following = False  # another worker has taken over
                    return
                if not self._rests(flight, outcome):
                    await self._record(flight, outcome)
                next_one = self._take(lane) if lane.held <= lane.places else None
            await self.ledger.kept()
        finally:
            lane.held -= following

    async def _ask(self, flight: Flight) -> Answer | Failure | None:
        """What a try came to; None where its provider did not end in time and was left behind."""
        job, lane = flight.job, flight.lane
        refusal = self._refusal(flight)
        if refusal is None:
            await self.ledger.kept()
            if lane.requests is not None or lane.tokens is not None:
                flight.tokens = self._usual_tokens(job)
                wait = lane.wait(flight.tokens, self.clock.now())
                if wait > 0:
                    await self.clock.sleep(wait)
            refusal = self._refusal(flight)
        self._no_longer_aside(flight)
        if refusal is not None:
            return refusal
        if flight.attempts == 0:
            flight.begun = self.clock.now()
        flight.attempts += 1
        flight.lowered = lane.lowered
        flight.task = asyncio.current_task()
        flight.late = False
        self.calls += 1
        self.asking += 1
        sent = self.clock.now()
        flight.timer = self.loop.call_later(self.policy.deadline, self._late, flight)
        outcome: Answer | Failure
        try:
            outcome = await job.provider.ask(job.question)
        except TimeoutError:
            outcome = self._timeout(flight)
        except asyncio.CancelledError:
            if flight.abandoned:
                return None
            assert flight.task is not None
            if not flight.late and flight.task.cancelling():
                raise
            outcome = self._timeout(flight)
        finally:
            flight.timer.cancel()
            if not flight.abandoned:
                self.asking -= 1
        if flight.abandoned:
            return None
        if flight.late and flight.task is not None:
            flight.task.uncancel()
        if isinstance(outcome, Answer):
            seconds = self.clock.now() - sent
            self._count(flight, outcome)
            lane.answered(job.name, seconds)
            if flight.attempts > 1 or (outcome.seconds is None and job.question.recorded is None):
                outcome = replace(outcome, attempts=flight.attempts, seconds=seconds if outcome.seconds is None else outcome.seconds)
        return outcome

    def _timeout(self, flight: Flight) -> Failure:
        return Failure("timeout", flight.job.provider.host, f"no complete answer within {self.policy.deadline:g} seconds")

    def _late(self, flight: Flight) -> None:
        """Its time is up: the provider is asked to end, and left behind where it does not."""
        assert flight.task is not None
        flight.late = True
        flight.task.cancel()
        flight.timer = self.loop.call_later(self.policy.grace, self._abandon, flight)

    def _abandon(self, flight: Flight) -> None:
        assert flight.task is not None
        flight.abandoned = True
        self.asking -= 1
        self.workers.discard(flight.task)
        self._start(flight, self._timeout(flight))

    def _count(self, flight: Flight, answer: Answer) -> None:
        """Adds what an answer cost."""
        if flight.job.question.recorded is not None:
            return
        self.usd = None if self.usd is None or answer.cost_usd is None else self.usd + answer.cost_usd
        self.priced += 1
        self._tab(flight.job).price(answer.cost_usd)
        usage = answer.usage
        said = [part for part in (usage.input_tokens, usage.cached_tokens, usage.output_tokens) if part is not None] if usage else []
        tokens = sum(said) if said else _length(flight.job, answer) // CHARACTERS_A_TOKEN
        if flight.lane.tokens is not None:
            flight.lane.tokens.correct(flight.tokens - tokens)
        self.tokens += tokens

    def _usual_tokens(self, job: Job) -> float:
        """What an answer has taken so far; before the first one, what was written and may be written."""
        if self.priced:
            return self.tokens / self.priced
        longest = job.question.options.get("max_tokens")
        return _length(job) / CHARACTERS_A_TOKEN + (longest if isinstance(longest, int) else 0)

    def _refusal(self, flight: Flight) -> Failure | None:
        """The refusal of this provider's key, where there was one."""
        if not self.refused:
            return None
        return next((failure for provider, failure in self.refused if provider is flight.job.provider), None)

    async def _record(self, flight: Flight, outcome: Answer | Failure) -> None:
        tab = self._tab(flight.job)
        if isinstance(outcome, Answer):
            self.answered += 1
            tab.done += 1
        else:
            self.failures[outcome.kind] += 1
            tab.failed += 1
        for job in await self.ledger.came(flight.job, outcome):
            self._queue(job)
        if flight.job.prefix:
            self._warmed(flight)
        self._show()
        self._spread(flight.lane)

    def _spread(self, own: Lane) -> None:
        """Starts workers for what another lane has got to send, or for places that this one has gained."""
        if any(lane.ready and lane.free for lane in self.lanes.values()) or (own.free and self.source is not None):
            self._feed()

    def _warmed(self, flight: Flight) -> None:
        lane = flight.lane
        lane.warm.add(flight.job.prefix)
        lane.ready.extend(lane.warming.pop(flight.job.prefix, ()))  # they count as waiting still

    # ------------------------------------------------------------ trying again

    def _rests(self, flight: Flight, outcome: Answer | Failure) -> bool:
        """Whether the job is tried again later; its place is free meanwhile."""
        if isinstance(outcome, Answer):
            return False
        if outcome.kind == "auth" and self._refusal(flight) is None:
            self.refused.append((flight.job.provider, outcome))
        wait = self._wait(flight, outcome)
        if outcome.kind == "rate_limited":
            flight.lane.asked_too_often(flight.lowered)
        if wait is None:
            return False
        flight.last = outcome
        self._set_aside(flight)
        self.retried[outcome.kind] += 1
        self.resting.add(flight)
        flight.rest = asyncio.ensure_future(self.clock.sleep(wait))
        flight.rest.add_done_callback(lambda rest: self._rested(flight, cancelled=rest.cancelled()))
        self._show(note=f"{flight.job.name}: {outcome.kind}, trying again in {wait:.1f} s")
        return True

    def _rested(self, flight: Flight, *, cancelled: bool) -> None:
        """Back in line, in front; where nothing more is sent, its last failure is its outcome."""
        self.resting.discard(flight)
        flight.rest = None
        if self.over.done():
            return
        if cancelled or self.closing:
            self._begin(flight, flight.last)
            return
        flight.lane.ready.appendleft(flight)
        self.waiting += 1
        self._feed()

    def _wait(self, flight: Flight, outcome: Failure) -> float | None:
        """Seconds until the next try, or None where there is none."""
        policy, attempts = self.policy, flight.attempts
        if outcome.kind not in RETRIED or attempts >= policy.tries or self.closing:
            return None
        if outcome.kind in ("broken_reply", "empty_reply"):
            mark = hashlib.sha256(f"{outcome.kind}/{outcome.why}".encode("utf-8", "backslashreplace")).hexdigest()
            flight.seen = flight.seen or Counter()
            flight.seen[mark] += 1
            if flight.seen[mark] >= SAME_REPLY_STOPS:
                return None
        wait: float = min(policy.cap, policy.base * 2.0 ** (attempts - 1)) * (0.5 + self.rng.random())
        if outcome.retry_after is not None:
            if outcome.retry_after > policy.longest_retry_after:
                return None
            wait = max(outcome.retry_after, 0.0) + self.rng.random() * policy.base
        if self.clock.now() - flight.begun + wait > policy.total:
            return None
        if reason := self._spent():
            self.why = self.why or reason
            return None
        return wait

    # ------------------------------------------------------------ what may still be spent

    def _spent(self) -> str:
        """Why no further request may be sent, all that is out or set aside counted in; empty where one may."""
        budget = self.budget
        if self.closing or self.stop.is_set():
            return STOPPED
        under_way = self.asking + self.aside
        if budget.calls is not None and self.calls + self.aside >= budget.calls:
            return f"the budget of {budget.calls} calls is used up"
        if budget.minutes is not None and self.clock.now() - self.start >= budget.minutes * 60:
            return f"the budget of {budget.minutes:g} minutes is used up"
        if budget.usd is not None and self.usd is None:
            return "a call of unknown price was made, so the money budget cannot be kept"
        if budget.usd is not None and self.usd is not None and self.priced:
            # what is out, what is set aside and the next one cost what an answer has cost so far
            if self.usd + (under_way + 1) * self.usd / self.priced > budget.usd + 1e-9:
                return f"the budget of {budget.usd:g} USD is used up"
        elif budget.usd is not None and budget.usd <= 0:
            return f"the budget of {budget.usd:g} USD is used up"
        if budget.tokens is not None and self.tokens + (under_way + 1) * (self.tokens / self.priced if self.priced else 0) > budget.tokens:
            return f"the budget of {budget.tokens} tokens is used up"
        return ""

    # ------------------------------------------------------------ what it looks like

    def _show(self, *, note: str = "", force: bool = False) -> None:
        if self.watch is None:
            return
        self.note = note or self.note
        now = self.clock.now()
        if now - self.last_shown < PROGRESS_EVERY and not force:
            return
        self.last_shown = now
        failed = sum(self.failures.values())
        # from its beginning, or from the last look before that long
        while len(self.lately) > 1 and self.lately[1][0] <= now - LATELY:
            self.lately.popleft()
        then, finished = self.lately[0]
        passed = now - then
        self.lately.append((now, self.answered + failed))
        self.watch(
            Progress(
                planned=self.planned,
                stored=self.stored,
                done=self.answered,
                failed=failed,
                in_flight=self.asking,
                calls=self.calls,
                retries=self.retried.total(),
                resting=len(self.resting),
                tokens=self.tokens,
                usd=self.usd,
                seconds=now - self.start,
                a_second=(self.answered + failed - finished) / passed if passed > 0 else None,
                headway=tuple(tab.headway(name, what) for (what, name), tab in self.tabs.items()),
                failures=dict(self.failures),
                retried=dict(self.retried),
                places=tuple(Places(host, lane.places, lane.most, lane.held, lane.why) for (host, _), lane in self.lanes.items()),
                note=self.note,
            )
        )

    def _tab(self, job: Job) -> _Tab:
        tab = self.tabs.get((job.what, job.name))
        if tab is None:
            tab = self.tabs[job.what, job.name] = _Tab()
        return tab

    def _tally(self) -> Tally:
        failed = sum(self.failures.values())
        left = self.waiting + self.unneeded
        unasked = max(left, self.planned - self.stored - self.answered - failed) if self.planned else left
        return Tally(
            answered=self.answered,
            failed=failed,
            unasked=unasked,
            calls=self.calls,
            tokens=self.tokens,
            usd=self.usd,
            seconds=self.clock.now() - self.start,
            failures=dict(self.failures),
            stopped=self.why or (STOPPED if unasked and self.stop.is_set() else ""),
        )


class _Tab:
    """What one system or grader has come to."""

    __slots__ = ("done", "failed", "priced", "unpriced", "usd", "usd_squared")

    def __init__(self) -> None:
        self.done = self.failed = self.priced = self.unpriced = 0
        self.usd = self.usd_squared = 0.0

    def price(self, usd: float | None) -> None:
        """Adds what an answer cost."""
        if usd is None:
            self.unpriced += 1
        else:
            self.priced += 1
            self.usd += usd
            self.usd_squared += usd * usd

    def headway(self, name: str, what: Literal["response", "grade"]) -> Headway:
        """The same, for whoever watches."""
        return Headway(
            name,
            what,
            done=self.done,
            failed=self.failed,
            priced=self.priced,
            unpriced=self.unpriced,
            usd=self.usd,
            usd_squared=self.usd_squared,
        )


def _length(job: Job, answer: Answer | None = None) -> int:
    """Characters of a question, and of its answer."""
    return sum(len(message.content) for message in job.question.messages) + (len(answer.text) if answer is not None else 0)
