"""study.yaml and all it names as one `Study`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairmark.errors import Mistake, Problem, nearest
from fairmark.load import caserows, marking, nodes, people, rubrics, sugar, systems
from fairmark.load.models import Expectation, StudyFile
from fairmark.load.nodes import Node
from fairmark.load.rubrics import ReadRubric, on_scale, scale_in_words, valid_name
from fairmark.load.shape import Shaped, shape
from fairmark.load.sources import Place, Reader, clip, listed
from fairmark.records import Case
from fairmark.study import Budget, GraderSpec, Hypothesis, HypothesisKind, Limit, Plan, Study, Tuning, cannot_stop

NAMES = ("study.yaml", "study.yml")
_ON = re.compile(r"\s*([^\s>=]+)\s*(?:>=\s*(.+?))?\s*", re.DOTALL)
_EXPECTED = ("better", "at_least", "at_most", "no_worse_than")
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "better": ("than", "by"),
    "at_least": ("system",),
    "at_most": ("system",),
    "no_worse_than": ("system", "margin"),
}


def study(path: Path) -> Study:
    """The study in a folder or a file. `Mistake` holds every problem of all its files."""
    return read(path)[0]


def study_files(path: Path) -> tuple[Path, ...]:
    """Every file the study was read from: study, rubric, cases, prompts, code, recordings, marks, calibration."""
    return read(path)[1]


def read(path: Path) -> tuple[Study, tuple[Path, ...]]:
    """The study and the files it was read from."""
    file = find(path)
    reader = Reader(file.parent.absolute())
    found = _study(file, reader)
    reader.finish()
    assert found is not None
    return found, tuple(dict.fromkeys(reader.files.values()))


def find(path: Path) -> Path:
    """The study file that is meant by a folder or a file."""
    shown = clip(str(path), 200)
    try:
        if path.is_file():
            return path
        if not path.is_dir():
            parent = path.parent
            names = [other.name for other in sorted(parent.iterdir())[:2000]] if parent.is_dir() else []
            raise Mistake(
                [
                    Problem(
                        shown,
                        None,
                        None,
                        "there is no such file or folder",
                        "a study.yaml, or the folder that holds one",
                        nearest(path.name, names) or "correct the path",
                    )
                ]
            )
        candidates = [path / name for name in NAMES if (path / name).is_file()]
        candidates += sorted(other for ending in ("*.study.yaml", "*.study.yml") for other in path.glob(ending) if other.is_file())
        others = sorted(other.name for other in path.iterdir() if other.suffix in (".yaml", ".yml"))[:50] if not candidates else []
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Mistake(
            [Problem(shown, None, None, f"this cannot be opened: {why}", "a study.yaml, or the folder that holds one", "correct the path")]
        ) from None
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = [other.name for other in candidates]
        raise Mistake(
            [Problem(shown, None, None, f"there are several studies here: {listed(names)}", "one study", "name the file you mean")]
        )
    similar = nearest("study.yaml", others)
    raise Mistake(
        [
            Problem(
                shown,
                None,
                None,
                "there is no study.yaml here",
                "a folder that holds a study.yaml",
                similar or "name the file, or start one with `fairmark init`",
            )
        ]
    )


def _study(file: Path, reader: Reader) -> Study | None:
    here = Place(file.name)
    text = reader.text(file.name, here, cap=nodes.YAML_CAP, what="study file")
    root = nodes.compose(text, reader) if text is not None else None
    if root is None:
        return None
    systems.look_for_secrets(root, reader)
    shaped = shape(StudyFile, sugar.study(root), reader)
    if () in shaped.wrong and not isinstance(root.value, dict):
        return None
    written = shaped.model
    cases, known_ids = caserows.read(written.cases, root, reader) if written.cases else ((), False)
    known_ids = known_ids and bool(cases)
    rubric = _rubric(root, reader)
    trials = written.trials or 1
    names = _names(root, "systems")
    specs = {
        name: spec
        for name, place, node in _parts(root, "systems")
        if valid_name(name, place, "system", reader)
        and (entry := (written.systems or {}).get(name)) is not None
        and (spec := systems.read(name, entry, node, cases, known_ids, trials, reader)) is not None
    }
    graders = {
        name: grader
        for name, place, node in _parts(root, "graders")
        if valid_name(name, place, "grader", reader)
        and (entry_ := (written.graders or {}).get(name)) is not None
        and (
            grader := marking.read(
                name, entry_, node, cases=cases, known_ids=known_ids, systems=names, trials=trials, rubric=rubric, reader=reader
            )
        )
        is not None
    }
    asked, who = root.get("people"), None
    if written.people is not None and asked is not None and written.people.roster is not None:
        hidden = [*(written.groups or ()), *([written.cluster] if written.cluster else [])]
        who = people.read(
            written.people, asked, cases=cases, known_ids=known_ids, hidden=hidden, graders=graders, rubric=rubric, reader=reader
        )
    if written.graders == {} and asked is None:
        reader.note(root.where("graders", key=True), "no grader stands here", "at least one grader", "add a grader, or `people`")
    if (
        rubric is not None
        and written.graders
        and asked is None
        and len(graders) == len(written.graders)
        and not any("graders" in path[:1] for path in shaped.wrong)
    ):
        _all_marked(graders, rubric, root, reader)
    items = root.get("calibration")
    calibration = (
        marking.calibration(written.calibration, items, rubric, reader) if written.calibration is not None and items is not None else None
    )
    tuning = _tuning(written, root, graders, reader)
    _columns(written, root, cases, known_ids, reader)
    hypotheses = tuple(
        hypothesis
        for name, place, node in _parts(root, "hypotheses")
        if valid_name(name, place, "hypothesis", reader)
        and (expected := (written.hypotheses or {}).get(name)) is not None
        and (hypothesis := _hypothesis(name, expected, node, shaped, names, rubric, reader)) is not None
    )
    if reader.problems or rubric is None:
        return None
    if who is not None:
        graders[who.name] = people.grader(who)
        _all_marked(graders, rubric, root, reader)
        if reader.problems:
            return None
    plan, budget = written.plan, written.budget
    made = Study(
        name=written.study or "",
        question=written.question or "",
        folder=reader.folder,
        cases=cases,
        systems=specs,
        rubric=rubric.rubric,
        graders=graders,
        hypotheses=hypotheses,
        cluster=written.cluster,
        groups=tuple(written.groups or ()),
        trials=trials,
        plan=Plan(
            alpha=plan.alpha if plan and plan.alpha is not None else Plan().alpha,
            power=plan.power if plan and plan.power is not None else Plan().power,
            stop=plan.stop if plan and plan.stop is not None else Plan().stop,
            target=plan.target if plan and plan.target is not None else Plan().target,
        ),
        population={name: tuple(values) for name, values in (written.population or {}).items()},
        budget=Budget(budget.usd, budget.calls, budget.minutes, budget.tokens) if budget else Budget(),
        interests=dict(written.interests or {}),
        calibration=calibration,
        people=who,
        tuning=tuning,
        concurrency=written.concurrency or 8,
        limits={host: Limit(of.concurrency, of.requests_per_minute, of.tokens_per_minute) for host, of in (written.limits or {}).items()},
    )
    if made.plan.target == "these-cases" and made.plan.stop != "when-decided":
        reader.note(
            root.where("plan", "target"),
            "`target: these-cases` stands without `stop: when-decided`",
            "both, or neither",
            "add `stop: when-decided`; when every case is asked, the table of counts says what these cases say",
        )
    if made.plan.stop == "when-decided":
        for name, refusal in cannot_stop(made).items():
            place = root.where("hypotheses", name, "on") if name else root.where("plan", "stop")
            about = f"`stop: when-decided` cannot decide `{name}`: " if name else "`stop: when-decided` has nothing to decide: "
            allowed = "cases-like-these" if refusal.code.startswith("BANK") else "primary hypotheses on what a check marks"
            reader.note(place, f"{about}{refusal.why} ({refusal.code})", allowed, refusal.next)
    return made


def _tuning(written: StudyFile, root: Node, graders: Mapping[str, GraderSpec], reader: Reader) -> Tuning | None:
    """How cases are split for tuning; a part for examples wherever a grader is to be shown some."""
    node, split = root.get("tuning"), None
    if written.tuning is not None and node is not None and written.tuning.dev is not None:
        split = Tuning(written.tuning.train or 0.0, written.tuning.dev)
        if split.train + split.dev > 0.9:
            reader.note(
                node.where(),
                f"`train` and `dev` take {split.train + split.dev:.0%} of the cases",
                "90% at most: what is left is the test part, and only its labels decide",
                "take smaller shares, such as train: 20% and dev: 30%",
            )
    for name, place, _ in _parts(root, "graders"):
        spec = graders.get(name)
        if spec is not None and spec.examples and (written.tuning is None or not written.tuning.train):
            reader.note(
                place,
                f"`{clip(name)}` is to be shown {spec.examples} examples, and no part of the cases is there for them",
                "`tuning` with a share for `train`",
                "add `tuning: {train: 20%, dev: 30%}`: a response that serves as an example can no longer test the grader",
            )
    return split


def _all_marked(graders: Mapping[str, GraderSpec], rubric: ReadRubric, root: Node, reader: Reader) -> None:
    marked = {criterion for grader in graders.values() for criterion in grader.criteria}
    for criterion in rubric.names:
        if criterion not in marked and all(grader.criteria for grader in graders.values()):
            reader.note(
                root.where("graders", key=True),
                f"no grader marks the criterion `{clip(criterion)}`",
                "at least one grader for every criterion",
                f"add `{clip(criterion)}` to the `criteria` of a grader, or take it out of the rubric",
            )


def _parts(root: Node, key: str) -> list[tuple[str, Place, Node]]:
    part = root.get(key)
    return list(part.entries()) if part is not None else []


def _names(root: Node, key: str) -> tuple[str, ...]:
    return tuple(name for name, _, _ in _parts(root, key))


def _rubric(root: Node, reader: Reader) -> ReadRubric | None:
    node = root.get("rubric")
    if node is None or node.value is None:
        return None
    if isinstance(node.value, dict):
        return rubrics.read(node, reader)
    if not isinstance(node.value, str) or not node.value:
        reader.note(
            node.place,
            "`rubric` is neither a file nor a rubric",
            "the name of a file, or a mapping with `criteria`",
            "write `rubric: rubric.yaml`",
        )
        return None
    text = reader.text(node.value, node.place, cap=nodes.YAML_CAP, what="rubric")
    tree = nodes.compose(text, reader) if text is not None else None
    return rubrics.read(tree, reader) if tree is not None else None


# ------------------------------------------------------------------ columns of the cases


def _columns(written: StudyFile, root: Node, cases: Sequence[Case], known_ids: bool, reader: Reader) -> None:
    if not known_ids:
        return
    columns = dict.fromkeys(name for case in cases for name in case.fields)
    if written.cluster is not None:
        _in_every_case("cluster", written.cluster, root.where("cluster"), cases, columns, reader)
    for place, name in enumerate(written.groups or ()):
        where = root.where("groups", place)
        if name in (written.groups or ())[:place]:
            reader.note(where, f"the group column `{clip(name)}` is named twice", "each column once", "remove one of them")
        else:
            _in_every_case("group", name, where, cases, columns, reader)
    for name in written.population or {}:
        if name not in columns:
            reader.note(
                root.where("population", name, key=True),
                f"`{clip(name)}` is no column of the cases",
                listed(columns) or "a column besides id, input and expected",
                nearest(name, columns) or "add the column to the cases",
            )


def _in_every_case(what: str, name: str, place: Place, cases: Sequence[Case], columns: Mapping[str, None], reader: Reader) -> None:
    if name not in columns:
        first = cases[0]
        reader.note(
            place,
            f"the {what} column `{clip(name)}` is in none of the cases; the first is `{clip(first.id)}` ({first.where})",
            listed(columns) or "a column besides id, input and expected",
            nearest(name, columns) or "add the column to the cases",
        )
        return
    for case in cases:
        value = case.fields.get(name)
        if value is None:
            reader.note(
                place,
                f"case `{clip(case.id)}` ({case.where}) has no `{clip(name)}`",
                f"a value of the {what} column in every case",
                "fill it in; write `unknown` where it is not known",
            )
            return
        if isinstance(value, (list, dict)):
            reader.note(
                place,
                f"`{clip(name)}` of case `{clip(case.id)}` ({case.where}) is {'a list' if isinstance(value, list) else 'a mapping'}",
                "text, a number, or true and false",
                f"write one plain value as the {what}",
            )
            return


# ------------------------------------------------------------------ hypotheses


def _hypothesis(
    name: str, written: Expectation, node: Node, shaped: Shaped[StudyFile], names: Sequence[str], rubric: ReadRubric | None, reader: Reader
) -> Hypothesis | None:
    if not isinstance(node.value, dict):
        return None
    present = [key for key in _EXPECTED if (child := node.get(key)) is not None and child.value is not None]
    if len(present) != 1:
        place = node.where(present[1], key=True) if present else node.where()
        if any(key in Expectation.later for key, _, _ in node.entries()) and not present:
            return None  # already answered: a kind of hypothesis that a later version brings
        found = f"the hypothesis `{name}` expects {'several things: ' + listed(present) if present else 'nothing'}"
        reader.note(
            place,
            found,
            f"exactly one of {listed(_EXPECTED)}",
            "write one hypothesis for each" if present else "say what is expected, such as `better: A`, `than: B`",
        )
        return None
    kind = present[0]
    for key, place, child in node.entries():
        if key in ("than", "by", "system", "margin") and key not in _BESIDE[kind] and child.value is not None:
            reader.note(
                place,
                f"`{key}` has no place beside `{kind}`",
                listed((kind, *_BESIDE[kind], "on", "text", "worth_finding", "primary")),
                f"take `{key}` out",
            )
    for key in _BESIDE[kind]:
        if key not in ("by",) and ((child_ := node.get(key)) is None or child_.value is None):
            reader.note(
                node.where(),
                f"`{key}` is missing beside `{kind}`",
                "a system" if key != "margin" else "how much worse it may be, such as 0.03",
                f"add `{key}:`",
            )
    system, than = (written.better, written.than) if kind == "better" else (written.system, written.no_worse_than)
    for key in ("better", "than", "system", "no_worse_than"):
        value = getattr(written, key)
        if value is not None and value not in names:
            reader.note(
                node.where(key),
                f"the study has no system `{clip(value)}`",
                listed(names),
                nearest(value, names) or "name a system of the study",
            )
    if system is not None and system == than:
        reader.note(
            node.where("than" if kind == "better" else "no_worse_than"),
            f"`{clip(system)}` is compared with itself",
            "two systems",
            "name another system",
        )
    if kind == "better" and written.worth_finding is not None and written.by is not None and written.worth_finding <= written.by:
        reader.note(
            node.where("worth_finding"),
            f"`worth_finding` is {written.worth_finding:g} and `by` is {written.by:g}",
            "worth_finding larger than by",
            "a difference must be larger than `by` to support this",
        )
    on = _on(written.on, node.where("on"), rubric, reader) if written.on is not None else None
    if system is None or on is None:
        return None
    kinds: dict[str, HypothesisKind] = {"better": "better", "at_least": "at_least", "at_most": "at_most", "no_worse_than": "no_worse_than"}
    margins = {"better": written.by, "at_least": written.at_least, "at_most": written.at_most, "no_worse_than": written.margin}
    return Hypothesis(
        name, kinds[kind], system, on, written.text or "", than, margins[kind] or 0.0, written.worth_finding, bool(written.primary)
    )


def _on(written: str, place: Place, rubric: ReadRubric | None, reader: Reader) -> str | None:
    """What is compared, in its one spelling, or None after its mistake was noted."""
    match = _ON.fullmatch(written)
    if match is None:
        reader.note(
            place,
            f"`{clip(written)}` does not say what is compared",
            "score, a criterion, or criterion>=level",
            "write it as `criterion>=level`",
        )
        return None
    criterion, level = match[1], match[2]
    if criterion == "score":
        if level is None:
            return "score"
        reader.note(place, f"`{clip(written)}` sets a level on the score", "score", "write `on: score`; the score has no levels")
        return None
    if rubric is None:
        return None
    if criterion not in rubric.names:
        known = ("score", *rubric.names)
        reader.note(
            place,
            f"the rubric has no criterion `{clip(criterion)}`",
            listed(known),
            nearest(criterion, known) or "name a criterion of the rubric, or score",
        )
        return None
    scale = rubric.checked(criterion)
    if scale is None:
        return None
    if level is None:
        if scale.scale == "nominal" and len(scale.levels) > 2 and all(one.value is None for one in scale.levels):
            reader.note(
                place,
                f"`{criterion}` has levels without an order, so they have no mean",
                f"{criterion}>=LEVEL with one of {scale_in_words(scale)}",
                "name the level that counts, or give the levels values",
            )
            return None
        return criterion
    if not on_scale(scale, level):
        reader.note(
            place,
            f"`{clip(level)}` is not on the scale of `{criterion}`",
            scale_in_words(scale),
            nearest(level, scale.level_names()) or "name one of these",
        )
        return None
    return f"{criterion}>={level}"
