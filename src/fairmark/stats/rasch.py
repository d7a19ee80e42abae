"""How severe each rater is, apart from what they happened to mark: the many-facet Rasch model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS
from fairmark.stats.intervals import FloatArray, IntArray

FEWEST_RATERS = 3
FEWEST_RESPONSES = 30
PENALTY = 1 / 9  # of squared abilities, halved: as if they came from a normal distribution with standard deviation 3
MISFIT = (0.5, 1.5)  # mean squares outside show a rater who marks unlike the model says
FEWEST_FOR_FIT = 30  # marks
FAR = 20.0  # log-odds: a severity beyond has no finite estimate
ITERATIONS = 100
CLOSE = 1e-9


class RatingScale(NamedTuple):
    """The fit of ln(P_k / P_{k-1}) = ability - severity - difficulty - threshold_k, facets and thresholds adding up to 0."""

    ability: FloatArray  # of each response; infinite where all its marks are extreme and no penalty holds it
    severity: FloatArray
    difficulty: FloatArray
    threshold: FloatArray
    log_likelihood: float
    expected: FloatArray  # of each mark
    variance: FloatArray  # of each mark under the model
    information: FloatArray  # of severity, difficulty and threshold (without the last of each), abilities profiled out
    score: FloatArray  # responses x the same parameters: what each response adds to the slope, 0 in total


def linked_parts(first: IntArray, second: IntArray) -> IntArray:
    """The part that each level of `first` belongs to, where levels are linked that meet at the same level of `second`: union-find."""
    parent = np.arange(int(first.max()) + 1)

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = int(parent[one])
        return one

    pairs = np.unique(np.stack([second, first], axis=1), axis=0)
    same = pairs[1:, 0] == pairs[:-1, 0]
    for one, other in np.unique(np.stack([pairs[:-1, 1], pairs[1:, 1]], axis=1)[same], axis=0):
        parent[root(int(one))] = root(int(other))
    return np.unique([root(one) for one in range(len(parent))], return_inverse=True)[1].astype(np.int64)


def fit_rating_scale(
    level: IntArray, response: IntArray, rater: IntArray, criterion: IntArray, *, penalty: float = PENALTY
) -> RatingScale | None:
    """The joint maximum of the likelihood, less penalty/2 times the squared abilities, by Newton's method (Linacre 1989).

    Levels, responses, raters and criteria are counted from 0, each of them used. The penalised likelihood is concave, so that a
    halved Newton step always climbs. None where there is no finite maximum, as with a rater who gives the top level to all.
    """
    n, raters, criteria, steps = (int(one.max()) + 1 for one in (response, rater, criterion, level))
    steps -= 1
    if steps < 1:
        return None
    total = np.bincount(response, weights=level)
    marks = np.bincount(response)
    finite = np.ones(n, dtype=bool) if penalty > 0 else (total > 0) & (total < steps * marks)
    if not np.any(finite):
        return None
    keep = finite[response]  # an extreme response fits perfectly at infinity and says nothing of the others
    x, i, j, c = level[keep], np.cumsum(finite)[response[keep]] - 1, rater[keep], criterion[keep]
    rows = int(np.sum(finite))
    basis = _sum_zero(raters, criteria, steps)
    at_least = x[:, None] >= np.arange(1, steps + 1)
    cells = j * criteria + c
    used = raters + criteria

    def likelihood(theta: FloatArray, free: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        facets = basis @ free
        eta = theta[i] - facets[j] - facets[raters + c]
        climb = np.cumsum(eta[:, None] - facets[used:], axis=1)
        top = np.maximum(climb.max(axis=1), 0.0)
        odds = np.exp(climb - top[:, None])
        none = np.exp(-top)
        norm = none + odds.sum(axis=1)
        chosen = np.where(x > 0, climb[np.arange(len(x)), np.maximum(x, 1) - 1], 0.0)
        return float(np.sum(chosen - top - np.log(norm)) - penalty / 2 * np.sum(theta**2)), odds / norm[:, None], eta

    theta, free = np.zeros(rows), np.zeros(basis.shape[1])
    value, p, _ = likelihood(theta, free)
    for _ in range(ITERATIONS):
        tail = np.cumsum(p[:, ::-1], axis=1)[:, ::-1]  # P(X >= k)
        expected = tail.sum(axis=1)
        steps_up = np.arange(1, steps + 1)
        variance = p @ steps_up**2 - expected**2
        # covariance of X and 1[X >= k]
        with_step = np.cumsum((p * steps_up)[:, ::-1], axis=1)[:, ::-1] - expected[:, None] * tail
        residual = x - expected
        slope_theta = np.bincount(i, weights=residual, minlength=rows) - penalty * theta
        slope = np.concatenate(
            [
                -np.bincount(j, weights=residual, minlength=raters),
                -np.bincount(c, weights=residual, minlength=criteria),
                (tail - at_least).sum(axis=0),
            ]
        )
        curve_theta = np.bincount(i, weights=variance, minlength=rows) + penalty
        cross = np.concatenate(
            [
                -np.bincount(i * raters + j, weights=variance, minlength=rows * raters).reshape(rows, raters),
                -np.bincount(i * criteria + c, weights=variance, minlength=rows * criteria).reshape(rows, criteria),
                -np.stack([np.bincount(i, weights=one, minlength=rows) for one in with_step.T], axis=1),
            ],
            axis=1,
        )
        curve = np.zeros((used + steps, used + steps))
        by_cell = np.bincount(cells, weights=variance, minlength=raters * criteria).reshape(raters, criteria)
        curve[:raters, :raters] = np.diag(by_cell.sum(axis=1))
        curve[raters:used, raters:used] = np.diag(by_cell.sum(axis=0))
        curve[:raters, raters:used] = by_cell
        for k in range(steps):
            curve[:raters, used + k] = np.bincount(j, weights=with_step[:, k], minlength=raters)
            curve[raters:used, used + k] = np.bincount(c, weights=with_step[:, k], minlength=criteria)
        curve = np.triu(curve) + np.triu(curve, 1).T
        later = np.maximum(steps_up[:, None], steps_up) - 1
        curve[used:, used:] = tail.sum(axis=0)[later] - tail.T @ tail
        cross, slope, curve = cross @ basis, basis.T @ slope, basis.T @ curve @ basis
        information = curve - cross.T @ (cross / curve_theta[:, None])
        move = np.linalg.lstsq(information, slope - cross.T @ (slope_theta / curve_theta), rcond=1e-12)[0]
        move_theta = (slope_theta - cross @ move) / curve_theta
        largest = max(float(np.abs(move).max(initial=0.0)), float(np.abs(move_theta).max()))
        if largest < CLOSE:
            break
        step = min(1.0, 5 / largest)
        while True:
            next_value, next_p, _ = likelihood(theta + step * move_theta, free + step * move)
            if next_value >= value - 1e-9 * abs(value) or step < 1e-6:
                break
            step /= 2
        theta, free, value, p = theta + step * move_theta, free + step * move, next_value, next_p
        if float(np.abs(free).max(initial=0.0)) > FAR or float(np.abs(theta).max()) > 2 * FAR:
            return None
    else:
        return None
    facets = basis @ free
    ability = np.where(total > 0, np.inf, -np.inf)
    ability[finite] = theta
    all_expected, all_variance = level.astype(np.float64), np.zeros(len(level))
    all_expected[keep], all_variance[keep] = expected, variance
    score = np.zeros((n, len(free)))
    to_facets = np.zeros((rows, used + steps))
    np.add.at(to_facets, (i, j), -residual)
    np.add.at(to_facets, (i, raters + c), -residual)
    for k in range(steps):
        to_facets[:, used + k] = np.bincount(i, weights=tail[:, k] - at_least[:, k], minlength=rows)
    # a response also moves its own ability, which is profiled out
    score[finite] = to_facets @ basis - cross * (slope_theta / curve_theta)[:, None]
    log_likelihood = value + penalty / 2 * float(np.sum(theta**2))
    return RatingScale(
        ability,
        facets[:raters],
        facets[raters:used],
        facets[used:],
        log_likelihood,
        all_expected,
        all_variance,
        information,
        score,
    )


def _sum_zero(*sizes: int) -> FloatArray:
    """The matrix from free parameters to parameters of which each block adds up to 0 by its last."""
    rows, columns = sum(sizes), sum(size - 1 for size in sizes)
    basis = np.zeros((rows, columns))
    row = column = 0
    for size in sizes:
        basis[row : row + size - 1, column : column + size - 1] = np.eye(size - 1)
        basis[row + size - 1, column : column + size - 1] = -1.0
        row, column = row + size, column + size - 1
    return basis


def level_moments(eta: FloatArray, threshold: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of the level at ability less severity and difficulty `eta`."""
    climb = np.cumsum(eta[:, None] - threshold, axis=1)
    top = np.maximum(climb.max(axis=1), 0.0)
    odds = np.exp(climb - top[:, None])
    odds /= (np.exp(-top) + odds.sum(axis=1))[:, None]
    levels = np.arange(1, len(threshold) + 1)
    mean = odds @ levels
    return mean, odds @ levels**2 - mean**2


def abilities(level: IntArray, response: IntArray, against: FloatArray, threshold: FloatArray) -> FloatArray:
    """The ability of each response where severity plus difficulty (`against`) and thresholds are known, penalised as above."""
    theta = np.zeros(int(response.max()) + 1)
    for _ in range(ITERATIONS):
        expected, variance = level_moments(theta[response] - against, threshold)
        slope = np.bincount(response, weights=level - expected) - PENALTY * theta
        move = slope / (np.bincount(response, weights=variance) + PENALTY)
        theta += np.clip(move, -1.0, 1.0)
        if float(np.abs(move).max()) < CLOSE:
            break
    return theta


def mean_squares(fit: RatingScale, level: IntArray, by: IntArray) -> tuple[FloatArray, FloatArray]:
    """Infit and outfit of each level of `by`: squared residuals over their variance, summed before or averaged after dividing.

    Marks of responses that fit perfectly at infinity are left out. Not a number where nothing is left.
    """
    kept = fit.variance > 1e-12
    squared = (level - fit.expected)[kept] ** 2
    size = int(by.max()) + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        infit = np.bincount(by[kept], weights=squared, minlength=size) / np.bincount(by[kept], weights=fit.variance[kept], minlength=size)
        outfit = np.bincount(by[kept], weights=squared / fit.variance[kept], minlength=size) / np.bincount(by[kept], minlength=size)
    return infit, outfit


@dataclass(frozen=True, slots=True)
class RaterSeverity(Result):
    """How one rater marks. Points are level steps; a positive severity marks lower than the average rater."""

    rater: str
    n: int  # marks
    mean: float  # of the rater's marks
    raw: float | None  # what others gave, less what the rater gave, to the same; None where none was marked by others too
    raw_low: float | None
    raw_high: float | None
    n_shared: int  # marks that the raw difference rests on
    points: float | None = None  # lower than the average rater on an average response
    se: float | None = None
    low: float | None = None
    high: float | None = None
    log_odds: float | None = None  # the severity on the model's own scale
    infit: float | None = None  # mean square near 1; above: erratic, below: too alike
    outfit: float | None = None
    misfit: bool = False  # infit or outfit outside 0.5 to 1.5 with at least 30 marks

    def headline(self) -> str:
        if self.points is not None:
            interval = "" if self.low is None or self.high is None else f" [{-self.high:+.2f}, {-self.low:+.2f}]"
            return f"{self.rater} marks {-self.points:+.2f}{interval} against the average rater{', erratically' if self.misfit else ''}"
        if self.raw is None:
            return f"{self.rater}: mean {self.mean:.2f} of {self.n} marks, nothing marked by others too"
        return f"{self.rater} marks {-self.raw:+.2f} points against others on the same {self.n_shared} marks"


@dataclass(frozen=True, slots=True)
class CriterionDifficulty(Result):
    """How hard one criterion is to do well on."""

    criterion: str
    n: int
    points: float  # lower than on the average criterion
    log_odds: float
    infit: float | None
    outfit: float | None

    def headline(self) -> str:
        return f"{self.criterion} {-self.points:+.2f} points"


@dataclass(frozen=True, slots=True)
class FairScores(Result):
    """What each response would get from a rater of average severity, as the mean level over the criteria."""

    responses: tuple[str, ...]
    scores: tuple[float, ...]

    def headline(self) -> str:
        return f"{len(self.scores)} responses, fair scores {min(self.scores):.2f} to {max(self.scores):.2f}"


@dataclass(frozen=True, slots=True)
class ManyFacetRasch(Result):
    """Severity of raters and difficulty of criteria, and what each response would get from an average rater."""

    raters: tuple[RaterSeverity, ...]
    criteria: tuple[CriterionDifficulty, ...]  # empty for one criterion
    thresholds: tuple[float, ...]  # log-odds of each step between levels
    fair: FairScores | None
    log_likelihood: float | None
    correction: float | None  # (L - 1)/L, by which log-odds were multiplied
    confidence_level: float
    method: str
    n_cases: int  # responses
    n_clusters: int | None
    n_marks: int
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"Severity of raters: no figure ({self.refused})"
        harsh = max(self.raters, key=lambda one: one.points or 0.0)
        mild = min(self.raters, key=lambda one: one.points or 0.0)
        return (
            f"{harsh.rater} is the harshest ({harsh.points:+.2f} points below the average rater), "
            f"{mild.rater} the mildest ({mild.points:+.2f})"
        )

    def __str__(self) -> str:
        lines = [self.headline(), *(one.headline() for one in self.raters), *(one.headline() for one in self.criteria)]
        return "\n  ".join([*lines, *(f"warning: {one}" for one in self.warnings)])


def many_facet_rasch(
    level: IntArray,
    response: NDArray[Any],
    rater: NDArray[Any],
    criterion: NDArray[Any] | None = None,
    *,
    cluster: IntArray | None = None,
    confidence_level: float = 0.95,
) -> ManyFacetRasch:
    """The severity of each rater in points, apart from what they marked, and fair scores of the responses.

    The rating scale model ln(P_k/P_{k-1}) = ability - severity - difficulty - threshold_k (Linacre 1989; Eckes 2015) by
    joint maximum likelihood; its log-odds are multiplied by (L - 1)/L, L marks a response, as they are spread too far.
    Abilities are then fitted with a penalty that keeps those of extreme responses finite. Standard errors are the sandwich over
    responses, or clusters, with t and G - 1 degrees of freedom. A fair score is the mean level that a rater of average
    severity would give. Levels count from 0. Refused where raters are not linked by shared responses (`NOT_LINKED`), below
    3 raters (`TOO_FEW_RATERS`) or 30 responses (`TOO_FEW_CASES`), where a rater or criterion shows no variation
    (`NO_VARIATION`): then only raw differences on the same responses are shown.
    """
    n = len(level)
    kinds = np.zeros(n, dtype=np.int64) if criterion is None else criterion
    if any(len(one) != n for one in (response, rater, kinds, *([] if cluster is None else [cluster]))):
        raise ValueError("response, rater, criterion and cluster must have one entry for every mark")
    responses, i = np.unique(response, return_inverse=True)
    raters, j = np.unique(rater, return_inverse=True)
    criteria, c = np.unique(kinds, return_inverse=True)
    group = i if cluster is None else np.unique(cluster, return_inverse=True)[1]
    n_groups = len(np.unique(group))
    n_clusters = None if cluster is None else n_groups

    def refuse(code: str, why: str, next_step: str, raw: tuple[RaterSeverity, ...] = ()) -> ManyFacetRasch:
        refusal = Refusal(code, why, next_step)
        return ManyFacetRasch(
            raw, (), (), None, None, None, confidence_level, "raw differences", len(responses), n_clusters, n, refused=refusal
        )

    if n == 0:
        return refuse("NO_DATA", "there is no mark", "collect marks")
    if not np.all(np.isfinite(level)) or np.any(level != np.floor(level)) or float(np.min(level)) < 0:
        return refuse("OFF_SCALE", "a level is not a whole number from 0", "count levels from 0 and leave out missing marks")
    raw = tuple(_raw(place, str(name), level, i, j, c, group, confidence_level) for place, name in enumerate(raters))
    if len(raters) < FEWEST_RATERS:
        return refuse("TOO_FEW_RATERS", f"{len(raters)} raters are fewer than {FEWEST_RATERS}", "let a third one mark", raw)
    if len(responses) < FEWEST_RESPONSES:
        why = f"{len(responses)} responses are fewer than {FEWEST_RESPONSES}"
        return refuse("TOO_FEW_CASES", why, f"mark at least {FEWEST_RESPONSES}", raw)
    parts = linked_parts(j, i)
    if len(np.unique(parts)) > 1:
        sides = [", ".join(str(name) for name in raters[parts == part]) for part in np.unique(parts)]
        why = f"no response was marked on both sides of {' | '.join(sides)}"
        return refuse("NOT_LINKED", why, "let one rater of each side mark some of the other side's responses", raw)
    # levels that nobody used have no threshold
    used, x = np.unique(level, return_inverse=True)
    if len(used) < 2:
        return refuse("NO_VARIATION", "all marks are the same level", "use cases that differ", raw)
    if len(used) != int(used[-1] - used[0]) + 1:
        return refuse("NO_VARIATION", "a level between others was never used", "join it with a neighbour", raw)
    fit = fit_rating_scale(x, i, j, c, penalty=0.0)
    per_response = n / len(responses)
    if fit is None or per_response <= 1:
        why = "a rater or a criterion got only the lowest or only the highest level" if per_response > 1 else "each response has one mark"
        return refuse("NO_VARIATION", why, "leave that rater or criterion out, or collect more marks", raw)
    if np.linalg.matrix_rank(fit.information, tol=1e-8 * len(responses)) < len(fit.information):
        return refuse("NOT_LINKED", "raters and criteria cannot be told apart", "let raters mark the same criteria", raw)
    return _described(fit, x, int(used[0]), i, j, c, group, n_groups, n_clusters, responses, raters, criteria, raw, confidence_level)


def _raw(
    place: int, name: str, level: IntArray, i: IntArray, j: IntArray, c: IntArray, group: IntArray, confidence_level: float
) -> RaterSeverity:
    """A rater's marks against those of others on the same response and criterion, with a t interval over clusters."""
    cell = np.unique(i * (int(c.max()) + 1) + c, return_inverse=True)[1]
    mine = j == place
    others = np.bincount(cell, weights=level * ~mine, minlength=int(cell.max()) + 1)
    count = np.bincount(cell, weights=~mine, minlength=len(others))
    shared = mine & (count[cell] > 0)
    n, mean = int(np.sum(mine)), float(np.mean(level[mine]))
    if not np.any(shared):
        return RaterSeverity(name, n, mean, None, None, None, 0)
    difference = others[cell[shared]] / count[cell[shared]] - level[shared]
    value = float(np.mean(difference))
    _, where = np.unique(group[shared], return_inverse=True)
    groups = int(where.max()) + 1
    if groups < FEWEST_CLUSTERS:
        return RaterSeverity(name, n, mean, value, None, None, len(difference))
    rest = np.bincount(where, weights=difference - value)
    se = float(np.sqrt(groups / (groups - 1) * np.sum(rest**2))) / len(difference)
    half = float(stdtrit(groups - 1, 0.5 + confidence_level / 2)) * se
    return RaterSeverity(name, n, mean, value, value - half, value + half, len(difference))


def _described(
    fit: RatingScale,
    x: IntArray,
    lowest: int,
    i: IntArray,
    j: IntArray,
    c: IntArray,
    group: IntArray,
    n_groups: int,
    n_clusters: int | None,
    responses: NDArray[Any],
    raters: NDArray[Any],
    criteria: NDArray[Any],
    raw: tuple[RaterSeverity, ...],
    confidence_level: float,
) -> ManyFacetRasch:
    """The fit in rubric points with standard errors."""
    n, n_raters, n_criteria = len(x), len(raters), len(criteria)
    correction = (n / len(responses) - 1) / (n / len(responses))
    severity, difficulty, threshold = (correction * one for one in (fit.severity, fit.difficulty, fit.threshold))
    ability = abilities(x, i, severity[j] + difficulty[c], threshold)
    owner = np.zeros(len(responses), dtype=np.int64)
    owner[i] = group
    inverse = np.linalg.inv(fit.information)
    by_response = correction * (fit.score @ inverse)
    by_group = np.stack([np.bincount(owner, weights=one, minlength=n_groups) for one in by_response.T], axis=1)
    spread = n_groups / max(1, n_groups - 1) * by_group.T @ by_group
    to_severity = _sum_zero(n_raters, n_criteria, len(threshold))[:n_raters]
    at = float(np.mean(ability))
    middle = float(level_moments(np.array([at]), threshold)[0][0])
    # the slope of the mean level is its variance
    of_rater, slope = level_moments(at - severity, threshold)
    of_criterion, _ = level_moments(at - difficulty, threshold)
    infit, outfit = mean_squares(fit, x, j)
    t = float(stdtrit(max(1, n_groups - 1), 0.5 + confidence_level / 2))
    enough = n_groups >= FEWEST_CLUSTERS
    few = f"{n_groups} clusters are too few for intervals of severity: at least {FEWEST_CLUSTERS}"
    described = []
    for place, one in enumerate(raw):
        points = middle - float(of_rater[place])
        se = float(slope[place]) * float(np.sqrt(to_severity[place] @ spread @ to_severity[place]))
        fits = tuple(float(value[place]) if np.isfinite(value[place]) else None for value in (infit, outfit))
        misfit = one.n >= FEWEST_FOR_FIT and any(value is not None and not MISFIT[0] <= value <= MISFIT[1] for value in fits)
        described.append(
            RaterSeverity(
                *(one.rater, one.n, one.mean, one.raw, one.raw_low, one.raw_high, one.n_shared),
                points=points,
                se=se if enough else None,
                low=points - t * se if enough else None,
                high=points + t * se if enough else None,
                log_odds=float(severity[place]),
                infit=fits[0],
                outfit=fits[1],
                misfit=misfit,
            )
        )
    infit_c, outfit_c = mean_squares(fit, x, c)
    hard = tuple(
        CriterionDifficulty(
            str(name),
            int(np.sum(c == place)),
            middle - float(of_criterion[place]),
            float(difficulty[place]),
            float(infit_c[place]) if np.isfinite(infit_c[place]) else None,
            float(outfit_c[place]) if np.isfinite(outfit_c[place]) else None,
        )
        for place, name in enumerate(criteria)
    )
    # each response is judged on all criteria by a rater of severity 0
    eta = (ability[:, None] - difficulty).ravel()
    fair = lowest + level_moments(eta, threshold)[0].reshape(len(responses), n_criteria).mean(axis=1)
    return ManyFacetRasch(
        raters=tuple(described),
        criteria=hard if n_criteria > 1 else (),
        thresholds=tuple(threshold.tolist()),
        fair=FairScores(tuple(str(one) for one in responses), tuple(fair.tolist())),
        log_likelihood=fit.log_likelihood,
        correction=correction,
        confidence_level=confidence_level,
        method="rating scale model, joint maximum likelihood",
        n_cases=len(responses),
        n_clusters=n_clusters,
        n_marks=n,
        assumptions=(
            "marks of one response are independent given its ability",
            "a rater is as severe on every criterion and with every response",
            "clusters are independent of one another" if n_clusters is not None else "responses are independent of one another",
        ),
        warnings=(*(() if enough else (few,)), *(f"{one.rater} does not mark as the model says" for one in described if one.misfit)),
    )
