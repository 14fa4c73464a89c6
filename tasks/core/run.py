"""What a shard's process must know of its run; stored beside the shards, without any key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import ShardError
from tasks.core.files import read_json, write_json
from tasks.core.locations import journal_location, ledger_location
from tasks.core.settings import Settings

__all__ = ["Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as every process of it sees it."""

    run_id: str
    settings: Settings
    state: str
    """Absolute folder of journal and ledger, or the URL of the database that has both."""
    threads: int
    """Calls in flight per process."""
    fresh_since: float | None = None
    """Journal answers from before this instant (seconds since the epoch) are not used; None: all are."""

    @property
    def journal(self) -> str:
        """Place of the answers of this and earlier runs: a file, or the database's URL."""
        return journal_location(self.state)

    @property
    def ledger(self) -> str:
        """Place of what each app_id has sent, shared by all processes and runs."""
        return ledger_location(self.state)

    def write(self, path: Path) -> None:
        """Store it for the shards' processes."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        write_json(path, fields | {"settings": self.settings.model_dump(mode="json")})

    @classmethod
    def read(cls, path: Path) -> Run:
        """Raises ShardError: the file is gone, so the run was cleaned up meanwhile."""
        fields = read_json(path)
        if fields is None:
            msg = (
                f"{path} is missing: the run's work folder was removed while it ran; start it again"
            )
            raise ShardError(msg)
        return cls(**{**fields, "settings": Settings.model_validate(fields["settings"])})
