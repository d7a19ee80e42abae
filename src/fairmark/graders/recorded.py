"""The grader that looks marks up in the file they were recorded in: a person's, or a model's from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fairmark.graders.labels import clip, named_label, scale_in_words, storable
from fairmark.records import Answer, Failure, Item, Json, Question, Verdict, digest
from fairmark.rubric import Criterion
from fairmark.study import Mark


@dataclass(frozen=True, slots=True)
class RecordedGrader:
    """One person's recorded marks on one criterion."""

    name: str
    on: Criterion
    rater: str  # pseudonym
    marks: Mapping[tuple[str, str, int], Mark]  # (case id, system, trial) -> mark
    guideline: str = ""
    kind: Literal["human", "llm"] = "human"  # llm: a model's marks, made elsewhere

    @property
    def criterion(self) -> str:
        return self.on.id

    def shown(self, item: Item) -> Mapping[str, Json]:
        """What the person saw, and the digest of the mark: a corrected mark, or another system's equal answer, is a grade of its own."""
        mark = self._mark(item)
        return {
            "input": list(item.input),
            "output": item.output,
            "reference": item.reference,
            "criterion": self.on.wording(),
            "mark": self._source(mark) if mark is not None else None,
        }

    def identity(self) -> Mapping[str, Json]:
        return {"kind": self.kind, "rater": self.rater, "guideline": self.guideline}

    def ask(self, item: Item) -> Question | None:
        return None

    def read(self, item: Item, answer: Answer | None) -> Verdict | Failure:
        mark = self._mark(item)
        if mark is None:
            who = self.rater or "nobody"
            return Failure(
                "not_recorded",
                self.name,
                f"no mark by {who} on `{self.criterion}` for case {item.case_id}, {item.system}, trial {item.trial}",
            )
        if mark.output is not None and _even(mark.output) != _even(item.output):
            return Failure("stale_mark", mark.where or self.name, f"the mark was given to another answer: {clip(mark.output) or '(empty)'}")
        label = named_label(self.on, mark.label)
        if label is None:
            return Failure("bad_label", mark.where or self.name, f"`{clip(mark.label)}` is not on the scale: {scale_in_words(self.on)}")
        return Verdict(label, storable(mark.reason), confidence=mark.confidence, source=self._source(mark))

    def _mark(self, item: Item) -> Mark | None:
        return self.marks.get((item.case_id, item.system, item.trial))

    def _source(self, mark: Mark) -> str:
        """Digest of the row, which binds it to the one answer it was first read with. Where it stands in the file is not in it."""
        row = [self.name, mark.case_id, mark.system, mark.trial, mark.criterion, mark.rater, mark.label, mark.reason, mark.output]
        return digest(row)


def _even(text: str) -> str:
    """Line ends as tables keep them must not make a mark stale."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
