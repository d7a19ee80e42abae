"""The report: one page that anybody can read, with the evidence behind it, as HTML, Markdown or JSON."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from fairmark.errors import CannotDo, Mistake
from fairmark.results import Analysis, Exhibit, as_json

Format = Literal["html", "md", "json"]
FORMATS: dict[str, Format] = {".html": "html", ".md": "md", ".json": "json"}

__all__ = ["html_fragment", "render", "write"]


def render(analysis: Analysis, exhibits: Sequence[Exhibit], *, format: Format) -> str:
    """The whole report as one text."""
    from fairmark.report import page, text

    if format == "html":
        return page.html(analysis, exhibits)
    if format == "md":
        return page.markdown(analysis, exhibits)
    if format == "json":
        return text.json_text(document(analysis, exhibits), indent=2) + "\n"
    raise Mistake.in_call(f"`{format}` is not a format of a report", allowed=", ".join(FORMATS.values()))


def document(analysis: Analysis, exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    """The report as JSON values: the analysis, what may be said, what may not, what to do next, every response."""
    from fairmark.report import sentences

    return {
        "analysis": analysis.as_dict(),
        "say": list(sentences.all_say(analysis)),
        "may_not_say": list(sentences.all_may_not_say(analysis)),
        "next": list(sentences.all_next(analysis)),
        "responses": as_json(tuple(exhibits)),
    }


def html_fragment(analysis: Analysis) -> str:
    """The verdicts and their intervals as a piece of HTML for a notebook."""
    from fairmark.report import page

    return page.fragment(analysis)


def write(path: Path | str, analysis: Analysis, exhibits: Sequence[Exhibit]) -> Path:
    """Writes the report, in the format of its ending, and returns its path. It is there whole or not at all.

    An HTML report of more than 5,000 answers keeps them in a folder of linked pages beside it. `Mistake` for another
    ending, `CannotDo` where the place cannot be written.
    """
    from fairmark.report import browser

    path = Path(path)
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise Mistake.in_call(
            f"`{path.name}` does not end like a report",
            allowed=", ".join(FORMATS),
            remedy=f"name it, for example, `{path.stem or 'report'}.html`",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if format == "html" and len(exhibits) > browser.ONE_FILE:
            _write_folder(path, analysis, exhibits)
        else:
            _replace(path, render(analysis, exhibits, format=format))
    except OSError as error:
        raise CannotDo(
            "CANNOT_WRITE", f"{path} cannot be written: {error.strerror or error}.", "Name a place where you may write."
        ) from error
    return path


def _write_folder(path: Path, analysis: Analysis, exhibits: Sequence[Exhibit]) -> None:
    """The page, and its answers in files beside it. The page comes last, so that what it links to is there."""
    from fairmark.report import browser, page

    folder = path.with_name(f"{path.stem}-files")
    fresh = path.with_name(f".{path.stem}-files-{secrets.token_hex(4)}")
    old = path.with_name(f".{path.stem}-old-{secrets.token_hex(4)}")
    pages = browser.pages(browser.cases(exhibits))
    names = {group[0].page: f"page-{group[0].page}.html" for group in pages}
    try:
        fresh.mkdir()
        for group in pages:
            here = group[0].page
            written = page.answers_html(
                page.title_of(analysis), group, home=f"../{quote(path.name)}", before=names.get(here - 1, ""), after=names.get(here + 1, "")
            )
            (fresh / names[here]).write_text(written, encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        _replace(path, page.html(analysis, exhibits, links={number: f"{quote(folder.name)}/{name}" for number, name in names.items()}))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _replace(path: Path, content: str) -> None:
    """Writes beside the path and moves into place, so that a reader never sees half a report."""
    beside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
