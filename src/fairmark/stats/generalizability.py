"""Where the spread of marks comes from: cases, graders, criteria or chance, and how far a mean of them can be relied on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from fairmark.results import Refusal, Result
from fairmark.stats.intervals import FloatArray, IntArray, Interval

FEW_LEVELS = 5  # below this a facet's own spread is hardly measured
FARTHEST = 4  # times the observed number of levels: no design is predicted beyond
ERROR = "error"
TINY = 1e-12
HALVINGS = 30


class Effect(NamedTuple):
    """A source of spread: which observations share one draw of it."""

    name: str
    level: IntArray  # of each observation
    facets: frozenset[str]  # whose levels tell its draws apart
    averaged: frozenset[str]  # facets whose numbers of levels make it smaller in a mean


class Anova(NamedTuple):
    """Sums of squares of a design and what they say about each effect's variance."""

    variance: FloatArray  # unbiased, may be negative
    mean_square: FloatArray
    df: FloatArray
    weights: FloatArray  # effects x mean squares: variance = weights @ mean_square
    identified: bool  # whether the design tells the effects apart


def finer(first: IntArray, second: IntArray) -> bool:
    """Whether observations alike in `first` are alike in `second`; both are coded from 0."""
    owner = np.zeros(int(first.max()) + 1, dtype=np.int64)
    owner[first] = second
    return bool(np.all(owner[first] == second))


def joined(first: IntArray, second: IntArray) -> IntArray:
    """A code from 0 for each combination of two codings that occurs."""
    if finer(first, second):
        return first
    if finer(second, first):
        return second
    levels = int(second.max()) + 1
    code = first * levels + second
    size = (int(first.max()) + 1) * levels
    if size > 4 * len(code) + 1_000:
        sorted_place: IntArray = np.unique(code, return_inverse=True)[1].astype(np.int64)
        return sorted_place
    # counting is faster than sorting where most combinations occur
    met = np.zeros(size, dtype=np.int64)
    met[code] = 1
    place: IntArray = (np.cumsum(met) - 1)[code]
    return place


def same_split(first: IntArray, second: IntArray) -> bool:
    """Whether two codings put the same observations together."""
    return int(first.max()) == int(second.max()) and finer(first, second)


class Henderson:
    """Variance components by Henderson's method I (1953), for any set of effects, balanced or not.

    T_a = sum over the levels of effect a of (total of y)^2 / count has the expectation N mu^2 + sum_b k_ab sigma^2_b with
    k_ab = sum over levels n_ab^2 / n_a; the T of all effects are set equal to their expectations. In a balanced design
    these are the expected mean squares. Everything is kept by unit (a case, or whatever is resampled), so that
    `variances` answers for many weightings of the units at once: a unit of weight 2 stands for two different ones.
    """

    def __init__(self, y: FloatArray, unit: IntArray, effects: Sequence[Effect]) -> None:
        self.n_units = int(unit.max()) + 1
        everything = Effect("mean", np.zeros(len(y), dtype=np.int64), frozenset(), frozenset())
        self.effects = [everything, *effects]
        # differences from the mean: T is a small difference of large squares otherwise
        self.y = y - np.mean(y)
        self.unit = unit
        self.within = [self._owner(effect.level) for effect in self.effects]

    def _owner(self, level: IntArray) -> IntArray | None:
        """The unit that each level belongs to, or None where a level is met in several."""
        owner = np.zeros(int(level.max()) + 1, dtype=np.int64)
        owner[level] = self.unit
        return owner if bool(np.all(owner[level] == self.unit)) else None

    def _sums(self, weights: FloatArray, by: IntArray, values: FloatArray) -> FloatArray:
        """For each row of weights and each level of `by`: the weighted sum of the observations' values."""
        levels = int(by.max()) + 1
        table = np.bincount(self.unit * levels + by, weights=values, minlength=self.n_units * levels)
        return weights @ table.reshape(self.n_units, levels)

    def _moments(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """T of every effect (rows x effects) and k (rows x effects x effects)."""
        size = len(self.effects)
        t = np.empty((len(weights), size))
        k = np.empty((len(weights), size, size))
        ones = np.ones(len(self.y))
        for a, first in enumerate(self.effects):
            owner = self.within[a]
            counts = np.bincount(first.level).astype(np.float64)
            if owner is not None:
                totals = np.bincount(first.level, weights=self.y)
                t[:, a] = weights @ np.bincount(owner, weights=totals**2 / counts, minlength=self.n_units)
            else:
                n_a = self._sums(weights, first.level, ones)
                safe = np.where(n_a > 0, n_a, 1.0)
                t[:, a] = np.sum(self._sums(weights, first.level, self.y) ** 2 / safe, axis=1)
            for b, second in enumerate(self.effects):
                cell = joined(first.level, second.level)
                n_ab = np.bincount(cell)
                place = np.zeros(len(n_ab), dtype=np.int64)
                place[cell] = np.arange(len(cell))
                if owner is not None:
                    part = n_ab**2 / counts[first.level[place]]
                    k[:, a, b] = weights @ np.bincount(self.unit[place], weights=part, minlength=self.n_units)
                elif self.within[b] is not None:
                    # sum over the cells of n_ab^2, each observation bringing n_ab of it
                    k[:, a, b] = np.sum(self._sums(weights, first.level, n_ab[cell].astype(np.float64)) / safe, axis=1)
                else:
                    n_cell = self._sums(weights, cell, ones)
                    k[:, a, b] = np.sum(n_cell**2 / safe[:, first.level[place]], axis=1)
        return t, k

    def variances(self, weights: FloatArray) -> FloatArray:
        """The components (rows x effects) for each row of weights of the units."""
        t, k = self._moments(weights)
        found = np.linalg.pinv(k[:, 1:, 1:] - k[:, :1, 1:]) @ (t[:, 1:] - t[:, :1])[..., None]
        return found[..., 0]

    def anova(self) -> Anova:
        """The components of the data as they are, and the mean squares that they are sums of."""
        t, k = (one[0] for one in self._moments(np.ones((1, self.n_units))))
        size = len(self.effects)
        levels = [int(effect.level.max()) + 1 for effect in self.effects]
        coarser = np.zeros((size, size))  # 1 where the column's effect is a coarsening of the row's, or the same
        for a, b in itertools.product(range(size), repeat=2):
            coarser[a, b] = finer(self.effects[a].level, self.effects[b].level)
        # T and the numbers of levels are cumulative over coarser effects; undone, they are sums of squares and df
        undo = np.linalg.pinv(coarser)
        squares, df = (undo @ t)[1:], np.maximum((undo @ np.array(levels))[1:], 1.0)
        system = k[1:, 1:] - k[:1, 1:]
        identified = bool(np.linalg.matrix_rank(system) == size - 1)
        weights = np.linalg.pinv(system) @ (coarser[1:, 1:] * df)
        weights[np.abs(weights) < 1e-10 * np.abs(weights).max()] = 0.0
        mean_square = np.maximum(squares, 0.0) / df
        variance = np.linalg.pinv(system) @ (t[1:] - t[0])
        scale = float(np.mean(self.y**2))
        variance[np.abs(variance) < TINY * max(scale, TINY)] = 0.0
        return Anova(variance, mean_square, df, weights, identified)


class Squares(NamedTuple):
    """Mean squares with the chi-square limits of their expectations."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def with_limits(mean_square: FloatArray, df: FloatArray, *, confidence_level: float) -> Squares:
    """MS df / chi2 quantile, at both ends."""
    alpha = (1 - confidence_level) / 2
    scaled = mean_square * df / 2
    # with one degree of freedom the lower quantile is tiny, and at extreme levels 0
    return Squares(mean_square, scaled / gammaincinv(df / 2, 1 - alpha), scaled / np.maximum(gammaincinv(df / 2, alpha), 1e-100))


def mover_of_mean_squares(weights: FloatArray, squares: Squares) -> Interval:
    """The interval of sum_q weights_q E(MS_q): MOVER on the chi-square limits of each mean square.

    With positive weights low = sum - sqrt(sum w_q^2 (MS_q - l_q)^2), and a negative weight swaps the ends (the modified
    large sample interval without cross terms: Graybill and Wang 1980; Ting et al. 1990). It needs no positive estimate.
    """
    below, above = squares.value - squares.low, squares.high - squares.value
    value = float(weights @ squares.value)
    down, up = np.where(weights > 0, below, above), np.where(weights > 0, above, below)
    return Interval(value - float(np.linalg.norm(weights * down)), value + float(np.linalg.norm(weights * up)))


@dataclass(frozen=True, slots=True)
class Component(Result):
    """One source of spread."""

    name: str  # such as case x grader
    value: float  # variance, 0 where the estimate is negative
    raw: float  # the estimate as it came out
    low: float  # of the variance, at least 0
    high: float
    share: float  # of the variance of one mark
    df: float  # of its mean square
    mean_square: float
    facets: tuple[str, ...]  # whose levels tell its draws apart
    averaged: tuple[str, ...]  # facets whose numbers of levels make it smaller in a mean
    weights: tuple[float, ...]  # of the mean squares of all components, in their order, that add up to `raw`

    def headline(self) -> str:
        shown = f" (came out as {self.raw:.4g})" if self.raw < 0 else ""
        return f"{self.name} {self.value:.4g} [{self.low:.4g}, {self.high:.4g}]{shown}"


@dataclass(frozen=True, slots=True)
class Dependability(Result):
    """How far the mean over so many levels of each facet can be relied on."""

    object_of_measurement: str
    sizes: Mapping[str, int]  # levels of each facet that the mean is over
    universe: float | None  # variance of what is measured
    relative_error: float | None  # error variance for comparing (ranking) objects
    absolute_error: float | None  # error variance of the level itself
    e_rho2: float | None  # universe / (universe + relative error): for comparing; None where nothing varies
    e_rho2_low: float | None
    e_rho2_high: float | None
    phi: float | None  # universe / (universe + absolute error): for the level
    phi_low: float | None
    phi_high: float | None
    confidence_level: float
    method: str
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        over = " x ".join(f"{n} {facet}" for facet, n in self.sizes.items())
        if self.refused is not None:
            return f"Means over {over}: no figure ({self.refused})"
        return (
            f"Means over {over}: E rho2 {self.e_rho2:.3f} [{self.e_rho2_low:.3f}, {self.e_rho2_high:.3f}], "
            f"Phi {self.phi:.3f} [{self.phi_low:.3f}, {self.phi_high:.3f}] ({self.confidence_level:.4g})"
        )


@dataclass(frozen=True, slots=True)
class GStudy(Result):
    """What the marks vary with."""

    object_of_measurement: str
    components: tuple[Component, ...]
    observed: Dependability | None  # of means over the levels at hand
    levels: Mapping[str, int]  # of each facet that varies, the object's own among them
    per_object: Mapping[str, int]  # how many levels of each other facet one object meets, on average
    fixed: tuple[str, ...]  # facets whose levels are all there are
    confounded: tuple[str, ...]  # what this design cannot tell apart
    mean: float | None
    confidence_level: float
    method: str
    n_marks: int
    balanced: bool
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"What marks vary with: no figure ({self.refused})"
        most = max(self.components, key=lambda one: one.value)
        return f"Of the variance of one mark {most.share:.0%} is {most.name}"

    def __str__(self) -> str:
        lines = [self.headline(), *(one.headline() for one in self.components)]
        lines += [self.observed.headline()] if self.observed is not None else []
        lines += [f"confounded: {one}" for one in self.confounded] + [f"warning: {one}" for one in self.warnings]
        return "\n  ".join(lines)


def g_study(
    score: FloatArray,
    facets: Mapping[str, NDArray[Any]],
    *,
    object_of_measurement: str,
    fixed: Sequence[str] = ("criterion",),
    confidence_level: float = 0.95,
) -> GStudy:
    """The variance of marks by source, and how far their means can be relied on (Cronbach et al. 1972; Brennan 2001).

    `facets` names the level of each mark on every facet, the object of measurement among them: cases, or systems. All
    are crossed and random but those in `fixed`, whose levels are all there are. Components come from Henderson's method
    I, which is the method of expected mean squares in a balanced design, and takes missing marks; a negative one is set to 0
    and shown. Marks that share all levels are repeats and give the error a component of its own. Intervals: MOVER on the
    mean squares. Facets with one level, and effects that this design does not separate, are named in `confounded`.
    Refused without data, with NaN, with fewer than 2 objects, without any other facet that varies, where the object
    cannot be told from another effect (`CONFOUNDED`), and where nothing varies (`NO_VARIATION`).
    """
    names = list(facets)
    if object_of_measurement not in facets:
        raise ValueError(f"object_of_measurement {object_of_measurement!r} is none of the facets {names}")
    if any(len(level) != len(score) for level in facets.values()):
        raise ValueError("each facet must name a level for every score")
    codes = {name: np.unique(level, return_inverse=True)[1].astype(np.int64) for name, level in facets.items()}
    levels = {name: int(code.max()) + 1 if len(code) else 0 for name, code in codes.items()}
    varying = [name for name in names if levels[name] >= 2]
    confounded = [f"{name} has one level: what it adds is inside the rest" for name in names if levels[name] == 1]
    kept_fixed = tuple(name for name in fixed if name in varying and name != object_of_measurement)

    def refuse(code: str, why: str, next_step: str) -> GStudy:
        return GStudy(
            object_of_measurement=object_of_measurement,
            components=(),
            observed=None,
            levels=levels,
            per_object={},
            fixed=kept_fixed,
            confounded=tuple(confounded),
            mean=float(np.mean(score)) if len(score) and np.all(np.isfinite(score)) else None,
            confidence_level=confidence_level,
            method="none",
            n_marks=len(score),
            balanced=False,
            refused=Refusal(code, why, next_step),
        )

    if not len(score):
        return refuse("NO_DATA", "there is no mark", "collect marks")
    if not np.all(np.isfinite(score)):
        return refuse("OFF_SCALE", "a mark is not a finite number", "leave out the marks that are missing")
    others = [name for name in varying if name != object_of_measurement]
    if object_of_measurement not in varying or not others:
        lacking = object_of_measurement if object_of_measurement not in varying else "every other facet"
        return refuse("TOO_FEW_LEVELS", f"{lacking} has fewer than two levels", "collect marks on a second level of it")
    y = np.asarray(score, dtype=np.float64)
    if float(np.ptp(y)) <= TINY * max(1.0, float(np.abs(y).max())):
        return refuse("NO_VARIATION", "all marks are the same", "use cases that differ, or levels that tell them apart")
    effects, merged = _crossed_effects(codes, varying, object_of_measurement)
    confounded += merged
    mine = next(effect for effect in effects if object_of_measurement in effect.name.split(" + "))
    if mine.name != object_of_measurement:
        others_too = " + ".join(part for part in mine.name.split(" + ") if part != object_of_measurement)
        why = f"{object_of_measurement} cannot be told from {others_too}"
        return refuse("CONFOUNDED", why, "let several graders mark the same ones")
    design = Henderson(y, codes[object_of_measurement], effects)
    found = design.anova()
    if not found.identified:
        return refuse("CONFOUNDED", "this design does not tell its sources of spread apart", "let several graders mark the same cases")
    components = _components(effects, found, confidence_level)
    cells = _joint(codes, varying)
    full = math.prod(levels[name] for name in varying)
    counts = np.bincount(cells)
    balanced = len(counts) == full and bool(np.all(counts == counts[0]))
    few = [name for name in varying if levels[name] < FEW_LEVELS and name not in kept_fixed]
    warnings = [f"{name} has {levels[name]} levels: its own spread is hardly measured" for name in few]
    warnings += [f"{one.name} came out negative ({one.raw:.4g}) and counts as 0" for one in components if one.raw < 0]
    if not balanced:
        warnings.append("marks are missing or unequal in number: the intervals are approximate")
    study = GStudy(
        object_of_measurement=object_of_measurement,
        components=components,
        observed=None,
        levels={name: levels[name] for name in varying},
        per_object={name: _met(codes[object_of_measurement], codes[name]) for name in others},
        fixed=kept_fixed,
        confounded=tuple(confounded),
        mean=float(np.mean(y)),
        confidence_level=confidence_level,
        method="Henderson's method I" if not balanced else "expected mean squares",
        n_marks=len(y),
        balanced=balanced,
        assumptions=("effects add up and are independent of one another", "levels of random facets are drawn from many like them"),
        warnings=tuple(warnings),
    )
    return _with_observed(study)


def d_study(study: GStudy, sizes: Mapping[str, int]) -> Dependability:
    """How far means over `sizes` levels of each facet could be relied on, from the components of a G-study.

    Relative error adds up sigma^2 / (product of the sizes) of the effects that the object shares with a random facet,
    absolute error also those of random facets without the object; an effect that the object shares with fixed facets
    only belongs to what is measured. Facets that are not named keep their observed number. A fixed facet cannot be resized.
    The intervals hold every ratio x for which MOVER's bounds of (1 - x) universe - x error lie around 0. Refused where
    the study is, and beyond 4 times the observed levels (`TOO_FAR`).
    """
    known = [*study.per_object, "repeat"]
    if study.refused is None and any(name not in known for name in sizes):
        raise ValueError(f"sizes are of {', '.join(known)}, not of {', '.join(sizes)}")
    if any(size < 1 for size in sizes.values()):
        raise ValueError("each facet needs at least one level")
    asked = {**study.per_object, **{name: int(size) for name, size in sizes.items()}}
    refused = study.refused
    if refused is None and any(asked[name] != study.per_object[name] for name in study.fixed):
        raise ValueError(f"{', '.join(study.fixed)} is fixed: its levels are all there are")
    far = [name for name, size in asked.items() if size > FARTHEST * study.per_object.get(name, size)]
    if refused is None and far:
        seen = study.per_object[far[0]]
        why = f"{asked[far[0]]} is more than {FARTHEST} times the {seen} levels of {far[0]} that were seen"
        refused = Refusal("TOO_FAR", why, f"try at most {FARTHEST * seen}, then measure again")
    if refused is not None:
        return _no_dependability(study, asked, refused)
    universe, relative, absolute = error_weights(study, asked)
    value = np.array([one.value for one in study.components])
    tau, delta, big_delta = (float(part @ value) for part in (universe, relative, absolute))
    if tau + delta <= 0 or tau + big_delta <= 0:
        why = "neither what is measured nor its error varies"
        return _no_dependability(study, asked, Refusal("NO_VARIATION", why, "use cases that differ"))
    of_squares = np.array([one.weights for one in study.components])
    mean_square = np.array([one.mean_square for one in study.components])
    df = np.array([one.df for one in study.components])
    made = [part @ of_squares for part in (universe, relative, absolute)]
    e_rho2, phi = tau / (tau + delta), tau / (tau + big_delta)
    squares = with_limits(mean_square, df, confidence_level=study.confidence_level)
    for_relative = _ratio_interval(made[0], made[1], squares, e_rho2)
    for_absolute = _ratio_interval(made[0], made[2], squares, phi)
    return Dependability(
        object_of_measurement=study.object_of_measurement,
        sizes=asked,
        universe=tau,
        relative_error=delta,
        absolute_error=big_delta,
        e_rho2=e_rho2,
        e_rho2_low=for_relative.low,
        e_rho2_high=for_relative.high,
        phi=phi,
        phi_low=for_absolute.low,
        phi_high=for_absolute.high,
        confidence_level=study.confidence_level,
        method="MOVER on mean squares",
        warnings=study.warnings,
    )


def error_weights(study: GStudy, sizes: Mapping[str, int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How much of each component is in what is measured, in the relative and in the absolute error of a mean over `sizes`."""
    parts = np.zeros((3, len(study.components)))
    for place, one in enumerate(study.components):
        share = 1 / math.prod(sizes.get(facet, 1) for facet in one.averaged)
        has_object = study.object_of_measurement in one.facets
        random = any(facet != study.object_of_measurement and facet not in study.fixed for facet in one.facets)
        parts[0, place] = share * (has_object and not random)
        parts[1, place] = share * (has_object and random)
        parts[2, place] = share * random
    return parts[0], parts[1], parts[2]


def _met(objects: IntArray, level: IntArray) -> int:
    """How many levels one object meets, on average."""
    pairs = len(np.unique(objects * (int(level.max()) + 1) + level))
    return max(1, round(pairs / (int(objects.max()) + 1)))


def _no_dependability(study: GStudy, sizes: Mapping[str, int], refused: Refusal) -> Dependability:
    empty = (None,) * 9
    return Dependability(study.object_of_measurement, sizes, *empty, study.confidence_level, "none", study.warnings, refused)


def _with_observed(study: GStudy) -> GStudy:
    parts = {name: getattr(study, name) for name in study.__slots__}
    return GStudy(**(parts | {"observed": d_study(study, {})}))


def _joint(codes: Mapping[str, IntArray], names: Sequence[str]) -> IntArray:
    """One code for each combination of the facets' levels that occurs, from 0."""
    code = codes[names[0]]
    for name in names[1:]:
        code = joined(code, codes[name])
    return code


def _crossed_effects(codes: Mapping[str, IntArray], names: Sequence[str], object_of_measurement: str) -> tuple[list[Effect], list[str]]:
    """An effect for each set of facets, and one for repeats; sets that split the marks alike are one effect with two names."""
    effects: list[Effect] = []
    confounded: list[str] = []
    sets = [part for size in range(1, len(names) + 1) for part in itertools.combinations(names, size)]
    for part in sets:
        level = _joint(codes, part)
        name = " x ".join(part)
        same = next((place for place, known in enumerate(effects) if same_split(known.level, level)), None)
        if same is None:
            effects.append(Effect(name, level, frozenset(part), frozenset(part) - {object_of_measurement}))
        else:
            known = effects[same]
            effects[same] = known._replace(name=f"{known.name} + {name}", facets=known.facets | set(part))
            confounded.append(f"{name} cannot be told from {known.name}")
    cells = _joint(codes, names)
    if int(cells.max()) + 1 < len(cells):
        each = np.arange(len(cells), dtype=np.int64)
        facets = frozenset((*names, "repeat"))
        effects.append(Effect(ERROR, each, facets, facets - {object_of_measurement}))
    else:
        confounded.append(f"{' x '.join(names)} cannot be told from error: each was marked once")
    return effects, confounded


def _components(effects: Sequence[Effect], found: Anova, confidence_level: float) -> tuple[Component, ...]:
    value = np.maximum(found.variance, 0.0)
    total = float(value.sum())
    squares = with_limits(found.mean_square, found.df, confidence_level=confidence_level)
    components = []
    for place, effect in enumerate(effects):
        interval = mover_of_mean_squares(found.weights[place], squares)
        components.append(
            Component(
                name=effect.name,
                value=float(value[place]),
                raw=float(found.variance[place]),
                low=min(max(0.0, interval.low), float(value[place])),
                # a negative estimate keeps its upper arm: it does not show that there is no variance at all
                high=float(value[place]) + max(0.0, interval.high - min(float(value[place]), float(found.variance[place]))),
                share=float(value[place]) / total if total > 0 else 0.0,
                df=float(found.df[place]),
                mean_square=float(found.mean_square[place]),
                facets=tuple(sorted(effect.facets)),
                averaged=tuple(sorted(effect.averaged)),
                weights=tuple(found.weights[place].tolist()),
            )
        )
    return tuple(components)


def _ratio_interval(universe: FloatArray, error: FloatArray, squares: Squares, value: float) -> Interval:
    """The interval of universe / (universe + error), both sums of mean squares."""

    def bounds(x: float) -> Interval:
        return mover_of_mean_squares((1 - x) * universe - x * error, squares)

    def edge(kept: float, out: float) -> float:
        """The border on the way from the estimate to an end of the scale."""
        low, high = bounds(out)
        if low <= 0 <= high:
            return out
        for _ in range(HALVINGS):
            middle = (kept + out) / 2
            low, high = bounds(middle)
            if low <= 0 <= high:
                kept = middle
            else:
                out = middle
        return kept

    return Interval(edge(value, 0.0), edge(value, 1.0))
