"""
The slots of an operators' limit: which are ours, which somebody else holds, what to change.

A limit counts taken slots without saying whose they are. Ours are remembered in an Entry, which is
written before each change, so that after a crash the slots themselves tell whether it was made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Entry", "Limit", "external_slots", "settled", "step"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it was read."""

    id: str
    """Unique over servers: one that was deleted and made again is another one."""
    alias: str
    number: int
    """Requests of the app_id's first window."""
    active: bool
    """False: the operators took the app_id out of rotation."""
    slots: int
    """Taken, by whomever."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the runs on this state did to one limit."""

    written: int | None = None
    """The number that we gave it; None: its number is an operator's."""
    shown: int = 0
    """Taken slots that are ours."""
    delta: int = 0
    """A change of `shown` under way; 0: none."""
    before: int = 0
    """All taken slots when that change was sent."""
    seconds: float | None = None
    """Length of the window that its number is for; None: not known, as from before it was kept."""


def settled(entry: Entry, limit: Limit) -> Entry:
    """The entry with nothing under way, and with no more slots than the limit shows."""
    after = entry.before + entry.delta
    made = limit.slots >= after if entry.delta > 0 else limit.slots <= after
    shown = entry.shown + entry.delta if entry.delta and made else entry.shown
    written = entry.written if entry.written == limit.number else None
    return replace(entry, written=written, shown=max(0, min(shown, limit.slots)), delta=0, before=0)


def step(entry: Entry, limit: Limit, used: int) -> int:
    """Slots to take, or to give back if negative, so that the limit shows `used` of ours.

    Never more than are left: a limit refuses them. An inactive one ignores every change.
    """
    room = max(0, limit.number - limit.slots)
    return min(used - entry.shown, room) if limit.active else 0


def external_slots(entry: Entry, limit: Limit) -> int:
    """Slots of the limit that others than the runs on this state hold."""
    return max(0, limit.slots - entry.shown)
