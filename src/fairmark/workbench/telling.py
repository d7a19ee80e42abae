"""Telling whoever watches what happens during a run, beside it: nothing that is told holds the run up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fairmark.records import Progress


@dataclass(slots=True)
class Watch:
    """Who is told what happens during a run. Every part is optional; `begun`, `quarter` and `responses_done` run in a thread."""

    progress: Callable[[Progress], None] | None = None
    notify: Callable[[str], None] | None = None  # one line worth saying, such as a download
    begun: Callable[[], None] | None = None  # the first answer is in
    quarter: Callable[[], None] | None = None  # another quarter of the answers is in and marked by checks
    responses_done: Callable[[], None] | None = None  # all answers are in and their checks are marked
    stop: asyncio.Event | None = None


class Telling:
    """Counts responses as they come in, and tells in turn."""

    def __init__(self, watch: Watch, planned: int) -> None:
        self._watch = watch
        self._planned = planned
        self._seen = 0
        self._quarters = {planned * part // 4 for part in (1, 2, 3)} - {0}
        self._said: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()

    def arrived(self, responses: int) -> None:
        """So many more responses are in, or have failed."""
        if self._seen == 0 and self._watch.begun is not None:
            self._tell(self._watch.begun)
        for _ in range(responses):
            self._seen += 1
            if self._seen in self._quarters and self._watch.quarter is not None:
                self._tell(self._watch.quarter)
            if self._seen == self._planned and self._watch.responses_done is not None:
                self._tell(self._watch.responses_done)

    async def end(self) -> None:
        """Waits until all has been told."""
        for said in self._said:
            await said

    def _tell(self, what: Callable[[], None]) -> None:
        async def say() -> None:
            async with self._turn:
                await asyncio.to_thread(what)

        self._said.append(asyncio.ensure_future(say()))
