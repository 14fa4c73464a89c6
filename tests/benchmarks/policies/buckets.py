"""Policies that count in buckets, and a queue of slots."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

from policies.base import Policy, Pool

__all__ = ["SixBuckets", "SixBucketsFixed", "SlotQueue", "TokenBucket"]


class SixBuckets(Policy):
    """Six counters of a sixth of the window each, oldest first; counts go to the wrong one.

    A new request is counted in bucket 0, and bucket 0 is what the next shift drops: a count lives
    for a sixth of the window at most.
    """

    newest = 0

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.buckets = {alias: [0] * 6 for alias in pool.aliases}
        self.shifted = time.monotonic()

    def take(self, alias: str, now: float) -> bool:
        while now - self.shifted >= self.pool.seconds / 6:
            self.shifted += self.pool.seconds / 6
            for counts in self.buckets.values():
                counts.pop(0)
                counts.append(0)
        counts = self.buckets[alias]
        if sum(counts) >= self.pool.limit:
            return False
        counts[self.newest] += 1
        return True


class SixBucketsFixed(SixBuckets):
    """The same with the index put right: it still forgets up to a sixth of the window early."""

    newest = -1


class TokenBucket(Policy):
    """Starts full with `limit` tokens and refills evenly; sleeps until the first token is there."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.rate = pool.limit / pool.seconds
        self.full_at = dict.fromkeys(pool.aliases, 0.0)
        """When the key's bucket would be full again: one number says all (GCRA)."""

    def acquire(self) -> Any:
        with self.lock:
            alias = min(self.pool.aliases, key=self.full_at.__getitem__)
            now = time.monotonic()
            full_at = max(self.full_at[alias], now) + 1 / self.rate
            self.full_at[alias] = full_at
        time.sleep(max(0.0, full_at - self.pool.limit / self.rate - now))
        return alias


class SlotQueue(Policy):
    """`limit` slots per key in one queue; each comes back a window after its response."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.slots: queue.Queue[str] = queue.Queue()
        for _ in range(pool.limit):
            for alias in pool.aliases:
                self.slots.put(alias)

    def acquire(self) -> Any:
        return self.slots.get()

    def done(self, ticket: Any, status: int, headers: Mapping[str, str]) -> None:
        timer = threading.Timer(self.pool.seconds, self.slots.put, (ticket,))
        timer.daemon = True
        timer.start()
        super().done(ticket, status, headers)
