"""The batches' tables in a PostgreSQL database, beside those of journal and ledger."""

from __future__ import annotations

from tasks.upstream.batches.store import SCHEMA
from tasks.upstream.postgres import Database, Tables, open_session, persist

__all__ = ["BATCH_TABLES", "connect"]

_META = """
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
INSERT INTO meta VALUES (1, 1);
"""
BATCH_TABLES = Tables(
    owner="batches",
    schema="nightly_review_batches",
    version=1,
    sql=_META + SCHEMA,
)


def connect(url: str) -> Database:
    """A connection to the tables, which are made if they are missing; a database that is gone is waited for.

    Raises:
        StateError: it does not come back, or a newer version made the tables.
    """
    return persist(
        lambda: open_session(url, BATCH_TABLES, synchronous_commit="on"), give_up=lambda: False
    )
