"""Agreement in real marks, with figures that others published. Skipped where the shared data is absent."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairmark import stats
from fairmark.stats.intervals import FloatArray

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not (DATA / "EXPECTED.json").exists(), reason="the shared data is not here")


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "EXPECTED.json").read_text(encoding="utf-8"))
    return found


def rows_of(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict[str, str]], item: tuple[str, ...], rater: str, mark: str, values: dict[str, float] | None = None) -> FloatArray:
    """Items x raters, in the order of their names."""
    items = {key: i for i, key in enumerate(sorted({tuple(row[name] for name in item) for row in rows}))}
    raters = {key: i for i, key in enumerate(sorted({row[rater] for row in rows}))}
    marks = np.full((len(items), len(raters)), np.nan)
    for row in rows:
        value = float(row[mark]) if values is None else values[row[mark]]
        marks[items[tuple(row[name] for name in item)], raters[row[rater]]] = value
    return marks


def test_summeval(published: dict[str, Any]) -> None:
    rows, expected = rows_of("summeval/ratings_long.csv"), published["summeval"]
    pooled = table(rows, ("doc_id", "system", "criterion"), "rater", "score")
    assert pooled.shape == (6400, 3)
    found = stats.krippendorff_alpha(pooled, metric="interval").value
    assert found == pytest.approx(expected["alpha_interval_pooled"], abs=5e-5)
    for criterion, alpha in expected["alpha_interval"].items():
        marks = table([row for row in rows if row["criterion"] == criterion], ("doc_id", "system"), "rater", "score")
        assert stats.krippendorff_alpha(marks, metric="interval").value == pytest.approx(alpha, abs=5e-5)
        ordinal = stats.krippendorff_alpha(marks, metric="ordinal").value
        assert ordinal == pytest.approx(expected["alpha_ordinal"][criterion], abs=5e-5)


def test_summeval_documents_are_the_units() -> None:
    rows = [row for row in rows_of("summeval/ratings_long.csv") if row["criterion"] == "coherence"]
    marks = table(rows, ("doc_id", "system"), "rater", "score")
    found = stats.alpha_agreement(marks, np.arange(1600) // 16, metric="interval", rng=np.random.default_rng(1))
    assert (found.n_items, found.n_clusters, found.n_raters) == (1600, 100, 3)
    assert found.value == pytest.approx(0.5591, abs=5e-5)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high  # type: ignore[operator]


def test_dices(published: dict[str, Any]) -> None:
    rows, expected = rows_of("dices350_anon/ratings.csv"), published["dices350"]
    marks = table(rows, ("item_id",), "rater_pos", "unsafe", {"No": 0, "Unsure": 1, "Yes": 2})
    assert marks.shape == (350, 123)
    assert stats.krippendorff_alpha(marks).value == pytest.approx(expected["alpha_nominal_yes_no_unsure"], abs=5e-6)
    # the crowd's commonest answer beside the expert's; two conversations are tied, and go to the answer that was given first
    ids = sorted({row["item_id"] for row in rows})
    expert = {row["item_id"]: row["expert_label"] for row in rows_of("dices350_anon/items.csv")}
    said = [float(expert[item] == "Yes") for item in ids]
    crowd = np.array([Counter(row.tolist()).most_common(1)[0][0] == 2 for row in marks], dtype=np.float64)
    found = stats.binary_agreement(np.array(said), crowd, rng=np.random.default_rng(1))
    assert found.agreement.value == pytest.approx(expected["majority_vs_expert_agreement_ours"], abs=5e-4)
    assert found.coefficients[0].value == pytest.approx(expected["kappa_ours"], abs=5e-4)


def test_llmbar(published: dict[str, Any]) -> None:
    gold, subset = {}, {}
    for line in (DATA / "llmbar" / "items.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        gold[item["item_id"]], subset[item["item_id"]] = str(item["gold"]), item["subset"]
    right: dict[str, list[float]] = defaultdict(list)
    for row in rows_of("llmbar/judge_verdicts.csv"):
        if (row["judge"], row["prompt"]) == ("GPT-4", "Vanilla"):
            truth = gold[row["item_id"]]
            # both orders of an item; a verdict that cannot be read is not right
            right[subset[row["item_id"]]].append(float(np.mean([row[order] == truth for order in ("winner_order_ab", "winner_order_ba")])))
    for name, accuracy in published["llmbar_gpt4_vanilla_accuracy"].items():
        found = stats.estimate_rate(np.array(right[name]), None, estimand="share of verdicts that name the better output")
        assert found.value is not None
        assert round(100 * found.value, 1) == accuracy


def test_llm_rubric(published: dict[str, Any]) -> None:
    people = {row["text_id"]: float(row["Q0"]) for row in rows_of("llm_rubric_real/human_wide.csv") if row["Q0"] != "0"}
    rows = [row for row in rows_of("llm_rubric_real/llm_distributions.csv") if row["criterion"] == "Q0" and row["text_id"] in people]
    human = np.array([people[row["text_id"]] for row in rows])
    p = np.array([[float(row[f"answer{level}_prob"]) for level in (1, 2, 3, 4)] for row in rows])
    p /= p.sum(axis=1, keepdims=True)
    expected = published["llm_rubric_real_Q0"]
    assert len(rows) == expected["n"]
    for name, said in (("argmax", 1.0 + p.argmax(axis=1)), ("expected", p @ np.arange(1.0, 5))):
        assert np.sqrt(np.mean((human - said) ** 2)) == pytest.approx(expected[name]["rmse"], abs=2e-6)
        assert np.corrcoef(human, said)[0, 1] == pytest.approx(expected[name]["pearson"], abs=2e-6)
        found = stats.score_agreement(np.column_stack([human, said]), rng=np.random.default_rng(1))
        assert found.bias == pytest.approx(float(np.mean(said - human)))
        assert found.value is not None
        assert found.value < 0.25  # it hardly tells these dialogues apart
