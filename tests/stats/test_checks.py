"""The door for reference values: other inputs of the same kinds, malformed ones, costs, groups and repeats."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.checks import CHECKS, differences, explained, run_checks, shipped_checks

INPUTS = {kind: [check["input"] for check in shipped_checks() if check["kind"] == kind] for kind in CHECKS}
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.sampled_from([1e300, -1e9, 0.5, math.inf, math.nan]), st.text(max_size=3)
)
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["cluster_sizes", "y", "cost", "success", "delta", "K", "a"]), inner, max_size=4),
    ),
    max_leaves=12,
)


def answer(kind: Any, given: Any) -> Any:
    """What a kind answers, seen as the door shows it: by expecting something that cannot be."""
    failed = run_checks([{"id": 1, "kind": kind, "input": given, "expected": "nothing of the kind", "tol": 0}])["failed"]
    return failed[0]["got"]


def refused(got: Any) -> str:
    assert set(got) >= {"refused", "why", "next"}
    assert got["why"]
    assert got["next"]
    return str(got["refused"])


def test_every_kind_ships_a_reference_value() -> None:
    assert all(INPUTS.values())
    assert len({check["id"] for check in shipped_checks()}) == len(shipped_checks())
    assert all(check["source"] for check in shipped_checks())


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(CHECKS)), anything)
def test_any_input_is_answered_or_refused(kind: str, given: Any) -> None:
    json.dumps(answer(kind, given), allow_nan=False)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(CHECKS)), st.data())
def test_a_spoilt_input_is_answered_or_refused(kind: str, data: st.DataObject) -> None:
    def spoil(value: Any) -> Any:
        if data.draw(st.integers(0, 7)) == 0:
            return data.draw(leaves)
        if isinstance(value, list):
            return [spoil(one) for one in value[: data.draw(st.integers(0, 6))]]
        return {name: spoil(one) for name, one in value.items()} if isinstance(value, dict) else value

    json.dumps(answer(kind, spoil(INPUTS[kind][0])), allow_nan=False)


@pytest.mark.parametrize(
    "check",
    [
        None,
        3,
        [],
        {},
        {"kind": ["wilson"]},
        {"kind": "wilson"},
        {"kind": {}, "tol": "much"},
        {"kind": "wilson", "input": [], "expected": 1},
    ],
)
def test_a_check_that_is_none_fails_without_raising(check: Any) -> None:
    outcome = run_checks([check])
    assert outcome["passed"] == 0
    assert outcome["failed"][0]["got"] == [] or refused(outcome["failed"][0]["got"])


@pytest.mark.parametrize("tol", ["1", None, -1, math.nan, [0.1], True])
def test_a_tolerance_that_is_none_fails(tol: Any) -> None:
    check = {"id": 1, "kind": "break_even", "input": [5, 20, 0.3], "expected": 0.812, "tol": tol}
    assert refused(run_checks([check])["failed"][0]["got"]) == "BAD_INPUT"


def test_an_unknown_kind_is_never_right_by_expecting_nothing() -> None:
    assert run_checks([{"id": 1, "kind": "sorcery", "input": 1, "expected": None}])["passed"] == 0


@pytest.mark.parametrize(
    ("expected", "got", "line"),
    [
        (0.5, 0.52, "expected 0.5, got 0.52 (off by 0.02, 0.01 allowed)"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a: no. 2: expected 2, got 3 (off by 1, 0.01 allowed)"),
        ({"b": 1}, {"a": 1}, "b: expected 1, and there is no such key"),
        ([1, 2], [1], "expected 2 values, got 1"),
        ("yes", "no", "expected 'yes', got 'no'"),
        (True, 1, "expected True, got 1"),
        (None, 0.3, "expected None, got 0.3"),
        (0.3, {"refused": "NO_DATA", "why": "there is none", "next": "collect some"}, "expected 0.3, refused, NO_DATA: there is none"),
    ],
)
def test_where_a_value_differs_and_by_how_much(expected: Any, got: Any, line: str) -> None:
    assert differences(expected, got, 0.01) == [line]


def test_what_agrees_differs_nowhere() -> None:
    assert differences({"a": [1.0, None], "b": "x"}, {"a": [1.004, {"refused": "NO_DATA"}], "b": "x", "c": 9}, 0.01) == []


def test_a_failure_is_explained_with_the_tolerance_of_its_check() -> None:
    checks = [{"id": "X", "kind": "break_even", "input": [5, 20, 0.3], "expected": 0.9, "tol": 0.001}]
    (failure,) = run_checks(checks)["failed"]
    assert explained(failure, checks) == ["expected 0.9, got 0.812 (off by 0.088, 0.001 allowed)"]


def test_one_bad_entry_leaves_the_others_their_answer() -> None:
    good, bad = answer("wilson", [[81, 263], [5, 4]])
    assert good == pytest.approx([0.255289, 0.366210], abs=1e-6)
    assert "from 0 to 4" in bad["why"]
    assert run_checks([{"id": 1, "kind": "wilson", "input": [[0, 0]], "expected": [None]}])["passed"] == 1
    assert run_checks([{"id": 1, "kind": "wilson", "input": [[0, 0]], "expected": None}])["passed"] == 1


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("tango", [[3, 3, 5]]),
        ("pass_at_k", [[5, 2, 6]]),
        ("pass_at_k", [[5, 6, 2]]),
        ("clustered_proportion", {"cluster_sizes": [2, 2], "y": [1, 0, 1]}),
        ("clustered_proportion", {"cluster_sizes": [3], "y": [1, 0, 1]}),
        ("clustered_proportion", {"cluster_sizes": [10**12], "y": [1]}),
        ("repeats", [[1], [0]]),
        ("repeats", [[1, 0], [1]]),
        ("multiple_testing", [0.1, 1.1]),
        ("cohen_kappa", [[0, 0], [0, 0]]),
        ("cohen_kappa", [[1, 2]]),
        ("group_gap", [[1, 2]]),
        ("break_even", [5, -5, 1]),
        ("cost_per_success", {"cost": [1], "success": [1]}),
        ("cost_per_success", {"cost": [1, 2], "success": [1]}),
        ("paired_sample_size", {"delta": 0, "omega2": 1, "sigma2": 1, "alpha": 0.05, "power": 0.8, "two_sided": True, "K": [1]}),
    ],
)
def test_what_has_no_answer_is_refused(kind: str, given: Any) -> None:
    assert run_checks([{"id": 1, "kind": kind, "input": given, "expected": None}])["passed"] == 1


def test_undefined_agreement_is_null_and_says_why() -> None:
    got = answer("cohen_kappa", [[9, 0], [0, 0]])
    assert got["kappa"] == [None, None, None]
    assert refused(got) == "NO_VARIATION"
    assert answer("prevalence_paradox", [[9, 0], [0, 0]]) == {"kappa": None, "AC1": 1.0, "agree": 1.0}


# ------------------------------------------------------------ costs


def test_fieller_by_hand() -> None:
    # two units: t at 50% with one degree of freedom is 1; costs 2 and 4, successes 1 and 1: the cost has the whole spread
    found = stats.cost_per_success(np.array([2.0, 4.0]), np.array([1.0, 1.0]), confidence_level=0.5)
    assert found.ratio == 3
    assert found.g == 0
    assert found.interval == pytest.approx((2.0, 4.0))  # 3 -+ 1 x sqrt(2 / 2)


def test_fieller_inverts_the_t_test() -> None:
    generator = np.random.default_rng(41)
    cost, success = generator.lognormal(0, 0.5, 30), (generator.uniform(size=30) < 0.6).astype(np.float64)
    found = stats.cost_per_success(cost, success)
    assert found.interval is not None
    for r in found.interval:
        x = cost - r * success
        assert abs(x.mean() / (x.std(ddof=1) / math.sqrt(30))) == pytest.approx(2.045230, rel=1e-5)  # t with 29 degrees at .975


def test_a_cost_without_upper_bound_still_has_a_lower_one() -> None:
    cost, success = np.array([1.0, 1.2, 0.9, 1.1, 1.0, 1.3]), np.array([0.0, 0, 0, 0, 0, 1])
    found = stats.cost_per_success(cost, success)
    assert found.refused is not None
    assert found.refused.code == "UNBOUNDED"
    x = cost - found.at_least * success
    assert x.mean() / (x.std(ddof=1) / math.sqrt(6)) == pytest.approx(2.570582, rel=1e-5)  # t with 5 degrees at .975
    never = stats.cost_per_success(cost, np.zeros(6))
    assert never.ratio is None
    assert never.at_least == pytest.approx(cost.mean() / stats.clopper_pearson(0, 6).high)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from([0.0, 0.5, 1.0])), min_size=0, max_size=15), st.sampled_from([None, 2, 4]))
def test_a_cost_is_an_interval_or_a_refusal(rows: list[tuple[float, float]], clusters: int | None) -> None:
    cost, success = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = stats.cost_per_success(cost, success, None if clusters is None else np.arange(len(rows)) % clusters)
    assert math.isfinite(found.at_least)
    assert found.at_least >= 0
    if found.refused is None:
        assert found.interval is not None
        assert found.ratio is not None
        assert found.interval.low <= found.ratio <= found.interval.high < math.inf
    else:
        assert found.interval is None
        assert found.refused.next


# ------------------------------------------------------------ groups


def test_group_gap_by_hand() -> None:
    found = stats.group_gap([(90, 100), (80, 100)], within=0.1, alpha=0.05)
    upper = stats.newcombe_difference(90, 100, 80, 100, confidence_level=0.9).high
    assert found.upper[(0, 1)] == upper
    assert found.verdict == "undecided"
    assert found.furthest == (0, 1)
    assert stats.group_gap([(90, 100), (80, 100)], within=upper + 1e-9, alpha=0.05).verdict == "supported"
    assert stats.group_gap([(95, 100), (40, 100)], within=0.1).verdict == "refuted"
    assert stats.group_gap([(3, 4)], within=0.1).verdict == "undecided"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=5))
def test_the_order_of_groups_does_not_matter(counts: list[tuple[int, int]]) -> None:
    assert stats.group_gap(counts, within=0.2).verdict == stats.group_gap(counts[::-1], within=0.2).verdict


def test_a_gap_at_the_margin_is_rarely_declared_small() -> None:
    generator = np.random.default_rng(42)
    supported = refuted = 0
    for _ in range(400):
        counts = [(int(generator.binomial(200, p)), 200) for p in (0.85, 0.85, 0.75)]
        verdict = stats.group_gap(counts, within=0.1, alpha=0.05).verdict
        supported, refuted = supported + (verdict == "supported"), refuted + (verdict == "refuted")
    assert supported / 400 <= 0.06
    assert refuted / 400 <= 0.06


# ------------------------------------------------------------ repeats


def test_many_tries_agree_with_the_product() -> None:
    # C(c, k)/C(n, k) is a product of shares that shrink by one each time
    product = math.prod((4000 - i) / (5000 - i) for i in range(10))
    assert stats.pass_all_k(5000, 4000, 10) == pytest.approx(product, rel=1e-9)
    assert stats.pass_at_k(5000, 1000, 10) == pytest.approx(1 - product, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.data())
def test_failing_never_and_failing_always_are_complements(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert stats.pass_at_k(n, c, k) == pytest.approx(1 - stats.pass_all_k(n, n - c, k))
    assert stats.pass_all_k(n, c, k) <= c / n + 1e-12 <= stats.pass_at_k(n, c, k) + 2e-12


def test_smallest_visible_failure_rate_mirrors_the_pass_rate() -> None:
    up = stats.smallest_visible_rate(80, 0.7, alpha=0.025, power=0.8, above=True)
    down = stats.smallest_visible_rate(80, 0.3, alpha=0.025, power=0.8, above=False)
    assert up is not None
    assert down == pytest.approx(up)
    for n, bound in ((0, 0.5), (10, 1.0), (10, 1.5), (10, -0.5)):
        assert stats.smallest_visible_rate(n, bound, alpha=0.025, power=0.8, above=True) is None
