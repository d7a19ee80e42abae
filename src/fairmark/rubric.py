"""What a good answer is: criteria with worded levels. Only the rubric knows how labels become a score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Scale = Literal["nominal", "ordinal", "interval"]

NOT_APPLICABLE = "not applicable"
CANNOT_TELL = "cannot tell"
NOT_COVERED = "not covered"  # what a person says where the rubric does not cover a response; it is stored as a failure


@dataclass(frozen=True, slots=True)
class Level:
    """One step of a scale."""

    name: str  # what a grader says
    anchor: str = ""  # what a response at this level looks like
    value: float | None = None  # what it is worth, 0 to 1; None: spaced evenly from worst to best


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example shown to graders."""

    response: str  # the answer that was marked
    level: str  # the level it deserves
    reason: str = ""  # why
    input: str = ""  # the request it answers


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing a response is marked on."""

    id: str  # a short name without spaces
    question: str = ""  # what the grader is asked
    levels: tuple[Level, ...] = ()  # worst first; empty on an interval scale given by `range`
    scale: Scale = "ordinal"
    range: tuple[float, float] | None = None  # lowest and highest number on an interval scale
    weight: float = 1.0  # share in the score; may be negative
    gate: bool = False  # must pass, or the whole response scores 0
    pass_at: str | None = None  # the lowest level that passes; None: the best level
    not_applicable: bool = False  # may a grader say that this does not apply?
    guidance: str = ""  # how to mark the hard cases
    examples: tuple[Example, ...] = ()

    @classmethod
    def yes_no(cls, id: str, *, yes: str, no: str, question: str = "", weight: float = 1.0, gate: bool = False) -> Criterion:
        """A criterion with the two levels `no` and `yes`, each with its anchor."""
        return cls(id=id, question=question, levels=(Level("no", no), Level("yes", yes)), weight=weight, gate=gate)

    def level_names(self) -> tuple[str, ...]:
        """The names of the levels, worst first."""
        return tuple(level.name for level in self.levels)

    def value_of(self, label: str) -> float:
        """What a label is worth, 0 to 1. `KeyError` for a label that is not on the scale."""
        if self.range is not None and not self.levels:
            low, high = self.range
            number = float(label)
            if not math.isfinite(number) or not low <= number <= high:
                raise KeyError(label)
            return (number - low) / (high - low)
        for place, level in enumerate(self.levels):
            if level.name == label:
                if level.value is not None:
                    return level.value
                return place / (len(self.levels) - 1)
        raise KeyError(label)

    def passes(self, label: str, at: str | None = None) -> bool:
        """Whether a label reaches the level `at` (default: the criterion's own pass level).

        On a nominal scale only the named level itself passes; on a scale of numbers the number must reach it.
        """
        if self.range is not None and not self.levels:
            threshold = float(at if at is not None else self.pass_at if self.pass_at is not None else self.range[1])
            return float(label) >= threshold
        names = self.level_names()
        wanted = at if at is not None else self.pass_at if self.pass_at is not None else names[-1]
        if self.scale == "nominal":
            return label == wanted
        return names.index(label) >= names.index(wanted)

    def allows(self, label: str) -> bool:
        """Whether a grader may say this label here."""
        if label == NOT_APPLICABLE:
            return self.not_applicable
        if label == CANNOT_TELL:
            return True
        try:
            self.value_of(label)
        except (KeyError, ValueError):
            return False
        return True

    def wording(self) -> dict[str, object]:
        """All that a grader is shown of this criterion. Weights, gates, values and the pass level are not in it."""
        return {
            "id": self.id,
            "question": self.question,
            "scale": self.scale,
            "range": list(self.range) if self.range else None,
            "levels": [[level.name, level.anchor] for level in self.levels],
            "not_applicable": self.not_applicable,
            "guidance": self.guidance,
            "examples": [[e.input, e.response, e.level, e.reason] for e in self.examples],
        }


@dataclass(frozen=True, slots=True)
class Score:
    """The number the rubric makes of one response's labels."""

    value: float | None  # share of the attainable range, 0 to 1; None while a label is missing
    low: float | None  # the score if every missing label were the worst; None if nothing applies
    high: float | None  # the score if every missing label were the best
    raw: float | None  # weighted sum in the rubric's own points, before any gate
    failed_gates: tuple[str, ...] = ()
    not_applicable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rubric:
    """Criteria in the order they are shown."""

    criteria: tuple[Criterion, ...]
    name: str = "rubric"
    _by_id: Mapping[str, Criterion] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {criterion.id: criterion for criterion in self.criteria})

    def __iter__(self) -> Iterator[Criterion]:
        return iter(self.criteria)

    def __getitem__(self, criterion_id: str) -> Criterion:
        return self._by_id[criterion_id]

    def __contains__(self, criterion_id: object) -> bool:
        return criterion_id in self._by_id

    def score(
        self,
        values: Mapping[str, tuple[float, float] | None],
        *,
        failed_gates: tuple[str, ...] = (),
        open_gates: tuple[str, ...] = (),
    ) -> Score:
        """The score of one response.

        `values` gives for each criterion the lowest and highest value its label can still take (equal once it is
        marked; 0 and 1 while it is missing), or None where it does not apply. Weights are renormalised over what
        applies. With negative weights the score is the share of the attainable range:
        (sum w v - sum of negative w) / (sum of |w|), so it is never clamped. A failed gate makes it 0; an open
        (still unmarked) gate makes its lowest completion 0.
        """
        applicable = [c for c in self.criteria if values[c.id] is not None and c.weight != 0.0]
        skipped = tuple(c.id for c in self.criteria if values[c.id] is None)
        if not applicable:
            return Score(None, None, None, None, failed_gates, skipped)
        floor = sum(min(c.weight, 0.0) for c in applicable)
        span = sum(abs(c.weight) for c in applicable)
        raw_low = raw_high = 0.0
        for criterion in applicable:
            bounds = values[criterion.id]
            assert bounds is not None
            ends = (criterion.weight * bounds[0], criterion.weight * bounds[1])
            raw_low += min(ends)
            raw_high += max(ends)
        low = _unit((raw_low - floor) / span)
        if open_gates:
            low = 0.0
        high = _unit((raw_high - floor) / span)
        raw = raw_low if raw_low == raw_high else None
        if failed_gates:
            return Score(0.0, 0.0, 0.0, raw, failed_gates, skipped)
        return Score(low if low == high else None, low, high, raw, failed_gates, skipped)


def _unit(number: float) -> float:
    """Rounding error of a weighted sum must not push a score off its scale."""
    return min(1.0, max(0.0, round(number, 12)))
