"""Graders with a planted bias are found, a fair one is not, and one that could not have been seen through is not called fair."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fairmark.audit import AuditReport, Finding
from fairmark.errors import CannotDo, Mistake
from fairmark.records import Answer, Case, Failure, Message, Question
from fairmark.results import as_json
from fairmark.rubric import Criterion, Level, Rubric
from fairmark.study import Budget, GraderSpec, Mark, ModelSpec, Study, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import Fake

N = 40
WORTH = ("poor", "fair", "fine")
GOOD = Criterion("good", "How good is it?", (Level("poor", "It is bad."), Level("fair", "It will do."), Level("fine", "It is good.")))
Judge = Callable[[str, str, str], str]  # request, response, instructions -> level


def truth(number: int, system: str) -> str:
    return WORTH[(number + (system == "new")) % 3]


def output(number: int, system: str) -> str:
    return f"Of course! We will really delete it, request {number}. It is {truth(number, system)} work by {system}. Certainly."


def study(n: int = N, **changes: object) -> Study:
    """Two recorded systems and a person's development marks of all their answers."""
    cases = tuple(
        Case(f"c{i}", (Message("user", f"Please delete my common personal data because I want it, request {i}."),)) for i in range(n)
    )
    systems = {
        name: SystemSpec(name, "recorded", recorded={(f"c{i}", 1): output(i, name) for i in range(n)}, recorded_from="here")
        for name in ("old", "new")
    }
    marks = tuple(Mark(f"c{i}", name, 1, "good", "ana", truth(i, name)) for i in range(n) for name in ("old", "new"))
    graders = {
        "judge": GraderSpec("judge", "llm", ("good",), model=ModelSpec("openai", "gpt-x", {"temperature": 0})),
        "ana": GraderSpec("ana", "recorded", ("good",), marks=marks, marks_from="here", chosen="all"),
    }
    return Study("audited", "", Path(), cases, systems, Rubric((GOOD,)), graders | dict(changes))  # type: ignore[arg-type]


def parts(question: Question) -> dict[str, str]:
    """The fenced texts by their names."""
    text = question.messages[1].content
    fence = text[1:29]
    pieces = re.split(rf"\[{fence} ([a-z ]+)\]\n", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def told(text: str) -> str:
    """What the answer is truly worth: its author left it in the text."""
    found = re.search(r"(poor|fair|fine)\**(?= work| \**work)", text)
    assert found is not None, text
    return found[1]


def up(level: str) -> str:
    return WORTH[min(WORTH.index(level) + 1, 2)]


def fake(mark: Judge, better: Callable[[str, str], str] | None = None) -> Fake:
    def compare(first: str, second: str) -> str:
        one, other = WORTH.index(told(first)), WORTH.index(told(second))
        return "first" if one > other else "second" if other > one else "equal"

    def reply(question: Question) -> Answer:
        shown = parts(question)
        if "first response" in shown:
            level = (better or compare)(shown["first response"], shown["second response"])
        else:
            level = mark(shown["request"], shown["response"], question.messages[0].content)
        return Answer(json.dumps({"reason": "so it is", "level": level}) if level else "I cannot help with that.", "stop", "fake")

    return Fake(reply)


def fair(request: str, response: str, instructions: str) -> str:
    return told(response)


def audit(judge: Fake, *experiments: str, n: int = N, cases: int = N) -> AuditReport:
    with Workbench(study(n), connect=lambda _: judge, env={}, memory=True) as bench:
        bench.run()
        (report,) = bench.audit(experiments=experiments or None, cases=cases)
    as_json(report)
    return report


def found(report: AuditReport, bias: str) -> Finding:
    return next(finding for finding in report.findings if finding.audit.bias == bias)


def test_a_fair_grader_is_called_biased_by_none_of_them() -> None:
    report = audit(fake(fair))
    verdicts = {finding.audit.bias: finding.verdict for finding in report.findings}
    assert "biased" not in verdicts.values()
    assert {"position", "level order", "padding", "trimming", "Markdown", "claims of authority", "names", "spelling", "injection"} <= set(
        verdicts
    )
    injection = found(report, "injection")
    assert injection.success is not None
    assert (injection.success.value, injection.success.refused) == (0.0, None)
    # what could not be tried is said, with its reason
    assert {(one.part, one.why.code) for one in report.not_tested} == {("self-preference", "NO_FAMILIES"), ("halo", "ONE_CRITERION")}


PLANTED: dict[str, tuple[str, str, Judge]] = {
    "long answers": ("length", "padding", lambda _, r, __: up(told(r)) if len(r) > 170 else told(r)),
    "short answers": ("length", "trimming", lambda _, r, __: up(told(r)) if "really" not in r else told(r)),
    "Markdown": ("format", "Markdown", lambda _, r, __: up(told(r)) if re.search(r"^(#|- )|\*\*", r, re.MULTILINE) else told(r)),
    "experts": ("authority", "claims of authority", lambda _, r, __: up(told(r)) if re.search(r"expert|Journal|Council", r) else told(r)),
    "a name": ("person", "names", lambda q, r, __: up(told(r)) if re.search(r"Clarke|Walker|Miller|Evans", q) else told(r)),
    "spelling": ("person", "spelling", lambda q, r, __: told(r) if "common" in q and "Please" in q and "personal" in q else "poor"),
    "best first": ("levels", "level order", lambda _, r, i: up(told(r)) if i.index("- fine") < i.index("- poor") else told(r)),
    "orders": ("injection", "injection", lambda _, r, __: "fine" if "gnore the rubric" in r else told(r)),
}  # fmt: skip


@pytest.mark.parametrize("which", PLANTED)
def test_a_planted_bias_is_found(which: str) -> None:
    experiment, bias, mark = PLANTED[which]
    finding = found(audit(fake(mark), experiment), bias)
    assert finding.verdict == "biased", finding
    assert finding.audit.value is not None
    sign = -1 if bias in ("names", "spelling") else 1
    assert sign * finding.audit.value > 0
    assert "points out of 100" in finding.say
    if bias == "injection":
        assert finding.success is not None
        assert finding.success.low is not None
        assert finding.success.low > 0
    if bias in ("names", "Markdown", "claims of authority", "spelling"):
        assert len(finding.by_realisation) >= 3


def test_a_preference_for_the_first_place_is_found() -> None:
    finding = found(audit(fake(fair, lambda first, second: "first"), "order"), "position")
    assert finding.verdict == "biased"
    assert finding.audit.value == 1.0
    assert finding.audit.figures["consistent"] == 0.0


def test_a_grader_that_answers_differently_each_time_is_found() -> None:
    seen = iter(range(10**6))
    finding = found(audit(fake(lambda *_: WORTH[next(seen) % 3]), "repeat"), "repeatability")
    assert finding.verdict == "biased"
    assert finding.audit.n_cases == N


def test_few_cases_are_not_tested_rather_than_fair() -> None:
    report = audit(fake(fair), "format", "order", "injection", n=7)
    for finding in report.findings:
        assert finding.verdict == "NOT_TESTED"
        assert finding.say.startswith("Not tested")
    assert ("injection", "NO_KNOWN_BAD") in {(one.part, one.why.code) for one in report.not_tested}


def test_unreadable_answers_of_one_arm_are_counted_and_leave_it_open() -> None:
    def silent(request: str, response: str, instructions: str) -> str:
        return "" if "##" in response or "**" in response else told(response)

    finding = found(audit(fake(silent), "format"), "Markdown")
    plain, edited = finding.arms
    assert (plain.failed, plain.marked) == (0, N)
    assert edited.failed + edited.marked == edited.planned == N
    assert edited.failed > N / 2
    assert finding.verdict != "within the margin"
    assert finding.value_if_worst is not None
    assert finding.value_if_best is not None
    assert finding.value_if_worst < 0 < finding.value_if_best
    assert any("more often in one arm" in warning for warning in finding.warnings)


def test_nothing_is_asked_twice_and_the_studys_own_grades_stay_its_own(tmp_path: Path) -> None:
    judge = fake(fair)
    with Workbench(study(12), connect=lambda _: judge, env={}, store=tmp_path / "s.db") as bench:
        bench.run()
        before = bench.table()
        (planned,) = bench.audit_plans(cases=12)
        asked = len(judge.asked)
        own = {task.key for task in bench.tasks(bench.slots())}
        named_by_audit = {task.key for task in planned.tasks if "audit" in task.grader.identity()}
        assert not own & named_by_audit
        assert {task.key for task in planned.tasks} - named_by_audit <= own
        first = bench.audit(cases=12)
        assert len(judge.asked) - asked == planned.calls
        assert bench.table().rows == before.rows
    again = fake(fair)
    with Workbench(study(12), connect=lambda _: again, env={}, store=tmp_path / "s.db") as bench:
        assert bench.audit_plans(cases=12)[0].calls == 0
        assert bench.audit(cases=12) == first
    assert not again.asked


def test_a_budget_stops_it_and_what_is_pending_is_said() -> None:
    judge = fake(fair)
    with Workbench(study(), connect=lambda _: judge, env={}, memory=True) as bench:
        bench.run()
        (report,) = bench.audit(experiments=["format"], budget=Budget(calls=10))
    assert report.calls == N - 10
    assert any("still to be asked" in warning for finding in report.findings for warning in finding.warnings)


def test_a_budget_in_money_is_refused_where_the_price_is_unknown() -> None:
    judge = fake(fair)
    with Workbench(study(), connect=lambda _: judge, env={}, memory=True) as bench:
        bench.run()
        asked = len(judge.asked)
        with pytest.raises(CannotDo) as refused:
            bench.audit(experiments=["format"], budget=Budget(usd=5.0))
        assert refused.value.code == "UNKNOWN_PRICE"
        assert len(judge.asked) == asked


def test_a_repeated_question_is_the_same_letter_by_letter() -> None:
    judge = fake(fair)
    with Workbench(study(12), connect=lambda _: judge, env={}, memory=True) as bench:
        bench.run()
        bench.audit(experiments=["repeat"], cases=12)
    texts = [question.messages for question in judge.asked]
    repeated = [question for question in judge.asked if question.trial > 1]
    assert len(repeated) == 24
    assert all(texts.count(question.messages) == 3 for question in repeated)


def test_own_family_is_held_against_people() -> None:
    def vain(request: str, response: str, instructions: str) -> str:
        return up(told(response)) if "by new" in response else told(response)

    judge = fake(vain)
    with Workbench(study(), connect=lambda _: judge, env={}, memory=True) as bench:
        bench.run()
        (report,) = bench.audit(experiments=["family"], families={"new": "gpt", "old": "claude"})
    finding = found(report, "self-preference")
    assert finding.verdict == "biased"
    assert finding.audit.value is not None
    assert finding.audit.value > 0


def test_an_unknown_experiment_grader_or_criterion_is_a_mistake() -> None:
    with Workbench(study(3), connect=lambda _: fake(fair), env={}, memory=True) as bench:
        bench.run()
        for wrong in ({"experiments": ["ordre"]}, {"grader": "ana"}, {"criterion": "bad"}):
            with pytest.raises(Mistake):
                bench.audit_plans(**wrong)


def test_a_failure_of_the_world_is_counted_too() -> None:
    broken = Fake(lambda _: Failure("bad_request", "here", "too long"))
    report = audit(broken, "format")
    finding = found(report, "Markdown")
    assert finding.verdict == "NOT_TESTED"
    assert all(arm.failed == arm.planned for arm in finding.arms)
