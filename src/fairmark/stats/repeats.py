"""Several tries at the same case: how much of the noise is re-running, and how reliable a system is."""

from __future__ import annotations

import math
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from fairmark.stats.intervals import FloatArray

EXACT_UP_TO = 2_000  # tries; beyond, whole-number binomials are slow and logarithms exact enough


class Repeats(NamedTuple):
    """A one-way analysis of variance of cases and their repeats."""

    mean: float
    ms_between: float  # mean square between cases
    ms_within: float  # mean square within cases
    var_case: float  # variance between cases, at least 0
    var_repeat: float  # variance of re-running
    se: float  # standard error of the mean


def repeats(y: FloatArray) -> Repeats:
    """The decomposition of n cases (rows) x K repeats (columns); var_case = max(0, (MSB - MSW)/K), se^2 = MSB/(nK).

    `ValueError` for fewer than 2 rows or columns.
    """
    n, k = y.shape
    if n < 2 or k < 2:
        raise ValueError(f"{n} cases x {k} repeats: both must be at least 2")
    cases = y.mean(axis=1)
    between = k * float(np.sum((cases - y.mean()) ** 2)) / (n - 1)
    within = float(np.sum((y - cases[:, None]) ** 2)) / (n * (k - 1))
    return Repeats(float(y.mean()), between, within, max(0.0, (between - within) / k), within, math.sqrt(between / (n * k)))


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of k tries passes, unbiased from c passes in n tries: 1 - C(n-c, k)/C(n, k) (Chen et al. 2021).

    `ValueError` unless 1 <= k <= n and 0 <= c <= n.
    """
    return 1 - pass_all_k(n, n - c, k)


def pass_all_k(n: int, c: int, k: int) -> float:
    """The chance that all of k tries pass (pass^k), unbiased from c passes in n tries: C(c, k)/C(n, k).

    `ValueError` unless 1 <= k <= n and 0 <= c <= n.
    """
    if not 1 <= k <= n or not 0 <= c <= n:
        raise ValueError(f"{k} tries in a row cannot be estimated from {c} passes in {n} tries")
    if k > c:
        return 0.0
    if n <= EXACT_UP_TO:
        return comb(c, k) / comb(n, k)
    return math.exp(float(gammaln(c + 1) - gammaln(c - k + 1) + gammaln(n - k + 1) - gammaln(n + 1)))
