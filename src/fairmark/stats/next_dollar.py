"""What the next dollar should buy: more cases, more answers to each, or more graders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS
from fairmark.stats.generalizability import FARTHEST, Effect, Henderson, same_split
from fairmark.stats.intervals import FloatArray, IntArray

STABLE = 0.7  # share of resamples that must recommend the same
BUYS = ("one more case", "one more answer to every case", "one more grader for every answer")
SOURCES = ("case", "repeat", "grader", "case x grader", "error")


class Design(NamedTuple):
    """A study in numbers."""

    cases: int
    repeats: int  # answers to each case
    graders: int  # of each answer


@dataclass(frozen=True, slots=True)
class Plan(Result):
    """A design with its price and what it would tell."""

    buys: str  # against the present design
    cases: int
    repeats: int  # answers to each case
    graders: int  # of each answer
    cost: float
    variance: float  # of the mean
    width: float  # of its interval at the confidence level
    saving: float | None  # variance saved by one dollar more; None where nothing is bought

    def headline(self) -> str:
        size = f"{self.cases} cases x {self.repeats} answers x {self.graders} graders"
        return f"{self.buys}: {size} for {self.cost:.2f}, interval {self.width:.3f} wide"


@dataclass(frozen=True, slots=True)
class NextDollar(Result):
    """Where the next dollar does most for the mean, and the best design for the money."""

    variance_by_source: tuple[tuple[str, float], ...]  # one draw's, negative estimates as 0
    now: Plan | None
    actions: tuple[Plan, ...]  # one more of each, the best first
    best: Plan | None  # the design of the smallest variance within the budget
    advice: str  # what to buy, or that it is too close to call
    stable: float | None  # share of resamples with the same first action
    not_measured: tuple[str, ...]  # what this design cannot tell
    confidence_level: float
    method: str
    n_cases: int
    n_clusters: int | None
    n_marks: int
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"The next dollar: no figure ({self.refused})"
        assert self.now is not None
        return f"The next dollar: {self.advice} (now the interval is {self.now.width:.3f} wide, {self.confidence_level:.4g})"

    def __str__(self) -> str:
        plans = [one.headline() for one in (self.now, *self.actions, self.best) if one is not None]
        parts = ", ".join(f"{name} {value:.4g}" for name, value in self.variance_by_source)
        lines = [self.headline(), *plans, *([f"variance of one draw: {parts}"] if parts else [])]
        lines += [f"not measured: {one}" for one in self.not_measured] + [f"warning: {one}" for one in self.warnings]
        return "\n  ".join(lines)


def next_dollar(
    score: FloatArray,
    case: NDArray[Any],
    grader: NDArray[Any],
    repeat: NDArray[Any] | None = None,
    *,
    cost_case: float,
    cost_call: float,
    cost_grade: float,
    budget: float | None = None,
    cluster: IntArray | None = None,
    confidence_level: float = 0.95,
    draws: int = 400,
    rng: np.random.Generator,
) -> NextDollar:
    """What makes the mean of one system surest for a dollar: a case, an answer to every case, or a grader.

    One value a mark, with its case, its grader and the number of the answer to that case (`repeat`). For n cases of K answers
    marked by J graders each, var = s_case/n + s_repeat/(nK) + s_grader/J + s_case.grader/(nJ) + s_error/(nKJ), with the
    components by Henderson's method I. A case costs `cost_case`, an answer `cost_call`, a mark `cost_grade`; give the
    differences of two systems as scores for a comparison. `best` is the smallest variance over whole numbers within the budget
    (default: what the present design costs), at most 4 times what was seen of each. The first action is advice only
    where at least 70% of resamples of the cases (clusters, where given) agree. The width takes t with n - 1 degrees of freedom (G - 1,
    growing with n, where there are clusters). Refused without data, with NaN, below 6 cases or clusters, without variation.
    """
    n = len(score)
    if any(len(one) != n for one in (case, grader, *(one for one in (repeat, cluster) if one is not None))):
        raise ValueError("case, grader, repeat and cluster must have one entry for every score")
    if min(cost_case, cost_call) < 0 or cost_grade <= 0:
        raise ValueError("costs cannot be negative, and a mark must cost something")
    units, unit = np.unique(case, return_inverse=True)
    group = unit if cluster is None else np.unique(cluster, return_inverse=True)[1]
    n_groups = len(np.unique(group))
    refused = None
    if n == 0:
        refused = Refusal("NO_DATA", "there is no mark", "collect marks")
    elif not np.all(np.isfinite(score)):
        refused = Refusal("OFF_SCALE", "a mark is not a finite number", "leave out the marks that are missing")
    elif n_groups < FEWEST_CLUSTERS:
        word = "CASES" if cluster is None else "CLUSTERS"
        why = f"{n_groups} {word.lower()} do not show what varies"
        refused = Refusal(f"TOO_FEW_{word}", why, f"collect at least {FEWEST_CLUSTERS} {word.lower()}")
    elif float(np.ptp(score)) <= 1e-12 * max(1.0, float(np.abs(score).max())):
        refused = Refusal("NO_VARIATION", "all marks are the same", "use cases that differ, or levels that tell them apart")
    elif cluster is not None and len(np.unique(unit * n_groups + group)) > len(units):
        raise ValueError("a case belongs to one cluster only")
    n_clusters = None if cluster is None else n_groups
    if refused is not None:
        return NextDollar((), None, (), None, "", None, (), confidence_level, "none", len(units), n_clusters, n, refused=refused)

    effects, not_measured, now = _effects(unit, grader, repeat)
    henderson = Henderson(np.asarray(score, dtype=np.float64), unit, effects)
    owner = np.zeros(len(units), dtype=np.int64)
    owner[unit] = group
    weights = np.vstack([np.ones(len(units)), rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=draws)[:, owner]])
    found = np.zeros((len(weights), len(SOURCES)))
    found[:, [SOURCES.index(effect.name) for effect in effects]] = np.maximum(henderson.variances(weights), 0.0)
    found[:, 0] += _shared_by_clusters(score, unit, owner, n_groups) if cluster is not None else 0.0
    steps = [
        Design(now.cases + 1, now.repeats, now.graders),
        Design(now.cases, now.repeats + 1, now.graders),
        Design(now.cases, now.repeats, now.graders + 1),
    ]
    open_to = [0, *([1] if "repeat" not in not_measured else []), *([2] if "grader" not in not_measured else [])]
    price = np.array([cost_case, cost_call, cost_grade])

    def cost(design: Design) -> float:
        n, k, j = design
        return float(price @ np.array([n, n * k, n * k * j]))

    def plan(design: Design, buys: str) -> Plan:
        variance = float(_variance(found[0], np.array([design]))[0])
        df = max(1.0, n_groups * design.cases / now.cases - 1)
        width = 2 * float(stdtrit(df, 0.5 + confidence_level / 2)) * float(np.sqrt(variance))
        more = cost(design) - cost(now)
        saving = (float(_variance(found[0], np.array([now]))[0]) - variance) / more if more > 0 else None
        return Plan(buys, *design, cost(design), variance, width, saving)

    extra = np.array([cost(steps[place]) - cost(now) for place in open_to])
    present = _variance(found, np.array([now]))
    saved = np.stack([(present - _variance(found, np.array([steps[place]])))[:, 0] for place in open_to], axis=1) / extra
    first = np.argmax(saved, axis=1)
    stable = float(np.mean(first[1:] == first[0]))
    actions = sorted((plan(steps[place], BUYS[place]) for place in open_to), key=lambda one: -(one.saving or 0.0))
    advice = f"buy {BUYS[open_to[int(first[0])]]}"
    if len(open_to) == 1:
        advice += ", the only thing that was measured"
    elif stable < STABLE:
        advice = f"too close to call: {stable:.0%} of resamples say {BUYS[open_to[int(first[0])]]}"
    limit = cost(now) if budget is None else budget
    best = _best(found[0], now, price, limit, [place in open_to for place in range(3)])
    warnings = []
    if best is None:
        warnings.append(f"no design with at least 2 cases costs at most {limit:.2f}")
    if "grader" not in not_measured and len(np.unique(grader)) < 5:
        warnings.append(f"{len(np.unique(grader))} graders: their own spread is hardly measured")
    if n < now.cases * now.repeats * len(np.unique(grader)):
        warnings.append("graders did not mark every answer: the plans let the same ones mark all")
    return NextDollar(
        variance_by_source=tuple((name, float(value)) for name, value in zip(SOURCES, found[0], strict=True) if name not in not_measured),
        now=plan(now, "as it is"),
        actions=tuple(actions),
        best=None if best is None else plan(best, "best for the budget"),
        advice=advice,
        stable=stable,
        not_measured=tuple(not_measured),
        confidence_level=confidence_level,
        method=f"Henderson's method I; {draws} resamples of {'cases' if cluster is None else 'clusters'}",
        n_cases=len(units),
        n_clusters=n_clusters,
        n_marks=n,
        warnings=tuple(warnings),
    )


def _effects(unit: IntArray, grader: NDArray[Any], repeat: NDArray[Any] | None) -> tuple[list[Effect], list[str], Design]:
    """The sources of spread that the design tells apart, those it does not, and its size."""

    def coded(*labels: NDArray[Any]) -> IntArray:
        code = np.zeros(len(unit), dtype=np.int64)
        for one in labels:
            levels, level = np.unique(one, return_inverse=True)
            code = np.unique(code * len(levels) + level, return_inverse=True)[1].astype(np.int64)
        return code

    answers = np.zeros(len(unit), dtype=np.int64) if repeat is None else repeat
    split = {
        "case": coded(unit),
        "repeat": coded(unit, answers),
        "grader": coded(grader),
        "case x grader": coded(unit, grader),
        "error": np.arange(len(unit), dtype=np.int64),
    }
    effects: list[Effect] = []
    not_measured: list[str] = []
    for name, level in split.items():
        nested = name == "grader" and same_split(level, split["case x grader"])  # each case has graders of its own
        if int(level.max()) == 0 or nested or any(same_split(known.level, level) for known in effects):
            not_measured.append(name)
        else:
            effects.append(Effect(name, level, frozenset(), frozenset()))
    if "error" in not_measured and "case x grader" not in not_measured:
        # the last level of a design is error, whatever else it holds
        effects = [effect._replace(name="error") if effect.name == "case x grader" else effect for effect in effects]
        not_measured[not_measured.index("error")] = "case x grader"
    n_cases, n_answers = int(split["case"].max()) + 1, int(split["repeat"].max()) + 1
    marks = int(coded(split["repeat"], grader).max()) + 1
    return effects, not_measured, Design(n_cases, max(1, round(n_answers / n_cases)), max(1, round(marks / n_answers)))


def _variance(components: FloatArray, designs: IntArray) -> FloatArray:
    """The variance of the mean for each row of components and each design."""
    n, k, j = designs.T.astype(np.float64)
    return components @ np.stack([1 / n, 1 / (n * k), 1 / j, 1 / (n * j), 1 / (n * k * j)])  # type: ignore[no-any-return]


def _shared_by_clusters(score: FloatArray, unit: IntArray, owner: IntArray, n_groups: int) -> float:
    """What clusters add to the variance of a case: n (V of the mean by clusters - V by cases), at least 0."""
    means = np.bincount(unit, weights=score) / np.bincount(unit)
    rest = means - means.mean()
    by_cluster = n_groups / (n_groups - 1) * float(np.sum(np.bincount(owner, weights=rest, minlength=n_groups) ** 2))
    return max(0.0, (by_cluster - len(means) / (len(means) - 1) * float(np.sum(rest**2))) / len(means))


def _best(components: FloatArray, now: Design, price: FloatArray, limit: float, free: list[bool]) -> Design | None:
    """The smallest variance over whole numbers: for each K and J as many cases as the limit and 4 times the present allow."""
    k = np.arange(1, FARTHEST * now.repeats + 1) if free[1] else np.array([now.repeats])
    j = np.arange(1, FARTHEST * now.graders + 1) if free[2] else np.array([now.graders])
    k, j = (one.ravel() for one in np.meshgrid(k, j, indexing="ij"))
    each = price[0] + k * price[1] + k * j * price[2]
    # a hair more than the limit, so that what costs exactly the limit is affordable
    n = np.minimum(np.floor(limit / each * (1 + 1e-12)), FARTHEST * now.cases).astype(np.int64)
    possible = n >= 2
    if not np.any(possible):
        return None
    designs = np.stack([n, k, j], axis=1)[possible]
    variance = _variance(components, designs)
    # of equally good designs the cheapest
    cheapest = np.lexsort((each[possible] * designs[:, 0], np.round(variance / max(float(variance.min()), 1e-300), 12)))[0]
    return Design(*(int(one) for one in designs[cheapest]))
