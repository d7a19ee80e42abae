"""What every page has to hold for everybody, and the ways in which each is looked at."""

from __future__ import annotations

from typing import Any

import pytest

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")  # WCAG 2.2, levels A and AA

in_every_way = pytest.mark.parametrize(
    ("colours", "width", "zoom"),
    [
        ("light", 1280, 1),
        ("dark", 1280, 1),
        ("light", 390, 1),
        pytest.param("dark", 390, 1, marks=pytest.mark.long),
        pytest.param("light", 320, 1, marks=pytest.mark.long),
        ("light", 1280, 2),
    ],
)
"""In both colours, on a wide screen, on two telephones, and enlarged to 200%."""


def sized(colours: str, width: int, zoom: int) -> dict[str, Any]:
    """Options of a window. A browser enlarges by laying the page out on fewer of its own pixels."""
    size = {"width": width // zoom, "height": 900 // zoom}
    return {"viewport": size, "device_scale_factor": zoom, "color_scheme": colours, "reduced_motion": "reduce"}


def is_usable(page: Any, state: str) -> None:
    """No rule is broken, and nothing is wider than the window. `state` names what is looked at when it fails."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}).response
    assert found["passes"], state
    broken = [(one["id"], [(node["html"][:200], node["failureSummary"][:300]) for node in one["nodes"]]) for one in found["violations"]]
    assert broken == [], f"{state}: {broken}"
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{state}: {wide} pixels too wide"
    cut = page.evaluate(
        "[...document.querySelectorAll('dialog[open]')].filter(one => one.scrollWidth > one.clientWidth).map(one => one.id)"
    )
    assert cut == [], f"{state}: {cut}"


def is_seen_with_focus(page: Any, steps: int = 60) -> None:
    """Whatever Tab leads to is not hidden behind what stays in its place, such as a bar at the foot (WCAG 2.4.11)."""
    hidden: list[str] = []
    for _ in range(steps):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
              const at = document.activeElement;
              if (!at || at === document.body) return null;
              const { left, right, top, bottom } = at.getBoundingClientRect();
              const seen = [0.1, 0.5, 0.9].some((down) => [0.1, 0.5, 0.9].some((over) => {
                const on = document.elementFromPoint(left + over * (right - left), top + down * (bottom - top));
                return on && (at.contains(on) || on.contains(at));
              }));
              return seen ? "" : at.outerHTML.slice(0, 120);
            }"""
        )
        if found is None:
            break
        if found:
            hidden.append(found)
    assert hidden == [], f"hidden with the focus: {hidden}"
