"""What the answers so far decide, while the rest are still to come: one e-process per hypothesis.

The rules are settled before the first answer. A runner asks in the order of `Study.in_order` and hands each case to a
`Deciding` once it is finished; a table is read in the same way. Nothing here looks at the clock: only at what stands, in
the recorded order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from fairmark import stats
from fairmark.errors import CannotDo
from fairmark.results import Refusal, StopRule
from fairmark.study import Hypothesis, Study, cannot_follow, cannot_stop
from fairmark.table import Measure, Row, Table, rounded

SIMULATED = 400_000  # cases in a forecast, as far as the fewest and the most runs allow
FEWEST_RUNS, MOST_RUNS = 40, 400

Outcome: TypeAlias = float | tuple[()] | None  # of a case: its value, None where it is missing, () where nothing applies to it
Side: TypeAlias = tuple[float, float]  # what a case's answers by one system are worth, at worst and at best


@dataclass(frozen=True, slots=True)
class EarlyPlan:
    """How one hypothesis may be decided early, settled before the first answer."""

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
    return tuple(dict.fromkeys(study.unit_of(case) for case in study.in_order(seed)))


def early_plans(study: Study, *, seed: int | str | None, secondary: bool = False) -> tuple[EarlyPlan, ...]:
    """One plan per primary hypothesis, which share alpha; with `secondary` the others' as well. Refused without a random order's seed."""
    order = units(study, seed=seed) if seed is not None else ()
    sizes: dict[str, int] = {}
    for case in study.cases:
        sizes[study.unit_of(case)] = sizes.get(study.unit_of(case), 0) + 1
    n_primary = sum(hypothesis.primary for hypothesis in study.hypotheses)
    return tuple(
        EarlyPlan(one, _plan(study, one, study.plan.alpha / (n_primary if one.primary else 1), seed, order, sizes))
        for one in study.hypotheses
        if one.primary or secondary
    )


def check_early(study: Study, *, seed: int | str) -> None:
    """`CannotDo` where a study that is to stop when it is decided could not: before anything is asked."""
    if study.plan.stop != "when-decided":
        return
    found = cannot_stop(study) or {one.hypothesis.id: one.plan.refused for one in early_plans(study, seed=seed) if one.plan.refused}
    for name, refusal in found.items():
        about = f"{name}: " if name else ""
        raise CannotDo(refusal.code, f"`stop: when-decided` cannot work here: {about}{refusal.why}", refusal.next)


def stop_rules(study: Study, *, seed: int | str) -> tuple[StopRule, ...]:
    """The rule of each primary hypothesis, with what it costs as simulated; none for a study that asks every case."""
    if study.plan.stop != "when-decided":
        return ()
    return tuple(_rule(one) for one in early_plans(study, seed=seed))


def _rule(planned: EarlyPlan) -> StopRule:
    plan = planned.plan
    expected: float | None = None
    at_margin: float | None = None
    if plan.refused is None and plan.largest_cluster is None:
        # a hybrid goes on for as long as its e-process does, whatever its one fixed test at the cap says
        engine = plan if plan.bank is not None else replace(plan, mode="open-ended", alpha=plan.alpha_e, beta=plan.beta_e)
        runs = min(MOST_RUNS, max(FEWEST_RUNS, SIMULATED // plan.n_max))
        expected, at_margin = (
            stats.stopping_forecast(engine, truth, rng=np.random.default_rng(1), runs=runs).mean_units
            for truth in (plan.alternative, plan.null)
        )
    unit = "clusters" if plan.largest_cluster is not None else "cases"
    rule = (
        f"after each of the {unit}, in a random order drawn beforehand, half of alpha ({plan.alpha_e:g}) is held against all evidence so"
        f" far; what is open after all {plan.n_max} gets one ordinary test with the other half"
    )
    if plan.bank is not None:
        rule = (
            f"after each case, in a random order drawn beforehand, alpha ({plan.alpha_e:g}) is held against what those of the {plan.bank}"
            " cases that are still to come could change; the last one settles it"
        )
    return StopRule(planned.hypothesis.id, rule, unit, plan.n_max, plan.alternative, expected, at_margin, plan.refused)


class Deciding:
    """Where hypotheses stand while cases come in: `add` takes each case once, in any order, and `stop` says whether to go on.

    Evidence is taken in the order that the seed draws, a case or a whole cluster at a time: what is pending keeps what
    comes behind it waiting, so that quick answers decide nothing before slow ones. A failed answer or an unreadable mark
    enters at its place as missing: at worst where it is for the hypothesis, at best where it is against it. A case to
    which the criterion does not apply takes its place and says nothing.
    """

    def __init__(self, study: Study, *, seed: int | str, secondary: bool = False) -> None:
        self._study = study
        self.plans = early_plans(study, seed=seed, secondary=secondary)
        self.order = units(study, seed=seed)
        place = {name: number for number, name in enumerate(self.order)}
        self._unit = {case.id: place[study.unit_of(case)] for case in study.cases}  # of every case that is still to come
        self._left = [0] * len(self.order)  # cases of each unit that are still to come
        for unit in self._unit.values():
            self._left[unit] += 1
        self._held: dict[int, list[tuple[Outcome, ...]]] = {}  # of units that wait for one before them, or for their own cases
        self._arriving: dict[str, list[Row]] = {}  # of cases whose other rows are still to come
        self._taken = 0  # units
        self._watched = [one for one in self.plans if one.plan.refused is None]
        self.claims = {one.hypothesis.id: stats.Stopping(one.plan) for one in self._watched}
        on = {one.hypothesis.on for one in self._watched}
        self._measures = {name: Measure(study, name) for name in on}
        self._sides = tuple(
            dict.fromkeys((system, one.hypothesis.on) for one in self._watched for system in study.systems_of(one.hypothesis))
        )
        self.decided_at: dict[str, int] = {}  # units after which each was supported or refuted, by Holm's levels
        self._stop = self._may_stop()
        self._results: dict[str, stats.StoppingResult] = {}

    @property
    def stop(self) -> bool:
        """Whether every primary hypothesis is decided, or can use no further answer."""
        return self._stop

    def result(self, hypothesis: str) -> stats.StoppingResult:
        """The whole account of one hypothesis that is followed, worked out once for as long as nothing comes in."""
        known = self._results.get(hypothesis)
        if known is None or known.n_units < self._taken:
            known = self._results[hypothesis] = self.claims[hypothesis].result()
        return known

    def arrived(self, row: Row) -> None:
        """One finished row; its case is added with the last of its rows. For a runner whose answers come in one by one."""
        rows = self._arriving.setdefault(row.case.id, [])
        rows.append(row)
        if len(rows) == len(self._study.systems) * self._study.trials:
            self.add(self._arriving.pop(row.case.id))

    def add(self, rows: Sequence[Row]) -> None:
        """All rows of one case, once each is answered or failed and its checks are marked. `ValueError` for a case added twice."""
        case = rows[0].case
        unit = self._unit.get(case.id)
        if unit is None or any(row.response is None or row.case.id != case.id for row in rows):
            raise ValueError(f"{case.id} is no case of this study, was added before, or is not finished")
        del self._unit[case.id]
        sides: dict[tuple[str, str], Side | None] = {
            (system, on): _side(self._measures[on], [row for row in rows if row.system == system]) for system, on in self._sides
        }
        self._held.setdefault(unit, []).append(tuple(_outcome(one.hypothesis, sides) for one in self._watched))
        self._left[unit] -= 1
        if unit == self._taken and self._left[unit] == 0:
            self._take()

    def _take(self) -> None:
        """Takes in every unit that nothing stands before any more."""
        while self._taken < len(self.order) and self._left[self._taken] == 0:
            cases = self._held.pop(self._taken)
            for number, one in enumerate(self._watched):
                if one.plan.largest_cluster is None:
                    self.claims[one.hypothesis.id].update([cases[0][number]])
                else:
                    values = [outcome for case in cases if not isinstance(outcome := case[number], tuple)]
                    self.claims[one.hypothesis.id].update([values])
            self._taken += 1
            if not self._stop:  # a p never grows, so what is decided stays so
                self._stop = self._may_stop()

    def _may_stop(self) -> bool:
        primary = [one for one in self.plans if one.hypothesis.primary]
        if not primary or any(one.plan.refused is not None for one in primary):
            return False
        claims = [self.claims[one.hypothesis.id] for one in primary]
        if all(claim.state == "open" for claim in claims):
            return False  # no p is at most alpha / k, which is where Holm begins
        together = stats.stop_together(claims, alpha=self._study.plan.alpha)
        for one, supported, refuted in zip(primary, together.supported, together.refuted, strict=True):
            if supported or refuted:
                self.decided_at.setdefault(one.hypothesis.id, self._taken)
        return together.stop

    def early(self) -> Early:
        """The whole account of where the primary hypotheses stand now."""
        primary = [one for one in self.plans if one.hypothesis.primary]
        refused = {one.hypothesis.id: one.plan.refused for one in primary if one.plan.refused is not None}
        return Early(
            self._stop, {name: self.claims[name].result() for one in primary if (name := one.hypothesis.id) in self.claims}, refused
        )


def deciding(table: Table, *, seed: int | str, secondary: bool = False) -> Deciding:
    """Where hypotheses stand by a table: its finished cases, whoever asked for them."""
    found = Deciding(table.study, seed=seed, secondary=secondary)
    by_case: dict[str, list[Row]] = {}
    for row in table.rows:
        by_case.setdefault(row.case.id, []).append(row)
    for rows in by_case.values():
        if all(row.response is not None for row in rows):
            found.add(rows)
    return found


def early(table: Table, *, seed: int | str) -> Early:
    """Where each primary hypothesis stands after the units up to the first that is still pending."""
    return deciding(table, seed=seed).early()


def _plan(
    study: Study, hypothesis: Hypothesis, alpha: float, seed: int | str | None, order: Sequence[str], sizes: Mapping[str, int]
) -> stats.StoppingPlan:
    null = -hypothesis.margin if hypothesis.kind == "no_worse_than" else hypothesis.margin
    # unless said otherwise: as good as the other for a tolerated loss, twice the margin, half way to the end of a rate
    usual = {"no_worse_than": 0.0, "better": max(2 * null, null + 0.1), "at_most": null / 2}.get(hypothesis.kind, (1 + null) / 2)
    worth = usual if hypothesis.worth_finding is None else hypothesis.worth_finding
    wrong_side = worth >= null if hypothesis.kind == "at_most" else worth <= null
    shares = ">=" in hypothesis.on
    bank = len(study.cases) if study.plan.target == "these-cases" and study.cluster is None else None
    plan = stats.stopping_plan(
        "paired" if hypothesis.than is not None else "rate" if shares else "mean",
        null=null,
        alternative=usual if wrong_side else worth,
        scorer="code",  # or people's recorded marks, which are as good: who marks is looked into below
        seed=seed,
        alpha=alpha,
        power=max(study.plan.power, 0.5),
        mode="hybrid" if bank is None else "finite-bank",
        n_max=len(sizes),
        bank=bank,
        spread=None if shares else 0.25 if hypothesis.than is None else 0.35,
        largest_cluster=max(sizes.values()) if study.cluster is not None else None,
        order=order,
        fingerprint=study.fingerprint(),
    )
    cannot = cannot_follow(study, hypothesis)
    if cannot is not None:
        return replace(plan, refused=cannot)
    if not wrong_side or plan.refused is not None:
        return plan
    why = f"what is worth finding, {worth:g}, lies on the wrong side of {null:g}"
    return replace(plan, refused=Refusal("NOTHING_WORTH_FINDING", why, "write a `worth_finding` that would support the hypothesis"))


def _side(measure: Measure, rows: Sequence[Row]) -> Side | None:
    """The mean of a case's answers by one system, at worst and at best; None where nothing applies."""
    ends = [bounds for row in rows if (bounds := measure.bounds(row)) is not None]
    if len(ends) < 2:
        return ends[0] if ends else None
    low = high = 0.0
    for worst, best in ends:
        low += worst
        high += best
    return low / len(ends), high / len(ends)


def _outcome(hypothesis: Hypothesis, sides: Mapping[tuple[str, str], Side | None]) -> Outcome:
    """What one case says to a hypothesis."""
    first = sides[hypothesis.system, hypothesis.on]
    if first is None:
        return ()
    if hypothesis.than is None:
        low, high = first
    else:
        second = sides[hypothesis.than, hypothesis.on]
        if second is None:
            return ()
        low, high = rounded(first[0] - second[1]), rounded(first[1] - second[0])
    return low if low >= high else None
