"""The second step: responses become grades. Checks mark at once, LLM graders are asked, people's marks are looked up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from fairmark import calls
from fairmark.records import Answer, Failure, Grade, Grader, Item, Progress, Provider, Question, Task, Verdict, grade_key
from fairmark.store import Store
from fairmark.study import Budget


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
    return tuple(
        task if (grade := stored.get(task.key)) is None else replace(task, grade=replace(grade, grader=task.grader.name))
        for task in planned
    )


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


@dataclass(slots=True)
class Ask:
    """What `ask` needs beside the tasks."""

    store: Store
    provider: Callable[[str], Provider]  # of a grader's name
    concurrency: int = 8
    budget: Budget = field(default_factory=Budget)
    policy: calls.Policy = field(default_factory=calls.Policy)
    stop: asyncio.Event | None = None
    progress: Callable[[Progress], None] | None = None


async def ask(planned: Sequence[Task], with_: Ask, *, retry_failed: bool = False) -> calls.Tally:
    """Asks LLM graders for the grades that are missing and stores every outcome.

    A verdict that cannot be read is asked for once more with the grader's own reminder; then it is a failure.
    """
    questions: dict[str, tuple[Task, Question]] = {}
    for task in planned:
        if task.missing(retry_failed=retry_failed):
            asked = _asker(task).ask(task.item)
            if asked is not None:
                questions.setdefault(task.key, (task, asked))  # one call serves all tasks of one name
    again: dict[str, tuple[Task, Question]] = {}
    store = with_.store

    async def intent(job: calls.Job) -> None:
        await asyncio.wrap_future(store.add_intent(job.key, "grade", job.name, time.time_ns()))

    async def record(job: calls.Job, outcome: Answer | Failure) -> Grade | None:
        task, second = job.payload
        verdict = _guarded(task, outcome) if isinstance(outcome, Answer) else outcome
        reminder = getattr(_asker(task), "retry", None)
        if isinstance(verdict, Failure) and verdict.kind == "unreadable_grade" and not second and reminder is not None:
            follow_up = reminder(task.item, outcome)
            if follow_up is not None:
                again[task.key] = (task, follow_up)
        grade = _grade(task, verdict, outcome if isinstance(outcome, Answer) else None)
        await asyncio.wrap_future(store.add_grade(grade))
        return grade

    async def perform(wanted: dict[str, tuple[Task, Question]], *, second: bool, budget: Budget) -> calls.Tally:
        def jobs() -> Iterator[calls.Job]:
            for task, asked in wanted.values():
                yield calls.Job(task.key, "grade", task.grader.name, asked, with_.provider(task.grader.name), (task, second))

        return await calls.perform(
            jobs(),
            record=record,
            intent=intent,
            concurrency=with_.concurrency,
            policy=with_.policy,
            budget=budget,
            progress=with_.progress,
            step="grade",
            planned=len(wanted) if second else len({task.key for task in planned if task.grader.kind == "llm"}),
            stored=0 if second else len({task.key for task in planned if task.grader.kind == "llm"}) - len(wanted),
            stop=with_.stop,
        )

    tally = await perform(questions, second=False, budget=with_.budget)
    if again and not tally.stopped:
        tally = calls.add(tally, await perform(again, second=True, budget=calls.left(with_.budget, tally)))
    return tally


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
