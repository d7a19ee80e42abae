"""The report as HTML and Markdown. Everything foreign is escaped by the environment, not by remembering to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from fairmark.report import browser, sentences, tables, text
from fairmark.report.figures import count, figures, per_cent, plain, seconds
from fairmark.report.figures import hundredths as _hundredths
from fairmark.report.methods import methods
from fairmark.results import Analysis, Exhibit, HypothesisResult
from fairmark.rubric import Criterion

TEMPLATES = Path(__file__).parent / "templates"
CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
SHAPES = {"supported": "■", "refuted": "☒", "undecided": "◧"}


class Safe(str):
    """Markdown that is already escaped."""


def html(analysis: Analysis, exhibits: Sequence[Exhibit], *, links: Mapping[int, str] | None = None) -> str:
    """The page with everything in it; with `links`, the answers stand in files of their own, by page."""
    cases = browser.cases(exhibits)
    pages = browser.pages(cases)
    context = _context(analysis) | {
        "css": _css("tables.css", "page.css"),
        "csp": CSP,
        "cases": cases,
        "pages": pages,
        "n_answers": sentences.number_of(len(exhibits), "answer"),
        "grouped": len(exhibits) > browser.INLINE,
        "elsewhere": links is not None,
        "links": links if links is not None else dict.fromkeys(range(1, len(pages) + 1), ""),
        "embedded": Markup(text.json_text(analysis.as_dict(), in_html=True)),
    }
    return _html().get_template("report.html").render(context)


def answers_html(title: str, cases: Sequence[browser.CaseShown], *, home: str, before: str, after: str) -> str:
    """One page of answers as a file of its own."""
    context = {
        "title": title,
        "cases": cases,
        "home": home,
        "before": before,
        "after": after,
        "css": _css("tables.css", "page.css"),
        "csp": CSP,
    }
    return _html().get_template("answers.html").render(context)


def fragment(analysis: Analysis) -> str:
    """The verdicts and their intervals for a notebook's cell, with styles that touch nothing else."""
    return _html().get_template("fragment.html").render(_context(analysis) | {"css": _css("tables.css", "fragment.css")})


def markdown(analysis: Analysis, exhibits: Sequence[Exhibit]) -> str:
    """The same content in the same order, for a pull request."""
    context = _context(analysis) | {"cases": browser.cases(exhibits), "shapes": SHAPES, "finding": partial(_finding, analysis.rubric)}
    rendered = _markdown().get_template("report.md").render(context)
    lines: list[str] = []
    fenced = ""
    for line in rendered.split("\n"):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if not fenced and len(ticks) >= 3:
            fenced = ticks
        elif fenced and line == fenced:
            fenced = ""
        if fenced or line.strip() or (lines and lines[-1]):
            lines.append(line if fenced else line.rstrip())
    return "\n".join(lines).strip() + "\n"


def title_of(analysis: Analysis) -> str:
    """The question, or the study's name where it asks none."""
    return analysis.question or sentences.name_of(analysis.study)


def _context(analysis: Analysis) -> dict[str, Any]:
    criteria_scale, criteria = tables.criteria(analysis)
    systems_scale, systems = tables.systems(analysis)
    by_verdict = {word: [r for r in analysis.hypotheses if r.verdict == word] for word in sentences.VERDICTS}
    return {
        "a": analysis,
        "say": sentences,
        "title": title_of(analysis),
        "assessed": sentences.assessed(analysis),
        "in_short": sentences.in_short(analysis),
        **by_verdict,
        "hypotheses": tables.hypotheses(analysis),
        "groups": tables.groups(analysis),
        "criteria_scale": criteria_scale,
        "criteria": criteria,
        "systems_scale": systems_scale,
        "systems": systems,
        "trust": tables.trust(analysis),
        "course": sentences.course_lines(analysis),
        "followed": tables.course(analysis),
        "deviations": sentences.deviation_lines(analysis),
        "methods": methods(analysis),
        "next": sentences.all_next(analysis),
        "may_not_say": sentences.all_may_not_say(analysis),
        "level": per_cent(analysis.confidence_level),
    }


@cache
def _css(*names: str) -> Markup:
    return Markup("".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names))


@cache
def _html() -> Environment:
    environment = _environment(autoescape=True, finalize=_seen)
    environment.filters |= {"raw": _raw, "duration": seconds}
    return environment


@cache
def _markdown() -> Environment:
    environment = _environment(autoescape=False, finalize=_escaped)
    environment.filters |= {"fence": _fence, "figure": _figure}
    return environment


def _environment(**options: Any) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        **options,
    )
    environment.filters |= {
        "words": sentences.name_of,
        "closed": sentences.closed,
        "failed": sentences.failed,
        "points": points,
        "plain": lambda number: plain(_hundredths(number).scaleb(-2)),
        "count": count,
        "anchor": anchor,
    }
    return environment


def points(share: float) -> str:
    """A score or probability as points of 100: only all is 100 and only none is 0."""
    return figures(share, share, share, bounds=(0.0, 1.0)).value


def anchor(identifier: str) -> str:
    """A name that may stand in an address: the identifier itself where it is plain, else its digest."""
    if identifier.isascii() and identifier.replace("-", "").replace("_", "").isalnum():
        return identifier
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _seen(value: Any) -> Any:
    """Every value that a template prints passes here before it is escaped."""
    return value if isinstance(value, Markup) else text.visible(str(value))


def _raw(value: str) -> Markup:
    """A long foreign text, its unseen characters set apart."""
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    parts, last = [], 0
    for place, name in text.unseen(value):
        parts += [escape(value[last:place]), Markup('<span class="cc">[{}]</span>').format(name)]
        last = place + 1
    return Markup("").join([*parts, escape(value[last:])])


def _escaped(value: Any) -> Any:
    """Every value that the Markdown template prints passes here."""
    if isinstance(value, Safe):
        return value
    return text.markdown(str(value))


def _finding(rubric: Sequence[Criterion], result: HypothesisResult) -> Safe:
    parts = sentences.found(result, rubric).parts
    said = "".join(f"**{text.markdown(part)}**" if is_key else text.markdown(part) for part, is_key in parts)
    return Safe(f"{'Exploratory: ' if result.exploratory else ''}{said} *{text.markdown(sentences.judged(result))}*")


def _fence(value: str) -> Safe:
    return Safe(text.fence(value))


def _figure(shown: tables.Cell) -> str:
    return shown.refused or f"{shown.value} ({shown.range})"
