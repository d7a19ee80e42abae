"""Many people at once while a run writes: nothing is lost, doubled or refused. How fast that is says benchmarks/marking.py."""

from __future__ import annotations

from benchmarks import marking


def test_ten_markers_beside_a_run_lose_and_double_nothing() -> None:
    ledger, lost, doubled, wrong = marking.measure(markers=10, marks=12, rows=200, think=0.05)
    assert (lost, doubled, wrong) == (0, 0, 0)
    assert ledger.refused == []  # no "database is locked" either
    assert len(ledger.acts) == 10 * 12 < len(ledger.seconds)  # some of them were sent twice
