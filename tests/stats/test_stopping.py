"""Stopping rules: what decides is settled beforehand, depends on the recorded order alone, and p, interval and verdict agree."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.results import Refusal
from fairmark.stats.sequential import EProcess, bets
from fairmark.stats.stopping import (
    Ledger,
    Stopping,
    StoppingPlan,
    StoppingResult,
    fixed_interval,
    fixed_size,
    in_order,
    obrien_fleming_levels,
    order_digest,
    stop_together,
    stopping_forecast,
    stopping_plan,
    stopping_runs,
)
from tests.stats.random_inputs import tried

MODES = ("hybrid", "open-ended", "planned-looks", "finite-bank")


def plan(kind: Any = "rate", null: float = 0.8, alternative: float = 0.9, **other: Any) -> StoppingPlan:
    settings: dict[str, Any] = {"scorer": "code", "seed": 1} | other
    return stopping_plan(kind, null=null, alternative=alternative, **settings)


def fed(run: StoppingPlan | Stopping, units: Iterable[Any], **other: Any) -> StoppingResult:
    """The account of a run that was handed these units."""
    run = Stopping(run) if isinstance(run, StoppingPlan) else run
    assert run.update(units, **other) == run.result().state
    return run.result()


def refusal(found: Refusal | None) -> Refusal:
    assert found is not None
    assert found.why
    assert found.next
    return found


# ------------------------------------------------------------ by hand


def test_a_perfect_run_decides_when_the_mixture_says_so() -> None:
    # margin 0.5, alternative 0.9: the best bet is 0.4/0.25 = 1.6 of at most 2, a share of 0.8; after k passes the wealth is
    # half of 1.8^k and half of the mean of (1 + c)^k over the other bets; a hybrid at 0.025 asks for 2/0.025 = 80
    settled = plan(null=0.5, alternative=0.9, n_max=40)
    assert settled.bet_support == pytest.approx(0.8)
    others = np.geomspace(1 / 64, 0.95, 12)
    wealth = [0.5 * 1.8**k + 0.5 * float(np.mean((1 + others) ** k)) for k in range(41)]
    k = next(k for k in range(41) if wealth[k] >= 80)
    found = fed(settled, [1.0] * k)
    assert (found.state, found.verdict, found.decided_at, found.n_units) == ("supported", "supported", k, k)
    assert found.e_value == pytest.approx(wealth[k])
    assert found.p_support == pytest.approx(2 / wealth[k])
    assert fed(settled, [1.0] * (k - 1)).state == "open"


def test_a_hybrid_takes_its_fixed_test_once_at_the_cap() -> None:
    settled = plan(null=0.5, alternative=0.7, n_max=30)
    values = ([1.0, 1.0, 0.0] * 10)[:30]
    run = Stopping(settled)
    before = fed(run, values[:29])
    assert before.p_fixed is None
    assert before.p_support == pytest.approx(min(1.0, 2 / before.e_max))  # type: ignore[operator]
    after = fed(run, values[29:])
    exact = sum(math.comb(30, k) for k in range(20, 31)) / 2**30  # 20 passes or more of 30 at one half
    assert after.p_fixed == pytest.approx(exact, rel=1e-4)
    assert after.p_support == pytest.approx(min(1.0, 2 * min(1 / after.e_max, exact)), rel=1e-4)  # type: ignore[operator]
    assert after.state == "capped"
    bound = stats.clopper_pearson(20, 30, confidence_level=0.975).low
    assert after.low == pytest.approx(max(after.sequence_low, bound), abs=1e-9)  # type: ignore[type-var]
    assert after.warnings == ()


def test_an_effect_that_is_ruled_out_is_no_refutation() -> None:
    found = fed(plan(n_max=200), [1.0, 1, 1, 0] * 12)
    assert (found.state, found.verdict, found.stop) == ("ruled-out", "undecided", True)
    assert found.say.startswith("stopped early: undecided, an effect of 0.9 is ruled out, after 48 of at most 200 cases")
    assert found.high is not None
    assert found.high > 0.8
    assert found.decided_at is not None
    assert found.decided_at < 48
    lost = fed(plan(n_max=200), [1.0, 0] * 50)
    assert (lost.state, lost.verdict) == ("refuted", "refuted")
    assert lost.high is not None
    assert lost.high < 0.8


def test_pending_cases_block_their_successors_and_failures_have_their_place() -> None:
    order = ["a", "b", "c", "d"]
    assert in_order(order, {"b": 1.0, "a": 0.0, "d": 1.0}) == [0.0, 1.0]
    assert in_order(order, {"b": 1.0}) == []
    assert in_order(order, {"a": None, "b": 1.0}) == [None, 1.0]
    assert order_digest(order) != order_digest(order[::-1])
    assert plan(order=order).order_digest == order_digest(order)


def test_several_claims_stop_together() -> None:
    won, lost = [1.0] * 60, [1.0, 0.0] * 60
    one, two = (Stopping(plan(alpha=0.0125, n_max=200)) for _ in range(2))
    results = [fed(one, won), fed(two, [1.0] * 10)]
    both = stop_together(results)
    assert both.supported == (True, False)
    assert both.open == (1,)
    assert not both.stop
    both = stop_together([one.result(), fed(two, lost)])
    assert (both.stop, both.supported, both.refuted) == (True, (True, False), (False, True))
    # Holm: the smaller p at half of alpha, the other at alpha
    assert both.levels_support == (0.0125, 0.025)
    assert stop_together([]).stop


def test_looks_at_releases_are_paid_for() -> None:
    ledger = Ledger("H1")
    for release in ("1.0", "1.1", "1.0", "1.2"):
        ledger = ledger.look(release)
    assert ledger.releases == ("1.0", "1.1", "1.2")
    assert [ledger.level(release) for release in ledger.releases] == pytest.approx([0.025 / 2, 0.025 / 6, 0.025 / 12])
    assert sum(0.025 / (k * (k + 1)) for k in range(1, 10_000)) == pytest.approx(0.025, rel=1e-3)
    # one level each where the number of releases is declared, and no release beyond
    planned = Ledger("H1", alpha=0.05, planned=2).look("a").look("b")
    assert planned.level("b") == 0.025
    with pytest.raises(ValueError, match="all 2 planned"):
        planned.look("c")
    assert "0.05 of alpha 0.05 spent" in planned.headline()


def test_something_else_that_is_measured_starts_anew() -> None:
    run = Stopping(plan(fingerprint="prompt 1", n_max=200))
    assert fed(run, [1.0] * 20, fingerprint="prompt 1").n_units == 20
    fresh = fed(plan(fingerprint="prompt 1", n_max=200), [1.0, 0.0])
    anew = fed(run, [1.0, 0.0], fingerprint="prompt 2")
    assert (anew.n_units, anew.e_value) == (2, fresh.e_value)
    assert "20 earlier units do not count" in anew.warnings[0]


# ------------------------------------------------------------ published


def test_planned_looks_have_the_published_bounds() -> None:
    # Lan and DeMets's spending like O'Brien and Fleming's, one-sided 0.025, five equal looks: as in gsDesign's sfLDOF and
    # Jennison and Turnbull (2000), chapter 7: z = 4.877, 3.357, 2.680, 2.290, 2.031
    levels = obrien_fleming_levels([0.2, 0.4, 0.6, 0.8, 1.0], 0.025)
    published = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
    assert [0.5 * math.erfc(z / math.sqrt(2)) for z in published] == pytest.approx(list(levels), rel=2e-3)
    # two looks: z = 2.963 and 1.969
    assert obrien_fleming_levels([0.5, 1.0], 0.025) == pytest.approx(
        [0.5 * math.erfc(z / math.sqrt(2)) for z in (2.9626, 1.9686)], rel=2e-3
    )
    assert obrien_fleming_levels([1.0], 0.025) == pytest.approx([0.025])


def test_fixed_sizes() -> None:
    # (1.6449 + 1.2816)^2 (0.30 - 0.01) / 0.01 = 248.4; and the least n whose exact test of 0.8 has power 0.9 at 0.9
    assert fixed_size("paired", null=0.0, alternative=0.1, alpha=0.05, discordance=0.3) == 249
    assert fixed_size("rate", null=0.8, alternative=0.9, alpha=0.05) == 112
    # the mirrored claim of the failures is as large, and so is that of clusters of 5 with design effect 1 + 4 x 0.2
    assert fixed_size("rate", null=0.2, alternative=0.1, alpha=0.05) == 112
    assert fixed_size("rate", null=0.8, alternative=0.9, alpha=0.05, largest_cluster=5) == math.ceil(112 * 1.8 / 5)
    assert fixed_size("rate", null=0.8, alternative=0.801) > 1_000_000


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"seed": None}, "ORDER_NOT_RANDOM"),
        ({"scorer": "judge-raw"}, "STOP_NEEDS_CHECK"),
        ({"scorer": "judge-corrected"}, "STOP_NEEDS_CHECK"),
        ({"alternative": 0.8}, "CAN_NEVER_DECIDE"),
        ({"null": 1.0, "alternative": 1.1}, "CAN_NEVER_DECIDE"),
        ({"null": 0.0, "alternative": 0.1}, "CAN_NEVER_DECIDE"),
        ({"n_max": 10}, "CAN_NEVER_DECIDE"),
        ({"n_max": 10, "mode": "open-ended"}, "CAN_NEVER_DECIDE"),
        ({"n_max": 10, "mode": "planned-looks"}, "CAN_NEVER_DECIDE"),
        ({"kind": "paired", "null": 0.0, "alternative": 0.4, "discordance": 0.3}, "CAN_NEVER_DECIDE"),
        ({"kind": "mean", "spread": 0.0}, "CAN_NEVER_DECIDE"),
        # six clusters reach a one-sided p of 1/64, and half of 0.025 is less
        ({"kind": "paired", "null": 0.0, "alternative": 0.2, "largest_cluster": 4, "n_max": 6}, "CAN_NEVER_DECIDE"),
    ],
)
def test_plans_that_cannot_decide_are_refused(given: dict[str, Any], code: str) -> None:
    refused = plan(**given)
    assert refusal(refused.refused).code == code
    assert code in str(refused)
    json.dumps(refused.as_dict(), allow_nan=False)
    with pytest.raises(ValueError, match=code):
        Stopping(refused)
    if code != "CAN_NEVER_DECIDE" or "n_max" in given:
        assert (
            refusal(stopping_forecast(refused, 0.8, rng=np.random.default_rng(1)).refused).code == code
            if "largest_cluster" not in given
            else True
        )


def test_the_least_cap_that_can_decide_is_not_refused() -> None:
    # 0.8^n <= 0.0125 from n = 20 on: the fixed test could decide, with every case a pass
    assert 0.8**20 <= 0.0125 < 0.8**19
    assert plan(n_max=20).refused is None
    assert refusal(plan(n_max=19).refused).next == "allow more cases, at the very least 20"


@pytest.mark.parametrize("bad", [2.0, -0.1, math.nan, math.inf])
def test_values_off_the_scale_are_refused(bad: float) -> None:
    run = Stopping(plan(n_max=100))
    found = fed(run, [1.0, bad, 1.0])
    assert refusal(found.refused).code == "OFF_SCALE"
    assert (found.state, found.stop, found.value, found.low) == ("refused", True, None, None)
    assert fed(run, [1.0] * 99).state == "refused"


def test_a_cluster_larger_than_declared_is_refused() -> None:
    run = Stopping(plan(largest_cluster=2, n_max=100))
    assert fed(run, [[1.0, 0.0], 1.0]).n_cases == 3
    assert refusal(fed(run, [[1.0, 1.0, 1.0]]).refused).code == "CLUSTER_TOO_LARGE"
    with pytest.raises(ValueError, match="declare largest_cluster"):
        fed(plan(n_max=100), [[1.0, 0.0]])


def test_a_sorted_order_contradicts_itself() -> None:
    found = fed(plan(null=0.5, alternative=0.7, n_max=500), [1.0] * 60 + [0.0] * 240)
    assert refusal(found.refused).code == "CONTRADICTION"
    assert found.verdict == "undecided"


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "planned-looks", "looks": 6},
        {"mode": "planned-looks", "looks": [10, 5], "n_max": 30},
        {"mode": "finite-bank"},
        {"bank": 100},
        {"alpha": 0.0},
        {"low": 0.5},
        {"n_max": 0},
    ],
)
def test_a_mistaken_plan_raises(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"look|bank|alpha|scale|n_max"):
        plan(**given)


# ------------------------------------------------------------ invariances


def settled(mode: str, kind: str = "rate", *, below: bool = False, **other: Any) -> StoppingPlan:
    bank = {"bank": 90} if mode == "finite-bank" else {"n_max": 90}
    sides = {"rate": (0.6, 0.75), "paired": (0.0, 0.2), "mean": (0.5, 0.6)}[kind]
    if below:
        sides = (-sides[0], -sides[1]) if kind == "paired" else (1 - sides[0], 1 - sides[1])
    return plan(kind, *sides, mode=mode, alpha=0.05, **(bank | other))


def drawn(kind: str, generator: np.random.Generator) -> np.ndarray:
    if kind == "paired":
        return generator.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=90)
    x = generator.uniform(size=90)
    return (x < 0.7).astype(np.float64) if kind == "rate" else x


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["rate", "paired", "mean"])
def test_one_run_decides_as_the_array_of_runs_does(mode: str, kind: str) -> None:
    generator, one = np.random.default_rng(11), settled(mode, kind)
    x = np.stack([drawn(kind, generator) for _ in range(8)])
    together = stopping_runs(one, x)
    for i, row in enumerate(x):
        run = Stopping(one)
        found = fed(run, row[: together.used[i]].tolist())
        assert found.stop
        expected = (
            "supported"
            if together.supported[i]
            else "refuted"
            if together.refuted[i]
            else "ruled-out"
            if together.ruled_out[i]
            else "capped"
        )
        assert found.state == expected
        assert found.decided_at == together.used[i]
        if together.used[i] > 1 and mode != "planned-looks":
            assert Stopping(one).update(row[: together.used[i] - 1].tolist()) == "open"


@pytest.mark.parametrize("mode", MODES)
def test_how_units_are_handed_over_does_not_matter(mode: str) -> None:
    x, one = drawn("rate", np.random.default_rng(12)).tolist(), settled(mode)
    whole = fed(one, x[:80])
    for cuts in ([0, 1, 40, 80], range(81)):
        run = Stopping(one)
        for a, b in itertools.pairwise(cuts):
            run.update(x[a:b])
        found = run.result()
        assert found.p_support == pytest.approx(whole.p_support)
        assert (found.state, found.decided_at, found.n_units) == (whole.state, whole.decided_at, 80)
        assert (found.low, found.high) == pytest.approx((whole.low, whole.high))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["rate", "paired"])
def test_a_claim_and_its_mirror_are_decided_alike(mode: str, kind: str) -> None:
    x = drawn(kind, np.random.default_rng(13))
    flipped = -x if kind == "paired" else 1 - x
    one, other = fed(settled(mode, kind), x.tolist()), fed(settled(mode, kind, below=True), flipped.tolist())
    assert (one.state, one.decided_at) == (other.state, other.decided_at)
    assert (one.p_support, one.p_refute, one.p_rule_out) == pytest.approx((other.p_support, other.p_refute, other.p_rule_out))
    shift = 0.0 if kind == "paired" else 1.0
    assert (one.low, one.high) == pytest.approx((shift - other.high, shift - other.low))  # type: ignore[operator]


def test_the_order_within_a_cluster_does_not_matter_and_repeats_are_averaged_first() -> None:
    one = settled("hybrid", largest_cluster=3)
    a = fed(one, [[1.0, 0.0, 1.0], [0.5], [0.0, 1.0]])
    b = fed(one, [(1.0, 1.0, 0.0), 0.5, np.array([1.0, 0.0])])
    assert a == b


@pytest.mark.parametrize("mode", ["hybrid", "open-ended", "planned-looks"])
def test_a_missing_mark_is_no_better_than_its_worst_completion(mode: str) -> None:
    x = [1.0, 1, 1, 0, 1, 1, 1, 1, 0, 1] * 9
    with_gaps: list[float | None] = [None if i % 15 == 7 else value for i, value in enumerate(x)]
    gaps, worst, best = (fed(settled(mode), [fill if value is None else value for value in with_gaps]) for fill in (None, 0.0, 1.0))
    assert gaps.n_missing == 6
    assert gaps.p_support == pytest.approx(worst.p_support)
    assert gaps.p_refute == pytest.approx(best.p_refute)
    assert (gaps.low, gaps.high) == pytest.approx((worst.low, best.high))
    assert any("6 of 90 marks are missing" in warning for warning in gaps.warnings)


# ------------------------------------------------------------ seeded simulation


@pytest.mark.parametrize(
    ("kind", "null", "alternative"), [("rate", 0.8, 0.9), ("rate", 0.3, 0.15), ("paired", 0.0, 0.15), ("paired", -0.1, 0.05)]
)
def test_a_hybrid_misleads_in_at_most_alpha_and_still_finds_and_saves(kind: Any, null: float, alternative: float) -> None:
    one, generator = plan(kind, null, alternative, alpha=0.05), np.random.default_rng(14)
    at_null = stopping_forecast(one, null, rng=generator, runs=1_500)
    assert 0.005 < at_null.supported <= 0.05 + 0.011  # two standard errors
    assert at_null.saved > 0.2
    effect = stopping_forecast(one, alternative, rng=generator, runs=600)
    assert effect.supported > 0.7
    assert effect.ruled_out <= 0.1 + 0.025
    far = stopping_forecast(one, null + 2 * (alternative - null) * (0.95 if kind == "rate" else 1), rng=generator, runs=200)
    assert far.supported > 0.99
    assert far.saved > 0.5
    assert max(at_null.most_units, effect.most_units) <= one.n_max


def test_planned_looks_spend_alpha_and_no_more() -> None:
    one, generator = plan("paired", 0.0, 0.15, alpha=0.05, mode="planned-looks", discordance=0.4), np.random.default_rng(15)
    at_null = stopping_forecast(one, 0.0, rng=generator, runs=2_000)
    assert 0.025 < at_null.supported <= 0.05 + 0.015
    assert stopping_forecast(one, 0.15, rng=generator, runs=600).supported > 0.82


def test_a_finite_bank_needs_a_part_of_its_cases() -> None:
    one = plan(mode="finite-bank", bank=200, alpha=0.05)
    clear, close = (stopping_forecast(one, truth, rng=np.random.default_rng(16), runs=300) for truth in (0.95, 0.79))
    assert clear.supported == 1.0
    assert clear.saved > 0.7
    assert close.refuted > 0.95
    assert close.supported <= 0.05
    # the bank itself answers: whatever is open after the last case is a tie
    exact = fed(plan(mode="finite-bank", bank=20, alpha=0.05), [1.0, 0.0, 1.0, 1.0, 1.0] * 4)
    assert exact.state == "capped"
    assert (exact.low, exact.high) == pytest.approx((0.8, 0.8))


def in_flight(runs: int, cases: int, slots: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes at a rate of 0.8 in the order of their start and of their end, where failures take 1.3 times longer."""
    each = cases // slots
    passed = (generator.uniform(size=(runs, slots, each)) < 0.8).astype(np.float64)
    ends = np.cumsum(np.where(passed > 0, 1.0, 1.3) * generator.uniform(0.9, 1.1, size=passed.shape), axis=2)
    starts = np.concatenate([np.zeros((runs, slots, 1)), ends[:, :, :-1]], axis=2)
    flat = passed.reshape(runs, -1)
    started, ended = (np.argsort(when.reshape(runs, -1), axis=1, kind="stable") for when in (starts, ends))
    return np.take_along_axis(flat, started, axis=1), np.take_along_axis(flat, ended, axis=1)


def test_the_recorded_order_holds_where_the_order_of_completion_does_not() -> None:
    one = plan(alpha=0.05, mode="open-ended", n_max=600)
    started, ended = in_flight(400, 600, 100, np.random.default_rng(17))
    assert np.mean(stopping_runs(one, started).supported) <= 0.05 + 0.022
    assert np.mean(stopping_runs(one, ended).supported) > 0.9


def test_quick_answers_do_not_overtake_slow_ones_on_the_way_into_the_process() -> None:
    generator = np.random.default_rng(18)
    order = [f"case {i}" for i in range(120)]
    passed = dict(zip(order, (generator.uniform(size=120) < 0.8).astype(np.float64).tolist(), strict=True))
    run, consumed, finished = Stopping(plan(n_max=120)), 0, {}
    for name in sorted(order, key=lambda name: (1.3 if passed[name] == 0 else 1.0) + 0.01 * order.index(name)):
        finished[name] = passed[name]
        ready = in_order(order, finished)
        run.update(ready[consumed:])
        consumed = len(ready)
    found = run.result()
    whole = fed(plan(n_max=120), passed.values())
    assert (found.state, found.decided_at, found.n_units) == (whole.state, whole.decided_at, 120)
    assert (found.p_support, found.low, found.high) == pytest.approx((whole.p_support, whole.low, whole.high))


def test_uncorrected_looks_at_releases_add_up() -> None:
    # twenty exact tests at 0.05 of a rate at its margin, 112 new answers each (methods, 0.1 point 12: about 59%)
    least = next(k for k in range(113) if stats.clopper_pearson(k, 112, confidence_level=0.9).low > 0.8)
    chance = sum(math.comb(112, k) * 0.8**k * 0.2 ** (112 - k) for k in range(least, 113))
    assert 1 - (1 - chance) ** 20 > 0.5
    ledger = Ledger("gate", alpha=0.05)
    for release in range(20):
        ledger = ledger.look(str(release))
    assert 1 - math.prod(1 - ledger.level(release) for release in ledger.releases) <= 0.05


# ------------------------------------------------------------ random inputs

values = st.lists(st.sampled_from([0.0, 0.0, 1.0, 1.0, 1.0, 0.5, None]), max_size=50)


def agrees_with_itself(one: StoppingPlan, found: StoppingResult) -> None:
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    assert found.n_units <= found.n_max
    if found.refused is not None:
        refusal(found.refused)
        return
    assert found.low is not None
    assert found.high is not None
    assert one.low <= found.low <= found.high <= one.high
    beyond, against = (found.low > one.null, found.high < one.null)
    if not one.above:
        beyond, against = against, beyond
    assert (found.state == "supported") == (found.p_support <= one.alpha) == beyond
    assert (found.verdict == "refuted") == (found.p_refute <= one.alpha) == against
    assert found.verdict == "undecided" or found.verdict == found.state


@tried(50)
@given(
    values,
    st.sampled_from(MODES),
    st.sampled_from([(0.6, 0.9), (0.4, 0.1), (0.5, 0.55), (0.02, 0.3), (0.8, 0.8)]),
    st.sampled_from(["rate", "mean"]),
    st.sampled_from([None, 3]),
    st.integers(0, 50),
    st.sampled_from([0.025, 0.2]),
)
def test_random_inputs_are_decided_open_or_refused(
    units: list[float | None], mode: str, sides: tuple[float, float], kind: str, largest: int | None, cut: int, alpha: float
) -> None:
    if mode == "finite-bank":
        largest = None
    other: dict[str, Any] = {"bank": 40} if mode == "finite-bank" else {"n_max": 40, "largest_cluster": largest}
    one = plan(kind, *sides, mode=mode, alpha=alpha, **other)
    json.dumps(one.as_dict(), allow_nan=False)
    if one.refused is not None:
        refusal(one.refused)
        return
    given: list[Any] = units if largest is None else [units[i : i + 3] for i in range(0, len(units), 3)]
    run = Stopping(one)
    agrees_with_itself(one, fed(run, given[:cut]))
    agrees_with_itself(one, fed(run, given[cut:]))


@tried(30)
@given(st.lists(st.sampled_from([-1.0, -0.2, 0.0, 0.0, 1.0, 0.3, None]), max_size=40), st.booleans(), st.sampled_from([0.1, -0.3]))
def test_random_inputs_of_pairs_too(units: list[float | None], clustered: bool, alternative: float) -> None:
    one = plan("paired", 0.0, alternative, n_max=12 if clustered else 36, alpha=0.1, largest_cluster=3 if clustered else None)
    if one.refused is not None:
        refusal(one.refused)
        return
    given: list[Any] = [units[i : i + 3] for i in range(0, len(units), 3)] if clustered else units
    agrees_with_itself(one, fed(one, given))


def test_the_glue_of_fixed_tests_is_what_stats_give() -> None:
    y = np.array([1.0, 0, 1, 1, 1, 0, 1, 1])
    rate = fixed_interval(plan())(y, None)
    assert not isinstance(rate, Refusal)
    assert rate(0.9) == stats.clopper_pearson(6, 8, confidence_level=0.9)
    pairs = fixed_interval(plan("paired", 0.0, 0.2))(np.array([1.0, 1, -1, 0, 0, 1, 1, 1]), None)
    assert not isinstance(pairs, Refusal)
    assert pairs(0.9) == stats.tango(5, 1, 8, confidence_level=0.9)
    clusters = np.arange(8) // 1
    grouped = fixed_interval(plan(largest_cluster=2))(y, clusters)
    assert not isinstance(grouped, Refusal)
    assert grouped(0.9) == stats.korn_graubard(y, clusters, confidence_level=0.9)
    scores = fixed_interval(plan("mean", 2.0, 3.0, low=1.0, high=5.0))(1 + 4 * y, None)
    assert not isinstance(scores, Refusal)
    inner = stats.betting(y, confidence_level=0.9)
    assert scores(0.9) == pytest.approx((1 + 4 * inner.low, 1 + 4 * inner.high))
    assert isinstance(fixed_interval(plan(largest_cluster=2))(y, np.arange(8) // 2), Refusal)


def test_the_plans_own_process_is_the_engine() -> None:
    one = plan(mode="open-ended", n_max=100)
    x = [1.0, 1, 0, 1, 1]
    fractions, weights = bets(one.bet_support)
    engine = EProcess(0.8, low=0.0, fractions=fractions, weights=weights)
    path = engine.update(np.array(x))
    found = fed(one, x)
    assert [e for _, e, _, _ in found.path] == pytest.approx(path / math.log(10))
