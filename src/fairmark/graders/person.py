"""The grader that is a person at the marking page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fairmark.records import Answer, Failure, Item, Json, Question, Verdict
from fairmark.rubric import Criterion


@dataclass(frozen=True, slots=True)
class PersonGrader:
    """One person marking one criterion. A mark is named by exactly what the person was shown, so it never outlives it."""

    name: str
    on: Criterion
    rater: str  # pseudonym
    show: tuple[str, ...] = ("input",)  # input, expected and columns of the cases
    guideline: str = ""  # version of the guideline
    kind: Literal["human"] = "human"

    @property
    def criterion(self) -> str:
        return self.on.id

    def shown(self, item: Item) -> Mapping[str, Json]:
        return {**fields_shown(item, self.show), "output": item.output, "criterion": self.on.wording()}

    def identity(self) -> Mapping[str, Json]:
        return {"kind": "human", "rater": self.rater, "guideline": self.guideline}

    def ask(self, item: Item) -> Question | None:
        """None: a person is asked by the page, not by `calls`."""
        return None

    def read(self, item: Item, answer: Answer | None) -> Verdict | Failure:
        """That there is no mark: one that a person gives is stored when it is given."""
        return Failure("not_recorded", self.name, f"{self.rater or 'nobody'} has not marked `{self.criterion}` of case {item.case_id} yet")


def fields_shown(item: Item, show: tuple[str, ...]) -> dict[str, Json]:
    """What a person sees of a case, by name, in the order of `show`; what a case does not have is left out."""
    seen: dict[str, Json] = {}
    for name in show:
        if name == "input":
            seen[name] = list(item.input)
        elif name == "expected":
            if item.reference is not None:
                seen[name] = item.reference
        elif item.fields.get(name) is not None:
            seen[name] = item.fields[name]
    return seen
