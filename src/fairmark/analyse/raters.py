"""Whether a comparison of systems is also one of the people who marked them."""

from __future__ import annotations

import numpy as np

from fairmark import stats
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion
from fairmark.table import Table


def unequal_raters(table: Table) -> dict[str, str]:
    """A warning for each criterion whose raters are not shared out alike over the systems, with the means adjusted for it."""
    warnings = {}
    for criterion in table.study.rubric:
        decided = table.deciding(criterion.id)
        if decided is not None and decided[1] == "human" and (warning := _warning(table, criterion, decided[0])):
            warnings[criterion.id] = warning
    return warnings


def _warning(table: Table, criterion: Criterion, grader: str) -> str:
    marks = [
        (criterion.value_of(cell.grade.label), row.system, cell.rater, row.case.id)
        for row in table.rows
        for cell in table.cells(row, grader, criterion.id)
        if cell.grade is not None and cell.grade.label is not None and cell.grade.label not in (CANNOT_TELL, NOT_APPLICABLE)
    ]
    if len({mark[2] for mark in marks}) < 2 or len({mark[1] for mark in marks}) < 2:
        return ""
    value, system, rater, case = (np.array(part) for part in zip(*marks, strict=True))
    shared = stats.confounding(rater, system)
    if not shared.confounded:
        return ""
    adjusted = stats.severity_adjusted(value, system, rater, case, rng=np.random.default_rng(0))
    said = f"On {criterion.id}: {shared.headline().rstrip('.')}."
    if not adjusted.systems:
        return said
    means = ", ".join(f"{one.system} {one.adjusted:.3f} (as marked {one.raw:.3f})" for one in adjusted.systems)
    return f"{said} As if all had been marked by the same raters, highest first: {means}."
