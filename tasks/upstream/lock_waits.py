"""
Waits for locks that others hold: who holds them, when they are told, when they end.

A lock of our own kind is held for milliseconds. One that lasts for seconds is somebody else's, such
as a backup, a shell or a stopped process, and a run that stands still for it says so.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import StateError

__all__ = [
    "USUAL",
    "Patience",
    "SlowWait",
    "database_files",
    "execute_patiently",
    "lock_error",
    "lock_holder",
]

_LOGGER = logging.getLogger(__name__)
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a lock of another program is waited for."""

    told_after: float = 5.0
    """Seconds until the log says so."""
    most: float = 600.0
    """Seconds until it is an error: answers that are paid wait in memory meanwhile."""

    @property
    def pragma(self) -> str:
        """What makes SQLite itself wait until it is to be told."""
        return f"PRAGMA busy_timeout = {round(self.told_after * 1000)}"


USUAL = Patience()


class SlowWait:
    """`with` it around a wait that is short as a rule; one that is not is told in the log, once.

    One thread waits at a time. The thread that looks at the time is started by the first wait.
    """

    def __init__(self, path: Path, patience: Patience) -> None:
        self._path = path
        self._told_after = patience.told_after
        self._since: float | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        self._since = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lock-wait", daemon=True)
            # From Python 3.12 on none starts once the main thread has ended: what is written after
            # that is worth more than the line that tells of a wait.
            with suppress(RuntimeError):
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def close(self) -> None:
        """End the thread."""
        self._ended.set()

    def _run(self) -> None:
        told = None
        while not self._ended.wait(self._told_after / 4):
            since = self._since
            if since is None or since == told or time.monotonic() - since < self._told_after:
                continue
            told = since
            _LOGGER.warning("%s is locked by %s: waiting", self._path, lock_holder([self._path]))


def execute_patiently(
    connection: sqlite3.Connection,
    statement: str,
    parameters: Sequence[object] = (),
    *,
    path: Path,
    patience: Patience,
    hurried: Callable[[], bool] = lambda: False,
) -> sqlite3.Cursor:
    """Execute a statement that takes SQLite's lock, waiting for others who have it.

    The connection's own busy timeout has to be that of `patience.pragma`.

    Raises:
        StateError: it was locked for too long, or `hurried` says that nobody wants to wait.
        sqlite3.Error: anything else.
    """
    started, told = time.monotonic(), False
    while True:
        try:
            return connection.execute(statement, parameters)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        holder, waited = lock_holder(database_files(path)), time.monotonic() - started
        if waited >= patience.most or hurried():
            msg = f"{path} has been locked by {holder} for {waited:.0f} s: end it, then start again"
            raise StateError(msg)
        if not told:
            told = True
            _LOGGER.warning("%s is locked by %s: answers wait in memory for it", path, holder)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    primary = error.sqlite_errorcode & 0xFF
    return primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def database_files(path: Path) -> list[Path]:
    """The files of an SQLite database that SQLite puts its locks on."""
    return [path, path.with_name(f"{path.name}-shm")]


def lock_holder(paths: Sequence[Path]) -> str:
    """Who else holds one of the files for writing: "process 17 (sqlite3)"; "another process" if unknown."""
    wanted = set()
    for path in paths:
        with suppress(OSError):
            stat = path.stat()
            device = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}"
            wanted.add(f"{device}:{stat.st_ino}")
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in lines:
        # 3: POSIX  ADVISORY  WRITE 15123 fe:00:2147372 120 120
        fields = line.split()
        if len(fields) < 6 or fields[3] != "WRITE" or fields[5] not in wanted:  # noqa: PLR2004
            continue
        pid = int(fields[4])
        if pid > 0 and pid != os.getpid():
            return f"process {pid}{_named(pid)}"
    return "another process"


def _named(pid: int) -> str:
    with suppress(OSError):
        return (
            f" ({Path(f'/proc/{pid}/comm').read_text(encoding='utf-8', errors='replace').strip()})"
        )
    return ""


def lock_error(path: Path, error: OSError) -> StateError:
    """Why a file cannot be locked, with the remedy."""
    reason = error.strerror or type(error).__name__
    if error.errno in _UNSUPPORTED:
        remedy = "its file system has no locks: set `state` to a folder on a local disk"
    else:
        remedy = "make its folder exist and be writable"
    return StateError(f"{path} cannot be locked ({reason}): {remedy}")
