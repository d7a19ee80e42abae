"""How long an endpoint asks us to wait, in every way in which endpoints say so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark.providers.transport import LONGEST_WAIT, retry_after

NOW = 1_794_000_000.0  # 6 November 2026, 21:20:00 UTC


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.25 "}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "-inf"}, 0.0),
        ({"retry-after": "1e999"}, LONGEST_WAIT),
        ({"retry-after": "86400"}, LONGEST_WAIT),
        ({"retry-after": "1000000000"}, LONGEST_WAIT),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7, 7"}, None),
        ({"retry-after": "20s"}, 20.0),
        ({"retry-after": "1.2.3s"}, None),
        ({"retry-after": "Fri, 06 Nov 2026 21:20:12 GMT"}, 12.0),
        ({"retry-after": "Fri, 06 Nov 2026 21:20:12 -0000"}, 12.0),
        ({"retry-after": "Friday, 06-Nov-26 21:20:12 GMT"}, 12.0),
        ({"retry-after": "Fri, 06 Nov 2026 21:10:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 99 Nov 2026 21:10:00 GMT"}, None),
        ({"retry-after": "2026-11-06T21:20:30Z"}, 30.0),
        ({"retry-after": "2026-11-06T21:20:30"}, 30.0),
        ({"retry-after": "1794000045"}, 45.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"x-ratelimit-reset-requests": "1s"}, 1.0),
        ({"x-ratelimit-reset-requests": "6m0s"}, LONGEST_WAIT),
        ({"x-ratelimit-reset-requests": "2m59.5s"}, 179.5),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "1s120ms"}, 1.12),
        ({"x-ratelimit-reset-requests": "1h"}, LONGEST_WAIT),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "5s"}, 5.0),
        (
            {
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "5s",
                "x-ratelimit-remaining-tokens": "9000",
            },
            2.0,
        ),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-remaining-requests": "3"}, None),
        ({"retry-after": "9", "x-ratelimit-reset-requests": "2s"}, 9.0),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-06T21:20:04Z"}, 4.0),
        ({"ratelimit-reset": "30"}, 30.0),
        ({"x-ratelimit-reset": "1794000045000"}, 45.0),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    found = retry_after(headers, now=NOW)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


@given(
    st.text() | st.from_regex(r"[0-9.]{0,9}[hms]{0,2}[0-9.eE+-]{0,9}(ms|s|m|h)?", fullmatch=True),
    st.sampled_from(["retry-after", "ratelimit-reset"]),
)
def test_nothing_that_is_said_raises_or_asks_for_more_than_the_longest_wait(said: str, name: str) -> None:
    found = retry_after({name: said}, now=NOW)
    assert found is None or 0 <= found <= LONGEST_WAIT
