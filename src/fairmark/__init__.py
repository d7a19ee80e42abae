"""fairmark: assess LLM systems the way good teachers mark work and good social scientists test a hypothesis.

Importing this package does no work: each name below is fetched from its room when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = {
    "Workbench": "fairmark.workbench",
    "analyse_table": "fairmark.workbench",
    "check": "fairmark.workbench",
    "mark": "fairmark.workbench",
    "Criterion": "fairmark.rubric",
    "Level": "fairmark.rubric",
    "Rubric": "fairmark.rubric",
    "Hypothesis": "fairmark.study",
    "Mistake": "fairmark.errors",
    "CannotDo": "fairmark.errors",
    "Analysis": "fairmark.results",
    "Estimate": "fairmark.results",
}
__all__ = ["__version__", *_ROOMS]

if TYPE_CHECKING:
    from fairmark.errors import CannotDo, Mistake
    from fairmark.results import Analysis, Estimate
    from fairmark.rubric import Criterion, Level, Rubric
    from fairmark.study import Hypothesis
    from fairmark.workbench import Workbench, analyse_table, check, mark


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
