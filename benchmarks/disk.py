"""The n-th call that the store makes of the operating system fails, in earnest: strace puts the error in, and nothing of ours knows.

The run ends with words about the disk, what was acknowledged stays, and the same command completes it. Linux, with strace.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fake_endpoint import FakeEndpoint

from benchmarks.hatchery import Hatchery
from benchmarks.killing import IN_FLIGHT, STORE, Stored, endpoint, needed, steady, write_study
from fairmark.store import Store

CASES = 12
FAILS = {
    "fdatasync,fsync": ("EIO", "ENOSPC"),
    "pwrite64": ("EIO", "ENOSPC", "EROFS", "EINTR"),
    "openat": ("EMFILE", "EACCES", "EIO"),
    "ftruncate": ("EIO",),
}
SAID = {"DISK", "NO_ACCESS", "READ_ONLY", "BROKEN_STORE"}


@dataclass(frozen=True)
class Fault:
    """One run whose n-th call of a kind failed in one of its threads, and the run after it."""

    call: str
    error: str
    nth: int
    code: str  # of the refusal, or "completed"
    lost: int  # requests that were paid for and are not stored
    wrong: tuple[str, ...]


def faults(scratch: Path, *, every: int = 1) -> Iterator[Fault]:
    """Every `every`-th call of each kind, with each of its errors in turn."""
    with endpoint(quickest=0.0, slowest=0.01) as served, Hatchery(scratch) as hatchery:
        whole = _analysis(hatchery, write_study(scratch / "whole", served.url, cases=CASES))
        for call, errors in FAILS.items():
            folder = write_study(scratch / f"counted-{call}", served.url, cases=CASES)
            _traced(folder, call)
            points = _most((folder / "trace").read_text().splitlines())
            for nth in range(1, points + 1, every):
                error = errors[nth // every % len(errors)] if every > 1 else ""
                for name in [error] if error else errors:
                    yield _fault(scratch / f"{call}-{name}-{nth}", served, hatchery, whole, call, name, nth)


def _fault(folder: Path, served: FakeEndpoint, hatchery: Hatchery, whole: Any, call: str, error: str, nth: int) -> Fault:
    write_study(folder, served.url, cases=CASES)
    before, wrong = len(served.ledger), []
    done = _traced(folder, call, f"error={error}:when={nth}")
    stood = Stored.of(folder)
    lost = sum(number not in stood.replies for number in range(before, len(served.ledger)))
    code = "completed"
    if done.returncode != 0:
        try:
            code = json.loads(done.stdout)["error"]["code"]
        except (ValueError, KeyError):
            code = "no words"
        if code not in SAID:
            wrong.append(f"{done.stdout} {done.stderr}")
    if lost > 2 * IN_FLIGHT:  # those in flight, and those whose commit failed
        wrong.append(f"{lost} replies are not stored")
    if _analysis(hatchery, folder) != whole:
        wrong.append("the analysis differs from that of an unbroken run")
    if not stood.records <= Stored.of(folder).records:
        wrong.append("records were lost")
    if len(served.ledger) - before != needed(CASES) + lost:
        wrong.append(f"{len(served.ledger) - before} requests, {needed(CASES)} needed and {lost} lost")
    with Store.open(folder / STORE) as store:
        if not store.verify().proven or store.orphans():
            wrong.append(f"the chain is not whole, or {store.orphans()}")
    return Fault(call, error, nth, code, lost, tuple(wrong))


def _analysis(hatchery: Hatchery, folder: Path) -> Any:
    """What a run comes to that nothing fails; words about what went wrong where it does not end well."""
    child = hatchery.run(["run", "-c", str(folder), "--json", "--quiet"])
    if child.code != 0:
        return child.said.read_text() + child.wrong.read_text()
    return steady(child.document()["analysis"])


def _traced(folder: Path, call: str, inject: str = "") -> subprocess.CompletedProcess[str]:
    """A run of a process of its own, of whose calls on the store's files one fails."""
    store = folder / STORE
    files = [part for end in ("", "-wal", "-shm", "-journal") for part in ("-P", f"{store}{end}")]
    fault = ["-e", f"inject={call}:{inject}"] if inject else []
    strace = ["strace", "-f", "-qq", "-o", str(folder / "trace"), *files, "-e", f"trace={call}", *fault]
    command = [sys.executable, "-m", "fairmark.cli", "run", "-c", str(folder), "--json", "--quiet"]
    return subprocess.run([*strace, *command], capture_output=True, text=True, timeout=300)


def _most(lines: list[str]) -> int:
    """Calls of the thread that made most: strace counts for each thread."""
    threads = [line.split()[0] for line in lines if "(" in line]
    return max((threads.count(thread) for thread in set(threads)), default=0)
