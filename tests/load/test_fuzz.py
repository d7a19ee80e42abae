"""Whatever stands in the files, the answer is a study or a list of mistakes; never a traceback."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairmark import load
from fairmark.errors import Mistake
from tests.load.files import CASES, GOOD, RUBRIC, STUDY, write

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def answered(changes: dict[str, str | bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            study = load.study(write(Path(folder), changes))
        except Mistake as mistake:
            told(mistake)
        else:
            study.fingerprint()
            load.lint(study)


def told(mistake: Mistake) -> None:
    assert mistake.problems
    for problem in mistake.problems:
        assert problem.file
        assert problem.found
        str(problem).encode("utf-8")


@pytest.mark.parametrize("name", sorted(GOOD))
@QUICK
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    answered({name: data.draw(st.binary(max_size=60))})


@pytest.mark.parametrize("name", sorted(GOOD))
@QUICK
@given(data=st.data())
def test_any_text(name: str, data: st.DataObject) -> None:
    text = st.text(max_size=80) | st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,\n\t \\0129.uUx~", max_size=60)
    answered({name: data.draw(text).encode("utf-8", "surrogatepass")})


@pytest.mark.parametrize("name", sorted(GOOD))
@QUICK
@given(data=st.data())
def test_a_good_file_with_a_wrong_stretch(name: str, data: st.DataObject) -> None:
    text = GOOD[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    answered({name: (text[:start] + data.draw(st.text(max_size=6)) + text[end:]).encode("utf-8", "surrogatepass")})


KEYS = [line.split(":")[0].strip() for line in STUDY.splitlines() if line[:1].isalpha()]


@QUICK
@given(
    key=st.sampled_from([*KEYS, "cluster", "groups", "trials", "calibration", "plan", "population", "interests", "budget", "concurrency"]),
    value=JSON_VALUES,
)
@example("rubric", {"criteria": {"resolves": {"levels": {"": None}}}})
def test_any_value_under_a_key_of_the_study(key: str, value: object) -> None:
    lines = [part for part in ("\n" + STUDY).replace("\n  ", "\x00 ").split("\n") if part and not part.startswith(f"{key}:")]
    answered({"study.yaml": "\n".join(lines).replace("\x00 ", "\n  ") + f"\n{key}: {json.dumps(value)}\n"})


@QUICK
@given(value=JSON_VALUES, key=st.sampled_from(["question", "levels", "range", "pass", "weight", "gate", "examples", "scale", "guidance"]))
def test_any_value_under_a_key_of_a_criterion(key: str, value: object) -> None:
    answered({"rubric.yaml": RUBRIC.replace("    question: Is the answer short?\n", f"    question: x\n    {key}: {json.dumps(value)}\n")})


@QUICK
@given(value=JSON_VALUES, key=st.sampled_from(["id", "input", "expected", "customer", "topic", "other"]))
def test_any_value_in_a_case(key: str, value: object) -> None:
    row = {"id": "d1", "input": "x", "customer": "c", "topic": "t", key: value}
    more = "cluster: customer\ngroups: [topic]\n"
    answered({"study.yaml": STUDY + more, "cases.jsonl": CASES + json.dumps(row) + "\n"})


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@QUICK
@given(data=st.data())
def test_any_bytes_as_recording_marks_calibration_and_bare_table(ending: str, data: st.DataObject) -> None:
    header = b"case,output,label,id,input\n" if ending == "csv" else b""
    rows = header + data.draw(st.binary(max_size=40) | st.text(alphabet='c1,;"\n{}[]:\\ametsu0d8', max_size=50).map(str.encode))
    text = STUDY.replace("{model: local/smollm2}\n", f"{{recorded: rows.{ending}}}\n")
    text = text.replace("{llm: openai/some-model, criteria: [resolves]}", f"{{recorded: rows.{ending}, criterion: resolves}}")
    answered({"study.yaml": text + f"calibration: {{items: rows.{ending}, marked_by: people}}\n", f"rows.{ending}": rows})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{ending}"
        path.write_bytes(rows)
        try:
            table = load.bare_table(path)
        except Mistake as mistake:
            told(mistake)
        else:
            load.study_from_table(table).fingerprint()


@QUICK
@given(st.binary(max_size=60))
def test_any_bytes_as_environment(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".env").write_bytes(content)
        try:
            load.environment(Path(folder))
        except Mistake as mistake:
            told(mistake)
