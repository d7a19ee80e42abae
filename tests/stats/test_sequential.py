"""E-processes: by hand, against likelihood ratios, under reordering, and never reaching 1/alpha more often than they may."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark.stats.checks import CHECKS
from fairmark.stats.sequential import CERTAIN, EProcess, bets, confidence_sequence, e_bh, growth_optimal_bet
from tests.stats.random_inputs import tried


def process(null: object, fractions: object, **other: object) -> EProcess:
    c = np.atleast_1d(np.asarray(fractions, dtype=np.float64))
    return EProcess(null, low=other.pop("low", 0.0), fractions=c, weights=np.full(len(c), 1 / len(c)), **other)  # type: ignore[arg-type]


# ------------------------------------------------------------ by hand


def test_the_wealth_is_a_product() -> None:
    # bets of a half on differences against 0: 1.5, 1.5 x 1, 1.5 x 1.5, 2.25 x 0.5
    path = np.exp(process(0.0, 0.5, low=-1.0).update(np.array([1.0, 0, 1, -1])))
    assert path == pytest.approx([1.5, 1.5, 2.25, 1.125])
    # two bets, 0.2 and 0.6: (1.2 + 1.6)/2, then (1.2 x 0.8 + 1.6 x 0.4)/2
    assert np.exp(process(0.0, [0.2, 0.6], low=-1.0).update(np.array([1.0, -1]))) == pytest.approx([1.4, 0.8])


def test_a_cluster_is_one_update() -> None:
    # a largest cluster of 4, m = 0.5, bet c = 0.8 so lambda = 1.6: three passes of four and both fails of two
    # (3 - 4 x 0.5)/4 = 0.25 and (0 - 2 x 0.5)/4 = -0.25
    path = np.exp(process(0.5, 0.8, largest=4).update(np.array([3.0, 0.0]), np.array([4, 2])))
    assert path == pytest.approx([1 + 1.6 * 0.25, (1 + 1.6 * 0.25) * (1 - 1.6 * 0.25)])


def test_a_finite_bank_counts_down() -> None:
    # 4 cases, "at most half pass": after one pass the other 3 hold at most 1, so their mean is at most 1/3
    bank = process(0.5, 0.5, bank=4)
    path = np.exp(bank.update(np.array([1.0, 0.0, 1.0])))
    # 1 - c + c/0.5 = 1.5; then 1 - c = 0.5; then 2 cases with at most 1 pass: 1.5 again
    assert path == pytest.approx([1.5, 0.75, 1.125])
    # a third pass of four proves the opposite
    assert float(bank.update(np.array([1.0]))[0]) == CERTAIN
    with pytest.raises(ValueError, match="no case number 5"):
        bank.update(np.array([1.0]))


def test_the_end_of_a_confidence_sequence_solves_for_the_mean() -> None:
    # one bet of 0.5: after k passes E(m) = (0.5 + 0.5/m)^k, which is 20 at m = 1/(2 x 20^(1/k) - 1)
    single = np.array([0.5] + [0.5] * 12)
    (found,) = confidence_sequence(np.ones(30), low=0.0, high=1.0, alpha=0.05, fractions=single)
    assert found.low == pytest.approx(1 / (2 * 20 ** (1 / 30) - 1), abs=1e-9)
    assert found.high == 1.0


def test_an_e_value_is_expected_to_be_1() -> None:
    # all numbers of passes in 12 cases, with their chances: exactly 1 at the margin, less below it
    rows = np.tril(np.ones((13, 13)), -1)[:, :12]
    e = np.exp(process(np.full(13, 0.3), bets(0.4)[0]).update(rows)[:, -1])
    expected = [sum(math.comb(12, k) * p**k * (1 - p) ** (12 - k) * e[k] for k in range(13)) for p in (0.3, 0.25, 0.35)]
    assert expected[0] == pytest.approx(1.0)
    assert expected[1] < 1 < expected[2]


def test_e_bh_by_hand() -> None:
    # 4 hypotheses at 0.1: the bars are 40, 20, 13.3, 10; the third passes its bar and takes the second along
    assert e_bh([41, 15, 13.4, 1], alpha=0.1) == (0, 1, 2)
    assert e_bh([15, 15, 13, 1], alpha=0.1) == ()
    assert e_bh([], alpha=0.1) == ()


# ------------------------------------------------------------ published


@pytest.mark.parametrize(("p0", "p1"), [(0.8, 0.9), (0.02, 0.05), (0.5, 0.99)])
def test_the_best_bet_on_a_rate_is_the_likelihood_ratio(p0: float, p1: float) -> None:
    # Wald's sequential probability ratio: lambda = (p1 - p0)/(p0 (1 - p0)) (Grunwald, de Heide and Koolen 2024)
    bet = growth_optimal_bet([0, 1], [1 - p1, p1], null=p0, low=0.0)
    assert bet == pytest.approx((p1 - p0) / (p0 * (1 - p0)))
    x = np.array([1.0, 1, 0, 1, 1, 1, 0, 1])
    ratio = np.cumsum(np.where(x == 1, math.log(p1 / p0), math.log((1 - p1) / (1 - p0))))
    assert process(p0, bet * p0).update(x) == pytest.approx(ratio)


def test_the_best_bet_on_pairs_is_difference_by_discordance() -> None:
    assert growth_optimal_bet([-1, 0, 1], [0.1, 0.7, 0.2], null=0.0, low=-1.0) == pytest.approx(0.1 / 0.3)
    assert growth_optimal_bet([-1, 0, 1], [0.2, 0.7, 0.1], null=0.0, low=-1.0) == 0.0
    # nothing to lose: the largest bet that a value of -1 cannot ruin
    assert growth_optimal_bet([-1, 0, 1], [0.0, 0.7, 0.3], null=0.0, low=-1.0) == pytest.approx(1.0)


def test_e_bh_rejects_what_wang_and_ramdas_do() -> None:
    # bars 200, 100, 66.7, 50, ...: 200 and 150 pass, 90 passes the third, 45 fails the fourth
    assert e_bh([150, 90, 30, 45, 8, 2, 1, 0.5, 0.1, 200], alpha=0.05) == (0, 1, 9)


def test_kinds_answer_other_inputs() -> None:
    short = CHECKS["eprocess_paired"]({"x": [1, -1], "lams": [0.5], "lam": 0.25, "at": [2, 3]})
    assert short["single_at_1_5_10_20"] == [pytest.approx(1.25), None, None, None]
    assert short["mix_at_2_3"] == [pytest.approx(0.75), None]
    assert short["mix_first_n_ge_20"] is None
    # the mirrored claim, "at least 0.8 against 0.6": the ratio of the likelihoods all the same
    got = CHECKS["eprocess_rate"]({"x": [1, 0], "p0": 0.8, "p1": 0.6, "at": [1, 2, 3]})
    assert got == [pytest.approx(0.6 / 0.8), pytest.approx(0.6 / 0.8 * 0.4 / 0.2), None]
    assert CHECKS["eprocess_rate"]({"x": [1, 0], "p0": 0.8, "p1": 1, "at": [1, 2]}) == pytest.approx([1.25, 0.0])
    assert CHECKS["e_bh"]({"e": [30, 1], "alpha": 0.1}) == [0]
    assert CHECKS["e_bh"]([1e40, 1]) == [0]


# ------------------------------------------------------------ invariances


def test_the_order_so_far_does_not_matter_to_the_wealth_now() -> None:
    generator = np.random.default_rng(1)
    x = generator.uniform(size=40)
    fractions, _ = bets(0.4)
    first = process(0.6, fractions).update(x)[-1]
    assert process(0.6, fractions).update(generator.permutation(x))[-1] == pytest.approx(first)


def test_a_shift_and_a_scale_change_nothing() -> None:
    x, (fractions, _) = np.random.default_rng(2).uniform(size=30), bets(0.3)
    plain = process(0.4, fractions).update(x)
    assert process(0.4 * 7 - 3, fractions, low=-3.0).update(7 * x - 3) == pytest.approx(plain)


def test_many_runs_are_each_run_alone_and_pieces_are_the_whole() -> None:
    x, (fractions, _) = np.random.default_rng(3).integers(0, 2, size=(5, 60)).astype(np.float64), bets(0.5)
    for bank in (None, 90):
        together = process(np.full(5, 0.7), fractions, bank=bank)
        whole = together.update(x)
        for row, path in zip(x, whole, strict=True):
            alone = process(0.7, fractions, bank=bank)
            pieces = [alone.update(row[:17]), alone.update(row[17:17]), alone.update(row[17:])]
            assert np.concatenate(pieces) == pytest.approx(path)
            assert float(alone.log_max) == pytest.approx(max(0.0, float(path.max())))
        assert together.count == 60


def test_a_confidence_sequence_narrows_with_time_and_with_alpha() -> None:
    x = (np.random.default_rng(4).uniform(size=200) < 0.7).astype(np.float64)
    c = bets(0.4)[0]
    for bank in (None, 250):
        path = confidence_sequence(x, low=0.0, high=1.0, alpha=0.05, fractions=c, bank=bank, at=range(0, 201, 20))
        assert path[0] == (0.0, 1.0)
        assert all(b.low >= a.low and b.high <= a.high for a, b in itertools.pairwise(path))
        wide = confidence_sequence(x, low=0.0, high=1.0, alpha=0.01, fractions=c, bank=bank)[0]
        assert wide.low < path[-1].low < 0.7 < path[-1].high < wide.high


def test_a_confidence_sequence_mirrors() -> None:
    x = (np.random.default_rng(5).uniform(size=80) < 0.3).astype(np.float64)
    a, b = bets(0.4)[0], bets(0.1)[0]
    (one,) = confidence_sequence(x, low=0.0, high=1.0, alpha=0.05, fractions=a, fractions_above=b)
    (other,) = confidence_sequence(1 - x, low=0.0, high=1.0, alpha=0.05, fractions=b, fractions_above=a)
    assert one == pytest.approx((1 - other.high, 1 - other.low))


def test_a_whole_bank_is_known() -> None:
    x = np.random.default_rng(6).permutation(np.repeat([0.0, 1.0], [30, 70]))
    path = confidence_sequence(x, low=0.0, high=1.0, alpha=0.05, fractions=bets(0.3)[0], bank=100, at=[90, 100])
    assert path[0].low < 0.7 < path[0].high
    assert path[1] == pytest.approx((0.7, 0.7))


@given(st.lists(st.floats(0, 100), max_size=12), st.permutations(range(12)), st.sampled_from([0.01, 0.05, 0.2]))
def test_e_bh_does_not_care_for_the_order(e: list[float], order: list[int], alpha: float) -> None:
    order = [place for place in order if place < len(e)]
    found = e_bh([e[place] for place in order], alpha=alpha)
    assert sorted(order[place] for place in found) == list(e_bh(e, alpha=alpha))


# ------------------------------------------------------------ seeded simulation


@pytest.mark.parametrize(("p0", "p1"), [(0.05, 0.1), (0.8, 0.9)])
def test_looking_after_every_case_misleads_in_at_most_alpha_and_not_in_next_to_none(p0: float, p1: float) -> None:
    runs, steps = 1_500, 700
    x = (np.random.default_rng(7).uniform(size=(runs, steps)) < p0).astype(np.float64)
    fractions, weights = bets(growth_optimal_bet([0, 1], [1 - p1, p1], null=p0, low=0.0) * p0)
    null = EProcess(np.full(runs, p0), low=0.0, fractions=fractions, weights=weights)
    null.update(x)
    false = float(np.mean(null.log_max >= math.log(20)))
    assert 0.015 < false <= 0.05
    true = EProcess(np.full(runs, p0), low=0.0, fractions=fractions, weights=weights)
    true.update((np.random.default_rng(8).uniform(size=(runs, steps)) < p1).astype(np.float64))
    assert np.mean(true.log_max >= math.log(20)) > 0.95


def test_clusters_are_fed_whole() -> None:
    # 60 clusters of 1 to 5 alike answers each: one by one they pass for more evidence than they are
    generator, runs, groups = np.random.default_rng(9), 800, 60
    sizes = generator.integers(1, 6, size=groups)
    passes = (generator.uniform(size=(runs, groups)) < 0.7).astype(np.float64)
    fractions, weights = bets(0.2 / 0.21 * 0.7)
    whole = EProcess(np.full(runs, 0.7), low=0.0, fractions=fractions, weights=weights, largest=5)
    whole.update(passes * sizes, sizes)
    single = EProcess(np.full(runs, 0.7), low=0.0, fractions=fractions, weights=weights)
    single.update(np.repeat(passes, sizes, axis=1))
    assert np.mean(whole.log_max >= math.log(20)) <= 0.05
    assert np.mean(single.log_max >= math.log(20)) > 0.1


@pytest.mark.parametrize("bank", [None, 150])
def test_a_confidence_sequence_misses_at_some_time_in_at_most_alpha(bank: int | None) -> None:
    # at the truth itself: an end was beyond it at some time exactly where its process reached 1/alpha
    generator, runs, p = np.random.default_rng(10), 1_500, 0.6
    if bank is None:
        x = (generator.uniform(size=(runs, 400)) < p).astype(np.float64)
    else:
        x = generator.permuted(np.tile(np.repeat([0.0, 1.0], [60, 90]), (runs, 1)), axis=1)
    fractions, weights = bets(0.3)
    for values, m in ((x, p), (1 - x, 1 - p)):
        truth = EProcess(np.full(runs, m), low=0.0, fractions=fractions, weights=weights, bank=bank)
        truth.update(values)
        assert 0.015 < np.mean(truth.log_max >= math.log(20)) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    for row in x[:3]:
        (at_the_end,) = confidence_sequence(row, low=0.0, high=1.0, alpha=0.05, fractions=fractions, bank=bank)
        assert at_the_end.high - at_the_end.low < 0.35


# ------------------------------------------------------------ random inputs


@tried(150)
@given(
    st.lists(st.sampled_from([-1.0, -0.3, 0.0, 1e-12, 0.5, 1.0]), max_size=40),
    st.floats(-0.999, 1),
    st.floats(0, 1),
    st.sampled_from([None, 40, 60]),
    st.floats(0.001, 0.5),
)
def test_random_inputs_keep_the_wealth_a_number(x: list[float], null: float, design: float, bank: int | None, alpha: float) -> None:
    values, (fractions, weights) = np.array(x), bets(design)
    one = EProcess(null, low=-1.0, fractions=fractions, weights=weights, bank=bank)
    path = one.update(values)
    assert len(path) == len(x)
    assert bool(np.all(np.isfinite(path)))
    assert 0 <= float(one.log_max) <= CERTAIN
    at = [0, len(x) // 2, len(x)]
    for end in confidence_sequence(values, low=-1.0, high=1.0, alpha=alpha, fractions=fractions, bank=bank, at=at):
        assert -1 <= end.low <= 1
        assert -1 <= end.high <= 1
