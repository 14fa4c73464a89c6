"""
The nights of canaries that a state remembers, whatever their source: a reviewer is the same in all.

    in a folder    one file per run in <state>/canaries
    in a database  one row per run in nightly_review_canaries.nights
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import orjson

from tasks.core.canary_facts import CanaryNight
from tasks.core.files import read_json
from tasks.core.locations import is_database
from tasks.core.state_folder import write_state
from tasks.upstream.drivers import database_tables

__all__ = ["read_nights", "remember_night"]

_KEPT = 90
"""Nights that are looked at, the last ones: what a reviewer was a season ago is no measure."""
_SQL = """
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
CREATE TABLE nights (run_id TEXT PRIMARY KEY, at TEXT NOT NULL, night TEXT NOT NULL);
INSERT INTO meta VALUES (1, 1)
"""
_TABLES = ("memory of canaries", "nightly_review_canaries", _SQL)
_UPSERT = """
INSERT INTO nights VALUES (?, ?, ?)
ON CONFLICT (run_id) DO UPDATE SET at = excluded.at, night = excluded.night
"""
_LAST = "SELECT night FROM nights ORDER BY at DESC, run_id DESC LIMIT ?"


def read_nights(state: str) -> list[CanaryNight]:
    """The last nights in their order; one that cannot be read is passed over.

    Raises:
        StateError: the database cannot be used.
    """
    if is_database(state):
        with database_tables(state, *_TABLES) as db:
            rows = db.execute(_LAST, [_KEPT]).fetchall()
        found = [orjson.loads(row[0]) for row in rows]
    else:
        # Their names, the run ids, begin with the time.
        files = sorted((Path(state) / "canaries").glob("*.json"), reverse=True)[:_KEPT]
        found = [night for night in map(read_json, files) if _is_night(night)]
    return sorted(found, key=lambda one: (one["at"], one["run_id"]))


def remember_night(state: str, night: CanaryNight) -> None:
    """Remember a night; a run that is repeated under its id replaces its own.

    Raises:
        StateError: the state cannot be used.
    """
    if is_database(state):
        with database_tables(state, *_TABLES) as db:
            db.execute(_UPSERT, [night["run_id"], night["at"], orjson.dumps(night).decode()])
        return
    path = Path(state) / "canaries" / f"{night['run_id']}.json"
    write_state(path, night)


def _is_night(found: Any) -> bool:
    wanted = CanaryNight.__annotations__.keys()
    return isinstance(found, dict) and wanted <= cast("dict[str, Any]", found).keys()
