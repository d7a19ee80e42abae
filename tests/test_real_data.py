"""Real marks by people with known answers. Skipped where the shared data is absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairmark.workbench import analyse_table

DATA = Path(__file__).parents[2] / "shared" / "data"
SUMMEVAL = DATA / "summeval" / "ratings_long.csv"

pytestmark = pytest.mark.skipif(not SUMMEVAL.exists(), reason="the shared data is not here")


@pytest.mark.parametrize(
    ("better", "than", "verdict"),
    [("M22", "M23", "undecided"), ("M22", "M11", "supported"), ("M11", "M22", "refuted")],
)
def test_summeval_coherence_comparisons(better: str, than: str, verdict: str) -> None:
    with analyse_table(SUMMEVAL, columns={"cluster": "doc_id"}, better=better, than=than, on="coherence") as bench:
        result = bench.analyse().hypotheses[0]
    assert result.verdict == verdict
    assert result.estimate.n_cases == 100
    if verdict == "undecided":
        # 4.177 - 4.160 on the scale 1 to 5, which is 4 points wide
        assert result.estimate.value is not None
        assert round(result.estimate.value * 4, 3) == 0.017


def test_summeval_system_means() -> None:
    published = json.loads((DATA / "EXPECTED.json").read_text())["summeval"]["system_means_coh_con_flu_rel"]
    with analyse_table(SUMMEVAL) as bench:
        results = {(r.system, r.criterion): r.mean_value.value for r in bench.analyse().criteria}
    for system, means in published.items():
        for criterion, mean in zip(("coherence", "consistency", "fluency", "relevance"), means, strict=True):
            found = results[system, criterion]
            assert found is not None
            assert round(1 + 4 * found, 2) == pytest.approx(mean, abs=0.006)
