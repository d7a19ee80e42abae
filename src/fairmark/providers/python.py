"""A Python function as a system: `file.py:function`, run in this process as its author's own code."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import hashlib
import inspect
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from fairmark.errors import CannotDo, Mistake
from fairmark.providers.addresses import THIS_MACHINE
from fairmark.providers.ingress import clip, count, visible
from fairmark.providers.secrets import Secrets
from fairmark.providers.templates import values_of
from fairmark.records import Answer, Failure, Json, Question, Usage
from fairmark.study import SystemSpec

WHY_LENGTH = 400
RESULT_KEYS = ("output", "usd", "usage")
USAGE_KEYS = ("input_tokens", "cached_tokens", "output_tokens")


class Function:
    """A function from the study's folder.

    It is called with the input as text, and where it takes a second argument, or one named `case`, with a fresh mapping
    of the case: `id`, `input`, `messages` and every column but the reference answer. Plain functions run in a thread of
    their own, so a deadline leaves them behind and ends nothing inside them; `async def` is cancelled. What it prints goes
    to standard error.
    """

    host = THIS_MACHINE

    def __init__(self, spec: SystemSpec, *, env: Mapping[str, str], folder: Path) -> None:
        file, colon, function = (spec.target or "").rpartition(":")
        if not colon or not file.endswith(".py") or not function.isidentifier():
            raise Mistake.in_call(f"`{spec.target}` does not name a Python function", allowed="file.py:function")
        self.name = spec.name
        self._where = f"{Path(file).name}:{function}"
        self._function_name = function
        self._path = (folder / file).absolute()
        try:
            self._source = self._path.read_bytes()
        except OSError as error:
            raise CannotDo("NO_CODE", f"{file} of the system {spec.name} cannot be read: {error.strerror}", "correct `python:`") from None
        self._sha256 = hashlib.sha256(self._source).hexdigest()
        if spec.code and spec.code != self._sha256:
            raise CannotDo(
                "CODE_CHANGED",
                f"{file} has changed since the study was read, so its answers would carry the name of other code",
                "run the command again",
            )
        self._secrets = Secrets({**os.environ, **env})
        self._loaded: tuple[Callable[..., Any], bool] | None = None

    def __repr__(self) -> str:
        return f"Function({self.name!r}, {self._where})"

    async def ask(self, question: Question) -> Answer | Failure:
        """One call."""
        begun = time.perf_counter()
        case = {"id": "", **copy.deepcopy(values_of(question))}
        text = str(case["input"])
        try:
            with _quiet():
                result = await _in_thread(lambda: self._call(text, case))
                if inspect.isawaitable(result):
                    result = await _finished(result)
        except _Raised as raised:
            return Failure("code_error", self._where, self._told(raised.error))
        return self._read(result, time.perf_counter() - begun)

    async def close(self) -> None:
        pass

    def _call(self, text: str, case: dict[str, Json]) -> object:
        if self._loaded is None:
            function = _function(self._path, self._source, self._sha256, self._function_name)
            self._loaded = function, _takes_case(function)
        function, takes_case = self._loaded
        if not takes_case:
            return function(text)
        return function(text, case=case) if _by_name(function) else function(text, case)

    def _read(self, result: object, seconds: float) -> Answer | Failure:
        given: Mapping[str, Json] = {"output": result} if isinstance(result, str) else result if isinstance(result, Mapping) else {}
        output, usd, tokens = given.get("output"), given.get("usd"), given.get("usage")
        unknown = [str(key) for key in given if key not in RESULT_KEYS]
        wrong = ""
        if not isinstance(output, str):
            wrong = f"returned {_typed(result, 'output')}"
        elif unknown:
            wrong = f"returned the key {unknown[0]}"
        elif usd is not None and not _is_money(usd):
            wrong = f"returned a usd of {usd!r}"
        elif tokens is not None and not _is_usage(tokens):
            wrong = f"returned a usage of {tokens!r}"
        if wrong or not isinstance(output, str):
            allowed = (
                'allowed is text, or {"output": text, "usd": number, "usage": {"input_tokens": n, "cached_tokens": n, "output_tokens": n}}'
            )
            return Failure("broken_reply", self._where, clip(self._secrets.redact(visible(f"it {wrong}; {allowed}")), WHY_LENGTH))
        if not output.strip():
            return Failure("empty_reply", self._where, "it returned no text")
        return Answer(
            text=self._secrets.redact_answer(visible(output)),
            usage=Usage(*(tokens.get(key) for key in USAGE_KEYS)) if tokens is not None else None,
            cost_usd=float(usd) if usd is not None else None,
            seconds=seconds,
        )

    def _told(self, error: BaseException) -> str:
        """The error as `file.py:line: Type: message`."""
        try:
            said = str(error)
        except Exception:
            said = "its message cannot be shown"
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self._path)]
        if isinstance(error, SyntaxError) and error.filename == str(self._path):
            lines = [error.lineno]
        place = f"{self._path.name}:{lines[-1]}" if lines else self._path.name
        return clip(self._secrets.redact(visible(f"{place}: {type(error).__name__}: {said}")), WHY_LENGTH)


# ------------------------------------------------------------------ running


class _Raised(Exception):
    """What the author's code raised, kept apart from what we raise ourselves."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


async def _in_thread(call: Callable[[], object]) -> object:
    """The call's result from a thread of its own, which a hanging call cannot keep the program from leaving."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[object] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: object, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(_Raised(error))
        else:
            done.set_result(result)

    def run() -> None:
        result: object = None
        error: BaseException | None = None
        try:
            result = context.run(call)
        except BaseException as raised:  # SystemExit in somebody's code ends that call, not the program
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="fairmark-system", daemon=True).start()
    return await done


async def _finished(result: Awaitable[object]) -> object:
    try:
        return await result
    except (Exception, SystemExit) as error:
        raise _Raised(error) from None


# ------------------------------------------------------------------ loading

_LOADING = threading.RLock()


def _function(path: Path, source: bytes, sha256: str, name: str) -> Callable[..., Any]:
    """The function, from a module that is run once for each content of the file."""
    module_name = f"fairmark_system_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}_{sha256[:8]}"
    with _LOADING:
        module = sys.modules.get(module_name)
        if module is None:
            module = ModuleType(module_name)
            module.__file__ = str(path)
            sys.modules[module_name] = module  # dataclasses and pickle look modules up by name
            try:
                with _importable(path.parent):
                    exec(compile(source, str(path), "exec"), module.__dict__)
            except BaseException:
                del sys.modules[module_name]
                raise
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        raise TypeError(f"there is no function `{name}` in {path.name}")
    return function


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules beside the file can be imported while it is loaded; they never hide an installed one."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file may have rearranged the path itself
            sys.path.remove(str(folder))


def _takes_case(function: Callable[..., Any]) -> bool:
    parameters = _parameters(function)
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = len(by_place) > 1 and by_place[1].default is inspect.Parameter.empty
    return needed or any(p.name == "case" for p in parameters[1:])


def _by_name(function: Callable[..., Any]) -> bool:
    """Whether the case goes to a parameter called `case` rather than to the second place."""
    return any(p.name == "case" and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in _parameters(function)[1:])


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables written in C do not say
        return []


# ------------------------------------------------------------------ what it prints

_IN_SYSTEM: contextvars.ContextVar[bool] = contextvars.ContextVar("fairmark_in_system", default=False)
_OUTPUT = threading.Lock()
_calls = 0


class _Output:
    """Standard output that sends to standard error what a system prints, and passes everything else on."""

    def __init__(self, real: TextIO) -> None:
        self.real = real

    def write(self, text: str) -> int:
        return (sys.stderr if _IN_SYSTEM.get() else self.real).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Standard output belongs to the command that runs, such as one with --json. Calls overlap, so they are counted."""
    global _calls
    with _OUTPUT:
        _calls += 1
        if not isinstance(sys.stdout, _Output):
            sys.stdout = _Output(sys.stdout)
    token = _IN_SYSTEM.set(True)
    try:
        yield
    finally:
        _IN_SYSTEM.reset(token)
        with _OUTPUT:
            _calls -= 1
            if _calls == 0 and isinstance(sys.stdout, _Output):
                sys.stdout = sys.stdout.real


# ------------------------------------------------------------------ what it returns


def _typed(result: object, key: str) -> str:
    if isinstance(result, Mapping):
        return f"no text as {key}" if key in result else f"a mapping without {key}"
    return "nothing" if result is None else f"a value of type {type(result).__name__}"


def _is_money(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_usage(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(key in USAGE_KEYS and (tokens is None or count(tokens) is not None) for key, tokens in value.items())
