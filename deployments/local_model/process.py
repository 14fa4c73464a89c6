"""The local model as a process of its own, for the demo and for tests."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from deployments.local_model.engine import ModelOptions, weights_path
from tasks.core.errors import ConfigError

__all__ = ["local_model"]

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0


@contextmanager
def local_model(options: ModelOptions | None = None, port: int = 0) -> Iterator[str]:
    """Run the model on loopback and yield its base_url; port 0: any free one.

    It answers when this yields, and ends with the block or with this process, however that dies.

    Raises:
        ConfigError: the model is not installed, or its process did not come up in a minute.
    """
    weights_path()
    command = [sys.executable, "-m", "deployments.local_model", _arguments(options, port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 -- our own module
    try:
        yield _base_url(process)
    finally:
        _stop(process)


def _arguments(options: ModelOptions | None, port: int) -> str:
    chosen = asdict(options or ModelOptions())
    return json.dumps({"port": port, "parent": os.getpid(), "options": chosen})


def _base_url(process: subprocess.Popen[bytes]) -> str:
    """Wait for the line that says where it listens; it comes when the model is loaded."""
    if process.stdout is None:
        msg = "the local model was started without a pipe: start it by local_model"
        raise ConfigError(msg)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(_START_SECONDS) else b""
    if not line:
        msg = (
            "the local model did not start; run `nightly-review local-model` to see why, "
            "or `make setup` to install it anew"
        )
        raise ConfigError(msg)
    return str(json.loads(line)["base_url"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
