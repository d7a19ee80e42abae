"""One person at the marking page: what is shown, what is said, what is taken back. Everything is an act, and no act is lost."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fairmark.errors import CannotDo, Mistake
from fairmark.graders import PersonGrader, fields_shown
from fairmark.people.marks import UNDOABLE, Note, Said, State, fold, last_done, last_undone, said_of
from fairmark.records import Act, Assignment, Failure, Grade, Item, Json, Slot, Span, digest, grade_key, item_of
from fairmark.rubric import CANNOT_TELL, NOT_COVERED, Criterion
from fairmark.store import Posted, Store
from fairmark.study import People, Study

LONGEST = 20_000  # characters of a reason or a note
MOST_QUOTES = 50
LONGEST_MARK = 24 * 3600.0  # seconds; a page left open overnight is no day's work

EARLY = ("training", "together")  # before everybody's own responses

Status = Literal["open", "later", "done"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one person is."""

    person: str
    assigned: int  # responses given out to this person so far, training and hidden repeats included
    done: int
    waiting: int  # given out, and held back until an owner opens the next stage
    stage: Literal["training", "together", "work"]  # where the next open response stands


@dataclass(frozen=True, slots=True)
class Pane:
    """One response as one person sees it. Nothing in it names a system, a grader or another person."""

    id: str  # of the assignment
    version: int  # acts on it; sent back with the next act, so that a second window cannot overwrite
    fields: Mapping[str, Json]  # what the study shows of the case, by name
    output: str
    said: Mapping[str, Said]  # this person's present marks, by criterion
    notes: tuple[Note, ...]  # this person's field notes
    status: Status
    known: Mapping[str, str]  # the known marks of a training item, once it is marked


@dataclass(frozen=True, slots=True)
class View:
    """What stands on the marking page: one response, or two side by side."""

    panes: tuple[Pane, ...]
    training: bool
    place: int  # of the open ones or those done: its number in the person's order, from 1
    before: str | None  # id of the response before it
    after: str | None
    can_undo: bool
    can_redo: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an act."""

    posted: Posted
    pane: Pane  # as it stands now
    progress: Progress
    assignment: str = ""  # where the act was done: the page goes there after an undo


@dataclass(slots=True)
class _Book:
    """One person's assignments in their order, and what stands in each."""

    order: list[Assignment]
    by_id: dict[str, Assignment]
    partners: dict[str, list[Assignment]]  # of a pair, left first
    status: dict[str, Status] = field(default_factory=dict)
    place: dict[str, int] = field(default_factory=dict)


class Desk:
    """The marking of one study and wave. It may be used from any thread.

    `slots` gives the planned responses with their answers as the store holds them now; it is asked again when
    assignments have come in.
    """

    def __init__(self, study: Study, store: Store, name: str, slots: Callable[[], Sequence[Slot]]) -> None:
        if study.people is None:
            raise CannotDo("NO_PEOPLE", "the study does not say who marks", "add `people: {roster: [...]}` to study.yaml")
        self.study, self.store, self.name = study, store, name
        self.people: People = study.people
        self._slots = slots
        self._turn = threading.RLock()
        self._items: dict[str, Item] = {}  # by key of the response
        self._assigned = -1
        self._books: dict[str, _Book] = {}
        self._keys: dict[tuple[str, str], str] = {}  # of the grade that an assignment makes on a criterion
        self._training = {entry.item.case_id: entry for entry in self.people.training.items} if self.people.training else {}
        self._opened: bool | None = None
        self._criteria = tuple(study.rubric[name] for name in self.people.criteria)

    # ------------------------------------------------------------ looking

    def look_up(self) -> None:
        """Reads what the first visits need, so that nobody waits for it, however many come at once."""
        for person in self.people.roster:
            with self._turn:
                self._book(person)

    def progress(self, person: str) -> Progress:
        """How far a person is."""
        with self._turn:
            return self._progress(person, self._book(person))

    def next_open(self, person: str) -> str | None:
        """Id of the first response that is not marked yet: those put off come last. None: all are done."""
        with self._turn:
            book = self._book(person)
            for wanted in ("open", "later"):
                for one in self._given_out(book):
                    if book.status[one.id] == wanted:
                        return one.id
            return None

    def view(self, person: str, assignment: str) -> View:
        """The page of one assignment. `CannotDo` where it is not this person's, or its response has changed since."""
        with self._turn:
            book = self._book(person)
            one = self._mine(book, assignment)
            shown = self._given_out(book)
            at = book.place[one.id]
            firsts = [other for other in shown if not other.pair or other.side == 0]
            lead = book.partners[one.pair][0] if one.pair else one
            spot = next(number for number, other in enumerate(firsts) if other.id == lead.id)
            group = book.partners[one.pair] if one.pair else [one]
            panes = tuple(self._pane(book, member, self.store.people.acts_on(self.name, member.id)) for member in group)
            return View(
                panes,
                one.kind == "training",
                at,
                firsts[spot - 1].id if spot > 0 else None,
                firsts[spot + 1].id if spot + 1 < len(firsts) else None,
                last_done(self._acts(person)) is not None,
                last_undone(self._acts(person)) is not None,
            )

    def item(self, assignment: Assignment) -> Item | None:
        """What an assignment is about; None where the response has changed since."""
        if assignment.kind == "training":
            entry = self._training.get(assignment.response)
            return entry.item if entry is not None else None
        return self._items.get(assignment.response)

    # ------------------------------------------------------------ marking

    def mark(
        self,
        person: str,
        assignment: str,
        act: str,
        *,
        criterion: str,
        label: str | None,
        reason: str = "",
        evidence: Sequence[Mapping[str, Json]] = (),
        seconds: float | None = None,
        base: int | None = None,
    ) -> Done:
        """Stores what a person says on one criterion, all of it at once; a label of None takes an earlier one back.

        `act` is an id that the sender made up: sending it again does nothing more. `base` is the version the sender knows.
        `evidence` are quotes with `start` and `end` in characters of the raw response. `Mistake` where something is not allowed.
        """
        one, item = self._to_act_on(person, assignment)
        on = self._criterion(criterion)
        said = self._checked(on, item, label, reason, evidence, seconds)
        return self._say(person, one, item, act, "mark", {criterion: said}, {}, base)

    def skip(self, person: str, assignment: str, act: str, *, reason: str = "", base: int | None = None) -> Done:
        """Puts a response to the end of the person's order."""
        one, item = self._to_act_on(person, assignment)
        if len(reason) > LONGEST:
            raise Mistake.in_call(f"the reason has {len(reason)} characters", allowed=f"{LONGEST} at most")
        return self._say(person, one, item, act, "skip", {}, {"reason": reason, "later": True}, base)

    def note(
        self,
        person: str,
        assignment: str,
        act: str,
        *,
        note: str,
        text: str,
        span: Mapping[str, Json] | None = None,
        base: int | None = None,
    ) -> Done:
        """Stores a field note under an id that the sender made up; an empty text takes it back."""
        one, item = self._to_act_on(person, assignment)
        proper_id(note)
        if len(text) > LONGEST:
            raise Mistake.in_call(f"the note has {len(text)} characters", allowed=f"{LONGEST} at most", remedy="shorten it")
        written = Note(note, text.strip(), _span(span, item) if span is not None else None)
        return self._say(person, one, item, act, "note", {}, {"note": written.document()}, base)

    def undo(self, person: str, act: str) -> Done | None:
        """Takes the person's last act back, wherever it was done; None where there is nothing to take back."""
        if (done := self._repeated(person, act, "undo")) is not None:
            return done
        target = last_done(self._acts(person))
        return None if target is None else self._again(person, act, "undo", target)

    def redo(self, person: str, act: str) -> Done | None:
        """Does the act again that was taken back last; None where there is none, or something else was done since."""
        if (done := self._repeated(person, act, "redo")) is not None:
            return done
        target = last_undone(self._acts(person))
        return None if target is None else self._again(person, act, "redo", target)

    def open_work(self, owner: str) -> None:
        """Lets people go on from the responses that all mark to their own."""
        done = Act(str(uuid.uuid4()), self.name, owner, "open", {"stage": "work"}, at=time.time_ns())
        self.store.people.post(done).result()
        with self._turn:
            self._opened = True

    @property
    def work_is_open(self) -> bool:
        """Whether people may go on to their own responses."""
        if self._opened is None:
            self._opened = self.people.together == 0 or bool(self.store.people.acts(self.name, kinds=["open"]))
        return self._opened

    # ------------------------------------------------------------ inside

    def _progress(self, person: str, book: _Book) -> Progress:
        shown = self._given_out(book)
        done = sum(book.status[one.id] == "done" for one in shown)
        ahead = next((one for one in shown if book.status[one.id] != "done"), None)
        stage: Literal["training", "together", "work"] = "work"
        if ahead is not None and ahead.kind in EARLY:
            stage = "training" if ahead.kind == "training" else "together"
        return Progress(person, len(shown), done, len(book.order) - len(shown), stage)

    def _repeated(self, person: str, act: str, kind: Literal["undo", "redo"]) -> Done | None:
        """What an undo or redo did that was sent before, because its answer was lost: nothing more is done."""
        sent = next((one for one in self._acts(person)(None) if one.id == act), None)
        if sent is None:
            return None
        one, item = self._to_act_on(person, sent.assignment)
        return self._say(person, one, item, act, kind, {}, {}, None)

    def _again(self, person: str, act: str, kind: Literal["undo", "redo"], target: Act) -> Done:
        one, item = self._to_act_on(person, target.assignment)
        before = [done for done in self.store.people.acts_on(self.name, one.id) if done.person == person]
        until = (
            [done for done in before if done.seq < target.seq] if kind == "undo" else [done for done in before if done.seq <= target.seq]
        )
        was = fold(until)
        changed = {name: was.said.get(name, Said()) for name in target.content.get("said", {})}
        # what was said of an earlier wording or response is not said of the present one
        changed = {name: said if said.key == self._key(one, item, name) else Said() for name, said in changed.items()}
        extra: dict[str, Json] = {"undoes" if kind == "undo" else "redoes": target.id}
        if (note := target.content.get("note")) is not None:
            extra["note"] = was.notes.get(note["id"], Note(note["id"], "")).document()
        if "later" in target.content:
            extra["later"] = was.later
        return self._say(person, one, item, act, kind, changed, extra, None)

    def _say(
        self,
        person: str,
        one: Assignment,
        item: Item,
        act: str,
        kind: Literal["mark", "skip", "note", "undo", "redo"],
        said: Mapping[str, Said],
        extra: Mapping[str, Json],
        base: int | None,
    ) -> Done:
        proper_id(act)
        at = time.time_ns()
        content: dict[str, Json] = dict(extra)
        if said:
            content["said"] = {name: self._bound(one, item, name, one_said).document() for name, one_said in said.items()}
        grades = [] if one.kind == "training" else [self._grade(one, item, name, one_said, at) for name, one_said in said.items()]
        done = Act(act, self.name, person, kind, content, one.id, one.case_id, at)
        posted = self.store.people.post(done, grades, base=base).result()
        with self._turn:
            book = self._books.get(person) or self._book(person)
            pane = self._pane(book, one, posted.acts)
            return Done(posted, pane, self._progress(person, book), one.id)

    def _bound(self, one: Assignment, item: Item, criterion: str, said: Said) -> Said:
        """What was said with the names of all that it was said of, so that a later change can be told."""
        if said.label is None:
            return said
        key, on = self._key(one, item, criterion), self.study.rubric[criterion]
        return replace(said, key=key, response=one.response, wording=digest(on.wording())[:16], guideline=self.people.version)

    def _key(self, one: Assignment, item: Item, criterion: str) -> str:
        known = one.id, criterion
        if known not in self._keys:
            self._keys[known] = grade_key(person_grader(self.study, criterion, one.person), item, repeat=one.repeat)
        return self._keys[known]

    def _grade(self, one: Assignment, item: Item, criterion: str, said: Said, at: int) -> Grade:
        failure = None
        if said.label is None:
            failure = Failure("withdrawn", self.people.name, f"{one.person} took the mark back")
        elif said.label == NOT_COVERED:
            failure = Failure("not_covered", self.people.name, said.reason or "the rubric does not cover this response")
        return Grade(
            key=self._key(one, item, criterion),
            case_id=item.case_id,
            criterion=criterion,
            grader=self.people.name,
            rater=one.person,
            repeat=one.repeat,
            label=None if failure is not None else said.label,
            failure=failure,
            reason=said.reason,
            evidence=said.evidence,
            at=at,
            seconds=said.seconds,
        )

    def _checked(
        self, on: Criterion, item: Item, label: str | None, reason: str, evidence: Sequence[Mapping[str, Json]], seconds: float | None
    ) -> Said:
        if label is not None and label != NOT_COVERED and not on.allows(label):
            raise Mistake.in_call(
                f"`{label[:80]}` is not on the scale of `{on.id}`", allowed=", ".join((*on.level_names(), CANNOT_TELL, NOT_COVERED))
            )
        if len(reason) > LONGEST:
            raise Mistake.in_call(f"the reason has {len(reason)} characters", allowed=f"{LONGEST} at most", remedy="shorten it")
        if len(evidence) > MOST_QUOTES:
            raise Mistake.in_call(f"{len(evidence)} quotes are cited", allowed=f"{MOST_QUOTES} at most", remedy="take some out")
        spans = tuple(_span(quote, item) for quote in evidence)
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise Mistake.in_call(f"`seconds` is {seconds}", allowed="a number, 0 or more")
        return Said(label, reason, spans, min(seconds, LONGEST_MARK) if seconds is not None else None)

    def _criterion(self, name: str) -> Criterion:
        if name not in self.people.criteria:
            raise Mistake.in_call(f"`{name[:80]}` is not marked here", allowed=", ".join(self.people.criteria))
        return self.study.rubric[name]

    def _to_act_on(self, person: str, assignment: str) -> tuple[Assignment, Item]:
        with self._turn:
            known = self._books.get(person)  # what was given out stays so; only a response not known here may be a new one
            book = known if known is not None and assignment in known.by_id else self._book(person)
            one = self._mine(book, assignment)
            item = self.item(one)
            assert item is not None
            return one, item

    def _mine(self, book: _Book, assignment: str) -> Assignment:
        one = book.by_id.get(assignment)
        if one is None or not (self.work_is_open or one.kind in EARLY):
            raise CannotDo("NOT_YOURS", "there is no such response among yours", "go on with the next one")
        return one

    def _given_out(self, book: _Book) -> list[Assignment]:
        return book.order if self.work_is_open else [one for one in book.order if one.kind in EARLY]

    def _acts(self, person: str) -> Callable[[int | None], Sequence[Act]]:
        """The person's acts in pages, the newest first."""
        return lambda before: self.store.people.acts(self.name, person=person, kinds=UNDOABLE, before=before, newest=50)

    def _book(self, person: str) -> _Book:
        newest = self.store.people.newest()
        if newest != self._assigned:
            self._books.clear()
            self._items = {
                slot.key: item_of(slot.case, slot.response)
                for slot in self._slots()
                if slot.response is not None and slot.response.answer is not None
            }
            self._assigned = newest
        if person not in self._books:
            self._books[person] = self._read(person)
        return self._books[person]

    def _read(self, person: str) -> _Book:
        mine = [one for one in self.store.people.assignments(self.name, person) if self.item(one) is not None]
        order = sorted(mine, key=lambda one: ({"training": 0, "together": 1}.get(one.kind, 2), one.place, one.side))
        partners: dict[str, list[Assignment]] = {}
        for one in order:
            if one.pair:
                partners.setdefault(one.pair, []).append(one)
        book = _Book(order, {one.id: one for one in order}, partners)
        book.place = {one.id: number for number, one in enumerate(order, 1)}
        said = said_of(self.store.people.acts(self.name, person=person))
        for one in order:
            book.status[one.id] = self._status(one, said.get(one.id))
        return book

    def _status(self, one: Assignment, state: State | None) -> Status:
        if state is None:
            return "open"
        item = self.item(one)
        assert item is not None
        if all(self._complete(one, item, on, state.said.get(on.id)) for on in self._criteria):
            return "done"
        return "later" if state.later else "open"

    def _complete(self, one: Assignment, item: Item, on: Criterion, said: Said | None) -> bool:
        if said is None or said.label is None or said.key != self._key(one, item, on.id):
            return False
        needed = on.id in self.people.reasons or said.label in (CANNOT_TELL, NOT_COVERED)
        return bool(said.reason.strip()) or not needed

    def _pane(self, book: _Book, one: Assignment, acts: Sequence[Act]) -> Pane:
        item = self.item(one)
        assert item is not None
        state = fold(acts)
        standing = {name: said for name, said in state.said.items() if said.label is None or said.key == self._key(one, item, name)}
        book.status[one.id] = status = self._status(one, state if acts else None)
        known = self._training[one.response].marks if one.kind == "training" and status == "done" else {}
        notes = tuple(note for note in state.notes.values() if note.text)
        return Pane(one.id, len(acts), fields_shown(item, self.people.show), item.output, standing, notes, status, known)


def person_grader(study: Study, criterion: str, person: str) -> PersonGrader:
    """A person as the grader of one criterion, as grades are named by it."""
    assert study.people is not None
    people = study.people
    return PersonGrader(people.name, study.rubric[criterion], person, people.show, people.version)


def _span(quote: Mapping[str, Json], item: Item) -> Span:
    words, start, end = quote.get("quote"), quote.get("start"), quote.get("end")
    if type(words) is str and type(start) is int and type(end) is int and 0 <= start < end and item.output[start:end] == words:
        return Span(words, start, end)
    raise Mistake.in_call("a quote does not stand in the response where it says", allowed="quote, start, end of the raw response")


def proper_id(act: str) -> None:
    """Nothing, or `Mistake` for an id that is no UUID."""
    try:
        uuid.UUID(act)
    except ValueError:
        raise Mistake.in_call("an id is not what it should be", allowed="a UUID") from None
