"""
A folder of .diff, .patch and source files: one input per file, its relative path as input_id.

Every file that is not taken is a row with its reason: excluded, too_large, binary, symlink,
lfs_pointer, not_a_file, unreadable. An excluded folder is one row and is not entered. A folder
that holds a data set is refused: its files are what can be given.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import RowError, SourceError
from tasks.core.selection import GitOptions, Selection
from tasks.load.sources.file_text import decode_file, file_id, path_text
from tasks.load.sources.numbered import NumberedRow
from tasks.review.inputs.diffs import LFS_VERSION

__all__ = ["read_folder"]

_DIFFS = (".diff", ".patch")
_DATA = (
    *(".parquet", ".arrow", ".jsonl", ".ndjson", ".csv"),
    *(".jsonl.gz", ".ndjson.gz", ".json.gz", ".csv.gz"),
)
_BESIDE_DATA = re.compile(
    r"dataset_info\.json|dataset_dict\.json|state\.json|_.*|\..*\.crc|\.gitattributes"
    r"|(?:readme|license|dataset_?card)(?:\.\w+)?",
    re.IGNORECASE,
)


def read_folder(root: Path, options: GitOptions) -> Iterator[NumberedRow]:
    """All files below `root` in the order of their names; symbolic links are not followed.

    Raises:
        SourceError: the folder is a data set.
    """
    _refuse_data_set(root)
    selection = Selection(options)
    for number, (path, refused) in enumerate(_walk(root, selection), 1):
        name = os.path.relpath(path, root)
        row = refused or _read(path, name, selection, options.max_bytes)
        yield NumberedRow(number, row, path_text(name))


def _refuse_data_set(root: Path) -> None:
    """Refuse a folder whose files are data and what belongs to it, and nothing else."""
    first: str | None = None
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            if name.lower().endswith(_DATA):
                path = os.path.join(folder, name)  # noqa: PTH118 - a walk has a name for each file
                first = min(first or path, path)
            elif not _BESIDE_DATA.fullmatch(name):
                return
    if first is None:
        return
    save = " saved as Parquet (Dataset.to_parquet)" if first.endswith(".arrow") else ""
    msg = (
        f"{root} is a data set, not a folder of code: give one of its files{save}, such as {first}"
    )
    raise SourceError(msg)


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
    text = decode_file(data)
    if "\0" in text.text:
        return RowError("the file is binary", code="binary")
    if text.text.startswith(LFS_VERSION):
        msg = "a Git LFS pointer: fetch the file itself with git lfs pull"
        return RowError(msg, code="lfs_pointer")
    row: dict[str, Any] = {"input_id": file_id(name), "content": text.text}
    if name.lower().endswith(_DIFFS):
        row["kind"] = "diff"
    else:
        row |= {"kind": "snippet", "path": path_text(name)}
    return row | ({"bytes_replaced": True} if text.replaced else {})


def _unreadable(error: OSError) -> RowError:
    return RowError(f"cannot be read: {error.strerror or error}", code="unreadable")
