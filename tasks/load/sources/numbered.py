"""Numbered rows, which every reader of a source yields."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["NumberedRow"]


class NumberedRow(NamedTuple):
    """A row and where it stands: line number for JSON Lines, position from 1 elsewhere."""

    number: int
    row: Any
    """The row as read, or the RowError that reading it gave."""
    snippet: str = ""
    """With a RowError: the start of what was read, for rejected.jsonl."""
