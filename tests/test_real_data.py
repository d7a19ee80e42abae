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


def test_translations_warn_of_five_talks_and_of_raters_who_are_not_shared_out_alike() -> None:
    file = DATA / "wmt_mqm_ted_ende" / "segment_scores.csv"
    roles = {"case": "seg_id", "label": "mqm_penalty", "rater": "rater"}
    with analyse_table(file, columns=roles, better="Nemo", than="HuaweiTSC") as bench:
        analysis = bench.analyse()
    warning = next(line for line in analysis.warnings if "not shared out alike" in line)
    assert "rater4 marked 63% of Nemo" in warning
    assert "25% of UEdin" in warning
    assert "As if all had been marked by the same raters" in warning
    assert any("--column cluster=doc" in line for line in analysis.warnings)
    assert warning in analysis.hypotheses[0].estimate.warnings
    with analyse_table(file, columns={**roles, "cluster": "doc"}, better="Nemo", than="HuaweiTSC") as bench:
        result = bench.analyse().hypotheses[0]
    assert result.verdict == "undecided"
    assert result.estimate.refused is not None
    assert result.estimate.refused.code == "TOO_FEW_CLUSTERS"


def test_experts_who_marked_everything_draw_no_such_warning() -> None:
    with analyse_table(SUMMEVAL, columns={"cluster": "doc_id"}) as bench:
        assert not [line for line in bench.analyse().warnings if "shared out" in line]
