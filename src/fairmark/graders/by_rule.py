"""The grader that marks by a check: it asks nobody."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from fairmark.graders.checks import Check, Finding
from fairmark.graders.labels import clip, label_of, storable
from fairmark.graders.quotes import locate
from fairmark.records import Answer, Failure, Fixed, Item, Json, Question, Verdict
from fairmark.rubric import CANNOT_TELL, Criterion


@dataclass(frozen=True, slots=True)
class CheckGrader:
    """A check on one criterion."""

    name: str
    on: Criterion
    check_kind: str  # its name among the checks
    check: Check
    value: object  # as the check's function wants it
    value_named: Json  # as it stands in keys
    options: Mapping[str, Json]  # all of them, defaults included
    cuts: tuple[float, ...] | None = None  # lowest number of each level but the worst
    code: str = ""  # SHA-256 of the Python file it runs
    package: str = ""  # name and version of the package that brought it
    kind: Literal["check"] = "check"
    rater: str = ""
    _labels: Fixed = field(init=False, repr=False, compare=False)
    _identity: Fixed = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        set_once = object.__setattr__  # both are part of the key of every grade
        set_once(self, "_labels", Fixed(_labels(self.on)))
        set_once(
            self,
            "_identity",
            Fixed(
                kind="check",
                check=self.check_kind,
                version=self.check.version,
                value=self.value_named,
                options=dict(self.options),
                cuts=list(self.cuts) if self.cuts is not None else None,
                code=self.code,
                package=self.package,
            ),
        )

    @property
    def criterion(self) -> str:
        return self.on.id

    @property
    def quick(self) -> bool:
        """Whether it takes next to no time, so that nothing else need go on meanwhile. A stranger's check may not."""
        return self.check.quick and not self.package

    @property
    def parts(self) -> tuple[str, ...]:
        """What it is shown of an item."""
        return self.check.parts(self.value_named)

    def shown(self, item: Item) -> Mapping[str, Json]:
        """The parts of the item that the check declares, and the labels it chooses from. It reads no anchors, no guidance."""
        parts = self.parts
        seen: dict[str, Json] = {"labels": self._labels}
        if "output" in parts:
            seen["output"] = item.output
        if "input" in parts:
            seen["input"] = item.input
        if "reference" in parts:
            seen["reference"] = item.reference
        if "fields" in parts:
            seen["fields"] = dict(item.fields)
        return seen

    def identity(self) -> Mapping[str, Json]:
        return self._identity

    def ask(self, item: Item) -> Question | None:
        return None

    def read(self, item: Item, answer: Answer | None) -> Verdict | Failure:
        parts = self.parts
        if self.check.or_reference and "reference" in parts and item.reference is None:
            return Verdict(CANNOT_TELL, "The case has no reference to compare with.")
        seen = Item(
            case_id=item.case_id,
            input=item.input if "input" in parts else (),
            output=item.output if "output" in parts else "",
            reference=item.reference if "reference" in parts else None,
            fields=item.fields if "fields" in parts else {},
        )
        found = self._found(seen)
        if isinstance(found, Failure):
            return found
        labelled = label_of(found.result, self.on, cuts=self.cuts, where=self.where)
        if isinstance(labelled, Failure):
            return labelled
        label, reason, quotes = labelled
        evidence = found.evidence + tuple(locate(quote, item.output) for quote in quotes)
        return Verdict(label, storable(reason or found.reason), evidence)

    @property
    def where(self) -> str:
        """Whom a failure names."""
        return str(self.value_named) if self.check_kind == "python" else self.name

    def _found(self, seen: Item) -> Finding | Failure:
        if not self.package:
            return self.check.run(seen, self.value, self.options)
        try:
            return self.check.run(seen, self.value, self.options)
        except Exception as error:  # a stranger's check is the world, not our bug
            return Failure("code_error", f"{self.check_kind} ({self.package})", clip(f"{type(error).__name__}: {error}", 400))


def _labels(criterion: Criterion) -> dict[str, Json]:
    return {
        "criterion": criterion.id,
        "levels": list(criterion.level_names()),
        "scale": criterion.scale,
        "range": list(criterion.range) if criterion.range else None,
        "not_applicable": criterion.not_applicable,
    }


def wrong_cuts(cuts: Json, criterion: Criterion) -> tuple[str, str] | None:
    """What is wrong with `cuts` on this criterion and what is allowed, or None."""
    names = criterion.level_names()
    if not names or (criterion.scale == "nominal" and len(names) > 2):
        return "`cuts` has no place here", f"`cuts` only on ordered levels; `{criterion.id}` has none"
    need = f"{len(names) - 1} rising number{'s' if len(names) > 2 else ''}: the lowest for " + ", ".join(f"`{name}`" for name in names[1:])
    if not isinstance(cuts, Sequence) or isinstance(cuts, str) or any(isinstance(c, bool) or not isinstance(c, (int, float)) for c in cuts):
        return f"`cuts` is {cuts!r}", need
    rising = all(a < b for a, b in pairwise(cuts)) and all(math.isfinite(cut) for cut in cuts)
    return None if rising and len(cuts) == len(names) - 1 else (f"`cuts` is {list(cuts)!r}", need)
