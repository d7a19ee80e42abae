"""What a call costs, from the price data that genai-prices ships. An unknown price is None and never 0."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from fairmark.providers.addresses import loopback
from fairmark.providers.hosted import HOSTS
from fairmark.records import Usage
from fairmark.study import ModelSpec

_PROBES = (10**7, 500_000, 250_000, 160_000, 120_000, 60_000, 30_000, 8_000)  # tokens: between the steps of price lists
_MINUTE = 60.0  # for which a price holds; some are lower at night


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
    service = HOSTS.get(spec.provider)
    address = spec.base_url or ((env or {}).get(service.url_name, "").strip() if service else "")
    usd = _list_of(spec.provider, spec.model, address).price(input_tokens, cached_tokens, output_tokens)
    if usd is None:
        return None
    dollars = float(usd)
    return dollars if math.isfinite(dollars) and dollars >= 0 else None


@dataclass(frozen=True, slots=True)
class _PriceList:
    """One model's price list: a rate for each kind of token, as far as that is all there is to it.

    Looking a price up takes longer than sending the request that it is for, so what has no steps is looked up once.
    """

    provider: str
    model: str
    address: str
    each: Decimal | None  # US dollars for a call of no tokens; None where the price is unknown
    rates: tuple[Decimal, Decimal, Decimal] = (Decimal(), Decimal(), Decimal())  # for a token that is fresh, cached, written
    until: int = -1  # tokens in, and tokens out, up to which the rates hold

    def price(self, fresh: int, cached: int, written: int) -> Decimal | None:
        if self.each is None:
            return None
        if fresh + cached > self.until or written > self.until:
            return _looked_up(self.provider, self.model, self.address, (fresh, cached, written))
        return self.each + self.rates[0] * fresh + self.rates[1] * cached + self.rates[2] * written


_lists: dict[tuple[str, str, str], tuple[float, _PriceList]] = {}


def _list_of(provider: str, model: str, address: str) -> _PriceList:
    key = (provider, model, address)
    now = time.time() // _MINUTE
    found = _lists.get(key)
    if found is None or found[0] != now:
        found = _lists[key] = (now, _read_list(provider, model, address))
    return found[1]


def _read_list(provider: str, model: str, address: str) -> _PriceList:
    def at(*tokens: int) -> Decimal | None:
        return _looked_up(provider, model, address, tokens)

    each, *ones = (at(*tokens) for tokens in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)))
    if each is None or any(one is None for one in ones):
        return _PriceList(provider, model, address, each)
    fresh, cached, written = (one - each for one in ones if one is not None)
    for until in _PROBES:  # a step, once taken, is seen at every larger number, so the first that is on the line settles it
        line = _PriceList(provider, model, address, each, (fresh, cached, written), until)
        if all(
            line.price(*tokens) == at(*tokens) for tokens in ((until, 0, 1), (0, until, 0), (0, 0, until), (until // 2, until // 2, until))
        ):
            return line
    return _PriceList(provider, model, address, each)


def _looked_up(provider: str, model: str, address: str, tokens: tuple[int, ...]) -> Decimal | None:
    if address and loopback(address):
        return None  # nobody's price list names it, and reading all lists takes as long as a small run
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    fresh, cached, written = tokens
    usage = Tokens(input_tokens=fresh + cached, cache_read_tokens=cached, output_tokens=written)
    try:
        if address:
            found = calc_price(usage, model, provider_api_url=address)
        else:
            found = calc_price(usage, model, provider_id=provider)
    except (LookupError, ValueError):
        return None
    return found.total_price
