"""Children that leave with their parent, however it dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["die_with_parent", "one_farewell"]


def die_with_parent(parent: int, grace: float = 10.0) -> None:
    """Watch the parent's pid; once it is gone, ask this process to stop, then end it.

    Nothing tells a process that its parent was killed with -9; a changed parent pid does.
    `grace` is how many seconds an orderly stop may take.
    """
    threading.Thread(target=_watch, args=(parent, grace), name="watchdog", daemon=True).start()


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
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os._exit(70)
