"""Files written whole or not at all, their checksums, and the lock on an output folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tasks.core.errors import OutputError

__all__ = [
    "atomic",
    "hold_folder",
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
            errno.EEXIST: "it exists and is not a folder: choose another --output",
        }.get(error.errno or 0, error.strerror or str(error) or type(error).__name__)
        msg = f"{path} cannot be written: {remedy}"
        raise OutputError(msg) from None


def private_file(path: Path, flags: int) -> BinaryIO:
    """Open a file to write, made if needed, that only its owner may read, whatever the umask."""
    return os.fdopen(open_private(path, flags), "wb")


def open_private(path: Path, flags: int) -> int:
    """The same as a descriptor."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(PermissionError):  # another's file, which this user may write nevertheless
        os.fchmod(descriptor, 0o600)
    return descriptor


def make_private(database: Path) -> None:
    """Make an SQLite file, or keep others out of one that is there.

    SQLite gives -wal and -shm the file's mode. The file is never opened and closed here: that would
    drop the locks that this process's own connections hold on it.
    """
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        with suppress(OSError):
            database.chmod(0o600)


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter; one that is there stays as it is."""
    if not path.is_dir():
        path.mkdir(0o700, parents=True, exist_ok=True)


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
def hold_folder(root: Path, lock: Path) -> Iterator[None]:
    """Make `root` and keep other runs out of it until the block ends.

    The kernel frees the lock when the holder dies, however it dies.

    Raises:
        OutputError: not writable, or another run is writing there.
    """
    with output_errors(root):
        private_folder(root)
        handle = private_file(lock, os.O_WRONLY | os.O_APPEND)
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"{root} is being written by another run: wait for it or choose another --output"
            raise OutputError(msg) from None
        yield
