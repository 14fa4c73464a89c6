"""
The callers that wait for a slot: who has a reservation, who has none yet, who may go now.

Everything here runs in the ledger thread, inside a transaction; callers only sleep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from datetime import datetime

from tasks.core.errors import NoKeysLeft, QuotaHeld, ReviewError, StateError, Stopped
from tasks.upstream.quota import clock
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.key_log import PLANNED, KeyLog, Reservation
from tasks.upstream.quota.reservations import SlotRequest
from tasks.upstream.quota.transaction import Transaction

__all__ = ["STOPPED", "WaitList", "Waiter", "instant", "no_keys"]

STOPPED = "the run is being stopped; nothing was sent"


class Waiter(SlotRequest):
    """A caller asleep until its slot comes."""

    __slots__ = ("arrived", "error", "ready", "reservation", "start_at")

    def __init__(
        self,
        model: str,
        tokens: int,
        avoid: Collection[str],
        *,
        urgent: bool,
        never: Collection[str] = (),
    ) -> None:
        super().__init__(model, tokens, frozenset(avoid), urgent, frozenset(never))
        self.arrived = clock.now()
        self.start_at = 0.0
        self.reservation: Reservation | None = None
        self.error: ReviewError | None = None
        self.ready = threading.Lock()
        self.ready.acquire()

    def fail(self, error: ReviewError) -> None:
        """Wake the caller without a slot."""
        self.reservation, self.error = None, error
        self.ready.release()


def no_keys(key_logs: Iterable[KeyLog], model: str, never: Collection[str] = ()) -> str | None:
    """Why no app_id will ever serve the model, as a message; None: one may."""
    serving = [
        key_log
        for key_log in key_logs
        if key_log.app_id.serves(model) and key_log.app_id.alias not in never
    ]
    if any(key_log.control.reason is None or key_log.control.paused for key_log in serving):
        return None
    if not serving:
        return f"no app_id serves {model}: add it to the models of one in review.toml"
    reasons = ", ".join(f"{key_log.app_id.alias}: {key_log.control.reason}" for key_log in serving)
    return f"every app_id that serves {model} is out ({reasons}): renew one, then run again"


def all_held(
    key_logs: Iterable[KeyLog], model: str, now: float, longest_wait: float, never: Collection[str]
) -> QuotaHeld | None:
    """The error for a caller whose app_ids are all held for longer than `longest_wait` seconds.

    App_ids that are out for the run, or in `never`, are no hope either; None: one may serve soon.
    """
    held = []
    for key_log in key_logs:
        control, alias = key_log.control, key_log.app_id.alias
        out = control.reason is not None and not control.paused
        if not key_log.app_id.serves(model) or alias in never or out:
            continue
        if key_log.hold - now <= longest_wait:
            return None
        held.append(key_log)
    if not held:
        return None
    first = min(held, key=lambda key_log: key_log.hold)
    until = time.time() + first.hold - now
    said = f" ({first.hold_reason})" if first.hold_reason else ""
    names = ", ".join(key_log.app_id.alias for key_log in held)
    msg = (
        f"{model}: every app_id that serves it is held by its provider ({names}); "
        f"{first.app_id.alias} can go on at {instant(until)}{said}: run again then, or clear the "
        "hold by `prefect gcl enable`"
    )
    return QuotaHeld(msg, until=until)


def instant(epoch: float) -> str:
    """A local time with its date, for people."""
    return datetime.fromtimestamp(epoch).astimezone().strftime("%Y-%m-%d %H:%M:%S")


class WaitList:
    """The waiting callers of this process, on top of the allocator."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._waiting: list[Waiter] = []
        """Without a reservation."""

    @property
    def is_empty(self) -> bool:
        return not (self._waiting or self._allocator.mine or self._allocator.lost)

    def queue(self, waiters: Iterable[Waiter]) -> None:
        """Take callers in; they get a slot in this transaction or a later one."""
        self._waiting += waiters

    def place(self, now: float) -> list[Waiter]:
        """Reserve for everybody who has no slot; those for whom none will come, with their error.

        Wake them after the commit: what they end for must be there for whoever looks next.
        """
        lost, self._allocator.lost = self._allocator.lost, []
        for request in lost:
            if isinstance(request, Waiter):
                request.urgent = True  # it has waited already
                self._waiting.append(request)
        waiting = sorted(self._waiting, key=lambda w: (not w.urgent, w.arrived))
        self._waiting, full = [], set[tuple[str, Collection[str]]]()
        unplaced = list[Waiter]()
        for waiter in waiting:
            kind = (waiter.model, waiter.never)
            if kind in full or self._allocator.place(waiter, now) is None:
                full.add(kind)
                unplaced.append(waiter)
        for waiter in unplaced:
            waiter.error = self._no_hope(waiter, now)
        self._waiting += [waiter for waiter in unplaced if waiter.error is None]
        return [waiter for waiter in unplaced if waiter.error is not None]

    def start(self, transaction: Transaction) -> list[Waiter]:
        """Pass everybody whose instant has come through the gate; wake them after the commit."""
        allocator, started = self._allocator, []
        for reservation in allocator.due(transaction.now):
            waiter = allocator.mine.get(reservation.ticket)
            # A gate that did not open for an earlier one may have planned this one anew.
            due = reservation.state == PLANNED and reservation.at <= transaction.now
            if not isinstance(waiter, Waiter) or not due:
                continue
            if allocator.start(reservation, transaction.now):
                waiter.reservation, waiter.start_at = reservation, reservation.at
                transaction.counters[reservation.alias].waited += transaction.now - waiter.arrived
                started.append(waiter)
        return started

    def withdraw(self, waiter: Waiter) -> None:
        """A caller's thread was interrupted: nothing will be sent for it."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        tickets = [ticket for ticket, request in self._allocator.mine.items() if request is waiter]
        if waiter.reservation is not None:
            tickets.append(waiter.reservation.ticket)
        for ticket in tickets:
            self._allocator.cancel(ticket)

    def stop(self) -> None:
        """Wake all callers without a slot and give their slots back."""
        for ticket, request in list(self._allocator.mine.items()):
            self._allocator.cancel(ticket)
            self._allocator.lost.append(request)
        self.fail_all(Stopped(STOPPED))

    def fail_all(self, error: Exception) -> None:
        """Wake everybody with an error, as when the ledger cannot be written."""
        wants = [*self._allocator.mine.values(), *self._allocator.lost]
        waiters = [*self._waiting, *(request for request in wants if isinstance(request, Waiter))]
        self._allocator.mine.clear()
        self._allocator.lost.clear()
        self._waiting = []
        msg = (
            f"the quota ledger failed ({error}): see that its disk is writable and has space, or set "
            "another state folder"
        )
        for waiter in waiters:
            waiter.fail(error if isinstance(error, ReviewError) else StateError(msg))

    def _no_hope(self, waiter: Waiter, now: float) -> ReviewError | None:
        key_logs = self._allocator.key_logs.values()
        message = no_keys(key_logs, waiter.model, waiter.never)
        longest = self._allocator.longest_wait
        held = all_held(key_logs, waiter.model, now, longest, waiter.never)
        return held or (None if message is None else NoKeysLeft(message))
