"""The table [workers] of review.toml: shards on other machines."""

from __future__ import annotations

from pydantic import Field

from tasks.core.fields import Table

__all__ = ["WorkersSettings"]


class WorkersSettings(Table):
    """The table [workers], shards on other machines: the Dask scheduler whose workers run them."""

    scheduler: str = Field(pattern=r"^(tcp|tls)://[^/@\s]+:[0-9]+$")
    """Its address as its workers use it: "tls://host:8786"."""
    scheduler_patience: float = Field(default=300, ge=0)
    """Seconds that a run waits for a scheduler that is away, before it ends with gaps."""
    worker_patience: float = Field(default=3600, ge=0)
    """Seconds that a run waits while no worker with a place is connected, before it ends with gaps."""
