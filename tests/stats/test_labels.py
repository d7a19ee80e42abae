"""Label plans, estimates over their strata, marks with unequal chances, and how marks were chosen."""

from __future__ import annotations

import json
import math
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.results import Result
from tests.stats.random_inputs import tried

NAN = float("nan")


def sound(found: Result) -> dict[str, Any]:
    """Its JSON: finite, and with a reason and a next step where it is refused."""
    said: dict[str, Any] = found.as_dict()
    json.dumps(said, allow_nan=False)
    if said["refused"] is not None:
        assert said["refused"]["why"]
        assert said["refused"]["next"]
    assert str(found)
    return said


def graded(seed: int, n: int = 1000, right: float = 0.88) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts, calibrated confidence, and what people would mark."""
    rng = np.random.default_rng(seed)
    verdict = (rng.random(n) < 0.6).astype(np.int64)
    confidence = 0.5 + 0.5 * rng.beta(2 * (2 * right - 1), 4 * (1 - right), n)
    return verdict, confidence, np.where(rng.random(n) < confidence, verdict, 1 - verdict).astype(float)


# ------------------------------------------------------------ by hand


def test_strata_are_verdicts_by_bins_of_confidence() -> None:
    found = stats.label_strata(np.array([1, 0, 1, 1, 0]), np.array([0.9, 0.8, 0.5, NAN, 0.1]))
    assert found.names == (
        "verdict 0, confidence 0 to 0.2",
        "verdict 0, confidence 0.8 to 1",
        "verdict 1, confidence 0.5 to 0.8",
        "verdict 1, confidence 0.8 to 1",
        "verdict 1, confidence unknown",
    )
    assert found.number.tolist() == [3, 1, 2, 4, 0]
    assert stats.label_strata(np.array([2, 0, 2])).names == ("verdict 0", "verdict 2")


def test_the_interval_over_strata_by_hand() -> None:
    # w = .6, .4; theta = 9/10, 2/10; p = .62; the shares vary by .6 (.28)^2 + .4 (.42)^2 = .1176
    value, (low, high) = stats.stratified_interval(np.array([60, 40]), np.array([10, 10]), np.array([9, 2]))
    first, second, z = stats.jeffreys(9, 10), stats.jeffreys(2, 10), 1.959963985
    assert value == pytest.approx(0.62)
    arm = (0.6 * (0.9 - first.low)) ** 2 + (0.4 * (0.2 - second.low)) ** 2 + z**2 * 0.1176 / 100
    assert low == pytest.approx(0.62 - math.sqrt(arm))
    # exactly these answers: no spread of shares, and the unmarked part (50/59, 30/39) of each variance
    _, (low, high) = stats.stratified_interval(np.array([60, 40]), np.array([10, 10]), np.array([9, 2]), bank=True)
    arm = 50 / 59 * (0.6 * (first.high - 0.9)) ** 2 + 30 / 39 * (0.4 * (second.high - 0.2)) ** 2
    assert high == pytest.approx(0.62 + math.sqrt(arm))
    _, whole = stats.stratified_interval(np.array([60, 40]), np.array([60, 40]), np.array([50, 2]), bank=True)
    assert whole == pytest.approx((0.52, 0.52))


def test_marks_go_where_strata_are_large_and_mixed() -> None:
    # scores: 500 * .5 = 250, 400 * sqrt(.1 * .9) = 120, 100 * .2 (the floor of the spread) = 20; 39 marks in that ratio
    found = stats.allocate_labels(np.array([500, 400, 100]), np.array([0.5, 0.9, 1.0]), np.zeros(3, dtype=int), 39)
    assert found is not None
    # the third gets its floor of 4, and the other 35 are shared 250 : 120 = 23.6 : 11.4
    assert found.tolist() == [24, 11, 4]
    # earlier marks stay where they are, even if they are too many
    again = stats.allocate_labels(np.array([500, 400, 100]), np.array([0.5, 0.9, 1.0]), np.array([0, 30, 0]), 9)
    assert again is not None
    assert again.tolist() == [5, 0, 4]
    assert stats.allocate_labels(np.array([500, 400]), np.array([0.5, 0.5]), np.zeros(2, dtype=int), 7) is None
    # a stratum cannot give more than it has, and no plan more than there is
    assert stats.allocate_labels(np.array([3, 5]), np.array([0.5, 0.5]), np.zeros(2, dtype=int), 50).tolist() == [3, 5]  # type: ignore[union-attr]


def test_the_predicted_saving_by_hand() -> None:
    # half pass of which .9 do, half fail of which .1 do not: 1 - .09/.25 = .64 in a large bank with equal shares
    sizes = np.array([10**8, 10**8])
    assert stats.predicted_saving(sizes, np.array([0.9, 0.1]), np.array([50, 50])) == pytest.approx(0.64, abs=1e-6)
    # in a bank of 1,000 the shares of the strata vary too: V = .09/100 + .16/1000, 1 - 100 V / .25
    assert stats.predicted_saving(np.array([500, 500]), np.array([0.9, 0.1]), np.array([50, 50])) == pytest.approx(1 - 0.106 / 0.25)
    assert stats.predicted_saving(np.array([5]), np.array([1.0]), np.array([2])) is None


def test_the_saving_of_graders_is_that_of_the_specification() -> None:
    # methods 4.3, verdicts only, p = .7: se .95 sp .90 saves 72%, .90/.70 37%, .70/.70 14% (theory)
    for se, sp, says in ((0.95, 0.90, 0.72), (0.90, 0.70, 0.37), (0.70, 0.70, 0.14)):
        passes = 0.7 * se + 0.3 * (1 - sp)
        sizes = np.round(1e8 * np.array([1 - passes, passes])).astype(int)
        shares = np.array([0.7 * (1 - se) / (1 - passes), 0.7 * se / passes])
        assert stats.predicted_saving(sizes, shares, sizes // 10**5) == pytest.approx(says, abs=0.006)


def test_hajek_by_hand() -> None:
    # weights 2, 2, 10, 10, 4, 4 of marks 1, 1, 0, 1, 0, 1: (2 + 2 + 10 + 4) / 32
    y, pi = np.array([1.0, 1, 0, 1, 0, 1]), np.array([0.5, 0.5, 0.1, 0.1, 0.25, 0.25])
    found = stats.weighted_mean(y, pi, n_rows=32)
    assert found.value == pytest.approx(18 / 32)
    # V = 6/5 sum (w (y - p))^2 / 32^2; at most Kish's 32^2 / 240, since only two marks fail
    e = np.array([2, 2, 10, 10, 4, 4]) * (y - 18 / 32) / 32
    n_star = min(18 / 32 * 14 / 32 / (1.2 * float(e @ e)), 32**2 / 240)
    assert (found.low, found.high) == pytest.approx(tuple(stats.clopper_pearson(18 / 32 * n_star, n_star)))


def test_equal_chances_give_the_interval_of_the_plain_mean() -> None:
    y = np.repeat([1.0, 0.0], [33, 12])
    cluster = np.arange(45) % 15
    found = stats.weighted_mean(y, np.full(45, 0.1), cluster)
    assert (found.low, found.high) == pytest.approx(tuple(stats.korn_graubard(y, cluster)))


def test_blocks_by_enumeration() -> None:
    # all 35 choices of 3 in 7 rows; rows 1-3 are one block, as are 5 choices in all
    def blocks(rows: tuple[int, ...]) -> int:
        return sum(row - 1 not in rows for row in rows)

    found = stats.mark_selection(np.array([0, 1, 2]), 7, chosen="random")
    counts = [blocks(rows) for rows in combinations(range(7), 3)]
    assert found.p == pytest.approx(sum(one <= 1 for one in counts) / 35)
    assert found.expected_blocks == pytest.approx(np.mean(counts))
    two = stats.mark_selection(np.array([0, 1, 5]), 7, chosen="random")
    assert two.p == pytest.approx(sum(one <= 2 for one in counts) / 35)


def test_first_rows_are_not_a_random_choice() -> None:
    found = stats.mark_selection(np.arange(20), 200, chosen="random", probability=np.full(20, 0.1))
    assert "rows 1-20 of 200" in found.say
    assert not found.usable
    assert sound(found)["refused"]["code"] == "MARKS_NOT_RANDOM"
    # scattered, but all within the first quarter
    rng = np.random.default_rng(2)
    assert not stats.mark_selection(rng.choice(60, 30, replace=False), 300, chosen="random").usable
    assert stats.mark_selection(rng.choice(300, 30, replace=False), 300, chosen="random").usable


def test_a_choice_is_judged_within_strata_and_over_whole_clusters() -> None:
    # a sorted file: all marks lie in one stratum's rows, at random there
    stratum = np.repeat([0, 1], [900, 100])
    rows = np.sort(900 + np.random.default_rng(3).choice(100, 50, replace=False))
    assert not stats.mark_selection(rows, 1000, chosen="stratified").usable
    assert stats.mark_selection(rows, 1000, chosen="stratified", stratum=stratum).usable
    # whole clusters of ten rows
    cluster = np.arange(1000) // 10
    drawn = np.flatnonzero(np.isin(cluster, np.random.default_rng(4).choice(100, 12, replace=False)))
    assert not stats.mark_selection(drawn, 1000, chosen="random").usable
    assert stats.mark_selection(drawn, 1000, chosen="random", cluster=cluster).usable
    assert not stats.mark_selection(np.arange(120), 1000, chosen="random", cluster=cluster).usable


@pytest.mark.parametrize(
    ("chosen", "probability", "code"),
    [
        ("self-selected", None, "MARKS_NOT_RANDOM"),
        ("unknown", None, "MARKS_NOT_RANDOM"),
        ("all", None, "MARKS_NOT_RANDOM"),
        ("stratified", 0.5, "WEIGHTS_DO_NOT_ADD_UP"),
        ("stratified", 0.0, "BAD_PROBABILITY"),
        ("stratified", NAN, "BAD_PROBABILITY"),
        ("stratified", 0.1, None),
    ],
)
def test_marks_are_usable_only_if_chosen_at_random(chosen: Any, probability: float | None, code: str | None) -> None:
    rows = np.arange(5, 400, 10)
    given_chances = None if probability is None else np.full(40, probability)
    found = stats.mark_selection(rows, 400, chosen=chosen, probability=given_chances)
    assert (sound(found)["refused"] or {}).get("code") == code
    assert found.usable == (code is None)
    assert found.n_marked == 40  # shown in any case
    if probability is not None:
        mean = stats.weighted_mean(np.arange(40) % 2.0, given_chances, n_rows=400)  # type: ignore[arg-type]
        assert (sound(mean)["refused"] or {}).get("code") == code


# ------------------------------------------------------------ the plan


def test_a_plan_draws_within_strata_with_the_recorded_chances() -> None:
    verdict, confidence, _ = graded(1)
    plan = stats.plan_labels(verdict, confidence, labels=80, rng=np.random.default_rng(1))
    strata = stats.label_strata(verdict, confidence)
    assert len(set(plan.rows)) == 80
    assert np.bincount(strata.number[list(plan.rows)], minlength=len(strata.names)).tolist() == [one.more for one in plan.strata]
    assert sum(1 / one for one in plan.probability) == pytest.approx(1000)
    assert all(one.more >= 4 for one in plan.strata)
    assert plan.worth_it
    assert plan.warnings
    sound(plan)


def test_the_drawn_rows_are_each_as_likely_as_recorded() -> None:
    verdict, confidence, _ = graded(2, n=60)
    drawn, chance = np.zeros(60), np.zeros(60)
    rng = np.random.default_rng(5)
    for _ in range(250):
        plan = stats.plan_labels(verdict, confidence, labels=24, rng=rng)
        drawn[list(plan.rows)] += 1 / 250
        chance[list(plan.rows)] = plan.probability
    assert np.max(np.abs(drawn - chance)) < 4.5 * np.sqrt(0.25 / 250)


def test_a_second_round_keeps_earlier_marks_in_their_strata() -> None:
    verdict, confidence, people = graded(3)
    first = stats.plan_labels(verdict, confidence, labels=40, rng=np.random.default_rng(1))
    marks = np.full(1000, NAN)
    marks[list(first.rows)] = people[list(first.rows)]
    second = stats.plan_labels(verdict, confidence, marks, labels=40, rng=np.random.default_rng(2))
    assert not set(first.rows) & set(second.rows)
    assert [one.marked for one in second.strata] == [one.more for one in first.strata]
    assert [one.name for one in second.strata] == [one.name for one in first.strata]
    assert not second.warnings
    # the chances are those of both rounds together, so that both rounds' marks weigh alike
    numbers = stats.label_strata(verdict, confidence).number
    both = np.array([second.strata[h].probability for h in numbers[[*first.rows, *second.rows]]])
    assert float(np.sum(1 / both)) == pytest.approx(1000)


def test_a_useless_grader_is_advised_against() -> None:
    rng = np.random.default_rng(6)
    verdict = rng.integers(0, 2, 1000)
    plan = stats.plan_labels(verdict, np.full(1000, 0.55), labels=100, rng=rng)
    assert plan.worth_it is False
    assert "drop this grader" in plan.advice
    good = stats.plan_labels(verdict, np.full(1000, 0.95), labels=100, rng=rng)
    assert good.worth_it is True
    # people find that the confident grader is right half of the time
    marks = np.full(1000, NAN)
    marks[list(good.rows)] = rng.integers(0, 2, 100)
    again = stats.plan_labels(verdict, np.full(1000, 0.95), marks, labels=50, rng=rng)
    assert again.worth_it is False


def test_more_marks_narrow_the_interval_as_predicted() -> None:
    verdict, confidence, people = graded(7)
    numbers = stats.label_strata(verdict, confidence).number
    plan = stats.plan_labels(verdict, confidence, labels=100, rng=np.random.default_rng(1))
    marks = np.full(1000, NAN)
    marks[list(plan.rows)] = people[list(plan.rows)]

    def counts() -> list[np.ndarray]:
        known = ~np.isnan(marks)
        return [np.bincount(numbers), np.bincount(numbers[known]), np.bincount(numbers[known], weights=marks[known]).astype(int)]

    gain = stats.label_gain(*counts(), more=60)
    again = stats.plan_labels(verdict, confidence, marks, labels=60, rng=np.random.default_rng(2))
    marks[list(again.rows)] = people[list(again.rows)]
    then = stats.stratified_rate(numbers, marks)
    assert gain.width is not None
    assert gain.width_then is not None
    assert then.low is not None
    assert then.high is not None
    assert gain.width_then < gain.width
    assert then.high - then.low == pytest.approx(gain.width_then, rel=0.2)
    assert plan.predicted_width == pytest.approx(gain.width, rel=0.25)
    assert "more marks would narrow" in gain.headline()


def test_the_marks_needed_for_a_width_are_those_whose_plan_reaches_it() -> None:
    verdict, confidence, _ = graded(9)
    strata = stats.label_strata(verdict, confidence)
    sizes, expected = np.bincount(strata.number), stats.expected_passes(strata, verdict, confidence)
    none = np.zeros(len(sizes), dtype=int)
    need = stats.labels_needed(sizes, expected, none, width=0.12)
    assert need is not None
    plans = [stats.plan_labels(verdict, confidence, labels=labels, rng=np.random.default_rng(1)) for labels in (need - 1, need)]
    assert plans[1].predicted_width <= 0.12 < plans[0].predicted_width  # type: ignore[operator]
    assert stats.labels_needed(sizes, expected, none, width=1.0) == 4 * len(sizes)
    assert stats.labels_needed(sizes, expected, none, width=0.001) is None


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("marks", "options", "code"),
    [
        ([NAN] * 40, {}, "NO_DATA"),
        ([1, 0] * 20, {"chosen": "unknown"}, "MARKS_NOT_RANDOM"),
        ([0.5] * 40, {}, "OFF_SCALE"),
        ([math.inf] * 40, {}, "OFF_SCALE"),
        ([1, 0] * 10 + [1, 0, 1] + [NAN] * 17, {}, "LABEL_VERDICT"),
        ([1, 0] * 20, {"bank": True, "cluster": np.arange(40) % 8}, "CLUSTERED_CORRECTION"),
        ([1, 0] * 20, {"cluster": np.arange(40) % 4}, "TOO_FEW_CLUSTERS"),
    ],
)
def test_an_estimate_over_strata_is_refused_with_a_reason(marks: list[float], options: dict[str, Any], code: str) -> None:
    found = stats.stratified_rate(np.repeat([0, 1], 20), np.array(marks), **options)
    assert sound(found)["refused"]["code"] == code
    assert found.value is None


def test_a_rare_stratum_may_go_without_marks() -> None:
    stratum = np.repeat([0, 1, 2], [500, 495, 5])
    marks = np.full(1000, NAN)
    marks[:30], marks[500:530] = 1, 0
    found = stats.stratified_rate(stratum, marks, names=("fails", "passes", "odd ones"))
    assert found.refused is None
    # it may be anything: .5 * 1 + .495 * 0 + .005 * pooled half
    assert found.value == pytest.approx(0.5025)


def test_plans_are_refused_with_a_reason() -> None:
    rng = np.random.default_rng(1)
    verdict = np.arange(40) % 2
    for found, code in (
        (stats.plan_labels(verdict, labels=7, rng=rng), "TOO_FEW_LABELS"),
        (stats.plan_labels(verdict[:0], labels=7, rng=rng), "NO_DATA"),
        (stats.plan_labels(verdict, np.full(40, 1.5), labels=10, rng=rng), "OFF_SCALE"),
        (stats.label_gain(np.array([9, 9]), np.array([0, 0]), np.array([0, 0]), more=3), "LABEL_VERDICT"),
    ):
        assert sound(found)["refused"]["code"] == code
    assert "at least 8" in str(stats.plan_labels(verdict, labels=7, rng=rng).refused)


# ------------------------------------------------------------ invariance


def test_the_order_of_answers_and_the_numbers_of_strata_do_not_matter() -> None:
    verdict, confidence, people = graded(8, n=300)
    rng = np.random.default_rng(9)
    marks = np.where(rng.random(300) < 0.4, people, NAN)
    number, order = stats.label_strata(verdict, confidence).number, rng.permutation(300)
    for cluster in (None, np.arange(300) % 30):
        plain = stats.stratified_rate(number, marks, cluster)
        moved = stats.stratified_rate((number.max() - number)[order], marks[order], None if cluster is None else 7 - cluster[order])
        assert (plain.value, plain.low, plain.high) == pytest.approx((moved.value, moved.low, moved.high))
        # passes called fails: the mirrored interval
        mirrored = stats.stratified_rate(number, 1 - marks, cluster)
        assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((plain.low, plain.high))  # type: ignore[operator]
    pi = rng.uniform(0.1, 1, 300)
    y = people * 1.0
    assert stats.weighted_mean(y, pi).low == pytest.approx(stats.weighted_mean(y[order], pi[order]).low)


def test_two_strata_are_the_verdict_stratified_estimate() -> None:
    verdict = np.repeat([0, 1], [300, 700])
    marks = np.full(1000, NAN)
    marks[:40], marks[300:360] = np.repeat([0, 1], [36, 4]), np.repeat([1, 0], [55, 5])
    found = stats.stratified_rate(verdict, marks)
    other = stats.verdict_stratified(700, 1000, 55, 60, 4, 40)
    assert (found.value, found.low, found.high) == pytest.approx((other.value, other.low, other.high))


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_nested_in_the_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stratum, y = rng.integers(0, 3, 200), (rng.random(200) < 0.8).astype(float)
    marks = np.where(rng.random(200) < 0.4, y, NAN)
    levels = (0.8, 0.9, 0.95, 0.975, 0.99)
    ends = [stats.stratified_rate(stratum, marks, confidence_level=level) for level in levels]
    pi = rng.uniform(0.2, 1, 200)
    weighted = [stats.weighted_mean(y, pi, confidence_level=level) for level in levels]
    assert all(b.low < a.low < a.high < b.high for a, b in pairwise(ends))  # type: ignore[operator]
    assert all(b.low < a.low < a.high < b.high for a, b in pairwise(weighted))  # type: ignore[operator]
    p = stats.one_sided_p(lambda level: (stats.stratified_rate(stratum, marks, confidence_level=level).low or 0.0, 1.0), 0.6, "low")
    assert (p <= 0.025) == (ends[2].low > 0.6)  # type: ignore[operator]


# ------------------------------------------------------------ seeded simulation


def test_planned_marks_cover_the_truth_as_often_as_they_say() -> None:
    covered, runs = 0, 300
    for seed in range(runs):
        verdict, confidence, people = graded(1000 + seed)
        plan = stats.plan_labels(verdict, confidence, labels=80, rng=np.random.default_rng(seed))
        marks = np.full(1000, NAN)
        marks[list(plan.rows)] = people[list(plan.rows)]
        found = stats.stratified_rate(stats.label_strata(verdict, confidence).number, marks)
        covered += found.low <= 0.6 * 0.88 + 0.4 * 0.12 <= found.high  # type: ignore[operator]
    # three standard errors below .95, and too wide fails as well
    assert 0.91 <= covered / runs <= 0.99


def test_weighted_marks_in_clusters_cover_the_truth() -> None:
    rng = np.random.default_rng(12)
    runs, covered, plain = 300, 0, 0
    for _ in range(runs):
        level = np.clip(rng.normal(0.7, 0.15, 40), 0, 1)
        cluster = np.repeat(np.arange(40), 15)
        easy = rng.random(600) < 0.5
        y = (rng.random(600) < np.clip(level[cluster] + np.where(easy, 0.2, -0.2), 0, 1)).astype(float)
        pi = np.where(easy, 0.1, 0.5)
        drawn = rng.random(600) < pi
        truth = float(np.mean([np.mean(np.clip(rng.normal(0.7, 0.15, 4000).clip(0, 1) + d, 0, 1)) for d in (0.2, -0.2)]))
        found = stats.weighted_mean(y[drawn], pi[drawn], cluster[drawn])
        covered += found.low <= truth <= found.high  # type: ignore[operator]
        low, high = stats.korn_graubard(y[drawn], cluster[drawn])
        plain += low <= truth <= high
    assert 0.91 <= covered / runs <= 0.99
    assert plain / runs < 0.5  # unweighted marks are mostly of hard answers


# ------------------------------------------------------------ random inputs

entry = st.sampled_from([0.0, 1.0, NAN, 0.5, -1.0, math.inf])


@tried(80)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.3, 0.6, 0.99, 1.0, NAN, 2.0]), entry), max_size=40), st.data())
def test_random_inputs_of_labels(rows: list[tuple[int, float, float]], data: st.DataObject) -> None:
    verdict = np.array([row[0] for row in rows], dtype=np.int64)
    confidence, marks = (np.array([row[place] for row in rows], dtype=np.float64) for place in (1, 2))
    labels, seed = data.draw(st.integers(0, 50)), data.draw(st.integers(0, 3))
    clean = np.where((marks >= 0) & (marks <= 1), marks, NAN)
    for sure, known in ((None, None), (confidence, marks), (np.clip(confidence, 0, 1), clean)):
        plan = stats.plan_labels(verdict, sure, known, labels=labels, rng=np.random.default_rng(seed))
        sound(plan)
        assert len(plan.rows) <= labels
    chosen = data.draw(st.sampled_from(["all", "random", "stratified", "self-selected", "unknown"]))
    level = data.draw(st.sampled_from([0.1, 0.95, 0.999]))
    for cluster in (None, np.arange(len(rows)) % 7):
        for bank in (False, True):
            found = stats.stratified_rate(verdict, np.where(clean == 0.5, NAN, clean), cluster, bank=bank, confidence_level=level)
            said = sound(found)
            assert said["value"] is None or 0 <= said["low"] <= said["value"] <= said["high"] <= 1
        sound(stats.stratified_rate(verdict, marks, cluster, chosen=chosen))
        mean = sound(stats.weighted_mean(marks, confidence, cluster, chosen=chosen, confidence_level=level))
        assert mean["value"] is None or 0 <= mean["low"] <= mean["value"] <= mean["high"] <= 1
    positions = np.flatnonzero(~np.isnan(marks))
    sound(stats.mark_selection(positions, len(rows), chosen=chosen, probability=confidence[positions], stratum=verdict))
    sizes = np.bincount(verdict, minlength=1)
    known_marks = ~np.isnan(clean)
    held = np.bincount(verdict[known_marks], minlength=len(sizes))
    passes = np.bincount(verdict[known_marks], weights=clean[known_marks] == 1, minlength=len(sizes)).astype(int)
    sound(stats.label_gain(sizes, held, passes, more=data.draw(st.integers(0, 60))))


def test_wrong_shapes_are_mistakes() -> None:
    one, two = np.zeros(3), np.zeros(4)
    for call in (
        lambda: stats.stratified_rate(one.astype(int), two),
        lambda: stats.weighted_mean(one, two),
        lambda: stats.plan_labels(one.astype(int), two, labels=3, rng=np.random.default_rng(1)),
        lambda: stats.mark_selection(np.array([3]), 3, chosen="random"),
        lambda: stats.mark_selection(np.array([1, 1]), 3, chosen="random"),
        lambda: stats.label_gain(np.array([3]), np.array([4]), np.array([1])),
        lambda: stats.weighted_mean(one, one, chosen="somehow"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"."):
            call()
