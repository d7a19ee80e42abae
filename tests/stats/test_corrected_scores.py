"""Ordered levels and composite scores, corrected by people's marks."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri, stdtrit

from fairmark import stats
from fairmark.results import Estimate, Refusal
from fairmark.stats.checks import shipped_checks
from tests.stats.random_inputs import tried

LEVELS = (0.001, 0.2, 0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.9999, 1 - 1e-8)
QUARTERS = (0, 1 / 3, 2 / 3, 1)


def marked(rng: np.random.Generator, n: int, groups: int | None, marks: int, edges: tuple[float, ...], spread: float = 0.5) -> Any:
    """People's levels, the grader's, labels at random within the grader's levels, clusters."""
    cluster = None if groups is None else np.sort(np.arange(n) % groups)
    latent = rng.standard_normal(n)
    people = np.searchsorted(edges, latent)
    grade = np.searchsorted(edges, latent + spread * rng.standard_normal(n) + 0.2)
    label = np.full(n, -1)
    for level in np.unique(grade):
        there = rng.permutation(np.flatnonzero(grade == level))
        chosen = there[: max(round(marks * len(there) / n), 4)]
        label[chosen] = people[chosen]
    return people, grade, label, cluster


def code(refused: Refusal | None) -> str:
    assert refused is not None
    assert refused.why
    assert refused.next
    return refused.code


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


# ------------------------------------------------------------ by hand


def test_counts_by_hand() -> None:
    # half of 200 at each of two levels; people put 30 of 40 at level 1 where the grader did, 10 of 40 where it said 0: mean .5
    # SS_h = 40 .75 .25 = 7.5, s_0^2 = (15 + 1)/(80 - 2 + 1); what is seen: (w/n)^2 SS 40/39 of each level, which is more than
    # the smoothed (w/n)^2 (SS + s_0^2) lacks: 7.5 40/39 = 7.692 < 7.5 + .2025 = 7.7025
    seen = 80 / 79 * (0.25**2 / 200 + 2 * (0.5 / 40) ** 2 * 7.5)
    doubt = 2 * (0.5 / 40) ** 2 * (7.5 + 16 / 79 - 7.5 * 40 / 39)
    n_star = 0.25 / (seen + doubt) * (ndtri(0.975) / stdtrit(78, 0.975)) ** 2
    found = stats.ordinal_correction(np.array([[30, 10], [10, 30]]), np.array([100.0, 100]))
    assert found.distribution == pytest.approx((0.5, 0.5))
    assert (found.mean, found.naive) == pytest.approx((0.5, 0.5))
    assert (found.low, found.high) == pytest.approx(stats.clopper_pearson(n_star / 2, n_star))


def test_distribution_is_post_stratified() -> None:
    # published by hand in the reference values (P34): each level of the grader enters with its share of all responses
    (check,) = [one for one in shipped_checks() if one["kind"] == "ordinal_correction"]
    counts, size = np.array(check["input"]["C"]), np.array(check["input"]["N"], dtype=float)
    found = stats.ordinal_correction(counts, size)
    assert found.distribution == pytest.approx(size / 1000 @ (counts / counts.sum(axis=1, keepdims=True)))
    assert found.mean == pytest.approx(check["expected"]["mean"], abs=1e-6)
    assert found.low < found.mean < found.high  # type: ignore[operator]
    assert "1.136" in found.headline()


def test_counts_and_arrays_say_the_same() -> None:
    _, grade, label, _ = marked(np.random.default_rng(2), 300, None, 80, (-1, 0, 1))
    counts = np.array([[np.sum((grade == h) & (label == k)) for k in range(4)] for h in range(4)])
    by_counts = stats.ordinal_correction(counts, np.bincount(grade, minlength=4).astype(float))
    by_arrays = stats.corrected_levels(grade, label, levels=4)
    assert by_arrays.distribution == pytest.approx(by_counts.distribution)
    assert by_counts.mean == pytest.approx(by_arrays.mean.value * 3)  # type: ignore[operator]
    assert (by_counts.low, by_counts.high) == pytest.approx(tuple(3 * end for end in ends(by_arrays.mean)))
    assert by_counts.naive == pytest.approx(by_arrays.naive * 3)  # type: ignore[operator]


def test_two_levels_have_the_rate_as_their_mean() -> None:
    _, grade, label, cluster = marked(np.random.default_rng(3), 240, 16, 80, (0.0,))
    found = stats.corrected_levels(grade, label, cluster, levels=2)
    rate = stats.corrected_rate(grade, label, cluster)
    assert found.mean.value == pytest.approx(rate.value)
    assert ends(found.at_least[0]) == pytest.approx(ends(rate))
    assert found.distribution is not None
    assert found.distribution[1] == pytest.approx(rate.value)


def test_unequal_clusters_cost_degrees_of_freedom() -> None:
    # 8 clusters of 10 and one of 80: N^2 / sum N_g^2 = 25600 / 7200 = 3.6, so 2 degrees of freedom instead of 8
    _, grade, label, _ = marked(np.random.default_rng(4), 160, None, 60, (0.0,))
    cluster = np.minimum(np.arange(160) // 10, 8)
    assert stats.mean_of_levels(grade, label, cluster, values=(0, 1)).df == 2
    assert stats.mean_of_levels(grade, label, np.arange(160) // 10, values=(0, 1)).df == 15


# ------------------------------------------------------------ other programs


def test_all_marked_has_the_cluster_robust_error_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(5)
    people, grade, _, cluster = marked(rng, 200, 20, 60, (-1, 0, 1))
    other = np.clip(people + rng.integers(-1, 2, 200), 0, 3)
    robust = api.OLS((other - people) / 3, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    found = stats.corrected_levels_difference(grade, people, grade, other, cluster, values=QUARTERS)
    low, high = ends(found)
    assert found.value == pytest.approx(robust.params[0])
    # every response marked: only the floor of the design effect, at 10 marks a cluster, is added to the robust variance
    half = stdtrit(19, 0.975) * robust.bse[0]
    assert half <= (high - low) / 2 + 1e-12 <= 1.5 * half


# ------------------------------------------------------------ invariance


def test_order_and_names_do_not_matter_and_scales_mirror() -> None:
    rng = np.random.default_rng(6)
    people, grade, label, cluster = marked(rng, 240, 24, 80, (-1, 0, 1))
    once = stats.mean_of_levels(grade, label, cluster, values=QUARTERS)
    order, names = rng.permutation(240), rng.permutation(24) + 50
    assert stats.mean_of_levels(grade[order], label[order], names[cluster[order]], values=QUARTERS).at(0.9) == pytest.approx(once.at(0.9))
    low, high = once.at(0.95)
    assert stats.mean_of_levels(3 - grade, np.where(label < 0, -1, 3 - label), cluster, values=QUARTERS).at(0.95) == pytest.approx(
        (1 - high, 1 - low)
    )
    score, mark = grade / 3 + 0.0, np.where(label < 0, np.nan, people / 3)
    assert stats.mean_of_scores(score**2, mark, cluster).at(0.95) == pytest.approx(stats.mean_of_scores(score, mark, cluster).at(0.95))
    low, high = ends(stats.corrected_score_difference(score, mark, score[::-1], mark[::-1], cluster))
    assert ends(stats.corrected_score_difference(score[::-1], mark[::-1], score, mark, cluster)) == pytest.approx((-high, -low))


def test_intervals_are_nested_and_p_is_their_inversion() -> None:
    rng = np.random.default_rng(7)
    for groups, edges in itertools.product((None, 24), ((-1, 0, 1), (-1.9, -1.5, -0.8))):
        _, grade, label, cluster = marked(rng, 300, groups, 90, edges)
        _, other, second, _ = marked(rng, 300, groups, 90, edges)
        first, last = (stats.mean_of_levels(a, b, cluster, values=QUARTERS) for a, b in ((grade, label), (other, second)))
        for found in (first, stats.CorrectedMeanDifference(first, last)):
            assert found.refused is None
            assert found.value is not None
            pairs = [found.at(level) for level in LEVELS]
            assert all(b.low <= a.low + 1e-12 and a.high <= b.high + 1e-12 for a, b in itertools.pairwise(pairs))
            assert pairs[0].low <= found.value + 1e-9
            assert pairs[0].high >= found.value - 1e-9
            assert stats.one_sided_p(found.at, found.at(0.9).high, "high") == pytest.approx(0.05, rel=1e-3)


# ------------------------------------------------------------ refusals


def test_a_mean_at_the_ceiling_is_refused_and_the_shares_are_not() -> None:
    _, grade, label, cluster = marked(np.random.default_rng(8), 240, 12, 80, (-2, -1.5, -1))
    found = stats.corrected_levels(grade, label, cluster, levels=4)
    assert code(found.mean.refused) == "CEILING"
    assert [one.refused for one in found.at_least] == [None] * 3
    assert found.distribution is not None
    assert math.fsum(found.distribution) == pytest.approx(1)
    mirrored = stats.corrected_levels(3 - grade, np.where(label < 0, -1, 3 - label), cluster, levels=4)
    assert code(mirrored.mean.refused) == "FLOOR"
    # with independent cases and enough marks there is a mean, unless all marks are the best
    assert stats.corrected_levels(grade, label, levels=4).mean.refused is None
    assert code(stats.corrected_levels(grade, np.where(label < 0, -1, 3), levels=4).mean.refused) == "CEILING"


def test_composite_scores_ask_for_forty_marks_and_four_a_quartile() -> None:
    rng = np.random.default_rng(9)
    score = rng.random(200)
    mark = np.where(np.arange(200) < 39, score, np.nan)
    assert code(stats.corrected_score(score, mark).refused) == "TOO_FEW_MARKS"
    mark[39] = score[39]
    assert stats.corrected_score(score, mark).refused is None
    low = np.where(np.argsort(np.argsort(score)) < 120, score, np.nan)
    found = stats.corrected_score(score, low)
    assert code(found.refused) == "LABEL_VERDICT"
    assert "score from" in found.refused.why  # type: ignore[union-attr]
    top = np.where(rng.random(200) < 0.85, 1.0, 0.5)
    assert code(stats.corrected_score(score, top).refused) == "CEILING"
    assert code(stats.corrected_score_difference(score, score, score, top).refused) == "CEILING"


def test_nothing_and_nonsense_are_refused_or_raised() -> None:
    one, none = np.array([1, 0]), np.array([-1, -1])
    assert code(stats.corrected_levels(one, none).refused) == "NO_DATA"
    assert code(stats.corrected_levels(one, np.array([5, -1]), levels=3).refused) == "OFF_SCALE"
    assert code(stats.corrected_score(np.array([0.5, 2]), np.array([0.5, np.nan])).refused) == "OFF_SCALE"
    assert code(stats.corrected_score(np.array([0.5, 1]), np.array([np.nan, np.nan])).refused) == "NO_DATA"
    assert code(stats.corrected_score(np.array([]), np.array([])).refused) == "NO_DATA"
    assert code(stats.ordinal_correction(np.zeros((2, 2)), np.array([5.0, 5])).refused) == "NO_DATA"
    assert code(stats.ordinal_correction(np.array([[3, 3], [0, 0]]), np.array([9.0, 9])).refused) == "LABEL_VERDICT"
    assert code(stats.ordinal_correction(np.array([[2, 1], [1, 1]]), np.array([9.0, 9])).refused) == "TOO_FEW_CLUSTERS"
    with pytest.raises(ValueError, match="rise"):
        stats.mean_of_levels(one, one, values=(1, 0))
    with pytest.raises(ValueError, match="row"):
        stats.ordinal_correction(np.ones((2, 2)), np.ones(3))
    with pytest.raises(ValueError, match="counts"):
        stats.ordinal_correction(np.full((2, 2), 5), np.array([10.0, 9]))


def test_the_same_marks_on_the_same_cases_leave_doubt() -> None:
    _, grade, label, cluster = marked(np.random.default_rng(10), 240, 24, 80, (-1, 0, 1))
    found = stats.corrected_levels_difference(grade, label, grade, label, cluster, values=QUARTERS)
    low, high = ends(found)
    assert found.value == 0
    assert high - low > 0.01


# ------------------------------------------------------------ random inputs


@tried(60)
@given(st.data())
def test_random_inputs_of_scores_give_a_value_or_a_refusal(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 50))

    def drawn(values: list[Any], kind: Any) -> Any:
        return np.array(data.draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)), dtype=kind)

    cluster = None if data.draw(st.booleans()) else drawn([*range(-1, 10)], np.int64)
    a, b = drawn([0, 1, 2, 3, 7], np.int64), drawn([3, 3, 2], np.int64)
    la, lb = drawn([-1, 0, 1, 2, 3], np.int64), drawn([3, 3, 2], np.int64)
    sa, sb = drawn([0.0, 0.25, 0.5, 1.0], np.float64), drawn([0.0, 1.0, 0.3], np.float64)
    ma, mb = drawn([0.0, 0.1, 1.0, math.nan], np.float64), drawn([1.0, 0.9], np.float64)
    level = data.draw(st.sampled_from(LEVELS))
    shown = stats.corrected_levels(a, la, cluster, levels=4, confidence_level=level)
    json.dumps(shown.as_dict(), allow_nan=False)
    assert str(shown)
    for found in (
        shown.mean,
        *shown.at_least,
        stats.corrected_levels_difference(a, la, b, lb, cluster, values=QUARTERS, confidence_level=level),
        stats.corrected_score(sa, ma, cluster, confidence_level=level),
        stats.corrected_score_difference(sa, ma, sb, mb, cluster, confidence_level=level),
    ):
        json.dumps(found.as_dict(), allow_nan=False)
        if found.refused is not None:
            assert code(found.refused)
        else:
            assert found.value is not None
            low, high = ends(found)
            assert low - 1e-9 <= found.value <= high + 1e-9
            assert low < high


@tried(100)
@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(0, 900))
def test_random_inputs_of_tables_give_a_value_or_a_refusal(counts: list[list[int]], more: int) -> None:
    table = np.array(counts)
    found = stats.ordinal_correction(table, table.sum(axis=1) + np.arange(len(table)) * float(more))
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is None:
        assert found.low <= found.mean <= found.high  # type: ignore[operator]
    else:
        assert code(found.refused)


# ------------------------------------------------------------ seeded simulation


def test_mean_levels_are_covered_and_not_too_widely() -> None:
    rng, runs, edges = np.random.default_rng(21), 300, (-1, 0, 1)
    inner = np.array([0.158655, 0.341345, 0.341345, 0.158655])
    truth, covered, width, naive = float(inner @ np.arange(4)) / 3, 0, 0.0, 0.0
    for _ in range(runs):
        _, grade, label, _ = marked(rng, 400, None, 60, edges)
        found = stats.mean_of_levels(grade, label, None, values=QUARTERS)
        low, high = found.at(0.95)
        covered, width, naive = covered + (low <= truth <= high), width + (high - low) / runs, naive + grade.mean() / 3 / runs
    assert 0.92 <= covered / runs <= 0.985
    assert width < 0.14  # sixty marks alone: 2 x 1.96 sd .305 / sqrt(60) = .154
    assert naive > truth + 0.03


def test_composite_differences_are_covered() -> None:
    rng, runs, covered, width = np.random.default_rng(22), 200, 0, 0.0
    for _ in range(runs):
        case, means = rng.random(300), []
        for _ in range(2):
            people = np.clip(0.2 + 0.5 * case + 0.15 * rng.standard_normal(300), 0, 1)
            score = np.clip(people + 0.1 * rng.standard_normal(300), 0, 1)
            means.append(stats.mean_of_scores(score, np.where(rng.permutation(300) < 60, people, np.nan)))
        low, high = stats.CorrectedMeanDifference(*means).at(0.95)
        covered, width = covered + (low <= 0 <= high), width + (high - low) / runs
    assert 0.91 <= covered / runs <= 0.99
    assert width < 0.1
