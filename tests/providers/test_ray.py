"""Providers that a cluster's workers ask for: parcels, lost workers, secrets and versions, with desks in this process for Ray."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairmark import __version__
from fairmark.calls import Job, Policy, perform
from fairmark.errors import CannotDo, Mistake
from fairmark.providers.bounded import Bounded
from fairmark.providers.command import Command
from fairmark.providers.ray import BAD_STARTS, LOST, Cluster, Desk, Order, Worker, WorkerLost
from fairmark.records import Answer, Failure, Fixed, Message, Provider, Question
from fairmark.study import ModelSpec, SystemSpec
from tests.fake_endpoint import FakeEndpoint, Received, Reply, chat
from tests.providers.asking import CANARY, HELLO

TRAVEL = 0.002  # seconds that a parcel is on its way


class HereWorker:
    """A desk in this process. It is lost once it was handed so many parcels, or when it is told so."""

    def __init__(self, *, parcels: int | None = None, version: str = __version__, stillborn: bool = False) -> None:
        self.desk = Desk()
        self.parcels: list[bytes] = []
        self.ended = False
        self._most = parcels
        self._version = version
        self.lost = asyncio.Event()
        if stillborn:
            self.lost.set()

    async def hello(self) -> str:
        await self._here(asyncio.sleep(TRAVEL))
        return self._version

    async def take(self, parcel: bytes) -> None:
        self.parcels.append(parcel)
        if self._most is not None and len(self.parcels) > self._most:
            self.lost.set()
        await self._here(asyncio.sleep(TRAVEL))
        await self.desk.take(parcel)

    async def give(self, turn: int) -> bytes:
        came: bytes = await self._here(self.desk.give(turn))
        await self._here(asyncio.sleep(TRAVEL))
        return came

    def end(self) -> None:
        self.ended = True

    async def _here(self, work: Any) -> Any:
        """The work's result, unless the worker is lost meanwhile."""
        doing, lost = asyncio.ensure_future(work), asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait({doing, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                raise WorkerLost("it is gone")
            return doing.result()
        finally:
            lost.cancel()
            doing.cancel()


class HereHands:
    """Hires workers of the kinds given, in order, and plain ones after them."""

    def __init__(self, *kinds: Mapping[str, Any], room: int = 2) -> None:
        self._kinds = list(kinds)
        self._room = room
        self.hired: list[HereWorker] = []
        self.opened = self.closed = 0

    def open(self) -> int:
        self.opened += 1
        return self._room

    def hire(self) -> Worker:
        self.hired.append(HereWorker(**(self._kinds.pop(0) if self._kinds else {})))
        return self.hired[-1]

    def close(self) -> None:
        self.closed += 1


def _cluster(hands: HereHands, *, env: Mapping[str, str] | None = None, concurrency: int = 8) -> Cluster:
    return Cluster(hands, env=env or {}, folder=Path(), concurrency=concurrency)


def _model(url: str, **more: Any) -> ModelSpec:
    return ModelSpec("openai", "m", base_url=url, **more)


def _question(number: int) -> Question:
    return Question((Message("user", f"question {number}"),), options=Fixed({"temperature": 0}))


class Notes:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.came_in: list[tuple[str, Answer | Failure]] = []

    def asking(self, job: Job) -> None:
        pass

    async def came(self, job: Job, outcome: Answer | Failure) -> tuple[Job, ...]:
        self.came_in.append((job.key, outcome))
        return ()

    async def kept(self) -> None:
        pass


def _jobs(provider: Provider, count: int) -> list[Job]:
    return [Job(str(number), "response", "a", _question(number), provider) for number in range(count)]


def test_answers_are_those_of_a_provider_here() -> None:
    async def run() -> None:
        async with FakeEndpoint() as endpoint:
            from fairmark import providers

            plain = providers.connect_model(_model(endpoint.url), env={}, folder=Path())
            there = _cluster(HereHands()).connect(_model(endpoint.url))
            assert (there.name, there.host) == (plain.name, plain.host)
            for number in range(3):
                here, away = await plain.ask(_question(number)), await there.ask(_question(number))
                assert isinstance(here, Answer) and isinstance(away, Answer)
                assert replace(here, seconds=0) == replace(away, seconds=0)
            await plain.close()
            assert endpoint.ledger[0].body == endpoint.ledger[1].body

    asyncio.run(run())


def test_many_questions_travel_in_one_parcel_and_none_waits_for_anothers_answer() -> None:
    async def run() -> None:
        def decide(received: Received) -> Reply:
            return Reply(chat(received.said), delay=5.0 if received.said == "question 0" else 0.0)

        async with FakeEndpoint(decide) as endpoint:
            hands = HereHands(room=1)
            there = _cluster(hands).connect(_model(endpoint.url))
            slow = asyncio.ensure_future(there.ask(_question(0)))
            answers = await asyncio.wait_for(asyncio.gather(*(there.ask(_question(number)) for number in range(1, 101))), 4.0)
            assert [answer.text for answer in answers if isinstance(answer, Answer)] == [f"question {number}" for number in range(1, 101)]
            assert not slow.done()
            assert len(hands.hired[0].parcels) <= 3
            slow.cancel()
            await asyncio.wait({slow})

    asyncio.run(run())


def test_what_is_given_up_on_the_head_ends_on_the_worker() -> None:
    async def run() -> None:
        async with FakeEndpoint(lambda _: Reply(hang=True)) as endpoint:
            hands = HereHands(room=1)
            there = _cluster(hands).connect(_model(endpoint.url))
            asking = asyncio.ensure_future(there.ask(HELLO))
            while endpoint.now == 0:
                await asyncio.sleep(0.005)
            (under_way,) = hands.hired[0].desk._asked.values()
            asking.cancel()
            await asyncio.wait({under_way}, timeout=5)
            assert under_way.cancelled()

    asyncio.run(run())


def test_a_lost_workers_questions_are_asked_again_elsewhere_and_each_is_written_down_once() -> None:
    async def run() -> None:
        async with FakeEndpoint(delay=0.01) as endpoint:
            hands = HereHands({"parcels": 4}, {"parcels": 9})
            there = _cluster(hands).connect(_model(endpoint.url))
            notes = Notes()
            tally = await perform(_jobs(there, 200), notes, concurrency=16, policy=Policy(base=0.01))
            assert (tally.answered, tally.failed) == (200, 0)
            assert Counter(key for key, _ in notes.came_in) == Counter(str(number) for number in range(200))
            assert tally.calls > 200
            assert len(hands.hired) == 4  # each of the two that were lost was replaced
            assert [worker.ended for worker in hands.hired] == [True, True, False, False]
            # what was in flight on a lost worker may have been answered, and nothing else is asked twice
            assert len(endpoint.ledger) <= 200 + 2 * 16

    asyncio.run(run())


def test_a_lost_worker_is_a_lost_connection() -> None:
    async def run() -> Answer | Failure:
        async with FakeEndpoint() as endpoint:
            there = _cluster(HereHands({"parcels": 0}, room=1)).connect(_model(endpoint.url))
            first = await there.ask(HELLO)
            assert isinstance(await there.ask(HELLO), Answer)
            return first

    first = asyncio.run(run())
    assert isinstance(first, Failure)
    assert (first.kind, first.why, first.transient) == ("connection", LOST, True)


def test_a_cluster_serves_one_event_loop_after_another() -> None:
    hands = HereHands(room=1)
    with FakeEndpoint(lambda received: Reply(chat("fine"), hang=received.said == "never")) as endpoint, _cluster(hands) as cluster:
        there = cluster.connect(_model(endpoint.url))

        async def left_alone() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(there.ask(Question((Message("user", "never"),))), 0.2)

        asyncio.run(left_alone())
        worker = hands.hired[0]
        # a worker of Ray's lives on in its own process; this one needs what it holds made anew in the next loop
        worker.desk, worker.lost = Desk(), asyncio.Event()
        cluster._members[0]._knows.clear()
        for _ in range(2):
            came = asyncio.run(there.ask(HELLO))
            assert isinstance(came, Answer) and came.text == "fine"
            worker.desk, worker.lost = Desk(), asyncio.Event()
            cluster._members[0]._knows.clear()
    assert worker.ended and hands.closed == 1


def test_workers_that_never_live_are_not_hired_for_ever() -> None:
    hands = HereHands(*[{"stillborn": True}] * 10, room=1)
    there = _cluster(hands).connect(_model("http://127.0.0.1:9/v1"))
    with pytest.raises(CannotDo) as refused:
        asyncio.run(there.ask(HELLO))
    assert refused.value.code == "NO_WORKERS"
    assert len(hands.hired) == BAD_STARTS


@pytest.mark.parametrize("kinds", [[{"version": "0.0.0"}], [{}, {"version": "0.0.0"}]], ids=["the only one", "the second"])
def test_another_version_on_a_worker_is_refused(kinds: list[dict[str, Any]]) -> None:
    async def run() -> None:
        async with FakeEndpoint() as endpoint:
            there = _cluster(HereHands(*kinds, room=len(kinds))).connect(_model(endpoint.url))
            for _ in range(3):
                await there.ask(HELLO)

    with pytest.raises(CannotDo) as refused:
        asyncio.run(run())
    assert refused.value.code == "OTHER_VERSION" and "0.0.0" in refused.value.why


def _orders(hands: HereHands) -> list[Order]:
    return [
        order
        for worker in hands.hired
        for parcel in worker.parcels
        for what, _, order, *_ in _padded(pickle.loads(parcel))
        if what == "know"
    ]


def _padded(orders: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(*order, None) for order in orders]


def test_only_the_variables_that_a_spec_refers_to_are_sent() -> None:
    env = {
        "A_KEY": CANARY,
        "OPENAI_API_KEY": "canary-of-the-service",
        "OTHER_TOKEN": "canary-of-another",
        "HTTPS_PROXY": "http://u:p@proxy:1",
    }

    async def run(hands: HereHands, spec: ModelSpec | SystemSpec) -> list[Received]:
        async with FakeEndpoint(lambda received: Reply(chat("fine"))) as endpoint:
            spec = (
                replace(spec, base_url=endpoint.url) if isinstance(spec, ModelSpec) else replace(spec, url=endpoint.root + (spec.url or ""))
            )
            assert isinstance(await _cluster(hands, env=env).connect(spec).ask(HELLO), Answer)
            return endpoint.ledger

    hands = HereHands()
    received = asyncio.run(run(hands, ModelSpec("openai", "m", api_key="env:A_KEY")))
    assert received[0].headers["authorization"] == f"Bearer {CANARY}"
    assert [order.env for order in _orders(hands)] == [{"A_KEY": CANARY}]
    assert CANARY not in repr(_orders(hands))

    hands = HereHands()
    application = SystemSpec("app", "http", url="/x?token=env:A_KEY", body={"q": "{{input}}"})
    asyncio.run(run(hands, application))
    assert [order.env for order in _orders(hands)] == [{"A_KEY": CANARY}]


def test_a_workers_own_keys_and_addresses_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the-key-of-the-workers-machine")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    async def run() -> list[Received]:
        async with FakeEndpoint() as endpoint:
            env = {"OPENAI_BASE_URL": endpoint.url}
            assert isinstance(await _cluster(HereHands(), env=env).connect(ModelSpec("openai", "m")).ask(HELLO), Answer)
            return endpoint.ledger

    (received,) = asyncio.run(run())
    assert "authorization" not in received.headers


def test_what_is_missing_is_refused_on_the_head_before_a_cluster_is_reached() -> None:
    hands = HereHands()
    with pytest.raises(CannotDo) as refused:
        _cluster(hands).connect(ModelSpec("openai", "m", api_key="env:NOT_SET"))
    assert refused.value.code == "NO_KEY" and hands.opened == 0
    with pytest.raises(CannotDo):
        _cluster(hands).connect(SystemSpec("app", "http", url="http://127.0.0.1:9/{{input}}", headers={"X": "env:NOT_SET"}))
    assert hands.opened == 0


def test_a_refusal_on_a_worker_rises_on_the_head(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF of the worker")
    spec = ModelSpec("local", "m.gguf", weights="0" * 64)
    there = Cluster(HereHands(), env={}, folder=tmp_path, concurrency=2).connect(spec)
    with pytest.raises(CannotDo) as refused:
        asyncio.run(there.ask(HELLO))
    assert refused.value.code == "WEIGHTS" and "not the one on the head" in refused.value.why


def test_local_models_get_a_worker_for_each_question_in_flight() -> None:
    there = _cluster(HereHands(room=16), concurrency=6).connect(ModelSpec("local", "smollm2", {"slots": 2}))
    assert (there.host, getattr(there, "slots", None), getattr(there, "wanted", None)) == ("this machine", 12, 6)
    hosted = _cluster(HereHands(room=16), concurrency=300).connect(_model("http://127.0.0.1:9/v1"))
    assert (getattr(hosted, "slots", 0), getattr(hosted, "wanted", None)) == (None, 5)


def test_programs_stay_on_the_head_and_a_systems_limits_too() -> None:
    hands = HereHands()
    cluster = _cluster(hands)
    assert isinstance(cluster.connect(SystemSpec("p", "command", command=("echo", "{{input}}"))), Command)
    assert hands.opened == 0
    limited = SystemSpec("m", "model", model=_model("http://127.0.0.1:9/v1"), options={"concurrency": 3, "seconds": 7})
    bounded = cluster.connect(limited)
    assert isinstance(bounded, Bounded) and (bounded.concurrency, bounded.seconds) == (3, 7)


@pytest.mark.parametrize("address", ["slurm", "ray:", "ray://", "ray://host", "http://host:1", ""])
def test_no_other_place_is_known(address: str) -> None:
    with pytest.raises(Mistake, match="ray://host:port"):
        Cluster.at(address, env={}, folder=Path(), concurrency=1)


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(CannotDo) as refused:
        Cluster.at("ray", env={}, folder=Path(), concurrency=1)
    assert (refused.value.code, refused.value.next_step) == ("NO_RAY", "pip install 'fairmark[ray]'")
