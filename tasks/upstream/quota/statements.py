"""What the ledger asks of its store, in SQL that SQLite and PostgreSQL both take."""

from __future__ import annotations

__all__ = [
    "CONTROL",
    "COUNT",
    "FORGIVE",
    "HOLD",
    "KEY_LOG",
    "NOTE",
    "NOTES",
    "PUT",
    "RESERVATIONS",
    "ledger_tables",
]

PUT = (
    "INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (ticket) DO UPDATE SET "
    "rev = excluded.rev, alias = excluded.alias, state = excluded.state, at = excluded.at, "
    "sent = excluded.sent, tokens = excluded.tokens, owner = excluded.owner"
)
RESERVATIONS = "SELECT ticket, alias, owner, state, at, sent, tokens FROM uses "
KEY_LOG = (
    "INSERT INTO lanes VALUES (?, -1e18, -1e18, ?, NULL) ON CONFLICT (alias) DO UPDATE "
    "SET keep = CASE WHEN excluded.keep > lanes.keep THEN excluded.keep ELSE lanes.keep END"
)
CONTROL = (
    "INSERT INTO controls (run, alias, quota, told, occupied, reason, paused, margin, highest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, alias) DO UPDATE SET "
    "quota = excluded.quota, told = excluded.told, occupied = excluded.occupied, "
    "reason = excluded.reason, paused = excluded.paused, margin = excluded.margin, "
    "highest = excluded.highest"
)
COUNT = (
    "INSERT INTO counts VALUES (?, ?, ?, 0, 0, ?, ?) ON CONFLICT (run, alias) DO UPDATE SET "
    "sends = counts.sends + excluded.sends, waited = counts.waited + excluded.waited, "
    "rate_limited = counts.rate_limited + excluded.rate_limited"
)
FORGIVE = (
    "UPDATE controls SET quota = NULL, told = NULL, occupied = 0, reason = NULL, paused = 0 "
    "WHERE run = ?"
)


HOLD = "UPDATE lanes SET hold = ?, hold_epoch = ? WHERE alias = ?"
NOTES = "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
NOTE = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_TABLES = """
CREATE TABLE uses (
    ticket {integer} PRIMARY KEY, rev {integer} NOT NULL, alias TEXT NOT NULL,
    owner {integer} NOT NULL, state {integer} NOT NULL, at {real} NOT NULL, sent {real},
    tokens {integer} NOT NULL
);
CREATE INDEX uses_rev ON uses (rev);
CREATE INDEX uses_open ON uses (owner) WHERE state < 3;
CREATE TABLE lanes (
    alias TEXT PRIMARY KEY, hold {real} NOT NULL, hold_epoch {real} NOT NULL, keep {real} NOT NULL,
    pruned {real}
);
CREATE TABLE controls (
    run TEXT NOT NULL, alias TEXT NOT NULL, quota {integer}, told {integer},
    occupied {integer} NOT NULL, reason TEXT, paused {integer} NOT NULL, margin {real} NOT NULL,
    highest {integer} NOT NULL, PRIMARY KEY (run, alias)
);
CREATE TABLE counts (
    run TEXT NOT NULL, alias TEXT NOT NULL, sends {integer} NOT NULL, refunds {integer} NOT NULL,
    forfeits {integer} NOT NULL, rate_limited {integer} NOT NULL, waited {real} NOT NULL,
    PRIMARY KEY (run, alias)
);
"""


def ledger_tables(*, integer: str, real: str) -> str:
    """Statements that make the tables which both stores have, with the store's names of the two types."""
    return _TABLES.format(integer=integer, real=real)
