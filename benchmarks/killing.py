"""kill -9 at random moments of a study's life: while it is read, asked, marked, analysed and reported, and again while it resumes.

An endpoint keeps a ledger of its own. After each kill the store is held against it:
- every record that stood before still stands, and every reply on which a later request rests is there;
- what was paid for and is not stored was in flight at that kill, and the store names it;
- in the end, what was paid beyond what an unbroken run needs is the sum of what was in flight, and the analysis is the same.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fake_endpoint import FakeEndpoint, Received, Reply, chat

from benchmarks.hatchery import Hatchery
from fairmark.store import Store

IN_FLIGHT = 8
CASES = 20
STAGES = (("run", 9), ("analyse", 2), ("report", 2))  # commands, and the most kills of each
# what differs between two runs of one study: moments, durations and the hash over both
MOVES = {"analysed_at", "frozen_at", "head", "seconds", "median_seconds", "p95_seconds", "latency"}
QUICKER = 0.8  # of the time that a command was thought to take
STORE = Path(".fairmark") / "store.db"


def write_study(folder: Path, url: str, *, cases: int = CASES, in_flight: int = IN_FLIGHT) -> Path:
    """Two systems that are asked and one that was recorded; a check, an LLM grader and a person's recorded marks."""
    folder.mkdir(parents=True)
    rows = [{"id": f"c{n}", "input": f"Please delete my data, request {n}."} for n in range(cases)]
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompt.md").write_text("Name the limit.")
    (folder / "answers.csv").write_text("case,output\n" + "".join(f"c{n},We do it within 30 days.\n" for n in range(cases)))
    marks = (f"c{n},{system},kind,{'no' if n % 5 else 'yes'}\n" for n in range(0, cases, 2) for system in ("bare", "guided", "old"))
    (folder / "marks.csv").write_text("case,system,criterion,label\n" + "".join(marks))
    (folder / "study.yaml").write_text(
        f"""study: killed
question: Does it survive?
cases: cases.jsonl
concurrency: {in_flight}
systems:
  bare: {{model: openai/m, base_url: "{url}"}}
  guided: {{model: openai/m, base_url: "{url}", prompt: prompt.md}}
  old: {{recorded: answers.csv}}
rubric:
  rubric: two
  criteria:
    limit: {{question: Does it name the limit?, levels: [no: names no limit, yes: names the limit]}}
    kind: {{question: Is it kind?, levels: [no: it is curt, yes: it is kind]}}
graders:
  days: {{check: contains, value: 30 days, criterion: limit}}
  judge: {{llm: openai/j, base_url: "{url}", criterion: kind}}
  ana: {{recorded: marks.csv, criteria: [kind], chosen: random}}
hypotheses:
  H1: {{text: Guided names it more often, better: guided, than: bare, on: limit, by: 0.1, primary: true}}
  H2: {{text: Guided is kind to most, system: guided, on: kind, at_least: 0.1}}
"""
    )
    return folder


def endpoint(*, quickest: float = 0.02, slowest: float = 0.05, seed: int = 1) -> FakeEndpoint:
    """Answers whose words name the request that they answer, so that each is found again wherever it went."""
    rng, serial = random.Random(seed), itertools.count()

    def decide(received: Received) -> Reply:
        number, case = next(serial), int(re.findall(rb"request (\d+)", received.body)[-1])
        if b"json_schema" in received.body:
            level = "yes" if case % 4 else "no"
            text = json.dumps({"evidence": "", "reason": f"reply <{number}>", "level": level})
        else:
            named = case % 4 if b"Name the limit" in received.body else not case % 4
            text = f"Certainly{', within 30 days' if named else ''}. reply <{number}>"
        return Reply(chat(text), delay=rng.uniform(quickest, slowest))

    return FakeEndpoint(decide)


def needed(cases: int = CASES) -> int:
    """Requests of an unbroken run: two answers a case, a grade of each, and a grade of what was recorded."""
    return cases * 2 + cases * 3


# ---------------------------------------------------------------- what the store says


@dataclass(frozen=True)
class Stored:
    """What stands in a store at one moment."""

    records: frozenset[tuple[str, str, str]]  # table, key, hash
    replies: frozenset[int]  # which of the endpoint's replies
    asked: int  # rows that say that something was about to be sent
    came: int  # outcomes of what was asked
    places: dict[tuple[str, str], str]  # key of a response by case and system

    @classmethod
    def of(cls, folder: Path) -> Stored:
        if not (folder / STORE).exists():
            return cls(frozenset(), frozenset(), 0, 0, {})
        with closing(sqlite3.connect(folder / STORE)) as store:
            try:
                rows = [
                    (table, *row)
                    for table, name in (("response", "system"), ("grade", "grader"))
                    for row in store.execute(
                        f"SELECT key, record, case_id, {name}, text FROM {table} JOIN content ON content.id = {table}.body"
                    )
                ]
                (asked,) = store.execute("SELECT count(*) FROM intent").fetchone()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):  # killed before the first commit
                    return cls(frozenset(), frozenset(), 0, 0, {})
                raise
        # a grade's text holds what its grader said, and not the answer that it was shown
        replies = [int(found[-1]) for *_, text in rows if (found := re.findall(r"reply <(\d+)>", text))]
        return cls(
            frozenset((table, key, record) for table, key, record, *_ in rows),
            frozenset(replies),
            asked,
            sum(name in ("bare", "guided", "judge") for *_, name, _ in rows),
            {(case, name): key for table, key, _, case, name, _ in rows if table == "response"},
        )


def orphans(folder: Path) -> dict[str, int]:
    """What the store says was sent and never came back, by key."""
    if not (folder / STORE).exists():
        return {}
    with Store.open(folder / STORE) as store:
        return {orphan.key: orphan.times for orphan in store.orphans()}


def steady(value: Any) -> Any:
    """A document without what differs between two runs of one study."""
    if isinstance(value, dict):
        return {name: steady(inner) for name, inner in value.items() if name not in MOVES}
    return [steady(inner) for inner in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- the hunt


@dataclass
class Hunt:
    """The figures of so many kills. `wrong` says in words what did not hold; it should be empty."""

    kills: int = 0
    by_stage: Counter[str] = field(default_factory=Counter)
    by_moment: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    needed: int = 0
    in_flight: int = 0  # at kills, together: paid for and not stored
    most_in_flight: int = 0
    lives: int = 0  # studies from the first command to the last
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Hunt) -> None:
        self.kills += other.kills
        self.by_stage += other.by_stage
        self.by_moment += other.by_moment
        self.requests += other.requests
        self.needed += other.needed
        self.in_flight += other.in_flight
        self.most_in_flight = max(self.most_in_flight, other.most_in_flight)
        self.lives += other.lives
        self.wrong += other.wrong
        self.seconds = max(self.seconds, other.seconds)


@dataclass
class Hunter:
    """Kills the commands of one study after another. Two may hunt beside one another, each with its own scratch folder."""

    scratch: Path
    seed: int
    cases: int = CASES
    found: Hunt = field(default_factory=Hunt)

    def hunt(self, kills: int) -> Hunt:
        begun = time.monotonic()
        rng = random.Random(self.seed)
        with endpoint(seed=self.seed) as served, Hatchery(self.scratch) as hatchery:
            self.served, self.hatchery = served, hatchery
            self.moments: list[float] = []  # when requests came in
            decide = served.decide
            served.decide = lambda received: (self.moments.append(time.monotonic()), decide(received))[1]
            whole, usual = self._unbroken()
            while self.found.kills < kills:
                self.found.lives += 1
                self._life(self.scratch / f"life{self.found.lives}", rng, kills, whole, usual)
        self.found.seconds = time.monotonic() - begun
        return self.found

    def _unbroken(self) -> tuple[Any, dict[str, float]]:
        """The analysis of a run that nothing breaks, and how long each command takes."""
        folder = write_study(self.scratch / "whole", self.served.url, cases=self.cases)
        usual = {}
        for stage, _ in STAGES:
            child = self.hatchery.start(self._command(stage, folder))
            begun = time.monotonic()
            self.hatchery.end(child)
            usual[stage] = time.monotonic() - begun
            if stage == "run":
                usual["asking"] = self.moments[-1] - self.moments[0]
            if child.code != 0:
                raise RuntimeError(f"{stage} failed: {child.wrong.read_text()}")
            if stage == "analyse":
                whole = steady(child.document())
        if len(self.served.ledger) != needed(self.cases):
            raise RuntimeError(f"{len(self.served.ledger)} requests instead of {needed(self.cases)}")
        return whole, usual

    def _life(self, folder: Path, rng: random.Random, kills: int, whole: Any, usual: dict[str, float]) -> None:
        write_study(folder, self.served.url, cases=self.cases)
        first = len(self.served.ledger)
        stood, lost, waiting = Stored.of(folder), 0, []
        for stage, most in STAGES:
            for _ in range(most):
                if self.found.kills >= kills:
                    break
                before, orphaned = len(self.served.ledger), orphans(folder)
                child = self.hatchery.start(self._command(stage, folder))
                self._moment(rng, stage, before, usual)
                os.kill(child.pid, signal.SIGKILL)
                if self.hatchery.end(child) != -signal.SIGKILL:
                    # it was quicker, and is likely to be so again
                    usual[stage] *= QUICKER
                    usual["asking"] *= QUICKER if stage == "run" else 1
                    break
                self._quiet()
                now = Stored.of(folder)
                asked = self.served.ledger[before:]
                gone = [request for number, request in enumerate(asked, before) if number not in now.replies]
                self._count(stage, asked, now, stood, gone)
                self._held(f"{folder.name}, {stage}, kill {self.found.kills}", stood, now, asked, gone, orphaned, orphans(folder))
                waiting.append(([_place(request) for request in gone], orphans(folder)))
                stood, lost = now, lost + len(gone)
            child = self.hatchery.run(self._command(stage, folder))
            if child.code != 0:
                self._wrong(f"{folder.name}: {stage} ended with {child.code}: {child.wrong.read_text()}")
                return
            if stage == "analyse" and steady(child.document()) != whole:
                self._wrong(f"{folder.name}: the analysis differs from that of an unbroken run")
            stood = Stored.of(folder)
        paid = len(self.served.ledger) - first
        self.found.requests += paid
        self.found.needed += needed(self.cases)
        if paid != needed(self.cases) + lost:
            self._wrong(f"{folder.name}: {paid} requests, {needed(self.cases)} needed and {lost} in flight at kills")
        for places, named in waiting:
            unnamed = [place for place in places if place is not None and stood.places[place] not in named]
            if unnamed:
                self._wrong(f"{folder.name}: {unnamed} were sent, and the store did not name them")
        if not (folder / "report.html").read_text().rstrip().endswith("</html>"):
            self._wrong(f"{folder.name}: the report is not whole")
        with Store.open(folder / STORE) as store:
            if store.integrity() != "ok" or not store.verify().proven or store.orphans():
                self._wrong(f"{folder.name}: integrity {store.integrity()}, orphans {store.orphans()}")

    def _moment(self, rng: random.Random, stage: str, before: int, usual: dict[str, float]) -> None:
        """Waits for a random moment: of the whole command, or, two times in three, of the time in which it asks."""
        if stage == "run" and rng.random() < 2 / 3:
            until = time.monotonic() + 3 * usual[stage]
            while len(self.served.ledger) == before and time.monotonic() < until and not self.hatchery.ended():
                time.sleep(0.002)
            time.sleep(rng.random() * usual["asking"])
        else:
            time.sleep(rng.random() * usual[stage])

    def _command(self, stage: str, folder: Path) -> list[str]:
        out = [str(folder / "report.html")] if stage == "report" else []
        return [stage, *out, "-c", str(folder), "--json", *(["--quiet"] if stage == "run" else [])]

    def _quiet(self) -> None:
        """Waits until the endpoint has read what was on its way to it."""
        calm = 0
        while calm < 3:
            calm = calm + 1 if self.served.now == 0 else 0
            time.sleep(0.005)

    def _count(self, stage: str, asked: list[Received], now: Stored, stood: Stored, gone: list[Received]) -> None:
        self.found.kills += 1
        self.found.by_stage[stage] += 1
        kinds = {"grades" if b"json_schema" in request.body else "answers" for request in gone}
        moment = f"with {' and '.join(sorted(kinds))} in flight" if kinds else "with nothing in flight"
        if stage == "run" and not asked:
            moment = "before the first request"
        self.found.by_moment[moment] += 1
        self.found.in_flight += len(gone)
        self.found.most_in_flight = max(self.found.most_in_flight, len(gone))

    def _held(
        self,
        where: str,
        stood: Stored,
        now: Stored,
        asked: list[Received],
        gone: list[Received],
        orphaned: dict[str, int],
        named: dict[str, int],
    ) -> None:
        if not stood.records <= now.records:
            self._wrong(f"{where}: {len(stood.records - now.records)} records were lost")
        shown = {int(number) for request in asked if b"json_schema" in request.body for number in _shown(request)}
        if not shown <= now.replies:
            self._wrong(f"{where}: {sorted(shown - now.replies)} were marked and are not stored")
        if len(gone) > IN_FLIGHT:
            self._wrong(f"{where}: {len(gone)} requests were lost with {IN_FLIGHT} in flight")
        noted = (now.asked - stood.asked) - (now.came - stood.came)
        if not len(gone) <= noted <= IN_FLIGHT:
            self._wrong(f"{where}: {noted} intents without an outcome for {len(gone)} lost requests")
        if sum(named.values()) < len(gone):
            self._wrong(f"{where}: {len(gone)} were in flight, and the store names {named}")
        if set(named) - set(orphaned) and len(set(named) - set(orphaned)) > IN_FLIGHT:
            self._wrong(f"{where}: {len(set(named) - set(orphaned))} new orphans")

    def _wrong(self, what: str) -> None:
        self.found.wrong.append(what)


def _place(request: Received) -> tuple[str, str] | None:
    """The case and system of a request for an answer; None for a grade."""
    if b"json_schema" in request.body:
        return None
    case = re.findall(rb"request (\d+)", request.body)[-1].decode()
    return f"c{case}", "guided" if b"Name the limit" in request.body else "bare"


def _shown(request: Received) -> Iterator[str]:
    """The replies that a grader was shown."""
    yield from re.findall(r"reply <(\d+)>", request.body.decode())


def hunted(scratch: Path, kills: int, *, seed: int) -> Hunt:
    """The figures of so many kills, by two hunters beside one another."""
    whole = Hunt()
    with ThreadPoolExecutor(2) as beside:
        halves = []
        for turn, share in enumerate((kills // 2, kills - kills // 2)):
            place = scratch / f"hunter{turn}"
            place.mkdir()
            halves.append(beside.submit(Hunter(place, seed + turn).hunt, share))
        for half in halves:
            whole.add(half.result())
    return whole
