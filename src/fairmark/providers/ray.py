"""Models and applications that are asked from the machines of a Ray cluster.

Only the asking is elsewhere. Limits, budget, retries, keys, journal and order stay with the one pool on the head, so a run
gives what it gives on one machine. Each worker makes the providers itself from their specs, and holds their connections or
the loaded model. Questions and outcomes travel in parcels: while one is on its way the next one fills, so that what a call
through Ray costs is shared by as many questions as are in flight, and none of them waits for another's answer.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import shutil
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from fairmark import __version__, providers
from fairmark.errors import CannotDo, Mistake
from fairmark.providers.bounded import within_limits
from fairmark.providers.hosted import HOSTS, key_name
from fairmark.providers.secrets import reference
from fairmark.records import Answer, Failure, Provider, Question
from fairmark.study import ModelSpec, SystemSpec

AWAY = ("model", "http")  # kinds of systems that workers ask; functions, programs and recordings lie on the head
A_WORKER = 64  # questions in flight to endpoints for which one worker is enough
FEWEST = 2  # workers that ask endpoints, where there are processors for them: one may be lost
START_SECONDS = 60.0  # within which one worker has to be ready
BAD_STARTS = 3  # workers in a row that were lost before they were ready
CALLS_AT_ONCE = 16  # of the desk's methods; far fewer are ever needed
LOST = "the Ray worker that asked was lost"
_ADDRESS = re.compile(r"ray://[^\s/]+:[0-9]{1,5}", re.ASCII)


class WorkerLost(Exception):
    """A worker is gone, with what it was asking."""


class Worker(Protocol):
    """A desk somewhere else. Every method but `end` raises `WorkerLost` once it is gone."""

    async def hello(self) -> str: ...

    async def take(self, parcel: bytes) -> None: ...

    async def give(self, turn: int) -> bytes: ...

    def end(self) -> None: ...


class Hands(Protocol):
    """Where workers come from."""

    def open(self) -> int:
        """Reaches the cluster; how many workers it has room for. `CannotDo` where it cannot be reached."""
        ...

    def hire(self) -> Worker: ...

    def close(self) -> None: ...


# ------------------------------------------------------------------ on a worker


@dataclass(frozen=True, slots=True)
class Raised:
    """What an ask raised on a worker, to be raised again on the head."""

    what: str
    parts: tuple[Any, ...] = ()

    def error(self) -> Exception:
        match self.what:
            case "timeout":
                return TimeoutError()
            case "cannot":
                return CannotDo(*self.parts)
            case "mistake":
                return Mistake(self.parts)
        return RuntimeError(f"a Ray worker met a bug\n{self.parts[0]}")


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker needs to make one provider."""

    spec: SystemSpec | ModelSpec
    folder: Path
    env: Mapping[str, str]  # the variables that the spec refers to, and no others

    def __repr__(self) -> str:
        return f"Order({self.spec.name})"

    def make(self) -> Provider:
        """The provider, with the settings of this machine for all that the spec does not name."""
        services = {name for host in HOSTS.values() for name in (host.url_name, host.key_name)}
        env = {"FAIRMARK_THREADS": "1", **{name: value for name, value in os.environ.items() if name not in services}, **self.env}
        model = self.spec if isinstance(self.spec, ModelSpec) else self.spec.model
        if model is not None and model.weights:
            here = providers.resolve(replace(model, weights=""), env=env, folder=self.folder)
            if here.weights != model.weights:
                raise CannotDo(
                    "WEIGHTS",
                    f"the file of {model.name} on a worker is not the one on the head",
                    "put the same file at the same path on every machine of the cluster",
                )
        if isinstance(self.spec, ModelSpec):
            return providers.connect_model(self.spec, env=env, folder=self.folder)
        return providers.connect(self.spec, env=env, folder=self.folder)


class Desk:
    """What sits on a worker: asks what it is told to, and gives outcomes out as they come."""

    def __init__(self) -> None:
        self._made: dict[int, asyncio.Task[Provider]] = {}
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._done: list[tuple[int, Answer | Failure | Raised]] = []
        self._turn = 0
        self._news = asyncio.Event()

    async def hello(self) -> str:
        """The version of fairmark on this machine."""
        return __version__

    async def take(self, parcel: bytes) -> None:
        """Begins what it is told to: to know a provider, to ask, to drop a question."""
        for what, number, *rest in pickle.loads(parcel):
            if what == "know":
                if number not in self._made:
                    self._made[number] = asyncio.ensure_future(asyncio.to_thread(rest[0].make))
            elif what == "ask":
                self._asked[number] = asyncio.ensure_future(self._ask(number, *rest))
            elif number in self._asked:
                self._asked[number].cancel()

    async def give(self, turn: int) -> bytes:
        """The outcomes since the last time, once there is one. A later turn sends an earlier one away with nothing."""
        self._turn = turn
        self._news.set()
        while turn == self._turn:
            if self._done:
                done, self._done = self._done, []
                return pickle.dumps(done)
            self._news.clear()
            await self._news.wait()
        return pickle.dumps([])

    async def _ask(self, number: int, which: int, question: bytes) -> None:
        outcome: Answer | Failure | Raised
        try:
            provider = await asyncio.shield(self._made[which])
            outcome = await provider.ask(pickle.loads(question))
        except TimeoutError:
            outcome = Raised("timeout")
        except CannotDo as error:
            outcome = Raised("cannot", (error.code, error.why, error.next_step))
        except Mistake as error:
            outcome = Raised("mistake", tuple(error.problems))
        except Exception:
            outcome = Raised("bug", (traceback.format_exc(),))
        finally:
            del self._asked[number]
        self._done.append((number, outcome))
        self._news.set()


# ------------------------------------------------------------------ on the head


class Cluster:
    """Providers that are asked from a cluster. `connect` is what a `Workbench` takes; `close` ends the workers.

    `concurrency` is that of the study: for models that run on the workers there are as many workers as questions in
    flight, for endpoints one for every `A_WORKER`, as far as the cluster has processors.
    """

    def __init__(self, hands: Hands, *, env: Mapping[str, str], folder: Path, concurrency: int) -> None:
        self._hands = hands
        self._env, self._folder, self._concurrency = env, folder, concurrency
        self._room: int | None = None  # workers; None until the cluster is reached
        self._members: list[_Member] = []
        self._bad_starts = 0
        self._orders: list[Order] = []

    @classmethod
    def at(cls, address: str, *, env: Mapping[str, str], folder: Path, concurrency: int) -> Cluster:
        """The cluster that `ray` or `ray://host:port` names. It is reached when the first provider is needed.

        `ray` is the cluster of RAY_ADDRESS, or a new one on this machine. `Mistake` for any other address; `CannotDo`
        (NO_RAY) where Ray is not installed.
        """
        if address != "ray" and _ADDRESS.fullmatch(address) is None:
            raise Mistake.in_call(f"`{address}` is no place to run on", allowed="ray, or ray://host:port for a cluster of that address")
        if find_spec("ray") is None:
            raise CannotDo("NO_RAY", "running on a cluster needs the package ray, which is not installed", "pip install 'fairmark[ray]'")
        named = env.get("RAY_ADDRESS", "").strip() if address == "ray" else address
        return cls(RayHands(named or None), env=env, folder=folder, concurrency=concurrency)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def connect(self, spec: SystemSpec | ModelSpec) -> Provider:
        """The provider of a system or model; what cannot be asked from elsewhere is asked from here.

        What a spec lacks, such as a key, is refused here too, before anything is sent.
        """
        if isinstance(spec, ModelSpec):
            return self._remote(spec, spec)
        if spec.kind not in AWAY:
            return providers.connect(spec, env=self._env, folder=self._folder)
        # a system's own limits are kept to on the head, where all its questions pass
        return within_limits(self._remote(replace(spec, options={}), spec.model), spec)

    def close(self) -> None:
        """Ends the workers, and the cluster where it was begun here."""
        for member in self._members:
            member.worker.end()
        self._members.clear()
        if self._room is not None:
            self._hands.close()
            self._room = None

    def _remote(self, spec: SystemSpec | ModelSpec, model: ModelSpec | None) -> Remote:
        variables = _variables(spec, self._env)
        if self._room is None:
            self._room = max(1, self._hands.open())
        order = Order(spec, self._folder.absolute(), {name: self._env[name] for name in variables if name in self._env})
        self._orders.append(order)
        host = providers.destination(spec, self._env).host
        name = model.name if model is not None else spec.name
        if model is not None and model.provider == "local":
            from fairmark.providers.local import settings_of

            slots, wanted = settings_of(model, self._env).slots, min(self._room, self._concurrency)
            return Remote(self, len(self._orders) - 1, name, host, slots * wanted, wanted)
        wanted = min(self._room, max(FEWEST, -(-self._concurrency // A_WORKER)))
        return Remote(self, len(self._orders) - 1, name, host, None, wanted)

    async def _ask(self, remote: Remote, question: bytes) -> Answer | Failure:
        member = await self._free(remote.wanted)
        outcome = await member.ask(remote.number, self._orders[remote.number], remote.host, question)
        if isinstance(outcome, Raised):
            raise outcome.error()
        return outcome

    async def _free(self, wanted: int) -> _Member:
        """The worker with the fewest questions, of those that are ready. Lost ones are replaced."""
        until = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            while len(self._members) < wanted and self._bad_starts < BAD_STARTS:
                self._members.append(_Member(self._hands.hire(), self._lose))
            starting = {task for member in self._members if (task := member.starting()) is not None}
            for task in starting:
                if task.done():
                    task.result()  # another version there is refused here
            ready = [member for member in self._members if member.ready]
            if ready:
                self._bad_starts = 0
                return min(ready, key=lambda member: len(member.asked))
            left = until - asyncio.get_running_loop().time()
            if self._bad_starts >= BAD_STARTS or left <= 0:
                raise CannotDo(
                    "NO_WORKERS",
                    f"workers of the Ray cluster are lost as soon as they start ({self._bad_starts} in a row)"
                    if self._bad_starts
                    else f"no worker of the Ray cluster was ready within {START_SECONDS:g} seconds",
                    "see `ray status`: it needs a free processor, and fairmark and what it asks installed on every machine",
                )
            await asyncio.wait(starting, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _lose(self, member: _Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self._bad_starts += not member.ready
            member.worker.end()


class Remote:
    """A provider that a cluster's workers ask for."""

    def __init__(self, cluster: Cluster, number: int, name: str, host: str, slots: int | None, wanted: int) -> None:
        self.number, self.name, self.host, self.wanted = number, name, host, wanted
        self.slots = slots  # questions that all workers take at once; None where the pool alone says so
        self._cluster = cluster

    def __repr__(self) -> str:
        return f"Remote({self.name!r} at {self.host})"

    async def ask(self, question: Question) -> Answer | Failure:
        """One try on one worker. A worker that is lost meanwhile is a lost connection: the pool asks again, elsewhere."""
        return await self._cluster._ask(self, pickle.dumps(question))

    async def close(self) -> None:
        """Nothing: the workers keep what they hold until the cluster is closed."""


class _Member:
    """The head's side of one worker: what it was told, and who waits for what."""

    def __init__(self, worker: Worker, lose: Callable[[_Member], None]) -> None:
        self.worker = worker
        self.ready = False
        self.asked: dict[int, tuple[asyncio.Future[Answer | Failure | Raised], str]] = {}  # who waits, and for whose answer
        self._lose = lose
        self._out: list[tuple[Any, ...]] = []  # for the next parcel
        self._knows: set[int] = set()
        self._number = self._turn = 0
        self._start: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._collecting: asyncio.Task[None] | None = None

    def starting(self) -> asyncio.Task[None] | None:
        """The wait until it is ready; None once it is."""
        if self.ready:
            return None
        if self._start is None or self._start.cancelled():
            self._start = asyncio.ensure_future(self._hello())
        return self._start

    async def ask(self, which: int, order: Order, host: str, question: bytes) -> Answer | Failure | Raised:
        self._number += 1
        number = self._number
        if which not in self._knows:
            self._knows.add(which)
            self._out.append(("know", which, order))
        self._out.append(("ask", number, which, question))
        answer: asyncio.Future[Answer | Failure | Raised] = asyncio.get_running_loop().create_future()
        self.asked[number] = answer, host
        self._talk()
        try:
            return await answer
        finally:
            if self.asked.pop(number, None) is not None:  # nobody waits for it any more
                self._out.append(("drop", number))
                self._talk()

    def _talk(self) -> None:
        # tasks of an event loop that has ended are done too
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send())
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.ensure_future(self._collect())

    async def _hello(self) -> None:
        try:
            version = await self.worker.hello()
        except WorkerLost:
            self._lose(self)
            return
        if version != __version__:
            raise CannotDo(
                "OTHER_VERSION",
                f"a worker has fairmark {version}, and this is {__version__}",
                "install the same version on every machine of the cluster",
            )
        self.ready = True

    async def _send(self) -> None:
        while self._out:
            orders, self._out = self._out, []
            try:
                await self.worker.take(pickle.dumps(orders))
            except asyncio.CancelledError:
                self._out = [order for order in orders if order[0] == "know"] + self._out
                raise
            except WorkerLost:
                self._gone()
                return

    async def _collect(self) -> None:
        while self.asked:
            self._turn += 1
            try:
                came = await self.worker.give(self._turn)
            except WorkerLost:
                self._gone()
                return
            for number, outcome in pickle.loads(came):
                self._settle(number, outcome)

    def _settle(self, number: int, outcome: Answer | Failure | Raised) -> None:
        answer, _ = self.asked.pop(number, (None, ""))
        if answer is not None and not answer.done():
            answer.set_result(outcome)

    def _gone(self) -> None:
        self._out.clear()
        self._lose(self)
        for number, (_, host) in list(self.asked.items()):
            self._settle(number, Failure("connection", host, LOST))


def _variables(spec: SystemSpec | ModelSpec, env: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the variables that a spec refers to. `CannotDo` (NO_KEY) where one is needed and not set."""
    if isinstance(spec, SystemSpec) and spec.kind == "http":
        from fairmark.providers.http import Application

        return Application(spec, env=env).references()
    model = spec if isinstance(spec, ModelSpec) else spec.model
    if model is None:
        return ()
    if model.provider not in HOSTS:
        return (reference(model.api_key),) if model.api_key is not None else ()
    key = key_name(model, env)
    return (HOSTS[model.provider].url_name, *((key,) if key is not None else ()))


# ------------------------------------------------------------------ Ray


class RayHands:
    """Workers that are actors, each with a processor of its own."""

    def __init__(self, address: str | None, *, processors: int | None = None) -> None:
        self._address = address  # None: a cluster of our own on this machine
        self._processors = processors  # of that one; None: all that there are
        self._began = False  # the connection is ours to end
        self._room: str | None = None  # where our own cluster keeps its files

    def open(self) -> int:
        import ray

        if not ray.is_initialized():
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
            if self._address is None:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent but what the study sends
                self._room = tempfile.mkdtemp(prefix="fm-")  # short, because sockets lie below it
                options |= {"num_cpus": self._processors, "include_dashboard": False, "_temp_dir": self._room}
            try:
                ray.init(self._address or "local", **options)
            except Exception as error:
                self._clear()
                where = self._address or "this machine"
                raise CannotDo(
                    "NO_CLUSTER",
                    f"there is no Ray cluster at {where} ({_in_a_line(error)})",
                    "see whether `ray status` finds it, and set its token where it asks for one",
                ) from error
            self._began = True
        self._actor = ray.remote(num_cpus=1, max_concurrency=CALLS_AT_ONCE, max_restarts=0, scheduling_strategy="SPREAD")(Desk)
        return int(ray.available_resources().get("CPU", 0))

    def hire(self) -> Worker:
        return _Actor(self._actor.remote())

    def close(self) -> None:
        if self._began:
            import ray

            ray.shutdown()
            self._began = False
        self._clear()

    def _clear(self) -> None:
        if self._room is not None:
            shutil.rmtree(self._room, ignore_errors=True)
            self._room = None


class _Actor:
    """One actor as a worker."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    async def hello(self) -> str:
        said: str = await _came(self.handle.hello.remote())
        return said

    async def take(self, parcel: bytes) -> None:
        await _came(self.handle.take.remote(parcel))

    async def give(self, turn: int) -> bytes:
        parcel: bytes = await _came(self.handle.give.remote(turn))
        return parcel

    def end(self) -> None:
        import ray

        if ray.is_initialized():
            ray.kill(self.handle)


async def _came(reference: Awaitable[Any]) -> Any:
    from ray.exceptions import RayError, RayTaskError

    try:
        return await reference
    except RayTaskError:
        raise  # our bug
    except RayError as error:
        raise WorkerLost(_in_a_line(error)) from None


def _in_a_line(error: Exception) -> str:
    """What an error says first; with what it says last, where the first line only announces it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0])[:300]
