"""Addresses of endpoints: their host as shown to people, and whether they are on this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlsplit

from fairmark.errors import Mistake

THIS_MACHINE = "this machine"


def split(url: str, what: str) -> SplitResult:
    """The parts of an address. `Mistake` for what cannot be asked, or holds a user name or password."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or any(char.isspace() or ord(char) < 32 for char in url):
        raise Mistake.in_call(f"{what} is not an address that can be asked", allowed="http://host/path or https://host/path")
    if parts.username is not None or parts.password is not None:
        raise Mistake.in_call(
            f"{what} holds a user name or a password",
            allowed="an address without them",
            remedy="give the secret as a reference, env:NAME",
        )
    return parts


def host_of(url: str, what: str) -> str:
    """The host, with its port where that is not the usual one."""
    parts = split(url, what)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def origin(url: str, what: str) -> str:
    """Scheme and host of an address in ASCII."""
    parts = split(url, what)
    try:
        return f"{parts.scheme}://{parts.netloc if parts.netloc.isascii() else parts.netloc.encode('idna').decode('ascii')}"
    except UnicodeError:
        raise Mistake.in_call(f"{what} names a host that cannot exist", allowed="http://host/path or https://host/path") from None


def quoted(rest: str) -> str:
    """Path and query with whatever may not stand in an address percent-encoded, and nothing encoded twice."""
    return quote(rest, safe="%/:?#[]@!$&'()*+,;=~-._")


def beneath(base: str, path: str, what: str) -> str:
    """The address of a path beneath a base, once, with the base's query kept."""
    parts = split(base, what)
    stem = parts.path.rstrip("/")
    full = stem if stem.endswith(path) else stem + path
    return origin(base, what) + quoted(f"{full}?{parts.query}" if parts.query else full)


def loopback(url: str) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str, env: Mapping[str, str]) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for an address; never one for this machine."""
    if loopback(url):
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # slow to import, rarely needed

    parts = urlsplit(url)

    def setting(name: str) -> str:
        return env.get(name) or env.get(name.upper()) or ""

    chosen = setting(f"{parts.scheme}_proxy") or setting("all_proxy")
    if not chosen or proxy_bypass_environment(parts.netloc, {"no": setting("no_proxy")}):
        return None
    return chosen if "://" in chosen else f"http://{chosen}"
