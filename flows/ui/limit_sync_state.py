"""
The memory that the limit syncs of all runs on one state share; one of them at a time has it.

In a state folder that is a file under a file lock. In a database it is a row under an advisory
lock, and not a locked row: an entry must be stored before its change is sent, and a commit would
let go of the row. A session that has said nothing for a minute is ended by the server, so a run
that was stopped while it had it is not in the way of the others for longer.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self

from flows.ui.limit_slots import Entry
from tasks.core.files import read_json, write_json
from tasks.core.locations import is_database
from tasks.upstream.quota.limit_sync_store import LimitSyncStore
from tasks.upstream.quota.locks import FileLock, OwnerFile, is_alive

__all__ = ["LimitSyncState"]


_IDENTITY = "state"
"""Beside the entries, whose names are ids of limits."""


class _Memory(Protocol):
    """One JSON object that all runs share, and who of them goes on."""

    def lock(self) -> None: ...

    def unlock(self) -> None: ...

    def read(self) -> dict[str, Any]: ...

    def write(self, entries: dict[str, Any]) -> None: ...

    def others(self) -> bool: ...

    def leave(self) -> bool: ...

    def close(self) -> None: ...


class LimitSyncState:
    """Entries by the limit's id. Inside a `with` block no other run on this state has them.

    Args:
        state: folder, or URL of a database.

    Raises:
        StateError: the state cannot be used.
    """

    def __init__(self, state: Path | str) -> None:
        self.entries: dict[str, Entry] = {}
        self.identity = ""
        """Of this state, unlike that of any other; known within a block."""
        self._memory: _Memory = (
            LimitSyncStore(str(state)) if is_database(state) else _Folder(Path(state))
        )

    def __enter__(self) -> Self:
        self._memory.lock()
        try:
            self.entries = self._read()
        except BaseException:
            self._memory.unlock()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            self._memory.unlock()

    def entry(self, limit: str) -> Entry:
        """The entry of the limit with this id; an empty one if it is new."""
        return self.entries.get(limit, Entry())

    def save(self) -> None:
        """Write the entries now: a change is stored before it is sent."""
        entries = {key: asdict(entry) for key, entry in self.entries.items()}
        self._memory.write({**entries, _IDENTITY: self.identity})

    def others(self) -> bool:
        """Whether another run on this state goes on."""
        return self._memory.others()

    def leave(self) -> bool:
        """Say that this run is over; returns whether no other one on this state goes on."""
        return self._memory.leave()

    def close(self) -> None:
        """Let go of the state."""
        self._memory.close()

    def _read(self) -> dict[str, Entry]:
        # Entries that cannot be read cost at most some slots that look like somebody else's.
        with suppress(TypeError, AttributeError):
            found = self._memory.read()
            self.identity = found.pop(_IDENTITY, "") or self.identity or uuid.uuid4().hex
            return {key: Entry(**entry) for key, entry in found.items()}
        return {}


class _Folder:
    """In the state folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "panel.json"
        self._lock = FileLock(folder / "panel.lock")
        self._runs = folder / "panel.runs"
        with self._lock:
            self._session = OwnerFile(self._runs)

    def lock(self) -> None:
        self._lock.__enter__()

    def unlock(self) -> None:
        self._lock.__exit__(None, None, None)

    def read(self) -> dict[str, Any]:
        return read_json(self._path) or {}

    def write(self, entries: dict[str, Any]) -> None:
        write_json(self._path, entries)

    def others(self) -> bool:
        names = {path.name for path in self._runs.iterdir()} - {self._session.name}
        return any(is_alive(self._runs, name) for name in names)

    def leave(self) -> bool:
        self._session.close()
        with self._lock:
            return not self.others()

    def close(self) -> None:
        self._lock.close()
