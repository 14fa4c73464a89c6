"""The table [workers] of review.toml: shards on other machines."""

from __future__ import annotations

from pathlib import PurePath

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.core.storage_urls import is_url, without_password

__all__ = ["WorkersSettings"]


class WorkersSettings(BaseModel):
    """Which deployment runs a shard, and where its files meet those of the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deployment: str = Field(default="review-shard/shard", pattern=r"^[^/]+/[^/]+$")
    """"<flow>/<deployment>" as Prefect's server knows it."""
    storage: str
    """An fsspec URL, or an absolute folder, that the parent and every worker reach."""
    lost_after: float = Field(default=60, ge=5)
    """Seconds without a sign of life after which a shard, or its parent, counts as dead."""

    @field_validator("storage")
    @classmethod
    def _shared(cls, value: str) -> str:
        if not is_url(value) and not PurePath(value).is_absolute():
            msg = (
                'must be an absolute folder or a URL as "s3://bucket/folder": every machine has to '
                "find the same place"
            )
            raise ValueError(msg)
        return without_password(value)
