"""Keys are made of parts that are written once, and are the same as if all had been written anew."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from fairmark.records import Fixed, Message, Question, canonical, canonical_object, response_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON | st.dictionaries(st.text(), JSON, max_size=3).map(Fixed), max_size=5))
def test_parts_that_are_written_once_make_the_same_text(value: dict[str, object]) -> None:
    assert canonical_object(value) == json.dumps(value, sort_keys=True, separators=(",", ":"))
    assert canonical_object(value) == canonical(value)


def test_the_name_of_a_response_is_the_hash_of_its_parts() -> None:
    asked = Question((Message("user", "Wie geht’s?"),), {"temperature": 0.5}, fields={"b": 1, "a": None}, trial=2)
    key = response_key(case_id="c\n1", question=asked, system=Fixed(kind="model", model={"name": "m"}), wave="1")
    text = (
        r'{"case":"c\n1","fields":{"a":null,"b":1},"messages":[["user","Wie geht\u2019s?"]],"options":{"temperature":0.5},'
        r'"recorded":null,"response":1,"schema":null,"system":{"kind":"model","model":{"name":"m"}},"trial":2,"wave":"1"}'
    )
    assert key == hashlib.sha256(text.encode()).hexdigest()
