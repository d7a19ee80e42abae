"""Tuning LLM graders without fooling oneself: what they are shown, how often test labels are looked at, and what gives it away."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairmark import stats
from fairmark.graders import LlmGrader
from fairmark.records import ADJUDICATED, Act, Grader, canonical, digest, plain_text
from fairmark.rubric import Criterion, Example
from fairmark.stats.splits import TuningGap
from fairmark.study import Part, Study
from fairmark.table import FloatArray, IntArray, Row, Table

Examples = Mapping[tuple[str, str], tuple[Example, ...]]  # by grader and criterion

LONGEST_EXAMPLE = 2000  # characters of a request or response
NAMED = 5  # cases in a warning


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning has to do with one LLM grader's receipt on one criterion."""

    grader: str
    criterion: str
    looks: int  # versions of the grader that were measured on the test labels, this one included; 0: none yet
    gap: TuningGap | None  # between dev and test; None where levels are missing or nothing is marked in either
    examples: int  # marked responses of the train part it is shown
    leaks: tuple[str, ...]  # ids of dev and test cases whose texts stand in its prompt or examples
    warnings: tuple[str, ...]  # in sentences

    @property
    def say(self) -> str:
        """How often the test labels were looked at, in a sentence; empty where they were not."""
        if self.looks == 0:
            return ""
        if self.looks == 1:
            return f"The test labels of {self.criterion} are looked at for the first time."
        return (
            f"The test labels of {self.criterion} are looked at for the {_ordinal(self.looks)} time: {stats.look_words(self.looks)}. "
            f"A grader that was chosen by them agrees with them by more than with new ones."
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that a receipt says of it."""
        return (*((self.say,) if self.say else ()), *self.warnings)


# ---------------------------------------------------------------- examples


def examples(table: Table) -> dict[tuple[str, str], tuple[Example, ...]]:
    """The marked responses of the train part that each LLM grader is shown, by grader and criterion.

    As many as `examples` of the grader says, level after level in turn, worst first, those that people marked earliest:
    a further mark adds what a level lacks and otherwise changes nothing. None until there are as many: a grader that is
    shown one more with every mark would be another grader each time. `table` needs people's marks only.
    """
    study, found = table.study, {}
    for name, spec in study.graders.items():
        if spec.kind != "llm" or not spec.examples or study.tuning is None:
            continue
        for criterion in spec.criteria:
            chosen = _in_turn(_of_train(table, study.rubric[criterion]), spec.examples)
            if len(chosen) == spec.examples:
                found[name, criterion] = tuple(chosen)
    return found


def shown(graders: Sequence[Grader], given: Examples) -> tuple[Grader, ...]:
    """The graders with their examples behind those of the rubric. The examples are part of what names a grade."""
    return tuple(
        replace(one, on=replace(one.on, examples=(*one.on.examples, *given[one.name, one.criterion])))
        if isinstance(one, LlmGrader) and (one.name, one.criterion) in given
        else one
        for one in graders
    )


def _of_train(table: Table, criterion: Criterion) -> dict[str, list[Example]]:
    """Marked responses of the train part by level, the earliest marked first; those that people are split on are left out."""
    decided = table.deciding(criterion.id)
    if decided is None or decided[1] != "human":
        return {}
    places = {name: place for place, name in enumerate(criterion.level_names())}
    dated: list[tuple[int, str, str, Example]] = []
    for row in table.rows:
        if table.study.part(row.case) != "train" or row.response is None or row.response.answer is None:
            continue
        said = _agreed(table, row, decided[0], criterion)
        if said is not None:
            label, reason, at = said
            one = Example(_line(row.response.answer.text), label, _line(reason), _line(plain_text(row.case.input)))
            dated.append((at, digest([table.study.name, criterion.id, row.case.id, row.system, row.trial]), label, one))
    by_level: dict[str, list[Example]] = {}
    for _, _, label, one in sorted(dated, key=lambda entry: (places.get(entry[2], 0), entry[0], entry[1])):
        by_level.setdefault(label, []).append(one)
    return by_level


def _in_turn(by_level: Mapping[str, Sequence[Example]], count: int) -> list[Example]:
    most = max((len(of_level) for of_level in by_level.values()), default=0)
    return [of_level[turn] for turn in range(most) for of_level in by_level.values() if turn < len(of_level)][:count]


def _agreed(table: Table, row: Row, people: str, criterion: Criterion) -> tuple[str, str, int] | None:
    """The label that all who marked a response gave it, a reason for it, and when it was first given."""
    marks = [
        cell.grade
        for cell in table.cells(row, people, criterion.id)
        if cell.repeat == 0 and cell.grade is not None and cell.grade.label is not None
    ]
    marks = [grade for grade in marks if grade.rater == ADJUDICATED] or marks
    labels = {grade.label for grade in marks}
    if len(labels) != 1:
        return None
    label = labels.pop()
    assert label is not None
    try:
        criterion.value_of(label)
    except (KeyError, ValueError):
        return None  # a way out is no level
    return label, next((grade.reason for grade in marks if grade.reason), ""), min(grade.at for grade in marks)


def _line(text: str) -> str:
    """A text on one line, so that no response makes lines of its own in a prompt."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_EXAMPLE else line[: LONGEST_EXAMPLE - 1] + "…"


# ---------------------------------------------------------------- looks at the test part


def looks(table: Table, graders: Sequence[Grader], *, name: str, at: int) -> tuple[Act, ...]:
    """One act for each LLM grader and criterion that is measured on test labels now. `name` is that of the study and wave.

    Its id follows from the grader as it is, its prompt, model, settings and examples: posting it again counts nothing
    more, and a grader that was changed looks anew.
    """
    if table.study.tuning is None:
        return ()
    made = []
    for judge in graders:
        if isinstance(judge, LlmGrader) and len(_right(table, judge.name, table.study.rubric[judge.criterion], "test")[0]):
            version = digest([dict(judge.identity()), judge.on.wording()])
            content = {"grader": judge.name, "criterion": judge.criterion, "version": version}
            made.append(Act(str(uuid.uuid5(uuid.NAMESPACE_OID, canonical([name, content]))), name, "", "look", content, at=at))
    return tuple(made)


def counted(acts: Iterable[Act]) -> dict[tuple[str, str], int]:
    """How many versions of each grader were measured on the test labels of each criterion."""
    versions: dict[tuple[str, str], set[str]] = {}
    for act in acts:
        if act.kind == "look" and act.content:
            versions.setdefault((act.content["grader"], act.content["criterion"]), set()).add(act.content["version"])
    return {key: len(found) for key, found in versions.items()}


# ---------------------------------------------------------------- what the receipt says


def tuned(table: Table, graders: Sequence[Grader], given: Examples, looked: Mapping[tuple[str, str], int]) -> tuple[Tuned, ...]:
    """What tuning has to do with each LLM grader and criterion; nothing where the study sets no part of the cases apart.

    `given` are the examples that graders are shown, `looked` how often test labels were looked at.
    """
    study = table.study
    if study.tuning is None:
        return ()
    made = []
    for judge in graders:
        if not isinstance(judge, LlmGrader):
            continue
        key = judge.name, judge.criterion
        count, shown_to_it, wanted = looked.get(key, 0), len(given.get(key, ())), study.graders[judge.name].examples
        gap, leaks = dev_test_gap(table, *key, looks=max(count, 1)), _leaks(table, judge)
        said = []
        if gap is not None and gap.warn and gap.gap is not None:
            better = "better" if gap.gap > 0 else "worse"
            said.append(
                f"{judge.name} agrees with people on {100 * (gap.dev or 0):.0f} of 100 responses of the dev part and on "
                f"{100 * (gap.test or 0):.0f} of the test part: it does {better} where it was tuned by more than chance explains."
            )
        if leaks:
            more = f" and {len(leaks) - NAMED} more" if len(leaks) > NAMED else ""
            said.append(
                f"The prompt or the examples of {judge.name} hold the words of cases outside the train part ({', '.join(leaks[:NAMED])}"
                f"{more}): what it says of them is no test. Take them out."
            )
        if shown_to_it < wanted:
            said.append(
                f"{judge.name} is shown no examples on {judge.criterion} yet: fewer than {wanted} responses of the train part are marked."
            )
        made.append(Tuned(*key, count, gap, shown_to_it, leaks, tuple(said)))
    return tuple(made)


def dev_test_gap(table: Table, grader: str, criterion: str, *, looks: int) -> TuningGap | None:
    """How much oftener a grader gives people's level on dev than on test; None where the scale has no levels or a part no marks."""
    parts = [_right(table, grader, table.study.rubric[criterion], part) for part in ("dev", "test")]
    if any(len(values) == 0 for values, _ in parts):
        return None
    (dev, of_dev), (test, of_test) = parts
    return stats.dev_test_gap(dev, test, looks=looks, dev_cluster=of_dev, test_cluster=of_test)


def _right(table: Table, grader: str, criterion: Criterion, part: Part) -> tuple[FloatArray, IntArray]:
    """Of each response of a part that people and the grader marked: 1 where they give the same level; and its cluster."""
    decided = table.deciding(criterion.id)
    values: list[float] = []
    units: dict[str, int] = {}
    unit: list[int] = []
    if decided is not None and decided[1] == "human" and criterion.levels:
        for system in table.study.systems:
            theirs = table.marks(system, decided[0], criterion.id).votes(criterion, None)
            its = table.marks(system, grader, criterion.id).votes(criterion, None)
            for row, people, said in zip(table.of(system), theirs, its, strict=True):
                top = people.max()
                if table.study.part(row.case) == part and top > 0 and said.any() and np.count_nonzero(people == top) == 1:
                    values.append(float(people.argmax() == said.argmax()))
                    unit.append(units.setdefault(_unit(table.study, row), len(units)))
    return np.array(values, dtype=np.float64), np.array(unit, dtype=np.int64)


def _unit(study: Study, row: Row) -> str:
    return row.case.id if study.cluster is None else str(row.case.fields.get(study.cluster))


def _leaks(table: Table, judge: LlmGrader) -> tuple[str, ...]:
    """Ids of the cases of dev and test of which a text stands in what the grader is told besides the response it marks."""
    on = judge.on
    told = [judge.prompt or "", on.question, on.guidance, *(level.anchor for level in on.levels)]
    told += [text for example in on.examples for text in (example.input, example.response, example.reason)]
    ids: list[str] = []
    texts: list[str] = []
    for row in table.rows:
        if table.study.part(row.case) == "train":
            continue
        own = [message.content for message in row.case.input] + [row.case.expected or ""]
        own += [row.response.answer.text] if row.response is not None and row.response.answer is not None else []
        texts += own
        ids += [row.case.id] * len(own)
    return tuple(dict.fromkeys(ids[place] for place in stats.texts_in_prompt("\n".join(told), texts)))


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
