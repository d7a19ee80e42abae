"""The wire: whatever comes back is read as HTTP or named as none, and no answer reaches another question."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
from benchmarks.stub import running
from benchmarks.transport import once
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark.providers.secrets import Secrets
from fairmark.providers.transport import LARGEST_BODY, Reply, Transport
from fairmark.providers.wire import Place, Wire
from fairmark.records import Answer, Failure, Message, Question
from tests.fake_endpoint import FakeEndpoint, chat
from tests.fake_endpoint import Reply as Said
from tests.providers.asking import CANARY, model
from tests.providers.raw_server import OK, RawServer, beside, certificate, until

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def transport(**more: str) -> Transport:
    return Transport("there", Secrets({"MY_KEY": CANARY}), proxy=more.get("proxy"))


async def post(client: Transport, url: str, method: str = "POST") -> Reply | Failure:
    return await client.send(method, url, headers={}, body=b"{}" if method == "POST" else None)


def sent_back(reply: bytes, *, method: str = "POST", closes: bool = False, bytewise: bool = False) -> list[Reply | Failure]:
    """The outcomes of asking twice."""
    outcomes: list[Reply | Failure] = []

    async def use(server: RawServer) -> None:
        client = transport()
        for _ in range(2):
            async with asyncio.timeout(10):
                outcomes.append(await post(client, server.url, method))
                await asyncio.sleep(0.005)  # in which it is seen whether the server closes
        await client.close()

    pieces = (lambda data: [data[n : n + 1] for n in range(len(data))]) if bytewise else (lambda data: [data])
    beside(RawServer(lambda _: reply, pieces, closes), use)
    return outcomes


def packed(body: bytes, encoding: str) -> bytes:
    return HEAD + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body)) + body


RAW_DEFLATE = zlib.compressobj(wbits=-15)
GOOD: dict[str, tuple[bytes, bool]] = {
    "with a length": (OK, False),
    "lines that end in LF alone": (OK.replace(b"\r\n", b"\n"), False),
    "a length that is said twice": (OK.replace(b"Content-Length: 2", b"Content-Length: 2\r\ncontent-length: 2"), False),
    "odd headers": (
        OK.replace(b"Content", b"X-Empty:\r\nx-\xfc: no\r\n"[:10] + b"X: \xfc\xff \t\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent"),
        False,
    ),
    "no reason": (OK.replace(b" OK", b""), False),
    "HTTP/1.0 until its end": (b"HTTP/1.0 200 OK\r\n\r\nok", True),
    "HTTP/1.1 until its end": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", True),
    "after a 100": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, False),
    "in chunks": (CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n", False),
    "in chunks with all that may be there": (CHUNKED + b"0001;a=b\r\no\r\n1 \r\nk\r\n0\r\nExpires: never\r\nX: y\r\n\r\n", False),
    "in chunks whose lines end in LF": (CHUNKED + b"2\nok\n0\n\n", False),
    "gzip": (packed(gzip.compress(b"ok"), "gzip"), False),
    "two of gzip": (packed(gzip.compress(b"o") + gzip.compress(b"k"), "x-gzip"), False),
    "deflate": (packed(zlib.compress(b"ok"), "deflate"), False),
    "the inside of deflate": (packed(RAW_DEFLATE.compress(b"ok") + RAW_DEFLATE.flush(), "Deflate"), False),
    "gzip within gzip": (packed(gzip.compress(gzip.compress(b"ok")), "gzip, gzip"), False),
    "packed as it is": (packed(b"ok", "identity"), False),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("reply", "closes"), GOOD.values(), ids=GOOD)
def test_every_shape_of_a_good_reply(reply: bytes, closes: bool, bytewise: bool) -> None:
    for outcome in sent_back(reply, closes=closes, bytewise=bytewise):
        assert isinstance(outcome, Reply), outcome
        assert outcome.body == b"ok"


BAD: dict[str, tuple[bytes, str, str]] = {
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "broken_reply", "not HTTP"),
    "HTTP/2": (b"HTTP/2 200 OK\r\n\r\n", "broken_reply", "not HTTP"),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", "broken_reply", "begin"),
    "a status of four": (b"HTTP/1.1 2000 OK\r\n\r\n", "broken_reply", "begin"),
    "a header without a name": (HEAD + b"hello\r\n\r\n", "broken_reply", "no name"),
    "a folded header": (HEAD + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nok", "broken_reply", "no name"),
    "a blank before the colon": (HEAD + b"Content-Length : 2\r\n\r\nok", "broken_reply", "no name"),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk", "broken_reply", "how long"),
    "a negative length": (HEAD + b"Content-Length: -2\r\n\r\nok", "broken_reply", "how long"),
    "a length in words": (HEAD + b"Content-Length: two\r\n\r\nok", "broken_reply", "how long"),
    "too short": (HEAD + b"Content-Length: 9\r\n\r\nok", "broken_reply", "middle"),
    "ends in its headers": (HEAD + b"Content-Le", "broken_reply", "middle"),
    "ends in a chunk": (CHUNKED + b"5\r\nok", "broken_reply", "middle"),
    "ends before its last chunk": (CHUNKED + b"2\r\nok\r\n", "broken_reply", "middle"),
    "a chunk without a size": (CHUNKED + b"zz\r\nok", "broken_reply", "how long"),
    "a chunk with a negative size": (CHUNKED + b"-1\r\nok", "broken_reply", "how long"),
    "a chunk that is longer than it says": (CHUNKED + b"1\r\nok\r\n0\r\n\r\n", "broken_reply", "longer"),
    "an unknown coding": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "broken_reply", "not asked for"),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "broken_reply", "protocol"),
    "headers without end": (HEAD + b"A: b\r\n" * 20_000, "broken_reply", "headers"),
    "trailers without end": (CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000, "broken_reply", "last headers"),
    "not gzip": (packed(b"ok", "gzip"), "broken_reply", "packed"),
    "half of gzip": (packed(gzip.compress(b"ok" * 99)[:-9], "gzip"), "broken_reply", "middle"),
    "brotli, which was not asked for": (packed(b"ok", "br"), "broken_reply", "not asked for"),
    "announced as too large": (HEAD + b"Content-Length: 99999999999\r\n\r\n", "broken_reply", "larger than 20 MB"),
    "too large": (CHUNKED + b"1500000\r\n" + bytes(22_020_096) + b"\r\n0\r\n\r\n", "broken_reply", "larger than 20 MB"),
    "nothing": (b"", "connection", "lost"),
}


@pytest.mark.parametrize(("reply", "kind", "why"), BAD.values(), ids=BAD)
def test_every_shape_of_a_bad_reply(reply: bytes, kind: str, why: str) -> None:
    for outcome in sent_back(reply, closes=True):
        assert isinstance(outcome, Failure), outcome
        assert (outcome.kind, outcome.where) == (kind, "there")
        assert why in outcome.why and "127.0.0.1" not in outcome.why


def test_a_body_that_ends_with_a_reset_is_not_whole() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"\r\nhalf of it")
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def run() -> Reply | Failure:
        async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
            client = transport()
            try:
                return await post(client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            finally:
                await client.close()

    found = asyncio.run(run())
    assert isinstance(found, Failure) and (found.kind, "middle" in found.why) == ("broken_reply", True), found


def test_replies_without_a_body() -> None:
    for outcome in sent_back(HEAD + b"Content-Length: 2\r\n\r\n", method="HEAD") + sent_back(b"HTTP/1.1 204 No Content\r\n\r\n"):
        assert isinstance(outcome, Reply) and outcome.body == b""


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["length", "chunks", "end"]), st.booleans(), st.randoms(use_true_random=False))
def test_a_body_is_the_same_however_it_is_cut(body: bytes, framing: str, small: bool, chance: random.Random) -> None:
    sent = gzip.compress(body) if small else body
    head = HEAD + (b"Content-Encoding: gzip\r\n" if small else b"")
    if framing == "length":
        reply = head + b"Content-Length: %d\r\n\r\n" % len(sent) + sent
    elif framing == "end":
        reply = head + b"\r\n" + sent
    else:
        cuts = sorted(chance.sample(range(1, len(sent)), min(3, len(sent) - 1))) if len(sent) > 1 else []
        parts = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
        reply = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    cuts = sorted(chance.sample(range(len(reply)), min(9, len(reply))))
    found: list[Reply | Failure] = []

    async def use(server: RawServer) -> None:
        client = transport()
        found.append(await post(client, server.url))
        await client.close()

    beside(
        RawServer(lambda _: reply, lambda data: [data[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)], framing == "end"), use
    )
    assert isinstance(found[0], Reply) and found[0].body == body


def test_a_gzip_bomb_takes_no_memory() -> None:
    bomb = packed(gzip.compress(gzip.compress(bytes(200 * 2**20), 1), 9), "gzip, gzip")
    assert len(bomb) < 2**20
    tracemalloc.start()
    try:
        (outcome, _) = sent_back(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, Failure) and "larger" in outcome.why
    assert peak < 4 * LARGEST_BODY


# ------------------------------------------------------------------ what is sent


def test_the_request_is_what_it_should_be() -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        base = f"http://127.0.0.1:{server.port}"
        for method, url, headers, body in (
            ("POST", f"{base}/files/%2E%2E/a%2fb//c?q=1|2'\"&x=%22#part", {"X-One": "ü", "accept": "text/plain"}, b"{}"),
            ("GET", base, {"Host": "elsewhere.example", "User-Agent": "mine", "Content-Length": "99"}, None),
            ("POST", f"{base}?a=b", {}, None),
            ("DELETE", f"HTTP://127.0.0.1:{server.port}/x", {"Connection": "close"}, b""),
        ):
            assert isinstance(await client.send(method, url, headers=headers, body=body), Reply)
        await client.close()

    server = beside(RawServer(), use)
    heads = [head.decode().split("\r\n") for head in server.heads]
    assert heads[0][0] == "POST /files/%2E%2E/a%2fb//c?q=1|2'\"&x=%22 HTTP/1.1"
    assert heads[0][1] == f"Host: 127.0.0.1:{server.port}"
    assert {"X-One: ü", "accept: text/plain", "Accept-Encoding: gzip, deflate", "Content-Length: 2"} <= set(heads[0])
    assert "Accept: */*" not in heads[0]
    assert heads[1][:2] == ["GET / HTTP/1.1", "Host: elsewhere.example"]
    assert "User-Agent: mine" in heads[1] and not any(line.startswith(("Content-Length", "User-Agent: fair")) for line in heads[1])
    assert heads[2][0] == "POST /?a=b HTTP/1.1" and "Content-Length: 0" in heads[2]
    assert heads[3][0] == "DELETE /x HTTP/1.1" and "Content-Length: 0" in heads[3]


@pytest.mark.parametrize(
    ("url", "headers", "why"),
    [
        ("http://127.0.0.1:1/ a", {}, "address"),
        ("http://127.0.0.1:1/\r\nX: y", {}, "address"),
        ("http://127.0.0.1:1/ü", {}, "address"),
        ("http://me:pw@127.0.0.1:1/", {}, "address"),
        ("ftp://127.0.0.1:1/", {}, "address"),
        ("http://127.0.0.1:1/", {"X": f"{CANARY}\r\nY: z"}, "header X"),
        ("http://127.0.0.1:1/", {"X\r\nY": "z"}, "header"),
    ],
)
def test_what_cannot_be_sent_is_not(url: str, headers: dict[str, str], why: str) -> None:
    found = asyncio.run(transport().send("POST", url, headers=headers, body=b""))
    assert isinstance(found, Failure) and found.kind == "bad_request"
    assert why in found.why and CANARY not in found.why


# ------------------------------------------------------------------ connections


def test_connections_are_used_again_and_there_is_no_limit_to_them() -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        for _ in range(5):
            assert isinstance(await post(client, server.url), Reply)
        assert server.connections == 1
        server.reply = lambda _: OK.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: Keep-Alive")
        for _ in range(3):
            assert isinstance(await post(client, server.url), Reply)
        assert server.connections == 1, "older servers say so where they keep a connection"
        server.reply = lambda _: OK
        for _ in range(2):
            outcomes = await asyncio.gather(*(post(client, server.url) for _ in range(300)))
            assert all(isinstance(outcome, Reply) for outcome in outcomes)
        assert server.connections == server.open == 300
        await client.close()
        await until(lambda: server.open == 0)

    beside(RawServer(), use)


@pytest.mark.parametrize(
    "reply",
    [
        OK.replace(b"200 OK", b"200 OK\r\nConnection: Close"),
        OK.replace(b"1.1", b"1.0"),
        OK.replace(b"200 OK", b"200 OK\r\nKeep-Alive: timeout=1, max=100"),
        OK + b"more",
        OK + OK,
        CHUNKED.replace(b"Transfer", b"Content-Length: 2\r\nTransfer") + b"2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_a_connection_whose_state_is_in_doubt_is_not_used_again(reply: bytes) -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        for _ in range(3):
            found = await post(client, server.url)
            assert isinstance(found, Reply) and found.body == b"ok"
        assert server.connections == 3
        await client.close()

    beside(RawServer(lambda _: reply), use)


def test_what_nobody_asked_for_reaches_nobody() -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        for _ in range(3):
            found = await post(client, server.url)
            assert isinstance(found, Reply) and found.body == b"ok"
            await asyncio.sleep(0.03)
        assert server.connections == 3
        await client.close()

    beside(RawServer(pieces=lambda data: [data, OK.replace(b"ok", b"no")]), use)


def test_a_connection_that_the_server_closed_is_not_used() -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        for _ in range(50):
            assert isinstance(await post(client, server.url), Reply)
            await asyncio.sleep(0.002)
        assert server.connections == 50
        await client.close()

    beside(RawServer(closes=True), use)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_what_may_be_sent_twice_is_sent_again_when_a_kept_connection_ends_under_it(method: str) -> None:
    outcomes: list[Reply | Failure] = []

    async def use(server: RawServer) -> None:
        client = transport()
        outcomes.extend([await post(client, server.url, method) for _ in range(4)])
        await client.close()

    seen: list[bytes] = []
    server = beside(RawServer(lambda head: b"" if seen.append(head) or len(seen) == 2 else OK), use)  # type: ignore[func-returns-value]
    assert server.connections == 2
    lost = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    if method == "GET":
        assert (len(server.heads), lost) == (5, [])
    else:
        assert (len(server.heads), len(lost)) == (4, 1), "whether to pay twice is not for the wire to say"
        assert (lost[0].kind, lost[0].why) == ("connection", "the connection was lost (the other side closed it)")


def test_a_silent_server_is_given_up_and_others_are_not() -> None:
    async def use(server: RawServer) -> None:
        wire = Wire(Place("127.0.0.1", server.port, False), largest=99, silence=0.2)
        silent = asyncio.create_task(wire.ask("POST", b"POST /silent HTTP/1.1\r\n\r\n"))
        for _ in range(10):
            assert (await wire.ask("POST", b"POST / HTTP/1.1\r\n\r\n")).body == b"ok"
            await asyncio.sleep(0.05)
        assert silent.done(), "a silence does not last until the deadline of the whole"
        with pytest.raises(TimeoutError):
            await silent
        assert len(wire.open) == 1, "the silent connection is closed and the other is kept"
        await wire.close()
        assert not wire.open

    beside(RawServer(lambda head: None if b"silent" in head else OK), use)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_cancelling_at_any_moment_leaks_nothing(secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, vouched = certificate(tmp_path, "IP:127.0.0.1") if secure else (None, None)
    monkeypatch.setenv("SSL_CERT_FILE", str(vouched))

    async def use(server: RawServer) -> None:
        client = transport()
        for steps in range(40):
            asked = asyncio.create_task(post(client, server.url))
            for _ in range(steps):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: server.open <= 1)
        found = await post(client, server.url)
        assert isinstance(found, Reply) and found.body == b"ok"
        await client.close()
        await until(lambda: server.open == 0 and len(asyncio.all_tasks()) - server.greeting() == 1)

    beside(RawServer(secure=context), use)


@pytest.mark.skipif(sys.platform == "win32", reason="a full queue refuses there")
def test_cancelling_while_it_connects_leaks_nothing() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(full.getsockname())  # fills the queue, so that the next one waits
            client = transport()
            asked = asyncio.create_task(post(client, f"http://127.0.0.1:{full.getsockname()[1]}/"))
            await asyncio.sleep(0.1)
            assert not asked.done()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            await until(lambda: len(asyncio.all_tasks()) == 1)
            await client.close()
            for each in waiting:
                each.close()

    asyncio.run(run())


def test_many_that_hang_are_cancelled_together() -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        asked = [asyncio.create_task(post(client, server.url)) for _ in range(50)]
        await until(lambda: len(server.heads) == 50)
        for task in asked:
            task.cancel()
        assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*asked, return_exceptions=True))
        await until(lambda: server.open == 0)
        await client.close()

    beside(RawServer(lambda _: None), use)


def test_no_answer_reaches_another_question() -> None:
    """Delays at random, a third cancelled half-way: whoever is answered is answered with their own words."""

    async def run() -> None:
        chance = random.Random(5)

        def echo(received: object) -> Said:
            return Said(chat(received.said), delay=chance.random() / 50)  # type: ignore[attr-defined]

        async with FakeEndpoint(echo) as endpoint:
            provider = model(endpoint.url)

            async def one(number: int) -> bool:
                question = Question((Message("user", f"question {number}"),))
                try:
                    async with asyncio.timeout(chance.random() / 40 if number % 3 == 0 else 10):
                        found = await provider.ask(question)
                except TimeoutError:
                    return False
                assert isinstance(found, Answer) and found.text == f"question {number}"
                return True

            for start in range(0, 600, 60):
                answered = await asyncio.gather(*(one(number) for number in range(start, start + 60)))
                assert sum(answered) >= 40
            await provider.close()

    asyncio.run(run())


def test_one_address_of_two_is_enough() -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        found = await post(client, f"http://localhost:{server.port}/v1")
        assert isinstance(found, Reply), found
        await client.close()

    beside(RawServer(), use)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere this machine has one address of its own")
def test_connections_are_spread_over_the_addresses_of_a_host_that_is_asked_for_once() -> None:
    asked: list[str] = []
    reached: list[str] = []

    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.append(writer.get_extra_info("sockname")[0])
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.1)
            writer.write(OK)

        async def look_up(host: str, port: int, **_: object) -> list[object]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.3")]

        asyncio.get_running_loop().getaddrinfo = look_up  # type: ignore[method-assign,assignment]
        async with await asyncio.start_server(serve, "127.0.0.2", 0) as server:
            port = server.sockets[0].getsockname()[1]
            other = await asyncio.start_server(serve, "127.0.0.3", port)
            client = transport()
            url = f"http://models.invalid:{port}/"
            assert all(isinstance(found, Reply) for found in await asyncio.gather(*(post(client, url) for _ in range(10))))
            await client.close()
            other.close()

    asyncio.run(run())
    assert asked == ["models.invalid"]
    assert sorted(reached) == ["127.0.0.2"] * 5 + ["127.0.0.3"] * 5


def test_the_benchmark_asks_and_checks_what_comes_back() -> None:
    with running(0.0, core=None) as stub:
        figures = [once(client, "asyncio", stub.url, 5, 40) for client in ("fairmark", "wire", "aiohttp")]
        assert stub.counters()["requests"] == 3 * (5 + 40)
    assert all(each["cpu"] > 0 and each["megabytes"] > 1 and each["died"] is None for each in figures)


# ------------------------------------------------------------------ TLS and proxies


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, vouched = certificate(tmp_path, "IP:127.0.0.1")
    outcomes: list[Reply | Failure] = []

    async def use(server: RawServer) -> None:
        client = transport()
        outcomes.append(await post(client, server.url))
        await client.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(vouched))
        for host in ("127.0.0.1", "127.0.0.1", "localhost"):
            outcomes.append(await post(client, f"https://{host}:{server.port}/v1"))
        await client.close()

    server = beside(RawServer(secure=context), use)
    refused, first, second, elsewhere = outcomes
    assert isinstance(refused, Failure) and refused.kind == "connection"
    assert refused.why == "no secure connection (self-signed certificate)"
    assert isinstance(first, Reply) and isinstance(second, Reply)
    assert isinstance(elsewhere, Failure) and "localhost" in elsewhere.why and elsewhere.kind == "connection"
    assert len(server.heads) == 2, "nothing is sent to whoever cannot show who they are"


def test_tls_with_whoever_does_not_speak_it() -> None:
    async def use(server: RawServer) -> None:
        client = transport()
        found = await post(client, server.url.replace("http", "https"))
        assert isinstance(found, Failure) and found.kind == "connection" and "no secure connection" in found.why
        await client.close()

    async def run() -> None:
        async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(9)
            writer.write(b"what?\r\n")
            writer.close()

        async with await asyncio.start_server(rude, "127.0.0.1", 0) as plain:
            await use(RawServer(port=plain.sockets[0].getsockname()[1]))

    asyncio.run(run())


class Proxy:
    """A proxy that resolves every name to this machine."""

    def __init__(self, port: int, status: int = 200) -> None:
        self.heads: list[str] = []
        self._port, self._status = port, status

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        if self._status != 200:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self._status)
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\nVia: me\r\n\r\n")
        else:
            back.write(head)
        await asyncio.gather(_pour(reader, back), _pour(there, writer))


async def _pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    while data := await source.read(2**16):
        into.write(data)
    into.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("status", [200, 407, 502])
def test_through_a_proxy(scheme: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, vouched = certificate(tmp_path, "DNS:models.invalid")
    monkeypatch.setenv("SSL_CERT_FILE", str(vouched))

    async def use(server: RawServer) -> None:
        proxy = Proxy(server.port, status)
        async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as beyond:
            address = f"http://me:{CANARY.replace('/', '%2F')}@127.0.0.1:{beyond.sockets[0].getsockname()[1]}"
            env = {f"{scheme.upper()}_PROXY": address, "PROXY_PASSWORD": CANARY}
            provider = model(f"{scheme}://models.invalid/v1", env=env)
            outcomes = [await provider.ask(Question((Message("user", "hello"),))) for _ in range(2)]
            await provider.close()
        if status == 200:
            assert all(isinstance(outcome, Answer) and outcome.text == "through" for outcome in outcomes), outcomes
            assert server.connections == 1
            sent = server.heads[1].decode()
            assert "Host: models.invalid" in sent and ("Proxy-Authorization" in sent) == (scheme == "http")
        else:
            assert all(isinstance(outcome, Failure) for outcome in outcomes)
            kinds = {outcome.kind for outcome in outcomes if isinstance(outcome, Failure)}
            assert kinds == ({"connection"} if scheme == "https" else {"auth"} if status == 407 else {"server_error"})
        first = proxy.heads[0]
        wanted = "CONNECT models.invalid:443 HTTP/1.1" if scheme == "https" else "POST http://models.invalid/v1/chat/completions HTTP/1.1"
        assert first.startswith(wanted) and "Proxy-Authorization: Basic " in first
        assert CANARY not in repr(outcomes) and "me:" not in repr(outcomes)

    body = json.dumps(chat("through")).encode()
    reply = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    beside(RawServer(lambda _: reply, secure=context if scheme == "https" else None), use)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", f"http://me:{CANARY}", "http://127.0.0.1:1/path", "http://", "http://a b"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(proxy: str) -> None:
    for scheme in ("http", "https"):
        found = asyncio.run(transport(proxy=proxy).send("POST", f"{scheme}://models.invalid/", headers={}, body=b""))
        assert isinstance(found, Failure) and found.kind == "bad_request"
        assert "proxy" in found.why and CANARY not in found.why


def test_a_proxy_that_is_not_there() -> None:
    found = asyncio.run(transport(proxy="http://127.0.0.1:1").send("POST", "https://models.invalid/", headers={}, body=b""))
    assert isinstance(found, Failure) and (found.kind, found.why) == ("connection", "no connection (Connection refused)")
