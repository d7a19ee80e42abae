"""Kinds about many graders: designs, severity, hidden truth, rankings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fairmark.stats.checks.reading import Answer, Json, Unsuitable, as_count, as_list, as_number, as_object, refusal, refused
from fairmark.stats.generalizability import FARTHEST, GStudy, error_weights, g_study
from fairmark.stats.hidden_truth import fit_dawid_skene, vote_shares
from fairmark.stats.intervals import FloatArray
from fairmark.stats.ranking import beats_components, fit_bradley_terry
from fairmark.stats.rasch import fit_rating_scale, linked_parts, mean_squares

SIZES_ANSWERED = 16  # at least so many levels of each facet
COMPONENTS = {"p": "p", "i": "i", "o": "o", "p x i": "pi", "p x o": "po", "i x o": "io", "p x i x o": "pio_e"}
LARGEST_TABLE = 2_000  # players


def _g_study(given: Json) -> Json:
    """Persons x items for each occasion; null is a missing mark."""
    score: list[float] = []
    place: list[tuple[int, int, int]] = []
    for o, table in enumerate(as_object(given).values()):
        for p, row in enumerate(as_list(table, "each occasion")):
            for i, one in enumerate(as_list(row, "each person")):
                if one is not None:
                    score.append(as_number(one, "each score"))
                    place.append((p, i, o))
    codes = np.array(place, dtype=np.int64).reshape(-1, 3)
    facets = dict(zip("pio", codes.T, strict=True))
    study = g_study(np.array(score, dtype=np.float64), facets, object_of_measurement="p", fixed=())
    if study.refused is not None:
        return {"n": len(score)} | refused(study.refused)
    answer: dict[str, Json] = dict.fromkeys(COMPONENTS.values())
    top = " x ".join(name for name in "pio" if name in study.levels)
    for one in study.components:
        # the highest order that the design has is the one that holds the error
        answer["pio_e" if one.name in (top, "error") else COMPONENTS.get(one.name, one.name)] = one.value
    answer["negative"] = {COMPONENTS.get(one.name, one.name): one.raw for one in study.components if one.raw < 0}
    answer["confounded"] = list(study.confounded)
    most = {name: max(SIZES_ANSWERED, FARTHEST * study.levels[name]) if name in study.levels else 1 for name in "io"}
    answer["D"] = {}
    for ni in range(1, most["i"] + 1):
        for no in range(1, most["o"] + 1):
            ratios = _ratios(study, {"i": ni, "o": no})
            answer["D"][f"{ni}x{no}"] = ratios
            answer[f"Erho2_{ni}_{no}"], answer[f"Phi_{ni}_{no}"] = ratios
    return answer


def _ratios(study: GStudy, sizes: Mapping[str, int]) -> list[float | None]:
    value = np.array([one.value for one in study.components])
    universe, relative, absolute = (float(part @ value) for part in error_weights(study, sizes))
    return [universe / (universe + error) if universe + error > 0 else None for error in (relative, absolute)]


def _many_facet_rasch(given: Json) -> Json:
    """Responses x raters x criteria; null is a missing mark. The joint maximum as it is, without penalty or correction."""
    place: list[tuple[int, int, int, int]] = []
    for a, response in enumerate(as_list(given, "the input")):
        for b, rater in enumerate(as_list(response, "each response")):
            for d, one in enumerate(as_list(rater, "each rater")):
                if one is not None:
                    place.append((a, b, d, as_count(one, "each level", 0, 1000)))
    codes = np.array(place, dtype=np.int64).reshape(-1, 4)
    if not len(codes):
        return refusal("NO_DATA", "there is no mark", "collect marks")
    i, j, c = (np.unique(column, return_inverse=True)[1].astype(np.int64) for column in codes.T[:3])
    used, x = np.unique(codes[:, 3], return_inverse=True)
    if len(used) < 2 or len(used) != int(used[-1] - used[0]) + 1:
        return refusal("NO_VARIATION", "a level between others was never used, or only one was", "join levels, or use cases that differ")
    if int(linked_parts(j, i).max()) > 0:
        return refusal("NOT_LINKED", "some raters share no response, not even through others", "let them mark some of the same responses")
    fit = fit_rating_scale(x.astype(np.int64), i, j, c, penalty=0.0)
    if fit is None:
        return refusal("NO_VARIATION", "a rater, a criterion or every response is at an end of the scale", "use cases that differ")
    if len(fit.information) and np.linalg.matrix_rank(fit.information, tol=1e-8 * len(x)) < len(fit.information):
        return refusal("NOT_LINKED", "raters and criteria cannot be told apart", "let raters mark the same criteria")
    of_rater, of_criterion = mean_squares(fit, x, j), mean_squares(fit, x, c)
    return {
        "severity": fit.severity,
        "difficulty": fit.difficulty,
        "tau": fit.threshold,
        "nll": -fit.log_likelihood,
        "infit_rater": _or_none(of_rater[0]),
        "outfit_rater": _or_none(of_rater[1]),
        "infit_criterion": _or_none(of_criterion[0]),
        "outfit_criterion": _or_none(of_criterion[1]),
        "ability": _or_none(fit.ability),
    }


def _or_none(values: FloatArray) -> list[float | None]:
    return [float(one) if np.isfinite(one) else None for one in values]


def _dawid_skene(given: Json) -> Json:
    """For each item a text a rater, a character a label. The maximum that the shares of votes lead to, without smoothing."""
    names = list(as_object(given))
    said: list[tuple[int, int, str]] = []
    for place, name in enumerate(names):
        for rater, labels in enumerate(as_list(given[name], "each item")):
            if labels is None:
                continue
            if not isinstance(labels, str):
                raise Unsuitable(f"a rater's labels must be a text with a character for each, not {labels!r}")
            said += [(place, rater, label) for label in labels if not label.isspace()]
    if not said:
        return refusal("NO_DATA", "there is no label", "collect labels")
    items, i = np.unique([one[0] for one in said], return_inverse=True)
    raters, j = np.unique([one[1] for one in said], return_inverse=True)
    labels, x = np.unique([one[2] for one in said], return_inverse=True)
    fit = fit_dawid_skene(i, j, x, len(labels), smoothing=0.0)
    commonest = np.argmax(vote_shares(i, x, len(labels)), axis=1)
    likeliest = np.argmax(fit.posterior, axis=1)
    shown = [int(label) if label.isdecimal() else str(label) for label in labels.tolist()]
    answer: dict[str, Json] = {
        "labels": shown,
        "marginals": fit.prevalence,
        "loglik": fit.log_likelihood,
        "argmax_differs_from_majority": {
            names[int(items[place])]: shown[int(likeliest[place])] for place in np.flatnonzero(commonest != likeliest)
        },
    }
    for place, rater in enumerate(raters):
        for row in range(len(labels)):
            answer[f"obs{int(rater) + 1}_row{row + 1}"] = fit.confusion[place, row]
    return answer


def _bradley_terry(given: Json) -> Json:
    """Wins of each row over each column, players in order; the first is the reference."""
    given = as_object(given, "wins_row_over_col")
    rows = as_list(given["wins_row_over_col"], "wins_row_over_col")
    wins = np.array([[as_number(one, "a number of wins", 0) for one in as_list(row, "each row", length=len(rows))] for row in rows])
    names = [str(one) for one in as_list(given.get("order", list(range(len(rows)))), "order", length=len(rows))]
    if not 2 <= len(rows) <= LARGEST_TABLE:
        return refusal("NO_DATA", f"{len(rows)} players have no order", f"compare 2 to {LARGEST_TABLE}")
    np.fill_diagonal(wins, 0.0)
    parts = beats_components(wins)
    if len(parts) > 1:
        sides = " | ".join(", ".join(names[one] for one in part) for part in parts)
        why = f"some won or lost every comparison with the rest: {sides}"
        return {"components": [[names[one] for one in part] for part in parts]} | refusal("NOT_COMPARABLE", why, "compare across them")
    fit = fit_bradley_terry(np.triu(wins), np.triu(wins + wins.T))
    if fit is None:
        return refusal("NOT_COMPARABLE", "the abilities have no finite estimate", "compare more")
    se = np.sqrt(np.diag(fit.covariance)[1 : len(rows)])
    return {"beta": fit.log_ability, "se": [None, *se.tolist()]}


CHECKS: dict[str, Answer] = {
    "g_study": _g_study,
    "many_facet_rasch": _many_facet_rasch,
    "dawid_skene": _dawid_skene,
    "bradley_terry": _bradley_terry,
}
