"""Short forms written out, so that the models need to know one form only. Places stay those of what the person wrote."""

from __future__ import annotations

import re

from fairmark.load.nodes import Entry, Node
from fairmark.load.sources import Place

_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%\s*", re.ASCII)


def study(root: Node) -> Node:
    """study.yaml with `cases` and `stop` as lists, and with names, versions and the like as text."""
    _one_or_many(root, "cases")
    _one_or_many(root, "groups")
    for key in ("study", "question", "cluster"):
        _text(root, key)
    for _, _, system in _entries(root, "systems"):
        _one_or_many(system, "stop")
        _text(system, "version")
        _texts(system, "command")
        http = system.get("http")
        headers = http.get("headers") if http else None
        for name, _, _ in list(headers.entries()) if headers else []:
            assert headers is not None
            _text(headers, name)
        _columns(system)
    for _, _, grader in _entries(root, "graders"):
        _one_or_many(grader, "stop")
        _one_or_many(grader, "criteria")
        _text(grader, "guideline")
        _columns(grader)
    population = root.get("population")
    if population is not None:
        for name, _, _ in list(population.entries()):
            _one_or_many(population, name)
            _texts(population, name)
    people = root.get("people")
    if people is not None and isinstance(people.value, dict):
        for key in ("roster", "adjudicators", "criteria", "show", "reasons"):
            _one_or_many(people, key)
            _texts(people, key)
        for key in ("share", "twice", "repeats"):
            _share(people, key)
        if root.get("graders") is None and isinstance(root.value, dict):
            root.value["graders"] = Entry(people.place, Node(people.place, {}))
    tuning = root.get("tuning")
    for key in ("train", "dev") if tuning is not None and isinstance(tuning.value, dict) else ():
        assert tuning is not None
        _share(tuning, key)
    for key in ("interests",):
        part = root.get(key)
        for name, _, _ in list(part.entries()) if part else []:
            assert part is not None
            _text(part, name)
    return root


def rubric(root: Node) -> Node:
    """rubric.yaml with every level as level, anchor and value, and every name of a level as text."""
    _text(root, "rubric")
    for _, _, criterion in _entries(root, "criteria"):
        _text(criterion, "pass")
        levels = criterion.get("levels")
        if levels is not None and isinstance(levels.value, list):
            levels.value = [_level(node) for node in levels.value]
        elif levels is not None and isinstance(levels.value, dict):
            # a mapping of level to anchor keeps its order, so it says the same as the list
            levels.value = [_named(name, place, node) for name, place, node in levels.entries()]
        examples = criterion.get("examples")
        for example in examples.value if examples is not None and isinstance(examples.value, list) else []:
            _text(example, "level")
    return root


def _level(node: Node) -> Node:
    if isinstance(node.value, dict):
        if len(node.value) == 1 and "level" not in node.value:
            return _named(*next(node.entries()))
        _text(node, "level")
        return node
    if isinstance(node.value, list) or node.value is None:
        return node
    return Node(node.place, {"level": Entry(node.place, Node(node.place, node.raw, node.raw))})


def _named(name: str, key: Place, anchor: Node) -> Node:
    if isinstance(anchor.value, dict) and "level" not in anchor.value:
        return Node(key, {"level": Entry(key, Node(key, name, name)), **anchor.value})
    return Node(key, {"level": Entry(key, Node(key, name, name)), "anchor": Entry(key, anchor)})


def _entries(root: Node, key: str) -> list[tuple[str, Place, Node]]:
    part = root.get(key)
    return list(part.entries()) if part is not None else []


def _columns(part: Node) -> None:
    columns = part.get("columns")
    for name, _, _ in list(columns.entries()) if columns is not None else []:
        assert columns is not None
        _text(columns, name)


def _text(part: Node, key: str) -> None:
    """A number, true or false where a text is meant becomes the text as it was written: `version: 1.10` stays 1.10."""
    node = part.get(key)
    if node is not None and isinstance(node.value, (bool, int, float)):
        node.value = node.raw


def _texts(part: Node, key: str) -> None:
    node = part.get(key)
    for item in node.value if node is not None and isinstance(node.value, list) else []:
        if isinstance(item.value, (bool, int, float)):
            item.value = item.raw


def _share(part: Node, key: str) -> None:
    """`30%` becomes 0.3."""
    node = part.get(key)
    if node is not None and isinstance(node.value, str) and (match := _PERCENT.fullmatch(node.value)):
        node.value = float(match[1]) / 100


def _one_or_many(part: Node, key: str) -> None:
    node = part.get(key)
    if node is not None and node.value is not None and not isinstance(node.value, (list, dict)):
        alone = Node(node.place, node.raw if isinstance(node.value, (bool, int, float)) else node.value, node.raw)
        node.value = [alone]
