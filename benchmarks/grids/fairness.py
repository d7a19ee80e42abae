"""Does a grader treat groups alike: how often a fair one is accused, and a harsh one found (bar B14)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from benchmarks.grids.run import Bar, Outcome, Run, noise
from fairmark.stats.fairness import class_reading, grader_by_group, hull_verdict, quality_reading, single_marks_by_group, untested
from fairmark.stats.intervals import FloatArray, IntArray

Z = float(ndtri(0.975))
HARSHER = 0.2


@dataclass(frozen=True, slots=True)
class Classes:
    """Good and bad answers; people slip, the grader errs. Pairs hold the two groups."""

    good: tuple[float, float]
    slip_good: tuple[float, float]  # a person marks a good answer as bad
    slip_bad: tuple[float, float]
    error: float = 0.1  # of the grader, on good and on bad answers
    harsher: tuple[float, float] = (0.0, 0.0)  # how many more good answers the grader fails
    laxer: tuple[float, float] = (0.0, 0.0)  # how many more bad answers it passes
    traps: tuple[float, float] = (0.0, 0.0)  # answers on which each person and the grader are wrong in 7 of 10
    n: int = 200

    def draw(self, rng: np.random.Generator, studies: int) -> FloatArray:
        tables = np.empty((studies, 2, 6))
        for g in range(2):
            p = np.zeros(6)
            a, b, t = self.slip_good[g], self.slip_bad[g], self.traps[g]
            se, sp = 1 - self.error - self.harsher[g], 1 - self.error - self.laxer[g]
            for share, marked_good, passed in (
                (self.good[g] * (1 - t), 1 - a, se),
                ((1 - self.good[g]) * (1 - t), b, 1 - sp),
                (self.good[g] * t, 0.3, 0.3),
                ((1 - self.good[g]) * t, 0.7, 0.7),
            ):
                marks = np.array([(1 - marked_good) ** 2, 2 * marked_good * (1 - marked_good), marked_good**2])
                p += share * np.outer(marks, [1 - passed, passed]).ravel()
            tables[:, g] = rng.multinomial(self.n, p, size=studies)
        return tables


@dataclass(frozen=True, slots=True)
class Continuum:
    """Answers of normal quality; people and the grader each see it with noise and draw a line."""

    good: tuple[float, float]
    noise: float  # of a person
    grader_noise: float = 0.4
    harsher: tuple[float, float] = (0.0, 0.0)  # how many more truly good answers the grader fails: its line is that much higher
    n: int = 200

    def draw(self, rng: np.random.Generator, studies: int) -> FloatArray:
        tables = np.empty((studies, 2, 6))
        for g in range(2):
            quality = rng.normal(float(ndtri(self.good[g])), 1, size=(studies, self.n))
            k = sum((quality + rng.normal(0, self.noise, quality.shape) > 0).astype(np.int64) for _ in range(2))
            said = quality + rng.normal(0, self.grader_noise, quality.shape) > self.line(g)
            cell = 2 * k + said + 6 * np.arange(studies)[:, None]
            tables[:, g] = np.bincount(cell.ravel(), minlength=6 * studies).reshape(studies, 6)
        return tables

    def line(self, g: int) -> float:
        """Where the grader passes that much fewer of the truly good answers than with the line at 0."""
        if self.harsher[g] == 0:
            return 0.0
        x = np.linspace(0, 8, 2001)
        density = np.exp(-((x - float(ndtri(self.good[g]))) ** 2) / 2)
        lines = np.linspace(0, 3, 301)
        passed = np.array([np.sum(density * ndtr((x - line) / self.grader_noise)) / np.sum(density) for line in lines])
        return float(lines[np.argmax(passed <= passed[0] - self.harsher[g])])


Scene = Classes | Continuum


def both(x: float) -> tuple[float, float]:
    return (x, x)


def fair_scenes() -> list[tuple[str, Scene]]:
    scenes: list[tuple[str, Scene]] = []
    for good in ((0.75, 0.75), (0.9, 0.6), (0.95, 0.5)):
        for slip in (0.0, 0.02, 0.05, 0.1):
            for error in (0.1, 0.15):
                scenes.append((f"slip {slip:g}, error {error:g}, good {show(good)}", Classes(good, both(slip), both(slip), error)))
        differ = (0.02, 0.1)
        scenes.append((f"slips differ, .02/.10, good {show(good)}", Classes(good, differ, differ)))
        scenes.append((f"slips differ, .10/.02, good {show(good)}", Classes(good, differ[::-1], differ[::-1])))
        scenes.append((f"people harsh on the second group only, good {show(good)}", Classes(good, differ, both(0.02))))
        for share in (0.05, 0.1):
            scenes.append((f"traps fool all, {share:g}, good {show(good)}", Classes(good, both(0.03), both(0.03), traps=both(share))))
            scenes.append(
                (f"traps in the second group only, {share:g}, good {show(good)}", Classes(good, both(0.03), both(0.03), traps=(0, share)))
            )
    for good in ((0.75, 0.75), (0.8, 0.6), (0.9, 0.6)):
        for spread in (0.1, 0.3, 0.5):
            scenes.append((f"quality by degrees, people's noise {spread:g}, good {show(good)}", Continuum(good, spread)))
    return scenes


def unfair_scenes() -> list[tuple[str, bool, Scene]]:
    """What it is called, whether base rates differ by at most 10 points, and the scene with a grader 20 points harsher."""
    scenes: list[tuple[str, bool, Scene]] = []
    for good, near, harsh, which in (
        ((0.75, 0.75), True, (0.0, HARSHER), "one group"),
        ((0.8, 0.7), True, (0.0, HARSHER), "the weaker"),
        ((0.8, 0.7), True, (HARSHER, 0.0), "the stronger"),
        ((0.9, 0.6), False, (HARSHER, 0.0), "the stronger"),
        ((0.9, 0.6), False, (0.0, HARSHER), "the weaker"),
    ):
        for slip in (0.0, 0.05, 0.1):
            scenes.append(
                (f"good {show(good)}, harsher on {which}, slip {slip:g}", near, Classes(good, both(slip), both(slip), harsher=harsh))
            )
        for spread in (0.1, 0.3):
            name = f"good {show(good)}, harsher on {which}, quality by degrees, people's noise {spread:g}"
            scenes.append((name, near, Continuum(good, spread, harsher=harsh)))
    return scenes


def uncounted_scenes() -> list[tuple[str, Scene]]:
    """Where less can be seen, and what cannot be seen at all."""
    even, slip = (0.75, 0.75), both(0.05)
    found: list[tuple[str, Scene]] = []
    for n in (100, 150):
        found.append((f"20 points, even, {n} cases a group", Classes(even, slip, slip, harsher=(0.0, HARSHER), n=n)))
    for n in (400, 600):
        found.append((f"10 points, even, {n} cases a group", Classes(even, slip, slip, harsher=(0.0, 0.1), n=n)))
    found.append(("10 points on the stronger of .9/.6, 600 cases a group", Classes((0.9, 0.6), slip, slip, harsher=(0.1, 0.0), n=600)))
    found.append(("10 points on the weaker of .9/.6, 600 cases a group", Classes((0.9, 0.6), slip, slip, harsher=(0.0, 0.1), n=600)))
    found.append(("20 points more bad answers passed, even, 400 cases a group", Classes(even, slip, slip, laxer=(0.0, HARSHER), n=400)))
    people = replace(Classes(even, (0.05, 0.25), slip), harsher=(0.0, HARSHER))
    found.append(("people as harsh on that group as the grader, each by itself", people))
    # both harsh on the same answers: these count as bad for everyone, and no mark shows that they are good
    found.append(("people harsh on the very answers that the grader is harsh on", Classes((0.75, 0.75 * 0.8), slip, slip)))
    found.append(
        ("people's noise .5 (beyond 10% slips), by degrees, on the stronger of .9/.6", Continuum((0.9, 0.6), 0.5, harsher=(HARSHER, 0.0)))
    )
    return found


def show(good: tuple[float, float]) -> str:
    return f"{good[0]:.2f}/{good[1]:.2f}"


def verdicts(tables: FloatArray) -> dict[str, float]:
    """How often the shipped rule says what, over studies; and how often the class reading alone would accuse."""
    by_class, by_quality = class_reading(tables), quality_reading(tables)
    ends = [(one.difference - Z * one.se, one.difference + Z * one.se) for one in (by_class, by_quality)]
    dropped = untested(tables, by_class)
    said = np.where(dropped, "NOT_TESTED", hull_verdict(*ends))
    shares = {word: float(np.mean(said == word)) for word in ("DIFFERENT", "CANNOT_TELL_BORDERLINE", "ALIKE", "UNDECIDED", "NOT_TESTED")}
    shares["class"] = float(np.mean(((ends[0][0] > 0) | (ends[0][1] < 0)) & ~dropped))
    return shares


def raw_accused(tables: FloatArray) -> float:
    """How often sensitivity and specificity against one mark would differ, by z tests at 2.5% each: the naive method."""
    one = np.stack(
        [tables[..., i] + tables[..., 2 + i] / 2 for i in range(2)] + [tables[..., 4 + i] + tables[..., 2 + i] / 2 for i in range(2)],
        axis=-1,
    )
    accused = np.zeros(len(tables), dtype=bool)
    for right, wrong in ((3, 2), (0, 1)):
        n = one[..., right] + one[..., wrong]
        p = (one[..., right] + 0.5) / (n + 1)
        z = (p[:, 0] - p[:, 1]) / np.sqrt(np.sum(p * (1 - p) / (n + 1), axis=-1))
        accused |= np.abs(z) > float(ndtri(1 - 0.0125))
    return float(np.mean(accused))


def b14_fair(run: Run) -> Outcome:
    studies = run.times(whole=2000, sample=400)
    rows, worst, mean, naive, lone = [], 0.0, [], [], []
    for name, scene in run.cells(fair_scenes(), sample=12):
        tables = scene.draw(run.rng("B14", name), studies)
        shares = verdicts(tables)
        worst = max(worst, shares["DIFFERENT"])
        mean.append(shares["DIFFERENT"])
        lone.append(shares["class"])
        naive.append(raw_accused(tables))
        rows.append(
            f"{name}: called unfair {shares['DIFFERENT']:.3f} (class reading alone {shares['class']:.3f}, one mark {naive[-1]:.2f}), "
            f"cannot tell {shares['CANNOT_TELL_BORDERLINE']:.3f}, not tested {shares['NOT_TESTED']:.3f}"
        )
    allowed = 0.05 if run.whole else 0.05 + noise(0.05, studies)
    figure = (
        f"at most {worst:.3f} in {len(mean)} cells of {studies} studies, mean {np.mean(mean):.3f}; the class reading alone "
        f"{max(lone):.3f}, one human mark {max(naive):.2f}"
    )
    return Outcome(worst <= allowed, figure, tuple(rows))


def b14_found(run: Run) -> Outcome:
    studies = run.times(whole=2000, sample=300)
    rows, near_least, far_least = [], 1.0, 1.0
    for name, near, scene in run.cells(unfair_scenes(), sample=15):
        shares = verdicts(scene.draw(run.rng("B14b", name), studies))
        found, seen = shares["DIFFERENT"], shares["DIFFERENT"] + shares["CANNOT_TELL_BORDERLINE"]
        if near:
            near_least = min(near_least, found)
        else:
            far_least = min(far_least, seen)
        rows.append(f"{name}: called unfair {found:.3f}, or cannot tell {seen:.3f}, not tested {shares['NOT_TESTED']:.3f}")
    for name, scene in uncounted_scenes() if run.whole else ():
        shares = verdicts(scene.draw(run.rng("B14b", name), studies))
        found, seen = shares["DIFFERENT"], shares["DIFFERENT"] + shares["CANNOT_TELL_BORDERLINE"]
        rows.append(f"not counted, {name}: called unfair {found:.3f}, or cannot tell {seen:.3f}, not tested {shares['NOT_TESTED']:.3f}")
    least = 0.8 if run.whole else 0.8 - noise(0.8, studies)
    figure = f"found in at least {near_least:.3f} of studies where base rates are near, and not passed over in {far_least:.3f} beyond"
    return Outcome(min(near_least, far_least) >= least, figure, tuple(rows))


def clustered(rng: np.random.Generator, harsher: float) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
    """Marks, grades, groups and clusters: 20 clusters of 10 cases a group that are alike in quality and in how the grader errs."""
    group = np.repeat([0, 1], 200)
    cluster = np.arange(400) // 10
    good = rng.uniform(size=400) < np.repeat(rng.beta(3, 1, 40), 10)  # 75% good, correlation .2 within a cluster
    error = np.repeat(rng.beta(0.233, 2.1, 40), 10) + harsher * group * good  # 10%, correlation .3
    marks = np.column_stack([good ^ (rng.uniform(size=400) < 0.05) for _ in range(2)]).astype(np.float64)
    return marks, (good ^ (rng.uniform(size=400) < error)).astype(np.float64), group, cluster


def levelled(rng: np.random.Generator, good: tuple[float, float], lower: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """Marks and grades from 0 to 3 of 200 cases a group; the grader marks a share of the second group's a level down."""
    group = np.repeat([0, 1], 200)
    quality = rng.normal(ndtri(np.array(good))[group], 1)
    marks = np.column_stack([np.digitize(quality + rng.normal(0, 0.3, 400), (-0.8, 0.0, 0.8)) for _ in range(2)]).astype(np.float64)
    grader = np.digitize(quality + rng.normal(0, 0.4, 400), (-0.8, 0.0, 0.8))
    down = (group == 1) & (rng.uniform(size=400) < lower)
    return marks, np.maximum(grader - down, 0).astype(np.float64), group


def b14_kinds(run: Run) -> Outcome:
    rows, worst = [], 0.0
    studies = run.times(whole=400, sample=40)
    for name, harsher in (("fair", 0.0), ("20 points harsher", HARSHER)):
        rng = run.rng("B14c", "clusters", name)
        said, ignoring = [], []
        for _ in range(studies):
            marks, grader, group, cluster = clustered(rng, harsher)
            said.append(grader_by_group(marks, grader, group, cluster, rng=rng).pairs[0].verdict == "DIFFERENT")
            ignoring.append(grader_by_group(marks, grader, group).pairs[0].verdict == "DIFFERENT")
        rows.append(f"20 clusters of 10 a group, {name}: called unfair {np.mean(said):.3f} (clusters ignored {np.mean(ignoring):.3f})")
        worst = max(worst, float(np.mean(said))) if name == "fair" else worst
    few = run.times(whole=250, sample=12)
    for name, good, lower in (
        ("fair, even", (0.6, 0.6), 0.0), ("fair, uneven", (0.7, 0.5), 0.0), ("a fifth marked a level down, even", (0.6, 0.6), 0.2),
    ):  # fmt: skip
        rng = run.rng("B14c", "levels", name)
        said = [grader_by_group(*levelled(rng, good, lower), levels=4, rng=rng).pairs[0].verdict == "DIFFERENT" for _ in range(few)]
        rows.append(f"four levels, {name}: called unfair {np.mean(said):.3f}")
        worst = max(worst, float(np.mean(said))) if lower == 0 else worst
    for name, scene in (
        ("fair, slip 0.05", Classes((0.9, 0.6), both(0.05), both(0.05), n=400)),
        ("fair, slip 0.1", Classes((0.9, 0.6), both(0.1), both(0.1), n=400)),
        ("20 points harsher, slip 0.05", Classes((0.75, 0.75), both(0.05), both(0.05), harsher=(0.0, HARSHER), n=400)),
    ):
        d = scene.draw(run.rng("B14c", "single", name), run.times(whole=400, sample=40))
        # one of the two marks of a case: of cases with one good mark it is the good one half of the time
        first = run.rng("B14c", "first", name).binomial(d[..., 2:4].astype(np.int64), 0.5)
        single = np.concatenate([d[..., :2] + d[..., 2:4] - first, d[..., 4:] + first], axis=-1)
        said = [single_marks_by_group(one, slip_at_most=0.1).verdict == "CANNOT_TELL_BORDERLINE" for one in single]
        rows.append(f"single marks, 400 a group, slips up to .1 declared, {name}: cannot tell {np.mean(said):.3f}, never called unfair")
        worst = max(worst, float(np.mean(said))) if name.startswith("fair") else worst
    figure = f"at most {worst:.3f}, with {noise(0.05, few):.3f} of simulation noise allowed for {few} to {studies} studies"
    return Outcome(worst <= 0.05 + noise(0.05, few), figure, tuple(rows))


BARS = [
    Bar("B14", "a fair grader is called unfair to a group in at most 5% of studies, whatever people's slips up to 10%", b14_fair),
    Bar("B14b", "a grader 20 points harsher on one group is found in 80% of studies with 200 doubly marked cases a group", b14_found),
    Bar("B14c", "with clusters, levels or single marks a fair grader is called unfair in at most 5% of studies", b14_kinds),
]
