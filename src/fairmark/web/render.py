"""Foreign text as HTML that runs nothing and loses nothing.

Markdown and JSON are shown by drawing on the raw text: every character of it stands in the page once and in its order, signs such
as `**` included (class `syn`, hidden while the text is shown as a page). So the words of a quote can be found by counting characters.
What is not of the text stands in elements of the class `extra`.
"""

from __future__ import annotations

import difflib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from fairmark.records import Json, Message
from fairmark.report.text import unseen, visible

LONG = 60_000  # characters of one part of a long response; the parts after it are shown on request
DEEP = 40  # levels of nested JSON that are laid out; below that it stays in its line
MOST_WORDS = 6_000  # of each side of a comparison by words

_BLOCKS = {
    "paragraph": "p",
    "heading": "h",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
}
_STRUCTURE = {"ul", "ol", "table", "thead", "tbody", "tr"}  # text may not stand in them directly
_INLINE = {"strong": "strong", "em": "em", "s": "s"}
_SIGNS = frozenset("*_~`\\ \t\n\r>|:-#")  # may stand between the words of one block without being shown
_MARKER = re.compile(r"[\s>]*?(?:[-+*]|(\d{1,9}[.)]))(?=\s|$)")
_TAGGED = re.compile(r"\s*<(tool_calls?|tool_response|tool_result|function_call)>\s*([\[{].*[\]}])\s*</\1>\s*", re.DOTALL)
_JSON = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<open>[\[{])|(?P<close>[\]}])|(?P<comma>,)|(?P<colon>:)|(?P<space>\s+)|(?P<other>[^\s",:\[\]{}]+)'
)


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a long text as HTML."""

    html: str
    start: int  # in characters of the raw text
    end: int
    total: int  # characters of the whole


def response(raw: str, start: int = 0) -> Part:
    """The part of a response that begins at a character, cut at the end of a line where that is near."""
    end = min(len(raw), start + LONG)
    if end < len(raw):
        line = raw.rfind("\n", start + LONG // 2, end)
        end = line + 1 if line > 0 else end
    if end < len(raw) and raw[end - 1] == "\r" and raw[end] == "\n":
        end += 1
    return Part(_text(raw[start:end]), start, end, len(raw))


def text(raw: str) -> str:
    """A text as HTML: laid out as JSON where it is JSON, as Markdown otherwise. Its characters are those of `raw`, in order."""
    return _text(raw)


def plain(raw: str) -> str:
    """The characters of a text as HTML, those that nobody would see marked with their names."""
    found = [(place, name) for place, name in unseen(raw) if raw[place] != "\r" or raw[place + 1 : place + 2] != "\n"]
    parts, last = [], 0
    for place, name in found:
        parts.append(_escaped(raw[last:place]))
        parts.append(f'<span class="unseen" data-name="{name}">{_escaped(raw[place])}</span>')
        last = place + 1
    parts.append(_escaped(raw[last:]))
    return "".join(parts)


def _escaped(raw: str) -> str:
    # HTML turns a bare carriage return into a line feed, drops NUL, and UTF-8 has no lone surrogates
    kept = html.escape(raw).replace("\r", "&#13;")
    return re.sub("[\x00\ud800-\udfff]", "\ufffd", kept)


# ------------------------------------------------------------ what a case shows


def field(value: Json | Sequence[Message], name: str = "") -> str:
    """What the study shows of a case, as HTML: a text, turns of a conversation, documents, tool calls or other JSON."""
    if isinstance(value, str):
        return f'<div class="text rich">{_text(value)}</div>'
    if isinstance(value, (list, tuple)) and value and all(_turn(one) is not None for one in value):
        return _turns([turn for one in value if (turn := _turn(one)) is not None])
    if isinstance(value, (list, tuple)) and value and all(isinstance(one, str | Mapping) for one in value):
        return "".join(_document(one, number, name) for number, one in enumerate(value, 1))
    return _data(value)


def _turn(one: object) -> tuple[str, str, Mapping[str, Json]] | None:
    if isinstance(one, Message):
        return one.role, one.content, {}
    if isinstance(one, Mapping) and isinstance(one.get("role"), str) and (isinstance(one.get("content"), str) or "tool_calls" in one):
        return one["role"], str(one.get("content") or ""), {key: value for key, value in one.items() if key not in ("role", "content")}
    return None


_WHO = {"user": "Question", "assistant": "Earlier answer", "system": "Instruction", "tool": "Result of a tool"}


def _turns(turns: Sequence[tuple[str, str, Mapping[str, Json]]]) -> str:
    if len(turns) == 1 and turns[0][0] == "user" and not turns[0][2]:
        return f'<div class="text rich">{_text(turns[0][1])}</div>'
    shown = []
    for number, (role, content, more) in enumerate(turns, 1):
        who = _WHO.get(role, role)
        body = f'<div class="text rich">{_text(content)}</div>' if content else ""
        calls = more.get("tool_calls")
        rest = {key: value for key, value in more.items() if key != "tool_calls"}
        if isinstance(calls, list):
            body += "".join(_document(call, place, "tool_calls") for place, call in enumerate(calls, 1))
        elif calls is not None:
            rest["tool_calls"] = calls
        if rest:
            body += _data(rest)
        if role == "tool":
            body = f'<details class="block"><summary>{_line(content)}</summary>{body}</details>'
        shown.append(
            f'<li class="turn turn-{"user" if role == "user" else "other"}"><p class="who-said">{number} · {plain(who)}</p>{body}</li>'
        )
    turns_list = f'<ol class="turns">{"".join(shown)}</ol>'
    if len(turns) <= 6:
        return turns_list
    names = [(number, _named(_WHO.get(role, role)), _named(_short(content, 40))) for number, (role, content, _) in enumerate(turns, 1)]
    index = "".join(f'<option value="{number}">{number} · {who}: {said}</option>' for number, who, said in names)
    first = f'<option value="">of {len(turns)}</option>'
    return f'<label class="jump">Go to turn <select class="turn-list">{first}{index}</select></label>{turns_list}'


def _document(one: Json, number: int, name: str) -> str:
    if isinstance(one, str):
        return f'<details class="block" open><summary>{number} · {_line(one)}</summary><div class="text rich">{_text(one)}</div></details>'
    call = _call(one)
    if call is not None:
        return _call_block(*call, raw=one)
    title = next((str(one[key]) for key in ("title", "name", "source", "url", "id") if isinstance(one.get(key), str)), "")
    words = next((key for key in ("text", "content", "body", "passage") if isinstance(one.get(key), str)), None)
    if words is None:
        return _data(one, title or f"{name} {number}".strip())
    rest = {key: value for key, value in one.items() if key != words and value != title}
    return (
        f'<details class="block" open><summary>{number} · {_line(title or one[words])}</summary>'
        f'<div class="text rich">{_text(one[words])}</div>{_data(rest) if rest else ""}</details>'
    )


def _call(one: Json) -> tuple[str, Json, Json] | None:
    """Name, arguments and result of a tool call as the usual formats write it; None where it is none."""
    if not isinstance(one, Mapping):
        return None
    inner = one["function"] if isinstance(one.get("function"), Mapping) else one
    name = next((inner[key] for key in ("tool", "name", "tool_name", "function") if isinstance(inner.get(key), str)), None)
    given = next((key for key in ("arguments", "args", "input", "parameters") if key in inner), None)
    if name is None or given is None:
        return None
    arguments = inner[given]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = inner[given]
    return name, arguments, next((one[key] for key in ("result", "output", "response", "content") if one.get(key) is not None), None)


def _call_block(name: str, arguments: Json, result: Json, *, raw: Json) -> str:
    answer = "" if result is None else f'<p class="label">Result</p>{field(result) if isinstance(result, str) else _data(result)}'
    whole = plain(json.dumps(raw, ensure_ascii=False, default=str))
    return (
        f'<details class="block call" open><summary>Tool call: <b>{_line(name)}</b></summary>'
        f'<p class="label">Arguments</p>{_data(arguments)}{answer}'
        f'<details><summary>As it was written</summary><pre tabindex="0">{whole}</pre></details></details>'
    )


def _data(value: Json, title: str = "") -> str:
    laid_out = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    body = f'<pre tabindex="0" class="json">{plain(laid_out)}</pre>'
    return f'<details class="block" open><summary>{_line(title)}</summary>{body}</details>' if title else body


def _short(raw: str, most: int) -> str:
    line = " ".join(raw[: most * 8].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _named(raw: str) -> str:
    """Escaped for where no element may stand: what nobody would see is spelled out."""
    return _escaped(visible(raw))


def _line(raw: str) -> str:
    return plain(_short(raw, 90)) or "(empty)"


# ------------------------------------------------------------ JSON on the raw text


def _json_value(raw: str) -> Json | None:
    if raw.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and value else None


def _json(raw: str, value: Json) -> str:
    """JSON laid out one value a line, by elements alone."""
    call = _call(value)
    title = f"Tool call: {_line(call[0])}" if call is not None else "JSON"
    spoken = _named(f"Tool call: {_short(call[0], 90)}") if call is not None else "JSON"
    out = [
        f'<details class="block data" open><summary class="extra">{title}</summary>',
        f'<div class="json" tabindex="0" role="group" aria-label="{spoken}">',
    ]
    deep, opened = 0, 0
    for token in _JSON.finditer(raw):
        kind, piece = token.lastgroup, token.group()
        if kind == "open":
            out.append(f"<span>{piece}</span>")
            deep += 1
            if deep <= DEEP:
                out.append('<div class="in"><div>')
                opened += 1
        elif kind == "close":
            if deep <= DEEP and opened:
                out.append("</div></div>")
                opened -= 1
            deep -= 1
            out.append(f"<span>{piece}</span>")
        elif kind == "comma":
            out.append(",</div><div>" if 0 < deep <= DEEP else ",")
        elif kind == "space":
            out.append(f'<span class="syn">{plain(piece)}</span>')
        elif kind == "colon":
            out.append(':<span class="extra"> </span>')
        else:
            out.append(f'<span class="{"str" if kind == "string" else "val"}">{plain(piece)}</span>')
    out.append("</div></details>")
    return "".join(out)


# ------------------------------------------------------------ Markdown on the raw text


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    # links, images, entities and HTML stay the characters they are: nothing is loaded, followed or decoded
    rules = ["table", "fence", "blockquote", "hr", "list", "heading", "paragraph", "code"]
    return (
        MarkdownIt("zero", {"html": False, "linkify": False, "typographer": False, "maxNesting": 30})
        .enable([*rules, "escape", "backticks", "emphasis", "strikethrough", "newline", "balance_pairs", "lheading"])
        .disable("text_join")
    )


def _text(raw: str) -> str:
    value = _json_value(raw)
    if value is not None:
        return _json(raw, value)
    return _Drawing(raw).html()


class _Drawing:
    """Markdown drawn on its own raw text: a place in the raw text that only moves on, and the elements open there."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        # as long as `raw`, so that places are the same; line ends as the parser counts them
        self.source = raw.replace("\r\n", " \n").replace("\r", "\n").replace("\x00", "\ufffd")
        self.starts = [0, *(match.end() for match in re.finditer("\n", self.source)), len(raw)]
        self.at = 0
        self.out: list[str] = []
        self.open: list[str] = []

    def html(self) -> str:
        try:
            tokens = _markdown().parse(self.source)
        except (RecursionError, IndexError):  # too deep for the parser: it is shown as it is
            return f'<div class="as-is">{plain(self.raw)}</div>'
        self._blocks(tokens)
        self._signs(len(self.raw))
        return "".join(self.out)

    def _start(self, line: int) -> int:
        return self.starts[min(line, len(self.starts) - 1)]

    def _signs(self, until: int) -> None:
        """Writes what stands before a place and is not to be read: unless it may hold words, then it is shown."""
        if until <= self.at or (self.open and self.open[-1] in _STRUCTURE):
            return
        skipped = self.raw[self.at : until]
        hidden = not any(character.isalnum() for character in skipped)
        self.out.append(f'<span class="syn">{plain(skipped)}</span>' if hidden else plain(skipped))
        self.at = until

    def _enter(self, tag: str, attributes: str = "") -> None:
        self.out.append(f"<{tag}{attributes}>")
        self.open.append(tag)

    def _leave(self) -> None:
        self.out.append(f"</{self.open.pop()}>")

    def _blocks(self, tokens: Sequence[Token]) -> None:
        ends: list[int | None] = []
        for token in tokens:
            kind = token.type.removesuffix("_open").removesuffix("_close")
            if token.type.endswith("_open"):
                start = self._start(token.map[0]) if token.map else None
                if start is not None:
                    self._signs(start)
                tag = _BLOCKS.get(kind, "div")
                attributes = ""
                if tag == "h":
                    tag, attributes = "p", f' class="head head-{token.tag[1:]}"'
                elif tag == "table":
                    attributes = ' tabindex="0"'
                elif tag == "p":
                    attributes = ' dir="auto"'
                self._enter(tag, attributes)
                ends.append(self._start(token.map[1]) if token.map else None)
                if tag == "li":
                    self._marker()
            elif token.type.endswith("_close"):
                end = ends.pop()
                if end is not None:
                    self._signs(end)
                self._leave()
            elif token.type == "inline":
                end = self._start(token.map[1]) if token.map else len(self.raw)
                data = self._data_in(token, end) if self.open[-1] == "p" else None
                if data is None:
                    self._inline(token, end)
            elif token.type in ("fence", "code_block"):
                self._code(token)
            elif token.type == "hr":
                assert token.map is not None
                self._signs(self._start(token.map[0]))
                self.out.append('<hr class="extra">')
                self._signs(self._start(token.map[1]))

    def _marker(self) -> None:
        line = self.raw.find("\n", self.at)
        match = _MARKER.match(self.raw, self.at, len(self.raw) if line < 0 else line)
        if match is None:
            return
        if match[1] is not None:
            self._signs(match.start(1))
            self.out.append(f'<span class="number">{match[1]}</span>')
            self.at = match.end(1)
        else:
            self._signs(match.end())
            self.out.append('<span class="bullet extra" aria-hidden="true"></span>')

    def _data_in(self, token: Token, end: int) -> bool | None:
        """A paragraph that is JSON, bare or in tags of tool calls, is laid out as such."""
        begin = self.source.find(token.content, self.at, end)
        if begin < 0 or token.content[:1] not in "{[<":
            return None
        tagged = _TAGGED.fullmatch(token.content)
        inner = (tagged.start(2), tagged.end(2)) if tagged else (0, len(token.content))
        value = _json_value(token.content[inner[0] : inner[1]])
        if value is None:
            return None
        self._signs(begin)
        # a paragraph holds no blocks: it gives way to one
        self._leave()
        self._enter("div", ' class="json-block"')
        raw = self.raw[begin : begin + len(token.content)]
        if tagged:
            self.out.append(f'<span class="tag">{plain(raw[: inner[0]])}</span>')
        self.out.append(_json(raw[inner[0] : inner[1]], value))
        if tagged:
            self.out.append(f'<span class="tag">{plain(raw[inner[1] :])}</span>')
        self.at = begin + len(token.content)
        return True

    def _code(self, token: Token) -> None:
        assert token.map is not None
        first, end = self._start(token.map[0]), self._start(token.map[1])
        self._signs(first)
        body, until = first, end
        if token.type == "fence":
            body = self._start(token.map[0] + 1)
            last = self.source.rfind("\n", first, max(first, end - 1)) + 1
            if last > body - 1 and last > first and set(self.source[last:end].strip(" \t\n\r>")) == {token.markup[0]}:
                until = last
        body, until = min(body, end), max(min(until, end), min(body, end))
        value = _json_value(self.source[body:until])
        language = token.info.split()[0] if token.info.split() else ""
        self.out.append(f'<div class="code"><span class="syn">{plain(self.raw[first:body])}</span>')
        if value is not None:
            self.out.append(_json(self.raw[body:until], value))
        else:
            label = html.escape(f"Code {language}".strip(), quote=True)
            inside = plain(self.raw[body:until])
            # a parser drops the line end that opens a `pre`
            self.out.append(f'<div class="pre" tabindex="0" role="group" aria-label="{_escaped_name(label)}">{inside}</div>')
        self.out.append(f'<span class="syn">{plain(self.raw[until:end])}</span></div>')
        self.at = end

    def _inline(self, token: Token, end: int) -> None:
        kept, at, deep = list(self.out), self.at, len(self.open)
        if self._words(token.children or [], end) and len(self.open) == deep:
            return
        # what cannot be placed is shown as it was written
        self.out, self.at = kept, at
        del self.open[deep:]
        self.out.append(f'<span class="as-is">{plain(self.raw[at:end])}</span>')
        self.at = end

    def _words(self, children: Sequence[Token], end: int) -> bool:
        for child in children:
            kind = child.type.removesuffix("_open").removesuffix("_close")
            if kind in _INLINE and child.type.endswith("_open"):
                # the sign stands inside its element, so that it is found again beside its words
                self._enter(_INLINE[kind])
                if not self._sign(child.markup, end):
                    return False
            elif kind in _INLINE:
                if not self._sign(child.markup, end):
                    return False
                self._leave()
            elif child.type in ("text", "text_special", "code_inline"):
                if not child.content:
                    continue
                if not self._to(child.content, end):
                    return False
                piece = plain(self.raw[self.at : self.at + len(child.content)])
                self.out.append(f"<code>{piece}</code>" if child.type == "code_inline" else piece)
                self.at += len(child.content)
                if child.type == "code_inline" and not self._sign(child.markup, end):
                    return False
            elif child.type in ("softbreak", "hardbreak"):
                line = self.source.find("\n", self.at, end)
                if line < 0 or not set(self.source[self.at : line]) <= _SIGNS:
                    return False
                begin = line - 1 if line > self.at and self.raw[line - 1 : line + 1] == "\r\n" else line
                self._signs(begin)
                self.out.append(plain(self.raw[begin : line + 1]))
                self.at = line + 1
            else:
                return False
        return not any(character.isalnum() for character in self.source[self.at : end]) or self.open[-1] in ("th", "td")

    def _sign(self, sign: str, end: int) -> bool:
        """Moves over a sign of emphasis."""
        if not self._to(sign, end):
            return False
        self._signs(self.at + len(sign))
        return True

    def _to(self, words: str, end: int) -> bool:
        """Moves to where words stand; False where something readable stands before them."""
        place = self.at
        while not self._same(words, place):
            if place >= end or self.source[place] not in _SIGNS:
                return False
            place += 1
        self._signs(place)
        return place + len(words) <= end

    def _same(self, words: str, place: int) -> bool:
        found = self.source[place : place + len(words)]
        return found == words or found.replace("\n", " ") == words


def _escaped_name(label: str) -> str:
    return re.sub(r"[^\w .+#-]", "", label)[:40] or "Code"


# ------------------------------------------------------------ differences


def differences(left: str, right: str) -> str | None:
    """Both texts in one, word by word: only left with a minus, only right with a plus. None where they are too long for that."""
    a, b = _words(left), _words(right)
    if max(len(a), len(b)) > 2 * MOST_WORDS:
        return None
    out = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "equal":
            out.append(plain("".join(a[i:j])))
        if kind in ("delete", "replace"):
            out.append(f'<del><span class="sign">−</span>{plain("".join(a[i:j]))}</del>')
        if kind in ("insert", "replace"):
            out.append(f'<ins><span class="sign">+</span>{plain("".join(b[k:m]))}</ins>')
    return "".join(out)


def _words(raw: str) -> list[str]:
    return list(_pieces(raw))


def _pieces(raw: str) -> Iterator[str]:
    for match in re.finditer(r"\s+|\w+|[^\w\s]", raw):
        yield match.group()
