"""Two systems on the same cases, with all the difference rests on, and verdicts about margins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairmark.results import Refusal, Result, VerdictWord
from fairmark.stats.clusters import numbered
from fairmark.stats.intervals import FloatArray, IntArray, one_sided_p
from fairmark.stats.paired import PairedIntervals, mcnemar

IntervalAt = Callable[[float], tuple[float, float]]  # the two-sided interval at a confidence level


@dataclass(frozen=True, slots=True)
class WinsLossesTies(Result):
    """On how many cases the first system does better, does worse, and does as well."""

    wins: int
    losses: int
    ties: int
    n_cases: int
    wins_per_100: float | None
    losses_per_100: float | None
    ties_per_100: float | None
    cases_per_gain: float | None  # 1/difference: in so many cases one more is won than lost; None where none is
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"wins, losses and ties: no figure ({self.refused})"
        return f"of 100 cases {self.wins_per_100:.0f} won, {self.losses_per_100:.0f} lost, {self.ties_per_100:.0f} tied"


def wins_losses_ties(differences: FloatArray) -> WinsLossesTies:
    """The counts of cases with a difference (first minus second) above, below and at 0, as such and per 100 cases.

    `cases_per_gain` is n / (wins - losses), negative where more are lost. Refused without a case and with NaN (`OFF_SCALE`).
    """
    n = len(differences)
    wins, losses = int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0))
    ties = int(np.count_nonzero(differences == 0))
    refused: Refusal | None = None
    if n == 0:
        refused = Refusal("NO_DATA", "there is no pair to compare", "run both systems on the same cases")
    elif wins + losses + ties < n:
        refused = Refusal("OFF_SCALE", f"{n - wins - losses - ties} differences are no numbers", "leave out pairs that lack a mark")
    if refused is not None:
        return WinsLossesTies(wins, losses, ties, n, None, None, None, None, refused)
    gain = wins - losses
    return WinsLossesTies(wins, losses, ties, n, 100 * wins / n, 100 * losses / n, 100 * ties / n, n / gain if gain else None)


@dataclass(frozen=True, slots=True)
class PairedComparison(Result):
    """By how much the first system does better than the second on the same cases."""

    value: float | None  # mean difference, first minus second
    low: float | None
    high: float | None
    confidence_level: float
    method: str
    n_cases: int
    n_clusters: int | None  # None: no cluster was declared
    counts: WinsLossesTies
    p_equal: float | None  # two-sided, by inversion of the interval shown
    mcnemar_exact: float | None  # two-sided p for 0/1 answers without clusters
    mcnemar_midp: float | None
    smallest_p: float  # no one-sided p can be smaller
    assumptions: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"difference: no figure ({self.refused})"
        return (
            f"difference {self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}] "
            f"({self.confidence_level:.4g}, {self.method}); {self.counts.headline()}"
        )


def compare_pairs(
    first: FloatArray,
    second: FloatArray,
    cluster: IntArray | None = None,
    *,
    rng: np.random.Generator,
    confidence_level: float = 0.95,
    single: bool = True,
) -> PairedComparison:
    """The mean difference of two systems' scores in [0, 1] on the same cases, first minus second.

    One entry a case, the mean of its repeats where it was tried several times (`single=False`). Tango's interval for 0/1
    answers to independent cases, else the inverted sign-flip test (see `PairedIntervals`, whose refusals these are).
    `ValueError` where the two are not the same cases. `PairedIntervals.at` gives verdicts about margins: see `better_by`.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} scores are not of the same cases")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    paired = PairedIntervals(differences, cluster, single=single, rng=rng)
    counts = wins_losses_ties(differences)
    n = len(differences)
    clusters = None if cluster is None else numbered(cluster, n)[1]
    if paired.refused is not None:
        return PairedComparison(
            None, None, None, confidence_level, "none", n, clusters, counts, None, None, None, 0.0, refused=paired.refused
        )
    low, high = paired.at(confidence_level)
    exact = midp = None
    if cluster is None and bool(np.all(np.isin(differences, (-1.0, 0.0, 1.0)))):
        exact, midp = mcnemar(counts.wins, counts.losses)
    return PairedComparison(
        value=float(np.mean(differences)),
        low=low,
        high=high,
        confidence_level=confidence_level,
        method=paired.method,
        n_cases=n,
        n_clusters=clusters,
        counts=counts,
        p_equal=min(1.0, 2 * min(one_sided_p(paired.at, 0.0, "low"), one_sided_p(paired.at, 0.0, "high"))),
        mcnemar_exact=exact,
        mcnemar_midp=midp,
        smallest_p=paired.smallest_p,
        assumptions=paired.assumptions,
    )


@dataclass(frozen=True, slots=True)
class MarginVerdict(Result):
    """What an interval says about a margin. Never "not significant"."""

    claim: str  # in a phrase
    verdict: VerdictWord
    low: float  # of the two-sided interval at 1 - 2 alpha, whose ends decide
    high: float
    confidence_level: float
    margin: float
    alpha: float  # one-sided
    p_support: float
    p_refute: float

    def headline(self) -> str:
        return f"{self.claim}: {self.verdict} [{self.low:+.3f}, {self.high:+.3f}] ({self.confidence_level:.4g})"


def better_by(interval_at: IntervalAt, margin: float = 0.0, *, alpha: float = 0.025) -> MarginVerdict:
    """Whether a difference is above `margin`: supported where the lower bound is, refuted where the upper bound is below it.

    `interval_at` gives the interval at any confidence level, such as `PairedIntervals.at`; both bounds are one-sided at
    alpha, and each p comes from inverting the bound.
    """
    return _judged(f"more than {margin:+g}", interval_at, margin, alpha)


def no_worse_than(interval_at: IntervalAt, margin: float, *, alpha: float = 0.025) -> MarginVerdict:
    """Whether a difference is above -`margin` (non-inferiority): `better_by(-margin)`. `ValueError` for a negative margin."""
    if margin < 0:
        raise ValueError("a margin of non-inferiority is how much worse is still acceptable, at least 0")
    return _judged(f"no worse than {-margin:+g}", interval_at, -margin, alpha)


def _judged(claim: str, interval_at: IntervalAt, bound: float, alpha: float) -> MarginVerdict:
    level = 1 - 2 * alpha
    low, high = interval_at(level)
    verdict: VerdictWord = "supported" if low > bound else "refuted" if high < bound else "undecided"
    support, refute = one_sided_p(interval_at, bound, "low"), one_sided_p(interval_at, bound, "high")
    return MarginVerdict(claim, verdict, float(low), float(high), level, bound, alpha, support, refute)


def equivalent(interval_at: IntervalAt, margin: float, *, alpha: float = 0.025) -> MarginVerdict:
    """Whether a difference lies within +-`margin` (TOST, Schuirmann 1987): supported where the interval at 1 - 2 alpha does.

    That is two one-sided tests, each at alpha, so p is the larger one. Refuted where the interval lies wholly beyond the
    margin on one side; that p is the smaller one, and errs in at most 2 alpha as there are two sides. `ValueError` unless
    the margin is above 0: no data show a difference of exactly 0.
    """
    if margin <= 0:
        raise ValueError("equivalence needs a margin above 0")
    level = 1 - 2 * alpha
    low, high = interval_at(level)
    verdict: VerdictWord = "supported" if low > -margin and high < margin else "refuted" if low > margin or high < -margin else "undecided"
    support = max(one_sided_p(interval_at, -margin, "low"), one_sided_p(interval_at, margin, "high"))
    refute = min(one_sided_p(interval_at, margin, "low"), one_sided_p(interval_at, -margin, "high"))
    return MarginVerdict(f"within {margin:g} of one another", verdict, float(low), float(high), level, margin, alpha, support, refute)
