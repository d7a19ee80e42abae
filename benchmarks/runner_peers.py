"""The same work through other harnesses, each by its own main path in an environment that `runner_peers.sh` makes.

Each is run as cheaply as it offers: no display, no telemetry, as many requests in flight as fairmark has. What it says at the
end has to be right for every case, or its time does not count.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


@dataclass(frozen=True)
class Peer:
    """A harness and how it is told to do the work."""

    name: str  # of its package, and of its environment
    command: Callable[[Path, str, int], list[str]]  # of the folder, the endpoint's address and the requests in flight
    right: Callable[[Path, str], float]  # the share of cases it says are right, from its folder and what it printed
    prepare: Callable[[Path, str], None] | None = None  # writes its own files beside cases.jsonl
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return ROOT / f".venv-{self.name}"

    def version(self) -> str | None:
        """Which version is installed, or None."""
        if self.name == "promptfoo":
            manifest = self.home / "node_modules" / "promptfoo" / "package.json"
            return json.loads(manifest.read_text())["version"] if manifest.exists() else None
        python = self.home / "bin" / "python"
        if not python.exists():
            return None
        ask = [str(python), "-c", f"from importlib.metadata import version; print(version('{self.name}'))"]
        return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() or None


def _bin(peer: str, name: str) -> str:
    return str(ROOT / f".venv-{peer}" / "bin" / name)


def _inspect_files(folder: Path, _: str) -> None:
    shutil.copy(HERE / "peers" / "inspect_work.py", folder)  # it reads tasks below the working folder alone


def _inspect(folder: Path, url: str, in_flight: int) -> list[str]:
    command = [_bin("inspect-ai", "inspect"), "eval", "inspect_work.py", "-T", f"cases={folder / 'cases.jsonl'}"]
    command += ["--model", "openai-api/stub/m", "--model-base-url", url, "--log-dir", str(folder / "logs"), "--display", "none"]
    return [*command, "--max-connections", str(in_flight), "--max-samples", str(in_flight)]


def _inspect_right(folder: Path, _: str) -> float:
    read = (
        "import sys; from inspect_ai.log import list_eval_logs, read_eval_log; "
        "found = read_eval_log(list_eval_logs(sys.argv[1])[0], header_only=True); "
        "print(found.results.scores[0].metrics['accuracy'].value)"
    )
    done = subprocess.run([_bin("inspect-ai", "python"), "-c", read, str(folder / "logs")], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _deepeval(folder: Path, url: str, in_flight: int) -> list[str]:
    work = str(HERE / "peers" / "deepeval_work.py")
    return [_bin("deepeval", "python"), work, str(folder / "cases.jsonl"), url, str(in_flight)]


def _rubricon_files(folder: Path, _: str) -> None:
    (folder / "rubricon.yaml").write_text("project: work\n")
    suite = "name: work\ndataset: cases.jsonl\ntarget: {kind: prompt, model: m, prompt: Answer.}\nscorers:\n  - code: exact_match\n"
    (folder / "suite.yaml").write_text(suite)


def _lm_eval_files(folder: Path, _: str) -> None:
    task = {
        "task": "work",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "cases.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{input}}",
        "doc_to_target": "{{expected}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 64},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "work.yaml").write_text(json.dumps(task))  # JSON is YAML


def _lm_eval(folder: Path, url: str, in_flight: int) -> list[str]:
    settings = f"model=m,base_url={url}/chat/completions,num_concurrent={in_flight},max_retries=3,tokenized_requests=False"
    command = [_bin("lm-eval", "lm_eval"), "--model", "local-chat-completions", "--model_args", settings, "--tasks", "work"]
    return [*command, "--include_path", str(folder), "--apply_chat_template", "--output_path", str(folder / "out")]


def _lm_eval_right(folder: Path, _: str) -> float:
    found = json.loads(next((folder / "out").rglob("results_*.json")).read_text())
    return float(found["results"]["work"]["exact_match,none"])


def _promptfoo_files(folder: Path, url: str) -> None:
    cases = [json.loads(row) for row in (folder / "cases.jsonl").read_text().splitlines()]
    tests = [
        {"vars": {"input": case["input"], "expected": case["expected"]}, "assert": [{"type": "equals", "value": "{{expected}}"}]}
        for case in cases
    ]
    (folder / "tests.json").write_text(json.dumps(tests))
    provider = {"id": "openai:chat:m", "config": {"apiBaseUrl": url}}
    plan = {"prompts": ["{{input}}"], "providers": [provider], "tests": "file://tests.json"}
    (folder / "promptfooconfig.json").write_text(json.dumps(plan))


def _promptfoo(folder: Path, _: str, in_flight: int) -> list[str]:
    program = str(ROOT / ".venv-promptfoo" / "node_modules" / ".bin" / "promptfoo")
    command = [program, "eval", "-c", "promptfooconfig.json", "--no-cache", "-j", str(in_flight)]
    return [*command, "--no-progress-bar", "--no-table", "-o", str(folder / "out.json")]


def _promptfoo_right(folder: Path, _: str) -> float:
    stats = json.loads((folder / "out.json").read_text())["results"]["stats"]
    return float(stats["successes"] / (stats["successes"] + stats["failures"] + stats["errors"]))


PEERS = (
    Peer("inspect-ai", _inspect, _inspect_right, _inspect_files, {"STUB_API_KEY": "stub"}),
    Peer(
        "promptfoo",
        _promptfoo,
        _promptfoo_right,
        _promptfoo_files,
        {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1"},
    ),
    Peer(
        "rubricon-eval",
        lambda _, __, in_flight: [_bin("rubricon-eval", "rubricon"), "eval", "suite.yaml", "-c", str(in_flight), "--json"],
        lambda _, said: float(json.loads(said[said.index("{") :])["scorers"]["exact_match"]["mean"]),
        _rubricon_files,
        {"OPENROUTER_API_KEY": "stub"},
    ),
    Peer(
        "deepeval",
        _deepeval,
        lambda _, said: float(said.strip().splitlines()[-1]),
        env={"DEEPEVAL_TELEMETRY_OPT_OUT": "1", "DEEPEVAL_NO_INSPECT_PROMPT": "1", "ERROR_REPORTING": "0"},
    ),
    Peer("lm-eval", _lm_eval, _lm_eval_right, _lm_eval_files, {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}),
)


def surroundings(peer: Peer, folder: Path, url: str) -> dict[str, str]:
    """The environment variables of a peer: whatever it writes at home goes into the folder of the work."""
    at_home = {"HOME": folder, "HF_HOME": folder / "hf", "PROMPTFOO_CONFIG_DIR": folder / "promptfoo", "XDG_CACHE_HOME": folder / "cache"}
    places = {name: str(path) for name, path in at_home.items()}
    return {**places, "STUB_BASE_URL": url, "RUBRICON_BASE_URL": url, "PYTHONPATH": "", "OPENAI_API_KEY": "stub", **peer.env}
