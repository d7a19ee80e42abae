"""Secrets: referred to as `env:NAME`, looked up when they are sent, and taken out of everything that comes back."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from fairmark.errors import CannotDo, Mistake

REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
HEADER_REFERENCE = re.compile(r"(?:[A-Za-z][A-Za-z0-9_-]*[ ]+)?env:([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_SHORTEST = 6  # shorter values occur in ordinary words, so taking them out would only spoil messages
_SHORTEST_IN_ANSWERS = 16  # a local endpoint's key may be a common word, and answers are data


class Secrets:
    """The environment as a place for secrets.

    Known secrets are the values that were looked up, and the values of variables that are named like a secret. The
    object never shows a value.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._used: dict[str, str] = {}
        self._named = {name: value.strip() for name, value in env.items() if _SECRET_NAME.search(name) and len(value.strip()) >= 8}
        self._checked: dict[str, str] = {}  # values as they stand in the environment, of those that may be sent
        self._in_messages: _Forms | None = None
        self._in_answers: _Forms | None = None

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._used))})"

    def has(self, name: str) -> bool:
        """Whether the variable is set to anything."""
        return bool(self._env.get(name, "").strip())

    def value(self, name: str) -> str:
        """The value of a variable, without blanks around it. `CannotDo` where there is none, or none that can be sent."""
        written = self._env.get(name, "")
        if written and self._checked.get(name) == written:
            return self._used[name]
        found = written.strip()
        if not found:
            raise CannotDo("NO_KEY", f"the variable {name} is not set", f"set {name} in your shell or in the study's .env file")
        if any(ord(char) < 32 or ord(char) == 127 for char in found):
            raise CannotDo("BAD_KEY", f"the value of {name} holds a line break or control character", f"set {name} again, on one line")
        if self._used.get(name) != found:
            self._used[name] = found
            self._in_messages = self._in_answers = None
        self._checked[name] = written
        return found

    def header(self, written: str) -> str:
        """A header's value with its reference (`env:NAME`, `Bearer env:NAME`) looked up."""
        match = HEADER_REFERENCE.fullmatch(written.strip())
        return written if match is None else REFERENCE.sub(lambda m: self.value(m[1]), written.strip())

    def redact(self, text: str) -> str:
        """A message without any known secret, whether as it is, or as a URL, JSON, HTML or base64 would write it."""
        if self._in_messages is None:
            self._in_messages = self._all_forms({**self._named, **self._used}, _SHORTEST)
        return self._in_messages.covered(text)

    def redact_answer(self, text: str) -> str:
        """A model's text without the secrets that were sent to its endpoint."""
        if self._in_answers is None:
            self._in_answers = self._all_forms(self._used, _SHORTEST_IN_ANSWERS)
        return self._in_answers.covered(text)

    def _all_forms(self, values: Mapping[str, str], shortest: int) -> _Forms:
        return _Forms({form: name for name, value in values.items() if len(value) >= shortest for form in _forms(value)})


class _Forms:
    """Every way in which some secrets may be written, and the variable that each belongs to."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._longest_first = sorted(names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._longest_first)) or r"(?!)")

    def covered(self, text: str) -> str:
        # looking for each form by itself takes a tenth of the time of the pattern, and hardly ever is there one
        if not any(form in text for form in self._longest_first):
            return text
        return self._pattern.sub(lambda match: f"(the value of {self._names[match[0]]})", text)


def reference(written: str) -> str:
    """The name in `env:NAME`. `Mistake` for anything else, which is never repeated because it may be the key itself."""
    match = REFERENCE.fullmatch(written)
    if match is None:
        raise Mistake.in_call(
            "`api_key` is not a reference to the environment",
            allowed="env:NAME, such as env:OPENAI_API_KEY",
            remedy="set the variable and write its name: secrets are never stored",
        )
    return match[1]


def referred(texts: Iterable[str]) -> tuple[str, ...]:
    """The names of the variables that headers or other whole texts refer to, in order."""
    return tuple(dict.fromkeys(match[1] for text in texts if (match := HEADER_REFERENCE.fullmatch(text.strip()))))


def _forms(value: str) -> Iterator[str]:
    """Every way in which the value may be written in a reply."""
    yield value
    for written in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield written
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), written)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield json.dumps(value)[1:-1].replace("/", "\\/")
    yield html.escape(value)
    data = value.encode("utf-8", "surrogatepass")
    if len(data) < 8:
        return
    for before in range(3):  # base64 of a longer text holds the value in one of three alignments
        whole = base64.b64encode(bytes(before) + data).decode("ascii")
        part = whole[(0, 2, 3)[before] : 8 * (before + len(data)) // 6]
        yield part
        yield part.translate(str.maketrans("+/", "-_"))
