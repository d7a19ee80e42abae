"""A server on loopback that says bytes, for what no well-behaved server would say."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class RawServer:
    """`reply` gives the bytes for a request; None says nothing and waits, b"" closes. `pieces` is how they are cut up."""

    reply: Callable[[bytes], bytes | None] = lambda _: OK
    pieces: Callable[[bytes], list[bytes]] = lambda data: [data]
    closes: bool = False  # after each reply, without saying so
    secure: ssl.SSLContext | None = None
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}/v1"

    def greeting(self) -> int:
        """Tasks of asyncio's own server that wait for a handshake, which it does for a while where the other side is gone."""
        return sum("_accept_connection" in repr(task.get_coro()) for task in asyncio.all_tasks())

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.secure, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            low = head.lower()
            if b"content-length: " in low:
                head += await reader.readexactly(int(low.split(b"content-length: ")[1].split(b"\r\n")[0]))
            self.heads.append(head)
            said = self.reply(head)
            if said is None:
                await reader.read()  # until the other side goes
                return
            if not said:
                return
            for piece in self.pieces(said):
                writer.write(piece)
                for _ in range(3 if piece != said else 0):
                    await asyncio.sleep(0)  # in which it is read
            if self.closes:
                return


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for something that another connection brings about."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS with a certificate that it signed itself, and the file of that certificate."""
    key, made = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", "/CN=test", "-addext", f"subjectAltName={','.join(names)}", "-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context, made


Use = Callable[[RawServer], Awaitable[None]]


def beside(server: RawServer, use: Use) -> RawServer:
    """The server after something was done beside it, within one event loop."""

    async def run() -> None:
        async with server:
            await use(server)

    asyncio.run(run())
    return server
