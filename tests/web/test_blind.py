"""Who marks cannot tell what is hidden: asserted on the bytes of every answer to every route that a marker may use."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from fairmark.records import Answer, Failure, Question, Usage
from fairmark.study import GraderSpec, People
from fairmark.web import app
from fairmark.workbench import Workbench
from tests.bench import Fake, bench, helpful
from tests.web.conftest import Served, marked_study

Start = Callable[..., Served]
PEOPLE = People(("ana", "ben"), adjudicators=("cleo",), criteria=("tone", "safe"), twice=1.0, repeats=0.3)
HIDDEN = ("bare", "guided", "judge-model", "openai", "probability", "stratum", "strata", "seed")  # all else that is hidden is `veiled`
PANE = {"id", "version", "status", "known", "said", "notes"}
VIEW = {"id", "panes", "training", "place", "before", "after", "can_undo", "can_redo", "progress", "html"}


def veiled_bench() -> Workbench:
    """A bench on which whatever must not be seen has a name that occurs nowhere else."""

    def reply(question: Question) -> Answer | Failure:
        if question.schema is not None:
            return Answer('{"evidence": "", "reason": "veiled reason", "level": "neutral"}', "stop", "veiled", Usage(10, 0, 5), 0.0)
        return replace(said, model="veiled-model") if isinstance(said := helpful(question), Answer) else said

    base = marked_study(PEOPLE, n=10, hypotheses=(), name="letters")
    cases = tuple(
        replace(
            case,
            id=f"veiled-{case.id}",
            expected="veiled expectation",
            fields={name: f"veiled-{value}" for name, value in case.fields.items()},
        )
        for case in base.cases
    )
    judge = replace(base.graders["judge"], name="veiled_judge")
    graders = {"veiled_judge": judge, "people": GraderSpec("people", "people", PEOPLE.criteria, chosen="all")}
    made = bench(replace(base, cases=cases, graders=graders, groups=("variety",), population={}), Fake(reply))
    made.run()
    made.assign()
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    from tests.web.conftest import serving

    made = veiled_bench()
    desk = made.desk()
    for one in made.store.people.assignments(desk.name, "ben"):
        for criterion, label in (("tone", "cold"), ("safe", "no")):
            desk.mark("ben", one.id, str(uuid.uuid4()), criterion=criterion, label=label, reason="veiled opinion")
        desk.note("ben", one.id, str(uuid.uuid4()), note=str(uuid.uuid4()), text="veiled note")
    running = serving(made)
    yield running
    running.stop()


def everything(server: Served, person: str, role: str) -> Iterator[tuple[str, str]]:
    """What every route of a role answers, on every assignment of the person: where, and the bytes with their headers."""
    bench = server.office.bench
    mine = [one.id for one in bench.store.people.assignments(server.office.desk.name, person)]
    to_settle = [one.id for one in bench.adjudication().all(person)] if role == "adjudicator" else []
    for route in app.ROUTES:
        if role not in route.roles or route.path == "/leave":
            continue
        for one in (to_settle if route.path.startswith("/settle") else mine) if "{id}" in route.path else [""]:
            path = route.path.replace("{id}", one)
            said = {"act": str(uuid.uuid4()), "criterion": "tone", "label": "kind", "note": str(uuid.uuid4()), "text": "mine"}
            code, body, headers = server.get(path, person) if route.method == "GET" else server.post(path, said, person)
            assert code < 500, path
            yield f"{route.method} {path}", f"{headers}\n{body.decode()}"


def test_nothing_that_is_hidden_is_in_the_bytes_that_a_marker_gets(server: Served) -> None:
    made = server.office.bench
    keys = {one.response for one in made.store.people.assignments(server.office.desk.name)}
    theirs = {one.id for one in made.store.people.assignments(server.office.desk.name, "ben")}
    seen = 0
    for where, got in everything(server, "ana", "grader"):
        seen += 1
        if not where.startswith("GET /notes"):  # field notes are everybody's; marks are not
            assert "veiled" not in got, where
        for word in (*HIDDEN, "ben", "cleo"):
            assert not re.search(rf"\b{word}\b", got), (where, word)
        assert not [key for key in keys | theirs if key in got], where
    assert seen > 50


def test_a_view_has_no_field_that_is_not_known_to_be_harmless(server: Served) -> None:
    for one in server.office.bench.store.people.assignments(server.office.desk.name, "ana"):
        view = json.loads(server.get(f"/mark/{one.id}/view", "ana")[1])
        assert set(view) == VIEW
        assert all(set(pane) == PANE for pane in view["panes"])


def test_a_hidden_repeat_looks_like_any_other(served: Start) -> None:
    server = served(veiled_bench())
    mine = server.office.bench.store.people.assignments(server.office.desk.name, "ana")
    again = {one.response: one.id for one in mine if one.repeat}
    assert again
    for one in mine:
        if not one.repeat and one.response in again:
            first, second = (json.loads(server.get(f"/mark/{name}/view", "ana")[1]) for name in (one.id, again[one.response]))
            assert first["html"].replace(one.id, "X") == second["html"].replace(again[one.response], "X")
            assert first["panes"][0] | {"id": ""} == second["panes"][0] | {"id": ""}


def test_an_adjudicator_is_told_neither_system_nor_names(server: Served) -> None:
    made = server.office.bench
    for one in made.store.people.assignments(server.office.desk.name, "ana"):
        server.office.desk.mark("ana", one.id, str(uuid.uuid4()), criterion="tone", label="kind", reason="mine")
    opinions = 0
    for where, got in everything(server, "cleo", "adjudicator"):
        for word in (*HIDDEN, "ana", "ben"):
            assert not re.search(rf"\b{word}\b", got), (where, word)
        assert not re.search("veiled(?! opinion| note)", got), where  # what people said is shown, who said it is not
        opinions += where.startswith("GET /settle/") and "veiled opinion" in got
    assert opinions > 5
