"""Verdicts over random tables and plans: the interval that is shown is the one that decides, and missing is never a score."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairmark import analyse as analysing
from fairmark.records import Answer, Case, Failure, Grade, Message, Response
from fairmark.results import Analysis, HypothesisResult, as_json
from fairmark.rubric import Criterion, Level, Rubric
from fairmark.study import GraderSpec, Hypothesis, Plan, Study, SystemSpec
from fairmark.table import Cell, Row, Table

LEVELS = ("none", "some", "most", "all")
RUBRIC = Rubric(
    (
        Criterion.yes_no("safe", yes="safe", no="unsafe", gate=True),
        Criterion("steps", levels=tuple(Level(name, f"names {name}") for name in LEVELS), pass_at="most"),
    )
)
SYSTEMS = ("a", "b")


def build(
    outcomes: dict[tuple[int, str, int], tuple[str | None, str | None]],
    *,
    n: int,
    trials: int,
    clusters: int | None,
    hypotheses: tuple[Hypothesis, ...],
    alpha: float = 0.025,
    rubric: Rubric = RUBRIC,
) -> Table:
    """A table from outcomes: (case, system, trial) -> labels of safe and steps; None is missing, an absent key a failed call."""
    cases = tuple(
        Case(f"c{i}", (Message("user", "?"),), fields={"customer": f"k{i % clusters}" if clusters else "", "variety": "xyz"[i % 3]})
        for i in range(n)
    )
    study = Study(
        name="random",
        question="?",
        folder=__import__("pathlib").Path(),
        cases=cases,
        systems={name: SystemSpec(name, "recorded", recorded={}) for name in SYSTEMS},
        rubric=rubric,
        graders={c: GraderSpec(c, "check", (c,), check="x") for c in ("safe", "steps")},
        hypotheses=hypotheses,
        cluster="customer" if clusters else None,
        groups=("variety",),
        trials=trials,
        plan=Plan(alpha=alpha),
    )
    rows = []
    for i, case in enumerate(cases):
        for system in SYSTEMS:
            for trial in range(1, trials + 1):
                labels = outcomes.get((i, system, trial))
                key = f"{i}{system}{trial}"
                if labels is None:
                    failed = Response(key, case.id, system, trial, "1", failure=Failure("timeout", "x", "late"))
                    rows.append(Row(case, system, trial, failed))
                    continue
                cells = tuple(
                    Cell(c, "check", c, "", 0, Grade(key + c, case.id, c, c, label=label) if label is not None else None)
                    for c, label in zip(("safe", "steps"), labels, strict=True)
                )
                rows.append(Row(case, system, trial, Response(key, case.id, system, trial, "1", Answer("x")), cells))
    return Table(study, tuple(rows))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    n = draw(st.integers(1, 30))
    trials = draw(st.sampled_from([1, 1, 1, 2]))
    clusters = draw(st.sampled_from([None, None, 3, 8, 15]))
    quality = {name: draw(st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0])) for name in SYSTEMS}
    holes = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0]))
    rng = draw(st.randoms(use_true_random=False))
    outcomes: dict[tuple[int, str, int], tuple[str | None, str | None]] = {}
    for i in range(n):
        for name in SYSTEMS:
            for trial in range(1, trials + 1):
                if rng.random() < holes / 2:
                    continue
                good = rng.random() < quality[name]
                safe: str | None = "yes" if rng.random() < 0.5 + quality[name] / 2 else "no"
                steps: str | None = rng.choice(LEVELS[2:] if good else LEVELS[:2])
                outcomes[i, name, trial] = (
                    None if rng.random() < holes / 2 else safe,
                    None if rng.random() < holes / 2 else steps,
                )
    on = st.sampled_from(["score", "steps", "steps>=most", "steps>=some", "safe", "safe>=yes"])
    margin = st.sampled_from([0.0, 0.05, 0.2, 0.5])
    hypotheses = []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["better", "at_least", "at_most", "no_worse_than"]))
        pair = kind in ("better", "no_worse_than")
        bound = draw(margin) if pair else draw(st.sampled_from([0.0, 0.1, 0.5, 0.8, 1.0]))
        hypotheses.append(
            Hypothesis(f"H{number}", kind, "a", draw(on), "", "b" if pair else None, bound, primary=draw(st.booleans()))  # type: ignore[arg-type]
        )
    alpha = draw(st.sampled_from([0.025, 0.05, 0.005]))
    return build(outcomes, n=n, trials=trials, clusters=clusters, hypotheses=tuple(hypotheses), alpha=alpha)


def analysis_of(table: Table, **options: Any) -> Analysis:
    return analysing.analyse(table, frozen=None, wave="1", at=0, **options)


def expected_verdict(result: HypothesisResult) -> str:
    """The verdict that a reader takes from the shown interval alone."""
    low, high = result.estimate.low, result.estimate.high
    if low is None or high is None:
        return "undecided"
    bound = -result.margin if result.kind == "no_worse_than" else result.margin
    if result.kind == "at_most":
        return "supported" if high < bound else "refuted" if low > bound else "undecided"
    return "supported" if low > bound else "refuted" if high < bound else "undecided"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables())
def test_verdict_and_shown_interval_never_disagree(table: Table) -> None:
    analysis = analysis_of(table)
    as_json(analysis)  # raises on NaN and infinity
    for result in analysis.hypotheses:
        assert result.verdict == expected_verdict(result), result
        if result.estimate.refused is not None:
            assert result.estimate.refused.next
            continue
        estimate = result.estimate
        assert estimate.low is not None and estimate.high is not None and estimate.value is not None
        assert estimate.low <= estimate.value + 1e-9 and estimate.value <= estimate.high + 1e-9
        assert result.p_support is not None and 0 <= result.p_support <= 1
        assert result.alpha_support is not None and result.alpha_support <= table.study.plan.alpha


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), st.randoms(use_true_random=False))
def test_more_failures_never_raise_a_lower_bound_nor_lower_an_upper_one(table: Table, rng: Any) -> None:
    def spoil(row: Row) -> Row:
        if rng.random() > 0.3:
            return row
        failure = Failure("server_error", "x", "500")
        return replace(row, response=Response("k", row.case.id, row.system, row.trial, "1", failure=failure), cells=())

    worse = Table(table.study, tuple(spoil(row) for row in table.rows))
    for system in SYSTEMS:
        for on in ("steps>=most", "steps", "score"):
            before, after = table.metric(system, on), worse.metric(system, on)
            assert len(before.low) == len(after.low)
            assert after.low.mean() <= before.low.mean() + 1e-12
            assert after.high.mean() >= before.high.mean() - 1e-12


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(table: Table, rng: Any) -> None:
    rows = list(table.rows)
    rng.shuffle(rows)
    shuffled = Table(table.study, tuple(rows))
    for before, after in zip(analysis_of(table).systems, analysis_of(shuffled).systems, strict=True):
        assert before.score.value is None or after.score.value is not None
        if before.score.value is not None and after.score.value is not None:
            assert math.isclose(before.score.value, after.score.value, abs_tol=1e-9)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables())
def test_planned_is_answered_and_failed_and_pending(table: Table) -> None:
    analysis = analysis_of(table)
    for system in analysis.systems:
        assert system.planned == system.answered + system.failed + system.pending
        assert sum(system.failures.values()) == system.failed
    for result in analysis.criteria:
        assert result.planned == result.marked + result.failed + result.pending


def _plain(n: int, pass_a: int, pass_b: int, hypotheses: tuple[Hypothesis, ...], holes: int = 0) -> Table:
    outcomes: dict[tuple[int, str, int], tuple[str | None, str | None]] = {}
    for i in range(n):
        outcomes[i, "a", 1] = ("yes", "all" if i < pass_a else "none")
        if i >= holes:
            outcomes[i, "b", 1] = ("yes", "all" if i < pass_b else "none")
    return build(outcomes, n=n, trials=1, clusters=None, hypotheses=hypotheses)


BETTER = Hypothesis("H1", "better", "a", "steps>=most", "", "b", 0.05, primary=True)


def test_a_clear_difference_is_supported_and_its_mirror_refuted() -> None:
    mirror = Hypothesis("H2", "better", "b", "steps>=most", "", "a", 0.05, primary=True)
    first, second = analysis_of(_plain(60, 50, 20, (BETTER, mirror))).hypotheses
    assert (first.verdict, second.verdict) == ("supported", "refuted")
    assert first.estimate.value == 0.5
    assert (first.wins, first.losses, first.ties) == (30, 0, 30)


def test_no_difference_is_undecided_and_says_what_would_have_been_noticed() -> None:
    result = analysis_of(_plain(60, 30, 30, (BETTER,))).hypotheses[0]
    assert result.verdict == "undecided"
    assert result.smallest_visible is not None and result.smallest_visible > 0.03
    assert "add cases" in result.next


def test_missing_marks_widen_the_interval_to_both_completions() -> None:
    whole = analysis_of(_plain(60, 50, 20, (BETTER,))).hypotheses[0].estimate
    holes = analysis_of(_plain(60, 50, 20, (BETTER,), holes=12)).hypotheses[0].estimate
    assert holes.n_missing == 12
    assert whole.low is not None and holes.low is not None and whole.high is not None and holes.high is not None
    # at best for a, b fails all twelve, which it passed: twelve sixtieths more
    assert holes.low_if_worst == 0.5
    assert math.isclose(holes.high_if_best or 0, 0.7)
    assert holes.high > whole.high


def test_holm_judges_the_second_of_two_primary_claims_at_the_full_level() -> None:
    second = Hypothesis("H2", "at_least", "a", "steps>=most", "", None, 0.6, primary=True)
    results = analysis_of(_plain(60, 50, 20, (BETTER, second))).hypotheses
    assert sorted(r.alpha_support or 0 for r in results) == [0.0125, 0.025]
    alone = analysis_of(_plain(60, 50, 20, (second,))).hypotheses[0]
    assert alone.alpha_support == 0.025


def test_marks_by_an_unchecked_llm_grader_decide_nothing() -> None:
    table = _plain(60, 50, 20, (BETTER,))
    by_llm = replace(table.study, graders={**table.study.graders, "steps": GraderSpec("steps", "llm", ("steps",))})
    rows = tuple(
        replace(row, cells=tuple(replace(c, kind="llm") if c.criterion == "steps" else c for c in row.cells)) for row in table.rows
    )
    result = analysis_of(Table(by_llm, rows)).hypotheses[0]
    assert result.verdict == "undecided"
    assert result.estimate.refused is not None and result.estimate.refused.code == "UNCALIBRATED_GRADER"
    assert result.estimate.value is None


def test_five_clusters_are_refused_with_a_next_step() -> None:
    outcomes = {(i, s, 1): ("yes", "all" if s == "a" else "none") for i in range(30) for s in SYSTEMS}
    result = analysis_of(build(outcomes, n=30, trials=1, clusters=5, hypotheses=(BETTER,))).hypotheses[0]  # type: ignore[arg-type]
    assert result.verdict == "undecided"
    assert result.estimate.refused is not None and result.estimate.refused.code == "TOO_FEW_CLUSTERS"


def test_small_groups_are_words_and_not_dots() -> None:
    groups = analysis_of(_plain(12, 9, 3, (BETTER,))).groups
    assert {group.estimate.refused.code for group in groups if group.estimate.refused} == {"TOO_FEW_TO_SAY"}
