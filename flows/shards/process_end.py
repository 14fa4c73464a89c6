"""How a shard's process comes to its end, on whatever machine; without Prefect, which no worker imports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["GRACE", "await_end"]

GRACE = 25.0
"""Seconds that a shard gets to end its calls in flight once nobody wants it any more."""

_FINISH_SECONDS = 10.0
"""Seconds that a finished shard gets to tell Prefect so; a server that is gone takes longer."""

_GLANCE = 0.25


def await_end(
    join: Callable[[float], bool],
    terminate: Callable[[], None],
    done: Path,
    stopping: Callable[[], bool],
    look: Callable[[], None] = lambda: None,
) -> bool:
    """Wait until a process has ended, or stays after it has written `done`; False: it was stopped.

    `join` waits so many seconds for its end and returns whether it has come; `look` is called all the
    while.
    """
    finished = 0.0
    while not join(_GLANCE):
        if stopping():
            terminate()
            join(GRACE)
            return False
        look()
        if not finished and done.exists():
            finished = time.monotonic()
        if finished and time.monotonic() - finished > _FINISH_SECONDS:
            break
    return True
