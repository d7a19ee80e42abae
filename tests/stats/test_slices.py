"""Slices: what is found in one half is believed when the other half says so."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.slices import find_slices
from tests.stats.random_inputs import tried


def slices(y: Any, attributes: Any, cluster: Any = None, *, seed: int = 1, **options: Any) -> stats.Slices:
    units = None if cluster is None else np.asarray(cluster)
    return find_slices(np.asarray(y, dtype=np.float64), attributes, units, rng=np.random.default_rng(seed), **options)


# ------------------------------------------------------------ by hand


def test_a_lead_is_judged_by_newcombe_and_benjamini_hochberg() -> None:
    # 100 cases: 40 of "law" pass 16 times, 60 of "tax" 54 times; two slices, so the p of law counts twice
    y = np.repeat([1.0, 0.0, 1.0, 0.0], [16, 24, 54, 6])
    found = slices(y, {"topic": ["law"] * 40 + ["tax"] * 60})
    assert found.n_tested == 2 and not found.halves
    (law,) = found.found
    assert (law.name, law.status, law.n_cases) == ("topic = law", "lead", 40)

    def at(level: float) -> stats.Interval:
        return stats.newcombe_difference(16, 40, 54, 60, confidence_level=level)

    assert law.p == pytest.approx(stats.one_sided_p(at, 0.0, "high"))
    assert law.p_adjusted == pytest.approx(2 * law.p)
    assert (law.low, law.high) == pytest.approx(at(1 - 2 * 0.05))  # one of two found at .10
    assert found.warnings


def test_attributes_that_say_the_same_are_one_slice() -> None:
    y = np.repeat([1.0, 0.0, 1.0, 0.0], [16, 24, 54, 6])
    kind = np.repeat([0, 1], [40, 60])
    found = slices(y, {"topic": kind, "desk": kind + 5})
    assert found.n_tested == 2
    assert found.found[0].name == "desk = 5"
    assert found.found[0].same_as == ("topic = 0", "desk = 5, topic = 0")


def test_what_is_inside_a_found_slice_is_named_with_it() -> None:
    y = np.repeat([0.0, 1.0, 1.0, 1.0, 0.0], [60, 20, 40, 100, 4])
    topic = np.repeat(["law", "tax"], [120, 104])
    language = np.repeat(["de", "en", "de"], [80, 92, 52])
    found = slices(y, {"topic": topic, "language": language})
    assert [one.name for one in found.found] == ["language = de", "topic = law"]  # short by .485 and by .462
    assert found.found[0].nested == found.found[1].nested == ("language = de, topic = law",)


def test_small_slices_are_not_tested() -> None:
    y = np.tile([1.0, 0.0], 50)
    found = slices(y, {"a": np.repeat([0, 1], [19, 81])})
    assert found.refused is not None and found.refused.code == "TOO_FEW_CASES" and found.n_small == 2
    # 30 cases, in four clusters
    few = slices(y, {"a": np.repeat([0, 1], [30, 70])}, np.r_[np.arange(30) % 4, 10 + np.arange(70)])
    assert few.refused is not None and "5 clusters" in few.refused.why
    for values, code in (([], "NO_DATA"), ([math.nan] * 3, "OFF_SCALE"), ([1.0] * 9, "NO_VARIATION")):
        refused = slices(values, {"a": np.zeros(len(values))})
        assert refused.refused is not None and refused.refused.code == code
    with pytest.raises(ValueError, match="one length"):
        slices(y, {"a": [1]})
    with pytest.raises(ValueError, match="depth"):
        slices(y, {"a": y}, depth=4)


def test_figures_are_those_of_the_half_that_did_not_search() -> None:
    generator = np.random.default_rng(3)
    n = 800
    topic, language = generator.integers(0, 4, n), generator.integers(0, 3, n)
    y = (generator.random(n) < np.where((topic == 1) & (language == 2), 0.2, 0.85)) * 1.0
    found = slices(y, {"topic": topic, "language": language})
    worst = found.found[0]
    assert found.halves and worst.status == "confirmed"
    names = {worst.name, *worst.nested}
    assert any("topic = 1" in name for name in names) and "language = 2, topic = 1" in names
    mask = topic == 1
    if worst.name == "topic = 1":
        assert worst.n_cases == int(mask.sum())
        assert worst.value != pytest.approx(float(y[mask].mean()))  # that of all cases, the searched ones among them
        assert worst.high < 0


# ------------------------------------------------------------ published


def test_the_false_discovery_rule_is_that_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    generator = np.random.default_rng(4)
    group = np.repeat(np.arange(6), 60)
    y = (generator.random(360) < np.array([0.5, 0.7, 0.75, 0.9, 0.9, 0.9])[group]) * 1.0
    found = slices(y, {"g": group})

    def p(g: int) -> float:
        x, n = float(y[group == g].sum()), 60
        rest = float(y.sum()) - x
        p = stats.one_sided_p(lambda level: stats.newcombe_difference(x, n, rest, 300, confidence_level=level), 0.0, "high")
        return p if x / n < rest / 300 else 1.0

    ps = [p(g) for g in range(6)]
    rejected = multitest.multipletests(ps, alpha=0.1, method="fdr_bh")[0]
    assert {one.name for one in found.found} == {f"g = {g}" for g in range(6) if rejected[g]}


# ------------------------------------------------------------ invariance


@tried(25)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([120, 420]))
def test_the_order_of_cases_and_attributes_changes_nothing(seed: int, clustered: bool, n: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, 3, n), generator.integers(0, 2, n)
    y = (generator.random(n) < np.where(a == 0, 0.4, 0.8)) * 1.0
    cluster = np.arange(n) % 40 if clustered else None
    order = generator.permutation(n)
    one = slices(y, {"a": a, "b": b}, cluster)
    other = slices(y[order], {"b": b[order], "a": a[order]}, None if cluster is None else cluster[order])
    assert [row.name for row in one.found] == [row.name for row in other.found]
    assert [row.p for row in one.found] == pytest.approx([row.p for row in other.found], rel=1e-6)


# ------------------------------------------------------------ simulation


@pytest.mark.parametrize("clustered", [False, True])
def test_nothing_is_found_where_slices_are_alike_and_a_bad_one_is(clustered: bool) -> None:
    generator = np.random.default_rng(15)
    any_found, any_confirmed, right, runs, n = 0, 0, 0, 30, 500
    for _ in range(runs):
        cluster = np.arange(n) % 60
        moved = generator.normal(0, 0.6, 60)[cluster] if clustered else 0.0
        columns = {"a": generator.integers(0, 4, n), "b": generator.integers(0, 3, n)}
        logits = 1.4 + moved
        y = (generator.random(n) < 1 / (1 + np.exp(-logits))) * 1.0
        found = slices(y, columns, cluster if clustered else None, seed=int(generator.integers(1000)))
        any_found += bool(found.found)
        any_confirmed += any(one.status == "confirmed" for one in found.found)
        bad = logits - 1.8 * (columns["a"] == 2)
        y = (generator.random(n) < 1 / (1 + np.exp(-bad))) * 1.0
        found = slices(y, columns, cluster if clustered else None, seed=int(generator.integers(1000)))
        right += any("a = 2" in one.name and one.status == "confirmed" for one in found.found)
    assert any_found / runs <= 0.25  # .10 with three standard errors
    assert any_confirmed / runs <= 0.075  # found and confirmed by chance: about .01
    assert right / runs >= 0.85


# ------------------------------------------------------------ random inputs


@tried(120)
@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.just(math.nan)), st.integers(0, 2), st.integers(0, 2)),
        max_size=60,
    ),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([1, 3, 12]),
)
def test_random_inputs_give_slices_or_say_why_there_are_none(
    rows: list[tuple[float, int, int]], binary: bool, clustered: bool, depth: int, times: int
) -> None:
    rows = rows * times
    y = np.array([row[0] for row in rows], dtype=np.float64)
    y = np.round(y) if binary else y
    columns = {"a": [row[1] for row in rows], "b": [None if row[2] == 2 else str(row[2]) for row in rows]}
    found = slices(y, columns, np.arange(len(rows)) % 13 if clustered else None, depth=depth)
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why and found.refused.next
    for one in found.found:
        assert str(one)
        assert one.low <= one.high
        assert (one.high < 0) == (one.status != "not confirmed")
