"""Periodic tasks: something small, done again and again beside the work."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Self

__all__ = ["PeriodicTask"]


class PeriodicTask:
    """Calls `do` every so many seconds on a thread of its own while the block lasts, in a copy of its context.

    What it raises is logged when it begins and costs nothing: the next turn may succeed. `at_once`
    has the first turn without a wait, `last` one more at the end, when nothing changes any more. A
    turn that hangs is left behind with its daemon thread `patience` seconds after the end; None: never.
    """

    def __init__(
        self,
        seconds: float,
        do: Callable[[], object],
        name: str,
        *,
        at_once: bool = False,
        last: bool = False,
        patience: float | None = 10.0,
    ) -> None:
        self._seconds = seconds
        self._do = do
        self._name = name
        self._at_once = at_once
        self._last = last
        self._patience = patience
        self._failing = False
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name=self._name, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(self._patience)
        if self._last and not self._thread.is_alive():
            self._turn()

    def _run(self) -> None:
        if self._at_once:
            self._turn()
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
