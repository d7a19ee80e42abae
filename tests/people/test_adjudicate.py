"""Disagreements between people are settled; the originals stay."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from fairmark.errors import CannotDo, Mistake
from fairmark.records import ADJUDICATED
from fairmark.rubric import CANNOT_TELL
from fairmark.workbench import Workbench
from tests.bench import bench
from tests.web.conftest import PEOPLE, marked_bench


def act() -> str:
    return str(uuid.uuid4())


def differing(people=PEOPLE) -> Workbench:  # type: ignore[no-untyped-def]
    """A bench on which ana finds all kind and ben all cold, every response marked by both, and all safe."""
    made = marked_bench(replace(people, twice=1.0), n=8)
    desk = made.desk()
    for person, label in (("ana", "kind"), ("ben", "cold")):
        while (one := desk.next_open(person)) is not None:
            desk.mark(person, one, act(), criterion="tone", label=label, reason=f"{label}, I think")
            desk.mark(person, one, act(), criterion="safe", label="yes")
    return made


def test_only_what_people_differ_on_is_shown_without_names_and_once() -> None:
    made = differing()
    found = made.adjudication().all("cleo")
    assert [one.criterion for one in found] == ["tone"] * 16
    for one in found:
        assert sorted(side.label or "" for side in one.sides) == ["cold", "kind"]
        assert not {"ana", "ben", "bare", "guided"} & {one.id, *map(str, one.fields)}
    assert len({one.sides[0].label for one in found}) == 2  # the first side is not always the same person's


def test_what_is_settled_counts_and_the_originals_stay() -> None:
    made = differing()
    settling = made.adjudication()
    for one in settling.open("cleo"):
        settling.settle("cleo", one.id, act(), label="neutral", reason="in between", fault="mark")
    assert settling.open("cleo") == ()
    table = made.table()
    assert table.metric("guided", "tone").low.tolist() == [0.5] * 8
    cells = [cell for cell in table.rows[0].cells if cell.criterion == "tone" and cell.kind == "human"]
    assert sorted((cell.rater, cell.grade.label) for cell in cells if cell.grade) == [
        (ADJUDICATED, "neutral"), ("ana", "kind"), ("ben", "cold"),
    ]  # fmt: skip


def test_a_settlement_is_taken_back_and_nothing_is_lost() -> None:
    made = differing()
    settling = made.adjudication()
    one = settling.open("cleo")[0]
    same = act()
    assert settling.settle("cleo", one.id, same, label="kind", reason="", fault="item").fresh
    assert not settling.settle("cleo", one.id, same, label="kind", reason="", fault="item").fresh
    settling.take_back("cleo", one.id, act())
    assert settling.one("cleo", one.id).settled is None and len(settling.open("cleo")) == 16
    assert len(made.store.people.acts("small@1", kinds=["adjudicate"])) == 2
    assert all(cell.rater != ADJUDICATED for row in made.table().rows for cell in row.cells)
    with pytest.raises(CannotDo, match="is not settled"):
        settling.take_back("cleo", one.id, act())


def test_a_fault_of_the_rubric_proposes_an_anchor_and_changes_no_file() -> None:
    made = differing()
    settling = made.adjudication()
    one = settling.open("cleo")[0]
    settling.settle(
        "cleo",
        one.id,
        act(),
        label="kind",
        reason="thanks are enough",
        fault="rubric",
        anchor={"level": "kind", "text": "Thanks the person."},
    )
    proposal = settling.proposals()[0]
    assert (proposal.level, proposal.now, proposal.proposed) == ("kind", "warm and plain", "Thanks the person.")
    assert made.study.rubric["tone"].levels[-1].anchor == "warm and plain"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"label": "splendid"}, "settles nothing"),
        ({"label": CANNOT_TELL}, "settles nothing"),
        ({"fault": "weather"}, "no place where a fault can be"),
        ({"anchor": {"level": "best", "text": "x"}}, "names no level"),
        ({"anchor": {"level": "kind", "text": " "}}, "says nothing"),
    ],
)
def test_what_cannot_settle_is_refused(changes: dict[str, object], found: str) -> None:
    made = differing()
    settling = made.adjudication()
    said = {"label": "kind", "reason": "", "fault": "mark", **changes}
    with pytest.raises(Mistake, match=found):
        settling.settle("cleo", settling.open("cleo")[0].id, act(), **said)  # type: ignore[arg-type]


def test_nobody_settles_their_own_mark_while_somebody_else_can() -> None:
    made = differing(replace(PEOPLE, adjudicators=("ana", "cleo")))
    settling = made.adjudication()
    assert settling.open("ana") == () and len(settling.open("cleo")) == 16
    with pytest.raises(CannotDo, match="no such disagreement"):
        settling.settle("ana", settling.open("cleo")[0].id, act(), label="kind", reason="", fault="mark")
    alone = differing(replace(PEOPLE, adjudicators=("ana",)))
    assert len(alone.adjudication().open("ana")) == 16


def test_a_new_wording_opens_what_was_settled_for_the_old_one() -> None:
    made = differing()
    settling = made.adjudication()
    settling.settle("cleo", settling.open("cleo")[0].id, act(), label="kind", reason="", fault="mark")
    tone = replace(made.study.rubric["tone"], guidance="Mind the closing line.")
    rubric = replace(made.study.rubric, criteria=tuple(tone if one.id == "tone" else one for one in made.study.rubric))
    edited = bench(replace(made.study, rubric=rubric))
    edited._store = made.store
    assert edited.adjudication().all() == ()  # nobody has marked by the new wording yet
    assert all(cell.rater != ADJUDICATED for row in edited.table().rows for cell in row.cells)


def test_a_settlement_settles_the_marks_it_saw_and_no_others() -> None:
    made = differing()
    settling = made.adjudication()
    for one in settling.open("cleo"):
        settling.settle("cleo", one.id, act(), label="neutral", reason="", fault="mark")
    desk = made.desk()
    first = next(one for one in made.store.people.assignments("small@1", "ben") if one.kind == "work")
    place = (first.case_id, first.system, 1)

    def worth() -> float:
        rows = made.table().of(first.system)
        spot = next(place_ for place_, row in enumerate(rows) if (row.case.id, row.system, row.trial) == place)
        return float(made.table().metric(first.system, "tone").low[spot])

    assert worth() == 0.5
    desk.mark("ben", first.id, act(), criterion="tone", label="kind")  # as ana has it: people agree now
    assert worth() == 1.0 and len(settling.all()) == 15
    desk.mark("ben", first.id, act(), criterion="tone", label="neutral")  # they differ again, and otherwise than before
    assert len(settling.open("cleo")) == 1
    desk.undo("ben", act())
    desk.undo("ben", act())  # back to the marks that were settled
    assert worth() == 0.5 and settling.open("cleo") == ()


def test_taking_back_that_is_sent_twice_is_done_once() -> None:
    made = differing()
    settling = made.adjudication()
    one = settling.open("cleo")[0]
    settling.settle("cleo", one.id, act(), label="kind", reason="", fault="item")
    same = act()
    assert settling.take_back("cleo", one.id, same).fresh
    again = settling.take_back("cleo", one.id, same)
    assert again.stored and not again.fresh
