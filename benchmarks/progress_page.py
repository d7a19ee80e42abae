"""What the page of a run costs: how long a look takes beside a large store, while a run adds to it and when nothing comes.

    python benchmarks/progress_page.py [--responses 100000] [--looks 20]

Fills a store with so many responses and as many LLM grades, and prints the first look, which counts all, and the medians of later ones,
which count what has come in. Exit 1 where a later look takes longer than 200 ms: the page asks every two seconds.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # instead of this folder, whose statistics.py hides the library's

import numpy as np
from tests.bench import bench, study

from fairmark import grade as grading
from fairmark import run as running
from fairmark.records import Answer, Slot, Verdict
from fairmark.workbench import Workbench, following

LONGEST = 0.2  # seconds


def fill(made: Workbench, slots: list[Slot]) -> None:
    """Answers to these, each with a grade by the judge, as a run writes them."""
    store = made.store
    graders = [grader for grader in made.graders if grader.name == "judge"]
    written = None
    for slot in slots:
        answer = Answer(f"We delete it within 30 days. {'word ' * 60}{slot.key}", "stop", "m", cost_usd=0.001)
        answered = running.with_outcome(slot, answer, wave=made.wave)
        assert answered.response is not None
        store.add_response(answered.response)
        for task in made._tasks_of([answered], graders):
            written = store.add_grade(grading._grade(task, Verdict("neutral"), Answer("neutral", "stop", "m", cost_usd=0.002)))
    if written is not None:
        written.result()


def median(looks: int, look: Callable[[], object], before: Callable[[int], None]) -> float:
    """Seconds of a look, with something done before each."""
    took = []
    for number in range(looks):
        before(number)
        start = time.perf_counter()
        look()
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--responses", type=int, default=100_000)
    options.add_argument("--looks", type=int, default=20)
    asked = options.parse_args()
    patience = following.PATIENCE
    following.FRESH, following.PATIENCE = 0.0, 3600.0
    with tempfile.TemporaryDirectory() as folder, bench(study(n=asked.responses // 2), store=Path(folder) / "s.db") as made:
        slots = list(running.slots(made.study, made.systems, wave=made.wave))
        share = max(1, len(slots) // (10 * asked.looks))  # that come in between two looks
        late = share * asked.looks
        fill(made, slots[late:])
        followed = made.following()
        start = time.perf_counter()
        followed.look()
        first = time.perf_counter() - start
        with made.store.hold(made._run_name):
            busy = median(asked.looks, followed.look, lambda number: fill(made, slots[number * share : (number + 1) * share]))
            seen = followed.look().progress
            idle = median(asked.looks, followed.look, lambda number: None)
    assert (seen.done, seen.pending) == (2 * len(slots), 0), seen
    print(f"{len(slots)} responses and as many grades; Python {platform.python_version()}, {platform.machine()}")
    print(f"first look, which counts all: {first:.1f} s (the page is there after {patience:g} s and says that it counts)")
    print(f"a look after {2 * share} new rows: {1000 * busy:.1f} ms; after none: {1000 * idle:.1f} ms (medians of {asked.looks})")
    return int(max(busy, idle) > LONGEST)


if __name__ == "__main__":
    raise SystemExit(main())
