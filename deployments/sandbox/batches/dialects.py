"""What differs between the providers of batches, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BATCH_DIALECTS", "SandboxDialect"]


@dataclass(frozen=True, slots=True)
class SandboxDialect:
    """Paths, words and objects of one provider."""

    name: str
    upload_path: str = "/files"
    purpose: str = "batch"
    endpoints: frozenset[str] = frozenset({"/v1/chat/completions"})
    """Of a batch."""
    urls: frozenset[str] = frozenset({"/v1/chat/completions"})
    """Of a line."""
    bare_lines: bool = False
    """Lines need no method and url."""
    bom: bool = True
    """A byte order mark before the first line is read over."""
    states: Mapping[str, str] | None = None
    """How states are spelled that are not spelled as by OpenAI."""
    pending: bool = False
    """A file that was just sent can be used after it was looked at."""
    expires: bool = True
    metadata: bool = True
    paged: bool = True
    """False: the list is an array of all there are."""
    job: bool = False
    """Objects are Together's: a job, times as texts, progress in percent, no counts."""


# developers.openai.com/api/docs/guides/batch
_OPENAI = SandboxDialect("openai")
# learn.microsoft.com/azure/ai-foundry/openai/how-to/batch: runs on after 24 hours, no BOM, states
# with a capital in its samples
_AZURE = SandboxDialect(
    "azure",
    endpoints=frozenset({"/chat/completions", "/v1/chat/completions"}),
    urls=frozenset({"/chat/completions", "/v1/chat/completions"}),
    bom=False,
    states={
        "validating": "Validating",
        "in_progress": "InProgress",
        "finalizing": "Finalizing",
        "completed": "Completed",
    },
    pending=True,
    expires=False,
)
# docs.together.ai/docs/inference/batch and together-py's resources/batches.py
_TOGETHER = SandboxDialect(
    "together",
    upload_path="/files/upload",
    purpose="batch-api",
    bare_lines=True,
    states={
        "validating": "VALIDATING",
        "in_progress": "IN_PROGRESS",
        "finalizing": "IN_PROGRESS",
        "completed": "COMPLETED",
        "failed": "FAILED",
        "expired": "EXPIRED",
        "cancelling": "CANCELLING",
        "cancelled": "CANCELLED",
    },
    metadata=False,
    paged=False,
    job=True,
)
BATCH_DIALECTS: Mapping[str, SandboxDialect] = {d.name: d for d in (_OPENAI, _AZURE, _TOGETHER)}
