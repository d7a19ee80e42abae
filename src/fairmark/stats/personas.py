"""The same case told by other people: what changes when only a cue about the person does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fairmark.results import Refusal, Result, VerdictWord
from fairmark.stats.clusters import numbered
from fairmark.stats.estimates import refused_input
from fairmark.stats.groups import unordered
from fairmark.stats.intervals import FloatArray, IntArray, Interval, holm, holm_levels, one_sided_p
from fairmark.stats.paired import PairedIntervals

FEWEST_CUES = 3  # wordings of a persona; of fewer nothing can be said about other wordings


@dataclass(frozen=True, slots=True)
class PersonaContrast(Result):
    """One persona against the reference on the same cases."""

    persona: str
    reference: str
    difference: float | None  # mean of the persona minus that of the reference, a case weighing as a case
    low: float | None  # at `confidence_level`, which Holm has adjusted
    high: float | None
    confidence_level: float
    p: float | None  # two-sided, of no difference; by inversion
    p_adjusted: float | None  # by Holm over all contrasts
    different: bool  # the interval excludes 0
    verdict: VerdictWord  # of the claim that they differ by less than the margin
    flip_rate: float | None  # share of pairs of a persona's and the reference's answer to a case that are unlike
    rerun_flip_rate: float | None  # of two answers to the same prompt: what is noise; None where nothing was rerun
    excess_flips: float | None  # the first less the second, over the cases with a rerun
    excess_low: float | None  # at the unadjusted level
    excess_high: float | None
    n_cases: int  # that both have
    n_rerun: int  # of them with a prompt that was asked more than once
    n_cues: int  # wordings of the persona
    n_cues_reference: int
    method: str
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.difference is None or self.flip_rate is None:
            return f"{self.persona} against {self.reference}: no figure ({self.refused})"
        flips = f"{self.flip_rate:.3f} of the answers flip"
        if self.rerun_flip_rate is not None:
            flips += f", {self.rerun_flip_rate:.3f} do when asked again"
        return f"{self.persona} against {self.reference}: {self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]; {flips}"


@dataclass(frozen=True, slots=True)
class Personas(Result):
    """All contrasts of a counterfactual study."""

    contrasts: tuple[PersonaContrast, ...]
    reference: str
    margin: float  # a difference below it counts as none
    confidence_level: float  # of the family
    n_cases: int
    n_clusters: int | None
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: Refusal | None = None

    def headline(self) -> str:
        if self.refused is not None:
            return f"personas: no figure ({self.refused})"
        different = [one.persona for one in self.contrasts if one.different]
        said = f"different from {self.reference}: {', '.join(different)}" if different else f"none is shown to differ from {self.reference}"
        return f"{len(self.contrasts)} personas on {self.n_cases} cases: {said}"


def persona_contrasts(
    y: FloatArray,
    case: IntArray,
    persona: IntArray,
    *,
    cue: IntArray | None = None,
    cluster: IntArray | None = None,
    reference: int = 0,
    names: Sequence[str] | None = None,
    margin: float = 0.05,
    confidence_level: float = 0.95,
    rng: np.random.Generator,
) -> Personas:
    """Each persona against the reference persona, on the same cases with another cue: net difference and flips.

    `y` holds 0/1 or scores in [0, 1], one a response; `case` and `persona` (codes from 0, with `names`) say to what;
    `cue` which wording of the persona was used (default: one each), and several responses to one case, persona and cue
    are reruns of one prompt. The net difference is the mean over cases of the difference of case means, with the interval
    of `PairedIntervals`. With 3 or more wordings these are a random facet: the variance of their means, each taken
    within the cases against the other side, over their number is added as t se (Satterthwaite's degrees of freedom) by
    MOVER, so that the claim is about such cues and not about these alone. Intervals are adjusted by Holm over the
    contrasts, so that 0 is excluded exactly where the adjusted p rejects it.

    A net difference of 0 can hide flips in both directions: `flip_rate` is the chance that the persona's answer to a case
    differs from the reference's, `rerun_flip_rate` the same of two answers to one prompt, and `excess_flips` what the
    cue adds. Where answers are drawn alike for both, the excess is 0 on average; with chances p and q it is (p - q)^2.

    Refused: `NO_DATA`, `OFF_SCALE`, `ONE_PERSONA`, `NO_REFERENCE`; a contrast without a common case `NO_DATA`, and one with
    fewer than 6 cases or clusters `TOO_FEW_CASES` or `TOO_FEW_CLUSTERS` (0/1 answers given once need no such number).
    """
    y, case, persona = np.asarray(y, dtype=np.float64), np.asarray(case), np.asarray(persona)
    if y.ndim != 1 or any(one is not None and np.shape(one) != y.shape for one in (case, persona, cue, cluster)):
        raise ValueError("responses, cases, personas, cues and clusters must be arrays of one length")
    if not 0 < margin <= 1:
        raise ValueError(f"the margin must be above 0 and at most 1, not {margin:g}")
    if names is not None and len(persona) and not (persona.min() >= 0 and persona.max() < len(names)):
        raise ValueError(f"a persona has no name: there are {len(names)}")

    def called(code: int) -> str:
        return names[code] if names is not None and 0 <= code < len(names) else str(code)

    cases, n_cases = numbered(case, len(y))
    clusters = None if cluster is None else numbered(cluster, len(y))[1]
    codes = [int(code) for code in np.unique(persona)]
    refused = refused_input(y)
    if refused is None and reference not in codes:
        refused = Refusal("NO_REFERENCE", f"there is no response for {called(reference)}", "run the reference on the same cases")
    if refused is None and len(codes) < 2:
        refused = Refusal("ONE_PERSONA", "one persona has nothing to be compared with", "run another persona on the same cases")
    if refused is not None:
        return Personas((), called(reference), float(margin), float(confidence_level), n_cases, clusters, refused=refused)
    answers = _Answers(y, cases, n_cases, persona, cue, cluster)
    seed = int(rng.integers(2**63))
    others = [code for code in codes if code != reference]
    pairs = [answers.pair(code, reference, seed) for code in others]
    ps = [pair.p() for pair in pairs]
    levels = holm_levels(ps, (1 - confidence_level) / 2)
    adjusted = holm([min(1.0, 2 * p) for p in ps])
    contrasts = []
    for code, pair, p, p_adjusted, level in zip(others, pairs, ps, adjusted, levels, strict=True):
        flips = answers.flips(code, reference, confidence_level, seed)
        contrasts.append(_contrast(called(code), called(reference), pair, p, p_adjusted, 1 - 2 * level, margin, flips))
    return Personas(
        contrasts=tuple(contrasts),
        reference=called(reference),
        margin=float(margin),
        confidence_level=float(confidence_level),
        n_cases=n_cases,
        n_clusters=clusters,
        assumptions=(
            "claims are about these cues, not about people",
            "a prompt differs from the reference's in the cue alone",
            "cases are independent of one another" if cluster is None else "clusters are independent of one another",
        ),
    )


class _Pair(NamedTuple):
    """A persona and the reference on the cases that both have."""

    value: float
    intervals: PairedIntervals
    facet: float  # variance of the difference that the choice of wordings makes
    df: float  # its degrees of freedom; 0 where there is no facet
    n_cases: int
    cues: tuple[int, int]

    def at(self, confidence_level: float) -> Interval:
        low, high = self.intervals.at(confidence_level)
        if self.df == 0:
            return Interval(low, high)
        wording = float(stdtrit(self.df, 0.5 + confidence_level / 2)) * math.sqrt(self.facet)
        below, above = math.hypot(max(0.0, self.value - low), wording), math.hypot(max(0.0, high - self.value), wording)
        return Interval(max(-1.0, self.value - below), min(1.0, self.value + above))

    def p(self) -> float:
        """One-sided, of the direction that is nearer to excluding 0; 1 where there is no interval."""
        if self.intervals.refused is not None:
            return 1.0
        return min(one_sided_p(self.at, 0.0, "low"), one_sided_p(self.at, 0.0, "high"))


class _Flips(NamedTuple):
    rate: float | None
    rerun: float | None
    excess: float | None
    interval: Interval | None
    n_rerun: int


class _Answers:
    def __init__(
        self, y: FloatArray, case: IntArray, n_cases: int, persona: IntArray, cue: IntArray | None, cluster: IntArray | None
    ) -> None:
        self.binary = bool(np.all((y == 0) | (y == 1)))
        self.clustered = cluster is not None
        self.n_cases = n_cases
        _, who = np.unique(persona, return_inverse=True)
        _, wording = np.unique(np.zeros(len(y)) if cue is None else np.asarray(cue), return_inverse=True)
        self.codes = np.unique(persona)
        key = (case * len(self.codes) + who) * (int(wording.max()) + 1) + wording
        prompts, self.prompt = np.unique(key, return_inverse=True)
        self.runs = np.bincount(self.prompt)
        self.mean = np.bincount(self.prompt, weights=y) / self.runs
        self.wording = prompts % (int(wording.max()) + 1)
        of_case = prompts // (int(wording.max()) + 1)
        self.who, self.of = of_case % len(self.codes), of_case // len(self.codes)  # of each prompt
        _, self.label = np.unique(y, return_inverse=True)
        self.labels = int(self.label.max()) + 1
        self.same_run = self._alike_within_prompts()
        self.cluster_of = np.zeros(n_cases, dtype=np.int64)
        if cluster is not None:
            index = numbered(cluster, len(y))[0]
            self.cluster_of[case] = index
            if not np.array_equal(self.cluster_of[case], index):
                raise ValueError("a case lies in two clusters")

    def _prompts(self, code: int) -> IntArray:
        return np.flatnonzero(self.codes[self.who] == code)

    def _by_case(self, prompts: IntArray, values: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """The mean of the prompts' values in each case, 0 where it has none, and whether it has some."""
        count = np.bincount(self.of[prompts], minlength=self.n_cases)
        return np.bincount(self.of[prompts], weights=values[prompts], minlength=self.n_cases) / np.maximum(count, 1), count > 0

    def pair(self, code: int, reference: int, seed: int) -> _Pair:
        mine, theirs = self._prompts(code), self._prompts(reference)
        (first, has), (second, have) = self._by_case(mine, self.mean), self._by_case(theirs, self.mean)
        both = has & have
        cases = np.flatnonzero(both)
        differences = (first - second)[cases].clip(-1, 1)
        once = bool(np.all(self.runs[mine] == 1) and np.all(self.runs[theirs] == 1))
        single = self.binary and once and len(mine) == np.count_nonzero(has) and len(theirs) == np.count_nonzero(have)
        values, units = unordered(differences, self.cluster_of[cases] if self.clustered else None)
        paired = PairedIntervals(values, units, single=single, rng=np.random.default_rng(seed))
        sides = [self._facet(mine, second, both), self._facet(theirs, first, both)]
        facet = sum(variance for variance, _, _ in sides)
        squares = sum(variance**2 / df for variance, df, _ in sides if df)
        known = [df for _, df, _ in sides if df]
        df = facet**2 / squares if squares > 1e-30 else float(sum(known))
        value = float(differences.mean()) if len(cases) else 0.0
        return _Pair(value, paired, facet, df, len(cases), (sides[0][2], sides[1][2]))

    def _facet(self, prompts: IntArray, other: FloatArray, both: NDArray[np.bool_]) -> tuple[float, int, int]:
        """Variance of the mean over wordings, its degrees of freedom (0: too few wordings to tell), and how many there are."""
        prompts = prompts[both[self.of[prompts]]]
        wordings, index = np.unique(self.wording[prompts], return_inverse=True)
        if len(wordings) < FEWEST_CUES:
            return 0.0, 0, len(wordings)
        means = np.bincount(index, weights=self.mean[prompts] - other[self.of[prompts]]) / np.bincount(index)
        return float(np.var(means, ddof=1)) / len(wordings), len(wordings) - 1, len(wordings)

    def _alike_within_prompts(self) -> FloatArray:
        """Chance that two of a prompt's answers are alike; 0 where it has one answer only."""
        keys, counts = np.unique(self.prompt * self.labels + self.label, return_counts=True)
        pairs = np.bincount(keys // self.labels, weights=counts * (counts - 1.0), minlength=len(self.runs))
        alike: FloatArray = pairs / np.maximum(self.runs * (self.runs - 1), 1)
        return alike

    def _labels_of(self, code: int) -> tuple[IntArray, IntArray, IntArray]:
        """Keys case x label of a persona's answers, how often each occurs, and answers of each case."""
        rows = self.codes[self.who[self.prompt]] == code
        case = self.of[self.prompt[rows]]
        keys, counts = np.unique(case * self.labels + self.label[rows], return_counts=True)
        return keys, counts, np.bincount(case, minlength=self.n_cases)

    def flips(self, code: int, reference: int, confidence_level: float, seed: int) -> _Flips:
        (a, count_a, n_a), (b, count_b, n_b) = self._labels_of(code), self._labels_of(reference)
        cases = np.flatnonzero((n_a > 0) & (n_b > 0))
        if not len(cases):
            return _Flips(None, None, None, None, 0)
        same, at_a, at_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        alike = np.bincount(same // self.labels, weights=(count_a[at_a] * count_b[at_b]).astype(np.float64), minlength=self.n_cases)
        flipped = (1 - alike[cases] / (n_a[cases] * n_b[cases])).clip(0, 1)
        rerun, sides = np.zeros(self.n_cases), np.zeros(self.n_cases)
        for one in (code, reference):
            prompts = self._prompts(one)
            of_prompt, has = self._by_case(prompts[self.runs[prompts] > 1], 1 - self.same_run)
            rerun, sides = rerun + of_prompt, sides + has
        again = sides[cases] > 0
        rate = float(flipped.mean())
        if not np.any(again):
            return _Flips(rate, None, None, None, 0)
        floor = (rerun[cases] / np.maximum(sides[cases], 1))[again]
        excess = (flipped[again] - floor).clip(-1, 1)
        values, units = unordered(excess, self.cluster_of[cases][again] if self.clustered else None)
        paired = PairedIntervals(values, units, single=False, rng=np.random.default_rng(seed))
        interval = None if paired.refused is not None else paired.at(confidence_level)
        return _Flips(rate, float(floor.mean()), float(excess.mean()), interval, int(np.count_nonzero(again)))


def _contrast(
    name: str, reference: str, pair: _Pair, p: float, p_adjusted: float, level: float, margin: float, flips: _Flips
) -> PersonaContrast:
    refused = pair.intervals.refused
    low, high = (None, None) if refused is not None else pair.at(level)
    verdict: VerdictWord = "undecided"
    if low is not None and high is not None:
        verdict = "supported" if -margin < low and high < margin else "refuted" if low > margin or high < -margin else "undecided"
    warnings = []
    if pair.cues[0] < FEWEST_CUES:
        warnings.append(f"the claim is about {pair.cues[0]} wording(s) of {name} alone: {FEWEST_CUES} or more speak for others")
    if pair.cues[1] == FEWEST_CUES - 1:
        warnings.append(f"the claim is about {pair.cues[1]} wordings of {reference} alone")
    if flips.rerun is None:
        warnings.append("no prompt was asked twice: how many flips are noise is not known")
    shown = refused is None
    return PersonaContrast(
        persona=name,
        reference=reference,
        difference=pair.value if shown else None,
        low=low,
        high=high,
        confidence_level=float(level),
        p=min(1.0, 2 * p) if shown else None,
        p_adjusted=float(p_adjusted) if shown else None,
        different=low is not None and high is not None and (low > 0 or high < 0),
        verdict=verdict,
        flip_rate=flips.rate,
        rerun_flip_rate=flips.rerun,
        excess_flips=flips.excess,
        excess_low=flips.interval.low if flips.interval is not None else None,
        excess_high=flips.interval.high if flips.interval is not None else None,
        n_cases=pair.n_cases,
        n_rerun=flips.n_rerun,
        n_cues=pair.cues[0],
        n_cues_reference=pair.cues[1],
        method=pair.intervals.method + (", wordings as a random facet" if pair.df else ""),
        warnings=tuple(warnings),
        refused=refused,
    )
