"""What a person may write beside a check or an LLM grader, and how a wrong entry is answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fairmark.errors import nearest
from fairmark.records import Json

Kind = Literal[
    "yes or no", "text", "text or list of texts", "list of texts", "number", "whole number", "share", "range", "JSON", "text or mapping"
]


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing a person may set."""

    says: str  # what it does, in one line of the reference
    kind: Kind = "yes or no"
    default: Json = None  # None: not set
    required: bool = False
    choices: tuple[str, ...] = ()  # the words allowed, where the kind is text

    def allowed(self) -> str:
        """What may stand there, in words."""
        return "one of " + ", ".join(self.choices) if self.choices else _ALLOWED[self.kind]

    def fits(self, value: Json) -> bool:
        """Whether the value may stand there."""
        if self.choices:
            return value in self.choices
        match self.kind:
            case "yes or no":
                return isinstance(value, bool)
            case "text":
                return isinstance(value, str) and value != ""
            case "list of texts":
                return _texts(value)
            case "text or list of texts":
                return (isinstance(value, str) and value != "") or _texts(value)
            case "number":
                return _number(value)
            case "whole number":
                return isinstance(value, int) and not isinstance(value, bool) and value >= 0
            case "share":
                return _number(value) and 0 <= value <= 1
            case "range":
                return (
                    isinstance(value, (list, tuple))
                    and len(value) == 2
                    and all(isinstance(end, int) and not isinstance(end, bool) and end >= 0 for end in value)
                    and value[0] <= value[1]
                )
            case "text or mapping":
                return (isinstance(value, str) and value != "") or isinstance(value, Mapping)
            case "JSON":
                return True


_ALLOWED: Mapping[Kind, str] = {
    "yes or no": "true or false",
    "text": "text (write numbers in quotes)",
    "list of texts": "a list of texts (write numbers in quotes)",
    "text or list of texts": "text or a list of texts (write numbers in quotes)",
    "number": "a number",
    "whole number": "a whole number, 0 or more",
    "share": "a number from 0 to 1",
    "range": "two whole numbers, the least and the most, such as [20, 80]",
    "text or mapping": "the name of a file, or a mapping",
    "JSON": "anything",
}


def wrong_settings(given: Mapping[str, Json], known: Mapping[str, Setting]) -> list[tuple[str, str, str]]:
    """What is wrong with the entries, each as found, allowed and remedy."""
    wrong: list[tuple[str, str, str]] = []
    for name, value in given.items():
        if name not in known:
            wrong.append((f"unknown option `{name}`", ", ".join(known) or "no options", nearest(name, known)))
        elif not known[name].fits(value):
            wrong.append((f"`{name}` is {value!r}", known[name].allowed(), ""))
    wrong += [(f"`{name}` is missing", setting.allowed(), "") for name, setting in known.items() if setting.required and name not in given]
    return wrong


def with_defaults(given: Mapping[str, Json], known: Mapping[str, Setting]) -> dict[str, Json]:
    """Every known setting with the value given or its default, so that writing a default out changes nothing."""
    return {name: given.get(name, setting.default) for name, setting in known.items()}


def _number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _texts(value: Json) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(text, str) and text for text in value)
