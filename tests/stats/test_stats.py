"""The statistics shown four ways: by hand, against published values, by invariances, and by seeded simulation."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from fairmark import stats
from fairmark.stats.checks import CHECKS, run_checks, shipped_checks

SHARED = Path(__file__).parents[3] / "shared" / "methods_checks.json"


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------ by hand


def test_all_pass_leaves_alpha_to_the_power_of_one_over_n() -> None:
    # (alpha/2)^(1/n) is where n passes in a row have probability alpha/2
    assert stats.clopper_pearson(20, 20).low == pytest.approx(0.025 ** (1 / 20))
    assert stats.most_failures_unseen(20) == pytest.approx(1 - 0.05 ** (1 / 20))


def test_holm_by_hand() -> None:
    # 0.01 x 3, 0.02 x 2, 0.04 x 1, each at least the one before
    assert stats.holm([0.04, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))
    # step 1 at 0.05/3 rejects 0.01; step 2 at 0.05/2 rejects 0.02; step 3 at 0.05 rejects 0.04
    assert stats.holm_levels([0.04, 0.01, 0.02], 0.05) == pytest.approx((0.05, 0.05 / 3, 0.025))
    # the step-down stops at 0.05/2, which then judges both that are left
    assert stats.holm_levels([0.04, 0.01, 0.03], 0.05) == pytest.approx((0.025, 0.05 / 3, 0.025))


def test_bh_levels_by_hand() -> None:
    # 0.02 <= 0.05 x 2/3, 0.04 > 0.05 x ... for three: 0.04 <= 0.05, so all three are rejected
    assert stats.bh_levels([0.04, 0.01, 0.02], 0.05) == pytest.approx((0.05,) * 3)
    assert stats.bh_levels([0.5, 0.01, 0.6], 0.05) == pytest.approx((0.05 / 3,) * 3)
    assert stats.bh_levels([0.5, 0.9], 0.05) == pytest.approx((0.025,) * 2)


def test_sign_flip_of_six_cases_by_hand() -> None:
    d = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    paired = stats.PairedIntervals(d, None, single=True, rng=rng())
    means = sorted(np.mean(part) for size in range(1, 7) for part in itertools.combinations(d, size))
    # alpha 1/64: the smallest subset mean; alpha 3/64: the third smallest
    assert paired.at(1 - 2 / 64).low == pytest.approx(means[0])
    assert paired.at(1 - 6 / 64) == pytest.approx((means[2], means[-3]))
    # one flip pattern in 64 reaches the observed sum under a mean of 0, so p = 1/64
    assert stats.one_sided_p(paired.at, 0.0, "low") == pytest.approx(1 / 64, rel=1e-3)


def test_subset_means_invert_the_studentised_sign_flip_test() -> None:
    d = rng(3).normal(0.2, 0.3, 9).round(3)
    paired = stats.PairedIntervals(d, None, single=True, rng=rng())
    for m in (-0.1, 0.0, 0.05, 0.11, 0.3):
        x = d - m
        flips = np.array(list(itertools.product([1, -1], repeat=9))) * x
        t = flips.mean(axis=1) / flips.std(axis=1, ddof=1)
        p = np.mean(t >= t[0] - 1e-12)
        for alpha in (0.01, 0.025, 0.05, 0.2):
            assert (paired.at(1 - 2 * alpha).low > m) == (p <= alpha)


def test_repeats_and_pass_at_k_by_hand() -> None:
    found = stats.repeats(np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert (found.mean, found.ms_between, found.ms_within) == (0.75, 0.25, 0.25)
    assert stats.pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)
    assert stats.pass_all_k(5, 2, 2) == pytest.approx(1 / 10)
    with pytest.raises(ValueError, match="2 tries"):
        stats.pass_at_k(2, 1, 3)


def test_kappa_and_ac1_by_hand() -> None:
    matrix = np.array([[40, 10], [5, 45]])
    # agreement .85; margins .5/.5 and .45/.55: chance .5
    assert stats.cohen_kappa(matrix).value == pytest.approx((0.85 - 0.5) / 0.5)
    q = 0.475
    chance = 2 * q * (1 - q)
    assert stats.gwet_ac1(matrix).value == pytest.approx((0.85 - chance) / (1 - chance))
    assert stats.cohen_kappa(np.array([[9, 0], [0, 0]])).value is None


def test_the_design_effect_of_copies_is_their_number() -> None:
    base = np.array([1.0, 0, 1, 1, 0, 1, 0, 1, 1, 0])
    copied = stats.clustered_mean(np.repeat(base, 4), np.repeat(np.arange(10), 4))
    assert copied.value == pytest.approx(0.6)
    assert copied.design_effect == pytest.approx(4 * 10 / 9)


# ------------------------------------------------------------ published values


def test_shipped_reference_values_hold() -> None:
    assert run_checks(shipped_checks()) == {"passed": len(shipped_checks()), "failed": []}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared reference values are not here")
def test_shared_reference_values_of_known_kinds_hold() -> None:
    known = [check for check in json.loads(SHARED.read_text()) if check["kind"] in CHECKS]
    assert {"P01", "P02", "P03", "P04", "P05", "P06", "P07", "P08", "P09", "P36"} <= {check["id"] for check in known}
    assert run_checks(known)["failed"] == []


def test_a_wrong_value_a_missing_key_and_an_unknown_kind_fail() -> None:
    base: dict[str, Any] = {"id": "x", "kind": "wilson", "input": [[81, 263]], "expected": [[0.255289, 0.36621]], "tol": 1e-5}
    assert run_checks([base])["passed"] == 1
    assert run_checks([base | {"expected": [[0.2553, 0.3663]]}])["failed"][0]["id"] == "x"
    lacking = {"id": "y", "kind": "repeats", "input": [[1, 0], [1, 1]], "expected": {"mean": 0.75, "nothing": 1}, "tol": 1e-6}
    assert len(run_checks([lacking])["failed"]) == 1
    assert run_checks([base | {"kind": "sorcery"}])["failed"][0]["got"]["refused"] == "UNKNOWN_KIND"
    assert run_checks([base | {"input": "nonsense"}])["failed"][0]["got"]["refused"] == "BAD_INPUT"
    assert run_checks([base | {"kind": "repeats", "input": [[1]], "expected": None}])["passed"] == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 400), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_intervals_agree_with_statsmodels(n: int, data: st.DataObject, level: float) -> None:
    x = data.draw(st.integers(0, n))
    for ours, theirs in ((stats.clopper_pearson, "beta"), (stats.wilson, "wilson")):
        assert ours(x, n, confidence_level=level) == pytest.approx(proportion_confint(x, n, 1 - level, theirs), abs=1e-9)


def test_adjusted_p_and_kappa_agree_with_statsmodels() -> None:
    p = rng().uniform(0, 0.2, 30).tolist()
    for name, ours in (
        ("holm", stats.holm(p)),
        ("fdr_bh", stats.benjamini_hochberg(p)),
        ("fdr_by", stats.benjamini_hochberg(p, dependent=True)),
    ):
        assert ours == pytest.approx(multipletests(p, method=name)[1])
    matrix = rng().integers(1, 20, (4, 4))
    for weights, theirs in (("unweighted", None), ("linear", "linear"), ("quadratic", "quadratic")):
        found = cohens_kappa(matrix, wt=theirs)
        assert stats.cohen_kappa(matrix, weights=weights) == pytest.approx((found.kappa, found.std_kappa, ""))  # type: ignore[arg-type]


# ------------------------------------------------------------ invariances


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=7, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_cases_and_the_names_of_clusters_do_not_matter(values: list[float], random: Any) -> None:
    y = np.array(values)
    cluster = np.arange(len(y)) % 7
    order = list(range(len(y)))
    random.shuffle(order)
    names = np.array([3, 9, 1, 44, 5, 0, 2])
    first = stats.korn_graubard(y, cluster)
    assert stats.korn_graubard(y[order], names[cluster[order]]) == pytest.approx(first, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_exchanging_systems_mirrors_the_interval(b: int, c: int, ties: int) -> None:
    n = b + c + ties
    if n == 0:
        return
    low, high = stats.tango(b, c, n)
    assert stats.tango(c, b, n) == pytest.approx((-high, -low), abs=1e-9)
    assert -1 <= low <= (b - c) / n <= high <= 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=6, max_size=12), st.floats(0.5, 0.99))
def test_exchanging_systems_mirrors_the_sign_flip_interval(values: list[float], level: float) -> None:
    d = np.array(values)
    one, other = (stats.PairedIntervals(x, None, single=True, rng=rng()) for x in (d, -d))
    assert (one.refused is None) == (other.refused is None)
    if one.refused is None:
        low, high = one.at(level)
        assert other.at(level) == pytest.approx((-high, -low), abs=1e-9)
        assert low <= float(np.mean(d)) + 1e-9
        assert high >= float(np.mean(d)) - 1e-9


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(1, 30), st.floats(0.01, 0.99), st.floats(0.001, 0.4))
def test_p_and_bound_decide_alike(x: int, n: int, margin: float, alpha: float) -> None:
    x = min(x, n)

    def at(level: float) -> stats.Interval:
        return stats.clopper_pearson(x, n, confidence_level=level)

    for side in ("low", "high"):
        p = stats.one_sided_p(at, margin, side)  # type: ignore[arg-type]
        assert 0 < p <= 1
        if abs(p - alpha) > 1e-6:
            end = at(1 - 2 * alpha)
            assert (p <= alpha) == (end.low > margin if side == "low" else end.high < margin)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=0, max_size=30),
    st.sampled_from([None, 2, 6, 9]),
    st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_an_estimate_is_a_value_or_a_typed_refusal(values: list[float], clusters: int | None, level: float) -> None:
    y = np.array(values, dtype=np.float64)
    cluster = None if clusters is None else np.arange(len(y)) % clusters
    for estimate in (stats.estimate_rate, stats.estimate_mean, stats.gated_mean):
        found = estimate(y, cluster, estimand="x", confidence_level=level)
        if found.refused is not None:
            assert found.refused.next
            assert found.value is None
            continue
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_identical_systems_are_not_declared_equal_from_silence() -> None:
    paired = stats.PairedIntervals(np.zeros(40), np.arange(40) // 4, single=True, rng=rng())
    # ten clusters without any difference: as the upper end of 0 in 10
    assert paired.at(0.95).high == pytest.approx(stats.clopper_pearson(0, 10).high)
    assert paired.at(0.95).low == pytest.approx(-stats.clopper_pearson(0, 10).high)


def test_equally_common_differences_favour_no_system() -> None:
    d = np.array([0.0, 0.0, 0.0, 0.5, 0.5, 0.5])
    one, other = (stats.PairedIntervals(x, None, single=True, rng=rng()).at(0.5) for x in (d, -d))
    assert other == pytest.approx((-one.high, -one.low), abs=1e-9)


def test_five_clusters_are_refused() -> None:
    paired = stats.PairedIntervals(np.linspace(-0.5, 0.5, 20), np.arange(20) // 4, single=True, rng=rng())
    assert paired.refused is not None
    assert paired.refused.code == "TOO_FEW_CLUSTERS"


# ------------------------------------------------------------ seeded simulation, too wide fails as well as too narrow


def _clustered(generator: np.random.Generator, clusters: int, p: float, icc: float) -> tuple[Any, Any]:
    sizes = generator.integers(1, 8, clusters)
    cluster = np.repeat(np.arange(clusters), sizes)
    a, b = (p * (1 - icc) / icc, (1 - p) * (1 - icc) / icc) if icc else (0.0, 0.0)
    theta = generator.beta(a, b, clusters)[cluster] if icc else np.full(len(cluster), p)
    return (generator.uniform(size=len(cluster)) < theta).astype(float), cluster


@pytest.mark.parametrize(("clusters", "p", "icc"), [(12, 0.8, 0.2), (30, 0.6, 0.1), (25, 0.95, 0.2)])
def test_korn_graubard_covers_and_is_not_too_wide(clusters: int, p: float, icc: float) -> None:
    generator = rng(11)
    covered, runs = 0, 800
    for _ in range(runs):
        y, cluster = _clustered(generator, clusters, p, icc)
        low, high = stats.korn_graubard(y, cluster)
        covered += low <= p <= high
    assert 0.92 <= covered / runs <= 0.995


@pytest.mark.parametrize("clusters", [8, 15, 40])
def test_sign_flip_covers_with_unequal_clusters(clusters: int) -> None:
    generator = rng(12)
    covered, runs, truth = 0, 500, 0.1
    for _ in range(runs):
        cluster = np.repeat(np.arange(clusters), generator.integers(1, 8, clusters))
        d = np.clip(truth + generator.normal(0, 0.15, clusters)[cluster] + generator.normal(0, 0.25, len(cluster)), -1, 1)
        low, high = stats.PairedIntervals(d, cluster, single=True, rng=generator).at(0.95)
        covered += low <= truth <= high
    assert 0.92 <= covered / runs <= 0.985


def test_tango_covers_where_the_paired_t_interval_fails() -> None:
    generator = rng(13)
    covered, by_t, runs, n = 0, 0, 2000, 30
    for _ in range(runs):
        b, c, _ties = generator.multinomial(n, [0.03, 0.01, 0.96])
        low, high = stats.tango(int(b), int(c), n)
        covered += low <= 0.02 <= high
        d = np.repeat([1.0, -1.0, 0.0], [b, c, n - b - c])
        half = 2.045 * d.std(ddof=1) / math.sqrt(n)
        by_t += abs(d.mean() - 0.02) <= half
    assert 0.94 <= covered / runs <= 0.999
    assert by_t / runs < 0.8


def test_the_hurdle_covers_a_mean_with_rare_gate_failures() -> None:
    generator = rng(14)
    covered, runs, n = 0, 1000, 30
    truth = 0.95 * 0.8
    for _ in range(runs):
        y = np.where(generator.uniform(size=n) < 0.95, generator.beta(16, 4, n), 0.0)
        low, high = stats.hurdle(y, None)[1]
        covered += low <= truth <= high
    assert 0.93 <= covered / runs <= 0.995


def test_betting_is_valid_at_small_n_and_narrows() -> None:
    generator = rng(15)
    runs, widths = 300, {}
    for n in (10, 80):
        covered, width = 0, 0.0
        for _ in range(runs):
            low, high = stats.betting(generator.beta(2, 1, n))
            covered += low <= 2 / 3 <= high
            width += (high - low) / runs
        assert covered / runs >= 0.95
        widths[n] = width
    assert widths[80] < 0.25 < widths[10] < 0.75


@pytest.mark.long
@pytest.mark.parametrize("clusters", [10, 20, 50, 100])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("icc", [0.0, 0.1, 0.3])
def test_korn_graubard_over_the_whole_grid(clusters: int, p: float, icc: float) -> None:
    generator = rng(16)
    covered, runs = 0, 2000
    for _ in range(runs):
        y, cluster = _clustered(generator, clusters, p, icc)
        low, high = stats.korn_graubard(y, cluster)
        covered += low <= p <= high
    assert covered / runs >= 0.91


def test_power_by_exact_enumeration() -> None:
    visible = stats.smallest_visible_rate(100, 0.8, alpha=0.025, power=0.8, above=True)
    assert visible is not None
    # 100 cases: 88 passes are the fewest whose lower bound lies above .80
    fewest = next(x for x in range(101) if stats.clopper_pearson(x, 100).low > 0.8)
    p = 0.8 + visible
    power = sum(math.comb(100, x) * p**x * (1 - p) ** (100 - x) for x in range(fewest, 101))
    assert power == pytest.approx(0.8, abs=1e-6)
    assert stats.smallest_visible_rate(5, 0.99, alpha=0.025, power=0.8, above=True) is None
    d = stats.smallest_visible_difference(200, discordance=0.3, alpha=0.025, power=0.8)
    assert d is not None
    # n d^2 = (1.96 + 0.8416)^2 (0.3 - d^2)
    assert 200 * d**2 == pytest.approx((1.959964 + 0.841621) ** 2 * (0.3 - d**2), rel=1e-5)
