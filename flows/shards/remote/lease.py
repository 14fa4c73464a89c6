"""
The two signs of life between a run and a shard on another machine, and what their absence means.

    lease       of the run to the attempt: no shard outlives its run
    heartbeat   of the attempt to the run: what it has done, and why it ended

Each is only compared with the one before it: two machines' clocks never meet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Heartbeat", "Lease", "LeaseMonitor", "StalenessDetector"]


class StalenessDetector:
    """A detector of values that have stopped changing. `bound` in seconds."""

    def __init__(self, bound: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound = bound
        self._clock = clock
        self._last: Hashable = None
        self._since = clock()

    def is_stale(self, value: Hashable) -> bool:
        """Whether the value has been the same for longer than the bound.

        None: there was nothing to see, which is no change either.
        """
        if value is not None and value != self._last:
            self._last, self._since = value, self._clock()
        return self._clock() - self._since > self._bound


@dataclass(frozen=True, slots=True)
class Lease:
    """One renewal of an attempt's permission to work on a shard."""

    attempt: str
    """Id of the only attempt on the shard that may go on."""
    beat: int
    """Differs from that of the renewal before."""
    stop: bool = False
    """The run is being stopped."""

    @classmethod
    def from_json(cls, found: Any) -> Lease | None:
        """The lease in a JSON object; None: there is none."""
        return cls(**found) if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One sign of life of one attempt, with the shard's progress."""

    beat: int = 0
    """Differs from that of the heartbeat before."""
    progress: dict[str, float] = field(default_factory=dict)
    """The shard's counts so far."""
    ended: bool = False
    """The last one: nothing follows."""
    words: dict[str, Any] | None = None
    """Why the attempt could not finish, as an exit report."""

    @classmethod
    def from_json(cls, found: Any) -> Heartbeat | None:
        """The heartbeat in a JSON object; None: there is none yet."""
        return cls(**found) if isinstance(found, dict) else None

    @staticmethod
    def name(attempt: str) -> str:
        """The heartbeat's file in the shard's folder: attempts do not write over each other."""
        return f"heartbeat-{attempt}.json"


class LeaseMonitor:
    """The attempt's judgement of its lease."""

    def __init__(self, attempt: str, staleness: StalenessDetector) -> None:
        self._attempt = attempt
        self._staleness = staleness

    def why_over(self, lease: Lease | None) -> str | None:
        """The reason why the attempt has to end; None: it may go on.

        `lease` is the one last seen, None: nothing was.
        """
        if lease is not None and lease.attempt != self._attempt:
            return "another attempt works on this shard"
        if lease is not None and lease.stop:
            return "the run is being stopped"
        if self._staleness.is_stale(None if lease is None else lease.beat):
            return "the run has given no sign of life"
        return None
