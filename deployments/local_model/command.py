"""`nightly-review local-model`: the server until it is stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from deployments.local_model.engine import ModelOptions
from deployments.local_model.front import Front
from tasks.core.errors import ConfigError

__all__ = ["main"]


def main(port: int, options: Mapping[str, int]) -> int:
    """Serve until stopped; `options` are those of ModelOptions. Returns 0.

    Raises:
        ConfigError: a package is missing or the port is taken.
    """
    _serve(ModelOptions(**options), port)
    return 0


def _serve(options: ModelOptions, port: int) -> None:
    with _listen(port) as front:
        try:
            front.load(options)
            print(json.dumps({"base_url": front.base_url}), flush=True)
            front.serve_forever()
        except KeyboardInterrupt:
            # The library's threads keep the interpreter from ending, one time in three.
            os._exit(0)


def _listen(port: int) -> Front:
    # Before the model is loaded: a taken port is told at once.
    try:
        return Front(port)
    except (OSError, OverflowError) as error:
        msg = f"cannot listen on port {port}: {error}; choose another one with --port"
        raise ConfigError(msg) from None
