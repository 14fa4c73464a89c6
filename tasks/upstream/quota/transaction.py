"""
What one transaction on the ledger can do besides handing out slots.

Change an app_id's control, heed what a response says about it, reap dead owners, prune the log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.counters import KeyCounters
from tasks.upstream.quota.key_log import ENDED, GONE, PLANNED, STARTED, KeyLog
from tasks.upstream.quota.ledger import Ledger
from tasks.upstream.quota.signals import Allowance, Signal
from tasks.upstream.quota.store import Db

__all__ = [
    "Operation",
    "Transaction",
    "apply_signal",
    "change_control",
    "prune",
    "reap",
    "reap_dead",
]

_LARGEST_MARGIN = 2.0  # seconds
_NEARLY = 2.0  # seconds of Retry-After up to which a 429 looks like jitter and not like other users
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 60.0
_KEEP = 26 * 3600.0  # seconds of history kept beyond every window: a run's proof reads it


@dataclass(slots=True)
class Transaction:
    """One transaction under way. `now` in seconds on the ledger's clock."""

    db: Db
    ledger: Ledger
    allocator: Allocator
    now: float
    counters: dict[str, KeyCounters] = field(default_factory=lambda: defaultdict(KeyCounters))
    after: list[Callable[[], object]] = field(default_factory=list)
    """Called when everything is on disk."""
    flush: bool = False
    """Write the counters down in this transaction."""


Operation = Callable[[Transaction], None]


def change_control(transaction: Transaction, alias: str, **what: Any) -> None:
    """Change fields of an app_id's Control, for the whole run, from this transaction on."""
    key_log = transaction.allocator.key_logs[alias]
    control = replace(key_log.control, **what)
    if control != key_log.control:
        key_log.control = control
        key_log.rebuild()
        transaction.ledger.control(transaction.db, alias, control)


def apply_signal(transaction: Transaction, alias: str, ticket: int, signal: Signal) -> None:
    """What a response means for its app_id. `ticket` is 0 where no reservation was written."""
    key_log = transaction.allocator.key_logs[alias]
    if signal.kind in ("insufficient_quota", "unauthorized", "forbidden"):
        change_control(
            transaction, alias, reason=key_log.control.reason or signal.kind, paused=False
        )
        return
    if signal.requests.limit is not None:
        _heed_limit(transaction, key_log, signal.requests.limit)
    if signal.kind == "rate_limited":
        transaction.counters[alias].rate_limited += 1
        _heed_refusal(transaction, key_log, ticket, signal)
    elif signal.retry_after is not None and signal.kind != "ok":
        _hold(transaction, key_log, transaction.now + signal.retry_after)
    else:
        _heed_remaining(transaction, key_log, ticket, signal.requests)


def _hold(transaction: Transaction, key_log: KeyLog, until: float) -> None:
    if until > key_log.hold:
        key_log.hold = until
        key_log.touch(dirty=True)
        transaction.ledger.hold(transaction.db, key_log.app_id.alias, until)


def _heed_refusal(transaction: Transaction, key_log: KeyLog, ticket: int, signal: Signal) -> None:
    reservation = transaction.allocator.by_ticket.get(ticket)
    sent = transaction.now if reservation is None else (reservation.sent or reservation.at)
    legal = key_log.limit is not None and _window_count(key_log, sent) <= key_log.limit
    wait = signal.retry_after
    if wait is None:
        wait = _until_full(signal)
    if legal and (wait is None or wait <= _NEARLY):
        _raise_margin(transaction, key_log, sent)
    if wait is not None:
        _hold(transaction, key_log, transaction.now + wait + key_log.eps)
    elif key_log.limit is None:
        _hold(transaction, key_log, transaction.now + _backoff(transaction, key_log))
    elif legal:
        # Somebody else uses the key, or the limit is lower: all we know is that it is full now.
        _fill(
            transaction,
            key_log,
            key_log.limit - key_log.used(transaction.now, key_log.app_id.windows[0].seconds),
        )


def _until_full(signal: Signal) -> float | None:
    """When an exhausted allowance comes back, where the server says that instead."""
    said = (signal.requests, signal.tokens)
    resets = [a.reset for a in said if a.remaining == 0 and a.reset is not None]
    return max(resets, default=None)


def _window_count(key_log: KeyLog, sent: float) -> int:
    seconds = key_log.app_id.windows[0].seconds
    instants = [
        reservation.sent or reservation.at for reservation in (*key_log.past, *key_log.started)
    ]
    return sum(1 for at in instants if sent - seconds < at <= sent)


def _raise_margin(transaction: Transaction, key_log: KeyLog, sent: float) -> None:
    # A burst that was refused as one is one piece of evidence, whichever process hears of it.
    if sent <= key_log.margin_since:
        return
    key_log.margin_since = transaction.now
    margin = max(key_log.eps, min(_LARGEST_MARGIN, 2 * key_log.eps or 0.1))
    change_control(transaction, key_log.app_id.alias, margin=margin)


def _backoff(transaction: Transaction, key_log: KeyLog) -> float:
    # Twice as long as the last hold of our own that ended just now, if there was one.
    recent = transaction.now - key_log.hold < key_log.backoff
    key_log.backoff = min(_LONGEST_BACKOFF, 2 * key_log.backoff if recent else _FIRST_BACKOFF)
    return key_log.backoff


def _fill(transaction: Transaction, key_log: KeyLog, count: int) -> None:
    for _ in range(count):
        transaction.allocator.count_external_use(key_log.app_id.alias, transaction.now)


def _heed_limit(transaction: Transaction, key_log: KeyLog, limit: int) -> None:
    """Lower than ours: at once. Higher: never above what was configured."""
    windows = key_log.app_id.windows
    if not windows or any(limit == window.limit for window in windows[1:]):
        return

    control = key_log.control
    allowed = windows[0].limit if control.limit is None else control.limit
    server_limit = limit if 0 < limit < allowed else None
    change_control(transaction, key_log.app_id.alias, server_limit=server_limit)


def _heed_remaining(
    transaction: Transaction, key_log: KeyLog, ticket: int, said: Allowance
) -> None:
    """Fewer left than our log explains: somebody else used the key; count what they did."""
    reservation = transaction.allocator.by_ticket.get(ticket)
    if (
        reservation is None
        or said.limit is None
        or said.remaining is None
        or key_log.limit != said.limit
    ):
        return
    # The server counted somewhere between the send and now: allow it all that it may have seen.
    since = (
        transaction.now
        - (reservation.sent or reservation.at)
        + key_log.app_id.windows[0].seconds
        + key_log.eps
    )
    _fill(transaction, key_log, said.limit - said.remaining - key_log.used(transaction.now, since))


def reap_dead(db: Db, ledger: Ledger, allocator: Allocator, now: float) -> None:
    """End the reservations of all processes that ended since somebody looked."""
    for owner in ledger.dead(db, now):
        reap(db, ledger, allocator, owner, now)


def reap(db: Db, ledger: Ledger, allocator: Allocator, owner: int, now: float) -> None:
    """An owner's reservations are free, its unconfirmed sends happened before `now`."""
    allocator.reap(owner, now)
    for reservation in ledger.open_reservations(db, owner):
        # App_ids of other pools are not in our memory, but nobody else will look again.
        if reservation.alias not in allocator.key_logs:
            reservation.at = (
                max(reservation.at, now) if reservation.state == STARTED else reservation.at
            )
            reservation.state = GONE if reservation.state == PLANNED else ENDED
            allocator.changed[reservation.ticket] = reservation
    db.execute("UPDATE owners SET alive = 0 WHERE id = ?", (owner,))


def prune(db: Db, ledger: Ledger, now: float) -> None:
    """Delete rows that no window and no running run can ask for."""
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
