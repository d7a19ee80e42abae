"""What a request costs over each HTTP client that fairmark could stand on: why `providers/wire.py` is as it is.

Sends chat completions to the stub (`benchmarks/stub.py`) from one core, with the stub on another, through each client on
asyncio and on uvloop, and through fairmark's own provider with all that it does: building the body, sending, reading,
parsing, taking secrets out, asking for a price. Every figure comes from a process of its own; the median round by processor time
counts. Compare the ratios within one run: other work on the machine slows everything.

    python benchmarks/transport.py                  # what is not installed (aiohttp, pyreqwest, uvloop) is left out
    python benchmarks/transport.py --rounds 1 --requests 2000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # this folder's statistics.py hides the library's

from benchmarks.stub import pin, running  # noqa: E402

One = Callable[[int], Awaitable[None]]
Run = Callable[[One], Awaitable[None]]
SHAPES = ((0.0, 100), (0.05, 100), (0.05, 1000))  # seconds that the stub waits, requests in flight
ENDINGS = 20
CLIENTS = ("fairmark", "wire", "aiohttp", "pyreqwest")
WHAT = {
    "fairmark": "fairmark's provider, all it does",
    "wire": "its transport, orjson in and out",
    "aiohttp": "aiohttp, orjson in and out",
    "pyreqwest": "pyreqwest, orjson in and out",
}
KEY = "sk-benchmark-0123456789abcdefghijklmnop"


def said(number: int) -> str:
    return f"Question {number}: " + "what would a good answer be? " * 8


def body(number: int) -> bytes:
    import orjson

    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said(number)}]
    return orjson.dumps({"model": "m", "messages": turns, "temperature": 0})


def checked(reply: Any, number: int) -> None:
    import orjson

    from benchmarks.stub import text_for

    if orjson.loads(reply)["choices"][0]["message"]["content"] != text_for(said(number)):
        raise AssertionError("a wrong answer")


async def over_fairmark(url: str, run: Run) -> None:
    from benchmarks.stub import text_for
    from fairmark import providers
    from fairmark.records import Answer, Message, Question
    from fairmark.study import ModelSpec

    env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY}
    provider = providers.connect_model(ModelSpec("openai", "gpt-4o-mini"), env=env, folder=Path())

    async def one(number: int) -> None:
        found = await provider.ask(Question((Message("system", "Be brief."), Message("user", said(number))), {"temperature": 0}))
        if not isinstance(found, Answer) or found.text != text_for(said(number)):
            raise AssertionError(found)

    await run(one)
    await provider.close()


async def over_wire(url: str, run: Run) -> None:
    from fairmark.providers.secrets import Secrets
    from fairmark.providers.transport import Reply, Transport

    transport = Transport("stub", Secrets({}))
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}

    async def one(number: int) -> None:
        reply = await transport.send("POST", f"{url}/chat/completions", headers=headers, body=body(number))
        if not isinstance(reply, Reply):
            raise AssertionError(reply)
        checked(reply.body, number)

    await run(one)
    await transport.close()


async def over_aiohttp(url: str, run: Run) -> None:
    import aiohttp

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def one(number: int) -> None:
            async with session.post(f"{url}/chat/completions", data=body(number), headers=headers) as response:
                checked(await response.read(), number)

        await run(one)


async def over_pyreqwest(url: str, run: Run) -> None:
    from pyreqwest.client import ClientBuilder

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    async with ClientBuilder().follow_redirects(False).no_proxy().build() as client:

        async def one(number: int) -> None:
            request = client.post(f"{url}/chat/completions").headers(headers).body_bytes(body(number)).build()
            checked(memoryview(await (await request.send()).bytes()), number)

        await run(one)


OVER: dict[str, Callable[[str, Run], Awaitable[None]]] = {
    "fairmark": over_fairmark,
    "wire": over_wire,
    "aiohttp": over_aiohttp,
    "pyreqwest": over_pyreqwest,
}


def measure(client: str, loop: str, url: str, in_flight: int, requests: int) -> None:
    """Prints what one client needs, as a line of JSON."""
    pin(0)
    found: dict[str, float] = {}

    async def run(one: One) -> None:
        await asyncio.gather(*(one(-number) for number in range(in_flight)))  # connects
        todo = iter(range(requests))

        async def work() -> None:
            for number in todo:
                await one(number)

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        found["seconds"], found["cpu"] = time.perf_counter() - wall, time.process_time() - cpu

    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(OVER[client](url, run))  # type: ignore[arg-type]
    found["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    print(json.dumps(found), flush=True)


async def _path_sent(client: str) -> str:
    """What a server is asked for when `/a/%2E%2E/b` is what a case has led to."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a/%2E%2E/b"
        if client == "aiohttp":
            import aiohttp
            from yarl import URL

            async with aiohttp.ClientSession() as session, session.get(URL(url, encoded=True)):
                pass
        elif client == "pyreqwest":
            from pyreqwest.client import ClientBuilder

            async with ClientBuilder().no_proxy().build() as rust:
                await rust.get(url).build().send()
        else:
            from fairmark.providers.secrets import Secrets
            from fairmark.providers.transport import Transport

            transport = Transport("here", Secrets({}))
            await transport.send("GET", url, headers={}, body=None)
            await transport.close()
    return heads[0].split(b" ")[1].decode()


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _child(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(Path(__file__).resolve()), *arguments], capture_output=True, text=True, check=False)


def once(client: str, loop: str, url: str, in_flight: int, requests: int) -> dict[str, Any]:
    """The figures of one process, and how it ended."""
    done = _child("--one", client, loop, url, str(in_flight), "--requests", str(requests))
    lines = done.stdout.splitlines()
    if not lines:
        raise SystemExit(f"{client} on {loop}: {done.stderr.strip()[-400:]}")
    return {**json.loads(lines[-1]), "died": signal.Signals(-done.returncode).name if done.returncode < 0 else None}


def compare(rounds: int, requests: int) -> None:
    names = {name: installed(name) for name in ("aiohttp", "pyreqwest", "uvloop", "orjson")}
    kept = ", ".join(f"{name} {number or 'not installed'}" for name, number in names.items())
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; {kept}")
    print(f"client on core 0, stub on core 1, {requests:,} requests, {rounds} rounds; load {os.getloadavg()[0]:.1f} before")
    loops = ["asyncio", *(["uvloop"] if names["uvloop"] else [])]
    pairs = [(client, loop) for client in CLIENTS if client not in names or names[client] for loop in loops]
    for delay, in_flight in SHAPES:
        with running(delay) as stub:
            found: dict[tuple[str, str], list[dict[str, Any]]] = {pair: [] for pair in pairs}
            for _ in range(rounds):
                for pair in pairs:
                    found[pair].append(once(*pair, stub.url, in_flight, requests))
        median = {pair: sorted(each, key=lambda one: float(one["cpu"]))[len(each) // 2] for pair, each in found.items()}
        base = median["fairmark", "asyncio"]["cpu"]
        ideal = f", ideal {in_flight / delay:,.0f} requests/s" if delay else ""
        print(f"\n{1000 * delay:.0f} ms, {in_flight:,} in flight{ideal}")
        for (client, loop), one in median.items():
            print(
                f"  {WHAT[client]:34} {loop:8} {1000 * one['cpu'] / requests:6.3f} ms processor a request"
                f" ({one['cpu'] / base:4.2f} of fairmark's on asyncio) {requests / one['seconds']:8,.0f} requests/s"
                f" {one['megabytes']:5.0f} MB"
            )
    print("\nthe address /a/%2E%2E/b, which a case's `..` becomes, is sent as")
    for client in dict.fromkeys(client for client, _ in pairs if client != "fairmark"):
        print(f"  {WHAT[client]:34} {_child('--address', client).stdout.strip()}")
    print(f"\nof {ENDINGS} processes that send 1,500 requests and end, so many die at their end")
    with running(0.0) as stub:
        for client in dict.fromkeys(client for client, _ in pairs if client != "fairmark"):
            ends = [end for _ in range(ENDINGS) if (end := once(client, "asyncio", stub.url, 50, 1500)["died"])]
            print(f"  {WHAT[client]:34} {len(ends)} {' '.join(sorted(set(ends)))}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.address is not None:
        print(asyncio.run(_path_sent(given.address)), flush=True)
    elif given.one is not None:
        client, loop, url, in_flight = given.one
        measure(client, loop, url, int(in_flight), given.requests)
    else:
        compare(given.rounds, given.requests)


if __name__ == "__main__":
    main()
