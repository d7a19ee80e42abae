"""What a call costs, from the price data that genai-prices ships. An unknown price is None and never 0."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fairmark.providers.hosted import HOSTS
from fairmark.records import Usage
from fairmark.study import ModelSpec


def estimate_tokens(text: str) -> int:
    """An estimate: one token per four characters, rounded up. Texts other than English prose take more."""
    return -(-len(text) // 4)


def price(spec: ModelSpec, usage: Usage | None, *, env: Mapping[str, str] | None = None) -> float | None:
    """US dollars for so many tokens, or None where the price or the tokens are unknown. A local model costs no money."""
    if spec.provider == "local":
        return 0.0
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return price_of(spec, usage.input_tokens, usage.cached_tokens or 0, usage.output_tokens, env=env)


def price_of(
    spec: ModelSpec, input_tokens: int, cached_tokens: int, output_tokens: int, *, env: Mapping[str, str] | None = None
) -> float | None:
    """US dollars for the three disjoint kinds of tokens, or None where the price is unknown.

    An endpoint at an address of its own has the price list of that address, whatever its models are called. `env` says
    where an address may stand that the study does not give.
    """
    if spec.provider == "local":
        return 0.0
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    tokens = Tokens(input_tokens=input_tokens + cached_tokens, cache_read_tokens=cached_tokens, output_tokens=output_tokens)
    service = HOSTS.get(spec.provider)
    address = spec.base_url or ((env or {}).get(service.url_name, "").strip() if service else "")
    try:
        if address:
            found = calc_price(tokens, spec.model, provider_api_url=address)
        else:
            found = calc_price(tokens, spec.model, provider_id=spec.provider)
    except (LookupError, ValueError):
        return None
    usd = float(found.total_price)
    return usd if math.isfinite(usd) and usd >= 0 else None
