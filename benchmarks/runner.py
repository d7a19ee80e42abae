"""How fast `fairmark run` is, as a whole process with a durable store, beside the speed that the endpoint offers.

    python benchmarks/runner.py             # every cell three times, the median counts
    python benchmarks/runner.py --quick     # the cells of 2,000 cases, once
    python benchmarks/runner.py --large     # the memory of 100,000 responses of 2 KB on three criteria, and their resume
    python benchmarks/runner.py --peers     # the same work through other harnesses (`benchmarks/runner_peers.sh` installs them)

The endpoint is `benchmarks/stub.py` on core 1, everything that is timed runs on core 0. "phase" is from the first request to
the last answer as the endpoint saw it, "start" what comes before it and "end" what comes after; ideal = requests x delay /
in flight. CPU and memory are those of the process that is timed and of its children. Exit 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # instead of this folder, whose statistics.py hides the library's

from benchmarks.runner_peers import PEERS, Peer, surroundings
from benchmarks.stub import PREFERRED, Running, pin, running, text_for

HERE = Path(__file__).resolve().parent
DELAY = 0.05  # seconds before the endpoint answers
REPEATS = 3
MOST_SECONDS = 600.0  # a process that takes longer is ended and counts as missed
MOST_CPU_MS = 0.35  # a request, all in
LEAST_PHASE = 0.85  # of the ideal
LEAST_INSPECT = 20.0  # times its samples a second
LEAST_PEER = 6.0
MOST_GROWTH = 2.2  # from 10,000 cases to 20,000
MOST_FIRST = 0.6  # seconds until the first request of ten cases leaves
MOST_RESUME = 2.0  # seconds until a finished run of 100,000 says so
missed: list[str] = []


@dataclass(frozen=True)
class Cell:
    """One piece of work."""

    name: str
    cases: int
    in_flight: int
    graded: bool = False  # one LLM grader besides the check
    size: int = 0  # characters of a response
    criteria: int = 1  # each marked by a check
    most_wall: float | None = None
    most_mb: float | None = None
    repeats: int = REPEATS
    resumed: bool = False  # once more when it is finished

    @property
    def requests(self) -> int:
        return self.cases * (1 + self.graded)

    @property
    def ideal(self) -> float:
        return self.requests * DELAY / self.in_flight


FIRST = Cell("10 exact", 10, 8)
EXACT = Cell("2,000 exact", 2_000, 100, most_wall=1.8)
GRADED = Cell("2,000 graded", 2_000, 100, graded=True, most_wall=2.9)
TEN = Cell("10,000 exact", 10_000, 1_000, most_wall=3.5, most_mb=120)
TEN_GRADED = Cell("10,000 graded", 10_000, 1_000, graded=True, most_wall=6.0, most_mb=120)
TEN_FULL = Cell("10,000 of 2 KB x 3", 10_000, 1_000, size=2_048, criteria=3, most_mb=120)
TWENTY = Cell("20,000 exact", 20_000, 1_000)
LARGE = Cell("100,000 of 2 KB x 3", 100_000, 1_000, size=2_048, criteria=3, most_mb=300, repeats=1, resumed=True)


@dataclass(frozen=True)
class Timed:
    """What one process took. Fields of the endpoint are None where it was asked nothing."""

    wall: float
    cpu: float
    mb: float
    start: float | None = None
    phase: float | None = None
    end: float | None = None
    requests: int = 0
    connections: int = 0
    most_in_flight: int = 0
    others: float = 0.0  # share of the machine that other processes used meanwhile
    said: str = ""
    trouble: str = ""  # why it does not count


def bar(name: str, holds: bool, figure: str) -> None:
    print(f"{'held  ' if holds else 'MISSED'} {name}: {figure}", flush=True)
    if not holds:
        missed.append(name)


def _busy() -> float:
    """Seconds that the machine's cores have worked, or 0 where it does not say."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except OSError:
        return 0.0
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def timed(command: list[str], stub: Running, *, folder: Path, env: Mapping[str, str] | None = None) -> Timed:
    """What a command took as a whole process, and what the endpoint saw of it."""
    stub.reset()
    with (folder / "said.txt").open("wb") as said, (folder / "trouble.txt").open("wb") as trouble:
        busy, own, began = _busy(), time.process_time(), time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=trouble, cwd=folder, env={**os.environ, **(env or {})}
        )
        ender = threading.Timer(MOST_SECONDS, child.kill)
        ender.start()
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        ender.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
        busy = _busy() - busy
    saw = stub.counters()
    cpu = used.ru_utime + used.ru_stime
    others = max(busy - cpu - saw["cpu"] - (time.process_time() - own), 0.0) / wall / (os.cpu_count() or 1)
    told = (folder / "trouble.txt").read_text(errors="replace").strip().splitlines()
    wrong = ""
    if child.returncode:
        wrong = (
            f"it took over {MOST_SECONDS:.0f} s" if wall >= MOST_SECONDS else f"exit {child.returncode}: {told[-1] if told else 'no word'}"
        )
    asked = bool(saw["requests"])
    return Timed(
        wall,
        cpu,
        used.ru_maxrss / (1024 if sys.platform.startswith("linux") else 1024**2),
        saw["first_request"] - began if asked else None,
        saw["phase"] if asked else None,
        began + wall - saw["last_answer"] if asked else None,
        saw["requests"],
        saw["connections"],
        saw["most_in_flight"],
        others,
        (folder / "said.txt").read_text(errors="replace"),
        wrong,
    )


def write_cases(path: Path, cases: int) -> None:
    """Cases as JSON lines, each with the answer that the endpoint will give."""
    with path.open("w") as file:
        for n in range(cases):
            said = f"Question {n}: what is the answer?"
            file.write(json.dumps({"id": f"c{n}", "input": said, "expected": text_for(said)}) + "\n")


def write_study(folder: Path, cell: Cell, url: str) -> None:
    """The folder of a study that does this work."""
    write_cases(folder / "cases.jsonl", cell.cases)
    names = [f"right_{n}" for n in range(1, cell.criteria + 1)]
    yes_no = "levels: [no: it is not, yes: it is]"
    criteria = [f"    {name}: {{question: Is it right?, {yes_no}}}" for name in names]
    # a long text repeats its word, so that only its beginning can be compared
    check = "contains" if cell.size else "exact"
    graders = [f"  check_{name}: {{check: {check}, criterion: {name}}}" for name in names]
    if cell.graded:
        criteria.append(f"    kind: {{question: Is it kind?, {yes_no}}}")
        graders.append(f'  judge: {{llm: openai/j, base_url: "{url}", api_key: env:OPENAI_API_KEY, criterion: kind}}')
    lines = [
        "study: runner",
        "question: How fast is it?",
        "cases: cases.jsonl",
        f"concurrency: {cell.in_flight}",
        "systems:",
        f'  stub: {{model: openai/m, base_url: "{url}", api_key: env:OPENAI_API_KEY}}',
        "rubric:",
        "  rubric: plain",
        "  criteria:",
        *criteria,
        "graders:",
        *graders,
        "hypotheses:",
        "  H1: {text: Nine in ten are right, system: stub, on: right_1, at_least: 0.9, primary: true}",
    ]
    (folder / "study.yaml").write_text("\n".join(lines) + "\n")


def checked(found: Timed, cell: Cell) -> Timed:
    """The same, with what is wrong with its result."""
    if found.trouble:
        return found
    analysis = json.loads(found.said)["analysis"]
    system, right = analysis["systems"][0], analysis["hypotheses"][0]["estimate"]["value"]
    if (system["answered"], system["failed"], right) != (cell.cases, 0, 1.0):
        return replace(found, trouble=f"{system['answered']} answered, {system['failed']} failed, {right} right")
    if found.requests != cell.requests:
        return replace(found, trouble=f"{found.requests} requests instead of {cell.requests}")
    return found


def fairmark(folder: Path) -> list[str]:
    return [sys.executable, "-m", "fairmark.cli", "run", "-c", str(folder), "--json", "--quiet"]


def middle(runs: list[Timed]) -> Timed:
    """The run with the median wall; one that does not count, where there is one."""
    return next((run for run in runs if run.trouble), None) or sorted(runs, key=lambda run: run.wall)[len(runs) // 2]


COLUMNS = {"wall s": 8, "ideal s": 8, "wall %": 7, "phase s": 8, "phase %": 8, "start s": 8, "end s": 7}
COLUMNS |= {"CPU s": 7, "CPU ms/req": 11, "MB": 6, "conns": 6, "flight": 7, "others %": 9}


def line(name: str, *fields: str) -> None:
    """One line of the table."""
    print(name.ljust(22) + "".join(field.rjust(width) for field, width in zip(fields, COLUMNS.values(), strict=True)), flush=True)


def show(name: str, run: Timed, ideal: float, requests: int) -> None:
    """One row of the table."""

    def share(seconds: float | None) -> str:
        return f"{100 * ideal / seconds:.0f}" if seconds else "-"

    def said(seconds: float | None) -> str:
        return "-" if seconds is None else f"{seconds:.2f}"

    parts = (said(run.wall), f"{ideal:.2f}", share(run.wall), said(run.phase), share(run.phase), said(run.start), said(run.end))
    cost = (f"{run.cpu:.2f}", f"{1000 * run.cpu / requests:.3f}", f"{run.mb:.0f}")
    line(name, *parts, *cost, str(run.connections), str(run.most_in_flight), f"{100 * run.others:.0f}")
    if run.trouble:
        print(f"    it does not count: {run.trouble}", flush=True)


@contextlib.contextmanager
def a_folder(root: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="runner-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def once(cell: Cell, stub: Running, root: Path) -> Timed:
    """One whole run with a new store; where the cell says so, then one that has nothing left to do."""
    with a_folder(root) as folder:
        write_study(folder, cell, stub.url)
        run = checked(timed(fairmark(folder), stub, folder=folder), cell)
        if cell.resumed and not run.trouble:
            again = timed(fairmark(folder), stub, folder=folder)
            holds = not again.trouble and again.requests == 0 and again.wall <= MOST_RESUME
            trouble = f", {again.trouble}" if again.trouble else ""
            figure = f"{again.wall:.2f} s, {again.mb:.0f} MB, {again.requests} requests{trouble}"
            bar(f"{cell.name}, a finished run says so in at most {MOST_RESUME} s", holds, figure)
    return run


def measure(cell: Cell, root: Path, repeats: int) -> Timed:
    """The median of whole runs."""
    runs: list[Timed] = []
    with running(DELAY, size=cell.size) as stub:
        while len(runs) < repeats and not any(run.trouble for run in runs):
            runs.append(once(cell, stub, root))
    found = middle(runs)
    show(cell.name, found, cell.ideal, cell.requests)
    return found


def bars_of(cell: Cell, run: Timed) -> None:
    """Whether a cell holds what is asked of it."""
    if run.trouble:
        bar(cell.name, False, run.trouble)
        return
    if cell.most_wall is not None:
        bar(f"{cell.name}, whole process in at most {cell.most_wall} s", run.wall <= cell.most_wall, f"{run.wall:.2f} s")
    if cell.cases >= 2_000:
        cost = 1000 * run.cpu / cell.requests
        bar(f"{cell.name}, at most {MOST_CPU_MS} ms of processor a request", cost <= MOST_CPU_MS, f"{cost:.3f} ms")
    if cell.cases == 2_000:
        share = cell.ideal / (run.phase or float("inf"))
        bar(f"{cell.name}, request phase at least {LEAST_PHASE:.0%} of the ideal", share >= LEAST_PHASE, f"{share:.0%}")
    if cell.most_mb is not None:
        bar(f"{cell.name}, at most {cell.most_mb:.0f} MB", run.mb <= cell.most_mb, f"{run.mb:.0f} MB")


def ours(root: Path, cells: list[Cell], repeats: int) -> None:
    """Runs the cells, prints the table and then the bars."""
    line("", *COLUMNS)
    found = {cell.name: measure(cell, root, min(repeats, cell.repeats)) for cell in cells}
    print()
    for cell in cells:
        bars_of(cell, found[cell.name])
    first = found.get(FIRST.name)
    if first and first.start is not None:
        bar(f"the first request leaves within {MOST_FIRST} s", first.start <= MOST_FIRST, f"{first.start:.2f} s")
    if TWENTY.name in found and not (found[TEN.name].trouble or found[TWENTY.name].trouble):
        ratio = found[TWENTY.name].wall / found[TEN.name].wall
        bar(f"20,000 cases take at most {MOST_GROWTH} times as long as 10,000", ratio <= MOST_GROWTH, f"{ratio:.2f}")


def peer_once(peer: Peer, cell: Cell, stub: Running, root: Path) -> Timed:
    """The same work through another harness."""
    with a_folder(root) as folder:
        write_cases(folder / "cases.jsonl", cell.cases)
        if peer.prepare:
            peer.prepare(folder, stub.url)
        command, more = peer.command(folder, stub.url, cell.in_flight), surroundings(peer, folder, stub.url)
        run = timed(command, stub, folder=folder, env=more)
        right = 0.0 if run.trouble else peer.right(folder, run.said)
    if not run.trouble and (right, run.requests) != (1.0, cell.cases):
        return replace(run, trouble=f"{right:.3f} right, {run.requests} requests")
    return run


def theirs(root: Path, cell: Cell = EXACT) -> None:
    """A cell through the other harnesses, once each, beside the slower of our runs before and after it."""
    print()
    line("", *COLUMNS)
    ratios: list[tuple[str, Timed, Timed]] = []
    with running(DELAY) as stub:
        before = once(cell, stub, root)
        show("fairmark", before, cell.ideal, cell.requests)
        for peer in PEERS:
            version = peer.version()
            if version is None:
                print(f"{peer.name}: missing here (see benchmarks/runner_peers.sh)")
                continue
            run = peer_once(peer, cell, stub, root)
            show(f"{peer.name} {version}", run, cell.ideal, cell.requests)
            after = once(cell, stub, root)
            show("fairmark", after, cell.ideal, cell.requests)
            own = next((one for one in (before, after) if one.trouble), max(before, after, key=lambda one: one.wall))
            ratios.append((peer.name, run, own))
            before = after
    print()
    for name, run, own in ratios:
        if run.trouble or own.trouble:
            print(f"       {name}: no ratio, as one of the two does not count")
            continue
        least = LEAST_INSPECT if name == "inspect-ai" else LEAST_PEER
        rates = f"{cell.cases / own.wall:,.0f} and {cell.cases / run.wall:,.0f} samples/s"
        figure = f"{run.wall / own.wall:.1f} times ({rates}), {run.cpu / own.cpu:.1f} times as many a processor second"
        bar(f"at least {least:.0f} times the samples a second of {name}", run.wall / own.wall >= least, figure)


def on_a_disk(given: str | None) -> Path:
    """A folder whose writes are durable, for a store in memory would flatter."""
    root = Path(given or tempfile.gettempdir()).resolve()
    if not given and file_system(root) in ("tmpfs", "ramfs"):
        root = HERE.parent / "build"
    root.mkdir(exist_ok=True)
    return root


def file_system(path: Path) -> str:
    """The kind of file system that a path is on, where the system says."""
    try:
        mounts = [row.split()[1:3] for row in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    over = [(point, kind) for point, kind in mounts if path.is_relative_to(point)]
    return max(over, key=lambda one: len(one[0]))[1] if over else "unknown"


def sync_ms(root: Path) -> float:
    """Milliseconds that it takes until four kilobytes are on the disk; the middle one of thirty."""
    took = []
    with tempfile.TemporaryFile(dir=root) as file:
        for _ in range(30):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append(1000 * (time.perf_counter() - began))
    return sorted(took)[len(took) // 2]


def speed_of_core() -> float:
    """Million additions a second in plain Python, by which figures of different moments can be compared."""
    began, total = time.perf_counter(), 0
    for n in range(5_000_000):
        total += n
    return 5 / (time.perf_counter() - began)


def machine(root: Path) -> None:
    """What it ran on."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        rows = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), processor)
    there = []
    for name in ("fairmark", "aiohttp", "pyreqwest", "httptools", "uvloop", "orjson", "SQLAlchemy", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            there.append(f"{name} {metadata.version(name)}")
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{os.cpu_count()} cores, {processor}, {platform.system()} {platform.release()}{load}")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {', '.join(there)}")
    stub = "uvloop" if PREFERRED.exists() else "this Python"
    print(f"store on {file_system(root)}, where a sync takes {sync_ms(root):.2f} ms; stub on {stub}")
    print(f"core 0 does {speed_of_core():.1f} million additions a second in Python")
    if (os.cpu_count() or 1) < 2:
        print("only one core: the stub is in the way of what is timed")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the cells of 2,000 cases, once")
    parser.add_argument("--large", action="store_true", help="only 100,000 responses of 2 KB on three criteria")
    parser.add_argument("--peers", action="store_true", help="other harnesses too")
    parser.add_argument("--folder", help="where studies and stores are written; the system's temporary folder unless that is in memory")
    parser.add_argument("--ahead", action="store_true", help="run before other processes of this machine, where that is allowed")
    given = parser.parse_args()
    root = on_a_disk(given.folder)
    os.environ["OPENAI_API_KEY"] = "stub"
    # modules are compiled once, as they are where a package was installed; a checkout may be told to compile them every time
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(HERE.parent / "src", quiet=2)
    if given.ahead:
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 0 else max(soft, min(hard, 65_536)), hard))
    pin(0)
    machine(root)
    if given.large:
        cells = [LARGE]
    elif given.quick:
        cells = [FIRST, EXACT, GRADED]
    else:
        cells = [FIRST, EXACT, GRADED, TEN, TEN_GRADED, TEN_FULL, TWENTY]
    ours(root, cells, 1 if given.quick else REPEATS)
    if given.peers:
        theirs(root)
    print(f"\n{len(missed)} missed" if missed else "\nall held")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
