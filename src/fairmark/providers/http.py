"""An application behind an address, asked with a request of its own shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from fairmark.errors import CannotDo, Mistake
from fairmark.providers.addresses import host_of, origin, proxy_for, quoted
from fairmark.providers.ingress import Unreadable, decoded, json_text, read_json, visible, write_json
from fairmark.providers.secrets import REFERENCE, Secrets, referred
from fairmark.providers.templates import SLOT, Path, as_text, fill_json, fill_text, parse_path, slots, values_of
from fairmark.providers.transport import Reply, Transport
from fairmark.records import Answer, Failure, Json, Question
from fairmark.study import SystemSpec

_QUERY_REFERENCE = re.compile(r"(?<==)env:([A-Za-z_][A-Za-z0-9_]*)(?=&|#|$)", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Application:
    """A system that is asked over HTTP. Secrets are looked up when a request is sent and are never part of a question."""

    def __init__(self, spec: SystemSpec, *, env: Mapping[str, str]) -> None:
        what = f"the url of {spec.name}"
        self._template = spec.url or ""
        if SLOT.search(urlsplit(self._template).netloc):
            raise Mistake.in_call(
                f"{what} has a slot in its host, so a case could say where requests go",
                allowed="slots after the host",
                remedy="write the host out",
            )
        plain = SLOT.sub("x", self._template)
        self.name = spec.name
        self.host = host_of(plain, what)
        self._origin = origin(plain, what)
        self._rest = self._template[len("{0.scheme}://{0.netloc}".format(urlsplit(plain))) :]
        self._method = spec.method.upper()
        self._headers = dict(spec.headers)
        self._body = spec.body
        self._path = _path(spec)
        if not slots([self._rest, list(self._headers.values()), self._body]):
            raise Mistake.in_call(
                f"the request of {spec.name} has no slot, so every case would ask the same",
                allowed="slots in url, headers or body",
                remedy='give a body such as {"question": "{{input}}"}',
            )
        self._secrets = Secrets(env)
        for name in self.references():
            if not self._secrets.has(name):
                raise CannotDo(
                    "NO_KEY", f"{spec.name} sends {name}, and it is not set", f"set {name} in your shell or in the study's .env file"
                )
        self._transport = Transport(self.host, self._secrets, proxy=proxy_for(plain, env))

    def __repr__(self) -> str:
        return f"Application({self.name!r} at {self.host})"

    async def ask(self, question: Question) -> Answer | Failure:
        """One request."""
        values = values_of(question)
        headers = {}
        for name, written in self._headers.items():
            filled = fill_text(written, values) if SLOT.search(written) else self._secrets.header(written)
            if _CONTROL.search(filled):
                return Failure("bad_request", self.host, f"the header {name} would hold a line break or control character from the case")
            headers[name] = visible(filled)
        body = None
        if self._body is not None:
            body = write_json(fill_json(self._body, values, written=self._secret))
            if not any(name.lower() == "content-type" for name in headers):
                headers["Content-Type"] = "application/json"
        reply = await self._transport.send(self._method, self._address(values), headers=headers, body=body)
        return reply if isinstance(reply, Failure) else self._read(reply)

    async def close(self) -> None:
        await self._transport.close()

    def references(self) -> tuple[str, ...]:
        """The names of the variables that a request is filled from."""
        names = [*referred(self._headers.values()), *_QUERY_REFERENCE.findall(self._rest)]

        def note(written: str) -> str:
            names.extend(referred([written]) if REFERENCE.fullmatch(written) else ())
            return written

        fill_json(self._body, dict.fromkeys(slots(self._body), ""), written=note)
        return tuple(dict.fromkeys(names))

    def _secret(self, written: str) -> str:
        match = REFERENCE.fullmatch(written)
        return self._secrets.value(match[1]) if match else written

    def _address(self, values: Mapping[str, Json]) -> str:
        """The address in one pass: what the author wrote is quoted as an address, a value as one part of it."""
        parts, at = [], 0
        for match in SLOT.finditer(self._rest):
            parts.append(self._written(self._rest[at : match.start()]))
            value = quote(visible(as_text(values[match[1]])), safe="")
            parts.append(value.replace(".", "%2E") if value.strip(".") == "" else value)  # `..` must not climb
            at = match.end()
        return self._origin + "".join([*parts, self._written(self._rest[at:])])

    def _written(self, text: str) -> str:
        pieces = _QUERY_REFERENCE.split(text)  # texts and names of variables in turn
        return "".join(quote(self._secrets.value(piece), safe="") if n % 2 else quoted(piece) for n, piece in enumerate(pieces))

    def _read(self, reply: Reply) -> Answer | Failure:
        if self._path is None:
            text = decoded(reply.body)
        else:
            try:
                value = self._path.read(read_json(reply.body))
                text = "" if value is None else visible(value) if isinstance(value, str) else json_text(value)
            except (Unreadable, LookupError) as why:
                said = str(why.args[0]) if why.args else str(why)
                return Failure("broken_reply", self.host, self._secrets.redact(visible(said)))
        if not text.strip():
            return Failure("empty_reply", self.host, "the reply holds no text")
        return Answer(self._secrets.redact_answer(text), seconds=reply.seconds)


def _path(spec: SystemSpec) -> Path | None:
    if spec.answer is None:
        return None
    try:
        return parse_path(spec.answer)
    except ValueError as error:
        raise Mistake.in_call(f"the answer of {spec.name}: {error}", allowed="a path such as $.reply or $.choices[0].text") from None
