"""A first study that runs anywhere at once, for `fairmark init`."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from fairmark.errors import CannotDo, Mistake
from fairmark.load.sources import listed

_FILES = {
    "study.yaml": "template/study.yaml",
    "rubric.yaml": "template/rubric.yaml",
    "cases.jsonl": "template/cases.jsonl",
    "prompts/guided.md": "template/prompts/guided.md",
    "app.py": "template/app.py",
    "checks.py": "template/checks.py",
    ".gitignore": "template/gitignore",
    # beside the study rather than in the installed package, so that the link holds for colleagues too
    "schemas/study.schema.json": "schemas/study.schema.json",
    "schemas/rubric.schema.json": "schemas/rubric.schema.json",
}


def scaffold(folder: Path) -> tuple[Path, ...]:
    """The files written: a study that runs without a network, with every key explained. Nothing is ever overwritten."""
    if folder.exists() and not folder.is_dir():
        raise Mistake.in_call(f"{folder} is a file", allowed="a new folder, or one without these files", remedy="name another folder")
    there = [name for name in _FILES if (folder / name).exists()]
    if there:
        raise Mistake.in_call(
            f"{folder} already holds {listed(there)}", allowed="a folder without these files", remedy="name another folder"
        )
    shipped: Traversable = resources.files("fairmark") / "load"
    name = re.sub(r"[^\w.-]+", "-", folder.absolute().name).strip("-.")[:64]
    written: list[Path] = []
    try:
        for target, source in _FILES.items():
            content = shipped.joinpath(*source.split("/")).read_text(encoding="utf-8")
            if target == "study.yaml" and re.match(r"[^\W\d]", name):
                content = content.replace("study: my-study  ", f"study: {name}  ", 1)
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", newline="\n")
            written.append(path)
    except OSError as error:
        raise CannotDo(
            "CANNOT_WRITE", f"{folder} cannot be written to: {error.strerror or error}", "name a folder that you may write to"
        ) from error
    return tuple(written)
