"""What a run that may stop early says: evidence that holds at whatever moment it is read, and how it came about.

A run that stops when its answers look good enough has no ordinary interval: at an unlucky moment that one would leave the
truth out too often. Hypotheses are judged here by the rules that were settled beforehand, and everything else describes
the cases that were asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from fairmark import stats
from fairmark.analyse.early import Deciding, EarlyPlan
from fairmark.analyse.evidence import Evidence, Side, design_of, estimand_of, evidence_for, touched, without_a_figure
from fairmark.results import Course, CriterionResult, Deviation, Estimate, HypothesisResult, Refusal, Stopped, SystemResult, Trust
from fairmark.study import Hypothesis
from fairmark.table import Table

LEANS = (
    "the run stopped once it was decided: figures other than those of the hypotheses describe the cases that were asked, "
    "and lean a little towards what was decided"
)


def asked(table: Table, watch: Deciding | None) -> Table:
    """The table without the answers that nobody needs any more; the table itself while the run is to go on, or has them all."""
    if watch is None or not watch.stop or all(row.response is not None for row in table.rows):
        return table
    return replace(table, rows=tuple(row for row in table.rows if row.response is not None))


def course(table: Table, watch: Deciding, results: Sequence[HypothesisResult], seed: str) -> Course:
    """What came of the run so far, in agreement with the verdicts."""
    primary = {one.hypothesis.id: one for one in watch.plans if one.hypothesis.primary}
    judged = {result.id: result for result in results}
    unasked = sum(row.response is None for row in table.rows)
    return Course(
        stopped=watch.stop,
        hypotheses=tuple(
            _stopped(one, watch, judged[name]) if one.plan.refused is None else _not_followed(one) for name, one in primary.items()
        ),
        cases=len(table.study.cases),
        cases_asked=len({row.case.id for row in table.rows if row.response is not None}),
        responses=len(table.rows),
        not_needed=unasked if watch.stop else 0,
        seed=seed,
        order_digest=stats.order_digest(watch.order),
    )


def _stopped(planned: EarlyPlan, watch: Deciding, judged: HypothesisResult) -> Stopped:
    """One hypothesis at the levels at which it was judged: what its own plan leaves open may be decided once another is."""
    name, plan = planned.hypothesis.id, planned.plan
    found, unit = watch.result(name), _unit(plan)
    state = found.state
    if judged.verdict != state and found.refused is None:
        state = judged.verdict if judged.verdict != "undecided" else "open" if state in ("supported", "refuted") else state
    levels = [level or plan.alpha for level in (judged.alpha_support, judged.alpha_refute)]
    return Stopped(
        hypothesis=name,
        state=state,
        say=found.say if state == found.state else f"{state} after {found.n_units} of at most {found.n_max} {unit}",
        unit=unit,
        used=found.n_units,
        most=found.n_max,
        decided_at=watch.decided_at.get(name, found.decided_at) if state != "open" else None,
        worth_finding=plan.alternative,
        bar_support=-math.log10(levels[0] * plan.alpha_e / plan.alpha),  # where there is a fixed test, half is its
        bar_refute=-math.log10(levels[1] * plan.alpha_e / plan.alpha),
        bar_rule_out=-math.log10(plan.beta_e) if plan.bank is None else None,
        path=found.path,
        refused=found.refused,
    )


def _not_followed(planned: EarlyPlan) -> Stopped:
    plan, refusal = planned.plan, planned.plan.refused
    assert refusal is not None
    bars = -math.log10(plan.alpha_e), -math.log10(plan.alpha_e), -math.log10(plan.beta_e)
    return Stopped(
        planned.hypothesis.id, "refused", refusal.why, _unit(plan), 0, plan.n_max, None, plan.alternative, *bars, refused=refusal
    )


def _unit(plan: stats.StoppingPlan) -> str:
    return "clusters" if plan.largest_cluster is not None else "cases"


def system_so_far(result: SystemResult, table: Table) -> SystemResult:
    """The figures of the asked answers with the counts of all that were planned."""
    counts = table.counts(result.system)
    return replace(result, planned=counts.planned, pending=counts.pending, not_needed=counts.pending)


def criterion_so_far(result: CriterionResult, table: Table) -> CriterionResult:
    """Likewise; answers that people were never to mark are not planned here."""
    spec = table.study.graders[result.grader]
    if result.scorer == "human" and spec.chosen != "all":
        return result
    unasked = table.counts(result.system).pending
    return replace(result, planned=result.planned + unasked, pending=result.pending + unasked, not_needed=unasked)


def evidence_so_far(
    table: Table, hypothesis: Hypothesis, trust: Sequence[Trust], changed: Sequence[Deviation], *, planned: bool, watch: Deciding
) -> Evidence:
    """What one hypothesis is judged on, in a run that may stop early.

    Where its marks are there with the answers it is followed like the primary ones, which holds whenever the others
    stop the run. Otherwise it has to wait for the last case: then the ordinary method holds, because nothing was stopped.
    """
    claim = watch.claims.get(hypothesis.id)
    exploratory, design = planned and touched(table, hypothesis, changed), design_of(table, hypothesis)
    if claim is None:
        if not watch.stop or all(row.response is not None for row in table.rows):
            return evidence_for(table, hypothesis, trust, changed, planned=planned)
        early = Refusal(
            "STOPPED_EARLY",
            "the run stopped once the primary hypotheses were decided, and the method for this one needs every case",
            "ask every case with `stop: at-the-end`",
        )
        return without_a_figure(table, hypothesis, early, design, exploratory=exploratory)
    found = watch.result(hypothesis.id)
    if found.refused is not None:
        return without_a_figure(table, hypothesis, found.refused, design, exploratory=exploratory, n=found.n_cases)
    if found.value is None:
        nothing = Refusal("NOTHING_IN_ORDER", "no case is in yet, in the order in which they count", "run the study")
        return without_a_figure(table, hypothesis, nothing, design, exploratory=exploratory)

    @cache
    def at(level: float) -> tuple[float, float]:
        interval = claim.interval((1 - level) / 2)
        return interval.low, interval.high

    level = 1 - 2 * table.study.plan.alpha
    low, high = at(level)
    signs = claim.marked() if hypothesis.than is not None else None
    evidence = Evidence(
        hypothesis,
        estimand_of(hypothesis, table.study.plan.target),
        Estimate(
            estimand=estimand_of(hypothesis, table.study.plan.target),
            # what was left out at an earlier look stays out, though the mean may come back to it
            value=min(max(found.value, low), high),
            low=low,
            high=high,
            confidence_level=level,
            method=found.method,
            n_cases=found.n_cases,
            n_clusters=found.n_units if claim.plan.largest_cluster is not None else None,
            n_responses=found.n_cases * len(table.study.systems_of(hypothesis)) * table.study.trials,
            scorer=table.scorer_of(hypothesis.on),
            assumptions=claim.plan.assumptions,
            warnings=found.warnings,
            n_missing=found.n_missing,
        ),
        at,
        f"followed in a random order drawn beforehand, by a rule that holds whenever it is read: {found.n_units} of at most {found.n_max}"
        f" {_unit(claim.plan)} are in{_ruled_out(found, claim.plan)}",
        exploratory,
        design,
        wins=sum(sign > 0 for sign in signs) if signs is not None else None,
        losses=sum(sign < 0 for sign in signs) if signs is not None else None,
        ties=sum(sign == 0 for sign in signs) if signs is not None else None,
        next=_next(found, claim.plan),
    )
    support: Side = "low" if evidence.up else "high"
    refute: Side = "high" if evidence.up else "low"
    return replace(evidence, p_of={support: found.p_support, refute: found.p_refute})


def _ruled_out(found: stats.StoppingResult, plan: stats.StoppingPlan) -> str:
    return f"; an effect of {plan.alternative:g} is ruled out" if found.state == "ruled-out" else ""


def _next(found: stats.StoppingResult, plan: stats.StoppingPlan) -> str:
    """What would decide a hypothesis that its rule left open."""
    if found.state == "open":
        return f"run again: {found.n_units} of at most {plan.n_max} {_unit(plan)} are in, in the order in which they count"
    if found.state == "ruled-out":
        return (
            f"nothing, if only an effect of {plan.alternative:g} is worth finding: that one is ruled out. "
            "For a smaller one, lower `worth_finding` in a new study"
        )
    return ""
