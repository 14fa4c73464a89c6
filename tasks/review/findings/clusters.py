"""
Which comments of one input are about the same issue.

Two comments are linked when they are at the same place (path, side, lines overlapping or next to
each other) and agree in category, in words, or in the quote. Comments of one check are taken to
be different issues unless they repeat each other: a chain of links never joins two of them.
Members are linked and kept, their text is never merged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from tasks.core.records import SEVERITIES, Comment
from tasks.review.inputs.texts import count_words, quote_key, shared_words
from tasks.review.places.fingerprints import with_ordinals

__all__ = ["SAME_TEXT", "cluster", "rank"]

SAME_TEXT = 0.6
"""Similarity of title and message from which two comments say the same."""
_TOUCHING = 1
"""Lines between two ranges that still count as one place."""

Strength = tuple[float, float, float]


def cluster(comments: Iterable[Comment]) -> tuple[Comment, ...]:
    """The comments of one input, in their order, with cluster_id, check_models and agreement.

    Equal fingerprints at different places get their ordinals here too. The result depends on the set of comments, not on their order, and a second pass changes
    nothing. `cluster_id` is the canonical comment's id: the best by `rank`.
    """
    comments = with_ordinals(comments)
    if len(comments) < 2:  # noqa: PLR2004  (a comment alone is its own cluster)
        return tuple(_mark([comment])[0] for comment in comments)
    roots = _join({comment.comment_id: comment for comment in comments})
    groups: dict[str, list[Comment]] = {}
    for comment in comments:
        groups.setdefault(roots[comment.comment_id], []).append(comment)
    marked = {c.comment_id: c for group in groups.values() for c in _mark(group)}
    return tuple(marked[comment.comment_id] for comment in comments)


def rank(comment: Comment) -> tuple[int, int, bool, int, str]:
    """Sort key, best first: score, severity, has a suggestion, longest rationale, id."""
    score = comment.verdict.score if comment.verdict is not None else None
    return (
        -(score if score is not None else -1),
        SEVERITIES.index(comment.severity),
        not comment.suggestion,
        -len(comment.rationale or ""),
        comment.comment_id,
    )


def _mark(group: list[Comment]) -> list[Comment]:
    canonical = min(group, key=rank)
    checks = tuple(sorted({comment.check_model for comment in group}))
    return [_marked(comment, canonical.comment_id, checks) for comment in group]


def _marked(comment: Comment, cluster_id: str, checks: tuple[str, ...]) -> Comment:
    marks = (cluster_id, checks, len(checks))
    if (comment.cluster_id, comment.check_models, comment.agreement) == marks:
        return comment
    return replace(comment, cluster_id=cluster_id, check_models=checks, agreement=len(checks))


def _join(comments: dict[str, Comment]) -> dict[str, str]:
    """Union-find over the links, strongest first; the root of each comment's cluster."""
    clusters = {name: {name} for name in comments}

    # Most comments have no neighbour, and their words are looked at by nobody.
    @cache
    def look(name: str) -> _Compared:
        return _prepare(comments[name])

    for one, other in _links(_neighbours(comments), look):
        if clusters[one] is clusters[other] or _same_check_twice(
            clusters[one], clusters[other], look
        ):
            continue
        merged = clusters[one] | clusters[other]
        clusters.update(dict.fromkeys(merged, merged))
    return {name: min(members) for name, members in clusters.items()}


@dataclass(frozen=True, slots=True)
class _Compared:
    """A comment with what each comparison looks at, worked out once."""

    comment: Comment
    words: Counter[str]
    size: int
    """Words, each as often as it is there."""
    quote: str


_Look = Callable[[str], _Compared]
"""The comment of an id."""


def _prepare(comment: Comment) -> _Compared:
    words = count_words(f"{comment.title} {comment.message}")
    return _Compared(comment, words, words.total(), quote_key(comment.existing_code))


def _links(pairs: Iterable[tuple[str, str]], look: _Look) -> list[tuple[str, str]]:
    # Ids break ties, so that the order of links is the same whatever order the comments came in.
    links: list[tuple[Strength, str, str]] = []
    for one, other in pairs:
        strength = _strength(look(one), look(other))
        if strength is not None:
            links.append((strength, one, other))
    return [(one, other) for _, one, other in sorted(links)]


def _neighbours(comments: dict[str, Comment]) -> Iterator[tuple[str, str]]:
    """Pairs of ids at one place, the smaller id first: others are never linked."""
    places: dict[tuple[str | None, str, bool], list[tuple[int, int, str]]] = {}
    for name, comment in comments.items():
        key = (comment.path, comment.side, comment.start_line is None)
        places.setdefault(key, []).append((*_span(comment), name))
    for group in places.values():
        group.sort()
        for at, (_, end, one) in enumerate(group):
            for start, _, other in islice(group, at + 1, None):
                if start - end > _TOUCHING:
                    break  # sorted by their first lines: all behind it are further away
                yield min(one, other), max(one, other)


def _strength(one: _Compared, other: _Compared) -> Strength | None:
    """How strongly two comments at one place are linked, strongest first; None when they are not."""
    first, second = one.comment, other.comment
    if first.check_model == second.check_model:
        linked = _repeats(one, other)
    else:
        placed = first.start_line is not None
        linked = (placed and first.category == second.category) or _alike(one, other)
    if not linked:
        return None
    return (
        -shared_words(one.words, other.words),
        _distance(first, second),
        -_same_quote(one, other),
    )


def _same_check_twice(one: set[str], other: set[str], look: _Look) -> bool:
    return any(
        look(a).comment.check_model == look(b).comment.check_model
        and not _repeats(look(a), look(b))
        for a in one
        for b in other
    )


def _distance(one: Comment, other: Comment) -> float:
    """Lines from one range to the other, 0 when they overlap or have none."""
    first, second = sorted((_span(one), _span(other)))
    return float(max(0, second[0] - first[1]))


def _span(comment: Comment) -> tuple[int, int]:
    start = comment.start_line or 0
    return start, comment.end_line or start


def _repeats(one: _Compared, other: _Compared) -> bool:
    return one.comment.category == other.comment.category and _alike(one, other)


def _alike(one: _Compared, other: _Compared) -> bool:
    if _same_quote(one, other):
        return True
    # No more words are shared than the shorter text has: most pairs need no closer look.
    if 2 * min(one.size, other.size) < SAME_TEXT * (one.size + other.size):
        return False
    return shared_words(one.words, other.words) >= SAME_TEXT


def _same_quote(one: _Compared, other: _Compared) -> bool:
    return bool(one.quote) and one.quote == other.quote
