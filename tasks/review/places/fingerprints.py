"""
Fingerprints: names of findings that stay the same from run to run.

    3f2a1c09be0412d7            path, category and quote
    3f2a1c09be0412d7-5b1e77a0   and the code around, which tells equal quotes of a file apart
    ...-5b1e77a0-2              the second of two places that even stand in the same code

None has a rank among its equals unless nothing else tells them apart: when the first of two equal
quotes is repaired, the other one keeps its name. The part before the first hyphen is the kin.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from tasks.core.records import Comment, Row
from tasks.review.inputs.texts import quote_key

__all__ = ["earlier_names", "fingerprint", "kin", "with_ordinals"]

_KIN = 16
_AROUND = 8


def fingerprint(
    path: str | None, category: str, quote: str | None, around: tuple[str, ...] = ()
) -> str:
    """A finding's name: 16 hex digits over path, category and quote, 8 over the lines around it.

    `path` is the input's id where it has no path. Layout does not count, and there are no line
    numbers: edits elsewhere in the file, and a new indentation, leave it as it is.
    """
    name = _hash(path or "", category, quote_key(quote))[:_KIN]
    return f"{name}-{_hash(*map(quote_key, around))[:_AROUND]}" if any(around) else name


def kin(name: str) -> str:
    """The part of a fingerprint that it shares with equal quotes elsewhere in the file."""
    return name.partition("-")[0]


def earlier_names(comments: Iterable[Row]) -> dict[str, str]:
    """Fingerprints of one input's comments -> those of versions that counted equal quotes.

    The first place was the kin alone, the second had -2, and so on.
    """
    places = {(one["side"], one["start_line"] or 0, one["fingerprint"]) for one in comments}
    names: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for *_, name in sorted(places):
        seen[kin(name)] += 1
        rank = seen[kin(name)]
        names.setdefault(name, kin(name) if rank == 1 else f"{kin(name)}-{rank}")
    return names


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


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
    named = ((comment, names[_place(comment)]) for comment in comments)
    return tuple(
        comment if comment.fingerprint == name else replace(comment, fingerprint=name)
        for comment, name in named
    )


def _place(comment: Comment) -> tuple[str, str, int]:
    return comment.fingerprint, comment.side, comment.start_line or 0
