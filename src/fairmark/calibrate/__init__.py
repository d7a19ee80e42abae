"""How far each grader's marks are borne out by other marks on the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fairmark.calibrate.receipts import PeopleReceipt, Receipt, SystemReceipt, people_receipt, receipt
from fairmark.records import Task
from fairmark.results import Refusal, Trust
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion
from fairmark.stats import cohen_kappa, confusion_matrix, estimate_rate, gwet_ac1
from fairmark.study import Study, kind_of
from fairmark.table import Cell, Table

__all__ = ["PeopleReceipt", "Receipt", "SystemReceipt", "people_receipt", "receipt", "trust"]


def trust(study: Study, table: Table, calibration: Sequence[Task], *, receipts: bool = False) -> tuple[Trust, ...]:
    """How far each LLM grader can be trusted on each criterion, in the order of the study; with `receipts` all that is known of it.

    Marks by people on this study's own answers count as `own` calibration. Without them, a recorded calibration set
    gives `borrowed` calibration, which never decides a hypothesis. `calibration` holds the grades of that set.
    """
    found = []
    for name, spec in study.graders.items():
        if kind_of(study, name) == "human" and receipts:
            found += _of_people(study, table, name)
        if kind_of(study, name) != "llm":
            continue
        for criterion_id in spec.criteria:
            criterion = study.rubric[criterion_id]
            own, unreadable = _own_pairs(table, name, criterion_id)
            whole = receipt(table, name, criterion) if receipts else None
            if own:
                made = _receipt(study, name, criterion, own, unreadable, calibration="own", marked_by="people")
                found.append(replace(made, receipt=whole))
                continue
            borrowed, unreadable = _calibration_pairs(study, calibration, name, criterion_id)
            if borrowed and study.calibration is not None:
                marked_by = study.calibration.marked_by
                made = _receipt(study, name, criterion, borrowed, unreadable, calibration="borrowed", marked_by=marked_by)
                found.append(replace(made, receipt=whole))
                continue
            found.append(
                Trust(
                    grader=name,
                    criterion=criterion_id,
                    kind="llm",
                    calibration="none",
                    marked_by="",
                    n=0,
                    unreadable=unreadable,
                    agreement=None,
                    say=f"Nobody has checked the LLM grader {name} on {criterion_id}, so its marks decide nothing.",
                    by_system=dict.fromkeys(study.systems, "none"),
                    receipt=whole,
                    refused=Refusal(
                        "UNCALIBRATED_GRADER",
                        f"no marks by people stand beside those of {name} on {criterion_id}",
                        "let people mark at least 40 of the same answers, chosen at random, and add them as a recorded grader",
                    ),
                )
            )
    return tuple(found)


def _of_people(study: Study, table: Table, name: str) -> list[Trust]:
    """How far people agree with one another on each criterion that two or more of them marked."""
    made = []
    for criterion in study.graders[name].criteria:
        whole = people_receipt(table, name, study.rubric[criterion])
        if whole is not None:
            say = f"{name} on {criterion}: {whole.say}"
            made.append(Trust(name, criterion, "human", "none", "", whole.n_doubly, 0, None, say=say, receipt=whole))
    return made


Pair = tuple[str, str, str, str]  # reference label, grader's label, cluster, system


def _own_pairs(table: Table, grader: str, criterion: str) -> tuple[list[Pair], int]:
    """Labels of people and of the grader on the same responses, and how many of the grader's could not be read."""
    pairs: list[Pair] = []
    unreadable = 0
    for row in table.rows:
        mine = [cell for cell in row.cells if cell.grader == grader and cell.criterion == criterion and cell.repeat == 0]
        unreadable += sum(_unreadable(cell) for cell in mine)
        label = _label(mine[0]) if mine else None
        people = Counter(said for cell in row.cells if cell.kind == "human" and cell.criterion == criterion and (said := _label(cell)))
        if label is None or not people:
            continue
        ranked = people.most_common(2)
        if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
            continue  # people are split evenly: there is no mark to agree with
        cluster = str(row.case.fields.get(table.study.cluster)) if table.study.cluster else row.case.id
        pairs.append((ranked[0][0], label, cluster, row.system))
    return pairs, unreadable


def _calibration_pairs(study: Study, tasks: Sequence[Task], grader: str, criterion: str) -> tuple[list[Pair], int]:
    marks = {entry.item.case_id: entry.marks for entry in study.calibration.items} if study.calibration else {}
    pairs: list[Pair] = []
    unreadable = 0
    for task in tasks:
        if task.grader.name != grader or task.grader.criterion != criterion or task.repeat or task.grade is None:
            continue
        unreadable += task.grade.failure is not None
        reference = marks[task.item.case_id].get(criterion)
        label = task.grade.label
        if reference is not None and label is not None and label not in (CANNOT_TELL, NOT_APPLICABLE):
            pairs.append((reference, label, task.item.case_id, ""))
    return pairs, unreadable


def _unreadable(cell: Cell) -> bool:
    return cell.grade is not None and cell.grade.failure is not None


def _label(cell: Cell) -> str | None:
    label = cell.grade.label if cell.grade is not None else None
    return label if label not in (CANNOT_TELL, NOT_APPLICABLE) else None


def _receipt(
    study: Study,
    grader: str,
    criterion: Criterion,
    pairs: Sequence[Pair],
    unreadable: int,
    *,
    calibration: Literal["own", "borrowed"],
    marked_by: str,
) -> Trust:
    levels = criterion.level_names() or tuple(sorted({label for pair in pairs for label in pair[:2]}, key=float))
    reference = [levels.index(pair[0]) for pair in pairs]
    said = [levels.index(pair[1]) for pair in pairs]
    matrix = confusion_matrix(reference, said, len(levels))
    clusters, marked = [pair[2] for pair in pairs], {pair[3] for pair in pairs}
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    clustered = (study.cluster is not None and calibration == "own") or len(names) < len(clusters)
    agreement = estimate_rate(
        np.array([pair[0] == pair[1] for pair in pairs], dtype=np.float64),
        np.array([names[name] for name in clusters], dtype=np.int64) if clustered else None,
        estimand=f"share of {len(pairs)} answers on which {grader} gives the same level of {criterion.id} as {marked_by}",
        confidence_level=1 - 2 * study.plan.alpha,
        scorer="judge-raw",
    )
    commonest, most = Counter(pair[0] for pair in pairs).most_common(1)[0]
    equal = sum(pair[0] == pair[1] for pair in pairs)
    no_better = agreement.low is None or agreement.low <= most / len(pairs)
    return Trust(
        grader=grader,
        criterion=criterion.id,
        kind="llm",
        calibration=calibration,
        marked_by=marked_by,
        n=len(pairs),
        unreadable=unreadable,
        agreement=agreement,
        commonest=commonest,
        commonest_share=most / len(pairs),
        kappa=cohen_kappa(matrix).value,
        ac1=gwet_ac1(matrix).value,
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        levels=levels,
        usable=calibration == "own",
        say=_sentence(grader, criterion.id, equal, len(pairs), marked_by, commonest, most, no_better, calibration),
        refused=_refusal(grader, criterion.id) if calibration == "borrowed" else None,
        by_system={name: calibration if calibration == "borrowed" else "own" if name in marked else "none" for name in study.systems},
    )


def _sentence(
    grader: str, criterion: str, equal: int, n: int, marked_by: str, commonest: str, most: int, no_better: bool, calibration: str
) -> str:
    first = f"The LLM grader {grader} gave the same level of {criterion} as the {marked_by} on {equal} of {n} answers"
    if marked_by == "people":
        first = f"The LLM grader {grader} gave the same level of {criterion} as people did on {equal} of {n} answers"
    always = f"always saying “{commonest}” would have agreed on {most}"
    if calibration == "own":
        gain = ", and its marks add little to theirs" if no_better else ""
        return f"{first}; {always}. Its marks decide only as far as people's marks correct them{gain}."
    if no_better:
        return f"{first}; {always}. That is no proof that it can mark this, so its marks decide nothing here."
    return f"{first}; {always}. Those were other systems' answers, so its marks decide nothing here yet."


def _refusal(grader: str, criterion: str) -> Refusal:
    return Refusal(
        "BORROWED_CALIBRATION",
        f"only {grader} marked {criterion}, and it was checked on other systems' answers",
        "let people mark at least 40 answers of each system on this criterion, chosen at random, and add them as a recorded grader",
    )
