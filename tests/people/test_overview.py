"""What an owner sees of the marking."""

from __future__ import annotations

import uuid
from dataclasses import replace

from fairmark.people import gives_away
from fairmark.people.overview import touched, with_anchor
from fairmark.records import Answer
from tests.bench import Fake, bench
from tests.web.conftest import PEOPLE, marked_bench, marked_study


def test_progress_minutes_and_who_has_not_come() -> None:
    made = marked_bench(n=4)
    desk = made.desk()
    one = desk.next_open("ana")
    assert one is not None
    for criterion, label, seconds in (("tone", "kind", 30.0), ("safe", "yes", 90.0)):
        desk.mark("ana", one, str(uuid.uuid4()), criterion=criterion, label=label, seconds=seconds)
    seen = made.overview()
    ana, ben = seen.markers
    assert (ana.done, ana.minutes, ana.median_seconds, ana.last is None) == (1, 1.5, 90.0, False)
    assert (ben.done, ben.minutes, ben.median_seconds, ben.last) == (0, 0.0, None, None)
    assert (seen.responses, seen.given, seen.voided) == (8, 8, {})


def test_what_a_change_voids_is_counted_by_what_has_changed() -> None:
    made = marked_bench(n=4)
    desk = made.desk()
    for person in ("ana", "ben"):
        while (one := desk.next_open(person)) is not None:
            desk.mark(person, one, str(uuid.uuid4()), criterion="tone", label="kind")
            desk.mark(person, one, str(uuid.uuid4()), criterion="safe", label="yes")
    marks = len(made.store.people.assignments("small@1"))
    tone = replace(made.study.rubric["tone"], guidance="Mind the closing line.")
    rubric = replace(made.study.rubric, criteria=tuple(tone if one.id == "tone" else one for one in made.study.rubric))
    edited = bench(replace(made.study, rubric=rubric))
    edited._store = made.store
    assert edited.overview().voided == {"the wording of tone": marks}


def test_responses_that_name_a_system_are_counted() -> None:
    named = Fake(lambda question: Answer("I am Guided, a product of OpenAI." if question.schema is None else "{}", "stop"))
    made = bench(marked_study(n=2), named)
    made.run()
    assert gives_away(made.study, made.slots()) == {"guided": 4, "openai": 4}
    harmless = Fake(lambda question: Answer("We misguided nobody." if question.schema is None else "{}", "stop"))
    made = bench(marked_study(n=2), harmless)
    made.run()
    assert gives_away(made.study, made.slots()) == {}


def test_what_a_proposed_anchor_would_touch_is_what_it_voids_once_it_is_taken_over() -> None:
    made = marked_bench(replace(PEOPLE, twice=1.0), n=2)
    desk = made.desk()
    for person, label in (("ana", "kind"), ("ben", "cold")):
        while (one := desk.next_open(person)) is not None:
            desk.mark(person, one, str(uuid.uuid4()), criterion="tone", label=label)
            desk.mark(person, one, str(uuid.uuid4()), criterion="safe", label="yes")
    settling = made.adjudication()
    anchor = {"level": "kind", "text": "warm, and says what happens next"}
    settling.settle("cleo", settling.open()[0].id, str(uuid.uuid4()), label="neutral", reason="", fault="rubric", anchor=anchor)
    (proposed,) = settling.proposals()
    rubric = with_anchor(made.study.rubric, proposed)
    assert rubric["tone"].levels[-1].anchor == "warm, and says what happens next" and rubric["safe"] == made.study.rubric["safe"]
    assert touched(made.table(), made.study.rubric) == {}
    assert touched(made.table(), rubric) == {"tone": 8 + 1}  # four responses marked twice, and what settled one
    edited = bench(replace(made.study, rubric=rubric))
    edited._store = made.store
    assert edited.overview().voided == {"the wording of tone": 8}
    assert {done: edited.desk().progress(done).done for done in ("ana", "ben")} == {"ana": 0, "ben": 0}
