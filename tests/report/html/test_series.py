"""The points that charts are drawn from, against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.quotas import Window
from tasks.core.stats import wilson
from tasks.report.html.series import (
    CHART_CALL_COLUMNS,
    CHART_COMMENT_COLUMNS,
    agreement_points,
    latency_points,
    made_calls,
    quota_points,
    severity_points,
)


def _calls(*rows: tuple[Any, ...]) -> pd.DataFrame:
    names = list(CHART_CALL_COLUMNS)
    return pd.DataFrame([(*row, "online")[: len(names)] for row in rows], columns=names)


def _comments(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(CHART_COMMENT_COLUMNS))


def test_only_calls_of_this_run_are_drawn() -> None:
    """Journaled and skipped calls used no quota in this run, and what went by batch has its own."""
    made = made_calls(
        _calls(
            ("a", "ok", False, 10, 3.0),
            ("a", "ok", True, 10, 2.0),
            (None, "skipped", False, None, None),
            ("a", "failed", None, None, 1.0),
            ("a", "ok", False, 90_000, 4.0, "batch"),
        )
    )
    assert made["started_at"].tolist() == [1.0, 3.0]


def test_agreement_counts_each_issue_once() -> None:
    """Three comments of one cluster are one issue; what was not judged does not count."""
    rows = _comments(
        (True, 3, "confirmed"),
        (False, 3, "confirmed"),
        (False, 3, "rejected"),
        (True, 1, "rejected"),
        (True, 1, "confirmed"),
        (True, 1, "uncertain"),
        (True, 1, None),
    )
    points = agreement_points(rows)
    assert [(one["checks"], one["issues"], one["rate"]) for one in points] == [
        (1, 2, 0.5),
        (3, 1, 1.0),
    ]
    interval = wilson(1, 2)
    assert interval is not None
    assert (points[0]["low"], points[0]["high"]) == (interval.low, interval.high)


def test_latency_is_cut_into_slices_of_time() -> None:
    """Few calls make one slice; many make several, each with its own percentiles."""
    few = made_calls(_calls(*(("a", "ok", False, 1000 * n, float(n)) for n in range(1, 6))))
    assert [(one["which"], one["seconds"]) for one in latency_points(few)] == [
        ("median", 3.0),
        ("95th percentile", 4.8),
    ]
    many = made_calls(_calls(*(("a", "ok", False, 1000 + n, float(n)) for n in range(48))))
    points = latency_points(many)
    assert len(points) == 8
    assert points[0]["time"] == 0
    assert [one["seconds"] for one in points if one["which"] == "median"] == sorted(
        one["seconds"] for one in points if one["which"] == "median"
    )


def test_no_calls_no_points() -> None:
    """A run answered by the journal alone has nothing to draw."""
    none = made_calls(_calls(("a", "ok", True, 5, 1.0)))
    assert latency_points(none) == []
    assert quota_points(none, {"a": (Window(3, 60.0),)}) == []
    assert agreement_points(_comments()) == []
    assert severity_points({}) == []


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=60),
    st.sampled_from([0.5, 7.0, 60.0, 5000.0]),
)
def test_quota_use_never_hides_the_worst_window(starts: list[float], seconds: float) -> None:
    """The highest point is the most calls in any window, as counting them one by one gives it."""
    made = made_calls(_calls(*(("a", "ok", False, 5, start) for start in starts)))
    points = quota_points(made, {"a": (Window(3, seconds),)})
    worst = max(sum(end - seconds < start <= end for start in starts) for end in starts)
    assert max(one["used"] for one in points) == worst
    assert {one["limit"] for one in points} == {3}


@pytest.mark.parametrize("windows", [{}, {"a": ()}])
def test_app_ids_without_a_quota_have_no_strip(windows: dict[str, tuple[Window, ...]]) -> None:
    """There is no line to draw them against."""
    made = made_calls(_calls(("a", "ok", False, 5, 1.0), (None, "failed", False, None, 2.0)))
    assert quota_points(made, windows) == []
