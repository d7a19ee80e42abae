"""A run that stopped early: when it was decided, how the evidence grew, what was saved; and nothing of that for other runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tests.report import fixture

from fairmark import report
from fairmark.report import charts, sentences, tables
from fairmark.results import Course, Refusal, Stopped

LINES = (
    "The run stopped as soon as the primary hypotheses needed no more: 56 of 96 planned answers were never asked for (58 in 100).",
    "Cases were asked and counted in a random order drawn beforehand (seed helpdesk/1).",
    "H1 was supported with case 17 of at most 48. 3 more cases came in after that, and count as well.",
    "H2: with case 18 of at most 48 it was plain that 85 out of 100 are not reached, which is what was worth finding;",
    "48 planned = 20 answered + 0 failed + 28 not needed",
    "20 of 48 cases from 24 clusters (by customer) (no more were needed)",
)


def followed(**changes: object) -> Stopped:
    course = fixture.stopped().course
    assert course is not None
    return replace(course.hypotheses[0], **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["html", "md"])
def test_a_report_says_when_it_was_decided_and_what_was_saved(kind: report.Format) -> None:
    text = report.render(fixture.stopped(), (), format=kind)
    text = re.sub(r"<[^>]+>", "", text) if kind == "html" else text
    for line in LINES:
        assert line in text
    assert "run again to get" not in text
    assert text.index("When it was decided") < text.index("The systems")
    other = report.render(fixture.analysis(), (), format=kind)
    assert "When it was decided" not in other


def test_the_path_is_drawn_and_told_in_numbers() -> None:
    html = report.render(fixture.stopped(), (), format="html")
    drawings = re.findall(r'<svg class="path".*?</svg>\n<text.*?</svg>', html, re.DOTALL)
    assert len(drawings) == 2
    lines = [line.get("points", "") for line in ElementTree.fromstring(drawings[0]).iter("polyline")]
    assert len(lines) == 3
    for line in lines:
        places = [tuple(map(float, point.split(","))) for point in line.split()]
        assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in places)
        assert [x for x, _ in places] == sorted(x for x, _ in places)
        assert len(places) == 21
    numbers = tables.course(fixture.stopped())[0].points
    assert [units for units, *_ in numbers][-1] == "20"
    assert ("17", "107", "−18", "−51") in numbers
    assert "The path in numbers" in html
    assert "| 17 | 107 | −18 | −51 |" in report.render(fixture.stopped(), (), format="md")
    document = json.loads(report.render(fixture.stopped(), (), format="json"))
    assert document["analysis"]["course"]["hypotheses"][0]["path"][16] == [
        17,
        pytest.approx(2.04),
        pytest.approx(-0.34),
        pytest.approx(-0.51),
    ]


def test_the_deciding_case_stands_where_the_line_reaches_the_bar() -> None:
    drawn = charts.path(followed())
    line = dict(drawn.lines)["for"].split()
    heights = {float(x): float(y) for x, y in (point.split(",") for point in line)}
    assert drawn.decided is not None
    assert heights[drawn.decided] <= drawn.enough < drawn.none
    assert [tick.text for tick in drawn.ticks] == ["0", "17", "48"]
    assert [tick.text for tick in charts.path(followed(decided_at=47)).ticks] == ["0", "48"]  # no room beside the last one


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"state": "open", "decided_at": None}, "H1 is open after 20 cases of at most 48."),
        ({"state": "capped", "used": 48, "decided_at": 48}, "H1 was still open after the last of 48 cases."),
        ({"state": "refuted", "used": 17}, "H1 was contradicted with case 17 of at most 48."),
        ({"used": 18}, "H1 was supported with case 17 of at most 48. 1 more case came in after that, and counts as well."),
        (
            {"used": 48, "decided_at": 48, "path": ((48, 0.4, -2.0, -2.0),)},
            "H1 was supported by the ordinary test after the last of 48 cases.",
        ),
        ({"unit": "clusters"}, "H1 was supported with cluster 17 of at most 48. 3 more clusters came in after that, and count as well."),
        (
            {"state": "refused", "refused": Refusal("STOP_NEEDS_CHECK", "only an LLM grader marks it", "")},
            "H1 was not followed: Only an LLM grader marks it.",
        ),
    ],
)
def test_every_state_has_its_sentence(changes: dict[str, object], line: str) -> None:
    assert sentences.stopped_line(followed(**changes)) == line


def test_a_run_that_saved_nothing_or_goes_on_says_so() -> None:
    def first(**changes: object) -> str:
        course = fixture.stopped().course
        assert isinstance(course, Course)
        return sentences.course_lines(replace(fixture.stopped(), course=replace(course, **changes)))[0]  # type: ignore[arg-type]

    assert first(not_needed=0) == "The run might have stopped early, and needed every case."
    assert first(stopped=False, not_needed=0) == "The run may stop early. After 20 of 48 cases it is not decided yet."
    assert "(less than 1 in 100)" in first(not_needed=1, responses=1_000)
    assert sentences.course_lines(fixture.analysis()) == ()
