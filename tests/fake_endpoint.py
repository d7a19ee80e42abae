"""An endpoint on loopback that answers like a hosted model, and badly where it is told to.

It speaks the chat completions shape at `/v1/chat/completions`, the messages shape at `/v1/messages`, and echoes at any
other path. Everything received is in `ledger`. Use it as `async with FakeEndpoint() as endpoint`, or as
`with FakeEndpoint() as endpoint` to have it run in a thread beside synchronous code.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import cache
from typing import Any, Literal

from aiohttp import web

GARBAGE = ("rate_limited", "server_error", "hang", "truncated", "empty_choices", "lone_surrogate")
FAULTS = (
    *GARBAGE,
    *("reset_at_rest", "reset_before_headers", "reset_after_headers", "reset_in_body", "cut_in_body", "hang_in_body", "dribble"),
    *("status_429", "retry_after_date", "retry_after_absurd", "retry_after_negative"),
    *("status_401", "status_403", "status_502", "status_503", "status_504", "status_529"),
    *("html", "wrong_type", "gzip_bomb", "large_body", "redirect"),
)
# what befalls a connection rather than a request: each request then makes one of its own
AT_CONNECTING = ("refuse", "reset_at_accept", "hang_at_accept", "no_tls")


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]  # names in small letters
    body: bytes
    nth: int = 1  # how often this very body has come in by now

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def said(self) -> str:
        """Contents of all messages, one a line."""
        return "\n".join(str(message["content"]) for message in self.json["messages"])


@dataclass(frozen=True)
class Reply:
    """What goes back."""

    body: bytes | str | Mapping[str, Any] | Sequence[Any] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False  # never answers
    cut_after: int | None = None  # bytes of the body after which the connection is closed
    resets: Literal["", "before_headers", "after_headers", "in_body", "at_rest"] = ""  # where the connection is reset
    hang_after: int | None = None  # bytes of the body after which nothing follows
    byte_every: float = 0.0  # seconds from one byte of the body to the next
    megabytes: int = 0  # a body of so many, made as it is sent
    delay: float = 0.0  # seconds before it answers

    def bytes(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode("ascii")


def chat(text: str | None, **more: Any) -> dict[str, Any]:
    """A chat completion with one choice. `message`, `choice` and top-level keys may be overridden."""
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **more.pop("choice", {})}
    usage = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "fake-1", "choices": [choice], "usage": usage, **more}


def messages(text: str, **more: Any) -> dict[str, Any]:
    """A reply in the shape of the messages API with one block of text."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "fake-1",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 20, "output_tokens": 7},
        **more,
    }


def garbage(kind: str) -> Reply:
    """A bad reply of one of the kinds in `GARBAGE`."""
    match kind:
        case "rate_limited":
            return Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "1"})
        case "server_error":
            return Reply({"error": {"message": "it broke"}}, 500)
        case "hang":
            return Reply(hang=True)
        case "truncated":
            return Reply(json.dumps(chat("an answer that is cut")).encode()[:60])
        case "empty_choices":
            return Reply(chat("", choices=[]))
        case "lone_surrogate":
            return Reply(chat("half a \ud83d face"))
        case "reset_before_headers":
            return Reply(resets="before_headers")
        case "reset_after_headers":
            return Reply(chat("never seen"), resets="after_headers")
        case "reset_in_body":
            return Reply(chat("an answer that is cut"), resets="in_body")
        case "cut_in_body":
            return Reply(chat("an answer that is cut"), cut_after=60)
        case "hang_in_body":
            return Reply(chat("an answer that is cut"), hang_after=60)
        case "dribble":
            return Reply(chat("an answer that takes minutes"), byte_every=1.0)
        case "retry_after_date":
            return Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": formatdate(time.time() + 1, usegmt=True)})
        case "retry_after_absurd":
            return Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "1000000000"})
        case "retry_after_negative":
            return Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "-5"})
        case "html":
            return Reply("<!doctype html><title>Sign in</title><p>Welcome to the hotel.", headers={"Content-Type": "text/html"})
        case "gzip_bomb":
            return Reply(_bomb(), headers={"Content-Encoding": "gzip"})
        case "large_body":
            return Reply(megabytes=100)
        case "redirect":
            return Reply(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
        case _ if kind.startswith("status_"):
            return Reply({"error": {"message": "not now"}}, int(kind.removeprefix("status_")))
    raise ValueError(f"no garbage of the kind {kind}")


@cache
def _bomb() -> bytes:
    """32 MB of blanks in 32 KB."""
    return gzip.compress(b" " * 2**25)


def answer(received: Received) -> str:
    """A text that depends on the request alone; JSON with the last offered level where a schema is asked for."""
    asked = received.json
    schema = asked.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return f"Answer {hashlib.sha256(received.body).hexdigest()[:8]}."
    made: dict[str, Any] = {}
    for name, about in schema.get("properties", {}).items():
        made[name] = about["enum"][0] if "enum" in about else 1 if about.get("type") in ("number", "integer") else ""
    return json.dumps(made)


class FakeEndpoint:
    """A server on a free port of 127.0.0.1.

    `decide` makes the reply to each request; without it requests get good answers whose text is `text(received)`.
    `garbage` is the share of requests answered with each kind of garbage (a number for every kind in `GARBAGE`, or a
    mapping of kinds in `FAULTS`). Which ones depends on the seed, the body and how often that body came in, so not on the
    order of arrival; `evenly` deals exactly the share out of each hundred in order of arrival. `at_connecting` is a kind of
    `AT_CONNECTING` and the share of connections that it befalls.
    """

    def __init__(
        self,
        decide: Callable[[Received], Reply] | None = None,
        *,
        text: Callable[[Received], str] = answer,
        garbage: float | Mapping[str, float] = 0.0,
        seed: int = 1,
        delay: float = 0.0,
        evenly: bool = False,
        at_connecting: tuple[str, float] | None = None,
        secure: ssl.SSLContext | None = None,
    ) -> None:
        self.ledger: list[Received] = []
        self.served: Counter[str] = Counter()  # "good" and kinds of garbage
        self.most_at_once = 0
        self.decide = decide or self._usual
        self._text = text
        self._garbage = dict.fromkeys(GARBAGE, garbage) if isinstance(garbage, (int, float)) else dict(garbage)
        self._seed = seed
        self._delay = delay
        self._hands: list[float] | None = [] if evenly else None
        self._secure = secure
        self._door = _Door(*at_connecting, seed) if at_connecting is not None else None
        self._port = 0
        self.now = 0  # requests that are being answered
        self._seen: Counter[bytes] = Counter()

    @property
    def root(self) -> str:
        return f"{'https' if self._secure else 'http'}://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """What `base_url` or OPENAI_BASE_URL is set to."""
        return f"{self.root}/v1"

    async def __aenter__(self) -> FakeEndpoint:
        self._closing = asyncio.Event()
        server = web.Server(self._handle)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._secure)
        await site.start()
        self._port = self._runner.addresses[0][1]
        if self._door is not None:
            self._port = await self._door.open(self._port, self.served)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        if self._door is not None:
            await self._door.close()
        await self._runner.cleanup()

    def __enter__(self) -> FakeEndpoint:
        ready = threading.Event()
        failed: list[BaseException] = []

        async def live() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with self:
                ready.set()
                await self._stop.wait()

        def run() -> None:
            try:
                asyncio.run(live())
            except BaseException as error:
                failed.append(error)
                raise
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        ready.wait()
        if failed:
            raise RuntimeError("the fake endpoint could not start") from failed[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self._seen[body] += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.method, request.raw_path, headers, body, self._seen[body])
        self.ledger.append(received)
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            return await self._reply(request, self.decide(received))
        finally:
            self.now -= 1

    async def _reply(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        if self._delay or reply.delay:
            await asyncio.sleep(self._delay + reply.delay)
        if reply.hang:
            await self._closing.wait()
        body = reply.bytes()
        headers = {"Content-Type": "application/json", **reply.headers}
        if reply.resets == "before_headers":
            _reset(request)
            return web.Response()
        if reply.resets == "at_rest":
            # by then the next request may be on its way
            asyncio.get_running_loop().call_later(0.001, _reset, request)
            return web.Response(body=body, status=reply.status, headers=headers)
        if not (reply.resets or reply.cut_after is not None or reply.hang_after is not None or reply.byte_every or reply.megabytes):
            whole = web.Response(body=body, status=reply.status, headers=headers)
            if self._door is not None:
                whole.force_close()
            return whole
        length = {} if reply.megabytes else {"Content-Length": str(len(body))}
        response = web.StreamResponse(status=reply.status, headers=headers | length)
        # the client has every right to go before the end
        with suppress(ConnectionError, asyncio.CancelledError):
            await self._send(request, response, reply, body)
        return response

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse, reply: Reply, body: bytes) -> None:
        await response.prepare(request)
        if reply.resets == "after_headers":
            await response.write(b"")
            _reset(request)
        elif reply.resets == "in_body":
            await response.write(body[: len(body) // 2])
            await asyncio.sleep(0.01)  # a reset overtakes what was sent just before it
            _reset(request)
        elif reply.cut_after is not None:
            await response.write(body[: reply.cut_after])
            if request.transport is not None:
                request.transport.close()
        elif reply.hang_after is not None:
            await response.write(body[: reply.hang_after])
            await self._closing.wait()
        elif reply.byte_every:
            for place in range(len(body)):
                await response.write(body[place : place + 1])
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), reply.byte_every)
                if self._closing.is_set() or request.transport is None:
                    return
        for _ in range(reply.megabytes):
            await response.write(b" " * 2**20)

    def _usual(self, received: Received) -> Reply:
        draw = self._draw(received)
        for kind, share in self._garbage.items():
            if draw < share:
                self.served[kind] += 1
                return self._strange(kind, received)
            draw -= share
        self.served["good"] += 1
        return self._good(received)

    def _draw(self, received: Received) -> float:
        """A number from 0 to 1; below a share it meets with that fault."""
        if self._hands is None:
            return random.Random(f"{self._seed}/{received.nth}/{hashlib.sha256(received.body).hexdigest()}").random()
        if not self._hands:
            self._hands = _dealt(random.Random(f"{self._seed}/{len(self.ledger)}"))
        return self._hands.pop()

    def _strange(self, kind: str, received: Received) -> Reply:
        """A fault that befalls a good answer, or a bad answer."""
        match kind:
            case "reset_at_rest":
                return replace(self._good(received), resets="at_rest")
            case "wrong_type":
                return replace(self._good(received), headers={"Content-Type": "text/plain"})
        return garbage(kind)

    def _good(self, received: Received) -> Reply:
        if received.path.startswith("/v1/chat/completions"):
            return Reply(chat(self._text(received)))
        if received.path.startswith("/v1/messages"):
            return Reply(messages(self._text(received)))
        return Reply(received.body)


def _dealt(rng: random.Random) -> list[float]:
    """A hundred numbers spread over 0 to 1, of which each ten in turn are spread too."""
    tens = [[(10 * one + ten + 0.5) / 100 for one in range(10)] for ten in range(10)]
    for hand in tens:
        rng.shuffle(hand)
    rng.shuffle(tens)
    return [draw for hand in tens for draw in hand]


def _reset(request: web.BaseRequest) -> None:
    """Ends a connection as a crashed machine does, rather than politely."""
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


class _Door:
    """Stands before an endpoint and passes connections on, but for a share of them."""

    SHUT = 0.004  # seconds for which a door that refuses is shut at a time

    def __init__(self, kind: str, share: float, seed: int) -> None:
        self._kind, self._share, self._rng = kind, share, random.Random(seed)
        self._hands: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, behind: int, served: Counter[str]) -> int:
        self._behind, self._served, self._port = behind, served, 0
        await self._listen()
        if self._kind == "refuse":
            self._tasks.add(asyncio.ensure_future(self._swing()))
        return self._port

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._server is not None:
            self._server.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _swing(self) -> None:
        """Listens for part of the time only; else the machine answers that nobody is there."""
        while True:
            if self._share < 1:
                await asyncio.sleep(self.SHUT / self._share * (1 - self._share))
            assert self._server is not None
            self._server.close()
            self._served[self._kind] += 1
            await asyncio.sleep(self.SHUT if self._share < 1 else 3600)
            await self._listen()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            self._hands = self._hands or _dealt(self._rng)
            if self._kind != "refuse" and self._hands.pop() < self._share:
                self._served[self._kind] += 1
                if self._kind == "reset_at_accept":
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return
                if self._kind == "hang_at_accept":
                    await asyncio.sleep(3600)
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")  # where TLS was expected
                await writer.drain()
                return
            behind, there = await asyncio.open_connection("127.0.0.1", self._behind)
            await asyncio.gather(_pass_on(reader, there), _pass_on(behind, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
