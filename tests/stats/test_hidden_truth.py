"""Labels without a reference: Dawid and Skene's model, and when it says nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import stats
from fairmark.stats.checks.raters import CHECKS
from fairmark.stats.hidden_truth import fit_dawid_skene, vote_shares
from tests.stats.random_inputs import tried

# Dawid and Skene (1979): 45 patients, observer 1 three times, observers 2 to 5 once
PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343
1111111 2223212 1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222
1111111 1111111 2322222 1111111 1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343
2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""


def patients() -> dict[str, list[str]]:
    return {str(place): [text[:3], *text[3:]] for place, text in enumerate(PATIENTS.split(), 1)}


def drawn(rng: np.random.Generator, n: int, right: list[float], prevalence: float = 0.4) -> tuple[np.ndarray, ...]:
    """Items, graders and labels yes or no by graders who are right so often, and the truth."""
    truth = rng.random(n) < prevalence
    said = np.where(rng.random((n, len(right))) < right, truth[:, None], ~truth[:, None])
    item, rater = (axis.ravel() for axis in np.indices(said.shape))
    return item, rater, said.ravel().astype(np.int64), truth


# ------------------------------------------------------------ by hand


def test_one_step_by_hand() -> None:
    # two items, three graders: yes yes no | no no no. Votes 2/3 and 0 make the prevalence of yes 1/3;
    # grader 3 says no to both, so yes is 0 in either class; grader 1 says yes where yes is likely: 1 in class yes, 1/3 / (4/3) in no
    item, rater, label = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2]), np.array([1, 1, 0, 0, 0, 0])
    assert vote_shares(item, label, 2).tolist() == pytest.approx(np.array([[1 / 3, 2 / 3], [1, 0]]))
    found = fit_dawid_skene(item, rater, label, 2, smoothing=0.0)
    # the two patterns end as the two classes, each met once: log-likelihood 2 log(1/2)
    assert found.prevalence.tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    assert found.log_likelihood == pytest.approx(2 * math.log(0.5))
    assert found.confusion[2].tolist() == pytest.approx(np.array([[1, 0], [1, 0]]), abs=1e-6)


def test_three_graders_and_two_labels_are_told_apart_exactly() -> None:
    # patterns in their expected numbers under prevalence .4 and graders right in .9, .8, .7: the model fits them without error
    right, counts = np.array([0.9, 0.8, 0.7]), []
    for pattern in range(8):
        said = np.array([pattern >> place & 1 for place in range(3)])
        yes, no = np.prod(np.where(said, right, 1 - right)), np.prod(np.where(said, 1 - right, right))
        counts.append(round(100_000 * (0.4 * yes + 0.6 * no)))
    patterns = np.repeat(np.arange(8), counts)
    item, rater = np.repeat(np.arange(len(patterns)), 3), np.tile(np.arange(3), len(patterns))
    found = fit_dawid_skene(item, rater, patterns[item] >> rater & 1, 2, smoothing=0.0)
    assert found.prevalence[1] == pytest.approx(0.4, abs=1e-3)
    assert found.confusion[:, 1, 1].tolist() == pytest.approx(right.tolist(), abs=1e-3)


# ------------------------------------------------------------ published


def test_the_patients_of_dawid_and_skene() -> None:
    answer = CHECKS["dawid_skene"](patients())
    # the paper's table: marginals .40, .42, .11, .07
    assert [round(one, 2) for one in answer["marginals"]] == [0.40, 0.42, 0.11, 0.07]
    assert answer["obs2_row2"].tolist() == pytest.approx([0.053, 0.633, 0.314, 0.0], abs=2e-3)
    assert answer["loglik"] == pytest.approx(-192.8909, abs=1e-3)
    assert answer["argmax_differs_from_majority"] == {"2": 4, "12": 3, "36": 4}


def test_close_to_crowd_kit() -> None:
    crowdkit = pytest.importorskip("crowdkit.aggregation")
    pandas = pytest.importorskip("pandas")
    item, rater, label, _ = drawn(np.random.default_rng(1), 300, [0.9, 0.8, 0.7, 0.6])
    theirs = crowdkit.DawidSkene(n_iter=1000, tol=1e-10).fit(pandas.DataFrame({"task": item, "worker": rater, "label": label}))
    ours = fit_dawid_skene(item, rater, label, 2)
    assert ours.prevalence.tolist() == pytest.approx(theirs.priors_.sort_index().tolist(), abs=2e-3)


# ------------------------------------------------------------ invariance


def test_order_and_names_change_nothing() -> None:
    rng = np.random.default_rng(3)
    item, rater, label, _ = drawn(rng, 60, [0.9, 0.8, 0.7])
    first = stats.hidden_truth(item, rater, label, starts=1, rng=rng)
    order = rng.permutation(len(item))
    names = np.array(["zed", "kim", "ann"])[rater]
    second = stats.hidden_truth(1000 - item[order], names[order], np.array(["b", "a"])[label[order]], starts=1, rng=rng)
    assert first.log_likelihood == pytest.approx(second.log_likelihood)
    assert first.prevalence == pytest.approx(second.prevalence[::-1])
    assert {one.name: one.correct for one in second.graders} == pytest.approx(
        {name: first.graders[place].correct for place, name in enumerate(["zed", "kim", "ann"])}
    )


def test_a_repeated_item_weighs_twice() -> None:
    item, rater, label, _ = drawn(np.random.default_rng(4), 40, [0.9, 0.8, 0.7])
    once = fit_dawid_skene(item, rater, label, 2, smoothing=0.0)
    twice = fit_dawid_skene(np.concatenate([item, item + 40]), np.tile(rater, 2), np.tile(label, 2), 2, smoothing=0.0)
    assert twice.log_likelihood == pytest.approx(2 * once.log_likelihood)
    assert twice.posterior[:40].tolist() == pytest.approx(once.posterior)


# ------------------------------------------------------------ simulation


def test_it_beats_the_vote_where_graders_differ_and_its_interval_covers() -> None:
    rng = np.random.default_rng(5)
    wrong, vote_wrong, covered, width = 0, 0, 0, []
    for _ in range(12):
        item, rater, label, truth = drawn(rng, 150, [0.95, 0.72, 0.72, 0.72])
        found = stats.hidden_truth(item, rater, label, starts=1, draws=30, rng=rng)
        assert found.by_item is not None
        wrong += int(np.sum(np.array(found.by_item.likeliest) != truth.astype(int).astype(str)))
        votes = vote_shares(item, label, 2)
        vote_wrong += int(np.sum(votes.argmax(axis=1) != truth))
        covered += found.prevalence_low[1] <= 0.4 <= found.prevalence_high[1]
        width.append(found.prevalence_high[1] - found.prevalence_low[1])
    assert wrong < 0.7 * vote_wrong
    # of 12: a percentile interval of 30 resamples covers somewhat less than it says
    assert covered >= 9
    assert np.mean(width) < 0.3


def test_graders_who_err_together_fool_it() -> None:
    # three models of one family repeat each other's errors: the model takes them for the truth, which is why they are refused
    rng = np.random.default_rng(6)
    truth = rng.random(300) < 0.5
    shared = np.where(rng.random(300) < 0.7, truth, ~truth)
    alike = [np.where(rng.random(300) < 0.97, shared, ~shared) for _ in range(3)]
    person = np.where(rng.random(300) < 0.9, truth, ~truth)
    label = np.stack([*alike, person], axis=1).astype(np.int64)
    item, rater = (axis.ravel() for axis in np.indices(label.shape))
    names = np.array(["m1", "m2", "m3", "person"])[rater]
    fooled = stats.hidden_truth(item, names, label.ravel(), rng=rng)
    correct = {one.name: one.correct for one in fooled.graders}
    assert correct["m1"] > 0.9 > correct["person"]
    refused = stats.hidden_truth(item, names, label.ravel(), families=["m", "m", "m", "person"], rng=rng)
    assert refused.refused is not None
    assert refused.refused.code == "NOT_INDEPENDENT"
    assert "m1, m2, m3" in refused.refused.why
    assert refused.by_item is None
    assert sum(count for _, count in refused.votes) == 1200


# ------------------------------------------------------------ warnings and refusals


def test_what_it_warns_of() -> None:
    rng = np.random.default_rng(7)
    item, rater, label, truth = drawn(rng, 200, [0.5, 0.93, 0.93, 0.93])
    perfect = np.where(rater == 0, truth[item], label)
    found = stats.hidden_truth(item, rater, perfect, families=["a", "b", "c", "d"], rng=rng)
    assert any("0 comes out perfect" in one for one in found.warnings)
    item, rater, label, truth = drawn(rng, 200, [0.8, 0.3, 0.3, 0.3], prevalence=0.5)
    switched = fit_dawid_skene(item, rater, label, 2)
    assert np.mean(switched.posterior.argmax(axis=1) == truth) < 0.5  # three who are mostly wrong outvote one
    two = item[rater < 2], rater[rater < 2], label[rater < 2]
    refused = stats.hidden_truth(*two, rng=rng).refused
    assert refused is not None
    assert refused.code == "TOO_FEW_RATERS"


def test_classes_that_changed_their_names_are_warned_of() -> None:
    # where the truth is "b" most graders say "a": class b looks switched
    rng = np.random.default_rng(8)
    truth = np.repeat([0, 1, 2], 100)
    said = np.where(rng.random((300, 4)) < 0.9, truth[:, None], rng.integers(0, 3, (300, 4)))
    said[100:200, :3] = np.where(rng.random((100, 3)) < 0.7, 0, said[100:200, :3])
    item, rater = (axis.ravel() for axis in np.indices(said.shape))
    found = stats.hidden_truth(item, rater, np.array(list("abc"))[said.ravel()], rng=rng)
    assert any(one.startswith("where b is the hidden label most graders say another") for one in found.warnings)


# ------------------------------------------------------------ random inputs


labels = st.sampled_from(["yes", "no", "unsure"])


@tried(80)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), labels), max_size=50), st.booleans(), st.booleans())
def test_random_inputs_get_labels_or_a_refusal(said: list[tuple[int, int, str]], clustered: bool, related: bool) -> None:
    item, rater, label = (np.array([one[place] for one in said]) for place in range(3))
    families = [f"family {min(place, 3)}" if related else str(place) for place in range(len(np.unique(rater)))]
    found = stats.hidden_truth(
        item, rater, label, families=families, cluster=item // 2 if clustered else None, starts=2, draws=3, rng=np.random.default_rng(0)
    )
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    if found.refused is not None:
        assert found.refused.why
        assert found.refused.next
        assert found.graders == ()
    else:
        assert sum(found.prevalence) == pytest.approx(1)
        assert all(low <= one <= high for low, one, high in zip(found.prevalence_low, found.prevalence, found.prevalence_high, strict=True))
