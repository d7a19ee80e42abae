"""Inputs of checks as arguments, and answers as JSON values: what every kind shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fairmark.results import Refusal
from fairmark.stats.intervals import FloatArray, IntArray

Json = Any
Answer = Callable[[Json], Json]
LARGEST = 1e15  # counts up to here are exact as floating-point numbers
ASK_A_SHIPPED_CHECK = "compare it with a shipped check of this kind"


class Unsuitable(ValueError):
    """An input that a statistic cannot take."""


def as_list(given: Json, what: str, *, length: int | None = None) -> list[Json]:
    if not isinstance(given, list) or (length is not None and len(given) != length):
        raise Unsuitable(f"{what} must be a list" + (f" of {length}" if length is not None else ""))
    return given


def as_object(given: Json, *names: str) -> dict[str, Json]:
    if not isinstance(given, dict) or not all(name in given for name in names):
        raise Unsuitable(f"the input must be an object with {', '.join(names)}" if names else "the input must be an object")
    return given


def as_number(given: Json, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    if not isinstance(given, (int, float)) or not low <= given <= high or abs(given) > LARGEST:
        span = "" if math.isinf(low) and math.isinf(high) else f" from {low:g}" + ("" if math.isinf(high) else f" to {high:g}")
        raise Unsuitable(f"{what} must be a number{span}, not {given!r}")
    return float(given)


def as_count(given: Json, what: str, low: int = 0, high: float = LARGEST) -> int:
    number = as_number(given, what, low, high)
    if not number.is_integer():
        raise Unsuitable(f"{what} must be a whole number, not {given!r}")
    return int(number)


def as_numbers(given: Json, what: str, low: float = -math.inf, high: float = math.inf) -> FloatArray:
    return np.array([as_number(one, what, low, high) for one in as_list(given, what)], dtype=np.float64)


def filled(values: FloatArray, what: str, least: int = 1) -> FloatArray:
    if len(values) < least:
        raise Unsuitable(f"{what} needs at least {least} values, not {len(values)}")
    return values


def as_share(given: Json) -> tuple[float, float]:
    x, n = as_list(given, "each entry", length=2)
    of = as_number(n, "n", 0)
    if of <= 0:
        raise Unsuitable("n is 0: there is nothing to count")
    return as_number(x, "x", 0, of), of


def as_discordant(given: Json) -> tuple[int, int]:
    b, c = as_list(given, "each entry", length=2)
    return as_count(b, "b"), as_count(c, "c")


def as_clusters(given: Json) -> tuple[FloatArray, IntArray]:
    given = as_object(given, "cluster_sizes", "y")
    y = filled(as_numbers(given["y"], "y", 0, 1), "y")
    sizes = [as_count(size, "a cluster size", 1) for size in as_list(given["cluster_sizes"], "cluster_sizes")]
    if sum(sizes) != len(y):
        raise Unsuitable(f"the cluster sizes add up to {sum(sizes)}, and y has {len(y)} values")
    return y, np.repeat(np.arange(len(sizes)), sizes)


def as_matrix(given: Json) -> IntArray:
    rows = as_list(given, "the table")
    counts = [[as_count(one, "a count") for one in as_list(row, "each row", length=len(rows))] for row in rows]
    if not rows or not any(map(any, counts)):
        raise Unsuitable("the table is empty")
    return np.array(counts, dtype=np.int64)


# ---------------------------------------------------------------- answers


def each(one: Callable[[Json], Json]) -> Callable[[Json], Json]:
    """The answers to a list of separate cases. A case that is refused leaves the others their answers."""

    def answer(given: Json) -> Json:
        return [guarded(one, entry) for entry in as_list(given, "the input")]

    return answer


def guarded(one: Callable[[Json], Json], given: Json) -> Json:
    """What `one` answers, in JSON values, or a refusal where the input does not suit it or the arithmetic has no answer."""
    try:
        with np.errstate(all="ignore"):
            return finite(one(given))
    except (ValueError, ArithmeticError, MemoryError) as error:
        return refusal("BAD_INPUT", f"the input does not suit this kind: {error}", ASK_A_SHIPPED_CHECK)


def refusal(code: str, why: str, next_step: str) -> dict[str, str]:
    return {"refused": code, "why": why, "next": next_step}


def refused(why: Refusal) -> dict[str, str]:
    """A refusal in the shape in which checks answer it."""
    return refusal(why.code, why.why, why.next)


def finite(value: Json) -> Json:
    """The answer as plain JSON values, arrays as lists; `ValueError` for NaN and infinity."""
    if isinstance(value, (np.ndarray, np.integer, np.bool_)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ValueError("the result is not a finite number")
        return float(value)
    return value
