"""Means with clusters: levels, nesting, the betting interval, and what an estimate says about itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from fairmark import stats
from fairmark.stats.clusters import BETTING_TUNED_TO

LEVELS = (0.2, 0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.9999)
scores = st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), min_size=1, max_size=30)


def test_korn_graubard_by_hand() -> None:
    # clusters (1,1), (1,0) x 3, (0,0), (1,1): p = 7/12, cluster sums of y - p are 10/12, -2/12 x 3, -14/12, 10/12
    y = np.array([1.0, 1, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1])
    cluster = np.arange(12) // 2
    p, variance = 7 / 12, 6 / 5 * (2 * 100 + 3 * 4 + 196) / 144 / 144
    n_effective = p * (1 - p) / variance
    found = stats.clustered_mean(y, cluster, confidence_level=0.9)
    assert found.se == pytest.approx(math.sqrt(variance))
    assert found.n_effective == pytest.approx(n_effective)
    # the quantiles are those of the level that is asked for
    n_star = n_effective * (stdtrit(11, 0.95) / stdtrit(5, 0.95)) ** 2
    assert found.n_star == pytest.approx(n_star)
    assert stats.korn_graubard(y, cluster, confidence_level=0.9) == pytest.approx(
        stats.clopper_pearson(p * n_star, n_star, confidence_level=0.9)
    )


def test_one_case_a_cluster_is_clopper_pearson() -> None:
    y = np.repeat([1.0, 0.0], [13, 7])
    for level in LEVELS:
        # V has G/(G-1), so that n_eff is n - 1 where every case is a cluster
        assert stats.korn_graubard(y, np.arange(20), confidence_level=level) == pytest.approx(
            stats.clopper_pearson(13 / 20 * 19, 19, confidence_level=level)
        )


def test_betting_capital_of_one_unit_by_hand() -> None:
    # one case of value 1: before it the spread is 1/4, so the stake is sqrt(2 log(2/.05) / .25) = 5.4, cut to c/m
    # K+(m) = 1 + (1 - m)/(2m) reaches 2/alpha = 4 at m = 1/7; K-(m) never grows
    assert stats.betting(np.array([1.0]), confidence_level=0.5) == pytest.approx((1 / 7, 1.0))
    assert BETTING_TUNED_TO == 0.05


@settings(max_examples=60, deadline=None)
@given(scores, st.sampled_from([None, 2, 6, 9]))
def test_intervals_are_nested_and_hold_the_mean(values: list[float], clusters: int | None) -> None:
    y = np.array(values)
    cluster = None if clusters is None else np.arange(len(y)) % clusters
    for interval in (
        lambda level: stats.korn_graubard(y, np.arange(len(y)) if cluster is None else cluster, confidence_level=level),
        lambda level: stats.betting(y, cluster, confidence_level=level),
        lambda level: stats.hurdle(y, cluster, confidence_level=level)[1],
    ):
        found = [interval(level) for level in LEVELS]
        assert all(b.low <= a.low + 1e-9 and a.high <= b.high + 1e-9 for a, b in itertools.pairwise(found))
        assert all(math.isfinite(end) and 0 <= end <= 1 for pair in found for end in pair)
        assert found[4].low <= np.mean(y) + 1e-9
        assert found[4].high >= np.mean(y) - 1e-9


@settings(max_examples=25, deadline=None)
@given(scores, st.sampled_from([None, 6]), st.floats(0.02, 0.98))
def test_p_and_bound_agree_for_means(values: list[float], clusters: int | None, margin: float) -> None:
    y = np.array(values)
    cluster = None if clusters is None else np.arange(len(y)) % clusters
    if len(np.unique(np.arange(len(y)) if cluster is None else cluster)) < 6:
        return

    def at(level: float) -> tuple[float, float]:
        found = stats.estimate_mean(y, cluster, estimand="x", confidence_level=level)
        assert found.low is not None
        assert found.high is not None
        return found.low, found.high

    p = stats.one_sided_p(at, margin, "low")
    if p < 1:
        assert at(1 - 2 * p)[0] > margin
        assert p <= 2e-9 or at(1 - 2 * p * 0.999)[0] <= margin
    else:
        assert at(1 - 2 * 0.49)[0] <= margin


def test_betting_takes_equal_clusters_by_their_means() -> None:
    means = np.array([0.2, 0.9, 0.6, 0.7, 0.8, 0.75, 0.4])
    assert stats.betting(np.repeat(means, 3), np.repeat(np.arange(7), 3)) == pytest.approx(stats.betting(means), abs=1e-9)


def test_betting_aims_at_the_mean_response_and_not_at_the_mean_cluster() -> None:
    size = np.tile(np.arange(1, 9), 60)
    means = 0.9 - 0.06 * size
    low, high = stats.betting(np.repeat(means, size), np.repeat(np.arange(480), size))
    assert low < np.average(means, weights=size) < high < np.mean(means)


def test_copies_of_a_case_are_no_new_evidence() -> None:
    y = np.linspace(0.3, 0.9, 12)
    once = stats.estimate_mean(y, None, estimand="x")
    copied = stats.estimate_mean(np.repeat(y, 5), np.repeat(np.arange(12), 5), estimand="x")
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_repeats_are_counted_as_cases_where_said() -> None:
    y, case = np.tile([1.0, 0.0, 1.0], 8), np.repeat(np.arange(8), 3)
    found = stats.estimate_rate(y, case, estimand="x", n_cases=8)
    assert (found.n_cases, found.n_clusters, found.n_responses) == (8, 8, 24)
    few = stats.estimate_rate(y[:9], case[:9], estimand="x", n_cases=3)
    assert few.refused is not None
    assert few.refused.code == "TOO_FEW_CLUSTERS"
    assert "3 cases" in few.refused.why


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan"), float("inf")])
def test_values_off_the_scale_are_refused(bad: float) -> None:
    for estimate in (stats.estimate_rate, stats.estimate_mean, stats.gated_mean):
        found = estimate(np.array([0.5] * 7 + [bad]), None, estimand="x")
        assert found.refused is not None
        assert found.refused.code == "OFF_SCALE"


def test_few_cases_get_the_betting_interval_and_many_do_not() -> None:
    y = np.linspace(0.2, 0.8, 20)
    assert stats.estimate_mean(y[:19], None, estimand="x").method.startswith("betting")
    assert stats.estimate_mean(y, None, estimand="x").method == "Korn-Graubard"


# ------------------------------------------------------------ seeded simulation


def test_betting_covers_unequal_clusters_whose_size_says_something() -> None:
    # large clusters score lower: taking clusters by their means would aim at .63 and not at the mean response, .56
    generator = np.random.default_rng(31)
    sizes = np.arange(1, 9)
    truth = float(np.sum(sizes * (0.9 - 0.06 * sizes)) / sizes.sum())
    covered, width, runs = 0, 0.0, 120
    for _ in range(runs):
        size = generator.integers(1, 9, 15)
        y = np.repeat((0.9 - 0.06 * size + generator.uniform(-0.1, 0.1, 15)).clip(0, 1), size)
        low, high = stats.betting(y, np.repeat(np.arange(15), size))
        covered, width = covered + (low <= truth <= high), width + (high - low) / runs
    assert covered / runs >= 0.95
    assert width < 0.6


def test_holm_levels_are_kept_with_few_clusters() -> None:
    # the one-sided level .005 with 8 clusters: t quantiles of 95% would be too sure
    generator = np.random.default_rng(32)
    runs, p, missed, sure = 1500, 0.7, 0, 0
    for _ in range(runs):
        cluster = np.repeat(np.arange(8), generator.integers(1, 9, 8))
        y = (generator.uniform(size=len(cluster)) < generator.beta(p * 4, (1 - p) * 4, 8)[cluster]).astype(np.float64)
        low, high = stats.korn_graubard(y, cluster, confidence_level=0.99)
        missed += not low <= p <= high
        sure += high - low < 0.95
    assert missed / runs <= 0.015
    assert sure / runs > 0.9
