"""
How many calls to have under way where no quota says it: more while latency holds, fewer on overload.

A round is as many replies as there are places. After each one

    overload in it                    places x 0.7      at once, and once a round
    most had to wait, latency holds   places x 2
    else                              as they are

Latency holds while a round's median is at most 1.3 times the lowest median so far; each round in
which it does not doubles the number of rounds in a row in which it has to. A call's time
includes its turns on our own CPU, so there are no more places than this process can serve either:
threads that wait for a place cost little, threads that wait for Python's lock slow all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

__all__ = ["InFlight", "Place"]

START = 16
"""Few enough that the first rounds show the endpoint's own latency."""
_GROWTH, _CUT = 2, 0.7
_HOLDS = 1.3
_LONGEST = 32


class Place:
    """One call's place; whoever holds it sets `answered` when a model has answered."""

    __slots__ = ("answered",)

    def __init__(self) -> None:
        self.answered = False


class InFlight:
    """Places for calls, shared by the threads of a process; at most `most`."""

    def __init__(self, most: int, start: int = START) -> None:
        self.limit = min(start, most)
        self._most = most
        self._free = threading.Semaphore(self.limit)
        self._debt = 0
        """Places that go when they become free."""
        self._lock = threading.Lock()
        self._seconds: list[float] = []
        self._lowest = float("inf")
        self._waits = 0
        self._cut = False
        self._good, self._needed = 0, 1
        """Rounds in a row in which latency held, and how many it takes to grow."""

    @contextmanager
    def place(self, check: Callable[[], None]) -> Iterator[Place]:
        """Wait for a place and hold it; `check` is called then and may raise to leave at once."""
        waits = not self._free.acquire(blocking=False)
        if waits:
            self._free.acquire()
        place, began = Place(), time.monotonic()
        try:
            check()
            yield place
        finally:
            self._leave(place, time.monotonic() - began, waited=waits)

    def overload(self) -> None:
        """The endpoint said that it is too much."""
        with self._lock:
            if not self._cut:
                self._cut = True
                fewer = max(1, int(self.limit * _CUT))
                self._debt += self.limit - fewer
                self.limit = fewer

    def _leave(self, place: Place, seconds: float, *, waited: bool) -> None:
        with self._lock:
            change = 1 - self._debt
            if place.answered:
                self._waits += waited
                change += self._learn(seconds)
            freed, self._debt = max(0, change), max(0, -change)
        if freed:
            self._free.release(freed)

    def _learn(self, seconds: float) -> int:
        """How many places to add."""
        before = self.limit
        self._seconds.append(seconds)
        if len(self._seconds) >= before:
            self._end_round()
        return self.limit - before

    def _end_round(self) -> None:
        now = median(self._seconds)
        self._lowest = min(self._lowest, now)
        busy = 2 * self._waits > len(self._seconds)
        if now > _HOLDS * self._lowest:
            self._good, self._needed = 0, min(_LONGEST, 2 * self._needed)
        elif busy and not self._cut:
            self._good += 1
        if self._good >= self._needed:
            self.limit, self._good = min(self._most, self.limit * _GROWTH), 0
        self._seconds = []
        self._waits = 0
        self._cut = False
