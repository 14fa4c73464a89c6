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
from tasks.review.places.places import Page, PageLine

__all__ = ["Quote", "QuoteMatch", "find_quote", "read_quote"]

_GUTTER = re.compile(r"([+-]?)\s*(\d*)\s?[|:](?: |$)(.*)")
_ELIDED = {"...", "…", "#...", "//...", "/*...*/", "[...]"}


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote as it may be read: as it is, without a gutter, or without diff marks."""

    keys: tuple[str, ...]
    """The quoted lines without whitespace; blank ones are left out."""
    removed: bool = False
    """Marked as removed lines."""
    lines: tuple[int, int] | None = None
    """First and last line number, where the gutter was copied along."""


@dataclass(frozen=True, slots=True)
class QuoteMatch:
    """A place where a quote stands."""

    page: Page
    lines: tuple[PageLine, ...]
    whole: bool
    """The quote covers its lines from end to end."""
    quote: Quote

    @property
    def span(self) -> tuple[int, int]:
        """First and last line on the place's own side."""
        return self.lines[0].number, self.lines[-1].number

    @property
    def near(self) -> tuple[int, int]:
        """First and last line in numbers of the new side."""
        return self.lines[0].near, self.lines[-1].near

    @property
    def changed(self) -> bool:
        """At least one line is an added one (left: a removed one)."""
        return any(line.marker != " " for line in self.lines)


def read_quote(text: str | None) -> tuple[Quote, ...]:
    """The readings of a quote, most literal first; none when there is no text in it."""
    lines = [line for line in lines_of(text or "") if line.strip()]
    lines = _trim(lines, lambda line: line.lstrip().startswith("```"))
    bare = _trim(lines, lambda line: code_key(line) in _ELIDED)
    readings = [_as_it_is(lines), _without_gutter(lines), _without_marks(lines), _as_it_is(bare)]
    return tuple(dict.fromkeys(quote for quote in readings if quote is not None and quote.keys))


def find_quote(pages: Iterable[Page], quotes: Iterable[Quote]) -> tuple[QuoteMatch, ...]:
    """Every place of the first reading that covers whole lines, and every partial one before it."""
    pages = tuple(pages)
    matches: dict[tuple[int, int, int], QuoteMatch] = {}
    for quote in quotes:
        for at, page in enumerate(pages):
            for match in _matches(page, quote):
                matches.setdefault((at, match.lines[0].number, len(match.lines)), match)
        if any(match.whole for match in matches.values()):
            break
    return tuple(matches.values())


def _matches(page: Page, quote: Quote) -> Iterable[QuoteMatch]:
    size = len(quote.keys)
    for at in _beginnings(page, quote.keys):
        lines = page.solid[at : at + size]
        if not _covers(lines, quote.keys) or lines[0].hunk != lines[-1].hunk:
            continue
        match = QuoteMatch(page, lines, tuple(line.key for line in lines) == quote.keys, quote)
        # Context is the same on both sides and belongs to the right one.
        if page.side == "right" or match.changed:
            yield match


def _beginnings(page: Page, keys: Sequence[str]) -> list[int]:
    """Where the first quoted line may stand: nearly no line is one, and each is looked at."""
    first, last = keys[0], len(page.solid) - len(keys)
    return [at for at, line in enumerate(page.solid) if first in line.key and at <= last]


def _covers(lines: Sequence[PageLine], keys: Sequence[str]) -> bool:
    first, last = keys[0], keys[-1]
    if len(keys) == 1:
        return first in lines[0].key
    return (
        lines[0].key.endswith(first)
        and lines[-1].key.startswith(last)
        and all(line.key == key for line, key in zip(lines[1:-1], keys[1:-1], strict=True))
    )


def _trim(lines: list[str], wrapping: Callable[[str], bool]) -> list[str]:
    """The lines without what wraps them: fences, or dots for what was not quoted."""
    while lines and wrapping(lines[0]):
        lines = lines[1:]
    while lines and wrapping(lines[-1]):
        lines = lines[:-1]
    return lines


def _as_it_is(lines: Sequence[str]) -> Quote:
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
