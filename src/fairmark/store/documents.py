"""Records as JSON text and back. The text is UTF-8 that any file holds: half characters and NUL are spelt out in it."""

from __future__ import annotations

import json
from dataclasses import fields
from math import isfinite
from sys import intern
from typing import Any

import orjson

from fairmark.records import Answer, Failure, Grade, Response, Span, Usage

_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in (Response, Grade, Answer, Failure, Usage, Span)}


def write(record: Response | Grade) -> bytes:
    """The record as one JSON text. `ValueError` for NaN and infinity, which no record may hold."""
    _no_nan(record)  # which orjson would write as null
    try:
        return orjson.dumps(record)
    except orjson.JSONEncodeError:  # half characters, numbers over 64 bits, or what is no record
        return _encode(record).encode("ascii")


def read_response(text: str) -> Response:
    """The response that `write` wrote."""
    found = _read(text)
    found["answer"], found["failure"] = _answer(found["answer"]), _failure(found["failure"])
    _share(found, ("system", "wave"))
    return Response(**found)


def read_grade(text: str) -> Grade:
    """The grade that `write` wrote."""
    found = _read(text)
    found["answer"], found["failure"] = _answer(found["answer"]), _failure(found["failure"])
    found["evidence"] = tuple([Span(**span) for span in found["evidence"]])
    found["level_order"] = tuple(found["level_order"])
    _share(found, ("criterion", "grader", "rater", "label"))
    return Grade(**found)


def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any]
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:  # half characters
        found = json.loads(text)
    usage = found["answer"] and found["answer"]["usage"]
    if usage and any(isinstance(tokens, float) for tokens in usage.values()):  # a whole number over 64 bits
        found = json.loads(text)
    return found


def _share(found: dict[str, Any], names: tuple[str, ...]) -> None:
    """Has records share the few words that stand in many of them."""
    for name in names:
        if found[name]:
            found[name] = intern(found[name])


def _no_nan(record: Response | Grade) -> None:
    numbers: list[Any] = []
    if isinstance(record, Grade):
        numbers += (record.confidence, record.seconds)
    if record.failure is not None:
        numbers.append(record.failure.retry_after)
    if (answer := record.answer) is not None:
        numbers += (answer.cost_usd, answer.seconds)
        if isinstance(usage := answer.usage, Usage):
            numbers += (usage.input_tokens, usage.cached_tokens, usage.output_tokens)
        if answer.logprobs is not None:
            numbers += (value for _, value in answer.logprobs)
    for number in numbers:
        if isinstance(number, float) and not isfinite(number):
            raise ValueError(f"{number} is no JSON: no record may hold it")


def _plain(value: Any) -> dict[str, Any]:
    names = _FIELDS.get(type(value))
    if names is None:
        raise TypeError(f"{type(value).__name__} is not part of a record")
    return {name: getattr(value, name) for name in names}


_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_plain).encode


def _failure(found: dict[str, Any] | None) -> Failure | None:
    return None if found is None else Failure(**found)


def _answer(found: dict[str, Any] | None) -> Answer | None:
    if found is None:
        return None
    if found["usage"] is not None:
        found["usage"] = Usage(**found["usage"])
    if found["logprobs"] is not None:
        found["logprobs"] = tuple([(token, value) for token, value in found["logprobs"]])
    _share(found, ("finish", "model"))
    return Answer(**found)
