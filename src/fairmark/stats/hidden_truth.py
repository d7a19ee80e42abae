"""What several graders' labels say together where nobody knows the truth: Dawid and Skene's model, with its limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairmark.results import Refusal, Result
from fairmark.stats.intervals import FloatArray, IntArray

SMOOTHING = 0.01  # added to each count of a grader's table
STARTS = 5
ITERATIONS = 5_000
CLOSE = 1e-11  # of the log-likelihood, relative
ROUGHLY = 1e-7  # enough for a resample
FEWEST_RATERS = 3
PERFECT = 0.002  # a grader with a smaller share of errors counts as estimated perfect


class DawidSkene(NamedTuple):
    """The fit: each item's label has a hidden true class, and a grader's errors depend on that class only."""

    prevalence: FloatArray  # of each class
    confusion: FloatArray  # raters x true class x label
    posterior: FloatArray  # items x class
    log_likelihood: float  # of the labels, without the smoothing


def vote_shares(item: IntArray, label: IntArray, n_labels: int) -> FloatArray:
    """The share of each label among an item's labels (items x labels): where the fit starts."""
    items = int(item.max()) + 1
    votes = np.bincount(item * n_labels + label, minlength=items * n_labels).reshape(items, n_labels)
    return votes / votes.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def fit_dawid_skene(
    item: IntArray,
    rater: IntArray,
    label: IntArray,
    n_labels: int,
    *,
    smoothing: float = SMOOTHING,
    start: FloatArray | None = None,
    close: float = CLOSE,
) -> DawidSkene:
    """The maximum of the likelihood from `start` (default: shares of votes) by EM (Dawid and Skene 1979).

    Items, raters and labels are counted from 0, each item and rater used. Alternates prevalence = mean posterior and
    confusion[r, t, l] = posterior-weighted count of r saying l where t is true (plus `smoothing`) over its sum, with
    posterior ~ prevalence prod confusion. A class that a grader never met gets even shares.
    """
    items, raters = int(item.max()) + 1, int(rater.max()) + 1
    posterior = vote_shares(item, label, n_labels) if start is None else start
    # items with the same labels by the same raters have the same posterior: patterns stand for them
    size = raters * n_labels
    order = np.argsort(item, kind="stable")
    said = (rater * n_labels + label)[order]
    bounds = np.searchsorted(item[order], np.arange(items))
    widest = int(np.bincount(item).max())
    table = np.full((items, widest), size, dtype=np.int64)
    table[item[order], np.arange(len(item)) - bounds[item[order]]] = said
    table.sort(axis=1)
    _, kept, pattern, times = np.unique(_words(table), return_index=True, return_inverse=True, return_counts=True)
    table = table[kept]
    weighted: FloatArray = np.stack([np.bincount(pattern, weights=one) for one in posterior.T], axis=1) / times[:, None]
    owner, column = np.nonzero(table < size)
    saying = table[owner, column]
    posterior = weighted
    before = log_likelihood = -math.inf
    for _ in range(ITERATIONS):
        mass = posterior * times[:, None]
        prevalence = mass.sum(axis=0) / items
        said_when = np.stack([np.bincount(saying, weights=one[owner], minlength=size) for one in mass.T])
        counts = said_when.reshape(n_labels, raters, n_labels) + smoothing
        total = counts.sum(axis=2, keepdims=True)
        confusion = np.where(total > 0, counts / np.where(total > 0, total, 1.0), 1 / n_labels)
        with np.errstate(divide="ignore"):
            log_prevalence, log_confusion = np.log(prevalence), np.log(confusion).reshape(n_labels, size)
        # an impossible label has to stay impossible, without minus infinity times 0
        padded = np.concatenate([np.maximum(log_confusion, -1e6), np.zeros((n_labels, 1))], axis=1)
        joint = np.maximum(log_prevalence, -1e6)[:, None] + padded[:, table].sum(axis=2)
        top = joint.max(axis=0)
        odds = np.exp(joint - top)
        norm = odds.sum(axis=0)
        posterior = (odds / norm).T
        log_likelihood = float(np.sum(times * (top + np.log(norm))))
        if abs(log_likelihood - before) <= close * max(abs(log_likelihood), 1.0):
            break
        before = log_likelihood
    return DawidSkene(prevalence, confusion.transpose(1, 0, 2), posterior[pattern], log_likelihood)


def _words(table: IntArray) -> NDArray[Any]:
    """Each row as one value that sorts and compares."""
    rows = np.ascontiguousarray(table)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()


@dataclass(frozen=True, slots=True)
class Grader(Result):
    """How one grader labels, as the model has it."""

    name: str
    n: int  # labels given
    correct: float  # chance of the hidden label
    confusion: tuple[tuple[float, ...], ...]  # rows: hidden label, columns: label given

    def headline(self) -> str:
        return f"{self.name} gives the hidden label in {self.correct:.0%}"


@dataclass(frozen=True, slots=True)
class HiddenLabels(Result):
    """The likeliest label of each item, under the model."""

    items: tuple[str, ...]
    likeliest: tuple[str, ...]
    probability: tuple[float, ...]  # that it is

    def headline(self) -> str:
        sure = sum(one >= 0.95 for one in self.probability)
        return f"{len(self.items)} items, {sure} with a label of probability 0.95 or more"


@dataclass(frozen=True, slots=True)
class HiddenTruth(Result):
    """What labels without a reference say under the assumption of independent errors. Never a person's mark."""

    labels: tuple[str, ...]
    prevalence: tuple[float, ...]  # of each label, under the model
    prevalence_low: tuple[float, ...]  # resampling items or clusters; empty where it was not asked for
    prevalence_high: tuple[float, ...]
    graders: tuple[Grader, ...]
    by_item: HiddenLabels | None
    votes: tuple[tuple[str, int], ...]  # each label's count: what was said
    differs: tuple[str, ...]  # items whose likeliest label is not the commonest one
    log_likelihood: float | None
    start_log_likelihoods: tuple[float, ...]  # of every start; unlike ones show several maxima
    confidence_level: float
    method: str
    n_cases: int  # items
    n_clusters: int | None
    n_labels: int
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"Hidden labels: no figure ({self.refused})"
        if self.prevalence_low:
            ends = zip(self.prevalence_low, self.prevalence_high, strict=True)
            intervals = [f" [{low:.2f}, {high:.2f}]" for low, high in ends]
        else:
            intervals = [""] * len(self.labels)
        shares = zip(self.labels, self.prevalence, intervals, strict=True)
        return "If errors are independent: " + ", ".join(f"{label} {share:.2f}{interval}" for label, share, interval in shares)


def hidden_truth(
    item: NDArray[Any],
    rater: NDArray[Any],
    label: NDArray[Any],
    *,
    families: Sequence[str] | None = None,
    cluster: NDArray[Any] | None = None,
    confidence_level: float = 0.95,
    starts: int = STARTS,
    draws: int = 0,
    rng: np.random.Generator,
) -> HiddenTruth:
    """Each item's likeliest label and each grader's errors, where at least 3 graders labelled and there is no reference.

    Dawid and Skene's model (1979) by EM from the shares of votes, and from `starts` - 1 perturbed ones; the highest
    likelihood counts. `families` names each grader's family in the order of the sorted grader names: two LLMs of one family
    err together, so that their agreement is not evidence, and the model is refused (`NOT_INDEPENDENT`). With `draws` the
    prevalence gets an interval by resampling items, or clusters. Warns where a grader comes out perfect, where classes
    look switched, and where starts end apart. Refused without labels, below 3 graders or without an item that 3 labelled
    (`TOO_FEW_RATERS`), and with one label only (`NO_VARIATION`). The result is a model's opinion and corrects nothing.
    """
    n = len(label)
    if any(len(one) != n for one in (item, rater, *([] if cluster is None else [cluster]))):
        raise ValueError("item, rater, label and cluster must have one entry for every label")
    items, i = np.unique(item, return_inverse=True)
    raters, j = np.unique(rater, return_inverse=True)
    labels, x = np.unique(label, return_inverse=True)
    if families is not None and len(families) != len(raters):
        raise ValueError(f"{len(families)} families do not belong to {len(raters)} graders")
    groups, g = np.unique(i if cluster is None else cluster, return_inverse=True)
    votes = tuple((str(name), int(count)) for name, count in zip(labels, np.bincount(x, minlength=len(labels)), strict=True))
    refused = _refusal(n, i, j, labels, raters, families)
    if refused is not None:
        return HiddenTruth(
            labels=tuple(str(name) for name in labels),
            prevalence=(),
            prevalence_low=(),
            prevalence_high=(),
            graders=(),
            by_item=None,
            votes=votes,
            differs=(),
            log_likelihood=None,
            start_log_likelihoods=(),
            confidence_level=confidence_level,
            method="none",
            n_cases=len(items),
            n_clusters=None if cluster is None else len(groups),
            n_labels=n,
            refused=refused,
        )
    k = len(labels)
    shares = vote_shares(i, x, k)
    fits = [fit_dawid_skene(i, j, x, k)]
    for _ in range(starts - 1):
        noise = rng.dirichlet(np.ones(k), size=len(items))
        fits.append(fit_dawid_skene(i, j, x, k, start=0.5 * shares + 0.5 * noise))
    best = max(fits, key=lambda one: one.log_likelihood)
    correct = np.einsum("t,rtt->r", best.prevalence, best.confusion)
    likeliest = np.argmax(best.posterior, axis=1)
    low, high = _resampled(i, j, x, g, best, draws, confidence_level, rng) if draws else ((), ())
    common = shares >= shares.max(axis=1, keepdims=True) - 1e-12
    return HiddenTruth(
        labels=tuple(str(name) for name in labels),
        prevalence=tuple(best.prevalence.tolist()),
        prevalence_low=low,
        prevalence_high=high,
        graders=tuple(
            Grader(str(name), int(np.sum(j == place)), min(1.0, float(correct[place])), tuple(map(tuple, best.confusion[place].tolist())))
            for place, name in enumerate(raters)
        ),
        by_item=HiddenLabels(
            tuple(str(name) for name in items),
            tuple(str(labels[one]) for one in likeliest),
            tuple(np.minimum(best.posterior.max(axis=1), 1.0).tolist()),
        ),
        votes=votes,
        differs=tuple(str(items[one]) for one in np.flatnonzero(~common[np.arange(len(items)), likeliest])),
        log_likelihood=best.log_likelihood,
        start_log_likelihoods=tuple(one.log_likelihood for one in fits),
        confidence_level=confidence_level,
        method="Dawid-Skene by EM",
        n_cases=len(items),
        n_clusters=None if cluster is None else len(groups),
        n_labels=n,
        assumptions=("given the hidden label graders err independently of one another", "a grader errs alike on all items of a label"),
        warnings=_warnings(i, j, best, fits, correct, [str(name) for name in raters], [str(name) for name in labels], families is None),
    )


def _refusal(
    n: int, i: IntArray, j: IntArray, labels: NDArray[Any], raters: NDArray[Any], families: Sequence[str] | None
) -> Refusal | None:
    if n == 0:
        return Refusal("NO_DATA", "there is no label", "collect labels")
    if labels.dtype.kind == "f" and not np.all(np.isfinite(labels)):
        return Refusal("OFF_SCALE", "a label is not a finite number", "leave out missing labels")
    if families is not None and len(set(families)) < len(raters):
        shared = next(family for family in families if list(families).count(family) > 1)
        alike = ", ".join(str(name) for name, family in zip(raters, families, strict=True) if family == shared)
        why = f"{alike} are of one family ({shared}) and err together, so that their agreement does not show the truth"
        return Refusal("NOT_INDEPENDENT", why, "let people mark a sample, or use graders of different families")
    pairs = np.unique(i * len(raters) + j) // len(raters)
    if len(raters) < FEWEST_RATERS or int(np.bincount(pairs).max()) < FEWEST_RATERS:
        why = f"no item was labelled by {FEWEST_RATERS} graders" if len(raters) >= FEWEST_RATERS else f"there are {len(raters)} graders"
        return Refusal("TOO_FEW_RATERS", why, f"let at least {FEWEST_RATERS} graders label the same items")
    if len(labels) < 2:
        return Refusal("NO_VARIATION", f"every label is {labels[0]}", "use items that differ")
    return None


def _warnings(
    i: IntArray,
    j: IntArray,
    best: DawidSkene,
    fits: Sequence[DawidSkene],
    correct: FloatArray,
    raters: Sequence[str],
    labels: Sequence[str],
    families_unknown: bool,
) -> tuple[str, ...]:
    found = []
    if families_unknown:
        found.append("whether graders err independently was not declared: two models of one family do not")
    few = int(np.sum(np.bincount(np.unique(i * len(raters) + j) // len(raters)) < FEWEST_RATERS))
    if few:
        found.append(f"{few} items have fewer than {FEWEST_RATERS} graders")
    found += [
        f"{name} comes out perfect: the model takes its word for the truth"
        for name, one in zip(raters, correct, strict=True)
        if one > 1 - PERFECT
    ]
    # a class in which most graders mostly say another label has probably changed its name
    mostly = np.argmax(best.confusion, axis=2)
    for place, name in enumerate(labels):
        others = mostly[:, place] != place
        if best.prevalence[place] > 1e-6 and np.mean(others) > 0.5:
            found.append(f"where {name} is the hidden label most graders say another: labels may be switched")
    apart = max(one.log_likelihood for one in fits) - fits[0].log_likelihood
    if apart > 1e-3:
        found.append(f"a start away from the votes fits better (log-likelihood by {apart:.2f}): there are several maxima")
    return tuple(found)


def _resampled(
    i: IntArray, j: IntArray, x: IntArray, g: IntArray, best: DawidSkene, draws: int, confidence_level: float, rng: np.random.Generator
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Percentile limits of the prevalence over resamples of whole items or clusters, each started at the fit."""
    groups, k = int(g.max()) + 1, best.posterior.shape[1]
    by_group = np.argsort(g, kind="stable")
    edges = np.searchsorted(g[by_group], np.arange(groups + 1))
    found = np.empty((draws, k))
    for draw in range(draws):
        picked = rng.integers(0, groups, size=groups)
        rows = np.concatenate([by_group[edges[one] : edges[one + 1]] for one in picked])
        copy = np.repeat(np.arange(groups), np.diff(edges)[picked])
        original, copies = np.unique(i[rows] + copy * (int(i.max()) + 1), return_inverse=True)
        _, who = np.unique(j[rows], return_inverse=True)
        start = best.posterior[original % (int(i.max()) + 1)]
        found[draw] = fit_dawid_skene(copies, who, x[rows], k, start=start, close=ROUGHLY).prevalence
    alpha = (1 - confidence_level) / 2
    low = np.minimum(np.quantile(found, alpha, axis=0), best.prevalence)
    high = np.maximum(np.quantile(found, 1 - alpha, axis=0), best.prevalence)
    return tuple(low.tolist()), tuple(high.tolist())
