"""What a process counts between two visits to the ledger."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Counts", "Tally"]


@dataclass(slots=True)
class Counts:
    """Numbers of one app_id; `waited` in seconds over all threads."""

    sends: int = 0
    """Only of app_ids without a limit: the others' are in the log."""
    refunds: int = 0
    forfeits: int = 0
    rate_limited: int = 0
    waited: float = 0.0

    def add(self, other: Counts) -> None:
        self.sends += other.sends
        self.refunds += other.refunds
        self.forfeits += other.forfeits
        self.rate_limited += other.rate_limited
        self.waited += other.waited


class Tally:
    """Counts by alias that any thread may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counts] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, counts: Mapping[str, Counts]) -> None:
        with self._lock:
            for alias, more in counts.items():
                self._counts.setdefault(alias, Counts()).add(more)

    def sent(self, alias: str) -> None:
        """One send through an app_id without a limit."""
        with self._lock:
            self._counts.setdefault(alias, Counts()).sends += 1

    def take(self) -> dict[str, Counts]:
        """All counts, which start again from nothing; `add` them back if they are not written."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts
