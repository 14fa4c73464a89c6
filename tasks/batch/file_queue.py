"""The request files of a run that wait for their turn at a provider."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.batch.plan import Group, WantedQuestions
from tasks.batch.request_files import RequestFiles
from tasks.upstream.batches.records import RequestFile

__all__ = ["FileQueue", "PendingFile"]


@dataclass(slots=True)
class PendingFile:
    """A request file that waits for its turn."""

    group: Group
    file: RequestFile
    not_before: float = 0.0
    """Seconds since the epoch."""
    refused: int = 0
    """Batches of it that the provider's limit of tokens has failed."""

    @property
    def place(self) -> tuple[str, str]:
        """Alias of its app_id, and its model."""
        return self.group.app_id.alias, self.group.model


@dataclass(slots=True)
class FileQueue:
    """Request files in the order in which they are to be handed in."""

    writer: RequestFiles
    has_room: Callable[[PendingFile], bool]
    """Whether a file may be handed in beside what is enqueued at its provider."""
    tries: Counter[str] = field(default_factory=Counter)
    """Question -> batches that it was put into."""
    closed: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of alias and model for which no batch is made any more."""
    _waiting: deque[PendingFile] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def fill(
        self, sources: Sequence[Path], groups: Iterable[Group], wanted: WantedQuestions
    ) -> None:
        """Write and append the files of `groups`, whose questions stand in the files `sources`."""
        self.writer.sources = tuple(sources)
        for group in groups:
            for file in self.writer.of_group(group, wanted):
                self.tries.update(file.custom_ids)
                self._waiting.append(PendingFile(group, file))

    def again(self, pending: PendingFile, keys: set[str], most_tokens: int) -> None:
        """Append a file anew, with fewer questions or as several files of fewer tokens."""
        for file in self.writer.again(pending.group, keys, most_tokens):
            self._waiting.append(PendingFile(pending.group, file, pending.not_before))

    def put_back(self, pending: PendingFile) -> None:
        """Append a file that was handed in, and not taken."""
        self._waiting.append(pending)

    def ready(self) -> Iterator[PendingFile]:
        """Take out the files that may be handed in now; those of a closed place go: their questions go online."""
        for _ in range(len(self._waiting)):
            pending = self._waiting.popleft()
            if pending.place in self.closed:
                continue
            if pending.not_before > time.time() or not self.has_room(pending):
                self._waiting.append(pending)
            else:
                yield pending

    def clear(self) -> None:
        """Hand in nothing more."""
        self._waiting.clear()
