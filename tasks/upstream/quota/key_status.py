"""The status of a run's app_ids, read beside the processes that decide it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.core.errors import StateError
from tasks.core.locations import is_database
from tasks.upstream.quota import clock
from tasks.upstream.quota.ledger import hold_note
from tasks.upstream.quota.open_store import reading
from tasks.upstream.quota.store import Db

__all__ = ["KeyStatus", "QuotaStatus", "read_notes", "read_quota_status"]

_STATUS = (
    "SELECT lanes.alias, reason, coalesce(paused, 0), coalesce(margin, 0), told, hold_epoch "
    "FROM lanes LEFT JOIN controls ON controls.alias = lanes.alias AND run = ? "
    "ORDER BY lanes.alias"
)
_NOTES = "SELECT name, value FROM notes"
# Both conditions on state: the first one finds the index of what is not over.
_NEXT = (
    "SELECT min(at) FROM uses WHERE state < 3 AND state = 0 "
    "AND owner IN (SELECT id FROM owners WHERE run = ?)"
)


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Whether one app_id is in rotation in one run, its margin, its hold, its server's limit."""

    alias: str
    reason: str | None = None
    """Why it is out of rotation, with the provider's last words; None: it is in."""
    paused: bool = False
    """Out, but expected back."""
    margin: float = 0.0
    """Seconds, as raised by a 429 that our log cannot explain; 0: never raised."""
    server_limit: int | None = None
    """The server's own limit of the first window, where it is lower than ours."""
    held_until: float = 0.0
    """Seconds since the epoch before which the provider wants no request; 0: it never said so."""
    hold_said: str = ""
    """The provider's words at its last hold of more than a minute."""


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """The status of all app_ids of a run at one moment."""

    keys: tuple[KeyStatus, ...] = ()
    """Ordered by alias."""
    next_send: float | None = None
    """Seconds since the epoch of the first request that is planned; None: none waits for quota."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What the processes of all runs told each other, by name."""


def read_quota_status(place: Path | str, run_id: str) -> QuotaStatus:
    """The status so far; an empty one when the ledger is not there or busy."""
    try:
        with reading(place) as db:
            rows = db.execute(_STATUS, (run_id,)).fetchall()
            # After the rows: what is held has its words, written in the same transaction.
            notes = _notes(db)
            (planned,) = db.execute(_NEXT, (run_id,)).fetchone() or (None,)
    except (sqlite3.Error, StateError):
        return QuotaStatus()
    keys = tuple(
        KeyStatus(
            alias, why, bool(paused), margin, told, max(0.0, held), notes.get(hold_note(alias), "")
        )
        for alias, why, paused, margin, told, held in rows
    )
    return QuotaStatus(keys, None if planned is None else _date(place, planned), notes)


def read_notes(place: Path | str) -> Mapping[str, str]:
    """What all runs remember of endpoints, by name; empty when the ledger is not there or busy."""
    try:
        with reading(place) as db:
            return _notes(db)
    except (sqlite3.Error, StateError):
        return {}


def _notes(db: Db) -> dict[str, str]:
    return dict(db.execute(_NOTES).fetchall())


def _date(place: Path | str, at: float) -> float:
    """An instant of the rows as seconds since the epoch; those of a database are that already."""
    return at if is_database(place) else at - clock.now() + time.time()
