"""What a Python check may return, and the label that it stands for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark import graders
from fairmark.graders.labels import label_of, number_label, offered
from fairmark.records import Failure, Grader, Item, Message, Verdict
from fairmark.rubric import Criterion, Level

TWO = Criterion("ok", levels=(Level("fail"), Level("pass")))
THREE = Criterion("good", levels=(Level("poor"), Level("fair"), Level("fine")), not_applicable=True)
SHARE = Criterion("near", scale="interval", range=(0, 1))
KINDS = Criterion("kind", levels=(Level("a"), Level("b"), Level("c")), scale="nominal")
NAN = float("nan")

GOOD: list[tuple[Any, Criterion, list[float] | None, str]] = [
    (True, TWO, None, "pass"),
    (False, TWO, None, "fail"),
    (np.bool_(True), TWO, None, "pass"),
    (True, THREE, None, "fine"),
    (False, THREE, None, "poor"),
    (True, SHARE, None, "1"),
    (False, SHARE, None, "0"),
    ("fair", THREE, None, "fair"),
    ("not applicable", THREE, None, "not applicable"),
    ("cannot tell", TWO, None, "cannot tell"),
    ("b", KINDS, None, "b"),
    (0.25, SHARE, None, "0.25"),
    (np.float32(0.25), SHARE, None, "0.25"),
    (1, SHARE, None, "1"),
    ("0.5", SHARE, None, "0.5"),
    (0.4, TWO, [0.5], "fail"),
    (0.5, TWO, [0.5], "pass"),
    (7, THREE, [3, 7], "fine"),
    (6.9, THREE, [3, 7], "fair"),
    (-9, THREE, [3, 7], "poor"),
    ({"pass": True}, TWO, None, "pass"),
    ({"pass": True, "score": 1.0, "reason": "r"}, TWO, None, "pass"),
    ({"pass": False, "score": 0}, TWO, None, "fail"),
    ({"pass": True, "score": 0.7}, TWO, None, "pass"),
    ({"label": "fair", "pass": True}, THREE, None, "fair"),
    ({"label": "fair", "pass": False, "score": 0.5}, THREE, None, "fair"),
    ({"label": "c", "pass": True}, KINDS, None, "c"),
    ({"score": 0.6}, SHARE, None, "0.6"),
    ({"score": 8, "label": "fine"}, THREE, [3, 7], "fine"),
    ({"label": "fine", "score": None, "pass": None}, THREE, None, "fine"),
]
BAD: list[tuple[Any, Criterion, list[float] | None, str]] = [
    ("Pass", TWO, None, "not on the scale"),
    ("not applicable", TWO, None, "not on the scale"),
    ("pass\u200b", TWO, None, "not on the scale"),
    (1, TWO, None, "cuts"),
    (0.0, TWO, None, "cuts"),
    (NAN, TWO, [0.5], "nan"),
    (math.inf, TWO, [0.5], "inf"),
    (NAN, SHARE, None, "not on the scale"),
    (math.inf, SHARE, None, "not on the scale"),
    (1.01, SHARE, None, "from 0 to 1"),
    (10**400, SHARE, None, "not on the scale"),
    ("1e-1", SHARE, None, "not on the scale"),
    (True, KINDS, None, "unordered"),
    (None, TWO, None, "NoneType"),
    ([True], TWO, None, "list"),
    ({}, TWO, None, "none of"),
    ({"reason": "x"}, TWO, None, "none of"),
    ({"passed": True}, TWO, None, "did you mean `pass`?"),
    ({"pass": 1}, TWO, None, "true or false"),
    ({"pass": "yes"}, TWO, None, "true or false"),
    ({"label": True}, TWO, None, "must be text"),
    ({"score": True, "pass": True}, TWO, None, "must be a number"),
    ({"score": "1"}, SHARE, None, "must be a number"),
    ({"score": 0.4}, TWO, None, "cuts"),
    ({"pass": True, "score": 0}, TWO, None, "contradicts itself"),
    ({"pass": False, "score": 1}, TWO, None, "contradicts itself"),
    ({"pass": True, "score": 2}, TWO, None, "between 0 and 1"),
    ({"pass": True, "score": NAN}, TWO, None, "between 0 and 1"),
    ({"pass": True, "label": "fail"}, TWO, None, "contradicts itself"),
    ({"pass": False, "label": "fine"}, THREE, None, "contradicts itself"),
    ({"label": "poor", "score": 8}, THREE, [3, 7], "contradicts itself"),
    ({"label": "pass", "score": 0}, TWO, None, "contradicts itself"),
    ({"pass": True, "score": 0}, SHARE, None, "contradicts itself"),
    ({"label": "best"}, THREE, None, "not on the scale"),
    ({"pass": True, "reason": 3}, TWO, None, "`reason` must be text"),
    ({"pass": True, "evidence": [3]}, TWO, None, "`evidence` must be"),
]


@pytest.mark.parametrize(("result", "criterion", "cuts", "expected"), GOOD)
def test_results_that_fit(result: Any, criterion: Criterion, cuts: list[float] | None, expected: str) -> None:
    labelled = label_of(result, criterion, cuts=cuts, where="f")
    assert not isinstance(labelled, Failure), labelled
    assert labelled[0] == expected


@pytest.mark.parametrize(("result", "criterion", "cuts", "why"), BAD)
def test_results_that_do_not(result: Any, criterion: Criterion, cuts: list[float] | None, why: str) -> None:
    failure = label_of(result, criterion, cuts=cuts, where="f")
    assert isinstance(failure, Failure), failure
    assert failure.kind == "bad_label"
    assert why in failure.why


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["pass", "fine", "poor", "0.5", "cannot tell"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["pass", "score", "label", "reason", "evidence", "x"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(ANYTHING, st.sampled_from([TWO, THREE, SHARE, KINDS]), st.sampled_from([None, [0.5], [0.2, 0.8]]))
def test_whatever_is_returned_the_label_is_on_the_scale_or_there_is_none(
    result: Any, criterion: Criterion, cuts: list[float] | None
) -> None:
    if cuts is not None and len(cuts) != len(criterion.levels) - 1:
        cuts = None
    labelled = label_of(result, criterion, cuts=cuts, where="f")
    if isinstance(labelled, Failure):
        assert labelled.kind == "bad_label"
        labelled.why.encode()
    elif criterion is SHARE and labelled[0] not in offered(SHARE):
        assert 0 <= float(labelled[0]) <= 1
    else:
        assert labelled[0] in offered(criterion)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_its_spelling(number: float) -> None:
    assert float(number_label(number)) == number


CODE = """
import json

def short(output): return len(output) < 5
def matches(output, case): return output == case["expected"]
def sees(output, case): return {"label": "pass", "reason": json.dumps(case, sort_keys=True)}
def spoils(output, case):
    case["tags"].append("spoilt")
    return case["tags"] == ["a", "spoilt"]
def limit(output, most=3): return len(output) <= most
def optional(output, case=None): return case is not None
def boom(output):
    raise RuntimeError("the token is " + "s3cr3t-value-123")
def leave(output): raise SystemExit(3)
def talks(output):
    print("hello")
    return True
def quotes(output): return {"pass": True, "evidence": ["two  words", "absent"]}
async def later(output): return True
lazily = lambda output: later(output)
constant = 3
"""


@pytest.fixture
def run(tmp_path: Path, make_check: Callable[..., Grader]) -> Callable[..., Verdict | Failure]:
    (tmp_path / "checks.py").write_text(CODE)

    def call(function: str, output: str = "abc", **item: Any) -> Verdict | Failure:
        grader = make_check("python", target=f"checks.py:{function}", folder=tmp_path)
        return grader.read(Item("c1", (Message("user", "Is it?"),), output, **item), None)

    return call


def test_functions_of_the_output_and_of_the_case(run: Callable[..., Verdict | Failure]) -> None:
    assert run("short") == Verdict("pass")
    assert run("short", "abcdef") == Verdict("fail")
    assert run("matches", reference="abc") == Verdict("pass")
    assert run("limit", "abcd") == Verdict("fail")
    assert run("optional") == Verdict("pass")
    seen = run("sees", reference="ref", fields={"tier": 2}, system="hidden")
    assert isinstance(seen, Verdict)
    assert seen.reason == (
        '{"expected": "ref", "id": "c1", "input": "Is it?", "messages": [{"content": "Is it?", "role": "user"}], "tier": 2}'
    )


def test_a_check_cannot_change_the_case(run: Callable[..., Verdict | Failure]) -> None:
    fields = {"tags": ["a"]}
    assert run("spoils", fields=fields) == Verdict("pass")
    assert run("spoils", fields=fields) == Verdict("pass")
    assert fields == {"tags": ["a"]}


def test_what_raises_is_a_failure_with_its_line_and_without_secrets(
    run: Callable[..., Verdict | Failure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cr3t-value-123")
    line = CODE.split("\n").index('    raise RuntimeError("the token is " + "s3cr3t-value-123")') + 1
    assert run("boom") == Failure(
        "code_error", "checks.py:boom", f"checks.py:{line}: RuntimeError: the token is (the value of SOME_API_KEY)"
    )
    left = run("leave")
    assert isinstance(left, Failure)
    assert "SystemExit: 3" in left.why
    constant = run("constant")
    assert isinstance(constant, Failure)
    assert "is int, not a function" in constant.why
    lazy = run("lazily")
    assert isinstance(lazy, Failure)
    assert "asynchronous" in lazy.why


def test_what_a_check_prints_stays_off_standard_output(run: Callable[..., Verdict | Failure], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("talks") == Verdict("pass")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "hello\n"


def test_quotes_are_looked_up(run: Callable[..., Verdict | Failure]) -> None:
    verdict = run("quotes", "its two words")
    assert isinstance(verdict, Verdict)
    assert [(span.start, span.end) for span in verdict.evidence] == [(4, 13), (None, None)]


def test_the_code_that_runs_is_the_code_that_was_read(
    tmp_path: Path, make_check: Callable[..., Grader], make_item: Callable[..., Item]
) -> None:
    file = tmp_path / "checks.py"
    file.write_text("def f(output): return True")
    before = make_check("python", target="checks.py:f", folder=tmp_path)
    file.write_text("def f(output): return False")
    after = make_check("python", target="checks.py:f", folder=tmp_path)
    assert before.read(make_item("x"), None) == Verdict("pass")
    assert after.read(make_item("x"), None) == Verdict("fail")
    assert before.identity()["code"] != after.identity()["code"]


def test_modules_beside_the_file_can_be_imported(tmp_path: Path, make_check: Callable[..., Grader], make_item: Callable[..., Item]) -> None:
    (tmp_path / "neighbour_of_a_check.py").write_text("ANSWER = 'x'")
    (tmp_path / "checks.py").write_text("from neighbour_of_a_check import ANSWER\ndef f(output): return output == ANSWER")
    assert make_check("python", target="checks.py:f", folder=tmp_path).read(make_item("x"), None) == Verdict("pass")


def test_a_function_in_memory_is_a_check() -> None:
    def polite(answer: str) -> bool:
        return "please" in answer

    grader = graders.from_function("manners", TWO, polite)
    assert grader.read(Item("1", (), "yes please"), None) == Verdict("pass")
    assert grader.read(Item("1", (), "yes"), None) == Verdict("fail")
    assert grader.identity() != graders.from_function("manners", TWO, lambda answer: True).identity()
    failed = graders.from_function("manners", TWO, lambda answer: 1 / 0).read(Item("1", (), "yes"), None)
    assert isinstance(failed, Failure)
    assert failed.kind == "code_error"
    assert "ZeroDivisionError" in failed.why
    assert "test_check_results.py:" in failed.why
