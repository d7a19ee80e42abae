"""What a run asks, in order, and what becomes of it: both steps' jobs for one pool, and the ledger that it writes.

A response's checks are marked and its LLM graders' questions follow the moment it arrives. Cases are looked up in the store
a few at a time as the pool pulls them, so that memory is what is in flight and not what is planned.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Literal, TypeAlias

from fairmark import grade as grading
from fairmark import run as running
from fairmark.calls import Job
from fairmark.records import Answer, Failure, Headway, Progress, Provider, Slot, Task
from fairmark.store import Journal, Store

What: TypeAlias = Literal["response", "grade"]
AT_ONCE = 128  # planned responses that are looked up together


@dataclass(slots=True)
class Count:
    """planned = answered + failed + pending, of responses and of LLM grades."""

    answered: int = 0
    failed: int = 0
    stored: int = 0  # of both, those that the store held already
    stored_failed: int = 0  # of these, those that failed
    kinds: Counter[str] = field(default_factory=Counter)  # of all that failed

    def add(self, failure: Failure | None, *, stored: bool = False) -> None:
        """Counts one more."""
        if failure is None:
            self.answered += 1
        else:
            self.failed += 1
            self.stored_failed += stored
            self.kinds[failure.kind] += 1
        self.stored += stored


@dataclass(slots=True)
class Asking:
    """The ledger of one run. `jobs` is what the pool pulls from."""

    store: Store
    wave: str
    planned: Mapping[str, int]  # responses of each system
    slots: Iterator[Slot]  # all of them, case by case
    first: Sequence[Task]  # grades to ask for before any response, with what the store holds for them
    tasks_of: Callable[[Sequence[Slot]], Sequence[Task]]  # what checks and LLM graders are to mark
    questions_each: Mapping[str, int]  # of each LLM grader, how many grades it is asked for each answered response
    system: Callable[[str], Provider]
    grader: Callable[[str], Provider]
    retry_failed: bool = False
    ask_again: bool = True  # what failed in a way that may pass is missing; otherwise it counts as failed
    # told of a response, or of its failure, in every slot that shares it, and of what checks say of it
    arrived: Callable[[Sequence[Slot], Sequence[Task]], None] = lambda slots, marked: None
    # how the primary hypotheses stand that are followed case by case
    hypotheses: Callable[[], Mapping[str, str]] = dict
    responses: Count = field(default_factory=Count)
    grades: Count = field(default_factory=Count)
    by_system: dict[str, Count] = field(init=False)
    by_grader: dict[str, Count] = field(init=False)
    failures: Counter[str] = field(default_factory=Counter)  # of this run, by kind
    journal: Journal = field(init=False)
    _known: set[bytes] = field(default_factory=set)  # LLM grades that were looked at in this run
    _asked_of: Counter[str] = field(default_factory=Counter)  # by grader, how many these are
    _ahead: Counter[str] = field(init=False)  # by grader, those that go first and were not looked at yet
    _missing: Iterator[Sequence[Slot] | Task] = field(init=False)
    _held: frozenset[bytes] = field(init=False)  # grades that the store held when it began
    _distinct: Iterator[Sequence[Slot]] = field(init=False)
    _aside: ThreadPoolExecutor | None = None  # one thread, because other people's checks need not be safe for several

    def __post_init__(self) -> None:
        self.journal = self.store.journal()
        self._held = self.store.grade_names()
        self._distinct = _distinct(self.slots)
        self._ahead = Counter({_name(task): task.grader.name for task in self.first}.values())
        self.by_system = {name: Count() for name in self.planned}
        self.by_grader = {name: Count() for name in self.questions_each}
        self._missing = self._looked_through()

    # ------------------------------------------------------------ what is asked

    def jobs(self) -> Iterator[Job]:
        """Whatever the store lacks, in order. What it holds is counted in passing. Asked for again, it goes on where it was."""
        for one in self._missing:
            yield self._job(one) if isinstance(one, Task) else running.job(one[0], self.system(one[0].system), one)

    def _job(self, task: Task) -> Job:
        return grading.job(task, self.grader(task.grader.name))

    def _looked_through(self) -> Iterator[Sequence[Slot] | Task]:
        yield from self._questions(self.first)
        while planned := tuple(islice(self._distinct, AT_ONCE)):
            filled = running.fill([same[0] for same in planned], self.store)
            tasks: dict[tuple[str, str, int], list[Task]] = {}
            for task in grading.fill(self.tasks_of([slot for slot in filled if _answered(slot)]), self.store):
                tasks.setdefault((task.item.case_id, task.item.system, task.item.trial), []).append(task)
            for slot, same in zip(filled, planned, strict=True):
                if slot.response is None or (self.ask_again and slot.missing(retry_failed=self.retry_failed)):
                    yield same
                    continue
                self._count_response(same, slot.response.failure, stored=True)
                checks, questions = _parted(tasks.get((slot.case.id, slot.system, slot.trial), ()))
                self.arrived([running.shared(slot.response, one) for one in same], [self._marked(task) for task in checks])
                yield from self._questions(questions)

    def _questions(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Those whose grades are missing. One call serves all tasks of one name."""
        for task in tasks:
            name = _name(task)
            if name in self._known:
                continue
            self._known.add(name)
            grader = task.grader.name
            self._asked_of[grader] += 1
            if self._ahead[grader]:
                self._ahead[grader] -= 1
            if task.grade is None or (self.ask_again and task.missing(retry_failed=self.retry_failed)):
                yield task
            else:
                self._count_grade(grader, task.grade.failure, stored=True)

    # ------------------------------------------------------------ the ledger

    def asking(self, job: Job) -> None:
        """Notes that something is about to be sent."""
        self.journal.intent(job.key, job.what, job.name, time.time_ns())

    async def came(self, job: Job, outcome: Answer | Failure) -> Iterable[Job]:
        """Notes what came back, has a response marked by checks, and gives the questions that follow."""
        if job.what == "grade":
            grade, again = grading.read(job, outcome)
            self.journal.grade(grade)
            if again is not None:
                return (again,)
            self._count_grade(job.name, grade.failure)
            return ()
        same: Sequence[Slot] = job.payload
        slot = running.with_outcome(same[0], outcome, wave=self.wave)
        assert slot.response is not None
        self.journal.response(slot.response)
        self._count_response(same, slot.response.failure)
        checks, questions = _parted(self._looked_up(self.tasks_of([slot]))) if _answered(slot) else ([], [])
        marked = [task if task.grade or not grading.in_passing(task.grader) else self._marked(task) for task in checks]
        if slow := [task for task in marked if task.grade is None]:
            self._aside = self._aside or ThreadPoolExecutor(1, thread_name_prefix="fairmark-checks")
            made = await asyncio.get_running_loop().run_in_executor(self._aside, lambda: [grading.mark(task) for task in slow])
            for grade in made:
                self.journal.grade(grade)
            marked = [task for task in marked if task.grade] + [replace(task, grade=grade) for task, grade in zip(slow, made, strict=True)]
        self.arrived([running.shared(slot.response, one) for one in same] if len(same) > 1 else [slot], marked)
        return tuple(self._job(task) for task in self._questions(questions))

    async def kept(self) -> None:
        """Returns once all that was noted is durable."""
        await self.journal.kept()

    def close(self) -> None:
        """Ends the thread of slow checks."""
        if self._aside is not None:
            self._aside.shutdown(wait=False, cancel_futures=True)

    def _marked(self, task: Task) -> Task:
        """The task of a check with its mark, made and written down where the store has none."""
        if not task.missing(retry_failed=self.retry_failed):
            return task
        grade = grading.mark(task)
        self.journal.grade(grade)
        return Task(task.key, task.grader, task.item, task.repeat, grade)

    def _looked_up(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """The tasks of a new response with what the store held; it is not asked where it held nothing of such a name."""
        return grading.fill(tasks, self.store) if self._held and any(_name(task) in self._held for task in tasks) else tasks

    # ------------------------------------------------------------ how it stands

    def count_the_rest(self) -> None:
        """Counts what the store holds of what was not reached, after a run that ended early."""
        for _ in self._missing:
            pass

    def _count_response(self, same: Sequence[Slot], failure: Failure | None, *, stored: bool = False) -> None:
        for slot in same:
            self.responses.add(failure, stored=stored)
            self.by_system[slot.system].add(failure, stored=stored)
            if failure is not None and not stored:
                self.failures[failure.kind] += 1

    def _count_grade(self, grader: str, failure: Failure | None, *, stored: bool = False) -> None:
        self.grades.add(failure, stored=stored)
        self.by_grader[grader].add(failure, stored=stored)
        if failure is not None and not stored:
            self.failures[failure.kind] += 1

    def standing(self) -> tuple[int, int, int]:
        """How many responses and LLM grades are planned, how many are answered, and how many failed."""
        planned = sum(self.planned.values()) + sum(map(self.grades_planned, self.by_grader))
        return planned, self.responses.answered + self.grades.answered, self.responses.failed + self.grades.failed

    def grades_planned(self, grader: str) -> int:
        """How many grades a grader is to give, as far as that is known."""
        # grades of answers that are not there yet; what will be said may be the same, so that this is the most it can be
        unanswered = sum(self.planned.values()) - self.responses.answered
        return self._asked_of[grader] + self._ahead[grader] + unanswered * self.questions_each[grader]

    def progress(self, of_pool: Progress) -> Progress:
        """The pool's progress with what was planned, what the store held, and what became of answers that were read."""
        tabs = {(one.what, one.name): one for one in of_pool.headway}
        headway = [
            *(_headway(tabs, "response", name, self.planned[name], count) for name, count in self.by_system.items()),
            *(_headway(tabs, "grade", name, self.grades_planned(name), count) for name, count in self.by_grader.items()),
        ]
        return replace(
            of_pool,
            planned=sum(one.planned for one in headway),
            stored=sum(one.stored for one in headway),
            done=sum(one.done for one in headway),
            failed=sum(one.failed for one in headway),
            headway=tuple(one for one in headway if one.planned),
            failures=dict(self.failures),
            hypotheses=self.hypotheses(),
        )


def _headway(tabs: Mapping[tuple[What, str], Headway], what: What, name: str, planned: int, count: Count) -> Headway:
    return replace(
        tabs.get((what, name)) or Headway(name, what),
        planned=planned,
        stored=count.stored,
        done=count.answered - (count.stored - count.stored_failed),
        failed=count.failed - count.stored_failed,
    )


def _distinct(slots: Iterable[Slot]) -> Iterator[Sequence[Slot]]:
    """The slots of each case, those of one name together: two systems of one identity are asked once."""
    for _, of_case in groupby(slots, key=lambda slot: slot.case.id):
        by_key: dict[str, list[Slot]] = {}
        for slot in of_case:
            by_key.setdefault(slot.key, []).append(slot)
        yield from by_key.values()


def _answered(slot: Slot) -> bool:
    return slot.response is not None and slot.response.answer is not None


def _name(task: Task) -> bytes:
    """The first half of a key: 128 bits are enough to tell grades apart, and take little room."""
    return bytes.fromhex(task.key[:32])


def _parted(tasks: Iterable[Task]) -> tuple[list[Task], list[Task]]:
    """Tasks of checks, and those of graders that ask a model."""
    checks: list[Task] = []
    questions: list[Task] = []
    for task in tasks:
        (checks if task.grader.kind == "check" else questions).append(task)
    return checks, questions
