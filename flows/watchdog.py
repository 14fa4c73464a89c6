"""
Children that leave with their parent, however it dies.

A shard's process is watched from the import of this module on, which comes before Prefect asks its
server for a flow run: if the parent and its server are killed just then, that would take a minute.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["die_with_parent", "leave", "one_farewell"]

_NAME = "watchdog"


def die_with_parent(parent: int, grace: float = 10.0) -> None:
    """Watch the parent's pid; once it is gone, ask this process to stop, then end it.

    Nothing tells a process that its parent was killed with -9; a changed parent pid does.
    `grace` is how many seconds an orderly stop may take. Once is enough for a process.
    """
    if any(thread.name == _NAME for thread in threading.enumerate()):
        return
    threading.Thread(target=_watch, args=(parent, grace), name=_NAME, daemon=True).start()


@contextmanager
def one_farewell() -> Iterator[None]:
    """Once the block was interrupted, SIGTERM is ignored: the process is on its way out.

    A cancelled run's shard is told twice, by the worker that stops the process group and by its
    parent; the second signal would interrupt the cleanup that the first one has begun.
    """
    try:
        yield
    except BaseException:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise


def _watch(parent: int, grace: float) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    leave(grace)


def leave(grace: float) -> None:
    """End this process from one of its threads: in order, or after `grace` seconds at once."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os._exit(70)


if (_parent := multiprocessing.parent_process()) is not None and _parent.pid is not None:
    die_with_parent(_parent.pid)
