"""What fairmark says: estimates, verdicts and the one `Analysis` that a report may draw on.

The words are scipy's (`value`, `low`, `high`, `confidence_level`, `method`). A refusal is a value with a reason and a
next step. No NaN and no infinity is ever stored in one of these.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fairmark.rubric import Criterion

VerdictWord = Literal["supported", "refuted", "undecided"]
Calibration = Literal["own", "borrowed", "none"]
Scorer = Literal["code", "human", "judge-raw", "judge-corrected", "mixed", "none"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no figure, and what would get one."""

    code: str  # stable, in capitals, such as TOO_FEW_CLUSTERS
    why: str
    next: str

    def __str__(self) -> str:
        return f"{self.code}: {self.why}; {self.next}"


class Result:
    """What every result can do: hold nothing but finite numbers, print itself, show itself in a notebook, become JSON.

    A result is a frozen dataclass on this base with plain Python values (tuples for lists, None where undefined). One that
    can be refused has a field `refused`. A subclass words its own headline in `headline`.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, value in _parts(self):
            for number in _numbers(value):
                if not math.isfinite(number):
                    raise ValueError(f"{name} of {type(self).__name__} must be finite, not {number}")

    def headline(self) -> str:
        """The result in one line."""
        words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(self).__name__).strip()
        refused = getattr(self, "refused", None)
        return words if refused is None else f"{words}: no figure ({refused})"

    def __str__(self) -> str:
        rows = [(name.replace("_", " "), shown) for name, value in _parts(self) if name != "refused" and (shown := _shown(value))]
        width = max((len(name) for name, _ in rows), default=0)
        return "\n".join([self.headline(), *(f"  {name:<{width}}  {shown}" for name, shown in rows)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th scope='row' style='text-align:left'>{html.escape(name.replace('_', ' '))}</th>"
            f"<td style='text-align:left'>{html.escape(shown)}</td></tr>"
            for name, value in _parts(self)
            if name != "refused" and (shown := _shown(value))
        )
        return f"<table><caption style='text-align:left'>{html.escape(self.headline())}</caption>{rows}</table>"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return as_json(self)  # type: ignore[no-any-return]


def _parts(result: Any) -> Iterator[tuple[str, Any]]:
    for part in dataclasses.fields(result):
        yield part.name, getattr(result, part.name)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _numbers(item)


def _shown(value: Any) -> str:
    """A field as people read it; empty where there is nothing to say."""
    if value is None or value == "" or (isinstance(value, (tuple, list, Mapping)) and not value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Result):
        return value.headline()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(item) or '-'}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        if all(isinstance(item, str) for item in value):
            return "; ".join(value)
        return "[" + ", ".join(_shown(item) or "-" for item in value) + "]"
    return str(value)


@dataclass(frozen=True, slots=True)
class Estimate(Result):
    """A figure with all it rests on. `value` and the interval are None exactly where it is refused."""

    estimand: str  # in a sentence
    value: float | None
    low: float | None
    high: float | None
    confidence_level: float  # of the two-sided interval, such as 0.95
    method: str
    n_cases: int
    n_clusters: int | None = None  # None: no cluster was declared, each case is one
    n_responses: int | None = None
    n_effective: float | None = None  # independent responses that would give the same precision
    scorer: Scorer = "none"
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None
    n_missing: int = 0  # planned but not marked; the interval spans their worst to best completion
    low_if_worst: float | None = None  # the value itself if every missing one were the worst
    high_if_best: float | None = None  # likewise the best
    design_effect: float | None = None  # variance against that of as many independent responses; None: not measured

    def headline(self) -> str:
        if self.refused is not None:
            return f"{self.estimand}: no figure ({self.refused})"
        n = f"{self.n_cases} cases" + (f" in {self.n_clusters} clusters" if self.n_clusters is not None else "")
        return f"{self.estimand}: {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.confidence_level:.4g}, {self.method}, {n})"

    def __str__(self) -> str:
        # the dataclass decorator makes no __str__, and the table of fields would repeat what the line says
        notes = [*(f"  assumes: {one}" for one in self.assumptions), *(f"  warning: {one}" for one in self.warnings)]
        return "\n".join([self.headline(), *notes])


@dataclass(frozen=True, slots=True)
class LevelCount:
    """How often one level was given."""

    level: str
    count: int
    share: Estimate  # of the marked responses, with its interval
    at_least: Estimate  # share at this level or a better one; the same as `share` on a nominal scale


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """One system on one criterion as one kind of grader marked it."""

    system: str
    criterion: str
    grader: str
    scorer: Scorer
    levels: tuple[LevelCount, ...]  # worst first
    pass_rate: Estimate
    mean_value: Estimate  # mean of the level values, 0 to 1
    planned: int
    marked: int
    failed: int
    pending: int
    not_applicable: int
    cannot_tell: int
    not_needed: int = 0  # of the pending ones, those that a run which was decided early does not need


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system as a whole."""

    system: str
    description: str  # model, prompt and options in one line
    planned: int
    answered: int
    failed: int
    pending: int
    truncated: int  # answers cut off at the token limit
    failures: Mapping[str, int]  # by kind
    score: Estimate  # rubric score, 0 to 1
    gate_rate: Estimate | None  # share of responses that pass every gate; None without gates
    seconds: float | None  # median time of an answer
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None  # None: unknown
    warnings: tuple[str, ...] = ()
    not_needed: int = 0  # of the pending ones, those that a run which was decided early does not need


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One group of cases on what a hypothesis is about. Descriptive: no hypothesis was tested here."""

    system: str
    attribute: str  # the column
    group: str  # its value
    on: str  # such as resolves>=meets
    estimate: Estimate  # refused for fewer than 5 cases


@dataclass(frozen=True, slots=True)
class HypothesisResult:
    """What the evidence says about one frozen expectation."""

    id: str
    text: str
    kind: str  # better, at_least, at_most, no_worse_than
    on: str
    systems: tuple[str, ...]  # the one it is about, and the one it is compared with
    margin: float  # the number the deciding bound is held against
    primary: bool
    exploratory: bool  # added or changed after the first response
    verdict: VerdictWord
    estimate: Estimate  # its interval is the one that decides
    p_support: float | None  # one-sided, by inversion of the deciding interval; None where refused
    p_refute: float | None
    alpha_support: float | None  # one-sided level at which it was judged, after Holm
    alpha_refute: float | None
    wins: int | None = None  # cases where the first system did better; None for one system
    losses: int | None = None
    ties: int | None = None
    why: str = ""  # why this method, and what stands in the way of a decision
    design: tuple[str, ...] = ()  # what of the study's design the method was chosen for, in sentences
    next: str = ""  # what would decide it, where it is undecided
    smallest_visible: float | None = None  # smallest difference this many cases would show with the planned power


@dataclass(frozen=True, slots=True)
class Trust:
    """How far one grader's marks on one criterion are borne out."""

    grader: str
    criterion: str
    kind: Literal["check", "llm", "human"]
    calibration: Calibration
    marked_by: str  # people, or development marks
    n: int  # doubly marked responses
    unreadable: int  # graded responses where the grader's answer named no level
    agreement: Estimate | None  # share of equal labels
    commonest: str = ""  # the reference's commonest label
    commonest_share: float | None = None  # agreement of always saying that label
    kappa: float | None = None  # chance-corrected agreement; None where undefined
    ac1: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()  # rows: the reference's level, columns: the grader's
    levels: tuple[str, ...] = ()
    usable: bool = False  # may its marks decide a hypothesis?
    say: str = ""  # one friendly sentence
    refused: Refusal | None = None
    by_system: Mapping[str, Calibration] = field(default_factory=dict)  # on whose answers people's marks stand beside its own
    receipt: Result | None = None  # everything that people's marks say of it; None where they say nothing
    tuning: tuple[str, ...] = ()  # how often test labels were looked at, and what gives tuning away, in sentences


@dataclass(frozen=True, slots=True)
class Deviation:
    """Something that changed after the plan was frozen."""

    what: str  # such as hypothesis H2
    change: str  # added, removed or changed, and how


@dataclass(frozen=True, slots=True)
class StopRule(Result):
    """When a run that may stop early needs no more for one hypothesis: settled before the first answer."""

    hypothesis: str
    rule: str  # in words
    unit: str  # cases, or clusters
    most: int  # units asked at most
    worth_finding: float
    expected: float | None  # units asked on average if the effect is just worth finding; None: not worked out
    expected_at_margin: float | None  # likewise if it lies just at the margin
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"{self.hypothesis}: no early stop ({self.refused})"
        line = f"{self.hypothesis}: at most {self.most} {self.unit}"
        if self.expected is not None and self.expected_at_margin is not None:
            line += (
                f", about {self.expected:.0f} if the effect is just worth finding ({self.worth_finding:g})"
                f" and {self.expected_at_margin:.0f} if it lies at the margin"
            )
        return line


StopState = Literal["open", "supported", "refuted", "ruled-out", "capped", "refused"]


@dataclass(frozen=True, slots=True)
class Stopped(Result):
    """How the evidence on one primary hypothesis stood while its cases came in."""

    hypothesis: str
    state: StopState  # ruled-out: the effect worth finding is; capped: all units are in and leave it open
    say: str
    unit: str  # cases, or clusters
    used: int  # units taken in, in the recorded order; the answers that were under way at the decision are among them
    most: int  # units that would have been asked at most
    decided_at: int | None  # unit with which it was decided
    worth_finding: float
    bar_support: float  # log10 of the evidence that decides, at the level that the other primary hypotheses leave
    bar_refute: float
    bar_rule_out: float | None  # log10 of the evidence that rules the effect worth finding out; None: nothing is ruled out
    path: tuple[tuple[int, float, float, float], ...] = ()  # units, log10 of the evidence for, against, and that rules out
    refused: Refusal | None = None

    def headline(self) -> str:
        return f"{self.hypothesis}: {self.say}"


@dataclass(frozen=True, slots=True)
class Course(Result):
    """What came of a run that may stop as soon as its primary hypotheses are decided."""

    stopped: bool  # each is decided, or can use no further answer
    hypotheses: tuple[Stopped, ...]
    cases: int  # planned
    cases_asked: int  # of them, those of which any system was asked
    responses: int  # planned
    not_needed: int  # responses that nobody asked for, because it was decided; 0 while the run is to go on
    seed: str  # of the random order in which cases are asked and taken in
    order_digest: str

    @property
    def saved(self) -> float:
        """Share of the planned responses that were not needed."""
        return self.not_needed / self.responses if self.responses else 0.0

    def headline(self) -> str:
        if not self.stopped:
            return f"not decided after {self.cases_asked} of {self.cases} cases"
        return f"decided: {self.not_needed} of {self.responses} answers were not needed ({self.saved:.0%})"


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything a report may say."""

    study: str
    question: str
    fingerprint: str  # of the plan as it is now
    receipt: str  # short code of the frozen plan, to publish
    frozen_at: int | None  # UTC, nanoseconds; None: nothing was frozen (a bare table)
    analysed_at: int
    wave: str
    n_cases: int
    n_clusters: int | None
    cluster: str | None
    trials: int
    confidence_level: float
    systems: tuple[SystemResult, ...]
    criteria: tuple[CriterionResult, ...]
    hypotheses: tuple[HypothesisResult, ...]
    groups: tuple[GroupResult, ...] = ()
    trust: tuple[Trust, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    not_tested: tuple[str, ...] = ()  # sentences
    warnings: tuple[str, ...] = ()
    marked_by: tuple[str, ...] = ()  # sentences: who or what marked which criteria
    interests: Mapping[str, str] = field(default_factory=dict)
    version: str = ""  # of fairmark
    rubric: tuple[Criterion, ...] = ()  # the criteria with their questions, levels and anchors, as they are now
    course: Course | None = None  # of a run that may stop early; None: every case is asked
    head: str = ""  # of the store's chain, which covers all that this rests on; empty for a bare table

    def as_dict(self) -> dict[str, Any]:
        """The whole analysis as JSON values."""
        return as_json(self)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class ExhibitGrade:
    """One grader's mark on one criterion of a shown response."""

    criterion: str
    grader: str  # name in the study
    kind: Literal["check", "llm", "human"]
    rater: str = ""  # pseudonym of the person; empty for checks and LLM graders
    label: str | None = None  # a level, not applicable or cannot tell; None: it failed
    failure: str = ""  # in a sentence, why there is no label; empty where there is one
    reason: str = ""  # as the grader gave it
    evidence: tuple[tuple[int | None, int | None, str, bool], ...] = ()  # start, end, quote, whether the quote stands in the output
    confidence: float | None = None  # probability the grader itself gave this label, 0 to 1


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One response as a reader of the report sees it, with every mark it was given."""

    case_id: str
    system: str
    trial: int  # which repeat, from 1
    fields: Mapping[str, str]  # the case's groups and cluster
    input: tuple[tuple[str, str], ...]  # turns of the conversation: role and content
    reference: str | None = None  # the expected answer, where there is one
    output: str | None = None  # raw text of the answer; None: there is none
    failure: str = ""  # in a sentence, why there is no answer; empty where there is one
    finish: str = ""  # stop, length, refused, tool, unknown; empty where there is no answer
    seconds: float | None = None  # time of the answer; None: recorded or failed
    score: float | None = None  # rubric score, 0 to 1; None while a label is missing
    failed_gates: tuple[str, ...] = ()  # criteria that must pass and did not
    grades: tuple[ExhibitGrade, ...] = ()


def as_json(value: Any) -> Any:
    """A result as JSON values. `ValueError` for NaN and infinity."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a result must be finite")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} is not a JSON value")
