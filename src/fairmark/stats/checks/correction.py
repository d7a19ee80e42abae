"""Kinds that correct a grader's marks by people's."""

from __future__ import annotations

from fairmark.stats.checks.reading import Answer

CHECKS: dict[str, Answer] = {}
