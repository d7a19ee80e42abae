"""Kinds about groups of people, and about kinds of failure."""

from __future__ import annotations

from fairmark.stats.checks.reading import Answer, Json, Unsuitable, as_count, as_list, as_share, each
from fairmark.stats.groups import group_gap
from fairmark.stats.unseen import abundance

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


def _chao1(given: Json) -> Json:
    counts = [as_count(one, "each count", 0, 1e12) for one in as_list(given, "each entry")]
    if not any(counts):
        raise Unsuitable("no kind was counted")
    found = abundance(counts)
    return {
        "n": found.n,
        "S_obs": found.kinds,
        "f1": found.once,
        "f2": found.twice,
        "chao1_bc": found.at_least,
        "good_turing_unseen_mass": found.unseen,
    }


CHECKS: dict[str, Answer] = {
    "chao1": each(_chao1),
    "group_gap": _group_gap,
}
