"""Whether a grader treats groups alike: by hand, against scipy, in any order, and in simulated studies with known truth."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import ndtr
from scipy.stats import multivariate_normal

from fairmark.stats import fairness
from fairmark.stats.fairness import (
    DOUBLE,
    bivariate_normal,
    class_reading,
    grader_by_counts,
    grader_by_group,
    hull_verdict,
    quality_reading,
    single_marks_by_group,
    slips_that_explain,
    tetrachoric,
    untested,
)
from tests.stats.random_inputs import tried

UNFAIR = np.array([[41, 5, 6, 13, 13, 122], [41, 5, 8, 10, 41, 95]], dtype=np.float64)
SLIPS_DIFFER = np.array([[43, 5, 2, 6, 14, 130], [43, 7, 5, 29, 12, 104]], dtype=np.float64)


def cases(counts: Any) -> tuple[Any, Any, Any]:
    """Marks, grades and groups with these counts."""
    rows = [
        (float(k > 0), float(k > 1), float(said), group)
        for group, row in enumerate(counts)
        for (k, _, said), n in zip(DOUBLE, row, strict=True)
        for _ in range(int(n))
    ]
    table = np.array(rows)
    return table[:, :2], table[:, 2], table[:, 3].astype(np.int64)


def drawn(rng: np.random.Generator, n: int, good: Any, harsher: Any, slip: float, studies: int, error: float = 0.1) -> Any:
    """Counts of studies with two classes of answers; the grader fails `harsher` more of a group's good ones."""
    tables = np.empty((studies, 2, 6))
    for group in range(2):
        p = []
        for k, _, said in DOUBLE:
            se, ways = 1 - error - harsher[group], (1, 2, 1)[k]
            of_good = good[group] * ways * (1 - slip) ** k * slip ** (2 - k) * (se if said else 1 - se)
            of_bad = (1 - good[group]) * ways * slip**k * (1 - slip) ** (2 - k) * (error if said else 1 - error)
            p.append(of_good + of_bad)
        tables[:, group] = rng.multinomial(n, p, size=studies)
    return tables


def verdicts(tables: Any) -> Any:
    by_class, by_quality = class_reading(tables), quality_reading(tables)
    z = 1.959964
    intervals = [(one.difference - z * one.se, one.difference + z * one.se) for one in (by_class, by_quality)]
    return np.where(untested(tables, by_class), "NOT_TESTED", hull_verdict(*intervals))


# ------------------------------------------------------------ two normal variables


def test_the_bivariate_normal_agrees_with_scipy() -> None:
    rng = np.random.default_rng(61)
    for r in (-0.9995, -0.8, 0.0, 0.3, 0.95, 0.99, 0.9995):
        for h, k in rng.normal(scale=1.5, size=(8, 2)):
            k = h + 0.01 if abs(k) < 0.3 else k  # two thresholds that nearly coincide are the hard case
            oracle = multivariate_normal.cdf([h, k], cov=[[1, r], [r, 1]], abseps=1e-12, releps=1e-12, maxpts=10**6)
            assert float(bivariate_normal(h, k, np.array(r))) == pytest.approx(oracle, abs=1e-7)


def test_the_bivariate_normal_at_the_origin_is_known() -> None:
    # 1/4 + asin(r) / (2 pi) (Sheppard 1899): a third for r = 1/2
    assert float(bivariate_normal(np.array(0.0), np.array(0.0), np.array(0.5))) == pytest.approx(1 / 3, abs=1e-12)


def test_tetrachoric_by_hand_and_back() -> None:
    # halves and both in a third: Sheppard's formula backwards
    assert float(tetrachoric(np.array(1 / 3), np.array(0.5), np.array(0.5))) == pytest.approx(0.5, abs=1e-9)
    r, h, k = (np.array([-0.9, -0.2, 0.4, 0.97]), np.array([0.1, -1.2, 2.0, 0.6]), np.array([-0.3, 0.2, 1.0, 0.5]))
    both = bivariate_normal(h, k, r)
    assert tetrachoric(both, ndtr(h), ndtr(k)) == pytest.approx(r, abs=1e-6)
    assert float(tetrachoric(np.array(0.3), np.array(0.3), np.array(0.3))) == pytest.approx(0.9995)  # all that it can be


# ------------------------------------------------------------ class reading


def test_a_table_that_the_model_gives_exactly_is_read_back() -> None:
    # 80% good, slips 10%, se .9, sp .8, in cells: k=2, l=1 has .8 x .81 x .9 + .2 x .01 x .2 = .5836 of the cases, and so on
    p = [0.2 * 0.81 * 0.8 + 0.8 * 0.01 * 0.1, 0.2 * 0.81 * 0.2 + 0.8 * 0.01 * 0.9]
    p += [0.2 * 0.18 * 0.8 + 0.8 * 0.18 * 0.1, 0.2 * 0.18 * 0.2 + 0.8 * 0.18 * 0.9]
    p += [0.2 * 0.01 * 0.8 + 0.8 * 0.81 * 0.1, 0.2 * 0.01 * 0.2 + 0.8 * 0.81 * 0.9]
    assert p[5] == pytest.approx(0.5836)
    found = class_reading(np.array([p, p]) * 1e7)
    assert found.good == pytest.approx([0.8, 0.8], abs=1e-4)
    assert found.sensitivity == pytest.approx([0.9, 0.9], abs=1e-4)
    assert found.specificity == pytest.approx([0.8, 0.8], abs=1e-4)
    assert found.slip_good == pytest.approx([0.1, 0.1], abs=1e-4)
    assert float(found.difference) == pytest.approx(0, abs=1e-9)
    assert not bool(found.own_slips)


def test_the_fit_is_the_maximum_that_a_general_optimiser_finds() -> None:
    """BFGS on the penalised likelihood, written out case by case."""

    def objective(logits: Any) -> float:
        x = 1 / (1 + np.exp(-logits))
        total = 0.0
        for group in range(2):
            pi, se, sp, a, b = x[group], x[2 + group], x[4 + group], x[6], x[7]
            for (k, _, said), n in zip(DOUBLE, UNFAIR[group], strict=True):
                good = pi * (1 - a) ** k * a ** (2 - k) * (se if said else 1 - se)
                bad = (1 - pi) * b**k * (1 - b) ** (2 - k) * (1 - sp if said else sp)
                total += n * np.log(good + bad)
            total += 0.5 * sum(np.log(v * (1 - v)) for v in (pi, se, sp, a, b))
        return -float(total)

    start = np.log(np.array([0.7, 0.7, 0.85, 0.85, 0.85, 0.85, 0.05, 0.05]))
    best = 1 / (1 + np.exp(-optimize.minimize(objective, start - np.log1p(-np.exp(start)), method="BFGS").x))
    found = class_reading(UNFAIR)
    assert found.good == pytest.approx(best[:2], abs=1e-4)
    assert found.sensitivity == pytest.approx(best[2:4], abs=1e-4)
    assert found.specificity == pytest.approx(best[4:6], abs=1e-4)
    assert (found.slip_good[0], found.slip_bad[0]) == pytest.approx(tuple(best[6:]), abs=1e-4)


def test_slips_that_differ_are_noticed() -> None:
    found = class_reading(SLIPS_DIFFER)
    assert bool(found.own_slips)
    assert float(found.lr) == pytest.approx(19.84, abs=0.005)  # published with the method
    assert found.slip_good[1] > 3 * found.slip_good[0]
    assert not bool(class_reading(UNFAIR).own_slips)


def test_single_marks_sharpen_the_class_reading() -> None:
    more = np.concatenate([UNFAIR, [[40, 10, 15, 135], [40, 10, 45, 105]]], axis=1)
    assert float(class_reading(more).se) < 0.9 * float(class_reading(UNFAIR).se)
    assert float(quality_reading(more).se) == float(quality_reading(UNFAIR).se)


# ------------------------------------------------------------ quality reading


def test_one_quality_is_read_back() -> None:
    # quality N(.5, 1) and N(0, 1), people's line at 0 with noise sd .5, the grader's at .2 and .6 with noise sd .8
    tables = np.empty((2, 6))
    r_hh, r_hl = np.array(1 / 1.25), np.array(1 / np.sqrt(1.25 * 1.64))
    for group, (mean, line) in enumerate(((0.5, 0.2), (0.0, 0.6))):
        h, g = mean / np.sqrt(1.25), (mean - line) / np.sqrt(1.64)
        cov = np.array([[1, r_hh, r_hl], [r_hh, 1, r_hl], [r_hl, r_hl, 1]])
        three = multivariate_normal.cdf([h, h, g], cov=cov, abseps=1e-10, releps=1e-10, maxpts=10**6)
        two, one = float(bivariate_normal(h, h, r_hh)), float(bivariate_normal(h, g, r_hl))
        good, passed = float(ndtr(h)), float(ndtr(g))
        tables[group] = [
            1 - 2 * good - passed + two + 2 * one - three, passed - 2 * one + three,
            2 * (good - two - one + three), 2 * (one - three), two - three, three,
        ]  # fmt: skip
    s = np.sqrt(1.64)
    at = [ndtr((mean - 0.2) / s) - ndtr((mean - 0.6) / s) for mean in (0.5, 0.0)]
    assert float(quality_reading(tables * 1e7).difference) == pytest.approx(np.mean(at), abs=1e-4)


# ------------------------------------------------------------ the rule


@pytest.mark.parametrize(
    ("by_class", "by_quality", "verdict"),
    [
        ((0.05, 0.2), (0.01, 0.3), "DIFFERENT"),
        ((-0.2, -0.05), (-0.3, -0.01), "DIFFERENT"),
        ((-0.04, 0.03), (-0.05, 0.05), "ALIKE"),
        ((0.05, 0.2), (-0.01, 0.3), "CANNOT_TELL_BORDERLINE"),
        ((-0.01, 0.2), (0.01, 0.3), "UNDECIDED"),
        ((0.05, 0.2), (-0.3, -0.01), "UNDECIDED"),  # the readings contradict each other
        ((-0.1, 0.2), (-0.1, 0.3), "UNDECIDED"),
    ],
)
def test_the_hull_decides(by_class: Any, by_quality: Any, verdict: str) -> None:
    pair = [(np.array(low), np.array(high)) for low, high in (by_class, by_quality)]
    assert str(hull_verdict(*pair)) == verdict


def test_the_verdict_is_that_of_the_interval_shown() -> None:
    pair = grader_by_counts(UNFAIR, names=("A", "B")).pairs[0]
    assert pair.verdict == "DIFFERENT"
    assert pair.class_reading is not None and pair.quality_reading is not None and pair.p is not None
    assert pair.low == min(pair.class_reading.low, pair.quality_reading.low)
    assert "harsher on B" in pair.headline()
    # p by inversion: at the level 1 - p the hull just touches 0
    touching = grader_by_counts(UNFAIR, confidence_level=1 - pair.p).pairs[0]
    assert touching.low == pytest.approx(0, abs=1e-9)
    narrower = grader_by_counts(UNFAIR, confidence_level=0.9).pairs[0]
    assert narrower.low is not None and pair.low < narrower.low


def test_three_groups_are_judged_at_levels_by_holm() -> None:
    three = grader_by_counts(np.array([*UNFAIR, UNFAIR[0]]))
    first = three.pairs[0]
    assert [(pair.first, pair.second) for pair in three.pairs] == [
        ("group 0", "group 1"), ("group 0", "group 2"), ("group 1", "group 2"),
    ]  # fmt: skip
    assert first.confidence_level == pytest.approx(1 - 0.05 / 3)
    assert three.pairs[1].confidence_level == pytest.approx(0.95)
    assert three.pairs[1].verdict == "UNDECIDED"
    assert three.pairs[0].p == grader_by_counts(UNFAIR).pairs[0].p


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([[0] * 6, [41, 5, 8, 10, 41, 95]], "no case of group 0"),
        ([[4, 1, 1, 8, 9, 77], [33, 4, 5, 4, 16, 38]], "good or bad cases"),
        ([[30, 20, 30, 30, 20, 30], [30, 20, 30, 30, 20, 30]], "hardly tell"),
        ([[60, 60, 5, 5, 60, 60], [60, 60, 5, 5, 60, 60]], "the grader hardly"),
    ],
)
def test_too_little_is_not_tested(counts: Any, says: str) -> None:
    pair = grader_by_counts(np.array(counts, dtype=np.float64)).pairs[0]
    assert pair.verdict == "NOT_TESTED"
    assert pair.refused is not None and pair.refused.code == "NOT_TESTED"
    assert says in pair.refused.why
    assert pair.low is None


def test_marks_that_were_not_random_or_not_blind_test_nothing() -> None:
    for found in (grader_by_counts(UNFAIR, at_random=False), grader_by_counts(UNFAIR, blind=False)):
        assert found.pairs[0].verdict == "NOT_TESTED"
        assert found.groups[0].raw_sensitivity is not None  # the shares are still shown


def test_few_clusters_and_strange_marks_are_refused() -> None:
    marks, grader, group = cases(UNFAIR)
    few = grader_by_group(marks, grader, group, np.arange(len(group)) % 4, rng=np.random.default_rng(1))
    assert few.pairs[0].refused is not None and few.pairs[0].refused.code == "TOO_FEW_CLUSTERS"
    strange = grader_by_group(marks + 5, grader, group)
    assert strange.refused is not None and strange.refused.code == "OFF_SCALE"
    alone = grader_by_group(marks, grader, group * 0)
    assert alone.refused is not None and alone.refused.code == "NOT_TESTED"
    with pytest.raises(ValueError, match="cases x 2"):
        grader_by_group(marks[:, 0], grader, group)
    with pytest.raises(ValueError, match="groups x 6"):
        grader_by_counts(UNFAIR[:, :5])


# ------------------------------------------------------------ invariance


def test_the_order_of_cases_marks_and_groups_does_not_matter() -> None:
    marks, grader, group = cases(UNFAIR)
    order = np.random.default_rng(62).permutation(len(group))
    plain = grader_by_group(marks, grader, group).pairs[0]
    assert grader_by_group(marks[order][:, ::-1], grader[order], group[order]).pairs[0] == plain
    assert grader_by_counts(UNFAIR).pairs[0] == plain
    swapped = grader_by_counts(UNFAIR[::-1]).pairs[0]
    assert plain.value is not None and swapped.value == pytest.approx(-plain.value)
    assert plain.low is not None and swapped.high == pytest.approx(-plain.low)
    # good and bad change places: the grader is as much more lenient on the bad ones
    mirrored = grader_by_counts(UNFAIR[:, ::-1]).pairs[0]
    assert mirrored.value == pytest.approx(-plain.value)


def test_resampled_figures_do_not_depend_on_the_order_of_cases() -> None:
    marks, grader, group = cases(UNFAIR)
    cluster = np.arange(len(group)) // 4
    order = np.random.default_rng(63).permutation(len(group))
    found = [
        grader_by_group(marks[o], grader[o], group[o], cluster[o], rng=np.random.default_rng(2)).pairs[0] for o in (slice(None), order)
    ]
    assert found[0] == found[1]


def test_cases_that_are_copies_count_once() -> None:
    """Ten copies of each case as a cluster say no more than the cases themselves, and a bit less for the t quantile."""
    marks, grader, group = cases(UNFAIR)
    alone = grader_by_group(marks, grader, group).pairs[0]
    copied = grader_by_group(
        np.repeat(marks, 10, axis=0), np.repeat(grader, 10), np.repeat(group, 10), np.repeat(np.arange(len(group)), 10),
        rng=np.random.default_rng(3),
    ).pairs[0]  # fmt: skip
    assert alone.low is not None and alone.high is not None and copied.low is not None and copied.high is not None
    assert (copied.high - copied.low) / (alone.high - alone.low) == pytest.approx(1, abs=0.12)


def test_two_levels_as_levels_are_the_same() -> None:
    marks, grader, group = cases(UNFAIR)
    two = grader_by_group(marks, grader, group).pairs[0]
    three = grader_by_group(marks * 2, grader * 2, group, levels=3, rng=np.random.default_rng(4)).pairs[0]
    assert two.value is not None and three.value == pytest.approx(2 * two.value)  # both cuts are the same one
    assert three.unit == "levels"
    unused = grader_by_group(marks, grader, group, levels=3, rng=np.random.default_rng(4))
    assert unused.pairs[0].value == pytest.approx(two.value)
    assert any("level 2" in line for line in unused.warnings)


# ------------------------------------------------------------ one mark a case


def test_single_marks_by_hand() -> None:
    # 100 cases a group; without slips se .9 and .7, sp .8 both, half of the marks good: D = .5 x .2 = .1
    counts = np.array([[40, 10, 5, 45], [40, 10, 15, 35]], dtype=np.float64)
    found = single_marks_by_group(counts, slip_at_most=0)
    assert found.value == pytest.approx(0.1, abs=0.003)  # half a case is added to each cell
    assert found.verdict == "UNDECIDED"
    large = single_marks_by_group(counts * 10, slip_at_most=0.05)
    assert large.verdict == "CANNOT_TELL_BORDERLINE"  # never DIFFERENT
    assert large.says.startswith("If people slip in at most 5 of 100")
    assert large.low is not None and found.low is not None and large.low > found.low
    assert single_marks_by_group(counts[:, :] * [1, 1, 0.1, 0.1], slip_at_most=0).verdict == "NOT_TESTED"


def test_more_slips_allow_more_and_the_tipping_point_is_where_they_explain_all() -> None:
    # 90% and 60% good; the grader is right in 90% of both, people slip in 10%: single marks accuse it
    rng = np.random.default_rng(64)
    tables = drawn(rng, 4000, (0.9, 0.6), (0.0, 0.0), 0.1, 1)[0]
    single = np.stack([tables[:, 0] + tables[:, 2] / 2, tables[:, 1] + tables[:, 3] / 2, tables[:, 4] + tables[:, 2] / 2,
                       tables[:, 5] + tables[:, 3] / 2], axis=1)  # fmt: skip
    tipping = slips_that_explain(single)
    assert tipping is not None and 0.03 < tipping <= 0.1
    assert single_marks_by_group(single, slip_at_most=tipping - 0.005).verdict == "CANNOT_TELL_BORDERLINE"
    assert single_marks_by_group(single, slip_at_most=tipping).verdict == "UNDECIDED"
    ends = [single_marks_by_group(single, slip_at_most=s) for s in (0.0, 0.02, 0.06)]
    widths = [one.high - one.low for one in ends if one.high is not None and one.low is not None]
    assert widths == sorted(widths) and len(widths) == 3


def test_slips_shrink_a_gap() -> None:
    assert fairness.gap_without_slips(0.27, 0.05) == pytest.approx(0.3)  # .27 / .9
    with pytest.raises(ValueError, match="slip"):
        fairness.gap_without_slips(0.1, 0.5)


# ------------------------------------------------------------ simulation


def test_the_class_interval_is_neither_too_narrow_nor_too_wide() -> None:
    tables = drawn(np.random.default_rng(65), 200, (0.75, 0.75), (0.0, 0.2), 0.05, 400)
    found = class_reading(tables)
    covered = np.mean(np.abs(found.difference - 0.15) <= 1.959964 * found.se)  # .75 of the answers are good
    assert 0.92 <= covered <= 0.985


def test_a_fair_grader_is_hardly_accused_and_a_harsh_one_is_found() -> None:
    rng = np.random.default_rng(66)
    fair = verdicts(drawn(rng, 200, (0.9, 0.6), (0.0, 0.0), 0.1, 300))
    assert np.mean(fair == "DIFFERENT") <= 0.05
    assert np.mean(fair == "NOT_TESTED") < 0.1
    harsh = verdicts(drawn(rng, 200, (0.8, 0.7), (0.0, 0.2), 0.05, 300))
    assert np.mean(harsh == "DIFFERENT") >= 0.8
    alike = verdicts(drawn(rng, 4000, (0.8, 0.7), (0.0, 0.0), 0.05, 50))
    assert np.mean(alike == "ALIKE") >= 0.8


@tried(60)
@given(
    st.integers(1, 3).flatmap(
        lambda groups: st.lists(
            st.tuples(
                st.sampled_from([0.0, 1.0, 2.0, np.nan]), st.sampled_from([0.0, 1.0, np.nan]),
                st.sampled_from([0.0, 1.0, np.nan, 7.0]), st.integers(0, groups - 1), st.integers(0, 9),
            ),
            max_size=30,
        )
    ),
    st.sampled_from([1, 9]), st.booleans(), st.integers(2, 4), st.sampled_from([0.5, 0.95, 0.999]),
)  # fmt: skip
def test_random_inputs_are_answered_or_refused(rows: Any, copies: int, clustered: bool, levels: int, level: float) -> None:
    table = np.repeat(np.array(rows, dtype=np.float64).reshape(-1, 5), copies, axis=0)
    found = grader_by_group(
        table[:, :2], table[:, 2], table[:, 3].astype(np.int64), table[:, 4].astype(np.int64) if clustered else None,
        levels=levels, confidence_level=level,
    )  # fmt: skip
    json.dumps(found.as_dict(), allow_nan=False)
    assert found.refused is not None or found.pairs
    for refused in (found.refused, *(pair.refused for pair in found.pairs)):
        assert refused is None or (refused.why and refused.next)
    for pair in found.pairs:
        assert (pair.refused is None) == (pair.low is not None) == (pair.verdict != "NOT_TESTED")
        assert str(pair)


@tried(100)
@given(st.lists(st.integers(0, 60), min_size=8, max_size=8), st.floats(0, 0.49))
def test_random_inputs_of_single_marks_are_answered_or_refused(counts: list[int], slip: float) -> None:
    found = single_marks_by_group(np.array(counts, dtype=np.float64).reshape(2, 4), slip_at_most=slip)
    json.dumps(found.as_dict(), allow_nan=False)
    if found.refused is None:
        assert found.low is not None and found.value is not None and found.high is not None
        assert found.low <= found.value <= found.high
    else:
        assert found.refused.why and found.refused.next
