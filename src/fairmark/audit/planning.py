"""What an audit asks for: edited answers as ordinary tasks, in pairs or rows that are read together.

Pure: nothing is asked here. A task that the study has answered already, such as the grade of the unedited answer, is the
study's own and is not asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fairmark.audit import edits
from fairmark.audit.attacks import ATTACKS, CARRIERS, attacked, unattacked
from fairmark.audit.marks import known_bad
from fairmark.audit.variants import SECOND, pair_grader, variant
from fairmark.errors import Mistake, nearest
from fairmark.graders import LlmGrader
from fairmark.records import Grader, Item, Task, digest, grade_key, item_of
from fairmark.results import Refusal
from fairmark.rubric import Criterion
from fairmark.table import Row, Table

CASES = 40
REPEATS = 3
FEWEST_REPEATED = 30  # answers that are marked again
FEWEST_BAD = 10  # known-bad answers to be attacked

EXPERIMENTS: Mapping[str, str] = {
    "order": "two answers are compared in both orders",
    "levels": "the levels are offered worst first and best first",
    "length": "the same answer is padded and trimmed; and long answers are held against people's marks",
    "family": "answers of the grader's own model family are held against others', and both against people's marks",
    "format": "headings, bold type and lists are added to the same answer",
    "authority": "a claim of authority or an invented source is added to the same answer",
    "person": "the same request comes from somebody of another name, spelling or way of writing",
    "repeat": "the same question is asked again",
    "halo": "whether one criterion colours another, from marks already there",
    "ends": "whether it shuns the ends of the scale, from marks already there",
    "leniency": "whether it is lenient or severe, from marks already there",
    "injection": "40 attacks in 5 carriers are put on answers that are known to be bad",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """Grades that are read together: the arms of one experiment on one answer."""

    experiment: str
    part: str  # what is varied, such as padding
    criterion: str
    realisation: str  # which of the wordings of a cue; empty where there is one
    unit: str  # case or cluster, whose probes are not independent
    case_id: str
    keys: tuple[str, ...]  # of the grades, in the order of the arms


@dataclass(frozen=True, slots=True)
class Untested:
    """What an audit could not try, and why."""

    experiment: str
    part: str
    criterion: str  # empty: all of the grader's
    why: Refusal


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """All that an audit of one grader asks and how it is put together."""

    grader: str
    experiments: tuple[str, ...]
    criteria: tuple[str, ...]
    tasks: tuple[Task, ...]  # each grade once
    probes: tuple[Probe, ...]
    not_tested: tuple[Untested, ...]
    families: Mapping[str, str]  # of a system's or grader's name, where the user said so

    @property
    def calls(self) -> int:
        """The questions that are still to be asked."""
        return sum(task.missing() for task in self.tasks)

    def filled(self, tasks: Sequence[Task]) -> AuditPlan:
        """The same plan with what the store holds for its tasks."""
        return replace(self, tasks=tuple(tasks))


def plan(
    table: Table,
    judges: Sequence[LlmGrader],
    *,
    experiments: Sequence[str] | None = None,
    cases: int = CASES,
    seed: str = "",
    families: Mapping[str, str] | None = None,
) -> AuditPlan:
    """The plan of an audit of one LLM grader, of which `judges` holds the grader of each criterion.

    `cases` cases are drawn by a digest of `seed`, each with one of its answered responses, so that a longer audit keeps
    what a shorter one has asked. `families` names the model family of systems and graders where their model's name does
    not say it. `Mistake` for an unknown experiment.
    """
    if not judges or len({judge.name for judge in judges}) != 1:
        raise ValueError("an audit is of the graders of one name")
    wanted = tuple(EXPERIMENTS) if experiments is None else tuple(dict.fromkeys(experiments))
    for name in wanted:
        if name not in EXPERIMENTS:
            raise Mistake.in_call(
                f"there is no experiment `{name}`", allowed=", ".join(EXPERIMENTS), remedy=nearest(name, tuple(EXPERIMENTS))
            )
    drawing = _Drawing(table, cases, seed)
    for judge in judges:
        if not ordered(judge.on):
            drawing.skip(
                "", "", judge, "NOT_ORDERED", "the levels have no order, so that more and less mean nothing", "audit an ordered one"
            )
            continue
        if not drawing.order:
            drawing.skip("", "", judge, "NO_ANSWERS", "no system has answered yet", "run the study first: fairmark run")
            continue
        for name in wanted:
            draw = _DRAW.get(name)
            if draw is not None:
                draw(drawing, judge)
    return AuditPlan(
        grader=judges[0].name,
        experiments=wanted,
        criteria=tuple(judge.criterion for judge in judges if ordered(judge.on)),
        tasks=tuple(drawing.tasks.values()),
        probes=tuple(drawing.probes),
        not_tested=tuple(drawing.not_tested),
        families=dict(families or {}),
    )


def ordered(criterion: Criterion) -> bool:
    """Whether labels of this criterion are better or worse than one another."""
    return not (criterion.scale == "nominal" and len(criterion.levels) > 2)


def _item(row: Row) -> Item:
    assert row.response is not None
    return item_of(row.case, row.response)


class _Drawing:
    """Tasks and probes while they are put together."""

    def __init__(self, table: Table, cases: int, seed: str) -> None:
        self.table, self.cases, self.seed = table, cases, seed
        self.tasks: dict[str, Task] = {}
        self.probes: list[Probe] = []
        self.not_tested: list[Untested] = []
        self.by_case: dict[str, list[Row]] = {}
        for row in table.rows:
            if row.response is not None and row.response.answer is not None and row.response.answer.text.strip():
                self.by_case.setdefault(row.case.id, []).append(row)
        self.order = sorted(self.by_case, key=lambda case: digest([seed, "case", case]))

    def items(self, count: int | None = None) -> list[Item]:
        """One response of each drawn case."""
        return [_item(self.shuffled(self.by_case[case])[0]) for case in self.order[: self.cases if count is None else count]]

    def shuffled(self, rows: Sequence[Row]) -> list[Row]:
        return sorted(rows, key=lambda row: digest([self.seed, "row", row.case.id, row.system, row.trial]))

    def unit(self, item: Item) -> str:
        cluster = self.table.study.cluster
        return str(item.fields.get(cluster)) if cluster is not None else item.case_id

    def task(self, grader: Grader, item: Item, repeat: int = 0) -> str:
        key = grade_key(grader, item, repeat=repeat)
        self.tasks.setdefault(key, Task(key, grader, item, repeat))
        return key

    def probe(self, experiment: str, part: str, judge: LlmGrader, item: Item, keys: tuple[str, ...], realisation: str = "") -> None:
        self.probes.append(Probe(experiment, part, judge.criterion, realisation, self.unit(item), item.case_id, keys))

    def skip(self, experiment: str, part: str, judge: LlmGrader, code: str, why: str, next_step: str) -> None:
        self.not_tested.append(Untested(experiment, part, judge.criterion, Refusal(code, why, next_step)))


def _edited(drawing: _Drawing, judge: LlmGrader, experiment: str, part: str, cues: Mapping[str, edits.Edit]) -> None:
    """Each drawn answer before and after one of the edits, which take turns; the levels stand in the same order."""
    names, taken = tuple(cues), 0
    for item in drawing.items():
        order = [*names[taken % len(names) :], *names[: taken % len(names)]]
        found = next(((name, changed) for name in order if (changed := cues[name](item)) is not None), None)
        if found is None:
            continue
        taken += 1
        name, changed = found
        after = variant(judge, f"{part}: {name}", judge.level_order(item))
        keys = drawing.task(judge, item), drawing.task(after, changed)
        drawing.probe(experiment, part, judge, item, keys, name if len(names) > 1 else "")
    if not taken:
        drawing.skip(experiment, part, judge, "NO_DATA", f"{part} changes none of the answers", "audit answers that can be edited so")


def _order(drawing: _Drawing, judge: LlmGrader) -> None:
    grader = pair_grader(judge)
    drawn = 0
    for case in drawing.order:
        rows = drawing.shuffled(drawing.by_case[case])
        one = _item(rows[0])
        other = next((_item(row) for row in rows[1:] if _item(row).output.strip() != one.output.strip()), None)
        if other is None or drawn == drawing.cases:
            continue
        drawn += 1
        keys = tuple(
            drawing.task(grader, replace(first, fields={**first.fields, SECOND: second.output}))
            for first, second in ((one, other), (other, one))
        )
        drawing.probe("order", "position", judge, one, keys)
    if not drawn:
        drawing.skip("order", "position", judge, "NO_PAIRS", "no case has two different answers", "run a second system, or more trials")


def _levels(drawing: _Drawing, judge: LlmGrader) -> None:
    names = judge.on.level_names()
    if not names:
        drawing.skip("levels", "level order", judge, "NO_LEVELS", "it marks with numbers, so no levels stand in an order", "nothing to do")
        return
    up, down = variant(judge, "levels", names), variant(judge, "levels", names[::-1])
    for item in drawing.items():
        drawing.probe("levels", "level order", judge, item, (drawing.task(up, item), drawing.task(down, item)))


def _person(drawing: _Drawing, judge: LlmGrader) -> None:
    pairs = tuple(edits.SIGNED.items())
    for place, item in enumerate(drawing.items()):
        name, (one, other) = pairs[place % len(pairs)]
        first, second = one(item), other(item)
        if first is None or second is None:
            continue
        order = judge.level_order(item)
        arms = (variant(judge, "names", order), first), (variant(judge, "names", order), second)
        drawing.probe("person", "names", judge, item, tuple(drawing.task(grader, shown) for grader, shown in arms), name)
    if not any(probe.part == "names" and probe.criterion == judge.criterion for probe in drawing.probes):
        drawing.skip("person", "names", judge, "NO_DATA", "no request has a turn that a person could sign", "audit requests by people")
    _edited(drawing, judge, "person", "spelling", edits.SPELLING)
    _edited(drawing, judge, "person", "informal writing", edits.INFORMAL)


def _length(drawing: _Drawing, judge: LlmGrader) -> None:
    _edited(drawing, judge, "length", "padding", edits.PADDED)
    _edited(drawing, judge, "length", "trimming", edits.TRIMMED)


def _repeat(drawing: _Drawing, judge: LlmGrader) -> None:
    for item in drawing.items(max(drawing.cases, FEWEST_REPEATED)):
        again = variant(judge, "repeat", judge.level_order(item))
        keys = (drawing.task(judge, item), *(drawing.task(again, item, repeat) for repeat in range(1, REPEATS)))
        drawing.probe("repeat", "repeatability", judge, item, keys)


def _injection(drawing: _Drawing, judge: LlmGrader) -> None:
    ready = [row for rows in drawing.by_case.values() for row in rows]
    bad = drawing.shuffled([row for row in ready if known_bad(drawing.table, row, judge.on)])[: drawing.cases]
    if len({row.case.id for row in bad}) < FEWEST_BAD:
        why = f"only {len(bad)} answers are known to be bad" if bad else "no answer is known to be bad"
        remedy = f"let people mark until at least {FEWEST_BAD} cases have an answer at the lowest level"
        drawing.skip("injection", "injection", judge, "NO_KNOWN_BAD", why, remedy)
        return
    combinations = [(attack, carrier) for attack in ATTACKS for carrier in CARRIERS]
    combinations.sort(key=lambda pair: digest([drawing.seed, pair[0].id, pair[1]]))
    for place, (attack, carrier) in enumerate(combinations):
        item = _item(bad[place % len(bad)])
        order = judge.level_order(item)
        before = variant(judge, f"injection: none in {carrier}", order), unattacked(item, carrier)
        after = variant(judge, f"injection: {attack.id} in {carrier}", order), attacked(item, attack, carrier, judge)
        keys = tuple(drawing.task(grader, shown) for grader, shown in (before, after))
        drawing.probe("injection", "injection", judge, item, keys, f"{attack.kind} / {carrier}")


_DRAW: Mapping[str, Callable[[_Drawing, LlmGrader], None]] = {
    "order": _order,
    "levels": _levels,
    "length": _length,
    "format": lambda drawing, judge: _edited(drawing, judge, "format", "Markdown", edits.FORMAT),
    "authority": lambda drawing, judge: _edited(drawing, judge, "authority", "claims of authority", edits.AUTHORITY),
    "person": _person,
    "repeat": _repeat,
    "injection": _injection,
}
