"""
The threads of a shard. Where no quota says how many, more while latency holds, fewer on overload.

A round is as many replies as there are threads at work. After each one

    work waits, latency holds,
    the process has CPU left      threads x 2 to x 4, as many as fill a core
    else                          as they are
    an overload, at once          threads x 0.7, once a round

Latency holds while a round's median is at most 1.3 times the lowest median so far; each round in
which it does not doubles the number of rounds in a row in which it has to. A process that has used
most of a core has no CPU left, because Python's lock lets one thread run at a time. Measured at
50 ms a call: 64 calls at a time take 1 ms more CPU each than 32, and are not through any sooner. At
2 s a call the process is idle at first, and four rounds bring it to all its threads.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from tasks.core.errors import Stopped

__all__ = ["START", "AdaptiveThreadPool"]

START = 16
"""Few enough that the first rounds show the endpoint's own latency."""
_GROWTH, _CUT = 4, 0.7
_HOLDS = 1.3
_LONGEST = 32
_BUSY = 0.6
"""Share of a core."""

Step = Callable[[], Any]


class AdaptiveThreadPool:
    """Runs steps on at most `most` threads, on `start` of them at first."""

    def __init__(self, most: int, start: int | None = None) -> None:
        self.size = most if start is None else min(start, most)
        self._most = most
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="call")
        self._lock = threading.Lock()
        self._steps: deque[Step] = deque()
        self._at_work = 0
        self._closed = False
        self._seconds: list[float] = []
        self._lowest = float("inf")
        self._waits = 0
        self._cut = False
        self._clock = _clock()
        self._good, self._needed = 0, 1
        """Rounds in a row in which latency held, and how many it takes to grow."""

    def submit(self, step: Step) -> None:
        """Queue a step, which must not raise.

        Raises:
            Stopped: the pool is closed.
        """
        with self._lock:
            if self._closed:
                msg = "the shard is being stopped; its answers are in the journal"
                raise Stopped(msg)
            self._steps.append(step)
            self._employ()

    def close(self) -> None:
        """Forget the steps that wait, and wait for those at work."""
        with self._lock:
            self._closed = True
            self._steps.clear()
        self._pool.shutdown(wait=True)

    def answered(self, seconds: float) -> None:
        """A model has answered after that time."""
        with self._lock:
            self._waits += bool(self._steps)
            self._seconds.append(seconds)
            if len(self._seconds) >= self.size:
                self._end_round()
                self._employ()

    def overloaded(self) -> None:
        """An endpoint said that it is too much."""
        with self._lock:
            if not self._cut:
                self._cut = True
                self.size = max(1, int(self.size * _CUT))

    def _employ(self) -> None:
        """Put threads to work, as many as there are places and steps."""
        for _ in range(min(self.size - self._at_work, len(self._steps))):
            self._at_work += 1
            self._pool.submit(self._work)

    def _work(self) -> None:
        while (step := self._next()) is not None:
            step()

    def _next(self) -> Step | None:
        with self._lock:
            if self._steps and self._at_work <= self.size:
                return self._steps.popleft()
            self._at_work -= 1
            return None

    def _end_round(self) -> None:
        now = median(self._seconds)
        self._lowest = min(self._lowest, now)
        wanted = 2 * self._waits > len(self._seconds)
        share = self._share()
        if share > _BUSY or now > _HOLDS * self._lowest:
            self._good, self._needed = 0, min(_LONGEST, 2 * self._needed)
        elif wanted and not self._cut:
            self._good += 1
        if self._good >= self._needed:
            self.size, self._good = min(self._most, math.ceil(self.size * _growth(share))), 0
        self._seconds = []
        self._waits = 0
        self._cut = False

    def _share(self) -> float:
        """Of a core, that the process has used since it was last asked."""
        (wall, cpu), self._clock = self._clock, _clock()
        return (self._clock[1] - cpu) / max(self._clock[0] - wall, 1e-9)


def _growth(share: float) -> float:
    """How many times the threads fill a core of which they use this share now; a bit too many do."""
    return min(_GROWTH, 2 * _BUSY / max(share, 1e-9))


def _clock() -> tuple[float, float]:
    return time.monotonic(), time.process_time()
