"""The tables of a report as rows of text and drawings, the same for the page, the notebook and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairmark.report import charts
from fairmark.report import sentences as say
from fairmark.report.charts import Drawn, Path, Piece, Scale
from fairmark.report.figures import bound_text, chance, count, figures_of, level, per_cent, ratio, seconds, usd
from fairmark.results import Analysis, CriterionResult, Estimate, GroupResult, HypothesisResult, Stopped, SystemResult, Trust
from fairmark.rubric import Criterion

PATH_ROWS = 8  # of a path in numbers


@dataclass(frozen=True, slots=True)
class Cell:
    """An estimate in a row: its figure, its range, the words a screen reader says, and its drawing."""

    value: str  # such as 81 or +14; empty where there is no figure
    range: str  # such as `74 to 88`; empty where there is no figure
    words: str
    n: int
    drawn: Drawn | None
    decided: bool  # filled point: something was decided with this interval
    refused: str  # why there is no figure; empty where there is one


@dataclass(frozen=True, slots=True)
class HypothesisRow:
    """One hypothesis: what was expected, the verdict, the interval."""

    result: HypothesisResult
    title: str
    expected: str
    cell: Cell
    bound: float  # place of the dashed line
    details: tuple[tuple[str, str], ...]  # for those who check


@dataclass(frozen=True, slots=True)
class HypothesisTable:
    """Hypotheses that share a scale: levels of one system, or differences between two."""

    heading: str
    scale: Scale
    rows: tuple[HypothesisRow, ...]
    zero: float | None  # place of no difference


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group of cases for one system."""

    group: str
    system: str
    cell: Cell
    first: bool  # opens its group
    span: int  # rows of its group


@dataclass(frozen=True, slots=True)
class GroupBlock:
    """One attribute, such as a language variety, with its groups."""

    attribute: str
    rows: tuple[GroupRow, ...]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """All groups on one thing."""

    topic: str
    scale: Scale
    whole: tuple[GroupRow, ...]
    blocks: tuple[GroupBlock, ...]


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One system on one criterion."""

    result: CriterionResult
    pieces: tuple[Piece, ...]
    passed: Cell
    mean: Cell
    marked: str


@dataclass(frozen=True, slots=True)
class CriterionTable:
    """All systems on one criterion as one kind of grader marked it."""

    criterion: str
    question: str
    passes: str  # what counts as passing
    gate: bool
    by: str
    rows: tuple[CriterionRow, ...]


@dataclass(frozen=True, slots=True)
class SystemRow:
    """One system as a whole."""

    result: SystemResult
    counted: str
    failures: tuple[tuple[str, int], ...]
    score: Cell
    gates: Cell | None
    seconds: str
    tokens: str
    cost: str


@dataclass(frozen=True, slots=True)
class TrustTable:
    """One receipt."""

    receipt: Trust
    line: str
    scale: Scale
    agreement: Cell | None
    always: float | None  # place of "always saying the commonest"
    facts: tuple[tuple[str, str], ...]
    most: int  # largest count in the matrix


@dataclass(frozen=True, slots=True)
class CourseRow:
    """How one primary hypothesis came to be decided."""

    stopped: Stopped
    title: str
    line: str
    drawn: Path | None  # None where it was not followed, or nothing is in
    points: tuple[tuple[str, str, str, str], ...]  # units, and per cent of the evidence that decides: for, against, beyond


def cell(estimate: Estimate, scale: Scale, *, bounds: Sequence[float] = (), signed: bool = False, decided: bool = False) -> Cell:
    """An estimate in its row."""
    edges = (*bounds, 0.0) if signed else (*bounds, 0.0, 1.0)
    shown = figures_of(estimate, bounds=edges)
    words = say.figure_words(estimate, figures_of(estimate, bounds=edges, words=True), difference=signed)
    if shown is None:
        return Cell("", "", words, estimate.n_cases, None, False, words)
    low, high = _signed(shown.low, signed), _signed(shown.high, signed)
    return Cell(_signed(shown.value, signed), f"{low} to {high}", words, estimate.n_cases, charts.drawn(estimate, scale), decided, "")


def _signed(text: str, signed: bool) -> str:
    return text if not signed or text == "0" or not text[0].isdigit() else f"+{text}"


def hypotheses(analysis: Analysis) -> tuple[HypothesisTable, ...]:
    """Levels first, then differences, each on a scale of its own."""
    tables = []
    for signed, heading in ((False, "One system, out of 100"), (True, "Two systems compared, more or fewer out of 100")):
        results = [result for result in analysis.hypotheses if say.compared(result) == signed]
        if not results:
            continue
        edges = [*charts.ends(r.estimate for r in results), *(say.bound_of(r) for r in results)]
        scale = charts.scale(edges, signed=signed)
        rows = tuple(_hypothesis(result, scale, signed, analysis.rubric) for result in results)
        tables.append(HypothesisTable(heading, scale, rows, scale.x(0.0) if signed else None))
    return tuple(tables)


def _hypothesis(result: HypothesisResult, scale: Scale, signed: bool, rubric: Sequence[Criterion]) -> HypothesisRow:
    bound = say.bound_of(result)
    found = cell(result.estimate, scale, bounds=(bound,), signed=signed, decided=result.verdict != "undecided")
    return HypothesisRow(result, say.title(result, rubric), say.expectation(result), found, scale.x(bound), _details(result))


def _details(result: HypothesisResult) -> tuple[tuple[str, str], ...]:
    """What a statistician asks, in the order of asking."""
    found = result.estimate
    family = "primary" if result.primary else "secondary"
    rows = [("Family", "exploratory" if result.exploratory else family), ("Estimand", found.estimand), ("Method", found.method)]
    if found.refused is not None:
        rows.append(("Refused", f"{found.refused.code}: {found.refused.why}"))
    else:
        rows.append(("Range at", f"{per_cent(found.confidence_level)} confidence, two-sided, after correction"))
    sizes = [say.number_of(found.n_cases, "case")]
    if found.n_clusters is not None:
        sizes.append(say.number_of(found.n_clusters, "cluster"))
    if found.n_responses is not None:
        sizes.append(say.number_of(found.n_responses, "response"))
    if found.n_effective is not None and found.n_effective <= (found.n_responses or found.n_cases):
        # a mean of scores may be worth more than as many passes and fails, which says nothing to a reader
        sizes.append(f"worth {found.n_effective:.0f} independent {'marks by people' if found.scorer == 'judge-corrected' else 'ones'}")
    rows.append(("Rests on", ", ".join(sizes)))
    if result.wins is not None and result.losses is not None and result.ties is not None:
        first, second = result.systems[0], result.systems[1]
        line = f"{first} better in {result.wins}, {second} better in {result.losses}, the same in {result.ties}"
        rows.append(("Case by case", line))
    for name, p, alpha in (("p for support", result.p_support, result.alpha_support), ("p against", result.p_refute, result.alpha_refute)):
        if p is not None and alpha is not None:
            rows.append((name, f"{chance(p, alpha)}, one-sided, judged at {level(alpha)}"))
    if found.n_missing:
        worst = "" if found.low_if_worst is None else f"; {bound_text(found.low_if_worst)} out of 100 if all were the worst"
        best = "" if found.high_if_best is None else f", {bound_text(found.high_if_best)} if all were the best"
        rows.append(("Missing", f"{say.number_of(found.n_missing, 'mark')}; the range spans their worst to best completion{worst}{best}"))
    if result.smallest_visible is not None:
        rows.append(("Smallest visible difference", f"{say.figures_of_size(result.smallest_visible)} out of 100"))
    if result.why:
        rows.append(("Why this way", say.closed(result.why)))
    if result.design:
        rows.append(("Chosen for this design", say.closed("; ".join(result.design))))
    rows += [("Assumes", say.closed(line)) for line in found.assumptions]
    rows += [("Beware", say.closed(line)) for line in found.warnings]
    return tuple(rows)


def course(analysis: Analysis) -> tuple[CourseRow, ...]:
    """The primary hypotheses of a run that may stop early; none for a run that asks every case."""
    if analysis.course is None:
        return ()
    titles = {result.id: say.title(result, analysis.rubric) for result in analysis.hypotheses}
    return tuple(
        CourseRow(
            stopped,
            titles.get(stopped.hypothesis, ""),
            say.stopped_line(stopped),
            charts.path(stopped) if stopped.path else None,
            _points(stopped),
        )
        for stopped in analysis.course.hypotheses
    )


def _points(stopped: Stopped) -> tuple[tuple[str, str, str, str], ...]:
    """A few points of the path: at about equal distances, the deciding one and the last."""
    places = {len(stopped.path) - 1 - round(step * (len(stopped.path) - 1) / (PATH_ROWS - 1)) for step in range(PATH_ROWS)}
    kept = [p for place, p in enumerate(stopped.path) if place in places or p[0] == stopped.decided_at]
    bars = stopped.bar_support, stopped.bar_refute, stopped.bar_rule_out
    rows = []
    for units, *found in kept:
        shares = [_share_of_enough(log, bar) for log, bar in zip(found, bars, strict=True)]
        rows.append((count(units), shares[0], shares[1], shares[2]))
    return tuple(rows)


def _share_of_enough(log: float, bar: float | None) -> str:
    """Rounded down, so that only enough is 100; evidence the other way is below 0. A dash where none is looked for."""
    if bar is None:
        return "–"
    return bound_text(math.floor(100 * log / bar) / 100)


def groups(analysis: Analysis) -> tuple[GroupTable, ...]:
    """One table for each thing that hypotheses are about, the chosen hypotheses' first."""
    wanted = list(dict.fromkeys(group.on for group in analysis.groups))
    asked = [result.on for result in say.chosen(analysis)]
    wanted.sort(key=lambda on: asked.index(on) if on in asked else len(asked))
    return tuple(_group_table(analysis, on) for on in wanted)


def _group_table(analysis: Analysis, on: str) -> GroupTable:
    results = [group for group in analysis.groups if group.on == on]
    systems = list(dict.fromkeys(group.system for group in results))
    wholes = [(system, found) for system in systems if (found := overall(analysis, system, on)) is not None]
    scale = charts.scale(charts.ends([*(group.estimate for group in results), *(found for _, found in wholes)]), signed=False)
    whole = tuple(GroupRow("All", system, cell(found, scale), i == 0, len(wholes)) for i, (system, found) in enumerate(wholes))
    by_attribute: dict[str, dict[str, list[GroupResult]]] = {}
    for group in results:
        by_attribute.setdefault(group.attribute, {}).setdefault(group.group, []).append(group)
    blocks = tuple(
        GroupBlock(
            say.name_of(attribute),
            tuple(
                GroupRow(say.name_of(name), group.system, cell(group.estimate, scale), i == 0, len(members))
                for name, members in named.items()
                for i, group in enumerate(members)
            ),
        )
        for attribute, named in by_attribute.items()
    )
    return GroupTable(say.about(on, analysis.rubric).topic, scale, whole, blocks)


def overall(analysis: Analysis, system: str, on: str) -> Estimate | None:
    """The figure of all cases together; None where it was not computed."""
    if on == "score":
        return next((result.score for result in analysis.systems if result.system == system), None)
    identifier, _, wanted = on.partition(">=")
    result = next((r for r in analysis.criteria if r.system == system and r.criterion == identifier.strip()), None)
    if result is None:
        return None
    if not wanted:
        return result.mean_value
    return next((level.at_least for level in result.levels if level.level == wanted.strip()), None)


def criteria(analysis: Analysis) -> tuple[Scale, tuple[CriterionTable, ...]]:
    """Every criterion as every grader marked it, the systems one below the other."""
    scale = charts.scale((0.0, 1.0), signed=False)
    wording: Mapping[str, Criterion] = {criterion.id: criterion for criterion in analysis.rubric}
    by: dict[tuple[str, str, str], list[CriterionResult]] = {}  # corrected and raw marks of one grader are two tables
    for result in analysis.criteria:
        by.setdefault((result.criterion, result.grader, result.scorer), []).append(result)
    order = {name: place for place, name in enumerate(wording)}
    keys = sorted(by, key=lambda key: order.get(key[0], len(order)))
    return scale, tuple(_criterion(key[0], by[key], wording.get(key[0]), scale) for key in keys)


def _criterion(name: str, results: Sequence[CriterionResult], wording: Criterion | None, scale: Scale) -> CriterionTable:
    rows = tuple(
        CriterionRow(r, charts.pieces(r.levels), cell(r.pass_rate, scale), cell(r.mean_value, scale), say.marked(r)) for r in results
    )
    passes = ""
    if wording is not None and (wording.levels or wording.range):
        passes = wording.pass_at or (wording.levels[-1].name if wording.levels else str(wording.range[1] if wording.range else ""))
        last = wording.levels[-1].name if wording.levels else ""
        passes = f"“{passes}”" + ("" if passes == last or wording.scale == "nominal" else " or better")
    by = say.scorer_words(results[0].scorer, results[0].grader)
    gate = wording.gate if wording is not None else False
    return CriterionTable(name, wording.question if wording is not None else "", passes, gate, by, rows)


def systems(analysis: Analysis) -> tuple[Scale, tuple[SystemRow, ...]]:
    """Every system with its counts, its score and what it took."""
    scale = charts.scale((0.0, 1.0), signed=False)
    return scale, tuple(_system(result, scale) for result in analysis.systems)


def _system(result: SystemResult, scale: Scale) -> SystemRow:
    tokens = ["unknown" if n is None else f"{count(n)} {word}" for n, word in ((result.input_tokens, "in"), (result.output_tokens, "out"))]
    failures = tuple((say.failure_kind(kind), n) for kind, n in result.failures.items() if n)
    return SystemRow(
        result,
        say.counted(result),
        failures,
        cell(result.score, scale),
        cell(result.gate_rate, scale) if result.gate_rate is not None else None,
        "unknown" if result.seconds is None else seconds(result.seconds),
        "unknown" if result.input_tokens is None and result.output_tokens is None else ", ".join(tokens),
        "unknown" if result.cost_usd is None else usd(result.cost_usd),
    )


def trust(analysis: Analysis) -> tuple[TrustTable, ...]:
    """Every receipt that rests on marks, and those that rest on none."""
    return tuple(_trust(receipt) for receipt in analysis.trust)


def _trust(receipt: Trust) -> TrustTable:
    scale = charts.scale((0.0, 1.0), signed=False)
    share = receipt.commonest_share
    bounds = (share,) if share is not None else ()
    agreement = cell(receipt.agreement, scale, bounds=bounds, decided=receipt.usable) if receipt.agreement is not None else None
    facts = [("Checked against", f"{receipt.marked_by}, {say.number_of(receipt.n, 'answer')}" if receipt.n else "nobody’s marks")]
    facts.append(
        ("Those answers were", {"own": "of the systems assessed here", "borrowed": "of other systems", "none": "none"}[receipt.calibration])
    )
    if receipt.n:
        undefined = "cannot be computed here"
        facts.append(("Cohen’s kappa", undefined if receipt.kappa is None else ratio(receipt.kappa)))
        facts.append(("Gwet’s AC1", undefined if receipt.ac1 is None else ratio(receipt.ac1)))
    facts.append(("Marks that could not be read", count(receipt.unreadable)))
    facts.append(("May decide a hypothesis", "yes" if receipt.usable else "no"))
    if receipt.refused is not None:
        facts.append(("Why not", say.closed(receipt.refused.why)))
        facts.append(("Next", say.closed(receipt.refused.next)))
    most = max((n for row in receipt.confusion for n in row), default=0)
    return TrustTable(receipt, say.trust_line(receipt), scale, agreement, scale.x(share) if share is not None else None, tuple(facts), most)
