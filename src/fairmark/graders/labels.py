"""From what a check found to a label on its criterion's scale, or the failure to fit it there."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import cast

from fairmark.errors import nearest
from fairmark.records import Failure, Json
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, Criterion

RESULT_KEYS = ("pass", "score", "label", "reason", "evidence")
_PLAIN_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?", re.ASCII)


def of_numbers(criterion: Criterion) -> bool:
    """Whether the labels of this criterion are numbers in a range rather than named levels."""
    return criterion.range is not None and not criterion.levels


def offered(criterion: Criterion) -> tuple[str, ...]:
    """Every label with a name that a grader may give here: the levels, worst first, and the standing ways out."""
    return (*criterion.level_names(), *((NOT_APPLICABLE,) if criterion.not_applicable else ()), CANNOT_TELL)


def number_label(number: float) -> str:
    """The one spelling of a number as a label: 3 rather than 3.0."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(float(number))


def number_in_range(criterion: Criterion, number: object) -> str | None:
    """The label of a number (or of a number spelt as text), or None where it is none or stands outside the range."""
    assert criterion.range is not None
    if isinstance(number, str):
        if not _PLAIN_NUMBER.fullmatch(number):
            return None
    elif isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    try:
        value = float(number)
    except OverflowError:
        return None
    low, high = criterion.range
    return number_label(value) if math.isfinite(value) and low <= value <= high else None


def named_label(criterion: Criterion, label: str) -> str | None:
    """The label itself where the criterion offers exactly it, else None."""
    if label in offered(criterion):
        return label
    return number_in_range(criterion, label) if of_numbers(criterion) else None


def scale_in_words(criterion: Criterion) -> str:
    """What may be said on this criterion, for a message."""
    ways_out = [f"`{name}`" for name in offered(criterion)]
    if of_numbers(criterion):
        assert criterion.range is not None
        low, high = criterion.range
        return f"a number from {number_label(low)} to {number_label(high)}, or " + " or ".join(ways_out)
    return ", ".join(ways_out)


def label_of(
    result: object, criterion: Criterion, *, cuts: Sequence[float] | None, where: str
) -> tuple[str, str, tuple[str, ...]] | Failure:
    """The label that a check's result stands for, the reason it gave, and the quotes it gave.

    True and False are the best and the worst level, or the ends of a range. A text must be a label. A number is
    the label on a range; on levels it needs `cuts`, the lowest number of every level but the worst. A mapping holds
    some of `pass`, `score`, `label`, `reason` and `evidence`, which must not contradict each other. All else is a
    `bad_label`: nothing is rounded, clipped or guessed.
    """
    result = _plain(result)
    if not isinstance(result, Mapping):
        label = _one(result, criterion, cuts, where)
        return label if isinstance(label, Failure) else (label, "", ())
    unknown = [str(key) for key in result if key not in RESULT_KEYS]
    if unknown:
        hint = nearest(unknown[0], RESULT_KEYS)
        return _bad(where, f"the result has the unknown key `{unknown[0]}`; known are {', '.join(RESULT_KEYS)}. {hint}".strip())
    reason = result.get("reason", "")
    quotes = result.get("evidence", ())
    quotes = (quotes,) if isinstance(quotes, str) else quotes
    if not isinstance(reason, str):
        return _bad(where, f"`reason` must be text, not {type(reason).__name__}")
    if not isinstance(quotes, (list, tuple)) or not all(isinstance(quote, str) for quote in quotes):
        return _bad(where, "`evidence` must be a quote or a list of quotes from the response")
    parts = {key: _plain(result[key]) for key in ("label", "score", "pass") if result.get(key) is not None}
    label = _together(parts, criterion, cuts, where)
    return label if isinstance(label, Failure) else (label, reason, tuple(cast("Sequence[str]", quotes)))


def _together(parts: Mapping[str, object], criterion: Criterion, cuts: Sequence[float] | None, where: str) -> str | Failure:
    """The label on which `label`, `score` and `pass` agree."""
    if not parts:
        return _bad(where, "the result holds none of `pass`, `score` and `label`")
    if "pass" in parts and not isinstance(parts["pass"], bool):
        return _bad(where, f"`pass` must be true or false, not {parts['pass']!r}")
    if "label" in parts and not isinstance(parts["label"], str):
        return _bad(where, f"`label` must be text, not {parts['label']!r}")
    score = parts.get("score")
    if "score" in parts and (isinstance(score, bool) or not isinstance(score, (int, float))):
        return _bad(where, f"`score` must be a number, not {score!r}")
    # without cuts a score beside a pass or a label says nothing of its own, but it may still contradict them
    scored = "score" in parts and (of_numbers(criterion) or cuts is not None or len(parts) == 1)
    labels: dict[str, str] = {}
    for key in ("label", "score", "pass"):
        if key in parts and (key != "score" or scored) and not (key == "pass" and labels):
            one = _one(parts[key], criterion, cuts, where)
            if isinstance(one, Failure):
                return one
            labels[key] = one
    best, worst = (_one(end, criterion, cuts, where) for end in (True, False))
    chosen = labels.get("label", labels.get("score", labels.get("pass")))
    assert chosen is not None
    clash = "label" in labels and "score" in labels and labels["label"] != labels["score"]
    if "pass" in parts and chosen in (best, worst):
        clash = clash or (chosen == best) != parts["pass"]
    if "score" in parts and not scored:
        assert isinstance(score, (int, float))
        if not 0 <= score <= 1:
            return _bad(where, f"`score` must be between 0 and 1 beside `pass` or `label`, not {score!r}")
        clash = clash or (score == 0 and chosen == best) or (score == 1 and chosen == worst)
    if clash:
        return _bad(where, "the result contradicts itself: " + ", ".join(f"{key} {value!r}" for key, value in parts.items()))
    return chosen


def _one(result: object, criterion: Criterion, cuts: Sequence[float] | None, where: str) -> str | Failure:
    if isinstance(result, bool):
        if of_numbers(criterion):
            assert criterion.range is not None
            return number_label(criterion.range[1 if result else 0])
        names = criterion.level_names()
        if criterion.scale == "nominal" and len(names) != 2:
            return _bad(where, f"true or false does not choose among the {len(names)} unordered levels of `{criterion.id}`")
        return names[-1 if result else 0]
    if isinstance(result, str):
        label = named_label(criterion, result)
        return label if label is not None else _bad(where, f"`{clip(result)}` is not on the scale: {scale_in_words(criterion)}")
    if isinstance(result, (int, float)):
        if of_numbers(criterion):
            label = number_in_range(criterion, result)
            return label if label is not None else _bad(where, f"{result!r} is not on the scale: {scale_in_words(criterion)}")
        if cuts is None:
            return _bad(where, f"the number {result!r} needs `cuts` to become a level of `{criterion.id}`")
        if isinstance(result, float) and not math.isfinite(result):
            return _bad(where, f"{result!r} is not a number that `cuts` could place")
        return criterion.level_names()[bisect_right(list(cuts), result)]
    return _bad(
        where, f"the result is {type(result).__name__}; allowed are true, false, a number, a level or a mapping of {', '.join(RESULT_KEYS)}"
    )


def _plain(value: object) -> object:
    """The Python value in a numpy scalar, which is neither bool nor int though it looks like one."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return cast("Json", value).item()
    return value


def _bad(where: str, why: str) -> Failure:
    return Failure("bad_label", where, why)


def clip(text: str, length: int = 80) -> str:
    """The beginning of a text on one line, fit for a message; lone surrogates, which no store takes, are replaced."""
    line = " ".join(storable(text[: 4 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def storable(text: str) -> str:
    """The text with lone surrogates replaced, which have no UTF-8 form."""
    return text.encode("utf-8", "replace").decode("utf-8")
