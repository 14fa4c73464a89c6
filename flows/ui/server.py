"""Prefect's own ephemeral server, for runs without a PREFECT_API_URL, tied to its parent's life.

Prefect starts such a server itself when nobody names one, once per process: the shards' processes
would each start their own, and a killed parent would leave them behind. This one is started once,
passed on to the shards, and ends with its parent.

Whoever reaches the API can run commands and read Secret blocks. So it asks for a login, answers no
page of another origin, and no request that was sent to another host name (DNS rebinding).
`nightly-review up` starts its server by this module too, because Prefect has no setting for the last.
"""

from __future__ import annotations

import gc
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

from flows.shards.watchdog import exit_with_parent
from flows.ui.server_database import quick_start
from tasks.core.credentials import without_keys
from tasks.core.errors import StateError
from tasks.core.imports import quick_exit, quick_imports
from tasks.core.quotas import is_loopback

__all__ = [
    "HOSTS",
    "Server",
    "new_login",
    "prefect_server",
    "server_login",
    "starting_server",
    "without_proxy_on_loopback",
]

HOSTS = "NIGHTLY_REVIEW_SERVER_HOSTS"
"""Variable: further host names, with commas between, under which the server is asked."""

_START_TIMEOUT = 120.0
"""Seconds; the first start on a machine creates the database."""

_BACKLOG = 2048
"""Connections that wait to be accepted, as uvicorn has it."""

_NOT_STARTED = 3
"""Exit code, as uvicorn's own command has it."""

_ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A library of its own checks the types of its arguments by what takes a tenth of a second to import.
    "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",
}

_WITHOUT_TLS = {"api.ssl_cert_file": str(Path(__file__).with_name("no_authority.pem"))}
"""
For a server that is asked by http. Each of Prefect's clients, of which a run makes dozens, reads the whole
list of authorities: 24 ms of CPU. In this one there is only one, whose key nobody has.
"""

_SETTINGS: dict[str, Any] = _WITHOUT_TLS | {
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


class _Process(NamedTuple):
    url: str
    login: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class Server:
    """A server that is named, or one of this process that is still starting."""

    def __init__(self, url: str, starting: _Process | None) -> None:
        self.url = url
        self.answered = starting is None
        self._starting = starting

    @property
    def own(self) -> bool:
        """Whether it lives as long as this process uses it."""
        return self._starting is not None

    def wait(self) -> None:
        """Wait for the first answer of an own one.

        Raises:
            StateError: it did not come up in time.
        """
        if self._starting is not None:
            _await_health(self._starting)
            self.answered = True


@contextmanager
def starting_server(keys: Collection[str] = ()) -> Iterator[Server]:
    """The server of PREFECT_API_URL or of a profile, or one that begins to start and ends with the block.

    `keys` are variables that it does not get, beside those that look like one.
    """
    with ExitStack() as stack:
        named = os.environ.get("PREFECT_API_URL")
        # Prefect's own import takes a second: it is started before it is known what a profile names.
        starting = None if named else stack.enter_context(_starting(keys))
        with quick_imports():
            from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

        configured = PREFECT_API_URL.value() or ""
        if configured or starting is None:
            stack.close()
            local = is_loopback(configured)
            with (
                _exported(without_proxy_on_loopback() if local else {}),
                temporary_settings(
                    _WITHOUT_TLS if local and configured.startswith("http:") else {}
                ),
            ):
                yield Server(configured, None)
            return
        own = {"api.url": starting.url, "api.auth_string": starting.login}
        stack.enter_context(temporary_settings(_SETTINGS | own))
        # The shards' processes use it to their very end, when Prefect's contexts are left already:
        # without it each starts a server of Prefect's own there, which stays behind.
        login = {"PREFECT_API_URL": starting.url, "PREFECT_API_AUTH_STRING": starting.login}
        stack.enter_context(_exported(login | without_proxy_on_loopback()))
        server = Server(starting.url, starting)
        try:
            yield server
        finally:
            if server.answered:
                _drain()


@contextmanager
def prefect_server(keys: Collection[str] = ()) -> Iterator[str]:
    """The API's URL: that of PREFECT_API_URL, or of a server that lives as long as the block.

    `keys` as for `starting_server`.

    Raises:
        StateError: no server came up in time.
    """
    with starting_server(keys) as server:
        server.wait()
        yield server.url


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
def _starting(keys: Collection[str]) -> Iterator[_Process]:
    with tempfile.TemporaryFile() as output:
        # It listens from the first moment on, so who asks it waits for its answer, and need not ask again.
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listening:
            origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
            login = new_login()
            process = _start(listening, login, origin, keys, output)
        try:
            yield _Process(f"{origin}/api", login, process, output)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(
    listening: socket.socket,
    login: str,
    origin: str,
    keys: Collection[str],
    output: IO[bytes],
) -> subprocess.Popen[bytes]:
    number = listening.fileno()
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "flows.ui.server", "127.0.0.1", f"fd:{number}", str(os.getpid())],
        env=without_keys(os.environ, keys)
        | _ENVIRONMENT
        | server_login(login, origin)
        | without_proxy_on_loopback(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[number],
        # Ctrl-C and a service manager signal the whole group: the run must still reach its server.
        start_new_session=True,
    )


def _await_health(server: _Process) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    place = urlsplit(server.url)
    with (
        suppress(OSError, HTTPException),
        closing(HTTPConnection(place.netloc, timeout=10)) as asked,
    ):
        asked.request("GET", f"{place.path}/health")
        while server.process.poll() is None and time.monotonic() < deadline:
            if select.select([asked.sock], [], [], 0.2)[0]:
                if asked.getresponse().status == HTTPStatus.OK:
                    return
                break
    server.process.kill()
    server.process.wait(10)
    server.output.seek(0)
    last = server.output.read().decode(errors="replace").strip()[-1000:]
    msg = (
        "Prefect's embedded server did not start: start one with `prefect server start` "
        f"and export PREFECT_API_URL=http://127.0.0.1:4200/api. It said: {last}"
    )
    raise StateError(msg)


def _serve(host: str, place: str, parent: int | None) -> None:
    """Serve at a port, or at the socket fd:N that listens already."""
    with quick_imports():
        import uvicorn  # noqa: PLC0415 - only the server's own process needs it
        from prefect.server.api.server import create_app  # noqa: PLC0415
        from prefect.settings import temporary_settings  # noqa: PLC0415
        from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415

    quick_exit()
    gc.freeze()
    if parent is not None:
        exit_with_parent(parent, grace=5)
    with temporary_settings({} if parent is None else _quick_start()):
        guarded = TrustedHostMiddleware(_OwnHostOnly(create_app()), allowed_hosts=host_names(host))
        kind, _, number = place.rpartition(":")
        sockets = [socket.socket(fileno=int(number))] if kind else None
        config = uvicorn.Config(
            guarded, host=host, port=int(number), log_level="error", timeout_keep_alive=60
        )
        server = uvicorn.Server(config)
        server.run(sockets)
    if not server.started:
        sys.exit(_NOT_STARTED)


class _OwnHostOnly:
    """An ASGI app whose pages ask this server and no other host.

    Prefect's UI brings a library for usage statistics, which asks its makers' host for its settings even
    where the statistics are off.
    """

    def __init__(self, app: Any) -> None:
        own = os.environ.get("PREFECT_SERVER_UI_API_URL", "").removesuffix("/api")
        self._app = app
        self._header = (
            b"content-security-policy",
            f"connect-src 'self' data: blob: {own}".strip().encode(),
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], self._header]}
            await send(message)

        await self._app(scope, receive, with_policy)


def _quick_start() -> dict[str, Any]:
    import prefect  # noqa: PLC0415 - only the server's own process needs it
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL  # noqa: PLC0415

    return quick_start(PREFECT_API_DATABASE_CONNECTION_URL.value(), Path(prefect.__file__).parent)


def host_names(host: str) -> list[str]:
    """Names under which a server on `host` may be asked: against DNS rebinding."""
    more = os.environ.get(HOSTS, "").split(",")
    named = ["127.0.0.1", "localhost", host, socket.gethostname(), *map(str.strip, more)]
    return sorted(set(named) - {"", "0.0.0.0", "*"})  # noqa: S104 - not a name one asks for


if __name__ == "__main__":
    _host, _place, *_parent = sys.argv[1:]
    _serve(_host, _place, int(_parent[0]) if _parent else None)
