"""
Finding a quote in an input's pages, however a model has copied it.

A quote is tried as it is, without the line-number gutter, and without diff marks. Whitespace never
counts. A line may be quoted in part, a run of lines may start and end within a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tasks.review.inputs.texts import code_key, lines_of
from tasks.review.places.places import Page, Row

__all__ = ["Found", "Quote", "find", "read_quote"]

_GUTTER = re.compile(r"([+-]?)\s*(\d*)\s?[|:](?: |$)(.*)")
_ELIDED = {"...", "…", "#...", "//...", "/*...*/", "[...]"}


@dataclass(frozen=True, slots=True)
class Quote:
    """One reading of a quote."""

    keys: tuple[str, ...]
    """The lines without whitespace; blank ones are gone."""
    removed: bool = False
    """Marked as removed lines."""
    lines: tuple[int, int] | None = None
    """First and last line number, where the gutter was copied along."""


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a quote stands."""

    page: Page
    rows: tuple[Row, ...]
    whole: bool
    """The quote covers its lines from end to end."""
    quote: Quote

    @property
    def span(self) -> tuple[int, int]:
        """First and last line on the place's own side."""
        return self.rows[0].number, self.rows[-1].number

    @property
    def near(self) -> tuple[int, int]:
        """The same in new-side numbers."""
        return self.rows[0].near, self.rows[-1].near

    @property
    def changed(self) -> bool:
        """At least one line is an added one (left: a removed one)."""
        return any(row.marker != " " for row in self.rows)


def read_quote(text: str | None) -> tuple[Quote, ...]:
    """The readings of a quote, most literal first; none when there is no text in it."""
    lines = [line for line in lines_of(text or "") if line.strip()]
    lines = _trim(lines, lambda line: line.lstrip().startswith("```"))
    bare = _trim(lines, lambda line: code_key(line) in _ELIDED)
    readings = [_plain(lines), _without_gutter(lines), _without_marks(lines), _plain(bare)]
    return tuple(dict.fromkeys(quote for quote in readings if quote is not None and quote.keys))


def find(pages: Iterable[Page], quotes: Iterable[Quote]) -> tuple[Found, ...]:
    """Every place of the first reading that covers whole lines, and every partial one before it."""
    pages = tuple(pages)
    places: dict[tuple[int, int, int], Found] = {}
    for quote in quotes:
        for at, page in enumerate(pages):
            for place in _find(page, quote):
                places.setdefault((at, place.rows[0].number, len(place.rows)), place)
        if any(place.whole for place in places.values()):
            break
    return tuple(places.values())


def _find(page: Page, quote: Quote) -> Iterable[Found]:
    size = len(quote.keys)
    for at in range(len(page.solid) - size + 1):
        rows = page.solid[at : at + size]
        if not _covers(rows, quote.keys) or rows[0].hunk != rows[-1].hunk:
            continue
        place = Found(page, rows, tuple(row.key for row in rows) == quote.keys, quote)
        # Context is the same on both sides and belongs to the right one.
        if page.side == "right" or place.changed:
            yield place


def _covers(rows: Sequence[Row], keys: Sequence[str]) -> bool:
    first, last = keys[0], keys[-1]
    if len(keys) == 1:
        return first in rows[0].key
    return (
        rows[0].key.endswith(first)
        and rows[-1].key.startswith(last)
        and all(row.key == key for row, key in zip(rows[1:-1], keys[1:-1], strict=True))
    )


def _trim(lines: list[str], wrapping: Callable[[str], bool]) -> list[str]:
    """The lines without what wraps them: fences, or dots for what was not quoted."""
    while lines and wrapping(lines[0]):
        lines = lines[1:]
    while lines and wrapping(lines[-1]):
        lines = lines[:-1]
    return lines


def _plain(lines: Sequence[str]) -> Quote:
    return Quote(_keys(lines))


def _without_gutter(lines: Sequence[str]) -> Quote | None:
    matches = [_GUTTER.match(line.lstrip()) for line in lines]
    rows = [match.groups() for match in matches if match is not None]
    if len(rows) < len(lines) or not any(mark or number for mark, number, _ in rows):
        return None
    removed = _is_removed(mark for mark, _, _ in rows)
    kept = [row for row in rows if removed or row[0] != "-"]
    numbers = [int(number[:9]) for _, number, _ in kept if number]
    lines_named = (numbers[0], numbers[-1]) if numbers else None
    return Quote(_keys(text for _, _, text in kept), removed, lines_named)


def _without_marks(lines: Sequence[str]) -> Quote | None:
    marks = {line[:1] for line in lines}
    if not marks <= {" ", "+", "-"} or not marks & {"+", "-"}:
        return None
    removed = _is_removed(marks)
    return Quote(_keys(line[1:] for line in lines if removed or line[0] != "-"), removed)


def _is_removed(marks: Iterable[str]) -> bool:
    """Removed lines, perhaps with context; where there are added ones, those are meant."""
    marks = set(marks)
    return "-" in marks and "+" not in marks


def _keys(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(key for key in map(code_key, lines) if key)
