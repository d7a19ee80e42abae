"""The checks: small pure functions that mark a response by rule. A new one is a function here and a line in `CHECKS`.

A check is handed an `Item` that holds only the parts it declares in `sees`, its `value` and all its options with their
defaults. It answers with a `Finding`, or with a `Failure` where it can come to none.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from fairmark.graders.json_text import NotJson, at_path, same, steps, whole
from fairmark.graders.labels import clip
from fairmark.graders.patterns import LONGEST, MATCHER, TookTooLong
from fairmark.graders.python_code import Code, code_of, run_code, run_function
from fairmark.graders.settings import Setting
from fairmark.records import Failure, Item, Json, Span, canonical

Part = Literal["output", "input", "reference", "fields"]
GROUP = "fairmark.graders"  # entry points of installed packages
EVIDENCE = 20  # spans kept of one response


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, before it becomes a label."""

    result: object  # true or false, a number, a level, or a mapping of pass, score, label, reason, evidence
    reason: str = ""  # one sentence
    evidence: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """A value made ready once, when the study is read."""

    value: object  # what the check's function is handed
    named: Json  # what stands for it in keys
    code: str = ""  # SHA-256 of the Python file it runs


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of check."""

    run: Callable[[Item, object, Mapping[str, Json]], Finding | Failure]
    says: str  # what passes, in one line of the reference
    value: Setting | None = None  # what `value` may be; None: it takes none
    options: Mapping[str, Setting] = field(default_factory=dict)
    sees: tuple[Part, ...] = ("output",)
    or_reference: bool = False  # without a value it compares with the reference, and sees that too
    settle: Callable[[Json, Mapping[str, Json], Path], Settled] | None = None  # `ValueError` says what is wrong with the value
    numbers: Callable[[Mapping[str, Json]], bool] = lambda options: False  # whether it answers with a share from 0 to 1
    version: int = 1  # raised when the same response may get another label
    quick: bool = True  # False: it runs somebody's code or pattern, or compares at length, and may take seconds

    def parts(self, value: Json) -> tuple[Part, ...]:
        """What it is shown of an item."""
        return (*self.sees, "reference") if self.or_reference and value is None else self.sees


def exact(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    wanted = _wanted(item, value)
    equal = _folded(item.output, options) == _folded(wanted, options)
    return Finding(equal, f"The response {'is' if equal else 'is not'} `{clip(wanted)}`.")


def one_of(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    said = _folded(item.output, options)
    hit = next((text for text in _texts(value) if _folded(text, options) == said), None)
    return Finding(hit is not None, f"The response is `{clip(hit)}`." if hit is not None else "The response is none of the texts allowed.")


def contains(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    texts = _texts(value) if value is not None else (_wanted(item, value),)
    hits = {text: _places(text, item.output, options) for text in texts}
    there = [text for text in texts if hits[text]]
    lacking = [text for text in texts if not hits[text]]
    spans = tuple(Span(item.output[start:end], start, end) for text in there for start, end in hits[text])[:EVIDENCE]
    if options["absent"]:
        return Finding(not there, f"The response holds {_list(there)}." if there else f"The response holds none of {_list(texts)}.", spans)
    good = bool(there) if options["match"] == "any" else not lacking
    if good:
        return Finding(True, f"The response holds {_list(there)}.", spans)
    return Finding(False, f"The response lacks {_list(lacking)}.", spans)


def starts_with(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    return _edge(item, value, options, end=False)


def ends_with(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    return _edge(item, value, options, end=True)


def regex(item: Item, value: object, options: Mapping[str, Json]) -> Finding | Failure:
    pattern = str(value)
    flags = sum(int(flag) for name, flag in _FLAGS.items() if options[name])
    try:
        span = MATCHER.span(pattern, flags, item.output[:LONGEST], full=bool(options["full"]))
    except (TookTooLong, OSError) as error:
        return Failure("code_error", "regex", f"the pattern `{clip(pattern)}` could not be tried on this response: {error}")
    if options["full"] and len(item.output) > LONGEST:
        span = None
    evidence = (Span(item.output[span[0] : span[1]], *span),) if span and span[1] > span[0] else ()
    said = "matches" if span else "does not match"
    return Finding((span is None) == bool(options["absent"]), f"The response {said} the pattern `{clip(pattern)}`.", evidence)


def json_valid(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    try:
        whole(item.output, fenced=bool(options["fenced"]))
    except NotJson as error:
        return Finding(False, f"The response is not JSON: {error}.")
    return Finding(True, "The response is JSON.")


def json_schema(item: Item, value: object, options: Mapping[str, Json]) -> Finding | Failure:
    from jsonschema.exceptions import best_match  # slow to import, and few studies need it
    from referencing.exceptions import Unresolvable

    try:
        reply = whole(item.output, fenced=bool(options["fenced"]))
    except NotJson as error:
        return Finding(False, f"The response is not JSON: {error}.")
    try:
        misfit = best_match(_validator(value).iter_errors(reply))
    except Unresolvable as reference:
        return Failure("code_error", "json_schema", f"the schema refers to something outside itself: {clip(str(reference))}")
    except RecursionError:
        return Failure("code_error", "json_schema", "the schema or the response nests too deep")
    except (TookTooLong, OSError) as late:
        return Failure("code_error", "json_schema", f"a pattern of the schema could not be tried on this response: {late}")
    if misfit is None:
        return Finding(True, "The response fits the schema.")
    return Finding(False, f"The response does not fit the schema at `{misfit.json_path}`: {clip(misfit.message, 160)}.")


def json_path(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    path = str(options["path"])
    try:
        found = at_path(whole(item.output, fenced=bool(options["fenced"])), path)
    except NotJson as error:
        return Finding(False, f"The response is not JSON: {error}.")
    except LookupError:
        return Finding(bool(options["absent"]), f"The response has nothing at `{path}`.")
    shown = f"At `{path}` the response has `{clip(canonical(found))}`"
    if value is None:
        return Finding(not options["absent"], f"{shown}.")
    equal = same(found, value)
    return Finding(equal != bool(options["absent"]), f"{shown}, {'as' if equal else 'not'} `{clip(canonical(value))}`.")


def numeric(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    decimal_comma = options["decimal"] == ","
    if value is None:
        wanted = _numbers_in(_wanted(item, value), decimal_comma)
        if len(wanted) != 1:
            return Finding({"label": "cannot tell", "reason": f"The reference holds {len(wanted)} numbers, not one."})
        target = wanted[0][0]
    else:
        target = Decimal(str(value))
    found = _numbers_in(item.output, decimal_comma)
    if not found:
        return Finding(False, "The response holds no number.")
    if options["which"] == "only" and len(found) > 1:
        return Finding(False, f"The response holds {len(found)} numbers, not one.")
    number, start, end = found[0 if options["which"] == "first" else -1]
    off = abs(number - target)
    near = off <= max(Decimal(str(options["tolerance"])), abs(target) * Decimal(str(options["relative"])))
    return Finding(
        near,
        f"The response says {_short(number)}, which {'is' if near else 'is not'} {_short(target)} within the tolerance.",
        (Span(item.output[start:end], start, end),),
    )


def length(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
    said: list[str] = []
    good = True
    for unit, count in _COUNTS.items():
        if options[unit] is not None:
            low, high = options[unit]
            number = count(item.output)
            good = good and low <= number <= high
            said.append(f"{_counted(number, unit)} (allowed {low} to {high})")
    return Finding(good, f"The response has {' and '.join(said)}.")


def _bound(unit: str, *, most: bool) -> Callable[[Item, object, Mapping[str, Json]], Finding]:
    def run(item: Item, value: object, options: Mapping[str, Json]) -> Finding:
        assert isinstance(value, int)
        number = _COUNTS[unit](item.output)
        return Finding(
            number <= value if most else number >= value,
            f"The response has {_counted(number, unit)}, {'at most' if most else 'at least'} {value} asked for.",
        )

    return run


def similarity(item: Item, value: object, options: Mapping[str, Json]) -> Finding | Failure:
    ours, theirs = (_words(text) for text in (item.output, _wanted(item, value)))
    if not ours or not theirs:
        share = float(ours == theirs)
    elif options["method"] == "sequence":
        if len(ours) * len(theirs) > 1_000_000:
            return Failure(
                "code_error",
                "similarity",
                f"{len(ours)} and {len(theirs)} words are too many to compare in sequence; use `method: f1`, which takes any length",
            )
        share = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio()
    else:
        common = (Counter(ours) & Counter(theirs)).total()
        share = 2 * common / (len(ours) + len(theirs))
    reason = f"Similarity to the {'reference' if value is None else 'text asked for'} is {share:.3f} ({options['method']})."
    return Finding(share if options["threshold"] is None else share >= options["threshold"], reason)


def python_function(function: Callable[..., object]) -> Check:
    """A check made of a function in memory, for the Python door. It sees all of the item, as `python` does."""
    told = inspect.unwrap(function)
    code = getattr(told, "__code__", None)
    file = code.co_filename if code is not None else ""
    where = getattr(told, "__qualname__", type(function).__name__)

    def run(item: Item, value: object, options: Mapping[str, Json]) -> Finding | Failure:
        result = run_function(lambda: function, item, where=where, file=file)
        return result if isinstance(result, Failure) else Finding(result)

    return Check(run, "Whatever the function says.", sees=CHECKS["python"].sees, quick=False)


def python(item: Item, value: object, options: Mapping[str, Json]) -> Finding | Failure:
    assert isinstance(value, Code)
    result = run_code(value, item)
    return result if isinstance(result, Failure) else Finding(result)


def _settle_regex(value: Json, options: Mapping[str, Json], folder: Path) -> Settled:
    try:
        re.compile(value, sum(int(flag) for name, flag in _FLAGS.items() if options[name]))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern `{clip(value)}` is not a regular expression: {error}") from None
    return Settled(value, value)


def _settle_schema(value: Json, options: Mapping[str, Json], folder: Path) -> Settled:
    from jsonschema.exceptions import SchemaError

    if isinstance(value, str):
        try:
            value = whole((folder / value).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ValueError(f"the schema file `{value}` cannot be read: {error.strerror}") from None
        except (NotJson, UnicodeDecodeError) as error:
            raise ValueError(f"the schema file `{value}` is not JSON: {error}") from None
    try:
        _validator(value).check_schema(value)
    except SchemaError as error:
        raise ValueError(f"the schema is wrong at `{error.json_path}`: {clip(error.message, 160)}") from None
    return Settled(value, value)


def _settle_path(value: Json, options: Mapping[str, Json], folder: Path) -> Settled:
    steps(str(options["path"]))
    return Settled(value, value)


def _settle_length(value: Json, options: Mapping[str, Json], folder: Path) -> Settled:
    if all(options[unit] is None for unit in _COUNTS):
        raise ValueError(f"at least one of {', '.join(_COUNTS)} is needed, such as `words: [20, 80]`")
    return Settled(value, value)


def _settle_contains(value: Json, options: Mapping[str, Json], folder: Path) -> Settled:
    if options["absent"] and options["match"] is not None:
        raise ValueError("`absent: true` asks that none of the texts is there, so `match` says nothing beside it; leave it out")
    return Settled(value, value)


def _settle_python(value: Json, options: Mapping[str, Json], folder: Path) -> Settled:
    code = code_of(str(value), folder)
    return Settled(code, value, code.sha256)


_CASE = Setting("upper and lower case count as the same", default=False)
_STRIP = Setting("white space around the response does not count", default=True)
_SPACES = Setting("any run of white space counts as one space", default=False)
_FENCE = Setting("a lone Markdown code fence around the JSON is taken off", default=False)
_TEXT = Setting("the text to compare with; without it, the reference", "text")

CHECKS: Mapping[str, Check] = {
    "exact": Check(
        exact,
        "The response is the text.",
        value=_TEXT,
        options={"ignore_case": _CASE, "strip": _STRIP, "ignore_space": _SPACES},
        or_reference=True,
    ),
    "one_of": Check(
        one_of,
        "The response is one of the texts.",
        value=Setting("the texts allowed", "list of texts", required=True),
        options={"ignore_case": _CASE, "strip": _STRIP, "ignore_space": _SPACES},
    ),
    "contains": Check(
        contains,
        "The response holds the text, or all of the texts.",
        value=Setting("what to look for; without it, the reference", "text or list of texts"),
        options={
            "match": Setting("whether all of several texts have to be there (the default), or any one", "text", choices=("all", "any")),
            "absent": Setting("passes when none of the texts is there", default=False),
            "ignore_case": _CASE,
            "whole_words": Setting("the text does not count inside a longer word", default=False),
        },
        or_reference=True,
        settle=_settle_contains,
    ),
    "starts_with": Check(
        starts_with,
        "The response begins with the text, or with one of the texts.",
        value=Setting("what it has to begin with", "text or list of texts", required=True),
        options={"ignore_case": _CASE, "strip": _STRIP},
    ),
    "ends_with": Check(
        ends_with,
        "The response ends with the text, or with one of the texts.",
        value=Setting("what it has to end with", "text or list of texts", required=True),
        options={"ignore_case": _CASE, "strip": _STRIP},
    ),
    "regex": Check(
        regex,
        "The pattern matches somewhere in the response.",
        value=Setting("a Python regular expression", "text", required=True),
        options={
            "full": Setting("the pattern has to match the whole response", default=False),
            "absent": Setting("passes when the pattern does not match", default=False),
            "ignore_case": _CASE,
            "multiline": Setting("`^` and `$` also match at line breaks", default=False),
            "dotall": Setting("`.` also matches a line break", default=False),
        },
        settle=_settle_regex,
        quick=False,
    ),
    "json_valid": Check(json_valid, "The response is one JSON value and nothing else.", options={"fenced": _FENCE}),
    "json_schema": Check(
        json_schema,
        "The response is JSON that fits the schema.",
        value=Setting("a JSON Schema, or the name of the file that holds it", "text or mapping", required=True),
        options={"fenced": _FENCE},
        settle=_settle_schema,
        quick=False,
    ),
    "json_path": Check(
        json_path,
        "The response is JSON and has something at the path, or has the value there.",
        value=Setting("what has to stand there; without it, anything may", "JSON"),
        options={
            "path": Setting("where to look, such as `$.items[0].price`", "text", required=True),
            "absent": Setting("passes when nothing, or another value, stands there", default=False),
            "fenced": _FENCE,
        },
        settle=_settle_path,
    ),
    "numeric": Check(
        numeric,
        "The number in the response is the number asked for, within a tolerance.",
        value=Setting("the number; without it, the one in the reference", "number"),
        options={
            "which": Setting("which number counts where there are several", "text", "last", choices=("last", "first", "only")),
            "tolerance": Setting("how far off it may be, as a number", "number", 0),
            "relative": Setting("how far off it may be, as a share of the number asked for; the wider of the two counts", "share", 0),
            "decimal": Setting("the decimal sign; the other one and thin spaces part thousands", "text", ".", choices=(".", ",")),
        },
        or_reference=True,
    ),
    "max_words": Check(
        _bound("words", most=True), "The response has at most so many words.", value=Setting("the most", "whole number", required=True)
    ),
    "min_words": Check(
        _bound("words", most=False), "The response has at least so many words.", value=Setting("the least", "whole number", required=True)
    ),
    "max_chars": Check(
        _bound("chars", most=True), "The response has at most so many characters.", value=Setting("the most", "whole number", required=True)
    ),
    "min_chars": Check(
        _bound("chars", most=False),
        "The response has at least so many characters.",
        value=Setting("the least", "whole number", required=True),
    ),
    "length": Check(
        length,
        "The response is within every range given.",
        options={
            "words": Setting("the least and the most words", "range"),
            "chars": Setting("the least and the most characters", "range"),
            "lines": Setting("the least and the most lines that are not empty", "range"),
        },
        settle=_settle_length,
    ),
    "similarity": Check(
        similarity,
        "The response is as similar to the text as the threshold asks.",
        value=_TEXT,
        options={
            "method": Setting(
                "`f1` compares which words there are and how often, `sequence` also their order", "text", "f1", choices=("f1", "sequence")
            ),
            "threshold": Setting("the least similarity that passes; without it, the similarity itself is the result", "share"),
        },
        or_reference=True,
        numbers=lambda options: options["threshold"] is None,
        quick=False,
    ),
    "python": Check(
        python,
        "Whatever your own function says.",
        value=Setting("`file.py:function`, written as `function:` in the study", "text", required=True),
        sees=("output", "input", "reference", "fields"),
        settle=_settle_python,
        quick=False,
    ),
}


def find_check(name: str) -> tuple[Check, str] | None:
    """The check of that name, with the package and version that name it in keys where an installed package brings it.

    None where nobody knows it. Ours cannot be replaced, and a stranger's is imported only where a study names it.
    """
    if name in CHECKS:
        return CHECKS[name], ""
    for point in entry_points(group=GROUP, name=name):
        loaded = point.load()
        if not isinstance(loaded, Check):
            raise TypeError(f"the entry point `{name}` of the group {GROUP} is not a fairmark.graders.Check")
        return loaded, f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    return None


def check_names() -> tuple[str, ...]:
    """The names of all checks that can be used here."""
    return (*CHECKS, *sorted(entry_points(group=GROUP).names - CHECKS.keys()))


_FLAGS = {"ignore_case": re.IGNORECASE, "multiline": re.MULTILINE, "dotall": re.DOTALL}
_COUNTS: Mapping[str, Callable[[str], int]] = {
    "words": lambda text: len(text.split()),
    "chars": lambda text: len(text.strip()),
    "lines": lambda text: sum(1 for line in text.splitlines() if line.strip()),
}
_GROUPED = r"[0-9]{{1,3}}(?:[{separators}][0-9]{{3}})+(?![0-9])"
_NUMBER = {
    comma: re.compile(
        rf"(?<![\w.,])[-+−]?(?:{_GROUPED.format(separators=apart)}|[0-9]+)(?:{re.escape(sign)}[0-9]+)?(?:[eE][-+]?[0-9]{{1,4}})?(?![0-9]|[.,][0-9])"
    )
    for comma, sign, apart in ((False, ".", ",\u00a0\u2009\u202f"), (True, ",", ".\u00a0\u2009\u202f"))
}


def _numbers_in(text: str, decimal_comma: bool) -> list[tuple[Decimal, int, int]]:
    """Every number in a text and where it stands. What hangs on a word, a date's parts or a version is not taken for one."""
    found: list[tuple[Decimal, int, int]] = []
    for match in _NUMBER[decimal_comma].finditer(text):
        plain = match[0].replace("−", "-")
        for apart in ".\u00a0\u2009\u202f" if decimal_comma else ",\u00a0\u2009\u202f":
            plain = plain.replace(apart, "")
        try:
            number = Decimal(plain.replace(",", "."))
        except InvalidOperation:
            continue
        found.append((number, *match.span()))
    return found


def _short(number: Decimal) -> str:
    return clip(f"{number:g}" if abs(number.adjusted()) < 15 else f"{number:.6e}", 40)


def _wanted(item: Item, value: object) -> str:
    """The text to compare with: the value, or the reference, which the caller has made sure of."""
    if value is not None:
        return str(value)
    assert item.reference is not None
    return item.reference


def _texts(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()


def _folded(text: str, options: Mapping[str, Json]) -> str:
    if options.get("ignore_space"):
        text = re.sub(r"\s+", " ", text)
    if options["strip"]:
        text = text.strip()
    return text.casefold() if options["ignore_case"] else text


def _places(text: str, within: str, options: Mapping[str, Json]) -> list[tuple[int, int]]:
    pattern = re.escape(text)
    if options["whole_words"]:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return [match.span() for match in re.finditer(pattern, within, re.IGNORECASE if options["ignore_case"] else 0)]


def _edge(item: Item, value: object, options: Mapping[str, Json], *, end: bool) -> Finding:
    said = _folded(item.output, options)
    word = "ends" if end else "begins"
    for text in _texts(value):
        wanted = text.casefold() if options["ignore_case"] else text
        if said.endswith(wanted) if end else said.startswith(wanted):
            return Finding(True, f"The response {word} with `{clip(text)}`.")
    return Finding(False, f"The response {word} with none of {_list(_texts(value))}.")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _list(texts: Iterable[str]) -> str:
    shown = [f"`{clip(text, 40)}`" for text in texts]
    more = len(shown) - 5
    return ", ".join(shown[:5]) + (f" and {more} more" if more > 0 else "")


def _counted(number: int, unit: str) -> str:
    unit = "characters" if unit == "chars" else unit
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def _validator(schema: Json):  # type: ignore[no-untyped-def]  # jsonschema's validator classes have no common public type
    """A validator that fetches nothing: a reference to another document is an error, not a download."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    def pattern(validator, wanted, instance, schema):  # type: ignore[no-untyped-def]
        if isinstance(instance, str) and MATCHER.span(wanted, 0, instance[:LONGEST], full=False) is None:
            yield ValidationError(f"{clip(instance)!r} does not match {wanted!r}")

    kind = extend(validator_for(schema, default=Draft202012Validator), {"pattern": pattern})  # type: ignore[no-untyped-call]
    return kind(schema, registry=Registry())
