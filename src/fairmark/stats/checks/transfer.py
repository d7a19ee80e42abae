"""Kinds that use a grader's scores beside people's marks, or its error rates from elsewhere."""

from __future__ import annotations

import numpy as np

from fairmark.results import Refusal
from fairmark.stats.checks.reading import (
    Answer,
    Json,
    Unsuitable,
    as_count,
    as_list,
    as_number,
    as_numbers,
    as_object,
    each,
    filled,
    refused,
)
from fairmark.stats.transfer import lee_plug_in, ppi_figures, rogan_gladen

MOST_UNLABELLED = 10**7
UNINFORMATIVE = Refusal(
    "JUDGE_UNINFORMATIVE", "sensitivity + specificity is at most 1: the verdicts say nothing", "let people mark without this grader"
)


def _ppi(given: Json) -> Json:
    given = as_object(given, "Y", "F")
    marks, said = filled(as_numbers(given["Y"], "Y"), "Y"), as_numbers(given["F"], "F")
    if len(marks) != len(said):
        raise Unsuitable(f"{len(marks)} labels and {len(said)} predictions do not belong together")
    if "U" in given:
        rest = as_numbers(given["U"], "U")
    else:
        given = as_object(given, "U_ones", "U_zeros")
        counts = [as_count(given[name], name, 0, MOST_UNLABELLED) for name in ("U_zeros", "U_ones")]
        rest = np.repeat([0.0, 1.0], counts)
    filled(rest, "the unlabelled predictions")
    return {
        name: list(ppi_figures(marks, said, rest, tuning=tuning)[:3]) for name, tuning in (("lam0", 0.0), ("lam1", 1.0), ("tuned", None))
    }


def _rogan_gladen(given: Json) -> Json:
    x, n, se, sp = as_list(given, "the input", length=4)
    of = as_count(n, "n", 1)
    value = rogan_gladen(as_number(x, "x", 0, of) / of, as_number(se, "sensitivity", 0, 1), as_number(sp, "specificity", 0, 1))
    return refused(UNINFORMATIVE) if value is None else value


def _lee(given: Json) -> Json:
    p, q0, q1, n, m0, m1 = as_list(given, "each entry", length=6)
    rates = (as_number(p, "p", 0, 1), as_number(q0, "q0", 0, 1), as_number(q1, "q1", 0, 1))
    found = lee_plug_in(*rates, *(as_count(m, name, 1) for m, name in ((n, "n"), (m0, "m0"), (m1, "m1"))))
    return refused(UNINFORMATIVE) if found is None else list(found)


CHECKS: dict[str, Answer] = {
    "ppi_mean": _ppi,
    "rogan_gladen": _rogan_gladen,
    "lee_plug_in": each(_lee),
}
