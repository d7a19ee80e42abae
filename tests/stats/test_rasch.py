"""Severity of raters: the many-facet Rasch model, raw differences, and means adjusted for who marked what."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.checks.raters import CHECKS
from fairmark.stats.rasch import fit_rating_scale, level_moments, linked_parts
from tests.stats.random_inputs import tried

# 12 responses x 3 raters x 4 criteria on levels 0 to 3
TABLE = """1001 3000 0000  0100 2100 0001  1120 1000 2010  2320 1021 1100  1021 1101 1100  2213 0111 0000
2230 3220 2111  2212 1211 2121  3312 2211 2202  3322 3232 3321  3332 2332 3212  2233 3322 2121"""


def table() -> np.ndarray:
    return np.array([[int(mark) for mark in rater] for rater in TABLE.split()]).reshape(12, 3, 4)


def long(marks: np.ndarray) -> tuple[np.ndarray, ...]:
    return (marks.ravel(), *(axis.ravel() for axis in np.indices(marks.shape)))


def drawn(rng: np.random.Generator, n: int, criteria: int, severity: list[float], spread: float = 1.2) -> tuple[np.ndarray, list[float]]:
    """Marks on levels 0 to 3 under the model, and the true severities in points at the mean ability."""
    threshold, harsh = np.array([-1.2, 0.0, 1.2]), np.array(severity)
    ability = rng.normal(0, spread, n)
    eta = ability[:, None, None] - harsh[:, None] - np.linspace(-0.4, 0.4, criteria) * (criteria > 1)
    climb = np.concatenate([np.zeros((*eta.shape, 1)), np.cumsum(eta[..., None] - threshold, axis=-1)], axis=-1)
    odds = np.cumsum(np.exp(climb), axis=-1)
    marks = np.sum(rng.random(eta.shape)[..., None] * odds[..., -1:] > odds[..., :-1], axis=-1)
    middle = np.array([ability.mean()])
    points = level_moments(middle, threshold)[0] - level_moments(middle - harsh, threshold)[0]
    return marks, points.tolist()


# ------------------------------------------------------------ by hand


def test_two_raters_and_two_levels_by_hand() -> None:
    # of 40 responses that divide them the first passes 30: joint likelihood says 2 log 3, conditional log 3 (Andersen 1973),
    # which is what the factor (L - 1)/L = 1/2 makes of it; responses that both pass or both fail say nothing
    first = np.repeat([1, 0, 1, 0], [30, 10, 25, 15])
    second = np.repeat([0, 1, 1, 0], [30, 10, 25, 15])
    level, response = np.concatenate([first, second]), np.tile(np.arange(80), 2)
    fit = fit_rating_scale(level, response, np.repeat([0, 1], 80), np.zeros(160, dtype=np.int64), penalty=0.0)
    assert fit is not None
    assert fit.severity[1] - fit.severity[0] == pytest.approx(2 * math.log(3))
    assert np.isposinf(fit.ability[40])
    assert np.isneginf(fit.ability[79])


def test_raw_difference_by_hand() -> None:
    # on six responses rater a gives 1 less than the mean of b and c, who agree: raw 1 for a, -0.5 for each of them
    marks = np.array([[1, 2, 2], [0, 1, 1], [2, 3, 3], [1, 2, 2], [0, 1, 1], [2, 3, 3]])
    level, response, rater = long(marks)
    found = stats.many_facet_rasch(level, response, np.array(list("abc"))[rater])
    assert found.refused is not None
    assert found.refused.code == "TOO_FEW_CASES"
    assert {one.rater: one.raw for one in found.raters} == {"a": 1.0, "b": -0.5, "c": -0.5}
    assert all(one.points is None for one in found.raters)


def test_raters_linked_through_others_are_linked() -> None:
    # a and b meet at response 0, b and c at 1, d and e at 2
    rater, response = np.array([0, 1, 1, 2, 3, 4]), np.array([0, 0, 1, 1, 2, 2])
    assert linked_parts(rater, response).tolist() == [0, 0, 0, 1, 1]


def test_raters_that_share_no_response_are_not_compared() -> None:
    marks, _ = drawn(np.random.default_rng(1), 40, 2, [0, 0, 0, 0])
    level, response, rater, criterion = long(marks)
    kept = (rater < 2) == (response < 20)
    found = stats.many_facet_rasch(level[kept], response[kept], np.array(["ann", "bob", "cyd", "dan"])[rater[kept]], criterion[kept])
    assert found.refused is not None
    assert found.refused.code == "NOT_LINKED"
    assert "ann, bob | cyd, dan" in found.refused.why
    assert all(one.raw is not None for one in found.raters)


def test_a_rater_who_always_gives_the_top_level_has_no_severity() -> None:
    marks, _ = drawn(np.random.default_rng(1), 40, 2, [0, 0, 0])
    marks[:, 0] = 3
    found = stats.many_facet_rasch(*long(marks))
    assert found.refused is not None
    assert found.refused.code == "NO_VARIATION"
    assert found.raters[0].raw is not None


def test_raters_who_keep_to_their_own_criterion_cannot_be_told_from_it() -> None:
    marks, _ = drawn(np.random.default_rng(1), 40, 3, [0, 0.5, -0.5])
    level, response, rater, criterion = long(marks)
    own = rater == criterion
    found = stats.many_facet_rasch(level[own], response[own], rater[own], criterion[own])
    assert found.refused is not None
    assert found.refused.code == "NOT_LINKED"


# ------------------------------------------------------------ published


def test_reference_fit_without_penalty_or_correction() -> None:
    # joint maximum likelihood by scipy's BFGS; infit and outfit from its residuals
    answer = CHECKS["many_facet_rasch"](table().tolist())
    assert answer["severity"].tolist() == pytest.approx([-0.7417, -0.0434, 0.7851], abs=1e-4)
    assert answer["difficulty"].tolist() == pytest.approx([-0.8658, -0.1816, 0.2594, 0.7880], abs=1e-4)
    assert answer["tau"].tolist() == pytest.approx([-1.5087, -0.2495, 1.7582], abs=1e-4)
    assert answer["nll"] == pytest.approx(133.9695, abs=1e-4)
    assert answer["infit_rater"] == pytest.approx([1.2242, 1.0203, 0.7730], abs=1e-4)
    assert answer["outfit_rater"] == pytest.approx([1.1339, 0.9785, 0.8898], abs=1e-4)


def test_corrected_severity_is_near_conditional_estimates() -> None:
    # RaschPy 1.4, conditional pairwise estimation: -.661, -.032, .693; ours with 11/12 of joint maximum likelihood
    severity = 11 / 12 * np.array(CHECKS["many_facet_rasch"](table().tolist())["severity"])
    assert severity.tolist() == pytest.approx([-0.661, -0.032, 0.693], abs=0.03)


def test_the_fit_is_a_maximum() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    level, response, rater, criterion = long(table())
    fit = fit_rating_scale(level, response, rater, criterion)

    def loss(free: np.ndarray) -> float:
        ability, severity, difficulty, threshold = free[:12], free[12:14], free[14:17], free[17:19]
        severity, difficulty, threshold = (np.append(one, -one.sum()) for one in (severity, difficulty, threshold))
        eta = ability[response] - severity[rater] - difficulty[criterion]
        climb = np.concatenate([np.zeros((len(level), 1)), np.cumsum(eta[:, None] - threshold, axis=1)], axis=1)
        chosen = climb[np.arange(len(level)), level] - np.logaddexp.reduce(climb, axis=1)
        return float(-chosen.sum() + ability @ ability / 18)

    found = optimize.minimize(loss, np.zeros(19), method="BFGS")
    assert fit is not None
    assert fit.ability.tolist() == pytest.approx(found.x[:12].tolist(), abs=1e-4)
    assert fit.severity[:2].tolist() == pytest.approx(found.x[12:14].tolist(), abs=1e-4)


# ------------------------------------------------------------ invariance


def test_order_and_names_change_nothing() -> None:
    rng = np.random.default_rng(5)
    marks, _ = drawn(rng, 40, 3, [-0.5, 0.0, 0.2, 0.6])
    kept = rng.random(marks.size) < 0.7
    level, response, rater, criterion = (one[kept] for one in long(marks))
    first = stats.many_facet_rasch(level, response, rater, criterion)
    order = rng.permutation(len(level))
    second = stats.many_facet_rasch(level[order], 100 - response[order], 9 - rater[order], np.array(list("cab"))[criterion[order]])
    assert first.refused is None
    for one, other in zip(first.raters, reversed(second.raters), strict=True):
        assert (one.points, one.se, one.infit) == pytest.approx((other.points, other.se, other.infit), rel=1e-6)
    assert first.fair is not None
    assert second.fair is not None
    assert first.fair.scores == pytest.approx(second.fair.scores[::-1], rel=1e-6)


def test_a_turned_scale_turns_the_signs() -> None:
    marks, _ = drawn(np.random.default_rng(6), 50, 2, [-0.5, 0.0, 0.5])
    first, turned = stats.many_facet_rasch(*long(marks)), stats.many_facet_rasch(*long(3 - marks))
    assert [one.points for one in first.raters] == pytest.approx([-(one.points or 0.0) for one in turned.raters], abs=1e-6)


def test_intervals_are_nested_in_the_level() -> None:
    marks, _ = drawn(np.random.default_rng(7), 40, 2, [-0.5, 0.0, 0.5])
    widths = []
    for level in (0.5, 0.9, 0.95, 0.999):
        one = stats.many_facet_rasch(*long(marks), confidence_level=level).raters[0]
        assert one.low is not None
        assert one.high is not None
        widths.append(one.high - one.low)
    assert widths == sorted(widths)


# ------------------------------------------------------------ simulation


@pytest.mark.parametrize(("n", "criteria", "missing"), [(40, 1, 0.0), (80, 2, 0.3)])
def test_severity_intervals_cover_and_are_not_too_wide(n: int, criteria: int, missing: float) -> None:
    rng = np.random.default_rng(19)
    covered, off = 0, []
    for _ in range(150):
        marks, points = drawn(rng, n, criteria, [-0.6, -0.1, 0.2, 0.5])
        kept = rng.random(marks.size) >= missing
        found = stats.many_facet_rasch(*(one[kept] for one in long(marks)))
        assert found.refused is None
        for one, truth in zip(found.raters, points, strict=True):
            assert one.points is not None
            assert one.low is not None
            assert one.high is not None
            covered += one.low <= truth <= one.high
            off.append(one.points - truth)
    # 600 intervals, four of a data set alike: three standard errors about .04
    assert 0.91 <= covered / 600 <= 0.985
    assert abs(np.mean(np.reshape(off, (150, 4)), axis=0)).max() < 0.04


def test_fair_scores_undo_who_marked() -> None:
    rng = np.random.default_rng(23)
    marks, _ = drawn(rng, 300, 2, [-1.0, 0.0, 1.0])
    level, response, rater, criterion = long(marks)
    # even responses are marked by the mild two, odd ones by the harsh two
    kept = np.where(response % 2 == 0, rater <= 1, rater >= 1)
    found = stats.many_facet_rasch(level[kept], response[kept], rater[kept], criterion[kept])
    assert found.fair is not None
    fair = dict(zip((int(one) for one in found.fair.responses), found.fair.scores, strict=True))
    raw = [float(np.mean(level[kept & (response % 2 == side)])) for side in (0, 1)]
    even, odd = (float(np.mean([score for one, score in fair.items() if one % 2 == side])) for side in (0, 1))
    assert raw[0] - raw[1] > 0.4
    assert abs(even - odd) < 0.25


def test_an_erratic_rater_is_found() -> None:
    rng = np.random.default_rng(29)
    marks, _ = drawn(rng, 60, 3, [0.0, 0.0, 0.0, 0.0], spread=2.0)
    marks[:, 3] = rng.integers(0, 4, size=(60, 3))
    found = stats.many_facet_rasch(*long(marks))
    assert [one.misfit for one in found.raters] == [False, False, False, True]
    assert "3 does not mark as the model says" in found.warnings


# ------------------------------------------------------------ who marked what


def test_shares_of_raters_by_hand() -> None:
    # a marks 30 of 40 of x and 10 of 40 of y: expected 20 each, chi2 = 4 x 100 / 20 = 20, V = sqrt(20 / 80) = 0.5
    found = stats.confounding(np.repeat(list("abab"), [30, 10, 10, 30]), np.repeat(list("xxyy"), [30, 10, 10, 30]))
    assert (found.chi2, found.cramers_v) == pytest.approx((20.0, 0.5))
    assert found.confounded
    assert "a marked 75% of x, 25% of y" in found.headline()
    assert not stats.confounding(np.tile(list("ab"), 40), np.repeat(list("xy"), 40)).confounded


def test_adjusted_means_by_hand() -> None:
    # a gives x 4, y 2 ; b gives x 3, y 1, b marks 1 lower. x is marked by a twice and b once, y by b twice and a once.
    # effects around the mean: x +1, y -1, a +0.5, b -0.5; all marks 4 4 3 2 1 1 have the mean 2.5
    score, system, rater = np.array([4.0, 4, 3, 2, 1, 1]), np.array(list("xxxyyy")), np.array(list("aabbbb"))
    rater[3] = "a"
    found = stats.severity_adjusted(score, system, rater, rng=np.random.default_rng(0))
    assert [(one.system, one.raw) for one in found.systems] == [("x", pytest.approx(11 / 3)), ("y", pytest.approx(4 / 3))]
    assert [one.adjusted for one in found.systems] == pytest.approx([3.5, 1.5])
    assert dict(found.rater_effects) == pytest.approx({"a": 0.5, "b": -0.5})


def test_adjusted_means_are_those_of_ordinary_least_squares() -> None:
    rng = np.random.default_rng(31)
    system, segment, rater = rng.integers(0, 4, 300), rng.integers(0, 40, 300), rng.integers(0, 3, 300)
    score = system * 0.3 + rater * 0.5 + rng.normal(0, 1, 40)[segment] + rng.normal(size=300)
    design = np.concatenate([np.eye(4)[system], np.eye(3)[rater][:, 1:], np.eye(40)[segment][:, 1:]], axis=1)
    found = np.linalg.lstsq(design, score, rcond=None)[0]
    ours = stats.severity_adjusted(score, system, rater, segment, rng=rng)
    means = {one.system: one.adjusted for one in ours.systems}
    assert means["3"] - means["0"] == pytest.approx(found[3] - found[0])
    effects = dict(ours.rater_effects)
    assert effects["2"] - effects["0"] == pytest.approx(found[5])
    # the mean of all marks stays
    assert sum(means[str(one)] * np.mean(system == one) for one in range(4)) == pytest.approx(score.mean())
    assert ours.ranking is not None


def test_adjusted_means_cover_and_raw_ones_do_not() -> None:
    rng = np.random.default_rng(37)
    covered = raw = 0
    for _ in range(200):
        segment, system = np.repeat(np.arange(50), 3), np.tile(np.arange(3), 50)
        # rater 2, harsher by a point, marks most of system 2
        rater = np.where((system == 2) == (rng.random(150) < 0.7), 2, rng.integers(0, 2, 150))
        score = np.array([1.0, 0.5, 0.5])[system] - (rater == 2) + rng.normal(0, 0.5, 50)[segment] + rng.normal(0, 0.5, 150)
        found = {one.system: one for one in stats.severity_adjusted(score, system, rater, segment, draws=50, rng=rng).systems}
        truth = 0.5 - float(np.mean(rater == 2))
        one = found["2"]
        assert one.low is not None
        assert one.high is not None
        covered += one.low <= truth <= one.high
        raw += one.low - one.adjusted <= truth - one.raw <= one.high - one.adjusted
    # 200 runs: three standard errors are .046
    assert 0.904 <= covered / 200 <= 0.99
    assert raw / 200 < 0.5


@pytest.mark.parametrize(
    ("system", "rater", "code"),
    [("aabb", "xxxx", "ONE_RATER"), ("aabb", "xxyy", "NOT_LINKED"), ("", "", "NO_DATA"), ("abab", "xxyy", "TOO_FEW_CLUSTERS")],
)
def test_adjustment_says_why_and_what_next(system: str, rater: str, code: str) -> None:
    score = np.arange(float(len(system)))
    found = stats.severity_adjusted(score, np.array(list(system)), np.array(list(rater)), rng=np.random.default_rng(0))
    assert found.refused is not None
    assert found.refused.code == code
    assert found.refused.next


# ------------------------------------------------------------ random inputs


@tried(80)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 40), st.integers(0, 3), st.integers(0, 1)), max_size=90), st.booleans())
def test_random_inputs_get_severities_or_a_refusal(marks: list[tuple[int, int, int, int]], clustered: bool) -> None:
    level, response, rater, criterion = np.array(marks, dtype=np.int64).reshape(-1, 4).T
    if len(level) > 40:
        response = np.arange(len(level)) // 3
    found = stats.many_facet_rasch(level, response, rater, criterion, cluster=response // 4 if clustered else None)
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
    else:
        assert found.fair is not None
        assert all(0 <= one <= 3 for one in found.fair.scores)


numbers = st.sampled_from([0.0, 1.0, -2.0, 0.5, 1e9, math.inf])


@tried(80)
@given(st.lists(st.tuples(numbers, st.integers(0, 2), st.integers(0, 2), st.integers(0, 9)), max_size=40), st.booleans())
def test_random_inputs_get_adjusted_means_or_a_refusal(marks: list[tuple[float, int, int, int]], with_segments: bool) -> None:
    table = np.array(marks, dtype=np.float64).reshape(-1, 4)
    system, rater, segment = table[:, 1:].astype(np.int64).T
    adjusted = stats.severity_adjusted(
        table[:, 0], system, rater, segment if with_segments else None, draws=30, rng=np.random.default_rng(0)
    )
    for found in (adjusted, stats.confounding(rater, system)):
        json.dumps(found.as_dict(), allow_nan=False)
        assert str(found)
        refused = found.refused
        if refused is not None:
            assert refused.why
            assert refused.next
    ranks = [(one.rank_low, one.rank_high) for one in adjusted.ranking.ranked] if adjusted.ranking is not None else []
    assert all(1 <= low <= high <= len(ranks) for low, high in ranks)
    assert all(one[0] <= other[1] for one, other in itertools.pairwise(ranks))
