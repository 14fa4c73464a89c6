"""
The report's charts, as Vega-Lite specifications, drawn to SVG by Vega itself.

Drawn here and not in the browser: the file stays small, opens at once, prints, and needs no
JavaScript engine that evaluates expressions.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import vl_convert

from tasks.core.records import SEVERITIES
from tasks.report.html.series import Points

__all__ = ["COLOURS", "agreement_chart", "draw", "latency_chart", "quota_chart", "severity_chart"]

Spec = dict[str, Any]

COLOURS = {"critical": "#b3261e", "high": "#e0701a", "medium": "#e3b341", "low": "#9db2c9"}
"""Of the severities."""
_INK, _QUIET, _LINES, _BLUE = "#1f2933", "#66727f", "#e6eaee", "#3b6fb5"
_VERSION = "6.4"
_FEW = 50
"""Points that are marked one by one, with a hint each."""
_CONFIG: Spec = {
    "font": "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif",
    "background": None,
    "padding": {"left": 14, "right": 8, "top": 5, "bottom": 5},  # fonts differ from ours
    "view": {"stroke": None},
    "axis": {
        "labelColor": _QUIET,
        "titleColor": _QUIET,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "gridColor": _LINES,
        "domainColor": _LINES,
        "tickColor": _LINES,
    },
    "legend": {"labelColor": _INK, "title": None, "orient": "top", "labelFontSize": 11},
    "header": {"labelColor": _INK, "labelFontSize": 11, "title": None},
}
_COUNTABLE = 8
"""Up to this length an axis of counts has a tick at each."""
_SHORT_MS = 600_000
"""A run below this length needs seconds on its time axis."""


def draw(spec: Spec) -> str:
    """The chart as an SVG element; text in it is escaped by Vega."""
    complete = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "config": _CONFIG}
    return str(vl_convert.vegalite_to_svg(complete | spec, vl_version=_VERSION))


def _values(points: Points) -> Spec:
    return {"values": points}


def _time(points: Points) -> Spec:
    times = [point["time"] for point in points]
    short = max(times) - min(times) < _SHORT_MS
    clock = "%H:%M:%S" if short else "%H:%M"
    axis = {"title": "UTC", "format": clock, "grid": False, "tickCount": 8}
    return {"field": "time", "type": "temporal", "scale": {"type": "utc"}, "axis": axis}


def severity_chart(points: Points) -> Spec:
    """Findings per category, stacked by severity; `points` come from `severity_points`."""
    rows = [
        point
        | {
            "rank": SEVERITIES.index(point["severity"]),
            "label": f"{point['count']:,} {point['severity']} in {point['category']}",
        }
        for point in points
    ]
    colour = {
        "field": "severity",
        "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
    }
    count = {"field": "count", "type": "quantitative", "title": "findings", "axis": _whole(points)}
    return {
        "data": _values(rows),
        "width": 420,
        "height": {"step": 27},
        "mark": {"type": "bar", "cornerRadius": 2},
        "encoding": {
            "y": {"field": "category", "sort": "-x", "axis": {"title": None, "ticks": False}},
            "x": count,
            "color": colour,
            "order": {"field": "rank"},
            "description": {"field": "label"},
        },
    }


def _whole(points: Points) -> Spec:
    # Left to itself, a short axis gets ticks at halves.
    totals: Counter[str] = Counter()
    for point in points:
        totals[point["category"]] += point["count"]
    most = max(totals.values())
    return {"format": ",d"} | ({"values": list(range(most + 1))} if most <= _COUNTABLE else {})


def agreement_chart(points: Points) -> Spec:
    """Confirmed share by agreeing checks; `points` come from `agreement_points`."""
    under = {"title": "checks that raised it", "labelAngle": 0, "ticks": False}
    checks = {"field": "checks", "type": "ordinal", "axis": under}
    scale = {"domain": [0, 1]}
    axis = {"format": "%", "title": "confirmed by the review", "tickCount": 5}
    rate = {"field": "rate", "type": "quantitative", "scale": scale, "axis": axis}
    rows = [point | {"label": f"{point['issues']:,} judged"} for point in points]
    return {
        "data": _values(rows),
        "width": 420,
        "height": 216,
        "encoding": {"x": checks},
        "layer": [
            {"mark": {"type": "bar", "color": _BLUE, "size": 44, "cornerRadius": 2},
             "encoding": {"y": rate, "description": {"field": "label"}}},
            {"mark": {"type": "rule", "color": _INK},
             "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}},
            {"mark": {"type": "text", "dy": -7, "color": _QUIET},
             "encoding": {"y": {"field": "high", "type": "quantitative"}, "text": {"field": "label"}}},
        ],
    }  # fmt: skip


def latency_chart(points: Points) -> Spec:
    """Median and 95th percentile over time; `points` come from `latency_points`."""
    names = ["median", "95th percentile"]
    colour = {"field": "which", "scale": {"domain": names, "range": [_BLUE, COLOURS["high"]]}}
    seconds = {"field": "seconds", "type": "quantitative", "axis": {"title": "seconds"}}
    mark = {
        "type": "line",
        "interpolate": "monotone",
        "strokeWidth": 2,
        "point": len(points) < _FEW,
    }
    return {
        "data": _values(points),
        "width": 1030,
        "height": 180,
        "mark": mark,
        "encoding": {"x": _time(points), "y": seconds, "color": colour},
    }


def quota_chart(points: Points) -> Spec:
    """A strip per app_id, with a line at its quota; `points` come from `quota_points`."""
    axis = {"title": None, "tickCount": 2, "format": "d", "grid": False}
    used = {"field": "used", "type": "quantitative", "axis": axis}
    area = {"type": "area", "interpolate": "step-after", "color": _BLUE, "opacity": 0.75}
    limit = {"type": "rule", "color": COLOURS["critical"], "strokeDash": [4, 3]}
    quota = {"field": "limit", "type": "quantitative", "aggregate": "max"}
    strip = {
        "width": 980,
        "height": 34,
        "layer": [
            {"mark": area, "encoding": {"x": _time(points), "y": used}},
            {"mark": limit, "encoding": {"y": quota}},
        ],
    }
    row = {"field": "app_id", "header": {"labelAngle": 0, "labelAlign": "left"}}
    return {
        "data": _values(points),
        "facet": {"row": row},
        "spec": strip,
        "spacing": 8,
        "resolve": {"scale": {"y": "independent"}},
    }
