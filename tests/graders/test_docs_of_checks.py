"""The pages on checks and the LLM grader say what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fairmark import graders
from fairmark.graders import CHECKS, Setting
from fairmark.graders.llm import OPTIONS
from fairmark.records import Item, Verdict
from fairmark.study import GraderSpec, Study

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "checks.md").read_text(encoding="utf-8")
SECTIONS = {part.split("`", 1)[0]: part for part in PAGE.split("\n### `")[1:]}


def row(name: str, setting: Setting) -> str:
    default = "needed" if setting.required else "not set" if setting.default is None else f"`{json.dumps(setting.default)}`"
    return f"| `{name}` | {setting.allowed()} | {default} | {setting.says} |"


def test_the_page_has_every_check_in_the_order_of_the_code() -> None:
    assert list(SECTIONS) == list(CHECKS)


@pytest.mark.parametrize("kind", CHECKS)
def test_a_section_lists_exactly_the_settings_there_are(kind: str) -> None:
    check = CHECKS[kind]
    settings = {"function" if kind == "python" else "value": check.value} if check.value else {}
    wanted = [row(name, setting) for name, setting in (settings | dict(check.options)).items()]
    table = SECTIONS[kind].split("```yaml")[0]
    assert [line for line in table.split("\n") if line.startswith("| `")] == wanted
    assert check.says in table
    assert f"It sees: {', '.join(check.sees)}" in table
    assert ("reference where there is no `value`" in table) == check.or_reference


@pytest.mark.parametrize("kind", CHECKS)
def test_the_example_marks_as_it_says(kind: str, make_study: Callable[..., Study], make_item: Callable[..., Item], tmp_path: Path) -> None:
    section = SECTIONS[kind]
    entry: dict[str, Any] = next(iter(YAML(typ="safe").load(section.split("```yaml\n")[1].split("```")[0]).values()))
    if code := re.search(r"```python\n(.*?)```", section, re.DOTALL):
        (tmp_path / "checks.py").write_text(code[1])
    options = {key: value for key, value in entry.items() if key not in ("check", "criterion", "value", "function")}
    spec = GraderSpec(
        "g", "check", (entry["criterion"],), check=entry["check"], value=entry.get("value"), options=options, target=entry.get("function")
    )
    (grader,) = graders.build(make_study(spec, folder=tmp_path))
    examples = re.findall(r"^\| `(.*)` \| (\w+) \|$", section.split("```yaml")[1], re.MULTILINE)
    assert len({label for _, label in examples}) >= 2
    for response, label in examples:
        verdict = grader.read(make_item(response), None)
        assert isinstance(verdict, Verdict)
        assert verdict.label == label, (response, verdict)


def test_the_options_of_the_llm_grader_are_listed() -> None:
    page = (DOCS / "how-to" / "llm-grader.md").read_text(encoding="utf-8")
    for name, setting in OPTIONS.items():
        assert f"| `{name}` | `{json.dumps(setting.default)}` | {setting.says} |" in page


def test_the_examples_of_the_how_to_run(make_study: Callable[..., Study], make_item: Callable[..., Item], tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "write-a-check.md").read_text(encoding="utf-8")
    own, shared = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "checks.py").write_text(own)
    spec = GraderSpec("g", "check", ("ok",), check="python", target="checks.py:promises_a_deadline")
    (grader,) = graders.build(make_study(spec, folder=tmp_path))
    verdict = grader.read(make_item("In 30 days.", fields={"tier": "new"}), None)
    assert isinstance(verdict, Verdict)
    assert (verdict.label, verdict.reason) == ("pass", "a deadline is named to a new customer")
    assert verdict.evidence[0].found
    names: dict[str, Any] = {}
    exec(shared, names)
    check = names["CHECK"]
    assert check.run(make_item("HEY"), None, {"more_than": 0.5}).result is True
    assert check.run(make_item("Hey"), None, {"more_than": 0.5}).result is False
