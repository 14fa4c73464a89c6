"""
Locks that the kernel releases when their holder dies, however it dies.

A multiprocessing lock stays locked when its holder is killed; flock does not.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from tasks.core.errors import StateError
from tasks.core.files import open_private, private_folder
from tasks.core.state_folder import open_lock_file
from tasks.upstream.lock_waits import USUAL, Patience, SlowWait, lock_error

__all__ = ["FileLock", "OwnerFile", "is_alive"]


class FileLock:
    """flock with a thread lock in front, because flock belongs to the open file.

    The file may hold a note; `note` is read and written under the lock.
    """

    def __init__(self, path: Path, patience: Patience = USUAL) -> None:
        self._path = path
        self._fd = -1
        self._threads = threading.Lock()
        self._slow = SlowWait(path, patience)

    def __enter__(self) -> Self:
        self._threads.acquire()
        try:
            self._take()
        except BaseException:
            self._threads.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._threads.release()

    @property
    def note(self) -> str:
        return os.pread(self._fd, 4096, 0).decode("utf-8", "replace")

    @note.setter
    def note(self, text: str) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def close(self) -> None:
        """Close the file."""
        self._slow.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take(self) -> None:
        while True:
            if self._fd < 0:
                self._fd = self._open()
            try:
                self._lock()
            except OSError as error:
                raise lock_error(self._path, error) from error
            if _same_file(self._fd, self._path):
                return
            self._close_file()  # somebody removed it meanwhile: two files would be two locks

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with self._slow:
                fcntl.flock(self._fd, fcntl.LOCK_EX)

    def _open(self) -> int:
        try:
            private_folder(self._path.parent)
            return open_lock_file(self._path)
        except OSError as error:
            msg = (
                f"{self._path} cannot be opened ({error.strerror}): make the state folder writable"
            )
            raise StateError(msg) from error


class OwnerFile:
    """A file whose lock shows other processes that this one lives.

    Raises:
        StateError: it cannot be written or locked; the message names the remedy.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex[:16]
        self._path = folder / self.name
        try:
            private_folder(folder.parent)
            private_folder(folder)
            self._fd = open_private(self._path, os.O_RDWR | os.O_EXCL)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as error:
            raise lock_error(self._path, error) from error

    def exists(self) -> bool:
        """Whether others can still see the file."""
        return self._path.exists()

    def close(self) -> None:
        """Stop being alive."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with suppress(OSError):  # a folder that is read-only by now: the lock is gone all the same
            self._path.unlink(missing_ok=True)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process behind an OwnerFile lives; removes the file when it does not."""
    path = folder / name
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(fd)


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
