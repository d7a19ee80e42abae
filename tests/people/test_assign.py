"""Which responses people mark: shares, strata, second marks, and that the draw says nothing about systems."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark.errors import CannotDo
from fairmark.people import Verdict, draw, drawn, eligible, strata_of, where
from fairmark.records import Answer, Assignment, Item, Question, Response, Slot
from fairmark.study import CalibrationItem, CalibrationSet, People, Study
from tests.bench import study

PEOPLE = People(("ana", "ben", "cleo"), criteria=("tone", "safe"))


def slots_of(asked: Study, *, missing: tuple[str, ...] = (), changed: str = "") -> list[Slot]:
    """Every response answered but those of the missing cases' system `guided`."""
    made = []
    for case in asked.cases:
        for system in asked.systems:
            key = f"{case.id}/{system}" + ("/new" if system == changed else "")
            answered = not (case.id in missing and system == "guided")
            response = Response(key, case.id, system, 1, "1", Answer(f"answer to {case.id}")) if answered else None
            made.append(Slot(key, case, system, 1, Question(), response))
    return made


def given_out(asked: Study, slots: list[Slot], existing: tuple[Assignment, ...] = (), **options: object) -> tuple[Assignment, ...]:
    return draw(asked, slots, existing, name="small@1", at=1, **options).assignments  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), share=st.floats(0.01, 1), twice=st.floats(0, 1), people=st.integers(1, 5), together=st.integers(0, 3))
def test_any_draw_gives_each_response_to_different_people_and_loads_them_alike(
    n: int, share: float, twice: float, people: int, together: int
) -> None:
    asked = study(n=n, people=replace(PEOPLE, roster=tuple("abcde"[:people]), share=share, twice=twice, together=together))
    made = given_out(asked, slots_of(asked))
    cases = max(1, round(share * n))
    assert len({one.case_id for one in made}) == cases
    pairs = [(one.response, one.person) for one in made]
    assert len(pairs) == len(set(pairs))
    assert len({one.id for one in made}) == len(made)
    assert {one.probability for one in made} == {cases / n}
    load = Counter(one.person for one in made)
    assert max(load.values()) - min([load[name] for name in asked.people.roster], default=0) <= 2  # a case with its two responses
    assert {one.system for one in made} == {"bare", "guided"}


def test_a_case_is_given_out_only_once_all_its_answers_are_in() -> None:
    asked = study(n=8, people=PEOPLE)
    slots = slots_of(asked, missing=("c1", "c2"))
    made = given_out(asked, slots)
    assert {one.case_id for one in made} == {case.id for case in asked.cases} - {"c1", "c2"}
    later = given_out(asked, slots_of(asked), made)
    assert {one.case_id for one in later} == {"c1", "c2"}


def test_nothing_is_ready() -> None:
    asked = study(n=2, people=PEOPLE)
    with pytest.raises(CannotDo, match="no case has an answer of every system"):
        given_out(asked, slots_of(asked, missing=("c1", "c2")))


def test_changed_responses_are_given_out_again_and_the_others_are_not() -> None:
    asked = study(n=6, people=PEOPLE)
    first = given_out(asked, slots_of(asked))
    slots = slots_of(asked, changed="guided")
    again = given_out(asked, slots, first)
    assert {one.system for one in again} == {"guided"} and len(again) == 6
    assert {one.round for one in again} == {2}
    share = drawn(strata_of(asked, slots, {}), (*first, *again), slots)
    assert {one.probability for one in share.values()} == {1.0}
    assert {one.probability for one in drawn(strata_of(asked, slots, {}), first, slots).values()} == {0.0, 1.0}


def test_what_somebody_who_left_had_not_begun_goes_to_others() -> None:
    asked = study(n=9, people=PEOPLE)
    first = given_out(asked, slots_of(asked))
    of_cleo = [one for one in first if one.person == "cleo"]
    fewer = replace(asked, people=replace(PEOPLE, roster=("ana", "ben")))
    again = given_out(fewer, slots_of(fewer), first, begun=[of_cleo[0].id])
    assert {one.response for one in again} == {one.response for one in of_cleo[1:]}
    assert "cleo" not in {one.person for one in again}


def test_everybody_gets_the_training_first() -> None:
    item = CalibrationItem(Item("t1", (), "Hi."), {"tone": "kind"})
    asked = study(n=3, people=replace(PEOPLE, training=CalibrationSet((item,), "people", "t.jsonl")))
    made = given_out(asked, slots_of(asked))
    assert sorted(one.person for one in made if one.kind == "training") == ["ana", "ben", "cleo"]
    assert all(one.place < 1 for one in made if one.kind == "training") and all(one.place >= 1 for one in made if one.kind == "work")
    assert not given_out(asked, slots_of(asked), made)


def verdicts(slots: list[Slot], seed: int = 1) -> dict[tuple[str, str, int], Verdict]:
    rng = random.Random(seed)
    return {where(slot): Verdict(rng.choice((0, 1, 1, 1)), rng.choice((0.6, 0.95))) for slot in slots}


def test_strata_are_the_graders_verdict_and_confidence_and_each_has_its_own_share() -> None:
    asked = study(n=120, people=replace(PEOPLE, share=0.4, strata="tone"))
    slots = slots_of(asked)
    said = verdicts(slots)
    planned = draw(asked, slots, (), name="small@1", at=1, verdicts=said)
    names = strata_of(asked, slots, said)
    assert {name.partition(",")[0] for name in names.values()} == {"cold", "neutral"}
    by_stratum = drawn(names, planned.assignments, slots)
    for system in ("bare", "guided"):
        mine = {one.response for one in planned.assignments if one.system == system}
        assert len(mine) == round(0.4 * 120)
        size = Counter(name for place, name in names.items() if place[1] == system)
        taken = Counter(names[where(slot)] for slot in slots if slot.key in mine)
        assert all(taken[name] >= 4 for name in size)
        for place, one in by_stratum.items():
            if place[1] == system:
                assert one.probability == taken[one.stratum] / size[one.stratum]
    recorded = {(one.system, one.stratum): one.probability for one in planned.assignments}
    assert all(by_stratum[one.case_id or "", one.system, 1].probability == recorded[one.system, one.stratum] for one in planned.assignments)
    assert set(planned.plans) == {"bare", "guided"}


def test_too_few_marks_for_the_strata_are_refused_in_words() -> None:
    asked = study(n=30, people=replace(PEOPLE, share=0.1, strata="tone"))
    slots = slots_of(asked)
    with pytest.raises(CannotDo, match="do not give each of") as caught:
        draw(asked, slots, (), name="small@1", at=1, verdicts=verdicts(slots))
    assert caught.value.code == "TOO_FEW_LABELS"


def test_people_go_on_with_what_they_were_given_when_a_changed_grader_sorts_otherwise() -> None:
    asked = study(n=120, people=replace(PEOPLE, share=0.2, strata="tone"))
    slots = slots_of(asked)
    given_first = draw(asked, slots, (), name="small@1", at=1, verdicts=verdicts(slots)).assignments
    chosen = {one.response for one in given_first}
    unmarked = [slot for slot in slots if slot.key not in chosen]
    otherwise = {where(slot): Verdict(2 if slot in unmarked[:20] else 0, 0.9) for slot in slots}  # a new stratum nobody was asked about
    again = draw(asked, slots, given_first, name="small@1", at=2, verdicts=otherwise)
    assert again.assignments == ()
    more = draw(asked, slots, given_first, name="small@1", at=3, verdicts=otherwise, share=0.4).assignments
    assert {one.response for one in more}.isdisjoint(chosen) and any(slot.key in {one.response for one in more} for slot in unmarked[:20])


def test_the_order_says_nothing_about_systems() -> None:
    """Over many draws each system stands as often in the first half of a person's order as in the second."""
    early: Counter[str] = Counter()
    for number in range(60):
        asked = replace(study(n=10, people=replace(PEOPLE, roster=("ana",))), name=f"s{number}")
        made = sorted(draw(asked, slots_of(asked), (), name=f"s{number}@1", at=1).assignments, key=lambda one: one.place)
        early.update(one.system for one in made[:10])
    # 600 places, half of them each system's if the order is fair; the standard deviation is below 12.3
    assert abs(early["bare"] - 300) < 50


def test_every_answered_response_of_a_complete_case_is_eligible() -> None:
    asked = study(n=4, people=PEOPLE)
    slots = slots_of(asked, missing=("c4",))
    assert [slot.key for slot in eligible(slots)] == [slot.key for slot in slots if slot.case.id != "c4"]
