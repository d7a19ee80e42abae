"""Figures from marks that people entered at the desk: drawn at random or within strata, of one system or of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from benchmarks.grids.marked_by_people import World, figure_of, graded, mark_all, on_the_bench, study

from fairmark.results import Estimate
from fairmark.study import Hypothesis, People, Study
from fairmark.table import Table
from fairmark.workbench import Workbench

BETTER = Hypothesis("H1", "better", "b", "solved>=yes", than="a", primary=True)
AT_LEAST = Hypothesis("H1", "at_least", "a", "solved>=yes", margin=0.5, primary=True)


def bench_of(asked: Study, world: World) -> Workbench:
    bench = on_the_bench(asked, world, memory=True)
    bench.run()
    bench.assign()
    mark_all(bench, world)
    return bench


def equal_systems(people: People) -> Estimate:
    """Two systems that solve the very same cases, and a grader that never disagrees with people."""
    solved = np.random.default_rng(1).random(80) < 0.8
    world = World({"first": solved, "second": solved}, {"first": solved, "second": solved})
    return figure_of(bench_of(replace(study("equal", 80, {"a": "first", "b": "second"}, people), hypotheses=(BETTER,)), world).analyse())


def strata_of(table: Table) -> dict[str, set[float]]:
    """The chances within each stratum of the draw."""
    found: dict[str, set[float]] = {}
    for one in table.drawn.values():
        found.setdefault(one.stratum, set()).add(one.probability)
    return found


def with_confidence(n: int, seed: int, *, grader: int = 0) -> World:
    """Answers by `seed`, and the verdicts of one grader or of another on them."""
    solved = np.random.default_rng(seed).random(n) < 0.7
    said = graded(np.random.default_rng([seed, grader]), solved, (0.9, 0.8))
    return World({"first": solved}, {"first": said}, {"first": np.where(said == solved, 0.95, 0.6)})


def test_two_equal_systems_without_a_disagreement_have_a_difference_with_a_range() -> None:
    for strata in (None, "solved"):
        estimate = equal_systems(People(("ana",), criteria=("solved",), share=0.4, strata=strata))
        assert estimate.scorer == "judge-corrected" and estimate.value == 0.0
        assert estimate.low is not None and estimate.high is not None
        assert -0.25 < estimate.low < -0.02 and 0.02 < estimate.high < 0.25


def test_a_draw_within_strata_is_corrected_within_them() -> None:
    """Where a stratum is marked more densely, its marks count for its share of the responses and no more."""
    world = with_confidence(160, 2)
    people = People(("ana",), criteria=("solved",), share=0.3, strata="solved")
    bench = bench_of(replace(study("strata", 160, {"a": "first"}, people), hypotheses=(AT_LEAST,)), world)
    table = bench.table()
    chances = strata_of(table)
    assert len(chances) >= 3 and all(len(within) == 1 for within in chances.values())
    assert len({chance for within in chances.values() for chance in within}) > 1
    audited = table.audited("a", "solved>=yes")
    assert audited is not None and set(audited.strata) == set(chances)
    asked = ~np.isnan(audited.worst)
    by_hand = sum(
        np.mean(audited.stratum == code) * np.mean(audited.worst[asked & (audited.stratum == code)]) for code in range(len(audited.strata))
    )
    estimate = figure_of(bench.analyse())
    assert estimate.scorer == "judge-corrected" and estimate.value is not None
    assert abs(estimate.value - by_hand) < 1e-9


def test_a_grader_that_changed_after_the_draw_leaves_a_figure_and_people_their_work() -> None:
    world = with_confidence(160, 3)
    people = People(("ana",), criteria=("solved",), share=0.3, strata="solved")
    first = replace(study("strata", 160, {"a": "first"}, people), hypotheses=(AT_LEAST,))
    bench = bench_of(first, world)
    graders = {**first.graders, "judge": replace(first.graders["judge"], prompt="Mark with care.")}
    again = on_the_bench(replace(first, graders=graders), with_confidence(160, 3, grader=1), memory=True)
    again._store = bench.store
    again.run()
    assert again.assign().assignments == ()
    estimate = figure_of(again.analyse())
    assert estimate.refused is None and estimate.low is not None and estimate.high is not None
    assert estimate.low < 0.7 < estimate.high
