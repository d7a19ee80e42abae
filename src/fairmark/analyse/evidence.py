"""What one hypothesis is judged on: the method that fits the design, and its interval at every level."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fairmark import stats
from fairmark.analyse.corrected import NO_SHARED_CASES, corrected, not_random
from fairmark.analyse.estimates import estimator, fill_in, mean, refused_estimate
from fairmark.results import Deviation, Estimate, Refusal, Trust
from fairmark.study import Hypothesis, Target
from fairmark.table import FloatArray, Metric, Pairs, Table

Side = Literal["low", "high"]
MARKED_BY = {"human": "people's marks", "check": "the marks of a check", "llm": "the marks of an LLM grader"}
# whether these occur does not depend on what people say, only on which answers they were given
PEOPLE_ALONE_WILL_DO = ("LABEL_VERDICT", "TOO_FEW_MARKS", "NEEDS_WEIGHTS")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one hypothesis is judged on: an interval at any level, or why there is none."""

    hypothesis: Hypothesis
    estimand: str
    estimate: Estimate  # with everything but the deciding interval; refused where there is no evidence
    at: Callable[[float], tuple[float, float]] | None  # two-sided confidence level -> (low, high)
    why: str
    exploratory: bool
    design: tuple[str, ...]  # what of the design this method answers to, in sentences
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None
    smallest_p: float = 0.0  # no one-sided p can be smaller with so few clusters
    p_of: Mapping[Side, float] | None = None  # one-sided p, where they are known without inverting the interval
    next: str = ""  # what would decide it, where the method itself says so

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
        if self.p_of is not None:
            return self.p_of[side]
        assert self.at is not None
        return stats.one_sided_p(lambda level: stats.Interval(*self.at(level)), self.bound, side)  # type: ignore[misc]


def evidence_for(table: Table, hypothesis: Hypothesis, trust: Sequence[Trust], changed: Sequence[Deviation], *, planned: bool) -> Evidence:
    study = table.study
    level = 1 - 2 * study.plan.alpha
    exploratory = planned and touched(table, hypothesis, changed)
    estimand = estimand_of(hypothesis)
    design = design_of(table, hypothesis)

    def refused(refusal: Refusal, n: int = 0) -> Evidence:
        return without_a_figure(table, hypothesis, refusal, design, exploratory=exploratory, n=n)

    for criterion in table.criteria_by_llm(hypothesis.on):
        receipt_ = next((r for r in trust if r.criterion == criterion and r.grader == (table.deciding(criterion) or ("", ""))[0]), None)
        if receipt_ is None or not receipt_.usable:
            reason = receipt_.refused if receipt_ is not None else None
            unchecked = Refusal(
                "UNCALIBRATED_GRADER",
                f"only an LLM grader marks {criterion}, and nobody has checked it",
                "let people mark some of the same answers",
            )
            return refused(reason or unchecked, table.counts(hypothesis.system).answered)
    both = corrected(table, hypothesis.system, hypothesis.than, hypothesis.on)
    if both is not None:
        design = (*design, both.because)
        if both.refused is None:
            estimate = both.estimate(estimand, level)
            why = f"the LLM grader's verdicts, corrected by people's marks: {estimate.method}"
            return Evidence(hypothesis, estimand, estimate, both.at, why, exploratory, design)
        weighed = hypothesis.than is None and table.chances(hypothesis.system, hypothesis.on) is not None
        if both.refused.code not in PEOPLE_ALONE_WILL_DO or not (both.simple or weighed):
            return refused(both.refused, both.worst.n_cases)
        design = (*design, f"the correction has no figure ({both.refused.why}), so people's marks stand alone")
    if hypothesis.than is None:
        return _one_system(table, hypothesis, estimand, exploratory, refused, level, design)
    return _two_systems(table, hypothesis, estimand, exploratory, refused, level, design)


def without_a_figure(
    table: Table, hypothesis: Hypothesis, refusal: Refusal, design: tuple[str, ...], *, exploratory: bool, n: int = 0
) -> Evidence:
    """What a hypothesis is left with where nothing can be said."""
    level, estimand = 1 - 2 * table.study.plan.alpha, estimand_of(hypothesis)
    estimate = refused_estimate(estimand, refusal, level, table.scorer_of(hypothesis.on), n, table.n_clusters)
    return Evidence(hypothesis, estimand, estimate, None, refusal.why, exploratory, design)


def design_of(table: Table, hypothesis: Hypothesis) -> tuple[str, ...]:
    """What of the design decides which method fits, in sentences."""
    study = table.study
    found = []
    if hypothesis.than is not None:
        found.append(f"{hypothesis.system} and {hypothesis.than} answered the same cases, so differences are taken within cases")
    if study.cluster is not None:
        found.append(f"cases with the same {study.cluster} belong together, so {table.n_clusters} clusters are the units")
    if study.trials > 1:
        found.append(f"each case was tried {study.trials} times, and repeats of a case are no more cases")
    if hypothesis.on == "score":
        if any(criterion.gate for criterion in study.rubric):
            found.append("a failed must-pass rule makes the score 0, so the share that passes and the mean of the rest are taken apart")
        else:
            found.append("scores lie between 0 and 1")
        return tuple(found)
    criterion, level = table.target(hypothesis.on)
    if level is not None:
        found.append(f"an answer reaches “{level}” or does not")
    elif criterion.levels:
        found.append(f"{len(criterion.levels)} levels count as their declared values, and their distribution is shown beside the mean")
    else:
        found.append("numbers on a scale count as shares of its range")
    decided = table.deciding(criterion.id)
    if decided is not None:
        found.append(f"{MARKED_BY[decided[1]]} ({decided[0]}) decide")
    return tuple(found)


Refuse = Callable[..., Evidence]


def _one_system(
    table: Table, hypothesis: Hypothesis, estimand: str, exploratory: bool, refused: Refuse, level: float, design: tuple[str, ...]
) -> Evidence:
    metric = table.metric(hypothesis.system, hypothesis.on)
    chances = table.chances(hypothesis.system, hypothesis.on) if metric.chosen == "stratified" else None
    if chances is not None and len(chances):
        return _weighted(table, hypothesis, metric, chances, estimand, exploratory, refused, level, design)
    blocked = _blocked(metric.chosen, hypothesis.on)
    if blocked is not None:
        return refused(blocked, len(metric.low))
    gated = hypothesis.on == "score" and any(criterion.gate for criterion in table.study.rubric)
    base = mean(metric, estimand, level, gated=gated)
    if base.refused is not None:
        return refused(base.refused, len(metric.low))
    within = estimator("gated" if gated else "mean", metric)

    def at(confidence: float) -> tuple[float, float]:
        worst = within(metric.low, metric.cluster, estimand, confidence, metric.scorer)
        best = worst if metric.missing == 0 else within(metric.high, metric.cluster, estimand, confidence, metric.scorer)
        assert worst.low is not None
        assert best.high is not None
        return worst.low, best.high

    return Evidence(hypothesis, estimand, base, at, f"one system, {base.method}", exploratory, design)


def _weighted(
    table: Table,
    hypothesis: Hypothesis,
    metric: Metric,
    chances: FloatArray,
    estimand: str,
    exploratory: bool,
    refused: Refuse,
    level: float,
    design: tuple[str, ...],
) -> Evidence:
    """One system from marks of answers that were chosen with unequal, recorded chances."""

    def within(marks: FloatArray, confidence: float) -> Estimate:
        return stats.weighted_mean(
            marks, chances, metric.cluster, n_rows=metric.planned - metric.not_applicable, confidence_level=confidence, estimand=estimand
        )

    worst, best = within(metric.low, level), within(metric.high, level)
    if worst.refused is not None:
        return refused(worst.refused, len(metric.low))
    estimate = replace(worst, high=best.high, n_missing=metric.missing)
    if metric.missing:
        estimate = replace(estimate, low_if_worst=worst.value, high_if_best=best.value)
    design = (*design, f"people marked {len(metric.low)} answers chosen with unequal chances, so each counts for those it stands for")

    def at(confidence: float) -> tuple[float, float]:
        low, high = within(metric.low, confidence).low, within(metric.high, confidence).high
        assert low is not None
        assert high is not None
        return low, high

    return Evidence(hypothesis, estimand, estimate, at, f"one system, {estimate.method}", exploratory, design)


def _two_systems(
    table: Table, hypothesis: Hypothesis, estimand: str, exploratory: bool, refused: Refuse, level: float, design: tuple[str, ...]
) -> Evidence:
    assert hypothesis.than is not None
    pairs = table.pairs(hypothesis.system, hypothesis.than, hypothesis.on)
    blocked = _blocked(pairs.chosen, hypothesis.on)
    n = len(pairs.low)
    if blocked is not None:
        return refused(blocked, n)
    if n == 0:
        return refused(NO_SHARED_CASES)
    if not pairs.marked.any():
        return refused(Refusal("NOTHING_MARKED", f"none of {n} pairs is fully marked yet", fill_in(pairs.scorer)), n)
    worst = _paired_intervals(table, hypothesis, pairs, pairs.low)
    if worst.refused is not None:
        return refused(worst.refused, n)
    complete = bool(pairs.marked.all())
    best = worst if complete else _paired_intervals(table, hypothesis, pairs, pairs.high)
    if best.refused is not None:
        return refused(best.refused, n)
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
        design,
        wins=int(np.count_nonzero(seen > 0)),
        losses=int(np.count_nonzero(seen < 0)),
        ties=int(np.count_nonzero(seen == 0)),
        smallest_p=worst.smallest_p,
    )


def _paired_intervals(table: Table, hypothesis: Hypothesis, pairs: Pairs, differences: FloatArray) -> stats.PairedIntervals:
    seed = random.Random(f"{table.study.name}/{hypothesis.id}/sign-flip").getrandbits(64)
    return stats.PairedIntervals(differences, pairs.cluster, single=pairs.single, rng=np.random.default_rng(seed))


def _blocked(chosen: str, on: str) -> Refusal | None:
    """Why marks that were chosen this way cannot decide, or None where they can."""
    if chosen in ("all", "random"):
        return None
    if chosen == "stratified":
        return Refusal(
            "NEEDS_WEIGHTS",
            f"the marked answers on {on} were chosen with unequal probabilities, and nobody says which",
            "say in a column `probability` with what probability each was chosen, or mark a simple random sample",
        )
    return not_random(chosen, on)


def touched(table: Table, hypothesis: Hypothesis, changed: Sequence[Deviation]) -> bool:
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


def estimand_of(hypothesis: Hypothesis, target: Target = "cases-like-these") -> str:
    on = "the rubric score" if hypothesis.on == "score" else hypothesis.on
    where = "in cases like these" if target == "cases-like-these" else "in these very cases"
    if hypothesis.than is None:
        return f"{on} of {hypothesis.system}, {where}"
    return f"{on} of {hypothesis.system} minus {hypothesis.than}, {where}"
