"""The receipt of a grader: what it counts, what it advises, and what it never says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from fairmark.calibrate import Receipt
from fairmark.cli import screen
from fairmark.records import Answer, Question
from fairmark.rubric import Criterion, Rubric
from fairmark.study import Chosen, GraderSpec, Mark, ModelSpec, SystemSpec
from fairmark.workbench import Workbench
from tests.bench import Fake, bench, cases, study

Says = Callable[[int, bool], bool]  # of a case's number and whether its answer is good


def checked(
    good: Mapping[int, bool], says: Says, people: Mapping[str, Mapping[int, bool]], *, chosen: Chosen = "all", repeats: int = 1
) -> Workbench:
    """One system, an LLM grader that says what `says` says, and people's recorded marks by case number."""
    rubric = Rubric((Criterion.yes_no("right", yes="is right", no="is wrong"),))
    base = study(n=len(good))
    recorded = {(f"c{number}", 1): f"answer {number}" for number in good}

    def reply(question: Question) -> Answer:
        number = int(re.findall(r"answer (\d+)", question.messages[-1].content)[-1])
        level = "yes" if says(number, good[number]) else "no"
        return Answer(json.dumps({"evidence": "", "reason": "", "level": level}), "stop", "fake", None, 0.0)

    marks = tuple(
        Mark(f"c{number}", "bare", 1, "right", who, "yes" if right else "no")
        for who, given in people.items()
        for number, right in given.items()
    )
    graders = {
        "judge": GraderSpec("judge", "llm", ("right",), model=ModelSpec("openai", "m", {"temperature": 0}), repeats=repeats),
        "experts": GraderSpec("experts", "recorded", ("right",), marks=marks, chosen=chosen),
    }
    made = bench(
        replace(
            base, cases=cases(len(good)), rubric=rubric, systems={"bare": SystemSpec("bare", "recorded", recorded=recorded)},
            graders=graders, hypotheses=(), groups=("variety",), population={},
        ),
        Fake(reply),
    )  # fmt: skip
    made.run()
    return made


def receipt(made: Workbench) -> Receipt:
    found = made.calibrate()[0].receipt
    assert isinstance(found, Receipt)
    json.dumps(found.as_dict(), allow_nan=False)
    return found


GOOD = {number: number % 4 != 0 for number in range(1, 101)}  # 75 of 100


def test_by_hand_on_40_of_100_responses() -> None:
    """People mark the first 40 (30 good); the grader passes 27 of the 30 good ones and 2 of the 10 bad ones."""
    wrong = {1, 2, 3, 4, 8}  # three good ones failed, two bad ones passed
    made = checked(GOOD, lambda number, right: right != (number in wrong), {"eva": {n: GOOD[n] for n in range(1, 41)}}, chosen="random")
    found = receipt(made)
    assert found.agreement is not None and found.at_pass is not None and found.severity is not None
    assert found.agreement.confusion == ((8, 2), (3, 27))
    assert found.at_pass.sensitivity is not None and found.at_pass.sensitivity.value == pytest.approx(0.9)
    assert found.at_pass.specificity is not None and found.at_pass.specificity.value == pytest.approx(0.8)
    assert found.at_pass.positive_predictive_value is not None
    assert found.at_pass.positive_predictive_value.value == pytest.approx(27 / 29)
    assert found.severity.value == pytest.approx((29 - 30) / 40)  # one pass too few on 40 responses: a shade too severe
    assert (found.n_pairs, found.n_single, found.n_agreed, found.n_split) == (40, 40, 0, 0)
    assert any("one person alone" in warning for warning in found.warnings)
    assert found.slips[0] == (0.02, pytest.approx((0.75 - 0.02) / 0.96))
    system = found.systems[0]
    passed = sum(right != (number in wrong) for number, right in GOOD.items())
    assert system.raw == pytest.approx(passed / 100)
    # of its 74 passes people bear out 27 in 29, of its 26 fails 3 in 11 are passes
    assert system.corrected is not None and system.corrected.value == pytest.approx(
        (passed * 27 / 29 + (100 - passed) * 3 / 11) / 100, abs=0.002
    )
    assert system.width is not None and system.width_with_more is not None and system.width_with_more < system.width
    assert sum(system.next_labels.values()) == 20
    assert found.advice == "use its marks, corrected by people's"
    assert found.group_calibration == {"variety: formal": "own", "variety: informal": "own"}
    assert found.ceiling is None and found.replaces is None  # one person: nothing to compare with


def test_split_people_give_no_reference_and_are_counted() -> None:
    eva = {n: GOOD[n] for n in range(1, 61)}
    udo = {n: GOOD[n] if n > 10 else not GOOD[n] for n in range(1, 61)}
    found = receipt(checked(GOOD, lambda _, right: right, {"eva": eva, "udo": udo}))
    assert (found.n_pairs, found.n_agreed, found.n_split) == (50, 50, 10)
    assert found.ceiling is not None and found.ceiling.people_equal == pytest.approx(50 / 60)


def test_a_grader_that_is_asked_again_shows_how_steady_it_is() -> None:
    found = receipt(checked(GOOD, lambda _, right: right, {"eva": GOOD}, repeats=2))
    assert found.steady is not None and found.steady.flip_rate.value == 0.0


@pytest.mark.long  # a sample of the bar "B15 product" is drawn in every CI
@pytest.mark.parametrize("kind", ["constant", "chance", "good"])
def test_what_is_advised_of_constant_chance_and_good_graders(kind: str) -> None:
    """40 studies a kind: constant and chance graders are never recommended, a good one in most."""
    rng = np.random.default_rng(5)
    recommended = replaced = 0
    for _ in range(40):
        good = dict(enumerate((rng.random(100) < 0.7).tolist(), 1))
        people = {who: {n: right != (rng.random() < 0.05) for n, right in good.items()} for who in ("eva", "udo", "ida")}
        drawn = dict(enumerate(rng.random(100).tolist(), 1))
        says: Says = {
            "constant": lambda number, right: True,
            "chance": lambda number, right, drawn=drawn: drawn[number] < 0.7,
            "good": lambda number, right, drawn=drawn: right != (drawn[number] < 0.05),
        }[kind]
        found = receipt(checked(good, says, people))
        recommended += found.advice == "use its marks, corrected by people's"
        replaced += found.replaces is not None and found.replaces.verdict == "yes"
    if kind == "good":
        assert recommended >= 36 and replaced >= 28
    else:
        assert recommended == 0 and replaced == 0


def test_groups_are_shown_with_what_they_rest_on_and_slips_only_of_a_picture_of_all() -> None:
    wrong = {1, 2, 3, 4, 8}
    people = {"eva": {n: GOOD[n] for n in range(1, 61)}}
    found = receipt(checked(GOOD, lambda number, right: right != (number in wrong), people, chosen="random"))
    formal = found.group_shares["variety: formal"].sensitivity
    # of the 30 odd ones among the first 60 all are good, and the grader fails numbers 1 and 3
    assert formal is not None and formal.n_cases == 30 and formal.value == pytest.approx(28 / 30)
    assert found.groups["variety"].pairs[0].verdict == "NOT_TESTED"  # nothing is marked twice: never called unfair
    assert found.slips
    drawn = receipt(checked(GOOD, lambda number, right: right != (number in wrong), people, chosen="stratified"))
    assert drawn.slips == ()


@pytest.mark.parametrize(("shift", "words"), [(0, "0, between"), (1, "too kind, between"), (-1, "too severe, between")])
def test_the_card_says_which_way_a_grader_leans_in_the_same_words_throughout(shift: int, words: str) -> None:
    people = {"eva": GOOD}
    says = {
        0: lambda number, right: right,
        1: lambda number, right: right or number % 8 == 0,
        -1: lambda number, right: right and number % 8 != 1,
    }
    found = receipt(checked(GOOD, says[shift], people))
    assert found.severity is not None and found.severity.value is not None
    said = screen.leaning(found.severity)
    assert words in said
    if shift:
        low, high = ("too severe", "too kind") if shift < 0 else ("too kind", "too severe")
        assert said.count(low) == 3 and high not in said  # the whole range lies on one side
