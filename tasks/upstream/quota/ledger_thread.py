"""
The one thread of a process that talks to the ledger.

Callers leave a request and sleep; the thread puts all that came together into one transaction,
sleeps until the next reserved instant, passes the gate and wakes exactly the callers that may go.
About once a second it looks whether other processes changed something.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.core.errors import ReviewError, Stopped
from tasks.core.quotas import AppId
from tasks.upstream.quota import clock
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.counters import Counters
from tasks.upstream.quota.key_log import Reservation
from tasks.upstream.quota.ledger import Ledger
from tasks.upstream.quota.transaction import Operation, Transaction, prune, reap, reap_dead
from tasks.upstream.quota.wait_list import STOPPED, Waiter, WaitList

__all__ = ["LedgerThread"]

_PRUNE_EVERY = 600.0  # seconds
_SLOWEST_POLL, _FASTEST_POLL = 0.5, 0.05
_LEAST_PATIENCE = 0.1
_LOOK = 0.5  # seconds


class LedgerThread:
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
        longest_wait: float = math.inf,
    ) -> None:
        shortest = min((w.seconds for a in app_ids for w in a.windows), default=math.inf)
        self.poll = min(_SLOWEST_POLL, max(_FASTEST_POLL, shortest / 20))
        self.patience = max(self.poll, _LEAST_PATIENCE)
        self.counters = Counters()
        self._stop = stop
        self._wanted = self._closed = self._ended = False
        self._ledger = Ledger(place, run_id, self._is_hurried)
        self.allocator = Allocator(
            app_ids,
            owner=self._ledger.owner,
            margin=margin,
            grace=grace,
            notice=self.poll,
            longest_wait=longest_wait,
        )
        self._wait_list = WaitList(self.allocator)
        self._operations: deque[Operation] = deque()
        self._arrivals: deque[Waiter] = deque()
        self._news = threading.Condition()
        self._next_tick = self._next_prune = 0.0
        self._transact()
        self._thread = threading.Thread(target=self._run, name="quota-ledger", daemon=True)
        self._thread.start()

    # -- for the callers' threads ------------------------------------------------------------

    def wait(self, waiter: Waiter) -> Reservation:
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
            self.submit(lambda _: self._wait_list.withdraw(waiter))
            raise
        if waiter.reservation is None:
            raise waiter.error or Stopped(STOPPED)
        return waiter.reservation

    def submit(self, operation: Operation, *, lazy: bool = False) -> None:
        """Have something done in a transaction: in the next one, or soon if `lazy`."""
        self._operations.append(operation)
        if not lazy:
            self._wake()

    def ask(
        self,
        operation: Operation,
        timeout: float = 10.0,
        look: Callable[[], object] = lambda: None,
    ) -> bool:
        """Have something done in a transaction and wait until it is on disk. False: not within `timeout` seconds.

        `look` is called twice a second meanwhile; what it raises ends the wait.
        """
        done = threading.Event()

        def asked(transaction: Transaction) -> None:
            operation(transaction)
            transaction.after.append(done.set)

        self.submit(asked)
        end = clock.now() + timeout
        while not done.wait(min(_LOOK, max(0.0, end - clock.now()))):
            look()
            if clock.now() >= end:
                return False
        return True

    def close(self) -> None:
        """Wake all callers with Stopped, give their slots back, leave the ledger."""
        self._closed = True
        self._wake()
        self._thread.join()
        self._ledger.close()

    # -- the ledger thread itself ------------------------------------------------------------

    def _is_hurried(self) -> bool:
        return self._closed or self._stop.is_set()

    def _wake(self) -> None:
        with self._news:
            self._wanted = True
            self._news.notify()

    def _run(self) -> None:
        while not self._closed:
            self._sleep()
            self._try_transact()
        with self._news:
            self._ended = True
        self._try_transact()

    def _sleep(self) -> None:
        due = min(self.allocator.next_due(), self._next_tick)
        with self._news:
            if not self._wanted:
                self._news.wait(max(0.0, due - clock.now()))
            self._wanted = False

    def _try_transact(self) -> None:
        try:
            self._transact()
        except (sqlite3.Error, OSError, ReviewError):
            try:
                self._transact()  # loads the ledger anew, and opens it anew if the file changed
            except Exception as error:  # noqa: BLE001 - callers must not sleep for ever
                self._fail_all(error)
        except Exception as error:  # noqa: BLE001 - same
            self._operations.clear()  # one of them is wrong; reservations they spoke of count until we end
            self._fail_all(error)

    def _fail_all(self, error: Exception) -> None:
        self._admit()
        self._wait_list.fail_all(error)

    def _admit(self) -> None:
        self._wait_list.queue(self._arrivals.popleft() for _ in range(len(self._arrivals)))

    def _transact(self) -> None:
        now = clock.now()
        tick = now >= self._next_tick
        if tick:
            self._next_tick = now + self.poll
        if self._is_idle():
            return
        operations, ended = list[Operation](), list[Waiter]()
        try:
            with self._ledger.transaction(self.allocator) as db:
                # Only now: whatever came while others had the ledger goes with this transaction.
                operations += [self._operations.popleft() for _ in range(len(self._operations))]
                self._admit()
                transaction = Transaction(db, self._ledger, self.allocator, clock.now())
                self._work(transaction, operations, ended, tick=tick)
        except BaseException:
            self._operations.extendleft(reversed(operations))
            self._wait_list.queue(ended)
            raise
        self.counters.add(transaction.counters)
        for waiter in ended:
            waiter.ready.release()
        for call in transaction.after:
            call()

    def _is_idle(self) -> bool:
        news = self._operations or self._arrivals
        busy = news or self.counters or self._closed or not self._wait_list.is_empty
        return not busy and self._next_prune > 0 and not self._ledger.changed()

    def _work(
        self,
        transaction: Transaction,
        operations: list[Operation],
        ended: list[Waiter],
        *,
        tick: bool,
    ) -> None:
        allocator, now = self.allocator, transaction.now
        for operation in operations:
            operation(transaction)
        if tick:
            self._tidy(transaction)
        allocator.replan(now, everything=tick)
        if self._is_hurried():
            self._wait_list.stop()
        ended += self._wait_list.place(now)
        ended += self._wait_list.start(transaction)
        allocator.replan(now)
        if allocator.lost:
            self._wanted = True
        if self._closed:
            reap(transaction.db, self._ledger, allocator, allocator.owner, now)
        if tick or transaction.flush or self._closed:
            self._flush(transaction)

    def _tidy(self, transaction: Transaction) -> None:
        self.allocator.trim(transaction.now)
        self.allocator.lapse(transaction.now, self.patience)
        self._ledger.stay(transaction.db)
        reap_dead(transaction.db, self._ledger, self.allocator, transaction.now)
        if transaction.now >= self._next_prune:
            self._next_prune = transaction.now + _PRUNE_EVERY
            prune(transaction.db, self._ledger, transaction.now)

    def _flush(self, transaction: Transaction) -> None:
        self.counters.add(transaction.counters)
        transaction.counters.clear()
        counters = self.counters.take()
        try:
            self._ledger.count(transaction.db, counters)
        except (sqlite3.Error, ReviewError):
            self.counters.add(counters)
            raise
