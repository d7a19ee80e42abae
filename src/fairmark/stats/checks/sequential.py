"""Kinds about stopping early: e-processes, and many claims by e-values."""

from __future__ import annotations

from fairmark.stats.checks.reading import Answer

CHECKS: dict[str, Answer] = {}
