"""A run that may stop once it is decided: asks in the recorded order, stops, says so, and asks nothing more afterwards."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fairmark.errors import CannotDo
from fairmark.records import Answer, Case, Failure, Message, Question
from fairmark.rubric import Criterion, Rubric
from fairmark.study import GraderSpec, Hypothesis, ModelSpec, Plan, Study, SystemSpec
from fairmark.workbench import DECIDED, Workbench

N = 400


@dataclass
class Model:
    """Answers rightly with a chance that depends on the system alone, later the longer the case's number."""

    right: float
    asked: list[str] = field(default_factory=list)
    name: str = "model"
    host: str = "here"

    async def ask(self, question: Question) -> Answer | Failure:
        self.asked.append(question.messages[-1].content)
        rng = random.Random(f"{self.right}/{question.messages[-1].content}")
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        return Answer("30 days" if rng.random() < self.right else "soon", "stop", "m", cost_usd=0.001)

    async def close(self) -> None:
        pass


def study(folder: Path, *, stop: str = "when-decided") -> Study:
    criterion = Criterion.yes_no("limit", yes="names the limit", no="names none")
    return Study(
        "early",
        "Is it better?",
        folder,
        tuple(Case(f"c{n}", (Message("user", f"request {n}"),)) for n in range(N)),
        {name: SystemSpec(name, "model", model=ModelSpec("openai", name)) for name in ("guided", "bare")},
        Rubric((criterion,)),
        {"days": GraderSpec("days", "check", ("limit",), check="contains", value="30 days")},
        (Hypothesis("H1", "better", "guided", "limit", "better", "bare", 0.05, worth_finding=0.3, primary=True),),
        plan=Plan(stop=stop),  # type: ignore[arg-type]
    )


def bench(folder: Path, made: Study, guided: float, bare: float) -> tuple[Workbench, dict[str, Model]]:
    models = {"guided": Model(guided), "bare": Model(bare)}
    return Workbench(made, store=folder / "s.db", env={}, connect=lambda spec: models[spec.name.split("/")[-1]]), models


def test_it_stops_in_the_recorded_order_and_asks_nothing_more(tmp_path: Path) -> None:
    opened, models = bench(tmp_path, study(tmp_path), 0.9, 0.4)
    with opened as made:
        tally = made.run()
        found = made.analyse()
    assert tally.stopped == DECIDED
    assert tally.calls == tally.answered < N
    assert tally.answered + tally.pending == 2 * N
    assert [h.verdict for h in found.hypotheses] == ["supported"]
    assert found.course is not None and found.course.stopped
    # cases were asked in the recorded order, up to what was in flight
    order = [case.text for case in made.study.in_order("early/1")]
    assert set(models["guided"].asked) == set(order[: len(models["guided"].asked)])
    opened, models = bench(tmp_path, study(tmp_path), 0.9, 0.4)
    with opened as made:
        again = made.run()
        assert (again.calls, again.stopped) == (0, DECIDED)
        assert made.analyse().hypotheses == found.hypotheses
    assert not models["guided"].asked


def test_the_verdict_is_the_same_however_much_is_in_flight(tmp_path: Path) -> None:
    decided = []
    for concurrency in (1, 7, 64):
        folder = tmp_path / str(concurrency)
        folder.mkdir()
        opened, _ = bench(folder, replace(study(folder), concurrency=concurrency), 0.9, 0.4)
        with opened as made:
            made.run()
            course = made.analyse().course
        assert course is not None
        decided.append([(one.state, one.decided_at) for one in course.hypotheses])
    assert decided[0] == decided[1] == decided[2]


def test_nothing_stops_where_nothing_is_decided(tmp_path: Path) -> None:
    opened, _ = bench(tmp_path, replace(study(tmp_path), cases=study(tmp_path).cases[:40]), 0.55, 0.35)
    with opened as made:
        tally = made.run()
    assert (tally.answered, tally.pending, tally.stopped) == (80, 0, "")


def test_what_only_an_llm_marks_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    judge = GraderSpec("judge", "llm", ("limit",), model=ModelSpec("openai", "judge"))
    opened, models = bench(tmp_path, replace(study(tmp_path), graders={"judge": judge}), 0.9, 0.4)
    with opened as made, pytest.raises(CannotDo) as refused:
        made.run()
    assert refused.value.code == "STOP_NEEDS_CHECK"
    assert not models["guided"].asked
    assert not (tmp_path / "s.db").exists()


def test_answers_that_are_in_are_still_marked_by_a_model(tmp_path: Path) -> None:
    class Judge(Model):
        async def ask(self, question: Question) -> Answer | Failure:
            self.asked.append(question.messages[-1].content)
            for _ in range(40):
                await asyncio.sleep(0)
            return Answer('{"evidence": "", "reason": "so it is", "level": "yes"}', "stop", "m", cost_usd=0.001)

    made = study(tmp_path)
    kind = Criterion.yes_no("kind", yes="it is kind", no="it is curt")
    judge = GraderSpec("judge", "llm", ("kind",), model=ModelSpec("openai", "judge"))
    made = replace(made, rubric=Rubric((*made.rubric.criteria, kind)), graders={**made.graders, "judge": judge})
    models = {"guided": Model(0.9), "bare": Model(0.4), "judge": Judge(1.0)}
    with Workbench(made, store=tmp_path / "s.db", env={}, connect=lambda spec: models[spec.name.split("/")[-1]]) as opened:
        tally = opened.run()
        rows = opened.table().rows
    assert tally.stopped == DECIDED
    answered = [row for row in rows if row.response is not None]
    assert 0 < len(answered) < 2 * N
    assert all(cell.grade is not None for row in answered for cell in row.cells)
    assert len({row.case.id for row in answered}) < N
