"""What people are asked, what they do, and who may come in, as rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from fairmark.records import Act, Assignment, Grade, canonical
from fairmark.store.tables import act, assignment, content, session

_ASSIGNMENT = tuple(one.name for one in fields(Assignment))
# made once: making a statement costs as much as running it, and these run with every mark
_GIVEN = select(func.count()).select_from(assignment).where(assignment.c.study == bindparam("study"))
_ACTS_ON = select(func.count()).select_from(act).where(act.c.assignment == bindparam("assignment"), act.c.study == bindparam("study"))
_ACTS = select(act, content.c.text).join(content, content.c.id == act.c.body).where(act.c.study == bindparam("study"))
_SENT = select(act.c.seq).where(act.c.id == bindparam("id"))
_ADD_ACT = insert(act)
_SESSION = select(session).where(
    session.c.token == bindparam("token"),
    session.c.study == bindparam("study"),
    session.c.kind == "session",
    session.c.ended.is_(None),
    session.c.until > bindparam("at"),
)


class Posted(NamedTuple):
    """What became of an act."""

    version: int  # acts on this assignment, this one included; where it was refused, those that stand
    stored: bool  # whether it stands now, be it new or sent before
    fresh: bool  # whether it was new


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
    ) -> None:
        self._put, self._reading, self._add_bodies, self._add_grades = put, reading, add_bodies, add_grades
        self._hashed, self._column = hashed, column

    # ------------------------------------------------------------ assignments

    def assign(self, planned: Sequence[Assignment]) -> None:
        """Adds assignments, all of them or none."""
        rows = [{name: self._clean(getattr(one, name)) for name in _ASSIGNMENT} for one in planned]

        def write(connection: Connection) -> None:
            connection.execute(insert(assignment), rows)

        if rows:
            self._put(write).result()

    def assignments(self, study: str, person: str | None = None) -> tuple[Assignment, ...]:
        """The assignments of a study and wave, or one person's, in the order they were made."""
        query = select(assignment).where(assignment.c.study == self._column(study)).order_by(assignment.c.seq)
        if person is not None:
            query = query.where(assignment.c.person == self._column(person))
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Assignment(**{name: row[name] for name in _ASSIGNMENT} | {"second": bool(row["second"])}) for row in rows)

    def count(self, study: str) -> int:
        """How many assignments there are: what was read before is complete while this stays."""
        with self._reading() as connection:
            return int(connection.execute(_GIVEN, {"study": self._column(study)}).scalar_one())

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
            here = {"assignment": row["assignment"], "study": row["study"]}
            version = int(connection.execute(_ACTS_ON, here).scalar_one()) if done.assignment else 0
            if connection.execute(_SENT, {"id": row["id"]}).first() is not None:
                found.append(Posted(version, True, False))
                return
            if base is not None and base != version:
                found.append(Posted(version, False, False))
                return
            connection.execute(_ADD_ACT, row | {"body": self._add_bodies(connection, [body])})
            self._add_grades(connection, grades)
            found.append(Posted(version + 1, True, True))

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
        assignment_id: str | None = None,
        kinds: Iterable[str] = (),
        before: int | None = None,
        newest: int | None = None,
    ) -> tuple[Act, ...]:
        """Acts in the order they were stored. `newest` gives only so many, the newest first, `before` only those with a lower `seq`."""
        query = _ACTS
        if person is not None:
            query = query.where(act.c.person == self._column(person))
        if assignment_id is not None:
            query = query.where(act.c.assignment == self._column(assignment_id))
        if wanted := list(kinds):
            query = query.where(act.c.kind.in_(wanted))
        if before is not None:
            query = query.where(act.c.seq < before)
        query = query.order_by(act.c.seq) if newest is None else query.order_by(act.c.seq.desc()).limit(newest)
        with self._reading() as connection:
            rows = connection.execute(query, {"study": self._column(study)}).all()
        return tuple(
            Act(
                row.id,
                row.study,
                row.person,
                row.kind,
                {} if row.text is None else {name: value for name, value in json.loads(row.text).items() if name != "id"},
                row.assignment,
                row.case_id,
                row.at,
                row.seq,
            )
            for row in rows
        )

    # ------------------------------------------------------------ who may come in

    def let_in(self, study: str, token: str, person: str, role: str, kind: str, *, at: int, until: int) -> None:
        """Notes a link or a session. `token` is the SHA-256 of what the person holds."""
        row = {"token": token, "study": study, "person": person, "role": role, "kind": kind, "at": at, "until": until}

        def write(connection: Connection) -> None:
            connection.execute(insert(session).values(**{name: self._clean(value) for name, value in row.items()}))

        self._put(write).result()

    def session(self, study: str, token: str, *, at: int) -> Session | None:
        """The session that a token's SHA-256 opens at this time; None where it opens none."""
        with self._reading() as connection:
            row = connection.execute(_SESSION, {"token": token, "study": self._column(study), "at": at}).first()
        return None if row is None else Session(row.person, row.role, row.at, row.until, row.ended)

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

    def end_sessions(self, study: str, person: str, *, at: int) -> int:
        """Ends all sessions and links of one person. Returns how many were still good."""
        ended: list[int] = []

        def write(connection: Connection) -> None:
            ended.clear()
            of_person = (session.c.study == self._column(study), session.c.person == self._column(person), session.c.ended.is_(None))
            ended.append(connection.execute(update(session).where(*of_person).values(ended=at)).rowcount)

        self._put(write).result()
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
