"""Kinds that decide claims: proportions, clustered means, repeats, pairs, gates, sample sizes, many claims."""

from __future__ import annotations

import math

import numpy as np

from fairmark.stats.checks.reading import (
    Answer,
    Json,
    Unsuitable,
    as_clusters,
    as_count,
    as_discordant,
    as_list,
    as_number,
    as_numbers,
    as_object,
    as_share,
    each,
    filled,
    guarded,
)
from fairmark.stats.clusters import cluster_t, clustered_mean, hurdle, korn_graubard
from fairmark.stats.intervals import benjamini_hochberg, holm
from fairmark.stats.paired import mcnemar, mcnemar_chi2, tango
from fairmark.stats.power import paired_sample_size
from fairmark.stats.proportions import clopper_pearson, jeffreys, newcombe_difference, wilson
from fairmark.stats.repeats import pass_all_k, pass_at_k, repeats


def _tango(given: Json) -> Json:
    b, c, n = as_list(given, "each entry", length=3)
    pairs = as_count(n, "n", 1)
    first, second = as_count(b, "b", 0, pairs), as_count(c, "c", 0, pairs)
    if first + second > pairs:
        raise Unsuitable(f"b + c = {first + second} is more than n = {pairs}")
    return list(tango(first, second, pairs))


def _newcombe(given: Json) -> Json:
    x1, n1, x2, n2 = as_list(given, "the input", length=4)
    first, second = as_share([x1, n1]), as_share([x2, n2])
    return list(newcombe_difference(*first, *second))


def _mcnemar_chi2(given: Json) -> Json:
    _, b, c, _ = (as_count(one, "a count") for one in as_list(given, "the input", length=4))
    return list(mcnemar_chi2(b, c)[:2])


def _pass_at_k(given: Json) -> Json:
    n, c, k = as_list(given, "each entry", length=3)
    tries = as_count(n, "n", 1)
    passes, wanted = as_count(c, "c", 0, tries), as_count(k, "k", 1)
    return [pass_at_k(tries, passes, wanted), pass_all_k(tries, passes, wanted)]


def _clustered_proportion(given: Json) -> Json:
    y, cluster = as_clusters(given)
    if len(given["cluster_sizes"]) < 2:
        raise Unsuitable("one cluster has no spread between clusters")
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
        y, cluster = as_clusters(given)
        mean = clustered_mean(y, cluster)
        return {"n_eff": mean.n_effective, "n_star": mean.n_star, "ci": list(korn_graubard(y, cluster))}

    return {name: guarded(part, one) for name, one in as_object(given).items()}


def _repeats(given: Json) -> Json:
    rows = [as_numbers(row, "each row") for row in as_list(given, "the input")]
    if len({len(row) for row in rows}) != 1:
        raise Unsuitable("every case must have the same number of repeats")
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
    p = as_numbers(given, "each p", 0, 1).tolist()
    adjusted = {"holm": holm(p), "bh": benjamini_hochberg(p), "by": benjamini_hochberg(p, dependent=True)}
    found: dict[str, Json] = {"n_reject": {name: sum(one <= 0.05 for one in values) for name, values in adjusted.items()}}
    for name, values in adjusted.items():
        found |= {name: list(values), f"{name}_first4": list(values[:4])}
    return found


def _sample_size(given: Json) -> Json:
    given = as_object(given, "delta", "omega2", "sigma2", "alpha", "power", "two_sided", "K")
    delta = as_number(given["delta"], "delta")
    alpha, power = as_number(given["alpha"], "alpha", 0, 1), as_number(given["power"], "power", 0, 1)
    if delta == 0 or not 0 < alpha < 1 or not 0 < power < 1:
        raise Unsuitable("delta must not be 0, and alpha and power must lie between 0 and 1")
    omega2, sigma2 = (as_number(given[name], name, 0) for name in ("omega2", "sigma2"))
    tries = [None if k is None else as_count(k, "K", 1) for k in as_list(given["K"], "K")]
    two_sided = bool(given["two_sided"])
    return [
        paired_sample_size(delta, omega2=omega2, sigma2=sigma2, repeats=k, alpha=alpha, power=power, two_sided=two_sided) for k in tries
    ]


def _gated(given: Json) -> Json:
    y = filled(as_numbers(given, "each score", 0, 1), "the input")
    value, interval = hurdle(y, None)
    rest = y[y > 0]
    return {
        "pi": float(np.mean(y > 0)),
        "cond_mean": float(np.mean(rest)) if len(rest) else None,
        "cond_ci": list(korn_graubard(rest, np.arange(len(rest)), capped=False)) if len(rest) else None,
        "mean": value,
        "ci": list(interval),
    }


CHECKS: dict[str, Answer] = {
    "wilson": each(lambda given: list(wilson(*as_share(given)))),
    "clopper_pearson": each(lambda given: list(clopper_pearson(*as_share(given)))),
    "jeffreys": each(lambda given: list(jeffreys(*as_share(given)))),
    "newcombe_difference": _newcombe,
    "clustered_proportion": _clustered_proportion,
    "clustered_proportion_edge": _clustered_edge,
    "repeats": _repeats,
    "pass_at_k": each(_pass_at_k),
    "mcnemar": each(lambda given: mcnemar(*as_discordant(given))._asdict()),
    "mcnemar_chi2": _mcnemar_chi2,
    "tango": each(_tango),
    "multiple_testing": _multiple,
    "paired_sample_size": _sample_size,
    "gated_mean": _gated,
}
