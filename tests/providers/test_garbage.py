"""An endpoint that answers with a tenth of each kind of garbage: everything ends, and nothing bad becomes an answer."""

from __future__ import annotations

import asyncio
from collections import Counter

from fairmark.records import Answer, Message, Question
from tests.fake_endpoint import GARBAGE, FakeEndpoint
from tests.providers.asking import model

KINDS = {
    "rate_limited": "rate_limited",
    "server_error": "server_error",
    "hang": "TimeoutError",
    "truncated": "broken_reply",
    "empty_choices": "empty_reply",
    "lone_surrogate": "answered",
    "good": "answered",
}


def test_each_kind_is_what_it_is() -> None:
    async def one(number: int, endpoint: FakeEndpoint) -> str:
        provider = model(endpoint.url)
        try:
            outcome = await asyncio.wait_for(provider.ask(Question((Message("user", f"n{number}"),))), 2)
        except TimeoutError:
            return "TimeoutError"
        finally:
            await provider.close()
        if isinstance(outcome, Answer):
            outcome.text.encode("utf-8")
            return "answered"
        return outcome.kind

    async def run() -> tuple[Counter[str], Counter[str]]:
        async with FakeEndpoint(garbage=0.1, seed=3) as endpoint:
            outcomes = Counter(await asyncio.gather(*(one(number, endpoint) for number in range(100))))
            return outcomes, endpoint.served

    outcomes, served = asyncio.run(run())
    assert set(served) == {*GARBAGE, "good"}, "the seed serves every kind"
    expected: Counter[str] = Counter()
    for kind, times in served.items():
        expected[KINDS[kind]] += times
    assert outcomes == expected
    assert outcomes.total() == 100
