"""Agreement: do BCa intervals over items hold the value that the population has?"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.stats import Agreement, alpha_agreement, gwet_agreement, kappa_agreement
from fairmark.stats.intervals import FloatArray

ITEMS = (30, 50, 100, 200)
SLIPS = (0.02, 0.1, 0.25)  # chance that a rater is wrong, by one level on ordered levels
SHARES = ((0.5, 0.5), (0.2, 0.8), (0.05, 0.95), (0.1, 0.2, 0.3, 0.4), (0.02, 0.05, 0.13, 0.8))  # of the true levels
COEFFICIENTS = ("kappa", "AC", "alpha")
COVERS, WIDEST = 0.92, 1.35
ENOUGH = 5  # disagreements a sample is expected to hold; where fewer are, an interval must allow for what it did not meet
RESAMPLES = 999


class Cell(NamedTuple):
    shares: tuple[float, ...]
    slip: float
    items: int
    coefficient: str


def joint(cell: Cell) -> FloatArray:
    """Shares of all pairs of marks by two raters alike, who err independently of one another."""
    k = len(cell.shares)
    said = np.zeros((k, k))
    for true in range(k):
        near = [level for level in (true - 1, true + 1) if 0 <= level < k]
        said[true, near] = cell.slip / len(near)
        said[true, true] = 1 - cell.slip
    return np.einsum("t,ta,tb->ab", np.array(cell.shares), said, said)


def truth(cell: Cell, p: FloatArray) -> float:
    """The coefficient of a population, by its definition: 1 - disagreement / chance disagreement."""
    k, margin = len(p), p.sum(axis=0)
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(float)
    differ = (apart / (k - 1)) ** 2 if k > 2 else apart
    if cell.coefficient == "AC":
        chance = 1 - (1 - differ).sum() * float(margin @ (1 - margin)) / (k * (k - 1))
        return 1 - float(np.sum(p * differ)) / chance
    if cell.coefficient == "alpha" and k > 2:
        rank = np.cumsum(margin) - margin / 2
        differ = np.subtract.outer(rank, rank) ** 2
    return 1 - float(np.sum(p * differ)) / float(margin @ differ @ margin)


def measured(cell: Cell, marks: FloatArray, rng: np.random.Generator) -> Agreement:
    k = len(cell.shares)
    weighted = k > 2
    if cell.coefficient == "kappa":
        weights = "quadratic" if weighted else "unweighted"
        return kappa_agreement(marks[:, 0], marks[:, 1], k, weights=weights, rng=rng, resamples=RESAMPLES)  # type: ignore[arg-type]
    if cell.coefficient == "AC":
        weights = "quadratic" if weighted else "unweighted"
        return gwet_agreement(marks, weights=weights, levels=range(k), rng=rng, resamples=RESAMPLES)  # type: ignore[arg-type]
    return alpha_agreement(marks, metric="ordinal" if weighted else "nominal", rng=rng, resamples=RESAMPLES)


def coverage(run: Run) -> Outcome:
    cells = run.cells([Cell(*one) for one in product(SHARES, SLIPS, ITEMS, COEFFICIENTS)], sample=23)
    runs = run.times(whole=240, sample=60)
    covers, widths, refused = [], [], []
    for cell in cells:
        rng, p = run.rng(cell), joint(cell)
        k, true = len(p), truth(cell, p)
        found = []
        for _ in range(runs):
            pairs = rng.choice(k * k, size=cell.items, p=p.ravel())
            found.append(measured(cell, np.column_stack([pairs // k, pairs % k]).astype(np.float64), rng))
        ends = np.array([(one.value, one.low, one.high) for one in found if one.low is not None], dtype=np.float64).reshape(-1, 3)
        refused.append(1 - len(ends) / runs)
        if len(ends) < runs / 4:
            continue
        held = float(np.mean((ends[:, 1] <= true + 1e-9) & (true <= ends[:, 2] + 1e-9)))
        wide = float(np.mean(ends[:, 2] - ends[:, 1]) / (2 * 1.96 * np.std(ends[:, 0])))
        covers.append((held, cell, len(ends)))
        if cell.items * (1 - np.trace(p)) >= ENOUGH:
            widths.append((wide, cell))
    low = min(covers)
    worst, mean = low[0], float(np.mean([held for held, _, _ in covers]))
    widest, mean_width = max(widths), float(np.mean([wide for wide, _ in widths]))
    holds = all(held >= COVERS - noise(COVERS, n) for held, _, n in covers)
    below = sum(held < COVERS for held, _, _ in covers)
    return Outcome(
        holds and mean >= COVERS and widest[0] <= WIDEST,
        f"coverage at least {worst:.3f}, mean {mean:.3f}, {below} of {len(covers)} cells below {COVERS} as simulated; width over "
        f"that of the simulated spread mean {mean_width:.2f}, at most {widest[0]:.2f}; refused {100 * np.mean(refused):.1f}% of the time",
        (
            f"{runs} samples a cell (standard error {np.sqrt(COVERS * (1 - COVERS) / runs):.3f}); held allows a cell 3 of these",
            f"lowest: {describe(low[1])}; widest: {describe(widest[1])} (of cells where {ENOUGH} disagreements or more are expected)",
            *(
                f"{name}: least {min(h for h, c, _ in covers if c.coefficient == name):.3f}, mean "
                f"{np.mean([h for h, c, _ in covers if c.coefficient == name]):.3f}"
                for name in COEFFICIENTS
            ),
        ),
    )


def describe(cell: Cell) -> str:
    return f"{cell.coefficient} of levels {cell.shares}, {cell.slip:g} slips, {cell.items} items"


BARS = [
    Bar(
        "B16",
        f"95% intervals of kappa, AC and alpha over 30 to 200 items cover the population's value at {COVERS} or more and are at "
        f"most {WIDEST} times as wide as the simulated spread",
        coverage,
    )
]
