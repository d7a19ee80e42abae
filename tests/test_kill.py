"""kill -9 in the middle of a run, five times: nothing finished is lost, nothing is paid twice beyond what was in flight."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fairmark.store import Store
from tests.fake_endpoint import FakeEndpoint, Received

CASES = 60
IN_FLIGHT = 8


def _say(received: Received) -> str:
    if b"json_schema" in received.body:
        return '{"evidence": "", "reason": "as asked", "level": "yes"}'
    return "We answer within 30 days." if b"Name the limit" in received.body else "Certainly."


def _study(folder: Path, url: str) -> Path:
    folder.mkdir()
    rows = [{"id": f"c{n}", "input": f"Please delete my data, request {n}."} for n in range(CASES)]
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompt.md").write_text("Name the limit.")
    (folder / "study.yaml").write_text(
        f"""study: killed
question: Does it survive?
cases: cases.jsonl
concurrency: {IN_FLIGHT}
systems:
  bare: {{model: openai/m, base_url: "{url}"}}
  guided: {{model: openai/m, base_url: "{url}", prompt: prompt.md}}
rubric:
  rubric: two
  criteria:
    limit: {{question: Does it name the limit?, levels: [no: names no limit, yes: names the limit]}}
    kind: {{question: Is it kind?, levels: [no: it is curt, yes: it is kind]}}
graders:
  days: {{check: contains, value: 30 days, criterion: limit}}
  judge: {{llm: openai/j, base_url: "{url}", criterion: kind}}
hypotheses:
  H1: {{text: Guided names it more often, better: guided, than: bare, on: limit, by: 0.1, primary: true}}
"""
    )
    return folder


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fairmark.cli", "run", "-c", str(folder), "--json", "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(folder: Path) -> Any:
    child = _start(folder)
    said, wrong = child.communicate(timeout=120)
    assert child.returncode == 0, wrong
    return json.loads(said)


def _keys(folder: Path) -> set[str]:
    """Keys that are answered or graded in the store at this moment."""
    import sqlite3

    with sqlite3.connect(folder / ".fairmark" / "store.db") as store:
        return {key for (key,) in store.execute("SELECT key FROM response UNION SELECT key FROM grade")}


def _found(document: Any) -> list[Any]:
    return [
        [(h["verdict"], h["estimate"]["value"], h["estimate"]["low"], h["estimate"]["high"]) for h in document["analysis"]["hypotheses"]],
        [(s["answered"], s["failed"], s["score"]["value"]) for s in document["analysis"]["systems"]],
    ]


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=pytest.mark.long)])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, kills: int) -> None:
    rng = random.Random(4)
    with FakeEndpoint(text=_say, delay=0.05) as endpoint:
        whole = _finish(_study(tmp_path / "whole", endpoint.url))
        unbroken = len(endpoint.ledger)
        assert unbroken == 4 * CASES
        folder = _study(tmp_path / "killed", endpoint.url)
        finished: set[str] = set()
        for _ in range(kills):
            child = _start(folder)
            # start-up takes a while; then the moment is anywhere in the run
            before = len(endpoint.ledger)
            while len(endpoint.ledger) == before and child.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.random() * 2.5 / kills)
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
            now = _keys(folder)
            assert finished <= now, "a finished record was lost"
            finished |= now
        broken = _finish(folder)
        paid = len(endpoint.ledger) - unbroken
        bodies = Counter(received.body for received in endpoint.ledger[unbroken:])
    assert len(bodies) == unbroken
    assert paid - unbroken <= kills * IN_FLIGHT
    assert _found(broken) == _found(whole)
    with Store.open(folder / ".fairmark" / "store.db") as store:
        assert store.integrity() == "ok"
        assert store.orphans() == ()
