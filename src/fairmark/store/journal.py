"""What an event loop writes through: putting a row only collects it, and one wait covers all that was put before."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from fairmark.records import Grade, Response
from fairmark.store.rows import Rows


class Journal:
    """Rows of one event loop on their way into the store. `Store.journal` gives it.

    One batch at a time is with the writer; what is put meanwhile makes the next one. The loop is woken once for each commit,
    whatever the number of rows and of those who wait. After a commit that failed, nothing is acknowledged any more: every
    later `kept` raises what it raised.
    """

    def __init__(self, write: Callable[[Rows], Future[None]]) -> None:
        self._write = write
        self._waiting = Rows()  # put, and not yet with the writer
        self._put = 0  # rows so far
        self._durable = 0  # those that would survive a power cut
        self._writing = False  # a batch is with the writer
        self._called = False  # the next batch goes at the end of this turn of the loop
        self._closed = False
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()  # rows that each waits for, the fewest first

    def intent(self, key: str, what: str, name: str, at: int) -> None:
        """Puts the note that something is about to be asked."""
        self._call()
        self._waiting.intent(key, what, name, at)
        self._put += 1

    def response(self, record: Response) -> None:
        """Puts a response. `ValueError` for NaN, infinity and numbers without room."""
        self._call()
        self._waiting.response(record)
        self._put += 1

    def grade(self, record: Grade) -> None:
        """Puts a grade. `ValueError` for NaN, infinity and numbers without room."""
        self._call()
        self._waiting.grade(record)
        self._put += 1

    async def kept(self) -> None:
        """Returns once all that was put before is durable. Raises what its commit raised: `CannotDo` where the disk did not take it."""
        if self._error is None and self._durable < self._put:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((self._put, waiter))
            await waiter
        elif self._error is not None:
            raise self._error

    def close(self) -> None:
        """Hands over what waits, whatever became of the loop. Nothing may be put afterwards."""
        self._closed = True
        self._hand_over()

    def _call(self) -> None:
        if self._closed:
            raise RuntimeError("the store is closed")
        # at the end of the turn, so that all who are at work in this turn share the commit
        if not self._writing and not self._called:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._hand_over)
            self._called = True

    def _hand_over(self) -> None:
        self._called = False
        if not self._waiting or self._error is not None:
            return
        rows, self._waiting = self._waiting, Rows()
        self._writing = True
        try:
            written = self._write(rows)
        except Exception as error:  # the store is closed, or a commit of somebody else failed
            self._settle(0, error)
        else:
            written.add_done_callback(partial(self._written, len(rows)))

    def _written(self, rows: int, written: Future[None]) -> None:
        """Runs in the writer's thread."""
        assert self._loop is not None  # nothing is put without one
        try:
            self._loop.call_soon_threadsafe(self._settle, rows, written.exception())
        except RuntimeError:
            self.close()  # the loop is gone: nobody waits any more, and nothing more will be put

    def _settle(self, rows: int, error: BaseException | None) -> None:
        self._writing = False
        self._error = self._error or error
        self._durable += rows
        while self._waiters and (error is not None or self._waiters[0][0] <= self._durable):
            _, waiter = self._waiters.popleft()
            if waiter.done():
                continue  # whoever waited was cancelled
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        if self._waiting and not self._closed:
            self._call()
