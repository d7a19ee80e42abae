"""Text shown to a model that marks, and quotes from it looked up in the original.

Markers that chat templates give a meaning to, such as `<|im_end|>`, are taken apart before a response is shown, or a
response could close its own turn. So a quote is looked up first as it stands, then with both sides brought to one form.
"""

from __future__ import annotations

import re

from fairmark.graders.labels import storable
from fairmark.records import Span

# families of role markers: <|im_end|> and kin, <s> </s>, <start_of_turn>, [INST], <<SYS>>, and their full-width twins
_MARKER = re.compile(
    r"<(?=[|｜])|[|｜](?=>)|<(?=/?(?:s|bos|eos|start_of_turn|end_of_turn|think)>)|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS)\])|<(?=</?SYS>)",
    re.IGNORECASE,
)


def defused(text: str) -> str:
    """The text as it is shown to a model: role markers taken apart by a space, lone surrogates replaced."""
    return _MARKER.sub(lambda marker: marker[0] + " ", storable(text))


def locate(quote: str, text: str) -> Span:
    """Where the quote stands in the raw text: verbatim, else up to white space and taken-apart markers; else not found."""
    quote = storable(quote.strip())
    if not quote:
        return Span(quote)
    start = text.find(quote)
    if start >= 0:
        return Span(quote, start, start + len(quote))
    wanted = "".join(piece for piece, _ in _even(quote)).strip()
    pieces = _even(text)
    even = "".join(piece for piece, _ in pieces)
    at = even.find(wanted) if wanted else -1
    if at < 0:
        return Span(quote)
    return Span(quote, pieces[at][1], pieces[at + len(wanted) - 1][1] + 1)


def _even(text: str) -> list[tuple[str, int]]:
    """The characters of the text with each run of white space as one space, each with its place in the text."""
    apart = {match.end() - 1 for match in _MARKER.finditer(text)}
    found: list[tuple[str, int]] = []
    for place, letter in enumerate(text):
        if not letter.isspace():
            found.append(("?" if 0xD800 <= ord(letter) <= 0xDFFF else letter, place))
            if place in apart:
                found.append((" ", place))
        elif not found or found[-1][0] != " ":
            found.append((" ", place))
    return found
