"""Marks as arrays: from labels to the numbers that statistics are made of.

A number here is an interval: what a response is worth at worst and at best, given what is still missing. The two are
equal once it is marked. Nothing that failed becomes a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairmark.errors import Mistake
from fairmark.records import ADJUDICATED, Case, Grade, Response
from fairmark.results import Scorer
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion, Score
from fairmark.study import Chosen, Kind, Study, kind_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SCORERS: Mapping[Kind, Scorer] = {"human": "human", "check": "code", "llm": "judge-raw"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """How a response stood in the draw of those that people mark."""

    stratum: str  # within its system; empty where nothing but chance decided
    probability: float  # the share of the stratum that people are asked to mark


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
class Marks:
    """One grader's marks of one system's rows on one criterion; several raters' marks of a row stand side by side."""

    labels: tuple[str, ...]  # all that was said
    row: IntArray  # of each mark, the place of its row
    said: IntArray  # of each mark, the place of its label
    applies: BoolArray  # of each row; False where all that was said is that it does not apply
    sampled: BoolArray  # of each row, whether it was chosen for marking
    stale: BoolArray  # of each row, whether it was marked when another answer stood there, and not since
    _ends: dict[str | None, tuple[FloatArray, FloatArray]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def bounds(self, criterion: Criterion, level: str | None) -> tuple[FloatArray, FloatArray]:
        """Worst and best of what each row's marks are worth, several raters averaged; 0 and 1 where nothing was said.

        With a level it is the share of raters who put the response at that level or better.
        """
        if level not in self._ends:
            worth = [_worth(criterion, name, level) for name in self.labels]
            count = np.bincount(self.row, minlength=len(self.applies))
            total = np.bincount(self.row, weights=np.array(worth, dtype=np.float64)[self.said], minlength=len(self.applies))
            mean = total / np.maximum(count, 1)
            self._ends[level] = np.where(count > 0, mean, 0.0), np.where(count > 0, mean, 1.0)
        return self._ends[level]

    def votes(self, criterion: Criterion, level: str | None) -> IntArray:
        """How many marks put each row at each code: levels from 0, worst first, or with a level 0 below it and 1 from it on."""
        names = criterion.level_names()
        codes = [int(criterion.passes(name, level)) if level is not None else names.index(name) for name in self.labels]
        kinds = 2 if level is not None else len(names)
        cell = self.row * kinds + np.array(codes, dtype=np.int64)[self.said]
        return np.bincount(cell, minlength=len(self.applies) * kinds).reshape(-1, kinds)

    def worth(self, place: int, criterion: Criterion, level: str | None) -> tuple[float, float] | None:
        """The bounds of one row; None where the criterion does not apply to it."""
        if not self.applies[place]:
            return None
        low, high = self.bounds(criterion, level)
        return float(low[place]), float(high[place])


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
class Audited:
    """What an LLM grader said of all responses of a system, and what people said of some: what a correction is made of.

    On a criterion, values are codes: levels from 0, worst first, or 0 and 1 where the target names a level. On the score
    they are scores. People's value is an interval as everywhere here: equal ends once they agree.
    """

    graders: tuple[str, ...]  # the LLM graders
    people: tuple[str, ...]  # the graders whose marks are people's
    said: FloatArray  # the grader's value; on a criterion the code `kinds` where it gave none, `kinds + 1` without a response
    worst: FloatArray  # people's value at worst; NaN where they were not asked
    best: FloatArray
    answered: BoolArray
    case: IntArray
    trial: IntArray
    cluster: IntArray | None
    kinds: int  # codes; 0 for scores
    chosen: Chosen  # how the responses that people marked were chosen
    not_applicable: int  # responses to which the criterion does not apply, by whoever says so
    fine: FloatArray  # the grader's own level, also where the target only asks whether a level is reached
    probability: FloatArray  # with which each marked response was chosen; NaN where nobody says
    stratum: IntArray  # of the draw, numbered as in `strata`; -1 where that is not known
    strata: tuple[str, ...] = ()

    @property
    def n_marks(self) -> int:
        """Responses that people marked."""
        return int(np.count_nonzero(self.answered & ~np.isnan(self.worst)))


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
    drawn: Mapping[tuple[str, str, int], Drawn] = field(default_factory=dict)  # by case, system and trial: for people at the page
    _case_index: Mapping[str, int] = field(init=False, repr=False, default_factory=dict)
    _cluster_index: Mapping[str, int] = field(init=False, repr=False, default_factory=dict)
    _by_system: Mapping[str, tuple[Row, ...]] = field(init=False, repr=False, default_factory=dict)
    _place: Mapping[int, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    _read: dict[tuple[str, str, str], Marks] = field(init=False, repr=False, compare=False, default_factory=dict)
    _chances: dict[tuple[str, str], dict[tuple[str, str, int], float]] = field(init=False, repr=False, compare=False, default_factory=dict)
    _scored: dict[int, Score] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        cases = {case.id: index for index, case in enumerate(self.study.cases)}
        clusters: dict[str, int] = {}
        names: dict[str, int] = {}
        if self.study.cluster is not None:
            for case in self.study.cases:
                name = str(case.fields.get(self.study.cluster))
                clusters[case.id] = names.setdefault(name, len(names))
        by_system: dict[str, list[Row]] = {name: [] for name in self.study.systems}
        places: dict[int, int] = {}
        for row in self.rows:
            places[id(row)] = len(by_system[row.system])
            by_system[row.system].append(row)
        object.__setattr__(self, "_place", places)
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
        # a row has a few; an index of them would take more room than all else in a table
        return [cell for cell in row.cells if cell.criterion == criterion and cell.grader == grader]

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
        return self.study.deciding(criterion)

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
        kind = decided[1] if grader is None else kind_of(self.study, grader)
        chosen: Chosen = self.study.graders[name].chosen if kind == "human" else "all"
        marks = self.marks(system, name, criterion.id)
        low, high = marks.bounds(criterion, level)
        places = np.arange(len(low)) if rows is None else np.array([self._place[id(row)] for row in rows], dtype=np.int64)
        sampled = marks.sampled[places] if kind == "human" and chosen != "all" else np.ones(len(places), dtype=np.bool_)
        kept = places[sampled & marks.applies[places]]
        unsampled = int(np.count_nonzero(~sampled))
        skipped = len(places) - unsampled - len(kept)
        of_system = self._by_system[system]
        return self._metric(
            low[kept], high[kept], [of_system[place] for place in kept.tolist()], SCORERS[kind], len(places), skipped, unsampled, chosen
        )

    def marks(self, system: str, grader: str, criterion: str) -> Marks:
        """One grader's marks of one system's rows on one criterion, read once."""
        key = system, grader, criterion
        if key not in self._read:
            self._read[key] = _read([self.cells(row, grader, criterion) for row in self._by_system[system]])
        return self._read[key]

    def score(self, row: Row) -> Score:
        """The rubric's score of one response."""
        if id(row) not in self._scored:
            self._scored[id(row)] = self._score(row, {c.id: decided[0] for c in self.study.rubric if (decided := self.deciding(c.id))})
        return self._scored[id(row)]

    def _score(self, row: Row, by: Mapping[str, str]) -> Score:
        """The rubric's score of one response from the marks of the named grader of each criterion."""
        place = self._place[id(row)]
        return _score(
            self.study,
            by,
            lambda grader, criterion, level: self.marks(row.system, grader, criterion.id).worth(place, criterion, level),
        )

    def gates(self, system: str) -> Metric | None:
        """1 where a response passes every gate, 0 where it fails one; None for a rubric without gates."""
        gates = [criterion for criterion in self.study.rubric if criterion.gate]
        if not gates:
            return None
        low, high, kept, skipped = [], [], [], 0
        for place, row in enumerate(self._by_system[system]):
            ends = []
            for criterion in gates:
                decided = self.deciding(criterion.id)
                at = criterion.pass_at or _best(criterion)
                bounds = self.marks(system, decided[0], criterion.id).worth(place, criterion, at) if decided is not None else (0.0, 1.0)
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
        n = len(self.study.cases)
        a_low, a_high, a_count = _by_case(a, n)
        b_low, b_high, b_count = _by_case(b, n)
        cases = np.flatnonzero((a_count > 0) & (b_count > 0)).astype(np.int64)
        low, high = (a_low - b_high)[cases], (a_high - b_low)[cases]
        single = bool(np.all(a_count[cases] == 1) and np.all(b_count[cases] == 1))
        scorer: Scorer = a.scorer if a.scorer == b.scorer else "mixed"
        return Pairs(low.round(12), high.round(12), cases, self._clusters(cases), scorer, single, a.chosen)

    def second_grader(self, criterion: str) -> str | None:
        """The LLM grader that marks all responses on a criterion of which people mark only some; None where there is none."""
        decided = self.deciding(criterion)
        if decided is None or decided[1] != "human" or self.study.graders[decided[0]].chosen == "all":
            return None
        return next(
            (name for name, spec in self.study.graders.items() if kind_of(self.study, name) == "llm" and criterion in spec.criteria), None
        )

    def audited(self, system: str, on: str, *, rows: Sequence[Row] | None = None) -> Audited | None:
        """An LLM grader's marks of all responses beside people's of some; None where `on` was not marked in this way.

        Where graders are tuned on a part of the cases, only the test part is in it: on the others the grader was fitted
        to people's marks, so that its errors there say nothing about those it makes elsewhere.
        """
        of_system = self._by_system[system]
        kept = [row for row in (of_system if rows is None else rows) if self.study.part(row.case) == "test"]
        places = np.array([self._place[id(row)] for row in kept], dtype=np.int64)
        if on == "score":
            return self._audited_score(kept)
        criterion, level = self.target(on)
        second = self.second_grader(criterion.id)
        if second is None or (level is None and not criterion.levels):
            return None
        people = self.deciding(criterion.id)
        assert people is not None
        theirs, its = self.marks(system, people[0], criterion.id), self.marks(system, second, criterion.id)
        votes, said_by_it = theirs.votes(criterion, level)[places], its.votes(criterion, level)[places]
        kinds = votes.shape[1]
        answered = _answered(kept)
        most = votes == votes.max(axis=1, keepdims=True)
        marked = votes.any(axis=1)
        asked = theirs.sampled[places] & ~theirs.stale[places]
        worst, best = most.argmax(axis=1).astype(np.float64), (kinds - 1 - most[:, ::-1].argmax(axis=1)).astype(np.float64)
        # a person who was asked and could not tell leaves everything open, as does a response that is not there
        open_ = (asked & ~marked) | ~answered
        worst[open_], best[open_] = 0.0, kinds - 1.0
        unasked = ~asked & answered
        worst[unasked], best[unasked] = np.nan, np.nan
        said = np.where(said_by_it.any(axis=1), said_by_it.argmax(axis=1), kinds).astype(np.float64)
        said[~answered] = kinds + 1
        off = int(np.count_nonzero(~theirs.applies[places] | ~its.applies[places]))
        fine = said
        if level is not None and len(criterion.levels) > 2:
            levels = its.votes(criterion, None)[places]
            fine = np.where(levels.any(axis=1), levels.argmax(axis=1), len(criterion.levels)).astype(np.float64)
            fine[~answered] = len(criterion.levels) + 1
        return Audited(
            (second,),
            (people[0],),
            said,
            worst,
            best,
            answered,
            *self._units(kept),
            kinds,
            self._chosen(people[:1]),
            off,
            fine,
            self._probabilities(people[0], criterion.id, kept),
            *self._strata(people[0], kept),
        )

    def _audited_score(self, rows: Sequence[Row]) -> Audited | None:
        used = [c.id for c in self.study.rubric if c.weight != 0 or c.gate]
        by = {name: decided[0] for name in used if (decided := self.deciding(name)) is not None}
        sampled = [n for n in by if self.deciding(n) == (by[n], "human") and self.study.graders[by[n]].chosen != "all"]
        seconds = {name: second for name in sampled if (second := self.second_grader(name)) is not None}
        if not sampled or len(seconds) < len(sampled):
            return None
        said, worst, best = (np.full(len(rows), np.nan) for _ in range(3))
        answered = _answered(rows)
        off = 0
        for place, row in enumerate(rows):
            its, theirs = self._score(row, {**by, **seconds}), self.score(row)
            off += theirs.low is None or its.low is None
            # an unreadable mark leaves the grader's score open: its middle says which responses are like it
            said[place] = (its.low + its.high) / 2 if its.low is not None and its.high is not None else 0.0
            place_of = self._place[id(row)]
            marks = [self.marks(row.system, by[name], name) for name in sampled]
            if not answered[place]:
                said[place], worst[place], best[place] = 0.0, 0.0, 1.0
            elif all(mark.sampled[place_of] and not mark.stale[place_of] for mark in marks) and theirs.low is not None:
                worst[place], best[place] = theirs.low, theirs.high if theirs.high is not None else theirs.low
        people = tuple(dict.fromkeys(by[name] for name in sampled))
        nobody_says = np.full(len(rows), np.nan)
        return Audited(
            tuple(dict.fromkeys(seconds.values())),
            people,
            said,
            worst,
            best,
            answered,
            *self._units(rows),
            0,
            self._chosen(people),
            off,
            said,
            nobody_says,
            np.full(len(rows), -1),
        )

    def _units(self, rows: Sequence[Row]) -> tuple[IntArray, IntArray, IntArray | None]:
        """Case, trial and cluster of each row; the case stands for the cluster where trials repeat it."""
        case = np.array([self._case_index[row.case.id] for row in rows], dtype=np.int64)
        trial = np.array([row.trial for row in rows], dtype=np.int64)
        clusters = self._clusters(case)
        return case, trial, case if clusters is None and self.study.trials > 1 else clusters

    def _probabilities(self, people: str, criterion: str, rows: Sequence[Row]) -> FloatArray:
        """With what probability each row was chosen for marking; NaN where nobody says."""
        if self.study.graders[people].kind == "people":
            drawn = [self.drawn.get((row.case.id, row.system, row.trial)) for row in rows]
            return np.array([np.nan if one is None else one.probability for one in drawn], dtype=np.float64)
        key = people, criterion
        if key not in self._chances:
            self._chances[key] = {
                (mark.case_id, mark.system, mark.trial): mark.probability
                for mark in self.study.graders[people].marks
                if mark.criterion == criterion and mark.probability is not None
            }
        chances = self._chances[key]
        if not chances:
            return np.full(len(rows), np.nan)
        lone = len(self.study.systems) == 1
        found = [
            chances.get((row.case.id, row.system, row.trial), chances.get((row.case.id, "", row.trial)) if lone else None) for row in rows
        ]
        return np.array([np.nan if one is None else one for one in found], dtype=np.float64)

    def _strata(self, people: str, rows: Sequence[Row]) -> tuple[IntArray, tuple[str, ...]]:
        """The strata of the draw that people at the page were given, as numbers and names; -1 and none for marks made elsewhere."""
        if self.study.graders[people].kind != "people":
            return np.full(len(rows), -1), ()
        drawn = [self.drawn.get((row.case.id, row.system, row.trial)) for row in rows]
        answered = [row.response is not None and row.response.answer is not None for row in rows]
        names = [
            "of no answer" if not there else "not ready" if one is None else one.stratum for there, one in zip(answered, drawn, strict=True)
        ]
        known = tuple(dict.fromkeys(sorted(names)))
        number = {name: place for place, name in enumerate(known)}
        return np.array([number[name] for name in names], dtype=np.int64), known

    def chances(self, system: str, on: str) -> FloatArray | None:
        """With what probability each response in the metric `on` was chosen for people's marks; None unless all of that is said."""
        if on == "score":
            return None
        criterion, _ = self.target(on)
        decided = self.deciding(criterion.id)
        if decided is None or decided[1] != "human":
            return None
        marks = self.marks(system, decided[0], criterion.id)
        rows = [self._by_system[system][place] for place in np.flatnonzero(marks.sampled & marks.applies).tolist()]
        found = self._probabilities(decided[0], criterion.id, rows)
        return None if np.isnan(found).any() else found

    def _chosen(self, people: Sequence[str]) -> Chosen:
        """How the responses were chosen that all of these people marked: as in the worst of them."""
        order: tuple[Chosen, ...] = ("unknown", "self-selected", "stratified", "random")
        return next(how for how in order if how in {self.study.graders[name].chosen for name in people})

    def target(self, on: str) -> tuple[Criterion, str | None]:
        """The criterion and level that `criterion>=level` or `criterion` names."""
        return _target(self.study, on)

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
        low: Sequence[float] | FloatArray,
        high: Sequence[float] | FloatArray,
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


class Measure:
    """What single rows are worth on `score`, `criterion` or `criterion>=level`, as `Table.metric` says it of all of them.

    For those who see rows one at a time. `Mistake` where `on` names nothing that anybody marks.
    """

    def __init__(self, study: Study, on: str) -> None:
        self._study = study
        self._target = None if on == "score" else _target(study, on)
        used = study.rubric.criteria if self._target is None else (self._target[0],)
        self._by = {criterion.id: decided for criterion in used if (decided := study.deciding(criterion.id)) is not None}
        if self._target is not None and not self._by:
            raise Mistake.in_call(f"no grader marks the criterion `{self._target[0].id}`")
        self._worth: dict[tuple[str, str | None], dict[str, float]] = {}

    def bounds(self, row: Row) -> tuple[float, float] | None:
        """Worst and best, equal once it is marked; None where it does not apply, or was not chosen for marking."""
        if self._target is None:
            score = _score(self._study, {name: grader for name, (grader, _) in self._by.items()}, partial(self._of, row))
            return None if score.low is None or score.high is None else (rounded(score.low), rounded(score.high))
        criterion, level = self._target
        grader, kind = self._by[criterion.id]
        heard = _hear([cell for cell in row.cells if cell.grader == grader and cell.criterion == criterion.id])
        if kind == "human" and not heard.sampled and self._study.graders[grader].chosen != "all":
            return None
        return self._value(heard, criterion, level)

    def _of(self, row: Row, grader: str, criterion: Criterion, level: str | None) -> tuple[float, float] | None:
        return self._value(_hear([c for c in row.cells if c.grader == grader and c.criterion == criterion.id]), criterion, level)

    def _value(self, heard: _Heard, criterion: Criterion, level: str | None) -> tuple[float, float] | None:
        if not heard.applies:
            return None
        if not heard.labels:
            return 0.0, 1.0
        known, total = self._worth.setdefault((criterion.id, level), {}), 0.0
        for label in heard.labels:
            if label not in known:
                known[label] = _worth(criterion, label, level)
            total += known[label]
        mean = rounded(total / len(heard.labels))
        return mean, mean


def rounded(number: float) -> float:
    """To 12 decimals, in the way of arrays, which takes ties otherwise than `round(number, 12)` does."""
    return round(number * 1e12) / 1e12


def _worth(criterion: Criterion, label: str, level: str | None) -> float:
    """What a label is worth; with a level, whether it reaches it."""
    return float(criterion.passes(label, level)) if level is not None else criterion.value_of(label)


def _target(study: Study, on: str) -> tuple[Criterion, str | None]:
    name, _, level = on.partition(">=")
    name, level = name.strip(), level.strip()
    if name not in study.rubric:
        raise Mistake.in_call(f"`{on}` names no criterion of the rubric", allowed=", ".join(c.id for c in study.rubric))
    return study.rubric[name], level or None


def _score(study: Study, by: Mapping[str, str], worth: Callable[[str, Criterion, str | None], tuple[float, float] | None]) -> Score:
    """The rubric's score of one response from what the marks of the named grader of each criterion are worth."""
    values: dict[str, tuple[float, float] | None] = {}
    failed_gates: list[str] = []
    open_gates: list[str] = []
    for criterion in study.rubric:
        if criterion.id not in by:
            values[criterion.id] = (0.0, 1.0)
            if criterion.gate:
                open_gates.append(criterion.id)
            continue
        values[criterion.id] = worth(by[criterion.id], criterion, None)
        if criterion.gate and values[criterion.id] is not None:
            passing = worth(by[criterion.id], criterion, criterion.pass_at or _best(criterion))
            assert passing is not None
            if passing[1] < 0.5:
                failed_gates.append(criterion.id)
            elif passing[0] < 0.5:
                open_gates.append(criterion.id)
    return study.rubric.score(values, failed_gates=tuple(failed_gates), open_gates=tuple(open_gates))


def _best(criterion: Criterion) -> str:
    return criterion.levels[-1].name if criterion.levels else str(criterion.range[1] if criterion.range else 1)


class _Heard(NamedTuple):
    """One grader's marks of one row on one criterion."""

    labels: list[str]  # several raters' side by side
    applies: bool  # False where all that was said is that it does not
    sampled: bool
    stale: bool


def _hear(every: Sequence[Cell]) -> _Heard:
    labels: list[str] = []
    does_not_apply = sampled = stale = False
    settled = [cell for cell in every if cell.rater == ADJUDICATED and cell.grade is not None and cell.grade.label is not None]
    # a hidden repeat says how steady a person is; it is no second opinion
    for cell in settled or [cell for cell in every if cell.kind != "human" or cell.repeat == 0]:
        grade = cell.grade
        if grade is None:
            continue
        if grade.failure is None or grade.failure.kind != "not_recorded":
            sampled = True
        stale |= grade.failure is not None and grade.failure.kind == "stale_mark"
        if grade.label == NOT_APPLICABLE:
            does_not_apply = True
        elif grade.label is not None and grade.label != CANNOT_TELL:
            labels.append(grade.label)
    return _Heard(labels, bool(labels) or not does_not_apply, sampled, stale and not labels)


def _read(cells: Sequence[Sequence[Cell]]) -> Marks:
    """The marks of rows in order."""
    codes: dict[str, int] = {}
    heard = [_hear(every) for every in cells]
    rows = [place for place, one in enumerate(heard) for _ in one.labels]
    said = [codes.setdefault(label, len(codes)) for one in heard for label in one.labels]
    applies, sampled, stale = (
        np.array(flags, dtype=np.bool_)
        for flags in ([one.applies for one in heard], [one.sampled for one in heard], [one.stale for one in heard])
    )
    return Marks(tuple(codes), np.array(rows, dtype=np.int64), np.array(said, dtype=np.int64), applies, sampled, stale)


def _answered(rows: Sequence[Row]) -> BoolArray:
    return np.array([row.response is not None and row.response.answer is not None for row in rows], dtype=np.bool_)


def _by_case(metric: Metric, n: int) -> tuple[FloatArray, FloatArray, IntArray]:
    """Per case the mean at worst, the mean at best, and the number of responses."""
    count = np.bincount(metric.case, minlength=n)
    low, high = (np.bincount(metric.case, weights=values, minlength=n) / np.maximum(count, 1) for values in (metric.low, metric.high))
    return low, high, count
