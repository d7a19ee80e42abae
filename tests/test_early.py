"""Deciding while answers come in: as a table says it, in the recorded order, whatever arrives first, and at little cost."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import load, report, stats
from fairmark.analyse import Frozen, analyse
from fairmark.analyse.early import Deciding, check_early, deciding, early_plans, stop_rules, units
from fairmark.errors import CannotDo
from fairmark.records import Answer, Case, Failure, Grade, Message, Response
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion, Level, Rubric
from fairmark.study import GraderSpec, Hypothesis, ModelSpec, Plan, Study, SystemSpec
from fairmark.table import Cell, Measure, Row, Table
from tests.stats.random_inputs import tried

RUBRIC = Rubric(
    (
        replace(Criterion.yes_no("solved", yes="it is", no="it is not"), not_applicable=True),
        Criterion("tone", "How kind?", (Level("cold", "curt"), Level("plain", "correct", 0.3), Level("kind", "warm")), pass_at="plain"),
        Criterion.yes_no("safe", yes="no papers", no="papers", gate=True),
    )
)
HYPOTHESES = (
    Hypothesis("H1", "better", "b", "solved>=yes", than="a", margin=0.05, worth_finding=0.3, primary=True),
    Hypothesis("H2", "at_least", "b", "solved>=yes", margin=0.5, worth_finding=0.8, primary=True),
    Hypothesis("H3", "no_worse_than", "b", "score", than="a", margin=0.1, primary=True),
    Hypothesis("H4", "at_most", "a", "tone", margin=0.6, worth_finding=0.4),
)


def study(n: int, *hypotheses: Hypothesis, cluster: bool = False, trials: int = 1, alpha: float = 0.1) -> Study:
    return Study(
        name="early",
        question="?",
        folder=Path(),
        cases=tuple(Case(f"c{i}", (Message("user", f"request {i}"),), fields={"who": f"k{i * 7 % 23 % (n // 2)}"}) for i in range(n)),
        systems={name: SystemSpec(name, "recorded", recorded={}) for name in "ab"},
        rubric=RUBRIC,
        graders={
            "rules": GraderSpec("rules", "check", ("solved", "safe"), check="x"),
            "counts": GraderSpec("counts", "check", ("tone",), check="x"),
        },
        hypotheses=hypotheses or HYPOTHESES,
        cluster="who" if cluster else None,
        trials=trials,
        plan=Plan(alpha=alpha, stop="when-decided"),
    )


def answered(case: Case, system: str, trial: int, labels: Sequence[str | None]) -> Row:
    """A row with one check's label on each criterion; None: it could not be read."""
    key = f"{case.id}{system}{trial}"
    cells = []
    for criterion, label in zip(RUBRIC, labels, strict=True):
        grader = "counts" if criterion.id == "tone" else "rules"
        failure = Failure("unreadable_grade", grader, "nothing there") if label is None else None
        cells.append(Cell(grader, "check", criterion.id, "", 0, Grade(key, case.id, criterion.id, grader, label=label, failure=failure)))
    return Row(case, system, trial, Response(key, case.id, system, trial, "1", Answer("x")), tuple(cells))


def drawn(of: Study, generator: random.Random, *, better: float, pending: float = 0.0) -> Table:
    """A table with passes, failures, unreadable and inapplicable marks, some of it still to come."""
    rows = []
    for case in of.cases:
        inapplicable = generator.random() < 0.1
        for system in of.systems:
            for trial in range(1, of.trials + 1):
                chance = generator.random()
                if generator.random() < pending:
                    rows.append(Row(case, system, trial, None))
                elif chance < 0.06:
                    failure = Failure("timeout", "x", "late")
                    rows.append(
                        Row(case, system, trial, Response(f"{case.id}{system}{trial}", case.id, system, trial, "1", failure=failure))
                    )
                else:
                    passes = generator.random() < 0.4 + better * (system == "b")
                    labels = [
                        NOT_APPLICABLE if inapplicable else "yes" if passes else "no",
                        generator.choice(["cold", "plain", "kind", CANNOT_TELL]),
                        generator.choice(["yes", "yes", "yes", "no", None]),
                    ]
                    rows.append(answered(case, system, trial, labels))
    return Table(of, tuple(rows))


# ------------------------------------------------------------ the same as a table says it


def by_arrays(table: Table, hypothesis: Hypothesis) -> dict[str, list[float | None] | float | tuple[()] | None]:
    """What each finished unit is worth, from the arrays that every other figure is made of."""
    of, n = table.study, len(table.study.cases)
    measured = (
        table.metric(hypothesis.system, hypothesis.on)
        if hypothesis.than is None
        else table.pairs(hypothesis.system, hypothesis.than, hypothesis.on)
    )
    count = np.bincount(measured.case, minlength=n)
    mean = np.bincount(measured.case, weights=measured.low, minlength=n) / np.maximum(count, 1)
    open_ = np.bincount(measured.case, weights=measured.low < measured.high, minlength=n) > 0
    waiting = {of.unit_of(row.case) for row in table.rows if row.response is None}
    found: dict[str, list[float | None]] = {}
    for place, case in enumerate(of.cases):
        values = found.setdefault(of.unit_of(case), [])
        if count[place]:
            values.append(None if open_[place] else float(mean[place]))
    ready = {unit: values for unit, values in found.items() if unit not in waiting}
    if of.cluster is not None:
        return dict(ready)
    return {unit: values[0] if values else () for unit, values in ready.items()}


@tried(30)
@given(st.integers(0, 2**32), st.booleans(), st.integers(1, 3), st.sampled_from([0.0, 0.01, 0.01, 0.02, 0.1]), st.sampled_from([0.0, 0.4]))
def test_a_table_and_its_cases_in_any_order_decide_alike(seed: int, clustered: bool, trials: int, pending: float, better: float) -> None:
    of, generator = study(36, cluster=clustered, trials=trials), random.Random(seed)
    table = drawn(of, generator, better=better, pending=pending)
    order = units(of, seed="s")
    one_by_one = Deciding(of, seed="s", secondary=True)
    by_case: dict[str, list[Row]] = {}
    for row in table.rows:
        by_case.setdefault(row.case.id, []).append(row)
    finished = [rows for rows in by_case.values() if all(row.response is not None for row in rows)]
    generator.shuffle(finished)
    for rows in finished:
        one_by_one.add(rows)
    whole = deciding(table, seed="s", secondary=True)
    assert whole.stop == one_by_one.stop
    for planned in early_plans(of, seed="s", secondary=True):
        assert planned.plan.refused is None
        claim = stats.Stopping(planned.plan)
        claim.update(stats.in_order(order, by_arrays(table, planned.hypothesis)))
        name = planned.hypothesis.id
        assert standing(claim) == standing(one_by_one.claims[name]) == standing(whole.claims[name])


def standing(claim: stats.Stopping) -> tuple[object, ...]:
    """All that a claim's account is made of, without the seconds that its intervals take."""
    return claim.state, claim.n_units, claim.p_support, claim.p_refute, claim.thinned(), claim._totals, claim._sizes


@tried(20)
@given(st.integers(0, 2**32), st.sampled_from(["score", "solved>=yes", "solved", "tone", "tone>=plain", "safe"]))
def test_a_row_alone_is_worth_what_it_is_among_all(seed: int, on: str) -> None:
    table = drawn(study(30, trials=2), random.Random(seed), better=0.2, pending=0.1)
    metric, measure = table.metric("b", on), Measure(table.study, on)
    alone = [(table._case_index[row.case.id], *ends) for row in table.of("b") if (ends := measure.bounds(row)) is not None]
    assert alone == list(zip(metric.case.tolist(), metric.low.tolist(), metric.high.tolist(), strict=True))


def test_people_are_heard_row_by_row_as_they_are_in_a_table() -> None:
    of = study(6, Hypothesis("H", "at_least", "a", "solved>=yes", margin=0.5, primary=True))
    by_people = GraderSpec("two", "recorded", ("solved",), chosen="random")
    of = replace(of, graders={**of.graders, "two": by_people})
    said: list[list[str | None]] = [["yes", "no"], ["yes"], [None], [], ["no", "yes", "yes"], [NOT_APPLICABLE]]
    rows = []
    for case, labels in zip(of.cases, said, strict=True):
        row = answered(case, "a", 1, ["no", "kind", "yes"])
        cells = tuple(
            Cell("two", "human", "solved", f"r{place}", 0, Grade("k", case.id, "solved", "two", f"r{place}", label=label))
            for place, label in enumerate(labels)
        )
        rows.append(replace(row, cells=(*row.cells, *cells)))
    table, measure = Table(of, tuple(rows)), Measure(of, "solved>=yes")
    assert [measure.bounds(row) for row in rows] == [(0.5, 0.5), (1, 1), (0, 1), None, (0.666666666667,) * 2, None]
    metric = table.metric("a", "solved>=yes")
    assert metric.low.tolist() == [0.5, 1, 0, 0.666666666667]


# ------------------------------------------------------------ order


def passing(of: Study, *, b: str = "yes", a: str = "no") -> dict[str, list[Row]]:
    return {case.id: [answered(case, name, 1, [label, "kind", "yes"]) for name, label in (("a", a), ("b", b))] for case in of.cases}


def test_a_pending_case_keeps_those_behind_it_waiting_and_a_failure_has_its_place() -> None:
    of = study(40, HYPOTHESES[1])
    rows, order = passing(of), units(of, seed=1)
    watch = Deciding(of, seed=1)
    for name in order[1:30]:
        watch.add(rows[name])
    assert watch.claims["H2"].n_units == 0
    assert not watch.early().stop
    late = Failure("timeout", "x", "late")
    watch.add([Row(row.case, row.system, 1, Response("k", row.case.id, row.system, 1, "1", failure=late)) for row in rows[order[0]]])
    found = watch.early().results["H2"]
    assert (found.n_units, found.n_missing, found.state) == (30, 1, "supported")
    assert watch.stop
    # an answer that was under way when it was decided is used all the same
    watch.add(rows[order[30]])
    assert watch.claims["H2"].n_units == 31
    with pytest.raises(ValueError, match="added before"):
        watch.add(rows[order[30]])
    with pytest.raises(ValueError, match="not finished"):
        watch.add([replace(row, response=None) for row in rows[order[31]]])


def test_rows_that_arrive_one_by_one_make_up_their_cases() -> None:
    of = study(20, HYPOTHESES[0], trials=2)
    table = drawn(of, random.Random(3), better=0.3)
    one_by_one, rows = Deciding(of, seed=1), list(table.rows)
    random.Random(4).shuffle(rows)
    for row in rows[:-1]:
        one_by_one.arrived(row)
    assert one_by_one.claims["H1"].n_units < 20
    one_by_one.arrived(rows[-1])
    assert standing(one_by_one.claims["H1"]) == standing(deciding(table, seed=1).claims["H1"])
    for row in table.rows[:3]:
        one_by_one.arrived(row)
    with pytest.raises(ValueError, match="added before"):
        one_by_one.arrived(table.rows[3])


def test_clusters_are_asked_and_taken_in_whole() -> None:
    of = study(40, HYPOTHESES[1], cluster=True)
    asked = [of.unit_of(case) for case in of.in_order(1)]
    order = units(of, seed=1)
    assert list(dict.fromkeys(asked)) == list(order)
    assert asked == sorted(asked, key=order.index)
    rows, watch = passing(of), Deciding(of, seed=1)
    first = [case.id for case in of.in_order(1) if of.unit_of(case) == order[0]]
    assert len(first) > 1
    for name in first[1:]:
        watch.add(rows[name])
    assert watch.claims["H2"].n_units == 0
    watch.add(rows[first[0]])
    assert watch.early().results["H2"].n_cases == len(first)


def test_a_case_more_leaves_the_others_in_their_order() -> None:
    more, fewer = study(41), study(40)
    order = [case.id for case in more.in_order("name/1")]
    assert [name for name in order if name != "c40"] == [case.id for case in fewer.in_order("name/1")]
    assert order != sorted(order)
    assert order != [case.id for case in more.in_order("name/2")]


def test_a_run_goes_on_until_each_primary_hypothesis_is_decided() -> None:
    of = study(60, HYPOTHESES[0], HYPOTHESES[1], replace(HYPOTHESES[1], id="H9", margin=0.9, worth_finding=0.99))
    watch = Deciding(of, seed=1)
    states = []
    for case in of.in_order(1):
        watch.add(passing(of)[case.id])
        states.append((watch.stop, *(claim.state for claim in watch.claims.values())))
    stopped = next(place for place, (stop, *_) in enumerate(states) if stop)
    assert list(states[stopped - 1][1:]).count("open") == 1
    assert set(states[-1][1:]) == {"supported"}


def test_what_applies_to_nobody_takes_its_place_and_says_nothing() -> None:
    of = study(30, replace(HYPOTHESES[1], worth_finding=0.9))
    watch = Deciding(of, seed=1)
    for place, case in enumerate(of.in_order(1)):
        label = NOT_APPLICABLE if place % 3 == 0 else "yes"
        watch.add([answered(case, name, 1, [label, "kind", "yes"]) for name in "ab"])
    found = watch.early().results["H2"]
    assert (found.n_units, found.n_cases, found.n_missing, found.value) == (30, 20, 0, 1.0)
    assert found.p_fixed == pytest.approx(0.5**20, rel=1e-3)


# ------------------------------------------------------------ refusals before anything is asked


def refused(of: Study) -> CannotDo:
    with pytest.raises(CannotDo) as raised:
        check_early(of, seed=1)
    return raised.value


def test_a_stop_needs_marks_that_come_with_the_answers() -> None:
    of = study(60)
    check_early(of, seed=1)
    judge = GraderSpec("judge", "llm", ("tone",), model=ModelSpec("openai", "m"))
    judged = replace(of, graders={"rules": of.graders["rules"], "judge": judge})
    error = refused(judged)
    assert error.code == "STOP_NEEDS_CHECK"
    assert "H3: only an LLM grader marks tone" in error.why
    assert "let a check mark tone" in error.next_step
    check_early(replace(judged, plan=Plan()), seed=1)
    assert not Deciding(judged, seed=1).stop
    assert set(Deciding(judged, seed=1).early().refused) == {"H3"}
    marked = GraderSpec("ana", "recorded", ("tone",), chosen="all")
    check_early(replace(of, graders={"rules": of.graders["rules"], "ana": marked}), seed=1)
    some = replace(marked, chosen="random")
    assert "people marked only some" in refused(replace(of, graders={"rules": of.graders["rules"], "ana": some})).why
    later = GraderSpec("people", "people", ("tone",), chosen="all")
    assert "people mark tone after the run" in refused(replace(of, graders={"rules": of.graders["rules"], "people": later})).why


def test_a_stop_needs_something_to_decide_that_can_be_decided() -> None:
    secondary = replace(HYPOTHESES[1], primary=False)
    assert refused(study(60, secondary)).code == "NOTHING_TO_DECIDE"
    assert "`primary: true`" in refused(study(60, secondary)).next_step
    assert not Deciding(study(60, secondary), seed=1).stop
    error = refused(study(6, replace(HYPOTHESES[1], margin=0.8, worth_finding=0.9)))
    assert (error.code, "allow more cases" in error.next_step) == ("CAN_NEVER_DECIDE", True)
    assert refused(study(60, replace(HYPOTHESES[1], worth_finding=0.4))).code == "NOTHING_WORTH_FINDING"
    unordered = early_plans(study(60), seed=None)[0].plan.refused
    assert unordered is not None
    assert unordered.code == "ORDER_NOT_RANDOM"


def test_the_rules_are_told_beforehand_with_what_they_cost() -> None:
    first, second = stop_rules(study(200, HYPOTHESES[0], HYPOTHESES[1]), seed=1)
    assert (first.hypothesis, first.most, first.unit, first.worth_finding) == ("H1", 200, "cases", 0.3)
    assert first.expected is not None
    assert first.expected_at_margin is not None
    assert 10 < first.expected < 80  # six times the margin shows soon
    assert "at most 200 cases, about" in first.headline()
    assert "half of alpha (0.025)" in second.rule  # half of a half of 0.1
    clustered = stop_rules(study(200, HYPOTHESES[1], cluster=True), seed=1)
    assert (clustered[0].unit, clustered[0].most, clustered[0].expected) == ("clusters", 23, None)
    assert clustered[0].headline() == "H2: at most 23 clusters"
    assert stop_rules(replace(study(200), plan=Plan()), seed=1) == ()


# ------------------------------------------------------------ a bank that is the whole matter


def bank(n: int, **changes: Any) -> Study:
    of = study(n, Hypothesis("H", "at_least", "b", "safe>=yes", margin=0.8, worth_finding=0.9, primary=True), alpha=0.05)
    return replace(of, plan=Plan(0.05, stop="when-decided", target="these-cases"), **changes)


def test_the_whole_bank_settles_what_it_says() -> None:
    of = bank(50)
    check_early(of, seed=1)
    names = [case.id for case in of.in_order(1)]

    def after(cases: int, failing: int) -> stats.StoppingResult:
        watch = Deciding(of, seed=1)
        for place, name in enumerate(names[:cases]):
            case = next(case for case in of.cases if case.id == name)
            fails = (place + 1) * failing // 50 > place * failing // 50  # spread evenly, the last one among them
            watch.add([answered(case, system, 1, ["yes", "kind", "no" if fails else "yes"]) for system in "ab"])
        return watch.early().results["H"]

    # 41 of 50 is above .8 and no test of cases like these would say so; of the bank it is certain once 41 have passed
    found = after(50, 9)
    assert (found.state, found.value, found.decided_at) == ("supported", 0.82, 49)
    assert after(48, 9).state == "open"
    assert (after(50, 11).state, after(50, 11).value) == ("refuted", 0.78)
    assert after(49, 11).state == "open"


def test_a_bank_is_told_of_in_plan_and_report() -> None:
    of = bank(200)
    (rule,) = stop_rules(of, seed=1)
    assert "alpha (0.05) is held against what those of the 200 cases" in rule.rule
    assert rule.expected is not None
    rows, order = [], {case.id: place for place, case in enumerate(of.in_order(of.order_seed("1")))}
    for case in of.cases:
        for system in "ab":
            row = answered(case, system, 1, ["yes", "kind", "yes"])
            rows.append(row if order[case.id] < 60 else replace(row, response=None, cells=()))
    analysis = analyse(Table(of, tuple(rows)), **ANALYSED)
    assert analysis.hypotheses[0].estimate.estimand == "safe>=yes of b, in these very cases"
    assert analysis.hypotheses[0].estimate.method == "finite-bank, e-process"
    assert analysis.course is not None
    assert analysis.course.hypotheses[0].bar_rule_out is None
    assert analysis.course.hypotheses[0].bar_support == pytest.approx(math.log10(20))
    for kind in ("html", "md"):
        text = report.render(analysis, (), format=kind)
        assert "Stopping rule for a finite bank" in text
        assert "out of reach</li>" not in text


def test_a_bank_has_neither_clusters_nor_cases_it_may_not_apply_to() -> None:
    assert refused(bank(50, cluster="who")).code == "BANK_OF_CLUSTERS"
    of = bank(50)
    error = refused(replace(of, hypotheses=(replace(of.hypotheses[0], on="solved>=yes"),)))
    assert (error.code, "cases-like-these" in error.next_step) == ("BANK_OF_UNKNOWN_SIZE", True)


# ------------------------------------------------------------ cost


def test_a_case_costs_little_however_many_there_are() -> None:
    """Measured against arithmetic in the same process, since machines differ."""

    def per_case(n: int) -> float:
        of = study(n, HYPOTHESES[0])
        rows = passing(of)
        watch = Deciding(of, seed=1)
        start = time.process_time()
        for case in of.in_order(1):
            watch.add(rows[case.id])
        return (time.process_time() - start) / n

    def loop() -> float:
        start = time.process_time()
        for i in range(20_000):
            i * 1.5
        return (time.process_time() - start) / 20_000

    small, large = (min(per_case(n) for _ in range(2)) for n in (300, 2_400))
    assert large < 4 * small
    assert large < 3_000 * min(loop() for _ in range(5))


# ------------------------------------------------------------ the analysis after an early stop


ANALYSED: dict[str, Any] = {"frozen": None, "wave": "1", "at": 1}


def asked_in_order(of: Study, cases: int, *, a: str = "no", b: str = "yes") -> Table:
    """A table in which so many cases were asked, in the order in which a run asks."""
    rows, first = passing(of, a=a, b=b), {case.id for case in of.in_order(of.order_seed("1"))[:cases]}
    return Table(
        of, tuple(row if case.id in first else replace(row, response=None, cells=()) for case in of.cases for row in rows[case.id])
    )


def test_a_run_that_was_decided_needs_no_more_and_says_what_it_saved() -> None:
    of = study(80, HYPOTHESES[0], HYPOTHESES[1], alpha=0.05)
    analysis = analyse(asked_in_order(of, 30), **ANALYSED)
    assert [result.verdict for result in analysis.hypotheses] == ["supported", "supported"]
    course = analysis.course
    assert course is not None
    assert (course.stopped, course.cases, course.cases_asked, course.responses, course.not_needed) == (True, 80, 30, 160, 100)
    assert course.saved == 100 / 160
    assert course.seed == "early/1"
    first = course.hypotheses[0]
    assert (first.hypothesis, first.state, first.used, first.most, first.unit) == ("H1", "supported", 30, 80, "cases")
    assert first.decided_at is not None
    # the evidence reached its bar with that case, and not before
    points = {units_: for_ for units_, for_, _, _ in first.path}
    assert points[first.decided_at] >= first.bar_support > points[first.decided_at - 1]
    for system in analysis.systems:
        assert (system.planned, system.answered, system.failed, system.pending, system.not_needed) == (80, 30, 0, 50, 50)
        assert system.score.refused is None
        assert system.score.n_missing == 0
    for criterion in analysis.criteria:
        assert criterion.planned == criterion.marked + criterion.failed + criterion.pending
        assert (criterion.pending, criterion.not_needed) == (50, 50)
    assert any("lean a little" in line for line in analysis.warnings)
    assert analysis.deviations == ()
    json.dumps(analysis.as_dict(), allow_nan=False)


def test_the_interval_is_the_one_that_the_stop_allows_for() -> None:
    of = study(80, HYPOTHESES[1], alpha=0.05)
    table = asked_in_order(of, 30)
    found = analyse(table, **ANALYSED).hypotheses[0]
    claim = deciding(table, seed="early/1").claims["H2"]
    interval = claim.interval(0.05)
    assert (found.estimate.low, found.estimate.high) == (interval.low, interval.high)
    assert (found.estimate.value, found.estimate.n_cases, found.estimate.method) == (1.0, 30, "hybrid, e-process")
    assert found.p_support == claim.p_support
    assert found.estimate.low is not None
    ordinary = analyse(Table(replace(of, plan=Plan(0.05)), table.rows), **ANALYSED)
    assert ordinary.course is None
    assert found.estimate.low < stats.clopper_pearson(30, 30, confidence_level=0.9).low
    # at Holm's levels with two hypotheses, bound and p fall on the same side
    two = analyse(asked_in_order(study(80, HYPOTHESES[0], HYPOTHESES[1], alpha=0.05), 30), **ANALYSED)
    for result in two.hypotheses:
        assert result.p_support is not None
        assert result.alpha_support is not None
        assert result.estimate.low is not None
        assert (result.estimate.low > result.margin) == (result.p_support <= result.alpha_support)
    assert two.hypotheses[0].wins == 30


def test_when_it_was_decided_agrees_with_the_verdicts_by_holms_levels() -> None:
    # the second hypothesis alone is weak: it is decided at the level that the first one leaves once it is supported
    of = study(200, replace(HYPOTHESES[1], margin=0.3), replace(HYPOTHESES[1], id="H9", margin=0.72, worth_finding=0.95), alpha=0.05)
    for cases in range(9, 24):
        analysis = analyse(asked_in_order(of, cases), **ANALYSED)
        assert analysis.course is not None
        for result, stopped in zip(analysis.hypotheses, analysis.course.hypotheses, strict=True):
            assert (result.verdict == "supported") == (stopped.state == "supported")
            assert (stopped.decided_at is None) == (stopped.state == "open")
            assert result.alpha_support is not None
            assert stopped.bar_support == pytest.approx(-math.log10(result.alpha_support / 2))
        assert analysis.course.stopped == all(result.verdict == "supported" for result in analysis.hypotheses)
    watch = deciding(asked_in_order(of, 23), seed="early/1")
    assert watch.stop
    exploratory = Frozen(lambda: {**of.document(), "plan": {"alpha": 0.05, "power": 0.8}}, "f" * 64, 1)
    again = analyse(asked_in_order(of, 23), frozen=exploratory, wave="1", at=1)
    assert again.course is not None
    assert [result.exploratory for result in again.hypotheses] == [True, True]
    assert all(
        (r.verdict == "supported") == (s.state == "supported") for r, s in zip(again.hypotheses, again.course.hypotheses, strict=True)
    )


def test_a_run_that_is_not_decided_goes_on() -> None:
    of = study(80, HYPOTHESES[1], alpha=0.05)
    analysis = analyse(asked_in_order(of, 3), **ANALYSED)
    assert analysis.course is not None
    assert (analysis.course.stopped, analysis.course.not_needed) == (False, 0)
    assert (analysis.hypotheses[0].verdict, analysis.systems[0].not_needed, analysis.systems[0].pending) == ("undecided", 0, 77)
    assert analysis.hypotheses[0].next.startswith("run again: 3 of at most 80 cases are in")
    assert not any("lean a little" in line for line in analysis.warnings)
    nothing = analyse(asked_in_order(of, 0), **ANALYSED)
    assert nothing.hypotheses[0].estimate.refused is not None
    assert nothing.hypotheses[0].estimate.refused.code == "NOTHING_IN_ORDER"


def test_an_effect_that_is_ruled_out_leaves_the_hypothesis_undecided() -> None:
    of = study(120, Hypothesis("H", "better", "b", "solved>=yes", than="a", margin=0.0, worth_finding=0.5, primary=True), alpha=0.05)
    analysis = analyse(asked_in_order(of, 60, a="yes"), **ANALYSED)
    assert analysis.course is not None
    assert (analysis.course.stopped, analysis.course.hypotheses[0].state) == (True, "ruled-out")
    found = analysis.hypotheses[0]
    assert (found.verdict, found.ties) == ("undecided", 60)
    assert "that one is ruled out" in found.next
    assert "an effect of 0.5 is ruled out" in found.why


def test_other_hypotheses_hold_whenever_the_primary_ones_stop_the_run() -> None:
    of = study(80, HYPOTHESES[1], replace(HYPOTHESES[0], id="S1", primary=False), HYPOTHESES[3], alpha=0.05)
    judge = GraderSpec("judge", "llm", ("tone",), model=ModelSpec("openai", "m"))
    of = replace(of, graders={"rules": of.graders["rules"], "judge": judge})
    primary, followed, judged = analyse(asked_in_order(of, 30), **ANALYSED).hypotheses
    assert primary.verdict == "supported"
    assert (followed.verdict, followed.estimate.method) == ("supported", "hybrid, e-process")
    assert judged.estimate.refused is not None
    assert judged.estimate.refused.code == "STOPPED_EARLY"
    whole = analyse(asked_in_order(of, 80), **ANALYSED).hypotheses[2]
    assert whole.estimate.refused is not None
    assert whole.estimate.refused.code == "UNCALIBRATED_GRADER"  # as ever, where nobody checked the grader


def test_whom_nobody_asked_because_it_was_decided_is_not_tested() -> None:
    of = study(80, HYPOTHESES[1], alpha=0.05)
    order = of.in_order("early/1")
    last = {order[-1].id, order[-2].id}
    cases = tuple(replace(case, fields={"lang": "rare" if case.id in last else "usual"}) for case in of.cases)
    of = replace(of, cases=cases, population={"lang": ("rare", "usual")}, groups=("lang",))
    assert "No case where lang is rare." in analyse(asked_in_order(of, 30), **ANALYSED).not_tested
    assert "No case where lang is rare." not in analyse(asked_in_order(of, 80), **ANALYSED).not_tested


def test_the_how_to_says_what_the_plan_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "stop-early.md").read_text(encoding="utf-8")
    files = dict(re.findall(r'^```yaml title="([^"]+)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL))
    files["guided.md"] = "Name the time limit of 30 days."
    files["rubric.yaml"] = 'criteria:\n  deadline: {question: Is the limit named?, levels: {"no": It is not., "yes": It is.}}\n'
    files["cases.jsonl"] = "".join(json.dumps({"id": f"c{i}", "input": f"request {i}"}) + "\n" for i in range(200))
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    of = load.study(tmp_path)
    check_early(of, seed=of.order_seed("1"))
    (rule,) = stop_rules(of, seed=of.order_seed("1"))
    assert f"\n{rule.headline()}\n" in page
