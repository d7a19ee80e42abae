"""The speed and memory of the statistics beside other packages: `python benchmarks/statistics.py --speed`.

Each figure comes from a process of its own (`speed_tasks.py`), so that memory is that of one task. Peers are looked for in
the environments that `benchmarks/peers.sh` makes, and in this one; those that are not installed are said to be missing.
Times are compared as ratios within this run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed_tasks import TASKS

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = (".venv-peers", ".venv-irrcac")
MOST_SECONDS = {"report": 5.0}
MOST_SECONDS_ELSE = 10.0
MOST_MEGABYTES = 1_024.0
LEAST_RATIO = 1.0
REPEATS = 3  # processes a package; the median counts


def timed(python: str, task: str, package: str) -> Mapping[str, Any]:
    """What `speed_tasks.py` prints."""
    done = subprocess.run([python, str(HERE / "speed_tasks.py"), task, package], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"missing": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed"}
    found: Mapping[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def median(python: str, task: str, package: str) -> Mapping[str, Any]:
    """The median of several processes by their seconds."""
    found = [timed(python, task, package) for _ in range(REPEATS)]
    there = sorted((one for one in found if "seconds" in one), key=lambda one: float(one["seconds"]))
    return there[len(there) // 2] if there else found[0]


def measure() -> bool:
    """Prints a line a task and package; whether all bars held."""
    pythons = [str(path) for name in ENVIRONMENTS if (path := HERE.parent / name / "bin" / "python").exists()]
    held = True
    for task, (_, what, peers) in TASKS.items():
        ours = median(sys.executable, task, "fairmark")
        if "seconds" not in ours:
            print(f"MISSED {task}: {ours['missing']}")
            held = False
            continue
        quick = ours["seconds"] <= MOST_SECONDS.get(task, MOST_SECONDS_ELSE) and ours["megabytes"] <= MOST_MEGABYTES
        held &= quick
        print(f"{'held  ' if quick else 'MISSED'} {task} ({what}): {ours['seconds']:.3f} s, {ours['megabytes']:.0f} MB", flush=True)
        for peer in peers:
            theirs = next((found for python in (*pythons, sys.executable) if "seconds" in (found := median(python, task, peer))), None)
            if theirs is None:
                print(f"         {peer}: not installed here (see benchmarks/peers.sh)")
                continue
            ratio = theirs["seconds"] / ours["seconds"]
            held &= ratio >= LEAST_RATIO
            word = "held  " if ratio >= LEAST_RATIO else "MISSED"
            figures = f"it says {theirs['figure']:.6g}, fairmark {ours['figure']:.6g}"
            cost = f"{theirs['seconds']:.3f} s, {theirs['megabytes']:.0f} MB"
            print(f"{word}   {peer} {theirs['version']}: {cost}: {ratio:.1f} times as long; {figures}", flush=True)
    return held
