"""Fingerprints: names of findings that stay the same from run to run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from tasks.core.records import Comment
from tasks.review.inputs.texts import quote_key

__all__ = ["fingerprint", "with_ordinals"]


def fingerprint(path: str | None, category: str, quote: str | None) -> str:
    """A finding's name, a hash of 16 hex digits over path, category and the quote without whitespace.

    No line numbers: edits elsewhere in the file, and a new indentation, leave it as it is.
    """
    key = "\0".join((path or "", category, quote_key(quote)))
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_ordinals(comments: Iterable[Comment]) -> tuple[Comment, ...]:
    """Tell equal fingerprints of one input apart by place: the second place gets `-2`, and so on.

    Comments of several checks on one place keep one fingerprint: they are the same finding.
    """
    comments = tuple(comments)
    places = sorted({_place(comment) for comment in comments})
    seen: Counter[str] = Counter()
    names: dict[tuple[str, str, int], str] = {}
    for place in places:
        seen[place[0]] += 1
        names[place] = place[0] if seen[place[0]] == 1 else f"{place[0]}-{seen[place[0]]}"
    return tuple(replace(comment, fingerprint=names[_place(comment)]) for comment in comments)


def _place(comment: Comment) -> tuple[str, str, int]:
    return comment.fingerprint, comment.side, comment.start_line or 0
