"""What has come in since, counted by name and not read: cheap enough to be asked every two seconds while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, text

Kind: TypeAlias = Literal["response", "grade"]


class Mark(NamedTuple):
    """A place in the store: the last row of each kind."""

    response: int = 0
    grade: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """Rows of one system or grader that came in and are alike."""

    what: Kind
    name: str
    failure: str | None  # kind; None where they were answered
    instead: str | None  # what stood under the same keys before: None for nothing, empty for an answer, else the kind of failure
    rows: int
    priced: int
    usd: float
    usd_squared: float


def mark(connection: Connection) -> Mark:
    """Where the store ends now."""
    return Mark(_last(connection, "response"), _last(connection, "grade"))


def arrived(connection: Connection, after: Mark, to: Mark, *, wave: str) -> tuple[Arrived, ...]:
    """What came in after one place and up to another: responses of a wave, and all grades."""
    found: list[Arrived] = []
    kinds: tuple[tuple[Kind, str, str, int, int], ...] = (
        ("response", "system", "AND new.wave = :wave", after.response, to.response),
        ("grade", "grader", "", after.grade, to.grade),
    )
    for what, name, where, since, last in kinds:
        rows = connection.execute(
            text(
                f"SELECT new.{name}, new.failure, (SELECT coalesce(old.failure, '') FROM {what} AS old"
                " WHERE substr(old.key, -10) = substr(new.key, -10) AND old.key = new.key AND old.seq < new.seq"
                " ORDER BY old.seq DESC LIMIT 1), count(*), count(new.usd), total(new.usd), total(new.usd * new.usd)"
                f" FROM {what} AS new WHERE new.seq > :since AND new.seq <= :last {where} GROUP BY 1, 2, 3"
            ),
            {"since": since, "last": last, "wave": wave},
        )
        found += [Arrived(what, *row) for row in rows]
    return tuple(found)


def lately(connection: Connection, at: int, *, wave: str) -> dict[tuple[Kind, str], int]:
    """How many responses of a wave each system gave since a moment, and each grader grades."""
    found: dict[tuple[Kind, str], int] = {}
    kinds: tuple[tuple[Kind, str, str], ...] = (("response", "system", "AND wave = :wave"), ("grade", "grader", ""))
    for what, name, where in kinds:
        query = text(f"SELECT {name}, count(*) FROM {what} WHERE seq > :since {where} GROUP BY 1")
        rows = connection.execute(query, {"since": _before(connection, what, at), "wave": wave})
        found.update({(what, of): count for of, count in rows})
    return found


def _last(connection: Connection, what: Kind) -> int:
    return int(connection.execute(text(f"SELECT coalesce(max(seq), 0) FROM {what}")).scalar_one())


def _before(connection: Connection, what: Kind, at: int) -> int:
    """The last row before a moment. No index holds times; but rows come in about in their order, and are found by number."""
    low, high = 0, _last(connection, what)
    query = text(f"SELECT at FROM {what} WHERE seq > :seq ORDER BY seq LIMIT 1")
    while low < high:
        middle = (low + high) // 2
        if int(connection.execute(query, {"seq": middle}).scalar_one()) < at:
            low = middle + 1
        else:
            high = middle
    return low
