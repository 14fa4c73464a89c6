"""
The journal in a PostgreSQL database that the processes of several machines share.

Two connections per process: one reads and claims, one writes. A claim is an advisory lock of the
first one's session, so it goes when the process goes, and stays while that is stopped. When the
server ends a session, its claims go too: another process may then ask what this one is asking, and
at most the calls in flight are paid for twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tasks.core.errors import StateError
from tasks.core.locations import redacted
from tasks.upstream.journal.encoding import decodes
from tasks.upstream.journal.store import CHUNK, MODELS, ModelCount, chunks
from tasks.upstream.journal.writer import JournalRow
from tasks.upstream.postgres import Database, Tables, open_session, persist

__all__ = ["JOURNAL_TABLES", "PostgresJournalStore"]

JOURNAL_TABLES = Tables(
    owner="journal",
    schema="nightly_review_journal",
    version=1,
    sql="""
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
CREATE TABLE replies (
    key BYTEA PRIMARY KEY, created DOUBLE PRECISION NOT NULL, model TEXT NOT NULL,
    body BYTEA NOT NULL
);
ALTER TABLE replies ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO meta VALUES (1, 1)
""",
)
_UPSERT = """
INSERT INTO replies SELECT * FROM unnest(?::bytea[], ?::float8[], ?::text[], ?::bytea[])
ON CONFLICT (key) DO UPDATE SET created = excluded.created, model = excluded.model, body = excluded.body
"""
# Locked first: a reply that is just being stored anew under an old key must not go with the old one.
_EXPIRE = """
DELETE FROM replies WHERE key IN
(SELECT key FROM replies WHERE created < ? LIMIT ? FOR UPDATE SKIP LOCKED)
"""
_WALK = "SELECT key, body FROM replies WHERE key > ? ORDER BY key LIMIT ?"


class PostgresJournalStore:
    """A JournalStore in a database, whose tables are made if they are missing.

    `patient`: one that is gone now is waited for, as later on.
    """

    def __init__(self, url: str, *, patient: bool) -> None:
        self._asking = _Session(url, patient=patient)
        try:
            # Acknowledged is durable, whatever the server's default is.
            self._writing = _Session(url, patient=patient, synchronous_commit="on")
        except BaseException:
            self._asking.close()
            raise

    def bodies(self, keys: Sequence[bytes], not_before: float) -> Iterator[tuple[bytes, bytes]]:
        yield from self._select("key, body", keys, not_before)

    def write(self, rows: list[JournalRow]) -> None:
        # One statement takes each key once: the last row of a key is the one that counts. In the
        # order of keys, so that two processes with the same ones wait for each other and no more.
        last = {row[0]: (row[0], row[1], _text(row[2]), row[3]) for row in rows}
        ordered = sorted(last.values())
        self._writing.execute(_UPSERT, [list(column) for column in zip(*ordered, strict=True)])

    def delete(self, key: bytes) -> None:
        self._writing.execute("DELETE FROM replies WHERE key = ?", (key,))

    def expire(self, older_than: float, most: int) -> int:
        return int(self._writing.execute(_EXPIRE, (older_than, most)).rowcount)

    def compact(self) -> None:
        """Rewrite the table without what is free in it; runs wait meanwhile."""
        self._writing.execute("VACUUM FULL replies")

    def claim(self, key: str) -> bool:
        found = self._asking.execute("SELECT pg_try_advisory_lock(?::bigint)", (_number(key),))
        return bool(found.fetchone()[0])

    def release(self, key: str) -> None:
        self._asking.execute("SELECT pg_advisory_unlock(?::bigint)", (_number(key),))

    def models(self) -> list[ModelCount]:
        return list(self._asking.execute(MODELS).fetchall())

    def sizes(self) -> tuple[int, int]:
        found = self._asking.execute("SELECT pg_total_relation_size('replies')")
        return int(found.fetchone()[0]), 0

    def faults(self) -> Iterator[str]:
        last = b""
        while rows := self._asking.execute(_WALK, (last, CHUNK)).fetchall():
            yield from (
                f"reply {key.hex()} does not decode" for key, body in rows if not decodes(body)
            )
            last = rows[-1][0]

    def close(self) -> None:
        self._writing.close()
        self._asking.close()

    def _select(
        self, columns: str, keys: Sequence[bytes], not_before: float
    ) -> Iterator[tuple[Any, ...]]:
        sql = f"SELECT {columns} FROM replies WHERE created >= ? AND key = ANY(?)"  # noqa: S608  (only our own column names)
        for chunk in chunks(keys):
            yield from self._asking.execute(sql, (not_before, list(chunk))).fetchall()


class _Session:
    """A connection that threads take turns on; a lost one is made again, and the statement repeated.

    Every statement of the journal may be repeated: after it was done once more, all is the same.
    """

    def __init__(self, url: str, *, patient: bool, **settings: str) -> None:
        # Nobody but `compact` locks the table, which may take minutes.
        self._url, self._settings = url, {"lock_timeout": "10min", **settings}
        self._lock = threading.Lock()
        self._closed, self._failed = False, not patient
        self._db: Database | None = None
        self.execute("SELECT 1")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The cursor of one statement; while the database is gone, wait for it for a while.

        Raises:
            StateError: it does not come back, or the statement is refused.
        """
        with self._lock:
            try:
                cursor = persist(lambda: self._connected().execute(sql, parameters), self._is_final)
            except StateError:
                # Once is enough: nobody waits again before the database has answered again.
                self._failed = not self._is_usable
                raise
            self._failed = False
            return cursor

    def close(self) -> None:
        """Leave; the server drops what the session held. Safe to call twice."""
        self._closed = True  # who waits for the database holds the lock, and gives up
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    @property
    def _is_usable(self) -> bool:
        return self._db is not None and self._db.is_usable

    def _is_final(self) -> bool:
        return self._is_usable or self._closed or self._failed

    def _connected(self) -> Database:
        if self._closed:
            msg = f"the journal in {redacted(self._url)} was closed: open it again"
            raise StateError(msg)
        if self._db is None or not self._db.is_usable:
            self._db = None
            self._db = open_session(self._url, JOURNAL_TABLES, **self._settings)
        return self._db


def _number(key: str) -> int:
    # 62 bits and negative: the ledger's locks in the same database are positive.
    return -1 - (int(key[:16], 16) >> 2)


def _text(name: str) -> str:
    """What PostgreSQL takes as text; it is only for statistics."""
    return name.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
