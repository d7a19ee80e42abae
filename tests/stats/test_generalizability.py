"""Where marks vary from, how far their means can be relied on, and what the next dollar should buy."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.checks.raters import CHECKS
from tests.stats.random_inputs import tried

# Brennan, Generalizability Theory (2001), synthetic data set 3: 10 persons x 4 items on each of 2 occasions
BRENNAN = {
    "o1": "2675 4567 5546 5986 4356 4447 2665 3445 0545 6876",
    "o2": "2555 6757 5455 5776 4564 6478 2775 6664 5553 6886",
}


def brennan() -> dict[str, list[list[int]]]:
    return {name: [[int(mark) for mark in person] for person in row.split()] for name, row in BRENNAN.items()}


def crossed(table: np.ndarray, *names: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """An array as marks and their facets; NaN is a missing mark."""
    codes = [axis.ravel() for axis in np.indices(table.shape)]
    marks = table.ravel().astype(np.float64)
    kept = np.isfinite(marks)
    return marks[kept], {name: code[kept] for name, code in zip(names, codes, strict=True)}


def drawn(rng: np.random.Generator, cases: int, graders: int, case: float, grader: float, error: float) -> np.ndarray:
    return rng.normal(0, case, cases)[:, None] + rng.normal(0, grader, graders) + rng.normal(0, error, (cases, graders))


# ------------------------------------------------------------ by hand


def test_three_cases_and_two_graders_by_hand() -> None:
    # marks 1 3 | 2 4 | 6 5: case means 2, 3, 5.5, grader means 3, 4, all 3.5
    # SS case = 2 (2.25 + 0.25 + 4) = 13, MS 6.5; SS grader = 3 (0.25 + 0.25) = 1.5, MS 1.5
    # SS total = 6.25 + 0.25 + 2.25 + 0.25 + 6.25 + 2.25 = 17.5, so SS rest = 3, MS 1.5
    # sigma2 case = (6.5 - 1.5) / 2 = 2.5, grader = (1.5 - 1.5) / 3 = 0, rest = 1.5
    study = stats.g_study(*crossed(np.array([[1, 3], [2, 4], [6, 5]]), "case", "grader"), object_of_measurement="case")
    assert {one.name: one.raw for one in study.components} == pytest.approx({"case": 2.5, "grader": 0.0, "case x grader": 1.5})
    assert study.observed is not None
    # E rho2 = 2.5 / (2.5 + 1.5 / 2)
    assert study.observed.e_rho2 == pytest.approx(2.5 / 3.25)
    assert stats.d_study(study, {"grader": 6}).phi == pytest.approx(2.5 / (2.5 + 1.5 / 6))
    assert study.balanced
    assert "case x grader cannot be told from error: each was marked once" in study.confounded


def test_a_negative_component_counts_as_zero_and_is_shown() -> None:
    # case means all 2: MS case = 0, MS rest = 2, so sigma2 case = (0 - 2) / 2 = -1
    study = stats.g_study(*crossed(np.array([[1, 3], [3, 1], [2, 2]]), "case", "grader"), object_of_measurement="case")
    case = study.components[0]
    assert (case.value, case.raw) == pytest.approx((0.0, -1.0))
    assert any("case came out negative (-1)" in one for one in study.warnings)
    assert study.observed is not None
    assert study.observed.e_rho2 == 0.0


def test_what_a_fixed_facet_shares_with_the_object_belongs_to_what_is_measured() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(12, 3, 4)) + rng.normal(0, 1, 12)[:, None, None] + rng.normal(0, 1, (12, 1, 4))
    marks, facets = crossed(table, "case", "grader", "criterion")
    free = stats.g_study(marks, facets, object_of_measurement="case", fixed=())
    fixed = stats.g_study(marks, facets, object_of_measurement="case")
    value = {one.name: one.value for one in free.components}
    assert fixed.observed is not None
    assert fixed.observed.universe == pytest.approx(value["case"] + value["case x criterion"] / 4)
    assert fixed.observed.relative_error == pytest.approx(value["case x grader"] / 3 + value["case x grader x criterion"] / 12)
    with pytest.raises(ValueError, match="fixed"):
        stats.d_study(fixed, {"criterion": 8})


def test_repeats_give_the_error_a_part_of_its_own() -> None:
    rng = np.random.default_rng(1)
    marks, facets = crossed(rng.normal(size=(8, 3, 2)), "case", "grader", "again")
    del facets["again"]
    names = [one.name for one in stats.g_study(marks, facets, object_of_measurement="case").components]
    assert names == ["case", "grader", "case x grader", "error"]


def test_what_cannot_be_told_apart_is_named() -> None:
    marks = np.arange(12.0)
    one_grader_each = {"case": np.arange(12), "grader": np.arange(12) % 3}
    refused = stats.g_study(marks, one_grader_each, object_of_measurement="case").refused
    assert refused is not None
    assert refused.code == "CONFOUNDED"
    own = {"case": np.arange(12) // 3, "grader": np.arange(12)}
    with_own = stats.g_study(marks, own, object_of_measurement="case")
    assert with_own.components[1].name == "grader + case x grader"
    assert with_own.per_object == {"grader": 3}
    alone = stats.g_study(
        marks, {"case": np.arange(12) // 2, "grader": np.arange(12) % 2, "criterion": np.zeros(12)}, object_of_measurement="case"
    )
    assert "criterion has one level: what it adds is inside the rest" in alone.confounded


def test_no_prediction_beyond_four_times_what_was_seen() -> None:
    study = stats.g_study(*crossed(np.arange(20.0).reshape(10, 2) ** 1.5, "case", "grader"), object_of_measurement="case")
    assert stats.d_study(study, {"grader": 8}).refused is None
    refused = stats.d_study(study, {"grader": 9}).refused
    assert refused is not None
    assert refused.code == "TOO_FAR"


# ------------------------------------------------------------ published


def test_brennan_synthetic_data_set_3() -> None:
    answer = CHECKS["g_study"](brennan())
    # Brennan (2001), tables 3.2 and 4.1; lme4 gives the same by REML
    published = {"p": 0.5528, "i": 0.4417, "o": 0.0074, "pi": 0.5750, "po": 0.1009, "io": 0.1565, "pio_e": 0.9352}
    assert {name: answer[name] for name in published} == pytest.approx(published, abs=5e-5)
    assert (answer["Erho2_4_2"], answer["Phi_4_2"]) == pytest.approx((0.639871, 0.554125), abs=1e-6)
    assert answer["D"]["8x2"] == pytest.approx([0.75355, 0.689028], abs=1e-5)
    assert answer["D"]["16x8"] == [answer["Erho2_16_8"], answer["Phi_16_8"]]


def test_one_facet_agrees_with_restricted_maximum_likelihood() -> None:
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    rng = np.random.default_rng(5)
    table = rng.normal(0, 1, 20)[:, None] + rng.normal(size=(20, 4))
    table -= table.mean(axis=0)  # graders have no part, so that one random effect describes it
    marks, facets = crossed(table, "case", "grader")
    found = mixed.MixedLM(marks, np.ones((80, 1)), facets["case"]).fit(reml=True)
    # without a grader effect MS within = (SS rest) / 60 against / 57 with one
    study = stats.g_study(marks, facets, object_of_measurement="case", fixed=())
    rest = study.components[2].raw * 57 / 60
    assert rest == pytest.approx(found.scale, rel=1e-3)
    assert study.components[0].mean_square == pytest.approx(4 * float(found.cov_re[0, 0]) + found.scale, rel=1e-3)


# ------------------------------------------------------------ invariance


def test_order_names_and_scale_change_nothing() -> None:
    rng = np.random.default_rng(7)
    table = drawn(rng, 12, 5, 1, 0.5, 1)
    table[rng.random(table.shape) < 0.2] = np.nan
    marks, facets = crossed(table, "case", "grader")
    first = stats.g_study(marks, facets, object_of_measurement="case")
    shuffled = rng.permutation(len(marks))
    renamed = {"grader": np.array(list("edcba"))[facets["grader"]][shuffled], "case": 50 - facets["case"][shuffled]}
    second = stats.g_study(3 * marks[shuffled] + 7, renamed, object_of_measurement="case")
    assert not first.balanced
    for one in first.components:
        other = next(each for each in second.components if set(each.facets) == set(one.facets))
        assert (other.raw, other.low, other.high) == pytest.approx((9 * one.raw, 9 * one.low, 9 * one.high))
    assert first.observed is not None
    assert second.observed is not None
    assert first.observed.e_rho2 == pytest.approx(second.observed.e_rho2)


def test_intervals_are_nested_in_the_level() -> None:
    marks, facets = crossed(drawn(np.random.default_rng(2), 15, 4, 1, 0.5, 1), "case", "grader")
    ends = []
    for level in (0.5, 0.8, 0.95, 0.99):
        found = stats.g_study(marks, facets, object_of_measurement="case", confidence_level=level).observed
        assert found is not None
        ends.append((found.phi_low, found.phi_high))
    assert all(wide[0] <= narrow[0] <= narrow[1] <= wide[1] for narrow, wide in itertools.pairwise(ends))


# ------------------------------------------------------------ simulation


def test_components_are_unbiased_with_missing_marks() -> None:
    rng = np.random.default_rng(11)
    found = []
    for _ in range(200):
        table = drawn(rng, 15, 5, 1, 0.7, 1)
        table[rng.random(table.shape) < 0.3] = np.nan
        study = stats.g_study(*crossed(table, "case", "grader"), object_of_measurement="case")
        found.append([one.raw for one in study.components])
    error = np.std(found, axis=0) / math.sqrt(len(found))
    assert np.all(np.abs(np.mean(found, axis=0) - [1, 0.49, 1]) < 3.5 * error)
    assert np.all(error < 0.06)


@pytest.mark.parametrize(("case", "grader", "cases", "graders"), [(1.0, 0.0, 30, 3), (0.5, 0.5, 40, 6)])
def test_intervals_of_dependability_cover_and_are_not_too_wide(case: float, grader: float, cases: int, graders: int) -> None:
    rng = np.random.default_rng(13)
    truth = case**2 / (case**2 + 1 / graders)
    covered = 0
    for _ in range(300):
        marks, facets = crossed(drawn(rng, cases, graders, case, grader, 1), "case", "grader")
        found = stats.g_study(marks, facets, object_of_measurement="case").observed
        assert found is not None
        assert found.e_rho2_low is not None
        assert found.e_rho2_high is not None
        covered += found.e_rho2_low <= truth <= found.e_rho2_high
    # 300 runs: three standard errors are .038
    assert 0.912 <= covered / 300 <= 0.988


# ------------------------------------------------------------ the next dollar


def study_of(rng: np.random.Generator, n: int, k: int, j: int, spread: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    c, r, g = (axis.ravel() for axis in np.indices((n, k, j)))
    y = rng.normal(0, spread[0], n)[c] + rng.normal(0, spread[1], (n, k))[c, r] + rng.normal(0, spread[2], j)[g]
    return y + rng.normal(0, spread[3], (n, j))[c, g] + rng.normal(0, spread[4], n * k * j), c, g, r


def next_dollar(marks: tuple[np.ndarray, ...], **options: Any) -> stats.NextDollar:
    costs = {"cost_case": 0.10, "cost_call": 0.01, "cost_grade": 0.02, "rng": np.random.default_rng(0)}
    return stats.next_dollar(*marks, **(costs | options))


def test_the_plan_adds_up_by_hand() -> None:
    found = next_dollar(study_of(np.random.default_rng(1), 30, 2, 3, (1, 0.5, 0.3, 0.3, 0.5)))
    part = dict(found.variance_by_source)
    assert found.now is not None
    # 30 cases at 0.10, 60 answers at 0.01, 180 marks at 0.02
    assert found.now.cost == pytest.approx(3 + 0.6 + 3.6)
    shares = part["case"] / 30 + part["repeat"] / 60 + part["grader"] / 3 + part["case x grader"] / 90 + part["error"] / 180
    assert found.now.variance == pytest.approx(shares)
    grader = next(one for one in found.actions if one.buys == "one more grader for every answer")
    assert grader.cost == pytest.approx(7.2 + 60 * 0.02)
    assert grader.saving == pytest.approx((found.now.variance - grader.variance) / 1.2)
    assert found.actions[0].saving == max(one.saving or 0.0 for one in found.actions)


def test_its_components_are_those_of_a_g_study() -> None:
    y, c, g, _ = study_of(np.random.default_rng(4), 20, 1, 4, (1, 0, 0.5, 0, 1))
    kept = np.random.default_rng(1).random(len(y)) < 0.8
    found = next_dollar((y[kept], c[kept], g[kept]))
    study = stats.g_study(y[kept], {"case": c[kept], "grader": g[kept]}, object_of_measurement="case")
    assert [value for _, value in found.variance_by_source] == pytest.approx([one.value for one in study.components])
    assert found.not_measured == ("repeat", "case x grader")


def test_the_best_design_is_the_best_of_all() -> None:
    found = next_dollar(study_of(np.random.default_rng(8), 12, 2, 2, (0.5, 1, 0.3, 0.2, 1)), budget=6.0)
    assert found.best is not None
    part = np.array([value for _, value in found.variance_by_source])
    everything = [
        (float(part @ [1 / n, 1 / (n * k), 1 / j, 1 / (n * j), 1 / (n * k * j)]), n, k, j)
        for n, k, j in itertools.product(range(2, 49), range(1, 9), range(1, 9))
        if n * (0.10 + 0.01 * k + 0.02 * k * j) <= 6.0 + 1e-9
    ]
    assert found.best.variance == pytest.approx(min(everything)[0])
    assert found.best.cost <= 6.0 + 1e-9


@pytest.mark.parametrize(
    ("spread", "buys"),
    [
        ((3, 0.1, 0.01, 0.1, 0.1), "one more case"),
        ((0.1, 0.1, 2, 0.1, 0.1), "one more grader for every answer"),
    ],
)
def test_it_says_what_the_noise_comes_from(spread: tuple[float, ...], buys: str) -> None:
    found = next_dollar(study_of(np.random.default_rng(2), 40, 3, 5, spread))
    assert found.advice == f"buy {buys}"
    assert found.stable is not None
    assert found.stable >= 0.7


def test_two_actions_of_equal_worth_are_too_close_to_call() -> None:
    marks = study_of(np.random.default_rng(6), 40, 1, 4, (1, 0, 0.3, 0, 1))
    first = next_dollar(marks)
    by_name = {one.buys: one for one in first.actions}
    # at this price of a case both actions save as much for a dollar
    saved = {name: (one.saving or 0.0) * (one.cost - (first.now.cost if first.now else 0)) for name, one in by_name.items()}
    grader_price = by_name["one more grader for every answer"].cost - (first.now.cost if first.now else 0)
    worth = saved["one more case"] / saved["one more grader for every answer"] * grader_price
    found = next_dollar(marks, cost_case=worth - 0.01 - 4 * 0.02)
    assert found.advice.startswith("too close to call")


def test_clusters_widen_the_interval() -> None:
    marks = study_of(np.random.default_rng(3), 60, 1, 3, (0.2, 0, 0.1, 0, 0.5))
    cluster = marks[1] // 6
    shifted = (marks[0] + np.random.default_rng(4).normal(0, 1, 10)[cluster], *marks[1:])
    alone, together = next_dollar(shifted), next_dollar(shifted, cluster=cluster)
    assert alone.now is not None
    assert together.now is not None
    assert together.now.width > 1.3 * alone.now.width
    assert together.n_clusters == 10


def test_predicted_widths_come_true() -> None:
    rng = np.random.default_rng(17)
    spread = (1.0, 0.5, 0.2, 0.2, 0.6)
    predicted = [next_dollar(study_of(rng, 25, 2, 6, spread), draws=2).now for _ in range(120)]
    means = [float(np.mean(study_of(rng, 25, 2, 6, spread)[0])) for _ in range(400)]
    # the mean of predicted variances is that of the means, within four standard errors (of both)
    ratio = np.mean([one.variance for one in predicted if one]) / np.var(means)
    assert 0.7 < ratio < 1.4


# ------------------------------------------------------------ random inputs


values = st.sampled_from([0.0, 1.0, 2.0, 0.5, -3.0, 1e9, math.nan])
rows = st.lists(st.tuples(values, st.integers(0, 4), st.integers(0, 2), st.integers(0, 1)), max_size=30)


@tried(80)
@given(rows, st.sampled_from(["case", "grader"]), st.sampled_from([(), ("criterion",), ("grader",)]))
def test_random_inputs_get_components_or_a_refusal(marks: list[tuple[float, int, int, int]], of: str, fixed: tuple[str, ...]) -> None:
    table = np.array(marks, dtype=np.float64).reshape(-1, 4)
    facets = {name: table[:, place].astype(np.int64) for place, name in enumerate(("case", "grader", "criterion"), 1)}
    study = stats.g_study(table[:, 0], facets, object_of_measurement=of, fixed=fixed)
    json.dumps(study.as_dict(), allow_nan=False)
    assert str(study)
    assert "<table" in study._repr_html_()
    if study.refused is not None:
        assert study.refused.why
        assert study.refused.next
        assert study.components == ()
    else:
        assert all(one.low <= one.value <= one.high for one in study.components)


@tried(80)
@given(rows, st.booleans())
def test_random_inputs_get_advice_or_a_refusal(marks: list[tuple[float, int, int, int]], clustered: bool) -> None:
    table = np.array(marks, dtype=np.float64).reshape(-1, 4)
    case = np.arange(len(table)) // 2 if len(table) > 14 else table[:, 1].astype(np.int64)
    found = next_dollar(
        (table[:, 0], case, table[:, 2].astype(np.int64), table[:, 3].astype(np.int64)), cluster=case // 2 if clustered else None, draws=20
    )
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
    else:
        assert found.now is not None
        assert found.now.variance >= 0
