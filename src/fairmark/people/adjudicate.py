"""Disagreements are settled: blind, one criterion at a time, and every original mark stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fairmark.errors import CannotDo, Mistake
from fairmark.graders import fields_shown
from fairmark.people.desk import LONGEST, person_grader, proper_id
from fairmark.people.marks import Said, said_of, settles, standing
from fairmark.records import ADJUDICATED, Act, Assignment, Failure, Grade, Item, Json, Slot, digest, grade_key, item_of
from fairmark.rubric import CANNOT_TELL, Criterion
from fairmark.store import Posted, Store
from fairmark.study import Study

Fault = Literal["mark", "item", "rubric"]  # what has to be mended: one of the marks, the case, or the rubric
FAULTS: tuple[Fault, ...] = ("mark", "item", "rubric")


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a disagreement was settled."""

    person: str  # who settled it
    label: str
    reason: str
    fault: Fault
    anchor: tuple[str, str] | None  # level, and the wording that is proposed for its anchor
    at: int  # UTC, nanoseconds


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One criterion of one response on which people differ. Nothing in it names a person or a system."""

    id: str
    criterion: str
    fields: Mapping[str, Json]  # what the study shows of the case, by name
    output: str
    sides: tuple[Said, ...]  # the marks, in an order that says nothing
    settled: Settlement | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A wording of an anchor that somebody who settled a disagreement proposes."""

    criterion: str
    level: str
    now: str  # the present anchor
    proposed: str
    reason: str
    at: int  # UTC, nanoseconds


@dataclass(frozen=True, slots=True)
class _Found:
    of: Disagreement
    item: Item
    key: str  # of the grade that settles it
    settles: str  # names the marks that differ
    people: frozenset[str]  # whose marks differ


class Adjudication:
    """The disagreements of one study and wave, and their settlement. It may be used from any thread."""

    def __init__(self, study: Study, store: Store, name: str, slots: Callable[[], Sequence[Slot]]) -> None:
        if study.people is None:
            raise CannotDo("NO_PEOPLE", "the study does not say who marks", "add `people: {roster: [...]}` to study.yaml")
        self.study, self.store, self.name = study, store, name
        self._people = study.people
        self._slots = slots

    def all(self, person: str = "") -> tuple[Disagreement, ...]:
        """Every disagreement, settled or not; with a person only those that this person may settle.

        Nobody settles what they marked themselves, unless nobody else is there to do it.
        """
        return tuple(found.of for found in self._found().values() if not person or self._may(person, found))

    def open(self, person: str = "") -> tuple[Disagreement, ...]:
        """The disagreements that are not settled yet."""
        return tuple(one for one in self.all(person) if one.settled is None)

    def one(self, person: str, which: str) -> Disagreement:
        """One disagreement by its id. `CannotDo` where there is none that this person may settle."""
        return self._one(person, which).of

    def settle(
        self, person: str, which: str, act: str, *, label: str, reason: str, fault: str, anchor: Mapping[str, Json] | None = None
    ) -> Posted:
        """Stores the mark that counts from now on, and what was at fault. The originals stay as they are.

        `act` is an id that the sender made up. `anchor` proposes a wording for one level: {level, text}.
        """
        found = self._one(person, which)
        on = self.study.rubric[found.of.criterion]
        proper_id(act)
        if label == CANNOT_TELL or not on.allows(label):
            raise Mistake.in_call(
                f"`{label[:80]}` settles nothing on `{on.id}`", allowed=", ".join(on.level_names()) or "a number of its scale"
            )
        if fault not in FAULTS:
            raise Mistake.in_call(f"`{fault[:80]}` is no place where a fault can be", allowed=", ".join(FAULTS))
        if len(reason) > LONGEST:
            raise Mistake.in_call(f"the reason has {len(reason)} characters", allowed=f"{LONGEST} at most", remedy="shorten it")
        proposed = _anchor(on, anchor)
        content: dict[str, Json] = {
            "key": found.key,
            "settles": found.settles,
            "criterion": on.id,
            "label": label,
            "reason": reason,
            "fault": fault,
            "anchor": proposed,
        }
        grade = self._grade(found, label=label, reason=reason)
        return self._post(person, found, act, content, grade)

    def take_back(self, person: str, which: str, act: str) -> Posted:
        """Opens a settled disagreement again. An act that was sent before does nothing more."""
        found = self._one(person, which)
        proper_id(act)
        if found.of.settled is None and all(done.id != act for done in self.store.people.acts(self.name, kinds=["adjudicate"])):
            raise CannotDo("NOT_SETTLED", "this disagreement is not settled", "settle it first")
        grade = self._grade(found, failure=Failure("withdrawn", self._people.name, f"{person} opened it again"))
        content = {"key": found.key, "settles": found.settles, "criterion": found.of.criterion, "label": None}
        return self._post(person, found, act, content, grade)

    def proposals(self) -> tuple[Proposal, ...]:
        """The wordings that were proposed for anchors and still stand, the oldest first."""
        made = []
        for found in self._found().values():
            settled = found.of.settled
            if settled is not None and settled.anchor is not None:
                level, words = settled.anchor
                now = next((one.anchor for one in self.study.rubric[found.of.criterion].levels if one.name == level), "")
                made.append(Proposal(found.of.criterion, level, now, words, settled.reason, settled.at))
        return tuple(sorted(made, key=lambda one: one.at))

    # ------------------------------------------------------------ inside

    def _grade(self, found: _Found, *, label: str | None = None, reason: str = "", failure: Failure | None = None) -> Grade:
        return Grade(
            found.key,
            found.item.case_id,
            found.of.criterion,
            self._people.name,
            ADJUDICATED,
            label=label,
            reason=reason,
            failure=failure,
            source=found.settles,
            at=time.time_ns(),
        )

    def _post(self, person: str, found: _Found, act: str, content: Mapping[str, Json], grade: Grade) -> Posted:
        done = Act(act, self.name, person, "adjudicate", content, "", found.item.case_id, grade.at)
        return self.store.people.post(done, [grade]).result()

    def _one(self, person: str, which: str) -> _Found:
        found = self._found().get(which)
        if found is None or not self._may(person, found):
            raise CannotDo("NOT_YOURS", "there is no such disagreement for you to settle", "go on with the next one")
        return found

    def _may(self, person: str, found: _Found) -> bool:
        others = [one for one in self._people.adjudicators if one not in found.people]
        return person not in found.people or not others

    def _found(self) -> dict[str, _Found]:
        items = {
            slot.key: item_of(slot.case, slot.response)
            for slot in self._slots()
            if slot.response is not None and slot.response.answer is not None
        }
        said = said_of(self.store.people.acts(self.name))
        by_response: dict[str, list[Assignment]] = {}
        for one in self.store.people.assignments(self.name):
            if one.kind in ("work", "together") and one.response in items:
                by_response.setdefault(one.response, []).append(one)
        settled = self._settled()
        found: dict[str, _Found] = {}
        for response, given in by_response.items():
            item = items[response]
            for criterion in self._people.criteria if len(given) > 1 else ():
                marks: list[tuple[Assignment, Said]] = []
                for one in given:
                    own = grade_key(person_grader(self.study, criterion, one.person), item, repeat=one.repeat)
                    if (mark := standing(said, one.id, criterion, own)) is not None:
                        marks.append((one, mark))
                if len({mark.label for _, mark in marks}) < 2:
                    continue
                which = digest(["disagreement", criterion, sorted(one.id for one, _ in marks)])[:16]
                ordered = sorted(marks, key=lambda pair: digest([which, pair[0].id]))
                key, binds = (
                    grade_key(person_grader(self.study, criterion, ADJUDICATED), item),
                    settles((one.id, mark) for one, mark in marks),
                )
                shown = fields_shown(item, self._people.show)
                of = Disagreement(which, criterion, shown, item.output, tuple(mark for _, mark in ordered), settled.get((key, binds)))
                found[which] = _Found(of, item, key, binds, frozenset(one.person for one, _ in marks))
        return dict(sorted(found.items()))

    def _settled(self) -> dict[tuple[str, str], Settlement]:
        """The last word on each response and wording, and on the marks it settles: a change of any of them opens it again."""
        last: dict[tuple[str, str], Settlement] = {}
        for act in self.store.people.acts(self.name, kinds=["adjudicate"]):
            said = act.content
            if not said:
                continue  # forgotten
            key = said["key"], said["settles"]
            if said["label"] is None:
                last.pop(key, None)
            else:
                anchor = (said["anchor"]["level"], said["anchor"]["text"]) if said["anchor"] else None
                last[key] = Settlement(act.person, said["label"], said["reason"], said["fault"], anchor, act.at)
        return last


def _anchor(on: Criterion, anchor: Mapping[str, Json] | None) -> dict[str, str] | None:
    if anchor is None:
        return None
    level, words = anchor.get("level"), anchor.get("text")
    if level not in on.level_names() or not isinstance(words, str) or not 0 < len(words.strip()) <= LONGEST:
        raise Mistake.in_call("the proposed anchor names no level or says nothing", allowed="{level, text} with a level of the criterion")
    return {"level": str(level), "text": words.strip()}
