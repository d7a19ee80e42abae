"""Made-up studies whose truth is known, as tables that every step downstream of the marks can take.

A response is good where a normal score, made of what its cluster, its case and itself add, lies below a threshold: the
share of good ones is then known exactly, whatever the clusters. All marks here are simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fairmark import stats
from fairmark.records import Answer, Case, Failure, Grade, Message, Response
from fairmark.rubric import Criterion, Level, Rubric
from fairmark.study import GraderSpec, Hypothesis, Mark, ModelSpec, Plan, Study, SystemSpec
from fairmark.table import Cell, Row, Table

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
LEVELS = ("poor", "partly", "good", "full")
LEVEL_SHARES = (0.5, 0.75)  # of the not-good at poor, and of the good at full
SHARED_BY_CASE = 0.3  # of the variance left by the cluster: both systems find the same cases hard
RUBRIC = Rubric(
    (
        Criterion.yes_no("solved", yes="solves it", no="does not"),
        Criterion("brief", scale="interval", range=(0.0, 10.0)),
        Criterion.yes_no("safe", yes="keeps the rule", no="breaks it", gate=True, weight=0.0),
        Criterion("kind", levels=tuple(Level(name, name) for name in LEVELS), pass_at="good", weight=0.0),
        Criterion.yes_no("clear", yes="clear", no="not clear", weight=0.0),
    )
)


@dataclass(frozen=True, slots=True)
class Judge:
    """How an LLM grader errs: its chance to pass a good response and to fail a bad one, and what each group takes from both."""

    sensitivity: float
    specificity: float
    harsher: Mapping[int, float] = field(default_factory=dict)  # group -> points off the sensitivity
    lost: float = 0.0  # share of verdicts that cannot be read


@dataclass(frozen=True)
class World:
    """What a study is drawn from."""

    rates: Mapping[str, tuple[float, float]]  # criterion -> share of good responses of system a, and of b
    gap: float = 0.0  # how far the last group is behind the first on `solved`, both systems alike
    n_clusters: int = 40
    mean_size: float = 8.0
    uneven: float = 0.5  # log-normal spread of cluster sizes
    icc: float = 0.1
    trials: int = 1
    n_groups: int = 3
    judges: Mapping[str, Judge] = field(default_factory=lambda: {"kind": Judge(0.9, 0.85), "clear": Judge(0.95, 0.9, {2: 0.1})})
    marks: int = 80  # that people give to each system and judged criterion
    planned: bool = True  # whether the label planner chose them; else a simple random sample
    failures: float = 0.0  # share of responses that fail

    def group_rates(self, system: int) -> FloatArray:
        """The share solved in each group: evenly spaced, the mean that of `rates`."""
        return self.rates["solved"][system] + self.gap * (0.5 - np.arange(self.n_groups) / (self.n_groups - 1))

    @cached_property
    def score(self) -> tuple[float, float]:
        """The mean rubric score of each system: half solved, half brief, nothing where the rule is broken."""
        means = [self.rates["safe"][s] * (self.rates["solved"][s] + self.rates["brief"][s]) / 2 for s in (0, 1)]
        return means[0], means[1]

    def mean_level(self, system: int) -> float:
        """The mean value of `kind`, whose levels are worth 0, 1/3, 2/3 and 1."""
        good = self.rates["kind"][system]
        poor_share, full_share = LEVEL_SHARES
        return (1 - good) * (1 - poor_share) / 3 + good * (2 / 3 * (1 - full_share) + full_share)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One study with the truth it was drawn from."""

    table: Table
    group: IntArray  # of each case


def draw(world: World, hypotheses: tuple[Hypothesis, ...], rng: np.random.Generator, *, alpha: float = 0.025) -> Drawn:
    """A study of two systems with all its marks."""
    sizes = np.maximum(1, np.round(world.mean_size * rng.lognormal(-(world.uneven**2) / 2, world.uneven, world.n_clusters))).astype(
        np.int64
    )
    cluster = np.repeat(np.arange(world.n_clusters), sizes)
    n = len(cluster)
    group = rng.integers(0, world.n_groups, n)
    cases = tuple(
        Case(f"c{i}", (Message("user", f"request {i}"),), fields={"customer": f"k{cluster[i]}", "variety": f"g{group[i]}"})
        for i in range(n)
    )
    labels: dict[tuple[str, int, int], list[str]] = {}  # criterion, system, trial
    good: dict[tuple[str, int, int], NDArray[np.bool_]] = {}
    for criterion in ("solved", "brief", "safe", "kind", "clear"):
        score = _scores(world, cluster, rng)
        for s in (0, 1):
            rate = np.full(n, world.rates[criterion][s]) if criterion != "solved" else world.group_rates(s)[group]
            for t in range(world.trials):
                is_good = score[s, t] < ndtri(rate)
                good[criterion, s, t] = is_good
                if criterion == "brief":
                    # a number from 0 to 10 whose mean is the rate: halfway numbers are spread evenly around it
                    spread = np.minimum(rate, 1 - rate)
                    # a probability transform keeps the likeness within clusters
                    labels[criterion, s, t] = [f"{value:.2f}" for value in 10 * (rate + spread * (2 * _uniform(score[s, t]) - 1))]
                elif criterion == "kind":
                    extreme = rng.uniform(size=n)
                    level = np.where(is_good, 2 + (extreme < LEVEL_SHARES[1]), 1 - (extreme < LEVEL_SHARES[0]))
                    labels[criterion, s, t] = [LEVELS[one] for one in level]
                else:
                    labels[criterion, s, t] = ["yes" if one else "no" for one in is_good]
    said = {key: _judged(world, key[0], good[key], labels[key], group, rng) for key in labels if key[0] in world.judges}
    failed = rng.uniform(size=(2, world.trials, n)) < world.failures
    marks = {criterion: _people(world, criterion, labels, said, failed, cases, rng) for criterion in world.judges}
    study = _study(world, cases, hypotheses, marks, alpha)
    asked = {(m.case_id, m.system, m.trial, c): m.label for c, given in marks.items() for m in given}
    rows = []
    for i, case in enumerate(cases):
        for s, name in enumerate("ab"):
            for t in range(world.trials):
                key = f"{i}{name}{t}"
                if failed[s, t, i]:
                    rows.append(Row(case, name, t + 1, Response(key, case.id, name, t + 1, "1", failure=Failure("timeout", "x", "late"))))
                    continue
                cells = [_cell("check", "rules", c, key, case.id, labels[c, s, t][i]) for c in ("solved", "brief", "safe")]
                for c in world.judges:
                    cells.append(_cell("llm", f"judge of {c}", c, key, case.id, said[c, s, t][i]))
                    mark = asked.get((case.id, name, t + 1, c))
                    cells.append(_cell("human", f"people on {c}", c, key, case.id, mark, absent="not_recorded"))
                rows.append(Row(case, name, t + 1, Response(key, case.id, name, t + 1, "1", Answer("x")), tuple(cells)))
    return Drawn(Table(study, tuple(rows)), group)


def _scores(world: World, cluster: IntArray, rng: np.random.Generator) -> FloatArray:
    """Standard normal scores by system, trial and case, alike within clusters and within cases."""
    n = len(cluster)
    of_cluster = rng.standard_normal(world.n_clusters)[cluster]
    of_case = rng.standard_normal(n)
    own = rng.standard_normal((2, world.trials, n))
    rest = 1 - world.icc
    return np.sqrt(world.icc) * of_cluster + np.sqrt(rest * SHARED_BY_CASE) * of_case + np.sqrt(rest * (1 - SHARED_BY_CASE)) * own


def _uniform(score: FloatArray) -> FloatArray:
    from scipy.special import ndtr

    return ndtr(score)  # type: ignore[no-any-return]


def _judged(
    world: World, criterion: str, good: NDArray[np.bool_], labels: list[str], group: IntArray, rng: np.random.Generator
) -> list[str | None]:
    """The LLM grader's labels; None where its answer could not be read."""
    judge = world.judges[criterion]
    n = len(good)
    sensitivity = judge.sensitivity - np.array([judge.harsher.get(g, 0.0) for g in range(world.n_groups)])[group]
    passes = np.where(good, rng.uniform(size=n) < sensitivity, rng.uniform(size=n) > judge.specificity)
    lost = rng.uniform(size=n) < judge.lost
    if criterion == "kind":
        right = passes == good
        wrong = np.where(passes, 2, 1)
        said = [LEVELS[LEVELS.index(label)] if ok else LEVELS[one] for label, ok, one in zip(labels, right, wrong, strict=True)]
    else:
        said = ["yes" if one else "no" for one in passes]
    return [None if gone else label for gone, label in zip(lost, said, strict=True)]


def _people(
    world: World,
    criterion: str,
    labels: Mapping[tuple[str, int, int], list[str]],
    said: Mapping[tuple[str, int, int], list[str | None]],
    failed: NDArray[np.bool_],
    cases: tuple[Case, ...],
    rng: np.random.Generator,
) -> tuple[Mark, ...]:
    """People's marks of the answers that were chosen, the truth by construction."""
    found = []
    names = LEVELS if criterion == "kind" else ("no", "yes")
    for s, name in enumerate("ab"):
        places = [(t, i) for t in range(world.trials) for i in range(len(cases)) if not failed[s, t, i]]
        if world.planned:
            verdict = np.array([len(names) if (v := said[criterion, s, t][i]) is None else names.index(v) for t, i in places])
            plan = stats.plan_labels(verdict, labels=world.marks, rng=rng, passes_from=len(names) // 2)
            chosen, chances = plan.rows, plan.probability
        else:
            chosen = tuple(rng.choice(len(places), min(world.marks, len(places)), replace=False).tolist())
            chances = (len(chosen) / len(places),) * len(chosen)
        for row, chance in zip(chosen, chances, strict=True):
            t, i = places[row]
            found.append(Mark(cases[i].id, name, t + 1, criterion, "simulated", labels[criterion, s, t][i], probability=chance))
    return tuple(found)


def _study(
    world: World, cases: tuple[Case, ...], hypotheses: tuple[Hypothesis, ...], marks: Mapping[str, tuple[Mark, ...]], alpha: float
) -> Study:
    graders = {"rules": GraderSpec("rules", "check", ("solved", "brief", "safe"), check="x")}
    for criterion in world.judges:
        judge, people = f"judge of {criterion}", f"people on {criterion}"
        graders[judge] = GraderSpec(judge, "llm", (criterion,), model=ModelSpec("openai", "m"))
        chosen = "stratified" if world.planned else "random"
        graders[people] = GraderSpec(people, "recorded", (criterion,), marks=marks[criterion], marks_from="simulated", chosen=chosen)
    return Study(
        name="simulated",
        question="?",
        folder=Path(),
        cases=cases,
        systems={name: SystemSpec(name, "recorded", recorded={}) for name in "ab"},
        rubric=RUBRIC,
        graders=graders,
        hypotheses=hypotheses,
        cluster="customer",
        groups=("variety",),
        trials=world.trials,
        plan=Plan(alpha=alpha),
    )


def _cell(kind: str, grader: str, criterion: str, key: str, case: str, label: str | None, *, absent: str = "unreadable_grade") -> Cell:
    failure = None if label is not None else Failure(absent, grader, "nothing there")  # type: ignore[arg-type]
    grade = Grade(f"{key}{criterion}{kind}", case, criterion, grader, label=label, failure=failure)
    return Cell(grader, kind, criterion, "", 0, grade)  # type: ignore[arg-type]
