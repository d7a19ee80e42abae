"""Regular expressions with a deadline.

A pattern such as `(a+)+$` can take longer than the universe on thirty characters, and Python's `re` cannot be
interrupted. So patterns that people write are tried on text that models write in one small child process, which is
stopped when it takes too long and started again for the next match.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from dataclasses import dataclass

SECONDS = 5.0
LONGEST = 200_000  # characters of a response that patterns look at

# The child sets itself an alarm with its default action, so that it also ends when its parent was killed meanwhile.
_CHILD = """
import json, re, signal, sys
alarm = getattr(signal, "alarm", None)
for line in sys.stdin:
    job = json.loads(line)
    if alarm: alarm(job["seconds"])
    pattern = re.compile(job["pattern"], job["flags"])
    match = (pattern.fullmatch if job["full"] else pattern.search)(job["text"])
    if alarm: alarm(0)
    print(json.dumps(match and match.span()), flush=True)
"""


class TookTooLong(Exception):
    """A pattern that found no answer within the deadline."""


@dataclass(slots=True)
class _Timer:
    rang: bool = False


class Matcher:
    """A child process that matches patterns, kept between matches. Safe to share between threads."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def span(self, pattern: str, flags: int, text: str, *, full: bool) -> tuple[int, int] | None:
        """Where the pattern matches, or None. `TookTooLong` after the deadline; `OSError` where no child can be started."""
        job = json.dumps({"pattern": pattern, "flags": flags, "text": text, "full": full, "seconds": int(self._seconds) + 2})
        with self._lock:
            child = self._child or self._start()
            assert child.stdin is not None
            assert child.stdout is not None
            state = _Timer()

            def ring() -> None:
                state.rang = True
                child.kill()

            timer = threading.Timer(self._seconds, ring)
            timer.daemon = True
            timer.start()
            try:
                child.stdin.write(job + "\n")
                child.stdin.flush()
                reply = child.stdout.readline()
            except OSError:
                reply = ""
            finally:
                timer.cancel()
            if not reply or state.rang:
                self._stop()
            if not reply:
                if state.rang:
                    raise TookTooLong(f"no answer within {self._seconds:g} seconds")
                raise OSError("the process that matches patterns ended by itself")
            found = json.loads(reply)
            return (found[0], found[1]) if found else None

    def close(self) -> None:
        """Ends the child, if there is one."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[str]:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
        )
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was not yet written has nowhere to go
                    continue
        child.wait()


MATCHER = Matcher()
atexit.register(MATCHER.close)
