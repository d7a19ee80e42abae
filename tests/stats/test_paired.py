"""Paired intervals: ties, rare differences, and a verdict that never contradicts its p."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.paired import FLIPS, _subset_means

differences = st.lists(st.sampled_from([-1.0, -0.5, -0.05, 0.0, 0.05, 0.1, 0.5, 1.0]), min_size=0, max_size=24)


def paired(values: object, cluster: object = None, *, single: bool = False, seed: int = 1) -> stats.PairedIntervals:
    units = None if cluster is None else np.asarray(cluster)
    return stats.PairedIntervals(np.asarray(values, dtype=np.float64), units, single=single, rng=np.random.default_rng(seed))


# ------------------------------------------------------------ by hand


def test_a_margin_that_a_subset_mean_equals_is_not_beaten() -> None:
    # at most 0.15 are the empty subset, {0.1} and {0.1, 0.2}, although 0.1 + 0.2 is more than 0.3 in floating point
    found = paired([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert (0.1 + 0.2) / 2 > 0.15
    assert stats.one_sided_p(found.at, 0.15, "low") == pytest.approx(3 / 64, rel=1e-6)


def test_the_lower_bound_at_each_level_is_the_next_subset_mean() -> None:
    found = paired([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    # p of a mean of 0.1: the empty subset and {0.1} of 64; so 0.1 is refused at 2/64 and at no smaller level
    assert stats.one_sided_p(found.at, 0.1, "low") == pytest.approx(2 / 64, rel=1e-6)
    assert found.at(1 - 2 * (2 / 64)).low > 0.1
    assert found.at(1 - 2 * (1.999 / 64)).low == pytest.approx(0.1)


def test_cases_weigh_alike_and_clusters_flip_together() -> None:
    # one cluster of three cases and five of one: the lowest of all subsets is the single -0.2
    values, cluster = [0.1, 0.2, 0.3, 0.4, 0.4, -0.2, 0.5, 0.6], [0, 0, 0, 1, 2, 3, 4, 5]
    found = paired(values, cluster)
    assert found.at(1 - 2 / 64).low == pytest.approx(-0.2)
    # the next lowest joins the large cluster: (0.6 - 0.2) / 4
    assert found.at(1 - 4 / 64).low == pytest.approx(0.1)


def test_nothing_is_decided_below_the_smallest_p() -> None:
    found = paired(np.linspace(0.5, 0.9, 6))
    assert found.smallest_p == 1 / 64
    assert found.at(1 - 2 * 0.025).low > 0
    assert found.at(1 - 2 * 0.0125) == (-1.0, 1.0)
    assert paired([1, 0, -1], single=True).smallest_p == 0.0
    many = paired(np.linspace(-0.5, 0.9, 40))
    assert many.smallest_p == pytest.approx(1e-4)


def test_a_drawn_pattern_that_flips_nobody_counts_under_every_mean() -> None:
    # 13 clusters: of 9,999 patterns about one flips none; with 2 of them, 1/10,000 is out of reach
    found = next(one for one in (paired(np.linspace(0.1, 0.9, 13), seed=seed) for seed in range(50)) if one.smallest_p > 1.5e-4)
    assert found.at(1 - 2e-4) == (-1.0, 1.0)
    assert found.at(1 - 2 * found.smallest_p).low == pytest.approx(0.1, abs=0.05)


def test_what_all_cases_share_is_bounded_by_what_was_not_met() -> None:
    # ten clusters, all exactly half a point better: up to a share u of clusters could differ, by as much as to -1 or +1
    found = paired(np.full(20, 0.5), np.arange(20) // 2)
    u = stats.clopper_pearson(0, 10).high
    assert found.at(0.95) == pytest.approx((0.5 - 1.5 * u, 0.5 + 0.5 * u))
    assert found.refused is None


def test_one_large_cluster_counts_for_less_than_many() -> None:
    # sizes 10 and 10 x 1: 20^2 / (100 + 10) = 3.64 clusters of equal size
    found = paired(np.zeros(20), np.minimum(np.arange(20) // 10 * np.arange(20), 19))
    assert found.at(0.95).high == pytest.approx(stats.clopper_pearson(0, 400 / 110).high)


def test_few_wins_do_not_show_a_difference_and_do_not_hide_a_loss() -> None:
    values = np.zeros(60)
    values[[3, 7]] = 0.25
    low, high = paired(values).at(0.95)
    # below 0 nothing was met; above it two cases rose by a quarter of what they could, as half a case of 60 would have
    assert low == pytest.approx(-stats.clopper_pearson(0, 60).high)
    assert high == pytest.approx(stats.clopper_pearson(0.5, 60).high)


@pytest.mark.parametrize(
    ("values", "cluster", "code"),
    [
        ([], None, "NO_DATA"),
        ([0.1, 0.2, 0.3, 0.4, 0.5], None, "TOO_FEW_CASES"),
        ([0.1] * 10, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], "TOO_FEW_CLUSTERS"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 1.2], None, "OFF_SCALE"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, float("nan")], None, "OFF_SCALE"),
    ],
)
def test_refusals_say_why_and_what_next(values: list[float], cluster: list[int] | None, code: str) -> None:
    found = paired(values, cluster)
    assert found.refused is not None
    assert found.refused.code == code
    assert found.refused.next
    with pytest.raises(ValueError, match=code):
        found.at(0.95)


def test_mcnemar_mid_p_by_hand() -> None:
    # 4 of 5: P(X <= 1) = 6/32, f = 5/32, so exact 12/32 and mid-p 7/32
    assert stats.mcnemar(4, 1) == pytest.approx((12 / 32, 7 / 32))
    # a tie: the outcome seen is the only one as extreme, and half its chance is 20/64/2
    assert stats.mcnemar(3, 3) == pytest.approx((1.0, 1 - 10 / 64))


def test_unpaired_difference_by_hand() -> None:
    # without clusters both are Clopper-Pearson, joined as squares of their arms
    first, second = np.repeat([1.0, 0.0], [45, 5]), np.repeat([1.0, 0.0], [30, 20])
    one, other = stats.clopper_pearson(45, 50), stats.clopper_pearson(30, 50)
    low, high = stats.unpaired_difference(first, None, second, None)
    assert low == pytest.approx(0.3 - np.hypot(0.9 - one.low, other.high - 0.6))
    assert high == pytest.approx(0.3 + np.hypot(one.high - 0.9, 0.6 - other.low))


# ------------------------------------------------------------ properties


@settings(max_examples=150, deadline=None)
@given(differences, st.sampled_from([None, 3, 6, 8]), st.booleans(), st.sampled_from([0.0, -0.05, 0.05, 0.1, 0.5]))
def test_p_and_verdict_never_contradict_each_other(values: list[float], clusters: int | None, single: bool, margin: float) -> None:
    found = paired(values, None if clusters is None else np.arange(len(values)) % clusters, single=single)
    if found.refused is not None:
        assert found.refused.next
        return
    mean = float(np.mean(values))
    for alpha in (0.025, 0.0125, 0.025 / 3, 0.02, 0.25):
        low, high = found.at(1 - 2 * alpha)
        assert -1 <= low <= mean + 1e-9
        assert mean - 1e-9 <= high <= 1
        assert (stats.one_sided_p(found.at, margin, "low") <= alpha) == (low > margin)
        assert (stats.one_sided_p(found.at, margin, "high") <= alpha) == (high < margin)


@pytest.mark.parametrize("seed", range(5))
def test_random_flips_give_round_p_that_agree_with_the_bound(seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = paired(generator.normal(0.1, 0.2, 30).clip(-1, 1), seed=seed)
    # a margin just below the 250th subset mean has p = 250/10,000, exactly the planned level
    margin = found.at(0.95).low - 1e-9
    assert stats.one_sided_p(found.at, margin, "low") == pytest.approx(0.025, abs=1e-15)
    assert stats.one_sided_p(found.at, margin, "low") <= 0.025


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=20))
def test_intervals_are_nested(values: list[float]) -> None:
    found = paired(values)
    intervals = [found.at(level) for level in (0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.999)]
    assert all(b.low <= a.low and a.high <= b.high for a, b in itertools.pairwise(intervals))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=12, max_size=12), st.permutations(range(12)))
def test_the_order_of_cases_does_not_matter(values: list[float], order: list[int]) -> None:
    y, cluster = np.array(values), np.arange(12) // 2
    assert paired(y[order], 90 - cluster[order]).at(0.9) == pytest.approx(paired(y, cluster).at(0.9), abs=1e-9)


def test_patterns_of_eight_neighbours_sum_as_single_signs_do() -> None:
    # 21 clusters fill two octets and five bits of a third: the same coins, one bit at a time
    generator = np.random.default_rng(5)
    totals, sizes = generator.normal(size=21), generator.integers(1, 6, 21).astype(np.float64)
    coins = np.random.default_rng(9).integers(0, 256, size=(FLIPS, 3), dtype=np.uint8)
    bits = np.unpackbits(coins, axis=1, count=21).astype(np.float64)
    means, empty = _subset_means(totals, sizes, np.random.default_rng(9))
    assert empty == np.count_nonzero(bits.sum(axis=1) == 0)
    flipped = bits[bits.sum(axis=1) > 0]
    assert means == pytest.approx((flipped @ totals) / (flipped @ sizes), abs=1e-12)


def test_more_clusters_than_bundles_give_the_width_of_a_t_interval() -> None:
    values = np.random.default_rng(6).choice([-1.0, -0.5, 0.0, 0.5, 0.75], 40_000)
    low, high = paired(values).at(0.95)
    # 9,999 draws leave about 3% of Monte Carlo error in the width
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 200, rel=0.08)
    assert low < values.mean() < high


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 50)
    assert paired(values, seed=4).at(0.95) == paired(values, seed=4).at(0.95)


# ------------------------------------------------------------ seeded simulation


def _misses(draw: Callable[[np.random.Generator], np.ndarray], truth: float, units: int, size: int, runs: int) -> tuple[float, float]:
    """How often the lower end lies above the truth, and the upper end below it."""
    generator = np.random.default_rng(21)
    cluster = np.repeat(np.arange(units), size)
    low = high = 0
    for _ in range(runs):
        interval = stats.PairedIntervals(draw(generator), cluster, single=True, rng=generator).at(0.95)
        low, high = low + (interval.low > truth), high + (interval.high < truth)
    return low / runs, high / runs


@pytest.mark.parametrize("values", [(1.0, 0.5, -1.0), (0.0, -0.05, -1.0), (0.5, 0.4, 1.0), (0.0, 0.5, -0.5)])
@pytest.mark.parametrize("units", [8, 12, 24])
def test_few_differences_err_at_most_as_often_as_they_say(values: tuple[float, float, float], units: int) -> None:
    # every way in which at most 3 of the units show the second or third value, with its exact chance
    chances = [(a, b) for a in (0.0, 0.02, 0.06, 0.12, 0.2) for b in (0.0, 0.02, 0.06, 0.12, 0.2, 0.3)]
    too_high, too_low = np.zeros(len(chances)), np.zeros(len(chances))
    width, mass = 0.0, 0.0
    for second, third in itertools.product(range(4), repeat=2):
        if second + third > 3:
            continue
        counts = (units - second - third, second, third)
        low, high = paired(np.repeat(values, counts)).at(0.95)
        for place, (a, b) in enumerate(chances):
            ways = math.factorial(units) / math.prod(map(math.factorial, counts))
            chance = ways * (1 - a - b) ** counts[0] * a**second * b**third
            mean = (1 - a - b) * values[0] + a * values[1] + b * values[2]
            too_high[place] += chance * (low > mean + 1e-9)
            too_low[place] += chance * (high < mean - 1e-9)
            width, mass = width + chance * (high - low), mass + chance
    assert max(too_high.max(), too_low.max()) <= 0.025
    # a count of units that differ, however little, would make these intervals a tenth to a third wider
    assert width / mass <= {8: 1.05, 12: 0.75, 24: 0.42}[units]


@pytest.mark.parametrize(("win", "loss"), [(0.0, 0.05), (0.05, 0.0), (0.03, 0.03)])
def test_rare_differences_are_not_taken_for_none(win: float, loss: float) -> None:
    # 12 clusters of 3: often not one differs, and the sign-flip interval alone would be [0, 0]
    def draw(generator: np.random.Generator) -> np.ndarray:
        return generator.choice([1.0, -1.0, 0.0], 36, p=[win, loss, 1 - win - loss])

    low, high = _misses(draw, win - loss, 12, 3, 300)
    assert max(low, high) <= 0.05


def test_a_null_difference_is_declared_at_the_planned_rate() -> None:
    def draw(generator: np.random.Generator) -> np.ndarray:
        return (generator.normal(0, 0.2, 20).repeat(2) + generator.normal(0, 0.2, 40)).clip(-1, 1)

    low, high = _misses(draw, 0.0, 20, 2, 400)
    # nominal 2.5% on either side; too rare is as wrong as too often
    assert 0.02 <= low + high <= 0.08
    assert max(low, high) <= 0.05


@pytest.mark.long
@pytest.mark.parametrize("units", [6, 8, 10, 20, 40])
@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_type_one_error_over_the_grid(units: int, sigma: float) -> None:
    def draw(generator: np.random.Generator) -> np.ndarray:
        return (generator.normal(0, sigma, units).repeat(3) + generator.normal(0, 0.2, units * 3)).clip(-1, 1)

    low, high = _misses(draw, 0.0, units, 3, 2000)
    assert max(low, high) <= 0.035
