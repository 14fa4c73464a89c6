"""A run's quota use as the ledger proves it, and an app_id's state at this moment."""

from __future__ import annotations

import itertools
import math
import sqlite3
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import StateError
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota.key_log import KeyLog
from tasks.upstream.quota.open_store import reading
from tasks.upstream.quota.store import Db

__all__ = [
    "KeyState",
    "QuotaStatistics",
    "QuotaUse",
    "WindowUse",
    "key_state",
    "most_in_window",
    "read_statistics",
]


@dataclass(frozen=True, slots=True)
class KeyState:
    """One app_id at this moment."""

    alias: str
    used: int
    """Sends in its first window now, by all runs."""
    limit: int | None
    """Requests of the first window in force now; None: no limit."""
    in_flight: int
    hold: float
    """Seconds until the server lets us go on; 0: not held."""
    state: str
    """ready, held, paused or disabled."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class WindowUse:
    """Most sends, or tokens, of ours that the log shows in any one window, against what was allowed."""

    limit: int
    """Highest limit in force during the run."""
    seconds: float
    most: int


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What one run did with one app_id."""

    alias: str
    sends: int
    rate_limited: int
    """Responses with 429."""
    windows: tuple[WindowUse, ...]
    """Windows of requests."""
    token_windows: tuple[WindowUse, ...]
    """Windows of tokens, as replies told their use; calls without a reply as reserved."""
    slots_available: int | None
    """Sends that were legal between the run's first and last send; None: no limit."""
    waited: float
    """Seconds, over all threads."""
    margin: float
    """Seconds, in force at the end."""
    disabled: str | None


@dataclass(frozen=True, slots=True)
class QuotaStatistics:
    """The proof of one run."""

    run_id: str
    span: float
    """Seconds from the first to the last send under a quota."""
    app_ids: tuple[QuotaUse, ...]

    @property
    def sends(self) -> int:
        return sum(use.sends for use in self.app_ids)

    @property
    def rate_limited(self) -> int:
        return sum(use.rate_limited for use in self.app_ids)

    @property
    def kept(self) -> bool:
        """Whether no request window held more sends than the highest limit in force during the run."""
        return all(w.most <= w.limit for use in self.app_ids for w in use.windows)

    @property
    def over_tokens(self) -> tuple[tuple[str, WindowUse], ...]:
        """Token windows that held more than their limit, with their alias: replies used more than was
        reserved for them, or one call alone is larger than the window.
        """
        return tuple(
            (use.alias, window)
            for use in self.app_ids
            for window in use.token_windows
            if window.most > window.limit
        )


def key_state(key_log: KeyLog, now: float) -> KeyState:
    """An app_id as operators see it."""
    control, windows = key_log.control, key_log.app_id.windows
    hold = max(0.0, key_log.hold - now)
    state = "held" if hold else "ready"
    if control.reason is not None:
        state = "paused" if control.paused else "disabled"
    return KeyState(
        alias=key_log.app_id.alias,
        used=key_log.used(now, windows[0].seconds) if windows else 0,
        limit=key_log.limit,
        in_flight=len(key_log.flying),
        hold=hold,
        state=state,
        reason=control.reason,
    )


def most_in_window(
    instants: Iterable[float], seconds: float, weights: Iterable[int] = itertools.repeat(1)
) -> int:
    """Largest number of instants, given in order, in any half-open window of that length.

    `weights`: what each counts for, as its tokens.
    """
    recent, held, most = deque[tuple[float, int]](), 0, 0
    for at, weight in zip(instants, weights, strict=False):
        recent.append((at, weight))
        held += weight
        while recent[0][0] <= at - seconds:
            held -= recent.popleft()[1]
        most = max(most, held)
    return most


def read_statistics(
    place: Path | str,
    run_id: str,
    app_ids: Sequence[AppId],
    margin: float,
    *,
    patient: bool = False,
) -> QuotaStatistics:
    """Read a run's proof from the ledger's log; changes nothing. `margin` as configured.

    `patient`: a database that is gone is waited for.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    try:
        with reading(place, patient=patient) as db:
            log = _SendLog(db, run_id)
            uses = [_use(db, log, app_id, margin) for app_id in app_ids]
    except sqlite3.Error as error:
        msg = f"{place}: the quota ledger cannot be read ({error}): is this the run's state folder?"
        raise StateError(msg) from error
    return QuotaStatistics(run_id, log.span, tuple(uses))


class _SendLog:
    """All sends of ours in the ledger, by alias, and which part of it is one run's."""

    def __init__(self, db: Db, run_id: str) -> None:
        self.run_id = run_id
        self.instants: dict[str, list[float]] = defaultdict(list)
        self.tokens: dict[str, list[int]] = defaultdict(list)
        self.sends: Counter[str] = Counter()
        self._first, self._last = math.inf, -math.inf
        owners = {row[0] for row in db.execute("SELECT id FROM owners WHERE run = ?", (run_id,))}
        rows = db.execute(
            "SELECT alias, owner, coalesce(sent, at) AS t, tokens FROM uses "
            "WHERE state BETWEEN 1 AND 3 AND owner != 0 ORDER BY t"
        )
        for alias, owner, at, tokens in rows:
            self.instants[alias].append(at)
            self.tokens[alias].append(tokens)
            if owner in owners:
                self.sends[alias] += 1
                self._first, self._last = min(self._first, at), at

    @property
    def span(self) -> float:
        """Seconds from the run's first send to its last."""
        return max(0.0, self._last - self._first)

    def most(self, alias: str, seconds: float) -> int:
        """Most sends in any window that the run can have shared."""
        return most_in_window(self.instants[alias][self._shared(alias, seconds)], seconds)

    def most_tokens(self, alias: str, seconds: float) -> int:
        """Most tokens of the sends in any window that the run can have shared."""
        shared = self._shared(alias, seconds)
        return most_in_window(self.instants[alias][shared], seconds, self.tokens[alias][shared])

    def _shared(self, alias: str, seconds: float) -> slice:
        # All runs count: the server does not know runs.
        instants = self.instants[alias]
        begin = bisect_left(instants, self._first - seconds)
        return slice(begin, bisect_right(instants, self._last + seconds))


def _use(db: Db, log: _SendLog, app_id: AppId, margin: float) -> QuotaUse:
    key = (log.run_id, app_id.alias)
    sends, rate_limited, waited = db.execute(
        "SELECT sends, rate_limited, waited FROM counts WHERE run = ? AND alias = ?",
        key,
    ).fetchone() or (0, 0, 0.0)
    reason, raised, highest = db.execute(
        "SELECT reason, margin, highest FROM controls WHERE run = ? AND alias = ?", key
    ).fetchone() or (None, 0.0, 0)
    return QuotaUse(
        alias=app_id.alias,
        sends=log.sends[app_id.alias] + sends,
        rate_limited=rate_limited,
        windows=tuple(
            WindowUse(
                window.limit if index else max(window.limit, highest),
                window.seconds,
                log.most(app_id.alias, window.seconds),
            )
            for index, window in enumerate(app_id.windows)
        ),
        token_windows=tuple(
            WindowUse(one.limit, one.seconds, log.most_tokens(app_id.alias, one.seconds))
            for one in app_id.token_windows
        ),
        slots_available=_available(app_id.windows, log.span),
        waited=waited,
        margin=max(margin, raised),
        disabled=reason,
    )


def _available(windows: Sequence[Window], seconds: float) -> int | None:
    return min((w.limit * (int(seconds // w.seconds) + 1) for w in windows), default=None)
