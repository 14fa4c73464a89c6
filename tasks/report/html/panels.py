"""The charts with the words around them: what each shows, and what it says when it has no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from tasks.core.quotas import Window, parse_window
from tasks.report.html import charts, series
from tasks.report.html.gathered import Gathered

__all__ = ["Panel", "panels", "windows_of"]

MAX_STRIPS = 12
"""App_ids drawn; the busiest ones."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart."""

    title: str
    caption: str
    width: str
    """half or full."""
    empty: str
    """Shown when there is nothing to draw."""
    svg: Markup | None


def panels(
    manifest: Mapping[str, Any], found: Gathered, calls: pd.DataFrame, comments: pd.DataFrame
) -> list[Panel]:
    """All charts; `calls` and `comments` have the columns of `series`."""
    made = series.made_calls(calls)
    return [_findings(found), _agreement(comments), _latency(made), _quota(made, manifest)]


def windows_of(manifest: Mapping[str, Any]) -> dict[str, tuple[Window, ...]]:
    """The quota of each app_id, from the settings in the manifest."""
    pool = manifest.get("settings", {}).get("app_ids", {})
    return {
        alias: tuple(parse_window(text) for text in app_id.get("quota", ()))
        for alias, app_id in pool.items()
    }


def _findings(found: Gathered) -> Panel:
    points = series.severity_points(found.severities)
    caption = "Kept or not yet judged, by category and severity."
    svg = _drawn(charts.severity_chart(points)) if points else None
    return Panel("What was found", caption, "half", "Nothing was found.", svg)


def _agreement(comments: pd.DataFrame) -> Panel:
    points = series.agreement_points(comments)
    caption = (
        "How often the review confirms an issue, by how many checks raised it (95 % interval)."
    )
    svg = _drawn(charts.agreement_chart(points)) if points else None
    return Panel("Does agreement mean anything?", caption, "half", "Nothing was judged.", svg)


def _latency(made: pd.DataFrame) -> Panel:
    points = series.latency_points(made)
    svg = _drawn(charts.latency_chart(points)) if points else None
    caption = "Of the calls sent by this run, by the time they were sent."
    return Panel("Latency", caption, "full", "No call was answered.", svg)


def _quota(made: pd.DataFrame, manifest: Mapping[str, Any]) -> Panel:
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
    return Panel("Quota use", caption, "full", "No call was sent under a quota.", svg)


def _drawn(spec: dict[str, Any]) -> Markup:
    # Vega escapes all text; nothing of ours is pasted into the SVG.
    return Markup(charts.draw(spec))  # noqa: S704 - see above
