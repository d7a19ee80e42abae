"""Records for the tests of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fairmark.records import Answer, Grade, Response


def response(key: str = "k" * 64, **changes: Any) -> Response:
    return replace(Response(key, "c1", "bare", 1, "1", Answer("Certainly, Ms Example."), None, 7), **changes)


def grade(key: str = "g" * 64, **changes: Any) -> Grade:
    return replace(Grade(key, "c1", "tone", "judge", label="kind", reason="It is warm.", at=8), **changes)
