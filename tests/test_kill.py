"""kill -9 at random moments: nothing finished is lost, nothing is paid twice beyond what was in flight.

`python benchmarks/faults.py --kills 1000` does the same a thousand times and prints the figures.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from benchmarks.killing import IN_FLIGHT, Hunt, hunted


def _holds(found: Hunt, kills: int) -> None:
    assert found.wrong == []
    assert found.kills == kills
    assert found.requests == found.needed + found.in_flight
    assert found.most_in_flight <= IN_FLIGHT
    # the kills fell where they should: at rest and at work, while asking and while marking, and on what follows
    assert {"run", "analyse", "report"} == set(found.by_stage)
    assert found.by_stage["run"] >= kills // 3
    assert found.in_flight > 0


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
@pytest.mark.parametrize("kills", [60, pytest.param(400, marks=pytest.mark.long)])
def test_a_study_killed_at_random_moments_loses_nothing_and_pays_for_nothing_twice(tmp_path: Path, kills: int) -> None:
    _holds(hunted(tmp_path, kills, seed=kills), kills)
