"""The page in a real browser: accessible, without scrolling sideways, without asking the network for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.report import fixture

from fairmark import report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(tmp_path_factory.mktemp("report") / "report.html", fixture.analysis(), fixture.exhibits())


def opened(browser: Any, path: Path, *, scheme: str = "light", width: int = 1180) -> Any:
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    return page


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("light", 1180), ("dark", 390), *(pytest.param(*one, marks=pytest.mark.long) for one in (("dark", 1180), ("light", 390)))],
)
def test_axe_finds_no_violation(browser: Any, written: Path, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(browser, written, scheme=scheme, width=width)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = axe.run(page, options={"runOnly": {"type": "tag", "values": tags}, "resultTypes": ["violations"]})
    assert found.response["passes"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found.response["violations"]] == []
    page.context.close()


def test_axe_finds_no_violation_in_the_path_to_a_decision(browser: Any, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(browser, report.write(tmp_path / "stopped.html", fixture.stopped(), ()), width=390)
    assert page.locator("svg.path").count() == 2
    assert [v["id"] for v in axe.run(page).response["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


def test_nothing_scrolls_sideways_at_390_px(browser: Any, written: Path) -> None:
    page = opened(browser, written, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.context.close()


def test_long_words_do_not_widen_a_phone(browser: Any, tmp_path: Path) -> None:
    from tests.report.test_escaping import poisoned

    long = "x" * 400
    path = report.write(tmp_path / "report.html", poisoned(fixture.analysis(), long), poisoned(fixture.exhibits(3), long))
    page = opened(browser, path, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.context.close()


def test_asks_the_network_for_nothing_and_logs_nothing(browser: Any, written: Path) -> None:
    page = browser.new_context().new_page()
    asked: list[str] = []
    logged: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto(written.as_uri(), wait_until="networkidle")
    assert asked == [written.as_uri()]
    assert logged == []
    page.context.close()


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_prints(browser: Any, written: Path, paper: str) -> None:
    page = browser.new_context().new_page()
    page.goto(written.as_uri())
    pdf = page.pdf(format=paper)
    assert pdf.startswith(b"%PDF-")
    pages = pdf.count(b"/Type /Page\n") or pdf.count(b"/Type /Page ")
    assert pages == 0 or 3 <= pages <= 40  # 0: the page objects are compressed
    page.context.close()


def test_a_payload_in_an_answer_runs_nothing(browser: Any, tmp_path: Path) -> None:
    from tests.report.test_escaping import PAYLOADS, poisoned

    payload = "".join(p for p in PAYLOADS if "\ud800" not in p)
    path = report.write(tmp_path / "report.html", poisoned(fixture.analysis(), payload), poisoned(fixture.exhibits(3), payload))
    page = browser.new_context().new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    assert dialogs == []
    assert page.locator("main img, main iframe, main script").count() == 0
    page.context.close()
