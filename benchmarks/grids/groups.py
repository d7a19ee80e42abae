"""Groups of people and kinds of failure: small gaps shown wrongly, and how much of what was not met is bounded."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.stats.groups import gap_between_groups, gap_of, group_gap
from fairmark.stats.pooling import pooled_groups
from fairmark.stats.proportions import clopper_pearson, wilson
from fairmark.stats.unseen import unseen_bound

ALPHA = 0.05  # of the grids, one-sided, as in the specification
WITHIN = 0.10


def gaps(run: Run) -> Outcome:
    """False support at the boundary, support of equal groups, and the coverage of pooled intervals."""
    false, rows = [], []
    for clustered in (False, True):
        shares, cells = _at_the_boundary(run, clustered)
        false += shares
        worst = max(shares, key=lambda one: one[0])
        rows.append(
            f"{'clusters' if clustered else 'independent'}: one pair exactly {WITHIN:g} apart, {cells} cells of {worst[1]} runs: "
            f"false support at most {worst[0]:.3f}, mean {np.mean([one[0] for one in shares]):.3f}"
        )
    rows += [_equal(run, groups=4, sizes=(100, 200, 400, 800)), _equal(run, groups=8, sizes=(400,)), _ready(run)]
    pooled, covered = _pooled(run)
    rows += pooled
    held = all(share <= 0.06 + noise(0.06, runs) for share, runs in false) and covered
    over = sum(share > 0.06 for share, _ in false)
    most = max(share for share, _ in false)
    return Outcome(held, f"false support at most {most:.3f} in {len(false)} cells, above .06 in {over}", tuple(rows))


def _at_the_boundary(run: Run, clustered: bool) -> tuple[list[tuple[float, int]], int]:
    """Share of studies in which the claim is supported although the best and the worst group are exactly `WITHIN` apart."""
    if clustered:
        grid = [
            (groups, n, best, icc, shared, best)
            for groups in (2, 4, 8)
            for n in (160, 800)
            for best in (0.95, 0.7)
            for icc in (0.05, 0.2)
            for shared in (False, True)
        ]
    else:
        grid = [
            (groups, n, best, 0.0, False, middle)
            for groups in (2, 3, 4, 8)
            for n in (50, 100, 200, 400, 800)
            for best in (0.98, 0.9, 0.6)
            for middle in sorted({best, best - WITHIN / 2} if groups > 2 else {best})
        ]
    cells = run.cells(grid, sample=5 if clustered else 12)
    times = run.times(whole=200, sample=40) if clustered else run.times(whole=2_000, sample=1_000)
    found = []
    for cell in cells:
        groups, n, best, icc, shared, middle = cell
        rng = run.rng("B10", clustered, *cell)
        p = np.array([best, *[middle] * (groups - 2), best - WITHIN])
        if not clustered:
            passes = rng.binomial(n, p, size=(times, groups))
            known: dict[tuple[int, ...], bool] = {}
            for row in np.sort(passes, axis=1).tolist():
                if (key := tuple(row)) not in known:
                    known[key] = group_gap([(x, n) for x in key], within=WITHIN, alpha=ALPHA).verdict == "supported"
            found.append((float(np.mean([known[tuple(row)] for row in np.sort(passes, axis=1).tolist()])), times))
            continue
        supported = 0
        for _ in range(times):
            y, group, cluster = _clustered(rng, p, n, icc, shared)
            supported += gap_between_groups(y, group, cluster, within=WITHIN, alpha=ALPHA, rng=rng).verdict == "supported"
        found.append((supported / times, times))
    return found, len(cells)


def _clustered(rng: np.random.Generator, p: np.ndarray, n: int, icc: float, shared: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses in 40 clusters a group, each group's own or the same for all; a cluster moves all its groups alike."""
    clusters, groups = 40, len(p)
    cluster = np.tile(np.arange(n) % clusters, groups) + (0 if shared else clusters * np.repeat(np.arange(groups), n))
    group = np.repeat(np.arange(groups), n)
    # the clusters' uniform levels, shared or not, put through each group's own beta distribution of cluster rates
    level = rng.random(int(cluster.max()) + 1)
    rate = np.empty(len(group))
    spread = (1 - icc) / icc
    for i, one in enumerate(p):
        rows = group == i
        rate[rows] = betaincinv(one * spread, (1 - one) * spread, level[cluster[rows]])
    return (rng.random(len(group)) < rate) * 1.0, group, cluster


def _equal(run: Run, *, groups: int, sizes: tuple[int, ...]) -> str:
    times = run.times(whole=4_000, sample=500)
    shares = []
    for n in sizes:
        x = run.rng("B10 equal", groups, n).binomial(n, 0.85, size=(times, groups))
        shares.append(
            np.mean([group_gap([(one, n) for one in row], within=WITHIN, alpha=ALPHA).verdict == "supported" for row in x.tolist()])
        )
    counted = "/".join(f"{share:.2f}" for share in shares)
    return f"{groups} groups truly equal at .85, margin {WITHIN:g}: supported {counted} at n = {'/'.join(map(str, sizes))} a group"


def _ready(run: Run) -> str:
    """The same from estimates that are ready: their own intervals, here Wilson's, joined by MOVER."""
    times, n = run.times(whole=1_000, sample=100), 200
    x = run.rng("B10 ready").binomial(n, np.array([0.9, 0.9, 0.8]), size=(times, 3))
    wrong = 0
    for row in x.tolist():
        ready = [lambda level, one=one: wilson(one, n, confidence_level=level) for one in row]
        wrong += gap_of(ready, [one / n for one in row], within=WITHIN, alpha=ALPHA).verdict == "supported"
    return f"estimates that are ready, 3 groups at the boundary, n = {n}: false support {wrong / times:.3f}"


def _pooled(run: Run) -> tuple[list[str], bool]:
    """Error and average coverage of partially pooled intervals, against each group's own mean and exact interval."""
    inside, lines = True, []
    for bar, sizes in ((True, (20, 60)), (False, (10,))):
        cells = run.cells([(12, n, mean, k) for n in sizes for mean in (0.6, 0.85, 0.95) for k in (5, 20, 50, 300)], sample=6 if bar else 1)
        times = run.times(whole=80, sample=16)
        found = []
        for cell in cells:
            groups, n, mean, k = cell
            rng = run.rng("B10 pooled", *cell)
            truth = rng.beta(mean * k, (1 - mean) * k, size=(times, groups))
            x = rng.binomial(n, truth)
            rows = [pooled_groups(one.astype(float), np.full(groups, float(n))).groups for one in x]
            value, low, high = (np.array([[getattr(row, name) for row in study] for study in rows]) for name in ("value", "low", "high"))
            exact = np.array([clopper_pearson(i, n) for i in range(n + 1)])
            found.append(
                (
                    float(np.mean((low <= truth) & (truth <= high))),
                    float(np.sqrt(np.mean((value - truth) ** 2)) / np.sqrt(np.mean((x / n - truth) ** 2))),
                    float(np.mean(high - low) / np.mean(exact[x, 1] - exact[x, 0])),
                    times * groups,
                )
            )
        cover = [one[0] for one in found]
        if bar:
            inside = all(0.92 - noise(0.92, one[3]) <= one[0] <= 0.99 + noise(0.99, one[3]) for one in found)
        lines.append(
            f"pooled intervals of 12 groups of {' or '.join(map(str, sizes))}{'' if bar else ' (not in the bar)'}, {len(cells)} cells of "
            f"{times * 12} groups: coverage {min(cover):.3f} to {max(cover):.3f}, mean {np.mean(cover):.3f}; error "
            f"{np.mean([one[1] for one in found]):.2f} and width {np.mean([one[2] for one in found]):.2f} of each group's own"
        )
    return lines, inside


def unseen(run: Run) -> Outcome:
    """Coverage of the one-sided 95% bound of the unseen mass."""
    single = [
        (kinds, shape, n, False) for kinds in (5, 10, 20, 50, 200, 1_000) for shape in _SHAPES for n in (20, 30, 50, 100, 200, 500, 1_000)
    ]
    several = [(kinds, shape, n, True) for kinds in (10, 50, 200) for shape in _SHAPES for n in (20, 50, 200, 1_000)]
    lines, covered, short = [], [], 0
    for name, grid in (("one kind a case", single), ("several kinds a case", several)):
        cells = run.cells(grid, sample=30)
        times = run.times(whole=10_000, sample=2_000)
        rows = []
        for cell in cells:
            kinds, shape, n, many = cell
            rng = run.rng("B11", *cell)
            p = _SHAPES[shape](kinds, rng)
            if many:
                p = 2 * p / p.sum()  # two kinds a case on average
                p = np.minimum(p, 0.9)
                counts = rng.binomial(n, p, size=(times, kinds))
            else:
                p = p / p.sum()
                counts = rng.multinomial(n, p, size=times)
            mass = (counts == 0) @ p
            once, twice = (counts == 1).sum(axis=1), (counts == 2).sum(axis=1)
            pairs, index = np.unique(once * 10_000 + twice, return_inverse=True)
            bounds = np.array([unseen_bound(n, int(one) // 10_000, int(one) % 10_000, several=many) for one in pairs])[index]
            exact = np.array([clopper_pearson(min(int(one) // 10_000, n), n, confidence_level=0.9).high for one in pairs])[index]
            rows.append(
                (
                    float(np.mean(bounds >= mass - 1e-12)),
                    float(np.mean(bounds)),
                    float(np.mean(mass)),
                    float(np.mean(exact >= mass - 1e-12)),
                )
            )
        cover = [row[0] for row in rows]
        covered += cover
        short += sum(one < 0.945 - noise(0.945, times) for one in cover)
        lines.append(
            f"{name}, {len(cells)} cells of {times} runs: coverage {min(cover):.4f} to {max(cover):.4f}, mean {np.mean(cover):.3f}, "
            f"below .945 in {sum(one < 0.945 for one in cover)}; bound {np.mean([row[1] for row in rows]):.3f} for a mass of "
            f"{np.mean([row[2] for row in rows]):.3f}; Clopper-Pearson on the kinds met once covers {min(row[3] for row in rows):.3f}"
        )
    return Outcome(short == 0, f"coverage at least {min(covered):.4f} in {len(covered)} cells", tuple(lines))


_SHAPES = {
    "even": lambda kinds, rng: np.ones(kinds),
    "1/rank": lambda kinds, rng: 1 / np.arange(1, kinds + 1),
    "1/rank^2": lambda kinds, rng: 1 / np.arange(1, kinds + 1) ** 2.0,
    "geometric": lambda kinds, rng: 0.8 ** np.arange(kinds),
    "lognormal": lambda kinds, rng: rng.lognormal(0, 1.5, size=kinds),
}


BARS = [
    Bar(
        "B10",
        "no group more than .10 behind: false support at most .06 at the boundary, also with clusters; pooled intervals cover .92 to .99",
        gaps,
    ),
    Bar("B11", "the upper 95% bound of the unseen mass covers at least .945 in every cell", unseen),
]
