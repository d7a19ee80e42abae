"""People mark: what is given out, said, taken back, and what becomes of it in the table."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fairmark.errors import CannotDo, Mistake
from fairmark.people import Desk
from fairmark.records import Slot
from fairmark.rubric import CANNOT_TELL, NOT_COVERED
from fairmark.study import GraderSpec, People, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import bench, study


def act() -> str:
    return str(uuid.uuid4())


def marked_by(people: People, n: int = 6) -> Workbench:
    base = study(n=n)
    graders = {**base.graders, "people": GraderSpec("people", "people", people.criteria, chosen="all" if people.share == 1 else "random")}
    made = bench(replace(base, people=people, graders=graders))
    made.run()
    return made


PEOPLE = People(("ana", "ben"), criteria=("tone", "safe"))


def everything(made: Workbench, person: str, label: str = "neutral") -> int:
    desk, count = made.desk(), 0
    while (one := desk.next_open(person)) is not None:
        for criterion, said in (("tone", label), ("safe", "yes")):
            desk.mark(person, one, act(), criterion=criterion, label=said)
        count += 1
    return count


def test_people_mark_their_share_and_the_marks_stand_in_the_table() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    assert everything(made, "ana") + everything(made, "ben") == 12  # 6 cases of two systems, each marked once
    table = made.table()
    human = [cell for row in table.rows for cell in row.cells if cell.kind == "human"]
    assert len(human) == 24 and all(cell.grade is not None and cell.grade.label for cell in human)
    assert table.metric("guided", "tone>=neutral").low.tolist() == [1.0] * 6
    assert table.metric("guided", "tone").scorer == "human"


def test_drawing_again_gives_out_nothing_new() -> None:
    made = marked_by(PEOPLE)
    first = made.assign()
    assert len(first.assignments) == 12
    assert made.assign().assignments == ()


def test_a_larger_share_extends_the_draw_and_each_case_is_marked_by_one_person() -> None:
    made = marked_by(replace(PEOPLE, share=0.5))
    first = {one.response for one in made.assign().assignments}
    more = made.assign(share=1.0).assignments
    assert len(first) == 6 and len(more) == 6 and not first & {one.response for one in more}
    by_case: dict[str | None, set[str]] = {}
    for one in made.store.people.assignments("small@1"):
        by_case.setdefault(one.case_id, set()).add(one.person)
    assert all(len(who) == 1 for who in by_case.values())
    assert {one.probability for one in more} == {1.0}


def test_undo_goes_back_over_responses_and_redo_forward() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    desk = made.desk()
    first = desk.next_open("ana")
    assert first is not None
    desk.mark("ana", first, act(), criterion="tone", label="kind", reason="warm")
    desk.mark("ana", first, act(), criterion="tone", label="cold")
    second = desk.view("ana", first).after
    assert second is not None
    desk.mark("ana", second, act(), criterion="tone", label="cold")
    back = desk.undo("ana", act())
    assert back is not None and back.assignment == second and back.pane.said["tone"].label is None
    back = desk.undo("ana", act())
    assert (
        back is not None and back.assignment == first and (back.pane.said["tone"].label, back.pane.said["tone"].reason) == ("kind", "warm")
    )
    again = desk.redo("ana", act())
    assert again is not None and again.assignment == first and again.pane.said["tone"].label == "cold"
    desk.undo("ana", act())
    desk.undo("ana", act())
    assert desk.undo("ana", act()) is None
    table = made.table()
    assert all(cell.grade is None for row in table.rows for cell in row.cells if cell.kind == "human")
    assert len(made.store.people.acts("small@1")) == 8  # nothing is lost


def test_an_act_that_is_sent_twice_is_stored_once_and_a_second_window_cannot_overwrite() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    desk = made.desk()
    one = desk.next_open("ana")
    assert one is not None
    same = act()
    assert desk.mark("ana", one, same, criterion="tone", label="kind", base=0).posted.fresh
    repeated = desk.mark("ana", one, same, criterion="tone", label="kind", base=0).posted
    assert repeated.stored and not repeated.fresh and repeated.version == 1
    other = desk.mark("ana", one, act(), criterion="tone", label="cold", base=0)
    assert not other.posted.stored and other.pane.said["tone"].label == "kind"


def test_nobody_marks_what_is_anothers_and_nothing_off_the_scale_is_stored() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    desk = made.desk()
    one = desk.next_open("ben")
    assert one is not None
    with pytest.raises(CannotDo, match="no such response"):
        desk.mark("ana", one, act(), criterion="tone", label="kind")
    with pytest.raises(Mistake, match="not on the scale"):
        desk.mark("ben", one, act(), criterion="tone", label="splendid")
    with pytest.raises(Mistake, match="quote"):
        desk.mark("ben", one, act(), criterion="tone", label="kind", evidence=[{"quote": "not there", "start": 0, "end": 9}])
    assert made.store.counts()["acts"] == 0


def test_ways_out_need_a_reason_and_are_missing_never_zero() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    desk = made.desk()
    one = desk.next_open("ana")
    assert one is not None
    assert desk.mark("ana", one, act(), criterion="tone", label=CANNOT_TELL).pane.status == "open"
    desk.mark("ana", one, act(), criterion="tone", label=CANNOT_TELL, reason="the letter is cut off")
    assert desk.mark("ana", one, act(), criterion="safe", label=NOT_COVERED, reason="no papers are at issue").pane.status == "done"
    cells = [cell.grade for row in made.table().rows for cell in row.cells if cell.kind == "human" and cell.grade is not None]
    assert {(grade.label, grade.failure.kind if grade.failure else None) for grade in cells} == {(CANNOT_TELL, None), (None, "not_covered")}


def test_what_was_looked_up_is_not_read_again_at_the_first_visit() -> None:
    with marked_by(PEOPLE) as made:
        made.assign()
        read: list[int] = []

        def slots() -> Sequence[Slot]:
            read.append(1)
            return made.slots()

        desk = Desk(made.study, made.store, "small@1", slots)
        desk.look_up()
        assert len(read) == 1
        for person in ("ana", "ben"):
            assert desk.progress(person).assigned == made.desk().progress(person).assigned > 0
        assert len(read) == 1


def test_a_skipped_response_comes_last() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    desk = made.desk()
    one = desk.next_open("ana")
    assert one is not None
    desk.skip("ana", one, act(), reason="too long for now")
    assert desk.next_open("ana") != one
    assert made.desk().progress("ana").done == 0
    everything(made, "ana")
    assert made.desk().progress("ana").done == made.desk().progress("ana").assigned


def test_a_new_wording_voids_exactly_the_marks_it_touches() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    everything(made, "ana")
    everything(made, "ben")
    tone = replace(made.study.rubric["tone"], guidance="Mind the closing line.")
    rubric = replace(made.study.rubric, criteria=tuple(tone if one.id == "tone" else one for one in made.study.rubric))
    edited = bench(replace(made.study, rubric=rubric))
    edited._store = made.store
    cells = [cell for row in edited.table().rows for cell in row.cells if cell.kind == "human"]
    by_criterion = {
        name: {cell.grade.failure.kind if cell.grade and cell.grade.failure else "" for cell in cells if cell.criterion == name}
        for name in ("tone", "safe")
    }
    assert by_criterion == {"tone": {"stale_mark"}, "safe": {""}}
    stale = next(cell.grade for cell in cells if cell.criterion == "tone")
    assert stale is not None and stale.failure is not None and "wording of tone" in stale.failure.why
    desk = edited.desk()
    one = desk.next_open("ana")
    assert one is not None
    pane = desk.view("ana", one).panes[0]
    assert set(pane.said) == {"safe"}  # only tone is asked for again


def test_hidden_repeats_count_in_no_estimate() -> None:
    made = marked_by(replace(PEOPLE, roster=("ana",), repeats=0.2), n=20)
    drawn = made.assign().assignments
    again = [one for one in drawn if one.repeat]
    assert len(again) == 8 and all(one.place > next(o.place for o in drawn if o.response == one.response and not o.repeat) for one in again)
    everything(made, "ana")
    metric = made.table().metric("guided", "tone>=neutral")
    assert len(metric.low) == 20


def test_together_first_and_the_rest_only_once_it_is_opened() -> None:
    made = marked_by(replace(PEOPLE, together=1))
    made.assign()
    desk = made.desk()
    assert (desk.progress("ana").assigned, desk.progress("ana").stage) == (2, "together")
    assert everything(made, "ana") == 2
    desk = made.desk()
    assert desk.next_open("ana") is None and desk.progress("ana").waiting > 0
    desk.open_work("owner")
    assert desk.next_open("ana") is not None


def test_pairs_stand_side_by_side_and_sides_are_balanced() -> None:
    made = marked_by(replace(PEOPLE, pairs=True))
    drawn = made.assign().assignments
    left = [one.system for one in drawn if one.side == 0]
    assert sorted(left) == ["bare"] * 3 + ["guided"] * 3
    desk = made.desk()
    one = desk.next_open("ana")
    assert one is not None
    assert len(desk.view("ana", one).panes) == 2


def test_the_plan_says_how_much_people_are_asked_and_what_a_share_can_show() -> None:
    made = marked_by(replace(PEOPLE, share=0.5, twice=0.5), n=40)
    marking = made.plan().marking
    assert marking is not None
    assert (marking.people, marking.responses, marking.criteria) == (2, 20, 2)
    assigned = made.assign().assignments
    assert abs(marking.each - len(assigned) / 2) <= 2
    hypothesis = replace(made.study.hypotheses[0], on="safe")
    graders = {name: spec for name, spec in made.study.graders.items() if name == "people"}
    whole, half = (
        bench(replace(made.study, graders=graders, hypotheses=(hypothesis,), people=replace(PEOPLE, share=share))).plan().power[0]
        for share in (1.0, 0.5)
    )
    smallest = whole.smallest[-1][1], half.smallest[-1][1]
    assert smallest[0] is not None and (smallest[1] is None or smallest[1] > smallest[0])


def test_equal_answers_of_two_systems_are_marked_once_and_count_for_both() -> None:
    said = {("c1", 1): "The same.", ("c2", 1): "The same."}
    systems = {name: SystemSpec(name, "recorded", recorded={**said, ("c3", 1): name}) for name in ("bare", "guided")}
    base = study(n=3)
    graders = {"limit": base.graders["limit"], "people": GraderSpec("people", "people", ("tone", "safe"), chosen="all")}
    made = bench(replace(base, systems=systems, graders=graders, people=PEOPLE, hypotheses=()))
    made.run()
    assert len(made.assign().assignments) == 4
    assert everything(made, "ana") + everything(made, "ben") == 4
    table = made.table()
    assert [table.metric(name, "tone>=neutral").low.tolist() for name in systems] == [[1.0] * 3, [1.0] * 3]
    assert made.assign().assignments == ()


def test_the_report_says_how_many_people_marked_and_what_they_have_still_to_do() -> None:
    made = marked_by(replace(PEOPLE, twice=0.5))
    made.assign()
    hypothesis = replace(made.study.hypotheses[0], on="safe")
    asked = bench(replace(made.study, hypotheses=(hypothesis,)))
    asked._store = made.store
    assert "let people mark what is missing" in asked.analyse().hypotheses[0].next
    everything(made, "ana")
    everything(made, "ben")
    sentence = asked.analyse().marked_by[-1]
    assert sentence == "2 people marked 12 answers on tone, safe without knowing which system gave them; 6 were marked by more than one."


def test_an_undo_that_is_sent_twice_takes_one_act_back() -> None:
    made = marked_by(PEOPLE)
    made.assign()
    desk = made.desk()
    first = desk.next_open("ana")
    assert first is not None
    desk.mark("ana", first, act(), criterion="safe", label="yes")
    second = desk.view("ana", first).after
    assert second is not None
    desk.mark("ana", second, act(), criterion="tone", label="kind")
    same = act()
    for _ in range(2):
        done = desk.undo("ana", same)
        assert done is not None and done.assignment == second and done.pane.said["tone"].label is None
    assert desk.view("ana", first).panes[0].said["safe"].label == "yes"
    again = act()
    for _ in range(2):
        done = desk.redo("ana", again)
        assert done is not None and done.assignment == second and done.pane.said["tone"].label == "kind"
