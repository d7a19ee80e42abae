"""The bench: the one module that knows every step, and the public Python API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from fairmark import __version__
from fairmark import grade as grading
from fairmark import run as running
from fairmark.errors import CannotDo, Mistake, Problem
from fairmark.graders import LlmGrader
from fairmark.records import Answer, Case, Grade, Grader, Message, Provider, Response, Slot, Task, digest, item_of
from fairmark.results import Analysis, Exhibit, StopRule, Trust
from fairmark.rubric import Rubric
from fairmark.study import Budget, GraderSpec, Hypothesis, ModelSpec, Part, Study, SystemSpec
from fairmark.workbench.asking import AT_ONCE, Asking, What
from fairmark.workbench.telling import Telling, Watch

if TYPE_CHECKING:
    from fairmark import audit as auditing
    from fairmark import people as peopling
    from fairmark import tuning as tuning_room
    from fairmark.analyse.early import Deciding, Early
    from fairmark.calls import Policy
    from fairmark.plan import Outlook
    from fairmark.store import Store
    from fairmark.table import Cell, Row, Table
    from fairmark.workbench.following import Following

T = TypeVar("T")
Connect = Callable[[SystemSpec | ModelSpec], Provider]
STORE = ".fairmark/store.db"
DECIDED = "every primary hypothesis is decided"


@dataclass(frozen=True, slots=True)
class Tally:
    """What one run did."""

    planned: int  # responses and LLM grades
    stored: int  # of them already in the store when it began
    calls: int  # requests sent, retries included
    answered: int
    failed: int
    pending: int  # not asked: the budget was used up or the run was stopped
    usd: float | None  # None: a call of unknown price was made
    seconds: float
    stopped: str = ""  # why it ended early


@dataclass(frozen=True, slots=True)
class Findings(Analysis):
    """An analysis that shows itself in a notebook and in print."""

    def _repr_html_(self) -> str:
        from fairmark import report

        return report.html_fragment(self)

    def __str__(self) -> str:
        lines = [self.question or self.study]
        for result in self.hypotheses:
            exploratory = ", exploratory" if result.exploratory else ""
            lines.append(f"{result.id} {result.verdict}{exploratory}: {result.text or result.on}")
            lines.append(f"    {result.estimate}")
            if result.next:
                lines.append(f"    next: {result.next}")
        if not self.hypotheses:
            lines += [f"{result.system} on {result.criterion}: {result.pass_rate}" for result in self.criteria]
        return "\n".join(lines)


class Workbench:
    """One study on the bench: the steps from plan to report as methods.

    `study` is a folder, a study file or a `Study`. `store` is the file to keep everything in (default:
    `.fairmark/store.db` beside the study; None with `memory=True` keeps nothing). `connect` replaces how systems and
    graders' models are reached, which is how recordings are replayed. `graders` adds graders made in Python; each needs
    a `GraderSpec` of its name in the study. `policy` says how long to wait for an answer and how often to try.
    """

    def __init__(
        self,
        study: Study | Path | str = ".",
        *,
        store: Path | str | None = None,
        memory: bool = False,
        wave: str = "1",
        env: Mapping[str, str] | None = None,
        connect: Connect | None = None,
        graders: Sequence[Grader] = (),
        policy: Policy | None = None,
    ) -> None:
        if isinstance(study, Study):
            self.study = study
        else:
            from fairmark import load

            self.study = load.study(Path(study))
        if env is None:
            from fairmark import load

            env = load.environment(self.study.folder)
        self.env = env
        self.wave = wave
        self.path = None if memory else Path(store) if store is not None else self.study.folder / STORE
        self._connect = connect
        self._own_graders = tuple(graders)
        self._policy = policy
        self._warnings: tuple[str, ...] = ()
        self._store: Store | None = None
        self._notify: Callable[[str], None] | None = None
        self._examples: tuning_room.Examples = {}

    # ------------------------------------------------------------ opening and closing

    @property
    def store(self) -> Store:
        """The store, opened when it is first needed."""
        if self._store is None:
            from fairmark.store import Store

            self._store = Store.open(self.path)
        return self._store

    def close(self) -> None:
        """Closes the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------ what is planned

    @cached_property
    def systems(self) -> Mapping[str, SystemSpec]:
        """The systems with their local models named by content."""
        from fairmark.providers import resolve

        return {
            name: spec if spec.model is None else replace(spec, model=resolve(spec.model, env=self.env, folder=self.study.folder))
            for name, spec in self.study.systems.items()
        }

    @property
    def graders(self) -> tuple[Grader, ...]:
        """One grader per criterion and rater, an LLM grader with the examples that it is shown now."""
        if not self._examples:
            return self._built
        from fairmark import tuning as tuning_room

        return tuning_room.shown(self._built, self._examples)

    @cached_property
    def _built(self) -> tuple[Grader, ...]:
        from fairmark import graders
        from fairmark.providers import resolve

        specs = {
            name: spec if spec.model is None else replace(spec, model=resolve(spec.model, env=self.env, folder=self.study.folder))
            for name, spec in self.study.graders.items()
        }
        made = {grader.name for grader in self._own_graders}
        return (*graders.build(replace(self.study, graders={n: s for n, s in specs.items() if n not in made})), *self._own_graders)

    @cached_property
    def _planned(self) -> tuple[Slot, ...]:
        return tuple(running.slots(self.study, self.systems, wave=self.wave))

    def slots(self) -> tuple[Slot, ...]:
        """Every planned response with what the store holds for it."""
        return running.fill(self._planned, self.store)

    def tasks(self, slots: Sequence[Slot], *, kind: str | None = None) -> tuple[Task, ...]:
        """Every grade of the answered responses, or those by one kind of grader, with what the store holds for it."""
        return grading.fill(self._tasks_of(slots, [grader for grader in self.graders if kind in (None, grader.kind)]), self.store)

    def _tasks_of(self, slots: Iterable[Slot], graders: Sequence[Grader]) -> tuple[Task, ...]:
        items = [item_of(slot.case, slot.response) for slot in slots if slot.response is not None and slot.response.answer is not None]
        return grading.tasks(items, graders, repeats=self._repeats)

    def _choose_examples(self) -> None:
        """Looks up which marked responses LLM graders are shown: people may have marked more of the train part since."""
        if self.study.tuning is not None and any(spec.examples for spec in self.study.graders.values()):
            from fairmark import tuning as tuning_room

            self._examples = tuning_room.examples(self._tabled(kind="human"))

    def _calibration(self) -> tuple[Task, ...]:
        """The LLM graders' grades of the recorded calibration set, with what the store holds for them."""
        if self.study.calibration is None:
            return ()
        planned = [
            task
            for entry in self.study.calibration.items
            for task in grading.tasks([entry.item], self.graders, repeats=lambda _: 1)
            if self._asks(task) and task.grader.criterion in entry.marks
        ]
        return grading.fill(planned, self.store)

    def model_tasks(self, slots: Sequence[Slot]) -> tuple[Task, ...]:
        """Every grade that a model is asked for: of the calibration set, and of these slots' answers."""
        return (*self._calibration(), *(task for task in self.tasks(slots, kind="llm") if self._asks(task)))

    def _asks(self, task: Task) -> bool:
        """Whether a model is asked for a grade; one that a model gave elsewhere is only read."""
        return self.study.graders[task.grader.name].kind == "llm"

    def _repeats(self, grader: Grader) -> int:
        return self.study.graders[grader.name].repeats

    # ------------------------------------------------------------ the steps

    def check(self) -> tuple[Problem, ...]:
        """What is worth improving in the files. Mistakes have already been raised when they were read."""
        from fairmark import load

        self._deciding()
        return load.lint(self.study)

    def plan(self) -> Outlook:
        """Calls, prices, who is sent what, what so many cases can show, and when it may stop. Nothing is sent."""
        from fairmark.analyse.early import stop_rules

        self._deciding()
        return self._outlook(stop_rules(self.study, seed=self.study.order_seed(self.wave)))

    def _outlook(self, stopping: Sequence[StopRule] = ()) -> Outlook:
        from fairmark import plan, providers

        models = {name: spec.model for name, spec in self.systems.items() if spec.model is not None}
        models |= {name: spec.model for name, spec in self.study.graders.items() if spec.model is not None}
        where = {name: providers.destination(spec, self.env) for name, spec in self.systems.items()}
        where |= {name: providers.destination(spec.model, self.env) for name, spec in self.study.graders.items() if spec.model is not None}
        self._choose_examples()
        slots = self.slots()
        tasks = (*self.tasks(slots), *self._calibration())
        return plan.outlook(self.study, slots, tasks, models=models, destinations=where, env=self.env, stopping=stopping)

    def run(self, watch: Watch | None = None, *, retry_failed: bool = False, budget: Budget | None = None) -> Tally:
        """Freezes the plan, asks for what is missing, has it marked, and stores every outcome."""
        return _wait(self.run_async(watch, retry_failed=retry_failed, budget=budget))

    async def run_async(self, watch: Watch | None = None, *, retry_failed: bool = False, budget: Budget | None = None) -> Tally:
        """`run` for callers that have an event loop already."""
        watch, budget = watch or Watch(), budget or self.study.budget
        self._notify = watch.notify
        self._known_hosts()
        deciding = self._deciding()
        with self.store.hold(self._run_name):  # from here on, so that a run that is refused changes nothing
            self.freeze()
            await asyncio.to_thread(self._choose_examples)
            await asyncio.to_thread(lambda: self._read_recorded(retry_failed=retry_failed))
            self._affordable(budget, self._outlook)
            slots = running.slots(self.study, self.systems, wave=self.wave)
            return await self._ask(slots, watch, budget, deciding=deciding, retry_failed=retry_failed)

    def _read_recorded(self, *, retry_failed: bool) -> None:
        """Has the responses of recorded systems made and marked, a few at a time."""
        recorded = {name: spec for name, spec in self.systems.items() if spec.kind == "recorded"}
        planned = running.slots(self.study, recorded, wave=self.wave)
        while some := tuple(islice(planned, AT_ONCE)) if recorded else ():
            slots = running.read_recorded(running.fill(some, self.store), self.store, wave=self.wave)
            grading.mark_at_once(self.tasks(slots, kind="check"), self.store, retry_failed=retry_failed)

    async def _ask(
        self,
        slots: Iterator[Slot],
        watch: Watch,
        budget: Budget,
        *,
        first: Sequence[Task] | None = None,
        deciding: Deciding | None = None,
        retry_failed: bool = False,
    ) -> Tally:
        """Asks for what is missing of these responses, of their grades, and of the grades that go first."""
        from fairmark import calls

        pool = _Pool(self)
        asking = self._asking(slots, pool, first=first, retry_failed=retry_failed)
        if deciding is not None:
            asking.hypotheses = lambda: {name: claim.state for name, claim in deciding.claims.items()}
        telling = Telling(watch, sum(asking.planned.values()))

        def arrived(slots: Sequence[Slot], marked: Sequence[Task]) -> None:
            if deciding is not None:
                for slot in slots:
                    deciding.arrived(self._row(slot, marked))
            telling.arrived(len(slots))

        asking.arrived = arrived
        try:
            done = await calls.perform(
                asking.jobs(),
                asking,
                concurrency=self.study.concurrency,
                limits=self.study.limits,
                policy=self._policy,
                budget=budget,
                progress=None if (told := watch.progress) is None else lambda of_pool: told(asking.progress(of_pool)),
                stop=watch.stop,
                needed=lambda job: deciding is None or not deciding.stop or job.what == "grade",
            )
            if done.stopped:
                asking.count_the_rest()
                await asking.kept()
            await telling.end()
        finally:
            asking.close()
            await pool.close()
        planned, answered, failed = asking.standing()
        return Tally(
            planned=planned,
            stored=asking.responses.stored + asking.grades.stored,
            calls=done.calls,
            answered=answered,
            failed=failed,
            pending=planned - answered - failed,
            usd=done.usd,
            seconds=done.seconds,
            stopped="" if answered + failed == planned else DECIDED if deciding is not None and deciding.stop else done.stopped,
        )

    def _asking(
        self, slots: Iterator[Slot], pool: _Pool, *, first: Sequence[Task] | None = None, retry_failed: bool = False, asks: bool = True
    ) -> Asking:
        """The ledger of a run; with `asks` false, of one that only counts what the store holds."""
        of_each = len(self.study.cases) * self.study.trials
        # recorded marks, by people and by models, are looked up whenever a table is made
        marking = [one for one in self.graders if self.study.graders[one.name].kind == "llm" or (asks and one.kind == "check")]
        return Asking(
            store=self.store,
            wave=self.wave,
            planned=dict.fromkeys(self.systems, of_each) if first is None else {},
            slots=slots,
            first=self._calibration() if first is None else first,
            tasks_of=lambda some: self._tasks_of(some, marking),
            questions_each={
                name: sum(self._repeats(grader) for grader in self.graders if grader.name == name)
                for name, spec in self.study.graders.items()
                if spec.kind == "llm"
            },
            system=pool.system,
            grader=pool.grader,
            retry_failed=retry_failed,
            ask_again=asks,
        )

    def following(self) -> Following:
        """How a run of this study stands that goes on in another process, as the store says. Nothing is asked or written."""
        from fairmark.workbench.following import Following

        def count() -> Asking:
            self._choose_examples()
            return self._asking(running.slots(self.study, self.systems, wave=self.wave), _Pool(self), asks=False)

        def asked(what: What, name: str) -> bool:
            return what == "grade" or self.systems[name].kind != "recorded"

        return Following(self.store, self._run_name, self.wave, count=count, asked=asked)

    @property
    def _run_name(self) -> str:
        """What the store is told that a run does while it holds it."""
        return f"run of {self._plan_name}"

    def _deciding(self) -> Deciding | None:
        """Whoever says when a run has asked enough; None where every case is asked. `CannotDo` where it could never say so."""
        if self.study.plan.stop != "when-decided":
            return None
        from fairmark.analyse.early import Deciding, check_early

        seed = self.study.order_seed(self.wave)
        check_early(self.study, seed=seed)
        return Deciding(self.study, seed=seed)

    def _row(self, slot: Slot, marked: Sequence[Task]) -> Row:
        """A response with the marks that are there with it: what checks say, and what people said of it elsewhere."""
        from fairmark.table import Row

        people = [grader for grader in self.graders if grader.kind == "human"]
        told = grading.mark_at_once(grading.fill(self._tasks_of([slot], people), self.store), self.store) if people else ()
        return Row(slot.case, slot.system, slot.trial, slot.response, tuple(_cell(task) for task in (*marked, *told)))

    def freeze(self) -> str:
        """Records the plan as it is now, before anything is asked. Returns the receipt of the frozen plan."""
        from fairmark.study import receipt

        document = self.study.document()
        self.store.freeze(self._plan_name, digest(document), document, time.time_ns(), __version__)
        return receipt(self.store.plans(self._plan_name)[0].fingerprint)

    @property
    def _plan_name(self) -> str:
        return f"{self.study.name}@{self.wave}"

    def table(self) -> Table:
        """All planned responses with all their marks. Checks and recorded marks that are missing are made now."""
        self._choose_examples()
        return self._tabled()

    def _tabled(self, *, kind: str | None = None, words: bool = True) -> Table:
        """The table, or of it the marks of one kind of grader, without how responses were drawn for people.

        Without `words` it is silent: see `_Silent`.
        """
        from fairmark.table import Table

        planned = running.slots(self.study, self.systems, wave=self.wave)
        rows: list[Row] = []
        silent = None if words else _Silent()
        while some := tuple(islice(planned, AT_ONCE)):
            rows += self._rows(running.fill(some, self.store), kind=kind, silent=silent)
        if self.study.people is None:
            return Table(self.study, tuple(rows))
        from fairmark import people as peopling

        slots = self.slots()
        assignments = self.store.people.assignments(self._plan_name)
        said = peopling.said_of(self.store.people.acts(self._plan_name))
        marked = peopling.cells(self.study, slots, assignments, said, self.store)
        ready = peopling.eligible(slots) if kind is None else ()
        strata = peopling.strata_of(self.study, ready, self._verdicts(slots))
        return Table(
            self.study,
            tuple(replace(row, cells=(*row.cells, *marked.get((row.case.id, row.system, row.trial), ()))) for row in rows),
            peopling.drawn(strata, assignments, ready),
        )

    def _rows(self, slots: Sequence[Slot], *, kind: str | None, silent: _Silent | None) -> list[Row]:
        """A row of each slot, with the marks that are there or can be made at once."""
        from fairmark.table import Row

        cells: dict[tuple[str, str, int], list[Cell]] = {}
        for task in grading.mark_at_once(self.tasks(slots, kind=kind), self.store):
            where = (task.item.case_id, task.item.system, task.item.trial)
            cells.setdefault(where, []).append(_cell(task) if silent is None else silent.cell(task))
        return [
            Row(
                slot.case,
                slot.system,
                slot.trial,
                slot.response if silent is None else silent.response(slot),
                tuple(cells.get((slot.case.id, slot.system, slot.trial), ())),
            )
            for slot in slots
        ]

    # ------------------------------------------------------------ people

    def assign(self, *, share: float | None = None) -> peopling.Draw:
        """Draws the responses that people are still to mark, and notes who marks them. `share` overrides the study's."""
        from fairmark import people as peopling

        self._choose_examples()
        slots = self.slots()
        rows = self.store.people
        said = peopling.said_of(rows.acts(self._plan_name))
        drawn = peopling.draw(
            self.study,
            slots,
            rows.assignments(self._plan_name),
            name=self._plan_name,
            at=time.time_ns(),
            begun=said,
            verdicts=self._verdicts(slots),
            share=share,
        )
        rows.assign(drawn.assignments)
        return drawn

    def desk(self) -> peopling.Desk:
        """The marking page's side of the study: what each person is shown, says and takes back."""
        from fairmark import people as peopling

        return peopling.Desk(self.study, self.store, self._plan_name, self.slots)

    def adjudication(self) -> peopling.Adjudication:
        """The disagreements between people, and their settlement."""
        from fairmark import people as peopling

        return peopling.Adjudication(self.study, self.store, self._plan_name, self.slots)

    def notes(self) -> peopling.Coding:
        """The field notes and the codes they are sorted into."""
        from fairmark import people as peopling

        return peopling.Coding(self.study, self.store, self._plan_name, self.slots)

    def export_marks(self, path: Path | str) -> int:
        """Writes the marks that people gave at the page, and that stand, as a CSV of recorded marks. Returns how many."""
        from fairmark import people as peopling

        return peopling.write_marks(peopling.export_marks(self.table()), Path(path))

    def overview(self) -> peopling.Overview:
        """How far the marking is, for those who run it."""
        from fairmark import people as peopling

        rows, name, slots = self.store.people, self._plan_name, self.slots()
        return peopling.overview(self.study, self.desk(), slots, rows.assignments(name), rows.acts(name), self.table())

    def _verdicts(self, slots: Sequence[Slot]) -> dict[peopling.Where, peopling.Verdict]:
        """What the first LLM grader says on the criterion of the strata, where the study asks for strata."""
        from fairmark import people as peopling

        people = self.study.people
        if people is None or people.strata is None:
            return {}
        names = self.study.rubric[people.strata].level_names()
        found: dict[peopling.Where, peopling.Verdict] = {}
        for task in self.tasks(slots, kind="llm"):
            place = (task.item.case_id, task.item.system, task.item.trial)
            if task.grader.criterion == people.strata and task.grade is not None and task.grade.label in names and place not in found:
                found[place] = peopling.Verdict(names.index(task.grade.label), task.grade.confidence)
        return found

    def calibrate(self, on: Part = "test") -> tuple[Trust, ...]:
        """How far each LLM grader's marks are borne out by other marks on the same answers.

        Where the study sets cases apart for tuning it is measured on the test part, which is noted as a look, or on
        another part, which is not. `Mistake` where no part is set apart.
        """
        from fairmark import calibrate as calibrating

        self._parted(on)
        table = self.table()
        receipts = calibrating.trust(self.study, _of_part(table, on), self._calibration(), receipts=True)
        return _with_tuning(receipts, self._tuned(table)) if on == "test" else receipts

    def mark_part(self, on: Part, watch: Watch | None = None, *, budget: Budget | None = None) -> Tally:
        """Asks LLM graders for what is missing on the answers of one part: a prompt is tried on dev before it marks everything."""
        return _wait(self.mark_part_async(on, watch, budget=budget))

    async def mark_part_async(self, on: Part, watch: Watch | None = None, *, budget: Budget | None = None) -> Tally:
        """`mark_part` for callers that have an event loop already."""
        self._parted(on)
        watch, budget = watch or Watch(), budget or self.study.budget
        self._notify = watch.notify
        await asyncio.to_thread(self._choose_examples)
        slots = [slot for slot in await asyncio.to_thread(self.slots) if self.study.part(slot.case) == on]
        tasks = await asyncio.to_thread(lambda: [task for task in self.tasks(slots, kind="llm") if self._asks(task)])
        return await self._asked(tasks, watch, budget)

    async def _asked(self, tasks: Sequence[Task], watch: Watch, budget: Budget) -> Tally:
        """Asks LLM graders for those of the grades that are missing, within the budget."""
        from fairmark import plan

        self._affordable(budget, lambda: plan.outlook(self.study, (), tasks, models={}, destinations={}, env=self.env))
        with self.store.hold(f"marking for {self._plan_name}"):
            return await self._ask(iter(()), watch, budget, first=tasks)

    def _parted(self, on: Part) -> None:
        """`Mistake` for a part where the study has none."""
        if on != "test" and self.study.tuning is None:
            raise Mistake.in_call(
                f"the study sets no cases apart as `{on}`", remedy="add `tuning: {train: 20%, dev: 30%}` to study.yaml before you tune"
            )

    def tuned(self) -> tuple[tuning_room.Tuned, ...]:
        """What tuning has to do with each LLM grader's receipt; nothing where the study sets no part of the cases apart."""
        return self._tuned(self.table())

    def _tuned(self, table: Table) -> tuple[tuning_room.Tuned, ...]:
        """The same of a table. A look at the test labels by a grader that did not look yet is noted for good."""
        if self.study.tuning is None:
            return ()
        from fairmark import tuning as tuning_room

        rows = self.store.people
        before = rows.acts(self._plan_name, kinds=["look"])
        known = {act.id for act in before}
        looks = tuning_room.looks(table, self.graders, name=self._plan_name, at=time.time_ns())
        new = [act for act in looks if act.id not in known]
        for posted in [rows.post(act) for act in new if not self.store.read_only]:
            posted.result()
        return tuning_room.tuned(table, self.graders, self._examples, tuning_room.counted([*before, *new]))

    def audit_plans(
        self,
        grader: str | None = None,
        criterion: str | None = None,
        experiments: Sequence[str] | None = None,
        *,
        cases: int | None = None,
        families: Mapping[str, str] | None = None,
    ) -> tuple[auditing.AuditPlan, ...]:
        """What an audit of each LLM grader, or of the named one, would ask, with what the store holds of it. Nothing is sent."""
        from fairmark import audit as auditing

        table = self.table()
        names = [name for name, spec in self.study.graders.items() if spec.kind == "llm"]
        if grader is not None and grader not in names:
            raise Mistake.in_call(f"there is no LLM grader `{grader}`", allowed=", ".join(names))
        if criterion is not None and criterion not in self.study.rubric:
            raise Mistake.in_call(f"there is no criterion `{criterion}`", allowed=", ".join(known.id for known in self.study.rubric))
        plans = []
        for name in names if grader is None else [grader]:
            judges = [
                judge
                for judge in self.graders
                if isinstance(judge, LlmGrader) and judge.name == name and criterion in (None, judge.criterion)
            ]
            if judges:
                made = auditing.plan(
                    table,
                    judges,
                    experiments=experiments,
                    cases=auditing.CASES if cases is None else cases,
                    seed=self.study.name,
                    families=families,
                )
                plans.append(made.filled(grading.fill(made.tasks, self.store)))
        return tuple(plans)

    def audit(
        self,
        grader: str | None = None,
        criterion: str | None = None,
        experiments: Sequence[str] | None = None,
        *,
        cases: int | None = None,
        families: Mapping[str, str] | None = None,
        watch: Watch | None = None,
        budget: Budget | None = None,
    ) -> tuple[auditing.AuditReport, ...]:
        """What planned experiments find about each LLM grader. Asks for what is missing and stores every outcome."""
        return _wait(self.audit_async(grader, criterion, experiments, cases=cases, families=families, watch=watch, budget=budget))

    async def audit_async(
        self,
        grader: str | None = None,
        criterion: str | None = None,
        experiments: Sequence[str] | None = None,
        *,
        cases: int | None = None,
        families: Mapping[str, str] | None = None,
        watch: Watch | None = None,
        budget: Budget | None = None,
    ) -> tuple[auditing.AuditReport, ...]:
        """`audit` for callers that have an event loop already."""
        from fairmark import audit as auditing

        watch, budget = watch or Watch(), budget or self.study.budget
        self._notify = watch.notify
        plans = await asyncio.to_thread(lambda: self.audit_plans(grader, criterion, experiments, cases=cases, families=families))
        await self._asked([task for made in plans for task in made.tasks], watch, budget)
        table = await asyncio.to_thread(self.table)
        return tuple(auditing.read(made.filled(grading.fill(made.tasks, self.store)), table) for made in plans)

    def analyse(self) -> Findings:
        """What the evidence supports so far."""
        self._choose_examples()
        return self._analyse(self._tabled(words=self.study.tuning is not None))

    def _analyse(self, table: Table) -> Findings:
        from fairmark import analyse as analysing
        from fairmark import calibrate as calibrating

        plans = self.store.plans(self._plan_name)
        frozen = analysing.Frozen(plans[0].document, plans[0].fingerprint, plans[0].frozen_at) if plans else None
        tuned = self._tuned(table)
        trust = _with_tuning(calibrating.trust(self.study, _of_part(table, "test"), self._calibration()), tuned)
        warnings = (*self._warnings, *(one for of in tuned for one in of.sentences if of.looks > 1 or one != of.say))
        analysis = analysing.analyse(
            table, trust=trust, frozen=frozen, wave=self.wave, at=time.time_ns(), warnings=warnings, head=self.store.head()
        )
        return Findings(**{part.name: getattr(analysis, part.name) for part in fields(analysis)})

    def early(self) -> Early:
        """What stands decided by the answers so far, however often this is asked, in a random order that the study and wave fix."""
        from fairmark.analyse.early import early

        # the order in which `run` asks for cases, so that little has to wait for what is still pending
        return early(self.table(), seed=self.study.order_seed(self.wave))

    def exhibits(self) -> tuple[Exhibit, ...]:
        """Every response with its marks, as the report shows them."""
        from fairmark import analyse as analysing

        return analysing.exhibits(self.table())

    def report(self, path: Path | str = "report.html") -> Path:
        """Writes the report; `.html`, `.md` or `.json` by its ending. Returns the path."""
        from fairmark import analyse as analysing
        from fairmark import report

        table = self.table()
        return report.write(Path(path), self._analyse(table), analysing.exhibits(table))

    def forget(self, case_id: str) -> int:
        """Removes a case's texts from the store for good. Returns how many records were emptied."""
        return self.store.forget(case_id)

    # ------------------------------------------------------------ reaching systems

    def connect(self, spec: SystemSpec | ModelSpec) -> Provider:
        """The provider that answers for a system or a model."""
        if self._connect is not None:
            return self._connect(spec)
        from fairmark import providers

        if isinstance(spec, ModelSpec):
            return providers.connect_model(spec, env=self.env, folder=self.study.folder, notify=self._notify)
        return providers.connect(spec, env=self.env, folder=self.study.folder, notify=self._notify)

    def _known_hosts(self) -> None:
        """`Mistake` for limits of a host that nothing is sent to."""
        if self.study.limits:
            from fairmark.providers import destination

            models = [spec.model for spec in self.study.graders.values() if spec.model is not None]
            endpoints: list[SystemSpec | ModelSpec] = [*self.systems.values(), *models]
            hosts = {destination(spec, self.env).host for spec in endpoints}
            if unknown := [host for host in self.study.limits if host not in hosts]:
                raise Mistake.in_call(
                    f"`limits` names {', '.join(f'`{host}`' for host in unknown)}, and nothing is sent there",
                    allowed=", ".join(sorted(hosts)),
                )

    def _affordable(self, budget: Budget, outlook_of: Callable[[], Outlook]) -> None:
        """Refuses a money cap where a price is unknown, before anything is spent."""
        if budget.usd is None:
            return
        outlook = outlook_of()
        if outlook.unpriced:
            raise CannotDo(
                "UNKNOWN_PRICE",
                f"the price of {', '.join(outlook.unpriced)} is unknown, so a budget of {budget.usd} USD cannot be kept",
                "set `budget: {calls: ...}` instead",
            )
        if outlook.usd_at_least is not None and outlook.usd_at_least > budget.usd:
            raise CannotDo(
                "OVER_BUDGET",
                f"it costs at least {outlook.usd_at_least:.4f} USD, and the budget is {budget.usd} USD",
                "raise the budget, or take fewer cases",
            )


def _cell(task: Task) -> Cell:
    """A task as the table holds it."""
    from fairmark.table import Cell

    grader = task.grader
    return Cell(grader.name, grader.kind, grader.criterion, grader.rater, task.repeat, task.grade)


class _Silent:
    """Rows and cells without the words of answers and reasons and without their names, which take most of the room and decide nothing.

    Marks that are alike, as most of a check's are, are one and the same cell.
    """

    def __init__(self) -> None:
        self._alike: dict[tuple[Any, ...], Cell] = {}

    def cell(self, task: Task) -> Cell:
        cell, grade = _cell(task), task.grade
        if grade is None:
            return cell
        said = (grade.label, grade.failure, grade.confidence, grade.seconds)
        alike = (cell.grader, cell.criterion, cell.rater, cell.repeat, said) if grade.answer is None else None
        found = self._alike.get(alike) if alike is not None else None
        if found is None:
            mute = Grade("", "", grade.criterion, grade.grader, grade.rater, grade.repeat, grade.label, grade.failure)
            found = replace(cell, grade=replace(mute, confidence=grade.confidence, answer=_silent(grade.answer), seconds=grade.seconds))
            if alike is not None:
                self._alike[alike] = found
        return found

    def response(self, slot: Slot) -> Response | None:
        said = slot.response
        if said is None:
            return None
        return Response("", slot.case.id, slot.system, slot.trial, said.wave, _silent(said.answer), said.failure)


def _silent(answer: Answer | None) -> Answer | None:
    """An answer with what it cost and without what it said."""
    return None if answer is None else Answer("", answer.finish, answer.model, answer.usage, answer.cost_usd, answer.seconds)


def _with_tuning(receipts: Sequence[Trust], tuned: Sequence[tuning_room.Tuned]) -> tuple[Trust, ...]:
    """The receipts with what tuning has to do with each."""
    said = {(of.grader, of.criterion): of.sentences for of in tuned}
    return tuple(replace(one, tuning=said.get((one.grader, one.criterion), ())) for one in receipts)


def _of_part(table: Table, part: Part) -> Table:
    """The table of the cases of one part; the table itself where none is set apart."""
    if table.study.tuning is None:
        return table
    return replace(table, rows=tuple(row for row in table.rows if table.study.part(row.case) == part))


class _Pool:
    """Providers made once, when they are first needed, and closed together."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._made: dict[tuple[str, str], Provider] = {}

    def system(self, name: str) -> Provider:
        return self._get("system", name, lambda: self._bench.connect(self._bench.systems[name]))

    def grader(self, name: str) -> Provider:
        spec = self._bench.study.graders[name].model
        assert spec is not None
        return self._get("grader", name, lambda: self._bench.connect(spec))

    def _get(self, what: str, name: str, make: Callable[[], Provider]) -> Provider:
        if (what, name) not in self._made:
            self._made[what, name] = make()
        return self._made[what, name]

    async def close(self) -> None:
        for provider in self._made.values():
            await provider.close()


def _wait(work: Coroutine[Any, Any, T]) -> T:
    """Runs to the end from plain code, in a notebook too, where a loop is already running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


# ---------------------------------------------------------------- doors without a study file


Marker = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One of the shipped checks with what it looks for."""

    kind: str
    value: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)


def check(kind: str, value: Any = None, **options: Any) -> Check:
    """A shipped check for `mark`, such as `check("contains", "30 days", ignore_case=True)`."""
    return Check(kind, value, options)


def mark(
    answers: Sequence[str] | Mapping[str, Sequence[str]],
    rubric: Rubric,
    graders: Mapping[str, Check | Marker | str],
    *,
    inputs: Sequence[str] | None = None,
    expected: Sequence[str] | None = None,
    expect: Sequence[Hypothesis] = (),
    question: str = "",
    env: Mapping[str, str] | None = None,
) -> Findings:
    """The findings about a list of answers, or about several systems' answers to the same inputs.

    `graders` says for each criterion who marks it: a `check`, a Python function of the answer (returning bool, number,
    label or {pass, score, label, reason}), or the name of a model such as `openai/gpt-x`. `expect` are hypotheses; they
    count as declared beforehand, because nothing here can prove otherwise.
    """
    by_system = {"answers": list(answers)} if not isinstance(answers, Mapping) else {name: list(given) for name, given in answers.items()}
    count = len(next(iter(by_system.values()), []))
    problems = [f"system `{name}` has {len(given)} answers" for name, given in by_system.items() if len(given) != count]
    problems += [
        f"`{name}` holds {len(given)} entries"
        for name, given in (("inputs", inputs), ("expected", expected))
        if given and len(given) != count
    ]
    problems += [f"`{name}` is no criterion of the rubric" for name in graders if name not in rubric]
    if count == 0:
        problems.append("there are no answers")
    if problems:
        raise Mistake(Problem("mark()", None, None, found, f"{count} for each, and criteria of the rubric") for found in problems)
    from fairmark import graders as grading_room

    specs: dict[str, GraderSpec] = {}
    own: list[Grader] = []
    for criterion, how in graders.items():
        name = f"{criterion} check"
        if isinstance(how, Check):
            specs[name] = GraderSpec(name, "check", (criterion,), check=how.kind, value=how.value, options=how.options)
        elif isinstance(how, str):
            provider, _, model = how.replace(":", "/", 1).partition("/")
            specs[how] = GraderSpec(how, "llm", (criterion,), model=ModelSpec(provider, model, {"temperature": 0}))
        else:
            specs[name] = GraderSpec(name, "check", (criterion,), check="python")
            own.append(grading_room.from_function(name, rubric[criterion], how))
    ids = [str(number) for number in range(1, count + 1)]
    cases = tuple(
        Case(
            id=case_id,
            input=(Message("user", inputs[place] if inputs else "(not given)"),),
            expected=expected[place] if expected else None,
        )
        for place, case_id in enumerate(ids)
    )
    systems = {
        name: SystemSpec(
            name, "recorded", recorded={(ids[place], 1): text for place, text in enumerate(given)}, recorded_from="a list in Python"
        )
        for name, given in by_system.items()
    }
    study = Study("answers", question, Path(), cases, systems, rubric, specs, tuple(expect))
    with Workbench(study, memory=True, env=env, graders=own) as bench:
        bench.run()
        return bench.analyse()


def analyse_table(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    better: str | None = None,
    than: str | None = None,
    by: float = 0.0,
    on: str | None = None,
) -> Workbench:
    """A bench that holds a bare table of marks, ready for `analyse` and `report`. Nothing is asked of anybody.

    `columns` says which column plays which role (case, system, trial, criterion, rater, label, cluster); common names
    are recognised. `better`, `than`, `by` and `on` make one hypothesis.
    """
    from fairmark import load

    table = load.bare_table(Path(path), dict(columns or {}))
    study = load.study_from_table(table)
    if (better is None) != (than is None):
        raise Mistake.in_call("--better and --than go together", remedy="name both systems")
    if better is not None and than is not None:
        for name in (better, than):
            if name not in study.systems:
                raise Mistake.in_call(f"there is no system `{name}` in {path}", allowed=", ".join(study.systems))
        target = on if on is not None else study.rubric.criteria[0].id if len(study.rubric.criteria) == 1 else "score"
        text = f"{better} is better than {than} on {target}" + (f" by at least {by:g}" if by else "")
        study = replace(study, hypotheses=(Hypothesis("H1", "better", better, target, text, than, by, primary=True),))
    bench = Workbench(study, memory=True, env={})
    bench._warnings = tuple(
        f"Several cases share a value of “{column}”. If they belong together, say --column cluster={column}: "
        "without it the ranges are too narrow."
        for column in table.cluster_suspects
        if study.cluster is None
    )
    bench.run()
    return bench


def recorded_demo(folder: Path) -> Workbench:
    """The shipped study on the shipped recording, in a store of its own so that it never mixes with live answers."""
    from importlib import resources

    from fairmark import providers

    recording = (resources.files("fairmark") / "demo" / "recording.jsonl").read_bytes()
    replay = providers.Replay(providers.read_recording(recording))
    return Workbench(folder, store=folder / ".fairmark" / "recorded.db", env={}, connect=lambda _: replay)
