"""Two systems on the same cases: what is shown, verdicts about margins, and what so many pairs can show."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep

from fairmark import stats
from tests.stats.random_inputs import tried


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(middle: float, se: float) -> stats.comparing.IntervalAt:
    """The interval of a normal estimate at every level."""
    return lambda level: (middle - float(ndtri(0.5 + level / 2)) * se, middle + float(ndtri(0.5 + level / 2)) * se)


# ------------------------------------------------------------ by hand


def test_wins_losses_and_ties_per_100() -> None:
    # 12 won, 2 lost, 6 tied of 20: 60, 10 and 30 of 100, and one more won than lost every 20/10 = 2 cases
    found = stats.wins_losses_ties(np.repeat([0.5, -1.0, 0.0], [12, 2, 6]))
    assert (found.wins, found.losses, found.ties) == (12, 2, 6)
    assert (found.wins_per_100, found.losses_per_100, found.ties_per_100, found.cases_per_gain) == (60, 10, 30, 2)
    assert stats.wins_losses_ties(np.array([1.0, -1.0])).cases_per_gain is None


def test_a_comparison_of_answers_by_hand() -> None:
    # 12 only the first passes, 3 only the second, of 100: Tango's published example and McNemar's p
    first, second = np.repeat([1.0, 0.0, 1.0], [12, 3, 85]), np.repeat([0.0, 1.0, 1.0], [12, 3, 85])
    found = stats.compare_pairs(first, second, rng=rng())
    assert found.method == "Tango score interval"
    assert (found.value, found.low, found.high) == pytest.approx((0.09, 0.015977, 0.173743), abs=1e-6)
    assert (found.mcnemar_exact, found.mcnemar_midp) == pytest.approx((0.035156, 0.021271), abs=1e-6)
    assert "12 won, 3 lost, 85 tied" in found.headline()
    with pytest.raises(ValueError, match="same cases"):
        stats.compare_pairs(first, second[1:], rng=rng())


def test_verdicts_about_margins_by_hand() -> None:
    # 0.05 +- 1.96 x 0.02 = 0.0108 to 0.0892
    at = normal(0.05, 0.02)
    better = stats.better_by(at)
    assert (better.verdict, better.p_support) == ("supported", pytest.approx(0.00621, abs=1e-5))  # P(Z > 2.5)
    assert stats.better_by(at, 0.02).verdict == "undecided"
    assert stats.better_by(at, 0.1).verdict == "refuted"
    assert stats.no_worse_than(at, 0.03).margin == -0.03
    assert stats.no_worse_than(normal(-0.05, 0.02), 0.01).verdict == "refuted"
    # at one-sided alpha .05 the 90% interval, 0.0171 to 0.0829, must lie within the margin
    assert stats.equivalent(at, 0.083, alpha=0.05).verdict == "supported"
    assert stats.equivalent(at, 0.082, alpha=0.05).verdict == "undecided"
    assert stats.equivalent(at, 0.083, alpha=0.05).confidence_level == pytest.approx(0.90)
    assert stats.equivalent(at, 0.01, alpha=0.05).verdict == "refuted"
    # the p of two one-sided tests is the larger one: P(Z < (0.05 - 0.083)/0.02)
    assert stats.equivalent(at, 0.083).p_support == pytest.approx(0.04947, abs=1e-4)
    for margin, judge in ((-0.1, stats.no_worse_than), (0.0, stats.equivalent)):
        with pytest.raises(ValueError, match="margin"):
            judge(at, margin)


@pytest.mark.parametrize("n", [4, 9, 14])
@pytest.mark.parametrize("margin", [0.0, -0.2, 0.1])
def test_power_adds_up_all_outcomes(n: int, margin: float) -> None:
    win, loss = 0.5, 0.1
    by_hand = sum(
        math.comb(n, b) * math.comb(n - b, c) * win**b * loss**c * (1 - win - loss) ** (n - b - c)
        for b in range(n + 1)
        for c in range(n - b + 1)
        if stats.tango(b, c, n, confidence_level=0.9).low > margin
    )
    assert stats.paired_power(n, win=win, loss=loss, margin=margin, alpha=0.05) == pytest.approx(by_hand, abs=1e-12)


def test_the_smallest_visible_difference_is_exact_below_100_pairs() -> None:
    for n, discordance in ((40, 0.3), (80, 0.2)):
        d = stats.smallest_visible_difference(n, discordance=discordance, alpha=0.025, power=0.8)
        assert d is not None
        win, loss = (discordance + d) / 2, (discordance - d) / 2
        assert stats.paired_power(n, win=win, loss=loss) == pytest.approx(0.8, abs=1e-3)
    # 10 pairs that differ in one of ten: even if all of those were won, mostly one is seen
    assert stats.smallest_visible_difference(10, discordance=0.1, alpha=0.025, power=0.8) is None


def test_sample_size_of_systems_that_are_not_alike() -> None:
    # Miller's example, 1/9 + (1/6)/10 + (1/6)/10 over .03^2 times (1.96 + .84)^2, is the case where both are alike
    alike = stats.paired_sample_size(0.03, omega2=1 / 9, sigma2=1 / 6, repeats=10)
    assert alike == pytest.approx(1259.6967, abs=1e-3)
    unlike = stats.paired_sample_size(0.03, omega2=1 / 9, sigma2=(1 / 6, 1 / 3), repeats=(10, 20), design_effect=1.5)
    assert unlike == pytest.approx(1.5 * alike)


def test_what_can_never_be_decided_is_refused_beforehand() -> None:
    # six clusters: 1/64 = .0156 is below .025, and above .0125
    assert stats.too_few_to_decide(6, 0.025) is None
    refused = stats.too_few_to_decide(6, 0.025, hypotheses=2)
    assert refused is not None
    assert (refused.code, refused.next) == ("UNDECIDABLE", "collect at least 7 clusters")
    few = stats.too_few_to_decide(5, 0.5)
    assert few is not None
    assert "6 clusters" in few.next
    assert stats.too_few_to_decide(40, 0.025, hypotheses=300) is not None
    # the test itself agrees
    for clusters in range(6, 13):
        paired = stats.PairedIntervals(np.linspace(0.5, 1, clusters), None, single=True, rng=rng())
        for alpha in (0.025, 0.01, 0.004, 0.001):
            assert (stats.too_few_to_decide(clusters, alpha) is None) == (paired.at(1 - 2 * alpha).low > -1)


# ------------------------------------------------------------ published values


def test_mcnemar_agrees_with_statsmodels() -> None:
    for b, c in ((12, 3), (9, 1), (0, 5), (7, 7), (40, 22)):
        assert stats.mcnemar(b, c).exact == pytest.approx(sm_mcnemar([[50, b], [c, 50]], exact=True).pvalue)


def test_newcombe_agrees_with_statsmodels() -> None:
    for x1, n1, x2, n2 in ((56, 70, 48, 80), (9, 10, 3, 10), (0, 12, 5, 20)):
        theirs = confint_proportions_2indep(x1, n1, x2, n2, method="newcomb", compare="diff")
        assert stats.newcombe_difference(x1, n1, x2, n2) == pytest.approx(theirs, abs=1e-9)


# ------------------------------------------------------------ invariances


def test_exchanging_systems_exchanges_wins_and_losses() -> None:
    first, second = rng(2).uniform(size=12), rng(3).uniform(size=12)
    one, other = stats.compare_pairs(first, second, rng=rng()), stats.compare_pairs(second, first, rng=rng())
    assert one.value is not None
    assert other.value == pytest.approx(-one.value)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert (other.counts.wins, other.counts.losses) == (one.counts.losses, one.counts.wins)
    assert other.p_equal == pytest.approx(one.p_equal)


def test_the_order_of_cases_does_not_matter() -> None:
    first, second = rng(2).integers(0, 2, 40).astype(float), rng(3).integers(0, 2, 40).astype(float)
    order = rng(4).permutation(40)
    one, other = stats.compare_pairs(first, second, rng=rng()), stats.compare_pairs(first[order], second[order], rng=rng())
    assert one == other


def test_power_grows_with_the_difference() -> None:
    powers = [stats.paired_power(60, win=(0.3 + d) / 2, loss=(0.3 - d) / 2) for d in np.linspace(0, 0.3, 12)]
    assert all(a < b for a, b in itertools.pairwise(powers))
    # at no difference it is the error of the first kind
    assert powers[0] <= 0.0275


# ------------------------------------------------------------ coverage, where too wide fails as well as too narrow


def test_equivalence_is_claimed_wrongly_as_rarely_as_it_says() -> None:
    # the true difference lies on the margin; every outcome of 40 pairs that is not very unlikely, with its exact chance
    n, win, loss = 40, 0.22, 0.02
    wrong = beyond = seen = 0.0
    for b, c in itertools.product(range(n + 1), range(8)):
        ways = math.factorial(n) // (math.factorial(b) * math.factorial(c) * math.factorial(n - b - c)) if b + c <= n else 0
        chance = ways * win**b * loss**c * (1 - win - loss) ** (n - b - c)
        if chance < 1e-4:
            continue

        def at(level: float, b: int = b, c: int = c) -> stats.Interval:
            return stats.tango(b, c, n, confidence_level=level)

        verdict = stats.equivalent(at, 0.2).verdict
        seen, wrong, beyond = seen + chance, wrong + chance * (verdict == "supported"), beyond + chance * (verdict == "refuted")
    assert seen > 0.99
    assert 0.005 <= wrong <= 0.035
    # a score interval shares its error unequally between its ends (see the rows of bar B3)
    assert 0.005 <= beyond <= 0.05


@pytest.mark.parametrize("clusters", [10, 30])
def test_the_sign_flip_declares_a_null_difference_at_the_planned_rate(clusters: int) -> None:
    generator = rng(6)
    runs, wrong = 600, 0
    cluster = np.repeat(np.arange(clusters), 4)
    for _ in range(runs):
        both = generator.normal(0.5, 0.1, clusters * 4)
        first, second = ((both + generator.normal(0, 0.1, clusters)[cluster]).clip(0, 1) for _ in range(2))
        found = stats.compare_pairs(first, second, cluster, rng=generator)
        assert found.low is not None
        assert found.high is not None
        wrong += not found.low <= 0 <= found.high
    assert 0.02 <= wrong / runs <= 0.075


# ------------------------------------------------------------ random inputs

pairs = st.lists(
    st.tuples(*[st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1), st.sampled_from([math.nan, 3.0]))] * 2), max_size=24
)


@tried()
@given(pairs, st.sampled_from([None, 1, 6, 9]), st.booleans(), st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([0.5, 0.95, 0.999]))
def test_random_inputs_to_a_comparison(
    scores: list[tuple[float, float]], clusters: int | None, single: bool, margin: float, level: float
) -> None:
    first, second = (np.array([pair[side] for pair in scores], dtype=np.float64) for side in (0, 1))
    cluster = None if clusters is None else np.arange(len(first)) % clusters
    found = stats.compare_pairs(first, second, cluster, rng=rng(), single=single, confidence_level=level)
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
        return
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert -1 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1
    paired = stats.PairedIntervals(first - second, cluster, single=single, rng=rng())
    for verdict in (stats.better_by(paired.at, margin), stats.no_worse_than(paired.at, margin), stats.equivalent(paired.at, margin + 0.1)):
        json.dumps(verdict.as_dict(), allow_nan=False)
        assert (verdict.verdict == "supported") == (verdict.p_support <= 0.025)
        assert (verdict.verdict == "refuted") == (verdict.p_refute <= 0.025)
