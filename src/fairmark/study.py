"""The plan of an assessment: cases, systems, rubric, graders, hypotheses, and the fingerprint that freezes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from fairmark.records import Case, Item, Json, canonical, digest
from fairmark.results import Deviation, Refusal
from fairmark.rubric import Rubric

SystemKind = Literal["model", "http", "python", "command", "recorded"]
GraderKind = Literal["llm", "check", "recorded", "people"]
Chosen = Literal["all", "random", "stratified", "self-selected", "unknown"]
HypothesisKind = Literal["better", "at_least", "at_most", "no_worse_than"]
Part = Literal["train", "dev", "test"]
Kind = Literal["check", "llm", "human"]  # whose marks a grader gives
Stop = Literal["at-the-end", "when-decided"]
Target = Literal["cases-like-these", "these-cases"]

# where several kinds of grader mark one criterion, the first of these that does decides it
PRECEDENCE: tuple[Kind, ...] = ("human", "check", "llm")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A language model and how it is asked."""

    provider: str  # local, openai, anthropic or the name of an entry point
    model: str  # as the provider names it; for local a known name or the path of a GGUF file
    options: Mapping[str, Json] = field(default_factory=dict)  # temperature, max_tokens, seed, top_p, stop, ...
    base_url: str | None = None  # of an OpenAI-compatible endpoint; None: the provider's own, or the environment's
    api_key: str | None = None  # always a reference such as env:OPENAI_API_KEY, never the key
    weights: str = ""  # SHA-256 of a local model's file; empty for hosted models

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"

    def identity(self) -> dict[str, Json]:
        """What names the model in keys. The key reference is not in it; a local file is named by its content."""
        return {
            "provider": self.provider,
            "model": "" if self.weights else self.model,
            "weights": self.weights,
            "base_url": self.base_url,
            "options": dict(self.options),
        }


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """One system under assessment."""

    name: str
    kind: SystemKind
    model: ModelSpec | None = None  # kind model
    prompt: str | None = None  # text of the prompt file; holds {{input}} or stands as the system message
    url: str | None = None  # kind http
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)  # values may be env:NAME references
    body: Json = None  # JSON template with {{slots}}
    answer: str | None = None  # JSON path of the reply in what came back, such as $.reply
    target: str | None = None  # kind python: file.py:function
    code: str = ""  # kind python: SHA-256 of the file
    command: tuple[str, ...] = ()  # kind command: program and arguments, with {{slots}}
    recorded: Mapping[tuple[str, int], str] | None = None  # kind recorded: (case id, trial) -> output
    recorded_from: str = ""  # file the recording was read from
    version: str = ""  # declared version of an application whose code cannot be hashed
    options: Mapping[str, Json] = field(default_factory=dict)  # seconds (deadline), concurrency: not part of the name

    def identity(self) -> dict[str, Json]:
        """What names the system in keys: everything that shapes an answer, and neither its nickname nor its secrets."""
        return {
            "kind": self.kind,
            "model": self.model.identity() if self.model else None,
            "prompt": self.prompt,
            "url": self.url,
            "method": self.method if self.kind == "http" else None,
            "headers": dict(self.headers),
            "body": self.body,
            "answer": self.answer,
            "target": self.target,
            "code": self.code,
            "command": list(self.command),
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Mark:
    """One recorded mark by a person."""

    case_id: str
    system: str  # empty: the marks of a lone system
    trial: int
    criterion: str
    rater: str  # pseudonym
    label: str
    reason: str = ""
    output: str | None = None  # the answer that was marked, where the file holds it
    where: str = ""  # file:line
    probability: float | None = None  # with which this answer was chosen for marking; None: not said
    confidence: float | None = None  # probability that the one who marked gave this label, 0 to 1; None: not said


@dataclass(frozen=True, slots=True)
class GraderSpec:
    """Someone or something that marks."""

    name: str
    kind: GraderKind
    criteria: tuple[str, ...]  # what it marks
    model: ModelSpec | None = None  # kind llm
    prompt: str | None = None  # kind llm: own text instead of the shipped one
    repeats: int = 1  # kind llm: how often each question is asked
    examples: int = 0  # kind llm: marked responses of the train part that it is shown on each criterion
    check: str = ""  # kind check: contains, regex, max_words, python, ...
    value: Json = None  # kind check: what it looks for
    options: Mapping[str, Json] = field(default_factory=dict)  # kind check: further settings of this check
    target: str | None = None  # kind check, python: file.py:function
    code: str = ""  # SHA-256 of that file
    marks: tuple[Mark, ...] = ()  # kind recorded
    marks_from: str = ""  # file the marks were read from
    chosen: Chosen = "unknown"  # how the marked responses were chosen
    guideline: str = ""  # version of the guideline people marked by
    by: Literal["people", "model"] = "people"  # kind recorded: whose marks these are


@dataclass(frozen=True, slots=True)
class CalibrationItem:
    """A recorded answer with known marks, for measuring an LLM grader."""

    item: Item
    marks: Mapping[str, str]  # criterion -> label


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Recorded answers that carry marks. They are not this study's answers, so trust measured here is borrowed."""

    items: tuple[CalibrationItem, ...]
    marked_by: str  # people, or development marks
    source: str  # file


@dataclass(frozen=True, slots=True)
class People:
    """Who marks in the browser, which responses, and what they are shown."""

    roster: tuple[str, ...]  # pseudonyms of those who mark
    adjudicators: tuple[str, ...] = ()  # pseudonyms of those who settle disagreements; they may mark too
    name: str = "people"  # the grader that their marks belong to
    criteria: tuple[str, ...] = ()  # what they mark
    share: float = 1.0  # of the responses of each system that are marked, 0 to 1
    twice: float = 0.0  # of the marked responses, those that a second person marks too
    repeats: float = 0.0  # of a person's responses, those shown a second time unannounced
    together: int = 0  # cases that everybody marks before the rest is given out
    strata: str | None = None  # criterion whose LLM marks make the strata of the draw
    show: tuple[str, ...] = ("input",)  # input, expected and columns of the cases; nothing else is shown
    pairs: bool = False  # whether two systems' responses to one case stand side by side
    reasons: tuple[str, ...] = ()  # criteria on which a reason is required
    training: CalibrationSet | None = None  # responses with known marks, shown first
    guideline: str = ""  # text of the guideline; a new text voids the marks given by the old one

    def document(self) -> dict[str, Json]:
        """What is frozen: how marks come about. Who marks may change during a study."""
        return {
            "criteria": list(self.criteria),
            "share": self.share,
            "twice": self.twice,
            "repeats": self.repeats,
            "together": self.together,
            "strata": self.strata,
            "show": list(self.show),
            "pairs": self.pairs,
            "guideline": self.guideline,
        }

    @property
    def version(self) -> str:
        """Names the guideline in keys; empty where there is none."""
        return digest(self.guideline)[:16] if self.guideline else ""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How cases are split for tuning LLM graders. What is neither train nor dev is test, and only test labels decide."""

    train: float = 0.0  # share of cases whose marked responses graders may be shown as examples
    dev: float = 0.0  # share of cases that prompts are tuned on

    def document(self) -> dict[str, Json]:
        return {"train": self.train, "dev": self.dev}

    def part(self, study: str, unit: str) -> Part:
        """The part of a cluster, or of a case where there are no clusters.

        Drawn by a digest of both names alone: the same whenever it is asked, whatever cases are added or taken out. The
        shares are therefore met on average, and not exactly.
        """
        place = _place(study, unit)
        return "train" if place < self.train else "dev" if place < self.train + self.dev else "test"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One expectation, written down before the data."""

    id: str
    kind: HypothesisKind
    system: str  # the system it is about
    on: str  # score, criterion, or criterion>=level
    text: str = ""
    than: str | None = None  # the system it is compared with
    margin: float = 0.0  # by (better), the bound (at_least, at_most), or the tolerated loss (no_worse_than); shares of 1
    worth_finding: float | None = None  # smallest effect worth finding, for planning
    primary: bool = False

    def document(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "system": self.system,
            "than": self.than,
            "on": self.on,
            "margin": self.margin,
            "worth_finding": self.worth_finding,
            "primary": self.primary,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """How hypotheses are judged."""

    alpha: float = 0.025  # one-sided
    power: float = 0.8
    stop: Stop = "at-the-end"  # or as soon as every primary hypothesis is decided
    target: Target = "cases-like-these"  # or what these very cases would say if all were asked; only with a stop


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may use at most. None: no limit."""

    usd: float | None = None
    calls: int | None = None
    minutes: float | None = None
    tokens: int | None = None  # read and written


@dataclass(frozen=True, slots=True)
class Limit:
    """What one host takes at most. None: no limit of its own."""

    concurrency: int | None = None  # requests in flight
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None  # read and written


@dataclass(frozen=True, slots=True)
class Study:
    """One assessment as its files describe it."""

    name: str
    question: str
    folder: Path  # where its files are; the store stands in it
    cases: tuple[Case, ...]
    systems: Mapping[str, SystemSpec]
    rubric: Rubric
    graders: Mapping[str, GraderSpec]
    hypotheses: tuple[Hypothesis, ...] = ()
    cluster: str | None = None  # column whose equal values belong together
    groups: tuple[str, ...] = ()  # columns that say whose experience a case is
    trials: int = 1
    plan: Plan = Plan()
    population: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # whom this is meant for
    budget: Budget = Budget()
    interests: Mapping[str, str] = field(default_factory=dict)  # who shaped this assessment
    calibration: CalibrationSet | None = None
    people: People | None = None
    tuning: Tuning | None = None  # None: no grader was tuned on these cases
    concurrency: int = 8  # requests in flight per endpoint
    limits: Mapping[str, Limit] = field(default_factory=dict)  # by host

    def document(self) -> dict[str, Any]:
        """What is frozen, part by part, so that a later change can be named."""
        return {
            "question": self.question,
            "cluster": self.cluster,
            "groups": list(self.groups),
            "trials": self.trials,
            "plan": {
                "alpha": self.plan.alpha,
                "power": self.plan.power,
                **({"stop": self.plan.stop} if self.plan.stop != Plan().stop else {}),
                **({"target": self.plan.target} if self.plan.target != Plan().target else {}),
            },
            "population": {name: list(values) for name, values in self.population.items()},
            "hypotheses": {h.id: h.document() for h in self.hypotheses},
            "criteria": {
                c.id: {
                    "wording": c.wording(),
                    "weight": c.weight,
                    "gate": c.gate,
                    "pass_at": c.pass_at,
                    "values": [level.value for level in c.levels],
                }
                for c in self.rubric
            },
            "systems": {name: digest(spec.identity()) for name, spec in self.systems.items()},
            "graders": {name: digest(grader_document(spec)) for name, spec in self.graders.items()},
            **({"people": self.people.document()} if self.people is not None else {}),
            **({"tuning": self.tuning.document()} if self.tuning is not None else {}),
            "cases": {case.id: digest([list(case.input), case.expected, dict(case.fields)]) for case in self.cases},
        }

    def part(self, case: Case) -> Part:
        """The part of the tuning split that a case is in; test where there is no split. Clusters are never parted."""
        if self.tuning is None:
            return "test"
        return self.tuning.part(self.name, self.unit_of(case))

    def unit_of(self, case: Case) -> str:
        """The name of what stands for itself: the case's cluster, or the case where no clusters are declared."""
        return case.id if self.cluster is None else str(case.fields.get(self.cluster))

    def order_seed(self, wave: str) -> str:
        """What draws the order in which the cases of a wave are asked and taken in."""
        return f"{self.name}/{wave}"

    def in_order(self, seed: int | str) -> tuple[Case, ...]:
        """The cases in the random order in which they are asked, those of a cluster together.

        Each cluster, or case, draws its place by a digest of its name and the seed, so that a case more or less leaves
        the others where they are.
        """
        units = dict.fromkeys(self.unit_of(case) for case in self.cases)
        drawn = {name: hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest() for name in units}
        return tuple(sorted(self.cases, key=lambda case: drawn[self.unit_of(case)]))

    def deciding(self, criterion: str) -> tuple[str, Kind] | None:
        """The grader (name, kind) whose marks decide a criterion: people before checks before LLM graders."""
        present: dict[Kind, str] = {}
        for name, spec in self.graders.items():
            if criterion in spec.criteria:
                present.setdefault(kind_of(self, name), name)
        return next(((present[kind], kind) for kind in PRECEDENCE if kind in present), None)

    def criteria_of(self, on: str) -> tuple[str, ...]:
        """The criteria that `score`, `criterion` or `criterion>=level` rests on."""
        if on == "score":
            return tuple(criterion.id for criterion in self.rubric if criterion.weight != 0 or criterion.gate)
        return (on.partition(">=")[0].strip(),)

    def fingerprint(self) -> str:
        """SHA-256 of the frozen document."""
        return digest(self.document())

    def systems_of(self, hypothesis: Hypothesis) -> tuple[str, ...]:
        """The system it is about, and the one it is compared with."""
        return (hypothesis.system,) if hypothesis.than is None else (hypothesis.system, hypothesis.than)


def kind_of(study: Study, grader: str) -> Kind:
    """Whether a grader's marks are a check's, a model's or people's."""
    spec = study.graders[grader]
    if spec.kind == "check" or spec.kind == "llm":
        return spec.kind
    return "llm" if spec.by == "model" else "human"


def cannot_stop(study: Study) -> dict[str, Refusal]:
    """What keeps a run from stopping as soon as it is decided, by primary hypothesis; by "" where there is none to decide.

    Only marks that are there with the answer can decide while answers come in: those of a check, or people's that were
    recorded for every answer.
    """
    primary = [hypothesis for hypothesis in study.hypotheses if hypothesis.primary]
    if not primary:
        why = "a run stops once its primary hypotheses are decided, and none is primary"
        return {"": Refusal("NOTHING_TO_DECIDE", why, "mark the one the decision rests on with `primary: true`")}
    found = {hypothesis.id: cannot_follow(study, hypothesis) for hypothesis in primary}
    return {name: refusal for name, refusal in found.items() if refusal is not None}


def cannot_follow(study: Study, hypothesis: Hypothesis) -> Refusal | None:
    """Why a hypothesis cannot be decided while answers come in; None where it can."""
    if study.plan.target == "these-cases":
        step = "write `target: cases-like-these`"
        if study.cluster is not None:
            why = f"what these very cases would say is told case by case, and those of one {study.cluster} are asked together"
            return Refusal("BANK_OF_CLUSTERS", why, step)
        open_ = [name for name in study.criteria_of(hypothesis.on) if study.rubric[name].not_applicable]
        if open_:
            return Refusal("BANK_OF_UNKNOWN_SIZE", f"nobody knows beforehand to how many of these cases {open_[0]} applies", step)
    for criterion in study.criteria_of(hypothesis.on):
        decided = study.deciding(criterion)
        if decided is None:
            why = f"no grader marks {criterion}"
        elif decided[1] == "llm":
            why = f"only an LLM grader marks {criterion}: a stop would decide what it thinks of the answers, not how good they are"
        elif study.graders[decided[0]].kind == "people":
            why = f"people mark {criterion} after the run, so that nothing is decided while it runs"
        elif decided[1] == "human" and study.graders[decided[0]].chosen != "all":
            why = f"people marked only some of the answers on {criterion}"
        else:
            continue
        step = f"let a check mark {criterion}, or ask every case with `stop: at-the-end`"
        return Refusal("STOP_NEEDS_CHECK", why, step)
    return None


def grader_document(spec: GraderSpec) -> dict[str, Json]:
    """What is frozen of a grader. The marks of people arrive later, so they are not in it."""
    return {
        "kind": spec.kind,
        "criteria": list(spec.criteria),
        "model": spec.model.identity() if spec.model else None,
        "prompt": spec.prompt,
        "repeats": spec.repeats,
        "check": spec.check,
        "value": spec.value,
        "options": dict(spec.options),
        "target": spec.target,
        "code": spec.code,
        "guideline": spec.guideline,
        **({"examples": spec.examples} if spec.examples else {}),
    }


@lru_cache(maxsize=100_000)
def _place(study: str, unit: str) -> float:
    """A number from 0 to 1 that both names draw."""
    return int(digest(["tuning", study, unit])[:16], 16) / 16**16


def receipt(fingerprint: str) -> str:
    """The short code of a fingerprint, to publish: `fm-` and two groups of four letters and digits."""
    alphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
    number = int(fingerprint[:16], 16)
    letters = "".join(alphabet[(number >> (5 * place)) & 31] for place in range(8))
    return f"fm-{letters[:4]}-{letters[4:]}"


def deviations(frozen: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Deviation, ...]:
    """Every part of the plan that differs from the frozen document, in the order of the document."""
    found: list[Deviation] = []
    singular = {"hypotheses": "hypothesis", "criteria": "criterion", "systems": "system", "graders": "grader", "cases": "case"}
    for part in ("question", "cluster", "groups", "trials", "plan", "population", "people", "tuning"):
        if canonical(frozen.get(part)) != canonical(now.get(part)):
            found.append(Deviation(part, f"changed from {canonical(frozen.get(part))} to {canonical(now.get(part))}"))
    for part, word in singular.items():
        before, after = frozen.get(part, {}), now.get(part, {})
        found += [Deviation(f"{word} {name}", "added") for name in after if name not in before]
        found += [Deviation(f"{word} {name}", "removed") for name in before if name not in after]
        for name in after:
            if name in before and canonical(before[name]) != canonical(after[name]):
                found.append(Deviation(f"{word} {name}", "changed"))
    return tuple(found)
