"""
Labelled inputs of finished runs, and what a policy makes of them.

    inputs of a run    true by place and matter: people's labels say what is wrong
    its canaries       true by place: they have nothing else to find

Half of them is to choose by and the other half to test on, by a hash of their ids: a canary that was
drawn on many nights is on the same side in all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.core.paths import RunPaths
from tasks.core.policy_settings import Policy
from tasks.core.records import Comment, Input
from tasks.finished.calibrate.fit import ScoredFinding
from tasks.finished.canaries.night import read_canary_file
from tasks.finished.evaluate.matching import match
from tasks.finished.evaluate.metrics import Hit, MatchCounts, count_matches, group_by_cluster
from tasks.outputs.stored import comment_of, input_of
from tasks.outputs.tables import read_entries, read_reviews
from tasks.review.findings.policy import apply_policy

__all__ = [
    "Labelled",
    "count_under",
    "held_out",
    "read_labelled",
    "scored_findings",
    "shown_findings",
]

_REVIEWED = frozenset({"complete", "in_part", "partial"})


@dataclass(frozen=True, slots=True)
class Labelled:
    """One reviewed input with labels, or without (`hit` is None then)."""

    item: Input
    comments: tuple[Comment, ...]
    hit: Hit | None


def held_out(labelled: Iterable[Labelled]) -> set[str]:
    """The ids of the half that tests: every second one, by their hashes."""
    ids = {one.item.input_id for one in labelled}
    return set(sorted(ids, key=lambda one: hashlib.sha256(one.encode()).digest())[1::2])


def read_labelled(paths: RunPaths) -> Iterator[Labelled]:
    """Every reviewed input of a run, then its canaries; memory holds one.

    Raises:
        OutputError: an output is missing or damaged.
    """
    for row, (_, entry) in zip(read_reviews(paths), read_entries(paths), strict=True):
        if row["coverage"] in _REVIEWED:
            item = input_of(row, entry["content"], entry.get("description"))
            hit: Hit | None = None if item.expected is None else "by_place_and_matter"
            yield Labelled(item, tuple(map(comment_of, row["comments"])), hit)
    for canary in read_canary_file(paths):
        if canary.is_reviewed:
            yield Labelled(canary.item, canary.comments, "by_place")


def scored_findings(one: Labelled, base: Policy) -> list[ScoredFinding]:
    """Findings that scores decide on: with a score, and shown if every threshold of `base` is 0."""
    loose = base.model_copy(update={"keep_uncertain_score": 0, "min_score": 0, "min_scores": {}})
    shown = [c for c in apply_policy(one.comments, loose, one.item) if c.outcome == "kept"]
    clusters = group_by_cluster(shown)
    matches = match(clusters, one.item.expected or (), one.item)
    true = matches.by_place if one.hit == "by_place" else matches.by_place_and_matter
    found = (_scored(comments, number in true) for number, comments in enumerate(clusters))
    return [finding for finding in found if finding is not None]


def _scored(comments: Sequence[Comment], is_true: bool) -> ScoredFinding | None:
    """A cluster by its comment with the best score: it is shown as long as that one is."""
    judged = [c for c in comments if c.verdict is not None and c.verdict.score is not None]
    best = max(judged, key=lambda c: (c.verdict.score, c.comment_id), default=None)  # type: ignore[union-attr]
    if best is None or best.verdict is None or best.verdict.score is None:
        return None
    uncertain = best.verdict.decision == "uncertain"
    return ScoredFinding(best.category, best.severity, best.verdict.score, is_true, uncertain)


def count_under(one: Labelled, policy: Policy) -> MatchCounts:
    """Confirmed and uncertain findings of a labelled input that a policy keeps, against its labels.

    Those without a verdict are shown under any policy and are left out.
    """
    kept = [c for c in apply_policy(one.comments, policy, one.item) if c.outcome == "kept"]
    return count_matches(one.item, kept)[one.hit or "by_place"]


def shown_findings(one: Labelled, policy: Policy) -> set[str]:
    """The findings of an input that a policy shows, by the ids of their clusters."""
    comments = apply_policy(one.comments, policy, one.item)
    return {c.cluster_id or c.comment_id for c in comments if c.outcome != "dropped"}
