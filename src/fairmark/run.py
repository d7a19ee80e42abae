"""The first step: cases x systems x trials become responses. Only what the store lacks is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairmark import calls
from fairmark.providers import question
from fairmark.records import Answer, Failure, Fixed, Provider, Response, Slot, response_key
from fairmark.store import Store
from fairmark.study import Study, SystemSpec


def slots(study: Study, specs: Mapping[str, SystemSpec], *, wave: str) -> Iterator[Slot]:
    """Every planned response in the recorded random order: case by case, all systems of a case together.

    `specs` are the systems with their local models resolved. The order depends on the study's name and the wave
    alone, so that adding a case or changing a prompt leaves the rest in place; the cases of a cluster are together.
    """
    identities = {name: Fixed(spec.identity()) for name, spec in specs.items()}
    for case in study.in_order(study.order_seed(wave)):
        for name, spec in specs.items():
            for trial in range(1, study.trials + 1):
                asked = question(spec, case, trial=trial)
                key = response_key(case_id=case.id, question=asked, system=identities[name], wave=wave)
                yield Slot(key, case, name, trial, asked)


def fill(planned: Sequence[Slot], store: Store) -> tuple[Slot, ...]:
    """The same slots with the responses that the store holds for them."""
    stored = store.responses(slot.key for slot in planned)
    return tuple(shared(stored.get(slot.key), slot) for slot in planned)


def read_recorded(planned: Sequence[Slot], store: Store, *, wave: str) -> tuple[Slot, ...]:
    """The slots with the responses of recorded systems made and stored. Nobody is asked."""
    futures = []
    filled = []
    for slot in planned:
        if slot.question.recorded is None or not slot.missing():
            filled.append(slot)
            continue
        answered = with_outcome(slot, Answer(slot.question.recorded, "stop"), wave=wave)
        assert answered.response is not None
        futures.append(store.add_response(answered.response))
        filled.append(answered)
    for future in futures:
        future.result()
    return tuple(filled)


def job(slot: Slot, provider: Provider, payload: Any) -> calls.Job:
    """What the pool is to ask for a slot."""
    return calls.Job(slot.key, "response", slot.system, slot.question, provider, payload)


def with_outcome(slot: Slot, outcome: Answer | Failure, *, wave: str) -> Slot:
    """The slot with the response that an outcome is."""
    response = Response(
        key=slot.key,
        case_id=slot.case.id,
        system=slot.system,
        trial=slot.trial,
        wave=wave,
        answer=outcome if isinstance(outcome, Answer) else None,
        failure=outcome if isinstance(outcome, Failure) else None,
        at=time.time_ns(),
    )
    return Slot(slot.key, slot.case, slot.system, slot.trial, slot.question, response)


def shared(response: Response | None, slot: Slot) -> Slot:
    """The slot with a response of its name, under this study's nickname for its system, since names are not part of a key."""
    if response is not None and (response.system != slot.system or response.case_id != slot.case.id):
        response = Response(
            response.key, slot.case.id, slot.system, slot.trial, response.wave, response.answer, response.failure, response.at
        )
    return Slot(slot.key, slot.case, slot.system, slot.trial, slot.question, response)
