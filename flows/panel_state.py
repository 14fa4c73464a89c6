"""What the panels of a machine's runs remember together, in the state folder, under one file lock."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self

from tasks.core.slots import Entry
from tasks.files import read_json, write_json
from tasks.upstream.quota.locks import FileLock, OwnerFile, is_alive

__all__ = ["PanelState"]


class PanelState:
    """Entries by the limit's id. Inside a `with` block no other run of the machine has them.

    Raises:
        StateError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.entries: dict[str, Entry] = {}
        self._path = folder / "panel.json"
        self._lock = FileLock(folder / "panel.lock")
        self._runs = folder / "panel.runs"
        with self._lock:
            self._life = OwnerFile(self._runs)

    def __enter__(self) -> Self:
        self._lock.__enter__()
        self.entries = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            self._lock.__exit__(None, None, None)

    def entry(self, limit: str) -> Entry:
        """That of the limit with this id; an empty one if it is new."""
        return self.entries.get(limit, Entry())

    def save(self) -> None:
        """Write the entries now: a change is on disk before it is sent."""
        write_json(self._path, {key: asdict(entry) for key, entry in self.entries.items()})

    def leave(self) -> bool:
        """Say that this run is over; returns whether no other one of the machine goes on."""
        self._life.close()
        with self._lock:
            return not any(is_alive(self._runs, path.name) for path in list(self._runs.iterdir()))

    def close(self) -> None:
        """Let go of the files."""
        self._lock.close()

    def _read(self) -> dict[str, Entry]:
        # A file that cannot be read costs at most some slots that look like somebody else's.
        with suppress(TypeError, AttributeError):
            return {key: Entry(**entry) for key, entry in (read_json(self._path) or {}).items()}
        return {}
