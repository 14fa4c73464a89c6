"""
What a model is shown of an input: numbered lines, in one to three parts.

    @@ -4,2 +4,3 @@ section
          4 | import inspect
    +     5 | import os
    -       | import re

The number is the line's on the new side; removed lines have none. Snippets are shown the same
way, without marks. The number is what a comment's `start_line` and `end_line` refer to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tasks.core.errors import RowError
from tasks.core.records import Input
from tasks.review.inputs.diffs import LFS_VERSION, DiffLine, FileDiff, parse_diff, without_code
from tasks.review.inputs.split import Block, fit, left_out
from tasks.review.inputs.texts import lines_of

__all__ = ["MAX_PARTS", "Rendered", "gutter", "render_input"]

MAX_PARTS = 3
"""Calls per check and input."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """An input ready for a prompt."""

    parts: tuple[str, ...]
    """One text per call, each within the budget; empty when `unreviewable` is set."""
    left_out: tuple[str, ...] = ()
    """`path:start-end` of what no part shows; not empty makes the input partial."""
    unreviewable: str | None = None
    """Why there is nothing to review: `binary`, `combined_diff`, `no_added_lines`,
    `no_text_change` (line endings alone), `lfs_pointer`, `not_a_diff`, `bad_diff`, `empty`,
    `over_budget`."""

    @property
    def partial_reason(self) -> str | None:
        """What a partial input's `coverage_reason` says; None when all of it is shown."""
        return f"left out: {', '.join(self.left_out)}" if self.left_out else None


def render_input(source: Input, budget: int, count: Callable[[str], int]) -> Rendered:
    """The input with a line-number gutter, cut to parts of at most `budget` tokens by `count`.

    Never raises for what is in the input: a diff that cannot be read is unreviewable by its reason.
    """
    if source.kind == "snippet":
        lines = lines_of(source.content)
        if not any(line.strip() for line in lines):
            return Rendered((), unreviewable="empty")
        if lines[0] == LFS_VERSION:
            return Rendered((), unreviewable="lfs_pointer")
        whole = "".join([f" {at:>5} | {text}\n" for at, text in enumerate(lines, 1)])
        if _fits(whole, budget, count):
            return Rendered((whole,))
        numbered = (DiffLine(" ", text, at, at) for at, text in enumerate(lines, 1))
        return _cut([Block(source.path, (), "", tuple(numbered))], (), budget, count)
    try:
        files = parse_diff(source.content)
    except RowError as error:
        return Rendered((), unreviewable=error.code)
    return _render_diff(source, files, budget, count)


def gutter(line: DiffLine) -> str:
    """One line as a model sees it."""
    number = "" if line.new is None else line.new
    return f"{line.marker}{number:>5} | {line.text}"


def _render_diff(
    source: Input, files: tuple[FileDiff, ...], budget: int, count: Callable[[str], int]
) -> Rendered:
    code = [file for file in files if without_code(file) is None]
    if not any(line.marker == "+" for line in _lines(code)):
        skipped = {file.skipped or without_code(file) for file in files} - {None}
        reason = skipped.pop() if len(skipped) == 1 and not any(_lines(code)) else None
        return Rendered((), unreviewable=reason or "no_added_lines")
    blocks = [block for file in code for block in _blocks(file, source.path)]
    unread = [
        f"{f.path or source.path}:combined diff" for f in files if f.skipped == "combined_diff"
    ]
    return _cut(blocks, tuple(unread), budget, count)


def _lines(files: Iterable[FileDiff]) -> Iterable[DiffLine]:
    return (line for file in files for hunk in file.hunks for line in hunk.lines)


def _blocks(file: FileDiff, fallback: str | None) -> list[Block]:
    path = file.path or fallback
    title = f"File: {path}" if path else "File: (name unknown)"
    if file.old_path and file.old_path != file.path:
        title += f" (was {file.old_path})"
    return [Block(path, (title,), hunk.section, hunk.lines) for hunk in file.hunks]


def _cut(
    blocks: list[Block], unread: tuple[str, ...], budget: int, count: Callable[[str], int]
) -> Rendered:
    whole = _text(blocks)
    if _fits(whole, budget, count):
        return Rendered((whole,), unread)
    parts, rest = fit(blocks, budget, MAX_PARTS, lambda block: count(_text([block])))
    if not parts:
        return Rendered((), unreviewable="over_budget")
    return Rendered(tuple(map(_text, parts)), unread + left_out(rest))


def _fits(text: str, budget: int, count: Callable[[str], int]) -> bool:
    # A token is a byte at least, so most inputs need no count.
    return len(text.encode("utf-8", "surrogatepass")) <= budget or count(text) <= budget


def _text(blocks: Iterable[Block]) -> str:
    rows: list[str] = []
    title: tuple[str, ...] = ()
    for block in blocks:
        if block.title and block.title != title:
            rows.extend(block.title)
        title = block.title
        if block.title:
            rows.append(block.header)
        rows.extend(map(gutter, block.lines))
    return "\n".join(rows) + "\n"
