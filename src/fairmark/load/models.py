"""The shapes of study.yaml and rubric.yaml, as they are after `sugar` has taken short forms apart.

The models say what is typed wrong; what a study means is checked in `systems`, `marking`, `rubrics` and `reading`. Every
field may be absent here: what is needed is in `needed`, so that one missing key hides no other mistake.
"""

from __future__ import annotations

import ast
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Words = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """A mapping in a file."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=False, defer_build=True)
    needed: ClassVar[tuple[str, ...]] = ()
    later: ClassVar[dict[str, str]] = {}  # keys of later versions, and what they will do


class Columns(Part):
    """Which column of a file plays which role."""

    case: Words | None = None
    """Column with the id of the case."""
    system: Words | None = None
    """Column with the name of the system."""
    trial: Words | None = None
    """Column with the number of the trial, counted from 1."""


class AnswerColumns(Columns):
    """Which column of a recording plays which role."""

    output: Words | None = None
    """Column with the answer."""


class MarkColumns(AnswerColumns):
    """Which column of a file of marks plays which role."""

    criterion: Words | None = None
    """Column with the criterion."""
    rater: Words | None = None
    """Column with the pseudonym of the person who marked."""
    label: Words | None = None
    """Column with the level given."""
    reason: Words | None = None
    """Column with the person's reason."""
    probability: Words | None = None
    """Column with the probability with which the answer was chosen for marking, above 0 and at most 1."""
    confidence: Words | None = None
    """Column with the probability that the one who marked gives the label, 0 to 1."""


class Http(Part):
    """An application behind an address."""

    needed = ("url",)
    url: Words | None = None
    """Address that is asked, starting with http:// or https://."""
    method: Literal["POST", "GET", "PUT", "PATCH"] | None = None
    """HTTP method; POST unless given."""
    headers: dict[str, str] | None = None
    """Request headers. Secrets only as references: `Bearer env:NAME`."""
    body: Any = None
    """JSON sent along; `{{input}}` and other slots are filled in."""
    answer: Words | None = None
    """Where the reply stands in the JSON that comes back, such as $.reply; without it the whole text is the reply."""


class Model(Part):
    """How a language model is asked."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """How freely it words its answer: 0 picks the likeliest word every time."""
    max_tokens: Positive | None = None
    """Longest answer, in tokens."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Number that makes random choices repeatable, where the endpoint keeps to it."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of likely words it chooses among."""
    stop: list[Words] | None = None
    """Texts at which the answer ends."""
    base_url: Words | None = None
    """Address of an OpenAI-compatible endpoint."""
    api_key: Words | None = None
    """Name of the environment variable with the key, as env:NAME. Never the key itself."""
    prompt: Words | None = None
    """File with the prompt."""


class System(Model):
    """One system under assessment: exactly one of model, local, http, python, command, recorded."""

    model: Words | None = None
    """Language model as provider/model, such as local/smollm2 or openai/NAME."""
    local: Words | None = None
    """Path of a GGUF file, run on this machine."""
    http: Http | None = None
    """Application behind an address."""
    python: Words | None = None
    """Python function as file.py:function."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """Program and arguments, with {{slots}}; what it prints is the answer."""
    recorded: Words | None = None
    """File of answers recorded beforehand (JSONL or CSV)."""
    columns: AnswerColumns | None = None
    """Which column of the recording plays which role."""
    version: Words | None = None
    """Version of an application whose code cannot be hashed. A new version asks anew."""
    seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    """Longest time one answer may take."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests in flight to this system."""


class Grader(Model):
    """Someone or something that marks: exactly one of llm, check, recorded."""

    model_config = ConfigDict(extra="allow")  # the options of a check are told apart in `marking`
    llm: Words | None = None
    """Language model that marks, as provider/model."""
    check: Words | None = None
    """Rule that marks, such as contains or max_words."""
    recorded: Words | None = None
    """File of marks that people gave (CSV or JSONL)."""
    criteria: Annotated[list[Words], Field(min_length=1)] | None = None
    """Criteria it marks."""
    criterion: Words | None = None
    """The one criterion it marks."""
    repeats: Annotated[int, Field(ge=1, le=100)] | None = None
    """How often an LLM grader is asked each question."""
    examples: Annotated[int, Field(ge=1, le=20)] | None = None
    """How many marked responses of the train part an LLM grader is shown on each criterion; none unless given."""
    value: Any = None
    """What a check looks for."""
    function: Words | None = None
    """Python function of the check python, as file.py:function."""
    columns: MarkColumns | None = None
    """Which column of the marks plays which role."""
    chosen: Literal["all", "random", "stratified", "self-selected", "unknown"] | None = None
    """How the marked answers were chosen."""
    guideline: Words | None = None
    """Version of the guideline people marked by."""
    by: Literal["people", "model"] | None = None
    """Whose recorded marks these are; people unless given. A model's decide nothing until people's correct them."""


class People(Part):
    """Who marks in the browser (`fairmark serve`), which responses, and what they are shown."""

    needed = ("roster",)
    roster: Annotated[list[Words], Field(min_length=1)] | None = None
    """Pseudonyms of those who mark."""
    adjudicators: list[Words] | None = None
    """Pseudonyms of those who settle disagreements; they may be on the roster too."""
    criteria: Annotated[list[Words], Field(min_length=1)] | None = None
    """Criteria people mark; all of them unless given."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of each system's responses that people mark, such as 30%; all of them unless given."""
    twice: Fraction | None = None
    """Share of these that a second person marks too, such as 50%; 20% unless given, where two or more mark."""
    repeats: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """Share of a person's responses that come back unannounced, to see how steady the person is; 5% unless given."""
    together: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Cases that everybody marks before the rest is given out; none unless given."""
    strata: Words | None = None
    """Criterion whose LLM marks, with their confidence, make the strata of the draw."""
    show: Annotated[list[Words], Field(min_length=1)] | None = None
    """What is shown beside the response: input, expected, and columns of the cases; input unless given."""
    pairs: bool | None = None
    """Whether two systems' responses to one case stand side by side."""
    reasons: list[Words] | None = None
    """Criteria on which a reason is required."""
    training: Words | None = None
    """JSONL file of responses with known marks that everybody sees first (id, input, output, marks)."""
    guideline: Words | None = None
    """Text file with the guideline; a new text voids the marks given by the old one."""


class Tuning(Part):
    """How cases are split for tuning LLM graders; the rest is the test part."""

    needed = ("dev",)
    train: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the cases whose marked responses may be shown to graders as examples, such as 20%; none unless given."""
    dev: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the cases that prompts are tuned on, such as 30%."""


class Calibration(Part):
    """Recorded answers with known marks, for measuring LLM graders."""

    needed = ("items", "marked_by")
    items: Words | None = None
    """JSONL file with id, input, output, marks."""
    marked_by: Words | None = None
    """Who marked them: people, or development marks."""


class Plan(Part):
    """How hypotheses are judged."""

    later = {"max_cases": "planning the number of cases"}
    alpha: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Largest accepted chance of supporting what is not so, one-sided; 0.025 unless given."""
    power: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Wanted chance of finding what is worth finding; 0.8 unless given."""
    stop: Literal["at-the-end", "when-decided"] | None = None
    """at-the-end asks every case; when-decided stops once every primary hypothesis is decided. At the end unless given."""
    target: Literal["cases-like-these", "these-cases"] | None = None
    """With a stop, what is decided: how cases like these would go, or what these very cases would say. The former unless given."""


class Budget(Part):
    """What a run may use at most."""

    usd: Annotated[float, Field(ge=0)] | None = None
    """US dollars."""
    calls: Annotated[int, Field(ge=0)] | None = None
    """Requests, retries included."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes."""
    tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens, read and written."""


class Limit(Part):
    """What one host takes at most."""

    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests in flight there."""
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Requests a minute, spread evenly."""
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Tokens a minute, read and written."""


class Expectation(Part):
    """One hypothesis: better and than, or system with at_least, at_most, or no_worse_than."""

    needed = ("on",)
    later = {
        "groups": "testing gaps between groups",
        "within": "testing gaps between groups",
        "cost_per": "testing costs",
        "below": "testing costs",
    }
    text: Words | None = None
    """What is expected, in a sentence."""
    better: Words | None = None
    """System expected to do better."""
    than: Words | None = None
    """System it is compared with."""
    by: Annotated[float, Field(ge=0, lt=1)] | None = None
    """How much better at least, as a share: 0.05 is five points of a hundred. 0 unless given."""
    system: Words | None = None
    """System the hypothesis is about."""
    at_least: Annotated[float, Field(gt=0, le=1)] | None = None
    """Lowest share or mean that is good enough."""
    at_most: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Highest share or mean that is good enough."""
    no_worse_than: Words | None = None
    """System it must keep up with."""
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    """How much worse it may be, as a share."""
    on: Words | None = None
    """What is compared: score, a criterion, or criterion>=level."""
    worth_finding: Annotated[float, Field(gt=0, le=1)] | None = None
    """Smallest effect worth finding, for planning the number of cases."""
    primary: bool | None = None
    """Whether the study was made to decide this one."""


class StudyFile(Part):
    """study.yaml"""

    needed = ("study", "cases", "systems", "rubric", "graders")
    later = {
        "personas": "personas",
        "claims": "checking public claims",
        "value": "weighing costs against benefits",
    }
    study: Words | None = None
    """Short name of the study."""
    question: Words | None = None
    """The question it answers, in a sentence."""
    cases: Annotated[list[Words], Field(min_length=1)] | None = None
    """File or files of cases (JSONL or CSV)."""
    cluster: Words | None = None
    """Column whose equal values belong together, such as customer."""
    groups: list[Words] | None = None
    """Columns that say whose experience a case is."""
    systems: Annotated[dict[str, System], Field(min_length=1)] | None = None
    """Systems under assessment, by name."""
    trials: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How often each system answers each case; 1 unless given."""
    rubric: Any = None
    """File of the rubric, or the rubric itself."""
    graders: dict[str, Grader] | None = None
    """Checks, LLM graders and recorded marks, by name; may be left out where `people` mark."""
    people: People | None = None
    """Who marks in the browser."""
    tuning: Tuning | None = None
    """Which part of the cases graders are tuned on."""
    calibration: Calibration | None = None
    """Recorded answers with known marks."""
    plan: Plan | None = None
    """How hypotheses are judged."""
    population: dict[str, Annotated[list[Words], Field(min_length=1)]] | None = None
    """Whom this is meant for: for each column of the cases, all values that should be tested."""
    hypotheses: dict[str, Expectation] | None = None
    """What is expected, written down before the data."""
    interests: dict[str, Words] | None = None
    """Who shaped this assessment: built_by, paid_by, rubric_by and so on."""
    budget: Budget | None = None
    """What a run may use at most."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests in flight per endpoint; 8 unless given."""
    limits: dict[str, Limit] | None = None
    """What single hosts take at most, by host as `fairmark plan` shows it."""


class LevelEntry(Part):
    """One step of a scale."""

    needed = ("level", "anchor")
    level: Words | None = None
    """Name of the level, as a grader says it."""
    anchor: Words | None = None
    """Sentence that says what a response at this level looks like."""
    value: Fraction | None = None
    """What the level is worth, 0 to 1; spaced evenly from worst to best unless given."""


class ExampleEntry(Part):
    """A worked example shown to graders."""

    needed = ("response", "level")
    response: Words | None = None
    """The answer that was marked."""
    level: Words | None = None
    """The level it deserves."""
    reason: Words | None = None
    """Why."""
    input: Words | None = None
    """The request it answers."""


class CriterionEntry(Part):
    """One thing a response is marked on."""

    needed = ("question",)
    question: Words | None = None
    """What the grader is asked."""
    scale: Literal["ordinal", "nominal", "interval"] | None = None
    """ordinal: levels from worst to best; nominal: levels without an order; interval: numbers in a range."""
    levels: Annotated[list[LevelEntry], Field(min_length=2, max_length=20)] | None = None
    """Levels from worst to best, each with its anchor."""
    range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Lowest and highest number of an interval scale."""
    pass_at: Words | None = Field(default=None, alias="pass")
    """Lowest level that passes; the best unless given."""
    weight: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """Share in the score; 1 unless given, may be negative or 0."""
    gate: bool | None = None
    """Must pass, or the whole response scores 0."""
    not_applicable: bool | None = None
    """Whether a grader may say that this does not apply."""
    guidance: Words | None = None
    """How to mark the hard cases."""
    examples: list[ExampleEntry] | None = None
    """Worked examples shown to graders."""


class RubricFile(Part):
    """rubric.yaml"""

    needed = ("criteria",)
    rubric: Words | None = None
    """Name of the rubric."""
    criteria: Annotated[dict[str, CriterionEntry], Field(min_length=1)] | None = None
    """Criteria by name, in the order they are shown."""


def description(part: type[Part], field: str) -> str:
    """What stands under a field of a model; empty where nothing does."""
    return next((said for kind in part.__mro__ if (said := _said().get(kind.__name__, {}).get(field))), "")


@cache
def _said() -> dict[str, dict[str, str]]:
    """The words under the fields of each model: only schemas and messages need them, and pydantic would look at every start."""
    found: dict[str, dict[str, str]] = {}
    for model in ast.parse(Path(__file__).read_text(encoding="utf-8")).body:
        if isinstance(model, ast.ClassDef):
            said = found[model.name] = {}
            for field, under in zip(model.body, model.body[1:], strict=False):
                words = under.value.value if isinstance(under, ast.Expr) and isinstance(under.value, ast.Constant) else None
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(words, str):
                    said[field.target.id] = cleandoc(words)
    return found
