"""
How good findings are, against labelled defects.

    precision   findings that stand for a defect, of all findings
    recall      defects that were found, of all defects
    F1          their harmonic mean

Each is given by place, and by place and matter: `matching` says when a finding stands for a defect.
A finding is a cluster: an issue that three checks raise is found once, not three times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Literal, get_args

from tasks.core.records import Comment, Input, InputReview
from tasks.core.stats import Proportion, f1, wilson
from tasks.finished.evaluate.matching import match

__all__ = ["HITS", "Hit", "MatchCounts", "count_matches", "group_by_cluster", "is_scored"]

Hit = Literal["by_place", "by_place_and_matter"]
"""When a finding stands for a defect."""
HITS: tuple[Hit, ...] = get_args(Hit)


@dataclass(frozen=True, slots=True)
class MatchCounts:
    """Findings and defects that match or do not, counted over labelled inputs; counts add up."""

    true: int = 0
    """Findings matched to a defect."""
    false: int = 0
    """Findings without a defect."""
    missed: int = 0
    """Defects without a finding."""
    clean_inputs: int = 0
    """Inputs known to have no defect."""
    false_on_clean: int = 0

    def __add__(self, other: MatchCounts) -> MatchCounts:
        return MatchCounts(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def precision(self) -> Proportion | None:
        """Share of the findings that match a defect; None when nothing was raised."""
        return wilson(self.true, self.true + self.false)

    @property
    def recall(self) -> Proportion | None:
        """Share of the defects that were found; None when there was nothing to find."""
        return wilson(self.true, self.true + self.missed)

    @property
    def f1(self) -> Proportion | None:
        """F1 of precision and recall; None when there were neither findings nor defects."""
        return f1(self.true, self.false, self.missed)

    @property
    def false_per_clean_input(self) -> float | None:
        """False positives per clean input; None when no input is known to be clean."""
        return self.false_on_clean / self.clean_inputs if self.clean_inputs else None


def is_scored(source: Input, review: InputReview) -> bool:
    """Whether an input counts: it has labels and was reviewed, at least in part."""
    return source.expected is not None and review.coverage in {"complete", "in_part", "partial"}


def count_matches(source: Input, comments: Iterable[Comment]) -> dict[Hit, MatchCounts]:
    """Score the comments of one labelled input, as they are, without regard to outcomes."""
    expected = source.expected or ()
    findings = group_by_cluster(comments)
    found = match(findings, expected, source)
    hits: dict[Hit, int] = {
        "by_place": len(found.by_place),
        "by_place_and_matter": len(found.by_place_and_matter),
    }
    clean = not expected
    return {
        hit: MatchCounts(
            true=true,
            false=len(findings) - true,
            missed=len(expected) - true,
            clean_inputs=int(clean),
            false_on_clean=len(findings) if clean else 0,
        )
        for hit, true in hits.items()
    }


def group_by_cluster(comments: Iterable[Comment]) -> Sequence[Sequence[Comment]]:
    """Comments by cluster; a comment that was never clustered is a finding of its own."""
    groups: dict[str, list[Comment]] = {}
    for comment in comments:
        groups.setdefault(comment.cluster_id or comment.comment_id, []).append(comment)
    return list(groups.values())
