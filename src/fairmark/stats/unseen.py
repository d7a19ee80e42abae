"""Kinds of failure: how many were not met yet, when reading more stops paying, and how often each kind occurs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtri

from fairmark.results import Estimate, Refusal, Result
from fairmark.stats.agreement import confusion_matrix, gwet_ac1
from fairmark.stats.alpha import krippendorff_alpha
from fairmark.stats.clusters import numbered
from fairmark.stats.estimates import estimate_rate
from fairmark.stats.intervals import FloatArray, IntArray

FEWEST_FOR_A_CURVE = 20  # cases
AHEAD = 25  # further cases that the new kinds are foretold for
POINTS = 20  # of the curve, at most
ALIKE, RARE, MET_ONCE = 4, 10, 1  # so many kinds met 2 to 9 times, and no more once, are about equally common: found by simulation
UNREAD = -1  # in the second coding: this case was coded once
DOUBLE_CODED_SHARE, DOUBLE_CODED_LEAST = 0.2, 30  # of the cases, and cases


class Abundance(NamedTuple):
    """What counts of kinds say about the kinds that were not met."""

    n: int  # cases, or mentions of single kinds
    kinds: int  # that were met
    once: int  # kinds that were met once: f1
    twice: int  # f2
    at_least: float  # kinds there are, by Chao's bound
    unseen: float  # chance that the next case shows a new kind (Good 1953): f1 / n


def abundance(counts: Sequence[int] | IntArray, *, n: int | None = None) -> Abundance:
    """Chao's bias-corrected lower bound of the number of kinds, and Good's unseen mass, from how often each kind was met.

    Single kinds (`n` None): n = sum of the counts, S + f1 (f1 - 1) / (2 (f2 + 1)) (Chao1). Cases that may show several
    kinds: counts are cases with the kind, and with n cases the second term is multiplied by (n - 1) / n (Chao2). The unseen
    mass is f1 / n; with several kinds a case it is the expected number of new kinds in the next case. Kinds counted 0 are
    none. `ValueError` for negative counts, no count, and more of a kind than cases.
    """
    met = np.asarray(counts, dtype=np.int64)
    met = met[met != 0]
    cases = int(met.sum()) if n is None else n
    if cases < 1 or np.any(met < 0) or (n is not None and len(met) and met.max() > n):
        raise ValueError("counts of kinds must be from 0, not all 0, and no more than the cases")
    once, twice = int(np.count_nonzero(met == 1)), int(np.count_nonzero(met == 2))
    factor = 1.0 if n is None else (cases - 1) / cases
    at_least = len(met) + factor * once * (once - 1) / (2 * (twice + 1))
    return Abundance(cases, len(met), once, twice, at_least, once / cases)


def unseen_bound(n: int, once: int, twice: int, *, alpha: float = 0.05, mentions: int | None = None, alike: int = 0) -> float:
    """The one-sided upper bound of the chance that the next case shows a new kind, at most 1.

    (f1 + 1)/n + z sqrt((f1 + 1)(1 - f1/n) + 2 max(f2, 1)) / n: Esty's normal bound (1983) with one more kind that was met
    once, without which it is 0 wide when all kinds were met often. With several kinds a case, `mentions` of kinds in all, the
    counts do not crowd each other out and 1 - f1/n becomes 1; the bound is then of the expected number of new kinds.

    `alike` is the number of kinds met 2 to 9 times. Where 4 or more of these stand against at most one kind that was met once,
    kinds are about equally common, and j of them, one more than were met once, may hide that weigh more than this says: at
    most (j mentions/(n m))^j / j! sets of j such kinds weigh m, so that one of these sets was missed with a chance of at most
    that times (1 - m)^n. The bound is then at least the m at which this is alpha.
    """
    crowding = 1 - once / n if mentions is None else 1.0
    z = float(-ndtri(alpha))
    bound = (once + 1) / n + z * math.sqrt((once + 1) * crowding + 2 * max(twice, 1)) / n
    if _may_hide(once, alike):
        bound = max(bound, _missed(n, 1.0 if mentions is None else mentions / n, once + 1, alpha))
    return min(1.0, bound) if mentions is None else bound


def _may_hide(once: int, alike: int) -> bool:
    return once <= MET_ONCE and alike >= ALIKE


def _missed(n: int, mass: float, kinds: int, alpha: float) -> float:
    """The m with (kinds mass/m)^kinds / kinds! (1 - m)^n = alpha, by bisection; the left side falls as m grows."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        m = (low + high) / 2
        if kinds * math.log(kinds * mass / m) - math.lgamma(kinds + 1) + n * math.log1p(-m) > math.log(alpha):
            low = m
        else:
            high = m
    return high


def rarefied(counts: IntArray, n: int, cases: int) -> float:
    """How many kinds a random part of so many of the n cases shows on average: S - sum_k C(n - N_k, cases) / C(n, cases)."""
    met = np.sort(np.asarray(counts, dtype=np.float64))
    spared = n - met
    possible = spared >= cases
    logs = gammaln(spared[possible] + 1) - gammaln(spared[possible] - cases + 1) - gammaln(n + 1.0) + gammaln(n - cases + 1.0)
    return float(len(met) - np.sum(np.exp(logs)))


def new_kinds(found: Abundance, ahead: int) -> float:
    """How many new kinds so many further cases should show: f0 (1 - (1 - f1 / (n f0 + f1))^ahead) (Chao and others 2014).

    f0 is Chao's number of kinds not met, and at least 1 where some kind was met once: its unseen mass has to be somewhere.
    """
    if found.once == 0:
        return 0.0
    hidden = max(found.at_least - found.kinds, 1.0)
    return hidden * -math.expm1(ahead * math.log1p(-found.once / (found.n * hidden + found.once)))


@dataclass(frozen=True, slots=True)
class UnseenKinds(Result):
    """What is known of the kinds of failure that were not met yet."""

    n_cases: int  # that were read
    n_kinds: int  # that were met
    met_once: int
    met_twice: int
    unseen: float | None  # chance that the next case shows a new kind; with several kinds a case the expected number of new ones
    unseen_at_most: float | None  # its one-sided upper bound
    alpha: float  # one-sided, of that bound
    at_least: int | None  # kinds there are, by Chao's bound
    curve: tuple[tuple[int, float], ...]  # cases, and the kinds so many of them show on average
    ahead: int  # further cases
    new_kinds: float | None  # that these should show, about
    stop_below: float  # the declared limit of `unseen_at_most`
    enough: bool | None  # whether it is below: reading may stop
    counts: tuple[tuple[str, int], ...]  # each kind with its cases, commonest first
    method: str
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None  # of everything but the counts

    def headline(self) -> str:
        if self.refused is not None:
            return f"kinds not met yet: no figure ({self.refused})"
        goes_on = "enough were read" if self.enough else "read on"
        chance = f"a new kind in at most {self.unseen_at_most:.3f} of the next cases (seen {self.unseen:.3f})"
        return f"{self.n_kinds} kinds in {self.n_cases} cases, at least {self.at_least} there are; {chance}: {goes_on}"


def unseen_kinds(
    kind: IntArray,
    case: IntArray | None = None,
    *,
    n_cases: int | None = None,
    names: Sequence[str] | None = None,
    alpha: float = 0.05,
    ahead: int = AHEAD,
    stop_below: float = 0.05,
) -> UnseenKinds:
    """How many kinds of failure were not met, how likely a new one is, and whether reading may stop.

    `kind` holds a code a mention, with `names`, and `case` the case it was found in (None: each mention is its own case); a
    kind counts once a case. `n_cases` are all cases that were read, those without any kind as well (default: those with
    one); cases that come in clusters go in as their cluster. The chance of a new kind is f1 / n with the bound of
    `unseen_bound`, the number of kinds Chao's bound, the curve `rarefied`, the next cases `new_kinds`. Reading may stop when
    the bound is below `stop_below`.

    Refused: `NO_DATA` without a mention, `TOO_FEW_CASES` below 20 cases; the kinds are counted all the same.
    """
    kind = np.asarray(kind)
    if kind.ndim != 1 or (case is not None and np.shape(case) != kind.shape):
        raise ValueError("kinds and cases must be arrays of one length")
    if names is not None and len(kind) and not (kind.min() >= 0 and kind.max() < len(names)):
        raise ValueError(f"a kind has no name: there are {len(names)}")
    codes, place = np.unique(kind, return_inverse=True)
    index, seen = numbered(case, len(kind))
    n = seen if n_cases is None else n_cases
    if n < seen:
        raise ValueError(f"{seen} cases show a kind, and only {n} were read")
    pairs = np.unique(index * max(len(codes), 1) + place)
    counts = np.bincount(pairs % max(len(codes), 1), minlength=len(codes)) if len(codes) else np.empty(0, dtype=np.int64)
    several = len(pairs) > seen or n > seen  # a case without a kind is one that shows another number of them than 1
    called = [names[int(code)] if names is not None else str(int(code)) for code in codes]
    listed = tuple((called[i], int(counts[i])) for i in np.lexsort((np.array(called), -counts))) if len(codes) else ()
    assumptions = ("cases were read in random order and are independent of one another", "kinds are told apart in the same way throughout")
    refused = None
    if not len(kind):
        refused = Refusal("NO_DATA", f"no kind was found in {n} cases", "give each case that failed the codes of what went wrong")
    elif n < FEWEST_FOR_A_CURVE:
        why = f"{n} cases are too few to foretell what was not met"
        refused = Refusal("TOO_FEW_CASES", why, f"read at least {FEWEST_FOR_A_CURVE} cases")
    once, twice = int(np.count_nonzero(counts == 1)), int(np.count_nonzero(counts == 2))
    if refused is not None:
        return UnseenKinds(
            n, len(codes), once, twice, None, None, float(alpha), None, (), int(ahead), None, float(stop_below), None, listed, "none",
            assumptions, refused=refused,
        )  # fmt: skip
    found = abundance(counts, n=n if several else None)
    alike = int(np.count_nonzero((counts > 1) & (counts < RARE)))
    bound = unseen_bound(n, once, twice, alpha=alpha, mentions=len(pairs) if several else None, alike=alike)
    hidden = " or missed kinds" if _may_hide(once, alike) else ""
    places = sorted({round(one) for one in np.linspace(1, n, min(n, POINTS))})
    return UnseenKinds(
        n_cases=n,
        n_kinds=len(codes),
        met_once=once,
        met_twice=twice,
        unseen=found.unseen,
        unseen_at_most=bound,
        alpha=float(alpha),
        at_least=math.ceil(found.at_least - 1e-9),
        curve=tuple((one, rarefied(counts, n, one)) for one in places),
        ahead=int(ahead),
        new_kinds=new_kinds(found, ahead),
        stop_below=float(stop_below),
        enough=bound < stop_below,
        counts=listed,
        method=f"Esty's bound with one more kind{hidden}, {'Chao2' if several else 'Chao1'}",
        assumptions=assumptions,
        warnings=("every kind was met once: the number of kinds is hardly bounded",) if once == len(codes) else (),
    )


# ---------------------------------------------------------------- the codebook


@dataclass(frozen=True, slots=True)
class KindFound(Result):
    """One kind of a codebook: how far two readers agree on it, and how many cases show it."""

    kind: str
    n_found: int  # cases that show it, as first coded
    share: Estimate  # of the cases; refused until enough are coded twice
    both: int  # doubly coded cases in which both found it
    one: int  # in which one of the two did
    neither: int
    agreement: float | None  # share of the doubly coded cases on which the two agree
    ac1: float | None  # chance-corrected by Gwet
    alpha: float | None  # by Krippendorff; None where neither or both always found it

    def headline(self) -> str:
        agreed = "not coded twice" if self.agreement is None else f"two readers agree on {self.agreement:.3f}"
        return f"{self.kind}: in {self.n_found} cases ({agreed}); {self.share.headline()}"


@dataclass(frozen=True, slots=True)
class Codebook(Result):
    """Kinds of failure with their agreement first and their prevalence second."""

    n_cases: int
    n_double: int  # coded twice
    double_needed: int  # a fifth of the cases, and at least 30 (or all of fewer)
    disagreements: tuple[tuple[str, int], ...]  # kind, and row of a case on which the two readers differ: to be talked over first
    kinds: tuple[KindFound, ...]
    confidence_level: float
    method: str
    assumptions: tuple[str, ...] = ()
    refused: Refusal | None = None  # of the shares

    def headline(self) -> str:
        if self.refused is not None:
            return f"codebook of {len(self.kinds)} kinds: no shares ({self.refused})"
        coded = f"{len(self.kinds)} kinds in {self.n_cases} cases, {self.n_double} of them coded twice"
        return f"codebook of {coded}; {len(self.disagreements)} disagreements"


def codebook(
    first: IntArray,
    second: IntArray | None = None,
    cluster: IntArray | None = None,
    *,
    names: Sequence[str] | None = None,
    confidence_level: float = 0.95,
) -> Codebook:
    """How often each kind occurs, once two readers have shown that they mean the same by it.

    `first` is cases x kinds, 1 where the case shows the kind and 0 where not; `second` the same by another reader, with -1 in
    all of a row that was coded once. Per kind: raw agreement, AC1 and Krippendorff's alpha of the doubly coded cases, every
    disagreement, and the share of cases by Clopper and Pearson, or with clusters by Korn and Graubard. Kinds that a model
    proposed pass the same test.

    Refused: `NO_DATA`, and `CODE_TWICE` until a fifth of the cases, and at least 30 (or all of fewer), are coded twice. The
    counts stay. `OFF_SCALE` where a code is neither 0 nor 1.
    """
    table = np.asarray(first)
    if table.ndim != 2 or (second is not None and np.shape(second) != table.shape):
        raise ValueError("the codings must be tables of cases x kinds of one shape")
    n, width = table.shape
    if (names is not None and len(names) != width) or (cluster is not None and len(cluster) != n):
        raise ValueError("names belong to the kinds, and clusters to the cases")
    called = [str(i) for i in range(width)] if names is None else list(names)
    again = np.full(table.shape, UNREAD) if second is None else np.asarray(second)
    twice = np.all(again != UNREAD, axis=1) if width else np.zeros(n, dtype=np.bool_)
    double = int(np.count_nonzero(twice))
    needed = min(n, max(DOUBLE_CODED_LEAST, math.ceil(DOUBLE_CODED_SHARE * n - 1e-9)))
    refused = None
    if n == 0 or width == 0:
        refused = Refusal("NO_DATA", "there is no case, or no kind", "code some cases first")
    elif not (np.all(np.isin(table, (0, 1))) and np.all(np.isin(again[twice], (0, 1))) and np.all(again[~twice] == UNREAD)):
        refused = Refusal("OFF_SCALE", "a code is neither 0 nor 1", "code each kind of a case 1 or 0, and a row that was coded once all -1")
        return Codebook(n, 0, needed, (), (), float(confidence_level), "none", refused=refused)
    elif double < needed:
        more = needed - double
        refused = Refusal("CODE_TWICE", f"{double} of {n} cases were coded twice", f"let a second reader code {more} more, drawn at random")
    kinds = tuple(_kind(called[i], table[:, i], again[twice, i], twice, cluster, confidence_level, refused) for i in range(width))
    differ = np.argwhere(twice[:, None] & (table != again)) if second is not None else np.empty((0, 2), dtype=np.int64)
    return Codebook(
        n_cases=n,
        n_double=double,
        double_needed=needed,
        disagreements=tuple((called[int(kind)], int(row)) for row, kind in sorted(differ.tolist(), key=lambda one: (one[1], one[0]))),
        kinds=kinds,
        confidence_level=float(confidence_level),
        method="none" if refused is not None else "Clopper-Pearson" if cluster is None else "Korn-Graubard",
        assumptions=("the cases that were coded twice are a random part", "the second reader did not see the first one's codes"),
        refused=refused,
    )


def _kind(
    name: str,
    found: IntArray,
    again: IntArray,
    twice: NDArray[np.bool_],
    cluster: IntArray | None,
    confidence_level: float,
    refused: Refusal | None,
) -> KindFound:
    estimand = f"share of cases with {name}"
    n = len(found)
    if refused is not None:
        share = Estimate(estimand, None, None, None, float(confidence_level), "none", n, refused=refused)
    else:
        share = estimate_rate(found.astype(np.float64), cluster, estimand=estimand, confidence_level=confidence_level, scorer="human")
    matrix = confusion_matrix(found[twice].tolist(), again.tolist(), 2)
    double = int(matrix.sum())
    marks: FloatArray = np.column_stack([found[twice], again]).astype(np.float64)
    return KindFound(
        kind=name,
        n_found=int(np.count_nonzero(found == 1)),
        share=share,
        both=int(matrix[1, 1]),
        one=int(matrix[0, 1] + matrix[1, 0]),
        neither=int(matrix[0, 0]),
        agreement=float(np.trace(matrix) / double) if double else None,
        ac1=gwet_ac1(matrix).value if double else None,
        alpha=krippendorff_alpha(marks).value if double else None,
    )
