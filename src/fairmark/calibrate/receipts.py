"""All there is to know of one grader on one criterion, from marks that people gave to the same responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fairmark import stats
from fairmark.records import ADJUDICATED
from fairmark.results import Calibration, Estimate, Result
from fairmark.rubric import Criterion
from fairmark.stats.intervals import FloatArray, IntArray
from fairmark.study import Chosen, kind_of
from fairmark.table import Audited, Cell, Row, Table

Advice = Literal["use its marks, corrected by people's", "let people mark, drop this grader", "not known yet"]

SLIPS = (0.02, 0.05, 0.10)  # how often people may slip
WORTH = 0.15  # of people's marks that a grader must save
FEWEST_PAIRS = 20  # responses that both marked, below which nothing is advised
MORE = 20  # labels
RESAMPLES = 999


@dataclass(frozen=True, slots=True)
class SystemReceipt(Result):
    """What the grader's marks of one system's responses are worth, raw and corrected."""

    system: str
    calibration: Calibration
    n_marked: int  # responses that people marked beside the grader
    n_said: int  # responses that the grader marked
    raw: float | None  # share that passes by the grader's own marks: of the grader, not of the responses
    corrected: Estimate | None  # by people's marks; None where people marked all, or nothing can be corrected
    width: float | None  # of the corrected interval
    width_with_more: float | None  # after 20 more labels
    next_labels: Mapping[str, int] = field(default_factory=dict)  # of each verdict of the grader, how many to mark next

    def headline(self) -> str:
        raw = "no raw figure" if self.raw is None else f"raw {100 * self.raw:.0f} of 100"
        if self.corrected is None or self.corrected.value is None:
            return f"{self.system}: {raw}, not corrected"
        assert self.corrected.low is not None
        assert self.corrected.high is not None
        found = f"corrected {100 * self.corrected.value:.0f} ({100 * self.corrected.low:.0f} to {100 * self.corrected.high:.0f})"
        return f"{self.system}: {raw}, {found}"


@dataclass(frozen=True, slots=True)
class Receipt(Result):
    """How far one grader can be trusted on one criterion, and what to do about it."""

    grader: str
    criterion: str
    advice: Advice
    say: str  # the advice in a sentence
    n_pairs: int  # responses with a mark of the grader and one that people agree on
    n_single: int  # of them marked by one person
    n_agreed: int  # by two or more who agree
    n_adjudicated: int  # settled by a third look
    n_split: int  # responses on which people differ and nobody has decided; they give no reference
    predicted_saving: float | None  # share of people's marks that the grader saves at equal width
    agreement: stats.GraderAgreement | None  # level by level
    at_pass: stats.BinaryAgreement | None  # below the pass level, and from it on
    ceiling: stats.Ceiling | None  # people with one another, beside the grader with them
    severity: stats.Audit | None  # in rubric points; above 0 the grader is too kind
    steady: stats.SelfConsistency | None  # the grader asked again
    people_steady: stats.SelfConsistency | None  # people shown a response again
    replaces: stats.AltTest | None  # whether it may replace one person
    group_shares: Mapping[str, stats.BinaryAgreement] = field(default_factory=dict)  # by "column: value"; never unfair by itself
    groups: Mapping[str, stats.GraderByGroup] = field(default_factory=dict)  # by column of the cases
    group_calibration: Mapping[str, Calibration] = field(default_factory=dict)  # by "column: value"
    systems: tuple[SystemReceipt, ...] = ()
    void: Mapping[str, int] = field(default_factory=dict)  # people's marks that do not count any more, by what has changed
    slips: tuple[tuple[float, float], ...] = ()  # how often people may slip, and the share of passes that would then be true
    warnings: tuple[str, ...] = ()

    def headline(self) -> str:
        return f"{self.grader} on {self.criterion}: {self.say}"


@dataclass(frozen=True, slots=True)
class PeopleReceipt(Result):
    """How far people agree with one another on one criterion: what no grader can be asked to exceed."""

    grader: str  # name under which their marks stand
    criterion: str
    say: str
    n_people: int
    n_marked: int  # responses
    n_doubly: int  # marked by two or more
    n_differ: int  # of them those on which people differ
    alpha: stats.Agreement | None  # Krippendorff's alpha by the criterion's own scale
    alpha_interval: stats.Agreement | None  # the same on the numbers of the levels; None on a scale without order
    gwet: stats.Agreement | None  # AC1, or AC2 on ordered levels
    steady: stats.SelfConsistency | None  # people shown a response again

    def headline(self) -> str:
        return f"{self.grader} on {self.criterion}: {self.say}"


@dataclass(slots=True)
class _Marks:
    """Marks as codes, levels from 0, worst first; NaN where there is none. One entry a response that the grader marked or people did."""

    rows: list[Row]
    said: FloatArray
    again: FloatArray  # responses x repeats of the grader
    people: FloatArray  # responses x people
    repeated: FloatArray  # (response, person) x 2: the first mark and the hidden repeat
    gold: FloatArray
    cluster: IntArray | None
    single: int
    agreed: int
    adjudicated: int
    split: int
    void: Counter[str]


def receipt(table: Table, grader: str, criterion: Criterion, *, seed: int = 0) -> Receipt | None:
    """The receipt of one grader on a criterion with levels; None where people marked nothing beside it, and on a scale of numbers.

    The reference is the mark on which all people agree, or the one that settled their disagreement. Marks that a change
    has voided are counted and used nowhere.
    """
    if not criterion.levels:
        return None
    marks = _gather(table, grader, criterion)
    both = ~np.isnan(marks.gold) & ~np.isnan(marks.said)
    if not both.any() and not marks.void:
        return None
    rng = np.random.default_rng(seed)
    gold, said, cluster = marks.gold[both], marks.said[both], None if marks.cluster is None else marks.cluster[both]
    passing = _passing(criterion)
    names = criterion.level_names()
    values = np.array([criterion.value_of(name) for name in names])
    saving = _saving(marks, passing, both)
    advice, say = _advice(grader, criterion.id, said, saving, int(both.sum()))
    warnings = []
    if marks.single and marks.single >= int(both.sum()) / 2:
        warnings.append(
            f"{marks.single} of {int(both.sum())} responses were marked by one person alone, whose slips count as the grader's errors"
        )
    if not both.any():
        return Receipt(
            grader, criterion.id, "not known yet", say, 0, 0, 0, 0, marks.split, None, None, None, None, None, None, None, None,
            systems=_systems(table, grader, criterion, passing), void=dict(marks.void),
        )  # fmt: skip
    ordered = criterion.scale != "nominal"
    slips: tuple[tuple[float, float], ...] = ()
    if _chosen(table) <= {"all", "random"}:  # marks drawn with unequal chances are no picture of all responses
        slips = tuple((slip, true) for slip in SLIPS if (true := _true_share(gold >= passing, slip)) is not None)
    return Receipt(
        grader=grader,
        criterion=criterion.id,
        advice=advice,
        say=say,
        n_pairs=int(both.sum()),
        n_single=marks.single,
        n_agreed=marks.agreed,
        n_adjudicated=marks.adjudicated,
        n_split=marks.split,
        predicted_saving=saving,
        agreement=stats.level_agreement(gold, said, names, cluster, ordered=ordered, rng=rng, resamples=RESAMPLES),
        at_pass=stats.binary_agreement(_at(gold, passing), _at(said, passing), cluster, rng=rng, resamples=RESAMPLES),
        ceiling=stats.ceiling(marks.people, marks.said, marks.cluster, rng=rng, resamples=RESAMPLES) if marks.people.shape[1] > 1 else None,
        severity=stats.leniency(
            values[said.astype(int)], values[gold.astype(int)], cluster, scale=(float(values.min()), float(values.max()))
        ),
        steady=stats.self_consistency(marks.again, marks.cluster) if marks.again.shape[1] > 1 else None,
        people_steady=stats.self_consistency(marks.repeated) if len(marks.repeated) else None,
        replaces=stats.alt_test(marks.people.T, marks.said, marks.cluster, criterion=criterion.id) if marks.people.shape[1] > 1 else None,
        group_shares=_shares_by_group(table, marks, both, passing, rng),
        groups=_by_group(table, marks, passing, rng),
        group_calibration=_group_calibration(table, marks, both),
        systems=_systems(table, grader, criterion, passing),
        void=dict(marks.void),
        slips=slips,
        warnings=tuple(warnings),
    )


def people_receipt(table: Table, grader: str, criterion: Criterion, *, seed: int = 0) -> PeopleReceipt | None:
    """How people agree on a criterion with levels; None where fewer than two people marked it, and on a scale of numbers."""
    if not criterion.levels:
        return None
    marks = _gather(table, "", criterion, people=grader)
    if marks.people.shape[1] < 2:
        return None
    count = np.count_nonzero(~np.isnan(marks.people), axis=1)
    doubly = count >= 2
    with np.errstate(invalid="ignore"):
        differ = doubly & (np.nanmax(marks.people, axis=1) > np.nanmin(marks.people, axis=1))
    rng = np.random.default_rng(seed)
    ordered = criterion.scale != "nominal"
    levels = list(range(len(criterion.levels)))
    n_doubly, n_differ = int(doubly.sum()), int(differ.sum())
    say = f"two or more of {marks.people.shape[1]} people marked {n_doubly} responses and differ on {n_differ} of them."
    return PeopleReceipt(
        grader,
        criterion.id,
        say,
        marks.people.shape[1],
        len(marks.rows),
        n_doubly,
        n_differ,
        stats.alpha_agreement(marks.people, marks.cluster, metric="ordinal" if ordered else "nominal", rng=rng, resamples=RESAMPLES),
        stats.alpha_agreement(marks.people, marks.cluster, metric="interval", rng=rng, resamples=RESAMPLES) if ordered else None,
        stats.gwet_agreement(
            marks.people, marks.cluster, weights="quadratic" if ordered else "unweighted", levels=levels, rng=rng, resamples=RESAMPLES
        ),
        stats.self_consistency(marks.repeated) if len(marks.repeated) else None,
    )


# ---------------------------------------------------------------- marks


def _gather(table: Table, grader: str, criterion: Criterion, *, people: str = "") -> _Marks:
    """The marks of one grader and of people, or of those people alone whose grader is named."""
    code = {name: place for place, name in enumerate(criterion.level_names())}
    raters: dict[str, int] = {}
    rows: list[Row] = []
    said: list[float] = []
    again: list[dict[int, float]] = []
    each: list[dict[int, float]] = []
    repeated: list[tuple[float, float]] = []
    gold: list[float] = []
    counts, void = Counter[str](), Counter[str]()
    for row in table.rows:
        its: dict[int, float] = {}
        theirs: dict[int, float] = {}
        seconds: dict[int, float] = {}
        settled: float | None = None
        for cell in row.cells:
            if cell.criterion != criterion.id or (people and cell.grader != people):
                continue
            if cell.kind == "human" and cell.grade is not None and cell.grade.failure is not None:
                if cell.grade.failure.kind == "stale_mark":
                    void[
                        cell.grade.failure.why.partition(" has changed")[0] if " has changed" in cell.grade.failure.why else "the response"
                    ] += 1
                continue
            label = _code(cell, code)
            if label is None:
                continue
            if cell.grader == grader:
                its[cell.repeat] = label
            elif cell.kind == "human" and cell.rater == ADJUDICATED:
                settled = label
            elif cell.kind == "human":
                (theirs if cell.repeat == 0 else seconds)[raters.setdefault(cell.rater, len(raters))] = label
        if not its and not theirs and settled is None:
            continue
        rows.append(row)
        said.append(its.get(0, np.nan))
        again.append(its)
        each.append(theirs)
        repeated += [(theirs[who], label) for who, label in seconds.items() if who in theirs]
        different = set(theirs.values())
        reference = settled if settled is not None else next(iter(different)) if len(different) == 1 else np.nan
        gold.append(reference)
        if not np.isnan(reference) and 0 in its:
            counts["adjudicated" if settled is not None else "single" if len(theirs) == 1 else "agreed"] += 1
        counts["split"] += settled is None and len(different) > 1
    repeats = 1 + max((max(one, default=0) for one in again), default=0)
    return _Marks(
        rows,
        np.array(said),
        _spread(again, repeats),
        _spread(each, len(raters)),
        np.array(repeated, dtype=np.float64).reshape(-1, 2),
        np.array(gold),
        _clusters(table, rows),
        counts["single"],
        counts["agreed"],
        counts["adjudicated"],
        counts["split"],
        void,
    )


def _code(cell: Cell, code: Mapping[str, int]) -> float | None:
    label = cell.grade.label if cell.grade is not None and cell.grade.failure is None else None
    return float(code[label]) if label is not None and label in code else None


def _spread(found: Sequence[Mapping[int, float]], columns: int) -> FloatArray:
    made = np.full((len(found), columns), np.nan)
    for place, one in enumerate(found):
        for column, label in one.items():
            made[place, column] = label
    return made


def _clusters(table: Table, rows: Sequence[Row]) -> IntArray | None:
    """The declared cluster, or the case where several of its responses are marked: they are not independent."""
    column = table.study.cluster
    names = [str(row.case.fields.get(column)) if column else row.case.id for row in rows]
    if column is None and len(set(names)) == len(names):
        return None
    return np.unique(names, return_inverse=True)[1].astype(np.int64) if names else None


def _passing(criterion: Criterion) -> int:
    """The lowest code that passes."""
    return next((place for place, name in enumerate(criterion.level_names()) if criterion.passes(name)), len(criterion.levels) - 1)


def _at(codes: FloatArray, passing: int) -> FloatArray:
    return np.where(np.isnan(codes), np.nan, (codes >= passing).astype(np.float64))


# ---------------------------------------------------------------- what it is worth


def _saving(marks: _Marks, passing: int, both: np.ndarray) -> float | None:
    """The share of people's marks that its verdicts save at equal width among many more responses: 1 - sum w f (1 - f) / (p (1 - p)).

    w is the share of a verdict, below the pass level or from it on, and f the share of passes that people find in it.
    """
    verdict = marks.said >= passing
    known = ~np.isnan(marks.said)
    sizes = np.array([np.count_nonzero(known & ~verdict), np.count_nonzero(known & verdict)])
    marked = np.array([np.count_nonzero(both & ~verdict), np.count_nonzero(both & verdict)])
    passes = np.array(
        [np.count_nonzero(both & ~verdict & (marks.gold >= passing)), np.count_nonzero(both & verdict & (marks.gold >= passing))]
    )
    used = sizes > 0
    if not np.all(marked[used] > 0):
        return None
    expected = (passes[used] + 0.5) / (marked[used] + 1)
    weight = sizes[used] / sizes.sum()
    passing_share = float(weight @ expected)
    return 1.0 - float(weight @ (expected * (1 - expected))) / (passing_share * (1 - passing_share))


def _advice(grader: str, criterion: str, said: FloatArray, saving: float | None, n: int) -> tuple[Advice, str]:
    drop: Advice = "let people mark, drop this grader"
    instead = f"Let people mark {criterion}, and drop it."
    if n < FEWEST_PAIRS:
        return (
            "not known yet",
            f"{n} of its responses were marked by people; from {FEWEST_PAIRS} on it can be said what {grader} is worth here.",
        )
    if np.ptp(said) == 0:
        return drop, f"{grader} says the same of every response, so its marks tell nothing. {instead}"
    if saving is None:
        return "not known yet", f"people have marked no response of one of {grader}'s verdicts. Let them mark some of each."
    share = max(0, round(100 * saving))
    if saving < WORTH:
        return drop, f"{grader} saves {share} of 100 of people's marks, which is too little to be worth having. {instead}"
    use = "Use its marks as far as people's correct them, never alone."
    return "use its marks, corrected by people's", f"{grader} saves about {share} of 100 of people's marks on {criterion}. {use}"


def _systems(table: Table, grader: str, criterion: Criterion, passing: int) -> tuple[SystemReceipt, ...]:
    made = []
    for system in table.study.systems:
        marks = _of_system(table, grader, criterion, system)
        said, marked = marks
        raw = float(np.mean(said >= passing)) if len(said) else None
        state: Calibration = "own" if marked else "none"
        audited = None
        if table.second_grader(criterion.id) == grader:
            audited = table.audited(system, f"{criterion.id}>={criterion.level_names()[passing]}")
        corrected, width, then, following = _corrected(audited, criterion, passing)
        made.append(SystemReceipt(system, state, marked, len(said), raw, corrected, width, then, following))
    return tuple(made)


def _of_system(table: Table, grader: str, criterion: Criterion, system: str) -> tuple[FloatArray, int]:
    """The grader's codes of a system's responses, and on how many of them people's marks stand too."""
    code = {name: place for place, name in enumerate(criterion.level_names())}
    said: list[float] = []
    marked = 0
    for row in table.of(system):
        its = [label for cell in table.cells(row, grader, criterion.id) if cell.repeat == 0 and (label := _code(cell, code)) is not None]
        said += its[:1]
        people = any(cell.kind == "human" and cell.criterion == criterion.id and _code(cell, code) is not None for cell in row.cells)
        marked += bool(its) and people
    return np.array(said), marked


def _corrected(
    audited: Audited | None, criterion: Criterion, passing: int
) -> tuple[Estimate | None, float | None, float | None, dict[str, int]]:
    """The share that passes corrected by people's marks, its width now and after more labels, and which labels those are."""
    if audited is None or audited.chosen not in ("random", "stratified") or audited.not_applicable or not audited.n_marks:
        return None, None, None, {}
    at = criterion.level_names()[passing]
    words = {0: f"below “{at}”", 1: f"“{at}” or better", 2: "not readable", 3: "of no answer"}
    verdict = audited.said.astype(np.int64)
    sure = ~np.isnan(audited.worst) & (audited.worst == audited.best)
    label = np.where(sure, np.nan_to_num(audited.worst), -1).astype(np.int64)
    made = stats.CorrectedRate(verdict, label, audited.cluster, names=words, n_cases=len(np.unique(audited.case)))
    estimate = made.estimate(estimand=f"share of responses at “{at}” or better")
    kinds = np.unique(verdict)
    sizes, marked, passes = (
        np.array([np.count_nonzero((verdict == kind) & where) for kind in kinds])
        for where in (np.ones(len(verdict), dtype=bool), sure, sure & (label == 1))
    )
    gain = stats.label_gain(sizes, marked, passes, more=MORE)
    more = stats.allocate_labels(sizes, (passes + 0.5) / (marked + 1), marked, MORE)
    following = (
        {} if more is None else {words.get(int(kind), str(kind)): int(count) for kind, count in zip(kinds, more, strict=True) if count}
    )
    width = None if estimate.low is None or estimate.high is None else estimate.high - estimate.low
    then = (
        None if width is None or gain.width is None or gain.width_then is None or gain.width == 0 else width * gain.width_then / gain.width
    )
    return estimate, width, then, following


# ---------------------------------------------------------------- groups and slips


def _values_of(table: Table, marks: _Marks, column: str) -> np.ndarray:
    return np.array([str(row.case.fields.get(column)) for row in marks.rows])


def _shares_by_group(
    table: Table, marks: _Marks, both: np.ndarray, passing: int, rng: np.random.Generator
) -> dict[str, stats.BinaryAgreement]:
    """What the grader does with the responses of each group that people pass and fail."""
    found: dict[str, stats.BinaryAgreement] = {}
    for column in table.study.groups:
        values = _values_of(table, marks, column)
        for value in np.unique(values[both]).tolist():
            use = both & (values == value)
            units = None if marks.cluster is None else marks.cluster[use]
            pairs = _at(marks.gold[use], passing), _at(marks.said[use], passing)
            found[f"{column}: {value}"] = stats.binary_agreement(*pairs, units, rng=rng, resamples=RESAMPLES)
    return found


def _by_group(table: Table, marks: _Marks, passing: int, rng: np.random.Generator) -> dict[str, stats.GraderByGroup]:
    found: dict[str, stats.GraderByGroup] = {}
    two = _first_two(_at(marks.people, passing))
    said = _at(marks.said, passing)
    use = ~np.isnan(said) & ~np.isnan(two[:, 0])
    for column in table.study.groups:
        names, group = np.unique(_values_of(table, marks, column)[use], return_inverse=True)
        if len(names) > 1:
            found[column] = stats.grader_by_group(
                two[use],
                said[use],
                group.astype(np.int64),
                None if marks.cluster is None else marks.cluster[use],
                names=names.tolist(),
                at_random=_chosen(table) <= {"all", "random", "stratified"},
                rng=rng,
            )
    return found


def _chosen(table: Table) -> set[Chosen]:
    """How the responses were chosen that people marked."""
    return {spec.chosen for name, spec in table.study.graders.items() if kind_of(table.study, name) == "human"}


def _first_two(people: FloatArray) -> FloatArray:
    """Of each response the first two people's marks, in the order of the people."""
    made = np.full((len(people), 2), np.nan)
    for place, row in enumerate(people):
        there = row[~np.isnan(row)][:2]
        made[place, : len(there)] = there
    return made


def _group_calibration(table: Table, marks: _Marks, both: np.ndarray) -> dict[str, Calibration]:
    """Whether people's marks stand beside the grader's in each group of people."""
    found: dict[str, Calibration] = {}
    for column in table.study.groups:
        own = {str(row.case.fields.get(column)) for row, marked in zip(marks.rows, both.tolist(), strict=True) if marked}
        for value in dict.fromkeys(str(case.fields.get(column)) for case in table.study.cases):
            found[f"{column}: {value}"] = "own" if value in own else "none"
    return found


def _true_share(passes: np.ndarray, slip: float) -> float | None:
    """The share of passes that is true if people slip so often either way; None where so many slips are impossible."""
    share = (float(np.mean(passes)) - slip) / (1 - 2 * slip)
    return share if 0 <= share <= 1 else None
