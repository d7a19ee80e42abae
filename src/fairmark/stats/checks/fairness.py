"""Kind about whether a grader treats groups of answers alike."""

from __future__ import annotations

import itertools

import numpy as np

from fairmark.stats.checks.reading import Answer, Json, Unsuitable, as_count, as_list, as_number, as_object, refused
from fairmark.stats.fairness import MARGIN, FairnessReading, GroupPair, grader_by_counts


def _figures(reading: FairnessReading | None) -> Json:
    return None if reading is None else [reading.value, reading.low, reading.high]


def _pair(pair: GroupPair) -> Json:
    answer: dict[str, Json] = {
        "class": _figures(pair.class_reading),
        "quality": _figures(pair.quality_reading),
        "hull": None if pair.low is None else [pair.low, pair.high],
        "verdict": pair.verdict,
        "lr": pair.likelihood_ratio,
        "min_class": pair.fewest,
    }
    return answer if pair.refused is None else answer | refused(pair.refused)


def _grader_by_group(given: Json) -> Json:
    margin, confidence_level = MARGIN, 0.95
    if isinstance(given, dict):
        given = as_object(given, "counts")
        margin = as_number(given.get("margin", MARGIN), "margin", 0, 1)
        confidence_level = as_number(given.get("confidence_level", 0.95), "confidence_level", 0.5, 0.9999)
        given = given["counts"]
    counts = [[as_count(one, "a count", 0, 1e9) for one in as_list(row, "each group")] for row in as_list(given, "the input")]
    if len(counts) < 2 or len({len(row) for row in counts}) != 1 or len(counts[0]) not in (6, 10):
        raise Unsuitable("the input must be the counts of two or more groups, 6 cells each (10 with singly marked cases)")
    if len(counts) > 20:
        raise Unsuitable(f"{len(counts)} groups are too many to compare each with each")
    found = grader_by_counts(np.array(counts, dtype=np.float64), margin=margin, confidence_level=confidence_level)
    if len(counts) == 2:
        return _pair(found.pairs[0])
    places = itertools.combinations(range(len(counts)), 2)
    return {"pairs": [{"groups": list(place)} | _pair(pair) for place, pair in zip(places, found.pairs, strict=True)]}


CHECKS: dict[str, Answer] = {
    "grader_by_group": _grader_by_group,
}
