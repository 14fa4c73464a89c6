"""
The ledger's rows in a PostgreSQL database that the processes of several machines share.

Exclusive access is a lock on the one row of `meta`, for the length of a transaction. The server
ends a session that stays idle inside one for two seconds, so a holder that was stopped, or whose
machine is gone, is not in the others' way; what it had not committed did not happen.

Who lives is told by a second connection, which is never inside a transaction and holds an advisory
lock under the owner's name: it goes when the process goes, and stays while that is stopped, so that
nobody takes a slot whose caller may still send. An owner that is missing may be connecting again,
after the server was restarted; it counts as dead when it has been missing for `patience` seconds.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from tasks.core.errors import StateError
from tasks.upstream import postgres
from tasks.upstream.postgres import Database, Tables, persist
from tasks.upstream.quota import clock
from tasks.upstream.quota.server_clock import ServerClock
from tasks.upstream.quota.statements import ledger_tables
from tasks.upstream.quota.store import Db, Meta

__all__ = ["PostgresQuotaStore", "open_ledger_session", "reading_database"]

_SAMPLES = 5
_META = (
    "SELECT rev, controls, ticket, floor, "
    "extract(epoch FROM clock_timestamp())::double precision FROM meta"
)
_LIVING = (
    "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' "
    "AND objsubid = 1 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

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
CREATE TABLE panel (id INTEGER PRIMARY KEY CHECK (id = 1), entries TEXT NOT NULL);
"""


class PostgresQuotaStore:
    """A QuotaStore whose clock is the server's.

    `hurry` says whether nobody wants to wait for a database that is gone.

    Raises:
        StateError: it cannot be reached or used, or a newer version made its tables.
    """

    patience = 1.5

    def __init__(self, url: str, hurry: Callable[[], bool]) -> None:
        self._url = url
        self._hurry = hurry
        self._clock = ServerClock()
        self._work: Database | None = None
        self._session: Database | None = None
        self._closed = self._failed = False
        self.opened = 0
        self.session = ""
        self.stepped = False
        try:
            self._connect()
            for _ in range(_SAMPLES):
                self.peek()
        except BaseException:
            self.close()
            raise

    @property
    def ahead(self) -> float:
        return self._clock.high

    @property
    def behind(self) -> float:
        return self._clock.low

    @contextmanager
    def exclusive(self) -> Iterator[Database]:
        db = self._connected()
        try:
            db.execute("BEGIN; SELECT id FROM meta FOR UPDATE")
            yield db
            db.execute("COMMIT")
        except BaseException:
            self._roll_back(db)
            raise

    def read_meta(self, db: Db) -> Meta:
        before = clock.now()
        *meta, server = db.execute(_META).fetchone()
        self.stepped |= self._clock.learn(before, server, clock.now())
        rev, controls, ticket, floor = meta
        return rev, controls, ticket, floor

    def peek(self) -> Meta | None:
        # On the connection that nothing else would miss before others take us for dead.
        if self._session is None:
            return None
        try:
            meta = self.read_meta(self._session)
        except StateError:
            self._drop_session()
            return None
        return None if self.stepped else meta

    def living(self, db: Db, names: Sequence[str]) -> set[str]:
        return {str(key) for (key,) in db.execute(_LIVING)}.intersection(names)

    def revive(self) -> bool:
        if self._is_alive():
            return False
        self._begin_session()
        return True

    def epoch(self) -> float:
        return clock.now() + self.ahead

    def close(self) -> None:
        self._closed = True
        self._drop_session()
        if self._work is not None:
            self._work.close()
            self._work = None

    # -- inside ------------------------------------------------------------------------------

    def _connected(self) -> Database:
        """The connection to work on; while the database is gone, wait for it for a while."""
        try:
            work = persist(self._connect, lambda: self._failed or self._hurry())
        except StateError:
            self._failed = True  # nobody waits again before it answers again
            raise
        self._failed = False
        return work

    def _connect(self) -> Database:
        if self._closed:
            msg = "the quota was closed; make a new one"
            raise StateError(msg)
        work = self._work
        if work is None or not work.is_usable:
            work = self._work = open_ledger_session(
                self._url, idle_in_transaction_session_timeout="2s"
            )
            if not self._is_alive():
                self._begin_session()
        elif self._session is None:
            self._begin_session()
        return work

    def _begin_session(self) -> None:
        self._drop_session()
        session, key = Database(self._url, search_path=SCHEMA), secrets.randbits(62)
        session.execute("SELECT pg_advisory_lock(?::bigint)", (key,))
        self._session, self.session = session, str(key)
        self.opened += 1

    def _is_alive(self) -> bool:
        if self._session is None:
            return False
        try:
            self._session.execute("SELECT 1")
        except StateError:
            self._drop_session()
            return False
        return True

    def _drop_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _roll_back(self, db: Database) -> None:
        try:
            db.execute("ROLLBACK")
        except StateError:
            db.close()
            self._work = None


def open_ledger_session(url: str, **settings: str) -> Database:
    """A connection to the ledger's tables, which are made if they are missing.

    Raises:
        StateError: they cannot be used, or a newer version made them.
    """
    return postgres.open_session(url, _tables(), **settings)


def _tables() -> Tables:
    """As they are made now: tickets of a ledger that was lost must not come again."""
    first = time.time_ns() // 1000
    row = f"INSERT INTO meta VALUES (1, {_VERSION}, 1, 1, {first}, NULL)"  # noqa: S608  (our own numbers)
    tables = _TABLES + ledger_tables(integer="BIGINT", real="DOUBLE PRECISION")
    return Tables("quota ledger", SCHEMA, _VERSION, tables + row)


@contextmanager
def reading_database(url: str, *, patient: bool) -> Iterator[Database]:
    """The database's rows, to read; `patient`: one that is gone is waited for.

    Raises:
        StateError: there are none, or they cannot be read.
    """
    settings = {"search_path": SCHEMA, "default_transaction_read_only": "on"}
    db = persist(lambda: Database(url, **settings), lambda: not patient)
    try:
        yield db
    finally:
        with suppress(StateError):
            db.close()
