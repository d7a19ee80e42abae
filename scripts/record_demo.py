"""Writes the demo's recording.jsonl from a finished live demo: `python scripts/record_demo.py [FOLDER]`.

Without a folder the demo is run first, on the embedded model. Needed after a change to the demo's cases, prompts, rubric
or graders; `tests/demo` says when the recording no longer covers the study.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from fairmark import providers
from fairmark.cli.commands import unpack_demo
from fairmark.cli.progress import Watcher
from fairmark.records import Answer
from fairmark.workbench import Watch, Workbench

TARGET = Path(__file__).parents[1] / "src" / "fairmark" / "demo" / "recording.jsonl"


def answers(bench: Workbench) -> dict[str, Answer]:
    """Everything the model said, by digest of the question. `SystemExit` if something is missing."""
    said: dict[str, Answer] = {}
    slots = bench.slots()
    for slot in slots:
        if slot.response is None or slot.response.answer is None:
            raise SystemExit(f"case {slot.case.id} has no answer by {slot.system}: run the demo to its end")
        said[providers.question_digest(slot.question)] = slot.response.answer
    for task in bench.model_tasks(slots):
        question = task.grader.ask(task.item)
        if question is None or task.grade is None or task.grade.answer is None:
            raise SystemExit(f"case {task.item.case_id} has no grade by {task.grader.name}: run the demo to its end")
        said[providers.question_digest(question)] = task.grade.answer
    return said


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "demo"
        unpack_demo(folder)
        with Workbench(folder) as bench:
            watcher = Watcher(quiet=False, events=False)
            with watcher.watching():
                bench.run(Watch(progress=watcher.progress, notify=watcher.notify))
            TARGET.write_bytes(providers.write_recording([answers(bench)]))
    print(f"wrote {TARGET.name}, {TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
