"""Every sentence a report may say, made by fixed rules from tested results. No sentence is written by a language model.

The page, the Markdown, the JSON and the command line take their words from here, so they cannot differ. A sentence
counts things ("out of 100 answers"), gives its range, and says "we don't know yet" where nothing was decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from fairmark.report.figures import Figures, bound_text, count, figures_of
from fairmark.results import Analysis, CriterionResult, Estimate, HypothesisResult, Refusal, Stopped, SystemResult, Trust
from fairmark.rubric import Criterion

Unit = Literal["answers", "points"]  # what a figure counts: answers out of 100, or points out of 100


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with its key figure marked. `str()` gives it plain."""

    parts: tuple[tuple[str, bool], ...]  # text, and whether it is the key figure

    def __str__(self) -> str:
        return "".join(text for text, _ in self.parts)


def sentence(*parts: str | Sentence) -> Sentence:
    """The parts, one after the other; a part made by `key` is the key figure."""
    joined: list[tuple[str, bool]] = []
    for part in parts:
        joined += part.parts if isinstance(part, Sentence) else [(part, False)]
    return Sentence(tuple(joined))


def key(text: str) -> Sentence:
    """A key figure."""
    return Sentence(((text, True),))


# ---------------------------------------------------------------- small words


def closed(text: str) -> str:
    """A foreign phrase as a sentence: capital first, full stop last."""
    text = text.strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def listed(items: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def number_of(n: int, one: str, many: str = "") -> str:
    """`1 case`, `2 cases`."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def day(nanoseconds: int) -> str:
    """A UTC date such as `3 November 2026`."""
    at = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return f"{at.day} {at.strftime('%B %Y')}"


def name_of(identifier: str) -> str:
    """An identifier as words: `no_id_papers` as `no id papers`."""
    return identifier.replace("_", " ")


FAILURES: Mapping[str, str] = {
    "rate_limited": "too many requests, in the other side's view",
    "server_error": "the other side had an error",
    "connection": "the connection was refused or lost",
    "timeout": "no complete answer in time",
    "broken_reply": "a reply that could not be read",
    "empty_reply": "a reply without text",
    "bad_request": "the other side refused the request",
    "auth": "the key was missing or refused",
    "code_error": "the code raised an error",
    "not_recorded": "nothing was recorded",
    "unreadable_grade": "the grader named no level",
    "bad_label": "a label that is not on the scale",
    "stale_mark": "the mark was given to another answer",
    "no_response": "there was no answer to mark",
    "budget": "not asked: the budget was used up",
    "cancelled": "not finished: the run was stopped",
}


def failure_kind(kind: str) -> str:
    """What a kind of failure means."""
    return FAILURES.get(kind, name_of(kind))


def refused(refusal: Refusal) -> str:
    """Why there is no figure."""
    return f"No figure: {refusal.why.rstrip('.')}."


def failed(text: str) -> str:
    """A stored failure, `timeout: no answer within 120 s`, as a sentence with its kind at the end."""
    kind, colon, why = text.partition(": ")
    if not colon or kind not in FAILURES:
        return closed(text)
    return f"{closed(why)[:-1]} ({name_of(kind)})."


# ---------------------------------------------------------------- what a figure is about


@dataclass(frozen=True, slots=True)
class About:
    """What `on` means in words: answers that reach a level, or points on average."""

    unit: Unit
    does: str  # answers: `gets “met” for tone`; points: where they are earned, `on tone`
    topic: str  # as a heading: `“met” or better for tone`


def about(on: str, rubric: Sequence[Criterion] = ()) -> About:
    """The words for `score`, `criterion` or `criterion>=level`."""
    if on == "score":
        return About("points", "for the whole rubric", "rubric score")
    identifier, _, wanted = on.partition(">=")
    criterion = next((c for c in rubric if c.id == identifier), None)
    level = wanted.strip()
    name = name_of(identifier.strip())
    if not level and criterion is not None and _two_plain_levels(criterion):
        level = criterion.levels[-1].name
    if not level:
        return About("points", f"on {name}", f"mean of {name}")
    open_ended = criterion is not None and criterion.scale != "nominal" and level != (criterion.level_names() or ("",))[-1]
    label = f"“{level}”" if criterion is None or criterion.levels else level
    reach = f"{label} or better" if open_ended else label
    return About("answers", f"gets {reach} for {name}", f"{reach} for {name}")


def _two_plain_levels(criterion: Criterion) -> bool:
    """Whether the mean of this criterion is the share of its better level."""
    return len(criterion.levels) == 2 and [criterion.value_of(level) for level in criterion.level_names()] == [0.0, 1.0]


def bound_of(result: HypothesisResult) -> float:
    """The number that the deciding bound was held against."""
    return -result.margin if result.kind == "no_worse_than" else result.margin


def compared(result: HypothesisResult) -> bool:
    """Whether it is a difference between two systems."""
    return len(result.systems) > 1


def edges_of(result: HypothesisResult) -> tuple[float, ...]:
    """What its figures must stay on their side of: what was expected, and none, and for one system all."""
    return (bound_of(result), 0.0) if compared(result) else (bound_of(result), 0.0, 1.0)


def figures_for(result: HypothesisResult) -> Figures | None:
    """The estimate out of 100 as sentences print it; None where it is refused."""
    return figures_of(result.estimate, bounds=edges_of(result), words=True)


# ---------------------------------------------------------------- ranges


def range_words(shown: Figures) -> str:
    """`between 74 and 88`."""
    if shown.low == shown.high:
        return f"exactly {shown.low}"
    return f"between {shown.low} and {shown.high}"


def more_or_fewer(text: str) -> str:
    """A signed difference: `14 more`, `3 fewer`, `as many`."""
    if text == "0":
        return "as many"
    if text in ("just over 0", "just under 0"):
        return "a trace fewer" if _negative(text) else "a trace more"
    return f"{_unsigned(text)} fewer" if _negative(text) else f"{text} more"


def difference_range(shown: Figures) -> str:
    """`between 6 and 22 more`, `between 3 fewer and 11 more`."""
    low, high = shown.low, shown.high
    if low == high:
        return f"exactly {more_or_fewer(low)}"
    if _negative(low) and (_negative(high) or high == "0"):
        return f"between {_unsigned(high)} and {_unsigned(low)} fewer"
    if _negative(low):
        return f"between {more_or_fewer(low)} and {more_or_fewer(high)}"
    return f"between {low} and {high} more"


def _negative(text: str) -> bool:
    return "−" in text or text == "just under 0"


def _unsigned(text: str) -> str:
    """The size of a negative figure; "just over −5" is a loss of just under 5."""
    if text.startswith("just over"):
        return text.replace("just over −", "just under ")
    if text.startswith("just under"):
        return text.replace("just under", "just over").replace("−", "")
    return text.replace("−", "")


def figure_words(estimate: Estimate, shown: Figures | None, *, difference: bool) -> str:
    """What a screen reader says in place of a drawn interval."""
    if shown is None:
        return refused(estimate.refused) if estimate.refused is not None else "No figure."
    if difference:
        return f"{more_or_fewer(shown.value)} out of 100, {difference_range(shown)}"
    return f"{shown.value} out of 100, {range_words(shown)}"


# ---------------------------------------------------------------- hypotheses


def expectation(result: HypothesisResult) -> str:
    """What was expected, as it continues "We expected …": `at least 70`, `at least 5 more`."""
    number = bound_text(result.margin)
    if result.kind == "at_least":
        return f"at least {number}"
    if result.kind == "at_most":
        return f"at most {number}"
    if result.kind == "no_worse_than":
        return f"no more than {number} fewer" if result.margin else "no fewer"
    return f"at least {number} more" if result.margin else "more"


def title(result: HypothesisResult, rubric: Sequence[Criterion] = ()) -> str:
    """The hypothesis in the words of those who wrote it, or in ours where they wrote none."""
    if result.text:
        return result.text
    what = about(result.on, rubric)
    first = result.systems[0] if result.systems else "the system"
    answers = what.unit == "answers"
    if not compared(result):
        if answers:
            return f"Out of 100 answers, {first} {what.does} in {expectation(result)}"
        return f"{first} earns {expectation(result)} of 100 points {what.does}"
    than = result.systems[1]
    if answers:
        return f"Out of 100 answers, {first} {what.does} in {expectation(result)} than {than}"
    return f"Out of 100 points, {first} earns {expectation(result)} than {than} {what.does}"


def found(result: HypothesisResult, rubric: Sequence[Criterion] = ()) -> Sentence:
    """What was found, counted out of 100, with its range; or why there is no figure."""
    shown = figures_for(result)
    what = about(result.on, rubric)
    if shown is None:
        refusal = result.estimate.refused
        return sentence(closed(refusal.why) if refusal is not None else "There is no figure.")
    first = result.systems[0]
    if compared(result):
        size = more_or_fewer(shown.value)
        figure = key(size if shown.value == "0" else f"about {size}")
        than = f"{'as' if shown.value == '0' else 'than'} {result.systems[1]}"
        if what.unit == "answers":
            return sentence(f"Out of 100 answers, {first} {what.does} in ", figure, f" {than} ({difference_range(shown)}).")
        return sentence(f"Out of 100 points, {first} earns ", figure, f" {than} {what.does} ({difference_range(shown)}).")
    figure = key(shown.value if shown.value in ("0", "100") else f"about {shown.value}")
    if what.unit == "answers":
        return sentence(f"Out of 100 answers, {first} {what.does} in ", figure, f" ({range_words(shown)}).")
    return sentence(f"Out of 100 points, {first} earns ", figure, f" {what.does} ({range_words(shown)}).")


VERDICTS: Mapping[str, str] = {
    "supported": "the evidence supports that",
    "refuted": "the evidence contradicts that",
    "undecided": "we don’t know yet",
}


def judged(result: HypothesisResult) -> str:
    """What was expected and what the evidence says to it. One fixed form for every verdict."""
    expected = expectation(result)
    if result.kind == "no_worse_than":
        return f"We accept {expected}; {VERDICTS[result.verdict]}."
    return f"We expected {expected}; {VERDICTS[result.verdict]}."


def unknown_because(result: HypothesisResult) -> str:
    """Why an undecided hypothesis is undecided; empty for the others."""
    if result.verdict != "undecided":
        return ""
    if result.estimate.refused is not None:
        return closed(result.estimate.refused.why)
    held = bound_text(bound_of(result))
    if compared(result):
        held = "no difference" if held == "0" else more_or_fewer(held)
    return f"The range holds {held}, so it could be either."


def smallest_seen(result: HypothesisResult, rubric: Sequence[Criterion] = ()) -> str:
    """The smallest difference that so many cases would have shown; empty where that is unknown."""
    if result.smallest_visible is None or result.verdict != "undecided" or "noticed" in result.next:
        return ""  # where more cases are the next step, that step already says it
    shown = figures_of_size(result.smallest_visible)
    unit = "in 100" if about(result.on, rubric).unit == "answers" else "points of 100"
    return f"With this many cases we would have noticed a difference of about {shown} {unit}."


def figures_of_size(size: float) -> str:
    """A size out of 100, rounded up to whole numbers: we never claim to see more than we do."""
    return str(-int(-size * 100 // 1)) if size >= 0.01 else "1"


def what_next(result: HypothesisResult) -> str:
    """What would decide an undecided hypothesis; empty for the others."""
    if result.verdict != "undecided":
        return ""
    if result.next:
        return closed(result.next)
    return closed(result.estimate.refused.next) if result.estimate.refused is not None else ""


def tag(result: HypothesisResult) -> str:
    """`exploratory` beside everything that was added or changed after the first answer; else empty."""
    return "exploratory" if result.exploratory else ""


def say(result: HypothesisResult, rubric: Sequence[Criterion] = ()) -> str:
    """The whole finding in one plain line: what was found, what was expected, what the evidence says."""
    front = "Exploratory: " if result.exploratory else ""
    if result.estimate.refused is not None:
        return f"{front}We cannot say whether this holds: {quoted(title(result, rubric))} {found(result, rubric)}"
    return f"{front}{found(result, rubric)} {judged(result)}"


def may_not_say(result: HypothesisResult, rubric: Sequence[Criterion] = ()) -> str:
    """The sentence that the evidence forbids, with the strongest one that it allows; empty for supported ones."""
    claim = quoted(title(result, rubric))
    if result.verdict == "refuted":
        return f"Do not say {claim} The evidence contradicts it. What it supports: {found(result, rubric)}"
    if result.verdict == "undecided":
        return f"Do not say {claim} and do not say the opposite. We don’t know yet. {unknown_because(result)}"
    if result.exploratory:
        return f"Do not present {claim} as something you expected. It was added or changed after the first answer."
    return ""


def quoted(text: str) -> str:
    """A claim in quotation marks, full stop inside."""
    return f"“{closed(text)}”"


# ---------------------------------------------------------------- the whole


def chosen(analysis: Analysis) -> list[HypothesisResult]:
    """The hypotheses that answer the question: the primary ones, or all frozen ones where none is primary."""
    frozen = [result for result in analysis.hypotheses if not result.exploratory]
    return [result for result in frozen if result.primary] or frozen


def in_short(analysis: Analysis) -> tuple[str, ...]:
    """The answer in a few sentences, from frozen hypotheses only."""
    if not analysis.hypotheses:
        return ("Nothing was expected beforehand, so nothing was tested.", "The figures below describe. They decide nothing.")
    results = chosen(analysis)
    if not results:
        return (
            "No expectation was frozen before the first answer, so this is exploratory throughout.",
            "Freeze what was found here as hypotheses, and test it on new cases.",
        )
    openings = {
        "supported": "The evidence supports this:",
        "refuted": "The evidence contradicts this:",
        "undecided": "We don’t know yet about this:",
    }
    said = []
    for verdict, opening in openings.items():
        titles = [title(result, analysis.rubric) for result in results if result.verdict == verdict]
        said += [f"{opening} {quoted(text)}" for text in titles[:2]]
        if len(titles) > 2:
            said.append(f"The same holds for {number_of(len(titles) - 2, 'more expectation')}.")
    others = [result for result in analysis.hypotheses if not result.exploratory and result not in results]
    if others:
        said.append(f"Of {number_of(len(others), 'other expectation')}, {tally(others)}.")
    return tuple(said)


def tally(results: Iterable[HypothesisResult]) -> str:
    """`2 are supported, 1 is contradicted and 1 is open`."""
    words = {"supported": "supported", "refuted": "contradicted", "undecided": "open"}
    verdicts = [result.verdict for result in results]
    parts = [
        f"{verdicts.count(verdict)} {'is' if verdicts.count(verdict) == 1 else 'are'} {word}"
        for verdict, word in words.items()
        if verdict in verdicts
    ]
    return listed(parts)


def assessed(analysis: Analysis) -> tuple[str, ...]:
    """The line under the title, part by part."""
    cases = number_of(analysis.n_cases, "case")
    if analysis.n_clusters is not None:
        cases += f" from {number_of(analysis.n_clusters, 'cluster')}"
        if analysis.cluster:
            cases += f" (by {name_of(analysis.cluster)})"
    if analysis.course is not None and analysis.course.stopped and analysis.course.not_needed:
        cases = f"{count(analysis.course.cases_asked)} of {cases} (no more were needed)"
    if analysis.trials > 1:
        cases += f", each asked {analysis.trials} times"
    return (
        f"Assessed {day(analysis.analysed_at)}",
        cases,
        number_of(len(analysis.systems), "system"),
        f"marked by {markers(analysis.criteria)}",
    )


def markers(criteria: Sequence[CriterionResult]) -> str:
    """Who marked, in kinds: `people, 1 language model and checks`."""
    people = any(result.scorer in ("human", "mixed") for result in criteria)
    models = {result.grader for result in criteria if result.scorer in ("judge-raw", "judge-corrected")}
    checks = any(result.scorer == "code" for result in criteria)
    parts = []
    if people:
        parts.append("people")
    if models:
        parts.append(number_of(len(models), "language model"))
    if checks:
        parts.append("checks")
    return listed(parts) if parts else "nobody yet"


def counted(system: SystemResult) -> str:
    """`96 planned = 94 answered + 1 failed + 1 pending`."""
    return _sum(system.planned, answered=system.answered, failed=system.failed) + _rest(system.pending, system.not_needed)


def marked(result: CriterionResult) -> str:
    """`48 planned = 46 marked + 1 failed + 1 pending`, and what else was said."""
    line = _sum(result.planned, marked=result.marked, failed=result.failed) + _rest(result.pending, result.not_needed)
    extra = []
    if result.not_applicable:
        extra.append(f"{count(result.not_applicable)} not applicable")
    if result.cannot_tell:
        extra.append(f"{count(result.cannot_tell)} cannot tell")
    return f"{line}; of the marked, {listed(extra)}" if extra else line


def _sum(planned: int, **parts: int) -> str:
    return f"{count(planned)} planned = {' + '.join(f'{count(n)} {word}' for word, n in parts.items())}"


def _rest(pending: int, not_needed: int) -> str:
    """What is not there: still to come, or not needed once the run was decided."""
    parts = [f"{count(pending - not_needed)} pending"] if pending > not_needed or not not_needed else []
    return "".join(f" + {part}" for part in [*parts, *([f"{count(not_needed)} not needed"] if not_needed else [])])


def scorer_words(scorer: str, grader: str) -> str:
    """Who gave the marks behind a figure."""
    return {
        "code": f"checked by rule ({grader})",
        "human": f"marked by people ({grader})",
        "judge-raw": f"marked by a language model ({grader}), not corrected for its errors",
        "judge-corrected": f"marked by a language model ({grader}), corrected to people’s marks",
        "mixed": f"marked in several ways ({grader})",
    }.get(scorer, f"marked by {grader}")


def frozen_line(analysis: Analysis) -> str:
    """When the plan was locked, with its receipt."""
    if analysis.frozen_at is None:
        return "No plan was frozen before the answers, so nothing here was promised beforehand."
    return f"What was expected was locked on {day(analysis.frozen_at)}, before the first answer (receipt {analysis.receipt})."


def course_lines(analysis: Analysis) -> tuple[str, ...]:
    """Whether a run that may stop early did, and what that saved; nothing for a run that asks every case."""
    course = analysis.course
    if course is None:
        return ()
    if not course.stopped:
        first = f"The run may stop early. After {count(course.cases_asked)} of {number_of(course.cases, 'case')} it is not decided yet."
    elif course.not_needed:
        # rounded down: what was saved is not made to look like more
        share = f"{int(course.saved * 100)} in 100" if course.saved >= 0.01 else "less than 1 in 100"
        first = (
            f"The run stopped as soon as the primary hypotheses needed no more: {count(course.not_needed)} of"
            f" {number_of(course.responses, 'planned answer')} were never asked for ({share})."
        )
    else:
        first = "The run might have stopped early, and needed every case."
    return (
        first,
        f"Cases were asked and counted in a random order drawn beforehand (seed {course.seed}). "
        "The evidence was looked at after each, and the ranges of the hypotheses allow for that.",
    )


def stopped_line(stopped: Stopped) -> str:
    """When one primary hypothesis was decided."""
    one = stopped.unit.removesuffix("s")
    of = f"of at most {count(stopped.most)}"
    if stopped.refused is not None:
        return f"{stopped.hypothesis} was not followed: {closed(stopped.refused.why)}"
    if stopped.state == "open":
        return f"{stopped.hypothesis} is open after {number_of(stopped.used, one)} {of}."
    if stopped.state == "capped" or stopped.decided_at is None:
        return f"{stopped.hypothesis} was still open after the last of {number_of(stopped.most, one)}."
    late = stopped.used - stopped.decided_at
    more = f" {number_of(late, f'more {one}')} came in after that, and {'counts' if late == 1 else 'count'} as well." if late else ""
    if stopped.state == "ruled-out":
        seen = (
            f"with {one} {count(stopped.decided_at)} {of} it was plain that {bound_text(stopped.worth_finding)} out of 100 are not reached"
        )
        return f"{stopped.hypothesis}: {seen}, which is what was worth finding; the hypothesis itself stays open.{more}"
    word = {"supported": "supported", "refuted": "contradicted"}[stopped.state]
    by_evidence = stopped.path and max(stopped.path[-1][1] / stopped.bar_support, stopped.path[-1][2] / stopped.bar_refute) >= 1
    if stopped.decided_at == stopped.most and not by_evidence:
        return f"{stopped.hypothesis} was {word} by the ordinary test after the last of {number_of(stopped.most, one)}."
    return f"{stopped.hypothesis} was {word} with {one} {count(stopped.decided_at)} {of}.{more}"


def deviation_lines(analysis: Analysis) -> tuple[str, ...]:
    """What changed after the plan was frozen, one sentence each."""
    return tuple(f"{closed(f'{deviation.what}: {deviation.change}')}" for deviation in analysis.deviations)


def trust_line(receipt: Trust) -> str:
    """How far one grader is borne out on one criterion."""
    if receipt.say:
        return closed(receipt.say)
    return closed(receipt.refused.why) if receipt.refused is not None else f"Nobody has checked {receipt.grader} on {receipt.criterion}."


def all_say(analysis: Analysis) -> tuple[str, ...]:
    """Every sentence that the evidence allows."""
    return tuple(say(result, analysis.rubric) for result in analysis.hypotheses if result.verdict == "supported")


def all_may_not_say(analysis: Analysis) -> tuple[str, ...]:
    """Every sentence that it forbids, or does not carry."""
    lines = [line for result in analysis.hypotheses if (line := may_not_say(result, analysis.rubric))]
    lines += [
        f"Do not say anything about quality that rests on {r.grader} on {r.criterion}. {trust_line(r)}"
        for r in analysis.trust
        if not r.usable
    ]
    if analysis.groups:
        lines.append(
            "Do not say that one group is served better than another. The groups are described here; no such difference was tested."
        )
    lines += [f"Do not claim anything here: {closed(line)}" for line in analysis.not_tested]
    return tuple(lines)


def all_next(analysis: Analysis) -> tuple[str, ...]:
    """What to do next, each step once."""
    steps = [f"{result.id}: {step}" for result in analysis.hypotheses if (step := what_next(result))]
    steps += [
        f"{r.grader} on {r.criterion}: {closed(r.refused.next)}"
        for r in analysis.trust
        if r.refused is not None and not r.usable and r.refused.next
    ]
    for system in analysis.systems:
        if system.pending > system.not_needed:
            steps.append(f"{system.system}: run again to get {number_of(system.pending - system.not_needed, 'answer')} still pending.")
        if system.failed:
            steps.append(f"{system.system}: look into {number_of(system.failed, 'failed answer')}.")
    if any(result.exploratory for result in analysis.hypotheses):
        steps.append("Freeze the exploratory hypotheses, and test them on new cases.")
    return tuple(dict.fromkeys(steps))
