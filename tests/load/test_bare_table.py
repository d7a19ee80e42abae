"""A bare table of marks: which column is what, which scale the labels stand on, and the study it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairmark import load
from fairmark.errors import Mistake
from fairmark.study import Hypothesis, Mark


def table(tmp_path: Path, text: str, name: str = "results.csv", **columns: str) -> load.BareTable:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load.bare_table(path, columns)


def position(tmp_path: Path, text: str, **columns: str) -> str:
    with pytest.raises(Mistake) as raised:
        table(tmp_path, text, **columns)
    return "; ".join(f"{problem.position}: {problem.found}" for problem in raised.value.problems)


def test_a_long_table_under_common_names(tmp_path: Path) -> None:
    read = table(tmp_path, "doc_id,model,criterion,annotator,score\nd1,A,fluency,e0,5\nd1,B,fluency,e0,3\nd2,A,fluency,e0,1\n")
    assert read.columns == {"case": "doc_id", "system": "model", "criterion": "criterion", "rater": "annotator", "label": "score"}
    assert read.rows[0] == Mark("d1", "A", 1, "fluency", "e0", "5", where="results.csv:2")
    assert read.rows[2].where == "results.csv:4"
    fluency = read.rubric["fluency"]
    assert fluency.level_names() == ("1", "2", "3", "4", "5")
    assert fluency.value_of("4") == 0.75
    assert "1 to 5" in read.problems[0].found


def test_named_columns_win(tmp_path: Path) -> None:
    read = table(tmp_path, "id,n,score,good\na,b,7,true\n", case="n", label="good")
    assert (read.rows[0].case_id, read.rows[0].label, read.rows[0].criterion) == ("b", "true", "good")


def test_a_wide_table(tmp_path: Path) -> None:
    read = table(tmp_path, "id,system,tone,clarity\n1,A,yes,0.5\n1,B,no,\n", criteria="tone, clarity")
    assert [(m.system, m.criterion, m.label) for m in read.rows] == [("A", "tone", "yes"), ("A", "clarity", "0.5"), ("B", "tone", "no")]
    assert read.rubric["tone"].level_names() == ("no", "yes")
    assert (read.rubric["clarity"].scale, read.rubric["clarity"].range) == ("interval", (0, 1))


@pytest.mark.parametrize(
    ("labels", "levels"),
    [
        (["true", "FALSE"], ("false", "true")),
        (["Pass"], ("fail", "pass")),
        (["1", "0"], ("0", "1")),
        (["1.0", "0.0"], ("0", "1")),
        (["2", "5"], ("2", "3", "4", "5")),
        (["-1", "1"], ("-1", "0", "1")),
    ],
)
def test_scales_of_levels(labels: list[str], levels: tuple[str, ...], tmp_path: Path) -> None:
    read = table(tmp_path, "id,score\n" + "".join(f"c{place},{label}\n" for place, label in enumerate(labels)))
    (criterion,) = read.rubric
    assert criterion.level_names() == levels
    assert all(criterion.allows(mark.label) for mark in read.rows)
    assert criterion.value_of(levels[0]) == 0
    assert criterion.value_of(levels[-1]) == 1


@pytest.mark.parametrize(("labels", "limits"), [(["0.2", "0.7"], (0, 1)), (["3", "250"], (3, 250)), (["7.5", "7.5"], (7.5, 8.5))])
def test_scales_of_numbers(labels: list[str], limits: tuple[float, float], tmp_path: Path) -> None:
    read = table(tmp_path, "id,score\n" + "".join(f"c{place},{label}\n" for place, label in enumerate(labels)))
    assert read.rubric["score"].range == limits
    assert all(read.rubric["score"].allows(mark.label) for mark in read.rows)
    assert read.problems


def test_a_scale_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,score\na,3\nb,4\n", encoding="utf-8")
    read = load.bare_table(path, scale=(1, 5))
    assert read.rubric["score"].value_of("3") == 0.5
    assert read.problems == ()


def test_words_without_an_order_are_nominal_and_say_so(tmp_path: Path) -> None:
    read = table(tmp_path, "id,label\n1,red\n2,blue\n3,green\n")
    assert read.rubric["label"].scale == "nominal"
    assert "no order" in read.problems[0].found


def test_what_is_not_marked_is_missing_and_no_label(tmp_path: Path) -> None:
    read = table(tmp_path, "id,system,score\n1,A,1\n1,B,\n2,A,NaN\n2,B,not applicable\n")
    assert [(m.case_id, m.system, m.label) for m in read.rows] == [("1", "A", "1"), ("2", "B", "not applicable")]
    assert read.rubric["score"].not_applicable


def test_an_undeclared_cluster_is_suspected(tmp_path: Path) -> None:
    rows = "".join(f"c{n},{system},{n % 2},k{n // 2},{n / 7:.3f},l{n % 2},{n}{system}\n" for n in range(10) for system in "AB")
    read = table(tmp_path, "id,system,score,customer,seconds,language,note\n" + rows)
    assert read.cluster_suspects == ("customer",)
    assert read.fields["c3"] == {"customer": "k1", "seconds": "0.429", "language": "l1"}


def test_a_declared_cluster_is_not_suspected(tmp_path: Path) -> None:
    rows = "".join(f"c{n},{n % 2},k{n // 2}\n" for n in range(10))
    read = table(tmp_path, "id,score,customer\n" + rows, cluster="customer")
    assert read.cluster["c3"] == "k1"
    assert read.cluster_suspects == ()
    study = load.study_from_table(read)
    assert study.cluster == "customer"
    assert study.cases[3].fields["customer"] == "k1"


def test_the_study_of_a_table(tmp_path: Path) -> None:
    rows = """\
{"id": 1, "system": "A b", "trial": 1, "pass": true, "output": "x"}
{"id": 1, "system": "A b", "trial": 2, "pass": false}
{"id": 2, "system": "B", "pass": true, "trial": 1}
"""
    hypothesis = Hypothesis("H1", "better", "A b", "pass", than="B")
    study = load.study_from_table(table(tmp_path, rows, "results.jsonl"), hypotheses=[hypothesis], question="q")
    assert (study.name, study.question, study.trials, study.hypotheses) == ("results", "q", 2, (hypothesis,))
    assert [case.id for case in study.cases] == ["1", "2"]
    assert study.systems["A b"].recorded == {("1", 1): "x", ("1", 2): "(the answer is not in the table)"}
    marks = study.graders["marks"]
    assert (marks.chosen, marks.criteria) == ("all", ("pass",))
    assert [(mark.label, mark.output) for mark in marks.marks] == [("true", None), ("false", None), ("true", None)]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("id,b\n1,2\n", {}, "results.csv:1:1: no column holds the label; the columns are `id`, `b`"),
        ("id,score\n1,2\n", {"case": "nr"}, "results.csv:1:1: `results.csv` has no column `nr`"),
        ("id,score\n1,2\n", {"raterr": "id"}, "command line: `raterr` is no role of a column"),
        ("id,score\n1,2\n1,3\n", {}, "results.csv:3:3: case `1`, system is marked on `score` twice; the first is in line 2"),
        ("id,score\n,2\n", {}, "results.csv:2:1: the row names no case"),
        ("id,score,trial\n1,2,zero\n", {}, "results.csv:2:5: the trial is `zero`"),
        ("id,score\n1,\n", {}, "results.csv:1:1: no row holds a label"),
        ("id,score,k\n1,2,\n", {"cluster": "k"}, "results.csv:2:5: case `1` belongs to no cluster"),
        ("", {}, "results.csv:1:1: the file is empty"),
    ],
)  # fmt: skip
def test_mistakes_are_placed(text: str, columns: dict[str, str], expected: str, tmp_path: Path) -> None:
    assert position(tmp_path, text, **columns) == expected


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("id,score\n", encoding="utf-8")
    with pytest.raises(Mistake) as raised:
        load.bare_table(tmp_path / "result.csv", {})
    assert "did you mean `results.csv`?" in raised.value.problems[0].remedy
