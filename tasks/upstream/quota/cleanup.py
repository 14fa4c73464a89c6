"""Keeping the ledger small and free of the dead. Everything here runs inside a transaction."""

from __future__ import annotations

from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.key_log import ENDED, GONE, PLANNED, STARTED
from tasks.upstream.quota.ledger import Ledger
from tasks.upstream.quota.store import Db

__all__ = ["bury", "bury_dead", "prune"]

_KEEP = 26 * 3600.0  # seconds of history kept beyond every window: a run's proof reads it


def bury_dead(db: Db, ledger: Ledger, allocator: Allocator, now: float) -> None:
    """End what processes left behind that ended since somebody looked."""
    for owner in ledger.dead(db, now):
        bury(db, ledger, allocator, owner, now)


def bury(db: Db, ledger: Ledger, allocator: Allocator, owner: int, now: float) -> None:
    """An owner's reservations are free, its unconfirmed sends happened before `now`."""
    allocator.bury(owner, now)
    for use in ledger.open_uses(db, owner):
        # App_ids of other pools are not in our memory, but nobody else will look again.
        if use.alias not in allocator.lanes:
            use.at = max(use.at, now) if use.state == STARTED else use.at
            use.state = GONE if use.state == PLANNED else ENDED
            allocator.changed[use.ticket] = use
    db.execute("UPDATE owners SET alive = 0 WHERE id = ?", (owner,))


def prune(db: Db, ledger: Ledger, now: float) -> None:
    """Forget what no window and no running run can ask for."""
    row_now, epoch = ledger.row_time(now), ledger.epoch()
    oldest = db.execute("SELECT at FROM uses ORDER BY ticket LIMIT 1").fetchone()
    if oldest is None or oldest[0] >= row_now - _KEEP:
        return
    opened = db.execute("SELECT min(opened) FROM owners WHERE alive = 1").fetchone()[0]
    # A running run proves itself from the log, however long it runs.
    running = row_now - (0.0 if opened is None else epoch - opened)
    rows = db.execute("SELECT alias, keep, coalesce(pruned, -1e18) FROM lanes").fetchall()
    edges = [
        (max(old, min(running, row_now - max(keep, _KEEP))), alias) for alias, keep, old in rows
    ]
    db.executemany("UPDATE lanes SET pruned = ? WHERE alias = ?", edges)
    db.execute(
        "DELETE FROM uses WHERE state >= ? AND at < "
        "(SELECT pruned FROM lanes WHERE lanes.alias = uses.alias)",
        (ENDED,),
    )
    db.execute(
        "DELETE FROM owners WHERE alive = 0 AND opened < ? AND id NOT IN (SELECT owner FROM uses)",
        (epoch - 2 * _KEEP,),
    )
    db.execute("DELETE FROM controls WHERE run NOT IN (SELECT run FROM owners)")
    db.execute("DELETE FROM counts WHERE run NOT IN (SELECT run FROM owners)")
