"""
Reading unified diffs into files, hunks and numbered lines.

    "diff --git ..."  ->  FileDiff(path, hunks)  ->  Hunk(lines)  ->  DiffLine("+", text, None, 7)

Reads the output of git, diff, svn, hg and p4: renames, mode changes, new and deleted files, no
prefixes or one's own, quoted names, colours, CRLF, missing newline at the end, hunks without any
file header. Binary files and combined diffs are recorded with `skipped`, not read. Lines count
from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple

from tasks.core.errors import RowError
from tasks.review.inputs.diff_paths import git_header_paths, header_path, strip_prefixes
from tasks.review.inputs.texts import lines_of

__all__ = [
    "LFS_VERSION",
    "DiffLine",
    "FileDiff",
    "Hunk",
    "LineMark",
    "looks_like_diff",
    "parse_diff",
    "without_code",
]

LineMark = Literal[" ", "+", "-"]
Skipped = Literal["binary", "combined_diff"]

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@ ?(.*)")
_COMBINED = ("diff --cc ", "diff --combined ")
_BINARY = ("Binary files ", "GIT binary patch")
_HEADERS = ("diff ", "@@ ", "Index: ", "From ", "commit ", "Only in ", "==== ")
_SIGNATURE = "-- "  # closes a mailed patch
LFS_VERSION = "version https://git-lfs.github.com/spec/v1"
"""The first line of a Git LFS pointer, which stands for a file that is kept elsewhere."""
_LFS_LINE = re.compile(r"(?:version https://git-lfs|oid sha256:[0-9a-f]{64}|size \d+|ext-\d)")
_DEPOT = re.compile(r"==== (.+?)#\d+ (?:- .+|\([^)]*\)) ====")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]")
_COLOURED = re.compile(r"^(?:\x1b\[[0-9;]*[mK])+(?:diff |--- |@@ -)", re.MULTILINE)
_OPENING = re.compile(
    r"\s*(?:diff |--- |@@ -\d|Index: |From \S+ |commit [0-9a-f]|Only in |==== |# |Change \d"
    r"|=== |cvs |RCS file|[A-Z][\w-]*: )"
)
_FILE_WITH_HUNK = re.compile(
    r"^(?:diff --git .*\n(?:.*\n){0,12}?|--- .*\n\+\+\+ .*\n|==== .*#\d+ .*====\n\s*?)@@ -\d",
    re.MULTILINE,
)
_BARE_HUNK = re.compile(r"\s*@@ -\d[\d,]* \+\d[\d,]* @@")


class DiffLine(NamedTuple):
    """One line of a hunk; a side on which the line does not exist has no number."""

    marker: LineMark
    text: str
    old: int | None
    new: int | None


@dataclass(frozen=True, slots=True)
class Hunk:
    """One run of neighbouring lines; `section` is what git prints behind the second @@."""

    section: str
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file's change. `path` is the new name, or the old one of a deleted file."""

    path: str | None
    """None: the diff has hunks but no file header."""
    old_path: str | None
    """None: the file is new, or the diff does not say."""
    hunks: tuple[Hunk, ...]
    skipped: Skipped | None = None


def parse_diff(text: str) -> tuple[FileDiff, ...]:
    """The files of a unified diff, in its order.

    Raises RowError with code `not_a_diff` when there is none in `text`, `bad_diff` when a hunk
    contradicts its header in a way that would put line numbers in doubt.
    """
    files = _Reader(lines_of(_plain(text))).read()
    if not files:
        msg = "no unified diff found; give output of `git diff`, or set kind to snippet"
        raise RowError(msg, code="not_a_diff")
    return files


def without_code(file: FileDiff) -> Literal["lfs_pointer", "no_text_change"] | None:
    """Why a file with hunks has no change of code; None when it has one."""
    lines = [line for hunk in file.hunks for line in hunk.lines]
    new = [line.text for line in lines if line.new is not None]
    if new and all(_LFS_LINE.match(text) for text in new) and any("oid sha256" in t for t in new):
        return "lfs_pointer"
    changed = any(line.marker != " " for line in lines)
    same = all(old == new for hunk in file.hunks for old, new in _changes(hunk))
    return "no_text_change" if changed and same else None


def _changes(hunk: Hunk) -> Iterator[tuple[list[str], list[str]]]:
    """Removed and added texts of each run of marked lines; a line's end is no part of them."""
    for marked, run in groupby(hunk.lines, lambda line: line.marker != " "):
        lines = [*run] if marked else []
        yield (
            [line.text for line in lines if line.marker == "-"],
            [line.text for line in lines if line.marker == "+"],
        )


def looks_like_diff(text: str) -> bool:
    """Whether `text` opens as a diff, or what mails and tools put before one, and has a hunk.

    Code that quotes a diff does not: it opens otherwise.
    """
    text = _plain(text)
    if _BARE_HUNK.match(text):
        return True
    opens = _OPENING.match(text) is not None or "\ndiff --git " in text[:4096]
    return opens and _FILE_WITH_HUNK.search(text) is not None


def _plain(text: str) -> str:
    """Without a byte order mark and the colours of a terminal; those in code stay."""
    text = text.removeprefix("\ufeff")
    return _COLOUR.sub("", text) if "\x1b" in text and _COLOURED.search(text) else text


@dataclass(slots=True)
class _Draft:
    header: tuple[str, str] | None = None
    old: str | None = None
    new: str | None = None
    renamed: bool = False
    skipped: Skipped | None = None
    hunks: list[Hunk] = field(default_factory=list)

    def finish(self) -> FileDiff:
        old, new = self._paths()
        return FileDiff(new or old, old, tuple(self.hunks), self.skipped)

    def _paths(self) -> tuple[str | None, str | None]:
        if self.renamed or self.skipped == "combined_diff":
            return self.old, self.new
        old, new = (self.old, self.new) if self.old and self.new else self.header or (None, None)
        return strip_prefixes(old, new, self.header) if old and new else (None, None)


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0
        self._draft: _Draft | None = None
        self._files: list[FileDiff] = []

    def read(self) -> tuple[FileDiff, ...]:
        while self._at < len(self._lines):
            self._step(self._lines[self._at])
        self._open(None)
        return tuple(self._files)

    def _step(self, line: str) -> None:
        if line.startswith(_COMBINED):
            name = header_path(line.split(" ", 2)[2])
            self._open(_Draft(old=name, new=name, skipped="combined_diff"))
        elif line.startswith("diff --git "):
            self._open(_Draft(header=git_header_paths(line.removeprefix("diff --git "))))
        elif depot := _DEPOT.match(line):
            self._open(_Draft(old=depot[1], new=depot[1]))
        elif self._names_follow(self._at):
            self._read_names()
        elif line.startswith("@@ "):
            self._read_hunk(line)
            return
        elif self._draft is not None and not self._draft.hunks:
            self._read_extended(self._draft, line)
        elif line.startswith("Binary files "):
            self._open(_Draft(skipped="binary"))
        self._at += 1

    def _open(self, draft: _Draft | None) -> None:
        if self._draft is not None:
            self._files.append(self._draft.finish())
        self._draft = draft

    def _names_follow(self, at: int) -> bool:
        pair = self._lines[at : at + 2]
        return len(pair) > 1 and pair[0].startswith("--- ") and pair[1].startswith("+++ ")

    def _read_names(self) -> None:
        if self._draft is None or self._draft.hunks or (self._draft.old and not self._named_twice):
            self._open(_Draft())
        draft = self._draft
        if draft is not None and not draft.renamed and draft.skipped is None:
            draft.old = header_path(self._lines[self._at][4:])
            draft.new = header_path(self._lines[self._at + 1][4:])
        self._at += 1

    @property
    def _named_twice(self) -> bool:
        """A rename or a combined diff has said its names before `---` and `+++`."""
        draft = self._draft
        return draft is not None and (draft.renamed or draft.skipped == "combined_diff")

    def _read_extended(self, draft: _Draft, line: str) -> None:
        if line.startswith(("rename from ", "copy from ")):
            draft.old = header_path(line.split(" ", 2)[2])
        elif line.startswith(("rename to ", "copy to ")):
            draft.new = header_path(line.split(" ", 2)[2])
            draft.renamed = draft.old is not None
        elif line.startswith(_BINARY):
            draft.skipped = draft.skipped or "binary"

    def _read_hunk(self, line: str) -> None:
        header = _HUNK.match(line)
        if header is None:
            if self._draft is not None and self._draft.skipped is None:
                self._fail("hunk header without line numbers")
            self._at += 1
            return
        if self._draft is None or self._falls_back(self._draft, int(header[3])):
            self._open(_Draft())
        self._at += 1
        if self._draft is not None:
            self._draft.hunks.append(self._read_body(header))

    def _falls_back(self, draft: _Draft, start: int) -> bool:
        """Whether a hunk without a name is another file's: its numbers are behind us."""
        if draft.old or draft.header or not draft.hunks:
            return False
        numbers = [line.new for line in draft.hunks[-1].lines if line.new is not None]
        return bool(numbers) and start < numbers[-1]

    def _read_body(self, header: re.Match[str]) -> Hunk:
        old, new = int(header[1]), int(header[3])
        last_old = old + int(header[2] or 1)
        last_new = new + int(header[4] or 1)
        lines: list[DiffLine] = []
        while marker := self._marker(last_old - old, last_new - new):
            if marker != "\\":
                kind: LineMark = "+" if marker == "+" else "-" if marker == "-" else " "
                text = self._lines[self._at][1:]
                lines.append(
                    DiffLine(kind, text, None if kind == "+" else old, None if kind == "-" else new)
                )
                old, new = old + (kind != "+"), new + (kind != "-")
            self._at += 1
        return Hunk(header[5], tuple(lines))

    def _marker(self, old_left: int, new_left: int) -> str:
        """The marker of the next body line; empty at the hunk's end, short or full."""
        if self._at >= len(self._lines):
            return ""
        line = self._lines[self._at]
        # Mailers strip the blank that marks an empty context line.
        marker = line[:1] or (" " if old_left > 0 and new_left > 0 else "")
        if marker == "\\":
            return marker
        if marker not in {" ", "+", "-"} or self._next_file(old_left, new_left):
            if (old_left, new_left) != (0, 0) and not self._closed():
                self._fail("hunk breaks off before its end")
            return ""
        room = {"+": new_left, "-": old_left, " ": min(old_left, new_left)}[marker]
        if room > 0:
            return marker
        full = (old_left, new_left) == (0, 0)
        if line != _SIGNATURE and not (full and self._stray(marker)):
            self._fail("hunk is longer than its header says")
        return ""

    def _stray(self, marker: str) -> bool:
        """One line behind a full hunk that is no code: tools pass over it. Several are a hunk's."""
        after = self._lines[self._at + 1 : self._at + 2]
        return marker != "+" and not (after and after[0].startswith(("+", "-", " ")))

    def _next_file(self, old_left: int, new_left: int) -> bool:
        """True at `---`, `+++`, `@@` of another file, unless the counts claim the first two."""
        if not self._names_follow(self._at) or (old_left, new_left) == (1, 1):
            return False
        third = self._lines[self._at + 2 : self._at + 3]
        return (old_left, new_left) == (0, 0) or bool(third and third[0].startswith("@@ -"))

    def _closed(self) -> bool:
        """Nothing but another header may follow a hunk that is shorter than it says."""
        rest = range(self._at, len(self._lines))
        at = next((at for at in rest if self._lines[at].strip()), None)
        return at is None or self._lines[at].startswith(_HEADERS) or self._names_follow(at)

    def _fail(self, problem: str) -> None:
        msg = f"line {self._at + 1} of the diff: {problem}; regenerate it with `git diff`"
        raise RowError(msg, code="bad_diff")
