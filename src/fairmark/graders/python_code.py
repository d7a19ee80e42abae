"""Functions that people write in Python files of their study: found without running them, run as the bytes that were hashed."""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from fairmark.errors import nearest
from fairmark.graders.labels import clip
from fairmark.records import Failure, Item, Json, plain_text


@dataclass(frozen=True, slots=True)
class Code:
    """A function in a file, and the bytes of that file when the study was read."""

    path: Path
    function: str
    source: bytes
    sha256: str

    @property
    def where(self) -> str:
        return f"{self.path.name}:{self.function}"


def code_of(target: str, folder: Path) -> Code:
    """The function that `file.py:function` names. Nothing is run. `ValueError` says what is wrong with it."""
    file, colon, function = target.rpartition(":")
    if not colon or not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"`{target}` is not of the form `file.py:function`")
    try:
        source = (folder / file).read_bytes()
    except OSError as error:
        raise ValueError(f"the file `{file}` cannot be read: {error.strerror}") from None
    try:
        tree = ast.parse(source, filename=file)
    except (SyntaxError, ValueError, RecursionError) as error:
        place = f"{file}:{error.lineno}" if isinstance(error, SyntaxError) else file
        raise ValueError(f"{place} is not Python: {getattr(error, 'msg', error)}") from None
    names = {name: node for node in tree.body for name in _names(node)}
    if function not in names:
        hint = nearest(function, names)
        raise ValueError(f"`{file}` has no function `{function}`{'; ' + hint if hint else ''}")
    if isinstance(names[function], ast.AsyncFunctionDef):
        raise ValueError(f"`{function}` in `{file}` is an async function; a check is a plain `def`")
    return Code(folder / file, function, source, hashlib.sha256(source).hexdigest())


def run_code(code: Code, item: Item) -> object | Failure:
    """What the function in the file returns for an item, or the failure `code_error` with type, message and line."""
    return run_function(lambda: _function(code), item, where=code.where, file=str(code.path))


def run_function(function_of: Callable[[], Callable[..., object]], item: Item, *, where: str, file: str) -> object | Failure:
    """What a function returns for an item, or the failure `code_error` with type, message and the line in `file`.

    It is called with the response and, where it takes a second argument without a default or one named `case`, with a
    fresh mapping of the case: `id`, `input`, `messages`, `expected` and every other column. What it prints goes to
    standard error, because standard output belongs to the command that runs.
    """
    case: dict[str, Json] = copy.deepcopy(dict(item.fields))
    case |= {
        "id": item.case_id,
        "input": plain_text(item.input),
        "messages": [{"role": message.role, "content": message.content} for message in item.input],
        "expected": item.reference,
    }
    try:
        with contextlib.redirect_stdout(sys.stderr):
            function = function_of()
            result = function(item.output, case) if _takes_case(function) else function(item.output)
    except (Exception, SystemExit) as error:
        return Failure("code_error", where, _told(file, error))
    if inspect.iscoroutine(result):
        result.close()
        return Failure("code_error", where, "the function is asynchronous; a check is a plain `def`")
    return result


_MODULES: dict[tuple[Path, str], ModuleType] = {}
_LOCK = threading.RLock()


def _function(code: Code) -> Callable[..., object]:
    with _LOCK:
        module = _MODULES.get((code.path, code.sha256))
        if module is None:
            module = ModuleType(
                f"fairmark_check_{hashlib.sha256(str(code.path).encode('utf-8', 'replace')).hexdigest()[:8]}_{code.sha256[:8]}"
            )
            module.__file__ = str(code.path)
            sys.modules[module.__name__] = module  # dataclasses and pickle look modules up by name
            try:
                with _importable(code.path.parent):
                    exec(compile(code.source, str(code.path), "exec"), module.__dict__)
            except BaseException:
                del sys.modules[module.__name__]
                raise
            _MODULES[(code.path, code.sha256)] = module
    function = getattr(module, code.function)
    if not callable(function):
        raise TypeError(f"`{code.function}` is {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules beside the file can be imported while it is loaded; they never hide an installed one."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _takes_case(function: Callable[..., object]) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables written in C do not say
        return False
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(by_place) > 1 and (by_place[1].default is inspect.Parameter.empty or by_place[1].name == "case")


def _told(file: str, error: BaseException) -> str:
    """The error as `file.py:line: Type: message`, with the values of the environment's secrets taken out."""
    try:
        said = str(error)
    except Exception:
        said = "its message cannot be shown"
    for name, value in os.environ.items():
        if len(value) >= 8 and any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")):
            said = said.replace(value, f"(the value of {name})")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f"{Path(file).name}:{lines[-1]}" if lines else Path(file).name
    return clip(f"{place}: {type(error).__name__}: {said}", 400)


def _names(node: ast.stmt) -> Iterator[str]:
    """The names that one statement at the top of a file defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    elif isinstance(node, (ast.If, ast.Try)):
        for inner in node.body:
            yield from _names(inner)
