"""
The ledger's rows, wherever they are: in a SQLite file of this machine, or in a PostgreSQL database of several.

The ledger's logic is the same for both; a store gives it exclusive access, tells which owners
live, and says by how much the clock of the rows is ahead of ours. SQL is the common subset, with
`?` for parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["Db", "Meta", "QuotaStore", "Rows"]

Meta = tuple[int, int, int, float | None]
"""Revision of the reservations, revision of the controls, last ticket, floor in the rows' clock."""


class Rows(Protocol):
    """A cursor."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Db(Protocol):
    """A connection inside a transaction, or one that only reads."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Rows: ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object: ...


class QuotaStore(Protocol):
    """Rows that several processes share, and who of those processes lives."""

    opened: int
    """Grows whenever the rows may be others, or others may have taken us for dead."""
    ahead: float
    """Seconds to add to an instant of ours that is written; 0 when the rows have our clock."""
    behind: float
    """Seconds to take from a written instant; at most `ahead`, so that instants only get later."""
    stepped: bool
    """Whether the rows' clock was set since somebody lowered this flag."""
    patience: float
    """Seconds that an owner must be missing before it counts as dead."""

    @property
    def session(self) -> str:
        """Our name among the living."""

    def exclusive(self) -> AbstractContextManager[Db]:
        """A transaction that no other process is in; committed at the end of the block."""

    def read_meta(self, db: Db) -> Meta:
        """The one row of `meta`, which also shows what the rows' clock says."""

    def peek(self) -> Meta | None:
        """The row of `meta`, read without exclusive access; None: nobody knows at the moment."""

    def living(self, db: Db, names: Sequence[str]) -> set[str]:
        """The owners among `names` that live."""

    def revive(self) -> bool:
        """Be alive again, under a new `session`, if others cannot see that we are; False: they can."""

    def epoch(self) -> float:
        """Now, in the seconds of `owners.opened`."""

    def close(self) -> None:
        """End the session in order."""
