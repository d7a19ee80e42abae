"""Asking one provider from synchronous tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from fairmark import providers
from fairmark.records import Answer, Case, Failure, Json, Message, Provider, Question
from fairmark.study import ModelSpec, SystemSpec
from tests.fake_endpoint import FakeEndpoint, Received, Reply

CANARY = "sk-canary/0123456789+ABC=def"
HELLO = Question((Message("user", "hello"),))


def ask(provider: Provider, *questions: Question) -> list[Answer | Failure]:
    """The outcomes in order, from a loop of their own in which the provider is closed again."""

    async def all_of_them() -> list[Answer | Failure]:
        try:
            return [await provider.ask(question) for question in questions]
        finally:
            await provider.close()

    return asyncio.run(all_of_them())


def answer(provider: Provider, question: Question = HELLO) -> Answer:
    outcome = ask(provider, question)[0]
    assert isinstance(outcome, Answer), outcome
    return outcome


def failure(provider: Provider, question: Question = HELLO) -> Failure:
    outcome = ask(provider, question)[0]
    assert isinstance(outcome, Failure), outcome
    return outcome


def served(decide: Callable[[Received], Reply], use: Callable[[FakeEndpoint], Awaitable[None]]) -> list[Received]:
    """What came in while `use` ran beside an endpoint."""

    async def run() -> list[Received]:
        async with FakeEndpoint(decide) as endpoint:
            await use(endpoint)
            return endpoint.ledger

    return asyncio.run(run())


def model(base_url: str | None = None, *, provider: str = "openai", env: dict[str, str] | None = None, **spec: Json) -> Provider:
    made = ModelSpec(provider, spec.pop("name", "m"), base_url=base_url, **spec)
    return providers.connect_model(made, env=env or {}, folder=Path())


def system(spec: SystemSpec, *, env: dict[str, str] | None = None, folder: Path = Path()) -> Provider:
    return providers.connect(spec, env=env or {}, folder=folder)


def case(text: str = "hello", **fields: Json) -> Case:
    return Case("c1", (Message("user", text),), "the secret reference", fields)
