"""The choice of the ledger's store: a SQLite file, or a PostgreSQL database with its driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core.locations import is_database
from tasks.upstream.drivers import load_driver
from tasks.upstream.quota import store_sqlite
from tasks.upstream.quota.store import Db, QuotaStore

__all__ = ["open_store", "postgres_driver", "reading"]


def open_store(place: Path | str, hurry: Callable[[], bool]) -> QuotaStore:
    """The store at `place`. `hurry` says whether nobody wants to wait for it any longer.

    Raises:
        StateError: it cannot be used, or what it needs is not installed.
    """
    if is_database(place):
        store: QuotaStore = postgres_driver().PostgresQuotaStore(str(place), hurry)
        return store
    return store_sqlite.SqliteQuotaStore(Path(place))


@contextmanager
def reading(place: Path | str, *, patient: bool = False) -> Iterator[Db]:
    """A connection that only reads, without joining those who write.

    `patient`: a database that is gone is waited for.

    Raises:
        sqlite3.Error, StateError: there is no ledger, or it cannot be read.
    """
    if is_database(place):
        with postgres_driver().reading_database(str(place), patient=patient) as db:
            yield db
        return
    with store_sqlite.reading_file(Path(place)) as file:
        yield file


def postgres_driver() -> Any:
    """The module that speaks to databases.

    Raises:
        StateError: what it needs is not installed.
    """
    return load_driver("tasks.upstream.quota.store_postgres")
