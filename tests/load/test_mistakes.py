"""Every kind of mistake in study, rubric, cases and their companions: where, what, what is allowed, what to do.

In the changed files `@@` marks the place that the message must name; it is taken out before the file is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fairmark import load
from fairmark.errors import Mistake, Problem
from tests.load.files import CASES, GOOD, RUBRIC, STUDY, write

MARK = "@@"


@dataclass(frozen=True)
class Broken:
    """Files with one mistake in them."""

    name: str
    files: Mapping[str, str]
    found: str  # part of what the message says stands there
    allowed: str = ""  # part of what it says may stand there
    remedy: str = ""  # part of what it says to do
    others: bool = field(default=False, kw_only=True)  # whether further mistakes follow from it


def study(old: str, new: str) -> dict[str, str]:
    assert STUDY.count(old) == 1, old
    return {"study.yaml": STUDY.replace(old, new)}


def rubric(old: str, new: str) -> dict[str, str]:
    assert RUBRIC.count(old) == 1, old
    return {"rubric.yaml": RUBRIC.replace(old, new)}


def brief(entry: str) -> dict[str, str]:
    """The rubric with other keys in its second criterion."""
    return {"rubric.yaml": RUBRIC[: RUBRIC.index("    question: Is the answer short?")] + "    " + entry}


def cases(*rows: str) -> dict[str, str]:
    return {"cases.jsonl": "".join(row + "\n" for row in rows)}


def system(entry: str, **files: str) -> dict[str, str]:
    return study("  bare: {model: local/smollm2}\n", f"  bare: {entry}\n") | {name.replace("__", "."): text for name, text in files.items()}


def grader(entry: str, **files: str) -> dict[str, str]:
    text = STUDY.replace("  judge: {llm: openai/some-model, criteria: [resolves]}\n", f"  judge: {entry}\n")
    return {"study.yaml": text} | {name.replace("__", "."): content for name, content in files.items()}


def hypothesis(entry: str) -> dict[str, str]:
    return study("{better: guided, than: bare, on: resolves>=meets, by: 0.05, primary: true}", entry)


def top(line: str) -> dict[str, str]:
    return {"study.yaml": STUDY + line + "\n"}


ROW = '{"id": "c1", "input": "x"}'
# Each line stands for eight times the one before: 11, 89, 713, 5705 values, and the first `*d` exceeds the limit.
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdef", "bcdefg", strict=True)
)

BROKEN = [
    # --- typed wrong, unknown, missing
    Broken("unknown key", top("@@budgte: {usd: 1}"), "unknown key `budgte`", "`budget`", "did you mean `budget`?"),
    Broken(
        "unknown key in a system",
        system("{model: local/smollm2, @@temprature: 0}"),
        "unknown key `temprature` in `systems.bare`",
        "`temperature`",
        "did you mean `temperature`?",
    ),
    Broken(
        "unknown key in the rubric",
        rubric("    question: Is the answer short?", "    question: x\n    @@wieght: 2"),
        "unknown key `wieght`",
        "`weight`",
        "did you mean `weight`?",
    ),
    Broken(
        "unknown key in a grader",
        grader("{llm: openai/x, criteria: [resolves], @@temprature: 0}"),
        "unknown key `temprature`",
        "temperature",
        "did you mean `temperature`?",
    ),
    Broken("number typed as text", top("trials: @@three"), "`trials` is the text `three`", "a whole number", "without quotes"),
    Broken("number typed as fraction", top("trials: @@1.5"), "`trials` is 1.5", "a whole number"),
    Broken("text typed as list", study("question: Is the guided prompt better?", "question: @@[a, b]"), "`question` is a list", "text"),
    Broken(
        "yes typed as text",
        rubric("    question: Is the answer short?", "    question: x\n    gate: @@yes"),
        "`gate` is the text `yes`",
        "true or false",
        "write true or false",
    ),
    Broken(
        "share out of range",
        hypothesis("{better: guided, than: bare, on: score, by: @@5}"),
        "`by` is 5",
        "at least 0 and less than 1",
        "0.05",
    ),
    Broken(
        "share as percentage", hypothesis("{better: guided, than: bare, on: score, by: @@5%}"), "`by` is the text `5%`", "a number", "0.05"
    ),
    Broken(
        "margin out of range",
        hypothesis("{system: guided, no_worse_than: bare, on: score, margin: @@-0.1}"),
        "`margin` is -0.1",
        "more than 0 and less than 1",
    ),
    Broken("alpha out of range", top("plan: {alpha: @@0.5}"), "`alpha` is 0.5", "more than 0 and less than 0.5"),
    Broken("temperature out of range", system("{model: local/smollm2, temperature: @@7}"), "`temperature` is 7", "at most 2"),
    Broken("missing key", study("cases: cases.jsonl\n", ""), "`cases` is missing", "", "add `cases:`"),
    Broken(
        "missing question",
        rubric("  brief:\n    question: Is the answer short?\n", "  @@brief:\n"),
        "`question` is missing in `criteria.brief`",
        "What the grader is asked",
        "add `question:`",
    ),
    Broken("study is a list", {"study.yaml": "@@- a\n- b\n"}, "a list stands here", "a mapping"),
    Broken("study is empty", {"study.yaml": "@@ \n"}, "the file is empty", "", "fairmark init"),
    # --- YAML
    Broken(
        "duplicate key", top("@@study: again"), "the key `study` stands here a second time; the first is at study.yaml:1:1", "each key once"
    ),
    Broken("tab", {"study.yaml": STUDY.replace("  bare:", "@@\tbare:")}, "cannot be read as YAML", "YAML 1.2", "spaces"),
    Broken("open bracket", {"study.yaml": "study: [a, b\n@@"}, "cannot be read as YAML", "YAML 1.2"),
    Broken(
        "alias bomb",
        {"study.yaml": BOMB.replace("[*d", "[@@*d", 1)},
        "stand for more than 10,000 values",
        "at most 10,000",
        "write the values out",
    ),
    Broken("alias inside itself", {"study.yaml": "a: &x [@@*x]\n"}, "stands inside the value it repeats"),
    Broken("alias to nothing", {"study.yaml": "a: @@*nowhere\n"}, "there is no `&nowhere` above"),
    Broken("infinity", top("concurrency: @@.inf"), "`.inf` is not a finite number", "a finite number", others=True),
    Broken("not a number", top("budget: {usd: @@.nan}"), "`.nan` is not a finite number", "a finite number", others=True),
    Broken("huge number", top("trials: @@1e999"), "too large", others=True),
    Broken("lone surrogate", study("question: Is the guided prompt better?", 'question: @@"\\ud800"'), "half of a surrogate pair"),
    Broken("nested too deep", {"study.yaml": "a: " + "[" * 39 + "@@[" + "]" * 40}, "nested more than 40 deep"),
    Broken("second document", {"study.yaml": STUDY + "@@---\nstudy: b\n"}, "a second document begins here", "one document"),
    Broken("tag", study("study: helpdesk", "study: @@!!python/name:os.system x"), "the tag", "no tags", others=True),
    Broken("list as key", {"study.yaml": "? @@[a, b]\n: c\n"}, "a key must be a word", others=True),
    Broken("old YAML", {"study.yaml": "%YAML 1.1\n@@---\n" + STUDY}, "another version of YAML", "YAML 1.2"),
    Broken("control character", {"study.yaml": "study: a@@\x07b\n"}, "U+0007", "printable"),
    Broken("merge key", system("{@@<<: {a: 1}, model: local/smollm2}"), "unknown key `<<`", "", "no merge keys"),
    # --- the rubric
    Broken(
        "missing anchor",
        rubric("      - meets: The request is settled.", "      - @@meets"),
        "`anchor` is missing",
        "Sentence",
        "add `anchor:`",
    ),
    Broken("empty anchor", rubric("      - meets: The request is settled.", '      - meets: @@""'), "`anchor` is empty"),
    Broken(
        "duplicate level",
        rubric("- meets: The", "- @@misses: The") | study("on: resolves>=meets, ", "on: resolves, "),
        "the level `misses` of `resolves` stands here a second time",
        "each level once",
    ),
    Broken("one level", brief("question: x\n    levels:\n      @@- yes: It is.\n"), "`levels` is too short", "at least 2 entries"),
    Broken(
        "pass level",
        rubric("    question: Is the answer short?", "    question: x\n    pass: @@yess"),
        "the pass level `yess` is not on the scale",
        "`no`, `yes`",
        "did you mean `yes`?",
    ),
    Broken("reserved level", rubric("- misses:", "- @@cannot tell:"), "`cannot tell` cannot be a level"),
    Broken(
        "value above 1",
        rubric("- meets: The request is settled.", '- {level: meets, anchor: "It is.", value: @@2}'),
        "`value` is 2",
        "at least 0 and at most 1",
    ),
    Broken(
        "values for some",
        brief("question: x\n    levels:\n      - @@no: a\n      - {level: yes, anchor: b, value: 1}\n"),
        "has no value, others have one",
    ),
    Broken(
        "falling values",
        {
            "rubric.yaml": RUBRIC.replace("- misses: The request is left open.", '- {level: misses, anchor: "a", value: 0.9}').replace(
                "- meets: The request is settled.", '- {level: meets, anchor: "b", value: @@0.1}'
            )
        },
        "less than `misses` before it",
        "worst to best",
    ),
    Broken(
        "all weights zero",
        {"rubric.yaml": RUBRIC.replace("criteria:", "@@criteria:").replace("    levels:", "    weight: 0\n    levels:")},
        "every criterion has the weight 0",
        "at least one weight",
    ),
    Broken(
        "interval without range", brief("@@question: x\n    scale: interval\n"), "without a range", "`range: [lowest, highest]`", "[0, 10]"
    ),
    Broken("range upside down", brief("question: x\n    range: @@[5, 1]\n"), "goes from 5 to 1", "the lower first"),
    Broken(
        "unknown scale",
        rubric("    question: Is the answer short?", "    question: x\n    scale: @@ordinel"),
        "`scale` is the text `ordinel`",
        "`ordinal`",
        "did you mean `ordinal`?",
    ),
    Broken(
        "criterion called score",
        {"rubric.yaml": RUBRIC.replace("  brief:", "  @@score:"), "study.yaml": STUDY.replace("criterion: brief", "criterion: score")},
        "a criterion cannot be called `score`",
    ),
    Broken(
        "example off the scale",
        rubric("    question: Is the answer short?", "    question: x\n    examples: [{response: a, level: @@maybe}]"),
        "the level `maybe` is not on the scale",
        "`no`, `yes`",
    ),
    Broken(
        "no grader",
        {"study.yaml": STUDY.replace("  words: {check: max_words, value: 60, criterion: brief}\n", "").replace("graders:", "@@graders:")},
        "no grader marks the criterion `brief`",
        "at least one grader",
    ),
    # --- systems
    Broken("two kinds", system("{model: local/smollm2, @@python: 'a.py:f'}"), "of several kinds: `model`, `python`", "exactly one of"),
    Broken("no kind", system("@@{temperature: 0}"), "does not say what it is", "`model`"),
    Broken("unknown provider", system("{model: @@opnai/x}"), "unknown provider `opnai`", "`openai`", "did you mean `openai`?"),
    Broken("no provider", system("{model: @@some-model}"), "does not name a provider and a model", "provider/model", "openai/NAME"),
    Broken(
        "unknown local model", system("{model: @@local/smolm2}"), "unknown local model `smolm2`", "`smollm2`", "did you mean `smollm2`?"
    ),
    Broken(
        "key in the file",
        system("{model: openai/x, api_key: @@abcdefgh12345678}"),
        "`api_key` is not a reference",
        "env:NAME",
        "secrets are never stored",
    ),
    Broken(
        "recognisable key in the file",
        system("{model: openai/x, api_key: env:K, version: @@sk-abcdefghijklmnop1234}"),
        "looks like a secret",
        "env:NAME",
    ),
    Broken(
        "secret in a header",
        system("{http: {url: 'http://127.0.0.1/x', headers: {Authorization: @@Bearer abc}}}"),
        "the header `Authorization` holds its secret",
        "`Bearer env:NAME`",
        "secrets are never stored",
    ),
    Broken("password in an address", system("{http: {url: @@'http://me:pw@127.0.0.1/x'}}"), "a user name or a password"),
    Broken("secret in an address", system("{http: {url: @@'http://127.0.0.1/x?api_key=abc'}}"), "looks like a secret"),
    Broken("no address", system("{http: {url: @@ftp://x}}"), "not an address"),
    Broken("path of the answer", system("{http: {url: 'http://127.0.0.1/x', answer: @@reply}}"), "not a path into JSON", "$.reply"),
    Broken(
        "prompt missing",
        system("{model: local/smollm2, prompt: @@prompts/giuded.md}"),
        "there is no file `prompts/giuded.md`",
        "",
        "did you mean `prompts/guided.md`?",
    ),
    Broken("prompt empty", {"prompts/guided.md": "@@ \n"}, "the prompt is empty"),
    Broken(
        "slot without column",
        {"prompts/guided.md": "Hello,\n{{input}} @@{{custmer}}\n"},
        "no column of the cases",
        "`customer`",
        "did you mean `customer`?",
    ),
    Broken(
        "slot for the reference",
        {"prompts/guided.md": "Say @@{{expected}}."},
        "has the slot `{{expected}}`",
        "`input`",
        "never shown to a system",
    ),
    Broken(
        "slot without value",
        {"prompts/guided.md": "@@{{customer}} {{input}}"}
        | cases('{"id": "c1", "input": "x", "customer": "a"}', '{"id": "c2", "input": "x"}'),
        "case `c2` (cases.jsonl:2) has nothing in that column",
    ),
    Broken("slot in a command", system("{command: [echo, @@'{{nput}}']}"), "the slot `{{nput}}`", "`input`", "did you mean `input`?"),
    Broken(
        "slot in a body", system("{http: {url: 'http://127.0.0.1/x', body: {q: @@'{{question}}'}}}"), "the slot `{{question}}`", "`input`"
    ),
    Broken("command as text", system("{command: @@echo hello}"), "`command` is the text `echo hello`", "a list", "in brackets"),
    Broken("python without colon", system("{python: @@app.py}"), "does not name a Python function", "file.py:function"),
    Broken(
        "python module", system("{python: @@'app:answer'}"), "does not name a Python function", "file.py:function", "write `app.py:answer`"
    ),
    Broken("python file missing", system("{python: @@'app.py:answer'}"), "there is no file `app.py`"),
    Broken(
        "python function missing",
        system("{python: @@'app.py:anser'}", app__py="def answer(x): return x\n"),
        "`app.py` defines no `anser`",
        "`answer`",
        "did you mean `answer`?",
    ),
    Broken("python broken", system("{python: 'app.py:answer'}", app__py="x = 1\ndef answer(x)@@\n"), "this is not Python"),
    Broken(
        "key without place",
        system("{python: 'app.py:f', @@temperature: 0}", app__py="def f(x): return x\n"),
        "`temperature` has no place in a python system",
        "`version`",
    ),
    Broken(
        "name of a system",
        {"study.yaml": STUDY.replace("  bare:", "  @@my bare:").replace("than: bare", "than: my bare")},
        "`my bare` cannot name a system",
        "letters",
    ),
    # --- graders
    Broken(
        "unknown check",
        grader("{check: @@contians, value: x, criterion: resolves}"),
        "unknown check `contians`",
        "`contains`",
        "did you mean `contains`?",
    ),
    Broken(
        "option of a check",
        grader("{check: contains, value: x, @@ignorecase: true, criterion: resolves}"),
        "unknown key `ignorecase` beside the check `contains`",
        "`ignore_case`",
        "did you mean `ignore_case`?",
    ),
    Broken(
        "value of an option",
        grader("{check: contains, value: x, ignore_case: @@yes, criterion: resolves}"),
        "`ignore_case` is the text `yes`",
        "true or false",
    ),
    Broken(
        "choice of an option",
        grader("{check: contains, value: [x], match: @@some, criterion: resolves}"),
        "`match` is the text `some`",
        "`all`, `any`",
    ),
    Broken(
        "value of a check", grader("{check: max_words, value: @@many, criterion: resolves}"), "`value` is the text `many`", "a whole number"
    ),
    Broken("value missing", grader("@@{check: regex, criterion: resolves}"), "`value` is missing beside `check: regex`", "text"),
    Broken("function missing", grader("@@{check: python, criterion: resolves}"), "`function` is missing", "file.py:function"),
    Broken(
        "unknown criterion",
        grader("{llm: openai/x, criteria: [resolves, @@tone]}"),
        "the rubric has no criterion `tone`",
        "`resolves`, `brief`",
    ),
    Broken("nothing to mark", grader("@@{llm: openai/x}"), "does not say what it marks", "`resolves`", others=True),
    Broken(
        "slots for a grader",
        grader("{llm: openai/x, criteria: [resolves], prompt: g.md}", g__md="Be strict.\n@@{{output}}\n"),
        "no {{slots}}",
    ),
    # --- hypotheses
    Broken(
        "unknown system",
        hypothesis("{better: @@giuded, than: bare, on: score}"),
        "the study has no system `giuded`",
        "`bare`, `guided`",
        "did you mean `guided`?",
    ),
    Broken(
        "unknown criterion of a hypothesis",
        hypothesis("{better: guided, than: bare, on: @@resolvs}"),
        "the rubric has no criterion `resolvs`",
        "`score`",
        "did you mean `resolves`?",
    ),
    Broken(
        "unknown level of a hypothesis",
        hypothesis("{better: guided, than: bare, on: @@resolves>=meet}"),
        "`meet` is not on the scale of `resolves`",
        "`misses`, `meets`",
        "did you mean `meets`?",
    ),
    Broken(
        "two expectations",
        hypothesis("{system: guided, at_least: 0.8, @@at_most: 0.9, on: score}"),
        "expects several things",
        "exactly one of",
    ),
    Broken("no expectation", hypothesis("@@{system: guided, on: score}"), "expects nothing", "`better`"),
    Broken("than missing", hypothesis("@@{better: guided, on: score}"), "`than` is missing beside `better`", "a system"),
    Broken("margin missing", hypothesis("@@{system: guided, no_worse_than: bare, on: score}"), "`margin` is missing", "0.03"),
    Broken("compared with itself", hypothesis("{better: bare, than: @@bare, on: score}"), "compared with itself", "two systems"),
    Broken(
        "misplaced by",
        hypothesis("{system: guided, at_least: 0.8, on: score, @@by: 0.1}"),
        "`by` has no place beside `at_least`",
        "`at_least`",
    ),
    Broken(
        "worth finding too small",
        hypothesis("{better: guided, than: bare, on: score, by: 0.1, worth_finding: @@0.05}"),
        "`worth_finding` is 0.05",
        "larger than by",
    ),
    # --- people
    Broken("nobody", top("@@people: {share: 30%}"), "`roster` is missing", "Pseudonyms"),
    Broken("a wrong share", top("people: {roster: [ana], share: @@a third}"), "", "a number"),
    Broken("a share above all", top("people: {roster: [ana], share: @@130%}"), "", "1"),
    Broken("alone and twice", top("people: {roster: [ana], twice: @@50%}"), "one person cannot mark twice", "two or more"),
    Broken("one name twice", top("people: {roster: [ana, @@ana]}"), "`ana` is named twice"),
    Broken("a taken name", top("people: {roster: [@@adjudicated]}"), "nobody may be called `adjudicated`"),
    Broken(
        "no such criterion",
        top("people: {roster: [ana], criteria: [@@resolve]}"),
        "people mark no criterion `resolve`",
        "`resolves`",
        "resolves",
    ),
    Broken(
        "a reason for nothing",
        top("people: {roster: [ana], criteria: [brief], reasons: [@@resolves]}"),
        "people mark no criterion `resolves`",
    ),
    Broken("strata of a check", top("people: {roster: [ana], strata: @@brief}"), "no LLM grader marks `brief`", "`resolves`"),
    Broken("no such column", top("people: {roster: [ana], show: [input, @@topics]}"), "the cases have no `topics`", "`topic`", "topic"),
    Broken(
        "what must be hidden",
        top("groups: [topic]\npeople: {roster: [ana], show: [input, @@topic]}"),
        "must not see",
        "`input`",
        "take it out",
    ),
    Broken("no such training", top("people: {roster: [ana], training: @@none.jsonl}"), "none.jsonl"),
    Broken(
        "a grader called people",
        {"study.yaml": STUDY.replace("  judge:", "  people:") + "people: @@{roster: [ana]}\n"},
        "a grader is called `people`",
        "another name",
    ),
    # --- later versions
    Broken(
        "a stop on what a model thinks",
        {"study.yaml": STUDY.replace("on: resolves", "on: @@resolves") + "plan: {stop: when-decided}\n"},
        "cannot decide `H1`: only an LLM grader marks resolves",
        "on what a check marks",
        "let a check mark resolves, or ask every case with `stop: at-the-end`",
    ),
    Broken(
        "a stop with nothing to decide",
        {"study.yaml": STUDY.replace(", primary: true", "") + "plan: {stop: @@when-decided}\n"},
        "nothing to decide",
        "",
        "`primary: true`",
    ),
    Broken(
        "what these cases say, without a stop",
        top("plan: {target: @@these-cases}"),
        "without `stop: when-decided`",
        "both, or neither",
        "add `stop: when-decided`",
    ),
    Broken("no such stop", top("plan: {stop: @@when-decide}"), "`stop` is the text `when-decide`", "`at-the-end`", "`when-decided`"),
    Broken("a cap", top("plan: {@@max_cases: 100}"), "this version does not do planning the number of cases yet"),
    Broken(
        "gaps",
        hypothesis("{system: guided, @@groups: topic, on: score, within: 0.1}"),
        "this version does not do testing gaps between groups yet",
        others=True,
    ),
    Broken(
        "costs",
        hypothesis("{system: guided, @@cost_per: resolves>=meets, on: score, below: 1}"),
        "this version does not do testing costs yet",
        others=True,
    ),
    # --- cases
    Broken(
        "no file", study("cases: cases.jsonl", "cases: @@caess.jsonl"), "there is no file `caess.jsonl`", "", "did you mean `cases.jsonl`?"
    ),
    Broken(
        "a folder",
        study("cases: cases.jsonl", "cases: @@prompts.jsonl") | {"prompts.jsonl/x": ""},
        "is a folder",
        "",
        "name the file itself",
    ),
    Broken("empty cases", {"cases.jsonl": "@@"}, "the file is empty", "at least one row"),
    Broken("Parquet", study("cases: cases.jsonl", "cases: @@cases.parquet"), "not a file of rows", ".jsonl", "does not read Parquet yet"),
    Broken(
        "duplicate id", cases(ROW, '{"id": @@"c1", "input": "y"}'), "the id `c1` stands here a second time; the first is in cases.jsonl:1"
    ),
    Broken("missing id", cases('@@{"input": "x"}'), "the row has no `id`", "a short text"),
    Broken("missing input", cases('@@{"id": "c1", "inptu": "x"}'), "the row has no `input`", "text", "did you mean `inptu`?"),
    Broken("empty input", cases('{"id": "c1", "input": @@" "}'), "`input` is empty"),
    Broken("input typed wrong", cases('{"id": "c1", "input": @@5}'), "`input` is 5", "text, or a list"),
    Broken(
        "turn typed wrong",
        cases('{"id": "c1", "input": @@[{"role": "usr", "content": "x"}]}'),
        "the role the text `usr`",
        "`user`",
        "did you mean `user`?",
    ),
    Broken("not JSON", cases(ROW, '{"id": "c2", @@input: "x"}'), "this is not JSON", "one JSON object a line"),
    Broken(
        "JSON over lines", {"cases.jsonl": '[@@\n{"id": "c1", "input": "x"}\n]\n'}, "this is not JSON", "", "one object a line", others=True
    ),
    Broken("not an object", cases("@@[1, 2]"), "a list stands here", "a JSON object"),
    Broken("NaN in JSON", cases('{"id": "c1", "input": "NaN", "age": @@NaN}'), "`NaN` is not a finite number", "a finite number, or null"),
    Broken("infinite in JSON", cases('{"id": "c1", "input": "x", "age": @@1e400}'), "`1e400` is not a finite number"),
    Broken("surrogate in JSON", cases('{"id": "c1", "input": "@@\\udc00 x"}'), "half of a surrogate pair"),
    Broken("duplicate key in JSON", cases('{"id": "c1", "input": "x", @@"id": "c2"}'), "the key `id` stands twice", "each key once"),
    Broken("deep JSON", cases('@@{"id": "c1", "input": "x", "deep": ' + "[" * 90 + "]" * 90 + "}"), "nested more than 40 deep"),
    Broken(
        "no cluster",
        study("cases: cases.jsonl", "cases: cases.jsonl\ncluster: @@custmer"),
        "the cluster column `custmer` is in none of the cases; the first is `c1`",
        "`customer`",
        "did you mean `customer`?",
    ),
    Broken(
        "cluster missing in a case",
        study("cases: cases.jsonl", "cases: cases.jsonl\ncluster: @@customer") | {"cases.jsonl": CASES + '{"id": "c4", "input": "x"}\n'},
        "case `c4` (cases.jsonl:4) has no `customer`",
    ),
    Broken(
        "group missing in a case",
        study("cases: cases.jsonl", "cases: cases.jsonl\ngroups: [@@topic]")
        | {"cases.jsonl": CASES + '{"id": "c4", "input": "x", "topic": null}\n'},
        "case `c4` (cases.jsonl:4) has no `topic`",
        "",
        "unknown",
    ),
    Broken("population", top("population: {@@topics: [access]}"), "`topics` is no column of the cases", "`topic`", "did you mean `topic`?"),
    Broken(
        "CSV cells",
        study("cases.jsonl", "cases.csv") | {"cases.csv": "id,input\nc1,x\n@@c2,x,y\n"},
        "the row has 3 cells",
        "2, as many as the header names",
        "double quotes",
    ),
    Broken(
        "CSV quote",
        study("cases.jsonl", "cases.csv") | {"cases.csv": 'id,input\n@@c1,"x\nc2,y\n'},
        "cannot be read",
        "double quotes",
        "close the quotes",
    ),
    Broken(
        "CSV header",
        study("cases.jsonl", "cases.csv") | {"cases.csv": "id,input,@@input\nc1,x,y\n"},
        "the column `input` stands here a second time",
    ),
    Broken("CSV id", study("cases.jsonl", "cases.csv") | {"cases.csv": "id;input\na;x\n@@a;y\n"}, "the id `a` stands here a second time"),
    # --- recordings, marks, calibration
    Broken(
        "unknown case in a recording",
        system("{recorded: answers.csv}", answers__csv="case,output\nc1,x\n@@c9,y\n"),
        "there is no case `c9`",
    ),
    Broken(
        "answered twice",
        system("{recorded: answers.csv}", answers__csv="case,output\nc1,x\n@@c1,y\n"),
        "answered a second time; the first is in line 2",
        "",
        "columns: {system: NAME}",
    ),
    Broken(
        "trial too high",
        system("{recorded: answers.csv}", answers__csv="case,trial,output\nc1,@@2,x\n"),
        "the trial is `2`",
        "from 1 to 1",
        "raise `trials`",
    ),
    Broken(
        "no such system in a recording",
        system("{recorded: @@answers.csv}", answers__csv="case,system,output\nc1,bear,x\n"),
        "no answer of a system called `bare`",
        "`bear`",
        "did you mean `bear`?",
    ),
    Broken(
        "no such column",
        system("{recorded: answers.csv, columns: {output: @@reply}}", answers__csv="case,output\nc1,x\n"),
        "no column `reply`",
        "`output`",
    ),
    Broken(
        "no column of cases",
        system("{recorded: answers.csv}", answers__csv="@@number,output\nc1,x\n"),
        "no column holds the case",
        "columns: {case: NAME}",
    ),
    Broken(
        "label off the scale",
        grader("{recorded: marks.csv}", marks__csv="case,system,criterion,rater,label\nc1,bare,resolves,ana,@@met\n"),
        "the label `met` is not on the scale of `resolves`",
        "`misses`, `meets`, `cannot tell`",
        "did you mean `meets`?",
        others=True,
    ),
    Broken(
        "not applicable",
        grader("{recorded: marks.csv, criterion: resolves}", marks__csv="case,system,rater,label\nc1,bare,ana,@@not applicable\n"),
        "does not allow `not applicable`",
    ),
    Broken(
        "mark of unknown criterion",
        grader(
            "{recorded: marks.csv, criteria: [resolves]}",
            marks__csv="case,system,criterion,rater,label\nc1,bare,meets,ana,meets\n".replace("meets,ana", "tone,ana").replace(
                "tone", "@@tone"
            ),
        ),
        "the rubric has no criterion `tone`",
    ),
    Broken(
        "mark of unknown system",
        grader("{recorded: marks.csv, criterion: resolves}", marks__csv="case,system,rater,label\nc1,@@bear,ana,meets\n"),
        "the study has no system `bear`",
        "`bare`",
        "did you mean `bare`?",
    ),
    Broken(
        "marked twice",
        grader(
            "{recorded: marks.csv, criterion: resolves}", marks__csv="case,system,rater,label\nc1,bare,ana,meets\n@@c1,bare,ana,misses\n"
        ),
        "ana marks case `c1` on `resolves` a second time; the first is in line 2",
    ),
    Broken(
        "no label",
        grader("{recorded: marks.csv, criterion: resolves}", marks__csv="case,system,rater,label\nc1,bare,ana,@@\n"),
        "the row holds no label",
    ),
    Broken(
        "how chosen",
        grader("{recorded: marks.csv, criterion: resolves, chosen: @@randomly}", marks__csv="case,system,rater,label\nc1,bare,ana,meets\n"),
        "`chosen` is the text `randomly`",
        "`random`",
        "did you mean `random`?",
    ),
    Broken(
        "calibration off the scale",
        top("calibration: {items: k.jsonl, marked_by: development marks}")
        | {"k.jsonl": '{"id": "k1", "input": "x", "output": "y", "marks": @@{"resolves": "met"}}\n'},
        "the label `met` is not on the scale",
        "`meets`",
    ),
    Broken(
        "calibration without marks",
        top("calibration: {items: k.jsonl, marked_by: development marks}") | {"k.jsonl": '@@{"id": "k1", "input": "x", "output": "y"}\n'},
        "the row has no `marks`",
    ),
    Broken(
        "calibration without marker",
        top("@@calibration: {items: k.jsonl}") | {"k.jsonl": '{"id": "k1", "input": "x", "output": "y", "marks": {"resolves": "meets"}}\n'},
        "`marked_by` is missing",
        "people, or development marks",
    ),
]


def _place(files: Mapping[str, str]) -> tuple[str, int | None, int | None]:
    for name, text in files.items():
        if MARK in text:
            before = text[: text.index(MARK)]
            return name, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return "study.yaml", 1, 1


def _problems(folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(Mistake) as raised:
        load.study(folder)
    assert raised.value.exit_code == 2
    return raised.value.problems


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_mistake_is_named_with_place_reason_and_remedy(broken: Broken, tmp_path: Path) -> None:
    write(tmp_path, {name: text.replace(MARK, "") for name, text in broken.files.items()})
    problems = _problems(tmp_path)
    matching = [problem for problem in problems if broken.found in problem.found]
    assert matching, "\n".join(map(str, problems))
    problem = matching[0]
    assert (problem.file, problem.line, problem.column) == _place(broken.files), str(problem)
    assert broken.allowed in problem.allowed
    assert broken.remedy in problem.remedy
    assert problem.allowed or problem.remedy
    assert broken.others or problems == (problem,), "\n".join(map(str, problems))


def test_the_study_without_mistakes_has_none(tmp_path: Path) -> None:
    assert load.study(write(tmp_path)).name == "helpdesk"


def test_the_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    one_each = {
        "study.yaml": STUDY.replace("temperature: 0", "temperature: cold").replace("by: 0.05", "by: 7"),
        "rubric.yaml": RUBRIC.replace("- yes: It has 60 words or fewer.", "- yes"),
        "cases.jsonl": CASES + '{"id": "c1", "input": "again"}\nnot json\n',
        "prompts/guided.md": "{{nothing}}",
    }
    problems = _problems(write(tmp_path, one_each))
    assert [(problem.file, problem.line) for problem in problems] == [
        ("cases.jsonl", 4),
        ("cases.jsonl", 5),
        ("rubric.yaml", 12),
        ("study.yaml", 6),
        ("study.yaml", 12),
    ]


def _sole(folder: Path) -> Problem:
    (problem,) = _problems(folder)
    return problem


def test_bytes_that_are_not_utf8_are_named_by_line_and_column(tmp_path: Path) -> None:
    problem = _sole(write(tmp_path, {"cases.jsonl": CASES.encode() + '{"id": "ü'.encode() + b'\xff"}\n'}))
    assert problem.position == "cases.jsonl:4:10"
    assert "0xff" in problem.found
    assert "UTF-8" in problem.remedy


@pytest.mark.parametrize("name", ["study.yaml", "rubric.yaml", "cases.jsonl", "prompts/guided.md"])
def test_utf16_is_recognised(name: str, tmp_path: Path) -> None:
    problems = _problems(write(tmp_path, {name: GOOD[name].encode("utf-16")}))
    assert any(problem.position == f"{name}:1:1" and "UTF-16" in problem.found for problem in problems)


@pytest.mark.parametrize("name", ["study.yaml", "rubric.yaml", "cases.jsonl", "prompts/guided.md"])
def test_a_byte_order_mark_does_no_harm(name: str, tmp_path: Path) -> None:
    assert load.study(write(tmp_path, {name: b"\xef\xbb\xbf" + GOOD[name].encode()})) == load.study(write(tmp_path))


def test_a_nul_character_is_named(tmp_path: Path) -> None:
    assert _sole(write(tmp_path, {"prompts/guided.md": "a\nb\0"})).position == "prompts/guided.md:2:2"


def test_a_line_of_five_megabytes_of_yaml_is_refused_unread(tmp_path: Path) -> None:
    problem = _sole(write(tmp_path, {"study.yaml": "study: " + "x" * 5_000_000}))
    assert "larger than" in problem.found
    assert problem.remedy


def test_a_row_of_five_megabytes_is_read_and_a_broken_one_is_placed(tmp_path: Path) -> None:
    long = '{"id": "c4", "input": "' + "x" * 5_000_000
    assert len(load.study(write(tmp_path, {"cases.jsonl": CASES + long + '"}\n'})).cases[3].text) == 5_000_000
    assert _sole(write(tmp_path, {"cases.jsonl": CASES + long + "\n"})).position.startswith("cases.jsonl:4:")


@pytest.mark.parametrize("pattern", ["[", "[a,", "{a: ", "[{", "- ", "? ", "&a ", "a: b\n", "a: &b c\n", "a: '\n", "{", "- - - -\n"])
def test_yaml_made_to_be_slow_is_refused(pattern: str, tmp_path: Path) -> None:
    assert _problems(write(tmp_path, {"study.yaml": pattern * (120_000 // len(pattern))}))


@pytest.mark.parametrize("nesting", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_json_made_to_be_deep_is_refused(nesting: str, tmp_path: Path) -> None:
    assert _sole(write(tmp_path, {"cases.jsonl": CASES + nesting + "\n"})).line == 4


def test_thousands_of_mistakes_are_listed_in_part_and_counted(tmp_path: Path) -> None:
    problems = _problems(write(tmp_path, {"cases.jsonl": "x\n" * 5000}))
    assert len(problems) == 101
    assert "at least 900 more" in problems[0].found


def test_a_secret_is_never_repeated(tmp_path: Path) -> None:
    secret = "sk-" + "abcd1234" * 4
    files = system(f"{{model: openai/x, api_key: {secret}, {secret}: 1, base_url: 'http://x:{secret}@h/', prompt: {secret}}}")
    with pytest.raises(Mistake) as raised:
        load.study(write(tmp_path, files))
    assert secret not in str(raised.value)
    assert "abcd1234" not in repr(raised.value.problems)


def test_what_is_found_can_be_printed_on_any_terminal(tmp_path: Path) -> None:
    problems = _problems(write(tmp_path, top('"\\e[31m\\ud800": x')))
    text = "\n".join(map(str, problems))
    text.encode("utf-8")
    assert "\x1b" not in text


def test_a_missing_folder_a_folder_without_study_and_two_studies_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "helpdesk").mkdir()
    assert "did you mean `helpdesk`?" in _sole(tmp_path / "helpdsk").remedy
    assert "fairmark init" in _sole(tmp_path / "helpdesk").remedy
    for name in ("a.study.yaml", "b.study.yaml"):
        (tmp_path / "helpdesk" / name).write_text(STUDY)
    problem = _sole(tmp_path / "helpdesk")
    assert "`a.study.yaml`, `b.study.yaml`" in problem.found
    assert "name the file" in problem.remedy
