"""The page on connecting systems: its examples load and connect, and it names every kind of failure."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fairmark import load, providers
from tests.providers.asking import answer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "connect-a-system.md"
TEXT = PAGE.read_text(encoding="utf-8")
ENV = {"OPENAI_API_KEY": "k1", "ANTHROPIC_API_KEY": "k2", "THEIR_KEY": "k3", "HELPDESK_KEY": "k4"}


def test_the_examples_load_and_connect(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\nsystems:\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "study.yaml").write_text(
        "study: page\nquestion: Do the examples work?\ncases: cases.jsonl\n"
        "rubric: {rubric: r, criteria: {good: {question: Is it good?, levels: [{no: it is not}, {yes: it is}]}}}\n"
        "graders: {long: {check: max_words, value: 9, criterion: good}}\n"
        "systems:\n" + "".join(blocks),
        encoding="utf-8",
    )
    (tmp_path / "cases.jsonl").write_text(json.dumps({"id": "c1", "input": "hello", "expected": "bye", "city": "Rome"}) + "\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "guided.md").write_text("Be kind.\n")
    (tmp_path / "app.py").write_text(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0])
    (tmp_path / "answers.csv").write_text("id,text\nc1,said\n")
    study = load.study(tmp_path)
    assert len(study.systems) == 9
    for spec in study.systems.values():
        question = providers.question(spec, study.cases[0], trial=1)
        assert "bye" not in repr(question)
        if spec.model is None or spec.model.provider != "local":
            provider = providers.connect(spec, env=ENV, folder=tmp_path)
            assert provider.host == providers.destination(spec, ENV).host
    app = study.systems["app"]
    found = answer(providers.connect(app, env=ENV, folder=tmp_path), providers.question(app, study.cases[0], trial=1))
    assert (found.text, found.cost_usd) == ("Dear customer from Rome: ...", 0.002)


def test_every_kind_of_failure_that_a_provider_returns_is_on_the_page() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(providers.__file__).parent.glob("*.py"))
    returned = set(re.findall(r'(?:Failure\(|_failure\(|kind(?:, wait)? = |kind: FailureKind = )\s*"(\w+)"', source))
    assert {"auth", "rate_limited", "code_error", "not_recorded"} <= returned
    assert returned <= set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
