"""One kind of fault befalls a share of all requests: the run ends, pays little more, and makes nothing up."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench import study
from tests.fake_endpoint import AT_CONNECTING, FAULTS, FakeEndpoint, Received
from tests.providers.raw_server import certificate

from fairmark.calls import Policy
from fairmark.records import Failure
from fairmark.results import as_json
from fairmark.study import ModelSpec, SystemSpec
from fairmark.workbench import Tally, Workbench

KINDS = (*FAULTS, *AT_CONNECTING)
HANGS = {"hang", "hang_in_body", "dribble", "hang_at_accept"}  # what only a deadline ends
REFUSED = {"status_401", "status_403"}  # a key that is refused once is not tried again
HARMLESS = {"reset_at_rest", "wrong_type"}  # the answer came and can be read
# asking again would bring nothing; the kind of failure that is stored
NOT_AGAIN = {"retry_after_absurd": "rate_limited", "redirect": "bad_request", "status_401": "auth", "status_403": "auth"}
MOST_AMPLIFICATION = 1.2  # requests sent for one that was needed, with a tenth befallen
IN_FLIGHT = 20
PROVIDERS = 2  # that are asked at first; each has a key of its own
# the shipped waits are for people's endpoints; here the same steps take less
QUICK = Policy(deadline=10.0, tries=4, base=0.01, cap=0.05, longest_retry_after=2.0)
# nobody there is said at once, so that the whole queue could be tried while nobody is there
PATIENT = replace(QUICK, base=0.05, cap=0.5, tries=6)
IMPATIENT = replace(QUICK, deadline=1.0, grace=1.0)


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `wrong` says in words what did not hold."""

    kind: str
    share: float
    tally: Tally
    asked: int  # answers and grades that were asked for at least once
    received: int  # requests that the endpoint read
    failures: Mapping[str, int]
    seconds: float
    wrong: list[str] = field(default_factory=list)

    @property
    def amplification(self) -> float:
        """Requests sent for one that was needed. One that found nobody there was not sent."""
        sent = self.received if self.kind == "refuse" else self.tally.calls
        return sent / self.asked if self.asked else 0.0


def say(received: Received) -> str:
    if b"json_schema" in received.body:
        return '{"evidence": "", "reason": "as asked", "level": "neutral"}'
    return "We delete it within 30 days."


def befallen(kind: str, share: float, *, cases: int = 50, seed: int = 3) -> Outcome:
    """A run of two systems and an LLM grader, of whose requests a share meets with one kind of fault."""
    begun = time.monotonic()
    with _endpoint(kind, share, seed) as endpoint:
        model = ModelSpec("openai", "m", {"temperature": 0}, base_url=endpoint.url)
        small = study(n=cases)
        made = replace(
            small,
            systems={name: SystemSpec(name, "model", model=model, prompt=spec.prompt) for name, spec in small.systems.items()},
            graders={**small.graders, "judge": replace(small.graders["judge"], model=model)},
            concurrency=IN_FLIGHT,
        )
        with Workbench(made, memory=True, env={}, policy=IMPATIENT if kind in HANGS else PATIENT if kind == "refuse" else QUICK) as bench:
            tally = bench.run()
            wrong = list(_made_up(bench, cases))
            outcomes = list(_outcomes(bench))
        served, received = endpoint.served[kind], len(endpoint.ledger)
        bodies = len({request.body for request in endpoint.ledger})
    if served == 0:
        wrong.append("nothing was befallen")
    unanswered = sum(what == "response" and failure is not None for what, failure in outcomes)
    # an answer that never came is not marked
    if tally.planned != tally.answered + tally.failed + tally.pending or tally.pending > unanswered:
        wrong.append(f"{tally.planned} planned = {tally.answered} answered + {tally.failed} failed + {tally.pending} pending")
    # what was on its way over a connection that was reset just then was not read
    if kind not in (*AT_CONNECTING, "reset_at_rest") and received != tally.calls:
        wrong.append(f"{received} requests came in, and the run counts {tally.calls}")
    if kind in HARMLESS and tally.failed:
        wrong.append(f"{tally.failed} failed of which all could be read")
    if kind in NOT_AGAIN and received != bodies:
        wrong.append(f"{received - bodies} requests were sent again for nothing")
    if kind in REFUSED and served > PROVIDERS * IN_FLIGHT:
        wrong.append(f"{served} requests were sent with a key that was refused")
    counted = Counter(failure.kind for _, failure in outcomes if failure is not None)
    asked = bodies if kind not in AT_CONNECTING else tally.answered + tally.failed
    return Outcome(kind, share, tally, asked, received, counted, time.monotonic() - begun, wrong)


def _outcomes(bench: Workbench) -> Iterator[tuple[str, Failure | None]]:
    for row in bench.table().rows:
        if row.response is not None:
            yield "response", row.response.failure
        for cell in row.cells:
            if cell.grade is not None and cell.kind == "llm":
                yield "grade", cell.grade.failure


def _made_up(bench: Workbench, cases: int) -> Iterator[str]:
    """A failure that became a figure, in words."""
    table, analysis = bench.table(), bench.analyse()
    for system in analysis.systems:
        if not system.planned == cases == system.answered + system.failed + system.pending:
            yield f"{system.system}: {system.planned} planned = {system.answered} + {system.failed} + {system.pending}"
    json.dumps(as_json(analysis), allow_nan=False)
    for row in table.rows:
        failed = row.response is None or row.response.answer is None
        if failed and row.cells:
            yield f"{row.case.id} has no answer, and grades"
        for cell in row.cells:
            if cell.grade is None or (cell.grade.label is None) != (cell.grade.failure is not None):
                yield f"{row.case.id}: neither a label nor a failure, or both"
            elif cell.grade.label not in (None, "neutral", "yes", "no"):
                yield f"{row.case.id}: nobody said {cell.grade.label}"


@contextmanager
def _endpoint(kind: str, share: float, seed: int) -> Iterator[FakeEndpoint]:
    if kind not in AT_CONNECTING:
        with FakeEndpoint(text=say, garbage={kind: share}, evenly=True, seed=seed) as endpoint:
            yield endpoint
        return
    with tempfile.TemporaryDirectory() as scratch:
        secure = None
        before = os.environ.get("SSL_CERT_FILE")
        if kind == "no_tls":
            secure, vouched = certificate(Path(scratch), "IP:127.0.0.1")
            os.environ["SSL_CERT_FILE"] = str(vouched)
        try:
            with FakeEndpoint(text=say, at_connecting=(kind, share), secure=secure, seed=seed) as endpoint:
                yield endpoint
        finally:
            if before is None:
                os.environ.pop("SSL_CERT_FILE", None)
            else:
                os.environ["SSL_CERT_FILE"] = before
