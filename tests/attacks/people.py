"""A web page, a name that was bent to this machine, and another user who is logged in to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deployments.sandbox import start_sandbox
from flows.ui.server import prefect_server
from tests.attacks.tally import Tally
from tests.browser import has_browser, open_browser
from tests.runs import config, named, numbered

__all__ = ["another_user", "web_pages", "without_login"]

_OPEN = {"/api/health", "/api/ready", "/api/version", "/health", "/ready", "/version"}
"""What a server says of itself without a login."""
_NAMES = ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "")
_ORIGINS = ("http://127.0.0.3:9988", "http://evil.example", "null", "file://", "http://localhost:1")


@contextmanager
def _server(home: Path) -> Iterator[tuple[str, str]]:
    """A server of a run's, and its login."""
    earlier = dict(os.environ)
    os.environ |= {"PREFECT_HOME": str(home), "PREFECT_API_URL": ""}
    try:
        with prefect_server() as url:
            yield url, os.environ["PREFECT_API_AUTH_STRING"]
    finally:
        os.environ.clear()
        os.environ.update(earlier)


def without_login(folder: Path) -> Tally:
    """Every route of the API without a login and with a wrong one; foreign hosts and origins."""
    tally = Tally()
    with (
        _server(folder) as (url, login),
        httpx.Client(base_url=url.removesuffix("/api"), timeout=60) as http,
    ):
        user, password = login.split(":")
        schema = http.get("/openapi.json", auth=(user, password))
        routes = schema.json()["paths"] if schema.is_success else _routes()
        for path, methods in routes.items():
            place = path if path.startswith("/api") else f"/api{path}"
            place = place.replace("{", "").replace("}", "")
            for method in methods:
                for auth in (None, ("admin", "admin"), (user, "")):
                    status = http.request(method, place, json={}, auth=auth).status_code
                    through = status < 400 and place not in _OPEN
                    tally.note(f"{method} {place}", came_through=through)
        for name in _NAMES:
            for place in ("/api/health", "/api/flows/filter", "/"):
                status = http.get(place, headers={"Host": name}, auth=(user, password)).status_code
                tally.note(f"Host: {name}", came_through=status < 400)
        for origin in _ORIGINS:
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            for method in ("OPTIONS", "POST"):
                reply = http.request(method, "/api/flows/filter", headers=asked)
                allowed = reply.headers.get("access-control-allow-origin")
                tally.note(f"{method} of {origin}", came_through=allowed is not None)
    assert tally.tried > 300, "the list of routes was not found"
    return tally


def _routes() -> dict[str, list[str]]:
    from prefect.server.api.server import create_api_app  # noqa: PLC0415 - two seconds

    paths = create_api_app().openapi()["paths"]
    return {path: [method.upper() for method in methods] for path, methods in paths.items()}


def web_pages(folder: Path) -> Tally:
    """In Chromium: a page of another origin, and one whose own name now leads to the server."""
    tally = Tally()
    if not has_browser():
        tally.skipped = "no chromium and chromedriver here"
        return tally
    with (
        _server(folder) as (url, _),
        open_browser("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser,
    ):
        port = url.rpartition(":")[2].partition("/")[0]
        browser.set_script_timeout(30)
        # evil.example leads to this machine, as after DNS rebinding: the page is of its own origin.
        for page in (f"http://evil.example:{port}/api/health", "data:text/html,elsewhere"):
            browser.get(page)
            if page.startswith("http"):
                said = browser.page_source
                tally.note("a page by another name", came_through="true" in said)
            own = (
                page.rpartition("/api")[0] if page.startswith("http") else url.removesuffix("/api")
            )
            for call in _CALLS:
                read = browser.execute_async_script(_FETCH % json.dumps([own, *call]))
                tally.note(f"{call[0]} from {page[:24]}", came_through=str(read).startswith("2"))
    return tally


_CALLS = (
    ("POST", "/api/block_documents/filter", {"include_secrets": True}),
    ("POST", "/api/flows/", {"name": "x"}),
    ("POST", "/api/flow_runs/filter", {}),
    ("GET", "/api/admin/settings", None),
)
_FETCH = """
const [own, method, path, body] = %s, done = arguments[arguments.length - 1];
const more = {method, headers: {"content-type": "application/json"}};
if (body) more.body = JSON.stringify(body);
fetch(own + path, more).then(reply => done(String(reply.status)), why => done("BLOCKED " + why));
"""


def another_user(folder: Path) -> Tally:
    """All that a run leaves, read, written, locked and listed by somebody else; its processes too.

    The run's umask is 0, and the folder lets everybody in: its modes alone are in the way.
    """
    tally = Tally()
    if os.geteuid() != 0:
        tally.skipped = "only root can become another user"
        return tally
    folder.chmod(0o755)
    home = folder / "home"
    keys = {"KEY_A": "other-user-key-a", "KEY_B": "other-user-key-b"}
    with start_sandbox() as sandbox, _server(home) as (_, login):
        (folder / "review.toml").write_text(config(sandbox))
        source = numbered(folder / "inputs.jsonl", 4)
        command = [sys.executable, "-m", "flows.bulk_review", str(source), "--output", "out"]
        subprocess.run(
            ["sh", "-c", 'umask 0; exec "$@"', "sh", *command], cwd=folder, check=True,
            env=os.environ | keys, capture_output=True, timeout=240,
        )  # fmt: skip
        places = [folder / "state", folder / "out"]
        files = [path for place in places for path in (place, *place.rglob("*"))]
        pids = named("flows.ui.server")
        for what, came in _as_nobody(files, pids, login):
            tally.note(what, came_through=came)
    assert tally.tried > 60, "the run left hardly a file"
    return tally


_SCRIPT = """
import fcntl, json, os, sys
from pathlib import Path
given = json.load(sys.stdin)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
def attempt(what, action):
    try:
        came = bool(action())
    except OSError:
        came = False
    print(json.dumps([what, came]))
def lock(path):
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
for name in given["files"]:
    path = Path(name)
    attempt(f"list or read {name}", lambda: os.listdir(path) is not None or path.read_bytes())
    attempt(f"read {name}", lambda: path.open("rb").close() is None)
    attempt(f"write {name}", lambda: path.open("r+b").close() is None)
    attempt(f"lock {name}", lambda: lock(path))
    attempt(f"move {name}", lambda: path.rename(f"{name}.moved") is not None)
    attempt(f"make {name}/x", lambda: (path / "x").touch() is None)
for pid in given["pids"]:
    for name in ("environ", "mem", "fd/0", "cwd/x"):
        attempt(f"{name} of a server", lambda: Path(f"/proc/{pid}/{name}").open("rb").read(1))
    attempt("login in argv", lambda: given["login"].encode() in Path(f"/proc/{pid}/cmdline").read_bytes())
    attempt("signal to a server", lambda: os.kill(pid, 0) is None)
"""


def _as_nobody(files: list[Path], pids: list[int], login: str) -> Iterator[tuple[str, bool]]:
    given = {"files": [*map(str, files)], "pids": pids, "login": login.partition(":")[2]}
    # -I: nobody may read our packages, and needs none.
    done = subprocess.run(
        [sys.executable, "-I", "-c", _SCRIPT], input=json.dumps(given), text=True,
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        what, came = json.loads(line)
        yield what, came
