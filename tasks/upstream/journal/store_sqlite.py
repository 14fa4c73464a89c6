"""The journal in a SQLite file, with the kernel's byte-range locks beside it."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from tasks.core.closing import closed_on_error
from tasks.core.errors import StateError
from tasks.core.files import is_there, make_private, private_folder
from tasks.upstream.journal.locks import Locks
from tasks.upstream.journal.log import LogWatch, RecentRows
from tasks.upstream.journal.recover import check, restore_recent
from tasks.upstream.journal.schema import damaged, open_database
from tasks.upstream.journal.store import MODELS, ModelCount, chunks
from tasks.upstream.journal.writer import JournalRow
from tasks.upstream.lock_waits import USUAL, Patience, execute_patiently

__all__ = ["SqliteJournalStore"]

_INTO = "INSERT INTO replies (key, created, model, body) VALUES "
_ANEW = """
ON CONFLICT (key) DO UPDATE SET created = excluded.created, model = excluded.model, body = excluded.body
"""
_TOGETHER = 64
"""Rows per statement."""
_EXPIRE = "DELETE FROM replies WHERE rowid IN (SELECT rowid FROM replies WHERE created < ? LIMIT ?)"


# Rows of another file: what is newer there stays.
_MERGE = f"{_INTO}(?, ?, ?, ?){_ANEW}WHERE excluded.created > created"
_ALL = "SELECT key, created, model, body FROM replies"
_CARRIED = (
    "journal %s was deleted or replaced while a run was using it: %d answers were written again into "
    "the file that is there now"
)
_RESTORED = (
    "the log of journal %s was cut while a run was using it: the journal was written anew from the rest "
    "and from what this process knows, %d answers in all"
)

_LOGGER = logging.getLogger(__name__)


class SqliteJournalStore:
    """A JournalStore in a file, which is made if it is not there.

    A file that is deleted or replaced while this process has it open goes on existing for it: what
    it holds is carried over into the file that is there then. One whose log is cut is written anew
    before anything more is written into it.
    """

    def __init__(self, path: Path, patience: Patience = USUAL) -> None:
        self.path = path
        self._patience = patience
        self._locks = self._open_locks()
        with closed_on_error(self._locks):
            with self._locks.writing():
                self.writing = self._open_writing()
                self._files = self._identities()
            # A stack of connections and no lock: SQLite lets the GIL go in each query, and who held
            # a lock meanwhile would keep all others waiting until he gets it back.
            with closed_on_error(self.writing):
                self._readers: deque[sqlite3.Connection] = deque([open_database(path)])
        self._write_lock = threading.Lock()
        self._has_written = False
        self._log = LogWatch(path)
        self._recent = RecentRows()

    def bodies(self, keys: Sequence[bytes], not_before: float) -> Iterator[tuple[bytes, bytes]]:
        yield from self._select("key, body", keys, not_before)

    def write(self, rows: list[JournalRow]) -> None:
        self._has_written = True
        self._follow_file()
        with self._exclusive() as connection:
            self._execute(connection, "BEGIN IMMEDIATE")
            try:
                for some in chunks(rows, _TOGETHER):
                    connection.execute(_upsert(len(some)), list(chain.from_iterable(some)))
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._recent.add(rows, self._log.index())
        self._follow_file()

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
        try:
            if self._has_written:
                self._follow_file()
                with self._exclusive():
                    pass  # which looks at the log
        finally:
            for connection in self._readers:
                connection.close()
            self.writing.close()
            self._log.close()
            self._locks.close()

    def pragma(self, name: str) -> int:
        """A number that SQLite knows about the file."""
        return int(self._query(f"PRAGMA {name}")[0][0])

    def _execute(
        self, connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()
    ) -> sqlite3.Cursor:
        return execute_patiently(
            connection, sql, parameters, path=self.path, patience=self._patience
        )

    def _open_writing(self) -> sqlite3.Connection:
        """Make the file, with the right to write; a log whose file is gone belongs to nothing."""
        if not is_there(self.path):
            for name in _beside(self.path):
                name.unlink(missing_ok=True)
        make_private(self.path)
        connection = open_database(self.path)
        with closed_on_error(connection):
            connection.execute(self._patience.pragma)
        return connection

    def _identities(self) -> list[tuple[int, int] | None]:
        """Of the file, its log and the log's index, which are the same until it is closed."""
        return [_identity(path) for path in (self.path, *_beside(self.path))]

    def _is_in_place(self) -> bool:
        return _identity(self.path) == self._files[0] and self._locks.is_in_place()

    def _follow_file(self) -> None:
        """Carry everything over into the file that is there now, if it is another one."""
        if self._is_in_place():
            return
        try:
            with self._write_lock:
                if not self._is_in_place():
                    self._carry_over()
        except (sqlite3.Error, OSError, StateError) as error:
            msg = (
                f"journal {self.path} was deleted or replaced while a run was using it, and the file "
                f"that is there now cannot take its answers ({error}): put the file back if you have "
                "it, end all runs on this state, then start again"
            )
            raise StateError(msg) from error

    def _carry_over(self) -> None:
        old_locks, locks = self._locks, self._open_locks()
        with closed_on_error(locks):
            with locks.writing():
                writing = self._open_carried()
            self._switch(writing)
        self._locks = locks
        old_locks.close()

    def _open_carried(self) -> sqlite3.Connection:
        """The file that is there now, with what the one before it held."""
        moved = _identity(self.path) != self._files[0]
        if moved:
            self._drop_old_log()
        writing = self._open_writing()
        with closed_on_error(writing):
            if moved:
                _LOGGER.warning(_CARRIED, self.path, self._copy(self.writing, writing))
        return writing

    def _switch(self, writing: sqlite3.Connection) -> None:
        """Go on in the file that is there now."""
        with closed_on_error(writing):
            readers = deque([open_database(self.path)])
        old, old_readers = self.writing, self._readers
        self.writing, self._files = writing, self._identities()
        self._readers = readers
        # Readers at work close theirs when they see that the stack is another one.
        while old_readers:
            old_readers.pop().close()
        old.close()

    def _mend_log(self) -> bool:
        """Write the journal anew if its log was cut; False: it was not. Others are kept off."""
        log = self._log.look()
        if not log.is_cut or not self._is_in_place():
            return False
        _LOGGER.warning(_RESTORED, self.path, restore_recent(self.path, log, self._recent))
        self._switch(self._open_writing())
        return True

    def _look_at_log(self) -> bool:
        """After an error: whether there is a reason to try again."""
        self._follow_file()
        with self._write_lock, self._locks.writing():
            return self._mend_log()

    def _drop_old_log(self) -> None:
        """SQLite would read the log of the file that is gone into the one that is there now."""
        for path, earlier in zip(_beside(self.path), self._files[1:], strict=True):
            if earlier is not None and _identity(path) == earlier:
                path.unlink()

    def _copy(self, old: sqlite3.Connection, new: sqlite3.Connection) -> int:
        try:
            return self._merge(new, old.execute(_ALL))
        except sqlite3.DatabaseError:
            # Its log was cut, and whoever saw that has written the file that is there now.
            return self._merge(new, iter(self._recent))

    def _merge(self, new: sqlite3.Connection, rows: Iterator[JournalRow]) -> int:
        self._execute(new, "BEGIN IMMEDIATE")
        before = new.total_changes
        try:
            new.executemany(_MERGE, rows)
            new.execute("COMMIT")
        except BaseException:
            if new.in_transaction:
                new.execute("ROLLBACK")
            raise
        return new.total_changes - before

    def _open_locks(self) -> Locks:
        try:
            private_folder(self.path.parent)
            return Locks(self.path, self._patience)
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
            return self._fetch(sql, parameters)
        except sqlite3.DatabaseError as error:
            if self._look_at_log():
                return self._fetch(sql, parameters)
            raise damaged(self.path, error) from error

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(sql, parameters).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        readers = self._readers
        try:
            connection = readers.pop()
        except IndexError:
            if _identity(self.path) != self._files[0]:
                self._follow_file()
                readers = self._readers
            connection = open_database(self.path)
        try:
            yield connection
        finally:
            if readers is self._readers:
                readers.append(connection)
            else:
                connection.close()

    def _change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self._exclusive() as connection:
            return self._execute(connection, sql, parameters).rowcount

    @contextmanager
    def _exclusive(self) -> Iterator[sqlite3.Connection]:
        # The file lock keeps other processes out, the thread lock our own writer and maintenance.
        try:
            with self._write_lock, self._locks.writing():
                self._mend_log()
                yield self.writing
        except sqlite3.Error as error:
            raise damaged(self.path, error) from error


@cache
def _upsert(rows: int) -> str:
    """The statement for so many rows: each statement lets Python's lock go several times."""
    return _INTO + ", ".join(["(?, ?, ?, ?)"] * rows) + _ANEW


def _beside(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm")]


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None: there is no file."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_dev, stat.st_ino
