"""Kinds that correct a grader's marks by people's."""

from __future__ import annotations

import numpy as np

from fairmark.stats.checks.reading import Answer, Json, Unsuitable, as_count, as_list, as_number, as_object, each, refused
from fairmark.stats.corrected_scores import ordinal_correction
from fairmark.stats.correction import Corrected, CorrectedDifference, CorrectedRate, verdict_stratified
from fairmark.stats.intervals import IntArray


def _verdict_stratified(given: Json) -> Json:
    n1_all, n_all, x1, n1, x0, n0 = (as_count(one, "each entry") for one in as_list(given, "each entry", length=6))
    found = verdict_stratified(n1_all, n_all, x1, n1, x0, n0)
    return refused(found.refused) if found.refused is not None else [found.value, found.low, found.high]


def _marks(given: Json, what: str, length: int, *, unmarked: bool) -> IntArray:
    """A string of digits, one a response; '.' where there is no mark."""
    allowed = "01." if unmarked else "0123456789"
    if not isinstance(given, str) or len(given) != length or not set(given) <= set(allowed):
        raise Unsuitable(f"{what} must be a string of {length} characters out of {allowed}, one a response")
    return np.array([-1 if one == "." else int(one) for one in given], dtype=np.int64)


def _clusters(given: Json) -> IntArray:
    sizes = [as_count(size, "a cluster size", 1, 1e6) for size in as_list(given, "sizes")]
    if not 1 <= sum(sizes) <= 1e7:
        raise Unsuitable("the cluster sizes must add up to the number of responses")
    return np.repeat(np.arange(len(sizes)), sizes)


def _corrected(found: Corrected, *names: str) -> Json:
    low, high = (None, None) if found.refused is not None else found.at(0.95)
    answer: dict[str, Json] = {"value": found.value, "low": low, "high": high, "df": found.df}
    answer |= {name: getattr(found, name) for name in names}
    return answer if found.refused is None else answer | refused(found.refused)


def _clustered(given: Json) -> Json:
    given = as_object(given, "sizes", "verdict", "label")
    cluster = _clusters(given["sizes"])
    verdict = _marks(given["verdict"], "verdict", len(cluster), unmarked=False)
    return _corrected(CorrectedRate(verdict, _marks(given["label"], "label", len(cluster), unmarked=True), cluster), "se")


def _difference(given: Json) -> Json:
    given = as_object(given, "sizes", "verdict_a", "label_a", "verdict_b", "label_b")
    cluster = _clusters(given["sizes"])
    names = ("verdict_a", "label_a", "verdict_b", "label_b")
    va, la, vb, lb = (_marks(given[name], name, len(cluster), unmarked="label" in name) for name in names)
    return _corrected(CorrectedDifference(va, la, vb, lb, cluster, paired_strata=bool(given.get("paired_strata", False))), "se")


def _ordinal(given: Json) -> Json:
    given = as_object(given, "C", "N")
    sizes = [as_number(one, "each N", 0) for one in as_list(given["N"], "N")]
    rows = as_list(given["C"], "C", length=len(sizes))
    levels = len(as_list(rows[0], "each row of C")) if rows else 0
    counts = np.array([[as_count(one, "a count") for one in as_list(row, "each row of C", length=levels)] for row in rows])
    found = ordinal_correction(counts, np.array(sizes))
    answer: dict[str, Json] = {"dist": found.distribution, "mean": found.mean, "naive": found.naive, "low": found.low, "high": found.high}
    return answer if found.refused is None else answer | refused(found.refused)


CHECKS: dict[str, Answer] = {
    "verdict_stratified": each(_verdict_stratified),
    "verdict_stratified_clustered": _clustered,
    "corrected_difference": _difference,
    "ordinal_correction": _ordinal,
}
