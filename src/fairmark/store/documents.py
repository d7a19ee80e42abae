"""Records as JSON text and back. The text is ASCII, so no character a model can say ever breaks a row."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from fairmark.records import Answer, Failure, Grade, Response, Span, Usage


def write(record: Response | Grade) -> str:
    """The record as one JSON text. `ValueError` for NaN and infinity, which no record may hold."""
    return json.dumps(_plain(record), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def read_response(text: str) -> Response:
    """The response that `write` wrote."""
    found = json.loads(text)
    return Response(**found | {"answer": _answer(found["answer"]), "failure": _failure(found["failure"])})


def read_grade(text: str) -> Grade:
    """The grade that `write` wrote."""
    found = json.loads(text)
    return Grade(
        **found
        | {
            "answer": _answer(found["answer"]),
            "failure": _failure(found["failure"]),
            "evidence": tuple(Span(**span) for span in found["evidence"]),
            "level_order": tuple(found["level_order"]),
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (Response, Grade, Answer, Failure, Usage, Span)):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _failure(found: dict[str, Any] | None) -> Failure | None:
    return None if found is None else Failure(**found)


def _answer(found: dict[str, Any] | None) -> Answer | None:
    if found is None:
        return None
    logprobs = found["logprobs"]
    return Answer(
        **found
        | {
            "usage": None if found["usage"] is None else Usage(**found["usage"]),
            "logprobs": None if logprobs is None else tuple((token, value) for token, value in logprobs),
        }
    )
