"""Our arithmetic against reference values, through one door that any file of the same shape can use.

A check is `{id, kind, input, expected, tol}`. `CHECKS` maps each kind to a function from `input` to the shape of
`expected`; inputs are arguments, so a file with other inputs of the same kinds goes through unchanged. What cannot be
computed is `{"refused": CODE, "why", "next"}`, in its place in a list where the input is a list of separate cases; the
expected value null stands for a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources

from fairmark.stats.checks import agreement, correction, deciding, fairness, groups, raters, sequential, transfer, trust, value
from fairmark.stats.checks.reading import ASK_A_SHIPPED_CHECK, Answer, Json, guarded, refusal

CHECKS: dict[str, Answer] = {
    kind: answer
    for family in (deciding, sequential, correction, transfer, agreement, trust, fairness, raters, groups, value)
    for kind, answer in family.CHECKS.items()
}


def run_checks(checks: Iterable[Json]) -> dict[str, Json]:
    """`{"passed": N, "failed": [{"id", "kind", "expected", "got"}]}`: numbers within `tol`, every expected key present.

    A kind that this version does not know and an input that it cannot take are refusals, and count as failed unless
    the expected value is null.
    """
    passed, failed = 0, []
    for given in checks:
        check = given if isinstance(given, Mapping) else {}
        got, tol = _answer(check), check.get("tol", 0)
        if isinstance(tol, bool) or not isinstance(tol, (int, float)) or not tol >= 0:
            got = refusal("BAD_INPUT", f"tol must be a number from 0, not {tol!r}", ASK_A_SHIPPED_CHECK)
        elif "expected" not in check:
            got = refusal("BAD_INPUT", "the check says nothing of what is expected", ASK_A_SHIPPED_CHECK)
        elif _known(check) and not differences(check["expected"], got, tol):
            passed += 1
            continue
        failed.append({"id": check.get("id"), "kind": check.get("kind"), "expected": check.get("expected"), "got": got})
    return {"passed": passed, "failed": failed}


def explained(failure: Mapping[str, Json], checks: Iterable[Json]) -> list[str]:
    """The lines of `differences` for one entry of `failed`, with the tolerance of its check."""
    tol = next((check.get("tol", 0) for check in checks if isinstance(check, Mapping) and check.get("id") == failure["id"]), 0)
    return differences(failure["expected"], failure["got"], tol if _is_number(tol) else 0) or [
        _line("", failure["expected"], failure["got"])
    ]


def shipped_checks() -> list[dict[str, Json]]:
    """The reference values in the package."""
    found: list[dict[str, Json]] = json.loads((resources.files("fairmark.stats") / "reference_values.json").read_text(encoding="utf-8"))
    return found


def _known(check: Mapping[str, Json]) -> bool:
    kind = check.get("kind")
    return isinstance(kind, str) and kind in CHECKS


def _answer(check: Mapping[str, Json]) -> Json:
    kind = check.get("kind")
    if not _known(check):
        return refusal("UNKNOWN_KIND", f"this version has no statistic of the kind {kind!r}", f"known kinds: {', '.join(sorted(CHECKS))}")
    return guarded(CHECKS[str(kind)], check.get("input"))


def _rounding(expected: float) -> float:
    """Half a unit in the last place of a value written with six or more decimals: it was rounded there."""
    decimals = len(repr(expected).partition(".")[2]) if "e" not in repr(expected) else 0
    return 0.5 * 10.0**-decimals if decimals >= 6 else 0.0


def _is_refused(got: Json) -> bool:
    """Whether there is no answer: a refusal, or a list of nothing else."""
    if isinstance(got, list):
        return bool(got) and all(map(_is_refused, got))
    return isinstance(got, Mapping) and "refused" in got


def differences(expected: Json, got: Json, tol: float, where: str = "") -> list[str]:
    """Where an answer is not what was expected, a line each: the place, both values, and by how much numbers differ."""
    if expected is None:
        return [] if got is None or _is_refused(got) else [_line(where, expected, got)]
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        lacking = [f"{where}{key}: expected {value!r}, and there is no such key" for key, value in expected.items() if key not in got]
        return lacking + [
            line for key, value in expected.items() if key in got for line in differences(value, got[key], tol, f"{where}{key}: ")
        ]
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return [f"{where}expected {len(expected)} values, got {len(got)}"]
        return [
            line
            for place, pair in enumerate(zip(expected, got, strict=True), 1)
            for line in differences(*pair, tol, f"{where}no. {place}: ")
        ]
    if _is_number(expected) and _is_number(got):
        apart = abs(got - expected)
        if apart <= max(tol, _rounding(expected)) + 1e-12:
            return []
        return [f"{_line(where, expected, got)} (off by {apart:.3g}, {tol:g} allowed)"]
    return [] if type(expected) is type(got) and expected == got else [_line(where, expected, got)]


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _line(where: str, expected: Json, got: Json) -> str:
    said = f"refused, {got['refused']}: {got.get('why', '')}" if isinstance(got, Mapping) and "refused" in got else f"got {got!r}"
    return f"{where}expected {expected!r}, {said}"
