"""More of the list in SECURITY.md: whole servers, other people's responses, connections by the thousand."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fairmark import load
from fairmark.errors import Mistake
from fairmark.web import access, app
from tests.load.files import write
from tests.web.conftest import Served, marked_bench
from tests.web.test_security import raw, status

Start = Callable[..., Served]
NO_REQUESTS = [
    "GET / HTTP/9.9\r\n\r\n",
    "\x00\x01\r\n\r\n",
    "GET /\x1b[31m HTTP/1.1\r\n\r\n",
    "GET /enter HTTP/1.1\r\nHost: {host}\r\nX: " + "a" * 20_000 + "\r\n\r\n",
    "GET /enter HTTP/1.1\r\nHost: {host}\r\nExpect: something\r\nConnection: close\r\n\r\n",
    "POST /enter HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "POST /enter HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n0",
]


def written_study(folder: Path) -> Path:
    """A study on disk with two systems of recorded answers and one person who marks, already run."""
    text = (write(folder) / "study.yaml").read_text(encoding="utf-8") + "people: {roster: [ana]}\n"
    text = (
        text.replace("bare: {model: local/smollm2}", "bare: {recorded: a.jsonl}")
        .replace("guided: {model: local/smollm2, prompt: prompts/guided.md, temperature: 0}", "guided: {recorded: a.jsonl}")
        .replace("  judge: {llm: openai/some-model, criteria: [resolves]}\n", "")
    )
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    answers = "".join(json.dumps({"id": f"c{number}", "output": "Done."}) + "\n" for number in (1, 2, 3))
    (folder / "a.jsonl").write_text(answers, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "fairmark.cli", "run", "-c", str(folder), "-q"], check=True, capture_output=True, timeout=60)
    return folder


def test_03_a_change_says_where_it_comes_from(served: Start) -> None:
    server = served(marked_bench())
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    own = {"Content-Type": "application/json", "X-Fairmark": "1", "Cookie": server.cookie("ana")}
    connection.request("POST", "/leave", b"{}", own)  # as a page of ours, and without the two headers that every browser adds
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.browser
def test_06_the_token_leaves_the_address_and_is_in_no_request_but_one(served: Start) -> None:
    server = served(marked_bench())
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's chromium is not installed")
    link = server.link("ana")
    token = link.partition("#")[2]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        carried: list[str] = []
        page.on("request", lambda one: carried.append(f"{one.url} {one.headers}"))
        page.goto(link)
        page.wait_for_url(f"{server.url}/")
        assert carried and all(token not in one for one in carried)
        assert [one["httpOnly"] for one in page.context.cookies()] == [True]
        page.goto("about:blank")
        page.goto(link)  # a second time
        page.wait_for_function("() => document.getElementById('word').textContent.includes('has been used')")
        assert token not in page.url
        browser.close()


def test_07_nothing_of_anothers_comes_back_whatever_is_asked(served: Start) -> None:
    made = marked_bench()
    server, desk = served(made), made.desk()
    theirs = made.store.people.assignments(desk.name, "ben")
    said = "ben thinks that this one is warm"
    desk.mark("ben", theirs[0].id, "0" * 31 + "1", criterion="tone", label="kind", reason=said)
    ways = [route for route in app.ROUTES if "{id}" in route.path and route.path.startswith("/mark")]
    assert ways
    for route in ways:
        for one in theirs[:3]:
            path = route.path.replace("{id}", one.id)
            good = {"act": "0" * 32, "criterion": "tone", "label": "cold", "note": "0" * 32, "text": "x", "base": None}
            code, body, _ = server.get(path, "ana") if route.method == "GET" else server.post(path, good, "ana")
            assert code == 404, (path, code)
            assert said.encode() not in body and one.case_id is not None
    assert [one.person for one in made.store.people.acts(desk.name)] == ["ben"]
    mine = {one.id for one in made.store.people.assignments(desk.name, "ana")}
    for path in ("/", "/mark", *(f"/mark/{one}/view" for one in mine)):
        body = server.get(path, "ana")[1].decode()
        assert said not in body and not [one.id for one in theirs if one.id in body], path


@pytest.mark.parametrize("text", NO_REQUESTS)
def test_09_and_14_what_is_no_request_is_refused_in_our_own_words(served: Start, text: str) -> None:
    server = served(marked_bench())
    received = raw(server, text.replace("{host}", f"127.0.0.1:{server.port}"), wait=2)
    assert status(received) in (400, 417), received[:100]
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Content-Security-Policy: default-src 'none'" in head and b"nosniff" in head and b"no-store" in head
    assert b"aiohttp" not in received and b"Python" not in received
    assert b"\x1b" not in body and b"aaaa" not in body  # nothing that was sent comes back


def test_12_a_body_that_unpacks_to_gigabytes_is_refused(served: Start) -> None:
    server = served(marked_bench())
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = packer.compress(b'"' + b"a" * 100_000_000) + packer.flush()
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    own = {"Content-Type": "application/json", "X-Fairmark": "1", "Origin": server.url, "Content-Encoding": "gzip"}
    connection.request("POST", "/enter", body, own)
    answer = connection.getresponse()
    assert answer.status == 413 and "error" in json.loads(answer.read())
    connection.close()


def test_12_a_link_to_what_is_no_file_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    text = (folder / "study.yaml").read_text(encoding="utf-8")
    for name, target in (("endless.jsonl", "/dev/zero"), ("folder.jsonl", str(tmp_path)), ("circle.jsonl", "circle.jsonl")):
        (folder / name).symlink_to(target)
        (folder / "study.yaml").write_text(text.replace("cases: cases.jsonl", f"cases: {name}"), encoding="utf-8")
        with pytest.raises(Mistake):
            load.study(folder)


def test_14_no_name_can_colour_a_terminal(tmp_path: Path) -> None:
    folder = write(tmp_path)
    path = folder / "study.yaml"
    text = path.read_text(encoding="utf-8")
    for name in (r"\e[31mana", r"ana\r\nben", r"ana\u202e", r"a\x07"):
        path.write_text(text + f'people: {{roster: ["{name}"]}}\n', encoding="utf-8")
        with pytest.raises(Mistake):
            load.study(folder)


def test_16_two_thousand_idle_sockets_cost_each_other_their_place_and_nobody_else(served: Start) -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 5000:
        pytest.skip("this process may not open 2,000 sockets and their other ends")
    server = served(marked_bench(), header_seconds=600.0)  # so that none of them is dropped for its age
    idle: list[socket.socket] = []
    try:
        for number in range(2000):
            idle.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            if number % 400 == 0:
                assert server.get("/enter")[0] == 200
        assert server.get("/enter")[0] == 200
        idle[0].settimeout(5)
        assert idle[0].recv(1) == b""  # the oldest has lost its place
        idle[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            idle[-1].recv(1)  # the newest has not
    finally:
        for connection in idle:
            connection.close()


def test_18_behind_https_the_cookie_is_for_https_alone(served: Start) -> None:
    server = served(marked_bench())
    secure = {"Origin": server.url.replace("http:", "https:")}
    cookie = server.post("/enter", {"token": access.make_link(server.office, "ana")}, **secure)[2]["Set-Cookie"]
    assert "Secure" in cookie and "HttpOnly" in cookie
    link = json.loads(server.post("/links", {"person": "ana"}, "owner", **secure)[1])["link"]
    assert link.startswith("https://")
    assert "Secure" not in server.post("/enter", {"token": link.partition("#")[2]})[2]["Set-Cookie"]


def test_18_who_is_signed_in_stays_so_when_the_server_starts_again(served: Start) -> None:
    made = marked_bench()
    cookie = served(made).cookie("ana")
    again = served(made)
    assert access.TOKEN.fullmatch(access.make_link(again.office, "ana", anew=False))  # as at every start
    assert again.get("/", Cookie=cookie)[0] == 200
    access.make_link(again.office, "ana")  # as an owner does
    assert again.get("/", Cookie=cookie)[0] == 401


def test_20_others_are_let_in_with_a_warning_and_only_under_names_that_were_given() -> None:
    heard: list[str] = []
    made = marked_bench()
    office, links = app.make_office(made), {}

    async def for_a_moment(hosts: tuple[str, ...]) -> None:
        serving = asyncio.ensure_future(app._serve(office, "0.0.0.0", 0, hosts, ("ana",), heard.append, links.update))
        while not links:
            await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(for_a_moment(()))
    assert any("plain HTTP" in one for one in heard) and any("add --name" in one for one in heard)
    heard.clear()
    links.clear()
    asyncio.run(for_a_moment(("marking.example.org",)))
    assert any("plain HTTP" in one for one in heard) and not any("add --name" in one for one in heard)
    assert links["ana"].startswith("http://marking.example.org:")


def test_20_the_command_serves_by_its_links_and_ends_when_it_is_told(tmp_path: Path) -> None:
    folder = written_study(tmp_path)
    command = [sys.executable, "-m", "fairmark.cli", "serve", "-c", str(folder), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.extend(iter(running.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
        reading.start()
        until = time.monotonic() + 30
        while not any("Ctrl-C" in line for line in lines) and time.monotonic() < until and running.poll() is None:
            time.sleep(0.05)
        found = re.search(r"^ana: http://127\.0\.0\.1:(\d+)/enter#([A-Za-z0-9_-]{43})$", "".join(lines), re.MULTILINE)
        try:
            assert found is not None, lines
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
            own = {"Content-Type": "application/json", "X-Fairmark": "1", "Origin": f"http://127.0.0.1:{found[1]}"}
            connection.request("POST", "/enter", json.dumps({"token": found[2]}), own)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b'{"go": "/"}')
            connection.request("GET", "/mark", headers={"Cookie": answer.headers["Set-Cookie"].partition(";")[0]})
            assert connection.getresponse().status == 302
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(20) == 0  # with the connection above still open
            reading.join(5)
