"""What receipts advise of graders whose worth is known, from the study through the table to `calibrate`. All marks are simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.calibrate import Receipt
from fairmark.records import Case, Message
from fairmark.rubric import Criterion, Rubric
from fairmark.study import GraderSpec, Mark, Study, SystemSpec
from fairmark.workbench import Workbench

BoolArray = NDArray[np.bool_]
RUBRIC = Rubric((Criterion.yes_no("solved", yes="solves it", no="does not solve it"),))
ITEMS = 100
PEOPLE = ("ana", "ben", "cem")
SLIP = 0.05  # how often a person is wrong
GOOD = (0.95, 0.95)  # sensitivity and specificity
PASSING = (0.5, 0.7, 0.8)  # shares of responses that are good


def marked(said: BoolArray, people: dict[str, BoolArray]) -> Study:
    """A study of one recorded system, with a model's marks that were recorded elsewhere and people's of the same responses."""
    n = len(said)
    by = {"": said, **people}
    marks = {
        who: tuple(Mark(str(i), "app", 1, "solved", who, "yes" if passes else "no") for i, passes in enumerate(given.tolist()))
        for who, given in by.items()
    }
    return Study(
        name="receipts",
        question="?",
        folder=Path(),
        cases=tuple(Case(str(i), (Message("user", f"request {i}"),)) for i in range(n)),
        systems={"app": SystemSpec("app", "recorded", recorded={(str(i), 1): f"answer {i}" for i in range(n)})},
        rubric=RUBRIC,
        graders={
            "model": GraderSpec("model", "recorded", ("solved",), marks=marks.pop(""), chosen="all", by="model"),
            "people": GraderSpec("people", "recorded", ("solved",), marks=sum(marks.values(), ()), chosen="all"),
        },
    )


def advised(kind: str, rng: np.random.Generator, passing: float) -> Receipt:
    """The receipt of a `constant`, `chance` or `good` grader in one simulated study."""
    truth = rng.random(ITEMS) < passing
    people = {who: truth ^ (rng.random(ITEMS) < SLIP) for who in PEOPLE}
    right = rng.random(ITEMS) < np.where(truth, *GOOD)
    said = {"constant": np.ones(ITEMS, dtype=np.bool_), "chance": rng.random(ITEMS) < passing, "good": truth == right}[kind]
    with Workbench(marked(said, people), env={}, memory=True) as bench:
        bench.run()
        found = next(trust.receipt for trust in bench.calibrate() if trust.grader == "model")
    assert isinstance(found, Receipt)
    return found


def recommended(kind: str, run: Run, passing: float, times: int) -> float:
    """In what share of studies the advice is to use the grader's marks."""
    found = [advised(kind, run.rng("receipts", kind, passing, place), passing) for place in range(times)]
    return float(np.mean([one.advice == "use its marks, corrected by people's" for one in found]))


def advice(run: Run) -> Outcome:
    times = run.times(whole=200, sample=10)
    cells = run.cells(PASSING, sample=2)
    shares = {(kind, passing): recommended(kind, run, passing, times) for kind in ("constant", "chance", "good") for passing in cells}
    bad = max(share for (kind, _), share in shares.items() if kind != "good")
    good = min(share for (kind, _), share in shares.items() if kind == "good")
    slack = 0.0 if run.whole else noise(0.7, times)
    return Outcome(
        bad <= 0.01 and good >= 0.7 - slack,
        f"{times} studies a kind: constant and chance graders recommended in {bad:.3f} at most, a good one in {good:.3f} at least",
        tuple(f"{kind}, {passing} of responses good: {share:.3f}" for (kind, passing), share in shares.items()),
    )


BARS = [
    Bar("B15 product", "receipts recommend a constant or chance grader in at most 1% of studies, a good one in at least 70%", advice),
]
