"""`run --on ray` on a cluster of two workers on this machine: the same as a run here, also when a worker is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairmark.providers.ray import Cluster, RayHands
from fairmark.records import Response
from fairmark.study import ModelSpec, Study, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import study
from tests.fake_endpoint import FakeEndpoint

CASES = 60
DELAY = 0.05

pytestmark = [pytest.mark.ray]
ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def hands() -> Iterator[RayHands]:
    """One cluster for all tests, because it takes seconds to begin."""
    hands = RayHands(None, processors=2)
    hands.open()
    yield hands
    room = hands._room
    hands.close()
    assert not ray.is_initialized()
    assert room is not None and not Path(room).exists()


def _study(url: str) -> Study:
    """Two systems and a grader behind one endpoint, one check, and one system that is a program on the head."""
    model = ModelSpec("openai", "m", {"temperature": 0}, base_url=url, api_key="env:A_KEY")
    base = study(n=CASES)
    return replace(
        base,
        concurrency=20,
        systems={
            "bare": SystemSpec("bare", "model", model=model),
            "guided": SystemSpec("guided", "model", model=model, prompt="Name the time limit."),
            "program": SystemSpec("program", "command", command=("printf", "30 days for {{id}}")),
        },
        graders={**base.graders, "judge": replace(base.graders["judge"], model=replace(model, model="judge"))},
    )


def _kept(bench: Workbench) -> dict[str, tuple[str, str]]:
    """Texts and labels by key."""
    texts = {slot.key: ("response", _text(slot.response)) for slot in bench.slots()}
    return texts | {task.key: ("grade", str(task.grade and task.grade.label)) for task in bench.tasks(bench.slots())}


def _text(response: Response | None) -> str:
    assert response is not None and response.answer is not None, response
    return response.answer.text


def test_a_run_on_ray_is_the_run_here_and_outlives_a_worker(hands: RayHands, tmp_path: Path) -> None:
    secret = "canary-key-of-the-study-0123456789"
    with FakeEndpoint(delay=DELAY) as endpoint:
        plan = _study(endpoint.url)
        env = {"A_KEY": secret, "OTHER_KEY": "canary-not-referred-to"}
        with Workbench(plan, store=tmp_path / "here.db", env=env) as here:
            alone = here.run()
            assert alone.failed == 0
            expected = _kept(here)
        sent_here = {(request.path, request.body) for request in endpoint.ledger}
        endpoint.ledger.clear()

        cluster = Cluster(hands, env=env, folder=tmp_path, concurrency=plan.concurrency)
        killed: list[int] = []

        def kill() -> None:
            while len(endpoint.ledger) < CASES:
                time.sleep(0.005)
            member = max(cluster._members, key=lambda member: len(member.asked))
            killed.append(len(member.asked))
            member.worker.end()

        killer = threading.Thread(target=kill)
        with Workbench(plan, store=tmp_path / "there.db", env=env, connect=cluster.connect) as there:
            killer.start()
            tally = there.run()
            killer.join()
            assert _kept(there) == expected
        assert killed[0] > 0 and (tally.failed, tally.pending) == (0, 0)
        assert tally.calls > alone.calls
        assert {(request.path, request.body) for request in endpoint.ledger} == sent_here
        # nothing was asked twice but what was in flight on the worker that was killed
        assert len(endpoint.ledger) <= len(sent_here) + plan.concurrency
        assert {request.headers["authorization"] for request in endpoint.ledger} == {f"Bearer {secret}"}
        assert len(cluster._members) == 2  # the lost one was replaced
        assert hands._room is not None
        written = [
            path for folder in (Path(hands._room), tmp_path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
        ]
        assert any(path.suffix == ".log" for path in written) and any(path.suffix == ".db" for path in written)
        assert not [path for path in written if b"canary" in path.read_bytes()]
