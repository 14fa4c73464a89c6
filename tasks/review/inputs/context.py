"""
A diff of one file with more of the file around its hunks: their functions, or all of it.

    hunk       as the diff has it
    function   each hunk reaches over the functions, else classes, that hold its changed lines
    file       one hunk, the whole new file

It stays a unified diff, with the same changed lines and the same numbers: all that reads diffs, from
splitting to anchors, reads it as any other. What would be beyond the budget stays narrower.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import NamedTuple

from tasks.core.errors import RowError
from tasks.core.records import Comment, Input
from tasks.core.selection import Reach
from tasks.review.inputs.diffs import DiffLine, Hunk, parse_diff
from tasks.review.inputs.scopes import Span, enclosing
from tasks.review.inputs.texts import lines_of

__all__ = ["is_on_change", "widen"]

_HUNK_LINE = re.compile(r"^@@ -", re.MULTILINE)


def widen(
    content: str, path: str | None, file: str, reach: Reach, fits: Callable[[str], bool]
) -> str:
    """The diff with its context; `file` is the whole new file, `fits` whether a text is within the budget.

    A diff of several files, and one that contradicts `file`, stays as it is.
    """
    hunks = _hunks(content)
    lines = lines_of(file)
    if reach == "hunk" or not hunks or not _agree(hunks, lines):
        return content
    make = _Maker(content, "\r\n" if "\r\n" in file else "\n", hunks, lines)
    whole = make.text([Span(1, len(lines))]) if reach == "file" else ""
    if whole and fits(whole):
        return whole
    kept, best = [place.span for place in _places(hunks)], content
    for span in _scopes(path, hunks, lines):
        text = make.text([*kept, span])
        if fits(text):
            kept, best = [*kept, span], text
    return best


def is_on_change(source: Input, comment: Comment) -> bool:
    """Whether a comment touches a line that a diff of one file changes; others, and no place, pass.

    Where lines were only removed, their neighbours in the new file count as changed: a comment on
    what is missing has no other place.
    """
    if source.kind != "diff" or comment.start_line is None:
        return True
    new, old = _changed(source.content)
    lines = range(comment.start_line, (comment.end_line or comment.start_line) + 1)
    return not (new or old) or not (old if comment.side == "left" else new).isdisjoint(lines)


@lru_cache(maxsize=64)
def _changed(content: str) -> tuple[frozenset[int], frozenset[int]]:
    """The new and the old numbers of changed lines; none of a diff of several files."""
    new, old = set[int](), set[int]()
    for line, near in chain.from_iterable(_placed(_hunks(content))):
        if line.marker == "+":
            new.add(line.new or 0)
        elif line.marker == "-":
            old.add(line.old or 0)
            new |= {near, near - 1}
    return frozenset(new), frozenset(old)


def _hunks(content: str) -> tuple[Hunk, ...]:
    try:
        files = parse_diff(content)
    except RowError:
        return ()  # told when it is rendered
    return files[0].hunks if len(files) == 1 and files[0].skipped is None else ()


def _agree(hunks: Iterable[Hunk], lines: Sequence[str]) -> bool:
    shown = (line for hunk in hunks for line in hunk.lines if line.new is not None)
    return all(
        (line.new or 0) <= len(lines) and lines[(line.new or 0) - 1] == line.text for line in shown
    )


def _placed(hunks: Iterable[Hunk]) -> Iterator[list[tuple[DiffLine, int]]]:
    """Of each hunk its lines, each with the number of the new line that stands there or follows."""
    shift = 0
    for hunk in hunks:
        found = list[tuple[DiffLine, int]]()
        for line in hunk.lines:
            # A hunk without context has no new line where lines were removed alone.
            found.append((line, (line.old or 0) + shift if line.new is None else line.new))
            shift += (line.marker == "+") - (line.marker == "-")
        yield found


def _scopes(path: str | None, hunks: Iterable[Hunk], lines: list[str]) -> list[Span]:
    numbers = {
        near
        for line, near in chain.from_iterable(_placed(hunks))
        if line.marker != " " and 1 <= near <= len(lines)
    }
    return enclosing(path or "", lines, sorted(numbers))


class _Place(NamedTuple):
    """A hunk and its new lines: one that only removes some is empty, in front of what follows."""

    span: Span
    hunk: Hunk


def _places(hunks: Sequence[Hunk]) -> list[_Place]:
    starts = [found[0][1] for found in _placed(hunks)]
    sizes = [sum(line.new is not None for line in hunk.lines) for hunk in hunks]
    return [
        _Place(Span(start, start + size - 1), hunk)
        for start, size, hunk in zip(starts, sizes, hunks, strict=True)
    ]


class _Piece(NamedTuple):
    span: Span
    places: list[_Place]


class _Maker:
    """Writes a diff's file anew with other borders of its hunks."""

    def __init__(self, content: str, end: str, hunks: Sequence[Hunk], lines: Sequence[str]) -> None:
        self._title = _HUNK_LINE.split(content, maxsplit=1)[0]
        self._end = end
        self._places = _places(hunks)
        self._lines = lines

    def text(self, spans: Iterable[Span]) -> str:
        """The diff with hunks over `spans`, which hold all of its own."""
        shift, texts = 0, [self._title]
        for piece in self._pieces(spans):
            rows, moved = self._rows(piece)
            first, count = (
                piece.span.first,
                len(self._lines[piece.span.first - 1 : piece.span.last]),
            )
            texts.append(f"@@ -{first - shift},{count - moved} +{first},{count} @@\n")
            texts += rows
            shift += moved
        return "".join(texts)

    def _pieces(self, spans: Iterable[Span]) -> list[_Piece]:
        merged: list[Span] = []
        for span in sorted(spans):
            if merged and span.first <= merged[-1].last + 1:
                merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
            else:
                merged.append(span)
        borders = [*merged, Span(len(self._lines) + 2, 0)]
        return [
            _Piece(
                one, [held for held in self._places if one.first <= held.span.first < after.first]
            )
            for one, after in pairwise(borders)
        ]

    def _rows(self, piece: _Piece) -> tuple[list[str], int]:
        """The lines of a piece, and by how many it has more new ones than old ones."""
        rows, at, moved = list[str](), piece.span.first, 0
        for span, hunk in piece.places:
            rows += self._plain(at, span.first)
            rows += [f"{line.marker}{line.text}{self._end}" for line in hunk.lines]
            moved += sum((line.marker == "+") - (line.marker == "-") for line in hunk.lines)
            at = span.last + 1
        return [*rows, *self._plain(at, piece.span.last + 1)], moved

    def _plain(self, first: int, end: int) -> list[str]:
        return [f" {line}{self._end}" for line in self._lines[first - 1 : max(first, end) - 1]]
