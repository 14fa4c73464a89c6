"""Modules that need an optional dependency, loaded when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from tasks.core.errors import StateError

__all__ = ["database_tables", "load_driver"]


def load_driver(module: str) -> Any:
    """The module of ours that speaks to databases.

    Raises:
        StateError: what it needs is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        msg = (
            f"state is a database, and its driver is missing ({error}): "
            "pip install 'nightly-review[postgres]'"
        )
        raise StateError(msg) from error


@contextmanager
def database_tables(url: str, what: str, schema: str, sql: str) -> Iterator[Any]:
    """A session on the few rows that runs remember in `schema`, made by `sql` where it is not there.

    Raises:
        StateError: the database cannot be used, or its driver is not installed; `what` is named.
    """
    postgres = load_driver("tasks.upstream.postgres")
    session = postgres.open_session(url, postgres.Tables(what, schema, 1, sql))
    try:
        yield session
    finally:
        session.close()
