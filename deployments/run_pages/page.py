"""The page that lists runs: one HTML file without scripts, its trend lines inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from deployments.run_pages.listing import RunRow, Trend

__all__ = ["render_runs", "spark_line"]

_WIDTH, _HEIGHT, _EDGE = 150, 30, 3
"""Pixels of a trend line, and what is left free around it."""

_TEMPLATE = Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
).from_string(files(__package__ or "").joinpath("runs.html.j2").read_text("utf-8"))


def render_runs(runs: Sequence[RunRow], trends: Sequence[Trend]) -> str:
    """The page as HTML; everything that a run says is escaped."""
    return _TEMPLATE.render(
        runs=[_run(one) for one in runs], trends=[_trend(one) for one in trends]
    )


def _run(one: RunRow) -> dict[str, str]:
    return {
        "link": f"/{quote(one.folder)}/report.html",
        "started": f"{one.started:%Y-%m-%d %H:%M}",
        "source": one.source,
        "result": one.result,
        "state": one.state,
        "findings": _findings(one),
        "cost": _money(one),
        "coverage": _coverage(one),
    }


def _findings(one: RunRow) -> str:
    counts = ", ".join(f"{count:,} {name}" for name, count in one.findings.items() if count)
    total = f"{sum(one.findings.values()):,}: {counts}" if counts else "none"
    return f"{total}{'' if one.new is None else f'; {one.new:,} new'}"


def _money(one: RunRow) -> str:
    if one.cost is None:
        return "unknown"
    return f"{'' if one.cost_is_whole else 'over '}${one.cost:,.2f}"


def _coverage(one: RunRow) -> str:
    return f"{int(one.coverage * 1000) / 10:g} %"  # rounded up, 999 of 1,000 would be all


def _trend(one: Trend) -> dict[str, object]:
    last = one.runs[-1]
    findings = [float(sum(run.findings.values())) for run in one.runs]
    trends = (
        ("findings", findings, f"{findings[-1]:,.0f}"),
        ("cost", [run.cost or 0.0 for run in one.runs], _money(last)),
        ("coverage", [run.coverage * 100 for run in one.runs], _coverage(last)),
    )
    lines = [
        {"name": name, "svg": spark_line(name, values), "last": text}
        for name, values, text in trends
    ]
    return {"source": one.source, "count": len(one.runs), "lines": lines}


def spark_line(name: str, values: Sequence[float]) -> Markup:
    """A line through `values`, oldest first, from their least to their greatest; numbers only."""
    low, high = min(values), max(values)
    across = (_WIDTH - 2 * _EDGE) / max(1, len(values) - 1)
    points = [
        (_EDGE + at * across, _EDGE + (_HEIGHT - 2 * _EDGE) * _depth(value, low, high))
        for at, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    label = f"{name}: {values[0]:,.4g} in the first run, {values[-1]:,.4g} in the last"
    return Markup(
        '<svg role="img" aria-label="{}" width="{}" height="{}"><polyline points="{}"/>'
        '<circle cx="{}" cy="{}" r="2.5"/></svg>'
    ).format(label, _WIDTH, _HEIGHT, line, f"{x:.1f}", f"{y:.1f}")


def _depth(value: float, low: float, high: float) -> float:
    """0 at the top; in the middle when all are the same."""
    return 0.5 if high == low else (high - value) / (high - low)
