"""A server of this project as a child process, which ends with its parent, however that dies."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from tasks.core.errors import ConfigError

__all__ = ["Child", "child_server"]

Child = subprocess.Popen[bytes]
_STOP_SECONDS = 10.0


@contextmanager
def child_server(
    module: str, given: Mapping[str, Any], what: str, seconds: float
) -> Iterator[tuple[Child, str]]:
    """Run the `module` with `given` as JSON on its stdin; yields the process and the base_url that it prints.

    It answers within so many seconds with one line of JSON, `base_url` or `error`, and ends when its
    stdin does. What is given may hold keys: it is in no command line.

    Raises:
        ConfigError: it did not come up; the message is its own.
    """
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError
    with process.stdin as stdin, process.stdout as stdout:
        try:
            yield process, _base_url(stdin, stdout, given, what, seconds)
        finally:
            _stop(process)


def _base_url(
    stdin: IO[bytes], stdout: IO[bytes], given: Mapping[str, Any], what: str, seconds: float
) -> str:
    with suppress(BrokenPipeError):  # what it says tells why it has gone
        stdin.write(json.dumps(given).encode() + b"\n")
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        line = stdout.readline() if selector.select(seconds) else b'{"error": "it is too slow"}'
    said = json.loads(line or b'{"error": "it ended at once"}')
    if "error" in said:
        msg = f"{what} did not start: {said['error']}"
        raise ConfigError(msg)
    return str(said["base_url"])


def _stop(process: Child) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_SECONDS)
