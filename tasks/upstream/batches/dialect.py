"""
How providers' batches differ from OpenAI's, as one table of data.

| | openai | azure | together |
|---|---|---|---|
| endpoint of a batch | /v1/chat/completions | /chat/completions | /v1/chat/completions |
| upload | POST /files | POST /files | POST /files/upload |
| purpose | batch | batch | batch-api |
| states | in_progress | InProgress | IN_PROGRESS |
| after 24 hours | expires | goes on | expires |
| metadata | kept | kept | none |
| model of a line | its name | its batch deployment | its name |

A deployment's name is what `models = { "m" = "deployment" }` of the app_id says, as online.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tasks.core.batch_settings import BatchDialectName
from tasks.core.errors import ConfigError

__all__ = ["DIALECTS", "BatchDialect", "BatchState", "dialect_of"]

BatchState = Literal["running", "completed", "failed", "expired", "cancelled"]

_DAY = 86_400
_ENDS: Mapping[str, BatchState] = {
    "completed": "completed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}
_NOT_A_LETTER = re.compile(r"[^a-z]")


@dataclass(frozen=True, slots=True)
class BatchDialect:
    """What one provider takes and says."""

    name: BatchDialectName
    endpoint: str = "/v1/chat/completions"
    """Of a batch."""
    line_url: str | None = "/v1/chat/completions"
    """Of each line; None: a line is custom_id and body."""
    upload_path: str = "/files"
    purpose: str = "batch"
    states: Mapping[str, BatchState] = field(default_factory=lambda: _ENDS)
    """Words of states that are an end, in small letters alone -> the state; every other one is running."""
    poll_seconds: float = 15.0
    """Least time between two looks at a batch."""
    expires: bool = True
    """False: a batch that is late goes on until it is cancelled."""
    metadata: bool = True
    """False: the provider keeps none, and a batch is known by its input file."""
    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    file_seconds: int | None = 14 * _DAY
    """After so long the provider deletes an uploaded file by itself; None: it cannot be asked to."""

    def state(self, said: str) -> BatchState:
        """The state that a word means, however it is spelled; an unknown one is running."""
        return self.states.get(_NOT_A_LETTER.sub("", said.lower()), "running")


# developers.openai.com/api/docs/guides/batch
_OPENAI = BatchDialect("openai")
# learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
_AZURE = BatchDialect(
    "azure",
    endpoint="/chat/completions",
    line_url="/chat/completions",
    poll_seconds=60.0,
    expires=False,
    max_requests=100_000,
)
# docs.together.ai/docs/inference/batch
_TOGETHER = BatchDialect(
    "together",
    line_url=None,
    upload_path="/files/upload",
    purpose="batch-api",
    poll_seconds=30.0,
    metadata=False,
    max_bytes=100_000_000,
    file_seconds=None,
)
DIALECTS: Mapping[str, BatchDialect] = {d.name: d for d in (_OPENAI, _AZURE, _TOGETHER)}


def dialect_of(name: str) -> BatchDialect:
    """The dialect of that name.

    Raises:
        ConfigError: there is none.
    """
    found = DIALECTS.get(name)
    if found is None:
        msg = (
            f"batch_dialect {name!r} is not known: batches go through endpoints that have OpenAI's "
            f"/files and /batches, as {', '.join(DIALECTS)}; leave batch out for others"
        )
        raise ConfigError(msg)
    return found
