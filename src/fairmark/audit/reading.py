"""What the answers to an audit say: one finding a part, Holm's levels over all of a grader's, and what was not tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fairmark.audit.marks import Marked, families_of, marked, units
from fairmark.audit.planning import AuditPlan, Probe, Untested
from fairmark.audit.variants import EQUAL, FIRST_WINS, SECOND_WINS
from fairmark.records import Grade
from fairmark.results import Estimate, Refusal, Result
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion
from fairmark.stats import (
    Audit,
    central_tendency,
    edit_bias,
    estimate_rate,
    halo,
    holm_audits,
    length_bias,
    leniency,
    position_bias,
    repeatability,
    self_preference,
)
from fairmark.stats.audits import AuditVerdict
from fairmark.table import Table

FloatArray = NDArray[np.float64]
ARMS: Mapping[str, tuple[str, ...]] = {
    "position": ("shown first", "shown second"),
    "level order": ("worst first", "best first"),
    "names": ("first name of the pair", "second name of the pair"),
    "repeatability": ("once", "again", "a third time"),
    "injection": ("harmless line", "attack"),
}
EDITED = ("as it was", "edited")
COMPARED: Mapping[str, float] = {FIRST_WINS: 1.0, EQUAL: 0.5, SECOND_WINS: 0.0}

# what an effect above 0 means, after "It gives": the first for more, the second for less
MORE: Mapping[str, str] = {
    "level order": "a higher mark where the best level is offered first",
    "padding": "a higher mark to the same answer padded with empty sentences",
    "trimming": "a higher mark to the same answer without its empty words",
    "Markdown": "a higher mark to the same answer with headings, bold type or lists",
    "claims of authority": "a higher mark to the same answer with a claim of authority",
    "names": "a higher mark where the request is signed by the second name of a pair",
    "spelling": "a higher mark where the request is misspelt",
    "informal writing": "a higher mark where the request is written informally",
    "injection": "a higher mark to a bad answer that carries an attack",
    "length": "more than people to an answer that is twice as long",
    "self-preference": "more than people to answers of its own model family",
    "leniency": "more than people to the same answers",
}

# the same after "it makes a difference"
LIKENED: Mapping[str, str] = {
    "level order": "which level is offered first",
    "padding": "that an answer is padded with empty sentences",
    "trimming": "that an answer loses its empty words",
    "Markdown": "that an answer has headings, bold type or lists",
    "claims of authority": "that an answer claims authority",
    "names": "which name a request is signed by",
    "spelling": "that a request is misspelt",
    "informal writing": "that a request is written informally",
    "injection": "that a bad answer carries an attack",
    "length": "how long an answer is, beyond what people make of it",
    "self-preference": "that an answer is of its own model family",
    "leniency": "whether it marks or people do",
}


@dataclass(frozen=True, slots=True)
class Arm:
    """What became of one arm of an experiment. Planned = marked + no level + failed + pending."""

    name: str
    planned: int
    marked: int
    no_level: int  # it said that it cannot tell, or that the criterion does not apply
    failed: int  # the answer could not be read, was refused, or never came
    pending: int


@dataclass(frozen=True, slots=True)
class Finding(Result):
    """One audited part of a grader on one criterion."""

    experiment: str
    criterion: str  # empty: all that it marks
    audit: Audit  # values 0 to 1 of the scale
    verdict: AuditVerdict  # the audit's, and undecided where what is missing could turn it
    say: str  # one plain sentence
    arms: tuple[Arm, ...] = ()
    value_if_worst: float | None = None  # the effect if everything missing went one way; None where nothing is missing
    value_if_best: float | None = None  # likewise the other way
    by_realisation: Mapping[str, float] = field(default_factory=dict)  # mean effect of each wording of the cue, or kind and carrier
    success: Estimate | None = None  # injection: attacks after which the level was higher than without
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> Refusal | None:
        return self.audit.refused

    def headline(self) -> str:
        return f"{self.criterion or 'all criteria'}, {self.audit.headline()}"


@dataclass(frozen=True, slots=True)
class AuditReport(Result):
    """All that an audit found about one grader."""

    grader: str
    findings: tuple[Finding, ...]
    not_tested: tuple[Untested, ...]  # what could not be tried, and why
    calls: int  # questions that are still to be asked
    confidence_level: float

    def headline(self) -> str:
        count = sum(finding.verdict == "biased" for finding in self.findings)
        tried = sum(finding.verdict != "NOT_TESTED" for finding in self.findings)
        waiting = f"; {self.calls} questions are still to be asked" if self.calls else ""
        said = f"{count} of {tried} things that should not matter do" if tried else "nothing could be tested"
        return f"{self.grader}: {said}{waiting}"


@dataclass(frozen=True, slots=True)
class _Part:
    """What one finding is made of; `audit` waits for the level that Holm leaves it."""

    experiment: str
    criterion: str
    name: str
    audit: Callable[..., Audit]
    arms: tuple[Arm, ...] = ()
    span: tuple[float, float] | None = None
    by_realisation: Mapping[str, float] = field(default_factory=dict)
    success: Callable[[float], Estimate] | None = None


def read(plan: AuditPlan, table: Table) -> AuditReport:
    """The report of an audit from the grades in its tasks and the marks in the table. Nothing is asked."""
    grades = {task.key: task.grade for task in plan.tasks}
    level = 1 - 2 * table.study.plan.alpha
    not_tested = list(plan.not_tested)
    parts = [_of_probes(probes, grades, table) for probes in _together(plan.probes)]
    for criterion in plan.criteria:
        for experiment in plan.experiments:
            made = _of_marks(experiment, plan, table.study.rubric[criterion], table)
            if isinstance(made, _Part):
                parts.append(made)
            elif made is not None:
                not_tested.append(made)
    if "halo" in plan.experiments:
        found = _halo(plan, table)
        parts += [found] if isinstance(found, _Part) else []
        not_tested += [found] if isinstance(found, Untested) else []
    audits = holm_audits([part.audit for part in parts], confidence_level=level)
    order = list(plan.experiments)
    findings = [_finding(part, audit, level) for part, audit in zip(parts, audits, strict=True)]
    place = {name: number for number, name in enumerate(plan.criteria)}
    findings.sort(key=lambda finding: (place.get(finding.criterion, len(place)), order.index(finding.experiment)))
    return AuditReport(plan.grader, tuple(findings), tuple(not_tested), plan.calls, level)


def _together(probes: Sequence[Probe]) -> list[list[Probe]]:
    parts: dict[tuple[str, str], list[Probe]] = {}
    for probe in probes:
        parts.setdefault((probe.criterion, probe.part), []).append(probe)
    return list(parts.values())


# ---------------------------------------------------------------- from what was asked


def _of_probes(probes: Sequence[Probe], grades: Mapping[str, Grade | None], table: Table) -> _Part:
    first = probes[0]
    criterion = table.study.rubric[first.criterion]
    said = [[grades[key] for key in probe.keys] for probe in probes]
    worth = _compared if first.part == "position" else lambda grade: _worth(grade, criterion)
    values = np.array([[_or_nan(worth(grade)) for grade in row] for row in said], dtype=np.float64)
    if first.part == "position":
        values[:, 1] = 1 - values[:, 1]  # the preference for the same answer of the pair in both orders
    names = ARMS.get(first.part, EDITED)
    arms = tuple(_arm(name, [row[place] for row in said], worth) for place, name in enumerate(names))
    # answers of one cluster, or several attacks on one answer, are not independent
    cluster = _numbers([probe.unit for probe in probes])
    asked = np.array([all(grade is not None for grade in row) for row in said], dtype=np.bool_)
    if first.part == "repeatability":
        audit = partial(repeatability, values, cluster)
        return _Part(first.experiment, first.criterion, first.part, audit, arms)
    before, after = values[:, 0], values[:, 1]
    if first.part == "position":
        return _Part(
            first.experiment, first.criterion, first.part, partial(position_bias, before, after, cluster), arms, _span(after, before, asked)
        )
    effects: dict[str, list[float]] = {}
    for probe, change in zip(probes, (after - before).tolist(), strict=True):
        for name in probe.realisation.split(" / ") if first.part == "injection" else [probe.realisation]:
            if name and change == change:
                effects.setdefault(name, []).append(change)
    return _Part(
        first.experiment,
        first.criterion,
        first.part,
        partial(edit_bias, before, after, cluster, bias=first.part),
        arms,
        _span(before, after, asked),
        {name: sum(changes) / len(changes) for name, changes in sorted(effects.items())},
        _success(before, after, asked, [probe.case_id for probe in probes], first.criterion, cluster)
        if first.part == "injection"
        else None,
    )


def _span(before: FloatArray, after: FloatArray, asked: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The mean change if every missing grade went against it, and in its favour; None where nothing that was asked is missing."""
    before, after = before[asked], after[asked]
    if not len(before) or not bool(np.isnan(before).any() or np.isnan(after).any()):
        return None
    low = np.where(np.isnan(after), 0.0, after) - np.where(np.isnan(before), 1.0, before)
    high = np.where(np.isnan(after), 1.0, after) - np.where(np.isnan(before), 0.0, before)
    return float(np.mean(low)), float(np.mean(high))


def _success(
    before: FloatArray, after: FloatArray, asked: NDArray[np.bool_], cases: Sequence[str], criterion: str, cluster: NDArray[np.int64] | None
) -> Callable[[float], Estimate]:
    """The share of attacks after which the level is higher than without; where a grade is missing, at worst and at best."""
    before, after = before[asked], after[asked]
    missing = np.isnan(before) | np.isnan(after)
    up = after > before  # False where a grade is missing
    units_ = None if cluster is None else cluster[asked]
    what = f"attacks after which the level of a known-bad answer on {criterion} is higher than without"

    def at(level: float) -> Estimate:
        known = ~missing
        groups = None if units_ is None else units_[known]
        found = estimate_rate(
            up[known].astype(np.float64), groups, estimand=what, confidence_level=level, scorer="judge-raw", n_cases=len(set(cases))
        )
        if not missing.any() or found.refused is not None:
            return found
        ends = [
            estimate_rate(np.where(missing, end, up).astype(np.float64), units_, estimand=what, confidence_level=level)
            for end in (0.0, 1.0)
        ]
        assert ends[0].low is not None and ends[1].high is not None
        return replace(
            found,
            low=ends[0].low,
            high=ends[1].high,
            n_missing=int(missing.sum()),
            low_if_worst=ends[0].value,
            high_if_best=ends[1].value,
            warnings=(f"{int(missing.sum())} of {len(up)} attacks have no readable mark; the range runs from all failing to all working",),
        )

    return at


def _arm(name: str, said: Sequence[Grade | None], worth: Callable[[Grade | None], float | None]) -> Arm:
    made = [grade for grade in said if grade is not None]
    failed = sum(grade.failure is not None for grade in made)
    known = sum(worth(grade) is not None for grade in made)
    return Arm(name, len(said), known, len(made) - failed - known, failed, len(said) - len(made))


def _worth(grade: Grade | None, criterion: Criterion) -> float | None:
    if grade is None or grade.label is None or grade.label in (CANNOT_TELL, NOT_APPLICABLE):
        return None
    return criterion.value_of(grade.label)


def _compared(grade: Grade | None) -> float | None:
    return COMPARED.get(grade.label) if grade is not None and grade.label is not None else None


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _numbers(names: Sequence[str]) -> NDArray[np.int64] | None:
    """Names of clusters as numbers; None where each stands alone."""
    known = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return None if len(known) == len(names) else np.array([known[name] for name in names], dtype=np.int64)


# ---------------------------------------------------------------- from marks already there


def _of_marks(experiment: str, plan: AuditPlan, criterion: Criterion, table: Table) -> _Part | Untested | None:
    """The part that rests on people's marks; None for experiments without one."""
    part = {"length": "length", "family": "self-preference", "ends": "central tendency", "leniency": "leniency"}.get(experiment)
    if part is None:
        return None
    both = marked(table, plan.grader, criterion)
    if not both:
        why = Refusal(
            "NO_MARKS", f"people marked none of the answers that {plan.grader} marked", "let people mark some of the same answers"
        )
        return Untested(experiment, part, criterion.id, why)
    if experiment == "family":
        return _family(plan, criterion, table, both)
    cluster = _numbers(units(table, [one.row for one in both]))
    its, people = np.array([one.grader for one in both]), np.array([one.people for one in both])
    audit: Callable[..., Audit]
    if experiment == "length":
        words = np.array([max(1, len(_output(one).split())) for one in both], dtype=np.float64)
        audit = partial(length_bias, its, people, words, cluster)
    elif experiment == "ends":
        audit = partial(central_tendency, its, np.array([one.one for one in both]), cluster)
    else:
        audit = partial(leniency, its, people, cluster)
    return _Part(experiment, criterion.id, part, audit)


def _output(one: Marked) -> str:
    assert one.row.response is not None and one.row.response.answer is not None
    return one.row.response.answer.text


def _family(plan: AuditPlan, criterion: Criterion, table: Table, both: Sequence[Marked]) -> _Part | Untested:
    def untested(code: str, why: str, next_step: str) -> Untested:
        return Untested("family", "self-preference", criterion.id, Refusal(code, why, next_step))

    own, of = families_of(table.study, plan.grader, plan.families)
    if own is None:
        return untested(
            "NO_FAMILY", f"the name of {plan.grader}'s model does not say its family", f"say it: families={{'{plan.grader}': ...}}"
        )
    by_case: dict[str, tuple[list[Marked], list[Marked]]] = {}
    for one in both:
        if of[one.row.system] is not None:
            by_case.setdefault(one.row.case.id, ([], []))[of[one.row.system] != own].append(one)
    pairs = [sides for sides in by_case.values() if sides[0] and sides[1]]
    if not pairs:
        named = ", ".join(f"{name} {kin or 'unknown'}" for name, kin in of.items())
        return untested(
            "NO_FAMILIES",
            f"no case has marked answers both of the grader's family ({own}) and of another ({named})",
            "assess a system of its family and one of another, or name their families",
        )
    means = [[np.mean([(one.grader, one.people) for one in side], axis=0) for side in sides] for sides in pairs]
    own_its, own_people, other_its, other_people = (np.array([pair[side][what] for pair in means]) for side in (0, 1) for what in (0, 1))
    cluster = _numbers(units(table, [sides[0][0].row for sides in pairs]))
    return _Part("family", criterion.id, "self-preference", partial(self_preference, own_its, own_people, other_its, other_people, cluster))


def _halo(plan: AuditPlan, table: Table) -> _Part | Untested:
    rows: dict[int, dict[str, Marked]] = {}
    for criterion in plan.criteria:
        for one in marked(table, plan.grader, table.study.rubric[criterion]):
            rows.setdefault(id(one.row), {})[criterion] = one
    names = [name for name in plan.criteria if any(name in row for row in rows.values())]
    whole = [row for row in rows.values() if all(name in row for name in names)]
    if len(names) < 2 or not whole:
        why = Refusal(
            "ONE_CRITERION", "people and the grader did not mark two criteria of one answer", "let people mark a second criterion"
        )
        return Untested("halo", "halo", "", why)
    its = np.array([[row[name].grader for name in names] for row in whole])
    people = np.array([[row[name].people for name in names] for row in whole])
    cluster = _numbers(units(table, [row[names[0]].row for row in whole]))
    return _Part("halo", "", "halo", partial(halo, its, people, cluster))


# ---------------------------------------------------------------- in words


def _finding(part: _Part, audit: Audit, level: float) -> Finding:
    verdict, warnings = audit.verdict, list(audit.warnings)
    low, high = part.span if part.span is not None else (None, None)
    if low is not None and high is not None:
        turned = (verdict == "within the margin" and not -audit.margin <= low <= high <= audit.margin) or (
            verdict == "biased" and low <= 0 <= high
        )
        if turned:
            verdict = "undecided"
        rates = [arm.failed + arm.no_level for arm in part.arms]
        how = (
            "more often in one arm than in the other, so what is missing is no accident" if len(set(rates)) > 1 else "as often in both arms"
        )
        counts = ", ".join(f"{arm.name} {count}" for count, arm in zip(rates, part.arms, strict=True))
        warnings.append(
            f"it gave no level this often: {counts}; {how}; counting these at worst and at best, the effect is between "
            f"{_points(low)} and {_points(high)} points" + (", which leaves it open" if turned else "")
        )
    pending = sum(arm.pending for arm in part.arms)
    if pending:
        warnings.append(f"{pending} of its marks are still to be asked for")
    success = part.success(level) if part.success is not None else None
    return Finding(
        experiment=part.experiment,
        criterion=part.criterion,
        audit=audit,
        verdict=verdict,
        say=_say(part.name, audit, verdict, success),
        arms=part.arms,
        value_if_worst=low,
        value_if_best=high,
        by_realisation=part.by_realisation,
        success=success,
        warnings=tuple(warnings),
    )


def _points(value: float) -> str:
    """Out of 100, without a sign for nothing."""
    return f"{100 * value:+.0f}" if round(100 * value) else "0"


def _say(name: str, audit: Audit, verdict: AuditVerdict, success: Estimate | None) -> str:
    """One sentence, in points out of 100 of the scale."""
    if audit.refused is not None or audit.value is None or audit.low is None or audit.high is None:
        why = audit.refused
        return f"Not tested: {why.why}." if why is not None else "Not tested."
    between = f"between {_points(audit.low)} and {_points(audit.high)} points out of 100"
    tail = ""
    if success is not None and success.value is not None and success.low is not None and success.high is not None:
        tail = f" {100 * success.value:.0f} of 100 attacks raise the level (between {100 * success.low:.0f} and {100 * success.high:.0f})."
    amount, more = f"{abs(100 * audit.value):.0f} points out of 100", audit.value > 0
    if name == "position":
        if verdict == "biased":
            return f"It picks the answer that stands {'first' if more else 'second'} more often because of its place ({between})."
        return _open_or_within("which answer stands first", verdict, audit, between)
    if name == "repeatability":
        flips = f"{100 * audit.figures.get('flips', 0.0):.0f} of 100 repeated marks differ"
        return f"Asked the same again, its marks differ by {amount} on average ({between}); {flips}."
    if name == "central tendency":
        if verdict == "biased":
            return f"It {'uses the ends of the scale more' if more else 'shuns the ends of the scale'} than people do ({between})."
        return _open_or_within("how often it uses the ends of the scale", verdict, audit, between)
    if name == "halo":
        if verdict == "biased":
            return (
                f"One criterion colours another: where it is too {'kind' if more else 'hard'} on one it is too kind on others ({between})."
            )
        return _open_or_within("to one criterion how it marked another", verdict, audit, between)
    what = MORE[name]
    if verdict != "biased":
        return _open_or_within(LIKENED[name], verdict, audit, between) + tail
    if not more:
        what = what.replace("a higher mark", "a lower mark").replace("more than people", "less than people")
    return f"It gives {what}: {amount} ({between}).{tail}"


def _open_or_within(what: str, verdict: AuditVerdict, audit: Audit, between: str) -> str:
    if verdict == "within the margin":
        return f"Within {100 * audit.margin:.0f} points out of 100 it makes no difference {what} ({between})."
    return f"We don't know yet whether it makes a difference {what} ({between})."
