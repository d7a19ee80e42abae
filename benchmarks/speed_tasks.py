"""One task by one package, timed in a process of its own: `python benchmarks/speed_tasks.py TASK PACKAGE`.

Prints one JSON object: the package's version, the median seconds of three runs after a warm-up, the peak memory of the
process, and the figure that was computed. Every package gets the same seeded data, in the form in which it takes it; making
that form is not timed. A package that is not installed here is said to be missing.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # this folder holds a `statistics` that would hide the standard library's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

Work = Callable[[], Any]


def rng() -> np.random.Generator:
    return np.random.default_rng(20_261_125)


def marks(items: int, raters: int, levels: int = 5) -> np.ndarray:
    """Items x raters with a tenth missing; raters agree with a hidden level seven times in ten."""
    draw = rng()
    hidden = draw.integers(1, levels + 1, (items, 1))
    said = np.where(draw.uniform(size=(items, raters)) < 0.7, hidden, draw.integers(1, levels + 1, (items, raters))).astype(np.float64)
    said[draw.uniform(size=said.shape) < 0.1] = np.nan
    return said


# ---------------------------------------------------------------- agreement


def alpha(package: str, metric: str) -> Work:
    values = marks(100_000, 10)
    if package == "krippendorff":
        import krippendorff

        return lambda: krippendorff.alpha(reliability_data=values.T, level_of_measurement=metric)
    from fairmark.stats import krippendorff_alpha

    return lambda: krippendorff_alpha(values, metric=metric).value  # type: ignore[arg-type]


def ac(package: str) -> Work:
    values = marks(20_000, 5)
    if package == "irrCAC":
        import pandas as pd
        from irrCAC.raw import CAC

        frame = pd.DataFrame(values)
        return lambda: CAC(frame).gwet()["est"]["coefficient_value"]
    from fairmark.stats import gwet

    return lambda: gwet(values).value


def fleiss(package: str) -> Work:
    draw = rng()
    counts = draw.multinomial(10, [0.1, 0.2, 0.4, 0.3], size=100_000)
    if package == "statsmodels":
        from statsmodels.stats.inter_rater import fleiss_kappa

        return lambda: fleiss_kappa(counts)
    from fairmark.stats import fleiss_kappa as ours

    return lambda: ours(counts).value


def kappa(package: str) -> Work:
    draw = rng()
    reference = draw.integers(0, 4, 1_000_000)
    said = np.where(draw.uniform(size=1_000_000) < 0.7, reference, draw.integers(0, 4, 1_000_000))
    if package == "statsmodels":
        from statsmodels.stats.inter_rater import cohens_kappa, to_table

        pairs = np.column_stack([reference, said])
        return lambda: cohens_kappa(to_table(pairs)[0]).kappa
    from fairmark.stats import cohen_kappa, confusion_matrix

    return lambda: cohen_kappa(confusion_matrix(reference, said, 4)).value  # type: ignore[arg-type]


# ---------------------------------------------------------------- means and comparisons


def mean(package: str) -> Work:
    draw = rng()
    cluster = draw.integers(0, 10_000, 1_000_000)
    y = (draw.uniform(size=1_000_000) < 0.7 + 0.1 * draw.standard_normal(10_000)[cluster]).astype(np.float64)
    if package == "statsmodels":
        import statsmodels.api as sm

        ones = np.ones(len(y))
        return lambda: sm.OLS(y, ones).fit(cov_type="cluster", cov_kwds={"groups": cluster}).bse[0]
    from fairmark.stats import clustered_mean, korn_graubard

    return lambda: (korn_graubard(y, cluster), clustered_mean(y, cluster).se)[1]


def flips(package: str) -> Work:
    draw = rng()
    differences = np.round(draw.normal(0.05, 0.4, 10_000).clip(-1, 1), 2)
    if package == "scipy":
        from scipy import stats

        def test() -> float:
            return float(
                stats.permutation_test(
                    (differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=9_999, vectorized=True,
                    alternative="greater", batch=200,
                ).pvalue
            )  # fmt: skip

        return test
    from fairmark.stats import PairedIntervals, one_sided_p

    return lambda: one_sided_p(PairedIntervals(differences, np.arange(10_000), single=False, rng=rng()).at, 0.0, "low")


def many(package: str) -> Work:
    p = rng().uniform(size=100_000) ** 3
    if package == "statsmodels":
        from statsmodels.stats.multitest import multipletests

        return lambda: multipletests(p, method="holm")[1][0]
    from fairmark.stats import holm

    return lambda: holm(p)[0]  # type: ignore[arg-type]


# ---------------------------------------------------------------- graders and rankings


def ppi(package: str) -> Work:
    draw = rng()
    truth = draw.beta(4, 2, 101_000)
    said = (truth + draw.normal(0, 0.1, 101_000)).clip(0, 1)
    few, its, rest = truth[:1_000], said[:1_000], said[1_000:]
    if package == "ppi-python":
        import ppi_py

        return lambda: float(np.asarray(ppi_py.ppi_mean_ci(few, its, rest, alpha=0.05)[0]).item())
    from fairmark.stats.transfer import ppi_figures

    return lambda: ppi_figures(few, its, rest)[1]


def latent(package: str) -> Work:
    values = marks(20_000, 5, levels=3)
    item, rater = np.nonzero(~np.isnan(values))
    label = values[item, rater].astype(np.int64) - 1
    if package == "crowd-kit":
        import pandas as pd
        from crowdkit.aggregation import DawidSkene

        frame = pd.DataFrame({"task": item, "worker": rater, "label": label})
        return lambda: float(DawidSkene().fit(frame).priors_.iloc[0])
    from fairmark.stats.hidden_truth import fit_dawid_skene

    return lambda: float(fit_dawid_skene(item, rater, label, 3).prevalence[0])


def abilities(package: str) -> Work:
    draw = rng()
    strength = np.linspace(-2, 2, 100)
    first, second = draw.integers(0, 100, (2, 200_000))
    kept = first != second
    first, second = first[kept], second[kept]
    won = draw.uniform(size=len(first)) < 1 / (1 + np.exp(strength[second] - strength[first]))
    if package == "evalica":
        import evalica

        names = [f"s{number:03}" for number in range(100)]
        xs, ys = [names[i] for i in first], [names[i] for i in second]
        winners = [evalica.Winner.X if one else evalica.Winner.Y for one in won]

        def theirs() -> float:
            found = np.log(evalica.bradley_terry(xs, ys, winners).scores)
            return float(found.max() - found["s000"])

        return theirs
    from fairmark.stats.ranking import fit_bradley_terry

    def fit() -> float:
        won_first, met_first = np.zeros((2, 100, 100))
        np.add.at(met_first, (first, second), 1)
        np.add.at(won_first, (first, second), won)
        found = fit_bradley_terry(won_first, met_first)
        assert found is not None
        return float(found.log_ability.max())

    return fit


# ---------------------------------------------------------------- a whole report's statistics


def whole(package: str) -> Work:
    """10,000 responses x 5 criteria of two systems in 1,250 clusters, five hypotheses, three groups."""
    from pathlib import Path as Folder

    from fairmark.analyse import analyse
    from fairmark.records import Answer, Case, Grade, Message, Response
    from fairmark.rubric import Criterion, Level, Rubric
    from fairmark.study import GraderSpec, Hypothesis, Study, SystemSpec
    from fairmark.table import Cell, Row, Table

    draw = rng()
    levels = tuple(Level(name, name) for name in ("none", "some", "most", "all"))
    rubric = Rubric(
        (
            Criterion.yes_no("safe", yes="yes", no="no", gate=True),
            Criterion.yes_no("solved", yes="yes", no="no"),
            Criterion.yes_no("brief", yes="yes", no="no"),
            Criterion("steps", levels=levels, pass_at="most"),
            Criterion("tone", levels=levels, pass_at="most"),
        )
    )
    cases = tuple(
        Case(f"c{i}", (Message("user", "?"),), fields={"customer": f"k{i % 1250}", "variety": "xyz"[i % 3]}) for i in range(5_000)
    )
    study = Study(
        name="large",
        question="?",
        folder=Folder(),
        cases=cases,
        systems={name: SystemSpec(name, "recorded", recorded={}) for name in "ab"},
        rubric=rubric,
        graders={c.id: GraderSpec(c.id, "check", (c.id,), check="x") for c in rubric},
        hypotheses=(
            Hypothesis("H1", "better", "a", "solved>=yes", than="b", margin=0.05, primary=True),
            Hypothesis("H2", "at_least", "a", "steps>=most", margin=0.5, primary=True),
            Hypothesis("H3", "no_worse_than", "a", "score", than="b", margin=0.05, primary=True),
            Hypothesis("H4", "at_least", "a", "score", margin=0.5),
            Hypothesis("H5", "better", "a", "tone", than="b"),
        ),
        cluster="customer",
        groups=("variety",),
    )
    rows = []
    for case in cases:
        for system in "ab":
            cells = []
            for criterion in rubric:
                names = criterion.level_names()
                label = names[-1] if draw.uniform() < 0.7 else names[int(draw.integers(len(names)))]
                grade = Grade(f"k{criterion.id}", case.id, criterion.id, criterion.id, label=label)
                cells.append(Cell(criterion.id, "check", criterion.id, "", 0, grade))
            rows.append(Row(case, system, 1, Response("k", case.id, system, 1, "1", Answer("x")), tuple(cells)))
    # a fresh table each time: reading the marks is part of the work
    return lambda: len(analyse(Table(study, tuple(rows)), frozen=None, wave="1", at=1).hypotheses)


TASKS: dict[str, tuple[Callable[[str], Work], str, tuple[str, ...]]] = {
    "report": (whole, "the analysis of 10,000 responses x 5 criteria", ()),
    "alpha nominal": (lambda package: alpha(package, "nominal"), "Krippendorff's alpha, 1,000,000 grades", ("krippendorff",)),
    "alpha ordinal": (lambda package: alpha(package, "ordinal"), "the same, ordinal", ("krippendorff",)),
    "alpha interval": (lambda package: alpha(package, "interval"), "the same, interval", ("krippendorff",)),
    "alpha ratio": (lambda package: alpha(package, "ratio"), "the same, ratio", ("krippendorff",)),
    "Fleiss kappa": (fleiss, "1,000,000 grades as counts", ("statsmodels",)),
    "Cohen kappa": (kappa, "1,000,000 pairs of grades, with the standard error", ("statsmodels",)),
    "AC1": (ac, "100,000 grades, with the standard error", ("irrCAC",)),
    "clustered mean": (mean, "1,000,000 grades in 10,000 clusters", ("statsmodels",)),
    "sign-flip": (flips, "9,999 sign-flips of 10,000 cases", ("scipy",)),
    "Holm": (many, "100,000 p values", ("statsmodels",)),
    "PPI++": (ppi, "1,000 marks, 100,000 others", ("ppi-python",)),
    "Dawid-Skene": (latent, "90,000 grades, until it settles", ("crowd-kit",)),
    "Bradley-Terry": (abilities, "100 systems, 198,000 comparisons", ("evalica",)),
}


def main(task: str, package: str) -> None:
    try:
        work = TASKS[task][0](package)
    except ImportError as missing:
        print(json.dumps({"missing": str(missing)}))
        return
    figure = work()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = "?"
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"version": version, "seconds": sorted(times)[1], "megabytes": megabytes, "figure": float(figure)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
