"""Answers that exist already: outputs recorded in a study, and whole recordings of a run that are replayed.

A recording is JSON Lines: one row per question with the question's digest and the answer, in the order of the digests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from fairmark.errors import Mistake, Problem
from fairmark.providers.addresses import THIS_MACHINE
from fairmark.providers.ingress import Unreadable, clip, count, read_json, visible
from fairmark.records import Answer, Failure, Json, Provider, Question, Usage, digest
from fairmark.study import SystemSpec

FINISHES = ("stop", "length", "refused", "tool", "unknown")
_KEYS = ("question", "text", "finish", "model", "usage", "cost_usd", "seconds", "logprobs")
_USAGE = ("input_tokens", "cached_tokens", "output_tokens")


class Recorded:
    """A system whose outputs were recorded: the answer stands in the question."""

    host = THIS_MACHINE

    def __init__(self, spec: SystemSpec) -> None:
        self.name = spec.name
        self._source = spec.recorded_from or spec.name

    async def ask(self, question: Question) -> Answer | Failure:
        """The recorded output, empty ones included: that is what the system said."""
        if question.recorded is None:
            return Failure("not_recorded", self._source, "the recording holds no answer to this case and trial")
        return Answer(visible(question.recorded))

    async def close(self) -> None:
        pass


def question_digest(question: Question) -> str:
    """The name of a question in a recording: the hash of messages, options, schema, columns and trial.

    The model is not in it, so one recording holds one model's answers to a question.
    """
    return digest(
        {
            "messages": list(question.messages),
            "options": dict(question.options),
            "schema": question.schema,
            "fields": dict(question.fields),
            "trial": question.trial,
        }
    )


class Replay:
    """A provider that answers from a recording, by the digest of the question."""

    def __init__(self, answers: Mapping[str, Answer], *, name: str = "recording") -> None:
        self.name = name
        self.host = THIS_MACHINE
        self._answers = answers

    async def ask(self, question: Question) -> Answer | Failure:
        found = self._answers.get(question_digest(question))
        return found if found is not None else Failure("not_recorded", self.name, "the recording holds no answer to this question")

    async def close(self) -> None:
        pass


class Recorder:
    """A provider that passes questions on and keeps the answers. Failures are not kept."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.host = provider.host
        self.answers: dict[str, Answer] = {}
        self._provider = provider

    async def ask(self, question: Question) -> Answer | Failure:
        outcome = await self._provider.ask(question)
        if isinstance(outcome, Answer):
            self.answers[question_digest(question)] = outcome
        return outcome

    async def close(self) -> None:
        await self._provider.close()


def write_recording(made: Iterable[Recorder | Mapping[str, Answer]]) -> bytes:
    """The answers as JSON Lines. `ValueError` where two models answered the same question differently."""
    answers: dict[str, Answer] = {}
    for part in made:
        for key, answer in (part.answers if isinstance(part, Recorder) else part).items():
            if answers.setdefault(key, answer).text != answer.text:
                raise ValueError(f"two answers to the question {key}: a recording holds the answers of one model")
    return b"".join(json.dumps(_row(key, answers[key]), ensure_ascii=False).encode("utf-8") + b"\n" for key in sorted(answers))


def read_recording(data: bytes, *, file: str = "recording.jsonl") -> dict[str, Answer]:
    """The answers by digest of their question. `Mistake` with every row that cannot be read and its line."""
    answers: dict[str, Answer] = {}
    problems: list[Problem] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            key, answer = _answer(read_json(line))
            if key in answers:
                raise ValueError("the question of this row stands in an earlier row too")
        except (Unreadable, ValueError) as why:
            problems.append(Problem(file, number, 1, clip(str(why), 200), "one answer with its question's digest", "record it again"))
        else:
            answers[key] = answer
    if problems:
        raise Mistake(problems)
    return answers


def _row(key: str, answer: Answer) -> dict[str, Json]:
    row: dict[str, Json] = {"question": key, "text": visible(answer.text), "finish": answer.finish, "model": answer.model}
    if answer.usage is not None:
        row["usage"] = [getattr(answer.usage, kind) for kind in _USAGE]
    row |= {name: value for name in ("cost_usd", "seconds") if (value := getattr(answer, name)) is not None}
    if answer.logprobs is not None:
        row["logprobs"] = [[token, logprob] for token, logprob in answer.logprobs]
    return row


def _answer(row: Json) -> tuple[str, Answer]:
    if not isinstance(row, dict):
        raise ValueError("the row is not an object")
    unknown = [key for key in row if key not in _KEYS]
    if unknown:
        raise ValueError(f"unknown key `{unknown[0]}`")
    key, text, finish, model = row.get("question"), row.get("text"), row.get("finish", "unknown"), row.get("model", "")
    if not isinstance(key, str) or len(key) != 64:
        raise ValueError("`question` is not a digest of 64 digits")
    if not isinstance(text, str) or not isinstance(model, str):
        raise ValueError("`text` and `model` are texts")
    if finish not in FINISHES:
        raise ValueError(f"`finish` is one of {', '.join(FINISHES)}")
    usage = row.get("usage")
    if usage is not None and not (isinstance(usage, list) and len(usage) == 3 and all(n is None or count(n) is not None for n in usage)):
        raise ValueError("`usage` is three whole numbers or nulls: input, cached and output tokens")
    for name in ("cost_usd", "seconds"):
        if row.get(name) is not None and not (_number(row[name]) and row[name] >= 0):
            raise ValueError(f"`{name}` is a number from 0")
    logprobs = row.get("logprobs")
    if logprobs is not None and not (isinstance(logprobs, list) and all(_is_pair(pair) for pair in logprobs)):
        raise ValueError("`logprobs` is a list of pairs of token and number")
    return key, Answer(
        text=visible(text),
        finish=finish,
        model=model,
        usage=Usage(*usage) if usage is not None else None,
        cost_usd=row.get("cost_usd"),
        seconds=row.get("seconds"),
        logprobs=tuple((token, float(logprob)) for token, logprob in logprobs) if logprobs is not None else None,
    )


def _is_pair(pair: Json) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and _number(pair[1])


def _number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
