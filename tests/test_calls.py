"""The pool: every wait ends, every retry has a reason, and planned is answered and failed and left over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from fairmark import calls
from fairmark.calls import Job, Policy, Tally, perform
from fairmark.calls.lanes import Lane
from fairmark.errors import CannotDo
from fairmark.records import Answer, Failure, Progress, Question, Usage
from fairmark.study import Budget, Limit


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

    then: Callable[[Job, Answer | Failure], list[Job]] = lambda job, outcome: []
    kept_: int = 0  # outcomes and intents that would survive a power cut

    def asking(self, job: Job) -> None:
        self.intents.append(job.key)

    async def came(self, job: Job, outcome: Answer | Failure) -> list[Job]:
        assert job.key not in self.outcomes
        self.outcomes[job.key] = outcome
        return self.then(job, outcome)

    async def kept(self) -> None:
        await asyncio.sleep(0)
        self.kept_ = len(self.intents)


def go(provider: Scripted, count: int = 1, seen: Seen | None = None, **options: Any) -> tuple[Tally, Seen]:
    seen = seen or Seen()
    clock = options.pop("clock", Clock())
    provider.clock = clock
    options.setdefault("policy", Policy(deadline=0.2))
    work = perform(jobs(provider, count), seen, clock=clock, rng=random.Random(1), planned=count, **options)
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


def test_a_key_refused_for_one_provider_stops_no_other_on_that_host() -> None:
    refused, fine = Scripted([fail("auth")]), Scripted([GOOD])
    seen = Seen()
    mixed = [
        Job(f"{name}{n}", "response", name, Question(), provider) for n in range(9) for name, provider in (("a", refused), ("b", fine))
    ]
    tally = asyncio.run(perform(mixed, seen, concurrency=1, clock=Clock(), planned=18))
    assert (tally.answered, tally.failures, refused.asked, fine.asked) == (9, {"auth": 9}, 1, 9)


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


def test_a_provider_that_does_not_end_is_left_behind() -> None:
    async def stubborn() -> Answer:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)
                return GOOD

    tally, _ = go(Scripted([stubborn]), policy=Policy(deadline=0.01, grace=0.01, tries=1))
    assert tally.failures == {"timeout": 1}


def test_an_answer_that_comes_as_its_time_ends_is_not_lost() -> None:
    async def late() -> Answer:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return GOOD
        raise AssertionError

    tally, _ = go(Scripted([late]), policy=Policy(deadline=0.01, tries=1))
    assert (tally.answered, tally.usd) == (1, 0.5)


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
            assert pulled - len(seen.outcomes) <= 4 + 1
            yield job

    seen = Seen()
    asyncio.run(perform(endless(), seen, concurrency=4, clock=Clock()))
    assert provider.most == 4
    assert len(seen.outcomes) == 50


def test_being_asked_too_often_lowers_the_limit_until_it_suits() -> None:
    at_once: list[int] = []

    @dataclass
    class Narrow(Scripted):
        async def ask(self, question: Question) -> Answer | Failure:
            self.at_once += 1
            at_once.append(self.at_once)
            crowded = self.at_once > 3
            for _ in range(200):
                await asyncio.sleep(0)
            self.at_once -= 1
            return fail("rate_limited") if crowded else GOOD

    tally, _ = go(Narrow([GOOD]), 400, concurrency=32, policy=Policy())
    assert max(at_once) > 16  # it starts with all that is allowed
    assert max(at_once[-300:]) <= 4  # and looks for one more now and then
    assert tally.answered == 400
    assert tally.calls <= 1.5 * 400


def test_the_limit_is_lowered_once_for_one_crowd_and_grows_back() -> None:
    at_once: list[int] = []

    @dataclass
    class Grumpy(Scripted):
        async def ask(self, question: Question) -> Answer | Failure:
            self.asked += 1
            self.at_once += 1
            at_once.append(self.at_once)
            grumpy = self.asked <= 8
            for _ in range(200):
                await asyncio.sleep(0)
            self.at_once -= 1
            return fail("rate_limited", 0.0) if grumpy else GOOD

    tally, _ = go(Grumpy([GOOD]), 100, concurrency=8, policy=Policy())
    assert (tally.answered, tally.calls) == (100, 108)
    assert max(at_once[:8]) == 8
    assert max(at_once[8:14]) == 4  # half of it, not a quarter or an eighth
    assert max(at_once[-30:]) == 8


def test_a_failing_endpoint_is_asked_no_more_than_the_tries_allow() -> None:
    for kind in ("rate_limited", "server_error", "connection"):
        tally, _ = go(Scripted([fail(kind)]), 50, policy=Policy(tries=3), concurrency=8)
        assert (tally.calls, tally.failures) == (150, {kind: 50})


def test_all_tries_of_a_job_have_an_end_in_time() -> None:
    clock = Clock()
    tally, _ = go(Scripted([fail("server_error")]), policy=Policy(tries=1000, base=10.0, cap=10.0, total=100.0), clock=clock)
    assert tally.failed == 1
    assert clock.now() <= 100.0


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


def test_a_call_budget_counts_retries_that_wait() -> None:
    provider = Scripted([fail("server_error"), GOOD, fail("server_error"), GOOD])
    tally, seen = go(provider, 30, budget=Budget(calls=6), concurrency=4)
    assert provider.asked == tally.calls <= 6
    assert tally.answered + tally.failed + tally.unasked == 30
    assert len(seen.outcomes) == tally.answered + tally.failed
    assert "6 calls" in tally.stopped


def test_a_retry_that_no_budget_is_left_for_is_a_failure_that_may_pass() -> None:
    tally, seen = go(Scripted([fail("server_error")]), 1, budget=Budget(calls=1))
    assert (tally.calls, tally.failures) == (1, {"server_error": 1})
    assert "1 calls" in tally.stopped
    outcome = seen.outcomes["k0"]
    assert isinstance(outcome, Failure) and outcome.transient


def test_a_money_budget_counts_what_is_in_flight() -> None:
    async def slow() -> Answer:
        await asyncio.sleep(0.001)
        return GOOD

    # the first three go out before any price is known; from then on what is out counts
    tally, _ = go(Scripted([slow]), 100, budget=Budget(usd=10.0), concurrency=3)
    assert (tally.calls, tally.usd) == (20, 10.0)
    assert tally.unasked == 80


def test_a_money_budget_is_used_in_full_where_the_first_answers_were_dear() -> None:
    provider = Scripted([Answer("long", cost_usd=2.0), *[Answer("short", cost_usd=0.01)] * 99, GOOD])
    tally, _ = go(provider, 60, budget=Budget(usd=6.0), concurrency=8)
    assert (tally.answered, tally.stopped) == (60, "")


def test_a_time_budget_ends_the_asking() -> None:
    clock = Clock()

    async def slow() -> Answer:
        await clock.sleep(20)
        return GOOD

    tally, _ = go(Scripted([slow]), 10, budget=Budget(minutes=1), concurrency=1, clock=clock)
    assert (tally.answered, tally.unasked) == (3, 7)
    assert "minutes" in tally.stopped


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
        done = await perform(jobs(provider, 10), seen, concurrency=2, stop=stop, planned=10)
        return done, seen

    tally, seen = asyncio.run(work())
    assert 1 <= tally.answered <= 2
    assert len(seen.outcomes) == tally.answered
    assert tally.unasked == 10 - tally.answered
    assert tally.stopped


def test_stopping_ends_the_retries_that_wait_and_keeps_their_failures() -> None:
    async def work() -> tuple[Tally, Seen]:
        stop, seen = asyncio.Event(), Seen()
        provider = Scripted([fail("rate_limited", 100.0)])
        running = asyncio.ensure_future(perform(jobs(provider, 50), seen, concurrency=2, stop=stop, planned=50))
        while provider.asked < 10:
            await asyncio.sleep(0)
        stop.set()
        return await asyncio.wait_for(running, 10), seen

    tally, seen = asyncio.run(work())
    assert tally.failed == len(seen.outcomes) >= 10
    assert tally.calls == tally.failed
    assert tally.failed + tally.unasked == 50


def test_what_does_not_end_after_a_stop_is_cancelled_and_left_unasked() -> None:
    ended: list[str] = []

    async def work() -> tuple[Tally, Seen]:
        stop, seen = asyncio.Event(), Seen()

        async def hang() -> Answer:
            stop.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            raise AssertionError

        done = await perform(
            jobs(Scripted([hang]), 5),
            seen,
            concurrency=1,
            stop=stop,
            planned=5,
            policy=Policy(drain=0.02),
        )
        return done, seen

    tally, seen = asyncio.run(work())
    assert (tally.answered, tally.failed, tally.unasked, seen.outcomes) == (0, 0, 5, {})
    assert ended == ["cancelled"]
    assert tally.stopped == "stopped by you"


def test_cancelling_ends_at_once_and_keeps_what_was_answered() -> None:
    seen = Seen()

    async def work() -> None:
        answering = asyncio.Event()

        @dataclass
        class Half(Scripted):
            async def ask(self, question: Question) -> Answer | Failure:
                self.asked += 1
                if self.asked > 7:
                    answering.set()
                    await asyncio.sleep(3600)
                return GOOD

        running = asyncio.ensure_future(perform(jobs(Half([GOOD]), 20), seen, concurrency=3))
        await answering.wait()
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(work())
    assert len(seen.outcomes) == 7
    assert seen.kept_ == len(seen.intents) == 10


def test_what_cannot_be_recorded_rises_and_ends_the_asking() -> None:
    provider = Scripted([GOOD])

    class Full(Seen):
        async def kept(self) -> None:
            if self.outcomes:
                raise CannotDo("DISK", "the disk is full")

    with pytest.raises(CannotDo, match="full"):
        asyncio.run(perform(jobs(provider, 50), Full(), concurrency=2))
    assert provider.asked <= 4


def test_what_follows_from_an_answer_goes_before_anything_new() -> None:
    order: list[str] = []
    grader = Scripted([GOOD], host="elsewhere")

    def then(job: Job, outcome: Answer | Failure) -> list[Job]:
        order.append(job.key)
        return [Job(f"{job.key}/mark", "grade", "judge", Question(), grader)] if job.what == "response" else []

    provider = Scripted([GOOD])
    tally, seen = go(provider, 50, Seen(then=then), concurrency=2)
    assert tally.answered == 100
    assert seen.intents.index("k0/mark") < seen.intents.index("k6")
    assert all(abs(order.index(f"k{n}/mark") - order.index(f"k{n}")) < 8 for n in range(50))
    assert grader.asked == 50


def test_a_slow_grader_holds_back_the_source_so_that_little_waits() -> None:
    pulled = 0

    async def slow() -> Answer:
        await asyncio.sleep(0.002)
        return GOOD

    grader = Scripted([slow], host="elsewhere")
    provider = Scripted([GOOD])

    def source() -> Iterator[Job]:
        nonlocal pulled
        for job in jobs(provider, 200):
            pulled += 1
            yield job

    seen = Seen(
        then=lambda job, _: [Job(f"{job.key}/{n}", "grade", "judge", Question(), grader) for n in range(3)] * (job.name == "system")
    )

    async def work() -> Tally:
        running = asyncio.ensure_future(perform(source(), seen, concurrency=2, clock=Clock()))
        while grader.asked < 30:
            await asyncio.sleep(0)
            assert 3 * pulled - grader.asked <= 3 * (2 * 2 + 2 * 2)
        return await running

    assert asyncio.run(work()).answered == 800


def test_a_job_is_sent_only_once_its_note_would_survive_a_power_cut() -> None:
    seen = Seen()

    @dataclass
    class Watching(Scripted):
        async def ask(self, question: Question) -> Answer | Failure:
            assert f"k{question.trial - 1}" in seen.intents[: seen.kept_]
            await asyncio.sleep(0)
            return GOOD

    tally, _ = go(Watching([GOOD]), 60, seen, concurrency=7)
    assert (tally.answered, len(seen.outcomes)) == (60, 60)


def test_rates_a_minute_are_kept_to() -> None:
    clock = Clock()
    provider = Scripted([GOOD])
    go(provider, 61, concurrency=5, limits={"here": Limit(requests_per_minute=60)}, clock=clock)
    # one second's worth may go at once, then one a second
    assert 58 <= clock.now() <= 62
    within = [sum(start <= time < start + 60 for time in provider.times) for start in provider.times]
    assert max(within) <= 62


def test_tokens_a_minute_are_kept_to_as_they_become_known() -> None:
    clock = Clock()
    spent = Answer("yes", "stop", usage=Usage(60, 0, 40), cost_usd=0.0)
    tally, _ = go(Scripted([spent]), 31, concurrency=1, limits={"here": Limit(tokens_per_minute=1000)}, clock=clock)
    assert tally.tokens == 3100
    # 3,100 tokens at 1,000 a minute; the first is free, and the first guess is corrected
    assert 170 <= clock.now() <= 190


def test_a_host_that_takes_less_at_once_gets_less() -> None:
    async def slow() -> Answer:
        await asyncio.sleep(0.001)
        return GOOD

    provider = Scripted([slow])
    go(provider, 40, concurrency=16, limits={"here": Limit(concurrency=3)})
    assert provider.most == 3


def test_a_host_that_becomes_slow_is_asked_less_at_once() -> None:
    lane = Lane(32)
    for _ in range(100):
        lane.answered("quick", 0.5)
    assert lane.places == 32
    for _ in range(400):
        lane.answered("quick", 9.0)
    assert (lane.places, lane.why) == (8, "slow")  # a quarter is left
    for _ in range(3000):
        lane.answered("quick", 0.5)
    assert lane.places == 32
    mixed = Lane(16)
    for _ in range(300):  # a long and a short kind of answer are each measured by their own usual time
        mixed.answered("essay", 20.0)
        mixed.answered("mark", 0.4)
    assert mixed.places == 16


def test_the_first_of_a_long_shared_beginning_goes_alone() -> None:
    out = 0
    alone: list[int] = []

    @dataclass
    class Caching(Scripted):
        async def ask(self, question: Question) -> Answer | Failure:
            nonlocal out
            out += 1
            alone.append(out)
            for _ in range(20):
                await asyncio.sleep(0)
            out -= 1
            return GOOD

    provider = Caching([GOOD])
    made = [Job(f"k{n}", "grade", "judge", Question(trial=n + 1), provider, prefix="rubric") for n in range(30)]
    seen = Seen()
    tally = asyncio.run(perform(made, seen, concurrency=6, clock=Clock()))
    assert (tally.answered, tally.unasked, len(seen.outcomes)) == (30, 0, 30)
    assert alone[:2] == [1, 1]
    assert max(alone) == 6


def test_a_model_on_this_machine_is_asked_alike_things_in_a_row_and_little_waits() -> None:
    asked: list[str] = []

    @dataclass
    class Local(Scripted):
        slots: int = 2

        async def ask(self, question: Question) -> Answer | Failure:
            asked.append(str(question.options["who"]))
            await asyncio.sleep(0)
            return GOOD

    provider = Local([GOOD])

    def job(name: str, n: int) -> Job:
        return Job(f"{name}{n}", "response" if len(name) == 1 else "grade", name, Question(options={"who": name}), provider)

    pulled = 0

    def source() -> Iterator[Job]:
        nonlocal pulled
        for n in range(100):
            for name in ("a", "b"):
                pulled += 1
                assert pulled - len(asked) <= 8 * 4 + 3
                yield job(name, n)

    def then(of: Job, outcome: Answer | Failure) -> list[Job]:
        return [job("judge", int(of.key[1:]) + 1000 * (of.name == "b"))] if of.what == "response" else []

    tally = asyncio.run(perform(source(), Seen(then=then), concurrency=4, clock=Clock()))
    assert (tally.answered, tally.unasked) == (400, 0)
    changes = sum(one != other for one, other in pairwise(asked))
    assert changes < 60  # 400 asked one by one in the order of cases would change about 400 times


def test_a_long_shared_beginning_whose_first_question_fails_keeps_nobody() -> None:
    provider = Scripted([fail("server_error"), fail("server_error"), fail("bad_request"), GOOD])
    made = [Job(f"k{n}", "grade", "judge", Question(trial=n + 1), provider, prefix="rubric") for n in range(9)]
    seen = Seen()
    tally = asyncio.run(perform(made, seen, concurrency=3, clock=Clock()))
    assert (tally.answered, tally.failed) == (8, 1)


def test_what_is_no_longer_needed_is_left_unasked_and_what_follows_is_asked() -> None:
    def then(job: Job, outcome: Answer | Failure) -> list[Job]:
        return [Job(f"{job.key}/mark", "grade", "judge", Question(), provider)] if job.what == "response" else []

    async def slow() -> Answer:
        await asyncio.sleep(0.001)
        return GOOD

    provider = Scripted([slow])
    seen = Seen(then=then)
    tally, _ = go(provider, 100, seen, concurrency=4, needed=lambda job: job.what == "grade" or len(seen.outcomes) < 20)
    answers = [key for key in seen.outcomes if "/" not in key]
    assert 8 <= len(answers) <= 16
    assert {f"{key}/mark" for key in answers} == {key for key in seen.outcomes if "/" in key}
    assert tally.answered == len(seen.outcomes) == len(seen.intents)
    assert tally.unasked >= 100 - len(answers) - len(answers)


def test_a_token_budget_counts_what_is_in_flight() -> None:
    spent = Answer("yes", "stop", usage=Usage(60, 0, 40), cost_usd=0.0)

    async def slow() -> Answer:
        await asyncio.sleep(0.001)
        return spent

    tally, _ = go(Scripted([slow]), 100, budget=Budget(tokens=2000), concurrency=3)
    assert (tally.answered, tally.tokens) == (20, 2000)
    assert "2000 tokens" in tally.stopped


def test_our_own_bugs_rise() -> None:
    async def bug() -> Answer:
        raise RuntimeError("a bug")

    seen = Seen()
    with pytest.raises(RuntimeError, match="a bug"):
        go(Scripted([bug]), 3, seen)
    assert seen.outcomes == {}


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
    assert [(one.name, one.what, one.done, one.usd) for one in shown[-1].headway] == [("system", "response", 7, 3.5)]
    assert shown[-1].usd == 3.5


def test_progress_names_what_is_tried_again_and_why_a_host_has_fewer_places() -> None:
    shown: list[Progress] = []
    tally, _ = go(Scripted([fail("rate_limited", 0.5), fail("server_error"), GOOD]), 40, progress=shown.append, concurrency=8)
    assert tally.answered == 40
    last = shown[-1]
    assert dict(last.retried) == {"rate_limited": 1, "server_error": 1} and last.retries == 2 and last.failures == {}
    assert last.resting == 0 and last.in_flight == 0
    assert [(one.host, one.most) for one in last.places] == [("here", 8)]
    lane = Lane(8)
    lane.asked_too_often(lane.lowered)
    assert (lane.places, lane.why) == (4, "asked too often")
    for _ in range(200):
        lane.answered("quick", 0.1)
    assert (lane.places, lane.why) == (8, "")


def test_the_note_of_a_retry_outlives_the_frame_in_which_it_fell() -> None:
    shown: list[Progress] = []
    go(Scripted([fail("server_error"), GOOD]), 12, progress=shown.append, clock=Clock())
    assert shown[-1].note.startswith("system: server_error, trying again in ")


def test_progress_is_shown_no_more_than_ten_times_a_second() -> None:
    shown: list[Progress] = []
    clock = Clock()

    async def quick() -> Answer:
        await clock.sleep(0.01)
        return GOOD

    go(Scripted([quick]), 100, progress=shown.append, concurrency=1, clock=clock)
    assert 8 <= len(shown) <= 12
    assert [progress.done for progress in shown] == sorted(progress.done for progress in shown)
    assert shown[-1].done == 100
