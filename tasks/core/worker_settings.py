"""The table [workers] of review.toml: shards on other machines."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

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
        if "://" not in value and not PurePath(value).is_absolute():
            msg = (
                'must be an absolute folder or a URL as "s3://bucket/folder": every machine has to '
                "find the same place"
            )
            raise ValueError(msg)
        if "://" in value and urlsplit(value).password:
            msg = (
                "must not hold a password: it is stored with every run. Leave it out of the URL and "
                "give it to the driver on every machine (fsspec's configuration, or its variables)"
            )
            raise ValueError(msg)
        return value.rstrip("/")
