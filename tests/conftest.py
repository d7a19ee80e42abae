"""A headless browser for the tests of pages and reports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

QUIET = ("gpu", "background-networking", "component-update", "sync")
ARGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]


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
