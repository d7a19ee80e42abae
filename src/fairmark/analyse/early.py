"""What the answers so far decide, while the rest are still to come: one e-process per primary hypothesis.

A runner makes the plans before the first answer, asks in the order they name, and hands over the table whenever answers
have come in. Nothing here looks at the clock: only at what stands, in the recorded order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairmark import stats
from fairmark.results import Refusal
from fairmark.study import Hypothesis, Study
from fairmark.table import Table


@dataclass(frozen=True, slots=True)
class EarlyPlan:
    """How one primary hypothesis may be decided early, settled before the first answer."""

    hypothesis: Hypothesis
    plan: stats.StoppingPlan  # refused where it may not


@dataclass(frozen=True, slots=True)
class Early:
    """Where the primary hypotheses stand."""

    stop: bool  # every one of them is decided, or can use no further answer
    results: Mapping[str, stats.StoppingResult]  # by hypothesis; those that may be decided early
    refused: Mapping[str, Refusal]  # by hypothesis; those that may not, which keep the run going


def units(study: Study, *, seed: int | str) -> tuple[str, ...]:
    """Cases, or clusters where they are declared, in the random order in which they are to be asked."""
    names = list(dict.fromkeys(_unit(study, place) for place in range(len(study.cases))))
    random.Random(seed).shuffle(names)
    return tuple(names)


def early_plans(study: Study, table: Table, *, seed: int | str | None) -> tuple[EarlyPlan, ...]:
    """One plan per primary hypothesis; alpha is shared among them. Without the seed of a random order all are refused."""
    primary = [hypothesis for hypothesis in study.hypotheses if hypothesis.primary]
    order = units(study, seed=seed) if seed is not None else ()
    return tuple(EarlyPlan(one, _plan(study, table, one, len(primary), seed, order)) for one in primary)


def early(table: Table, plans: Sequence[EarlyPlan], order: Sequence[str]) -> Early:
    """Where each hypothesis stands after the units of `order` up to the first that is still pending.

    A failed answer or an unreadable mark enters at its place as missing: at worst where it is for the hypothesis, at best
    where it is against it.
    """
    results: dict[str, stats.StoppingResult] = {}
    refused: dict[str, Refusal] = {}
    for planned in plans:
        if planned.plan.refused is not None:
            refused[planned.hypothesis.id] = planned.plan.refused
            continue
        outcomes = _outcomes(table, planned.hypothesis, clustered=planned.plan.largest_cluster is not None)
        claim = stats.Stopping(planned.plan)
        claim.update(stats.in_order(order, outcomes))
        results[planned.hypothesis.id] = claim.result()
    together = stats.stop_together(tuple(results.values()), alpha=table.study.plan.alpha)
    return Early(bool(results) and together.stop and not refused, results, refused)


def _unit(study: Study, place: int) -> str:
    case = study.cases[place]
    return case.id if study.cluster is None else str(case.fields.get(study.cluster))


def _plan(
    study: Study, table: Table, hypothesis: Hypothesis, n_primary: int, seed: int | str | None, order: Sequence[str]
) -> stats.StoppingPlan:
    sizes: dict[str, int] = {}
    for place in range(len(study.cases)):
        sizes[_unit(study, place)] = sizes.get(_unit(study, place), 0) + 1
    null = -hypothesis.margin if hypothesis.kind == "no_worse_than" else hypothesis.margin
    # unless said otherwise: as good as the other for a tolerated loss, twice the margin, half way to the end of a rate
    usual = {"no_worse_than": 0.0, "better": max(2 * null, null + 0.1), "at_most": null / 2}.get(hypothesis.kind, (1 + null) / 2)
    worth = usual if hypothesis.worth_finding is None else hypothesis.worth_finding
    wrong_side = worth >= null if hypothesis.kind == "at_most" else worth <= null
    shares = ">=" in hypothesis.on
    plan = stats.stopping_plan(
        "paired" if hypothesis.than is not None else "rate" if shares else "mean",
        null=null,
        alternative=usual if wrong_side else worth,
        scorer=table.scorer_of(hypothesis.on),
        seed=seed,
        alpha=study.plan.alpha / n_primary,
        power=study.plan.power,
        n_max=len(sizes),
        spread=None if shares else 0.25 if hypothesis.than is None else 0.35,
        largest_cluster=max(sizes.values()) if study.cluster is not None else None,
        order=order,
        fingerprint=study.fingerprint(),
    )
    if not wrong_side:
        return plan
    why = f"what is worth finding, {worth:g}, lies on the wrong side of {null:g}"
    return replace(plan, refused=Refusal("NOTHING_WORTH_FINDING", why, "write a `worth_finding` that would support the hypothesis"))


def _outcomes(table: Table, hypothesis: Hypothesis, *, clustered: bool) -> dict[str, float | list[float | None] | None]:
    """What has come in, by unit: a case's value, None where it failed, or the values of a cluster's cases."""
    study = table.study
    measured = (
        table.metric(hypothesis.system, hypothesis.on)
        if hypothesis.than is None
        else table.pairs(hypothesis.system, hypothesis.than, hypothesis.on)
    )
    n = len(study.cases)
    count = np.bincount(measured.case, minlength=n)
    mean = np.bincount(measured.case, weights=measured.low, minlength=n) / np.maximum(count, 1)
    whole = np.bincount(measured.case, weights=measured.low < measured.high, minlength=n) == 0
    value: dict[int, float | None] = {case: float(mean[case]) if whole[case] else None for case in np.flatnonzero(count).tolist()}
    pending = {row.case.id for name in study.systems_of(hypothesis) for row in table.of(name) if row.response is None}
    found: dict[str, list[float | None]] = {}
    waiting: set[str] = set()
    for place, case_ in enumerate(study.cases):
        unit = _unit(study, place)
        if case_.id in pending:
            waiting.add(unit)
        elif place in value:  # elsewhere the criterion does not apply
            found.setdefault(unit, []).append(value[place])
        else:
            found.setdefault(unit, [])
    ready = {unit: values for unit, values in found.items() if unit not in waiting}
    if clustered:
        return dict(ready)
    return {unit: values[0] if values else None for unit, values in ready.items()}
