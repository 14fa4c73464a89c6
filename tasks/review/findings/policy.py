"""
Outcomes from verdicts: which comments are kept, which are dropped and why.

The review model gives opinions; this decides, so that thresholds can change without a new call.
Nothing is dropped for want of a verdict: a comment without a usable one is `unverified`, kept and
marked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tasks.core.policy_settings import Policy
from tasks.core.records import SEVERITIES, Comment, Input, Outcome, Verdict
from tasks.review.places.places import hunk_lines, on_path, pages_of
from tasks.review.places.quotes import find_quote, read_quote

__all__ = ["apply_policy", "inherit_verdicts"]


def apply_policy(comments: Iterable[Comment], policy: Policy, source: Input) -> tuple[Comment, ...]:
    """The comments of one input, in their order, with outcome and drop_reason.

    `drop_reason` is one of rejected, no_evidence, uncertain, below_score, below_severity, duplicate. The
    result follows from verdicts and policy alone: earlier outcomes are overwritten.
    """
    corrected = (_correct(comment, source) for comment in comments)
    return _drop_duplicates(tuple(_judge(comment, policy, source) for comment in corrected))


def inherit_verdicts(comments: Iterable[Comment]) -> tuple[Comment, ...]:
    """Give each comment without a verdict that of its cluster's canonical comment.

    For reviews of one comment per cluster; own corrections of lines are the canonical one's.
    """
    comments = tuple(comments)
    verdicts = {comment.comment_id: comment.verdict for comment in comments}
    return tuple(
        comment
        if comment.verdict is not None or comment.cluster_id is None
        else replace(comment, verdict=_shared(verdicts.get(comment.cluster_id)))
        for comment in comments
    )


def _shared(verdict: Verdict | None) -> Verdict | None:
    if verdict is None:
        return None
    return replace(verdict, corrected_start_line=None, corrected_end_line=None)


def _judge(comment: Comment, policy: Policy, source: Input) -> Comment:
    least = policy.min_score_of(comment.category, comment.severity)
    outcome, reason = _outcome(comment.verdict, policy, least)
    if outcome == "kept" and policy.require_evidence and not _is_proved(comment.verdict, source):
        outcome, reason = "dropped", "no_evidence"
    mildest = SEVERITIES.index(policy.min_severity)
    if outcome != "dropped" and SEVERITIES.index(comment.severity) > mildest:
        outcome, reason = "dropped", "below_severity"
    if (outcome, reason) == (comment.outcome, comment.drop_reason):
        return comment
    return replace(comment, outcome=outcome, drop_reason=reason)


def _outcome(verdict: Verdict | None, policy: Policy, min_score: int) -> tuple[Outcome, str | None]:
    if verdict is None or verdict.status != "ok" or verdict.decision is None:
        return "unverified", None
    if verdict.decision == "rejected":
        return "dropped", "rejected"
    if verdict.score is None:
        # A verdict without a score says yes or nothing; it never drops.
        return ("kept" if verdict.decision == "confirmed" else "unverified"), None
    if verdict.decision == "uncertain" and verdict.score < policy.keep_uncertain_score:
        return "dropped", "uncertain"
    return ("dropped", "below_score") if verdict.score < min_score else ("kept", None)


def _is_proved(verdict: Verdict | None, source: Input) -> bool:
    """Whether a confirmed comment's evidence stands in the input; one in doubt claims no proof."""
    if verdict is None or verdict.decision != "confirmed":
        return True
    return bool(find_quote(pages_of(source), read_quote(verdict.evidence)))


def _drop_duplicates(comments: tuple[Comment, ...]) -> tuple[Comment, ...]:
    """Drop a duplicate only while what it duplicates stays, worst score first.

    The order settles circles: of two comments that name each other, the better one stays.
    """
    now = {comment.comment_id: comment for comment in comments}
    for comment in sorted(comments, key=_worst_first):
        target = now.get(comment.verdict.duplicate_of or "") if comment.verdict else None
        stays = target is not None and target.outcome == "kept"
        if comment.outcome == "kept" and stays and target is not comment:
            now[comment.comment_id] = replace(comment, outcome="dropped", drop_reason="duplicate")
    return tuple(now[comment.comment_id] for comment in comments)


def _worst_first(comment: Comment) -> tuple[int, str]:
    score = comment.verdict.score if comment.verdict else None
    return (-1 if score is None else score), comment.comment_id


def _correct(comment: Comment, source: Input) -> Comment:
    """Apply the verdict's corrections of severity and lines, where they are valid."""
    verdict = comment.verdict
    if verdict is None or verdict.status != "ok" or verdict.decision == "rejected":
        return comment
    if verdict.corrected_severity in SEVERITIES:
        comment = replace(comment, severity=verdict.corrected_severity)
    start = verdict.corrected_start_line
    return comment if start is None else _move(comment, source, start, verdict.corrected_end_line)


def _move(comment: Comment, source: Input, start: int, end: int | None) -> Comment:
    end = start if end is None else end
    if (start, end) == (comment.start_line, comment.end_line) or not _may_move(comment, start, end):
        return comment
    rows = hunk_lines(on_path(pages_of(source), comment.path), comment.side, start, end)
    if not rows or rows[-1].number != end:
        return comment
    # The quote no longer covers these lines exactly: `lines` keeps exports from offering its fix.
    return replace(comment, start_line=start, end_line=end, loc_method="lines")


def _may_move(comment: Comment, start: int, end: int) -> bool:
    """A place found by its quote may be narrowed or widened, not moved elsewhere."""
    if comment.loc_method not in {"exact", "quote"}:
        return True
    first, last = comment.start_line or 0, comment.end_line or 0
    return start <= last and end >= first
