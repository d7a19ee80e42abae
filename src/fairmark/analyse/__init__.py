"""What the evidence supports: one `Analysis` from a table of marks, a frozen plan and the graders' receipts.

The interval that is shown is the interval that decides. Its lower end is taken at the one-sided level at which
support was judged, its upper end at the level at which refutation was judged, both after correction for the number of
hypotheses in the family, so that a verdict and its interval cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairmark import __version__
from fairmark.analyse.browser import exhibits
from fairmark.analyse.early import deciding
from fairmark.analyse.groups import group_results, marked_by, not_tested
from fairmark.analyse.raters import unequal_raters
from fairmark.analyse.so_far import LEANS, asked, course, criterion_so_far, system_so_far
from fairmark.analyse.systems import criterion_results, system_result
from fairmark.analyse.verdicts import hypothesis_results
from fairmark.results import Analysis, HypothesisResult, Trust
from fairmark.study import deviations, receipt
from fairmark.table import Table

__all__ = ["Frozen", "analyse", "exhibits"]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The plan as it was before the first response."""

    document: Callable[[], Mapping[str, Any]]  # reads what was planned, part by part
    fingerprint: str
    at: int  # UTC, nanoseconds


def analyse(
    table: Table,
    *,
    trust: Sequence[Trust] = (),
    frozen: Frozen | None,
    wave: str,
    at: int,
    warnings: Sequence[str] = (),
    head: str = "",
) -> Analysis:
    """The analysis of everything that has been marked so far. Arithmetic never raises: what cannot be said is refused."""
    study = table.study
    level = 1 - 2 * study.plan.alpha
    fingerprint = study.fingerprint()
    seed = study.order_seed(wave)
    watch = deciding(table, seed=seed, secondary=True) if study.plan.stop == "when-decided" else None
    needed = asked(table, watch)
    early = needed is not table
    raters = unequal_raters(needed)
    changed = () if frozen is None or frozen.fingerprint == fingerprint else deviations(frozen.document(), study.document())
    systems = [system_result(needed, name, level) for name in study.systems]
    criteria = [
        result for name in study.systems for criterion in study.rubric for result in criterion_results(needed, name, criterion, level)
    ]
    tried = study
    if early:
        systems = [system_so_far(result, table) for result in systems]
        criteria = [criterion_so_far(result, table) for result in criteria]
        names = {row.case.id for row in needed.rows}
        tried = replace(study, cases=tuple(case for case in study.cases if case.id in names))
    hypotheses = tuple(
        _with_raters(result, raters.get(result.on.partition(">=")[0].strip()))
        for result in hypothesis_results(table, trust, changed, planned=frozen is not None, watch=watch)
    )
    return Analysis(
        study=study.name,
        question=study.question,
        fingerprint=fingerprint,
        receipt=receipt(frozen.fingerprint) if frozen is not None else "",
        frozen_at=frozen.at if frozen is not None else None,
        analysed_at=at,
        wave=wave,
        n_cases=len(study.cases),
        n_clusters=table.n_clusters,
        cluster=study.cluster,
        trials=study.trials,
        confidence_level=level,
        systems=tuple(systems),
        criteria=tuple(criteria),
        hypotheses=hypotheses,
        groups=group_results(needed, level),
        trust=tuple(trust),
        deviations=changed,
        not_tested=not_tested(tried),
        warnings=(*warnings, *raters.values(), *((LEANS,) if early else ())),
        marked_by=marked_by(needed),
        interests=dict(study.interests),
        rubric=study.rubric.criteria,
        course=course(table, watch, hypotheses, seed) if watch is not None else None,
        version=__version__,
        head=head,
    )


def _with_raters(result: HypothesisResult, warning: str | None) -> HypothesisResult:
    """A comparison of two systems carries the warning that it is also one of their raters."""
    if warning is None or len(result.systems) < 2 or result.estimate.scorer not in ("human", "judge-corrected"):
        return result
    return replace(result, estimate=replace(result.estimate, warnings=(*result.estimate.warnings, warning)))
