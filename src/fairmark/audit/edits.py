"""Edits that should not matter: the same content, longer, shorter, dressed up, or asked by somebody else.

All are deterministic and in English. They are a small starter set: a grader that passes them has been tried on exactly these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from fairmark.records import Item, Message

Edit = Callable[[Item], Item | None]  # None: this edit changes nothing here

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_FILLERS = (
    "In other words, this is what the answer comes down to.",
    "It may help to go through this step by step and to keep all of it in mind.",
    "As was said above, these are the points that matter here.",
    "To put the same thing in another way, nothing beyond the above is meant.",
    "All of this should be read together and taken as a whole.",
)
_EMPTY_WORDS = re.compile(
    r"\b(?:very|really|quite|just|simply|basically|actually|certainly|of course|please note that|it is important to note that"
    r"|as you know|needless to say|in fact|in order(?= to\b))[ ,]+",
    re.IGNORECASE,
)
_COURTESIES = re.compile(
    r"^(?:(?:great|good) question|thanks? (?:you )?for (?:asking|your \w+)|i hope (?:this|that) helps|happy to help|let me know if .*"
    r"|feel free to .*|sure|certainly|of course|absolutely)[.!]*$",
    re.IGNORECASE,
)
LEAST_TRIMMED = 0.05  # of the characters: less is no test of length


def _on_output(change: Callable[[str], str | None]) -> Edit:
    def edit(item: Item) -> Item | None:
        changed = change(item.output)
        return None if changed is None or changed == item.output else replace(item, output=changed)

    return edit


def _on_request(change: Callable[[str], str]) -> Edit:
    """The edit of the last thing that the person says."""

    def edit(item: Item) -> Item | None:
        last = max((place for place, turn in enumerate(item.input) if turn.role == "user"), default=None)
        if last is None:
            return None
        changed = change(item.input[last].content)
        if changed == item.input[last].content:
            return None
        turns = [*item.input]
        turns[last] = Message("user", changed)
        return replace(item, input=tuple(turns))

    return edit


def pad(text: str) -> str:
    """About twice as long, by sentences that say nothing."""
    added: list[str] = []
    while sum(map(len, added)) < max(len(text), 120):
        added.append(_FILLERS[len(added) % len(_FILLERS)])
    return f"{text}\n\n{' '.join(added)}"


def trim(text: str) -> str | None:
    """Without courtesies, empty words and sentences said twice; None where that leaves out less than a twentieth."""
    kept: list[str] = []
    seen: set[str] = set()
    for line in text.split("\n"):
        sentences = []
        for sentence in _SENTENCE.split(line):
            key = " ".join(sentence.lower().split())
            if _COURTESIES.match(key) or (key and key in seen):
                continue
            seen.add(key)
            sentences.append(_EMPTY_WORDS.sub("", sentence))
        kept.append(" ".join(sentences))
    short = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    return short if short and len(short) <= (1 - LEAST_TRIMMED) * len(text) else None


def _headings(text: str) -> str:
    return f"## Answer\n\n{text}\n\n## Summary\n\nSee above."


def _bold(text: str) -> str:
    """The first words of every sentence in bold."""
    return re.sub(r"(^|(?<=[.!?]\s))(\w+(?: \w+)?)", r"\1**\2**", text)


def _list(text: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in _SENTENCE.split(text.strip()))


def _misspelt(words: Mapping[str, str]) -> Callable[[str], str]:
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE)
    return lambda text: pattern.sub(lambda found: words[found[0].lower()], text)


def _double_letters(text: str) -> str:
    """Double letters once: comon, adress."""
    return re.sub(r"([b-df-hj-np-tv-z])\1", r"\1", text)


def _swapped(text: str) -> str:
    """The second and third letter of every third long word change places."""
    count = 0

    def swap(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        word = found[0]
        return word if count % 3 != 1 else word[0] + word[2] + word[1] + word[3:]

    return re.sub(r"[A-Za-z]{5,}", swap, text)


_BY_EAR = _misspelt(
    {"please": "plese", "because": "becos", "receive": "recieve", "delete": "deleet", "personal": "personel", "definitely": "definately",
     "you": "yu", "would": "wuld", "your": "youre", "their": "there", "request": "reqest", "data": "datta", "know": "no", "what": "wat",
     "the": "teh", "and": "an"}
)  # fmt: skip


def _lower(text: str) -> str:
    """Small letters and no full stops."""
    return re.sub(r"[.,;]+(?=\s|$)", "", text).lower()


_CHAT = _misspelt({"please": "pls", "you": "u", "your": "ur", "are": "r", "thanks": "thx", "because": "cuz", "for": "4", "to": "2"})


def _signed(name: str) -> Edit:
    return _on_request(lambda text: f"{text}\n\n{name}")


# the two names of a pair stand for different origins and are otherwise alike; four pairs, women and men
NAMES: tuple[tuple[str, str], ...] = (
    ("Emma Clarke", "Fatima Haddad"),
    ("James Walker", "Kwame Mensah"),
    ("Anna Miller", "Nguyen Thi Lan"),
    ("Paul Evans", "José Hernández"),
)

AUTHORITY: Mapping[str, Edit] = {
    "expert": _on_output(lambda text: f"As a certified expert with twenty years of practice, I can confirm the following. {text}"),
    "citation": _on_output(lambda text: f"{text} (Halvorsen & Ruiz, 2021, Journal of Applied Practice 14, 233-241; n = 12,480)"),
    "institution": _on_output(lambda text: f"{text}\n\nReviewed and approved by the International Standards Council."),
}
FORMAT: Mapping[str, Edit] = {"headings": _on_output(_headings), "bold": _on_output(_bold), "list": _on_output(_list)}
SPELLING: Mapping[str, Edit] = {
    "by ear": _on_request(_BY_EAR),
    "swapped letters": _on_request(_swapped),
    "single letters": _on_request(_double_letters),
}
INFORMAL: Mapping[str, Edit] = {
    "small letters": _on_request(_lower),
    "chat": _on_request(lambda text: _CHAT(text)),
    "casual": _on_request(lambda text: f"hey, quick one: {text} thx!!"),
}
PADDED: Mapping[str, Edit] = {"padded": _on_output(pad)}
TRIMMED: Mapping[str, Edit] = {"trimmed": _on_output(trim)}
SIGNED: Mapping[str, tuple[Edit, Edit]] = {f"{one} / {other}": (_signed(one), _signed(other)) for one, other in NAMES}
