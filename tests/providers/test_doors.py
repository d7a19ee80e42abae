"""Which provider a spec gets, where it sends things, what it costs, and its limits."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from fairmark import providers
from fairmark.errors import CannotDo, Mistake
from fairmark.providers.addresses import proxy_for
from fairmark.providers.bounded import Bounded
from fairmark.records import Answer, Failure, Question, Usage
from fairmark.study import ModelSpec, SystemSpec
from tests.fake_endpoint import FakeEndpoint, Reply, chat
from tests.providers.asking import HELLO, ask, system


def test_an_unknown_provider_names_the_known_ones() -> None:
    with pytest.raises(Mistake) as caught:
        providers.connect_model(ModelSpec("opnai", "m"), env={}, folder=Path())
    problem = caught.value.problems[0]
    assert problem.allowed == "local, openai, anthropic"
    assert problem.remedy == "did you mean `openai`?"


def test_strangers_come_in_through_entry_points(tmp_path: Path) -> None:
    """A package that is installed beside fairmark offers a provider under a name of its own."""
    (tmp_path / "stranger.py").write_text(
        "class Echo:\n"
        "    name, host = 'echo', 'this machine'\n"
        "def connect(spec, *, env, folder, notify):\n"
        "    made = Echo()\n"
        "    made.name = spec.name\n"
        "    return made\n"
    )
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fairmark.providers]\necho = stranger:connect\n")
    code = (
        "from pathlib import Path; from fairmark import providers; from fairmark.study import ModelSpec;"
        "print(providers.connect_model(ModelSpec('echo', 'm'), env={}, folder=Path()).name)"
    )
    source = str(Path(providers.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{source}:{tmp_path}"}
    )
    assert done.stdout == "echo/m\n", done.stderr


def test_importing_the_door_is_cheap() -> None:
    code = "import sys, fairmark.providers; print(sorted({'aiohttp', 'genai_prices', 'xllamacpp'} & set(sys.modules)))"
    source = str(Path(providers.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": source})
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("spec", "env", "host", "fields"),
    [
        (SystemSpec("s", "model", model=ModelSpec("openai", "m")), {}, "api.openai.com", ("input",)),
        (SystemSpec("s", "model", model=ModelSpec("openai", "m"), prompt="x"), {"OPENAI_BASE_URL": "http://h:8/v1"}, "h:8", ("input",)),
        (
            SystemSpec("s", "model", model=ModelSpec("openai", "m", base_url="https://h:443/v1")),
            {"OPENAI_BASE_URL": "http://o"},
            "h",
            ("input",),
        ),
        (SystemSpec("s", "model", model=ModelSpec("anthropic", "m"), prompt="{{a}}"), {}, "api.anthropic.com", ("input", "a")),
        (SystemSpec("s", "model", model=ModelSpec("local", "smollm2"), prompt="{{input}} {{a}}"), {}, "this machine", ("input", "a")),
        (
            SystemSpec("s", "http", url="http://[::1]:9/{{id}}", body={"q": ["{{input}}", "{{a}}", "{{id}}"]}),
            {},
            "[::1]:9",
            ("id", "input", "a"),
        ),
        (SystemSpec("s", "command", command=("p", "{{a}}")), {}, "this machine", ("input", "a")),
        (SystemSpec("s", "python", target="a.py:f"), {}, "this machine", ("input", "every column but expected")),
        (SystemSpec("s", "recorded"), {}, "this machine", ()),
        (ModelSpec("openai", "judge"), {}, "api.openai.com", ("input", "expected", "output", "criterion")),
        (ModelSpec("elsewhere", "m"), {}, "where the provider elsewhere sends it", ("input", "expected", "output", "criterion")),
    ],
)
def test_where_what_goes(spec: SystemSpec | ModelSpec, env: dict[str, str], host: str, fields: tuple[str, ...]) -> None:
    assert providers.destination(spec, env) == providers.Destination(host, fields)


USAGE = Usage(1_000_000, 0, 1_000_000)


def test_an_unknown_price_is_unknown() -> None:
    assert providers.price(ModelSpec("openai", "no-such-model"), USAGE) is None
    assert providers.price(ModelSpec("elsewhere", "gpt-4o-mini"), USAGE) is None
    assert providers.price(ModelSpec("openai", "gpt-4o-mini", base_url="http://127.0.0.1:1/v1"), USAGE) is None
    assert providers.price(ModelSpec("openai", "gpt-4o-mini"), USAGE, env={"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}) is None
    assert providers.price(ModelSpec("openai", "gpt-4o-mini"), None) is None
    assert providers.price(ModelSpec("openai", "gpt-4o-mini"), Usage(None, None, 5)) is None
    assert providers.price(ModelSpec("openai", "gpt-4o-mini"), Usage(5, None, None)) is None


def test_a_local_model_costs_no_money() -> None:
    assert providers.price(ModelSpec("local", "smollm2"), USAGE) == 0.0
    assert providers.price(ModelSpec("local", "any.gguf"), None) == 0.0


def test_known_prices() -> None:
    """GPT-4o mini: 0.15 USD a million tokens in, 0.075 from the cache, 0.60 out (OpenAI's price list, July 2024)."""
    spec = ModelSpec("openai", "gpt-4o-mini")
    assert providers.price(spec, USAGE) == pytest.approx(0.75)
    assert providers.price_of(spec, 0, 1_000_000, 0) == pytest.approx(0.075)
    assert providers.price(spec, Usage(1_000_000, 1_000_000, 0)) == pytest.approx(0.225), "the kinds of tokens are disjoint"
    assert providers.price(ModelSpec("openai", "gpt-4o-mini", base_url="https://api.openai.com/v1"), USAGE) == pytest.approx(0.75)
    assert providers.price(spec, Usage(0, 0, 0)) == 0.0


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2)])
def test_tokens_are_estimated_at_four_characters(text: str, tokens: int) -> None:
    assert providers.estimate_tokens(text) == tokens


def test_a_local_model_is_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF and more")
    env = {"FAIRMARK_CACHE": str(tmp_path / "cache")}
    found = providers.resolve(ModelSpec("local", "m.gguf"), env=env, folder=tmp_path)
    assert found.weights == hashlib.sha256(b"GGUF and more").hexdigest()
    assert len(providers.resolve(ModelSpec("local", "smollm2"), env=env, folder=tmp_path).weights) == 64
    hosted = ModelSpec("openai", "m")
    assert providers.resolve(hosted, env=env, folder=tmp_path) is hosted
    with pytest.raises(CannotDo, match=r"gone\.gguf"):
        providers.resolve(ModelSpec("local", "gone.gguf"), env=env, folder=tmp_path)


def test_a_system_keeps_to_its_deadline() -> None:
    with FakeEndpoint(lambda _: Reply(hang=True)) as endpoint:
        spec = SystemSpec("s", "model", model=ModelSpec("openai", "m", base_url=endpoint.url), options={"seconds": 0.2})
        outcome = ask(system(spec), HELLO)[0]
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.why) == ("timeout", "no complete answer within 0.2 seconds")


def test_a_system_keeps_to_its_concurrency() -> None:
    async def run() -> int:
        async with FakeEndpoint(lambda _: Reply(chat("ok")), delay=0.02) as endpoint:
            spec = SystemSpec("s", "model", model=ModelSpec("openai", "m", base_url=endpoint.url), options={"concurrency": 2})
            provider = system(spec)
            outcomes = await asyncio.gather(*(provider.ask(HELLO) for _ in range(6)))
            await provider.close()
            assert all(isinstance(outcome, Answer) for outcome in outcomes)
            return endpoint.most_at_once

    assert asyncio.run(run()) == 2


def test_a_bug_that_looks_like_a_deadline_still_rises() -> None:
    class Broken:
        name, host = "broken", "this machine"

        async def ask(self, question: Question) -> Answer | Failure:
            raise TimeoutError("our own")

        async def close(self) -> None:
            pass

    with pytest.raises(TimeoutError, match="our own"):
        ask(Bounded(Broken(), seconds=5, concurrency=None), HELLO)


@pytest.mark.parametrize(
    ("url", "env", "proxy"),
    [
        ("https://api.openai.com/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.openai.com/v1", {"https_proxy": "p:1"}, "http://p:1"),
        ("https://api.openai.com/v1", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.openai.com/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://api.openai.com/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".openai.com"}, None),
        ("http://127.0.0.1:8000/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://localhost/v1", {"ALL_PROXY": "http://p:1"}, None),
        ("http://[::1]/v1", {"ALL_PROXY": "http://p:1"}, None),
    ],
)
def test_proxies_are_for_what_is_not_on_this_machine(url: str, env: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, env) == proxy


def test_a_request_goes_through_the_proxy() -> None:
    with FakeEndpoint(lambda _: Reply(chat("through"))) as endpoint:
        spec = ModelSpec("openai", "m", base_url="http://far.invalid/v1")
        provider = providers.connect_model(spec, env={"HTTP_PROXY": endpoint.root}, folder=Path())
        outcome = ask(provider, HELLO)[0]
        assert isinstance(outcome, Answer) and outcome.text == "through"
        assert endpoint.ledger[0].headers["host"] == "far.invalid"
