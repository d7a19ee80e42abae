"""What is printed never contradicts what was decided."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report import fixture

from fairmark.report import sentences
from fairmark.report.figures import bound_text, chance, figures, hundredths, usd
from fairmark.results import HypothesisResult

shares = st.floats(0, 1, allow_nan=False)
differences = st.floats(-1, 1, allow_nan=False)


def side(number: float, bound: float) -> int:
    exact, held = hundredths(number), hundredths(bound)
    return (exact > held) - (exact < held)


def printed_side(text: str, bound: float) -> int | None:
    """Where a reader sees the printed number: over, under or on the printed bound. None: it speaks of another bound."""
    shown = bound_text(bound)
    for word, answer in (("just over ", 1), ("just under ", -1)):
        if text.startswith(word):
            return answer if text == word + shown else None
    number, held = Decimal(text.replace("−", "-")), Decimal(shown.replace("−", "-"))
    return (number > held) - (number < held)


def near(bound: float) -> st.SearchStrategy[float]:
    """Numbers that rounding would carry onto the bound."""
    return st.floats(-1e-2, 1e-2).map(lambda d: min(1.0, max(0.0, bound + d))) | st.floats(-1e-9, 1e-9).map(
        lambda d: min(1.0, max(0.0, bound + d))
    )


@given(st.data(), st.sampled_from([0.75, 0.7, 0.9, 0.05, 1 / 3, 0.074, 0.5]), st.booleans())
def test_every_printed_number_stays_on_its_side_of_the_bound(data: st.DataObject, bound: float, words: bool) -> None:
    low, value, high = sorted(data.draw(st.lists(shares | near(bound), min_size=3, max_size=3)))
    shown = figures(value, low, high, bounds=(bound, 0.0, 1.0), words=words)
    for number, text in ((low, shown.low), (value, shown.value), (high, shown.high)):
        for edge in (bound, 0.0, 1.0):
            assert printed_side(text, edge) in (side(number, edge), None), (number, text, edge)


@given(st.lists(differences, min_size=3, max_size=3).map(sorted), st.sampled_from([0.05, -0.03, 0.0]))
def test_the_same_for_differences(numbers: list[float], bound: float) -> None:
    low, value, high = numbers
    shown = figures(value, low, high, bounds=(bound, 0.0))
    for number, text in ((low, shown.low), (value, shown.value), (high, shown.high)):
        for edge in (bound, 0.0):
            assert printed_side(text, edge) in (side(number, edge), None)


@pytest.mark.parametrize(
    ("low", "words", "shown"),
    [
        (0.7496, False, "74.96"),
        (0.7496, True, "just under 75"),
        (0.75, False, "75"),
        (0.7500001, False, "just over 75"),
        (0.7449, False, "74"),
        (0.0, False, "0"),
        (0.0004, True, "just over 0"),
    ],
)
def test_a_bound_of_75(low: float, words: bool, shown: str) -> None:
    assert figures(0.85, low, 0.93, bounds=(0.75, 0.0, 1.0), words=words).low == shown


def test_ends_that_differ_are_printed_apart() -> None:
    shown = figures(0.8, 0.7996, 0.8004)
    assert shown.low != shown.high


def hypothesis_of(kind: str, low: float, value: float, high: float, margin: float, verdict: str) -> HypothesisResult:
    systems = ("a", "b") if kind in ("better", "no_worse_than") else ("a",)
    found = fixture.estimate(value, low, high)
    return HypothesisResult(
        "H",
        "",
        kind,
        "x>=yes",
        systems,
        margin,
        True,
        False,
        verdict,
        found,
        0.5,
        0.5,
        0.025,
        0.025,  # type: ignore[arg-type]
    )


@given(st.lists(shares | near(0.75), min_size=3, max_size=3).map(sorted), st.sampled_from(["at_least", "at_most"]))
def test_the_sentence_and_its_verdict_never_contradict(numbers: list[float], kind: str) -> None:
    low, value, high = numbers
    up = kind == "at_least"
    beyond = low > 0.75 if up else high < 0.75
    contrary = high < 0.75 if up else low > 0.75
    verdict = "supported" if beyond else "refuted" if contrary else "undecided"
    result = hypothesis_of(kind, low, value, high, 0.75, verdict)
    shown = sentences.figures_for(result)
    assert shown is not None
    read_low, read_high = printed_side(shown.low, 0.75), printed_side(shown.high, 0.75)
    read_low = (1 if "over 100" in shown.low or shown.low == "just under 100" else -1) if read_low is None else read_low
    read_high = (-1 if shown.high == "just over 0" else 1) if read_high is None else read_high
    seen = "supported" if (read_low > 0 if up else read_high < 0) else "refuted" if (read_high < 0 if up else read_low > 0) else "undecided"
    assert seen == verdict


@pytest.mark.parametrize(
    ("low", "value", "high", "words"),
    [
        (0.06, 0.14, 0.22, "about 14 more than b (between 6 and 22 more)"),
        (-0.03, 0.04, 0.11, "about 4 more than b (between 3 fewer and 11 more)"),
        (-0.22, -0.14, -0.06, "about 14 fewer than b (between 6 and 22 fewer)"),
        (-0.05, 0.0, 0.05, "as many as b (between 5 fewer and just under 5 more)"),
        (0.0, 0.1, 0.2, "about 10 more than b (between 0 and 20 more)"),
        (-0.2, -0.1, 0.0, "about 10 fewer than b (between 0 and 20 fewer)"),
        (-0.0002, 0.1, 0.2, "about 10 more than b (between a trace fewer and 20 more)"),
        (-0.2, -0.1, -0.0002, "about 10 fewer than b (between just over 0 and 20 fewer)"),
    ],
)
def test_differences_read_as_more_and_fewer(low: float, value: float, high: float, words: str) -> None:
    margin = 0.0500001 if value == 0.0 else 0.3
    found = str(sentences.found(hypothesis_of("better", low, value, high, margin, "undecided")))
    assert words in found


def test_small_figures() -> None:
    assert usd(0.0) == "0 USD"
    assert usd(0.00423) == "0.0042 USD"
    assert usd(1234.5) == "1,234.50 USD"
    assert chance(0.00001, 0.025) == "below 0.001"
    assert chance(0.0121, 0.025) == "0.012"
    assert chance(0.0252, 0.025) == "0.0252"
    assert chance(0.0250000000001, 0.025) == "just over 0.025"
    assert bound_text(0.075) == "7.5"
