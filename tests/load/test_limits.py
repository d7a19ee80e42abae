"""What a study says of hosts and budgets reaches the run, and a host that nothing goes to is a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairmark.errors import Mistake
from fairmark.study import Budget, Limit
from fairmark.workbench import Workbench
from tests.load.files import STUDY, write

LIMITS = """
limits:
  {host}: {{concurrency: 2, requests_per_minute: 90}}
budget: {{calls: 5, tokens: 1000}}
"""


def written(folder: Path, host: str) -> Path:
    return write(folder, {"study.yaml": STUDY + LIMITS.format(host=host)})


def test_limits_and_budget_are_read(tmp_path: Path) -> None:
    study = Workbench(written(tmp_path, "api.openai.com"), memory=True).study
    assert study.limits == {"api.openai.com": Limit(2, 90, None)}
    assert study.budget == Budget(calls=5, tokens=1000)


def test_a_host_that_nothing_is_sent_to_is_a_mistake(tmp_path: Path) -> None:
    with Workbench(written(tmp_path, "api.opnai.com"), memory=True, env={"OPENAI_API_KEY": "k"}) as bench, pytest.raises(Mistake) as wrong:
        bench.run(budget=Budget(calls=0))
    assert "`api.opnai.com`" in str(wrong.value)
    assert "api.openai.com" in str(wrong.value)
