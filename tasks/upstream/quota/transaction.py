"""What one transaction can do besides handing out slots: confirmations, signals, controls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.counters import Counts
from tasks.upstream.quota.key_log import Lane
from tasks.upstream.quota.ledger import Ledger
from tasks.upstream.quota.signals import Allowance, Signal
from tasks.upstream.quota.store import Db

__all__ = ["Op", "Turn", "apply_signal", "change_control"]

_LARGEST_MARGIN = 2.0  # seconds
_NEARLY = 2.0  # seconds of Retry-After up to which a 429 looks like jitter and not like other users
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 60.0


@dataclass(slots=True)
class Turn:
    """One transaction under way. `now` in seconds on the ledger's clock."""

    db: Db
    ledger: Ledger
    allocator: Allocator
    now: float
    counts: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    after: list[Callable[[], object]] = field(default_factory=list)
    """Called when everything is on disk."""
    flush: bool = False
    """Write the counts down in this turn."""


Op = Callable[[Turn], None]


def change_control(turn: Turn, alias: str, **what: Any) -> None:
    """Change fields of an app_id's Control, for the whole run, from this transaction on."""
    lane = turn.allocator.lanes[alias]
    control = replace(lane.control, **what)
    if control != lane.control:
        lane.control = control
        lane.rebuild()
        turn.ledger.control(turn.db, alias, control)


def apply_signal(turn: Turn, alias: str, ticket: int, signal: Signal) -> None:
    """What a response means for its app_id. `ticket` is 0 where no use was written."""
    lane = turn.allocator.lanes[alias]
    if signal.kind in ("insufficient_quota", "unauthorized", "forbidden"):
        change_control(turn, alias, reason=lane.control.reason or signal.kind, paused=False)
        return
    if signal.requests.limit is not None:
        _heed_limit(turn, lane, signal.requests.limit)
    if signal.kind == "rate_limited":
        turn.counts[alias].rate_limited += 1
        _heed_refusal(turn, lane, ticket, signal)
    elif signal.retry_after is not None and signal.kind != "ok":
        _hold(turn, lane, turn.now + signal.retry_after)
    else:
        _heed_remaining(turn, lane, ticket, signal.requests)


def _hold(turn: Turn, lane: Lane, until: float) -> None:
    if until > lane.hold:
        lane.hold = until
        lane.touch(dirty=True)
        turn.ledger.hold(turn.db, lane.app_id.alias, until)


def _heed_refusal(turn: Turn, lane: Lane, ticket: int, signal: Signal) -> None:
    use = turn.allocator.uses.get(ticket)
    sent = turn.now if use is None else (use.sent or use.at)
    legal = lane.limit is not None and _window_count(lane, sent) <= lane.limit
    wait = signal.retry_after
    if wait is None:
        wait = _until_full(signal)
    if legal and (wait is None or wait <= _NEARLY):
        _raise_margin(turn, lane, sent)
    if wait is not None:
        _hold(turn, lane, turn.now + wait + lane.eps)
    elif lane.limit is None:
        _hold(turn, lane, turn.now + _backoff(turn, lane))
    elif legal:
        # Somebody else uses the key, or the limit is lower: all we know is that it is full now.
        _fill(turn, lane, lane.limit - lane.used(turn.now, lane.app_id.windows[0].seconds))


def _until_full(signal: Signal) -> float | None:
    """When an exhausted allowance comes back, where the server says that instead."""
    said = (signal.requests, signal.tokens)
    resets = [a.reset for a in said if a.remaining == 0 and a.reset is not None]
    return max(resets, default=None)


def _window_count(lane: Lane, sent: float) -> int:
    seconds = lane.app_id.windows[0].seconds
    instants = [use.sent or use.at for use in (*lane.past, *lane.started)]
    return sum(1 for at in instants if sent - seconds < at <= sent)


def _raise_margin(turn: Turn, lane: Lane, sent: float) -> None:
    # A burst that was refused as one is one piece of evidence, whichever process hears of it.
    if sent <= lane.margin_since:
        return
    lane.margin_since = turn.now
    margin = max(lane.eps, min(_LARGEST_MARGIN, 2 * lane.eps or 0.1))
    change_control(turn, lane.app_id.alias, margin=margin)


def _backoff(turn: Turn, lane: Lane) -> float:
    # Twice as long as the last hold of our own that ended just now, if there was one.
    recent = turn.now - lane.hold < lane.backoff
    lane.backoff = min(_LONGEST_BACKOFF, 2 * lane.backoff if recent else _FIRST_BACKOFF)
    return lane.backoff


def _fill(turn: Turn, lane: Lane, count: int) -> None:
    for _ in range(count):
        turn.allocator.phantom(lane.app_id.alias, turn.now)


def _heed_limit(turn: Turn, lane: Lane, limit: int) -> None:
    """Lower than ours: at once. Higher: never above what was configured."""
    windows = lane.app_id.windows
    if not windows or any(limit == window.limit for window in windows[1:]):
        return

    control = lane.control
    allowed = windows[0].limit if control.limit is None else control.limit
    told = limit if 0 < limit < allowed else None
    change_control(turn, lane.app_id.alias, told=told)


def _heed_remaining(turn: Turn, lane: Lane, ticket: int, said: Allowance) -> None:
    """Fewer left than our log explains: somebody else used the key; count what they did."""
    use = turn.allocator.uses.get(ticket)
    if use is None or said.limit is None or said.remaining is None or lane.limit != said.limit:
        return
    # The server counted somewhere between the send and now: allow it all that it may have seen.
    since = turn.now - (use.sent or use.at) + lane.app_id.windows[0].seconds + lane.eps
    _fill(turn, lane, said.limit - said.remaining - lane.used(turn.now, since))
