"""Prefect's own ephemeral server, for runs without a PREFECT_API_URL, tied to its parent's life.

Prefect starts such a server itself when nobody names one, once per process: the shards' processes
would each start their own, and a killed parent would leave them behind. This one is started once,
passed on to the shards, and ends with its parent.

Whoever reaches the API can run commands and read Secret blocks. So it asks for a login, answers no
page of another origin, and no request that was sent to another host name (DNS rebinding).
`nightly-review up` starts its server by this module too, because Prefect has no setting for the last.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, NamedTuple
from urllib.request import getproxies

from flows.shards.watchdog import exit_with_parent
from tasks.core.credentials import without_keys
from tasks.core.errors import StateError
from tasks.core.imports import quick_imports
from tasks.core.quotas import is_loopback

__all__ = ["HOSTS", "new_login", "prefect_server", "server_login", "without_proxy_on_loopback"]

HOSTS = "NIGHTLY_REVIEW_SERVER_HOSTS"
"""Variable: further host names, with commas between, under which the server is asked."""

_START_TIMEOUT = 120.0
"""Seconds; the first start on a machine creates the database."""

_ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

_SETTINGS: dict[str, Any] = {
    # It has no UI, and nothing of it is left to look at when the run is over.
    "ui_url": "",
    # Nobody waits for heartbeats, and each flow run would wait a second for the thread that sends them.
    "flows.heartbeat_frequency": None,
    # It is of this very installation, and its first answer would cost half a second.
    "client.server_version_check_enabled": False,
}


def new_login() -> str:
    """A user name and a random password, as Prefect's auth strings have them."""
    return f"admin:{secrets.token_urlsafe(32)}"


def server_login(login: str, origin: str) -> dict[str, str]:
    """Environment of a server that takes only `login`, and pages of `origin` only."""
    return {
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_API_AUTH_STRING": login,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origin,
    }


class _Server(NamedTuple):
    url: str
    login: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]


@contextmanager
def prefect_server(
    meanwhile: Callable[[], object] = lambda: None, keys: Collection[str] = ()
) -> Iterator[str]:
    """The API's URL: that of PREFECT_API_URL, or of a server that lives as long as the block.

    `meanwhile` is called before the block, while the server starts, which takes three seconds; Prefect's
    own import takes one. So the server is started before it is known whether a profile names another one.
    `keys` are variables that it does not get, beside those that look like one.

    Raises:
        StateError: no server came up in time.
    """
    with ExitStack() as stack:
        named = os.environ.get("PREFECT_API_URL")
        starting = None if named else stack.enter_context(_starting(keys))
        with quick_imports():
            from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

        configured = PREFECT_API_URL.value()
        if configured or starting is None:
            stack.close()
            with _exported(without_proxy_on_loopback() if is_loopback(configured or "") else {}):
                meanwhile()
                yield configured or ""
            return
        own = {"api.url": starting.url, "api.auth_string": starting.login}
        stack.enter_context(temporary_settings(_SETTINGS | own))
        # The shards' processes use it to their very end, when Prefect's contexts are left already:
        # without it each starts a server of Prefect's own there, which stays behind.
        login = {"PREFECT_API_URL": starting.url, "PREFECT_API_AUTH_STRING": starting.login}
        stack.enter_context(_exported(login | without_proxy_on_loopback()))
        meanwhile()
        _await_health(starting)
        stack.callback(_drain)
        yield starting.url


def _drain() -> None:
    """Send the logs and events that are still queued, while there is a server."""
    from prefect.events.worker import EventsWorker  # noqa: PLC0415 - the server starts first
    from prefect.logging.handlers import APILogWorker  # noqa: PLC0415

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@contextmanager
def _exported(ours: dict[str, str]) -> Iterator[None]:
    earlier = {name: os.environ[name] for name in ours if name in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update(earlier)


def without_proxy_on_loopback() -> dict[str, str]:
    """NO_PROXY as it is, and this machine: a proxy elsewhere cannot reach the server here."""
    said = getproxies().get("no", "")
    hosts = [host for host in map(str.strip, said.split(",")) if host]
    value = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


@contextmanager
def _starting(keys: Collection[str]) -> Iterator[_Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    origin, login = f"http://127.0.0.1:{port}", new_login()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "flows.ui.server", "127.0.0.1", str(port), str(os.getpid())],
            env=without_keys(os.environ, keys)
            | _ENVIRONMENT
            | server_login(login, origin)
            | without_proxy_on_loopback(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C and a service manager signal the whole group: the run must still reach its server.
            start_new_session=True,
        )
        try:
            yield _Server(f"{origin}/api", login, process, output)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_health(server: _Server) -> None:
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - the server starts first

    deadline = time.monotonic() + _START_TIMEOUT
    with get_client(sync_client=True) as client:
        while client.api_healthcheck() is not None:
            if server.process.poll() is not None or time.monotonic() > deadline:
                server.output.seek(0)
                last = server.output.read().decode(errors="replace").strip()[-1000:]
                msg = (
                    "Prefect's embedded server did not start: start one with `prefect server start` "
                    f"and export PREFECT_API_URL=http://127.0.0.1:4200/api. It said: {last}"
                )
                raise StateError(msg)
            time.sleep(0.1)


def _serve(host: str, port: int, parent: int | None) -> None:
    with quick_imports():
        import uvicorn  # noqa: PLC0415 - only the server's own process needs it
        from prefect.server.api.server import create_app  # noqa: PLC0415
        from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415

    if parent is not None:
        exit_with_parent(parent, grace=5)
    guarded = TrustedHostMiddleware(create_app(), allowed_hosts=host_names(host))
    uvicorn.run(guarded, host=host, port=port, log_level="error", timeout_keep_alive=60)


def host_names(host: str) -> list[str]:
    """Names under which a server on `host` may be asked: against DNS rebinding."""
    more = os.environ.get(HOSTS, "").split(",")
    named = ["127.0.0.1", "localhost", host, socket.gethostname(), *map(str.strip, more)]
    return sorted(set(named) - {"", "0.0.0.0", "*"})  # noqa: S104 - not a name one asks for


if __name__ == "__main__":
    _host, _port, *_parent = sys.argv[1:]
    _serve(_host, int(_port), int(_parent[0]) if _parent else None)
