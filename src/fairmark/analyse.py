"""What the evidence supports: one `Analysis` from a table of marks, a frozen plan and the graders' receipts.

The interval that is shown is the interval that decides. Its lower end is taken at the one-sided level at which
support was judged, its upper end at the level at which refutation was judged, both after correction for the number of
hypotheses in the family, so that a verdict and its interval cannot disagree.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fairmark import __version__, stats
from fairmark.results import (
    Analysis,
    CriterionResult,
    Deviation,
    Estimate,
    Exhibit,
    ExhibitGrade,
    GroupResult,
    HypothesisResult,
    LevelCount,
    Refusal,
    Scorer,
    SystemResult,
    Trust,
    VerdictWord,
)
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion
from fairmark.study import Hypothesis, Study, SystemSpec, deviations, receipt
from fairmark.table import Cell, FloatArray, IntArray, Metric, Pairs, Row, Table

SMALLEST_GROUP = 5  # below this a group is not shown: too few to say, and people could be recognised
Side = Literal["low", "high"]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The plan as it was before the first response."""

    document: Mapping[str, Any]
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
) -> Analysis:
    """The analysis of everything that has been marked so far. Arithmetic never raises: what cannot be said is refused."""
    study = table.study
    level = 1 - 2 * study.plan.alpha
    document = study.document()
    changed = deviations(frozen.document, document) if frozen is not None else ()
    return Analysis(
        study=study.name,
        question=study.question,
        fingerprint=study.fingerprint(),
        receipt=receipt(frozen.fingerprint) if frozen is not None else "",
        frozen_at=frozen.at if frozen is not None else None,
        analysed_at=at,
        wave=wave,
        n_cases=len(study.cases),
        n_clusters=table.n_clusters,
        cluster=study.cluster,
        trials=study.trials,
        confidence_level=level,
        systems=tuple(_system(table, name, level) for name in study.systems),
        criteria=tuple(
            result for name in study.systems for criterion in study.rubric for result in _criterion(table, name, criterion, level)
        ),
        hypotheses=_hypotheses(table, trust, changed, frozen),
        groups=_groups(table, level),
        trust=tuple(trust),
        deviations=changed,
        not_tested=_not_tested(study),
        warnings=tuple(warnings),
        marked_by=_marked_by(study),
        interests=dict(study.interests),
        rubric=study.rubric.criteria,
        version=__version__,
    )


# ---------------------------------------------------------------- one system


def _system(table: Table, name: str, level: float) -> SystemResult:
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
        gate_rate=_rate(gates, f"share of answers of {name} that pass every must-pass rule", level) if gates is not None else None,
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


def _criterion(table: Table, system: str, criterion: Criterion, level: float) -> list[CriterionResult]:
    """One result per grader that marks this criterion, the deciding one first."""
    decided = table.deciding(criterion.id)
    names = [name for name, spec in table.study.graders.items() if criterion.id in spec.criteria]
    if decided is not None:
        names.sort(key=lambda name: name != decided[0])
    return [_criterion_by(table, system, criterion, name, level) for name in names]


def _criterion_by(table: Table, system: str, criterion: Criterion, grader: str, level: float) -> CriterionResult:
    rows = table.of(system)
    cells = [table.cells(row, grader, criterion.id) for row in rows]
    said = Counter(cell.grade.label for group in cells for cell in group if cell.grade is not None and cell.grade.label is not None)
    marked = sum(any(_said(cell) for cell in group) for group in cells)
    mean = table.metric(system, criterion.id, grader=grader)
    failed = sum(
        not any(_said(cell) for cell in group) and any(cell.grade is not None and cell.grade.failure is not None for cell in group)
        for group in cells
    )
    at = criterion.pass_at or (criterion.levels[-1].name if criterion.levels else str((criterion.range or (0, 1))[1]))
    levels = (
        [] if not criterion.levels else [_level_count(table, system, criterion, grader, name, level) for name in criterion.level_names()]
    )
    passing = table.metric(system, f"{criterion.id}>={at}", grader=grader)
    return CriterionResult(
        system=system,
        criterion=criterion.id,
        grader=grader,
        scorer=mean.scorer,
        levels=tuple(levels),
        pass_rate=_rate(passing, f"share of answers of {system} that reach “{at}” on {criterion.id}", level),
        mean_value=_mean(mean, f"mean value of {criterion.id} of {system}", level),
        planned=len(rows),
        marked=marked,
        failed=failed,
        pending=len(rows) - marked - failed,
        not_applicable=said[NOT_APPLICABLE],
        cannot_tell=said[CANNOT_TELL],
    )


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
        share=_rate(exact, f"share of answers of {system} at “{name}” on {criterion.id}", level),
        at_least=_rate(at_least, f"share of answers of {system} at “{name}” or better on {criterion.id}", level),
    )


def _score(table: Table, system: str, level: float) -> Estimate:
    metric = table.metric(system, "score")
    return _mean(metric, f"mean rubric score of {system}, 0 to 1", level, gated=any(c.gate for c in table.study.rubric))


# ---------------------------------------------------------------- estimates with worst and best completion


def _rate(metric: Metric, estimand: str, level: float) -> Estimate:
    return _one_sample(metric, estimand, level, kind="rate")


def _mean(metric: Metric, estimand: str, level: float, *, gated: bool = False) -> Estimate:
    return _one_sample(metric, estimand, level, kind="gated" if gated else "mean")


def _one_sample(metric: Metric, estimand: str, level: float, *, kind: str) -> Estimate:
    """The estimate on what is marked; with anything missing, the interval runs from the worst to the best completion."""
    n = len(metric.low)
    if n == 0:
        return _refused(
            estimand, "NO_DATA", "there is nothing to count", "run the study, or check that this criterion applies", level, metric.scorer
        )
    if not metric.marked.any():
        return _refused(
            estimand,
            "NOTHING_MARKED",
            f"none of {n} answers is marked yet",
            "run again to fill in what is missing",
            level,
            metric.scorer,
            n,
        )
    marked = metric.marked
    within = _estimator(kind, metric)
    worst = within(metric.low, metric.cluster, estimand, level, metric.scorer)
    if metric.missing == 0:
        return worst
    best = within(metric.high, metric.cluster, estimand, level, metric.scorer)
    if worst.refused is not None or best.refused is not None:
        return replace(worst, value=None, low=None, high=None, refused=worst.refused or best.refused, n_missing=metric.missing)
    assert worst.value is not None
    assert best.value is not None
    return replace(
        worst,
        # an answer that is marked in part bounds the mean beyond what the fully marked ones say
        value=min(max(float(np.mean(metric.low[marked])), worst.value), best.value),
        low=worst.low,
        high=best.high,
        n_missing=metric.missing,
        low_if_worst=worst.value,
        high_if_best=best.value,
        warnings=(*worst.warnings, f"{metric.missing} of {n} are missing: the interval spans their worst to best completion"),
    )


Within = Callable[[FloatArray, "IntArray | None", str, float, Scorer], Estimate]


def _estimator(kind: str, metric: Metric) -> Within:
    cases = len(np.unique(metric.case))

    def within(values: FloatArray, cluster: IntArray | None, estimand: str, level: float, scorer: Scorer) -> Estimate:
        if kind == "gated":
            return stats.gated_mean(values, cluster, estimand=estimand, confidence_level=level, scorer=scorer, n_cases=cases)
        if kind == "rate" or metric.binary:
            return stats.estimate_rate(values, cluster, estimand=estimand, confidence_level=level, scorer=scorer, n_cases=cases)
        return stats.estimate_mean(values, cluster, estimand=estimand, confidence_level=level, scorer=scorer, n_cases=cases)

    return within


def _refused(
    estimand: str, code: str, why: str, next_step: str, level: float, scorer: Scorer, n: int = 0, clusters: int | None = None
) -> Estimate:
    return Estimate(
        estimand=estimand,
        value=None,
        low=None,
        high=None,
        confidence_level=level,
        method="none",
        n_cases=n,
        n_clusters=clusters,
        scorer=scorer,
        refused=Refusal(code, why, next_step),
    )


# ---------------------------------------------------------------- hypotheses


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one hypothesis is judged on: an interval at any level, or why there is none."""

    hypothesis: Hypothesis
    estimand: str
    estimate: Estimate  # with everything but the deciding interval; refused where there is no evidence
    at: Callable[[float], tuple[float, float]] | None  # two-sided confidence level -> (low, high)
    why: str
    exploratory: bool
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None
    smallest_p: float = 0.0  # no one-sided p can be smaller with so few clusters

    @property
    def up(self) -> bool:
        """Whether large values support it."""
        return self.hypothesis.kind != "at_most"

    @property
    def bound(self) -> float:
        """The number that the deciding bound has to be beyond."""
        return -self.hypothesis.margin if self.hypothesis.kind == "no_worse_than" else self.hypothesis.margin

    def end(self, side: Side, alpha: float) -> float:
        """The one-sided bound at level alpha."""
        assert self.at is not None
        low, high = self.at(1 - 2 * alpha)
        return low if side == "low" else high

    def beyond(self, side: Side, alpha: float) -> bool:
        end = self.end(side, alpha)
        return end > self.bound if side == "low" else end < self.bound

    def p(self, side: Side) -> float:
        """One-sided p by inversion of the bound on that side."""
        assert self.at is not None
        return stats.one_sided_p(lambda level: stats.Interval(*self.at(level)), self.bound, side)  # type: ignore[misc]


def _hypotheses(table: Table, trust: Sequence[Trust], changed: Sequence[Deviation], frozen: Frozen | None) -> tuple[HypothesisResult, ...]:
    study = table.study
    found = [_evidence(table, hypothesis, trust, changed, frozen) for hypothesis in study.hypotheses]
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
        next=_next(evidence, verdict, smallest, support[1] if support else None),
        smallest_visible=smallest,
    )


def _next(evidence: Evidence, verdict: VerdictWord, smallest: float | None, alpha: float | None) -> str:
    if verdict != "undecided":
        return ""
    if evidence.estimate.refused is not None:
        return evidence.estimate.refused.next
    if evidence.estimate.n_missing:
        return "run again to fill in what is missing: the undecided range includes its worst and best completion"
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


def _evidence(
    table: Table, hypothesis: Hypothesis, trust: Sequence[Trust], changed: Sequence[Deviation], frozen: Frozen | None
) -> Evidence:
    study = table.study
    level = 1 - 2 * study.plan.alpha
    exploratory = frozen is not None and _touched(table, hypothesis, changed)
    estimand = _estimand(hypothesis)
    scorer = table.scorer_of(hypothesis.on)

    def refused(code: str, why: str, next_step: str, n: int = 0) -> Evidence:
        estimate = _refused(estimand, code, why, next_step, level, scorer, n, table.n_clusters)
        return Evidence(hypothesis, estimand, estimate, None, why, exploratory)

    for criterion in table.criteria_by_llm(hypothesis.on):
        receipt_ = next((r for r in trust if r.criterion == criterion and r.grader == (table.deciding(criterion) or ("", ""))[0]), None)
        if receipt_ is None or not receipt_.usable:
            reason = receipt_.refused if receipt_ is not None else None
            why = reason.why if reason else f"only an LLM grader marks {criterion}, and nobody has checked it"
            step = reason.next if reason else "let people mark some of the same answers"
            return refused(reason.code if reason else "UNCALIBRATED_GRADER", why, step, table.counts(hypothesis.system).answered)
    if hypothesis.than is None:
        return _one_system(table, hypothesis, estimand, exploratory, refused, level)
    return _two_systems(table, hypothesis, estimand, exploratory, refused, level)


Refuse = Callable[..., Evidence]


def _one_system(table: Table, hypothesis: Hypothesis, estimand: str, exploratory: bool, refused: Refuse, level: float) -> Evidence:
    metric = table.metric(hypothesis.system, hypothesis.on)
    blocked = _blocked(metric.chosen, hypothesis.on)
    if blocked is not None:
        return refused(*blocked, len(metric.low))
    gated = hypothesis.on == "score" and any(criterion.gate for criterion in table.study.rubric)
    base = _mean(metric, estimand, level, gated=gated)
    if base.refused is not None:
        return refused(base.refused.code, base.refused.why, base.refused.next, len(metric.low))
    within = _estimator("gated" if gated else "mean", metric)

    def at(confidence: float) -> tuple[float, float]:
        worst = within(metric.low, metric.cluster, estimand, confidence, metric.scorer)
        best = worst if metric.missing == 0 else within(metric.high, metric.cluster, estimand, confidence, metric.scorer)
        assert worst.low is not None
        assert best.high is not None
        return worst.low, best.high

    return Evidence(hypothesis, estimand, base, at, f"one system, {base.method}", exploratory)


def _two_systems(table: Table, hypothesis: Hypothesis, estimand: str, exploratory: bool, refused: Refuse, level: float) -> Evidence:
    assert hypothesis.than is not None
    pairs = table.pairs(hypothesis.system, hypothesis.than, hypothesis.on)
    blocked = _blocked(pairs.chosen, hypothesis.on)
    n = len(pairs.low)
    if blocked is not None:
        return refused(*blocked, n)
    if n == 0:
        return refused("NO_SHARED_CASES", "the two systems have no case in common", "run both systems on the same cases")
    if not pairs.marked.any():
        return refused("NOTHING_MARKED", f"none of {n} pairs is fully marked yet", "run again to fill in what is missing", n)
    worst = _paired_intervals(table, hypothesis, pairs, pairs.low)
    if worst.refused is not None:
        return refused(worst.refused.code, worst.refused.why, worst.refused.next, n)
    complete = bool(pairs.marked.all())
    best = worst if complete else _paired_intervals(table, hypothesis, pairs, pairs.high)
    if best.refused is not None:
        return refused(best.refused.code, best.refused.why, best.refused.next, n)
    low, high = worst.at(level).low, best.at(level).high
    seen = pairs.low[pairs.marked]
    missing = int(np.count_nonzero(~pairs.marked))
    estimate = Estimate(
        estimand=estimand,
        value=float(np.clip(np.mean(seen), np.mean(pairs.low), np.mean(pairs.high))),
        low=low,
        high=high,
        confidence_level=level,
        method=worst.method,
        n_cases=n,
        n_clusters=table.n_clusters,
        n_responses=2 * n * table.study.trials,
        scorer=pairs.scorer,
        assumptions=worst.assumptions,
        warnings=() if complete else (f"{missing} of {n} pairs are missing a mark: the interval spans their worst to best completion",),
        n_missing=missing,
        low_if_worst=None if complete else float(np.mean(pairs.low)),
        high_if_best=None if complete else float(np.mean(pairs.high)),
    )
    return Evidence(
        hypothesis,
        estimand,
        estimate,
        lambda confidence: (worst.at(confidence).low, best.at(confidence).high),
        f"the same {n} cases for both systems, so differences within cases: {worst.method}",
        exploratory,
        wins=int(np.count_nonzero(seen > 0)),
        losses=int(np.count_nonzero(seen < 0)),
        ties=int(np.count_nonzero(seen == 0)),
        smallest_p=worst.smallest_p,
    )


def _paired_intervals(table: Table, hypothesis: Hypothesis, pairs: Pairs, differences: FloatArray) -> stats.PairedIntervals:
    seed = random.Random(f"{table.study.name}/{hypothesis.id}/sign-flip").getrandbits(64)
    return stats.PairedIntervals(differences, pairs.cluster, single=pairs.single, rng=np.random.default_rng(seed))


def _blocked(chosen: str, on: str) -> tuple[str, str, str] | None:
    """Why marks that were chosen this way cannot decide, or None where they can."""
    if chosen in ("all", "random"):
        return None
    if chosen == "stratified":
        return (
            "NEEDS_WEIGHTS",
            f"the marked answers on {on} were chosen with unequal probabilities",
            "this version cannot weigh them yet: mark a simple random sample, or all",
        )
    why = "chose their own answers" if chosen == "self-selected" else "were given answers chosen in an unknown way"
    return "MARKS_NOT_RANDOM", f"those who marked {on} {why}", "say how they were chosen, or mark a random sample"


def _touched(table: Table, hypothesis: Hypothesis, changed: Sequence[Deviation]) -> bool:
    """Whether anything that this hypothesis rests on was added or changed after the plan was frozen."""
    study = table.study
    criteria = [c.id for c in study.rubric] if hypothesis.on == "score" else [table.target(hypothesis.on)[0].id]
    graders = [name for name, spec in study.graders.items() if set(spec.criteria) & set(criteria) and spec.kind != "recorded"]
    relevant = {
        f"hypothesis {hypothesis.id}",
        "plan",
        "cluster",
        "trials",
        *(f"system {name}" for name in study.systems_of(hypothesis)),
        *(f"criterion {name}" for name in criteria),
        *(f"grader {name}" for name in graders),
    }
    return any(deviation.what in relevant for deviation in changed)


def _estimand(hypothesis: Hypothesis) -> str:
    on = "the rubric score" if hypothesis.on == "score" else hypothesis.on
    if hypothesis.than is None:
        return f"{on} of {hypothesis.system}, in cases like these"
    return f"{on} of {hypothesis.system} minus {hypothesis.than}, in cases like these"


# ---------------------------------------------------------------- groups, what was not tested, who marked


def _groups(table: Table, level: float) -> tuple[GroupResult, ...]:
    """Each group on what the hypotheses are about. Criteria that only an LLM marks are left out."""
    study = table.study
    wanted = dict.fromkeys(
        (name, hypothesis.on)
        for hypothesis in study.hypotheses
        if not table.criteria_by_llm(hypothesis.on)
        for name in study.systems_of(hypothesis)
    )
    results = []
    for system, on in wanted:
        for attribute in study.groups:
            members: dict[str, list[Row]] = {}
            for row in table.of(system):
                members.setdefault(str(row.case.fields.get(attribute)), []).append(row)
            for group, rows in sorted(members.items()):
                estimand = f"{on} of {system} where {attribute} is {group}"
                results.append(GroupResult(system, attribute, group, on, _group_estimate(table, system, on, rows, estimand, level)))
    return tuple(results)


def _group_estimate(table: Table, system: str, on: str, rows: Sequence[Row], estimand: str, level: float) -> Estimate:
    metric = table.metric(system, on, rows=rows)
    cases = len({row.case.id for row in rows})
    if cases < SMALLEST_GROUP:
        why = f"{cases} cases are too few to say"
        return _refused(
            estimand, "TOO_FEW_TO_SAY", why, f"add at least {SMALLEST_GROUP - cases} cases of this group", level, metric.scorer, cases
        )
    gated = on == "score" and any(criterion.gate for criterion in table.study.rubric)
    return _mean(metric, estimand, level, gated=gated)


def _not_tested(study: Study) -> tuple[str, ...]:
    """A sentence for everything of the declared population that the cases lack or hardly hold."""
    sentences = []
    columns = {column for case in study.cases for column in case.fields}
    for attribute, values in study.population.items():
        word = attribute.replace("_", " ")
        if attribute not in columns:
            listed = ", ".join(values)
            sentences.append(f"Nothing about {word} ({listed}): the cases do not say which is which.")
            continue
        counts = Counter(str(case.fields.get(attribute)) for case in study.cases)
        for value in values:
            if counts[value] == 0:
                sentences.append(f"No case where {word} is {value.replace('_', ' ')}.")
            elif counts[value] < SMALLEST_GROUP:
                plural = "case" if counts[value] == 1 else "cases"
                sentences.append(f"Only {counts[value]} {plural} where {word} is {value.replace('_', ' ')}: too few to say.")
    if not study.population:
        sentences.append("The study does not say whom it is meant for, so nobody can tell who is missing.")
    return tuple(sentences)


def _marked_by(study: Study) -> tuple[str, ...]:
    checked = [f"{criterion} ({spec.check})" for spec in study.graders.values() if spec.kind == "check" for criterion in spec.criteria]
    sentences = [f"Checks marked {', '.join(checked)}."] if checked else []
    for name, spec in study.graders.items():
        criteria = ", ".join(spec.criteria)
        if spec.kind == "check":
            continue
        if spec.kind == "llm":
            model = spec.model.name if spec.model else "a model"
            sentences.append(f"The LLM grader {name} ({model}) marked {criteria}.")
        else:
            raters = len({mark.rater for mark in spec.marks})
            who = "1 person" if raters == 1 else f"{raters} people"
            sentences.append(f"{who} marked {criteria} (recorded in {spec.marks_from}; chosen: {spec.chosen}).")
    return tuple(sentences)


# ---------------------------------------------------------------- what the response browser shows


def exhibits(table: Table) -> tuple[Exhibit, ...]:
    """Every planned response with its marks, in the order of the cases and systems."""
    study = table.study
    shown = [*study.groups, *([study.cluster] if study.cluster else [])]
    by_case: dict[str, list[Row]] = {}
    for row in table.rows:
        by_case.setdefault(row.case.id, []).append(row)
    order = {name: place for place, name in enumerate(study.systems)}
    return tuple(
        _exhibit(table, row, {name: str(row.case.fields.get(name, "")) for name in shown})
        for case in study.cases
        for row in sorted(by_case.get(case.id, []), key=lambda row: (order[row.system], row.trial))
    )


def _exhibit(table: Table, row: Row, fields: Mapping[str, str]) -> Exhibit:
    answer = row.response.answer if row.response is not None else None
    failure = row.response.failure if row.response is not None else None
    score = table.score(row)
    return Exhibit(
        case_id=row.case.id,
        system=row.system,
        trial=row.trial,
        fields=fields,
        input=tuple((message.role, message.content) for message in row.case.input),
        reference=row.case.expected,
        output=answer.text if answer is not None else None,
        failure=f"{failure.kind}: {failure.why}" if failure is not None else "" if answer is not None else "not asked yet",
        finish=answer.finish if answer is not None else "",
        seconds=answer.seconds if answer is not None else None,
        score=score.value if answer is not None else None,
        failed_gates=score.failed_gates,
        grades=tuple(_exhibit_grade(cell) for cell in row.cells if cell.grade is not None and not _absent(cell)),
    )


def _absent(cell: Cell) -> bool:
    return cell.grade is not None and cell.grade.failure is not None and cell.grade.failure.kind == "not_recorded"


def _exhibit_grade(cell: Cell) -> ExhibitGrade:
    grade = cell.grade
    assert grade is not None
    return ExhibitGrade(
        criterion=cell.criterion,
        grader=cell.grader,
        kind=cell.kind,
        rater=cell.rater,
        label=grade.label,
        failure=f"{grade.failure.kind}: {grade.failure.why}" if grade.failure is not None else "",
        reason=grade.reason,
        evidence=tuple((span.start, span.end, span.quote, span.found) for span in grade.evidence),
        confidence=grade.confidence,
    )
