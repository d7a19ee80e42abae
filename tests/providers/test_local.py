"""Questions become llama.cpp's requests and its chunks become answers. A made-up server takes the model's place."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmark.errors import CannotDo, Mistake
from fairmark.providers.local import CONTEXT, SLOTS, Chunk, Engines, LocalModel, Settings, answer_of, connect, request_of, settings_of
from fairmark.records import Answer, Failure, Json, Message, Question, Usage
from fairmark.study import ModelSpec

Script = Callable[[Mapping[str, Json]], Iterable[Chunk]]
HELLO = Question((Message("user", "hello"),))


def said(text: str | None, **choice: Json) -> Chunk:
    return {"choices": [{"index": 0, "finish_reason": None, "delta": {"content": text}, **choice}]}


def ended(reason: str = "stop") -> Chunk:
    return {"choices": [{"index": 0, "finish_reason": reason, "delta": {}}]}


def used(prompt: int = 30, cached: int = 20, reply: int = 5) -> Chunk:
    details = {"cached_tokens": cached}
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": reply, "prompt_tokens_details": details}}


class FakeServer:
    """Answers each request with the chunks of a script, and keeps what it was asked."""

    def __init__(self, script: Script | Exception) -> None:
        self.script = script
        self.requests: list[Mapping[str, Json]] = []

    def handle_chat_completions(self, request: Mapping[str, Json], callback: Callable[[Chunk], bool], /) -> None:
        self.requests.append(request)
        if isinstance(self.script, Exception):
            raise self.script
        for chunk in self.script(request):
            if callback(chunk):
                return


class Machine:
    """A folder with a model file, and servers that are counted as they start."""

    def __init__(self, folder: Path, script: Script | Exception | None = None) -> None:
        self.folder = folder
        (folder / "toy.gguf").write_bytes(b"GGUF...")
        self.server = FakeServer(script or (lambda _: [said("Hi"), said(" there"), ended(), used()]))
        self.started: list[tuple[Path, Settings]] = []
        self.engines = Engines(self.start)

    def start(self, path: Path, settings: Settings) -> FakeServer:
        self.started.append((path, settings))
        return self.server

    def connect(self, model: str = "toy.gguf", env: Mapping[str, str] | None = None, **options: Json) -> LocalModel:
        return connect(ModelSpec("local", model, options), env=env or {}, folder=self.folder, engines=self.engines)

    def ask(self, question: Question = HELLO, **options: Json) -> Answer | Failure:
        async def once() -> Answer | Failure:
            model = self.connect(**options)
            try:
                return await model.ask(question)
            finally:
                await model.close()

        return asyncio.run(once())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# ------------------------------------------------------------------ requests


def test_a_plain_question_has_fixed_defaults(machine: Machine) -> None:
    machine.ask(Question((Message("system", "Be kind."), Message("user", "hello"))))
    (request,) = machine.server.requests
    assert request["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}]
    assert {key: request[key] for key in ("temperature", "max_tokens", "seed")} == {"temperature": 0, "max_tokens": 256, "seed": 1}
    assert {key: request[key] for key in ("top_k", "top_p", "min_p")} == {"top_k": 0, "top_p": 1.0, "min_p": 0.0}  # nothing is cut off
    assert "logprobs" not in request
    assert "grammar" not in request


def test_options_of_the_question_go_over_those_of_the_model() -> None:
    request = request_of({"temperature": 1, "max_tokens": 9}, Question(HELLO.messages, {"max_tokens": 5, "stop": "END"}), where="m")
    assert isinstance(request, dict)
    assert (request["temperature"], request["max_tokens"], request["stop"]) == (1, 5, ["END"])


@pytest.mark.parametrize(("seed", "trial", "sent"), [(1, 1, 1), (1, 3, 3), (40, 2, 41), (2**32 - 1, 2, 0)])
def test_each_trial_has_a_seed_of_its_own(seed: int, trial: int, sent: int) -> None:
    request = request_of({"seed": seed}, Question(HELLO.messages, trial=trial), where="m")
    assert isinstance(request, dict)
    assert request["seed"] == sent


@pytest.mark.parametrize("options", [{"temprature": 1}, {"seed": "one"}, {"seed": True}, {"seed": 1.5}])
def test_an_option_nobody_knows_is_refused_and_not_dropped(options: dict[str, Json]) -> None:
    refusal = request_of({}, Question(HELLO.messages, options), where="m")
    assert isinstance(refusal, Failure)
    assert refusal.kind == "bad_request"
    assert next(iter(options)) in refusal.why


def test_what_the_model_cannot_be_given_is_made_visible() -> None:
    request = request_of({}, Question((Message("user", "a\ud800b\x00c"),)), where="m")
    assert isinstance(request, dict)
    assert request["messages"][0]["content"] == "a\\ud800b\\u0000c"


def test_a_repeated_conversation_is_read_from_its_start(machine: Machine) -> None:
    other = Question((Message("user", "bye"),))

    async def run() -> None:
        first, second = machine.connect(temperature=0), machine.connect(temperature=1)
        for model, question in ((first, HELLO), (second, other), (second, HELLO)):
            await model.ask(question)
        await first.close()
        await second.close()

    asyncio.run(run())
    assert [request["cache_prompt"] for request in machine.server.requests] == [True, True, False]


# ------------------------------------------------------------------ answers


def test_chunks_add_up_to_an_answer_that_costs_nothing(machine: Machine) -> None:
    answer = machine.ask()
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish, answer.model, answer.cost_usd) == ("Hi there", "stop", "toy.gguf", 0.0)
    assert answer.usage == Usage(input_tokens=10, cached_tokens=20, output_tokens=5)  # disjoint: 30 prompt tokens in all
    assert answer.seconds is not None
    assert answer.logprobs is None


def test_logprobs_keep_their_order(machine: Machine) -> None:
    def token(text: str, logprob: float) -> Chunk:
        return said(text, logprobs={"content": [{"token": text, "logprob": logprob}]})

    machine.server.script = lambda _: [token("a", -0.5), said(None), token("b", -2.0), ended(), used()]
    answer = machine.ask(Question(HELLO.messages, logprobs=True))
    assert isinstance(answer, Answer)
    assert answer.logprobs == (("a", -0.5), ("b", -2.0))
    assert machine.server.requests[0]["logprobs"] is True


@pytest.mark.parametrize(("reason", "finish"), [("stop", "stop"), ("length", "length"), ("tool_calls", "tool"), ("novel", "unknown")])
def test_the_reason_of_the_end_is_kept(reason: str, finish: str) -> None:
    answer = answer_of([said("x"), ended(reason)], where="m", model="m", seconds=1.0)
    assert isinstance(answer, Answer)
    assert answer.finish == finish
    assert answer.usage is None


@pytest.mark.parametrize(
    ("chunks", "kind", "words"),
    [
        ([{"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 3031, "n_ctx": 2048}}], "bad_request", "3031"),
        ([{"error": {"code": 400, "type": "invalid_request_error", "message": "max_tokens is odd"}}], "bad_request", "max_tokens is odd"),
        ([{"error": {"code": 503, "message": "loading"}}], "server_error", "loading"),
        ([said("half"), {"error": {"code": 500, "message": "decode failed"}}], "server_error", "decode failed"),
        ([said("half")], "broken_reply", "broke off"),
        ([], "broken_reply", "broke off"),
        ([said(None), ended(), used()], "empty_reply", "without a word"),
        ([said(" \n"), ended(), used()], "empty_reply", "without a word"),
    ],
)
def test_what_is_no_answer_is_a_failure(chunks: list[Chunk], kind: str, words: str) -> None:
    failure = answer_of(chunks, where="local/m", model="m", seconds=1.0)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.where) == (kind, "local/m")
    assert words in failure.why


@pytest.mark.parametrize(("error", "kind"), [(ValueError("bad template"), "bad_request"), (RuntimeError("odd"), "code_error")])
def test_what_the_server_raises_is_a_failure(tmp_path: Path, error: Exception, kind: str) -> None:
    failure = Machine(tmp_path, error).ask()
    assert isinstance(failure, Failure)
    assert failure.kind == kind
    assert str(error) in failure.why


json_values = st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@given(st.lists(st.text(max_size=6), max_size=8), st.booleans(), json_values)
def test_no_text_is_lost_or_made_up(parts: list[str], finished: bool, extra: Json) -> None:
    chunks = [said(part, unknown=extra) for part in parts] + ([ended()] if finished else [])
    outcome = answer_of(chunks, where="m", model="m", seconds=0.0)
    whole = "".join(parts)
    if isinstance(outcome, Answer):
        assert finished
        assert outcome.text == whole.replace("\x00", "\\u0000")
    else:
        assert outcome.kind == ("empty_reply" if finished else "broken_reply")
        assert not (finished and whole.strip())


# ------------------------------------------------------------------ loading and sharing


def test_nothing_is_loaded_before_the_first_question(machine: Machine) -> None:
    async def run() -> None:
        model = machine.connect()
        assert machine.started == []
        await model.ask(HELLO)
        await model.ask(HELLO)
        await model.close()

    asyncio.run(run())
    assert [path for path, _ in machine.started] == [machine.folder / "toy.gguf"]


def test_users_of_one_file_share_it_until_the_last_has_closed(machine: Machine) -> None:
    async def run() -> None:
        one, two = machine.connect(temperature=0), machine.connect(temperature=1, max_tokens=3)
        await asyncio.gather(one.ask(HELLO), two.ask(HELLO))
        assert len(machine.started) == 1
        await one.close()
        await one.close()  # closing twice gives back once
        assert isinstance(await two.ask(HELLO), Answer)
        assert len(machine.started) == 1
        await two.close()
        three = machine.connect()
        await three.ask(HELLO)
        assert len(machine.started) == 2
        await three.close()

    asyncio.run(run())


def test_other_settings_load_another_copy(machine: Machine) -> None:
    async def run() -> None:
        models = [machine.connect(), machine.connect(context=512)]
        await asyncio.gather(*(model.ask(HELLO) for model in models))
        for model in models:
            await model.close()

    asyncio.run(run())
    assert sorted(settings.context for _, settings in machine.started) == [512, CONTEXT]


def test_a_file_that_cannot_be_loaded_is_tried_once_and_named(machine: Machine) -> None:
    tried: list[Path] = []

    def start(path: Path, settings: Settings) -> FakeServer:
        tried.append(path)
        raise RuntimeError("Failed to init server")

    machine.engines = Engines(start)

    async def run() -> None:
        model = machine.connect()
        for _ in range(3):
            with pytest.raises(CannotDo, match=r"could not load .*toy\.gguf"):
                await model.ask(HELLO)
        await model.close()

    asyncio.run(run())
    assert len(tried) == 1


def test_without_the_library_the_remedy_is_named(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from fairmark.errors import CannotDo
from fairmark.providers.local import connect
from fairmark.study import ModelSpec
sys.modules["xllamacpp"] = None  # what Python holds for a module that cannot be imported
try:
    connect(ModelSpec("local", "smollm2"), env={{}}, folder=Path({str(tmp_path)!r}))
except CannotDo as error:
    print(error.code, error.next_step)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.startswith("NO_LOCAL")
    assert "pip install 'fairmark[local]'" in shown


def test_a_closed_model_cannot_be_asked(machine: Machine) -> None:
    async def run() -> None:
        model = machine.connect()
        await model.close()
        with pytest.raises(RuntimeError, match="after it was closed"):
            await model.ask(HELLO)

    asyncio.run(run())


def test_a_cancelled_question_stops_with_the_next_token_and_frees_its_slot(machine: Machine) -> None:
    going = threading.Event()

    def endless(request: Mapping[str, Json]) -> Iterator[Chunk]:
        while True:
            going.set()
            yield said("x")

    machine.server.script = endless

    async def run() -> Answer | Failure:
        model = machine.connect()
        asking = asyncio.create_task(model.ask(HELLO))
        await asyncio.to_thread(going.wait, 10)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        machine.server.script = lambda _: [said("next"), ended()]
        outcome = await model.ask(HELLO)
        await model.close()
        return outcome

    outcome = asyncio.run(run())
    assert isinstance(outcome, Answer)
    assert outcome.text == "next"  # the one slot is free again


# ------------------------------------------------------------------ settings and paths


def test_settings_come_from_options_and_the_environment() -> None:
    made = settings_of(ModelSpec("local", "m", {"slots": 3, "context": 1000, "temperature": 1}), {"FAIRMARK_THREADS": "5"})
    assert made == Settings(threads=5, slots=3, context=1000)
    plain = settings_of(ModelSpec("local", "m"), {})
    assert plain.threads >= 1
    assert (plain.slots, plain.context) == (SLOTS, CONTEXT)


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        ({"temprature": 1}, {}, "did you mean `temperature`"),
        ({"slots": 0}, {}, "from 1 to 64"),
        ({"slots": True}, {}, "from 1 to 64"),
        ({"context": "big"}, {}, "from 256"),
        ({"context": 300.5}, {}, "from 256"),
        ({}, {"FAIRMARK_THREADS": "many"}, "FAIRMARK_THREADS"),
    ],
)
def test_wrong_settings_are_a_persons_mistake(machine: Machine, options: dict[str, Json], env: dict[str, str], words: str) -> None:
    with pytest.raises(Mistake, match=words):
        machine.connect(env=env, **options)


def test_paths_begin_at_the_study(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "deep.gguf").write_bytes(b"GGUF")
    asyncio.run(machine.connect("models/deep.gguf").close())
    asyncio.run(machine.connect(str(tmp_path / "models" / "deep.gguf")).close())


def test_a_missing_file_names_those_that_are_there(machine: Machine) -> None:
    with pytest.raises(Mistake, match=r"did you mean `toy\.gguf`"):
        machine.connect("tony.gguf")
    with pytest.raises(Mistake, match="starts at the study's folder"):
        machine.connect("nowhere/at/all.gguf")
    with pytest.raises(Mistake, match="did you mean `smollm2`"):
        machine.connect("smolm2")


def test_a_file_of_another_kind_is_refused(machine: Machine) -> None:
    (machine.folder / "notes.gguf").write_text("hello", encoding="utf-8")
    with pytest.raises(Mistake, match="is not a GGUF file"):
        machine.connect("notes.gguf")
