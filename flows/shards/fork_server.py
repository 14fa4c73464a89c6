"""
The fork server, from which the shards' processes come: it has imported what they need, and forks.

It imports while Prefect's server starts, on another core; a process of its own for each shard would
take two seconds of CPU each to do the same, before its first call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from flows.shards.watchdog import exit_with_spawner

__all__ = ["start", "warm_up"]

_FORK_SERVER = get_context("forkserver")


def warm_up() -> None:
    """Start the fork server and return; it imports meanwhile. Doing it twice changes nothing."""
    _context()


def start(call: Callable[[], Any], environment: Mapping[str, str]) -> BaseProcess:
    """Run `call`, which is pickled, in a process of its own, which leaves with this one."""
    process = _context().Process(target=_live, args=(call, dict(environment)))
    process.start()
    return process


def _context() -> ForkServerContext | SpawnContext:
    _FORK_SERVER.set_forkserver_preload(["flows.shards.fork_server_preload"])
    try:
        forkserver.ensure_running()
    except OSError:
        # TMPDIR is too long a path for its socket, or on a file system without: slower, but a run.
        return get_context("spawn")
    return _FORK_SERVER


def _live(call: Callable[[], Any], environment: Mapping[str, str]) -> None:
    exit_with_spawner()
    # The fork server may be older than what has been exported since.
    os.environ.clear()
    os.environ.update(environment)
    call()
