"""Prediction-powered means, and rates corrected by error rates from elsewhere."""

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
from fairmark.results import Estimate
from tests.stats.random_inputs import tried


def sound(found: Estimate) -> str | None:
    """The code of its refusal, if any; a figure must lie in its interval, on its scale."""
    json.dumps(found.as_dict(), allow_nan=False)
    if found.refused is not None:
        assert found.value is None
        assert found.refused.why
        assert found.refused.next
        return found.refused.code
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    return None


def scores(seed: int, n: int = 150, others: int = 1000, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People's scores of n answers, the grader's of these, and of the others. The true mean is 1/2."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.9, n + others)
    said = np.clip(truth + rng.normal(0.08, noise, n + others), 0, 1)
    return truth[:n], said[:n], said[n:]


# ------------------------------------------------------------ by hand


def test_ppi_by_hand() -> None:
    # others say .75 on average; where people marked, they are .25 below the grader: .5; variances .1875/4 and .1875/4
    marks, said, rest = np.array([1.0, 0, 1, 0]), np.array([1.0, 1, 1, 0]), np.array([1.0, 1, 1, 0])
    found = stats.ppi_figures(marks, said, rest, tuning=1)
    half = 1.959963985 * math.sqrt(0.1875 / 4 + 0.1875 / 4)
    assert found == pytest.approx((0.5, 0.5 - half, 0.5 + half, 1))
    # without the grader: the mean of the marks
    assert stats.ppi_figures(marks, said, rest, tuning=0)[0] == 0.5
    # cov(Y, f) = 1/8, (1 + 4/4) var of all eight = 2 * (1.5/7)
    assert stats.ppi_figures(marks, said, rest).tuning == pytest.approx(0.125 / (2 * 1.5 / 7))


def test_rogan_gladen_by_hand() -> None:
    # (.3 + .9 - 1) / (.8 + .9 - 1)
    assert stats.rogan_gladen(0.3, 0.8, 0.9) == pytest.approx(0.2 / 0.7)
    assert stats.rogan_gladen(0.05, 0.8, 0.9) == 0
    assert stats.rogan_gladen(0.95, 0.8, 0.9) == 1
    assert stats.rogan_gladen(0.5, 0.4, 0.6) is None


def test_known_error_rates_leave_the_interval_of_the_share() -> None:
    # with millions of marks elsewhere only the share is uncertain: Jeffreys' ends, corrected
    found = stats.transferred_rate(
        300, 1000, right_passes=8 * 10**8, people_pass=10**9, right_fails=9 * 10**8, people_fail=10**9, confidence_level=0.9
    )
    low, high = stats.jeffreys(300, 1000, confidence_level=0.9)
    assert found.value == pytest.approx(0.2 / 0.7)
    assert found.low == pytest.approx((low - 0.1) / 0.7, abs=1e-4)
    assert found.high == pytest.approx((high - 0.1) / 0.7, abs=1e-4)


def test_information_by_hand() -> None:
    low, high = stats.information_of_grader(18, 20, 27, 30)
    ok, wrong = stats.wilson(18, 20), stats.wilson(3, 30)
    assert low == pytest.approx(0.8 - math.hypot(0.9 - ok.low, wrong.high - 0.1))
    assert high == pytest.approx(0.8 + math.hypot(ok.high - 0.9, 0.1 - wrong.low))


# ------------------------------------------------------------ published values


def test_lee_2025_reference_code() -> None:
    """P23 of methods_checks.json: the authors' code; the second leaves the scale and is cut."""
    assert stats.lee_plug_in(0.72, 0.85, 0.9, 1000, 80, 120) == pytest.approx((0.76, 0.691575, 0.837339), abs=1e-6)
    assert stats.lee_plug_in(0.95, 0.7, 0.7, 200, 20, 20) == pytest.approx((1.0, 0.900289, 1.0), abs=1e-6)
    # there the published code returns an interval from 1 to 0
    assert stats.lee_plug_in(0.5, 0.4, 0.4, 200, 50, 50) is None


def test_epir_true_prevalence() -> None:
    """P20 of methods_checks.json, R epiR epi.prev: 45 of 150, sensitivity .92, specificity .85."""
    assert stats.rogan_gladen(45 / 150, 0.92, 0.85) == pytest.approx(0.194805, abs=1e-6)


def test_ppi_py() -> None:
    ppi_py = pytest.importorskip("ppi_py")
    marks, said, rest = scores(1)
    for tuning in (0, 1, 0.4, None):
        found = stats.ppi_figures(marks, said, rest, tuning=tuning)
        low, high = ppi_py.ppi_mean_ci(marks, said, rest, alpha=0.05, lam=tuning)
        assert (found.low, found.high) == pytest.approx((float(low[0]), float(high[0])))


def test_ppi_python_values() -> None:
    """P22 of methods_checks.json, ppi-python 0.2.3."""
    marks = np.array([1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1])
    said = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    rest = np.repeat([1, 0], [150, 50])
    assert stats.ppi_figures(marks, said, rest, tuning=0)[:3] == pytest.approx((0.75, 0.560227, 0.939773), abs=1e-6)
    assert stats.ppi_figures(marks, said, rest, tuning=1)[:3] == pytest.approx((0.7, 0.521304, 0.878696), abs=1e-6)
    assert stats.ppi_figures(marks, said, rest)[:3] == pytest.approx((0.725569, 0.566066, 0.88507), abs=1e-5)
    assert sound(stats.ppi_mean(marks, said, rest)) == "USE_VERDICT_STRATIFIED"


# ------------------------------------------------------------ refusals


def test_ppi_is_refused_where_it_covers_too_little() -> None:
    marks, said, rest = scores(2)
    assert sound(stats.ppi_mean(marks, said, rest)) is None
    assert sound(stats.ppi_mean(marks[:99], said[:99], rest)) == "TOO_FEW_LABELS"
    same = np.where(np.arange(150) < 14, said, marks)
    assert sound(stats.ppi_mean(marks, same, rest)) == "TOO_FEW_DISAGREEMENTS"
    assert sound(stats.ppi_mean(marks, said, rest, np.arange(150) // 5)) == "CLUSTERED_CORRECTION"
    assert sound(stats.ppi_mean(marks * 2, said, rest)) == "OFF_SCALE"
    assert sound(stats.ppi_mean(marks, said, rest * math.nan)) == "OFF_SCALE"
    assert sound(stats.ppi_mean(marks[:0], said[:0], rest)) == "NO_DATA"
    assert sound(stats.ppi_mean(marks, said, rest[:0])) == "NO_DATA"


def rate(passes: int, n: int, *counts: int, **options: Any) -> Estimate:
    names = ("right_passes", "people_pass", "right_fails", "people_fail")
    return stats.transferred_rate(passes, n, **dict(zip(names, counts, strict=True)), **options)


def test_a_grader_that_says_too_little_corrects_nothing() -> None:
    assert sound(rate(70, 100, 20, 50, 20, 50)) == "JUDGE_UNINFORMATIVE"
    assert sound(rate(70, 100, 14, 20, 14, 20)) == "JUDGE_UNINFORMATIVE"  # .4 +- .3
    assert sound(rate(70, 100, 90, 100, 85, 100)) is None
    assert sound(rate(70, 100, 0, 0, 85, 100)) == "NO_DATA"
    assert sound(rate(0, 0, 90, 100, 85, 100)) == "NO_DATA"
    assert sound(rate(70, 100, 90, 100, 85, 100, clustered=True)) == "CLUSTERED_CORRECTION"
    # nobody passes, although one in four fails would: the error rates are not those of here
    assert sound(rate(0, 300, 90, 100, 150, 200)) == "RATES_DO_NOT_FIT"
    with pytest.raises(ValueError, match="right_fails"):
        rate(7, 10, 9, 10, 11, 10)


# ------------------------------------------------------------ invariance


def test_passes_and_fails_may_change_names() -> None:
    plain, mirrored = rate(70, 100, 90, 100, 85, 100), rate(30, 100, 85, 100, 90, 100)
    assert plain.value is not None
    assert (1 - plain.value, 1 - plain.high, 1 - plain.low) == pytest.approx((mirrored.value, mirrored.low, mirrored.high))  # type: ignore[operator]


def test_order_and_direction_of_scores_do_not_matter() -> None:
    marks, said, rest = scores(3)
    order = np.random.default_rng(1).permutation(150)
    plain, moved = stats.ppi_mean(marks, said, rest), stats.ppi_mean(marks[order], said[order], rest[::-1])
    assert (plain.value, plain.low) == pytest.approx((moved.value, moved.low))
    mirrored = stats.ppi_mean(1 - marks, 1 - said, 1 - rest)
    assert (plain.low, plain.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))  # type: ignore[operator]


def test_intervals_are_nested_and_hold_the_value() -> None:
    found = [rate(40, 90, 40, 50, 45, 60, confidence_level=level) for level in (0.01, 0.5, 0.9, 0.95, 0.99)]
    assert all(sound(one) is None for one in found)
    assert all(b.low <= a.low <= a.high <= b.high for a, b in itertools.pairwise(found))  # type: ignore[operator]


# ------------------------------------------------------------ seeded simulation


def test_ppi_covers_the_mean_of_scores() -> None:
    runs = 400
    found = [stats.ppi_mean(*scores(seed)) for seed in range(runs)]
    covered = np.mean([one.low <= 0.5 <= one.high for one in found])  # type: ignore[operator]
    assert 0.92 <= covered <= 0.98
    alone = np.mean([2 * 1.96 * np.std(scores(seed)[0]) / math.sqrt(150) for seed in range(20)])
    assert np.mean([one.high - one.low for one in found]) < 0.75 * alone  # type: ignore[operator]


@pytest.mark.parametrize(("truth", "se", "sp"), [(0.7, 0.9, 0.85), (0.95, 0.95, 0.8), (0.5, 0.8, 0.75)])
def test_transferred_rates_cover_the_truth(truth: float, se: float, sp: float) -> None:
    rng = np.random.default_rng(4)
    runs, covered, refused = 300, 0, 0
    for _ in range(runs):
        passes = int(rng.binomial(500, truth * se + (1 - truth) * (1 - sp)))
        found = rate(passes, 500, int(rng.binomial(120, se)), 120, int(rng.binomial(80, sp)), 80)
        refused += found.refused is not None
        covered += found.low is not None and found.high is not None and found.low <= truth <= found.high
    assert refused / runs <= 0.02
    # three standard errors below .95, and too wide fails as well
    assert 0.91 <= covered / (runs - refused) <= 0.99


# ------------------------------------------------------------ random inputs

score = st.sampled_from([0.0, 1.0, 0.5, 0.25, 1.5, math.nan])


@tried(120)
@given(st.lists(st.tuples(score, score), max_size=12), st.lists(score, max_size=12), st.sampled_from([1, 15]), st.data())
def test_random_inputs_of_transfer(pairs: list[tuple[float, float]], rest: list[float], times: int, data: st.DataObject) -> None:
    both = np.array(pairs * times, dtype=np.float64).reshape(-1, 2)
    sound(stats.ppi_mean(both[:, 0], both[:, 1], np.array(rest), confidence_level=data.draw(st.sampled_from([0.1, 0.95, 0.999]))))

    def part(of: int) -> int:
        return data.draw(st.integers(0, of))

    n, m1, m0 = (data.draw(st.sampled_from([0, 1, 5, 60, 10**6])) for _ in range(3))
    sound(rate(part(n), n, part(m1), m1, part(m0), m0, confidence_level=data.draw(st.sampled_from([0.1, 0.95, 0.999]))))
    if min(n, m0, m1) > 0:
        found = stats.lee_plug_in(part(n) / n, part(m0) / m0, part(m1) / m1, n, m0, m1)
        assert found is None or all(0 <= one <= 1 for one in found)
