"""The shared state of limit sync in a PostgreSQL database: one JSON object, one run at a time."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tasks.core.errors import StateError
from tasks.upstream.quota.open_store import postgres_driver

if TYPE_CHECKING:
    from tasks.upstream.postgres import Database

__all__ = ["LimitSyncStore"]

# Advisory locks with two numbers: owners of the ledger have one, so they never meet.
_OBJECT = "722511, 1"
_RUNS = "722511, 2"
_OTHERS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
AND classid = 722511 AND objid = 2 AND pid != pg_backend_pid()
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class LimitSyncStore:
    """The object in the table `panel`; a session of its own, which also says that the run goes on.

    Every method raises StateError for what the database says, and the constructor for one that
    cannot be reached or used, or whose driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: Database | None = None
        self._connected()

    def lock(self) -> None:
        """Wait until no other run has the object."""
        # Once more on a new session: the server may have ended the old one meanwhile.
        with suppress(StateError):
            self._connected().execute(f"SELECT pg_advisory_lock({_OBJECT})")
            return
        self.close()
        self._connected().execute(f"SELECT pg_advisory_lock({_OBJECT})")

    def unlock(self) -> None:
        """Let other runs have the object."""
        if self._session is not None:
            with suppress(StateError):  # a session that ended has let go already
                self._session.execute(f"SELECT pg_advisory_unlock({_OBJECT})")

    def read(self) -> dict[str, Any]:
        """The object; empty before the first `write`."""
        row = self._locked().execute("SELECT entries FROM panel").fetchone()
        found: dict[str, Any] = json.loads(row[0]) if row else {}
        return found

    def write(self, entries: dict[str, Any]) -> None:
        """Store the object now."""
        self._locked().execute(
            "INSERT INTO panel VALUES (1, ?) ON CONFLICT (id) DO UPDATE "
            "SET entries = excluded.entries",
            (json.dumps(entries),),
        )

    def others(self) -> bool:
        """Whether another run goes on."""
        row = self._connected().execute(_OTHERS).fetchone()
        return bool(row and row[0])

    def leave(self) -> bool:
        """Say that this run is over; returns whether no other one goes on. False: nobody knows."""
        with suppress(StateError):
            session = self._connected()
            session.execute(f"SELECT pg_advisory_unlock_shared({_RUNS})")
            row = session.execute(f"SELECT pg_try_advisory_lock({_RUNS})").fetchone()
            session.execute(f"SELECT pg_advisory_unlock({_RUNS})")
            return bool(row and row[0])
        return False

    def close(self) -> None:
        """End the session and all it holds."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _locked(self) -> Database:
        """The session of the lock: on another one the object may be another run's by now."""
        if self._session is None:
            msg = "the database ended the session of the limit sync; the next one goes on"
            raise StateError(msg)
        return self._session

    def _connected(self) -> Database:
        if self._session is None or not self._session.is_usable:
            self._session = postgres_driver().open_ledger_session(
                self._url, idle_session_timeout="60s", lock_timeout="30s"
            )
            self._session.execute(f"SELECT pg_advisory_lock_shared({_RUNS})")
        return self._session
