"""Train, dev and test by whole clusters, and what looking twice is called."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from tests.stats.random_inputs import tried


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------ by hand


def test_parts_have_their_shares_and_part_no_cluster() -> None:
    cluster = np.repeat(np.arange(50), 4)
    split = stats.split_by_cluster(cluster, rng=rng())
    assert [len(part) for part in split] == [40, 80, 80]
    assert sorted(np.concatenate(split).tolist()) == list(range(200))
    held = [set(cluster[part].tolist()) for part in split]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])


def test_unequal_clusters_come_close_and_strata_are_spread() -> None:
    sizes = np.random.default_rng(2).integers(1, 12, 80)
    cluster = np.repeat(np.arange(80), sizes)
    value = (np.random.default_rng(3).random(80) < 0.2)[cluster].astype(int)
    split = stats.split_by_cluster(cluster, rng=rng(), strata=value)
    assert np.array([len(part) for part in split]) / len(cluster) == pytest.approx((0.2, 0.4, 0.4), abs=0.03)
    assert [float(value[part].mean()) for part in split] == pytest.approx([float(value.mean())] * 3, abs=0.1)
    none = stats.split_by_cluster(cluster, rng=rng(), shares=(0.0, 0.5, 0.5))
    assert len(none.train) == 0


def test_the_gap_by_hand() -> None:
    # 18/20 and 12/20: squared errors p(1-p)/19, so that the gap of .3 is 2.3 standard errors
    dev, test = np.repeat([1.0, 0.0], [18, 2]), np.repeat([1.0, 0.0], [12, 8])
    found = stats.dev_test_gap(dev, test, looks=1)
    assert found.gap == pytest.approx(0.3)
    assert found.se == pytest.approx(math.sqrt(0.09 / 19 + 0.24 / 19))
    assert found.warn
    assert "fits the dev answers" in found.headline()
    assert "first look" in found.headline()
    # the same marks in clusters of three are seven of them, and tell less
    clustered = stats.dev_test_gap(dev, test, looks=3, dev_cluster=np.arange(20) // 3, test_cluster=np.arange(20) // 3)
    assert clustered.se is not None
    assert found.se is not None
    assert clustered.se > found.se
    assert "reused (3)" in clustered.headline()


def test_all_right_in_both_is_no_certainty() -> None:
    # half a wrong answer of 7 has the variance share (1 - share) / 6
    found = stats.dev_test_gap(np.ones(6), np.ones(6), looks=1)
    share = 0.5 / 7
    assert found.se == pytest.approx(math.sqrt(2 * share * (1 - share) / 6))
    assert not found.warn


def test_looks_are_counted() -> None:
    assert [stats.look_words(k) for k in (1, 2, 5)] == ["first look", "reused (2)", "reused (5)"]
    with pytest.raises(ValueError, match="at least 1"):
        stats.look_words(0)


def test_test_texts_in_a_prompt_are_found() -> None:
    texts = ["The refund arrives within five days.", "ok", "Please write to the office in Bern."]
    prompt = "Examples: THE REFUND\n arrives within  five days. ok"
    assert stats.texts_in_prompt(prompt, texts) == (0,)
    assert stats.texts_in_prompt("", texts) == ()


# ------------------------------------------------------------ published value


def test_two_standard_errors_are_the_usual_test_of_two_means() -> None:
    """Welch's t (1947), as statsmodels computes it."""
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    generator = rng(4)
    dev, test = generator.uniform(0, 1, 40), generator.uniform(0, 0.9, 30)
    found = stats.dev_test_gap(dev, test, looks=1)
    t, _, _ = CompareMeans(DescrStatsW(dev), DescrStatsW(test)).ttest_ind(usevar="unequal")
    assert found.gap is not None
    assert found.se is not None
    assert found.gap / found.se == pytest.approx(t)


# ------------------------------------------------------------ invariance


def test_names_and_order_of_clusters_do_not_matter() -> None:
    cluster = np.repeat(np.arange(30), 3)
    split, renamed = (stats.split_by_cluster(one, rng=rng(5)) for one in (cluster, 7 + 2 * cluster))
    assert all(np.array_equal(a, b) for a, b in zip(split, renamed, strict=True))
    dev, test = rng(6).random(60), rng(7).random(60)
    units, order = np.arange(60) // 4, rng(8).permutation(60)
    plain = stats.dev_test_gap(dev, test, looks=1, dev_cluster=units, test_cluster=units)
    moved = stats.dev_test_gap(dev[order], test, looks=1, dev_cluster=90 - units[order], test_cluster=units)
    assert (plain.gap, plain.se) == pytest.approx((moved.gap, moved.se))


# ------------------------------------------------------------ seeded simulation


def test_an_honest_grader_is_warned_of_rarely_and_an_overfitted_one_mostly() -> None:
    generator = rng(9)
    runs = 800

    def warned(dev: float, test: float) -> float:
        def right(share: float) -> np.ndarray:
            return (generator.random(80) < share).astype(float)

        return sum(stats.dev_test_gap(right(dev), right(test), looks=1).warn for _ in range(runs)) / runs

    # beyond 2 standard errors by chance in 4.6%; never to warn would be wrong too
    assert 0.02 <= warned(0.85, 0.85) <= 0.08
    assert warned(0.95, 0.75) >= 0.85


def test_each_cluster_is_tested_on_as_often_as_its_share() -> None:
    generator, counts = rng(10), np.zeros(20)
    for _ in range(400):
        counts[stats.split_by_cluster(np.arange(20), rng=generator).test] += 1 / 400
    assert np.max(np.abs(counts - 0.4)) < 4 * math.sqrt(0.24 / 400)


# ------------------------------------------------------------ random inputs

value = st.sampled_from([0.0, 1.0, 0.4, -0.1, math.nan, math.inf])


@tried(100)
@given(st.lists(value, max_size=25), st.lists(value, max_size=25), st.sampled_from([None, 3, 8]), st.integers(1, 9))
def test_random_inputs_of_splits(dev: list[float], test: list[float], clusters: int | None, looks: int) -> None:
    units = [None if clusters is None else np.arange(len(part)) % clusters for part in (dev, test)]
    found = stats.dev_test_gap(np.array(dev), np.array(test), looks=looks, dev_cluster=units[0], test_cluster=units[1])
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
        assert not found.warn
    split = stats.split_by_cluster(np.array([round(abs(one) * 10) if math.isfinite(one) else 5 for one in dev], dtype=int), rng=rng(looks))
    assert sum(len(part) for part in split) == len(dev)


def test_wrong_arguments_are_mistakes() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        stats.split_by_cluster(np.arange(5), rng=rng(), shares=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="strata"):
        stats.split_by_cluster(np.arange(5), rng=rng(), strata=np.arange(4))
    with pytest.raises(ValueError, match="clusters of dev"):
        stats.dev_test_gap(np.ones(5), np.ones(5), looks=1, dev_cluster=np.arange(4))
