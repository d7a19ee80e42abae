"""What a run survives, at length: kills at random moments, faults of the network and of the disk. Exit 1 where something was lost.

python benchmarks/faults.py --kills 1000    # kill -9, two studies at a time
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # instead of this folder, whose statistics.py hides the library's

from benchmarks import disk, network
from benchmarks.killing import IN_FLIGHT, hunted

SHARES = (0.01, 0.1, 0.5, 1.0)
missed: list[str] = []


def kills(count: int, seed: int) -> None:
    """Kills the commands of studies, so many times in all."""
    with tempfile.TemporaryDirectory() as scratch:
        found = hunted(Path(scratch), count, seed=seed)
    print(f"{found.kills} kills in {found.lives} studies, {found.seconds:.0f} s")
    print("    " + ", ".join(f"{times} in {stage}" for stage, times in found.by_stage.most_common()))
    print("    " + ", ".join(f"{times} {moment}" for moment, times in found.by_moment.most_common()))
    print(
        f"    {found.requests} requests, {found.needed} needed, {found.in_flight} in flight at kills "
        f"(at most {found.most_in_flight} of {IN_FLIGHT}, {found.in_flight / found.kills:.2f} a kill)"
    )
    print(f"    paid twice beyond those in flight: {found.requests - found.needed - found.in_flight}")
    print(f"    what did not hold: {len(found.wrong)}")
    for wrong in found.wrong:
        print(f"        {wrong}")
    if found.wrong:
        missed.append("kills")


def grid() -> None:
    """Each kind of network fault at each share."""
    print(
        f"{'fault':22} {'share':>6} {'requests':>8} {'needed':>6} {'times':>6} {'answered':>8} {'failed':>6} {'pending':>7} {'seconds':>7}"
    )
    for kind in network.KINDS:
        for share in SHARES:
            came = network.befallen(kind, share, cases=100)
            tally = came.tally
            print(
                f"{kind:22} {share:6.0%} {tally.calls:8} {came.asked:6} {came.amplification:6.2f} {tally.answered:8} {tally.failed:6} "
                f"{tally.pending:7} {came.seconds:7.1f}  {', '.join(f'{times} {what}' for what, times in came.failures.items())}",
                flush=True,
            )
            wrong = list(came.wrong)
            if share <= 0.1 and came.amplification > network.MOST_AMPLIFICATION:
                wrong.append(f"{came.amplification:.2f} requests for one that was needed")
            for line in wrong:
                print(f"    {line}")
                missed.append(f"{kind} at {share:.0%}")


def broken_disk(every: int) -> None:
    """Calls of the operating system that fail, one a run."""
    if shutil.which("strace") is None:
        raise SystemExit("strace is not installed, which puts the errors in")
    ends: Counter[tuple[str, str, str]] = Counter()
    lost = 0
    with tempfile.TemporaryDirectory() as scratch:
        for fault in disk.faults(Path(scratch), every=every):
            ends[(fault.call, fault.error, fault.code)] += 1
            lost = max(lost, fault.lost)
            for wrong in fault.wrong:
                print(f"    {fault.call} {fault.nth} {fault.error}: {wrong}")
                missed.append(f"{fault.call} {fault.nth} {fault.error}")
    for (call, error, code), times in ends.items():
        print(f"{call:16} {error:7} {times:4} runs: {code}")
    print(f"{ends.total()} runs; at most {lost} replies not stored in one; {len(missed)} that did not hold")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--kills", type=int, default=0, help="kill -9 so many times")
    asked.add_argument("--network", action="store_true", help="each kind of network fault at each share")
    asked.add_argument("--disk", action="store_true", help="each call of the operating system that the store makes")
    asked.add_argument("--every", type=int, default=1, help="of the calls, every so many-th")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    if given.kills:
        kills(given.kills, given.seed)
    if given.network:
        grid()
    if given.disk:
        broken_disk(given.every)
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
