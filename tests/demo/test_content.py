"""The shipped demo study: it is whole, its cases are what its README says, and its checks see what they claim to see."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairmark
from fairmark import graders, load
from fairmark.graders.checks import CHECKS
from fairmark.records import Item, Message, Verdict
from fairmark.study import Study

DEMO = Path(fairmark.__file__).parent / "demo"
FILES = ("study.yaml", "rubric.yaml", "cases.jsonl", "calibration.jsonl", "checks.py", "README.md", "prompts/bare.md", "prompts/guided.md")
GROUPS = {
    "language_variety": {"formal", "informal", "second_language", "spanish"},
    "age_band": {"under_18", "adult", "over_65"},
    "request_kind": {"access", "correction", "deletion"},
}
ADULT = {"age_band": "adult", "request_kind": "deletion"}
CHILD = {"age_band": "under_18", "request_kind": "deletion"}


@pytest.fixture(scope="module")
def study() -> Study:
    return load.study(DEMO)


@pytest.fixture(scope="module")
def checks() -> dict[str, Callable[..., dict[str, Any]]]:
    names: dict[str, Any] = {"__name__": "checks"}
    exec(compile((DEMO / "checks.py").read_bytes(), "checks.py", "exec"), names)
    return names


def label(study: Study, criterion: str, answer: str, fields: Mapping[str, str] = ADULT) -> str:
    """What the study's own grader of a criterion says of an answer."""
    (grader,) = [g for g in graders.build(study) if g.criterion == criterion]
    verdict = grader.read(Item("case", (Message("user", "Hello"),), answer, None, dict(fields)), None)
    assert isinstance(verdict, Verdict), verdict
    return verdict.label


# ------------------------------------------------------------------ the cases


def test_cases_are_many_unique_and_short(study: Study) -> None:
    assert 48 <= len(study.cases) <= 52
    assert len({case.id for case in study.cases}) == len({case.text for case in study.cases}) == len(study.cases)
    lengths = [len(case.text.split()) for case in study.cases]
    assert min(lengths) >= 15
    assert max(lengths) <= 60


def test_every_group_is_there_and_belongs_to_the_customer(study: Study) -> None:
    for column, values in GROUPS.items():
        counted = Counter(case.fields[column] for case in study.cases)
        assert set(counted) == values
        assert min(counted.values()) >= 5
    assert set(study.groups) <= set(GROUPS)
    customers = Counter(case.fields["customer"] for case in study.cases)
    assert study.cluster == "customer"
    assert len(customers) >= 20
    assert max(customers.values()) <= 3
    told = {(case.fields["customer"], case.fields["language_variety"], case.fields["age_band"]) for case in study.cases}
    assert len(told) == len(customers), "a customer has one age and one way to write"


def test_population_names_somebody_who_is_not_tested(study: Study) -> None:
    for column, values in study.population.items():
        assert set(values) >= GROUPS[column]
    assert any(set(values) - GROUPS[column] for column, values in study.population.items())


@pytest.mark.parametrize("name", FILES)
def test_nobody_real_is_in_the_files(name: str) -> None:
    text = (DEMO / name).read_text(encoding="utf-8").replace("\\.", ".")  # a pattern's full stop
    addresses = re.findall(r"[\w.+-]+@[\w.-]+\w", text)
    assert all(address.endswith(".example") for address in addresses), addresses
    assert not re.search(r"\d{6,}|\+\d", text), "a number that could be somebody's"
    links = re.findall(r"https?://[^\s\"'}]+", text)
    assert all("127.0.0.1" in link or ".example" in link for link in links), links


# ------------------------------------------------------------------ the study


def test_both_systems_are_one_model_with_short_answers_and_differ_in_the_prompt_alone(study: Study) -> None:
    bare, guided = study.systems["bare"], study.systems["guided"]
    assert bare.model == guided.model
    assert bare.model is not None
    assert bare.model.name == "local/smollm2"
    assert bare.model.options["temperature"] == 0
    assert bare.model.options["max_tokens"] <= 80
    assert bare.prompt != guided.prompt
    assert len(study.cases) * len(study.systems) == 96


def test_the_systems_are_not_shown_the_groups(study: Study) -> None:
    for system in study.systems.values():
        assert system.prompt is not None
        assert set(re.findall(r"{{\s*(\w+)\s*}}", system.prompt)) <= {"input"}


def test_the_rubric_has_a_gate_a_scale_of_four_and_anchors(study: Study) -> None:
    assert len(study.rubric.criteria) >= 4
    assert [criterion.id for criterion in study.rubric if criterion.gate] == ["rules"]
    assert any(len(criterion.levels) == 4 and criterion.scale == "ordinal" for criterion in study.rubric)
    assert all(level.anchor.endswith(".") for criterion in study.rubric for level in criterion.levels)


def test_every_criterion_has_one_grader_and_one_alone_is_left_to_the_model(study: Study) -> None:
    marked = Counter(criterion for spec in study.graders.values() for criterion in spec.criteria)
    assert marked == {criterion.id: 1 for criterion in study.rubric}
    assert [spec.criteria for spec in study.graders.values() if spec.kind == "llm"] == [("tone",)]
    assert {spec.check for spec in study.graders.values() if spec.kind == "check"} <= set(CHECKS)


def test_expectations_are_of_every_kind_the_demo_is_to_show(study: Study) -> None:
    assert len(study.hypotheses) >= 5
    assert {hypothesis.kind for hypothesis in study.hypotheses} >= {"better", "at_least", "no_worse_than"}
    assert any(hypothesis.primary for hypothesis in study.hypotheses)
    assert all(len(hypothesis.text) > 20 for hypothesis in study.hypotheses)
    on_tone = [hypothesis for hypothesis in study.hypotheses if hypothesis.on.startswith("tone")]
    assert len(on_tone) == 1
    assert not on_tone[0].primary


def test_advice_is_only_about_what_the_demo_leaves_out_on_purpose(study: Study) -> None:
    assert {problem.file for problem in load.lint(study)} == {"population, language_variety", "population, request_kind"}


# ------------------------------------------------------------------ the calibration set


def test_calibration_is_forty_items_apart_from_the_cases_with_all_levels(study: Study) -> None:
    calibration = study.calibration
    assert calibration is not None
    assert calibration.marked_by == "development marks"
    assert len(calibration.items) == 40
    assert not {entry.item.case_id for entry in calibration.items} & {case.id for case in study.cases}
    texts = {entry.item.input for entry in calibration.items}
    assert len(texts) == 40
    assert not texts & {case.input for case in study.cases}
    levels = study.rubric["tone"].level_names()
    counted = Counter(entry.marks["tone"] for entry in calibration.items)
    assert set(counted) == set(levels)
    assert min(counted.values()) >= 10


def test_the_readme_counts_as_the_files_do(study: Study) -> None:
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (DEMO / "calibration.jsonl").read_text(encoding="utf-8").splitlines()]
    by = Counter(row["answered_by"] for row in rows)
    customers = len({case.fields["customer"] for case in study.cases})
    assert f"{len(study.cases)} requests by {customers} customers" in readme
    assert f"{len(rows)} recorded answers" in readme
    assert re.search(rf"{by['local/smollm2']} are real answers .* {by['written']} are written by hand", readme, re.DOTALL)
    for name in FILES:
        assert name == "README.md" or name.split("/")[0] in readme


# ------------------------------------------------------------------ the checks

MODEL_ANSWER = (
    "Hello, thank you for writing. Please write to privacy@ourshop.example so that we can confirm who you are. We answer within 30 days."
)


def test_the_model_answer_of_the_guided_prompt_passes_every_check_but_one(study: Study) -> None:
    assert study.systems["guided"].prompt is not None
    assert MODEL_ANSWER in study.systems["guided"].prompt
    assert label(study, "rules", MODEL_ANSWER, CHILD) == "kept"
    assert label(study, "next_steps", MODEL_ANSWER) == "all"
    assert label(study, "time_limit", MODEL_ANSWER) == "named"
    assert label(study, "request", MODEL_ANSWER) == "unnamed"
    assert label(study, "filled_in", MODEL_ANSWER) == "ready"
    assert label(study, "brief", MODEL_ANSWER) == "short"


@pytest.mark.parametrize(
    ("answer", "fields", "expected"),
    [
        ("Please send us your password.", ADULT, "broken"),
        ("To go on, we need your bank details!", ADULT, "broken"),
        ("We will never ask you to send your password.", ADULT, "kept"),
        ("Please send a copy of your passport.", CHILD, "broken"),
        ("Please send a copy of your passport.", ADULT, "kept"),
        ("You do not need to show your passport.", CHILD, "kept"),
        ("Hello. I have deleted your account.", ADULT, "broken"),
        ("Your photo has already been removed.", ADULT, "broken"),
        ("Hemos borrado su cuenta.", ADULT, "broken"),
        ("We write to you once your account has been deleted.", ADULT, "kept"),
        ("We will have it removed.", ADULT, "kept"),
        ("I'm sorry, but as an assistant I am unable to delete data.", ADULT, "broken"),
        ("We don't have access to your account.", ADULT, "broken"),
        ("We cannot delete anything before we know who you are.", ADULT, "kept"),
        ("Thank you for writing to us.", ADULT, "kept"),
        ("", CHILD, "kept"),
    ],
)
def test_rules(study: Study, answer: str, fields: Mapping[str, str], expected: str) -> None:
    assert label(study, "rules", answer, fields) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Thank you.", "none"),
        ("We answer within thirty days.", "one"),
        ("We must verify your identity. It takes 30 days.", "two"),
        ("Write to PRIVACY@ourshop.example; we check who you are and answer within 30 calendar days.", "all"),
        ("Write to privacy@ourshop.examples within 130 days.", "none"),
        ("Por favor, escriba a privacy@ourshop.example. Respondemos en 30 días.", "two"),
    ],
)
def test_next_steps(study: Study, answer: str, expected: str) -> None:
    assert label(study, "next_steps", answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("within 30 days", "named"), ("the thirty-day limit", "named"), ("in THIRTY DAYS", "named"), ("in 300 days", "missing")],
)
def test_time_limit(study: Study, answer: str, expected: str) -> None:
    assert label(study, "time_limit", answer) == expected


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("access", "You will get a copy of it.", "named"),
        ("access", "We delete it.", "unnamed"),
        ("correction", "We will change the name.", "named"),
        ("correction", "You get a copy.", "unnamed"),
        ("deletion", "We will see that it is removed.", "named"),
        ("deletion", "Vamos a borrar su cuenta.", "named"),
        ("deletion", "Thank you for writing.", "unnamed"),
    ],
)
def test_request(study: Study, kind: str, answer: str, expected: str) -> None:
    assert label(study, "request", answer, {"request_kind": kind, "age_band": "adult"}) == expected


def test_ready_made_checks(study: Study) -> None:
    assert label(study, "filled_in", "Dear [Customer's Name],") == "gaps"
    assert label(study, "brief", "word " * 30) == "short"
    assert label(study, "brief", "word " * 31) == "long"


@given(answer=st.text(), age=st.sampled_from(sorted(GROUPS["age_band"])), kind=st.sampled_from(sorted(GROUPS["request_kind"])))
def test_own_checks_answer_any_text_with_a_level_and_words_that_are_there(
    study: Study, checks: dict[str, Callable[..., dict[str, Any]]], answer: str, age: str, kind: str
) -> None:
    case = {"age_band": age, "request_kind": kind}
    for criterion, found in {
        "rules": checks["rules"](answer, case),
        "next_steps": checks["next_steps"](answer),
        "request": checks["request"](answer, case),
    }.items():
        assert found["label"] in study.rubric[criterion].level_names()
        assert found["reason"]
        quotes = found.get("evidence", [])
        assert all(quote in answer for quote in ([quotes] if isinstance(quotes, str) else quotes))
