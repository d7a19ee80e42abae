"""Runs that stop when they are decided, through what the runner uses: rows come in as they finish, with many in flight."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.analyse.early import Deciding
from fairmark.records import Answer, Case, Failure, Grade, Message, Response
from fairmark.rubric import Criterion, Rubric
from fairmark.stats import fixed_size
from fairmark.stats.intervals import FloatArray
from fairmark.study import GraderSpec, Hypothesis, Plan, Study, SystemSpec
from fairmark.table import Cell, Row

ALPHA = 0.05
POWER = 0.9
RUBRIC = Rubric((Criterion.yes_no("solved", yes="it is", no="it is not"), Criterion.yes_no("short", yes="it is", no="it is not")))
Draw = Callable[[np.random.Generator, int], FloatArray]  # passes: criterion, system, case


@dataclass(frozen=True)
class World:
    """A study and the truth its answers are drawn from."""

    name: str
    hypotheses: tuple[Hypothesis, ...]
    draw: Draw
    n: int = 200
    cluster: int | None = None  # cases of a cluster; None: each case is one
    in_flight: int = 8
    failures: float = 0.0  # share of responses that fail
    rows: dict[tuple[int, int, str], Row] = field(default_factory=dict, compare=False)

    @cached_property
    def study(self) -> Study:
        size = self.cluster or 1
        return Study(
            name=self.name,
            question="?",
            folder=Path(),
            cases=tuple(Case(f"c{i}", (Message("user", f"request {i}"),), fields={"who": f"k{i // size}"}) for i in range(self.n)),
            systems={name: SystemSpec(name, "recorded", recorded={}) for name in "ab"},
            rubric=RUBRIC,
            graders={"rules": GraderSpec("rules", "check", ("solved", "short"), check="x")},
            hypotheses=self.hypotheses,
            cluster="who" if self.cluster else None,
            plan=Plan(ALPHA, POWER, "when-decided"),
        )

    def row(self, case: int, system: int, said: str) -> Row:
        """A response with its checks' marks, a letter for each, or one that failed."""
        key = case, system, said
        if key not in self.rows:
            self.rows[key] = self._row(case, "ab"[system], said)
        return self.rows[key]

    def _row(self, number: int, system: str, said: str) -> Row:
        case = self.study.cases[number]
        if said == "failed":
            return Row(case, system, 1, Response(f"{number}{system}", case.id, system, 1, "1", failure=Failure("timeout", "x", "late")))
        cells = tuple(
            Cell("rules", "check", criterion.id, "", 0, Grade("k", case.id, criterion.id, "rules", label="yes" if letter == "y" else "no"))
            for criterion, letter in zip(RUBRIC, said, strict=True)
        )
        return Row(case, system, 1, Response(f"{number}{system}", case.id, system, 1, "1", Answer("x")), cells)


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run ended."""

    asked: int  # cases, those in flight at the decision included
    supported: int  # hypotheses
    decided: bool


def go(world: World, rng: np.random.Generator) -> Ended:
    """One run: cases are asked in the recorded order, finish when they finish, and count as in the runner.

    Answers that do not pass take 1.3 times as long, and those that fail twice as long.
    """
    study, passed = world.study, world.draw(rng, world.n)
    failed = rng.uniform(size=(2, world.n)) < world.failures
    slow = rng.uniform(0.9, 1.1, (2, world.n)) * np.where(passed[0] > 0, 1.0, 1.3) * np.where(failed, 2.0, 1.0)
    lasts = slow.max(axis=0)
    seed = int(rng.integers(2**32))
    watch, place = Deciding(study, seed=seed), {case.id: number for number, case in enumerate(study.cases)}
    order = [place[case.id] for case in study.in_order(seed)]
    flying: list[tuple[float, int]] = []
    now, asked = 0.0, 0
    while not watch.stop and (flying or asked < len(order)):
        while asked < len(order) and len(flying) < world.in_flight:
            heapq.heappush(flying, (now + float(lasts[order[asked]]), order[asked]))
            asked += 1
        now, case = heapq.heappop(flying)
        said = ["failed" if failed[s, case] else "".join("ny"[int(passed[c, s, case])] for c in (0, 1)) for s in (0, 1)]
        watch.add([world.row(case, s, said[s]) for s in (0, 1)])
    states = [claim.state for claim in watch.claims.values()]
    supported = sum(one.hypothesis.id in watch.decided_at and _up(watch, one.hypothesis) for one in watch.plans)
    return Ended(asked, supported, "open" not in states)


def _up(watch: Deciding, hypothesis: Hypothesis) -> bool:
    claim = watch.claims[hypothesis.id]
    return claim.p_support < claim.p_refute


# ---------------------------------------------------------------- truths


def _pairs(first: float, discordance: float = 0.3) -> Draw:
    """The second system passes `first` more often than the first one, and differs on that share of the cases."""

    def draw(rng: np.random.Generator, n: int) -> FloatArray:
        u, both = rng.uniform(size=n), rng.uniform(size=n) < 0.6
        better, worse = u < (discordance + first) / 2, u > 1 - (discordance - first) / 2
        a, b = np.where(better, 0, np.where(worse, 1, both)), np.where(better, 1, np.where(worse, 0, both))
        return np.stack([np.stack([a, b]), np.stack([a, b])]).astype(np.float64)

    return draw


def _rates(rate: float, second: float | None = None) -> Draw:
    """The second system's pass rates on the two criteria; the first one passes everything."""

    def draw(rng: np.random.Generator, n: int) -> FloatArray:
        rates = np.array([rate, rate if second is None else second])
        b = rng.uniform(size=(2, n)) < rates[:, None]
        return np.stack([np.ones((2, n)), b], axis=1).astype(np.float64)

    return draw


def _clustered(rate: float, size: int, icc: float = 0.2) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> FloatArray:
        a = (1 - icc) / icc
        chance = np.repeat(rng.beta(rate * a, (1 - rate) * a, -(-n // size)), size)[:n]
        b = rng.uniform(size=n) < chance
        return np.stack([np.stack([np.ones(n), b])] * 2).astype(np.float64)

    return draw


def _better(margin: float, worth: float) -> Hypothesis:
    return Hypothesis("H", "better", "b", "solved>=yes", than="a", margin=margin, worth_finding=worth, primary=True)


AT_LEAST = Hypothesis("H", "at_least", "b", "solved>=yes", margin=0.8, worth_finding=0.9, primary=True)
SLOW = {"in_flight": 100, "failures": 0.03}


def nulls() -> list[World]:
    """Studies whose every hypothesis lies exactly on its margin, so that each support is an error."""
    keeps_up = Hypothesis("H", "no_worse_than", "b", "solved>=yes", than="a", margin=0.1, primary=True)
    at_most = Hypothesis("H", "at_most", "b", "solved>=yes", margin=0.2, worth_finding=0.1, primary=True)
    return [
        World("better by .05", (_better(0.05, 0.15),), _pairs(0.05)),
        World("better at all", (_better(0.0, 0.1),), _pairs(0.0)),
        World("no more than .1 worse", (keeps_up,), _pairs(-0.1)),
        World("at least .8", (AT_LEAST,), _rates(0.8)),
        World("at most .2", (at_most,), _rates(0.2)),
        World("at least .8, 40 clusters of 5", (AT_LEAST,), _clustered(0.8, 5), cluster=5),
        World("two rates of .8", (AT_LEAST, replace(AT_LEAST, id="H2", on="short>=yes")), _rates(0.8)),
        World("better by .05, slow answers fail more, 100 in flight", (_better(0.05, 0.15),), _pairs(0.05), n=400, **SLOW),
        World("at least .8, slow answers fail more, 100 in flight", (AT_LEAST,), _rates(0.8), n=400, **SLOW),
    ]


def _false_support(run: Run) -> Outcome:
    runs, rows, worst = run.times(whole=2_000, sample=60), [], 0.0
    for world in nulls():
        rng = run.rng("B5 product", world.name)
        ended = [go(world, rng) for _ in range(runs)]
        false = float(np.mean([one.supported > 0 for one in ended]))
        worst = max(worst, false)
        asked = float(np.mean([one.asked for one in ended]))
        rows.append(f"{world.name}: supported {false:.3f}, {asked:.0f} of {world.n} cases asked")
    error = float(np.sqrt(ALPHA * (1 - ALPHA) / runs))
    allowed = ALPHA if run.whole else ALPHA + noise(ALPHA, runs)
    figure = f"at most {worst:.3f} of {runs} runs of each of {len(rows)} studies falsely supported (MC error {error:.3f})"
    return Outcome(worst <= allowed, figure, tuple(rows))


def _savings(run: Run) -> Outcome:
    runs, rows, figures, held, means = run.times(whole=1_000, sample=16), [], [], True, []
    designs: list[tuple[str, Hypothesis, int, list[tuple[str, Draw]]]] = []
    n = fixed_size("paired", null=0.0, alternative=0.1, alpha=ALPHA, power=POWER, discordance=0.3)
    steps = {"-d": -0.1, "-d/2": -0.05, "0": 0.0, "d/2": 0.05, "d": 0.1, "1.5d": 0.15, "2d": 0.2, "3d": 0.3}
    designs.append(("paired", _better(0.0, 0.1), n, [(name, _pairs(truth)) for name, truth in steps.items()]))
    n = fixed_size("rate", null=0.8, alternative=0.9, alpha=ALPHA, power=POWER)
    steps = {"-d": 0.7, "-d/2": 0.75, "0": 0.8, "d/2": 0.85, "d": 0.9, "1.5d": 0.95, "2d": 0.99}
    designs.append(("rate", AT_LEAST, n, [(name, _rates(truth)) for name, truth in steps.items()]))
    for kind, hypothesis, size, truths in designs:
        saved, most = {}, 0
        for name, draw in truths:
            rng = run.rng("B6 product", kind, name)
            ended = [go(World(f"{kind} {name}", (hypothesis,), draw, n=size, in_flight=8), rng) for _ in range(runs)]
            saved[name] = 1 - float(np.mean([one.asked for one in ended])) / size
            most = max(most, *(one.asked for one in ended))
            supported = float(np.mean([one.supported for one in ended]))
            held &= all(one.decided for one in ended)
            rows.append(f"{kind} {name}: saves {saved[name]:.0%} of {size} cases, supported {supported:.3f}")
        mean = float(np.mean([share for name, share in saved.items() if name != "d/2"]))
        figures.append(f"{kind} {mean:.1%} (with +d/2 {float(np.mean(list(saved.values()))):.1%}; at 2d {saved['2d']:.0%})")
        means.append(mean)
        held &= most <= size and saved["2d"] >= 0.5
    overall = float(np.mean(means))
    held &= overall >= (0.5 if run.whole else 0.45)
    return Outcome(held, f"mean saving {overall:.1%}: " + "; ".join(figures) + ", never above the cap", tuple(rows))


BARS = [
    Bar(
        "B5 product",
        "runs that stop when decided support what is not so in at most .05, slow failures and 100 in flight too",
        _false_support,
    ),
    Bar("B6 product", "such runs, 8 in flight, save at least half on average over both designs and -d, -d/2, 0, d, 1.5d, 2d, 3d", _savings),
]
