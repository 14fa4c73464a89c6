"""SQLite's write-ahead log beside the journal, seen from outside: is it as long as its index says.

Somebody who empties it while a run has it open takes away what was not yet copied into the main
file. SQLite does not notice: it writes on behind a hole, and copies the hole over the journal.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.upstream.journal.writer import JournalRow

__all__ = ["RecentRows", "log_of"]

_MOST = 5000
"""Rows that are kept: SQLite copies the log over after 1,000 pages, and a row takes one at least."""

_INDEX = struct.Struct("=14xHI12x8s56xI")
"""Of the index: bytes in a page, frames in the log, its salt, frames that are copied over."""
_HEADER = 32
_SALT = slice(16, 24)
_FRAME_HEADER = 24
_LARGEST_PAGE = 65_536  # which does not fit in two bytes, and is written as 1


class WriteAheadLog(NamedTuple):
    """The log, by its index and by its file."""

    salt: bytes
    """Of this round: another one begins when all frames are copied over."""
    frames: int
    copied: int
    """Frames whose pages are in the main file."""
    there: int
    """Whole frames in the file; 0: it belongs to another round, or is not there."""

    @property
    def is_cut(self) -> bool:
        """Frames are gone that SQLite believes to have. True only while nobody else writes."""
        return self.there < self.frames

    @property
    def has_news(self) -> bool:
        """What is left of it is more than the main file has."""
        return self.there > self.copied


def log_of(path: Path) -> WriteAheadLog:
    """The log of the journal in a file, while it is open."""
    name = str(path)
    index = _index(name)
    while True:
        size, frames, salt, copied = index
        page = _LARGEST_PAGE if size == 1 else size
        there = _there(f"{name}-wal", salt, page)
        before, index = index, _index(name)
        if before == index:  # nobody wrote while we looked
            return WriteAheadLog(salt, frames, copied, there)


def _index(journal: str) -> tuple[int, int, bytes, int]:
    try:
        found: tuple[int, int, bytes, int] = _INDEX.unpack(_first(f"{journal}-shm", _INDEX.size)[0])
    except (FileNotFoundError, struct.error):
        return 0, 0, b"", 0
    return found


def _there(log: str, salt: bytes, page: int) -> int:
    try:
        head, size = _first(log, _HEADER)
    except FileNotFoundError:
        return 0
    return 0 if head[_SALT] != salt else (size - _HEADER) // (page + _FRAME_HEADER)


def _first(name: str, count: int) -> tuple[bytes, int]:
    """The first bytes of a file, and its size. Opened as it is: twice for every commit."""
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, count), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


class RecentRows:
    """The rows that this process has written and that are in the log alone."""

    def __init__(self) -> None:
        self._rows: deque[tuple[bytes, int, JournalRow]] = deque(maxlen=_MOST)

    def add(self, rows: list[JournalRow], log: WriteAheadLog) -> None:
        """Keep rows that were just committed, `log` being as it is now; forget what is copied over."""
        while self._rows and (self._rows[0][0] != log.salt or self._rows[0][1] <= log.copied):
            self._rows.popleft()
        self._rows.extend((log.salt, log.frames, row) for row in rows)

    def __iter__(self) -> Iterator[JournalRow]:
        return (row for _, _, row in self._rows)
