"""A program as a system."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmark import providers
from fairmark.errors import Mistake
from fairmark.records import Answer, Failure
from fairmark.study import SystemSpec
from tests.providers.asking import answer, ask, case, failure, system

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups")


def run(
    code: str, *arguments: str, text: str = "hello", env: dict[str, str] | None = None, folder: Path = Path(), **fields: object
) -> Answer | Failure:
    spec = SystemSpec("app", "command", command=(sys.executable, "-c", code, *arguments))
    return ask(system(spec, env=env, folder=folder), providers.question(spec, case(text, **fields), trial=1))[0]


def test_input_on_standard_input_and_answer_on_standard_output(tmp_path: Path) -> None:
    outcome = run(
        "import sys, os; print(sys.stdin.read().upper(), os.getcwd() == os.path.realpath(sys.argv[1]))", str(tmp_path), folder=tmp_path
    )
    assert isinstance(outcome, Answer)
    assert (outcome.text, outcome.cost_usd) == ("HELLO True", None)
    assert outcome.seconds is not None and outcome.seconds > 0


def test_arguments_are_filled_in_and_no_shell_reads_them() -> None:
    code = "import sys; print(sys.argv[1:])"
    outcome = run(code, "--city={{city}}", "{{ input }}", "{{age}}", "$HOME; ls", text="$(id) `id` {{city}} '\" *", city="Rome & Co", age=7)
    assert isinstance(outcome, Answer)
    assert outcome.text == str(["--city=Rome & Co", "$(id) `id` {{city}} '\" *", "7", "$HOME; ls"])


@settings(max_examples=15, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_whatever_a_case_says_arrives_unchanged(text: str) -> None:
    outcome = run(
        "import os, sys; os.write(1, b'<' + os.fsencode(sys.argv[1]) + b'|' + sys.stdin.buffer.read() + b'>')", "{{input}}", text=text
    )
    assert isinstance(outcome, Answer), outcome
    assert outcome.text == f"<{text}|{text}>"


def test_sees_the_environment_it_is_given() -> None:
    outcome = run("import os; print(os.environ.get('GREETING'), 'USER' in os.environ)", env={"GREETING": "hi"})
    assert isinstance(outcome, Answer) and outcome.text == "hi False"


@pytest.mark.parametrize(
    ("printed", "text"),
    [("b'one\\n'", "one"), ("b'one\\r\\n'", "one"), ("b'one\\n\\n'", "one\n"), ("b' one'", " one"), ("b'\\xff\\x00'", "\\xff\\u0000")],
)
def test_the_line_break_at_the_end_is_no_part_of_the_answer(printed: str, text: str) -> None:
    outcome = run(f"import sys; sys.stdout.buffer.write({printed})")
    assert isinstance(outcome, Answer) and outcome.text == text


@pytest.mark.parametrize(
    ("code", "kind", "why"),
    [
        ("import sys; print('one\\ntwo\\nthree\\nfour', file=sys.stderr); sys.exit(3)", "code_error", "exit code 3: two / three / four"),
        ("raise ValueError('odd')", "code_error", "ValueError: odd"),
        ("import sys; sys.exit(1)", "code_error", "it ended with exit code 1"),
        ("import os; os.kill(os.getpid(), 9)", "code_error", "SIGKILL"),
        ("import sys; sys.stderr.write('x' * 300_000 + '\\x1b[31m end'); sys.exit(1)", "code_error", "xxx"),
        ("pass", "empty_reply", "nothing"),
        ("print('   ')", "empty_reply", "nothing"),
        ("import sys\nwhile True: sys.stdout.write('x' * 100_000)", "broken_reply", "more than 20 MB"),
    ],
)
def test_what_went_wrong_is_named(code: str, kind: str, why: str) -> None:
    outcome = run(code)
    assert isinstance(outcome, Failure)
    assert outcome.kind == kind
    assert why in outcome.why
    assert len(outcome.why) <= 450 and outcome.why.isprintable()


def test_standard_error_is_no_part_of_the_answer() -> None:
    outcome = run("import sys; print('warning', file=sys.stderr); print('fine')")
    assert isinstance(outcome, Answer) and outcome.text == "fine"


def test_a_program_that_does_not_read_its_input() -> None:
    outcome = run("print('fine')", text="x" * 1_000_000)
    assert isinstance(outcome, Answer) and outcome.text == "fine"


def test_secrets_are_not_in_what_it_complains_about() -> None:
    outcome = run("import os; raise ValueError(os.environ['MY_TOKEN'])", env={"MY_TOKEN": "hunter2hunter2"})
    assert isinstance(outcome, Failure)
    assert "hunter2" not in outcome.why and "the value of MY_TOKEN" in outcome.why


def test_a_program_that_is_not_there() -> None:
    spec = SystemSpec("app", "command", command=("no-such-program-here", "{{input}}"))
    found = failure(system(spec), providers.question(spec, case(), trial=1))
    assert (found.kind, found.where) == ("code_error", "no-such-program-here")
    assert "could not be started" in found.why


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d"])
def test_a_value_that_cannot_be_an_argument(text: str) -> None:
    outcome = run("print('x')", "{{input}}", text=text)
    assert isinstance(outcome, Failure) and outcome.kind == "bad_request"


def test_a_deadline_ends_the_program_with_all_it_started(tmp_path: Path) -> None:
    child = "import time, os; open('child', 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    spec = SystemSpec("app", "command", command=(sys.executable, "-c", code))
    provider = system(spec, folder=tmp_path)

    async def cancelled() -> None:
        asking = asyncio.ensure_future(provider.ask(providers.question(spec, case(), trial=1)))
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(asyncio.wait_for(cancelled(), 30))
    pid = int((tmp_path / "child").read_text())
    for _ in range(200):
        if not _alive(pid):
            break
        time.sleep(0.02)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_command_without_a_program_is_a_mistake() -> None:
    for command in ((), ("",), (" ", "x")):
        with pytest.raises(Mistake, match="names no program"):
            system(SystemSpec("app", "command", command=command))


def test_answers_keep_the_case_they_belong_to() -> None:
    spec = SystemSpec("app", "command", command=(sys.executable, "-c", "import sys; print(sys.stdin.read())"))
    provider = system(spec)

    async def all_at_once() -> list[Answer | Failure]:
        return list(await asyncio.gather(*(provider.ask(providers.question(spec, case(f"n{n}"), trial=1)) for n in range(6))))

    assert [outcome.text for outcome in asyncio.run(all_at_once()) if isinstance(outcome, Answer)] == [f"n{n}" for n in range(6)]
    assert answer(provider, providers.question(spec, case("last"), trial=1)).text == "last"
