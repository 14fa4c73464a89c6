"""From verdicts to outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.policy_settings import Policy
from tasks.core.records import Comment, Input, Verdict
from tasks.review.findings.policy import apply_policy, inherit_verdicts

Make = Callable[..., Comment]
MakeVerdict = Callable[..., Verdict]

SOURCE = Input("i", "".join(f"line {at}\n" for at in range(1, 31)), path="f.py")


@pytest.mark.parametrize(
    ("fields", "policy", "outcome", "reason"),
    [
        ({}, Policy(), "kept", None),
        ({"score": None}, Policy(min_score=5), "kept", None),
        ({"score": 4}, Policy(min_score=5), "dropped", "below_score"),
        ({"score": 5}, Policy(min_score=5), "kept", None),
        ({"score": 4}, Policy(min_score=5, min_scores={"bug": 4}), "kept", None),
        ({"score": 4}, Policy(min_scores={"bug": 5}), "dropped", "below_score"),
        ({"score": 4}, Policy(min_scores={"bug": 9, "bug/medium": 4}), "kept", None),
        ({"score": 4}, Policy(min_scores={"style": 9, "bug/low": 9}), "kept", None),
        ({"decision": "rejected", "score": 10}, Policy(), "dropped", "rejected"),
        ({"decision": "rejected", "score": None}, Policy(), "dropped", "rejected"),
        ({"decision": "uncertain", "score": 5}, Policy(), "kept", None),
        ({"decision": "uncertain", "score": 4}, Policy(), "dropped", "uncertain"),
        ({"decision": "uncertain", "score": 4}, Policy(keep_uncertain_score=4), "kept", None),
        ({"decision": "uncertain", "score": None}, Policy(), "unverified", None),
        ({"decision": None}, Policy(), "unverified", None),
        ({"status": "missing", "decision": "rejected"}, Policy(), "unverified", None),
        ({"status": "call_failed"}, Policy(min_score=10), "unverified", None),
        ({"status": "parse_failed"}, Policy(), "unverified", None),
        ({"evidence": "line 7"}, Policy(require_evidence=True), "kept", None),
        ({"evidence": "   3 | line 3"}, Policy(require_evidence=True), "kept", None),
        ({"evidence": "This is a bug."}, Policy(), "kept", None),
        ({"evidence": "This is a bug."}, Policy(require_evidence=True), "dropped", "no_evidence"),
        ({"evidence": None}, Policy(require_evidence=True), "dropped", "no_evidence"),
        ({"evidence": ""}, Policy(require_evidence=True), "dropped", "no_evidence"),
        (
            {"decision": "uncertain", "score": 5, "evidence": None},
            Policy(require_evidence=True),
            "kept",
            None,
        ),
        ({"status": "missing"}, Policy(require_evidence=True), "unverified", None),
        ({}, Policy(min_severity="high"), "dropped", "below_severity"),
        ({}, Policy(min_severity="medium"), "kept", None),
        ({"corrected_severity": "critical"}, Policy(min_severity="high"), "kept", None),
        ({"status": "missing"}, Policy(min_severity="high"), "dropped", "below_severity"),
    ],
)
def test_outcomes(
    *,
    comment: Make,
    verdict: MakeVerdict,
    fields: dict[str, Any],
    policy: Policy,
    outcome: str,
    reason: str | None,
) -> None:
    """Each combination of verdict and threshold has one outcome and one reason."""
    (decided,) = apply_policy([comment(verdict=verdict(**fields))], policy, SOURCE)
    assert (decided.outcome, decided.drop_reason) == (outcome, reason)


def test_no_review(comment: Make) -> None:
    """Without a review every comment is unverified, whatever it said before."""
    comments = [comment(), comment(comment_id="c2", outcome="dropped", drop_reason="rejected")]
    decided = apply_policy(comments, Policy(min_score=9), SOURCE)
    assert [(c.outcome, c.drop_reason) for c in decided] == [("unverified", None)] * 2


def test_redeciding(comment: Make, verdict: MakeVerdict) -> None:
    """A new policy on decided comments gives what it would have given at once."""
    comments = [
        comment(comment_id=str(at), verdict=verdict(score=at, corrected_severity="high"))
        for at in range(11)
    ]
    strict = apply_policy(comments, Policy(min_score=8), SOURCE)
    assert apply_policy(strict, Policy(), SOURCE) == apply_policy(comments, Policy(), SOURCE)


@pytest.mark.parametrize(
    ("method", "start", "end", "lines", "after"),
    [
        ("exact", 9, 11, (9, 11), "lines"),
        ("exact", 10, None, (10, 10), "exact"),
        ("exact", 20, 21, (10, 10), "exact"),
        ("lines", 20, 21, (20, 21), "lines"),
        ("unanchored", 20, None, (20, 20), "lines"),
        ("lines", 0, 3, (10, 10), "lines"),
        ("lines", 29, 31, (10, 10), "lines"),
        ("lines", 12, 11, (10, 10), "lines"),
    ],
)
def test_corrected_lines(
    *,
    comment: Make,
    verdict: MakeVerdict,
    method: str,
    start: int,
    end: int | None,
    lines: tuple[int, int],
    after: str,
) -> None:
    """Lines are corrected inside the code only, and a quote's place is not left."""
    correction = verdict(corrected_start_line=start, corrected_end_line=end)
    (decided,) = apply_policy([comment(loc_method=method, verdict=correction)], Policy(), SOURCE)
    assert (decided.start_line, decided.end_line) == lines
    assert decided.loc_method == after


def test_rejected_comments_stay_as_raised(comment: Make, verdict: MakeVerdict) -> None:
    """What a rejecting verdict would correct is not applied."""
    no = verdict(decision="rejected", corrected_severity="low", corrected_start_line=9)
    (decided,) = apply_policy([comment(loc_method="lines", verdict=no)], Policy(), SOURCE)
    assert (decided.severity, decided.start_line) == ("medium", 10)


@pytest.mark.parametrize(
    ("targets", "outcomes"),
    [
        ({"1": "2"}, {"1": "duplicate", "2": None}),
        ({"1": "1"}, {"1": None, "2": None}),
        ({"1": "no such id"}, {"1": None, "2": None}),
        ({"1": "2", "2": "1"}, {"1": "duplicate", "2": None}),
        ({"1": "2", "2": "1"}, {"2": None, "1": "duplicate"}),
        ({"1": "0"}, {"0": "rejected", "1": None}),
        ({"2": "3", "1": "2"}, {"1": "duplicate", "2": "duplicate", "3": None}),
    ],
)
def test_duplicates(
    comment: Make, verdict: MakeVerdict, targets: dict[str, str], outcomes: dict[str, str | None]
) -> None:
    """A duplicate is dropped while what it duplicates stays; of a circle the best one stays."""
    comments = [
        comment(
            comment_id=name,
            verdict=verdict(
                score=int(name),
                decision="rejected" if name == "0" else "confirmed",
                duplicate_of=targets.get(name),
            ),
        )
        for name in outcomes
    ]
    decided = apply_policy(comments, Policy(), SOURCE)
    assert {c.comment_id: c.drop_reason for c in decided} == outcomes


def test_a_confirmed_finding_is_no_duplicate_of_an_unverified_one(
    comment: Make, verdict: MakeVerdict
) -> None:
    """What was confirmed stays; nobody has vouched for the comment that it repeats."""
    pair = [
        comment(comment_id="1", verdict=verdict(score=9, duplicate_of="2")),
        comment(comment_id="2", verdict=None),
    ]
    decided = apply_policy(pair, Policy(), SOURCE)
    assert [one.outcome for one in decided] == ["kept", "unverified"]


@given(
    targets=st.lists(st.integers(0, 6), min_size=1, max_size=7),
    scores=st.lists(st.integers(0, 10), min_size=7, max_size=7),
)
def test_every_duplicate_is_represented(
    comment: Make, verdict: MakeVerdict, targets: list[int], scores: list[int]
) -> None:
    """From each dropped duplicate the chain of targets leads to a comment that stays."""
    comments = [
        comment(comment_id=str(at), verdict=verdict(score=scores[at], duplicate_of=str(target)))
        for at, target in enumerate(targets)
    ]
    decided = {c.comment_id: c for c in apply_policy(comments, Policy(), SOURCE)}
    for one in decided.values():
        at, steps = one, 0
        while at.drop_reason == "duplicate":
            assert at.verdict is not None
            at, steps = decided[str(at.verdict.duplicate_of)], steps + 1
            assert steps <= len(decided)
        assert at.outcome == "kept"


def test_inherited_verdicts(comment: Make, verdict: MakeVerdict) -> None:
    """Members without a verdict get the canonical one's, without its lines."""
    canonical = comment(cluster_id="c1", verdict=verdict(corrected_start_line=3))
    member = comment(comment_id="c2", cluster_id="c1")
    own = comment(comment_id="c3", cluster_id="c1", verdict=verdict(score=1))
    alone = comment(comment_id="c4")
    given_verdicts = [c.verdict for c in inherit_verdicts([canonical, member, own, alone])]
    assert given_verdicts == [canonical.verdict, verdict(), own.verdict, None]
