"""How far a run is: what is counted, what is projected, and how it looks on a terminal, in a pipe and as events."""

from __future__ import annotations

import math

import pytest
from scipy import stats as scipy_stats

from fairmark.records import Headway, Progress, _t_975

FOUR = (0.01, 0.02, 0.03, 0.02)  # mean 0.02, squared deviations 0.0002


def priced(prices: tuple[float, ...], *, name: str = "a", planned: int = 100, **changes: int) -> Headway:
    squared = math.fsum(price * price for price in prices)
    return Headway(name, "response", planned, done=len(prices), priced=len(prices), usd=math.fsum(prices), usd_squared=squared, **changes)


def progress(*headway: Headway, usd: float | None) -> Progress:
    return Progress(100, 0, 4, 0, 0, 4, usd, 2.0, headway=headway)


def test_projected_spend_is_a_range_that_a_hand_can_follow() -> None:
    # 96 to come at 0.02 each; their sum varies by 0.0002 / 3 x 96 x (1 + 96 / 4); t of 3 degrees of freedom is 3.182
    half = 3.182 * math.sqrt(0.0002 / 3 * 96 * 25)
    low, high = priced(FOUR).usd_to_come or (0, 0)
    assert (low, high) == pytest.approx((1.92 - half, 1.92 + half), rel=0.01)
    assert progress(priced(FOUR), usd=0.08).usd_projected == pytest.approx((0.08 + low, 0.08 + high))
    both = progress(priced(FOUR), priced(FOUR, name="b"), usd=0.16).usd_projected
    assert both == pytest.approx((0.16 + 2 * low, 0.16 + 2 * high))


def test_what_has_no_price_is_unknown_and_never_nothing() -> None:
    assert priced(FOUR[:1]).usd_to_come is None  # one price says nothing of how prices vary
    assert priced((), planned=5).usd_to_come is None
    assert priced(FOUR, unpriced=1).usd_to_come is None
    assert progress(priced(FOUR), Headway("judge", "grade", 10), usd=0.08).usd_projected is None
    assert progress(priced(FOUR), usd=None).usd_projected is None
    assert progress(usd=0.08).usd_projected is None
    done = progress(priced(FOUR, planned=4), Headway("judge", "grade", 3, stored=3), usd=0.08)
    assert done.usd_projected == pytest.approx((0.08, 0.08))  # nothing is left to pay for


def test_a_projection_holds_what_a_run_costs_in_the_end_19_times_in_20() -> None:
    import numpy as np

    generator, held = np.random.default_rng(7), 0
    for _ in range(400):
        prices = generator.gamma(4.0, 0.005, 200)
        low, high = priced(tuple(float(price) for price in prices[:20]), planned=200).usd_to_come or (0, 0)
        held += low <= prices[20:].sum() <= high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 20, 500])
def test_the_quantiles_of_t_are_those_of_scipy(freedom: int) -> None:
    assert _t_975(freedom) == pytest.approx(scipy_stats.t.ppf(0.975, freedom), rel=0.002)
