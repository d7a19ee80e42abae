"""Means with clusters: levels, nesting, the betting interval, and what an estimate says about itself."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from fairmark import stats
from fairmark.stats.clusters import BETTING_TUNED_TO, numbered
from tests.stats.random_inputs import tried

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
    # what these three show is still said: 6 of 9
    assert "in these alone the mean is 0.667" in few.refused.why


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


@pytest.mark.parametrize("codes", [[5, 5, 0, 2, 9, 0], [-3, -3, 7, 10**12, 4, 7], [1, 0, 2, 2, 1, 3]])
def test_clusters_are_numbered_in_the_order_of_their_codes(codes: list[int]) -> None:
    index, groups = numbered(np.array(codes), len(codes))
    assert groups == len(set(codes))
    assert index.tolist() == [sorted(set(codes)).index(code) for code in codes]


# ------------------------------------------------------------ exactly this bank


def test_the_share_of_a_small_bank_by_hand() -> None:
    # 3 of a bank of 5 drawn, all pass, alpha .025. K=3: P(3 of 3) = 1/C(5,3) = .1 > alpha, so 3/5 cannot be excluded
    assert stats.bank_share(3, 3, 5) == (0.6, 1.0)
    # at alpha .1 exactly it can: the tail must be above alpha. K=4: C(4,3)/C(5,3) = .4
    assert stats.bank_share(3, 3, 5, confidence_level=0.75) == (0.8, 1.0)
    assert stats.bank_share(2, 5, 5) == (0.4, 0.4)
    with pytest.raises(ValueError, match="bank of 4"):
        stats.bank_share(3, 5, 4)


@pytest.mark.parametrize(("n", "bank"), [(5, 9), (12, 20), (30, 40), (20, 400)])
def test_the_share_of_a_bank_covers_each_share_there_is(n: int, bank: int) -> None:
    found = [stats.bank_share(x, n, bank) for x in range(n + 1)]
    for k in range(bank + 1):
        chances = [math.comb(k, x) * math.comb(bank - k, n - x) / math.comb(bank, n) for x in range(n + 1)]
        above = sum(chance for chance, (low, _) in zip(chances, found, strict=True) if low > k / bank + 1e-12)
        below = sum(chance for chance, (_, high) in zip(chances, found, strict=True) if high < k / bank - 1e-12)
        assert max(above, below) <= 0.025 + 1e-12
    # the interval is no wider than Clopper and Pearson's, to which it tends for an endless bank
    wide = [stats.clopper_pearson(x, n) for x in range(n + 1)]
    assert all(a.low >= b.low - 1 / bank and a.high <= b.high + 1 / bank for a, b in zip(found, wide, strict=True))


def test_an_endless_bank_is_cases_like_these() -> None:
    y = np.repeat([1.0, 0.0], [30, 12])
    assert stats.bank_share(30, 42, 10**7) == pytest.approx(stats.clopper_pearson(30, 42), abs=1e-5)
    cluster = np.arange(42) // 3
    found = stats.estimate_bank(y, None, cluster, bank=10**7, estimand="x")
    assert (found.low, found.high) == pytest.approx(stats.korn_graubard(y, cluster), abs=1e-6)


def test_a_whole_bank_leaves_the_noise_of_re_running() -> None:
    # 8 cases x 2 tries: within-case squares are 1/2 for each of the 4 cases with one pass, so MSW = 2/8, V = .25/16
    y = np.array([1.0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    found = stats.estimate_bank(y, np.repeat(np.arange(8), 2), bank=8, estimand="x")
    p = 10 / 16
    assert found.n_effective == pytest.approx(p * (1 - p) / (0.25 / 16))
    assert found.low is not None
    assert found.high is not None
    assert found.low < p < found.high
    # one try a case: these answers are all there is
    once = stats.estimate_bank(y[::2], bank=8, estimand="x")
    assert (once.low, once.value, once.high) == (0.875, 0.875, 0.875)


def test_half_a_bank_has_half_the_variance() -> None:
    y = np.linspace(0.2, 0.9, 30)
    endless = stats.clustered_mean(y, np.arange(30)).n_effective
    # (60 - 30)/(60 - 1) of the variance
    assert stats.estimate_bank(y, bank=60, estimand="x").n_effective == pytest.approx(endless * 59 / 30)


@pytest.mark.parametrize(("n", "bank", "code"), [(0, 5, "NO_DATA"), (7, 5, "BANK_TOO_SMALL"), (4, 9, "TOO_FEW_CLUSTERS")])
def test_a_bank_that_cannot_be_judged(n: int, bank: int, code: str) -> None:
    found = stats.estimate_bank(np.full(n, 1.0), bank=bank, estimand="x")
    assert found.refused is not None
    assert found.refused.code == code


# ------------------------------------------------------------ repeats


def test_unequal_repeats_by_hand() -> None:
    # cases (1,0,1), (1), (0,0): mean 1/2, means 2/3, 1, 0; SS within 2/3 over 6 - 3; SS between 3/36 + 1/4 + 2/4 = 5/6 over 2
    found = stats.repeat_noise(np.array([1.0, 0, 1, 1, 0, 0]), np.array([4, 4, 4, 1, 7, 7]))
    assert found.var_repeat == pytest.approx(2 / 9)
    # n0 = (6 - 14/6)/2 = 11/6
    assert found.var_case == pytest.approx((5 / 12 - 2 / 9) / (11 / 6))
    rerun, cases = 2 / 9 / 6, found.var_case * 14 / 36
    assert found.share_of_noise == pytest.approx(rerun / (rerun + cases))
    assert (found.fewest_tries, found.most_tries, found.n_cases, found.n_responses) == (1, 3, 3, 6)


def test_equal_repeats_agree_with_the_balanced_analysis() -> None:
    y = np.random.default_rng(3).integers(0, 2, (12, 4)).astype(np.float64)
    balanced = stats.repeats(y)
    found = stats.repeat_noise(y.ravel(), np.repeat(np.arange(12), 4))
    assert (found.var_case, found.var_repeat) == pytest.approx((balanced.var_case, balanced.var_repeat))
    assert found.share_of_noise == pytest.approx(min(1.0, balanced.ms_within / balanced.ms_between))


def test_one_try_measures_no_noise_and_equal_tries_point_to_a_cache() -> None:
    once = stats.repeat_noise(np.array([1.0, 0, 1, 1, 0, 1, 1]), np.arange(7))
    assert (once.var_repeat, once.var_case, once.share_of_noise) == (None, None, None)
    assert "not measured" in once.headline()
    y, case = np.repeat([1.0, 0, 1, 1, 0, 1, 1], 3), np.repeat(np.arange(7), 3)
    assert "cache" in stats.repeat_noise(y, case, temperature=0.7).warnings[0]
    assert stats.repeat_noise(y, case, temperature=0).warnings == ()


def test_best_repeats_by_hand() -> None:
    # sqrt(.16/.04 x 9/1) = 6; the variance for the money is least there
    assert stats.best_repeats(0.04, 0.16, cost_case=9, cost_repeat=1) == 6
    # all equal: one try makes 2 x 2 = 4, two make 1.5 x 3 = 4.5
    assert stats.best_repeats(1, 1, cost_case=1, cost_repeat=1) == 1
    assert stats.best_repeats(1, 0, cost_case=5, cost_repeat=1) == 1
    assert stats.best_repeats(0, 1, cost_case=5, cost_repeat=1) is None


@settings(deadline=None)
@given(st.floats(0.001, 1), st.floats(0.001, 1), st.floats(0.01, 100), st.floats(0.01, 10))
def test_best_repeats_are_best(var_case: float, var_repeat: float, cost_case: float, cost_repeat: float) -> None:
    best = stats.best_repeats(var_case, var_repeat, cost_case=cost_case, cost_repeat=cost_repeat)
    assert best is not None

    def spent(k: int) -> float:
        return (var_case + var_repeat / k) * (cost_case + k * cost_repeat)

    assert all(spent(best) <= spent(k) + 1e-12 for k in range(1, best + 20))


def test_pass_at_k_over_cases_by_hand() -> None:
    # C(5-c, 2)/C(5, 2) for c = 5, 3, 0 fails of 2 tries: 0, .1, 1; all of two: 1, .3, 0
    passes = np.tile([5, 3, 0], 4)
    any_of_two = stats.estimate_pass_at_k(passes, np.full(12, 5), 2)
    all_of_two = stats.estimate_pass_all_k(passes, np.full(12, 5), 2)
    assert any_of_two.value == pytest.approx((1 + 0.9 + 0) / 3)
    assert all_of_two.value == pytest.approx((1 + 0.3 + 0) / 3)
    assert (all_of_two.n_cases, all_of_two.n_responses, all_of_two.method) == (12, 60, "Korn-Graubard")
    values = np.tile([1.0, 0.3, 0.0], 4)
    assert (all_of_two.low, all_of_two.high) == pytest.approx(stats.korn_graubard(values, np.arange(12)))
    # k = n: every case either passes all of its tries or does not
    assert stats.estimate_pass_all_k(passes, np.full(12, 5), 5).method == "Clopper-Pearson"


def test_more_tries_than_were_made_are_refused() -> None:
    found = stats.estimate_pass_all_k(np.array([2, 1, 3, 2, 2, 2, 2]), np.array([3, 1, 3, 3, 3, 3, 3]), 2)
    assert found.refused is not None
    assert found.refused.code == "TOO_FEW_TRIES"
    assert "1 of 7 cases" in found.refused.why
    with pytest.raises(ValueError, match="k = 0"):
        stats.estimate_pass_at_k(np.array([1]), np.array([1]), 0)


@tried()
@given(
    st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.sampled_from([math.nan, -1.0, 2.0])), max_size=25),
    st.integers(1, 12),
    st.sampled_from([None, 1, 3, 7]),
    st.integers(1, 40),
    st.sampled_from([0.5, 0.95, 0.9999]),
)
def test_random_inputs_to_one_system(values: list[float], cases: int, clusters: int | None, bank: int, level: float) -> None:
    y = np.array(values, dtype=np.float64)
    case = np.arange(len(y)) % cases
    cluster = None if clusters is None else case % clusters
    passes = (np.nan_to_num(y) * 5).astype(np.int64)
    noise = stats.repeat_noise(y, case, cluster, confidence_level=level, cost_case=1.0, cost_repeat=0.5)
    found = [
        noise,
        noise.mean,
        stats.estimate_bank(y, case, cluster, bank=bank, estimand="x", confidence_level=level),
        stats.estimate_bank(y, None, cluster, bank=bank, estimand="x", confidence_level=level),
        stats.estimate_pass_at_k(passes, np.full(len(y), 5), 3, cluster, confidence_level=level),
        stats.estimate_pass_all_k(passes, np.full(len(y), 5), 3, cluster, confidence_level=level),
    ]
    for one in found:
        json.dumps(one.as_dict(), allow_nan=False)
        assert str(one)
        if one.refused is not None:
            assert one.refused.why
            assert one.refused.next
        elif not isinstance(one, stats.RepeatNoise):
            assert one.low is not None
            assert one.value is not None
            assert one.high is not None
            assert 0 <= one.low <= one.value <= one.high <= 1


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


@pytest.mark.parametrize(("drawn", "tries"), [(0.5, 1), (0.5, 3), (1.0, 3)])
def test_a_bank_is_covered_and_not_too_widely(drawn: float, tries: int) -> None:
    # the target is what these 60 cases score over endless re-running, or these very answers where each is tried once
    generator = np.random.default_rng(33)
    chance = generator.beta(3, 1, 60)
    answers = (generator.uniform(size=60) < chance).astype(np.float64)
    n, runs, covered, width = round(60 * drawn), 500, 0, 0.0
    for _ in range(runs):
        picked = generator.permutation(60)[:n]
        case = np.repeat(picked, tries)
        y = answers[picked] if tries == 1 else (generator.uniform(size=len(case)) < chance[case]).astype(np.float64)
        found = stats.estimate_bank(y, case, bank=60, estimand="x")
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= (answers.mean() if tries == 1 else chance.mean()) <= found.high
        width += (found.high - found.low) / runs
    assert 0.92 <= covered / runs <= 0.995
    assert width < {(0.5, 1): 0.26, (0.5, 3): 0.22, (1.0, 3): 0.14}[drawn, tries]


def test_an_estimate_says_what_its_clusters_cost() -> None:
    # every cluster holds copies of one answer: four answers of a cluster are worth one
    y, cluster = np.repeat([1.0, 0, 1, 1, 0, 1, 0, 1, 1, 1], 4), np.repeat(np.arange(10), 4)
    found = stats.estimate_rate(y, cluster, estimand="x")
    assert found.design_effect == pytest.approx(4 * 10 / 9)  # G/(G-1) as the variance between clusters is estimated
    assert stats.estimate_rate(y[::4], None, estimand="x").design_effect is None
