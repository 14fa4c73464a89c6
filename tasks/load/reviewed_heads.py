"""
The heads up to which repositories are reviewed: what `git:PATH@since=last` starts from.

    in a folder    one file per key in <state>/reviewed_heads, replaced whole
    in a database  one row per key in nightly_review_heads.heads

A key is a source with the settings that it is reviewed by. There is one writer in practice, the run
that ends; of two at the same time the later one wins.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.core.errors import StateError
from tasks.core.files import read_json
from tasks.core.locations import is_database
from tasks.core.state_folder import write_state
from tasks.upstream.drivers import database_tables

__all__ = ["ReviewedHead", "read_head", "write_head"]

_SQL = """
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
CREATE TABLE heads (key TEXT PRIMARY KEY, commit TEXT NOT NULL, run_id TEXT NOT NULL, at TEXT NOT NULL);
INSERT INTO meta VALUES (1, 1)
"""
_TABLES = ("memory of reviewed heads", "nightly_review_heads", _SQL)
_UPSERT = """
INSERT INTO heads VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET commit = excluded.commit, run_id = excluded.run_id, at = excluded.at
"""


@dataclass(frozen=True, slots=True)
class ReviewedHead:
    """A commit up to which a source is reviewed."""

    commit: str
    """Its full id; of the empty tree where the first run began with the history."""
    run_id: str
    """The run that set it."""
    at: str
    """When that run read the head of the repository; ISO 8601, UTC."""


def read_head(state: str, key: str) -> ReviewedHead | None:
    """The head remembered under a key, None when there is none; makes nothing in a folder.

    Raises:
        StateError: the state cannot be used, or what it remembers is damaged.
    """
    if is_database(state):
        with database_tables(state, *_TABLES) as db:
            row = db.execute("SELECT commit, run_id, at FROM heads WHERE key = ?", [key]).fetchone()
        return None if row is None else ReviewedHead(*row)
    path = _path(state, key)
    if not path.exists():
        return None
    stored = read_json(path)
    try:
        return ReviewedHead(stored["commit"], stored["run_id"], stored["at"])
    except (TypeError, KeyError):
        msg = (
            f"{path} is damaged: review BASE..HEAD from the last head by hand, then remove the file"
        )
        raise StateError(msg) from None


def write_head(state: str, key: str, head: ReviewedHead) -> None:
    """Remember a head in place of an earlier one; returns when it is durable.

    Raises:
        StateError: the state cannot be used.
    """
    if is_database(state):
        with database_tables(state, *_TABLES) as db:
            db.execute(_UPSERT, [key, head.commit, head.run_id, head.at])
        return
    path = _path(state, key)
    write_state(path, {"key": key, **asdict(head)}, indent=True)


def _path(state: str, key: str) -> Path:
    return Path(state) / "reviewed_heads" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
