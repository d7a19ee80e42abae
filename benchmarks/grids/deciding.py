"""B1 to B4, B10b and B18: the intervals of one system, of two, and of what they cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln, ndtri, stdtrit, xlogy

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark import stats
from fairmark.stats.intervals import FloatArray, IntArray

# ---------------------------------------------------------------- B1: a pass rate of independent cases

SIZES = (10, 20, 30, 50, 100, 200, 500)
RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99)


def agresti_coull(x: float, n: float) -> tuple[float, float]:
    z = float(ndtri(0.975))
    p = (x + z * z / 2) / (n + z * z)
    half = z * math.sqrt(p * (1 - p) / (n + z * z))
    return p - half, p + half


def wald(x: float, n: float) -> tuple[float, float]:
    half = float(ndtri(0.975)) * math.sqrt(x / n * (1 - x / n) / n)
    return x / n - half, x / n + half


def one_rate(run: Run) -> Outcome:
    methods: dict[str, Callable[[float, float], tuple[float, float]]] = {
        "Clopper-Pearson (the default)": stats.clopper_pearson,
        "Agresti-Coull": agresti_coull,
        "Jeffreys": stats.jeffreys,
        "Wilson": stats.wilson,
        "Wald": wald,
    }
    coverage: dict[str, list[float]] = {name: [] for name in methods}
    width: dict[str, list[float]] = {name: [] for name in methods}
    for n in SIZES:
        x = np.arange(n + 1)
        choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
        for name, method in methods.items():
            ends = np.array([method(float(k), float(n)) for k in x])
            for p in RATES:
                chance = np.exp(choose + xlogy(x, p) + xlogy(n - x, 1 - p))
                coverage[name].append(float(chance @ ((ends[:, 0] <= p) & (p <= ends[:, 1]))))
                width[name].append(float(chance @ (ends[:, 1] - ends[:, 0])))
    least = {name: min(values) for name, values in coverage.items()}
    default = next(iter(methods))
    rows = tuple(
        f"{name:<30} least {least[name]:.3f}, below .94 in {sum(c < 0.94 for c in coverage[name]):2d} of {len(coverage[name])},"
        f" mean {np.mean(coverage[name]):.3f}, mean width {np.mean(width[name]):.3f}"
        for name in methods
    )
    return Outcome(least[default] >= 0.94, f"least coverage {least[default]:.4f} in {len(coverage[default])} cells, exact", rows)


# ---------------------------------------------------------------- B2: clusters and repeats


MIXES = ((0.0, 1), (0.1, 1), (0.3, 1), (0.1, 5))  # ICC of clusters, tries of a case
CLUSTERED = list(itertools.product((10, 20, 30, 50, 100), (0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 0.9), MIXES, (True, False)))


def draw_clustered(rng: np.random.Generator, clusters: int, p: float, mix: tuple[float, int], equal: bool) -> tuple[FloatArray, IntArray]:
    """Cases in clusters whose rates have a beta distribution; with repeats every case has a beta rate around its cluster's."""
    icc, tries = mix
    sizes = np.full(clusters, 5) if equal else np.maximum(1, np.round(rng.lognormal(math.log(5), 0.7, clusters))).astype(np.int64)
    cluster = np.repeat(np.arange(clusters), sizes)
    rate = _beta(rng, np.full(clusters, p), icc)[cluster]
    if tries > 1:
        cluster, rate = np.repeat(cluster, tries), np.repeat(_beta(rng, rate, 0.5), tries)
    return (rng.uniform(size=len(rate)) < rate).astype(np.float64), cluster


def _beta(rng: np.random.Generator, p: FloatArray, icc: float) -> FloatArray:
    if icc == 0:
        return p
    tight = (1 - icc) / icc
    inside = (p > 1e-9) & (p < 1 - 1e-9)
    drawn = p.copy()
    drawn[inside] = rng.beta(p[inside] * tight, (1 - p[inside]) * tight)
    return drawn


def clusters_and_repeats(run: Run) -> Outcome:
    runs = run.times(whole=2000, sample=500)
    cells = run.cells(CLUSTERED, sample=40)
    ours, by_t, ignoring, width = [], [], [], 0.0
    for cell in cells:
        rng = run.rng("B2", cell)
        covered = t_covered = naive = others = 0
        for k in range(runs):
            y, cluster = draw_clustered(rng, *cell)
            low, high = stats.korn_graubard(y, cluster)
            covered += low <= cell[1] <= high
            width += (high - low) / runs / len(cells)
            if k % 4 == 0:
                others += 1
                low, high = stats.cluster_t(y, cluster)
                t_covered += low <= cell[1] <= high
                low, high = stats.wilson(float(y.sum()), len(y))
                naive += low <= cell[1] <= high
        ours.append(covered / runs)
        by_t.append(t_covered / others)
        ignoring.append(naive / others)
    share, least = float(np.mean(np.array(ours) >= 0.93)), min(ours)
    slack = 0.0 if run.whole else noise(0.93, runs)
    wrong = cells[int(np.argmin(ours))]
    rows = (
        f"least at {wrong[0]} clusters, p = {wrong[1]}, ICC {wrong[2][0]}, {wrong[2][1]} tries, {'equal' if wrong[3] else 'unequal'} sizes",
        f"mean coverage {np.mean(ours):.3f}, mean width {width:.3f}",
        f"cluster t: >= .93 in {np.mean(np.array(by_t) >= 0.93):.0%} of cells, least {min(by_t):.3f}",
        f"Wilson without clusters: >= .93 in {np.mean(np.array(ignoring) >= 0.93):.0%} of cells, least {min(ignoring):.3f}",
    )
    held = float(np.mean(np.array(ours) >= 0.93 - slack)) >= 0.97 and least >= 0.91 - slack
    figure = f">= .93 in {share:.1%} of {len(cells)} cells, least {least:.3f}, {runs} runs a cell (MC error {noise(0.93, runs) / 3:.3f})"
    return Outcome(held, figure, rows)


# ---------------------------------------------------------------- B3: pairs of 0/1 answers

COMMON = (0.05, 0.1, 0.2, 0.3)
PAIRS = [(0.02, 0.02), *((win, loss) for win in COMMON for loss in COMMON if loss <= win)]
RARE = (0.0, 0.005, 0.01, 0.02, 0.03)  # losses, beside wins that are rare or common
ONE_SIDED = [(win, loss) for win in (*RARE[1:], 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6) for loss in RARE if loss <= win]


def trinomial(n: int) -> tuple[IntArray, IntArray]:
    """All wins and losses there can be in n pairs."""
    b, c = np.divmod(np.arange((n + 1) ** 2), n + 1)
    there = b + c <= n
    return b[there], c[there]


def chances(n: int, b: IntArray, c: IntArray, win: float, loss: float) -> FloatArray:
    ways = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    return np.asarray(np.exp(ways + xlogy(b, win) + xlogy(c, loss) + xlogy(n - b - c, 1 - win - loss)))


def paired_answers(run: Run) -> Outcome:
    sizes = (10, 20, 30, 50, 100) if run.whole else (10, 20, 30)
    ours, by_t, beyond, one_sided, at_null = [], [], [], [], []
    for n in sizes:
        b, c = trinomial(n)
        ends = np.array([stats.tango(int(x), int(y), n) for x, y in zip(b, c, strict=True)])
        mean, square = (b - c) / n, (b + c) / n
        half = float(stdtrit(n - 1, 0.975)) * np.sqrt(np.maximum(square - mean**2, 0) / (n - 1))
        for win, loss in dict.fromkeys([*PAIRS, *ONE_SIDED]):
            chance, d = chances(n, b, c, win, loss), win - loss
            above, below = float(chance @ (ends[:, 0] > d + 1e-12)), float(chance @ (ends[:, 1] < d - 1e-12))
            (ours if (win, loss) in PAIRS else beyond).append(1 - above - below)
            by_t.append(float(chance @ (np.abs(mean - d) <= half)))
            one_sided.append((max(above, below), n, win, loss))
            if d == 0:
                at_null.append(max(above, below))
    worst = max(one_sided)
    rows = (
        f"not part of the bar: rare losses beside wins of .5% to 60%: below .94 in {sum(x < 0.94 for x in beyond)} of {len(beyond)} cells,"
        f" least {min(beyond):.4f}",
        f"one-sided error: at no difference at most {max(at_null):.4f}, else {worst[0]:.4f} (n = {worst[1]}, {worst[2]} v {worst[3]})",
        f"paired t: least {min(by_t):.3f}, below .94 in {sum(x < 0.94 for x in by_t)} of {len(by_t)} cells",
    )
    return Outcome(min(ours) >= 0.94, f"least coverage {min(ours):.4f} in {len(ours)} cells, exact; mean {np.mean(ours):.4f}", rows)


# ---------------------------------------------------------------- B3b: scores, and few units differ

FEW = ((1, 0.5, -1), (1, 0.9, -1), (1, 0.9, 0.5), (0, -0.05, -1), (0, -0.25, -1), (0, 0.5, -0.5), (0.5, 0, -1), (0.5, 0.4, 1))


def few_differences(run: Run) -> Outcome:
    shares = (0.0, 0.002, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.14, 0.18, 0.22, 0.27, 0.35, 0.4)
    points = [(a, b) for a in shares for b in shares if a + b <= 0.6]
    few, all_of_them = [], []
    for units, values in itertools.product(run.cells((6, 8, 12, 24, 40, 80), sample=3), FEW):
        means = np.array([(1 - a - b) * values[0] + a * values[1] + b * values[2] for a, b in points])
        high_error, low_error = np.zeros(len(points)), np.zeros(len(points))
        for second, third in itertools.product(range(4), repeat=2):
            if second + third > 3:
                continue
            counts = (units - second - third, second, third)
            differences = np.repeat(np.array(values, dtype=np.float64), counts)
            low, high = stats.PairedIntervals(differences, None, single=False, rng=run.rng("B3b")).at(0.95)
            ways = math.factorial(units) // math.prod(map(math.factorial, counts))
            chance = np.array([ways * (1 - a - b) ** counts[0] * a**second * b**third for a, b in points])
            high_error += chance * (low > means + 1e-9)
            low_error += chance * (high < means - 1e-9)
        few.append((float(max(high_error.max(), low_error.max())), units, values))
    # the same with every outcome: what signs cannot see when differences are skewed
    rng = run.rng("B3b", "skewed")
    for units, values, (a, b) in itertools.product((12, 40), ((0, -0.25, -1), (1, 0.5, -1)), ((0.3, 0.05), (0.15, 0.03))):
        truth, runs, wrong = (1 - a - b) * values[0] + a * values[1] + b * values[2], run.times(whole=1500, sample=150), 0
        for _ in range(runs):
            differences = rng.choice(np.array(values, dtype=np.float64), units, p=[1 - a - b, a, b])
            wrong += stats.PairedIntervals(differences, None, single=False, rng=rng).at(0.95).low > truth
        all_of_them.append((wrong / runs, units, values, a, b))
    # clusters of very unequal size, each lost as a whole or not at all
    unequal = []
    for units, q in itertools.product((8, 12, 24), (0.05, 0.15, 0.3)):
        runs, wrong = run.times(whole=1500, sample=100), 0
        for _ in range(runs):
            sizes = np.maximum(1, np.round(rng.lognormal(1.5, 1.0, units))).astype(np.int64)
            cluster = np.repeat(np.arange(units), sizes)
            lost = rng.uniform(size=units) < q
            if np.count_nonzero(lost) <= 3:
                wrong += stats.PairedIntervals(-lost[cluster].astype(np.float64), cluster, single=False, rng=rng).at(0.95).low > -q
        unequal.append(wrong / runs)
    worst, skewed = max(few), max(all_of_them)
    rows = (
        f"clusters of very unequal size: at most {max(unequal):.4f} in {len(unequal)} cells, simulated",
        f"not part of the bar: with every outcome and rare large losses, one-sided error up to {skewed[0]:.3f} "
        f"({skewed[1]} units, {skewed[3]:.0%} at {skewed[2][1]:g} and {skewed[4]:.0%} at {skewed[2][2]:g})",
    )
    figure = f"most {worst[0]:.4f} ({worst[1]} units, differences {worst[2]}) in {len(few) * len(points)} cells, exact"
    return Outcome(worst[0] <= 0.025 and max(unequal) <= 0.025 + noise(0.025, run.times(whole=1500, sample=100)), figure, rows)


# ---------------------------------------------------------------- B4: gated means

GATED = list(itertools.product((10, 20, 30, 50, 100, 200), (0.0, 0.02, 0.05, 0.1, 0.2), ((16, 4), (4, 1), (2, 2))))


def gated(run: Run) -> Outcome:
    runs = run.times(whole=2000, sample=600)
    cells = run.cells(GATED, sample=18)
    ours, by_t, width = [], [], 0.0
    for cell in cells:
        n, fails, (a, b) = cell
        rng = run.rng("B4", cell)
        y = np.where(rng.uniform(size=(runs, n)) < fails, 0.0, rng.beta(a, b, (runs, n)))
        truth = (1 - fails) * a / (a + b)
        ends = np.array([stats.hurdle(row, None)[1] for row in y])
        ours.append(float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))))
        width += float(np.mean(ends[:, 1] - ends[:, 0])) / len(cells)
        half = float(stdtrit(n - 1, 0.975)) * y.std(axis=1, ddof=1) / math.sqrt(n)
        by_t.append(float(np.mean(np.abs(y.mean(axis=1) - truth) <= half)))
    least, slack = min(ours), 0.0 if run.whole else noise(0.93, runs)
    wrong = cells[int(np.argmin(ours))]
    rows = (
        f"least at n = {wrong[0]}, {wrong[1]:.0%} gate failures, beta{wrong[2]}; mean coverage {np.mean(ours):.3f}, mean width {width:.3f}",
        f"t interval: least {min(by_t):.3f}, below .93 in {sum(c < 0.93 for c in by_t)} of {len(by_t)} cells",
    )
    figure = f"least coverage {least:.3f} in {len(cells)} cells, {runs} runs a cell (MC error {noise(0.94, runs) / 3:.3f})"
    return Outcome(least >= 0.93 - slack, figure, rows)


# ---------------------------------------------------------------- B10b: two systems that are equally good

NULLS = list(itertools.product((6, 8, 10, 12, 15, 20, 30, 40), (True, False), ("scores", "clustered scores", "answers")))


def draw_null(rng: np.random.Generator, clusters: int, equal: bool, kind: str) -> tuple[FloatArray, IntArray]:
    sizes = np.full(clusters, 3) if equal else rng.integers(1, 9, clusters)
    cluster = np.repeat(np.arange(clusters), sizes)
    n = len(cluster)
    if kind == "answers":
        tendency = rng.normal(0, 0.1, clusters)[cluster]
        u = rng.uniform(size=n)
        win, loss = 0.15 + tendency.clip(-0.14, 0.14), 0.15 - tendency.clip(-0.14, 0.14)
        return np.where(u < win, 1.0, np.where(u < win + loss, -1.0, 0.0)), cluster
    of_cluster = rng.normal(0, 0.2, clusters)[cluster] if kind == "clustered scores" else 0.0
    return (of_cluster + rng.normal(0, 0.25, n)).clip(-1, 1), cluster


def percentile_bootstrap(differences: FloatArray, cluster: IntArray, rng: np.random.Generator) -> tuple[float, float]:
    groups = int(cluster.max()) + 1
    totals, sizes = np.bincount(cluster, weights=differences), np.bincount(cluster)
    drawn = rng.integers(0, groups, (599, groups))
    means = np.sort(totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return float(means[14]), float(means[-15])


def equal_systems(run: Run) -> Outcome:
    runs = run.times(whole=2000, sample=400)
    cells = run.cells(NULLS, sample=16)
    ours, by_t, by_bootstrap = [], [], []
    for cell in cells:
        rng = run.rng("B10b", cell)
        wrong = t_wrong = bootstrap_wrong = others = 0
        for k in range(runs):
            differences, cluster = draw_null(rng, *cell)
            low, high = stats.PairedIntervals(differences, cluster, single=True, rng=rng).at(0.95)
            wrong += low > 0 or high < 0
            if k % 2 == 0:
                others += 1
                low, high = stats.cluster_t(differences, cluster)
                t_wrong += low > 0 or high < 0
                low, high = percentile_bootstrap(differences, cluster, rng)
                bootstrap_wrong += low > 0 or high < 0
        ours.append(wrong / runs)
        by_t.append(t_wrong / others)
        by_bootstrap.append(bootstrap_wrong / others)
    most, slack = max(ours), noise(0.05, runs) if not run.whole else 0.0
    wrong_cell = cells[int(np.argmax(ours))]
    few = [rate for rate, cell in zip(by_bootstrap, cells, strict=True) if cell[0] <= 20]
    rows = (
        f"most with {wrong_cell[0]} clusters, {'equal' if wrong_cell[1] else 'unequal'} sizes, {wrong_cell[2]}; mean {np.mean(ours):.3f}",
        f"cluster t: {min(by_t):.3f} to {max(by_t):.3f}, above .06 in {sum(rate > 0.06 for rate in by_t)} of {len(cells)} cells",
        f"percentile cluster bootstrap: up to 20 clusters {min(few):.3f} to {max(few):.3f}, mean {np.mean(few):.3f}",
    )
    figure = f"{min(ours):.3f} to {most:.3f} at .05 in {len(cells)} cells, {runs} runs a cell (MC error {noise(0.05, runs) / 3:.3f})"
    return Outcome(most <= 0.06 + slack, figure, rows)


# ---------------------------------------------------------------- B18: costs and value

COSTS = list(itertools.product((20, 50, 100, 200), (0.3, 0.6, 0.9), (0.5, 1.0), (1.0, 2.0), (1, 4)))


def draw_costs(rng: np.random.Generator, n: int, p: float, sigma: float, dear: float, size: int) -> tuple[FloatArray, FloatArray, IntArray]:
    """Lognormal costs of mean 1, failures `dear` times as dear; clusters of `size` share half of the variance on either scale."""
    cluster = np.repeat(np.arange(n), size)
    rate = np.full(n, p) if size == 1 else rng.beta(4 * p, 4 * (1 - p), n)
    success = (rng.uniform(size=n * size) < rate[cluster]).astype(np.float64)
    own = rng.normal(size=n * size)
    z = own if size == 1 else (own + rng.normal(size=n)[cluster]) / math.sqrt(2)
    return np.exp(sigma * z - sigma**2 / 2) * np.where(success == 1, 1.0, dear), success, cluster


def cost_of_a_success(run: Run) -> Outcome:
    runs = run.times(whole=2000, sample=400)
    cells = run.cells(COSTS, sample=24)
    even = [cell for cell in cells if cell[2] == 0.5 and cell[3] == 1.0]
    covered, refused, warned, supported, refuted = {}, {}, {}, {}, {}
    for cell in cells:
        _, p, _, dear, size = cell
        rng = run.rng("B18", cell)
        truth = (p + (1 - p) * dear) / p
        hits = none = warnings = yes = no = 0
        for _ in range(runs):
            cost, success, cluster = draw_costs(rng, *cell)
            units = cluster if size > 1 else None
            found = stats.cost_per_success(cost, success, units)
            none += found.interval is None
            warnings += bool(found.warnings)
            low, high = found.interval if found.interval is not None else (found.at_least, math.inf)
            hits += low <= truth <= high
            verdict = stats.cost_below(cost, success, truth, units).verdict
            yes, no = yes + (verdict == "supported"), no + (verdict == "refuted")
        for of_cell, count in ((covered, hits), (refused, none), (warned, warnings), (supported, yes), (refuted, no)):
            of_cell[cell] = count / runs
    least, slack = min(covered[cell] for cell in even), 0.0 if run.whole else noise(0.93, runs)
    short = [cell for cell in cells if covered[cell] < 0.92]
    wrong = min(cells, key=lambda cell: covered[cell])
    rows = (
        f"all {len(cells)} cells, failures up to twice as dear, sigma up to 1: mean {np.mean(list(covered.values())):.3f},"
        f" below .92 in {len(short)}, least {covered[wrong]:.3f} ({wrong[0]} units, success {wrong[1]}, sigma {wrong[2]})",
        f"warned of skewness: there in {np.mean([warned[cell] for cell in short] or [1]):.0%} of studies,"
        f" elsewhere in {np.mean([warned[cell] for cell in cells if cell not in short]):.0%}",
        f"no upper end in {np.mean(list(refused.values())):.1%} (most {max(refused.values()):.1%})",
        f"a claim at its boundary, nominal .025: supported {np.mean(list(supported.values())):.3f} (most {max(supported.values()):.3f};"
        f" in the bar's cells {max(supported[cell] for cell in even):.3f}), refuted at most {max(refuted.values()):.3f}",
    )
    figure = f"least coverage {least:.3f} in {len(even)} cells, {runs} runs a cell (MC error {noise(0.93, runs) / 3:.3f})"
    return Outcome(least >= 0.92 - slack, figure, rows)


VALUES = list(itertools.product((20, 50, 200), (0.8, 0.95, 0.99), (1.0, 100.0), (1.0, 4.0), (1, 4)))


def value_of_a_case(run: Run) -> Outcome:
    runs = run.times(whole=1500, sample=300)
    cells = run.cells(VALUES, sample=18)
    ours, by_t, width, t_width = [], [], 0.0, 0.0
    for cell in cells:
        n, p, harm, dear, size = cell
        rng = run.rng("B18b", cell)
        truth = p * 3 - (1 - p) * harm - (p + (1 - p) * dear)
        hits = t_hits = 0
        for _ in range(runs):
            cost, success, cluster = draw_costs(rng, n, p, 0.7, dear, size)
            units = cluster if size > 1 else None
            found = stats.net_value(success, cost, units, value=3, harm=harm, rng=rng, draws=1)
            assert found.low is not None
            assert found.high is not None
            hits += found.low <= truth <= found.high
            low, high = stats.cluster_t(success * (3 + harm) - harm - cost, cluster)
            t_hits += low <= truth <= high
            width, t_width = width + (found.high - found.low) / runs, t_width + (high - low) / runs
        ours.append(hits / runs)
        by_t.append(t_hits / runs)
    least, slack = min(ours), 0.0 if run.whole else noise(0.94, runs)
    wrong = cells[int(np.argmin(ours))]
    rows = (
        f"least at {wrong[0]} {'clusters' if wrong[4] > 1 else 'cases'}, success {wrong[1]}, harm {wrong[2]:g}, failures at {wrong[3]:g};"
        f" mean {np.mean(ours):.3f}, width {width / t_width:.2f} times that of t",
        f"cluster t: least {min(by_t):.3f}, below .93 in {sum(c < 0.93 for c in by_t)} of {len(cells)} cells",
    )
    figure = f"least coverage {least:.3f} in {len(cells)} cells, {runs} runs a cell (MC error {noise(0.94, runs) / 3:.3f})"
    return Outcome(least >= 0.93 - slack, figure, rows)


BARS = [
    Bar("B1", "the default interval of a pass rate covers >= .94 in all 84 cells", one_rate),
    Bar("B2", "with clusters and repeats it covers >= .93 in >= 97% of 280 cells, in none < .91", clusters_and_repeats),
    Bar("B3", "Tango's interval covers >= .94, 10 to 100 pairs, wins and losses of 2% to 30%", paired_answers),
    Bar("B3b", "where at most 3 units differ, each end of a paired interval errs in <= 2.5%", few_differences),
    Bar("B4", "the hurdle covers >= .93 where rules must pass", gated),
    Bar("B10b", "the sign-flip finds a difference between equals in <= 6% of studies, 6 to 40 clusters", equal_systems),
    Bar("B18", "Fieller's interval covers >= .92, 20 to 200 cases or clusters, lognormal costs of sigma .5", cost_of_a_success),
    Bar("B18b", "the net value of a case is covered >= .93, also where failures are rare and dear", value_of_a_case),
]
