"""Kinds about how far a grader may be trusted: the alt-test, and whether it treats groups alike."""

from __future__ import annotations

import numpy as np

from fairmark.results import Refusal
from fairmark.stats.checks.reading import Answer, Json, Unsuitable, as_list, as_number, as_object, refused
from fairmark.stats.replacement import Scoring, alt_test, alt_test_figures

SCORINGS: dict[str, Scoring] = {
    "accuracy": "accuracy",
    "neg_rmse": "neg_squared_error",  # compared item by item, roots order as squares do
    "neg_mse": "neg_squared_error",
    "neg_squared_error": "neg_squared_error",
    "neg_mae": "neg_absolute_error",
    "neg_absolute_error": "neg_absolute_error",
}
NOBODY = Refusal(
    "TOO_FEW_PEOPLE", "no person marked 30 items that another person and the grader marked too", "let three people mark the same items"
)


def _alt_test(given: Json) -> Json:
    given = as_object(given, "eps", "scoring", "humans", "graders")
    eps, scoring = as_number(given["eps"], "eps", 0, 0.999), given["scoring"]
    if not isinstance(scoring, str) or scoring not in SCORINGS:
        raise Unsuitable(f"scoring must be one of {', '.join(SCORINGS)}, not {scoring!r}")
    people, graders = as_object(given["humans"]), as_object(given["graders"])
    rows = [as_list(marks, "the marks of each person and grader") for marks in (*people.values(), *graders.values())]
    if not people or len({len(row) for row in rows}) != 1:
        raise Unsuitable("every person and grader needs one mark an item, null where it is missing")
    if len({isinstance(one, str) for row in rows for one in row if one is not None}) > 1:
        raise Unsuitable("marks must be all words or all numbers")
    levels: dict[str, int] = {}
    marks = np.array([[_mark(one, levels, scoring) for one in row] for row in rows], dtype=np.float64)
    humans = marks[: len(people)]
    found: dict[str, dict[str, Json]] = {}
    for name, grader in zip(graders, marks[len(people) :], strict=True):
        plain = alt_test_figures(humans, grader, eps=eps, scoring=SCORINGS[scoring])
        guarded = alt_test(humans, grader, eps=eps, scoring=SCORINGS[scoring])
        found[name] = {"wr": plain.winning_rate, "rho": plain.advantage, "p": list(plain.p), "verdict": guarded.verdict}
        why = guarded.refused or (NOBODY if plain.winning_rate is None else None)
        if why is not None:
            found[name] |= refused(why)
    return found


def _mark(given: Json, levels: dict[str, int], scoring: str) -> float:
    """A mark as a number; words are levels, numbered as they come, and only equal or not."""
    if given is None:
        return float("nan")
    if isinstance(given, str) and scoring == "accuracy":
        return float(levels.setdefault(given, len(levels)))
    return as_number(given, "each mark")


CHECKS: dict[str, Answer] = {
    "alt_test": _alt_test,
}
