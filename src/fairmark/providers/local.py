"""Language models that run in this process: `local/smollm2`, and any GGUF file.

llama.cpp answers through xllamacpp. Systems and graders that use the same file share one loaded copy of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

from fairmark.errors import CannotDo, Mistake, nearest
from fairmark.providers.addresses import THIS_MACHINE
from fairmark.providers.ingress import visible
from fairmark.providers.weights import SMOLLM2, Notify, smollm2
from fairmark.records import Answer, Failure, Json, Question, Usage, digest
from fairmark.study import ModelSpec

SAMPLING = (
    "temperature",
    "max_tokens",
    "seed",
    "top_p",
    "stop",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
SETTINGS = ("context", "slots")  # options of the loaded model rather than of one question
# llama.cpp would cut unlikely tokens off; here a temperature means what it says unless the study asks for a cut
DEFAULTS: Mapping[str, Json] = {"temperature": 0, "max_tokens": 256, "seed": 1, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
CONTEXT = 4096  # tokens of one question with its answer
SLOTS = 1  # docs/how-to/local-models.md holds the measurements behind it
KEPT_PROMPTS_MIB = 512  # memory for the beginnings of earlier prompts
SOCKET_PATH_LIMIT = 100  # bytes; the systems allow 104 to 108
FINISHES: Mapping[str, Literal["stop", "length", "tool"]] = {"stop": "stop", "length": "length", "tool_calls": "tool"}

Chunk = Mapping[str, Json]


class Server(Protocol):
    """A loaded model, as xllamacpp offers it."""

    def handle_chat_completions(self, request: Mapping[str, Json], callback: Callable[[Chunk], bool], /) -> object:
        """Hands chunks of the reply to the callback until it returns True or the reply ends."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is loaded."""

    threads: int
    slots: int = SLOTS  # questions answered side by side
    context: int = CONTEXT  # tokens per slot


Start = Callable[[Path, Settings], Server]


class LocalModel:
    """A provider that asks a model in this process. It costs no money and sends nothing anywhere."""

    host = THIS_MACHINE

    def __init__(self, spec: ModelSpec, *, engines: Engines, path: Path, settings: Settings) -> None:
        self.name = spec.name
        self.slots = settings.slots  # more questions in flight than this only wait
        self._options = {key: value for key, value in spec.options.items() if key not in SETTINGS}
        self._engines = engines
        self._engine: Engine | None = engines.take(path, settings)

    async def ask(self, question: Question) -> Answer | Failure:
        """The reply, or why there is none. The first question loads the model; `CannotDo` if it cannot be loaded.

        A cancelled ask returns at once, and its work stops with the next token.
        """
        if self._engine is None:
            raise RuntimeError(f"{self.name} was asked after it was closed")
        request = request_of(self._options, question, where=self.name)
        if isinstance(request, Failure):
            return request
        stop = threading.Event()
        answering = asyncio.get_running_loop().run_in_executor(
            self._engine.pool, self._engine.answer, request, question.schema, stop, self.name
        )
        try:
            return await answering
        except asyncio.CancelledError:
            stop.set()
            raise

    async def close(self) -> None:
        """Gives the model back; the last of its users unloads it."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(self._engines.give_back, engine)


class Engine:
    """One loaded model with a thread for each slot."""

    def __init__(self, path: Path, settings: Settings, start: Start) -> None:
        self.path = path
        self.settings = settings
        self.pool = ThreadPoolExecutor(settings.slots, thread_name_prefix="fairmark-local")
        self._start = start
        self._loading = threading.Lock()
        self._server: Server | None = None
        self._broken: CannotDo | None = None
        self._asked: set[str] = set()  # digests of the conversations so far

    def answer(self, request: Mapping[str, Json], schema: Mapping[str, Json] | None, stop: threading.Event, where: str) -> Answer | Failure:
        """The reply to one request. Runs on one of the engine's own threads."""
        server = self._loaded()
        chunks: list[Chunk] = []

        def keep(chunk: Chunk) -> bool:
            chunks.append(chunk)
            return stop.is_set()

        request = {**request, "cache_prompt": self._first_time(request["messages"])}
        began = time.monotonic()
        try:
            if schema is not None:
                request = {**request, "grammar": _grammar(schema)}
            server.handle_chat_completions(request, keep)
        except (ValueError, TypeError) as error:  # refused before it was begun: the template or an option
            return Failure("bad_request", where, f"the model refused the question: {error}")
        except Exception as error:
            return Failure("code_error", where, f"{type(error).__name__}: {error}")
        return answer_of(chunks, where=where, model=self.path.name, seconds=time.monotonic() - began)

    def close(self) -> None:
        """Waits for the tokens under way, then unloads the model."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self._server = None

    def _first_time(self, messages: Json) -> bool:
        """Whether this conversation is new, so that the beginning of an earlier prompt may be reused for it.

        Reuse leaves the bits of an answer alone as long as two tokens or more remain to be read. A repeated prompt would
        leave one, which llama.cpp multiplies by another routine, so a repeat is read from its start like the first time.
        """
        name = digest(messages)
        first = name not in self._asked
        self._asked.add(name)
        return first

    def _loaded(self) -> Server:
        with self._loading:
            if self._broken is not None:  # loading takes seconds and would fail the same way for every case
                raise self._broken
            if self._server is None:
                try:
                    self._server = self._start(self.path, self.settings)
                except RuntimeError as error:
                    self._broken = CannotDo(
                        "NO_LOCAL",
                        f"llama.cpp could not load {self.path}",
                        "check that the file is whole and that memory suffices; "
                        "a model newer than the installed llama.cpp needs `pip install -U xllamacpp`",
                    )
                    raise self._broken from error
            return self._server


class Engines:
    """The models loaded in this process, each once per file and settings, with a count of who uses it."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._engines: dict[tuple[Path, Settings], tuple[Engine, int]] = {}

    def take(self, path: Path, settings: Settings) -> Engine:
        """The engine for this file and these settings; nothing is loaded yet."""
        key = (path, settings)
        with self._lock:
            engine, users = self._engines.get(key, (None, 0))
            engine = engine or Engine(path, settings, self._start)
            self._engines[key] = (engine, users + 1)
            return engine

    def give_back(self, engine: Engine) -> None:
        """Counts one user less, and closes the engine nobody uses any more."""
        key = (engine.path, engine.settings)
        with self._lock:
            users = self._engines[key][1] - 1
            if users:
                self._engines[key] = (engine, users)
                return
            del self._engines[key]
        engine.close()


def connect(
    spec: ModelSpec, *, env: Mapping[str, str], folder: Path, notify: Notify | None = None, engines: Engines | None = None
) -> LocalModel:
    """The model, ready to be asked. Fetches the weights of `smollm2` if need be, and loads nothing yet.

    `folder` is where relative paths begin. Raises `Mistake` for a wrong path, option or `FAIRMARK_THREADS`, and
    `CannotDo` where xllamacpp or the weights cannot be had.
    """
    if engines is None:
        _xllamacpp()
        engines = SHARED
    settings = settings_of(spec, env)
    path = smollm2(env=env, notify=notify) if spec.model == SMOLLM2 else _file(spec.model, folder)
    return LocalModel(spec, engines=engines, path=path, settings=settings)


def settings_of(spec: ModelSpec, env: Mapping[str, str]) -> Settings:
    """How the spec's model is loaded on this machine. `Mistake` for options nobody knows or that are out of range."""
    unknown = [key for key in spec.options if key not in (*SAMPLING, *SETTINGS)]
    if unknown:
        raise Mistake.in_call(
            f"`{unknown[0]}` is not an option of a local model",
            allowed=", ".join((*SAMPLING, *SETTINGS)),
            remedy=nearest(unknown[0], (*SAMPLING, *SETTINGS)),
        )
    return Settings(
        threads=_whole("FAIRMARK_THREADS", env.get("FAIRMARK_THREADS", "").strip() or max(1, _cores() - 1), 1, 1024),
        slots=_whole("slots", spec.options.get("slots", SLOTS), 1, 64),
        context=_whole("context", spec.options.get("context", CONTEXT), 256, 1 << 20),
    )


def request_of(options: Mapping[str, Json], question: Question, *, where: str) -> dict[str, Json] | Failure:
    """The question as llama.cpp takes it, without the schema. Each trial has a seed of its own."""
    chosen = {**DEFAULTS, **options, **{key: value for key, value in question.options.items() if key not in SETTINGS}}
    unknown = [key for key in chosen if key not in SAMPLING]
    if unknown:
        return Failure("bad_request", where, f"a local model has no option `{unknown[0]}`; it knows {', '.join(SAMPLING)}")
    seed = chosen["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool):
        return Failure("bad_request", where, f"`seed` is {seed!r}; it has to be a whole number")
    chosen["seed"] = (seed + question.trial - 1) % (1 << 32)
    if isinstance(chosen.get("stop"), str):
        chosen["stop"] = [chosen["stop"]]
    return {
        **chosen,
        "messages": [{"role": message.role, "content": visible(message.content)} for message in question.messages],
        "stream": True,  # a stream can be stopped at any token
        "stream_options": {"include_usage": True},
        **({"logprobs": True, "top_logprobs": 1} if question.logprobs else {}),
    }


def answer_of(chunks: Sequence[Chunk], *, where: str, model: str, seconds: float) -> Answer | Failure:
    """The answer that the chunks of one stream add up to, or the failure they tell of."""
    text: list[str] = []
    logprobs: list[tuple[str, float]] = []
    finish: str | None = None
    usage: Usage | None = None
    for chunk in chunks:
        if "error" in chunk:
            return _failure(chunk["error"], where)
        for choice in chunk.get("choices", ()):
            text.append(choice.get("delta", {}).get("content") or "")
            for token in (choice.get("logprobs") or {}).get("content") or ():
                logprobs.append((visible(token["token"]), token["logprob"]))
            finish = choice.get("finish_reason") or finish
        if "usage" in chunk:
            usage = _usage(chunk["usage"])
    if finish is None:
        return Failure("broken_reply", where, "the model's reply broke off before its end")
    reply = visible("".join(text))
    if not reply.strip():
        return Failure("empty_reply", where, "the model ended its reply without a word")
    return Answer(
        reply,
        finish=FINISHES.get(finish, "unknown"),
        model=model,
        usage=usage,
        cost_usd=0.0,
        seconds=seconds,
        logprobs=tuple(logprobs) or None,
    )


# ------------------------------------------------------------------ reading replies


def _usage(usage: Mapping[str, Json]) -> Usage:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(input_tokens=usage["prompt_tokens"] - cached, cached_tokens=cached, output_tokens=usage["completion_tokens"])


def _failure(error: Mapping[str, Json], where: str) -> Failure:
    code, message = error.get("code", 500), error.get("message", "no reason given")
    if error.get("type") == "exceed_context_size_error":
        asked, room = error.get("n_prompt_tokens"), error.get("n_ctx")
        return Failure("bad_request", where, f"the question is {asked} tokens long, and the model was loaded with room for {room}")
    if 400 <= code < 500:
        return Failure("bad_request", where, f"the model refused the question: {message}")
    return Failure("server_error", where, f"llama.cpp failed: {message}")


# ------------------------------------------------------------------ files and settings


def _file(model: str, folder: Path) -> Path:
    """The GGUF file a spec means. `Mistake` with the nearest names if it is not there or is something else."""
    path = (folder / Path(model).expanduser()).absolute()
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) == b"GGUF":
                return path
        raise Mistake.in_call(f"{path} is not a GGUF file", allowed="a model in GGUF format", remedy="name the .gguf file itself")
    there = sorted(other.name for other in path.parent.glob("*.gguf")) if path.parent.is_dir() else []
    raise Mistake.in_call(
        f"there is no model file at {path}",
        allowed=f"`{SMOLLM2}`, or the path of a GGUF file" + (f"; in that folder: {', '.join(there[:5])}" if there else ""),
        remedy=nearest(path.name, there) or nearest(model, [SMOLLM2]) or "correct the path; it starts at the study's folder",
    )


def _whole(name: str, value: Json, low: int, high: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = low - 1
    if not low <= number <= high or isinstance(value, bool | float):
        raise Mistake.in_call(f"`{name}` is {value!r}", allowed=f"a whole number from {low} to {high}", remedy="correct it or leave it out")
    return number


def _cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ------------------------------------------------------------------ xllamacpp


def _xllamacpp() -> ModuleType:
    """The library, imported only where a local model is used: it is an extra, and large."""
    try:
        import xllamacpp as library
    except ImportError as error:
        raise CannotDo(
            "NO_LOCAL",
            f"the embedded model needs the package xllamacpp, which cannot be imported ({error})",
            "run `pip install 'fairmark[local]'`, or use another provider such as openai/NAME",
        ) from error
    module: ModuleType = library
    return module


def _grammar(schema: Mapping[str, Json]) -> str:
    """The schema as a grammar, for JSON on one line.

    llama.cpp's own `response_format` would make room for a Markdown fence around the JSON. `x-guidance` is how its
    grammar engine is told to leave no room for blank lines either, on which small models waste their tokens.
    """
    compact = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
    grammar: str = _xllamacpp().json_schema_to_grammar(json.dumps({**schema, **compact}))
    return grammar


def _start(path: Path, settings: Settings) -> Server:
    """The loaded model. `RuntimeError` if llama.cpp refuses the file.

    llama.cpp always opens an HTTP door, which nobody needs here. It is put on a Unix socket in a folder of our own that
    is deleted after loading, so that nobody can knock; without Unix sockets it is a loopback port that asks for a random
    key nobody knows.
    """
    library = _xllamacpp()
    params = library.CommonParams()
    params.model.path = str(path)
    params.n_parallel = settings.slots
    params.n_ctx = settings.context * settings.slots  # the slots share it out evenly
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    # flash attention rounds a prompt differently when its beginning comes from the cache, so that the order of the
    # questions would change the answers; without it they stay the same, at the same speed on processors
    params.flash_attn_type = library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_prompt = True
    params.cache_ram_mib = KEPT_PROMPTS_MIB
    params.warmup = False
    params.offline = True
    params.verbosity = -1  # silent
    params.ui = False
    params.endpoint_slots = False
    params.n_threads_http = 1
    params.api_keys = [secrets.token_urlsafe(32)]
    room = Path(tempfile.mkdtemp(prefix="fairmark-"))  # mode 0700
    try:
        door = room / "llama.sock"
        if os.name == "posix" and len(os.fsencode(door)) < SOCKET_PATH_LIMIT:
            params.hostnames = [str(door)]
        server: Server = library.Server(params)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return server


SHARED = Engines(_start)  # what the process has loaded
