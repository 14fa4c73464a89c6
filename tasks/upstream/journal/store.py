"""The journal: question -> reply, on disk before a call counts as done, shared by all processes."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.core.calls import Reply
from tasks.core.errors import StateError
from tasks.upstream.journal.locks import Locks
from tasks.upstream.journal.schema import damaged, decode, encode, open_database
from tasks.upstream.journal.writer import GroupWriter, Row

__all__ = ["Journal"]

_LOGGER = logging.getLogger(__name__)
_CHUNK = 500  # keys per query; SQLite takes a bounded number of parameters
_EXPIRE_CHUNK = 2000  # rows deleted per transaction, so that running jobs get their turn

_UPSERT = """
INSERT INTO replies (key, created, model, body) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET created = excluded.created, model = excluded.model, body = excluded.body
"""
_SELECT = "SELECT body FROM replies WHERE key = ? AND created >= ?"


class Journal:
    """
    All replies ever paid for. Threads share one object; each process opens its own.

    Keys are `Request.key`; times are seconds since the epoch. Failed calls are not in it, so the next
    run asks them again.

    Raises:
        StateError: the file cannot be used; the message names the remedy.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._pid = os.getpid()
        self._locks = self._open_locks()
        with self._locks.writing():
            self._writing = open_database(self.path)
        # A stack of connections and no lock: SQLite lets the GIL go in each query, and who held a
        # lock meanwhile would keep all others waiting until he gets it back.
        self._readers: deque[sqlite3.Connection] = deque([open_database(self.path)])
        self._write_lock = threading.Lock()
        self._writer = GroupWriter(self._commit)

    def get(self, key: str, *, not_before: float | None = None) -> Reply | None:
        """The stored reply, or None; one stored before `not_before` is as if it were not there."""
        rows = self._query(_SELECT, (bytes.fromhex(key), not_before or 0.0))
        return self._decode(key, rows[0][0]) if rows else None

    def get_many(self, keys: Iterable[str], *, not_before: float | None = None) -> dict[str, Reply]:
        """Those of `keys` that are answered, with their replies."""
        found = self._select_many("key, body", keys, not_before)
        replies = ((key.hex(), self._decode(key.hex(), body)) for key, body in found)
        return {key: reply for key, reply in replies if reply is not None}

    def known(self, keys: Iterable[str], *, not_before: float | None = None) -> set[str]:
        """Those of `keys` that are answered; cheaper than reading the replies."""
        return {key.hex() for (key,) in self._select_many("key", keys, not_before)}

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply, in place of an older one; returns when it is durable."""
        self._check_process()
        self._writer.put((bytes.fromhex(key), time.time(), reply.model, encode(reply)))

    def forget(self, key: str) -> None:
        """Remove a reply that was of no use, so that the question is asked again."""
        self._write("DELETE FROM replies WHERE key = ?", (bytes.fromhex(key),))

    def claim(self, key: str) -> bool:
        """Whether this process may ask the question now; False: another live process does.

        A claim ends with `release` or with its process. Within a process the caller must see to it
        that one thread at a time claims a key.
        """
        self._check_process()
        return self._locks.claim(key)

    def release(self, key: str) -> None:
        """Give a claim back."""
        self._locks.release(key)

    def expire(self, older_than: float) -> int:
        """Delete replies stored before that instant; returns how many. The file shrinks by `compact`."""
        deleted = 0
        while count := self._write(
            "DELETE FROM replies WHERE rowid IN "
            "(SELECT rowid FROM replies WHERE created < ? LIMIT ?)",
            (older_than, _EXPIRE_CHUNK),
        ):
            deleted += count
        return deleted

    def compact(self) -> None:
        """Rewrite the file without free pages. Needs as much free disk again while it works."""
        self._write("VACUUM")
        self._query("PRAGMA wal_checkpoint(TRUNCATE)")

    def statistics(self) -> dict[str, Any]:
        """Rows, bytes of the file and per reply, oldest and newest, rows per model. Reads the whole file.

        `wal_bytes` are on disk beside it until SQLite has copied them over; they stay below 64 MB.
        """
        per_model = self._query(
            "SELECT model, count(*), min(created), max(created) FROM replies GROUP BY model"
        )
        rows = sum(row[1] for row in per_model)
        size = self._pragma("page_count") * self._pragma("page_size")
        log = self.path.with_name(self.path.name + "-wal")
        return {
            "rows": rows,
            "bytes": size,
            "wal_bytes": log.stat().st_size if log.exists() else 0,
            "bytes_per_reply": round(size / rows, 1) if rows else None,
            "oldest": min((row[2] for row in per_model), default=None),
            "newest": max((row[3] for row in per_model), default=None),
            "models": {row[0]: row[1] for row in per_model},
            "commits": self._writer.batches,
            "written": self._writer.rows,
        }

    def close(self) -> None:
        """Write what waits and let go of the files. Safe to call twice."""
        if self._pid != os.getpid() or self._writer.closed:
            return
        self._writer.close()
        for connection in self._readers:
            connection.close()
        self._writing.close()
        self._locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({str(self.path)!r})"

    def _pragma(self, name: str) -> int:
        return int(self._query(f"PRAGMA {name}")[0][0])

    def _open_locks(self) -> Locks:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return Locks(self.path.with_name(self.path.name + ".lock"))
        except OSError as error:
            folder = self.path.parent
            msg = f"journal {self.path} cannot be used ({error.strerror}): make {folder} a writable folder"
            raise StateError(msg) from error

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            msg = f"{self!r} was opened before a fork: open a journal in each process"
            raise StateError(msg)

    def _decode(self, key: str, body: bytes) -> Reply | None:
        try:
            return decode(body)
        except (ValueError, TypeError, KeyError, zlib.error):
            # One bad row must not end a night: it is asked again and then overwritten.
            _LOGGER.warning(
                "journal %s: the reply under %s is damaged; asking again", self.path, key
            )
            return None

    def _select_many(
        self, columns: str, keys: Iterable[str], not_before: float | None
    ) -> Iterator[tuple[Any, ...]]:
        blobs = [bytes.fromhex(key) for key in keys]
        for start in range(0, len(blobs), _CHUNK):
            chunk = blobs[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT {columns} FROM replies WHERE created >= ? AND key IN ({marks})"  # noqa: S608  (only our own column names and question marks)
            yield from self._query(sql, (not_before or 0.0, *chunk))

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading() as connection:
                return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise damaged(self.path, error) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        self._check_process()
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = open_database(self.path)
        try:
            yield connection
        finally:
            self._readers.append(connection)

    def _write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self._check_process()
        with self._exclusive() as connection:
            return connection.execute(sql, parameters).rowcount

    def _commit(self, rows: list[Row]) -> None:
        with self._exclusive() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(_UPSERT, rows)
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _exclusive(self) -> Iterator[sqlite3.Connection]:
        # The file lock keeps other processes out, the thread lock our own writer and maintenance.
        try:
            with self._write_lock, self._locks.writing():
                yield self._writing
        except sqlite3.Error as error:
            raise damaged(self.path, error) from error
