"""`people` of study.yaml: who marks in the browser, what they see, and how responses are chosen for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairmark.errors import nearest
from fairmark.load import marking
from fairmark.load.models import People as Written
from fairmark.load.nodes import Node
from fairmark.load.rubrics import ReadRubric, valid_name
from fairmark.load.sources import Reader, clip, listed
from fairmark.records import ADJUDICATED, Case
from fairmark.study import Chosen, GraderSpec, People

NAME = "people"  # the grader that their marks belong to
OWNER = "owner"  # who started the server
GUIDELINE_CAP = 128_000  # bytes
TWICE = 0.2
REPEATS = 0.05


def read(
    written: Written,
    node: Node,
    *,
    cases: Sequence[Case],
    known_ids: bool,
    hidden: Sequence[str],
    graders: Mapping[str, GraderSpec],
    rubric: ReadRubric | None,
    reader: Reader,
) -> People | None:
    """Who marks and how, or None after its mistakes were noted. `hidden` are columns nobody who marks may see."""
    before = len(reader.problems)
    roster = _names("roster", written.roster or (), node, reader)
    adjudicators = _names("adjudicators", written.adjudicators or (), node, reader)
    known = tuple(rubric.names) if rubric is not None else ()
    criteria = _criteria("criteria", written.criteria, node, known, reader) or known
    reasons = _criteria("reasons", written.reasons, node, criteria, reader)
    if NAME in graders:
        reader.note(
            node.where(),
            f"a grader is called `{NAME}`, and the marks of `people` go by that name",
            "another name",
            f"rename the grader `{NAME}`",
        )
    if len(roster) < 2 and written.twice:
        reader.note(
            node.where("twice"),
            "one person cannot mark twice without seeing the first mark",
            "two or more on the roster",
            "add a person, or take `twice` out",
        )
    if written.strata is not None:
        _strata(written.strata, node, graders, rubric, reader)
    show = _show(written, node, cases, known_ids, hidden, reader)
    training = None
    if written.training is not None:
        training = marking.known_marks(written.training, node.where("training"), "people", rubric, reader, what="file of training items")
    guideline = ""
    if written.guideline is not None:
        text = reader.text(written.guideline, node.where("guideline"), cap=GUIDELINE_CAP, what="guideline")
        guideline = text.content if text is not None else ""
    if len(reader.problems) > before:
        return None
    return People(
        roster=roster,
        adjudicators=adjudicators,
        name=NAME,
        criteria=criteria,
        share=written.share if written.share is not None else 1.0,
        twice=written.twice if written.twice is not None else TWICE if len(roster) > 1 else 0.0,
        repeats=written.repeats if written.repeats is not None else REPEATS,
        together=written.together or 0,
        strata=written.strata,
        show=show,
        pairs=bool(written.pairs),
        reasons=reasons,
        training=training,
        guideline=guideline,
    )


def grader(people: People) -> GraderSpec:
    """People as a grader among the others."""
    chosen: Chosen = "stratified" if people.strata is not None else "random" if people.share < 1 else "all"
    return GraderSpec(people.name, "people", people.criteria, chosen=chosen, guideline=people.version)


def _names(key: str, names: Sequence[str], node: Node, reader: Reader) -> tuple[str, ...]:
    good: list[str] = []
    for place, name in enumerate(names):
        where = node.where(key, place)
        if not valid_name(name, where, "person", reader):
            continue
        if name in (ADJUDICATED, OWNER):
            reader.note(where, f"nobody may be called `{name}`", "another pseudonym", "rename the person")
        elif name in good:
            reader.note(where, f"`{clip(name)}` is named twice", "each person once", "remove one of them")
        else:
            good.append(name)
    return tuple(good)


def _criteria(key: str, names: Sequence[str] | None, node: Node, known: Sequence[str], reader: Reader) -> tuple[str, ...]:
    found: list[str] = []
    for place, name in enumerate(names or ()):
        where = node.where(key, place)
        if known and name not in known:
            reader.note(where, f"people mark no criterion `{clip(name)}`", listed(known), nearest(name, known) or "name one of these")
        elif name in found:
            reader.note(where, f"`{clip(name)}` is named twice", "each criterion once", "remove one of them")
        else:
            found.append(name)
    return tuple(found)


def _strata(name: str, node: Node, graders: Mapping[str, GraderSpec], rubric: ReadRubric | None, reader: Reader) -> None:
    where = node.where("strata")
    marked = sorted({criterion for spec in graders.values() if spec.kind == "llm" or spec.by == "model" for criterion in spec.criteria})
    scale = rubric.checked(name) if rubric is not None and name in rubric.names else None
    if name not in marked:
        reader.note(
            where,
            f"no LLM grader marks `{clip(name)}`, so its marks can make no strata",
            listed(marked) or "a criterion that an LLM grader marks",
            nearest(name, marked) or "take `strata` out to draw at random",
        )
    elif scale is not None and not scale.levels:
        reader.note(
            where,
            f"`{clip(name)}` is a scale of numbers",
            "a criterion with levels",
            "name another, or take `strata` out to draw at random",
        )


def _show(written: Written, node: Node, cases: Sequence[Case], known_ids: bool, hidden: Sequence[str], reader: Reader) -> tuple[str, ...]:
    if written.show is None:
        return ("input",)
    columns = ("input", "expected", *dict.fromkeys(name for case in cases for name in case.fields))
    for place, name in enumerate(written.show):
        where = node.where("show", place)
        if name in written.show[:place]:
            reader.note(where, f"`{clip(name)}` is shown twice", "each once", "remove one of them")
        elif name in hidden:
            reader.note(
                where,
                f"`{clip(name)}` says whose experience a case is or which belong together, and whoever marks must not see that",
                listed([one for one in columns if one not in hidden]),
                "take it out of `show`",
            )
        elif known_ids and name not in columns:
            reader.note(where, f"the cases have no `{clip(name)}`", listed(columns), nearest(name, columns) or "name one of these")
    return tuple(written.show)
