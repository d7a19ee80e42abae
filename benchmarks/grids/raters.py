"""Many graders: ranks, severities, dependability and advice, each against a known truth."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import expit

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark import stats
from fairmark.stats.rasch import level_moments

EQUAL, PAIRS, SPACED = "all equal", "equal pairs", "evenly spaced"


def ranks(run: Run) -> tuple[float, list[str]]:
    """How often Bradley-Terry's rank intervals hold every player's true ranks at once."""
    cells = list(itertools.product((4, 8), (12, 40, 150), (EQUAL, PAIRS, SPACED), (0.0, 0.6)))
    times = run.times(whole=600, sample=60)
    held, wide = [], []
    for players, cases, kind, spread in run.cells(cells, sample=9):
        rng = run.rng("ranks", players, cases, kind, spread)
        truth = {EQUAL: np.zeros(players), PAIRS: np.arange(players) // 2 * 0.6, SPACED: np.linspace(-1, 1, players)}[kind]
        first_rank = 1 + np.sum(truth[:, None] < truth, axis=1)
        last_rank = players - np.sum(truth[:, None] > truth, axis=1)
        good = 0
        runs = 0
        for _ in range(times):
            n = max(cases, 40) * players
            first = rng.integers(0, players, n)
            second, case = (first + rng.integers(1, players, n)) % players, rng.integers(0, cases, n)
            own = truth + rng.normal(0, spread, (cases, players))
            outcome = (rng.random(n) < expit(own[case, first] - own[case, second])).astype(np.float64)
            found = stats.bradley_terry(first, second, outcome, case, draws=499, rng=rng)
            if found.refused is not None:
                continue
            runs += 1
            good += all(
                one.rank_low <= first_rank[int(one.name)] and last_rank[int(one.name)] <= one.rank_high for one in found.ranking.ranked
            )
            wide.append(float(np.mean([one.rank_high - one.rank_low for one in found.ranking.ranked])) / (players - 1))
        held.append((good / runs, f"{players} players, {cases} cases, {kind}, spread {spread}"))
    low, where = min(held)
    equal = [share for share, cell in held if EQUAL in cell]
    rows = [
        f"ranks at once: min {low:.3f} ({where}), mean {np.mean([share for share, _ in held]):.3f}, "
        f"all equal {min(equal):.3f} to {max(equal):.3f}; {len(held)} cells of {times}",
        f"width of rank intervals: {np.mean(wide):.2f} of what is possible",
    ]
    return low, rows


def severities(run: Run) -> tuple[float, list[str]]:
    """How often the interval of a rater's severity in points holds the truth."""
    cells = list(itertools.product((30, 60, 200), (1, 3), (0.0, 0.3), (0.8, 1.6)))
    times = run.times(whole=250, sample=40)
    threshold, harsh = np.array([-1.2, 0.0, 1.2]), np.array([-0.6, -0.1, 0.2, 0.5])
    shares, bias, refused = [], [], 0
    for n, criteria, missing, spread in run.cells(cells, sample=6):
        rng = run.rng("severities", n, criteria, missing, spread)
        hits, off = [], []
        for _ in range(times):
            ability = rng.normal(0, spread, n)
            eta = ability[:, None, None] - harsh[:, None] - np.linspace(-0.4, 0.4, criteria) * (criteria > 1)
            climb = np.concatenate([np.zeros((*eta.shape, 1)), np.cumsum(eta[..., None] - threshold, axis=-1)], axis=-1)
            odds = np.cumsum(np.exp(climb), axis=-1)
            marks = np.sum(rng.random(eta.shape)[..., None] * odds[..., -1:] > odds[..., :-1], axis=-1)
            kept = rng.random(marks.size) >= missing
            response, rater, criterion = (axis.ravel()[kept] for axis in np.indices(marks.shape))
            found = stats.many_facet_rasch(marks.ravel()[kept], response, rater, criterion)
            if found.refused is not None:
                refused += 1
                continue
            middle = np.array([ability.mean()])
            points = level_moments(middle, threshold)[0] - level_moments(middle - harsh, threshold)[0]
            for one, truth in zip(found.raters, points, strict=True):
                assert one.points is not None
                assert one.low is not None
                assert one.high is not None
                hits.append(one.low <= truth <= one.high)
                off.append(one.points - truth)
        shares.append((float(np.mean(hits)), f"{n} responses, {criteria} criteria, {missing:.0%} missing, spread {spread}"))
        bias.append(float(np.abs(np.reshape(off, (-1, 4)).mean(axis=0)).max()))
    low, where = min(shares)
    rows = [
        f"severity: min {low:.3f} ({where}), mean {np.mean([share for share, _ in shares]):.3f}; {len(shares)} cells of {times} x 4 raters",
        f"severity: largest bias {max(bias):.3f} points, {refused} refused",
    ]
    return low, rows


def dependability(run: Run) -> tuple[float, list[str]]:
    """How often the intervals of E rho2 and Phi hold the truth."""
    cells = list(itertools.product((15, 30, 100), (3, 8), (0.4, 1.0), (0.3, 0.8)))
    times = run.times(whole=600, sample=80)
    shares = []
    for n, graders, case, grader in run.cells(cells, sample=6):
        rng = run.rng("dependability", n, graders, case, grader)
        truth = case**2 / (case**2 + 1 / graders), case**2 / (case**2 + (1 + grader**2) / graders)
        hits = []
        for _ in range(times):
            marks = rng.normal(0, case, n)[:, None] + rng.normal(0, grader, graders) + rng.normal(size=(n, graders))
            c, g = (axis.ravel() for axis in np.indices(marks.shape))
            found = stats.g_study(marks.ravel(), {"case": c, "grader": g}, object_of_measurement="case").observed
            if found is None or found.refused is not None or found.e_rho2_low is None or found.e_rho2_high is None:
                continue
            assert found.phi_low is not None
            assert found.phi_high is not None
            hits.append([found.e_rho2_low <= truth[0] <= found.e_rho2_high, found.phi_low <= truth[1] <= found.phi_high])
        shares.append(np.mean(hits, axis=0))
    found_shares = np.array(shares)
    rows = [
        f"E rho2: min {found_shares[:, 0].min():.3f}, mean {found_shares[:, 0].mean():.3f}; Phi: min {found_shares[:, 1].min():.3f}, "
        f"mean {found_shares[:, 1].mean():.3f}; {len(shares)} cells of {times}"
    ]
    return float(found_shares.min()), rows


def advice(run: Run) -> tuple[float, list[str]]:
    """How much of the best saving for a dollar is had by following the advice, where it is given."""
    spreads = [
        (1.5, 0.3, 0.1, 0.2, 0.5),
        (0.5, 1.2, 0.1, 0.2, 0.5),
        (0.5, 0.3, 0.8, 0.3, 0.5),
        (0.6, 0.4, 0.2, 0.4, 1.0),
        (1, 0.5, 0.3, 0.3, 0.7),
    ]
    cells = list(itertools.product(spreads, (20, 60), (0.05, 0.50)))
    times = run.times(whole=150, sample=15)
    given, right, worth, all_studies = 0, 0, [], 0
    k, j = 3, 4
    for spread, n, cost_case in run.cells(cells, sample=8):
        rng = run.rng("advice", spread, n, cost_case)
        part = np.square(spread)

        def variance(n: int, k: int, j: int, part: np.ndarray = part) -> float:
            return float(part @ [1 / n, 1 / (n * k), 1 / j, 1 / (n * j), 1 / (n * k * j)])

        price = {
            "buy one more case": cost_case + 0.01 * k + 0.02 * k * j,
            "buy one more answer to every case": n * (0.01 + 0.02 * j),
            "buy one more grader for every answer": n * k * 0.02,
        }
        after = [variance(n + 1, k, j), variance(n, k + 1, j), variance(n, k, j + 1)]
        saving = {name: (variance(n, k, j) - one) / price[name] for name, one in zip(price, after, strict=True)}
        for _ in range(times):
            c, r, g = (axis.ravel() for axis in np.indices((n, k, j)))
            y = rng.normal(0, spread[0], n)[c] + rng.normal(0, spread[1], (n, k))[c, r] + rng.normal(0, spread[2], j)[g]
            y = y + rng.normal(0, spread[3], (n, j))[c, g] + rng.normal(0, spread[4], len(c))
            found = stats.next_dollar(y, c, g, r, cost_case=cost_case, cost_call=0.01, cost_grade=0.02, draws=200, rng=rng)
            all_studies += 1
            if found.advice in saving:
                given += 1
                right += saving[found.advice] == max(saving.values())
                worth.append(saving[found.advice] / max(saving.values()))
    rows = [
        f"advice: given in {given / all_studies:.0%} of {all_studies} studies, then the best in {right / given:.1%} "
        f"and worth {np.mean(worth):.1%} of the best saving"
    ]
    return right / given, rows


def many_graders(run: Run) -> Outcome:
    lows, rows = [], []
    for measure in (ranks, severities, dependability, advice):
        low, lines = measure(run)
        lows.append(low)
        rows += lines
    # a sample's cells have few runs: what chance takes from one of them is allowed there
    allowed = [0.0] * 4 if run.whole else [noise(0.95, 60), noise(0.95, 160), noise(0.95, 80), noise(0.9, 120)]
    bars = (0.93, 0.92, 0.92, 0.85)
    held = all(low >= bar - extra for low, bar, extra in zip(lows, bars, allowed, strict=True))
    figure = f"worst cells: ranks {lows[0]:.3f}, severities {lows[1]:.3f}, dependability {lows[2]:.3f}; advice the best {lows[3]:.3f}"
    return Outcome(held, figure, tuple(rows))


BARS = [
    Bar(
        "B17",
        "95% rank intervals hold all true ranks at once in >= 93% of each cell, severities and dependability are covered in >= 92%, "
        "advice that is given is the best in >= 85%",
        many_graders,
    )
]
