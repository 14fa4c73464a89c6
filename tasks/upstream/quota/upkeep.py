"""Keeping the ledger small and free of the dead. Everything here runs inside a transaction."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.lane import ENDED, GONE, PLANNED, STARTED, Use
from tasks.upstream.quota.locks import is_alive

__all__ = ["bury", "bury_dead", "prune", "run_is_alive"]

_KEEP = 26 * 3600.0  # seconds of history kept beyond every window: a run's proof reads it


def run_is_alive(db: sqlite3.Connection, folder: Path, run: str) -> bool:
    """Whether any process of the run lives."""
    rows = db.execute("SELECT name FROM owners WHERE run = ? AND alive", (run,)).fetchall()
    return any(is_alive(folder, name) for (name,) in rows)


def bury_dead(db: sqlite3.Connection, allocator: Allocator, folder: Path, now: float) -> None:
    """End what processes left behind that ended since somebody looked."""
    rows = db.execute("SELECT id, name FROM owners WHERE alive AND id != ?", (allocator.owner,))
    for owner, name in rows.fetchall():
        if not is_alive(folder, name):
            bury(db, allocator, owner, now)


def bury(db: sqlite3.Connection, allocator: Allocator, owner: int, now: float) -> None:
    """An owner's reservations are free, its unconfirmed sends happened before `now`."""
    allocator.bury(owner, now)
    rows = db.execute(
        "SELECT ticket, alias, owner, state, at, sent, tokens FROM uses "
        "WHERE owner = ? AND state < 3",
        (owner,),
    )
    for use in [Use(*row) for row in rows]:
        # App_ids of other pools are not in our memory, but nobody else will look again.
        if use.alias not in allocator.lanes:
            use.at = max(use.at, now) if use.state == STARTED else use.at
            use.state = GONE if use.state == PLANNED else ENDED
            allocator.changed[use.ticket] = use
    db.execute("UPDATE owners SET alive = 0 WHERE id = ?", (owner,))


def prune(db: sqlite3.Connection, now: float) -> None:
    """Forget what no window and no running run can ask for."""
    opened = db.execute("SELECT min(opened) FROM owners WHERE alive").fetchone()[0]
    # A running run proves itself from the log, however long it runs.
    running = now if opened is None else now - (time.time() - opened)
    oldest = db.execute("SELECT at FROM uses ORDER BY ticket LIMIT 1").fetchone()
    if oldest is None or oldest[0] >= now - _KEEP:
        return
    edge = {"running": running, "now": now, "least": _KEEP, "ended": ENDED}
    db.execute(
        "UPDATE lanes SET pruned = "
        "max(ifnull(pruned, -1e18), min(:running, :now - max(keep, :least)))",
        edge,
    )
    db.execute(
        "DELETE FROM uses WHERE state >= :ended AND at < "
        "(SELECT pruned FROM lanes WHERE lanes.alias = uses.alias)",
        edge,
    )
    db.execute(
        "DELETE FROM owners WHERE NOT alive AND opened < ? AND id NOT IN (SELECT owner FROM uses)",
        (time.time() - 2 * _KEEP,),
    )
    db.execute("DELETE FROM controls WHERE run NOT IN (SELECT run FROM owners)")
    db.execute("DELETE FROM counts WHERE run NOT IN (SELECT run FROM owners)")
