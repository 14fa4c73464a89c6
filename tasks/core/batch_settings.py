"""The table [batch] of review.toml: when calls go through a provider's Batch API, and until when."""

from __future__ import annotations

import re
import time
from typing import Any, Literal

from pydantic import Field, field_validator

from tasks.core.errors import ConfigError
from tasks.core.fields import Duration, Table
from tasks.core.quotas import parse_duration

__all__ = ["BatchDialectName", "BatchSettings", "BatchUse", "instant_after", "parse_bytes"]

BatchUse = Literal["auto", "always", "never"]
BatchDialectName = Literal["openai", "azure", "together"]

_BYTES = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(kB|KB|MB|GB)?\s*$")
_SIZE = {None: 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_CLOCK = re.compile(r"^([01]?\d|2[0-3]):([0-5]\d)$")
_DAY = 86_400


class BatchSettings(Table):
    """The Batch API's part in a run; it takes the calls of app_ids with `batch = true`."""

    use: BatchUse = "auto"
    """auto: for a model that has at least `min_calls` questions; always: whatever there are."""
    min_calls: int = Field(default=200, ge=1)
    deadline: str = "12h"
    """"06:30", the next time that the clock says so, or "5h" from the run's start: what is not
    answered by then is cancelled and goes online, within the quota."""
    give_up: str | None = None
    """The same for what went online late: what is not answered by then is left for the next run.
    None: all is asked."""
    max_requests: int = Field(default=50_000, ge=1)
    """Of one file."""
    max_bytes: int = Field(default=180_000_000, ge=10_000)
    """Of one file; as "180MB" in review.toml."""
    max_enqueued_tokens: int = Field(default=20_000_000, ge=1000)
    """Of the prompts that wait at the provider, for an app_id and a model."""
    poll: Duration = "60s"
    """Between two looks at a batch."""
    keep_files: bool = False
    """Leave request and result files at the provider when their rows are in the journal."""

    @field_validator("max_bytes", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        return parse_bytes(value) if isinstance(value, str) else value

    @field_validator("deadline", "give_up")
    @classmethod
    def _instant(cls, value: str | None) -> str | None:
        if value is not None:
            instant_after(value, 0.0)
        return value

    @property
    def poll_seconds(self) -> float:
        """`poll` in seconds."""
        return parse_duration(self.poll)


def parse_bytes(text: str) -> int:
    """`"180MB"` in bytes.

    Raises:
        ValueError: not of that form.
    """
    match = _BYTES.match(text)
    if match is None:
        msg = f'"{text}" is no size: write a number and its unit, as "180MB"'
        raise ValueError(msg)
    return round(float(match[1]) * _SIZE[match[2]])


def instant_after(text: str, start: float) -> float:
    """The instant of `"06:30"` (local time, the next one) or `"5h"`, both after `start`, in seconds since the epoch.

    Raises:
        ValueError: not of that form.
    """
    if clock := _CLOCK.match(text.strip()):
        local = time.localtime(start)
        passed = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec
        wanted = int(clock[1]) * 3600 + int(clock[2]) * 60
        return start - start % 1 + ((wanted - passed) % _DAY or _DAY)
    try:
        return start + parse_duration(text)
    except ConfigError:
        msg = f'"{text}" is no deadline: write a time as "06:30", or a duration as "5h"'
        raise ValueError(msg) from None
