"""One JSON object in the ledger's database that all runs share, one of them at a time."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tasks.core.errors import StateError
from tasks.upstream.quota.store import postgres_driver

if TYPE_CHECKING:
    from tasks.upstream.postgres import Database

__all__ = ["Notes", "open_notes"]

# Advisory locks with two numbers: owners of the ledger have one, so they never meet.
_TURN = "722511, 1"
_RUNS = "722511, 2"


class Notes:
    """The object in the table `panel`; a session of its own, which also says that the run goes on.

    Every method raises StateError for what the database says.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: Database | None = None
        self._connected()

    def lock(self) -> None:
        """Wait until no other run has the object."""
        # Once more on a new session: the server may have ended the old one meanwhile.
        with suppress(StateError):
            self._connected().execute(f"SELECT pg_advisory_lock({_TURN})")
            return
        self.close()
        self._connected().execute(f"SELECT pg_advisory_lock({_TURN})")

    def unlock(self) -> None:
        """Let others have it."""
        if self._session is not None:
            with suppress(StateError):  # a session that ended has let go already
                self._session.execute(f"SELECT pg_advisory_unlock({_TURN})")

    def read(self) -> dict[str, Any]:
        """The object; empty before the first `write`."""
        row = self._locked().execute("SELECT entries FROM panel").fetchone()
        found: dict[str, Any] = json.loads(row[0]) if row else {}
        return found

    def write(self, entries: dict[str, Any]) -> None:
        """Store it now."""
        self._locked().execute(
            "INSERT INTO panel VALUES (1, ?) ON CONFLICT (id) DO UPDATE "
            "SET entries = excluded.entries",
            (json.dumps(entries),),
        )

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
            msg = "the database ended the session of the panel in its turn; the next turn goes on"
            raise StateError(msg)
        return self._session

    def _connected(self) -> Database:
        if self._session is None or not self._session.is_usable:
            self._session = postgres_driver().open_session(
                self._url, idle_session_timeout="60s", lock_timeout="30s"
            )
            self._session.execute(f"SELECT pg_advisory_lock_shared({_RUNS})")
        return self._session


def open_notes(url: str) -> Notes:
    """The notes in the database at `url`, whose tables are made if they are missing.

    Raises:
        StateError: it cannot be reached or used, or its driver is not installed.
    """
    return Notes(url)
