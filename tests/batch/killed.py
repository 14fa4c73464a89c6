"""A run's rounds that are killed with -9 at one point: `python -m tests.batch.killed POINT URL FOLDER STATE`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployments.sandbox import Sandbox
from tasks.batch import rounds, steps
from tasks.upstream.batches.client import BatchClient
from tasks.upstream.batches.store import BatchStore
from tasks.upstream.journal import Journal
from tests.batch.conftest import Desk, questions

__all__ = ["POINTS", "QUESTIONS", "REVIEWS"]

QUESTIONS, REVIEWS = 7, 3


def _becomes(state: str) -> Callable[..., bool]:
    return lambda _store, _intent, then, **_: then == state


POINTS: dict[str, tuple[type, str, str, int, Callable[..., bool]]] = {
    "before the upload": (BatchClient, "upload", "before", 1, lambda *_: True),
    "after the upload": (BatchClient, "upload", "after", 1, lambda *_: True),
    "before create": (BatchClient, "create", "before", 1, lambda *_: True),
    "between create and save": (BatchClient, "create", "after", 1, lambda *_: True),
    "when it is saved": (BatchStore, "move", "after", 1, _becomes("working")),
    "while waiting": (BatchClient, "get", "after", 1, lambda *_: True),
    "before its end is saved": (BatchStore, "move", "before", 1, _becomes("ended")),
    "half way through the output file": (Journal, "put_many", "after", 2, lambda *_: True),
    "between two files": (BatchClient, "read", "before", 2, lambda *_: True),
    "before its rows are saved as read": (BatchStore, "move", "before", 1, _becomes("read")),
    "before the first file is deleted": (BatchClient, "delete", "before", 1, lambda *_: True),
    "in the review round": (BatchClient, "create", "after", 2, lambda *_: True),
    "between two deletions": (BatchClient, "delete", "after", 1, lambda *_: True),
}
"""What is killed -> class, method, before or after it, the how manieth call, which calls count."""


def _kill_at(point: str) -> None:
    owner, name, when, wanted, counts = POINTS[point]
    original, calls = getattr(owner, name), 0

    def wrapped(*args: Any, **given: Any) -> Any:
        nonlocal calls
        calls += counts(*args, **given)
        if when == "before" and calls == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **given)
        if when == "after" and calls == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def main(point: str, url: str, folder: str, state: str) -> None:
    """Ask QUESTIONS checks, then REVIEWS reviews, and die at the point; an unknown one is never reached."""
    steps._TOGETHER = 2
    rounds._GLANCE = 0.05
    if point in POINTS:
        _kill_at(point)
    desk = Desk(_At(url), Path(folder), state, [])  # type: ignore[arg-type]
    with desk.rounds() as asked:
        asked.adopt()
        asked.ask(desk.file(questions(QUESTIONS)))
        asked.ask(desk.file(questions(REVIEWS, "r")))


class _At(Sandbox):
    """The address of a sandbox of another process."""

    def __init__(self, url: str) -> None:
        self.base_url = url


if __name__ == "__main__":
    main(*sys.argv[1:])
