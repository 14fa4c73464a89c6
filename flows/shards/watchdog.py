"""Children that leave with their parent, however it dies."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection

__all__ = [
    "calls_in_flight",
    "deferred_sigterm",
    "exit_with_lifeline",
    "exit_with_parent",
    "exit_with_worker",
    "ignore_further_sigterm",
]

_no_calls = threading.Event()
_no_calls.set()


def exit_with_parent(parent: int, grace: float = 10.0) -> None:
    """Watch the parent's pid; once it is gone, ask this process to stop, then end it.

    Nothing tells a process that its parent was killed with -9; a changed parent pid does.
    `grace` is how many seconds an orderly stop may take.
    """

    def gone() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)

    _leave_after(gone, partial(time.sleep, grace))


def exit_with_lifeline(lifeline: int, grace: float = 10.0) -> None:
    """Exit when nobody is left who could write to a pipe, as `exit_with_parent` does without a parent.

    The kernel closes the other end with the process that has it.
    """
    _leave_after(partial(connection.wait, [lifeline]), partial(time.sleep, grace))


def exit_with_worker(lifeline: int, grace: float, tidy: Callable[[], None]) -> None:
    """Exit with the last call in flight when nobody is left who could write to a pipe.

    Another process goes on with the work, in the same flow run: this one tells Prefect nothing any
    more, which takes seconds. `tidy` is called at the end then, and only then.
    """

    def gone() -> None:
        connection.wait([lifeline])
        atexit.register(tidy)

    def end() -> None:
        _no_calls.wait(grace)
        tidy()

    _leave_after(gone, end)


@contextmanager
def calls_in_flight() -> Iterator[None]:
    """What this process does in the block is ended in order, for as long as its `grace` lasts."""
    _no_calls.clear()
    try:
        yield
    finally:
        _no_calls.set()


@contextmanager
def deferred_sigterm() -> Iterator[None]:
    """A SIGTERM that comes in the block is heard at its end."""
    told: list[int] = []
    earlier = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
    if told:
        signal.raise_signal(signal.SIGTERM)


@contextmanager
def ignore_further_sigterm() -> Iterator[None]:
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


def _leave_after(gone: Callable[[], object], end: Callable[[], object]) -> None:
    """Once `gone` returns, end this process: in order, or at once when `end` has returned."""

    def watch() -> None:
        gone()
        os.kill(os.getpid(), signal.SIGTERM)
        end()
        os._exit(70)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
