"""Rows as cases."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fairmark.errors import nearest
from fairmark.load import rows as row_files
from fairmark.load.nodes import Node
from fairmark.load.rows import Row
from fairmark.load.sources import Reader, clip, listed, shown
from fairmark.load.systems import word
from fairmark.records import Case, Message

ROLES = ("system", "user", "assistant", "tool")


def read(names: Sequence[str], node: Node, reader: Reader) -> tuple[tuple[Case, ...], bool]:
    """The cases of all files in their order, and whether every row could be read."""
    cases: list[Case] = []
    seen: dict[str, Case] = {}
    whole = True
    for place, name in enumerate(names):
        where = node.where("cases", place)
        if name in names[:place]:
            reader.note(where, f"`{clip(name)}` is named twice", "each file once", "remove one of them")
            continue
        table = row_files.read(name, reader, where, what="file of cases")
        if table is None:
            whole = False
            continue
        whole = whole and table.whole
        for row in table.rows:
            if reader.enough(table.file):
                whole = False
                break
            case = _case(row, reader)
            if case is None:
                whole = False
            elif case.id in seen:
                reader.note(
                    row.place("id"),
                    f"the id `{clip(case.id)}` stands here a second time; the first is in {seen[case.id].where}",
                    "each id once",
                    "rename or remove one of them",
                )
            else:
                seen[case.id] = case
                cases.append(case)
    return tuple(cases), whole


def _case(row: Row, reader: Reader) -> Case | None:
    case_id = word(row.fields.get("id"))
    if not case_id:
        found = "the row has no `id`" if row.fields.get("id") in (None, "") else f"`id` is {shown(row.fields['id'])}"
        reader.note(row.place("id"), found, "a short text that no other case has", nearest("id", row.fields) or 'add `"id": "..."`')
    elif len(case_id) > 200 or "\n" in case_id:
        reader.note(
            row.place("id"), f"the id `{clip(case_id)}` is too long or spans lines", "at most 200 characters on one line", "shorten it"
        )
        case_id = None
    messages = turns(row, reader)
    if not case_id or messages is None:
        return None
    fields = {name: value for name, value in row.fields.items() if name not in ("id", "input", "expected")}
    return Case(case_id, messages, reference(row), fields, row.where)


def turns(row: Row, reader: Reader) -> tuple[Message, ...] | None:
    """The input as a conversation, or None after its problem was noted."""
    written = row.fields.get("input")
    allowed = 'text, or a list of {"role": "user", "content": "..."}'
    if written is None:
        columns = [name for name in row.fields if name != "id"]
        reader.note(
            row.place("input"),
            "the row has no `input`",
            allowed,
            nearest("input", columns) or f"add it; the columns are {listed(row.fields)}",
        )
        return None
    if isinstance(written, str):
        if written.strip():
            return (Message("user", written),)
        reader.note(row.place("input"), "`input` is empty", allowed, "write the request")
        return None
    if not isinstance(written, list) or not written:
        reader.note(
            row.place("input"), f"`input` is {'an empty list' if written == [] else shown(written)}", allowed, "put the text in quotes"
        )
        return None
    messages: list[Message] = []
    for number, turn in enumerate(written, start=1):
        if not isinstance(turn, dict) or set(turn) != {"role", "content"} or not isinstance(turn["content"], str):
            found = f"has the keys {listed(turn)}" if isinstance(turn, dict) else f"is {shown(turn)}"
            reader.note(
                row.place("input"),
                f"turn {number} of `input` {found}",
                '{"role": ..., "content": text}, and nothing else',
                "write every turn with these two keys",
            )
            return None
        if turn["role"] not in ROLES:
            reader.note(
                row.place("input"),
                f"turn {number} of `input` has the role {shown(turn['role'])}",
                listed(ROLES),
                nearest(str(turn["role"]), ROLES) or "use one of these",
            )
            return None
        messages.append(Message(turn["role"], turn["content"]))
    if not any(message.role == "user" and message.content.strip() for message in messages):
        reader.note(row.place("input"), "`input` holds no turn of the user with words in it", allowed, "add the user's request")
        return None
    return tuple(messages)


def reference(row: Row) -> str | None:
    """The expected answer as text; a number as it is spelt, a list or mapping as JSON."""
    written = row.fields.get("expected")
    if written is None or isinstance(written, str):
        return written
    return json.dumps(written, ensure_ascii=False)
