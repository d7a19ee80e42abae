"""Groups of people and kinds of failure: small gaps shown wrongly, and how much of what was not met is bounded."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr, betaincinv

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.stats.groups import gap_between_groups, gap_of, group_gap
from fairmark.stats.pooling import pooled_groups
from fairmark.stats.proportions import clopper_pearson, wilson
from fairmark.stats.unseen import RARE, unseen_bound

ALPHA = 0.05  # of the grids, one-sided, as in the specification
WITHIN = 0.10


def gaps(run: Run) -> Outcome:
    """False support at the boundary, support of equal groups, and the coverage of pooled intervals."""
    exact, many, clustered = _two_groups(run), _more_groups(run), _with_clusters(run)
    rows = [f"one pair exactly {WITHIN:g} apart, two groups, {len(exact)} cells enumerated: false support at most {max(exact):.4f}"]
    for name, found in (("three to eight groups", many), ("two groups with clusters", clustered)):
        shares = [share for share, _ in found]
        rows.append(
            f"{name}, {len(found)} cells of {found[0][1]} runs: false support at most {max(shares):.3f}, mean {np.mean(shares):.3f}, "
            f"above .06 in {sum(share > 0.06 for share in shares)} (Monte-Carlo noise allowed: {noise(0.05, found[0][1]):.3f})"
        )
    rows += [_equal(run, groups=4, sizes=(100, 200, 400, 800)), _equal(run, groups=8, sizes=(400,)), _ready(run)]
    pooled, covered = _pooled(run)
    held = max(exact) <= 0.06 and all(share <= 0.06 + noise(0.06, runs) for share, runs in [*many, *clustered]) and covered
    return Outcome(
        held, f"false support at most {max(exact):.4f} exactly, {max(share for share, _ in clustered):.3f} with clusters", (*rows, *pooled)
    )


def _two_groups(run: Run) -> list[float]:
    """The exact chance that two groups `WITHIN` apart are declared to be closer."""
    found = []
    for n in (50, 100, 200, 400, 800) if run.whole else (50, 200):
        known: dict[tuple[int, int], bool] = {}

        def supported(x: int, y: int, n: int = n, known: dict[tuple[int, int], bool] = known) -> bool:
            if (x, y) not in known:
                known[x, y] = group_gap([(x, n), (y, n)], within=WITHIN, alpha=ALPHA).verdict == "supported"
            return known[x, y]

        # for each count of the better group the fewest of the other that are near enough: it grows with the former
        fewest, ends = 0, []
        for x in range(n + 1):
            while fewest <= x and not supported(x, fewest):
                fewest += 1
            ends.append(fewest)
        most = [max((y for y in range(x, n + 1) if ends[y] <= x), default=x) if ends[x] <= x else x for x in range(n + 1)]
        for best in (0.98, 0.95, 0.9, 0.8, 0.6):
            first, below = bdtr(np.arange(-1, n + 1), n, best), bdtr(np.arange(-1, n + 1), n, best - WITHIN)
            first, below = np.nan_to_num(first), np.nan_to_num(below)
            found.append(
                float(sum((first[x + 1] - first[x]) * (below[most[x] + 1] - below[ends[x]]) for x in range(n + 1) if ends[x] <= x))
            )
    return found


def _more_groups(run: Run) -> list[tuple[float, int]]:
    """Share of studies that support the claim although the best and the worst group are `WITHIN` apart, and how many studies."""
    grid = [
        (groups, n, best, middle)
        for groups in (3, 4, 8)
        for n in (50, 200, 800)
        for best in (0.98, 0.9, 0.6)
        for middle in (best - WITHIN / 2, best)
    ]
    times = run.times(whole=2_000, sample=500)
    found = []
    for groups, n, best, middle in run.cells(grid, sample=8):
        p = np.array([best, *[middle] * (groups - 2), best - WITHIN])
        passes = run.rng("B10", groups, n, best, middle).binomial(n, p, size=(times, groups))
        verdicts = [group_gap([(x, n) for x in row], within=WITHIN, alpha=ALPHA).verdict for row in passes.tolist()]
        found.append((float(np.mean([verdict == "supported" for verdict in verdicts])), times))
    return found


def _with_clusters(run: Run) -> list[tuple[float, int]]:
    """The same of two groups in clusters. More groups support the claim only where this pair does, so two are the hardest."""
    grid = [(n, best, icc, shared) for n in (160, 800) for best in (0.95, 0.7) for icc in (0.05, 0.2) for shared in (False, True)]
    times = run.times(whole=1_000, sample=60)
    found = []
    for n, best, icc, shared in run.cells(grid, sample=6):
        rng = run.rng("B10 clusters", n, best, icc, shared)
        supported = 0
        for _ in range(times):
            y, group, cluster = _clustered(rng, np.array([best, best - WITHIN]), n, icc, shared)
            supported += gap_between_groups(y, group, cluster, within=WITHIN, alpha=ALPHA, rng=rng).verdict == "supported"
        found.append((supported / times, times))
    return found


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
    sizes = (20, 30, 50, 100, 200, 500, 1_000)
    single = [(kinds, shape, n, False) for kinds in (5, 10, 20, 50, 200, 1_000) for shape in _SHAPES for n in sizes]
    # kinds that are equally common and were met a few times each: where Esty's bound alone covers .92
    single += [(kinds, "even", round(kinds * times), False) for kinds in (10, 30, 50, 100, 200) for times in (4, 4.5, 5.5, 7, 8)]
    several = [(kinds, shape, n, True) for kinds in (10, 50, 200) for shape in _SHAPES for n in (20, 50, 200, 1_000)]
    several += [(kinds, "even", round(kinds * times / 2), True) for kinds in (50, 100, 200) for times in (4, 5.5, 7)]
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
            alike, total = ((counts > 1) & (counts < RARE)).sum(axis=1), counts.sum(axis=1)
            seen, index = np.unique(np.column_stack([once, twice, alike, total]), axis=0, return_inverse=True)
            index = index.ravel()
            bounds = np.array([unseen_bound(n, f1, f2, alike=a, mentions=m if many else None) for f1, f2, a, m in seen.tolist()])[index]
            esty = np.array([unseen_bound(n, f1, f2, mentions=m if many else None) for f1, f2, _, m in seen.tolist()])[index]
            exact = np.array([clopper_pearson(min(i, n), n, confidence_level=0.9).high for i in range(int(once.max()) + 1)])[once]
            covers = [float(np.mean(one >= mass - 1e-12)) for one in (bounds, esty, exact)]
            rows.append((covers[0], float(np.mean(bounds)), float(np.mean(mass)), covers[1], covers[2]))
        cover = [row[0] for row in rows]
        covered += cover
        short += sum(one < 0.945 - noise(0.945, times) for one in cover)
        lines.append(
            f"{name}, {len(cells)} cells of {times} runs: coverage {min(cover):.4f} to {max(cover):.4f}, mean {np.mean(cover):.3f}, "
            f"below .945 in {sum(one < 0.945 for one in cover)} (noise allowed: {noise(0.945, times):.4f}); "
            f"bound {np.mean([row[1] for row in rows]):.3f} for a mass of "
            f"{np.mean([row[2] for row in rows]):.3f}; Esty's bound alone covers at least {min(row[3] for row in rows):.3f}, "
            f"Clopper-Pearson on the kinds met once {min(row[4] for row in rows):.3f}"
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
