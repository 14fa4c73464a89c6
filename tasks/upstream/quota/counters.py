"""The counters of a process between two of its transactions on the ledger."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Counters", "KeyCounters"]


@dataclass(slots=True)
class KeyCounters:
    """Counters of one app_id; `waited` in seconds over all threads."""

    sends: int = 0
    """Only of app_ids without a limit: the others' are in the log."""
    rate_limited: int = 0
    waited: float = 0.0

    def add(self, other: KeyCounters) -> None:
        self.sends += other.sends
        self.rate_limited += other.rate_limited
        self.waited += other.waited


class Counters:
    """Counters by alias that any thread may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, KeyCounters] = {}

    def __bool__(self) -> bool:
        return bool(self._counters)

    def add(self, counters: Mapping[str, KeyCounters]) -> None:
        with self._lock:
            for alias, more in counters.items():
                self._counters.setdefault(alias, KeyCounters()).add(more)

    def sent(self, alias: str) -> None:
        """One send through an app_id without a limit."""
        with self._lock:
            self._counters.setdefault(alias, KeyCounters()).sends += 1

    def take(self) -> dict[str, KeyCounters]:
        """All counters, which start again from nothing; `add` them back if they are not written."""
        with self._lock:
            counters, self._counters = self._counters, {}
        return counters
