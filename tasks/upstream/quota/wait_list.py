"""
Where callers wait: who has a reservation, who has none yet, who may go now.

Everything here runs in the broker's thread, inside a transaction; callers only sleep.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from tasks.core.errors import NoKeysLeft, ReviewError, StateError, Stopped
from tasks.upstream.quota import clock
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.key_log import PLANNED, Lane, Use
from tasks.upstream.quota.reservations import Want
from tasks.upstream.quota.transaction import Turn

__all__ = ["STOPPED", "Desk", "Waiter", "no_keys"]

STOPPED = "the run is being stopped; nothing was sent"


class Waiter(Want):
    """A caller asleep until its slot comes."""

    __slots__ = ("arrived", "error", "ready", "start_at", "use")

    def __init__(self, model: str, tokens: int, avoid: Collection[str], *, urgent: bool) -> None:
        super().__init__(model, tokens, frozenset(avoid), urgent)
        self.arrived = clock.now()
        self.start_at = 0.0
        self.use: Use | None = None
        self.error: ReviewError | None = None
        self.ready = threading.Lock()
        self.ready.acquire()

    def fail(self, error: ReviewError) -> None:
        """Wake the caller without a slot."""
        self.use, self.error = None, error
        self.ready.release()


def no_keys(lanes: Iterable[Lane], model: str) -> str | None:
    """Why no app_id will ever serve the model, as a message; None: one may."""
    serving = [lane for lane in lanes if lane.app_id.serves(model)]
    if any(lane.control.reason is None or lane.control.paused for lane in serving):
        return None
    if not serving:
        return f"no app_id serves {model}: add it to the models of one in review.toml"
    reasons = ", ".join(f"{lane.app_id.alias}: {lane.control.reason}" for lane in serving)
    return f"every app_id that serves {model} is out ({reasons}): renew one, then run again"


class Desk:
    """The callers of this process, on top of the allocator."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._waiting: list[Waiter] = []
        """Without a reservation."""

    @property
    def is_empty(self) -> bool:
        return not (self._waiting or self._allocator.mine or self._allocator.lost)

    def queue(self, waiters: Iterable[Waiter]) -> None:
        """Take callers in; they get a slot in this turn or a later one."""
        self._waiting += waiters

    def place(self, now: float) -> None:
        """Reserve for everybody who has no slot, or tell them that none will come."""
        lost, self._allocator.lost = self._allocator.lost, []
        for want in lost:
            if isinstance(want, Waiter):
                want.urgent = True  # it has waited already
                self._waiting.append(want)
        waiting = sorted(self._waiting, key=lambda w: (not w.urgent, w.arrived))
        self._waiting, full = [], set[str]()
        for waiter in waiting:
            if waiter.model in full or self._allocator.place(waiter, now) is None:
                full.add(waiter.model)
                self._keep_or_fail(waiter)

    def start(self, turn: Turn) -> list[Waiter]:
        """Pass everybody whose instant has come through the gate; wake them after the commit."""
        allocator, started = self._allocator, []
        for use in allocator.due(turn.now):
            waiter, planned = allocator.mine.get(use.ticket), use.at
            if not isinstance(waiter, Waiter) or use.state != PLANNED or planned > turn.now:
                continue
            if turn.now - planned > allocator.grace:
                turn.counts[use.alias].forfeits += 1
            if allocator.start(use, turn.now):
                waiter.use, waiter.start_at = use, use.at
                turn.counts[use.alias].waited += turn.now - waiter.arrived
                started.append(waiter)
        return started

    def withdraw(self, waiter: Waiter) -> None:
        """A caller's thread was interrupted: nothing will be sent for it."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        tickets = [ticket for ticket, want in self._allocator.mine.items() if want is waiter]
        if waiter.use is not None:
            tickets.append(waiter.use.ticket)
        for ticket in tickets:
            self._allocator.cancel(ticket)

    def stop(self) -> None:
        """Send everybody home and give their slots back."""
        for ticket, want in list(self._allocator.mine.items()):
            self._allocator.cancel(ticket)
            self._allocator.lost.append(want)
        self.fail_all(Stopped(STOPPED))

    def fail_all(self, error: Exception) -> None:
        """Wake everybody with an error, as when the ledger cannot be written."""
        wants = [*self._allocator.mine.values(), *self._allocator.lost]
        waiters = [*self._waiting, *(want for want in wants if isinstance(want, Waiter))]
        self._allocator.mine.clear()
        self._allocator.lost.clear()
        self._waiting = []
        msg = f"the quota ledger failed ({error}): free its disk or set another state folder"
        for waiter in waiters:
            waiter.fail(error if isinstance(error, ReviewError) else StateError(msg))

    def _keep_or_fail(self, waiter: Waiter) -> None:
        message = no_keys(self._allocator.lanes.values(), waiter.model)
        if message is None:
            self._waiting.append(waiter)
        else:
            waiter.fail(NoKeysLeft(message))
