"""
The one thread per process that talks to the ledger.

Callers leave a request and sleep; the broker puts all that came together into one transaction,
sleeps until the next reserved instant, passes the gate and wakes exactly the callers that may go.
About once a second it looks whether other processes changed something.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from pathlib import Path

from tasks.core.errors import NoKeysLeft, ReviewError, StateError, Stopped
from tasks.core.quotas import AppId
from tasks.upstream.quota import clock
from tasks.upstream.quota.allocator import Allocator, Want
from tasks.upstream.quota.lane import PLANNED, Use
from tasks.upstream.quota.ledger import Counts, Ledger
from tasks.upstream.quota.turn import Op, Turn

__all__ = ["Broker", "Waiter"]

_PRUNE_EVERY = 600.0  # seconds
_SLOWEST_POLL, _FASTEST_POLL = 0.5, 0.05
_LEAST_PATIENCE = 0.1


class Waiter(Want):
    """A caller asleep until its slot comes."""

    __slots__ = ("arrived", "error", "ready", "started", "use")

    def __init__(self, model: str, tokens: int, avoid: Collection[str], *, urgent: bool) -> None:
        super().__init__(model, tokens, frozenset(avoid), urgent)
        self.arrived = clock.now()
        self.started = 0.0
        self.use: Use | None = None
        self.error: ReviewError | None = None
        self.ready = threading.Lock()
        self.ready.acquire()


class Broker:
    """Runs the allocator on the ledger, for the threads of this process."""

    def __init__(
        self,
        path: Path,
        app_ids: Sequence[AppId],
        *,
        margin: float,
        grace: float,
        run_id: str,
        stop: threading.Event,
    ) -> None:
        self.pid = os.getpid()
        shortest = min((w.seconds for a in app_ids for w in a.windows), default=math.inf)
        self.poll = min(_SLOWEST_POLL, max(_FASTEST_POLL, shortest / 20))
        self.patience = max(self.poll, _LEAST_PATIENCE)
        self.counts: dict[str, Counts] = defaultdict(Counts)
        self._stop = stop
        self._ledger = Ledger(path, run_id)
        self.allocator = Allocator(
            app_ids, owner=self._ledger.owner, margin=margin, grace=grace, notice=self.poll
        )
        self._ops: deque[Op] = deque()
        self._waiting: list[Waiter] = []
        """Callers without a reservation."""
        self._arrivals: deque[Waiter] = deque()
        self._raised: dict[str, float] = {}
        self._news = threading.Condition()
        self._wanted = False
        self._closed = False
        self._next_tick = self._next_prune = 0.0
        self._turn()
        self._thread = threading.Thread(target=self._run, name="quota-broker", daemon=True)
        self._thread.start()

    # -- for the callers' threads ------------------------------------------------------------

    def wait(self, waiter: Waiter) -> Use:
        """Sleep until the waiter's slot has come.

        Raises:
            NoKeysLeft, Stopped, StateError: it will not come.
        """
        self._arrivals.append(waiter)
        self.wake()
        try:
            waiter.ready.acquire()
        except BaseException:
            self.submit(lambda turn: self._withdraw(turn, waiter))
            raise
        if waiter.error is not None:
            raise waiter.error
        if waiter.use is None:
            msg = "the quota was closed while a call waited for it"
            raise Stopped(msg)
        return waiter.use

    def submit(self, op: Op, *, lazy: bool = False) -> None:
        """Have something done in a transaction: in the next one, or soon if `lazy`."""
        self._ops.append(op)
        if not lazy:
            self.wake()

    def ask(self, op: Op, timeout: float = 10.0) -> bool:
        """The same, and wait until it is on disk. False: not within `timeout` seconds."""
        done = threading.Event()
        self.submit(op)
        self.submit(lambda _turn: done.set())
        return done.wait(timeout)

    def wake(self) -> None:
        with self._news:
            self._wanted = True
            self._news.notify()

    def close(self) -> None:
        """Wake all callers with Stopped, give their slots back, leave the ledger."""
        self._closed = True
        self.wake()
        self._thread.join()
        self._ledger.close()

    def abandon(self) -> sqlite3.Connection | None:
        """In a forked child: this broker belongs to the parent."""
        return self._ledger.abandon()

    # -- the broker's thread -----------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            self._sleep()
            self._try_turn()
        self._try_turn()

    def _sleep(self) -> None:
        due = min(self.allocator.next_due(), self._next_tick)
        with self._news:
            if not self._wanted:
                self._news.wait(max(0.0, due - clock.now()))
            self._wanted = False

    def _try_turn(self) -> None:
        try:
            self._turn()
        except (sqlite3.Error, OSError, ReviewError):
            try:
                self._turn()  # from a fresh load; a file that was moved aside is found here
            except Exception as error:  # noqa: BLE001 - callers must not sleep for ever
                self._fail_all(error)
        except Exception as error:  # noqa: BLE001
            self._fail_all(error)

    def _turn(self) -> None:
        now = clock.now()
        tick = now >= self._next_tick
        if tick:
            self._next_tick = now + self.poll
        ops = [self._ops.popleft() for _ in range(len(self._ops))]
        self._waiting += [self._arrivals.popleft() for _ in range(len(self._arrivals))]
        if self._is_idle(ops):
            return
        counts, self.counts = self.counts, defaultdict(Counts)
        started: list[Waiter] = []
        try:
            with self._ledger.transaction(self.allocator) as db:
                turn = Turn(db, self._ledger, self.allocator, clock.now(), counts, self._raised)
                self._work(turn, ops, started, tick=tick)
                if counts:
                    self._ledger.count(db, counts)
        except BaseException:
            self._ops.extendleft(reversed(ops))
            self._waiting += started
            self._put_back(counts)
            raise
        for waiter in started:
            waiter.ready.release()

    def _is_idle(self, ops: Sequence[Op]) -> bool:
        busy = ops or self._waiting or self.allocator.mine or self.counts or self._closed
        return not busy and self._next_prune > 0 and not self._ledger.changed()

    def _work(self, turn: Turn, ops: list[Op], started: list[Waiter], *, tick: bool) -> None:
        allocator, now = self.allocator, turn.now
        for op in ops:
            op(turn)
        if tick:
            self._tidy(turn)
        allocator.lapse(now, self.patience)
        allocator.replan(now, everything=tick)
        if self._closed or self._stop.is_set():
            self._stop_all(turn)
        self._place(turn)
        self._start(turn, started)
        allocator.replan(now)
        if allocator.lost:
            self._wanted = True

    def _tidy(self, turn: Turn) -> None:
        for owner in self._ledger.dead_owners(turn.db):
            self.allocator.bury(owner, turn.now)
        if turn.now >= self._next_prune:
            self._next_prune = turn.now + _PRUNE_EVERY
            self._ledger.prune(turn.db, turn.now)

    def _place(self, turn: Turn) -> None:
        lost, self.allocator.lost = self.allocator.lost, []
        for want in lost:
            if isinstance(want, Waiter):
                want.urgent = True  # it has waited already
                self._waiting.append(want)
        waiting = sorted(self._waiting, key=lambda w: (not w.urgent, w.arrived))
        self._waiting, full = [], set[str]()
        for waiter in waiting:
            if waiter.model in full or self.allocator.place(waiter, turn.now) is None:
                full.add(waiter.model)
                self._keep_or_fail(waiter)

    def _keep_or_fail(self, waiter: Waiter) -> None:
        message = self.no_keys(waiter.model)
        if message is None:
            self._waiting.append(waiter)
        else:
            self._fail(waiter, NoKeysLeft(message))

    def no_keys(self, model: str) -> str | None:
        """Why no app_id will ever serve the model; None: one may."""
        lanes = [lane for lane in self.allocator.lanes.values() if lane.app_id.serves(model)]
        if any(lane.control.reason is None or lane.control.paused for lane in lanes):
            return None
        if not lanes:
            return f"no app_id serves {model}: add it to the models of one in review.toml"
        reasons = ", ".join(f"{lane.app_id.alias}: {lane.control.reason}" for lane in lanes)
        return f"every app_id that serves {model} is out: {reasons}"

    def _start(self, turn: Turn, started: list[Waiter]) -> None:
        allocator = self.allocator
        for use in allocator.due(turn.now):
            waiter, planned = allocator.mine.get(use.ticket), use.at
            if not isinstance(waiter, Waiter) or use.state != PLANNED or planned > turn.now:
                continue
            if turn.now - planned > allocator.grace:
                turn.counts[use.alias].forfeits += 1
            if allocator.start(use, turn.now):
                waiter.use, waiter.started = use, use.at
                turn.counts[use.alias].waited += turn.now - waiter.arrived
                started.append(waiter)

    def _withdraw(self, turn: Turn, waiter: Waiter) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        ticket = next((t for t, want in turn.allocator.mine.items() if want is waiter), None)
        ticket = waiter.use.ticket if waiter.use is not None else ticket
        if ticket is not None:
            turn.allocator.cancel(ticket)

    def _stop_all(self, turn: Turn) -> None:
        for ticket, want in list(turn.allocator.mine.items()):
            turn.allocator.cancel(ticket)
            if isinstance(want, Waiter):
                self._waiting.append(want)
        for waiter in self._waiting:
            self._fail(waiter, Stopped("the run is being stopped; nothing was sent"))
        self._waiting = []

    def _put_back(self, counts: dict[str, Counts]) -> None:
        # Only the sum of both is known to the ledger's counters, once a turn succeeds.
        for alias, new in self.counts.items():
            old = counts[alias]
            old.sends += new.sends
        self.counts = counts

    def _fail_all(self, error: Exception) -> None:
        wants = [*self.allocator.mine.values(), *self.allocator.lost]
        self.allocator.mine.clear()
        self.allocator.lost.clear()
        waiters = [*self._waiting, *(want for want in wants if isinstance(want, Waiter))]
        self._waiting = []
        for waiter in waiters:
            msg = f"the quota ledger failed ({error}): free its disk or set another state folder"
            self._fail(waiter, error if isinstance(error, ReviewError) else StateError(msg))

    def _fail(self, waiter: Waiter, error: ReviewError) -> None:
        waiter.error = error
        waiter.ready.release()
