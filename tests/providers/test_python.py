"""A Python function as a system."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from fairmark import providers
from fairmark.errors import CannotDo, Mistake
from fairmark.records import Answer, Failure, Provider, Question, Usage
from fairmark.study import SystemSpec
from tests.providers.asking import answer, ask, case, failure, system

SPEC = SystemSpec("app", "python", target="app.py:answer")


def function(folder: Path, source: str, env: dict[str, str] | None = None) -> Provider:
    (folder / "app.py").write_text(dedent(source), encoding="utf-8")
    return system(SPEC, folder=folder, env=env)


def question(text: str = "hello", **fields: object) -> Question:
    return providers.question(SPEC, case(text, **fields), trial=1)


@pytest.mark.parametrize(
    "source",
    [
        "def answer(text): return text.upper()",
        "def answer(text, polite=True): return text.upper()",
        "async def answer(text): return text.upper()",
        "import asyncio\nasync def answer(text):\n    await asyncio.sleep(0)\n    return text.upper()",
        "class App:\n    def __call__(self, text): return text.upper()\nanswer = App()",
        "answer = str.upper",
        "from helper_of_app import answer",
    ],
)
def test_is_called_with_the_input(tmp_path: Path, source: str) -> None:
    (tmp_path / "helper_of_app.py").write_text("def answer(text): return text.upper()")
    found = answer(function(tmp_path, source), question())
    assert (found.text, found.cost_usd, found.usage) == ("HELLO", None, None)
    assert found.seconds is not None
    assert str(tmp_path) not in sys.path
    sys.modules.pop("helper_of_app", None)


@pytest.mark.parametrize(
    "head", ["(text, case)", "(text, about)", "(text, about, /)", "(text, *, case)", "(text, x=1, case=None)", "(text, case=None)"]
)
def test_is_called_with_the_case_where_it_asks_for_it(tmp_path: Path, head: str) -> None:
    name = "about" if "about" in head else "case"
    source = f"def answer{head}: return repr(sorted({name}.items()))"
    found = answer(function(tmp_path, source), question(city="Rome"))
    turns = [{"role": "user", "content": "hello"}]
    assert found.text == repr([("city", "Rome"), ("id", "c1"), ("input", "hello"), ("messages", turns)])


def test_what_it_does_to_the_case_stays_there(tmp_path: Path) -> None:
    asked = question(tags=["a"])
    provider = function(tmp_path, "def answer(text, case):\n    case['tags'].append('b')\n    return str(case['tags'])")
    assert [outcome.text for outcome in ask(provider, asked, asked) if isinstance(outcome, Answer)] == ["['a', 'b']"] * 2
    assert asked.fields["tags"] == ["a"]


def test_reports_money_and_tokens(tmp_path: Path) -> None:
    source = "def answer(text): return {'output': 'ok', 'usd': 0.25, 'usage': {'input_tokens': 5, 'output_tokens': 2}}"
    found = answer(function(tmp_path, source), question())
    assert (found.text, found.cost_usd, found.usage) == ("ok", 0.25, Usage(5, None, 2))


@pytest.mark.parametrize(
    ("returned", "kind", "why"),
    [
        ("None", "broken_reply", "returned nothing"),
        ("5", "broken_reply", "type int"),
        ("b'x'", "broken_reply", "type bytes"),
        ("['x']", "broken_reply", "type list"),
        ("{}", "broken_reply", "without output"),
        ("{'output': 3}", "broken_reply", "no text as output"),
        ("{'output': 'x', 'cost': 1}", "broken_reply", "the key cost"),
        ("{'output': 'x', 'usd': float('nan')}", "broken_reply", "usd of nan"),
        ("{'output': 'x', 'usd': -1}", "broken_reply", "usd of -1"),
        ("{'output': 'x', 'usd': '1'}", "broken_reply", "usd of '1'"),
        ("{'output': 'x', 'usage': {'input_tokens': -1}}", "broken_reply", "usage of"),
        ("{'output': 'x', 'usage': {'tokens': 1}}", "broken_reply", "usage of"),
        ("''", "empty_reply", "no text"),
        ("' \\n'", "empty_reply", "no text"),
    ],
)
def test_what_cannot_be_an_answer(tmp_path: Path, returned: str, kind: str, why: str) -> None:
    found = failure(function(tmp_path, f"def answer(text): return {returned}"), question())
    assert (found.kind, found.where) == (kind, "app.py:answer")
    assert why in found.why


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def answer(text):\n    return 1 / 0", "app.py:2: ZeroDivisionError: division by zero"),
        ("async def answer(text):\n    raise KeyError('x')", "app.py:2: KeyError: 'x'"),
        ("def answer(text):\n    raise SystemExit(3)", "app.py:2: SystemExit: 3"),
        ("def answer(text):\n    raise KeyboardInterrupt", "app.py:2: KeyboardInterrupt"),
        ("import no_such_module_here\ndef answer(text): pass", "app.py:1: ModuleNotFoundError"),
        ("def answer(text:\n    pass", "app.py:1: SyntaxError"),
        ("def other(text): pass", "TypeError: there is no function `answer`"),
        ("def answer(): return 'x'", "TypeError"),
        (
            "class Odd(Exception):\n    def __str__(self): return 1 / 0\ndef answer(text): raise Odd()",
            "app.py:3: Odd: its message cannot be shown",
        ),
        ("def answer(text): raise ValueError('\\ud83d \\x1b[31m' + 'x' * 5000)", "app.py:1: ValueError: \\ud83d [31mxxx"),
    ],
)
def test_what_it_raises_is_stored(tmp_path: Path, source: str, why: str) -> None:
    first, second = ask(function(tmp_path, source), question(), question())
    assert isinstance(first, Failure) and first == second
    assert first.kind == "code_error"
    assert why in first.why
    assert len(first.why) <= 400


def test_secrets_are_not_in_what_it_raises_or_says(tmp_path: Path) -> None:
    provider = function(tmp_path, "def answer(text): raise ValueError('key hunter2hunter2')", env={"DB_PASSWORD": "hunter2hunter2"})
    assert failure(provider, question()).why.endswith("key (the value of DB_PASSWORD)")


def test_is_loaded_once_and_runs_in_parallel(tmp_path: Path) -> None:
    source = """
        import threading
        print("loading")
        both = threading.Barrier(2, timeout=20)
        loaded = []
        loaded.append(1)
        def answer(text):
            both.wait()
            return str(len(loaded))
    """
    provider = function(tmp_path, source)

    async def run() -> list[Answer | Failure]:
        return await asyncio.gather(provider.ask(question("a")), provider.ask(question("b")))

    assert [outcome.text for outcome in asyncio.run(run()) if isinstance(outcome, Answer)] == ["1", "1"]


def test_a_deadline_leaves_a_hanging_function_behind(tmp_path: Path) -> None:
    source = """
        import threading
        free = threading.Event()
        def answer(text):
            if text == "hang":
                free.wait(30)
            free.set()
            return "done"
    """
    provider = function(tmp_path, source)

    async def run() -> Answer | Failure:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(provider.ask(question("hang")), 0.3)
        return await provider.ask(question("go"))

    outcome = asyncio.run(run())
    assert isinstance(outcome, Answer) and outcome.text == "done"
    for thread in threading.enumerate():
        if thread.name == "fairmark-system":
            thread.join(10)


def test_what_it_prints_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    provider = function(tmp_path, "print('loading')\nasync def answer(text):\n    print('thinking')\n    return 'ok'")

    async def run() -> None:
        asking = asyncio.ensure_future(provider.ask(question()))
        await asyncio.sleep(0)
        print("from the command itself")
        await asking

    asyncio.run(run())
    shown = capsys.readouterr()
    assert shown.out == "from the command itself\n"
    assert shown.err == "loading\nthinking\n"
    assert sys.stdout is before


def test_runs_the_bytes_that_were_hashed(tmp_path: Path) -> None:
    source = b"def answer(text): return 'one'"
    (tmp_path / "app.py").write_bytes(source)
    spec = SystemSpec("app", "python", target="app.py:answer", code=hashlib.sha256(source).hexdigest())
    provider = system(spec, folder=tmp_path)
    (tmp_path / "app.py").write_text("def answer(text): return 'two'")
    assert answer(provider, question()).text == "one"
    with pytest.raises(CannotDo) as caught:
        system(spec, folder=tmp_path)
    assert caught.value.code == "CODE_CHANGED"


@pytest.mark.parametrize("target", ["app", "app.py", "app:answer", "app.py:", "app.py:not a name", ""])
def test_a_target_that_names_no_function(tmp_path: Path, target: str) -> None:
    with pytest.raises(Mistake, match=r"file\.py:function"):
        system(SystemSpec("app", "python", target=target), folder=tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CannotDo, match=r"app\.py"):
        system(SPEC, folder=tmp_path)
