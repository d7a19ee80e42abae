"""From acts to what stands: the last word on each criterion, and what can still be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fairmark.records import Act, Json, Span, digest

UNDOABLE = ("mark", "skip", "note", "undo", "redo")


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says on one criterion of one response."""

    label: str | None = None  # a level, a way out, or NOT_COVERED; None: nothing yet, or taken back
    reason: str = ""
    evidence: tuple[Span, ...] = ()
    seconds: float | None = None  # spent on the response when it was said
    key: str = ""  # of the grade it became: whatever the person was shown is in it
    response: str = ""  # key of the response it was said of
    wording: str = ""  # digest of the criterion's wording then
    guideline: str = ""  # version of the guideline then

    def document(self) -> dict[str, Json]:
        return {
            "label": self.label,
            "reason": self.reason,
            "evidence": [[span.quote, span.start, span.end] for span in self.evidence],
            "seconds": self.seconds,
            "key": self.key,
            "response": self.response,
            "wording": self.wording,
            "guideline": self.guideline,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """A field note: what a person noticed first, in their own words."""

    id: str  # made where it was written
    text: str  # empty: taken back
    span: Span | None = None  # the words of the response it is about

    def document(self) -> dict[str, Json]:
        span = None if self.span is None else [self.span.quote, self.span.start, self.span.end]
        return {"id": self.id, "text": self.text, "span": span}


@dataclass(slots=True)
class State:
    """What stands in one assignment."""

    said: dict[str, Said] = field(default_factory=dict)  # by criterion
    notes: dict[str, Note] = field(default_factory=dict)  # by id
    later: bool = False  # put to the end


def read_said(document: Mapping[str, Json]) -> Said:
    """What `Said.document` wrote."""
    return Said(**{**document, "evidence": tuple(Span(*span) for span in document["evidence"])})


def read_note(document: Mapping[str, Json]) -> Note:
    """What `Note.document` wrote."""
    return Note(document["id"], document["text"], None if document["span"] is None else Span(*document["span"]))


def fold(acts: Iterable[Act]) -> State:
    """What stands after these acts on one assignment, in their order. An act that was forgotten says nothing."""
    state = State()
    for act in acts:
        for criterion, document in act.content.get("said", {}).items():
            state.said[criterion] = read_said(document)
        if (note := act.content.get("note")) is not None:
            state.notes[note["id"]] = read_note(note)
        if act.content.get("said") and act.kind == "mark":
            state.later = False
        if "later" in act.content:
            state.later = bool(act.content["later"])
    return state


def said_of(acts: Iterable[Act]) -> dict[str, State]:
    """What stands in each assignment after these acts, in their order."""
    by_assignment: dict[str, list[Act]] = {}
    for act in acts:
        if act.assignment and act.kind in UNDOABLE:
            by_assignment.setdefault(act.assignment, []).append(act)
    return {assignment: fold(of_it) for assignment, of_it in by_assignment.items()}


def standing(said: Mapping[str, State], assignment: str, criterion: str, key: str) -> Said | None:
    """What is said in an assignment, if it was said of the present response and wording, whose grade is named by `key`."""
    mark = said[assignment].said.get(criterion) if assignment in said else None
    return mark if mark is not None and mark.label is not None and mark.key == key else None


def settles(marks: Iterable[tuple[str, Said]]) -> str:
    """Names the marks, by assignment, that a settlement settles: once one of them changes, it settles nothing any more."""
    return digest(sorted([assignment, mark.label] for assignment, mark in marks))


Pages = Callable[[int | None], Sequence[Act]]


def last_done(pages: Pages) -> Act | None:
    """The newest act that still stands, which an undo takes back; None where there is none.

    `pages` gives a person's acts below a place in the journal, the newest first.
    """
    taken_back: set[str] = set()
    done_again: set[str] = set()
    for act in _newest_first(pages):
        if act.kind == "undo":
            target = str(act.content.get("undoes"))
            if target not in done_again:
                taken_back.add(target)
            done_again.discard(target)
        elif act.kind == "redo":
            done_again.add(str(act.content.get("redoes")))
        elif act.id not in taken_back and act.assignment:
            return act
    return None


def last_undone(pages: Pages) -> Act | None:
    """The act that was taken back last, which a redo does again; None where something else was done since."""
    again = 0
    target = None
    for act in _newest_first(pages):
        if target is not None:
            if act.id == target:
                return act
        elif act.kind == "redo":
            again += 1
        elif act.kind == "undo":
            if again:
                again -= 1
            else:
                target = str(act.content.get("undoes"))
        else:
            return None
    return None


def _newest_first(pages: Pages) -> Iterable[Act]:
    before: int | None = None
    while page := pages(before):
        yield from page
        before = page[-1].seq
