"""Figures of a run from its tables."""

from __future__ import annotations

import pandas as pd

from tasks.report.summary import CALL_COLUMNS, COMMENT_COLUMNS, summarise


def test_uncertain_verdicts_are_judged_ones() -> None:
    """The confirmed share counts all comments with a decision, and none without."""
    decisions = ["confirmed", "confirmed", "rejected", "uncertain", None]
    calls = pd.DataFrame([dict.fromkeys(CALL_COLUMNS) | {"name": "check", "model": "m"}])
    numbers = {"attempts": 1.0, "latency_ms": 2.0, "queue_ms": 0.0, "started_at": 1.0}
    calls = calls.assign(**numbers, status="ok", cost_usd=0.0)
    row = dict.fromkeys(COMMENT_COLUMNS) | {"check_model": "check", "outcome": "kept"}
    comments = pd.DataFrame([row | {"verdict_decision": decision} for decision in decisions])
    comments = comments.astype({"verdict_score": "float64"})
    (figures,) = summarise(calls, comments).models
    assert (figures.confirmed, figures.rejected, figures.uncertain) == (2, 1, 1)
    assert figures.confirmed_rate == 0.5
