"""What a change voids: exactly the calls and grades that it touches, counted, for every part of a study in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fairmark.records import Answer, Question, Usage
from fairmark.rubric import Level, Rubric
from fairmark.study import Study, SystemSpec
from tests.bench import Fake, bench, helpful, study

CASES = 6
SYSTEMS = 2


@dataclass(frozen=True)
class Change:
    name: str
    apply: Callable[[Study], Study]
    responses: int  # model calls for answers
    grades: int  # model calls for grades
    checks: int  # check grades made anew
    wave: str = "1"


def _case(study_: Study, **changes: Any) -> Study:
    return replace(study_, cases=(replace(study_.cases[0], **changes), *study_.cases[1:]))


def _tone(study_: Study, **changes: Any) -> Study:
    criteria = [replace(c, **changes) if c.id == "tone" else c for c in study_.rubric]
    return replace(study_, rubric=Rubric(tuple(criteria)))


def _anchor(study_: Study) -> Study:
    levels = study_.rubric["tone"].levels
    return _tone(study_, levels=(Level("cold", "curt, rude or mocking"), *levels[1:]))


def _level_value(study_: Study) -> Study:
    worst, *others = study_.rubric["tone"].levels
    return _tone(study_, levels=(replace(worst, value=0.1), *others))


def _renamed(study_: Study) -> Study:
    plain = replace(study_.systems["bare"], name="plain")
    return replace(study_, systems={"plain": plain, "guided": study_.systems["guided"]}, hypotheses=())


def _gate(study_: Study) -> Study:
    return replace(study_, rubric=Rubric(tuple(replace(c, gate=not c.gate) for c in study_.rubric)))


def _judge(study_: Study, **changes: Any) -> Study:
    return replace(study_, graders={**study_.graders, "judge": replace(study_.graders["judge"], **changes)})


def _judge_model(study_: Study, **changes: Any) -> Study:
    model = study_.graders["judge"].model
    assert model is not None
    return _judge(study_, model=replace(model, **changes))


def _system(study_: Study, name: str, **changes: Any) -> Study:
    return replace(study_, systems={**study_.systems, name: replace(study_.systems[name], **changes)})


def _check(study_: Study, **changes: Any) -> Study:
    return replace(study_, graders={**study_.graders, "limit": replace(study_.graders["limit"], **changes)})


ALL = CASES * SYSTEMS
CHANGES = [
    Change("nothing", lambda s: s, 0, 0, 0),
    # every system answers the changed case anew; its grader and both checks mark those two answers
    Change("one case's input", lambda s: _case(s, input=(replace(s.cases[0].input[0], content="Show me my data."),)), 2, 2, 4),
    # the answers stand; only the grader that is shown the reference marks the two answers of this case anew
    Change("one case's reference", lambda s: _case(s, expected="We need 30 days."), 0, 2, 0),
    Change("an anchor", _anchor, 0, ALL, 0),
    Change("a weight", lambda s: _tone(s, weight=3.0), 0, 0, 0),
    Change("a level's value", lambda s: _level_value(s), 0, 0, 0),
    Change("the pass level", lambda s: _tone(s, pass_at="kind"), 0, 0, 0),
    Change("a gate", _gate, 0, 0, 0),
    Change("the grader's model", lambda s: _judge_model(s, model="other"), 0, ALL, 0),
    Change("the grader's prompt", lambda s: _judge(s, prompt="Mark strictly."), 0, ALL, 0),
    Change("an option of the grader's model", lambda s: _judge_model(s, options={"temperature": 0.5}), 0, ALL, 0),
    Change("a check's value", lambda s: _check(s, value="one month"), 0, 0, ALL),
    Change("a system's prompt", lambda s: _system(s, "guided", prompt="Name the time limit, please."), CASES, CASES, 2 * CASES),
    Change("a system's nickname", lambda s: _renamed(s), 0, 0, 0),
    # the fake's answers do not depend on the trial, so the second trial's answers share the grades of the first
    Change("the number of trials", lambda s: replace(s, trials=2), ALL, 0, 0),
    Change("the grader's repeats", lambda s: _judge(s, repeats=2), 0, ALL, 0),
    # last month's answers are asked anew; where they say the same, their grades stand
    Change("the wave", lambda s: s, ALL, 0, 0, wave="december"),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_voids_exactly_what_it_touches(change: Change, tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    with bench(study(n=CASES), Fake(), store=store) as before:
        before.run()
        assert before.store.counts()["grades"] == 3 * ALL
    fake = Fake()
    with bench(change.apply(study(n=CASES)), fake, store=store, wave=change.wave) as after:
        had = after.store.counts()["grades"]
        after.run()
        made = after.store.counts()["grades"] - had
    assert (fake.counts()["response"], fake.counts()["grade"]) == (change.responses, change.grades)
    assert made - fake.counts()["grade"] == change.checks


def _recorded(answers: dict[str, str]) -> Study:
    base = study(n=CASES)
    recorded = {(case.id, 1): answers.get(case.id, "We delete it within 30 days.") for case in base.cases}
    return replace(base, systems={"old": SystemSpec("old", "recorded", recorded=recorded, recorded_from="old.csv")}, hypotheses=())


def test_a_changed_recorded_answer_voids_its_own_grades_alone(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    with bench(_recorded({}), Fake(), store=store) as before:
        before.run()
    fake = Fake(reply=lambda question: _answer_or_recorded(question))
    with bench(_recorded({"c1": "No."}), fake, store=store) as after:
        had = after.store.counts()["grades"]
        after.run()
        assert after.store.counts()["grades"] - had == 3
    assert fake.counts()["grade"] == 1


def _answer_or_recorded(question: Question) -> Answer:
    return Answer(question.recorded, "stop") if question.recorded is not None else helpful(question)


def test_the_same_text_in_two_cases_never_shares_a_grade() -> None:
    fake = Fake(reply=lambda q: helpful(q) if q.schema is not None else Answer("We delete it within 30 days.", "stop", "", Usage(), 0.0))
    one = study(n=2)
    twins = replace(one, cases=tuple(replace(case, input=one.cases[0].input, expected=None) for case in one.cases))
    with bench(twins, fake) as made:
        made.run()
    # two cases with equal input and equal answers: one grade a case, shared by the two systems that said the same
    assert fake.counts()["grade"] == 2


def test_a_callable_s_code_is_part_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def answer(text):\n    return 'We delete it within 30 days.'\n")

    def with_code(code: str) -> Study:
        spec = SystemSpec("app", "python", target="app.py:answer", code=code)
        return replace(study(tmp_path, n=CASES), systems={"app": spec}, hypotheses=())

    store = tmp_path / "store.db"
    asked = []
    for code in ("a" * 64, "a" * 64, "b" * 64):
        fake = Fake()
        with bench(with_code(code), fake, store=store) as made:
            made.run()
        asked.append(fake.counts()["response"])
    assert asked == [CASES, 0, CASES]
