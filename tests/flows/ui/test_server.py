"""Who is answered by the server beside a run: its own processes, and nobody else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from flows.ui import server as embedded
from flows.ui.server import without_proxy_on_loopback
from tasks.core.credentials import without_keys
from tests.browser import needs_browser, open_browser
from tests.conftest import PrefectServer
from tests.runs import named

FOREIGN = "http://127.0.0.3:9988"


@pytest.fixture
def http(prefect_server: PrefectServer) -> Iterator[httpx.Client]:
    """A client that knows the address and no login."""
    with httpx.Client(base_url=prefect_server.url) as client:
        yield client


def _ask(http: httpx.Client, **headers: str) -> httpx.Response:
    return http.post("/block_documents/filter", json={}, headers=headers)


def test_without_the_login_the_api_is_closed(
    http: httpx.Client, prefect_server: PrefectServer
) -> None:
    """No login, or a wrong one, is 401; the run's own is answered."""
    assert _ask(http).status_code == 401
    assert http.post("/block_documents/filter", json={}, auth=("admin", "x")).status_code == 401
    user, password = prefect_server.login.split(":")
    assert http.post("/block_documents/filter", json={}, auth=(user, password)).status_code == 200


def test_another_origin_may_not_even_ask(http: httpx.Client, prefect_server: PrefectServer) -> None:
    """A preflight of another origin is refused; only the server's own URL is let in."""
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    own = prefect_server.url.removesuffix("/api")
    foreign = http.options("/block_documents/filter", headers=asked | {"Origin": FOREIGN})

    assert foreign.status_code == 400
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-origin" not in _ask(http, Origin=FOREIGN).headers
    assert http.options("/flows/filter", headers=asked | {"Origin": own}).status_code == 200


def test_another_host_name_is_refused(http: httpx.Client) -> None:
    """A name that was bent to loopback (DNS rebinding) gets nothing, not even the health."""
    assert http.get("/health").status_code == 200
    for name in ("evil.example", "evil.example:4200", "127.0.0.1.evil.example"):
        assert http.get("/health", headers={"Host": name}).status_code == 400


def test_a_proxy_of_the_environment_is_not_asked_for_it(
    prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an HTTP_PROXY that nobody answers at, the server on this machine is reached all the same."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://elsewhere.example.test/")
    assert httpx.get(f"{prefect_server.url}/health").status_code == 200


def test_what_needs_no_proxy_stays_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of this machine are added to the user's own list, in both spellings, and once."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "intern.example.test, localhost")
    both = "intern.example.test,localhost,127.0.0.1"
    assert without_proxy_on_loopback() == {"NO_PROXY": both, "no_proxy": both}


def test_the_login_is_in_no_command_line_and_no_file(prefect_server: PrefectServer) -> None:
    """Only environments have it: neither argv nor Prefect's home show it to others."""
    password = prefect_server.login.partition(":")[2].encode()
    pids = named("flows.ui.server")

    assert pids
    assert not [pid for pid in pids if password in Path(f"/proc/{pid}/cmdline").read_bytes()]
    files = (path for path in prefect_server.home.rglob("*") if path.is_file())
    assert not [path for path in files if password in path.read_bytes()]


def test_the_server_gets_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named in review.toml, lent to runs, or in the form of a key: it is not in its environment."""
    monkeypatch.delenv("NIGHTLY_REVIEW_KEYS", raising=False)
    planted = {"KEY_A": "planted-1", "APP_ID_B": "planted-2", "OTHER": "sk-planted-3333"}
    for name, value in (planted | {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    # The process alone is the subject: what it is given does not depend on its coming up.
    with embedded._starting({"KEY_A"}) as server:
        given = Path(f"/proc/{server.process.pid}/environ").read_bytes().decode().split("\0")
    names = {line.partition("=")[0] for line in given}

    assert not planted.keys() & names
    assert {"PATH", "PREFECT_HOME", "PREFECT_SERVER_API_AUTH_STRING"} <= names


def test_a_list_that_lends_everything_leaves_the_server_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """NIGHTLY_REVIEW_KEYS=* says nothing about which variable is a key."""
    monkeypatch.setenv("NIGHTLY_REVIEW_KEYS", "*")
    assert without_keys({"PATH": "/bin", "K": "v"}, {"K"}) == {"PATH": "/bin"}


@needs_browser
def test_a_page_of_another_origin_reads_no_block(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    """In a browser on this machine, `fetch` of the API fails for a page from elsewhere."""
    (tmp_path / "index.html").write_text("<title>elsewhere</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    elsewhere = ThreadingHTTPServer(("127.0.0.3", 0), handler)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    try:
        with open_browser() as driver:
            driver.get(f"http://127.0.0.3:{elsewhere.server_port}/index.html")
            assert driver.title == "elsewhere"
            read = driver.execute_async_script(_FETCH % json.dumps(prefect_server.url))
    finally:
        elsewhere.shutdown()
        elsewhere.server_close()

    assert read == "BLOCKED TypeError: Failed to fetch"


_FETCH = """
const done = arguments[arguments.length - 1];
fetch(%s + "/block_documents/filter", {
  method: "POST", headers: {"content-type": "application/json"}, body: "{}"
}).then(reply => reply.text()).then(text => done("READ " + text), why => done("BLOCKED " + why));
"""
