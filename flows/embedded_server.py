"""Prefect's own ephemeral server, for runs without a PREFECT_API_URL, tied to its parent's life.

Prefect starts such a server itself when nobody names one, once per process: the shards' processes
would each start their own, and a killed parent would leave them behind. This one is started once,
passed on to the shards, and ends with its parent.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import uvicorn
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from flows.watchdog import die_with_parent
from tasks.core.errors import StateError

__all__ = ["prefect_server"]

_START_TIMEOUT = 120.0
"""Seconds; the first start on a machine creates the database."""

_ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


@contextmanager
def prefect_server() -> Iterator[str]:
    """The API's URL: that of PREFECT_API_URL, or of a server that lives as long as the block.

    Raises:
        StateError: no server came up in time.
    """
    configured = PREFECT_API_URL.value()
    if configured:
        yield configured
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    with (
        tempfile.TemporaryFile() as said,
        _server(port, said) as process,
        # It has no UI, and nothing of it is left to look at when the run is over.
        temporary_settings({PREFECT_API_URL: url, PREFECT_UI_URL: ""}),
        _exported(url),
    ):
        _await_health(process, said)
        try:
            yield url
        finally:
            # What is still queued would find no server.
            APILogWorker.drain_all(timeout=10)
            EventsWorker.drain_all(timeout=10)


@contextmanager
def _exported(url: str) -> Iterator[None]:
    # The shards' processes use it to their very end, when Prefect's contexts are left already:
    # without it each starts a server of Prefect's own there, which stays behind.
    earlier = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    try:
        yield
    finally:
        del os.environ["PREFECT_API_URL"]
        if earlier is not None:
            os.environ["PREFECT_API_URL"] = earlier


@contextmanager
def _server(port: int, said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "flows.embedded_server", str(port), str(os.getpid())],
        env=os.environ | _ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        # Ctrl-C and a service manager signal the whole group: the run must still reach its server.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_health(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    with get_client(sync_client=True) as client:
        while client.api_healthcheck() is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                said.seek(0)
                last = said.read().decode(errors="replace").strip()[-1000:]
                msg = (
                    "Prefect's embedded server did not start: start one with `prefect server start` "
                    f"and export PREFECT_API_URL=http://127.0.0.1:4200/api. It said: {last}"
                )
                raise StateError(msg)
            time.sleep(0.1)


def _serve(port: int, parent: int) -> None:
    die_with_parent(parent, grace=5)
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        timeout_keep_alive=60,
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
