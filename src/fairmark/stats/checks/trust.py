"""Kinds about how far a grader may be trusted: the alt-test, and whether it treats groups alike."""

from __future__ import annotations

from fairmark.stats.checks.reading import Answer

CHECKS: dict[str, Answer] = {}
