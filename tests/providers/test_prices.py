"""Prices are those of genai-prices to the last digit, however often they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

import genai_prices
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark.providers import price_of
from fairmark.study import ModelSpec

TOKENS = st.sampled_from([0, 1, 199_999, 200_001, 2 * 10**7]) | st.integers(0, 10**6)
MODELS = [
    ModelSpec("openai", "gpt-4o-mini"),
    ModelSpec("openai", "gpt-4o"),
    ModelSpec("anthropic", "claude-3-5-haiku-latest"),
    ModelSpec("anthropic", "claude-sonnet-4-5"),  # dearer in long prompts
    ModelSpec("openai", "gpt-5.4"),
    ModelSpec("openai", "deepseek-chat", base_url="https://api.deepseek.com/v1"),  # cheaper at night
    ModelSpec("openai", "no-such-model"),
    ModelSpec("openai", "gpt-4o", base_url="http://127.0.0.1:1/v1"),
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODELS), TOKENS, TOKENS, TOKENS)
def test_prices_are_those_of_the_list(spec: ModelSpec, fresh: int, cached: int, written: int) -> None:
    usage = genai_prices.Usage(input_tokens=fresh + cached, cache_read_tokens=cached, output_tokens=written)
    where = {"provider_api_url": spec.base_url} if spec.base_url else {"provider_id": spec.provider}
    try:
        expected: float | None = float(genai_prices.calc_price(usage, spec.model, **where).total_price)  # type: ignore[call-overload]
    except LookupError:
        expected = None
    assert price_of(spec, fresh, cached, written) == expected


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: f"{spec.provider}/{spec.model}")
def test_a_price_costs_a_fraction_of_looking_it_up(spec: ModelSpec) -> None:
    def seconds(work: Callable[[int], object], times: int) -> float:
        began = time.process_time()
        for number in range(times):
            work(number)
        return (time.process_time() - began) / times

    price_of(spec, 1, 1, 1)
    ours = min(seconds(lambda number: price_of(spec, 1000 + number, 10, 100), 300) for _ in range(3))
    usage = genai_prices.Usage(input_tokens=1000, output_tokens=100)
    looked_up = seconds(lambda _: genai_prices.calc_price(usage, "gpt-4o", provider_id="openai"), 30)
    assert ours < looked_up / 10
