"""Something small, done again and again beside the work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

__all__ = ["PeriodicTask"]


_PATIENCE = 10.0


class PeriodicTask:
    """Calls `do` every so many seconds on a thread of its own while the block lasts.

    What it raises is logged when it begins and costs nothing: the next turn may succeed.
    """

    def __init__(self, seconds: float, do: Callable[[], object], name: str) -> None:
        self._seconds = seconds
        self._do = do
        self._name = name
        self._failing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        # A turn that hangs is left behind with its daemon thread.
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._turn()

    def _turn(self) -> None:
        try:
            self._do()
        except Exception as error:  # noqa: BLE001 - a driver may raise anything
            if not self._failing:
                log = logging.getLogger(__name__)
                log.warning("%s failed (%s: %s)", self._name, type(error).__name__, error)
            self._failing = True
        else:
            self._failing = False
