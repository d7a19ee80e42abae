"""Items 8 and 19 of the list in SECURITY.md: text that would like to be script, in the pages and in the report."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairmark.records import Case, Message
from fairmark.rubric import Criterion, Level, Rubric
from fairmark.study import GraderSpec, People, Study, SystemSpec
from fairmark.web import app
from fairmark.workbench import Workbench
from tests.bench import bench, study
from tests.web.conftest import Served

pytestmark = pytest.mark.browser
Start = Callable[..., Served]

DOES = ("window.caught=1", "fetch('http://127.0.0.1:9/caught')", "document.title='caught'", "alert(1)")
SHAPES = (
    "<script>{0}</script>",
    '<img src=x onerror="{0}">',
    '<svg onload="{0}">',
    "<svg><script>{0}</script></svg>",
    '<a href="javascript:{0}">x</a>',
    "[x](javascript:{0})",
    "![x](javascript:{0})",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "<javascript:{0}>",
    '<iframe src="javascript:{0}"></iframe>',
    '<iframe srcdoc="<script>{0}</script>"></iframe>',
    '<body onload="{0}">',
    '<details open ontoggle="{0}">',
    '<math><mi xlink:href="javascript:{0}">',
    '<input autofocus onfocus="{0}">',
    '"><script>{0}</script>',
    "'><img src=x onerror={0}>",
    "</textarea><script>{0}</script>",
    "</title><script>{0}</script>",
    "</script><script>{0}</script>",
    "--><script>{0}</script><!--",
    "]]><script>{0}</script>",
    "{{{{constructor.constructor('{0}')()}}}}",
    "${{{0}}}",
    "{{% raw %}}<script>{0}</script>",
    "<style>@import 'http://127.0.0.1:9/caught';</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/caught>",
    '<meta http-equiv=refresh content="0;url=http://127.0.0.1:9/caught">',
    '<object data="javascript:{0}">',
    '<embed src="http://127.0.0.1:9/caught">',
    '<form action="javascript:{0}"><button>x</button></form>',
    "<base href=http://127.0.0.1:9/>",
    "<video src=http://127.0.0.1:9/caught autoplay onerror={0}>",
    "<audio src=x onerror={0}>",
    "<marquee onstart={0}>",
    "<template><script>{0}</script></template>",
    '<noscript><p title="</noscript><script>{0}</script>">',
    '<x style="background:url(http://127.0.0.1:9/caught)">',
    "![x](http://127.0.0.1:9/caught)",
    "<img srcset=http://127.0.0.1:9/caught>",
    "[a]: javascript:{0}\n[a]",
    "<scr\0ipt>{0}</scr\0ipt>",
    "<scr<script>ipt>{0}</scr</script>ipt>",
    "\u202e<script>{0}</script>",
    "&lt;script&gt;{0}&lt;/script&gt;",
    "<SCRIPT SRC=http://127.0.0.1:9/caught></SCRIPT>",
    '<img src="x` `<script>{0}</script>"` `>',
    '<div onpointerover="{0}">x</div>',
    "`<script>{0}</script>`",
    "```html\n<script>{0}</script>\n```",
    "| a |\n|---|\n| <script>{0}</script> |",
    "# <img src=x onerror={0}>",
    "> <script>{0}</script>",
    "- <svg onload={0}>",
    '{{"tool_calls": [{{"name": "<img src=x onerror={0}>", "arguments": "<script>{0}</script>"}}]}}',
    '[{{"role": "tool", "content": "<svg onload={0}>"}}]',
    "<tool_call><script>{0}</script></tool_call>",
    "javascript:{0}//",
    "'-{0}-'",
    '";{0};//',
    "\\u003cscript\\u003e{0}\\u003c/script\\u003e",
    "%3Cscript%3E{0}%3C/script%3E",
    '<a href="  java\tscript:{0}">x</a>',
    "[x](<javascript:{0}>)",
    "[x](JaVaScRiPt:{0})",
    "[x](&#106;avascript:{0})",
    '<https://x" onmouseover={0}>',
    "<!--<script>{0}</script>",
    "<plaintext><script>{0}</script>",
    "<xmp><script>{0}</script></xmp>",
    "<title><img src=x onerror={0}></title>",
    '<svg><a xlink:href="javascript:{0}"><text>x</text></a></svg>',
    "<svg><animate onbegin={0} attributeName=x dur=1s>",
    "<isindex type=image src=1 onerror={0}>",
    "<keygen autofocus onfocus={0}>",
    "<frameset onload={0}>",
    '<table background="javascript:{0}">',
    '<div style="width: expression({0})">',
    "<a target=_blank href=http://127.0.0.1:9/caught ping=http://127.0.0.1:9/caught>x</a>",
    "<portal src=http://127.0.0.1:9/caught>",
    "<button popovertarget=x onclick={0}>x</button>",
    "<select autofocus onfocus={0}>",
    "<dialog open onclose={0}>x</dialog>",
    "<image href=x onerror={0}>",
)
PAYLOADS = tuple(shape.format(does) for shape, does in itertools.product(SHAPES, DOES))
A_PAGE = 10  # payloads on one page


@contextmanager
def watched() -> Iterator[tuple[Any, list[str]]]:
    """A browser context, and what it would not have done with harmless text: requests elsewhere, dialogs, scripts that ran."""
    import shutil

    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's chromium is not installed")
    caught: list[str] = []
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context()
        context.on("request", lambda request: caught.append(request.url) if ":9/" in request.url else None)
        context.on("dialog", lambda dialog: (caught.append("a dialog"), dialog.dismiss()))
        yield context, caught
        browser.close()


def hostile_study() -> Study:
    groups = [PAYLOADS[start : start + A_PAGE] for start in range(0, len(PAYLOADS), A_PAGE)]
    texts = ["\n\n".join(group) for group in groups]
    cases = tuple(
        Case(f"c{number}", (Message("user", texts[-number]), Message("assistant", texts[0]), Message("user", text)), text, {"policy": text})
        for number, text in enumerate(texts, 1)
    )
    nasty = PAYLOADS[0] + PAYLOADS[4] + PAYLOADS[16]
    criterion = Criterion(
        "tone", nasty, (Level("no", nasty), Level("<b>yes</b>" + nasty, PAYLOADS[1])), guidance="\n\n".join(PAYLOADS[:12])
    )
    systems = {
        name: SystemSpec(name, "recorded", recorded={(case.id, 1): name + " says\n\n" + case.text for case in cases}, recorded_from=nasty)
        for name in ("bare", "guided")
    }
    people = People(("ana", "ben"), ("cleo",), criteria=("tone",), twice=1.0, show=("input", "expected", "policy"), guideline=nasty)
    graders = {"people": GraderSpec("people", "people", ("tone",), chosen="all")}
    base = study(n=1)
    return replace(
        base,
        name="hostile",
        question=nasty,
        cases=cases,
        systems=systems,
        rubric=Rubric((criterion,), nasty),
        graders=graders,
        people=people,
        hypotheses=(),
        population={"policy": (nasty,)},
        interests={"built_by": nasty},
    )


def hostile_bench() -> Workbench:
    made = bench(hostile_study())
    made.run()
    made.assign()
    return made


def test_08_there_are_enough_of_them() -> None:
    assert len(set(PAYLOADS)) >= 250


def test_08_no_text_runs_in_the_pages(served: Start) -> None:
    made = hostile_bench()
    server = served(made)
    desk = server.office.desk
    mine = [one.id for one in made.store.people.assignments(desk.name, "ana")]
    with watched() as (context, caught):
        name, _, token = server.cookie("ana").partition("=")
        context.add_cookies([{"name": name, "value": token, "url": server.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: caught.append(str(error)))
        for assignment in mine:
            page.goto(f"{server.url}/mark/{assignment}")
            assert page.evaluate("window.caught") is None
            assert page.title() != "caught"
            assert page.locator("main script, main iframe, main object, main embed, main svg[onload], main [onerror]").count() == 0
        name, _, token = server.cookie("owner").partition("=")
        context.clear_cookies()
        context.add_cookies([{"name": name, "value": token, "url": server.url}])
        page.goto(f"{server.url}/overview")
        assert page.evaluate("window.caught") is None
    assert caught == []


def test_08_and_19_no_text_runs_in_the_report_and_it_asks_nobody(tmp_path: Path) -> None:
    made = hostile_bench()
    report = made.report(tmp_path / "report.html")
    with watched() as (context, caught):
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(report.resolve().as_uri())
        page.wait_for_timeout(300)
        assert page.evaluate("window.caught") is None
        assert page.title() != "caught"
        assert asked == [report.resolve().as_uri()]
    assert caught == []


def test_08_no_text_that_people_wrote_runs_for_others(served: Start) -> None:
    made = hostile_bench()
    server, desk = served(made), made.desk()
    for person, label in (("ana", 0), ("ben", 1)):
        level = made.study.rubric["tone"].levels[label].name
        for number, one in enumerate(made.store.people.assignments(desk.name, person)[:8]):
            wild = "\n\n".join(PAYLOADS[number * 40 : number * 40 + 40])
            desk.mark(person, one.id, str(uuid.uuid4()), criterion="tone", label=level, reason=wild)
            desk.note(person, one.id, str(uuid.uuid4()), note=str(uuid.uuid4()), text=wild)
    pages = [route for route in app.ROUTES if route.method == "GET" and "{" not in route.path]
    wild_on: set[str] = set()
    with watched() as (context, caught):
        page = context.new_page()
        page.on("pageerror", lambda error: caught.append(str(error)))
        for person, role in (("ana", "grader"), ("cleo", "adjudicator"), ("owner", "owner")):
            name, _, token = server.cookie(person).partition("=")
            context.clear_cookies()
            context.add_cookies([{"name": name, "value": token, "url": server.url}])
            for route in pages:
                if role not in route.roles or route.path == "/enter":
                    continue
                page.goto(server.url + route.path)
                page.wait_for_timeout(50)
                if "window.caught" in page.locator("body").inner_text():
                    wild_on.add(route.path)
                assert page.evaluate("window.caught") is None, (route.path, person)
                assert page.title() != "caught"
                assert (
                    page.locator(
                        "main :is(script:not([type]), iframe, object, embed, [onload], [onerror], base, form[action^=java])"
                    ).count()
                    == 0
                )
                assert page.locator("a[href^='javascript' i], a[href^='data' i]").count() == 0
    assert caught == []
    assert {"/mark", "/settle", "/notes"} <= wild_on  # the text was there to be read
