"""Whose experience was looked at, whose was not, and who marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fairmark.analyse.corrected import corrected
from fairmark.analyse.estimates import mean, refused_estimate
from fairmark.records import ADJUDICATED
from fairmark.results import Estimate, GroupResult, Refusal
from fairmark.study import Study
from fairmark.table import Row, Table

SMALLEST_GROUP = 5  # below this a group is not shown: too few to say, and people could be recognised


def group_results(table: Table, level: float) -> tuple[GroupResult, ...]:
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
        few = Refusal("TOO_FEW_TO_SAY", why, f"add at least {SMALLEST_GROUP - cases} cases of this group")
        return refused_estimate(estimand, few, level, metric.scorer, cases)
    audited = table.audited(system, on, rows=rows)
    both = corrected(table, system, None, on, audited=audited) if audited is not None else None
    if both is not None and both.refused is None:
        # a group's figure is corrected by the marks of its own answers only
        return both.estimate(estimand, level)
    gated = on == "score" and any(criterion.gate for criterion in table.study.rubric)
    return mean(metric, estimand, level, gated=gated)


def not_tested(study: Study) -> tuple[str, ...]:
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


def marked_by(table: Table) -> tuple[str, ...]:
    """Who marked what, a sentence each."""
    study = table.study
    checked = [f"{criterion} ({spec.check})" for spec in study.graders.values() if spec.kind == "check" for criterion in spec.criteria]
    sentences = [f"Checks marked {', '.join(checked)}."] if checked else []
    for name, spec in study.graders.items():
        criteria = ", ".join(spec.criteria)
        if spec.kind == "check":
            continue
        if spec.kind == "llm":
            model = spec.model.name if spec.model else "a model"
            sentences.append(f"The LLM grader {name} ({model}) marked {criteria}.")
        elif spec.by == "model":
            sentences.append(f"A model's marks of {criteria} were recorded elsewhere ({spec.marks_from}).")
        elif spec.kind == "people":
            sentences.append(_at_the_page(table, name, criteria))
        else:
            raters = len({mark.rater for mark in spec.marks})
            who = "1 person" if raters == 1 else f"{raters} people"
            sentences.append(f"{who} marked {criteria} (recorded in {spec.marks_from}; chosen: {spec.chosen}).")
    return tuple(sentences)


def _at_the_page(table: Table, name: str, criteria: str) -> str:
    raters: set[str] = set()
    marked = twice = settled = 0
    for row in table.rows:
        cells = [cell for cell in row.cells if cell.grader == name and cell.repeat == 0 and cell.grade is not None and cell.grade.label]
        who = {cell.rater for cell in cells} - {ADJUDICATED}
        raters |= who
        marked += bool(who)
        twice += len(who) > 1
        settled += any(cell.rater == ADJUDICATED for cell in cells)
    people = "1 person" if len(raters) == 1 else f"{len(raters)} people"
    answers = "1 answer" if marked == 1 else f"{marked} answers"
    sentence = f"{people} marked {answers} on {criteria} without knowing which system gave them; {twice} were marked by more than one."
    return sentence + (f" A third look settled {settled} on which they differed." if settled else "")
