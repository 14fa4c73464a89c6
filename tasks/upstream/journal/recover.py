"""What can still be read of a damaged journal, or of one whose log was cut, copied into a new one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from tasks.core.errors import StateError
from tasks.core.files import make_private
from tasks.upstream.journal.encoding import decodes
from tasks.upstream.journal.locks import Locks
from tasks.upstream.journal.log import WriteAheadLog
from tasks.upstream.journal.schema import open_database
from tasks.upstream.journal.writer import JournalRow

__all__ = ["check", "restore_recent", "salvage"]

_BLOCK = 256
_LEAST_ROW = 64  # bytes: a key, a time, a model and the shortest body
_READ = "SELECT key, created, model, body FROM replies WHERE rowid BETWEEN ? AND ?"


def check(path: Path) -> list[str]:
    """What is wrong with the file: SQLite's own findings and replies that do not decode."""
    try:
        with closing(open_database(path)) as connection:
            return _findings(connection)
    except (StateError, sqlite3.Error) as error:
        return [str(error)]


def _findings(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA integrity_check").fetchall()
    findings = [row[0] for row in rows if row[0] != "ok"]
    return findings or _bad_bodies(connection)


def _bad_bodies(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT key, body FROM replies")
    return [f"reply {key.hex()} does not decode" for key, body in rows if not decodes(body)]


def salvage(path: Path) -> tuple[int, Path]:
    """Put a new journal in the place of a damaged one; returns the replies kept and the old file.

    Raises:
        StateError: a run uses the journal, or the new file cannot be written.
    """
    locks = Locks(path, alone=True)
    try:
        return _salvage(path)
    finally:
        locks.close()


def _salvage(path: Path) -> tuple[int, Path]:
    fresh = path.with_name(path.name + ".salvaged")
    with closing(_readable(path)) as rows:
        kept = _fill(fresh, rows)
    return kept, _exchange(path, fresh)


def restore_recent(path: Path, log: WriteAheadLog, recent: Iterable[JournalRow]) -> int:
    """Put a new journal in the place of one whose log was cut while it was open.

    It has what the main file and the rest of the log have, and `recent`; returns how many replies.
    The caller keeps all other writers off.
    """
    copy, fresh = (path.with_name(f"{path.name}.{suffix}") for suffix in ("cut", "restored"))
    try:
        _copy(path, copy, log)
        with closing(_readable(copy)) as rows:
            kept = _fill(fresh, chain(rows, recent))
    finally:
        for one in (copy, *_beside(copy)):
            one.unlink(missing_ok=True)
    for one in _beside(path):  # before: a log would be read into whatever file it stands beside
        one.unlink(missing_ok=True)
    fresh.rename(path)
    return kept


def _copy(path: Path, copy: Path, log: WriteAheadLog) -> None:
    for one in (copy, *_beside(copy)):
        one.unlink(missing_ok=True)
    make_private(copy)
    shutil.copyfile(path, copy)
    if log.has_news:
        # An older rest would be written over newer pages of the main file.
        shutil.copyfile(_beside(path)[0], _beside(copy)[0])


def _fill(fresh: Path, rows: Iterable[JournalRow]) -> int:
    fresh.unlink(missing_ok=True)
    make_private(fresh)
    with closing(open_database(fresh)) as target:
        target.execute("BEGIN IMMEDIATE")
        for row in rows:
            target.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", row)
        kept = int(target.execute("SELECT count(*) FROM replies").fetchone()[0])
        target.execute("COMMIT")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return kept


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _exchange(path: Path, fresh: Path) -> Path:
    number = sum(1 for _ in path.parent.glob(f"{path.name}.damaged-*")) + 1
    aside = path.with_name(f"{path.name}.damaged-{number}")
    path.rename(aside)
    for one in _beside(path):
        one.unlink(missing_ok=True)
    fresh.rename(path)
    return aside


def _readable(path: Path) -> Generator[JournalRow]:
    try:
        source = sqlite3.connect(path, isolation_level=None)
    except sqlite3.Error:
        return
    with closing(source):
        last = _last(source, path) if _has_schema(source) else 0
        for first in range(1, last + 1, _BLOCK):
            yield from _block(source, first, first + _BLOCK - 1)


def _has_schema(source: sqlite3.Connection) -> bool:
    try:
        # Without it, SQLite reads nothing of a file that is shorter than its header says.
        source.execute("PRAGMA writable_schema = ON")
        source.execute("SELECT name FROM sqlite_master").fetchall()
    except sqlite3.Error:
        return False
    return True


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
