"""The command line as a person meets it: in a process of its own, on a scaffolded study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def fairmark(*arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fairmark.cli", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=env, timeout=120
    )


def document(*arguments: str | Path, cwd: Path | None = None, code: int = 0) -> Any:
    done = fairmark(*arguments, "--json", cwd=cwd)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def scaffold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "my-study"
    assert fairmark("init", folder).returncode == 0
    return folder


def test_a_scaffolded_study_checks_plans_runs_and_reports(scaffold: Path) -> None:
    assert document("check", "-c", scaffold)["cases"] >= 10
    plan = document("plan", "-c", scaffold)
    assert plan["calls"] == 2 * plan["n_cases"]
    first = document("run", "-c", scaffold)
    tally = first["tally"]
    assert tally["planned"] == tally["answered"] + tally["failed"] + tally["pending"]
    assert tally["calls"] == plan["calls"]
    again = document("run", "-c", scaffold)
    assert again["tally"]["calls"] == 0
    assert [h["verdict"] for h in again["analysis"]["hypotheses"]] == [h["verdict"] for h in first["analysis"]["hypotheses"]]
    for ending in ("html", "md", "json"):
        out = scaffold / f"out.{ending}"
        assert document("report", out, "-c", scaffold)["report"] == str(out)
        assert out.stat().st_size > 1000
    assert document("calibrate", "-c", scaffold)["trust"] == []
    assert document("analyse", "-c", scaffold)["study"]


def test_plain_output_has_no_colour_codes_and_says_what_next(scaffold: Path) -> None:
    done = fairmark("run", "-c", scaffold)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "Next: fairmark report" in done.stdout
    for line in ("planned =", "answered", "failed", "pending"):
        assert line in done.stdout


def test_events_are_json_lines_on_stderr(scaffold: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    assert fairmark("init", fresh).returncode == 0
    done = fairmark("run", "-c", fresh, "--events", "--json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events
    assert all("event" in event for event in events)
    json.loads(done.stdout)


def test_a_mistake_exits_with_2_and_names_the_place(scaffold: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    assert fairmark("init", broken).returncode == 0
    study = broken / "study.yaml"
    study.write_text(study.read_text().replace("hypotheses:", "hypothesis:", 1))
    done = fairmark("check", "-c", broken)
    assert done.returncode == 2
    assert "study.yaml:" in done.stderr
    assert "did you mean `hypotheses`?" in done.stderr
    assert "Traceback" not in done.stderr
    error = document("check", "-c", broken, code=2)["error"]
    assert error["code"] == "MISTAKE"
    assert error["problems"][0]["line"] > 1


def test_a_folder_without_a_study_exits_with_2(tmp_path: Path) -> None:
    done = fairmark("run", "-c", tmp_path)
    assert done.returncode == 2
    assert "study.yaml" in done.stderr


def test_an_unknown_command_is_met_with_the_nearest(tmp_path: Path) -> None:
    done = fairmark("repot")
    assert done.returncode == 2
    assert "Did you mean 'report'" in done.stderr


def test_analysing_before_a_run_exits_with_1(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert fairmark("init", folder).returncode == 0
    done = fairmark("analyse", "-c", folder)
    assert done.returncode == 1
    assert "fairmark run" in done.stderr


def _marks(path: Path, better: int, n: int = 40) -> Path:
    rows = ["case,system,label"]
    rows += [f"c{i},new,{int(i < better)}" for i in range(n)]
    rows += [f"c{i},old,{int(i < 10)}" for i in range(n)]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_bare_table_gets_a_verdict(tmp_path: Path) -> None:
    found = document("analyse", _marks(tmp_path / "marks.csv", 35), "--better", "new", "--than", "old")
    assert found["hypotheses"][0]["verdict"] == "supported"
    assert found["hypotheses"][0]["estimate"]["value"] == pytest.approx(25 / 40)


@pytest.mark.parametrize(("threshold", "code"), [(0.1, 0), (0.99, 100), (0.5, 101)])
def test_the_gate_has_three_ends(tmp_path: Path, threshold: float, code: int) -> None:
    folder = tmp_path / "gated"
    folder.mkdir()
    (folder / "app.py").write_text("def answer(text):\n    return 'yes' if int(text) % 2 else 'no'\n")
    (folder / "cases.jsonl").write_text("".join(json.dumps({"id": f"c{i}", "input": str(i)}) + "\n" for i in range(40)))
    (folder / "study.yaml").write_text(
        f"""study: gated
question: Does it say yes?
cases: cases.jsonl
systems:
  app: {{python: "app.py:answer"}}
rubric:
  rubric: one
  criteria:
    agrees:
      question: Does the answer say yes?
      levels:
        - "no": the answer does not say yes
        - "yes": the answer says yes
graders:
  says: {{check: exact, value: "yes", criterion: agrees}}
hypotheses:
  H1: {{text: It says yes often enough, system: app, at_least: {threshold}, on: agrees, primary: true}}
"""
    )
    assert fairmark("run", "-c", folder, "--quiet").returncode == 0
    assert document("gate", "-c", folder, code=code)["exit"] == code


def test_selfcheck_passes_and_a_wrong_value_fails(tmp_path: Path) -> None:
    assert document("selfcheck")["failed"] == []
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps([{"id": "X", "kind": "wilson", "input": [[81, 263]], "expected": [[0.3, 0.4]], "tol": 1e-5}]))
    failed = document("selfcheck", wrong, code=1)["failed"]
    assert failed[0]["id"] == "X"


SHARED = Path(__file__).parents[2] / "shared" / "methods_checks.json"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared reference values are not here")
def test_selfcheck_reproduces_the_first_statistics_of_the_shared_file(tmp_path: Path) -> None:
    wanted = {f"P0{n}" for n in range(1, 10)} | {"P08b", "P36"}
    chosen = [check for check in json.loads(SHARED.read_text()) if check["id"] in wanted]
    assert len(chosen) == 11
    file = tmp_path / "chosen.json"
    file.write_text(json.dumps(chosen))
    assert document("selfcheck", file) == {"passed": 11, "failed": []}


def test_doctor_names_keys_and_never_shows_them(tmp_path: Path) -> None:
    import os

    canary = "sk-canary-0123456789"
    done = fairmark("doctor", cwd=tmp_path, env=os.environ | {"OPENAI_API_KEY": canary})
    assert done.returncode == 0
    assert canary not in done.stdout + done.stderr
    assert "OPENAI_API_KEY" in done.stdout


def test_forget_removes_the_texts_from_the_files(scaffold: Path, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    assert fairmark("init", folder).returncode == 0
    rows = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    assert fairmark("run", "-c", folder, "--quiet").returncode == 0
    assert document("store", "forget", rows[0]["id"], "-c", folder)["emptied"] > 0
    assert document("store", "forget", rows[0]["id"], "-c", folder)["emptied"] == 0


def test_the_store_can_be_checked(scaffold: Path) -> None:
    assert fairmark("run", "-c", scaffold, "--quiet").returncode == 0
    found = document("store", "check", "-c", scaffold)
    assert found["integrity"] == "ok"
    assert found["sent_and_never_answered"] == []
    assert found["counts"]["responses"] == 24


def test_help_names_every_command() -> None:
    done = fairmark("--help")
    for command in [
        "demo",
        "init",
        "check",
        "plan",
        "run",
        "calibrate",
        "analyse",
        "report",
        "verify",
        "gate",
        "selfcheck",
        "doctor",
        "store",
    ]:
        assert command in done.stdout


def test_a_run_on_a_place_that_nobody_knows_is_a_mistake(scaffold: Path) -> None:
    problem = document("run", "-c", scaffold, "--on", "slurm", code=2)["error"]["problems"][0]
    assert (problem["found"], problem["allowed"]) == (
        "`slurm` is no place to run on",
        "ray, or ray://host:port for a cluster of that address",
    )
