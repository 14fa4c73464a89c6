"""The ledger's tables in PostgreSQL: the columns of schema.py, in a schema of their own."""

from __future__ import annotations

import time

from tasks.upstream.postgres import Tables

__all__ = ["SCHEMA", "tables"]

SCHEMA = "nightly_review_quota"

_VERSION = 1
_TABLES = """
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


def tables() -> Tables:
    """As they are made now: tickets of a ledger that was lost must not come again."""
    first = time.time_ns() // 1000
    row = f"INSERT INTO meta VALUES (1, {_VERSION}, 1, 1, {first}, NULL)"  # noqa: S608  (our own numbers)
    return Tables("quota ledger", SCHEMA, _VERSION, _TABLES + row)
