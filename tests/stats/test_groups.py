"""Groups side by side: a small gap is shown and not presumed, and small groups are not exposed."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.groups import cases_for_a_gap, expected_gap, gap_between_groups, gap_of
from tests.stats.random_inputs import tried


def gap(y: Any, group: Any, cluster: Any = None, *, seed: int = 1, **options: Any) -> stats.GroupsGap:
    case = options.pop("case", None)
    arrays = [None if one is None else np.asarray(one) for one in (cluster, case)]
    options = {"within": 0.1, **options}
    rng = np.random.default_rng(seed)
    return gap_between_groups(np.asarray(y, dtype=np.float64), np.asarray(group), arrays[0], case=arrays[1], rng=rng, **options)


def passes(counts: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    y = np.concatenate([np.repeat([1.0, 0.0], [x, n - x]) for x, n in counts])
    return y, np.repeat(np.arange(len(counts)), [n for _, n in counts])


# ------------------------------------------------------------ by hand


def test_the_gap_of_two_coins_among_equals() -> None:
    # two groups of one case at 1/2: they differ, by 1, in half of the studies
    assert expected_gap(np.array([1, 1]), rate=0.5) == pytest.approx(0.5)
    # three groups of one: all alike in 2 of 8
    assert expected_gap(np.array([1, 1, 1]), rate=0.5) == pytest.approx(0.75)
    # sizes 1 and 2 at 1/2: the shares are 0 or 1, and 0, 1/2 or 1: differences 0, .5, 1, 1, .5, 0 at chances 1/8, 1/4, 1/8 twice
    assert expected_gap(np.array([1, 2]), rate=0.5) == pytest.approx(2 * (0.25 * 0.5 + 0.125 * 1))


def test_separate_groups_are_compared_by_newcombe() -> None:
    found = gap(*passes([(90, 100), (80, 100)]), alpha=0.05)
    low, high = stats.newcombe_difference(90, 100, 80, 100, confidence_level=0.9)
    assert (found.pairs[0].low, found.pairs[0].high, found.upper) == pytest.approx((low, high, high))
    assert found.verdict == "undecided"
    assert found.furthest == ("0", "1")
    assert found.observed == pytest.approx(0.1)
    assert found.cases_needed is None  # the difference is the margin itself: no number of cases decides
    assert gap(*passes([(90, 100), (80, 100)]), alpha=0.05, within=high + 1e-9).verdict == "supported"
    assert gap(*passes([(90, 100), (80, 100)]), alpha=0.05, within=high - 1e-9).verdict == "undecided"


def test_a_claim_is_refuted_at_alpha_by_the_number_of_ordered_pairs() -> None:
    counts = [(95, 100), (90, 100), (70, 100)]
    low = stats.newcombe_difference(95, 100, 70, 100, confidence_level=1 - 2 * 0.025 / 6).low
    assert gap(*passes(counts), within=low - 1e-6).verdict == "refuted"
    assert gap(*passes(counts), within=low + 1e-6).verdict == "undecided"
    found = gap(*passes(counts), within=low)
    assert found.lower == pytest.approx(low)
    assert found.p_refute == pytest.approx(0.025, rel=1e-4)


def test_clusters_are_joined_by_mover_on_korn_graubard() -> None:
    generator = np.random.default_rng(5)
    y, group, cluster = (generator.random(240) < 0.8) * 1.0, np.repeat([0, 1], 120), np.arange(240) // 10
    found = gap(y, group, cluster)
    sides = [(float(y[group == i].mean()), stats.korn_graubard(y[group == i], cluster[group == i])) for i in (0, 1)]
    (a, one), (b, two) = sorted(sides, key=lambda side: -side[0])
    assert (found.pairs[0].low, found.pairs[0].high) == pytest.approx(stats.mover_difference(a, one, b, two))
    assert found.n_clusters == 24


def test_groups_that_share_their_cases_are_compared_within_them() -> None:
    # the same 40 cases in two languages: 3 pass only in the first, 1 only in the second
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [30, 3, 1, 6])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [30, 3, 1, 6])
    found = gap(np.r_[first, second], np.repeat([0, 1], 40), case=np.tile(np.arange(40), 2))
    assert (found.pairs[0].low, found.pairs[0].high) == pytest.approx(stats.tango(3, 1, 40))
    assert found.pairs[0].n_shared == 40
    assert found.n_cases == 40


def test_estimates_that_are_ready_get_the_same_verdict_as_their_counts() -> None:
    counts = [(186, 200), (180, 200), (178, 200)]
    ready = [lambda level, x=x, n=n: stats.wilson(x, n, confidence_level=level) for x, n in counts]
    found = gap_of(ready, [x / n for x, n in counts], within=0.1, alpha=0.05, n_cases=[200] * 3)
    same = gap(*passes(counts), alpha=0.05)
    assert found.verdict == same.verdict == "supported"
    assert found.upper == pytest.approx(same.upper)
    assert found.p_support == pytest.approx(same.p_support)
    assert found.expected_if_equal == pytest.approx(same.expected_if_equal, abs=0.002)  # normal against binomial
    missing = gap_of([*ready, None], [0.93, 0.9, 0.89, None], within=0.1, alpha=0.05)
    assert missing.refused is not None and missing.refused.code == "GROUP_WITHOUT_ESTIMATE"


def test_small_groups_are_not_exposed() -> None:
    found = gap(*passes([(90, 100), (2, 4), (5, 7)]))
    named = {row.group: row for row in found.groups}
    assert found.refused is not None and found.refused.code == "TOO_FEW_TO_SAY"
    assert named["1"].low is None and named["1"].value is None
    assert named["2"].value is None and named["2"].low is not None
    assert found.observed is None  # it would give away the mean of the seven
    assert all(pair.difference is None for pair in found.pairs)
    assert not any("1" in (pair.ahead, pair.behind) for pair in found.pairs)
    assert found.p_support is None
    # what the large groups refute needs no small one
    refuted = gap(*passes([(90, 100), (2, 4), (30, 100)]))
    assert refuted.verdict == "refuted" and refuted.refused is None and refuted.warnings


def test_few_clusters_of_one_group_refuse_the_claim() -> None:
    y, group = np.ones(100), np.repeat([0, 1], 50)
    cluster = np.r_[np.arange(50) // 5, 100 + np.arange(50) // 10]
    found = gap(y, group, cluster)
    assert found.refused is not None and found.refused.code == "TOO_FEW_CLUSTERS"
    assert "5 clusters of 1" in found.refused.why


def test_what_is_missing_is_refused() -> None:
    for y, group, code in (
        ([], [], "NO_DATA"),
        ([0.5, math.nan], [0, 1], "OFF_SCALE"),
        ([1.0, 0.0], [0, 0], "ONE_GROUP"),
        ([1.0, 0.0], [0, -1], "ONE_GROUP"),
    ):
        found = gap(np.array(y), np.array(group, dtype=np.int64))
        assert found.refused is not None and found.refused.code == code
        assert found.verdict == "undecided" and found.next
    with pytest.raises(ValueError, match="one length"):
        gap([1.0, 0.0], [0])
    with pytest.raises(ValueError, match="two clusters"):
        gap(np.ones(20), np.tile([0, 1], 10), np.arange(20), case=np.arange(20) // 2)


# ------------------------------------------------------------ published


def test_reference_value_of_the_group_gap() -> None:
    # methods specification, P33: one-sided 95% Newcombe upper bounds
    found = gap(*passes([(186, 200), (180, 200), (178, 200)]), alpha=0.05)
    upper = {(pair.ahead, pair.behind): pair.high for pair in found.pairs} | {(pair.behind, pair.ahead): -pair.low for pair in found.pairs}
    expected = {"0-1": 0.077146, "0-2": 0.088282, "1-0": 0.016511, "1-2": 0.061234, "2-0": 0.007541, "2-1": 0.041121}
    assert {f"{a}-{b}": bound for (a, b), bound in upper.items()} == pytest.approx(expected, abs=1e-6)


def test_cases_that_four_equal_groups_need() -> None:
    # methods specification 6.2: at .85 and a margin of .10 the claim is supported in .34 of studies at 200 a group, .90 at 400
    assert cases_for_a_gap(4, rate=0.85, within=0.1, alpha=0.05, power=0.34) == pytest.approx(200, rel=0.08)
    assert cases_for_a_gap(4, rate=0.85, within=0.1, alpha=0.05, power=0.90) == pytest.approx(400, rel=0.08)
    # two groups at power .5: z .025 and the median of |difference| of two normal variables, sqrt(2) x .6745
    assert cases_for_a_gap(2, rate=0.5, within=0.1, power=0.5) == math.ceil(0.25 * 2 * (1.959964 + 0.674490) ** 2 / 0.01)


# ------------------------------------------------------------ invariance


@tried(20)
@given(st.integers(0, 10_000), st.sampled_from([None, 12]), st.integers(2, 7), st.booleans(), st.booleans())
def test_the_order_of_cases_and_the_names_of_groups_change_nothing(
    seed: int, clusters: int | None, groups: int, scores: bool, shared: bool
) -> None:
    generator = np.random.default_rng(seed)
    n = 24
    y = generator.random(n * groups).round(2) if scores else (generator.random(n * groups) < 0.7) * 1.0
    group, case = np.repeat(np.arange(groups), n), np.tile(np.arange(n), groups)
    cluster = None if clusters is None else case % clusters
    order, renamed = generator.permutation(len(y)), generator.permutation(groups)
    one = gap(y, group, cluster, case=case if shared else None)
    other = gap(
        y[order],
        renamed[group][order],
        None if cluster is None else cluster[order],
        case=case[order] if shared else None,
        names=[str(int(np.flatnonzero(renamed == i)[0])) for i in range(groups)],
    )
    assert one.verdict == other.verdict
    assert one.upper == pytest.approx(other.upper)
    assert one.lower == pytest.approx(other.lower, abs=5e-3)  # max-t of groups that are alike is simulated anew
    assert one.p_support == pytest.approx(other.p_support, rel=1e-4)
    assert one.expected_if_equal == pytest.approx(other.expected_if_equal, abs=2e-3)


def test_codes_of_groups_may_have_gaps() -> None:
    y, group = passes([(30, 40), (35, 40)])
    assert gap(y, group * 7, names=list("abcdefgh")).furthest == ("h", "a")
    with pytest.raises(ValueError, match="no name"):
        gap(y, group * 7, names=["a", "b"])


@tried(40)
@given(st.integers(0, 10_000), st.floats(0.001, 0.2), st.sampled_from([2, 3, 7]))
def test_the_p_values_agree_with_the_verdict(seed: int, alpha: float, groups: int) -> None:
    generator = np.random.default_rng(seed)
    counts = [(int(generator.binomial(80, generator.choice([0.5, 0.9]))), 80) for _ in range(groups)]
    found = gap(*passes(counts), within=0.2, alpha=alpha)
    assert found.p_support is not None and found.p_refute is not None
    assert (found.verdict == "supported") == (found.p_support < alpha)
    if abs(found.p_refute - alpha) > 1e-4:
        assert (found.verdict == "refuted") == (found.p_refute < alpha)


# ------------------------------------------------------------ simulation


def test_the_expected_gap_is_the_mean_of_simulated_ones() -> None:
    generator = np.random.default_rng(8)
    sizes = np.array([30, 50, 80])
    shares = generator.binomial(sizes, 0.8, size=(20_000, 3)) / sizes
    simulated = float(np.mean(shares.max(axis=1) - shares.min(axis=1)))
    assert expected_gap(sizes, rate=0.8) == pytest.approx(simulated, abs=0.002)


def test_eight_identical_groups_of_fifty_mostly_show_more_than_ten_points() -> None:
    generator = np.random.default_rng(9)
    x = generator.binomial(50, 0.85, size=(20_000, 8))
    gaps = x.max(axis=1) - x.min(axis=1)  # in fiftieths: 5 are ten points
    assert 0.75 < np.mean(gaps > 5) < 0.80
    assert expected_gap(np.full(8, 50), rate=0.85) == pytest.approx(gaps.mean() / 50, abs=0.002)


def test_max_t_refutes_equal_groups_at_its_level_and_not_more_rarely() -> None:
    """Eight groups: a lower bound of some pair is above 0 in about alpha of the studies of equals, the correction's price kept low."""
    generator = np.random.default_rng(10)
    wrong, runs = 0, 150
    for _ in range(runs):
        y = (generator.random(800) < 0.7) * 1.0
        found = gap(y, np.repeat(np.arange(8), 100), within=1e-9, alpha=0.2)
        wrong += found.verdict == "refuted"
    # an interval that is too narrow or too wide fails: .2 with three standard errors, and the slack of Wilson's ends
    assert 0.08 <= wrong / runs <= 0.30


def test_gaps_at_the_margin_with_clusters_are_rarely_declared_small() -> None:
    generator = np.random.default_rng(11)
    supported, runs = 0, 150
    for _ in range(runs):
        # 2 groups, 25 clusters of 8 each, intraclass correlation .1: beta-binomial with concentration 9
        y = [generator.random((25, 8)) < generator.beta(9 * p, 9 * (1 - p), size=(25, 1)) for p in (0.85, 0.70)]
        found = gap(np.concatenate([one.ravel() for one in y]) * 1.0, np.repeat([0, 1], 200), np.arange(400) // 8, within=0.15, alpha=0.05)
        supported += found.verdict == "supported"
    assert 0 < supported / runs <= 0.105


# ------------------------------------------------------------ random inputs


@tried()
@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.just(math.nan)),
            st.integers(-1, 6),
            st.integers(0, 8),
            st.integers(0, 9),
        ),
        max_size=60,
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.02, 0.1, 1.0]),
    st.sampled_from([0.001, 0.025, 0.2]),
)
def test_random_inputs_give_a_verdict_or_say_why_there_is_none(
    rows: list[tuple[float, int, int, int]], binary: bool, clustered: bool, cases: bool, within: float, alpha: float
) -> None:
    y = np.array([row[0] for row in rows])
    y = np.round(y) if binary else y
    group, case = np.array([row[1] for row in rows], dtype=np.int64), np.array([row[3] for row in rows], dtype=np.int64)
    cluster = case % 7 if clustered and cases else np.array([row[2] for row in rows], dtype=np.int64) if clustered else None
    found = gap(y, group, cluster, case=case if cases else None, within=within, alpha=alpha)
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why and found.refused.next
        assert found.verdict == "undecided"
    else:
        assert found.upper is not None and found.lower is not None
        assert found.verdict == ("supported" if found.upper < within and found.p_support is not None else found.verdict)
        assert found.next or found.verdict != "undecided"
    for pair in found.pairs:
        assert -1 <= pair.low <= pair.high <= 1
