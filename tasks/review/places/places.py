"""
Where a quote can be found: every side of every file of an input, as numbered rows.

    diff  ->  right page (context and added), left page (context and removed), mixed page (as shown)
    snippet  ->  one right page
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal

from tasks.core.errors import RowError
from tasks.core.records import Input
from tasks.review.inputs.diffs import DiffLine, FileDiff, parse_diff
from tasks.review.inputs.texts import code_key, lines_of

__all__ = ["Page", "Row", "hunk_rows", "on_path", "pages_of"]

_LINES = re.compile(r":\d+(?:-\d+|:\d+)?$")


@dataclass(frozen=True, slots=True)
class Row:
    """One line on one side."""

    number: int
    """On its own side."""
    near: int
    """On the new side; for a removed line, the new line that follows it."""
    text: str
    key: str
    """`text` without whitespace."""
    hunk: int
    marker: str


@dataclass(frozen=True, slots=True)
class Page:
    """One side of one file, in order, without blank lines in `solid`."""

    path: str | None
    names: frozenset[str]
    """All names by which a comment may call the file."""
    side: Literal["right", "left", "mixed"]
    rows: tuple[Row, ...]
    solid: tuple[Row, ...]


@lru_cache(maxsize=64)
def _pages(kind: str, content: str, path: str | None) -> tuple[Page, ...]:
    # Cached because every comment of an input asks for the same pages.
    if kind == "snippet":
        rows = (Row(at, at, text, code_key(text), 0, "+") for at, text in _numbered(content))
        return (_page(path, {path}, "right", rows),)
    try:
        files = parse_diff(content)
    except RowError:
        return ()
    return tuple(chain.from_iterable(_sides(file, path) for file in files if file.hunks))


def pages_of(source: Input) -> tuple[Page, ...]:
    """The input's pages; none when its diff cannot be read."""
    return _pages(source.kind, source.content, source.path)


def on_path(pages: Iterable[Page], path: str | None) -> tuple[Page, ...]:
    """The pages that a comment's `path` means; all of them when it names none.

    Models shorten and lengthen paths, so the end of a path will do where it is unambiguous.
    """
    pages = tuple(pages)
    wanted = _plain(path)
    if not any(wanted in page.names for page in pages):
        wanted = _undecorated(wanted)
    exact = tuple(page for page in pages if wanted in page.names)
    if exact or not wanted:
        return exact or pages
    loose = tuple(page for page in pages if any(_same_end(wanted, name) for name in page.names))
    return loose if len({page.path for page in loose}) == 1 else pages


def hunk_rows(pages: Iterable[Page], side: str, start: int, end: int) -> tuple[Row, ...]:
    """The rows `start` to `end` of the first page on `side` that has `start`, up to the hunk's end."""
    for page in pages:
        rows = {row.number: row for row in page.rows} if page.side == side else {}
        if start in rows:
            hunk = rows[start].hunk
            return tuple(r for r in page.rows if start <= r.number <= end and r.hunk == hunk)
    return ()


def _numbered(content: str) -> Iterable[tuple[int, str]]:
    return enumerate(lines_of(content), 1)


def _sides(file: FileDiff, fallback: str | None) -> tuple[Page, ...]:
    path = file.path or fallback
    names = {path, file.old_path}
    rows = [row for at, hunk in enumerate(file.hunks) for row in _rows(at, hunk.lines)]
    right = (row for line, row in rows if line.marker != "-")
    left = (_left(line, row) for line, row in rows if line.marker != "+")
    mixed = (row for _, row in rows)
    return (
        _page(path, names, "right", right),
        _page(path, names, "left", left),
        _page(path, names, "mixed", mixed),
    )


def _rows(hunk: int, lines: Iterable[DiffLine]) -> Iterable[tuple[DiffLine, Row]]:
    lines = tuple(lines)
    near = next((line.new for line in lines if line.new is not None), 0)
    for line in lines:
        near = near if line.new is None else line.new
        yield line, Row(near, near, line.text, code_key(line.text), hunk, line.marker)
        near += line.new is not None


def _left(line: DiffLine, row: Row) -> Row:
    return Row(line.old or 0, row.near, row.text, row.key, row.hunk, row.marker)


def _page(
    path: str | None,
    names: Iterable[str | None],
    side: Literal["right", "left", "mixed"],
    rows: Iterable[Row],
) -> Page:
    kept = tuple(rows)
    known = frozenset(_plain(name) for name in names if name)
    return Page(path, known, side, kept, tuple(row for row in kept if row.key))


def _plain(path: str | None) -> str:
    return (path or "").strip().removeprefix("./").replace("\\", "/")


def _undecorated(path: str) -> str:
    """A path without what a model has copied or added: `File: `, quotes, line numbers."""
    path = path.strip("`'\"* ").removeprefix("File: ").removeprefix("file: ")
    return _LINES.sub("", _plain(path.strip("`'\"* ")))


def _same_end(one: str, other: str) -> bool:
    return one.endswith(f"/{other}") or other.endswith(f"/{one}")
