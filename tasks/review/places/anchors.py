"""
From what a model claims (a quote, lines, a path) to where it is true in the input.

    exact       the quote stands at the claimed lines
    quote       the quote stands elsewhere; the lines are corrected
    lines       no usable quote; the claimed lines are inside a hunk
    unanchored  not found, or found at several places and the claim does not decide

A wrong place is worse than none: in doubt a comment is unanchored, and then has no lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from tasks.core.records import (
    CATEGORIES,
    SEVERITIES,
    Category,
    Comment,
    Input,
    LocMethod,
    Severity,
    Side,
)
from tasks.review.findings.fingerprints import fingerprint
from tasks.review.inputs.texts import with_line_ends
from tasks.review.places.disambiguate import settle
from tasks.review.places.places import Page, Row, hunk_rows, on_path, pages_of
from tasks.review.places.quotes import Found, Quote, find, read_quote

__all__ = ["Anchor", "RawLike", "anchor", "build_comment"]


class RawLike(Protocol):
    """A comment as parsed from a reply, before anything about it is checked."""

    @property
    def path(self) -> str | None: ...
    @property
    def existing_code(self) -> str | None: ...
    @property
    def start_line(self) -> int | None: ...
    @property
    def end_line(self) -> int | None: ...
    @property
    def side(self) -> str | None: ...
    @property
    def category(self) -> str | None: ...
    @property
    def severity(self) -> str | None: ...
    @property
    def confidence(self) -> float | None: ...
    @property
    def title(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def rationale(self) -> str | None: ...
    @property
    def suggestion(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a comment belongs. Unanchored: no lines, and a path only where the input has one."""

    method: LocMethod
    path: str | None
    side: Side
    start_line: int | None = None
    end_line: int | None = None
    text: str | None = None
    """The input's own lines there."""


def anchor(source: Input, raw: RawLike) -> Anchor:
    """Place one raw comment; never raises for what the model or the input says."""
    pages = on_path(pages_of(source), raw.path)
    quotes = read_quote(raw.existing_code)
    claim = _claim(raw)
    places = _search(pages, quotes) or _search(pages_of(source), quotes)
    if not places:
        return _by_lines(pages, raw, claim) or _nowhere(pages, source, raw)
    found = settle(places, claim, left=raw.side == "left")
    return _nowhere(pages, source, raw) if found is None else _at(found, claim)


def build_comment(source: Input, check_name: str, ordinal: int, raw: RawLike) -> Comment:
    """The anchored comment number `ordinal` (from 0) of one check on one input.

    `comment_id` is a hash over input, check and ordinal: the same reply gives the same ids again.
    """
    place = anchor(source, raw)
    category = cast("Category", raw.category) if raw.category in CATEGORIES else "other"
    severity = cast("Severity", raw.severity) if raw.severity in SEVERITIES else "medium"
    return Comment(
        comment_id=_comment_id(source.input_id, check_name, ordinal),
        fingerprint=fingerprint(place.path, category, _evidence(place, raw)),
        check_model=check_name,
        path=place.path,
        side=place.side,
        start_line=place.start_line,
        end_line=place.end_line,
        loc_method=place.method,
        category=category,
        severity=severity,
        confidence=None if raw.confidence is None else min(1.0, max(0.0, raw.confidence)),
        title=raw.title,
        message=raw.message,
        rationale=raw.rationale,
        existing_code=raw.existing_code,
        suggestion=with_line_ends(raw.suggestion, place.text, source.content),
        check_models=(check_name,),
    )


def _search(pages: Sequence[Page], quotes: Sequence[Quote]) -> tuple[Found, ...]:
    sided = [page for page in pages if page.side != "mixed"]
    mixed = [page for page in pages if page.side == "mixed"]
    # A quote that mixes removed and added lines stands on neither side alone.
    return find(sided, quotes) or find(mixed, quotes)


def _claim(raw: RawLike) -> tuple[int, int] | None:
    start = raw.start_line if raw.start_line is not None else raw.end_line
    if start is None:
        return None
    end = start if raw.end_line is None else raw.end_line
    return min(start, end), max(start, end)


def _at(found: Found, claim: tuple[int, int] | None) -> Anchor:
    left = found.page.side == "left"
    rows = [row for row in found.rows if left or row.marker != "-"]
    start, end = rows[0].number, rows[-1].number
    method: LocMethod = "exact" if claim == (start, end) else "quote"
    side: Side = "left" if left else "right"
    return Anchor(method, found.page.path, side, start, end, _text(rows))


def _by_lines(pages: Sequence[Page], raw: RawLike, claim: tuple[int, int] | None) -> Anchor | None:
    side: Side = "left" if raw.side == "left" else "right"
    paths = {page.path for page in pages}
    rows = hunk_rows(pages, side, *claim) if claim and len(paths) == 1 else ()
    if not rows:
        return None
    return Anchor("lines", paths.pop(), side, rows[0].number, rows[-1].number, _text(rows))


def _nowhere(pages: Sequence[Page], source: Input, raw: RawLike) -> Anchor:
    paths = {page.path for page in pages}
    path = paths.pop() if len(paths) == 1 else source.path
    return Anchor("unanchored", path, "left" if raw.side == "left" else "right")


def _text(rows: Sequence[Row]) -> str:
    return "\n".join(row.text for row in rows)


def _evidence(place: Anchor, raw: RawLike) -> str:
    """What names the finding: the input's own lines, where the quote led to them."""
    own = place.text if place.method in {"exact", "quote"} else None
    return own or raw.existing_code or place.text or raw.title


def _comment_id(input_id: str, check_name: str, ordinal: int) -> str:
    key = "\0".join((input_id, check_name, str(ordinal)))
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
