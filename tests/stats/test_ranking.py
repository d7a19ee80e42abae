"""Bradley-Terry and rank intervals: who is ahead, and what is left open."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from fairmark import stats
from fairmark.stats.checks.raters import CHECKS
from fairmark.stats.ranking import Ranking, beats_components, fit_bradley_terry
from tests.stats.random_inputs import tried


def fitted(first: Any, second: Any, outcome: Any, *more: Any, **options: Any) -> stats.BradleyTerry:
    options = {"rng": np.random.default_rng(0), "draws": 400} | options
    return stats.bradley_terry(np.asarray(first), np.asarray(second), np.asarray(outcome, dtype=np.float64), *more, **options)


def drawn(
    rng: np.random.Generator, ability: list[float], n: int, cases: int, spread: float = 0.0, order: float = 0.0
) -> tuple[np.ndarray, ...]:
    """Comparisons of random pairs on cases that suit some players better than others."""
    size = len(ability)
    first = rng.integers(0, size, n)
    second, case = (first + rng.integers(1, size, n)) % size, rng.integers(0, cases, n)
    own = np.array(ability) + rng.normal(0, spread, (cases, size))
    outcome = (rng.random(n) < expit(own[case, first] - own[case, second] + order)).astype(np.float64)
    return first, second, outcome, case


def holds_true_ranks(ranking: Ranking, truth: list[float]) -> bool:
    """Whether each rank interval holds all ranks that its player may be given, ties among the truth in any order."""
    return all(
        one.rank_low <= 1 + sum(other > truth[int(one.name)] for other in truth)
        and len(truth) - sum(other < truth[int(one.name)] for other in truth) <= one.rank_high
        for one in ranking.ranked
    )


# ------------------------------------------------------------ by hand


def test_two_players_by_hand() -> None:
    # 30 of 40: log 3, standard error sqrt(1/30 + 1/10)
    fit = fit_bradley_terry(np.array([[0.0, 30], [0, 0]]), np.array([[0.0, 40], [0, 0]]))
    assert fit is not None
    assert fit.log_ability.tolist() == pytest.approx([0, -math.log(3)])
    assert math.sqrt(fit.covariance[1, 1]) == pytest.approx(math.sqrt(1 / 30 + 1 / 10))


def test_the_order_effect_by_hand() -> None:
    # a first wins 32 of 40 (log 4), b first wins 20 of 40 (log 1): a - b = (log 4 - 0)/2, first = (log 4 + 0)/2
    first, second = np.repeat(list("ab"), 40), np.repeat(list("ba"), 40)
    found = fitted(first, second, np.repeat([1.0, 0.0, 1.0, 0.0], [32, 8, 20, 20]), order_effect=True)
    assert found.order_effect == pytest.approx(math.log(4) / 2)
    assert found.ranking.ranked[0].value - found.ranking.ranked[1].value == pytest.approx(math.log(4) / 2)
    assert found.order_low is not None
    assert found.order_high is not None
    # var(log 4 / 2) by the two logits: (1/32 + 1/8 + 1/20 + 1/20) / 4, here as the sandwich with 80 / 79
    se = math.sqrt(80 / 79 * (1 / 32 + 1 / 8 + 1 / 20 + 1 / 20) / 4)
    assert (found.order_high - found.order_low) / 2 == pytest.approx(1.9905 * se, rel=1e-4)


def test_a_tie_is_half_a_win_for_each() -> None:
    # 10 wins, 10 losses and 20 ties against 20 and 20: the same abilities
    tied = fitted(["a"] * 40, ["b"] * 40, [1.0] * 12 + [0.0] * 8 + [0.5] * 20)
    apart = fitted(["a"] * 40, ["b"] * 40, [1.0] * 22 + [0.0] * 18)
    assert tied.ranking.ranked[0].value == pytest.approx(apart.ranking.ranked[0].value)
    assert tied.wins == (("a", 22.0, 40), ("b", 18.0, 40))


def test_the_undefeated_are_not_comparable() -> None:
    # a beats b and c always; b and c beat each other
    first, second, outcome = list("aabbc"), list("bccbb"), [1, 1, 1, 1, 1]
    second[3], first[3] = "c", "b"
    found = fitted(first, second, outcome)
    assert found.refused is not None
    assert found.refused.code == "NOT_COMPARABLE"
    assert found.components == (("a",), ("b", "c"))
    assert "a | b, c" in found.refused.why
    marked = fitted(first, second, outcome, pseudo_wins=True)
    assert marked.refused is None
    assert marked.pseudo_wins == 0.5
    assert any("half a win was added" in one for one in marked.warnings)


def test_those_who_never_met_are_not_compared_with_pseudo_wins_either() -> None:
    found = fitted(list("abcd"), list("badc"), [1, 1, 1, 1], pseudo_wins=True)
    assert found.refused is not None
    assert "never compared" in found.refused.why
    assert found.components == (("a", "b"), ("c", "d"))


def test_strong_components_by_hand() -> None:
    # 0 -> 1 -> 2 -> 0 is a circle, 3 beats 0 and is never beaten
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 2] = wins[2, 0] = wins[3, 0] = 1
    assert beats_components(wins) == [[0, 1, 2], [3]]


def test_ranks_by_hand() -> None:
    # three means 3, 2, 1.9 on ten cases, errors of 0.1 independent of one another: the first is surely ahead, the others are not
    rng = np.random.default_rng(0)
    influence = np.linalg.qr(rng.normal(size=(10, 3)))[0] * 0.1
    found = stats.rank_intervals(list("abc"), np.array([3.0, 2.0, 1.9]), influence, rng=rng)
    assert [(one.name, one.rank_low, one.rank_high) for one in found.ranked] == [("a", 1, 1), ("b", 2, 3), ("c", 2, 3)]
    assert found.equals == (("a",), ("b", "c"))
    # t with 9 degrees of freedom is 2.262, and of three pairs the largest is larger by chance
    assert found.critical is not None
    assert 2.262 < found.critical < 4
    lower = stats.rank_intervals(list("abc"), np.array([3.0, 2.0, 1.9]), influence, higher_is_better=False, rng=rng)
    assert [one.name for one in lower.ranked] == ["c", "b", "a"]


def test_five_clusters_leave_every_order_open() -> None:
    rng = np.random.default_rng(1)
    found = stats.rank_means(np.tile([9.0, 1.0], 50) + rng.normal(size=100), np.tile(["a", "b"], 50), np.arange(100) // 20, rng=rng)
    assert found.refused is not None
    assert found.refused.code == "TOO_FEW_CLUSTERS"
    assert all((one.rank_low, one.rank_high) == (1, 2) for one in found.ranked)


# ------------------------------------------------------------ published


JOURNALS = [[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]]


def test_citations_between_journals() -> None:
    # Stigler (1994) in Agresti, Categorical Data Analysis: Biometrika, Comm. Statist., JASA, JRSS-B; BradleyTerry2 in R
    answer = CHECKS["bradley_terry"]({"order": ["Biometrika", "CommStat", "JASA", "JRSSB"], "wins_row_over_col": JOURNALS})
    assert answer["beta"].tolist() == pytest.approx([0, -2.949072, -0.479570, 0.268954], abs=1e-6)
    assert answer["se"][0] is None
    assert answer["se"][1:] == pytest.approx([0.102545, 0.060589, 0.070830], abs=1e-6)


def test_it_agrees_with_evalica() -> None:
    evalica = pytest.importorskip("evalica")
    first, second, outcome, _ = drawn(np.random.default_rng(2), [0, 0.5, 1, -1, -0.4, 0.2], 3000, 10)
    names = [[f"p{one}" for one in side] for side in (first, second)]
    winner = [evalica.Winner.X if one == 1 else evalica.Winner.Y for one in outcome]
    theirs = np.log(evalica.bradley_terry(*names, winner, tolerance=1e-12, limit=10_000).scores)
    ours = {one.name: one.value for one in fitted(*names, outcome).ranking.ranked}
    for name, value in (theirs - theirs.mean()).items():
        assert ours[name] == pytest.approx(value, abs=1e-4)


def test_it_agrees_with_logistic_regression() -> None:
    logit = pytest.importorskip("statsmodels.discrete.discrete_model").Logit
    first, second, outcome, _ = drawn(np.random.default_rng(3), [0, 0.5, 1, -1], 800, 10, order=0.4)
    design = (np.eye(4)[first] - np.eye(4)[second])[:, 1:]
    theirs = logit(outcome, np.column_stack([design, np.ones(800)])).fit(disp=0)
    cell = first * 4 + second
    won, met = (np.bincount(cell, weights=one, minlength=16).reshape(4, 4) for one in (outcome, np.ones(800)))
    fit = fit_bradley_terry(won, met, order_effect=True)
    assert fit is not None
    assert [*fit.log_ability[1:], fit.order_effect] == pytest.approx(theirs.params.tolist(), abs=1e-6)
    assert np.sqrt(np.diag(fit.covariance))[1:].tolist() == pytest.approx(theirs.bse.tolist(), abs=1e-6)
    assert fit.log_likelihood == pytest.approx(theirs.llf)


# ------------------------------------------------------------ invariance


def test_order_names_and_sides_change_nothing() -> None:
    rng = np.random.default_rng(5)
    first, second, outcome, case = drawn(rng, [0, 0.5, 1, -1], 300, 40, spread=0.5)
    one = fitted(first, second, outcome, case)
    order, names, turned = rng.permutation(300), np.array(list("dbca")), rng.random(300) < 0.5
    sides = np.where(turned, second, first), np.where(turned, first, second)
    other = fitted(names[sides[0]][order], names[sides[1]][order], np.where(turned, 1 - outcome, outcome)[order], 7 * case[order])
    for before, after in zip(one.ranking.ranked, other.ranking.ranked, strict=True):
        assert names[int(before.name)] == after.name
        assert (before.value, before.low, before.high) == pytest.approx((after.value, after.low, after.high))


def test_a_million_alike_comparisons_stay_small_and_say_the_same() -> None:
    first, second, outcome, _ = drawn(np.random.default_rng(6), [0, 0.5, 1, -1], 500, 10)
    joined, apart = fitted(first, second, outcome), fitted(first, second, outcome, np.arange(500))
    for one, other in zip(joined.ranking.ranked, apart.ranking.ranked, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_clusters_that_agree_widen_the_interval() -> None:
    first, second, outcome, case = drawn(np.random.default_rng(7), [0, 0.5, 1], 600, 12, spread=1.0)
    by_case, alone = fitted(first, second, outcome, case), fitted(first, second, outcome)
    width = [found.ranking.ranked[0].high - found.ranking.ranked[0].low for found in (by_case, alone)]  # type: ignore[operator]
    assert width[0] > 1.3 * width[1]


def test_ranks_open_up_with_the_level() -> None:
    first, second, outcome, case = drawn(np.random.default_rng(8), [0, 0.3, 0.6, 0.9, 1.2], 500, 60, spread=0.5)
    open_ranks = []
    for level in (0.5, 0.8, 0.95, 0.999):
        found = fitted(first, second, outcome, case, confidence_level=level)
        open_ranks.append({one.name: (one.rank_low, one.rank_high) for one in found.ranking.ranked})
    for narrow, wide in itertools.pairwise(open_ranks):
        assert all(wide[name][0] <= low and high <= wide[name][1] for name, (low, high) in narrow.items())


# ------------------------------------------------------------ simulation


@pytest.mark.parametrize(("n", "cases", "spread"), [(200, 200, 0.0), (600, 20, 0.5)])
def test_rank_intervals_hold_for_all_equals_at_once_and_are_not_too_wide(n: int, cases: int, spread: float) -> None:
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(400):
        first, second, outcome, case = drawn(rng, [0.0] * 5, n, cases, spread)
        held += holds_true_ranks(fitted(first, second, outcome, case, draws=199).ranking, [0.0] * 5)
    # five equals: any two told apart is an error. 400 runs: three standard errors are .033
    assert 0.917 <= held / 400 <= 0.983


def test_ranks_of_players_that_differ_are_found() -> None:
    rng = np.random.default_rng(13)
    truth, told = [0.0, 1.0, 2.0, 3.0], 0
    for _ in range(30):
        first, second, outcome, case = drawn(rng, truth, 800, 80, 0.3)
        found = fitted(first, second, outcome, case).ranking
        assert holds_true_ranks(found, truth)
        told += sum(one.rank_low == one.rank_high for one in found.ranked)
    assert told > 0.9 * 30 * 4


def test_a_pair_by_itself_is_covered_as_often_as_said() -> None:
    rng = np.random.default_rng(17)
    covered = 0
    for _ in range(400):
        first, second, outcome, case = drawn(rng, [0.3, 0.0, -0.3], 300, 25, 0.0)
        one = next(each for each in fitted(first, second, outcome, case, draws=19).ranking.ranked if each.name == "0")
        assert one.low is not None
        assert one.high is not None
        covered += one.low <= 0.3 <= one.high
    assert 0.917 <= covered / 400 <= 0.983


# ------------------------------------------------------------ random inputs


outcomes = st.sampled_from([0.0, 1.0, 0.5, 0.25, 2.0, math.nan])
comparisons = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), outcomes, st.integers(0, 8)), max_size=40)


@tried(80)
@given(comparisons, st.booleans(), st.booleans(), st.booleans())
def test_random_inputs_get_ranks_or_a_refusal(
    compared: list[tuple[int, int, float, int]], order_effect: bool, pseudo_wins: bool, by_case: bool
) -> None:
    table = np.array([one for one in compared if one[0] != one[1] or len(compared) < 3], dtype=np.float64).reshape(-1, 4)
    if len(table) > 8:
        table[:, 2] = np.where(np.isin(table[:, 2], [0.0, 0.5, 1.0]), table[:, 2], 1.0)
    found = fitted(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2],
        table[:, 3] if by_case else None,
        order_effect=order_effect,
        pseudo_wins=pseudo_wins,
        draws=30,
    )
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    assert "<table" in found._repr_html_()
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
    else:
        size = len(found.ranking.ranked)
        assert all(1 <= one.rank_low <= place <= one.rank_high <= size for place, one in enumerate(found.ranking.ranked, 1))
        assert {name for run in found.ranking.equals for name in run} == {one.name for one in found.ranking.ranked}


@tried(80)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 0.5, -1e9, math.inf]), st.integers(0, 3), st.integers(0, 9)), max_size=40))
def test_random_inputs_of_scores_get_ranks_or_a_refusal(scores: list[tuple[float, int, int]]) -> None:
    table = np.array(scores, dtype=np.float64).reshape(-1, 3)
    found = stats.rank_means(table[:, 0], table[:, 1], table[:, 2], draws=30, rng=np.random.default_rng(0))
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
