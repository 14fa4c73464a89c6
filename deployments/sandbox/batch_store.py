"""All files and batches since the last reset, and the clock that they live by."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from deployments.sandbox.batch_settings import BatchFault, BatchRule

__all__ = ["FINAL", "Batch", "BatchClock", "InputRow", "SandboxBatchStore", "StoredFile"]

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


class BatchClock:
    """Seconds since the epoch, as far ahead as it was moved."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def now(self) -> float:
        """The instant; it never goes back."""
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move it forward."""
        self._ahead += seconds


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of one key."""

    id: str
    owner: str
    """Alias of the key."""
    name: str
    purpose: str
    content: bytes
    created: float
    batch: str = ""
    """Id of the batch that wrote it."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """One line of an input file."""

    custom_id: str
    body: dict[str, Any]


@dataclass(slots=True)
class Batch:
    """One batch. `stamps` has the instant at which it came into each state."""

    id: str
    n: int
    """Which one since the last reset, from 1."""
    owner: str
    input_file_id: str
    endpoint: str
    metadata: dict[str, str] | None
    created: float
    counts: dict[BatchFault, int] = field(default_factory=dict)
    """Its faults, and how many lines or times of each."""
    state: str = "validating"
    stamps: dict[str, float] = field(default_factory=dict)
    model: str = ""
    rows: list[InputRow] = field(default_factory=list)
    """Empty before it is validated, and when it is over."""
    total: int = 0
    tokens: int = 0
    """Prompt tokens, as they are enqueued."""
    done: int = 0
    """Rows that were answered or refused."""
    failed: int = 0
    """Of these, refused."""
    good: list[bytes] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    usage: Counter[str] = field(default_factory=Counter)
    busy: bool = False
    """Somebody is answering its rows."""

    @property
    def over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state in FINAL

    def enter(self, state: str, at: float) -> None:
        """Change the state."""
        self.state = state
        self.stamps.setdefault(state, at)

    def spend(self, fault: BatchFault) -> bool:
        """Whether a fault that happens so many times happens once more."""
        left = self.counts.get(fault, 0)
        if left:
            self.counts[fault] = left - 1
        return left > 0


@dataclass(slots=True)
class SandboxBatchStore:
    """Files and batches by id, oldest first."""

    clock: BatchClock = field(default_factory=BatchClock)
    files: dict[str, StoredFile] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    """Requests by what they were for."""
    uploads: int = 0
    deleted: int = 0
    rows: int = 0
    """Rows that were answered."""
    fired: Counter[BatchRule] = field(default_factory=Counter)

    def save(
        self, owner: str, name: str, content: bytes, purpose: str, batch: str = ""
    ) -> StoredFile:
        """Keep a file."""
        file_id = f"file-{uuid.uuid4().hex[:24]}"
        found = StoredFile(file_id, owner, name, purpose, content, self.clock.now(), batch)
        self.files[file_id] = found
        return found

    def file(self, owner: str, file_id: str) -> StoredFile | None:
        """A file of that key."""
        found = self.files.get(file_id)
        return found if found is not None and found.owner == owner else None

    def batch(self, owner: str, batch_id: str) -> Batch | None:
        """A batch of that key."""
        found = self.batches.get(batch_id)
        return found if found is not None and found.owner == owner else None

    def add(
        self, owner: str, source: StoredFile, endpoint: str, metadata: dict[str, str] | None
    ) -> Batch:
        """Make a batch."""
        found = Batch(
            id=f"batch_{uuid.uuid4().hex[:32]}",
            n=len(self.batches) + 1,
            owner=owner,
            input_file_id=source.id,
            endpoint=endpoint,
            metadata=metadata,
            created=self.clock.now(),
        )
        self.batches[found.id] = found
        return found

    def of(self, owner: str) -> Iterator[Batch]:
        """All batches of a key, newest first."""
        return (batch for batch in reversed(self.batches.values()) if batch.owner == owner)

    def ruled(
        self, rules: Iterable[BatchRule], n: int, model: str = "", text: bytes = b""
    ) -> dict[BatchFault, int]:
        """The faults that the rules have for the nth upload or batch, and their counts."""
        found: dict[BatchFault, int] = {}
        for rule in rules:
            if (
                (rule.times is None or self.fired[rule] < rule.times)
                and (rule.nth is None or n in rule.nth)
                and (rule.model is None or rule.model == model)
                and rule.match.encode() in text
            ):
                self.fired[rule] += 1
                found[rule.fault] = rule.count
        return found

    def summary(self) -> dict[str, Any]:
        """Counts as plain data."""
        return {
            "calls": dict(sorted(self.calls.items())),
            "made": len(self.batches),
            "states": dict(sorted(Counter(b.state for b in self.batches.values()).items())),
            "rows": self.rows,
            "files": len(self.files),
            "files_deleted": self.deleted,
        }
