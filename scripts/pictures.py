"""Takes the pictures of the pages in docs/images: `python scripts/pictures.py [FOLDER]`.

They show a study about an invented town library. Its answers and marks are made up here: they are development marks, and
nobody's. Needs chromium, or another one named in FAIRMARK_CHROMIUM. The server listens on this machine alone and is
stopped at the end; the study is kept nowhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from fairmark.web import app
from fairmark.web.access import make_link
from fairmark.web.visit import Office
from fairmark.workbench import Workbench

TARGET = Path(__file__).parents[1] / "docs" / "images"
WIDE = 1180  # pixels

STUDY = """
study: library-help-desk
question: Does the longer prompt tell readers of the town library better what to do? (development marks)
cases: cases.jsonl
systems:
  short: {recorded: short.jsonl}
  guided: {recorded: guided.jsonl}
rubric: rubric.yaml
graders:
  judge: {recorded: judge.jsonl, criteria: [tone, steps], by: model, chosen: all}
people:
  roster: [ana, ben]
  adjudicators: [cleo]
  criteria: [limit, tone, steps]
  share: 75%
  twice: 60%
"""
RUBRIC = """
rubric: library help desk
criteria:
  limit:
    question: Does the answer say until when?
    levels: [{no: No day or period is named.}, {yes: A day or a period is named.}]
  tone:
    question: How kind is the answer?
    levels: [{cold: It is curt or sends the reader away.}, {neutral: It is correct.}, {kind: It is warm and easy to read.}]
  steps:
    question: Does the answer name the next steps?
    levels: [{none: It names no step.}, {some: It leaves a step out.}, {all: The reader knows what to do.}]
"""
ASKED = (
    ("My book was due yesterday and I am ill. May I keep it longer?", "renew it", "Name the book or its number, {}, by telephone."),
    ("I lost my reader's card on the bus. What shall I do?", "get a new card", "Bring a letter with your address to desk {}."),
    ("The novel I reserved has not come. Is it lost?", "collect it", "Name reservation {} at the desk."),
    ("Can my daughter borrow films?", "open an account for her", "Come to the desk with her and name request {}."),
    ("I moved to another part of the town. Whom do I tell?", "change your address", "Enter it on your page, under request {}."),
)
WHY = {
    ("limit", "no"): "It says “soon”, which is no day.",
    ("limit", "yes"): "It names the period.",
    ("tone", "cold"): "It tells the reader what to do and nothing else.",
    ("tone", "neutral"): "It thanks the reader, but reads like a form.",
    ("tone", "kind"): "It thanks the reader and offers help.",
    ("steps", "none"): "It names no step.",
    ("steps", "some"): "It says what to do, but not what comes after.",
    ("steps", "all"): "It says what to do, where, and what comes after.",
}
SCALES = {"limit": ("no", "yes"), "tone": ("cold", "neutral", "kind"), "steps": ("none", "some", "all")}


def answer(number: int, true: dict[str, int]) -> str:
    """An answer at these levels."""
    _, task, step = ASKED[number % len(ASKED)]
    greeting = ("", "Thank you for your message.\n\n", "Thank you for telling us, and we are glad to help.\n\n")[true["tone"]]
    until = "within 14 days" if true["limit"] else "soon"
    lines = [f"Please {task} {until}."]
    if true["steps"]:
        lines = [f"You can {task} **{until}**:\n", f"- {step.format(101 + number)}"]
    if true["steps"] == 2:
        lines.append("- We write to you once it is done.")
    return greeting + "\n".join(lines)


def write(folder: Path, chance: random.Random) -> dict[tuple[str, str], dict[str, int]]:
    """The study's files. Gives the levels at which each answer was written."""

    def rows(name: str, of: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in of), encoding="utf-8")

    numbers = range(40)
    true = {
        (f"r{number:02}", system): {
            name: min(len(scale) - 1, max(0, round(chance.gauss(better * (len(scale) - 1), 0.5)))) for name, scale in SCALES.items()
        }
        for number in numbers
        for system, better in (("short", 0.45), ("guided", 0.8))
    }
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    (folder / "rubric.yaml").write_text(RUBRIC, encoding="utf-8")
    rows("cases.jsonl", [{"id": f"r{number:02}", "input": ASKED[number % len(ASKED)][0]} for number in numbers])
    for system in ("short", "guided"):
        rows(f"{system}.jsonl", [{"id": f"r{n:02}", "output": answer(n, true[f"r{n:02}", system])} for n in numbers])
    marks = [
        {"case": case, "system": system, "criterion": name, "label": slip(chance, name, levels[name], 0.2, up=0.8)}
        for (case, system), levels in true.items()
        for name in ("tone", "steps")
    ]
    rows("judge.jsonl", marks)
    return true


def slip(chance: random.Random, criterion: str, level: int, often: float, up: float = 0.5) -> str:
    """A label at a level, or now and then beside it."""
    if chance.random() < often:
        level += 1 if chance.random() < up else -1
    return SCALES[criterion][min(len(SCALES[criterion]) - 1, max(0, level))]


def mark(bench: Workbench, true: dict[tuple[str, str], dict[str, int]], chance: random.Random) -> None:
    """Both mark nearly all that is given to them; the third has settled a few of their disagreements."""
    desk = bench.desk()
    where = {slot.key: (slot.case.id, slot.system) for slot in bench.slots()}
    response = {one.id: one.response for one in bench.store.people.assignments(desk.name)}
    for person, leaves in (("ana", 4), ("ben", 9)):
        while (progress := desk.progress(person)).assigned - progress.done > leaves and (one := desk.next_open(person)) is not None:
            output = desk.view(person, one).panes[0].output
            seconds = chance.randint(25, 90)
            for name, level in true[where[response[one]]].items():
                label = slip(chance, name, level, 0.12)
                best = label == SCALES[name][-1]
                quote = output[: output.index(".") + 1] if best else output.splitlines()[-1].removeprefix("- ")
                start = 0 if best else len(output) - len(quote)
                evidence = [{"quote": quote, "start": start, "end": start + len(quote)}]
                said = {"label": label, "reason": WHY[name, label], "evidence": evidence, "seconds": seconds}
                desk.mark(person, one, str(uuid.uuid4()), criterion=name, **said)
    settling = bench.adjudication()
    proposed: dict[str, str] | None = {"level": "kind", "text": "It takes up what the reader wrote and offers help."}
    for one in [one for one in settling.open() if one.criterion == "tone" and one.id != most_to_read(bench)][:3]:
        label, fault = one.sides[0].label or "", "rubric" if proposed else "mark"
        settling.settle("cleo", one.id, str(uuid.uuid4()), label=label, reason="", fault=fault, anchor=proposed)
        proposed = None


def most_to_read(bench: Workbench) -> str:
    """The disagreement on tone over the longest answer."""
    return max((one for one in bench.adjudication().open() if one.criterion == "tone"), key=lambda one: len(one.output)).id


async def photograph(browser: Browser, office: Office, address: str, folder: Path) -> None:
    """Each page as the person who uses it sees it."""
    for name, person, path, keys, most in (
        ("settling", "cleo", f"/settle/{most_to_read(office.bench)}", "2r", 828),
        ("overview", "owner", "/overview", "", 825),
        ("receipts", "owner", "/receipts", "", 870),
        ("marking", "ana", "/mark", "23", 860),  # last, since these keys are stored
    ):
        size = {"width": WIDE, "height": most}
        page = await browser.new_page(viewport=size, color_scheme="light", reduced_motion="reduce")
        await page.goto(f"{address}/enter#{make_link(office, person)}")
        await page.wait_for_url(lambda url: not url.endswith("/enter") and "#" not in url)
        await page.goto(address + path)
        await page.wait_for_load_state("networkidle")
        for key in keys:
            await page.keyboard.press(key)
        await page.wait_for_load_state("networkidle")
        file = folder / f"{name}.png"
        height = await page.evaluate("Math.ceil(document.querySelector('main').getBoundingClientRect().bottom)")
        await page.screenshot(path=file, clip={"x": 0, "y": 0, "width": WIDE, "height": min(most, height)})
        await page.close()
        print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")


async def take(bench: Workbench, folder: Path) -> None:
    program = os.environ.get("FAIRMARK_CHROMIUM") or shutil.which("chromium")
    if program is None:
        raise SystemExit("no chromium: name one in FAIRMARK_CHROMIUM")
    office = app.make_office(bench)
    running = await app.start(office, "127.0.0.1", 0)
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            await photograph(browser, office, f"http://127.0.0.1:{running.port}", folder)
            await browser.close()
    finally:
        await running.stop()


def main() -> None:
    chance = random.Random(5)
    with tempfile.TemporaryDirectory() as scratch:
        true = write(Path(scratch), chance)
        with Workbench(Path(scratch), memory=True) as bench:
            bench.run()
            bench.assign()
            mark(bench, true, chance)
            asyncio.run(take(bench, Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET))


if __name__ == "__main__":
    main()
