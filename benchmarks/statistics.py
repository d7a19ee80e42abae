"""Coverage, error rates and savings of the statistics, against the bars in docs/methods: `make statistics`.

    python benchmarks/statistics.py                 a sample of every grid (under 3 minutes on two cores)
    python benchmarks/statistics.py --whole         every cell of every grid
    python benchmarks/statistics.py B5 B6 --whole   some of them
    python benchmarks/statistics.py --speed         time and memory beside other packages (made by benchmarks/peers.sh)

Prints each bar with its figure, the seed and the machine. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# the folder's own name would hide the standard library's `statistics`, so the grids are imported as a package beside it
sys.path[:] = [
    str(Path(__file__).resolve().parent.parent),
    *(p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent),
]
for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # one process a core already

import numpy as np  # noqa: E402
import scipy  # noqa: E402

from benchmarks import grids, speed  # noqa: E402
from benchmarks.grids.run import Bar, Outcome, Run  # noqa: E402

SEED = 20_261_125


def bars() -> dict[str, Bar]:
    """Every bar by name, in the order of their numbers."""
    found = [
        bar
        for module in pkgutil.iter_modules(grids.__path__)
        for bar in getattr(importlib.import_module(f"benchmarks.grids.{module.name}"), "BARS", ())
    ]
    names = [bar.name for bar in found]
    assert len(set(names)) == len(names), f"two bars share a name: {sorted(names)}"
    return {bar.name: bar for bar in sorted(found, key=lambda bar: (int("".join(c for c in bar.name if c.isdigit())), bar.name))}


def measure(name: str, run: Run) -> tuple[Outcome, float]:
    start = time.monotonic()
    return bars()[name].measure(run), time.monotonic() - start


def main() -> None:
    known = bars()
    parser = argparse.ArgumentParser(description="Coverage and error grids of fairmark's statistics")
    parser.add_argument("names", nargs="*", metavar="BAR", help=f"some of {', '.join(known)} (default: all)")
    parser.add_argument("--whole", action="store_true", help="every cell of every grid")
    parser.add_argument("--speed", action="store_true", help="time and memory beside other packages, instead of the grids")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        parser.error(f"there is no bar {', '.join(unknown)}; there are {', '.join(known)}")
    names = asked.names or list(known)
    run = Run(asked.whole, asked.seed)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    print(f"{platform.platform()}, {versions}, {os.cpu_count()} cores")
    what = (
        "speed beside other packages"
        if asked.speed
        else f"{'every cell' if run.whole else 'a sample'} of {len(names)} grids, seed {run.seed}"
    )
    print(what, flush=True)
    if asked.speed:
        if not speed.measure():
            raise SystemExit("missed")
        return
    missed = []
    with ProcessPoolExecutor(asked.jobs) as pool:
        jobs = {name: pool.submit(measure, name, run) for name in names}
        for name, job in jobs.items():
            try:
                outcome, seconds = job.result()
            except Exception as error:  # the other bars still have their say
                print(f"FAILED {name}  {known[name].says}: {error!r}", flush=True)
                missed.append(name)
                continue
            print(f"{'held  ' if outcome.held else 'MISSED'} {name}  {known[name].says}: {outcome.figure} ({seconds:.0f} s)")
            for row in outcome.rows:
                print(f"         {row}")
            sys.stdout.flush()
            missed += [] if outcome.held else [name]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")
    print(f"all {len(names)} held")


if __name__ == "__main__":
    main()
