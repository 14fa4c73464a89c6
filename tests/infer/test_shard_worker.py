"""The worker of a shard: what it logs of its calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from deployments.sandbox import Sandbox

CONFIG = 'mode = "check"\n[[check]]\nname = "c1"\nmodel = "c1"\n'


def test_failed_attempts_are_in_the_shard_s_log(
    sandbox: Sandbox,
    review_rows: Callable[..., list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call that went well at the second attempt says so nowhere else."""
    sandbox.control(script=[{"fault": "status_500", "nth": [1]}])
    with caplog.at_level(logging.INFO, logger="test"):
        review_rows([{"input_id": "i", "kind": "snippet", "content": "x = 1\n"}], CONFIG)
    (line,) = (line for line in caplog.messages if line.startswith("calls of this shard: "))
    counts = orjson.loads(line.partition(": ")[2])
    assert counts["calls"]["failed_attempts"] == {"server_error": 1}
    assert counts["breakers"][sandbox.base_url]["state"] == "closed"
