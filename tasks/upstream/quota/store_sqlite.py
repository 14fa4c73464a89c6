"""
The ledger's rows in one SQLite file that all processes of a machine share.

One transaction at a time, flock first: SQLite's own waiting backs off by sleeping, which is slow
and unfair, and flock ends with its holder.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tasks.core.errors import StateError
from tasks.upstream.lock_waits import USUAL, Patience, execute_patiently
from tasks.upstream.quota.locks import FileLock, OwnerFile, is_alive
from tasks.upstream.quota.schema import open_ledger
from tasks.upstream.quota.store import Db, Meta

__all__ = ["SqliteQuotaStore", "reading_file"]

_META = "SELECT rev, controls, ticket, floor FROM meta"


class SqliteQuotaStore:
    """A QuotaStore whose clock is this machine's own; its owners are locked files.

    `hurry` says whether nobody wants to wait for another program's lock any longer.

    Raises:
        StateError: the file, its folder or its disk cannot be used.
    """

    ahead = behind = patience = 0.0

    def __init__(
        self,
        path: Path,
        hurry: Callable[[], bool] = lambda: False,
        patience: Patience = USUAL,
    ) -> None:
        self.path = path
        self._hurry = hurry
        self._patience = patience
        self.opened = 0
        self.stepped = False
        self.folder = path.with_name(path.name + ".owners")
        self._lock = FileLock(path.with_name(path.name + ".lock"), patience)
        self._inode = (0, 0)
        self._db: sqlite3.Connection | None = None
        self._file = OwnerFile(self.folder)
        try:
            with self._lock:
                self._open()
        except BaseException:
            self._file.close()
            self._close_db()
            self._lock.close()
            raise

    @property
    def session(self) -> str:
        return self._file.name

    @property
    def db(self) -> sqlite3.Connection:
        """The connection.

        Raises:
            StateError: the quota was closed.
        """
        if self._db is None:
            msg = f"{self.path}: the quota was closed; make a new one"
            raise StateError(msg)
        return self._db

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._is_same_file():
                if self._db is not None:
                    self._db.close()
                self._open()
            db = self.db
            execute_patiently(
                db,
                "BEGIN IMMEDIATE",
                path=self.path,
                patience=self._patience,
                hurried=self._hurry,
            )
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def read_meta(self, db: Db) -> Meta:
        meta: Meta = db.execute(_META).fetchone()
        return meta

    def peek(self) -> Meta | None:
        return self.read_meta(self.db) if self._is_same_file() else None

    def living(self, db: Db, names: Sequence[str]) -> set[str]:  # noqa: ARG002 - files tell
        return {name for name in names if is_alive(self.folder, name)}

    def revive(self) -> bool:
        if self._file.exists():
            return False
        self._file.close()
        self._file = OwnerFile(self.folder)
        return True

    def epoch(self) -> float:
        return time.time()

    def close(self) -> None:
        self._file.close()
        # A folder that is gone has nobody else's lock to wait for.
        with suppress(StateError), self._lock:
            self._close_db()
        self._close_db()
        self._lock.close()

    def _close_db(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> None:
        self._db = open_ledger(self.path, self._lock)
        self._db.execute(self._patience.pragma)
        stat = self.path.stat()
        self._inode = (stat.st_dev, stat.st_ino)
        self.opened += 1

    def _is_same_file(self) -> bool:
        try:
            stat = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return self._inode == (stat.st_dev, stat.st_ino)


@contextmanager
def reading_file(path: Path) -> Iterator[sqlite3.Connection]:
    """The file's rows, to read.

    Raises:
        sqlite3.Error: there is none, or it is busy or damaged.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=1)) as db:
        yield db
