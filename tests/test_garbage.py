"""A loopback endpoint that answers a tenth of all requests with each kind of garbage: the run ends and nothing is made up."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fairmark import calls
from fairmark.results import as_json
from fairmark.study import ModelSpec, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import study
from tests.fake_endpoint import GARBAGE, FakeEndpoint, Received


def _say(received: Received) -> str:
    if b"json_schema" in received.body:
        return '{"evidence": "", "reason": "as asked", "level": "neutral"}'
    return "We delete it within 30 days."


@pytest.mark.parametrize("kind", sorted(GARBAGE))
def test_a_tenth_of_one_kind_of_garbage_ends_and_conserves(kind: str) -> None:
    # the shipped waits are for people's endpoints; a test waits less for the same steps
    quick = calls.Policy(deadline=1.0, tries=4, base=0.01, cap=0.05, longest_retry_after=2.0)
    with FakeEndpoint(text=_say, garbage={kind: 0.1}, seed=3) as endpoint:
        model = ModelSpec("openai", "m", {"temperature": 0}, base_url=endpoint.url)
        small = study(n=20)
        made = replace(
            small,
            systems={name: SystemSpec(name, "model", model=model, prompt=spec.prompt) for name, spec in small.systems.items()},
            graders={**small.graders, "judge": replace(small.graders["judge"], model=model)},
        )
        with Workbench(made, memory=True, env={}, policy=quick) as bench:
            tally = bench.run()
            table, analysis = bench.table(), bench.analyse()
        assert endpoint.served[kind] > 0
    assert tally.planned == tally.answered + tally.failed + tally.pending
    for system in analysis.systems:
        assert system.planned == 20 == system.answered + system.failed + system.pending
    json.dumps(as_json(analysis), allow_nan=False)
    for row in table.rows:
        failed = row.response is None or row.response.answer is None
        assert not failed or not row.cells  # no answer, no grade of any kind
        for cell in row.cells:
            assert cell.grade is not None
            assert (cell.grade.label is None) == (cell.grade.failure is not None)
            assert cell.grade.label in (None, "neutral", "yes", "no")
