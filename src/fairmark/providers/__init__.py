"""Whoever answers questions: models behind endpoints, local models, applications, functions, programs and recordings.

`connect` gives the provider of a system, `connect_model` that of a model; `question` says what a system is asked about a
case. A provider's `ask` tries once and returns an `Answer` or a `Failure`; the world's troubles never raise. Text is kept
as it came, but for what no store can hold (see `ingress.visible`), and no secret is in anything that is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fairmark.errors import CannotDo, Mistake, nearest
from fairmark.providers.addresses import THIS_MACHINE, host_of
from fairmark.providers.bounded import within_limits
from fairmark.providers.hosted import base_url
from fairmark.providers.prices import estimate_tokens, price, price_of
from fairmark.providers.recorded import Recorder, Replay, question_digest, read_recording, write_recording
from fairmark.providers.templates import SLOT, parse_path, question, slots
from fairmark.records import Provider
from fairmark.study import ModelSpec, SystemSpec

__all__ = [
    "ENTRY_POINTS",
    "PROVIDERS",
    "Destination",
    "Recorder",
    "Replay",
    "cached_weights",
    "connect",
    "connect_model",
    "destination",
    "estimate_tokens",
    "parse_path",
    "price",
    "price_of",
    "question",
    "question_digest",
    "read_recording",
    "resolve",
    "write_recording",
]

Notify = Callable[[str], None]
Factory = Callable[..., Provider]  # (spec: ModelSpec, *, env, folder, notify)
ENTRY_POINTS = "fairmark.providers"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the parts of a case go."""

    host: str
    fields: tuple[str, ...]  # columns of the case; for a grader's model also what else it is shown


# ------------------------------------------------------------------ models


def _openai(spec: ModelSpec, *, env: Mapping[str, str], folder: Path, notify: Notify | None) -> Provider:
    from fairmark.providers.openai import connect

    return connect(spec, env=env, folder=folder, notify=notify)


def _anthropic(spec: ModelSpec, *, env: Mapping[str, str], folder: Path, notify: Notify | None) -> Provider:
    from fairmark.providers.anthropic import connect

    return connect(spec, env=env, folder=folder, notify=notify)


def _local(spec: ModelSpec, *, env: Mapping[str, str], folder: Path, notify: Notify | None) -> Provider:
    from fairmark.providers.local import connect

    return connect(spec, env=env, folder=folder, notify=notify)


PROVIDERS: Mapping[str, Factory] = {"local": _local, "openai": _openai, "anthropic": _anthropic}


def connect_model(spec: ModelSpec, *, env: Mapping[str, str], folder: Path, notify: Notify | None = None) -> Provider:
    """The provider of a model. `Mistake` for an unknown one; `CannotDo` where a key or the weights are missing."""
    factory = PROVIDERS.get(spec.provider)
    if factory is None:
        from importlib.metadata import entry_points  # slow to import, rarely needed

        offered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        if spec.provider not in offered:
            known = (*PROVIDERS, *sorted(offered.keys() - PROVIDERS.keys()))
            raise Mistake.in_call(
                f"unknown provider `{spec.provider}`",
                allowed=", ".join(known),
                remedy=nearest(spec.provider, known) or "for any OpenAI-compatible endpoint take openai and a base_url",
            )
        factory = offered[spec.provider].load()
    return factory(spec, env=env, folder=folder, notify=notify)


def resolve(spec: ModelSpec, *, env: Mapping[str, str], folder: Path) -> ModelSpec:
    """The model with the SHA-256 of its weights where it is a local one. Nothing is loaded or fetched.

    `CannotDo` (WEIGHTS) where the file cannot be read.
    """
    if spec.provider != "local" or spec.weights:
        return spec
    from fairmark.providers.weights import SMOLLM2, SMOLLM2_SHA256, file_digest

    if spec.model == SMOLLM2:
        return replace(spec, weights=SMOLLM2_SHA256)
    path = folder / Path(spec.model).expanduser()
    try:
        return replace(spec, weights=file_digest(path, env))
    except OSError as error:
        raise CannotDo("WEIGHTS", f"the model {spec.model} cannot be read: {error.strerror}", "name a GGUF file on this machine") from None


def cached_weights(env: Mapping[str, str]) -> Path | None:
    """The embedded model's weights as they lie on this machine, or None."""
    from fairmark.providers.weights import cached_smollm2

    return cached_smollm2(env)


# ------------------------------------------------------------------ systems


def connect(spec: SystemSpec, *, env: Mapping[str, str], folder: Path, notify: Notify | None = None) -> Provider:
    """The provider of a system. Its `seconds` and `concurrency` are kept to."""
    return within_limits(_system(spec, env=env, folder=folder, notify=notify), spec)


def _system(spec: SystemSpec, *, env: Mapping[str, str], folder: Path, notify: Notify | None) -> Provider:
    match spec.kind:
        case "model":
            if spec.model is None:
                raise Mistake.in_call(f"the system `{spec.name}` names no model", allowed="provider/model")
            return connect_model(spec.model, env=env, folder=folder, notify=notify)
        case "http":
            from fairmark.providers.http import Application

            return Application(spec, env=env)
        case "python":
            from fairmark.providers.python import Function

            return Function(spec, env=env, folder=folder)
        case "command":
            from fairmark.providers.command import Command

            return Command(spec, env=env, folder=folder)
        case "recorded":
            from fairmark.providers.recorded import Recorded

            return Recorded(spec)


def destination(spec: SystemSpec | ModelSpec, env: Mapping[str, str]) -> Destination:
    """Where the parts of a case go when a system, or a grader's model, is asked. Nothing is sent."""
    if isinstance(spec, ModelSpec):
        return Destination(_model_host(spec, env), ("input", "expected", "output", "criterion"))
    match spec.kind:
        case "model":
            used = slots(spec.prompt or "")
            fields = used if {"input", "messages"} & set(used) else ("input", *used)
            return Destination(_model_host(spec.model, env) if spec.model is not None else THIS_MACHINE, fields)
        case "http":
            host = host_of(SLOT.sub("x", spec.url or ""), f"the url of {spec.name}")
            return Destination(host, slots([spec.url or "", list(spec.headers.values()), spec.body]))
        case "command":
            return Destination(THIS_MACHINE, tuple(dict.fromkeys(("input", *slots(list(spec.command))))))
        case "python":
            return Destination(THIS_MACHINE, ("input", "every column but expected"))
        case "recorded":
            return Destination(THIS_MACHINE, ())


def _model_host(spec: ModelSpec, env: Mapping[str, str]) -> str:
    if spec.provider == "local":
        return THIS_MACHINE
    address = base_url(spec, env)
    return host_of(address, f"the base_url of {spec.name}") if address else f"where the provider {spec.provider} sends it"
