"""The endpoint that the runner is timed against: what it answers and what it counts."""

from __future__ import annotations

import http.client
import json
from typing import Any

from benchmarks.runner import write_cases
from benchmarks.stub import Running, running, text_for


def _ask(stub: Running, *bodies: dict[str, Any]) -> list[str]:
    """Answers over one kept-alive connection."""
    connection = http.client.HTTPConnection("127.0.0.1", stub.port, timeout=10)
    said = []
    for body in bodies:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        said.append(json.loads(connection.getresponse().read())["choices"][0]["message"]["content"])
    connection.close()
    return said


def _body(said: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}], **more}


def test_it_says_what_cases_expect_and_counts_what_it_saw(tmp_path: Any) -> None:
    write_cases(tmp_path / "cases.jsonl", 3)
    cases = [json.loads(row) for row in (tmp_path / "cases.jsonl").read_text().splitlines()]
    with running(0.03, core=None) as stub:
        said = _ask(stub, *(_body(case["input"]) for case in cases), _body(cases[0]["input"]))
        counts = stub.counters()
        stub.reset()
        after = stub.counters()
    assert said == [*(case["expected"] for case in cases), cases[0]["expected"]]
    assert len(set(said)) == 3
    found = {name: counts[name] for name in ("requests", "answered", "connections", "in_flight", "most_in_flight", "repeated_bodies")}
    assert found == {"requests": 4, "answered": 4, "connections": 1, "in_flight": 0, "most_in_flight": 1, "repeated_bodies": 1}
    assert 4 * 0.029 <= counts["phase"] < 5
    assert (after["requests"], after["repeated_bodies"], after["phase"]) == (0, 0, 0.0)


def test_it_fills_a_schema_with_first_levels_and_a_text_to_its_size() -> None:
    schema = {"properties": {"reason": {"type": "string"}, "level": {"enum": ["kind", "cold"]}, "sure": {"type": "number"}}}
    with running(0.0, size=2048, core=None) as stub:
        plain, filled = _ask(stub, _body("Hello?"), _body("Mark it.", response_format={"json_schema": {"schema": schema}}))
    assert len(plain) == 2048
    assert plain == text_for("Hello?", 2048)
    assert plain.startswith(text_for("Hello?"))
    assert json.loads(filled) == {"reason": "", "level": "kind", "sure": 1}


def test_a_request_in_pieces_is_answered_once_and_other_paths_are_refused() -> None:
    with running(0.0, core=None) as stub:
        connection = http.client.HTTPConnection("127.0.0.1", stub.port, timeout=10)
        body = json.dumps(_body("In pieces?")).encode()
        connection.putrequest("POST", "/chat/completions")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        assert connection.sock is not None
        connection.send(body[10:])
        whole = connection.getresponse().read()
        connection.request("POST", "/v1/embeddings", b"{}")
        refused = connection.getresponse()
        refused.read()
        connection.close()
        counts = stub.counters()
    assert text_for("In pieces?") in whole.decode()
    assert refused.status == 404
    assert counts["requests"] == 1
