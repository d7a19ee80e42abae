"""Kinds of failure that were not met: bounded without being guessed, and codes that two readers share."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.checks import run_checks
from fairmark.stats.unseen import abundance, codebook, new_kinds, rarefied, unseen_bound, unseen_kinds
from tests.stats.random_inputs import tried


def mentions(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


# ------------------------------------------------------------ by hand


def test_unseen_mass_and_its_bound() -> None:
    # 25 cases, 3 kinds met once and 1 met twice: 3/25, and (4 + z sqrt(4 x 22/25 + 2)) / 25 with z = 1.644854
    found = unseen_kinds(mentions([20, 2, 1, 1, 1]))
    assert found.unseen == pytest.approx(0.12)
    assert found.unseen_at_most == pytest.approx((4 + 1.6448536 * math.sqrt(4 * 22 / 25 + 2)) / 25)
    assert found.enough is False
    assert unseen_kinds(mentions([20, 2, 1, 1, 1]), stop_below=0.4).enough is True


def test_nothing_met_once_is_no_proof_that_nothing_is_left() -> None:
    # f1 = f2 = 0 in 50: (1 + z sqrt(1 + 2)) / 50
    assert unseen_bound(50, 0, 0) == pytest.approx((1 + 1.6448536 * math.sqrt(3)) / 50)


def test_chao_counts_pairs_of_kinds_met_once() -> None:
    assert abundance([9, 2, 1, 1, 1]).at_least == 5 + 3 * 2 / (2 * 2)
    # as cases: 10 read, the last term times 9/10
    assert abundance([9, 2, 1, 1, 1], n=10).at_least == pytest.approx(5 + 0.9 * 3 * 2 / (2 * 2))


def test_the_curve_is_the_mean_of_all_parts_of_the_cases() -> None:
    kinds = [0, 0, 0, 1, 1, 2]
    for m in range(1, 7):
        parts = [len(set(part)) for part in itertools.combinations(kinds, m)]
        assert rarefied(np.array([3, 2, 1]), 6, m) == pytest.approx(np.mean(parts))


def test_new_kinds_start_at_the_unseen_mass_and_end_at_the_hidden_kinds() -> None:
    found = abundance([30, 2, 1, 1, 1, 1])
    assert found.at_least - found.kinds == 3  # 4 x 3 / (2 x 2)
    # one case: f0 f1 / (n f0 + f1) = 3 x 4 / (36 x 3 + 4)
    assert new_kinds(found, 1) == pytest.approx(12 / 112)
    assert new_kinds(found, 100_000) == pytest.approx(3)
    assert new_kinds(abundance([30, 2]), 25) == 0
    assert 0 < new_kinds(abundance([30, 2, 1]), 25) < 1  # Chao's bound hides none, the one met once says there may be some


def test_cases_that_show_several_kinds_are_counted_once_a_kind() -> None:
    # 20 cases: kind 0 in all of them, twice in the first; kind 1 in two of them, kind 2 in one
    kind = np.r_[np.zeros(21, dtype=int), 1, 1, 2]
    case = np.r_[0, np.arange(20), 3, 4, 5]
    found = unseen_kinds(kind, case, names=["vague", "wrong", "rude"])
    assert found.counts == (("vague", 20), ("wrong", 2), ("rude", 1))
    assert (found.n_cases, found.met_once, found.met_twice) == (20, 1, 1)
    assert found.unseen == pytest.approx(1 / 20)
    assert found.unseen_at_most == pytest.approx((2 + 1.6448536 * math.sqrt(2 + 2)) / 20)
    assert "Chao2" in found.method
    assert unseen_kinds(kind, case, n_cases=100).unseen == pytest.approx(1 / 100)


def test_few_cases_are_listed_and_not_extrapolated() -> None:
    found = unseen_kinds(mentions([10, 5, 4]))
    assert found.refused is not None and found.refused.code == "TOO_FEW_CASES"
    assert found.counts == (("0", 10), ("1", 5), ("2", 4))
    assert found.curve == () and found.unseen is None and found.enough is None
    none = unseen_kinds(np.empty(0, dtype=np.int64), n_cases=40)
    assert none.refused is not None and none.refused.code == "NO_DATA"


def test_a_codebook_shows_agreement_before_shares() -> None:
    first = np.zeros((100, 2), dtype=int)
    first[:20, 0] = 1
    first[:, 1] = 1
    second = np.full((100, 2), -1)
    second[:30] = first[:30]
    second[0, 0] = 0
    found = codebook(first, second, names=["vague", "wrong"])
    assert found.refused is None and found.double_needed == 30
    assert found.disagreements == (("vague", 0),)
    vague, wrong = found.kinds
    assert (vague.both, vague.one, vague.neither) == (19, 1, 10)
    assert vague.agreement == pytest.approx(29 / 30)
    # AC1: mean share of "found" (20 + 19)/60 = .65, chance 2 x .65 x .35 = .455
    assert vague.ac1 == pytest.approx((29 / 30 - 0.455) / 0.545)
    # alpha: 2 unequal ordered pairs of 60 marks; expected 2 x 39 x 21 / 59
    assert vague.alpha == pytest.approx(1 - 2 / (2 * 39 * 21 / 59))
    assert (vague.share.low, vague.share.high) == stats.clopper_pearson(20, 100)
    assert wrong.alpha is None and wrong.agreement == 1.0
    fewer = second.copy()
    fewer[29] = -1
    refused = codebook(first, fewer)
    assert refused.refused is not None and refused.refused.code == "CODE_TWICE"
    assert refused.kinds[0].share.value is None and refused.kinds[0].n_found == 20
    assert codebook(first[:12], first[:12]).double_needed == 12
    assert codebook(np.tile(first, (3, 1))).double_needed == 60
    assert codebook(np.array([[2]]), np.array([[1]])).refused is not None


# ------------------------------------------------------------ published


def test_vegan_agrees_on_the_number_of_kinds() -> None:
    # R package vegan, estimateR: 12 and 16 (methods specification, P29)
    check = {"id": "P29", "kind": "chao1", "tol": 1e-6}
    given = [[10, 7, 5, 3, 2, 2, 1, 1, 1, 1], [5, 1, 1, 1, 1, 1]]
    expected = [
        {"n": 33, "S_obs": 10, "f1": 4, "f2": 2, "chao1_bc": 12.0, "good_turing_unseen_mass": 0.121212},
        {"n": 10, "S_obs": 6, "f1": 5, "f2": 0, "chao1_bc": 16.0, "good_turing_unseen_mass": 0.5},
    ]
    assert run_checks([{**check, "input": given, "expected": expected}])["passed"] == 1
    assert run_checks([{**check, "input": [[0, 0], [], [-1]], "expected": None}])["passed"] == 1
    assert (
        run_checks([{**check, "input": [[3, 0]], "expected": [{"S_obs": 1, "chao1_bc": 1.0, "good_turing_unseen_mass": 0.0}]}])["passed"]
        == 1
    )


def test_chance_corrected_agreement_is_that_of_krippendorffs_package() -> None:
    krippendorff = pytest.importorskip("krippendorff")
    generator = np.random.default_rng(3)
    first = (generator.random((50, 1)) < 0.3) * 1
    second = np.where(generator.random((50, 1)) < 0.2, 1 - first, first)
    expected = krippendorff.alpha(reliability_data=np.column_stack([first, second]).T, level_of_measurement="nominal")
    assert codebook(first, second).kinds[0].alpha == pytest.approx(expected)


# ------------------------------------------------------------ invariance


@tried(60)
@given(st.integers(0, 10_000))
def test_order_and_codes_change_nothing(seed: int) -> None:
    generator = np.random.default_rng(seed)
    kind, case = generator.integers(0, 9, 60), generator.integers(0, 30, 60)
    order, renamed = generator.permutation(60), generator.permutation(50)
    one = unseen_kinds(kind, case, names=list("abcdefghi"))
    other = unseen_kinds(
        renamed[kind[order]],
        7 * case[order] - 3,
        names=[dict(zip(renamed[:9].tolist(), "abcdefghi", strict=True)).get(i, "-") for i in range(50)],
    )
    assert one == other


# ------------------------------------------------------------ simulation


@pytest.mark.parametrize("several", [False, True])
def test_the_bound_covers_the_unseen_mass_and_is_no_wider_than_it_must_be(several: bool) -> None:
    generator = np.random.default_rng(12)
    n, kinds, runs = 200, 60, 2_000
    p = 1 / np.arange(1, kinds + 1)
    p = p if several else p / p.sum()
    counts = generator.binomial(n, p * 0.3, size=(runs, kinds)) if several else generator.multinomial(n, p, size=runs)
    mass = ((p * 0.3 if several else p) * (counts == 0)).sum(axis=1)
    bounds = np.array(
        [unseen_bound(n, int(np.sum(c == 1)), int(np.sum(c == 2)), mentions=int(c.sum()) if several else None) for c in counts]
    )
    assert 0.94 <= np.mean(bounds >= mass) <= 0.99
    assert np.mean(bounds) < 2.5 * np.mean(mass) + 0.02


def test_one_of_many_kinds_that_are_equally_common_may_hide() -> None:
    # 100 kinds alike, 700 cases: each is missed with a chance of .0009, and then weighs 7 / 700
    generator = np.random.default_rng(18)
    counts = generator.multinomial(700, np.full(100, 0.01), size=3_000)
    mass = 0.01 * np.sum(counts == 0, axis=1)
    rows = [(int(np.sum(c == 1)), int(np.sum(c == 2)), int(np.sum((c > 1) & (c < 10)))) for c in counts]
    plain = np.array([unseen_bound(700, once, twice) for once, twice, _ in rows])
    guarded = np.array([unseen_bound(700, once, twice, alike=alike) for once, twice, alike in rows])
    assert np.mean(plain >= mass) < 0.94 < np.mean(guarded >= mass)
    assert np.mean(guarded) < 2 * np.mean(plain)
    # by hand: one kind missed, (1 - m)^700 / m = .05; two of them, (2/m)^2 / 2 (1 - m)^700 = .05
    m, both = unseen_bound(700, 0, 1, alike=4), unseen_bound(700, 1, 1, alike=4)
    assert (1 - m) ** 700 / m == pytest.approx(0.05)
    assert 2 / both**2 * (1 - both) ** 700 == pytest.approx(0.05)
    assert unseen_bound(700, 0, 1, alike=3) == unseen_bound(700, 0, 1) < m < both
    assert unseen_bound(700, 2, 1, alike=9) == unseen_bound(700, 2, 1)
    assert "missed kinds" in unseen_kinds(np.repeat(np.arange(8), 5)).method


def test_foretold_kinds_are_those_that_come() -> None:
    generator = np.random.default_rng(13)
    p = 1 / np.arange(1, 41)
    p /= p.sum()
    foretold, came = [], []
    for _ in range(600):
        first, then = generator.multinomial(100, p), generator.multinomial(25, p)
        foretold.append(new_kinds(abundance(first), 25))
        came.append(np.count_nonzero((first == 0) & (then > 0)))
    assert np.mean(foretold) == pytest.approx(np.mean(came), rel=0.12)


# ------------------------------------------------------------ random inputs


@tried()
@given(
    st.lists(st.tuples(st.integers(-2, 12), st.integers(0, 30)), max_size=80),
    st.booleans(),
    st.integers(0, 40),
    st.sampled_from([0.001, 0.05, 0.5]),
)
def test_random_inputs_give_figures_or_say_why_there_are_none(rows: list[tuple[int, int]], cases: bool, extra: int, alpha: float) -> None:
    kind, case = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    n = (len(set(case.tolist())) if cases else len(rows)) + extra
    found = unseen_kinds(kind, case if cases else None, n_cases=n, alpha=alpha)
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why and found.refused.next
    else:
        assert found.unseen is not None and found.unseen_at_most is not None and found.at_least is not None
        assert found.unseen <= found.unseen_at_most
        assert found.at_least >= found.n_kinds
        kinds = [value for _, value in found.curve]
        assert kinds == sorted(kinds) and kinds[-1] == pytest.approx(found.n_kinds)


@tried(100)
@given(st.data(), st.integers(0, 40), st.integers(0, 3))
def test_random_inputs_of_codes_give_shares_or_say_why_there_are_none(data: Any, n: int, width: int) -> None:
    def table(low: int, high: int) -> np.ndarray:
        rows = data.draw(st.lists(st.lists(st.integers(low, high), min_size=width, max_size=width), min_size=n, max_size=n))
        return np.array(rows, dtype=np.int64).reshape(n, width)

    found = codebook(table(0, data.draw(st.sampled_from([1, 1, 1, 2]))), data.draw(st.sampled_from([None, 1])) and table(-1, 1))
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    assert found.refused is None or (found.refused.why and found.refused.next)
