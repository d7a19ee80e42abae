"""Kinds about what a success costs and is worth."""

from __future__ import annotations

from fairmark.stats.checks.reading import Answer, Json, Unsuitable, as_list, as_number, as_numbers, as_object, refused
from fairmark.stats.costs import break_even, cost_per_success


def _cost(given: Json) -> Json:
    given = as_object(given, "cost", "success")
    cost, success = as_numbers(given["cost"], "cost", 0), as_numbers(given["success"], "success", 0, 1)
    if len(cost) != len(success):
        raise Unsuitable(f"{len(cost)} costs and {len(success)} successes do not belong together")
    found = cost_per_success(cost, success)
    answer: dict[str, Json] = {
        "ratio": found.ratio,
        "g": found.g,
        "ci": list(found.interval) if found.interval is not None else None,
        "at_least": found.at_least,
    }
    return answer if found.refused is None else answer | refused(found.refused)


def _break_even(given: Json) -> Json:
    return break_even(*(as_number(one, "each amount") for one in as_list(given, "the input", length=3)))


CHECKS: dict[str, Answer] = {
    "cost_per_success": _cost,
    "break_even": _break_even,
}
