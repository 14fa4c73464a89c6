"""
The quota of a run's threads: one `Quota` per process, one ledger for all processes.

    grant = quota.acquire(model)      sleeps until an app_id may send
    quota.sent(grant)                 when the request has been written
    quota.feedback(grant, signal)     what the response says about the app_id
    quota.settle(grant, tokens=n)     when the call is over, however it ended
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tasks.core.errors import ConfigError, NoKeysLeft, StateError, Stopped
from tasks.core.locations import redacted
from tasks.core.quotas import AppId
from tasks.upstream.quota import clock
from tasks.upstream.quota.grants import Grant, HeldGrants
from tasks.upstream.quota.groups import QuotaGroups, follow_members
from tasks.upstream.quota.ledger_thread import LedgerThread
from tasks.upstream.quota.signals import NOTHING_SAID, Signal
from tasks.upstream.quota.statistics import KeyState, QuotaStatistics, key_state, read_statistics
from tasks.upstream.quota.transaction import (
    Operation,
    Transaction,
    apply_signal,
    change_control,
    end_hold,
    note_answer,
)
from tasks.upstream.quota.unlimited import UnlimitedKeys
from tasks.upstream.quota.wait_list import STOPPED, Waiter

__all__ = ["Quota"]

_GRACE_SHARE = 8  # grace is at most this part of the margin, the rest is for the network
_TELL_ANSWERS = 30.0  # seconds between two notes that an app_id without windows answers
_LEDGER_ANSWERS = 180.0  # seconds; a database that is restarted is waited for


class Quota:
    """Exact, shared and crash-proof use of a pool of app_ids.

    Args:
        place: the ledger file, whose folder is made; or the URL of a PostgreSQL database.
        app_ids: the pool. An alias, or its quota group, is its identity in the ledger, over runs.
        margin: seconds added to every window, for jitter between our clock and the server's.
        grace: seconds a start may be late and still count from its planned instant; at most an
            eighth of the margin is used.
        run_id: processes that share it share limits, disabled app_ids and statistics.
        stop: when it is set, waiting callers leave with Stopped within a second.
        longest_wait: seconds; callers do not wait for an app_id that its provider holds for longer.
        on_signal: hears what each response says, with the alias of its app_id.

    Raises:
        StateError: the ledger cannot be used.
    """

    def __init__(
        self,
        place: Path | str,
        app_ids: Sequence[AppId],
        *,
        margin: float = 0.4,
        grace: float = 0.05,
        run_id: str = "",
        stop: threading.Event | None = None,
        longest_wait: float = math.inf,
        on_signal: Callable[[str, Signal], None] | None = None,
    ) -> None:
        self.place = place
        self._on_signal = on_signal
        self.run_id = run_id
        self.margin = margin
        self.longest_wait = longest_wait
        self._groups = QuotaGroups(app_ids)
        self._grace = min(grace, margin / _GRACE_SHARE)
        self._stop = stop or threading.Event()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = LedgerThread(
            place,
            self._groups.records,
            margin=margin,
            grace=self._grace,
            run_id=run_id,
            stop=self._stop,
            longest_wait=longest_wait,
        )
        self._held = HeldGrants(self._thread)
        self._unlimited = UnlimitedKeys(self._thread)

    # -- a call ------------------------------------------------------------------------------

    def acquire(
        self,
        model: str,
        *,
        tokens: int = 0,
        avoid: Collection[str] = (),
        urgent: bool = False,
        never: Collection[str] = (),
    ) -> Grant:
        """Sleep until an app_id may send one request of `tokens` tokens; it is then marked as sent.

        `avoid`: aliases to use only if the others would take a second longer. `urgent`: goes
        before this process's other callers. `never`: aliases that must not be used at all.

        Raises:
            NoKeysLeft: all app_ids that serve the model are disabled.
            QuotaHeld: all of them are held for longer than longest_wait.
            Stopped: the stop event was set.
            StateError: the ledger failed.
        """
        self._check_stop()
        thread = self._running()
        while True:
            out = self._groups.out(thread.allocator.key_logs)
            unable = {*never, *out}
            names = {
                name
                for name in self._groups.closed(model, unable)
                if name in never or thread.allocator.key_logs[name].control.reason is None
            }
            others = self._groups.closed(model, {*unable, *avoid}) - names
            try:
                slot = self._slot(thread, Waiter(model, tokens, others, urgent=urgent, never=names))
            except NoKeysLeft as error:
                if out:
                    reasons = ", ".join(f"{alias}: {reason}" for alias, reason in out.items())
                    msg = f"{error} ({reasons})"
                    raise NoKeysLeft(msg) from None
                raise
            alias = self._groups.next(slot.app_id, model, unable, avoid)
            if alias is not None:
                grant = slot if alias == slot.app_id else replace(slot, app_id=alias)
                return self._held.watch(grant) if grant.ticket else grant
            self.refund(slot)  # its last key went out meanwhile

    def _slot(self, thread: LedgerThread, waiter: Waiter) -> Grant:
        """A slot of a quota, in whose name the grant is."""
        free = self._unlimited.take(waiter.model, waiter.avoid, waiter.never)
        if free is not None:
            return Grant(free.app_id.alias, 0, clock.now(), 0.0, waiter.tokens)
        reservation = thread.wait(waiter)
        waited = max(0.0, clock.now() - waiter.arrived)
        return Grant(reservation.alias, reservation.ticket, waiter.start_at, waited, waiter.tokens)

    def sent(self, grant: Grant, at: float | None = None) -> None:
        """The request was written, at `at` on time.monotonic(); now if not given."""
        if grant.ticket:
            true = clock.now() if at is None else at
            lazy = true - grant.start_at <= self._grace
            self._do(lambda transaction: transaction.allocator.sent(grant.ticket, true), lazy=lazy)

    def refund(self, grant: Grant) -> None:
        """Give the slot back. Only when no byte can have left, as after a failed connect."""

        def operation(transaction: Transaction) -> None:
            if grant.ticket:
                transaction.allocator.cancel(grant.ticket)
            else:
                transaction.counters[self._groups.name(grant.app_id)].sends -= 1

        self._do(operation)

    def settle(self, grant: Grant, *, tokens: int | None = None) -> None:
        """The call is over; `tokens` is the reply's usage. Also ends its place in max_in_flight."""
        if grant.ticket:
            end = clock.now()
            self._held.end(grant)
            name = self._groups.name(grant.app_id)
            app_id = self._running().allocator.key_logs[name].app_id
            counted = app_id.max_in_flight is not None or bool(app_id.token_windows)
            self._do(
                lambda transaction: transaction.allocator.end(grant.ticket, tokens, end),
                lazy=not counted,
            )

    def feedback(self, grant: Grant, signal: Signal) -> None:
        """What a response said about its app_id: holds, disables, limits."""
        if self._on_signal is not None:
            self._on_signal(grant.app_id, signal)
        if signal.kind == "ok" and signal.requests is NOTHING_SAID:
            return

        def operation(transaction: Transaction) -> None:
            name = self._groups.name(grant.app_id)
            whose = grant.app_id if signal.kind == "out" else name
            apply_signal(transaction, whose, grant.ticket, signal, grant.start_at)
            follow_members(transaction, self._groups, name)

        if grant.ticket or signal.kind == "ok" or self._closed:
            self._do(operation, lazy=signal.kind == "ok")
        else:
            # The next send without a limit asks no transaction, so this one must be over.
            self._running().ask(operation)

    def refused_model(self, grant: Grant) -> None:
        """A 429 of one model's quota: counted, and no reason to hold the app_id."""

        def operation(transaction: Transaction) -> None:
            transaction.counters[self._groups.name(grant.app_id)].rate_limited += 1

        self._do(operation, lazy=True)

    def answered(self, grant: Grant) -> None:
        """A call went well: the app_id is not exhausted, whatever was refused before."""
        key_log = self._thread.allocator.key_logs[self._groups.name(grant.app_id)]
        if grant.start_at >= key_log.hold:
            key_log.passed = key_log.hold
        if key_log.refused_since is not None:
            key_log.refused_since, key_log.refusals = None, 0
        now, windows = clock.now(), key_log.app_id.windows
        if now - key_log.answered_at > max((w.seconds for w in windows), default=_TELL_ANSWERS):
            key_log.answered_at = now
            self._do(lambda transaction: note_answer(transaction, key_log.app_id.alias), lazy=True)

    # -- what endpoints taught ---------------------------------------------------------------

    @property
    def notes(self) -> Mapping[str, str]:
        """What is remembered of endpoints, by name, as all processes of the ledger wrote it."""
        return self._thread.allocator.notes

    def note(self, name: str, value: str) -> None:
        """Remember something of an endpoint, for other processes and later runs."""

        def operation(transaction: Transaction) -> None:
            transaction.ledger.note(transaction.db, name, value)
            transaction.allocator.notes = {**transaction.allocator.notes, name: value}

        self._do(operation)

    # -- who keeps rows of its own in the ledger -----------------------------------------------

    def in_ledger(self, operation: Operation, *, wait: bool = True) -> None:
        """Have something done in one of the ledger's transactions, and `wait` until it is on disk.

        Raises:
            Stopped: the stop event was set, or the quota is closed, before it was.
            StateError: the ledger did not answer in time.
        """
        if not wait:
            self._do(operation, lazy=True)
            return
        if not self._running().ask(operation, _LEDGER_ANSWERS, self._check_running):
            msg = f"{redacted(self.place)}: the quota ledger does not answer: free its disk, or see its database's log"
            raise StateError(msg)

    # -- operators ---------------------------------------------------------------------------

    def set_limit(self, alias: str, limit: int | None) -> None:
        """Requests in the app_id's first window, for this run; None: as configured."""
        self._control(alias, limit=limit)

    def disable(self, alias: str, reason: str, *, pause: bool = False) -> None:
        """Take an app_id out of this run. `pause`: callers wait for it instead of failing."""
        self._control(alias, reason=reason, paused=pause)

    def enable(self, alias: str) -> None:
        """Put an app_id back, and let it go on where its provider said to wait."""
        self._control(alias, reason=None, paused=False)
        self._running().ask(lambda transaction: end_hold(transaction, self._groups.name(alias)))

    def set_external_slots(self, alias: str, slots: int) -> None:
        """Count slots that somebody else holds on the first window, until the next call."""
        self._control(alias, external_slots=max(0, slots))

    # -- what is known -----------------------------------------------------------------------

    def snapshot(self) -> tuple[KeyState, ...]:
        """Every quota at this moment, over all processes and runs."""
        states: list[KeyState] = []

        def operation(transaction: Transaction) -> None:
            states[:] = [
                key_state(key_log, transaction.now)
                for key_log in transaction.allocator.key_logs.values()
                if self._groups.name(key_log.app_id.alias) == key_log.app_id.alias
            ]

        self._running().ask(operation)
        return tuple(states)

    def statistics(self) -> QuotaStatistics:
        """The run's proof so far, over all its processes, from the ledger's log."""

        def operation(transaction: Transaction) -> None:
            transaction.flush = True

        self._running().ask(operation)
        return read_statistics(self.place, self.run_id, self._groups.quotas, self.margin)

    def close(self) -> None:
        """Wake waiting callers with Stopped and leave the ledger."""
        with self._closing:
            closed, self._closed = self._closed, True
        if not closed:
            self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        pool = ", ".join(
            f"{a.alias} {' '.join(map(str, a.windows)) or 'no limit'}" for a in self._groups.quotas
        )
        return f"<Quota {redacted(self.place)} run={self.run_id!r} margin={self.margin:g}s: {pool}>"

    # -- inside ------------------------------------------------------------------------------

    def _running(self) -> LedgerThread:
        if self._closed:
            msg = "the quota is closed; nothing was sent"
            raise Stopped(msg)
        return self._thread

    def _do(self, operation: Operation, *, lazy: bool = False) -> None:
        if not self._closed:
            self._thread.submit(operation, lazy=lazy)

    def _control(self, alias: str, **what: Any) -> None:
        if alias not in self._thread.allocator.key_logs:
            msg = f"no app_id is called {alias}: use an alias of review.toml"
            raise ConfigError(msg)

        def operation(transaction: Transaction) -> None:
            change_control(transaction, alias, **what)
            name = self._groups.name(alias)
            if name != alias:
                follow_members(transaction, self._groups, name)

        self._running().ask(operation)

    def _check_running(self) -> None:
        self._check_stop()
        self._running()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped(STOPPED)
