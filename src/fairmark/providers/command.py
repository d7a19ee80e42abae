"""A program as a system: arguments with slots, the input on standard input, the answer on standard output. Never a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from fairmark.errors import Mistake
from fairmark.providers.addresses import THIS_MACHINE
from fairmark.providers.ingress import clip, decoded
from fairmark.providers.secrets import Secrets
from fairmark.providers.templates import fill_text, values_of
from fairmark.records import Answer, Failure, Question
from fairmark.study import SystemSpec

LARGEST_OUTPUT = 20 * 2**20  # bytes
STDERR_TAIL = 8192  # bytes kept of standard error
STDERR_LINES = 3
WHY_LENGTH = 400
_PIECE = 65536
END_WITHIN = 5.0  # seconds


class Command:
    """A program that is started once for each question, in the study's folder and in a process group of its own."""

    host = THIS_MACHINE

    def __init__(self, spec: SystemSpec, *, env: Mapping[str, str], folder: Path) -> None:
        if not spec.command or not spec.command[0].strip():
            raise Mistake.in_call(f"the command of {spec.name} names no program", allowed='a list such as [program, "{{input}}"]')
        self.name = spec.name
        self._command = spec.command
        self._folder = folder
        self._env = dict(env)
        self._secrets = Secrets(env)

    def __repr__(self) -> str:
        return f"Command({self.name!r})"

    async def ask(self, question: Question) -> Answer | Failure:
        """One run of the program. Cancelling ends it with all it has started."""
        values = values_of(question)
        program, *arguments = (fill_text(part, values) for part in self._command)
        begun = time.perf_counter()
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self._folder,
                env=self._env,
                start_new_session=True,
            )
        except (UnicodeError, ValueError):
            return Failure(
                "bad_request", self._command[0], "a value from the case cannot be an argument: it holds a NUL or half a character"
            )
        except OSError as error:
            why = f"it could not be started: {error.strerror or type(error).__name__}"
            return Failure("code_error", self._command[0], clip(self._secrets.redact(why), WHY_LENGTH))
        try:
            said, complaint = await self._talk(process, str(values["input"]).encode("utf-8", "backslashreplace"))
        finally:
            await _end(process)
        if said is None:
            return Failure("broken_reply", self._command[0], f"it printed more than {LARGEST_OUTPUT // 2**20} MB")
        if process.returncode:
            return Failure("code_error", self._command[0], self._told(process.returncode, complaint))
        text = decoded(said).removesuffix("\n").removesuffix("\r")
        if not text.strip():
            return Failure("empty_reply", self._command[0], "it printed nothing on standard output")
        return Answer(self._secrets.redact_answer(text), seconds=time.perf_counter() - begun)

    async def close(self) -> None:
        pass

    async def _talk(self, process: asyncio.subprocess.Process, given: bytes) -> tuple[bytes | None, bytes]:
        """Standard output (None where it is too much) and the end of standard error, once the program has ended."""
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        feeding = asyncio.ensure_future(_feed(process.stdin, given))
        tail = asyncio.ensure_future(_tail(process.stderr))
        try:
            said = bytearray()
            while piece := await process.stdout.read(_PIECE):
                said += piece
                if len(said) > LARGEST_OUTPUT:
                    return None, b""
            complaint = await tail
            await process.wait()
            return bytes(said), complaint
        finally:
            for task in (feeding, tail):
                task.cancel()
            await asyncio.gather(feeding, tail, return_exceptions=True)

    def _told(self, code: int, complaint: bytes) -> str:
        ended = f"it ended with exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                ended = f"it was ended by {signal.Signals(-code).name}"
        lines = [line for line in self._secrets.redact(decoded(complaint)).splitlines() if line.strip()]
        last = clip(" / ".join(lines[-STDERR_LINES:]), WHY_LENGTH)
        return f"{ended}: {last}" if last else ended


async def _feed(stdin: asyncio.StreamWriter, given: bytes) -> None:
    """Programs need not read their input."""
    with contextlib.suppress(ConnectionError):
        stdin.write(given)
        await stdin.drain()
    stdin.close()
    with contextlib.suppress(ConnectionError):
        await stdin.wait_closed()


async def _tail(stream: asyncio.StreamReader) -> bytes:
    last = b""
    while piece := await stream.read(_PIECE):
        last = (last + piece)[-STDERR_TAIL:]
    return last


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends what still runs of the program and of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            process.kill()
    if process.returncode is None:
        await asyncio.shield(_gone(process))


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Waits for the end, reading what is left: a full pipe that nobody reads would keep the wait from ending.

    Something that left the program's group may hold the pipes open for ever, so that the wait itself has an end.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_WITHIN):
            for stream in (process.stdout, process.stderr):
                while stream is not None and await stream.read(_PIECE):
                    pass
            await process.wait()
