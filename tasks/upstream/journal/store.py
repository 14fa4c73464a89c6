"""Where the replies are: a SQLite file of this machine, or a PostgreSQL database of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from tasks.upstream.journal.writer import JournalRow

__all__ = ["CHUNK", "MODELS", "JournalStore", "ModelCount", "chunks"]

_T = TypeVar("_T")

CHUNK = 500
"""Keys per query; SQLite takes a bounded number of parameters."""

MODELS = "SELECT model, count(*), min(created), max(created) FROM replies GROUP BY model"
"""The statement that counts; its rows are ModelCounts."""

ModelCount = tuple[str, int, float, float]
"""Model, replies, when the oldest and the newest were stored."""


class JournalStore(Protocol):
    """Rows and claims. Threads share one; `write` comes from one thread at a time.

    Keys of rows are bytes, those of claims their hex. Every method raises StateError, whose message
    names the remedy, when the place cannot be used.
    """

    def bodies(self, keys: Sequence[bytes], not_before: float) -> Iterator[tuple[bytes, bytes]]:
        """Key and body of those that are there and not older."""

    def write(self, rows: list[JournalRow]) -> None:
        """Store rows in place of older ones; returns when they are durable."""

    def delete(self, key: bytes) -> None:
        """Remove a row."""

    def expire(self, older_than: float, most: int) -> int:
        """Delete at most `most` rows stored before that instant; returns how many."""

    def compact(self) -> None:
        """Give the space of deleted rows back."""

    def claim(self, key: str) -> bool:
        """Whether this process may ask the question; ends with `release` or with the process."""

    def release(self, key: str) -> None:
        """Give a claim back."""

    def models(self) -> list[ModelCount]:
        """What is there."""

    def sizes(self) -> tuple[int, int]:
        """Bytes of the rows, and of what is not yet copied over to them."""

    def faults(self) -> Iterator[str]:
        """What is wrong with the rows, one sentence each."""

    def close(self) -> None:
        """Let go of files or connections, and of all claims."""


def chunks(items: Sequence[_T], most: int = CHUNK) -> Iterator[Sequence[_T]]:
    """The keys of one query after the other, or the rows of one statement."""
    return (items[start : start + most] for start in range(0, len(items), most))
