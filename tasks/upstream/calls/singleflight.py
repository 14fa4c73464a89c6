"""Several threads that ask the same thing at once: one works, the others wait for its result."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from tasks.core.errors import ReviewError

__all__ = ["SingleFlight"]

_T = TypeVar("_T")

_POLL = 0.25
"""Seconds between two looks at `pause`; the result itself wakes the waiters at once."""


class _Flight(Generic[_T]):
    __slots__ = ("done", "error", "result")

    def __init__(self) -> None:
        self.done: threading.Event | None = None
        """Made by the first that waits: nearly always there is none."""
        self.result: _T | None = None
        self.error: ReviewError | None = None


class SingleFlight(Generic[_T]):
    """One piece of work per key at a time, within a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight[_T]] = {}
        self.shared = 0

    def run(
        self, key: str, work: Callable[[], _T], *, pause: Callable[[], None] = lambda: None
    ) -> tuple[_T, bool]:
        """The result of `work`, and whether somebody else did it.

        `pause` is called while waiting and may raise to leave early. An error of the project is
        shared as well (the same question fails for the same reason); any other ends only its own
        thread, and the next in line takes over.
        """
        while True:
            flight, done = self._join(key)
            if done is None:
                return self._lead(key, flight, work), False
            while not done.wait(_POLL):
                pause()
            if flight.error is not None:
                # A raised error collects the traceback of its thread: each waiter gets its own.
                raise copy.copy(flight.error)
            if flight.result is not None:
                return flight.result, True

    def _join(self, key: str) -> tuple[_Flight[_T], threading.Event | None]:
        """The flight, and what to wait for; None: the caller leads it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight()
                return flight, None
            self.shared += 1
            flight.done = flight.done or threading.Event()
            return flight, flight.done

    def _lead(self, key: str, flight: _Flight[_T], work: Callable[[], _T]) -> _T:
        try:
            flight.result = work()
        except ReviewError as error:
            flight.error = copy.copy(error)
            raise
        else:
            return flight.result
        finally:
            with self._lock:
                del self._flights[key]
            if flight.done is not None:
                flight.done.set()
