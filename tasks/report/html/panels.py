"""The charts with the words around them: what each shows, and what it says when it has no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from tasks.core.manifest import RunFacts
from tasks.core.quotas import Window, parse_window
from tasks.report.html import charts, series
from tasks.report.html.findings import FindingsSummary

__all__ = ["ChartPanel", "panels", "windows_of"]

MAX_STRIPS = 12
"""App_ids drawn; the busiest ones."""


@dataclass(frozen=True, slots=True)
class ChartPanel:
    """A chart with the words around it."""

    title: str
    caption: str
    width: str
    """half or full."""
    empty: str
    """Shown when there is nothing to draw."""
    svg: Markup | None


def panels(
    manifest: RunFacts, findings: FindingsSummary, calls: pd.DataFrame, comments: pd.DataFrame
) -> list[ChartPanel]:
    """The charts of a run; `calls` and `comments` have the columns of `series`."""
    made = series.made_calls(calls)
    return [_findings(findings), _agreement(comments), _latency(made), _quota(made, manifest)]


def windows_of(manifest: RunFacts) -> dict[str, tuple[Window, ...]]:
    """Request windows by app_id, from the settings in the manifest."""
    pool = manifest.get("settings", {}).get("app_ids", {})
    return {
        alias: tuple(parse_window(text) for text in app_id.get("quota", ()))
        for alias, app_id in pool.items()
    }


def _findings(findings: FindingsSummary) -> ChartPanel:
    points = series.severity_points(findings.severities)
    caption = "Kept or not yet judged, by category and severity."
    svg = _drawn(charts.severity_chart(points)) if points else None
    return ChartPanel("What was found", caption, "half", "Nothing was found.", svg)


def _agreement(comments: pd.DataFrame) -> ChartPanel:
    points = series.agreement_points(comments)
    caption = (
        "How often the review confirms an issue, by how many checks raised it (95 % interval)."
    )
    svg = _drawn(charts.agreement_chart(points)) if points else None
    return ChartPanel("Does agreement mean anything?", caption, "half", "Nothing was judged.", svg)


def _latency(made: pd.DataFrame) -> ChartPanel:
    points = series.latency_points(made)
    svg = _drawn(charts.latency_chart(points)) if points else None
    caption = "Of the calls sent by this run, by the time they were sent."
    return ChartPanel("Latency", caption, "full", "No call was answered.", svg)


def _quota(made: pd.DataFrame, manifest: RunFacts) -> ChartPanel:
    limited = {alias: windows for alias, windows in windows_of(manifest).items() if windows}
    busy = made[made["app_id"].isin(list(limited))]["app_id"].value_counts()
    busy = busy[busy > 0]  # of a category, all values are counted
    shown = {str(alias): limited[str(alias)] for alias in busy.index[:MAX_STRIPS]}
    points = series.quota_points(made, shown)
    caption = (
        "Most calls in any window of each app_id so far; the dashed line is its quota. Answered and "
        "failed calls count once, the proof below counts every attempt."
    )
    if len(busy) > MAX_STRIPS:
        caption += f" {len(busy) - MAX_STRIPS:,} less busy app_ids are left out."
    svg = _drawn(charts.quota_chart(points)) if points else None
    return ChartPanel("Quota use", caption, "full", "No call was sent under a quota.", svg)


def _drawn(spec: dict[str, Any]) -> Markup:
    # Vega escapes all text; nothing of ours is pasted into the SVG.
    return Markup(charts.draw(spec))  # noqa: S704 - see above
