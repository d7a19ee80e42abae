"""Who asks: one process at a time. A lease that its holder no longer keeps alive is taken over.

Life is counted by the clock that runs since the boot, suspended or not, so that no change of the time of day matters.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from fairmark.errors import CannotDo
from fairmark.store.rows import column
from fairmark.store.tables import lease

BEAT = 5.0  # seconds between two signs of life
STALE = 30.0  # seconds without one, after which another process may take over
Clock = Callable[[], int]

_ROW = select(lease).where(lease.c.id == 1)
_ALIVE = update(lease).where(lease.c.id == 1)
_here: set[str] = set()  # tokens of this process's leases


def since_boot() -> int:
    """Nanoseconds since the boot, those included in which the machine slept."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who asks now."""

    what: str  # what it is doing
    since: int  # UTC, nanoseconds


def holder(connection: Connection, clock: Clock = since_boot) -> Holder | None:
    """Who keeps the lease alive now, this process or another one."""
    held = connection.execute(_ROW).first()
    return None if held is None or _stale(held, clock()) else Holder(held.what, held.since)


class Lease:
    """The lease that this process holds. Its methods run in the writer's transaction."""

    def __init__(self, what: str, clock: Clock) -> None:
        self.what = column(what)
        self.token = secrets.token_hex(16)
        self._clock = clock
        self._beat = 0

    def take(self, connection: Connection) -> None:
        """Takes the lease. `CannotDo` while another process keeps it alive."""
        held = connection.execute(_ROW).first()
        if held is not None and not _stale(held, self._clock()):
            raise CannotDo("RUNNING", f"{_holder(held)} is asking from this store", "wait until it has finished, or stop it")
        connection.execute(delete(lease))
        self._beat = self._clock()
        row = {"id": 1, "token": self.token, "what": self.what, "pid": os.getpid(), "machine": _machine()}
        connection.execute(insert(lease), row | {"since": time.time_ns(), "beat": self._beat})
        _here.add(self.token)

    def keep(self, connection: Connection) -> None:
        """Gives a sign of life where one is due. `CannotDo` where another process has taken over."""
        now = self._clock()
        if 0 <= now - self._beat < BEAT * 1e9:
            return  # nobody takes over so soon after a sign of life
        held = connection.execute(_ROW).first()
        if held is None or held.token != self.token:
            who = "another process" if held is None else _holder(held)
            raise CannotDo(
                "LEASE_LOST",
                f"{who} has taken over the store, because this one gave no sign of life for {STALE:.0f} seconds",
                "let the other one finish; the same command then goes on from there",
            )
        self._beat = now
        connection.execute(_ALIVE.values(beat=now)).close()

    def release(self, connection: Connection) -> None:
        """Gives the lease back, if it is still this one's."""
        connection.execute(delete(lease).where(lease.c.token == self.token)).close()

    def forget(self) -> None:
        """Whatever the file says: nobody in this process holds it any more."""
        _here.discard(self.token)


def _stale(held: Any, now: int) -> bool:
    if not 0 <= now - held.beat <= STALE * 1e9:  # a beat in the future is one of an earlier boot
        return True
    boot, _, processes = held.machine.partition(" ")
    here, _, ours = _machine().partition(" ")
    if boot != here:
        return True
    if processes != ours:
        return False  # in a container of its own the number means another process; its beat decides
    return held.token not in _here if held.pid == os.getpid() else not _running(held.pid)


def _machine() -> str:
    """The boot, and the process namespace, in which a process's number means something. Empty parts where they cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return f"{boot} {processes}"


def _running(pid: int) -> bool:
    """Whether a process lives. One that is dead and waits to be buried does not."""
    if os.name != "posix":
        return True  # there is no harmless way to ask; its beat decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in "ZX"


def _holder(held: Any) -> str:
    since = datetime.fromtimestamp(held.since / 1e9, UTC)
    who = "this process" if held.token in _here else f"another process ({held.pid})"
    return f"{who}, busy with `{held.what}` since {since:%Y-%m-%d %H:%M:%S} UTC,"
