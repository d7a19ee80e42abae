"""Tuning discipline: which cases graders are tuned on, what they are shown, and that only the other cases' labels decide."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fairmark import load
from fairmark.errors import Mistake
from fairmark.study import Tuning
from tests.bench import cases, study
from tests.load.files import STUDY, write

SPLIT = Tuning(0.2, 0.3)


# ---------------------------------------------------------------- the split


def test_the_parts_have_their_shares_on_average() -> None:
    parts = Counter(SPLIT.part("any", f"c{number}") for number in range(20_000))
    assert parts["train"] / 20_000 == pytest.approx(0.2, abs=0.012)  # 4 standard errors
    assert parts["dev"] / 20_000 == pytest.approx(0.3, abs=0.013)


def test_a_case_stays_in_its_part_when_cases_are_added_or_taken_out() -> None:
    small, large = study(n=20, tuning=SPLIT), study(n=60, tuning=SPLIT)
    assert [small.part(case) for case in small.cases] == [large.part(case) for case in large.cases[:20]]
    assert {large.part(case) for case in large.cases} == {"train", "dev", "test"}


def test_another_study_parts_the_same_cases_otherwise() -> None:
    one, other = study(n=60, tuning=SPLIT), study(n=60, tuning=SPLIT, name="another")
    assert [one.part(case) for case in one.cases] != [other.part(case) for case in other.cases]


def test_a_larger_dev_takes_from_test_alone() -> None:
    before, after = study(n=60, tuning=SPLIT), study(n=60, tuning=Tuning(0.2, 0.5))
    moved = {(before.part(case), after.part(case)) for case in before.cases}
    assert ("test", "dev") in moved and moved <= {("train", "train"), ("dev", "dev"), ("test", "dev"), ("test", "test")}


def test_cases_of_one_cluster_are_never_parted() -> None:
    clustered = study(n=80, tuning=SPLIT, cluster="customer")
    by_customer: dict[object, set[str]] = {}
    for case in clustered.cases:
        by_customer.setdefault(case.fields["customer"], set()).add(clustered.part(case))
    assert all(len(parts) == 1 for parts in by_customer.values())
    assert len({part for parts in by_customer.values() for part in parts}) == 3


def test_without_a_split_every_case_tests() -> None:
    assert {study(n=9).part(case) for case in cases(9)} == {"test"}


def test_a_split_is_frozen_and_a_study_without_one_keeps_its_fingerprint() -> None:
    plain = study()
    assert "tuning" not in plain.document()
    assert replace(plain, tuning=SPLIT).fingerprint() != plain.fingerprint()


# ---------------------------------------------------------------- as it is written


@pytest.mark.parametrize("written", ["{train: 20%, dev: 30%}", "{train: 0.2, dev: 0.3}", '{train: "20 %", dev: 30.0%}'])
def test_shares_are_read_as_percent_or_as_numbers(tmp_path: Path, written: str) -> None:
    assert load.study(write(tmp_path, {"study.yaml": STUDY + f"tuning: {written}\n"})).tuning == SPLIT


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("{train: 20%}", "`dev` is missing"),
        ("{train: 50%, dev: 50%}", "take 100% of the cases"),
        ("{train: 20, dev: 30%}", "20"),
        ("{train: 20%, dev: 130%}", "1.3"),
        ("{train: a fifth, dev: 30%}", "a fifth"),
        ("{train: 20%, dev: 30%, test: 50%}", "test"),
    ],
)
def test_a_split_that_is_none_is_said_where_it_stands(tmp_path: Path, written: str, found: str) -> None:
    with pytest.raises(Mistake) as told:
        load.study(write(tmp_path, {"study.yaml": STUDY + f"tuning: {written}\n"}))
    assert found in str(told.value) and "study.yaml:" in str(told.value)


def test_examples_need_a_part_they_are_taken_from(tmp_path: Path) -> None:
    asked = STUDY.replace("{llm: openai/some-model, criteria: [resolves]}", "{llm: openai/some-model, criteria: [resolves], examples: 4}")
    assert asked != STUDY
    with pytest.raises(Mistake, match="4 examples, and no part of the cases"):
        load.study(write(tmp_path, {"study.yaml": asked}))
    told = load.study(write(tmp_path, {"study.yaml": asked + "tuning: {train: 20%, dev: 30%}\n"}))
    assert told.graders["judge"].examples == 4
