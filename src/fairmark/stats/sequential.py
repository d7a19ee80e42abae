"""Evidence that may be looked at after every case: e-processes, confidence sequences, and many claims by e-values.

An e-process starts at 1 and, where its hypothesis is true, is expected to stay there however often it is looked at. The
chance that it ever reaches 1/alpha is at most alpha (Ville's inequality), so a study may stop at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairmark.stats.intervals import FloatArray, IntArray, Interval

BoolArray = NDArray[np.bool_]

GEOMETRIC_BETS = 12  # half of the capital is spread over so many bets, for truths the design did not expect
SMALLEST_BET = 1 / 64  # of the largest bet that cannot be ruined
LARGEST_BET = 0.95
CERTAIN = 700.0  # log of an e-value that stands for proof; e^700 is still a floating-point number
LOST = 1e300  # stands for the log of nothing, so that nothing less nothing is a number
STEPS = 50  # halvings of the scale when an end of a confidence sequence is sought
CLOSE = 1e-9
TINY = 1e-12


def growth_optimal_bet(values: ArrayLike, shares: ArrayLike, *, null: float, low: float) -> float:
    """The bet lambda in [0, 1/(null - low)] whose wealth prod(1 + lambda (x - null)) grows fastest where `values` occur with `shares`.

    It solves E[(x - null) / (1 + lambda (x - null))] = 0 (GRO: Grunwald, de Heide and Koolen 2024). For a pass rate this
    is (p1 - p0) / (p0 (1 - p0)), with which the wealth is the likelihood ratio; for paired 0/1 answers against no
    difference it is d / discordance. 0 where the expected value is not above the null; the largest bet that values of at
    least `low` cannot ruin where a larger one would be best. `ValueError` unless the null lies above `low`.
    """
    if not null > low:
        raise ValueError("the null must lie above the lowest value: otherwise there is nothing to lose")
    x, p = np.asarray(values, dtype=np.float64) - null, np.asarray(shares, dtype=np.float64)
    x, p = x[p > 0], p[p > 0]
    if len(x) == 0 or float(p @ x) <= 0:
        return 0.0
    least, most = 0.0, 1 / (null - low)
    for _ in range(100):
        middle = (least + most) / 2
        if float(np.sum(p * x / np.maximum(1 + middle * x, TINY))) > 0:
            least = middle
        else:
            most = middle
    return (least + most) / 2


def bets(design: float) -> tuple[FloatArray, FloatArray]:
    """The bets of the default mixture and their weights, as shares of the largest bet 1/(m - lowest).

    Half of the weight is on the design bet (at most .95), half spread evenly over 12 geometric points from 1/64 to .95.
    """
    fractions = np.concatenate([[min(max(design, 0.0), LARGEST_BET)], np.geomspace(SMALLEST_BET, LARGEST_BET, GEOMETRIC_BETS)])
    return fractions, np.concatenate([[0.5], np.full(GEOMETRIC_BETS, 0.5 / GEOMETRIC_BETS)])


class EProcess:
    """A mixture e-process against "the mean is at most `null`", for values of at least `low`, fed in a random order.

    E_t = sum_j w_j prod_s (1 + c_j (x_s - m)/(m - low)) with m = null, which bets the shares c_j of the largest bet that
    cannot be ruined (Waudby-Smith and Ramdas 2024). With the shares fixed, E_t falls as m grows, so that the means it
    does not exclude are an interval.

    A whole cluster is one update: x_s - m becomes sum_{i in g} (y_i - m) / s_max, with s_max the declared `largest`
    cluster. For a finite `bank` of N cases drawn without replacement, m becomes the mean that the rest of the bank must
    have at most, (N m - S)/(N - t). Then the wealth is `CERTAIN` once the cases seen rule the hypothesis out.

    `null` may be an array, and `update` takes an array with the runs in its leading axes and time in its last: many
    processes are one array.
    """

    def __init__(
        self,
        null: ArrayLike,
        *,
        low: float,
        fractions: FloatArray,
        weights: FloatArray,
        largest: int = 1,
        bank: int | None = None,
    ) -> None:
        self.room: FloatArray = np.asarray(null, dtype=np.float64) - low
        if not bool(np.all(self.room > 0)):
            raise ValueError("the null must lie above the lowest value: otherwise there is nothing to lose")
        if bank is not None and largest != 1:
            raise ValueError("a finite bank is drawn case by case")
        self.low, self.largest, self.bank = low, largest, bank
        self.fractions, self.log_weights = fractions, np.log(weights)
        self.count = 0
        self.log_now: FloatArray = np.zeros(self.room.shape)
        self.log_max: FloatArray = np.zeros(self.room.shape)
        self._logs: FloatArray = np.zeros((len(fractions), *self.room.shape))
        self._gained: FloatArray = np.zeros(self.room.shape)

    def update(self, totals: FloatArray, sizes: IntArray | None = None) -> FloatArray:
        """The path of log E over the units in `totals`, each the sum of the values of its cluster (of one case by default)."""
        steps = totals.shape[-1]
        if steps == 0:
            return np.zeros((*np.broadcast_shapes(totals.shape[:-1], self.room.shape), 0))
        size: FloatArray | float = 1.0 if sizes is None else np.asarray(sizes, dtype=np.float64)
        gain = totals - self.low * size
        room = self.room[..., None]
        proven: BoolArray | None = None
        if self.bank is not None:
            gained = self._gained[..., None] + np.cumsum(gain, axis=-1)
            left = self.bank - self.count - np.arange(steps)
            if left[-1] < 1:
                raise ValueError(f"a bank of {self.bank} cases has no case number {self.count + steps}")
            whole = self.bank * room
            proven = gained > whole + TINY * self.bank
            room = np.maximum((whole - (gained - gain)) / left, TINY)
            self._gained = gained[..., -1]
        share, ratio = np.asarray(size) / self.largest, gain / self.largest / room
        step = ratio - share
        # one axis more in front, for the bets
        front = (len(self.fractions),) + (1,) * step.ndim
        logs = self.fractions.reshape(front) * step
        logs += 1
        np.maximum(logs, 0, out=logs)
        with np.errstate(divide="ignore"):  # the wealth of a bet that lost everything is 0
            np.log(logs, out=logs)
            np.cumsum(logs, axis=-1, out=logs)
            logs += self._logs[..., None]
            self._logs = logs[..., -1].copy()
            logs += self.log_weights.reshape(front)
            peak = np.maximum(logs.max(axis=0), -LOST)
            logs -= peak
            path: FloatArray = peak + np.log(np.exp(logs, out=logs).sum(axis=0))
        path = np.minimum(path, CERTAIN)
        if proven is not None:
            path = np.where(proven, CERTAIN, path)
        self.count += steps
        self.log_now = path[..., -1]
        self.log_max = np.maximum(self.log_max, path.max(axis=-1))
        return path


def confidence_sequence(
    totals: FloatArray,
    sizes: IntArray | None = None,
    *,
    low: float,
    high: float,
    alpha: float,
    fractions: FloatArray,
    fractions_above: FloatArray | None = None,
    largest: int = 1,
    bank: int | None = None,
    at: Sequence[int] | None = None,
) -> tuple[Interval, ...]:
    """The interval of the mean after each number of units in `at` (default: after all), each end valid at every look at once.

    The lower end is the mean at which E_t(m) has at some time up to then reached 1/alpha, found by bisection: the running
    intersection of {m: E_t(m) < 1/alpha}. The upper end is that of the mirrored process, with `fractions_above`. The
    chance that either end is ever beyond the truth is at most alpha.
    """
    looks = np.array([len(totals)] if at is None else list(at), dtype=np.int64)
    if len(looks) and (int(looks.min()) < 0 or int(looks.max()) > len(totals)):
        raise ValueError(f"a look must come after 0 to {len(totals)} units")
    size = np.ones(len(totals)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    mirrored = fractions if fractions_above is None else fractions_above
    below = _lower_ends(totals, sizes, looks, low, high, alpha, fractions, largest, bank)
    above = -_lower_ends(-totals, sizes, looks, -high, -low, alpha, mirrored, largest, bank)
    if bank is not None and len(looks):  # after the last case the mean is known
        known = looks == bank
        below[known] = above[known] = float(np.sum(totals) / max(np.sum(size), 1.0))
    return tuple(Interval(float(a), float(b)) for a, b in zip(below, above, strict=True))


def _lower_ends(
    totals: FloatArray,
    sizes: IntArray | None,
    looks: IntArray,
    low: float,
    high: float,
    alpha: float,
    fractions: FloatArray,
    largest: int,
    bank: int | None,
) -> FloatArray:
    """The largest mean excluded up to each look, within `low` to `high`."""
    out, kept = np.full(len(looks), low), np.full(len(looks), high)
    if len(totals) == 0 or len(looks) == 0:
        return out
    weights = bets(0.0)[1]
    for _ in range(STEPS):
        middle = (out + kept) / 2
        process = EProcess(middle, low=low, fractions=fractions, weights=weights, largest=largest, bank=bank)
        path = process.update(totals, sizes)
        reached = np.maximum.accumulate(path, axis=-1)[np.arange(len(looks)), np.maximum(looks, 1) - 1]
        excluded = (reached >= -math.log(alpha)) & (looks > 0)
        out, kept = np.where(excluded, middle, out), np.where(excluded, kept, middle)
        if bool(np.all(kept - out < CLOSE)):
            break
    return np.where(looks > 0, out, low)


def e_bh(e: Sequence[float], *, alpha: float = 0.05) -> tuple[int, ...]:
    """The places of the hypotheses that are rejected: the k with the largest e-values, for the largest k with e_(k) >= m/(alpha k).

    The false discovery rate is at most alpha however the e-values depend on one another and whenever each was stopped
    (e-BH: Wang and Ramdas 2022).
    """
    if not 0 < alpha < 1:
        raise ValueError("alpha must lie between 0 and 1")
    values = np.asarray(e, dtype=np.float64)
    if values.ndim != 1 or bool(np.any(np.isnan(values))) or bool(np.any(values < 0)):
        raise ValueError("e-values are numbers from 0")
    ranked, count = np.sort(values)[::-1], len(values)
    # a product instead of the quotient, so that an e-value exactly at its bar is rejected
    enough = [k for k in range(1, count + 1) if ranked[k - 1] * alpha * k >= count * (1 - TINY)]
    if not enough:
        return ()
    return tuple(int(place) for place in np.flatnonzero(values >= ranked[enough[-1] - 1]))
