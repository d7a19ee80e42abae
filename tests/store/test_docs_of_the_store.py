"""The reference page of the store says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import fairmark.store
from fairmark.store.tables import metadata

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "store.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]


def test_every_table_and_column_is_described() -> None:
    described = {row[0].strip("`"): re.findall(r"`(\w+)`", row[2]) for row in _rows("Tables")}
    assert described == {table.name: [column.name for column in table.columns] for table in metadata.sorted_tables}


def test_every_refusal_is_described() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(fairmark.store.__file__).parent.glob("*.py"))
    assert {row[0].strip("`") for row in _rows("What can be refused")} == set(re.findall(r'CannotDo\(\s*"(\w+)"', source))
