"""
Which finding stands for which labelled defect, one to one.

A comment can match a defect on the same path and side when their lines overlap or are next to each
other. Findings are groups of comments, because several checks may raise one issue: a group matches
where any member does. Among the largest possible number of pairs, those that agree in category or
words come first.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.records import Comment, Expected, Input
from tasks.review.inputs.texts import similarity

__all__ = ["match"]

_TOUCHING = 1
"""Lines between two ranges that still count as the same place."""

Wish = tuple[float, int]
"""A finding that a defect may be matched to: minus their agreement, and the finding's index."""


def match(
    findings: Sequence[Sequence[Comment]], expected: Sequence[Expected], source: Input
) -> dict[int, int]:
    """Index of finding -> index of defect: a maximum one-to-one matching.

    Augmenting paths (Berge's theorem), best wishes first. A defect without a path means the
    input's own; one without lines matches anywhere in its file.
    """
    wishes = [_wishes(defect, findings, source) for defect in expected]
    # Defects with the clearest partner choose first; augmenting never leaves one without any.
    order = sorted(range(len(expected)), key=lambda at: (wishes[at][:1] or [(0.0, 0)], at))
    taken: dict[int, int] = {}
    for defect in order:
        _augment(defect, wishes, taken, set())
    return taken


def _augment(
    defect: int, wishes: Sequence[Sequence[Wish]], taken: dict[int, int], tried: set[int]
) -> bool:
    """Give `defect` a finding, moving other defects to their next wish where need be."""
    for _, finding in wishes[defect]:
        if finding in tried:
            continue
        tried.add(finding)
        if finding not in taken or _augment(taken[finding], wishes, taken, tried):
            taken[finding] = defect
            return True
    return False


def _wishes(defect: Expected, findings: Sequence[Sequence[Comment]], source: Input) -> list[Wish]:
    wishes: list[Wish] = []
    for at, comments in enumerate(findings):
        near = [comment for comment in comments if _same_place(defect, comment, source)]
        if near:
            wishes.append((-max(_agreement(defect, comment) for comment in near), at))
    return sorted(wishes)


def _agreement(defect: Expected, comment: Comment) -> float:
    words = similarity(defect.message or "", f"{comment.title} {comment.message}")
    return words + (defect.category == comment.category)


def _same_place(defect: Expected, comment: Comment, source: Input) -> bool:
    if defect.side != comment.side or not _same_path(defect, comment, source):
        return False
    if defect.start_line is None:
        return True
    if comment.start_line is None:
        return False
    last = defect.end_line or defect.start_line
    ended = comment.end_line or comment.start_line
    return comment.start_line - last <= _TOUCHING and defect.start_line - ended <= _TOUCHING


def _same_path(defect: Expected, comment: Comment, source: Input) -> bool:
    # A snippet is one file, whatever its label calls it.
    path = defect.path if defect.path is not None else source.path
    return source.kind == "snippet" or path is None or path == comment.path
