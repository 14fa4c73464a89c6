"""
Connections to PostgreSQL that take SQLite's `?` and fail with the project's error.

Journal and ledger have a schema each; both have a table `meta` with their version in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tasks.core.closing import closed_on_error
from tasks.core.errors import StateError
from tasks.core.locations import redacted

__all__ = ["Database", "Tables", "open_session", "persist", "state_error"]

_T = TypeVar("_T")

_AWAY = 30.0  # seconds that a database may be gone, as when it is restarted
_PAUSE = 0.2  # seconds between two tries
_CLIENT: dict[str, str | int] = {
    "application_name": "nightly-review",
    # A database of SQL_ASCII would have us read text as bytes.
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # A server that vanished without a word is noticed by us within seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 12_000,
}
_SERVER = {
    # And a client that vanished by the server: its locks are in the others' way.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "12000",
    "lock_timeout": "20s",
    "client_min_messages": "warning",
}


_MAKING = 7_021_861_225_114_801_153
"""Advisory lock of those who make tables; any fixed number."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one part of the state."""

    owner: str
    """Whose they are, as messages say it."""
    schema: str
    version: int
    sql: str
    """Makes all but the schema; statements separated by semicolons."""


class Database:
    """One connection in autocommit mode; `?` marks parameters.

    Every method raises StateError, whose message names the remedy, for whatever the database says.

    Args:
        url: as in `state`; what it says about the connection goes before our defaults.
        settings: of the session, beside those that every connection has.
    """

    def __init__(self, url: str, **settings: str) -> None:
        self._url = url
        try:
            wanted = conninfo_to_dict(url)
            defaults = {key: value for key, value in _CLIENT.items() if key not in wanted}
            self._connection = psycopg.connect(make_conninfo(url, **defaults), autocommit=True)
        except psycopg.Error as error:
            raise state_error(url, error) from error
        wished = (_SERVER | settings).items()
        sql = ", ".join("set_config(?, ?, false)" for _ in wished)
        try:
            self.execute(f"SELECT {sql}", [part for item in wished for part in item])
        except BaseException:
            self.close()
            raise

    @property
    def is_usable(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return not self._connection.closed

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Run one statement; without parameters, several."""
        try:
            return self._connection.execute(_translated(sql), parameters or None)
        except psycopg.Error as error:
            raise state_error(self._url, error) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run one statement for each row, in one round trip."""
        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(_translated(sql), rows)
        except psycopg.Error as error:
            raise state_error(self._url, error) from error

    def close(self) -> None:
        """Leave; the server drops what the session held."""
        self._connection.close()


def open_session(url: str, tables: Tables, **settings: str) -> Database:
    """A connection to the tables, which are made if they are missing.

    Raises:
        StateError: they cannot be used, or a newer version made them.
    """
    session = Database(url, search_path=tables.schema, **settings)
    with closed_on_error(session):
        _prepare(session, url, tables)
    return session


def persist(attempt: Callable[[], _T], give_up: Callable[[], bool]) -> _T:
    """What `attempt` returns, tried again while the database is gone and nobody gives up.

    Raises:
        StateError: the last attempt's.
    """
    deadline = time.monotonic() + _AWAY
    while True:
        try:
            return attempt()
        except StateError:
            if give_up() or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _prepare(db: Database, url: str, tables: Tables) -> None:
    db.execute("BEGIN")
    db.execute("SELECT pg_advisory_xact_lock(?)", (_MAKING,))
    if db.execute("SELECT 1 WHERE to_regclass(?) IS NULL", (f"{tables.schema}.meta",)).fetchone():
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {tables.schema}; {tables.sql}")
    found = db.execute("SELECT version FROM meta").fetchone()
    db.execute("COMMIT")
    if found is None or found[0] != tables.version:
        msg = (
            f"{redacted(url)}: the {tables.owner} was written by a newer version: "
            "upgrade, or set another database as state"
        )
        raise StateError(msg)


def state_error(url: str, error: Exception) -> StateError:
    """What is wrong with the database, without a password, and what to do about it."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    msg = (
        f"{redacted(url)}: the database failed ({said}): start it, check user, host and database of "
        "state, set PGPASSWORD or ~/.pgpass where it wants a password, and grant the user CREATE"
    )
    return StateError(msg)


@lru_cache(maxsize=256)
def _translated(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()
