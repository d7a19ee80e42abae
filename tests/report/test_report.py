"""What the report says, in which order, and what it never says."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.report import fixture

from fairmark import report
from fairmark.errors import CannotDo, Mistake
from fairmark.report import browser, charts, sentences
from fairmark.report.page import anchor
from fairmark.results import Exhibit, ExhibitGrade

ORDER = (
    "In short.",
    "What it can do",
    "What it cannot do",
    "What we do not know yet",
    "For whom",
    "What we did not test",
    "How it was marked, and how far to trust it",
    "Who shaped this",
    "What changed after the plan was locked",
    "The evidence",
    "What was expected, and what was found",
    "The systems",
    "Criterion by criterion",
    "How far the graders are borne out",
    "What a good answer is",
    "Methods in words",
    "Where to go from here",
    "Every answer",
)


@pytest.fixture(scope="module")
def html() -> str:
    return report.render(fixture.analysis(), fixture.exhibits(), format="html")


@pytest.fixture(scope="module")
def text(html: str) -> str:
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.fixture(scope="module")
def md() -> str:
    return report.render(fixture.analysis(), fixture.exhibits(), format="md")


@pytest.mark.parametrize("kind", ["html", "md"])
def test_page_and_markdown_say_the_same_things_in_the_same_order(kind: str, html: str, md: str) -> None:
    if kind == "html":
        places = [html.index(f"{heading}</") if heading == "In short." else html.index(f">{heading}</h") for heading in ORDER]
    else:
        places = [md.index(heading) if heading == "In short." else md.index(f"# {heading}\n") for heading in ORDER]
    assert places == sorted(places)


def test_the_line_under_the_title(md: str) -> None:
    assert md.splitlines()[0] == "# Can the guided prompt answer privacy requests without a specialist?"
    assert md.splitlines()[2] == (
        "Assessed 3 November 2026 · 48 cases from 24 clusters (by customer) · 2 systems · marked by 1 language model and checks"
    )


@pytest.mark.parametrize(
    "words",
    [
        "guided gets “yes” for next step in about 31 more than bare (between 16 and 45 more). "
        "We expected at least 5 more; the evidence supports that.",
        "guided gets “yes” for brief in about 50 (between 35 and 65). We expected at least 90; the evidence contradicts that.",
        "guided gets “yes” for next step in about 85 (between just under 75 and 93). We expected at least 75; we don’t know yet.",
        "We accept no more than 3 fewer; we don’t know yet.",
        "Only judge marked resolves, and it was checked on other systems' answers.",
    ],
)
def test_findings(words: str) -> None:
    analysis = fixture.analysis()
    lines = [sentences.say(result, analysis.rubric) for result in analysis.hypotheses]
    assert any(words in line for line in lines), "\n".join(lines)


def test_markdown_sets_the_key_figure_in_bold(md: str) -> None:
    assert (
        "- Out of 100 answers, guided gets “yes” for next step in **about 31 more** than bare (between 16 and 45 more). *We expected" in md
    )
    assert "evidence contradicts that.* (H3)\n" in md
    assert "\\*" not in md


def test_methods_are_explained_once(text: str) -> None:
    assert text.count("Sign-flip: if neither system were better") == 1
    assert "Korn and Graubard: the exact interval" in text


def test_planned_adds_up_and_is_printed(text: str) -> None:
    for system in fixture.analysis().systems:
        assert system.planned == system.answered + system.failed + system.pending
    assert "48 planned = 46 answered + 1 failed + 1 pending" in text
    assert "1: no complete answer in time" in text


def test_the_borrowed_grader_is_shown_and_not_trusted(text: str) -> None:
    assert "always saying “partly” would have agreed on 18" in text
    assert "May decide a hypothesis no" in text
    assert "Gwet’s AC1 cannot be computed here" in text


def test_exploratory_stands_beside_its_verdict_everywhere(text: str, md: str) -> None:
    result = next(r for r in fixture.analysis().hypotheses if r.exploratory)
    assert sentences.say(result).startswith("Exploratory: ")
    assert re.search(r"Exploratory: Out of 100 answers, guided gets “yes” for no id papers", text)
    assert "■ **supported**, exploratory" in md
    assert all(result.text not in line for line in sentences.in_short(fixture.analysis()))


def test_what_is_not_known_is_words_never_a_dot() -> None:
    analysis = fixture.analysis()
    refused = next(r for r in analysis.hypotheses if r.estimate.refused is not None)
    only = replace(analysis, hypotheses=(refused,), groups=())
    page = report.html_fragment(only)
    assert "<circle" not in page
    assert "No figure: only judge marked resolves" in page
    small = next(group for group in analysis.groups if group.estimate.refused is not None)
    assert charts.drawn(small.estimate, charts.scale([], signed=False)) is None


def test_decided_points_are_filled_and_open_ones_hollow() -> None:
    analysis = fixture.analysis()
    for result in analysis.hypotheses:
        if result.estimate.refused is None:
            page = report.html_fragment(replace(analysis, hypotheses=(result,)))
            assert ('class="point filled"' in page) == (result.verdict != "undecided")


def test_nothing_tested_says_so() -> None:
    analysis = replace(fixture.analysis(), hypotheses=(), groups=(), frozen_at=None, receipt="", deviations=())
    page = report.render(analysis, (), format="html")
    assert "Nothing was expected beforehand, so nothing was tested." in page
    assert "No plan was frozen before the answers" in page
    assert "There are no answers yet." in page
    assert "Nothing was expected beforehand" in report.html_fragment(analysis)


def test_json_holds_five_parts_and_the_words() -> None:
    document = json.loads(report.render(fixture.analysis(), fixture.exhibits(3), format="json"))
    assert list(document) == ["analysis", "say", "may_not_say", "next", "responses"]
    assert len(document["responses"]) == 6
    assert len(document["say"]) == 2
    assert any("The evidence contradicts it." in line for line in document["may_not_say"])
    assert any("run again to get 1 answer still pending" in line for line in document["next"])
    assert document["analysis"]["hypotheses"][1]["estimate"]["low"] == 0.7496


def test_sentences_are_short() -> None:
    """No sentence of the plain page is longer than 40 words, and half of them have at most 20."""
    analysis = fixture.analysis()
    lines = [
        *sentences.in_short(analysis),
        *sentences.all_say(analysis),
        *sentences.all_may_not_say(analysis),
        *sentences.all_next(analysis),
    ]
    lengths = sorted(len(part.split()) for line in lines for part in re.split(r"(?<=[.?!”])\s+", line) if part)
    assert lengths[-1] <= 40
    assert lengths[len(lengths) // 2] <= 20


def test_quotes_are_marked_on_the_raw_text() -> None:
    output = "1 < 2 & naïve 👩\u200d🚀 end"
    start = output.index("naïve")
    grades = (
        ExhibitGrade("a", "g", "llm", label="yes", evidence=((0, 5, "1 < 2", True), (start, len(output), "naïve…", True))),
        ExhibitGrade("b", "g", "llm", label="yes", evidence=((3, start + 5, "overlaps", True), (90, 99, "beyond", True))),
    )
    exhibit = Exhibit("c", "s", 1, {}, (("user", "?"),), output=output, grades=grades)
    shown = browser.shown(exhibit)
    assert "".join(segment.text for segment in shown.segments) == output
    assert [segment.text for segment in shown.segments if not segment.marked] == []
    assert shown.segments[0].text == "1 <"
    assert [grade.number for grade in shown.grades] == [1, 2]
    assert shown.grades[1].missing == ("beyond",)
    page = report.render(fixture.analysis(), (exhibit,), format="html")
    assert "<mark>1 &lt;</mark>" in page
    assert "👩\u200d🚀" in page


def test_a_hundred_answers_stay_under_two_megabytes(html: str) -> None:
    assert len(html.encode("utf-8")) < 2_000_000


def test_hundreds_of_answers_are_grouped_in_one_file() -> None:
    page = report.render(fixture.analysis(), fixture.exhibits(220), format="html")
    assert page.count('<details class="page">') == 3
    assert page.count('<details class="case"') == 220


def test_thousands_of_answers_become_linked_pages(tmp_path: Path) -> None:
    path = tmp_path / "my report #1.html"
    (tmp_path / "my report #1-files").mkdir()
    (tmp_path / "my report #1-files" / "stale.html").write_text("old", encoding="utf-8")
    written = report.write(path, fixture.analysis(), fixture.exhibits(2_501))
    pages = sorted((tmp_path / "my report #1-files").iterdir())
    assert len(pages) == 26
    assert "stale.html" not in [page.name for page in pages]
    home = written.read_text(encoding="utf-8")
    assert 'href="my%20report%20%231-files/page-1.html#case-1"' in home
    assert '<details class="case"' not in home
    second = (tmp_path / "my report #1-files" / "page-2.html").read_text(encoding="utf-8")
    assert 'href="../my%20report%20%231.html#answers"' in second
    assert 'href="page-1.html"' in second
    assert 'href="page-3.html"' in second
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my report #1-files", "my report #1.html"]


@pytest.mark.parametrize("name", ["out.html", "OUT.HTML", "deep/er/out.md", "out.json"])
def test_writes_by_ending_and_leaves_nothing_else(tmp_path: Path, name: str) -> None:
    path = report.write(tmp_path / name, fixture.analysis(), fixture.exhibits(2))
    assert path.read_text(encoding="utf-8").strip()
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == [path.name]


def test_another_ending_is_a_mistake_that_says_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(Mistake) as caught:
        report.write(tmp_path / "out.pdf", fixture.analysis(), ())
    (problem,) = caught.value.problems
    assert problem.allowed == ".html, .md, .json"
    assert "out.html" in problem.remedy


def test_a_place_that_cannot_be_written_is_said_and_the_old_report_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(CannotDo) as caught:
        report.write(tmp_path / "file" / "out.html", fixture.analysis(), ())
    assert caught.value.code == "CANNOT_WRITE"
    (tmp_path / "out.html").mkdir()
    with pytest.raises(CannotDo):
        report.write(tmp_path / "out.html", fixture.analysis(), ())
    assert sorted(os.listdir(tmp_path)) == ["file", "out.html"]


def test_anchors_hold_nothing_that_needs_escaping() -> None:
    assert anchor("H1") == "H1"
    assert re.fullmatch("[0-9a-f]{12}", anchor('"><b>'))
    assert anchor("é") != anchor("è")


@pytest.mark.parametrize(("shares", "signed"), [([0.2, 0.21], False), ([-0.3, 0.4], True), ([], False), ([1.0], False), ([0.0], True)])
def test_scales_hold_what_they_show(shares: list[float], signed: bool) -> None:
    scale = charts.scale(shares, signed=signed)
    assert 3 <= len(scale.ticks) <= 8
    assert all(charts.MARGIN <= scale.x(share) <= 100 - charts.MARGIN for share in shares)
    if signed:
        assert "0" in [tick.text for tick in scale.ticks]
