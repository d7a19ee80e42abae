"""The pool: asks providers many things at once, and knows nothing of steps or of the store.

Jobs are pulled from an iterator and what follows from an answer goes first, so memory is what is in flight. Every wait has
a deadline, every retry a count and a reason, and a slot is given back while a retry waits.
"""

from __future__ import annotations

from fairmark.calls.jobs import Clock, Job, Ledger, Policy, Tally, WallClock
from fairmark.calls.pool import perform

__all__ = ["Clock", "Job", "Ledger", "Policy", "Tally", "WallClock", "perform"]
