"""The whole bench offline: plans frozen first, deviations named, waves apart, marks bound to the answers they saw."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fairmark as fm
from fairmark.errors import CannotDo, Mistake
from fairmark.records import Answer, Failure, Item, Message, Question
from fairmark.results import as_json
from fairmark.study import Budget, CalibrationItem, CalibrationSet, GraderSpec, Hypothesis, Mark, ModelSpec, Study, SystemSpec
from fairmark.workbench import analyse_table
from fairmark.workbench.telling import Watch
from tests.bench import Fake, bench, cases, helpful, study


def test_the_plan_is_frozen_before_the_first_answer() -> None:
    with bench(study()) as made:
        made.run()
        plan = made.store.plans("small@1")[0]
        first = min(slot.response.at for slot in made.slots() if slot.response is not None)
        assert plan.frozen_at <= first
        assert plan.responses_before == 0
        analysis = made.analyse()
        assert analysis.fingerprint == plan.fingerprint == made.study.fingerprint()
        assert analysis.receipt.startswith("fm-")
        assert analysis.deviations == ()


def test_what_changes_afterwards_is_named_and_exploratory(tmp_path: Path) -> None:
    with bench(study(n=12), store=tmp_path / "s.db") as before:
        before.run()
        assert not before.analyse().hypotheses[0].exploratory
    late = Hypothesis("H2", "at_least", "bare", "deadline", "Bare names it", None, 0.1)
    base = study(n=12)
    changed = replace(base, hypotheses=(replace(base.hypotheses[0], margin=0.0), late), cases=base.cases[:-1])
    with bench(changed, store=tmp_path / "s.db") as after:
        analysis = after.analyse()
    assert {(d.what, d.change) for d in analysis.deviations} == {
        ("hypothesis H1", "changed"),
        ("hypothesis H2", "added"),
        ("case c12", "removed"),
    }
    assert all(result.exploratory for result in analysis.hypotheses)


def test_a_wave_is_asked_anew_and_frozen_anew(tmp_path: Path) -> None:
    with bench(study(), store=tmp_path / "s.db") as first:
        first.run()
    fake = Fake()
    with bench(study(), fake, store=tmp_path / "s.db", wave="2") as second:
        second.run()
        assert second.store.plans("small@2")[0].responses_before == 12
    assert fake.counts()["response"] == 12


def test_repeats_and_trials_are_real() -> None:
    fake = Fake()
    base = study(n=3, trials=2)
    judged = replace(base, graders={**base.graders, "judge": replace(base.graders["judge"], repeats=2)})
    with bench(judged, fake) as made:
        made.run()
        table = made.table()
    assert {question.trial for question in fake.asked if question.schema is None} == {1, 2}
    for row in table.rows:
        assert [cell.repeat for cell in row.cells if cell.grader == "judge"] == [0, 1]
    # the second repeat offers the levels in another order
    orders = {cell.grade.level_order for cell in table.rows[0].cells if cell.grader == "judge" and cell.grade is not None}
    assert len(orders) == 2


def test_failures_are_stored_counted_and_asked_again_only_where_that_can_help(tmp_path: Path) -> None:
    def broken(question: Question) -> Answer | Failure:
        if question.schema is None and "request 1." in question.messages[-1].content:
            return Failure("bad_request", "here", "too long")
        return helpful(question)

    store = tmp_path / "s.db"
    with bench(study(), Fake(broken), store=store) as made:
        tally = made.run()
        assert tally.failed == 2
        assert tally.planned == tally.answered + tally.failed + tally.pending
        assert made.analyse().systems[0].failures == {"bad_request": 1}
    again = Fake()
    with bench(study(), again, store=store) as made:
        made.run()
        assert again.asked == []
        made.run(retry_failed=True)
    assert again.counts()["response"] == 2


def test_a_budget_stops_and_the_next_run_goes_on(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    with bench(study(), store=store) as made:
        tally = made.run(budget=Budget(calls=5))
        assert (tally.calls, tally.pending > 0) == (5, True)
        assert "5 calls" in tally.stopped
        rest = made.run()
    assert rest.pending == 0
    assert rest.calls == 24 - 5


def test_a_money_budget_with_an_unknown_price_is_refused_before_anything_is_sent() -> None:
    fake = Fake()
    with bench(study(), fake) as made, pytest.raises(CannotDo, match="unknown") as refused:
        made.run(budget=Budget(usd=1.0))
    assert refused.value.code == "UNKNOWN_PRICE"
    assert fake.asked == []


def test_the_plan_says_who_is_sent_what_and_what_it_takes() -> None:
    with bench(study()) as made:
        outlook = made.plan()
        assert {line.name: line.to_ask for line in outlook.lines} == {"bare": 6, "guided": 6, "judge": 12}
        assert outlook.calls == 24
        assert outlook.usd_at_most is None
        assert set(outlook.unpriced) == {"bare", "guided", "judge"}
        assert {sending.host for sending in outlook.sendings} == {"api.openai.com"}
        json.dumps(as_json(outlook), allow_nan=False)
        made.run()
        assert made.plan().calls == 0


# ------------------------------------------------------------ people's marks


def _marked(labels: dict[str, str], *, chosen: Any = "all", output: str | None = None) -> Study:
    base = study(n=8)
    marks = tuple(Mark(case, "guided", 1, "deadline", "ana", label, output=output) for case, label in labels.items())
    people = GraderSpec("experts", "recorded", ("deadline",), marks=marks, marks_from="marks.csv", chosen=chosen)
    hypothesis = Hypothesis("H1", "at_least", "guided", "deadline", "It names it", None, 0.3, primary=True)
    systems = {"guided": base.systems["guided"]}
    return replace(base, systems=systems, graders={**base.graders, "experts": people}, hypotheses=(hypothesis,))


def test_peoples_marks_decide_before_checks() -> None:
    with bench(_marked({f"c{n}": "no" for n in range(1, 9)})) as made:
        made.run()
        result = made.analyse().hypotheses[0]
    assert result.estimate.scorer == "human"
    assert result.estimate.value == 0.0


@pytest.mark.parametrize(
    ("chosen", "code"),
    [("self-selected", "MARKS_NOT_RANDOM"), ("unknown", "MARKS_NOT_RANDOM"), ("stratified", "NEEDS_WEIGHTS")],
)
def test_marks_that_were_not_chosen_at_random_decide_nothing(chosen: str, code: str) -> None:
    with bench(_marked({f"c{n}": "yes" for n in range(1, 9)}, chosen=chosen)) as made:
        made.run()
        result = made.analyse().hypotheses[0]
    assert result.verdict == "undecided"
    assert result.estimate.refused is not None
    assert result.estimate.refused.code == code


def test_unmarked_answers_are_outside_a_random_sample_and_missing_from_a_whole() -> None:
    some = {f"c{n}": "yes" for n in range(1, 7)}
    with bench(_marked(some, chosen="random")) as made:
        made.run()
        sampled = made.analyse().hypotheses[0].estimate
    with bench(_marked(some, chosen="all")) as made:
        made.run()
        whole = made.analyse().hypotheses[0].estimate
    assert (sampled.n_cases, sampled.n_missing) == (6, 0)
    assert (whole.n_cases, whole.n_missing) == (8, 2)


def test_a_mark_never_passes_to_an_answer_its_author_did_not_see(tmp_path: Path) -> None:
    labels = {f"c{n}": "yes" for n in range(1, 9)}
    store = tmp_path / "s.db"
    with bench(_marked(labels), store=store) as made:
        made.run()
        assert made.analyse().hypotheses[0].estimate.value == 1.0
    changed = _marked(labels)
    changed = replace(changed, systems={"guided": replace(changed.systems["guided"], prompt="Name the time limit, briefly.")})
    with bench(changed, store=store) as made:
        made.run()
        result = made.analyse().hypotheses[0]
        kinds = {cell.grade.failure.kind for row in made.table().rows for cell in row.cells if cell.grade and cell.grade.failure}
    assert kinds == {"stale_mark"}
    assert result.verdict == "undecided"
    assert result.estimate.refused is not None


def test_a_mark_that_says_which_answer_it_was_given_to_is_held_to_it() -> None:
    with bench(_marked({"c1": "yes"}, output="Something else was marked.")) as made:
        made.run()
        cell = next(c for row in made.table().rows for c in row.cells if c.grader == "experts" and row.case.id == "c1")
    assert cell.grade is not None
    assert cell.grade.failure is not None
    assert cell.grade.failure.kind == "stale_mark"


# ------------------------------------------------------------ trust


def _calibrated(marks: list[str], says: str) -> tuple[Study, Fake]:
    items = tuple(CalibrationItem(Item(f"k{n}", (Message("user", "?"),), f"answer {n}"), {"tone": label}) for n, label in enumerate(marks))
    reply = json.dumps({"evidence": "", "reason": "so", "level": says})
    fake = Fake(lambda q: Answer(reply, "stop", cost_usd=0.0) if q.schema is not None else helpful(q))
    on_tone = Hypothesis("H1", "better", "guided", "tone>=neutral", "Kinder", "bare", 0.0, primary=True)
    return replace(study(n=8), calibration=CalibrationSet(items, "development marks", "c.jsonl"), hypotheses=(on_tone,)), fake


def test_a_grader_that_always_says_the_same_is_noticed() -> None:
    made_study, fake = _calibrated(["kind"] * 9 + ["cold"] * 11, "cold")
    with bench(made_study, fake) as made:
        made.run()
        receipt = made.calibrate()[0]
        result = made.analyse().hypotheses[0]
    assert (receipt.calibration, receipt.n, receipt.commonest) == ("borrowed", 20, "cold")
    assert receipt.agreement is not None
    assert receipt.agreement.value == pytest.approx(11 / 20)
    assert receipt.kappa == pytest.approx(0.0)
    assert "11 of 20" in receipt.say
    assert "no proof" in receipt.say
    assert result.verdict == "undecided"
    assert result.estimate.refused is not None
    assert result.estimate.refused.code == "BORROWED_CALIBRATION"


def test_even_a_perfect_borrowed_grader_decides_nothing() -> None:
    made_study, fake = _calibrated(["kind"] * 20, "kind")
    with bench(made_study, fake) as made:
        made.run()
        assert made.analyse().hypotheses[0].verdict == "undecided"


# ------------------------------------------------------------ doors without a study file


def test_ten_lines_of_python_grade_a_list_of_answers() -> None:
    rubric = fm.Rubric(
        (
            fm.Criterion.yes_no("deadline", yes="names the time limit", no="names none"),
            fm.Criterion.yes_no("brief", yes="at most 8 words", no="longer"),
        )
    )
    found = fm.mark(
        {"old": ["We will see."] * 30, "new": ["We answer within 30 days."] * 30},
        rubric,
        graders={"deadline": fm.check("contains", "30 DAYS", ignore_case=True), "brief": lambda answer: len(answer.split()) <= 8},
        expect=[fm.Hypothesis("H1", "better", "new", "deadline", "New names it more often", "old", 0.1, primary=True)],
    )
    assert found.hypotheses[0].verdict == "supported"
    assert "H1 supported" in str(found)
    html = found._repr_html_()
    assert "supported" in html
    assert "<script" not in html


def test_mark_says_all_that_is_wrong_at_once() -> None:
    rubric = fm.Rubric((fm.Criterion.yes_no("a", yes="y", no="n"),))
    with pytest.raises(Mistake) as wrong:
        fm.mark({"x": ["1", "2"], "y": ["1"]}, rubric, {"b": fm.check("contains", "z")}, inputs=["only one"])
    assert len(wrong.value.problems) == 3


def test_a_bare_table_warns_about_an_undeclared_cluster(tmp_path: Path) -> None:
    rows = ["case,system,label,document"]
    rows += [f"c{i},{s},{(i + (s == 'a')) % 2},d{i // 5}" for i in range(40) for s in ("a", "b")]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    with analyse_table(tmp_path / "t.csv") as made:
        assert any("document" in warning for warning in made.analyse().warnings)
    with analyse_table(tmp_path / "t.csv", columns={"cluster": "document"}) as made:
        analysis = made.analyse()
    assert analysis.n_clusters == 8
    assert not analysis.warnings


def test_progress_and_early_verdicts_reach_the_watcher() -> None:
    quarters: list[int] = []
    seen = []
    with bench(study(n=8)) as made:
        watch = Watch(
            progress=seen.append,
            quarter=lambda: quarters.append(sum(s.pending for s in made.analyse().systems)),
            responses_done=lambda: quarters.append(0),
        )
        made.run(watch)
    assert quarters[-1] == 0
    assert len(quarters) == 4
    assert quarters == sorted(quarters, reverse=True)


def test_nothing_of_a_key_is_ever_stored_or_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    canary = "sk-canary-0a1b2c3d4e5f"
    spec = SystemSpec("hosted", "model", model=ModelSpec("openai", "m", {}, base_url="http://127.0.0.1:9", api_key="env:MY_KEY"))
    base = replace(study(n=2), systems={"hosted": spec}, hypotheses=(), graders={"limit": study().graders["limit"]})
    from fairmark import calls
    from fairmark.workbench import Workbench

    quick = calls.Policy(deadline=1.0, tries=2, base=0.01)
    with Workbench(base, store=tmp_path / "s.db", env={"MY_KEY": canary}, policy=quick) as made:
        tally = made.run()
        made.report(tmp_path / "r.html")
        made.report(tmp_path / "r.json")
    assert tally.failed == 2
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    said = "".join(capfd.readouterr())
    assert canary.encode() not in written
    assert canary not in said


def test_cases_of_the_bench_are_distinct() -> None:
    assert len({case.text for case in cases(12)}) == 12


def test_what_stands_decided_early_may_be_asked_at_any_time() -> None:
    hypothesis = Hypothesis("H1", "at_least", "guided", "deadline>=yes", "It names it", None, 0.3, primary=True)
    with bench(replace(study(n=40), hypotheses=(hypothesis,))) as made:
        before = made.early()
        assert before.results["H1"].n_units == 0
        assert not before.stop
        made.run()
        after = made.early()
    assert after.results["H1"].verdict == "supported"
    assert after.results["H1"].decided_at is not None
    assert after.results["H1"].decided_at < 40
    assert after.stop


def test_an_analysis_needs_no_words(tmp_path: Path) -> None:
    from fairmark.cli.commands import unpack_demo
    from fairmark.workbench import recorded_demo

    unpack_demo(tmp_path / "demo")
    with recorded_demo(tmp_path / "demo") as made:
        made.run()
        found, table = made.analyse(), made.table()
        assert all(row.response is not None and row.response.output for row in table.rows)
        with_words = made._analyse(table)
    assert with_words.hypotheses == found.hypotheses
    assert with_words.systems == found.systems
    assert with_words.criteria == found.criteria
    assert with_words.trust == found.trust
    assert with_words.groups == found.groups


def test_a_run_that_is_refused_because_another_one_asks_changes_nothing(tmp_path: Path) -> None:
    from fairmark.store import Store

    with Store.open(tmp_path / "s.db") as other, other.hold("run of something"):
        before = other.counts()
        with bench(study(n=3), store=tmp_path / "s.db") as made, pytest.raises(CannotDo) as refused:
            made.run()
        assert refused.value.code == "RUNNING"
        assert other.counts() == before
    with bench(study(n=3), store=tmp_path / "s.db") as made:
        assert made.run().pending == 0
