"""
From tables of any length to the few points that a chart can show.

Times are seconds since the epoch in the tables, milliseconds in the points: what Vega reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.quotas import Window
from tasks.core.stats import wilson

__all__ = [
    "CHART_CALL_COLUMNS",
    "CHART_COMMENT_COLUMNS",
    "Points",
    "agreement_points",
    "latency_points",
    "made_calls",
    "quota_points",
    "severity_points",
]

CHART_CALL_COLUMNS = ("app_id", "status", "journaled", "latency_ms", "started_at", "via")
CHART_COMMENT_COLUMNS = ("canonical", "agreement", "verdict_decision")
"""`canonical`: whether the comment speaks for its cluster."""

Points = list[dict[str, Any]]

_SLICES = 96
"""Points along a time axis: about one for every ten pixels."""
_CALLS_PER_SLICE = 12
"""Fewer calls than this make no percentile worth drawing."""


def made_calls(calls: pd.DataFrame) -> pd.DataFrame:
    """The calls that this run sent online, from CHART_CALL_COLUMNS of all calls, by time."""
    journaled = calls["journaled"].fillna(value=False).astype(bool)
    sent = calls[list(CHART_CALL_COLUMNS)][
        (calls["status"] != "skipped")
        & ~journaled
        & calls["started_at"].notna()
        & (calls["via"] != "batch")
    ]
    return sent.sort_values("started_at")


def severity_points(severities: Mapping[str, Mapping[str, int]]) -> Points:
    """`severities` is severity -> category -> count of findings."""
    return [
        {"severity": severity, "category": category, "count": count}
        for severity, row in severities.items()
        for category, count in row.items()
    ]


def agreement_points(comments: pd.DataFrame) -> Points:
    """Share of confirmed issues by the number of checks that raised them, with a 95 % interval.

    `comments` has CHART_COMMENT_COLUMNS. A cluster counts once, by its canonical comment.
    """
    own = comments["canonical"].astype(bool)
    judged = comments[list(CHART_COMMENT_COLUMNS)][
        own & comments["verdict_decision"].isin(["confirmed", "rejected"])
    ]
    points = []
    for agreement, group in judged.groupby("agreement"):
        share = wilson(int((group["verdict_decision"] == "confirmed").sum()), len(group))
        if share is not None:
            values = {"rate": share.value, "low": share.low, "high": share.high}
            points.append({"checks": int(str(agreement)), "issues": len(group), **values})
    return points


def latency_points(made: pd.DataFrame) -> Points:
    """Median and 95th percentile in seconds over time; `made` comes from `made_calls`."""
    timed = made[made["latency_ms"].notna()]
    if timed.empty:
        return []
    wanted = max(1, min(_SLICES, len(timed) // _CALLS_PER_SLICE))
    starts = timed["started_at"].to_numpy(float)
    slices, edges = _slices(starts, wanted)
    seconds = timed["latency_ms"].to_numpy(float) / 1000
    points = []
    for number in np.unique(slices):
        within = seconds[slices == number]
        for name, share in (("median", 50), ("95th percentile", 95)):
            value = round(float(np.percentile(within, share)), 3)
            points.append({"time": _milliseconds(edges[number]), "which": name, "seconds": value})
    return points


def quota_points(made: pd.DataFrame, windows: Mapping[str, Sequence[Window]]) -> Points:
    """Most calls in the first window of each app_id over time, beside what it allows.

    A point at t is the largest number of calls in any window that ended within t's slice. App_ids
    without a quota, or without calls, have no points.
    """
    if made.empty:
        return []
    span = (float(made["started_at"].min()), float(made["started_at"].max()))
    points: Points = []
    for app_id, group in made.groupby("app_id", observed=True):
        window = next(iter(windows.get(str(app_id), ())), None)
        if window is not None:
            points += _use(str(app_id), group["started_at"].to_numpy(float), window, span)
    return points


def _use(app_id: str, starts: Any, window: Window, span: tuple[float, float]) -> Points:
    edges = np.linspace(*span, _SLICES + 1)[:-1]
    most = _within(starts, edges, window.seconds)
    slices = np.searchsorted(edges, starts, side="right") - 1
    np.maximum.at(most, slices, _within(starts, starts, window.seconds))
    return [
        {
            "time": _milliseconds(edge),
            "app_id": app_id,
            "used": int(count),
            "limit": window.limit,
        }
        for edge, count in zip(edges, most, strict=True)
    ]


def _within(starts: Any, ends: Any, seconds: float) -> Any:
    """How many starts lie in the window that ends with each of `ends`, that instant included."""
    before = np.searchsorted(starts, ends - seconds, side="right")
    return np.searchsorted(starts, ends, side="right") - before


def _slices(starts: Any, wanted: int) -> tuple[Any, Any]:
    """Which of `wanted` equal parts of the time each start is in, and where the parts begin."""
    edges = np.linspace(starts.min(), starts.max(), wanted + 1)[:-1]
    return np.searchsorted(edges, starts, side="right") - 1, edges


def _milliseconds(seconds: float) -> int:
    return round(float(seconds) * 1000)
