"""SQLite's write-ahead log beside the journal, seen from outside: is it as long as its index says.

Somebody who empties it while a run has it open takes away what was not yet copied into the main
file. SQLite does not notice: it writes on behind a hole, and copies the hole over the journal.

The index is a file that SQLite has locks of the process on, and the kernel drops all of these when
any descriptor of that file is closed. So it is opened once, read as memory, and closed only when
nothing of this process looks at it any more.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tasks.upstream.journal.writer import JournalRow

__all__ = ["LogIndex", "LogWatch", "RecentRows", "WriteAheadLog"]

_MOST = 5000
"""Rows that are kept: SQLite copies the log over after 1,000 pages, and a row takes one at least."""

_INDEX = struct.Struct("=14xHI12x8s56xI")
"""Of the index: bytes in a page, frames in the log, its salt, frames that are copied over."""
_HEADER = 32
_SALT = slice(16, 24)
_FRAME_HEADER = 24
_LARGEST_PAGE = 65_536  # which does not fit in two bytes, and is written as 1

_Identity = tuple[int, int]
"""Device and inode."""


class LogIndex(NamedTuple):
    """What SQLite's index says of the log; all zero where there is no index."""

    page: int = 0
    """Bytes in a page."""
    frames: int = 0
    """In the log."""
    salt: bytes = b""
    """Of this round: another one begins when all frames are copied over."""
    copied: int = 0
    """Frames whose pages are in the main file."""


_NO_INDEX = LogIndex()


class WriteAheadLog(NamedTuple):
    """The log, by its index and by its file."""

    known: LogIndex
    """By its index."""
    there: int
    """Whole frames in the file; 0: it belongs to another round, or is not there."""

    @property
    def is_cut(self) -> bool:
        """Frames are gone that SQLite believes to have. True only while nobody else writes."""
        return self.there < self.known.frames

    @property
    def has_news(self) -> bool:
        """What is left of it is more than the main file has."""
        return self.there > self.known.copied


class LogWatch:
    """Looks at the log of a journal that this process has open. For one thread at a time."""

    def __init__(self, journal: Path) -> None:
        self._index_path = journal.with_name(f"{journal.name}-shm")
        self._log_path = journal.with_name(f"{journal.name}-wal")
        self._mapped: _Mapped | None = None
        self._log: int | None = None
        self._log_identity: _Identity | None = None

    def look(self) -> WriteAheadLog:
        """The log now, by the files that are there now."""
        self._map()
        index = self.index()
        while True:
            there = self._there(index)
            before, index = index, self.index()
            if before == index:  # nobody wrote while we looked
                return WriteAheadLog(index, there)

    def index(self) -> LogIndex:
        """The index as it is in memory, without a look for another file."""
        if self._mapped is None:
            return _NO_INDEX
        page, frames, salt, copied = _INDEX.unpack_from(self._mapped.memory)
        return LogIndex(_LARGEST_PAGE if page == 1 else page, frames, salt, copied)

    def close(self) -> None:
        """Let the files go; after the connections to the journal, whose locks that may end."""
        if self._mapped is not None:
            _release(self._mapped)
        if self._log is not None:
            os.close(self._log)
        self._mapped = self._log = None

    def _map(self) -> None:
        """See that the index in memory is that of the file which is there now."""
        earlier, identity = self._mapped, self._seen()
        if earlier is not None and earlier.identity == identity:
            return
        self._mapped = None
        if earlier is not None:
            _release(earlier)
        if identity is not None:
            with suppress(FileNotFoundError):
                self._mapped = _acquire(self._index_path, identity)

    def _seen(self) -> _Identity | None:
        """The index's file; None: there is none, or it is not whole, and memory behind its end cannot be read."""
        try:
            stat = self._index_path.stat()
        except FileNotFoundError:
            return None
        return _identity(stat) if stat.st_size >= _INDEX.size else None

    def _there(self, index: LogIndex) -> int:
        try:
            stat = self._log_path.stat()
            log = self._opened(_identity(stat))
        except FileNotFoundError:
            return 0
        if os.pread(log, _HEADER, 0)[_SALT] != index.salt:
            return 0
        return (stat.st_size - _HEADER) // (index.page + _FRAME_HEADER)

    def _opened(self, identity: _Identity) -> int:
        """The log; SQLite has no locks on it, so it may be closed."""
        if self._log is None or self._log_identity != identity:
            if self._log is not None:
                os.close(self._log)
                self._log = None
            self._log = os.open(self._log_path, os.O_RDONLY | os.O_CLOEXEC)
            self._log_identity = _identity(os.fstat(self._log))
        return self._log


@dataclass(slots=True)
class _Mapped:
    """The beginning of an index as memory, and how many look at it."""

    memory: mmap.mmap
    identity: _Identity
    descriptors: list[int]
    users: int = 0


_mapped: dict[_Identity, _Mapped] = {}
"""One of each file in this process: a second descriptor that is closed would drop the locks as well."""
_mapped_lock = threading.Lock()


def _acquire(path: Path, identity: _Identity) -> _Mapped:
    """The index in a file, which was that one when it was last seen.

    Raises:
        FileNotFoundError: it is gone.
    """
    with _mapped_lock:
        found = _mapped.get(identity) or _open(path)
        found.users += 1
        return found


def _open(path: Path) -> _Mapped:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    identity = _identity(os.fstat(descriptor))
    if (known := _mapped.get(identity)) is not None:  # it was put back meanwhile
        known.descriptors.append(descriptor)
        return known
    memory = mmap.mmap(descriptor, _INDEX.size, prot=mmap.PROT_READ)
    made = _mapped[identity] = _Mapped(memory, identity, [descriptor])
    return made


def _release(one: _Mapped) -> None:
    with _mapped_lock:
        one.users -= 1
        if one.users == 0:
            del _mapped[one.identity]
            one.memory.close()
            for descriptor in one.descriptors:
                os.close(descriptor)


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_dev, stat.st_ino


class RecentRows:
    """The rows that this process has written and that are in the log alone."""

    def __init__(self) -> None:
        self._rows: deque[tuple[bytes, int, JournalRow]] = deque(maxlen=_MOST)

    def add(self, rows: list[JournalRow], index: LogIndex) -> None:
        """Keep rows that were just committed, `index` being as it is now; forget what is copied over."""
        while self._rows and (self._rows[0][0] != index.salt or self._rows[0][1] <= index.copied):
            self._rows.popleft()
        self._rows.extend((index.salt, index.frames, row) for row in rows)

    def __iter__(self) -> Iterator[JournalRow]:
        return (row for _, _, row in self._rows)
