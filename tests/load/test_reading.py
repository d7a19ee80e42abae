"""What study, rubric, cases and their companions mean."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fairmark import load
from fairmark.errors import Mistake
from fairmark.records import Message
from fairmark.rubric import Level
from fairmark.study import Budget, Hypothesis, Mark, ModelSpec, Plan, deviations
from tests.load.files import CASES, RUBRIC, STUDY, write


def with_system(entry: str) -> str:
    return STUDY.replace("  bare: {model: local/smollm2}\n", f"  bare: {entry}\n")


def with_grader(entry: str) -> str:
    return STUDY.replace("{llm: openai/some-model, criteria: [resolves]}", entry)


def test_a_study_of_every_part(tmp_path: Path) -> None:
    study = load.study(write(tmp_path))
    assert study.folder == tmp_path
    assert [case.id for case in study.cases] == ["c1", "c2", "c3"]
    assert study.cases[1].input == (Message("user", "Show me my data."),)
    assert study.cases[1].fields == {"customer": "bob", "topic": "access"}
    assert study.cases[1].where == "cases.jsonl:2"
    assert study.systems["guided"].model == ModelSpec("local", "smollm2", {"temperature": 0})
    assert study.systems["guided"].prompt == "You answer privacy requests.\n\n{{input}}\n"
    assert study.graders["words"].check == "max_words"
    assert study.graders["words"].value == 60
    assert study.graders["judge"].model == ModelSpec("openai", "some-model", {"temperature": 0})
    assert study.hypotheses == (Hypothesis("H1", "better", "guided", "resolves>=meets", "", "bare", 0.05, None, True),)
    assert study.plan == Plan()


def test_no_and_yes_stay_text(tmp_path: Path) -> None:
    study = load.study(write(tmp_path))
    assert study.rubric["brief"].level_names() == ("no", "yes")


@pytest.mark.parametrize("name", ["no", "yes", "on", "off", "null", "true", "1", "1.0", "2026-11-24", "~"])
def test_a_level_keeps_the_name_as_it_was_written(name: str, tmp_path: Path) -> None:
    levels = f"      - {name}: It has more than 60 words.\n      - other: It has fewer.\n"
    text = RUBRIC[: RUBRIC.index("      - no:")].replace("Is the answer short?", f"x\n    pass: {name}") + levels
    criterion = load.study(write(tmp_path, {"rubric.yaml": text})).rubric["brief"]
    assert criterion.level_names() == (name, "other")
    assert criterion.pass_at == (None if name in ("null", "~") else name)


def test_the_forms_of_levels_say_the_same(tmp_path: Path) -> None:
    long = RUBRIC.replace("- meets: The request is settled.", "- {level: meets, anchor: The request is settled.}")
    mapping = RUBRIC.replace("      - misses:", "      misses:").replace("      - meets:", "      meets:")
    studies = [load.study(write(tmp_path, {"rubric.yaml": text})) for text in (RUBRIC, long, mapping)]
    assert studies[0].rubric == studies[1].rubric == studies[2].rubric
    assert studies[0].rubric["resolves"].levels == (Level("misses", "The request is left open."), Level("meets", "The request is settled."))


def test_a_rubric_may_stand_in_the_study(tmp_path: Path) -> None:
    inline = STUDY.replace("rubric: rubric.yaml\n", "rubric:\n" + "".join(f"  {line}\n" for line in RUBRIC.splitlines()))
    assert load.study(write(tmp_path, {"study.yaml": inline})).rubric == load.study(write(tmp_path)).rubric


def test_every_setting_of_a_criterion(tmp_path: Path) -> None:
    rubric = """\
criteria:
  resolves:
    question: q
    levels: [{level: misses, anchor: a, value: 0}, {level: meets, anchor: b, value: 0.5}, {level: shines, anchor: c, value: 1}]
    pass: meets
    weight: -2
    gate: true
    not_applicable: true
    guidance: hard cases
    examples: [{response: r, level: meets, reason: because, input: i}]
  brief: {question: q, range: [0, 10], pass: 5}
"""
    study = load.study(write(tmp_path, {"rubric.yaml": rubric}))
    resolves, brief = study.rubric
    assert [level.value for level in resolves.levels] == [0, 0.5, 1]
    assert (resolves.pass_at, resolves.weight, resolves.gate, resolves.not_applicable) == ("meets", -2, True, True)
    assert (resolves.guidance, resolves.examples[0].level) == ("hard cases", "meets")
    assert (brief.scale, brief.range, brief.pass_at) == ("interval", (0, 10), "5")


def test_a_line_separator_does_not_split_a_row(tmp_path: Path) -> None:
    rows = '{"id": "c1", "input": "a\u2028b\u2029c\u0085d\x0be"}\r\n\n{"id": "c2", "input": "x"}'.replace("\x0b", "\\u000b")
    cases = load.study(write(tmp_path, {"cases.jsonl": rows})).cases
    assert [case.text for case in cases] == ["a\u2028b\u2029c\u0085d\x0be", "x"]
    assert cases[1].where == "cases.jsonl:3"


def test_a_conversation_and_a_structured_reference(tmp_path: Path) -> None:
    rows = '{"id": 7, "input": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "expected": {"a": 1}}\n'
    (case,) = load.study(write(tmp_path, {"cases.jsonl": rows})).cases
    assert (case.id, case.expected) == ("7", '{"a": 1}')
    assert case.input == (Message("system", "s"), Message("user", "u"))


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_cases_from_csv(sign: str, tmp_path: Path) -> None:
    text = 'id,input,expected,note\r\nc1,"a,b;c\nd ""e""",yes,\r\nc2,x,,n\r\n'
    text = text if sign == "," else 'id,input,expected,note\n"c1","a,b;c\nd ""e""","yes",\nc2,x,,n\n'
    rows = text.replace('"a,b;c', "\0").replace(",", sign).replace("\0", '"a,b;c')
    cases = load.study(write(tmp_path, {"study.yaml": STUDY.replace("cases.jsonl", "cases.csv"), "cases.csv": rows})).cases
    assert [(case.id, case.text, case.expected, dict(case.fields), case.where) for case in cases] == [
        ("c1", 'a,b;c\nd "e"', "yes", {}, "cases.csv:2"),
        ("c2", "x", None, {"note": "n"}, "cases.csv:4"),
    ]


def test_a_long_cell_is_read(tmp_path: Path) -> None:
    rows = "id,input\nc1," + "x" * 300_000 + "\n"
    cases = load.study(write(tmp_path, {"study.yaml": STUDY.replace("cases.jsonl", "cases.csv"), "cases.csv": rows})).cases
    assert len(cases[0].text) == 300_000


def test_several_case_files_are_one_set(tmp_path: Path) -> None:
    files = {
        "study.yaml": STUDY.replace("cases: cases.jsonl", "cases: [cases.jsonl, more.jsonl]"),
        "more.jsonl": '{"id": "d1", "input": "x"}',
    }
    assert [case.id for case in load.study(write(tmp_path, files)).cases] == ["c1", "c2", "c3", "d1"]


@pytest.mark.parametrize("written", ["openai/org/model", "openai:org/model"])
def test_both_spellings_of_a_model(written: str, tmp_path: Path) -> None:
    entry = f"{{model: '{written}', api_key: env:KEY, base_url: 'http://127.0.0.1:8000/v1', "
    entry += "max_tokens: 80, seed: 1, top_p: 0.5, stop: END, seconds: 9}"
    system = load.study(write(tmp_path, {"study.yaml": with_system(entry)})).systems["bare"]
    options = {"max_tokens": 80, "seed": 1, "top_p": 0.5, "stop": ["END"]}
    assert system.model == ModelSpec("openai", "org/model", options, "http://127.0.0.1:8000/v1", "env:KEY")
    assert system.options == {"seconds": 9}


def test_whole_temperatures_are_one_however_they_are_written(tmp_path: Path) -> None:
    prints = {
        load.study(write(tmp_path, {"study.yaml": STUDY.replace("temperature: 0", f"temperature: {t}")})).fingerprint()
        for t in ("0", "0.0", "0e0")
    }
    assert len(prints) == 1


def test_a_graders_temperature_can_be_left_to_the_endpoint(tmp_path: Path) -> None:
    study = load.study(
        write(tmp_path, {"study.yaml": with_grader("{llm: openai/x, criterion: resolves, temperature: null, repeats: 3, evidence: false}")})
    )
    judge = study.graders["judge"]
    assert judge.model == ModelSpec("openai", "x")
    assert (judge.repeats, judge.options) == (3, {"evidence": False})


def test_a_local_model_file(tmp_path: Path) -> None:
    write(tmp_path, {"study.yaml": with_system("{local: models/a.gguf}"), "models/a.gguf": b"GGUF\x03"})
    assert load.study(tmp_path).systems["bare"].model == ModelSpec("local", "models/a.gguf")
    (tmp_path / "models" / "a.gguf").write_bytes(b"<html>")
    with pytest.raises(Mistake, match="not a GGUF file"):
        load.study(tmp_path)


def test_an_application_behind_an_address(tmp_path: Path) -> None:
    entry = (
        "{http: {url: 'http://127.0.0.1/ask', headers: {Authorization: 'Bearer env:TOKEN', X-Trace: 1}, "
        "body: {q: '{{input}}', n: [1, 2.5, null, no]}, answer: '$.a[0].b'}, version: 1.10}"
    )
    system = load.study(write(tmp_path, {"study.yaml": with_system(entry)})).systems["bare"]
    assert (system.url, system.method, system.answer, system.version) == ("http://127.0.0.1/ask", "POST", "$.a[0].b", "1.10")
    assert system.headers == {"Authorization": "Bearer env:TOKEN", "X-Trace": "1"}
    assert system.body == {"q": "{{input}}", "n": [1, 2.5, None, "no"]}


def test_a_python_function_is_named_by_its_code_and_never_run(tmp_path: Path) -> None:
    code = "raise SystemExit('must not run')\nif True:\n    def answer(text): return text\n"
    system = load.study(write(tmp_path, {"study.yaml": with_system("{python: 'app.py:answer'}"), "app.py": code})).systems["bare"]
    assert (system.target, system.code) == ("app.py:answer", hashlib.sha256(code.encode()).hexdigest())


def test_a_command(tmp_path: Path) -> None:
    system = load.study(write(tmp_path, {"study.yaml": with_system("{command: [echo, '{{input}}', 3], version: a}")})).systems["bare"]
    assert system.command == ("echo", "{{input}}", "3")


def test_a_recording_with_trials_of_several_systems(tmp_path: Path) -> None:
    rows = "number,who,n,said\nc1,bare,1,one\nc1,bare,2,two\nc1,other,1,three\nc2,bare,1,\n"
    entry = "{recorded: answers.csv, columns: {case: number, system: who, trial: n, output: said}}"
    study = load.study(write(tmp_path, {"study.yaml": with_system(entry) + "trials: 2\n", "answers.csv": rows}))
    assert study.systems["bare"].recorded == {("c1", 1): "one", ("c1", 2): "two", ("c2", 1): ""}
    assert study.systems["bare"].recorded_from == "answers.csv"


def test_recorded_marks(tmp_path: Path) -> None:
    rows = "case,system,criterion,rater,label,reason\nc1,bare,resolves,ana,meets,fine\n"
    rows += "c1,bare,resolves,ben,cannot tell,\nc2,guided,brief,ana,no,\n"
    study = load.study(
        write(tmp_path, {"study.yaml": with_grader("{recorded: marks.csv, chosen: random, guideline: v1}"), "marks.csv": rows})
    )
    people = study.graders["judge"]
    assert people.criteria == ("resolves", "brief")
    assert (people.chosen, people.guideline, people.marks_from) == ("random", "v1", "marks.csv")
    assert people.marks[0] == Mark("c1", "bare", 1, "resolves", "ana", "meets", "fine", None, "marks.csv:2")
    assert len(people.marks) == 3


def test_marks_on_a_scale_of_numbers_have_one_spelling(tmp_path: Path) -> None:
    files = {
        "rubric.yaml": "criteria:\n  resolves: {question: q, range: [0, 10]}\n  brief: {question: q, levels: {no: a, yes: b}}\n",
        "study.yaml": with_grader("{recorded: marks.csv, criterion: resolves}").replace("resolves>=meets", "resolves>=5"),
        "marks.csv": "case,system,label\nc1,bare,3.0\nc2,bare,3.50\nc3,bare,-0\n",
    }
    assert [mark.label for mark in load.study(write(tmp_path, files)).graders["judge"].marks] == ["3", "3.5", "0"]


def test_calibration(tmp_path: Path) -> None:
    rows = '{"id": "k1", "input": "x", "output": "y", "expected": "z", "marks": {"brief": "yes"}, "topic": "t"}\n'
    files = {"study.yaml": STUDY + "calibration: {items: k.jsonl, marked_by: development marks}\n", "k.jsonl": rows}
    calibration = load.study(write(tmp_path, files)).calibration
    assert calibration is not None
    (item,) = calibration.items
    assert (calibration.marked_by, calibration.source, item.marks) == ("development marks", "k.jsonl", {"brief": "yes"})
    assert (item.item.case_id, item.item.output, item.item.reference, item.item.fields) == ("k1", "y", "z", {"topic": "t"})


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{system: bare, at_least: 0.8, on: score}", Hypothesis("H1", "at_least", "bare", "score", margin=0.8)),
        ("{system: bare, at_most: 0, on: brief >= yes}", Hypothesis("H1", "at_most", "bare", "brief>=yes", margin=0.0)),
        (
            "{system: bare, no_worse_than: guided, margin: 0.1, on: brief}",
            Hypothesis("H1", "no_worse_than", "bare", "brief", than="guided", margin=0.1),
        ),
        (
            "{better: bare, than: guided, on: score, worth_finding: 0.2, text: t}",
            Hypothesis("H1", "better", "bare", "score", "t", "guided", 0.0, 0.2),
        ),
    ],
)
def test_hypotheses(entry: str, expected: Hypothesis, tmp_path: Path) -> None:
    text = STUDY.replace("{better: guided, than: bare, on: resolves>=meets, by: 0.05, primary: true}", entry)
    assert load.study(write(tmp_path, {"study.yaml": text})).hypotheses == (expected,)


def test_the_smaller_settings(tmp_path: Path) -> None:
    more = "cluster: customer\ngroups: topic\ntrials: 3\nplan: {alpha: 0.05, power: 0.9}\nbudget: {usd: 2, calls: 10, minutes: 1.5}\n"
    more += "concurrency: 2\ninterests: {built_by: us}\npopulation: {topic: [access, deletion]}\n"
    study = load.study(write(tmp_path, {"study.yaml": STUDY + more}))
    assert (study.cluster, study.groups, study.trials, study.concurrency) == ("customer", ("topic",), 3, 2)
    assert (study.plan, study.budget) == (Plan(0.05, 0.9), Budget(2, 10, 1.5))
    assert (study.interests, study.population) == ({"built_by": "us"}, {"topic": ("access", "deletion")})


def test_a_stop_is_read_and_frozen_and_the_default_changes_no_fingerprint(tmp_path: Path) -> None:
    at_the_end = load.study(write(tmp_path))
    said = load.study(write(tmp_path, {"study.yaml": STUDY + "plan: {stop: at-the-end}\n"}))
    assert said.fingerprint() == at_the_end.fingerprint()
    text = STUDY.replace("on: resolves>=meets", "on: brief>=yes") + "plan: {stop: when-decided}\n"
    study = load.study(write(tmp_path, {"study.yaml": text}))
    assert study.plan == Plan(stop="when-decided")
    assert study.document()["plan"]["stop"] == "when-decided"
    assert [found.what for found in deviations(said.document(), replace(said, plan=study.plan).document())] == ["plan"]


def test_aliases_within_reason_are_read(tmp_path: Path) -> None:
    text = STUDY.replace("{model: local/smollm2}\n", "&m {model: local/smollm2}\n").replace("  guided:", "  twin: *m\n  guided:")
    systems = load.study(write(tmp_path, {"study.yaml": text})).systems
    assert replace(systems["twin"], name="bare") == systems["bare"]


def test_a_file_may_be_named_and_all_files_read_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"other.study.yaml": STUDY})
    assert load.study(tmp_path / "other.study.yaml").name == "helpdesk"
    files = [path.relative_to(tmp_path).as_posix() for path in load.study_files(tmp_path / "other.study.yaml")]
    assert sorted(files) == ["cases.jsonl", "other.study.yaml", "prompts/guided.md", "rubric.yaml"]


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRMARK_TEST_WINS", "process")
    text = "# keys\nexport A=1 # one\nB='x # y'\nC=\"l\\nm\"\nFAIRMARK_TEST_WINS=file\nEMPTY=\nURL=http://h/#x\n"
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    found = load.environment(tmp_path)
    assert [found[name] for name in ("A", "B", "C", "EMPTY", "URL")] == ["1", "x # y", "l\nm", "", "http://h/#x"]
    assert found["FAIRMARK_TEST_WINS"] == "process"
    assert load.environment(tmp_path / "nowhere") == dict(os.environ)


def test_a_broken_env_file_is_placed_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nKEY='hush\n", encoding="utf-8")
    with pytest.raises(Mistake) as raised:
        load.environment(tmp_path)
    assert raised.value.problems[0].position == ".env:2:1"
    assert "hush" not in str(raised.value)


def test_cases_alone_do_not_depend_on_the_folder_we_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "deep")
    monkeypatch.chdir(tmp_path)
    study = load.study(Path("deep"))
    assert study.folder.is_absolute()
    assert len(study.cases) == CASES.count("\n")


def test_people_are_a_grader_among_the_others(tmp_path: Path) -> None:
    item = '{"id": "t1", "input": "Hello", "output": "Hi.", "marks": {"brief": "yes"}}\n'
    people = (
        "people: {roster: [ana, ben], share: 30%, together: 2, strata: resolves, show: [input, topic], training: t.jsonl, guideline: g.md}"
    )
    study = load.study(write(tmp_path, {"study.yaml": STUDY + people + "\n", "t.jsonl": item, "g.md": "Mark what is there."}))
    assert study.people is not None
    assert (study.people.share, study.people.twice, study.people.repeats, study.people.together) == (0.3, 0.2, 0.05, 2)
    assert (study.people.criteria, study.people.show) == (("resolves", "brief"), ("input", "topic"))
    assert study.people.training is not None and study.people.training.items[0].marks == {"brief": "yes"}
    spec = study.graders["people"]
    assert (spec.kind, spec.chosen, spec.guideline) == ("people", "stratified", study.people.version)
    assert spec.guideline != ""


def test_a_study_that_only_people_mark_needs_no_graders(tmp_path: Path) -> None:
    text = STUDY[: STUDY.index("graders:")] + "people: {roster: ana}\n"
    study = load.study(write(tmp_path, {"study.yaml": text}))
    assert list(study.graders) == ["people"] and study.graders["people"].chosen == "all"
    assert study.people is not None and study.people.twice == 0.0
