"""Builders that the tests of core share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.core.records import Comment, Verdict

MakeComment = Callable[..., Comment]
MakeVerdict = Callable[..., Verdict]

_COMMENT = Comment(
    comment_id="c1",
    fingerprint="f1",
    check_model="a",
    path="f.py",
    side="right",
    start_line=10,
    end_line=10,
    loc_method="exact",
    category="bug",
    severity="medium",
    confidence=None,
    title="Off by one",
    message="The loop stops one short.",
    rationale=None,
    existing_code="for i in range(n - 1):",
    suggestion=None,
)
_VERDICT = Verdict(review_model="r", status="ok", decision="confirmed", score=7)


@pytest.fixture(scope="session")
def comment() -> MakeComment:
    """A complete comment, with any fields changed by name."""
    return lambda **changes: replace(_COMMENT, **changes)


@pytest.fixture(scope="session")
def verdict() -> MakeVerdict:
    """A confirming verdict, with any fields changed by name."""
    return lambda **changes: replace(_VERDICT, **changes)
