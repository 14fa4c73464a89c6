"""What lets a shard work far from its run: the run renews it, and no shard outlives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.shards.remote.staleness import Stillness

__all__ = ["Lease", "LeaseJudge"]


@dataclass(frozen=True, slots=True)
class Lease:
    """One renewal."""

    attempt: str
    """Id of the only attempt on the shard that may go on."""
    beat: int
    """Differs from that of the renewal before."""
    stop: bool = False
    """The run is being stopped."""

    @classmethod
    def from_json(cls, found: Any) -> Lease | None:
        """None: there is none."""
        return cls(**found) if isinstance(found, dict) else None


class LeaseJudge:
    """Tells an attempt whether it has to end."""

    def __init__(self, attempt: str, still: Stillness) -> None:
        self._attempt = attempt
        self._still = still

    def verdict(self, lease: Lease | None) -> str | None:
        """Why the attempt is over; None: it may go on. `lease` is what was last seen, None: nothing."""
        if lease is not None and lease.attempt != self._attempt:
            return "another attempt works on this shard"
        if lease is not None and lease.stop:
            return "the run is being stopped"
        if self._still.look(None if lease is None else lease.beat):
            return "the run has given no sign of life"
        return None
