"""Processes and threads of tests, none of which is waited for without an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import PIPE, Popen
from threading import Thread, Timer
from typing import Any

__all__ = ["await_threads", "kill", "next_line", "started"]


@contextmanager
def started(
    command: Sequence[str], *, seconds: float = 120, **options: Any
) -> Iterator[Popen[str]]:
    """A process that writes to a pipe and ends with the block, or after so many seconds.

    Whoever reads from it or waits for it then sees its end.
    """
    with Popen(command, text=True, **{"stdout": PIPE, **options}) as process:
        end = Timer(seconds, process.kill)
        end.start()
        try:
            yield process
        finally:
            end.cancel()
            process.kill()


def next_line(process: Popen[str]) -> str:
    """What it writes next, without white space around it; empty when it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: Popen[str]) -> None:
    """End it with -9, and wait until it is gone."""
    process.kill()
    process.wait(10)


def await_threads(threads: Sequence[Thread], seconds: float = 60) -> None:
    """Until each has ended."""
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), f"a thread goes on after {seconds} s"
