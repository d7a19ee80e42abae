"""The one HTTP client: sends once and says what came back, or which kind of failure it was.

Nothing the network does raises. Redirects are not followed, cookies are not kept, bodies are capped, and messages carry
no secret.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from fairmark import __version__
from fairmark.providers.ingress import Unreadable, clip, decoded, read_json
from fairmark.providers.secrets import Secrets
from fairmark.records import Failure, FailureKind, Json

if TYPE_CHECKING:
    from aiohttp import ClientSession

LARGEST_BODY = 20 * 2**20  # bytes, after decompression
LONGEST_WAIT = 300.0  # seconds; what an endpoint may ask us to wait at most
CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 900.0  # between two bytes; `calls` sets the deadline of the whole
WHY_LENGTH = 300
_ERROR_BODY = 16_384  # bytes of an error's body that are read for its message
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with a status of success."""

    body: bytes
    seconds: float  # from sending to the last byte


class Transport:
    """Requests to one host over one session, which is opened in the running loop when it is first needed."""

    def __init__(self, host: str, secrets: Secrets, *, proxy: str | None = None) -> None:
        self.host = host
        self._secrets = secrets
        self._proxy = proxy
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> Reply | Failure:
        """Sends once. The address is sent as it is written, so it must be quoted already."""
        import aiohttp
        from yarl import URL

        begun = time.perf_counter()
        try:
            session = self._opened()
            target = URL(url, encoded=True)
            options = {"data": body, "headers": dict(headers), "allow_redirects": False, "proxy": self._proxy}
            async with session.request(method, target, **options) as response:  # type: ignore[arg-type]
                data = bytearray()
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > LARGEST_BODY:
                        return self._failure("broken_reply", f"the reply is larger than {LARGEST_BODY // 2**20} MB")
                status, said = response.status, {name.lower(): value for name, value in response.headers.items()}
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, aiohttp.http.HttpProcessingError) as error:
            if isinstance(error, aiohttp.ClientHttpProxyError):
                return self._failure("connection", f"the proxy answered with status {error.status}")
            return self._failure("broken_reply", f"the reply broke off or is not HTTP ({type(error).__name__})")
        except TimeoutError:
            return self._failure("timeout", "no answer in time")
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            return self._failure("bad_request", "this is not an address that can be asked")
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            return self._failure("connection", f"no secure connection ({_reason(error)})")
        except (aiohttp.ClientConnectorError, ConnectionError) as error:
            return self._failure("connection", f"no connection ({_reason(error)})")
        except (aiohttp.ClientError, OSError) as error:
            return self._failure("connection", f"the connection was lost ({_reason(error)})")
        if 200 <= status < 300:
            return Reply(bytes(data), time.perf_counter() - begun)
        return refusal(status, said, bytes(data), host=self.host, secrets=self._secrets, now=time.time())

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()

    def _opened(self) -> ClientSession:
        import aiohttp

        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # how many are in flight is for `calls` to say
                cookie_jar=aiohttp.DummyCookieJar(),  # no case may see what another one left behind
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
                headers={"User-Agent": f"fairmark/{__version__}"},
            )
        return self._session

    def _failure(self, kind: FailureKind, why: str) -> Failure:
        return Failure(kind, self.host, clip(self._secrets.redact(why), WHY_LENGTH))


def refusal(status: int, headers: Mapping[str, str], body: bytes, *, host: str, secrets: Secrets, now: float) -> Failure:
    """The failure that a reply other than success is. `headers` have names in small letters; `now` is seconds since 1970."""
    # secrets go before the message is cut, so that none is cut in half and stays
    said = clip(secrets.redact(_message(body)), WHY_LENGTH)
    low = said.lower()
    if 300 <= status < 400:
        return Failure("bad_request", host, f"status {status}: it redirects elsewhere, and redirects are not followed; check the address")
    wait: float | None = None
    kind: FailureKind = "bad_request"
    if status in (401, 402, 403, 407) or any(sign in low for sign in _NO_CREDIT):
        kind = "auth"
    elif status == 429:
        kind, wait = "rate_limited", retry_after(headers, now=now)
    elif status == 408:
        kind = "timeout"
    elif status in (409, 425) or status >= 500:
        kind, wait = "server_error", retry_after(headers, now=now)
    return Failure(kind, host, f"status {status}: {said}" if said else f"status {status}", wait)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds from `Retry-After` (a number or a date) or `retry-after-ms`, held between 0 and `LONGEST_WAIT`; None if unsaid."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        written = headers.get(name, "").strip()
        if not written:
            continue
        try:
            seconds = float(written) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(written).timestamp() - now
            except (ValueError, TypeError, OverflowError):
                continue
        if seconds == seconds:
            return min(max(seconds, 0.0), LONGEST_WAIT)
    return None


def _message(body: bytes) -> str:
    """What an error's body says: the message of the usual shapes, else its beginning."""
    try:
        value: Json = read_json(body)
    except Unreadable:
        text = decoded(body[:_ERROR_BODY])
        return "a web page came back" if text.lstrip().startswith("<") else text
    for _ in range(3):
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            codes = [str(value[key]) for key in ("code", "type") if isinstance(value.get(key), str)]
            inner = next((value[key] for key in ("error", "message", "detail", "errors", "msg") if value.get(key)), None)
            if isinstance(inner, str):
                return f"{inner} ({', '.join(codes)})" if codes else inner
            if inner is None:
                break
            value = inner
    return decoded(body[:_ERROR_BODY]) if isinstance(value, (dict, list)) else str(value)


def _reason(error: BaseException) -> str:
    """The operating system's words, because a library's message may hold the address with what was filled in."""
    inner = getattr(error, "os_error", None) or error
    said = getattr(inner, "strerror", None)
    return str(said) if isinstance(said, str) and said else type(error).__name__
