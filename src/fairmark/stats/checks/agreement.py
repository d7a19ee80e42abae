"""Kinds of agreement between graders."""

from __future__ import annotations

import math

import numpy as np

from fairmark.stats.agreement import Coefficient, GwetWeights, cohen_kappa, fleiss_kappa, gwet, gwet_ac1
from fairmark.stats.alpha import Metric, krippendorff_alpha
from fairmark.stats.checks.reading import (
    LARGEST,
    Answer,
    Json,
    Unsuitable,
    as_count,
    as_list,
    as_matrix,
    as_number,
    as_object,
    refusal,
)
from fairmark.stats.icc import intraclass
from fairmark.stats.intervals import FloatArray
from fairmark.stats.rater_groups import group_association

METRICS: tuple[Metric, ...] = ("nominal", "ordinal", "interval", "ratio")
WEIGHTS: dict[str, GwetWeights] = {"AC2_linear": "linear", "AC2_quadratic": "quadratic", "AC2_ordinal": "ordinal"}
VARIED = "mark answers that differ in quality"


def _kappa(given: Json) -> Json:
    matrix = as_matrix(given)
    found = [cohen_kappa(matrix, weights=w) for w in ("unweighted", "linear", "quadratic")]
    answer: dict[str, Json] = {"kappa": [one.value for one in found], "se": [one.se for one in found]}
    return answer | _why(found[:1])


def _paradox(given: Json) -> Json:
    matrix = as_matrix(given)
    return {"kappa": cohen_kappa(matrix).value, "AC1": gwet_ac1(matrix).value, "agree": float(np.trace(matrix) / matrix.sum())}


def _alpha(given: Json) -> Json:
    (marks,), ordered = _as_marks(given)
    asked = METRICS if ordered else METRICS[:1]
    found = {metric: krippendorff_alpha(marks, metric=metric) for metric in asked}
    answer: dict[str, Json] = {metric: found[metric].value if metric in found else None for metric in METRICS}
    return answer | _why(list(found.values()))


def _gwet(given: Json) -> Json:
    (marks,), ordered = _as_marks(given)
    first = gwet(marks)
    answer: dict[str, Json] = {"AC1": first.value, "AC1_se": first.se}
    answer |= {name: gwet(marks, weights=weights).value if ordered else None for name, weights in WEIGHTS.items()}
    return answer | _why([first])


def _fleiss(given: Json) -> Json:
    rows = as_list(given, "the table")
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    counts = [[as_count(one, "a count") for one in as_list(row, "each row", length=width)] for row in rows]
    if not width:
        raise Unsuitable("the table is empty")
    found = fleiss_kappa(np.array(counts, dtype=np.float64))
    return found.value if found.value is not None else _why([found])


def _icc(given: Json) -> Json:
    rows = as_list(given, "the scores")
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    scores = np.array([[as_number(one, "a score") for one in as_list(row, "each row", length=width)] for row in rows], dtype=np.float64)
    found = intraclass(scores)
    interval = found[1].interval
    answer: dict[str, Json] = {"icc": [one.value for one in found], "icc2_ci": None if interval is None else list(interval)}
    if all(one.value is None for one in found):
        return answer | refusal("NO_VARIATION", "all scores are equal", VARIED)
    return answer if interval is not None else answer | refusal("NO_VARIATION", "the scores leave the interval undefined", VARIED)


def _rater_groups(given: Json) -> Json:
    given = as_object(given)
    if len(given) != 2:
        raise Unsuitable(f"the input must name two groups, not {len(given)}")
    (one, other), (first, second) = given, given.values()
    (inside, outside), _ = _as_marks(first, second)
    mine, theirs = group_association(inside, outside), group_association(outside, inside)
    answer: dict[str, Json] = {f"alpha_{one}": mine.irr, f"alpha_{other}": theirs.irr}
    answer |= {"d_o": mine.d_o, "d_e": mine.d_e, "XRR": mine.xrr, f"GAI_{one}": mine.gai, f"GAI_{other}": theirs.gai}
    return answer if mine.xrr is not None else answer | refusal("NO_VARIATION", "no two marks across the groups differ", VARIED)


def _why(found: list[Coefficient]) -> dict[str, str]:
    """Nothing, or a refusal where no coefficient has a value."""
    if any(one.value is not None for one in found):
        return {}
    code = "NOT_DOUBLY_MARKED" if "two marks" in found[0].why else "NO_VARIATION"
    return refusal(code, found[0].why, VARIED if code == "NO_VARIATION" else "give some answers to a second rater")


def _as_marks(*given: Json) -> tuple[list[FloatArray], bool]:
    """Tables of raters x items, null for missing, as items x raters with NaN; and whether all marks are numbers.

    Marks that are not all numbers become the numbers of their levels, the same in every table.
    """
    tables = [[as_list(row, "each rater's row") for row in as_list(table, "the table")] for table in given]
    widths = {len(row) for table in tables for row in table}
    if len(widths) != 1 or not all(tables) or not max(widths):
        raise Unsuitable("every rater needs a row of the same items, null where an item was not marked")
    used = [mark for table in tables for row in table for mark in row if mark is not None]
    if not all(isinstance(mark, (str, int, float)) for mark in used):
        raise Unsuitable("a mark must be a number, a text or null")
    ordered = not any(isinstance(mark, str) for mark in used)
    if any(not isinstance(mark, str) and not abs(mark) <= LARGEST for mark in used):
        raise Unsuitable("a mark must be a finite number")
    levels = {mark: float(mark) for mark in used} if ordered else {mark: float(i) for i, mark in enumerate(dict.fromkeys(used))}
    arrays = [np.array([[math.nan if mark is None else levels[mark] for mark in row] for row in table]).T for table in tables]
    return arrays, ordered


CHECKS: dict[str, Answer] = {
    "cohen_kappa": _kappa,
    "prevalence_paradox": _paradox,
    "krippendorff_alpha": _alpha,
    "fleiss_kappa": _fleiss,
    "gwet": _gwet,
    "icc": _icc,
    "rater_groups": _rater_groups,
}
