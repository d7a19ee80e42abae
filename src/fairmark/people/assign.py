"""Which responses people mark, who marks them, and in which order: drawn at random, with what probability is written down."""

from __future__ import annotations

import itertools
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairmark import stats
from fairmark.errors import CannotDo
from fairmark.records import Assignment, AssignmentKind, Slot, digest
from fairmark.stats.intervals import FloatArray, IntArray
from fairmark.stats.labels import LabelPlan
from fairmark.study import People, Study
from fairmark.table import Drawn

Where = tuple[str, str, int]  # case, system, trial

APART = 0.3  # of a person's round, at least, between a response and its hidden repeat
FEWEST_REPEATED = 20  # responses of a person from which on some come back


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an LLM grader said of one response on the criterion of the strata."""

    place: int  # of the level, worst first; the number of levels where its answer names none
    confidence: float | None  # probability it gave this level itself


@dataclass(frozen=True, slots=True)
class Draw:
    """A round of assignments, and what the planner reckons it will buy."""

    assignments: tuple[Assignment, ...]
    plans: Mapping[str, LabelPlan]  # of each system, where strata were asked for


def draw(
    study: Study,
    slots: Sequence[Slot],
    existing: Sequence[Assignment],
    *,
    name: str,
    at: int,
    begun: Iterable[str] = (),
    verdicts: Mapping[Where, Verdict] | None = None,
    share: float | None = None,
) -> Draw:
    """The assignments that are missing for people to mark their share of what is answered now.

    Only cases whose every planned response is in are drawn from, so that when a response appears says nothing about its
    system. Without strata whole cases are drawn, in an order that the study and wave fix: a larger share extends the draw.
    With strata, responses are drawn within each system's verdict and confidence of the grader (`stats.plan_labels`).
    `existing` are the assignments so far, `begun` the ids of those with marks; those of people who left and had not begun
    are given to others. `share` overrides the study's. `CannotDo` where nobody is asked, or nothing is ready.
    """
    people = study.people
    if people is None:
        raise CannotDo("NO_PEOPLE", "the study does not say who marks", "add `people: {roster: [...]}` to study.yaml")
    ready = eligible(slots)
    if not ready:
        raise CannotDo("NOTHING_TO_MARK", "no case has an answer of every system yet", "run the study first: fairmark run")
    rng = random.Random(digest(["draw", name, len(existing)]))
    started = set(begun)
    current = {slot.key for slot in ready}
    kept = [one for one in existing if one.person in people.roster or one.id in started]
    given = {one.response for one in kept if one.kind in ("work", "together") and one.response in current}
    wanted = people.share if share is None else share
    plans: Mapping[str, LabelPlan] = {}
    if people.strata is None:
        chosen, chances = _whole_cases(ready, wanted, name)
    else:
        chosen, chances, plans = _within_strata(study, ready, given, wanted, verdicts or {}, rng)
    # equal answers of two systems to one case are one response: whoever marks it marks both
    new = list({slot.key: slot for slot in chosen if slot.key not in given}.values())
    number = 1 + max((one.round for one in existing), default=0)
    made = [*_training(people, kept, name, at), *_shared_out(people, new, chances, kept, name, number, at, rng)]
    return Draw(tuple(made), plans)


def eligible(slots: Sequence[Slot]) -> tuple[Slot, ...]:
    """The answered responses of the cases of which every planned response has come back."""
    waiting = {slot.case.id for slot in slots if slot.response is None}
    return tuple(slot for slot in slots if slot.case.id not in waiting and slot.response is not None and slot.response.answer is not None)


def strata_of(study: Study, slots: Sequence[Slot], verdicts: Mapping[Where, Verdict]) -> dict[Where, str]:
    """The stratum of every response: the grader's verdict with its confidence, or nothing where no strata are asked for."""
    if study.people is None or study.people.strata is None:
        return {where(slot): "" for slot in slots}
    found: dict[Where, str] = {}
    levels = [*study.rubric[study.people.strata].level_names(), "not readable"]
    for mine in _by_system(slots).values():
        codes, sure = _arrays(study, mine, verdicts)
        strata = stats.label_strata(codes, sure)
        for slot, number, code in zip(mine, strata.number.tolist(), codes.tolist(), strict=True):
            words = strata.names[number].partition(", ")[2]
            found[where(slot)] = f"{levels[code]}, {words}"
    return found


def drawn(strata: Mapping[Where, str], assignments: Sequence[Assignment], slots: Sequence[Slot]) -> dict[Where, Drawn]:
    """Of every response its stratum and the share of it that is given to people. What was assigned for an earlier answer does not count."""
    given = {one.response for one in assignments if one.kind in ("work", "together")}
    size = Counter((place[1], stratum) for place, stratum in strata.items())
    taken = Counter((slot.system, strata[where(slot)]) for slot in slots if slot.key in given and where(slot) in strata)
    return {place: Drawn(stratum, taken[place[1], stratum] / size[place[1], stratum]) for place, stratum in strata.items()}


def where(slot: Slot) -> Where:
    return slot.case.id, slot.system, slot.trial


# ------------------------------------------------------------------ which responses


def _whole_cases(ready: Sequence[Slot], share: float, name: str) -> tuple[list[Slot], dict[str, tuple[str, float]]]:
    cases = sorted({slot.case.id for slot in ready}, key=lambda case: digest(["case", name, case]))
    count = min(len(cases), max(1, round(share * len(cases))))
    taken = set(cases[:count])
    return [slot for slot in ready if slot.case.id in taken], {slot.key: ("", count / len(cases)) for slot in ready}


def _within_strata(
    study: Study, ready: Sequence[Slot], given: set[str], share: float, verdicts: Mapping[Where, Verdict], rng: random.Random
) -> tuple[list[Slot], dict[str, tuple[str, float]], dict[str, LabelPlan]]:
    assert study.people is not None
    assert study.people.strata is not None
    criterion = study.rubric[study.people.strata]
    passing = next((place for place, level in enumerate(criterion.level_names()) if criterion.passes(level)), 1)
    named = strata_of(study, ready, verdicts)
    chosen: list[Slot] = []
    plans: dict[str, LabelPlan] = {}
    marked: Counter[tuple[str, str]] = Counter()
    for system, mine in _by_system(ready).items():
        codes, sure = _arrays(study, mine, verdicts)
        before = [slot.key in given for slot in mine]
        # what people said so far would tell the planner more; the draw rests on the grader's own claims, which no mark can bend
        known = np.where(before, np.where(codes >= passing, 1.0, 0.0), np.nan)
        more = max(0, round(share * len(mine)) - sum(before))
        plan = stats.plan_labels(codes, sure, known, labels=more, rng=np.random.default_rng(rng.getrandbits(63)), passes_from=passing)
        if plan.refused is not None and any(before):
            # a grader that was changed sorts into other strata; what people were given stands, and they go on with it
            chosen += [slot for slot, had in zip(mine, before, strict=True) if had]
            continue
        if plan.refused is not None:
            least = plan.refused.next.partition(",")[0]  # the bins of confidence are not the study's to choose
            raise CannotDo(
                plan.refused.code,
                f"{system}: {plan.refused.why}",
                f"raise `share` under `people` ({least}), or take `strata` out to draw at random",
            )
        plans[system] = plan
        chosen += [slot for slot, had in zip(mine, before, strict=True) if had] + [mine[place] for place in plan.rows]
    for slot in chosen:
        marked[slot.system, named[where(slot)]] += 1
    size = Counter((place[1], stratum) for place, stratum in named.items())
    chances = {
        slot.key: (stratum, marked[slot.system, stratum] / size[slot.system, stratum])
        for slot in chosen
        for stratum in (named[where(slot)],)
    }
    return chosen, chances, plans


def _by_system(slots: Sequence[Slot]) -> dict[str, list[Slot]]:
    found: dict[str, list[Slot]] = {}
    for slot in slots:
        found.setdefault(slot.system, []).append(slot)
    return found


def _arrays(study: Study, slots: Sequence[Slot], verdicts: Mapping[Where, Verdict]) -> tuple[IntArray, FloatArray]:
    """Codes of the grader's verdicts, and its confidence in them; NaN where it gave none."""
    assert study.people is not None
    assert study.people.strata is not None
    unread = Verdict(len(study.rubric[study.people.strata].levels), None)
    found = [verdicts.get(where(slot), unread) for slot in slots]
    codes = np.array([one.place for one in found], dtype=np.int64)
    return codes, np.array([np.nan if one.confidence is None else one.confidence for one in found], dtype=np.float64)


# ------------------------------------------------------------------ who, and in which order


def _training(people: People, kept: Sequence[Assignment], name: str, at: int) -> list[Assignment]:
    """The training items of everybody who does not have them yet, in the order of their file."""
    if people.training is None:
        return []
    had = {(one.person, one.response) for one in kept if one.kind == "training"}
    return [
        Assignment(secrets.token_hex(8), name, person, "training", entry.item.case_id, entry.item.case_id, "", 1, place / 1e6, at=at)
        for person in people.roster
        for place, entry in enumerate(people.training.items)
        if (person, entry.item.case_id) not in had
    ]


def _shared_out(
    people: People,
    new: Sequence[Slot],
    chances: Mapping[str, tuple[str, float]],
    kept: Sequence[Assignment],
    name: str,
    number: int,
    at: int,
    rng: random.Random,
) -> list[Assignment]:
    """The new responses given to people: whoever has least marks a case, and marks all its responses, so that a severe
    person is severe to every system alike."""
    by_case: dict[str, list[Slot]] = {}
    for slot in new:
        by_case.setdefault(slot.case.id, []).append(slot)
    groups = list(by_case.values())
    rng.shuffle(groups)
    load = Counter(dict.fromkeys(people.roster, 0))
    load.update(one.person for one in kept if one.person in load and one.kind in ("work", "together"))
    together = max(0, people.together - len({one.case_id for one in kept if one.kind == "together"}))
    twice = round(people.twice * max(0, len(groups) - together))
    second = set(rng.sample(range(together, len(groups)), min(twice, max(0, len(groups) - together)))) if twice else set()
    left = itertools.cycle(rng.sample((0, 1), 2))  # each system stands as often on the left as on the right
    made: list[Assignment] = []
    for place, group in enumerate(groups):
        order = sorted(people.roster, key=lambda person: (load[person], rng.random()))
        count = len(order) if place < together else 2 if place in second else 1
        kind: AssignmentKind = "together" if place < together else "work"
        for turn, person in enumerate(order[:count]):
            load[person] += len(group)
            made += _of_group(people, group, person, kind, turn > 0, chances, name, number, at, rng, left)
    return [*made, *_repeated(people, made, rng)]


def _of_group(
    people: People,
    group: Sequence[Slot],
    person: str,
    kind: AssignmentKind,
    second: bool,
    chances: Mapping[str, tuple[str, float]],
    name: str,
    number: int,
    at: int,
    rng: random.Random,
    left: Iterator[int],
) -> list[Assignment]:
    made = []
    pairs: dict[str, tuple[str, int, float]] = {}
    if people.pairs:
        shuffled = sorted(group, key=lambda slot: (slot.trial, slot.system))
        for first, other in zip(shuffled[::2], shuffled[1::2], strict=False):
            shared, spot = secrets.token_hex(8), rng.random()
            side = next(left)
            pairs[first.key], pairs[other.key] = (shared, side, spot), (shared, 1 - side, spot)
    for slot in group:
        stratum, probability = chances[slot.key]
        pair, side, spot = pairs.get(slot.key, ("", 0, rng.random()))
        made.append(
            Assignment(
                secrets.token_hex(8),
                name,
                person,
                kind,
                slot.key,
                slot.case.id,
                slot.system,
                slot.trial,
                number + spot,
                second=second,
                stratum=stratum,
                probability=probability,
                round=number,
                pair=pair,
                side=side,
                at=at,
            )
        )
    return made


def _repeated(people: People, made: Sequence[Assignment], rng: random.Random) -> list[Assignment]:
    """Some of a person's responses again, well after the first time, and not announced."""
    again: list[Assignment] = []
    mine: defaultdict[str, list[Assignment]] = defaultdict(list)
    for one in made:
        if one.kind == "work":
            mine[one.person].append(one)
    for own in mine.values():
        early = [one for one in own if one.place - one.round < 1 - APART and not one.pair]
        count = round(people.repeats * len(own)) if len(own) >= FEWEST_REPEATED else 0
        for one in rng.sample(early, min(count, len(early))):
            later = one.place + APART + rng.random() * (one.round + 1 - one.place - APART)
            again.append(replace(one, id=secrets.token_hex(8), kind="repeat", repeat=1, place=later, probability=None))
    return again
