"""What is written down: cases, questions, answers, responses, grades and failures, and the keys that name them.

A record is named by the hash of all that determined it, so running again fills in what is missing, and a change voids
exactly what it touches. A failure is a record too: nothing that went wrong is a zero, and nothing is dropped.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

Json = Any  # what json.loads returns, without NaN or infinity

FailureKind = Literal[
    "rate_limited",  # 429, after the allowed tries
    "server_error",  # 5xx, after the allowed tries
    "connection",  # refused, reset, lost
    "timeout",  # no complete answer within the deadline
    "broken_reply",  # an answer that is not what the protocol promises
    "empty_reply",  # a well-formed answer with no text in it
    "bad_request",  # 400 and its kin: asking again cannot help
    "auth",  # 401, 403: the key is missing or refused
    "code_error",  # a callable, command or Python check raised
    "not_recorded",  # a recorded system or grader holds nothing for this case
    "unreadable_grade",  # a grader's answer names no offered level
    "bad_label",  # a label that is not on the criterion's scale
    "stale_mark",  # a person's mark that was given to another answer
    "withdrawn",  # a person took the mark back
    "not_covered",  # a person found that the rubric does not cover this response
    "no_response",  # nothing to grade, because the response failed
    "budget",  # not asked: the budget was used up
    "cancelled",  # not finished: the run was stopped
]
ADJUDICATED = "adjudicated"  # rater of the marks that settle a disagreement; no person may be called so

# asking the same again later may well succeed
TRANSIENT: frozenset[str] = frozenset(
    {"rate_limited", "server_error", "connection", "timeout", "broken_reply", "empty_reply", "auth", "budget", "cancelled", "no_response"}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What the world did instead of answering. It is stored and counted, never averaged."""

    kind: FailureKind
    where: str  # the host, file or function that failed
    why: str  # in a sentence, without secrets
    retry_after: float | None = None  # seconds the other side asked us to wait

    @property
    def transient(self) -> bool:
        """Whether the next run should ask again."""
        return self.kind in TRANSIENT


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


@dataclass(frozen=True, slots=True)
class Case:
    """One situation a system is tried in."""

    id: str
    input: tuple[Message, ...]  # the conversation so far; plain text is one user message
    expected: str | None = None  # the reference answer, where there is one
    fields: Mapping[str, Json] = field(default_factory=dict)  # every other column, groups and cluster included
    where: str = ""  # file:line it was read from

    @property
    def text(self) -> str:
        """The input as plain text: the one message, or the turns with their roles."""
        return plain_text(self.input)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, in disjoint kinds. None where the endpoint did not say."""

    input_tokens: int | None = None  # prompt tokens that were not served from a cache
    cached_tokens: int | None = None  # prompt tokens served from a cache
    output_tokens: int | None = None  # reply tokens, reasoning included


@dataclass(frozen=True, slots=True)
class Question:
    """Something asked of a system or of a grader's model. Everything in it is part of the answer's name."""

    messages: tuple[Message, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)  # temperature, max_tokens, seed, top_p, stop, ...
    schema: Mapping[str, Json] | None = None  # JSON Schema that the reply has to follow
    logprobs: bool = False  # ask for token log-probabilities where offered
    fields: Mapping[str, Json] = field(default_factory=dict)  # the case's columns that the system may look at
    recorded: str | None = None  # the reply, where it was recorded beforehand
    trial: int = 1  # which repeat this is: part of the request, so that repeats are real


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    text: str
    finish: Literal["stop", "length", "refused", "tool", "unknown"] = "unknown"
    model: str = ""  # as the endpoint names it
    usage: Usage | None = None
    cost_usd: float | None = None  # None: unknown, never 0 for lack of a price
    seconds: float | None = None  # from sending to the last byte; None for recorded answers
    logprobs: tuple[tuple[str, float], ...] | None = None  # token and its log-probability, in order
    attempts: int = 1  # how often it was sent


@dataclass(frozen=True, slots=True)
class Response:
    """One system's answer to one case in one trial and wave, or the failure in its place."""

    key: str
    case_id: str
    system: str
    trial: int
    wave: str
    answer: Answer | None = None
    failure: Failure | None = None
    at: int = 0  # UTC, nanoseconds since 1970

    @property
    def output(self) -> str | None:
        return self.answer.text if self.answer is not None else None


@dataclass(frozen=True, slots=True)
class Item:
    """What a grader may be shown: one case with one response."""

    case_id: str
    input: tuple[Message, ...]
    output: str
    reference: str | None = None
    fields: Mapping[str, Json] = field(default_factory=dict)
    system: str = ""  # for looking up recorded marks; never shown to anyone who marks
    trial: int = 1  # likewise


def item_of(case: Case, response: Response) -> Item:
    """What graders may be shown of one answered response."""
    assert response.answer is not None
    return Item(case.id, case.input, response.answer.text, case.expected, case.fields, response.system, response.trial)


@dataclass(frozen=True, slots=True)
class Span:
    """A quote and where it stands in the response."""

    quote: str
    start: int | None = None  # character offsets into the raw text; None: the quote is not there
    end: int | None = None

    @property
    def found(self) -> bool:
        return self.start is not None


@dataclass(frozen=True, slots=True)
class Grade:
    """One grader's record on one criterion of one response: the label it gave, or the failure in its place."""

    key: str
    case_id: str
    criterion: str
    grader: str  # name in the study
    rater: str = ""  # pseudonym of the person; empty for checks and LLM graders
    repeat: int = 0
    label: str | None = None  # a level, NOT_APPLICABLE or CANNOT_TELL
    failure: Failure | None = None
    reason: str = ""
    evidence: tuple[Span, ...] = ()
    confidence: float | None = None  # probability the grader itself gave this label, 0 to 1
    level_order: tuple[str, ...] = ()  # the order in which the levels were offered
    answer: Answer | None = None  # what the grader's model said, with its cost; None for checks and people
    source: str = ""  # digest of the recorded mark, which binds it to the one answer it saw
    at: int = 0  # UTC, nanoseconds since 1970
    seconds: float | None = None  # that a person spent on it; None for checks, LLM graders and recorded marks


AssignmentKind = Literal["training", "together", "work", "repeat"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """One response that one person is asked to mark, and how it came to be chosen."""

    id: str  # random; the only name that the person's browser sees
    study: str  # name of the study and wave
    person: str  # pseudonym
    kind: AssignmentKind  # training: its marks are known; together: all people mark it first; repeat: shown a second time
    response: str  # key of the response; id of the training item
    case_id: str | None  # None once it was forgotten
    system: str
    trial: int
    place: float  # in this person's random order
    repeat: int = 0  # 1 where the person has marked it before
    second: bool = False  # whether somebody else marks it too and came first in the draw
    stratum: str = ""  # within which it was drawn
    probability: float | None = None  # with which it was drawn; None where nothing was drawn, as for training
    round: int = 1
    pair: str = ""  # shared by two responses that stand side by side
    side: int = 0  # 0 left, 1 right
    at: int = 0  # UTC, nanoseconds since 1970


ActKind = Literal[
    "mark",  # a label, reason or evidence on one criterion, or its withdrawal
    "skip",  # the response is put to the end
    "undo",  # an earlier act is taken back
    "redo",  # and done again
    "note",  # a field note, or its withdrawal
    "code",  # notes are sorted into codes
    "reveal",  # somebody looked at what was hidden
    "adjudicate",  # a disagreement is settled
    "open",  # an owner opens the next stage
    "look",  # a grader is measured on the test part
]


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person did while marking. Acts are only ever added."""

    id: str  # made where it was done, so that sending it twice does it once
    study: str  # name of the study and wave
    person: str
    kind: ActKind
    content: Mapping[str, Json] = field(default_factory=dict)
    assignment: str = ""  # id of the assignment it belongs to
    case_id: str | None = None  # None: of no case, or forgotten
    at: int = 0  # UTC, nanoseconds since 1970
    seq: int = 0  # place in the journal; given by the store


class Provider(Protocol):
    """Whoever answers a question: a model behind an endpoint, a callable, a command, a recording.

    `ask` tries once and returns what happened; deadlines, retries and budgets belong to `calls`.
    """

    name: str  # as shown to people, such as local/smollm2
    host: str  # where the fields of a question go; "this machine" for local ones

    async def ask(self, question: Question) -> Answer | Failure: ...

    async def close(self) -> None: ...


class Grader(Protocol):
    """Whoever marks one criterion. Both methods are pure; who answers the question differs."""

    @property
    def name(self) -> str: ...  # in the study

    @property
    def kind(self) -> Literal["check", "llm", "human"]: ...

    @property
    def criterion(self) -> str: ...  # its id

    @property
    def rater(self) -> str: ...  # pseudonym of the person; empty for checks and LLM graders

    def shown(self, item: Item) -> Mapping[str, Json]:
        """Everything this grader sees of the item and of the criterion: the first part of the grade's name."""
        ...

    def identity(self) -> Mapping[str, Json]:
        """What the grader is (model, prompt, options, code): the second part of the grade's name."""
        ...

    def ask(self, item: Item) -> Question | None:
        """The question to put to a model, or None where nothing has to be asked."""
        ...

    def read(self, item: Item, answer: Answer | None) -> Verdict | Failure:
        """The verdict in the answer, or why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader said, before it becomes a `Grade` with its key."""

    label: str
    reason: str = ""
    evidence: tuple[Span, ...] = ()
    confidence: float | None = None
    level_order: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """One planned response and its name."""

    key: str
    case: Case
    system: str
    trial: int
    question: Question
    response: Response | None = None  # None: pending

    def missing(self, *, retry_failed: bool = False) -> bool:
        """Whether it has to be asked for: never answered, or failed in a way that may pass."""
        if self.response is None:
            return True
        failure = self.response.failure
        return failure is not None and (failure.transient or retry_failed)


@dataclass(frozen=True, slots=True)
class Task:
    """One planned grade and its name."""

    key: str
    grader: Grader
    item: Item
    repeat: int = 0
    grade: Grade | None = None  # None: pending

    def missing(self, *, retry_failed: bool = False) -> bool:
        """Whether it has to be made: never made, or failed in a way that may pass. People's marks are always looked up."""
        if self.grade is None:
            return True
        failure = self.grade.failure
        return failure is not None and (failure.transient or retry_failed or self.grader.kind == "human")


@dataclass(frozen=True, slots=True)
class Headway:
    """How far one system or grader is. planned = stored + done + failed + pending."""

    name: str
    what: Literal["response", "grade"]
    planned: int = 0
    stored: int = 0  # already in the store when the run began
    done: int = 0  # answered since then
    failed: int = 0  # failed since then
    priced: int = 0  # answers since then whose price is known
    unpriced: int = 0  # those whose price is unknown
    usd: float = 0.0  # what the priced ones cost
    usd_squared: float = 0.0  # the sum of the squares of their prices

    @property
    def pending(self) -> int:
        """Those that are still to come."""
        return max(0, self.planned - self.stored - self.done - self.failed)

    @property
    def usd_to_come(self) -> tuple[float, float] | None:
        """What the pending ones will cost, in 95 of 100 runs; None where no price says so.

        Each costs what an answer has cost on average. The range holds the doubt about that mean and the spread of what is to come.
        """
        if self.pending == 0:
            return 0.0, 0.0
        if self.unpriced or self.priced < 2:
            return None
        n, mean = self.priced, self.usd / self.priced
        variance = max(0.0, (self.usd_squared - n * mean * mean) / (n - 1))
        half = _t_975(n - 1) * math.sqrt(variance * self.pending * (1 + self.pending / n))
        return max(0.0, self.pending * mean - half), self.pending * mean + half


@dataclass(frozen=True, slots=True)
class Places:
    """How many requests may be in flight to one host."""

    host: str
    now: int
    most: int
    taken: int  # by requests, and by answers that are being stored
    lowered: str = ""  # why it is fewer than at most: `asked too often` or `slow`


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. The pool hands these to whoever watches. planned = stored + done + failed + pending."""

    planned: int  # responses and LLM grades
    stored: int  # already in the store when it began
    done: int  # answered since then
    failed: int  # failed since then
    in_flight: int
    calls: int  # requests sent, retries included
    usd: float | None  # spent; None once a call of unknown price was made
    seconds: float  # since it began
    a_second: float | None = None  # answers and failures a second lately; None where it cannot be told yet
    retries: int = 0
    resting: int = 0  # requests that wait to be sent again
    tokens: int = 0  # read and written
    headway: tuple[Headway, ...] = ()  # systems first, then graders
    failures: Mapping[str, int] = field(default_factory=dict)  # by kind
    retried: Mapping[str, int] = field(default_factory=dict)  # by kind: tries that failed and were or will be followed by another
    places: tuple[Places, ...] = ()
    hypotheses: Mapping[str, str] = field(default_factory=dict)  # of primary ones that are followed: open, supported, refuted, ...
    note: str = ""  # the latest line worth saying, such as a retry

    @property
    def pending(self) -> int:
        """Those that are still to come."""
        return max(0, self.planned - self.stored - self.done - self.failed)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None before the first answer."""
        finished = self.done + self.failed
        return self.seconds / finished * self.pending if finished else None

    @property
    def usd_projected(self) -> tuple[float, float] | None:
        """What all will have cost in the end: a range; None where a price is unknown, or too few are known yet."""
        if self.usd is None or not self.headway:
            return None
        to_come = [one.usd_to_come for one in self.headway]
        known = [span for span in to_come if span is not None]
        if len(known) < len(to_come):
            return None
        return self.usd + math.fsum(low for low, _ in known), self.usd + math.fsum(high for _, high in known)

    def figures(self) -> dict[str, Json]:
        """All of it as JSON: what `--events` writes, and what the page of a run shows."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("headway", "places")}
        return {
            **plain,
            "pending": self.pending,
            "seconds_left": self.seconds_left,
            "usd_projected": self.usd_projected,
            "systems": [_headway(one) for one in self.headway if one.what == "response"],
            "graders": [_headway(one) for one in self.headway if one.what == "grade"],
            "hosts": [asdict(one) for one in self.places],
        }


def _headway(one: Headway) -> dict[str, Json]:
    counts = {name: getattr(one, name) for name in ("name", "planned", "stored", "done", "failed", "pending")}
    return {**counts, "usd": None if one.unpriced else one.usd}


def _t_975(freedom: int) -> float:
    """What 2.5% of Student's t lie above: given for 1 and 2, else by Fisher's expansion about the normal, within a part in 500."""
    if freedom < 3:
        return (12.706205, 4.302653)[freedom - 1]
    return 1.959964 + 2.372271 / freedom + 2.822499 / freedom**2 + 2.555852 / freedom**3 + 1.589534 / freedom**4


def plain_text(messages: Sequence[Message]) -> str:
    """A conversation as plain text: a lone user message as it is, else each turn under its role."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


_RUN = re.compile(r"'*[=+\-@\t\r]")  # how a cell begins that a spreadsheet would run, or one that was kept from it
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?", re.ASCII)


def as_cell(text: str) -> str:
    """The text as a cell that no spreadsheet runs: an apostrophe in front of what looks like a formula."""
    return f"'{text}" if _RUN.match(text) and not _NUMBER.fullmatch(text) else text


def from_cell(cell: str) -> str:
    """What a cell held before `as_cell`."""
    return cell[1:] if cell.startswith("'") and _RUN.match(cell) else cell


def canonical(value: Json) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII. `ValueError` for NaN and infinity."""
    return _encode(value)


def digest(value: Json) -> str:
    """SHA-256 of the canonical JSON text, as 64 hexadecimal digits."""
    return digest_of(canonical(value))


def digest_of(text: str) -> str:
    """SHA-256 of a canonical JSON text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Fixed(dict[str, Json]):
    """A mapping that nobody changes, so that its canonical text, part of many keys, is written once."""

    __slots__ = ("_text",)

    @property
    def text(self) -> str:
        """The canonical JSON text."""
        try:
            return self._text
        except AttributeError:
            self._text: str = canonical(dict(self))
            return self._text


def canonical_object(parts: Mapping[str, Json]) -> str:
    """The canonical JSON text of a mapping, for which that of a `Fixed` among its values is not written anew."""
    return "{" + ",".join([f"{_string(name)}:{_written(parts[name])}" for name in sorted(parts)]) + "}"


def _written(value: Json) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Fixed):
        return value.text
    kind = type(value)
    if kind is int:
        return repr(value)
    if kind is tuple and value and type(value[0]) is Message:
        return "[" + ",".join([f"[{_string(turn.role)},{_string(turn.content)}]" for turn in value]) + "]"
    return "null" if value is None else "{}" if kind is dict and not value else canonical(value)


def _plain(value: object) -> Json:
    if isinstance(value, Message):
        return [value.role, value.content]
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


_string = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=_plain).encode


def response_key(*, case_id: str, question: Question, system: Mapping[str, Json], wave: str) -> str:
    """The name of a response: the hash of case, question, system identity, trial and wave.

    The system's name in the study is not in it, so two studies share what is the same.
    """
    return digest_of(
        canonical_object(
            {
                "response": 1,
                "case": case_id,
                "messages": question.messages,
                "options": question.options,
                "schema": question.schema,
                "fields": question.fields,
                "recorded": question.recorded,
                "system": system,
                "trial": question.trial,
                "wave": wave,
            }
        )
    )


def grade_key(grader: Grader, item: Item, *, repeat: int = 0) -> str:
    """The name of a grade: the hash of the case, of all its grader was shown, of the grader and of the repeat.

    Two cases never share a grade, even where their answers are the same text.
    """
    shown = canonical_object(grader.shown(item))
    case, identity = _string(item.case_id), _written(grader.identity())
    return digest_of(f'{{"case":{case},"grade":1,"grader":{identity},"repeat":{repeat},"shown":{shown}}}')
