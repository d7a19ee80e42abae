"""Rater groups: agreement within and across, who stands out by chance, and a grader beside people."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.checks import CHECKS
from fairmark.stats.intervals import FloatArray
from tests.stats.random_inputs import tried

NAN = math.nan
A = np.array([[1, 1, 0, 1, 0, 1, 1, 0, 1, 0], [1, 1, 0, 1, 0, 0, 1, 0, 1, 0], [1, 0, 0, 1, 0, 1, 1, 0, 1, 0.0]]).T
B = np.array([[1, 1, 0, 0, 0, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1, 1, 1, 0, 0.0]]).T


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def groups_of(n: int, raters: int, own: float, generator: np.random.Generator, slip: float = 0.1) -> tuple[FloatArray, list[str]]:
    """Two groups that see the same truth but on a share `own` of items, where group b sees another of its own."""
    truth = generator.uniform(size=n) < 0.5
    seen = np.where(generator.uniform(size=n) < own, generator.uniform(size=n) < 0.5, truth)
    both = np.column_stack([np.repeat(truth[:, None], raters, 1), np.repeat(seen[:, None], raters, 1)])
    return np.where(generator.uniform(size=both.shape) < slip, ~both, both).astype(np.float64), ["a"] * raters + ["b"] * raters


def clear(result: Any) -> None:
    json.dumps(result.as_dict(), allow_nan=False)
    assert str(result)
    for one in (result, *getattr(result, "groups", ())):
        for refusal in (one.refused, getattr(one, "withheld", None), getattr(one, "no_interval", None)):
            if refusal is not None:
                assert refusal.code.isupper()
                assert refusal.why
                assert refusal.next


# ------------------------------------------------------------ by hand


def test_cross_agreement_by_hand() -> None:
    # items (1 | 1 0) and (0 | 0 0), a group of one beside a group of two: of 4 cross pairs on an item one differs, d_o = 1/4;
    # of all 2 x 4 pairs, 1 meets three 0s and 0 meets one 1: d_e = 4/8
    found = stats.group_association(np.array([[1.0], [0]]), np.array([[1, 0], [0, 0.0]]))
    assert found.d_o == 1 / 4
    assert found.d_e == 1 / 2
    assert found.xrr == 1 / 2
    assert found.irr is None
    assert found.gai is None


def test_cross_agreement_of_scores_by_hand() -> None:
    # (1 | 3) and (4 | 4): squared differences 4 and 0, d_o = 2; over all pairs 4, 9, 1, 0: d_e = 14/4
    found = stats.group_association(np.array([[1.0], [4]]), np.array([[3.0], [4]]), metric="interval")
    assert (found.d_o, found.d_e) == (pytest.approx(2), pytest.approx(3.5))
    # mid-ranks of 1, 3, 4, 4 are 1/2, 3/2, 3: differences 1 and 0; over all pairs 1, 6.25, 2.25, 0
    found = stats.group_association(np.array([[1.0], [4]]), np.array([[3.0], [4]]), metric="ordinal")
    assert (found.d_o, found.d_e) == (pytest.approx(0.5), pytest.approx(9.5 / 4))


def test_in_group_agreement_is_alpha() -> None:
    for table in (A, B):
        assert stats.group_association(table, 1 - table).irr == pytest.approx(stats.krippendorff_alpha(table).value)
    scores = rng().normal(size=(30, 4))
    within = stats.group_association(scores[:, :3], scores[:, 3:], metric="interval")
    assert within.irr == pytest.approx(stats.krippendorff_alpha(scores[:, :3], metric="interval").value)


def test_ceiling_by_hand() -> None:
    # 10 items; two people differ on the first two; the grader is with the first person throughout
    people = np.column_stack([np.arange(10) % 2, np.where(np.arange(10) < 2, 1 - np.arange(10) % 2, np.arange(10) % 2)]).astype(np.float64)
    found = stats.ceiling(people, people[:, 0], rng=rng())
    clear(found)
    assert found.people_equal == pytest.approx(0.8)
    assert found.grader_equal == pytest.approx(0.9)  # of the pairs on the first two items it is right in half
    assert found.equal_difference == pytest.approx(0.1)
    assert found.people_alpha == pytest.approx(stats.krippendorff_alpha(people).value)
    assert found.grader_alpha == pytest.approx(stats.group_association(people, people[:, :1]).xrr)
    assert found.no_interval is not None
    assert found.no_interval.code == "TOO_FEW_ITEMS"


def test_majorities_and_pass_rates_by_hand() -> None:
    # 20 items, 5 raters a group, all alike within: the groups differ on the first 4
    a = np.repeat((np.arange(20) % 2)[:, None], 5, 1).astype(np.float64)
    b = a.copy()
    b[:4] = 1 - b[:4]
    a[6, :2] = 1 - a[6, :2]  # still a majority
    marks = np.column_stack([a, b])
    marks[7, 0], marks[7, 1:3] = NAN, 1 - marks[7, 1]  # two against two: none
    found = stats.rater_groups(marks, ["a"] * 5 + ["b"] * 5, passes_from=1, rng=rng())
    clear(found)
    assert found.n_without_majority == 1
    assert found.majorities_differ.value == pytest.approx(4 / 19)
    rates = [group.pass_rate for group in found.groups]
    # a: ten items of 1 are 50 marks, item 7 has one missing and two at 0 (47), item 6 two more at 1 (49 of 99)
    assert [rate.value for rate in rates if rate] == pytest.approx([49 / 99, 50 / 100])


# ------------------------------------------------------------ published


def test_rater_groups_of_the_reference() -> None:
    # methods of GRASP (Prabhakaran et al. 2024), baseline 1; alphas by krippendorff 0.9
    found = CHECKS["rater_groups"]({"old": A.T.tolist(), "young": B.T.tolist()})
    assert found["XRR"] == pytest.approx(0.336283, abs=1e-6)
    assert found["GAI_old"] == pytest.approx(2.203712, abs=1e-6)
    assert found["GAI_young"] == pytest.approx(1.433741, abs=1e-6)
    assert found["alpha_young"] == pytest.approx(0.482143, abs=1e-6)


# ------------------------------------------------------------ invariance


def test_order_and_names_do_not_matter() -> None:
    generator = rng(5)
    marks, names = groups_of(40, 6, 0.4, generator)
    marks[generator.uniform(size=marks.shape) < 0.2] = NAN
    items, raters = generator.permutation(40), generator.permutation(12)
    one = stats.rater_groups(marks, names, rng=rng())
    other = stats.rater_groups(3 - 2 * marks[items][:, raters], [names[i] for i in raters], rng=rng())
    for first, second in zip(one.groups, other.groups, strict=True):
        assert (first.irr, first.xrr, first.gai) == pytest.approx((second.irr, second.xrr, second.gai))
    assert one.majorities_differ == other.majorities_differ
    swapped = stats.rater_groups(marks, ["a" if name == "b" else "b" for name in names], rng=rng())
    assert swapped.groups[0].irr == pytest.approx(one.groups[1].irr)
    assert swapped.groups[0].xrr == pytest.approx(one.groups[0].xrr)


def test_two_groups_share_their_cross_agreement() -> None:
    assert stats.group_association(A, B).xrr == pytest.approx(stats.group_association(B, A).xrr)


def test_each_of_three_groups_is_held_against_all_others() -> None:
    marks, _ = groups_of(40, 9, 0.5, rng(6))
    names = ["x"] * 6 + ["y"] * 6 + ["z"] * 6
    found = stats.rater_groups(marks, names, rng=rng())
    for place, group in enumerate(found.groups):
        inside = np.arange(18) // 6 == place
        assert group.xrr == pytest.approx(stats.group_association(marks[:, inside], marks[:, ~inside]).xrr)
        assert group.n_others == 12


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("raters", "items", "code"),
    [(4, 40, "TOO_FEW_RATERS"), (5, 19, "TOO_FEW_ITEMS")],
)
def test_small_groups_are_refused_and_still_counted(raters: int, items: int, code: str) -> None:
    marks, names = groups_of(items, raters, 0.3, rng())
    found = stats.rater_groups(marks, names, passes_from=1, rng=rng())
    clear(found)
    for group in found.groups:
        assert group.refused is not None
        assert group.refused.code == code
        assert group.irr is group.xrr is group.gai is group.p is None
        assert group.pass_rate is not None
        assert group.pass_rate.value is not None
        assert group.n_marks == raters * items


def test_a_ratio_near_chance_is_withheld_and_its_parts_are_shown() -> None:
    marks, names = groups_of(60, 6, 1.0, rng(2), slip=0.05)  # the groups have nothing in common
    found = stats.rater_groups(marks, names, rng=rng())
    clear(found)
    for group in found.groups:
        assert group.withheld is not None
        assert group.withheld.code == "RATIO_WITHHELD"
        assert group.gai is group.gai_interval is group.p is None
        assert group.irr is not None
        assert group.irr > 0.5
        assert group.xrr is not None
        assert group.xrr_interval is not None


def test_what_has_no_groups() -> None:
    marks, names = groups_of(30, 6, 0.3, rng())
    for table, group, code in (
        (marks, ["a"] * 12, "TOO_FEW_GROUPS"),
        (marks, [""] * 12, "NO_DATA"),
        (np.full((30, 12), NAN), names, "NO_DATA"),
        (np.where(marks == 1, math.inf, marks), names, "OFF_SCALE"),
    ):
        found = stats.rater_groups(table, group, rng=rng())
        clear(found)
        assert found.refused is not None
        assert found.refused.code == code
    same = stats.rater_groups(np.ones((30, 12)), names, rng=rng())
    assert {one.refused.code for one in same.groups if one.refused} == {"NO_VARIATION"}
    with pytest.raises(ValueError, match="999"):
        stats.rater_groups(marks, names, rng=rng(), resamples=99)
    with pytest.raises(ValueError, match="names one for each rater"):
        stats.rater_groups(marks, names[1:], rng=rng())


def test_raters_without_a_group_are_left_out_and_named() -> None:
    marks, names = groups_of(30, 6, 0.3, rng(9))
    found = stats.rater_groups(np.column_stack([marks, 1 - marks[:, 0]]), [*names, ""], rng=rng())
    assert found.n_ungrouped == 1
    assert found.warnings
    assert found.groups[0].xrr == pytest.approx(stats.rater_groups(marks, names, rng=rng()).groups[0].xrr)


# ------------------------------------------------------------ simulation


def test_random_groups_rarely_stand_out_and_real_ones_do() -> None:
    generator = rng(31)
    ps, apart = [], []
    for _ in range(36):
        # one crowd whose raters differ in care, grouped at random
        truth = generator.uniform(size=(30, 1)) < 0.5
        slip = generator.uniform(0.02, 0.4, size=(1, 12))
        marks = np.where(generator.uniform(size=(30, 12)) < slip, ~truth, truth).astype(np.float64)
        ps += [one.p for one in stats.rater_groups(marks, ["a"] * 6 + ["b"] * 6, rng=generator).groups[:1] if one.p is not None]
    for _ in range(10):
        marks, names = groups_of(60, 6, 0.4, generator)
        found = stats.rater_groups(marks, names, rng=generator)
        apart.append(found.groups[0].p is not None and found.groups[0].p <= 0.01)
    # uniform p: of about 36 the mean within 3 x .289/sqrt(36), and 10% at most .1, up to 3 standard errors
    assert len(ps) >= 32
    assert abs(np.mean(ps) - 0.5) <= 0.145
    assert np.mean(np.array(ps) <= 0.1) <= 0.1 + 3 * 0.3 / math.sqrt(len(ps))
    assert np.mean(apart) >= 0.8


def test_intervals_of_the_ratio_hold_it() -> None:
    generator, held, widths, values = rng(32), [], [], []
    # two groups of one crowd: the ratio of the population is 1
    for _ in range(30):
        marks, names = groups_of(40, 8, 0.0, generator, slip=0.2)
        group = stats.rater_groups(marks, names, rng=generator).groups[0]
        if group.gai is None or group.gai_interval is None or group.gai_interval[1] is None:
            continue
        held.append(group.gai_interval[0] <= 1 <= group.gai_interval[1])
        widths.append(group.gai_interval[1] - group.gai_interval[0])
        values.append(group.gai)
    assert len(held) >= 28
    assert np.mean(held) >= 0.9
    # drawing raters and items counts their noise twice: generous, but no more than twice as wide as the spread
    assert np.mean(widths) <= 2 * 2 * 1.96 * np.std(values)


def test_ceiling_intervals_hold_a_grader_as_good_as_people() -> None:
    generator, held, widths, values = rng(33), [], [], []
    for _ in range(150):
        truth = generator.uniform(size=(80, 1)) < 0.6
        marks = np.where(generator.uniform(size=(80, 4)) < 0.15, ~truth, truth).astype(np.float64)
        found = stats.ceiling(marks[:, :3], marks[:, 3], rng=generator, resamples=399)
        assert found.equal_interval is not None
        assert found.alpha_interval is not None
        held.append((found.equal_interval[0] <= 0 <= found.equal_interval[1], found.alpha_interval[0] <= 0 <= found.alpha_interval[1]))
        widths.append(found.equal_interval[1] - found.equal_interval[0])
        values.append(found.equal_difference)
    assert np.min(np.mean(held, axis=0)) >= 0.88
    assert 0.85 <= np.mean(widths) / (2 * 1.96 * float(np.std(np.array(values, dtype=np.float64)))) <= 1.2


# ------------------------------------------------------------ random inputs

some_marks = st.sampled_from([NAN, 0.0, 1.0, 1.0, 2.0, 1e200, -1.0])
calm_marks = st.sampled_from([NAN, 0.0, 1.0, 1.0])


@tried(60)
@given(st.data(), st.sampled_from(["nominal", "ordinal", "interval"]), st.sampled_from([None, 1, 7]))
def test_random_inputs_give_groups_or_refusals(data: st.DataObject, metric: Any, clusters: int | None) -> None:
    raters = data.draw(st.integers(0, 12))
    row = st.lists(data.draw(st.sampled_from([some_marks, calm_marks])), min_size=raters, max_size=raters)
    few = data.draw(st.lists(row, max_size=6))
    marks = np.array((few * 6)[:24], dtype=np.float64).reshape(min(6 * len(few), 24), raters)
    names = data.draw(st.lists(st.sampled_from(["a", "b", "b", "c", ""]), min_size=raters, max_size=raters))
    cluster = None if clusters is None else np.arange(len(marks)) % clusters
    clear(stats.rater_groups(marks, names, cluster, metric=metric, passes_from=1, rng=rng()))
    if raters:
        clear(stats.ceiling(marks[:, 1:], marks[:, 0], cluster, metric=metric, rng=rng(), resamples=99))
        plain = stats.group_association(marks[:, : raters // 2], marks[:, raters // 2 :], metric=metric)
        assert all(one is None or math.isfinite(one) for one in plain)
