"""The one HTTP client: sends once and says what came back, or which kind of failure it was.

Nothing the network does raises. Redirects are not followed, cookies are not kept, bodies are capped, and messages carry
no secret.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from fairmark import __version__
from fairmark.providers.ingress import Unreadable, clip, decoded, read_json
from fairmark.providers.secrets import Secrets
from fairmark.providers.wire import Broken, Lost, Place, Proxy, ProxyRefused, TooLarge, Wire
from fairmark.records import Failure, FailureKind, Json

LARGEST_BODY = 20 * 2**20  # bytes, after decompression
LONGEST_WAIT = 300.0  # seconds; what an endpoint may ask us to wait at most
WHY_LENGTH = 300
_ERROR_BODY = 16_384  # bytes of an error's body that are read for its message
_NEAR = 10**7  # seconds from now in which a large number is a moment since 1970 rather than a wait
_PART = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(rf"(?:{_PART}h)?(?:{_PART}m(?!s))?(?:{_PART}s)?(?:{_PART}ms)?")
_LIMITS = (  # when a limit begins anew, and how much is left of it
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
    ("ratelimit-reset", "ratelimit-remaining"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
)
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with a status of success."""

    body: bytes
    seconds: float  # from sending to the last byte


_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<netloc>(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/?#@\[\]]+))(?::(?P<port>[0-9]{1,5}))?)"
    r"(?P<path>/[!-\"$->@-~]*)?(?P<query>\?[!-\"$-~]*)?(?:#.*)?",
    re.IGNORECASE | re.ASCII,
)
_PROXY = re.compile(r"(?P<scheme>https?)://(?:(?P<user>[^\s/?#@]*)@)?(?P<rest>[^\s/?#@]+)/?", re.IGNORECASE)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_USUAL = {"user-agent": f"User-Agent: fairmark/{__version__}", "accept": "Accept: */*", "accept-encoding": "Accept-Encoding: gzip, deflate"}
_OWN = {"content-length", "transfer-encoding", "proxy-authorization"}  # what the transport says itself
_BODIED = {"POST", "PUT", "PATCH"}


class Transport:
    """Requests to one host, over connections that are made in the running loop when they are first needed."""

    def __init__(self, host: str, secrets: Secrets, *, proxy: str | None = None) -> None:
        self.host = host
        self._secrets = secrets
        self._proxy = proxy
        self._wires: dict[Place, Wire] = {}
        self._begun: tuple[object, Place, bytes] | None = None  # the last request's beginning: most are all the same
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> Reply | Failure:
        """Sends once. The address is sent as it is written, so it must be quoted already."""
        begun = time.perf_counter()
        try:
            place, beginning = self._beginning(method, url, headers)
            wire = self._wire(place)
        except ValueError as why:
            return self._failure("bad_request", str(why))
        if body is not None:
            request = b"%bContent-Length: %d\r\n\r\n%b" % (beginning, len(body), body)
        else:
            request = beginning + (b"Content-Length: 0\r\n\r\n" if method in _BODIED else b"\r\n")
        try:
            came = await wire.ask(method, request)
        except TooLarge:
            return self._failure("broken_reply", f"the reply is larger than {LARGEST_BODY // 2**20} MB")
        except Broken as error:
            return self._failure("broken_reply", f"the reply broke off or is not HTTP: {error}")
        except ProxyRefused as error:
            return self._failure("connection", str(error))
        except TimeoutError:
            return self._failure("timeout", "no answer in time")
        except ssl.SSLError as error:
            return self._failure("connection", f"no secure connection ({_reason(error)})")
        except Lost as error:
            return self._failure("connection", f"the connection was lost ({_reason(error)})")
        except OSError as error:
            return self._failure("connection", f"no connection ({_reason(error)})")
        if 200 <= came.status < 300:
            return Reply(came.body, time.perf_counter() - begun)
        return refusal(came.status, came.headers, came.body, host=self.host, secrets=self._secrets, now=time.time())

    async def close(self) -> None:
        wires, self._wires = self._wires, {}
        if self._loop is asyncio.get_running_loop():
            for wire in wires.values():
                await wire.close()

    def _wire(self, place: Place) -> Wire:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._wires = loop, {}
        wire = self._wires.get(place)
        if wire is None:
            proxy = _proxy(self._proxy) if self._proxy is not None else None
            wire = self._wires[place] = Wire(place, proxy=proxy, largest=LARGEST_BODY)
        return wire

    def _beginning(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[Place, bytes]:
        """Where a request goes, and all its lines but the length of its body. `ValueError` says why it cannot be sent."""
        wanted = (method, url, tuple(headers.items()))
        if self._begun is not None and self._begun[0] == wanted:
            return self._begun[1:]
        address = _ADDRESS.fullmatch(url)
        if address is None:
            raise ValueError("this is not an address that can be asked")
        target = (address["path"] or "/") + (address["query"] or "")
        usual = dict(_USUAL)
        lines = [""]
        host = address["netloc"]
        for name, value in headers.items():
            if _NAME.fullmatch(name) is None or _UNSENDABLE.search(value) is not None:
                raise ValueError(f"the header {name} would hold what no header may")
            low = name.lower()
            if low == "host":
                host = value
            elif low not in _OWN:
                usual.pop(low, None)
                lines.append(f"{name}: {value}")
        if self._proxy is not None and address["scheme"].lower() == "http":
            target = f"http://{address['netloc']}{target}"
            said = _proxy(self._proxy).authorization
            if said is not None:
                lines.append(f"Proxy-Authorization: {said.decode('ascii')}")
        lines[0] = f"{method} {target} HTTP/1.1\r\nHost: {host}"
        self._begun = (wanted, _place(address), "\r\n".join([*lines, *usual.values(), ""]).encode("utf-8", "surrogateescape"))
        return self._begun[1:]

    def _failure(self, kind: FailureKind, why: str) -> Failure:
        return Failure(kind, self.host, clip(self._secrets.redact(why), WHY_LENGTH))


def _place(address: re.Match[str]) -> Place:
    secure = address["scheme"].lower() == "https"
    port = int(address["port"]) if address["port"] else 443 if secure else 80
    return Place(address["six"] or address["host"], port, secure)


def _proxy(written: str) -> Proxy:
    """The proxy that a variable names. `ValueError` for one that cannot be used; it is not repeated, for it may hold a password."""
    parts = _PROXY.fullmatch(written)
    address = _ADDRESS.fullmatch(f"{parts['scheme']}://{parts['rest']}") if parts is not None else None
    if parts is None or address is None:
        raise ValueError("the proxy that the environment names is not of the form http://host:port")
    if parts["user"] is None:
        return Proxy(_place(address))
    user, _, password = parts["user"].partition(":")
    return Proxy(_place(address), b"Basic " + b64encode(f"{unquote(user)}:{unquote(password)}".encode()))


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
    """Seconds that an endpoint asks us to wait, held between 0 and `LONGEST_WAIT`; None if unsaid.

    Read are `retry-after-ms`, `Retry-After` (a number or a date), and else when a limit that is used up begins anew:
    `x-ratelimit-reset-requests: 6m0s`, `anthropic-ratelimit-tokens-reset: 2026-11-03T10:00:00Z`, `ratelimit-reset: 30`.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit, now)
        if seconds is not None:
            return min(max(seconds, 0.0), LONGEST_WAIT)
    resets = []
    for reset, remaining in _LIMITS:
        left = headers.get(remaining, "").strip()
        if left and left.strip("0."):
            continue  # there is some left of this one
        seconds = _seconds(headers.get(reset, ""), 1.0, now)
        if seconds is not None:
            resets.append(min(max(seconds, 0.0), LONGEST_WAIT))
    return max(resets, default=None)


def _seconds(written: str, unit: float, now: float) -> float | None:
    """Seconds from a number of `unit`s, a duration (`1m2.5s`, `120ms`), a moment since 1970 or a date; None for anything else."""
    written = written.strip()
    try:
        number = float(written) * unit
    except ValueError:
        pass
    else:
        if math.isnan(number):
            return None
        moments = (number, number / 1000)  # some write it in milliseconds
        return next((moment - now for moment in moments if abs(moment - now) < _NEAR), number)
    duration = _DURATION.fullmatch(written)
    if duration is not None and written:
        return sum(float(part) * size for part, size in zip(duration.groups(), (3600, 60, 1, 0.001), strict=True) if part)
    try:
        date = datetime.fromisoformat(written) if written[:4].isdigit() else parsedate_to_datetime(written)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, OverflowError):
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


def _reason(error: OSError) -> str:
    """The operating system's words, because a library's message may hold the address with what was filled in."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return str(getattr(error, "reason", None) or error.strerror)
    return os.strerror(error.errno) if error.errno else "the other side closed it"
