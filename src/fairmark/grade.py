"""The second step: responses become grades. Checks mark at once, LLM graders are asked, people's marks are looked up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fairmark import calls
from fairmark.graders import CheckGrader
from fairmark.records import Answer, Failure, Grade, Grader, Item, Provider, Task, Verdict, grade_key
from fairmark.store import Store

LONG_PREFIX = 4000  # characters, about a thousand tokens: endpoints keep no shorter beginning


def tasks(items: Sequence[Item], graders: Sequence[Grader], *, repeats: Callable[[Grader], int]) -> tuple[Task, ...]:
    """Every grade that these items should have, in the order of the items."""
    return tuple(
        Task(grade_key(grader, item, repeat=repeat), grader, item, repeat)
        for item in items
        for grader in graders
        for repeat in range(repeats(grader))
    )


def fill(planned: Sequence[Task], store: Store) -> tuple[Task, ...]:
    """The same tasks with the grades that the store holds for them, under this study's names."""
    stored = store.grades({task.key for task in planned})
    return tuple(task if (grade := stored.get(task.key)) is None else _with(task, grade) for task in planned)


def _with(task: Task, grade: Grade) -> Task:
    """The task with a stored grade, under this study's name for its grader, since names are not part of a key."""
    named = grade if grade.grader == task.grader.name else replace(grade, grader=task.grader.name)
    return Task(task.key, task.grader, task.item, task.repeat, named)


def mark_at_once(planned: Sequence[Task], store: Store, *, retry_failed: bool = False) -> tuple[Task, ...]:
    """The tasks with the grades of all graders that ask nobody made and stored: checks and recorded marks.

    A recorded mark belongs to the answer it was first read with. When the answer has changed since, the mark is
    refused as stale rather than given to words its author never saw.
    """
    todo = [task for task in planned if task.missing(retry_failed=retry_failed) and task.grader.ask(task.item) is None]
    verdicts = {id(task): _guarded(task, None) for task in todo}
    sources = {verdict.source for verdict in verdicts.values() if isinstance(verdict, Verdict) and verdict.source}
    bound = store.bound(sources) if sources else {}
    made: dict[int, Grade] = {}
    futures = []
    for task in todo:
        verdict = verdicts[id(task)]
        if isinstance(verdict, Verdict) and verdict.source and bound.setdefault(verdict.source, task.key) != task.key:
            verdict = Failure(
                "stale_mark",
                task.grader.name,
                "this mark was given to an earlier answer, rubric wording or reference; it does not count for the present one",
            )
        if isinstance(verdict, Failure) and verdict.kind == "not_recorded":
            made[id(task)] = _grade(task, verdict, None)  # an absent mark is looked up again each time, never stored
            continue
        grade = _grade(task, verdict, None)
        if task.grade is not None and replace(task.grade, at=0) == replace(grade, at=0):
            continue
        made[id(task)] = grade
        futures.append(store.add_grade(grade))
    for future in futures:
        future.result()
    return tuple(replace(task, grade=made[id(task)]) if id(task) in made else task for task in planned)


def in_passing(grader: Grader) -> bool:
    """Whether a grader marks by a shipped check, which takes next to no time. Other people's code may take long."""
    return isinstance(grader, CheckGrader) and grader.quick


def mark(task: Task) -> Grade:
    """The grade by a grader that asks nobody."""
    return _grade(task, _guarded(task, None), None)


def job(task: Task, provider: Provider) -> calls.Job:
    """What the pool is to ask for a task of an LLM grader."""
    asker = _asker(task)
    asked = asker.ask(task.item)
    assert asked is not None
    first = asked.messages[0].content if asked.messages else ""
    prefix = f"{task.grader.name}/{len(first)}/{hash(first)}" if len(first) >= LONG_PREFIX else ""
    return calls.Job(task.key, "grade", task.grader.name, asked, provider, task, prefix)


def read(asked: calls.Job, outcome: Answer | Failure) -> tuple[Grade, calls.Job | None]:
    """The grade that an outcome is, and the job that follows from it.

    A verdict that cannot be read is asked for once more with the grader's own reminder; then it is a failure.
    """
    again = isinstance(asked.payload, _Again)
    task: Task = asked.payload.task if again else asked.payload
    answer = outcome if isinstance(outcome, Answer) else None
    verdict = _guarded(task, answer) if answer is not None else outcome
    assert not isinstance(verdict, Answer)
    grade = _grade(task, verdict, answer)
    reminder = getattr(_asker(task), "retry", None)
    if again or answer is None or reminder is None or not isinstance(verdict, Failure) or verdict.kind != "unreadable_grade":
        return grade, None
    follow_up = reminder(task.item, answer)
    return grade, None if follow_up is None else replace(asked, question=follow_up, payload=_Again(task))


@dataclass(frozen=True, slots=True)
class _Again:
    """A task that is asked a second time."""

    task: Task


def _guarded(task: Task, answer: Answer | None) -> Verdict | Failure:
    return _asker(task).read(task.item, answer)


def _asker(task: Task) -> Grader:
    """The grader as it asks this repeat: an LLM grader offers its levels in another order each time."""
    repeated = getattr(task.grader, "repeated", None)
    if task.repeat == 0 or repeated is None:
        return task.grader
    asker: Grader = repeated(task.repeat)
    return asker


def _grade(task: Task, verdict: Verdict | Failure, answer: Answer | None) -> Grade:
    said = verdict if isinstance(verdict, Verdict) else None
    return Grade(
        key=task.key,
        case_id=task.item.case_id,
        criterion=task.grader.criterion,
        grader=task.grader.name,
        rater=task.grader.rater,
        repeat=task.repeat,
        label=said.label if said else None,
        failure=verdict if isinstance(verdict, Failure) else None,
        reason=said.reason if said else "",
        evidence=said.evidence if said else (),
        confidence=said.confidence if said else None,
        level_order=said.level_order if said else (),
        answer=answer,
        source=said.source if said else "",
        at=time.time_ns(),
    )
