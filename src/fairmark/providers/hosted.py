"""Which address a hosted model is asked at, and which key goes there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairmark.errors import CannotDo
from fairmark.providers.addresses import host_of
from fairmark.providers.secrets import Secrets, reference
from fairmark.study import ModelSpec


@dataclass(frozen=True, slots=True)
class Host:
    """A hosted service and the variables it is usually set up with."""

    base_url: str  # its own address
    url_name: str  # variable that names another one
    key_name: str  # variable that holds the key


HOSTS: Mapping[str, Host] = {
    "openai": Host("https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "anthropic": Host("https://api.anthropic.com", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
}


def base_url(spec: ModelSpec, env: Mapping[str, str]) -> str | None:
    """Where a model is asked: the study's address, the environment's, or the service's own. None where only its provider knows."""
    service = HOSTS.get(spec.provider)
    if service is None:
        return spec.base_url
    return spec.base_url or env.get(service.url_name, "").strip() or service.base_url


def key_name(spec: ModelSpec, env: Mapping[str, str]) -> str | None:
    """The variable whose value is sent as the key, or None for an endpoint that is asked without one.

    The usual variable goes to the service itself and to the address that the environment names. A `base_url` in a study
    is its author's choice, so it gets only the key that stands beside it. `CannotDo` (NO_KEY) where the service needs a
    key and none is set; `Mistake` for an `api_key` that is no reference.
    """
    if spec.api_key is not None:
        name = reference(spec.api_key)
        Secrets(env).value(name)
        return name
    service = HOSTS[spec.provider]
    named = env.get(service.url_name, "").strip()
    own = host_of(service.base_url, spec.provider)
    trusted = {own} | ({host_of(named, service.url_name)} if named else set())
    host = host_of(base_url(spec, env) or "", f"the base_url of {spec.name}")
    if host in trusted and Secrets(env).has(service.key_name):
        return service.key_name
    if host == own:
        raise CannotDo(
            "NO_KEY",
            f"{spec.name} is asked at {own}, which needs a key, and {service.key_name} is not set",
            f"set {service.key_name} in your shell or in the study's .env file, or give `api_key: env:NAME`",
        )
    return None
