"""The ledger's tables in PostgreSQL: the columns of schema.py, in a schema of their own."""

from __future__ import annotations

import time

from tasks.core.errors import StateError
from tasks.upstream.quota.postgres import Database
from tasks.upstream.quota.store import name_of

__all__ = ["SCHEMA", "prepare"]

SCHEMA = "nightly_review_quota"

_VERSION = 1
_MAKING = 7_021_861_225_114_801_153
"""Advisory lock of those who make the tables; any fixed number."""
_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL,
    rev BIGINT NOT NULL, controls BIGINT NOT NULL, ticket BIGINT NOT NULL, floor DOUBLE PRECISION
) WITH (fillfactor = 10);
CREATE TABLE owners (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL, run TEXT NOT NULL,
    pid BIGINT NOT NULL, opened DOUBLE PRECISION NOT NULL, alive INTEGER NOT NULL
);
CREATE TABLE uses (
    ticket BIGINT PRIMARY KEY, rev BIGINT NOT NULL, alias TEXT NOT NULL, owner BIGINT NOT NULL,
    state INTEGER NOT NULL, at DOUBLE PRECISION NOT NULL, sent DOUBLE PRECISION,
    tokens BIGINT NOT NULL
);
CREATE INDEX uses_rev ON uses (rev);
CREATE INDEX uses_open ON uses (owner) WHERE state < 3;
CREATE TABLE lanes (
    alias TEXT PRIMARY KEY, hold DOUBLE PRECISION NOT NULL, hold_epoch DOUBLE PRECISION NOT NULL,
    keep DOUBLE PRECISION NOT NULL, pruned DOUBLE PRECISION
);
CREATE TABLE controls (
    run TEXT NOT NULL, alias TEXT NOT NULL, quota BIGINT, told BIGINT, occupied BIGINT NOT NULL,
    reason TEXT, paused INTEGER NOT NULL, margin DOUBLE PRECISION NOT NULL, highest BIGINT NOT NULL,
    PRIMARY KEY (run, alias)
);
CREATE TABLE counts (
    run TEXT NOT NULL, alias TEXT NOT NULL, sends BIGINT NOT NULL, refunds BIGINT NOT NULL,
    forfeits BIGINT NOT NULL, rate_limited BIGINT NOT NULL, waited DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (run, alias)
);
CREATE TABLE panel (id INTEGER PRIMARY KEY CHECK (id = 1), entries TEXT NOT NULL);
"""


def prepare(db: Database, url: str) -> None:
    """Make the tables where they are missing.

    Raises:
        StateError: the user may not, or a newer version made them.
    """
    db.execute("BEGIN")
    db.execute("SELECT pg_advisory_xact_lock(?)", (_MAKING,))
    if db.execute("SELECT 1 WHERE to_regclass(?) IS NULL", (f"{SCHEMA}.meta",)).fetchone():
        db.execute(_TABLES)
        # Tickets of a ledger that was lost must not come again.
        first = time.time_ns() // 1000
        db.execute("INSERT INTO meta VALUES (1, ?, 1, 1, ?, NULL)", (_VERSION, first))
    found = db.execute("SELECT version FROM meta").fetchone()
    db.execute("COMMIT")
    if found is None or found[0] != _VERSION:
        msg = (
            f"{name_of(url)}: the quota ledger was written by a newer version: "
            "upgrade, or set another database as state"
        )
        raise StateError(msg)
