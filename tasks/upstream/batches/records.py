"""Request files, states of batches, and rows of results, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.core.calls import Reply, Usage
from tasks.upstream.batches.dialect import BatchState
from tasks.upstream.calls.refusals import Refusal

__all__ = [
    "BatchCounts",
    "BatchProblem",
    "BatchRow",
    "BatchStatus",
    "RequestFile",
    "RowBroken",
    "RowFailure",
    "RowMissing",
    "RowReply",
]

_TOKEN_LIMIT = "token_limit_exceeded"  # noqa: S105  (a code of the provider)


@dataclass(frozen=True, slots=True)
class RequestFile:
    """A whole file of questions to one model."""

    path: Path
    model: str
    """Our name of it."""
    sent_model: str
    """The endpoint's."""
    custom_ids: tuple[str, ...]
    """Keys of the questions, line by line."""
    bytes: int
    prompt_tokens: int
    """By our count; what a provider bounds as enqueued."""
    sha256: str

    @property
    def requests(self) -> int:
        """Lines."""
        return len(self.custom_ids)


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Rows of a batch as far as its provider tells; all 0 while it is being validated."""

    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """Answered or refused."""
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """Why a batch failed; `message` comes from the provider and is not scrubbed."""

    code: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch at one look. Instants in seconds since the epoch."""

    id: str
    state: BatchState
    said: str
    """The state as the provider spells it."""
    input_file_id: str = ""
    output_file_id: str = ""
    """Empty: there is none."""
    error_file_id: str = ""
    counts: BatchCounts = field(default_factory=BatchCounts)
    problems: tuple[BatchProblem, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    created: float | None = None
    ended: float | None = None
    expires: float | None = None
    usage: Usage | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state != "running"

    @property
    def file_ids(self) -> tuple[str, ...]:
        """Output and error file, as far as there are any."""
        return tuple(file_id for file_id in (self.output_file_id, self.error_file_id) if file_id)

    @property
    def token_limited(self) -> bool:
        """Whether it failed because too many tokens wait already: later the same file may go."""
        return self.state == "failed" and any(
            problem.code == _TOKEN_LIMIT or "enqueued token limit" in problem.message.lower()
            for problem in self.problems
        )


@dataclass(frozen=True, slots=True)
class RowReply:
    """A question that was answered."""

    custom_id: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A question that got no usable answer; `message` is scrubbed, and of at most 300 characters."""

    custom_id: str
    reason: str
    """As in calls.parquet, or "batch_expired", "batch_cancelled"."""
    message: str
    again: bool
    """Asked once more it may be answered."""
    status: int = 0
    """HTTP's; 0: it was never sent."""
    refusal: Refusal | None = None
    usage: Usage | None = None
    """Tokens of a reply that is of no use, and paid for."""

    @property
    def adaptable(self) -> bool:
        """Whether a parameter was refused that the question can go without."""
        return self.refusal is not None and self.refusal.about in {"format", "parameter"}


@dataclass(frozen=True, slots=True)
class RowBroken:
    """A line that belongs to no question of ours, or cannot be read."""

    file: int
    """Which file, from 0."""
    line: int
    """From 1."""
    message: str


@dataclass(frozen=True, slots=True)
class RowMissing:
    """A question without a line."""

    custom_id: str


BatchRow = RowReply | RowFailure | RowBroken | RowMissing
