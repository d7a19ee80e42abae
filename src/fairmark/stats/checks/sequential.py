"""Kinds about stopping early: e-processes, and many claims by e-values."""

from __future__ import annotations

import numpy as np

from fairmark.stats.checks.reading import LARGEST, Answer, Json, Unsuitable, as_count, as_list, as_number, as_numbers, as_object, filled
from fairmark.stats.intervals import FloatArray
from fairmark.stats.sequential import EProcess, e_bh, growth_optimal_bet

PLACES = (1, 5, 10, 20)
BARS = (10, 20, 40, 50, 100, 200, 400, 1000)


def _path(x: FloatArray, null: float, low: float, bet: FloatArray) -> FloatArray:
    """The wealth of an equal mixture of bets after each value, before the first one excluded."""
    fractions = bet * (null - low)
    return np.exp(EProcess(null, low=low, fractions=fractions, weights=np.full(len(bet), 1 / len(bet))).update(x))


def _at(path: FloatArray, places: list[int]) -> list[float | None]:
    return [float(path[place - 1]) if 1 <= place <= len(path) else None for place in places]


def _paired(given: Json) -> Json:
    given = as_object(given, "x")
    x = as_numbers(given["x"], "each difference", -1, 1)
    null = as_number(given.get("m", 0), "m", -1, 1)
    if not null > -1:
        raise Unsuitable("m must be above -1, the smallest difference")
    largest = 1 / (null + 1)
    single = np.array([as_number(given["lam"], "lam", 0, largest)]) if "lam" in given else None
    mixed = filled(as_numbers(given["lams"], "each of lams", 0, largest), "lams") if "lams" in given else None
    answer: dict[str, Json] = {}
    for name, bet in (("single", single), ("mix", mixed)):
        if bet is None:
            continue
        path = _path(x, null, -1.0, bet)
        for places in (list(PLACES), *([[as_count(one, "at") for one in as_list(given["at"], "at")]] if "at" in given else [])):
            answer[f"{name}_at_" + "_".join(map(str, places))] = _at(path, places)
        for bar in BARS:
            reached = np.flatnonzero(path >= bar)
            answer[f"{name}_first_n_ge_{bar}"] = int(reached[0]) + 1 if len(reached) else None
    return answer


def _rate(given: Json) -> Json:
    given = as_object(given, "x", "p0", "p1", "at")
    x = as_numbers(given["x"], "each x", 0, 1)
    p0, p1 = as_number(given["p0"], "p0", 0, 1), as_number(given["p1"], "p1", 0, 1)
    if not 0 < p0 < 1:
        raise Unsuitable("p0 must lie between 0 and 1")
    if p1 < p0:  # against "at least p0": the same of the failures
        x, p0, p1 = 1 - x, 1 - p0, 1 - p1
    bet = growth_optimal_bet([0.0, 1.0], [1 - p1, p1], null=p0, low=0.0)
    return _at(_path(x, p0, 0.0, np.array([bet])), [as_count(one, "at") for one in as_list(given["at"], "at")])


def _e_bh(given: Json) -> Json:
    alpha = 0.05
    if isinstance(given, dict):
        given = as_object(given, "e")
        alpha, given = as_number(given.get("alpha", alpha), "alpha", 0, 1), given["e"]
    # beyond any bar, and within what counts as exact
    shown = [min(one, LARGEST) if isinstance(one, (int, float)) else one for one in as_list(given, "the e-values")]
    values = as_numbers(shown, "each e-value", 0)
    return list(e_bh(values.tolist(), alpha=alpha))


CHECKS: dict[str, Answer] = {
    "eprocess_paired": _paired,
    "eprocess_rate": _rate,
    "e_bh": _e_bh,
}
