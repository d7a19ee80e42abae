"""A study's graders, and everything that can be wrong with them, at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairmark import graders
from fairmark.errors import Mistake
from fairmark.records import Failure, Item, Verdict
from fairmark.study import GraderSpec, ModelSpec, Study


def check(kind: str, value: Any = None, criterion: str = "ok", target: str | None = None, **options: Any) -> GraderSpec:
    return GraderSpec("g", "check", (criterion,), check=kind, value=value, options=options, target=target)


def llm(
    criterion: str = "ok", model: ModelSpec | None = ModelSpec("openai", "gpt-x"), prompt: str | None = None, **options: Any
) -> GraderSpec:
    return GraderSpec("g", "llm", (criterion,), model=model, prompt=prompt, options=options)


WRONG: list[tuple[GraderSpec, str]] = [
    (check("contain", "x"), "unknown check `contain`.*did you mean `contains`"),
    (
        check("contains", "x", criterion="okay"),
        "criterion `okay` is not in the rubric.*allowed: ok, good, near, points, kind.*did you mean `ok`",
    ),
    (check("contains", "x", ignorecase=True), "unknown option `ignorecase`.*did you mean `ignore_case`"),
    (check("contains", "x", ignore_case="yes"), "`ignore_case` is 'yes'.*true or false"),
    (check("contains", 42), "`value` is 42.*write numbers in quotes"),
    (check("contains", []), r"`value` is \[\]"),
    (check("contains", ["a"], match="some"), "`match` is 'some'.*one of all, any"),
    (check("contains", ["a"], match="any", absent=True), "`match` says nothing beside it"),
    (check("one_of"), "`value` is missing"),
    (check("one_of", "a"), "a list of texts"),
    (check("json_valid", "x"), "takes no `value`"),
    (check("max_words", True), "whole number"),
    (check("max_words", -1), "whole number"),
    (check("max_words", 2.5), "whole number"),
    (check("numeric", "42"), "a number"),
    (check("numeric", float("nan")), "a number"),
    (check("numeric", 1, relative=2), "from 0 to 1"),
    (check("length"), r"at least one of words, chars, lines is needed"),
    (check("length", words=[9, 1]), "the least and the most"),
    (check("length", words=[1]), "the least and the most"),
    (check("regex", "("), "is not a regular expression: missing"),
    (check("json_schema", {"type": "objekt"}), r"the schema is wrong at `\$\.type`"),
    (check("json_schema", "nowhere.json"), "the schema file `nowhere.json` cannot be read"),
    (check("json_schema", "broken.json"), "the schema file `broken.json` is not JSON"),
    (check("json_path"), "`path` is missing"),
    (check("json_path", path="a.b"), r"does not start with `\$`"),
    (check("json_path", path="$.a[x]"), r"cannot be read from `\[x\]` on"),
    (check("similarity", "x"), "answers with a number from 0 to 1, which is no label of `ok`.*`threshold`"),
    (check("similarity", "x", criterion="points"), "no label of `points`"),
    (check("similarity", "x", cuts=[0.5, 0.7]), r"`cuts` is \[0.5, 0.7\].*1 rising number: the lowest for `pass`"),
    (check("similarity", "x", criterion="good", cuts=[0.7, 0.5]), "2 rising numbers"),
    (check("similarity", "x", cuts="0.5"), "`cuts` is '0.5'"),
    (check("similarity", "x", cuts=[True]), r"`cuts` is \[True\]"),
    (check("similarity", "x", criterion="near", cuts=[0.5]), "only on ordered levels"),
    (check("similarity", "x", threshold=0.5, cuts=[0.5]), "`cuts` has no place beside `similarity`"),
    (check("exact", "x", cuts=[0.5]), "`cuts` has no place beside `exact`"),
    (check("exact", "x", criterion="kind"), "says yes or no, and `kind` has 3 unordered levels"),
    (check("python"), "`function` is missing"),
    (check("python", target="code.py"), "not of the form `file.py:function`"),
    (check("python", target="code.py:"), "not of the form"),
    (check("python", target="nowhere.py:f"), "the file `nowhere.py` cannot be read"),
    (check("python", target="code.py:grad"), "has no function `grad`; did you mean `grade`"),
    (check("python", target="code.py:later"), "async function"),
    (check("python", target="broken.py:f"), "broken.py:2 is not Python"),
    (check("python", target="nul.py:f"), "nul.py.*is not Python"),
    (llm(model=None), "needs a model"),
    (llm(evidense=True), "unknown option `evidense`.*did you mean `evidence`"),
    (llm(reason_chars="long"), "`reason_chars` is 'long'"),
    (llm(prompt="Mark {{output}}"), "holds a {{slot}}"),
    (llm(prompt=" "), "prompt is empty"),
    (llm(criterion="okay"), "criterion `okay` is not in the rubric"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text(
        "raise SystemExit('reading a study runs nothing')\ndef grade(output): ...\nasync def later(output): ...\n"
    )
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "nul.py").write_bytes(b"x = '\x00'")
    (tmp_path / "broken.json").write_text("{'type': 'object'}")
    return tmp_path


@pytest.mark.parametrize(("spec", "message"), WRONG)
def test_a_mistake_says_what_where_and_what_is_allowed(
    spec: GraderSpec, message: str, folder: Path, make_study: Callable[..., Study]
) -> None:
    study = make_study(spec, folder=folder)
    with pytest.raises(Mistake) as caught:
        graders.build(study)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith("study.yaml: grader `g`: ")
    assert re.search(message, str(caught.value), re.DOTALL)
    assert graders.problems(study) == caught.value.problems


def test_a_reference_has_to_be_somewhere(make_study: Callable[..., Study]) -> None:
    assert len(graders.build(make_study(check("exact")))) == 1
    (problem,) = graders.problems(make_study(check("exact"), expected=None))
    assert "no case has a reference" in problem.found


def test_all_mistakes_come_at_once(make_study: Callable[..., Study]) -> None:
    study = make_study(check("contains", 3, criterion="okay", ignorecase=1, absnt=True))
    assert len(graders.problems(study)) == 4


def test_one_grader_for_each_criterion(make_study: Callable[..., Study]) -> None:
    made = graders.build(make_study(GraderSpec("judge", "llm", ("good", "ok"), model=ModelSpec("openai", "gpt-x"))))
    assert [(grader.name, grader.criterion, grader.kind, grader.rater) for grader in made] == [
        ("judge", "good", "llm", ""),
        ("judge", "ok", "llm", ""),
    ]


def test_reading_a_study_runs_no_code(folder: Path, make_study: Callable[..., Study], make_item: Callable[..., Item]) -> None:
    (grader,) = graders.build(make_study(check("python", target="code.py:grade"), folder=folder))
    failure = grader.read(make_item("x"), None)
    assert isinstance(failure, Failure)
    assert failure.why == "code.py:1: SystemExit: reading a study runs nothing"


STRANGER = """
from fairmark.graders import Check, Finding, Setting

def shouts(item, value, options):
    if item.output == "crash":
        raise ZeroDivisionError("oops")
    return Finding(item.output.isupper() != options["quiet"], "It shouts.")

CHECK = Check(shouts, "The response shouts.", options={"quiet": Setting("turns it round", default=False)})
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that brings a check, installed as pip would leave it."""
    (tmp_path / "shouting_checks.py").write_text(STRANGER)
    info = tmp_path / "shouting_checks-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-checks\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[fairmark.graders]\nshouts = shouting_checks:CHECK\nexact = shouting_checks:CHECK\nodd = shouting_checks:STRANGE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return


@pytest.mark.usefixtures("stranger")
def test_a_check_of_an_installed_package(make_check: Callable[..., Any], make_item: Callable[..., Item]) -> None:
    grader = make_check("shouts")
    assert grader.read(make_item("HEY"), None) == Verdict("pass", "It shouts.")
    assert make_check("shouts", quiet=True).read(make_item("HEY"), None) == Verdict("fail", "It shouts.")
    assert grader.identity()["package"] == "shouting-checks 1.2"
    assert grader.read(make_item("crash"), None) == Failure("code_error", "shouts (shouting-checks 1.2)", "ZeroDivisionError: oops")


@pytest.mark.usefixtures("stranger")
def test_ours_are_not_replaced_and_strangers_are_offered(
    make_check: Callable[..., Any], make_item: Callable[..., Item], make_study: Any
) -> None:
    assert make_check("exact", "HEY").read(make_item("hey"), None).label == "fail"
    assert make_check("exact", "HEY").identity()["package"] == ""
    (problem,) = graders.problems(make_study(check("shout")))
    assert problem.remedy == "did you mean `shouts`?"
    assert problem.allowed.endswith("python, odd, shouts")


def test_no_check_takes_an_option_that_the_house_uses_itself() -> None:
    taken = {"check", "criterion", "criteria", "value", "function", "cuts"}
    assert not {(kind, option) for kind, known in graders.CHECKS.items() for option in known.options if option in taken}
