"""Slices of the cases that do worse than the rest: found in one half, held against the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import numbered
from fairmark.stats.estimates import refused_input
from fairmark.stats.groups import At, interval_of
from fairmark.stats.intervals import FloatArray, IntArray, Interval, benjamini_hochberg, bh_levels, one_sided_p
from fairmark.stats.proportions import mover_difference

Status = Literal["confirmed", "not confirmed", "lead"]
BoolArray = NDArray[np.bool_]

SUPPORT = 20  # cases that a slice, and the rest, must have where it is tested
SUPPORT_CLUSTERS = 5
HALVED_FROM = 400  # cases; with fewer a slice that is found stays a lead
FALSE_DISCOVERIES = 0.10
DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Slice(Result):
    """Cases with certain attributes, against all others."""

    name: str  # such as "language = de, topic = law"
    status: Status
    n_cases: int  # of all data
    n_clusters: int | None
    value: float  # mean in the part of the data that the interval is from
    rest: float
    difference: float  # value less rest
    low: float  # at the level of the false coverage rate; excludes 0 exactly where it was found, or confirmed
    high: float
    p: float  # one-sided, of not being worse than the rest
    p_adjusted: float  # by Benjamini and Hochberg
    same_as: tuple[str, ...] = ()  # other names of the same cases
    nested: tuple[str, ...] = ()  # slices inside it that were found as well

    def headline(self) -> str:
        counted = f"{self.n_cases} cases" + (f", {self.n_clusters} clusters" if self.n_clusters is not None else "")
        return f"{self.name}: {self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}] against the rest ({self.status}; {counted})"


@dataclass(frozen=True, slots=True)
class Slices(Result):
    """The slices that do worse than the rest, each nest of them once."""

    found: tuple[Slice, ...]  # largest shortfall first, confirmed ones before the others
    n_tested: int  # slices
    n_small: int  # slices that were too small to be tested
    halves: bool  # whether they were found in one half of the clusters and held against the other
    false_discoveries: float  # expected share of wrong ones among those found (and among those confirmed)
    depth: int
    n_cases: int
    n_clusters: int | None
    method: str
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"slices: nothing was tested ({self.refused})"
        counts = [sum(one.status == status for one in self.found) for status in ("confirmed", "not confirmed", "lead")]
        said = f"{counts[0]} confirmed, {counts[1]} not confirmed" if self.halves else f"{counts[2]} leads"
        return f"{self.n_tested} slices tested: {said}"


def find_slices(
    y: FloatArray,
    attributes: Mapping[str, Sequence[Any] | NDArray[Any]],
    cluster: IntArray | None = None,
    *,
    depth: int = 2,
    false_discoveries: float = FALSE_DISCOVERIES,
    rng: np.random.Generator,
) -> Slices:
    """Which slices do worse than the rest, by one attribute or by two together (`depth` up to 3).

    `y` holds 0/1 or scores in [0, 1], one a case; each attribute a value a case; `cluster` its cluster. A slice has at least
    20 cases in 5 clusters where it is tested, and so has the rest. Its one-sided p, of a mean that is not below the rest's,
    inverts MOVER on the two intervals (Newcombe for 0/1 cases, Korn and Graubard with clusters); Benjamini and Hochberg over
    all tested slices at `false_discoveries`. From 400 cases on, half of the clusters, drawn by `rng`, find slices and the
    other half confirms them, again by Benjamini and Hochberg, and the figures are those of the second half, which the search
    has not seen (Chung and others 2019); with fewer cases what is found is a lead. Slices of the same cases are tested once,
    and slices inside another one that was found are named with it.

    Refused: `NO_DATA`, `OFF_SCALE`, `NO_VARIATION`, and `TOO_FEW_CASES` where no slice is large enough.
    """
    y = np.asarray(y, dtype=np.float64)
    columns = {name: np.asarray(values) for name, values in attributes.items()}
    if y.ndim != 1 or any(column.shape != y.shape for column in columns.values()) or (cluster is not None and np.shape(cluster) != y.shape):
        raise ValueError("cases, attributes and clusters must be arrays of one length")
    if not 1 <= depth <= DEEPEST or not 0 < false_discoveries < 1:
        raise ValueError(f"the depth is 1 to {DEEPEST} and the share of false discoveries between 0 and 1")
    n = len(y)
    index, clusters = numbered(cluster, n)
    declared = None if cluster is None else clusters
    refused = refused_input(y)
    if refused is None and float(np.ptp(y)) == 0:
        refused = Refusal("NO_VARIATION", f"all {n} cases score {float(y[0]):g}", "no slice can be worse: look for harder cases")
    halves = n >= HALVED_FROM
    if refused is not None:
        return _refused(refused, false_discoveries, depth, n, declared, halves)
    coded = {name: np.unique([str(value) for value in column], return_inverse=True) for name, column in sorted(columns.items())}
    finding = np.ones(n, dtype=np.bool_)
    if halves:
        finding = _half(index, clusters, [y, *(codes for _, codes in coded.values())] if cluster is None else None, rng)
    data = _Data(y, None if cluster is None else index)
    tested, same, small = _distinct(_candidates(coded, n, depth), data, [finding, ~finding] if halves else [finding])
    if not tested:
        why = f"no slice has {SUPPORT} cases in {SUPPORT_CLUSTERS} clusters" + (" in each half" if halves else "")
        refused = Refusal("TOO_FEW_CASES", why, "collect more cases, or use attributes with fewer values")
        return _refused(refused, false_discoveries, depth, n, declared, halves, small)
    ps = [data.p(one.mask, finding, solved_below=false_discoveries) for one in tested]
    adjusted, levels = benjamini_hochberg(ps), bh_levels(ps, false_discoveries)
    hits = [i for i, p in enumerate(adjusted) if p <= false_discoveries]
    rows: dict[int, Slice] = {}
    judged = [(i, ps[i], adjusted[i], levels[i]) for i in hits]
    part = finding
    if halves:
        part = ~finding
        again = [data.p(tested[i].mask, part) for i in hits]
        then = bh_levels(again, false_discoveries)
        judged = [(i, p, q, level) for i, p, q, level in zip(hits, again, benjamini_hochberg(again), then, strict=True)]
    for i, p, q, level in judged:
        status: Status = ("confirmed" if q <= false_discoveries else "not confirmed") if halves else "lead"
        rows[i] = data.row(tested[i], same[i], part, p, q, level, status)
    outer = _outermost(tested, rows)
    order = sorted(outer, key=lambda one: (one.status != "confirmed", one.difference, one.name))
    return Slices(
        found=tuple(order),
        n_tested=len(tested),
        n_small=small,
        halves=halves,
        false_discoveries=float(false_discoveries),
        depth=int(depth),
        n_cases=n,
        n_clusters=declared,
        method=f"{data.method} against the rest, Benjamini-Hochberg" + (", found and confirmed in halves" if halves else ""),
        assumptions=("cases are independent of one another" if cluster is None else "clusters are independent of one another",),
        warnings=() if halves or not rows else ("leads were found and tested in the same cases: collect new ones before believing them",),
    )


class _Candidate(NamedTuple):
    """A slice by its name and its cases, eight to a byte: there may be thousands of slices of a million cases."""

    name: str
    packed: NDArray[np.uint8]
    n: int

    @property
    def mask(self) -> BoolArray:
        return np.unpackbits(self.packed, count=self.n).astype(np.bool_)


def _candidates(coded: Mapping[str, tuple[NDArray[Any], IntArray]], n: int, depth: int) -> Iterator[tuple[str, BoolArray]]:
    """Every combination of values that occurs, of one attribute first."""
    for width in range(1, min(depth, len(coded)) + 1):
        for names in itertools.combinations(coded, width):
            key = np.zeros(n, dtype=np.int64)
            for name in names:
                key = key * len(coded[name][0]) + coded[name][1]
            for place, first in zip(*np.unique(key, return_index=True), strict=True):
                values = [str(coded[name][0][coded[name][1][first]]) for name in names]
                yield ", ".join(f"{name} = {value}" for name, value in zip(names, values, strict=True)), key == place


def _distinct(
    candidates: Iterator[tuple[str, BoolArray]], data: _Data, parts: Sequence[BoolArray]
) -> tuple[list[_Candidate], list[tuple[str, ...]], int]:
    """The slices that are large in every part, each set of cases once by its shortest name; its other names; how many are small."""
    first: dict[bytes, int] = {}
    kept: list[_Candidate] = []
    others: list[list[str]] = []
    small = 0
    for name, mask in candidates:
        if not all(data.is_large(mask, part) for part in parts):
            small += 1
            continue
        packed = np.packbits(mask)
        place = first.setdefault(packed.tobytes(), len(kept))
        if place < len(kept):
            others[place].append(name)
        else:
            kept.append(_Candidate(name, packed, len(mask)))
            others.append([])
    return kept, [tuple(names) for names in others], small


def _outermost(tested: Sequence[_Candidate], rows: Mapping[int, Slice]) -> list[Slice]:
    """The slices that are in no other of the same status, with the names of those inside them."""
    inside: dict[int, list[str]] = {i: [] for i in rows}
    hidden = set()
    for i, j in itertools.permutations(rows, 2):
        if rows[i].status == rows[j].status and not np.any(tested[i].packed & ~tested[j].packed):
            hidden.add(i)
            inside[j].append(rows[i].name)
    return [replace(row, nested=tuple(sorted(inside[i]))) for i, row in rows.items() if i not in hidden]


def _half(index: IntArray, clusters: int, content: Sequence[NDArray[Any]] | None, rng: np.random.Generator) -> BoolArray:
    """Half of the clusters at random; without clusters half of the cases, ordered by what they are and not by where they stand."""
    order = np.arange(clusters) if content is None else np.lexsort(content)
    chosen = np.zeros(clusters, dtype=np.bool_)
    chosen[order[rng.permutation(clusters)[: clusters // 2]]] = True
    half: BoolArray = chosen[index]
    return half


class _Data:
    def __init__(self, y: FloatArray, cluster: IntArray | None) -> None:
        self.y, self.cluster = y, cluster
        self.method = interval_of(y, cluster)[1]

    def _clusters(self, mask: BoolArray) -> int:
        return int(np.count_nonzero(mask)) if self.cluster is None else int(np.count_nonzero(np.bincount(self.cluster[mask])))

    def is_large(self, mask: BoolArray, part: BoolArray) -> bool:
        """Whether the slice and the rest have enough cases and clusters in this part."""
        return all(self._enough(np.flatnonzero(one)) for one in (mask & part, ~mask & part))

    def _enough(self, rows: IntArray) -> bool:
        if len(rows) < SUPPORT or self.cluster is None:
            return len(rows) >= max(SUPPORT, SUPPORT_CLUSTERS)
        # the first cases mostly lie in enough clusters already
        return any(len(np.unique(self.cluster[some])) >= SUPPORT_CLUSTERS for some in (rows[: 10 * SUPPORT], rows))

    def _side(self, mask: BoolArray) -> tuple[float, At]:
        rows = np.flatnonzero(mask)
        y = self.y[rows]
        return float(y.mean()), interval_of(y, None if self.cluster is None else self.cluster[rows])[0]

    def difference(self, mask: BoolArray, part: BoolArray) -> tuple[float, float, At]:
        (value, one), (rest, other) = self._side(mask & part), self._side(~mask & part)

        def at(level: float) -> Interval:
            return mover_difference(value, one(level), rest, other(level))

        return value, rest, at

    def p(self, mask: BoolArray, part: BoolArray, *, solved_below: float = 0.5) -> float:
        """The one-sided p, 1 where it is not below `solved_below`: Benjamini and Hochberg reject none above their share."""
        value, rest, at = self.difference(mask, part)
        if value >= rest or not at(1 - 2 * min(solved_below, 0.499)).high < 0:
            return 1.0
        return one_sided_p(at, 0.0, "high")

    def row(
        self, one: _Candidate, same: tuple[str, ...], part: BoolArray, p: float, p_adjusted: float, level: float, status: Status
    ) -> Slice:
        mask = one.mask
        value, rest, at = self.difference(mask, part)
        low, high = at(1 - 2 * min(level, 0.499))
        return Slice(
            name=one.name,
            status=status,
            n_cases=int(np.count_nonzero(mask)),
            n_clusters=None if self.cluster is None else self._clusters(mask),
            value=value,
            rest=rest,
            difference=value - rest,
            low=low,
            high=high,
            p=float(p),
            p_adjusted=float(p_adjusted),
            same_as=same,
        )


def _refused(refused: Refusal, false_discoveries: float, depth: int, n: int, clusters: int | None, halves: bool, small: int = 0) -> Slices:
    return Slices((), 0, small, halves, float(false_discoveries), int(depth), n, clusters, "none", refused=refused)
