"""Patterns that would never end are stopped, and the next one is tried as if nothing had happened."""

from __future__ import annotations

import re
import threading

import pytest

from fairmark.graders.patterns import Matcher, TookTooLong


def test_a_pattern_that_never_ends_is_stopped_and_the_next_one_works() -> None:
    matcher = Matcher(seconds=2)
    try:
        with pytest.raises(TookTooLong):
            matcher.span("(a+)+$", 0, "a" * 60 + "b", full=False)
        assert matcher.span("a+", 0, "baab", full=False) == (1, 3)
        assert matcher.span("a+", 0, "baab", full=True) is None
        assert matcher.span("A+", re.IGNORECASE, "\ud800aa\nü\u2028", full=False) == (1, 3)
    finally:
        matcher.close()


def test_a_matcher_is_shared_between_threads() -> None:
    matcher = Matcher(seconds=60)
    found: dict[int, tuple[int, int] | None] = {}

    def look(place: int) -> None:
        found[place] = matcher.span("x", 0, "-" * place + "x", full=False)

    threads = [threading.Thread(target=look, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    matcher.close()
    assert found == {place: (place, place + 1) for place in range(8)}


def test_a_closed_matcher_starts_again() -> None:
    matcher = Matcher(seconds=60)
    assert matcher.span("a", 0, "a", full=False) == (0, 1)
    matcher.close()
    assert matcher.span("a", 0, "ba", full=False) == (1, 2)
    matcher.close()
