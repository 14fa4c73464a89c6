"""The record of a run that its processes read; stored beside the shards, without any key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import ShardError
from tasks.core.files import read_json, write_json
from tasks.core.locations import batches_location, journal_location, ledger_location
from tasks.core.settings import Settings
from tasks.core.team_rules import RuleFile

__all__ = ["Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run's id, settings and state, the same for all of its processes."""

    run_id: str
    settings: Settings
    state: str
    """Absolute folder of journal and ledger, or the URL of the database that has both."""
    threads: int
    """Calls in flight per process."""
    fresh_since: float | None = None
    """Journal answers from before this instant (seconds since the epoch) are not used; None: all are."""
    started: float = 0.0
    """When it started (seconds since the epoch): what a canary was answered before is not used."""
    rules: tuple[RuleFile, ...] = ()
    """The rules of the reviewed repositories, as they stood before the commits under review."""
    batched: bool = False
    """Batches have answered a part: what they refused for good is not asked again."""
    reviews_first: bool = False
    """The deadline of batches has passed: reviews of finished checks go before new checks."""
    give_up_at: float | None = None
    """When questions without an answer are left for the next run, in seconds since the epoch; None: never."""

    @property
    def journal(self) -> str:
        """Location of the journal, the answers of this and earlier runs: a file, or the database's URL."""
        return journal_location(self.state)

    @property
    def ledger(self) -> str:
        """Location of the ledger, what each app_id has sent in any process or run: a file, or a URL."""
        return ledger_location(self.state)

    @property
    def batches(self) -> str:
        """Location of the batches, what runs have at their providers: a file, or a URL."""
        return batches_location(self.state)

    def write(self, path: Path) -> None:
        """Write the record to `path`."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        write_json(path, fields | {"settings": self.settings.model_dump(mode="json")})

    @classmethod
    def read(cls, path: Path) -> Run:
        """The record at `path`; raises ShardError when the run's work folder is gone."""
        fields = read_json(path)
        if fields is None:
            msg = (
                f"{path} is missing: the run's work folder was removed while it ran; start it again"
            )
            raise ShardError(msg)
        rules = tuple(RuleFile(**one) for one in fields["rules"])
        settings = Settings.model_validate(fields["settings"])
        return cls(**{**fields, "settings": settings, "rules": rules})
