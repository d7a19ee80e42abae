"""Our arithmetic against reference values, through one door that any file of the same shape can use.

A check is `{id, kind, input, expected, tol}`. `CHECKS` maps each kind to a function from `input` to the shape of
`expected`; inputs are arguments, so a file with other inputs of the same kinds goes through unchanged.
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
from fairmark.stats.intervals import benjamini_hochberg, holm
from fairmark.stats.paired import mcnemar, mcnemar_chi2, tango
from fairmark.stats.power import paired_sample_size
from fairmark.stats.proportions import clopper_pearson, jeffreys, newcombe_difference, wilson
from fairmark.stats.repeats import pass_all_k, pass_at_k, repeats

Json = Any


def _clusters(given: Mapping[str, Json]) -> tuple[Any, Any]:
    y = np.array(given["y"], dtype=np.float64)
    return y, np.repeat(np.arange(len(given["cluster_sizes"])), given["cluster_sizes"])


def _clustered_proportion(given: Json) -> Json:
    y, cluster = _clusters(given)
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
    answer = {}
    for name, part in given.items():
        y, cluster = _clusters(part)
        mean = clustered_mean(y, cluster)
        answer[name] = {"n_eff": mean.n_effective, "n_star": mean.n_star, "ci": list(korn_graubard(y, cluster))}
    return answer


def _repeats(given: Json) -> Json:
    found = repeats(np.array(given, dtype=np.float64))
    return {
        "mean": found.mean,
        "MSB": found.ms_between,
        "MSW": found.ms_within,
        "var_case": found.var_case,
        "var_repeat": found.var_repeat,
        "se": found.se,
    }


def _multiple(given: Json) -> Json:
    bh, by, by_holm = benjamini_hochberg(given), benjamini_hochberg(given, dependent=True), holm(given)
    count = {name: sum(p <= 0.05 for p in adjusted) for name, adjusted in (("holm", by_holm), ("bh", bh), ("by", by))}
    return {
        "n_reject": count,
        "bh_first4": list(bh[:4]),
        "holm_first4": list(by_holm[:4]),
        "bh": list(bh),
        "holm": list(by_holm),
        "by": list(by),
    }


def _sample_size(given: Json) -> Json:
    fixed = {name: given[name] for name in ("omega2", "sigma2", "alpha", "power", "two_sided")}
    return [paired_sample_size(given["delta"], repeats=k, **fixed) for k in given["K"]]


def _kappa(given: Json) -> Json:
    matrix = np.array(given, dtype=np.int64)
    found = [cohen_kappa(matrix, weights=w) for w in ("unweighted", "linear", "quadratic")]
    if found[0].value is None:
        return {"refused": "NO_VARIATION", "why": found[0].why, "next": "mark answers that differ in quality"}
    return {"kappa": [one.value for one in found], "se": [one.se for one in found]}


def _paradox(given: Json) -> Json:
    matrix = np.array(given, dtype=np.int64)
    return {"kappa": cohen_kappa(matrix).value, "AC1": gwet_ac1(matrix).value, "agree": float(np.trace(matrix) / matrix.sum())}


def _gated(given: Json) -> Json:
    y = np.array(given, dtype=np.float64)
    value, interval = hurdle(y, None)
    rest = y[y > 0]
    return {
        "pi": float(np.mean(y > 0)),
        "cond_mean": float(np.mean(rest)) if len(rest) else None,
        "cond_ci": list(korn_graubard(rest, np.arange(len(rest)), capped=False)) if len(rest) else None,
        "mean": value,
        "ci": list(interval),
    }


CHECKS: dict[str, Callable[[Json], Json]] = {
    "wilson": lambda given: [list(wilson(x, n)) for x, n in given],
    "clopper_pearson": lambda given: [list(clopper_pearson(x, n)) for x, n in given],
    "jeffreys": lambda given: [list(jeffreys(x, n)) for x, n in given],
    "newcombe_difference": lambda given: list(newcombe_difference(given[0], given[1], given[2], given[3])),
    "clustered_proportion": _clustered_proportion,
    "clustered_proportion_edge": _clustered_edge,
    "repeats": _repeats,
    "pass_at_k": lambda given: [[pass_at_k(n, c, k), pass_all_k(n, c, k)] for n, c, k in given],
    "mcnemar": lambda given: [mcnemar(b, c)._asdict() for b, c in given],
    "mcnemar_chi2": lambda given: list(mcnemar_chi2(given[1], given[2])[:2]),
    "tango": lambda given: [list(tango(b, c, n)) for b, c, n in given],
    "multiple_testing": _multiple,
    "paired_sample_size": _sample_size,
    "cohen_kappa": _kappa,
    "prevalence_paradox": _paradox,
    "gated_mean": _gated,
    "break_even": lambda given: (given[1] + given[2]) / (given[0] + given[1]),
}


def run_checks(checks: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    """`{"passed": N, "failed": [{"id", "kind", "expected", "got"}]}`: numbers within `tol`, every expected key present.

    A kind that this version does not know and an input that it cannot take are refusals, and count as failed unless
    the expected value is null.
    """
    passed, failed = 0, []
    for check in checks:
        got = _answer(check)
        if _agrees(check.get("expected"), got, float(check.get("tol", 0) or 0)):
            passed += 1
        else:
            failed.append({"id": check.get("id"), "kind": check.get("kind"), "expected": check.get("expected"), "got": got})
    return {"passed": passed, "failed": failed}


def shipped_checks() -> list[dict[str, Json]]:
    """The reference values in the package."""
    found: list[dict[str, Json]] = json.loads((resources.files("fairmark.stats") / "reference_values.json").read_text(encoding="utf-8"))
    return found


def _answer(check: Mapping[str, Json]) -> Json:
    kind = check.get("kind")
    if kind not in CHECKS:
        return _refusal("UNKNOWN_KIND", f"this version has no statistic of the kind {kind!r}", f"known kinds: {', '.join(sorted(CHECKS))}")
    try:
        return _finite(CHECKS[kind](check.get("input")))
    except (ValueError, TypeError, KeyError, IndexError, ZeroDivisionError, OverflowError) as error:
        return _refusal("BAD_INPUT", f"the input does not suit {kind}: {error}", "compare it with a shipped check of this kind")


def _rounding(expected: float) -> float:
    """Half a unit in the last place of a value written with six or more decimals: it was rounded there."""
    decimals = len(repr(expected).partition(".")[2]) if "e" not in repr(expected) else 0
    return 0.5 * 10.0**-decimals if decimals >= 6 else 0.0


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
    return int(value) if isinstance(value, np.integer) else value


def _agrees(expected: Json, got: Json, tol: float) -> bool:
    if expected is None:
        return got is None or (isinstance(got, Mapping) and "refused" in got)
    if isinstance(expected, Mapping):
        return isinstance(got, Mapping) and all(key in got and _agrees(value, got[key], tol) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(_agrees(e, g, tol) for e, g in zip(expected, got, strict=True))
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(expected, (int, float)):
        return isinstance(got, (int, float)) and abs(got - expected) <= max(tol, _rounding(expected)) + 1e-12
    return bool(expected == got)
