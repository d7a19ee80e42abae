"""What people are asked, what they do, and who may come in, as rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, bindparam, func, insert, select, update

from fairmark.records import Act, Assignment, Grade, Json, canonical
from fairmark.store.rows import Ready, driver
from fairmark.store.tables import act, assignment, content, session

_ASSIGNMENT = tuple(one.name for one in fields(Assignment))
_OF_ACT = (act.c.id, act.c.study, act.c.person, act.c.kind, content.c.text, act.c.assignment, act.c.case_id, act.c.at, act.c.seq)
_ACTS = select(*_OF_ACT).join(content, content.c.id == act.c.body).where(act.c.study == bindparam("study"))
_GIVEN = select(func.max(assignment.c.seq))
_SENT = select(act.c.seq).where(act.c.id == bindparam("id"))
_SESSION = select(session.c.person, session.c.role, session.c.at, session.c.until, session.c.ended).where(
    session.c.token == bindparam("token"),
    session.c.study == bindparam("study"),
    session.c.kind == "session",
    session.c.ended.is_(None),
    session.c.until > bindparam("at"),
)
_ADD_ACT = ("id", "study", "person", "kind", "assignment", "case_id", "at", "record", "body")


FRESH = 10**9  # nanoseconds for which what was read is believed: what another process ends or gives out is seen within them
MOST_KNOWN = 1000  # sessions that are kept at once


class Posted(NamedTuple):
    """What became of an act."""

    version: int  # acts on this assignment, this one included; where it was refused, those that stand
    stored: bool  # whether it stands now, be it new or sent before
    fresh: bool  # whether it was new
    acts: tuple[Act, ...] = ()  # on this assignment, as they stand now


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who may come in, or a link that lets them."""

    person: str  # pseudonym
    role: str  # grader, adjudicator or owner
    at: int  # UTC, nanoseconds
    until: int  # UTC, nanoseconds
    ended: int | None = None  # when the link was used or the session ended


class PeopleRows:
    """The rows about people in one open store. `store.people` gives it."""

    def __init__(
        self,
        put: Callable[[Callable[[Connection], None]], Future[None]],
        reading: Callable[[], AbstractContextManager[Connection]],
        add_bodies: Callable[[Connection, Sequence[str]], int],
        add_grades: Callable[[Connection, Sequence[Grade]], None],
        hashed: Callable[[str], str],
        column: Callable[[str], str],
        dialect: Dialect,
    ) -> None:
        self._put, self._reading, self._add_bodies, self._add_grades = put, reading, add_bodies, add_grades
        self._hashed, self._column = hashed, column
        self._known: dict[tuple[str, str], tuple[int, Session]] = {}  # sessions with when they were read; replaced, never emptied
        self._last = [0, 0]  # until when the number of the newest assignment is believed, and that number; replaced when some are added
        # what every mark needs
        self._given = Ready(_GIVEN, dialect)
        self._sent = Ready(_SENT, dialect)
        self._add_act = Ready(insert(act).values({name: bindparam(name) for name in _ADD_ACT}), dialect)
        self._acts_on = Ready(_ACTS.where(act.c.assignment == bindparam("assignment")).order_by(act.c.seq), dialect)
        self._session = Ready(_SESSION, dialect)

    # ------------------------------------------------------------ assignments

    def assign(self, planned: Sequence[Assignment]) -> None:
        """Adds assignments, all of them or none."""
        rows = [{name: self._clean(getattr(one, name)) for name in _ASSIGNMENT} for one in planned]

        def write(connection: Connection) -> None:
            connection.execute(insert(assignment), rows)

        if rows:
            self._put(write).result()
            self._last = [0, 0]

    def assignments(self, study: str, person: str | None = None) -> tuple[Assignment, ...]:
        """The assignments of a study and wave, or one person's, in the order they were made."""
        query = select(assignment).where(assignment.c.study == self._column(study)).order_by(assignment.c.seq)
        if person is not None:
            query = query.where(assignment.c.person == self._column(person))
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Assignment(**{name: row[name] for name in _ASSIGNMENT} | {"second": bool(row["second"])}) for row in rows)

    def newest(self) -> int:
        """The number of the newest assignment of any study, 0 for none: what was read before is complete while this stays.

        What another process gives out is seen within a second.
        """
        now = time.monotonic_ns()
        last = self._last  # of before the query: what is given out meanwhile puts another one in its place
        until, newest = last
        if now >= until:
            with self._reading() as connection, driver(connection) as cursor:
                newest = int(self._given.run(cursor).fetchone()[0] or 0)
            last[:] = now + FRESH, newest
        return newest

    # ------------------------------------------------------------ acts

    def post(self, done: Act, grades: Sequence[Grade] = (), *, base: int | None = None) -> Future[Posted]:
        """What became of an act and the grades that come of it, once that is durable.

        An act that was sent before is stored once. With `base`, the number of acts that the sender knew of, it is refused
        where others have been added to the assignment meanwhile.
        """
        body = canonical({"id": done.id, **done.content})  # with its id, so that forgetting one act empties no other
        row = {
            "id": self._column(done.id),
            "study": self._column(done.study),
            "person": self._column(done.person),
            "kind": done.kind,
            "assignment": self._column(done.assignment),
            "case_id": None if done.case_id is None else self._column(done.case_id),
            "at": done.at,
            "record": self._hashed(body),
        }
        found: list[Posted] = []

        def write(connection: Connection) -> None:
            found.clear()
            with driver(connection) as cursor:
                before: tuple[Act, ...] = ()
                if done.assignment:
                    before = self._on(cursor, self._column(done.study), self._column(done.assignment))
                sent = self._sent.run(cursor, id=row["id"]).fetchone() is not None
                if sent or (base is not None and base != len(before)):
                    found.append(Posted(len(before), sent, False, before))
                    return
                seq = self._add_act.run(cursor, **row, body=self._add_bodies(connection, [body])).lastrowid
            self._add_grades(connection, grades)
            now = (*before, replace(done, content=_content(body), seq=seq)) if done.assignment else ()
            found.append(Posted(len(now), True, True, now))

        answer: Future[Posted] = Future()
        answer.set_running_or_notify_cancel()

        def settle(written: Future[None]) -> None:
            error = written.exception()
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found[0])

        self._put(write).add_done_callback(settle)
        return answer

    def acts(
        self,
        study: str,
        *,
        person: str | None = None,
        kinds: Iterable[str] = (),
        before: int | None = None,
        newest: int | None = None,
    ) -> tuple[Act, ...]:
        """Acts in the order they were stored. `newest` gives only so many, the newest first, `before` only those with a lower `seq`."""
        query = _ACTS
        if person is not None:
            query = query.where(act.c.person == self._column(person))
        if wanted := list(kinds):
            query = query.where(act.c.kind.in_(wanted))
        if before is not None:
            query = query.where(act.c.seq < before)
        query = query.order_by(act.c.seq) if newest is None else query.order_by(act.c.seq.desc()).limit(newest)
        with self._reading() as connection:
            return tuple(_act(row) for row in connection.execute(query, {"study": self._column(study)}))

    def acts_on(self, study: str, assignment_id: str) -> tuple[Act, ...]:
        """The acts on one assignment, in the order they were stored."""
        with self._reading() as connection, driver(connection) as cursor:
            return self._on(cursor, self._column(study), self._column(assignment_id))

    def _on(self, cursor: Any, study: str, assignment_id: str) -> tuple[Act, ...]:
        return tuple(_act(row) for row in self._acts_on.run(cursor, study=study, assignment=assignment_id).fetchall())

    # ------------------------------------------------------------ who may come in

    def let_in(self, study: str, token: str, person: str, role: str, kind: str, *, at: int, until: int) -> None:
        """Notes a link or a session. `token` is the SHA-256 of what the person holds."""
        row = {"token": token, "study": study, "person": person, "role": role, "kind": kind, "at": at, "until": until}

        def write(connection: Connection) -> None:
            connection.execute(insert(session).values(**{name: self._clean(value) for name, value in row.items()}))

        self._put(write).result()

    def session(self, study: str, token: str, *, at: int) -> Session | None:
        """The session that a token's SHA-256 opens at this time; None where it opens none.

        Every page asks this, so what was read is believed for a second. What this process ends, ends at once.
        """
        known = self._known  # of before the query: an ending meanwhile puts another one in its place
        read, kept = known.get((study, token), (0, None))
        if kept is not None and 0 <= at - read < FRESH and at < kept.until:
            return kept
        if len(known) >= MOST_KNOWN:
            known = self._known = {}
        with self._reading() as connection, driver(connection) as cursor:
            row = self._session.run(cursor, token=token, study=self._column(study), at=at).fetchone()
        if row is None:
            known.pop((study, token), None)
            return None
        found = Session(*row)
        known[study, token] = (at, found)
        return found

    def use_link(self, study: str, token: str, *, at: int) -> Session | None:
        """Uses a link up. Gives whom it lets in; None where it is unknown, used or too old."""
        found: list[Session] = []
        good = (
            session.c.token == token,
            session.c.study == self._column(study),
            session.c.kind == "link",
            session.c.ended.is_(None),
            session.c.until > at,
        )

        def write(connection: Connection) -> None:
            found.clear()
            row = connection.execute(select(session).where(*good)).first()
            if row is not None:
                connection.execute(update(session).where(session.c.token == token).values(ended=at))
                found.append(Session(row.person, row.role, row.at, row.until, at))

        self._put(write).result()
        return found[0] if found else None

    def end_session(self, token: str, *, at: int) -> None:
        """Ends one session or link."""

        def write(connection: Connection) -> None:
            connection.execute(update(session).where(session.c.token == token, session.c.ended.is_(None)).values(ended=at))

        self._put(write).result()
        self._known = {}

    def end_sessions(self, study: str, person: str, *, at: int) -> int:
        """Ends all sessions and links of one person. Returns how many were still good."""
        ended: list[int] = []

        def write(connection: Connection) -> None:
            ended.clear()
            of_person = (session.c.study == self._column(study), session.c.person == self._column(person), session.c.ended.is_(None))
            ended.append(connection.execute(update(session).where(*of_person).values(ended=at)).rowcount)

        self._put(write).result()
        self._known = {}
        return ended[0]

    def sessions(self, study: str, *, at: int) -> tuple[Session, ...]:
        """The sessions that are good at this time, the oldest first."""
        query = select(session).where(
            session.c.study == self._column(study), session.c.kind == "session", session.c.ended.is_(None), session.c.until > at
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(session.c.at)).all()
        return tuple(Session(row.person, row.role, row.at, row.until, row.ended) for row in rows)

    def _clean(self, value: Any) -> Any:
        return self._column(value) if isinstance(value, str) else value


def _act(row: Any) -> Act:
    """The act of a row of `_OF_ACT`."""
    name, study, person, kind, text, *rest = row
    return Act(name, study, person, kind, _content(text), *rest)


def _content(text: str | None) -> dict[str, Json]:
    """What an act says; nothing once that was forgotten."""
    return {} if text is None else {name: value for name, value in json.loads(text).items() if name != "id"}
