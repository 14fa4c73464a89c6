"""
The place of a comment in the input, from the quote, lines and path that a model claims.

    exact       the quote stands at the claimed lines
    quote       the quote stands elsewhere; the lines are corrected
    lines       no usable quote; the claimed lines are inside a hunk
    unanchored  not found, or found at several places and the claim does not decide

A wrong place is worse than none: in doubt a comment is unanchored, and then has no lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from tasks.core.records import (
    Comment,
    Input,
    LocMethod,
    Side,
)
from tasks.review.inputs.texts import content_id, with_line_ends
from tasks.review.places.disambiguate import disambiguate
from tasks.review.places.fingerprints import fingerprint
from tasks.review.places.places import Page, PageLine, hunk_lines, on_path, pages_of
from tasks.review.places.quotes import Quote, QuoteMatch, find_quote, read_quote
from tasks.review.replies.contract import RawComment

__all__ = ["Anchor", "anchor", "build_comment"]

_NEIGHBOURS = 3
"""Lines on each side that tell inputs without path and id apart."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A comment's place. Unanchored: no lines, and a path only where the input has one."""

    method: LocMethod
    path: str | None
    side: Side
    start_line: int | None = None
    end_line: int | None = None
    text: str | None = None
    """The input's own lines there."""
    around: tuple[str, ...] = ()
    """The lines with code before and after it, without whitespace; nearest in the middle."""


def anchor(source: Input, raw: RawComment) -> Anchor:
    """The place of one raw comment; never raises for what the model or the input says."""
    pages = on_path(pages_of(source), raw.path)
    quotes = read_quote(raw.existing_code)
    claim = _claim(raw)
    matches = _search(pages, quotes) or _search(pages_of(source), quotes)
    if not matches:
        return _by_lines(pages, raw, claim) or _unanchored(pages, source, raw)
    match = disambiguate(matches, claim, left=raw.side == "left")
    return _unanchored(pages, source, raw) if match is None else _at(match, claim)


def build_comment(source: Input, check_name: str, ordinal: int, raw: RawComment) -> Comment:
    """The anchored comment number `ordinal` (from 0) of one check on one input.

    `comment_id` is a hash over input, check and ordinal: the same reply gives the same ids again.
    It is a cluster by itself.
    """
    found = anchor(source, raw)
    place, around = _surroundings(source, found)
    comment_id = _comment_id(source.input_id, check_name, ordinal)
    return Comment(
        comment_id=comment_id,
        cluster_id=comment_id,
        fingerprint=fingerprint(place, raw.category, _evidence(found, raw), around),
        check_model=check_name,
        path=found.path,
        side=found.side,
        start_line=found.start_line,
        end_line=found.end_line,
        loc_method=found.method,
        category=raw.category,
        severity=raw.severity,
        confidence=None if raw.confidence is None else min(1.0, max(0.0, raw.confidence)),
        title=raw.title,
        message=raw.message,
        rationale=raw.rationale,
        existing_code=raw.existing_code,
        suggestion=with_line_ends(raw.suggestion, found.text, source.content),
        check_models=(check_name,),
        severity_said=raw.severity_said,
    )


def _search(pages: Sequence[Page], quotes: Sequence[Quote]) -> tuple[QuoteMatch, ...]:
    sided = [page for page in pages if page.side != "mixed"]
    mixed = [page for page in pages if page.side == "mixed"]
    # A quote that mixes removed and added lines stands on neither side alone.
    return find_quote(sided, quotes) or find_quote(mixed, quotes)


def _claim(raw: RawComment) -> tuple[int, int] | None:
    start = raw.start_line if raw.start_line is not None else raw.end_line
    if start is None:
        return None
    end = start if raw.end_line is None else raw.end_line
    return min(start, end), max(start, end)


def _at(match: QuoteMatch, claim: tuple[int, int] | None) -> Anchor:
    left = match.page.side == "left"
    lines = [line for line in match.lines if left or line.marker != "-"]
    start, end = lines[0].number, lines[-1].number
    method: LocMethod = "exact" if claim == (start, end) else "quote"
    side: Side = "left" if left else "right"
    around = _around(match.page, match.lines)
    return Anchor(method, match.page.path, side, start, end, _text(lines), around)


def _by_lines(
    pages: Sequence[Page], raw: RawComment, claim: tuple[int, int] | None
) -> Anchor | None:
    side: Side = "left" if raw.side == "left" else "right"
    paths = {page.path for page in pages}
    lines = hunk_lines(pages, side, *claim) if claim and len(paths) == 1 else ()
    if not lines:
        return None
    around = next(_around(page, lines) for page in pages if lines[0] in page.lines)
    start, end = lines[0].number, lines[-1].number
    return Anchor("lines", paths.pop(), side, start, end, _text(lines), around)


def _unanchored(pages: Sequence[Page], source: Input, raw: RawComment) -> Anchor:
    paths = {page.path for page in pages}
    path = paths.pop() if len(paths) == 1 else source.path
    return Anchor("unanchored", path, "left" if raw.side == "left" else "right")


def _text(lines: Sequence[PageLine]) -> str:
    return "\n".join(line.text for line in lines)


def _around(page: Page, lines: Sequence[PageLine]) -> tuple[str, ...]:
    """The code of the same hunk before and after these lines of a page."""
    first, last = page.lines.index(lines[0]), page.lines.index(lines[-1])
    before = _nearest(reversed(page.lines[:first]), lines[0].hunk)
    return (*reversed(before), *_nearest(page.lines[last + 1 :], lines[-1].hunk))


def _nearest(lines: Iterable[PageLine], hunk: int) -> list[str]:
    """The first lines with code of a hunk, as many as tell places apart."""
    keys = (one.key for one in lines if one.key and one.hunk == hunk)
    found = list(islice(keys, _NEIGHBOURS))
    return found + [""] * (_NEIGHBOURS - len(found))


def _surroundings(source: Input, found: Anchor) -> tuple[str, tuple[str, ...]]:
    """What names the place of a comment beside its quote: a path or an id, and the lines around it.

    An id that was made of the content changes with it, so there the lines around it say more.
    """
    nearest = found.around[_NEIGHBOURS - 1 : _NEIGHBOURS + 1]
    if found.path is not None:
        return found.path, nearest
    if source.input_id != content_id(source.content) or not any(found.around):
        return source.input_id, nearest
    return "", found.around


def _evidence(found: Anchor, raw: RawComment) -> str:
    """The code that the fingerprint is made of: the input's own lines, where the quote led to them."""
    own = found.text if found.method in {"exact", "quote"} else None
    return own or raw.existing_code or found.text or raw.title


def _comment_id(input_id: str, check_name: str, ordinal: int) -> str:
    key = "\0".join((input_id, check_name, str(ordinal)))
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
