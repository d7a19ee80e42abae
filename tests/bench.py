"""A small study in memory and a provider that counts what it is asked, for tests of the whole bench."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fairmark.records import Answer, Case, Failure, Message, Question, Usage, digest
from fairmark.rubric import Criterion, Level, Rubric
from fairmark.study import GraderSpec, Hypothesis, ModelSpec, Study, SystemSpec
from fairmark.workbench import Workbench

RUBRIC = Rubric(
    (
        Criterion.yes_no("deadline", yes="names the time limit", no="names no time limit"),
        Criterion(
            "tone",
            question="How kind is the answer?",
            levels=(Level("cold", "curt or rude"), Level("neutral", "correct"), Level("kind", "warm and plain")),
            pass_at="neutral",
        ),
        Criterion.yes_no("safe", yes="asks for no papers", no="asks for papers", gate=True),
    )
)


def cases(count: int = 6) -> tuple[Case, ...]:
    return tuple(
        Case(
            id=f"c{number}",
            input=(Message("user", f"Please delete my data, request {number}."),),
            expected=f"We delete it within 30 days ({number}).",
            fields={"customer": f"k{number // 2}", "variety": "formal" if number % 2 else "informal"},
        )
        for number in range(1, count + 1)
    )


def study(folder: Path = Path(), *, n: int = 6, **changes: Any) -> Study:
    """Two model systems, one LLM grader on tone and two checks."""
    base = Study(
        name="small",
        question="Does the guided prompt help?",
        folder=folder,
        cases=cases(n),
        systems={
            "bare": SystemSpec("bare", "model", model=ModelSpec("openai", "m", {"temperature": 0})),
            "guided": SystemSpec("guided", "model", model=ModelSpec("openai", "m", {"temperature": 0}), prompt="Name the time limit."),
        },
        rubric=RUBRIC,
        graders={
            "judge": GraderSpec("judge", "llm", ("tone",), model=ModelSpec("openai", "judge-model", {"temperature": 0})),
            "limit": GraderSpec("limit", "check", ("deadline",), check="contains", value="30 days"),
            "papers": GraderSpec("papers", "check", ("safe",), check="contains", value="passport", options={"absent": True}),
        },
        hypotheses=(Hypothesis("H1", "better", "guided", "deadline", "Guided names it more often", "bare", 0.05, primary=True),),
        population={"variety": ("formal", "informal")},
    )
    return replace(base, **changes)


def helpful(question: Question) -> Answer:
    """Answers like a system with a prompt, like one without, or like a grader, by what it is shown."""
    said = "\n".join(message.content for message in question.messages)
    if question.schema is not None:
        return Answer('{"evidence": "", "reason": "as asked", "level": "neutral"}', "stop", "fake", Usage(10, 0, 5), 0.0)
    if "Name the time limit" in said:
        return Answer(f"We delete it within 30 days. [{digest(said)[:6]}]", "stop", "fake", Usage(10, 0, 5), 0.0)
    return Answer(f"Sure. [{digest(said)[:6]}]", "stop", "fake", Usage(10, 0, 5), 0.0)


@dataclass
class Fake:
    """A provider that answers from a function and counts what it is asked."""

    reply: Callable[[Question], Answer | Failure] = helpful
    name: str = "fake"
    host: str = "this machine"
    asked: list[Question] = field(default_factory=list)

    async def ask(self, question: Question) -> Answer | Failure:
        self.asked.append(question)
        return self.reply(question)

    async def close(self) -> None:
        pass

    def counts(self) -> Counter[str]:
        """How many answers and how many grades were asked for."""
        return Counter("grade" if question.schema is not None else "response" for question in self.asked)


def bench(study_: Study, fake: Fake | None = None, **options: Any) -> Workbench:
    """The study on a bench whose every model is the fake."""
    provider = fake if fake is not None else Fake()
    options.setdefault("env", {})
    if "store" not in options:
        options.setdefault("memory", True)
    return Workbench(study_, connect=lambda _: provider, **options)
