"""A small study without mistakes, as files, for tests to change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

STUDY = """\
study: helpdesk
question: Is the guided prompt better?
cases: cases.jsonl
systems:
  bare: {model: local/smollm2}
  guided: {model: local/smollm2, prompt: prompts/guided.md, temperature: 0}
rubric: rubric.yaml
graders:
  words: {check: max_words, value: 60, criterion: brief}
  judge: {llm: openai/some-model, criteria: [resolves]}
hypotheses:
  H1: {better: guided, than: bare, on: resolves>=meets, by: 0.05, primary: true}
"""
RUBRIC = """\
rubric: answers
criteria:
  resolves:
    question: Does the answer settle the request?
    levels:
      - misses: The request is left open.
      - meets: The request is settled.
  brief:
    question: Is the answer short?
    levels:
      - no: It has more than 60 words.
      - yes: It has 60 words or fewer.
"""
CASES = """\
{"id": "c1", "input": "Delete my data.", "customer": "ada", "topic": "deletion"}
{"id": "c2", "input": "Show me my data.", "customer": "bob", "topic": "access"}
{"id": "c3", "input": "Correct my name.", "customer": "bob", "topic": "access"}
"""
PROMPT = "You answer privacy requests.\n\n{{input}}\n"
GOOD: Mapping[str, str] = {"study.yaml": STUDY, "rubric.yaml": RUBRIC, "cases.jsonl": CASES, "prompts/guided.md": PROMPT}


def write(folder: Path, changes: Mapping[str, str | bytes] | None = None) -> Path:
    """The folder with the study in it, some files changed or added."""
    for name, content in {**GOOD, **(changes or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return folder
