"""Foreign text made safe to show: invisible and direction-changing characters spelled out, Markdown and JSON escaped.

Nothing here trusts anything: answers, reasons, names and prompts may all have been written to deceive a reader.
"""

from __future__ import annotations

import json
import re
from typing import Any

# zero-width, bidirectional and other format characters, fillers that look like nothing, tags, controls, lone surrogates
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_JOINERS = "\u200c\u200d"
_EMOJI_STYLE = "\ufe0e\ufe0f"
_FIRST_JOINING = "\u0590"  # scripts from here on join letters for real; Latin, Greek and Cyrillic do not


def unseen(text: str) -> list[tuple[int, str]]:
    """Places of characters that a reader would not see, each with its name such as `U+202E`.

    Joiners between letters of scripts that need them, and between emoji, are part of the writing and stay.
    """
    return [
        (match.start(), f"U+{ord(match.group()):04X}") for match in _UNSEEN.finditer(text) if not _part_of_the_writing(text, match.start())
    ]


def visible(text: str) -> str:
    """The text with every unseen character spelled out, as in `[U+202E]`. Line breaks are normalised."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    places = unseen(text)
    if not places:
        return text
    parts, last = [], 0
    for place, name in places:
        parts += [text[last:place], f"[{name}]"]
        last = place + 1
    return "".join([*parts, text[last:]])


def one_line(text: str, most: int) -> str:
    """The text on one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _part_of_the_writing(text: str, place: int) -> bool:
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if text[place] in _JOINERS:
        return before >= _FIRST_JOINING and after >= _FIRST_JOINING and not _UNSEEN.match(after) and before not in _JOINERS
    if text[place] in _EMOJI_STYLE:
        return (before >= "\u2000" and not _UNSEEN.match(before)) or (before != "" and before in "#*0123456789©®")
    return False


_SPECIAL = re.compile(r"([\\`*\[\]<>|~&$])")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_LINE_START = re.compile(r"^(\s*)([#+=-](?=[\s#+=-]|$)|\d+[.)](?=\s|$))")
_ACTIVE = re.compile(r"://|www\.|@|#\d|\b[0-9a-f]{7,40}\b|:\w+:", re.IGNORECASE)


def markdown(text: str) -> str:
    """Foreign text for one line of Markdown: nothing in it formats, links, mentions or opens HTML."""
    line = visible(re.sub(r"\s+", " ", text))
    if _ACTIVE.search(line):
        return code_span(line.strip())
    line = _UNDERSCORE.sub(r"\\_", _SPECIAL.sub(r"\\\1", line))
    return _LINE_START.sub(lambda m: f"{m[1]}{m[2][:-1]}\\{m[2][-1]}", line)


def code_span(line: str) -> str:
    """The line as a code span, which even sites that link bare addresses and mentions leave alone."""
    ticks = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    escaped = line.replace("|", "\\|")  # a bar would end a table cell, in code spans too
    return f"{ticks}{pad}{escaped}{pad}{ticks}"


def fence(text: str) -> str:
    """Foreign text as a fenced block that it cannot leave."""
    shown = visible(text)
    bar = "`" * max(3, max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{bar}text\n{shown}\n{bar}"


_JSON_UNSEEN = re.compile(_UNSEEN.pattern)


def json_text(value: Any, *, in_html: bool = False, indent: int | None = None) -> str:
    """The JSON document, unseen characters as escapes; `in_html`: safe inside a script element. `ValueError` for NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    # structure is ASCII, so whatever is found stands inside a string, except the line breaks of the indentation
    text = _JSON_UNSEEN.sub(_escaped, text)
    if in_html:
        text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return text


def _escaped(match: re.Match[str]) -> str:
    number = ord(match.group())
    if number <= 0xFFFF:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
