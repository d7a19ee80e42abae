"""Marks as arrays: from labels to the numbers that statistics are made of.

A number here is an interval: what a response is worth at worst and at best, given what is still missing. The two are
equal once it is marked. Nothing that failed becomes a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairmark.errors import Mistake
from fairmark.records import Case, Grade, Response
from fairmark.results import Scorer
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion, Score
from fairmark.study import Chosen, Study

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Kind = Literal["check", "llm", "human"]

# where several kinds of grader mark one criterion, the first of these that does decides it
PRECEDENCE: tuple[Kind, ...] = ("human", "check", "llm")
SCORERS: Mapping[Kind, Scorer] = {"human": "human", "check": "code", "llm": "judge-raw"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One grader's mark on one criterion of one response; pending while `grade` is None."""

    grader: str
    kind: Kind
    criterion: str
    rater: str
    repeat: int
    grade: Grade | None


@dataclass(frozen=True, slots=True)
class Row:
    """One planned response with all the marks that belong to it."""

    case: Case
    system: str
    trial: int
    response: Response | None  # None: not asked yet
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One number per response of one system: what it is worth at worst and at best, 0 to 1."""

    low: FloatArray
    high: FloatArray
    case: IntArray  # index into the study's cases
    cluster: IntArray | None  # cluster of each response; None: every response stands for itself
    scorer: Scorer
    planned: int  # responses this metric should hold, those that do not apply included
    not_applicable: int
    not_sampled: int  # responses that were not chosen for marking
    chosen: Chosen  # how the marked responses were chosen

    @property
    def marked(self) -> BoolArray:
        return np.equal(self.low, self.high)

    @property
    def missing(self) -> int:
        return int(np.count_nonzero(~self.marked))

    @property
    def binary(self) -> bool:
        """Whether every value, missing ones at either end, is 0 or 1."""
        ends = np.concatenate([self.low, self.high])
        return bool(np.all((ends == 0.0) | (ends == 1.0)))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Differences between two systems on the cases they share, one number per case."""

    low: FloatArray  # first minus second, if everything missing goes against the first
    high: FloatArray  # likewise in its favour
    case: IntArray
    cluster: IntArray | None
    scorer: Scorer
    single: bool  # one response a system and case
    chosen: Chosen = "all"

    @property
    def marked(self) -> BoolArray:
        return np.equal(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Counts:
    """Planned = answered + failed + pending, always."""

    planned: int
    answered: int
    failed: int
    pending: int
    truncated: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Table:
    """All planned responses of a study with their marks."""

    study: Study
    rows: tuple[Row, ...]
    _case_index: Mapping[str, int] = field(init=False, repr=False, default_factory=dict)
    _cluster_index: Mapping[str, int] = field(init=False, repr=False, default_factory=dict)
    _by_system: Mapping[str, tuple[Row, ...]] = field(init=False, repr=False, default_factory=dict)
    _marks: Mapping[int, Mapping[tuple[str, str], list[Cell]]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        cases = {case.id: index for index, case in enumerate(self.study.cases)}
        clusters: dict[str, int] = {}
        names: dict[str, int] = {}
        if self.study.cluster is not None:
            for case in self.study.cases:
                name = str(case.fields.get(self.study.cluster))
                clusters[case.id] = names.setdefault(name, len(names))
        by_system: dict[str, list[Row]] = {name: [] for name in self.study.systems}
        marks: dict[int, dict[tuple[str, str], list[Cell]]] = {}
        for row in self.rows:
            by_system[row.system].append(row)
            of_row = marks.setdefault(id(row), {})
            for cell in row.cells:
                of_row.setdefault((cell.grader, cell.criterion), []).append(cell)
        object.__setattr__(self, "_marks", marks)
        object.__setattr__(self, "_case_index", cases)
        object.__setattr__(self, "_cluster_index", clusters)
        object.__setattr__(self, "_by_system", {name: tuple(rows) for name, rows in by_system.items()})

    @property
    def n_clusters(self) -> int | None:
        return len(set(self._cluster_index.values())) if self.study.cluster is not None else None

    def of(self, system: str) -> tuple[Row, ...]:
        """The rows of one system."""
        return self._by_system[system]

    def cells(self, row: Row, grader: str, criterion: str) -> Sequence[Cell]:
        """One grader's marks of one row of this table on one criterion."""
        return self._marks[id(row)].get((grader, criterion), ())

    def counts(self, system: str) -> Counts:
        """What became of one system's planned responses."""
        rows = self._by_system[system]
        answered = [row for row in rows if row.response is not None and row.response.answer is not None]
        failures: Counter[str] = Counter(
            row.response.failure.kind for row in rows if row.response is not None and row.response.failure is not None
        )
        truncated = sum(row.response.answer.finish == "length" for row in answered if row.response and row.response.answer)
        failed = sum(failures.values())
        return Counts(len(rows), len(answered), failed, len(rows) - len(answered) - failed, truncated, dict(failures))

    def deciding(self, criterion: str) -> tuple[str, Kind] | None:
        """The grader (name, kind) whose marks decide a criterion: people before checks before LLM graders."""
        present: dict[Kind, str] = {}
        for name, spec in self.study.graders.items():
            if criterion in spec.criteria:
                kind: Kind = "human" if spec.kind == "recorded" else spec.kind
                present.setdefault(kind, name)
        for kind in PRECEDENCE:
            if kind in present:
                return present[kind], kind
        return None

    def metric(self, system: str, on: str, *, grader: str | None = None, rows: Sequence[Row] | None = None) -> Metric:
        """The numbers of one system on `score`, `criterion` or `criterion>=level`.

        `grader` names another grader than the deciding one; `rows` restricts to some rows of the system.
        """
        chosen_rows = self._by_system[system] if rows is None else rows
        if on == "score":
            return self._scores(chosen_rows)
        criterion, level = self.target(on)
        decided = self.deciding(criterion.id)
        if decided is None:
            raise Mistake.in_call(f"no grader marks the criterion `{criterion.id}`")
        name = grader if grader is not None else decided[0]
        kind = decided[1] if grader is None else _kind_of(self.study, grader)
        low, high, kept, skipped, unsampled = [], [], [], 0, 0
        sampled_only = kind == "human" and self.study.graders[name].chosen != "all"
        for row in chosen_rows:
            cells = self.cells(row, name, criterion.id)
            if sampled_only and not _was_sampled(cells):
                unsampled += 1
                continue
            bounds = _bounds(cells, criterion, level)
            if bounds is None:
                skipped += 1
                continue
            low.append(bounds[0])
            high.append(bounds[1])
            kept.append(row)
        chosen = self.study.graders[name].chosen if kind == "human" else "all"
        return self._metric(low, high, kept, SCORERS[kind], len(chosen_rows), skipped, unsampled, chosen)

    def score(self, row: Row) -> Score:
        """The rubric's score of one response."""
        values: dict[str, tuple[float, float] | None] = {}
        failed_gates: list[str] = []
        open_gates: list[str] = []
        for criterion in self.study.rubric:
            decided = self.deciding(criterion.id)
            cells = self.cells(row, decided[0], criterion.id) if decided is not None else ()
            values[criterion.id] = _bounds(cells, criterion, None) if decided is not None else (0.0, 1.0)
            if criterion.gate and values[criterion.id] is not None:
                passing = _bounds(cells, criterion, criterion.pass_at or _best(criterion))
                assert passing is not None
                if passing[1] < 0.5:
                    failed_gates.append(criterion.id)
                elif passing[0] < 0.5:
                    open_gates.append(criterion.id)
        return self.study.rubric.score(values, failed_gates=tuple(failed_gates), open_gates=tuple(open_gates))

    def gates(self, system: str) -> Metric | None:
        """1 where a response passes every gate, 0 where it fails one; None for a rubric without gates."""
        gates = [criterion for criterion in self.study.rubric if criterion.gate]
        if not gates:
            return None
        low, high, kept, skipped = [], [], [], 0
        for row in self._by_system[system]:
            ends = []
            for criterion in gates:
                decided = self.deciding(criterion.id)
                cells = self.cells(row, decided[0], criterion.id) if decided is not None else ()
                bounds = _bounds(cells, criterion, criterion.pass_at or _best(criterion))
                if bounds is not None:
                    ends.append(bounds)
            if not ends:
                skipped += 1
                continue
            low.append(float(all(end[0] >= 0.5 for end in ends)))
            high.append(float(all(end[1] >= 0.5 for end in ends)))
            kept.append(row)
        return self._metric(low, high, kept, self.scorer_of("gates"), len(self._by_system[system]), skipped, 0, "all")

    def pairs(self, first: str, second: str, on: str) -> Pairs:
        """Differences first minus second on the cases where both apply, trials averaged within a case."""
        a, b = self.metric(first, on), self.metric(second, on)
        a_low, a_high, a_count = _by_case(a)
        b_low, b_high, b_count = _by_case(b)
        shared = sorted(a_low.keys() & b_low.keys())
        cases = np.array(shared, dtype=np.int64)
        low = np.array([a_low[c] - b_high[c] for c in shared], dtype=np.float64)
        high = np.array([a_high[c] - b_low[c] for c in shared], dtype=np.float64)
        single = all(a_count[c] == 1 and b_count[c] == 1 for c in shared)
        scorer: Scorer = a.scorer if a.scorer == b.scorer else "mixed"
        return Pairs(low.round(12), high.round(12), cases, self._clusters(cases), scorer, single, a.chosen)

    def target(self, on: str) -> tuple[Criterion, str | None]:
        """The criterion and level that `criterion>=level` or `criterion` names."""
        name, _, level = on.partition(">=")
        name, level = name.strip(), level.strip()
        if name not in self.study.rubric:
            raise Mistake.in_call(f"`{on}` names no criterion of the rubric", allowed=", ".join(c.id for c in self.study.rubric))
        return self.study.rubric[name], level or None

    def scorer_of(self, on: str) -> Scorer:
        """Who marked what a metric rests on; judge-raw as soon as one LLM-marked criterion counts in it."""
        if on == "score":
            used = [criterion for criterion in self.study.rubric if criterion.weight != 0 or criterion.gate]
        elif on == "gates":
            used = [criterion for criterion in self.study.rubric if criterion.gate]
        else:
            used = [self.target(on)[0]]
        kinds = {decided[1] for criterion in used if (decided := self.deciding(criterion.id)) is not None}
        if "llm" in kinds:
            return "judge-raw"
        if len(kinds) == 1:
            return SCORERS[kinds.pop()]
        return "mixed"

    def criteria_by_llm(self, on: str) -> tuple[str, ...]:
        """The criteria within a metric that only an LLM grader marks."""
        used = [c.id for c in self.study.rubric if c.weight != 0 or c.gate] if on == "score" else [self.target(on)[0].id]
        return tuple(name for name in used if (decided := self.deciding(name)) is not None and decided[1] == "llm")

    def _scores(self, rows: Sequence[Row]) -> Metric:
        low, high, kept, skipped = [], [], [], 0
        for row in rows:
            score = self.score(row)
            if score.low is None or score.high is None:
                skipped += 1
                continue
            low.append(score.low)
            high.append(score.high)
            kept.append(row)
        return self._metric(low, high, kept, self.scorer_of("score"), len(rows), skipped, 0, "all")

    def _metric(
        self,
        low: list[float],
        high: list[float],
        rows: Sequence[Row],
        scorer: Scorer,
        planned: int,
        skipped: int,
        unsampled: int,
        chosen: Chosen,
    ) -> Metric:
        case = np.array([self._case_index[row.case.id] for row in rows], dtype=np.int64)
        clusters = self._clusters(case)
        if clusters is None and len(set(case.tolist())) < len(case):
            clusters = case  # repeats of one case are not independent
        ends = np.array(low, dtype=np.float64).round(12), np.array(high, dtype=np.float64).round(12)
        return Metric(*ends, case, clusters, scorer, planned, skipped, unsampled, chosen)

    def _clusters(self, cases: IntArray) -> IntArray | None:
        if self.study.cluster is None:
            return None
        return np.array([self._cluster_index[self.study.cases[c].id] for c in cases], dtype=np.int64)


def _kind_of(study: Study, grader: str) -> Kind:
    kind = study.graders[grader].kind
    return "human" if kind == "recorded" else kind


def _best(criterion: Criterion) -> str:
    return criterion.levels[-1].name if criterion.levels else str(criterion.range[1] if criterion.range else 1)


def _was_sampled(cells: Sequence[Cell]) -> bool:
    return any(cell.grade is not None and (cell.grade.failure is None or cell.grade.failure.kind != "not_recorded") for cell in cells)


def _bounds(cells: Sequence[Cell], criterion: Criterion, level: str | None) -> tuple[float, float] | None:
    """Worst and best of what the marks of one response are worth, several raters averaged; None: does not apply.

    With a level it is the share of raters who put the response at that level or better.
    """
    labels = [cell.grade.label for cell in cells if cell.grade is not None and cell.grade.label is not None]
    said = [label for label in labels if label not in (CANNOT_TELL, NOT_APPLICABLE)]
    if not said:
        return None if NOT_APPLICABLE in labels else (0.0, 1.0)
    values = [float(criterion.passes(label, level)) if level is not None else criterion.value_of(label) for label in said]
    mean = float(np.mean(values))
    return mean, mean


def _by_case(metric: Metric) -> tuple[dict[int, float], dict[int, float], dict[int, int]]:
    """Per case the mean at worst, the mean at best, and the number of responses."""
    low: dict[int, list[float]] = {}
    high: dict[int, list[float]] = {}
    for case, worst, best in zip(metric.case.tolist(), metric.low.tolist(), metric.high.tolist(), strict=True):
        low.setdefault(case, []).append(worst)
        high.setdefault(case, []).append(best)
    return (
        {case: float(np.mean(values)) for case, values in low.items()},
        {case: float(np.mean(values)) for case, values in high.items()},
        {case: len(values) for case, values in low.items()},
    )
