"""
A git repository and a range of commits: one input per changed file, its net diff as content.

What is not taken is a row with its reason: excluded, deleted, binary, too_large, submodule,
symlink, lfs_pointer, no_text_change (an empty file, a bare rename, a change of mode, line endings
alone).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import RowError
from tasks.core.git_source import parse_git_source
from tasks.core.selection import GitOptions, Selection
from tasks.load.sources.file_text import decode_file, file_id, path_text
from tasks.load.sources.git.command import Git
from tasks.load.sources.git.commit_range import commit_range
from tasks.load.sources.git.diff import Change, Section, changes, sections
from tasks.load.sources.numbered import NumberedRow
from tasks.review.inputs.diffs import parse_diff, without_code

__all__ = ["read_git", "repository_folder", "repository_name"]

_HASH = 12
_WORDS = {"A": "added", "M": "modified", "R": "renamed", "T": "retyped", "C": "copied"}
_REASONS = {
    "lfs_pointer": "a Git LFS pointer: the file itself is kept elsewhere",
    "no_text_change": "only line endings differ",
}
_MODES = {
    "160000": RowError("a submodule: review it in its own repository", code="submodule"),
    "120000": RowError("a symbolic link has no code", code="symlink"),
}


def read_git(source: str, options: GitOptions) -> Iterator[NumberedRow]:
    """The files that changed, in git's order; none when nothing did.

    Raises:
        SourceError: no git, no repository, no such commit, a clone that is too shallow.
    """
    asked = parse_git_source(source)
    git = Git(asked.folder)
    commits = commit_range(git, asked.wanted)
    facts = {"repo": repository_name(git), "base_commit": commits.base, "head_commit": commits.head}
    selection = Selection(options)
    with git.at_commit(commits.head) as isolated:
        found = changes(isolated, commits)
        pairs = sections(isolated, commits, found, context=options.context, most=options.max_bytes)
        for number, (change, patch) in enumerate(pairs, 1):
            row = _refusal(change, patch, selection) or _row(change, patch.patch) | facts
            if options.reach != "hunk" and isinstance(row, dict):
                row["file"] = _new_file(git, commits.head, change.path, options.max_bytes)
            yield NumberedRow(number, row, path_text(change.path))


def repository_name(git: Git) -> str:
    """The repository's folder name: its full path says too much about the machine."""
    return repository_folder(git).name


def repository_folder(git: Git) -> Path:
    """The repository's folder, the same for all of its work trees; without the .git of a bare one."""
    common = Path(git.folder, git.text("rev-parse", "--git-common-dir")).resolve()
    folder = common.parent if common.name == ".git" else common
    return folder.with_name(folder.name.removesuffix(".git") or folder.name)


def _refusal(change: Change, patch: Section, selection: Selection) -> RowError | None:
    if why := selection.refusal(path_text(change.path)):
        return RowError(f"left out: {why}", code="excluded")
    if change.status == "D":
        return RowError("the file was deleted: there is no new code", code="deleted")
    return _MODES.get(change.new_mode) or _unfit(patch)


def _unfit(patch: Section) -> RowError | None:
    head, _, body = patch.patch.partition(b"\n@@ ")
    if b"\nBinary files " in head:
        return RowError("git sees a binary file, or one above 32 MB", code="binary")
    if patch.size > patch.limit:
        msg = f"its diff has {patch.size:,} bytes, more than max_bytes = {patch.limit:,} of [git]"
        return RowError(msg, code="too_large")
    if not body:
        msg = "no line differs: an empty file, a bare rename or a mode"
        return RowError(msg, code="no_text_change")
    # Only a patch with one of these can be without code, and reading all of them would take long.
    marked = any(mark in body for mark in (b"\r\n", b"\n\\ No newline", b"oid sha256:"))
    return _without_code(decode_file(patch.patch).text) if marked else None


def _without_code(patch: str) -> RowError | None:
    try:
        reasons = {without_code(file) for file in parse_diff(patch) if file.hunks}
    except RowError:
        return None  # told when it is rendered
    reason = reasons.pop() if len(reasons) == 1 else None
    return RowError(_REASONS[reason], code=reason) if reason else None


def _row(change: Change, patch: bytes) -> dict[str, Any]:
    text = decode_file(patch)
    row: dict[str, Any] = {
        # Without hashes of commits or files: the same change has the same id in another run.
        "input_id": f"{file_id(change.path)}@{_digest(patch)}",
        "kind": "diff",
        "path": path_text(change.path),
        "content": text.text,
        "change": _WORDS.get(change.status, change.status),
    }
    if change.old_path is not None:
        row["old_path"] = path_text(change.old_path)
    return row | ({"bytes_replaced": True} if text.replaced else {})


def _new_file(git: Git, head: str, path: bytes, most: int) -> str | None:
    """The whole new file; None when it is larger than `most` bytes, or a submodule's."""
    done = git.run("cat-file", "blob", f"{head}:{os.fsdecode(path)}")
    known = done.returncode == 0 and len(done.stdout) <= most
    return decode_file(done.stdout).text if known else None


def _digest(patch: bytes) -> str:
    head, border, body = patch.partition(b"\n@@ ")
    lines = [line for line in head.split(b"\n") if not line.startswith(b"index ")]
    return hashlib.sha256(b"\n".join(lines) + border + body).hexdigest()[:_HASH]
