"""
The ledger's SQLite file, opened in whatever state it is.

    fresh               nothing is known to have been used
    of an older boot    what it holds happened before the boot: that instant becomes the floor
    lost, torn, old     moved aside; what was used is unknown up to now: now becomes the floor
    newer               refused: it belongs to a newer version of the project

The floor is the instant before which every window counts as full. The lock file's note remembers
that a ledger existed, and under which boot.
"""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path

from tasks.core.closing import closed_on_error
from tasks.core.errors import StateError
from tasks.core.files import is_there, make_private
from tasks.upstream.quota import clock
from tasks.upstream.quota.locks import FileLock
from tasks.upstream.quota.statements import ledger_tables

__all__ = ["open_ledger"]

_VERSION = 1
_TABLES = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL,
    rev INTEGER NOT NULL, controls INTEGER NOT NULL, ticket INTEGER NOT NULL, floor REAL
);
CREATE TABLE owners (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, run TEXT NOT NULL,
    pid INTEGER NOT NULL, opened REAL NOT NULL, alive INTEGER NOT NULL
);
""" + ledger_tables(integer="INTEGER", real="REAL")


class _Unusable(Exception):
    """The file is not a ledger of this version."""


def open_ledger(path: Path, lock: FileLock) -> sqlite3.Connection:
    """A connection to a ledger of this version and boot. Call with `lock` held.

    Raises:
        StateError: the file cannot be made usable, or a newer version wrote it.
    """
    try:
        return _open(path, lock)
    except (OSError, sqlite3.Error) as error:
        msg = (
            f"{path}: the quota ledger cannot be opened ({error}): "
            "make the folder writable, free disk space, or set another state folder"
        )
        raise StateError(msg) from error


def _open(path: Path, lock: FileLock) -> sqlite3.Connection:
    boot, note = clock.boot_id(), lock.note
    known = is_there(path) and path.stat().st_size > 0
    db = _existing(path) if known else None
    if db is None:
        lost = known or bool(note)
        # A ledger of an earlier boot can only hold uses from before this boot.
        floor = _floor(same_boot=known or note == boot) if lost else -math.inf
        db = _create(path, boot, floor)
    with closed_on_error(db):
        _cross_boot(db, boot)
        if note != boot:
            lock.note = boot
    return db


def _existing(path: Path) -> sqlite3.Connection | None:
    """The ledger that is there; None: there was a file of no use, which is moved aside."""
    try:
        db = _connect(path)
        with closed_on_error(db):
            _check(db, path)
    except (_Unusable, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # the disk, not the file
        _move_aside(path)
        return None
    return db


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    with closed_on_error(db):
        db.execute("PRAGMA journal_mode = WAL")
        # A crash of the process loses nothing. After a crash of the machine another boot begins,
        # and all that the file could tell is older than that boot.
        db.execute("PRAGMA synchronous = OFF")
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > _VERSION:
        msg = f"{path} was written by a newer version: upgrade, or set another state folder"
        raise StateError(msg)
    if version != _VERSION:
        raise _Unusable
    if db.execute("SELECT count(*) FROM meta").fetchone()[0] != 1:
        raise _Unusable
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise _Unusable


def _create(path: Path, boot: str, floor: float) -> sqlite3.Connection:
    for name in (f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    db = _connect(path)
    # Tickets of a ledger that was lost must not come again.
    first = time.time_ns() // 1000
    row = (boot, first, None if math.isinf(floor) else floor)
    with closed_on_error(db):
        db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        db.execute("INSERT INTO meta VALUES (1, ?, 1, 1, ?, ?)", row)
    return db


def _cross_boot(db: sqlite3.Connection, boot: str) -> None:
    if db.execute("SELECT boot FROM meta").fetchone()[0] == boot:
        return
    floor, shift = clock.booted_at(), clock.now() - time.time()
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM uses")
    db.execute("UPDATE owners SET alive = 0")
    # Instants of another boot mean nothing; only a hold was also written as a date.
    db.execute("UPDATE lanes SET hold = hold_epoch + ?, pruned = NULL", (shift,))
    db.execute("UPDATE meta SET boot = ?, floor = ?", (boot, floor))
    db.execute("COMMIT")


def _floor(*, same_boot: bool) -> float:
    return clock.now() if same_boot else clock.booted_at()


def _move_aside(path: Path) -> None:
    stamp = time.time_ns()
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.unusable-{stamp}{suffix}"))
