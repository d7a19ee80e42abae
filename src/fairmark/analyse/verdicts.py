"""Verdicts on the hypotheses of a study, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairmark import stats
from fairmark.analyse.early import Deciding
from fairmark.analyse.estimates import fill_in
from fairmark.analyse.evidence import Evidence, Side, evidence_for
from fairmark.analyse.so_far import evidence_so_far
from fairmark.results import Deviation, HypothesisResult, Trust, VerdictWord
from fairmark.table import Table


def hypothesis_results(
    table: Table, trust: Sequence[Trust], changed: Sequence[Deviation], *, planned: bool, watch: Deciding | None = None
) -> tuple[HypothesisResult, ...]:
    """The verdicts; with `watch`, by the rules of a run that may stop early, on which an ordinary interval would not hold."""
    study = table.study
    found = [
        evidence_for(table, hypothesis, trust, changed, planned=planned)
        if watch is None
        else evidence_so_far(table, hypothesis, trust, changed, planned=planned, watch=watch)
        for hypothesis in study.hypotheses
    ]
    testable = [index for index, evidence in enumerate(found) if evidence.at is not None]
    primary = [i for i in testable if found[i].hypothesis.primary and not found[i].exploratory]
    others = [i for i in testable if i not in primary]
    supports: dict[int, tuple[float, float]] = {}
    refutes: dict[int, tuple[float, float]] = {}
    for family, adjust in ((primary, stats.holm_levels), (others, stats.bh_levels)):
        # refutations are a family of their own
        for verdicts, support in ((supports, True), (refutes, False)):
            p = [found[i].p(_side(found[i], support)) for i in family]
            levels = adjust(p, study.plan.alpha)
            verdicts.update({i: (p[place], levels[place]) for place, i in enumerate(family)})
    return tuple(
        _judge(table, evidence, supports.get(index), refutes.get(index), len(primary), len(others)) for index, evidence in enumerate(found)
    )


def _side(evidence: Evidence, support: bool) -> Side:
    return "low" if evidence.up == support else "high"


def _judge(
    table: Table,
    evidence: Evidence,
    support: tuple[float, float] | None,
    refute: tuple[float, float] | None,
    n_primary: int,
    n_others: int,
) -> HypothesisResult:
    hypothesis = evidence.hypothesis
    study = table.study
    verdict: VerdictWord = "undecided"
    estimate = evidence.estimate
    why = evidence.why
    if support is not None and refute is not None:
        levels = {_side(evidence, True): support[1], _side(evidence, False): refute[1]}
        low, high = evidence.end("low", levels["low"]), evidence.end("high", levels["high"])
        if evidence.beyond(_side(evidence, True), support[1]):
            verdict = "supported"
        elif evidence.beyond(_side(evidence, False), refute[1]):
            verdict = "refuted"
        estimate = replace(estimate, low=low, high=high, confidence_level=round(1 - levels["low"] - levels["high"], 12))
        if hypothesis.primary and not evidence.exploratory:
            why += f"; judged with Holm's correction within {n_primary} primary hypotheses"
        else:
            why += f"; judged with the Benjamini-Hochberg correction within {n_others} secondary or exploratory hypotheses"
    smallest = _smallest_visible(table, evidence)
    return HypothesisResult(
        id=hypothesis.id,
        text=hypothesis.text,
        kind=hypothesis.kind,
        on=hypothesis.on,
        systems=study.systems_of(hypothesis),
        margin=hypothesis.margin,
        primary=hypothesis.primary,
        exploratory=evidence.exploratory,
        verdict=verdict,
        estimate=estimate,
        p_support=support[0] if support else None,
        p_refute=refute[0] if refute else None,
        alpha_support=support[1] if support else None,
        alpha_refute=refute[1] if refute else None,
        wins=evidence.wins,
        losses=evidence.losses,
        ties=evidence.ties,
        why=why,
        design=evidence.design,
        next=_next(evidence, verdict, smallest, support[1] if support else None),
        smallest_visible=smallest,
    )


def _next(evidence: Evidence, verdict: VerdictWord, smallest: float | None, alpha: float | None) -> str:
    if verdict != "undecided":
        return ""
    if evidence.estimate.refused is not None:
        return evidence.estimate.refused.next
    if evidence.next:
        return evidence.next
    if evidence.estimate.n_missing:
        return f"{fill_in(evidence.estimate.scorer)}: the undecided range includes its worst and best completion"
    if alpha is not None and evidence.smallest_p > alpha:
        return f"add cases: with so few, no result could decide it at the level of {alpha:.3g} that many hypotheses leave"
    if smallest is not None:
        return f"add cases: with these, a difference of about {smallest * 100:.0f} points would have been noticed"
    return "add cases"


def _smallest_visible(table: Table, evidence: Evidence) -> float | None:
    """The smallest effect so much data would show with the planned power, from the spread that was observed."""
    estimate = evidence.estimate
    if evidence.at is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    plan = table.study.plan
    low, high = evidence.at(1 - 2 * plan.alpha)
    return stats.smallest_visible_from_width(high - low, alpha=plan.alpha, power=plan.power)
