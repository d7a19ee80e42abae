"""Who is ahead: Bradley-Terry from pairwise grades, and rank intervals that hold for all at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, stdtrit

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS
from fairmark.stats.intervals import FloatArray, IntArray

PSEUDO_WINS = 0.5  # to each side of a compared pair
FAR = 25.0  # log-odds: an ability or an order effect beyond has no finite estimate
ITERATIONS = 60
CLOSE = 1e-10
DRAWS = 4_999
MANY_UNITS = 4_000  # from so many on, sums of flipped signs are drawn from their normal limit
TABLE = 4_000_000  # numbers held at once


@dataclass(frozen=True, slots=True)
class Ranked(Result):
    """One competitor's place."""

    name: str
    value: float
    low: float | None  # of the value, by itself; None with fewer than 6 independent units
    high: float | None
    rank_low: int  # best rank that the evidence allows, 1 is first
    rank_high: int  # worst

    def headline(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        rank = f"rank {self.rank_low}" if self.rank_low == self.rank_high else f"rank {self.rank_low} to {self.rank_high}"
        return f"{self.name} {self.value:.3f}{interval}, {rank}"


@dataclass(frozen=True, slots=True)
class Ranking(Result):
    """The order with what it leaves open."""

    of: str  # what the values are
    ranked: tuple[Ranked, ...]  # best value first; not a claim that one beats the next
    equals: tuple[tuple[str, ...], ...]  # neighbours of whom no two are told apart; these groups may overlap
    confidence_level: float  # of all ranks at once
    method: str
    n_units: int  # independent cases or clusters
    critical: float | None  # what the largest studentised difference may be by chance; None where no pair differs anywhere
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None  # then every rank stays open

    def headline(self) -> str:
        if self.refused is not None:
            return f"Ranking by {self.of}: every order is possible ({self.refused})"
        sure = " | ".join(" = ".join(names) for names in self.equals)
        return f"Ranking by {self.of} ({self.confidence_level:.4g} for all ranks at once): {sure}"

    def __str__(self) -> str:
        return "\n".join(
            [self.headline(), *(f"  {one.headline()}" for one in self.ranked), *(f"  warning: {one}" for one in self.warnings)]
        )


def rank_intervals(
    names: Sequence[str],
    values: FloatArray,
    influence: FloatArray,
    *,
    times: IntArray | None = None,
    of: str = "mean",
    higher_is_better: bool = True,
    confidence_level: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
    warnings: tuple[str, ...] = (),
) -> Ranking:
    """The ranks that the evidence allows, for all competitors at once with the confidence level.

    `influence` (independent units x competitors) is what each case or cluster adds to each value, adding up to about 0; a
    row that stands for several alike units says so in `times`.
    Two are told apart where |difference| exceeds c standard errors of the difference, V = G/(G-1) sum of squared
    differences of influence; c is the quantile of the largest studentised difference over all pairs when the units' signs
    are flipped at random (max-t wild bootstrap; for the standard errors of flipped sums see `PairedIntervals`), and at least
    that of t with G - 1 degrees of freedom. The best rank is 1 + how many are surely ahead, the worst that many fewer than
    all as are surely behind (Mogstad et al. 2024). With fewer than 6 units all ranks stay open (`TOO_FEW_CLUSTERS`). The
    rank intervals do not depend on the order of competitors or units beyond the luck of the draw.
    """
    rows, size = influence.shape
    units = rows if times is None else int(np.sum(times))
    if len(names) != size or len(values) != size:
        raise ValueError("names, values and the columns of influence must belong together")
    order = np.argsort(-values if higher_is_better else values, kind="stable")
    refused = None
    if size < 2:
        refused = Refusal("NO_DATA", f"{size} competitors have no order", "compare at least two")
    elif units < FEWEST_CLUSTERS:
        why = f"{units} units cannot tell us how others would rank them"
        refused = Refusal("TOO_FEW_CLUSTERS", why, f"collect at least {FEWEST_CLUSTERS} independent cases or clusters")
    if refused is not None:
        open_ranks = tuple(Ranked(str(names[one]), float(values[one]), None, None, 1, size) for one in order)
        everyone = (tuple(one.name for one in open_ranks),) if size else ()
        return Ranking(of, open_ranks, everyone, confidence_level, "none", units, None, warnings, refused)
    if times is not None and units < MANY_UNITS:
        influence, times = np.repeat(influence, times, axis=0), None
    square = (influence if times is None else influence * times[:, None]).T @ influence
    spread = units / (units - 1) * square
    se = np.sqrt(np.maximum(np.add.outer(np.diag(spread), np.diag(spread)) - 2 * spread, 0.0))
    scale = math.sqrt(max(float(np.diag(spread).max()), 1e-300))
    t = float(stdtrit(units - 1, 0.5 + confidence_level / 2))
    by_chance = _largest_by_chance(influence, square, units, confidence_level, draws, rng)
    critical = None if by_chance is None else max(t, by_chance)
    ahead = np.subtract.outer(values, values) * (1 if higher_is_better else -1)
    # where no unit tells two apart, their difference has no error to compare it with
    surely = (ahead > (critical or 0.0) * se) & (se > 1e-9 * scale)
    best, worst = 1 + surely.sum(axis=0), size - surely.sum(axis=1)
    own = np.sqrt(np.diag(spread))
    ranked = tuple(
        Ranked(
            name=str(names[one]),
            value=float(values[one]),
            low=float(values[one] - t * own[one]),
            high=float(values[one] + t * own[one]),
            rank_low=int(best[one]),
            rank_high=int(worst[one]),
        )
        for one in order
    )
    return Ranking(
        of=of,
        ranked=ranked,
        equals=_equals([str(names[one]) for one in order], (surely | surely.T)[np.ix_(order, order)]),
        confidence_level=confidence_level,
        method="max-t over all pairs, signs of units flipped",
        n_units=units,
        critical=critical,
        warnings=warnings,
    )


def _largest_by_chance(
    influence: FloatArray, square: FloatArray, units: int, confidence_level: float, draws: int, rng: np.random.Generator
) -> float | None:
    """The quantile of max |sum of flipped differences| / its standard error over all pairs; None where no pair differs."""
    size = len(square)
    first, second = np.triu_indices(size, 1)
    squares = np.diag(square)[first] + np.diag(square)[second] - 2 * square[first, second]
    told = squares > 1e-18 * max(float(np.diag(square).max()), 1e-300)
    if not np.any(told):
        return None
    first, second, squares = first[told], second[told], squares[told]
    root = np.linalg.cholesky(square + 1e-12 * max(float(np.trace(square)), 1e-300) * np.eye(size)) if units >= MANY_UNITS else None
    largest = np.empty(draws)
    step = max(1, min(draws, TABLE // max(units if root is None else size, len(first))))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        if root is None:
            sums = (2.0 * rng.integers(0, 2, size=(rows, units), dtype=np.int8) - 1.0) @ influence
        else:
            sums = rng.standard_normal((rows, size)) @ root.T
        total = (sums[:, first] - sums[:, second]) ** 2
        # the sum of squares does not change with the signs; its centre does
        spread = units / (units - 1) * np.maximum(squares - total / units, 1e-12 * squares)
        largest[start : start + rows] = np.sqrt((total / spread).max(axis=1))
    place = min(draws - 1, math.ceil(confidence_level * (draws + 1)) - 1)
    return float(np.partition(largest, place)[place])


def _equals(names: list[str], apart: NDArray[np.bool_]) -> tuple[tuple[str, ...], ...]:
    """The longest runs of neighbours of whom no two are told apart."""
    runs: list[tuple[str, ...]] = []
    reached = 0
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and not np.any(apart[start:end, end]):
            end += 1
        if end > reached:
            runs.append(tuple(names[start:end]))
            reached = end
    return tuple(runs)


def rank_means(
    score: FloatArray,
    system: NDArray[Any],
    cluster: NDArray[Any],
    *,
    higher_is_better: bool = True,
    confidence_level: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> Ranking:
    """The systems by mean score with rank intervals. `cluster` is each score's cluster, or its case where there is none.

    The influence of cluster g on the mean of system s is the sum of its (score - mean) over the number of scores, so that cases
    shared by systems pair them. Refused where a score is not finite or a list is empty, and as `rank_intervals` is.
    """
    if len(score) != len(system) or len(score) != len(cluster):
        raise ValueError("system and cluster must have one entry for every score")
    names, s = np.unique(system, return_inverse=True)
    groups, g = np.unique(cluster, return_inverse=True)
    if not len(score) or not np.all(np.isfinite(score)):
        code, why = ("NO_DATA", "there is no score") if not len(score) else ("OFF_SCALE", "a score is not a finite number")
        refused = Refusal(code, why, "collect scores, and leave out missing ones")
        return Ranking("mean", (), (), confidence_level, "none", len(groups), None, (), refused)
    count = np.bincount(s)
    means = np.bincount(s, weights=score) / count
    influence = np.bincount(g * len(names) + s, weights=(score - means[s]) / count[s], minlength=len(groups) * len(names))
    return rank_intervals(
        [str(name) for name in names],
        means,
        influence.reshape(len(groups), len(names)).astype(np.float64),
        higher_is_better=higher_is_better,
        confidence_level=confidence_level,
        draws=draws,
        rng=rng,
    )


# ---------------------------------------------------------------- Bradley-Terry


class Abilities(NamedTuple):
    """The maximum of the Bradley-Terry likelihood."""

    log_ability: FloatArray  # 0 for the first player
    covariance: FloatArray  # inverse information with the first player fixed; its row and column are 0. The order effect is last
    order_effect: float  # log-odds that being shown first adds; 0 where it was not asked for
    log_likelihood: float


def beats_components(wins: FloatArray) -> list[list[int]]:
    """The strongly connected components of the graph in which i leads to j where i beat j. One: a finite maximum exists (Ford 1957)."""
    reach = (wins > 0) | np.eye(len(wins), dtype=bool)
    for _ in range(max(1, math.ceil(math.log2(max(2, len(wins)))))):
        reach = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
    both = reach & reach.T
    return [list(map(int, np.flatnonzero(row))) for place, row in enumerate(both) if int(np.flatnonzero(row)[0]) == place]


def fit_bradley_terry(won_first: FloatArray, met_first: FloatArray, *, order_effect: bool = False) -> Abilities | None:
    """The maximum of sum log P, P(i before j wins) = expit(a_i - a_j + order), by Newton's method (Bradley and Terry 1952).

    `met_first[i, j]` counts the comparisons with i shown first, `won_first[i, j]` those of them that i won, a tie as half.
    The likelihood is concave, so that a halved Newton step always climbs. None where there is no finite maximum.
    """
    size = len(met_first)
    ability, order = np.zeros(size), 0.0
    lost_first = met_first - won_first

    def likelihood(ability: FloatArray, order: float) -> float:
        eta = np.subtract.outer(ability, ability) + order
        return float(np.sum(won_first * log_expit(eta) + lost_first * log_expit(-eta)))

    value = likelihood(ability, order)
    covariance = np.zeros((size + 1, size + 1))
    free = np.arange(1, size + 1 if order_effect else size)
    for _ in range(ITERATIONS):
        p = expit(np.subtract.outer(ability, ability) + order)
        residual, v = won_first - met_first * p, met_first * p * (1 - p)
        slope = np.append(residual.sum(axis=1) - residual.sum(axis=0), residual.sum())
        curve = np.zeros((size + 1, size + 1))
        curve[:size, :size] = np.diag(v.sum(axis=1) + v.sum(axis=0)) - v - v.T
        curve[:size, size] = curve[size, :size] = v.sum(axis=1) - v.sum(axis=0)
        curve[size, size] = v.sum()
        part = curve[np.ix_(free, free)]
        try:
            move = np.linalg.solve(part, slope[free])
        except np.linalg.LinAlgError:
            return None
        largest = float(np.abs(move).max(initial=0.0))
        if not math.isfinite(largest):
            return None
        if largest < CLOSE:
            covariance[np.ix_(free, free)] = np.linalg.inv(part)
            return Abilities(ability, covariance, order, value)
        step, whole = min(1.0, 5 / largest), np.zeros(size + 1)
        whole[free] = move
        while True:
            next_value = likelihood(ability + step * whole[:size], order + step * float(whole[size]))
            if next_value >= value - 1e-12 * abs(value) or step < 1e-8:
                break
            step /= 2
        ability, order, value = ability + step * whole[:size], order + step * float(whole[size]), next_value
        if float(np.ptp(ability)) > size * FAR or abs(order) > FAR:
            return None
    return None


@dataclass(frozen=True, slots=True)
class BradleyTerry(Result):
    """Abilities from pairwise grades, and the ranks they allow."""

    ranking: Ranking  # values: log-odds above the average player
    order_effect: float | None  # log-odds that being shown first adds; None where it was not asked for
    order_low: float | None
    order_high: float | None
    components: tuple[tuple[str, ...], ...]  # within each, everyone beat everyone through others; one: comparable
    pseudo_wins: float | None  # added to each side of every compared pair, where it was needed
    log_likelihood: float | None
    wins: tuple[tuple[str, float, int], ...]  # name, wins with ties as half, comparisons
    confidence_level: float
    method: str
    n_cases: int  # independent cases
    n_clusters: int | None
    n_comparisons: int
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        return f"Bradley-Terry: no figure ({self.refused})" if self.refused is not None else self.ranking.headline()


def bradley_terry(
    first: NDArray[Any],
    second: NDArray[Any],
    outcome: FloatArray,
    case: NDArray[Any] | None = None,
    *,
    cluster: NDArray[Any] | None = None,
    order_effect: bool = False,
    pseudo_wins: bool = False,
    confidence_level: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> BradleyTerry:
    """Log-abilities from comparisons of two with simultaneous rank intervals.

    `first` was shown before `second`; `outcome` is 1 where the first won, 0 where the second did, 0.5 for a tie, which
    counts as half a win for each. `order_effect` estimates what being shown first adds. The independent unit is the
    cluster, else the case, else the comparison; standard errors are the sandwich over units. Refused (`NOT_COMPARABLE`)
    where someone never lost, or never won, against the rest: no finite ability exists then. With `pseudo_wins` each
    compared pair gets half a win on either side in that case, marked, unless some were not even indirectly compared.
    """
    n = len(outcome)
    if any(len(one) != n for one in (first, second, *(one for one in (case, cluster) if one is not None))):
        raise ValueError("first, second, outcome, case and cluster must have one entry for every comparison")
    names, codes = np.unique(np.concatenate([np.asarray(first), np.asarray(second)]), return_inverse=True)
    a, b = codes[:n], codes[n:]
    players = [str(name) for name in names]
    size = len(players)
    wins = _wins(players, a, b, outcome)
    unit = np.arange(n) if case is None else case
    n_cases = len(np.unique(unit))
    groups, g = np.unique(unit if cluster is None else cluster, return_inverse=True)
    n_clusters = None if cluster is None else len(groups)

    def refuse(code: str, why: str, next_step: str, components: tuple[tuple[str, ...], ...] = ()) -> BradleyTerry:
        refused = Refusal(code, why, next_step)
        empty = Ranking("log ability", (), (), confidence_level, "none", len(groups), None, (), refused)
        return BradleyTerry(
            *(empty, None, None, None, components, None, None, wins, confidence_level, "none"),
            *(n_cases, n_clusters, n),
            refused=refused,
        )

    if n == 0:
        return refuse("NO_DATA", "there is no comparison", "compare some")
    if not np.all((outcome >= 0) & (outcome <= 1)):
        return refuse("OFF_SCALE", "an outcome lies outside 0 to 1", "use 1 where the first won, 0 where the second did, 0.5 for a tie")
    if np.any(a == b):
        return refuse("NOT_COMPARABLE", f"{players[int(a[a == b][0])]} was compared with itself", "leave such comparisons out")
    cell = a * size + b
    met = np.bincount(cell, minlength=size * size).reshape(size, size).astype(np.float64)
    won = np.bincount(cell, weights=outcome, minlength=size * size).reshape(size, size).astype(np.float64)
    parts = [tuple(players[one] for one in part) for part in beats_components(won + (met - won).T)]
    warnings, added = [], None
    if len(parts) > 1:
        sides = " | ".join(", ".join(part) for part in parts)
        together = len(beats_components(met + met.T)) == 1
        if not (pseudo_wins and together):
            kind = "someone won or lost every comparison with the rest" if together else "some were never compared, not even through others"
            next_step = "compare across the groups" + (", or ask for pseudo-wins" if together else "")
            return refuse("NOT_COMPARABLE", f"{kind}: {sides}", next_step, tuple(parts))
        added = PSEUDO_WINS
        warnings.append(f"half a win was added to each side of every compared pair, as {sides} have no finite abilities otherwise")
        compared = np.triu((met + met.T) > 0)
        met, won = met + 2 * PSEUDO_WINS * compared, won + PSEUDO_WINS * compared
    fit = fit_bradley_terry(won, met, order_effect=order_effect)
    if fit is None:
        why = "the data can be explained by the order alone, without limit" if order_effect else "the abilities have no finite estimate"
        return refuse("NOT_COMPARABLE", why, "compare pairs in both orders", tuple(parts))
    times = None
    if case is None and cluster is None:
        # comparisons of the same two with the same outcome are alike, which keeps a million of them small
        kinds, times = np.unique(np.stack([cell, outcome]), axis=1, return_counts=True)
        a, b, y = kinds[0].astype(np.int64) // size, kinds[0].astype(np.int64) % size, kinds[1]
        rows, g = len(y), np.arange(len(y))
    else:
        y, rows = outcome, len(groups)
    residual = y - expit(fit.log_ability[a] - fit.log_ability[b] + fit.order_effect)
    place, cells = g * (size + 1), rows * (size + 1)
    slopes = np.bincount(place + a, weights=residual, minlength=cells) - np.bincount(place + b, weights=residual, minlength=cells)
    slopes += np.bincount(place + size, weights=residual, minlength=cells)
    influence = slopes.reshape(rows, size + 1) @ fit.covariance
    order_influence = influence[:, size]
    # against the average player, so that no player's own error is everyone's
    influence = influence[:, :size] - influence[:, :size].mean(axis=1, keepdims=True)
    ranking = rank_intervals(
        players,
        fit.log_ability - fit.log_ability.mean(),
        influence,
        times=times,
        of="log ability",
        confidence_level=confidence_level,
        draws=draws,
        rng=rng,
        warnings=tuple(warnings),
    )
    half = None
    if order_effect and len(groups) >= FEWEST_CLUSTERS:
        se = math.sqrt(len(groups) / (len(groups) - 1) * float(np.sum(order_influence**2 * (1 if times is None else times))))
        half = float(stdtrit(len(groups) - 1, 0.5 + confidence_level / 2)) * se
    return BradleyTerry(
        ranking=ranking,
        order_effect=fit.order_effect if order_effect else None,
        order_low=None if half is None else fit.order_effect - half,
        order_high=None if half is None else fit.order_effect + half,
        components=tuple(parts),
        pseudo_wins=added,
        log_likelihood=fit.log_likelihood,
        wins=wins,
        confidence_level=confidence_level,
        method="Bradley-Terry maximum likelihood, sandwich over "
        + ("clusters" if cluster is not None else "cases" if case is not None else "comparisons"),
        n_cases=n_cases,
        n_clusters=n_clusters,
        n_comparisons=n,
        assumptions=("one ability each, whatever the opponent", "a tie is half a win for each", "units are independent of one another"),
        warnings=tuple(warnings),
    )


def _wins(players: list[str], a: IntArray, b: IntArray, outcome: FloatArray) -> tuple[tuple[str, float, int], ...]:
    """Raw counts, which a refusal shows too."""
    size = len(players)
    known = np.where(np.isfinite(outcome), outcome, 0.5)
    won = np.bincount(a, weights=known, minlength=size) + np.bincount(b, weights=1 - known, minlength=size)
    met = np.bincount(a, minlength=size) + np.bincount(b, minlength=size)
    return tuple((player, float(won[place]), int(met[place])) for place, player in enumerate(players))
