"""Graders as an audit asks them. Their identity names the audit, so that no grade of an audit passes for the study's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fairmark.graders import LlmGrader
from fairmark.records import Item, Json, digest, plain_text
from fairmark.rubric import Criterion, Level

SECOND = "second response"  # field of an item that holds the response in second place
FIRST_WINS, EQUAL, SECOND_WINS = "first", "equal", "second"
COMPARE = "You compare two responses on one question, by their content alone, not their length, their place or their tone of confidence."


@dataclass(frozen=True, slots=True)
class Variant(LlmGrader):
    """The grader for one arm of an experiment: the same texts, in the study's own fence, under another name."""

    arm: str = ""  # such as `length: padded`
    order: tuple[str, ...] = ()  # the levels in exactly this order; empty: as the grader draws it

    def identity(self) -> Mapping[str, Json]:
        return {**LlmGrader.identity(self), "audit": self.arm, "order": list(self.order)}

    def level_order(self, item: Item) -> tuple[str, ...]:
        return self.order or LlmGrader.level_order(self, item)

    def _digest(self, item: Item, use: str) -> str:
        # by the grader's own identity: the same item asked again is the same question, letter by letter
        return digest([use, item.case_id, dict(self.shown(item)), dict(LlmGrader.identity(self))])


@dataclass(frozen=True, slots=True)
class PairGrader(Variant):
    """The grader's model asked which of two responses is better: the item's output, or the one in its field `SECOND`."""

    def shown(self, item: Item) -> Mapping[str, Json]:
        return {**LlmGrader.shown(self, item), "second": str(item.fields[SECOND])}

    def level_order(self, item: Item) -> tuple[str, ...]:
        """The choices in one order for both places of the same two responses."""
        names = self.on.level_names()
        both = sorted((item.output, str(item.fields[SECOND])))
        row = int(digest([item.case_id, both])[:16], 16) % len(names)
        return names[row:] + names[:row]

    def parts(self, item: Item) -> tuple[tuple[str, str], ...]:
        reference = (("reference", item.reference),) if item.reference is not None else ()
        return (
            ("request", plain_text(item.input)),
            *reference,
            ("first response", item.output),
            (SECOND, str(item.fields[SECOND])),
        )


def variant(judge: LlmGrader, arm: str, order: tuple[str, ...] = ()) -> Variant:
    """The grader for one arm of an experiment."""
    return Variant(judge.name, judge.on, judge.model, judge.prompt, judge.options, arm=arm, order=order)


def pair_grader(judge: LlmGrader) -> PairGrader:
    """The grader's model with a question about two responses, in its own instructions, without quotes."""
    options = {**judge.options, "evidence": False}
    return PairGrader(judge.name, pair_criterion(judge.on), judge.model, COMPARE, options, arm="order")


def pair_criterion(on: Criterion) -> Criterion:
    """The criterion as a question about two responses: the first is better, the second is better, or neither."""
    anchors = "; ".join(f"{level.name}: {level.anchor}" if level.anchor else level.name for level in on.levels)
    guidance = "\n".join(text for text in (on.guidance.strip(), f"From worst to best: {anchors}" if anchors else "") if text)
    return replace(
        on,
        question=f"Which response is better on this: {on.question.strip() or on.id}",
        levels=(
            Level(FIRST_WINS, "the first response is better"),
            Level(EQUAL, "they are equally good"),
            Level(SECOND_WINS, "the second response is better"),
        ),
        scale="nominal",
        range=None,
        pass_at=None,
        not_applicable=False,
        guidance=guidance,
        examples=(),
    )
