"""Groups side by side: is any of them far behind another?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fairmark.results import VerdictWord
from fairmark.stats.proportions import newcombe_difference


class GroupGap(NamedTuple):
    """Whether no group is more than a margin behind another."""

    upper: Mapping[tuple[int, int], float]  # (i, j): upper one-sided bound of the pass rate of group i minus that of j
    verdict: VerdictWord
    furthest: tuple[int, int] | None  # the pair with the largest such bound; None for fewer than two groups


def group_gap(counts: Sequence[tuple[float, float]], *, within: float, alpha: float = 0.025) -> GroupGap:
    """The intersection-union test that every pass rate is less than `within` ahead of every other (Berger 1982).

    `counts` holds (passes, cases) of independent groups. Supported where all one-sided upper Newcombe bounds at alpha
    are below the margin, which needs no correction for their number; refuted where some lower bound at
    alpha / (G (G - 1)) is above it; else undecided, `furthest` then names the pair that stands in the way.
    """
    pairs = [(i, j) for i in range(len(counts)) for j in range(len(counts)) if i != j]
    if not pairs:
        return GroupGap({}, "undecided", None)
    upper = {(i, j): newcombe_difference(*counts[i], *counts[j], confidence_level=1 - 2 * alpha).high for i, j in pairs}
    strict = 1 - 2 * alpha / len(pairs)
    verdict: VerdictWord = "undecided"
    if all(bound < within for bound in upper.values()):
        verdict = "supported"
    elif any(newcombe_difference(*counts[i], *counts[j], confidence_level=strict).low > within for i, j in pairs):
        verdict = "refuted"
    return GroupGap(upper, verdict, max(pairs, key=lambda pair: upper[pair]))
