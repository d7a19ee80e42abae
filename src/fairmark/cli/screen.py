"""How the terminal looks: the same words and order as the report, aligned columns, one accent, plain when piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairmark.errors import CannotDo, FairmarkError, Mistake
from fairmark.report import sentences
from fairmark.report.figures import figures_of
from fairmark.results import Analysis, Estimate, as_json

if TYPE_CHECKING:
    from fairmark.audit import AuditReport, Untested
    from fairmark.calibrate import PeopleReceipt, Receipt
    from fairmark.stats import Agreement, Audit

SHAPES = {"supported": "■", "refuted": "☒", "undecided": "◧"}
ACCENT = "cyan"

out = Console(highlight=False, emoji=False, markup=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=not sys.stderr.isatty())


def document(value: Any) -> None:
    """The one JSON document of `--json`."""
    sys.stdout.write(json.dumps(as_json(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def show_error(error: FairmarkError, *, as_json: bool, as_event: bool = False) -> None:
    """A mistake or a refusal in plain words on stderr, or as the document, or as the last event."""
    told = _told(error)
    if as_event:
        event("error", **told)
    if as_json:
        document({"error": told})
    elif not as_event:
        _say_error(error)


def _told(error: FairmarkError) -> dict[str, Any]:
    if isinstance(error, Mistake):
        return {"code": "MISTAKE", "problems": [_problem(problem) for problem in error.problems]}
    if isinstance(error, CannotDo):
        return {"code": error.code, "why": error.why, "next": error.next_step}
    return {"code": "ERROR", "why": str(error), "next": ""}


def _say_error(error: FairmarkError) -> None:
    if isinstance(error, Mistake):
        count = len(error.problems)
        for problem in error.problems:
            err.print(str(problem))
        err.print(f"\n{count} mistake{'s' if count != 1 else ''}. Nothing was run.")
    elif isinstance(error, CannotDo):
        err.print(f"{error.why} ({error.code})")
        if error.next_step:
            err.print(error.next_step)
    else:
        err.print(str(error))


def show_stop(*, as_event: bool) -> None:
    """That somebody ended it at once."""
    why, then = "What was answered is stored", "the same command goes on from here"
    if as_event:
        event("error", code="STOPPED", why=why, next=then)
    else:
        err.print(f"Stopped. {why}; {then}.")


def event(name: str, **told: Any) -> None:
    """One JSON line on stderr, whether or not anybody reads it."""
    with suppress(OSError):
        sys.stderr.write(json.dumps({"event": name, **told}, allow_nan=False) + "\n")
        sys.stderr.flush()


def _problem(problem: Any) -> dict[str, Any]:
    names = ("file", "line", "column", "found", "allowed", "remedy")
    return {name: getattr(problem, name) for name in names}


def problems(found: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Problems as JSON values."""
    return [_problem(problem) for problem in found]


def number(value: float | None, digits: int = 2) -> str:
    """A number as people read it, or an en dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(estimate: Estimate) -> str:
    """An estimate out of 100 with its range, in the words of the report."""
    if estimate.refused is not None:
        return "no figure"
    return sentences.figure_words(estimate, figures_of(estimate, bounds=(0.0, 1.0), words=True), difference=False)


def verdicts(analysis: Analysis, *, only: set[str] | None = None) -> None:
    """The verdict table, in the words of the report."""
    shown = [result for result in analysis.hypotheses if only is None or result.id in only]
    if not shown:
        out.print("No hypothesis is declared, so there is no verdict. Add `hypotheses:` to the study.")
        return
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("Verdict", no_wrap=True)
    table.add_column("What was expected", overflow="fold", ratio=3)
    table.add_column("What was found", overflow="fold", ratio=2)
    for result in shown:
        text = Text(f"{SHAPES[result.verdict]} {result.verdict}", style=f"bold {ACCENT}" if result.verdict != "undecided" else "")
        about = result.text or f"{' v '.join(result.systems)} on {result.on}"
        if result.exploratory:
            about += " (exploratory)"
        figures = sentences.figures_for(result)
        found = "no figure" if figures is None else sentences.figure_words(result.estimate, figures, difference=sentences.compared(result))
        table.add_row(result.id, text, about, found)
    out.print(table)
    for result in shown:
        if result.verdict == "undecided":
            out.print(f"{result.id}: {sentences.unknown_because(result)} {sentences.what_next(result)}", style="dim")


def audit(report: AuditReport) -> None:
    """One table a criterion, a plain sentence under it for each thing that was tried, and what was not."""
    out.print(f"{report.headline()}\n")
    for criterion in dict.fromkeys(finding.criterion for finding in report.findings):
        table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
        for column in (f"{report.grader} on {criterion or 'all criteria'}", "Verdict", "Points out of 100", "From", "To"):
            table.add_column(column, no_wrap=True)
        mine = [finding for finding in report.findings if finding.criterion == criterion]
        for finding in mine:
            audited = finding.audit
            verdict = "not tested" if finding.verdict == "NOT_TESTED" else finding.verdict
            figures = [
                "–" if audited.refused is not None or value is None else f"{100 * value:+.0f}"
                for value in (audited.value, audited.low, audited.high)
            ]
            table.add_row(audited.bias, Text(verdict, style=f"bold {ACCENT}" if verdict == "biased" else ""), *figures)
        out.print(table)
        for finding in mine:
            out.print(f"{finding.audit.bias}: {finding.say}")
            for warning in finding.warnings:
                out.print(f"    {warning}", style="dim")
        out.print("")
    not_tried(report.not_tested)


def not_tried(untested: Sequence[Untested]) -> None:
    """What an audit could not try, and what would let it."""
    for one in untested:
        what = " on ".join(text for text in (one.part, one.criterion) if text)
        out.print(f"Not tested, {what}: {one.why.why}. Next: {one.why.next}.")


def systems(analysis: Analysis) -> None:
    """One line a system: planned = answered + failed + pending, always."""
    for system in analysis.systems:
        cost = "cost unknown" if system.cost_usd is None else f"{system.cost_usd:.4f} USD"
        out.print(f"{system.system}: {sentences.counted(system)}; score {interval(system.score)}; {cost}")


def pairs(rows: Mapping[str, str]) -> None:
    """Aligned names and values."""
    width = max((len(name) for name in rows), default=0)
    for name, value in rows.items():
        out.print(f"{name:<{width}}  {value}")


def receipt(found: Receipt) -> None:
    """One grader on one criterion as a card: what it does, how far that can be trusted, and what to do."""
    out.print(f"Advice: {found.advice}.\n{found.say}")
    if found.agreement is not None:
        table = Table(title="Rows: what people say. Columns: what the grader says.", title_justify="left", title_style="", box=None)
        table.add_column("")
        for level in found.agreement.levels:
            table.add_column(level, justify="right")
        for level, row in zip(found.agreement.levels, found.agreement.confusion, strict=True):
            table.add_row(level, *map(str, row))
        out.print(table)
    pairs({name: value for name, value in _figures(found).items() if value})
    for system in found.systems:
        out.print(f"  {system.headline()}; people marked {system.n_marked} of {system.n_said}")
        if system.width is not None and system.width_with_more is not None:
            more = ", ".join(f"{count} {verdict}" for verdict, count in system.next_labels.items())
            narrower = f"{100 * system.width:.0f} to {100 * system.width_with_more:.0f} points"
            out.print(f"    20 more marks would narrow the range from {narrower}: mark {more}, at random")
    for group, seen in found.group_shares.items():
        passes, fails = (_share(share) or "nothing to see" for share in (seen.sensitivity, seen.specificity))
        out.print(f"  {group}: passes what people pass {passes}; fails what they fail {fails}")
    for column, by_group in found.groups.items():
        for pair in by_group.pairs:
            words = "not tested" if pair.refused is not None else pair.verdict.lower().replace("_", " ")
            out.print(f"  {column} {pair.first} and {pair.second}: {words}. {pair.refused.why if pair.refused is not None else pair.says}")
            if pair.slips_that_explain is not None:
                out.print(f"    slips of people in {100 * pair.slips_that_explain:.0f} of 100 would explain what single marks show")
    for what, count in found.void.items():
        out.print(f"  {count} marks are void and were not used: {what} has changed since they were given.")
    if found.n_split:
        out.print(f"  On {found.n_split} responses people differ and nobody has decided: fairmark serve, then settle them.")
    for warning in found.warnings:
        out.print(f"  Note: {warning}.")
    if found.slips and found.n_single:
        shares = ", ".join(f"{100 * slip:.0f} in 100: {100 * share:.0f}" for slip, share in found.slips)
        out.print(f"  If people slip either way in so many, so many of 100 truly pass: {shares}.")


def _share(share: Estimate | None) -> str:
    """A share with its range and the number it rests on; empty where there is none."""
    return "" if share is None or share.value is None else f"{interval(share)}, n {share.n_cases}"


def leaning(found: Audit) -> str:
    """How many points of 100 a grader is too kind or too severe, with the range in the same words."""
    assert found.value is not None and found.low is not None and found.high is not None

    def points(value: float) -> str:
        whole = round(100 * value)
        return f"{abs(whole)} too {'kind' if whole > 0 else 'severe'}" if whole else "0"

    return f"{points(found.value)}, between {points(found.low)} and {points(found.high)} (points of 100): {found.verdict}"


def people(found: PeopleReceipt) -> None:
    """How far people agree with one another."""
    rows = {one.coefficient: _coefficient(one) for one in (found.alpha, found.alpha_interval, found.gwet) if one is not None}
    if found.steady is not None and found.steady.refused is None:
        rows["asked again they change"] = interval(found.steady.flip_rate)
    pairs(rows)


def _coefficient(one: Agreement) -> str:
    span = "" if one.low is None or one.high is None else f" ({number(one.low)} to {number(one.high)})"
    return f"{number(one.value)}{span}{'' if one.refused is None else ' ' + one.refused.why}"


def _figures(found: Receipt) -> dict[str, str]:
    agreement, at_pass, ceiling, severity = found.agreement, found.at_pass, found.ceiling, found.severity
    how = f"{found.n_single} marked once, {found.n_agreed} by more who agree, {found.n_adjudicated} settled"
    rows: dict[str, str] = {"marked beside people": f"{found.n_pairs} responses: {how}"}
    if agreement is not None:
        rows["same level"] = interval(agreement.agreement)
        for one in agreement.coefficients:
            rows[one.coefficient] = _coefficient(one)
    if ceiling is not None and ceiling.refused is None:
        rows["two people, same level"] = f"{number(ceiling.people_equal)}; the grader and a person {number(ceiling.grader_equal)}"
    if at_pass is not None:
        for name, share in (
            ("passes what people pass", at_pass.sensitivity),
            ("fails what people fail", at_pass.specificity),
            ("right when it passes", at_pass.positive_predictive_value),
            ("right when it fails", at_pass.negative_predictive_value),
        ):
            rows[name] = _share(share)
    if severity is not None and severity.value is not None:
        rows["it leans"] = leaning(severity)
    for name, steady in (("asked again it changes", found.steady), ("people asked again change", found.people_steady)):
        rows[name] = "" if steady is None or steady.refused is not None else interval(steady.flip_rate)
    if found.replaces is not None:
        why = found.replaces.refused.why if found.replaces.refused is not None else "; ".join(found.replaces.stands_in_the_way)
        rows["may replace one person"] = f"{found.replaces.verdict}{': ' + why if why else ''}"
    return rows
