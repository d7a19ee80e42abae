"""How fast the marking page is for somebody with 10,000 responses to mark, in a real browser.

    python benchmarks/marking_page.py [--responses 10000] [--times 15]

Prints medians: until the first words are painted, from a key press until the level shows, until it is durable, and until the next
response stands; and the machine. Exit 1 where a bar is missed: 300 ms to paint, 100 ms until a level is stored.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # instead of this folder, whose statistics.py hides the library's

from tests.bench import Fake, bench
from tests.web.conftest import Served, marked_study, serving

from fairmark.study import People

PAINT, STORED = 300.0, 100.0  # ms

WATCH = """() => {
  window.stored = [];
  const status = document.querySelector('#status');
  new MutationObserver(() => { if (status.dataset.word === 'saved') window.stored.push(performance.now()); })
    .observe(status, { attributes: true });
  addEventListener('keydown', event => {
    window.pressed = performance.now();
    requestAnimationFrame(() => { window.shown = performance.now(); });
  }, true);
}"""

FOLLOW = """() => {
  window.went = 0;
  const push = history.pushState;
  history.pushState = function (...given) {
    push.apply(this, given);
    requestAnimationFrame(() => { window.went = performance.now(); });
  };
}"""


def measured(served: Served, times: int) -> dict[str, list[float]]:
    """Milliseconds of each thing that is measured."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"first paint": [], "level shown": [], "level stored": [], "next response": []}
    path = os.environ.get("FAIRMARK_CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise SystemExit("no chromium: name one in FAIRMARK_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        name, _, value = served.cookie("ana").partition("=")
        context.add_cookies([{"name": name, "value": value, "url": served.url}])
        page = context.new_page()
        page.goto(served.url + "/mark")  # what is read once is read here
        for _ in range(times):
            page.goto(served.url + "/mark", wait_until="load")
            found["first paint"].append(paint(page))
            page.wait_for_selector("#status[data-word=saved]")
            page.evaluate(WATCH)
            page.keyboard.press("1")
            page.wait_for_function("() => window.stored.length > 0")
            found["level shown"].append(page.evaluate("window.shown - window.pressed"))
            found["level stored"].append(page.evaluate("window.stored[0] - window.pressed"))
            before = page.url
            page.evaluate(FOLLOW)
            page.keyboard.press("2")
            page.wait_for_function("() => window.went > 0")
            assert page.url != before
            found["next response"].append(page.evaluate("window.went - window.pressed"))
            page.wait_for_selector("#status[data-word=saved]")
        browser.close()
    return found


def paint(page: Any) -> float:
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=15)
    wanted = parser.parse_args()
    began = time.monotonic()
    study = marked_study(People(("ana",), criteria=("tone", "safe")), n=wanted.responses // 2, hypotheses=())
    made = bench(study, Fake())
    made.run()
    assigned = len(made.assign().assignments)
    print(f"{assigned:,} responses are assigned to one person ({time.monotonic() - began:.0f} s to prepare)")
    served = serving(made)
    try:
        found = measured(served, wanted.times)
    finally:
        served.stop()
    bars = {"first paint": PAINT, "level stored": STORED}
    missed = False
    for name, times in found.items():
        median = float(np.median(times))
        missed |= median >= bars.get(name, float("inf"))
        bar = f" (bar {bars[name]:.0f})" if name in bars else ""
        print(f"{name:14} median {median:6.0f} ms{bar}, slowest {max(times):.0f} ms, {len(times)} times")
    print(f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
