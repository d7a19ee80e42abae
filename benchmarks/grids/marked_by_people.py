"""Whole studies whose marks people enter at the desk: what the statistics promise, held through the product.

A made-up world fixes how good each answer is and what the LLM grader says of it. The study is then run, drawn from, marked
through `Workbench.desk()`, calibrated and analysed as any other; only the models are fakes. All marks here are simulated.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.records import Answer, Case, Failure, Message, Question, Usage
from fairmark.results import Analysis, Estimate
from fairmark.rubric import Criterion, Rubric
from fairmark.study import GraderSpec, Hypothesis, ModelSpec, People, Study, SystemSpec
from fairmark.workbench import Workbench

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
RUBRIC = Rubric((Criterion.yes_no("solved", yes="solves it", no="does not solve it"),))
ANSWER = re.compile(r"answer (\d+) of (\w+)")


@dataclass(frozen=True, slots=True)
class World:
    """What answers are like, by prompt of the system: whether each case is solved, and what the LLM grader says."""

    good: dict[str, BoolArray]
    said: dict[str, BoolArray]
    sure: dict[str, NDArray[np.float64]] | None = None  # the grader's confidence in what it says


@dataclass(slots=True)
class Models:
    """The system and the LLM grader of a world. A system answers by its prompt; the grader is shown the answer alone."""

    world: World
    name: str = "fake"
    host: str = "this machine"

    async def ask(self, question: Question) -> Answer | Failure:
        said = "\n".join(message.content for message in question.messages)
        if question.schema is None:
            prompt, number = question.messages[0].content, question.messages[-1].content.rpartition(" ")[2]
            return Answer(f"answer {number} of {prompt}", "stop", "fake", Usage(1, 0, 1), 0.0)
        found = ANSWER.findall(said)
        place, prompt = int(found[-1][0]), found[-1][1]
        level = "yes" if self.world.said[prompt][place] else "no"
        verdict: dict[str, object] = {"evidence": "", "reason": "as seen", "level": level}
        if self.world.sure is not None:
            verdict["confidence"] = float(self.world.sure[prompt][place])
        return Answer(json.dumps(verdict), "stop", "fake", Usage(1, 0, 1), 0.0)

    async def close(self) -> None:
        pass


def study(name: str, n: int, prompts: dict[str, str], people: People, cluster: IntArray | None = None) -> Study:
    """A study of `n` cases: each system by its prompt, one LLM grader, and people who mark a share."""
    kept = GraderSpec("judge", "llm", ("solved",), model=ModelSpec("openai", "judge", {"temperature": 0}))
    chosen = "stratified" if people.strata is not None else "random" if people.share < 1 else "all"
    return Study(
        name=name,
        question="?",
        folder=Path(),
        cases=tuple(
            Case(str(i), (Message("user", f"request {i}"),), fields={} if cluster is None else {"customer": f"k{cluster[i]}"})
            for i in range(n)
        ),
        systems={
            system: SystemSpec(system, "model", model=ModelSpec("openai", "m", {"temperature": 0}), prompt=prompt)
            for system, prompt in prompts.items()
        },
        rubric=RUBRIC,
        graders={"judge": kept, "people": GraderSpec("people", "people", ("solved",), chosen=chosen)},  # type: ignore[arg-type]
        cluster=None if cluster is None else "customer",
        people=people,
    )


def on_the_bench(asked: Study, world: World, **options: object) -> Workbench:
    models = Models(world)
    return Workbench(asked, env={}, connect=lambda _: models, **options)  # type: ignore[arg-type]


def mark_all(bench: Workbench, world: World) -> int:
    """Everybody on the roster marks what is open, as the world has it. Returns how many responses were marked."""
    people = bench.study.people
    assert people is not None
    desk, count = bench.desk(), 0
    for person in people.roster:
        while (one := desk.next_open(person)) is not None:
            place, prompt = ANSWER.findall(desk.view(person, one).panes[0].output)[0]
            label = "yes" if world.good[prompt][int(place)] else "no"
            desk.mark(person, one, str(uuid.uuid4()), criterion="solved", label=label)
            count += 1
    return count


# ---------------------------------------------------------------- the system changes, and the old labels go


STALE_CASES = 200
STALE_LABELS = 50
BEFORE, AFTER = 0.80, 0.55
GRADER = (0.9, 0.85)  # sensitivity and specificity
WIDEST = 0.30


def changing(rng: np.random.Generator) -> World:
    """Answers by a first and by a second prompt: what is hard for one is often hard for the other."""
    hard, other = rng.random(STALE_CASES), rng.random(STALE_CASES)
    good = {"first": hard < BEFORE, "second": np.where(rng.random(STALE_CASES) < 0.5, hard, other) < AFTER}
    return World(good, {prompt: graded(rng, truth, GRADER) for prompt, truth in good.items()})


def graded(rng: np.random.Generator, truth: BoolArray, grader: tuple[float, float]) -> BoolArray:
    """The grader's verdicts at its sensitivity and specificity."""
    right = rng.random(len(truth)) < np.where(truth, *grader)
    return np.where(right, truth, ~truth)


def figure_of(analysis: Analysis) -> Estimate:
    """The figure on which the study's only expectation is judged."""
    return analysis.hypotheses[0].estimate


@dataclass(frozen=True, slots=True)
class Changed:
    """One study whose system changed after people had marked its answers."""

    before: Estimate  # by the labels of the first answers
    between: Analysis  # after the second run, before anything new is marked
    old_in_use: int  # labels of first answers that count for second ones
    after: Estimate  # by the new labels


def change(world: World, name: str) -> Changed:
    """Mark, change the prompt, run again, look, mark again."""
    people = People(("ana",), criteria=("solved",), share=STALE_LABELS / STALE_CASES)
    expected = Hypothesis("H1", "at_least", "app", "solved>=yes", margin=0.5, primary=True)
    first = replace(study(name, STALE_CASES, {"app": "first"}, people), hypotheses=(expected,))
    with on_the_bench(first, world, memory=True) as bench:
        bench.run()
        bench.assign()
        assert mark_all(bench, world) == STALE_LABELS
        before = figure_of(bench.analyse())
        again = on_the_bench(replace(first, systems=study(name, 1, {"app": "second"}, people).systems), world, memory=True)
        again._store = bench.store  # the store of the study, in memory here
        again.run()
        between = again.analyse()
        used = sum(
            cell.grade is not None and cell.grade.label is not None
            for row in again.table().rows
            for cell in row.cells
            if cell.kind == "human"
        )
        again.assign()
        assert mark_all(again, world) == STALE_LABELS
        return Changed(before, between, used, figure_of(again.analyse()))


def stale_labels(run: Run) -> Outcome:
    times = run.times(whole=200, sample=20)
    found = [change(changing(run.rng("stale", place)), f"stale {place}") for place in range(times)]
    between = [figure_of(one.between).refused for one in found]
    told = all(why is not None and why.next for why in between)
    unused = sum(one.old_in_use for one in found)
    raw = all(trust.calibration == "none" for one in found for trust in one.between.trust)
    answered = [one.after for one in found if one.after.low is not None and one.after.high is not None]
    ends = np.array([(one.low, one.high) for one in answered], dtype=np.float64).reshape(-1, 2)
    covered = float(np.mean((ends[:, 0] <= AFTER) & (ends[:, 1] >= AFTER)))
    width = ends[:, 1] - ends[:, 0]
    least = 0.93 - (0 if run.whole else noise(0.93, times))
    return Outcome(
        told and raw and unused == 0 and covered >= least and float(width.max()) <= WIDEST and len(answered) == times,
        f"{times} studies: {unused} old labels in use, {sum(why is not None for why in between)} refused until there are new ones; "
        f"with {STALE_LABELS} new ones {covered:.3f} covered (MC error {noise(covered, times) / 3:.3f}), "
        f"width {width.mean():.3f} on average and {width.max():.3f} at most",
        tuple(sorted({f"refused: {why}" for why in between if why is not None})),
    )


BARS = [
    Bar(
        "B8s",
        "a changed system voids its labels: no corrected figure until there are new ones, then >= .93 covered at <= .30",
        stale_labels,
    ),
]
