"""What a row costs until it is durable, and how long an event loop waits for it.

    python benchmarks/journal.py [--folder .] [--cases 20000] [--ways]

The rows are those of one case: an intent, a response of 2 KB and a grade of 0.5 KB, each with its text, its place in the chain
and its commit (fsync, `synchronous=FULL`), so name a folder on the disk that counts. For groups of 100 and 1,000 rows it prints
rows a second, microseconds of processor time a row, and how long `kept()` takes while the loop is idle and while it is busy;
then how fast the store is verified.
`--ways` times, beside one another, the ways in which rows can be handed to SQLite, alone and while another thread computes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import platform
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # instead of this folder, whose statistics.py hides the library's

import numpy as np
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, create_engine, insert

from fairmark.records import Answer, Grade, Response, Usage
from fairmark.store import Journal, Store

GROUPS = (100, 1000)
BUSY = 0.001  # seconds that the loop computes between two turns

Case = tuple[str, Response, Grade]
Row = tuple[object, ...]


def made(number: int) -> list[Case]:
    """The records of so many cases."""
    found = []
    for n in range(number):
        key = hashlib.sha256(b"%d" % n).hexdigest()
        answer = Answer(f"{n} ".ljust(2048, "y"), "stop", "model", Usage(100, 0, 400), 0.00123, 0.05)
        marked = Answer('{"label":"kind"}', "stop", "model", Usage(600, 0, 20), 0.0001, 0.05)
        mark = Grade(
            key[::-1], f"case {n}", "tone", "judge", label="kind", reason="It is warm.", level_order=("cold", "kind"), answer=marked
        )
        found.append((key, Response(key, f"case {n}", "system", 1, "1", answer, None, n), mark))
    return found


async def written(journal: Journal, cases: Sequence[Case], group: int, *, busy: bool) -> tuple[float, list[float]]:
    """Processor seconds for all rows, and the seconds of each wait. While the loop is busy the former are its own as well."""
    stop = asyncio.Event()

    async def compute() -> None:
        while not stop.is_set():
            until = time.perf_counter() + BUSY
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    other = asyncio.create_task(compute()) if busy else None
    waits = []
    before = time.process_time()
    for start in range(0, len(cases), group // 3):
        for key, response, grade in cases[start : start + group // 3]:
            journal.intent(key, "response", "system", 1)
            journal.response(response)
            journal.grade(grade)
        asked = time.perf_counter()
        await journal.kept()
        waits.append(time.perf_counter() - asked)
    spent = time.process_time() - before
    stop.set()
    if other is not None:
        await other
    return spent, waits


def journal(folder: Path, number: int) -> None:
    """Prints a line for each group size and state of the loop."""
    cases = made(number)
    for group in GROUPS:
        for busy in (False, True):
            with tempfile.TemporaryDirectory(dir=folder) as place, Store.open(Path(place) / "s.db") as store:
                began = time.perf_counter()
                spent, waits = asyncio.run(written(store.journal(), cases, group, busy=busy))
                seconds = time.perf_counter() - began
                rows = 3 * number
                began = time.perf_counter()
                assert store.verify().proven
                verified = rows / (time.perf_counter() - began)
            cpu = "" if busy else f"{spent / rows * 1e6:6.1f} us of processor a row ({spent / number * 1e3:.3f} ms a case), "
            p50, p99 = np.quantile(waits, (0.5, 0.99)) * 1e3
            state = "busy" if busy else "idle"
            print(f"groups of {group:5,}, loop {state}: {rows / seconds:8,.0f} rows/s, {cpu}kept() {p50:.1f} ms (p99 {p99:.1f})")
    print(f"verify: {verified:,.0f} rows/s")


def ways(folder: Path, number: int) -> None:
    """Prints what a row costs in each way of handing it over."""
    names = ("key", "case_id", "system", "trial", "wave", "failure", "usd", "at", "record")
    shape = MetaData()
    texts = dict.fromkeys(names, String) | {"trial": Integer, "usd": Float, "at": Integer}
    table = Table("response", shape, Column("seq", Integer, primary_key=True), *(Column(name, kind) for name, kind in texts.items()))
    columns = ", ".join(names)
    rows = [(key, one.case_id, one.system, 1, "1", None, 0.00123, n, key) for n, (key, one, _) in enumerate(made(number))]

    def by_sqlalchemy(group: Sequence[Row], raw: sqlite3.Connection, connection: object) -> None:
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in group])  # type: ignore[attr-defined]

    def by_executemany(group: Sequence[Row], raw: sqlite3.Connection, connection: object) -> None:
        raw.executemany(f"INSERT INTO response ({columns}) VALUES ({', '.join('?' * len(names))})", group)

    def by_64_a_statement(group: Sequence[Row], raw: sqlite3.Connection, connection: object) -> None:
        one = f"({', '.join('?' * len(names))})"
        for start in range(0, len(group), 64):
            part = group[start : start + 64]
            raw.execute(f"INSERT INTO response ({columns}) VALUES {', '.join([one] * len(part))}", [value for row in part for value in row])

    def by_one_json(group: Sequence[Row], raw: sqlite3.Connection, connection: object) -> None:
        fields = ", ".join(f"value ->> {place}" for place in range(len(names)))
        raw.execute(f"INSERT INTO response ({columns}) SELECT {fields} FROM json_each(?)", (json.dumps(group),))

    every: tuple[Callable[[Sequence[Row], sqlite3.Connection, object], None], ...] = (
        by_sqlalchemy,
        by_executemany,
        by_64_a_statement,
        by_one_json,
    )
    for group in GROUPS:
        for busy in (False, True):
            for way in every:
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    engine = create_engine(f"sqlite:///{place}/s.db")
                    with engine.connect() as connection:
                        raw = connection.connection.driver_connection
                        assert isinstance(raw, sqlite3.Connection)
                        raw.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
                        shape.create_all(connection)
                        connection.commit()
                        cpu, wall = _timed(lambda part: way(part, raw, connection), raw.commit, rows, group, busy=busy)  # noqa: B023
                    engine.dispose()
                state = "beside a busy thread" if busy else "alone"
                print(f"groups of {group:5,}, {state:20}: {way.__name__:17} {cpu:6.1f} us of processor and {wall:6.1f} us a row")


def _timed(
    put: Callable[[Sequence[Row]], None], commit: Callable[[], None], rows: Sequence[Row], group: int, *, busy: bool
) -> tuple[float, float]:
    """Microseconds of this thread's processor time and of wall time a row."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    other = threading.Thread(target=compute)
    if busy:
        other.start()
    began, before = time.perf_counter(), time.thread_time()
    for start in range(0, len(rows), group):
        put(rows[start : start + group])
        commit()
    cpu, wall = time.thread_time() - before, time.perf_counter() - began
    stop.set()
    if busy:
        other.join()
    return cpu / len(rows) * 1e6, wall / len(rows) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that counts")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--ways", action="store_true", help="compare the ways to hand rows to SQLite")
    given = parser.parse_args()
    print(f"{platform.platform()}, CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    if given.ways:
        ways(given.folder, given.cases)
    else:
        journal(given.folder, given.cases)


if __name__ == "__main__":
    main()
