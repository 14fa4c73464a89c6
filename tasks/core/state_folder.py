"""The state folder: who may enter it, and whose locks count in it."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.core.errors import OutputError, StateError
from tasks.core.files import is_shared, open_private, private_folder, write_json

__all__ = ["open_lock_file", "prepare_state_folder", "write_state"]

_SHARE = 'or share the state folder with a group: state_mode = "0770" in review.toml'
_OURS = ("journal.sqlite", "ledger.sqlite", "batches.sqlite")

LEAST_FREE = 8 * 2**20
"""Bytes: logs and locks of journal and ledger, and the answers of a run's first minutes."""


def prepare_state_folder(folder: Path, mode: str) -> None:
    """Make the folder of journal and ledger with `mode` ("0700", "0770"), or give it that mode.

    Raises:
        StateError: it cannot be made, other users could replace its files, or its disk is full.
    """
    try:
        private_folder(folder, mode)
        _take_over(folder, mode)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        msg = f"{folder} cannot be used as state ({error.strerror}): make it a writable folder"
        raise StateError(msg) from error
    if free < LEAST_FREE:
        msg = (
            f"the disk of the state folder {folder} has {free / 2**20:.1f} MB free and a run needs at "
            f"least {LEAST_FREE / 2**20:.0f} MB: free some space, or set another `state`"
        )
        raise StateError(msg)


def _take_over(folder: Path, mode: str) -> None:
    found = folder.stat()
    permissions = stat.S_IMODE(found.st_mode)
    wanted = 0o2770 if mode == "0770" else 0o700
    if found.st_uid == os.geteuid():
        # A folder that is named as state and is something else as well keeps its mode.
        if permissions & 0o777 != wanted & 0o777 and _is_state(folder, permissions):
            _change(folder, wanted)
        return
    if permissions & 0o022 and not (mode == "0770" and is_shared(folder)):
        msg = (
            f"the state folder {folder} belongs to {_user(found.st_uid)} and others may write to it: "
            f"use a folder of your own, {_SHARE}"
        )
        raise StateError(msg)


def _change(folder: Path, mode: int) -> None:
    """Give our own folders and files in it the mode as well, for what is in a closed one is closed."""
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # another run works in it
            found = path.lstat()
            if found.st_uid == os.geteuid() and not path.is_symlink():
                path.chmod(mode if path.is_dir() else mode & 0o660)


def _is_state(folder: Path, permissions: int) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not permissions & stat.S_ISVTX and (not names or not names.isdisjoint(_OURS))


def open_lock_file(path: Path) -> int:
    """A descriptor of a lock file, made if needed, that nobody but its owner can hold.

    In a folder that is shared with a group, its members can.

    Raises:
        OSError: it cannot be opened.
        StateError: another user could hold it, and a run would wait for ever.
    """
    shared = path.parent.is_dir() and is_shared(path.parent)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return open_private(path, os.O_RDWR | os.O_NOFOLLOW)
    if not stat.S_ISREG(found.st_mode):
        msg = f"{path} is no ordinary file and cannot be a lock: remove it"
        raise StateError(msg)
    if found.st_uid != os.geteuid() and not shared:
        msg = (
            f"{path} belongs to {_user(found.st_uid)}, who could hold its lock for ever: remove it "
            f"while no run uses the folder, {_SHARE}"
        )
        raise StateError(msg)
    if found.st_mode & (0o002 if shared else 0o022):
        msg = (
            f"{path} can be written, and so be locked for ever, by other users: "
            f"`chmod {'660' if shared else '600'} {path}`, {_SHARE}"
        )
        raise StateError(msg)
    return open_private(path, os.O_RDWR | os.O_NOFOLLOW)


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def write_state(path: Path, value: Any, *, indent: bool = False) -> None:
    """Write a document that runs remember, whole or not at all, in a folder that is ours.

    Raises:
        StateError: it cannot be written.
    """
    try:
        private_folder(path.parent)
        write_json(path, value, indent=indent)
    except (OSError, OutputError) as error:
        msg = f"{path} cannot be written ({error}): make the state folder writable"
        raise StateError(msg) from None
