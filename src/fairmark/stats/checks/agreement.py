"""Kinds of agreement between graders."""

from __future__ import annotations

import numpy as np

from fairmark.stats.agreement import cohen_kappa, gwet_ac1
from fairmark.stats.checks.reading import Answer, Json, as_matrix, refusal


def _kappa(given: Json) -> Json:
    matrix = as_matrix(given)
    found = [cohen_kappa(matrix, weights=w) for w in ("unweighted", "linear", "quadratic")]
    answer: dict[str, Json] = {"kappa": [one.value for one in found], "se": [one.se for one in found]}
    if found[0].value is None:
        answer |= refusal("NO_VARIATION", found[0].why, "mark answers that differ in quality")
    return answer


def _paradox(given: Json) -> Json:
    matrix = as_matrix(given)
    return {"kappa": cohen_kappa(matrix).value, "AC1": gwet_ac1(matrix).value, "agree": float(np.trace(matrix) / matrix.sum())}


CHECKS: dict[str, Answer] = {
    "cohen_kappa": _kappa,
    "prevalence_paradox": _paradox,
}
