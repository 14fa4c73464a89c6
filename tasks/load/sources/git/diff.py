"""
The files that differ between two commits, each with its part of the diff.

    git diff-tree --raw -z   -> Change: names exactly as they are, modes, what happened
    git diff-tree -p         -> Section: one file's patch, in the same order

Two passes, because only the first gives hostile names without doubt. Memory holds one patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from tasks.core.errors import SourceError
from tasks.load.sources.git.command import Git
from tasks.load.sources.git.commit_range import CommitRange

__all__ = ["Change", "Section", "changes", "sections"]

_COMPARE = (
    "diff-tree",
    "-r",
    "--find-renames=50%",
    "-l1000",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--submodule=short",
    "--ignore-submodules=none",
    # The text of a diff must depend on nothing but the two files: it is what was paid for.
    "--diff-algorithm=histogram",
    "--indent-heuristic",
    "--inter-hunk-context=0",
    "--full-index",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of `--raw`."""

    status: str
    """A added, D deleted, M modified, R renamed, T type changed."""
    new_mode: str
    path: bytes
    old_path: bytes | None = None


@dataclass(slots=True)
class Section:
    """One file's patch, up to a limit."""

    limit: int
    size: int = 0
    """Bytes of the whole patch."""
    pieces: list[bytes] = field(default_factory=list)

    def add(self, piece: bytes) -> None:
        """Keep `piece` unless the patch is too large by then."""
        self.size += len(piece)
        if self.size <= self.limit:
            self.pieces.append(piece)

    @property
    def patch(self) -> bytes:
        """The whole patch, or its start when `size` is beyond the limit."""
        return b"".join(self.pieces)


def changes(git: Git, commits: CommitRange) -> list[Change]:
    """Every file that differs, in the order of `sections`."""
    done = git.run(*_COMPARE, "--raw", "-z", commits.base, commits.head, "--")
    if done.returncode:
        git.fail(f"diff {commits.base[:12]} {commits.head[:12]}", done.stderr)
    return list(_entries(iter(done.stdout.split(b"\0")[:-1])))


def _entries(fields: Iterator[bytes]) -> Iterator[Change]:
    for about in fields:
        _, new_mode, _, _, status = about.decode("ascii").split(" ")
        old = next(fields)
        new = next(fields) if status[0] in "RC" else None
        yield Change(status[0], new_mode, new or old, old if new else None)


def sections(
    git: Git, commits: CommitRange, found: list[Change], *, context: int, most: int
) -> Iterator[tuple[Change, Section]]:
    """Each change with its patch of at most `most` bytes.

    Raises:
        SourceError: git failed, or told of other files than in its list.
    """
    options = (*_COMPARE, "-p", f"-U{context}", commits.base, commits.head, "--")
    with git.stream(*options) as output:
        patches = _patches(output, most)
        for change in found:
            patch = next(patches, None)
            if change.status == "T":  # a deletion, then an addition
                patch = next(patches, None)
            if patch is None:
                break
            yield change, patch
        else:
            if next(patches, None) is None:
                return
    msg = f"git listed other files than it compared in {git.folder}: run again, and report this"
    raise SourceError(msg)


def _patches(output: IO[bytes], most: int) -> Iterator[Section]:
    section: Section | None = None
    fresh = True
    # Lines of code have a mark in front, so only git itself starts one like this.
    while piece := output.readline(_LINE):
        if fresh and piece.startswith(b"diff --git "):
            if section is not None:
                yield section
            section = Section(most)
        if section is not None:
            section.add(piece)
        fresh = piece.endswith(b"\n")
    if section is not None:
        yield section
