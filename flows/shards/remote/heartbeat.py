"""What a shard on another machine lets its run know while it works."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Sign"]


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign of life of one attempt."""

    beat: int = 0
    """Differs from that of the sign before."""
    progress: dict[str, float] = field(default_factory=dict)
    """The shard's tally."""
    ended: bool = False
    """The last one: nothing follows."""
    words: dict[str, Any] | None = None
    """Why the attempt could not finish, as last words."""

    @classmethod
    def from_json(cls, found: Any) -> Sign | None:
        """None: there is none yet."""
        return cls(**found) if isinstance(found, dict) else None

    @staticmethod
    def name(attempt: str) -> str:
        """Its file in the shard's folder: attempts do not write over each other."""
        return f"sign-{attempt}.json"
