"""Marks go out as recorded marks and come back as the same figures."""

from __future__ import annotations

import csv
import json
import uuid
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fairmark.people.export import COLUMNS, MarkRow, export_marks, write_marks
from fairmark.records import ADJUDICATED, from_cell
from fairmark.study import GraderSpec, Mark
from fairmark.workbench import Workbench
from tests.bench import bench
from tests.load.files import STUDY, write
from tests.people.test_desk import PEOPLE, everything, marked_by


def act() -> str:
    return str(uuid.uuid4())


def test_marks_come_back_as_the_same_figures_with_what_was_settled() -> None:
    made = marked_by(replace(PEOPLE, twice=1.0, adjudicators=("cleo",)))
    made.assign()
    everything(made, "ana", "kind")
    everything(made, "ben", "cold")
    settling = made.adjudication()
    for one in settling.open("cleo")[:3]:
        settling.settle("cleo", one.id, act(), label="neutral", reason="between the two", fault="mark")
    rows = export_marks(made.table())
    assert len(rows) == 12 * 2 * 2 + 3 and sum(row.rater == ADJUDICATED for row in rows) == 3
    assert {row.probability for row in rows} == {1.0} and {row.chosen for row in rows} == {"all"}
    marks = tuple(
        Mark(row.case, row.system, row.trial, row.criterion, row.rater, row.label, row.reason, row.output, "", row.probability)
        for row in rows
    )
    graders = {name: spec for name, spec in made.study.graders.items() if name != "people"}
    graders["experts"] = GraderSpec("experts", "recorded", PEOPLE.criteria, marks=marks, chosen="all")
    again = bench(replace(made.study, people=None, graders=graders))
    again._store = made.store
    for system in ("bare", "guided"):
        before, after = made.table().metric(system, "tone>=neutral"), again.table().metric(system, "tone>=neutral")
        assert before.low.tolist() == after.low.tolist() and before.scorer == after.scorer == "human"
    assert {0.5, 1.0} == {value for system in ("bare", "guided") for value in again.table().metric(system, "tone>=neutral").low.tolist()}


def row(text: str) -> MarkRow:
    return MarkRow("c1", "bare", 1, "tone", "ana", "-1", text, text, 0.25, "random")


def written(rows: list[MarkRow], path: Path) -> list[dict[str, str]]:
    assert write_marks(rows, path) == len(rows)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    texts = ["=HYPERLINK(1)", "+1+1", "-2+3", "@sum", "\tx", "\rx", "'=x", "plain", "'quoted'"]
    cells = written([row(text) for text in texts], tmp_path / "marks.csv")
    assert [cell["output"] for cell in cells] == [
        "'=HYPERLINK(1)",
        "'+1+1",
        "'-2+3",
        "'@sum",
        "'\tx",
        "'\rx",
        "''=x",
        "plain",
        "'quoted'",
    ]
    assert tuple(cells[0]) == COLUMNS and cells[0]["label"] == "-1"  # a number is no formula
    assert [from_cell(cell["output"]) for cell in cells] == texts


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_every_text_comes_back(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (cell,) = written([row(text)], Path(folder) / "marks.csv")
    assert from_cell(cell["reason"]) == text


def test_without_people_there_is_nothing_to_write() -> None:
    made = marked_by(PEOPLE)
    assert export_marks(made.table()) == ()  # nobody has marked yet
    assert export_marks(bench(replace(made.study, people=None, graders={})).table()) == ()


def test_a_study_reads_the_file_back_from_disk(tmp_path: Path) -> None:
    """Answers that begin like formulas stay the answers that were marked."""
    answers = "".join(json.dumps({"id": f"c{n}", "output": f"- {'=1+1' if n == 2 else 'Done'}, {n}.\n- Next."}) + "\n" for n in (1, 2, 3))
    text = STUDY[: STUDY.index("graders:")].replace("{model: local/smollm2}", "{recorded: a.jsonl}")
    text = text.replace("{model: local/smollm2, prompt: prompts/guided.md, temperature: 0}", "{recorded: b.jsonl}")
    files = {"a.jsonl": answers, "b.jsonl": answers.replace("Done", "Gone"), "study.yaml": text + "people: {roster: [ana], repeats: 0}\n"}
    folder = write(tmp_path, files)
    with Workbench(folder) as bench:
        bench.run()
        bench.assign()
        desk = bench.desk()
        while (one := desk.next_open("ana")) is not None:
            desk.mark("ana", one, str(uuid.uuid4()), criterion="resolves", label="meets", reason="= as it should be")
            desk.mark("ana", one, str(uuid.uuid4()), criterion="brief", label="yes")
        first = bench.table().metric("guided", "resolves>=meets").low.tolist()
        assert bench.export_marks(folder / "marks.csv") == 12  # the equal answers to c2 are marked once and count for both
    again = text + "graders: {experts: {recorded: marks.csv, chosen: all}}\n"
    (folder / "study.yaml").write_text(again, encoding="utf-8")
    with Workbench(folder, memory=True) as bench:
        bench.run()
        table = bench.table()
        assert table.metric("guided", "resolves>=meets").low.tolist() == first == [1.0] * 3
        reasons = {cell.grade.reason for row in table.rows for cell in row.cells if cell.grade and cell.criterion == "resolves"}
        assert reasons == {"= as it should be"}
