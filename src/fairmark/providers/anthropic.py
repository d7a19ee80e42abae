"""Models behind Anthropic's messages API.

Source of the shapes: Anthropic API reference, "Messages", version 2023-06-01. The API offers neither a seed nor token
log-probabilities, so a seed is not sent and log-probabilities do not come back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from fairmark.providers.addresses import beneath, host_of, proxy_for
from fairmark.providers.hosted import base_url, key_name
from fairmark.providers.ingress import Unreadable, count, json_text, read_json, visible, write_json
from fairmark.providers.prices import price
from fairmark.providers.secrets import Secrets
from fairmark.providers.transport import Reply, Transport
from fairmark.records import Answer, Failure, Json, Question, Usage
from fairmark.study import ModelSpec

VERSION = "2023-06-01"
MAX_TOKENS = 1024  # the API insists on a limit
FINISH: Mapping[str, Literal["stop", "length", "refused", "tool"]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
    "tool_use": "tool",
}
TOOL = "reply"


class AnthropicModel:
    """A model behind the messages API."""

    def __init__(self, spec: ModelSpec, *, env: Mapping[str, str]) -> None:
        base = base_url(spec, env) or ""
        what = f"the base_url of {spec.name}"
        self.name = spec.name
        self.host = host_of(base, what)
        self._url = beneath(base.rstrip("/").removesuffix("/v1"), "/v1/messages", what)
        self._spec = spec
        self._env = env
        self._secrets = Secrets(env)
        self._key_name = key_name(spec, env)
        self._transport = Transport(self.host, self._secrets, proxy=proxy_for(base, env))

    def __repr__(self) -> str:
        return f"AnthropicModel({self.name!r} at {self.host})"

    async def ask(self, question: Question) -> Answer | Failure:
        """One try."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "anthropic-version": VERSION}
        if self._key_name is not None:
            headers["x-api-key"] = self._secrets.value(self._key_name)
        reply = await self._transport.send("POST", self._url, headers=headers, body=write_json(self._body(question)))
        return reply if isinstance(reply, Failure) else self._read(reply, wants_schema=question.schema is not None)

    async def close(self) -> None:
        await self._transport.close()

    def _body(self, question: Question) -> dict[str, Json]:
        options = {key: value for key, value in question.options.items() if key not in ("seed", "stop")}
        stop = question.options.get("stop")
        if stop is not None:
            options["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
        turns = [
            {"role": "assistant" if m.role == "assistant" else "user", "content": m.content}
            for m in question.messages
            if m.role != "system"
        ]
        body: dict[str, Json] = {"model": self._spec.model, "max_tokens": MAX_TOKENS, **options, "messages": turns}
        system = "\n\n".join(message.content for message in question.messages if message.role == "system")
        if system:
            body["system"] = system
        if question.schema is not None:
            body["tools"] = [{"name": TOOL, "description": "Give the reply.", "input_schema": question.schema}]
            body["tool_choice"] = {"type": "tool", "name": TOOL}
        return body

    def _read(self, reply: Reply, *, wants_schema: bool) -> Answer | Failure:
        try:
            value = read_json(reply.body)
            if not isinstance(value, dict) or not isinstance(value.get("content"), list):
                return Failure("broken_reply", self.host, "the reply has no list of content")
            text = _text(value["content"], wants_schema=wants_schema)
        except Unreadable as why:
            return Failure("broken_reply", self.host, str(why))
        reason = value.get("stop_reason")
        finish: Literal["stop", "length", "refused", "tool", "unknown"]
        finish = FINISH.get(reason, "unknown") if isinstance(reason, str) else "unknown"
        if finish == "tool" and wants_schema:
            finish = "stop"  # the tool is how the schema is asked for, and the model has finished
        if text is None:
            return Failure("broken_reply", self.host, "a part of the content is not what it says")
        if not text.strip():
            said = f" (stop reason: {finish})" if finish != "stop" else ""
            return Failure("empty_reply", self.host, f"the reply holds no text{said}")
        usage = _usage(value.get("usage"))
        return Answer(
            text=self._secrets.redact_answer(visible(text)),
            finish=finish,
            model=visible(str(value.get("model") or "")),
            usage=usage,
            cost_usd=price(self._spec, usage, env=self._env),
            seconds=reply.seconds,
        )


def connect(spec: ModelSpec, *, env: Mapping[str, str], folder: Path, notify: Callable[[str], None] | None = None) -> AnthropicModel:
    """The model a spec names. `CannotDo` (NO_KEY) where its endpoint needs a key and none is set."""
    return AnthropicModel(spec, env=env)


def _text(content: list[Json], *, wants_schema: bool) -> str | None:
    """The blocks of text together, or with a schema the input of the tool as JSON. None for a block that is malformed."""
    texts: list[str] = []
    for block in content:
        if not isinstance(block, dict):
            return None
        if wants_schema and block.get("type") == "tool_use":
            return json_text(block["input"]) if isinstance(block.get("input"), dict) else None
        if block.get("type") == "text":
            if not isinstance(block.get("text"), str):
                return None
            texts.append(block["text"])
    return "".join(texts)


def _usage(value: Json) -> Usage | None:
    if not isinstance(value, dict):
        return None
    fresh, written = count(value.get("input_tokens")), count(value.get("cache_creation_input_tokens"))
    return Usage(
        fresh + (written or 0) if fresh is not None else None,
        count(value.get("cache_read_input_tokens")),
        count(value.get("output_tokens")),
    )
