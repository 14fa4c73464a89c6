"""The charts with the words around them; one without anything to compare is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from tasks.core.manifest import RunFacts
from tasks.core.quotas import Window, parse_window
from tasks.report.findings import FindingsSummary
from tasks.report.html import charts, series
from tasks.report.words import listed

__all__ = ["ChartPanel", "panels", "windows_of"]

_FEWEST = 2
"""Bars, or points in time, that make a chart."""
MAX_STRIPS = 12
"""App_ids drawn; the busiest ones."""


@dataclass(frozen=True, slots=True)
class ChartPanel:
    """A chart with the words around it."""

    title: str
    caption: str
    width: str
    """half or full."""
    label: str
    """The same in words, for those who do not see it."""
    svg: Markup


def panels(
    manifest: RunFacts, findings: FindingsSummary, calls: pd.DataFrame, comments: pd.DataFrame
) -> list[ChartPanel]:
    """The charts of a run; `calls` and `comments` have the columns of `series`."""
    made = series.made_calls(calls)
    drawn = [_findings(findings), _agreement(comments), _latency(made), _quota(made, manifest)]
    return [one for one in drawn if one is not None]


def windows_of(manifest: RunFacts) -> dict[str, tuple[Window, ...]]:
    """Request windows by app_id, from the settings in the manifest."""
    pool = manifest.get("settings", {}).get("app_ids", {})
    return {
        alias: tuple(parse_window(text) for text in app_id.get("quota", ()))
        for alias, app_id in pool.items()
    }


def _findings(findings: FindingsSummary) -> ChartPanel | None:
    points = series.severity_points(findings.severities)
    totals: Counter[str] = Counter()
    for point in points:
        totals[point["category"]] += point["count"]
    if len(totals) < _FEWEST:
        return None
    caption = "Kept or not yet judged, by category and severity."
    label = f"Findings by category: {listed(dict(totals.most_common()))}"
    svg = _drawn(charts.severity_chart(points))
    return ChartPanel("Findings by category", caption, "half", label, svg)


def _agreement(comments: pd.DataFrame) -> ChartPanel | None:
    points = series.agreement_points(comments)
    if len(points) < _FEWEST:
        return None
    caption = (
        "How often the review confirms an issue, by how many checks raised it (95 % interval)."
    )
    shares = ", ".join(
        f"{one['rate']:.0%} of {one['issues']:,} raised by {one['checks']}" for one in points
    )
    label = f"Confirmed by the review: {shares}"
    svg = _drawn(charts.agreement_chart(points))
    return ChartPanel("Confirmed by agreement", caption, "half", label, svg)


def _latency(made: pd.DataFrame) -> ChartPanel | None:
    points = series.latency_points(made)
    if len({point["time"] for point in points}) < _FEWEST:
        return None
    caption = "Of the calls sent by this run, by the time they were sent."
    most = max(point["seconds"] for point in points)
    label = f"Latency over time: median and 95th percentile, at most {most:,.1f} seconds"
    return ChartPanel("Latency", caption, "full", label, _drawn(charts.latency_chart(points)))


def _quota(made: pd.DataFrame, manifest: RunFacts) -> ChartPanel | None:
    limited = {alias: windows for alias, windows in windows_of(manifest).items() if windows}
    busy = made[made["app_id"].isin(list(limited))]["app_id"].value_counts()
    busy = busy[busy > 0]  # of a category, all values are counted
    shown = {str(alias): limited[str(alias)] for alias in busy.index[:MAX_STRIPS]}
    points = series.quota_points(made, shown)
    if len({point["time"] for point in points}) < _FEWEST:
        return None
    caption = (
        "Most calls in any window of each app_id so far; the dashed line is its quota. Answered and "
        "failed calls count once, the proof below counts every attempt."
    )
    if len(busy) > MAX_STRIPS:
        caption += f" {len(busy) - MAX_STRIPS:,} less busy app_ids are left out."
    label = f"Quota use over time of {', '.join(shown)}"
    return ChartPanel("Quota use", caption, "full", label, _drawn(charts.quota_chart(points)))


def _drawn(spec: dict[str, Any]) -> Markup:
    # Vega escapes all text; nothing of ours is pasted into the SVG.
    return Markup(charts.draw(spec))  # noqa: S704 - see above
