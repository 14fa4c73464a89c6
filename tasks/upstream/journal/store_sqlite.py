"""The journal in a SQLite file, with the kernel's byte-range locks beside it."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core.errors import StateError
from tasks.core.files import make_private, private_folder
from tasks.upstream.journal.locks import Locks
from tasks.upstream.journal.recover import check
from tasks.upstream.journal.schema import damaged, open_database
from tasks.upstream.journal.store import MODELS, ModelCount, chunks
from tasks.upstream.journal.writer import JournalRow

__all__ = ["SqliteJournalStore"]

_UPSERT = """
INSERT INTO replies (key, created, model, body) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET created = excluded.created, model = excluded.model, body = excluded.body
"""
_EXPIRE = "DELETE FROM replies WHERE rowid IN (SELECT rowid FROM replies WHERE created < ? LIMIT ?)"


_LOGGER = logging.getLogger(__name__)

PATIENCE = 600.0
"""Seconds that a lock of another program on the file is waited for."""


class SqliteJournalStore:
    """A JournalStore in a file, which is made if it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks = self._open_locks()
        with self._locks.writing():
            self.writing = open_database(path)
            self._file = _identity(path)
        # A stack of connections and no lock: SQLite lets the GIL go in each query, and who held a
        # lock meanwhile would keep all others waiting until he gets it back.
        self._readers: deque[sqlite3.Connection] = deque([open_database(path)])
        self._write_lock = threading.Lock()

    def bodies(self, keys: Sequence[bytes], not_before: float) -> Iterator[tuple[bytes, bytes]]:
        yield from self._select("key, body", keys, not_before)

    def write(self, rows: list[JournalRow]) -> None:
        with self._exclusive() as connection:
            self._begin(connection)
            try:
                connection.executemany(_UPSERT, rows)
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._check_same_file()

    def delete(self, key: bytes) -> None:
        self._change("DELETE FROM replies WHERE key = ?", (key,))

    def expire(self, older_than: float, most: int) -> int:
        return self._change(_EXPIRE, (older_than, most))

    def compact(self) -> None:
        """Rewrite the file without free pages. Needs as much free disk again while it works."""
        self._change("VACUUM")
        self._query("PRAGMA wal_checkpoint(TRUNCATE)")

    def claim(self, key: str) -> bool:
        return self._locks.claim(key)

    def release(self, key: str) -> None:
        self._locks.release(key)

    def models(self) -> list[ModelCount]:
        return self._query(MODELS)

    def sizes(self) -> tuple[int, int]:
        size = self.pragma("page_count") * self.pragma("page_size")
        log = self.path.with_name(self.path.name + "-wal")
        return size, log.stat().st_size if log.exists() else 0

    def faults(self) -> Iterator[str]:
        yield from check(self.path)

    def close(self) -> None:
        for connection in self._readers:
            connection.close()
        self.writing.close()
        self._locks.close()

    def pragma(self, name: str) -> int:
        """A number that SQLite knows about the file."""
        return int(self._query(f"PRAGMA {name}")[0][0])

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Wait for a lock of somebody else, such as a copy or a shell, for minutes: answers are paid."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                _LOGGER.warning(
                    "journal %s is locked by another program: replies wait for it", self.path
                )
            else:
                return

    def _check_same_file(self) -> None:
        if _identity(self.path) != self._file:
            msg = (
                f"journal {self.path} was deleted or replaced while a run was using it: put the file "
                "back if you have it, end all runs on this state, then start it again"
            )
            raise StateError(msg)

    def _open_locks(self) -> Locks:
        try:
            private_folder(self.path.parent)
            make_private(self.path)
            return Locks(self.path.with_name(self.path.name + ".lock"))
        except OSError as error:
            folder = self.path.parent
            msg = f"journal {self.path} cannot be used ({error.strerror}): make {folder} a writable folder"
            raise StateError(msg) from error

    def _select(
        self, columns: str, keys: Sequence[bytes], not_before: float
    ) -> Iterator[tuple[Any, ...]]:
        for chunk in chunks(keys):
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT {columns} FROM replies WHERE created >= ? AND key IN ({marks})"  # noqa: S608  (only our own column names and question marks)
            yield from self._query(sql, (not_before, *chunk))

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading() as connection:
                return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise damaged(self.path, error) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = open_database(self.path)
        try:
            yield connection
        finally:
            self._readers.append(connection)

    def _change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self._exclusive() as connection:
            return connection.execute(sql, parameters).rowcount

    @contextmanager
    def _exclusive(self) -> Iterator[sqlite3.Connection]:
        # The file lock keeps other processes out, the thread lock our own writer and maintenance.
        try:
            with self._write_lock, self._locks.writing():
                yield self.writing
        except sqlite3.Error as error:
            raise damaged(self.path, error) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None: there is no file."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
