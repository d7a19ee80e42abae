"""Agreement: kappa, AC1 and AC2, Fleiss, alpha, intraclass correlations, their intervals and what refuses them."""

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
from fairmark.stats.agreement import gwet_parts, kappa_parts, tally
from fairmark.stats.alpha import alpha_parts
from fairmark.stats.checks import CHECKS
from fairmark.stats.intervals import FloatArray
from tests.stats.random_inputs import tried

NAN = math.nan
# Krippendorff's own example, "Computing Krippendorff's Alpha-Reliability" (2011): 4 raters, 12 units
CANONICAL = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T
METRICS = ("nominal", "ordinal", "interval", "ratio")
# Shrout and Fleiss 1979, table 2: 6 targets, 4 judges
SHROUT = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=np.float64)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def two_raters(n: int, p: float, slip: float, generator: np.random.Generator) -> FloatArray:
    truth = generator.uniform(size=(n, 1)) < p
    return np.where(generator.uniform(size=(n, 2)) < slip, ~truth, truth).astype(np.float64)


def clear(result: Any) -> Any:
    """A result is JSON without NaN, and says why and what next wherever it is refused."""
    told = result.as_dict()
    json.dumps(told, allow_nan=False)
    for refusal in (result.refused, getattr(result, "no_interval", None)):
        if refusal is not None:
            assert refusal.code.isupper()
            assert refusal.why
            assert refusal.next
    assert str(result)
    return told


# ------------------------------------------------------------ by hand


def test_alpha_by_hand() -> None:
    # units (0,0) (0,1) (1,1) (1,1): 2 of 8 ordered pairs... each unit has 2 ordered pairs, so D_o = 2/8; of 8 marks 3 are 0 and
    # 5 are 1, so D_e = 2 x 3 x 5 / (8 x 7) = 30/56; alpha = 1 - (1/4) / (30/56) = 1 - 14/30
    marks = np.array([[0, 0], [0, 1], [1, 1], [1, 1.0]])
    assert stats.krippendorff_alpha(marks).value == pytest.approx(1 - 14 / 30)
    # two levels: every metric calls their difference one and the same, except for its size, which cancels
    assert stats.krippendorff_alpha(marks, metric="ordinal").value == pytest.approx(1 - 14 / 30)
    assert stats.krippendorff_alpha(marks, metric="interval").value == pytest.approx(1 - 14 / 30)


def test_gwet_by_hand() -> None:
    # 4 items of two raters, 3 equal; shares of the levels 3/8 and 5/8: p_e = 2 x 15/64 = 15/32; (3/4 - 15/32) / (17/32) = 9/17
    marks = np.array([[0, 0], [0, 1], [1, 1], [1, 1.0]])
    assert stats.gwet(marks).value == pytest.approx(9 / 17)
    assert stats.gwet_ac1(stats.confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], 2)).value == pytest.approx(9 / 17)
    # linear weights of levels 0, 1, 2 that are 0 and 1 on neighbours: 1 - 1/2; sum of weights 3 + 4 x 1/2 = 5, scale 5/6;
    # p_a = (3 + 1/2)/4 = 7/8, p_e = 5/6 x 30/64 = 25/64; (56 - 25)/(64 - 25)
    assert stats.gwet(marks, weights="linear", levels=[0, 1, 2]).value == pytest.approx(31 / 39)
    # Gwet's ordinal weight of neighbours among 3: 1 - C(2, 2)/C(3, 2) = 2/3, of the ends 0: sum 3 + 4 x 2/3 = 17/3, scale 17/18
    p_a, p_e = (3 + 2 / 3) / 4, 17 / 18 * 30 / 64
    assert stats.gwet(marks, weights="ordinal", levels=[0, 1, 2]).value == pytest.approx((p_a - p_e) / (1 - p_e))


def test_fleiss_by_hand() -> None:
    # shares 3/8 and 5/8: p_e = 34/64; (48 - 34)/(64 - 34)
    assert stats.fleiss_kappa(np.array([[2, 0], [1, 1], [0, 2], [0, 2]])).value == pytest.approx(14 / 30)


def test_ratio_alpha_by_hand() -> None:
    # pairs (1,3) and (2,2): differences (2/4)^2 = 1/4 and 0, D_o = (1/4 + 0)/2. Of the 12 ordered pairs of 1, 3, 2, 2:
    # 1-3: 1/4, 1-2 twice: 1/9 each, 3-2 twice: 1/25 each; D_e = 2 (1/4 + 2/9 + 2/25) / 12
    expected = 2 * (1 / 4 + 2 / 9 + 2 / 25) / 12
    assert stats.krippendorff_alpha(np.array([[1, 3], [2, 2.0]]), metric="ratio").value == pytest.approx(1 - 0.125 / expected)
    # 0 and 0 are equal, 0 and anything else differ by 1
    assert stats.krippendorff_alpha(np.array([[0, 0], [0, 7.0]]), metric="ratio").value == pytest.approx(1 - 0.5 / (6 / 12))


def test_icc_by_hand() -> None:
    # items (1,2) (3,4): rows 1.5 and 3.5, columns 2 and 3; MSB = 4, MSJ = 1, MSE = 0, MSW = 1/2
    six = [one.value for one in stats.intraclass(np.array([[1, 2], [3, 4.0]]))]
    # (4 - .5)/(4 + .5); 4/(4 + 0 + 2 x 1/2); 4/4; (4 - .5)/4; 4/(4 + 1/2); 1
    assert six == pytest.approx([3.5 / 4.5, 4 / 5, 1, 3.5 / 4, 4 / 4.5, 1])


def test_binary_agreement_by_hand() -> None:
    # 20 answers: 9 passes found, 1 missed; 6 fails found, 4 passed wrongly; 2 more without one of the marks
    reference = np.array([1.0] * 10 + [0.0] * 10 + [1.0, NAN])
    said = np.array([1.0] * 9 + [0.0] * 1 + [0.0] * 6 + [1.0] * 4 + [NAN, 0.0])
    found = stats.binary_agreement(reference, said, rng=rng())
    clear(found)
    assert found.confusion == ((6, 4), (1, 9))
    assert (found.n_cases, found.n_missing) == (20, 2)
    shares = (found.sensitivity, found.specificity, found.positive_predictive_value, found.negative_predictive_value)
    assert [(round(one.value * one.n_cases), one.n_cases) for one in shares if one and one.value] == [(9, 10), (6, 10), (9, 13), (6, 7)]
    assert found.agreement.value == 15 / 20
    assert (found.agreement.low, found.agreement.high) == stats.clopper_pearson(15, 20)
    kappa, ac1 = found.coefficients
    # p_e = (10 x 7 + 10 x 13)/400 = 1/2; AC1: shares 17/40 and 23/40, p_e = 2 x 391/1600
    assert kappa.value == pytest.approx((0.75 - 0.5) / 0.5)
    assert ac1.value == pytest.approx((0.75 - 391 / 800) / (1 - 391 / 800))
    assert kappa.low is None
    assert kappa.no_interval is not None
    assert kappa.no_interval.code == "TOO_FEW_ITEMS"


def test_shares_take_clusters_into_account() -> None:
    marks = two_raters(120, 0.6, 0.15, rng(3))
    cluster = np.arange(120) // 4
    found = stats.binary_agreement(marks[:, 0], marks[:, 1], cluster, rng=rng())
    equal = (marks[:, 0] == marks[:, 1]).astype(np.float64)
    assert (found.agreement.low, found.agreement.high) == stats.korn_graubard(equal, cluster)
    assert [one.n_clusters for one in found.coefficients] == [30, 30]


def test_self_consistency_by_hand() -> None:
    # 12 items graded 3 times; in 3 of them one mark differs, which makes 2 of 3 pairs differ: mean 3 x (2/3)/12
    marks = np.zeros((12, 3))
    marks[[1, 5, 8], [0, 1, 2]] = 1
    found = stats.self_consistency(marks)
    clear(found)
    assert found.flip_rate.value == pytest.approx(1 / 6)
    assert found.ever_flipped == 3
    assert any("12 items" in one for one in found.warnings)
    twice = stats.self_consistency(np.column_stack([np.zeros(40), np.arange(40) < 4]))
    assert (twice.flip_rate.low, twice.flip_rate.high) == stats.clopper_pearson(4, 40)


def test_bca_of_a_mean_by_hand() -> None:
    # of two units 0 and 1 the four draws average 0, 1/2, 1/2, 1: half of them below the mean with ties halved (z0 = 0), and
    # leaving out either moves it equally (a = 0), so that the ends are plain quantiles of the draws
    parts = stats.Parts(np.array([[0.0, 1], [1, 1]]), lambda sums: sums[:, 0] / sums[:, 1])
    found = stats.bootstrap(parts, rng=rng(), resamples=4_000)
    assert found.value == 0.5
    assert found.z0 == pytest.approx(0, abs=0.05)
    assert found.acceleration == 0
    assert found.at(0.8) == (0, 1)
    assert found.at(0.3) == (0.5, 0.5)
    assert found.at(1 - 1e-4) == (-math.inf, math.inf)  # 4,000 draws say nothing of one in 20,000


# ------------------------------------------------------------ published


@pytest.mark.parametrize(("metric", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)])
def test_alpha_published(metric: Any, alpha: float) -> None:
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"
    assert stats.krippendorff_alpha(CANONICAL, metric=metric).value == pytest.approx(alpha, abs=6e-4)


def test_gwet_published() -> None:
    # Gwet, Handbook of Inter-Rater Reliability (2014), with irrCAC's standard error
    found = stats.gwet(CANONICAL)
    assert found.value == pytest.approx(0.77544, abs=1e-5)
    assert found.se == pytest.approx(0.14295, abs=1e-5)
    # ordinal weights are not Krippendorff's ordinal metric
    assert stats.gwet(CANONICAL, weights="ordinal").value == pytest.approx(0.89894, abs=1e-5)


def test_icc_published() -> None:
    # Shrout and Fleiss 1979, table 4
    six = stats.intraclass(SHROUT)
    assert [one.value for one in six] == pytest.approx([0.17, 0.29, 0.71, 0.44, 0.62, 0.91], abs=5e-3)
    # intervals of R psych 2.2.9, ICC()
    low_high = [-0.1329, 0.7226], [0.0188, 0.7611], [0.3425, 0.9459], [-0.8844, 0.9124], [0.0711, 0.9272], [0.6757, 0.9859]
    for one, published in zip(six, low_high, strict=True):
        assert one.interval is not None
        assert list(one.interval) == pytest.approx(published, abs=2e-4)


# ------------------------------------------------------------ other programs


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", METRICS)
def test_alpha_is_that_of_krippendorff(metric: Any, seed: int) -> None:
    oracle = pytest.importorskip("krippendorff")
    generator = rng(seed)
    marks = generator.choice([0, 1, 2.5, 4, 7], size=(25, 5), p=[0.1, 0.3, 0.3, 0.2, 0.1])
    marks[generator.uniform(size=marks.shape) < 0.4] = NAN
    expected = oracle.alpha(marks.T, level_of_measurement=metric)
    assert stats.krippendorff_alpha(marks, metric=metric).value == pytest.approx(expected, abs=1e-12)
    assert alpha_parts(marks, metric=metric).value() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_kappas_are_those_of_statsmodels(seed: int) -> None:
    oracle = pytest.importorskip("statsmodels.stats.inter_rater")
    matrix = rng(seed).integers(0, 12, size=(4, 4))
    for weights, name in (("unweighted", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected, found = oracle.cohens_kappa(matrix, wt=name), stats.cohen_kappa(matrix, weights=weights)  # type: ignore[arg-type]
        assert (found.value, found.se) == pytest.approx((expected.kappa, expected.std_kappa), abs=1e-12)
        first, second = np.repeat(np.indices((4, 4)).reshape(2, -1), matrix.ravel(), axis=1)
        assert kappa_parts(first, second, 4, weights=weights).value() == pytest.approx(expected.kappa)  # type: ignore[arg-type]
    table = rng(seed).multinomial(6, [0.1, 0.2, 0.7], size=20)
    assert stats.fleiss_kappa(table).value == pytest.approx(oracle.fleiss_kappa(table), abs=1e-12)


# ------------------------------------------------------------ invariance


def every_coefficient(marks: FloatArray) -> list[float | None]:
    of = [stats.krippendorff_alpha(marks, metric=metric).value for metric in METRICS]  # type: ignore[arg-type]
    of += [stats.gwet(marks, weights=weights).value for weights in ("unweighted", "linear", "quadratic", "ordinal")]  # type: ignore[arg-type]
    return [*of, stats.fleiss_kappa(tally(marks)[1]).value]


def test_the_order_of_items_and_raters_does_not_matter() -> None:
    generator = rng(8)
    marks = np.vstack([CANONICAL] * 4)
    shuffled = marks[generator.permutation(len(marks))][:, generator.permutation(4)]
    assert every_coefficient(shuffled) == pytest.approx(every_coefficient(marks))
    one, other = (stats.alpha_agreement(table, metric="ordinal", rng=rng()) for table in (marks, shuffled))
    assert (one.low, one.high) == pytest.approx((other.low, other.high))
    assert one.low is not None


def test_names_of_levels_and_units_of_scores_do_not_matter() -> None:
    renamed = np.select([level == CANONICAL for level in (1, 2, 3, 4, 5)], [40, 7, -3, 1000, 0.5], default=NAN)
    assert stats.krippendorff_alpha(renamed).value == pytest.approx(stats.krippendorff_alpha(CANONICAL).value)
    assert stats.gwet(renamed).value == pytest.approx(stats.gwet(CANONICAL).value)
    stretched = 1e6 + 3.7 * CANONICAL
    assert stats.krippendorff_alpha(stretched, metric="interval").value == pytest.approx(0.849107, abs=1e-6)
    assert stats.krippendorff_alpha(CANONICAL**3, metric="ordinal").value == pytest.approx(0.815388, abs=1e-6)
    assert stats.krippendorff_alpha(1e-9 * CANONICAL, metric="ratio").value == pytest.approx(0.797403, abs=1e-6)
    assert [one.value for one in stats.intraclass(SHROUT * 1e6 - 3e7)] == pytest.approx([one.value for one in stats.intraclass(SHROUT)])


def test_fifty_levels_are_resampled_as_twenty_are() -> None:
    # beyond 20 levels the ordinal distances are those of the sample; the interval is the same but for what they add to it
    generator = rng(5)
    marks = np.clip(generator.integers(0, 60, (150, 1)) + generator.integers(-9, 10, (150, 2)), 0, 59).astype(np.float64)
    fine, coarse = (stats.alpha_agreement(table, metric="ordinal", rng=rng()) for table in (marks, marks // 4))
    assert fine.low is not None
    assert coarse.low is not None
    assert fine.value == pytest.approx(stats.krippendorff_alpha(marks, metric="ordinal").value)
    assert fine.high - fine.low == pytest.approx(coarse.high - coarse.low, rel=0.3)  # type: ignore[operator]


def test_clusters_of_copies_are_no_more_items() -> None:
    marks = two_raters(60, 0.6, 0.2, rng(4))
    alone = stats.kappa_agreement(marks[:, 0], marks[:, 1], 2, rng=rng())
    copied = np.repeat(marks, 5, axis=0)
    clustered = stats.kappa_agreement(copied[:, 0], copied[:, 1], 2, np.repeat(np.arange(60), 5), rng=rng())
    assert clustered.value == pytest.approx(alone.value)
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high), abs=1e-9)


def test_intervals_are_nested_in_the_level() -> None:
    marks = two_raters(40, 0.8, 0.1, rng(6))
    spans = [stats.gwet_agreement(marks, confidence_level=level, rng=rng()) for level in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)]
    for inner, outer in itertools.pairwise(spans):
        assert outer.low <= inner.low <= inner.value <= inner.high <= outer.high  # type: ignore[operator]


# ------------------------------------------------------------ refusals


def test_one_level_shows_agreement_and_refuses_its_correction() -> None:
    for found in (
        stats.alpha_agreement(np.ones((40, 3)), rng=rng()),
        stats.gwet_agreement(np.ones((40, 3)), levels=[0, 1], rng=rng()),
        stats.fleiss_agreement(np.ones((40, 3)), rng=rng()),
        stats.kappa_agreement(np.ones(40), np.ones(40), 3, rng=rng()),
    ):
        clear(found)
        assert found.refused is not None
        assert found.refused.code == "NO_VARIATION"
        assert found.observed == 1
        assert found.n_items == 40


@pytest.mark.parametrize(
    ("marks", "code"),
    [
        (np.full((40, 0), 0.0), "ONE_RATER"),
        (np.column_stack([np.arange(40) % 3, np.full(40, NAN)]), "ONE_RATER"),
        (np.where(np.arange(40)[:, None] % 2 == [0, 1], 1.0, NAN), "NOT_DOUBLY_MARKED"),
        (CANONICAL[:9], "TOO_FEW_ITEMS"),
        (np.vstack([CANONICAL, [math.inf] * 4]), "OFF_SCALE"),
        (-CANONICAL, "OFF_SCALE"),
    ],
)
def test_refusals(marks: FloatArray, code: str) -> None:
    found = stats.alpha_agreement(marks, metric="ratio", rng=rng())
    clear(found)
    assert found.refused is not None
    assert found.refused.code == code
    assert found.value is found.low is found.high is None


def test_fewer_than_thirty_items_or_clusters_give_a_value_without_interval() -> None:
    found = stats.alpha_agreement(np.vstack([CANONICAL, CANONICAL]), rng=rng())
    clear(found)
    assert found.value is not None
    assert found.low is None
    assert found.no_interval is not None
    marks = two_raters(100, 0.5, 0.2, rng(2))
    clustered = stats.alpha_agreement(marks, np.arange(100) // 5, rng=rng())
    assert clustered.no_interval is not None
    assert clustered.no_interval.code == "TOO_FEW_CLUSTERS"


def test_perfect_agreement_is_no_proof_of_it() -> None:
    # 40 of 40 alike: disagreement may still occur in a share u, and costs u / p_e(differ), p_e = 1/2 from equal margins
    marks = np.repeat([0.0, 1.0], 20)
    found = stats.kappa_agreement(marks, marks, 2, rng=rng())
    assert found.value == found.high == 1
    assert found.low == pytest.approx(1 - stats.clopper_pearson(0, 40).high / 0.5)


def test_a_rare_level_on_which_nobody_agreed_leaves_room_above() -> None:
    # 34 x (1,1) and 3 each of (0,1) and (1,0): kappa is below 0, but agreement on 0 in up to u of the items was not met by chance
    first = np.array([1.0] * 34 + [0.0] * 3 + [1.0] * 3)
    second = np.array([1.0] * 34 + [1.0] * 3 + [0.0] * 3)
    found = stats.kappa_agreement(first, second, 2, rng=rng())
    u = stats.clopper_pearson(0, 40).high
    more = 40 * u / (1 - u)  # items (0,0) that make a share u of all
    n = 40 + more
    p_o, p = (34 + more) / n, (3 + more) / n
    p_e = p**2 + (1 - p) ** 2
    assert found.value is not None
    assert found.value < 0
    assert found.high == pytest.approx((p_o - p_e) / (1 - p_e))


def test_a_level_in_one_item_gives_no_interval() -> None:
    marks = np.zeros((40, 2))
    marks[7] = 1
    found = stats.alpha_agreement(marks, rng=rng())
    clear(found)
    assert found.value == 1
    assert found.no_interval is not None
    assert found.no_interval.code == "NO_VARIATION"


def test_scores_that_cannot_be_correlated() -> None:
    for scores, code in (
        (np.ones((40, 2)), "NO_VARIATION"),
        (np.full((40, 2), NAN), "ONE_RATER"),
        (SHROUT, "TOO_FEW_ITEMS"),
        (np.vstack([SHROUT, SHROUT, [[math.inf] * 4]]), "OFF_SCALE"),
    ):
        found = stats.score_agreement(scores, rng=rng())
        clear(found)
        assert found.refused is not None
        assert found.refused.code == code
    same = stats.score_agreement(np.repeat(np.arange(40.0)[:, None], 2, axis=1), rng=rng())
    clear(same)
    assert same.value == 1
    assert same.low is None


def test_wrong_shapes_are_mistakes() -> None:
    with pytest.raises(ValueError, match="items x raters"):
        stats.alpha_agreement(np.ones(4), rng=rng())
    with pytest.raises(ValueError, match="each item"):
        stats.kappa_agreement(np.ones(4), np.ones(3), 2, rng=rng())
    with pytest.raises(ValueError, match="cluster"):
        stats.gwet_agreement(np.ones((4, 2)), np.arange(3), rng=rng())
    with pytest.raises(ValueError, match="none of the levels"):
        stats.gwet(CANONICAL, levels=[1, 2])


def test_checks_take_texts_gaps_and_what_is_undefined() -> None:
    texts = [["a", "b", None, "a"], ["a", "b", "b", "b"], [None, "a", "b", "a"]]
    numbers = np.array([[0, 1, NAN, 0], [0, 1, 1, 1], [NAN, 0, 1, 0]]).T
    found = CHECKS["krippendorff_alpha"](texts)
    assert found["nominal"] == pytest.approx(stats.krippendorff_alpha(numbers).value)
    assert found["ordinal"] is found["interval"] is found["ratio"] is None
    assert CHECKS["krippendorff_alpha"]([[-1, 2], [1, 2]])["ratio"] is None
    assert CHECKS["krippendorff_alpha"]([[1, 1], [1, 1]])["refused"] == "NO_VARIATION"
    assert CHECKS["gwet"]([[1, None], [None, 2]])["refused"] == "NOT_DOUBLY_MARKED"
    assert CHECKS["icc"]([[1, 1], [1, 1]])["icc"] == [None] * 6
    assert CHECKS["fleiss_kappa"]([[2, 0], [1, 2]]) == pytest.approx(stats.fleiss_kappa(np.array([[2, 0], [1, 2]])).value)


# ------------------------------------------------------------ simulation


def test_intervals_cover_the_population_and_are_no_wider_than_they_must_be() -> None:
    generator, held, widths, values = rng(11), [], [], []
    slip, p = 0.15, 0.7
    p_pass = p * (1 - slip) + (1 - p) * slip
    equal = (1 - slip) ** 2 + slip**2
    alpha = 1 - (1 - equal) / (2 * p_pass * (1 - p_pass))
    for _ in range(300):
        found = stats.alpha_agreement(two_raters(80, p, slip, generator), rng=generator, resamples=499)
        assert found.low is not None
        assert found.high is not None
        held.append(found.low <= alpha <= found.high)
        widths.append(found.high - found.low)
        values.append(found.value)
    # of 300 samples 95% +- 3 standard errors of 1.3%
    assert 0.91 <= np.mean(held) <= 0.99
    spread = 2 * 1.96 * float(np.std(np.array(values, dtype=np.float64)))
    assert 0.85 <= np.mean(widths) / spread <= 1.15


def test_clusters_that_share_their_disagreements_widen_the_interval() -> None:
    generator = rng(12)
    held: list[bool] = []
    naive: list[bool] = []
    # each of 40 documents has 5 items and raters that slip on the whole document together: 40 cases of information
    for _ in range(150):
        truth = generator.uniform(size=40) < 0.5
        marks = np.where(generator.uniform(size=(40, 2)) < 0.15, ~truth[:, None], truth[:, None]).astype(np.float64)
        items, cluster = np.repeat(marks, 5, axis=0), np.repeat(np.arange(40), 5)
        alpha = 1 - 2 * 0.15 * 0.85 / 0.5
        for units, into in ((cluster, held), (None, naive)):
            found = stats.alpha_agreement(items, units, rng=generator, resamples=399)
            into.append(found.low <= alpha <= found.high)  # type: ignore[operator]
    assert np.mean(held) >= 0.88
    assert np.mean(naive) <= 0.75


def test_icc_intervals_cover() -> None:
    generator, held, widths, values = rng(13), [], [], []
    # items of variance 4, raters of variance 1/4 drawn anew, residual of variance 1: ICC(2) = 4 / 5.25
    for _ in range(400):
        scores = generator.normal(0, 2, (40, 1)) + generator.normal(0, 0.5, (1, 6)) + generator.normal(0, 1, (40, 6))
        value, interval = stats.intraclass(scores)[1]
        assert interval is not None
        held.append(interval.low <= 4 / 5.25 <= interval.high)
        widths.append(interval.high - interval.low)
        values.append(value)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(widths) <= 1.35 * 2 * 1.96 * float(np.std(np.array(values, dtype=np.float64)))


def test_gaps_may_take_fleiss_kappa_below_minus_one() -> None:
    # items (0, 1), (0, 1) and a lone 0: shares of level 0 are 1/2, 1/2 and 1, so pi = (2/3, 1/3) and p_e = 5/9; p_a = 0
    assert stats.fleiss_kappa(np.array([[1, 1], [1, 1], [1, 0]])).value == pytest.approx(-(5 / 9) / (4 / 9))


# ------------------------------------------------------------ random inputs

some_marks = st.sampled_from([NAN, NAN, 0.0, 1.0, 1.0, 2.0, 3.0, -1.0, 0.5, 1e300, math.inf])
calm_marks = st.sampled_from([NAN, 0.0, 1.0, 2.0])


@st.composite
def tables(draw: st.DrawFn) -> FloatArray:
    items, raters = draw(st.integers(0, 45)), draw(st.integers(0, 4))
    marks = draw(st.sampled_from([some_marks, calm_marks, st.sampled_from([1.0, NAN]), st.sampled_from([0.0, 1.0])]))
    row = st.lists(marks, min_size=raters, max_size=raters)
    few = draw(st.lists(row, min_size=min(items, 1), max_size=min(items, 8)))
    return np.array([few[i % len(few)] for i in range(items)], dtype=np.float64).reshape(items, raters) if few else np.zeros((0, raters))


@tried()
@given(tables(), st.sampled_from(METRICS), st.sampled_from([None, 1, 3, 35]), st.sampled_from([0.5, 0.95, 0.999999]))
def test_random_inputs_give_agreement_or_a_refusal(marks: FloatArray, metric: Any, clusters: int | None, level: float) -> None:
    cluster = None if clusters is None else np.arange(len(marks)) % clusters
    asked: dict[str, Any] = {"confidence_level": level, "rng": rng(), "resamples": 99}
    found: list[Any] = [
        stats.alpha_agreement(marks, cluster, metric=metric, **asked),
        stats.gwet_agreement(marks, cluster, weights="ordinal", **asked),
        stats.fleiss_agreement(marks, cluster, **asked),
        stats.score_agreement(marks, cluster, **asked),
        stats.self_consistency(marks, cluster, confidence_level=level),
    ]
    if marks.shape[1] >= 2:
        found.append(stats.binary_agreement(marks[:, 0], marks[:, 1], cluster, **asked))
        found.append(stats.level_agreement(marks[:, 0], marks[:, 1], ("low", "middle", "high"), cluster, **asked))
    for one in found:
        clear(one)
        if isinstance(one, stats.Agreement):
            assert (one.value is None) == (one.refused is not None)
            if one.low is not None and one.value is not None and one.high is not None:
                # chance is reckoned from singly marked items too: with gaps it may leave less room than disagreement takes
                assert one.low >= -1 or np.isnan(marks).any()
                assert one.low <= one.value <= one.high + 1e-12 <= 1 + 1e-9
            assert one.observed is None or 0 <= one.observed <= 1


@tried(100)
@given(tables())
def test_random_inputs_give_the_same_value_by_both_arithmetics(marks: FloatArray) -> None:
    if not np.all(np.isnan(marks) | ((marks >= 0) & (marks < 1e10))):
        return
    for metric in METRICS:
        plain, summed = stats.krippendorff_alpha(marks, metric=metric).value, alpha_parts(marks, metric=metric)  # type: ignore[arg-type]
        assert (plain is None) == (summed.value() is None)
        assert plain is None or summed.value() == pytest.approx(plain, abs=1e-9)
    if marks.size:
        values, counts = tally(marks)
        plain = stats.gwet(marks).value
        assert plain is None or gwet_parts(counts, values).value() == pytest.approx(plain, abs=1e-9)
