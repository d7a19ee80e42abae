"""A chat completions endpoint on loopback that is never the limit: what the runner is timed against.

It answers every POST to a path that ends in /chat/completions after a set delay, with a text that depends on the last
message alone (`text_for`), or with a JSON object of first levels where a schema is asked for. It counts as it goes:
GET /counters gives the counts as JSON, POST /reset begins anew. It prints its port as its first line.

    python benchmarks/stub.py --delay 0.05 --core 1     # serve until it is ended
    python benchmarks/stub.py --measure                 # what it sustains: itself on core 1, a raw client on core 0
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose statistics.py hides the library's

try:
    import uvloop
except ImportError:
    uvloop = None
try:
    from orjson import dumps, loads
except ImportError:
    loads = json.loads

    def dumps(value: Any) -> bytes:
        return json.dumps(value).encode()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
BEFORE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"stub-1",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":'
)
PREFERRED = Path(__file__).resolve().parents[1] / ".venv-stub" / "bin" / "python"  # with uvloop and orjson; see runner_peers.sh
AFTER = b'},"finish_reason":"stop"}]'
USAGE = b',"usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27}'


def text_for(said: str, size: int = 0) -> str:
    """The answer to a last message, as long as `size` where that is more than the sixteen letters it needs."""
    word = f"Answer {zlib.crc32(said.encode()):08x}."
    return (word + " " + word * (size // len(word)))[:size] if size > len(word) else word


def _object_for(schema: dict[str, Any]) -> str:
    """A JSON object in the shape of a schema: first levels, ones and empty texts."""
    made: dict[str, Any] = {}
    for name, about in schema.get("properties", {}).items():
        made[name] = about["enum"][0] if "enum" in about else 1 if about.get("type") in ("number", "integer") else ""
    return dumps(made).decode()


class _Counts:
    """What has come in and gone out since the last reset."""

    def __init__(self) -> None:
        self.now = 0  # requests at this moment
        self.reset()

    def reset(self) -> None:
        self.requests = self.answered = self.connections = self.repeated = self.unheard = 0
        self.most = self.now
        self.first = self.last = 0.0
        self.spent = time.process_time()
        self.seen: set[int] = set()

    def said(self) -> bytes:
        return dumps(
            {
                "requests": self.requests,
                "answered": self.answered,
                "connections": self.connections,  # over which something was asked for the first time
                "in_flight": self.now,
                "most_in_flight": self.most,
                "first_request": self.first,  # seconds of the monotonic clock
                "last_answer": self.last,
                "phase": max(self.last - self.first, 0.0),
                "cpu": time.process_time() - self.spent,  # seconds that the stub itself has used
                "repeated_bodies": self.repeated,
                "lost_connections": self.unheard,  # answers whose connection was gone
            }
        )


class _Waiting:
    """Answers that wait for their moment. All wait equally long, so that one timer for the oldest is enough."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        self._loop, self._delay = loop, delay
        self._queue: deque[tuple[float, _Connection, bytes]] = deque()

    def add(self, connection: _Connection, reply: bytes) -> None:
        if not self._delay:
            connection.send(reply)
            return
        self._queue.append((time.monotonic() + self._delay, connection, reply))
        if len(self._queue) == 1:
            self._loop.call_later(self._delay, self._due)

    def _due(self) -> None:
        queue = self._queue
        # timers of event loops have whole milliseconds: the nearest one counts
        until = time.monotonic() + 0.0005
        while queue and queue[0][0] <= until:
            _, connection, reply = queue.popleft()
            connection.send(reply)
        if queue:
            self._loop.call_later(max(queue[0][0] - time.monotonic(), 0.001), self._due)


class _Connection(asyncio.Protocol):
    """One kept-alive connection; requests may come in pieces or several at once."""

    def __init__(self, counts: _Counts, waiting: _Waiting, size: int, usage: bool) -> None:
        self._counts, self._waiting, self._size = counts, waiting, size
        self._end = AFTER + (USAGE if usage else b"") + b"}"
        self._buffer = b""
        self._fresh = True  # nothing has been asked over it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while True:
            cut = buffer.find(b"\r\n\r\n")
            if cut < 0:
                break
            line, _, rest = buffer[:cut].partition(b"\r\n")
            fields = rest.lower()
            at = fields.find(b"content-length:")
            length = int(fields[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if at < 0 and b"transfer-encoding:" in fields:
                self._say(b'{"error":{"message":"a Content-Length is needed"}}', b"411 Length Required")
                self._transport.close()
                return
            if len(buffer) < cut + 4 + length:
                break
            body = buffer[cut + 4 : cut + 4 + length]
            buffer = buffer[cut + 4 + length :]
            method, path, _ = line.split(b" ", 2)
            self._asked(method, path.partition(b"?")[0], body)
        self._buffer = buffer

    def _asked(self, method: bytes, path: bytes, body: bytes) -> None:
        if method == b"POST" and path.endswith(b"/chat/completions"):
            counts = self._counts
            if not counts.requests:
                counts.first = time.monotonic()
            counts.requests += 1
            counts.connections += self._fresh
            self._fresh = False
            counts.now += 1
            counts.most = max(counts.most, counts.now)
            mark = hash(body)
            if mark in counts.seen:
                counts.repeated += 1
            counts.seen.add(mark)
            reply = BEFORE + dumps(self._answer(loads(body))) + self._end
            self._waiting.add(self, HEAD % len(reply) + reply)
        elif path == b"/counters":
            self._say(self._counts.said())
        elif method == b"POST" and path == b"/reset":
            self._counts.reset()
            self._say(b"{}")
        else:
            self._say(b'{"error":{"message":"nothing is here"}}', b"404 Not Found")

    def _answer(self, asked: dict[str, Any]) -> str:
        schema = ((asked.get("response_format") or {}).get("json_schema") or {}).get("schema")
        if schema is not None:
            return _object_for(schema)
        said = asked["messages"][-1]["content"]
        return text_for(said if isinstance(said, str) else "".join(part.get("text", "") for part in said), self._size)

    def _say(self, body: bytes, status: bytes = b"200 OK") -> None:
        self._transport.write(HEAD.replace(b"200 OK", status) % len(body) + body)

    def send(self, reply: bytes) -> None:
        counts = self._counts
        counts.now -= 1
        if self._transport.is_closing():
            counts.unheard += 1
            return
        self._transport.write(reply)
        counts.answered += 1
        counts.last = time.monotonic()


def _run(work: Any) -> Any:
    """What a coroutine gives, on uvloop where it is installed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        return runner.run(work)


async def _serve(delay: float, size: int, usage: bool, port: int) -> None:
    loop = asyncio.get_running_loop()
    counts, waiting = _Counts(), _Waiting(loop, delay)
    server = await loop.create_server(lambda: _Connection(counts, waiting, size, usage), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def pin(core: int | None) -> None:
    """Keep this process, and those it starts, on one core where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})


@dataclass(frozen=True)
class Running:
    """A stub in a process of its own."""

    port: int

    @property
    def url(self) -> str:
        """What `base_url` is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def counters(self) -> dict[str, Any]:
        return self._ask("/counters")

    def reset(self) -> None:
        self._ask("/reset", b"")

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=30) as reply:
            return json.loads(reply.read())


@contextlib.contextmanager
def running(delay: float = 0.05, *, size: int = 0, usage: bool = True, core: int | None = 1) -> Iterator[Running]:
    """A stub that lives as long as the block."""
    python = str(PREFERRED) if PREFERRED.exists() else sys.executable
    command = [python, str(Path(__file__).resolve()), "--delay", str(delay), "--size", str(size)]
    command += ["--usage"] * usage + (["--core", str(core)] if core is not None else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield Running(int(child.stdout.readline()))
        finally:
            child.terminate()


class _Asker(asyncio.Protocol):
    """A raw client connection: sends the next request as soon as an answer is whole, and looks at each answer."""

    def __init__(self, take: Callable[[], int | None], done: Callable[[], None]) -> None:
        self._take, self._done = take, done
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._next()

    def _next(self) -> None:
        n = self._take()
        if n is None:
            self._transport.close()
            return
        said = f"Question {n}: what is the answer?"
        self._expected = dumps(text_for(said))
        body = dumps({"model": "m", "temperature": 0, "messages": [{"role": "user", "content": said}]})
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: stub\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        cut = self._buffer.find(b"\r\n\r\n")
        if cut < 0:
            return
        length = int(self._buffer[:cut].rpartition(b"Content-Length: ")[2].split(b"\r\n")[0])
        if len(self._buffer) < cut + 4 + length:
            return
        if self._expected not in self._buffer:
            raise AssertionError(f"a wrong answer: {self._buffer!r}")
        self._buffer = b""
        self._done()
        self._next()


async def _ask_all(port: int, requests: int, in_flight: int) -> float:
    """Seconds that a raw client needs for so many requests."""
    loop = asyncio.get_running_loop()
    todo, left, finished = iter(range(requests)), requests, asyncio.Event()

    def done() -> None:
        nonlocal left
        left -= 1
        if not left:
            finished.set()

    began = time.perf_counter()
    for _ in range(in_flight):
        await loop.create_connection(lambda: _Asker(lambda: next(todo, None), done), "127.0.0.1", port)
    await finished.wait()
    return time.perf_counter() - began


def measure() -> None:
    """Print what the stub sustains in the shapes that the runner is timed in."""
    pin(0)
    print(f"stub on core 1, raw client on core 0, {'uvloop' if uvloop else 'asyncio'}, Python {sys.version.split()[0]}")
    for delay, in_flight, requests in ((0.0, 100, 60_000), (0.05, 1000, 60_000), (0.05, 100, 6_000)):
        with running(delay) as stub:
            seconds = _run(_ask_all(stub.port, requests, in_flight))
            counts = stub.counters()
        ideal = f", ideal {in_flight / delay:,.0f}" if delay else ""
        cost = counts["cpu"] / requests
        print(
            f"{1000 * delay:3.0f} ms, {in_flight:5,} in flight: {requests / seconds:8,.0f} requests/s{ideal}; "
            f"the stub used {1e6 * cost:.0f} us of its core a request, so it sustains {1 / cost:,.0f}/s; "
            f"most in flight {counts['most_in_flight']:,}, repeated bodies {counts['repeated_bodies']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before it answers")
    parser.add_argument("--size", type=int, default=0, help="characters of each text")
    parser.add_argument("--usage", action="store_true", help="say how many tokens were used")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--core", type=int, help="the core to stay on")
    parser.add_argument("--measure", action="store_true", help="print what it sustains")
    given = parser.parse_args()
    if given.measure:
        measure()
        return
    pin(given.core)
    with contextlib.suppress(KeyboardInterrupt):
        _run(_serve(given.delay, given.size, given.usage, given.port))


if __name__ == "__main__":
    main()
