"""
Which comments of one input are about the same issue.

Two comments are linked when they are at the same place (path, side, lines overlapping or next to
each other) and agree in category, in words, or in the quote. Comments of one check are taken to
be different issues unless they repeat each other: a chain of links never joins two of them.
Members are linked and kept, their text is never merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

from tasks.core.records import SEVERITIES, Comment
from tasks.review.findings.fingerprints import with_ordinals
from tasks.review.inputs.texts import quote_key, similarity

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
    return [
        replace(
            comment,
            cluster_id=canonical.comment_id,
            check_models=checks,
            agreement=len(checks),
        )
        for comment in group
    ]


def _join(comments: dict[str, Comment]) -> dict[str, str]:
    """Union-find over the links, strongest first; the root of each comment's cluster."""
    clusters = {name: {name} for name in comments}
    for one, other in _links(comments):
        if clusters[one] is clusters[other] or _same_check_twice(
            clusters[one], clusters[other], comments
        ):
            continue
        merged = clusters[one] | clusters[other]
        clusters.update(dict.fromkeys(merged, merged))
    return {name: min(members) for name, members in clusters.items()}


def _links(comments: dict[str, Comment]) -> list[tuple[str, str]]:
    # Ids break ties, so that the order of links is the same whatever order the comments came in.
    links: list[tuple[Strength, str, str]] = []
    for one, other in combinations(sorted(comments), 2):
        strength = _strength(comments[one], comments[other])
        if strength is not None:
            links.append((strength, one, other))
    return [(one, other) for _, one, other in sorted(links)]


def _strength(one: Comment, other: Comment) -> Strength | None:
    """How strongly two comments are linked, strongest first; None when they are not."""
    distance = _distance(one, other)
    if distance is None or distance > _TOUCHING:
        return None
    if one.check_model == other.check_model:
        linked = _repeats(one, other)
    else:
        placed = one.start_line is not None
        linked = (placed and one.category == other.category) or _alike(one, other)
    return (-_words(one, other), float(distance), -_same_quote(one, other)) if linked else None


def _same_check_twice(one: set[str], other: set[str], comments: dict[str, Comment]) -> bool:
    return any(
        comments[a].check_model == comments[b].check_model
        and not _repeats(comments[a], comments[b])
        for a in one
        for b in other
    )


def _distance(one: Comment, other: Comment) -> int | None:
    """Lines from one range to the other, 0 when they overlap; None for different places."""
    if (one.path, one.side) != (other.path, other.side):
        return None
    if one.start_line is None or other.start_line is None:
        # Without lines there is no place to share; two such comments may still say the same.
        return 0 if one.start_line is other.start_line else None
    first, second = sorted((_span(one), _span(other)))
    return max(0, second[0] - first[1])


def _span(comment: Comment) -> tuple[int, int]:
    start = comment.start_line or 0
    return start, comment.end_line or start


def _repeats(one: Comment, other: Comment) -> bool:
    return one.category == other.category and _alike(one, other)


def _alike(one: Comment, other: Comment) -> bool:
    return _same_quote(one, other) or _words(one, other) >= SAME_TEXT


def _same_quote(one: Comment, other: Comment) -> bool:
    key = quote_key(one.existing_code)
    return bool(key) and key == quote_key(other.existing_code)


def _words(one: Comment, other: Comment) -> float:
    return similarity(f"{one.title} {one.message}", f"{other.title} {other.message}")
