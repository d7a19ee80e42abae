"""Notes are sorted into codes: counted by response, taken back step by step, and sorted twice by people who do not see each other."""

from __future__ import annotations

import uuid

import pytest

from fairmark.errors import CannotDo, Mistake
from fairmark.people.codes import Coding
from fairmark.workbench import Workbench
from tests.people.test_desk import PEOPLE, marked_by


def new() -> str:
    return str(uuid.uuid4())


def noted(n: int = 6, texts: tuple[str, ...] = ("no thanks", "no date")) -> tuple[Workbench, Coding]:
    """Every response marked, the first with two notes and each further one with one, the last without."""
    made = marked_by(PEOPLE, n=n)
    made.assign()
    desk, seen = made.desk(), 0
    for person in ("ana", "ben"):
        while (one := desk.next_open(person)) is not None:
            for text in texts if seen == 0 else () if seen == 2 * n - 1 else texts[:1]:
                desk.note(person, one, new(), note=new(), text=text)
            for criterion, label in (("tone", "cold"), ("safe", "yes")):
                desk.mark(person, one, new(), criterion=criterion, label=label)
            seen += 1
    return made, Coding(made.study, made.store, desk.name, made.slots)


def sort(coding: Coding, person: str) -> None:
    """Puts every note under a code of its own words."""
    for card in coding.board(person).cards:
        code = next((one.id for one in coding.board(person).codes if one.name == card.text), None)
        if code is None:
            coding.do(person, new(), "create", code=new(), called=card.text, notes=[card.id])
        else:
            coding.do(person, new(), "put", code=code, notes=[card.id])


def counts(coding: Coding, person: str) -> dict[str, int]:
    return {code.name: code.responses for code in coding.board(person).codes}


def test_codes_are_counted_by_response_and_shares_wait_until_all_is_sorted() -> None:
    _, coding = noted()
    board = coding.board("cleo")
    assert (len(board.cards), board.read, board.unsorted) == (12, 12, 12)
    first, second = new(), [card.id for card in board.cards if card.text == "no thanks"]
    coding.do("cleo", new(), "create", code=first, called="unkind", notes=second[:3])
    assert coding.board("cleo").codes[0].low is None
    coding.do("cleo", new(), "put", code=first, notes=[card.id for card in board.cards])
    (unkind,) = coding.board("cleo").codes
    assert unkind.responses == 11  # two notes of one response are one response
    assert unkind.low is not None and unkind.high is not None and 0 < unkind.low < 11 / 12 < unkind.high <= 1


def test_merge_split_rename_and_undo() -> None:
    _, coding = noted()
    sort(coding, "cleo")
    assert counts(coding, "cleo") == {"no thanks": 11, "no date": 1}
    by_name = {code.name: code.id for code in coding.board("cleo").codes}
    coding.do("cleo", new(), "merge", code=by_name["no date"], into=by_name["no thanks"])
    assert counts(coding, "cleo") == {"no thanks": 11}
    coding.undo("cleo", new())
    assert counts(coding, "cleo") == {"no thanks": 11, "no date": 1}
    some = [card.id for card in coding.board("cleo").cards if card.text == "no thanks"][:4]
    coding.do("cleo", new(), "split", code=by_name["no thanks"], into=new(), called="curt", notes=some)
    assert counts(coding, "cleo") == {"no thanks": 7, "no date": 1, "curt": 4}
    coding.do("cleo", new(), "rename", code=by_name["no date"], called="no deadline")
    coding.undo("cleo", new())
    coding.undo("cleo", new())
    assert counts(coding, "cleo") == {"no thanks": 11, "no date": 1}


def test_an_act_sent_twice_is_done_once_and_what_others_use_is_not_taken_from_them() -> None:
    made, coding = noted()
    act, code = new(), new()
    for _ in range(2):
        coding.do("cleo", act, "create", code=code, called="unkind")
    assert len(made.store.people.acts("small@1", kinds=["code"])) == 1
    coding.do("owner", new(), "put", code=code, notes=[coding.board("owner").cards[0].id])
    with pytest.raises(CannotDo, match="somebody else uses"):
        coding.undo("cleo", new())
    coding.undo("owner", new())
    coding.undo("cleo", new())
    assert coding.board("cleo").codes == ()
    with pytest.raises(CannotDo, match="nothing of yours"):
        coding.undo("cleo", new())


def test_a_second_reader_starts_blind_and_their_agreement_is_by_response() -> None:
    _, coding = noted(n=20)
    sort(coding, "cleo")
    assert all(card.codes == () for card in coding.board("owner").cards)
    assert coding.board("owner").codes[0].responses == 0
    assert coding.agreement("cleo", "owner").n_double == 0
    sort(coding, "owner")
    assert coding.readers() == ("cleo", "owner")
    book = coding.agreement("cleo", "owner")
    assert (book.n_cases, book.n_double, book.refused) == (40, 39, None)
    assert [(kind.kind, kind.both, kind.one, kind.neither) for kind in sorted(book.kinds, key=lambda one: one.kind)] == [
        ("no date", 1, 0, 38),
        ("no thanks", 39, 0, 0),
    ]
    unseen = coding.board("cleo").unseen
    assert unseen.refused is None and unseen.ahead == 25 and (unseen.n_cases, unseen.met_once) == (40, 1)
    assert unseen.new_kinds == pytest.approx(1 - (1 - 1 / 41) ** 25)  # one kind met once and none twice: f0 = 1


def test_a_marker_sees_only_their_own_notes_and_nobody_a_name() -> None:
    made, coding = noted()
    own = {card.id for card in coding.board("ana", own=True).cards}
    other = {card.id for card in coding.board("ben", own=True).cards}
    assert own and other and not own & other
    assert own | other == {card.id for card in coding.board("cleo").cards}
    named = {one.id for one in made.store.people.assignments("small@1")}
    assert not named & (own | other)


@pytest.mark.parametrize(
    ("step", "said", "why"),
    [
        ("create", {"code": new(), "called": "  "}, "no name"),
        ("create", {"code": new(), "called": "UNKIND"}, "already"),
        ("rename", {"code": new(), "called": "x"}, "no such code"),
        ("put", {"notes": ["gone"]}, "not there any more"),
        ("take", {}, "no note"),
        ("drop", {}, "nothing that can be done"),
    ],
)
def test_what_cannot_be_is_refused(step: str, said: dict[str, object], why: str) -> None:
    made, coding = noted(n=1)
    code = new()
    coding.do("cleo", new(), "create", code=code, called="unkind")
    with pytest.raises(Mistake, match=why):
        coding.do("cleo", new(), step, **{"code": code, **said})  # type: ignore[arg-type]
    assert len(made.store.people.acts("small@1", kinds=["code"])) == 1
