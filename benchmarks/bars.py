"""The bars of the main job on this machine, with their figures: `make bars`.

Runs the demo on the embedded model unbroken, then again, then once more killed with -9 at five random moments, and
compares. Prints each figure and the machine. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FAIRMARK = [sys.executable, "-m", "fairmark.cli"]
KILLS = 5
IN_FLIGHT = 8
missed: list[str] = []


def bar(name: str, holds: bool, figure: object) -> None:
    print(f"{'held ' if holds else 'MISSED'}  {name}: {figure}", flush=True)
    if not holds:
        missed.append(name)


def demo(folder: Path) -> tuple[dict[str, Any], float]:
    start = time.monotonic()
    done = subprocess.run([*FAIRMARK, "demo", str(folder), "--json", "--quiet"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout), time.monotonic() - start


def first_verdict(folder: Path) -> tuple[float, float]:
    """Seconds until the first verdict line is on the screen, and until the end."""
    start = time.monotonic()
    first = float("inf")
    with subprocess.Popen(
        [*FAIRMARK, "demo", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if first == float("inf") and any(word in line for word in ("■ supported", "☒ refuted")):
                first = time.monotonic() - start
    return first, time.monotonic() - start


def rows(folder: Path, table: str) -> list[str]:
    """Keys of the rows in the order they were written; the store may be open elsewhere."""
    with sqlite3.connect(f"file:{folder / '.fairmark' / 'store.db'}?mode=ro", uri=True) as store:
        return [key for (key,) in store.execute(f"SELECT key FROM {table}")]


def verdicts(document: dict[str, Any]) -> list[tuple[str, str, object, object, object]]:
    found = document["analysis"]["hypotheses"]
    return [(h["id"], h["verdict"], h["estimate"]["value"], h["estimate"]["low"], h["estimate"]["high"]) for h in found]


def kill_often(folder: Path, whole: float, rng: random.Random) -> dict[str, Any]:
    finished: set[str] = set()
    for kill in range(KILLS):
        child = subprocess.Popen(
            [*FAIRMARK, "demo", str(folder), "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(2 + rng.random() * whole / (KILLS + 1))
        child.kill()
        child.wait()
        before = set(rows(folder, "response")) | set(rows(folder, "grade")) if (folder / ".fairmark" / "store.db").exists() else set()
        print(f"    killed {kill + 1} of {KILLS}: {len(before)} records stand")
        assert finished <= before, "a finished record was lost"
        finished |= before
    document, _ = demo(folder)
    asked = rows(folder, "intent")
    twice = len(asked) - len(set(asked))
    lost = finished - set(rows(folder, "response")) - set(rows(folder, "grade"))
    again = sum(asked.count(key) > 1 for key in finished)
    bar("finished records lost over five kills", not lost, len(lost))
    bar(
        "finished records paid for again after a kill",
        twice <= KILLS * IN_FLIGHT,
        f"{twice} asked twice (in flight at a kill), {again} of them now stored",
    )
    return document


def main() -> None:
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as scratch:
        times = []
        for _ in range(5):
            start = time.monotonic()
            subprocess.run([*FAIRMARK, "--help"], capture_output=True, check=True)
            times.append(time.monotonic() - start)
        bar("fairmark --help under 0.25 s (median of 5)", sorted(times)[2] < 0.25, f"{sorted(times)[2]:.3f} s")
        folder = Path(scratch) / "whole"
        first, whole = first_verdict(folder)
        bar("first verdicts within 90 s", first < 90, f"{first:.1f} s")
        bar("the demo under 6 minutes", whole < 360, f"{whole:.1f} s")
        document, again = demo(folder)
        bar("the second demo under 5 s", again < 5, f"{again:.1f} s")
        bar("the second demo asks nothing", document["tally"]["calls"] == 0, document["tally"]["calls"])
        size = (folder / "report.html").stat().st_size
        bar("report under 2 MB", size < 2_000_000, f"{size / 1e6:.2f} MB")
        words = {h["verdict"] for h in document["analysis"]["hypotheses"]}
        bar("one supported, one refuted", {"supported", "refuted"} <= words, sorted(words))
        broken = kill_often(Path(scratch) / "killed", whole, rng)
        same = verdicts(document) == verdicts(broken)
        bar("the killed run's analysis equals the unbroken one's", same, "equal" if same else (verdicts(document), verdicts(broken)))
    if missed:
        raise SystemExit(f"{len(missed)} bars missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
