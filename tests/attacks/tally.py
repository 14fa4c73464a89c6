"""What was tried, and what of it came through."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """The outcome of one kind of attack; whatever came through is named."""

    tried: int = 0
    through: list[str] = field(default_factory=list)
    skipped: str = ""
    """Why it could not be tried here; empty: it was."""

    def note(self, what: str, *, came_through: bool) -> None:
        """Count one attempt."""
        self.tried += 1
        if came_through:
            self.through.append(what)
