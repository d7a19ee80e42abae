"""An endpoint on loopback that answers like a hosted model, and badly where it is told to.

It speaks the chat completions shape at `/v1/chat/completions`, the messages shape at `/v1/messages`, and echoes at any
other path. Everything received is in `ledger`. Use it as `async with FakeEndpoint() as endpoint`, or as
`with FakeEndpoint() as endpoint` to have it run in a thread beside synchronous code.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

GARBAGE = ("rate_limited", "server_error", "hang", "truncated", "empty_choices", "lone_surrogate")


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
    cut_after: int | None = None  # bytes of the body after which the connection is dropped
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
    raise ValueError(f"no garbage of the kind {kind}")


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
    mapping). Which ones depends on the seed, the body and how often that body came in, so not on the order of arrival.
    """

    def __init__(
        self,
        decide: Callable[[Received], Reply] | None = None,
        *,
        text: Callable[[Received], str] = answer,
        garbage: float | Mapping[str, float] = 0.0,
        seed: int = 1,
        delay: float = 0.0,
    ) -> None:
        self.ledger: list[Received] = []
        self.served: Counter[str] = Counter()  # "good" and kinds of garbage
        self.most_at_once = 0
        self._decide = decide or self._usual
        self._text = text
        self._garbage = dict.fromkeys(GARBAGE, garbage) if isinstance(garbage, (int, float)) else dict(garbage)
        self._seed = seed
        self._delay = delay
        self._port = 0
        self.now = 0  # requests that are being answered
        self._seen: Counter[bytes] = Counter()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """What `base_url` or OPENAI_BASE_URL is set to."""
        return f"{self.root}/v1"

    async def __aenter__(self) -> FakeEndpoint:
        self._closing = asyncio.Event()
        server = web.Server(self._handle)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
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
            return await self._reply(request, self._decide(received))
        finally:
            self.now -= 1

    async def _reply(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        if self._delay or reply.delay:
            await asyncio.sleep(self._delay + reply.delay)
        if reply.hang:
            await self._closing.wait()
        body = reply.bytes()
        headers = {"Content-Type": "application/json", **reply.headers}
        if reply.cut_after is None:
            return web.Response(body=body, status=reply.status, headers=headers)
        response = web.StreamResponse(status=reply.status, headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: reply.cut_after])
        if request.transport is not None:
            request.transport.close()
        return response

    def _usual(self, received: Received) -> Reply:
        draw = random.Random(f"{self._seed}/{received.nth}/{hashlib.sha256(received.body).hexdigest()}").random()
        for kind, share in self._garbage.items():
            if draw < share:
                self.served[kind] += 1
                return garbage(kind)
            draw -= share
        self.served["good"] += 1
        if received.path.startswith("/v1/chat/completions"):
            return Reply(chat(self._text(received)))
        if received.path.startswith("/v1/messages"):
            return Reply(messages(self._text(received)))
        return Reply(received.body)
