"""
The one thread per process that talks to the ledger.

Callers leave a request and sleep; the broker puts all that came together into one transaction,
sleeps until the next reserved instant, passes the gate and wakes exactly the callers that may go.
About once a second it looks whether other processes changed something.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tasks.core.errors import ReviewError, Stopped
from tasks.core.quotas import AppId
from tasks.upstream.quota import clock
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.cleanup import bury, bury_dead, prune
from tasks.upstream.quota.counters import Tally
from tasks.upstream.quota.key_log import Use
from tasks.upstream.quota.ledger import Ledger
from tasks.upstream.quota.transaction import Op, Turn
from tasks.upstream.quota.wait_list import STOPPED, Desk, Waiter

__all__ = ["Broker"]

_PRUNE_EVERY = 600.0  # seconds
_SLOWEST_POLL, _FASTEST_POLL = 0.5, 0.05
_LEAST_PATIENCE = 0.1
_LONGEST_REST = 2.0  # seconds that a fork waits for a turn


class Broker:
    """Runs the allocator on the ledger, for the threads of this process.

    Raises:
        StateError: the ledger cannot be used.
    """

    def __init__(
        self,
        place: Path | str,
        app_ids: Sequence[AppId],
        *,
        margin: float,
        grace: float,
        run_id: str,
        stop: threading.Event,
    ) -> None:
        shortest = min((w.seconds for a in app_ids for w in a.windows), default=math.inf)
        self.poll = min(_SLOWEST_POLL, max(_FASTEST_POLL, shortest / 20))
        self.patience = max(self.poll, _LEAST_PATIENCE)
        self.tally = Tally()
        self._stop = stop
        self._wanted = self._closed = self._ended = False
        self._ledger = Ledger(place, run_id, self._is_hurried)
        self.allocator = Allocator(
            app_ids, owner=self._ledger.owner, margin=margin, grace=grace, notice=self.poll
        )
        self._desk = Desk(self.allocator)
        self._ops: deque[Op] = deque()
        self._arrivals: deque[Waiter] = deque()
        self._news = threading.Condition()
        self._turning = threading.Lock()
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
        with self._news:
            if self._ended:
                raise Stopped(STOPPED)
            self._arrivals.append(waiter)
            self._wanted = True
            self._news.notify()
        try:
            waiter.ready.acquire()
        except BaseException:
            self.submit(lambda _turn: self._desk.withdraw(waiter))
            raise
        if waiter.use is None:
            raise waiter.error or Stopped(STOPPED)
        return waiter.use

    def submit(self, op: Op, *, lazy: bool = False) -> None:
        """Have something done in a transaction: in the next one, or soon if `lazy`."""
        self._ops.append(op)
        if not lazy:
            self._wake()

    def ask(self, op: Op, timeout: float = 10.0) -> bool:
        """The same, and wait until it is on disk. False: not within `timeout` seconds."""
        done = threading.Event()

        def asked(turn: Turn) -> None:
            op(turn)
            turn.after.append(done.set)

        self.submit(asked)
        return done.wait(timeout)

    def close(self) -> None:
        """Wake all callers with Stopped, give their slots back, leave the ledger."""
        self._closed = True
        self._wake()
        self._thread.join()
        self._ledger.close()

    def rest(self) -> None:
        """Before a fork: wait for the turn under way, and begin no other."""
        self._turning.acquire(timeout=_LONGEST_REST)

    def go_on(self) -> None:
        """After a fork, in the parent."""
        with suppress(RuntimeError):
            self._turning.release()

    def abandon(self) -> None:
        """After a fork, in the child: this broker belongs to the parent."""
        self._ledger.abandon()

    # -- the broker's thread -----------------------------------------------------------------

    def _is_hurried(self) -> bool:
        return self._closed or self._stop.is_set()

    def _wake(self) -> None:
        with self._news:
            self._wanted = True
            self._news.notify()

    def _run(self) -> None:
        while not self._closed:
            self._sleep()
            self._try_turn()
        with self._news:
            self._ended = True
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
                self._turn()  # loads the ledger anew, and opens it anew if the file changed
            except Exception as error:  # noqa: BLE001 - callers must not sleep for ever
                self._fail_all(error)
        except Exception as error:  # noqa: BLE001 - same
            self._ops.clear()  # one of them is wrong; uses they spoke of count until we end
            self._fail_all(error)

    def _fail_all(self, error: Exception) -> None:
        self._admit()
        self._desk.fail_all(error)

    def _admit(self) -> None:
        self._desk.queue(self._arrivals.popleft() for _ in range(len(self._arrivals)))

    def _turn(self) -> None:
        with self._turning:
            self._take_turn()

    def _take_turn(self) -> None:
        now = clock.now()
        tick = now >= self._next_tick
        if tick:
            self._next_tick = now + self.poll
        if self._is_idle():
            return
        ops, started = list[Op](), list[Waiter]()
        try:
            with self._ledger.transaction(self.allocator) as db:
                # Only now: whatever came while others had the ledger goes with this turn.
                ops += [self._ops.popleft() for _ in range(len(self._ops))]
                self._admit()
                turn = Turn(db, self._ledger, self.allocator, clock.now())
                self._work(turn, ops, started, tick=tick)
        except BaseException:
            self._ops.extendleft(reversed(ops))
            self._desk.queue(started)
            raise
        self.tally.add(turn.counts)
        for waiter in started:
            waiter.ready.release()
        for call in turn.after:
            call()

    def _is_idle(self) -> bool:
        news = self._ops or self._arrivals
        busy = news or self.tally or self._closed or not self._desk.is_empty
        return not busy and self._next_prune > 0 and not self._ledger.changed()

    def _work(self, turn: Turn, ops: list[Op], started: list[Waiter], *, tick: bool) -> None:
        allocator, now = self.allocator, turn.now
        for op in ops:
            op(turn)
        if tick:
            self._tidy(turn)
        allocator.replan(now, everything=tick)
        if self._is_hurried():
            self._desk.stop()
        self._desk.place(now)
        started += self._desk.start(turn)
        allocator.replan(now)
        if allocator.lost:
            self._wanted = True
        if self._closed:
            bury(turn.db, self._ledger, allocator, allocator.owner, now)
        if tick or turn.flush or self._closed:
            self._flush(turn)

    def _tidy(self, turn: Turn) -> None:
        self.allocator.trim(turn.now)
        self.allocator.lapse(turn.now, self.patience)
        self._ledger.stay(turn.db)
        bury_dead(turn.db, self._ledger, self.allocator, turn.now)
        if turn.now >= self._next_prune:
            self._next_prune = turn.now + _PRUNE_EVERY
            prune(turn.db, self._ledger, turn.now)

    def _flush(self, turn: Turn) -> None:
        self.tally.add(turn.counts)
        turn.counts.clear()
        counts = self.tally.take()
        try:
            self._ledger.count(turn.db, counts)
        except (sqlite3.Error, ReviewError):
            self.tally.add(counts)
            raise
