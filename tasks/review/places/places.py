"""
The pages of an input, in which quotes are found: each side of each file, as numbered lines.

    diff  ->  right page (context and added), left page (context and removed), mixed page (as shown)
    snippet  ->  one right page
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple

from tasks.core.errors import RowError
from tasks.core.records import Input
from tasks.review.inputs.diffs import DiffLine, FileDiff, parse_diff
from tasks.review.inputs.texts import code_key, lines_of

__all__ = ["Page", "PageLine", "hunk_lines", "on_path", "pages_of"]

_LINES = re.compile(r":\d+(?:-\d+|:\d+)?$")


class PageLine(NamedTuple):
    """One line on one side of a file."""

    number: int
    """Its number on its own side."""
    near: int
    """Its number on the new side; for a removed line, that of the new line that follows it."""
    text: str
    key: str
    """`text` without whitespace."""
    hunk: int
    marker: str


@dataclass(frozen=True, slots=True)
class Page:
    """The lines of one side of one file, in order; `solid` leaves out the blank ones."""

    path: str | None
    names: frozenset[str]
    """All names by which a comment may call the file."""
    side: Literal["right", "left", "mixed"]
    lines: tuple[PageLine, ...]
    solid: tuple[PageLine, ...]


@lru_cache(maxsize=64)
def _pages(kind: str, content: str, path: str | None) -> tuple[Page, ...]:
    # Cached because every comment of an input asks for the same pages.
    if kind == "snippet":
        texts = lines_of(content)
        lines = [PageLine(at, at, text, code_key(text), 0, "+") for at, text in enumerate(texts, 1)]
        return (_page(path, {path}, "right", lines),)
    try:
        files = parse_diff(content)
    except RowError:
        return ()
    return tuple(chain.from_iterable(_sides(file, path) for file in files if file.hunks))


def pages_of(source: Input) -> tuple[Page, ...]:
    """The pages of an input; none when its diff cannot be read."""
    return _pages(source.kind, source.content, source.path)


def on_path(pages: Iterable[Page], path: str | None) -> tuple[Page, ...]:
    """The pages that a comment's `path` means; all of them when it names none.

    Models shorten and lengthen paths, so the end of a path will do where it is unambiguous.
    """
    pages = tuple(pages)
    wanted = _normal_path(path)
    if not any(wanted in page.names for page in pages):
        wanted = _undecorated(wanted)
    exact = tuple(page for page in pages if wanted in page.names)
    if exact or not wanted:
        return exact or pages
    loose = tuple(page for page in pages if any(_same_end(wanted, name) for name in page.names))
    return loose if len({page.path for page in loose}) == 1 else pages


def hunk_lines(pages: Iterable[Page], side: str, start: int, end: int) -> tuple[PageLine, ...]:
    """The lines `start` to `end` of the first page on `side` that has `start`, up to the hunk's end."""
    for page in pages:
        by_number = {line.number: line for line in page.lines} if page.side == side else {}
        if start in by_number:
            hunk = by_number[start].hunk
            return tuple(
                line for line in page.lines if start <= line.number <= end and line.hunk == hunk
            )
    return ()


def _sides(file: FileDiff, fallback: str | None) -> tuple[Page, ...]:
    path = file.path or fallback
    names = {path, file.old_path}
    lines = [pair for at, hunk in enumerate(file.hunks) for pair in _new_side(at, hunk.lines)]
    right = (line for _, line in lines if line.marker != "-")
    left = (_old_side(source, line) for source, line in lines if line.marker != "+")
    mixed = (line for _, line in lines)
    return (
        _page(path, names, "right", right),
        _page(path, names, "left", left),
        _page(path, names, "mixed", mixed),
    )


def _new_side(hunk: int, lines: Iterable[DiffLine]) -> Iterable[tuple[DiffLine, PageLine]]:
    lines = tuple(lines)
    near = next((line.new for line in lines if line.new is not None), 0)
    for line in lines:
        near = near if line.new is None else line.new
        yield line, PageLine(near, near, line.text, code_key(line.text), hunk, line.marker)
        near += line.new is not None


def _old_side(source: DiffLine, line: PageLine) -> PageLine:
    return line._replace(number=source.old or 0)


def _page(
    path: str | None,
    names: Iterable[str | None],
    side: Literal["right", "left", "mixed"],
    lines: Iterable[PageLine],
) -> Page:
    kept = tuple(lines)
    known = frozenset(_normal_path(name) for name in names if name)
    return Page(path, known, side, kept, tuple([line for line in kept if line.key]))


def _normal_path(path: str | None) -> str:
    return (path or "").strip().removeprefix("./").replace("\\", "/")


def _undecorated(path: str) -> str:
    """A path without what a model has copied or added: `File: `, quotes, line numbers."""
    path = path.strip("`'\"* ").removeprefix("File: ").removeprefix("file: ")
    return _LINES.sub("", _normal_path(path.strip("`'\"* ")))


def _same_end(one: str, other: str) -> bool:
    return one.endswith(f"/{other}") or other.endswith(f"/{one}")
