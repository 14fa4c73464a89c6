"""
Which finding stands for which labelled defect, one to one, by place and by place and matter.

    by place              the same path and side, and lines that overlap or are next to each other
    by place and matter   such a comment that means the label's defect as well (see `matter`)

A style remark beside a labelled injection is a hit by place only. Findings are groups of comments,
because several checks may raise one issue: a group matches where any member does. Each of the two
has its own largest possible number of pairs; among those by place the ones that agree in matter, and
then those with more words or the category in common, come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.records import Comment, Expected, Input
from tasks.finished.evaluate.matter import Matter

__all__ = ["Matches", "match"]

_TOUCHING = 1
"""Lines between two ranges that still count as the same place."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Index of finding -> index of defect, for either meaning of a hit."""

    by_place: dict[int, int]
    by_place_and_matter: dict[int, int]


@dataclass(frozen=True, slots=True, order=True)
class Wish:
    """A finding at a defect's place; the best sorts first."""

    differs: bool
    """In matter."""
    disagreement: float
    """Minus what words and category have in common, 0 to -2."""
    finding: int


Wishes = Sequence[Sequence[Wish]]
"""Per defect its wishes, best first."""


def match(
    findings: Sequence[Sequence[Comment]], expected: Sequence[Expected], source: Input
) -> Matches:
    """Pair findings with defects: two maximum one-to-one matchings.

    A defect without a path means the input's own; one without lines matches anywhere in its file.
    """
    wishes = [_wishes(defect, findings, source) for defect in expected]
    meant = [[wish for wish in some if not wish.differs] for some in wishes]
    return Matches(_assign(wishes), _assign(meant))


def _assign(wishes: Wishes) -> dict[int, int]:
    """Augmenting paths (Berge's theorem), best wishes first."""
    last = Wish(differs=True, disagreement=0.0, finding=0)
    # Defects with the clearest partner choose first; augmenting never leaves one without any.
    order = sorted(range(len(wishes)), key=lambda at: ((wishes[at] or [last])[0], at))
    taken: dict[int, int] = {}
    for defect in order:
        _augment(defect, wishes, taken, set())
    return taken


def _augment(defect: int, wishes: Wishes, taken: dict[int, int], tried: set[int]) -> bool:
    """Give `defect` a finding, moving other defects to their next wish where need be."""
    for wish in wishes[defect]:
        if wish.finding in tried:
            continue
        tried.add(wish.finding)
        if wish.finding not in taken or _augment(taken[wish.finding], wishes, taken, tried):
            taken[wish.finding] = defect
            return True
    return False


def _wishes(defect: Expected, findings: Sequence[Sequence[Comment]], source: Input) -> list[Wish]:
    label = Matter.of_defect(defect)
    best = (
        min((_wish(label, one, at) for one in comments if _same_place(defect, one, source)), default=None)
        for at, comments in enumerate(findings)
    )  # fmt: skip
    return sorted(wish for wish in best if wish is not None)


def _wish(label: Matter, comment: Comment, finding: int) -> Wish:
    said = Matter.of_comment(comment)
    agreement = label.overlap(said) + (label.category == said.category)
    return Wish(not label.is_of(said), -agreement, finding)


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
