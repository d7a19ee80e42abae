"""Kinds about groups of people, and about kinds of failure."""

from __future__ import annotations

from fairmark.stats.checks.reading import Answer, Json, Unsuitable, as_list, as_share
from fairmark.stats.groups import group_gap

GROUP_GAP = 0.10  # the margin and level of the kind `group_gap`
GROUP_ALPHA = 0.05


def _group_gap(given: Json) -> Json:
    counts = [as_share(one) for one in as_list(given, "the input")]
    if len(counts) < 2:
        raise Unsuitable("a gap needs at least two groups")
    found = group_gap(counts, within=GROUP_GAP, alpha=GROUP_ALPHA)
    return {
        "upper": {f"{i}-{j}": bound for (i, j), bound in found.upper.items()},
        "supported": found.verdict == "supported",
        "verdict": found.verdict,
    }


CHECKS: dict[str, Answer] = {
    "group_gap": _group_gap,
}
