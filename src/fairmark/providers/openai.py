"""Any endpoint that speaks OpenAI's chat completions.

Source of the shapes: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from fairmark.providers.addresses import beneath, host_of, proxy_for
from fairmark.providers.hosted import base_url, key_name
from fairmark.providers.ingress import Unreadable, count, read_json, visible, write_json
from fairmark.providers.prices import price
from fairmark.providers.secrets import Secrets
from fairmark.providers.transport import Reply, Transport
from fairmark.records import Answer, Failure, Json, Question, Usage
from fairmark.study import ModelSpec

FINISH: Mapping[str, Literal["stop", "length", "refused", "tool"]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "refused",
    "tool_calls": "tool",
    "function_call": "tool",
}


class OpenAiModel:
    """A model behind a chat completions endpoint."""

    def __init__(self, spec: ModelSpec, *, env: Mapping[str, str]) -> None:
        base = base_url(spec, env) or ""
        what = f"the base_url of {spec.name}"
        self.name = spec.name
        self.host = host_of(base, what)
        self._url = beneath(base, "/chat/completions", what)
        self._spec = spec
        self._env = env
        self._secrets = Secrets(env)
        self._key_name = key_name(spec, env)
        self._transport = Transport(self.host, self._secrets, proxy=proxy_for(base, env))
        self._learnt: set[str] = set()

    def __repr__(self) -> str:
        return f"OpenAiModel({self.name!r} at {self.host})"

    async def ask(self, question: Question) -> Answer | Failure:
        """One try. An endpoint that refuses a parameter it does not know is asked again at once without it."""
        body = self._body(question)
        reply = await self._send(body)
        for _ in ADAPTATIONS:
            if not isinstance(reply, Failure) or reply.kind != "bad_request":
                break
            self._learnt |= {word for word in ADAPTATIONS if word in reply.why}
            adapted = self._body(question)
            if adapted == body:
                break
            body = adapted
            reply = await self._send(body)
        return reply if isinstance(reply, Failure) else self._read(reply)

    async def close(self) -> None:
        await self._transport.close()

    async def _send(self, body: Mapping[str, Json]) -> Reply | Failure:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key_name is not None:
            headers["Authorization"] = f"Bearer {self._secrets.value(self._key_name)}"
        return await self._transport.send("POST", self._url, headers=headers, body=write_json(body))

    def _body(self, question: Question) -> dict[str, Json]:
        options = dict(question.options)
        if isinstance(options.get("seed"), int):
            options["seed"] += question.trial - 1  # repeats with one seed would be copies of one answer
        turns = [{"role": "user" if m.role == "tool" else m.role, "content": m.content} for m in question.messages]
        body: dict[str, Json] = {"model": self._spec.model, "messages": turns, **options}
        if question.schema is not None:
            named = {"name": "reply", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if question.logprobs:
            body["logprobs"] = True
        for word, adapt in ADAPTATIONS.items():
            if word in self._learnt:
                body = adapt(body)
        return body

    def _read(self, reply: Reply) -> Answer | Failure:
        try:
            value = read_json(reply.body)
        except Unreadable as error:
            return Failure("broken_reply", self.host, str(error))
        if not isinstance(value, dict) or not isinstance(value.get("choices"), list):
            return Failure("broken_reply", self.host, "the reply has no list of choices")
        if not value["choices"]:
            return Failure("empty_reply", self.host, "the reply has no choices")
        choice = value["choices"][0]
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            return Failure("broken_reply", self.host, "the first choice has no message")
        reason = choice.get("finish_reason")
        finish: Literal["stop", "length", "refused", "tool", "unknown"]
        finish = FINISH.get(reason, "unknown") if isinstance(reason, str) else "unknown"
        text = _text(message.get("content"))
        if text is None:
            return Failure("broken_reply", self.host, "the content of the message is not text")
        if isinstance(message.get("refusal"), str) and message["refusal"].strip():
            text, finish = text or message["refusal"], "refused"
        if not text.strip():
            why = "the message holds no text"
            if finish == "length":
                why += ": all tokens were used up before it began; raise max_tokens"
            elif finish != "stop":
                why += f" (finish reason: {finish})"
            return Failure("empty_reply", self.host, why)
        usage = _usage(value.get("usage"))
        return Answer(
            text=self._secrets.redact_answer(visible(text)),
            finish=finish,
            model=visible(str(value.get("model") or "")),
            usage=usage,
            cost_usd=price(self._spec, usage, env=self._env),
            seconds=reply.seconds,
            logprobs=_logprobs(choice.get("logprobs")),
        )


def connect(spec: ModelSpec, *, env: Mapping[str, str], folder: Path, notify: Callable[[str], None] | None = None) -> OpenAiModel:
    """The model a spec names. `CannotDo` (NO_KEY) where its endpoint needs a key and none is set."""
    return OpenAiModel(spec, env=env)


# ------------------------------------------------------------------ parameters that some endpoints refuse


def _without_logprobs(body: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in body.items() if key != "logprobs"}


def _completion_tokens(body: dict[str, Json]) -> dict[str, Json]:
    return {"max_completion_tokens" if key == "max_tokens" else key: value for key, value in body.items()}


def _without_format(body: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in body.items() if key != "response_format"}


def _without_lengths(body: dict[str, Json]) -> dict[str, Json]:
    def bare(value: Json) -> Json:
        if isinstance(value, Mapping):
            # a property may be called maxLength, and then it holds a schema rather than a number
            return {k: bare(part) for k, part in value.items() if k not in ("maxLength", "minLength") or not isinstance(part, int)}
        return [bare(part) for part in value] if isinstance(value, (list, tuple)) else value

    return {key: bare(value) if key == "response_format" else value for key, value in body.items()}


# words in a refusal, and the request as it is from then on; none of them changes what is asked for
ADAPTATIONS: Mapping[str, Callable[[dict[str, Json]], dict[str, Json]]] = {
    "logprobs": _without_logprobs,
    "max_completion_tokens": _completion_tokens,
    "maxLength": _without_lengths,
    "response_format": _without_format,
}


# ------------------------------------------------------------------ parts of a reply


def _text(content: Json) -> str | None:
    """Text of a message: a text, a list of parts with text, or nothing. None for anything else."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "".join(parts) if len(parts) == len(content) else None
    return content if isinstance(content, str) else None


def _usage(value: Json) -> Usage | None:
    if not isinstance(value, dict):
        return None
    prompt, details = count(value.get("prompt_tokens")), value.get("prompt_tokens_details")
    cached = count(details.get("cached_tokens")) if isinstance(details, dict) else None
    if prompt is not None and cached is not None:
        cached = min(cached, prompt)
        prompt -= cached
    return Usage(prompt, cached, count(value.get("completion_tokens")))


def _logprobs(value: Json) -> tuple[tuple[str, float], ...] | None:
    rows = value.get("content") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not rows:
        return None
    found = []
    for row in rows:
        token, logprob = (row.get("token"), row.get("logprob")) if isinstance(row, dict) else (None, None)
        if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, (int, float)) or not math.isfinite(logprob):
            return None
        found.append((visible(token), float(logprob)))
    return tuple(found)
