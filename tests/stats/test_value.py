"""What a success costs, what a case is worth, what that hangs on, and which systems are worth offering."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtr, stdtrit

from fairmark import stats
from tests.stats.random_inputs import tried


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------ by hand

COST = np.array([1.2, 0.8, 1.5, 0.9, 2.0, 1.1, 0.7, 1.3, 1.6, 0.9])
SUCCESS = np.array([1.0, 1, 0, 1, 0, 1, 1, 1, 0, 1])


def test_a_cost_claim_needs_fiellers_bound_and_a_little_more() -> None:
    # many failures, so that t decides: within Fieller's interval never, beyond it once skewness is allowed for
    cost, success = np.tile(COST, 4), np.tile(SUCCESS, 4)
    found = stats.cost_per_success(cost, success)
    assert found.interval is not None
    low, high = found.interval
    for bound, verdict in ((high * 1.05, "supported"), (high - 1e-6, "undecided"), (low + 1e-6, "undecided"), (low * 0.95, "refuted")):
        assert stats.cost_below(cost, success, bound).verdict == verdict


def test_one_dear_call_among_few_warns() -> None:
    cost = np.array([0.1] * 19 + [9.0])
    assert "less than it says" in stats.cost_per_success(cost, np.tile([1.0, 0.0], 10)).warnings[0]
    assert stats.cost_per_success(np.tile(COST, 4), np.tile(SUCCESS, 4)).warnings == ()
    # the mean of 0.545 a call hangs on one of twenty: no claim can rest on it, above or below
    assert stats.cost_below(cost, np.tile([1.0, 0.0], 10), 2.2).verdict == "undecided"


def test_hall_corrects_the_t_of_a_skewed_surplus_by_hand() -> None:
    cost, success = np.array([1.0, 1, 1, 1, 1, 1, 2, 2, 3, 5, 1, 1]), np.tile([1.0, 0.0], 6)
    surplus = cost - 5 * success
    off = surplus - surplus.mean()
    g = np.mean(off**3) / np.mean(off**2) ** 1.5 / math.sqrt(12)
    t = surplus.mean() / (surplus.std(ddof=1) / math.sqrt(12))
    assert stats.cost_below(cost, success, 5.0).p_support == pytest.approx(stdtr(11, max(t, t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6)))


def test_a_cost_claim_by_hand() -> None:
    # surplus of cost over 2 a success: mean 1.2 - 2 x 0.7 = -0.2
    found = stats.cost_below(COST, SUCCESS, 2.0)
    surplus = COST - 2 * SUCCESS
    t = surplus.mean() / (surplus.std(ddof=1) / math.sqrt(10))
    assert found.surplus == pytest.approx(-0.2)
    assert found.cost_per_success == pytest.approx(12 / 7)
    assert found.p_support is not None
    # three failures only: their exact bound makes p larger than P(t_9 < t), and never smaller
    assert stdtrit(9, found.p_support) > t
    assert "exact bound" in found.method


def test_no_failure_yet_is_no_proof() -> None:
    # 20 calls at one cent, all succeed: up to 16.8% could fail, and then a success costs 1.2 cents
    cost, success = np.full(20, 0.01), np.ones(20)
    assert stats.cost_below(cost, success, 0.011).verdict == "undecided"
    bound = 0.01 / stats.clopper_pearson(19, 19).low  # Korn and Graubard's n_eff of 20 equal clusters with few events is at most 20
    assert stats.cost_below(cost, success, bound * 1.05).verdict == "supported"


def test_net_value_by_hand() -> None:
    # 45 of 50 pass; a pass gains 5, a failure loses 20, a call costs .3: .9 x 5 - .1 x 20 - .3 = 2.2
    passed, cost = np.repeat([1.0, 0.0], [45, 5]), np.full(50, 0.3)
    found = stats.net_value(passed, cost, value=5, harm=20, alternative=stats.Alternative(4.0, 0.99), rng=rng())
    assert found.value == pytest.approx(2.2)
    assert found.per_1000 is not None
    assert found.per_1000[0] == pytest.approx(2200)
    # break-even of the published example (check P30): (20 + .3)/(5 + 20)
    assert found.break_even == pytest.approx(0.812)
    # every call costs the same, so the interval is that of the pass rate on the scale of money
    within = stats.korn_graubard(passed, np.arange(50))
    assert (found.low, found.high) == pytest.approx((25 * within.low - 20.3, 25 * within.high - 20.3))
    # a person: .99 x 5 - .01 x 20 - 4 = .75; the system beats that from .99 + (.3 - 4)/25 on
    assert found.over_alternative is not None
    assert found.over_alternative[0] == pytest.approx(2.2 - 0.75)
    assert found.break_even_alternative == pytest.approx(0.842)
    assert found.probability_positive is not None
    # it gains unless 10 or more of 50 fail: P(Binomial(50, .1) <= 9) = .975
    assert found.probability_positive == pytest.approx(0.975, abs=0.012)


def test_all_passes_leave_room_for_harm() -> None:
    found = stats.net_value(np.ones(30), np.full(30, 0.1), value=1, harm=50, rng=rng())
    assert found.value == pytest.approx(0.9)
    assert found.low is not None
    # an unseen tenth of failures would lose 5 a case
    assert found.low < -4


def test_the_tornado_by_hand() -> None:
    passed, cost = np.repeat([1.0, 0.0], [45, 5]), np.full(50, 0.3)
    found = stats.tornado(passed, cost, value=(4, 5, 6), harm=(10, 20, 50))
    by_name = {swing.name: swing for swing in found.swings}
    # .9 x 4 - 2 - .3 = 1.3 and .9 x 6 - 2 - .3 = 3.1; 4.5 - 1 - .3 = 3.2 and 4.5 - 5 - .3 = -.8
    assert (by_name["value of a pass"].value_at_lowest, by_name["value of a pass"].value_at_highest) == pytest.approx((1.3, 3.1))
    assert (by_name["harm of a failure"].value_at_lowest, by_name["harm of a failure"].value_at_highest) == pytest.approx((3.2, -0.8))
    assert by_name["harm of a failure"].changes_sign
    assert not by_name["value of a pass"].changes_sign
    assert [swing.name for swing in found.swings] == ["pass rate", "harm of a failure", "value of a pass", "cost of a case"]
    with pytest.raises(ValueError, match="lowest, middle, highest"):
        stats.tornado(passed, cost, value=(5, 4, 6), harm=(1, 2, 3))


def test_the_frontier_by_hand() -> None:
    # b passes all that a passes and 20 more of 60, for a tenth of the cost; c is b under another name; d is best and dearest
    quality = np.column_stack([np.repeat([1.0, 0.0], k) for k in ([20, 40], [40, 20], [40, 20], [60, 0])])
    cost = np.column_stack([np.full(60, c) for c in (1.0, 0.1, 0.1, 2.0)])
    found = stats.pareto_frontier(quality, cost, names=["a", "b", "c", "d"], rng=rng())
    assert found.frontier == (("b", "c"), ("d",))
    offers = {offer.name: offer for offer in found.offers}
    assert offers["a"].dominated_by == ("b", "c")
    assert offers["a"].probability_best_somewhere == 0
    assert offers["b"].tied_with == ("c",)
    assert offers["b"].probability_best_somewhere == offers["c"].probability_best_somewhere == 1
    assert [offer.name for offer in found.offers] == ["b", "c", "a", "d"]


def test_a_system_that_is_only_probably_dominated_stays_on_the_frontier() -> None:
    # one more pass of 60, at a price that is lower beyond doubt
    quality = np.column_stack([np.repeat([1.0, 0.0], k) for k in ([40, 20], [41, 19])])
    cost = np.column_stack([np.full(60, 1.0), np.full(60, 0.1)])
    found = stats.pareto_frontier(quality, cost, names=["a", "b"], rng=rng())
    assert found.frontier == (("b",), ("a",))
    # b is at least as good in every sample of cases, and always cheaper
    assert {offer.name: offer.probability_best_somewhere for offer in found.offers} == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(
    ("cost", "success", "cluster", "code"),
    [
        ([], [], None, "NO_DATA"),
        ([1.0] * 8, [1.0] * 7 + [1.5], None, "OFF_SCALE"),
        ([1.0] * 7 + [-1.0], [1.0] * 8, None, "OFF_SCALE"),
        ([1.0] * 7 + [math.nan], [1.0] * 8, None, "OFF_SCALE"),
        ([1.0] * 5, [1.0] * 5, None, "TOO_FEW_CASES"),
        ([1.0] * 10, [1.0] * 10, [0, 1] * 5, "TOO_FEW_CLUSTERS"),
    ],
)
def test_refusals_are_typed(cost: list[float], success: list[float], cluster: list[int] | None, code: str) -> None:
    c, s = np.array(cost), np.array(success)
    units = None if cluster is None else np.array(cluster)
    for found in (
        stats.cost_below(c, s, 1.0, units),
        stats.net_value(s, c, units, value=1, harm=1, rng=rng()),
        stats.tornado(s, c, units, value=(1, 1, 1), harm=(1, 1, 1)),
        stats.pareto_frontier(s[:, None], c[:, None], units, names=["a"], rng=rng()),
    ):
        assert found.refused is not None
        assert found.refused.code == code
        assert found.refused.next


# ------------------------------------------------------------ invariances


def test_money_in_cents_is_money() -> None:
    success, cost = rng(2).integers(0, 2, 60).astype(np.float64), rng(3).lognormal(-3, 1, 60)
    dollars, cents = (
        stats.net_value(success, cost * unit, value=5 * unit, harm=2 * unit, alternative=stats.Alternative(3 * unit, 0.9), rng=rng())
        for unit in (1, 100)
    )
    assert dollars.value is not None
    assert (cents.value, cents.low, cents.high) == pytest.approx(tuple(100 * x for x in (dollars.value, dollars.low, dollars.high)))
    assert (cents.break_even, cents.break_even_alternative) == pytest.approx((dollars.break_even, dollars.break_even_alternative))
    assert cents.probability_positive == dollars.probability_positive
    for by in ("t", "sign-flip"):
        one, other = (stats.cost_below(cost * u, success, 0.2 * u, by=by, rng=rng()) for u in (1, 100))  # type: ignore[arg-type]
        assert one.p_support == pytest.approx(other.p_support)


def test_the_order_of_cases_and_of_systems_does_not_matter() -> None:
    generator = rng(4)
    quality, cost = (generator.uniform(size=(11, 3)) for _ in range(2))
    order = generator.permutation(11)
    one = stats.pareto_frontier(quality, cost, names=["a", "b", "c"], rng=rng(), draws=4000)
    other = stats.pareto_frontier(quality[order][:, [2, 0, 1]], cost[order][:, [2, 0, 1]], names=["c", "a", "b"], rng=rng(), draws=4000)
    assert one.frontier == other.frontier
    for a, b in zip(one.offers, other.offers, strict=True):
        assert (a.name, a.dominated_by, a.tied_with) == (b.name, b.dominated_by, b.tied_with)
        assert (a.quality, a.cost) == pytest.approx((b.quality, b.cost))
        assert a.probability_best_somewhere == pytest.approx(b.probability_best_somewhere, abs=0.04)


# ------------------------------------------------------------ seeded simulation


def test_net_value_covers_where_a_t_interval_takes_silence_for_certainty() -> None:
    # one failure in fifty, and it costs a hundred passes; failures take longer, so they are dearer
    generator = rng(5)
    n, runs, covered, by_t, width = 60, 500, 0, 0, 0.0
    truth = 0.98 * 1 - 0.02 * 100 - (0.98 * 0.05 + 0.02 * 0.2)
    for _ in range(runs):
        passed = (generator.uniform(size=n) < 0.98).astype(np.float64)
        cost = generator.gamma(2, 0.025, n) * np.where(passed == 1, 1, 4)
        found = stats.net_value(passed, cost, value=1, harm=100, rng=generator, draws=1)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
        width += (found.high - found.low) / runs
        net = passed - 100 * (1 - passed) - cost
        by_t += abs(net.mean() - truth) <= 2.0 * net.std(ddof=1) / math.sqrt(n)
    assert 0.945 <= covered / runs <= 0.999
    assert by_t / runs < 0.75
    # the pass rate's own interval, times what a failure changes, is about 9 wide
    assert 6 < width < 13


@pytest.mark.parametrize("bound", [1.0, 0.8])
def test_a_cost_claim_errs_as_rarely_as_it_says(bound: float) -> None:
    # a call costs .6 on average and succeeds in .6 of cases: a success costs exactly 1
    generator = rng(6)
    runs, supported = 800, 0
    for _ in range(runs):
        success = (generator.uniform(size=80) < 0.6).astype(np.float64)
        cost = generator.lognormal(math.log(0.6) - 0.125, 0.5, 80)
        supported += stats.cost_below(cost, success, bound if bound < 1 else 1.0).verdict == "supported"
    assert supported / runs <= (0.045 if bound == 1 else 0.003)
    if bound == 1:
        assert supported / runs >= 0.008


def test_a_dominated_system_is_found_and_a_twin_is_not_called_dominated() -> None:
    generator = rng(7)
    runs, found_worse, wrong = 40, 0, 0
    for _ in range(runs):
        quality = (generator.uniform(size=(200, 3)) < [0.6, 0.85, 0.85]).astype(np.float64)
        cost = generator.lognormal([0.0, -1.0, -1.0], 0.5, (200, 3))
        offers = {o.name: o for o in stats.pareto_frontier(quality, cost, names=["w", "x", "y"], rng=generator, draws=50).offers}
        found_worse += bool(offers["w"].dominated_by)
        wrong += bool(offers["x"].dominated_by or offers["y"].dominated_by)
    assert found_worse / runs > 0.9
    assert wrong / runs <= 0.05


# ------------------------------------------------------------ random inputs

amounts = st.one_of(st.sampled_from([0.0, 1.0, 1e6]), st.floats(0, 10), st.sampled_from([math.nan, -1.0, math.inf]))
shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.sampled_from([math.nan, 1.5]))


@tried()
@given(
    st.lists(st.tuples(amounts, shares), max_size=24),
    st.sampled_from([None, 1, 2, 6, 9]),
    st.sampled_from([0.01, 1.0, 1e5]),
    st.sampled_from([0.5, 0.95, 0.9999]),
)
def test_random_inputs_to_cost_and_value(rows: list[tuple[float, float]], clusters: int | None, bound: float, level: float) -> None:
    cost, success = (np.array([row[side] for row in rows], dtype=np.float64) for side in (0, 1))
    cluster = None if clusters is None else np.arange(len(cost)) % clusters
    both = np.column_stack([cost, cost[::-1]]), np.column_stack([success, success[::-1]])
    for found in (
        stats.cost_below(cost, success, bound, cluster),
        stats.cost_below(cost, success, bound, cluster, by="sign-flip", rng=rng()),
        stats.net_value(success, cost, cluster, value=bound, harm=3, rng=rng(), draws=20, confidence_level=level),
        stats.tornado(success, cost, cluster, value=(0, bound, 2 * bound), harm=(0, 1, 2), confidence_level=level),
        stats.pareto_frontier(both[1], both[0], cluster, names=["a", "b"], rng=rng(), draws=20, confidence_level=level),
    ):
        json.dumps(found.as_dict(), allow_nan=False)
        assert str(found)
        if found.refused is not None:
            assert found.refused.why
            assert found.refused.next
    value = stats.net_value(success, cost, cluster, value=bound, harm=3, rng=rng(), draws=20, confidence_level=level)
    if value.value is not None and value.low is not None and value.high is not None:
        assert value.low <= value.value <= value.high
