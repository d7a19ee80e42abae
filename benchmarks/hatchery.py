"""A process that has fairmark imported already and forks a child for each command, so that a thousand kills take minutes.

The child is a process of its own that runs `fairmark ARGUMENTS` from the first line of `main` to its exit code; what it has
been spared is a second of imports, in which a kill would hit nothing.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PRELOADED = [
    "fairmark.cli.app",
    "fairmark.cli.commands",
    "fairmark.cli.screen",
    "fairmark.cli.verifying",
    "fairmark.calls",
    "fairmark.analyse",
    "fairmark.calibrate",
    "fairmark.load",
    "fairmark.people",
    "fairmark.tuning",
    "fairmark.report",
    "fairmark.report.page",
    "fairmark.report.browser",
    "fairmark.plan",
    "fairmark.graders",
    "fairmark.providers",
    "fairmark.providers.openai",
    "fairmark.store",
    "fairmark.table",
    "fairmark.workbench",
    "fairmark.audit",
]


MOST_SECONDS = 300.0  # for one command


@dataclass
class Child:
    """One command that runs, or ran."""

    pid: int
    said: Path  # its stdout
    wrong: Path  # its stderr
    code: int | None = None  # exit code, or minus the signal that ended it

    def document(self) -> Any:
        """What it printed under `--json`."""
        return json.loads(self.said.read_text(encoding="utf-8"))


@dataclass
class Hatchery:
    """One child at a time. `with Hatchery(scratch) as hatchery`; `scratch` is where children's words go."""

    scratch: Path
    before: Sequence[str] = ()  # what it is started by, such as setpriv
    hatched: int = 0
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Hatchery:
        self._process = subprocess.Popen(
            [*self.before, sys.executable, "-c", "from benchmarks.hatchery import hatch; hatch()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that a line that is there can be told from one that was not said
            cwd=Path(__file__).resolve().parents[1],
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def start(self, arguments: Sequence[str], *, limits: Mapping[str, int] | None = None) -> Child:
        """Starts `fairmark ARGUMENTS`. `limits` are names and values of `resource.setrlimit`, such as RLIMIT_FSIZE."""
        assert self._process.stdin is not None
        self.hatched += 1
        said, wrong = self.scratch / f"{self.hatched}.out", self.scratch / f"{self.hatched}.err"
        order = {"arguments": list(arguments), "said": str(said), "wrong": str(wrong), "limits": dict(limits or {})}
        self._process.stdin.write(f"{json.dumps(order)}\n".encode())
        return Child(int(self._line()), said, wrong)

    def end(self, child: Child) -> int:
        """Waits until it has ended, by itself or because it was killed."""
        assert self._process.stdin is not None
        child.code = int(self._line())
        self._process.stdin.write(b"ended\n")
        return child.code

    def ended(self) -> bool:
        """Whether the child has ended. Until `end` is called its number is nobody else's."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def run(self, arguments: Sequence[str], *, limits: Mapping[str, int] | None = None) -> Child:
        child = self.start(arguments, limits=limits)
        self.end(child)
        return child

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], MOST_SECONDS)[0]:
            self._process.kill()
            raise RuntimeError(f"a command did not end within {MOST_SECONDS:.0f} seconds")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the hatchery has ended")
        return line


def hatch() -> None:
    """The process itself: reads orders, forks, says the child's number, and in the end its exit code."""
    from importlib import import_module

    for name in PRELOADED:
        import_module(name)
    stats = import_module("fairmark.stats")
    for name in stats.__all__:
        getattr(stats, name)  # which reads its method
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this
    while line := sys.stdin.readline():
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        print(pid, flush=True)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # not buried yet, so that no other process gets its number
        assert ended is not None
        print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)
        sys.stdin.readline()
        os.waitpid(pid, 0)


def _child(order: Mapping[str, Any]) -> None:
    import resource

    code = 70
    try:
        for number, name in ((0, "/dev/null"), (1, order["said"]), (2, order["wrong"])):
            opened = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # what Python itself does at its start
        for name, value in order["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        sys.argv = ["fairmark", *order["arguments"]]
        from fairmark.cli.app import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
