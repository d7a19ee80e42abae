"""What comes in from outside, made fit to be stored.

Half a surrogate pair cannot be written as UTF-8 and a NUL ends a text in some readers of SQLite, so each becomes the
escape that JSON would write for it (`\\ud83d`, `\\u0000`). A text that holds such an escape as letters reads the same,
which is the one way in which this cannot be undone.
"""

from __future__ import annotations

import json
import re

import orjson

from fairmark.records import Json

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Unreadable(ValueError):
    """Why a body is no JSON."""


def visible(text: str) -> str:
    """The text with lone surrogates and NULs as visible escapes."""
    if "\0" not in text:
        if text.isascii():
            return text
        try:
            text.encode()  # a tenth of the time of looking for what cannot be encoded
        except UnicodeEncodeError:
            pass
        else:
            return text
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def decoded(data: bytes) -> str:
    """Bytes as text: UTF-8 without its mark, each byte that is none as a visible escape (`\\xff`)."""
    return visible(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "backslashreplace"))


def read_json(body: bytes) -> Json:
    """The JSON value of a body. `Unreadable` says why there is none; NaN and infinity are none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # lone surrogates are valid JSON, and only the slower reader takes them
    try:
        return json.loads(body, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise Unreadable("the reply is not UTF-8") from None
    except RecursionError:
        raise Unreadable("the reply nests too deep") from None
    except ValueError as error:
        start = body.lstrip()[:1]
        if not start:
            raise Unreadable("the reply is empty") from None
        if start == b"<":
            raise Unreadable("the reply is a web page, not JSON") from None
        raise Unreadable(f"the reply is not JSON, or was cut off: {error}") from None


def write_json(value: Json) -> bytes:
    """The value as JSON. It is part of a key, so it holds neither NaN nor infinity."""
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates and integers over 64 bits, which plain JSON can write
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def json_text(value: Json) -> str:
    """The value as one line of JSON that people can read. `Unreadable` where it nests too deep."""
    try:
        return visible(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        raise Unreadable("the reply nests too deep") from None


def count(value: Json) -> int | None:
    """A number of tokens, or None for anything that cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def clip(text: str, length: int) -> str:
    """The text on one line, without control characters that could steer a terminal, cut to a length."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 20 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")
