"""Tuning a grader without fooling oneself: answers to show it, answers to tune on, and answers to look at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS, clustered_mean
from fairmark.stats.intervals import FloatArray, IntArray

SHARES = (0.2, 0.4, 0.4)  # of train, dev and test
WARN_BEYOND = 2  # standard errors between dev and test
SHORTEST_TEXT = 20  # characters, without which a text is found in any prompt


class Split(NamedTuple):
    """Positions of marked answers, each in rising order. Answers of one cluster are never parted."""

    train: IntArray  # may be shown to the grader as examples
    dev: IntArray  # to tune its prompt on
    test: IntArray  # to look at once


def split_by_cluster(
    cluster: IntArray, *, rng: np.random.Generator, shares: tuple[float, float, float] = SHARES, strata: IntArray | None = None
) -> Split:
    """The answers that people marked, split at random into train, dev and test by whole clusters.

    `cluster` names each answer's cluster (give each case its own where there are none). Clusters are dealt in random order
    to the part that is furthest below its share of answers, so that parts come close to `shares` also with unequal
    clusters; with `strata`, such as the people's marks, one stratum (a cluster's commonest) after the other. `ValueError`
    for shares that are negative or do not sum to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares must be at least 0 and sum to 1, not {shares}")
    if strata is not None and np.shape(strata) != np.shape(cluster):
        raise ValueError("strata must have one entry an answer")
    labels, index = np.unique(cluster, return_inverse=True)
    sizes = np.bincount(index, minlength=len(labels))
    order = rng.permutation(len(labels))
    if strata is not None and len(labels):
        values, value = np.unique(strata, return_inverse=True)
        held = np.bincount(index * len(values) + value, minlength=len(labels) * len(values)).reshape(len(labels), len(values))
        order = order[np.argsort(held.argmax(axis=1)[order], kind="stable")]
    wanted, given = np.array(shares), np.zeros(3)
    part = np.zeros(len(labels), dtype=np.int64)
    for one in order:
        open_parts = np.where(wanted > 0, wanted * (given.sum() + sizes[one]) - given, -np.inf)
        part[one] = int(np.argmax(open_parts))
        given[part[one]] += sizes[one]
    of = part[index]
    return Split(*(np.flatnonzero(of == place) for place in range(3)))


@dataclass(frozen=True, slots=True)
class TuningGap(Result):
    """How much better a grader does where it was tuned than on answers it was not tuned on."""

    dev: float | None  # share of right verdicts (or mean score) there
    test: float | None
    gap: float | None  # dev - test
    se: float | None  # of the gap, over clusters
    warn: bool  # beyond 2 standard errors
    look: str  # at the test answers
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"gap between dev and test: no figure ({self.refused})"
        words = "beyond 2 standard errors: the prompt fits the dev answers" if self.warn else "within 2 standard errors"
        return f"dev {self.dev:.3f}, test {self.test:.3f} ({self.look}): gap {self.gap:+.3f}, standard error {self.se:.3f}, {words}"


def dev_test_gap(
    dev: FloatArray, test: FloatArray, *, looks: int, dev_cluster: IntArray | None = None, test_cluster: IntArray | None = None
) -> TuningGap:
    """The grader's mean on dev less that on test, with the standard error of their independent clusters; warns beyond 2 of them.

    `dev` and `test` hold 1 where the grader was right and 0 where not (or a closeness from 0 to 1). A part without spread
    has the variance of half a wrong one, so that a few right ones are not taken for certainty. `looks` counts the looks at
    test, this one included. Refused: `NO_DATA`, `OFF_SCALE`, `TOO_FEW_CLUSTERS` (under 6 units in a part).
    """
    look = look_words(looks)
    parts = []
    for name, given, cluster in (("dev", dev, dev_cluster), ("test", test, test_cluster)):
        y = np.asarray(given, dtype=np.float64)
        if cluster is not None and np.shape(cluster) != y.shape:
            raise ValueError(f"the clusters of {name} must have one entry an answer")
        units = np.arange(len(y)) if cluster is None else np.asarray(cluster)
        groups = len(np.unique(units))
        refused = None
        if len(y) == 0:
            refused = Refusal("NO_DATA", f"there is no answer in {name}", "split more marked answers")
        elif not np.all((y >= 0) & (y <= 1)):
            refused = Refusal("OFF_SCALE", f"a value of {name} lies outside 0 to 1", "give 1 for a right verdict and 0 for a wrong one")
        elif groups < FEWEST_CLUSTERS:
            why = f"{groups} independent answers in {name} tell too little"
            refused = Refusal("TOO_FEW_CLUSTERS", why, f"split marks of at least {FEWEST_CLUSTERS} clusters into each part")
        if refused is not None:
            return TuningGap(None, None, None, None, False, look, refused)
        mean = clustered_mean(y, units)
        least = (0.5 / (groups + 1)) * (1 - 0.5 / (groups + 1)) / groups
        parts.append((mean.value, max(mean.se**2, least)))
    (first, v1), (second, v2) = parts
    gap, se = first - second, math.sqrt(v1 + v2)
    return TuningGap(first, second, gap, se, abs(gap) > WARN_BEYOND * se, look)


def look_words(looks: int) -> str:
    """How a figure on test answers is to be called after so many looks at them: first look, then reused (k)."""
    if looks < 1:
        raise ValueError(f"looks must be at least 1, not {looks}")
    return "first look" if looks == 1 else f"reused ({looks})"


def texts_in_prompt(prompt: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Which of the texts occur in the prompt: no test answer may. Case and white space do not matter; very short texts are passed over."""
    said = _plain(prompt)
    return tuple(place for place, text in enumerate(texts) if len(plain := _plain(text)) >= SHORTEST_TEXT and plain in said)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
