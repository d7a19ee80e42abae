"""HTTP/1.1 on the event loop's own connections: whole requests out, whole replies in, connections kept for the next one.

A request is one write, and a reply is read where it arrives, without a task or a stream in between; that is where other
clients spend their time (see docs/reference/transport.md). A reply whose end is not certain beyond doubt closes its
connection, so that nobody is given an answer to somebody else's question.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 900.0  # between two bytes; `calls` sets the deadline of the whole
IDLE_SECONDS = 15.0  # after which a connection is not used again, because many servers close theirs soon after
HEAD_START = 0.25  # seconds that one address of a host has before the next one is tried beside it (RFC 8305)
NAME_SECONDS = 10.0  # for which a host's addresses are remembered
LARGEST_HEAD = 2**16  # bytes of a reply's status and headers

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r?(?=\n|$)")
_HEADER = re.compile(r"\n([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n]*)")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r?")
_HTTP = b"HTTP/1."
_WHOLE = {"content-length", "transfer-encoding", "content-encoding", "connection"}  # several lines of these are one list
_AGAIN = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"}  # may be sent twice without doing anything twice


class Broken(Exception):
    """What came back is no HTTP, or not all of it. Says how, in words that hold nothing of it."""


class TooLarge(Exception):
    """The body is larger than what was allowed."""


class Lost(ConnectionError):
    """The connection ended before anything came back."""


class ProxyRefused(Exception):
    """The proxy did not connect to the host."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered with status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Place:
    """Where connections go."""

    host: str  # a name or an address, without brackets
    port: int
    secure: bool


@dataclass(frozen=True, slots=True)
class Proxy:
    """The place of a proxy and what it wants to be told."""

    place: Place
    authorization: bytes | None = None  # the value of Proxy-Authorization


@dataclass(slots=True)
class Received:
    """A reply as it came, with its body unpacked."""

    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes


class Wire:
    """Connections to one place from one event loop.

    There is no limit to their number: how many requests are in flight is for `calls` to say. The one that came back last
    is used first, so that the rest may grow old and go.
    """

    def __init__(self, place: Place, *, proxy: Proxy | None = None, largest: int, silence: float = SILENCE_SECONDS) -> None:
        self.loop = asyncio.get_running_loop()
        self.largest = largest
        self.open: set[_Connection] = set()
        self._place = place
        self._proxy = proxy
        self._silence = silence
        self._idle: list[_Connection] = []
        self._first_hop = proxy.place if proxy is not None else place
        self._trust: ssl.SSLContext | None = None
        self._names: tuple[float, asyncio.Task[list[_Address]]] | None = None
        self._turn = itertools.count()
        self._broom: asyncio.TimerHandle | None = None

    async def ask(self, method: str, request: bytes) -> Received:
        """The reply to one whole request.

        Raises `Broken`, `TooLarge`, `Lost`, `ProxyRefused`, `TimeoutError` (also for silence) or `OSError` where there is
        none. Where the wait is cancelled the connection is closed, because its reply may still come.
        """
        connection = self._rested()
        if connection is not None:
            try:
                return await connection.ask(method, request)
            except Lost:
                if method not in _AGAIN:
                    raise  # it may have been carried out, and whether to pay twice is for `calls` to say
        connection = await self._connected()
        return await connection.ask(method, request)

    async def close(self) -> None:
        if self._broom is not None:
            self._broom.cancel()
            self._broom = None
        if self._names is not None:
            self._names[1].cancel()
            self._names = None
        for connection in list(self.open):
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # in which the event loop lets go of the sockets

    # -------------------------------------------------------------- keeping connections

    def keep(self, connection: _Connection) -> None:
        """Takes a connection back whose reply came whole."""
        self._idle.append(connection)

    def _rested(self) -> _Connection | None:
        now = self.loop.time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(now):
                return connection
            connection.close()
        return None

    def _sweep(self) -> None:
        """Closes what has been idle or silent for too long."""
        now = self.loop.time()
        for connection in list(self.open):
            if connection.waiting and now - connection.heard > self._silence:
                connection.give_up(TimeoutError())
        resting, self._idle = self._idle, []
        for connection in resting:
            if connection.usable(now):
                self._idle.append(connection)
            else:
                connection.close()
        self._broom = self.loop.call_later(min(5.0, self._silence / 4), self._sweep) if self.open else None

    # -------------------------------------------------------------- making connections

    async def _connected(self) -> _Connection:
        async with asyncio.timeout(CONNECT_SECONDS):
            hop = self._first_hop
            sock = await self._socket()
            connection = _Connection(self)
            try:
                secure: dict[str, Any] = {"ssl": self._context(), "server_hostname": hop.host} if hop.secure else {}
                await self.loop.create_connection(lambda: connection, sock=sock, **secure)
            except BaseException:
                sock.close()
                raise
            self.open.add(connection)
            if self._broom is None:
                self._broom = self.loop.call_later(min(5.0, self._silence / 4), self._sweep)
            try:
                if self._proxy is not None and self._place.secure:
                    await connection.tunnel(self._place, self._proxy, self._context())
            except BaseException:
                connection.close()
                raise
            return connection

    async def _socket(self) -> socket.socket:
        """A connected socket: addresses in turn, each with a head start before the next."""
        addresses = await self._addresses()
        trying: set[asyncio.Task[socket.socket]] = set()
        trouble: BaseException | None = None
        try:
            while addresses or trying:
                if addresses:
                    trying.add(self.loop.create_task(_connect(self.loop, addresses.pop(0))))
                done, trying = await asyncio.wait(trying, timeout=HEAD_START if addresses else None, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    trouble = task.exception() or trouble
                good = [task.result() for task in done if task.exception() is None]
                for late in good[1:]:
                    late.close()
                if good:
                    return good[0]
        finally:
            for task in trying:
                task.cancel()
                task.add_done_callback(_close_result)
        raise trouble or OSError("the host has no address")

    async def _addresses(self) -> list[_Address]:
        """The host's addresses, asked for once however many connections are made at a time, and each first in turn."""
        now = self.loop.time()
        if self._names is None or self._names[0] < now or (self._names[1].done() and not _came(self._names[1])):
            asked = self.loop.create_task(self._resolve())
            asked.add_done_callback(_came)  # so that nobody complains where all who asked are gone
            self._names = (now + NAME_SECONDS, asked)
        found = await asyncio.shield(self._names[1])
        usual = [address for address in found if address[0] == found[0][0]]
        shift = next(self._turn) % len(usual)
        turned = usual[shift:] + usual[:shift]
        others = [address for address in found if address[0] != found[0][0]]
        pairs = itertools.zip_longest(turned, others)
        return [address for pair in pairs for address in pair if address is not None]

    async def _resolve(self) -> list[_Address]:
        hop = self._first_hop
        found = await self.loop.getaddrinfo(hop.host, hop.port, type=socket.SOCK_STREAM)
        return [(family, proto, address) for family, _, proto, _, address in found]

    def _context(self) -> ssl.SSLContext:
        """Certificates are checked against the system's, or those that SSL_CERT_FILE and SSL_CERT_DIR name."""
        if self._trust is None:
            self._trust = ssl.create_default_context()
            self._trust.set_alpn_protocols(["http/1.1"])
        return self._trust


_Address = tuple[int, int, Any]  # family, protocol, address


async def _connect(loop: asyncio.AbstractEventLoop, address: _Address) -> socket.socket:
    family, proto, target = address
    sock = socket.socket(family, socket.SOCK_STREAM, proto)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    if _came(task):
        task.result().close()


def _came(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is None


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    __slots__ = (
        "_between",
        "_bodiless",
        "_headers",
        "_held",
        "_keeps",
        "_left",
        "_parts",
        "_persists",
        "_read",
        "_size",
        "_status",
        "_transport",
        "_until",
        "_waiter",
        "_wire",
        "heard",
    )

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Received] | None = None
        self._read: Callable[[bytes], None] = self._read_head
        self._persists = False  # whether both sides mean to go on after this reply
        self._keeps = False  # and the reply has come whole
        self._until = 0.0  # until when it may be used again
        self._held = b""  # what has come and does not make sense alone
        self._parts: list[bytes] = []
        self._size = 0  # bytes of the body so far
        self._left = 0  # bytes of the body, or of its chunk, that are still to come
        self._between = False  # whether a chunk has ended and its line has not
        self._status = 0
        self._headers: dict[str, str] = {}
        self._bodiless = False
        self.heard = 0.0

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for a reply."""
        return self._waiter is not None and not self._waiter.done()

    def usable(self, now: float) -> bool:
        return self._keeps and now < self._until and self._transport is not None and not self._transport.is_closing()

    async def ask(self, method: str, request: bytes) -> Received:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Lost
        waiter = self._await_reply(bodiless=method == "HEAD")
        transport.write(request)
        try:
            received = await waiter
        finally:
            self._waiter = None
            if self._keeps:
                self._wire.keep(self)
            else:
                self.close()
        encoding = received.headers.get("content-encoding")
        if encoding is not None and received.body:
            received.body = unpacked(received.body, encoding.lower(), self._wire.largest)
        return received

    async def tunnel(self, place: Place, proxy: Proxy, context: ssl.SSLContext) -> None:
        """Has the proxy connect to a place, and speaks TLS with that."""
        assert self._transport is not None
        host = f"[{place.host}]" if ":" in place.host else place.host
        target = f"{host}:{place.port}".encode("idna" if not host.isascii() else "ascii")
        lines = [b"CONNECT " + target + b" HTTP/1.1", b"Host: " + target]
        if proxy.authorization is not None:
            lines.append(b"Proxy-Authorization: " + proxy.authorization)
        waiter = self._await_reply(bodiless=True)
        self._transport.write(b"\r\n".join([*lines, b"", b""]))
        try:
            status = (await waiter).status
        finally:
            self._waiter = None
        if not 200 <= status < 300:
            raise ProxyRefused(status)
        within = await self._wire.loop.start_tls(self._transport, self, context, server_hostname=place.host)
        if within is None:
            raise Lost
        self._transport = within

    def close(self) -> None:
        self._keeps = False
        if self._transport is not None:
            self._transport.abort()  # nothing more is to be said, and TLS would wait for a farewell
        self._wire.open.discard(self)

    def give_up(self, trouble: Exception) -> None:
        """Ends the wait with a trouble, and the connection with it."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(trouble)
        self.close()

    def _await_reply(self, *, bodiless: bool) -> asyncio.Future[Received]:
        self._waiter = self._wire.loop.create_future()
        self._read = self._read_head
        self._keeps = False
        self._bodiless = bodiless
        self._held = b""
        self.heard = self._wire.loop.time()
        return self._waiter

    # -------------------------------------------------------------- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # nobody asked for this
            return
        self.heard = self._wire.loop.time()
        try:
            self._read(data)
        except (Broken, TooLarge) as trouble:
            self.give_up(trouble)

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        self._transport = None
        self._wire.open.discard(self)

    def _ended(self, exc: Exception | None) -> None:
        self._keeps = False
        if self._waiter is None or self._waiter.done():
            return
        if self._read == self._read_until_end and exc is None:
            self._finish()
        elif self._read == self._read_head and not self._held:
            lost = Lost(*exc.args) if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError) else exc or Lost()
            self._waiter.set_exception(lost)
        else:
            self._waiter.set_exception(Broken("it ends in the middle"))

    # -------------------------------------------------------------- reading a reply

    def _read_head(self, data: bytes) -> None:
        data = self._held + data
        while True:
            blank = _BLANK_LINE.search(data)
            if blank is None:
                if not data.startswith(_HTTP[: len(data)]):
                    raise Broken("it does not begin like HTTP")
                if len(data) > LARGEST_HEAD:
                    raise Broken("its headers do not end")
                self._held = data
                return
            self._status, newer, self._headers = read_head(data[: blank.start()])
            data = data[blank.end() :]
            if self._status >= 200:
                break
            if self._status == 101:
                raise Broken("it changes the protocol")
        self._held = b""
        self._begin_body(newer=newer)
        self._read(data)

    def _begin_body(self, *, newer: bool) -> None:
        """How the body ends (RFC 9112, 6.3), and whether the connection may be used again."""
        headers = self._headers
        self._parts, self._size, self._left, self._between = [], 0, 0, False
        wishes = headers.get("connection", "").lower()
        self._persists = "close" not in wishes and (newer or "keep-alive" in wishes)
        self._until = self.heard + _idle_seconds(headers.get("keep-alive"))
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if self._bodiless or self._status in (204, 304):
            self._read = self._read_length
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Broken("it is sent in a way that was not asked for")
            self._persists = self._persists and newer and length is None
            self._read = self._read_chunks
        elif length is not None:
            self._left = _length(length)
            if self._left > self._wire.largest:
                raise TooLarge
            self._read = self._read_length
        else:
            self._persists = False
            self._read = self._read_until_end

    def _read_length(self, data: bytes) -> None:
        if len(data) > self._left:
            self._persists = False  # more than was announced
            data = data[: self._left]
        self._take(data)
        self._left -= len(data)
        if not self._left:
            self._finish()

    def _read_until_end(self, data: bytes) -> None:
        self._take(data)

    def _read_chunks(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
        at = 0
        while True:
            if self._left:
                piece = data[at : at + self._left]
                self._take(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    self._held = b""
                    return
                self._between = True
            end = data.find(b"\n", at)
            if end < 0:
                self._held = data[at:]
                if len(self._held) > LARGEST_HEAD:
                    raise Broken("a line of it does not end")
                return
            line, at = data[at:end], end + 1
            if self._between:
                if line not in (b"", b"\r"):
                    raise Broken("a part of it is longer than it says")
                self._between = False
                continue
            size = _SIZE.fullmatch(line)
            if size is None:
                raise Broken("a part of it does not say how long it is")
            self._left = int(size[1], 16)
            if not self._left:
                self._held = b""
                self._read = self._read_trailers
                self._read(data[at:])
                return

    def _read_trailers(self, data: bytes) -> None:
        data = self._held + data
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            line, at = data[at:end], end + 1
            if line in (b"", b"\r"):
                if at < len(data):
                    self._persists = False
                self._finish()
                return
        self._held = data[at:]
        self._left += at
        if self._left + len(self._held) > LARGEST_HEAD:
            raise Broken("its last headers do not end")

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._wire.largest:
            raise TooLarge
        self._parts.append(data)

    def _finish(self) -> None:
        assert self._waiter is not None and self._transport is not None
        self._keeps = self._persists and not self._transport.get_write_buffer_size()
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._waiter.set_result(Received(self._status, self._headers, body))


def read_head(head: bytes) -> tuple[int, bool, dict[str, str]]:
    """Status, whether it is HTTP/1.1, and headers. Of a name that comes twice the first value counts, or a list of both."""
    text = head.decode("latin-1")
    status = _STATUS.match(text)
    if status is None:
        raise Broken("it does not begin like HTTP")
    lines = _HEADER.findall(text)
    if len(lines) != text.count("\n"):
        raise Broken("a header of it has no name")
    headers = {name.lower(): value.strip() for name, value in reversed(lines)}
    if len(headers) != len(lines):
        for wanted in _WHOLE & headers.keys():
            headers[wanted] = ", ".join(value.strip() for name, value in lines if name.lower() == wanted)
    return int(status[2]), status[1] == "1", headers


def _length(written: str) -> int:
    said = {part.strip() for part in written.split(",")} if "," in written else {written}
    only = said.pop()
    if said or not only.isascii() or not only.isdigit() or len(only) > 18:
        raise Broken("it does not say how long it is")
    return int(only)


def _idle_seconds(said: str | None) -> float:
    """For how long a connection may rest: a second less than its server says, and never longer than `IDLE_SECONDS`."""
    found = re.search(r"timeout=(\d{1,6})\b", said, re.ASCII) if said is not None else None
    return min(IDLE_SECONDS, int(found[1]) - 1.0) if found is not None else IDLE_SECONDS


def unpacked(body: bytes, encodings: str, largest: int) -> bytes:
    """The body without its content encodings, of which `gzip` and `deflate` are asked for. Never more than `largest` bytes."""
    for encoding in reversed([part.strip() for part in encodings.split(",")]):
        match encoding:
            case "" | "identity":
                pass
            case "gzip" | "x-gzip":
                body = _inflated(body, 16 + zlib.MAX_WBITS, largest)
            case "deflate":
                # meant is zlib's format; some servers send its inside alone
                body = _inflated(body, zlib.MAX_WBITS if body[0] & 15 == 8 else -zlib.MAX_WBITS, largest)
            case _:
                raise Broken("it is packed in a way that was not asked for")
    return body


def _inflated(body: bytes, bits: int, largest: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while body:
        engine = zlib.decompressobj(bits)
        try:
            part = engine.decompress(body, largest - size + 1)
        except zlib.error:
            raise Broken("it is not packed as it says") from None
        size += len(part)
        if size > largest:
            raise TooLarge
        parts.append(part)
        if not engine.eof:
            raise Broken("it ends in the middle")
        body = engine.unused_data if engine.unused_data.startswith(b"\x1f\x8b") else b""  # gzip may be several in a row
    return b"".join(parts)
