"""The pool: every wait ends, every retry has a reason, and planned is answered and failed and left over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fairmark import calls
from fairmark.calls import Job, Policy, Tally, perform
from fairmark.records import Answer, Failure, Progress, Question
from fairmark.study import Budget


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        await asyncio.sleep(0)
        self.time = max(self.time, until)


@dataclass
class Scripted:
    """A provider that gives its replies in turn, the last one for ever."""

    script: list[Any]
    name: str = "scripted"
    host: str = "here"
    asked: int = 0
    at_once: int = 0
    most: int = 0
    times: list[float] = field(default_factory=list)
    clock: calls.Clock | None = None

    async def ask(self, question: Question) -> Answer | Failure:
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if self.clock is not None:
            self.times.append(self.clock.now())
        try:
            reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if callable(reply):
                reply = await reply()
            else:
                await asyncio.sleep(0)
            assert isinstance(reply, (Answer, Failure))
            return reply
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        pass


GOOD = Answer("yes", "stop", cost_usd=0.5)


def jobs(provider: Scripted, count: int) -> list[Job]:
    return [Job(f"k{n}", "response", "system", Question(trial=n + 1), provider) for n in range(count)]


@dataclass
class Seen:
    outcomes: dict[str, Answer | Failure] = field(default_factory=dict)
    intents: list[str] = field(default_factory=list)

    async def record(self, job: Job, outcome: Answer | Failure) -> None:
        assert job.key not in self.outcomes
        self.outcomes[job.key] = outcome

    async def intent(self, job: Job) -> None:
        self.intents.append(job.key)


def go(provider: Scripted, count: int = 1, seen: Seen | None = None, **options: Any) -> tuple[Tally, Seen]:
    seen = seen or Seen()
    clock = options.pop("clock", Clock())
    provider.clock = clock
    options.setdefault("policy", Policy(deadline=0.2))
    work = perform(
        jobs(provider, count), record=seen.record, intent=seen.intent, clock=clock, rng=random.Random(1), planned=count, **options
    )
    return asyncio.run(work), seen


def fail(kind: str, retry_after: float | None = None, why: str = "") -> Failure:
    return Failure(kind, "here", why, retry_after)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["rate_limited", "server_error", "connection", "timeout", "broken_reply", "empty_reply"])
def test_what_may_pass_is_tried_again(kind: str) -> None:
    provider = Scripted([fail(kind), fail(kind), GOOD])
    tally, seen = go(provider)
    assert (tally.answered, tally.failed, tally.calls) == (1, 0, 3)
    assert isinstance(seen.outcomes["k0"], Answer)
    assert seen.outcomes["k0"].attempts == 3


@pytest.mark.parametrize("kind", ["bad_request", "code_error", "not_recorded"])
def test_what_cannot_pass_is_asked_once(kind: str) -> None:
    tally, _ = go(Scripted([fail(kind), GOOD]))
    assert (tally.answered, tally.failed, tally.calls) == (0, 1, 1)
    assert tally.failures == {kind: 1}


def test_a_refused_key_stops_everything_to_that_host() -> None:
    provider = Scripted([fail("auth")])
    tally, seen = go(provider, 20, concurrency=2)
    assert provider.asked <= 2
    assert tally.failures == {"auth": 20}
    assert len(seen.outcomes) == 20


def test_tries_are_counted_and_end() -> None:
    tally, _ = go(Scripted([fail("server_error")]), policy=Policy(tries=4))
    assert (tally.calls, tally.failed) == (4, 1)


def test_the_same_useless_reply_three_times_is_the_answer() -> None:
    same, _ = go(Scripted([fail("broken_reply", why="<html>")]), policy=Policy(tries=9))
    assert same.calls == 3
    varied, _ = go(Scripted([fail("broken_reply", why=str(n)) for n in range(9)]), policy=Policy(tries=6))
    assert varied.calls == 6


def test_retry_after_is_kept_to_and_an_absurd_one_ends_the_job() -> None:
    provider = Scripted([fail("rate_limited", 7.0), GOOD])
    go(provider)
    assert provider.times[1] - provider.times[0] >= 7.0
    tally, _ = go(Scripted([fail("rate_limited", 1e9), GOOD]))
    assert (tally.calls, tally.failures) == (1, {"rate_limited": 1})


def test_a_hanging_endpoint_meets_the_deadline() -> None:
    async def hang() -> Answer:
        await asyncio.sleep(3600)
        raise AssertionError

    tally, seen = go(Scripted([hang]), policy=Policy(deadline=0.02, tries=2))
    assert tally.failures == {"timeout": 1}
    assert isinstance(seen.outcomes["k0"], Failure)


def test_a_slot_is_given_back_while_a_retry_waits() -> None:
    provider = Scripted([fail("rate_limited", 0.1), GOOD, GOOD, GOOD])
    _, seen = go(provider, 3, concurrency=1, clock=calls.WallClock())
    # the others were answered before the one that had to wait
    assert list(seen.outcomes)[-1] == "k0"


def test_no_more_than_the_limit_is_in_flight_and_jobs_are_pulled_as_needed() -> None:
    pulled = 0

    async def slow() -> Answer:
        await asyncio.sleep(0.01)
        return GOOD

    provider = Scripted([slow])

    def endless() -> Iterator[Job]:
        nonlocal pulled
        for job in jobs(provider, 50):
            pulled += 1
            assert pulled - len(seen.outcomes) <= 4 + 2
            yield job

    seen = Seen()
    asyncio.run(perform(endless(), record=seen.record, intent=seen.intent, concurrency=4, clock=Clock()))
    assert provider.most == 4
    assert len(seen.outcomes) == 50


def test_being_asked_too_often_lowers_the_limit() -> None:
    limited = [fail("rate_limited", 0.0) if n % 3 == 0 else GOOD for n in range(60)]
    provider = Scripted([GOOD] * 8 + limited + [GOOD])
    tally, _ = go(provider, 60, concurrency=8)
    assert tally.answered == 60


def test_every_job_is_noted_before_it_is_sent() -> None:
    seen = Seen()

    async def check() -> Answer:
        assert len(seen.intents) > len(seen.outcomes)
        return GOOD

    go(Scripted([check]), 5, seen)
    assert seen.intents == [f"k{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("budget", "calls_made", "word"),
    [(Budget(calls=4), 4, "calls"), (Budget(usd=2.0), 4, "USD"), (Budget(calls=0), 0, "calls")],
)
def test_a_used_up_budget_leaves_the_rest_unasked(budget: Budget, calls_made: int, word: str) -> None:
    provider = Scripted([GOOD])
    tally, seen = go(provider, 10, budget=budget, concurrency=1)
    assert provider.asked == calls_made
    assert (tally.answered, tally.unasked) == (calls_made, 10 - calls_made)
    assert word in tally.stopped
    assert len(seen.outcomes) == calls_made


def test_a_call_budget_counts_what_is_in_flight() -> None:
    provider = Scripted([GOOD])
    tally, _ = go(provider, 30, budget=Budget(calls=5), concurrency=16)
    assert (provider.asked, tally.calls) == (5, 5)


def test_an_unknown_price_ends_a_money_budget() -> None:
    tally, _ = go(Scripted([Answer("x", cost_usd=None)]), 10, budget=Budget(usd=5.0), concurrency=1)
    assert tally.usd is None
    assert tally.answered == 1
    assert "unknown price" in tally.stopped


def test_stopping_waits_for_what_is_under_way_and_asks_no_more() -> None:
    async def work() -> tuple[Tally, Seen]:
        stop, seen = asyncio.Event(), Seen()

        async def slow() -> Answer:
            stop.set()
            await asyncio.sleep(0.02)
            return GOOD

        provider = Scripted([slow])
        done = await perform(jobs(provider, 10), record=seen.record, intent=seen.intent, concurrency=2, stop=stop, planned=10)
        return done, seen

    tally, seen = asyncio.run(work())
    assert 1 <= tally.answered <= 2
    assert len(seen.outcomes) == tally.answered
    assert tally.unasked == 10 - tally.answered
    assert tally.stopped


def test_our_own_bugs_rise() -> None:
    async def bug() -> Answer:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        go(Scripted([bug]), 3)


def test_mixed_garbage_conserves_the_jobs() -> None:
    generator = random.Random(5)
    kinds: list[Callable[[], Any]] = [
        lambda: fail("rate_limited", 0.5),
        lambda: fail("server_error"),
        lambda: fail("broken_reply", why=str(generator.random())),
        lambda: fail("empty_reply"),
        lambda: fail("bad_request"),
    ]
    script = [generator.choice(kinds)() if generator.random() < 0.4 else GOOD for _ in range(2000)]
    tally, seen = go(Scripted([*script, GOOD]), 300, concurrency=16)
    assert tally.answered + tally.failed == 300
    assert Counter(type(outcome) for outcome in seen.outcomes.values()) == {Answer: tally.answered, Failure: tally.failed}
    assert set(tally.failures) <= {"bad_request", "rate_limited", "server_error", "broken_reply", "empty_reply"}


def test_progress_adds_up() -> None:
    shown: list[Progress] = []
    go(Scripted([GOOD]), 7, progress=shown.append)
    assert shown[-1].done == 7
    assert shown[-1].by_name == {"system": 7}
    assert shown[-1].usd == 3.5


def test_two_rounds_add_and_a_budget_has_a_rest() -> None:
    one = Tally(answered=2, failed=1, calls=4, usd=1.0, seconds=60, failures={"timeout": 1})
    both = calls.add(one, Tally(answered=1, calls=1, usd=None, seconds=1))
    assert (both.answered, both.failed, both.calls, both.usd) == (3, 1, 5, None)
    assert calls.left(Budget(usd=3.0, calls=10, minutes=2), one) == Budget(usd=2.0, calls=6, minutes=1.0)
    assert calls.left(Budget(usd=3.0), both).usd == 0.0
