"""The journal's file: one table, a stamped version, and errors that name the remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tasks.core.closing import closed_on_error
from tasks.core.errors import StateError

__all__ = ["VERSION", "damaged", "open_database"]

VERSION = 1
_APPLICATION = 0x4E524A31  # "NRJ1": tells a journal from any other SQLite file

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key     BLOB PRIMARY KEY,   -- sha256 of the question
    created REAL NOT NULL,      -- when it was stored, seconds since the epoch
    model   TEXT NOT NULL,
    body    BLOB NOT NULL       -- the reply: JSON under zlib
)
"""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledged reply survives a power cut, not only kill -9
    "PRAGMA journal_size_limit = 67108864",
)


def open_database(path: Path) -> sqlite3.Connection:
    """A connection to the journal, made if it is not there.

    Raises:
        StateError: not a journal, of another version, damaged, or not writable.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=30.0, isolation_level=None, check_same_thread=False
        )
        with closed_on_error(connection):
            _prepare(connection, path)
    except sqlite3.Error as error:
        raise damaged(path, error) from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    if version == 0 and _is_empty(connection):
        _create(connection)
    elif _pragma(connection, "application_id") != _APPLICATION:
        msg = f"{path} is an SQLite file of something else: point `state` to another folder"
        raise StateError(msg)
    elif version != VERSION:
        age = "a newer" if version > VERSION else "an older"
        msg = (
            f"{path} was written by {age} version of this program (journal version {version}, this "
            f"one reads {VERSION}): use that version, or move the file away and start anew"
        )
        raise StateError(msg)
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(_PRAGMAS[0])
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_SCHEMA)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def damaged(path: Path, error: Exception) -> StateError:
    """What went wrong with the file, as an error that names the remedy."""
    if "disk is full" in str(error) or "disk I/O" in str(error):
        remedy = "free space on its disk and start again; what was acknowledged is safe"
    elif "unable to open" in str(error) or "readonly" in str(error):
        remedy = "make its folder exist and be writable"
    elif "locked" in str(error):
        remedy = "another process holds it; wait for it or end it"
    else:
        remedy = f"run `nightly-review journal salvage {path}`, then start again"
    return StateError(f"journal {path} cannot be used ({error}): {remedy}")
