"""What can still be read of a damaged journal, copied into a new one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tasks.core.errors import StateError
from tasks.upstream.journal.encoding import decodes
from tasks.upstream.journal.schema import open_database
from tasks.upstream.journal.writer import JournalRow

__all__ = ["check", "salvage"]

_BLOCK = 256
_LEAST_ROW = 64  # bytes: a key, a time, a model and the shortest body
_READ = "SELECT key, created, model, body FROM replies WHERE rowid BETWEEN ? AND ?"


def check(path: Path) -> list[str]:
    """What is wrong with the file: SQLite's own findings and replies that do not decode."""
    try:
        connection = open_database(path)
        rows = connection.execute("PRAGMA integrity_check").fetchall()
    except (StateError, sqlite3.Error) as error:
        return [str(error)]
    findings = [row[0] for row in rows if row[0] != "ok"]
    return findings or _bad_bodies(connection)


def _bad_bodies(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT key, body FROM replies")
    return [f"reply {key.hex()} does not decode" for key, body in rows if not decodes(body)]


def salvage(path: Path) -> tuple[int, Path]:
    """Put a new journal in the place of a damaged one; returns the replies kept and the old file.

    Must not run while a run uses the journal.

    Raises:
        StateError: the new file cannot be written.
    """
    fresh = path.with_name(path.name + ".salvaged")
    fresh.unlink(missing_ok=True)
    target = open_database(fresh)
    kept = 0
    with target:
        for row in _readable(path):
            target.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", row)
            kept += 1
    target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    target.close()
    return kept, _exchange(path, fresh)


def _exchange(path: Path, fresh: Path) -> Path:
    number = sum(1 for _ in path.parent.glob(f"{path.name}.damaged-*")) + 1
    aside = path.with_name(f"{path.name}.damaged-{number}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    fresh.rename(path)
    return aside


def _readable(path: Path) -> Iterator[JournalRow]:
    try:
        source = sqlite3.connect(path, isolation_level=None)
        # Without it, SQLite reads nothing of a file that is shorter than its header says.
        source.execute("PRAGMA writable_schema = ON")
        source.execute("SELECT name FROM sqlite_master").fetchall()
    except sqlite3.Error:
        return
    for first in range(1, _last(source, path) + 1, _BLOCK):
        yield from _block(source, first, first + _BLOCK - 1)
    source.close()


def _last(source: sqlite3.Connection, path: Path) -> int:
    try:
        return int(source.execute("SELECT coalesce(max(rowid), 0) FROM replies").fetchone()[0])
    except sqlite3.Error:
        # The newest page is gone: no more rows than this fit into the file.
        return path.stat().st_size // _LEAST_ROW


def _block(source: sqlite3.Connection, first: int, last: int) -> Iterator[JournalRow]:
    try:
        rows = source.execute(_READ, (first, last)).fetchall()
    except sqlite3.Error:
        if first == last:
            return
        middle = (first + last) // 2
        yield from _block(source, first, middle)
        yield from _block(source, middle + 1, last)
    else:
        yield from (row for row in rows if decodes(row[3]))
