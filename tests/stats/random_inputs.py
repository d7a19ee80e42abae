"""How many random inputs a family is tried on: a sample by default, as many as FAIRMARK_EXAMPLES says otherwise.

`FAIRMARK_EXAMPLES=50000 pytest tests/stats -k random_inputs` tries each family on 50,000.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def tried(sample: int = 200) -> settings:
    """Settings for a test on random inputs: about a second of them unless the environment asks for more."""
    return settings(max_examples=int(os.environ.get("FAIRMARK_EXAMPLES", sample)), deadline=None, suppress_health_check=list(HealthCheck))
