"""Our arithmetic against reference values, through one door that any file of the same shape can use.

A check is `{id, kind, input, expected, tol}`. `CHECKS` maps each kind to a function from `input` to the shape of
`expected`; inputs are arguments, so a file with other inputs of the same kinds goes through unchanged. What cannot be
computed is `{"refused": CODE, "why", "next"}`, in its place in a list where the input is a list of separate cases; the
expected value null stands for a refusal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any

import numpy as np

from fairmark.stats.agreement import cohen_kappa, gwet_ac1
from fairmark.stats.clusters import cluster_t, clustered_mean, hurdle, korn_graubard
from fairmark.stats.costs import break_even, cost_per_success
from fairmark.stats.groups import group_gap
from fairmark.stats.intervals import FloatArray, IntArray, benjamini_hochberg, holm
from fairmark.stats.paired import mcnemar, mcnemar_chi2, tango
from fairmark.stats.power import paired_sample_size
from fairmark.stats.proportions import clopper_pearson, jeffreys, newcombe_difference, wilson
from fairmark.stats.repeats import pass_all_k, pass_at_k, repeats

Json = Any
LARGEST = 1e15  # counts up to here are exact as floating-point numbers
GROUP_GAP = 0.10  # the margin and level of the kind `group_gap`
GROUP_ALPHA = 0.05
ASK_A_SHIPPED_CHECK = "compare it with a shipped check of this kind"


class _Unsuitable(ValueError):
    """An input that a statistic cannot take."""


# ---------------------------------------------------------------- reading inputs


def _list(given: Json, what: str, *, length: int | None = None) -> list[Json]:
    if not isinstance(given, list) or (length is not None and len(given) != length):
        raise _Unsuitable(f"{what} must be a list" + (f" of {length}" if length is not None else ""))
    return given


def _object(given: Json, *names: str) -> dict[str, Json]:
    if not isinstance(given, dict) or not all(name in given for name in names):
        raise _Unsuitable(f"the input must be an object with {', '.join(names)}" if names else "the input must be an object")
    return given


def _number(given: Json, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    if not isinstance(given, (int, float)) or not low <= given <= high or abs(given) > LARGEST:
        span = "" if math.isinf(low) and math.isinf(high) else f" from {low:g}" + ("" if math.isinf(high) else f" to {high:g}")
        raise _Unsuitable(f"{what} must be a number{span}, not {given!r}")
    return float(given)


def _count(given: Json, what: str, low: int = 0, high: float = LARGEST) -> int:
    number = _number(given, what, low, high)
    if not number.is_integer():
        raise _Unsuitable(f"{what} must be a whole number, not {given!r}")
    return int(number)


def _numbers(given: Json, what: str, low: float = -math.inf, high: float = math.inf) -> FloatArray:
    return np.array([_number(one, what, low, high) for one in _list(given, what)], dtype=np.float64)


def _filled(values: FloatArray, what: str, least: int = 1) -> FloatArray:
    if len(values) < least:
        raise _Unsuitable(f"{what} needs at least {least} values, not {len(values)}")
    return values


def _share(given: Json) -> tuple[float, float]:
    x, n = _list(given, "each entry", length=2)
    of = _number(n, "n", 0)
    if of <= 0:
        raise _Unsuitable("n is 0: there is nothing to count")
    return _number(x, "x", 0, of), of


def _discordant(given: Json) -> tuple[int, int]:
    b, c = _list(given, "each entry", length=2)
    return _count(b, "b"), _count(c, "c")


def _clusters(given: Json) -> tuple[FloatArray, IntArray]:
    given = _object(given, "cluster_sizes", "y")
    y = _filled(_numbers(given["y"], "y", 0, 1), "y")
    sizes = [_count(size, "a cluster size", 1) for size in _list(given["cluster_sizes"], "cluster_sizes")]
    if sum(sizes) != len(y):
        raise _Unsuitable(f"the cluster sizes add up to {sum(sizes)}, and y has {len(y)} values")
    return y, np.repeat(np.arange(len(sizes)), sizes)


def _matrix(given: Json) -> IntArray:
    rows = _list(given, "the table")
    counts = [[_count(one, "a count") for one in _list(row, "each row", length=len(rows))] for row in rows]
    if not rows or not any(map(any, counts)):
        raise _Unsuitable("the table is empty")
    return np.array(counts, dtype=np.int64)


# ---------------------------------------------------------------- one function a kind


def _each(one: Callable[[Json], Json]) -> Callable[[Json], Json]:
    """The answers to a list of separate cases. A case that is refused leaves the others their answers."""

    def answer(given: Json) -> Json:
        return [_guarded(one, entry) for entry in _list(given, "the input")]

    return answer


def _tango(given: Json) -> Json:
    b, c, n = _list(given, "each entry", length=3)
    pairs = _count(n, "n", 1)
    first, second = _count(b, "b", 0, pairs), _count(c, "c", 0, pairs)
    if first + second > pairs:
        raise _Unsuitable(f"b + c = {first + second} is more than n = {pairs}")
    return list(tango(first, second, pairs))


def _newcombe(given: Json) -> Json:
    x1, n1, x2, n2 = _list(given, "the input", length=4)
    first, second = _share([x1, n1]), _share([x2, n2])
    return list(newcombe_difference(*first, *second))


def _mcnemar_chi2(given: Json) -> Json:
    _, b, c, _ = (_count(one, "a count") for one in _list(given, "the input", length=4))
    return list(mcnemar_chi2(b, c)[:2])


def _pass_at_k(given: Json) -> Json:
    n, c, k = _list(given, "each entry", length=3)
    tries = _count(n, "n", 1)
    passes, wanted = _count(c, "c", 0, tries), _count(k, "k", 1)
    return [pass_at_k(tries, passes, wanted), pass_all_k(tries, passes, wanted)]


def _clustered_proportion(given: Json) -> Json:
    y, cluster = _clusters(given)
    if len(given["cluster_sizes"]) < 2:
        raise _Unsuitable("one cluster has no spread between clusters")
    uncapped, capped = clustered_mean(y, cluster, capped=False), clustered_mean(y, cluster, capped=True)
    p = uncapped.value
    return {
        "p": p,
        "se": uncapped.se,
        "n_eff": uncapped.n_effective,
        "n_eff_t": uncapped.n_star,
        "n_star": capped.n_star,
        "kg_formula_uncapped": list(clopper_pearson(p * uncapped.n_star, uncapped.n_star)),
        "kg_product_capped": list(clopper_pearson(p * capped.n_star, capped.n_star)),
        "t": list(cluster_t(y, cluster)),
        "naive_se": math.sqrt(p * (1 - p) / len(y)),
        "design_effect": uncapped.design_effect,
    }


def _clustered_edge(given: Json) -> Json:
    def part(given: Json) -> Json:
        y, cluster = _clusters(given)
        mean = clustered_mean(y, cluster)
        return {"n_eff": mean.n_effective, "n_star": mean.n_star, "ci": list(korn_graubard(y, cluster))}

    return {name: _guarded(part, one) for name, one in _object(given).items()}


def _repeats(given: Json) -> Json:
    rows = [_numbers(row, "each row") for row in _list(given, "the input")]
    if len({len(row) for row in rows}) != 1:
        raise _Unsuitable("every case must have the same number of repeats")
    found = repeats(np.array(rows))
    return {
        "mean": found.mean,
        "MSB": found.ms_between,
        "MSW": found.ms_within,
        "var_case": found.var_case,
        "var_repeat": found.var_repeat,
        "se": found.se,
    }


def _multiple(given: Json) -> Json:
    p = _numbers(given, "each p", 0, 1).tolist()
    adjusted = {"holm": holm(p), "bh": benjamini_hochberg(p), "by": benjamini_hochberg(p, dependent=True)}
    found: dict[str, Json] = {"n_reject": {name: sum(one <= 0.05 for one in values) for name, values in adjusted.items()}}
    for name, values in adjusted.items():
        found |= {name: list(values), f"{name}_first4": list(values[:4])}
    return found


def _sample_size(given: Json) -> Json:
    given = _object(given, "delta", "omega2", "sigma2", "alpha", "power", "two_sided", "K")
    delta = _number(given["delta"], "delta")
    alpha, power = _number(given["alpha"], "alpha", 0, 1), _number(given["power"], "power", 0, 1)
    if delta == 0 or not 0 < alpha < 1 or not 0 < power < 1:
        raise _Unsuitable("delta must not be 0, and alpha and power must lie between 0 and 1")
    omega2, sigma2 = (_number(given[name], name, 0) for name in ("omega2", "sigma2"))
    tries = [None if k is None else _count(k, "K", 1) for k in _list(given["K"], "K")]
    two_sided = bool(given["two_sided"])
    return [
        paired_sample_size(delta, omega2=omega2, sigma2=sigma2, repeats=k, alpha=alpha, power=power, two_sided=two_sided) for k in tries
    ]


def _kappa(given: Json) -> Json:
    matrix = _matrix(given)
    found = [cohen_kappa(matrix, weights=w) for w in ("unweighted", "linear", "quadratic")]
    answer: dict[str, Json] = {"kappa": [one.value for one in found], "se": [one.se for one in found]}
    if found[0].value is None:
        answer |= _refusal("NO_VARIATION", found[0].why, "mark answers that differ in quality")
    return answer


def _paradox(given: Json) -> Json:
    matrix = _matrix(given)
    return {"kappa": cohen_kappa(matrix).value, "AC1": gwet_ac1(matrix).value, "agree": float(np.trace(matrix) / matrix.sum())}


def _gated(given: Json) -> Json:
    y = _filled(_numbers(given, "each score", 0, 1), "the input")
    value, interval = hurdle(y, None)
    rest = y[y > 0]
    return {
        "pi": float(np.mean(y > 0)),
        "cond_mean": float(np.mean(rest)) if len(rest) else None,
        "cond_ci": list(korn_graubard(rest, np.arange(len(rest)), capped=False)) if len(rest) else None,
        "mean": value,
        "ci": list(interval),
    }


def _group_gap(given: Json) -> Json:
    counts = [_share(one) for one in _list(given, "the input")]
    if len(counts) < 2:
        raise _Unsuitable("a gap needs at least two groups")
    found = group_gap(counts, within=GROUP_GAP, alpha=GROUP_ALPHA)
    return {
        "upper": {f"{i}-{j}": bound for (i, j), bound in found.upper.items()},
        "supported": found.verdict == "supported",
        "verdict": found.verdict,
    }


def _cost(given: Json) -> Json:
    given = _object(given, "cost", "success")
    cost, success = _numbers(given["cost"], "cost", 0), _numbers(given["success"], "success", 0, 1)
    if len(cost) != len(success):
        raise _Unsuitable(f"{len(cost)} costs and {len(success)} successes do not belong together")
    found = cost_per_success(cost, success)
    answer: dict[str, Json] = {
        "ratio": found.ratio,
        "g": found.g,
        "ci": list(found.interval) if found.interval is not None else None,
        "at_least": found.at_least,
    }
    return answer if found.refused is None else answer | _refusal(found.refused.code, found.refused.why, found.refused.next)


def _break_even(given: Json) -> Json:
    return break_even(*(_number(one, "each amount") for one in _list(given, "the input", length=3)))


CHECKS: dict[str, Callable[[Json], Json]] = {
    "wilson": _each(lambda given: list(wilson(*_share(given)))),
    "clopper_pearson": _each(lambda given: list(clopper_pearson(*_share(given)))),
    "jeffreys": _each(lambda given: list(jeffreys(*_share(given)))),
    "newcombe_difference": _newcombe,
    "clustered_proportion": _clustered_proportion,
    "clustered_proportion_edge": _clustered_edge,
    "repeats": _repeats,
    "pass_at_k": _each(_pass_at_k),
    "mcnemar": _each(lambda given: mcnemar(*_discordant(given))._asdict()),
    "mcnemar_chi2": _mcnemar_chi2,
    "tango": _each(_tango),
    "multiple_testing": _multiple,
    "paired_sample_size": _sample_size,
    "cohen_kappa": _kappa,
    "prevalence_paradox": _paradox,
    "gated_mean": _gated,
    "group_gap": _group_gap,
    "cost_per_success": _cost,
    "break_even": _break_even,
}


# ---------------------------------------------------------------- running and comparing


def run_checks(checks: Iterable[Json]) -> dict[str, Json]:
    """`{"passed": N, "failed": [{"id", "kind", "expected", "got"}]}`: numbers within `tol`, every expected key present.

    A kind that this version does not know and an input that it cannot take are refusals, and count as failed unless
    the expected value is null.
    """
    passed, failed = 0, []
    for given in checks:
        check = given if isinstance(given, Mapping) else {}
        got, tol = _answer(check), check.get("tol", 0)
        if isinstance(tol, bool) or not isinstance(tol, (int, float)) or not tol >= 0:
            got = _refusal("BAD_INPUT", f"tol must be a number from 0, not {tol!r}", ASK_A_SHIPPED_CHECK)
        elif "expected" not in check:
            got = _refusal("BAD_INPUT", "the check says nothing of what is expected", ASK_A_SHIPPED_CHECK)
        elif _known(check) and _agrees(check.get("expected"), got, tol):
            passed += 1
            continue
        failed.append({"id": check.get("id"), "kind": check.get("kind"), "expected": check.get("expected"), "got": got})
    return {"passed": passed, "failed": failed}


def shipped_checks() -> list[dict[str, Json]]:
    """The reference values in the package."""
    found: list[dict[str, Json]] = json.loads((resources.files("fairmark.stats") / "reference_values.json").read_text(encoding="utf-8"))
    return found


def _known(check: Mapping[str, Json]) -> bool:
    kind = check.get("kind")
    return isinstance(kind, str) and kind in CHECKS


def _answer(check: Mapping[str, Json]) -> Json:
    kind = check.get("kind")
    if not _known(check):
        return _refusal("UNKNOWN_KIND", f"this version has no statistic of the kind {kind!r}", f"known kinds: {', '.join(sorted(CHECKS))}")
    return _guarded(CHECKS[str(kind)], check.get("input"))


def _guarded(one: Callable[[Json], Json], given: Json) -> Json:
    """What `one` answers, in JSON values, or a refusal where the input does not suit it or the arithmetic has no answer."""
    try:
        with np.errstate(all="ignore"):
            return _finite(one(given))
    except (ValueError, ArithmeticError, MemoryError) as error:
        return _refusal("BAD_INPUT", f"the input does not suit this kind: {error}", ASK_A_SHIPPED_CHECK)


def _refusal(code: str, why: str, next_step: str) -> dict[str, str]:
    return {"refused": code, "why": why, "next": next_step}


def _finite(value: Json) -> Json:
    """The answer as plain JSON values; `ValueError` for NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ValueError("the result is not a finite number")
        return float(value)
    return value


def _rounding(expected: float) -> float:
    """Half a unit in the last place of a value written with six or more decimals: it was rounded there."""
    decimals = len(repr(expected).partition(".")[2]) if "e" not in repr(expected) else 0
    return 0.5 * 10.0**-decimals if decimals >= 6 else 0.0


def _is_refused(got: Json) -> bool:
    """Whether there is no answer: a refusal, or a list of nothing else."""
    if isinstance(got, list):
        return bool(got) and all(map(_is_refused, got))
    return isinstance(got, Mapping) and "refused" in got


def _agrees(expected: Json, got: Json, tol: float) -> bool:
    if expected is None:
        return got is None or _is_refused(got)
    if isinstance(expected, Mapping):
        return isinstance(got, Mapping) and all(key in got and _agrees(value, got[key], tol) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(_agrees(e, g, tol) for e, g in zip(expected, got, strict=True))
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(expected, (int, float)):
        return isinstance(got, (int, float)) and abs(got - expected) <= max(tol, _rounding(expected)) + 1e-12
    return bool(expected == got)
