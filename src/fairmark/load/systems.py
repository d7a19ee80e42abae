"""The systems of study.yaml as `SystemSpec`s."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import entry_points
from urllib.parse import parse_qsl, urlsplit

from fairmark.errors import nearest
from fairmark.load import rows as row_files
from fairmark.load.models import Http, Model, System
from fairmark.load.nodes import Node
from fairmark.load.sources import ENV_REFERENCE, SECRET, Place, Reader, Text, clip, listed
from fairmark.records import Case, Json
from fairmark.study import ModelSpec, SystemKind, SystemSpec

PROVIDERS = ("local", "openai", "anthropic")
PROVIDER_GROUP = "fairmark.providers"
LOCAL_MODELS = ("smollm2",)
KINDS: Mapping[str, SystemKind] = {
    "model": "model",
    "local": "model",
    "http": "http",
    "python": "python",
    "command": "command",
    "recorded": "recorded",
}
SAMPLING = ("temperature", "max_tokens", "seed", "top_p", "stop")
ANY_SYSTEM = ("version", "seconds", "concurrency")
KEYS: Mapping[str, tuple[str, ...]] = {
    "model": (*SAMPLING, "prompt", "base_url", "api_key"),
    "local": (*SAMPLING, "prompt"),
    "http": (),
    "python": (),
    "command": (),
    "recorded": ("columns",),
}
ANSWER_ROLES = {
    "case": ("case", "case_id", "id"),
    "output": ("output", "answer", "response", "text"),
    "trial": ("trial",),
    "system": ("system",),
}

_OWN_SLOTS = ("input", "messages", "id")  # what every case can fill
_SLOT = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")
_PATH = re.compile(r"""\$(?:\.[^.\[\]"'\s]+|\[-?[0-9]{1,9}\]|\["[^"]*"\]|\['[^']*'\])*""")
_SECRET_NAME = re.compile(r"authorization|cookie|token|secret|password|passwd|(?:^|[-_])(?:api[-_]?)?key$|credential", re.IGNORECASE)
_HEADER_REFERENCE = re.compile(r"(?:[A-Za-z][A-Za-z0-9_-]*[ ]+)?env:[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def read(name: str, entry: System, node: Node, cases: Sequence[Case], known_ids: bool, trials: int, reader: Reader) -> SystemSpec | None:
    """One system, or None where its kind cannot be told. `known_ids` says whether all cases could be read."""
    kind = one_kind(name, node, tuple(KINDS), "system", reader)
    if kind is None:
        return None
    for key, place, _ in node.entries():
        if key not in (kind, *KEYS[kind], *ANY_SYSTEM) and key in System.model_fields and key not in KINDS:
            allowed = (*KEYS[kind], *ANY_SYSTEM)
            reader.note(place, f"`{key}` has no place in a {kind} system", listed(allowed), f"take `{key}` out")
    options: dict[str, Json] = {key: value for key in ("seconds", "concurrency") if (value := getattr(entry, key)) is not None}
    spec = SystemSpec(name, KINDS[kind], version=entry.version or "", options=options)
    match kind:
        case "model" | "local":
            text = prompt(entry.prompt, node.where("prompt"), reader)
            if text is not None:
                check_slots(slots_of(text), cases, known_ids, f"the prompt of `{name}`", reader)
            model = _local(entry, node, reader) if kind == "local" else model_spec(entry.model, entry, node.where("model"), node, reader)
            return replace(spec, model=model, prompt=text.content if text is not None else None)
        case "http":
            return _http(spec, entry.http or Http(), node.get("http") or node, cases, known_ids, reader)
        case "python":
            target, code = python_target(entry.python, node.where("python"), reader)
            return replace(spec, target=target, code=code)
        case "command":
            place = node.where("command")
            found = [(slot, node.where("command", n)) for n, part in enumerate(entry.command or ()) for slot in _SLOT.findall(part)]
            check_slots(found, cases, known_ids, f"the command of `{name}`", reader)
            if entry.command and not entry.command[0].strip():
                reader.note(place, "the command names no program", 'a list such as [program, "{{input}}"]', "put the program first")
            return replace(spec, command=tuple(entry.command or ("",)))
        case _:
            return _recorded(spec, entry, node, cases, known_ids, trials, reader)


def one_kind(name: str, node: Node, kinds: Sequence[str], what: str, reader: Reader) -> str | None:
    """The one key that says what this is; none or several are noted."""
    if not isinstance(node.value, dict):
        return None
    present = [key for key in kinds if (child := node.get(key)) is not None and child.value is not None]
    if len(present) == 1:
        return present[0]
    place = node.where(present[1], key=True) if present else node.where()
    if present:
        reader.note(
            place,
            f"the {what} `{name}` is of several kinds: {listed(present)}",
            f"exactly one of {listed(kinds)}",
            "make it two entries, or take one key out",
        )
    else:
        reader.note(
            place,
            f"the {what} `{name}` does not say what it is",
            f"exactly one of {listed(kinds)}",
            f"add one of these keys, such as `{kinds[0]}:`",
        )
    return None


# ------------------------------------------------------------------ language models


def model_spec(written: str | None, entry: Model, place: Place, node: Node, reader: Reader) -> ModelSpec | None:
    """A model from `provider/model` or `provider:model`, with its options."""
    if written is None:
        return None
    cut = min((at for sign in "/:" if (at := written.find(sign)) > 0), default=-1)
    provider, model = (written[:cut], written[cut + 1 :]) if cut > 0 else ("", written)
    known = (*PROVIDERS, *sorted(entry_points(group=PROVIDER_GROUP).names - set(PROVIDERS)))
    if not provider or not model.strip():
        reader.note(
            place,
            f"`{clip(written)}` does not name a provider and a model",
            f"provider/model with one of the providers {listed(known)}",
            "write it as openai/NAME, anthropic/NAME or local/smollm2",
        )
        return None
    if provider not in known:
        reader.note(
            place,
            f"unknown provider `{clip(provider)}`",
            listed(known),
            nearest(provider, known) or "for any OpenAI-compatible endpoint write openai/NAME and `base_url:`",
        )
        return None
    if provider == "local":
        for key in ("base_url", "api_key"):
            if node.get(key) is not None:
                reader.note(node.where(key, key=True), f"`{key}` has no place beside a local model", listed(SAMPLING), f"take `{key}` out")
        if model not in LOCAL_MODELS:
            if model.lower().endswith(".gguf") or "/" in model:
                _weights(model, place, reader)
            else:
                reader.note(
                    place,
                    f"unknown local model `{clip(model)}`",
                    f"{listed(LOCAL_MODELS)}, or the path of a GGUF file under `local:`",
                    nearest(model, LOCAL_MODELS) or "write `local: path/to/model.gguf`",
                )
    check_key(entry.api_key, node.where("api_key"), reader)
    if entry.base_url is not None:
        check_url(entry.base_url, node.where("base_url"), reader)
    return ModelSpec(provider, model, sampling(entry), entry.base_url, entry.api_key)


def sampling(entry: Model) -> dict[str, Json]:
    """The options that were written, and no defaults: what is not written is the endpoint's own choice.

    Whole numbers lose their point, so that `temperature: 0` and `temperature: 0.0` name the same answers.
    """
    written = {key: value for key in SAMPLING if (value := getattr(entry, key)) is not None}
    return {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in written.items()}


def _local(entry: System, node: Node, reader: Reader) -> ModelSpec | None:
    if entry.local is None:
        return None
    if entry.local in LOCAL_MODELS:
        reader.note(
            node.where("local"), f"`local: {entry.local}` names no file", "the path of a GGUF file", f"write `model: local/{entry.local}`"
        )
    else:
        _weights(entry.local, node.where("local"), reader)
    return ModelSpec("local", entry.local, sampling(entry))


def _weights(path: str, place: Place, reader: Reader) -> None:
    start = reader.start(os.path.expanduser(path), place, what="GGUF file")
    if start is not None and start != b"GGUF":
        reader.note(place, f"`{clip(path)}` is not a GGUF file", "a model in GGUF format", "name the .gguf file itself")


# ------------------------------------------------------------------ secrets and addresses


def check_key(written: str | None, place: Place, reader: Reader) -> None:
    """Notes an `api_key` that is anything but a reference. The key itself is never repeated."""
    if written is not None and not ENV_REFERENCE.fullmatch(written):
        reader.note(
            place,
            "`api_key` is not a reference to the environment",
            "env:NAME, such as env:OPENAI_API_KEY",
            "set the variable in your shell or in .env and write its name here: secrets are never stored in study files",
        )


def check_url(written: str, place: Place, reader: Reader) -> None:
    """Notes an address that cannot be asked, or that holds a secret."""
    try:
        parts = urlsplit(written)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme not in ("http", "https") or not host or any(char.isspace() for char in written):
        reader.note(place, "this is not an address that can be asked", "http://host/path or https://host/path", "write the whole address")
    elif parts.username is not None or parts.password is not None:
        reader.note(
            place,
            "the address holds a user name or a password",
            "an address without them",
            "send it in a header as `env:NAME`: secrets are never stored in study files",
        )
    elif any(_SECRET_NAME.search(name) and value and not value.startswith(("env:", "{{")) for name, value in parse_qsl(parts.query)):
        reader.note(
            place,
            "the address holds what looks like a secret",
            "an address without it",
            "send it in a header as `env:NAME`: secrets are never stored in study files",
        )


def _check_headers(node: Node, reader: Reader) -> None:
    for name, place, value in node.entries():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name, re.ASCII):
            reader.note(place, f"`{clip(name)}` cannot name a header", "letters, digits and hyphens", "correct the name")
        if not isinstance(value.value, str) or SECRET.search(value.value):
            continue  # typed wrong or found by the search for secrets
        if "\n" in value.value or "\r" in value.value:
            reader.note(value.place, f"the header `{clip(name)}` holds a line break", "text on one line", "write it on one line")
        elif _SECRET_NAME.search(name) and not _HEADER_REFERENCE.fullmatch(value.value.strip()):
            reader.note(
                value.place,
                f"the header `{clip(name)}` holds its secret in plain text",
                "env:NAME, or `Bearer env:NAME`",
                "set the variable in your shell or in .env and write its name here: secrets are never stored in study files",
            )


def look_for_secrets(root: Node, reader: Reader) -> None:
    """Notes every text of the study that has the shape of a key or token."""
    reported: set[Place] = set()
    for leaf in root.leaves():
        if isinstance(leaf.value, str) and SECRET.search(leaf.value) and leaf.place not in reported:
            reported.add(leaf.place)
            reader.note(
                leaf.place,
                "this looks like a secret",
                "a reference to the environment: env:NAME",
                "take it out, set it as a variable, and revoke it if others have seen it: secrets are never stored in study files",
            )


# ------------------------------------------------------------------ applications


def _http(spec: SystemSpec, http: Http, node: Node, cases: Sequence[Case], known_ids: bool, reader: Reader) -> SystemSpec:
    if http.url is not None:
        check_url(_SLOT.sub("x", http.url), node.where("url"), reader)
    headers = node.get("headers")
    if headers is not None:
        _check_headers(headers, reader)
    if http.answer is not None and not _PATH.fullmatch(http.answer):
        reader.note(
            node.where("answer"),
            f"`{clip(http.answer)}` is not a path into JSON",
            "a path such as $.reply or $.choices[0].text",
            "begin with `$`",
        )
    templates = [part for key in ("url", "headers", "body") if (part := node.get(key)) is not None]
    leaves = [leaf for part in templates for leaf in part.leaves() if isinstance(leaf.value, str)]
    found = [(slot, leaf.place) for leaf in leaves for slot in _SLOT.findall(str(leaf.value))]
    check_slots(found, cases, known_ids, f"the request of `{spec.name}`", reader)
    return replace(spec, url=http.url, method=http.method or "POST", headers=dict(http.headers or {}), body=http.body, answer=http.answer)


def python_target(written: str | None, place: Place, reader: Reader) -> tuple[str | None, str]:
    """A target `file.py:function` and the SHA-256 of its file. The code is parsed, never run."""
    if written is None:
        return None, ""
    file, _, function = written.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        guess = (
            f"write `{file or 'app'}.py:{function}`"
            if function.isidentifier() and file.isidentifier()
            else "name the file, a colon and the function"
        )
        reader.note(place, f"`{clip(written)}` does not name a Python function", "file.py:function", guess)
        return None, ""
    text = reader.text(file, place, what="Python file")
    if text is None:
        return written, ""
    names = _defined(text, reader)
    if names is not None and function not in names and "*" not in names:
        reader.note(
            place,
            f"`{clip(file)}` defines no `{function}`",
            listed(name for name in names if not name.startswith("_")),
            nearest(function, names) or f"write `def {function}(...)` in {clip(file)}",
        )
    return written, text.sha256


def _defined(text: Text, reader: Reader) -> list[str] | None:
    """The names a module binds at its top level, `*` for a star import; None where it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in someone's code is not ours to report
            tree = ast.parse(text.content)
        return list(dict.fromkeys(_bound(tree.body)))
    except SyntaxError as error:
        reader.note(
            Place(text.file, error.lineno, error.offset or 1), f"this is not Python: {error.msg}", "Python code", "correct the file"
        )
    except (RecursionError, MemoryError, ValueError):
        reader.note(Place(text.file), "the Python file cannot be parsed: it nests too deep", "Python code", "simplify the file")
    return None


def _bound(body: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names)
            case ast.Assign():
                yield from (node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If() | ast.Try() | ast.With():
                for part in ("body", "orelse", "finalbody"):
                    yield from _bound(getattr(statement, part, []))
                for handler in getattr(statement, "handlers", []):
                    yield from _bound(handler.body)


# ------------------------------------------------------------------ prompts and slots


def prompt(written: str | None, place: Place, reader: Reader) -> Text | None:
    """The text of a prompt file. An empty one is a mistake: it would send the bare request without a word."""
    if written is None:
        return None
    text = reader.text(written, place, what="prompt file")
    if text is not None and not text.content.strip():
        reader.note(
            Place(written, 1, 1), "the prompt is empty", "what the model is told", f"write it, or take `prompt: {clip(written)}` out"
        )
        return None
    return text


def slots_of(text: Text) -> list[tuple[str, Place]]:
    """Every {{slot}} of a text and where it first stands."""
    first: dict[str, int] = {}
    for match in _SLOT.finditer(text.content):
        first.setdefault(match[1], match.start())
    return [(name, text.place(start)) for name, start in first.items()]


def check_slots(found: Sequence[tuple[str, Place]], cases: Sequence[Case], known_ids: bool, where: str, reader: Reader) -> None:
    """Notes every slot that some case cannot fill, and any that would show the reference answer."""
    columns = dict.fromkeys([*_OWN_SLOTS, *(name for case in cases for name in case.fields)])
    for slot, place in found:
        if slot == "expected" and slot not in columns:
            reader.note(
                place,
                f"{where} has the slot `{{{{expected}}}}`",
                listed(columns),
                "take it out: the reference answer is never shown to a system",
            )
        lacking = next((case for case in cases if not _fills(case, slot)), None)
        if lacking is None or slot == "expected" or not known_ids:
            continue
        if slot not in columns or not any(_fills(case, slot) for case in cases):
            reader.note(
                place,
                f"{where} has the slot `{{{{{clip(slot)}}}}}`, which is no column of the cases",
                listed(columns),
                nearest(slot, columns) or "add the column to the cases, or take the slot out",
            )
        else:
            reader.note(
                place,
                f"{where} has the slot `{{{{{clip(slot)}}}}}`, and case `{clip(lacking.id)}` ({lacking.where}) has nothing in that column",
                "a value in every case",
                "fill the column in, or take the slot out",
            )


def _fills(case: Case, slot: str) -> bool:
    return slot in _OWN_SLOTS or case.fields.get(slot) is not None


# ------------------------------------------------------------------ recordings


def _recorded(
    spec: SystemSpec, entry: System, node: Node, cases: Sequence[Case], known_ids: bool, trials: int, reader: Reader
) -> SystemSpec:
    assert entry.recorded is not None
    given = {role: column for role, column in (entry.columns.model_dump() if entry.columns else {}).items() if column is not None}
    spec = replace(spec, recorded={}, recorded_from=entry.recorded)
    table = row_files.read(entry.recorded, reader, node.where("recorded"), what="file of answers")
    if table is None:
        return spec
    places = {role: node.where("columns", role) for role in given}
    found = row_files.roles(table, given, ANSWER_ROLES, reader, places)
    for role in ("case", "output"):
        if role not in found and role not in given:
            reader.note(
                Place(table.file, 1, 1),
                f"no column holds the {role}",
                f"a column called {listed(ANSWER_ROLES[role])}, or `columns: {{{role}: NAME}}`",
                f"the columns are {listed(table.columns)}",
            )
    if not {"case", "output"} <= found.keys():
        return spec
    return replace(spec, recorded=_answers(spec.name, table, found, cases, known_ids, trials, node, reader))


def _answers(
    name: str,
    table: row_files.Rows,
    columns: Mapping[str, str],
    cases: Sequence[Case],
    known_ids: bool,
    trials: int,
    node: Node,
    reader: Reader,
) -> dict[tuple[str, int], str]:
    ids = {case.id for case in cases}
    answers: dict[tuple[str, int], str] = {}
    lines: dict[tuple[str, int], int] = {}
    others: set[str] = set()
    for row in table.rows:
        if reader.enough(table.file):
            break
        if "system" in columns:
            system = word(row.fields.get(columns["system"]))
            if system != name:
                others.add(system or "")
                continue
        case = case_id(row, columns["case"], ids, known_ids, reader)
        trial = trial_of(row, columns.get("trial"), trials, reader)
        output = row.fields.get(columns["output"], "" if row.delimiter else None)
        if output is None:
            reader.note(
                row.place(),
                "the row has no answer",
                f"text in `{columns['output']}`",
                "fill it in, or take the row out: a missing answer is counted as a failure",
            )
        elif not isinstance(output, str):
            output = word(output) if isinstance(output, (bool, int, float)) else None
            if output is None:
                reader.note(row.place(columns["output"]), "the answer is not text", "text", "write the answer as text")
        if case is None or trial is None or output is None:
            continue
        if (case, trial) in answers:
            remedy = (
                "name the column that tells the systems apart: `columns: {system: NAME}`"
                if "system" not in columns
                else "remove one of them"
            )
            reader.note(
                row.place(columns["case"]),
                f"case `{clip(case)}`, trial {trial} is answered a second time; the first is in line {lines[case, trial]}",
                "one answer for each case and trial",
                remedy,
            )
            continue
        answers[case, trial] = output
        lines[case, trial] = row.line
    if not answers and others and table.whole:
        reader.note(
            node.where("recorded"),
            f"`{table.file}` holds no answer of a system called `{name}`",
            listed(sorted(others)),
            nearest(name, others) or "call the system as the file calls it",
        )
    return answers


def word(value: Json) -> str | None:
    """A plain value as one word: numbers in full, whole ones without a point; None for lists, mappings and nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # adding 0.0 takes the sign off a zero
        return format(Decimal(repr(value + 0.0)).normalize(), "f")
    if isinstance(value, int):
        return str(value)
    return value.strip() if isinstance(value, str) else None


def case_id(row: row_files.Row, column: str, ids: set[str], known_ids: bool, reader: Reader) -> str | None:
    """The case a row is about, or None after it was noted."""
    case = word(row.fields.get(column))
    if not case:
        reader.note(row.place(column), "the row names no case", f"the id of a case in `{column}`", "fill it in")
        return None
    if known_ids and case not in ids:
        reader.note(
            row.place(column),
            f"there is no case `{clip(case)}`",
            "the ids of the cases",
            nearest_of_many(case, ids) or "correct the id, add the case, or take the row out",
        )
        return None
    return case


def nearest_of_many(found: str, known: set[str]) -> str:
    """`nearest` where it is worth its time: comparing with thousands of ids for thousands of rows is not."""
    return nearest(found, sorted(known)) if len(known) <= 200 else ""


def trial_of(row: row_files.Row, column: str | None, trials: int, reader: Reader) -> int | None:
    """The trial a row is about, 1 unless the file says; None after a mistake was noted."""
    if column is None:
        return 1
    written = word(row.fields.get(column, 1))
    if written is None or not written.isascii() or not written.isdecimal() or len(written) > 6 or not 1 <= int(written) <= trials:
        remedy = "correct it, or raise `trials` in study.yaml" if written and written.isdecimal() else "correct it"
        reader.note(
            row.place(column),
            f"the trial is `{clip(str(written))}`",
            f"a whole number from 1 to {trials}, the `trials` of the study",
            remedy,
        )
        return None
    return int(written)
