"""An LLM grader marks all answers and people some: the figures that decide are corrected by people's marks, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks.grids.studies import LEVELS, Drawn, World, draw

from fairmark import report, stats
from fairmark.analyse import analyse
from fairmark.records import Failure, Response
from fairmark.results import HypothesisResult
from fairmark.study import Hypothesis
from fairmark.table import Cell, Row, Table

RATES = {"solved": (0.6, 0.7), "brief": (0.5, 0.6), "safe": (0.97, 0.98), "kind": (0.6, 0.75), "clear": (0.7, 0.8)}
CLEAR = Hypothesis("H", "at_least", "a", "clear>=yes", margin=0.5, primary=True)
ANALYSED = {"frozen": None, "wave": "1", "at": 1}


def drawn(*hypotheses: Hypothesis, seed: int = 3, **changes: Any) -> Drawn:
    return draw(replace(World(RATES), **changes), hypotheses or (CLEAR,), np.random.default_rng(seed))


def judged(table: Table) -> HypothesisResult:
    return analyse(table, **ANALYSED).hypotheses[0]


def marks_of(table: Table, **changes: Any) -> Table:
    """The same table with the people on `clear` described otherwise."""
    study = table.study
    people = replace(study.graders["people on clear"], **changes)
    return Table(replace(study, graders={**study.graders, people.name: people}), table.rows)


def cells(table: Table, change: Callable[[Row, Cell], Cell]) -> Table:
    rows = tuple(replace(row, cells=tuple(change(row, cell) for cell in row.cells)) for row in table.rows)
    return Table(table.study, rows)


def arrays(table: Table, system: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts, labels and clusters, read from the rows by hand."""
    verdict, label, cluster = [], [], []
    for row in table.rows:
        if row.system != system:
            continue
        said = {cell.kind: cell.grade.label for cell in row.cells if cell.criterion == "clear" and cell.grade is not None}
        verdict.append({"no": 0, "yes": 1, None: 2}[said["llm"]])
        label.append({"no": 0, "yes": 1, None: -1}[said["human"]])
        cluster.append(row.case.fields["customer"])
    return np.array(verdict), np.array(label), np.unique(cluster, return_inverse=True)[1]


def test_a_rate_is_that_of_the_statistic_on_the_same_arrays() -> None:
    table = drawn().table
    found = judged(table)
    verdict, label, cluster = arrays(table, "a")
    expected = stats.corrected_rate(verdict, label, cluster)
    assert found.estimate.value == expected.value
    assert (found.estimate.low, found.estimate.high) == (expected.low, expected.high)
    assert found.estimate.scorer == "judge-corrected"
    assert any("corrected by theirs" in line for line in found.design)
    assert "corrected by people's marks" in found.why
    assert any("40 clusters are the units" in line for line in found.design)


def test_a_difference_is_the_first_system_minus_the_other() -> None:
    table = drawn(Hypothesis("H", "better", "b", "clear>=yes", than="a", margin=0.0, primary=True)).table
    found = judged(table)
    (va, la, cluster), (vb, lb, _) = arrays(table, "a"), arrays(table, "b")
    expected = stats.corrected_difference(va, la, vb, lb, cluster)
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (expected.value, expected.low, expected.high)
    turned = judged(drawn(Hypothesis("H", "better", "a", "clear>=yes", than="b", margin=0.0, primary=True)).table)
    assert turned.estimate.value == pytest.approx(-(expected.value or 0))


def test_levels_and_their_mean_are_corrected_too() -> None:
    table = drawn(Hypothesis("H", "at_least", "a", "kind", margin=0.3)).table
    analysis = analyse(table, **ANALYSED)
    assert analysis.hypotheses[0].estimate.method == "stratified by the grader's level, Korn-Graubard"
    kind = next(result for result in analysis.criteria if result.criterion == "kind")
    assert kind.scorer == "judge-corrected"  # before the raw ones
    assert [level.level for level in kind.levels] == list(LEVELS)
    assert sum(level.share.value or 0 for level in kind.levels) == pytest.approx(1)
    assert kind.planned == kind.marked + kind.failed + kind.pending
    assert sum(level.count for level in kind.levels) == pytest.approx(kind.planned, abs=2)  # of all answers, each level rounded
    raw = [result.scorer for result in analysis.criteria if result.criterion == "kind" and result.system == "a"]
    assert raw == ["judge-corrected", "human", "judge-raw"]
    people = next(result for result in analysis.criteria if result.criterion == "kind" and result.scorer == "human")
    assert (people.planned, people.marked, people.failed, people.pending) == (80, 80, 0, 0)  # nobody was asked about the others


def test_a_score_with_a_judged_criterion_is_corrected_by_whole_marked_answers() -> None:
    world = World(RATES, marks=80, planned=False)
    base = draw(world, (Hypothesis("H", "at_least", "a", "score", margin=0.3),), np.random.default_rng(5)).table
    rubric = replace(
        base.study.rubric, criteria=tuple(replace(c, weight=1.0, gate=False) if c.id == "clear" else c for c in base.study.rubric)
    )
    found = judged(Table(replace(base.study, rubric=rubric), base.rows))
    assert found.estimate.refused is None
    assert found.estimate.scorer == "judge-corrected"
    assert found.estimate.method == "stratified by the grader's score, Korn-Graubard"


def test_a_group_is_corrected_by_its_own_marks() -> None:
    analysis = analyse(drawn(marks=200).table, **ANALYSED)
    assert {group.estimate.scorer for group in analysis.groups if group.on == "clear>=yes"} == {"judge-corrected"}


# ------------------------------------------------------------ what is missing


def fail(table: Table, places: set[int]) -> Table:
    rows = []
    for place, row in enumerate(table.rows):
        if place in places:
            gone = Response(f"x{place}", row.case.id, row.system, row.trial, "1", failure=Failure("timeout", "x", "late"))
            row = Row(row.case, row.system, row.trial, gone)
        rows.append(row)
    return Table(table.study, tuple(rows))


def test_failed_answers_only_widen() -> None:
    table = drawn().table
    of_a = [place for place, row in enumerate(table.rows) if row.system == "a"]
    before = judged(table).estimate
    for count in (3, 12, 40):
        after = judged(fail(table, set(of_a[:count]))).estimate
        assert before.low is not None and before.high is not None and after.low is not None and after.high is not None
        assert after.high - after.low > before.high - before.low
        assert after.low < before.low
        assert after.n_missing == count
        before = after


def test_unreadable_verdicts_are_a_stratum_of_their_own() -> None:
    table = drawn(marks=120, planned=False).table

    def lose(row: Row, cell: Cell) -> Cell:
        if cell.kind == "llm" and cell.criterion == "clear" and int(row.case.id[1:]) % 3 == 0:
            assert cell.grade is not None
            return replace(cell, grade=replace(cell.grade, label=None, failure=Failure("unreadable_grade", "judge", "what?")))
        return cell

    found = judged(cells(table, lose)).estimate
    verdict, label, cluster = arrays(cells(table, lose), "a")
    assert np.count_nonzero(verdict == 2) > 50
    assert found.value == stats.corrected_rate(verdict, label, cluster).value
    assert found.n_missing == 0  # people's marks speak for these answers as well


def test_a_person_who_cannot_tell_leaves_both_ends_open() -> None:
    table = drawn().table
    asked = [
        row.case.id
        for row in table.rows
        for cell in row.cells
        if row.system == "a" and cell.kind == "human" and cell.criterion == "clear" and cell.grade is not None and cell.grade.label
    ]

    def doubt(row: Row, cell: Cell) -> Cell:
        if cell.kind == "human" and cell.criterion == "clear" and row.system == "a" and row.case.id == asked[0] and cell.grade is not None:
            return replace(cell, grade=replace(cell.grade, label="cannot tell", failure=None))
        return cell

    before, after = judged(table).estimate, judged(cells(table, doubt)).estimate
    assert after.n_missing == 1
    assert before.low is not None and before.high is not None and after.low is not None and after.high is not None
    assert after.low <= before.low <= before.high <= after.high
    assert after.high - after.low > before.high - before.low


def test_marks_of_answers_that_have_changed_are_no_marks() -> None:
    def stale(row: Row, cell: Cell) -> Cell:
        if cell.kind == "human" and cell.grade is not None and cell.grade.label is not None:
            return replace(cell, grade=replace(cell.grade, label=None, failure=Failure("stale_mark", "people", "given to another answer")))
        return cell

    found = judged(cells(drawn().table, stale))
    assert found.verdict == "undecided"
    assert found.estimate.refused is not None
    assert found.estimate.refused.code == "NO_DATA"
    assert "let people mark" in found.next


# ------------------------------------------------------------ how marks were chosen


def code(found: HypothesisResult) -> str:
    assert found.verdict == "undecided"
    assert found.estimate.refused is not None
    assert found.next == found.estimate.refused.next
    return found.estimate.refused.code


def test_how_marks_were_chosen_decides_what_they_may_correct() -> None:
    table = drawn().table
    marks = table.study.graders["people on clear"].marks
    assert judged(table).estimate.refused is None
    assert code(judged(marks_of(table, marks=tuple(replace(mark, probability=None) for mark in marks)))) == "NEEDS_WEIGHTS"
    uneven = tuple(replace(mark, probability=0.2 + 0.1 * (place % 5)) for place, mark in enumerate(marks))
    assert code(judged(marks_of(table, marks=uneven))) == "WEIGHTS_DO_NOT_ADD_UP"
    assert code(judged(marks_of(table, chosen="self-selected"))) == "MARKS_NOT_RANDOM"
    assert code(judged(marks_of(table, chosen="unknown"))) == "MARKS_NOT_RANDOM"


def test_marks_with_other_unequal_chances_count_for_those_they_stand_for() -> None:
    table = drawn(marks=250, planned=False).table
    n = len(table.study.cases)
    rng = np.random.default_rng(1)
    variety = {case.id: case.fields["variety"] for case in table.study.cases}
    chance = {mark.case_id: 0.8 if variety[mark.case_id] == "g0" else 0.4 for mark in table.study.graders["people on clear"].marks}
    kept = {case for case, share in chance.items() if rng.uniform() < share}
    marks = tuple(
        replace(mark, probability=chance[mark.case_id] * 250 / n)
        for mark in table.study.graders["people on clear"].marks
        if mark.case_id in kept
    )

    def unasked(row: Row, cell: Cell) -> Cell:
        if cell.kind == "human" and cell.criterion == "clear" and row.case.id not in kept and cell.grade is not None:
            return replace(cell, grade=replace(cell.grade, label=None, failure=Failure("not_recorded", "people", "not asked")))
        return cell

    found = judged(marks_of(cells(table, unasked), marks=marks, chosen="stratified"))
    weight = np.array([1 / mark.probability for mark in marks if mark.system == "a" and mark.probability])
    passed = np.array([mark.label == "yes" for mark in marks if mark.system == "a"])
    assert found.estimate.value == pytest.approx(float(weight @ passed / weight.sum()))
    assert found.estimate.scorer == "human"
    assert any("unequal chances" in line for line in found.design)


def test_a_verdict_nobody_marked_leaves_a_random_sample_to_speak_for_itself() -> None:
    # a random sample of 20 answers holds hardly any of those that the grader fails
    table = drawn(marks=20, planned=False, icc=0.0, n_clusters=80, rates={**RATES, "clear": (0.97, 0.97)}, seed=9).table
    found = judged(table)
    assert found.estimate.refused is None
    assert found.estimate.scorer == "human"
    assert any("stand alone" in line for line in found.design)


def test_what_does_not_apply_is_not_corrected_by_guessing() -> None:
    table = drawn(planned=False).table

    def off(row: Row, cell: Cell) -> Cell:
        if cell.kind == "llm" and cell.criterion == "clear" and row.case.id == "c1" and cell.grade is not None:
            return replace(cell, grade=replace(cell.grade, label="not applicable", failure=None))
        return cell

    assert code(judged(cells(table, off))) == "NOT_APPLICABLE_UNCORRECTED"


def test_people_who_marked_everything_need_no_grader() -> None:
    table = drawn(planned=False, marks=40).table
    found = judged(marks_of(table, chosen="all"))
    assert found.estimate.scorer == "human"


def test_the_report_says_that_marks_were_corrected() -> None:
    analysis = analyse(drawn().table, **ANALYSED)
    page = report.render(analysis, (), format="html")
    assert "corrected to people’s marks" in page
    assert "Corrected by people’s marks" in page  # among the methods
