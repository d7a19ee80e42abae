"""The limits a study sets for one system: how long an answer may take, and how many are asked for at once."""

from __future__ import annotations

import asyncio

from fairmark.records import Answer, Failure, Provider, Question
from fairmark.study import SystemSpec


class Bounded:
    """A provider that keeps to `seconds` an answer and to `concurrency` questions at once. None: no limit of its own."""

    def __init__(self, provider: Provider, *, seconds: float | None, concurrency: int | None) -> None:
        self.name = provider.name
        self.host = provider.host
        self.seconds = seconds
        self.concurrency = concurrency
        self.slots = getattr(provider, "slots", None)
        self._provider = provider
        self._free = asyncio.Semaphore(concurrency) if concurrency is not None else None

    async def ask(self, question: Question) -> Answer | Failure:
        if self._free is None:
            return await self._ask(question)
        async with self._free:
            return await self._ask(question)

    async def close(self) -> None:
        await self._provider.close()

    async def _ask(self, question: Question) -> Answer | Failure:
        if self.seconds is None:
            return await self._provider.ask(question)
        deadline = asyncio.timeout(self.seconds)
        try:
            async with deadline:
                return await self._provider.ask(question)
        except TimeoutError:
            if not deadline.expired():
                raise
            return Failure("timeout", self.host, f"no complete answer within {self.seconds:g} seconds")


def within_limits(provider: Provider, spec: SystemSpec) -> Provider:
    """The provider with the limits that its system sets; itself where there are none."""
    seconds, concurrency = spec.options.get("seconds"), spec.options.get("concurrency")
    return provider if seconds is None and concurrency is None else Bounded(provider, seconds=seconds, concurrency=concurrency)
