"""The environment that secrets are looked up in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from fairmark.load.sources import Place, Reader

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.ASCII)
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')[ \t]*(?:#.*)?""")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def environment(folder: Path) -> Mapping[str, str]:
    """The process's variables over those of `folder`/.env. `Mistake` for a .env that cannot be read; no value is ever shown."""
    found: dict[str, str] = {}
    if (folder / ".env").is_file():
        reader = Reader(folder)
        text = reader.text(".env", Place(".env"))
        for number, line in enumerate(text.content.split("\n") if text else (), start=1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            entry = _LINE.fullmatch(stripped)
            value = _value(entry[2]) if entry else None
            if entry is None or value is None:
                reader.note(
                    Place(".env", number, 1),
                    "this line sets no variable",
                    "NAME=value",
                    "write it as NAME=value, quotes closed, or begin it with #",
                )
                continue
            found[entry[1]] = value
        reader.finish()
    return {**found, **os.environ}


def _value(written: str) -> str | None:
    if written[:1] not in ("'", '"'):
        return re.sub(r"(?:^|[ \t])#.*", "", written).strip()
    quoted = _QUOTED.fullmatch(written)
    if quoted is None:
        return None
    if quoted[1] is None:
        return quoted[2]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), quoted[1])
