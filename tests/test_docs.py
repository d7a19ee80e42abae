"""The documentation is true: its Python runs, its links lead somewhere, its commands exist, its tree is the tree."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _commands() -> set[str]:
    import typer.main

    from fairmark.cli.app import app

    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_command_reference_is_current() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["page"]
    assert (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    if page.name == "CHANGELOG.md":
        return
    code = "\n".join(block or span for block, span in re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", text, flags=re.DOTALL))
    for command in re.findall(r"(?:^|&& )(?:\S*/)?fairmark ([a-z]+)", code, flags=re.MULTILINE):
        assert command in _commands(), f"{page.name} names `fairmark {command}`"


def test_the_ten_lines_of_python_run_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    exec(code, {})
    assert "H1 supported" in capsys.readouterr().out


def test_the_readmes_tree_names_every_room() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8")
    for room in (ROOT / "src" / "fairmark").iterdir():
        if room.name.startswith("_") or room.name == "py.typed":
            continue
        assert re.search(rf"\b{re.escape(room.name.removesuffix('.py'))}\b", tree), f"README.md does not name {room.name}"


def test_no_page_names_a_path_of_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", page.read_text(encoding="utf-8")), page


def test_pictures_are_light_and_told_in_words() -> None:
    shown = {
        Path(found[1]).name: found[0] for page in PAGES for found in re.findall(r"!\[(.*?)\]\((\S+?)\)", page.read_text(encoding="utf-8"))
    }
    for picture in (ROOT / "docs" / "images").glob("*.png"):
        assert picture.stat().st_size < 150_000, f"{picture.name} is too heavy"
        assert len(shown.get(picture.name, "")) > 10, f"no page shows {picture.name}, or none says what is on it"
