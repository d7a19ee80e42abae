"""The work through DeepEval, which does not ask systems itself: answers by a loop on the OpenAI client, then `evaluate`."""

from __future__ import annotations

import asyncio
import json
import sys

from deepeval import evaluate
from deepeval.evaluate import AsyncConfig, CacheConfig, DisplayConfig
from deepeval.metrics import ExactMatchMetric
from deepeval.test_case import LLMTestCase
from openai import AsyncOpenAI


async def answers(cases: list[dict[str, str]], url: str, in_flight: int) -> list[str]:
    slots = asyncio.Semaphore(in_flight)
    async with AsyncOpenAI(base_url=url) as client:

        async def one(case: dict[str, str]) -> str:
            async with slots:
                found = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": case["input"]}])
            return found.choices[0].message.content or ""

        return await asyncio.gather(*(one(case) for case in cases))


def main(path: str, url: str, in_flight: int) -> None:
    with open(path) as file:
        cases = [json.loads(row) for row in file]
    said = asyncio.run(answers(cases, url, in_flight))
    tests = [
        LLMTestCase(input=case["input"], actual_output=text, expected_output=case["expected"])
        for case, text in zip(cases, said, strict=True)
    ]
    found = evaluate(
        tests,
        [ExactMatchMetric()],
        async_config=AsyncConfig(max_concurrent=in_flight),
        display_config=DisplayConfig(show_indicator=False, print_results=False, inspect_after_run=False),
        cache_config=CacheConfig(write_cache=False),
    )
    print(sum(bool(result.success) for result in found.test_results) / len(cases))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
