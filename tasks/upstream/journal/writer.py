"""One thread that writes for all: whoever arrives while a batch is being written joins the next."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tasks.core.errors import StateError

__all__ = ["GroupWriter", "JournalRow"]

JournalRow = tuple[bytes, float, str, bytes]
"""key, time stored, model, body"""


_GATHER = 0.01
"""Seconds that a row waits for others: a commit takes 0.15 ms of CPU, a row in it 0.02."""

_FULL = 64
"""Rows that are not made to wait any longer."""


class _Batch:
    __slots__ = ("done", "error", "rows")

    def __init__(self) -> None:
        self.rows: list[JournalRow] = []
        self.done = threading.Event()
        self.error: Exception | None = None


class GroupWriter:
    """Group commit: `put` returns when its row is durable; rows that wait share one fsync."""

    def __init__(self, commit: Callable[[list[JournalRow]], None]) -> None:
        self._commit = commit
        self._changed = threading.Condition()
        self._batch = _Batch()
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
        with self._changed:
            if self.closed:
                msg = "the journal is closed: open it again before putting replies into it"
                raise StateError(msg)
            batch = self._batch
            before = len(batch.rows)
            batch.rows += rows
            if not before or before < _FULL <= len(batch.rows):
                self._changed.notify()
        batch.done.wait()
        if batch.error is not None:
            raise _for_waiter(batch.error)

    def close(self) -> None:
        """Write what waits, then end the thread. Safe to call twice."""
        with self._changed:
            self.closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            try:
                self._commit(batch.rows)
            except Exception as error:  # noqa: BLE001 - whoever waits would wait for ever
                batch.error = error
            self.batches += 1
            self.rows += len(batch.rows)
            batch.done.set()

    def _next(self) -> _Batch | None:
        with self._changed:
            while not self._batch.rows:
                if self.closed:
                    return None
                self._changed.wait()
            if len(self._batch.rows) < _FULL and not self.closed:
                # Woken early by `close`, and by the row that fills the batch.
                self._changed.wait(_GATHER)
            batch, self._batch = self._batch, _Batch()
            return batch


def _for_waiter(error: Exception) -> StateError:
    return StateError(str(error), code=getattr(error, "code", StateError.code))
