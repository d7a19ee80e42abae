"""Whole studies whose marks people enter at the desk: what the statistics promise, held through the product.

A made-up world fixes how good each answer is and what the LLM grader says of it. The study is then run, drawn from, marked
through `Workbench.desk()`, calibrated and analysed as any other; only the models are fakes. All marks here are simulated.
"""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.grids.correction import GRADERS, RATES, DifferenceCell, Score, chance, clusters, two_systems
from benchmarks.grids.correction import graded as graded_alike
from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.analyse.estimates import refused_estimate
from fairmark.errors import CannotDo
from fairmark.records import Answer, Case, Failure, Message, Question, Usage
from fairmark.results import Analysis, Estimate, Refusal
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
        before, _, after = json.dumps({"evidence": "", "reason": "as seen", "level": "|"}).partition("|")
        sure = None
        if self.world.sure is not None:
            sure = ((before, 0.0), (level, float(np.log(self.world.sure[prompt][place]))), (after, 0.0))
        return Answer(before + level + after, "stop", "fake", Usage(1, 0, 1), 0.0, logprobs=sure)

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


# ---------------------------------------------------------------- corrected levels and differences, marks entered at the desk


RESPONSES = 240  # of each system


class LevelCell(NamedTuple):
    groups: int
    lognormal: bool
    icc: float
    share: float  # of responses that are marked
    p: float
    grader: str
    strata: bool = False  # marks drawn within the grader's verdict and confidence


LEVEL_CELLS = [
    LevelCell(groups, bool(place % 2), icc, (0.25, 0.4)[place % 2], (0.7, 0.9, 0.5, 0.97)[place % 4], list(GRADERS)[place % 3])
    for place, (groups, icc) in enumerate(itertools.product((12, 25, 50), (0.0, 0.1, 0.2)))
]
PERFECT = ((1.0, 1.0), (1.0, 1.0))
OWN = (PERFECT, ((0.98, 0.95), (0.98, 0.95)), ((0.95, 0.9), (0.85, 0.8)), ((0.9, 0.7), (0.7, 0.9)))
DIFFERENCE_CELLS = [
    DifferenceCell(groups, bool(place % 2), icc, 0.0, (60, 100)[place % 2], RATES[(place + place // 4) % 4], OWN[place % 4], draw)
    for place, (groups, icc, draw) in enumerate(
        (*itertools.product((0,), (0.0,), ("same", "own")), *itertools.product((12, 25, 50), (0.0, 0.2), ("same", "own")))
    )
]


def sure_of(rng: np.random.Generator, right: BoolArray) -> NDArray[np.float64]:
    """A confidence that is higher where the grader is right, and not by much."""
    found: NDArray[np.float64] = np.clip(np.where(right, rng.beta(9, 2, len(right)), rng.beta(5, 3, len(right))), 0.5, 0.999)
    return found


def judged(
    name: str, prompts: dict[str, str], world: World, expected: Hypothesis, share: float, strata: bool, cluster: IntArray | None
) -> tuple[Estimate, int]:
    """The figure at the end of one study: run, drawn, marked by two people at the desk, calibrated, analysed; and how many marks."""
    people = People(("ana", "ben"), criteria=("solved",), share=share, strata="solved" if strata else None)
    asked = replace(study(name, RESPONSES, prompts, people, cluster), hypotheses=(expected,))
    with on_the_bench(asked, world, memory=True) as bench:
        bench.run()
        try:
            bench.assign()
        except CannotDo as refused:
            return refused_estimate("", Refusal(refused.code, refused.why, refused.next_step), 0.95, "judge-corrected"), 0
        marks = mark_all(bench, world)
        return figure_of(bench.analyse()), marks


def level(cell: LevelCell, rng: np.random.Generator, name: str) -> tuple[Estimate, int]:
    cluster = clusters(rng, RESPONSES, cell.groups, cell.lognormal)
    truth = (rng.random(RESPONSES) < chance(rng, cell.p, cell.icc, cluster)).astype(np.int64)
    verdict = graded_alike(rng, truth, GRADERS[cell.grader], 0.0, cluster)
    world = World({"first": truth == 1}, {"first": verdict == 1}, {"first": sure_of(rng, truth == verdict)})
    expected = Hypothesis("H1", "at_least", "app", "solved>=yes", margin=0.5, primary=True)
    return judged(name, {"app": "first"}, world, expected, cell.share, cell.strata, cluster)


def gap(cell: DifferenceCell, rng: np.random.Generator, name: str) -> tuple[Estimate, int]:
    cluster, truths, verdicts = two_systems(rng, cell, RESPONSES)
    prompts = ("first", "second")
    world = World(
        {prompt: truth == 1 for prompt, truth in zip(prompts, truths, strict=True)},
        {prompt: verdict == 1 for prompt, verdict in zip(prompts, verdicts, strict=True)},
        {prompt: sure_of(rng, truth == verdict) for prompt, truth, verdict in zip(prompts, truths, verdicts, strict=True)},
    )
    expected = Hypothesis("H1", "better", "b", "solved>=yes", than="a", primary=True)
    share, strata = cell.marks / RESPONSES, cell.draw == "own"
    return judged(name, dict(zip("ab", prompts, strict=True)), world, expected, share, strata, cluster if cell.groups else None)


CellOf = TypeVar("CellOf", LevelCell, DifferenceCell)


def through_the_product(
    run: Run,
    name: str,
    cells: Sequence[CellOf],
    study_of: Callable[[CellOf, np.random.Generator, str], tuple[Estimate, int]],
    truth: Callable[[CellOf], float],
    *,
    times: int,
) -> Outcome:
    """Every cell so many times. It holds where no cell is below .93 beyond 4 standard errors and all together not beyond 2."""
    scores: list[tuple[CellOf, Score]] = []
    why: Counter[str] = Counter()
    for cell in cells:
        widths, covered, refused = [], 0, 0
        for place in range(times):
            estimate, _ = study_of(cell, run.rng(name, cell, place), f"{name} {place}")
            if estimate.low is None or estimate.high is None:
                refused += 1
                why[str(estimate.refused)] += 1
                continue
            widths.append(estimate.high - estimate.low)
            covered += estimate.low - 1e-9 <= truth(cell) <= estimate.high + 1e-9
        answered = times - refused
        scores.append(
            (cell, Score(covered / answered if answered else 1.0, float(np.mean(widths or [0])), refused / times, min(widths, default=1.0)))
        )
    total = times * len(cells)
    right = float(np.mean([one.right for _, one in scores]))
    least = min(one.right for _, one in scores)
    narrowest = min(one.narrowest for _, one in scores)
    answered_at_all = float(np.mean([1 - one.refused for _, one in scores]))
    covering = sum(one.cover * (1 - one.refused) for _, one in scores) / max(sum(1 - one.refused for _, one in scores), 1e-9)
    held = right >= 0.93 - noise(0.93, total) * 2 / 3 and least >= 0.93 - noise(0.93, times) * 4 / 3 and narrowest > 0
    return Outcome(
        held,
        f"{total} studies of {len(cells)} kinds, marks entered at the desk: {covering:.3f} of the answered ones cover (MC error "
        f"{noise(covering, total) / 3:.3f}), lowest kind {least:.3f} (MC error {noise(0.93, times) / 3:.3f}); {1 - answered_at_all:.1%} "
        f"refused; mean width {np.mean([one.width for _, one in scores]):.3f}, narrowest {narrowest:.3f}",
        (
            *(f"{cell}: {one.cover:.3f} covered, {one.refused:.1%} refused, width {one.width:.3f}" for cell, one in scores),
            *(f"refused {count} times: {text}" for text, count in why.most_common()),
        ),
    )


def levels_at_the_desk(run: Run) -> Outcome:
    return through_the_product(run, "B8c product", LEVEL_CELLS, level, lambda cell: cell.p, times=run.times(whole=60, sample=1))


def strata_at_the_desk(run: Run) -> Outcome:
    cells = [cell._replace(strata=True) for cell in LEVEL_CELLS]
    return through_the_product(run, "B8c strata", cells, level, lambda cell: cell.p, times=run.times(whole=60, sample=1))


def differences_at_the_desk(run: Run) -> Outcome:
    return through_the_product(
        run, "B8d product", DIFFERENCE_CELLS, gap, lambda cell: cell.p[1] - cell.p[0], times=run.times(whole=40, sample=1)
    )


BARS = [
    Bar(
        "B8s",
        "a changed system voids its labels: no corrected figure until there are new ones, then >= .93 covered at <= .30",
        stale_labels,
    ),
    Bar("B8c product", "corrected rate with clusters, marks entered at the desk, covers >= .93 or refuses", levels_at_the_desk),
    Bar("B8c strata", "the same where marks are drawn within the grader's verdict and confidence", strata_at_the_desk),
    Bar(
        "B8d product",
        "corrected difference, marks entered at the desk, covers >= .93 or refuses, never of width 0",
        differences_at_the_desk,
    ),
]
