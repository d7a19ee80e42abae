"""A headless browser for the tests of pages and reports, and the order in which files of tests begin."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

QUIET = ("gpu", "background-networking", "component-update", "sync")
ARGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]

# the files that take longest begin first, so that in the end no worker is left alone with one of them
LONGEST = (
    "test_faults.py",
    "test_cli.py",
    "test_real_data.py",
    "test_in_browser.py",
    "test_marking_page.py",
    "test_kill.py",
    "test_notes_page.py",
    "test_local_model.py",
    "test_security_scripts.py",
    "test_adjudication_page.py",
    "test_security.py",
    "test_storeys.py",
    "test_verdicts.py",
    "test_progress_page.py",
    "test_overview_page.py",
    "test_tuning.py",
    "test_tour.py",
    "test_reading.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, or the one named in FAIRMARK_CHROMIUM; without any the test says that it is skipped."""
    api = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("FAIRMARK_CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium: name one in FAIRMARK_CHROMIUM")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGS)
        yield started
        started.close()
