"""Receipts from real marks with known answers: SummEval's experts, and the judges and the model of LLM-Rubric."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairmark import load
from fairmark.calibrate import PeopleReceipt, Receipt
from fairmark.workbench import Workbench

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not beside this checkout")


def expected(part: str) -> Any:
    return json.loads((DATA / "EXPECTED.json").read_text(encoding="utf-8"))[part]


def rows_of(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(folder: Path, name: str, rows: Iterable[dict[str, object]]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def criteria(names: Iterable[str], levels: int) -> str:
    scale = "".join(f"      - '{level}': Level {level} of {levels}.\n" for level in range(1, levels + 1))
    return "criteria:\n" + "".join(f"  {name}:\n    question: How good is the {name}?\n    levels:\n{scale}" for name in names)


def test_summeval_experts_agree_as_published(tmp_path: Path) -> None:
    marks = rows_of("summeval/ratings_long.csv")
    names = list(dict.fromkeys(row["criterion"] for row in marks))
    cases, systems = ({row[column] for row in marks} for column in ("doc_id", "system"))
    written(tmp_path, "cases.jsonl", ({"id": case, "input": "a document"} for case in sorted(cases)))
    for system in systems:
        written(tmp_path, f"{system}.jsonl", ({"id": case, "output": f"{system} on {case}"} for case in sorted(cases)))
    (tmp_path / "rubric.yaml").write_text(criteria(names, 5), encoding="utf-8")
    study = ["study: summeval", "cases: cases.jsonl", "rubric: rubric.yaml", "systems:"]
    study += [f"  {system}: {{recorded: {system}.jsonl}}" for system in sorted(systems)]
    study += ["graders:", "  experts: {recorded: marks.csv, columns: {case: doc_id, label: rating}, chosen: all}"]
    (tmp_path / "study.yaml").write_text("\n".join(study) + "\n", encoding="utf-8")
    label = next(name for name in marks[0] if name not in ("doc_id", "system", "criterion", "rater"))
    with (tmp_path / "marks.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["doc_id", "system", "criterion", "rater", "rating"])
        writer.writerows([row["doc_id"], row["system"], row["criterion"], row["rater"], row[label]] for row in marks)
    with Workbench(tmp_path, memory=True, env={}) as bench:
        bench.run()
        receipts = {trust.criterion: trust.receipt for trust in bench.calibrate()}
    known = expected("summeval")
    for name in names:
        found = receipts[name]
        assert isinstance(found, PeopleReceipt) and found.alpha is not None and found.alpha_interval is not None
        assert found.alpha_interval.value == pytest.approx(known["alpha_interval"][name], abs=5e-5)
        assert found.alpha.value == pytest.approx(known["alpha_ordinal"][name], abs=5e-5)
        assert (found.n_people, found.n_marked, found.n_doubly) == (3, 1600, 1600)


def llm_rubric(folder: Path, *, marked: int | None) -> Workbench:
    """The dialogues with the judges' marks of Q0 (all of them, or so many drawn at random) and the model's likeliest level."""
    human = {row["text_id"]: row["Q0"] for row in rows_of("llm_rubric_real/human_wide.csv")}
    model = {row["text_id"]: row for row in rows_of("llm_rubric_real/llm_distributions.csv") if row["criterion"] == "Q0"}
    ids = sorted(human)
    kept = set(ids if marked is None else np.random.default_rng(4).choice(ids, size=marked, replace=False).tolist())
    written(folder, "cases.jsonl", ({"id": one, "input": "a dialogue"} for one in ids))
    written(folder, "answers.jsonl", ({"id": one, "output": f"dialogue {one}"} for one in ids))
    written(folder, "people.jsonl", ({"case": one, "label": human[one]} for one in ids if one in kept))
    said = []
    for one in ids:
        shares = [float(model[one][f"answer{level}_prob"]) for level in range(1, 5)]
        likeliest = int(np.argmax(shares))
        said.append({"case": one, "label": str(likeliest + 1), "confidence": round(shares[likeliest] / sum(shares), 6)})
    written(folder, "model.jsonl", said)
    (folder / "rubric.yaml").write_text(criteria(["satisfaction"], 4), encoding="utf-8")
    chosen = "all" if marked is None else "random"
    (folder / "study.yaml").write_text(
        "study: rubric\ncases: cases.jsonl\nrubric: rubric.yaml\nsystems:\n  assistant: {recorded: answers.jsonl}\ngraders:\n"
        f"  judges: {{recorded: people.jsonl, criterion: satisfaction, chosen: {chosen}}}\n"
        "  model: {recorded: model.jsonl, criterion: satisfaction, by: model, chosen: all}\n",
        encoding="utf-8",
    )
    bench = Workbench(folder, memory=True, env={})
    bench.run()
    return bench


def test_the_receipt_of_the_model_shows_the_published_error(tmp_path: Path) -> None:
    known = expected("llm_rubric_real_Q0")
    with llm_rubric(tmp_path, marked=None) as bench:
        found = next(trust.receipt for trust in bench.calibrate() if trust.grader == "model")
    assert isinstance(found, Receipt) and found.agreement is not None and found.severity is not None
    counts = np.array(found.agreement.confusion)
    assert counts.sum() == known["n"]
    human, model = np.indices(counts.shape)
    assert math.sqrt(float((counts * (human - model) ** 2).sum() / counts.sum())) == pytest.approx(known["argmax"]["rmse"], abs=5e-6)
    mean = {"human": (counts * human).sum() / counts.sum(), "model": (counts * model).sum() / counts.sum()}
    spread = {"human": (counts * (human - mean["human"]) ** 2).sum(), "model": (counts * (model - mean["model"]) ** 2).sum()}
    together = (counts * (human - mean["human"]) * (model - mean["model"])).sum()
    assert together / math.sqrt(spread["human"] * spread["model"]) == pytest.approx(known["argmax"]["pearson"], abs=5e-6)
    # the distance of the means, on the scale from 0 to 1 of four levels
    assert found.severity.value == pytest.approx((mean["model"] - mean["human"]) / 3, abs=1e-9)
    assert found.advice == "let people mark, drop this grader"


def test_a_share_of_marks_corrects_the_distribution_and_the_raw_one_is_poor(tmp_path: Path) -> None:
    human = [int(row["Q0"]) for row in rows_of("llm_rubric_real/human_wide.csv")]
    truth = sum(level == 4 for level in human) / len(human)
    with llm_rubric(tmp_path, marked=80) as bench:
        system = next(trust.receipt for trust in bench.calibrate() if trust.grader == "model").systems[0]  # type: ignore[union-attr]
        result = next(one for one in bench.analyse().criteria if one.criterion == "satisfaction")
    corrected = system.corrected
    assert corrected is not None and corrected.low is not None and corrected.low <= truth <= corrected.high
    assert system.raw is not None and abs(system.raw - truth) > 0.05
    assert result.pass_rate.value == pytest.approx(corrected.value, abs=1e-9)


def test_a_models_recorded_marks_decide_nothing_without_peoples(tmp_path: Path) -> None:
    llm_rubric(tmp_path, marked=None).close()
    study = load.study(tmp_path)
    alone = replace(study, graders={"model": study.graders["model"]})
    with Workbench(alone, memory=True, env={}) as bench:
        bench.run()
        trust = bench.calibrate()[0]
    assert trust.refused is not None and trust.refused.code == "UNCALIBRATED_GRADER"
