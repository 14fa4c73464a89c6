"""The local model as a process of its own, for the demo and for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from deployments.child import child_server
from deployments.local_model.engine import ModelOptions, weights_path

__all__ = ["local_model"]

_START_SECONDS = 60.0


@contextmanager
def local_model(options: ModelOptions | None = None, port: int = 0) -> Iterator[str]:
    """Run the model on loopback and yield its base_url; port 0: any free one.

    It answers when this yields, and ends with the block or with this process, however that dies.

    Raises:
        ConfigError: the model is not installed, or its process did not come up in a minute.
    """
    weights_path()
    given = {"port": port, "options": asdict(options or ModelOptions())}
    with child_server(
        "deployments.local_model", given, "the local model", _START_SECONDS
    ) as started:
        yield started[1]
