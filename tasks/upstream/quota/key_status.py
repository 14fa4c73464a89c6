"""The status of a run's app_ids, read beside the processes that decide it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import StateError
from tasks.upstream.quota.open_store import reading

__all__ = ["KeyStatus", "read_key_status"]

_STATUS = (
    "SELECT lanes.alias, reason, coalesce(paused, 0), coalesce(margin, 0), told, hold_epoch "
    "FROM lanes LEFT JOIN controls ON controls.alias = lanes.alias AND run = ? "
    "ORDER BY lanes.alias"
)


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Whether one app_id is in rotation in one run, its margin, its hold, its server's limit."""

    alias: str
    reason: str | None = None
    """Why it is out of rotation; None: it is in."""
    paused: bool = False
    """Out, but expected back."""
    margin: float = 0.0
    """Seconds, as raised by a 429 that our log cannot explain; 0: never raised."""
    server_limit: int | None = None
    """The server's own limit of the first window, where it is lower than ours."""
    held_until: float = 0.0
    """Seconds since the epoch before which the provider wants no request; 0: it never said so."""


def read_key_status(place: Path | str, run_id: str) -> tuple[KeyStatus, ...]:
    """The status of each app_id so far, ordered by alias; empty when the ledger is not there or busy."""
    try:
        with reading(place) as db:
            rows = db.execute(_STATUS, (run_id,)).fetchall()
    except (sqlite3.Error, StateError):
        return ()
    return tuple(
        KeyStatus(alias, why, bool(paused), margin, told, max(0.0, held))
        for alias, why, paused, margin, told, held in rows
    )
