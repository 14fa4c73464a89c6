"""What every limiter under test must do: say which app_id may send now, and hear how it went."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Policy", "Pool"]


@dataclass(frozen=True, slots=True)
class Pool:
    """The quota that all policies are given: `limit` requests per `seconds` for each alias."""

    aliases: Sequence[str]
    limit: int
    seconds: float
    margin: float
    """Seconds of jitter to allow for, where a policy can."""
    folder: Path

    @property
    def tick(self) -> float:
        """Seconds between two looks of a policy that polls: once a second at a window of 60 s."""
        return self.seconds / 60


class Policy:
    """Base of all: polls `take` under one lock, which is all that the simple ones have."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.lock = threading.Lock()
        self._turn = 0

    def acquire(self) -> Any:
        """Block until a request may be sent; returns a ticket, whose alias `alias_of` tells."""
        while True:
            with self.lock:
                for alias in self._rotated():
                    if self.take(alias, time.monotonic()):
                        return alias
            time.sleep(self.pool.tick)

    def take(self, alias: str, now: float) -> bool:
        """Count a request of that alias if it may go now."""
        raise NotImplementedError

    def alias_of(self, ticket: Any) -> str:
        """The alias of what `acquire` returned."""
        return str(ticket)

    def sent(self, ticket: Any, at: float) -> None:
        """The request was written, at `at` on time.monotonic()."""

    def done(self, ticket: Any, status: int, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - others need it
        """The response is here. Waits as long as a refusal says, as the SDKs do."""
        if status == 429:
            time.sleep(float(headers.get("retry-after", 0)))

    def close(self) -> None:
        """The benchmark is over."""

    def _rotated(self) -> list[str]:
        # Each look begins one further: first come first served would leave the last ones idle.
        self._turn = (self._turn + 1) % len(self.pool.aliases)
        return [*self.pool.aliases[self._turn :], *self.pool.aliases[: self._turn]]
