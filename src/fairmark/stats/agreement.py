"""Two graders on the same answers: how often they agree, and how much of that is chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from fairmark.stats.intervals import FloatArray, IntArray

Weights = Literal["unweighted", "linear", "quadratic"]


class Coefficient(NamedTuple):
    """A chance-corrected agreement; None where the labels leave it undefined, with the reason."""

    value: float | None
    se: float | None = None
    why: str = ""


def confusion_matrix(reference: Sequence[int], said: Sequence[int], levels: int) -> IntArray:
    """Counts with the reference's level as row and the grader's as column, levels x levels."""
    matrix = np.zeros((levels, levels), dtype=np.int64)
    np.add.at(matrix, (np.asarray(reference, dtype=np.int64), np.asarray(said, dtype=np.int64)), 1)
    return matrix


def cohen_kappa(matrix: IntArray, *, weights: Weights = "unweighted") -> Coefficient:
    """Cohen's kappa with its large-sample standard error (Fleiss, Cohen and Everitt 1969).

    kappa = (p_o - p_e) / (1 - p_e), p_o the weighted agreement and p_e its expectation from the margins.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    n, k = float(counts.sum()), len(counts)
    if n == 0:
        return Coefficient(None, None, "no answer was marked by both")
    p = counts / n
    w = _weights(k, weights)
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    expected = float(rows @ w @ columns)
    if 1 - expected < 1e-12:
        return Coefficient(None, None, "only one level was used, so chance would agree as well")
    observed = float(np.sum(w * p))
    kappa = (observed - expected) / (1 - expected)
    row_mean, column_mean = w @ columns, rows @ w
    inner = w - (row_mean[:, None] + column_mean[None, :]) * (1 - kappa)
    variance = (float(np.sum(p * inner**2)) - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    return Coefficient(kappa, math.sqrt(max(0.0, variance)))


def gwet_ac1(matrix: IntArray) -> Coefficient:
    """Gwet's AC1 for two graders (2008): chance agreement sum q (1 - q) / (k - 1), q the mean share of a level."""
    counts = np.asarray(matrix, dtype=np.float64)
    n, k = float(counts.sum()), len(counts)
    if n == 0:
        return Coefficient(None, None, "no answer was marked by both")
    if k < 2:
        return Coefficient(None, None, "a scale of one level leaves nothing to agree on")
    q = (counts.sum(axis=0) + counts.sum(axis=1)) / (2 * n)
    chance = float(np.sum(q * (1 - q))) / (k - 1)
    return Coefficient((float(np.trace(counts)) / n - chance) / (1 - chance))


def _weights(k: int, weights: Weights) -> FloatArray:
    distance: FloatArray = np.asarray(np.abs(np.subtract.outer(np.arange(k), np.arange(k))), dtype=np.float64)
    if weights == "unweighted":
        return np.equal(distance, 0).astype(np.float64)
    scaled: FloatArray = distance / max(k - 1, 1)
    return np.subtract(1.0, scaled if weights == "linear" else scaled**2)
