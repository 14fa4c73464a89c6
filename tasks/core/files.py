"""Files written whole or not at all, their checksums, and the lock on an output folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tasks.core.errors import OutputError

__all__ = [
    "atomic",
    "hold_folder",
    "is_shared",
    "is_there",
    "make_private",
    "open_private",
    "output_errors",
    "private_file",
    "private_folder",
    "publish",
    "read_json",
    "sha256",
    "write_json",
]

_GROUP_FOLDER = 0o2770
"""With the bit that gives new files the folder's group, and not their maker's own."""


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an OutputError that names the remedy."""
    try:
        yield
    except OSError as error:
        remedy = {
            errno.ENOSPC: "the disk is full: free some space; the journal has every paid answer",
            errno.EACCES: "no permission: choose another --output or change its owner",
            errno.EROFS: "the file system is read-only: choose another --output",
            errno.ENOTDIR: "a part of the path is a file: choose another --output",
            errno.ENOLCK: "its file system has no locks: choose an --output on a local disk",
            errno.EEXIST: "it exists and is not a folder: choose another --output",
        }.get(error.errno or 0, error.strerror or str(error) or type(error).__name__)
        msg = f"{path} cannot be written: {remedy}"
        raise OutputError(msg) from None


def is_there(path: Path) -> bool:
    """Whether the path exists, and an OSError where that cannot be told.

    Path.exists() says no for any error from Python 3.14 on: of a disk, of a folder without permission.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return True


def private_file(path: Path, flags: int) -> BinaryIO:
    """Open a file to write, made if needed, that only its owner may read, whatever the umask.

    In a folder that is shared with its group (mode 0770), the group may as well.
    """
    return os.fdopen(open_private(path, flags), "wb")


def open_private(path: Path, flags: int) -> int:
    """Open a file as `private_file` does; returns its descriptor."""
    mode = _file_mode(path)
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode)
    with suppress(PermissionError):  # another's file, which this user may write nevertheless
        os.fchmod(descriptor, mode)
    return descriptor


def make_private(database: Path) -> None:
    """Make an SQLite file, or keep others out of one that is there.

    SQLite gives -wal and -shm the file's mode. The file is never opened and closed here: that would
    drop the locks that this process's own connections hold on it.
    """
    mode = _file_mode(database)
    try:
        descriptor = os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                database.with_name(database.name + suffix).chmod(mode)
    else:
        os.fchmod(descriptor, mode)
        os.close(descriptor)


def private_folder(path: Path, mode: str | None = None) -> None:
    """Make a folder that only its owner may enter; one that is there stays as it is.

    `mode` "0770" gives it to its group too; None: as the folder that it is in.
    """
    if not path.is_dir():
        path.mkdir(0o700, parents=True, exist_ok=True)
        shared = is_shared(path.parent) if mode is None else mode == "0770"
        path.chmod(_GROUP_FOLDER if shared else 0o700)


def is_shared(folder: Path) -> bool:
    """Whether a folder is its group's as well and nobody else's, which no umask leads to."""
    return stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0o070  # noqa: PLR2004


def _file_mode(path: Path) -> int:
    return 0o660 if is_shared(path.parent) else 0o600


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which appears at `path` whole or not at all.

    Each process writes under a temporary name of its own: of two at one path, the later one stays.

    Raises:
        OutputError: disk full, read-only, no permission; an earlier file at `path` is untouched.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with output_errors(path):
        try:
            with private_file(temporary, os.O_WRONLY | os.O_TRUNC) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def publish(staged: Path, target: Path, last: str, stale: Iterable[str] = ()) -> None:
    """Move every file of the folder `staged` into `target` on the same disk, the file `last` last.

    Files of `target` that are named in `stale` and not staged are removed first. The files, written
    by `atomic`, are on the disk already; moving them takes no space. When a move fails all the same,
    what was moved or removed before it is taken back.

    Raises:
        OutputError: not permitted; the files of `target` are as they were.
    """
    names = sorted((path.name for path in staged.iterdir()), key=lambda name: (name == last, name))
    old = [name for name in stale if name not in names and (target / name).is_file()]
    earlier = staged.with_name(f"{staged.name}.earlier")
    with output_errors(target):
        _sync_folder(staged)
        earlier.mkdir()
        try:
            for name in old:
                (target / name).replace(earlier / name)
            for name in names:
                if (target / name).exists():
                    (earlier / name).hardlink_to(target / name)
                (staged / name).replace(target / name)
        except BaseException:
            _take_back(names, old, staged, target)
            raise
        _sync_folder(target)


def _take_back(names: Sequence[str], old: Sequence[str], staged: Path, target: Path) -> None:
    earlier = staged.with_name(f"{staged.name}.earlier")
    for name in (*names, *old):
        if (earlier / name).exists():
            (earlier / name).replace(target / name)
        elif name in names and not (staged / name).exists():
            (target / name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, *, indent: bool = False) -> None:
    """Write a JSON document, whole or not at all."""
    options = orjson.OPT_INDENT_2 if indent else 0
    with atomic(path) as file:
        file.write(orjson.dumps(value, default=str, option=options | orjson.OPT_NON_STR_KEYS))


def read_json(path: Path) -> Any:
    """The JSON document at `path`, or None when it is not there or not whole."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def hold_folder(root: Path, lock: Path, mode: str = "0700") -> Iterator[None]:
    """Make `root`, with a mode as `state_mode` has it, and keep other runs out until the block ends.

    The kernel frees the lock when the holder dies, however it dies.

    Raises:
        OutputError: not writable, without locks, or another run is writing there.
    """
    with output_errors(root):
        private_folder(root, mode)
        handle = private_file(lock, os.O_WRONLY | os.O_APPEND)
    with handle:
        with output_errors(root):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                msg = f"{root} is being written by another run: wait for it or choose another --output"
                raise OutputError(msg) from None
        yield
