"""Policies that remember instants: exact logs, with and without what a real upstream demands."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from policies.base import Policy, Pool

__all__ = ["EvenSpacing", "ExclusiveKey", "SlidingLog", "SlidingLogMargin"]


class SlidingLog(Policy):
    """The last `limit` instants of each key; everybody looks again every tick."""

    margin = 0.0

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.logs = {alias: deque[float](maxlen=pool.limit) for alias in pool.aliases}

    def take(self, alias: str, now: float) -> bool:
        log = self.logs[alias]
        if len(log) == self.pool.limit and log[0] > now - self.pool.seconds - self.margin:
            return False
        log.append(now)
        return True


class SlidingLogMargin(SlidingLog):
    """The same, with a margin for jitter."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.margin = pool.margin


class EvenSpacing(Policy):
    """One request per key every seconds / limit."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.next = dict.fromkeys(pool.aliases, 0.0)

    def take(self, alias: str, now: float) -> bool:
        if now < self.next[alias]:
            return False
        self.next[alias] = now + self.pool.seconds / self.pool.limit
        return True


class ExclusiveKey(SlidingLogMargin):
    """An exact log with a margin, and a key belongs to one call until that is over."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.busy = set[str]()

    def take(self, alias: str, now: float) -> bool:
        if alias in self.busy or not super().take(alias, now):
            return False
        self.busy.add(alias)
        return True

    def done(self, ticket: Any, status: int, headers: Mapping[str, str]) -> None:
        with self.lock:
            self.busy.discard(ticket)
        super().done(ticket, status, headers)

    def acquire(self) -> Any:
        while True:
            with self.lock:
                for alias in self._rotated():
                    if self.take(alias, time.monotonic()):
                        return alias
            time.sleep(self.pool.tick / 10)  # it is the key that is scarce here, not the polling
