"""Records the shipped demo anew: `python scripts/record_demo.py`. Runs the embedded model once and writes recording.jsonl.

Needed after a change to the demo's cases, prompts, rubric or graders; `tests/demo` says when the recording no longer
covers the study.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from fairmark import providers
from fairmark.cli import screen
from fairmark.cli.commands import unpack_demo
from fairmark.records import Provider
from fairmark.study import ModelSpec, SystemSpec
from fairmark.workbench import Watch, Workbench

TARGET = Path(__file__).parents[1] / "src" / "fairmark" / "demo" / "recording.jsonl"


def main() -> None:
    watcher = screen.Watcher(quiet=False, events=False)
    made: list[providers.Recorder] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "demo"
        unpack_demo(folder)
        live = Workbench(folder, memory=True)

        def connect(spec: SystemSpec | ModelSpec) -> Provider:
            made.append(providers.Recorder(live.connect(spec)))
            return made[-1]

        with Workbench(folder, memory=True, connect=connect) as bench:
            tally = bench.run(Watch(progress=watcher.progress, notify=watcher.notify))
        TARGET.write_bytes(providers.write_recording(made))
    print(f"{tally.calls} calls, {tally.failed} failed; wrote {TARGET.name}, {TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
