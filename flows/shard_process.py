"""The process of one shard: how it starts, and when it has to end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

from prefect.flow_engine import run_flow_in_subprocess

from flows.review_shard import review_alone, review_shard
from tasks.core.paths import ShardPaths
from tasks.outage import await_server

__all__ = ["GRACE", "end_process", "start_process", "watch_process"]

GRACE = 25.0
"""Seconds that a shard gets to end its calls in flight when the run is stopped."""

_FAREWELL = 10.0
"""Seconds that a finished shard gets to tell Prefect so; a server that is gone takes longer."""

_PATIENCE = 10.0
"""Seconds that a server may be restarting before a shard starts without it."""


def start_process(name: str, root: str) -> BaseProcess:
    """Start the shard as a linked subflow, or on its own while Prefect's server is gone."""
    parameters = {"name": name, "root": root, "parent": os.getpid()}
    if await_server(_PATIENCE):
        return run_flow_in_subprocess(review_shard, parameters=parameters)
    process = get_context("spawn").Process(target=review_alone, kwargs=parameters)
    process.start()
    return process


def watch_process(process: BaseProcess, shard: ShardPaths, stopping: Callable[[], bool]) -> None:
    """Wait until it ends; end it when the run is being stopped, or when it stays after its work."""
    finished = 0.0
    while process.is_alive():
        process.join(0.25)
        if stopping():
            process.terminate()
            process.join(GRACE)
            return
        if not finished and shard.done.exists():
            finished = time.monotonic()
        if finished and time.monotonic() - finished > _FAREWELL:
            return


def end_process(process: BaseProcess) -> None:
    """Kill what is still there."""
    if process.is_alive():
        process.kill()
    process.join()
