"""The embedded model itself: it loads, chats, follows a schema, and gives the same answer to the same question."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fairmark.providers.local import LocalModel, connect
from fairmark.records import Answer, Failure, Json, Message, Question
from fairmark.study import ModelSpec

pytestmark = pytest.mark.model

RULES = "You answer requests about personal data. Say that we answer within 30 days. Be brief and plain."
SCHEMA = {
    "type": "object",
    "properties": {"evidence": {"type": "string", "maxLength": 40}, "label": {"enum": ["met", "not met"]}},
    "required": ["evidence", "label"],
    "additionalProperties": False,
}


def asked(
    text: str, *, system: str = "", trial: int = 1, schema: dict[str, Json] | None = None, logprobs: bool = False, **options: Json
) -> Question:
    before = (Message("system", system),) if system else ()
    return Question((*before, Message("user", text)), {"max_tokens": 16, **options}, schema=schema, logprobs=logprobs, trial=trial)


def outcomes(model: LocalModel, questions: Sequence[Question]) -> list[Answer | Failure]:
    async def together() -> list[Answer | Failure]:
        return await asyncio.gather(*(model.ask(question) for question in questions))

    return asyncio.run(together())


def answer(model: LocalModel, question: Question) -> Answer:
    (outcome,) = outcomes(model, [question])
    assert isinstance(outcome, Answer), outcome
    return outcome


def loaded(**options: Json) -> LocalModel:
    return connect(ModelSpec("local", "smollm2", options), env=os.environ, folder=Path())


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    made = loaded(context=1024)
    yield made
    asyncio.run(made.close())


def test_it_answers_through_its_chat_template(model: LocalModel) -> None:
    reply = answer(model, asked("Is Paris the capital of France?", system="Be brief.", max_tokens=60))
    assert "Paris" in reply.text
    assert "<|im" not in reply.text
    assert reply.finish == "stop"  # it knows where its turn ends
    assert reply.usage is not None
    assert (reply.usage.input_tokens or 0) + (reply.usage.cached_tokens or 0) > 20
    assert (reply.usage.output_tokens or 0) > 1


def test_an_answer_that_is_too_long_is_cut_and_says_so(model: LocalModel) -> None:
    reply = answer(model, asked("Tell me a long story about a fox.", max_tokens=5))
    assert reply.finish == "length"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 5


def test_it_stops_at_a_given_word(model: LocalModel) -> None:
    whole = answer(model, asked("Tell me a story about a fox.")).text
    word = whole.split()[3]
    assert answer(model, asked("Tell me a story about a fox.", stop=f" {word}")).text == whole.partition(f" {word}")[0]


def test_it_follows_a_schema_and_nothing_else(model: LocalModel) -> None:
    reply = answer(
        model, asked("Did the answer 'We will write soon' say when? Reply in JSON.", schema=SCHEMA, logprobs=True, max_tokens=60)
    )
    read = json.loads(reply.text)
    assert list(read) == ["evidence", "label"]
    assert read["label"] in ("met", "not met")
    assert "\n" not in reply.text
    assert reply.logprobs is not None
    assert "".join(token for token, _ in reply.logprobs) == reply.text
    assert all(logprob <= 0 for _, logprob in reply.logprobs)


def test_seeds_and_trials_vary_a_warm_answer_and_repeat_it(model: LocalModel) -> None:
    warm = {"temperature": 1.0, "max_tokens": 12}
    story = "Invent a name for a ship and say why."
    texts = [answer(model, asked(story, seed=seed, trial=trial, **warm)).text for seed, trial in [(5, 1), (6, 1), (5, 2), (5, 1)]]
    assert texts[0] == texts[3]
    assert texts[1] == texts[2]
    assert texts[0] != texts[1]


def test_a_question_that_does_not_fit_is_a_failure_in_plain_words(model: LocalModel) -> None:
    (outcome,) = outcomes(model, [asked("word " * 2000)])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "bad_request"
    assert "the model was loaded with room for 1024" in outcome.why


def test_the_order_of_questions_and_reused_beginnings_change_no_bit(model: LocalModel) -> None:
    questions = [
        asked(f"Please {verb} my address, customer {number}.", system=system, logprobs=True)
        for number, verb in enumerate(("delete", "correct"))
        for system in (RULES, "")
    ]
    first = outcomes(model, questions)
    fresh = loaded(context=1025)  # a setting of its own loads another copy, which has read nothing yet
    again = outcomes(fresh, [*reversed(questions), *questions])
    asyncio.run(fresh.close())

    def kept(found: Sequence[Answer | Failure]) -> list[tuple[str, object]]:
        assert all(isinstance(each, Answer) for each in found)
        return [(each.text, each.logprobs) for each in found if isinstance(each, Answer)]

    assert kept(again[:4]) == kept(first)[::-1]
    assert kept(again[4:]) == kept(first)
    assert sum(each.usage.cached_tokens or 0 for each in first if isinstance(each, Answer) and each.usage) > 0


def test_several_slots_answer_side_by_side() -> None:
    wide = loaded(slots=3, context=512)
    replies = outcomes(wide, [asked(f"Say the number {number}.") for number in range(4)])
    asyncio.run(wide.close())
    assert all(isinstance(reply, Answer) for reply in replies)


def test_nobody_else_can_reach_the_model_and_a_question_left_behind_does_not_hold_up_the_exit() -> None:
    program = """
import asyncio, os
from pathlib import Path
from fairmark.providers.local import connect
from fairmark.records import Message, Question
from fairmark.study import ModelSpec

async def main():
    model = connect(ModelSpec("local", "smollm2"), env=os.environ, folder=Path())
    await model.ask(Question((Message("user", "hi"),), {"max_tokens": 2}))
    inodes = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            inodes.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:  # the one that listed the folder
            pass
    mine = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/self/net/{name}")]
    print("ports:", [row[1] for row in mine if row[3] == "0A" and f"socket:[{row[9]}]" in inodes])
    print("door:", [line.split()[-1] for line in open("/proc/self/net/unix") if "fairmark-" in line and os.path.exists(line.split()[-1])])
    asyncio.create_task(model.ask(Question((Message("user", "Tell a long story."),), {"max_tokens": 4000})))
    await asyncio.sleep(0.2)

asyncio.run(main())
"""
    if not sys.platform.startswith("linux") or not hasattr(socket, "AF_UNIX"):
        pytest.skip("reads Linux's list of sockets")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ports: []\ndoor: []\n"
    assert done.stderr == ""  # llama.cpp is silent
