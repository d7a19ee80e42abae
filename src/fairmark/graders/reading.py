"""A grader model's answer read exactly or not at all.

Three readings, in this order: the whole text is a JSON object; the text holds one JSON object and no other brace; the
last line is a level and nothing else. Each must name one offered label, spelt exactly. Whatever could be read in two
ways, or quotes a verdict that the marked response may have forged, is unreadable. There is no default.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from fairmark.graders.json_text import Member, NotJson, members_at
from fairmark.graders.labels import clip, named_label, number_in_range, of_numbers, storable
from fairmark.records import Answer
from fairmark.rubric import Criterion

LONGEST = 50_000  # characters; a verdict is some hundred
_BLANK = " \t\r\n"


class Unreadable(ValueError):
    """An answer that names no offered label in a way that can only be meant so."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says."""

    label: str
    start: int  # where the label stands in the answer, without its quotes
    end: int
    reason: str = ""
    quotes: tuple[str, ...] = ()


def read_answer(answer: Answer, criterion: Criterion) -> Reading:
    """The reading of an answer. `Unreadable` says why there is none."""
    text = answer.text
    if len(text) > LONGEST:
        raise Unreadable(f"the answer has {len(text)} characters")
    brace = text.find("{")
    if brace < 0:
        if answer.finish == "length":
            raise Unreadable("the answer was cut off")
        if "}" in text:
            raise Unreadable("the answer is the end of something")
        return _last_line(text, criterion)
    try:
        members, end = members_at(text, brace)
    except NotJson as error:
        if answer.finish == "length":
            raise Unreadable("the answer was cut off inside its JSON") from None
        raise Unreadable(f"the JSON is broken: {error}") from None
    around = (text[:brace], text[end:])
    if any(mark in part for part in around for mark in "{}"):
        raise Unreadable("the answer holds more than one JSON object")
    reading = _object(members, criterion)
    for part in around:
        for line in part.split("\n"):
            label = _named(line.strip(_BLANK), criterion)
            if label is not None and label != reading.label:
                raise Unreadable(f"the answer says both `{reading.label}` and `{label}`")
    return reading


def confidence_of(answer: Answer, start: int, end: int) -> float | None:
    """The probability that the model gave to the tokens of the label, or None where it is not known.

    The product of the probabilities of all tokens that reach into the label: the later ones are nearly certain once the
    first is out. None unless the token texts make up the answer.
    """
    if not answer.logprobs:
        return None
    shift = "".join(token for token, _ in answer.logprobs).find(answer.text)
    if shift < 0:
        return None
    total = 0.0
    place = -shift
    for token, logprob in answer.logprobs:
        if place < end and place + len(token) > start:
            total += logprob
        place += len(token)
    if math.isnan(total):
        return None
    return min(1.0, math.exp(min(total, 0.0)))


def _object(members: Sequence[Member], criterion: Criterion) -> Reading:
    found = [member for member in members if member.key == "level"]
    twins = [m.key for m in members if m.key != "level" and unicodedata.normalize("NFKC", m.key).casefold().strip() == "level"]
    if twins:
        raise Unreadable(f"the answer has a second `level`, spelt `{clip(twins[0])}`")
    if not found:
        raise Unreadable("the JSON has no `level`")
    labels = {_label(member.value, criterion) for member in found}
    if len(labels) > 1:
        raise Unreadable("the JSON has two different levels")
    label = labels.pop()
    if label is None:
        raise Unreadable(f"`{clip(str(found[-1].value))}` is not an offered level")
    inside = 1 if isinstance(found[-1].value, str) else 0
    said = {member.key: member.value for member in members}
    reason, evidence = said.get("reason"), said.get("evidence")
    quotes = [evidence] if isinstance(evidence, str) else evidence if isinstance(evidence, list) else []
    return Reading(
        label,
        found[-1].start + inside,
        found[-1].end - inside,
        storable(reason)[:2000] if isinstance(reason, str) else "",
        tuple(storable(quote)[:2000] for quote in quotes[:10] if isinstance(quote, str) and quote.strip()),
    )


def _last_line(text: str, criterion: Criterion) -> Reading:
    lines = text.split("\n")
    while lines and not lines[-1].strip(_BLANK):
        lines.pop()
    if not lines:
        raise Unreadable("the answer is empty")
    last = lines.pop()
    label = _named(last.strip(_BLANK), criterion)
    if label is None:
        raise Unreadable("the answer does not end in an offered level")
    others = {other for line in lines if (other := _named(line.strip(_BLANK), criterion)) is not None}
    if others - {label}:
        raise Unreadable(f"the answer says both `{label}` and `{min(others - {label})}`")
    before = sum(len(line) + 1 for line in lines)
    start = before + len(last) - len(last.lstrip(_BLANK))
    return Reading(label, start, start + len(last.strip(_BLANK)), clip("\n".join(lines), 500))


def _label(value: object, criterion: Criterion) -> str | None:
    """The label that a JSON value names. A level called `3` may come as the number 3."""
    if isinstance(value, str):
        return _named(value, criterion)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if of_numbers(criterion):
        return number_in_range(criterion, value)
    return _named(str(value), criterion) if isinstance(value, int) and abs(value) < 10**15 else None


def _named(text: str, criterion: Criterion) -> str | None:
    return named_label(criterion, text)
