"""
What one transaction on the ledger can do besides handing out slots.

Change an app_id's control, heed what a response says about it, reap dead owners, prune the log.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.counters import KeyCounters
from tasks.upstream.quota.key_log import ENDED, GONE, PLANNED, STARTED, KeyLog
from tasks.upstream.quota.ledger import Ledger
from tasks.upstream.quota.signals import Allowance, Signal
from tasks.upstream.quota.spending import forget_runs, settle_dead
from tasks.upstream.quota.store import Db

__all__ = [
    "Operation",
    "Transaction",
    "apply_signal",
    "change_control",
    "end_hold",
    "note_answer",
    "prune",
    "reap",
    "reap_dead",
]

_LARGEST_MARGIN = 2.0  # seconds
_NEARLY = 2.0  # seconds of Retry-After up to which a 429 looks like jitter and not like other users
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 60.0
_NO_WINDOW = 60.0  # seconds that stand for the window of an app_id without one
_EXHAUSTED_AFTER = 3  # bursts of 429s; fewer say nothing
_ANSWERED = "answered "  # the note of an app_id's last good call, in seconds since the epoch
_REST = 3600.0  # seconds until an exhausted app_id is tried again
_SHORTER = 4  # a wait below this part of our window belongs to a shorter one
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


def apply_signal(
    transaction: Transaction, alias: str, ticket: int, signal: Signal, sent: float
) -> None:
    """What a response means for its app_id.

    `ticket` is 0 where no reservation was written; `sent` is the instant of the request then.
    """
    key_log = transaction.allocator.key_logs[alias]
    if signal.kind == "out":
        reason = key_log.control.reason or signal.reason
        change_control(transaction, alias, reason=reason, paused=False)
        return
    _heed_limit(transaction, key_log, signal)
    if signal.kind == "rate_limited":
        transaction.counters[alias].rate_limited += 1
        _heed_refusal(transaction, key_log, ticket, signal, sent)
        _heed_exhaustion(transaction, key_log, signal, _sent_at(transaction, ticket, sent))
    elif signal.kind == "hold" and signal.retry_after is not None:
        _hold(transaction, key_log, transaction.now + signal.retry_after, signal.reason)
    else:
        _heed_remaining(transaction, key_log, ticket, signal.requests)


def end_hold(transaction: Transaction, alias: str) -> None:
    """Let an app_id send at once, whatever its provider said."""
    key_log = transaction.allocator.key_logs[alias]
    if key_log.hold > transaction.now:
        key_log.hold, key_log.hold_reason = -math.inf, ""
        key_log.touch(dirty=True)
        transaction.ledger.end_hold(transaction.db, alias)


def _hold(transaction: Transaction, key_log: KeyLog, until: float, reason: str) -> None:
    if until > key_log.hold:
        key_log.hold, key_log.hold_reason = until, reason
        key_log.touch(dirty=True)
        transaction.ledger.hold(transaction.db, key_log.app_id.alias, until, reason)


def note_answer(transaction: Transaction, alias: str) -> None:
    """Tell the other processes that a call went well on an app_id, whatever they are refused."""
    name, value = _ANSWERED + alias, repr(time.time())
    transaction.ledger.note(transaction.db, name, value)
    transaction.allocator.notes = {**transaction.allocator.notes, name: value}


def _sent_at(transaction: Transaction, ticket: int, sent: float) -> float:
    reservation = transaction.allocator.by_ticket.get(ticket)
    return sent if reservation is None else reservation.sent or reservation.at


def _heed_exhaustion(
    transaction: Transaction, key_log: KeyLog, signal: Signal, sent: float
) -> None:
    """Nothing but 429s for two windows, in any process: no window explains that, so the app_id rests."""
    if sent <= key_log.refused_at:
        return  # of the burst that was counted
    key_log.refused_at = transaction.now
    answered = float(transaction.allocator.notes.get(_ANSWERED + key_log.app_id.alias, "-inf"))
    last = transaction.now - (time.time() - answered)
    if key_log.refused_since is None or last > key_log.refused_since:
        key_log.refused_since, key_log.refusals = transaction.now, 0
    key_log.refusals += 1
    window = max((window.seconds for window in key_log.app_id.windows), default=_NO_WINDOW)
    patience = 2 * min(window + key_log.eps, transaction.allocator.longest_wait)
    since = transaction.now - key_log.refused_since
    if key_log.refusals < _EXHAUSTED_AFTER or since < patience:
        return
    rest = max(_REST, 2 * transaction.allocator.longest_wait)
    if math.isfinite(rest):
        reason = f"exhausted, nothing but 429 for {since:.0f} s: {signal.reason}".rstrip(": ")
        key_log.refused_since, key_log.refusals = None, 0
        _hold(transaction, key_log, transaction.now + rest, reason)


def _heed_refusal(
    transaction: Transaction, key_log: KeyLog, ticket: int, signal: Signal, sent: float
) -> None:
    sent = _sent_at(transaction, ticket, sent)
    legal = key_log.limit is not None and _window_count(key_log, sent) <= key_log.limit
    wait = signal.retry_after
    if wait is None:
        wait = _until_full(signal)
    if legal and (wait is None or wait <= _NEARLY):
        _raise_margin(transaction, key_log, sent)
    if wait is not None:
        _hold(transaction, key_log, transaction.now + wait + key_log.eps, signal.reason)
    elif key_log.limit is None:
        # What was sent before the last hold belongs to the burst that it was for.
        if sent > key_log.held_at:
            key_log.held_at = transaction.now
            until = transaction.now + _backoff(transaction, key_log)
            _hold(transaction, key_log, until, signal.reason)
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
    # Twice as long as the last hold of our own that ended just now, or as long where it was enough.
    recent = transaction.now - key_log.hold < key_log.backoff
    times = 1 if key_log.passed == key_log.hold else 2
    key_log.backoff = min(_LONGEST_BACKOFF, times * key_log.backoff if recent else _FIRST_BACKOFF)
    return key_log.backoff


def _fill(transaction: Transaction, key_log: KeyLog, count: int) -> None:
    for _ in range(count):
        transaction.allocator.count_external_use(key_log.app_id.alias, transaction.now)


def _heed_limit(transaction: Transaction, key_log: KeyLog, signal: Signal) -> None:
    """The server's limit, where it is lower than ours and speaks of our first window.

    A header does not say of which window it speaks: it may be the minute's beside our day's. It is
    believed after a 429 whose reset shows that the window is not a much shorter one. What takes it
    back is a larger number. Higher than what was configured: never.
    """
    windows, limit = key_log.app_id.windows, signal.requests.limit
    if limit is None or not windows or any(limit == window.limit for window in windows[1:]):
        return

    control = key_log.control
    allowed = windows[0].limit if control.limit is None else control.limit
    if 0 < limit < allowed and limit < (control.server_limit or allowed):
        wait = signal.requests.reset if signal.retry_after is None else signal.retry_after
        if signal.kind != "rate_limited" or (wait or 0.0) < windows[0].seconds / _SHORTER:
            return
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
    settle_dead(db, owner)
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
    forget_runs(db)
