"""Figures that an LLM grader's marks and people's marks of some of the same responses make together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairmark import stats
from fairmark.results import Estimate, Refusal
from fairmark.rubric import Criterion
from fairmark.stats.correction import Corrected
from fairmark.table import Audited, FloatArray, IntArray, Table

NO_SHARED_CASES = Refusal("NO_SHARED_CASES", "the two systems have no case in common", "run both systems on the same cases")
SAME_CHANCE = 1e-3  # probabilities of being chosen that differ by less were rounded in the file


@dataclass(frozen=True, slots=True)
class Both:
    """A corrected figure at the worst and at the best completion of what is open."""

    worst: Corrected
    best: Corrected
    n_open: int  # responses without an answer, or that people were asked to mark and could not
    refused: Refusal | None
    because: str  # why marks are corrected, in a sentence
    simple: bool  # whether people marked a simple random sample, which says something by itself

    def at(self, confidence_level: float) -> tuple[float, float]:
        """The interval from the low end at worst to the high end at best."""
        return self.worst.at(confidence_level).low, self.best.at(confidence_level).high

    def estimate(self, estimand: str, confidence_level: float) -> Estimate:
        """The figure with its interval at one level."""
        low, high = (one.estimate(estimand=estimand, confidence_level=confidence_level) for one in (self.worst, self.best))
        refused = self.refused or low.refused or high.refused
        if refused is not None or low.value is None or high.value is None:
            return replace(low, value=None, low=None, high=None, n_effective=None, method="none", refused=refused)
        if self.n_open == 0:
            return low
        return replace(
            low,
            value=(low.value + high.value) / 2,
            high=high.high,
            n_missing=self.n_open,
            low_if_worst=low.value,
            high_if_best=high.value,
            warnings=(*low.warnings, f"{self.n_open} are missing: the interval spans their worst to best completion"),
        )


def corrected(table: Table, system: str, than: str | None, on: str, *, audited: Audited | None = None) -> Both | None:
    """One system's figure, or by how much it is ahead of another, corrected by people's marks; None where nothing was marked so.

    `audited` restricts one system to some of its rows.
    """
    first = audited if audited is not None else table.audited(system, on)
    second = table.audited(than, on) if than is not None else None
    if first is None or (than is not None and second is None):
        return None
    refused = next((why for one in (first, second) if one is not None and (why := _unfit(one, on)) is not None), None)
    if second is None:
        worst, best = _level(table, first, first.worst, on), _level(table, first, first.best, on)
        opened = _open(first)
        marked, of = first.n_marks, len(first.said)
    else:
        first, second = _shared(first, second)
        if len(first.said) == 0:
            refused = NO_SHARED_CASES
        worst = _difference(table, second, second.best, first, first.worst, on)
        best = _difference(table, second, second.worst, first, first.best, on)
        opened = _open(first) + _open(second)
        marked, of = first.n_marks + second.n_marks, len(first.said) + len(second.said)
    names = " and ".join(first.graders)
    because = f"{names} marked all {of} answers and people {marked} of them, so its verdicts are corrected by theirs"
    if table.study.tuning is not None and (left_out := sum(table.study.part(case) != "test" for case in table.study.cases)):
        because += f"; these are the cases of the test part: {left_out} others are left out, because graders are tuned on them"
    return Both(worst, best, opened, refused or worst.refused or best.refused, because, first.chosen == "random")


def share_at(table: Table, audited: Audited, criterion: Criterion, place: int) -> Both:
    """The share of responses at exactly one level of a criterion, from the marks of all its levels."""
    strata, names = _strata(table, audited, criterion.id)
    unmarked = np.isnan(audited.worst)
    sure, possible = audited.worst == audited.best, (audited.worst <= place) & (place <= audited.best)
    worst, best = (
        stats.CorrectedRate(
            strata,
            np.where(unmarked, -1, mark).astype(np.int64),
            audited.cluster,
            names=names,
            n_cases=len(np.unique(audited.case)),
        )
        for mark in (possible & sure, possible)
    )
    refused = _unfit(audited, criterion.id) or worst.refused or best.refused
    return Both(worst, best, _open(audited), refused, "", audited.chosen == "random")


def _open(audited: Audited) -> int:
    return int(np.count_nonzero(audited.worst < audited.best))


def _shared(first: Audited, second: Audited) -> tuple[Audited, Audited]:
    """Both on the cases and trials that they share, in the same order."""
    places = [{key: place for place, key in enumerate(zip(one.case.tolist(), one.trial.tolist(), strict=True))} for one in (first, second)]
    shared = sorted(places[0].keys() & places[1].keys())
    return _at(first, [places[0][key] for key in shared]), _at(second, [places[1][key] for key in shared])


def _at(audited: Audited, places: list[int]) -> Audited:
    index = np.array(places, dtype=np.int64)
    rows = {
        name: getattr(audited, name)[index]
        for name in ("said", "worst", "best", "answered", "case", "trial", "fine", "probability", "stratum")
    }
    return replace(audited, **rows, cluster=None if audited.cluster is None else audited.cluster[index])


def _level(table: Table, audited: Audited, mark: FloatArray, on: str) -> Corrected:
    n_cases = len(np.unique(audited.case))
    if audited.kinds == 0:
        return stats.mean_of_scores(audited.said, mark, audited.cluster, n_cases=n_cases)
    strata, names = _strata(table, audited, on)
    label, values = _labels(mark), _values(table, on)
    if values is None:
        return stats.CorrectedRate(strata, label, audited.cluster, names=names, n_cases=n_cases)
    return stats.mean_of_levels(strata, label, audited.cluster, values=values, names=names, n_cases=n_cases)


def _difference(table: Table, a: Audited, mark_a: FloatArray, b: Audited, mark_b: FloatArray, on: str) -> Corrected:
    """System b minus system a."""
    if a.kinds == 0 or _values(table, on) is not None:
        first, second = _level(table, a, mark_a, on), _level(table, b, mark_b, on)
        assert isinstance(first, stats.CorrectedMean)
        assert isinstance(second, stats.CorrectedMean)
        return stats.CorrectedMeanDifference(first, second)
    (strata_a, names), (strata_b, _) = _strata(table, a, on), _strata(table, b, on)
    label_a, label_b, n_cases = _labels(mark_a), _labels(mark_b), len(np.unique(a.case))
    return stats.CorrectedDifference(strata_a, label_a, strata_b, label_b, a.cluster, names=names, n_cases=n_cases)


def _labels(mark: FloatArray) -> IntArray:
    return np.where(np.isnan(mark), -1, mark).astype(np.int64)


def _strata(table: Table, audited: Audited, on: str) -> tuple[IntArray, dict[int, str]]:
    """The grader's verdicts within which marks were drawn, or finer strata of the draw, as codes and in words."""
    if _drawn_within(audited) is audited.stratum:
        return audited.stratum, dict(enumerate(audited.strata))
    criterion, level = table.target(on)
    fine = level is None or _drawn_within(audited) is audited.fine
    words = [f"“{name}”" for name in criterion.level_names()] if fine else [f"below “{level}”", f"“{level}” or better"]
    codes = audited.fine if fine else audited.said
    return codes.astype(np.int64), dict(enumerate([*words, "not readable", "of no answer"]))


def _drawn_within(audited: Audited) -> FloatArray | IntArray | None:
    """The grader's verdicts, or finer strata, within which marks were drawn with equal probability; None where they were not."""
    if audited.chosen == "random":
        return audited.said
    asked = audited.answered & ~np.isnan(audited.worst)
    chances = audited.probability[asked]
    if np.isnan(chances).any():
        return None
    within: tuple[FloatArray | IntArray, ...] = (audited.said, audited.fine, *((audited.stratum,) if audited.strata else ()))
    for strata in within:
        if all(np.ptp(chances[strata[asked] == code]) < SAME_CHANCE for code in np.unique(strata[asked])):
            return strata
    return None


def _values(table: Table, on: str) -> tuple[float, ...] | None:
    """What the levels are worth, worst first; None where the target is a share."""
    criterion, level = table.target(on)
    return None if level is not None else tuple(criterion.value_of(name) for name in criterion.level_names())


def _unfit(audited: Audited, on: str) -> Refusal | None:
    """Why these marks can correct nothing."""
    if audited.not_applicable:
        return Refusal(
            "NOT_APPLICABLE_UNCORRECTED",
            f"{on} does not apply to {audited.not_applicable} answers, and a correction must know to which of all answers it applies",
            "let people mark this criterion on all answers, or split off a criterion that says whether it applies",
        )
    if audited.chosen not in ("random", "stratified"):
        return not_random(audited.chosen, on)
    if _drawn_within(audited) is None:
        return Refusal(
            "NEEDS_WEIGHTS",
            f"the marked answers on {on} were chosen with unequal probabilities that are not those of the grader's verdicts",
            "say in a column `probability` with what probability each was chosen, equal within each verdict of the grader",
        )
    return None


def not_random(chosen: str, on: str) -> Refusal:
    """That marks of answers chosen in this way say nothing about the others."""
    why = "chose their own answers" if chosen == "self-selected" else "were given answers chosen in an unknown way"
    return Refusal("MARKS_NOT_RANDOM", f"those who marked {on} {why}", "say how they were chosen, or mark a random sample")
