"""`fairmark verify`: whether a store is as it was written, and whether a report rests on it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fairmark.cli import screen
from fairmark.errors import CannotDo, Mistake
from fairmark.store import Place, Store, Verified
from fairmark.workbench import STORE

REPORTS = (".json", ".html")
_EMBEDDED = re.compile(r'<script type="application/json" id="fairmark-analysis">(.*?)</script>', re.DOTALL)


def verify(what: Path | None, config: Path, *, as_json: bool) -> None:
    file, report = (config if config.is_dir() else config.parent) / STORE, None
    if what is not None and what.suffix.lower() in REPORTS:
        report = what
    elif what is not None:
        file = what
    head = head_of(report) if report is not None else ""
    with Store.open(file, read_only=True) as store:
        found = store.verify()
        place = store.place(head) if head else None
    proven = found.proven and (report is None or place is not None)
    if as_json:
        rests = None if report is None else {"file": str(report), "head": head, "place": None if place is None else place._asdict()}
        screen.document({"proven": proven, "store": str(file), **asdict(found), "report": rests})
    else:
        _say(file, found)
        if report is not None:
            _say_report(report, head, place, found)
        screen.out.print("Proven." if proven else "Not proven.")
    if not proven:
        raise SystemExit(1)


def head_of(report: Path) -> str:
    """The head of the store's chain that a report prints."""
    try:
        text = report.read_text(encoding="utf-8")
        if report.suffix.lower() == ".html":
            embedded = _EMBEDDED.search(text)
            text = embedded[1] if embedded else ""
        said: Any = json.loads(text)
    except OSError as error:
        raise CannotDo("NO_REPORT", f"{report} cannot be read: {error.strerror or error}", "name a report that fairmark wrote") from None
    except ValueError:
        raise Mistake.in_call(f"{report} is no report of fairmark", allowed=", ".join(REPORTS)) from None
    analysis = said.get("analysis", said) if isinstance(said, dict) else {}
    head = analysis.get("head") if isinstance(analysis, dict) else None
    if not isinstance(head, str) or not head:
        raise CannotDo(
            "NO_HEAD",
            f"{report} holds no head of a chain: it rests on no store, or an earlier fairmark wrote it",
            "write the report again: fairmark report",
        )
    return head


def _say(file: Path, found: Verified) -> None:
    screen.out.print(f"{file}: {found.rows} rows in {found.links} links; {found.forgotten} texts were removed by `fairmark store forget`.")
    for line in found.wrong:
        screen.out.print(f"Wrong: {line}.")
    if found.proven:
        screen.out.print("Every row and every text is as it was written." if found.links else "Nothing was stored yet.")
    if found.head:
        screen.out.print(f"Head: {found.head}")


def _say_report(report: Path, head: str, place: Place | None, found: Verified) -> None:
    if place is None:
        screen.out.print(
            f"Wrong: {report} names the head {head}, which no link of this store has: it rests on another store or on other rows."
        )
        return
    when = datetime.fromtimestamp(place.at / 1e9, UTC)
    screen.out.print(
        f"{report} names the head of link {place.link}, of {when:%Y-%m-%d %H:%M:%S} UTC. {place.after} rows were added after it."
    )
    if found.proven:
        screen.out.print("So all that it rests on stands here unchanged.")
