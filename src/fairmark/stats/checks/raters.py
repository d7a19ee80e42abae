"""Kinds about many graders: designs, severity, hidden truth, rankings."""

from __future__ import annotations

from fairmark.stats.checks.reading import Answer

CHECKS: dict[str, Answer] = {}
