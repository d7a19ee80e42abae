"""Field notes are sorted into codes, by two people if need be; every step is an act, and every step can be taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fairmark import stats
from fairmark.errors import CannotDo, Mistake
from fairmark.people.desk import proper_id
from fairmark.people.marks import said_of
from fairmark.records import Act, Assignment, Json, Slot, digest
from fairmark.stats import Codebook, UnseenKinds
from fairmark.stats.intervals import IntArray
from fairmark.store import Store
from fairmark.study import Study

LONGEST_NAME = 120  # characters of a code's name
MOST_NOTES = 1000  # in one act
AHEAD = 25  # further responses that the outlook is about

Step = Literal["create", "rename", "merge", "split", "put", "take"]
STEPS: tuple[Step, ...] = ("create", "rename", "merge", "split", "put", "take")


@dataclass(frozen=True, slots=True)
class Card:
    """One field note on the board. Nothing in it names a person or a system."""

    id: str  # opaque
    text: str
    quote: str  # the words of the response it is about; empty: none
    codes: tuple[str, ...]  # ids of the codes that this reader gave it


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of failure, and how many of the responses that were read show it."""

    id: str
    name: str
    responses: int  # with a note that this reader gave the code
    low: float | None  # 95% interval of its share of the responses read; None: too little is known
    high: float | None


@dataclass(frozen=True, slots=True)
class Board:
    """The notes and codes as one reader has sorted them."""

    cards: tuple[Card, ...]
    codes: tuple[Code, ...]
    read: int  # responses that were marked or noted
    unsorted: int  # notes without a code
    unseen: UnseenKinds  # how many kinds were not met yet
    can_undo: bool


@dataclass(slots=True)
class _Book:
    """What stands after all acts."""

    names: dict[str, str] = field(default_factory=dict)  # of the codes, in the order they were made
    given: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # reader -> note -> codes


@dataclass(frozen=True, slots=True)
class _Read:
    """The notes that stand, and the responses they are about."""

    cards: Mapping[str, tuple[str, str, str, str]]  # note -> text, quote, response, author
    responses: tuple[str, ...]  # that were read, each once
    case: Mapping[str, str]  # of each response


class Coding:
    """The notes and codes of one study and wave. It may be used from any thread.

    All readers share the codes; which notes a reader gave them only that reader sees, so that a second reading is independent.
    """

    def __init__(self, study: Study, store: Store, name: str, slots: Callable[[], Sequence[Slot]]) -> None:
        if study.people is None:
            raise CannotDo("NO_PEOPLE", "the study does not say who marks", "add `people: {roster: [...]}` to study.yaml")
        self.study, self.store, self.name = study, store, name
        self._slots = slots

    def board(self, person: str, *, own: bool = False) -> Board:
        """The board of a reader. `own` shows only the notes that this person wrote, and counts the responses they read."""
        read = self._read(person if own else None)
        acts = self.store.people.acts(self.name, kinds=["code"])
        book = _fold(acts)
        given = book.given.get(person, {})
        cards = tuple(Card(note, text, quote, tuple(sorted(given.get(note, ())))) for note, (text, quote, _, _) in read.cards.items())
        found = self._matrix(read, book, person)
        spot = {response: place for place, response in enumerate(read.responses)}
        case = np.unique([read.case[response] for response in read.responses], return_inverse=True)[1]
        unsorted = sum(not card.codes for card in cards)
        codes = []
        for place, (code, called) in enumerate(book.names.items()):
            column = found[:, place]
            low = high = None
            if len(spot) and not unsorted:
                share = stats.estimate_rate(
                    column.astype(np.float64),
                    case if len(np.unique(case)) < len(case) else None,
                    estimand=f"share of responses with {called}",
                    scorer="human",
                )
                low, high = share.low, share.high
            codes.append(Code(code, called, int(column.sum()), low, high))
        rows, columns = np.nonzero(found)
        unseen = stats.unseen_kinds(columns, rows, n_cases=len(spot), names=list(book.names.values()), ahead=AHEAD)
        return Board(cards, tuple(codes), len(spot), unsorted, unseen, _last(acts, person) is not None)

    def agreement(self, first: str, second: str) -> Codebook:
        """How far two readers agree on each code, and how often it occurs, by response and never by note.

        A response counts as coded twice once both have given each of its notes a code.
        """
        read, book = self._read(None), _fold(self.store.people.acts(self.name, kinds=["code"]))
        ours, theirs = (self._matrix(read, book, who) for who in (first, second))
        notes: dict[str, list[str]] = {}
        for note, (_, _, response, _) in read.cards.items():
            notes.setdefault(response, []).append(note)
        for place, response in enumerate(read.responses):
            here = notes.get(response, [])
            if not here or not all(book.given.get(who, {}).get(note) for who in (first, second) for note in here):
                theirs[place] = -1
        case = np.unique([read.case[response] for response in read.responses], return_inverse=True)[1]
        cluster = case if len(np.unique(case)) < len(case) else None
        return stats.codebook(ours, theirs, cluster, names=list(book.names.values()))

    def readers(self) -> tuple[str, ...]:
        """Who has given a note a code, who gave most first."""
        given = _fold(self.store.people.acts(self.name, kinds=["code"])).given
        sizes = {who: sum(map(bool, notes.values())) for who, notes in given.items()}
        return tuple(sorted((who for who in sizes if sizes[who]), key=lambda who: (-sizes[who], who)))

    # ------------------------------------------------------------ sorting

    def do(self, person: str, act: str, step: str, *, code: str = "", into: str = "", called: str = "", notes: Sequence[str] = ()) -> None:
        """Stores one step. `act` and the ids of new codes are UUIDs that the sender made up; sending an act again does nothing.

        create: `code`, `called` (and `notes` put under it); rename: `code`, `called`; merge: `code` into the code `into`;
        split: `notes` of `code` into a new code `into`, `called`; put and take: `notes` under `code`, or from it.
        """
        proper_id(act)
        acts = self.store.people.acts(self.name, kinds=["code"])
        if any(done.id == act for done in acts):
            return
        if step not in STEPS:
            raise Mistake.in_call(f"`{step[:80]}` is nothing that can be done with codes", allowed=", ".join(STEPS))
        book, known = _fold(acts), self._read(None).cards
        if len(notes) > MOST_NOTES or any(note not in known for note in notes):
            raise Mistake.in_call("one of the notes is not there any more", remedy="load the page again")
        made = {"create": code, "split": into}.get(step)
        used = {"rename": (code,), "merge": (code, into), "split": (code,), "put": (code,), "take": (code,)}.get(step, ())
        if made is not None:
            proper_id(made)
            if made in book.names:
                raise Mistake.in_call("there is a code under this id already", remedy="load the page again")
        if any(one not in book.names for one in used) or (step == "merge" and code == into):
            raise Mistake.in_call("there is no such code", remedy="load the page again")
        if step in ("split", "put", "take") and not notes:
            raise Mistake.in_call("no note is chosen", remedy="choose the notes first")
        called = " ".join(called.split())
        if step in ("create", "rename", "split"):
            if not 0 < len(called) <= LONGEST_NAME:
                raise Mistake.in_call("the code has no name, or too long a one", allowed=f"1 to {LONGEST_NAME} characters")
            if any(called.casefold() == other.casefold() for key, other in book.names.items() if step != "rename" or key != code):
                raise Mistake.in_call(f"there is a code “{called}” already", remedy="choose another name, or merge the two")
        content: dict[str, Json] = {"do": step, "code": code, "into": into, "called": called, "notes": list(notes)}
        self.store.people.post(Act(act, self.name, person, "code", content, at=time.time_ns())).result()

    def undo(self, person: str, act: str) -> None:
        """Takes this person's last step back. `CannotDo` where there is none, or others have built on it."""
        proper_id(act)
        acts = self.store.people.acts(self.name, kinds=["code"])
        if any(done.id == act for done in acts):
            return
        last = _last(acts, person)
        if last is None:
            raise CannotDo("NOTHING_TO_UNDO", "there is nothing of yours to take back", "go on sorting")
        made = {"create": last.content["code"], "split": last.content["into"]}.get(last.content["do"])
        later = [done for done in _standing(acts) if done.seq > last.seq and done.person != person]
        if made is not None and any(made in (done.content["code"], done.content["into"]) for done in later):
            raise CannotDo("IN_USE", "somebody else uses this code by now", "rename it, or merge it into another")
        self.store.people.post(Act(act, self.name, person, "code", {"do": "undo", "undoes": last.id}, at=time.time_ns())).result()

    # ------------------------------------------------------------ inside

    def _read(self, author: str | None) -> _Read:
        present = {slot.key for slot in self._slots()}
        said = said_of(self.store.people.acts(self.name))
        cards: dict[str, tuple[str, str, str, str]] = {}
        case: dict[str, str] = {}
        for one in self.store.people.assignments(self.name):
            state = said.get(one.id)
            if state is None or not _counts(one) or one.response not in present or author not in (None, one.person):
                continue
            notes = [note for note in state.notes.values() if note.text]
            if notes or any(mark.label is not None for mark in state.said.values()):
                case[one.response] = one.case_id or one.response
            for note in notes:
                which = digest(["note", self.name, one.id, note.id])[:16]
                cards[which] = note.text, note.span.quote if note.span else "", one.response, one.person
        # by their digests: neither who wrote a note nor when can be read off its place
        return _Read(dict(sorted(cards.items())), tuple(sorted(case)), case)

    def _matrix(self, read: _Read, book: _Book, person: str) -> IntArray:
        """Responses x codes: 1 where this reader gave a note of the response the code."""
        rows = {response: place for place, response in enumerate(read.responses)}
        columns = {code: place for place, code in enumerate(book.names)}
        found = np.zeros((len(rows), len(columns)), dtype=np.int64)
        for note, codes in book.given.get(person, {}).items():
            if note in read.cards:
                for code in codes:
                    found[rows[read.cards[note][2]], columns[code]] = 1
        return found


def _counts(one: Assignment) -> bool:
    return one.kind != "training" and one.repeat == 0


def _standing(acts: Iterable[Act]) -> list[Act]:
    """The steps that were not taken back, in their order. An act that was forgotten says nothing."""
    every = [act for act in acts if act.content]
    undone = {act.content["undoes"] for act in every if act.content["do"] == "undo"}
    return [act for act in every if act.content["do"] != "undo" and act.id not in undone]


def _last(acts: Iterable[Act], person: str) -> Act | None:
    own = [act for act in _standing(acts) if act.person == person]
    return own[-1] if own else None


def _fold(acts: Iterable[Act]) -> _Book:
    """What stands after these acts. A step on a code that is gone, because its making was taken back, does nothing."""
    book = _Book()
    for act in _standing(acts):
        done, code, into = act.content["do"], act.content["code"], act.content["into"]
        mine = book.given.setdefault(act.person, {})
        if done == "create":
            book.names[code] = act.content["called"]
        elif code not in book.names:
            continue
        if done == "rename":
            book.names[code] = act.content["called"]
        elif done == "merge" and into in book.names:
            del book.names[code]
            for notes in book.given.values():
                for codes in notes.values():
                    if code in codes:
                        codes.remove(code)
                        codes.add(into)
        elif done == "split":
            book.names[into] = act.content["called"]
        for note in act.content["notes"]:
            codes = mine.setdefault(note, set())
            if done in ("create", "put"):
                codes.add(code)
            elif done == "take":
                codes.discard(code)
            elif done == "split":
                codes.discard(code)
                codes.add(into)
    return book
