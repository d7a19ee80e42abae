"""Audits of a grader: by hand, against statsmodels, in any order, and on simulated graders with and without a bias."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from fairmark.stats import clopper_pearson, korn_graubard, mcnemar, tango
from fairmark.stats.audits import (
    central_tendency,
    drift,
    edit_bias,
    halo,
    holm_audits,
    length_bias,
    leniency,
    position_bias,
    repeatability,
    self_preference,
)
from fairmark.stats.sequential import bets
from tests.stats.random_inputs import tried

# ------------------------------------------------------------ pairs


def test_position_by_hand() -> None:
    # 60 pairs: 40 judged alike in both orders, 15 times the first place won, 5 times the second: net (15 - 5)/60
    first = np.repeat([1.0, 0.0, 1.0, 0.0], [25, 15, 15, 5])
    second = np.repeat([1.0, 0.0, 0.0, 1.0], [25, 15, 15, 5])
    found = position_bias(first, second)
    assert found.value == pytest.approx(1 / 6)
    assert (found.low, found.high) == pytest.approx(tango(15, 5, 60))
    assert found.verdict == "biased"
    assert found.figures["consistent"] == pytest.approx(2 / 3)
    assert found.figures["consistent_low"] == clopper_pearson(40, 60).low
    assert found.figures["mcnemar_midp"] == mcnemar(15, 5).midp
    assert "position: biased" in found.headline()
    swapped = position_bias(second, first)
    assert swapped.value == pytest.approx(-1 / 6)


def test_an_edit_may_matter_without_a_net_difference() -> None:
    # 30 of 200 grades flip up and 30 down: net 0, flips 30%; asked again without an edit 10 of 200 flip
    plain = np.repeat([0.0, 1.0, 1.0], [30, 30, 140])
    edited = np.repeat([1.0, 0.0, 1.0], [30, 30, 140])
    again = plain.copy()
    again[:10] = 1
    found = edit_bias(plain, edited, bias="format", again=again)
    assert found.value == 0
    assert found.figures["flips"] == pytest.approx(0.3)
    assert found.figures["flips_beyond"] == pytest.approx(0.25)
    assert found.figures["flips_low"] == clopper_pearson(60, 200).low
    assert found.verdict == "undecided"
    assert (found.low, found.high) == pytest.approx(tango(30, 30, 200))


def test_self_preference_takes_out_quality_and_leniency() -> None:
    rng = np.random.default_rng(71)
    own_human, other_human = rng.integers(0, 4, (2, 240)).astype(np.float64)
    own_human[:120] = np.maximum(own_human[:120], 2)  # its own family is truly better
    lenient = [np.minimum(human + 1, 3) for human in (own_human, other_human)]
    found = self_preference(own_human * 0 + 2, own_human * 0 + 1, other_human * 0 + 2, other_human * 0 + 1, scale=(0, 3))
    assert found.value == 0  # one point too much for everyone
    assert found.verdict == "within the margin"
    biased = self_preference(lenient[0], own_human, other_human, other_human, scale=(0, 3))
    assert biased.value == pytest.approx(float(np.mean(own_human < 3)))  # a point more wherever there is room
    assert biased.verdict == "biased"


def test_leniency_is_signed_and_in_rubric_points() -> None:
    rng = np.random.default_rng(72)
    human = rng.integers(0, 4, 150).astype(np.float64)
    grader = np.maximum(human - (rng.uniform(size=150) < 0.5), 0)
    found = leniency(grader, human, scale=(0, 3))
    assert found.value == pytest.approx(float(np.mean(grader - human)))
    assert found.value is not None and found.value < 0
    assert found.verdict == "biased"
    assert found.margin == pytest.approx(0.15)
    # the same marks on a scale of 100 points: everything a hundred thirds as large
    hundred = leniency(grader * 100 / 3, human * 100 / 3, scale=(0, 100))
    assert hundred.low is not None and found.low is not None and hundred.low == pytest.approx(found.low * 100 / 3)
    assert leniency(human, human, scale=(0, 3)).verdict == "within the margin"


# ------------------------------------------------------------ residuals


def test_length_by_hand() -> None:
    # residual .1 for each doubling, exactly, but for one answer that is off by .05
    length = np.array([1.0, 2.0, 4.0, 8.0] * 3)
    residual = 0.1 * (np.arange(12) % 4)
    residual[5] += 0.05
    human = np.full(12, 0.3)
    found = length_bias(human + residual, human, length)
    # x is 0 to 3 three times, so sum (x - 1.5)^2 = 15; the one that is off lies at x = 1: slope .1 + .05 (1 - 1.5)/15
    assert found.value == pytest.approx(0.1 - 0.025 / 15)
    assert length_bias(human + residual, human, length * 40).value == pytest.approx(found.value)  # any unit of length
    assert length_bias(human, human, np.full(12, 7.0)).refused is not None


def test_length_agrees_with_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(73)
    length, human = rng.lognormal(5, 1, 80), rng.uniform(0.2, 0.8, 80)
    grader = np.clip(human + 0.03 * np.log2(length / 150) + rng.normal(0, 0.05, 80), 0, 1)
    found = length_bias(grader, human, length)
    fit = api.OLS(grader - human, api.add_constant(np.log2(length))).fit(cov_type="HC3", use_t=True)
    assert found.value == pytest.approx(fit.params[1])
    assert found.low is not None and found.value is not None
    assert (found.value - found.low) / stdtrit(79, 0.975) == pytest.approx(fit.bse[1])


def test_halo_by_hand() -> None:
    # two criteria with the same residuals, thirty times 1 and ten times -1, mean .5: (40 - 40 x .25)/39 is the variance of both
    human = np.full((40, 2), 2.0)
    r = np.repeat([1.0, -1.0], [30, 10])
    found = halo(human + np.column_stack([r, r]), human, scale=(0, 4))
    sd = math.sqrt(30 / 39)
    assert found.value == pytest.approx(sd)
    assert found.figures["correlation"] == pytest.approx(1)
    crossed = halo(human + np.column_stack([r, np.tile([1.0, -1.0], 20)]), human, scale=(0, 4))
    assert crossed.value == pytest.approx(0)
    apart = halo(human + np.column_stack([r, r]), human, separate=human + np.column_stack([r, np.tile([1.0, -1.0], 20)]), scale=(0, 4))
    assert apart.value == pytest.approx(sd)
    assert apart.verdict == "biased"


def test_central_tendency_by_hand() -> None:
    human = np.tile([0.0, 1.0, 2.0, 3.0], 30)
    grader = np.tile([1.0, 1.0, 2.0, 2.0], 30)
    found = central_tendency(grader, human, scale=(0, 3))
    # mean squares 1.25 and .25 about 1.5, times 120/119
    assert found.figures["sd_ratio"] == pytest.approx(math.sqrt(0.25 / 1.25))
    assert found.value == pytest.approx(math.sqrt(120 / 119) * (0.5 - math.sqrt(1.25)))
    assert found.figures["ends_people"] == 0.5
    assert found.figures["ends_grader"] == 0
    assert found.verdict == "biased"
    # upside down nothing changes
    assert central_tendency(3 - grader, 3 - human, scale=(0, 3)).value == pytest.approx(found.value)


# ------------------------------------------------------------ the same again


def test_repeatability_by_hand() -> None:
    grades = np.array([[1.0, 1.0]] * 57 + [[1.0, 0.0]] * 3)
    found = repeatability(grades)
    assert found.figures["flips"] == pytest.approx(0.05)
    assert (found.low, found.high) == tuple(clopper_pearson(3, 60))
    assert found.value == pytest.approx(0.05)
    assert found.verdict == "undecided"
    three = repeatability(np.array([[0.0, 1.0, 3.0], [1.0, 1.0, np.nan]]), scale=(0, 3), worth_finding=1)
    assert three.value == pytest.approx((1 + 3 + 2) / 3 / 2)  # distances 1, 3 and 2 of the first answer, 0 of the second
    clustered = repeatability(grades, np.arange(60) // 3)
    assert clustered.low == korn_graubard(np.repeat([0.0, 1.0], [57, 3]), np.arange(60) // 3).low
    assert repeatability(np.array([[1.0, 0.0]] * 40 + [[1.0, 1.0]] * 60)).verdict == "biased"
    assert repeatability(np.ones((150, 2))).verdict == "within the margin"


def test_drift_is_noticed_and_stability_confirmed() -> None:
    rng = np.random.default_rng(74)
    stable = (rng.uniform(size=(12, 40)) < 0.95).astype(np.float64)
    found = drift(stable, baseline=0.95)
    assert found.alarm_at is None
    fallen = np.concatenate([stable, (rng.uniform(size=(8, 40)) < 0.75).astype(np.float64)])
    alarmed = drift(fallen, baseline=0.95)
    assert alarmed.verdict == "biased"
    assert alarmed.alarm_at is not None and 13 <= alarmed.alarm_at <= 16
    assert "alarm at run" in alarmed.headline()
    sure = drift((rng.uniform(size=(40, 40)) < 0.99).astype(np.float64), baseline=0.99, margin=0.1)
    assert sure.verdict == "within the margin"


def test_drift_by_hand() -> None:
    # one run: the mixture over starts holds half of the capital in the bets, half has not started. All 20 anchors wrong
    # with at_least .9: a bet of the share c of the largest has 1 + c (1 - .1)/.1 after one anchor
    fractions, weights = bets((0.2 - 0.1) / 0.9)
    by_hand = 0.5 + 0.5 * float(np.sum(weights * (1 + fractions * 0.9 / 0.1) ** 20))
    assert drift(np.zeros((1, 20)), baseline=0.95).e == pytest.approx(by_hand)


def test_a_grader_that_does_not_drift_hardly_ever_raises_the_alarm() -> None:
    """At the boundary, with anchors some of which always and some seldom agree; and the alarm is not out of reach either."""
    rng = np.random.default_rng(75)
    difficulty = np.concatenate([np.full(15, 1.0), np.full(15, 0.8)])  # 90% on average, exactly baseline - margin
    alarms = [drift((rng.uniform(size=(15, 30)) < difficulty).astype(np.float64), baseline=0.95).alarm_at is not None for _ in range(150)]
    assert np.mean(alarms) <= 0.05
    found = [
        drift((rng.uniform(size=(15, 30)) < difficulty - 0.12).astype(np.float64), baseline=0.95).alarm_at is not None for _ in range(40)
    ]
    assert np.mean(found) >= 0.9


def test_drift_refuses() -> None:
    for given_, code in (
        (drift(np.ones((3, 19)), baseline=0.9), "TOO_FEW_ANCHORS"),
        (drift(np.full((3, 20), 0.5), baseline=0.9), "OFF_SCALE"),
        (drift(np.ones((3, 20)), baseline=math.nan), "OFF_SCALE"),
        (drift(np.ones((3, 20)), baseline=0.05), "NO_POWER"),
        (drift(np.full((3, 20), np.nan), baseline=0.9), "NO_DATA"),
    ):
        assert given_.refused is not None and given_.refused.code == code
        assert given_.verdict == "NOT_TESTED"
    with pytest.raises(ValueError, match="runs x anchors"):
        drift(np.ones(20), baseline=0.9)


# ------------------------------------------------------------ power, Holm, order


def test_what_could_not_be_seen_is_not_tested() -> None:
    found = leniency(np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0]))
    assert found.verdict == "NOT_TESTED"
    assert found.refused is not None and found.refused.code == "NO_POWER"
    assert found.smallest_visible is not None and found.smallest_visible > 0.25
    assert found.low is None
    clustered = leniency(np.ones(30), np.ones(30), np.arange(30) % 3)
    assert clustered.refused is not None and clustered.refused.code == "TOO_FEW_CLUSTERS"
    assert leniency(np.empty(0), np.empty(0)).verdict == "NOT_TESTED"
    off = leniency(np.array([2.0]), np.array([1.0]))
    assert off.refused is not None and off.refused.code == "OFF_SCALE"
    with pytest.raises(ValueError, match="one value a case"):
        leniency(np.ones(3), np.ones(4))


def test_audits_together_are_judged_by_holm() -> None:
    rng = np.random.default_rng(76)
    human = (rng.uniform(size=200) < 0.6).astype(np.float64)
    slightly = np.where(rng.uniform(size=200) < 0.11, 1.0, human)
    audits = [partial(leniency, slightly, human), partial(leniency, human, human), partial(position_bias, human, human)]
    alone = leniency(slightly, human)
    first, *others = holm_audits([*audits, partial(leniency, np.empty(0), np.empty(0))])
    assert first.p == alone.p
    assert first.confidence_level == pytest.approx(1 - 0.05 / 3)
    assert first.low is not None and alone.low is not None and first.low < alone.low
    assert others[0].confidence_level == pytest.approx(0.975 if first.verdict != "undecided" else 1 - 0.05 / 3)
    assert others[2].confidence_level == 0.95  # what is refused is no part of the family


def every_audit(rng: np.random.Generator, cluster: Any, order: Any) -> list[Any]:
    human = rng.integers(0, 4, (60, 3)).astype(np.float64)
    grader = np.clip(human + rng.integers(-1, 2, (60, 3)), 0, 3)
    length = rng.lognormal(4, 1, 60)
    h, g, x, c = human[order], grader[order], length[order], None if cluster is None else cluster[order]
    s: Any = {"scale": (0.0, 3.0)}
    return [
        leniency(g[:, 0], h[:, 0], c, **s),
        edit_bias(g[:, 0], g[:, 1], c, bias="language", **s),
        self_preference(g[:, 0], h[:, 0], g[:, 1], h[:, 1], c, **s),
        length_bias(g[:, 0], h[:, 0], x, c, **s),
        halo(g, h, c, **s),
        central_tendency(g[:, 0], h[:, 0], c, **s),
        repeatability(g, c, **s),
    ]


@pytest.mark.parametrize("clustered", [False, True])
def test_the_order_of_cases_does_not_matter(clustered: bool) -> None:
    """But for the random flips of the sign-flip test, which move its ends a little."""
    cluster = np.arange(60) // 5 if clustered else None
    plain = every_audit(np.random.default_rng(77), cluster, np.arange(60))
    mixed = every_audit(np.random.default_rng(77), cluster, np.random.default_rng(78).permutation(60))
    for one, other in zip(plain, mixed, strict=True):
        assert one.value == pytest.approx(other.value)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.03)
        assert one.n_clusters == (12 if clustered else None)


# ------------------------------------------------------------ simulation


def test_intervals_are_neither_too_narrow_nor_too_wide() -> None:
    """Halo, spread and length cover their truth in about 95% of studies, with clusters as well."""
    rng = np.random.default_rng(79)
    covered = np.zeros((3, 300))
    truths = (0.06 / 0.13**0.5 * 0.05, 0.0, 0.02)
    for study in range(300):
        shared = rng.normal(size=(60, 1))
        residual = 0.05 * (np.sqrt(0.06) * shared + np.sqrt(0.07) * rng.normal(size=(60, 3)))
        human = np.full((60, 3), 0.5) + rng.normal(0, 0.03, (60, 3))
        tie = halo(human + residual, human)
        spread = central_tendency(0.5 + 0.1 * rng.normal(size=60).clip(-4, 4), 0.5 + 0.1 * rng.normal(size=60).clip(-4, 4))
        cluster = np.arange(60) // 3
        length = 2 ** (6 + np.repeat(rng.normal(size=20), 3) + 0.5 * rng.normal(size=60))
        slope_residual = 0.02 * (np.log2(length) - 6) + np.repeat(rng.normal(0, 0.03, 20), 3) + rng.normal(0, 0.03, 60)
        long = length_bias(0.5 + slope_residual.clip(-0.5, 0.5), np.full(60, 0.5), length, cluster)
        for row, (found, truth) in enumerate(zip((tie, spread, long), truths, strict=True)):
            assert found.low is not None and found.high is not None
            covered[row, study] = found.low <= truth <= found.high
    assert np.all(covered.mean(axis=1) >= 0.91)
    assert np.all(covered.mean(axis=1) <= 0.985)


@tried(100)
@given(
    st.integers(0, 25), st.sampled_from([None, 3, 8]), st.integers(0, 10**6), st.sampled_from([0.0, 0.3]), st.sampled_from([1, 3]),
    st.sampled_from([0.5, 0.95, 0.9999]),
)  # fmt: skip
def test_random_inputs_are_answered_or_refused(n: int, clusters: int | None, seed: int, missing: float, kinds: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, kinds, (n, 8)).astype(np.float64)
    table[rng.uniform(size=table.shape) < missing] = np.nan
    cluster = None if clusters is None else rng.integers(0, clusters, n)
    s: Any = {"scale": (0.0, 2.0), "confidence_level": level}
    half = table / 2
    found = [
        position_bias(half[:, 0], half[:, 1], cluster, confidence_level=level),
        edit_bias(table[:, 0], table[:, 1], cluster, bias="padding", again=table[:, 2], **s),
        self_preference(table[:, 0], table[:, 1], table[:, 2], table[:, 3], cluster, **s),
        leniency(table[:, 0], table[:, 1], cluster, **s),
        length_bias(table[:, 0], table[:, 1], table[:, 2] + rng.integers(0, 2), cluster, **s),
        halo(table[:, :2], table[:, 2:4], cluster, separate=table[:, 4:6], **s),
        halo(table[:, :3], table[:, 3:6], cluster, **s),
        central_tendency(table[:, 0], table[:, 1], cluster, **s),
        repeatability(table[:, :3], cluster, **s),
    ]
    for audit in found:
        json.dumps(audit.as_dict(), allow_nan=False)
        assert (audit.refused is None) == (audit.low is not None) == (audit.verdict != "NOT_TESTED")
        if audit.refused is None:
            assert audit.low <= audit.value + 1e-9  # type: ignore[operator]
            assert audit.value <= audit.high + 1e-9  # type: ignore[operator]
        else:
            assert audit.refused.why
            assert audit.refused.next
        assert str(audit)
    anchors = np.where(np.isnan(table), np.nan, (table > 0).astype(np.float64)).reshape(-1, 8)
    watched = drift(np.tile(anchors, (1, 3)), baseline=float(rng.uniform()))
    json.dumps(watched.as_dict(), allow_nan=False)
    assert watched.refused is None or (watched.refused.why and watched.refused.next)
