"""One system as a whole, and on each criterion."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fairmark.analyse.corrected import corrected, share_at
from fairmark.analyse.estimates import mean, rate
from fairmark.results import CriterionResult, Estimate, LevelCount, SystemResult
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion
from fairmark.study import SystemSpec
from fairmark.table import Cell, Table


def system_result(table: Table, name: str, level: float) -> SystemResult:
    counts = table.counts(name)
    answers = [row.response.answer for row in table.of(name) if row.response is not None and row.response.answer is not None]
    seconds = [answer.seconds for answer in answers if answer.seconds is not None]
    used = [answer.usage for answer in answers if answer.usage is not None]
    prompt = [usage.input_tokens + (usage.cached_tokens or 0) for usage in used if usage.input_tokens is not None]
    replies = [usage.output_tokens for usage in used if usage.output_tokens is not None]
    costs = [answer.cost_usd for answer in answers]
    gates = table.gates(name)
    warnings = []
    if counts.truncated:
        warnings.append(f"{counts.truncated} of {counts.answered} answers were cut off at the token limit")
    raw = table.criteria_by_llm("score")
    if raw:
        warnings.append(f"the rubric score counts raw marks of a language model on {', '.join(raw)}")
    return SystemResult(
        system=name,
        description=describe(table.study.systems[name]),
        planned=counts.planned,
        answered=counts.answered,
        failed=counts.failed,
        pending=counts.pending,
        truncated=counts.truncated,
        failures=counts.failures,
        score=_score(table, name, level),
        gate_rate=rate(gates, f"share of answers of {name} that pass every must-pass rule", level) if gates is not None else None,
        seconds=statistics.median(seconds) if seconds else None,
        input_tokens=sum(prompt) if prompt else None,
        output_tokens=sum(replies) if replies else None,
        cost_usd=_total(costs),
        warnings=tuple(warnings),
    )


def _total(costs: Sequence[float | None]) -> float | None:
    """The sum; unknown as soon as one cost is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if costs and len(known) == len(costs) else None


def describe(spec: SystemSpec) -> str:
    """One line that says what a system is."""
    if spec.kind == "model" and spec.model is not None:
        options = ", ".join(f"{name} {value}" for name, value in spec.model.options.items())
        prompt = "own prompt" if spec.prompt else "no prompt"
        return ", ".join(part for part in (spec.model.name, prompt, options) if part)
    if spec.kind == "http":
        return f"HTTP {spec.url}" + (f", version {spec.version}" if spec.version else "")
    if spec.kind == "python":
        return f"Python {spec.target}"
    if spec.kind == "command":
        return f"command {spec.command[0]}" + (f", version {spec.version}" if spec.version else "")
    return f"recorded answers from {spec.recorded_from}"


def criterion_results(table: Table, system: str, criterion: Criterion, level: float) -> list[CriterionResult]:
    """One result per grader that marks this criterion, the deciding one first; before them the corrected one where there is one."""
    decided = table.deciding(criterion.id)
    names = [name for name, spec in table.study.graders.items() if criterion.id in spec.criteria]
    if decided is not None:
        names.sort(key=lambda name: name != decided[0])
    raw = [_criterion_by(table, system, criterion, name, level) for name in names]
    second = table.second_grader(criterion.id)
    best = _corrected_criterion(table, system, criterion, second, level) if second is not None else None
    return raw if best is None else [best, *raw]


def _corrected_criterion(table: Table, system: str, criterion: Criterion, grader: str, level: float) -> CriterionResult | None:
    """How people would mark all responses; None where people's marks carry no correction."""

    def share(on: str, estimand: str) -> Estimate | None:
        both = corrected(table, system, None, on)
        return both.estimate(estimand, level) if both is not None else None

    at = criterion.pass_at or criterion.level_names()[-1] if criterion.levels else None
    passing = share(f"{criterion.id}>={at}", f"share of answers of {system} that reach “{at}” on {criterion.id}") if at else None
    mean_value = share(criterion.id, f"mean value of {criterion.id} of {system}")
    if passing is None or mean_value is None or passing.refused is not None:
        return None
    marks = table.audited(system, criterion.id)
    assert marks is not None
    names = criterion.level_names()
    reached = [share(f"{criterion.id}>={name}", f"share of answers of {system} at “{name}” or better on {criterion.id}") for name in names]
    levels = []
    for place, (name, at_least) in enumerate(zip(names, reached, strict=True)):
        assert at_least is not None
        exact = share_at(table, marks, criterion, place).estimate(f"share of answers of {system} at “{name}” on {criterion.id}", level)
        # as many answers as people would put there
        levels.append(LevelCount(name, round((exact.value or 0.0) * len(marks.said)), exact, at_least))
    return CriterionResult(
        system=system,
        criterion=criterion.id,
        grader=grader,
        scorer="judge-corrected",
        levels=tuple(levels),
        pass_rate=passing,
        mean_value=mean_value,
        planned=len(marks.said),
        marked=int(np.count_nonzero(marks.said < marks.kinds)),
        failed=int(np.count_nonzero(marks.said >= marks.kinds)),
        pending=0,
        not_applicable=0,
        cannot_tell=0,
    )


def _criterion_by(table: Table, system: str, criterion: Criterion, grader: str, level: float) -> CriterionResult:
    rows = table.of(system)
    cells = [table.cells(row, grader, criterion.id) for row in rows]
    said = Counter(cell.grade.label for group in cells for cell in group if cell.grade is not None and cell.grade.label is not None)
    marked = sum(any(_said(cell) for cell in group) for group in cells)
    values = table.metric(system, criterion.id, grader=grader)
    planned = len(rows) - values.not_sampled
    failed = sum(
        not any(_said(cell) for cell in group) and any(cell.grade is not None and cell.grade.failure is not None for cell in group)
        for group in cells
    )
    if values.not_sampled:
        failed -= sum(bool(group) and all(_not_asked(cell) for cell in group) for group in cells)
    at = criterion.pass_at or (criterion.levels[-1].name if criterion.levels else str((criterion.range or (0, 1))[1]))
    levels = (
        [] if not criterion.levels else [_level_count(table, system, criterion, grader, name, level) for name in criterion.level_names()]
    )
    passing = table.metric(system, f"{criterion.id}>={at}", grader=grader)
    return CriterionResult(
        system=system,
        criterion=criterion.id,
        grader=grader,
        scorer=values.scorer,
        levels=tuple(levels),
        pass_rate=rate(passing, f"share of answers of {system} that reach “{at}” on {criterion.id}", level),
        mean_value=mean(values, f"mean value of {criterion.id} of {system}", level),
        planned=planned,
        marked=marked,
        failed=failed,
        pending=planned - marked - failed,
        not_applicable=said[NOT_APPLICABLE],
        cannot_tell=said[CANNOT_TELL],
    )


def _not_asked(cell: Cell) -> bool:
    return cell.grade is not None and cell.grade.failure is not None and cell.grade.failure.kind == "not_recorded"


def _said(cell: Cell) -> bool:
    return cell.grade is not None and cell.grade.label is not None


def _level_count(table: Table, system: str, criterion: Criterion, grader: str, name: str, level: float) -> LevelCount:
    labels = [cell.grade.label for row in table.of(system) for cell in table.cells(row, grader, criterion.id) if cell.grade is not None]
    at_least = table.metric(system, f"{criterion.id}>={name}", grader=grader)
    exact = at_least
    names = criterion.level_names()
    if criterion.scale != "nominal" and name != names[-1]:
        better = table.metric(system, f"{criterion.id}>={names[names.index(name) + 1]}", grader=grader)
        known = at_least.marked
        exact = replace(
            at_least,
            low=np.where(known, at_least.low - better.low, 0.0).round(12),
            high=np.where(known, at_least.high - better.high, 1.0).round(12),
        )
    return LevelCount(
        level=name,
        count=labels.count(name),
        share=rate(exact, f"share of answers of {system} at “{name}” on {criterion.id}", level),
        at_least=rate(at_least, f"share of answers of {system} at “{name}” or better on {criterion.id}", level),
    )


def _score(table: Table, system: str, level: float) -> Estimate:
    both = corrected(table, system, None, "score")
    if both is not None and both.refused is None:
        return both.estimate(f"mean rubric score of {system}, 0 to 1", level)
    metric = table.metric(system, "score")
    return mean(metric, f"mean rubric score of {system}, 0 to 1", level, gated=any(c.gate for c in table.study.rubric))
