"""The pages as a service in a hostile browser: one test a line of the list in SECURITY.md, most of them on raw sockets."""

from __future__ import annotations

import ast
import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fairmark
from fairmark import load
from fairmark.errors import Mistake
from fairmark.web import access, app
from fairmark.web.visit import ANYBODY, Role
from tests.load.files import write
from tests.web.conftest import Served, marked_bench

Start = Callable[..., Served]
ROLES: dict[str, Role] = {"owner": "owner", "ana": "grader", "cleo": "adjudicator"}
HERE = Path(__file__)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    from tests.web.conftest import serving

    running = serving(marked_bench())
    yield running
    running.stop()


def raw(server: Served, text: str, *, wait: float = 5.0) -> bytes:
    """What comes back for bytes that no well-behaved client would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        connection.sendall(text.encode("utf-8", "surrogateescape"))
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            pass
        return received


def status(received: bytes) -> int:
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/") else 0


def ask(server: Served, host_lines: str, target: str = "/enter") -> int:
    return status(raw(server, f"GET {target} HTTP/1.1\r\n{host_lines}Connection: close\r\n\r\n"))


# ------------------------------------------------------------------ 1 to 6: who is asked, and by whom


def test_01_hosts(server: Served) -> None:
    port = server.port
    assert ask(server, f"Host: 127.0.0.1:{port}\r\n") == 200
    assert ask(server, f"Host: LOCALHOST:{port}\r\n") == 200
    hostile = [
        "attacker.example", f"attacker.example:{port}", f"127.0.0.1.nip.io:{port}", f"127.0.0.1.:{port}", f"localhost.:{port}", "127.0.0.1",
        "localhost", f"127.0.0.1:{port + 1}", "127.0.0.1:80", f"127.0.0.1:0{port}", f"2130706433:{port}", f"0x7f.1:{port}", f"127.1:{port}",
        f"[::ffff:127.0.0.1]:{port}", f"0.0.0.0:{port}", f"user@127.0.0.1:{port}", f"127.0.0.1:{port}@evil.example", f"127.0.0.1:{port}/x",
        f"127.0.0.1:{port},evil.example", f"127.0.0.1\t:{port}", "", f":{port}", f"127.0.0.1:{port}#", f"evil.example\\@127.0.0.1:{port}",
    ]  # fmt: skip
    assert len(hostile) >= 20
    for host in hostile:
        assert ask(server, f"Host: {host}\r\n") in (400, 421), host
    assert ask(server, "") in (400, 421)
    assert ask(server, f"Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n") in (400, 421)
    assert ask(server, "Host: evil.example\r\n", f"http://127.0.0.1:{port}/enter") in (400, 421)
    assert ask(server, f"Host: 127.0.0.1:{port}\r\n", "http://evil.example/enter") == 400
    assert ask(server, f"Host: 127.0.0.1:{port}\r\nX-Forwarded-Host: evil.example\r\n") == 200


@pytest.mark.browser
def test_02_rebinding_in_a_browser(server: Served) -> None:
    with _browser(f"--host-resolver-rules=MAP evil.example 127.0.0.1:{server.port}") as browser:
        page = browser.new_page()
        answer = page.goto(f"http://evil.example:{server.port}/enter")
        assert answer is not None and answer.status == 421
        seen = page.evaluate("fetch('/overview', {credentials: 'include'}).then(answer => answer.status)")
        assert seen == 421


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"X-Fairmark": ""}, False),
        ({"X-Fairmark": "0"}, False),
        ({"Content-Type": "text/plain"}, False),
        ({"Content-Type": "application/x-www-form-urlencoded"}, False),
        ({"Content-Type": "multipart/form-data"}, False),
    ],
)
def test_03_a_change_comes_from_our_own_pages_alone(served: Start, headers: dict[str, str], allowed: bool) -> None:
    server = served(marked_bench())
    code, answer, _ = server.post("/leave", {}, "ana", **headers)
    assert (code == 200) is allowed, code
    assert allowed or code in (403, 415)
    assert json.loads(answer)  # a page can read why


def test_03_nothing_changes_by_get_and_signing_in_cannot_be_forced(server: Served) -> None:
    for route in app.ROUTES:
        if route.method == "POST" and not any(other.path == route.path and other.method == "GET" for other in app.ROUTES):
            assert server.get(route.path.replace("{id}", "x"), "owner")[0] in (404, 405), route.path
    token = access.make_link(server.office, "ana")
    assert server.post("/enter", {"token": token}, **{"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"})[0] == 403
    assert server.post("/enter", {"token": token})[0] == 200  # the refused attempt has not used it up
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT"):
        assert status(raw(server, f"{method} /enter HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n")) in (
            400,
            405,
        ), method


def test_04_no_websocket_is_opened_for_anybody(server: Served) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for path in {route.path.replace("{id}", "x") for route in app.ROUTES}:
        text = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: http://evil.example\r\n{upgrade}\r\n"
        assert status(raw(server, text, wait=0.3)) != 101, path


def test_05_no_other_origin_is_ever_allowed(server: Served) -> None:
    for route in app.ROUTES:
        path = route.path.replace("{id}", "x")
        for code, _, headers in (server.get(path, "owner", Origin="http://evil.example"), server.post(path, {}, "owner")):
            assert not [name for name in headers if name.lower().startswith("access-control")], (path, code)


def test_06_tokens_are_long_stored_as_hashes_and_in_no_log(served: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = served(marked_bench())
    caplog.set_level(logging.DEBUG)
    token = access.make_link(server.office, "ana")
    assert access.TOKEN.fullmatch(token)
    cookie = server.post("/enter", {"token": token})[2]["Set-Cookie"].partition(";")[0]
    server.get("/", Cookie=cookie)
    server.get(f"/{token}?token={token}")
    session = cookie.partition("=")[2]
    kept = "\n".join(str(server.office.bench.store.people.sessions(server.office.desk.name, at=time.time_ns())))
    assert token not in kept and session not in kept
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert session not in logged and f"token={token}" not in logged
    assert server.get("/enter")[2]["Referrer-Policy"] == "no-referrer"
    for wrong in ("", "x", session[:-1], session + "x", session.swapcase(), "../" + session, "x" * 43):
        assert server.post("/leave", {}, Cookie=f"{access.COOKIE}={wrong}")[0] == 401


# ------------------------------------------------------------------ 7: who may do what


def test_07_every_route_answers_those_it_is_for_and_nobody_else(server: Served) -> None:
    assert {(route.method, route.path) for route in app.ROUTES} == {
        (method, path) for method, path in _routed(server) if not path.startswith("/static/")
    }
    for route in app.ROUTES:
        assert route.roles, route.path
        path = route.path.replace("{id}", "0" * 16)
        for person, role in ((None, "anybody"), *ROLES.items()):
            if (route.method, route.path) in {("POST", "/leave"), ("POST", "/revoke")} and role in route.roles:
                continue  # they end the sessions that the others are asked with; test_access shows them
            code = (server.get(path, person) if route.method == "GET" else server.post(path, {}, person))[0]
            if role in route.roles:
                assert code not in (401, 403, 500), (route, role, code)
            else:
                assert code == (401 if role == "anybody" else 403), (route, role, code)


def _routed(server: Served) -> set[tuple[str, str]]:
    made = app.make_app(server.office, access.Door(frozenset(), 1))
    return {
        (route.method, route.resource.canonical) for route in made.router.routes() if route.resource is not None and route.method != "HEAD"
    }


def test_07_what_anybody_may_see_is_the_door_alone() -> None:
    assert {(route.method, route.path) for route in app.ROUTES if route.roles == ANYBODY} == {("GET", "/enter"), ("POST", "/enter")}


# ------------------------------------------------------------------ 9 and 17: what a browser is told


def test_09_and_17_every_answer_carries_the_policy_whatever_it_is(server: Served) -> None:
    answers = [server.get(path, "ana") for path in ("/enter", "/", "/nothing", "/static/enter.js", "/links")]
    answers += [server.post("/links", {}, "ana"), server.post("/enter", "no object"), server.get("/enter", Host="evil.example")]
    for code, _, headers in answers:
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy, code
        assert headers["X-Frame-Options"] == "DENY" and headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "aiohttp" not in headers["Server"] and "Python" not in headers["Server"]
    assert all("no-store" in headers["Cache-Control"] for _, _, headers in answers)


def test_09_no_page_of_ours_has_script_or_style_in_it() -> None:
    for template in (Path(fairmark.__file__).parent / "web" / "templates").glob("*.html"):
        text = template.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe|form|base|meta)\b[^>]*>", text):
            assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", tag), tag
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|<style\b|\sstyle=|\son[a-z]+=", text), template.name


# ------------------------------------------------------------------ 10 to 14: hostile input


TRAVERSALS = [
    "/static/../access.py", "/static/..%2faccess.py", "/static/%2e%2e/access.py", "/static/%2e%2e%2f%2e%2e%2fpasswd", "/static//etc/passwd",
    "/static/....//access.py", "/static/..;/access.py",
    "/static/%252e%252e%252faccess.py", "/static/..%5caccess.py", "/static/\\..\\access.py",
    "/static/enter.js%00.html", "/static/C:/boot.ini", "/static/%5c%5chost%5cshare",
    "/static/enter.js/../../access.py", "/static/#/../x",
    "/static/%c0%ae%c0%ae/access.py", "/static/%ef%bc%8e%ef%bc%8e/x", "//etc/passwd", "/mark/..%2f..%2fetc%2fpasswd", "/mark/%00",
]  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS)
def test_10_no_path_reaches_a_file(server: Served, path: str) -> None:
    text = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {server.cookie('ana')}\r\nConnection: close\r\n\r\n"
    received = raw(server, text)
    assert status(received) in (400, 403, 404), received[:80]
    assert b"import" not in received and b"root:" not in received


def test_11_the_server_never_calls_out(served: Start) -> None:
    called: list[object] = []
    watching = [True]
    mine = threading.get_ident()

    def hook(event: str, args: tuple[object, ...]) -> None:
        if watching[0] and event == "socket.connect" and threading.get_ident() != mine:
            called.append(args[1])

    sys.addaudithook(hook)
    try:
        server = served(marked_bench())
        for route in app.ROUTES:
            path = route.path.replace("{id}", "http:%2f%2f169.254.169.254")
            for person in (None, *ROLES):
                server.get(path, person)
                server.post(
                    path, {"url": "http://169.254.169.254/", "person": "http://[::ffff:a9fe:a9fe]/", "label": "file:///etc/passwd"}, person
                )
    finally:
        watching[0] = False
    assert called == []


def test_12_files_that_are_not_what_they_seem(tmp_path: Path) -> None:
    import zipfile

    folder = write(tmp_path)
    with zipfile.ZipFile(folder / "bomb.jsonl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../slip.jsonl", "0" * 20_000_000)
    with (folder / "sparse.jsonl").open("wb") as sparse:
        sparse.truncate(1_000_000_000)
    (folder / "poly.jsonl").write_bytes(b"GIF89a" + b'{"id": "c1", "input": "<script>"}\n')
    text = (folder / "study.yaml").read_text(encoding="utf-8")
    for name in ("bomb.jsonl", "sparse.jsonl", "poly.jsonl"):
        (folder / "study.yaml").write_text(text.replace("cases: cases.jsonl", f"cases: {name}"), encoding="utf-8")
        with pytest.raises(Mistake):
            load.study(folder)
    assert not (tmp_path.parent / "slip.jsonl").exists()


SPOKEN = ("act", "criterion", "label", "reason", "person", "token", "note", "code")
INJECTIONS = [
    "' OR 1=1 --",
    "'; DROP TABLE act; --",
    '" OR ""="',
    "1) UNION SELECT token FROM session --",
    "%27%20OR%201",
    "\\'; --",
    "0; ATTACH 'x'",
]


@pytest.mark.parametrize("words", INJECTIONS)
def test_13_sql_is_only_text(server: Served, words: str) -> None:
    before = server.office.bench.store.counts()
    quoted = "".join(f"%{byte:02x}" for byte in words.encode())
    for route in app.ROUTES:
        path = route.path.replace("{id}", quoted)
        for code in (
            server.get(f"{path}?q={quoted}&sort={quoted}", "cleo")[0],
            server.post(path, dict.fromkeys(SPOKEN, words), "ana")[0],
        ):
            assert code != 500, (path, code)
    server.post("/revoke", {"person": words}, "owner")
    assert server.office.bench.store.counts() == before


def test_14_no_line_or_colour_is_smuggled_into_log_or_headers(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fairmark.web")
    for path in ("/x%0d%0aSet-Cookie:%20a=b", "/%1b[31mred%1b[0m", "/a%0aINFO%20forged", "/%e2%80%ae%00", "/%c2%9b31m"):
        _, _, headers = server.get(path, "ana")
        assert "Set-Cookie" not in headers
    logged = "".join(record.getMessage() for record in caplog.records if record.name == "fairmark.web")
    assert logged and all(" " <= character <= "~" for character in logged)


# ------------------------------------------------------------------ 15 and 16: patience


def _patterns() -> set[tuple[str, str, str]]:
    """Every pattern in the source with the way it is used: file, pattern, method."""
    found: set[tuple[str, str, str]] = set()
    for path in Path(fairmark.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in METHODS:
                used.setdefault(node.value.id, set()).add(node.attr)
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)):
                continue
            literal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if node.func.value.id != "re" or not isinstance(literal, str):
                continue
            if node.func.attr in METHODS:
                found.add((path.name, literal, node.func.attr))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call):
                call = node.value
                compiled = isinstance(call.func, ast.Attribute) and call.func.attr == "compile" and bool(call.args)
                if compiled and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
                    for method in used.get(node.targets[0].id, {"fullmatch"}):
                        found.add((path.name, call.args[0].value, method))
    return found


METHODS = {"fullmatch", "match", "search", "finditer", "findall", "sub", "split"}
SLOW = r"""
import json, re, sys, time
for name, pattern, method in json.load(sys.stdin):
    compiled = re.compile(pattern)
    for seed in ("a", " ", "<", "0", "`", "(", "[", "\n", "a ", "0.", "{{", "x\n", "\\", "%", "_*", "a@", "\u00e9", "|a"):
        times = []
        for size in (2_000, 32_000):
            text = seed * (size // len(seed)) + "!"
            tries = []
            for _ in range(3):  # the least of three: what else runs on the machine slows some of them
                began = time.process_time()
                made = compiled.sub("", text) if method == "sub" else getattr(compiled, method)(text)
                if method == "finditer":
                    sum(1 for _ in made)
                tries.append(time.process_time() - began)
            times.append(min(tries))
        # sixteen times the text takes sixteen times as long where time is linear, and 256 times where it is quadratic
        if times[1] > 64 * max(times[0], 0.0005):
            print(name, method, pattern, repr(seed), [round(t, 4) for t in times])
"""


def test_15_no_pattern_of_ours_can_be_made_to_run_away() -> None:
    patterns = sorted(_patterns())
    assert len(patterns) > 30
    done = subprocess.run(
        [sys.executable, "-c", SLOW], input=json.dumps(patterns), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_16_slow_and_idle_connections_leave_the_others_served(served: Start) -> None:
    server = served(marked_bench(), header_seconds=1.0)
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(400)]
    slow = socket.create_connection(("127.0.0.1", server.port))
    slow.sendall(b"GET /enter HTTP/1.1\r\nX-Slow: ")
    try:
        assert server.get("/enter")[0] == 200
        until = time.monotonic() + 15
        while time.monotonic() < until:
            with_reply = b"x"
            try:
                slow.sendall(b"a")
                slow.settimeout(0.2)
                with_reply = slow.recv(10)
            except TimeoutError:
                continue
            except OSError:
                with_reply = b""
            if with_reply == b"":
                break
        else:
            pytest.fail("a connection that never ends its headers was kept")
        assert server.get("/enter")[0] == 200
        idle[0].settimeout(5)
        assert idle[0].recv(10) == b""  # dropped too
    finally:
        for connection in (*idle, slow):
            connection.close()


# ------------------------------------------------------------------ 17 to 20: sessions, frames, binding


@pytest.mark.browser
def test_17_no_page_can_be_framed(server: Served, tmp_path: Path) -> None:
    outside = tmp_path / "evil.html"
    outside.write_text(f'<iframe id="f" src="{server.url}/enter"></iframe>', encoding="utf-8")
    with _browser() as browser:
        page = browser.new_page()
        page.goto(outside.as_uri())
        page.wait_for_timeout(300)
        assert all("Come in" not in frame.content() for frame in page.frames)


def test_18_a_session_that_was_planted_is_never_taken_over(server: Served) -> None:
    planted = access.new_token()
    token = access.make_link(server.office, "ana")
    code, _, headers = server.post("/enter", {"token": token}, Cookie=f"{access.COOKIE}={planted}")
    assert code == 200 and planted not in headers["Set-Cookie"]
    assert server.post("/leave", {}, Cookie=f"{access.COOKIE}={planted}")[0] == 401


def test_20_a_server_for_others_is_refused_without_a_flag_and_names(tmp_path: Path) -> None:
    text = (write(tmp_path) / "study.yaml").read_text(encoding="utf-8") + "people: {roster: [ana]}\n"
    answers = '{"id": "c1", "output": "Done."}\n{"id": "c2", "output": "Done."}\n{"id": "c3", "output": "Done."}\n'
    text = (
        text.replace("bare: {model: local/smollm2}", "bare: {recorded: a.jsonl}")
        .replace("guided: {model: local/smollm2, prompt: prompts/guided.md, temperature: 0}", "guided: {recorded: a.jsonl}")
        .replace("  judge: {llm: openai/some-model, criteria: [resolves]}\n", "")
    )
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(answers, encoding="utf-8")
    command = [sys.executable, "-m", "fairmark.cli"]
    subprocess.run([*command, "run", "-c", str(tmp_path), "-q"], check=True, capture_output=True, timeout=60)
    done = subprocess.run(
        [*command, "serve", "-c", str(tmp_path), "--host", "0.0.0.0", "--port", "0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "can be reached from other machines" in done.stderr + done.stdout


def _browser(*arguments: str):  # type: ignore[no-untyped-def]
    """A headless browser, or a skipped test where there is none."""
    import shutil
    from contextlib import contextmanager

    @contextmanager
    def opened():  # type: ignore[no-untyped-def]
        playwright = pytest.importorskip("playwright.sync_api")
        program = shutil.which("chromium")
        if program is None:
            pytest.skip("Debian's chromium is not installed")
        with playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", *arguments])
            try:
                yield browser
            finally:
                browser.close()

    return opened()


def test_http_garbage_never_ends_the_server(server: Served) -> None:
    for text in ("\x00\x01\x02", "GET", "GET / HTTP/9.9\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "G" * 100_000):
        raw(server, text, wait=0.5)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", "/enter", b"x" * 2_000_000, {"Content-Type": "application/json", "X-Fairmark": "1", "Origin": server.url})
    assert connection.getresponse().status in (400, 413)
    connection.close()
    assert server.get("/enter")[0] == 200
