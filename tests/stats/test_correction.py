"""Pass rates and their differences, corrected by people's marks."""

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
from fairmark.results import Estimate
from fairmark.stats.checks import shipped_checks
from fairmark.stats.correction import ALIKE, Corrected, likeness
from tests.stats.random_inputs import tried

LEVELS = (0.001, 0.2, 0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.9999, 1 - 1e-8)


def study(
    rng: np.random.Generator, n: int, groups: int | None, p: float, right: tuple[float, float], marks: int, fewest: int = 4
) -> tuple[Any, Any, Any, Any]:
    """Verdicts, labels with marks at random within verdicts, clusters and the truth."""
    cluster = None if groups is None else np.sort(np.arange(n) % groups)
    truth = (rng.random(n) < p).astype(np.int64)
    verdict = np.where(rng.random(n) < np.where(truth == 1, *right), truth, 1 - truth)
    label = np.full(n, -1)
    for code in (0, 1):
        there = rng.permutation(np.flatnonzero(verdict == code))
        chosen = there[: max(round(marks * len(there) / n), fewest)]
        label[chosen] = truth[chosen]
    return verdict, label, cluster, truth


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def code(found: Estimate | Corrected) -> str:
    assert found.refused is not None
    assert found.refused.why
    assert found.refused.next
    return found.refused.code


# ------------------------------------------------------------ by hand


def test_counts_by_hand() -> None:
    # half of 100 passed by the grader, all 8 marked there pass and none of 8 elsewhere: p = .5; Jeffreys' limits of 8/8 and
    # 0/8 mirror each other, so that both ends are .5 -+ sqrt((.5 (1 - l))^2 + z^2 .25 / 100)
    low = stats.jeffreys(8, 8).low
    half = math.sqrt((0.5 * (1 - low)) ** 2 + ndtri(0.975) ** 2 * 0.25 / 100)
    found = stats.verdict_stratified(50, 100, 8, 8, 0, 8)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - half)
    assert found.high == pytest.approx(0.5 + math.hypot(0.5 * stats.jeffreys(0, 8).high, ndtri(0.975) * 0.05))


def test_clustered_rate_by_hand() -> None:
    # six clusters with one response of each verdict, all marked; of verdict 1 five pass, of verdict 0 one: theta 5/6 and 1/6,
    # p = 1/2 and a_g = theta_0 + theta_1 - 2 p = 0. b_g1 is 1/6 five times and -5/6 once: V_1 = 6/5 (5 + 25)/36 / 144 = 1/144
    # against w^2 theta (1 - theta)/n = 1/4 5/36 / 6, a ratio of 1.2, as for verdict 0. K_v = 1.
    # b_g0 b_g1 sums to 4 (1/6)(-1/6) + (-5/6)(-1/6) + (1/6)(5/6) = 6/36 where the odd ones out stand in different clusters, so that
    # C = 2 6/5 (6/36) / 144. The verdicts' share is 1/2 in every cluster: V = 0 and n_eff = 6 clusters.
    verdict, cluster = np.tile([1, 0], 6), np.repeat(np.arange(6), 2)
    label = np.array([0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0])
    t = stdtrit(5, 0.975)
    marks = 6 / 1.2 / (t / ndtri(0.975)) ** 2
    covariance = 2 * 6 / 5 * (6 / 36) / 144
    within = stats.jeffreys(5 / 6 * marks, marks)
    share = stats.korn_graubard(verdict.astype(float), cluster)
    below = 0.25 * (5 / 6 - within.low) ** 2 + 0.25 * (within.high - 5 / 6) ** 2 + (4 / 6 * (0.5 - share.low)) ** 2 + t**2 * covariance
    found = stats.CorrectedRate(verdict, label, cluster)
    assert (found.value, found.df, found.n_marks) == (pytest.approx(0.5), 5, 12)
    assert found.at(0.95) == pytest.approx((0.5 - math.sqrt(below), 0.5 + math.sqrt(below)))


def test_design_effect_has_a_floor() -> None:
    # no error among the marks: V_v = 0 and theta is 1 or 0; 8 marks of each verdict, 2 in each of 4 of 8 clusters or one in each of 8
    verdict, cluster = np.repeat([1, 0], 16), np.tile(np.repeat(np.arange(8), 2), 2)
    spread, together = np.full(32, -1), np.full(32, -1)
    spread[::2] = verdict[::2]
    for start, first in ((0, 0), (16, 8)):
        together[start + first : start + first + 8] = verdict[start]
    apart, close = stats.CorrectedRate(verdict, spread, cluster), stats.CorrectedRate(verdict, together, cluster)
    # K = 1 + .2 (4 2^2 / 8 - 1) = 1.2 where marks stand together
    marks = 8 / 1.2 / (stdtrit(7, 0.975) / ndtri(0.975)) ** 2
    share = stats.korn_graubard(verdict.astype(float), cluster)
    assert close.at(0.95).low == pytest.approx(0.5 - math.hypot(0.5 * (1 - stats.jeffreys(marks, marks).low), 0.5 - share.low))
    assert apart.at(0.95).low > close.at(0.95).low


def test_difference_by_hand() -> None:
    # ten independent cases, all marked, no error: A passes 5, B passes 6, one case differs. D = .1, u = y_B - y_A - D:
    # V = 10/9 (.81 + 9 .01)/100 = .01, and of each verdict q (1 - q)/n with q = .5/(n + 1): V_v = 0
    a, b = np.repeat([1, 0], 5), np.repeat([1, 0], [6, 4])
    smoothed = sum((n / 10) ** 2 * (0.5 / (n + 1)) * (1 - 0.5 / (n + 1)) / n for n in (5, 5, 6, 4))
    found = stats.CorrectedDifference(a, a, b, b)
    assert found.value == pytest.approx(0.1)
    assert found.se == pytest.approx(math.sqrt(0.01 + smoothed))
    assert found.at(0.95).high == pytest.approx(0.1 + stdtrit(9, 0.975) * math.sqrt(0.01 + smoothed))


def test_pairs_of_verdicts_by_hand() -> None:
    # ten cases on which both graders pass, five where B only does; all marked, as the graders say: d = 0 ten times, 1 five times
    a, b = np.repeat([1, 0], [10, 5]), np.ones(15, dtype=np.int64)
    smoothed = 0.0
    for n, ups, downs in ((10, 0.5, 0.5), (5, 5.5, 0.5)):
        up, down = ups / (n + 1), downs / (n + 1)
        smoothed += (n / 15) ** 2 * (up + down - (up - down) ** 2) / (n + 1)
    found = stats.CorrectedDifference(a, a, b, b, paired_strata=True)
    raw = 15 / 14 * (10 * (1 / 3) ** 2 + 5 * (2 / 3) ** 2) / 15**2
    assert found.value == pytest.approx(1 / 3)
    assert found.se == pytest.approx(math.sqrt(raw + smoothed))


def test_likeness_by_hand() -> None:
    # clusters that agree within and differ between: 1; each cluster half and half: (0 - 1/2... ) MSB = 0, MSW = 8/4: -1
    cluster = np.repeat(np.arange(4), 2)
    assert likeness(np.array([1.0, 1, 0, 0, 1, 1, 0, 0]), cluster) == pytest.approx(1)
    assert likeness(np.array([1.0, 0] * 4), cluster) == pytest.approx(-1)
    assert likeness(np.ones(8), cluster) is None
    assert likeness(np.ones(4), np.arange(4)) is None


# ------------------------------------------------------------ published and other programs


@pytest.mark.parametrize("kind", ["verdict_stratified", "verdict_stratified_clustered", "corrected_difference", "ordinal_correction"])
def test_reference_values_ship(kind: str) -> None:
    """They are recomputed by `tests/stats/test_checks.py`; here only: they have a source."""
    assert all(check["source"] for check in shipped_checks() if check["kind"] == kind)


def test_one_verdict_on_counts_is_the_jeffreys_interval() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for x, n in ((3, 10), (17, 20), (40, 90)):
        found = stats.verdict_stratified(500, 500, x, n, 0, 0)
        assert ends(found) == pytest.approx(proportion.proportion_confint(x, n, method="jeffreys"))


def test_all_marked_has_the_cluster_robust_error_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    cluster = rng.integers(0, 15, 120)
    verdict, truth = rng.integers(0, 2, 120), rng.integers(0, 2, 120)
    robust = api.OLS(truth, np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    found = stats.CorrectedRate(verdict, truth, cluster)
    # with every response marked, the strata cancel and the error is that of a plain clustered mean
    assert found.value == pytest.approx(robust.params[0])
    assert found.se == pytest.approx(robust.bse[0])
    assert found.se == pytest.approx(stats.clustered_mean(truth.astype(float), cluster).se)


# ------------------------------------------------------------ invariance


def test_order_and_names_of_cases_clusters_and_verdicts_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    verdict, label, cluster, _ = study(rng, 90, 12, 0.7, (0.9, 0.8), 40)
    once = stats.CorrectedRate(verdict, label, cluster).at(0.95)
    order, names = rng.permutation(90), rng.permutation(12) + 100
    assert stats.CorrectedRate(verdict[order], label[order], names[cluster[order]]).at(0.95) == pytest.approx(once)
    assert stats.CorrectedRate(7 - 3 * verdict, label, cluster).at(0.95) == pytest.approx(once)
    again = stats.CorrectedDifference(verdict[order], label[order], 1 - verdict[order], label[order], names[cluster[order]])
    assert again.at(0.95) == pytest.approx(stats.CorrectedDifference(verdict, label, 1 - verdict, label, cluster).at(0.95))


def test_fails_mirror_passes_and_the_second_system_mirrors_the_first() -> None:
    rng = np.random.default_rng(5)
    a, label_a, cluster, _ = study(rng, 90, 12, 0.7, (0.9, 0.8), 40)
    b, label_b, _, _ = study(rng, 90, 12, 0.9, (0.9, 0.8), 40)
    low, high = stats.CorrectedRate(a, label_a, cluster).at(0.95)
    assert stats.CorrectedRate(a, np.where(label_a < 0, -1, 1 - label_a), cluster).at(0.95) == pytest.approx((1 - high, 1 - low))
    for paired in (False, True):
        both = (label_a, label_a) if paired else (label_a, label_b)
        first = stats.CorrectedDifference(a, both[0], a if paired else b, both[1], cluster, paired_strata=paired)
        second = stats.CorrectedDifference(a if paired else b, both[1], a, both[0], cluster, paired_strata=paired)
        low, high = first.at(0.9)
        assert second.at(0.9) == pytest.approx((-high, -low))


def test_two_strata_of_one_kind_add_up() -> None:
    """A verdict that is split by chance gives nearly the same answer: the third stratum is no other method."""
    rng = np.random.default_rng(6)
    verdict, label, _, _ = study(rng, 2000, None, 0.7, (0.9, 0.85), 400)
    two = stats.CorrectedRate(verdict, label).at(0.95)
    three = stats.CorrectedRate(np.where((verdict == 1) & (rng.random(2000) < 0.3), 2, verdict), label).at(0.95)
    assert three == pytest.approx(two, abs=0.01)


# ------------------------------------------------------------ levels


def test_intervals_are_nested_and_p_is_their_inversion() -> None:
    rng = np.random.default_rng(7)
    for groups, p in itertools.product((None, 8, 30), (0.5, 0.97)):
        verdict, label, cluster, _ = study(rng, 120, groups, p, (0.95, 0.9), 50, fewest=5)
        other, second, _, _ = study(rng, 120, groups, p, (0.95, 0.9), 50, fewest=5)
        for found in (
            stats.CorrectedRate(verdict, label, cluster),
            stats.CorrectedRate(verdict * 0, label, cluster),
            stats.CorrectedDifference(verdict, label, other, second, cluster),
            stats.CorrectedDifference(verdict, label, verdict, label, cluster, paired_strata=True),
        ):
            assert found.refused is None
            assert found.value is not None
            pairs = [found.at(level) for level in LEVELS]
            assert all(b.low <= a.low + 1e-12 and a.high <= b.high + 1e-12 for a, b in itertools.pairwise(pairs))
            assert pairs[0].low <= found.value + 1e-9
            assert pairs[0].high >= found.value - 1e-9
            bound = found.at(0.9).low
            assert stats.one_sided_p(found.at, bound, "low") == pytest.approx(0.05, rel=1e-3)


# ------------------------------------------------------------ refusals and warnings


def test_a_verdict_without_marks_is_named() -> None:
    verdict = np.repeat([0, 1, 2], [20, 70, 10])
    label = np.full(100, -1)
    label[:4], label[20:40] = 0, 1
    found = stats.corrected_rate(verdict, label, names={2: "unreadable"})
    assert code(found) == "LABEL_VERDICT"
    assert "verdict unreadable" in found.refused.why  # type: ignore[union-attr]
    assert "at least 4 more" in found.refused.next  # type: ignore[union-attr]
    assert (found.value, found.low, found.n_responses) == (None, None, 100)
    label[90:93] = 1
    assert "at least 1 more" in stats.corrected_rate(verdict, label).refused.next  # type: ignore[union-attr]
    label[93] = 0
    assert stats.corrected_rate(verdict, label).refused is None


def test_a_rare_verdict_needs_no_mark_and_may_be_anything() -> None:
    verdict = np.repeat([0, 1, 2], [30, 169, 1])
    label = np.full(200, -1)
    label[:10], label[30:60] = 0, 1
    found = stats.corrected_rate(verdict, label)
    assert found.refused is None
    assert any("verdict 2 has no mark" in warning for warning in found.warnings)
    without = stats.corrected_rate(np.minimum(verdict, 1), label)
    assert found.high > without.value  # type: ignore[operator]
    both = stats.corrected_difference(verdict, label, np.minimum(verdict, 1), label)
    assert both.refused is None
    assert both.high - both.low > 0  # type: ignore[operator]


def test_marks_in_few_clusters_are_refused() -> None:
    cluster = np.repeat(np.arange(20), 10)
    verdict = np.tile([0, 1], 100)
    label = np.where(cluster < 5, verdict, -1)
    assert code(stats.corrected_rate(verdict, label, cluster)) == "TOO_FEW_CLUSTERS"
    assert code(stats.corrected_difference(verdict, label, verdict, verdict, cluster)) == "TOO_FEW_CLUSTERS"
    # whole clusters may be marked, as soon as there are six
    assert stats.corrected_rate(verdict, np.where(cluster < 6, verdict, -1), cluster).refused is None


def test_nothing_and_nonsense_are_refused_or_raised() -> None:
    one, none = np.array([1, 0]), np.array([-1, -1])
    empty = np.array([], dtype=np.int64)
    assert code(stats.corrected_rate(empty, empty)) == "NO_DATA"
    assert code(stats.corrected_rate(one, none)) == "NO_DATA"
    assert code(stats.corrected_difference(one, one, one, none)) == "NO_DATA"
    assert code(stats.corrected_rate(one - 1, one)) == "OFF_SCALE"
    assert code(stats.corrected_rate(one, one + 1)) == "OFF_SCALE"
    assert code(stats.verdict_stratified(5, 10, 0, 0, 0, 0)) == "NO_DATA"
    assert code(stats.verdict_stratified(5, 10, 2, 5, 0, 0)) == "LABEL_VERDICT"
    with pytest.raises(ValueError, match="equally many"):
        stats.corrected_rate(one, np.array([1]))
    with pytest.raises(ValueError, match="cannot be"):
        stats.verdict_stratified(5, 10, 6, 5, 0, 0)
    with pytest.raises(ValueError, match="NO_DATA"):
        stats.CorrectedRate(one, none).at(0.95)


def test_a_whole_bank_of_marks_leaves_no_doubt_about_that_bank() -> None:
    found = stats.verdict_stratified(60, 100, 55, 60, 8, 40, bank=True)
    assert (found.value, found.low, found.high) == pytest.approx((0.63, 0.63, 0.63))
    about_such_cases = stats.verdict_stratified(60, 100, 55, 60, 8, 40)
    assert about_such_cases.low < 0.56  # type: ignore[operator]


def test_the_same_marks_on_the_same_cases_leave_doubt() -> None:
    # what each case adds to the two errors cancels exactly: V is the least there can be, 1 / (20 + 1)^2
    verdict, label = np.repeat([1, 0], [20, 20]), np.tile([1, 0, -1, -1], 10)
    found = stats.CorrectedDifference(verdict, label, verdict, label)
    assert found.value == 0
    assert found.se == pytest.approx(1 / 21)


def test_a_perfect_grader_leaves_doubt() -> None:
    verdict = np.repeat([1, 0], [190, 10])
    label = np.where(np.arange(200) % 3 == 0, verdict, -1)
    for paired in (False, True):
        found = stats.CorrectedDifference(verdict, label, verdict, label, paired_strata=paired)
        if paired:
            assert code(found) == "LABEL_VERDICT"  # 3 marks where both fail
            found = stats.CorrectedDifference(verdict, verdict, verdict, verdict, paired_strata=True)
        assert found.value == 0
        assert found.se is not None
        assert found.se > 0.004


def test_clusters_that_are_much_alike_give_a_warning() -> None:
    cluster = np.repeat(np.arange(20), 10)
    truth = (cluster % 3 > 0).astype(np.int64)
    found = stats.corrected_rate(truth, truth, cluster)
    assert any("much alike" in warning for warning in found.warnings)
    assert ALIKE < 0.3
    mixed = np.tile([1, 1, 0], 67)[:200]
    assert not stats.corrected_rate(mixed, mixed, cluster).warnings


# ------------------------------------------------------------ random inputs


@tried(100)
@given(st.data())
def test_random_inputs_of_corrections_give_a_value_or_a_refusal(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 30))
    codes = st.lists(st.integers(0, data.draw(st.integers(0, 2))), min_size=n, max_size=n)
    marks = st.lists(st.sampled_from([-1, 0, 1]), min_size=n, max_size=n)
    cluster = (
        None if data.draw(st.booleans()) else np.array(data.draw(st.lists(st.integers(-2, 12), min_size=n, max_size=n)), dtype=np.int64)
    )
    a, la, b, lb = (np.array(data.draw(one), dtype=np.int64) for one in (codes, marks, codes, marks))
    level = data.draw(st.sampled_from(LEVELS))
    for found in (
        stats.corrected_rate(a, la, cluster, confidence_level=level),
        stats.corrected_difference(a, la, b, lb, cluster, confidence_level=level),
        stats.corrected_difference(a, la, b, lb, cluster, confidence_level=level, paired_strata=True),
    ):
        json.dumps(found.as_dict(), allow_nan=False)
        assert str(found)
        if found.refused is not None:
            assert code(found)
        else:
            assert found.value is not None
            low, high = ends(found)
            assert low - 1e-9 <= found.value <= high + 1e-9
            assert low < high


@tried()
@given(st.lists(st.integers(0, 30), min_size=6, max_size=6), st.booleans(), st.sampled_from(LEVELS))
def test_random_inputs_of_counts_give_a_value_or_a_refusal(given: list[int], bank: bool, level: float) -> None:
    x1, n1, x0, n0, rest1, rest0 = given
    x1, x0 = min(x1, n1), min(x0, n0)
    found = stats.verdict_stratified(n1 + rest1, n1 + rest1 + n0 + rest0, x1, n1, x0, n0, bank=bank, confidence_level=level)
    json.dumps(found.as_dict(), allow_nan=False)
    if found.refused is None:
        assert found.value is not None
        low, high = ends(found)
        assert 0 <= low <= found.value + 1e-9
        assert found.value - 1e-9 <= high <= 1
    else:
        assert code(found)


# ------------------------------------------------------------ seeded simulation


def test_independent_cases_are_covered_and_not_too_widely() -> None:
    rng, runs, p = np.random.default_rng(21), 500, 0.8
    counts, arrays, width, human = 0, 0, 0.0, 0.0
    for _ in range(runs):
        verdict, label, _, truth = study(rng, 600, None, p, (0.95, 0.9), 60)
        low, high = stats.CorrectedRate(verdict, label).at(0.95)
        arrays += low <= p <= high
        (n1, x1), (n0, x0) = ((int(np.sum((verdict == v) & (label >= 0))), int(np.sum((verdict == v) & (label == 1)))) for v in (1, 0))
        low, high = ends(stats.verdict_stratified(int(verdict.sum()), 600, x1, n1, x0, n0))
        counts, width = counts + (low <= p <= high), width + high - low
        alone = stats.clopper_pearson(int(truth[:60].sum()), 60)
        human += alone.high - alone.low
    assert 0.93 <= counts / runs <= 0.985
    assert 0.93 <= arrays / runs <= 0.99
    assert width / human < 0.75


def test_differences_with_clusters_are_covered_and_the_raw_grader_is_not() -> None:
    rng, runs, covered, raw, width = np.random.default_rng(22), 300, 0, 0, 0.0
    for _ in range(runs):
        a, label_a, cluster, _ = study(rng, 400, 20, 0.7, (0.95, 0.9), 80)
        b, label_b, _, _ = study(rng, 400, 20, 0.7, (0.9, 0.6), 80)
        low, high = stats.CorrectedDifference(a, label_a, b, label_b, cluster).at(0.95)
        covered, width = covered + (low <= 0 <= high), width + (high - low) / runs
        found = stats.PairedIntervals((b - a).astype(float), None, single=True, rng=rng).at(0.95)
        raw += found.low <= 0 <= found.high
    assert covered / runs >= 0.94
    assert width < 0.3
    assert raw / runs < 0.8
