"""The alternative annotator test: as published, and with the guards that it needs."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import DescrStatsW

from fairmark import stats
from fairmark.results import Refusal
from fairmark.stats.replacement import EPSILON, leave_one_out
from tests.stats.random_inputs import tried

NAN = float("nan")


def code(refused: Refusal | None) -> str | None:
    return None if refused is None else refused.code


def study(seed: int, *, good: float = 0.7, people: float = 0.9, right: float = 0.95, n: int = 100, raters: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < good).astype(float)
    humans = np.where(rng.random((raters, n)) < people, truth, 1 - truth)
    return humans, np.where(rng.random(n) < right, truth, 1 - truth)


# ------------------------------------------------------------ by hand


def test_wins_by_hand() -> None:
    # item 1: all agree; 2: the first person differs, the grader agrees with the others; 3: the others differ among themselves
    humans = np.array([[1.0, 0, 1], [1, 1, 0], [1, 1, 1]])
    grader = np.array([1.0, 1, 0])
    first = leave_one_out(humans, grader)[0]
    # closeness to the second and third: grader 2, 2, 1 and the first person 2, 0, 1
    assert first.grader.tolist() == [1, 1, 1]
    assert first.person.tolist() == [1, 0, 1]
    # in numbers, with marks 4, 4 of the others: the grader's 3 is nearer than the person's 1
    one = leave_one_out(np.array([[1.0], [4], [4]]), np.array([3.0]), scoring="neg_squared_error")[0]
    assert (one.grader.tolist(), one.person.tolist()) == ([1], [0])
    # 2 and 4 are equally near to 3
    even = leave_one_out(np.array([[2.0], [3], [3]]), np.array([4.0]), scoring="neg_absolute_error")[0]
    assert (even.grader.tolist(), even.person.tolist()) == ([1], [1])


def test_the_t_test_by_hand() -> None:
    # each person: 40 items; the grader alone is right on 8, the person alone on 2, else both tie: d mean -.15
    humans, grader = np.ones((3, 40)), np.ones(40)
    humans[0, :8], grader[8:10] = 0, 0
    found = stats.alt_test_figures(humans, grader, eps=0.1)
    d = np.array([-1.0] * 8 + [1] * 2 + [0] * 30)
    # sd^2 = (10 - 40 * .0225) / 39, t = -.25 / (sd / sqrt(40))
    assert d.std(ddof=1) ** 2 == pytest.approx((10 - 40 * 0.0225) / 39)
    # others: on the first 8 items they stand against one person each, on two the grader is wrong
    _, p, _ = DescrStatsW(d).ttest_mean(0.1, alternative="smaller")
    assert found.p[0] == pytest.approx(p)
    assert found.advantage is not None
    assert found.advantage == pytest.approx((38 / 40 + 2 * (38 / 40)) / 3)


def test_people_with_gaps_are_compared_on_what_they_share() -> None:
    humans, grader = study(1)
    humans[0, 40:] = NAN
    humans[1, :10] = NAN
    humans[2, :5] = NAN
    grader[-7:] = NAN
    wins = leave_one_out(humans, grader)
    # the first five items are left with one person
    assert wins[0].items.tolist() == list(range(5, 40))
    assert wins[1].items.tolist() == list(range(10, 93))
    found = stats.alt_test(humans, grader)
    assert found.n_people == 3
    assert found.n_cases == 88


# ------------------------------------------------------------ published values


def test_the_reference_notebook_of_calderon_2025() -> None:
    """P24 of methods_checks.json: three people, three graders, computed with the authors' notebook."""
    base = np.array([7 * i % 3 for i in range(60)])
    i = np.arange(60)

    def moved(where: np.ndarray, by: int) -> np.ndarray:
        return ((base + np.where(where, by, 0)) % 3).astype(float)

    humans = np.array([moved(i % 5 == 0, 1), moved(i % 4 == 0, 1), moved(i % 3 == 0, 2)])
    for grader, rate, advantage, p in (
        (moved(i % 6 == 0, 1), 1.0, 0.955556, (0.000334, 0.001594, 0.0)),
        (moved(i % 2 == 0, 2), 0.0, 0.733333, (0.573767, 0.596924, 0.648139)),
        (moved(i % 3 == 1, 1), 1 / 3, 0.788889, (0.591542, 0.413869, 0.007685)),
    ):
        found = stats.alt_test_figures(humans, grader, eps=0.1)
        assert found.winning_rate == pytest.approx(rate)
        assert found.advantage == pytest.approx(advantage, abs=1e-6)
        assert found.p == pytest.approx(p, abs=1e-6)


def test_the_usual_eps_of_calderon_2025() -> None:
    assert EPSILON == {"expert": 0.2, "skilled": 0.15, "crowd": 0.1}


# ------------------------------------------------------------ guards


def test_a_grader_that_always_passes_is_refused_although_the_published_test_lets_it_in() -> None:
    humans, _ = study(2, good=0.9)
    always = np.ones(100)
    assert stats.alt_test_figures(humans, always).winning_rate == 1
    found = stats.alt_test(humans, always)
    assert code(found.refused) == "CONSTANT_VERDICT"
    # nor does it help to fail one answer
    almost = always.copy()
    almost[int(np.argmin(humans.sum(axis=0)))] = 0
    found = stats.alt_test(humans, almost)
    assert stats.alt_test_figures(humans, almost).winning_rate == 1
    assert found.verdict != "yes"
    assert found.balanced_winning_rate is not None
    assert found.balanced_winning_rate < 0.5
    assert any("alike" in one for one in found.stands_in_the_way)


def test_a_good_grader_is_let_in_and_an_opposite_one_turned_down() -> None:
    humans, grader = study(3)
    found = stats.alt_test(humans, grader, criterion="resolves", population="support cases")
    assert found.verdict == "yes"
    assert not found.stands_in_the_way
    assert "may replace one person on resolves, for support cases" in found.headline()
    assert "valid" not in str(found)
    assert found.low is not None
    assert found.high is not None
    assert found.advantage is not None
    assert 0 < found.low <= found.advantage <= found.high <= 1
    worse = stats.alt_test(humans, 1 - grader)
    assert worse.verdict == "no"
    assert worse.stands_in_the_way


def test_a_poor_grader_of_few_items_is_undecided() -> None:
    humans, grader = study(4, right=0.9, n=35)
    found = stats.alt_test(humans, grader, eps=0.1)
    assert found.verdict == "undecided"


def test_numbers_are_guarded_by_halves() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(1, 6, 120).astype(float)
    humans = np.clip(truth + rng.integers(-1, 2, (4, 120)), 1, 5)
    good = np.clip(truth + rng.choice([0, 0, 0, 1, -1], 120), 1, 5)
    assert stats.alt_test(humans, good, scoring="neg_squared_error").verdict == "yes"
    assert [one.level for one in stats.alt_test(humans, good, scoring="neg_squared_error").recalls] == ["the lower half", "the upper half"]
    assert stats.alt_test(humans, rng.permutation(good), scoring="neg_squared_error").verdict == "no"


def test_differences_that_do_not_vary_leave_it_undecided() -> None:
    one = np.tile([1.0, 0.0], 20)
    found = stats.alt_test(np.array([one] * 3), one)
    assert found.verdict == "undecided"
    assert code(found.refused) == "NO_VARIATION"


@pytest.mark.parametrize(
    ("humans", "grader", "cluster", "expected"),
    [
        (np.full((3, 40), NAN), np.ones(40), None, "NO_DATA"),
        (np.ones((0, 5)), np.ones(5), None, "NO_DATA"),
        (np.tile([1.0, 0.0], (2, 20)), np.tile([1.0, 0.0], 20), None, "TOO_FEW_PEOPLE"),
        (np.tile([1.0, 0.0], (3, 4)), np.tile([1.0, 0.0], 4), None, "TOO_FEW_PEOPLE"),
        (np.tile([1.0, 0.0], (3, 20)), np.ones(40), None, "CONSTANT_VERDICT"),
        (np.ones((3, 40)), np.tile([1.0, 0.0], 20), None, "NO_VARIATION"),
        (np.tile([1.0] * 19 + [0.0], (3, 2)), np.tile([1.0, 0.0], 20), None, "TOO_FEW_OF_A_LEVEL"),
        (np.tile([1.0, math.inf], (3, 20)), np.tile([1.0, 0.0], 20), None, "OFF_SCALE"),
        (np.tile([1.0, 0.0], (3, 20)), np.tile([1.0, 0.0], 20), np.arange(40) % 5, "TOO_FEW_CLUSTERS"),
    ],
)
def test_refusals(humans: np.ndarray, grader: np.ndarray, cluster: np.ndarray | None, expected: str) -> None:
    found = stats.alt_test(humans, grader, cluster)
    assert code(found.refused) == expected
    assert found.verdict == "undecided"
    assert found.refused is not None
    assert found.refused.next
    assert found.headline().startswith("alt-test: undecided")


def test_few_items_are_tested_by_the_score_of_their_mean() -> None:
    # 20 items, of which the person alone wins 1 and the grader alone 6
    humans, grader = np.tile(np.repeat([1.0, 0.0], 10), (3, 1)), np.repeat([1.0, 0.0], 10)
    humans[0, [0, 1, 2, 10, 11, 12]] = 1 - humans[0, [0, 1, 2, 10, 11, 12]]
    grader[4] = 0
    found = stats.alt_test(humans, grader)
    p = stats.one_sided_p(lambda level: stats.tango(1, 6, 20, confidence_level=level), 0.2, "high")
    assert found.p[0] == pytest.approx(p)
    assert any("score" in one for one in found.warnings)


# ------------------------------------------------------------ invariance


def test_the_order_of_people_and_items_and_the_names_of_levels_do_not_matter() -> None:
    humans, grader = study(6, right=0.9)
    rng = np.random.default_rng(7)
    order, people = rng.permutation(100), [2, 0, 1]
    cluster = np.arange(100) // 2
    for given_clusters in (None, cluster):
        plain = stats.alt_test(humans, grader, given_clusters)
        moved = stats.alt_test(humans[people][:, order], grader[order], None if given_clusters is None else 99 - given_clusters[order])
        renamed = stats.alt_test(5 - 3 * humans, 5 - 3 * grader, given_clusters)
        assert moved.p == pytest.approx([plain.p[one] for one in people])
        assert renamed.p == pytest.approx(plain.p)
        assert renamed.balanced_p == pytest.approx(plain.balanced_p)
        assert plain.verdict == moved.verdict == renamed.verdict
        assert (plain.low, plain.ac1, plain.kappa) == pytest.approx((moved.low, moved.ac1, moved.kappa))


def test_each_item_its_own_cluster_changes_nothing() -> None:
    humans, grader = study(8)
    assert stats.alt_test(humans, grader, np.arange(100)).p == pytest.approx(stats.alt_test(humans, grader).p)


# ------------------------------------------------------------ seeded simulation


def _share(verdict: str, runs: int, **design: Any) -> float:
    return sum(stats.alt_test(*study(seed, **design)).verdict == verdict for seed in range(runs)) / runs


def test_good_graders_are_recommended_and_guessing_ones_are_not() -> None:
    assert _share("yes", 100, right=0.95) >= 0.7
    assert _share("yes", 100, right=0.5) == 0
    # and a test that never said yes to a middling one, or always, would be no test
    assert 0.05 <= _share("yes", 100, right=0.8, people=0.95, n=60) <= 0.9


def test_a_person_who_is_better_by_eps_is_let_go_as_rarely_as_the_level_says() -> None:
    # d = 1 in .3 and -1 in .1 of 40 items: the mean is eps = .2, so that p is below .05 in 5% of studies
    generator = np.random.default_rng(9)
    runs, below = 600, 0
    for _ in range(runs):
        d = generator.choice([1.0, -1.0, 0.0], 40, p=[0.3, 0.1, 0.6])
        # two others who agree; the person and the grader are right or wrong as d says
        humans = np.ones((3, 40))
        humans[0] = np.where(d < 0, 0, 1)
        grader = np.where(d > 0, 0.0, 1.0)
        p = stats.alt_test_figures(humans, grader, eps=0.2).p[0]
        below += p is not None and p <= 0.05
    assert 0.02 <= below / runs <= 0.09


# ------------------------------------------------------------ random inputs

mark = st.sampled_from([0.0, 1.0, 1.0, 2.0, NAN])


@tried(120)
@given(st.data())
def test_random_inputs_of_the_alt_test(data: st.DataObject) -> None:
    raters, items = data.draw(st.integers(0, 5)), data.draw(st.sampled_from([0, 1, 9, 12, 31, 40]))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    few = data.draw(st.lists(mark, min_size=1, max_size=4))
    humans = rng.choice([*few, 1.0], (raters, items))
    grader = rng.choice([*few, 0.0] if data.draw(st.booleans()) else [1.0], items)
    if items and data.draw(st.integers(0, 9)) == 0:
        grader[0] = math.inf
    cluster = None if data.draw(st.booleans()) else rng.integers(0, data.draw(st.sampled_from([3, 8, 35])), items)
    scoring = data.draw(st.sampled_from(["accuracy", "neg_squared_error", "neg_absolute_error"]))
    found = stats.alt_test(humans, grader, cluster, scoring=scoring, eps=data.draw(st.sampled_from([0.0, 0.1, 0.2])))  # type: ignore[arg-type]
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
        assert found.verdict == "undecided"
    else:
        assert found.low is not None
        assert found.high is not None
        assert found.advantage is not None
        assert 0 <= found.low <= found.advantage <= found.high <= 1
        assert (found.verdict == "yes") == (not found.stands_in_the_way)
    figures = stats.alt_test_figures(humans, grader, scoring=scoring)  # type: ignore[arg-type]
    assert all(p is None or 0 <= p <= 1 for p in figures.p)


def test_wrong_shapes_are_mistakes() -> None:
    with pytest.raises(ValueError, match="people x items"):
        stats.alt_test(np.ones((3, 4)), np.ones(5))
    with pytest.raises(ValueError, match="cluster"):
        stats.alt_test(np.ones((3, 4)), np.ones(4), np.ones(5, dtype=int))
    with pytest.raises(ValueError, match="scoring"):
        stats.alt_test(np.ones((3, 4)), np.ones(4), scoring="similarity")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="eps"):
        stats.alt_test(np.ones((3, 4)), np.ones(4), eps=-0.1)
