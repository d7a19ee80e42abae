"""B13: made-up studies through the whole pipeline, with everything at once that is shown alone elsewhere.

Clusters of uneven size, repeats, three groups, a must-pass rule, two LLM graders whose errors differ by system and group,
people's marks drawn by the label planner or at random, failed calls, unreadable verdicts, and hypotheses that may be
decided early. Each study is analysed by the shipped `analyse`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.grids.run import Bar, Outcome, Run, noise
from benchmarks.grids.studies import Judge, World, draw
from fairmark import stats
from fairmark.analyse import analyse
from fairmark.analyse.early import early
from fairmark.results import Refusal
from fairmark.stats import clopper_pearson
from fairmark.study import Hypothesis

ALPHA = 0.025
MOST_FALSE = 0.033  # upper 95% bound of the rate of false claims at nominal 2.5%
MOST_REFUSED = 0.10
LEAST_DECIDED = 0.90
FAIR = {"kind": Judge(0.9, 0.85, lost=0.01), "clear": Judge(0.95, 0.9, {2: 0.1})}
POOR = {"kind": Judge(0.8, 0.7), "clear": Judge(0.85, 0.7, {0: 0.1, 2: -0.05}, lost=0.02)}


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim as it was judged."""

    kind: str
    supported: bool  # by its own one-sided p
    refuted: bool
    supported_in_family: bool  # after Holm
    refuted_in_family: bool
    refused: Refusal | None


def worlds() -> Iterator[World]:
    """Studies in turn, so that every part meets every other."""
    base = World(
        rates={"solved": (0.62, 0.70), "brief": (0.5, 0.6), "safe": (0.97, 0.98), "kind": (0.6, 0.72), "clear": (0.75, 0.85)}, gap=0.1
    )
    high = {"solved": (0.90, 0.93), "brief": (0.7, 0.75), "safe": (0.95, 0.99), "kind": (0.80, 0.88), "clear": (0.90, 0.95)}
    for place in itertools.count():
        yield replace(
            base,
            rates=base.rates if place % 2 == 0 else high,
            n_clusters=(24, 40, 80)[place % 3],
            mean_size=(8.0, 5.0)[place // 3 % 2],
            icc=(0.0, 0.1, 0.2)[place // 2 % 3],
            trials=2 if place % 5 == 4 else 1,
            judges=FAIR if place // 4 % 2 == 0 else POOR,
            marks=(80, 120)[place // 8 % 2],
            planned=place % 4 != 3,
            failures=0.01 if place % 7 == 6 else 0.0,
        )


def claims(world: World, hypotheses: tuple[Hypothesis, ...], within: float, rng: np.random.Generator) -> list[Claim]:
    """Every claim of one study: those of its hypotheses, those decided early, and the gap between its groups."""
    drawn = draw(world, hypotheses, rng, alpha=ALPHA)
    analysis = analyse(drawn.table, frozen=None, wave="1", at=1)
    analysis.as_dict()  # raises where anything is not finite
    found = [
        Claim(
            h.id,
            h.p_support is not None and h.p_support <= ALPHA,
            h.p_refute is not None and h.p_refute <= ALPHA,
            h.verdict == "supported",
            h.verdict == "refuted",
            h.estimate.refused,
        )
        for h in analysis.hypotheses
    ]
    assert all(h.next for h in analysis.hypotheses if h.verdict == "undecided"), "an undecided claim without a next step"
    seed = int(rng.integers(2**31))
    stopping = [h for h in hypotheses if h.id in ("at least", "better")]
    alone = replace(drawn.table.study, hypotheses=tuple(stopping))
    now = early(replace(drawn.table, study=alone), seed=seed)
    for name, result in now.results.items():
        result.as_dict()
        refuted = result.verdict == "refuted"
        found.append(
            Claim(f"{name}, early", result.verdict == "supported", refuted, result.verdict == "supported", refuted, result.refused)
        )
    found += [Claim(f"{name}, early", False, False, False, False, why) for name, why in now.refused.items()]
    metric = drawn.table.metric("a", "solved>=yes")
    marked = metric.marked
    gap = stats.gap_between_groups(
        metric.low[marked], drawn.group[metric.case[marked]], metric.cluster[marked] if metric.cluster is not None else None,
        within=within, case=metric.case[marked] if world.trials > 1 else None, alpha=ALPHA, rng=rng,
    )  # fmt: skip
    gap.as_dict()
    said, denied = gap.verdict == "supported", gap.verdict == "refuted"
    found.append(Claim("gap within", said, denied, said, denied, gap.refused))
    for claim in found:
        assert claim.refused is None or (claim.refused.why and claim.refused.next), f"{claim.kind} is refused without a next step"
    return found


def hypotheses(world: World, away: Callable[[str], float]) -> tuple[Hypothesis, ...]:
    """One hypothesis of each kind, `away(kind)` on the safe side of the truth: 0 puts it on the boundary."""
    a, b = ({name: rate[s] for name, rate in world.rates.items()} for s in (0, 1))

    def one(kind: str, what: str, system: str, on: str, truth: float, than: str | None = None) -> Hypothesis:
        bound = truth - away(kind) if what != "at_most" else truth + away(kind)
        return Hypothesis(kind, what, system, on, than=than, margin=-bound if what == "no_worse_than" else bound, primary=True)  # type: ignore[arg-type]

    return (
        one("at least", "at_least", "a", "solved>=yes", a["solved"]),
        one("at most", "at_most", "b", "solved>=yes", b["solved"]),
        one("better", "better", "b", "solved>=yes", b["solved"] - a["solved"], "a"),
        one("no worse than", "no_worse_than", "a", "solved>=yes", a["solved"] - b["solved"], "b"),
        one("score at least", "at_least", "a", "score", world.score[0]),
        one("score better", "better", "b", "score", world.score[1] - world.score[0], "a"),
        one("corrected at least", "at_least", "a", "kind>=good", a["kind"]),
        one("corrected better", "better", "b", "kind>=good", b["kind"] - a["kind"], "a"),
        one("corrected mean", "at_least", "b", "kind", world.mean_level(1)),
        one("corrected mean better", "better", "b", "kind", world.mean_level(1) - world.mean_level(0), "a"),
        one("corrected, unfair judge", "at_least", "b", "clear>=yes", b["clear"]),
    )


def boundary(run: Run) -> Outcome:
    """Every claim is exactly false, as the truth lies on its margin."""
    studies = run.times(whole=210, sample=8)
    found = [
        claim
        for place, world in enumerate(itertools.islice(worlds(), studies))
        for claim in claims(world, hypotheses(world, lambda kind: 0.0), world.gap, run.rng("B13", place))
    ]
    judged = [claim for claim in found if claim.refused is None]
    false = sum(claim.supported for claim in judged)
    upper = clopper_pearson(false, len(judged), confidence_level=0.90).high
    in_family = sum(claim.supported_in_family for claim in judged)
    refused = 1 - len(judged) / len(found)
    kinds = Counter(claim.kind for claim in judged)
    rows = [
        f"{kind:<26} {n:>4} judged, {sum(c.supported for c in judged if c.kind == kind) / n:>6.1%} falsely supported, "
        f"{sum(c.refuted for c in judged if c.kind == kind) / n:>6.1%} falsely refuted"
        for kind, n in kinds.items()
    ]
    codes = Counter((claim.kind, claim.refused.code) for claim in found if claim.refused is not None)
    rows += [f"refused: {kind}, {code}: {n}" for (kind, code), n in codes.most_common()]
    held = refused <= MOST_REFUSED and (upper <= MOST_FALSE if run.whole else false / len(judged) <= ALPHA + noise(ALPHA, len(judged)))
    return Outcome(
        held,
        f"{studies} studies, {len(judged)} claims on their boundary: {false / len(judged):.2%} falsely supported by their own p "
        f"(upper 95% bound {upper:.2%}), {in_family / len(judged):.2%} as primary hypotheses of their study; {refused:.1%} refused",
        tuple(rows),
    )


def decided(run: Run) -> Outcome:
    """Truths twice the margin away, in studies of a size that can show it."""
    away = {"at least": 0.12, "at most": 0.12, "score at least": 0.12, "corrected at least": 0.14, "corrected mean": 0.14}
    away |= {"corrected, unfair judge": 0.14}
    studies = run.times(whole=60, sample=3)
    found: list[Claim] = []
    for place, world in enumerate(itertools.islice(worlds(), studies)):
        rates = {"solved": (0.60, 0.78), "brief": (0.45, 0.65), "safe": (0.97, 0.97), "kind": (0.5, 0.82), "clear": (0.75, 0.85)}
        big = replace(world, rates=rates, gap=0.0, n_clusters=120, mean_size=8.0, trials=1, icc=min(world.icc, 0.1), marks=300, judges=FAIR)
        truth = {
            "better": 0.18,
            "no worse than": 0.2,
            "score better": big.score[1] - big.score[0],
            "corrected better": 0.32,
            "corrected mean better": big.mean_level(1) - big.mean_level(0),
        }
        # a margin of half the effect: the truth lies as far beyond it as the margin is from 0
        one = hypotheses(big, lambda kind, truth=truth: truth[kind] / 2 if kind in truth else away[kind])  # type: ignore[misc]
        margin = {"no worse than": 0.10}
        one = tuple(replace(h, system="b", than="a", margin=margin[h.id]) if h.id in margin else h for h in one)
        found += claims(big, one, 0.15, run.rng("B13b", place))
    judged = [claim for claim in found if claim.refused is None]
    share = sum(claim.supported_in_family for claim in judged) / len(found)
    refused = 1 - len(judged) / len(found)
    kinds = Counter(claim.kind for claim in found)
    rows = [
        f"{kind:<26} {n:>4} claims, {sum(c.supported_in_family for c in found if c.kind == kind) / n:>7.1%} supported"
        for kind, n in kinds.items()
    ]
    held = share >= LEAST_DECIDED - (0 if run.whole else noise(LEAST_DECIDED, len(found))) and refused <= MOST_REFUSED
    return Outcome(held, f"{studies} studies, {len(found)} true claims: {share:.1%} supported, {refused:.1%} refused", tuple(rows))


BARS = [
    Bar("B13", "whole studies at the boundary: false claims within alpha (upper 95% bound at most 3.3%), at most 10% refused", boundary),
    Bar("B13b", "whole studies with effects of twice the margin: at least 90% decided", decided),
]
