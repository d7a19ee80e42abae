"""The first step: cases x systems x trials become responses. Only what the store lacks is asked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairmark import calls
from fairmark.providers import question
from fairmark.records import Answer, Failure, Progress, Provider, Response, Slot, response_key
from fairmark.store import Store
from fairmark.study import Budget, Study, SystemSpec


def slots(study: Study, specs: Mapping[str, SystemSpec], *, wave: str) -> tuple[Slot, ...]:
    """Every planned response in the recorded random order: case by case, all systems of a case together.

    `specs` are the systems with their local models resolved. The order depends on the study's name and the wave
    alone, so that adding a case or changing a prompt leaves the rest in place.
    """
    cases = list(study.cases)
    random.Random(f"{study.name}/{wave}").shuffle(cases)
    identities = {name: spec.identity() for name, spec in specs.items()}
    planned = []
    for case in cases:
        for name, spec in specs.items():
            for trial in range(1, study.trials + 1):
                asked = question(spec, case, trial=trial)
                key = response_key(case_id=case.id, question=asked, system=identities[name], wave=wave)
                planned.append(Slot(key, case, name, trial, asked))
    return tuple(planned)


def fill(planned: Sequence[Slot], store: Store) -> tuple[Slot, ...]:
    """The same slots with the responses that the store holds for them."""
    stored = store.responses(slot.key for slot in planned)
    return tuple(
        Slot(slot.key, slot.case, slot.system, slot.trial, slot.question, _as_seen_here(stored.get(slot.key), slot)) for slot in planned
    )


@dataclass(slots=True)
class Respond:
    """What `respond` needs beside the slots."""

    store: Store
    provider: Callable[[str], Provider]  # of a system's name
    wave: str
    concurrency: int = 8
    budget: Budget = field(default_factory=Budget)
    policy: calls.Policy = field(default_factory=calls.Policy)
    stop: asyncio.Event | None = None
    progress: Callable[[Progress], None] | None = None
    arrived: Callable[[Slot], Awaitable[None]] | None = None  # called with each response once it is stored


def read_recorded(planned: Sequence[Slot], store: Store, *, wave: str) -> tuple[Slot, ...]:
    """The slots with the responses of recorded systems made and stored. Nobody is asked."""
    futures = []
    filled = []
    for slot in planned:
        if slot.question.recorded is None or not slot.missing():
            filled.append(slot)
            continue
        response = Response(
            slot.key, slot.case.id, slot.system, slot.trial, wave, Answer(slot.question.recorded, "stop"), at=time.time_ns()
        )
        futures.append(store.add_response(response))
        filled.append(Slot(slot.key, slot.case, slot.system, slot.trial, slot.question, response))
    for future in futures:
        future.result()
    return tuple(filled)


async def respond(planned: Sequence[Slot], with_: Respond, *, retry_failed: bool = False) -> calls.Tally:
    """Asks for what is missing and stores every outcome. What was answered before is not asked again."""
    todo = [slot for slot in planned if slot.missing(retry_failed=retry_failed)]
    store = with_.store

    def jobs() -> Iterator[calls.Job]:
        for slot in todo:
            yield calls.Job(slot.key, "response", slot.system, slot.question, with_.provider(slot.system), slot)

    async def intent(job: calls.Job) -> None:
        await asyncio.wrap_future(store.add_intent(job.key, "response", job.name, time.time_ns()))

    async def record(job: calls.Job, outcome: Answer | Failure) -> Response:
        slot = job.payload
        assert isinstance(slot, Slot)
        response = Response(
            key=slot.key,
            case_id=slot.case.id,
            system=slot.system,
            trial=slot.trial,
            wave=with_.wave,
            answer=outcome if isinstance(outcome, Answer) else None,
            failure=outcome if isinstance(outcome, Failure) else None,
            at=time.time_ns(),
        )
        await asyncio.wrap_future(store.add_response(response))
        if with_.arrived is not None:
            await with_.arrived(Slot(slot.key, slot.case, slot.system, slot.trial, slot.question, response))
        return response

    return await calls.perform(
        jobs(),
        record=record,
        intent=intent,
        concurrency=with_.concurrency,
        policy=with_.policy,
        budget=with_.budget,
        progress=with_.progress,
        step="run",
        planned=len(planned),
        stored=len(planned) - len(todo),
        stop=with_.stop,
    )


def _as_seen_here(response: Response | None, slot: Slot) -> Response | None:
    """A stored response under this study's nickname for its system, since names are not part of a key."""
    if response is None or (response.system == slot.system and response.case_id == slot.case.id):
        return response
    return Response(response.key, slot.case.id, slot.system, slot.trial, response.wave, response.answer, response.failure, response.at)
