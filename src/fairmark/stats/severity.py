"""Whether systems had the same raters, and what their means would be if they had."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from fairmark.results import Refusal, Result
from fairmark.stats.clusters import FEWEST_CLUSTERS
from fairmark.stats.intervals import FloatArray, IntArray
from fairmark.stats.ranking import DRAWS, Ranking, rank_intervals
from fairmark.stats.rasch import linked_parts

UNEQUAL = 0.001  # p below which raters count as unequally shared out
NOTABLE = 0.05  # difference of shares below which they are alike for practical purposes


@dataclass(frozen=True, slots=True)
class Confounding(Result):
    """How raters were shared out over systems."""

    raters: tuple[str, ...]
    systems: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]  # systems x raters: of the system's marks, those by this rater
    rater: str | None  # whose share differs most between two systems
    most: str | None  # system with the largest share of that rater
    most_share: float | None
    least: str | None
    least_share: float | None
    cramers_v: float | None  # 0: shared out alike, 1: each system has raters of its own
    chi2: float | None
    p: float | None  # of chance alone, as if marks were handed out one by one
    confounded: bool
    n_marks: int
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"Raters by system: no figure ({self.refused})"
        figure = f"{self.rater} marked {self.most_share:.0%} of {self.most}, {self.least_share:.0%} of {self.least}"
        if self.confounded:
            return f"Raters are not shared out alike: {figure} (Cramer's V {self.cramers_v:.2f}); compare severity-adjusted means"
        return f"Raters are shared out about alike: {figure} (Cramer's V {self.cramers_v:.2f})"


def confounding(rater: NDArray[Any], system: NDArray[Any]) -> Confounding:
    """Whether a comparison of systems is also one of raters: the share of each rater in each system's marks.

    Chi-squared test of independence of the table of raters by systems, and Cramer's V = sqrt(chi2 / (n (min(R, S) - 1))).
    Confounded where chance explains it in less than one of 1,000 and some share differs by at least 5 points. Refused
    without marks, with one rater (`ONE_RATER`: nothing to confound, and nothing to tell severity by) and with one system.
    """
    n = len(system)
    if len(rater) != n:
        raise ValueError("rater and system must have one entry for every mark")
    raters, j = np.unique(rater, return_inverse=True)
    systems, s = np.unique(system, return_inverse=True)
    counts = np.bincount(s * len(raters) + j, minlength=len(raters) * len(systems)).reshape(len(systems), len(raters))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    refused = None
    if n == 0:
        refused = Refusal("NO_DATA", "there is no mark", "collect marks")
    elif len(raters) < 2:
        refused = Refusal("ONE_RATER", "one rater marked everything", "let a second rater mark some of the same responses")
    elif len(systems) < 2:
        refused = Refusal("NO_DATA", "there is one system only", "compare at least two")
    table = tuple(tuple(row) for row in shares.tolist())
    names = tuple(str(one) for one in raters), tuple(str(one) for one in systems)
    if refused is not None:
        return Confounding(*names, table, None, None, None, None, None, None, None, None, False, n, refused=refused)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    chi2 = float(np.sum((counts - expected) ** 2 / expected))
    p = float(chdtrc((len(raters) - 1) * (len(systems) - 1), chi2))
    span = np.ptp(shares, axis=0)
    who = int(np.argmax(span))
    most, least = int(np.argmax(shares[:, who])), int(np.argmin(shares[:, who]))
    confounded = p < UNEQUAL and float(span[who]) >= NOTABLE
    return Confounding(
        *names,
        table,
        rater=names[0][who],
        most=names[1][most],
        most_share=float(shares[most, who]),
        least=names[1][least],
        least_share=float(shares[least, who]),
        cramers_v=math.sqrt(chi2 / (n * (min(counts.shape) - 1))),
        chi2=chi2,
        p=p,
        confounded=confounded,
        n_marks=n,
        warnings=("a harsh rater's systems look worse than they are",) if confounded else (),
    )


@dataclass(frozen=True, slots=True)
class AdjustedMean(Result):
    """One system as it was marked, and as the average rater would have marked it."""

    system: str
    raw: float  # plain mean
    adjusted: float
    low: float | None  # of the adjusted mean; None where intervals are refused
    high: float | None
    n: int  # marks

    def headline(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.system} {self.adjusted:.3f}{interval} (as marked {self.raw:.3f})"


@dataclass(frozen=True, slots=True)
class SeverityAdjusted(Result):
    """Means of systems as if all had been marked by the same raters."""

    systems: tuple[AdjustedMean, ...]  # best adjusted mean first
    ranking: Ranking | None
    rater_effects: tuple[tuple[str, float], ...]  # above the average mark on the same, in points of the score
    confidence_level: float
    method: str
    n_cases: int  # segments, where they were named, else marks
    n_clusters: int | None
    n_marks: int
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None  # of the intervals with TOO_FEW_CLUSTERS: the means hold for exactly these cases; else of all

    def headline(self) -> str:
        if not self.systems:
            return f"Severity-adjusted means: no figure ({self.refused})"
        if self.refused is not None:
            return f"Severity-adjusted means of exactly these cases, without intervals ({self.refused})"
        assert self.ranking is not None
        return self.ranking.headline()

    def __str__(self) -> str:
        lines = [self.headline(), *(one.headline() for one in self.systems)]
        lines += [f"rater {name} {effect:+.3f}" for name, effect in self.rater_effects]
        return "\n  ".join([*lines, *(f"warning: {one}" for one in self.warnings)])


def severity_adjusted(
    score: FloatArray,
    system: NDArray[Any],
    rater: NDArray[Any],
    segment: NDArray[Any] | None = None,
    *,
    cluster: NDArray[Any] | None = None,
    higher_is_better: bool = True,
    confidence_level: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> SeverityAdjusted:
    """The mean of each system had the raters been shared out alike, by least squares on system + rater (+ segment).

    The adjusted mean takes each rater's effect at its share of all marks, so that the mean of all marks stays; segments,
    where named, are averaged the same way. For scores of any scale, such as penalties (`higher_is_better=False`); it
    assumes that a rater is harsher by the same amount everywhere. Standard errors are the sandwich over clusters, else segments,
    else marks, with t and G - 1 degrees of freedom. Below 6 of them there are means of exactly these cases, and no intervals
    (`TOO_FEW_CLUSTERS`). Refused without scores, with one rater (`ONE_RATER`), and where raters and systems fall into groups that
    share nothing (`NOT_LINKED`).
    """
    n = len(score)
    if any(len(one) != n for one in (system, rater, *(one for one in (segment, cluster) if one is not None))):
        raise ValueError("system, rater, segment and cluster must have one entry for every score")
    systems, s = np.unique(system, return_inverse=True)
    raters, j = np.unique(rater, return_inverse=True)
    segments, i = np.unique(np.arange(n) if segment is None else segment, return_inverse=True)
    groups, g = np.unique(i if cluster is None else cluster, return_inverse=True)
    n_clusters = None if cluster is None else len(groups)

    def refuse(code: str, why: str, next_step: str) -> SeverityAdjusted:
        refused = Refusal(code, why, next_step)
        return SeverityAdjusted((), None, (), confidence_level, "none", len(segments), n_clusters, n, refused=refused)

    if n == 0:
        return refuse("NO_DATA", "there is no score", "collect scores")
    if not np.all(np.isfinite(score)):
        return refuse("OFF_SCALE", "a score is not a finite number", "leave out the scores that are missing")
    if len(raters) < 2:
        return refuse("ONE_RATER", "one rater marked everything", "let a second rater mark some of the same responses")
    parts = linked_parts(j, s)
    if len(np.unique(parts)) > 1:
        sides = " | ".join(", ".join(str(name) for name in raters[parts == part]) for part in np.unique(parts))
        return refuse("NOT_LINKED", f"no system was marked on both sides of {sides}", "let raters of each side mark some of the other's")
    y = np.asarray(score, dtype=np.float64)
    fit = _least_squares(y, s, j, i if segment is not None else np.zeros(n, dtype=np.int64), len(systems), len(raters))
    if fit is None:
        why = "systems, raters and segments cannot be told apart"
        return refuse("NOT_LINKED", why, "let several raters mark the same segments")
    means, effects, slopes = fit
    influence: FloatArray = np.stack([np.bincount(g, weights=one, minlength=len(groups)) for one in slopes.T], axis=1).astype(np.float64)
    count = np.bincount(s)
    raw = np.bincount(s, weights=y) / count
    ranking = rank_intervals(
        [str(name) for name in systems],
        means,
        influence,
        of="severity-adjusted mean",
        higher_is_better=higher_is_better,
        confidence_level=confidence_level,
        draws=draws,
        rng=rng,
    )
    found = {one.name: one for one in ranking.ranked}
    described = {
        str(name): AdjustedMean(
            str(name), float(raw[place]), float(means[place]), found[str(name)].low, found[str(name)].high, int(count[place])
        )
        for place, name in enumerate(systems)
    }
    shared = confounding(rater, system)
    warnings = [shared.headline()] if shared.confounded else []
    few = len(groups) < FEWEST_CLUSTERS
    if few:
        warnings.append(f"{len(groups)} independent units: nothing is said about other cases than these")
    return SeverityAdjusted(
        systems=tuple(described[one.name] for one in ranking.ranked),
        ranking=ranking,
        rater_effects=tuple((str(name), float(effects[place])) for place, name in enumerate(raters)),
        confidence_level=confidence_level,
        method="least squares on system + rater" + ("" if segment is None else " + segment"),
        n_cases=len(segments),
        n_clusters=n_clusters,
        n_marks=n,
        assumptions=("a rater is harsher by the same amount for every system", "clusters are independent of one another"),
        warnings=tuple(warnings),
        refused=ranking.refused,
    )


def _least_squares(
    y: FloatArray, s: IntArray, j: IntArray, i: IntArray, n_systems: int, n_raters: int
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Adjusted means, rater effects around their weighted mean 0, and the influence of each score on each mean.

    The segments are swept out by centring (Frisch, Waugh and Lovell): what is left is a small system in the dummies of systems and
    raters, one of each left out. None where that system has no single solution.
    """
    size = n_systems + n_raters
    per = np.bincount(i).astype(np.float64)
    met = np.zeros((len(per), size))
    np.add.at(met, (i, s), 1.0)
    np.add.at(met, (i, n_systems + j), 1.0)
    cross = np.zeros((size, size))
    of_system, of_rater = np.bincount(s, minlength=n_systems), np.bincount(j, minlength=n_raters)
    cross[:n_systems, :n_systems], cross[n_systems:, n_systems:] = np.diag(of_system), np.diag(of_rater)
    both = np.bincount(s * n_raters + j, minlength=n_systems * n_raters).reshape(n_systems, n_raters)
    cross[:n_systems, n_systems:], cross[n_systems:, :n_systems] = both, both.T
    cross -= met.T @ (met / per[:, None])
    centred = y - (np.bincount(i, weights=y) / per)[i]
    right = np.concatenate([np.bincount(s, weights=centred, minlength=n_systems), np.bincount(j, weights=centred, minlength=n_raters)])
    free = np.delete(np.arange(size), [0, n_systems])
    if len(free) and np.linalg.matrix_rank(cross[np.ix_(free, free)], tol=1e-9 * len(y)) < len(free):
        return None
    inverse = np.zeros((size, size))
    inverse[np.ix_(free, free)] = np.linalg.inv(cross[np.ix_(free, free)])
    effect = inverse @ right
    # levels: the mean of all marks is kept by centring both kinds of effects at their shares of all marks
    centre = np.eye(size)
    centre[:n_systems, :n_systems] -= of_system / len(y)
    centre[n_systems:, n_systems:] -= of_rater / len(y)
    effect = centre @ effect
    fitted = effect[s] + effect[n_systems + j]
    own = y - fitted
    residual = own - (np.bincount(i, weights=own) / per)[i]
    to_means = (centre @ inverse)[:n_systems].T
    share = met / per[:, None]
    weights = to_means[s] + to_means[n_systems + j] - (share @ to_means)[i]
    # the mean of all marks varies as well, by what systems and raters do not explain
    level = (own - own.mean()) / len(y)
    return float(y.mean()) + effect[:n_systems], effect[n_systems:], weights * residual[:, None] + level[:, None]
