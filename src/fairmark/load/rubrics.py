"""rubric.yaml as a `Rubric`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairmark.errors import nearest
from fairmark.load import sugar
from fairmark.load.models import CriterionEntry, RubricFile
from fairmark.load.nodes import Node
from fairmark.load.shape import Shaped, shape
from fairmark.load.sources import Place, Reader, clip, listed
from fairmark.rubric import CANNOT_TELL, NOT_APPLICABLE, NOT_COVERED, Criterion, Example, Level, Rubric

NAME = re.compile(r"[^\W_][\w.-]{0,63}")
RESERVED = ("score",)  # hypotheses are about the score or about a criterion


@dataclass(frozen=True, slots=True)
class ReadRubric:
    """A rubric and which of its criteria were read without a mistake."""

    rubric: Rubric
    sound: frozenset[str]  # ids of criteria whose scale may be relied on
    names: tuple[str, ...]  # every criterion that is named, the mistaken ones included

    def checked(self, criterion_id: str) -> Criterion | None:
        """The criterion, if its scale may be relied on."""
        return self.rubric[criterion_id] if criterion_id in self.sound and criterion_id in self.rubric else None


def read(root: Node, reader: Reader) -> ReadRubric:
    """The rubric of a tree; its problems are noted."""
    root = sugar.rubric(root)
    shaped = shape(RubricFile, root, reader)
    criteria: list[Criterion] = []
    sound: set[str] = set()
    part = root.get("criteria")
    entries = shaped.model.criteria or {}
    for name, place, node in part.entries() if part is not None else ():
        before = len(reader.problems)
        valid = valid_name(name, place, "criterion", reader)
        if name in RESERVED:
            reader.note(place, f"a criterion cannot be called `{name}`", "another name", "`score` means the score of the whole rubric")
        entry = entries.get(name)
        if entry is None or not valid:
            continue
        criterion = _criterion(name, entry, node, shaped, reader)
        if criterion is not None:
            criteria.append(criterion)
            if len(reader.problems) == before and shaped.sound("criteria", name, "levels") and shaped.sound("criteria", name, "range"):
                sound.add(name)
    if criteria and part is not None and all(c.weight == 0 for c in criteria) and len(criteria) == len(entries):
        reader.note(
            root.where("criteria", key=True),
            "every criterion has the weight 0, so there is no score",
            "at least one weight other than 0",
            "give the criteria that count a weight",
        )
    names = tuple(part.value) if part is not None and isinstance(part.value, dict) else ()
    return ReadRubric(Rubric(tuple(criteria), shaped.model.rubric or "rubric"), frozenset(sound), names)


def valid_name(name: str, place: Place, what: str, reader: Reader) -> bool:
    """Whether a name can be used; if not, that is noted."""
    if NAME.fullmatch(name):
        return True
    reader.note(
        place,
        f"`{clip(name)}` cannot name a {what}",
        "letters, digits, `_`, `-` and `.`, beginning with a letter or digit, at most 64",
        "rename it: it stands in commands and reports",
    )
    return False


def _criterion(name: str, entry: CriterionEntry, node: Node, shaped: Shaped[RubricFile], reader: Reader) -> Criterion | None:
    scale = entry.scale or ("interval" if entry.range is not None and entry.levels is None else "ordinal")
    sound = shaped.sound("criteria", name, "levels") and shaped.sound("criteria", name, "range") and shaped.sound("criteria", name, "scale")
    levels = tuple(Level(level.level or "", level.anchor or "", level.value) for level in entry.levels or ())
    limits = (entry.range[0], entry.range[1]) if entry.range is not None else None
    where = node.where
    if scale == "interval":
        if node.get("levels") is not None:
            reader.note(
                where("levels", key=True),
                f"`{name}` is a scale of numbers and has levels",
                "`range: [lowest, highest]`",
                "take `levels` out, or make the scale ordinal",
            )
        elif limits is None and sound:
            reader.note(
                where(), f"`{name}` is a scale of numbers without a range", "`range: [lowest, highest]`", "add `range:`, such as [0, 10]"
            )
        if limits is not None and not limits[0] < limits[1]:
            reader.note(
                where("range"),
                f"the range of `{name}` goes from {limits[0]:g} to {limits[1]:g}",
                "two numbers, the lower first",
                "correct the range",
            )
            limits = None
        levels = ()
    else:
        if node.get("range") is not None:
            reader.note(
                where("range", key=True), f"`{name}` has levels and a range", "one of them", "take `range` out, or make the scale interval"
            )
        limits = None
        if node.get("levels") is None and sound:
            reader.note(
                where(),
                f"`{name}` has no levels",
                "`levels:` from worst to best, each with an anchor",
                "add `levels:`, or `scale: interval` with `range:`",
            )
        _check_levels(name, scale, levels, node, reader)
    if (scale == "interval" and limits is None) or (scale != "interval" and len(levels) < 2):
        # something to hold the name, so that other files are still checked against it
        levels, limits = (Level("0"), Level("1")), None
        sound = False
    criterion = Criterion(
        id=name,
        question=entry.question or "",
        levels=levels,
        scale=scale,
        range=limits,
        weight=1.0 if entry.weight is None else float(entry.weight),
        gate=bool(entry.gate),
        pass_at=entry.pass_at,
        not_applicable=bool(entry.not_applicable),
        guidance=entry.guidance or "",
        examples=tuple(Example(e.response or "", e.level or "", e.reason or "", e.input or "") for e in entry.examples or ()),
    )
    if sound:
        _check_labels(criterion, node, reader)
    return criterion


def _check_levels(name: str, scale: str, levels: tuple[Level, ...], node: Node, reader: Reader) -> None:
    seen: dict[str, Place] = {}
    for place, level in enumerate(levels):
        where = node.where("levels", place, "level", key=True)
        if level.name in seen:
            first = seen[level.name]
            reader.note(
                where,
                f"the level `{clip(level.name)}` of `{name}` stands here a second time; the first is at {first}",
                "each level once",
                "rename or remove one of them",
            )
        elif level.name in (NOT_APPLICABLE, CANNOT_TELL, NOT_COVERED):
            remedy = (
                "write `not_applicable: true` instead" if level.name == NOT_APPLICABLE else "leave it out: every grader may say it anyway"
            )
            reader.note(where, f"`{level.name}` cannot be a level", "another name", remedy)
        elif ">=" in level.name or level.name != level.name.strip() or "\n" in level.name:
            reader.note(where, f"`{clip(level.name)}` cannot name a level", "a short text on one line, without `>=`", "rename it")
        seen.setdefault(level.name, where)
        if (
            level.name
            and not level.anchor.strip()
            and node.get("levels") is not None
            and node.where("levels", place, "anchor") != node.where("levels", place)
        ):
            reader.note(
                node.where("levels", place, "anchor"),
                f"the anchor of `{clip(level.name)}` is empty",
                "a sentence",
                "say what a response at this level looks like",
            )
    values = [level.value for level in levels]
    if any(value is None for value in values) and any(value is not None for value in values):
        missing = values.index(None)
        reader.note(
            node.where("levels", missing),
            f"the level `{clip(levels[missing].name)}` of `{name}` has no value, others have one",
            "a value for every level, or for none",
            "add `value:` here, or take the others out",
        )
    elif scale == "ordinal":
        for place in range(1, len(levels)):
            below, here = values[place - 1], values[place]
            if below is not None and here is not None and here < below:
                reader.note(
                    node.where("levels", place, "value"),
                    f"`{clip(levels[place].name)}` is worth {here:g}, less than `{clip(levels[place - 1].name)}` before it with {below:g}",
                    "levels from worst to best",
                    "change the order or the values, or make the scale nominal",
                )


def _check_labels(criterion: Criterion, node: Node, reader: Reader) -> None:
    names = criterion.level_names()
    if criterion.pass_at is not None and not on_scale(criterion, criterion.pass_at):
        reader.note(
            node.where("pass"),
            f"the pass level `{clip(criterion.pass_at)}` is not on the scale of `{criterion.id}`",
            scale_in_words(criterion),
            nearest(criterion.pass_at, names) or "name one of the levels",
        )
    for place, example in enumerate(criterion.examples):
        if example.level and not on_scale(criterion, example.level):
            reader.note(
                node.where("examples", place, "level"),
                f"the level `{clip(example.level)}` is not on the scale of `{criterion.id}`",
                scale_in_words(criterion),
                nearest(example.level, names) or "name one of the levels",
            )


def on_scale(criterion: Criterion, label: str) -> bool:
    """Whether a label is a level or a number of the range; the standing ways out are not."""
    return label not in (NOT_APPLICABLE, CANNOT_TELL) and criterion.allows(label)


def scale_in_words(criterion: Criterion) -> str:
    """What may be said on this criterion, for a message."""
    if criterion.range is not None and not criterion.levels:
        return f"a number from {criterion.range[0]:g} to {criterion.range[1]:g}"
    return listed(criterion.level_names(), 20)
