"""The thresholds that keep the most true findings at a precision, against all there are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.policy_settings import Policy
from tasks.finished.calibrate.fit import LEAST, ScoredFinding, fit_policy, group_names


def some(
    category: str,
    severity: str,
    true: Sequence[int],
    false: Sequence[int],
    *,
    uncertain: bool = False,
) -> list[ScoredFinding]:
    """True and false findings of one kind with these scores."""
    return [
        ScoredFinding(category, severity, score, is_true, uncertain)
        for scores, is_true in ((true, True), (false, False))
        for score in scores
    ]


def kept(findings: Sequence[ScoredFinding], policy: Policy) -> tuple[int, int]:
    """True and false findings that a policy keeps."""
    shown = [
        one.is_true
        for one in findings
        if one.score >= policy.min_score_of(one.category, one.severity)
        and (not one.is_uncertain or one.score >= policy.keep_uncertain_score)
    ]
    return sum(shown), len(shown) - sum(shown)


BUGS = some("bug", "high", [8] * 15 + [5] * 10, [5] * 4 + [3] * 20)
STYLE = some("style", "low", [9] * 4 + [6] * 6, [6] * 20 + [5] * 10)
FEW = some("test", "low", [4] * 3, [2] * 3)


def test_a_category_that_is_mostly_wrong_has_to_be_surer() -> None:
    """Bugs from 5 on, style only from 9, what is rare by min_score; the precision is kept."""
    policy = fit_policy([*BUGS, *STYLE, *FEW], 0.85, Policy())
    assert policy is not None
    assert policy.min_scores == {"bug/high": 5, "style/low": 9}
    assert policy.min_score == 4
    assert kept([*BUGS, *STYLE, *FEW], policy) == (32, 4)


def test_uncertain_ones_have_a_threshold_of_their_own() -> None:
    """False below 7: they are kept from there on."""
    doubtful = some("bug", "high", [7] * 10, [6] * 10, uncertain=True)
    sure = some("bug", "high", [5] * 20, [])
    policy = fit_policy([*doubtful, *sure], 1.0, Policy())
    assert policy is not None
    assert (policy.keep_uncertain_score, policy.min_scores) == (7, {"bug/high": 5})


def test_no_thresholds_reach_what_cannot_be_reached() -> None:
    """Every score has a false one beside each true one."""
    hopeless = some("bug", "high", range(11), range(11))
    assert fit_policy(hopeless, 0.9, Policy()) is None


def test_what_scores_do_not_decide_stays() -> None:
    """Severity and evidence are the user's."""
    base = Policy(min_severity="medium", require_evidence=True, min_score=3)
    policy = fit_policy(some("bug", "high", [6] * LEAST, []), 0.5, base)
    assert policy is not None
    assert (policy.min_severity, policy.require_evidence, policy.min_score) == ("medium", True, 3)


def test_small_groups_are_put_together() -> None:
    """A severity of 20 stands alone, the rest of its category together, rare categories in one group."""
    findings = [
        *some("bug", "high", [5] * LEAST, []),
        *some("bug", "low", [5] * 12, []),
        *some("bug", "medium", [5] * 8, []),
        *some("style", "low", [5] * 19, []),
    ]
    assert group_names(findings) == {
        ("bug", "high"): "bug/high",
        ("bug", "low"): "bug",
        ("bug", "medium"): "bug",
        ("style", "low"): "",
    }


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["bug", "style"]), st.integers(0, 10), st.booleans()),
        min_size=2 * LEAST,
        max_size=4 * LEAST,
    ),
    precision=st.sampled_from([0.5, 0.8, 0.95]),
)
@pytest.mark.parametrize("fill", [LEAST])
def test_no_combination_of_thresholds_keeps_more(
    rows: list[tuple[str, int, bool]], precision: float, fill: int
) -> None:
    """Compared with each of the 121 there are for two groups; what is found keeps the precision."""
    findings = [ScoredFinding(category, "high", score, true) for category, score, true in rows]
    for category in ("bug", "style"):
        findings += some(category, "high", [], [0] * fill)
    best = max(
        (
            true
            for pair in itertools.product(range(11), repeat=2)
            for true, false in [
                kept(findings, Policy(min_scores=dict(zip(("bug", "style"), pair, strict=True))))
            ]
            if true + false and true * (1 - precision) >= false * precision - 1e-9
        ),
        default=None,
    )
    policy = fit_policy(findings, precision, Policy())
    if best is None:
        assert policy is None
        return
    assert policy is not None
    true, false = kept(findings, policy)
    assert true == best
    assert true * (1 - precision) >= false * precision - 1e-9
