"""
Locks between processes that die with their owner: byte ranges of one file beside the journal.

Each question claims the byte that its key points to, and writing has a byte of its own. The kernel
drops them when the owner ends, however it ends, so there is no claim to time out and no owner to
look for. Who has the journal open shares one more byte, which a salvage must have for itself.
Open-file-description locks are used, because those of POSIX vanish as soon as any other
part of the process closes the same file, and do not hold between two journals of one process.

Measured with four writing processes: the longest wait is 0.3 s and shares differ by a factor of 2;
SQLite's own busy timeout made one wait 1.8 s and another write seven times as much.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import StateError
from tasks.core.state_folder import open_lock_file
from tasks.upstream.lock_waits import USUAL, Patience, SlowWait, lock_error
from tasks.upstream.short_calls import set_lock

__all__ = ["Locks", "locks_path"]

_WRITING = 0
_OPEN = 2**62 + 1
_FLOCK = "hhqqi0q"  # struct flock of Linux: type, whence, start, length, pid


def locks_path(journal: Path) -> Path:
    """The lock file of the journal in a file."""
    return journal.with_name(f"{journal.name}.lock")


class Locks:
    """The lock file of one journal, as seen by one process.

    `alone`: for a salvage, which no open journal may see; any number of others share.

    Raises:
        StateError: a salvage is under way; for one: the journal is in use; or the file cannot be
            opened or locked. The message names the remedy.
    """

    def __init__(self, journal: Path, patience: Patience = USUAL, *, alone: bool = False) -> None:
        self._path = locks_path(journal)
        try:
            self._file = open_lock_file(self._path)
        except OSError as error:
            raise lock_error(self._path, error) from error
        self._stat = os.fstat(self._file)
        self._slow = SlowWait(self._path, patience)
        try:
            self._enter(journal, alone=alone)
        except BaseException:
            os.close(self._file)
            raise

    def _enter(self, journal: Path, *, alone: bool) -> None:
        if not self._try_lock(fcntl.F_WRLCK if alone else fcntl.F_RDLCK, _OPEN):
            msg = (
                f"journal {journal} is in use: end all runs on its state, then salvage it"
                if alone
                else f"journal {journal} is being salvaged: start again when that has ended"
            )
            raise StateError(msg)

    def is_in_place(self) -> bool:
        """Whether others who open the lock file now meet our locks."""
        try:
            return os.path.samestat(self._stat, self._path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to write; blocks in the kernel's queue, without polling."""
        if not self._try_lock(fcntl.F_WRLCK, _WRITING):
            with self._slow:
                self._await_right_to_write()
        try:
            yield
        finally:
            self._unlock(_WRITING)

    def claim(self, key: str) -> bool:
        """Try to claim a question, by the hex of its key; False: another process works on it."""
        return self._try_lock(fcntl.F_WRLCK, _byte(key))

    def release(self, key: str) -> None:
        """Give a claim back."""
        self._unlock(_byte(key))

    def close(self) -> None:
        """Drop all locks of this process."""
        self._slow.close()
        os.close(self._file)

    def _try_lock(self, kind: int, start: int) -> bool:
        try:
            set_lock(self._file, fcntl.F_OFD_SETLK, _flock(kind, start))
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            raise lock_error(self._path, error) from error
        return True

    def _unlock(self, start: int) -> None:
        try:
            set_lock(self._file, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, start))
        except OSError as error:
            raise lock_error(self._path, error) from error

    def _await_right_to_write(self) -> None:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, _flock(fcntl.F_WRLCK, _WRITING))
        except OSError as error:
            raise lock_error(self._path, error) from error


def _flock(kind: int, start: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, start, 1, 0)


def _byte(key: str) -> int:
    # 62 bits: two of a million different questions share a byte once in ten million journals, and
    # then they only wait for each other.
    return 1 + (int(key[:16], 16) >> 2)
