"""Stopping early: false support however often one looks (B5), what a hybrid saves (B6), and what a finite bank needs (B7)."""

from __future__ import annotations

import numpy as np

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.stats.intervals import FloatArray
from fairmark.stats.stopping import StoppingForecast, StoppingPlan, fixed_size, stopping_forecast, stopping_plan, stopping_runs

ALPHA = 0.05
STEPS = 1_500
SLOTS = 100  # calls in flight
CLUSTERS = 240


def _plan(kind: str, null: float, alternative: float, **other: object) -> StoppingPlan:
    return stopping_plan(kind, null=null, alternative=alternative, scorer="code", seed=1, alpha=ALPHA, **other)  # type: ignore[arg-type]


# ---------------------------------------------------------------- B5

NULLS: list[tuple[str, float, float, dict[str, float]]] = [
    ("rate", 0.02, 0.05, {}),
    ("rate", 0.80, 0.90, {}),
    ("rate", 0.95, 0.98, {}),
    ("paired", 0.0, 0.05, {"discordance": 0.10}),
    ("paired", 0.0, 0.10, {"discordance": 0.30}),
    ("paired", 0.0, 0.20, {"discordance": 0.60}),
    ("paired", -0.05, 0.05, {"discordance": 0.30}),
]


def _z_test(x: FloatArray, null: float) -> float:
    """How often an ordinary z test at every case from the tenth on says so at some time."""
    n = np.arange(1, x.shape[1] + 1)
    total, squares = np.cumsum(x, axis=1), np.cumsum(x**2, axis=1)
    mean = total / n
    spread = np.sqrt(np.maximum(squares / n - mean**2, 1e-12))
    return float(np.mean((((mean - null) / spread * np.sqrt(n))[:, 9:] > 1.6449).any(axis=1)))


def _cases(kind: str, null: float, other: dict[str, float], rows: int, rng: np.random.Generator) -> FloatArray:
    if kind == "rate":
        return (rng.uniform(size=(rows, STEPS)) < null).astype(np.float64)
    u, differ = rng.uniform(size=(rows, STEPS)), other["discordance"]
    return (u < (differ + null) / 2).astype(np.float64) - (u > 1 - (differ - null) / 2)


def _flown(rows: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Outcomes at a rate of .80 in their recorded order (that of their start) and as they complete; failures take 1.3 times longer."""
    passed = (rng.uniform(size=(rows, SLOTS, STEPS // SLOTS)) < 0.8).astype(np.float64)
    ends = np.cumsum(np.where(passed > 0, 1.0, 1.3) * rng.uniform(0.95, 1.05, size=passed.shape), axis=2)
    starts = np.concatenate([np.zeros((rows, SLOTS, 1)), ends[:, :, :-1]], axis=2)
    flat = passed.reshape(rows, -1)
    start, end = (np.argsort(when.reshape(rows, -1), axis=1, kind="stable") for when in (starts, ends))
    return np.take_along_axis(flat, start, axis=1), np.take_along_axis(flat, end, axis=1)


def _clustered(icc: float, sizes: np.ndarray, rows: int, rng: np.random.Generator) -> FloatArray:
    """Totals of clusters whose rates are Beta with mean .80."""
    a = (1 - icc) / icc
    return rng.binomial(sizes, rng.beta(0.8 * a, 0.2 * a, size=(rows, len(sizes)))).astype(np.float64)


def _false_support(run: Run) -> Outcome:
    runs, block = run.times(whole=4_000, sample=400), 200
    rows, worst = [], 0.0
    for kind, null, alternative, other in run.cells(NULLS, sample=4):
        rng = run.rng("B5", kind, null, alternative)
        plans = [_plan(kind, null, alternative, mode=mode, n_max=STEPS, **other) for mode in ("open-ended", "hybrid")]
        found, naive = np.zeros(2), 0.0
        for _ in range(runs // block):
            x = _cases(kind, null, other, block, rng)
            found += [float(np.mean(stopping_runs(plan, x).supported)) for plan in plans]
            naive += _z_test(x, null)
        shares = found / (runs // block)
        worst = max(worst, float(shares.max()))
        shown = f"open-ended {shares[0]:.3f}, hybrid {shares[1]:.3f}, z test at every case {naive / (runs // block):.2f}"
        about = "".join(f", {name} {value:g}" for name, value in other.items())
        rows.append(f"{kind} at {null:g} (effect {alternative:g}{about}): {shown}")
    rng = run.rng("B5", "in flight")
    plan = _plan("rate", 0.8, 0.9, mode="open-ended", n_max=STEPS)
    shares = np.zeros(2)
    for _ in range(runs // block):
        shares += [float(np.mean(stopping_runs(plan, x).supported)) for x in _flown(block, rng)]
    recorded, completed = shares / (runs // block)
    worst = max(worst, float(recorded))
    rows.append(f"{SLOTS} in flight, failures 1.3 times slower: recorded order {recorded:.3f}, order of completion {completed:.3f}")
    sizes = np.minimum(np.ceil(run.rng("B5", "sizes").lognormal(1.0, 0.7, CLUSTERS)), 12).astype(np.int64)
    for icc in (0.1, 0.3, 0.6):
        rng = run.rng("B5", "clusters", icc)
        whole = _plan("rate", 0.8, 0.9, mode="open-ended", n_max=CLUSTERS, largest_cluster=int(sizes.max()), icc=icc)
        single = _plan("rate", 0.8, 0.9, mode="open-ended", n_max=int(sizes.sum()))
        both = np.zeros(2)
        for _ in range(runs // block):
            totals = _clustered(icc, sizes, block, rng)
            # the same answers one by one: within a cluster the passes in a random place among the fails
            u = rng.uniform(size=(block, int(sizes.sum())))
            ranks = np.empty_like(u)
            for end, size in zip(np.cumsum(sizes), sizes, strict=True):
                ranks[:, end - size : end] = u[:, end - size : end].argsort(axis=1).argsort(axis=1)
            one_by_one = (ranks < np.repeat(totals, sizes, axis=1)).astype(np.float64)
            both += [
                float(np.mean(stopping_runs(whole, totals, sizes=sizes).supported)),
                float(np.mean(stopping_runs(single, one_by_one).supported)),
            ]
        both /= runs // block
        worst = max(worst, float(both[0]))
        rows.append(f"{CLUSTERS} clusters of 1 to {sizes.max()}, ICC {icc:g}: whole clusters {both[0]:.3f}, one by one {both[1]:.3f}")
    allowed = ALPHA if run.whole else ALPHA + noise(ALPHA, runs)
    error = float(np.sqrt(ALPHA * (1 - ALPHA) / runs))
    figure = f"at most {worst:.3f} of {runs} runs a cell falsely supported, looking after each of {STEPS} (MC error {error:.3f})"
    return Outcome(worst <= allowed, figure, tuple(rows))


# ---------------------------------------------------------------- B6

DESIGNS: list[tuple[str, float, float, dict[str, float], dict[str, float]]] = [
    (
        "paired",
        0.0,
        0.1,
        {"discordance": 0.3},
        {"-d": -0.1, "-d/2": -0.05, "0": 0.0, "d/2": 0.05, "d": 0.1, "1.5d": 0.15, "2d": 0.2, "3d": 0.3},
    ),
    ("rate", 0.8, 0.9, {}, {"-d": 0.7, "-d/2": 0.75, "0": 0.8, "d/2": 0.85, "d": 0.9, "1.5d": 0.95, "2d": 0.99}),
]


def _savings(run: Run) -> Outcome:
    runs = run.times(whole=4_000, sample=500)
    rows, held, figures = [], True, []
    for kind, null, alternative, other, truths in DESIGNS:
        size = fixed_size(kind, null=null, alternative=alternative, alpha=ALPHA, **other)  # type: ignore[arg-type]
        open_ended = _plan(kind, null, alternative, mode="open-ended", **other)
        looked = _plan(kind, null, alternative, mode="planned-looks", **other)
        hybrid = _plan(kind, null, alternative, **other)

        def at(plan: StoppingPlan, name: str, look_every: int) -> StoppingForecast:
            rng = run.rng("B6", kind, plan.mode, name)  # noqa: B023 (called within the loop)
            return stopping_forecast(plan, truths[name], rng=rng, runs=runs, look_every=look_every)  # noqa: B023

        found = {name: at(hybrid, name, 10) for name in truths}
        power = found["d"].supported
        equal = fixed_size(kind, null=null, alternative=alternative, alpha=ALPHA, power=power, **other)  # type: ignore[arg-type]
        rows.append(f"{kind}: fixed size {size}; {equal} for the hybrid's power of {power:.2f}")
        for name, one in found.items():
            free, five = (at(plan, name, 1) for plan in (open_ended, looked))
            rows.append(
                f"  {name:>4}: hybrid saves {one.saved:4.0%} (at equal power {1 - one.mean_units / equal:4.0%}), supported"
                f" {one.supported:.3f}, most {one.most_units}; open-ended {free.saved:4.0%}, supported {free.supported:.3f};"
                f" five looks {five.saved:4.0%}, supported {five.supported:.3f}"
            )
        without = [one for name, one in found.items() if name != "d/2"]
        means = [float(np.mean([1 - one.mean_units / n for one in those])) for n in (size, equal) for those in (without, found.values())]
        figures.append(f"{kind} {means[0]:.1%} (with +d/2 {means[1]:.1%}; at equal power {means[2]:.1%} and {means[3]:.1%})")
        within = all(one.most_units <= size for one in found.values())
        at_null = found["0"].supported <= ALPHA + (0 if run.whole else noise(ALPHA, runs))
        held &= within and at_null and means[0] >= 0.5 - (0 if run.whole else 0.02)
    return Outcome(held, "mean saving " + "; ".join(figures) + ", never above the cap", tuple(rows))


# ---------------------------------------------------------------- B7


def _bank(run: Run) -> Outcome:
    runs = run.times(whole=4_000, sample=400)
    rows, most_used, most_wrong = [], 0.0, 0.0
    for threshold, size in ((0.8, 500), (0.8, 200), (0.9, 500), (0.7, 500), (0.5, 500)):
        plan = _plan("rate", threshold, threshold + 0.1 if threshold < 0.9 else 0.98, mode="finite-bank", bank=size)
        shown = []
        for away in (-0.2, -0.1, -0.05, -0.01, 0.05, 0.1, 0.15):
            truth = round(threshold + away, 10)
            if truth > 1:
                continue
            one = stopping_forecast(plan, truth, rng=run.rng("B7", threshold, size, away), runs=runs)
            used, wrong = 1 - one.saved, one.supported if away < 0 else one.refuted
            shown.append(f"{truth:.2f} uses {used:.0%} (wrong {wrong:.3f})")
            if (threshold, size) == (0.8, 500):
                most_wrong = max(most_wrong, wrong)
                most_used = max(most_used, used) if abs(away) >= 0.1 else most_used
        rows.append(f"{size} cases, threshold {threshold:g}: " + ", ".join(shown))
    allowed = ALPHA if run.whole else ALPHA + noise(ALPHA, runs)
    figure = f"threshold .80: {most_used:.1%} of the bank used at most, wrong in at most {most_wrong:.3f} at any rate ({runs} runs)"
    return Outcome(most_used <= 0.2 and most_wrong <= allowed, figure, tuple(rows))


BARS = [
    Bar("B5", "wrongly supported in at most .05 when looking after every response, in recorded order, clusters whole", _false_support),
    Bar("B6", "a hybrid saves at least 50% on average over -d, -d/2, 0, d, 1.5d, 2d, 3d, and never exceeds its cap", _savings),
    Bar("B7", "a bank of 500 needs at most 20% of its cases at .10 or more from a threshold of .80, wrong in at most .05", _bank),
]
