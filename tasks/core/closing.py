"""What was opened is closed when that which follows fails, and not whenever it is collected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

__all__ = ["Closable", "closed_on_error"]


class Closable(Protocol):
    """A connection, a file, a store."""

    def close(self) -> object: ...


_T = TypeVar("_T", bound=Closable)


@contextmanager
def closed_on_error(opened: _T) -> Iterator[_T]:
    """`opened`, for whoever keeps it after the block; an error of the block closes it."""
    try:
        yield opened
    except BaseException:
        opened.close()
        raise
