"""Many people marking at once over HTTP while a run in another process writes to the same store.

    python benchmarks/marking.py [--markers 50] [--marks 20] [--rows 600]

Prints what was lost, doubled or refused, how long a mark took until it was durable, and the machine. Every tenth act is sent
twice, as a browser does after a lost connection. Exit 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # instead of this folder, whose statistics.py hides the library's

from tests.bench import study

from fairmark.records import Answer, Response
from fairmark.store import Store
from fairmark.study import GraderSpec, People, SystemSpec
from fairmark.web import access, app
from fairmark.workbench import Workbench

P95 = 0.150  # seconds
LEVELS = {"tone": ("cold", "neutral", "kind"), "safe": ("no", "yes")}


@dataclass
class Ledger:
    """What the markers know: every act they were told is stored, and what they said last."""

    acts: set[str] = field(default_factory=set)
    said: dict[tuple[str, str, str], str] = field(default_factory=dict)  # person, assignment, criterion -> label
    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def write_rows(path: str, rate: int, stop: object) -> None:
    """A run that stores answers at about this rate until it is told to stop; the process of its own."""
    with Store.open(Path(path)) as store:
        number, began = 0, time.perf_counter()
        while not stop.is_set():  # type: ignore[attr-defined]
            store.add_intent(f"i{number}", "response", "run", number)
            store.add_response(Response(f"r{number}", f"other{number}", "run", 1, "1", Answer("An answer. " * 20), at=number))
            number += 1
            ahead = 2 * number / rate - (time.perf_counter() - began)
            if ahead > 0:
                time.sleep(ahead)
        print(f"the run stored {2 * number / (time.perf_counter() - began):.0f} rows a second meanwhile", flush=True)


async def marker(url: str, cookie: str, person: str, work: list[str], ledger: Ledger, rng: random.Random, think: float) -> None:
    headers = {"X-Fairmark": "1", "Origin": url, "Cookie": cookie}
    async with aiohttp.ClientSession(headers=headers) as session:
        for assignment in work:
            for base, (criterion, levels) in enumerate(LEVELS.items()):
                act, label = str(uuid.uuid4()), rng.choice(levels)
                said = {"act": act, "base": base, "criterion": criterion, "label": label, "reason": "", "evidence": [], "seconds": 3.0}
                for _ in range(2 if rng.random() < 0.1 else 1):
                    await asyncio.sleep(rng.random() * think)
                    began = time.perf_counter()
                    async with session.post(f"{url}/mark/{assignment}/say", json=said) as answer:
                        body = await answer.text()
                        ledger.seconds.append(time.perf_counter() - began)
                        if answer.status == 200:
                            ledger.acts.add(act)
                            ledger.said[person, assignment, criterion] = label
                        else:
                            ledger.refused.append(f"{answer.status} {body[:200]}")


def browsers(url: str, cookies: dict[str, str], work: dict[str, list[str]], think: float) -> Ledger:
    """All markers at once, in a process of their own as they are in life."""
    ledger = Ledger()

    async def all_at_once() -> None:
        await asyncio.gather(*(marker(url, cookies[who], who, work[who], ledger, random.Random(who), think) for who in cookies))

    asyncio.run(all_at_once())
    return ledger


async def served(bench: Workbench, people: People, think: float) -> Ledger:
    office = app.make_office(bench)
    running = await app.start(office, "127.0.0.1", 0)
    now = time.time_ns()
    work: dict[str, list[str]] = {person: [] for person in people.roster}
    for one in bench.store.people.assignments(office.desk.name):
        work[one.person].append(one.id)
    cookies = {}
    for person in people.roster:
        token = access.new_token()
        bench.store.people.let_in(office.desk.name, access.hashed(token), person, "grader", "session", at=now, until=now + 10**15)
        cookies[person] = f"{access.COOKIE}={token}"
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            url = f"http://127.0.0.1:{running.port}"
            return await asyncio.get_running_loop().run_in_executor(apart, browsers, url, cookies, work, think)
    finally:
        await running.stop()


def prepared(path: Path, markers: int, marks: int) -> tuple[Workbench, People]:
    responses = markers * marks // len(LEVELS)
    people = People(tuple(f"p{number}" for number in range(markers)), criteria=tuple(LEVELS))
    base = study(n=responses // 2)
    systems = {
        name: SystemSpec(name, "recorded", recorded={(case.id, 1): f"{name} answers {case.id}" for case in base.cases})
        for name in ("bare", "guided")
    }
    graders = {"limit": base.graders["limit"], "people": GraderSpec("people", "people", people.criteria, chosen="all")}
    bench = Workbench(replace(base, systems=systems, graders=graders, people=people, hypotheses=()), store=path, env={})
    bench.run()
    bench.assign()
    return bench, people


def measure(markers: int, marks: int, rows: int, think: float = 0.1) -> tuple[Ledger, int, int, int]:
    """The ledger, and how many acts were lost, doubled, and how many labels are not the ones that were said last."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        bench, people = prepared(path, markers, marks)
        with bench:
            context = multiprocessing.get_context("spawn")
            stop = context.Event()
            writer = context.Process(target=write_rows, args=(str(path), rows, stop))
            if rows:
                writer.start()
                time.sleep(2.0)  # until the other process writes
            ledger = asyncio.run(served(bench, people, think))
            stop.set()
            if rows:
                writer.join(30)
            acts = [one.id for one in bench.store.people.acts(bench.desk().name)]
            lost, doubled = len(ledger.acts - set(acts)), len(acts) - len(set(acts))
            desk, wrong = bench.desk(), 0
            for (person, assignment, criterion), label in ledger.said.items():
                wrong += desk.view(person, assignment).panes[0].said[criterion].label != label
        return ledger, lost, doubled, wrong


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--markers", type=int, default=50)
    options.add_argument("--marks", type=int, default=20, help="labels each of them gives")
    options.add_argument("--rows", type=int, default=600, help="rows a second that the run writes; 0: no run")
    asked = options.parse_args()
    ledger, lost, doubled, wrong = measure(asked.markers, asked.marks, asked.rows)
    times = ledger.seconds
    quantile = np.quantile(times, (0.5, 0.95, 0.99)).tolist()
    locked = sum("locked" in refusal or "BUSY" in refusal for refusal in ledger.refused)
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{asked.markers} markers, {len(ledger.acts)} acts, {len(times)} requests")
    print(
        f"lost {lost}, doubled {doubled}, other labels than were said {wrong}, refused {len(ledger.refused)}, database is locked {locked}"
    )
    print(f"until a mark is durable: p50 {quantile[0] * 1000:.0f} ms, p95 {quantile[1] * 1000:.0f} ms, p99 {quantile[2] * 1000:.0f} ms")
    for refusal in ledger.refused[:3]:
        print("refused:", refusal)
    held = not (lost or doubled or wrong or ledger.refused) and quantile[1] < P95
    print(f"bar (nothing lost, doubled or refused, p95 below {P95 * 1000:.0f} ms): {'held' if held else 'MISSED'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
