"""Marks belong to the answer that was seen: when a system changes, its labels go, and nothing stands in for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from benchmarks.grids.marked_by_people import AFTER, World, change, changing, figure_of, mark_all, on_the_bench, study

from fairmark.study import Hypothesis, People
from fairmark.workbench import Workbench

PEOPLE = People(("ana",), criteria=("solved",), share=0.25)


def later(bench: Workbench, world: World, **changes: object) -> Workbench:
    """The same store under a study that has changed."""
    again = on_the_bench(replace(bench.study, **changes), world, memory=True)  # type: ignore[arg-type]
    again._store = bench.store
    return again


def labels(bench: Workbench, system: str) -> int:
    """How many marks of people count."""
    cells = [cell for row in bench.table().of(system) for cell in row.cells if cell.kind == "human"]
    return sum(cell.grade is not None and cell.grade.label is not None for cell in cells)


def stale(bench: Workbench, system: str) -> int:
    cells = [cell for row in bench.table().of(system) for cell in row.cells if cell.kind == "human"]
    return sum(cell.grade is not None and cell.grade.failure is not None and cell.grade.failure.kind == "stale_mark" for cell in cells)


def two_systems(rng: np.random.Generator) -> tuple[Workbench, World]:
    """Both systems run and marked on a quarter of 80 cases."""
    good = {name: rng.random(80) < 0.7 for name in ("first", "other", "second")}
    world = World(good, good)
    expected = Hypothesis("H1", "better", "b", "solved>=yes", than="a", primary=True)
    bench = on_the_bench(replace(study("two", 80, {"a": "first", "b": "other"}, PEOPLE), hypotheses=(expected,)), world, memory=True)
    bench.run()
    bench.assign()
    assert mark_all(bench, world) == 40
    return bench, world


def test_a_changed_system_is_corrected_by_none_of_its_old_labels() -> None:
    one = change(changing(np.random.default_rng(7)), "stale")
    assert one.before.refused is None and one.before.scorer == "judge-corrected"
    assert one.old_in_use == 0
    refused = figure_of(one.between).refused
    assert refused is not None and "let people mark" in refused.next
    assert one.between.hypotheses[0].verdict == "undecided"
    assert all(result.scorer != "judge-corrected" for result in one.between.criteria)
    assert [trust.calibration for trust in one.between.trust] == ["none"]
    assert one.after.low is not None and one.after.high is not None
    assert one.after.low <= AFTER <= one.after.high and one.after.high - one.after.low <= 0.30


def test_the_old_labels_are_kept_and_say_what_has_changed() -> None:
    bench, world = two_systems(np.random.default_rng(3))
    before = bench.store.counts()["grades"]
    again = later(bench, world, systems=study("two", 1, {"a": "first", "b": "second"}, PEOPLE).systems)
    again.run()
    assert (labels(again, "b"), stale(again, "b")) == (0, 20)
    assert again.store.counts()["grades"] > before
    whys = {cell.grade.failure.why for row in again.table().of("b") for cell in row.cells if cell.grade and cell.grade.failure}
    assert whys == {"the response has changed since ana marked it; the mark does not count for the present one"}


def test_only_the_labels_that_the_change_touches_go() -> None:
    bench, world = two_systems(np.random.default_rng(4))
    again = later(bench, world, systems=study("two", 1, {"a": "first", "b": "second"}, PEOPLE).systems)
    again.run()
    assert (labels(again, "a"), labels(again, "b")) == (20, 0)
    by_system = next(trust for trust in again.calibrate() if trust.grader == "judge").by_system
    assert (by_system["a"], by_system["b"]) == ("own", "none")
    difference = again.analyse().hypotheses[0]
    assert difference.verdict == "undecided" and difference.estimate.refused is not None
    again.assign()
    assert mark_all(again, world) == 20
    assert again.analyse().hypotheses[0].estimate.refused is None


def test_going_back_to_the_first_system_brings_its_labels_back() -> None:
    bench, world = two_systems(np.random.default_rng(5))
    was = figure_of(bench.analyse())
    changed = later(bench, world, systems=study("two", 1, {"a": "second", "b": "other"}, PEOPLE).systems)
    changed.run()
    assert labels(changed, "a") == 0
    back = later(bench, world)
    assert labels(back, "a") == 20 and figure_of(back.analyse()) == was


def test_an_answer_that_stays_word_for_word_is_marked_anew_too() -> None:
    """The share that is marked says how it was drawn only where every label is of the draw from the present answers."""
    bench, world = two_systems(np.random.default_rng(6))
    slots = bench.slots()
    spec = bench.study.systems["b"]
    renewed = replace(spec, prompt="other", model=replace(spec.model, options={"temperature": 0, "seed": 1}) if spec.model else None)
    again = later(bench, world, systems={**bench.study.systems, "b": renewed})
    again.run()
    texts = {(slot.case.id, slot.system): slot.response.answer.text for slot in slots if slot.response and slot.response.answer}
    same = [slot for slot in again.slots() if slot.response and slot.response.answer]
    assert all(texts[slot.case.id, slot.system] == slot.response.answer.text for slot in same if slot.response and slot.response.answer)
    assert labels(again, "b") == 0
    again.assign()
    assert labels(again, "b") == 20  # the mark of the same words by the same person counts, once the draw asks for it
