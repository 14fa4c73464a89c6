"""
A folder of .diff, .patch and source files: one input per file, its relative path as input_id.

Every file that is not taken is a row with its reason: excluded, too_large, binary, symlink,
not_a_file, unreadable. An excluded folder is one row and is not entered.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import RowError
from tasks.core.selection import GitOptions, Selection
from tasks.load.sources.file_text import decode, file_id, path_text
from tasks.load.sources.numbered import NumberedRow

__all__ = ["read_folder"]

_DIFFS = (".diff", ".patch")


def read_folder(root: Path, options: GitOptions) -> Iterator[NumberedRow]:
    """All files below `root` in the order of their names; symbolic links are not followed."""
    selection = Selection(options)
    for number, (path, refused) in enumerate(_walk(root, selection), 1):
        name = os.path.relpath(path, root)
        row = refused or _read(path, name, selection, options.max_bytes)
        yield NumberedRow(number, row, path_text(name))


def _walk(folder: Path, selection: Selection) -> Iterator[tuple[Path, RowError | None]]:
    """Files, and what was not entered with its reason. No recursion: folders may be deep."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            yield path, _unreadable(error)
            continue
        folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        others = (entry for entry in entries if not entry.is_dir(follow_symlinks=False))
        yield from ((Path(entry.path), None) for entry in others)
        for entry in reversed(folders):
            why = selection.excluded(path_text(os.path.relpath(entry.path, folder)) + "/")
            if why:
                yield Path(entry.path), RowError(f"the folder is left out: {why}", code="excluded")
            else:
                waiting.append(Path(entry.path))


def _read(path: Path, name: str, selection: Selection, most: int) -> dict[str, Any] | RowError:
    if why := selection.refusal(path_text(name)):
        return RowError(f"left out: {why}", code="excluded")
    try:
        refused = _not_taken(path.lstat(), most)
        return refused or _row(name, path.read_bytes())
    except OSError as error:
        return _unreadable(error)


def _not_taken(found: os.stat_result, most: int) -> RowError | None:
    if stat.S_ISLNK(found.st_mode):
        return RowError("a symbolic link: its target is reviewed where it is", code="symlink")
    if not stat.S_ISREG(found.st_mode):
        return RowError("neither a file nor a folder", code="not_a_file")
    if found.st_size > most:
        msg = f"{found.st_size:,} bytes, more than max_bytes = {most:,} of [git]"
        return RowError(msg, code="too_large")
    return None


def _row(name: str, data: bytes) -> dict[str, Any] | RowError:
    text = decode(data)
    if "\0" in text.text:
        return RowError("the file is binary", code="binary")
    row: dict[str, Any] = {"input_id": file_id(name), "content": text.text}
    if name.lower().endswith(_DIFFS):
        row["kind"] = "diff"
    else:
        row |= {"kind": "snippet", "path": path_text(name)}
    return row | ({"bytes_replaced": True} if text.replaced else {})


def _unreadable(error: OSError) -> RowError:
    return RowError(f"cannot be read: {error.strerror or error}", code="unreadable")
