"""The table [workers] of review.toml: shards on other machines."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["WorkersSettings"]


class WorkersSettings(BaseModel):
    """The table [workers], shards on other machines: the Dask scheduler whose workers run them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheduler: str = Field(pattern=r"^(tcp|tls)://[^/@\s]+:[0-9]+$")
    """Its address as its workers use it: "tls://host:8786"."""
    scheduler_patience: float = Field(default=300, ge=0)
    """Seconds that a run waits for a scheduler that is away, before it ends with gaps."""
