"""One thread that writes for all: whoever arrives while a batch is being written joins the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from tasks.core.errors import StateError

__all__ = ["GroupWriter", "JournalRow"]

JournalRow = tuple[bytes, float, str, bytes]
"""key, time stored, model, body"""


_GATHER = 0.01
"""Seconds that a row waits for others: a commit takes 0.15 ms of CPU, a row in it 0.02."""

_FULL = 64
"""Rows that are not made to wait any longer."""


class _Waiting:
    """A row, and a lock that is free as soon as it is written: one system call, and no condition."""

    __slots__ = ("done", "error", "row")

    def __init__(self, row: JournalRow) -> None:
        self.row = row
        self.error: Exception | None = None
        self.done = threading.Lock()
        self.done.acquire()


class GroupWriter:
    """Group commit: `put` returns when its row is durable; rows that wait share one fsync."""

    def __init__(self, commit: Callable[[list[JournalRow]], None]) -> None:
        self._commit = commit
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._closing = threading.Lock()
        self.closed = False
        self.batches = 0
        self.rows = 0
        # A daemon: an interpreter that ends does not wait for it, and loses nothing acknowledged.
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def put(self, *rows: JournalRow) -> None:
        """Store rows together; returns when they are on disk.

        Raises:
            StateError: it could not be written, or the writer is closed.
        """
        waiting = [_Waiting(row) for row in rows]
        with self._closing:  # nothing comes behind the mark that ends the thread
            if self.closed:
                msg = "the journal is closed: open it again before putting replies into it"
                raise StateError(msg)
            for one in waiting:
                self._queue.put(one)
        for one in waiting:
            one.done.acquire()
        for one in waiting:
            if one.error is not None:
                raise _for_waiter(one.error)

    def close(self) -> None:
        """Write what waits, then end the thread. Safe to call twice."""
        with self._closing:
            if not self.closed:
                self.closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._commit([one.row for one in batch])
            except Exception as error:  # noqa: BLE001 - whoever waits would wait for ever
                for one in batch:
                    one.error = error
            self.batches += 1
            self.rows += len(batch)
            for one in batch:
                one.done.release()

    def _next(self) -> list[_Waiting]:
        """What is to be written together; nothing: the writer is closed."""
        first = self._queue.get()
        if first is None:
            return []
        if self._queue.qsize() < _FULL - 1 and not self.closed:
            time.sleep(_GATHER)
        batch = [first]
        try:
            while (one := self._queue.get_nowait()) is not None:
                batch.append(one)
        except Empty:
            return batch
        self._queue.put(None)  # for the next look
        return batch


def _for_waiter(error: Exception) -> StateError:
    return StateError(str(error), code=getattr(error, "code", StateError.code))
