"""Before the run: how many calls it takes, what they cost, who is sent what, and what so many cases can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairmark.providers import Destination, estimate_tokens, price
from fairmark.records import Question, Slot, Task, Usage
from fairmark.results import StopRule
from fairmark.stats import smallest_visible_difference, smallest_visible_rate, too_few_to_decide
from fairmark.study import Hypothesis, ModelSpec, Study

REPLY_TOKENS = 400  # assumed where no limit is set; labelled as an assumption wherever it is shown


@dataclass(frozen=True, slots=True)
class Line:
    """What one system or grader still needs."""

    name: str
    what: str  # answers or grades
    planned: int
    stored: int
    to_ask: int  # calls that will be made, not counting retries
    input_tokens: int  # estimate: one token per four characters
    output_tokens_at_most: int  # the token limit times the calls
    usd_at_most: float | None  # None: the price is unknown
    usd_at_least: float | None  # if replies were empty


@dataclass(frozen=True, slots=True)
class Sending:
    """Which parts of a case go where."""

    name: str  # system or grader
    host: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """The smallest true effect that so many cases would show."""

    hypothesis: str
    text: str
    smallest: tuple[tuple[str, float | None], ...]  # under which assumption, and the effect as a share of 1
    can_decide: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Marking:
    """What people would be given to mark."""

    people: int
    responses: int  # of each system
    each: int  # responses of one person, about: second marks, hidden repeats and training included
    criteria: int  # marked on each response


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would take."""

    lines: tuple[Line, ...]
    sendings: tuple[Sending, ...]
    power: tuple[Power, ...]
    calls: int
    usd_at_least: float | None
    usd_at_most: float | None
    unpriced: tuple[str, ...]  # names whose price is unknown
    n_cases: int
    n_clusters: int | None
    marking: Marking | None = None  # None: nobody marks in the browser
    stopping: tuple[StopRule, ...] = ()  # of a run that stops when it is decided, by primary hypothesis


def outlook(
    study: Study,
    slots: Sequence[Slot],
    tasks: Sequence[Task],
    *,
    models: Mapping[str, ModelSpec],
    destinations: Mapping[str, Destination],
    env: Mapping[str, str],
    stopping: Sequence[StopRule] = (),
) -> Outlook:
    """What is still to be asked and what it may cost. Nothing is sent.

    `tasks` are the grades of answered responses; LLM graders' calls for responses that are still missing are counted
    from the plan. `models` are the models of systems and graders by name, and `stopping` the rules by which the run may
    need less.
    """
    lines = [_system_line(name, [slot for slot in slots if slot.system == name], models.get(name), env) for name in study.systems]
    unanswered = sum(slot.response is None for slot in slots)
    calibration = len(study.calibration.items) if study.calibration else 0
    for name, spec in study.graders.items():
        if spec.kind != "llm":
            continue
        own = {task.key: task for task in tasks if task.grader.name == name}
        todo = [task for task in own.values() if task.missing()]
        future = unanswered * len(spec.criteria) * spec.repeats
        asked = [question for task in todo if (question := task.grader.ask(task.item)) is not None]
        tokens = sum(_input_tokens(question) for question in asked)
        per_call = tokens / len(asked) if asked else 300.0  # nothing to measure before the first answer
        planned = (len(slots) * spec.repeats + calibration) * len(spec.criteria)
        lines.append(
            _line(
                name,
                "grades",
                planned,
                planned - len(todo) - future,
                len(todo) + future,
                round(tokens + per_call * future),
                spec.model,
                env,
            )
        )
    unpriced = tuple(line.name for line in lines if line.to_ask and line.usd_at_most is None)
    clusters = {str(case.fields.get(study.cluster)) for case in study.cases} if study.cluster else None
    n_clusters = len(clusters) if clusters is not None else None
    return Outlook(
        lines=tuple(lines),
        sendings=tuple(Sending(name, where.host, where.fields) for name, where in destinations.items()),
        power=tuple(_power(study, hypothesis, n_clusters) for hypothesis in study.hypotheses),
        calls=sum(line.to_ask for line in lines),
        usd_at_least=None if unpriced else sum(line.usd_at_least or 0.0 for line in lines),
        usd_at_most=None if unpriced else sum(line.usd_at_most or 0.0 for line in lines),
        unpriced=unpriced,
        n_cases=len(study.cases),
        n_clusters=n_clusters,
        marking=_marking(study),
        stopping=tuple(stopping),
    )


def _marking(study: Study) -> Marking | None:
    people = study.people
    if people is None:
        return None
    cases = max(1, round(people.share * len(study.cases)))
    together = min(people.together, cases)
    responses = len(study.systems) * study.trials
    given = responses * (together * len(people.roster) + (cases - together) * (1 + people.twice))
    each = given / len(people.roster) * (1 + people.repeats) + (len(people.training.items) if people.training else 0)
    return Marking(len(people.roster), cases * study.trials, round(each), len(people.criteria))


def _system_line(name: str, slots: Sequence[Slot], model: ModelSpec | None, env: Mapping[str, str]) -> Line:
    todo = [slot for slot in slots if slot.missing()]
    tokens = sum(_input_tokens(slot.question) for slot in todo)
    return _line(name, "answers", len(slots), len(slots) - len(todo), len(todo), tokens, model, env)


def _line(
    name: str, what: str, planned: int, stored: int, to_ask: int, tokens: int, model: ModelSpec | None, env: Mapping[str, str]
) -> Line:
    limit = int(model.options.get("max_tokens", REPLY_TOKENS)) if model is not None else 0
    least = price(model, Usage(input_tokens=tokens, output_tokens=0), env=env) if model is not None else None
    most = price(model, Usage(input_tokens=tokens, output_tokens=limit * to_ask), env=env) if model is not None else None
    return Line(name, what, planned, stored, to_ask, tokens, limit * to_ask, most, least)


def _input_tokens(question: Question) -> int:
    return sum(estimate_tokens(message.content) for message in question.messages)


def _only_people(study: Study, hypothesis: Hypothesis) -> bool:
    """Whether a hypothesis rests on people's marks of a share of the responses, with no grader that marks all of them."""
    criterion = hypothesis.on.partition(">=")[0]
    graders = {spec.kind for spec in study.graders.values() if criterion in spec.criteria}
    return study.people is not None and graders == {"people"}


def _power(study: Study, hypothesis: Hypothesis, n_clusters: int | None) -> Power:
    """What the planned cases could show, and whether they could decide at all.

    With clusters the number of clusters stands in for the number of cases, which is the cautious end: it takes all
    cases of a cluster for copies of one another.
    """
    n = n_clusters if n_clusters is not None else len(study.cases)
    if _only_people(study, hypothesis):
        assert study.people is not None
        n = max(1, round(study.people.share * n))
    alpha, power = study.plan.alpha, study.plan.power
    if n_clusters is not None and n_clusters < 6:
        why = f"{n_clusters} clusters cannot tell how other clusters behave; at least 6 are needed"
        return Power(hypothesis.id, hypothesis.text, (), False, why)
    if hypothesis.than is not None and (n_clusters is not None or study.trials > 1 or ">=" not in hypothesis.on):
        # the sign-flip test: so few units may leave no p small enough, whatever they show
        family = sum(one.primary for one in study.hypotheses) if hypothesis.primary else 1
        never = too_few_to_decide(n, alpha, hypotheses=family)
        if never is not None:
            return Power(hypothesis.id, hypothesis.text, (), False, f"{never.why}; {never.next}")
    assumed: list[tuple[str, float | None]]
    if hypothesis.than is None:
        found = smallest_visible_rate(n, hypothesis.margin, alpha=alpha, power=power, above=hypothesis.kind != "at_most")
        assumed = [(f"{n} independent cases", found)]
    else:
        assumed = [
            (f"systems differ on {share:.0%} of cases", smallest_visible_difference(n, discordance=share, alpha=alpha, power=power))
            for share in (0.1, 0.2, 0.3)
        ]
    return Power(hypothesis.id, hypothesis.text, tuple(assumed), True)
